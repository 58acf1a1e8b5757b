package verdict

import (
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Termination is how a Pod that was deleted came to its end, to be held against its grace period.
// Lengths count from when its deletion was asked for. Nil is what nobody told.
type Termination struct {
	Pod     string
	Owner   int            // index of the Pod's lifecycle in Verdict.Pods
	Grace   time.Duration  // that the deletion granted
	SIGTERM *time.Duration // until the app got it: its preStop hook was over by then, or cut off
	Exit    *time.Duration // until its process had ended
	Code    *int           // with which it ended
	// HookFailed says that the kubelet told of a preStop hook that failed.
	HookFailed bool
	// PreStopCounted says whether the time of preStop was a part of the grace period; nil where the
	// Pod's end doesn't tell.
	PreStopCounted *bool
}

// Killed says that SIGKILL ended the process.
func (t Termination) Killed() bool { return t.Code != nil && *t.Code == exitKilled }

// exitKilled is the exit code of a process that SIGKILL ended: 128 and the signal's number.
const exitKilled = 128 + 9

// Beyond is how much longer than its grace period the process lived; 0 if it didn't, or if nobody
// told of its end.
func (t Termination) Beyond() time.Duration {
	if t.Exit == nil {
		return 0
	}
	return max(0, *t.Exit-t.Grace)
}

// terminations are those of the Pods that were deleted with a grace period, in the order in which
// they were first seen. What happened to a Pod before its deletion, such as the end of a process that
// was started again, is no part of it. Where its node was lost nobody ends it.
func terminations(tl timeline.Timeline, pods lifecycles) []Termination {
	seen := map[*PodLifecycle]map[timeline.Kind]timeline.Event{} // from the deletion on, the first of each kind
	for _, e := range tl.Events {
		life := pods.find(e.Pod, e.UID)
		if life == nil || seen[life] == nil && e.Kind != timeline.PodDeleted {
			continue
		}
		if seen[life] == nil {
			seen[life] = map[timeline.Kind]timeline.Event{}
		}
		if _, again := seen[life][e.Kind]; !again {
			seen[life][e.Kind] = e
		}
	}
	var out []Termination
	for i, life := range pods.all {
		deletion, ok := seen[life][timeline.PodDeleted]
		if !ok || deletion.Grace <= 0 || life.has(timeline.NodeLost) {
			continue
		}
		t := Termination{Pod: life.Pod, Owner: i, Grace: deletion.Grace}
		_, t.HookFailed = seen[life][timeline.PreStopFailed]
		first := func(kinds ...timeline.Kind) (timeline.Event, bool) {
			for _, kind := range kinds {
				if e, ok := seen[life][kind]; ok {
					return e, true
				}
			}
			return timeline.Event{}, false
		}
		if e, ok := first(timeline.AppSIGTERM); ok {
			t.SIGTERM = new(e.At - deletion.At)
		}
		if e, ok := first(timeline.AppExit, timeline.ProcessExit, timeline.ContainerExit); ok { // the better one first
			t.Exit = new(e.At - deletion.At)
		}
		if e, ok := first(timeline.ProcessExit, timeline.ContainerExit, timeline.AppExit); ok {
			t.Code = new(e.Code)
		}
		t.PreStopCounted = t.counted()
		out = append(out, t)
	}
	return out
}

// What is known of the kubelet's way to count.
const (
	// minimumGrace is what it gives a process after SIGTERM in any case, also when preStop has used
	// the grace period up (minimumGracePeriodInSeconds).
	minimumGrace = 2 * time.Second
	// tellable is how far apart two instants have to be to tell which of them it was. The kubelet
	// takes whole seconds of preStop off, so that SIGKILL comes up to a second late by its own rule.
	tellable = 3 * time.Second
)

// counted says whether the time of preStop was a part of the grace period. SIGKILL comes at one of two
// instants, by what the kubelet counts:
//
//	deletion ─────── preStop ─────── SIGTERM ─────────────── SIGKILL
//	   0 s                            20 s                    30 s     counted: 30 s, but 2 s after SIGTERM at least
//	   0 s                            20 s                    50 s     not counted: SIGTERM and 30 s
//
// The nearer one it was. Nobody can tell where both are the same but for seconds, as without a hook,
// nor by a process that ended by itself, unless it lived longer than it could have if preStop had been
// counted. A SIGKILL before the first instant has come for another reason.
func (t Termination) counted() *bool {
	if t.SIGTERM == nil || t.Exit == nil {
		return nil
	}
	with, without := max(t.Grace, *t.SIGTERM+minimumGrace), *t.SIGTERM+t.Grace
	switch {
	case without-with < tellable:
		return nil
	case *t.Exit > (with+without)/2:
		return new(false)
	case t.Killed() && *t.Exit >= with-reaped:
		return new(true)
	}
	return nil
}
