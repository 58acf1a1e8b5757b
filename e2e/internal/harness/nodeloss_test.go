package harness

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

func (a *fakeApp) CutNode(ctx context.Context, _ string) error { return wait(ctx, 20*time.Millisecond) }
func (a *fakeApp) LoseNode(context.Context, string) error      { return nil }

// TestNodeLostNoted: when a node was lost is on record, and how long that took, also where nobody else tells of it.
func TestNodeLostNoted(t *testing.T) {
	run := rollingUpdate(t)
	run.Disruption.Run = func(ctx context.Context, app scenarios.App) error { return app.LoseNode(ctx, "n1") }
	tl := Run(t.Context(), newFakeApp(t), run, Options{Lead: 200 * time.Millisecond, Limit: time.Minute})
	require.Empty(t, tl.Errors)
	var lost []timeline.Event
	for _, e := range tl.Events {
		if e.Kind == timeline.NodeLost {
			lost = append(lost, e)
		}
	}
	require.Len(t, lost, 1)
	assert.Equal(t, "n1", lost[0].Node)
	assert.GreaterOrEqual(t, lost[0].At, tl.Window.DisruptStart)
	assert.GreaterOrEqual(t, lost[0].Width, 20*time.Millisecond)
	assert.LessOrEqual(t, lost[0].At+lost[0].Width, tl.Window.DisruptEnd)
}
