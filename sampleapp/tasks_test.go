package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// queueOf is a queue that gives tasks out, each once, and writes down what it is told of them.
type queueOf struct {
	url string

	mu     sync.Mutex
	tasks  []protocol.Task
	codes  map[string]int // what it answers, by path; 204 for others
	told   map[string][]protocol.TaskWord
	blames []string
}

func newQueue(t *testing.T, tasks ...protocol.Task) *queueOf {
	q := &queueOf{tasks: tasks, codes: map[string]int{}, told: map[string][]protocol.TaskWord{}}
	server := httptest.NewServer(q)
	t.Cleanup(server.Close)
	q.url = server.URL
	return q
}

func (q *queueOf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var word protocol.TaskWord
	if err := json.NewDecoder(r.Body).Decode(&word); err != nil || r.Method != http.MethodPost {
		q.blames = append(q.blames, r.Method+" "+r.URL.Path)
	}
	q.told[r.URL.Path] = append(q.told[r.URL.Path], word)
	if code := q.codes[r.URL.Path]; code != 0 {
		w.WriteHeader(code)
		return
	}
	if r.URL.Path != protocol.PathTaskTake || len(q.tasks) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	task := q.tasks[0]
	q.tasks = q.tasks[1:]
	_ = json.NewEncoder(w).Encode(task)
}

// answers has it answer a path with a code from now on.
func (q *queueOf) answers(path string, code int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.codes[path] = code
}

// heard is what the queue was told by a path.
func (q *queueOf) heard(path string) []protocol.TaskWord {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.told[path])
}

// working starts the app with tasks of a queue.
func working(t *testing.T, q *queueOf, args ...string) (c *child, dir string) {
	dir = t.TempDir()
	c = listening(t, append([]string{"-addr", "127.0.0.1:0", "-on-sigterm=shutdown", "-tasks=" + q.url, "-scratch=" + dir}, args...)...)
	t.Cleanup(func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		assert.Empty(t, q.blames)
	})
	return c, dir
}

// tasksEnded waits until so many tasks have ended, and returns what the app says of these.
func (c *child) tasksEnded(n int) []protocol.Event {
	deadline := time.After(patience)
	for {
		events, more := c.all()
		events = slices.DeleteFunc(slices.Clone(events), func(e protocol.Event) bool { return e.Event != protocol.EventTaskEnded })
		if len(events) >= n {
			return events
		}
		select {
		case <-more:
		case <-deadline:
			require.Fail(c.t, "not so many tasks have ended", "%d of %d", len(events), n)
		}
	}
}

// a task that takes long enough for its lease to be renewed.
const short, lease = 400 * time.Millisecond, 500 * time.Millisecond

func TestTasksAreDone(t *testing.T) {
	t.Parallel()
	q := newQueue(t, protocol.Task{Task: 7, Attempt: 2, Length: short, Lease: lease}, protocol.Task{Task: 8, Attempt: 1, Length: short, Lease: lease})
	c, dir := working(t, q)
	ends := c.tasksEnded(2)
	for i, e := range ends {
		assert.Empty(t, e.Error)
		assert.Equal(t, []int{7 + i, 2 - i}, []int{e.Task.Task, e.Task.Attempt})
		assert.Equal(t, protocol.TaskDone, e.Task.By)
		assert.Equal(t, c.pod, e.Task.Pod)
		assert.GreaterOrEqual(t, e.Task.Worked, short)
	}
	taken := c.await(protocol.EventTaskTaken)
	assert.Equal(t, []int{7, 2}, []int{taken.Task.Task, taken.Task.Attempt})
	done := q.heard(protocol.PathTaskDone)
	require.Len(t, done, 2, "one at a time")
	assert.Equal(t, ends[0].Task.Worked, done[0].Worked)
	assert.Equal(t, c.pod, done[0].Pod)
	assert.NotZero(t, done[0].Process)
	renewed := q.heard(protocol.PathTaskRenew)
	require.NotEmpty(t, renewed)
	assert.Less(t, renewed[0].Worked, short)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left, "a task's file goes with it")
	c.sigterm()
	assert.Equal(t, exitOK, c.exited().ExitCode())
}

// TestTasksOnSIGTERM: the app finishes its task, and serves until then, or hands it back at once. It takes no other.
func TestTasksOnSIGTERM(t *testing.T) {
	t.Parallel()
	t.Run("finish", func(t *testing.T) {
		t.Parallel()
		q := newQueue(t, protocol.Task{Task: 1, Attempt: 1, Length: 1500 * time.Millisecond, Lease: lease}, protocol.Task{Task: 2, Attempt: 1})
		c, _ := working(t, q)
		c.await(protocol.EventTaskTaken)
		c.sigterm()
		c.await(protocol.EventSIGTERM)
		assert.Contains(t, c.dial().get("/metrics").body, "\nzerodrop_tasks 1\n", "it goes on serving")
		assert.Equal(t, exitOK, c.exited().ExitCode())
		assert.Equal(t, []string{"start", "listening", "task-taken", "sigterm", "task-ended", "shutdown-begin", "listener-closed", "exit"}, c.names())
		assert.Equal(t, protocol.TaskDone, c.tasksEnded(1)[0].Task.By)
	})
	t.Run("hand back", func(t *testing.T) {
		t.Parallel()
		q := newQueue(t, protocol.Task{Task: 1, Attempt: 1, Length: time.Hour, Lease: time.Minute}, protocol.Task{Task: 2, Attempt: 1})
		c, _ := working(t, q, "-tasks-on-sigterm=handback")
		c.await(protocol.EventTaskTaken)
		c.sigterm()
		assert.Equal(t, exitOK, c.exited().ExitCode())
		assert.Equal(t, protocol.TaskHandedBack, c.tasksEnded(1)[0].Task.By)
		back := q.heard(protocol.PathTaskHandBack)
		require.Len(t, back, 1)
		assert.Equal(t, c.tasksEnded(1)[0].Task.Worked, back[0].Worked)
		assert.Empty(t, q.heard(protocol.PathTaskDone))
	})
	t.Run("without a task", func(t *testing.T) {
		t.Parallel()
		c, _ := working(t, newQueue(t))
		c.sigterm()
		assert.Equal(t, exitOK, c.exited().ExitCode())
		assert.False(t, c.seen(protocol.EventTaskTaken))
	})
	t.Run("without a queue", func(t *testing.T) {
		t.Parallel()
		c, _ := working(t, &queueOf{url: "http://127.0.0.1:1"})
		c.sigterm()
		assert.Equal(t, exitOK, c.exited().ExitCode())
	})
}

// TestTasksLost: who has lost the lease gives the task up.
func TestTasksLost(t *testing.T) {
	t.Parallel()
	q := newQueue(t, protocol.Task{Task: 1, Attempt: 1, Length: time.Hour, Lease: lease})
	q.answers(protocol.PathTaskRenew, http.StatusConflict)
	c, _ := working(t, q)
	end := c.tasksEnded(1)[0]
	assert.Equal(t, protocol.TaskLost, end.Task.By)
	assert.Contains(t, end.Error, "the lease of the task was lost")
	assert.Empty(t, q.heard(protocol.PathTaskDone))
}

// TestTasksCutOff: a lease that nobody renews, as the queue can't be reached, runs out.
func TestTasksCutOff(t *testing.T) {
	t.Parallel()
	q := newQueue(t, protocol.Task{Task: 1, Attempt: 1, Length: time.Hour, Lease: lease})
	q.answers(protocol.PathTaskRenew, http.StatusBadGateway)
	c, _ := working(t, q)
	end := c.tasksEnded(1)[0]
	assert.Equal(t, protocol.TaskLost, end.Task.By)
	assert.Contains(t, end.Error, "502")
	assert.GreaterOrEqual(t, end.Task.Worked, lease)
}

// TestTasksLoseEvery: exactly each second task, and that the first time, is done without a lease.
func TestTasksLoseEvery(t *testing.T) {
	t.Parallel()
	var tasks []protocol.Task
	for n := range 5 {
		tasks = append(tasks, protocol.Task{Task: n + 1, Attempt: 1, Length: short, Lease: lease})
	}
	q := newQueue(t, append(tasks, protocol.Task{Task: 2, Attempt: 2, Length: short, Lease: lease})...)
	c, _ := working(t, q, "-tasks-lose-every=2")
	c.tasksEnded(6)
	assert.Len(t, q.heard(protocol.PathTaskDone), 6, "all are done")
	renewed := map[[2]int]bool{}
	for _, word := range q.heard(protocol.PathTaskRenew) {
		renewed[[2]int{word.Task, word.Attempt}] = true
	}
	assert.Equal(t, map[[2]int]bool{{1, 1}: true, {3, 1}: true, {5, 1}: true, {2, 2}: true}, renewed)
}

// TestDrain: an app that is told to takes no further task, and finishes the one that it has.
func TestDrain(t *testing.T) {
	t.Parallel()
	task := protocol.Task{Task: 1, Attempt: 1, Length: short, Lease: lease}
	q := newQueue(t, task, task)
	c, _ := working(t, q)
	c.await(protocol.EventTaskTaken)
	client := c.dial()
	assert.Equal(t, http.StatusMethodNotAllowed, client.get(protocol.PathDrain).code)
	ordered, err := client.try("POST " + protocol.PathDrain + " HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, ordered.code)
	assert.Equal(t, protocol.TaskDone, c.tasksEnded(1)[0].Task.By)
	asked := len(q.heard(protocol.PathTaskTake))
	c.sigterm()
	assert.Equal(t, exitOK, c.exited().ExitCode())
	assert.Len(t, q.heard(protocol.PathTaskTake), asked)
	assert.Len(t, c.tasksEnded(1), 1)
}
