package scenarios

import (
	"cmp"
	"time"
)

// Tasks are long tasks that Pods take from a queue, beside the requests that they answer. They stand for
// work of hours, as the transcoding of a video, scaled: what matters is that a task takes longer than the
// default grace period of 30 s. The fields are those of timeline.TaskSpec.
type Tasks struct {
	Length time.Duration // of the work of a task
	Lease  time.Duration // for how long a Pod has it without a word
	First  int           // due when the load begins
	Every  time.Duration // and then one so often
}

const (
	// TaskLength is how long a task takes, unless another length is asked for: twice the default grace
	// period.
	TaskLength = time.Minute
	// MaxTaskLength is what the grace period of strategy tasks-long-grace has room for.
	MaxTaskLength = 2 * time.Minute
	// taskLease outlasts what a busy machine may keep a Pod from renewing it, which it does five times as
	// often.
	taskLease = 5 * time.Second
)

// Tasks are those of a run; nil where Pods take none. Each Pod has one when the load begins. Few more
// become due, so that a task that comes back finds a Pod without one.
func (s Scenario) Tasks() *Tasks {
	if !s.Strategy.TakesTasks() {
		return nil
	}
	length := cmp.Or(s.TaskLength, TaskLength)
	return &Tasks{Length: length, Lease: taskLease, First: s.Replicas(), Every: length}
}

// Again is how long it takes, from when a Pod was killed, until another has done the task that it had.
// The load goes on for as long when the disruption is over.
func (t Tasks) Again() time.Duration { return t.Lease + t.Length }

// taskCells are long tasks under every way to stop, and a Deployment per release.
func taskCells() []Cell {
	lanes := []string{"service/new"}
	return append(
		cross([]string{"tasks-default-grace", "tasks-hand-back", "tasks-long-grace"}, []string{"rolling-update"}, lanes),
		Cell{"tasks-default-grace", "rainbow", lanes},
	)
}
