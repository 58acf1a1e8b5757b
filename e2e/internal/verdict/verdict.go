// Package verdict says what a timeline means. It is pure: the same timeline and scenario give the same verdict, on any machine and at any time.
package verdict

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Outcome is the last word on a run, a lane or a suite.
type Outcome int

// The zero value is Inconclusive: what nobody judged has not passed.
const (
	Inconclusive   Outcome = iota // the measurement can't be believed, a control failed, or somebody ended it; the reasons say why
	Pass                          // believed, and every lane within what was expected of it
	Fail                          // believed, and a lane lost more than was expected of it
	Infrastructure                // there is no measurement: what it needs broke down (cluster, API server, workers, disk)
)

var outcomeNames = [...]string{"inconclusive", "pass", "fail", "infrastructure"}

func (o Outcome) String() string {
	if o < 0 || int(o) >= len(outcomeNames) {
		return fmt.Sprintf("outcome(%d)", int(o))
	}
	return outcomeNames[o]
}

// Outcomes lists every outcome, the weightiest first: together, outcomes are worth what the weightiest of them is. Infrastructure outranks inconclusive, as
// what broke down explains what can't be believed; that outranks fail, as an instrument that isn't to be trusted proves no loss either.
func Outcomes() []Outcome { return []Outcome{Infrastructure, Inconclusive, Fail, Pass} }

// Outranks says whether o weighs more than another outcome.
func (o Outcome) Outranks(other Outcome) bool {
	return slices.Index(Outcomes(), o) < slices.Index(Outcomes(), other)
}

// ExitCode is what a process whose suite came out so exits with: 0 pass, 1 fail, 3 inconclusive, 4 infrastructure. 2 is for flags that make no sense, as
// package flag has it. What is no outcome is inconclusive.
func (o Outcome) ExitCode() int {
	switch o {
	case Pass:
		return 0
	case Fail:
		return 1
	case Infrastructure:
		return 4
	default:
		return 3
	}
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
	DisruptStart    time.Duration // on the clock of the run, as those of its losses and outages; 0 if the run didn't get there
	Rollout         time.Duration // from the start of the disruption until all Pods were ready and none terminating
	PeakPods        int           // most Pods at once, terminating ones included
	ExtraPodSeconds float64       // Pod-seconds beyond the replicas asked for, from the start of the disruption until it settled
	Overhead        time.Duration // what the harness itself added to the run
	Environment     timeline.Environment
	// DeletionSeen is, for each Pod that the disruption itself deleted, how long after it had asked for that the deletion was seen. The API server did it in
	// between: where only the watch knows of the instant, by no more than this a time since the deletion is too short.
	DeletionSeen []time.Duration
	// DeletionLate is, for each Pod of which etcd tells when it was deleted, how much later the watch told of it. Its deletion's instant is etcd's.
	DeletionLate []time.Duration `json:",omitempty"`

	Lives  []Life // of all Pods, in the order in which they were first seen
	Losses []Loss `json:"-"` // every dropped request, lane by lane; a file of its own
}

// Name is strategy/disruption.
func (v Verdict) Name() string { return v.Strategy + "/" + v.Disruption }

// Lane is what one lane of a run means. Planned = Sent + Unsent, Sent = OK + Dropped, Dropped = the sum of Causes.
type Lane struct {
	Name string
	From string // where it was sent from: fixtures.FromHost, FromCluster; empty if the timeline doesn't say
	Rate int    // requests per second
	// Connections is new or reused. A new one meets the endpoints as they are, a reused one stays with the Pod that it was first made to.
	Connections string
	Replayable  bool // http.Transport was free to send requests again: what it did so is Masked
	Expect      scenarios.Expect
	Outcome     Outcome
	Reasons     []string

	Planned int
	Sent    int
	Unsent  int
	OK      int
	Dropped int
	Masked  int // of OK: those that were sent more than once, which an ordinary client would not have told
	Causes  map[timeline.Cause]int

	LagP50, LagP99, LagMax   time.Duration
	LatencyP50, LatencyP99   time.Duration  // of the ok requests, from the due instant
	FirstDropped, DroppedEnd time.Duration  // since the start of the disruption: first loss sent, last loss sent; meaningless without losses
	Moments                  map[Moment]int // of the dropped requests: which part of a Pod's life lost them
	Unattributed             map[string]int // of those that are charged to no moment: what is missing
	Outages                  []Outage
	// Arrivals are, for each Pod of the run that was deleted, how long requests of this lane went on arriving at it. LastArrival is the longest; nil if no Pod
	// was deleted or none of them got anything of this lane afterwards.
	Arrivals    []Arrival
	LastArrival *time.Duration
	// Window is the shortest interval of total loss that one run of this lane is sure enough to have seen: 3/rate (Visible), or more where requests left
	// late (see pace.sight).
	Window time.Duration
}

// Reuses says whether the lane sent its requests on connections that it already had. One that doesn't say counts as one of new connections.
func (l Lane) Reuses() bool { return l.Connections == string(scenarios.ReusedConnections) }

// Judge says what a timeline means for the scenario that it was recorded under. A fault says that there was no measurement to speak of. Else assumptions come
// first: a run that can't be believed is inconclusive, whatever it lost.
func Judge(tl timeline.Timeline, s scenarios.Scenario) Verdict {
	v := Verdict{
		Strategy: tl.Strategy, Disruption: tl.Disruption, Repeat: tl.Repeat, Control: s.Control,
		DisruptStart: tl.Window.DisruptStart, Overhead: tl.Window.Overhead, Environment: tl.Environment,
	}
	pods := podLives(tl)
	v.PodsReplaced = pods.replaced(tl.Window)
	v.PeakPods, v.ExtraPodSeconds = pods.cost(tl)
	if tl.Window.Settled > 0 {
		v.Rollout = tl.Window.Settled - tl.Window.DisruptStart
	}
	for _, life := range pods.all {
		v.Lives = append(v.Lives, *life)
		asked, byUs := life.At(timeline.DeleteAsked)
		if deleted, ok := life.At(timeline.PodDeleted); ok && byUs && deleted >= asked {
			v.DeletionSeen = append(v.DeletionSeen, deleted+life.deletionLate-asked)
		}
		if life.deletionLate > 0 {
			v.DeletionLate = append(v.DeletionLate, life.deletionLate)
		}
	}
	found := findings{pods: pods, losses: attribute(tl, pods)}
	v.Losses = slices.Concat(found.losses...)
	for i, record := range tl.Lanes {
		found.paces = append(found.paces, paceOf(record, tl.Window))
		v.Lanes = append(v.Lanes, judgeLane(tl, i, s, found))
	}
	// What broke down, or who ended the run, explains whatever else is not as it should be: to list that as well would bury it.
	switch broken := slices.Concat(tl.Faults, nodesDown(tl)); {
	case len(broken) > 0:
		v.Outcome = Infrastructure
		v.Reasons = broken
		return v
	case tl.Interrupted != "":
		v.Reasons = []string{tl.Interrupted}
		return v
	}
	for _, assume := range assumptions {
		v.Reasons = append(v.Reasons, assume(tl, s, found)...)
	}
	if s.Control && s.Disruption.Replaces && !slices.ContainsFunc(v.Lanes, func(l Lane) bool { return l.Dropped+l.Masked > 0 }) {
		v.Reasons = append(v.Reasons, "no lane lost anything where something must be lost: the instrument can't see losses")
	}
	if len(v.Reasons) > 0 {
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
		if l.Outcome.Outranks(v.Outcome) {
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
	Twins   []TwinLane // A/A: strategies that ran under two names, lane by lane; empty if none did
}

// JudgeSuite puts runs together. A failed control takes the belief in every other run away: none of them passes. So does, for the suite as a whole, a
// strategy that differs from itself (see Twins).
func JudgeSuite(runs []Verdict) Suite {
	s := Suite{Runs: slices.Clone(runs), Twins: Twins(runs)}
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
	worsen := func(o Outcome, reason string) {
		s.Reasons = append(s.Reasons, reason)
		if o.Outranks(s.Outcome) {
			s.Outcome = o
		}
	}
	for i := range s.Runs {
		v := &s.Runs[i]
		if len(broken) > 0 && v.Outcome == Pass && !v.Control {
			v.Outcome = Inconclusive
			v.Reasons = append(slices.Clone(v.Reasons), "control failed: "+strings.Join(broken, ", "))
		}
		if v.Outcome != Pass {
			worsen(v.Outcome, fmt.Sprintf("%s: %s: %s", v.Name(), v.Outcome, strings.Join(v.Reasons, "; ")))
		}
	}
	for _, t := range s.Twins {
		if reason := t.differ(); reason != "" {
			worsen(Inconclusive, reason)
		}
	}
	return s
}
