package report

import (
	"fmt"
	"html/template"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// stepDeciders are those of the kinds of figures that are about how Pods come and go, step by step.
var stepDeciders = map[scenarios.Figure]decider{
	scenarios.PollsForPods: pollsForPods,
	scenarios.ContainerFirst: ordered(
		verdict.WayIn, verdict.StepSandboxStarted, verdict.StepContainerCreated, reversed),
	scenarios.AddressAfterReady: ordered(
		verdict.WayIn, verdict.StepAddressReported, verdict.StepReady, reversed),
	scenarios.EndpointAfterReady: ordered(
		verdict.WayIn, verdict.StepReady, verdict.StepEndpointReady, inOrder),
	scenarios.RemovedAtOnce: ordered(
		verdict.WayOut, verdict.StepEndpointGone, verdict.StepExit, inOrder),
	scenarios.EitherFirst: ordered(
		verdict.WayOut, verdict.StepEndpointTerminating, verdict.StepSIGTERM, eitherFirst),
	scenarios.VolumesFirst: ordered( // nobody tells of volumes: it is decided by the other two
		verdict.WayOut, verdict.StepExit, verdict.StepSandboxStopped, reversed),
	scenarios.PreStopFirst: ordered(
		verdict.WayOut, verdict.StepPreStop, verdict.StepSIGTERM, inOrder),
	scenarios.KilledAtGrace: killedAtGrace,
}

// What the order of two steps has to be, Pod by Pod, for a statement to hold.
func inOrder(o FileOrder) bool     { return o.InOrder > 0 && o.Reversed == 0 }
func reversed(o FileOrder) bool    { return o.Reversed > 0 && o.InOrder == 0 }
func eitherFirst(o FileOrder) bool { return o.InOrder > 0 && o.Reversed > 0 }

// sequencesOf are the ways of Pods that count for a statement.
func sequencesOf(s scenarios.Statement, f ResultsFile, way verdict.Way) []FileSequence {
	return slices.DeleteFunc(slices.Clone(f.Sequences), func(q FileSequence) bool {
		return q.Way != way || !wants(s.Strategies, q.Strategy) || !wants(s.Disruptions, q.Disruption)
	})
}

// ordered is decided by how often one step came before another. Where that is known of no Pod, it is
// open.
func ordered(way verdict.Way, first, then verdict.Step, holds func(FileOrder) bool) decider {
	return func(s scenarios.Statement, f ResultsFile) (out []point) {
		for _, same := range groupBy(sequencesOf(s, f, way), func(q FileSequence) string { return q.Strategy }) {
			sum := FileOrder{First: first, Then: then}
			for _, q := range same.items {
				for _, o := range q.Order {
					if o.First == first && o.Then == then {
						sum.InOrder, sum.Reversed = sum.InOrder+o.InOrder, sum.Reversed+o.Reversed
						sum.Undecided += o.Undecided
					}
				}
			}
			if sum.InOrder+sum.Reversed+sum.Undecided > 0 {
				out = append(out, point{
					of: same.key, text: sum.words(), holds: holds(sum), open: sum.InOrder+sum.Reversed == 0,
				})
			}
		}
		return out
	}
}

// pollLeast is what a poll would take in the median, at least: half of its period, and nobody polls an
// API server more often than every two seconds.
const pollLeast = time.Second

func pollsForPods(s scenarios.Statement, f ResultsFile) (out []point) {
	for _, q := range sequencesOf(s, f, verdict.WayIn) {
		bound, wrote := q.median(verdict.StepBound), q.median(verdict.StepKubeletWrote)
		if bound == nil || wrote == nil {
			continue
		}
		took := length((*wrote - *bound) / 1000)
		text := fmt.Sprintf("%s after the binding, in the median of %s", Duration(took), Count(q.Pods, "Pod"))
		out = append(out, point{of: q.Strategy, text: text, holds: took >= pollLeast})
	}
	return out
}

// median is that of a step in milliseconds since the way began; nil if it was not seen.
func (s FileSequence) median(step verdict.Step) *float64 {
	for _, one := range s.Steps {
		if one.Step == step {
			return one.P50Ms
		}
	}
	return nil
}

// killed is the exit code of a process that SIGKILL ended.
const killed = 128 + 9

// killedAtGrace holds where every Pod whose end tells was killed as if preStop's time counted.
func killedAtGrace(s scenarios.Statement, f ResultsFile) (out []point) {
	for _, same := range groupBy(runsOf(s, f), func(r RunFigures) string { return r.along(s) }) {
		counted, told := 0, 0
		var beyond []float64 // the grace period
		for _, run := range same.items {
			for _, t := range run.Terminations {
				if t.PreStopCounted == nil {
					continue
				}
				if told++; *t.PreStopCounted {
					counted++
				}
				if t.ExitSeconds != nil && t.ExitCode != nil && *t.ExitCode == killed {
					beyond = append(beyond, *t.ExitSeconds-t.GraceSeconds)
				}
			}
		}
		if told == 0 {
			continue
		}
		text := fmt.Sprintf("preStop counted in %d of %s", counted, Count(told, "Pod"))
		if len(beyond) > 0 {
			text += fmt.Sprintf(", SIGKILL %s after the end of the grace period",
				Extent(beyond, func(seconds float64) string { return Duration(length(seconds)) }))
		}
		out = append(out, point{of: same.key, text: text, holds: counted == told})
	}
	return out
}

// asked says that a statement asks for such a figure of a strategy under a disruption: what is large
// is kept for those alone.
func asked(strategy, disruption string, of func(scenarios.Figure) bool) bool {
	for _, part := range scenarios.Article() {
		for _, s := range part.Statements {
			if of(s.Figure) && wants(s.Strategies, strategy) && wants(s.Disruptions, disruption) {
				return true
			}
		}
	}
	return false
}

func ofSteps(f scenarios.Figure) bool             { _, is := stepDeciders[f]; return is }
func ofPods(f scenarios.Figure) bool              { return f == scenarios.DoublesPods }
func ofEnds(f scenarios.Figure) bool              { return f == scenarios.KilledAtGrace }
func ofControllerFigures(f scenarios.Figure) bool { _, is := controllerDeciders[f]; return is }

// pictures draw how Pods come and go, and how many there are, by the weightiest measurement that tells
// it; empty for none.
func (a Article) pictures() (sequences, pods template.HTML, err error) {
	for _, m := range a.Measurements {
		if sequences == "" && len(m.Sequences) > 0 {
			if sequences, err = SequencePictures(m.Sequences); err != nil {
				return "", "", err
			}
		}
		var runs []FileRun
		for _, run := range m.Figures {
			if run.Pods != nil {
				runs = append(runs, FileRun{
					Strategy: run.Strategy, Disruption: run.Disruption, ExtraPodSeconds: run.ExtraPodSeconds, Pods: run.Pods,
				})
			}
		}
		if pods == "" && len(runs) > 0 {
			if pods, err = PodPictures(runs); err != nil {
				return "", "", err
			}
		}
	}
	return sequences, pods, nil
}
