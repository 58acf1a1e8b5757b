package verdict

import (
	"fmt"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// lateAfter is how long after its planned instant, and the work that it asks for, an answer is late.
// A client of a Service without endpoints waits for a SYN to be sent again, a second later, instead
// of failing: such requests are not dropped, and a count of those hides them.
const lateAfter = time.Second

// isLate says that a request of a lane was answered late.
func isLate(spec timeline.LaneSpec, r timeline.Request) bool {
	return r.Cause == timeline.OK && r.Latency > spec.Work+lateAfter
}

// noteLate remembers how long after a deletion a late request was sent.
func (l *Lane) noteLate(sent time.Duration, pods lifecycles) {
	if since, ok := pods.sinceDeletion(sent); ok && (l.LastLate == nil || since > *l.LastLate) {
		l.LastLate = &since
	}
}

// judgeLane counts what became of a lane's requests and compares it with what was promised.
func judgeLane(tl timeline.Timeline, lane int, found findings) Lane {
	record, punctual, dropped := tl.Lanes[lane], found.punctuality[lane], found.dropped[lane]
	spec, _ := tl.Spec.Lane(record.Name)
	l := Lane{
		LaneSpec: spec, Planned: record.Planned, Lookups: record.Lookups, Causes: map[timeline.Cause]int{},
		LagP50: punctual.lagP50, LagP99: punctual.lagP99, LagMax: punctual.lagMax,
		MinDetectableOutage: punctual.minDetectableOutage(record.Rate),
		Arrivals:            arrivals(tl, spec, record, dropped, found.pods),
		Anonymous:           anonymous(tl.Spec, record),
		Outages:             outages(record, dropped, tl.Events),
		Phases:              map[LifecyclePhase]int{}, Unattributed: map[string]int{},
		HeldConnections: judgeHeld(tl, lane, found),
	}
	for _, a := range l.Arrivals {
		if a.After > 0 && (l.LastArrival == nil || a.After > l.LastArrival.After) {
			l.LastArrival = &a
		}
	}
	byClass := map[timeline.Class]int{}
	causes := map[timeline.Class]map[timeline.Cause]int{}
	for _, d := range dropped {
		byClass[d.Class]++
		if causes[d.Class] == nil {
			causes[d.Class] = map[timeline.Cause]int{}
		}
		causes[d.Class][d.Cause]++
		l.Phases[d.Phase]++
		if d.Phase == Unattributed {
			l.Unattributed[d.Why]++
		}
	}
	var latencies []time.Duration
	for _, r := range record.Requests {
		switch {
		case r.Cause == timeline.Unsent:
			l.Unsent++
			continue
		case r.Dropped():
			if l.Dropped == 0 {
				l.FirstDropped = r.Sent() - tl.Window.DisruptStart
			}
			l.DroppedEnd = r.Sent() - tl.Window.DisruptStart
			l.Dropped++
			l.Causes[r.Cause]++
		default:
			l.OK++
			latencies = append(latencies, r.Latency)
			if isLate(spec, r) {
				l.Late++
				l.noteLate(r.Sent(), found.pods)
			}
		}
		if r.Masked() {
			l.Masked++
		}
		l.Sent++
	}
	l.ProxyMasked = proxyMasked(tl, spec, record)
	slices.Sort(latencies)
	l.LatencyP50, l.LatencyP99 = Percentile(latencies, 0.50), Percentile(latencies, 0.99)

	l.Outcome = Pass
	for _, class := range timeline.Classes() {
		promise, declared := spec.Held[class]
		if !declared && byClass[class] == 0 {
			continue
		}
		c := ClassResult{Class: class, Dropped: byClass[class], Causes: causes[class], Promise: promise}
		if class == spec.ConnectionClass() {
			c.Masked = l.Masked
		}
		c.Outcome, c.Reason = c.judge(l.Sent)
		l.Classes = append(l.Classes, c)
		if c.Outcome.Outranks(l.Outcome) {
			l.Outcome = c.Outcome
		}
		if c.Reason != "" {
			l.Reasons = append(l.Reasons, c.Reason)
		}
	}
	if why := notLocal(tl, spec, record, found.pods); why != "" {
		l.Outcome, l.Reasons = Inconclusive, append(l.Reasons, why)
	}
	if len(spec.Held) == 0 {
		l.Outcome, l.Reasons = Inconclusive, append(l.Reasons, "nothing was declared of it")
	}
	return l
}

// judge compares what was dropped of a class with what was promised for it.
func (c ClassResult) judge(sent int) (o Outcome, why string) {
	by := c.Promise.Source
	switch c.Promise.Expect {
	case timeline.Measured:
		return Pass, ""
	case timeline.Drops:
		if c.Dropped == 0 {
			return Inconclusive, fmt.Sprintf(
				"%s: dropped none of %d where some must be dropped (%s): %s",
				c.Class,
				sent,
				by,
				blind,
			)
		}
		return Pass, ""
	case timeline.Clean:
		switch {
		case c.Dropped > 0:
			return Fail, fmt.Sprintf(
				"%s: dropped %d of %d where none may be dropped (%s)",
				c.Class,
				c.Dropped,
				sent,
				by,
			)
		case c.Masked > 0:
			return Fail, fmt.Sprintf("%s: %d of %d were dropped once and sent again (%s)", c.Class, c.Masked, sent, by)
		}
		return Pass, ""
	}
	return Inconclusive, fmt.Sprintf("%s: dropped %d, and nothing was declared of this class", c.Class, c.Dropped)
}
