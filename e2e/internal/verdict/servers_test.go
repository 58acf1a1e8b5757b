package verdict

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestServers: way by way, of so many that could be dropped so; what is not conclusive counts for nothing.
func TestServers(t *testing.T) {
	asked := func(app, way string, change func(*Verdict)) Verdict {
		return brought("service", way, 0, at(sec)).with(func(v *Verdict) {
			v.Spec.Target = &timeline.TargetSpec{Name: app, Signal: "SIGQUIT"}
			v.Spec.Summary = "what " + way + " does"
			slow := v.Lanes[0]
			slow.Name, slow.Load, slow.Class, slow.Arrivals = "service/slow", "slow", timeline.ClassInFlight, nil
			v.Lanes[0].Dropped, v.Lanes[0].Late, slow.Dropped = 3, 2, 7
			v.Lanes[0].Classes = []ClassResult{{Class: timeline.ClassNew, Dropped: 3, Causes: map[timeline.Cause]int{timeline.Refused: 3}}}
			slow.Classes = []ClassResult{
				{Class: timeline.ClassNew, Dropped: 2, Causes: map[timeline.Cause]int{timeline.Reset: 2}},
				{Class: timeline.ClassInFlight, Dropped: 5, Causes: map[timeline.Cause]int{timeline.EOF: 5}},
			}
			v.Lanes = append(v.Lanes, slow)
			v.Spec.Lanes = append(v.Spec.Lanes, slow.LaneSpec)
			if change != nil {
				change(v)
			}
		})
	}
	doubtful := asked("nginx", "nginx", func(v *Verdict) { v.Outcome = Inconclusive })
	undisturbed := asked("nginx", "nginx", func(v *Verdict) { v.Spec.Scope = timeline.ScopeNone })
	got := Servers([]Verdict{
		brought("service", "no-handler", 0, at(9*sec)), undisturbed, asked("nginx", "nginx", nil), asked("nginx", "nginx-quit", nil),
		asked("nginx", "nginx", nil), doubtful, asked("puma", "puma", nil),
	})
	require.Len(t, got, 3, "the sample app is none of them")
	s := got[0]
	assert.Equal(t, []string{"nginx", "nginx", "what nginx does", "SIGQUIT"}, []string{s.Target.Name, s.Strategy, s.Summary, s.Target.Signal})
	assert.Equal(t, []string{"nginx-quit", "puma"}, []string{got[1].Strategy, got[2].Strategy})
	assert.Equal(t, []int{2, 1, 4}, []int{s.Runs, s.Inconclusive, s.Late})
	assert.Equal(t, map[timeline.Class]Tally{timeline.ClassNew: {10, 4000}, timeline.ClassInFlight: {10, 2000}}, s.Classes)
	assert.Equal(t, map[timeline.Class]map[timeline.Cause]int{
		timeline.ClassNew: {timeline.Refused: 6, timeline.Reset: 4}, timeline.ClassInFlight: {timeline.EOF: 10},
	}, s.Causes)
	require.NotNil(t, s.Safe)
	assert.Equal(t, 1020*ms, *s.Safe)
}
