package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// log is an observer that writes down what happens.
type eventLog struct {
	mu     sync.Mutex
	events []string
}

func (l *eventLog) add(event string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, event)
}

func (l *eventLog) started(s *step) { l.add("start " + s.name) }

func (l *eventLog) ended(s *step, err error) {
	if err != nil {
		l.add("break " + s.name)
		return
	}
	l.add("end " + s.name)
}

// sleeping is the work of a step that takes d.
func sleeping(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(d):
			return nil
		}
	}
}

func names(steps []*step) []string {
	var list []string
	for _, s := range steps {
		list = append(list, s.name)
	}
	return list
}

func TestPending(t *testing.T) {
	made := func(name string) *artifact { return &artifact{name: name} }
	download := &step{name: "download"}
	compile := &step{name: "compile", made: made("programs"), needs: []*step{download}}
	debian := &step{name: "debian", made: made("debian")}
	images := &step{name: "images", made: made("images"), needs: []*step{compile, debian}}
	node := &step{name: "node", needs: []*step{compile, debian, images}}

	for _, tc := range []struct {
		name     string
		finished []string
		want     []string
	}{
		{"nothing is there", nil, []string{"download", "compile", "debian", "images", "node"}},
		{"a finished step's downloads aren't needed", []string{"programs"}, []string{"debian", "images", "node"}},
		{
			"a part that is gone is made again, and what was made of it isn't",
			[]string{"images", "debian"},
			[]string{"download", "compile", "node"},
		},
		{"all parts are there", []string{"programs", "debian", "images"}, []string{"node"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := pending(node, func(a artifact) bool {
				return slices.Contains(tc.finished, a.name)
			})
			assert.Equal(t, tc.want, names(got))
		})
	}
}

func TestStepsThatDontNeedEachOtherOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		download := &step{name: "download", run: sleeping(60 * time.Second)}
		debian := &step{name: "debian", run: sleeping(120 * time.Second)}
		compile := &step{name: "compile", needs: []*step{download}, compiles: true, run: sleeping(90 * time.Second)}
		node := &step{name: "node", needs: []*step{compile, debian}, run: sleeping(10 * time.Second)}

		begin := time.Now()
		var log eventLog
		require.NoError(t, execute(t.Context(), []*step{download, debian, compile, node}, &log))
		assert.Equal(t, 160*time.Second, time.Since(begin))
		assert.Equal(t, []string{"end compile", "start node", "end node"}, log.events[len(log.events)-3:])
	})
}

func TestFewStepsCompileAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		var steps []*step
		for range 5 {
			steps = append(steps, &step{name: "compile", compiles: true, run: func(ctx context.Context) error {
				most.Store(max(most.Load(), running.Add(1)))
				defer running.Add(-1)
				return sleeping(time.Second)(ctx)
			}})
		}
		require.NoError(t, execute(t.Context(), steps, &eventLog{}))
		assert.EqualValues(t, compilers, most.Load())
	})
}

func TestAFailureStopsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("compiler says no")
		fails := &step{name: "compile A", run: func(ctx context.Context) error {
			_ = sleeping(time.Second)(ctx)
			return broken
		}}
		long := &step{name: "compile B", run: sleeping(time.Hour)}
		after := &step{name: "node", needs: []*step{fails, long}, run: sleeping(0)}

		begin := time.Now()
		var log eventLog
		err := execute(t.Context(), []*step{fails, long, after}, &log)
		require.ErrorIs(t, err, broken)
		assert.EqualError(t, err, "compile A: compiler says no")
		assert.Equal(t, time.Second, time.Since(begin))
		assert.NotContains(t, log.events, "start node")
		assert.Contains(t, log.events, "break compile B")
	})
}

func TestAnInterruptEndsTheBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		long := &step{name: "compile", compiles: true, run: sleeping(time.Hour)}
		waits := &step{name: "node", needs: []*step{long}, run: sleeping(0)}
		var log eventLog
		assert.ErrorIs(t, execute(ctx, []*step{long, waits}, &log), context.DeadlineExceeded)
		assert.Equal(t, []string{"start compile", "break compile"}, log.events)
	})
}

// The plan of the real build: what a run that was cut off has still to do.
func TestPlanOfTheNodeImage(t *testing.T) {
	r := newNodeRecipe()
	store := cache{dir: t.TempDir()}
	target := builder{cache: store}.planNode(r)

	all := names(pending(target, store.has))
	for _, c := range nodeModules() {
		assert.Contains(t, all, "download "+c.name)
		assert.Contains(t, all, "compile "+c.name)
	}
	assert.Equal(t, "make the node image", all[len(all)-1])

	everything := func(artifact) bool { return true }
	assert.Equal(t, []string{"make the node image"}, names(pending(target, everything)),
		"a Docker image that is gone costs only this")

	kubernetes := r.programs["Kubernetes"]
	without := func(a artifact) bool { return a != kubernetes }
	assert.Equal(t, []string{"download Kubernetes", "compile Kubernetes", "make the node image"},
		names(pending(target, without)))
}
