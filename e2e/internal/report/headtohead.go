package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// side is one of the two answers to the question that this tool is asked most: preStop or in-app delay?
type side struct {
	name   string
	prefix string // of the names of its strategies
}

var sides = [2]side{{"preStop", "prestop-"}, {"in-app delay", "in-app-"}}

func (s side) has(strategy string) bool { return strings.HasPrefix(strategy, s.prefix) }

// headToHead puts the strategies of the two sides next to each other, disruption by disruption. Only runs that can be believed are compared.
func headToHead(m model) section {
	if len(m.Parts) == 0 {
		return section{}
	}
	out := section{Title: "preStop or in-app delay?"}
	if line := missing(slices.Concat(m.Parts...), "was run"); line != "" {
		out.Blocks = []block{{Text: line}}
		return out
	}
	for _, part := range m.Parts {
		if b, ok := newDuel(m, part); ok {
			out.Blocks = append(out.Blocks, b)
		}
	}
	return out
}

// missing says which side has no row; "" if both have one.
func missing(rows []row, verb string) string {
	var absent []string
	for _, s := range sides {
		if !slices.ContainsFunc(rows, func(r row) bool { return s.has(r.Strategy) && !r.control() }) {
			absent = append(absent, fmt.Sprintf("no %s strategy (%s…)", s.name, s.prefix))
		}
	}
	if len(absent) == 0 {
		return ""
	}
	return fmt.Sprintf("Nothing to compare: %s %s.", enumerate(absent), verb)
}

// duel is the two sides under one disruption.
type duel struct {
	lanes []string
	sides [2][]row // believed runs only
}

// newDuel compares under one disruption. It is not ok where neither side has anything but controls, as without a disruption.
func newDuel(m model, part []row) (block, bool) {
	d := duel{lanes: m.Lanes}
	var rows []row
	var left []string
	for _, r := range part {
		i := slices.IndexFunc(sides[:], func(s side) bool { return s.has(r.Strategy) })
		if i < 0 || r.control() {
			continue
		}
		kept := row{Strategy: r.Strategy, Disruption: r.Disruption, Runs: r.believed()}
		if n := len(r.Runs) - len(kept.Runs); n > 0 {
			left = append(left, fmt.Sprintf("%s (%d of %s)", r.Strategy, n, count(len(r.Runs), "run")))
		}
		if len(kept.Runs) > 0 {
			d.sides[i] = append(d.sides[i], kept)
		}
		rows = append(rows, kept)
	}
	if len(rows) == 0 {
		return block{}, false
	}
	out := block{Heading: part[0].Disruption}
	if len(left) > 0 {
		out.List = append(out.List, "Left out as inconclusive: "+enumerate(left)+".")
	}
	rows = slices.Concat(d.sides[0], d.sides[1])
	if line := missing(rows, "has a run that can be believed"); line != "" {
		out.List = append(out.List, line)
		return out, true
	}
	columns := append([]column[row]{strategyColumn, repeatColumn}, dropColumns(d.lanes)...)
	columns = append(columns, arrivalColumns(d.lanes)...)
	columns = append(columns, costColumns...)
	out.Table = tabulate(columns, [][]row{d.sides[0], d.sides[1]})
	out.List = append(out.List, d.losses()...)
	out.List = append(out.List, d.costs())
	out.List = append(out.List, d.conclusions()...)
	return out, true
}

func (d duel) rows() []row { return slices.Concat(d.sides[0], d.sides[1]) }

// losses says on which lanes neither side dropped anything, and who dropped how much on the others.
func (d duel) losses() []string {
	var clean, out []string
	for _, lane := range d.lanes {
		var lossy []string
		for _, r := range d.rows() {
			if sum := r.lane(lane); sum.lost() {
				lossy = append(lossy, lossPhrase(r, sum))
			}
		}
		switch {
		case len(lossy) == 0:
			clean = append(clean, lane)
		case len(lossy) == len(d.rows()):
			out = append(out, fmt.Sprintf("On %s every strategy lost requests: %s.", lane, enumerate(lossy)))
		default:
			out = append(out, fmt.Sprintf("On %s requests were lost with %s; none with %s.", lane, enumerate(lossy), d.others(lane)))
		}
	}
	if len(clean) == 0 {
		return out
	}
	where := "On " + enumerate(clean)
	if len(out) == 0 {
		where = "On all lanes"
	}
	n := d.fewest()
	bound := fmt.Sprintf("%s each: up to %s of rollouts may still lose some", count(n, "rollout"), percent(verdict.ZeroBound(n)))
	return append([]string{fmt.Sprintf("%s, no request was lost with either side (%s).", where, bound)}, out...)
}

// lossPhrase is "prestop-sleep (5 of 3790)", with what was masked and with the number of rollouts where there were several.
func lossPhrase(r row, sum laneSum) string {
	phrase := fmt.Sprintf("%s (%d of %d", r.Strategy, sum.Dropped, sum.Sent)
	if sum.Masked > 0 {
		phrase += fmt.Sprintf(" and %d masked", sum.Masked)
	}
	if len(r.Runs) > 1 {
		phrase += fmt.Sprintf(", in %d of %s", sum.Lossy, count(sum.Believed, "rollout"))
	}
	return phrase + ")"
}

// others is who lost nothing on a lane.
func (d duel) others(lane string) string {
	var names []string
	for _, r := range d.rows() {
		if !r.lane(lane).lost() {
			names = append(names, r.Strategy)
		}
	}
	return enumerate(names)
}

// metric is a number of a run that tells strategies apart.
type metric struct {
	name  string
	of    func(row) []float64 // one value per run
	write func(float64) string
}

var costMetrics = []metric{
	{"rollout time", func(r row) []float64 { return floats(r.rollouts()) }, func(v float64) string { return duration(time.Duration(v)) }},
	{"most Pods at once", func(r row) []float64 { return floats(r.peaks()) }, func(v float64) string { return integer(int(v)) }},
	{"extra Pod-seconds", row.extras, podSeconds},
}

// costs says in one sentence what each side costs.
func (d duel) costs() string {
	var parts []string
	for _, c := range costMetrics {
		var values [2]string
		for i, rows := range d.sides {
			var all []float64
			for _, r := range rows {
				all = append(all, c.of(r)...)
			}
			values[i] = extent(all, c.write)
		}
		if values[0] == values[1] {
			parts = append(parts, fmt.Sprintf("%s %s with both", c.name, values[0]))
			continue
		}
		parts = append(parts, fmt.Sprintf("%s %s with %s, %s with %s", c.name, values[0], d.sideName(0), values[1], d.sideName(1)))
	}
	return "Cost: " + strings.Join(parts, "; ") + "."
}

// sideName is the strategy where there is only one, else the side.
func (d duel) sideName(i int) string {
	if len(d.sides[i]) == 1 {
		return d.sides[i][0].Strategy
	}
	return sides[i].name
}

// conclusions says which of the differences can't be put down to chance, comparing per rollout and never by requests: those of one rollout are lost
// together. Each pair is tested by itself.
func (d duel) conclusions() []string {
	var out []string
	for _, lane := range d.lanes {
		out = append(out, d.separate(func(a, b row) string { return lossesApart(a.lane(lane), b.lane(lane)) }, lane)...)
	}
	for _, c := range costMetrics {
		out = append(out, d.separate(func(a, b row) string { return apart(c.of(a), c.of(b), c.write) }, c.name)...)
	}
	runs := d.runs()
	if len(out) > 0 {
		return append(out, fmt.Sprintf("No other difference can be told from noise at the 5 %% level (%s).", runs))
	}
	line := fmt.Sprintf("With %s, no difference above can be told from noise at the 5 %% level", runs)
	if d.most() < verdict.FewestRuns() {
		line += fmt.Sprintf("; %d of each is the least that could show one", verdict.FewestRuns())
	}
	return []string{line + "."}
}

// separate asks about every pair of one strategy from each side.
func (d duel) separate(differ func(a, b row) string, what string) []string {
	var out []string
	for _, a := range d.sides[0] {
		for _, b := range d.sides[1] {
			if how := differ(a, b); how != "" {
				out = append(out, fmt.Sprintf("More than noise: %s, %s against %s: %s.", what, a.Strategy, b.Strategy, how))
			}
		}
	}
	return out
}

// lossesApart compares two strategies on one lane: how many rollouts lost something, or else how much each lost.
func lossesApart(a, b laneSum) string {
	if p := verdict.Fisher(a.Lossy, a.Believed, b.Lossy, b.Believed); p < verdict.Significant {
		return fmt.Sprintf("lost something in %d of %d against %d of %d rollouts (%s)", a.Lossy, a.Believed, b.Lossy, b.Believed, probability(p))
	}
	if how := apart(floats(a.Losses), floats(b.Losses), func(v float64) string { return integer(int(v)) }); how != "" {
		return "lost per rollout " + how
	}
	return ""
}

// apart says how far two samples are from each other if they don't overlap and are large enough for that to mean something; else "".
func apart(a, b []float64, write func(float64) string) string {
	if len(a) == 0 || len(b) == 0 || slices.Max(a) >= slices.Min(b) && slices.Max(b) >= slices.Min(a) {
		return ""
	}
	p := verdict.Disjoint(len(a), len(b))
	if p >= verdict.Significant {
		return ""
	}
	return fmt.Sprintf("%s against %s (%s)", extent(a, write), extent(b, write), probability(p))
}

// runs is how many runs the compared strategies have: "1 run each", "2 to 3 runs each".
func (d duel) runs() string {
	if least, most := d.fewest(), d.most(); least != most {
		return fmt.Sprintf("%d to %d runs each", least, most)
	}
	return count(d.most(), "run") + " each"
}

func (d duel) fewest() int { return slices.Min(d.sizes()) }

func (d duel) most() int { return slices.Max(d.sizes()) }

// sizes is the number of runs of each strategy.
func (d duel) sizes() []int {
	var out []int
	for _, r := range d.rows() {
		out = append(out, len(r.Runs))
	}
	return out
}

func floats[N ~int | ~int64](values []N) []float64 {
	out := make([]float64, 0, len(values))
	for _, v := range values {
		out = append(out, float64(v))
	}
	return out
}
