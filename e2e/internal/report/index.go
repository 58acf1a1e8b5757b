package report

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"slices"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// index is a report as a page.
type index struct {
	document
	Outcome     string
	Disruptions []string
	Strategies  []strategyRuns
}

// strategyRuns is a row of the table of runs: a cell for each disruption.
type strategyRuns struct {
	Strategy, Summary string
	Control           string // its mark, if the strategy's result is known beforehand
	Cells             [][]runLink
}

// runLink is a run in a few words, and where its picture is.
type runLink struct {
	Outcome, Text string
	Repeat        int    // 0 where there is only one
	Href          string // empty if there is no picture
}

//go:embed page
var page embed.FS

// pages are the templates of this package.
var pages = Pages()

// Pages are the templates that every page needs: its head with the style sheet, and tables. To draw
// one in the same hand, parse its template on top of them.
func Pages() *template.Template {
	css := func() (template.CSS, error) {
		raw, err := page.ReadFile("page/page.css")
		return template.CSS(bytes.TrimSpace(raw)), err
	}
	shared := template.New("").Funcs(template.FuncMap{"css": css, "heads": Table.heads})
	return template.Must(shared.ParseFS(page, "page/*.html"))
}

// Index writes a report as one HTML page: strategy × disruption first, with a link from each run to
// its picture, then what the other formats say.
func Index(w io.Writer, r Report) error {
	var out bytes.Buffer
	if err := pages.ExecuteTemplate(&out, "index.html", newIndex(r)); err != nil {
		return fmt.Errorf("lay out index: %w", err)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

func newIndex(r Report) index {
	out := index{document: newDocument(r), Outcome: r.Suite.Outcome.String()}
	for _, part := range rowsOf(r.Suite.Runs) {
		out.Disruptions = append(out.Disruptions, part[0].Disruption)
	}
	repeats := map[string]int{}
	for _, v := range r.Suite.Runs {
		repeats[v.Name()]++
	}
	for i, v := range r.Suite.Runs {
		row := slices.IndexFunc(out.Strategies, func(s strategyRuns) bool { return s.Strategy == v.Spec.Strategy })
		if row < 0 {
			row, out.Strategies = len(out.Strategies), append(out.Strategies, strategyRuns{
				Strategy: v.Spec.Strategy, Summary: Plain(v.Spec.Summary),
				Cells: make([][]runLink, len(out.Disruptions)),
			})
		}
		if v.Spec.Control {
			out.Strategies[row].Control = controlMark
		}
		link := runLink{Outcome: v.Outcome.String(), Text: droppedOf(v)}
		if repeats[v.Name()] > 1 {
			link.Repeat = v.Repeat
		}
		if i < len(r.Pictures) {
			link.Href = r.Pictures[i]
		}
		cell := &out.Strategies[row].Cells[slices.Index(out.Disruptions, v.Spec.Disruption)]
		*cell = append(*cell, link)
	}
	return out
}

// droppedOf is dropped/sent, of all lanes together.
func droppedOf(v verdict.Verdict) string {
	sent, dropped := 0, 0
	for _, l := range v.Lanes {
		sent, dropped = sent+l.Sent, dropped+l.Dropped
	}
	if sent == 0 {
		return "nothing sent"
	}
	return ratio(dropped, sent)
}

// tableHead is a cell over columns of one group.
type tableHead struct {
	Name string
	Span int
}

// heads are the names of groups with the columns that they span; none if there is only one group.
func (t Table) heads() []tableHead {
	groups := t.groups()
	if len(groups) < 2 || !slices.ContainsFunc(t.Columns, func(h Header) bool { return h.Group != "" }) {
		return nil
	}
	var out []tableHead
	for _, g := range groups {
		out = append(out, tableHead{t.Columns[g.first].Group, g.last - g.first + 1})
	}
	return out
}
