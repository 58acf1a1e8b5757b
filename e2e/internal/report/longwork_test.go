package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/scenarios"
)

// longKept is a suite of held connections and tasks as it is kept, of a day of November.
func longKept(t *testing.T, day int) ResultsFile {
	t.Helper()
	rainbow := withHeld("shutdown-at-once", noneLost)
	rainbow.Spec.Disruption, rainbow.Releases = "rainbow", colourful().Releases[:1]
	r := suite(
		withHeld("in-app-delay", overTime()), rainbow, withTasks("tasks-default-grace", someCut),
		run("prestop-sleep", "rolling-update", 20*second, 10), doubt(withHeld("held-close", someHeld), "no CPU"),
	)
	r.Started = time.Date(2026, 11, day, 9, 0, 0, 0, time.UTC)
	f, err := Condense(NewFile(r), fmt.Sprintf("c%d", day), "make long")
	require.NoError(t, err)
	return f
}

// TestLongWork: what is kept of a run with such work, and of none other; the newest run of a kind counts.
func TestLongWork(t *testing.T) {
	kept := longKept(t, 1)
	require.Len(t, kept.Figures, 4)
	var out strings.Builder
	require.NoError(t, kept.Write(&out))
	again, err := ReadResults(strings.NewReader(out.String()))
	require.NoError(t, err)
	assert.Equal(t, kept, again)

	want := [][]string{
		{"rolling-update", "in-app-delay", "50", "120", "30", "20", "3.0ms", "1.2s", "1.2s", "–", "–", "–", "–", "–", "10.0", "4", "20.0s"},
		{"rainbow", "shutdown-at-once", "50", "50", "0", "0", "–", "–", "–", "–", "–", "–", "–", "–", "10.0", "4", "61.0s"},
		{"rolling-update", "tasks-default-grace", "–", "–", "–", "–", "–", "–", "–", "5", "4", "2", "1", "1", "90.0", "4", "40.0s"},
	}
	assert.ElementsMatch(t, want, rowsOfTable(Tabulate(longColumns(), [][]longRun{longRuns([]ResultsFile{kept})})))
	newer := longKept(t, 2)
	newer.Figures[0].LongWork.Cut = 7
	all := longRuns([]ResultsFile{kept, newer})
	require.Len(t, all, 3)
	for _, r := range all {
		assert.Equal(t, "c2", r.Of.Commit)
	}
	newer.Figures[0].LongWork.Clients = 1000
	assert.Len(t, longRuns([]ResultsFile{kept, newer}), 4, "another number of clients is another run")

	text := LongWorkResults([]ResultsFile{kept})
	assert.Contains(t, text, "`make long` (2026-11-01, c1)")
	assert.Contains(t, text, "| rolling-update | in-app-delay | 50 | 120 | 30 | 20 |")
	assert.Contains(t, text, "(held.svg)")
	assert.Contains(t, LongWorkResults(nil), "Nothing is kept yet")
}

// TestHeldImage: a picture by itself, of what is kept.
func TestHeldImage(t *testing.T) {
	image, err := HeldImage([]ResultsFile{longKept(t, 1)})
	require.NoError(t, err)
	golden(t, "held.svg", image)
	image, err = HeldImage(nil)
	require.NoError(t, err)
	assert.Empty(t, image)
}

// TestLongWorkSection: run by run, those that are conclusive.
func TestLongWorkSection(t *testing.T) {
	assert.Empty(t, longWork(newModel(quick())).Blocks)
	s := longWork(newModel(suite(
		withHeld("in-app-delay", someHeld), repeat(2, withHeld("in-app-delay", noneLost)), repeat(3, doubt(withHeld("in-app-delay", someHeld), "no CPU")),
	)))
	assert.Len(t, rowsOfTable(s.Blocks[0].Table), 2)
}

// TestAnswersOnLongWork: a figure is swapped, and the word changes.
func TestAnswersOnLongWork(t *testing.T) {
	work := func(w LongWork) ResultsFile {
		return ofRuns(ofRun("a", "x", func(r *RunFigures) { r.LongWork = &w }), ofRun("a", "x", func(r *RunFigures) { r.LongWork = &LongWork{} }), ofRun("b", "x", nil))
	}
	watched := func(last float64) ResultsFile {
		c := FileConsumer{Consumer: "a", Watched: true, Removals: []FileRemoval{{DelaySeconds: 15, Seconds: last}, {Seconds: 20}}}
		return ofConsumers(c)
	}
	tests := []struct {
		name          string
		figure        scenarios.Figure
		along         scenarios.Along
		before, after ResultsFile
		want          [2]string
	}{
		{
			"connections end", scenarios.EndsConnections, scenarios.AlongStrategy,
			work(LongWork{Connections: 50}), work(LongWork{Connections: 50, Announced: 1, BackMaxSeconds: new(1.5)}),
			[2]string{"✗ doesn't hold: a 0 cut and 0 announced of 50", "✓ holds: a 0 cut and 1 announced of 50, back after 1.5s at most"},
		},
		{
			"tasks are cut", scenarios.CutsTasks, scenarios.AlongStrategy, work(LongWork{Tasks: 4}), work(LongWork{Tasks: 4, TasksCut: 2}),
			[2]string{"✗ doesn't hold: a 0 of 4 tasks cut", "✓ holds: a 2 of 4 tasks cut"},
		},
		{
			"work is kept: tasks", scenarios.KeepsWork, scenarios.AlongStrategy, work(LongWork{Tasks: 4}), work(LongWork{Tasks: 4, TasksCut: 1}),
			[2]string{"✓ holds: a 0 of 4 tasks cut", "✗ doesn't hold: a 1 of 4 tasks cut"},
		},
		{
			"work is kept: connections", scenarios.KeepsWork, scenarios.AlongStrategy, work(LongWork{Connections: 9}), work(LongWork{Connections: 9, Announced: 1}),
			[2]string{"✓ holds: a 0 cut and 0 announced of 9 connections", "✗ doesn't hold: a 0 cut and 1 announced of 9 connections"},
		},
		{
			"a watcher looks away", scenarios.LooksAway, scenarios.AlongConsumer, watched(4), watched(8),
			[2]string{"✓ holds: a last looks up to 4.0s after deletions, Pods serve for 15.0s", "✗ doesn't hold: a last looks up to 8.0s after deletions, Pods serve for 15.0s"},
		},
	}
	tried := map[scenarios.Figure]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tried[tt.figure] = true
			for i, f := range []ResultsFile{tt.before, tt.after} {
				found := decide(scenarios.Statement{Figure: tt.figure, Along: tt.along, Strategies: []string{"a"}}, Stored([]ResultsFile{f}))
				assert.Equal(t, tt.want[i], found.Word()+": "+found.Figures)
			}
		})
	}
	for figure := range longDeciders {
		assert.True(t, tried[figure], "%s is not tried", figure)
	}
}
