package verdict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// ended is a run in which one Pod was deleted at 10 s with a grace period of 30 s; what followed is
// given in time since then. A code below 0 stands for one that is told by nobody.
func ended(sigterm, exit time.Duration, code int) timeline.Timeline {
	at := func(after time.Duration, kind timeline.Kind, code int) timeline.Event {
		return timeline.Event{At: 10*sec + after, Kind: kind, Pod: "app-0", UID: "u0", Code: code}
	}
	tl := timeline.Timeline{Events: []timeline.Event{{Kind: timeline.PodCreated, Pod: "app-0", UID: "u0"}}}
	deleted := at(0, timeline.PodDeleted, 0)
	deleted.Grace = 30 * sec
	tl.Events = append(tl.Events, deleted)
	if sigterm > 0 {
		tl.Events = append(tl.Events, at(sigterm, timeline.AppSIGTERM, 0))
	}
	if code >= 0 {
		tl.Events = append(tl.Events, at(exit, timeline.ProcessExit, code), at(exit+sec, timeline.ContainerExit, code))
	}
	return tl
}

func TestTerminations(t *testing.T) {
	counted, not := new(true), new(false)
	tests := []struct {
		name          string
		sigterm, exit time.Duration
		code          int
		killed        bool
		beyond        time.Duration
		want          *bool
	}{
		{"preStop is a part of the grace period", 20 * sec, 30400 * ms, exitKilled, true, 400 * ms, counted},
		{"preStop comes on top", 20 * sec, 50100 * ms, exitKilled, true, 20100 * ms, not},
		{"preStop has used it up: 2 s are left", 30100 * ms, 32200 * ms, exitKilled, true, 2200 * ms, counted},
		{"preStop has used it up, and comes on top", 30100 * ms, 60300 * ms, exitKilled, true, 30300 * ms, not},
		{"a hook of five seconds", 5100 * ms, 30900 * ms, exitKilled, true, 900 * ms, counted},
		{"a hook of five seconds, on top", 5100 * ms, 35200 * ms, exitKilled, true, 5200 * ms, not},
		{"no hook", 20 * ms, 30100 * ms, exitKilled, true, 100 * ms, nil},
		{"a hook too short to tell", 2 * sec, 30100 * ms, exitKilled, true, 100 * ms, nil},
		{"ended by itself in time", 20 * sec, 21 * sec, 0, false, 0, nil},
		{"ended by itself, later than SIGKILL would have come", 20 * sec, 45 * sec, 0, false, 15 * sec, not},
		{"killed for another reason", 20 * sec, 21 * sec, exitKilled, true, 0, nil},
		{"no word of SIGTERM", 0, 30100 * ms, exitKilled, true, 100 * ms, nil},
		{"no word of its end", 20 * sec, 0, -1, false, 0, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := Judge(ended(tt.sigterm, tt.exit, tt.code))
			require.Len(t, v.Terminations, 1)
			got := v.Terminations[0]
			assert.Equal(t, tt.want, got.PreStopCounted)
			assert.Equal(t, tt.killed, got.Killed())
			assert.Equal(t, tt.beyond, got.Beyond())
			assert.Equal(t, 30*sec, got.Grace)
			assert.Equal(t, "app-0", v.Pods[got.Owner].Pod)
			assert.Equal(t, tt.sigterm > 0, got.SIGTERM != nil)
			assert.Equal(t, tt.code >= 0, got.Exit != nil && got.Code != nil)
			assert.False(t, got.HookFailed)
		})
	}
}

// TestTerminationsOfOthers: a process that was started again ends a second time, and the first is not
// the Pod's end; a Pod that was given no grace period, or that nobody deleted, is none of them.
func TestTerminationsOfOthers(t *testing.T) {
	event := func(at time.Duration, kind timeline.Kind, pod string, code int) timeline.Event {
		return timeline.Event{At: at, Kind: kind, Pod: pod, Code: code}
	}
	again := event(20*sec, timeline.PodDeleted, "again", 0)
	again.Grace = 30 * sec
	tl := timeline.Timeline{Events: []timeline.Event{
		event(0, timeline.PodCreated, "again", 0), event(0, timeline.PodCreated, "at-once", 0), event(0, timeline.PodCreated, "alive", 0),
		event(5*sec, timeline.AppSIGTERM, "again", 0), event(6*sec, timeline.ProcessExit, "again", exitKilled),
		event(7*sec, timeline.ProcessExit, "alive", 1),
		again, event(20*sec, timeline.PodDeleted, "at-once", 0), event(20100*ms, timeline.ProcessExit, "at-once", exitKilled),
		event(22*sec, timeline.PreStopFailed, "again", 0),
		event(25*sec, timeline.AppExit, "again", 0), event(25300*ms, timeline.ProcessExit, "again", 0),
	}}
	got := Judge(tl).Terminations
	require.Len(t, got, 1)
	assert.Equal(t, Termination{
		Pod: "again", Owner: got[0].Owner, Grace: 30 * sec, Exit: new(5 * sec), Code: new(0), HookFailed: true,
	}, got[0], "its SIGTERM was of the process before")
}
