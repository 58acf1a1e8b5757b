package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// ResultsSchema names the contract of the files in scenarios/results.
const ResultsSchema = "zerodrop.results/v1"

// ResultsFile is a measurement as it is kept: what a report.json says of consumers, or where it
// compares none of its runs, when and how that was measured, and a checksum. Nobody writes one by
// hand.
type ResultsFile struct {
	Schema         string               `json:"schema"`
	Measured       time.Time            `json:"measured"` // start of the suite
	Commit         string               `json:"commit"`   // that wrote it down
	Command        string               `json:"command"`
	Outcome        verdict.Outcome      `json:"outcome"`
	Profile        string               `json:"profile"`
	Rate           int                  `json:"rate"` // requests/s per lane, at most
	ElapsedSeconds float64              `json:"elapsedSeconds"`
	Runs           int                  `json:"runs"`
	Inconclusive   int                  `json:"inconclusive"` // of the runs
	Cluster        timeline.Environment `json:"cluster"`
	// Figures are those of conclusive runs, and Consumers what all runs together say of them.
	Figures   []RunFigures   `json:"figures,omitempty"`
	Consumers []FileConsumer `json:"consumers,omitempty"`
	Sequences []FileSequence `json:"sequences,omitempty"` // that a statement of the article asks for
	Servers   []FileServer   `json:"servers,omitempty"`   // that know nothing of what measures them
}

// RunFigures is what is kept of a run.
type RunFigures struct {
	Strategy        string        `json:"strategy"`
	Disruption      string        `json:"disruption"`
	PodsReplaced    int           `json:"podsReplaced"`
	PodsDeleted     int           `json:"podsDeleted"`
	PeakPods        int           `json:"peakPods"`
	RolloutSeconds  float64       `json:"rolloutSeconds"`
	ExtraPodSeconds float64       `json:"extraPodSeconds"`
	Lanes           []LaneFigures `json:"lanes"`
	// Only where there is such work.
	LongWork *LongWork `json:"longWork,omitempty"`
	// Only where a statement of the article asks for them.
	Pods         *FilePods         `json:"pods,omitempty"`
	Terminations []FileTermination `json:"terminations,omitempty"`
	Controllers  *FileControllers  `json:"controllers,omitempty"`
}

// LaneFigures is what is kept of a conclusive lane.
type LaneFigures struct {
	Lane     string `json:"lane"`
	Consumer string `json:"consumer"`
	Sent     int    `json:"sent"`
	// of each class that its requests can have; those that were sent again count
	Dropped map[timeline.Class]int `json:"dropped"`
	AtStart int                    `json:"atStart,omitempty"` // of the dropped: by Pods that didn't listen yet
	// the longest time from a deletion to the last arrival; 0 for none
	LastSeconds float64 `json:"lastSeconds"`
	UntilEnd    int     `json:"untilEnd,omitempty"` // Pods that got requests until their own end
}

// Condense is what is kept of a report: of profiles consumers and servers what its runs say together
// of each; of others its runs. One with neither, or of which nobody knows when it
// was measured, is an error.
func Condense(f File, commit, command string) (ResultsFile, error) {
	out, err := condensed(f)
	switch f.Profile {
	case ConsumersProfile, ServersProfile:
		out.Figures, out.Sequences = nil, nil
	default:
		out.Consumers = nil // a disruption that is about some measures those for itself
	}
	switch {
	case err != nil:
		return ResultsFile{}, err
	case len(out.Consumers)+len(out.Servers)+len(out.Figures) == 0:
		return ResultsFile{}, errors.New("condense report: it has neither consumers nor a conclusive run")
	case commit == "" || command == "":
		return ResultsFile{}, errors.New("condense report: commit and command have to be told")
	}
	out.Commit, out.Command = commit, command
	return out, nil
}

// condensed is a report with all that statements are decided by. Runs that were measured elsewhere
// than the report says are left out.
func condensed(f File) (ResultsFile, error) {
	if f.Started == nil {
		return ResultsFile{}, errors.New("condense report: it doesn't say when it was measured")
	}
	out := ResultsFile{
		Schema: ResultsSchema, Measured: f.Started.UTC(), Outcome: f.Outcome, Profile: f.Profile, Rate: f.Rate,
		ElapsedSeconds: f.ElapsedSeconds, Runs: len(f.Runs), Cluster: f.Cluster, Consumers: f.Consumers, Servers: f.Servers,
	}
	for _, run := range f.Runs {
		switch {
		case !run.Conclusive:
			out.Inconclusive++
		case run.Cluster == nil:
			out.Figures = append(out.Figures, newRunFigures(run))
		}
	}
	for _, s := range f.Sequences {
		if asked(s.Strategy, s.Disruption, ofSteps) {
			out.Sequences = append(out.Sequences, s)
		}
	}
	return out, nil
}

func newRunFigures(run FileRun) RunFigures {
	out := RunFigures{
		Strategy: run.Strategy, Disruption: run.Disruption, PodsReplaced: run.PodsReplaced, PodsDeleted: run.PodsDeleted,
		PeakPods: run.PeakPods, RolloutSeconds: run.RolloutSeconds, ExtraPodSeconds: run.ExtraPodSeconds,
		Lanes: []LaneFigures{}, LongWork: newLongWork(run),
	}
	if asked(run.Strategy, run.Disruption, ofPods) {
		out.Pods = run.Pods
	}
	if asked(run.Strategy, run.Disruption, ofEnds) {
		out.Terminations = run.Terminations
	}
	if asked(run.Strategy, run.Disruption, ofControllerFigures) {
		out.Controllers = run.Controllers
	}
	for _, l := range run.Lanes {
		if !l.Outcome.Conclusive() {
			continue
		}
		lane := LaneFigures{
			Lane: l.Lane, Consumer: l.Consumer, Sent: l.Sent, Dropped: map[timeline.Class]int{},
			AtStart: l.Phases[verdict.StartUp],
		}
		for _, c := range l.Classes {
			lane.Dropped[c.Class] = c.Dropped + c.Masked
		}
		for _, a := range l.Arrivals {
			if lane.LastSeconds = max(lane.LastSeconds, a.Seconds); a.Censored {
				lane.UntilEnd++
			}
		}
		out.Lanes = append(out.Lanes, lane)
	}
	return out
}

// Name is the name of the measurement's file.
func (f ResultsFile) Name() string { return f.Measured.Format("2006-01-02-150405") + ".json" }

// sumOf is the line that ends a file of results: a checksum of all bytes before it.
func sumOf(before []byte) string {
	return fmt.Sprintf("  \"sum\": \"sha256:%x\"\n}\n", sha256.Sum256(before))
}

// Write writes what ReadResults reads: a run or a consumer a line, and the checksum.
func (f ResultsFile) Write(w io.Writer) error {
	head := f
	head.Figures, head.Consumers, head.Sequences, head.Servers = nil, nil, nil, nil
	out, err := json.MarshalIndent(head, "", "  ")
	out = bytes.TrimSuffix(out, []byte("\n}"))
	if err == nil {
		out, err = appendList(out, "figures", f.Figures)
	}
	if err == nil {
		out, err = appendList(out, "consumers", f.Consumers)
	}
	if err == nil {
		out, err = appendList(out, "sequences", f.Sequences)
	}
	if err == nil {
		out, err = appendList(out, "servers", f.Servers)
	}
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	out = append(out, ",\n"...)
	if _, err := w.Write(append(out, sumOf(out)...)); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// appendList appends a field whose items have a line each; none for no items.
func appendList[T any](out []byte, name string, items []T) ([]byte, error) {
	for i, item := range items {
		line, err := json.Marshal(item)
		if err != nil {
			return nil, fmt.Errorf("%s %d: %w", name, i, err)
		}
		before := ",\n    "
		if i == 0 {
			before = fmt.Sprintf(",\n  %q: [\n    ", name)
		}
		out = append(append(out, before...), line...)
	}
	if len(items) > 0 {
		out = append(out, "\n  ]"...)
	}
	return out, nil
}

// errEdited is the guarantee of a file of results: its numbers are those that were measured.
var errEdited = errors.New("the checksum doesn't hold: it was edited after it had been written")

// ReadResults reads a file of results. One of another schema, or that was edited, is an error.
func ReadResults(r io.Reader) (ResultsFile, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return ResultsFile{}, fmt.Errorf("read results: %w", err)
	}
	var f struct {
		ResultsFile
		Sum string `json:"sum"`
	}
	if err := readJSON(bytes.NewReader(raw), ResultsSchema, &f); err != nil {
		return ResultsFile{}, fmt.Errorf("read results: %w", err)
	}
	at := bytes.LastIndex(raw, []byte("  \"sum\": "))
	if at < 0 || string(raw[at:]) != sumOf(raw[:at]) {
		return ResultsFile{}, fmt.Errorf("read results: %w", errEdited)
	}
	return f.ResultsFile, nil
}

// kept is the newest measurement of a consumer, and the one before.
type kept struct {
	FileConsumer
	Of     ResultsFile
	Before *FileConsumer
}

// newest is each consumer's newest measurement, under each mode of kube-proxy, in the order in which
// they were first measured. One with fewer loads, as where a consumer only went along as the
// reference of others, doesn't take the place of one with all.
func newest(files []ResultsFile) []kept {
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b ResultsFile) int { return a.Measured.Compare(b.Measured) })
	var out []kept
	for _, f := range files {
		for _, c := range f.Consumers {
			i := slices.IndexFunc(out, func(k kept) bool { return k.Consumer == c.Consumer && k.ProxyMode == c.ProxyMode })
			switch {
			case i < 0:
				out = append(out, kept{FileConsumer: c, Of: f})
			case c.loads() > out[i].loads():
				out[i] = kept{FileConsumer: c, Of: f}
			case c.loads() == out[i].loads():
				out[i] = kept{c, f, new(out[i].FileConsumer)}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b kept) int { return strings.Compare(a.ProxyMode, b.ProxyMode) })
	return out
}

// loads is how many loads the consumer was asked with.
func (c FileConsumer) loads() int {
	var names []string
	for _, s := range c.Strategies {
		for _, l := range s.Loads {
			if !slices.Contains(names, l.Load) {
				names = append(names, l.Load)
			}
		}
	}
	return len(names)
}

// Two measurements of a safe delay agree within a share of the smaller, or within a length if that
// is more.
const (
	agreeShare   = 0.25
	agreeSeconds = 0.5
)

// bothKnown says that two measurements of a consumer have a safe delay each that can be compared: a
// number, and no lower bound.
func bothKnown(a, b FileConsumer) bool {
	return a.SafeSeconds != nil && b.SafeSeconds != nil && !a.SafeAtLeast && !b.SafeAtLeast
}

// disagreement says how two measurements of a consumer differ; "" if they agree, or can't be compared.
func disagreement(a, b FileConsumer) string {
	if !bothKnown(a, b) ||
		math.Abs(*a.SafeSeconds-*b.SafeSeconds) <= max(agreeShare*min(*a.SafeSeconds, *b.SafeSeconds), agreeSeconds) {
		return ""
	}
	return fmt.Sprintf("%s (kube-proxy %s): safe delay %s, and %s before",
		b.Consumer, known(b.ProxyMode), b.safe(), a.safe())
}

// Disagreements names the consumers of which the last two measurements don't agree on the safe
// delay, and how many were measured twice with a safe delay that is known.
func Disagreements(files []ResultsFile) (lines []string, twice int) {
	for _, k := range newest(files) {
		if k.Before == nil || !bothKnown(*k.Before, k.FileConsumer) {
			continue
		}
		twice++
		if line := disagreement(*k.Before, k.FileConsumer); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, twice
}

func (k kept) safeBefore() string {
	switch {
	case k.Before == nil:
		return None
	case disagreement(*k.Before, k.FileConsumer) != "":
		return doubtMark + " " + k.Before.safe()
	}
	return k.Before.safe()
}

// from is where the consumer's requests come from; None for one that is only watched.
func (k kept) from() string { return cmp.Or(string(k.From), None) }

// keptKeys say which consumer a row is about, in a document.
func keptKeys() []Column[kept] {
	return []Column[kept]{
		Key("consumer", func(k kept) string { return Plain(k.Consumer) }),
		Key("kube-proxy", func(k kept) string { return known(k.ProxyMode) }),
	}
}

// ResultsTables are the tables of consumers for RESULTS.md, in Markdown, of all that was measured.
func ResultsTables(files []ResultsFile) string {
	all := newest(files)
	if len(all) == 0 {
		return "Nothing is kept yet: `make consumers` measures, `make results` keeps it.\n"
	}
	var b strings.Builder
	b.WriteString("Generated from [results](results) by `make results`.\n")
	for _, f := range files {
		if len(f.Consumers) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n%s\n", f.head())
	}
	consumers := make([]FileConsumer, 0, len(all))
	for _, k := range all {
		consumers = append(consumers, k.FileConsumer)
	}
	table := func(title string, t Table, notes []string) {
		if len(t.Columns) > 0 {
			fmt.Fprintf(&b, "\n**%s**\n\n%s\n", title, markdownTable(t))
			if len(notes) > 0 {
				b.WriteString("\n")
			}
			for _, note := range notes {
				fmt.Fprintf(&b, "- %s\n", escape(note))
			}
		}
	}
	table("Table A. Last arrival after a Pod's deletion, and the delay that outlasts it",
		arrivalResults(all), append(consumerNotes(consumers),
			"before: the measurement before; "+doubtMark+": further away than 25 % and half a second",
			"last arrivals are those on new connections, or on any where the consumer chooses the Pod of each request"))
	table("Table A, dropped of sent on new connections · kept ones · in flight, by strategy", droppedResults(all), nil)
	c, d, f := guessBlock(consumers), protocolBlock(consumers), retryBlock(consumers)
	table("Table C. "+c.Heading, c.Table, append([]string{c.Text}, c.List...))
	table("Table D. "+d.Heading, d.Table, d.List)
	table("Table F. "+f.Heading, f.Table, f.List)
	watched := watchedBlock(consumers)
	table(watched.Heading, watched.Table, watched.List)
	return b.String()
}

func arrivalResults(all []kept) Table {
	of := func(cell func(FileConsumer) string) func(kept) string {
		return func(k kept) string { return cell(k.FileConsumer) }
	}
	return Tabulate(append(keptKeys(),
		Words("from", kept.from),
		Number("removals", func(k kept) string { return integer(k.Known) }),
		Number("until the Pod ended", func(k kept) string { return integer(k.Censored) }),
		Number("p50", func(k kept) string { return k.arrival(k.P50Seconds) }),
		Number("p90", func(k kept) string { return k.arrival(k.P90Seconds) }),
		Number("max", of(FileConsumer.greatest)),
		Number("safe delay", of(FileConsumer.safe)),
		Number("before", kept.safeBefore).Unless(func(k kept) bool { return k.Before == nil }),
		Number("may be longer", of(FileConsumer.bound)),
		Number("clean with", func(k kept) string { return k.cleanWith(true) }),
		Number("outage of 1 replica", of(FileConsumer.outage)),
		Number("charged", of(FileConsumer.charged)),
		Words("measured", kept.day),
	), [][]kept{all})
}

func (k kept) day() string { return k.Of.Measured.Format(time.DateOnly) }

// droppedResults has a column for each strategy, so that a consumer is one row.
func droppedResults(all []kept) Table {
	columns := keptKeys()
	var strategies []string
	for _, k := range all {
		for _, s := range k.Strategies {
			if !slices.Contains(strategies, s.Strategy) {
				strategies = append(strategies, s.Strategy)
			}
		}
	}
	for _, name := range strategies {
		columns = append(columns, Number(name, func(k kept) string {
			i := slices.IndexFunc(k.Strategies, func(s FileConsumerStrategy) bool { return s.Strategy == name })
			if i < 0 {
				return None
			}
			var cells []string
			for _, class := range []timeline.Class{timeline.ClassNew, timeline.ClassKeptAlive, timeline.ClassInFlight} {
				cell := None
				if t := k.Strategies[i].Classes[class]; t.Sent > 0 {
					cell = ratio(t.Dropped, t.Sent)
				}
				cells = append(cells, cell)
			}
			return strings.Join(cells, " · ")
		}))
	}
	count := func(of func(FileConsumerLoad) int) func(kept) string {
		return func(k kept) string { return integer(k.total(of)) }
	}
	rows := slices.DeleteFunc(slices.Clone(all), func(k kept) bool { return k.Watched })
	return Tabulate(append(columns, Number("late", count(late)), Number("masked by client", count(masked)),
		Number("masked by proxy", count(proxyMasked))), [][]kept{rows})
}

// shortResults are the consumers of the README's table: what readers ask for first, by choice and in this
// order. All are in RESULTS.md.
var shortResults = []string{
	"service", "nodeport-local", "dns", "dns-cached", "ingress", "gateway", "lb-gcp-l4", "lb-aws-nlb-local", "xds",
	"kuberesolver", "prometheus-endpointslice", "webhook",
}

// ShortResults is table A for the README: its first table, with what it is of; empty where nothing
// that it shows was measured.
func ShortResults(files []ResultsFile) string {
	var rows []kept
	all := newest(files)
	for _, name := range shortResults {
		for _, k := range all {
			if k.Consumer == name && k.ProxyMode == all[0].ProxyMode {
				rows = append(rows, k)
			}
		}
	}
	if len(rows) == 0 {
		return ""
	}
	fresh := func(of func(FileConsumerStrategy) bool) func(kept) string {
		return func(k kept) string {
			cell := k.sum(k.freshClass(), of)
			if strings.HasPrefix(cell, "0/") || cell == None {
				return cell
			}
			return "**" + strings.Replace(cell, "/", "**/", 1)
		}
	}
	commands, days := each(rows, func(k kept) string { return "`" + k.Of.Command + "`" }), each(rows, kept.day)
	measured := days[0]
	if last := days[len(days)-1]; last != measured {
		measured += " to " + last
	}
	t := Tabulate([]Column[kept]{
		Key("consumer", func(k kept) string { return k.Consumer }),
		Number("last arrival: p50", func(k kept) string { return k.arrival(k.P50Seconds) }),
		Number("max", func(k kept) string { return k.greatest() }),
		Number("safe delay", func(k kept) string { return k.safe() }),
		Number("dropped at once", fresh(FileConsumerStrategy.atOnce)),
		Number("with a delay", fresh(FileConsumerStrategy.delayed)),
		Number("1 replica: outage", func(k kept) string { return k.outage() }),
		Words("measured", kept.day).Unless(func(kept) bool { return len(days) == 1 }),
	}, [][]kept{rows})
	var out strings.Builder
	fmt.Fprintf(&out, "How long each consumer of endpoints goes on sending to a Pod that was deleted, and what it drops\n"+
		"meanwhile (%s, %s; kube-proxy with %s):\n\n", strings.Join(commands, ", "), measured, rows[0].ProxyMode)
	writeMarkdownTable(&out, t)
	return out.String()
}

// each is what rows have, every value once, in order.
func each(rows []kept, of func(kept) string) []string {
	var out []string
	for _, k := range rows {
		out = append(out, of(k))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// writeMarkdownTable writes a table whose cells are Markdown already.
func writeMarkdownTable(out *strings.Builder, t Table) {
	head, rule := "|", "|"
	for _, c := range t.Columns {
		head += " " + c.Full + " |"
		rule += map[bool]string{true: "---|", false: "---:|"}[c.Left]
	}
	out.WriteString(head + "\n" + rule + "\n")
	for _, part := range t.Parts {
		for _, cells := range part {
			out.WriteString("| " + strings.Join(cells, " | ") + " |\n")
		}
	}
}

// Generated is a text that a document of the repository has between two marks.
type Generated struct {
	Document string // path from the root, with slashes
	Mark     string
	Text     string
}

// GeneratedTexts are those that are made of all that is kept. The README keeps its table until there
// is another.
func GeneratedTexts(files []ResultsFile) []Generated {
	const document = "scenarios/RESULTS.md"
	servers := ServerResults(files)
	out := []Generated{
		{document, "consumers", ResultsTables(files)},
		{document, "servers", servers},
		{document, "article", ArticleResults(files)},
		{document, "long-work", LongWorkResults(files)},
		{"fixtures/apps/README.md", "measured", strings.ReplaceAll(servers, "(results)", "(../../scenarios/results)")},
	}
	if short := ShortResults(files); short != "" {
		out = append(out, Generated{"README.md", "consumers", short})
	}
	return out
}

// HeldImagePath is where the repository has the picture of HeldImage.
const HeldImagePath = "scenarios/held.svg"

// SetMarked is a document with the text between two marks replaced: the comments of a name and of
// its end, as in fixtures/README.md.
func SetMarked(document, name, text string) (string, error) {
	begin, end := "<!-- "+name+" -->\n", "<!-- end -->"
	before, rest, found := strings.Cut(document, begin)
	_, after, ends := strings.Cut(rest, end)
	if !found || !ends {
		return "", fmt.Errorf("set %s: the document has no %q with an end", name, strings.TrimSpace(begin))
	}
	return before + begin + text + end + after, nil
}
