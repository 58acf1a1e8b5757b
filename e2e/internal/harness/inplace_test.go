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

func (a *fakeApp) Isolate(context.Context, string) error           { return nil }
func (a *fakeApp) SwitchServices(context.Context) error            { return nil }
func (a *fakeApp) FailLiveness(context.Context, string) error      { return nil }
func (a *fakeApp) RestartContainers(context.Context, string) error { return nil }

// TestNoted: when Pods were to leave their Services, or to be restarted, is on record.
func TestNoted(t *testing.T) {
	run := rollingUpdate(t)
	run.Disruption.Run = func(ctx context.Context, app scenarios.App) error {
		return errors.Join(app.Isolate(ctx, "app-7"), app.SwitchServices(ctx), app.FailLiveness(ctx, "app-8"), app.RestartContainers(ctx, "app-9"))
	}
	tl := Run(t.Context(), newFakeApp(t), run, Options{Lead: 500 * time.Millisecond, Limit: time.Minute})
	require.Empty(t, tl.Errors)
	var noted []string
	for _, e := range tl.Events {
		if e.Kind == timeline.LeaveAsked || e.Kind == timeline.RestartAsked {
			noted = append(noted, string(e.Kind)+" "+e.Pod)
			assert.GreaterOrEqual(t, e.At, tl.Window.DisruptStart)
			assert.LessOrEqual(t, e.At, tl.Window.DisruptEnd)
		}
	}
	assert.Equal(t, []string{"leave-asked app-7", "leave-asked app-0", "restart-asked app-8", "restart-asked app-9"}, noted,
		"app-0 is the one that Services had selected")
}
