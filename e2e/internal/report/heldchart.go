package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// heldChart is the picture of connections over time: a row for each lane whose clients hold them, in which
// each Pod has a band, as high as it had connections, on the bands of the Pods that clients came to before. Each
// row has a height of its own: fifty clients would be a line beside a thousand.
type heldChart struct {
	Scale  scale
	Height int // pixels of a row
	Width  int // of a band's coordinates: instants
	X      string
	Rows   []heldRow
}

type heldRow struct {
	Strategy, Disruption, Lane string
	Width                      string // in percent
	Bands                      []heldBand
	Pods                       int
	Most                       int // connections at once
	Ended, Back                string
}

// heldBand is what a Pod has of the picture, or a part of that: an outline of instants and pixels.
type heldBand struct {
	Outline string
	Class   string // running, leaving
	Other   bool   // every other Pod, so that neighbours can be told apart
}

const heldChartHeight = 72 // pixels

// HeldPictures draws the connections over time of runs of a report.json, for a page that has the style of
// Pages. Lanes that hold none are left out.
func HeldPictures(runs []FileRun) (template.HTML, error) {
	return drawn("held", newHeldChart(runs))
}

// holdsConnections says that clients of a lane of the run hold connections.
func holdsConnections(v verdict.Verdict) bool {
	return slices.ContainsFunc(v.Lanes, func(l verdict.Lane) bool { return l.HeldConnections != nil })
}

func newHeldChart(runs []FileRun) heldChart {
	var longest float64
	for _, run := range runs {
		for _, l := range run.Lanes {
			if l.Held.drawn() {
				longest = max(longest, l.Held.Over.UntilSeconds)
			}
		}
	}
	out := heldChart{
		Scale:  linearScale("Connections with each Pod", "s since the start of the disruption", longest),
		Height: heldChartHeight, Width: verdict.HeldInstants, X: percentOf(axisFrom),
	}
	for _, run := range runs {
		for _, l := range run.Lanes {
			if l.Held.drawn() {
				out.Rows = append(out.Rows, newHeldRow(run, l, longest))
			}
		}
	}
	return out
}

// drawn says that there is a picture of the lane.
func (h *FileHeld) drawn() bool { return h != nil && h.Over != nil && len(h.Over.Pods) > 0 }

// check wants as many counts of each Pod as the picture has instants.
func (o *FileHeldOver) check() error {
	if o == nil {
		return nil
	}
	for _, p := range o.Pods {
		if len(p.Open) != verdict.HeldInstants {
			return fmt.Errorf("connections with Pod %s at %d instants: want %d", p.Pod, len(p.Open), verdict.HeldInstants)
		}
	}
	return nil
}

// all are the connections at each instant, with all Pods together.
func (o FileHeldOver) all() []int {
	out := make([]int, verdict.HeldInstants)
	for _, pod := range o.Pods {
		for i, n := range pod.Open {
			out[i] += n
		}
	}
	return out
}

func newHeldRow(run FileRun, l FileLane, longest float64) heldRow {
	over := l.Held.Over
	most := max(1, slices.Max(over.all()))
	out := heldRow{
		Strategy: Plain(run.Strategy), Disruption: Plain(run.Disruption), Lane: Plain(l.Lane),
		Width: percentOf(linear(over.UntilSeconds, longest) - axisFrom),
		Pods:  len(over.Pods), Most: most, Back: None,
		Ended: fmt.Sprintf("%d + %d", l.Held.Announced, l.Held.Cut),
	}
	if n := len(l.Held.BackSeconds); n > 0 {
		out.Back = Duration(time.Duration(l.Held.BackSeconds[n-1] * float64(time.Second)))
	}
	below := make([]int, verdict.HeldInstants)
	for i, pod := range over.Pods {
		leaves := verdict.HeldInstants
		if pod.DeletedSeconds != nil {
			leaves = int(math.Ceil(*pod.DeletedSeconds / over.UntilSeconds * verdict.HeldInstants))
			leaves = min(leaves, verdict.HeldInstants)
		}
		above := make([]int, verdict.HeldInstants)
		for n := range above {
			above[n] = below[n] + pod.Open[n]
		}
		band := func(class string, from, to int) {
			if from < to {
				out.Bands = append(out.Bands, heldBand{heldOutline(below, above, from, to, most), class, i%2 == 1})
			}
		}
		band("running", 0, leaves)
		band("leaving", leaves, verdict.HeldInstants)
		below = above
	}
	return out
}

// heldOutline goes along the upper edge of a band from an instant to another, and back along the lower.
func heldOutline(below, above []int, from, to, most int) string {
	y := func(count int) string {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", heldChartHeight*(1-float64(count)/float64(most))), ".0")
	}
	var out strings.Builder
	fmt.Fprintf(&out, "M%d %s", from, y(below[from]))
	for i := from; i < to; i++ {
		if i+1 < to && above[i+1] == above[i] {
			continue
		}
		fmt.Fprintf(&out, "V%sH%d", y(above[i]), i+1)
	}
	for i := to - 1; i >= from; i-- {
		if i > from && below[i-1] == below[i] {
			continue
		}
		fmt.Fprintf(&out, "V%sH%d", y(below[i]), i)
	}
	return out.String() + "z"
}
