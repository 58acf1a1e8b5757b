package report

import (
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
)

// Between columns of one group, between groups, and between groups in a rule. (go-pretty's own
// merged headers divide by zero when a group's name is wider than its columns, v6.8.3; and it draws
// all lines between columns or none.)
const (
	columnGap = "  "
	groupGap  = " │ "
	crossing  = "─┼─"
)

func (h Header) align() text.Align {
	if h.Left {
		return text.AlignLeft
	}
	return text.AlignRight
}

// groupSpan is neighbouring columns of one group, from first to last.
type groupSpan struct{ first, last int }

func (t Table) groups() []groupSpan {
	var out []groupSpan
	for i, c := range t.Columns {
		if i > 0 && c.Group == t.Columns[i-1].Group {
			out[len(out)-1].last = i
			continue
		}
		out = append(out, groupSpan{i, i})
	}
	return out
}

// widths is the width of each column. A group's name that is wider than its columns widens the last
// of them.
func (t Table) widths() []int {
	out := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		out[i] = text.StringWidth(c.Name)
	}
	for _, part := range t.Parts {
		for _, cells := range part {
			for i, cell := range cells {
				out[i] = max(out[i], text.StringWidth(cell))
			}
		}
	}
	for _, g := range t.groups() {
		if missing := text.StringWidth(t.Columns[g.first].Group) - g.width(out); missing > 0 {
			out[g.last] += missing
		}
	}
	return out
}

func (g groupSpan) width(widths []int) int {
	sum := len(columnGap) * (g.last - g.first)
	for _, w := range widths[g.first : g.last+1] {
		sum += w
	}
	return sum
}

// drawnWidth is how many columns of a terminal the table takes.
func drawnWidth(t Table) int {
	widths, groups := t.widths(), t.groups()
	sum := text.StringWidth(groupGap) * (len(groups) - 1)
	for _, g := range groups {
		sum += g.width(widths)
	}
	return sum
}

// titled is a table without its column disruption, which all rows of a part share: it is written
// into the rule over the part.
func (t Table) titled() Table {
	disruption := slices.IndexFunc(t.Columns, func(h Header) bool { return h.Name == "disruption" })
	if disruption < 0 {
		return t
	}
	var kept []int
	for i := range t.Columns {
		if i != disruption {
			kept = append(kept, i)
		}
	}
	out := t.pick(kept)
	for _, part := range t.Parts {
		out.titles = append(out.titles, part[0][disruption])
	}
	return out
}

// fit is the lines of a table whose rows are of a strategy and a disruption, within a width: the
// disruption is a title, and strategies with longer names are shortened.
func (t Table) fit(width int) []string {
	out := t.titled()
	strategy := slices.IndexFunc(out.Columns, func(h Header) bool { return h.Name == "strategy" })
	if most := out.widths()[strategy] - max(0, drawnWidth(out)-width); most > 2 {
		for _, part := range out.Parts {
			for _, cells := range part {
				if name := []rune(cells[strategy]); len(name) > most { // names differ at both ends
					cells[strategy] = string(name[:most/2]) + "…" + string(name[len(name)-(most-1)/2:])
				}
			}
		}
	}
	lines := draw(out)
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return lines
}

// draw is the lines of a table for a terminal: names of groups, names of columns, and the parts
// under a rule each.
//
//	                              │ nodeport: dropped/sent │ cost
//	disruption      strategy      │      new        reused │ rollout
//	──────────────────────────────┼────────────────────────┼────────
//	rolling-update  prestop-sleep │   0/3790        5/3790 │   24.9s
func draw(t Table) []string {
	widths, groups := t.widths(), t.groups()
	line := func(gap string, of func(groupSpan) string) string {
		var parts []string
		for _, g := range groups {
			parts = append(parts, of(g))
		}
		return strings.Join(parts, gap)
	}
	row := func(cell func(column int) string) string {
		return line(groupGap, func(g groupSpan) string {
			var cells []string
			for i := g.first; i <= g.last; i++ {
				cells = append(cells, t.Columns[i].align().Apply(cell(i), widths[i]))
			}
			return strings.Join(cells, columnGap)
		})
	}
	rule := line(crossing, func(g groupSpan) string { return strings.Repeat("─", g.width(widths)) })

	var out []string
	if len(groups) > 1 {
		out = append(out, line(groupGap, func(g groupSpan) string {
			return text.AlignLeft.Apply(t.Columns[g.first].Group, g.width(widths))
		}))
	}
	out = append(out, row(func(i int) string { return t.Columns[i].Name }))
	for i, part := range t.Parts {
		over := rule
		if i < len(t.titles) {
			over = t.titles[i] + " "
			over += strings.TrimPrefix(rule, string([]rune(rule)[:min(len([]rune(rule)), len([]rune(over)))]))
		}
		out = append(out, over)
		for _, cells := range part {
			out = append(out, row(func(i int) string { return cells[i] }))
		}
	}
	return out
}
