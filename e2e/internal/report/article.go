package report

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Measurement is a report that statements of the article are decided by.
type Measurement struct {
	ResultsFile
	Here bool // it is a report of this machine; else one that is kept in the repository
}

// Here is a report.json as a measurement. One of which nobody knows when it was measured is an error.
func Here(f File) (Measurement, error) {
	out, err := condensed(f)
	return Measurement{out, true}, err
}

// Stored is what is kept as measurements.
func Stored(files []ResultsFile) []Measurement {
	var out []Measurement
	for _, f := range files {
		out = append(out, Measurement{f, false})
	}
	return out
}

// source says where the measurement is from, and when it was made.
func (m Measurement) source() string {
	word := map[bool]string{false: "stored", true: "here"}[m.Here]
	return word + " " + m.Measured.Format(time.DateOnly)
}

// Answer is what measurements say of a statement.
type Answer int

// The zero value is Unmeasured: what nobody measured neither holds nor fails.
const (
	Unmeasured  Answer = iota // nothing decides it yet
	Holds                     // wherever it was measured
	DoesNotHold               // nowhere
	Depends                   // in some places
)

// Finding is a statement and what is known of it.
type Finding struct {
	scenarios.Statement
	Answer  Answer
	Figures string   // that decided it; empty for none
	Sources []string // where these are from, and when they were measured
}

// Word is the answer in words.
func (f Finding) Word() string {
	switch f.Answer {
	case Holds:
		return "✓ holds"
	case DoesNotHold:
		return "✗ doesn't hold"
	case Depends:
		return "◆ depends on the " + string(f.Along)
	default:
		return "? not measured yet"
	}
}

// Article is what measurements say of the article.
type Article struct {
	Parts        []ArticlePart
	Measurements []Measurement // those that were asked, the weightiest first
}

// ArticlePart is a part of it.
type ArticlePart struct {
	Title    string
	Findings []Finding
}

// NewArticle decides statements. Of two measurements of the same thing counts the one of this machine,
// and of two of this machine, or two that are kept, the newer one.
func NewArticle(parts []scenarios.ArticlePart, all []Measurement) Article {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b Measurement) int {
		if a.Here != b.Here {
			return map[bool]int{true: -1, false: 1}[a.Here]
		}
		return b.Measured.Compare(a.Measured)
	})
	out := Article{Measurements: all}
	for _, p := range parts {
		part := ArticlePart{Title: p.Title}
		for _, s := range p.Statements {
			part.Findings = append(part.Findings, decide(s, all))
		}
		out.Parts = append(out.Parts, part)
	}
	return out
}

// point is a statement's figure at one of the things that the answer may depend on.
type point struct {
	of    string // the strategy, the consumer …
	text  string
	holds bool
	open  bool // it may hold or not, as where a safe delay is a lower bound
}

// decide reads the figure of a statement from each measurement:
//
//	ingress 2.0s (holds) · gateway 2.0s (holds) · ingress-nativelb 40ms (doesn't)   →   depends on the consumer
//
// What no measurement tells of stays unmeasured, as does what has no decider yet. So does what would
// hold but for the strategies, say, that it names and nobody has measured.
func decide(s scenarios.Statement, all []Measurement) Finding {
	out := Finding{Statement: s}
	read := deciderOf(s.Figure)
	if read == nil {
		return out
	}
	var points []point
	for _, m := range all {
		before := len(points)
		for _, p := range read(s, m.ResultsFile) {
			if !slices.ContainsFunc(points, func(o point) bool { return o.of == p.of }) {
				points = append(points, p)
			}
		}
		if source := m.source(); len(points) > before && !slices.Contains(out.Sources, source) {
			out.Sources = append(out.Sources, source)
		}
	}
	where := map[bool][]string{}
	var open []string
	for _, p := range points {
		words := strings.TrimSpace(p.of + " " + p.text)
		if p.open {
			open = append(open, words)
		} else {
			where[p.holds] = append(where[p.holds], words)
		}
	}
	var parts []string
	switch {
	case len(where[true]) > 0 && len(where[false]) > 0:
		out.Answer = Depends
		parts = append(parts, "holds: "+mostOf(where[true]), "doesn't: "+mostOf(where[false]))
	case len(where[true]) > 0:
		out.Answer = Holds
		parts = append(parts, mostOf(where[true]))
	case len(where[false]) > 0:
		out.Answer = DoesNotHold
		parts = append(parts, mostOf(where[false]))
	}
	if len(open) > 0 {
		parts = append(parts, "open: "+mostOf(open))
	}
	missing := slices.DeleteFunc(named(s), func(name string) bool {
		return slices.ContainsFunc(points, func(p point) bool { return p.of == name })
	})
	if len(points) > 0 && len(missing) > 0 {
		parts = append(parts, "not measured: "+mostOf(missing))
		if out.Answer == Holds {
			out.Answer = Unmeasured
		}
	}
	out.Figures = strings.Join(parts, "; ")
	return out
}

// named are the names that a statement gives of what its answer may depend on.
func named(s scenarios.Statement) []string {
	switch {
	case s.Along == scenarios.AlongDisruption:
		return slices.Clone(s.Disruptions)
	case s.Along == scenarios.AlongConsumer:
		return slices.Clone(s.Consumers)
	case s.Along == scenarios.AlongStrategy && s.Figure == scenarios.CostsMoreEach:
		return slices.Clone(s.Strategies[1:]) // the first is what the next is compared with
	case s.Along == scenarios.AlongStrategy:
		return slices.Clone(s.Strategies)
	}
	return nil
}

// mostNamed is how many figures of a kind a row names.
const mostNamed = 6

func mostOf(words []string) string {
	if len(words) > mostNamed {
		words = append(slices.Clone(words[:mostNamed-1]), fmt.Sprintf("%d more", len(words)-mostNamed+1))
	}
	return strings.Join(words, " · ")
}

// decider reads the figure of a statement from one measurement: a point for each thing that the
// answer may depend on; none where the measurement tells nothing of it.
type decider func(scenarios.Statement, ResultsFile) []point

// deciders, stepDeciders, controllerDeciders and longDeciders are those of the kinds of figures that reports have. A
// statement of another kind is not measured yet.
var deciders = map[scenarios.Figure]decider{
	scenarios.DropsSome:        countsDropped(func(n int) bool { return n > 0 }),
	scenarios.DropsNone:        countsDropped(func(n int) bool { return n == 0 }),
	scenarios.DropsSomeAtStart: countsAtStart(func(n int) bool { return n > 0 }),
	scenarios.DropsNoneAtStart: countsAtStart(func(n int) bool { return n == 0 }),
	scenarios.ArrivalsEnd:      arrivalsEnd,
	scenarios.SafeWithin:       safeWithin,
	scenarios.AsFastAs:         asFastAs,
	scenarios.OutageUnlike:     outageUnlike,
	scenarios.DeletesPods:      deletes(func(n int) bool { return n > 0 }),
	scenarios.DeletesNoPod:     deletes(func(n int) bool { return n == 0 }),
	scenarios.ExceedsSurge:     peak(func(pods, replicas int) bool { return pods > replicas+1 }),
	scenarios.DoublesPods:      peak(func(pods, replicas int) bool { return pods >= 2*replicas }),
	scenarios.CostsMoreEach:    costsMoreEach,
}

// deciderOf is that of a kind of figure; nil if reports don't have it.
func deciderOf(f scenarios.Figure) decider {
	for _, all := range []map[scenarios.Figure]decider{deciders, stepDeciders, controllerDeciders, longDeciders} {
		if read := all[f]; read != nil {
			return read
		}
	}
	return nil
}

// wants says that a list of names that count has a name; an empty one has all.
func wants(list []string, name string) bool { return len(list) == 0 || slices.Contains(list, name) }

// runsOf are the runs that count for a statement.
func runsOf(s scenarios.Statement, f ResultsFile) []RunFigures {
	return slices.DeleteFunc(slices.Clone(f.Figures), func(r RunFigures) bool {
		return !wants(s.Strategies, r.Strategy) || !wants(s.Disruptions, r.Disruption)
	})
}

// consumersOf are the consumers that count for a statement, under the first mode of kube-proxy: those
// with load, of disruptions that count.
func consumersOf(s scenarios.Statement, f ResultsFile) []FileConsumer {
	return slices.DeleteFunc(slices.Clone(f.Consumers), func(c FileConsumer) bool {
		return c.Watched || c.ProxyMode != f.Consumers[0].ProxyMode || !wants(s.Consumers, c.Consumer) ||
			slices.ContainsFunc(c.Removals, func(r FileRemoval) bool { return !wants(s.Disruptions, r.Disruption) })
	})
}

// along is what a figure of a run is told by.
func (r RunFigures) along(s scenarios.Statement) string {
	if s.Along == scenarios.AlongDisruption {
		return r.Disruption
	}
	return r.Strategy
}

// tally is what became of the requests of a class.
type tally struct {
	of                               string
	dropped, atStart, sent, rollouts int
}

// added is a list with a tally added to the one of the same.
func added(all []tally, t tally) []tally {
	i := slices.IndexFunc(all, func(o tally) bool { return o.of == t.of })
	if i < 0 {
		return append(all, t)
	}
	o := &all[i]
	o.dropped, o.atStart = o.dropped+t.dropped, o.atStart+t.atStart
	o.sent, o.rollouts = o.sent+t.sent, o.rollouts+t.rollouts
	return all
}

// runTallies are what became of a statement's class of requests in the runs that count.
func runTallies(s scenarios.Statement, f ResultsFile) (out []tally) {
	for _, run := range runsOf(s, f) {
		var one []tally
		for _, l := range run.Lanes {
			if n, has := l.Dropped[timeline.Class(s.Class)]; has && wants(s.Consumers, l.Consumer) {
				t := tally{of: run.along(s), dropped: n, atStart: l.AtStart, sent: l.Sent}
				if s.Along == scenarios.AlongConsumer {
					t.of = l.Consumer
				}
				one = added(one, t)
			}
		}
		for _, t := range one {
			t.rollouts = 1
			out = added(out, t)
		}
	}
	return out
}

// consumerTallies are the same of consumers, which don't tell of disruptions one by one.
func consumerTallies(s scenarios.Statement, f ResultsFile) (out []tally) {
	if s.Along == scenarios.AlongDisruption {
		return nil
	}
	for _, c := range consumersOf(s, f) {
		class := timeline.Class(s.Class)
		for _, strategy := range c.Strategies {
			sums := strategy.Classes[class]
			if sums.Sent == 0 || !wants(s.Strategies, strategy.Strategy) {
				continue
			}
			t := tally{of: strategy.Strategy, dropped: sums.Dropped, sent: sums.Sent, rollouts: strategy.Rollouts}
			if s.Along == scenarios.AlongConsumer {
				t.of = c.Consumer
			}
			for _, l := range strategy.Loads {
				if l.Class == class {
					t.dropped += l.Masked
				}
			}
			out = added(out, t)
		}
	}
	return out
}

// words are a count of the tally's requests; a zero with its bound.
func (t tally) words(n int) string {
	out := ratio(n, t.sent)
	if n == 0 && t.rollouts > 0 {
		out += fmt.Sprintf(" (0/%d rollouts, ≤ %s)", t.rollouts, percent(verdict.ClopperPearson(0, t.rollouts)))
	}
	return out
}

func countsDropped(holds func(int) bool) decider {
	return func(s scenarios.Statement, f ResultsFile) (out []point) {
		tallies := consumerTallies(s, f)
		if len(tallies) == 0 {
			tallies = runTallies(s, f)
		}
		for _, t := range tallies {
			out = append(out, point{of: t.of, text: t.words(t.dropped), holds: holds(t.dropped)})
		}
		return out
	}
}

func countsAtStart(holds func(int) bool) decider {
	return func(s scenarios.Statement, f ResultsFile) (out []point) {
		for _, t := range runTallies(s, f) {
			out = append(out, point{of: t.of, text: t.words(t.atStart), holds: holds(t.atStart)})
		}
		return out
	}
}

// connection is the class of the lane's requests that are not in flight.
func (l LaneFigures) connection() timeline.Class {
	for _, class := range timeline.Classes() {
		if _, has := l.Dropped[class]; has && class != timeline.ClassInFlight {
			return class
		}
	}
	return ""
}

// arrivalsEnd holds where no Pod got requests until its own end: on connections of a class, or under
// a strategy on those of the statement's class.
func arrivalsEnd(s scenarios.Statement, f ResultsFile) (out []point) {
	type arrivals struct {
		last           float64
		untilEnd, pods int
	}
	of := map[string]arrivals{}
	var order []string
	for _, run := range runsOf(s, f) {
		for _, l := range run.Lanes {
			key, class := run.along(s), l.connection()
			if s.Along == scenarios.AlongClass {
				key = string(class)
			}
			if !wants(s.Consumers, l.Consumer) || s.Class != "" && class != timeline.Class(s.Class) || run.PodsDeleted == 0 {
				continue
			}
			if a, has := of[key]; has {
				of[key] = arrivals{max(a.last, l.LastSeconds), a.untilEnd + l.UntilEnd, a.pods + run.PodsDeleted}
				continue
			}
			of[key], order = arrivals{l.LastSeconds, l.UntilEnd, run.PodsDeleted}, append(order, key)
		}
	}
	for _, key := range order {
		a := of[key]
		p := point{of: key, text: "at most " + hundredths(length(a.last)), holds: a.untilEnd == 0}
		if a.untilEnd > 0 {
			p.text = fmt.Sprintf("until the end of %d Pods of %d", a.untilEnd, a.pods)
		}
		out = append(out, p)
	}
	return out
}

func safeWithin(s scenarios.Statement, f ResultsFile) (out []point) {
	for _, c := range consumersOf(s, f) {
		if c.SafeSeconds != nil {
			holds := *c.SafeSeconds <= s.Limit.Seconds()
			out = append(out, point{of: c.Consumer, text: c.safe(), holds: holds, open: holds && c.SafeAtLeast})
		}
	}
	return out
}

// beside is the consumer that a statement compares others with; nil if it was not measured.
func beside(s scenarios.Statement, f ResultsFile) *FileConsumer {
	s.Consumers = []string{s.Beside}
	if all := consumersOf(s, f); len(all) > 0 {
		return &all[0]
	}
	return nil
}

// asFastAs compares safe delays as two measurements of one consumer are compared (Disagreements).
func asFastAs(s scenarios.Statement, f ResultsFile) (out []point) {
	reference := beside(s, f)
	if reference == nil || reference.SafeSeconds == nil || reference.SafeAtLeast {
		return nil
	}
	most := *reference.SafeSeconds + max(agreeShare**reference.SafeSeconds, agreeSeconds)
	for _, c := range consumersOf(s, f) {
		if c.SafeSeconds != nil && c.Consumer != s.Beside {
			holds := *c.SafeSeconds <= most
			out = append(out, point{of: c.Consumer, text: c.safe(), holds: holds, open: holds && c.SafeAtLeast})
		}
	}
	return out
}

// outageUnlike compares outages of a single replica. What is shorter than a lane can tell from chance
// is none.
func outageUnlike(s scenarios.Statement, f ResultsFile) (out []point) {
	reference := beside(s, f)
	if reference == nil || reference.outage() == None || reference.hasOutage() {
		return nil
	}
	for _, c := range consumersOf(s, f) {
		if text := c.outage(); text != None && c.Consumer != s.Beside {
			out = append(out, point{of: c.Consumer, text: text, holds: c.hasOutage()})
		}
	}
	return out
}

// hasOutage says that a single replica's end was an outage that one run is sure enough to see.
func (c FileConsumer) hasOutage() bool {
	return slices.ContainsFunc(c.Strategies, func(s FileConsumerStrategy) bool {
		return s.SingleReplica && s.OutageSeconds > 0 && s.OutageSeconds >= 3*c.ResolutionSeconds
	})
}

func deletes(holds func(int) bool) decider {
	return func(s scenarios.Statement, f ResultsFile) (out []point) {
		for _, same := range groupBy(runsOf(s, f), func(r RunFigures) string { return r.along(s) }) {
			deleted := 0
			for _, run := range same.items {
				deleted += run.PodsDeleted
			}
			out = append(out, point{of: same.key, text: Count(deleted, "Pod") + " deleted", holds: holds(deleted)})
		}
		return out
	}
}

// peak is decided by the run with the most Pods at once. All Pods that there were are replaced.
func peak(holds func(pods, replicas int) bool) decider {
	return func(s scenarios.Statement, f ResultsFile) (out []point) {
		for _, same := range groupBy(runsOf(s, f), func(r RunFigures) string { return r.along(s) }) {
			most := slices.MaxFunc(same.items, func(a, b RunFigures) int { return a.PeakPods - b.PeakPods })
			if most.PodsReplaced > 0 {
				out = append(out, point{
					of: same.key, text: fmt.Sprintf("%d Pods at once, %d replicas", most.PeakPods, most.PodsReplaced),
					holds: holds(most.PeakPods, most.PodsReplaced),
				})
			}
		}
		return out
	}
}

// costsMoreEach compares each strategy with the one before it in the statement's order.
func costsMoreEach(s scenarios.Statement, f ResultsFile) (out []point) {
	before, than := 0.0, ""
	for _, name := range s.Strategies {
		var costs verdict.Sample
		for _, run := range runsOf(s, f) {
			if run.Strategy == name && run.PodsReplaced > 0 {
				costs = append(costs, run.ExtraPodSeconds)
			}
		}
		if len(costs) == 0 {
			continue
		}
		cost := costs.Median()
		if than != "" {
			text := fmt.Sprintf("%s Pod-s, %s %s", podSeconds(cost), than, podSeconds(before))
			out = append(out, point{of: name, text: text, holds: cost > before})
		}
		before, than = cost, name
	}
	return out
}

// verdictLine counts the answers.
func (a Article) verdictLine() string {
	counts, all := map[Answer]int{}, 0
	for _, p := range a.Parts {
		for _, f := range p.Findings {
			counts[f.Answer]++
			all++
		}
	}
	return fmt.Sprintf("%s of the article: %d hold, %d don't, %d depend, %d not measured yet",
		Count(all, "statement"), counts[Holds], counts[DoesNotHold], counts[Depends], counts[Unmeasured])
}

// measured says where the figures of a finding are from.
func (f Finding) measured() string {
	if len(f.Sources) == 0 {
		return None
	}
	return strings.Join(f.Sources, ", ")
}

// ArticleText writes the list for a terminal.
func ArticleText(w io.Writer, a Article) error {
	var t textWriter
	t.lines("", a.verdictLine())
	for _, p := range a.Parts {
		t.title(p.Title)
		for _, f := range p.Findings {
			t.lines("", f.Says)
			line := f.Word()
			if f.Figures != "" {
				line += ": " + f.Figures + " · " + f.measured()
			}
			t.lines("  ", line)
			fmt.Fprintf(&t.out, "  %s\n", f.Command()) // one line, to be copied
		}
	}
	if _, err := io.WriteString(w, t.out.String()); err != nil {
		return fmt.Errorf("write article: %w", err)
	}
	return nil
}

// articleColumns are a table of findings.
func articleColumns() []Column[Finding] {
	return []Column[Finding]{
		Words("statement", func(f Finding) string { return f.Says }),
		Words("answer", Finding.Word),
		Words("decided by", func(f Finding) string { return f.DecidedBy }),
		Words("figures", func(f Finding) string { return f.Figures }),
		Words("measured", Finding.measured),
		Words("shown by", func(f Finding) string { return f.Command() }),
	}
}

// newDocument is the article as a document: a section for each part, then the delays that are in use.
func (a Article) newDocument() document {
	d := document{Verdict: a.verdictLine()}
	for _, p := range a.Parts {
		table := Tabulate(articleColumns(), [][]Finding{p.Findings})
		d.Sections = append(d.Sections, section{Title: p.Title, Blocks: []block{{Table: table}}})
	}
	var files []ResultsFile
	for _, m := range a.Measurements {
		files = append(files, m.ResultsFile)
		line := m.source() + ": " + strings.Join(Environment(m.Cluster), " · ")
		if m.Commit != "" {
			line += fmt.Sprintf(" · %s · %s", m.Commit, m.Command)
		}
		d.Facts = append(d.Facts, line)
	}
	var consumers []FileConsumer
	for _, k := range newest(files) {
		consumers = append(consumers, k.FileConsumer)
	}
	if s := guesses(consumers); len(s.Blocks) > 0 {
		d.Sections = append(d.Sections, s)
	}
	return d
}

// ArticlePage writes the list as a page.
func ArticlePage(w io.Writer, a Article) error {
	whole := struct {
		document
		Sequences, Pods template.HTML
	}{document: a.newDocument()}
	var err error
	if whole.Sequences, whole.Pods, err = a.pictures(); err != nil {
		return err
	}
	var out bytes.Buffer
	if err := pages.ExecuteTemplate(&out, "article.html", whole); err != nil {
		return fmt.Errorf("lay out article: %w", err)
	}
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("write article: %w", err)
	}
	return nil
}

// ArticleResults is the list for RESULTS.md, in Markdown, by what is kept alone.
func ArticleResults(files []ResultsFile) string {
	a := NewArticle(scenarios.Article(), Stored(files))
	var b strings.Builder
	fmt.Fprintf(&b, "Generated from [results](results) by `make article`, which here reads only what is kept.\n%s.\n",
		a.verdictLine())
	for _, p := range a.Parts {
		columns := []Column[Finding]{
			Words("statement", func(f Finding) string { return escape(f.Says) }),
			Words("answer", Finding.Word),
			Words("figures", func(f Finding) string { return escape(f.Figures) }),
			Words("measured", Finding.measured),
			Words("shown by", func(f Finding) string { return "`" + f.Command() + "`" }),
		}
		fmt.Fprintf(&b, "\n**%s**\n\n", p.Title)
		writeMarkdownTable(&b, Tabulate(columns, [][]Finding{p.Findings}))
	}
	return b.String()
}
