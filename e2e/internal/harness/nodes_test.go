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

func (a *fakeApp) ChooseNode(context.Context) (string, error) { return a.node, a.nodeErr }

// TestNodeIsNoted: which node was chosen is on record; that none could be chosen isn't.
func TestNodeIsNoted(t *testing.T) {
	run := rollingUpdate(t)
	app := newFakeApp(t)
	run.Disruption.Run = func(ctx context.Context, given scenarios.App) error {
		app.nodeErr = errFake
		_, err := given.ChooseNode(ctx)
		require.ErrorIs(t, err, errFake)
		app.node, app.nodeErr = "n1", nil
		node, err := given.ChooseNode(ctx)
		assert.Equal(t, "n1", node)
		return err
	}
	tl := Run(t.Context(), app, run, Options{Lead: 500 * time.Millisecond, Limit: time.Minute})
	require.Empty(t, tl.Errors)
	var noted []timeline.Event
	for _, e := range tl.Events {
		if e.Kind == timeline.NodeDisrupted {
			noted = append(noted, e)
			assert.GreaterOrEqual(t, e.At, tl.Window.DisruptStart)
			assert.LessOrEqual(t, e.At, tl.Window.DisruptEnd)
		}
	}
	require.Len(t, noted, 1)
	assert.Equal(t, timeline.Event{At: noted[0].At, Kind: timeline.NodeDisrupted, Node: "n1"}, noted[0])
}
