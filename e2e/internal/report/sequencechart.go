package report

import (
	"bytes"
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// sequenceChart is the picture of one way of Pods: a row for each step, in the order in which they
// happened, its mark in the column of who takes it. What runs side by side stands side by side.
type sequenceChart struct {
	Title   string
	Ticks   []tick
	Tracks  []string
	Rows    []sequenceRow
	Orders  []string // in words
	NotSeen string   // steps that were seen of no Pod; empty for none
}

type sequenceRow struct {
	Step, Source string
	Marks        []sequenceMark // one per track, of which all but one are empty
	P50, Range   string
	Seen         string
}

// sequenceMark is the median and the range of a step; X is empty where there is none.
type sequenceMark struct{ X, From, To string }

// The axis of steps is logarithmic, and the same in every picture: from a millisecond, below which
// everything is nothing, to a hundred seconds.
const (
	stepLeast   = time.Millisecond
	stepDecades = 5
)

// stepAt is where a time since the start of a way is on its axis.
func stepAt(ms float64) float64 {
	at := math.Log10(max(ms, 1)) / stepDecades
	return axisFrom + min(at, 1)*(axisTo-axisFrom)
}

// Words for the ways and the tracks.
var (
	wayWords = map[verdict.Way]string{
		verdict.WayIn:  "How a Pod comes, from the request to create it",
		verdict.WayOut: "How a Pod goes, from the request to delete it",
	}
	trackWords = map[verdict.Track]string{
		verdict.TrackAPI:       "API server, scheduler",
		verdict.TrackEndpoints: "endpoints, requests",
		verdict.TrackNode:      "kubelet, runtime, app",
	}
)

// SequencePictures draws sequences of a report.json, one under another, for a page that has the
// style of Pages.
func SequencePictures(sequences []FileSequence) (template.HTML, error) {
	return drawn("sequences", newSequenceCharts(sequences))
}

// drawn is a template of this package with what it draws.
func drawn(name string, what any) (template.HTML, error) {
	var out bytes.Buffer
	if err := pages.ExecuteTemplate(&out, name, what); err != nil {
		return "", fmt.Errorf("draw %s: %w", name, err)
	}
	return template.HTML(bytes.TrimSpace(out.Bytes())), nil // the template has escaped what is in it
}

func newSequenceCharts(all []FileSequence) []sequenceChart {
	var out []sequenceChart
	for _, s := range all {
		out = append(out, newSequenceChart(s))
	}
	return out
}

func newSequenceChart(s FileSequence) sequenceChart {
	where := []string{Plain(s.Strategy), Plain(s.Disruption)}
	for _, word := range []string{s.ConsumerGroup, s.ProxyMode} {
		if word != "" {
			where = append(where, Plain(word))
		}
	}
	where = append(where, Count(s.Pods, "Pod"))
	out := sequenceChart{Title: wayWords[s.Way] + ": " + strings.Join(where, " · ")}
	for _, track := range verdict.Tracks() {
		out.Tracks = append(out.Tracks, trackWords[track])
	}
	for at := range stepDecades + 1 {
		ms := math.Pow10(at)
		label := Duration(time.Duration(ms * float64(stepLeast)))
		out.Ticks = append(out.Ticks, tick{percentOf(stepAt(ms)), strings.Replace(label, ".0", "", 1)})
	}
	steps, missing := slices.Clone(s.Steps), verdict.StepsOf(s.Way)
	slices.SortStableFunc(steps, func(a, b FileStep) int { return cmp.Compare(a.median(), b.median()) })
	for _, step := range steps {
		out.Rows = append(out.Rows, step.row(s.Pods))
		missing = slices.DeleteFunc(missing, func(m verdict.Step) bool { return m == step.Step })
	}
	for _, o := range s.Order {
		out.Orders = append(out.Orders, o.words())
	}
	var words []string
	for _, step := range missing {
		words = append(words, step.Meaning())
	}
	out.NotSeen = strings.Join(words, "; ")
	return out
}

// median is in milliseconds; of a step with lower bounds alone it is beyond everything.
func (s FileStep) median() float64 {
	if s.P50Ms == nil {
		return math.Inf(1)
	}
	return *s.P50Ms
}

func (s FileStep) row(pods int) sequenceRow {
	out := sequenceRow{
		Step: s.Step.Meaning(), Source: Plain(s.Source), P50: None, Range: None, Seen: ratio(s.Seen, pods),
		Marks: make([]sequenceMark, len(verdict.Tracks())),
	}
	if s.Censored > 0 {
		out.Seen += fmt.Sprintf(", %d until the Pod ended", s.Censored)
	}
	if s.P50Ms == nil || s.MinMs == nil || s.MaxMs == nil {
		return out
	}
	length := func(ms float64) string { return Duration(time.Duration(ms * float64(time.Millisecond))) }
	out.P50, out.Range = length(*s.P50Ms), Extent([]float64{*s.MinMs, *s.MaxMs}, length)
	if s.UnsureMs > 0 {
		out.Range += " ± " + length(s.UnsureMs)
	}
	if i := slices.Index(verdict.Tracks(), s.Track); i >= 0 {
		out.Marks[i] = sequenceMark{percentOf(stepAt(*s.P50Ms)), percentOf(stepAt(*s.MinMs)), percentOf(stepAt(*s.MaxMs))}
	}
	return out
}

// words say how often a step was before another:
//
//	endpoint-terminating before sigterm: 11 of 12, 1 undecided
func (o FileOrder) words() string {
	text := fmt.Sprintf("%s before %s: %d of %d", o.First, o.Then, o.InOrder, o.InOrder+o.Reversed+o.Undecided)
	if o.Reversed > 0 {
		text += fmt.Sprintf(", %d after it", o.Reversed)
	}
	if o.Undecided > 0 {
		text += fmt.Sprintf(", %d undecided", o.Undecided)
	}
	return text
}
