package protocol

import "time"

// The paths of a queue of long tasks, each by POST with a TaskWord. The app takes tasks there (-tasks).
// A task that is given out is leased: who doesn't renew the lease in time has lost it, and another gets
// the task.
//
//	take        200 with a Task, the same again to one that has it already; 204: there is none to do
//	renew       204; 409: the lease is its no more
//	done        204, also when the lease had run out: the work is done; 409: nobody counts it any more
//	hand back   204; 409: the lease is its no more
const (
	PathTaskTake     = "/tasks/take"
	PathTaskRenew    = "/tasks/renew"
	PathTaskDone     = "/tasks/done"
	PathTaskHandBack = "/tasks/handback"
)

// Task is a task as a queue gives it out.
type Task struct {
	Task    int           `json:"task"`    // its number, from 1
	Attempt int           `json:"attempt"` // how often it has been given out, this time included
	Length  time.Duration `json:"lengthNanos"`
	Lease   time.Duration `json:"leaseNanos"` // for how long it is given out, and the lease renewed
}

// TaskWord is what a Pod says of a task: to the queue, and in its life log.
type TaskWord struct {
	Pod string `json:"pod,omitempty"`
	// Process tells processes of a Pod's name apart: when it began, by its wall clock.
	Process int64         `json:"processUnixNano,omitempty"`
	Task    int           `json:"task,omitempty"`
	Attempt int           `json:"attempt,omitempty"`
	Worked  time.Duration `json:"workedNanos,omitempty"` // for how long it has worked on it
	By      string        `json:"by,omitempty"`          // how it ended: TaskDone …; in the log alone
}

// How a task ended, as the app knows.
const (
	TaskDone       = "done"
	TaskHandedBack = "handed-back"
	TaskLost       = "lost" // its lease was lost: the app has given it up
)
