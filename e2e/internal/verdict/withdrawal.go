package verdict

import (
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Withdrawal is how a Pod of the node that was disrupted stopped being a ready endpoint while nobody had
// deleted it. Somebody had to say that it isn't ready: its kubelet, or the node controller.
type Withdrawal struct {
	Pod   string
	Owner int // index of the Pod's lifecycle in Verdict.Pods
	// By is who wrote that it isn't ready, as the audit log says; empty where that doesn't tell.
	By string
	// After is from the start of the disruption until the endpoint was not ready any more.
	After time.Duration
	// BeforeExit is from then until its process had ended, and below zero where that came first; nil
	// where nobody told of its end.
	BeforeExit *time.Duration
	// Back says that it was a ready endpoint again later, by whom PutBack tells, as By.
	Back    bool
	PutBack string
}

// withdrawals are those of the Pods that were there when the disruption began, in the order in which they
// were first seen.
//
//	status: not ready, by node-controller ── endpoint unready ── status: ready, by kubelet ── … ── exit
//	                                         After                                            BeforeExit
func withdrawals(tl timeline.Timeline, pods lifecycles) []Withdrawal {
	node := disruptedNode(tl)
	var out []Withdrawal
	for i, life := range pods.all {
		if node == "" || life.Node != node || life.created() > tl.Window.DisruptStart {
			continue
		}
		if w, ok := life.withdrawal(tl, pods); ok {
			w.Owner = i
			out = append(out, w)
		}
	}
	return out
}

func (l *PodLifecycle) withdrawal(tl timeline.Timeline, pods lifecycles) (w Withdrawal, ok bool) {
	w.Pod = l.Pod
	readyBy := ""
	for _, e := range tl.Events {
		if e.Pod == "" || e.At < tl.Window.DisruptStart || pods.find(e.Pod, e.UID) != l {
			continue
		}
		switch e.Kind {
		case timeline.PodUnready:
			if !ok {
				w.By = e.By
			}
		case timeline.PodReady:
			readyBy = e.By
		case timeline.PodDeleted:
			if !ok { // what comes of it isn't a change of readiness
				return w, false
			}
		case timeline.EndpointUnready, timeline.EndpointGone:
			if !ok {
				w.After, ok = e.At-tl.Window.DisruptStart, true
			}
		case timeline.EndpointServing:
			if ok && !w.Back {
				w.Back, w.PutBack = true, readyBy
			}
		}
	}
	if exit, ended := l.At(timeline.ProcessExit); ended && ok {
		w.BeforeExit = new(exit - tl.Window.DisruptStart - w.After)
	}
	return w, ok
}
