package verdict

import (
	"fmt"
	"slices"
	"time"
)

// Comparison holds two groups of runs against each other, rollout by rollout and never request by
// request: requests of one rollout are dropped together.
type Comparison struct {
	Disruption string
	Base, Now  string // what is compared: strategies, or one on two days
	Rows       []ComparisonRow
}

// ComparisonRow compares one number of a run.
type ComparisonRow struct {
	What      string // a lane, or a cost
	Cost      bool   // else What is a lane, and the numbers are requests dropped or masked
	Unit      Unit
	Base, Now Sample
	Share     Test // how many rollouts dropped something (Fisher); never Made of a cost
	Amount    Test // how much each did (RankSum)
}

// Unit is that of a compared number.
type Unit string

// The units.
const (
	Requests   Unit = "requests"
	Seconds    Unit = "s"
	PodCount   Unit = "Pods"
	PodSeconds Unit = "Pod-s"
)

// Sample is one value per rollout.
type Sample []float64

// Above0 is how many of the values are more than 0: how many rollouts dropped something.
func (s Sample) Above0() int {
	n := 0
	for _, v := range s {
		if v > 0 {
			n++
		}
	}
	return n
}

// Median is the value in the middle; the mean of both in the middle, and 0 without values.
func (s Sample) Median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// Test is one comparison. It is not Made where the numbers leave no room for a difference, as where
// neither side dropped anything: such a test can't find a false one either, so there is nothing to
// correct the others for (Tarone, Biometrics 1990).
type Test struct {
	Made      bool
	P         float64 // by itself
	Corrected float64 // for all that are made together (Holm)
}

// Differs says that the difference is more than noise, even among so many tests.
func (t Test) Differs() bool { return t.Made && t.Corrected < Significant }

// costs are the numbers of a run beside its lanes that tell strategies apart.
var costs = []struct {
	name string
	unit Unit
	of   func(Verdict) float64
}{
	{"rollout time", Seconds, func(v Verdict) float64 { return v.Rollout.Seconds() }},
	{"most Pods at once", PodCount, func(v Verdict) float64 { return float64(v.PeakPods) }},
	{"extra Pod-seconds", PodSeconds, func(v Verdict) float64 { return v.ExtraPodSeconds }},
}

// Compare compares two groups of runs under one disruption, lane by lane and cost by cost. Only
// conclusive runs count. Its tests are to be corrected together with all others that are made
// (Correct).
func Compare(base, now []Verdict) Comparison {
	var c Comparison
	groups := [2][]Verdict{}
	for i, runs := range [2][]Verdict{base, now} {
		groups[i] = slices.DeleteFunc(slices.Clone(runs), func(v Verdict) bool { return !v.Conclusive() })
	}
	if len(groups[0]) == 0 || len(groups[1]) == 0 {
		return c
	}
	c.Disruption, c.Base, c.Now = base[0].Spec.Disruption, base[0].Spec.Strategy, now[0].Spec.Strategy
	for _, l := range groups[1][0].Lanes {
		row := ComparisonRow{
			What: l.Name,
			Unit: Requests,
			Base: dropsOn(groups[0], l.Name),
			Now:  dropsOn(groups[1], l.Name),
		}
		if len(row.Base) == 0 || len(row.Now) == 0 {
			continue
		}
		row.Share, row.Amount = compareShares(row.Base, row.Now), compareAmounts(row.Base, row.Now)
		c.Rows = append(c.Rows, row)
	}
	for _, cost := range costs {
		row := ComparisonRow{
			What: cost.name,
			Cost: true,
			Unit: cost.unit,
			Base: costOf(groups[0], cost.of),
			Now:  costOf(groups[1], cost.of),
		}
		row.Amount = compareAmounts(row.Base, row.Now)
		c.Rows = append(c.Rows, row)
	}
	return c
}

// dropsOn is what each run dropped on a lane, masked requests included.
func dropsOn(runs []Verdict, lane string) Sample {
	var out Sample
	for _, v := range runs {
		for _, l := range v.Lanes {
			if l.Name == lane {
				out = append(out, float64(l.Dropped+l.Masked))
			}
		}
	}
	return out
}

// costOf is a cost of each run that replaced any Pod.
func costOf(runs []Verdict, of func(Verdict) float64) Sample {
	var out Sample
	for _, v := range runs {
		if v.PodsReplaced > 0 && v.Rollout > 0 {
			out = append(out, of(v))
		}
	}
	return out
}

func compareShares(a, b Sample) Test {
	x, n, y, m := a.Above0(), len(a), b.Above0(), len(b)
	return Test{Made: x+y > 0 && x+y < n+m, P: Fisher(x, n, y, m), Corrected: 1}
}

func compareAmounts(a, b Sample) Test {
	all := slices.Concat(a, b)
	return Test{Made: len(a) > 0 && len(b) > 0 && slices.Min(all) < slices.Max(all), P: RankSum(a, b), Corrected: 1}
}

// Correct corrects all tests that are made together for each other, and says how many there are.
func Correct(comparisons []Comparison) (made int) {
	var tests []*Test
	var p []float64
	for i := range comparisons {
		for j := range comparisons[i].Rows {
			row := &comparisons[i].Rows[j]
			for _, t := range []*Test{&row.Share, &row.Amount} {
				if t.Made {
					tests, p = append(tests, t), append(p, t.P)
				}
			}
		}
	}
	for i, corrected := range Holm(p) {
		tests[i].Corrected = corrected
	}
	return len(tests)
}

// AA compares every strategy of the runs with its second name, if both ran, lane by lane. Whatever
// difference is found is the instrument's.
func AA(runs []Verdict) []Comparison {
	of := func(strategy, disruption string) []Verdict {
		return slices.DeleteFunc(slices.Clone(runs), func(v Verdict) bool {
			return v.Spec.Strategy != strategy || v.Spec.Disruption != disruption
		})
	}
	var out []Comparison
	for _, v := range runs {
		if v.Spec.SameAs == "" || slices.ContainsFunc(out, func(c Comparison) bool {
			return c.Now == v.Spec.Strategy && c.Disruption == v.Spec.Disruption
		}) {
			continue
		}
		c := Compare(of(v.Spec.SameAs, v.Spec.Disruption), of(v.Spec.Strategy, v.Spec.Disruption))
		c.Rows = slices.DeleteFunc(c.Rows, func(r ComparisonRow) bool { return r.Cost })
		if len(c.Rows) > 0 {
			out = append(out, c)
		}
	}
	Correct(out)
	return out
}

// differences says where the two groups differ by more than noise. Of a lane that differs in how
// many rollouts dropped something, how much is left out.
func (c Comparison) differences() []string {
	var out []string
	for _, r := range c.Rows {
		if how, test, differs := r.Difference(); differs {
			out = append(out, fmt.Sprintf("%s and %s under %s on %s: %s (p = %.2g, corrected %.2g)",
				c.Base, c.Now, c.Disruption, r.What, how, test.P, test.Corrected))
		}
	}
	return out
}

// Difference says how the two groups differ, if they do by more than noise, and which test says so.
func (r ComparisonRow) Difference() (how string, test Test, differs bool) {
	switch {
	case r.Share.Differs():
		return fmt.Sprintf("dropped something in %d of %d against %d of %d rollouts",
			r.Base.Above0(), len(r.Base), r.Now.Above0(), len(r.Now)), r.Share, true
	case r.Amount.Differs() && r.Cost:
		return fmt.Sprintf("%s against %s", r.Unit.extent(r.Base), r.Unit.extent(r.Now)), r.Amount, true
	case r.Amount.Differs():
		return fmt.Sprintf("dropped %s against %s per rollout",
			r.Unit.extent(r.Base), r.Unit.extent(r.Now)), r.Amount, true
	}
	return "", Test{}, false
}

// write writes a value in the unit.
func (u Unit) write(v float64) string {
	switch u {
	case Seconds:
		return (time.Duration(v*1000) * time.Millisecond).String()
	case PodSeconds:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%g", v)
	}
}

// extent is the least and the greatest of a sample, in its unit: "21.0s–21.9s", "3–6".
func (u Unit) extent(s Sample) string {
	least, most := u.write(slices.Min(s)), u.write(slices.Max(s))
	if least == most {
		return most
	}
	return least + "–" + most
}
