package verdict

import (
	"slices"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// ServerResult is what all runs together say of an app that isn't the sample app, stopped in one way.
type ServerResult struct {
	Target   timeline.TargetSpec
	Strategy string // the way
	Summary  string
	// ConsumerResult is of who asked it: the first consumer of its lanes.
	ConsumerResult
	// Classes are of so many requests that could be dropped so: those in flight of the lanes of slow requests.
	Classes map[timeline.Class]Tally
	Causes  map[timeline.Class]map[timeline.Cause]int // of the dropped requests
	Late    int
}

// Servers puts the runs of apps that aren't the sample app together, way by way, in the order in which they
// were made. Runs in which no Pod was to go count for none.
func Servers(runs []Verdict) []ServerResult {
	type way struct{ app, strategy string }
	var order []way
	groups := map[way][]Verdict{}
	for _, v := range runs {
		if v.Spec.Target == nil || v.Spec.Scope.KeepsPods() {
			continue
		}
		w := way{v.Spec.Target.Name, v.Spec.Strategy}
		if !slices.Contains(order, w) {
			order = append(order, w)
		}
		groups[w] = append(groups[w], v)
	}
	var out []ServerResult
	for _, w := range order {
		group := groups[w]
		consumers := Consumers(group)
		if len(consumers) == 0 {
			continue
		}
		spec := group[0].Spec
		s := ServerResult{
			Target: *spec.Target, Strategy: spec.Strategy, Summary: spec.Summary, ConsumerResult: consumers[0],
			Classes: map[timeline.Class]Tally{}, Causes: map[timeline.Class]map[timeline.Cause]int{},
		}
		for _, v := range group {
			if v.Conclusive() {
				s.count(v)
			}
		}
		out = append(out, s)
	}
	return out
}

func (s *ServerResult) count(v Verdict) {
	tally := func(class timeline.Class, dropped, sent int) {
		t := s.Classes[class]
		s.Classes[class] = Tally{t.Dropped + dropped, t.Sent + sent}
	}
	for _, l := range v.Lanes {
		if l.Consumer != s.Consumer || !l.Outcome.Conclusive() {
			continue
		}
		s.Late += l.Late
		tally(l.ConnectionClass(), 0, l.Sent)
		if l.Class == timeline.ClassInFlight {
			tally(l.Class, 0, l.Sent)
		}
		for _, class := range l.Classes {
			tally(class.Class, class.Dropped, 0)
			for cause, n := range class.Causes {
				if s.Causes[class.Class] == nil {
					s.Causes[class.Class] = map[timeline.Cause]int{}
				}
				s.Causes[class.Class][cause] += n
			}
		}
	}
}
