package harness

import (
	"context"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// RestartKubelet restarts a node's kubelet and notes when that was asked for. So do the others of what
// they restart.
func (a *notedApp) RestartKubelet(ctx context.Context, node string) error {
	a.noteProgram("kubelet", node)
	return a.App.RestartKubelet(ctx, node)
}

// RollKubeProxy replaces every kube-proxy.
func (a *notedApp) RollKubeProxy(ctx context.Context) error {
	a.noteProgram("kube-proxy", "")
	return a.App.RollKubeProxy(ctx)
}

// RollCoreDNS replaces every CoreDNS.
func (a *notedApp) RollCoreDNS(ctx context.Context) error {
	a.noteProgram("CoreDNS", "")
	return a.App.RollCoreDNS(ctx)
}

// RollComponent replaces the Pod of a component.
func (a *notedApp) RollComponent(ctx context.Context, name string) error {
	a.noteProgram(name, "")
	return a.App.RollComponent(ctx, name)
}

func (a *notedApp) noteProgram(name, node string) {
	a.noteEvent(timeline.Event{Kind: timeline.ProgramRestarted, Detail: name, Node: node})
}
