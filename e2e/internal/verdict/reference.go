package verdict

import (
	"fmt"
	"slices"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// ReferenceDrift says where the lane that runs of every group of consumers have differs between the
// groups: what a group adds, or the hour at which it was measured, is then in its numbers as well.
//
// Each run of a group is held against the runs of the other groups with the same strategy,
// disruption and kube-proxy: by how many requests it dropped or masked on the lane, and by the
// median of its last arrivals. To have enough of them, the differences from the median of all groups
// are put together, whatever the strategy and disruption:
//
//	            ingress  local  gateway   median   differences
//	at once/x        14      6        7        7   ingress +7   local −1  gateway 0
//	at once/y         9      5        5        5   ingress +4   local  0  gateway 0
//
// and those of a group are compared with all others' by ranks (RankSum), one value a run, as requests
// of a rollout go together. The tests are corrected for each other (Holm). One group against one other
// is told of both.
func ReferenceDrift(runs []Verdict, lane string) []string {
	var tests []*referenceTest
	for _, of := range []struct {
		what  string
		write func(float64) string
		value func(Lane) (float64, bool)
	}{
		{"dropped", Requests.write, func(l Lane) (float64, bool) { return float64(l.Dropped + l.Masked), true }},
		{"had its last arrivals after", Seconds.write, medianArrival},
	} {
		for _, t := range referenceTests(runs, lane, of.value) {
			t.what, t.write = of.what, of.write
			tests = append(tests, t)
		}
	}
	var p []float64
	for _, t := range tests {
		p = append(p, t.p)
	}
	var out []string
	for i, corrected := range Holm(p) {
		if t := tests[i]; corrected < Significant {
			out = append(out, fmt.Sprintf("%s of %s %s %s, that of the other groups in the same runs %s "+
				"(medians; p = %.2g, corrected %.2g): what was measured beside it may differ for the same reason",
				lane, t.name, t.what, t.write(t.own.Median()), t.write(t.others.Median()), t.p, corrected))
		}
	}
	return out
}

// medianArrival is that of the last arrivals of a lane that were not cut off by their Pod's end, in
// seconds.
func medianArrival(l Lane) (float64, bool) {
	var after Sample
	for _, a := range l.Arrivals {
		if !a.Censored {
			after = append(after, a.After.Seconds())
		}
	}
	return after.Median(), len(after) > 0
}

// referenceTest is one group against the others with the same kube-proxy.
type referenceTest struct {
	name        string
	what        string
	write       func(float64) string
	own, others Sample // values, as they are
	p           float64
}

func referenceTests(runs []Verdict, lane string, value func(Lane) (float64, bool)) []*referenceTest {
	type cell struct{ mode, strategy, disruption string }
	type place struct{ mode, group string }
	type measured struct {
		place
		value, apart float64
	}
	cells := map[cell][]measured{}
	var order []cell
	for _, v := range runs {
		if !v.Conclusive() || v.Spec.Scope == timeline.ScopeNone {
			continue
		}
		i := slices.IndexFunc(v.Lanes, func(l Lane) bool { return l.Name == lane })
		if i < 0 {
			continue
		}
		if x, ok := value(v.Lanes[i]); ok {
			at := cell{v.Environment.ProxyMode, v.Spec.Strategy, v.Spec.Disruption}
			if cells[at] == nil {
				order = append(order, at)
			}
			cells[at] = append(cells[at], measured{place: place{at.mode, v.Spec.ConsumerGroup}, value: x})
		}
	}
	var all []measured
	var places []place
	for _, at := range order {
		list := cells[at]
		if !slices.ContainsFunc(list, func(m measured) bool { return m.group != list[0].group }) {
			continue // nothing to compare with
		}
		var values Sample
		for _, m := range list {
			values = append(values, m.value)
		}
		for _, m := range list {
			m.apart = m.value - values.Median()
			all = append(all, m)
			if !slices.Contains(places, m.place) {
				places = append(places, m.place)
			}
		}
	}
	var out []*referenceTest
	for _, at := range places {
		t := &referenceTest{name: "group " + at.group}
		if at.group == "" {
			t.name = "the consumers of every run"
		}
		var own, others []float64
		for _, m := range all {
			switch {
			case m.place == at:
				own, t.own = append(own, m.apart), append(t.own, m.value)
			case m.mode == at.mode:
				others, t.others = append(others, m.apart), append(t.others, m.value)
			}
		}
		t.p = RankSum(own, others)
		out = append(out, t)
	}
	return out
}
