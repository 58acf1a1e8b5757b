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

// newDocument says everything that a person is told, section by section. One that has nothing to
// say is left out.
func newDocument(r Report) document {
	m := newModel(r)
	d := document{Verdict: verdictLine(r.Suite), Facts: facts(m), Reasons: reasons(m), Closing: closing(m)}
	d.Findings = findings(m)[len(d.Reasons):]
	if answer := m.answer(); answer != "" {
		d.Findings = slices.Insert(d.Findings, 0, answer)
	}
	for _, write := range []func(model) section{
		servers, arrivalsOfConsumers, func(m model) section { return guesses(m.consumers()) }, droppedByConsumers,
		summary, changes, notRun, words, comparisons, perLane, longWork, held, releasesOf, tasks, aa, phases, arrivals,
		terminations, instrument, legend,
	} {
		if s := write(m); len(s.Blocks) > 0 {
			d.Sections = append(d.Sections, s)
		}
	}
	return d
}

func facts(m model) []string {
	lines := []string{strings.Join(Environment(m.Cluster), " · ")}
	how := []string{fmt.Sprintf("profile %s", known(m.Profile)), fmt.Sprintf("%s/s per lane", Count(m.Rate, "request"))}
	if !m.Started.IsZero() {
		how = append(how, "started "+Instant(m.Started))
	}
	if m.Replay {
		how = append(how, "judged again from stored timelines")
	} else if m.Elapsed > 0 {
		how = append(how, "took "+span(m.Elapsed))
	}
	lines = append(lines, strings.Join(how, " · "))
	return append(lines, elsewhere(m)...)
}

// elsewhere names the runs of another cluster, which a replay may bring together: their numbers
// don't compare.
func elsewhere(m model) []string {
	var lines []string
	for _, there := range groupBy(m.Suite.Runs, func(v verdict.Verdict) timeline.Environment { return v.Environment }) {
		here := m.Cluster
		here.ProxyMode = there.key.ProxyMode // it is told of each part
		if there.key == here || there.key == (timeline.Environment{}) {
			continue
		}
		var runs []string
		for _, v := range there.items {
			runs = append(runs, m.name(v))
		}
		lines = append(lines, fmt.Sprintf("measured elsewhere (%s), compare with care: %s",
			strings.Join(Environment(there.key), " · "), Enumerate(runs)))
	}
	return lines
}

// name is the run's, with the number of the repeat where there are several.
func (m model) name(v verdict.Verdict) string {
	for _, part := range m.Parts {
		for _, r := range part {
			if r.Strategy != v.Spec.Strategy || placeOf(r.Runs[0]) != placeOf(v) {
				continue
			}
			if len(r.Runs) > 1 {
				return fmt.Sprintf("%s (repeat %d)", v.Name(), v.Repeat)
			}
		}
	}
	return v.Name()
}

// reasons says why the suite isn't a pass: what broke down first, then controls, since both explain
// the rest, then failures, then what is not conclusive. Runs with the same reasons share a line.
func reasons(m model) []string {
	type complaint struct {
		rank      int
		what, why string
	}
	type complainer struct {
		complaint
		run string
	}
	var all []complainer
	suite := complaint{what: resultOf(m.Suite.Outcome, false).String(), why: "no reason was given"}
	for _, reason := range m.Suite.Reasons {
		if !slices.ContainsFunc(m.Suite.Runs, func(v verdict.Verdict) bool {
			return strings.HasPrefix(reason, v.Name()+": ")
		}) { // it is about the suite and not about a run
			suite.why = Plain(reason)
			all = append(all, complainer{suite, "suite"})
		}
	}
	for _, v := range m.Suite.Runs {
		if v.Outcome == verdict.Pass {
			continue
		}
		c := complaint{3, ResultOf(v).String(), strings.Join(plains(Because(v.Outcome, v.Reasons)), "; ")}
		switch {
		case v.Outcome == verdict.Infrastructure:
			c.rank = 0
		case v.Spec.Control:
			c.rank, c.what = 1, c.what+" (control)"
		case v.Outcome == verdict.Fail:
			c.rank = 2
		}
		all = append(all, complainer{c, m.name(v)})
	}
	if len(all) == 0 && m.Suite.Outcome != verdict.Pass {
		all = []complainer{{suite, "suite"}}
	}
	slices.SortStableFunc(all, func(a, b complainer) int { return a.rank - b.rank })
	var lines []string
	for _, same := range groupBy(all, func(c complainer) complaint { return c.complaint }) {
		var runs []string
		for _, c := range same.items {
			runs = append(runs, c.run)
		}
		lines = append(lines, fmt.Sprintf("%s %s: %s", same.key.what, Enumerate(runs), same.key.why))
	}
	return lines
}

// What a row is about.
var (
	disruptionColumn = Key("disruption", func(r row) string { return r.Where })
	repeatColumn     = Column[row]{
		Header: Header{Name: "runs", Key: true},
		Cell:   func(r row) string { return fmt.Sprintf("×%d", len(r.Runs)) },
		Hide:   func(r row) bool { return len(r.Runs) == 1 },
	}
	laneKeys = []Column[aggregate]{
		Key("disruption", func(a aggregate) string { return a.Where }),
		Key("strategy", func(a aggregate) string { return a.label() }),
		Key("lane", func(a aggregate) string { return a.Lane }),
	}
)

// summary is strategy × disruption in one table.
func summary(m model) section {
	if len(m.Parts) == 0 {
		return section{}
	}
	return section{Title: "Strategy by strategy", Blocks: []block{{Table: m.summaryTable(m.Parts)}}}
}

// notRun is what was left out: a cell that isn't in the table above is not clean.
func notRun(m model) section {
	if len(m.NotRun) == 0 {
		return section{}
	}
	return section{Title: "Not run", Blocks: []block{{Table: Tabulate([]Column[NotRun]{
		Key("disruption", func(n NotRun) string { return Plain(n.Disruption) }),
		Key("strategy", func(n NotRun) string { return Plain(n.Strategy) }),
		Words("why", func(n NotRun) string { return Plain(n.Why) }),
	}, [][]NotRun{m.NotRun})}}}
}

// words is what the summary's words mean.
func words(m model) section {
	if len(m.Parts) == 0 {
		return section{}
	}
	rows, lanes := slices.Concat(m.Parts...), m.having(func(a aggregate) bool { return a.N > 0 })
	var list []string
	for _, result := range Results() {
		if slices.ContainsFunc(rows, func(r row) bool { return r.count(result) > 0 }) {
			list = append(list, fmt.Sprintf("%s: %s", result, result.Meaning()))
		}
	}
	if slices.ContainsFunc(rows, func(r row) bool { return r.Control }) {
		list = append(list, controlMark+" control: its result is known beforehand; if it comes out otherwise, no other "+
			"run is conclusive")
	}
	list = append(list,
		"late: answered more than a second after the planned instant and the work asked for; not counted as dropped",
		"delay needed: the longest time, over all Pods, repeats and lanes of new connections through a proxy, from a "+
			"Pod's deletion to the last request that came to it"+lowerBounds(lanes),
		"took: until every Pod was ready and none terminating; Pod-s: Pod-seconds beyond the replicas asked for; "+
			"medians of the repeats")
	return section{Title: "What the words mean", Blocks: []block{{List: list}}}
}

// perLane is what every lane dropped, when and why.
func perLane(m model) section {
	parts := m.having(func(a aggregate) bool { return a.N > 0 })
	if len(parts) == 0 {
		return section{}
	}
	list := []string{
		"expected: clean = nothing may be dropped; drops = something must be, else the instrument is blind; measured = " +
			"either is a finding",
		failMark + " dropped what must not be dropped; " + doubtMark + " not conclusive",
		"in flight: begun by the app and cut when its process ended or gave up; where nothing shows that, a request " +
			"counts as its lane's connections do",
		"masked: succeeded only because the client sent it again; not counted as dropped",
		"rollouts: x of n dropped something, masked requests included; ≤ the share of all rollouts that do, with 95 % " +
			"confidence (Clopper and Pearson, one-sided). Only conclusive runs count",
	}
	blocks := []block{{Table: Tabulate(laneColumns, parts), List: list}}
	if lossy := m.having(aggregate.dropped); len(lossy) > 0 {
		blocks = append(blocks, block{Heading: "Causes", Table: Tabulate(causeColumns, lossy), List: []string{
			"between: when the first and the last dropped request were sent, from the start of the disruption",
		}})
	}
	return section{Title: "Lane by lane (consumer/load)", Blocks: blocks}
}

var laneColumns = append(slices.Clone(laneKeys),
	Words("expected", aggregate.expected),
	Number("dropped/sent", aggregate.counts),
	Number("late", func(a aggregate) string { return integer(a.Late) }),
	Number("masked", func(a aggregate) string { return integer(a.Masked) }).
		Unless(func(a aggregate) bool { return a.Masked == 0 && !a.Replayable }),
	Number("in flight", func(a aggregate) string { return integer(a.Classes[timeline.ClassInFlight]) }),
	Number("rollouts", aggregate.droppedIn),
)

var causeColumns = append(slices.Clone(laneKeys),
	Number("dropped", func(a aggregate) string { return integer(a.Dropped) }),
	Number("late", func(a aggregate) string { return integer(a.Late) }),
	Words("causes", aggregate.causes),
	Number("between", func(a aggregate) string {
		if a.Dropped == 0 {
			return None
		}
		return Extent([]time.Duration{a.First, a.Last}, Duration)
	}),
)

const detectableNote = "detectable outage: the shortest interval, with every request in it dropped, that one run of " +
	"a lane sees with 95 % probability (3/rate, more where requests left late)"

// aa is what came out of strategies that ran under two names.
func aa(m model) section {
	type lane struct {
		verdict.Comparison
		verdict.ComparisonRow
	}
	var rows []lane
	made, raw, corrected := 0, 0, 0
	for _, c := range m.Suite.AA {
		for _, r := range c.Rows {
			rows = append(rows, lane{c, r})
			for _, test := range []verdict.Test{r.Share, r.Amount} {
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
	}
	if len(rows) == 0 {
		return section{}
	}
	found := fmt.Sprintf("Of %s, %d found a difference at the 5 %% level that isn't there, %d of them still when all "+
		"are corrected for each other (Holm)", Count(made, "test"), raw, corrected)
	if made == 0 {
		found = "No test could be made: neither of them dropped anything, or all runs dropped the same"
	}
	sample := func(s verdict.Sample) string { return fmt.Sprintf("%s, %g", ratio(s.Above0(), len(s)), s.Median()) }
	test := func(t verdict.Test) string {
		if !t.Made {
			return None
		}
		return share(t.P) + ", " + share(t.Corrected)
	}
	return section{Title: "A/A: one strategy under two names", Blocks: []block{{
		Text: "Both are the same in all but the name, so whatever differs between them is the instrument's. One such " +
			"test of twenty may find a difference by chance; one that is left after correction makes the suite " +
			"inconclusive.",
		Table: Tabulate([]Column[lane]{
			Key("disruption", func(r lane) string { return r.Disruption }),
			Key("strategy", func(r lane) string { return r.Comparison.Base }),
			Key("lane", func(r lane) string { return r.What }),
			Number("its own name", func(r lane) string { return sample(r.ComparisonRow.Base) }),
			Number("its second name", func(r lane) string { return sample(r.ComparisonRow.Now) }),
			Number("dropped in: p", func(r lane) string { return test(r.Share) }),
			Number("median: p", func(r lane) string { return test(r.Amount) }),
		}, [][]lane{rows}),
		List: []string{
			found + ".",
			"names: rollouts that dropped something, masked requests included, and the median dropped per rollout; p: by " +
				"itself, and corrected; of the former by Fisher's exact test, of the latter by rank (Mann and Whitney)",
		},
	}}}
}

// instrument is how much each lane could see, over all runs: the worst of each figure.
func instrument(m model) section {
	if len(m.Lanes) == 0 {
		return section{}
	}
	var lanes []aggregate
	for _, lane := range m.Lanes {
		lanes = append(lanes, row{Runs: m.Suite.Runs}.lane(lane.Name))
	}
	list := []string{detectableNote, "lag: how late requests left, over the plan; the worst run of each lane"}
	if slices.ContainsFunc(lanes, func(a aggregate) bool { return a.lookups > 0 }) {
		list = append(list, "DNS queries: sent by the lane's clients, which follow the Pods by their name")
	}
	list = append(append(list, deletionsKnown(m.Suite.Runs)...), m.overhead()...)
	table := Tabulate(instrumentColumns, [][]aggregate{lanes})
	return section{Title: "How well the lanes could see", Blocks: []block{{Table: table, List: list}}}
}

// overhead says how much longer conclusive runs took than what they measure; none without any.
func (m model) overhead() []string {
	runs := slices.DeleteFunc(slices.Clone(m.Suite.Runs), func(v verdict.Verdict) bool { return !v.Conclusive() })
	if len(runs) == 0 {
		return nil
	}
	slices.SortStableFunc(runs, func(a, b verdict.Verdict) int { return cmp.Compare(a.Overhead, b.Overhead) })
	worst := runs[len(runs)-1]
	return []string{fmt.Sprintf("wall time: a run took %s longer than its lead, disruption, terminations and tail, for "+
		"its deployment most of all (median; %s at most, %s)",
		Duration(runs[len(runs)/2].Overhead), Duration(worst.Overhead), m.name(worst))}
}

// deletionsKnown says how well the instants of deletions are known: those that the audit log told,
// and of the others those that a disruption asked for itself.
func deletionsKnown(runs []verdict.Verdict) []string {
	var late, wide, seen []time.Duration
	unknown := 0
	for _, v := range runs {
		late, wide = append(late, v.DeletionLate...), append(wide, v.DeletionWidth...)
		unknown += v.Deleted() - len(v.DeletionLate)
		if len(v.DeletionLate) == 0 {
			seen = append(seen, v.DeletionSeen...)
		}
	}
	var list []string
	for _, of := range []struct {
		all  []time.Duration
		line string
	}{
		{late, "deletions: dated by when the API server was asked; the watch told of them %s later (median; %s at most, %s)"},
		{wide, "deletions: made within %s from then, when the API server answered (median; %s at most, %s)"},
		{seen, "deletions: seen %s after they had been asked for (median; %s at most, %s), the API server's own work " +
			"included: the time since one is known as well"},
	} {
		if all := slices.Sorted(slices.Values(of.all)); len(all) > 0 {
			list = append(list, fmt.Sprintf(of.line, Duration(all[len(all)/2]), Duration(all[len(all)-1]),
				Count(len(all), "Pod")))
		}
	}
	if unknown > 0 {
		list = append(list, fmt.Sprintf("deletions: no audit log tells of %s: times since these count from when the watch "+
			"told of them, and are too short by as much as it was late", Count(unknown, "Pod")))
	}
	return list
}

var instrumentColumns = []Column[aggregate]{
	Key("lane", func(a aggregate) string { return a.Lane }),
	Number("runs", func(a aggregate) string { return integer(a.N) }),
	Number("detectable outage", func(a aggregate) string { return Duration(a.MinDetectableOutage) }),
	Number("planned", func(a aggregate) string { return integer(a.Planned) }),
	Number("sent", func(a aggregate) string { return integer(a.Sent) }),
	Number("unsent", func(a aggregate) string { return integer(a.Unsent) }),
	Number("lag p50", func(a aggregate) string { return Duration(a.LagP50) }),
	Number("lag p99", func(a aggregate) string { return Duration(a.LagP99) }),
	Words("worst lag p99 in", func(a aggregate) string { return a.LagRun }),
	Number("DNS queries/s", func(a aggregate) string {
		if a.lookups == 0 {
			return None
		}
		return fmt.Sprintf("%.1f", a.lookups/a.seconds)
	}).Unless(func(a aggregate) bool { return a.lookups == 0 }),
}

// legend says what the strategies do.
func legend(m model) section {
	var list []string
	for _, same := range groupBy(slices.Concat(m.Parts...), func(r row) string { return r.Strategy }) {
		if line := Plain(same.items[0].Summary); line != "" {
			list = append(list, same.key+": "+line)
		}
	}
	if len(list) == 0 {
		return section{}
	}
	return section{Title: "Strategies", Blocks: []block{{List: list}}}
}

func closing(m model) []string {
	var lines []string
	if len(m.Phases) > 0 {
		var parts []string
		for _, p := range m.Phases {
			parts = append(parts, Plain(p.Name)+" "+span(p.Took))
		}
		if m.Elapsed > 0 {
			parts = append(parts, "in all "+span(m.Elapsed))
		}
		lines = append(lines, "Time: "+strings.Join(parts, " · "))
	}
	if m.Artifacts != "" {
		lines = append(lines, "Artifacts: "+Plain(m.Artifacts))
	}
	return lines
}
