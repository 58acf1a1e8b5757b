package verdict

import (
	"cmp"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Outage is a time in which every request of a lane was lost.
type Outage struct {
	From, To time.Duration // when the first and the last lost request left
	// After and Before are when the last good request before and the first good one afterwards left: the outage is no longer than the time between them. Nil
	// if there was none.
	After, Before *time.Duration
	Lost          int
	Causes        map[timeline.Cause]int
	Moments       map[Moment]int
	Pods          []string         // that lost requests of it, by name
	Meanwhile     []timeline.Event `json:"-"` // what the cluster did between After and Before
}

// outages are losses in a row, in the order in which requests left:
//
//	s1:ok s2:lost s3:lost s4:ok s5:lost s6:ok
//
// it gives the intervals
//
//	outage[s2,s3] between s1 and s4, outage[s5,s5] between s4 and s6
//
// What was never sent says nothing: it neither makes nor ends an outage. Where one of several Pods loses what is sent to it, the requests between go well, and
// there are many short outages and no long one.
func outages(record timeline.LaneRecord, losses []Loss, events []timeline.Event) []Outage {
	if len(losses) == 0 {
		return nil
	}
	bySeq := map[int]*Loss{}
	for i := range losses {
		bySeq[losses[i].Seq] = &losses[i]
	}
	order := make([]int, 0, len(record.Requests))
	for seq, r := range record.Requests {
		if r.Cause != timeline.Unsent {
			order = append(order, seq)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(record.Requests[a].Sent(), record.Requests[b].Sent()) })
	var out []Outage
	var good *time.Duration
	open := false
	for _, seq := range order {
		sent := record.Requests[seq].Sent()
		loss, lost := bySeq[seq]
		if !lost {
			if open {
				out[len(out)-1].Before = new(sent)
			}
			good, open = new(sent), false
			continue
		}
		if !open {
			out = append(out, Outage{From: sent, After: good, Causes: map[timeline.Cause]int{}, Moments: map[Moment]int{}})
			open = true
		}
		o := &out[len(out)-1]
		o.To = sent
		o.Lost++
		o.Causes[loss.Cause]++
		o.Moments[loss.Moment]++
		if loss.Pod != "" && !slices.Contains(o.Pods, loss.Pod) {
			o.Pods = append(o.Pods, loss.Pod)
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
	from, to := time.Duration(0), forever
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
