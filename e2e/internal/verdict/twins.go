package verdict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zerodrop/zerodrop/scenarios"
)

// TwinLane compares, on one lane, two strategies that are the same but for their names. Whatever difference is found is the instrument's.
type TwinLane struct {
	Strategy   string
	Disruption string
	Lane       string
	Arms       [2]Arm // of the strategy, of its twin
	// Share compares how many rollouts lost something (Fisher), Amount how many requests each lost (RankSum).
	Share, Amount Test
}

// Arm is what the rollouts of one of two twins lost on a lane. Only runs that can be believed count.
type Arm struct {
	Losses []int // requests dropped or masked, of each rollout
}

// Lossy is how many of the rollouts lost something.
func (a Arm) Lossy() int {
	n := 0
	for _, lost := range a.Losses {
		if lost > 0 {
			n++
		}
	}
	return n
}

// Median is the median of the losses; the mean of both in the middle, and 0 without rollouts.
func (a Arm) Median() float64 {
	if len(a.Losses) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(a.Losses))
	return float64(s[(len(s)-1)/2]+s[len(s)/2]) / 2
}

// Test is one comparison. It is not Made where the numbers leave no room for a difference, as where neither side lost anything: such a test can't find a false
// one either, so there is nothing to correct the others for (Tarone, Biometrics 1990).
type Test struct {
	Made      bool
	P         float64 // by itself
	Corrected float64 // for all that are made together (Holm)
}

// Differs says that the difference is more than noise, even among so many tests.
func (t Test) Differs() bool { return t.Made && t.Corrected < Significant }

// Correct corrects tests that are made together for each other.
func Correct(tests []*Test) {
	made := slices.DeleteFunc(slices.Clone(tests), func(t *Test) bool { return !t.Made })
	p := make([]float64, len(made))
	for i, t := range made {
		p[i] = t.P
	}
	for i, corrected := range Holm(p) {
		made[i].Corrected = corrected
	}
}

// CompareShares tests whether two strategies differ in how many of their rollouts lost something.
func CompareShares(a, b Arm) Test {
	x, n, y, m := a.Lossy(), len(a.Losses), b.Lossy(), len(b.Losses)
	return Test{Made: n > 0 && m > 0 && x+y > 0 && x+y < n+m, P: Fisher(x, n, y, m), Corrected: 1}
}

// CompareAmounts tests whether two samples, one value per rollout, differ in rank.
func CompareAmounts(a, b []float64) Test {
	all := slices.Concat(a, b)
	return Test{Made: len(a) > 0 && len(b) > 0 && slices.Min(all) < slices.Max(all), P: RankSum(a, b), Corrected: 1}
}

// Floats is the losses as CompareAmounts takes them.
func (a Arm) Floats() []float64 {
	out := make([]float64, 0, len(a.Losses))
	for _, lost := range a.Losses {
		out = append(out, float64(lost))
	}
	return out
}

// Twins compares every strategy of the runs with its twin, if that ran as well, lane by lane, and corrects all tests for each other. Rollouts are compared,
// and never requests: those of one rollout are lost together.
func Twins(runs []Verdict) []TwinLane {
	var out []TwinLane
	for _, v := range runs {
		strategy, isTwin := strings.CutSuffix(v.Strategy, scenarios.TwinSuffix)
		if !isTwin {
			continue
		}
		for _, l := range v.Lanes {
			t := TwinLane{Strategy: strategy, Disruption: v.Disruption, Lane: l.Name}
			if slices.ContainsFunc(out, func(o TwinLane) bool {
				return o.Strategy == strategy && o.Disruption == v.Disruption && o.Lane == l.Name
			}) {
				continue
			}
			t.Arms = [2]Arm{armOf(runs, strategy, t), armOf(runs, v.Strategy, t)}
			if len(t.Arms[0].Losses) == 0 || len(t.Arms[1].Losses) == 0 {
				continue
			}
			t.Share = CompareShares(t.Arms[0], t.Arms[1])
			t.Amount = CompareAmounts(t.Arms[0].Floats(), t.Arms[1].Floats())
			out = append(out, t)
		}
	}
	var all []*Test
	for i := range out {
		all = append(all, &out[i].Share, &out[i].Amount)
	}
	Correct(all)
	return out
}

func armOf(runs []Verdict, strategy string, t TwinLane) Arm {
	var a Arm
	for _, v := range runs {
		if v.Strategy != strategy || v.Disruption != t.Disruption || v.Outcome != Pass && v.Outcome != Fail {
			continue
		}
		for _, l := range v.Lanes {
			if l.Name == t.Lane {
				a.Losses = append(a.Losses, l.Dropped+l.Masked)
			}
		}
	}
	return a
}

// differ says how a strategy differs from itself; "" if it doesn't.
func (t TwinLane) differ() string {
	name := fmt.Sprintf("A/A: two names of one strategy differ: %s and %s%s under %s on %s", t.Strategy, t.Strategy, scenarios.TwinSuffix, t.Disruption, t.Lane)
	a, b := t.Arms[0], t.Arms[1]
	switch {
	case t.Share.Differs():
		return fmt.Sprintf("%s: lost something in %d of %d and %d of %d rollouts (p = %.2g, corrected %.2g)",
			name, a.Lossy(), len(a.Losses), b.Lossy(), len(b.Losses), t.Share.P, t.Share.Corrected)
	case t.Amount.Differs():
		return fmt.Sprintf("%s: lost %g and %g requests per rollout in the median (p = %.2g, corrected %.2g)",
			name, a.Median(), b.Median(), t.Amount.P, t.Amount.Corrected)
	}
	return ""
}
