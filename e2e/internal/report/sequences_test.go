package report

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// replaced is a run in which app-1 went and app-2 came; of app-3, which went too, little is known.
func replaced() verdict.Verdict {
	v := usual("prestop-sleep", "rolling-update")
	v.Pods = []verdict.PodLifecycle{
		{Pod: "app-1", FirstSeen: map[timeline.Kind]time.Duration{
			timeline.PodCreated: 0, timeline.PodStarted: second, timeline.PodDeleted: 7 * second, timeline.EndpointTerminating: 7*second + 20*ms,
			timeline.AppSIGTERM: 22*second + 10*ms, timeline.ProcessExit: 22*second + 50*ms, timeline.PodGone: 23 * second,
		}},
		{Pod: "app-2", FirstSeen: map[timeline.Kind]time.Duration{
			timeline.PodCreated: 6 * second, timeline.PodScheduled: 6*second + 5*ms, timeline.PodAddressed: 6*second + 600*ms,
			timeline.ProcessStart: 6*second + 400*ms, timeline.PodReady: 6*second + 990*ms, timeline.EndpointServing: 7*second + 10*ms,
		}},
		{Pod: "app-3", FirstSeen: map[timeline.Kind]time.Duration{
			timeline.PodCreated: 0, timeline.PodStarted: second, timeline.PodDeleted: 8 * second, timeline.EndpointTerminating: 8*second + 40*ms,
		}},
	}
	for i := range v.Lanes {
		v.Lanes[i].Arrivals, v.Lanes[i].LastArrival = nil, nil
	}
	return v
}

// TestSequences: what report.json has of the ways of Pods. A step that wasn't seen is nowhere 0.
func TestSequences(t *testing.T) {
	r := suite(replaced(), doubt(replaced(), "an inconclusive run tells of nothing"))
	all := NewFile(r).Sequences
	require.Len(t, all, 2)
	in, out := all[0], all[1]
	assert.Equal(t, FileSequence{
		Way: verdict.WayOut, Strategy: "prestop-sleep", Disruption: "rolling-update", Pods: 2,
		Steps: []FileStep{
			{Step: verdict.StepEndpointTerminating, Track: verdict.TrackEndpoints, Source: "audit log, else API watch", Seen: 2, P50Ms: new(20.0), MinMs: new(20.0), MaxMs: new(40.0)},
			{Step: verdict.StepSIGTERM, Track: verdict.TrackNode, Source: "app log, else container runtime", Seen: 1, NotSeen: 1, P50Ms: new(15010.0), MinMs: new(15010.0), MaxMs: new(15010.0)},
			{Step: verdict.StepExit, Track: verdict.TrackNode, Source: "container runtime", Seen: 1, NotSeen: 1, P50Ms: new(15050.0), MinMs: new(15050.0), MaxMs: new(15050.0)},
			{Step: verdict.StepGone, Track: verdict.TrackAPI, Source: "audit log, else API watch", Seen: 1, NotSeen: 1, P50Ms: new(16000.0), MinMs: new(16000.0), MaxMs: new(16000.0)},
		},
		Order: []FileOrder{{First: verdict.StepEndpointTerminating, Then: verdict.StepSIGTERM, InOrder: 1}},
	}, out)
	assert.Equal(t, verdict.WayIn, in.Way)
	assert.Equal(t, 1, in.Pods)
	assert.Contains(t, in.Order, FileOrder{First: verdict.StepAddressReported, Then: verdict.StepContainerStarted, Reversed: 1})
	assert.Empty(t, NewFile(suite(usual("no-handler", "none"))).Sequences, "where no Pod came or went")
}

// TestPods: Pods over time, of which one that is terminating and runs counts once.
func TestPods(t *testing.T) {
	assert.Equal(t, &FilePods{
		Steps:        []FilePodCount{{0, 2, 0}, {1.4, 3, 0}, {2, 2, 1}, {3, 1, 2}, {18, 1, 1}},
		UntilSeconds: 24.9, MostRunning: 3, MostTerminating: 2, Peak: FilePodCount{1.4, 3, 0}, TerminatingSeconds: 37.9,
	}, newFileRun(replaced(), kindCluster).Pods)
}

// TestSequencePictures: each step in the column of who takes it, in the order of their medians; beside it the Pods over time.
func TestSequencePictures(t *testing.T) {
	file := NewFile(suite(replaced()))
	file.Sequences[1].Steps[1].UnsureMs, file.Sequences[1].Steps[1].Censored = 3, 2
	file.Sequences[1].Order[0].Undecided = 1
	ways, err := SequencePictures(file.Sequences)
	require.NoError(t, err)
	pods, err := PodPictures(file.Runs)
	require.NoError(t, err)
	golden(t, "sequences.html", string(ways)+"\n"+string(pods)+"\n")
	page := written(t, Index, suite(replaced()))
	assert.Contains(t, page, string(pods))
	assert.NotContains(t, written(t, Index, suite(usual("no-handler", "none"))), "Pods over time")
}

func TestStepAt(t *testing.T) {
	for ms, want := range map[float64]float64{-5: axisFrom, 0: axisFrom, 1: axisFrom, 1000: axisFrom + 0.6*(axisTo-axisFrom), 1e5: axisTo, 1e9: axisTo} {
		assert.InDelta(t, want, stepAt(ms), 1e-9, ms)
	}
}

// A step that is added must be added to the contract, and needs words.
func TestSchemaKnowsEveryStep(t *testing.T) {
	var schema object
	require.NoError(t, json.Unmarshal(Schema, &schema))
	var want []any
	for _, way := range verdict.Ways() {
		for _, step := range verdict.StepsOf(way) {
			want = append(want, string(step))
			assert.NotEmpty(t, step.Meaning())
		}
	}
	assert.Equal(t, want, schema.object("$defs").object("step")["enum"])
	f := NewFile(suite(replaced()))
	f.Sequences[0].Steps[0].Step = verdict.StepGone
	assert.ErrorContains(t, f.check(), "gone is no step of a Pod's way in")
}
