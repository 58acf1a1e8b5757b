// Package picture draws the page of one run: Pods' lives as rows, below them what each lane sent
// and dropped, on one axis of time (axis.go). Lives are drawn by lifelines.go, dropped requests and
// outages by svg_marks.go. What they mean the verdict has said; nothing of that is worked out again
// here. Like package report, in whose words it speaks, it is pure.
package picture

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// File is the name of a run's picture, in the folder of the run.
const File = "run.html"

// Limit is how many bytes a picture may have, whatever the run: a page that is mailed, and opens at
// once.
const Limit = 2_000_000

//go:embed page
var page embed.FS

// pages are the templates. The drawing is in the page as SVG: it shows, and prints, without a
// script.
var pages = template.Must(report.Pages().Funcs(template.FuncMap{
	"chart": func() (template.CSS, error) {
		raw, err := page.ReadFile("page/picture.css")
		return template.CSS(raw), err
	},
	"script": func() (template.JS, error) {
		raw, err := page.ReadFile("page/picture.js")
		return template.JS(raw), err
	},
	"letter": func(p verdict.LifecyclePhase) string { return p.String()[:1] },
	"zooms":  func() []int { return []int{1, 2, 5, 10, 50} },
}).ParseFS(page, "page/*.html"))

// picture is a run as its page shows it.
type picture struct {
	Title   string
	Verdict verdict.Verdict
	Result  report.Result
	Reasons []string
	Facts   []string
	Summary string
	Notes   []string // what the picture leaves out
	Phases  []phase  // of the run
	Ticks   []tick
	Pods    []lifeline
	Lanes   []requestRows
	// what phases of Pods' lives dropped; those that dropped nothing and have a place in the
	// legend, too
	Charged []charge
	Table   report.Table
	Outages report.Table
}

// requestRows is a lane as rows of a picture.
type requestRows struct {
	verdict.Lane
	Answered string // an outline, in bins from left to right, 100 high
	From     string // the left edge of the axis, in bins
	Bins     string // its width
	Bin      string // what one of them is long
	Outages  []mark
	Rows     []phaseRow
}

// charge is how many requests a phase of Pods' lives dropped.
type charge struct {
	Phase verdict.LifecyclePhase
	Count int
	Bar   bool // lives are drawn with it
}

// room is how much a picture may show one by one.
type room struct{ marks, outages, pods, reasons int }

// Write writes a run as one HTML page that needs nothing else. Where more is dropped than fits,
// marks that would lie on one another are merged, and the page says so.
func Write(w io.Writer, v verdict.Verdict, tl timeline.Timeline) error {
	for fit := (room{marks: 2000, outages: 500, pods: mostPods, reasons: 50}); ; {
		var out bytes.Buffer
		if err := pages.ExecuteTemplate(&out, "picture.html", newPicture(v, tl, fit)); err != nil {
			return fmt.Errorf("draw %s: %w", v.Name(), err)
		}
		if out.Len() > Limit && fit.marks > 1 {
			fit = room{marks: fit.marks / 2, outages: fit.outages / 2, pods: fit.pods / 2, reasons: fit.reasons / 2}
			continue
		}
		if _, err := w.Write(out.Bytes()); err != nil {
			return fmt.Errorf("write picture: %w", err)
		}
		return nil
	}
}

func newPicture(v verdict.Verdict, tl timeline.Timeline, fit room) picture {
	a := newAxis(v, tl)
	p := picture{
		Title: v.Name(), Verdict: v, Phases: a.phases(tl.Window), Ticks: a.ticks(), Table: droppedTable(v),
		Summary: summary(v), Result: report.ResultOf(v),
	}
	note := func(format string, args ...any) { p.Notes = append(p.Notes, fmt.Sprintf(format, args...)) }
	if len(v.Retry) > 0 {
		note("Made again once: %s.", shorten(report.Plain(strings.Join(v.Retry, "; "))))
	}
	if v.Repeat > 1 {
		p.Title += fmt.Sprintf(" (repeat %d)", v.Repeat)
	}
	if v.Outcome != verdict.Pass {
		p.Reasons = each(report.Because(v.Outcome, v.Reasons),
			func(s string) string { return shorten(report.Plain(s)) })
		if left := len(p.Reasons) - fit.reasons; left > 0 {
			p.Reasons = append(p.Reasons[:fit.reasons], fmt.Sprintf("and %d more: see report.json", left))
		}
	}
	p.Facts = report.Environment(v.Environment)
	if !tl.Start.IsZero() {
		p.Facts = append(p.Facts, "started "+report.Instant(tl.Start))
	}
	var left int
	if p.Pods, left = lifelines(a, v, fit.pods); left > 0 {
		note("%s not shown, of %d: those that dropped most are.", report.Count(left, "Pod"), len(v.Pods))
	}
	rows := newDroppedRows(v.DroppedRequests)
	step := shortest(a, fit.marks, rows.marks)
	shade := shortest(a, fit.outages, func(step time.Duration) int {
		n := 0
		for _, lane := range v.Lanes {
			n += len(outageRuns(lane.Outages, step))
		}
		return n
	})
	totals := map[verdict.LifecyclePhase]int{}
	for _, lane := range v.Lanes {
		out := requestRows{Lane: lane, Outages: outageMarks(a, lane, shade)}
		if i := slices.IndexFunc(tl.Lanes, func(l timeline.LaneRecord) bool { return l.Name == lane.Name }); i >= 0 {
			outline, bin := answered(a, tl.Lanes[i])
			out.Answered, out.Bin = outline, report.Duration(bin)
			out.From = fmt.Sprintf("%.3f", float64(a.from)/float64(bin))
			out.Bins = fmt.Sprintf("%.3f", float64(a.to-a.from)/float64(bin))
		}
		for _, phase := range verdict.LifecyclePhases() {
			row := phaseRow{Phase: phase, Count: len(rows[lane.Name][phase])}
			for _, same := range together(rows[lane.Name][phase], step) {
				row.Marks = append(row.Marks, droppedMark(a, same))
			}
			if totals[phase] += row.Count; row.Count > 0 {
				out.Rows = append(out.Rows, row)
			}
		}
		p.Lanes = append(p.Lanes, out)
	}
	for _, phase := range verdict.LifecyclePhases() {
		bar := slices.ContainsFunc(v.Pods, func(l verdict.PodLifecycle) bool {
			return slices.ContainsFunc(l.Segments, func(s verdict.Segment) bool { return s.Phase == phase })
		})
		if bar || totals[phase] > 0 {
			p.Charged = append(p.Charged, charge{phase, totals[phase], bar})
		}
	}
	if step > 0 {
		note("%d dropped requests are drawn as %d marks: those of one lane and phase that left within %s of each "+
			"other would lie on one another, and share a mark.", len(v.DroppedRequests), rows.marks(step),
			report.Duration(step))
	}
	if shade > 0 {
		note("Outages of a lane that began within %s of each other share a shade.", report.Duration(shade))
	}
	if p.Outages, left = outageTable(v); left > 0 {
		note("The table of outages has the %d in which most was dropped, of %d.", outageRows, outageRows+left)
	}
	return p
}

// summary is the run in a sentence or two.
func summary(v verdict.Verdict) string {
	sent, dropped, masked := 0, 0, 0
	for _, l := range v.Lanes {
		sent, dropped, masked = sent+l.Sent, dropped+l.Dropped, masked+l.Masked
	}
	if sent == 0 {
		return "Nothing was sent."
	}
	out := fmt.Sprintf("%d of %d requests were dropped on %s", dropped, sent, report.Count(len(v.Lanes), "lane"))
	if masked > 0 {
		out += fmt.Sprintf(", and %d were dropped once and sent again by the client on its own", masked)
	}
	if v.PodsReplaced > 0 {
		out += fmt.Sprintf("; %s replaced", report.Count(v.PodsReplaced, "Pod"))
		if v.Rollout > 0 {
			out += " in " + report.Duration(v.Rollout)
		}
	}
	return out + "."
}

// mostBins is in how many parts the answered requests of a lane are counted.
const mostBins = 400

// answered is how many requests of a lane went well, by the instant at which they left, as an
// outline in bins from the start of the run, which a browser stretches. A bin that got all that was
// due is 100 high; if one got more, that is what the rest is measured by.
func answered(a axis, lane timeline.LaneRecord) (outline string, bin time.Duration) {
	bin = round((a.to - a.from) / mostBins)
	if lane.Rate > 0 { // a request more or less must not look like an outage
		bin = max(bin, round(10*time.Second/time.Duration(lane.Rate)))
	}
	counts := make([]int, a.to/bin+1)
	for _, r := range lane.Requests {
		if at := r.Sent(); r.Cause == timeline.OK && at >= 0 && at <= a.to {
			counts[at/bin]++
		}
	}
	full := max(1, slices.Max(counts), int(bin.Seconds()*float64(lane.Rate)))
	var path strings.Builder
	path.WriteString("M0 100")
	height := 0
	for i, n := range counts {
		if h := 100 * n / full; h != height {
			fmt.Fprintf(&path, "H%dV%d", i, 100-h)
			height = h
		}
	}
	fmt.Fprintf(&path, "H%dV100Z", len(counts))
	return path.String(), bin
}

// droppedTable is the dropped requests per lane and phase.
func droppedTable(v verdict.Verdict) report.Table {
	if len(v.Lanes) == 0 {
		return report.Table{}
	}
	number := func(name string, of func(verdict.Lane) int) report.Column[verdict.Lane] {
		return report.Number(name, func(l verdict.Lane) string { return fmt.Sprint(of(l)) })
	}
	columns := []report.Column[verdict.Lane]{
		report.Words("lane", func(l verdict.Lane) string { return l.Name }),
		number("sent", func(l verdict.Lane) int { return l.Sent }),
		number("dropped", func(l verdict.Lane) int { return l.Dropped }),
		number("late", func(l verdict.Lane) int { return l.Late }),
		report.Words("expected", func(l verdict.Lane) string {
			return report.Expected(func(c timeline.Class) []string { return []string{string(l.Held[c].Expect)} })
		}),
		report.Words("result", func(l verdict.Lane) string { return report.LaneResult(l).String() }),
		number("masked", func(l verdict.Lane) int { return l.Masked }).
			Unless(func(l verdict.Lane) bool { return l.Masked == 0 && !l.Replayable }),
	}
	for _, phase := range verdict.LifecyclePhases() {
		columns = append(columns, number(phase.String(), func(l verdict.Lane) int { return l.Phases[phase] }).
			Unless(func(l verdict.Lane) bool { return l.Phases[phase] == 0 }))
	}
	columns = append(columns, report.Number("last arrival",
		func(l verdict.Lane) string { return report.LastArrival(l.LastArrival) }))
	return report.Tabulate(columns, [][]verdict.Lane{v.Lanes})
}

// outageRows is how many rows a table of outages has room for.
const outageRows = 20

// outageTable is the outages in which most was dropped, in the order of their time.
func outageTable(v verdict.Verdict) (t report.Table, left int) {
	type laneOutage struct {
		lane string
		verdict.Outage
	}
	var all []laneOutage
	for _, l := range v.Lanes {
		for _, o := range l.Outages {
			all = append(all, laneOutage{l.Name, o})
		}
	}
	slices.SortStableFunc(all, func(a, b laneOutage) int { return b.Dropped - a.Dropped })
	left = max(0, len(all)-outageRows)
	all = all[:len(all)-left]
	slices.SortStableFunc(all, func(a, b laneOutage) int { return int((a.From - b.From) / time.Microsecond) })
	if len(all) == 0 {
		return report.Table{}, 0
	}
	return report.Tabulate([]report.Column[laneOutage]{
		report.Words("lane", func(o laneOutage) string { return o.lane }),
		report.Number("from", func(o laneOutage) string { return instant(o.From) }),
		report.Words("length", func(o laneOutage) string { return outageLength(o.Outage) }),
		report.Number("dropped", func(o laneOutage) string { return fmt.Sprint(o.Dropped) }),
		report.Words("causes", func(o laneOutage) string { return report.Counts(timeline.Causes(), o.Causes, 0) }),
		report.Words("phases", func(o laneOutage) string { return phaseCounts(o.Phases) }),
		report.Words("Pods", func(o laneOutage) string { return shorten(report.Plain(report.Enumerate(o.Pods))) }),
	}, [][]laneOutage{all}), left
}
