package report

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// withTasks is a run whose Pods have long tasks.
func withTasks(strategy string, tasks verdict.Tasks) verdict.Verdict {
	v := run(strategy, "rolling-update", 40*second, 90, lane("service/new", clean, 10000, nil, 0))
	v.Tasks = &tasks
	return v
}

var (
	someCut = verdict.Tasks{
		Length: 60 * second, Given: 5, Finished: 4, Open: 1, DoneTwice: 1,
		Attempts: 9, Done: 4, Cut: 2, HandedBack: 1, Lapsed: 1, Unended: 1,
		Lost: 101 * second, Took: []time.Duration{60 * second, 60 * second, 90 * second, 105 * second}, OpenMax: 30 * second,
		Ends: []verdict.TaskEnds{
			{Pod: "app-1", Phase: verdict.Terminating, HandedBack: 1, Lost: second},
			{Pod: "app-1", Phase: verdict.CutAtExit, Cut: 1, Lost: 40 * second},
			{Pod: "app-2", Phase: verdict.CutAtExit, Cut: 1, Lost: 50 * second},
			{Pod: "app-2", Phase: verdict.Unattributed, Lapsed: 1, Lost: 10 * second},
		},
		Why: map[string]int{"who knows": 1},
	}
	noneCut = verdict.Tasks{Length: 60 * second, Given: 4, Finished: 4, Attempts: 4, Done: 4, Took: []time.Duration{60 * second}}
)

// TestTasks: what became of long tasks, over all conclusive repeats; and in which phase of their Pods' lives.
func TestTasks(t *testing.T) {
	assert.Empty(t, tasks(newModel(suite(run("prestop-sleep", "rolling-update", 20*second, 10)))).Blocks)

	s := tasks(newModel(suite(
		withTasks("tasks-default-grace", someCut), repeat(2, withTasks("tasks-default-grace", someCut)),
		withTasks("tasks-long-grace", noneCut), repeat(2, doubt(withTasks("tasks-long-grace", someCut), "no CPU")),
	)))
	require.Len(t, s.Blocks, 2)
	assert.ElementsMatch(t, [][]string{
		{"rolling-update", "tasks-default-grace", "60.0s", "10", "8", "2", "4", "2", "2", "2", "202.0s", "60.0s", "105.0s"},
		{"rolling-update", "tasks-long-grace", "60.0s", "4", "4", "0", "0", "0", "0", "0", "0s", "60.0s", "60.0s"},
	}, rowsOfTable(s.Blocks[0].Table))
	assert.Equal(t, [][]string{
		{"rolling-update", "tasks-default-grace", "terminating", "2", "0", "2", "0", "2.0s"},
		{"rolling-update", "tasks-default-grace", "cut-at-exit", "4", "4", "0", "0", "180.0s"},
		{"rolling-update", "tasks-default-grace", "unattributed", "2", "0", "0", "2", "20.0s"},
	}, rowsOfTable(s.Blocks[1].Table))

	s = tasks(newModel(suite(withTasks("tasks-long-grace", noneCut))))
	require.Len(t, s.Blocks, 1, "nothing was cut, handed back or lost")
	assert.NotContains(t, written(t, Markdown, suite(withTasks("tasks-long-grace", noneCut))), "lapsed |")
}

// TestTaskNotes: the first glance has a line of it.
func TestTaskNotes(t *testing.T) {
	assert.Equal(t, []string{
		"tasks of 60.0s under rolling-update: tasks-default-grace: 2 cut, 1 handed back, 1 done twice, 101.0s of work lost; " +
			"tasks-long-grace: 0 cut, 0 handed back, 0 done twice, 0s of work lost",
	}, newModel(suite(withTasks("tasks-default-grace", someCut), withTasks("tasks-long-grace", noneCut))).taskNotes())
	assert.Empty(t, newModel(suite(run("prestop-sleep", "rolling-update", 20*second, 10))).taskNotes())
}

// TestTasksInJSON: what the file says keeps the schema, and is read as it was written.
func TestTasksInJSON(t *testing.T) {
	text := written(t, JSON, suite(withTasks("tasks-default-grace", someCut), withTasks("tasks-long-grace", noneCut)))
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err)
	require.NoError(t, compiledSchema(t).Validate(doc))
	f, err := Read(strings.NewReader(text))
	require.NoError(t, err)
	assert.Equal(t, &FileTasks{
		LengthSeconds: 60, Given: 5, Finished: 4, Open: 1, DoneTwice: 1, Attempts: 9, Done: 4, Cut: 2, HandedBack: 1, Lapsed: 1, Unended: 1,
		LostSeconds: 101, TookSeconds: []float64{60, 60, 90, 105}, OpenMaxSeconds: 30, Why: map[string]int{"who knows": 1},
		Ends: []FileTaskEnds{
			{"app-1", verdict.Terminating, 0, 1, 0, 1},
			{"app-1", verdict.CutAtExit, 1, 0, 0, 40},
			{"app-2", verdict.CutAtExit, 1, 0, 0, 50},
			{"app-2", verdict.Unattributed, 0, 0, 1, 10},
		},
	}, f.Runs[0].Tasks)
	for _, broken := range []string{`"phase": "later"`, `"phase": 3`} {
		wrong := strings.Replace(text, `"phase": "terminating"`, broken, 1)
		require.NotEqual(t, text, wrong)
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(wrong))
		require.NoError(t, err)
		assert.Error(t, compiledSchema(t).Validate(doc))
	}
	raw, err := json.Marshal(newFileTasks(nil))
	require.NoError(t, err)
	assert.Equal(t, "null", string(raw))
	f.Runs[0].Tasks.Ends[0].Phase = 99
	require.ErrorContains(t, f.check(), "tasks: ")
}
