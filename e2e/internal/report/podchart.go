package report

import (
	"fmt"
	"html/template"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// podChart is the picture of Pods over time: a row for each run, on one scale of time and one of
// Pods. Terminating Pods stand on those that run, so that the height is all of them.
type podChart struct {
	Scale  scale
	Height int // pixels of a row
	Rows   []podRow
}

type podRow struct {
	Strategy, Disruption string
	Bars                 []podBar
	Peak                 string // in words
	Most                 string // running, and terminating, each by itself
	Terminating, Extra   string // Pod-seconds
}

// podBar is a stretch of time in which the counts hold: rectangles, in percents and pixels.
type podBar struct {
	X, Width             string
	Running, Terminating podRect
}

type podRect struct{ Y, Height string }

const podChartHeight = 48 // pixels

// PodPictures draws the Pods over time of runs of a report.json, for a page that has the style of
// Pages. Runs without such counts are left out.
func PodPictures(runs []FileRun) (template.HTML, error) {
	return drawn("pods", newPodChart(runs))
}

// deletesPods says that Pods of the run were deleted.
func deletesPods(v verdict.Verdict) bool { return v.Deleted() > 0 }

// firstRuns are the first conclusive run of each strategy under each disruption, of those that are shown.
func (m model) firstRuns(shown func(verdict.Verdict) bool) []FileRun {
	var out []FileRun
	for _, r := range slices.Concat(m.Parts...) {
		if runs := r.conclusive().Runs; len(runs) > 0 && shown(runs[0]) {
			out = append(out, newFileRun(runs[0], m.Cluster))
		}
	}
	return out
}

func newPodChart(runs []FileRun) podChart {
	var longest float64
	most := 1
	for _, run := range runs {
		if run.Pods != nil {
			longest, most = max(longest, run.Pods.UntilSeconds), max(most, run.Pods.Peak.all())
		}
	}
	axis := linearScale("Pods over time", "s since the start of the disruption", longest)
	out := podChart{Scale: axis, Height: podChartHeight}
	for _, run := range runs {
		if run.Pods != nil {
			out.Rows = append(out.Rows, newPodRow(run, longest, most))
		}
	}
	return out
}

func (c FilePodCount) all() int { return c.Running + c.Terminating }

func newPodRow(run FileRun, longest float64, most int) podRow {
	p := run.Pods
	out := podRow{
		Strategy: Plain(run.Strategy), Disruption: Plain(run.Disruption),
		Peak: fmt.Sprintf("%d + %d at %s", p.Peak.Running, p.Peak.Terminating,
			Duration(time.Duration(p.Peak.Seconds*float64(time.Second)))),
		Most:        fmt.Sprintf("%d, %d", p.MostRunning, p.MostTerminating),
		Terminating: fmt.Sprintf("%.1f", p.TerminatingSeconds),
		Extra:       fmt.Sprintf("%.1f", run.ExtraPodSeconds),
	}
	unit := podChartHeight / float64(most)
	rect := func(below, count int) podRect {
		top := podChartHeight - float64(below+count)*unit
		return podRect{fmt.Sprintf("%.1f", top), fmt.Sprintf("%.1f", float64(count)*unit)}
	}
	for i, step := range p.Steps {
		until := p.UntilSeconds
		if i+1 < len(p.Steps) {
			until = p.Steps[i+1].Seconds
		}
		from := linear(step.Seconds, longest)
		out.Bars = append(out.Bars, podBar{
			percentOf(from), percentOf(linear(until, longest) - from),
			rect(0, step.Running), rect(step.Running, step.Terminating),
		})
	}
	return out
}
