package cluster

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/zerodrop/zerodrop/e2e/internal/harness"
	"github.com/zerodrop/zerodrop/e2e/internal/worker"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestTaskQueue: the Service of the queue is the first worker's, and there is one where Pods ask for it alone.
func TestTaskQueue(t *testing.T) {
	objects, err := fixtures.TaskQueue()
	require.NoError(t, err)
	require.Len(t, objects, 1)
	assert.Equal(t, map[string]string{"app": loadName, batchv1.JobCompletionIndexAnnotation: "0"}, selectorOf(objects[0]))
	ports, _, err := unstructured.NestedSlice(objects[0].Object, "spec", "ports")
	require.NoError(t, err)
	assert.EqualValues(t, worker.Port, ports[0].(map[string]any)["port"])

	app := &App{cluster: &Cluster{}}
	none, err := app.taskQueue(find(t, "prestop-sleep", "rolling-update"), true)
	require.NoError(t, err)
	assert.Empty(t, none)
	s := find(t, "tasks-hand-back", "rolling-update")
	_, err = app.taskQueue(s, false)
	require.ErrorIs(t, err, errNoQueue)
}

// TestJobOfTasks: workers live for as long as a run with tasks may take.
func TestJobOfTasks(t *testing.T) {
	s := find(t, "tasks-long-grace", "rolling-update")
	job, err := (&App{cluster: &Cluster{}}).job(s)
	require.NoError(t, err)
	longer := harness.LimitFor(scenarios.Run{Scenario: s}, 3) - harness.Defaults.Limit
	assert.InDelta(t, 900+longer.Seconds(), *job.Spec.Template.Spec.ActiveDeadlineSeconds, 0)
	assert.Positive(t, longer)
}
