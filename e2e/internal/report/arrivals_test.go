package report

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// arrived is a lane whose Pods got their last requests so long after their deletion; one at whose
// end the Pod ended, too, has a negative length.
func arrived(name string, after ...time.Duration) verdict.Lane {
	l := lane(name, measured, 100, nil, 0)
	for _, a := range after {
		l.Arrivals = append(l.Arrivals, verdict.Arrival{After: a.Abs(), Censored: a < 0})
	}
	return l
}

func rolled(lanes ...verdict.Lane) verdict.Verdict {
	return run("prestop-sleep", "rolling-update", 0, 0, lanes...)
}

func TestArrivals(t *testing.T) {
	vague := arrived("service/new", 300*ms)
	vague.Phases = map[verdict.LifecyclePhase]int{verdict.Unattributed: 1, verdict.AfterExit: 5}
	soon := arrived("service/new", second)
	soon.Arrivals = append(soon.Arrivals, verdict.Arrival{Owner: 1, Censored: true})
	tests := []struct {
		name string
		runs []verdict.Verdict
		want string // Pods, without, p50, p99, max
	}{
		{"each got some", []verdict.Verdict{rolled(arrived("service/new", second, 3*second, 2*second))}, "3 0 2.00s 3.00s 3.00s"},
		{"Pods that got none count as 0", []verdict.Verdict{rolled(arrived("service/new", 3*second))}, "3 2 0.00s 3.00s 3.00s"},
		{"none got any", []verdict.Verdict{rolled(arrived("service/new"))}, "3 3 0.00s 0.00s 0.00s"},
		{
			"over all repeats",
			[]verdict.Verdict{rolled(arrived("service/new", second, 2*second, second)), rolled(arrived("service/new", second, 4*second, second))},
			"6 0 1.00s 4.00s 4.00s",
		},
		{
			"one that came until the Pod's own end is in no percentile",
			[]verdict.Verdict{rolled(arrived("service/new", second, 2*second, -15*second))},
			"3 0 1.00s 2.00s ≥ 15.00s",
		},
		{"one that ended earlier says nothing of the longest", []verdict.Verdict{rolled(arrived("service/new", -second, 15*second, 15*second))}, "3 0 15.00s 15.00s 15.00s"},
		{"of equals, the one that is a lower bound counts", []verdict.Verdict{rolled(arrived("service/new", -second, second, second))}, "3 0 1.00s 1.00s ≥ 1.00s"},
		{"nothing but such", []verdict.Verdict{rolled(arrived("service/new", -second, -second, -second))}, "3 0 – – ≥ 1.00s"},
		{"one that ended too soon to get any is in no percentile", []verdict.Verdict{rolled(soon)}, "3 1 0.00s 1.00s 1.00s"},
		{"some dropped requests are charged to nobody", []verdict.Verdict{rolled(vague)}, "3 2 0.00s 0.30s ≥ 0.30s"},
		{"no Pod was deleted", []verdict.Verdict{run("a", "none", 0, 0, arrived("service/new"))}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := slices.Clone(tt.runs[0].Lanes[0].Arrivals)
			s := arrivals(newModel(suite(tt.runs...)))
			if tt.want == "" {
				assert.Empty(t, s.Blocks)
				return
			}
			assert.Equal(t, tt.want, strings.Join(s.Blocks[0].Table.Parts[0][0][3:], " "))
			assert.Equal(t, before, tt.runs[0].Lanes[0].Arrivals, "the order of what was given")
		})
	}
}

func TestResolution(t *testing.T) {
	slow := arrived("service/slow", second)
	slow.Rate = 20
	text := written(t, Text, suite(rolled(arrived("service/new", second), slow)))
	assert.Contains(t, text, "resolution: 10ms–50ms, the time between two requests of a lane (1/rate)")
}

// TestDelayNeeded: of new connections through a proxy, whatever the lanes are called. A client that
// keeps a DNS answer has a time of its own, and counts only where there is no other.
func TestDelayNeeded(t *testing.T) {
	kept := arrived("service/pooled", 9*second)
	kept.Connections = timeline.Reused
	tests := []struct {
		name  string
		lanes []verdict.Lane
		want  string
	}{
		{"the longest of the lanes", []verdict.Lane{arrived("service/new", second), arrived("nodeport/reused-not", 2*second)}, "2.00s"},
		{"kept connections don't count", []verdict.Lane{arrived("service/new", second), kept}, "1.00s"},
		{"nor does who keeps a DNS answer", []verdict.Lane{arrived("service/new", second), arrived("dns/new", 30*second)}, "1.00s"},
		{"but alone", []verdict.Lane{arrived("dns/new", 30*second)}, "30.00s"},
		{"no lane at all", nil, None},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newModel(suite(rolled(tt.lanes...)))
			assert.Equal(t, tt.want, m.needed(m.Parts[0][0]).delay())
		})
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []float64
		want   string
	}{
		{"of nothing", nil, None},
		{"of one", []float64{4}, "4.0"},
		{"not the mean", []float64{4, 100, 5}, "5.0"},
		{"between the two in the middle", []float64{6, 1, 4, 5}, "4.5"},
	} {
		r := row{Runs: []verdict.Verdict{{PodsReplaced: 0, ExtraPodSeconds: 999}}}
		for _, v := range tt.values {
			r.Runs = append(r.Runs, verdict.Verdict{PodsReplaced: 1, ExtraPodSeconds: v})
		}
		assert.Equal(t, tt.want, r.median(extraOf, podSeconds), tt.name)
	}
}
