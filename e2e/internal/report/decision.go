package report

import (
	"fmt"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// decision is what a platform team decides by: what each strategy drops, which delay it needs and
// what it costs, one table per disruption, and below it which of the differences between preStop
// and in-app delay mean anything.
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
		b := block{Heading: part[0].Disruption, Table: Tabulate(m.proxied().decisionColumns(), byGroup(part))}
		if absent == "" {
			b.List = m.compare(part)
		}
		out.Blocks = append(out.Blocks, b)
	}
	if len(out.Blocks) == 0 || absent != "" && len(out.Blocks) == 1 {
		return out
	}
	notes := m.proxied().decisionNotes()
	if left := len(m.Lanes) - len(m.proxied().Lanes); left > 0 {
		notes = append(
			notes,
			fmt.Sprintf("not added in: %s, whose clients choose the Pod themselves and keep a time of "+
				"their own; they are below", Count(left, "lane")),
		)
	}
	out.Blocks = append(out.Blocks, block{List: notes})
	return out
}

// proxied is the model with only the lanes whose Pod a proxy chooses; with all if there are no
// others. A client that keeps a DNS answer for half a minute would drown what the strategies differ
// in.
func (m model) proxied() model {
	lanes := slices.DeleteFunc(
		slices.Clone(m.Lanes),
		func(l timeline.LaneSpec) bool { return l.Routing == timeline.ByClient },
	)
	if len(lanes) > 0 {
		m.Lanes = lanes
	}
	return m
}

// decides says whether a row has something to decide by. A control that replaced no Pod hasn't.
func decides(r row) bool { return !r.Control || r.replaced() }

// byGroup is the rows of a part in two groups: preStop and in-app delay, next to each other, and
// the rest.
func byGroup(part []row) [][]row {
	return slices.DeleteFunc([][]row{
		slices.DeleteFunc(slices.Clone(part), func(r row) bool { return !r.compares() }),
		slices.DeleteFunc(slices.Clone(part), row.compares),
	}, func(rows []row) bool { return len(rows) == 0 })
}

// kinds is lanes by what they use: new connections, and connections that they have.
func kinds(lanes []timeline.LaneSpec) (fresh, reused []string) {
	for _, lane := range lanes {
		if lane.Reuses() {
			reused = append(reused, lane.Name)
		} else {
			fresh = append(fresh, lane.Name)
		}
	}
	return fresh, reused
}

func (m model) decisionColumns() []Column[row] {
	out := []Column[row]{strategyColumn, repeatColumn, outcomeColumn}
	drops := func(group, kind string, lanes []string) {
		if len(lanes) == 0 {
			return
		}
		full := group + ", " + kind + " connections"
		counts := Number(kind, func(r row) string { return r.lanes(lanes).counts() })
		out = append(out, counts.under(group, full))
		if slices.ContainsFunc(lanes, func(lane string) bool { return m.masks[lane] }) {
			masked := Number("masked", func(r row) string { return r.lanes(lanes).masked() })
			out = append(out, masked.under(group, full+": masked"))
		}
	}
	inside, outside := m.places()
	fresh, reused := kinds(inside)
	drops("dropped/sent", "new", fresh)
	drops("dropped/sent", "reused", reused)
	fresh, reused = kinds(outside)
	drops("from outside", "new", fresh)
	drops("from outside", "reused", reused)
	fresh, reused = kinds(m.Lanes)
	delay := func(name string, lanes []string) Column[row] {
		c := Number(name,
			func(r row) string { return r.lanes(lanes).delay() }).Unless(func(row) bool { return len(lanes) == 0 })
		return c.under("delay needed", "delay needed, "+name+" connections")
	}
	cost := func(name string, of func(verdict.Verdict) (float64, bool), write func(float64) string) Column[row] {
		return Number(name, func(r row) string { return r.median(of, write) }).under("cost", "")
	}
	return append(out, delay("new", fresh), delay("reused", reused),
		cost("rollout", func(v verdict.Verdict) (float64, bool) { return float64(v.Rollout), v.Rollout > 0 },
			func(d float64) string { return Duration(time.Duration(d)) }),
		cost("most Pods", func(v verdict.Verdict) (float64, bool) { return float64(v.PeakPods), true },
			func(n float64) string { return fmt.Sprintf("%g", n) }),
		cost("extra Pod-s", func(v verdict.Verdict) (float64, bool) { return v.ExtraPodSeconds, true },
			func(s float64) string { return fmt.Sprintf("%.1f", s) }))
}

// delay is how long a Pod has to go on serving after its deletion, by what was seen: until the last
// request came.
func (a aggregate) delay() string {
	if a.N == 0 || a.Deleted == 0 {
		return None
	}
	return a.longest()
}

// decisionNotes explains what the tables show, and only that.
func (m model) decisionNotes() []string {
	rows := slices.Concat(m.Parts...)
	all := names(m.Lanes)
	out := []string{"dropped/sent: lanes added up, those that open a connection for each request (new) and those " +
		"that keep them (reused); lane by lane below"}
	if slices.ContainsFunc(rows, func(r row) bool { return r.lanes(all).Deleted > 0 }) {
		line := "delay needed: the longest time, over all Pods, repeats and lanes, from a Pod's deletion to the last " +
			"request that came to it"
		out = append(out, line+lowerBounds(m.having(func(a aggregate) bool { return a.N > 0 })))
		if _, reused := kinds(m.Lanes); len(reused) > 0 {
			out = append(out, "delay needed, reused: a kept-alive connection stays with its Pod until one of them "+
				"ends it. Where requests come on it for as long as the Pod waits, no delay is long enough")
		}
	}
	if slices.ContainsFunc(rows, row.replaced) {
		line := "rollout: from the start of the disruption until every Pod was ready and none terminating; most " +
			"Pods: at once, terminating ones included; extra Pod-s: Pod-seconds beyond the replicas asked for, " +
			"during the rollout"
		if slices.ContainsFunc(rows, func(r row) bool { return len(r.Runs) > 1 }) {
			line += ". Costs are medians of the repeats"
		}
		out = append(out, line)
	}
	return out
}
