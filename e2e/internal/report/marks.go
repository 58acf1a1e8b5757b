package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// mark is something to look at in a row, with its facts.
type mark struct {
	X, W  string
	Shape string
	Count int // of the losses that it stands for
	Pod   int // number of the Pod's lifeline, from 0; -1 for none
	Facts string

	at time.Duration
}

// lossRow is the losses of a lane that have one moment.
type lossRow struct {
	Moment verdict.Moment
	Marks  []mark
	Count  int
}

// lossRows are the losses of lanes by moment, by the instant at which they left. Only losses that can be drawn are there.
type lossRows map[string]map[verdict.Moment][]verdict.Loss

func newLossRows(losses []verdict.Loss) lossRows {
	rows := lossRows{}
	for _, l := range losses {
		if rows[l.Lane] == nil {
			rows[l.Lane] = map[verdict.Moment][]verdict.Loss{}
		}
		rows[l.Lane][l.Moment] = append(rows[l.Lane][l.Moment], l)
	}
	for _, moments := range rows {
		for _, same := range moments {
			slices.SortStableFunc(same, func(a, b verdict.Loss) int { return cmp.Compare(a.Sent, b.Sent) })
		}
	}
	return rows
}

// together divides losses, sorted by time, into those that share a mark: those that left within a step of the first of them. No step, and each is alone.
func together(losses []verdict.Loss, step time.Duration) [][]verdict.Loss {
	return runs(losses, func(first, l verdict.Loss) bool { return l.Sent-first.Sent < step })
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

// merging is the shortest step by which losses give no more marks than most: none, or a part of the axis.
func (rows lossRows) merging(a axis, most int) time.Duration {
	total := func(step time.Duration) int {
		n := 0
		for _, moments := range rows {
			for _, same := range moments {
				n += len(together(same, step))
			}
		}
		return n
	}
	return shortest(a, most, total)
}

// shortest is the shortest step, of none and parts of the axis, for which the count is no greater than most.
func shortest(a axis, most int, count func(step time.Duration) int) time.Duration {
	step := time.Duration(0)
	for count(step) > most && step <= a.to-a.from {
		step = max(2*step, (a.to-a.from)>>14, 1)
	}
	return step
}

// lossMark draws losses of one lane and one moment that left at about the same time.
func lossMark(a axis, losses []verdict.Loss, whose owners) mark {
	l := losses[0]
	m := mark{X: a.x(l.Sent), Shape: l.Moment.String(), Count: len(losses), Pod: whose.of(l), at: l.Sent}
	var f factLines
	f.add("Lane", "%s", l.Lane)
	if len(losses) > 1 {
		m.Facts = mergedFacts(f, losses)
		for _, other := range losses {
			if other.Pod != l.Pod {
				m.Pod = -1
			}
		}
		return m
	}
	f.add("Request", "%d", l.Seq)
	f.add("Moment", "%s", l.Moment)
	f.add("Sent", "%s", instant(l.Sent))
	f.add("Failed", "%s after that", duration(l.Done-l.Sent))
	if l.Code != 0 {
		f.add("Cause", "%s (%d)", l.Cause, l.Code)
	} else {
		f.add("Cause", "%s", l.Cause)
	}
	if l.Pod != "" {
		f.add("Pod", "%s, by %s", plain(l.Pod), l.Evidence)
	}
	if l.Since != nil {
		f.add("After its Pod's deletion", "%s", duration(*l.Since))
	}
	switch {
	case l.Port == 0:
	case l.ConnUse == 0:
		f.add("Connection", "port %d, never made", l.Port)
	default:
		f.add("Connection", "port %d, request %d on it", l.Port, l.ConnUse)
	}
	if l.Why != "" {
		f.add("Unattributed", "%s", shorten(plain(l.Why)))
	}
	m.Facts = f.String()
	return m
}

func mergedFacts(f factLines, losses []verdict.Loss) string {
	first, last := losses[0], losses[len(losses)-1]
	f.add("Requests", "%d in one mark, numbers %s", len(losses), extent(each(losses, func(l verdict.Loss) int { return l.Seq }), integer))
	f.add("Moment", "%s", first.Moment)
	f.add("Sent", "%s", extent([]time.Duration{first.Sent, last.Sent}, instant))
	f.add("Causes", "%s", tally(each(losses, func(l verdict.Loss) string { return l.Cause.String() })))
	f.add("Pods", "%s", tally(each(losses, func(l verdict.Loss) string { return cmp.Or(plain(l.Pod), "unknown") })))
	var since []time.Duration
	var why []string
	for _, l := range losses {
		if l.Since != nil {
			since = append(since, *l.Since)
		}
		if l.Why != "" {
			why = append(why, shorten(plain(l.Why)))
		}
	}
	if len(since) > 0 {
		f.add("After their Pods' deletions", "%s", extent(since, duration))
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

// tally is how often each word is there, the most frequent first, three of them: "eof 30 · reset 7".
func tally(words []string) string {
	counts := map[string]int{}
	var order []string
	for _, w := range words {
		if counts[w]++; counts[w] == 1 {
			order = append(order, w)
		}
	}
	slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(counts[b], counts[a]) })
	more := len(order) - 3
	order = order[:min(3, len(order))]
	for i, w := range order {
		order[i] = fmt.Sprintf("%s %d", w, counts[w])
	}
	if more > 0 {
		order = append(order, fmt.Sprintf("%d more", more))
	}
	return strings.Join(order, " · ")
}

// longest is how many bytes of somebody else's words a picture has room for.
const longest = 300

func shorten(s string) string {
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "…"
}

// outageMarks shades the outages of a lane. Outages that begin within a step of the first of them share a shade: they are many where one of several Pods loses
// what is sent to it.
func outageMarks(a axis, lane verdict.Lane, step time.Duration) []mark {
	var out []mark
	for _, same := range outageRuns(lane.Outages, step) {
		from, to := same[0].From, same[len(same)-1].To
		var f factLines
		f.add("Lane", "%s", lane.Name)
		m := mark{X: a.x(from), W: a.share(to - from), Shape: "outage", Pod: -1, at: from}
		if len(same) > 1 {
			for _, o := range same {
				m.Count += o.Lost
			}
			f.add("Outages", "%d in one shade, between %s and %s", len(same), instant(from), instant(to))
			f.add("Lost", "%d", m.Count)
		} else {
			m.Count = same[0].Lost
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
	f.add("Outage", "%d lost in a row, sent from %s to %s", o.Lost, instant(o.From), instant(o.To))
	f.add("Length", "%s", outageLength(o))
	f.add("Causes", "%s", counted(timeline.Causes(), o.Causes))
	f.add("Moments", "%s", counted(verdict.Moments(), o.Moments))
	if len(o.Pods) > 0 {
		f.add("Pods", "%s", shorten(plain(strings.Join(o.Pods, ", "))))
	}
	if len(o.Meanwhile) > 0 {
		f.add("Meanwhile", "%s", tally(each(o.Meanwhile, func(e timeline.Event) string { return string(e.Kind) })))
	}
}

// outageLength is what is known of it: from its first loss to its last, and no longer than from the good request before to the good one afterwards.
func outageLength(o verdict.Outage) string {
	least := duration(o.To - o.From)
	switch {
	case o.After == nil && o.Before == nil:
		return least + " or more, nothing went well before or after"
	case o.After == nil:
		return least + " or more, nothing went well before"
	case o.Before == nil:
		return least + " or more, nothing went well after"
	}
	return extent([]time.Duration{o.To - o.From, *o.Before - *o.After}, duration)
}

// counted is the numbers of each, the greatest first: "eof 30 · reset 7".
func counted[K comparable](order []K, counts map[K]int) string {
	order = slices.DeleteFunc(slices.Clone(order), func(k K) bool { return counts[k] == 0 })
	slices.SortStableFunc(order, func(a, b K) int { return cmp.Compare(counts[b], counts[a]) })
	return cmp.Or(strings.Join(each(order, func(k K) string { return fmt.Sprintf("%v %d", k, counts[k]) }), " · "), none)
}
