package verdict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestCountPods: app-0 and app-1 are there; app-0 is deleted at 4 s and runs until 7.02 s, app-2 starts
// at 5.25 s. A Pod that is terminating and still runs counts once.
func TestCountPods(t *testing.T) {
	tests := []struct {
		name        string
		changes     changes
		steps       []PodsAt // at most
		peak        PodsAt
		terminating float64 // Pod-seconds
		until       time.Duration
	}{
		{
			"one more, and one less",
			changes{coming},
			[]PodsAt{{0, 2, 0}, {sec, 1, 1}, {2250 * ms, 2, 1}, {5 * sec, 2, 0}},
			PodsAt{2250 * ms, 2, 1},
			4, 6 * sec,
		},
		{
			"it never settled",
			changes{func(tl *timeline.Timeline) { tl.Window.Settled = 0 }},
			[]PodsAt{{0, 2, 0}, {sec, 1, 1}, {5 * sec, 1, 0}},
			PodsAt{0, 2, 0},
			4, 5 * sec,
		},
		{
			"its end was not seen",
			changes{without(timeline.PodGone)},
			[]PodsAt{{0, 2, 0}, {sec, 1, 1}},
			PodsAt{0, 2, 0},
			5, 6 * sec,
		},
		{
			"it ended, and was deleted later",
			changes{without(timeline.PodDeleted), with(7500*ms, timeline.PodDeleted)},
			[]PodsAt{{0, 2, 0}, {4020 * ms, 1, 0}, {4500 * ms, 1, 1}, {5 * sec, 1, 0}},
			PodsAt{0, 2, 0},
			0.5, 6 * sec,
		},
		{
			"it ended, and came back",
			changes{stays, with(5*sec, timeline.ContainerExit), with(6*sec, timeline.AppStart)},
			[]PodsAt{{0, 2, 0}},
			PodsAt{0, 2, 0},
			0, 6 * sec,
		},
		{
			"its container was started again",
			changes{func(tl *timeline.Timeline) { *tl = restarting() }},
			[]PodsAt{{0, 2, 0}},
			PodsAt{0, 2, 0},
			0, 6 * sec,
		},
		{"no disruption", changes{func(tl *timeline.Timeline) { tl.Window.DisruptStart = 0 }}, nil, PodsAt{}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			for _, change := range tt.changes {
				change(&tl)
			}
			got := CountPods(Judge(tl))
			assert.Equal(t, tt.steps, got.Steps)
			assert.Equal(t, tt.peak, got.Peak)
			assert.InDelta(t, tt.terminating, got.TerminatingSeconds, 1e-9)
			assert.Equal(t, tt.until, got.Until)
			for _, step := range got.Steps {
				assert.LessOrEqual(t, step.Running, got.Running)
				assert.LessOrEqual(t, step.Terminating, got.Terminating)
			}
		})
	}
}
