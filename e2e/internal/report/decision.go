package report

import (
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// decision is what a platform team decides by: what each strategy drops, which delay it needs and what it costs, one table per disruption, and below it which
// of the differences between preStop and in-app delay mean anything.
func decision(m model) section {
	if len(m.Parts) == 0 {
		return section{}
	}
	out := section{Title: "preStop or in-app delay? What each strategy drops, needs and costs"}
	absent := missing(slices.Concat(m.Parts...), "was run")
	if absent != "" {
		out.Blocks = []block{{Text: absent}}
	}
	for _, part := range m.Parts {
		if !slices.ContainsFunc(part, decides) {
			continue
		}
		b := block{Heading: part[0].Disruption, Table: tabulate(m.decisionColumns(), bySide(part))}
		if absent == "" {
			b.List = m.duelOf(part)
		}
		out.Blocks = append(out.Blocks, b)
	}
	if len(out.Blocks) == 0 || absent != "" && len(out.Blocks) == 1 {
		return out
	}
	out.Blocks = append(out.Blocks, block{List: m.decisionNotes()})
	return out
}

// decides says whether a row has something to decide by. A control that replaced no Pod hasn't.
func decides(r row) bool { return !r.control() || r.replaced() }

// bySide is the rows of a part in two groups: preStop and in-app delay, next to each other, and the rest.
func bySide(part []row) [][]row {
	return slices.DeleteFunc([][]row{
		slices.DeleteFunc(slices.Clone(part), func(r row) bool { return !r.fights() }),
		slices.DeleteFunc(slices.Clone(part), row.fights),
	}, func(rows []row) bool { return len(rows) == 0 })
}

// kinds is lanes by what they use: new connections, and connections that they have.
func (m model) kinds(lanes []string) (fresh, reused []string) {
	for _, lane := range lanes {
		if m.reuses[lane] {
			reused = append(reused, lane)
		} else {
			fresh = append(fresh, lane)
		}
	}
	return fresh, reused
}

// lanes adds several lanes up over the runs of the row. Rollouts doesn't add up so: it has one entry per run and lane.
func (r row) lanes(names []string) laneSum {
	sum := laneSum{Causes: map[timeline.Cause]int{}, Moments: map[verdict.Moment]int{}, Unattributed: map[string]int{}}
	for _, v := range r.Runs {
		for _, l := range v.Lanes {
			if slices.Contains(names, l.Name) {
				sum.add(v, l)
			}
		}
	}
	return sum
}

func (m model) decisionColumns() []column[row] {
	out := []column[row]{strategyColumn, repeatColumn, outcomeColumn}
	drops := func(group string, lanes []string) {
		fresh, reused := m.kinds(lanes)
		for _, kind := range []struct {
			name  string
			lanes []string
		}{{"new", fresh}, {"reused", reused}} {
			if len(kind.lanes) == 0 {
				continue
			}
			full := strings.TrimPrefix(group+", "+kind.name+" connections", ", ")
			out = append(out, column[row]{
				header: header{Group: group, Name: kind.name, Full: full},
				cell:   func(r row) string { return r.lanes(kind.lanes).counts() },
			})
			if slices.ContainsFunc(kind.lanes, func(lane string) bool { return m.masks[lane] }) {
				out = append(out, column[row]{
					header: header{Group: group, Name: "masked", Full: full + ": masked"},
					cell:   func(r row) string { return r.lanes(kind.lanes).masked() },
				})
			}
		}
	}
	drops("dropped/sent", m.inside())
	if len(m.Outside) > 0 {
		drops("from outside", m.Outside)
	}
	fresh, reused := m.kinds(m.Lanes)
	delay := func(name string, lanes []string) column[row] {
		return column[row]{
			header: header{Group: "delay needed", Name: name, Full: "delay needed, " + name + " connections"},
			cell:   func(r row) string { return r.lanes(lanes).delay() },
			hide:   func(row) bool { return len(lanes) == 0 },
		}
	}
	return append(out, delay("new", fresh), delay("reused", reused),
		costColumn("rollout", func(r row) string {
			return median(floats(r.rollouts()), func(v float64) string { return duration(time.Duration(v)) })
		}),
		costColumn("most Pods", func(r row) string { return median(floats(r.peaks()), number) }),
		costColumn("extra Pod-s", func(r row) string { return median(r.extras(), podSeconds) }))
}

func costColumn(name string, cell func(row) string) column[row] {
	return column[row]{header: header{Group: "cost", Name: name}, cell: cell}
}

// delay is how long a Pod has to go on serving after its deletion, by what was seen: until the last request came. It is a lower bound where lost requests
// are charged to nobody, as these can have come later.
func (s laneSum) delay() string {
	if s.Runs == 0 || s.Deleted == 0 {
		return none
	}
	longest := hundredths(s.arrival(1))
	if s.Moments[verdict.Unattributed] > 0 {
		return "≥ " + longest
	}
	return longest
}

// median is the value in the middle, or the mean of the two that are.
func median(values []float64, write func(float64) string) string {
	if len(values) == 0 {
		return none
	}
	s := slices.Sorted(slices.Values(values))
	return write((s[(len(s)-1)/2] + s[len(s)/2]) / 2)
}

// decisionNotes explains what the tables show, and only that.
func (m model) decisionNotes() []string {
	rows := slices.Concat(m.Parts...)
	out := []string{"dropped/sent: lanes added up, those that open a connection for each request (new) and those that keep them (reused); lane by lane below"}
	if slices.ContainsFunc(rows, func(r row) bool { return r.lanes(m.Lanes).Deleted > 0 }) {
		line := "delay needed: the longest time, over all Pods, repeats and lanes, from a Pod's deletion to the last request that came to it"
		if slices.ContainsFunc(rows, func(r row) bool { return strings.HasPrefix(r.lanes(m.Lanes).delay(), "≥") }) {
			line += "; ≥ where lost requests can't be charged to a Pod"
		}
		out = append(out, line)
		if _, reused := m.kinds(m.Lanes); len(reused) > 0 {
			out = append(out, "delay needed, reused: a kept-alive connection stays with its Pod until one of them ends it. Where requests come on it for as long as the "+
				"Pod waits, no delay is long enough")
		}
	}
	if slices.ContainsFunc(rows, row.replaced) {
		line := "rollout: from the start of the disruption until every Pod was ready and none terminating; most Pods: at once, terminating ones included; " +
			"extra Pod-s: Pod-seconds beyond the replicas asked for, during the rollout"
		if slices.ContainsFunc(rows, func(r row) bool { return len(r.Runs) > 1 }) {
			line += ". Costs are medians of the repeats"
		}
		out = append(out, line)
	}
	return out
}
