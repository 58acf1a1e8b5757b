package picture

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// mark is something to look at in a row, with its facts.
type mark struct {
	X, W  string
	Shape string
	Count int // of the dropped requests that it stands for
	Pod   int // number of the Pod's lifeline, from 0; -1 for none
	Facts string

	at time.Duration
}

// phaseRow is what a lane dropped in one phase of Pods' lives.
type phaseRow struct {
	Phase verdict.LifecyclePhase
	Marks []mark
	Count int
}

// droppedRows are the dropped requests of lanes by phase, by the instant at which they left.
type droppedRows map[string]map[verdict.LifecyclePhase][]verdict.DroppedRequest

func newDroppedRows(dropped []verdict.DroppedRequest) droppedRows {
	rows := droppedRows{}
	for _, d := range dropped {
		if rows[d.Lane] == nil {
			rows[d.Lane] = map[verdict.LifecyclePhase][]verdict.DroppedRequest{}
		}
		rows[d.Lane][d.Phase] = append(rows[d.Lane][d.Phase], d)
	}
	for _, phases := range rows {
		for _, same := range phases {
			slices.SortStableFunc(same, func(a, b verdict.DroppedRequest) int { return cmp.Compare(a.Sent, b.Sent) })
		}
	}
	return rows
}

// together divides dropped requests, sorted by time, into those that share a mark: those that left
// within a step of the first of them. No step, and each is alone.
func together(dropped []verdict.DroppedRequest, step time.Duration) [][]verdict.DroppedRequest {
	return runs(dropped, func(first, d verdict.DroppedRequest) bool { return d.Sent-first.Sent < step })
}

// runs divides items into neighbours that belong to the first of them.
func runs[T any](items []T, belongs func(first, item T) bool) [][]T {
	var out [][]T
	from := 0
	for i := range items {
		if i > from && !belongs(items[from], items[i]) {
			out = append(out, items[from:i])
			from = i
		}
	}
	if from < len(items) {
		out = append(out, items[from:])
	}
	return out
}

// marks is how many marks the dropped requests need with a step.
func (rows droppedRows) marks(step time.Duration) int {
	n := 0
	for _, phases := range rows {
		for _, same := range phases {
			n += len(together(same, step))
		}
	}
	return n
}

// shortest is the shortest step, of none and parts of the axis, for which the count is no greater
// than most.
func shortest(a axis, most int, count func(step time.Duration) int) time.Duration {
	step := time.Duration(0)
	for count(step) > most && step <= a.to-a.from {
		step = max(2*step, (a.to-a.from)>>14, 1)
	}
	return step
}

// droppedMark draws dropped requests of one lane and one phase that left at about the same time.
func droppedMark(a axis, dropped []verdict.DroppedRequest) mark {
	d := dropped[0]
	m := mark{X: a.x(d.Sent), Shape: d.Phase.String(), Count: len(dropped), Pod: d.Owner, at: d.Sent}
	var f factLines
	f.add("Lane", "%s", d.Lane)
	if len(dropped) > 1 {
		m.Facts = mergedFacts(f, dropped)
		if slices.ContainsFunc(dropped, func(other verdict.DroppedRequest) bool { return other.Owner != d.Owner }) {
			m.Pod = -1
		}
		return m
	}
	f.add("Request", "%d", d.Seq)
	f.add("Phase", "%s", d.Phase)
	f.add("Class", "%s", d.Class)
	f.add("Sent", "%s", instant(d.Sent))
	f.add("Failed", "%s after that", report.Duration(d.Done-d.Sent))
	if d.Code != 0 {
		f.add("Cause", "%s (%d)", d.Cause, d.Code)
	} else {
		f.add("Cause", "%s", d.Cause)
	}
	if d.Pod != "" {
		f.add("Pod", "%s, by %s", report.Plain(d.Pod), d.Evidence)
	}
	if d.SinceDeletion != nil {
		f.add("After its Pod's deletion", "%s", report.Duration(*d.SinceDeletion))
	}
	switch {
	case d.Port == 0:
	case d.ConnUse == 0:
		f.add("Connection", "port %d, never made", d.Port)
	default:
		f.add("Connection", "port %d, request %d on it", d.Port, d.ConnUse)
	}
	if d.Why != "" {
		f.add("Unattributed", "%s", shorten(report.Plain(d.Why)))
	}
	m.Facts = f.String()
	return m
}

func mergedFacts(f factLines, dropped []verdict.DroppedRequest) string {
	first, last := dropped[0], dropped[len(dropped)-1]
	numbers := report.Extent(each(dropped, func(d verdict.DroppedRequest) int { return d.Seq }),
		func(n int) string { return fmt.Sprint(n) })
	f.add("Requests", "%d in one mark, numbers %s", len(dropped), numbers)
	f.add("Phase", "%s", first.Phase)
	f.add("Sent", "%s", report.Extent([]time.Duration{first.Sent, last.Sent}, instant))
	f.add("Causes", "%s", tally(each(dropped, func(d verdict.DroppedRequest) string { return d.Cause.String() })))
	f.add("Pods", "%s", tally(each(dropped, func(d verdict.DroppedRequest) string {
		return cmp.Or(report.Plain(d.Pod), "unknown")
	})))
	var since []time.Duration
	var why []string
	for _, d := range dropped {
		if d.SinceDeletion != nil {
			since = append(since, *d.SinceDeletion)
		}
		if d.Why != "" {
			why = append(why, shorten(report.Plain(d.Why)))
		}
	}
	if len(since) > 0 {
		f.add("After their Pods' deletions", "%s", report.Extent(since, report.Duration))
	}
	if len(why) > 0 {
		f.add("Unattributed", "%s", tally(why))
	}
	return f.String()
}

func each[T, F any](items []T, field func(T) F) []F {
	out := make([]F, 0, len(items))
	for _, item := range items {
		out = append(out, field(item))
	}
	return out
}

// tally is how often each word is there, the most frequent first, three of them.
func tally(words []string) string {
	counts := map[string]int{}
	var order []string
	for _, w := range words {
		if counts[w]++; counts[w] == 1 {
			order = append(order, w)
		}
	}
	return report.Counts(order, counts, 3)
}

// longest is how many bytes of somebody else's words a picture has room for.
const longest = 300

func shorten(s string) string {
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}

// outageMarks shades the outages of a lane. Outages that begin within a step of the first of them
// share a shade: they are many where one of several Pods drops what is sent to it.
func outageMarks(a axis, lane verdict.Lane, step time.Duration) []mark {
	var out []mark
	for _, same := range outageRuns(lane.Outages, step) {
		from, to := same[0].From, same[len(same)-1].To
		var f factLines
		f.add("Lane", "%s", lane.Name)
		m := mark{X: a.x(from), W: a.share(to - from), Shape: "outage", Pod: -1, at: from}
		for _, o := range same {
			m.Count += o.Dropped
		}
		if len(same) > 1 {
			f.add("Outages", "%d in one shade, between %s and %s", len(same), instant(from), instant(to))
			f.add("Dropped", "%d", m.Count)
		} else {
			outageFacts(&f, same[0])
		}
		m.Facts = f.String()
		out = append(out, m)
	}
	return out
}

func outageRuns(outages []verdict.Outage, step time.Duration) [][]verdict.Outage {
	return runs(outages, func(first, o verdict.Outage) bool { return o.From-first.From < step })
}

func outageFacts(f *factLines, o verdict.Outage) {
	f.add("Outage", "%d dropped in a row, sent from %s to %s", o.Dropped, instant(o.From), instant(o.To))
	f.add("Length", "%s", outageLength(o))
	f.add("Causes", "%s", report.Counts(timeline.Causes(), o.Causes, 0))
	f.add("Phases", "%s", phaseCounts(o.Phases))
	if len(o.Pods) > 0 {
		f.add("Pods", "%s", shorten(report.Plain(strings.Join(o.Pods, ", "))))
	}
	if len(o.Meanwhile) > 0 {
		f.add("Meanwhile", "%s", tally(each(o.Meanwhile, func(e timeline.Event) string { return string(e.Kind) })))
	}
}

// outageLength is what is known of it: from its first dropped request to its last, and no longer
// than from the good request before to the good one afterwards.
func outageLength(o verdict.Outage) string {
	least := report.Duration(o.To - o.From)
	switch {
	case o.After == nil && o.Before == nil:
		return least + " or more, nothing went well before or after"
	case o.After == nil:
		return least + " or more, nothing went well before"
	case o.Before == nil:
		return least + " or more, nothing went well after"
	}
	return report.Extent([]time.Duration{o.To - o.From, *o.Before - *o.After}, report.Duration)
}

func phaseCounts(counts map[verdict.LifecyclePhase]int) string {
	return report.Counts(verdict.LifecyclePhases(), counts, 0)
}
