package verdict

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Outcome is the last word on a run, a lane or a suite.
type Outcome int

// The zero value is Inconclusive: what nobody judged has not passed.
const (
	Inconclusive   Outcome = iota // the measurement is not valid, a control failed, or it was interrupted
	Pass                          // valid, and every lane within what was promised
	Fail                          // valid, and a lane dropped more than was promised
	Infrastructure                // what a measurement needs broke down (cluster, API server, workers, disk)
)

var outcomeNames = [...]string{"inconclusive", "pass", "fail", "infrastructure"}

func (o Outcome) String() string {
	if o < 0 || int(o) >= len(outcomeNames) {
		return fmt.Sprintf("outcome(%d)", int(o))
	}
	return outcomeNames[o]
}

// Outcomes lists every outcome, the weightiest first: together, outcomes are worth what the
// weightiest of them is. Infrastructure outranks inconclusive, as what broke down explains what
// isn't valid; that outranks fail, as an instrument that isn't to be trusted proves no drop either.
func Outcomes() []Outcome { return []Outcome{Infrastructure, Inconclusive, Fail, Pass} }

// Outranks says whether o weighs more than another outcome.
func (o Outcome) Outranks(other Outcome) bool {
	return slices.Index(Outcomes(), o) < slices.Index(Outcomes(), other)
}

// ExitCode is what a process whose suite came out so exits with: 0 pass, 1 fail, 3 inconclusive, 4
// infrastructure. 2 is for flags that make no sense, as package flag has it. What is no outcome is
// inconclusive.
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
	Spec   timeline.Spec // what the run was declared to be
	Repeat int
	// Replicas is how many Pods the workload asked for. With one, all Pods terminate at once.
	Replicas int
	Outcome  Outcome
	Reasons  []string // why it isn't a pass; empty for a pass
	Lanes    []Lane
	Retry    []string // why an earlier attempt was inconclusive, if the run is its repetition
	// MachineBusy says that the run is inconclusive for the machine's sake alone: its CPUs or the
	// sender on it were too busy. Such a run is worth repeating, once.
	MachineBusy bool

	PodsReplaced    int           // Pods that existed at the start of the disruption and were gone at the end
	DisruptStart    time.Duration // on the clock of the run; 0 if the run didn't get there
	Rollout         time.Duration // from the start of the disruption until all Pods were ready and none terminating
	PeakPods        int           // most Pods at once, terminating ones included
	ExtraPodSeconds float64       // Pod-seconds beyond the replicas asked for, until it settled
	Overhead        time.Duration // what the harness itself added to the run
	Environment     timeline.Environment
	// DeletionSeen is, for each Pod that the disruption itself deleted, how long after it had asked
	// for that the deletion was seen. A time since a deletion that only the watch knows is too
	// short by no more.
	DeletionSeen []time.Duration
	// DeletionLate is, for each Pod of which the audit log tells when its deletion was asked for, how
	// much later the watch told of it; DeletionWidth is when it was answered at the latest, later by
	// so much. Of runs that etcd's log dated, to the instant, there is no width.
	DeletionLate, DeletionWidth []time.Duration

	// Unseen is what proxies' access logs did not tell of the run, and what an app that says nothing of
	// itself leaves open, a sentence each.
	Unseen []string
	// Restarted are the programs of the cluster that the disruption has restarted, a sentence each.
	Restarted []string

	// Releases are those of a run that has several in a row, or that says when Services changed from one to
	// the next. So many of them had Pods at the same time at most.
	Releases       []Release
	ReleasesAtOnce int
	// Tasks is what became of the long tasks that Pods have taken; nil where they take none.
	Tasks *Tasks

	Controllers     Controllers
	Watched         []Watched        // removals, as consumers without load saw them
	Terminations    []Termination    // of the Pods that were deleted with a grace period
	Withdrawals     []Withdrawal     // of the Pods of a disrupted node that nobody had deleted by then
	Pods            []PodLifecycle   // all, in the order in which they were first seen
	DroppedRequests []DroppedRequest // every one, lane by lane
}

// Name is strategy/disruption.
func (v Verdict) Name() string { return v.Spec.Name() }

// RetryReasons are what a repetition of the run has to say of it (see Retry): why it proves nothing,
// and each promise that it did not keep. An inconclusive run convicts nobody, but what it dropped
// must not be forgotten because the next one passes.
func (v Verdict) RetryReasons() []string {
	var out []string // broken promises first: what follows may be cut off
	for _, l := range v.Lanes {
		for _, c := range l.Classes {
			if c.Outcome == Fail {
				out = append(out, "it failed, too: "+l.Name+": "+c.Reason)
			}
		}
	}
	return append(out, v.Reasons...)
}

// Conclusive says that the run proves something: it was measured, and the measurement is valid.
func (v Verdict) Conclusive() bool { return v.Outcome.Conclusive() }

// Conclusive says that an outcome is of a valid measurement.
func (o Outcome) Conclusive() bool { return o == Pass || o == Fail }

// Deleted is how many Pods were seen to be deleted.
func (v Verdict) Deleted() int {
	n := 0
	for _, life := range v.Pods {
		if life.has(timeline.PodDeleted) {
			n++
		}
	}
	return n
}

// Watched is one Pod's removal as a consumer that is only watched, Prometheus, saw it.
type Watched struct {
	Consumer string
	Pod      string
	// After is from when the Pod's deletion was asked for to the last time that the consumer asked the
	// Pod; negative if that was before. Censored as an Arrival is.
	After    time.Duration
	Censored bool
	// Blind is from the last successful scrape of the Pod, or from its creation if there was none, to
	// the end of its process: what the Pod did then, nobody knows. 0 if that end was not seen.
	Blind time.Duration
}

// Lane is one lane of a run. Planned = Sent + Unsent, Sent = OK + Dropped = OK + the sum of Causes.
type Lane struct {
	timeline.LaneSpec
	Outcome Outcome
	Reasons []string
	Classes []ClassResult // of the dropped requests, those that were declared and those that occur

	Planned int
	Sent    int
	Unsent  int
	OK      int
	Dropped int
	Masked  int // of OK: those that were sent more than once, which an ordinary client hides
	// ProxyMasked are those of OK that the consumer's own program sent more than once, by its access log.
	// They break no promise: sending again is what this consumer does.
	ProxyMasked int
	Late        int // of OK: those answered more than a second after their planned instant and the lane's work
	// LastLate is the longest time from a deletion, the last before it, to when a late request was sent.
	// That request may first have gone to a Pod that was gone. nil without any.
	LastLate *time.Duration
	Lookups  int // DNS queries that its clients sent
	Causes   map[timeline.Cause]int

	LagP50, LagP99, LagMax   time.Duration
	LatencyP50, LatencyP99   time.Duration          // of the ok requests, from the due instant
	FirstDropped, DroppedEnd time.Duration          // since the start of the disruption; meaningless without any
	Phases                   map[LifecyclePhase]int // of the dropped requests: which phase of a Pod's life dropped them
	Unattributed             map[string]int         // of those that are charged to no phase: what is missing
	Outages                  []Outage
	// Arrivals are, for each Pod of the run that was deleted, how long requests of this lane went
	// on arriving at it; Pods that got none, and would not have, are left out. LastArrival is the
	// longest; nil if no Pod was deleted or none of them got anything of this lane afterwards.
	Arrivals    []Arrival
	LastArrival *Arrival
	// Anonymous says that nobody knows which Pod has given any answer: no arrival is known.
	Anonymous bool
	// MinDetectableOutage is the shortest outage that one run of this lane is sure enough to have
	// seen: 3/rate, or more where requests left late (see punctuality.minDetectableOutage).
	MinDetectableOutage time.Duration
	// HeldConnections is what became of those that its clients held; nil for a lane that holds none.
	HeldConnections *Held
}

// ClassResult is what became of a lane's requests of one class.
type ClassResult struct {
	Class   timeline.Class
	Dropped int
	Causes  map[timeline.Cause]int // of the dropped
	Masked  int
	Promise timeline.Promise // what they were held to
	Outcome Outcome
	Reason  string
}

// Judge says what a timeline means, by what was declared when it was recorded. An error of the
// measurement says that there was none to speak of. Else validity comes first: a run that is not
// valid is inconclusive, whatever it dropped.
func Judge(tl timeline.Timeline) Verdict {
	v := Verdict{
		Spec: tl.Spec, Repeat: tl.Repeat, Replicas: tl.Replicas, Environment: tl.Environment, Retry: tl.Retry,
		DisruptStart: tl.Window.DisruptStart, Overhead: tl.Window.Overhead,
	}
	tl = standIn(tl)
	pods := podLifecycles(tl)
	tl.Lanes = nameAnswers(tl, pods)
	pods.noteClocks(tl)
	pods.noteAnswers(tl.Lanes)
	if !tl.Spec.SaysItself() {
		pods.noteListening()
	}
	found := findings{pods: pods, dropped: attribute(tl, pods)}
	v.PodsReplaced, _ = pods.gone(tl.Window, "")
	v.PeakPods, v.ExtraPodSeconds = pods.cost(tl)
	if tl.Window.Settled > 0 {
		v.Rollout = tl.Window.Settled - tl.Window.DisruptStart
	}
	for _, life := range pods.all {
		life.Segments = life.segments()
		v.Pods = append(v.Pods, *life)
		asked, byUs := life.At(timeline.DeleteAsked)
		if deleted, ok := life.At(timeline.PodDeleted); ok && byUs && deleted >= asked {
			v.DeletionSeen = append(v.DeletionSeen, deleted+life.deletionLate-asked)
		}
		if life.deletionLate > 0 {
			v.DeletionLate = append(v.DeletionLate, life.deletionLate)
		}
		if life.deletionWidth > 0 {
			v.DeletionWidth = append(v.DeletionWidth, life.deletionWidth)
		}
	}
	v.Watched, v.Terminations = watched(tl, pods), terminations(tl, pods)
	v.Unseen = append(unseen(tl), untold(tl)...)
	v.Withdrawals = withdrawals(tl, pods)
	v.Restarted = restarted(tl)
	v.Controllers = controllers(tl, pods)
	v.DroppedRequests = slices.Concat(found.dropped...)
	v.Tasks = judgeTasks(tl, found)
	for i, record := range tl.Lanes {
		found.punctuality = append(found.punctuality, punctualityOf(record, tl.Window))
		v.Lanes = append(v.Lanes, judgeLane(tl, i, found))
	}
	v.Releases, v.ReleasesAtOnce = releases(tl, pods, v.Lanes)
	// What broke down, or who ended the run, explains the rest: to list that as well would bury it.
	switch broken := slices.Concat(tl.Errors, nodesDown(tl)); {
	case len(broken) > 0:
		v.Outcome = Infrastructure
		v.Reasons = broken
		return v
	case tl.Interrupted != "":
		v.Reasons = []string{tl.Interrupted}
		return v
	}
	machine := 0
	for _, check := range validityChecks {
		why := check.reasons(tl, found)
		v.Reasons = append(v.Reasons, why...)
		if check.machine {
			machine += len(why)
		}
	}
	drops := slices.ContainsFunc(v.Lanes, func(l Lane) bool { return l.Dropped+l.Masked > 0 })
	if tl.Spec.Control && tl.Spec.Scope != timeline.ScopeNone && !drops {
		v.Reasons = append(v.Reasons, "no lane dropped anything where something must be dropped: "+blind)
	}
	if len(v.Reasons) > 0 {
		v.MachineBusy = machine == len(v.Reasons)
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

const blind = "the instrument can't see drops"

// Suite is what all runs together mean.
type Suite struct {
	Outcome Outcome
	Reasons []string
	Runs    []Verdict
	AA      []Comparison // strategies that ran under two names; empty if none did
}

// JudgeSuite puts runs together. A failed control takes the validity of every other run of its group
// of consumers away: none of them passes. So does, for the suite as a whole, a strategy that differs
// from itself (see AA).
func JudgeSuite(runs []Verdict) Suite {
	s := Suite{Runs: slices.Clone(runs), AA: AA(runs)}
	if len(runs) == 0 {
		s.Reasons = []string{"no run was made"}
		return s
	}
	var failed []Verdict
	for _, v := range runs {
		if v.Spec.Control && v.Outcome != Pass {
			failed = append(failed, v)
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
		var broken []string
		for _, control := range failed {
			if control.Spec.Together(v.Spec) {
				broken = append(broken, control.Name())
			}
		}
		if len(broken) > 0 && v.Outcome == Pass && !v.Spec.Control {
			v.Outcome = Inconclusive
			v.Reasons = append(slices.Clone(v.Reasons), "control failed: "+strings.Join(broken, ", "))
		}
		if v.Outcome != Pass {
			worsen(v.Outcome, fmt.Sprintf("%s: %s: %s", v.Name(), v.Outcome, strings.Join(v.Reasons, "; ")))
		}
	}
	for _, c := range s.AA {
		for _, reason := range c.differences() {
			worsen(Inconclusive, "A/A: two names of one strategy differ: "+reason)
		}
	}
	return s
}
