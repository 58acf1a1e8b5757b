package verdict

import (
	"maps"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// lives is what is known of each Pod of a run, by name: the first instant of each kind of event. What was not seen is not there.
type lives map[string]map[timeline.Kind]time.Duration

func podLives(tl timeline.Timeline) lives {
	pods := lives{}
	for _, e := range tl.Events {
		if e.Pod == "" {
			continue
		}
		marks, ok := pods[e.Pod]
		if !ok {
			marks = map[timeline.Kind]time.Duration{}
			pods[e.Pod] = marks
		}
		if at, ok := marks[e.Kind]; !ok || e.At < at {
			marks[e.Kind] = e.At
		}
	}
	return pods
}

// names are the Pods' names, sorted, so that what is said of them comes in one order.
func (l lives) names() []string { return slices.Sorted(maps.Keys(l)) }

// replaced counts the Pods that were there when the disruption began and that are gone.
func (l lives) replaced(w timeline.Window) int {
	n := 0
	for _, marks := range l {
		created, known := marks[timeline.PodCreated]
		_, gone := marks[timeline.PodGone]
		if known && created <= w.DisruptStart && gone {
			n++
		}
	}
	return n
}

// cost is the most Pods at once, and the Pod-seconds beyond the replicas asked for, between the start of the disruption and the instant when it had
// settled, or the end of the load if it never did. Terminating Pods count: they hold their memory and their place until they are gone.
//
//	replicas 3, Pods 3 ──4──── 5 ──── 4 ── 3
//	         at         0s   1s    11s   12s    peak 5, extra 1·1 + 2·10 + 1·1 = 22 Pod-seconds
func (l lives) cost(tl timeline.Timeline) (peak int, extra float64) {
	from, to := tl.Window.DisruptStart, tl.Window.Settled
	if to == 0 {
		to = tl.Window.LoadEnd
	}
	steps := map[time.Duration]int{}
	for _, marks := range l {
		created, known := marks[timeline.PodCreated]
		if !known || created >= to {
			continue
		}
		steps[max(created, from)]++
		if gone, ok := marks[timeline.PodGone]; ok {
			steps[min(max(gone, from), to)]--
		}
	}
	steps[to] += 0 // the last stretch ends here
	count, last := 0, from
	for _, at := range slices.Sorted(maps.Keys(steps)) {
		extra += float64(max(0, count-tl.Replicas)) * (at - last).Seconds()
		count, last = count+steps[at], at
		peak = max(peak, count)
	}
	return peak, extra
}
