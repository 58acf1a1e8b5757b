// Package timelinetest makes up the timeline of a run, for the tests of those that read one.
package timelinetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

const (
	ms  = time.Millisecond
	sec = time.Second
)

// Rollout is a valid rolling update that dropped nothing, for a test to spoil: three Pods replaced
// one after the other, three lanes at 10 requests/s for 20 s.
//
//	0s lead 3s disruption 9s termination 12s tail 20s
//	app-0..2 created before, deleted at 4, 6, 8 s, gone 2 s later; app-3..5 created 1 s before each deletion
func Rollout(strategy string) timeline.Timeline {
	tl := timeline.Timeline{
		Schema: timeline.Schema, Spec: Spec(strategy, "rolling-update"), Repeat: 1, Replicas: 3,
		Window: timeline.Window{
			DisruptStart: 3 * sec, DisruptEnd: 9 * sec, Settled: 12 * sec, LoadEnd: 20 * sec, Overhead: 50 * ms,
		},
		Environment: timeline.Environment{Kubernetes: "v1.37.2"},
	}
	event := func(at time.Duration, kind timeline.Kind, pod string) {
		tl.Events = append(tl.Events, timeline.Event{At: at, Kind: kind, Pod: pod})
	}
	for i := range 3 {
		before, after := fmt.Sprintf("app-%d", i), fmt.Sprintf("app-%d", i+3)
		deleted := time.Duration(4+2*i) * sec
		event(0, timeline.PodCreated, before)
		event(0, timeline.PodReady, before)
		event(deleted, timeline.PodDeleted, before)
		event(deleted+2*sec, timeline.PodGone, before)
		event(deleted-sec, timeline.PodCreated, after)
		event(deleted-500*ms, timeline.PodReady, after)
	}
	for _, load := range []string{"new", "reused", "slow"} {
		l := timeline.LaneRecord{
			Name: "nodeport/" + load, Rate: 10, Planned: 200,
			Pods: []string{"app-0", "app-1", "app-2", "app-3", "app-4", "app-5"},
		}
		for seq := range l.Planned {
			planned := time.Duration(seq) * 100 * ms
			// Before 4 s the old Pods answer in turn, later the new ones.
			pod := uint16(1 + seq%3)
			if planned >= 4*sec {
				pod += 3
			}
			l.Requests = append(l.Requests, timeline.Request{
				Planned: planned, Lag: time.Duration(seq%10) * 100 * time.Microsecond, Latency: time.Duration(1+seq%5) * ms,
				Leaving: timeline.NotLeaving, Cause: timeline.OK, Code: 200, Attempts: 1, Pod: pod, Conn: 1, ConnUse: 1,
			})
		}
		tl.Lanes = append(tl.Lanes, l)
	}
	return tl
}

// promises are what strategies promise: for new, kept-alive and in-flight. Whatever they say, an
// undisturbed run is held to dropping nothing.
var promises = map[string][3]timeline.Expect{
	"prestop-sleep":      {timeline.Clean, timeline.Measured, timeline.Clean},
	"in-app-delay-close": {timeline.Clean, timeline.Clean, timeline.Clean},
	"no-handler":         {timeline.Measured, timeline.Measured, timeline.Drops},
}

// Spec is the declaration of such a run: the lanes new, reused and slow of nodeport at 10
// requests/s. What is in flight without work is held to what its connection is.
func Spec(strategy, disruption string) timeline.Spec {
	spec := timeline.Spec{
		Strategy: strategy, Disruption: disruption, Scope: timeline.ScopeAll,
		Control: strategy == "no-handler" || disruption == "none",
	}
	word := func(class timeline.Class) timeline.Promise {
		i := slices.Index([]timeline.Class{timeline.ClassNew, timeline.ClassKeptAlive, timeline.ClassInFlight}, class)
		return timeline.Promise{Expect: promises[strategy][i], Source: "strategy " + strategy}
	}
	if disruption == "none" {
		spec.Scope = timeline.ScopeNone
		word = func(timeline.Class) timeline.Promise {
			return timeline.Promise{Expect: timeline.Clean, Source: "disruption none"}
		}
	}
	for _, load := range []string{"new", "reused", "slow"} {
		l := timeline.LaneSpec{
			Name: "nodeport/" + load, Consumer: "nodeport", From: timeline.FromOutside, Routing: timeline.PerConnection,
			Load: load, Driver: "http", Class: timeline.ClassNew, Rate: 10, Connections: "new", Timeout: 5 * sec,
		}
		switch load {
		case "reused":
			l.Class, l.Connections = timeline.ClassKeptAlive, timeline.Reused
		case "slow":
			l.Class, l.Work = timeline.ClassInFlight, 2*sec
		}
		l.Held = map[timeline.Class]timeline.Promise{
			timeline.ClassInFlight: word(l.Class), l.ConnectionClass(): word(l.ConnectionClass()),
		}
		spec.Lanes = append(spec.Lanes, l)
	}
	return spec
}
