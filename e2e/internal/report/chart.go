package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// chart is the picture that the page opens on: a row for each strategy under a disruption, and in
// it what was dropped of each class, the delay, and the cost. Every column has one scale. Cells are
// drawn one by one, in percents of their width, so that they stand side by side on a wide screen
// and one under another on a narrow one.
type chart struct {
	Columns []scale
	Width   int // in columns of a table
	Parts   []chartPart
}

// scale is a column and what its axis says.
type scale struct {
	Name, Unit string
	Ticks      []tick
}

type tick struct{ X, Label string }

type chartPart struct {
	Disruption string
	Rows       []chartRow
}

type chartRow struct {
	row
	Result Result
	Cell   string // the result in words
	Links  []runLink
	Drops  []dropCell
	Late   int
	Delay  barCell
	Cost   barCell
}

// runLink leads to the picture of a run.
type runLink struct{ Text, Href string }

// dropCell is what was dropped of a class.
type dropCell struct {
	Scale  scale
	Result Result
	X      string // of the worst consumer
	Others []otherMark
	Text   string
	Notes  []string
}

// otherMark is another consumer than the worst.
type otherMark struct {
	X      string
	Result Result
}

// barCell is a length, and one that it is compared with.
type barCell struct {
	Scale       scale
	Value, From string // ends, in percents
	Over        bool   // the value is beyond what it is compared with
	Open        bool   // it is a lower bound
	None        bool
	Text, Note  string
}

// An axis ends short of its cell, so that marks at its ends fit.
const (
	axisFrom, axisTo = 4.0, 96.0
	decades          = 4.0 // from 0.01 % to 100 %
	firstDecade      = 16.0
)

func percentOf(x float64) string { return fmt.Sprintf("%.1f%%", x) }

// shareAt is where a share is: nothing is apart from everything else, then ten times as much is one
// step. One dropped request of thousands is as far from none as it should be.
func shareAt(share float64) float64 {
	if share <= 0 {
		return axisFrom
	}
	at := max(0, (math.Log10(share)+decades)/decades)
	return firstDecade + at*(axisTo-firstDecade)
}

// linear is where a value is on an axis from zero.
func linear(value, most float64) float64 {
	return axisFrom + value/max(most, 1e-9)*(axisTo-axisFrom)
}

func linearScale(name, unit string, most float64) scale {
	out := scale{Name: name, Unit: unit}
	step := math.Pow(10, math.Floor(math.Log10(max(most, 1e-9)))-1)
	for _, times := range []float64{2, 2.5, 2, 2} { // 1, 2, 5, 10, 20
		if most/step > 4 {
			step *= times
		}
	}
	for v := 0.0; v <= most; v += step {
		out.Ticks = append(out.Ticks, tick{percentOf(linear(v, most)), fmt.Sprintf("%g", math.Round(100*v)/100)})
	}
	return out
}

func newChart(m model) chart {
	drops := scale{Unit: "of requests, log"}
	for _, share := range []float64{0, 0.0001, 0.001, 0.01, 0.1, 1} {
		drops.Ticks = append(drops.Ticks, tick{percentOf(shareAt(share)), fmt.Sprintf("%g%%", 100*share)})
	}
	drops.Ticks[0].Label, drops.Ticks[1].Label = "0", "" // the next one is too near for words
	var longest, dearest float64
	for _, r := range slices.Concat(m.Parts...) {
		longest = max(longest, m.needed(r).last().After.Seconds(), r.Delay.Seconds())
		for _, v := range r.Runs {
			dearest = max(dearest, v.ExtraPodSeconds)
		}
	}
	delay, cost := linearScale("delay", "needed, s", longest), linearScale("cost", "extra Pod-s", dearest)
	var out chart
	for _, class := range m.classes() {
		c := drops
		c.Name = string(class)
		out.Columns = append(out.Columns, c)
	}
	out.Columns = append(out.Columns, delay, cost)
	out.Width = len(out.Columns) + 2 // the strategy, and how many were late
	for _, part := range m.Parts {
		p := chartPart{Disruption: part[0].Where}
		for _, r := range part {
			line := chartRow{
				row: r, Result: r.result(), Cell: strings.TrimPrefix(r.resultCell(), r.result().Mark()+" "), Links: m.links(r),
				Late: m.late(r), Delay: m.delayCell(r, delay, longest), Cost: costCell(r, cost, dearest),
			}
			for i, class := range m.classes() {
				line.Drops = append(line.Drops, m.dropCell(r, class, out.Columns[i]))
			}
			p.Rows = append(p.Rows, line)
		}
		out.Parts = append(out.Parts, p)
	}
	return out
}

func (m model) links(r row) []runLink {
	var out []runLink
	for i, v := range m.Suite.Runs {
		if v.Spec.Strategy == r.Strategy && placeOf(v) == placeOf(r.Runs[0]) && i < len(m.Pictures) && m.Pictures[i] != "" {
			out = append(out, runLink{fmt.Sprintf("#%d", v.Repeat), m.Pictures[i]})
		}
	}
	return out
}

// result is that of a consumer in a run: none of its own if the run proves nothing.
func (e exposure) result(run Result) Result {
	switch {
	case run == Unknown || run == Broken:
		return run
	case e.Failed:
		return Failed
	case e.Dropped > 0:
		return Dropped
	}
	return Clean
}

// dropCell is the worst consumer's drops of a class, and those of the others beside it.
func (m model) dropCell(r row, class timeline.Class, axis scale) dropCell {
	all := m.exposures(r, class)
	e := worst(all)
	out := dropCell{Scale: axis, X: percentOf(shareAt(e.share())), Text: None}
	if len(all) == 0 {
		return out
	}
	out.Result, out.Text = e.result(r.result()), ratio(e.Dropped, e.Sent)
	if e.Dropped > 0 {
		out.Notes = []string{percent(e.share())}
	}
	if e.Consumer == "" || len(all) == 1 {
		return out
	}
	out.Notes = append(out.Notes, Plain(e.Consumer))
	others := slices.DeleteFunc(all, func(o exposure) bool { return o.Consumer == e.Consumer })
	for _, o := range others {
		out.Others = append(out.Others, otherMark{percentOf(shareAt(o.share())), o.result(r.result())})
	}
	slices.SortStableFunc(others, func(a, b exposure) int { return cmp.Compare(b.Dropped, a.Dropped) })
	for _, same := range groupBy(others, func(o exposure) int { return o.Dropped }) {
		var at []string
		for _, o := range same.items {
			at = append(at, Plain(o.Consumer))
		}
		where := strings.Join(at, ", ")
		if len(at) > 2 {
			where = fmt.Sprintf("%d others", len(at))
		}
		out.Notes = append(out.Notes, fmt.Sprintf("%d at %s", same.key, where))
	}
	return out
}

// delayCell is the delay that was needed on new connections, over the one that was given.
func (m model) delayCell(r row, axis scale, most float64) barCell {
	a := m.needed(r)
	out := barCell{Scale: axis, Text: a.delay(), None: a.delay() == None}
	if out.None {
		return out
	}
	last := a.last().After
	out.Value = percentOf(linear(last.Seconds(), most))
	out.From, out.Note = percentOf(linear(r.Delay.Seconds(), most)), "none given"
	if r.Delay > 0 {
		out.Note = "of " + r.Delay.String() + " given"
	}
	out.Open = a.unsettled() || a.censored()
	out.Over = last > r.Delay
	return out
}

// costCell is the Pod-seconds beyond the replicas asked for, and how long it took.
func costCell(r row, axis scale, most float64) barCell {
	extra := r.median(extraOf, func(s float64) string { return percentOf(linear(max(0, s), most)) })
	if extra == None {
		return barCell{Scale: axis, Text: None, None: true}
	}
	return barCell{
		Scale: axis, Value: extra, Text: r.median(extraOf, func(s float64) string { return fmt.Sprintf("%.1f Pod-s", s) }),
		Note: "rollout " + r.median(rolloutOf, func(d float64) string { return Duration(time.Duration(d)) }),
	}
}
