package verdict

import (
	"cmp"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Arrival says how long traffic went on arriving at a Pod that was to go.
type Arrival struct {
	Pod   string
	Owner int // index of the Pod's lifecycle in Verdict.Pods
	// After is from when the Pod's deletion was asked for, or before that its leave of its Services, to
	// the last request that landed on it, whether answered or dropped; 0 if none did. It is known to one
	// interval of the lane, 1/rate.
	After time.Duration
	// Censored says that After is a lower bound: requests arrived until the Pod's own end, or that
	// came too soon for any to arrive, or Missed. After would have been longer had the Pod lived longer.
	Censored bool
	// Missed says that requests went on to where there was no endpoint once the Pod was gone. They
	// would have arrived at it, nobody knows for how long: what other lanes saw is no upper end.
	Missed bool
}

// arrivals are those of a lane: of each Pod that was to go and that got a request afterwards, or
// that nobody knows whether it would have, in the order in which they were to go. A request has landed on
// the Pod that answered it, or that it is charged to. A Pod that is left out got nothing. Where nobody knows which
// Pods have answered, none are known; where that is not known of some answers, After is a lower bound.
func arrivals(
	tl timeline.Timeline, spec timeline.LaneSpec, record timeline.LaneRecord, dropped []DroppedRequest, pods lifecycles,
) []Arrival {
	if anonymous(tl.Spec, record) {
		return nil
	}
	unnamed := time.Duration(-1) // when the last answer was asked for of which nobody knows the Pod
	for _, r := range record.Requests {
		if !tl.Spec.SaysItself() && nameless(r) {
			unnamed = max(unnamed, r.Sent())
		}
	}
	last := map[*PodLifecycle]time.Duration{}
	land := func(life *PodLifecycle, at time.Duration) {
		if life == nil {
			return
		}
		if asked, ok := life.toGo(); ok && at > asked {
			last[life] = max(last[life], at-asked)
		}
	}
	known := make([]*PodLifecycle, len(record.Pods)) // nil where a name needs the instant to tell whose it is
	for i, name := range record.Pods {
		if same := pods.byName[name]; len(same) == 1 {
			known[i] = same[0]
		}
	}
	for _, r := range record.Requests {
		if r.Pod == 0 || int(r.Pod) > len(known) {
			continue
		}
		life := known[r.Pod-1]
		if life == nil {
			life = pods.named(record.Pods[r.Pod-1], r.Sent())
		}
		land(life, r.Sent())
	}
	missed := pods.missedByLate(tl, spec, record)
	for _, d := range dropped {
		missed[d.instead] = true
		if d.Evidence != ByAnswer { // those are among the requests
			land(d.lifecycle, d.landed)
		}
	}
	var out []Arrival
	for i, life := range pods.all {
		asked, ok := life.toGo()
		if !ok {
			continue
		}
		after, came := last[life]
		a := Arrival{Pod: life.Pod, Owner: i, After: after, Missed: missed[life]}
		a.Censored = a.Missed || pods.endedIt(life, asked+after, record.Rate) || unnamed > asked+after
		if served, ok := life.At(timeline.EndpointServing); came || a.Censored && ok && served <= asked {
			out = append(out, a)
		}
	}
	slices.SortStableFunc(out, func(a, b Arrival) int {
		asked := func(a Arrival) time.Duration { at, _ := pods.all[a.Owner].toGo(); return at }
		return cmp.Or(cmp.Compare(asked(a), asked(b)), cmp.Compare(a.Pod, b.Pod))
	})
	return out
}

// anonymous says that nobody knows which Pod has given any answer of a lane.
func anonymous(spec timeline.Spec, record timeline.LaneRecord) bool {
	named := func(r timeline.Request) bool { return r.Pod != 0 }
	return !spec.SaysItself() && slices.ContainsFunc(record.Requests, nameless) &&
		!slices.ContainsFunc(record.Requests, named)
}

// missedByLate are the Pods that late answers hide arrivals at, where nodes keep to their own Pods. A
// node without an endpoint drops what comes for it, and leaves no choice to see. The client, or the
// balancer, sends its SYN again after 1 s and after 3 s. A Pod that has come meanwhile answers, and
// nothing is dropped: but the node was asked, and the Pod that was its last endpoint would have got it.
func (l lifecycles) missedByLate(
	tl timeline.Timeline, spec timeline.LaneSpec, record timeline.LaneRecord,
) map[*PodLifecycle]bool {
	missed := map[*PodLifecycle]bool{}
	if !spec.Local {
		return missed
	}
	lateAndNew := func(r timeline.Request) bool { return isLate(spec, r) && r.ConnUse <= 1 } // it began with a SYN
	without := map[string][]span{}
	for seq, node := range nodesAsked(tl, spec, record, lateAndNew) {
		if _, known := without[node]; !known {
			without[node] = l.withoutOn(node)
		}
		if r := record.Requests[seq]; during(without[node], r.Sent(), r.Done(), proxyFollows) {
			missed[l.lastEndpoint(spec, node, r.Done())] = true
		}
	}
	return missed
}

// endedIt says whether the last arrival at a Pod came so near to the Pod's own end that nobody
// knows whether more would have come: within the time in which one of as many Pods as served at
// that instant gets a request with 95 %, if it still gets its share. Without an arrival it is the
// deletion that came so near. An arrival after the end, as of a request that was refused, shows by
// itself how long requests went on coming.
func (l lifecycles) endedIt(life *PodLifecycle, at time.Duration, rate int) bool {
	end, ok := life.stopped()
	if !ok || rate <= 0 {
		return false
	}
	pods := 0
	for _, other := range l.all {
		if slices.ContainsFunc(other.serving, func(s span) bool { return s.from <= at && at < s.to }) {
			pods++
		}
	}
	within := time.Duration(max(1, pods)) * MinDetectableOutage(rate)
	return at <= end && end-at < max(within, arrivalResolution(rate))
}

// stopped is when the Pod stopped serving by itself: when it closed its listener, or ended.
func (l PodLifecycle) stopped() (time.Duration, bool) {
	life := l.last()
	if at, ok := life.when(timeline.AppListenerClosed); ok {
		return at, true
	}
	at, _, ok := life.exit()
	return at, ok
}
