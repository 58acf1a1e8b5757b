package report

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// index is a report as a page.
type index struct {
	document
	Result  Result // of all runs together
	Legend  []Result
	Picture chart
	Delays  consumerChart
	// below the fold
	Sequences []sequenceChart
	Pods      podChart
	Held      heldChart
}

//go:embed page
var page embed.FS

// pages are the templates of this package.
var pages = Pages()

// Pages are the templates that every page needs: its head with the style sheet, and tables. To draw
// one in the same hand, parse its template on top of them.
func Pages() *template.Template {
	css := func(file string) (template.CSS, error) {
		raw, err := page.ReadFile("page/" + file)
		return template.CSS(bytes.TrimSpace(raw)), err
	}
	shared := template.New("").Funcs(template.FuncMap{"css": css, "heads": Table.heads, "tone": tone})
	return template.Must(shared.ParseFS(page, "page/*.html"))
}

// tone is the class of a cell that begins with a result; empty for any other.
func tone(cell string) string {
	for _, result := range Results() {
		if strings.HasPrefix(cell, result.String()) {
			return result.Class()
		}
	}
	return ""
}

// Index writes a report as one HTML page: a picture of strategy × disruption first, with a link from
// each run to its own, then what the other formats say.
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
	m, all := newModel(r), row{Runs: r.Suite.Runs}
	out := index{document: newDocument(r), Picture: newChart(m), Result: all.result()}
	out.Delays = newConsumerChart(m.consumers())
	out.Sequences, out.Pods = newSequenceCharts(m.sequences()), newPodChart(m.firstRuns(deletesPods))
	out.Held = newHeldChart(m.firstRuns(holdsConnections))
	if r.Suite.Outcome != verdict.Pass { // it can be worse than its runs
		out.Result = resultOf(r.Suite.Outcome, false)
	}
	for _, result := range Results() {
		if all.count(result) > 0 || result == Clean || result == Dropped {
			out.Legend = append(out.Legend, result)
		}
	}
	return out
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
