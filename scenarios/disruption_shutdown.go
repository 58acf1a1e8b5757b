package scenarios

import (
	"context"
	"time"

	"github.com/zerodrop/zerodrop/fixtures"
)

// NodeShutdown is what a disruption can do to a node whose kubelet hears of its shutdown.
type NodeShutdown interface {
	// ShutDownNode has a node say that it is about to shut down, as logind does, waits until its kubelet
	// has ended the app's Pods there, removes what is left of them, and returns when as many as asked for
	// are ready elsewhere. The node goes on running; RestoreNodes has its kubelet take Pods again.
	ShutDownNode(ctx context.Context, node string) error
}

// shutdownGrace gives Pods 50 s of a node's shutdown, and the system's own 10 s after them. It is more
// than any strategy of three replicas takes: a Pod gets its own grace period, if that is shorter.
const shutdownGrace = `kind: KubeletConfiguration
shutdownGracePeriod: 60s
shutdownGracePeriodCriticalPods: 10s
`

// shutdowns are the disruptions in which a node says that it shuts down.
func shutdowns() []Disruption {
	return []Disruption{{
		Name: "node-shutdown",
		Summary: "the node with most of the Pods says that it shuts down, and its kubelet ends the Pods there: nobody " +
			"deletes them, and an endpoint stays ready until its container has ended, or until the node controller says " +
			"otherwise, which looks every five seconds",
		Scope: ScopeNode, Reach: ReachNode, TakesNode: true, Workload: fixtures.DefaultWorkload,
		// Requests come until the container has ended, whatever its delay, unless the node controller is
		// quicker. A process that has ended is an endpoint until its kubelet has said so (kubernetes#116965).
		Breaks:     classes,
		Needs:      Needs{Logind: true, KubeadmPatches: []string{shutdownGrace}},
		Strategies: []string{"shutdown-at-once", "prestop-sleep-2s", "prestop-sleep"},
		Takes:      20 * time.Second,
		Run: func(ctx context.Context, app App) error {
			return onNode(ctx, app, app.ShutDownNode)
		},
		Undo: restoreNodes,
	}}
}
