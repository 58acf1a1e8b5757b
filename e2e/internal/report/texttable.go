package report

import (
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
	for _, part := range t.Parts {
		out = append(out, rule)
		for _, cells := range part {
			out = append(out, row(func(i int) string { return cells[i] }))
		}
	}
	return out
}
