package report

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// What fits on a screen.
const (
	SummaryLines = 40 // of a Summary, whatever there is to tell
	mostRows     = 25 // of its table: a longer one shows only the runs that went wrong
	leastFound   = 6  // lines that findings get if the table would take them all
	mostSafe     = 16 // lines of safe delays
)

// exposure is what became of the requests of one class that one consumer brought.
type exposure struct {
	Consumer      string
	Outside       bool
	Dropped, Sent int
	Failed        bool // some were dropped that must not be
}

func (e exposure) share() float64 { return float64(e.Dropped) / float64(max(1, e.Sent)) }

// exposures are the consumers of the row that brought requests of a class, in the order of the
// lanes. Every request can be in flight; on new or kept connections are those of the lanes that use
// them.
func (m model) exposures(r row, class timeline.Class) []exposure {
	var out []exposure
	for _, lane := range m.Lanes {
		a := r.lane(lane.Name)
		if a.Sent == 0 || class != timeline.ClassInFlight && lane.ConnectionClass() != class {
			continue
		}
		name := cmp.Or(lane.Consumer, lane.Name)
		i := slices.IndexFunc(out, func(e exposure) bool { return e.Consumer == name })
		if i < 0 {
			i, out = len(out), append(out, exposure{Consumer: name, Outside: m.outside(lane)})
		}
		out[i].Dropped += a.Classes[class]
		out[i].Sent += a.Sent
		out[i].Failed = out[i].Failed || a.FailedIn[class]
	}
	return out
}

// outside says that a lane is sent from outside and others are not.
func (m model) outside(l timeline.LaneSpec) bool { return fromOutside(l) && !fromOutside(m.Lanes[0]) }

// worst is the consumer that a reader has to know of: one that dropped what must not be dropped,
// else the one within the cluster that dropped the greatest share, else the one outside. Where none
// dropped anything it is all of those within the cluster together, and has no name.
func worst(all []exposure) exposure {
	rank := func(e exposure) float64 { // shares are at most 1
		switch {
		case e.Failed:
			return 4 + e.share()
		case e.Dropped > 0 && !e.Outside:
			return 2 + e.share()
		}
		return e.share()
	}
	inside := slices.ContainsFunc(all, func(e exposure) bool { return !e.Outside })
	var out, none exposure
	for _, e := range all {
		if rank(e) > rank(out) {
			out = e
		}
		if !e.Outside || !inside {
			none.Sent += e.Sent
		}
	}
	if out.Consumer == "" {
		return none
	}
	return out
}

// drops is the cell of a class: the worst consumer's ratio. With names, it begins with the first
// consumer's, which is what most readers ask about, and names the worst if that is another.
func (m model) drops(r row, class timeline.Class, named bool) string {
	all := m.exposures(r, class)
	if len(all) == 0 {
		return None
	}
	e := worst(all)
	out := e.ratio()
	if named && e.Consumer != "" && e.Consumer != all[0].Consumer {
		return all[0].ratio() + "; " + Plain(e.Consumer) + " " + out
	}
	return out
}

// ratio is dropped/sent, marked if that must not be.
func (e exposure) ratio() string {
	out := ratio(e.Dropped, e.Sent)
	if e.Failed {
		return failMark + " " + out
	}
	return out
}

// classes are those that requests of these runs have.
func (m model) classes() []timeline.Class {
	return slices.DeleteFunc(timeline.Classes(), func(class timeline.Class) bool {
		return !slices.ContainsFunc(slices.Concat(m.Parts...), func(r row) bool { return len(m.exposures(r, class)) > 0 })
	})
}

// late is how many requests of the row were answered late, on all lanes.
func (m model) late(r row) int { return r.lanes(names(m.Lanes)).Late }

// needed is how long a Pod has to go on serving after its deletion for new connections.
func (m model) needed(r row) aggregate {
	fresh, _ := kinds(m.proxied().Lanes)
	return r.lanes(fresh)
}

func given(r row) string {
	if r.Delay == 0 {
		return None
	}
	return r.Delay.String()
}

func rolloutOf(v verdict.Verdict) (float64, bool) { return float64(v.Rollout), v.Rollout > 0 }
func extraOf(v verdict.Verdict) (float64, bool)   { return v.ExtraPodSeconds, true }
func podSeconds(s float64) string                 { return fmt.Sprintf("%.1f", s) }

// summaryTable is strategy × disruption in one table: what each row dropped, the delay that it
// needed, and what it cost.
func (m model) summaryTable(parts [][]row) Table {
	columns := []Column[row]{Key("result", row.resultCell), Key("strategy", row.label), disruptionColumn, repeatColumn}
	group := "dropped of sent"
	if consumers := groupBy(m.Lanes, func(l timeline.LaneSpec) string { return l.Consumer }); len(consumers) > 1 {
		group += fmt.Sprintf(": %s; worst", Plain(consumers[0].key))
	}
	for _, class := range m.classes() {
		c := Number(string(class), func(r row) string { return m.drops(r, class, class == timeline.ClassNew) })
		c.Left = class == timeline.ClassNew
		columns = append(columns, c.under(group, string(class)+": dropped/sent"))
	}
	late := Number("late", func(r row) string { return integer(m.late(r)) })
	needed := Number("needed", func(r row) string { return m.needed(r).delay() })
	rollout := Number("took", func(r row) string {
		return r.median(rolloutOf, func(d float64) string { return Duration(time.Duration(d)) })
	})
	extra := Number("Pod-s", func(r row) string {
		return r.median(extraOf, podSeconds)
	})
	return Tabulate(append(columns, late.under(group, "late"),
		needed.under("delay", "delay needed"), Number("given", given).under("delay", "delay given"),
		rollout.under("cost", "rollout"), extra.under("cost", "extra Pod-seconds")), parts)
}

// findings is what the runs tell, a line each, what matters most first.
func findings(m model) []string {
	out := append(append(reasons(m), retries(m)...), m.ReferenceNotes...)
	out = append(out, m.patterns()...)
	if line := lateLine(m); line != "" {
		out = append(out, line)
	}
	out = slices.Concat(out, m.heldNotes(), m.taskNotes(), m.graceNotes(), m.withdrawalNotes(), m.releaseNotes())
	type gap struct{ run, text string }
	var gaps []gap
	for _, v := range m.Suite.Runs {
		if len(v.Restarted) > 0 {
			out = append(out, m.name(v)+": "+strings.Join(plains(v.Restarted), "; "))
		}
		for _, text := range v.Unseen {
			gaps = append(gaps, gap{m.name(v), Plain(text)})
		}
	}
	for _, same := range groupBy(gaps, func(g gap) string { return g.text }) {
		var runs []string
		for _, g := range same.items {
			runs = append(runs, g.run)
		}
		out = append(out, Enumerate(runs)+": "+same.key)
	}
	for _, part := range m.Parts {
		out = append(out, slices.DeleteFunc(m.compare(part), func(line string) bool {
			return !strings.HasPrefix(line, moreThanNoise)
		})...)
	}
	rows := slices.Concat(m.Parts...)
	if line := m.zeros(rows); line != "" {
		out = append(out, line)
	}
	if n := len(m.NotRun); n > 0 {
		out = append(out, fmt.Sprintf("not run: %s, each with its reason in report.txt", Count(n, "cell")))
	}
	if len(rows) > 0 && !live(rows) && !slices.ContainsFunc(rows, func(r row) bool { return r.Control }) {
		out = append(out, "no control was run with these: nothing shows that the instrument would have seen a dropped "+
			"request (run no-handler, too)")
	}
	return out
}

// live says that it is about what runs in somebody else's cluster: there is one run, and no control.
func live(rows []row) bool {
	return slices.ContainsFunc(rows, func(r row) bool { return r.Target != nil && r.Target.Live })
}

// narrowing says how to know more of what one run doesn't show.
func narrowing(rows []row) string {
	if live(rows) {
		return ""
	}
	return "; -repeat narrows it"
}

// retries names the runs that were made a second time, as the machine was too busy for the first.
func retries(m model) []string {
	var out []string
	for _, v := range m.Suite.Runs {
		if len(v.Retry) > 0 {
			out = append(out, fmt.Sprintf("made again once, as the machine was busy: %s (%s)",
				m.name(v), strings.Join(plains(v.Retry), "; ")))
		}
	}
	return out
}

// patterns says which strategies dropped nothing, and what the others dropped where, under all
// disruptions together: strategies that dropped alike share a line. Only conclusive runs count;
// what failed is told with its reasons.
func (m model) patterns() []string {
	rows := slices.DeleteFunc(slices.Concat(m.Parts...), func(r row) bool {
		return r.Control || slices.ContainsFunc(m.Suite.Runs, func(v verdict.Verdict) bool {
			return v.Spec.Strategy == r.Strategy && ResultOf(v) == Failed
		})
	})
	for i := range rows {
		rows[i] = rows[i].conclusive()
	}
	rows = slices.DeleteFunc(rows, func(r row) bool { return len(r.Runs) == 0 })
	type told struct{ strategy, dropped string }
	var all []told
	lanes := names(m.Lanes)
	for _, same := range groupBy(rows, func(r row) string { return r.Strategy }) {
		var parts []string
		for _, class := range m.classes() {
			var at []string
			consumers := map[string]bool{}
			for _, r := range same.items {
				for _, e := range m.exposures(r, class) {
					consumers[e.Consumer] = true
					if e.Dropped > 0 && !slices.Contains(at, e.Consumer) {
						at = append(at, e.Consumer)
					}
				}
			}
			switch {
			case len(at) == len(consumers) && len(at) > 0:
				parts = append(parts, string(class))
			case len(at) > 0:
				parts = append(parts, fmt.Sprintf("%s (%s)", class, Enumerate(at)))
			}
		}
		if slices.ContainsFunc(same.items, row.cutsHeld) {
			parts = append(parts, "connections that clients held")
		}
		if slices.ContainsFunc(same.items, func(r row) bool { return slices.ContainsFunc(r.Runs, cutsTasks) }) {
			parts = append(parts, "long tasks")
		}
		if len(parts) == 0 && slices.ContainsFunc(same.items, func(r row) bool { return r.lanes(lanes).dropped() }) {
			parts = []string{"only what the client sent again by itself (masked)"}
		}
		all = append(all, told{same.key, Enumerate(parts)})
	}
	slices.SortStableFunc(all, func(a, b told) int { return cmp.Compare(len(a.dropped), len(b.dropped)) })
	var out []string
	for _, same := range groupBy(all, func(t told) string { return t.dropped }) {
		var strategies []string
		for _, t := range same.items {
			strategies = append(strategies, t.strategy)
		}
		if same.key == "" {
			out = append(out, Clean.String()+": "+Enumerate(strategies))
		} else {
			out = append(out, fmt.Sprintf("%s by %s: %s", Dropped, Enumerate(strategies), same.key))
		}
	}
	return out
}

// zeros says what a zero is worth: for the row of the fewest conclusive rollouts, and the lane that
// sees the least; "" where no rollout is conclusive.
func (m model) zeros(rows []row) string {
	fewest, outage := 0, time.Duration(0)
	for _, r := range rows {
		n, a := len(r.conclusive().Runs), r.lanes(names(m.Lanes))
		if n > 0 && a.Deleted > 0 && (fewest == 0 || n < fewest) {
			fewest = n
		}
		outage = max(outage, a.MinDetectableOutage)
	}
	if fewest == 0 {
		return ""
	}
	return fmt.Sprintf("a 0 is of %s: up to %s of all rollouts may still drop some (95 %% confidence%s); outages below "+
		"%s may be missed", Count(fewest, "rollout"), percent(verdict.ClopperPearson(0, fewest)), narrowing(rows),
		Duration(outage))
}

// lateLine says where answers came late; "" if none did.
func lateLine(m model) string {
	total := 0
	var most aggregate
	for _, a := range slices.Concat(m.having(func(a aggregate) bool { return a.Late > 0 })...) {
		if total += a.Late; a.Late > most.Late {
			most = a
		}
	}
	if total == 0 {
		return ""
	}
	return fmt.Sprintf("late: %s answered over a second late, not counted as dropped; most (%d) on %s in %s",
		Count(total, "request"), most.Late, most.Lane, most.Name())
}

// Summary writes what people see first: the outcome, one table, the findings in a line each and
// where the page is, in SummaryLines lines at most. Safe delays come before the table, as they are
// what was asked for. With colour, results have theirs.
func Summary(w io.Writer, r Report, delays []SafeDelay, colour bool) error {
	out := strings.Join(summaryLines(newModel(r), delays), "\n") + "\n"
	if colour {
		for _, result := range Results() {
			out = strings.ReplaceAll(out, result.String(), "\x1b["+looks[result].colour+"m"+result.String()+"\x1b[0m")
		}
	}
	if _, err := io.WriteString(w, out); err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	return nil
}

func summaryLines(m model, delays []SafeDelay) []string {
	lines := []string{verdictLine(m.Suite), "  " + shortFacts(m)}
	if safe := shortSafeDelays(delays); len(safe) > 0 {
		lines = append(append(lines, ""), atMost(safe, mostSafe, "safe-delay.txt")...)
	}
	if answer := m.answer(); answer != "" {
		var t textWriter
		t.lines("", answer)
		lines = append(append(lines, ""), atMost(slices.Collect(strings.Lines(t.out.String())), mostSafe, "report.txt")...)
	}
	closing := []string{
		"", "Page: " + filepath.Join(Plain(m.Artifacts), "index.html"),
		"The whole report is beside it in report.txt; -verbose-report prints it here.",
	}
	found := findings(m)
	room := SummaryLines - len(lines) - len(closing) - 2 // blank lines around the table
	table := m.shortTable(room - min(len(found), leastFound))
	if all := m.consumers(); len(all) > 0 {
		table = consumersWithin(all, room-min(len(found), leastFound/2))
	}
	if all := newFileServers(m.Report); len(all) > 0 {
		table = serversWithin(all, room-min(len(found), leastFound/2))
	}
	if len(table) > 0 {
		lines = append(append(lines, ""), table...)
	}
	if room = SummaryLines - len(lines) - len(closing) - 1; len(found) > 0 && room > 0 {
		var whole textWriter
		for _, finding := range found {
			whole.wrapped("", "  ", finding)
		}
		if wrapped := slices.Collect(strings.Lines(whole.out.String())); len(wrapped) <= room {
			found = wrapped
		}
		lines = append(append(lines, ""), atMost(found, room, "report.txt")...)
	}
	lines = append(lines, closing...)
	for i, line := range lines {
		if !strings.HasPrefix(line, "Page: ") { // a path that is cut leads nowhere
			lines[i] = text.Snip(strings.TrimRight(line, " \n"), textWidth, "…")
		}
	}
	return lines
}

// atMost is the first lines, and where the others are.
func atMost(lines []string, most int, where string) []string {
	if len(lines) <= most {
		return lines
	}
	return append(slices.Clone(lines[:most-1]), fmt.Sprintf("… and %d more: see %s", len(lines)-most+1, where))
}

// shortTable is the summary's table within so many lines: all rows, or those that went wrong and
// how many others there are.
func (m model) shortTable(most int) []string {
	rows := slices.Concat(m.Parts...)
	if len(rows) == 0 {
		return nil
	}
	if lines := m.summaryTable(m.Parts).fit(textWidth); len(rows) <= mostRows && len(lines) <= most {
		return lines
	}
	left := row{}
	var bad [][]row
	for _, part := range m.Parts {
		var kept []row
		for _, r := range part {
			if r.result() != Clean && r.result() != Dropped {
				kept = append(kept, r)
			} else {
				left.Runs = append(left.Runs, r.Runs...)
			}
		}
		if len(kept) > 0 {
			bad = append(bad, kept)
		}
	}
	var lines []string
	if len(bad) > 0 {
		lines = atMost(m.summaryTable(bad).fit(textWidth), most-1, "index.html")
	}
	if len(left.Runs) > 0 {
		noun := map[bool]string{false: "run", true: "other run"}[len(bad) > 0]
		lines = append(lines, fmt.Sprintf("%s as expected, %s and %s: each is in index.html and report.txt",
			Count(len(left.Runs), noun), fmt.Sprint(left.count(Clean), " ", Clean),
			fmt.Sprint(left.count(Dropped), " ", Dropped)))
	}
	return lines
}

// shortFacts is where and how this was measured, in a line.
func shortFacts(m model) string {
	parts := []string{
		"Kubernetes " + known(m.Cluster.Kubernetes), nodesOf(m.Cluster),
		"kube-proxy " + known(m.Cluster.ProxyMode), "profile " + known(m.Profile), Count(m.Rate, "request") + "/s per lane",
	}
	if m.Replay {
		parts = append(parts, "judged again from stored timelines")
	} else if m.Elapsed > 0 {
		parts = append(parts, "took "+span(m.Elapsed))
	}
	return strings.Join(parts, " · ")
}
