package verdict

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// twoNames is runs of a strategy and of its second name. Each slice is what a lane dropped, one
// number per rollout.
func twoNames(a, b map[string][]int) []Verdict {
	var runs []Verdict
	group := func(spec timeline.Spec, lanes map[string][]int) {
		spec.Disruption = "rolling-update"
		for i := range lanes["service/new"] {
			v := Verdict{Spec: spec, Repeat: i + 1, Outcome: Pass}
			for _, name := range []string{"service/new", "service/reused"} {
				n := lanes[name][i]
				v.Lanes = append(v.Lanes, Lane{LaneSpec: timeline.LaneSpec{Name: name}, Outcome: Pass, Dropped: n - n/3, Masked: n / 3})
			}
			runs = append(runs, v)
		}
	}
	group(timeline.Spec{Strategy: "a"}, a)
	group(timeline.Spec{Strategy: "a+again", SameAs: "a"}, b)
	return runs
}

func TestAA(t *testing.T) {
	zeros := []int{0, 0, 0, 0, 0, 0}
	tests := []struct {
		name   string
		a, b   []int // service/new; service/reused drops nothing
		reason string
		want   Outcome
	}{
		{"the same", []int{1, 2, 3, 4, 5, 6}, []int{1, 2, 3, 4, 5, 6}, "", Pass},
		{"nothing is ever dropped", zeros, zeros, "", Pass},
		{
			"one of them only", zeros,
			[]int{1, 1, 2, 1, 1, 1},
			"A/A: two names of one strategy differ: a and a+again under rolling-update on service/new: " +
				"dropped something in 0 of 6 against 6 of 6 rollouts (p = 0.0022, corrected 0.0043)", Inconclusive,
		},
		{
			"one of them more",
			[]int{1, 2, 3, 4, 5, 6},
			[]int{11, 12, 13, 14, 15, 16},
			"on service/new: dropped 1–6 against 11–16 per rollout (p = 0.0022, corrected 0.0022)", Inconclusive,
		},
		{"too few rollouts to tell", []int{1, 2, 3}, []int{11, 12, 13}, "", Pass},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			none := make([]int, len(tt.a))
			s := JudgeSuite(twoNames(
				map[string][]int{"service/new": tt.a, "service/reused": none}, map[string][]int{"service/new": tt.b, "service/reused": none},
			))
			require.Len(t, s.AA, 1)
			require.Len(t, s.AA[0].Rows, 2, "lanes, and no costs")
			row := s.AA[0].Rows[1]
			assert.False(t, row.Share.Made || row.Amount.Made, "where nothing is dropped there is nothing to test")
			assert.Equal(t, tt.want, s.Outcome)
			if tt.reason == "" {
				assert.Empty(t, s.Reasons)
				return
			}
			require.Len(t, s.Reasons, 1)
			assert.Contains(t, s.Reasons[0], tt.reason)
		})
	}
}

// TestAACorrected: two tests at 0.026 each are two among four.
func TestAACorrected(t *testing.T) {
	a := []int{1, 2, 3, 4, 7}
	b := []int{5, 6, 8, 9, 10}
	s := JudgeSuite(twoNames(map[string][]int{"service/new": a, "service/reused": a}, map[string][]int{"service/new": b, "service/reused": b}))
	require.Len(t, s.AA, 1)
	require.Len(t, s.AA[0].Rows, 2)
	for _, row := range s.AA[0].Rows {
		assert.Less(t, row.Amount.P, Significant)
		assert.InDelta(t, 2*row.Amount.P, row.Amount.Corrected, 1e-9)
	}
	assert.Equal(t, Pass, s.Outcome, "neither is a difference among two")
}

// TestAALeavesOut: what is not valid isn't compared, nor what has no second name.
func TestAALeavesOut(t *testing.T) {
	runs := twoNames(map[string][]int{"service/new": {0, 1}, "service/reused": {0, 0}}, map[string][]int{"service/new": {7}, "service/reused": {0}})
	runs[1].Outcome = Inconclusive
	got := AA(runs)
	require.Len(t, got, 1)
	require.Len(t, got[0].Rows, 2)
	assert.Equal(t, [2]string{"a", "a+again"}, [2]string{got[0].Base, got[0].Now})
	assert.Equal(t, [2]Sample{{0}, {7}}, [2]Sample{got[0].Rows[0].Base, got[0].Rows[0].Now}, "masked ones count")
	runs[2].Outcome = Infrastructure
	assert.Empty(t, AA(runs), "one group alone")
	assert.Empty(t, AA(runs[:1]))
	runs = twoNames(map[string][]int{"service/new": {0}, "service/reused": {0}}, map[string][]int{"service/new": {7}, "service/reused": {0}})
	runs[1].Spec.SameAs = ""
	assert.Empty(t, AA(runs), "the name alone makes no A/A")
	runs[1].Spec.SameAs, runs[1].Spec.Disruption = "a", "pod-deletion"
	assert.Empty(t, AA(runs), "under another disruption")
	runs[0].Spec.Disruption = "pod-deletion"
	runs = append(runs, twoNames(map[string][]int{"service/new": {0}, "service/reused": {0}}, map[string][]int{"service/new": {7}, "service/reused": {0}})...)
	assert.Len(t, AA(runs), 2, "one for each disruption")
}

// TestCompare: two strategies, cost by cost and lane by lane as far as both have it. A run that
// replaced no Pod, or didn't come to its end, has no cost.
func TestCompare(t *testing.T) {
	run := func(strategy string, dropped int, rollout time.Duration, peak int) Verdict {
		return Verdict{
			Spec: timeline.Spec{Strategy: strategy, Disruption: "rolling-update"}, Outcome: Pass,
			Lanes:        []Lane{{LaneSpec: timeline.LaneSpec{Name: "service/new"}, Dropped: dropped}},
			PodsReplaced: 3, Rollout: rollout, PeakPods: peak, ExtraPodSeconds: rollout.Seconds() * 1.5,
		}
	}
	var base, now []Verdict
	for i := range 6 {
		base = append(base, run("a", 0, 20*sec+time.Duration(i)*100*ms, 4))
		now = append(now, run("b", 1+i, 30*sec+time.Duration(i)*100*ms, 4))
	}
	unchanged, unended := run("b", 99, sec, 9), run("b", 99, 0, 9) // neither has a cost
	unchanged.PodsReplaced = 0
	now[0].Lanes = append(now[0].Lanes, Lane{LaneSpec: timeline.LaneSpec{Name: "of the second alone"}})
	invalid := run("a", 99, sec, 9)
	invalid.Outcome = Inconclusive
	got := []Comparison{Compare(append(base, invalid), append(now, unchanged, unended))}
	assert.Equal(t, 4, Correct(got), "peaks are equal")
	c := got[0]
	assert.Equal(t, [3]string{"rolling-update", "a", "b"}, [3]string{c.Disruption, c.Base, c.Now})
	var rows []string
	for _, r := range c.Rows {
		rows = append(rows, fmt.Sprintf("%s %s %d/%d", r.What, r.Unit, len(r.Base), len(r.Now)))
		assert.Equal(t, r.What != "service/new", r.Cost)
		assert.False(t, r.Cost && r.Share.Made, "costs are not counted")
	}
	assert.Equal(t, []string{"service/new requests 6/8", "rollout time s 6/6", "most Pods at once Pods 6/6", "extra Pod-seconds Pod-s 6/6"}, rows)
	how, test, differs := c.Rows[0].Difference()
	assert.Equal(t, "dropped something in 0 of 6 against 8 of 8 rollouts", how)
	assert.True(t, differs)
	assert.Less(t, test.P, test.Corrected)
	how, _, _ = c.Rows[1].Difference()
	assert.Equal(t, "20s–20.5s against 30s–30.5s", how)
	_, _, differs = c.Rows[2].Difference()
	assert.False(t, differs, "equal, so there is no test")
	how, _, _ = c.Rows[3].Difference()
	assert.Equal(t, "30.0–30.8 against 45.0–45.8", how)
	for _, r := range Compare([]Verdict{unchanged}, now).Rows {
		assert.False(t, r.Cost && r.Amount.Made, "a group without a cost")
	}
	assert.Empty(t, Compare(nil, now).Rows)
	assert.Empty(t, Compare([]Verdict{invalid}, now).Rows)
}

func TestMedian(t *testing.T) {
	assert.Zero(t, Sample{}.Median())
	assert.InDelta(t, 3, Sample{9, 3, 1}.Median(), 0)
	assert.InDelta(t, 2.5, Sample{9, 1, 2, 3}.Median(), 0)
}

// TestAAIsCalibrated: ten rollouts of each group, drawn from one distribution, differ in at most
// one test of twenty before they are corrected, and in at most one suite of twenty after. A group
// that drops eight times as much as the other is found.
func TestAAIsCalibrated(t *testing.T) {
	const suites, rollouts = 500, 10
	draw := func(r *rand.Rand, mean float64) []int { // few, in some rollouts none, as on a real lane
		out := make([]int, rollouts)
		for i := range out {
			out[i] = int(r.ExpFloat64() * mean)
		}
		return out
	}
	tests := []struct {
		name  string
		mean  float64
		again float64
		least float64 // share of the suites in which a difference is found
		want  float64 // and at most
	}{
		{"many dropped", 40, 40, 0, 0.05},
		{"few dropped", 1.5, 1.5, 0, 0.05},
		{"hardly any", 0.3, 0.3, 0, 0.05},
		{"a second name that drops more", 5, 40, 0.9, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(2026, 11))
			made, raw, found := 0, 0, 0
			for range suites {
				a := map[string][]int{"service/new": draw(random, tt.mean), "service/reused": draw(random, tt.mean)}
				b := map[string][]int{"service/new": draw(random, tt.again), "service/reused": draw(random, tt.again)}
				s := JudgeSuite(twoNames(a, b))
				require.Len(t, s.AA, 1)
				for _, row := range s.AA[0].Rows {
					for _, test := range []Test{row.Share, row.Amount} {
						if test.Made {
							made++
						}
						if test.Made && test.P < Significant {
							raw++
						}
					}
				}
				if s.Outcome != Pass {
					found++
				}
			}
			require.Greater(t, made, suites, "what makes no test shows nothing")
			t.Logf("%d of %d tests differ, in %d of %d suites after correction", raw, made, found, suites)
			assert.GreaterOrEqual(t, float64(found)/suites, tt.least)
			assert.LessOrEqual(t, float64(found)/suites, tt.want)
			if tt.mean == tt.again {
				assert.LessOrEqual(t, float64(raw)/float64(made), 0.055, fmt.Sprint("of ", made))
			}
		})
	}
}
