package harness

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

func (a *fakeApp) RestartKubelet(context.Context, string) error { return nil }
func (a *fakeApp) RollKubeProxy(context.Context) error          { return nil }
func (a *fakeApp) RollCoreDNS(context.Context) error            { return nil }
func (a *fakeApp) RollComponent(context.Context, string) error  { return nil }

// TestNotedPrograms: which programs of the cluster were restarted, and when, is on record.
func TestNotedPrograms(t *testing.T) {
	run := rollingUpdate(t)
	run.Disruption.Run = func(ctx context.Context, app scenarios.App) error {
		return errors.Join(app.RestartKubelet(ctx, "worker"), app.RollKubeProxy(ctx), app.RollCoreDNS(ctx), app.RollComponent(ctx, "traefik"))
	}
	tl := Run(t.Context(), newFakeApp(t), run, Options{Lead: 500 * time.Millisecond, Limit: time.Minute})
	require.Empty(t, tl.Errors)
	var noted []string
	for _, e := range tl.Events {
		if e.Kind == timeline.ProgramRestarted {
			noted = append(noted, e.Detail+" "+e.Node)
			assert.GreaterOrEqual(t, e.At, tl.Window.DisruptStart)
			assert.LessOrEqual(t, e.At, tl.Window.DisruptEnd)
		}
	}
	assert.Equal(t, []string{"kubelet worker", "kube-proxy ", "CoreDNS ", "traefik "}, noted)
}
