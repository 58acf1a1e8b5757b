package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"
)

// textWidth is the columns that a text report keeps to: a CI log doesn't wrap it, and lines of
// prose get hard to read beyond.
const textWidth = 120

// tableWidth is what a table may take without a reader's scrolling on most screens.
const tableWidth = 150

// Text writes everything there is to tell: plain, 120 columns wide, and tables as wide as they are.
// Summary is what fits on a screen.
func Text(w io.Writer, r Report) error {
	var t textWriter
	d := newDocument(r)
	t.lines("", d.Verdict)
	for _, fact := range d.Facts {
		t.lines("  ", fact)
	}
	for _, reason := range d.Reasons {
		t.item(reason)
	}
	for _, finding := range d.Findings {
		t.item(finding)
	}
	for _, s := range d.Sections {
		t.section(s)
	}
	t.gap()
	for _, line := range d.Closing {
		t.lines("", line)
	}
	t.lines("", d.Verdict)
	if _, err := io.WriteString(w, t.out.String()); err != nil {
		return fmt.Errorf("write text report: %w", err)
	}
	return nil
}

type textWriter struct{ out strings.Builder }

func (t *textWriter) gap() { t.out.WriteString("\n") }

func (t *textWriter) title(s string) {
	fmt.Fprintf(&t.out, "\n%s\n%s\n", s, strings.Repeat("=", utf8.RuneCountInString(s)))
}

func (t *textWriter) section(s section) {
	t.title(s.Title)
	for i, b := range s.Blocks {
		if i > 0 {
			t.gap()
		}
		t.block(b)
	}
}

func (t *textWriter) block(b block) {
	if b.Heading != "" {
		t.lines("", b.Heading+":")
	}
	if b.Text != "" {
		t.lines("", b.Text)
	}
	if len(b.Table.Columns) > 0 {
		if drawnWidth(b.Table) > tableWidth {
			b.Table = b.Table.titled()
		}
		for _, line := range draw(b.Table) {
			t.out.WriteString(strings.TrimRight(line, " ") + "\n")
		}
	}
	for _, item := range b.List {
		t.item(item)
	}
	for line := range strings.Lines(b.Code) {
		t.out.WriteString("    " + strings.TrimSuffix(line, "\n") + "\n")
	}
}

// item writes one entry of a list.
func (t *textWriter) item(s string) { t.wrapped("- ", "  ", s) }

// lines writes a paragraph.
func (t *textWriter) lines(indent, s string) { t.wrapped(indent, indent, s) }

func (t *textWriter) wrapped(first, rest, s string) {
	indent := first
	for line := range strings.SplitSeq(text.WrapSoft(s, textWidth-len(rest)), "\n") {
		t.out.WriteString(indent + strings.TrimRight(line, " ") + "\n")
		indent = rest
	}
}

// pick is the table with only the given columns.
func (t Table) pick(columns []int) Table {
	out := Table{Parts: make([][][]string, len(t.Parts))}
	for _, c := range columns {
		out.Columns = append(out.Columns, t.Columns[c])
	}
	for i, part := range t.Parts {
		for _, cells := range part {
			var picked []string
			for _, c := range columns {
				picked = append(picked, cells[c])
			}
			out.Parts[i] = append(out.Parts[i], picked)
		}
	}
	return out
}
