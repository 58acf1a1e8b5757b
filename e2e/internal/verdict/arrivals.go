package verdict

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Arrival says how long traffic went on arriving at a Pod that was to go.
type Arrival struct {
	Pod string
	// After is from when the Pod's deletion was asked for to the last request that landed on it,
	// whether answered or dropped. It is known to one interval of the lane, 1/rate.
	After time.Duration
	// Censored says that requests arrived until the Pod's own end, or went on to where there was no
	// endpoint once it was gone: After is a lower bound, and would have been longer had the Pod lived
	// longer.
	Censored bool
}

// arrivals are those of a lane: of each Pod that was deleted and that got a request afterwards, in
// the order of the deletions. A request has landed on the Pod that answered it, or that it is
// charged to.
func arrivals(record timeline.LaneRecord, dropped []DroppedRequest, pods lifecycles) []Arrival {
	last := map[*PodLifecycle]time.Duration{}
	land := func(life *PodLifecycle, sent time.Duration) {
		if life == nil {
			return
		}
		if deleted, ok := life.At(timeline.PodDeleted); ok && sent > deleted {
			last[life] = max(last[life], sent-deleted)
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
	missed := map[*PodLifecycle]bool{}
	for _, d := range dropped {
		missed[d.instead] = true
		if d.Evidence != ByAnswer { // those are among the requests
			land(d.lifecycle, d.Sent)
		}
	}
	var out []Arrival
	for _, life := range slices.SortedFunc(maps.Keys(last), func(a, b *PodLifecycle) int {
		deleted := func(l *PodLifecycle) time.Duration { return l.FirstSeen[timeline.PodDeleted] }
		return cmp.Or(cmp.Compare(deleted(a), deleted(b)), cmp.Compare(a.Pod, b.Pod))
	}) {
		at := life.FirstSeen[timeline.PodDeleted] + last[life]
		censored := missed[life] || pods.endedIt(life, at, record.Rate)
		out = append(out, Arrival{life.Pod, last[life], censored})
	}
	return out
}

// endedIt says whether the last arrival at a Pod came so near to the Pod's own end that nobody
// knows whether more would have come: within the time in which one of as many Pods as served at
// that instant gets a request with 95 %, if it still gets its share. An arrival after the end, as
// of a request that was refused, shows by itself how long requests went on coming.
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
	if at, ok := l.At(timeline.AppListenerClosed); ok {
		return at, true
	}
	at, _, ok := l.exit()
	return at, ok
}
