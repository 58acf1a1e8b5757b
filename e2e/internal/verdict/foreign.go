package verdict

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// An app that isn't the sample app (Spec.Target) says nothing of itself. What the rules of this package want
// to know of it is taken from others:
//
//	what the sample app says          what stands in for it
//	the Pod, in each answer           the evidence that names the Pods of dropped requests, or a header
//	SIGTERM                           the stop signal that its runtime has sent
//	listening                         its first answer: it listened by then
//	listener closed                   the first refusal after the Pod's deletion
//	the end of its process            the runtime, as of any app that is killed
//	what it had begun                 what was sent long before its end, or before SIGTERM (hadBegun)
//
// What nobody else knows is said in Verdict.Unseen, and is no reason not to believe the run.

// standIn is a timeline in which the runtime speaks for an app that doesn't.
func standIn(tl timeline.Timeline) timeline.Timeline {
	if tl.Spec.SaysItself() {
		return tl
	}
	tl.Events = slices.Clone(tl.Events)
	for i := range tl.Events {
		if e := &tl.Events[i]; e.Kind == timeline.StopSignal {
			e.Kind = timeline.AppSIGTERM
		}
	}
	return tl
}

// nameAnswers are the lanes of a timeline, with the Pod of each answer that doesn't say it itself, as far as
// there is evidence.
func nameAnswers(tl timeline.Timeline, pods lifecycles) []timeline.LaneRecord {
	if tl.Spec.SaysItself() {
		return tl.Lanes
	}
	found := newAttribution(tl, pods).find(nameless)
	lanes := slices.Clone(tl.Lanes)
	for i := range lanes {
		l := &lanes[i]
		l.Pods, l.Requests = slices.Clone(l.Pods), slices.Clone(l.Requests)
		index := map[string]uint16{}
		for n, name := range l.Pods {
			index[name] = uint16(n + 1)
		}
		for _, d := range found[i] {
			if d.Pod == "" || len(l.Pods) == math.MaxUint16 {
				continue
			}
			if index[d.Pod] == 0 {
				l.Pods = append(l.Pods, d.Pod)
				index[d.Pod] = uint16(len(l.Pods))
			}
			l.Requests[d.Seq].Pod = index[d.Pod]
		}
	}
	return lanes
}

// nameless says that a request was answered well, by a Pod that hasn't said who it is.
func nameless(r timeline.Request) bool { return r.Cause == timeline.OK && r.Pod == 0 }

// noteListening notes of each Pod that it listened when it had answered for the first time.
func (l lifecycles) noteListening() {
	for _, life := range l.all {
		if life.answered.to > 0 && len(life.runs) == 0 {
			life.show(timeline.AppListening, life.answered.to)
		}
	}
}

// noteClosed notes of each Pod that refused a connection after its deletion that it had closed its listener.
// Where its process may have ended by then, as well as the runtime knows, the refusal dates that end instead:
// the two can't be told apart.
func (a *attribution) noteClosed() {
	for life, first := range a.refused {
		if exit, late, exited := life.exit(); !exited || first < exit-late {
			life.show(timeline.AppListenerClosed, first)
			delete(a.refused, life)
		}
	}
}

// show notes what an app shows by what it does, and doesn't say.
func (l *PodLifecycle) show(kind timeline.Kind, at time.Duration) {
	if l.shown == nil {
		l.shown = map[timeline.Kind]time.Duration{}
	}
	l.shown[kind] = at
}

// when is At, or when an app that says nothing of itself has shown it.
func (l PodLifecycle) when(kind timeline.Kind) (time.Duration, bool) {
	if at, ok := l.At(kind); ok {
		return at, true
	}
	at, ok := l.shown[kind]
	return at, ok
}

// hadBegun says that a foreign app had begun a request that failed about when its process ended, at an instant
// or later. An app that ends in order closes the connections that are idle before: what is sent just then may
// have met that, and is told from what the process had begun only where it was killed.
func (l PodLifecycle) hadBegun(d DroppedRequest, ended time.Duration) bool {
	sigterm, signalled := l.At(timeline.AppSIGTERM)
	return l.killed || d.Sent < ended || signalled && d.Sent < sigterm
}

// untold is what an app that says nothing of itself leaves open, a sentence each: what counts as a right
// answer, and of how many answers nobody knows which Pod has given them.
func untold(tl timeline.Timeline) []string {
	t := tl.Spec.Target
	if t == nil {
		return nil
	}
	right := fmt.Sprintf("status %d", t.ExpectStatus)
	switch {
	case t.ExpectStatus == 0:
		right = "any status of success"
	case t.StatusLearnt:
		right += ", as it answered before the load,"
	}
	body := "any complete body"
	if t.ExpectBody != "" {
		body = fmt.Sprintf("a body that matches %q", t.ExpectBody)
	}
	out := []string{fmt.Sprintf("app %s: to %s, %s with %s was right; "+
		"whether it carried out what was dropped is not known, as it keeps no ledger", t.Name, t.Request, right, body)}
	for _, l := range tl.Lanes {
		ok, unnamed := 0, 0
		for _, r := range l.Requests {
			if r.Cause == timeline.OK {
				ok++
			}
			if nameless(r) {
				unnamed++
			}
		}
		if unnamed > 0 {
			out = append(out, fmt.Sprintf("%s: which Pod answered is not known of %d of %d answers", l.Name, unnamed, ok))
		}
	}
	return out
}
