package queue

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

const sec = time.Second

// site is a queue whose clock a test sets.
type site struct {
	t *testing.T
	Queue
	at time.Duration
}

func newSite(t *testing.T, spec timeline.TaskSpec) *site {
	s := &site{t: t}
	s.Open(Plan{TaskSpec: spec}, func() time.Duration { return s.at })
	return s
}

// three are three tasks at once, and one more each minute.
func three(t *testing.T) *site {
	return newSite(t, timeline.TaskSpec{Length: 60 * sec, Lease: 5 * sec, First: 3, Every: 60 * sec})
}

// post says something to the queue at an instant.
func (s *site) post(at time.Duration, path string, word protocol.TaskWord) (code int, task protocol.Task) {
	s.at = at
	raw, err := json.Marshal(word)
	require.NoError(s.t, err)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(raw))))
	if w.Code == http.StatusOK {
		require.NoError(s.t, json.Unmarshal(w.Body.Bytes(), &task))
	}
	return w.Code, task
}

// take has a Pod take a task, which has to be there, and returns what the Pod says of it.
func (s *site) take(at time.Duration, pod string) protocol.TaskWord {
	s.t.Helper()
	code, task := s.post(at, protocol.PathTaskTake, protocol.TaskWord{Pod: pod})
	require.Equal(s.t, http.StatusOK, code)
	return protocol.TaskWord{Pod: pod, Task: task.Task, Attempt: task.Attempt}
}

func (s *site) says(at time.Duration, path string, word protocol.TaskWord, worked time.Duration) int {
	word.Worked = worked
	code, _ := s.post(at, path, word)
	return code
}

func TestDone(t *testing.T) {
	s := three(t)
	word := s.take(2*sec, "app-0")
	assert.Equal(t, protocol.TaskWord{Pod: "app-0", Task: 1, Attempt: 1}, word)
	assert.Equal(t, 204, s.says(4*sec, protocol.PathTaskRenew, word, 2*sec))
	assert.Equal(t, 204, s.says(8*sec, protocol.PathTaskRenew, word, 6*sec))
	assert.Equal(t, 204, s.says(12*sec, protocol.PathTaskDone, word, 10*sec))
	assert.Equal(t, 204, s.says(13*sec, protocol.PathTaskDone, word, 11*sec), "the answer was lost, and it says so again")
	assert.Equal(t, 409, s.says(13*sec, protocol.PathTaskRenew, word, 11*sec))
	assert.Equal(t, 409, s.says(13*sec, protocol.PathTaskHandBack, word, 11*sec))
	assert.Equal(t, []timeline.TaskAttempt{{
		Task: 1, Attempt: 1, Pod: "app-0", Taken: 2 * sec, Ended: 12 * sec, End: timeline.TaskDone, Heard: 12 * sec, Worked: 10 * sec,
	}}, s.Close())
}

// TestExpired: a lease that runs out gives the task to another, when it ran out, and not when somebody asked.
func TestExpired(t *testing.T) {
	s := three(t)
	word := s.take(0, "app-0")
	assert.Equal(t, 204, s.says(4*sec, protocol.PathTaskRenew, word, 4*sec))
	assert.Equal(t, 2, s.take(8999*time.Millisecond, "app-1").Task)
	again := s.take(20*sec, "app-2")
	assert.Equal(t, protocol.TaskWord{Pod: "app-2", Task: 1, Attempt: 2}, again, "before those that were never taken")
	assert.Equal(t, 409, s.says(21*sec, protocol.PathTaskRenew, word, 21*sec), "it has lost it")
	s.at = 22 * sec
	given := s.Close()
	require.Len(t, given, 3)
	assert.Equal(t, timeline.TaskAttempt{
		Task: 1, Attempt: 1, Pod: "app-0", Ended: 9 * sec, End: timeline.TaskExpired, Heard: 4 * sec, Worked: 4 * sec,
	}, given[0])
	assert.Equal(t, timeline.TaskExpired, given[1].End)
	assert.Equal(t, timeline.TaskOpen, given[2].End)
	assert.Equal(t, 22*sec, given[2].Ended)
}

func TestHandBack(t *testing.T) {
	s := three(t)
	word := s.take(0, "app-0")
	assert.Equal(t, 204, s.says(3*sec, protocol.PathTaskHandBack, word, 3*sec))
	assert.Equal(t, 204, s.says(3*sec, protocol.PathTaskHandBack, word, 3*sec), "the answer was lost, and it says so again")
	assert.Equal(t, 409, s.says(4*sec, protocol.PathTaskDone, word, 4*sec))
	assert.Equal(t, protocol.TaskWord{Pod: "app-1", Task: 1, Attempt: 2}, s.take(3*sec, "app-1"))
	assert.Equal(t, 2, s.take(3*sec, "app-2").Task, "it came back once")
	assert.Equal(t, timeline.TaskHandedBack, s.Close()[0].End)
}

// TestDoneLate: who has lost the lease may have done the work all the same. Both count.
func TestDoneLate(t *testing.T) {
	for _, tt := range []struct {
		name  string
		later func(s *site, first protocol.TaskWord)
		want  int // times that task 1 was done
	}{
		{"before anybody else has it", func(s *site, first protocol.TaskWord) {
			assert.Equal(t, 204, s.says(6*sec, protocol.PathTaskDone, first, 6*sec))
			assert.Equal(t, 2, s.take(7*sec, "app-1").Task, "it is done, and not due again")
		}, 1},
		{"while another has it", func(s *site, first protocol.TaskWord) {
			second := s.take(6*sec, "app-1")
			assert.Equal(t, 1, second.Task)
			assert.Equal(t, 204, s.says(7*sec, protocol.PathTaskDone, first, 7*sec))
			assert.Equal(t, 204, s.says(8*sec, protocol.PathTaskDone, second, 2*sec))
		}, 2},
		{"when another has done it", func(s *site, first protocol.TaskWord) {
			second := s.take(6*sec, "app-1")
			assert.Equal(t, 204, s.says(8*sec, protocol.PathTaskDone, second, 2*sec))
			assert.Equal(t, 204, s.says(9*sec, protocol.PathTaskDone, first, 9*sec))
			assert.Equal(t, 204, s.says(9*sec, protocol.PathTaskDone, first, 9*sec))
		}, 2},
		{"and the other loses it, too", func(s *site, first protocol.TaskWord) {
			s.take(6*sec, "app-1")
			assert.Equal(t, 204, s.says(9*sec, protocol.PathTaskDone, first, 9*sec))
			assert.Equal(t, 2, s.take(20*sec, "app-2").Task, "it is done, and not due again")
		}, 1},
		{"never", func(s *site, _ protocol.TaskWord) { s.take(6*sec, "app-1") }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := three(t)
			tt.later(s, s.take(0, "app-0"))
			n := 0
			for _, a := range s.Close() {
				if _, done := a.Done(); done && a.Task == 1 {
					n++
				}
			}
			assert.Equal(t, tt.want, n)
		})
	}
}

// TestTake: tasks are given out when they are due, and one at a time.
func TestTake(t *testing.T) {
	s := &site{t: t}
	none := func(at time.Duration, pod string) {
		t.Helper()
		code, _ := s.post(at, protocol.PathTaskTake, protocol.TaskWord{Pod: pod})
		assert.Equal(t, http.StatusNoContent, code)
	}
	none(0, "app-0")
	assert.Nil(t, s.Close(), "it was never opened")
	s = &site{t: t}
	spec := timeline.TaskSpec{Length: 60 * sec, Lease: 60 * sec, First: 2, Every: 10 * sec}
	s.Open(Plan{TaskSpec: spec, Start: 5 * sec}, func() time.Duration { return s.at })
	none(4*sec, "app-0")
	first := s.take(5*sec, "app-0")
	assert.Equal(t, first, s.take(6*sec, "app-0"), "it has not heard of it, and asks again")
	code, other := s.post(6*sec, protocol.PathTaskTake, protocol.TaskWord{Pod: "app-0", Process: 2})
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, protocol.Task{Task: 2, Attempt: 1, Length: 60 * sec, Lease: 60 * sec}, other, "another process of that name")
	none(14*sec, "app-1")
	assert.Equal(t, 3, s.take(15*sec, "app-1").Task)
	given := s.Close()
	require.Len(t, given, 3)
	assert.Equal(t, []time.Duration{5 * sec, 5 * sec, 15 * sec}, []time.Duration{given[0].Due, given[1].Due, given[2].Due})
	none(30*sec, "app-2")
	assert.Equal(t, 409, s.says(16*sec, protocol.PathTaskDone, first, sec), "nobody counts it any more")
}

func TestStrangers(t *testing.T) {
	s := three(t)
	word := s.take(0, "app-0")
	for name, stranger := range map[string]protocol.TaskWord{
		"another Pod":     {Pod: "app-1", Task: 1, Attempt: 1},
		"another process": {Pod: "app-0", Process: 2, Task: 1, Attempt: 1},
		"another task":    {Pod: "app-0", Task: 2, Attempt: 1},
		"another attempt": {Pod: "app-0", Task: 1, Attempt: 2},
	} {
		for _, path := range []string{protocol.PathTaskRenew, protocol.PathTaskDone, protocol.PathTaskHandBack} {
			assert.Equal(t, 409, s.says(sec, path, stranger, sec), "%s: %s", name, path)
		}
	}
	assert.Equal(t, 400, s.says(sec, protocol.PathTaskDone, protocol.TaskWord{Task: 1}, sec))
	assert.Equal(t, 404, s.says(sec, "/tasks/other", word, sec))
	assert.Equal(t, 204, s.says(sec, protocol.PathTaskDone, word, sec))
}

// TestPlantedTruth: Pods that lose the lease of exactly k of n tasks, and do the work all the same when another has it. Exactly k are done twice, and no
// task is forgotten; 59 times, so that a bug that shows once in twenty is seen with 95 % certainty.
func TestPlantedTruth(t *testing.T) {
	for seed := range uint64(59) {
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's
		n := 5 + random.IntN(40)
		s := newSite(t, timeline.TaskSpec{Length: sec, Lease: 2 * sec, First: n, Every: time.Hour})
		loses := map[int]bool{}
		for _, i := range random.Perm(n)[:random.IntN(n+1)] {
			loses[i+1] = true
		}
		var late []protocol.TaskWord
		at := time.Duration(0)
		for range n + len(loses) { // one at a time: which of them is given out next is the queue's choice
			word := s.take(at, "app-"+string(rune('a'+random.IntN(20))))
			if loses[word.Task] && word.Attempt == 1 {
				late = append(late, word)
				at += 3 * sec
				continue
			}
			at += sec
			require.Equal(t, 204, s.says(at, protocol.PathTaskDone, word, sec))
		}
		for _, word := range late {
			require.Equal(t, 204, s.says(at, protocol.PathTaskDone, word, sec))
		}
		code, _ := s.post(at, protocol.PathTaskTake, protocol.TaskWord{Pod: "app-z"})
		require.Equal(t, 204, code, "none is left")
		done := map[int]int{}
		for _, a := range s.Close() {
			if _, ok := a.Done(); ok {
				done[a.Task]++
			}
		}
		for task := range n {
			want := 1
			if loses[task+1] {
				want = 2
			}
			require.Equal(t, want, done[task+1], "seed %d, task %d", seed, task+1)
		}
	}
}
