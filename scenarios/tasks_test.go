package scenarios

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTasks: each Pod has a task from the beginning, and a task takes longer than the default grace period and less than the long one.
func TestTasks(t *testing.T) {
	c := catalogue(t)
	for _, cell := range taskCells() {
		strategy := cell.Strategy
		s, err := c.Find(strategy, "rolling-update", DefaultRate)
		require.NoError(t, err)
		tasks := s.Tasks()
		require.NotNil(t, tasks, strategy)
		assert.Equal(t, Tasks{Length: TaskLength, Lease: taskLease, First: 3, Every: TaskLength}, *tasks)
		assert.Equal(t, 65*time.Second, tasks.Again())
		rendered, err := s.Render("")
		require.NoError(t, err)
		if grace := rendered.Grace(); strategy == "tasks-long-grace" {
			assert.Greater(t, grace, MaxTaskLength+5*time.Second+10*time.Second, "and the delay and Shutdown")
		} else {
			assert.Less(t, grace+10*time.Second, TaskLength)
		}
	}
	s, err := c.Find("prestop-sleep", "rolling-update", DefaultRate)
	require.NoError(t, err)
	assert.Nil(t, s.Tasks())
}

// TestTaskLength: every scenario has what the selection asks for.
func TestTaskLength(t *testing.T) {
	list, err := catalogue(t).Select(Selection{
		Profile: "long", Strategies: []string{"tasks-default-grace", "tasks-long-grace", "tasks-hand-back"},
		Disruptions: []string{"rolling-update"}, TaskLength: 20 * time.Second,
	})
	require.NoError(t, err)
	require.Len(t, list, 4)
	for _, s := range list[1:] {
		assert.Equal(t, 20*time.Second, s.Tasks().Length, s.Name())
	}
}
