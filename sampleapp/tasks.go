package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// taskAction is what the process does on SIGTERM about the task that it has. It takes no other then.
type taskAction string

const (
	// taskFinish goes on until the task is done, and serves on meanwhile: the process ends after that, if
	// its grace period lets it.
	taskFinish taskAction = "finish"
	// taskHandBack gives the task back at once, so that another can begin it anew.
	taskHandBack taskAction = "handback"
)

// taskConfig is what the flags say of tasks.
type taskConfig struct {
	taskQueue     string // URL; empty: no task is taken
	taskAction    taskAction
	taskLoseEvery int
}

func (c *taskConfig) addTaskFlags(flags *flag.FlagSet) {
	c.taskAction = taskFinish
	flags.StringVar(&c.taskQueue, "tasks", "",
		"`URL` of a queue to take long tasks from, one at a time, as in http://tasks:8090. What is done of a task is in a "+
			"file in the folder of -scratch. Needs -scratch, and -on-sigterm=shutdown or delay. Empty: none is taken.")
	flags.StringVar((*string)(&c.taskAction), "tasks-on-sigterm", string(taskFinish),
		"`action` on SIGTERM for the task that is under way. finish: go on, serve until it is done, and shut down then. "+
			"handback: give it back to the queue at once. Needs -tasks.")
	flags.IntVar(&c.taskLoseEvery, "tasks-lose-every", 0,
		"Lose the lease of each task whose own `number` is a multiple of it, the first time it is given out, and need twice "+
			"as long for it, as one does that hangs for a while: for a test, in which it is done twice. 0: none.")
}

// validateTasks says what is wrong with the flags of tasks.
func (c config) validateTasks(given map[string]bool, shutsDown bool) error {
	at, err := url.Parse(c.taskQueue)
	switch {
	case c.taskQueue != "" && (err != nil || at.Scheme != "http" || at.Host == ""):
		return fmt.Errorf("-tasks %q: want a URL, as http://tasks:8090", c.taskQueue)
	case c.taskQueue != "" && c.scratch == "":
		return errors.New("-tasks needs -scratch, for what is done of a task")
	case c.taskQueue != "" && !shutsDown:
		return fmt.Errorf("-tasks needs -on-sigterm=shutdown or delay, not %s", c.onSIGTERM)
	case c.taskQueue == "" && (given["tasks-on-sigterm"] || given["tasks-lose-every"]):
		return errors.New("-tasks-on-sigterm and -tasks-lose-every need -tasks")
	case c.taskAction != taskFinish && c.taskAction != taskHandBack:
		return fmt.Errorf("-tasks-on-sigterm %q is unknown, want finish or handback", c.taskAction)
	case c.taskLoseEvery < 0:
		return fmt.Errorf("-tasks-lose-every %d: want 0 or more", c.taskLoseEvery)
	}
	return nil
}

// tasks are those that the process takes.
type tasks struct {
	running sync.WaitGroup // of what takes them
	taken   atomic.Int64   // that it has at present: 0 or 1
	drained atomic.Bool    // none is taken any more
}

const (
	// askEvery is how often the queue is asked for a task, and asked again where it can't be reached.
	askEvery = 200 * time.Millisecond
	// askWithin is how long the queue may take to answer.
	askWithin = time.Second
	// Work comes in bursts of one hundredth of the time, as many replicas share few CPUs. Each writes a
	// block.
	burstEvery = 100 * time.Millisecond
	burst      = time.Millisecond
	blockSize  = 4 << 10
)

// drain has the app take no further task. It goes on with the one that it has.
func (s *server) drain(w http.ResponseWriter, r *http.Request) {
	if s.ordered(w, r, nil) {
		s.tasks.drained.Store(true)
		_ = s.answer(w, http.StatusOK, "draining\n")
	}
}

// runTasks takes tasks and does them, one after the other, until SIGTERM comes or the app is drained.
func (s *server) runTasks(process time.Time) {
	if s.taskQueue == "" {
		return
	}
	q := queue{client: &http.Client{Timeout: askWithin}, url: s.taskQueue}
	defer q.client.CloseIdleConnections()
	self := protocol.TaskWord{Pod: s.pod, Process: process.UnixNano()}
	for !s.tasks.drained.Load() {
		select {
		case <-s.terminator.began:
			return
		case <-time.After(askEvery):
		}
		if task, ok := q.take(self); ok {
			s.tasks.taken.Store(1)
			s.do(q, self, task)
			s.tasks.taken.Store(0)
		}
	}
}

// do works on a task to its end, and tells of that.
func (s *server) do(q queue, word protocol.TaskWord, task protocol.Task) {
	began := time.Now()
	word.Task, word.Attempt = task.Task, task.Attempt
	s.life.record(began, protocol.Event{Event: protocol.EventTaskTaken, Task: new(word)})
	err := s.workOn(q, &word, task, began)
	ended := protocol.Event{Event: protocol.EventTaskEnded, Task: &word}
	if err != nil {
		word.By, ended.Error = protocol.TaskLost, err.Error()
	}
	s.life.record(time.Now(), ended)
}

// errLeaseLost is the guarantee that nobody works on a task for long which another may have by now.
var errLeaseLost = errors.New("the lease of the task was lost")

// workOn works on a task until it is done, or to be handed back. An error is that it was lost.
func (s *server) workOn(q queue, word *protocol.TaskWord, task protocol.Task, began time.Time) (err error) {
	file, err := os.Create(filepath.Join(s.scratch, fmt.Sprintf("task-%d", task.Task)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	var handBack <-chan struct{}
	if s.taskAction == taskHandBack {
		handBack = s.terminator.began
	}
	loses := s.taskLoseEvery > 0 && task.Task%s.taskLoseEvery == 0 && task.Attempt == 1
	if loses {
		task.Length *= 2 // until when another has it
	}
	renewed, renew := began, began.Add(task.Lease/5)
	tick := time.NewTicker(burstEvery)
	defer tick.Stop()
	block := make([]byte, blockSize)
	for {
		select {
		case <-handBack:
			word.Worked, word.By = time.Since(began), protocol.TaskHandedBack
			return q.insist(protocol.PathTaskHandBack, *word, renewed.Add(task.Lease))
		case <-tick.C:
		}
		for until := time.Now().Add(burst); time.Now().Before(until); {
			sum := sha256.Sum256(block)
			copy(block, sum[:])
		}
		if _, err := file.Write(block); err != nil {
			return err
		}
		now := time.Now()
		word.Worked = now.Sub(began)
		switch {
		case word.Worked >= task.Length:
			word.By = protocol.TaskDone
			return q.insist(protocol.PathTaskDone, *word, now.Add(task.Lease))
		case loses || now.Before(renew):
		default:
			switch err := q.tell(protocol.PathTaskRenew, *word); {
			case err == nil:
				renewed, renew = now, now.Add(task.Lease/5)
			case errors.Is(err, errLeaseLost), now.Sub(renewed) > task.Lease:
				return err
			}
		}
	}
}

// queue is the way to the queue.
type queue struct {
	client *http.Client
	url    string
}

// take asks for a task; false if there is none, or nobody to ask.
func (q queue) take(self protocol.TaskWord) (task protocol.Task, ok bool) {
	resp, err := q.post(protocol.PathTaskTake, self)
	if err != nil {
		return task, false
	}
	defer resp.Body.Close()
	return task, resp.StatusCode == http.StatusOK && json.NewDecoder(resp.Body).Decode(&task) == nil
}

// tell says something of a task. A refusal wraps errLeaseLost.
func (q queue) tell(path string, word protocol.TaskWord) error {
	word.By = ""
	resp, err := q.post(path, word)
	if err != nil {
		return fmt.Errorf("POST %s: %w", path, err)
	}
	_ = resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNoContent:
		return nil
	case http.StatusConflict:
		return fmt.Errorf("POST %s: %w", path, errLeaseLost)
	}
	return fmt.Errorf("POST %s: %s", path, resp.Status)
}

// insist tells it again until the queue has heard of it, or it is too late for that.
func (q queue) insist(path string, word protocol.TaskWord, until time.Time) error {
	for {
		err := q.tell(path, word)
		if err == nil || errors.Is(err, errLeaseLost) || time.Now().After(until) {
			return err
		}
		<-time.After(askEvery)
	}
}

func (q queue) post(path string, word protocol.TaskWord) (*http.Response, error) {
	raw, err := json.Marshal(word)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, q.url+path, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return q.client.Do(req)
}
