package verdict

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// twins is runs of a strategy and of its twin. Each slice is a lane's losses, one per rollout.
func twins(a, b map[string][]int) []Verdict {
	var runs []Verdict
	arm := func(strategy string, lanes map[string][]int) {
		for i := range lanes["service/new"] {
			v := Verdict{Strategy: strategy, Disruption: "rolling-update", Repeat: i + 1, Outcome: Pass}
			for _, name := range []string{"service/new", "service/reused"} {
				v.Lanes = append(v.Lanes, Lane{Name: name, Outcome: Pass, Dropped: lanes[name][i] - lanes[name][i]/3, Masked: lanes[name][i] / 3})
			}
			runs = append(runs, v)
		}
	}
	arm("a", a)
	arm("a+twin", b)
	return runs
}

func TestTwins(t *testing.T) {
	zeros := []int{0, 0, 0, 0, 0, 0}
	tests := []struct {
		name   string
		a, b   []int // service/new; service/reused loses nothing
		reason string
		want   Outcome
	}{
		{"the same", []int{1, 2, 3, 4, 5, 6}, []int{1, 2, 3, 4, 5, 6}, "", Pass},
		{"nothing is ever lost", zeros, zeros, "", Pass},
		{
			"one of them only", zeros,
			[]int{1, 1, 2, 1, 1, 1},
			"A/A: two names of one strategy differ: a and a+twin under rolling-update on service/new: lost something in 0 of 6 and 6 of 6 rollouts (p = 0.0022, corrected 0.0043)", Inconclusive,
		},
		{
			"one of them more",
			[]int{1, 2, 3, 4, 5, 6},
			[]int{11, 12, 13, 14, 15, 16},
			"on service/new: lost 3.5 and 13.5 requests per rollout in the median (p = 0.0022, corrected 0.0022)", Inconclusive,
		},
		{"too few rollouts to tell", []int{1, 2, 3}, []int{11, 12, 13}, "", Pass},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			none := make([]int, len(tt.a))
			s := JudgeSuite(twins(map[string][]int{"service/new": tt.a, "service/reused": none}, map[string][]int{"service/new": tt.b, "service/reused": none}))
			require.Len(t, s.Twins, 2)
			assert.False(t, s.Twins[1].Share.Made || s.Twins[1].Amount.Made, "where nothing is lost there is nothing to test")
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

// TestTwinsCorrected: two tests at 0.026 each are two among four.
func TestTwinsCorrected(t *testing.T) {
	a := []int{1, 2, 3, 4, 7}
	b := []int{5, 6, 8, 9, 10}
	s := JudgeSuite(twins(map[string][]int{"service/new": a, "service/reused": a}, map[string][]int{"service/new": b, "service/reused": b}))
	for _, twin := range s.Twins {
		assert.Less(t, twin.Amount.P, Significant)
		assert.InDelta(t, 2*twin.Amount.P, twin.Amount.Corrected, 1e-9)
	}
	assert.Equal(t, Pass, s.Outcome, "neither is a difference among two")
}

// TestTwinsLeaveOut: what can't be believed isn't compared, nor what has no twin.
func TestTwinsLeaveOut(t *testing.T) {
	runs := twins(map[string][]int{"service/new": {0, 1}, "service/reused": {0, 0}}, map[string][]int{"service/new": {7}, "service/reused": {0}})
	runs[1].Outcome = Inconclusive
	got := Twins(runs)
	require.Len(t, got, 2)
	assert.Equal(t, [2]Arm{{Losses: []int{0}}, {Losses: []int{7}}}, got[0].Arms, "masked ones count")
	runs[2].Outcome = Infrastructure
	assert.Empty(t, Twins(runs), "one arm alone")
	assert.Empty(t, Twins(runs[:1]))
}

func TestMedian(t *testing.T) {
	assert.Zero(t, Arm{}.Median())
	assert.InDelta(t, 3, Arm{Losses: []int{9, 3, 1}}.Median(), 0)
	assert.InDelta(t, 2.5, Arm{Losses: []int{9, 1, 2, 3}}.Median(), 0)
}

// TestTwinsAreCalibrated: ten rollouts of each arm, drawn from one distribution, differ in at most one test of twenty before they are corrected, and in at most
// one suite of twenty after. A strategy that loses four times as much as its twin is found.
func TestTwinsAreCalibrated(t *testing.T) {
	const suites, rollouts = 500, 10
	draw := func(r *rand.Rand, mean float64) []int { // few losses, in some rollouts none, as a real lane has them
		out := make([]int, rollouts)
		for i := range out {
			out[i] = int(r.ExpFloat64() * mean)
		}
		return out
	}
	tests := []struct {
		name  string
		mean  float64
		twin  float64
		least float64 // share of the suites in which a difference is found
		want  float64 // and at most
	}{
		{"many losses", 40, 40, 0, 0.05},
		{"few losses", 1.5, 1.5, 0, 0.05},
		{"hardly any", 0.3, 0.3, 0, 0.05},
		{"a twin that loses more", 5, 40, 0.9, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(2026, 11))
			made, raw, found := 0, 0, 0
			for range suites {
				a := map[string][]int{"service/new": draw(random, tt.mean), "service/reused": draw(random, tt.mean)}
				b := map[string][]int{"service/new": draw(random, tt.twin), "service/reused": draw(random, tt.twin)}
				s := JudgeSuite(twins(a, b))
				for _, twin := range s.Twins {
					for _, test := range []Test{twin.Share, twin.Amount} {
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
			if tt.mean == tt.twin {
				assert.LessOrEqual(t, float64(raw)/float64(made), 0.055, fmt.Sprint("of ", made))
			}
		})
	}
}
