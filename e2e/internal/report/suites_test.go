package report_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// Made-up suites with numbers as a real cluster gives them.

const ms = time.Millisecond

var kindCluster = timeline.Environment{
	Kubernetes: "v1.37.2", Nodes: 3, ProxyMode: "iptables", MinSyncPeriod: "1s", Kernel: "6.18.5",
	Runtime: "containerd://2.3.7", CPUs: 2,
}

var summaries = map[string]string{
	"no-handler":         "no SIGTERM handler: the runtime ends the process at once (control: must lose requests)",
	"shutdown-at-once":   "graceful shutdown at once: the listener closes at SIGTERM, requests in flight are finished",
	"in-app-delay":       "the app serves on for 15 s after SIGTERM, then shuts down gracefully",
	"in-app-delay-close": "as in-app-delay, and answers with Connection: close meanwhile, so that clients move on",
	"prestop-exec-sleep": "preStop runs sleep 15 in the container, which needs that command in its image; then " +
		"graceful shutdown",
	"prestop-sleep": "preStop with the kubelet's own sleep action, 15 s, which needs nothing in the image; then " +
		"graceful shutdown",
}

type causes = map[timeline.Cause]int

// specOf is the declaration of the lane that is made up under a name, held to an expectation.
func specOf(name string, expect timeline.Expect) timeline.LaneSpec {
	consumer, load, found := strings.Cut(name, "/")
	if !found {
		consumer, load = "", name
	}
	l := timeline.LaneSpec{
		Name: name, Consumer: consumer, Load: load, From: timeline.FromOutside, Rate: 100,
		Connections: "new", Class: timeline.ClassNew,
	}
	if load == "reused" {
		l.Connections, l.Class = timeline.Reused, timeline.ClassKeptAlive
	}
	l.Held = map[timeline.Class]timeline.Promise{l.Class: {Expect: expect, Source: "strategy"}}
	return l
}

// lane makes a lane whose ledger balances, judged by its expectation.
func lane(name string, expect timeline.Expect, planned int, causes causes, lastArrival time.Duration) verdict.Lane {
	dropped := 0
	for _, n := range causes {
		dropped += n
	}
	l := verdict.Lane{
		LaneSpec: specOf(name, expect), Outcome: verdict.Pass, Planned: planned, Sent: planned, OK: planned - dropped,
		Dropped: dropped, Causes: causes,
		LagP50: 90 * time.Microsecond, LagP99: time.Duration(1200+planned%700) * time.Microsecond, LagMax: 14 * ms,
		LatencyP50: 2100 * time.Microsecond, LatencyP99: 11 * ms, MinDetectableOutage: 30 * ms,
	}
	if lastArrival > 0 {
		l.LastArrival = &verdict.Arrival{Pod: "app-1", After: lastArrival}
	}
	if dropped > 0 {
		l.FirstDropped, l.DroppedEnd = 3400*ms, 3400*ms+time.Duration(dropped)*100*ms
	}
	switch {
	case expect == drops && dropped == 0:
		l.Outcome, l.Reasons = verdict.Inconclusive, []string{fmt.Sprintf("new: dropped none of %d where some must "+
			"be dropped: the instrument can't see drops", planned)}
	case expect == clean && dropped > 0:
		l.Outcome, l.Reasons = verdict.Fail, []string{fmt.Sprintf("new: dropped %d of %d where none may be dropped",
			dropped, planned)}
	}
	l.Classes = []verdict.ClassResult{{Class: l.Class, Dropped: dropped, Promise: l.Held[l.Class], Outcome: l.Outcome}}
	return l
}

// run makes a run that is judged by its lanes.
func run(strategy, disruption string, rollout time.Duration, extra float64, lanes ...verdict.Lane) verdict.Verdict {
	v := verdict.Verdict{
		Spec: specFor(strategy, disruption), Repeat: 1, Outcome: verdict.Pass, Lanes: lanes,
		PodsReplaced: 3, DisruptStart: disruptStart, Rollout: rollout, PeakPods: 4, ExtraPodSeconds: extra,
		Overhead: 300*ms + rollout/200, Environment: kindCluster,
	}
	switch {
	case disruption == "none":
		v.PodsReplaced, v.PeakPods = 0, 3
	case extra > 40:
		v.PeakPods = 6
	}
	for _, l := range lanes {
		if l.Outcome != verdict.Pass {
			v.Outcome = l.Outcome
			v.Reasons = append(v.Reasons, l.Name+": "+l.Reasons[0])
		}
	}
	return v
}

func specFor(strategy, disruption string) timeline.Spec {
	s := timeline.Spec{
		Strategy: strategy, Disruption: disruption, Summary: summaries[strategy],
		Control: strategy == "no-handler",
	}
	switch {
	case strings.HasPrefix(strategy, "prestop-"):
		s.Group = "preStop"
	case strings.HasPrefix(strategy, "in-app-"):
		s.Group = "in-app delay"
	}
	return s
}

func repeat(n int, v verdict.Verdict) verdict.Verdict {
	v.Repeat = n
	return v
}

func doubt(v verdict.Verdict, reasons ...string) verdict.Verdict {
	v.Outcome, v.Reasons = verdict.Inconclusive, reasons
	return v
}

// disruptStart is when the disruption starts on the clock of every made-up run.
const disruptStart = 5 * time.Second

// attributed fills in who dropped what, as it would be: a lane from outside knows the Pods of its
// kept-alive connections only, one from within the cluster knows nearly all. Pods are deleted one
// by one; of those of the control, the last gets nothing afterwards.
func attributed(v verdict.Verdict) verdict.Verdict {
	v.Lanes, v.Pods, v.DroppedRequests = slices.Clone(v.Lanes), nil, nil
	for i := range v.PodsReplaced {
		deleted := map[timeline.Kind]time.Duration{timeline.PodDeleted: disruptStart + time.Duration(i)*3*time.Second}
		v.Pods = append(v.Pods, verdict.PodLifecycle{Pod: fmt.Sprintf("app-%d", i+1), FirstSeen: deleted})
	}
	for i := range v.Lanes {
		l := &v.Lanes[i]
		l.Arrivals = nil
		for n, life := range v.Pods {
			if l.LastArrival != nil && (!v.Spec.Control || n != 2) {
				l.Arrivals = append(l.Arrivals, verdict.Arrival{
					Pod:   life.Pod,
					After: l.LastArrival.After * time.Duration(8+(n+1)%3) / 10,
				})
			}
		}
		dropped := droppedOf(*l, v.Pods)
		l.Phases, l.Unattributed, l.Outages = map[verdict.LifecyclePhase]int{}, map[string]int{}, nil
		for n, d := range dropped {
			if l.Phases[d.Phase]++; d.Why != "" {
				l.Unattributed[d.Why]++
			}
			if n%((len(dropped)+3)/4) == 0 {
				l.Outages = append(l.Outages, verdict.Outage{
					From: d.Sent, Causes: causes{},
					Phases: map[verdict.LifecyclePhase]int{},
				})
			}
			o := &l.Outages[len(l.Outages)-1]
			o.To = d.Sent
			o.Dropped++
			o.Causes[d.Cause]++
			o.Phases[d.Phase]++
			if d.Pod != "" && !slices.Contains(o.Pods, d.Pod) {
				o.Pods = append(o.Pods, d.Pod)
			}
		}
		if len(dropped) > 0 {
			in := l.Phases[verdict.CutAtExit]
			l.Classes = []verdict.ClassResult{
				l.Classes[0],
				{Class: timeline.ClassInFlight, Dropped: in, Promise: l.Held[l.Class], Outcome: l.Outcome},
			}
			l.Classes[0].Dropped = l.Dropped - in
		}
		v.DroppedRequests = append(v.DroppedRequests, dropped...)
	}
	return v
}

var phaseOf = map[timeline.Cause]verdict.LifecyclePhase{
	timeline.Timeout: verdict.AfterExit, timeline.Refused: verdict.AfterExit, timeline.EOF: verdict.CutAtExit,
	timeline.Reset:     verdict.ListenerClosed,
	timeline.WrongBody: verdict.BeforeDeletion,
}

func droppedOf(l verdict.Lane, pods []verdict.PodLifecycle) []verdict.DroppedRequest {
	var out []verdict.DroppedRequest
	for _, cause := range timeline.Causes() {
		for range l.Causes[cause] {
			d := verdict.DroppedRequest{
				Lane: l.Name, Class: l.Class, Owner: -1, Sent: disruptStart + l.FirstDropped,
				Cause: cause,
			}
			if n := len(out); n > 0 {
				d.Sent += time.Duration(n+1) * 100 * ms
			}
			switch {
			case l.From != timeline.FromCluster && !l.Reuses():
				d.Why = "sent from outside the cluster, where the choice of a Pod for a new connection can't be seen"
			case len(out)%60 == 59 || len(pods) == 0:
				d.Why = "connection tracking saw no choice for its port"
			default:
				d.Owner, d.Phase = len(out)%len(pods), phaseOf[cause]
				d.Pod = pods[d.Owner].Pod
			}
			if d.Phase == verdict.CutAtExit {
				d.Class = timeline.ClassInFlight
			}
			out = append(out, d)
		}
	}
	return out
}

// suite is a report of its own: a test may change it.
func suite(runs ...verdict.Verdict) report.Report {
	for i := range runs {
		runs[i] = attributed(runs[i])
	}
	return report.Report{
		Suite: verdict.JudgeSuite(runs), Cluster: kindCluster, Profile: "quick", Rate: 100,
		Started: time.Date(2026, 10, 1, 9, 30, 12, 345e6, time.FixedZone("CEST", 7200)), Elapsed: 7*time.Minute +
			12*time.Second,
		Phases: []report.Phase{
			{Name: "docker", Took: 400 * ms},
			{Name: "node image", Took: 2300 * ms},
			{Name: "cluster", Took: 34100 * ms},
			{Name: "images", Took: 5200 * ms},
			{Name: "runs", Took: 6*time.Minute + 28*time.Second},
		},
		Artifacts: "artifacts",
	}
}

var (
	clean, drops, measured = timeline.Clean, timeline.Drops, timeline.Measured

	undisturbed = run("no-handler", "none", 40*ms, 0,
		lane("nodeport/new", clean, 1300, nil, 0), lane("nodeport/reused", clean, 1300, nil, 0),
		lane("nodeport/slow", clean, 1300, nil, 0))
	noHandlerRolling = run("no-handler", "rolling-update", 9800*ms, 4.1,
		lane("nodeport/new", drops, 2270, causes{timeline.Timeout: 61, timeline.EOF: 18, timeline.Reset: 5}, 140*ms),
		lane("nodeport/reused", measured, 2270, causes{timeline.EOF: 31, timeline.Timeout: 12}, 90*ms),
		lane("nodeport/slow", drops, 2270, causes{timeline.EOF: 588, timeline.Timeout: 66}, 120*ms))
	noHandlerDeletion = run("no-handler", "pod-deletion", 11200*ms, 0.9,
		lane("nodeport/new", drops, 2410, causes{timeline.Timeout: 74, timeline.EOF: 22}, 130*ms),
		lane("nodeport/reused", measured, 2410, causes{timeline.EOF: 30, timeline.Timeout: 15}, 80*ms),
		lane("nodeport/slow", drops, 2410, causes{timeline.EOF: 601, timeline.Timeout: 80}, 110*ms))
	atOnceRolling = run("shutdown-at-once", "rolling-update", 11900*ms, 9.6,
		lane("nodeport/new", measured, 2480, causes{timeline.Timeout: 88, timeline.EOF: 14}, 160*ms),
		lane("nodeport/reused", measured, 2480, causes{timeline.EOF: 3}, 2010*ms),
		lane("nodeport/slow", measured, 2480, causes{timeline.Timeout: 91, timeline.EOF: 11}, 150*ms))
	atOnceDeletion = run("shutdown-at-once", "pod-deletion", 13000*ms, 6.2,
		lane("nodeport/new", measured, 2590, causes{timeline.Timeout: 80, timeline.EOF: 20}, 120*ms),
		lane("nodeport/reused", measured, 2590, causes{timeline.EOF: 4}, 1980*ms),
		lane("nodeport/slow", measured, 2590, causes{timeline.Timeout: 79, timeline.EOF: 16}, 130*ms))
	inAppRolling = run("in-app-delay", "rolling-update", 24600*ms, 47.9,
		lane("nodeport/new", clean, 3760, nil, 1310*ms),
		lane("nodeport/reused", measured, 3760, causes{timeline.EOF: 6, timeline.Reset: 2}, 15010*ms),
		lane("nodeport/slow", clean, 3760, nil, 1290*ms))
	inAppDeletion = run("in-app-delay", "pod-deletion", 25900*ms, 46.1,
		lane("nodeport/new", clean, 3890, nil, 1120*ms),
		lane("nodeport/reused", measured, 3890, causes{timeline.EOF: 5}, 15000*ms),
		lane("nodeport/slow", clean, 3890, nil, 1170*ms))
	execRolling = run("prestop-exec-sleep", "rolling-update", 25100*ms, 48.4,
		lane("nodeport/new", clean, 3810, nil, 1270*ms),
		lane("nodeport/reused", measured, 3810, causes{timeline.EOF: 7}, 15040*ms),
		lane("nodeport/slow", clean, 3810, nil, 1330*ms))
	execDeletion = run("prestop-exec-sleep", "pod-deletion", 26200*ms, 46.6,
		lane("nodeport/new", clean, 3920, nil, 1150*ms),
		lane("nodeport/reused", measured, 3920, causes{timeline.EOF: 4, timeline.Reset: 1}, 15050*ms),
		lane("nodeport/slow", clean, 3920, nil, 1140*ms))
	preStopRolling = run("prestop-sleep", "rolling-update", 24900*ms, 48.0,
		lane("nodeport/new", clean, 3790, nil, 1290*ms),
		lane("nodeport/reused", measured, 3790, causes{timeline.EOF: 5}, 15020*ms),
		lane("nodeport/slow", clean, 3790, nil, 1320*ms))
	preStopDeletion = run("prestop-sleep", "pod-deletion", 26000*ms, 46.3,
		lane("nodeport/new", clean, 3900, nil, 1110*ms),
		lane("nodeport/reused", measured, 3900, nil, 15010*ms),
		lane("nodeport/slow", clean, 3900, nil, 1160*ms))
)

// small has what the larger ones don't: DNS queries, arrivals that only a Pod's own end ended,
// classes that are held to different things, and A/A of two rollouts.
func small() report.Report {
	fresh := lane("service/new", measured, 100, causes{timeline.Timeout: 2}, 140*ms)
	cached := lane("dns/cached", measured, 100, causes{timeline.Refused: 1, timeline.EOF: 1}, 15*time.Second)
	cached.Lookups, cached.LastArrival.Censored = 25, true
	var runs []verdict.Verdict
	for i, name := range []string{"shutdown-at-once", "shutdown-at-once+again"} {
		fresh.From, cached.From = timeline.FromCluster, timeline.FromCluster
		v := attributed(run(name, "rolling-update", 12*time.Second, 9.6, fresh, cached))
		v.PodsReplaced = 3
		for n := range v.Lanes {
			l := &v.Lanes[n]
			l.Outages = l.Outages[:1]
			l.Arrivals = []verdict.Arrival{*l.LastArrival, {Pod: "app-2", After: 110 * ms}}
			if len(l.Classes) > 1 {
				l.Classes[1].Promise = timeline.Promise{Expect: timeline.Clean, Source: "strategy"}
				l.Classes[1].Outcome, l.Classes[1].Dropped, l.Classes[0].Dropped = verdict.Pass, 0, l.Dropped
			}
		}
		v.DroppedRequests = nil
		if i == 1 {
			v.Spec.SameAs = "shutdown-at-once"
			v.Lanes[0].Dropped, v.Lanes[0].OK = 3, 97
			v.Lanes[0].Causes = causes{timeline.Timeout: 3}
		}
		runs = append(runs, v)
	}
	r := suite()
	r.Suite = verdict.JudgeSuite(runs)
	return r
}

// quick is the default profile, as it should come out.
func quick() report.Report {
	r := suite(undisturbed, noHandlerRolling, noHandlerDeletion, atOnceRolling, atOnceDeletion, inAppRolling,
		inAppDeletion, execRolling, execDeletion,
		preStopRolling, preStopDeletion)
	for i := range r.Suite.Runs {
		v := &r.Suite.Runs[i]
		r.Pictures = append(r.Pictures, v.Name()+"/"+"run.html")
		if v.Spec.Disruption == "pod-deletion" { // the only one that deletes Pods itself
			v.DeletionSeen = []time.Duration{14 * ms, time.Duration(10+i) * ms, 31 * ms}
		}
		if v.Spec.Strategy == "shutdown-at-once" { // as if the others were of a cluster whose etcd can't be asked
			v.DeletionLate = []time.Duration{4 * ms, 9 * ms, time.Duration(50+i) * ms}
		}
	}
	return r
}

// failing has two strategies that dropped requests where nothing may be, and a run that ended in
// mid-way.
func failing() report.Report {
	lossy := run("in-app-delay", "pod-deletion", 25900*ms, 46.1,
		lane("nodeport/new", clean, 3890, causes{timeline.Timeout: 12, timeline.Refused: 1}, 1120*ms),
		lane("nodeport/reused", measured, 3890, causes{timeline.EOF: 5}, 15000*ms),
		lane("nodeport/slow", clean, 3890, causes{timeline.Timeout: 9}, 1170*ms))
	wrong := lane("nodeport/slow", clean, 3790, causes{timeline.WrongBody: 1}, 1320*ms)
	wrong.Masked = 3
	resent := lane("nodeport/new", clean, 3900, nil, 1110*ms)
	resent.Masked, resent.Outcome, resent.Reasons = 2, verdict.Fail, []string{"new: 2 of 3900 were dropped once and " +
		"sent again"}
	r := suite(undisturbed, noHandlerRolling, noHandlerDeletion, inAppRolling, lossy,
		run("prestop-sleep", "rolling-update", 24900*ms, 48.0,
			lane("nodeport/new", clean, 3790, nil, 1290*ms),
			lane("nodeport/reused", measured, 3790, causes{timeline.EOF: 5}, 15020*ms), wrong),
		run("prestop-sleep", "pod-deletion", 26000*ms, 46.3, resent,
			lane("nodeport/reused", measured, 3900, nil, 15010*ms)))
	return r
}

// inconclusive has a control that dropped nothing, after which no other is conclusive, a run
// that never settled and one with a sender too late.
func inconclusive() report.Report {
	blind := run("no-handler", "rolling-update", 9800*ms, 4.1,
		lane("nodeport/new", drops, 2270, nil, 140*ms),
		lane("nodeport/reused", measured, 2270, causes{timeline.EOF: 31}, 90*ms),
		lane("nodeport/slow", drops, 2270, causes{timeline.EOF: 588}, 120*ms))
	late := lane("nodeport/new", clean, 3760, causes{timeline.Client: 40}, 1310*ms)
	late.Outcome, late.Reasons, late.LagP99, late.LagMax = verdict.Inconclusive, []string{"requests left late: lag " +
		"p99 412ms, at most 30ms at 100 requests/s"}, 412*ms, 1900*ms
	late.Sent, late.Unsent, late.OK = 3611, 149, 3571
	torn := doubt(run("prestop-sleep", "pod-deletion", 1, 0), "the run ended early: delete Pod app-7c9f-x2x1k: "+
		"Delete \"https://127.0.0.1:39211/api\":\n\tdial tcp 127.0.0.1:39211: connect: connection refused\x1b[0m")
	torn.PodsReplaced, torn.Rollout, torn.PeakPods = 0, 0, 0
	torn.Lanes = nil
	return suite(undisturbed, blind, noHandlerDeletion, inAppDeletion,
		doubt(run("in-app-delay", "rolling-update", 24600*ms, 47.9, late,
			lane("nodeport/reused", measured, 3760, nil, 15010*ms)),
			"nodeport/new: 149 of 3760 planned requests were not sent",
			"nodeport/new: the sender had no port or descriptor for 40 of 3760 requests",
			"nodeport/new: requests left late: lag p99 412ms, at most 30ms at 100 requests/s"),
		preStopRolling, torn)
}

// repeats is three rounds of two strategies, the second round backwards.
func repeats() report.Report {
	var runs []verdict.Verdict
	for i := range 3 {
		drift := time.Duration(i) * 40 * ms
		round := []verdict.Verdict{
			run("in-app-delay", "rolling-update", 24600*ms+5*drift, 47.9+float64(i),
				lane("nodeport/new", clean, 3760, nil, 1310*ms+drift),
				lane("nodeport/reused", measured, 3760, causes{timeline.EOF: 6 - i}, 15010*ms),
				lane("nodeport/slow", clean, 3760, nil, 1290*ms)),
			run("prestop-sleep", "rolling-update", 24900*ms+3*drift, 48.0,
				lane("nodeport/new", clean, 3790, nil, 1290*ms),
				lane("nodeport/reused", measured, 3790, causes{timeline.EOF: 2 * (i % 2)}, 15020*ms),
				lane("nodeport/slow", clean, 3790, causes{timeline.Timeout: i / 2}, 1320*ms)),
		}
		if i == 1 {
			round[0], round[1] = round[1], round[0]
		}
		for _, v := range round {
			runs = append(runs, repeat(i+1, v))
		}
	}
	return suite(runs...)
}

// manyRepeats is enough of them for differences to mean something.
func manyRepeats() report.Report {
	var runs []verdict.Verdict
	for i := range 10 {
		runs = append(runs,
			repeat(i+1, run("in-app-delay-close", "rolling-update", 24600*ms+time.Duration(i)*20*ms,
				47.9+float64(i%3)/10,
				lane("nodeport/new", clean, 3760, nil, 1310*ms),
				lane("nodeport/reused", measured, 3760, nil, 2210*ms))),
			repeat(i+1, run("prestop-exec-sleep", "rolling-update", 26900*ms+time.Duration(i)*30*ms, 48.0,
				lane("nodeport/new", clean, 3990, nil, 1290*ms),
				lane("nodeport/reused", measured, 3990, causes{timeline.EOF: 3 + i%4}, 15020*ms))),
			repeat(i+1, run("prestop-sleep", "rolling-update", 24600*ms+time.Duration(i)*30*ms, 48.0,
				lane("nodeport/new", clean, 3790, nil, 1290*ms),
				lane("nodeport/reused", measured, 3790, causes{timeline.EOF: i % 2}, 15020*ms))))
	}
	r := suite(runs...)
	r.Profile, r.Elapsed, r.Replay = "nightly", 0, true
	return r
}

// sevenLanes has the lanes of a run as it is: four from within the cluster, one of which may send
// requests again, and three from outside.
func sevenLanes() report.Report {
	var runs []verdict.Verdict
	for _, v := range quick().Suite.Runs {
		outside := v.Lanes
		v.Lanes = nil
		for _, l := range outside {
			l.From = timeline.FromOutside
			v.Lanes = append(v.Lanes, l)
		}
		for _, l := range outside {
			l.Name, l.Consumer, l.From = "service/"+l.Load, "service", timeline.FromCluster
			v.Lanes = append(v.Lanes, l)
			if !l.Reuses() {
				continue
			}
			l.Name, l.Load, l.Replayable = "service/replayable", "replayable", true
			l.Masked, l.Dropped, l.Causes, l.OK = l.Dropped-l.Dropped/8, l.Dropped/8, nil, l.Sent-l.Dropped/8
			if l.Dropped > 0 {
				l.Causes = causes{timeline.EOF: l.Dropped}
			}
			v.Lanes = append(v.Lanes, l)
		}
		runs = append(runs, v)
	}
	return suite(runs...)
}

// infrastructure has runs that were never measured, one that was stopped, and one that passed
// before.
func infrastructure() report.Report {
	torn := verdict.Verdict{
		Spec: specFor("in-app-delay", "rolling-update"), Repeat: 1, Outcome: verdict.Infrastructure,
		Reasons: []string{"deploy in-app-delay: the API server is away"},
	}
	again := torn
	again.Spec.Disruption = "pod-deletion"
	return suite(undisturbed, noHandlerRolling, noHandlerDeletion, preStopRolling, torn, again,
		doubt(run("prestop-sleep", "pod-deletion", 0, 0), "stopped by a signal"))
}

// aa is ten rollouts of a strategy and of its second name; with different, that one drops more.
func aa(different bool) report.Report {
	const second = "shutdown-at-once+again"
	runs := []verdict.Verdict{undisturbed}
	for i := range 10 {
		more := 0
		if different {
			more = 60
		}
		side := func(name string, dropped int, reused causes) verdict.Verdict {
			return repeat(i+1, run(name, "rolling-update", 11900*ms+time.Duration(dropped)*10*ms, 9.6,
				lane("nodeport/new", measured, 2480, causes{timeline.Timeout: dropped}, 160*ms),
				lane("nodeport/reused", measured, 2480, reused, 2010*ms),
				lane("nodeport/slow", measured, 2480, nil, 150*ms)))
		}
		runs = append(runs, side("shutdown-at-once", 88+7*i%11, causes{timeline.EOF: i % 3}),
			side(second, 86+5*i%13+more, causes{timeline.EOF: (i + 1) % 3}))
	}
	for i := range runs {
		if runs[i].Spec.Strategy == second {
			runs[i].Spec.SameAs = "shutdown-at-once"
		}
	}
	r := suite(runs...)
	r.Profile, r.Elapsed = "aa", 12*time.Minute
	return r
}

// full is every strategy, with three paths: the widest table there is.
func full() report.Report {
	strategies := []string{
		"no-handler", "ignore-sigterm", "shell-as-pid1", "shutdown-at-once", "in-app-delay", "in-app-delay-close",
		"in-app-delay-unready",
		"prestop-exec-sleep", "prestop-sleep", "prestop-http", "prestop-longer-than-grace", "no-readiness-probe",
	}
	var runs []verdict.Verdict
	for n := range 2 {
		for _, strategy := range strategies {
			for _, disruption := range []string{"rolling-update", "pod-deletion"} {
				var lanes []verdict.Lane
				for _, path := range []string{"nodeport", "service", "ingress"} {
					for _, load := range []string{"new", "reused", "slow"} {
						dropped := causes{
							timeline.Timeout: 1200, timeline.HTTP5xx: 310, timeline.EOF: 24,
							timeline.Reset: 3,
						}
						lanes = append(lanes, lane(path+"/"+load, measured, 12000, dropped, 15*time.Second))
					}
				}
				runs = append(runs, repeat(n+1, run(strategy, disruption, 128*time.Second+time.Duration(n)*time.Second,
					147.9+float64(n), lanes...)))
			}
		}
	}
	r := suite(append(failing().Suite.Runs, inconclusive().Suite.Runs...)...)
	r.Suite = verdict.JudgeSuite(runs[:0])
	for _, v := range append(failing().Suite.Runs, infrastructure().Suite.Runs...) {
		r.Suite.Runs = append(r.Suite.Runs, v)
	}
	r.Profile, r.Elapsed = "full", 72*time.Minute
	return r
}

// real is the default profile with the consumers that there are.
func real() report.Report {
	var runs []verdict.Verdict
	for _, v := range quick().Suite.Runs {
		base := v.Lanes
		v.Lanes = nil
		if v.Spec.Strategy != "no-handler" && v.Spec.Strategy != "shutdown-at-once" {
			v.Spec.Delay = 15 * time.Second
		}
		for i, c := range []string{"service", "dns", "dns-cached", "nodeport"} {
			for _, l := range base {
				l.Name, l.Consumer = c+"/"+l.Load, c
				l.From = timeline.FromCluster
				if c == "nodeport" {
					l.From = timeline.FromOutside
				}
				if c[0] == 'd' {
					l.Routing = timeline.ByClient
				}
				if c == "dns-cached" && l.Load == "new" && v.Spec.Disruption != "none" {
					l = lane(l.Name, measured, l.Planned, causes{timeline.Refused: 400 + 30*i}, 15*time.Second)
					l.From, l.Routing = timeline.FromCluster, timeline.ByClient
				}
				if v.Spec.Strategy == "shutdown-at-once" {
					l.Late = 17 * i
				}
				v.Lanes = append(v.Lanes, l)
			}
		}
		runs = append(runs, v)
	}
	r := suite(runs...)
	for _, v := range r.Suite.Runs {
		r.Pictures = append(r.Pictures, v.Name()+"/run.html")
	}
	return r
}
