package report

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestAnswersFollowControllers: as TestAnswersFollowFigures, over two runs.
func TestAnswersFollowControllers(t *testing.T) {
	three := FileFollowed{3, 3}
	runs := func() ResultsFile {
		did := func(r *RunFigures) {
			r.Controllers = &FileControllers{
				Services: 5, Slices: 5, Objects: 5, Endpoints: 15, AddressAndPort: 15, Created: three, Deleted: three, Deletions: 3,
			}
		}
		return ofRuns(ofRun("a", "x", did), ofRun("a", "x", did), ofRun("a", "y", nil))
	}
	tests := []struct {
		figure scenarios.Figure
		before string
		swap   func(first *FileControllers)
		after  string
	}{
		{
			scenarios.OneObject, "✗ doesn't hold: x 0 of 10 Services have one: 10 EndpointSlices, 10 Endpoints",
			func(c *FileControllers) { c.InOneObject, c.Objects = 10, 0 },
			"✓ holds: x 10 of 10 Services have one: 10 EndpointSlices, 5 Endpoints",
		},
		{
			scenarios.AddressAndPort, "✓ holds: x 30 of 30 endpoints",
			func(c *FileControllers) { c.AddressAndPort-- },
			"✗ doesn't hold: x 29 of 30 endpoints",
		},
		{
			scenarios.EndpointsRefresh, "✓ holds: x 6 of 6 Pods that got ready, 6 of 6 Pods that were deleted",
			func(c *FileControllers) { c.Left = FileFollowed{3, 2} },
			"✗ doesn't hold: x 6 of 6 Pods that got ready, 6 of 6 Pods that were deleted, 2 of 3 Pods that got other labels",
		},
		{
			scenarios.CreatesDeletes, "✗ doesn't hold: x 0 of 6 Pods deleted before another was ready",
			func(c *FileControllers) { c.DeletedEarly = 6 },
			"✓ holds: x 6 of 6 Pods deleted before another was ready",
		},
	}
	tried := map[scenarios.Figure]bool{}
	for _, tt := range tests {
		t.Run(string(tt.figure), func(t *testing.T) {
			tried[tt.figure] = true
			f := runs()
			answer := func() string {
				found := decide(scenarios.Statement{Figure: tt.figure, Along: scenarios.AlongDisruption, Strategies: []string{"a"}}, Stored([]ResultsFile{f}))
				return found.Word() + ": " + found.Figures
			}
			assert.Equal(t, tt.before, answer())
			tt.swap(f.Figures[0].Controllers)
			assert.Equal(t, tt.after, answer())
		})
	}
	for figure := range controllerDeciders {
		assert.True(t, tried[figure], "%s is not tried", figure)
	}
}

// TestFileControllers: each count is kept, where a statement asks for it; a run that tells nothing has none.
func TestFileControllers(t *testing.T) {
	assert.Nil(t, newFileControllers(verdict.Controllers{}))
	got := newFileControllers(verdict.Controllers{
		Services: 1, InOneObject: 2, Slices: 3, Objects: 4, Endpoints: 5, AddressAndPort: 6, Created: verdict.Followed{Pods: 7, Changed: 8},
		Deleted: verdict.Followed{Pods: 9, Changed: 10}, Left: verdict.Followed{Pods: 11, Changed: 12}, Deletions: 13, DeletedEarly: 14,
	})
	assert.Equal(t, &FileControllers{1, 2, 3, 4, 5, 6, FileFollowed{7, 8}, FileFollowed{9, 10}, FileFollowed{11, 12}, 13, 14}, got)
	assert.Equal(t, FileControllers{2, 4, 6, 8, 10, 12, FileFollowed{14, 16}, FileFollowed{18, 20}, FileFollowed{22, 24}, 26, 28}, got.with(*got))

	file := NewFile(quick())
	kept := 0
	for i := range file.Runs {
		file.Runs[i].Controllers = got
	}
	results, err := Condense(file, "abc1234", "make e2e")
	require.NoError(t, err)
	for _, run := range results.Figures {
		if run.Controllers != nil {
			kept++
			assert.Equal(t, "prestop-sleep/rolling-update", run.Strategy+"/"+run.Disruption)
			assert.Equal(t, got, run.Controllers)
		}
	}
	assert.Equal(t, 1, kept)
}
