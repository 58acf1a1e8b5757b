package report

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// PictureFile is the name of a run's picture, in the folder of the run.
const PictureFile = "run.html"

// PictureLimit is how many bytes a picture may have, whatever the run: a page that is mailed, and opens at once.
const PictureLimit = 2_000_000

//go:embed page
var page embed.FS

// pages are the templates, with what they share. The drawing is in the page as SVG: it shows, and prints, without a script.
var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"css":    func() template.CSS { return template.CSS(asset("page.css")) },
	"script": func() template.JS { return template.JS(asset("picture.js")) },
	"heads":  table.heads,
	"note":   meaning,
	"zooms":  func() []int { return []int{1, 2, 5, 10, 50} },
}).ParseFS(page, "page/*.html"))

// asset is a file that goes into pages as it is.
func asset(name string) string {
	raw, err := page.ReadFile("page/" + name)
	if err != nil {
		panic(err) // it is compiled in
	}
	return strings.TrimSpace(string(raw))
}

// picture is a run as its page shows it.
type picture struct {
	Title   string
	Verdict verdict.Verdict
	Outcome string
	Reasons []string
	Facts   []string
	Summary string
	Notes   []string // what the picture leaves out
	Phases  []phase
	Ticks   []tick
	Pods    []lifeline
	Stages  []stage
	Lanes   []requestLane
	Moments []momentCount // that lost something
	Losses  int
	Table   table
	Outages table
}

// requestLane is a lane as rows of a picture.
type requestLane struct {
	verdict.Lane
	Answered string // an outline, in bins from left to right, 100 high
	From     string // the left edge of the axis, in bins
	Bins     string // its width
	Bin      string // what one of them is long
	Outages  []mark
	Rows     []lossRow
}

type momentCount struct {
	verdict.Moment
	Count int
}

// room is how much a picture may show one by one.
type room struct{ marks, outages, pods, reasons int }

// Picture writes a run as one HTML page that needs nothing else: Pods' lives as rows, below them what each lane sent and lost, on one axis of time. Where more is
// lost than fits, marks that would lie on one another are merged, and the page says so.
func Picture(w io.Writer, v verdict.Verdict, tl timeline.Timeline) error {
	for fit := (room{marks: 2000, outages: 500, pods: mostPods, reasons: 50}); ; {
		var out bytes.Buffer
		if err := pages.ExecuteTemplate(&out, "picture.html", newPicture(v, tl, fit)); err != nil {
			return fmt.Errorf("draw %s: %w", v.Name(), err)
		}
		if out.Len() > PictureLimit && fit.marks > 1 {
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
		Title: v.Name(), Verdict: v, Outcome: v.Outcome.String(), Phases: a.phases(tl.Window), Ticks: a.ticks(), Stages: stages,
		Losses: len(v.Losses), Table: lossTable(v), Summary: summary(v),
	}
	if v.Repeat > 1 {
		p.Title += fmt.Sprintf(" (repeat %d)", v.Repeat)
	}
	if v.Outcome != verdict.Pass {
		p.Reasons = each(because(v.Outcome, v.Reasons), func(s string) string { return shorten(plain(s)) })
		if left := len(p.Reasons) - fit.reasons; left > 0 {
			p.Reasons = append(p.Reasons[:fit.reasons], fmt.Sprintf("and %d more: see verdict.json", left))
		}
	}
	p.Facts = environment(v.Environment)
	if !tl.Start.IsZero() {
		p.Facts = append(p.Facts, "started "+tl.Start.UTC().Format("2006-01-02 15:04:05 UTC"))
	}

	var left int
	if p.Pods, left = lifelines(a, v, fit.pods); left > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("%s not shown, of %d: those that lost most are.", count(left, "Pod"), len(v.Lives)))
	}
	whose, rows := newOwners(v.Lives), newLossRows(v.Losses)
	step := rows.merging(a, fit.marks)
	shade := shortest(a, fit.outages, func(step time.Duration) int {
		n := 0
		for _, lane := range v.Lanes {
			n += len(outageRuns(lane.Outages, step))
		}
		return n
	})
	drawn := 0
	totals := map[verdict.Moment]int{}
	for _, lane := range v.Lanes {
		out := requestLane{Lane: lane, Outages: outageMarks(a, lane, shade)}
		for _, record := range tl.Lanes {
			if record.Name == lane.Name {
				var bin time.Duration
				out.Answered, bin = answered(a, record)
				out.Bin = duration(bin)
				out.From, out.Bins = fmt.Sprintf("%.3f", float64(a.from)/float64(bin)), fmt.Sprintf("%.3f", float64(a.to-a.from)/float64(bin))
			}
		}
		for _, m := range verdict.Moments() {
			row := lossRow{Moment: m, Count: len(rows[lane.Name][m])}
			for _, same := range together(rows[lane.Name][m], step) {
				row.Marks = append(row.Marks, lossMark(a, same, whose))
			}
			if drawn += len(row.Marks); row.Count > 0 {
				out.Rows = append(out.Rows, row)
				totals[m] += row.Count
			}
		}
		p.Lanes = append(p.Lanes, out)
	}
	for _, m := range verdict.Moments() {
		if totals[m] > 0 {
			p.Moments = append(p.Moments, momentCount{m, totals[m]})
		}
	}
	if step > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("%d lost requests are drawn as %d marks: those of one lane and moment that left within %s of each other would lie on one "+
			"another, and share a mark.", len(v.Losses), drawn, duration(step)))
	}
	if shade > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("Outages of a lane that began within %s of each other share a shade.", duration(shade)))
	}
	p.Outages, left = outageTable(v)
	if left > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("The table of outages has the %d in which most was lost, of %d.", outageRows, outageRows+left))
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
	out := fmt.Sprintf("%d of %d requests were lost on %s", dropped, sent, count(len(v.Lanes), "lane"))
	if masked > 0 {
		out += fmt.Sprintf(", and %d were lost once and sent again by the client on its own", masked)
	}
	if v.PodsReplaced > 0 {
		out += fmt.Sprintf("; %s replaced", count(v.PodsReplaced, "Pod"))
		if v.Rollout > 0 {
			out += " in " + duration(v.Rollout)
		}
	}
	return out + "."
}

// mostBins is in how many parts the answered requests of a lane are counted.
const mostBins = 400

// answered is how many requests of a lane went well, by the instant at which they left, as an outline in bins from the start of the run, which a browser
// stretches. A bin that got all that was due is 100 high; if one got more, that is what the rest is measured by.
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

// lossTable is the losses per lane and moment.
func lossTable(v verdict.Verdict) table {
	counts := map[string]map[verdict.Moment]int{}
	total := map[verdict.Moment]int{}
	for _, l := range v.Losses {
		if counts[l.Lane] == nil {
			counts[l.Lane] = map[verdict.Moment]int{}
		}
		counts[l.Lane][l.Moment]++
		total[l.Moment]++
	}
	columns := []column[verdict.Lane]{
		{header: header{Name: "lane", Left: true}, cell: func(l verdict.Lane) string { return l.Name }},
		{header: header{Name: "sent"}, cell: func(l verdict.Lane) string { return integer(l.Sent) }},
		{header: header{Name: "lost"}, cell: func(l verdict.Lane) string { return integer(l.Dropped) }},
		{header: header{Name: "expected", Left: true}, cell: func(l verdict.Lane) string { return l.Expect.String() }},
		{header: header{Name: "outcome", Left: true}, cell: func(l verdict.Lane) string { return l.Outcome.String() }},
		{
			header: header{Name: "masked"}, cell: func(l verdict.Lane) string { return integer(l.Masked) },
			hide: func(l verdict.Lane) bool { return l.Masked == 0 && !l.Replayable },
		},
	}
	for _, m := range verdict.Moments() {
		if total[m] > 0 {
			columns = append(columns, column[verdict.Lane]{
				header: header{Name: m.String()}, cell: func(l verdict.Lane) string { return integer(counts[l.Name][m]) },
			})
		}
	}
	columns = append(columns, column[verdict.Lane]{
		header: header{Name: "last arrival"}, cell: func(l verdict.Lane) string {
			if l.LastArrival == nil {
				return none
			}
			return duration(*l.LastArrival)
		},
	})
	if len(v.Lanes) == 0 {
		return table{}
	}
	return tabulate(columns, [][]verdict.Lane{v.Lanes})
}

// outageRows is how many rows a table of outages has room for.
const outageRows = 20

// outageTable is the outages in which most was lost, in the order of their time.
func outageTable(v verdict.Verdict) (t table, left int) {
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
	slices.SortStableFunc(all, func(a, b laneOutage) int { return b.Lost - a.Lost })
	left = max(0, len(all)-outageRows)
	all = all[:len(all)-left]
	slices.SortStableFunc(all, func(a, b laneOutage) int { return int((a.From - b.From) / time.Microsecond) })
	if len(all) == 0 {
		return table{}, 0
	}
	return tabulate([]column[laneOutage]{
		{header: header{Name: "lane", Left: true}, cell: func(o laneOutage) string { return o.lane }},
		{header: header{Name: "from"}, cell: func(o laneOutage) string { return instant(o.From) }},
		{header: header{Name: "length", Left: true}, cell: func(o laneOutage) string { return outageLength(o.Outage) }},
		{header: header{Name: "lost"}, cell: func(o laneOutage) string { return integer(o.Lost) }},
		{header: header{Name: "causes", Left: true}, cell: func(o laneOutage) string { return counted(timeline.Causes(), o.Causes) }},
		{header: header{Name: "moments", Left: true}, cell: func(o laneOutage) string { return counted(verdict.Moments(), o.Moments) }},
		{header: header{Name: "Pods", Left: true}, cell: func(o laneOutage) string { return shorten(plain(enumerate(o.Pods))) }},
	}, [][]laneOutage{all}), left
}

// meaning is what a moment is, in words.
func meaning(m verdict.Moment) string {
	switch m {
	case verdict.StartUp:
		return "before the Pod listened"
	case verdict.BeforeDeletion:
		return "while nothing had been done to the Pod"
	case verdict.PreStop:
		return "from its deletion to SIGTERM"
	case verdict.Terminating:
		return "from SIGTERM until its listener was closed"
	case verdict.ListenerClosed:
		return "from then until its process ended"
	case verdict.CutAtExit:
		return "in flight when its process ended"
	case verdict.AfterExit:
		return "sent to a Pod whose process had ended"
	case verdict.NoEndpoint:
		return "sent when the Service had no endpoint"
	default:
		return "charged to no Pod or no part of its life"
	}
}
