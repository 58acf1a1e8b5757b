package verdict

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Tasks is what became of the long tasks that Pods took from the queue, and of each time that one was
// given out:
//
//	Given = Finished + Open    Attempts = Done + Cut + HandedBack + Lapsed + Unended
type Tasks struct {
	Length    time.Duration // of the work of a task
	Given     int           // tasks that were given out
	Finished  int           // that were done, once or more
	Open      int           // that were not when the load ended
	DoneTwice int           // of Finished: that were done more than once

	Attempts   int
	Done       int // while the Pod had the lease
	Cut        int // by the end of the Pod's process: the lease ran out after it
	HandedBack int // by the Pod
	Lapsed     int // the lease ran out of a Pod that lived, or nobody knows why
	Unended    int // when the load ended

	// Lost is the work that was done in vain, by the Pods' last words: of attempts that were cut, handed
	// back or lapsed, and of those that did what was done already.
	Lost time.Duration
	// Took is how long it took from when a finished task was taken for the first time until it was done
	// for the first time; sorted. OpenMax is for how long the oldest open task had been taken when the load
	// ended.
	Took    []time.Duration
	OpenMax time.Duration
	Ends    []TaskEnds     // of attempts that were cut, handed back or lapsed
	Why     map[string]int // of those that are charged to no phase
}

// TaskEnds are the attempts of one Pod that were cut, handed back or lapsed in one phase of its life.
type TaskEnds struct {
	Pod                     string
	Phase                   LifecyclePhase
	Cut, HandedBack, Lapsed int
	Lost                    time.Duration // work
}

// judgeTasks puts the attempts at tasks together; nil for a run whose Pods take none.
func judgeTasks(tl timeline.Timeline, found findings) *Tasks {
	if tl.Spec.Tasks == nil {
		return nil
	}
	out := &Tasks{Length: tl.Spec.Tasks.Length, Why: map[string]int{}}
	all := tl.Tasks()
	taken, done := map[int]time.Duration{}, map[int]int{} // by task: when first, how often
	first := map[int]int{}                                // by task: which of all did it first
	for i, a := range all {
		out.Attempts++
		if at, known := taken[a.Task]; !known || a.Taken < at {
			taken[a.Task] = a.Taken
		}
		if at, ok := a.Done(); ok {
			done[a.Task]++
			before, known := first[a.Task]
			if !known {
				first[a.Task] = i
			} else if was, _ := all[before].Done(); at < was {
				first[a.Task] = i
			}
		}
	}
	out.Given = len(taken)
	for task, from := range taken {
		switch i, finished := first[task]; {
		case finished:
			at, _ := all[i].Done()
			out.Took = append(out.Took, at-from)
			out.Finished++
		default:
			out.Open++
			out.OpenMax = max(out.OpenMax, tl.Window.LoadEnd-from)
		}
		if done[task] > 1 {
			out.DoneTwice++
		}
	}
	slices.Sort(out.Took)
	a := newAttribution(tl, found.pods)
	a.findRefusals(found.dropped)
	ends := map[TaskEnds]TaskEnds{}
	for i, attempt := range all {
		lost := attempt.Worked
		if by, finished := first[attempt.Task]; finished && by == i || attempt.End == timeline.TaskOpen {
			lost = 0
		}
		out.Lost += lost
		var sum TaskEnds
		at := TaskEnds{Pod: attempt.Pod}
		switch attempt.End {
		case timeline.TaskDone:
			out.Done++
			continue
		case timeline.TaskHandedBack:
			sum.HandedBack = 1
		case timeline.TaskExpired:
			sum.Lapsed = 1
		default: // open; taskQueueBalances tells of what is no end
			out.Unended++
			continue
		}
		var why string
		if at.Phase, why = a.taskPhase(attempt); why != "" {
			out.Why[why]++
		}
		if attempt.End == timeline.TaskExpired && at.Phase == CutAtExit {
			sum.Cut, sum.Lapsed = 1, 0
		}
		out.Cut, out.HandedBack, out.Lapsed = out.Cut+sum.Cut, out.HandedBack+sum.HandedBack, out.Lapsed+sum.Lapsed
		there := ends[at]
		there.Cut, there.HandedBack, there.Lapsed =
			there.Cut+sum.Cut, there.HandedBack+sum.HandedBack, there.Lapsed+sum.Lapsed
		there.Lost += lost
		ends[at] = there
	}
	for _, at := range slices.SortedFunc(maps.Keys(ends), func(a, b TaskEnds) int {
		return cmp.Or(cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Phase, b.Phase))
	}) {
		there := ends[at]
		there.Pod, there.Phase = at.Pod, at.Phase
		out.Ends = append(out.Ends, there)
	}
	return out
}

// taskPhase is the part of its Pod's life in which a task was cut or handed back, or its lease ran out.
// A task whose Pod's process ended before its lease did was cut by that: the lease says only when others
// learned of it. Any other is charged as a connection is that was held since it was taken.
func (a attribution) taskPhase(t timeline.TaskAttempt) (LifecyclePhase, string) {
	slack := time.Duration(0)
	for _, s := range a.tl.Senders {
		if len(s.Tasks) > 0 {
			slack = max(slack, uncertainty(s))
		}
	}
	if life := a.pods.named(t.Pod, t.Heard); life != nil && !life.restarted && t.End == timeline.TaskExpired &&
		t.DoneLate == 0 {
		if exit, ok := life.during(t.Heard).ended(); ok && exit <= t.Ended+slack+a.clock(life.Node) {
			return CutAtExit, ""
		}
	}
	d := DroppedRequest{Sent: t.Taken, Done: t.Ended, Cause: timeline.GoAway, ConnUse: 1} // a word, and no end
	return a.heldPhase(d, t.Pod, slack)
}

// ended is when the Pod's process had ended, as well as anybody knows.
func (l PodLifecycle) ended() (time.Duration, bool) {
	if at, _, ok := l.exit(); ok {
		return at, true
	}
	if at, ok := l.At(timeline.ContainerExit); ok {
		return at, true
	}
	return l.goneAt()
}

// tasksWereUnderWay wants Pods to have had tasks when the disruption began: else nothing could be cut.
func tasksWereUnderWay(tl timeline.Timeline, _ findings) []string {
	if tl.Spec.Tasks == nil {
		return nil
	}
	for _, t := range tl.Tasks() {
		if t.Taken <= tl.Window.DisruptStart && t.Ended > tl.Window.DisruptStart {
			return nil
		}
	}
	return []string{"no task was under way when the disruption began"}
}

// taskQueueBalances wants every task that was given out to have an end, or to be open at the end of the
// load, and to have been given out again after that only.
func taskQueueBalances(tl timeline.Timeline, _ findings) []string {
	ends := []timeline.TaskEnd{timeline.TaskDone, timeline.TaskHandedBack, timeline.TaskExpired, timeline.TaskOpen}
	last := map[int]timeline.TaskAttempt{}
	wrong := map[string]int{}
	all := tl.Tasks()
	for _, t := range all {
		before, again := last[t.Task]
		switch {
		case tl.Spec.Tasks == nil:
			wrong["were taken, and none was declared"]++
		case !slices.Contains(ends, t.End) || t.Ended < t.Taken:
			wrong["have no end"]++
		case t.Attempt != before.Attempt+1:
			wrong["don't follow the attempt before"]++
		case again && (t.Taken < before.Ended || before.End == timeline.TaskDone || before.End == timeline.TaskOpen):
			wrong["were given out while another had them, or had done them"]++
		}
		last[t.Task] = t
	}
	var why []string
	for _, what := range slices.Sorted(maps.Keys(wrong)) {
		why = append(why, fmt.Sprintf("queue of tasks: %d of %d attempts %s", wrong[what], len(all), what))
	}
	return why
}

// taskLogDelay is how long it takes at most until a Pod's log tells of what the queue knows.
const taskLogDelay = time.Second

// taskLedgersAgree holds the queue's ledger against the Pods', attempt by attempt:
//
//	a Pod whose log is complete knows all that it has taken, but for what came right before it was killed
//	what is done, or handed back, by the Pod's word is so by the queue's, and the reverse
//	no Pod tells of a task that the queue hasn't given out to it
func taskLedgersAgree(tl timeline.Timeline, found findings) []string {
	type key struct{ task, attempt int }
	told := map[key]timeline.TaskByPod{}
	for _, t := range tl.TasksByPod {
		told[key{t.Task, t.Attempt}] = t
	}
	wrong := map[string]int{}
	all := tl.Tasks()
	for _, t := range all {
		pod, known := told[key{t.Task, t.Attempt}]
		delete(told, key{t.Task, t.Attempt})
		mustTell := func(at time.Duration) bool {
			life := found.pods.named(t.Pod, at)
			if life == nil || at > tl.Window.LoadEnd-taskLogDelay {
				return false
			}
			run := life.during(at)
			exit, exited := run.ended()
			return run.logComplete() && (!exited || run.has(timeline.AppExit) || exit > at+taskLogDelay)
		}
		at, done := t.Done()
		switch {
		case !known && mustTell(t.Taken):
			wrong["are not known to their Pod"]++
		case !known:
		case pod.Pod != t.Pod:
			wrong["are of one Pod by the queue's word, and of another by its own"]++
		case pod.By == timeline.TaskByDone && !done:
			wrong["are done by their Pod's word, and not by the queue's"]++
		case pod.By == timeline.TaskByHandedBack && t.End != timeline.TaskHandedBack:
			wrong["are handed back by their Pod's word, and not by the queue's"]++
		case done && (pod.By == timeline.TaskByHandedBack || pod.By == "" && mustTell(at)):
			wrong["are done by the queue's word, and not by their Pod's"]++
		case t.End == timeline.TaskHandedBack && pod.By == "" && mustTell(t.Ended):
			wrong["are handed back by the queue's word, and not by their Pod's"]++
		}
	}
	var why []string
	for _, what := range slices.Sorted(maps.Keys(wrong)) {
		why = append(why, fmt.Sprintf("tasks: %d of %d attempts %s", wrong[what], len(all), what))
	}
	if len(told) > 0 {
		why = append(why, fmt.Sprintf("tasks: Pods tell of %d attempts that the queue doesn't know", len(told)))
	}
	return why
}
