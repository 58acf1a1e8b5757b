package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/suite"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// TestTasksTruth holds what is said of long tasks against the truth: Pods lose the lease of every second task, and do it all the same, when another has it
// by then. Each of these counts as done twice, and no other does; nothing is cut or handed back, as nothing happens to any Pod.
func TestTasksTruth(t *testing.T) {
	long(t, suite.LongTruth)
	truth := shared.With(func(c *suite.Config) {
		c.Out, c.TaskLength, c.Lanes = filepath.Join(c.Out, "truth"), 15*time.Second, []string{"service/new"}
	})
	runs := runsOf(t, truth, "tasks-long-grace", "none")
	require.Len(t, runs, 1)
	run := runs[0]
	run.Strategy = run.Strategy.With("-tasks-lose-every=2")
	v, dir := truth.Attempt(testContext(t), t, run, 1, 1)
	require.Equal(t, verdict.Pass, v.Outcome, "%v", v.Reasons)
	done := tasksDone(t, filepath.Join(dir, "pods"))
	twice := 0
	for task, n := range done {
		if n > 1 {
			twice++
			assert.Zero(t, task%2, "task %d", task)
		}
	}
	require.NotNil(t, v.Tasks)
	require.Positive(t, twice)
	assert.Equal(t, []int{len(done), twice}, []int{v.Tasks.Finished, v.Tasks.DoneTwice})
	assert.Equal(t, []int{0, 0}, []int{v.Tasks.Cut, v.Tasks.HandedBack})
	assert.GreaterOrEqual(t, v.Tasks.Lapsed, twice)
	t.Logf("%d tasks given out, %d done, %d of them twice", v.Tasks.Given, len(done), twice)
}

// tasksDone reads from the Pods' logs how often each task was done.
func tasksDone(t *testing.T, dir string) map[int]int {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	require.NoError(t, err)
	require.NotEmpty(t, logs, "no log of a Pod in %s", dir)
	out := map[int]int{}
	for _, path := range logs {
		f, err := os.Open(path)
		require.NoError(t, err)
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var event protocol.Event
			if json.Unmarshal(lines.Bytes(), &event) == nil && event.Event == protocol.EventTaskEnded &&
				event.Task.By == protocol.TaskDone {
				out[event.Task.Task]++
			}
		}
		require.NoError(t, f.Close())
	}
	return out
}
