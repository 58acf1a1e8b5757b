package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// Made-up suites with numbers as a real cluster gives them.

const (
	ms     = time.Millisecond
	second = time.Second
	clean  = timeline.Clean
	drops  = timeline.Drops
	// measured is what a strategy promises nothing for.
	measured     = timeline.Measured
	disruptStart = 5 * time.Second
)

type causes = map[timeline.Cause]int

var kindCluster = timeline.Environment{
	Kubernetes: "v1.37.2", Nodes: 3, ProxyMode: "iptables", MinSyncPeriod: "1s", Kernel: "6.18.5",
	Runtime: "containerd://2.3.7", CPUs: 2,
}

// lane is one whose ledger balances, judged by what it is held to. Every EOF was in flight.
func lane(name string, expect timeline.Expect, sent int, dropped causes, lastArrival time.Duration) verdict.Lane {
	consumer, load, _ := strings.Cut(name, "/")
	l := verdict.Lane{
		LaneSpec: timeline.LaneSpec{
			Name: name, Consumer: consumer, Load: load, From: timeline.FromCluster, Rate: 100, Connections: "new",
			Class: timeline.ClassNew,
		},
		Outcome: verdict.Pass, Planned: sent, Sent: sent, Causes: dropped, Phases: map[verdict.LifecyclePhase]int{},
		LagP50: 90 * time.Microsecond, LagP99: 1460 * time.Microsecond, LagMax: 14 * ms,
		LatencyP50: 2100 * time.Microsecond, LatencyP99: 11 * ms, MinDetectableOutage: 30 * ms,
	}
	switch {
	case consumer == "nodeport":
		l.From = timeline.FromOutside
	case strings.HasPrefix(consumer, "dns"):
		l.Routing = timeline.ByClient
	}
	if load == "reused" {
		l.Connections, l.Class = timeline.Reused, timeline.ClassKeptAlive
	}
	for cause, n := range dropped {
		l.Dropped += n
		phase := verdict.AfterExit
		if cause == timeline.EOF {
			phase = verdict.CutAtExit
		}
		l.Phases[phase] += n
	}
	l.OK = sent - l.Dropped
	if l.Dropped > 0 {
		l.FirstDropped, l.DroppedEnd = 3400*ms, 3400*ms+time.Duration(l.Dropped)*100*ms
		l.Outages = []verdict.Outage{{
			From: disruptStart + l.FirstDropped, To: disruptStart + l.DroppedEnd, Dropped: l.Dropped,
			Causes: dropped, Phases: l.Phases, Pods: []string{"app-1"},
		}}
	}
	if lastArrival > 0 {
		for i, after := range []time.Duration{lastArrival, lastArrival * 9 / 10, lastArrival * 8 / 10} {
			l.Arrivals = append(l.Arrivals, verdict.Arrival{Pod: fmt.Sprintf("app-%d", i+1), Owner: i, After: after})
		}
		l.LastArrival = &l.Arrivals[0]
	}
	class, promise := l.ConnectionClass(), timeline.Promise{Expect: expect, Source: "strategy"}
	l.Held = map[timeline.Class]timeline.Promise{class: promise}
	switch {
	case expect == drops && l.Dropped == 0:
		l.Outcome = verdict.Inconclusive
		l.Reasons = []string{fmt.Sprintf("%s: dropped none of %d where some must be dropped: the instrument can't see drops", class, sent)}
	case expect == clean && l.Dropped > 0:
		l.Outcome, l.Reasons = verdict.Fail, []string{fmt.Sprintf("%s: dropped %d of %d where none may be dropped", class, l.Dropped, sent)}
	}
	l.Classes = []verdict.ClassResult{
		{Class: class, Dropped: l.Dropped - dropped[timeline.EOF], Promise: promise, Outcome: l.Outcome},
		{Class: timeline.ClassInFlight, Dropped: dropped[timeline.EOF], Promise: timeline.Promise{Expect: measured, Source: "strategy"}, Outcome: verdict.Pass},
	}
	return l
}

// run is judged by its lanes.
func run(strategy, disruption string, rollout time.Duration, extra float64, lanes ...verdict.Lane) verdict.Verdict {
	v := verdict.Verdict{
		Spec:   timeline.Spec{Strategy: strategy, Disruption: disruption, Summary: "what " + strategy + " does", Control: strategy == "no-handler"},
		Repeat: 1, Outcome: verdict.Pass, Lanes: lanes, PodsReplaced: 3, DisruptStart: disruptStart, Rollout: rollout, PeakPods: 4,
		ExtraPodSeconds: extra, Overhead: 300 * ms, Environment: kindCluster,
	}
	switch {
	case strings.HasPrefix(strategy, "prestop-"):
		v.Spec.Group, v.Spec.Delay = groups[0], 15*second
	case strings.HasPrefix(strategy, "in-app-"):
		v.Spec.Group, v.Spec.Delay = groups[1], 15*second
	}
	if disruption == "none" {
		v.PodsReplaced, v.Spec.Scope = 0, timeline.ScopeNone
	}
	for i := range v.PodsReplaced {
		deleted := map[timeline.Kind]time.Duration{timeline.EndpointServing: 0, timeline.PodDeleted: disruptStart + time.Duration(i)*3*second}
		v.Pods = append(v.Pods, verdict.PodLifecycle{Pod: fmt.Sprintf("app-%d", i+1), FirstSeen: deleted})
	}
	for _, l := range lanes {
		v.Spec.Lanes = append(v.Spec.Lanes, l.LaneSpec)
		if l.Outcome != verdict.Pass {
			v.Outcome = l.Outcome
			v.Reasons = append(v.Reasons, l.Name+": "+l.Reasons[0])
		}
	}
	return v
}

func repeat(n int, v verdict.Verdict) verdict.Verdict {
	v.Repeat = n
	return v
}

func doubt(v verdict.Verdict, reasons ...string) verdict.Verdict {
	v.Outcome, v.Reasons = verdict.Inconclusive, reasons
	return v
}

func suite(runs ...verdict.Verdict) Report {
	r := Report{
		Suite: verdict.JudgeSuite(runs), Cluster: kindCluster, Profile: "quick", Rate: 100,
		Started: time.Date(2026, 10, 1, 9, 30, 12, 345e6, time.FixedZone("CEST", 7200)), Elapsed: 7*time.Minute + 12*second,
		Phases:    []Phase{{Name: "cluster", Took: 34100 * ms}, {Name: "runs", Took: 6*time.Minute + 28*second}},
		Artifacts: "artifacts",
	}
	for _, v := range r.Suite.Runs {
		r.Pictures = append(r.Pictures, fmt.Sprintf("%s/%d/run.html", v.Name(), v.Repeat))
	}
	return r
}

// usual is a run with the consumers that there are, of which the one that keeps DNS answers drops
// the longest.
func usual(strategy, disruption string) verdict.Verdict {
	sent, rollout, extra, needed := 3800, 24900*ms, 48.0, 1290*ms
	expect, fresh, kept := clean, causes(nil), causes{timeline.EOF: 5}
	switch {
	case disruption == "none":
		return run(strategy, disruption, 0, 0, lane("service/new", clean, 1300, nil, 0), lane("service/reused", clean, 1300, nil, 0),
			lane("dns-cached/new", clean, 1300, nil, 0), lane("nodeport/new", clean, 1300, nil, 0))
	case strategy == "no-handler":
		sent, rollout, extra, needed = 2270, 9800*ms, 4.1, 140*ms
		expect, fresh, kept = drops, causes{timeline.Timeout: 61, timeline.EOF: 18, timeline.Reset: 5}, causes{timeline.EOF: 31, timeline.Timeout: 12}
	case strategy == "shutdown-at-once":
		sent, rollout, extra, needed = 2480, 11900*ms, 9.6, 160*ms
		expect, fresh = measured, causes{timeline.Timeout: 88, timeline.EOF: 14}
	case strategy == "in-app-delay-close":
		kept = nil
	}
	return run(strategy, disruption, rollout, extra, lane("service/new", expect, sent, fresh, needed),
		lane("service/reused", measured, sent, kept, 15010*ms), lane("dns-cached/new", measured, sent, causes{timeline.Refused: 700}, 16*second),
		lane("nodeport/new", expect, sent, fresh, needed))
}

// quick is the default profile, as it should come out.
func quick() Report {
	runs := []verdict.Verdict{usual("no-handler", "none")}
	for _, disruption := range []string{"rolling-update", "pod-deletion"} {
		for _, strategy := range []string{"no-handler", "shutdown-at-once", "in-app-delay", "in-app-delay-close", "prestop-sleep"} {
			runs = append(runs, usual(strategy, disruption))
		}
	}
	runs[2].Lanes[0].Late = 17
	runs[4].Lanes[2] = lane("dns-cached/new", measured, 3800, nil, 2*second) // nothing dropped at all
	return suite(runs...)
}

// full has so many rows that they don't fit on a screen; with bad, so many of them went wrong.
func full(bad int) Report {
	runs := []verdict.Verdict{usual("no-handler", "none")}
	for i := range 13 {
		for _, disruption := range []string{"rolling-update", "pod-deletion"} {
			v := usual(fmt.Sprintf("prestop-longer-than-grace-%02d", i), disruption)
			if len(runs) <= bad {
				v = run(v.Spec.Strategy, disruption, second, 1, lane("service/new", clean, 3800, causes{timeline.Timeout: 3}, second))
			}
			runs = append(runs, v)
		}
	}
	r := suite(runs...)
	r.Profile = "full"
	return r
}

// failing has strategies that dropped requests where nothing may be, and a control beside them.
func failing() Report {
	resent := lane("service/new", clean, 3900, nil, 1110*ms)
	resent.Masked, resent.Outcome, resent.Reasons = 2, verdict.Fail, []string{"new: 2 of 3900 were dropped once and sent again"}
	return suite(usual("no-handler", "none"), usual("no-handler", "rolling-update"), usual("in-app-delay-close", "rolling-update"),
		run("in-app-delay", "pod-deletion", 25900*ms, 46.1, lane("service/new", clean, 3890, causes{timeline.Timeout: 12, timeline.Refused: 1}, 1120*ms),
			lane("service/reused", measured, 3890, causes{timeline.EOF: 5}, 15*second)),
		run("prestop-sleep", "pod-deletion", 26*second, 46.3, resent))
}

// inconclusive has a control that dropped nothing, after which no other run is conclusive, and one
// that ended early.
func inconclusive() Report {
	return suite(run("no-handler", "rolling-update", 9800*ms, 4.1, lane("service/new", drops, 2270, nil, 140*ms)), usual("prestop-sleep", "rolling-update"),
		doubt(run("prestop-sleep", "pod-deletion", 0, 0), "the run ended early: Delete \"https://127.0.0.1:39211/api\":\n\tdial tcp: connection refused\x1b[0m"))
}

// infrastructure has a run that was never measured beside others.
func infrastructure() Report {
	torn := run("in-app-delay", "rolling-update", 0, 0)
	torn.Outcome, torn.Reasons = verdict.Infrastructure, []string{"deploy in-app-delay: the API server is away"}
	return suite(usual("no-handler", "none"), usual("no-handler", "rolling-update"), torn)
}

// repeats is ten rounds of three strategies, enough for differences to mean something.
func repeats() Report {
	var runs []verdict.Verdict
	for i := range 10 {
		for j, strategy := range []string{"in-app-delay-close", "prestop-exec-sleep", "prestop-sleep"} {
			runs = append(runs, repeat(i+1, run(strategy, "rolling-update", 24600*ms+time.Duration(i)*20*ms, 48,
				lane("service/new", clean, 3760, nil, 1310*ms),
				lane("service/reused", measured, 3760, [3]causes{nil, {timeline.EOF: 3 + i%4}, {timeline.EOF: i % 2}}[j], 2210*ms))))
		}
	}
	return suite(runs...)
}

// twice is ten rollouts of a strategy and of its second name; with more, that one drops so many more.
func twice(more int) Report {
	runs := []verdict.Verdict{usual("no-handler", "none")}
	for i := range 10 {
		for _, name := range []string{"shutdown-at-once", "shutdown-at-once+again"} {
			dropped := 86 + 5*i%13
			if strings.HasSuffix(name, "+again") {
				dropped += more
			}
			v := run(name, "rolling-update", 11900*ms, 9.6, lane("service/new", measured, 2480, causes{timeline.Timeout: dropped}, 160*ms))
			if strings.HasSuffix(name, "+again") {
				v.Spec.SameAs = "shutdown-at-once"
			}
			runs = append(runs, repeat(i+1, v))
		}
	}
	return suite(runs...)
}

// small has one of everything that the JSON knows, in two runs.
func small() Report {
	r := twice(1)
	v := r.Suite.Runs[1]
	again := r.Suite.Runs[2]
	cached := lane("dns/cached", measured, 100, causes{timeline.Refused: 1, timeline.EOF: 1}, 15*second)
	cached.Lookups, cached.Arrivals, cached.Late = 25, []verdict.Arrival{{Pod: "app-1", After: 15 * second, Censored: true}}, 4
	cached.LastArrival = &cached.Arrivals[0]
	cached.Phases, cached.Unattributed = map[verdict.LifecyclePhase]int{verdict.Unattributed: 2}, map[string]int{"connection tracking saw no choice for its port": 2}
	v.Lanes, v.Retry = append(slices.Clone(v.Lanes), cached), []string{"CPU pressure 62 % on zerodrop-worker"}
	v.Unseen = []string{"the access log of traefik is not whole: lost lines: 2"}
	v.Spec.Target = &timeline.TargetSpec{
		Name: "shop", Request: "GET /shop?page=2", SlowRequest: "GET /report", ExpectStatus: 200, StatusLearnt: true, ExpectBody: "^page", PodHeader: "X-Served-By",
	}
	v.DeletionSeen, v.DeletionLate = []time.Duration{14 * ms}, []time.Duration{4 * ms}
	v.Terminations = []verdict.Termination{
		{Pod: "app-1", Grace: 30 * second, SIGTERM: new(40 * ms), Exit: new(2100 * ms), Code: new(0), HookFailed: true},
		{Pod: "app-2", Owner: 1, Grace: 30 * second, SIGTERM: new(20 * second), Exit: new(30300 * ms), Code: new(137), PreStopCounted: new(true)},
		{Pod: "app-3", Owner: 2, Grace: 30 * second},
	}
	out := suite(v, again)
	out.NotRun = []NotRun{{Strategy: "prestop-sleep", Disruption: "node-drain", Why: "its turn is in the night of 2026-10-02 (part 2 of 3)"}}
	return out
}

// grouped is a run of the profile consumers: one group, in which the reference goes along.
func grouped(name, mode, strategy, disruption string, lanes ...verdict.Lane) verdict.Verdict {
	v := run(strategy, disruption, 24900*ms, 48, lanes...)
	v.Spec.ConsumerGroup, v.Environment.ProxyMode, v.Replicas = name, mode, 3
	if mode != kindCluster.ProxyMode {
		v.Spec.ProxyMode = mode
	}
	if strings.HasPrefix(strategy, "single-replica") {
		v.Replicas, v.Spec.Delay, v.Spec.Group = 1, 15*second, ""
	}
	if strings.HasSuffix(strategy, "-30s") {
		v.Spec.Delay = 30 * second
	}
	return v
}

// brings is a lane of a consumer, and how it differs from the usual.
func brings(name string, dropped causes, last time.Duration, change func(*verdict.Lane)) verdict.Lane {
	l := lane(name, measured, 1200, dropped, last)
	l.From, l.Rate, l.Driver, l.Routing = timeline.FromCluster, 50, "http", timeline.PerConnection
	if change != nil {
		change(&l)
	}
	return l
}

// everyConsumer has one of everything that consumers do: proxies that send again, a balancer whose
// arrivals are censored by a short delay, kept connections alone, clients that choose by themselves,
// one that is only watched, a lane without evidence, and an outage of a single replica.
func everyConsumer() Report {
	censored := func(l *verdict.Lane) {
		for i := range l.Arrivals {
			l.Arrivals[i].Censored = true
		}
	}
	resends := func(l *verdict.Lane) { l.ProxyMasked = 41 }
	over := func(driver string, routing timeline.Routing) func(*verdict.Lane) {
		return func(l *verdict.Lane) { l.Driver, l.Routing, l.Masked = driver, routing, 3 }
	}
	kept := func(l *verdict.Lane) { l.Masked = 2 }
	var runs []verdict.Verdict
	for _, strategy := range []string{"shutdown-at-once", "in-app-delay", "prestop-sleep", "single-replica-prestop-sleep"} {
		for _, disruption := range []string{"rolling-update", "pod-deletion"} {
			fresh, reused := causes(nil), causes{timeline.Reset: 2}
			alone := strategy == "single-replica-prestop-sleep"
			switch {
			case strategy == "shutdown-at-once":
				fresh, reused = causes{timeline.Refused: 64}, causes{timeline.Reset: 31}
			case alone && disruption == "pod-deletion":
				fresh = causes{timeline.HTTP5xx: 205}
			}
			proxied := fresh
			if alone && disruption == "rolling-update" {
				proxied = nil
			}
			for _, mode := range []string{"iptables", "nftables"} {
				own := fresh
				if alone {
					own = nil
				}
				faster := map[string]time.Duration{"iptables": 1290 * ms, "nftables": 1010 * ms}[mode]
				runs = append(runs, grouped("", mode, strategy, disruption, brings("service/new", own, faster, nil),
					brings("service/reused", reused, 15010*ms, kept), brings("dns-cached/new", causes{timeline.Refused: 180}, 15*second, censored)))
			}
			unattributed := func(l *verdict.Lane) {
				l.Unattributed = map[string]int{"its line of the access log is missing": l.Dropped / 60}
				l.Phases = map[verdict.LifecyclePhase]int{verdict.Unattributed: l.Dropped / 60, verdict.AfterExit: l.Dropped - l.Dropped/60}
			}
			runs = append(runs,
				grouped("ingress", "iptables", strategy, disruption, brings("ingress/new", proxied, 2480*ms, unattributed), brings("ingress/reused", proxied, 2500*ms, nil),
					brings("ingress-retry/new", nil, 2480*ms, resends), brings("ingress-retry/reused", reused, 2510*ms, resends), brings("service/new", fresh, 1310*ms, nil)),
				grouped("http2", "iptables", strategy, disruption, brings("service-h2/reused", reused, 15*second, over("h2", timeline.PerConnection)),
					brings("ingress-h2/reused", proxied, 2600*ms, over("h2", timeline.PerRequest)), brings("service/new", fresh, 1300*ms, nil)),
			)
			if alone {
				continue
			}
			balanced := brings("lb-gcp-l4/new", causes{timeline.Timeout: 301}, 15*second, censored)
			if strategy == "shutdown-at-once" {
				balanced = brings("lb-gcp-l4/new", causes{timeline.Timeout: 620}, 24200*ms, nil)
			}
			runs = append(runs, grouped("loadbalancer", "iptables", strategy, disruption, balanced, brings("service/new", fresh, 1300*ms, nil)))
			local := grouped("local", "iptables", strategy, disruption, brings("nodeport-local/new", fresh, 1450*ms, nil), brings("service/new", fresh, 1300*ms, nil))
			local.Spec.Watched = []string{"prometheus-endpoints"}
			for i, after := range []time.Duration{-1 * second, 3200 * ms, 14800 * ms} {
				local.Watched = append(local.Watched, verdict.Watched{
					Consumer: "prometheus-endpoints", Pod: fmt.Sprintf("app-%d", i+1), After: after, Censored: i == 2, Blind: 15*second - after,
				})
			}
			runs = append(runs, local)
		}
	}
	for _, disruption := range []string{"rolling-update", "pod-deletion"} {
		runs = append(runs, grouped("loadbalancer", "iptables", "prestop-sleep-30s", disruption, brings("lb-gcp-l4/new", nil, 23900*ms, nil)))
	}
	doubtful := brings("nodeport-local/new", causes{timeline.Refused: 900}, 29*second, nil)
	doubtful.Outcome, doubtful.Reasons = verdict.Inconclusive, []string{"connection tracking chose a Pod on another node"}
	runs = append(runs, doubt(repeat(2, grouped("local", "iptables", "prestop-sleep", "rolling-update", doubtful)), "nodeport-local/new: "+doubtful.Reasons[0]))
	for i := range runs {
		for j := range runs[i].Lanes {
			l := &runs[i].Lanes[j]
			if runs[i].Replicas > 1 || len(l.Outages) == 0 {
				continue
			}
			l.Outages[0].To = l.Outages[0].From + 4*second
		}
	}
	r := suite(runs...)
	r.Profile, r.Rate = ConsumersProfile, 50
	return r
}

// everyServer has servers that stop in several ways, one of which was inconclusive.
func everyServer() Report {
	stopped := func(server, way, signal string, delay time.Duration, fresh, reused, slow causes) verdict.Verdict {
		inFlight := brings("service/slow", slow, 0, func(l *verdict.Lane) { l.Class = timeline.ClassInFlight })
		v := run(way, "rolling-update", 12*second, 9, brings("service/new", fresh, 1230*ms, nil),
			brings("service/reused", reused, 0, nil), inFlight)
		v.Spec.Target = &timeline.TargetSpec{Name: server, Request: "GET /", ExpectStatus: 200, Signal: signal}
		v.Spec.Delay, v.Spec.Scope, v.Replicas = delay, timeline.ScopeAll, 3
		for i := range v.Lanes {
			for j := range v.Lanes[i].Classes {
				c := &v.Lanes[i].Classes[j]
				c.Causes = causes{}
				for cause, n := range v.Lanes[i].Causes {
					if (cause == timeline.EOF) == (c.Class == timeline.ClassInFlight) {
						c.Causes[cause] = n
					}
				}
			}
		}
		return v
	}
	refused, cut := causes{timeline.Refused: 41, timeline.Timeout: 3}, causes{timeline.EOF: 17, timeline.Refused: 9}
	r := suite(
		run("no-handler", "none", 0, 0, brings("service/new", nil, 0, nil)),
		stopped("nginx", "nginx", "SIGTERM", 0, refused, causes{timeline.Reset: 4}, cut),
		stopped("nginx", "nginx-sleep-quit", "SIGQUIT", 5*second, nil, causes{timeline.Reset: 2}, nil),
		stopped("gunicorn", "gunicorn", "SIGTERM", 0, causes{timeline.Reset: 30}, nil, causes{timeline.Reset: 22}),
		doubt(stopped("gunicorn", "gunicorn-sleep", "", 5*second, nil, nil, nil), "requests left late"),
	)
	r.Profile, r.Rate = ServersProfile, 25
	return r
}

// suites are all of them.
func suites() map[string]Report {
	return map[string]Report{
		"small": small(), "quick": quick(), "full": full(0), "full-failing": full(3), "all-failing": full(27), "failing": failing(),
		"inconclusive": inconclusive(), "infrastructure": infrastructure(), "repeats": repeats(), "aa": twice(0), "aa-differs": twice(60), "empty": suite(),
		"consumers": everyConsumer(), "servers": everyServer(),
	}
}
