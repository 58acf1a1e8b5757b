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
	for _, write := range []func(model) section{
		inShort, decision, perLane, aa, rollouts, causes, phases, arrivals, instrument, legend,
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
		if there.key == m.Cluster || there.key == (timeline.Environment{}) {
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

// name is strategy/disruption, with the number of the repeat where there are several.
func (m model) name(v verdict.Verdict) string {
	for _, part := range m.Parts {
		for _, r := range part {
			if r.Name() == v.Name() && len(r.Runs) > 1 {
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
		word, why string
		runs      []string
		rank      int
	}
	var all []complaint
	told := func(reason string) bool {
		return slices.ContainsFunc(m.Suite.Runs, func(v verdict.Verdict) bool {
			return strings.HasPrefix(reason, v.Name()+": ")
		})
	}
	for _, reason := range m.Suite.Reasons {
		if !told(reason) { // it is about the suite and not about a run
			all = append(all, complaint{
				word: strings.ToUpper(m.Suite.Outcome.String()), why: Plain(reason),
				runs: []string{"suite"},
			})
		}
	}
	for _, v := range m.Suite.Runs {
		if v.Outcome == verdict.Pass {
			continue
		}
		c := complaint{
			word: strings.ToUpper(v.Outcome.String()),
			why:  strings.Join(plains(Because(v.Outcome, v.Reasons)), "; "), rank: 3,
		}
		if v.Spec.Control {
			c.word += " (control)"
		}
		switch {
		case v.Outcome == verdict.Infrastructure:
			c.rank = 0
		case v.Spec.Control:
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
		all = []complaint{{
			word: strings.ToUpper(m.Suite.Outcome.String()), why: Because(m.Suite.Outcome, nil)[0],
			runs: []string{"suite"},
		}}
	}
	slices.SortStableFunc(all, func(a, b complaint) int { return a.rank - b.rank })
	var lines []string
	for _, c := range all {
		lines = append(lines, fmt.Sprintf("%s %s: %s", c.word, Enumerate(c.runs), c.why))
	}
	return lines
}

// inShort says which strategies dropped nothing, on which lanes, under all disruptions together.
// Controls and what is not conclusive are left out.
func inShort(m model) section {
	var list []string
	for _, same := range groupBy(names(m.Lanes), m.shortly) {
		where := Enumerate(same.items)
		if len(m.Lanes) > 2 && len(same.items) == len(m.Lanes) {
			where = "every lane"
		}
		if same.key != "" {
			list = append(list, where+": "+same.key)
		}
	}
	if len(list) == 0 {
		return section{}
	}
	return section{Title: "In short", Blocks: []block{{
		Text: "All disruptions together, controls left out. Nothing dropped means none seen: see 0 allows.",
		List: list,
	}}}
}

func (m model) shortly(lane string) string {
	rows := slices.DeleteFunc(slices.Concat(m.Parts...), func(r row) bool { return r.Control || r.lane(lane).N == 0 })
	const none, some, unknown = "nothing dropped with", "drops with", "not known for"
	found := map[string][]string{} // strategies
	for _, same := range groupBy(rows, func(r row) string { return r.Strategy }) {
		switch {
		case slices.ContainsFunc(same.items, func(r row) bool { return r.lane(lane).Rollouts.Above0() > 0 }):
			found[some] = append(found[some], same.key)
		case slices.ContainsFunc(same.items, func(r row) bool { return len(r.lane(lane).Rollouts) < r.lane(lane).N }):
			found[unknown] = append(found[unknown], same.key)
		default:
			found[none] = append(found[none], same.key)
		}
	}
	if len(found[none])+len(found[some]) == 0 {
		return ""
	}
	var parts []string
	for _, what := range []string{none, some, unknown} {
		if len(found[what]) > 0 {
			parts = append(parts, what+" "+Enumerate(found[what]))
		}
	}
	return strings.Join(parts, "; ")
}

// laneColumn is a column of one lane, under its consumer.
func laneColumn(l timeline.LaneSpec, what string, cell func(aggregate) string) Column[row] {
	group := what
	if l.Consumer != "" {
		group = l.Consumer + ": " + what
	}
	c := Number(cmp.Or(l.Load, l.Name), func(r row) string { return cell(r.lane(l.Name)) })
	return c.under(group, l.Name+" "+what)
}

// dropColumns is what each lane dropped and, beside it, what was masked in a lane that can hide a
// dropped request.
func (m model) dropColumns(lanes []timeline.LaneSpec) []Column[row] {
	var out []Column[row]
	for _, lane := range lanes {
		c := laneColumn(lane, "dropped/sent", aggregate.counts)
		out = append(out, c)
		if m.masks[lane.Name] {
			masked := Number("masked", func(r row) string { return r.lane(lane.Name).masked() })
			out = append(out, masked.under(c.Group, lane.Name+" masked"))
		}
	}
	return out
}

// What a row is about.
var (
	disruptionColumn = Key("disruption", func(r row) string { return r.Disruption })
	strategyColumn   = Key("strategy", row.label)
	outcomeColumn    = Key("outcome", row.outcome)
	repeatColumn     = Column[row]{
		Header: Header{Name: "runs", Key: true},
		Cell:   func(r row) string { return fmt.Sprintf("×%d", len(r.Runs)) },
		Hide:   func(r row) bool { return len(r.Runs) == 1 },
	}
	laneKeys = []Column[aggregate]{
		Key("disruption", func(a aggregate) string { return a.Disruption }),
		Key("strategy", func(a aggregate) string { return a.label() }),
		Key("lane", func(a aggregate) string { return a.Lane }),
	}
)

// perLane is what every lane dropped, strategy × disruption. Lanes from outside of the cluster have
// a table of their own after it.
func perLane(m model) section {
	if len(m.Parts) == 0 {
		return section{}
	}
	inside, outside := m.places()
	keys := []Column[row]{disruptionColumn, strategyColumn, repeatColumn, outcomeColumn}
	columns := slices.Concat(keys, m.dropColumns(inside), []Column[row]{
		Number("0 allows", m.zeroBound).Unless(func(r row) bool { return m.zeroBound(r) == None }),
	})
	blocks := []block{{Table: Tabulate(columns, m.Parts)}}
	if len(outside) > 0 {
		blocks = append(blocks, block{
			Heading: "The view from outside, sent by this machine and not from within the cluster",
			Table:   Tabulate(slices.Concat(keys, m.dropColumns(outside)), m.Parts),
		})
	}
	blocks[len(blocks)-1].List = notes(m)
	return section{Title: "Requests dropped of those sent, per lane (consumer/load)", Blocks: blocks}
}

// zeroBound is the 95 % bound on the share of rollouts that drop something, for the lanes of the
// row that dropped nothing: for that of the fewest rollouts.
func (m model) zeroBound(r row) string {
	var rollouts []int
	for _, lane := range m.Lanes {
		if a := r.lane(lane.Name); a.zero() {
			rollouts = append(rollouts, len(a.Rollouts))
		}
	}
	if len(rollouts) == 0 {
		return None
	}
	return "≤ " + percent(verdict.ClopperPearson(0, slices.Min(rollouts)))
}

// notes explains what the table shows, and only that.
func notes(m model) []string {
	var out []string
	rows := slices.Concat(m.Parts...)
	has := func(holds func(row) bool) bool { return slices.ContainsFunc(rows, holds) }
	hasLane := func(holds func(aggregate) bool) bool { return len(m.having(holds)) > 0 }
	if has(func(r row) bool { return r.Control }) {
		out = append(out, controlMark+" control: its result is known beforehand; if it comes out otherwise, no other "+
			"run is conclusive")
	} else if len(rows) > 0 {
		out = append(out, "no control was run with these: nothing shows that the instrument would have seen a "+
			"dropped request (run no-handler, too)")
	}
	if hasLane(func(a aggregate) bool { return a.Failed }) {
		out = append(out, failMark+" the lane dropped requests that it must not drop, masked ones included")
	}
	if hasLane(func(a aggregate) bool { return a.N > 0 && !a.Failed && a.Doubted }) {
		out = append(out, doubtMark+" the lane's count is not conclusive, or the lane saw no drop where there must "+
			"be one")
	}
	if slices.ContainsFunc(m.Lanes, func(l timeline.LaneSpec) bool { return m.masks[l.Name] }) {
		out = append(out, "masked: dropped, and sent again by http.Transport on its own, with success: drops that an "+
			"ordinary Go client would never have told about; not counted as dropped")
	}
	if hasLane(func(a aggregate) bool { return !a.Control && a.outcome() == verdict.Pass.String() && a.dropped() }) {
		out = append(out, "pass: as expected; a lane that is only measured may drop requests (see expected, below)")
	}
	if has(func(r row) bool { return len(r.Runs) > 1 }) {
		out = append(out, "runs: repeats in one row: requests added up")
	}
	return append(out, zeroNotes(m)...)
}

// zeroNotes says what the zeros of the table are worth: one line per number of rollouts.
func zeroNotes(m model) []string {
	zeros := groupBy(slices.Concat(m.having(aggregate.zero)...), func(a aggregate) int { return len(a.Rollouts) })
	slices.SortFunc(zeros, func(a, b group[int, aggregate]) int { return cmp.Compare(a.key, b.key) })
	var out []string
	for _, same := range zeros {
		if same.key == 0 {
			out = append(out, "0 allows: a 0 of runs that are not conclusive says nothing")
			continue
		}
		noun := "run"
		var detectable []time.Duration
		for _, z := range same.items {
			if detectable = append(detectable, z.MinDetectableOutage); z.replaced() {
				noun = "rollout"
			}
		}
		out = append(out, fmt.Sprintf("0 allows: 0 of %s dropped something (95 %% bound: at most %s of %ss do), "+
			"detectable outage %s", Count(same.key, noun), percent(verdict.ClopperPearson(0, same.key)), noun,
			Extent(detectable, Duration)))
	}
	return out
}

// rollouts is what the repeats say about the next rollout: how many of them dropped something, lane
// by lane.
func rollouts(m model) section {
	if !slices.ContainsFunc(slices.Concat(m.Parts...), func(r row) bool { return len(r.Runs) > 1 }) {
		return section{}
	}
	columns := []Column[row]{disruptionColumn, strategyColumn}
	for _, lane := range m.Lanes {
		columns = append(columns, laneColumn(lane, "dropped in", aggregate.droppedIn))
	}
	columns = append(columns, Number("detectable outage", func(r row) string {
		var all []time.Duration
		for _, lane := range m.Lanes {
			if a := r.lane(lane.Name); a.N > 0 {
				all = append(all, a.MinDetectableOutage)
			}
		}
		return Extent(all, Duration)
	}))
	return section{Title: "Rollouts that dropped something", Folded: true, Blocks: []block{{
		Table: Tabulate(columns, m.Parts),
		List: []string{
			"dropped in: x of n rollouts dropped something, masked requests included; ≤ the share of all rollouts " +
				"that do, with 95 % confidence (Clopper and Pearson, one-sided). Only conclusive runs count",
			detectableNote + "; what is shorter may have happened unseen",
		},
	}}}
}

const detectableNote = "detectable outage: the shortest interval, with every request in it dropped, that one run of " +
	"a lane sees with 95 % probability (3/rate, more where requests left late)"

// aaRow is one lane of a strategy that ran under two names.
type aaRow struct {
	verdict.Comparison
	lane verdict.ComparisonRow
}

// aa is what came out of strategies that ran under two names.
func aa(m model) section {
	var rows []aaRow
	made, raw, corrected := 0, 0, 0
	for _, c := range m.Suite.AA {
		for _, lane := range c.Rows {
			rows = append(rows, aaRow{c, lane})
			for _, test := range []verdict.Test{lane.Share, lane.Amount} {
				if !test.Made {
					continue
				}
				if made++; test.P < verdict.Significant {
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
	columns := []Column[aaRow]{
		Key("disruption", func(r aaRow) string { return r.Disruption }),
		Key("strategy", func(r aaRow) string { return r.Base }),
		Key("lane", func(r aaRow) string { return r.lane.What }),
	}
	for _, name := range []struct {
		group string
		of    func(aaRow) verdict.Sample
	}{
		{"its own name", func(r aaRow) verdict.Sample { return r.lane.Base }},
		{"its second name", func(r aaRow) verdict.Sample { return r.lane.Now }},
	} {
		in := Number("dropped in", func(r aaRow) string {
			return ratio(name.of(r).Above0(),
				len(name.of(r)))
		})
		median := Number("median", func(r aaRow) string { return fmt.Sprintf("%g", name.of(r).Median()) })
		columns = append(columns, in.under(name.group, name.group+": dropped in"),
			median.under(name.group, name.group+": median"))
	}
	for _, test := range []struct {
		group string
		of    func(aaRow) verdict.Test
	}{
		{"dropped in", func(r aaRow) verdict.Test { return r.lane.Share }},
		{"median", func(r aaRow) verdict.Test { return r.lane.Amount }},
	} {
		cell := func(p func(verdict.Test) float64) func(aaRow) string {
			return func(r aaRow) string {
				if !test.of(r).Made {
					return None
				}
				return share(p(test.of(r)))
			}
		}
		p := Number("raw", cell(func(t verdict.Test) float64 { return t.P }))
		corrected := Number("corrected", cell(func(t verdict.Test) float64 { return t.Corrected }))
		group := test.group + ": p"
		columns = append(columns, p.under(group, group), corrected.under(group, group+" corrected"))
	}
	return section{Title: "A/A: one strategy under two names", Blocks: []block{{
		Text: "Both are the same in all but the name, so whatever differs between them is the instrument's. One such " +
			"test of twenty may find a difference by chance; one that is left after correction makes the suite " +
			"inconclusive.",
		Table: Tabulate(columns, [][]aaRow{rows}),
		List: []string{
			found + ".",
			"dropped in: rollouts that dropped something, masked requests included, compared by Fisher's exact test; " +
				"median: requests dropped per rollout, compared by rank (Mann and Whitney)",
		},
	}}}
}

// causes is the causes of what was dropped, its classes, and when.
func causes(m model) section {
	parts := m.having(aggregate.dropped)
	if len(parts) == 0 {
		return section{}
	}
	rows := slices.Concat(parts...)
	list := []string{"expected: clean = nothing may be dropped; drops = something must be, else the instrument is " +
		"blind; measured = either is a finding"}
	if slices.ContainsFunc(rows, func(a aggregate) bool { return a.Dropped > 0 }) {
		list = append(list, "in flight: begun by the app and cut when its process ended or gave up; where nothing "+
			"shows that, a request counts as its lane's connections do")
	}
	list = append(list, "dropped between: when the first and the last dropped request were sent, from the start of "+
		"the disruption")
	if slices.ContainsFunc(rows, func(a aggregate) bool { return a.Masked > 0 }) {
		list = append(list, "masked: succeeded only because the client sent it again; not counted as dropped")
	}
	return section{
		Title: "What was dropped, and why", Folded: true,
		Blocks: []block{{Table: Tabulate(causeColumns, parts), List: list}},
	}
}

var causeColumns = append(slices.Clone(laneKeys),
	Words("expected", aggregate.expected),
	Number("dropped/sent", aggregate.counts),
	Number("in flight", func(a aggregate) string { return integer(a.Classes[timeline.ClassInFlight]) }),
	Number("in runs", func(a aggregate) string {
		return fmt.Sprintf("%d of %d", a.Rollouts.Above0(),
			len(a.Rollouts))
	}).
		Unless(func(a aggregate) bool { return len(a.Runs) == 1 }),
	Words("causes", aggregate.causes),
	Number("dropped between", func(a aggregate) string {
		if a.Dropped == 0 {
			return None
		}
		return Extent([]time.Duration{a.First, a.Last}, Duration)
	}),
	Number("masked", func(a aggregate) string { return integer(a.Masked) }).
		Unless(func(a aggregate) bool { return a.Masked == 0 && !a.Replayable }),
)

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
	list = append(list, deletionsKnown(m.Suite.Runs)...)
	table := Tabulate(instrumentColumns, [][]aggregate{lanes})
	return section{Title: "How well the lanes could see", Folded: true, Blocks: []block{{Table: table, List: list}}}
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
	return section{Title: "Strategies", Folded: true, Blocks: []block{{List: list}}}
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
	if len(m.Suite.Runs) > 0 {
		worst := slices.MaxFunc(m.Suite.Runs, func(a,
			b verdict.Verdict,
		) int {
			return cmp.Compare(a.Overhead, b.Overhead)
		})
		lines = append(lines, fmt.Sprintf("Harness overhead: at most %s per run, beyond lead, disruption, "+
			"termination and tail (%s)",
			Duration(worst.Overhead), m.name(worst)))
	}
	if m.Artifacts != "" {
		lines = append(lines, "Artifacts: "+Plain(m.Artifacts))
	}
	return lines
}
