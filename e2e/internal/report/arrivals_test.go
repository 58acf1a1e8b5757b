package report

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

func TestArrivalPercentiles(t *testing.T) {
	hundred := make([]time.Duration, 0, 200)
	for i := range 200 {
		hundred = append(hundred, time.Duration(200-i)*second)
	}
	tests := []struct {
		name          string
		deleted       int
		arrivals      []time.Duration
		p50, p99, max time.Duration
	}{
		{"none", 0, nil, 0, 0, 0},
		{"one Pod", 1, []time.Duration{second}, second, second, second},
		{"three Pods", 3, []time.Duration{3 * second, second, 2 * second}, 2 * second, 3 * second, 3 * second},
		{"the lower one of two", 2, []time.Duration{3 * second, second}, second, 3 * second, 3 * second},
		{"Pods without arrival count as 0", 5, []time.Duration{3 * second, second}, 0, 3 * second, 3 * second},
		{"p99 of two hundred is not the longest", 200, hundred, 100 * second, 198 * second, 200 * second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := aggregate{N: 1, Deleted: tt.deleted}
			for _, after := range tt.arrivals {
				s.Arrivals = append(s.Arrivals, verdict.Arrival{After: after})
			}
			before := slices.Clone(tt.arrivals)
			want := []string{hundredths(tt.p50), hundredths(tt.p99), hundredths(tt.max)}
			if tt.deleted == 0 {
				want = []string{None, None, None}
			}
			assert.Equal(t, want, []string{s.arrival(0.50), s.arrival(0.99), s.delay()})
			assert.Equal(t, before, tt.arrivals, "the order of what was given")
		})
	}
}

func TestArrivals(t *testing.T) {
	first := lifted("prestop-sleep", 3, arrived("service/new", second, 2*second, second),
		arrived("service/reused", 15*second, 15*second))
	again := lifted("prestop-sleep", 2, arrived("service/new", second, 4*second), arrived("service/reused", 15*second))
	still := lifted("no-handler", 2, arrived("service/new"), arrived("service/reused"))
	uneven := lifted("no-handler", 3, arrived("service/new", second, second), arrived("service/reused"),
		arrived("service/slow", second, second))
	uneven.Lanes[1].Phases = map[verdict.LifecyclePhase]int{verdict.Unattributed: 1}
	nothing := lifted("in-app-delay", 0, arrived("service/new"))
	tests := []struct {
		name string
		rate []int // of the lanes, in turn
		runs []verdict.Verdict
		rows [][]string
		list []string
	}{
		{"no Pod was deleted", []int{100}, []verdict.Verdict{nothing}, nil, nil},
		{
			"over all Pods of all repeats",
			[]int{100},
			[]verdict.Verdict{first, again},
			[][]string{{
				"rolling-update", "prestop-sleep", "5", "1.00s", "4.00s", "4.00s", "15.00s", "15.00s",
				"15.00s",
			}},
			[]string{
				"Pods without arrival, which got nothing of a lane after their deletion, count as 0: " +
					"prestop-sleep/rolling-update 2 of 5 on service/reused",
				"resolution: 10ms, the time between two requests of a lane (1/rate)",
			},
		},
		{
			"a Pod that got nothing on any lane, and rates that nobody knows",
			[]int{0},
			[]verdict.Verdict{still, nothing},
			[][]string{{"rolling-update", "no-handler", "2", "0.00s", "0.00s", "0.00s", "0.00s", "0.00s", "0.00s"}},
			[]string{"Pods without arrival, which got nothing of a lane after their deletion, count as 0: " +
				"no-handler/rolling-update 2 of 2 on every lane"},
		},
		{
			"lanes that differ, also in rate, and one that may have got something later",
			[]int{100, 20, 0},
			[]verdict.Verdict{uneven},
			[][]string{{
				"rolling-update", "no-handler", "3", "1.00s", "1.00s", "1.00s", "0.00s", "0.00s", "≥ 0.00s",
				"1.00s", "1.00s", "1.00s",
			}},
			[]string{
				"Pods without arrival, which got nothing of a lane after their deletion, count as 0: " +
					"no-handler/rolling-update 1 of 3 on service/new and service/slow, 3 of 3 on service/reused",
				"resolution: 10ms–50ms, the time between two requests of a lane (1/rate)",
			},
		},
		{
			"one that came until the Pod's own end is in no percentile",
			[]int{100},
			[]verdict.Verdict{lifted("prestop-sleep", 3, ended(arrived("service/new", second, 2*second, 15*second), 2),
				ended(arrived("dns/one", 15*second), 0))},
			[][]string{{
				"rolling-update", "prestop-sleep", "3", "1.00s", "2.00s", "≥ 15.00s", "0.00s", "0.00s",
				"≥ 15.00s",
			}},
			[]string{
				"Pods without arrival, which got nothing of a lane after their deletion, count as 0: " +
					"prestop-sleep/rolling-update 2 of 3 on dns/one",
				"resolution: 10ms, the time between two requests of a lane (1/rate)",
			},
		},
		{
			"nothing but such",
			[]int{100},
			[]verdict.Verdict{lifted("prestop-sleep", 1, ended(arrived("dns/one", 15*second), 0))},
			[][]string{{"rolling-update", "prestop-sleep", "1", None, None, "≥ 15.00s"}},
			[]string{"resolution: 10ms, the time between two requests of a lane (1/rate)"},
		},
		{
			"a lane that the row doesn't have, and the resolution of a low rate",
			[]int{3},
			[]verdict.Verdict{
				lifted("prestop-sleep", 1, arrived("service/new", second)),
				lifted("prestop-http", 1, arrived("service/reused", second)),
			},
			[][]string{
				{"rolling-update", "prestop-sleep", "1", "1.00s", "1.00s", "1.00s", None, None, None},
				{"rolling-update", "prestop-http", "1", None, None, None, "1.00s", "1.00s", "1.00s"},
			},
			[]string{"resolution: 333ms, the time between two requests of a lane (1/rate)"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, v := range tt.runs {
				for i := range v.Lanes {
					v.Lanes[i].Rate = tt.rate[i%len(tt.rate)]
				}
			}
			s := arrivals(newModel(Report{Rate: 7, Suite: verdict.Suite{Runs: tt.runs}}))
			if tt.rows == nil {
				assert.Empty(t, s.Blocks)
				return
			}
			require.Len(t, s.Blocks, 1)
			require.Len(t, s.Blocks[0].Table.Parts, 1)
			assert.Equal(t, tt.rows, s.Blocks[0].Table.Parts[0])
			assert.Equal(t, tt.list, s.Blocks[0].List)
		})
	}
}
