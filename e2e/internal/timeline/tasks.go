package timeline

import "time"

// TaskSpec is the declaration of the long tasks that Pods take from a queue; all are lengths but First.
type TaskSpec struct {
	Length time.Duration `json:"length"` // of the work of a task
	Lease  time.Duration `json:"lease"`  // for how long a task is given out, and its lease renewed
	First  int           `json:"first"`  // tasks that are due when the load begins
	Every  time.Duration `json:"every"`  // one more is due so often after that
}

// TaskAttempt is one time that a task was given out, as the queue has it.
type TaskAttempt struct {
	Task    int           `json:"task"`    // its number, from 1
	Attempt int           `json:"attempt"` // of that task, from 1
	Pod     string        `json:"pod"`     // that took it, by its own word
	Due     time.Duration `json:"due"`     // when the task was, for the first time
	Taken   time.Duration `json:"taken"`
	Ended   time.Duration `json:"ended"`
	End     TaskEnd       `json:"end"`
	// Heard is the Pod's last word before the end, and Worked, a length, for how long it had worked on the
	// task by that word.
	Heard  time.Duration `json:"heard"`
	Worked time.Duration `json:"worked"`
	// DoneLate is when the Pod said that it was done all the same, after its lease had run out; 0 if it
	// didn't.
	DoneLate time.Duration `json:"doneLate,omitempty"`
}

// Done says that the Pod has done the work, and when it said so.
func (a TaskAttempt) Done() (at time.Duration, ok bool) {
	if a.End == TaskDone {
		return a.Ended, true
	}
	return a.DoneLate, a.DoneLate > 0
}

// TaskEnd says how it ended that a Pod had a task, as the queue knows.
type TaskEnd string

// The ends.
const (
	TaskDone       TaskEnd = "done"
	TaskHandedBack TaskEnd = "handed-back"
	TaskExpired    TaskEnd = "expired" // the Pod didn't renew its lease
	TaskOpen       TaskEnd = "open"    // the queue was closed before
)

// TaskByPod is one time that a Pod had a task, as the Pod tells. One that is killed tells no end.
type TaskByPod struct {
	Pod     string        `json:"pod"`
	UID     string        `json:"uid,omitempty"` // empty for the last Pod of the name
	Task    int           `json:"task"`
	Attempt int           `json:"attempt"`
	Taken   time.Duration `json:"taken"`
	Ended   time.Duration `json:"ended,omitempty"`
	By      TaskBy        `json:"by,omitempty"`     // empty: it has told no end
	Worked  time.Duration `json:"worked,omitempty"` // length
	Error   string        `json:"error,omitempty"`
}

// TaskBy says how it ended that a Pod had a task, as the Pod knows.
type TaskBy string

// The ends, in the app's own words.
const (
	TaskByDone       TaskBy = "done"
	TaskByHandedBack TaskBy = "handed-back"
	TaskByLost       TaskBy = "lost" // the lease was
)

// Tasks are the attempts at all tasks, as the queue of one of the senders has them, in the order in which
// they were given out.
func (tl Timeline) Tasks() []TaskAttempt {
	var out []TaskAttempt
	for _, s := range tl.Senders {
		out = append(out, s.Tasks...)
	}
	return out
}
