// Package verdict says what a timeline means. It is pure: the same timeline and scenario give the same verdict, on any machine and at any time.
package verdict

import (
	"fmt"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Outcome is the last word on a run or a lane.
type Outcome int

// The zero value is Inconclusive: what nobody judged has not passed.
const (
	Inconclusive Outcome = iota // the measurement can't be believed, or a control failed; the reasons say why
	Pass                        // believed, and every lane within what was expected of it
	Fail                        // believed, and a lane lost more than was expected of it
)

var outcomeNames = [...]string{"inconclusive", "pass", "fail"}

func (o Outcome) String() string {
	if o < 0 || int(o) >= len(outcomeNames) {
		return fmt.Sprintf("outcome(%d)", int(o))
	}
	return outcomeNames[o]
}

// MarshalText writes the name.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (o *Outcome) UnmarshalText(text []byte) error {
	for i, name := range outcomeNames {
		if name == string(text) {
			*o = Outcome(i)
			return nil
		}
	}
	return fmt.Errorf("unknown outcome %q", text)
}

// Verdict is what one run means.
type Verdict struct {
	Strategy   string
	Disruption string
	Repeat     int
	Control    bool
	Outcome    Outcome
	Reasons    []string // why it isn't a pass; empty for a pass
	Lanes      []Lane

	PodsReplaced    int           // Pods that existed at the start of the disruption and were gone at the end
	Rollout         time.Duration // from the start of the disruption until all Pods were ready and none terminating
	PeakPods        int           // most Pods at once, terminating ones included
	ExtraPodSeconds float64       // Pod-seconds beyond the replicas asked for, from the start of the disruption until it settled
	Overhead        time.Duration // what the harness itself added to the run
	Environment     timeline.Environment
}

// Name is strategy/disruption.
func (v Verdict) Name() string { return v.Strategy + "/" + v.Disruption }

// Lane is what one lane of a run means. Planned = Sent + Unsent, Sent = OK + Dropped, Dropped = the sum of Causes.
type Lane struct {
	Name    string
	Expect  scenarios.Expect
	Outcome Outcome
	Reasons []string

	Planned int
	Sent    int
	Unsent  int
	OK      int
	Dropped int
	Masked  int // of OK: those that were sent more than once, which an ordinary client would not have told
	Causes  map[timeline.Cause]int

	LagP50, LagP99, LagMax   time.Duration
	LatencyP50, LatencyP99   time.Duration // of the ok requests, from the due instant
	FirstDropped, DroppedEnd time.Duration // since the start of the disruption: first loss sent, last loss sent; meaningless without losses
	// LastArrival is the longest time, over the Pods of the run, from the first sight of a Pod's deletion to the last request of this lane that this
	// Pod still answered. Nil if no Pod was deleted or none of them answered anything of this lane afterwards.
	LastArrival *time.Duration
	// Window is the shortest interval of total loss that one run of this lane would have seen with 95 % probability: 3/rate, the rule of three for
	// requests that meet the interval at random.
	Window time.Duration
}

// Judge says what a timeline means for the scenario that it was recorded under. Assumptions come first: a run that can't be believed is inconclusive,
// whatever it lost.
func Judge(tl timeline.Timeline, s scenarios.Scenario) Verdict {
	v := Verdict{
		Strategy: tl.Strategy, Disruption: tl.Disruption, Repeat: tl.Repeat, Control: s.Control,
		Overhead: tl.Window.Overhead, Environment: tl.Environment,
	}
	pods := podLives(tl)
	v.PodsReplaced = pods.replaced(tl.Window)
	v.PeakPods, v.ExtraPodSeconds = pods.cost(tl)
	if tl.Window.Settled > 0 {
		v.Rollout = tl.Window.Settled - tl.Window.DisruptStart
	}
	for _, record := range tl.Lanes {
		v.Lanes = append(v.Lanes, judgeLane(record, tl, s, pods))
	}
	// What went wrong explains whatever else is not as it should be: to list that as well would bury it.
	v.Reasons = append(v.Reasons, tl.Faults...)
	if len(tl.Faults) == 0 {
		for _, assume := range assumptions {
			v.Reasons = append(v.Reasons, assume(tl, s, pods)...)
		}
	}
	if len(v.Reasons) > 0 {
		v.Outcome = Inconclusive
		return v
	}
	v.Outcome = Pass
	for _, l := range v.Lanes {
		if l.Outcome == Pass {
			continue
		}
		for _, reason := range l.Reasons {
			v.Reasons = append(v.Reasons, l.Name+": "+reason)
		}
		// An inconclusive lane weighs more than a failed one: it says that the instrument is not to be trusted.
		if v.Outcome != Inconclusive {
			v.Outcome = l.Outcome
		}
	}
	return v
}

// Suite is what all runs together mean.
type Suite struct {
	Outcome Outcome
	Reasons []string
	Runs    []Verdict
}

// JudgeSuite puts runs together. A failed control takes the belief in every other run away: none of them passes.
func JudgeSuite(runs []Verdict) Suite {
	s := Suite{Runs: append([]Verdict(nil), runs...)}
	if len(runs) == 0 {
		s.Reasons = []string{"no run was made"}
		return s
	}
	var broken []string
	for _, v := range runs {
		if v.Control && v.Outcome != Pass {
			broken = append(broken, v.Name())
		}
	}
	s.Outcome = Pass
	for i := range s.Runs {
		v := &s.Runs[i]
		if len(broken) > 0 && v.Outcome == Pass && !v.Control {
			v.Outcome = Inconclusive
			v.Reasons = append(append([]string(nil), v.Reasons...), "control failed: "+strings.Join(broken, ", "))
		}
		if v.Outcome == Pass {
			continue
		}
		s.Reasons = append(s.Reasons, fmt.Sprintf("%s: %s: %s", v.Name(), v.Outcome, strings.Join(v.Reasons, "; ")))
		if s.Outcome != Inconclusive {
			s.Outcome = v.Outcome
		}
	}
	return s
}
