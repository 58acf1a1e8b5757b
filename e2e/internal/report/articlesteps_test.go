package report

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// ofWays is what is kept of both ways of three Pods of prestop-sleep: each pair of steps in the order
// in which it stands here.
func ofWays() ResultsFile {
	step := func(step verdict.Step, ms float64) FileStep {
		return FileStep{Step: step, Track: verdict.TrackNode, Source: "made up", Seen: 3, P50Ms: &ms, MinMs: &ms, MaxMs: &ms}
	}
	order := func(first, then verdict.Step) FileOrder { return FileOrder{First: first, Then: then, InOrder: 3} }
	f := ofRuns(ofRun("prestop-sleep", "rolling-update", func(r *RunFigures) {
		end := func(exit float64, counted bool) FileTermination {
			return FileTermination{Pod: "app-1", GraceSeconds: 30, ExitSeconds: &exit, ExitCode: new(137), PreStopCounted: &counted}
		}
		r.Terminations = []FileTermination{end(30.4, true), end(32.2, true), {Pod: "app-3", GraceSeconds: 30}}
	}))
	f.Sequences = []FileSequence{
		{
			Way: verdict.WayIn, Strategy: "prestop-sleep", Disruption: "rolling-update", Pods: 3,
			Steps: []FileStep{step(verdict.StepBound, 12), step(verdict.StepKubeletWrote, 38)},
			Order: []FileOrder{
				order(verdict.StepSandboxStarted, verdict.StepContainerCreated), order(verdict.StepAddressReported, verdict.StepReady),
				order(verdict.StepReady, verdict.StepEndpointReady),
			},
		},
		{
			Way: verdict.WayOut, Strategy: "prestop-sleep", Disruption: "rolling-update", Pods: 3, Steps: []FileStep{step(verdict.StepSIGTERM, 15020)},
			Order: []FileOrder{
				order(verdict.StepEndpointTerminating, verdict.StepSIGTERM), order(verdict.StepPreStop, verdict.StepSIGTERM),
				order(verdict.StepExit, verdict.StepSandboxStopped), order(verdict.StepEndpointGone, verdict.StepExit),
			},
		},
	}
	return f
}

// TestAnswersFollowSteps: as TestAnswersFollowFigures.
func TestAnswersFollowSteps(t *testing.T) {
	// turn makes one Pod of three, or all, go the other way round.
	turn := func(way, pair, pods int) func(ResultsFile) {
		return func(f ResultsFile) {
			o := &f.Sequences[way].Order[pair]
			o.InOrder, o.Reversed = o.InOrder-pods, o.Reversed+pods
		}
	}
	tests := []struct {
		figure scenarios.Figure
		before string
		swap   func(ResultsFile)
		after  string
	}{
		{
			scenarios.PollsForPods, "✗ doesn't hold: prestop-sleep 26ms after the binding, in the median of 3 Pods",
			func(f ResultsFile) { *f.Sequences[0].Steps[1].P50Ms = 1012 },
			"✓ holds: prestop-sleep 1.0s after the binding, in the median of 3 Pods",
		},
		{
			scenarios.ContainerFirst, "✗ doesn't hold: prestop-sleep sandbox-started before container-created: 3 of 3", turn(0, 0, 3),
			"✓ holds: prestop-sleep sandbox-started before container-created: 0 of 3, 3 after it",
		},
		{
			scenarios.AddressAfterReady, "✗ doesn't hold: prestop-sleep address-reported before ready: 3 of 3", turn(0, 1, 3),
			"✓ holds: prestop-sleep address-reported before ready: 0 of 3, 3 after it",
		},
		{
			scenarios.EndpointAfterReady, "✓ holds: prestop-sleep ready before endpoint-ready: 3 of 3", turn(0, 2, 1),
			"✗ doesn't hold: prestop-sleep ready before endpoint-ready: 2 of 3, 1 after it",
		},
		{
			scenarios.EitherFirst, "✗ doesn't hold: prestop-sleep endpoint-terminating before sigterm: 3 of 3", turn(1, 0, 1),
			"✓ holds: prestop-sleep endpoint-terminating before sigterm: 2 of 3, 1 after it",
		},
		{
			scenarios.PreStopFirst, "✓ holds: prestop-sleep prestop before sigterm: 3 of 3", turn(1, 1, 3),
			"✗ doesn't hold: prestop-sleep prestop before sigterm: 0 of 3, 3 after it",
		},
		{
			scenarios.VolumesFirst, "✗ doesn't hold: prestop-sleep exit before sandbox-stopped: 3 of 3", turn(1, 2, 3),
			"✓ holds: prestop-sleep exit before sandbox-stopped: 0 of 3, 3 after it",
		},
		{
			scenarios.RemovedAtOnce, "✓ holds: prestop-sleep endpoint-gone before exit: 3 of 3", turn(1, 3, 3),
			"✗ doesn't hold: prestop-sleep endpoint-gone before exit: 0 of 3, 3 after it",
		},
		{
			scenarios.PreStopFirst, "✓ holds: prestop-sleep prestop before sigterm: 3 of 3",
			func(f ResultsFile) {
				f.Sequences[1].Order[1] = FileOrder{verdict.StepPreStop, verdict.StepSIGTERM, 0, 0, 3}
			},
			"? not measured yet: open: prestop-sleep prestop before sigterm: 0 of 3, 3 undecided",
		},
		{
			scenarios.KilledAtGrace, "✓ holds: prestop-sleep preStop counted in 2 of 2 Pods, SIGKILL 400ms–2.2s after the end of the grace period",
			func(f ResultsFile) { *f.Figures[0].Terminations[1].PreStopCounted = false },
			"✗ doesn't hold: prestop-sleep preStop counted in 1 of 2 Pods, SIGKILL 400ms–2.2s after the end of the grace period",
		},
	}
	tried := map[scenarios.Figure]bool{}
	for _, tt := range tests {
		t.Run(string(tt.figure), func(t *testing.T) {
			tried[tt.figure] = true
			f := ofWays()
			answer := func() string {
				found := decide(scenarios.Statement{Figure: tt.figure, Along: scenarios.AlongStrategy, Strategies: []string{"prestop-sleep"}}, Stored([]ResultsFile{f}))
				return found.Word() + ": " + found.Figures
			}
			assert.Equal(t, tt.before, answer())
			tt.swap(f)
			assert.Equal(t, tt.after, answer())
		})
	}
	for figure := range stepDeciders {
		assert.True(t, tried[figure], "%s is not tried", figure)
	}
	nobody := scenarios.Statement{Figure: scenarios.PollsForPods, Along: scenarios.AlongStrategy, Strategies: []string{"no-handler"}}
	assert.Empty(t, decide(nobody, Stored([]ResultsFile{ofWays()})).Figures)
}

// TestArticlePictures: the page draws what the weightiest measurement tells of steps, and of ten
// replicas; what nobody asks for isn't kept.
func TestArticlePictures(t *testing.T) {
	f := ofWays()
	f.Figures = append(f.Figures, ofRun("ten-replicas-stop-20s", "rolling-update", func(r *RunFigures) {
		r.Pods = &FilePods{
			Steps: []FilePodCount{{0, 10, 0}, {2, 10, 9}}, UntilSeconds: 40, MostRunning: 10, MostTerminating: 9, Peak: FilePodCount{2, 10, 9},
		}
	}))
	var page bytes.Buffer
	require.NoError(t, ArticlePage(&page, NewArticle(scenarios.Article(), Stored([]ResultsFile{ofRuns(), f}))))
	assert.Contains(t, page.String(), "<h2>How Pods come, and how they go</h2>")
	assert.Contains(t, page.String(), "How a Pod comes, from the request to create it: prestop-sleep · rolling-update · 3 Pods")
	assert.Contains(t, page.String(), "<h2>Pods over time</h2>")
	assert.Contains(t, page.String(), "ten-replicas-stop-20s")
	page.Reset()
	require.NoError(t, ArticlePage(&page, NewArticle(scenarios.Article(), nil)))
	assert.NotContains(t, page.String(), "<svg")

	assert.True(t, asked("prestop-sleep", "rolling-update", ofSteps))
	assert.False(t, asked("prestop-sleep", "eviction", ofSteps))
	assert.True(t, asked("ten-replicas-stop-20s", "rolling-update", ofPods))
	assert.False(t, asked("prestop-sleep", "rolling-update", ofPods))
	assert.True(t, asked("prestop-ignore-sigterm", "rolling-update", ofEnds))
	file := NewFile(quick())
	file.Sequences = append(slices.Clone(f.Sequences), FileSequence{Way: verdict.WayIn, Strategy: "in-app-delay", Disruption: "rolling-update"})
	kept, err := Condense(file, "abc1234", "make e2e")
	require.NoError(t, err)
	assert.Equal(t, f.Sequences, kept.Sequences)
	var out bytes.Buffer
	require.NoError(t, kept.Write(&out))
	again, err := ReadResults(&out)
	require.NoError(t, err)
	assert.Equal(t, kept, again)
}
