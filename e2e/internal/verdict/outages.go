package verdict

import (
	"cmp"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Outage is a time in which every request of a lane was dropped.
type Outage struct {
	From, To time.Duration // when the first and the last dropped request left
	// After and Before are when the last good request before and the first good one afterwards
	// left: the outage is no longer than the time between them. Nil if there was none.
	After, Before *time.Duration
	Dropped       int
	Causes        map[timeline.Cause]int
	Phases        map[LifecyclePhase]int
	Pods          []string         // that dropped requests of it, by name
	Meanwhile     []timeline.Event `json:"-"` // what the cluster did between After and Before
}

// outages are dropped requests in a row, in the order in which requests left:
//
//	s1:ok s2:dropped s3:dropped s4:ok s5:dropped s6:ok
//
// it gives the intervals
//
//	outage[s2,s3] between s1 and s4, outage[s5,s5] between s4 and s6
//
// What was never sent says nothing: it neither makes nor ends an outage. Where one of several Pods
// drops what is sent to it, the requests between go well, and there are many short outages and no
// long one.
func outages(record timeline.LaneRecord, dropped []DroppedRequest, events []timeline.Event) []Outage {
	if len(dropped) == 0 {
		return nil
	}
	bySeq := map[int]*DroppedRequest{}
	for i := range dropped {
		bySeq[dropped[i].Seq] = &dropped[i]
	}
	order := make([]int, 0, len(record.Requests))
	for seq, r := range record.Requests {
		if r.Cause != timeline.Unsent {
			order = append(order, seq)
		}
	}
	slices.SortStableFunc(
		order,
		func(a, b int) int { return cmp.Compare(record.Requests[a].Sent(), record.Requests[b].Sent()) },
	)
	var out []Outage
	var good *time.Duration
	open := false
	for _, seq := range order {
		sent := record.Requests[seq].Sent()
		d, isDropped := bySeq[seq]
		if !isDropped {
			if open {
				out[len(out)-1].Before = new(sent)
			}
			good, open = new(sent), false
			continue
		}
		if !open {
			out = append(
				out,
				Outage{From: sent, After: good, Causes: map[timeline.Cause]int{}, Phases: map[LifecyclePhase]int{}},
			)
			open = true
		}
		o := &out[len(out)-1]
		o.To = sent
		o.Dropped++
		o.Causes[d.Cause]++
		o.Phases[d.Phase]++
		if d.Pod != "" && !slices.Contains(o.Pods, d.Pod) {
			o.Pods = append(o.Pods, d.Pod)
		}
	}
	for i := range out {
		slices.Sort(out[i].Pods)
		out[i].Meanwhile = between(events, out[i])
	}
	return out
}

// between are the events of an outage.
func between(events []timeline.Event, o Outage) []timeline.Event {
	from, to := time.Duration(0), endless
	if o.After != nil {
		from = *o.After
	}
	if o.Before != nil {
		to = *o.Before
	}
	at := func(e timeline.Event, t time.Duration) int { return cmp.Compare(e.At, t) }
	first, _ := slices.BinarySearchFunc(events, from, at)
	last, _ := slices.BinarySearchFunc(events, to, at)
	return events[first:max(first, last)]
}
