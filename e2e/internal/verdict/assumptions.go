package verdict

import (
	"fmt"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// assumption is a condition without which a run proves nothing. It returns the reasons not to believe the run; none if it holds.
type assumption func(timeline.Timeline, scenarios.Scenario, lives) []string

// assumptions are all of them, the most telling first.
var assumptions = []assumption{
	everyPhaseWasReached, ledgerBalances, everyRequestWasSent, senderWasOnTime, leadWasClean, podsWereReplaced,
	newPodsServed, watchWasUnbroken, loadOutlivedThePods,
}

func everyPhaseWasReached(tl timeline.Timeline, s scenarios.Scenario, _ lives) []string {
	var why []string
	if len(tl.Lanes) == 0 {
		why = append(why, "no lane was measured")
	}
	w := tl.Window
	if w.DisruptStart <= 0 || w.DisruptEnd < w.DisruptStart || w.Settled < w.DisruptEnd || w.LoadEnd <= w.Settled {
		why = append(why, "the run did not go through all of its phases")
	}
	if tl.Strategy != s.Strategy.Name || tl.Disruption != s.Disruption.Name {
		why = append(why, fmt.Sprintf("recorded under %s/%s, judged as %s", tl.Strategy, tl.Disruption, s.Name()))
	}
	return why
}

// ledgerBalances compares the count of records with the count that the schedule gives. A record that was never filled in is one that was not sent.
func ledgerBalances(tl timeline.Timeline, _ scenarios.Scenario, _ lives) []string {
	var why []string
	for _, l := range tl.Lanes {
		if l.Planned == 0 {
			why = append(why, l.Name+": no request was planned")
		}
		if len(l.Requests) != l.Planned {
			why = append(why, fmt.Sprintf("%s: the ledger doesn't balance: %d planned, %d on record", l.Name, l.Planned, len(l.Requests)))
		}
	}
	return why
}

func everyRequestWasSent(tl timeline.Timeline, _ scenarios.Scenario, _ lives) []string {
	var why []string
	for _, l := range tl.Lanes {
		unsent, unable := 0, 0
		for _, r := range l.Requests {
			switch r.Cause {
			case timeline.Unsent:
				unsent++
			case timeline.Client:
				unable++
			}
		}
		if unsent > 0 {
			why = append(why, fmt.Sprintf("%s: %d of %d planned requests were not sent", l.Name, unsent, l.Planned))
		}
		if unable > 0 {
			why = append(why, fmt.Sprintf("%s: the sender had no port or descriptor for %d of %d requests", l.Name, unable, l.Planned))
		}
	}
	return why
}

// senderWasOnTime bounds the lag by what the lane claims to see. Requests that are late by no more than the shortest visible gap (see Visible) still fall
// into a gap of that length, or beside it, as planned ones would; later ones don't. It is asked of the whole run, and of the time from the start of the
// disruption until it settled by itself: a sender that was held up just then would have been so among many requests that left on time.
func senderWasOnTime(tl timeline.Timeline, _ scenarios.Scenario, _ lives) []string {
	var why []string
	for _, l := range tl.Lanes {
		var all, within []time.Duration
		for _, r := range l.Requests {
			if r.Cause == timeline.Unsent {
				continue
			}
			all = append(all, r.Lag)
			if r.Planned >= tl.Window.DisruptStart && r.Planned <= tl.Window.Settled {
				within = append(within, r.Lag)
			}
		}
		bound := max(Visible(l.Rate), leastLag)
		if p99 := percentile(sorted(all), 0.99); p99 > bound {
			why = append(why, fmt.Sprintf("%s: requests left late: lag p99 %s, at most %s at %d requests/s", l.Name, p99, bound, l.Rate))
		} else if p99 := percentile(sorted(within), 0.99); p99 > bound {
			why = append(why, fmt.Sprintf("%s: requests left late during the disruption: lag p99 %s, at most %s at %d requests/s", l.Name, p99, bound, l.Rate))
		}
	}
	return why
}

// leastLag is the lag that no bound goes below: scheduling on a busy machine, and a timer grain of 1 ms. Above 300 requests/s it is more than the shortest
// visible gap.
const leastLag = 10 * time.Millisecond

// leadWasClean wants every lane to have worked, and to have lost nothing, before anything was done to the Pods.
func leadWasClean(tl timeline.Timeline, _ scenarios.Scenario, _ lives) []string {
	var why []string
	for _, l := range tl.Lanes {
		ok, lost := 0, 0
		for _, r := range l.Requests {
			switch {
			case r.Cause == timeline.Unsent || r.Done() >= tl.Window.DisruptStart:
			case r.Cause == timeline.OK:
				ok++
			default:
				lost++
			}
		}
		if lost > 0 {
			why = append(why, fmt.Sprintf("%s: %d requests were lost before the disruption began", l.Name, lost))
		} else if ok == 0 {
			why = append(why, l.Name+": no request was answered before the disruption began")
		}
	}
	return why
}

func podsWereReplaced(tl timeline.Timeline, s scenarios.Scenario, pods lives) []string {
	replaced := pods.replaced(tl.Window)
	switch {
	case s.Disruption.Replaces && (replaced < tl.Replicas || tl.Replicas == 0):
		return []string{fmt.Sprintf("%d of %d Pods were replaced", replaced, tl.Replicas)}
	case !s.Disruption.Replaces && replaced > 0:
		return []string{fmt.Sprintf("%d Pods went away though nothing was done to them", replaced)}
	}
	return nil
}

// newPodsServed wants an answer from each Pod that replaced another, else the run has not seen the new release at all.
func newPodsServed(tl timeline.Timeline, _ scenarios.Scenario, pods lives) []string {
	served := map[string]bool{}
	for _, l := range tl.Lanes {
		for _, r := range l.Requests {
			if r.Cause == timeline.OK {
				served[l.PodOf(r)] = true
			}
		}
	}
	var why []string
	for _, name := range pods.names() {
		marks := pods[name]
		_, ready := marks[timeline.PodReady]
		if created, known := marks[timeline.PodCreated]; known && ready && created > tl.Window.DisruptStart && !served[name] {
			why = append(why, fmt.Sprintf("Pod %s was ready and answered no request", name))
		}
	}
	return why
}

func watchWasUnbroken(tl timeline.Timeline, _ scenarios.Scenario, _ lives) []string {
	var why []string
	for _, e := range tl.Events {
		if e.Kind == timeline.WatchGap {
			why = append(why, fmt.Sprintf("events may be missing at %s: %s", e.At.Round(time.Millisecond), e.Detail))
		}
	}
	return why
}

// loadOutlivedThePods wants the load to go on until no Pod is terminating, plus one client timeout: losses often come after the rollout is over.
func loadOutlivedThePods(tl timeline.Timeline, _ scenarios.Scenario, pods lives) []string {
	var why []string
	var lastGone time.Duration
	for _, name := range pods.names() {
		marks := pods[name]
		gone, isGone := marks[timeline.PodGone]
		if _, deleted := marks[timeline.PodDeleted]; deleted && !isGone {
			why = append(why, fmt.Sprintf("Pod %s was still terminating when the load ended", name))
		}
		lastGone = max(lastGone, gone)
	}
	for _, l := range tl.Lanes {
		if end := tl.Window.LoadEnd; end-lastGone < l.Timeout {
			why = append(why, fmt.Sprintf("%s: the load ended %s after the last Pod was gone: at least its timeout of %s is needed",
				l.Name, (end-lastGone).Round(time.Millisecond), l.Timeout))
		}
	}
	return why
}
