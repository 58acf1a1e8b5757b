package report

import (
	"fmt"
	"io"
	"strings"

	prettytable "github.com/jedib0t/go-pretty/v6/table"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// Markdown writes a report in GitHub's markdown, for a job summary or a comment. Reasons come
// first, long parts are folded.
func Markdown(w io.Writer, r Report) error {
	d := newDocument(r)
	var out strings.Builder
	fmt.Fprintf(&out, "## %s\n\n", escape(d.Verdict))
	if len(d.Reasons) > 0 {
		alert := "WARNING"
		if r.Suite.Outcome == verdict.Fail {
			alert = "CAUTION"
		}
		fmt.Fprintf(&out, "> [!%s]\n", alert)
		for _, reason := range d.Reasons {
			fmt.Fprintf(&out, "> - %s\n", escape(reason))
		}
		out.WriteString("\n")
	}
	for i, s := range d.Sections {
		if markdownSection(&out, s, i > 0); i == 0 {
			markdownList(&out, d.Findings)
		}
	}
	markdownList(&out, d.Facts)
	markdownList(&out, d.Closing)
	if _, err := io.WriteString(w, strings.TrimRight(out.String(), "\n")+"\n"); err != nil {
		return fmt.Errorf("write markdown report: %w", err)
	}
	return nil
}

func markdownSection(out *strings.Builder, s section, folded bool) {
	if folded {
		fmt.Fprintf(out, "<details>\n<summary>%s</summary>\n\n", escape(s.Title))
	} else {
		fmt.Fprintf(out, "### %s\n\n", escape(s.Title))
	}
	for _, b := range s.Blocks {
		if b.Heading != "" {
			fmt.Fprintf(out, "#### %s\n\n", escape(b.Heading))
		}
		if b.Text != "" {
			fmt.Fprintf(out, "%s\n\n", escape(b.Text))
		}
		if len(b.Table.Columns) > 0 {
			fmt.Fprintf(out, "%s\n\n", markdownTable(b.Table))
		}
		markdownList(out, b.List)
		if b.Code != "" {
			fmt.Fprintf(out, "````diff\n%s\n````\n\n", strings.TrimRight(b.Code, "\n"))
		}
	}
	if folded {
		out.WriteString("</details>\n\n")
	}
}

func markdownList(out *strings.Builder, items []string) {
	for _, item := range items {
		fmt.Fprintf(out, "- %s\n", escape(item))
	}
	if len(items) > 0 {
		out.WriteString("\n")
	}
}

// markdownTable draws a table. It is never cut: a browser scrolls. Markdown has no groups of
// columns, so each column has its full name.
func markdownTable(t Table) string {
	w := prettytable.NewWriter()
	names := prettytable.Row{}
	for _, c := range t.Columns {
		names = append(names, escape(c.Full))
	}
	w.AppendHeader(names)
	var configs []prettytable.ColumnConfig
	for i, c := range t.Columns {
		configs = append(configs, prettytable.ColumnConfig{Number: i + 1, Align: c.align()})
	}
	w.SetColumnConfigs(configs)
	for _, part := range t.Parts {
		for _, cells := range part {
			r := prettytable.Row{}
			for _, cell := range cells {
				r = append(r, escape(cell))
			}
			w.AppendRow(r)
		}
	}
	return w.RenderMarkdown()
}

// escape takes from characters what they mean in markdown and HTML. The pipe is left to the table
// writer: outside of tables it means nothing.
var escaper = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "~", `\~`,
	"&", "&amp;", "<", "&lt;", ">", "&gt;")

func escape(s string) string {
	s = escaper.Replace(s)
	if strings.HasPrefix(s, "#") || strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") {
		return `\` + s
	}
	return s
}
