package report

import (
	"cmp"
	"slices"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// FileSequence is one way of the Pods of a strategy under a disruption, all repeats together, as
// report.json has it: how Pods come into a Service, or how they go.
type FileSequence struct {
	Way           verdict.Way `json:"way"`
	Strategy      string      `json:"strategy"`
	Disruption    string      `json:"disruption"`
	ConsumerGroup string      `json:"consumerGroup,omitempty"`
	ProxyMode     string      `json:"proxyMode,omitempty"`
	Pods          int         `json:"pods"`
	Steps         []FileStep  `json:"steps"`           // that were seen, in the order in which they are told of
	Order         []FileOrder `json:"order,omitempty"` // of pairs of steps that were both seen
}

// FileStep is when a step of a way happened, from the way's start on. One that was seen of no Pod is
// left out; one of which there are only lower bounds has no times.
type FileStep struct {
	Step     verdict.Step  `json:"step"`
	Track    verdict.Track `json:"track"`
	Source   string        `json:"source"`             // that names its instants
	Seen     int           `json:"seen"`               // Pods in the times
	Censored int           `json:"censored,omitempty"` // Pods of which there is only a lower bound: in no time here
	NotSeen  int           `json:"notSeen"`
	P50Ms    *float64      `json:"p50Ms,omitempty"`
	MinMs    *float64      `json:"minMs,omitempty"`
	MaxMs    *float64      `json:"maxMs,omitempty"`
	UnsureMs float64       `json:"unsureMs,omitempty"` // how far off the clock that tells it may be
}

// FileOrder is how often one step was seen before another.
type FileOrder struct {
	First     verdict.Step `json:"first"` // of the two, the one that is said to be first
	Then      verdict.Step `json:"then"`
	InOrder   int          `json:"inOrder"`
	Reversed  int          `json:"reversed"`
	Undecided int          `json:"undecided"` // nearer to each other than anybody knows
}

// FilePods is how many Pods of a run there were over time, as report.json has it. A Pod that is
// terminating and still runs is terminating.
type FilePods struct {
	Steps              []FilePodCount `json:"steps"` // each holds until the next
	UntilSeconds       float64        `json:"untilSeconds"`
	MostRunning        int            `json:"mostRunning"`
	MostTerminating    int            `json:"mostTerminating"`
	Peak               FilePodCount   `json:"peak"` // when there were most of both together
	TerminatingSeconds float64        `json:"terminatingPodSeconds"`
}

// FilePodCount is a count from an instant on.
type FilePodCount struct {
	Seconds     float64 `json:"seconds"` // since the start of the disruption
	Running     int     `json:"running"`
	Terminating int     `json:"terminating"`
}

// sequences are both ways of each strategy under each disruption, of conclusive runs alone. One that
// no Pod went is left out.
func (m model) sequences() []FileSequence {
	var out []FileSequence
	for _, r := range slices.Concat(m.Parts...) {
		in, gone := verdict.Sequences(r.conclusive().Runs...)
		for _, s := range []verdict.Sequence{in, gone} {
			if len(s.Pods) > 0 {
				out = append(out, newFileSequence(r, s))
			}
		}
	}
	return out
}

func newFileSequence(r row, s verdict.Sequence) FileSequence {
	out := FileSequence{
		Way: s.Way, Strategy: r.Strategy, Disruption: r.Disruption, ConsumerGroup: r.ConsumerGroup, ProxyMode: r.ProxyMode,
		Pods: len(s.Pods), Steps: []FileStep{},
	}
	for _, times := range s.Steps() {
		if times.NotSeen == len(s.Pods) {
			continue
		}
		step := FileStep{
			Step: times.Step, Track: times.Track, Source: times.Source, Seen: len(times.Times), Censored: times.Censored,
			NotSeen: times.NotSeen, UnsureMs: milliseconds(times.Unsure),
		}
		if step.Seen > 0 {
			step.P50Ms = new(milliseconds(times.P50()))
			step.MinMs, step.MaxMs = new(milliseconds(times.Times[0])), new(milliseconds(times.Times[step.Seen-1]))
		}
		out.Steps = append(out.Steps, step)
	}
	for _, o := range s.Orders() {
		out.Order = append(out.Order, FileOrder{o.First, o.Then, o.InOrder, o.Reversed, o.Undecided})
	}
	return out
}

// newFilePods is nil for a run of which no Pod was counted.
func newFilePods(v verdict.Verdict) *FilePods {
	counts := verdict.CountPods(v)
	if counts.Peak.All() == 0 {
		return nil
	}
	out := FilePods{
		Steps: []FilePodCount{}, UntilSeconds: seconds(counts.Until), MostRunning: counts.Running,
		MostTerminating: counts.Terminating, Peak: newFilePodCount(counts.Peak),
		TerminatingSeconds: thousandths(counts.TerminatingSeconds),
	}
	for _, count := range counts.Steps {
		out.Steps = append(out.Steps, newFilePodCount(count))
	}
	return &out
}

func newFilePodCount(c verdict.PodsAt) FilePodCount {
	return FilePodCount{seconds(c.At), c.Running, c.Terminating}
}

// check says where a sequence has a word that the schema doesn't have.
func (s FileSequence) check() error {
	err := checkWord("way of Pods", verdict.Ways(), s.Way)
	for _, step := range s.Steps {
		err = cmp.Or(err, checkWord("track of a step", verdict.Tracks(), step.Track),
			checkWord("step of a Pod's way "+string(s.Way), verdict.StepsOf(s.Way), step.Step))
	}
	for _, o := range s.Order {
		for _, step := range []verdict.Step{o.First, o.Then} {
			err = cmp.Or(err, checkWord("step of a Pod's way "+string(s.Way), verdict.StepsOf(s.Way), step))
		}
	}
	return err
}
