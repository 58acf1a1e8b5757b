package report

import (
	"fmt"
	"math"
	"slices"
)

// consumerChart is the picture of table A: a row for each consumer, in it a line for each strategy,
// and on the line a mark for each removal, all on one axis of time.
type consumerChart struct {
	Ticks   []tick
	Columns []string       // of words, beside the picture
	Parts   []consumerPart // one per mode of kube-proxy
}

type consumerPart struct {
	Title string // empty if it is the only one
	Rows  []consumerRow
}

type consumerRow struct {
	FileConsumer
	Height int // of all lines, in pixels
	Lines  []consumerLine
	Safe   string   // where the safe delay is; empty for none
	Said   []string // the row in words, as Columns has them
}

// consumerLine is the removals under one strategy, over the delay that it gives.
type consumerLine struct {
	Name  string
	Y     int    // of its middle, in pixels
	Given string // where its delay ends; empty for none
	Dots  []consumerDot
}

// consumerDot is a removal: how long requests went on arriving.
type consumerDot struct {
	X        string
	Censored bool // a lower bound
	Over     bool // they went on for longer than the delay
}

// The axis is logarithmic: from half a tenth of a second, below which everything is nothing, to a
// minute, or further if something took longer.
const (
	axisLeast, axisMost = 0.05, 60.0
	lineHeight          = 12 // pixels
)

// timeAt is where a time is on an axis up to most; nothing, and what was before, is apart.
func timeAt(s, most float64) float64 {
	if s <= 0 {
		return axisFrom
	}
	at := max(0, math.Log(s/axisLeast)/math.Log(most/axisLeast))
	return firstDecade/2 + at*(axisTo-firstDecade/2)
}

// chartWords are what stands beside the picture.
var chartWords = []Column[FileConsumer]{
	Words("p50", func(c FileConsumer) string { return c.arrival(c.P50Seconds) }),
	Words("max", FileConsumer.greatest),
	Words("safe delay", FileConsumer.safe),
	Words("clean with", func(c FileConsumer) string { return c.cleanWith(false) }),
	Words("outage of 1 replica", FileConsumer.outage),
}

func newConsumerChart(all []FileConsumer) (out consumerChart) {
	if len(all) == 0 {
		return out
	}
	for _, word := range chartWords {
		out.Columns = append(out.Columns, word.Name)
	}
	most := axisMost
	for _, c := range all {
		for _, r := range c.Removals {
			most = max(most, r.Seconds, r.DelaySeconds)
		}
	}
	for _, s := range []float64{0, 0.1, 0.3, 1, 3, 10, 30, 60, 300, 1800} {
		if s <= most {
			out.Ticks = append(out.Ticks, tick{percentOf(timeAt(s, most)), fmt.Sprintf("%g", s)})
		}
	}
	parts := byMode(all)
	for _, consumers := range parts {
		var part consumerPart
		if len(parts) > 1 {
			part.Title = "kube-proxy " + known(consumers[0].ProxyMode)
		}
		for _, c := range consumers {
			part.Rows = append(part.Rows, newConsumerRow(c, most))
		}
		out.Parts = append(out.Parts, part)
	}
	return out
}

func newConsumerRow(c FileConsumer, most float64) consumerRow {
	out := consumerRow{FileConsumer: c}
	for _, word := range chartWords {
		out.Said = append(out.Said, word.Cell(c))
	}
	if c.SafeSeconds != nil {
		out.Safe = percentOf(timeAt(*c.SafeSeconds, most))
	}
	for _, same := range groupBy(c.Removals, func(r FileRemoval) string { return r.Strategy }) {
		given := same.items[0].DelaySeconds
		line := consumerLine{Name: Plain(same.key), Y: len(out.Lines)*lineHeight + lineHeight/2}
		if given > 0 {
			line.Given = percentOf(timeAt(given, most))
		}
		for _, r := range same.items {
			line.Dots = append(line.Dots, consumerDot{percentOf(timeAt(r.Seconds, most)), r.Censored, r.Seconds > given})
		}
		slices.SortStableFunc(line.Dots, func(a, b consumerDot) int { // lower bounds are drawn over the others
			return map[bool]int{true: 1}[a.Censored] - map[bool]int{true: 1}[b.Censored]
		})
		out.Lines = append(out.Lines, line)
	}
	out.Height = max(1, len(out.Lines)) * lineHeight
	return out
}
