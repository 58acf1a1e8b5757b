// Package queue gives long tasks out to the Pods of the app, one at a time to each, and writes down what
// becomes of them. It is served by a worker, so that it outlives every Pod.
//
// A task is leased. A Pod renews its lease while it works, says when it is done, or hands the task back.
// One that does none of it, as it was killed, loses the lease, and another Pod gets the task:
//
//	             take ──▶ renew … renew ──▶ done
//	due ─▶ back ─┤           │       └────▶ handed back ─▶ due again, before those that were never taken
//	             └ next      └────────────▶ expired ─────▶ due again
//
// A Pod whose lease has run out may have done the work all the same. The queue can't know that before it
// says so: so a task may be done twice, and both are on record.
//
// Instants come in as arguments: nothing happens to a lease that runs out until somebody asks, or until
// the queue is closed, and then it has happened when it ran out.
package queue

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// Plan says which tasks there are and when.
type Plan struct {
	timeline.TaskSpec
	Start time.Duration `json:"start"` // when the first ones are due
}

// due is when a task is, by its number from 1.
func (p Plan) due(task int) time.Duration {
	return p.Start + time.Duration(max(0, task-p.First))*p.Every
}

// Queue is a queue of tasks. The zero value gives none out before it is opened.
type Queue struct {
	mu       sync.Mutex
	now      func() time.Duration // nil until it is opened
	closed   bool
	plan     Plan
	next     int          // the number of the next task that was never given out
	back     []int        // tasks that were given out and are due again
	tries    map[int]int  // by task: how often it was given out
	finished map[int]bool // by task
	given    []*attempt
}

// attempt is one time that a task was given out.
type attempt struct {
	timeline.TaskAttempt
	process int64         // of the Pod
	until   time.Duration // its lease, while it has no end
}

// Open has the queue give tasks out from now on. It asks now for the present instant.
func (q *Queue) Open(plan Plan, now func() time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.plan, q.now, q.next = plan, now, 1
	q.tries, q.finished = map[int]int{}, map[int]bool{}
}

// Close has it give out none any more, and returns what it has given out, in that order. What Pods say
// from now on is refused.
func (q *Queue) Close() []timeline.TaskAttempt {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.now == nil {
		return nil
	}
	at := q.now()
	q.expire(at)
	q.closed = true
	var out []timeline.TaskAttempt
	for _, a := range q.given {
		if a.End == "" {
			a.End, a.Ended = timeline.TaskOpen, at
		}
		out = append(out, a.TaskAttempt)
	}
	return out
}

// ServeHTTP implements http.Handler.
func (q *Queue) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var word protocol.TaskWord
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&word); err != nil || word.Pod == "" {
		http.Error(w, "want a JSON object that names a pod", http.StatusBadRequest)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.now == nil || q.closed {
		code := http.StatusNoContent
		if r.URL.Path != protocol.PathTaskTake {
			code = http.StatusConflict
		}
		w.WriteHeader(code)
		return
	}
	at := q.now()
	q.expire(at)
	var heard bool
	switch r.URL.Path {
	case protocol.PathTaskTake:
		if task, ok := q.take(at, word); ok {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(task) // who doesn't get it asks again, and gets the same
			return
		}
		heard = true
	case protocol.PathTaskRenew:
		heard = q.renew(at, word)
	case protocol.PathTaskDone:
		heard = q.done(at, word)
	case protocol.PathTaskHandBack:
		heard = q.handBack(at, word)
	default:
		http.NotFound(w, r)
		return
	}
	if !heard {
		w.WriteHeader(http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// expire ends the leases that have run out by an instant, in the order in which they did.
func (q *Queue) expire(at time.Duration) {
	var over []*attempt
	for _, a := range q.given {
		if a.End == "" && a.until <= at {
			over = append(over, a)
		}
	}
	slices.SortStableFunc(over, func(a, b *attempt) int { return cmp.Compare(a.until, b.until) })
	for _, a := range over {
		a.End, a.Ended = timeline.TaskExpired, a.until
		q.giveBack(a.Task)
	}
}

// giveBack makes a task due again, unless somebody has done it.
func (q *Queue) giveBack(task int) {
	if !q.finished[task] {
		q.back = append(q.back, task)
	}
}

// take gives a task out: one that came back, or else the next one that is due. A process that has one
// already gets the same: it has not heard of it.
func (q *Queue) take(at time.Duration, by protocol.TaskWord) (protocol.Task, bool) {
	i := slices.IndexFunc(q.given, func(a *attempt) bool {
		return a.End == "" && a.Pod == by.Pod && a.process == by.Process
	})
	switch {
	case i >= 0:
		return q.task(q.given[i]), true
	case len(q.back) > 0:
		task := q.back[0]
		q.back = q.back[1:]
		return q.task(q.give(at, task, by)), true
	case q.plan.due(q.next) <= at:
		q.next++
		return q.task(q.give(at, q.next-1, by)), true
	}
	return protocol.Task{}, false
}

func (q *Queue) give(at time.Duration, task int, to protocol.TaskWord) *attempt {
	q.tries[task]++
	a := &attempt{
		TaskAttempt: timeline.TaskAttempt{
			Task: task, Attempt: q.tries[task], Pod: to.Pod, Due: q.plan.due(task), Taken: at, Heard: at,
		},
		process: to.Process, until: at + q.plan.Lease,
	}
	q.given = append(q.given, a)
	return a
}

// task is what its Pod is told of an attempt.
func (q *Queue) task(a *attempt) protocol.Task {
	return protocol.Task{Task: a.Task, Attempt: a.Attempt, Length: q.plan.Length, Lease: q.plan.Lease}
}

// find is the attempt that a Pod speaks of; nil if it had no such.
func (q *Queue) find(word protocol.TaskWord) *attempt {
	i := slices.IndexFunc(q.given, func(a *attempt) bool {
		return a.Task == word.Task && a.Attempt == word.Attempt && a.Pod == word.Pod && a.process == word.Process
	})
	if i < 0 {
		return nil
	}
	return q.given[i]
}

func (q *Queue) renew(at time.Duration, word protocol.TaskWord) bool {
	a := q.find(word)
	if a == nil || a.End != "" {
		return false
	}
	a.Heard, a.Worked, a.until = at, word.Worked, at+q.plan.Lease
	return true
}

// done takes note that the work is done. It is heard as often as it is said, and counts once for each
// time that the task was given out.
func (q *Queue) done(at time.Duration, word protocol.TaskWord) bool {
	a := q.find(word)
	switch {
	case a == nil || a.End == timeline.TaskHandedBack:
		return false
	case a.End == "":
		a.End, a.Ended, a.Heard, a.Worked = timeline.TaskDone, at, at, word.Worked
	case a.End == timeline.TaskExpired && a.DoneLate == 0:
		a.DoneLate, a.Worked = at, word.Worked
	}
	q.finished[a.Task] = true
	q.back = slices.DeleteFunc(q.back, func(task int) bool { return task == a.Task })
	return true
}

func (q *Queue) handBack(at time.Duration, word protocol.TaskWord) bool {
	a := q.find(word)
	switch {
	case a == nil:
		return false
	case a.End == "":
		a.End, a.Ended, a.Heard, a.Worked = timeline.TaskHandedBack, at, at, word.Worked
		q.giveBack(a.Task)
	}
	return a.End == timeline.TaskHandedBack
}
