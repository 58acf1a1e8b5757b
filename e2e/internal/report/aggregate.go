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

// model is the runs of a report in the order in which they are told: by disruption and where it was
// measured, in the order of first appearance, then by strategy: preStop, in-app delay, the rest,
// each in the order of first appearance. So the strategies that a reader compares stand under each
// other.
type model struct {
	Report
	Parts [][]row // one part per disruption, group of consumers and mode of kube-proxy
	// Lanes are all of the runs, those sent from within the cluster first, the loads of a consumer
	// next to each other.
	Lanes []timeline.LaneSpec
}

func newModel(r Report) model {
	m := model{Report: r, Parts: rowsOf(r.Suite.Runs)}
	for _, part := range m.Parts {
		slices.SortStableFunc(part, func(a, b row) int { return cmp.Compare(a.side(), b.side()) })
	}
	var consumers []string
	for _, v := range r.Suite.Runs {
		for _, l := range v.Lanes {
			if !slices.Contains(names(m.Lanes), l.Name) {
				m.Lanes, consumers = append(m.Lanes, l.LaneSpec), append(consumers, l.Consumer)
			}
		}
	}
	slices.SortStableFunc(m.Lanes, func(a, b timeline.LaneSpec) int {
		if outside := fromOutside(a); outside != fromOutside(b) {
			return map[bool]int{false: -1, true: 1}[outside]
		}
		return cmp.Compare(slices.Index(consumers, a.Consumer), slices.Index(consumers, b.Consumer))
	})
	return m
}

func fromOutside(l timeline.LaneSpec) bool { return l.From == timeline.FromOutside }

func names(lanes []timeline.LaneSpec) []string {
	out := make([]string, 0, len(lanes))
	for _, l := range lanes {
		out = append(out, l.Name)
	}
	return out
}

// row is the runs of one strategy under one disruption: one run, or its repeats.
type row struct {
	timeline.Spec // of the first of them
	Runs          []verdict.Verdict
	Where         string // what the disruption's part is called
}

// place is what runs have to share to stand under each other. Runs of one strategy and disruption
// in two groups of consumers, or in two modes of kube-proxy, are no repeats of each other.
type place struct{ disruption, group, mode string }

func placeOf(v verdict.Verdict) place {
	return place{v.Spec.Disruption, v.Spec.ConsumerGroup, v.Environment.ProxyMode}
}

// rowsOf merges repeats:
//
//	a/x#1 b/x#1 a/y#1 a/x#2 b/x#2 a/y#2
//
// gives the parts and rows
//
//	x: a×2 b×2    y: a×2
func rowsOf(runs []verdict.Verdict) [][]row {
	modes := map[string][]string{} // of each group of consumers
	for _, v := range runs {
		if group, mode := v.Spec.ConsumerGroup, v.Environment.ProxyMode; !slices.Contains(modes[group], mode) {
			modes[group] = append(modes[group], mode)
		}
	}
	var parts [][]row
	for _, part := range groupBy(runs, placeOf) {
		where := part.key.disruption
		if group := part.key.group; group != "" {
			where += " · " + group
		}
		if len(modes[part.key.group]) > 1 {
			where += " · " + known(part.key.mode)
		}
		var rows []row
		for _, same := range groupBy(part.items, func(v verdict.Verdict) string { return v.Spec.Strategy }) {
			rows = append(rows, row{Spec: same.items[0].Spec, Runs: same.items, Where: where})
		}
		parts = append(parts, rows)
	}
	return parts
}

// group is items that have something in common.
type group[K comparable, T any] struct {
	key   K
	items []T
}

// groupBy divides items by their key, in the order of first appearance.
func groupBy[K comparable, T any](items []T, key func(T) K) []group[K, T] {
	var out []group[K, T]
	for _, item := range items {
		k := key(item)
		i := slices.IndexFunc(out, func(g group[K, T]) bool { return g.key == k })
		if i < 0 {
			i, out = len(out), append(out, group[K, T]{key: k})
		}
		out[i].items = append(out[i].items, item)
	}
	return out
}

// Marks in front of the counts of a lane, and behind a strategy.
const (
	failMark    = "!"
	doubtMark   = "?"
	controlMark = "†"
)

// label is the strategy's name, marked if its result is known beforehand.
func (r row) label() string {
	if r.Control {
		return r.Strategy + " " + controlMark
	}
	return r.Strategy
}

// conclusive is the row with the runs that pass or fail.
func (r row) conclusive() row {
	r.Runs = slices.DeleteFunc(slices.Clone(r.Runs), func(v verdict.Verdict) bool { return !v.Conclusive() })
	return r
}

// median is that of what the runs that replaced any Pod cost.
func (r row) median(of func(verdict.Verdict) (cost float64, known bool), write func(float64) string) string {
	var costs verdict.Sample
	for _, v := range r.Runs {
		if cost, known := of(v); known && v.PodsReplaced > 0 {
			costs = append(costs, cost)
		}
	}
	if len(costs) == 0 {
		return None
	}
	return write(costs.Median())
}

// aggregate is a lane over the runs of a row, or several lanes: counts added up, everything else
// the worst.
type aggregate struct {
	row
	Lane       string         // name; empty for several
	N          int            // runs that had the lane
	Rollouts   verdict.Sample // what each conclusive run dropped or masked; meaningless for several lanes
	Expect     map[timeline.Class][]string
	Replayable bool // in any of the runs

	Failed, Doubted bool // in any of the runs, by the lane's own outcome

	Planned, Sent, Unsent, Dropped, Masked, Late int

	Causes       map[timeline.Cause]int
	Classes      map[timeline.Class]int         // of the dropped requests
	FailedIn     map[timeline.Class]bool        // classes that dropped what must not be dropped
	Phases       map[verdict.LifecyclePhase]int // of the dropped requests
	Unattributed map[string]int                 // of those without a phase: why

	// since the start of the disruption: first and last dropped request; meaningless without
	First, Last time.Duration
	Deleted     int               // Pods
	Arrivals    []verdict.Arrival // of those that got a request after their deletion
	Anonymous   bool              // of a lane nobody knows which Pods have answered
	Apart       []time.Duration   // between two requests, of each run whose rate is known
	LagP50      time.Duration
	LagP99      time.Duration
	LagRun      string // name of the run that LagP99 is from

	MinDetectableOutage time.Duration

	lookups, seconds float64 // DNS queries, and the time in which they were sent
}

// lane adds a lane up over the runs of the row. The aggregate has no runs if none had the lane.
func (r row) lane(name string) aggregate {
	a := r.lanes([]string{name})
	a.Lane = name
	return a
}

// lanes adds several lanes up over the runs of the row.
func (r row) lanes(names []string) aggregate {
	a := aggregate{
		row: r, Expect: map[timeline.Class][]string{}, Causes: map[timeline.Cause]int{},
		Classes: map[timeline.Class]int{}, FailedIn: map[timeline.Class]bool{},
		Phases: map[verdict.LifecyclePhase]int{}, Unattributed: map[string]int{},
	}
	for _, v := range r.Runs {
		for _, l := range v.Lanes {
			if slices.Contains(names, l.Name) {
				a.add(v, l)
			}
		}
	}
	return a
}

// having are the lanes of each part's rows of which something is to be told; no part that is empty.
func (m model) having(told func(aggregate) bool) [][]aggregate {
	var parts [][]aggregate
	for _, part := range m.Parts {
		var out []aggregate
		for _, r := range part {
			for _, lane := range m.Lanes {
				if a := r.lane(lane.Name); told(a) {
					out = append(out, a)
				}
			}
		}
		if len(out) > 0 {
			parts = append(parts, out)
		}
	}
	return parts
}

func (a *aggregate) add(v verdict.Verdict, l verdict.Lane) {
	a.N++
	if v.Conclusive() {
		a.Rollouts = append(a.Rollouts, float64(l.Dropped+l.Masked))
	}
	a.Replayable = a.Replayable || l.Replayable
	a.Classes[l.ConnectionClass()] += l.Dropped // but for those of another class
	for _, c := range l.Classes {
		if c.Class != l.ConnectionClass() {
			a.Classes[c.Class] += c.Dropped
			a.Classes[l.ConnectionClass()] -= c.Dropped
		}
		a.FailedIn[c.Class] = a.FailedIn[c.Class] || c.Outcome == verdict.Fail
		if word := string(c.Promise.Expect); word != "" && !slices.Contains(a.Expect[c.Class], word) {
			a.Expect[c.Class] = append(a.Expect[c.Class], word)
		}
	}
	a.Failed = a.Failed || l.Outcome == verdict.Fail
	a.Doubted = a.Doubted || !l.Outcome.Conclusive()
	if l.Dropped > 0 {
		if a.Dropped == 0 || l.FirstDropped < a.First {
			a.First = l.FirstDropped
		}
		a.Last = max(a.Last, l.DroppedEnd)
	}
	a.Planned, a.Sent, a.Unsent = a.Planned+l.Planned, a.Sent+l.Sent, a.Unsent+l.Unsent
	a.Dropped, a.Masked, a.Late = a.Dropped+l.Dropped, a.Masked+l.Masked, a.Late+l.Late
	addCounts(a.Causes, l.Causes)
	addCounts(a.Phases, l.Phases)
	addCounts(a.Unattributed, l.Unattributed)
	a.Deleted += v.Deleted()
	a.Arrivals, a.Anonymous = append(a.Arrivals, l.Arrivals...), a.Anonymous || l.Anonymous
	if l.Rate > 0 {
		a.Apart = append(a.Apart, time.Second/time.Duration(l.Rate))
		a.lookups, a.seconds = a.lookups+float64(l.Lookups), a.seconds+float64(l.Planned)/float64(l.Rate)
	}
	if a.LagRun == "" || l.LagP99 > a.LagP99 {
		a.LagP99, a.LagRun = l.LagP99, v.Name()
	}
	a.LagP50 = max(a.LagP50, l.LagP50)
	a.MinDetectableOutage = max(a.MinDetectableOutage, l.MinDetectableOutage)
}

func addCounts[K comparable](sum, more map[K]int) {
	for k, n := range more {
		sum[k] += n
	}
}

// dropped says whether the lane dropped anything. A masked request was dropped, too: an ordinary
// client hides it, and the next one may not be so lucky.
func (a aggregate) dropped() bool { return a.Dropped > 0 || a.Masked > 0 }

// counts is dropped/sent, marked if the lane is not as expected.
func (a aggregate) counts() string {
	if a.N == 0 {
		return None
	}
	n := ratio(a.Dropped, a.Sent)
	switch {
	case a.Failed:
		return failMark + " " + n
	case a.Doubted:
		return doubtMark + " " + n
	}
	return n
}

// droppedIn is how many rollouts dropped something, and the 95 % bound on the share of all that do:
// "3/10 ≤ 61 %".
func (a aggregate) droppedIn() string {
	x, n := a.Rollouts.Above0(), len(a.Rollouts)
	if n == 0 {
		return None
	}
	return fmt.Sprintf("%d/%d ≤ %s", x, n, percent(verdict.ClopperPearson(x, n)))
}

// causes is the causes of the drops, most frequent first: "timeout 120 · eof 24".
func (a aggregate) causes() string { return Counts(timeline.Causes(), a.Causes, 0) }

// expected is what was promised of the lane's dropped requests, class by class where that differs:
// "clean", "new clean · in-flight measured".
func (a aggregate) expected() string {
	return Expected(func(c timeline.Class) []string { return a.Expect[c] })
}

// Expected puts promises, given by class, into words.
func Expected(of func(timeline.Class) []string) string {
	var words, classes []string
	for _, class := range timeline.Classes() {
		if word := strings.Join(of(class), ", "); word != "" {
			words, classes = append(words, word), append(classes, fmt.Sprintf("%s %s", class, word))
		}
	}
	if len(slices.Compact(words)) == 1 {
		return words[0]
	}
	return cmp.Or(strings.Join(classes, " · "), None)
}
