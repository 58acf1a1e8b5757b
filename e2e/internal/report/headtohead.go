package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/fixtures"
)

// side is one of the two answers to the question that this tool is asked most: preStop or in-app delay?
type side struct {
	name   string
	prefix string // of the names of its strategies
}

var sides = [2]side{{"preStop", "prestop-"}, {"in-app delay", "in-app-"}}

// has says whether a strategy speaks for the side. One of which nothing is expected, as its delay is too short for it, say, does not.
func (s side) has(strategy string) bool {
	return strings.HasPrefix(strategy, s.prefix) && !strings.HasSuffix(strategy, fixtures.MeasuredSuffix)
}

// side is the place of a row among those that a reader compares: 0 and 1 for the strategies of either side, then the rest, and controls last.
func (r row) side() int {
	i := slices.IndexFunc(sides[:], func(s side) bool { return s.has(r.Strategy) })
	switch {
	case r.control():
		return len(sides) + 1
	case i < 0:
		return len(sides)
	}
	return i
}

// fights says whether the row is on either side.
func (r row) fights() bool { return r.side() < len(sides) }

// missing says which side has no row; "" if both have one.
func missing(rows []row, verb string) string {
	var absent []string
	for i, s := range sides {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.side() == i }) {
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

// duelOf says how the two sides compare under one disruption; nothing where neither has anything, as without a disruption. Only runs that can be believed are
// compared.
func (m model) duelOf(part []row) []string {
	d := duel{lanes: m.Lanes}
	var out, left []string
	fought := false
	for _, r := range part {
		if !r.fights() {
			continue
		}
		fought = true
		kept := row{Strategy: r.Strategy, Disruption: r.Disruption, Runs: r.believed()}
		if n := len(r.Runs) - len(kept.Runs); n > 0 {
			left = append(left, fmt.Sprintf("%s (%d of %s)", r.Strategy, n, count(len(r.Runs), "run")))
		}
		if len(kept.Runs) > 0 {
			d.sides[r.side()] = append(d.sides[r.side()], kept)
		}
	}
	if !fought {
		return nil
	}
	if len(left) > 0 {
		out = append(out, "Left out, not measured or not to be believed: "+enumerate(left)+".")
	}
	if line := missing(d.rows(), "has a run that can be believed"); line != "" {
		return append(out, line)
	}
	if line := d.clean(); line != "" {
		out = append(out, line)
	}
	return append(out, d.conclusions()...)
}

func (d duel) rows() []row { return slices.Concat(d.sides[0], d.sides[1]) }

// clean says on which lanes neither side lost anything, and what that is worth; "" if there is none.
func (d duel) clean() string {
	var lanes []string
	for _, lane := range d.lanes {
		if !slices.ContainsFunc(d.rows(), func(r row) bool { return r.lane(lane).lost() }) {
			lanes = append(lanes, lane)
		}
	}
	where := "On " + enumerate(lanes)
	switch len(lanes) {
	case 0:
		return ""
	case len(d.lanes):
		where = "On all lanes"
	}
	n := d.fewest()
	return fmt.Sprintf("%s, no request was lost with either side (%s each: up to %s of rollouts may still lose some).",
		where, count(n, "rollout"), percent(verdict.ClopperPearson(0, n)))
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

// comparison is one test of a pair of strategies, and what to say if they differ.
type comparison struct {
	what string // is compared: a lane, a cost
	pair string
	how  string
	test verdict.Test
}

// conclusions says which of the differences can't be put down to chance, comparing per rollout and never by requests: those of one rollout are lost
// together. All tests of the duel are corrected for each other. Of a pair that differs on a lane in how many rollouts lost something, how much is not told.
func (d duel) conclusions() []string {
	all := d.comparisons()
	tests := make([]*verdict.Test, 0, len(all))
	made := 0
	for i := range all {
		tests = append(tests, &all[i].test)
		if all[i].test.Made {
			made++
		}
	}
	verdict.Correct(tests)
	var out []string
	told := map[[2]string]bool{}
	for _, c := range all {
		if key := [2]string{c.what, c.pair}; c.test.Differs() && !told[key] {
			told[key] = true
			out = append(out, fmt.Sprintf("More than noise: %s, %s: %s (%s).", c.what, c.pair, c.how, corrected(c.test, made)))
		}
	}
	runs := d.runs()
	if made > 1 {
		runs += fmt.Sprintf(", %d comparisons corrected for each other", made)
	}
	if len(out) > 0 {
		return append(out, fmt.Sprintf("No other difference can be told from noise at the 5 %% level (%s).", runs))
	}
	line := fmt.Sprintf("No difference above can be told from noise at the 5 %% level (%s)", runs)
	if fewest := verdict.FewestRuns(made); d.most() < fewest {
		line += fmt.Sprintf("; %d runs of each are the least that could show one", fewest)
	}
	return []string{line + "."}
}

// comparisons is every test of one strategy from each side: on each lane how many rollouts lost something, and how much each lost; and the costs.
func (d duel) comparisons() []comparison {
	var out []comparison
	each := func(what string, compare func(a, b row) []comparison) {
		for _, a := range d.sides[0] {
			for _, b := range d.sides[1] {
				for _, c := range compare(a, b) {
					c.what, c.pair = what, a.Strategy+" against "+b.Strategy
					out = append(out, c)
				}
			}
		}
	}
	for _, lane := range d.lanes {
		each(lane, func(a, b row) []comparison { return compareLosses(a.lane(lane).Rollouts, b.lane(lane).Rollouts) })
	}
	for _, c := range costMetrics {
		each(c.name, func(a, b row) []comparison {
			return []comparison{{how: apart(c.of(a), c.of(b), c.write), test: verdict.CompareAmounts(c.of(a), c.of(b))}}
		})
	}
	return out
}

func compareLosses(a, b verdict.Arm) []comparison {
	return []comparison{
		{
			how:  fmt.Sprintf("lost something in %d of %d against %d of %d rollouts", a.Lossy(), len(a.Losses), b.Lossy(), len(b.Losses)),
			test: verdict.CompareShares(a, b),
		},
		{
			how:  "lost per rollout " + apart(a.Floats(), b.Floats(), func(v float64) string { return fmt.Sprintf("%g", v) }),
			test: verdict.CompareAmounts(a.Floats(), b.Floats()),
		},
	}
}

// corrected is the p of one of several tests: "p = 0.004, corrected p = 0.024".
func corrected(t verdict.Test, made int) string {
	if made < 2 {
		return probability(t.P)
	}
	return probability(t.P) + ", corrected " + probability(t.Corrected)
}

// apart is two samples in words: "3–6 against 0–1".
func apart(a, b []float64, write func(float64) string) string {
	return extent(a, write) + " against " + extent(b, write)
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
