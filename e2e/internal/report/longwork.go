package report

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// LongWork is what became, in a run, of work that outlives a grace period: of connections that clients held,
// in all lanes together, and of tasks from a queue. Times are absent where nothing tells them.
type LongWork struct {
	Clients      int `json:"clients,omitempty"` // of each lane
	Connections  int `json:"connections,omitempty"`
	Announced    int `json:"announced,omitempty"`
	Cut          int `json:"cut,omitempty"`
	Unattributed int `json:"unattributed,omitempty"`
	// until clients were back that had not left
	BackP50Seconds *float64 `json:"backP50Seconds,omitempty"`
	BackP99Seconds *float64 `json:"backP99Seconds,omitempty"`
	BackMaxSeconds *float64 `json:"backMaxSeconds,omitempty"`

	Tasks      int `json:"tasks,omitempty"`
	Finished   int `json:"finished,omitempty"`
	TasksCut   int `json:"tasksCut,omitempty"`
	HandedBack int `json:"handedBack,omitempty"`
	DoneTwice  int `json:"doneTwice,omitempty"`

	// the longest that an old release stayed when the next had taken its place; where releases are not told
	// apart, the whole rollout
	OldSeconds *float64 `json:"oldSeconds,omitempty"`
	// the connections of the first lane over time
	Lane string        `json:"lane,omitempty"`
	Over *FileHeldOver `json:"over,omitempty"`
}

// newLongWork is nil for a run without such work.
func newLongWork(run FileRun) *LongWork {
	var out LongWork
	var back []float64
	for _, l := range run.Lanes {
		h := l.Held
		if h == nil || !l.Outcome.Conclusive() {
			continue
		}
		out.Clients = max(out.Clients, h.Clients)
		out.Connections, out.Unattributed = out.Connections+h.Connections, out.Unattributed+h.Unattributed
		out.Announced, out.Cut = out.Announced+h.Announced, out.Cut+h.Cut
		back = append(back, h.BackSeconds...)
		if out.Over == nil && h.drawn() {
			out.Lane, out.Over = l.Lane, h.Over
		}
	}
	if len(back) > 0 {
		slices.Sort(back)
		out.BackP50Seconds, out.BackP99Seconds = new(verdict.Percentile(back, 0.50)), new(verdict.Percentile(back, 0.99))
		out.BackMaxSeconds = new(back[len(back)-1])
	}
	if t := run.Tasks; t != nil {
		out.Tasks, out.Finished, out.TasksCut = t.Given, t.Finished, t.Cut
		out.HandedBack, out.DoneTwice = t.HandedBack, t.DoneTwice
	}
	if out.Connections+out.Tasks == 0 {
		return nil
	}
	out.OldSeconds = run.oldSeconds()
	return &out
}

func (run FileRun) oldSeconds() *float64 {
	if len(run.Releases) == 0 && run.PodsReplaced > 0 {
		return new(run.RolloutSeconds)
	}
	var longest *float64
	for i, r := range run.Releases {
		away := r.AwaySeconds
		if away == nil && r.SwitchedSeconds == nil && i+1 < len(run.Releases) { // nobody switches: it is a rollout
			away = run.Releases[i+1].ReadySeconds
		}
		if away != nil && r.GoneSeconds != nil {
			longest = new(thousandths(max(value(longest), *r.GoneSeconds-*away)))
		}
	}
	return longest
}

// longRun is a run with such work, and the measurement that it is from.
type longRun struct {
	RunFigures
	LongWork
	Of ResultsFile
}

// longRuns are the newest run of each strategy under each disruption with as many clients, but for those
// without a disruption.
func longRuns(files []ResultsFile) []longRun {
	type key struct {
		strategy, disruption string
		clients              int
	}
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b ResultsFile) int { return b.Measured.Compare(a.Measured) })
	var out []longRun
	seen := map[key]bool{}
	for _, f := range files {
		for _, run := range f.Figures {
			if w := run.LongWork; w != nil && run.PodsDeleted+run.PodsReplaced > 0 {
				k := key{run.Strategy, run.Disruption, w.Clients}
				if !seen[k] {
					seen[k], out = true, append(out, longRun{run, *w, f})
				}
			}
		}
	}
	return out
}

func longColumns() []Column[longRun] {
	seconds := func(of func(LongWork) *float64) func(longRun) string {
		return func(r longRun) string {
			if s := of(r.LongWork); s != nil {
				return Duration(length(*s))
			}
			return None
		}
	}
	count := func(all, of func(LongWork) int) func(longRun) string {
		return func(r longRun) string {
			if all(r.LongWork) == 0 {
				return None
			}
			return integer(of(r.LongWork))
		}
	}
	held := func(of func(LongWork) int) func(longRun) string {
		return count(func(w LongWork) int { return w.Connections }, of)
	}
	tasks := func(of func(LongWork) int) func(longRun) string {
		return count(func(w LongWork) int { return w.Tasks }, of)
	}
	return []Column[longRun]{
		Key("disruption", func(r longRun) string { return Plain(r.Disruption) }),
		Key("strategy", func(r longRun) string { return Plain(r.Strategy) }),
		Number("clients", held(func(w LongWork) int { return w.Clients })),
		Number("connections", held(func(w LongWork) int { return w.Connections })),
		Number("cut", held(func(w LongWork) int { return w.Cut })),
		Number("announced", held(func(w LongWork) int { return w.Announced })),
		Number("back p50", seconds(func(w LongWork) *float64 { return w.BackP50Seconds })),
		Number("p99", seconds(func(w LongWork) *float64 { return w.BackP99Seconds })),
		Number("max", seconds(func(w LongWork) *float64 { return w.BackMaxSeconds })),
		Number("tasks", tasks(func(w LongWork) int { return w.Tasks })),
		Number("finished", tasks(func(w LongWork) int { return w.Finished })),
		Number("tasks cut", tasks(func(w LongWork) int { return w.TasksCut })),
		Number("handed back", tasks(func(w LongWork) int { return w.HandedBack })),
		Number("done twice", tasks(func(w LongWork) int { return w.DoneTwice })),
		Number("extra Pod-s", func(r longRun) string { return podSeconds(r.ExtraPodSeconds) }),
		Number("most Pods", func(r longRun) string { return integer(r.PeakPods) }),
		Number("old release up", seconds(func(w LongWork) *float64 { return w.OldSeconds })),
	}
}

// longNotes are the words of longColumns.
var longNotes = []string{
	"connections: those that clients held, of all lanes together; each client stays for 5 to 60 s. cut: without a " +
		"word; announced: by a close frame, the end of a stream, GOAWAY",
	"back: how long clients were without a connection that had not left",
	"tasks stand for work of hours, scaled. cut: at SIGKILL; another Pod does them anew",
	"extra Pod-s: what Pods ran for beyond the replicas",
	"old release up: the longest that one stayed when the next had taken its place",
}

// longWork is what each way to stop, and to release, does to work that outlives a grace period.
func longWork(m model) section {
	var runs []longRun
	for _, r := range slices.Concat(m.Parts...) {
		for _, v := range r.conclusive().Runs {
			run := newRunFigures(newFileRun(v, m.Cluster))
			if w := run.LongWork; w != nil {
				runs = append(runs, longRun{RunFigures: run, LongWork: *w})
			}
		}
	}
	if len(runs) == 0 {
		return section{}
	}
	return section{Title: "Work that outlives a grace period", Blocks: []block{{
		Text:  "What became of held connections and long tasks, and what it cost, run by run.",
		Table: Tabulate(longColumns(), [][]longRun{runs}), List: longNotes,
	}}}
}

// LongWorkResults is the table of RESULTS.md on ways to stop and to release, of all that is kept.
func LongWorkResults(files []ResultsFile) string {
	runs := longRuns(files)
	if len(runs) == 0 {
		return "Nothing is kept yet: `make long` measures, `make results` keeps it.\n"
	}
	var commands []string
	for _, r := range runs {
		line := fmt.Sprintf("%s (%s, %s)", "`"+r.Of.Command+"`", r.Of.Measured.Format(time.DateOnly), r.Of.Commit)
		if !slices.Contains(commands, line) {
			commands = append(commands, line)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Generated from [results](results) by `make results`: %s.\n\n%s\n", strings.Join(commands, ", "),
		markdownTable(Tabulate(longColumns(), [][]longRun{runs})))
	for _, note := range longNotes {
		fmt.Fprintf(&b, "- %s\n", note)
	}
	if slices.ContainsFunc(runs, func(r longRun) bool { return r.Over != nil }) {
		b.WriteString("\n![Connections with each Pod over time, by disruption and strategy](held.svg)\n")
	}
	return b.String()
}

// HeldImage is the picture of RESULTS.md, as SVG: connections over time, of all that is kept; empty for
// nothing.
func HeldImage(files []ResultsFile) (string, error) {
	var runs []FileRun
	for _, r := range longRuns(files) {
		if r.Over == nil {
			continue
		}
		h := &FileHeld{Announced: r.Announced, Cut: r.Cut, Over: r.Over}
		runs = append(runs, FileRun{
			Strategy: r.Strategy, Disruption: r.Disruption, Lanes: []FileLane{{Lane: r.Lane, Held: h}},
		})
	}
	if len(runs) == 0 {
		return "", nil
	}
	const top, between = 40, 28 // pixels
	image := struct {
		heldChart
		Step []int // where each row begins
		High int
	}{heldChart: newHeldChart(runs), High: top}
	for range image.Rows {
		image.Step = append(image.Step, image.High)
		image.High += heldChartHeight + between
	}
	var out bytes.Buffer
	if err := pages.ExecuteTemplate(&out, "held.svg", image); err != nil {
		return "", fmt.Errorf("draw connections over time: %w", err)
	}
	return out.String(), nil
}

// longDeciders are those of the kinds of figures that are about work that outlives a grace period.
var longDeciders = map[scenarios.Figure]decider{
	scenarios.EndsConnections: ofLongWork(func(w LongWork) (string, bool) {
		if w.Connections == 0 {
			return "", false
		}
		text := fmt.Sprintf("%d cut and %d announced of %d", w.Cut, w.Announced, w.Connections)
		if w.BackMaxSeconds != nil {
			text += fmt.Sprintf(", back after %s at most", Duration(length(*w.BackMaxSeconds)))
		}
		return text, w.Cut+w.Announced > 0
	}),
	scenarios.CutsTasks: ofLongWork(func(w LongWork) (string, bool) {
		if w.Tasks == 0 {
			return "", false
		}
		return fmt.Sprintf("%d of %s cut", w.TasksCut, Count(w.Tasks, "task")), w.TasksCut > 0
	}),
	scenarios.KeepsWork: ofLongWork(func(w LongWork) (string, bool) {
		var words []string
		if w.Connections > 0 {
			words = append(words, fmt.Sprintf("%d cut and %d announced of %d connections", w.Cut, w.Announced, w.Connections))
		}
		if w.Tasks > 0 {
			words = append(words, fmt.Sprintf("%d of %s cut", w.TasksCut, Count(w.Tasks, "task")))
		}
		return strings.Join(words, ", "), w.Cut+w.Announced+w.TasksCut+w.HandedBack == 0
	}),
	scenarios.LooksAway: looksAway,
}

// ofLongWork is decided by the work of all runs together; the text is empty where none of these has any.
func ofLongWork(read func(LongWork) (text string, holds bool)) decider {
	return func(s scenarios.Statement, f ResultsFile) (out []point) {
		for _, same := range groupBy(runsOf(s, f), func(r RunFigures) string { return r.along(s) }) {
			var sum LongWork
			for _, run := range same.items {
				if w := run.LongWork; w != nil {
					sum = sum.with(*w)
				}
			}
			if text, holds := read(sum); text != "" {
				out = append(out, point{of: same.key, text: text, holds: holds})
			}
		}
		return out
	}
}

// with is the work of both, as far as it can be counted.
func (w LongWork) with(o LongWork) LongWork {
	out := LongWork{
		Connections: w.Connections + o.Connections, Announced: w.Announced + o.Announced, Cut: w.Cut + o.Cut,
		Tasks: w.Tasks + o.Tasks, TasksCut: w.TasksCut + o.TasksCut, HandedBack: w.HandedBack + o.HandedBack,
		BackMaxSeconds: cmp.Or(w.BackMaxSeconds, o.BackMaxSeconds),
	}
	if w.BackMaxSeconds != nil && o.BackMaxSeconds != nil {
		out.BackMaxSeconds = new(max(*w.BackMaxSeconds, *o.BackMaxSeconds))
	}
	return out
}

// looksAway holds where a consumer that only watches looked at no Pod in the second half of the time for
// which the Pod served on after its deletion.
func looksAway(s scenarios.Statement, f ResultsFile) (out []point) {
	if len(f.Consumers) == 0 {
		return nil
	}
	for _, c := range f.Consumers {
		if c.ProxyMode != f.Consumers[0].ProxyMode || !wants(s.Consumers, c.Consumer) {
			continue
		}
		pods, late := 0, 0
		last, served := 0.0, 0.0
		for _, r := range c.Removals {
			if r.DelaySeconds == 0 {
				continue
			}
			pods++
			last, served = max(last, r.Seconds), max(served, r.DelaySeconds)
			if r.Seconds > r.DelaySeconds/2 {
				late++
			}
		}
		if pods > 0 {
			text := fmt.Sprintf("last looks up to %s after deletions, Pods serve for %s",
				Duration(length(last)), Duration(length(served)))
			out = append(out, point{of: c.Consumer, text: text, holds: late == 0})
		}
	}
	return out
}
