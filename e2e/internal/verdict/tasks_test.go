package verdict

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// working is leaving with Pods that take tasks of ten seconds, and both sides' ledgers of them. app-0 is killed at 7.02 s:
//
//	task 1   app-0 from 2 s on, cut; app-1 from 12.1 s on, open at the end of the load, at 20 s
//	task 2   app-1 from 2 s on, done at 12 s
func working() timeline.Timeline {
	tl := leaving()
	ignores(&tl)
	tl.Spec.Tasks = &timeline.TaskSpec{Length: 10 * sec, Lease: sec, First: 2, Every: 10 * sec}
	tl.Senders[1].Tasks = []timeline.TaskAttempt{
		{Task: 1, Attempt: 1, Pod: "app-0", Taken: 2 * sec, Ended: 7900 * ms, End: timeline.TaskExpired, Heard: 6900 * ms, Worked: 4900 * ms},
		{Task: 2, Attempt: 1, Pod: "app-1", Taken: 2 * sec, Ended: 12 * sec, End: timeline.TaskDone, Heard: 12 * sec, Worked: 10 * sec},
		{Task: 1, Attempt: 2, Pod: "app-1", Taken: 12100 * ms, Ended: 20 * sec, End: timeline.TaskOpen, Heard: 19900 * ms, Worked: 7800 * ms},
	}
	tl.TasksByPod = []timeline.TaskByPod{
		{Pod: "app-0", Task: 1, Attempt: 1, Taken: 2 * sec},
		{Pod: "app-1", Task: 2, Attempt: 1, Taken: 2 * sec, Ended: 12 * sec, By: timeline.TaskByDone, Worked: 10 * sec},
		{Pod: "app-1", Task: 1, Attempt: 2, Taken: 12100 * ms},
	}
	return tl
}

func judgedTasks(tl timeline.Timeline) Tasks {
	pods := podLifecycles(tl)
	return *judgeTasks(tl, findings{pods: pods, dropped: attribute(tl, pods)})
}

// taskReasons is what the checks of tasks say.
func taskReasons(tl timeline.Timeline) []string {
	found := findings{pods: podLifecycles(tl)}
	return slices.Concat(tasksWereUnderWay(tl, found), taskQueueBalances(tl, found), taskLedgersAgree(tl, found))
}

func TestTasks(t *testing.T) {
	assert.Equal(t, Tasks{
		Length: 10 * sec, Given: 2, Finished: 1, Open: 1, Attempts: 3, Done: 1, Cut: 1, Unended: 1, Lost: 4900 * ms,
		Took: []time.Duration{10 * sec}, OpenMax: 18 * sec, Why: map[string]int{},
		Ends: []TaskEnds{{Pod: "app-0", Phase: CutAtExit, Cut: 1, Lost: 4900 * ms}},
	}, judgedTasks(working()))
	assert.Empty(t, taskReasons(working()))
	assert.Nil(t, judgeTasks(leaving(), findings{}), "a run without tasks")
}

// TestTaskPhases: an attempt is charged to its Pod, and to what its Pod was doing.
func TestTaskPhases(t *testing.T) {
	tests := []struct {
		name    string
		change  func(tl *timeline.Timeline, a *timeline.TaskAttempt)
		want    TaskEnds
		wantWhy string
	}{
		{
			name:   "cut at SIGKILL, told by the runtime",
			change: func(*timeline.Timeline, *timeline.TaskAttempt) {},
			want:   TaskEnds{Phase: CutAtExit, Cut: 1},
		},
		{
			name:   "cut at SIGKILL, told by the API server alone",
			change: func(tl *timeline.Timeline, _ *timeline.TaskAttempt) { noRuntime(tl) },
			want:   TaskEnds{Phase: CutAtExit, Cut: 1},
		},
		{
			name: "handed back on SIGTERM",
			change: func(_ *timeline.Timeline, a *timeline.TaskAttempt) {
				a.End, a.Ended = timeline.TaskHandedBack, 5001*ms
			},
			want: TaskEnds{Phase: Terminating, HandedBack: 1},
		},
		{
			name:   "the lease ran out while the Pod lived",
			change: func(_ *timeline.Timeline, a *timeline.TaskAttempt) { a.Heard, a.Ended = 2500*ms, 3500*ms },
			want:   TaskEnds{Phase: BeforeDeletion, Lapsed: 1},
		},
		{
			name:   "and while it was terminating",
			change: func(_ *timeline.Timeline, a *timeline.TaskAttempt) { a.Heard, a.Ended = 4900*ms, 5900*ms },
			want:   TaskEnds{Phase: Terminating, Lapsed: 1},
		},
		{
			name:    "of a Pod that nobody knows",
			change:  func(_ *timeline.Timeline, a *timeline.TaskAttempt) { a.Pod = "app-9" },
			want:    TaskEnds{Pod: "app-9", Phase: Unattributed, Lapsed: 1},
			wantWhy: whyNoLifecycle,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := working()
			tt.change(&tl, &tl.Senders[1].Tasks[0])
			got := judgedTasks(tl)
			if tt.want.Pod == "" {
				tt.want.Pod = "app-0"
			}
			tt.want.Lost = 4900 * ms
			assert.Equal(t, []TaskEnds{tt.want}, got.Ends)
			assert.Equal(t, got.Attempts, got.Done+got.Cut+got.HandedBack+got.Lapsed+got.Unended)
			if tt.wantWhy != "" {
				assert.Equal(t, map[string]int{tt.wantWhy: 1}, got.Why)
			}
		})
	}
}

// twice is working with a task that is done twice: app-0 has lost its lease at 3 s, and says at 6.5 s that it is done; app-1 has taken the task
// meanwhile, and is done at 15 s.
func twice() timeline.Timeline {
	tl := working()
	tasks := tl.Senders[1].Tasks
	tasks[0].Heard, tasks[0].Ended, tasks[0].DoneLate = 2*sec, 3*sec, 6500*ms
	tasks[2].Pod, tasks[2].Taken, tasks[2].Ended, tasks[2].Heard = "app-1", 5*sec, 15*sec, 15*sec
	tasks[2].End, tasks[2].Worked = timeline.TaskDone, 10*sec
	tl.TasksByPod[0].Ended, tl.TasksByPod[0].By = 6500*ms, timeline.TaskByDone
	tl.TasksByPod[2] = timeline.TaskByPod{
		Pod: "app-1", Task: 1, Attempt: 2, Taken: 5 * sec, Ended: 15 * sec, By: timeline.TaskByDone, Worked: 10 * sec,
	}
	return tl
}

// TestDoneTwice: a task that is done twice counts once as finished, and as done twice. What was done first is not in vain.
func TestDoneTwice(t *testing.T) {
	got := judgedTasks(twice())
	assert.Equal(t, []int{2, 2, 0, 1}, []int{got.Given, got.Finished, got.Open, got.DoneTwice})
	assert.Equal(t, []int{3, 2, 0, 1}, []int{got.Attempts, got.Done, got.Cut, got.Lapsed})
	assert.Equal(t, 10*sec, got.Lost, "the second time")
	assert.Equal(t, []time.Duration{4500 * ms, 10 * sec}, got.Took)
	assert.Empty(t, taskReasons(twice()))

	tl := twice()
	tl.Senders[1].Tasks[0].DoneLate = 16 * sec
	assert.Equal(t, 4900*ms, judgedTasks(tl).Lost, "now the other was first")

	tl = twice()
	tl.Senders[1].Tasks[2].End = timeline.TaskOpen
	assert.Zero(t, judgedTasks(tl).DoneTwice, "the other is still at it")
}

// TestTaskLedgers: ledgers with a planted bug are not believed.
func TestTaskLedgers(t *testing.T) {
	tests := []struct {
		name  string
		plant func(tl *timeline.Timeline, queue []timeline.TaskAttempt)
		want  string
	}{
		{"a task done twice counted once", func(_ *timeline.Timeline, queue []timeline.TaskAttempt) {
			queue[0].DoneLate = 0
		}, "tasks: 1 of 3 attempts are done by their Pod's word, and not by the queue's"},
		{"done by nobody's word", func(tl *timeline.Timeline, _ []timeline.TaskAttempt) {
			tl.TasksByPod[1].By = ""
		}, "tasks: 1 of 3 attempts are done by the queue's word, and not by their Pod's"},
		{"done, and handed back", func(tl *timeline.Timeline, _ []timeline.TaskAttempt) {
			tl.TasksByPod[1].By = timeline.TaskByHandedBack
		}, "tasks: 1 of 3 attempts are handed back by their Pod's word, and not by the queue's"},
		{"handed back, and nobody tells", func(tl *timeline.Timeline, queue []timeline.TaskAttempt) {
			queue[2].End, tl.TasksByPod[2].By = timeline.TaskHandedBack, ""
		}, "tasks: 1 of 3 attempts are handed back by the queue's word, and not by their Pod's"},
		{"taken, and nobody tells", func(tl *timeline.Timeline, _ []timeline.TaskAttempt) {
			tl.TasksByPod = tl.TasksByPod[1:]
		}, "tasks: 1 of 3 attempts are not known to their Pod"},
		{"of another Pod", func(tl *timeline.Timeline, _ []timeline.TaskAttempt) {
			tl.TasksByPod[0].Pod = "app-1"
		}, "tasks: 1 of 3 attempts are of one Pod by the queue's word, and of another by its own"},
		{"an attempt that the queue has forgotten", func(tl *timeline.Timeline, queue []timeline.TaskAttempt) {
			tl.Senders[1].Tasks = queue[:2]
		}, "tasks: Pods tell of 1 attempts that the queue doesn't know"},
		{"an attempt that is missing", func(_ *timeline.Timeline, queue []timeline.TaskAttempt) {
			queue[2].Attempt = 3
		}, "queue of tasks: 1 of 3 attempts don't follow the attempt before"},
		{"without an end", func(_ *timeline.Timeline, queue []timeline.TaskAttempt) {
			queue[1].End = ""
		}, "queue of tasks: 1 of 3 attempts have no end"},
		{"given to two at once", func(_ *timeline.Timeline, queue []timeline.TaskAttempt) {
			queue[2].Taken = 2500 * ms
		}, "queue of tasks: 1 of 3 attempts were given out while another had them"},
		{"given out although it was done", func(_ *timeline.Timeline, queue []timeline.TaskAttempt) {
			queue[0].End, queue[0].DoneLate = timeline.TaskDone, 0
		}, "queue of tasks: 1 of 3 attempts were given out while another had them, or had done them"},
		{"none was under way", func(tl *timeline.Timeline, _ []timeline.TaskAttempt) {
			tl.Window.DisruptStart = sec
		}, "no task was under way when the disruption began"},
		{"none was declared", func(tl *timeline.Timeline, _ []timeline.TaskAttempt) {
			tl.Spec.Tasks = nil
		}, "queue of tasks: 3 of 3 attempts were taken, and none was declared"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := twice()
			tt.plant(&tl, tl.Senders[1].Tasks)
			why := taskReasons(tl)
			require.NotEmpty(t, why)
			assert.Contains(t, why[0], tt.want)
		})
	}
}

// TestTasksUntold: a Pod that was killed has not told of its last moments, and the log of one that lives on may not have been read so far.
func TestTasksUntold(t *testing.T) {
	tests := []struct {
		name   string
		change func(tl *timeline.Timeline, queue []timeline.TaskAttempt)
	}{
		{"done right before it was killed", func(_ *timeline.Timeline, queue []timeline.TaskAttempt) {
			queue[0].End, queue[0].Ended = timeline.TaskDone, 7*sec
		}},
		{"taken right before it was killed", func(tl *timeline.Timeline, queue []timeline.TaskAttempt) {
			queue[0].Taken, tl.TasksByPod = 7*sec, tl.TasksByPod[1:]
		}},
		{"its log was cut", func(tl *timeline.Timeline, _ []timeline.TaskAttempt) {
			happens(tl, 8*sec, timeline.LogCut, timeline.Event{Pod: "app-0", UID: "uid-0"})
			tl.TasksByPod = tl.TasksByPod[1:]
		}},
		{"done at the end of the load", func(_ *timeline.Timeline, queue []timeline.TaskAttempt) {
			queue[2].End, queue[2].Ended = timeline.TaskDone, 19500*ms
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := working()
			tt.change(&tl, tl.Senders[1].Tasks)
			assert.Empty(t, taskLedgersAgree(tl, findings{pods: podLifecycles(tl)}))
		})
	}
}

// TestTasksOfARun: a run whose Pods were to have tasks, and had none, proves nothing.
func TestTasksOfARun(t *testing.T) {
	tl := rollout()
	require.Nil(t, Judge(tl).Tasks)
	tl.Spec.Tasks = &timeline.TaskSpec{Length: 10 * sec, Lease: sec, First: 3, Every: 10 * sec}
	v := Judge(tl)
	assert.Equal(t, Inconclusive, v.Outcome)
	assert.Equal(t, []string{"no task was under way when the disruption began"}, v.Reasons)
	tl.Senders = []timeline.Sender{{Name: "host", Tasks: []timeline.TaskAttempt{
		{Task: 1, Attempt: 1, Pod: "app-0", Taken: sec, Ended: 5 * sec, End: timeline.TaskHandedBack, Heard: 5 * sec, Worked: 4 * sec},
		{Task: 1, Attempt: 2, Pod: "app-3", Taken: 5 * sec, Ended: 15 * sec, End: timeline.TaskDone, Heard: 15 * sec, Worked: 10 * sec},
	}}}
	v = Judge(tl)
	require.Equal(t, Pass, v.Outcome, v.Reasons)
	assert.Equal(t, []int{1, 1, 2, 1}, []int{v.Tasks.Given, v.Tasks.Finished, v.Tasks.Attempts, v.Tasks.HandedBack})
	assert.Equal(t, 4*sec, v.Tasks.Lost)
	assert.Equal(t, []time.Duration{14 * sec}, v.Tasks.Took)
}
