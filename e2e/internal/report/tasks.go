package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// taskRow is what became of the long tasks of a row's Pods, in all of its conclusive runs.
type taskRow struct {
	row
	verdict.Tasks
}

// taskPhase is what became of attempts at them in one phase of their Pods' lives.
type taskPhase struct {
	taskRow
	Phase verdict.LifecyclePhase
	Pods  int
	verdict.TaskEnds
}

// tasks is which long tasks were done, and which were not because their Pods went away.
func tasks(m model) section {
	parts, phases := m.tasks()
	if len(parts) == 0 {
		return section{}
	}
	out := section{Title: "Long tasks", Blocks: []block{{
		Text: "Of the tasks that Pods took from a queue, in all conclusive repeats. They stand for work of hours, scaled " +
			"to the length that is given; the default grace period is the real one of 30 s.",
		Table: Tabulate(taskColumns, parts),
		List: []string{
			"finished: done, once or more; open: not done when the load ended, which goes on long enough for another Pod to " +
				"do a task anew",
			"cut: a Pod had it when its process was ended, and its lease ran out; handed back: by the Pod, on SIGTERM; " +
				"lapsed: its lease ran out of a Pod that lived, or nobody knows why. Each counts as often as it happened",
			"done twice: more than one Pod says that it is done, of which one had lost the lease",
			"work lost: what had been done of tasks that were cut, handed back or lapsed, by the Pods' last words, and " +
				"what was done again though it was done",
			"took: from when a finished task was taken for the first time until it was done for the first time",
		},
	}}}
	if len(phases) > 0 {
		out.Blocks = append(out.Blocks, block{
			Text:  "The same by the phase of the Pod's life in which it lost its task:",
			Table: Tabulate(taskPhaseColumns, phases),
		})
	}
	return out
}

var taskColumns = []Column[taskRow]{
	Key("disruption", func(t taskRow) string { return t.Where }),
	Key("strategy", func(t taskRow) string { return t.label() }),
	Number("length", func(t taskRow) string { return Duration(t.Length) }),
	Number("tasks", func(t taskRow) string { return integer(t.Given) }),
	Number("finished", func(t taskRow) string { return integer(t.Finished) }),
	Number("open", func(t taskRow) string { return integer(t.Open) }),
	Number("cut", func(t taskRow) string { return integer(t.Cut) }),
	Number("handed back", func(t taskRow) string { return integer(t.HandedBack) }),
	Number("lapsed", func(t taskRow) string { return integer(t.Lapsed) }).
		Unless(func(t taskRow) bool { return t.Lapsed == 0 }),
	Number("done twice", func(t taskRow) string { return integer(t.DoneTwice) }),
	Number("work lost", func(t taskRow) string { return Duration(t.Lost) }),
	Number("took p50", func(t taskRow) string { return t.took(0.50) }),
	Number("max", func(t taskRow) string { return t.took(1) }),
}

var taskPhaseColumns = []Column[taskPhase]{
	Key("disruption", func(t taskPhase) string { return t.Where }),
	Key("strategy", func(t taskPhase) string { return t.label() }),
	Key("phase", func(t taskPhase) string { return t.Phase.String() }),
	Number("Pods", func(t taskPhase) string { return integer(t.Pods) }),
	Number("cut", func(t taskPhase) string { return integer(t.Cut) }),
	Number("handed back", func(t taskPhase) string { return integer(t.HandedBack) }),
	Number("lapsed", func(t taskPhase) string { return integer(t.Lapsed) }),
	Number("work lost", func(t taskPhase) string { return Duration(t.Lost) }),
}

// took is a percentile of the time until tasks were done.
func (t taskRow) took(p float64) string {
	if len(t.Took) == 0 {
		return None
	}
	return Duration(verdict.Percentile(t.Took, p))
}

// tasks are the rows of the model whose Pods take tasks, and of each its phases.
func (m model) tasks() (parts [][]taskRow, phases [][]taskPhase) {
	for _, part := range m.Parts {
		var of []taskRow
		var in []taskPhase
		for _, r := range part {
			if t, ok := r.tasks(); ok {
				of, in = append(of, t), append(in, t.phases()...)
			}
		}
		if len(of) > 0 {
			parts = append(parts, of)
		}
		if len(in) > 0 {
			phases = append(phases, in)
		}
	}
	return parts, phases
}

// tasks puts the conclusive runs of the row together; false if none of them has tasks.
func (r row) tasks() (out taskRow, ok bool) {
	out.row = r
	for _, v := range r.Runs {
		one := v.Tasks
		if one == nil || !v.Conclusive() {
			continue
		}
		ok = true
		sum := &out.Tasks
		sum.Length = one.Length
		sum.Given, sum.Finished, sum.Open = sum.Given+one.Given, sum.Finished+one.Finished, sum.Open+one.Open
		sum.DoneTwice, sum.Attempts, sum.Done = sum.DoneTwice+one.DoneTwice, sum.Attempts+one.Attempts, sum.Done+one.Done
		sum.Cut, sum.HandedBack, sum.Lapsed = sum.Cut+one.Cut, sum.HandedBack+one.HandedBack, sum.Lapsed+one.Lapsed
		sum.Unended, sum.Lost, sum.OpenMax = sum.Unended+one.Unended, sum.Lost+one.Lost, max(sum.OpenMax, one.OpenMax)
		sum.Took, sum.Ends = append(sum.Took, one.Took...), append(sum.Ends, one.Ends...)
	}
	slices.Sort(out.Took)
	return out, ok
}

// phases are those in which attempts at the tasks ended without their being done, in the order of a life.
func (t taskRow) phases() []taskPhase {
	var out []taskPhase
	for _, phase := range verdict.LifecyclePhases() {
		sum := taskPhase{taskRow: t, Phase: phase}
		for _, e := range t.Ends {
			if e.Phase == phase {
				sum.Pods++
				sum.Cut, sum.HandedBack = sum.Cut+e.Cut, sum.HandedBack+e.HandedBack
				sum.Lapsed, sum.Lost = sum.Lapsed+e.Lapsed, sum.Lost+e.Lost
			}
		}
		if sum.Pods > 0 {
			out = append(out, sum)
		}
	}
	return out
}

// taskNotes says of each strategy whose Pods take tasks what became of these, in a line for each
// disruption.
func (m model) taskNotes() []string {
	var lines []string
	parts, _ := m.tasks()
	for _, part := range parts {
		var of []string
		for _, t := range part {
			of = append(of, fmt.Sprintf("%s: %d cut, %d handed back, %d done twice, %s of work lost",
				t.label(), t.Cut, t.HandedBack, t.DoneTwice, Duration(t.Lost)))
		}
		lines = append(lines, fmt.Sprintf("tasks of %s under %s: %s",
			Duration(part[0].Length), part[0].Where, strings.Join(of, "; ")))
	}
	return lines
}

// FileTasks is what became of the long tasks of a run: given = finished + open,
// attempts = done + cut + handedBack + lapsed + unended.
type FileTasks struct {
	LengthSeconds float64 `json:"lengthSeconds"` // of a task's work
	Given         int     `json:"given"`
	Finished      int     `json:"finished"`
	Open          int     `json:"open"`
	DoneTwice     int     `json:"doneTwice"` // of finished
	Attempts      int     `json:"attempts"`
	Done          int     `json:"done"`
	Cut           int     `json:"cut"`
	HandedBack    int     `json:"handedBack"`
	Lapsed        int     `json:"lapsed"`
	Unended       int     `json:"unended"`
	LostSeconds   float64 `json:"lostSeconds"` // of work
	// TookSeconds is how long it took until each finished task was done for the first time; sorted.
	TookSeconds    []float64 `json:"tookSeconds"`
	OpenMaxSeconds float64   `json:"openMaxSeconds"`
	// Ends are the attempts that were cut, handed back or lapsed, by Pod and phase.
	Ends []FileTaskEnds `json:"ends"`
	Why  map[string]int `json:"why"` // of those that are charged to no phase
}

// FileTaskEnds are the attempts of one Pod that were cut, handed back or lapsed in one phase of its life.
type FileTaskEnds struct {
	Pod         string                 `json:"pod"`
	Phase       verdict.LifecyclePhase `json:"phase"`
	Cut         int                    `json:"cut"`
	HandedBack  int                    `json:"handedBack"`
	Lapsed      int                    `json:"lapsed"`
	LostSeconds float64                `json:"lostSeconds"`
}

func newFileTasks(t *verdict.Tasks) *FileTasks {
	if t == nil {
		return nil
	}
	out := &FileTasks{
		LengthSeconds: seconds(t.Length), Given: t.Given, Finished: t.Finished, Open: t.Open, DoneTwice: t.DoneTwice,
		Attempts: t.Attempts, Done: t.Done, Cut: t.Cut, HandedBack: t.HandedBack, Lapsed: t.Lapsed, Unended: t.Unended,
		LostSeconds: seconds(t.Lost), TookSeconds: []float64{}, OpenMaxSeconds: seconds(t.OpenMax),
		Ends: []FileTaskEnds{}, Why: above0(t.Why),
	}
	for _, d := range t.Took {
		out.TookSeconds = append(out.TookSeconds, seconds(d))
	}
	for _, e := range t.Ends {
		out.Ends = append(out.Ends, FileTaskEnds{e.Pod, e.Phase, e.Cut, e.HandedBack, e.Lapsed, seconds(e.Lost)})
	}
	return out
}

// check says where it has a word that the schema doesn't have.
func (t *FileTasks) check() error {
	if t == nil {
		return nil
	}
	for _, e := range t.Ends {
		if err := checkWord("phase of a Pod's life", verdict.LifecyclePhases(), e.Phase); err != nil {
			return fmt.Errorf("tasks: %w", err)
		}
	}
	return nil
}
