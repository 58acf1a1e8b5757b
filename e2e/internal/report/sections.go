package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// newDocument says everything that a person is told, section by section. One that has nothing to say is left out.
func newDocument(r Report) document {
	m := newModel(r)
	d := document{Verdict: verdictLine(r.Suite), Facts: facts(m), Reasons: reasons(m), Closing: closing(m)}
	for _, write := range []func(model) section{inShort, decision, dropped, twins, rollouts, losses, moments, arrivals, instrument, legend} {
		if s := write(m); len(s.Blocks) > 0 {
			d.Sections = append(d.Sections, s)
		}
	}
	return d
}

func facts(m model) []string {
	lines := []string{strings.Join(environment(m.Cluster), " · ")}
	how := []string{fmt.Sprintf("profile %s", known(m.Profile)), fmt.Sprintf("%s/s per lane", count(m.Rate, "request"))}
	if !m.Started.IsZero() {
		how = append(how, "started "+m.Started.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	if m.Replay {
		how = append(how, "judged again from stored timelines")
	} else if m.Elapsed > 0 {
		how = append(how, "took "+span(m.Elapsed))
	}
	lines = append(lines, strings.Join(how, " · "))
	return append(lines, elsewhere(m)...)
}

func environment(e timeline.Environment) []string {
	return []string{
		"Kubernetes " + known(e.Kubernetes),
		count(e.Nodes, "node"),
		fmt.Sprintf("kube-proxy %s, minSyncPeriod %s", known(e.ProxyMode), known(e.MinSyncPeriod)),
		count(e.CPUs, "CPU"),
		"kernel " + known(e.Kernel),
		known(e.Runtime),
	}
}

// elsewhere names the runs of another cluster, which a replay may bring together: their numbers don't compare.
func elsewhere(m model) []string {
	var order []timeline.Environment
	names := map[timeline.Environment][]string{}
	for _, v := range m.Suite.Runs {
		e := v.Environment
		if e == m.Cluster || e == (timeline.Environment{}) {
			continue
		}
		if names[e] == nil {
			order = append(order, e)
		}
		names[e] = append(names[e], m.name(v))
	}
	var lines []string
	for _, e := range order {
		lines = append(lines, fmt.Sprintf("measured elsewhere (%s), compare with care: %s", strings.Join(environment(e), " · "), enumerate(names[e])))
	}
	return lines
}

// name is strategy/disruption, with the number of the repeat where there are several.
func (m model) name(v verdict.Verdict) string {
	for _, part := range m.Parts {
		for _, r := range part {
			if r.Strategy == v.Strategy && r.Disruption == v.Disruption && len(r.Runs) > 1 {
				return fmt.Sprintf("%s (repeat %d)", v.Name(), v.Repeat)
			}
		}
	}
	return v.Name()
}

// reasons says why the suite isn't a pass: what broke down first, then controls, since both explain the rest, then failures, then what can't be believed. Runs
// with the same reasons share a line.
func reasons(m model) []string {
	type complaint struct {
		word, why string
		runs      []string
		rank      int
	}
	var all []complaint
	told := func(reason string) bool {
		return slices.ContainsFunc(m.Suite.Runs, func(v verdict.Verdict) bool { return strings.HasPrefix(reason, v.Name()+": ") })
	}
	for _, reason := range m.Suite.Reasons {
		if !told(reason) { // it is about the suite and not about a run
			all = append(all, complaint{word: strings.ToUpper(m.Suite.Outcome.String()), why: plain(reason), runs: []string{"suite"}})
		}
	}
	for _, v := range m.Suite.Runs {
		if v.Outcome == verdict.Pass {
			continue
		}
		c := complaint{word: strings.ToUpper(v.Outcome.String()), why: strings.Join(plains(because(v.Outcome, v.Reasons)), "; "), rank: 3}
		if v.Control {
			c.word += " (control)"
		}
		switch {
		case v.Outcome == verdict.Infrastructure:
			c.rank = 0
		case v.Control:
			c.rank = 1
		case v.Outcome == verdict.Fail:
			c.rank = 2
		}
		i := slices.IndexFunc(all, func(o complaint) bool { return o.word == c.word && o.why == c.why })
		if i < 0 {
			i, all = len(all), append(all, c)
		}
		all[i].runs = append(all[i].runs, m.name(v))
	}
	if len(all) == 0 && m.Suite.Outcome != verdict.Pass {
		all = []complaint{{word: strings.ToUpper(m.Suite.Outcome.String()), why: because(m.Suite.Outcome, nil)[0], runs: []string{"suite"}}}
	}
	slices.SortStableFunc(all, func(a, b complaint) int { return a.rank - b.rank })
	var lines []string
	for _, c := range all {
		lines = append(lines, fmt.Sprintf("%s %s: %s", c.word, enumerate(c.runs), c.why))
	}
	return lines
}

// inShort says which strategies lost nothing, on which lanes, under all disruptions together. Controls and what can't be believed are left out.
func inShort(m model) section {
	var order []string
	lanes := map[string][]string{} // what is to be said → of which lanes
	for _, lane := range m.Lanes {
		if line := m.shortly(lane); line != "" {
			if lanes[line] == nil {
				order = append(order, line)
			}
			lanes[line] = append(lanes[line], lane)
		}
	}
	if len(order) == 0 {
		return section{}
	}
	var list []string
	for _, line := range order {
		where := enumerate(lanes[line])
		if len(m.Lanes) > 2 && len(lanes[line]) == len(m.Lanes) {
			where = "every lane"
		}
		list = append(list, where+": "+line)
	}
	return section{Title: "In short", Blocks: []block{{
		Text: "All disruptions together, controls left out. Nothing lost means none seen: see 0 allows.",
		List: list,
	}}}
}

func (m model) shortly(lane string) string {
	var strategies []string
	lossy, doubted := map[string]bool{}, map[string]bool{}
	for _, part := range m.Parts {
		for _, r := range part {
			sum := r.lane(lane)
			if r.control() || sum.Runs == 0 {
				continue
			}
			if !slices.Contains(strategies, r.Strategy) {
				strategies = append(strategies, r.Strategy)
			}
			lossy[r.Strategy] = lossy[r.Strategy] || sum.Rollouts.Lossy() > 0
			doubted[r.Strategy] = doubted[r.Strategy] || sum.believed() < sum.Runs
		}
	}
	var none, some, unknown []string
	for _, s := range strategies {
		switch {
		case lossy[s]:
			some = append(some, s)
		case doubted[s]:
			unknown = append(unknown, s)
		default:
			none = append(none, s)
		}
	}
	var parts []string
	for _, kind := range []struct {
		what  string
		names []string
	}{{"nothing lost with", none}, {"losses with", some}, {"not known for", unknown}} {
		if len(kind.names) > 0 {
			parts = append(parts, kind.what+" "+enumerate(kind.names))
		}
	}
	if len(none)+len(some) == 0 {
		return ""
	}
	return strings.Join(parts, "; ")
}

// laneColumns is one column per lane, under its path.
func laneColumns(lanes []string, what string, cell func(laneSum) string) []column[row] {
	var out []column[row]
	for _, lane := range lanes {
		path, load := pathLoad(lane)
		group := what
		if path != "" {
			group = path + ": " + what
		}
		out = append(out, column[row]{
			header: header{Group: group, Name: load, Full: lane + " " + what},
			cell:   func(r row) string { return cell(r.lane(lane)) },
		})
	}
	return out
}

// dropColumns is what each lane dropped and, beside it, what was masked in a lane that can hide a loss.
func (m model) dropColumns(lanes []string) []column[row] {
	var out []column[row]
	for _, lane := range lanes {
		columns := laneColumns([]string{lane}, "dropped/sent", laneSum.counts)
		out = append(out, columns...)
		if m.masks[lane] {
			h := header{Group: columns[0].Group, Name: "masked", Full: lane + " masked"}
			out = append(out, column[row]{header: h, cell: func(r row) string { return r.lane(lane).masked() }})
		}
	}
	return out
}

// What a row is about.
var (
	disruptionColumn = column[row]{header: header{Name: "disruption", Key: true, Left: true}, cell: func(r row) string { return r.Disruption }}
	strategyColumn   = column[row]{header: header{Name: "strategy", Key: true, Left: true}, cell: row.label}
	repeatColumn     = column[row]{
		header: header{Name: "runs", Key: true},
		cell:   func(r row) string { return fmt.Sprintf("×%d", len(r.Runs)) },
		hide:   func(r row) bool { return len(r.Runs) == 1 },
	}
	outcomeColumn = column[row]{header: header{Name: "outcome", Key: true, Left: true}, cell: row.outcome}
)

// dropped is what every lane lost, strategy × disruption. Lanes from outside of the cluster have a table of their own after it.
func dropped(m model) section {
	if len(m.Parts) == 0 {
		return section{}
	}
	keys := []column[row]{disruptionColumn, strategyColumn, repeatColumn, outcomeColumn}
	columns := slices.Concat(keys, m.dropColumns(m.inside()))
	columns = append(columns, column[row]{
		header: header{Name: "0 allows"},
		cell:   func(r row) string { return r.zeroBound(m.Lanes) },
		hide:   func(r row) bool { return r.zeroBound(m.Lanes) == none },
	})
	blocks := []block{{Table: tabulate(columns, m.Parts)}}
	if len(m.Outside) > 0 {
		blocks = append(blocks, block{
			Heading: "The view from outside, sent by this machine and not from within the cluster",
			Table:   tabulate(slices.Concat(keys, m.dropColumns(m.Outside)), m.Parts),
		})
	}
	blocks[len(blocks)-1].List = notes(m)
	return section{Title: "Requests dropped of those sent, per lane (path/load)", Blocks: blocks}
}

func (r row) lossy(lanes []string) bool {
	return slices.ContainsFunc(lanes, func(lane string) bool { return r.lane(lane).lost() })
}

// zeros is the lanes of the row that lost nothing.
func (r row) zeros(lanes []string) []laneSum {
	var out []laneSum
	for _, lane := range lanes {
		if sum := r.lane(lane); sum.zero() {
			out = append(out, sum)
		}
	}
	return out
}

// zeroBound is the 95 % bound on the share of rollouts that drop something, for the lanes of the row that lost nothing.
func (r row) zeroBound(lanes []string) string {
	zeros := r.zeros(lanes)
	if len(zeros) == 0 {
		return none
	}
	n := zeros[0].believed()
	for _, z := range zeros {
		n = min(n, z.believed())
	}
	return "≤ " + percent(verdict.ClopperPearson(0, n))
}

// notes explains what the table shows, and only that.
func notes(m model) []string {
	var out []string
	rows := slices.Concat(m.Parts...)
	has := func(holds func(row) bool) bool { return slices.ContainsFunc(rows, holds) }
	hasLane := func(holds func(laneSum) bool) bool {
		return has(func(r row) bool {
			return slices.ContainsFunc(m.Lanes, func(lane string) bool { return holds(r.lane(lane)) })
		})
	}
	if has(row.control) {
		out = append(out, controlMark+" control: its result is known beforehand; if it comes out otherwise, no other run is believed")
	} else if len(rows) > 0 {
		out = append(out, "no control was run with these: nothing shows that the instrument would have seen a loss (run no-handler, too)")
	}
	if hasLane(func(s laneSum) bool { return s.Failed }) {
		out = append(out, failMark+" the lane lost requests that it must not lose, masked ones included")
	}
	if hasLane(func(s laneSum) bool { return s.Runs > 0 && !s.Failed && s.Unbelieved }) {
		out = append(out, doubtMark+" the lane's count can't be believed, or the lane saw no loss where there must be one")
	}
	if slices.ContainsFunc(m.Lanes, func(lane string) bool { return m.masks[lane] }) {
		out = append(out, "masked: lost, and sent again by http.Transport on its own, with success: losses that an ordinary Go client would never have told about; "+
			"not counted as dropped")
	}
	if has(func(r row) bool { return !r.control() && r.outcome() == verdict.Pass.String() && r.lossy(m.Lanes) }) {
		out = append(out, "pass: as expected; a lane that is only measured may lose requests (see expected, below)")
	}
	if has(func(r row) bool { return len(r.Runs) > 1 }) {
		out = append(out, "runs: repeats in one row: requests added up")
	}
	return append(out, zeroNotes(m)...)
}

// zeroNotes says what the zeros of the table are worth: one line per number of rollouts.
func zeroNotes(m model) []string {
	var order []int
	windows, nouns := map[int][]time.Duration{}, map[int]string{}
	for _, part := range m.Parts {
		for _, r := range part {
			for _, z := range r.zeros(m.Lanes) {
				n := z.believed()
				if windows[n] == nil {
					order = append(order, n)
				}
				windows[n] = append(windows[n], z.Window)
				if nouns[n] = cmp.Or(nouns[n], "run"); r.replaced() {
					nouns[n] = "rollout"
				}
			}
		}
	}
	slices.Sort(order)
	var out []string
	for _, n := range order {
		if n == 0 {
			out = append(out, "0 allows: a 0 of runs that can't be believed says nothing")
			continue
		}
		out = append(out, fmt.Sprintf("0 allows: 0 of %s lost something (95 %% bound: at most %s of %ss do), gap visible from %s",
			count(n, nouns[n]), percent(verdict.ClopperPearson(0, n)), nouns[n], extent(windows[n], duration)))
	}
	return out
}

// rollouts is what the repeats say about the next rollout: how many of them lost something, lane by lane.
func rollouts(m model) section {
	if !slices.ContainsFunc(slices.Concat(m.Parts...), func(r row) bool { return len(r.Runs) > 1 }) {
		return section{}
	}
	columns := append([]column[row]{disruptionColumn, strategyColumn}, laneColumns(m.Lanes, "lost in", laneSum.lostIn)...)
	columns = append(columns, column[row]{header: header{Name: "gap visible from"}, cell: func(r row) string {
		var windows []time.Duration
		for _, lane := range m.Lanes {
			if sum := r.lane(lane); sum.Runs > 0 {
				windows = append(windows, sum.Window)
			}
		}
		return extent(windows, duration)
	}})
	return section{Title: "Rollouts that lost something", Folded: true, Blocks: []block{{
		Table: tabulate(columns, m.Parts),
		List: []string{
			"lost in: x of n rollouts lost something, masked requests included; ≤ the share of all rollouts that do, with 95 % confidence (Clopper and Pearson, one-sided). " +
				"Only runs that can be believed count",
			"gap visible from: the shortest interval of total loss that one run of a lane sees with 95 % probability (3/rate, more where requests left late); what is shorter may have been lost and not seen",
		},
	}}}
}

// twins is what came out of strategies that ran under two names.
func twins(m model) section {
	if len(m.Suite.Twins) == 0 {
		return section{}
	}
	made, raw, corrected := 0, 0, 0
	for _, t := range m.Suite.Twins {
		for _, test := range []verdict.Test{t.Share, t.Amount} {
			if test.Made {
				made++
			}
			if test.Made && test.P < verdict.Significant {
				raw++
			}
			if test.Differs() {
				corrected++
			}
		}
	}
	found := fmt.Sprintf("Of %s, %d found a difference at the 5 %% level that isn't there, %d of them still when all are corrected for each other (Holm)",
		count(made, "test"), raw, corrected)
	if made == 0 {
		found = "No test could be made: neither of them lost anything, or all runs lost the same"
	}
	return section{Title: "A/A: one strategy under two names", Blocks: []block{{
		Text: "Both arms are the same in all but the name, so whatever differs between them is the instrument's. One such test of twenty may find a difference by " +
			"chance; one that is left after correction makes the suite inconclusive.",
		Table: tabulate(twinColumns, [][]verdict.TwinLane{m.Suite.Twins}),
		List: []string{
			found + ".",
			"lost in: rollouts that lost something, masked requests included, compared by Fisher's exact test; median: requests lost per rollout, compared by rank " +
				"(Mann and Whitney)",
		},
	}}}
}

var twinColumns = slices.Concat(
	[]column[verdict.TwinLane]{
		{header: header{Name: "disruption", Key: true, Left: true}, cell: func(t verdict.TwinLane) string { return t.Disruption }},
		{header: header{Name: "strategy", Key: true, Left: true}, cell: func(t verdict.TwinLane) string { return t.Strategy }},
		{header: header{Name: "lane", Key: true, Left: true}, cell: func(t verdict.TwinLane) string { return t.Lane }},
	},
	armColumns("its own name", 0),
	armColumns("its twin's", 1),
	testColumns("lost in", func(t verdict.TwinLane) verdict.Test { return t.Share }),
	testColumns("median", func(t verdict.TwinLane) verdict.Test { return t.Amount }),
)

func armColumns(name string, arm int) []column[verdict.TwinLane] {
	return []column[verdict.TwinLane]{
		{
			header: header{Group: name, Name: "lost in", Full: name + ": lost in"},
			cell: func(t verdict.TwinLane) string {
				return fmt.Sprintf("%d/%d", t.Arms[arm].Lossy(), len(t.Arms[arm].Losses))
			},
		},
		{
			header: header{Group: name, Name: "median", Full: name + ": median"},
			cell:   func(t verdict.TwinLane) string { return fmt.Sprintf("%g", t.Arms[arm].Median()) },
		},
	}
}

func testColumns(name string, of func(verdict.TwinLane) verdict.Test) []column[verdict.TwinLane] {
	cell := func(p func(verdict.Test) float64) func(verdict.TwinLane) string {
		return func(t verdict.TwinLane) string {
			if !of(t).Made {
				return none
			}
			return share(p(of(t)))
		}
	}
	return []column[verdict.TwinLane]{
		{header: header{Group: name + ": p", Name: "raw", Full: name + ": p"}, cell: cell(func(t verdict.Test) float64 { return t.P })},
		{header: header{Group: name + ": p", Name: "corrected", Full: name + ": p corrected"}, cell: cell(func(t verdict.Test) float64 { return t.Corrected })},
	}
}

// laneRow is one lane of a row.
type laneRow struct {
	row
	sum laneSum
}

// losses is the causes of what was dropped, and when.
func losses(m model) section {
	var parts [][]laneRow
	masked := 0
	for _, part := range m.Parts {
		var rows []laneRow
		for _, r := range part {
			for _, lane := range m.Lanes {
				if sum := r.lane(lane); sum.lost() {
					rows = append(rows, laneRow{r, sum})
					masked += sum.Masked
				}
			}
		}
		if len(rows) > 0 {
			parts = append(parts, rows)
		}
	}
	if len(parts) == 0 {
		return section{}
	}
	list := []string{
		"expected: clean = nothing may be dropped; drops = something must be, else the instrument is blind; measured = either is a finding",
		"lost between: when the first and the last lost request were sent, from the start of the disruption",
	}
	if masked > 0 {
		list = append(list, "masked: succeeded only because the client sent it again; not counted as dropped")
	}
	return section{Title: "What was dropped, and why", Folded: true, Blocks: []block{{Table: tabulate(lossColumns, parts), List: list}}}
}

var lossColumns = []column[laneRow]{
	{header: header{Name: "disruption", Key: true, Left: true}, cell: func(l laneRow) string { return l.Disruption }},
	{header: header{Name: "strategy", Key: true, Left: true}, cell: func(l laneRow) string { return l.label() }},
	{header: header{Name: "lane", Key: true, Left: true}, cell: func(l laneRow) string { return l.sum.Name }},
	{header: header{Name: "expected", Left: true}, cell: func(l laneRow) string { return strings.Join(l.sum.Expect, ", ") }},
	{header: header{Name: "dropped/sent"}, cell: func(l laneRow) string { return l.sum.counts() }},
	{
		header: header{Name: "in runs"},
		cell:   func(l laneRow) string { return fmt.Sprintf("%d of %d", l.sum.Rollouts.Lossy(), l.sum.believed()) },
		hide:   func(l laneRow) bool { return len(l.Runs) == 1 },
	},
	{header: header{Name: "causes", Left: true}, cell: func(l laneRow) string { return l.sum.causes() }},
	{header: header{Name: "lost between"}, cell: func(l laneRow) string {
		if l.sum.Dropped == 0 {
			return none
		}
		return extent([]time.Duration{l.sum.First, l.sum.Last}, duration)
	}},
	{
		header: header{Name: "masked"},
		cell:   func(l laneRow) string { return integer(l.sum.Masked) },
		hide:   func(l laneRow) bool { return l.sum.Masked == 0 && !l.sum.Replayable },
	},
}

// instrument is how much each lane could see, over all runs: the worst of each figure.
func instrument(m model) section {
	if len(m.Lanes) == 0 {
		return section{}
	}
	var sums []laneSum
	for _, lane := range m.Lanes {
		sums = append(sums, sumLane(m.Suite.Runs, lane))
	}
	list := []string{
		"gap visible from: the shortest interval of total loss that each run of the lane sees with 95 % probability (3/rate, more where requests left late)",
		"lag: how late requests left, over the plan; the worst run of each lane",
	}
	list = append(list, deletionsKnown(m.Suite.Runs)...)
	return section{Title: "How well the lanes could see", Folded: true, Blocks: []block{{Table: tabulate(instrumentColumns, [][]laneSum{sums}), List: list}}}
}

// deletionsKnown says how well the instants of deletions are known: those that etcd told, and of the others those that a disruption asked for itself.
func deletionsKnown(runs []verdict.Verdict) []string {
	var late, seen []time.Duration
	for _, v := range runs {
		late = append(late, v.DeletionLate...)
		if len(v.DeletionLate) == 0 {
			seen = append(seen, v.DeletionSeen...)
		}
	}
	var list []string
	for _, of := range []struct {
		all  []time.Duration
		line string
	}{
		{late, "deletions: dated by etcd, from its log; the watch told of them %s later (median; %s at most, %s)"},
		{seen, "deletions: seen %s after they had been asked for (median; %s at most, %s), the API server's own work included: the time since one is known as well"},
	} {
		if all := slices.Sorted(slices.Values(of.all)); len(all) > 0 {
			list = append(list, fmt.Sprintf(of.line, duration(all[len(all)/2]), duration(all[len(all)-1]), count(len(all), "Pod")))
		}
	}
	return list
}

var instrumentColumns = []column[laneSum]{
	{header: header{Name: "lane", Key: true, Left: true}, cell: func(s laneSum) string { return s.Name }},
	{header: header{Name: "runs"}, cell: func(s laneSum) string { return integer(s.Runs) }},
	{header: header{Name: "gap visible from"}, cell: func(s laneSum) string { return duration(s.Window) }},
	{header: header{Name: "planned"}, cell: func(s laneSum) string { return integer(s.Planned) }},
	{header: header{Name: "sent"}, cell: func(s laneSum) string { return integer(s.Sent) }},
	{header: header{Name: "unsent"}, cell: func(s laneSum) string { return integer(s.Unsent) }},
	{header: header{Name: "lag p50"}, cell: func(s laneSum) string { return duration(s.LagP50) }},
	{header: header{Name: "lag p99"}, cell: func(s laneSum) string { return duration(s.LagP99) }},
	{header: header{Name: "worst lag p99 in", Left: true}, cell: func(s laneSum) string { return s.LagRun }},
}

// legend says what the strategies do.
func legend(m model) section {
	var list, seen []string
	for _, part := range m.Parts {
		for _, r := range part {
			if line := plain(m.Summaries[r.Strategy]); line != "" && !slices.Contains(seen, r.Strategy) {
				seen, list = append(seen, r.Strategy), append(list, r.Strategy+": "+line)
			}
		}
	}
	if len(list) == 0 {
		return section{}
	}
	return section{Title: "Strategies", Folded: true, Blocks: []block{{List: list}}}
}

func closing(m model) []string {
	var lines []string
	if len(m.Phases) > 0 {
		var parts []string
		for _, p := range m.Phases {
			parts = append(parts, plain(p.Name)+" "+span(p.Took))
		}
		if m.Elapsed > 0 {
			parts = append(parts, "in all "+span(m.Elapsed))
		}
		lines = append(lines, "Time: "+strings.Join(parts, " · "))
	}
	if len(m.Suite.Runs) > 0 {
		worst := slices.MaxFunc(m.Suite.Runs, func(a, b verdict.Verdict) int { return cmp.Compare(a.Overhead, b.Overhead) })
		lines = append(lines, fmt.Sprintf("Harness overhead: at most %s per run, beyond lead, disruption, termination and tail (%s)", duration(worst.Overhead), m.name(worst)))
	}
	if m.Artifacts != "" {
		lines = append(lines, "Artifacts: "+plain(m.Artifacts))
	}
	return lines
}
