package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// length is a number of seconds as a length.
func length(s float64) time.Duration { return time.Duration(math.Round(s * float64(time.Second))) }

// value is a number of seconds; 0 where there is none.
func value(s *float64) float64 {
	if s == nil {
		return 0
	}
	return *s
}

// arrival is a percentile in a cell: a lower bound where a removal whose end nobody saw took longer.
func (c FileConsumer) arrival(s *float64) string {
	switch {
	case s == nil:
		return None
	case c.AtLeastSeconds != nil && *c.AtLeastSeconds > *s:
		return atLeast + hundredths(length(*s))
	}
	return hundredths(length(*s))
}

// greatest is the longest arrival, a lower bound where nobody knows whether a longer one was missed.
func (c FileConsumer) greatest() string {
	switch {
	case c.AtLeastSeconds != nil && (c.MaxSeconds == nil || *c.AtLeastSeconds > *c.MaxSeconds):
		return atLeast + hundredths(length(*c.AtLeastSeconds))
	case c.MaxSeconds != nil && (c.LaterSeconds > *c.MaxSeconds || c.ArrivalsMasked > 0):
		return atLeast + hundredths(length(*c.MaxSeconds))
	}
	return c.arrival(c.MaxSeconds)
}

func (c FileConsumer) safe() string {
	switch {
	case c.SafeSeconds == nil:
		return None
	case c.SafeAtLeast:
		return atLeast + hundredths(length(*c.SafeSeconds))
	}
	return hundredths(length(*c.SafeSeconds))
}

// bound is the share of rollouts in which a removal may take longer than the greatest.
func (c FileConsumer) bound() string {
	if c.Known == 0 {
		return None
	}
	return percent(c.Bound)
}

// charged is the share of the dropped requests that are charged to somebody, rounded down.
func (c FileConsumer) charged() string {
	switch {
	case c.Dropped == 0:
		return None
	case c.Unattributed == 0:
		return "100 %"
	}
	return fmt.Sprintf("%.1f %%", math.Floor(1000*float64(c.Dropped-c.Unattributed)/float64(c.Dropped))/10)
}

// sum is a class of the strategies that are asked for, added up; None if none was run.
func (c FileConsumer) sum(class timeline.Class, of func(FileConsumerStrategy) bool) string {
	var t FileTally
	for _, s := range c.Strategies {
		if of(s) {
			t.Dropped, t.Sent = t.Dropped+s.Classes[class].Dropped, t.Sent+s.Classes[class].Sent
		}
	}
	if t.Sent == 0 {
		return None
	}
	return ratio(t.Dropped, t.Sent)
}

func (s FileConsumerStrategy) atOnce() bool {
	return s.DelaySeconds == 0 && !s.SingleReplica && !s.Control
}

func (s FileConsumerStrategy) delayed() bool {
	return s.DelaySeconds > 0 && !s.SingleReplica && !s.Control
}

// freshClass is the class by which a consumer is judged: new connections, or what it has instead.
func (c FileConsumer) freshClass() timeline.Class { return cmp.Or(c.ArrivalsOn, timeline.ClassNew) }

// cleanWith is the shortest delay with which, as with all longer ones, no rollout dropped anything on
// new connections, or on all it has if none are new, and how many there were: "15s 0/4 ≤ 53 %"; "none"
// if the longest dropped some.
func (c FileConsumer) cleanWith(bounds bool) string {
	dropping, rollouts := map[float64]int{}, map[float64]int{}
	for _, s := range c.Strategies {
		if s.delayed() {
			dropping[s.DelaySeconds] += s.Dropping
			rollouts[s.DelaySeconds] += s.Rollouts
		}
	}
	if len(rollouts) == 0 {
		return None
	}
	best := -1.0
	for _, delay := range slices.Backward(slices.Sorted(maps.Keys(rollouts))) {
		if dropping[delay] > 0 {
			break
		}
		best = delay
	}
	switch n := rollouts[best]; {
	case best < 0:
		return "none"
	case bounds:
		return fmt.Sprintf("%s 0/%d ≤ %s", length(best), n, percent(verdict.ClopperPearson(0, n)))
	}
	return length(best).String()
}

// outage is the longest outage of a single replica; None if none was run.
func (c FileConsumer) outage() string {
	ran, longest := false, 0.0
	for _, s := range c.Strategies {
		if ran = ran || s.SingleReplica; s.SingleReplica && s.OutageSeconds > longest {
			longest = s.OutageSeconds
		}
	}
	switch {
	case !ran:
		return None
	case longest == 0:
		return "none"
	}
	return Duration(length(longest))
}

// total adds the loads of all strategies up.
func (c FileConsumer) total(of func(FileConsumerLoad) int) int {
	n := 0
	for _, s := range c.Strategies {
		n += s.total(of)
	}
	return n
}

func (s FileConsumerStrategy) total(of func(FileConsumerLoad) int) int {
	n := 0
	for _, l := range s.Loads {
		n += of(l)
	}
	return n
}

func masked(l FileConsumerLoad) int      { return l.Masked }
func proxyMasked(l FileConsumerLoad) int { return l.ProxyMasked }
func late(l FileConsumerLoad) int        { return l.Late }

// byMode is consumers in one part for each mode of kube-proxy.
func byMode(all []FileConsumer) [][]FileConsumer {
	var parts [][]FileConsumer
	for _, same := range groupBy(all, func(c FileConsumer) string { return c.ProxyMode }) {
		parts = append(parts, same.items)
	}
	return parts
}

// consumerKeys say which consumer a row is about.
func consumerKeys(all []FileConsumer) []Column[FileConsumer] {
	one := len(byMode(all)) < 2
	return []Column[FileConsumer]{
		Key("consumer", func(c FileConsumer) string { return Plain(c.Consumer) }),
		Key("kube-proxy", func(c FileConsumer) string { return known(c.ProxyMode) }).
			Unless(func(FileConsumer) bool { return one }),
	}
}

const lastArrivalGroup = "last arrival"

func arrivalColumns() []Column[FileConsumer] {
	return []Column[FileConsumer]{
		Number("n", func(c FileConsumer) string { return integer(c.Known) }).under(lastArrivalGroup, "removals"),
		Number("p50", func(c FileConsumer) string { return c.arrival(c.P50Seconds) }).
			under(lastArrivalGroup, "last arrival p50"),
		Number("p90", func(c FileConsumer) string { return c.arrival(c.P90Seconds) }).
			under(lastArrivalGroup, "last arrival p90"),
		Number("max", FileConsumer.greatest).under(lastArrivalGroup, "last arrival max"),
	}
}

func maskedBoth(c FileConsumer) string {
	return fmt.Sprintf("%d + %d", c.total(masked), c.total(proxyMasked))
}

// consumers are those of the runs; none where they were not compared.
func (m model) consumers() []FileConsumer {
	if !comparesConsumers(m.Report) {
		return nil
	}
	return newFileConsumers(m.Suite.Runs)
}

// arrivalsOfConsumers is table A: how long each consumer goes on sending, and the delay that
// outlasts it.
func arrivalsOfConsumers(m model) section {
	all := m.consumers()
	if len(all) == 0 {
		return section{}
	}
	censored := Number("until it ended", func(c FileConsumer) string { return integer(c.Censored) }).
		Unless(func(c FileConsumer) bool { return c.Censored == 0 })
	columns := slices.Concat(consumerKeys(all), arrivalColumns(), []Column[FileConsumer]{
		censored.under(lastArrivalGroup, "until the Pod ended"),
		Number("safe", FileConsumer.safe).under("delay", "safe delay"),
		Number("may be longer", FileConsumer.bound).under("delay", "may be longer"),
		Number("clean with", func(c FileConsumer) string { return c.cleanWith(true) }).under("delay", "clean with"),
		Number("outage", FileConsumer.outage).under("1 replica", "outage of 1 replica"),
		Number("charged", FileConsumer.charged).under("dropped", "charged"),
	})
	return section{Title: "Consumer by consumer", Blocks: []block{{
		Text: "From a Pod's deletion to the last request that the consumer brought to it on a new connection, or on any " +
			"where it chooses the Pod of each request; over all disruptions, strategies and repeats.",
		Table: Tabulate(columns, byMode(all)), List: consumerNotes(all),
	}}}
}

// droppedByConsumers is the rest of it: what each dropped under which strategy, protocol by protocol,
// and with a proxy's retries.
func droppedByConsumers(m model) section {
	all := m.consumers()
	if len(all) == 0 {
		return section{}
	}
	out := section{Title: "What each consumer dropped", Blocks: []block{{
		Table: strategyTable(all), List: []string{
			"dropped/sent of each class; in flight counts the requests of all lanes, as each can be",
			"masked: succeeded only because the client, or the consumer's own program (proxy), sent it again",
			"rollouts: x of n dropped something " + onNew + ", or masked it; ≤ the share of all that do, with 95 % confidence",
			"outage: the longest time in which every request of one lane was dropped, " + onNew,
		},
	}}}
	for _, more := range []block{protocolBlock(all), retryBlock(all), watchedBlock(all)} {
		if len(more.Table.Columns) > 0 {
			out.Blocks = append(out.Blocks, more)
		}
	}
	return out
}

// onNew says which lanes a consumer is judged by.
const onNew = "on new connections, or on all it has if none are new"

// label names a consumer, with its mode of kube-proxy where it has a row for each of several.
func label(all []FileConsumer, c FileConsumer) string {
	if slices.ContainsFunc(all, func(o FileConsumer) bool {
		return o.Consumer == c.Consumer && o.ProxyMode != c.ProxyMode
	}) {
		return fmt.Sprintf("%s (%s)", Plain(c.Consumer), known(c.ProxyMode))
	}
	return Plain(c.Consumer)
}

// labels names those of the consumers for which something holds.
func labels(all []FileConsumer, of func(FileConsumer) bool) string {
	var out []string
	for _, c := range all {
		if of(c) {
			out = append(out, label(all, c))
		}
	}
	slices.Sort(out)
	return Enumerate(slices.Compact(out))
}

// consumerNotes explains what stands in table A.
func consumerNotes(all []FileConsumer) []string {
	list := []string{
		"n: Pods removed with others beside them, whose last arrival is known; one that got nothing after its deletion " +
			"counts as 0",
		"safe: the greatest and one interval of the lane; may be longer: the share of rollouts in which a removal may take " +
			"longer, with 95 % confidence (1 − 0.05^(1/rollouts): removals of one rollout are not independent); clean " +
			"with: the shortest delay that was run, whose rollouts dropped nothing " + onNew,
		"1 replica: the longest outage of a lane while the only Pod is replaced, " + onNew + "; its removals are not " +
			"among n, as there is no other Pod to go to",
		"charged: the share of the dropped requests that is charged to a Pod and a phase of its life, or to there being " +
			"no Pod",
	}
	if slices.ContainsFunc(all, func(c FileConsumer) bool { return c.Censored > 0 }) {
		list = append(list, "until it ended: so many removals more got requests until the Pod's own end; they are in no "+
			"percentile, and what is shorter than one of them is marked ≥")
	}
	later := func(c FileConsumer) bool {
		return c.SafeSeconds != nil && c.LaterSeconds > max(value(c.MaxSeconds), value(c.AtLeastSeconds))
	}
	if who := labels(all, later); who != "" {
		list = append(list, "≥, as a request came later that was charged to nobody or answered late, and may first have "+
			"gone to a Pod that was gone: "+who)
	}
	if who := labels(all, func(c FileConsumer) bool { return c.ArrivalsMasked > 0 }); who != "" {
		list = append(list, "≥, as its program sent requests again, and nobody knows where it had sent them before: "+who)
	}
	if who := labels(all, func(c FileConsumer) bool { return c.ArrivalsOn == timeline.ClassKeptAlive }); who != "" {
		list = append(list, "on kept connections, as it has no new ones and chooses the Pod of each request: "+who)
	}
	for _, same := range groupBy(all, func(c FileConsumer) string { return c.Why }) {
		if same.key != "" {
			who := labels(all, func(c FileConsumer) bool { return c.Why == same.key })
			list = append(list, fmt.Sprintf("no safe delay for %s: %s", who, same.key))
		}
	}
	for _, c := range all {
		if c.Unattributed > 0 {
			list = append(list, fmt.Sprintf("%s: %s of %d charged to nobody, most because %s", label(all, c),
				Count(c.Unattributed, "request"), c.Dropped, cmp.Or(c.UnattributedBecause, "of no reason that was told")))
		}
		if c.Inconclusive > 0 {
			list = append(list, fmt.Sprintf("%s: nothing is taken from %s", label(all, c),
				Count(c.Inconclusive, "inconclusive run")))
		}
	}
	return list
}

// consumerStrategy is a row of a consumer under one strategy.
type consumerStrategy struct {
	FileConsumerStrategy
	Of FileConsumer
}

func strategyTable(all []FileConsumer) Table {
	var parts [][]consumerStrategy
	several := len(byMode(all)) > 1
	for _, c := range all {
		var rows []consumerStrategy
		for _, s := range c.Strategies {
			rows = append(rows, consumerStrategy{s, c})
		}
		if len(rows) > 0 {
			parts = append(parts, rows)
		}
	}
	if !slices.ContainsFunc(parts, func(rows []consumerStrategy) bool { return len(rows) > 1 }) && len(parts) > 0 {
		parts = [][]consumerStrategy{slices.Concat(parts...)} // no rule between single rows
	}
	columns := []Column[consumerStrategy]{
		Key("consumer", func(r consumerStrategy) string {
			if several {
				return Plain(r.Of.Consumer) + " · " + known(r.Of.ProxyMode)
			}
			return Plain(r.Of.Consumer)
		}),
		Key("strategy", func(r consumerStrategy) string {
			if r.Control {
				return r.Strategy + " " + controlMark
			}
			return r.Strategy
		}),
	}
	for _, class := range timeline.Classes() {
		cell := func(r consumerStrategy) string {
			t := r.Classes[class]
			if t.Sent == 0 {
				return None
			}
			return ratio(t.Dropped, t.Sent)
		}
		columns = append(columns, Number(string(class), cell).
			Unless(func(r consumerStrategy) bool { return cell(r) == None }))
	}
	count := func(of func(FileConsumerLoad) int) func(consumerStrategy) string {
		return func(r consumerStrategy) string { return integer(r.total(of)) }
	}
	return Tabulate(append(columns,
		Number("late", count(late)),
		Number("masked", count(masked)),
		Number("proxy", count(proxyMasked)).
			Unless(func(r consumerStrategy) bool { return r.total(proxyMasked) == 0 }),
		Number("rollouts", func(r consumerStrategy) string {
			return fmt.Sprintf("%d/%d ≤ %s", r.Dropping, r.Rollouts, percent(r.Bound))
		}),
		Number("outage", func(r consumerStrategy) string { return Duration(length(r.OutageSeconds)) }),
	), parts)
}

// pair is two consumers that differ in one thing alone.
type pair struct{ Base, Other string }

// Consumers of tables D and F: the same way through another protocol, and through a proxy that tries
// again. These tables are comparisons that somebody chose, in their order. A new consumer is in all
// others by itself.
var (
	protocolConsumers = []string{"service", "service-h2", "service-grpc", "ingress", "ingress-h2"}
	retryConsumers    = []pair{{"ingress", "ingress-retry"}}
)

var protocols = map[string]string{"http": "HTTP/1.1", "h2": "HTTP/2", "grpc": "gRPC"}

// loadRow is one load of a consumer, under each strategy.
type loadRow struct {
	FileConsumerLoad // its name, driver and class
	Consumer         string
	By               map[string]FileConsumerLoad
}

// loadRows are the loads of consumers, in the order of the names.
func loadRows(
	all []FileConsumer, consumers []string, kept func(FileConsumerLoad) bool,
) (rows []loadRow, strategies []string) {
	for _, name := range consumers {
		for _, c := range all {
			if c.Consumer != name || c.ProxyMode != all[0].ProxyMode {
				continue
			}
			for _, s := range c.Strategies {
				for _, l := range s.Loads {
					if !kept(l) {
						continue
					}
					i := slices.IndexFunc(rows, func(r loadRow) bool { return r.Consumer == name && r.Load == l.Load })
					if i < 0 {
						i, rows = len(rows), append(rows, loadRow{l, name, map[string]FileConsumerLoad{}})
					}
					rows[i].By[s.Strategy] = l
					if !slices.Contains(strategies, s.Strategy) {
						strategies = append(strategies, s.Strategy)
					}
				}
			}
		}
	}
	return rows, strategies
}

// droppedOrMasked is what a strategy dropped of a load, and what was sent again: "12/3036 + 4".
func (r loadRow) droppedOrMasked(strategy string) string {
	l, ran := r.By[strategy]
	switch {
	case !ran || l.Sent == 0:
		return None
	case l.Masked+l.ProxyMasked == 0:
		return ratio(l.Dropped, l.Sent)
	}
	return fmt.Sprintf("%s + %d", ratio(l.Dropped, l.Sent), l.Masked+l.ProxyMasked)
}

func loadColumns(strategies []string, keys ...Column[loadRow]) []Column[loadRow] {
	for _, s := range strategies {
		keys = append(keys, Number(s, func(r loadRow) string { return r.droppedOrMasked(s) }))
	}
	return keys
}

// protocolBlock is table D: the same strategies through HTTP/1.1, HTTP/2 and gRPC, on connections that
// are kept. Empty where nothing but HTTP/1.1 was sent.
func protocolBlock(all []FileConsumer) block {
	rows, strategies := loadRows(all, protocolConsumers, func(l FileConsumerLoad) bool {
		return l.Class == timeline.ClassKeptAlive
	})
	if !slices.ContainsFunc(rows, func(r loadRow) bool { return r.Driver != "http" }) {
		return block{}
	}
	return block{
		Heading: "Protocols: dropped of sent, + masked",
		Table: Tabulate(loadColumns(strategies,
			Key("consumer", func(r loadRow) string { return r.Consumer }),
			Key("protocol", func(r loadRow) string { return cmp.Or(protocols[r.Driver], r.Driver) }),
			Key("load", func(r loadRow) string { return r.Load })), [][]loadRow{rows}),
		List: []string{
			"on kept connections; masked: it went well when it was sent again without a word, as after GOAWAY",
			"rows of two consumers are of two rollouts: compare strategies within a consumer",
		},
	}
}

// retryBlock is table F: the same proxy without and with its own retries. Empty where only one of
// the two was run.
func retryBlock(all []FileConsumer) block {
	var parts [][]loadRow
	var strategies []string
	every := func(FileConsumerLoad) bool { return true }
	for _, p := range retryConsumers {
		off, of := loadRows(all, []string{p.Base}, every)
		on, _ := loadRows(all, []string{p.Other}, every)
		if len(off) == 0 || len(on) == 0 {
			continue
		}
		part := slices.Concat(off, on)
		slices.SortStableFunc(part, func(a, b loadRow) int { // the same load next to each other
			at := func(r loadRow) int { return slices.IndexFunc(part, func(o loadRow) bool { return o.Load == r.Load }) }
			return cmp.Compare(at(a), at(b))
		})
		parts, strategies = append(parts, part), of
	}
	if len(parts) == 0 {
		return block{}
	}
	retries := func(r loadRow) string {
		on := slices.ContainsFunc(retryConsumers, func(p pair) bool { return p.Other == r.Consumer })
		return map[bool]string{false: "off", true: "on"}[on]
	}
	count := func(of func(FileConsumerLoad) int) func(loadRow) string {
		return func(r loadRow) string {
			n := 0
			for _, l := range r.By {
				n += of(l)
			}
			return integer(n)
		}
	}
	columns := loadColumns(strategies,
		Key("load", func(r loadRow) string { return r.Load }),
		Key("retries", retries),
		Key("consumer", func(r loadRow) string { return r.Consumer }))
	return block{
		Heading: "A proxy's retries: dropped of sent, + masked",
		Table: Tabulate(append(columns, Number("masked by client", count(masked)),
			Number("masked by proxy", count(proxyMasked))), parts),
		List: []string{"masked by proxy: its access log says that it sent the request more than once, and it went well then"},
	}
}

// watchedBlock is the consumers that bring no requests: until when they looked at a Pod.
func watchedBlock(all []FileConsumer) block {
	watched := slices.DeleteFunc(slices.Clone(all), func(c FileConsumer) bool { return !c.Watched })
	if len(watched) == 0 {
		return block{}
	}
	blind := func(share float64) func(FileConsumer) string {
		return func(c FileConsumer) string {
			if len(c.BlindSeconds) == 0 {
				return None
			}
			var all []time.Duration
			for _, s := range c.BlindSeconds {
				all = append(all, length(s))
			}
			return hundredths(verdict.Percentile(all, share))
		}
	}
	columns := slices.Concat(consumerKeys(watched), arrivalColumns(), []Column[FileConsumer]{
		Number("p50", blind(0.5)).under("blind", "blind p50"),
		Number("max", blind(1)).under("blind", "blind max"),
	})
	return block{
		Heading: "Only watched", Table: Tabulate(columns, byMode(watched)),
		List: []string{
			"last arrival: the last scrape of a Pod, from its deletion; blind: from the last scrape to the end of its " +
				"process, of which nobody knows what the Pod did",
		},
	}
}

// consumersWithin is table A within so many lines: where not all fit, only those of the first mode of
// kube-proxy, which has the most.
func consumersWithin(all []FileConsumer, most int) []string {
	lines, parts := shortConsumers(all), byMode(all)
	if len(lines) > most && len(parts) > 1 {
		others := Count(len(all)-len(parts[0]), "row")
		return append(atMost(shortConsumers(parts[0]), most-1, "report.txt"),
			fmt.Sprintf("… and %s of kube-proxy in other modes: see report.txt", others))
	}
	return atMost(lines, most, "report.txt")
}

// shortConsumers is table A for a screen: one row a consumer.
func shortConsumers(all []FileConsumer) []string {
	columns := slices.Concat(consumerKeys(all)[:1], arrivalColumns(), []Column[FileConsumer]{
		Number("safe", FileConsumer.safe).under("delay", "safe delay"),
		Number("clean", func(c FileConsumer) string { return c.cleanWith(false) }).under("delay", "clean with"),
		Number("at once", func(c FileConsumer) string { return c.sum(c.freshClass(), FileConsumerStrategy.atOnce) }).
			under("new: dropped/sent", "new, at once"),
		Number("delayed", func(c FileConsumer) string { return c.sum(c.freshClass(), FileConsumerStrategy.delayed) }).
			under("new: dropped/sent", "new, delayed"),
		Number("kept", func(c FileConsumer) string { return c.sum(timeline.ClassKeptAlive, FileConsumerStrategy.delayed) }).
			under("delayed", "kept-alive, delayed"),
		Number("outage", FileConsumer.outage).under("1 replica", "outage of 1 replica"),
		Number("masked", maskedBoth).under("all", "masked").
			Unless(func(c FileConsumer) bool { return c.total(masked)+c.total(proxyMasked) == 0 }),
	})
	t := Tabulate(columns, byMode(all))
	for _, name := range []string{"masked", "p90", "kept", "n"} { // what is missing here is in report.txt
		i := slices.IndexFunc(t.Columns, func(h Header) bool { return h.Name == name })
		if i >= 0 && drawnWidth(t) > textWidth {
			var kept []int
			for k := range t.Columns {
				if k != i {
					kept = append(kept, k)
				}
			}
			t = t.pick(kept)
		}
	}
	if parts := byMode(all); len(parts) > 1 {
		for _, part := range parts {
			t.titles = append(t.titles, "kube-proxy "+known(part[0].ProxyMode))
		}
	}
	lines := draw(t)
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return lines
}
