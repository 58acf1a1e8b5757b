package picture_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

const ms = time.Millisecond

var kindCluster = timeline.Environment{
	Kubernetes: "v1.37.2", Nodes: 3, ProxyMode: "iptables", MinSyncPeriod: "1s", Kernel: "6.18.5",
	Runtime: "containerd://2.3.7", CPUs: 2,
}

// Made-up runs, as facts: what they mean is for package verdict to say.

// madePod is a Pod of a made-up run: when each thing happened to it.
type madePod struct {
	name, ip string
	// until: the last node routes to it
	created, listening, ready, deleted, sigterm, closed, exit, gone, until time.Duration
}

// pods are three that go one after another, and three that come when those are gone: a Service
// without an endpoint in between.
func pods() []madePod {
	var out []madePod
	for i := range 3 {
		late := time.Duration(i) * 700 * ms
		out = append(out, madePod{
			name: fmt.Sprintf("app-6d4b9c7f58-%c%dk2x", 'f'+i, i), ip: fmt.Sprintf("10.244.1.%d", 10+i),
			created: 10 * ms, listening: 10 * ms, ready: 10 * ms,
			deleted: 8*time.Second + late, sigterm: 10*time.Second + late, closed: 11500*ms + late, exit: 12300*ms +
				late, gone: 13200*ms + late, until: 13*time.Second + late,
		})
	}
	for i := range 3 {
		late := time.Duration(i) * 500 * ms
		out = append(out, madePod{
			name: fmt.Sprintf("app-84c5d6fbb9-%c%dq7z", 'm'+i, i), ip: fmt.Sprintf("10.244.2.%d", 20+i),
			created: 12*time.Second + late, ready: 16*time.Second + late, listening: 16400*ms + late,
		})
	}
	return out
}

const madeEnd = 24 * time.Second

// oneClock is how clocks compare where everything is on one machine.
var oneClock = timeline.Comparison{SameClock: true}

// madeRun is a run in which a request is dropped in each phase of a Pod's life, sent at a rate per
// lane. Its seed is fixed.
func madeRun(strategy string, rate int) timeline.Timeline {
	tl := timeline.Timeline{
		Schema: timeline.Schema, Spec: timeline.Spec{
			Strategy: strategy, Disruption: "pod-deletion",
			Scope: timeline.ScopeAll,
		}, Repeat: 1, Replicas: 3, Start: time.Date(2026, 10, 1, 9, 30, 0, 0, time.UTC),
		Window: timeline.Window{
			DisruptStart: 8 * time.Second, DisruptEnd: 9600 * ms, Settled: 18 * time.Second,
			LoadEnd: madeEnd,
		},
		Environment: kindCluster,
		Sources: []timeline.Source{
			{Kind: timeline.SourceHarness, Comparison: oneClock},
			{Kind: timeline.SourceConntrack, Node: "worker", Comparison: oneClock},
		},
		Senders: []timeline.Sender{
			{Name: "host", Comparison: oneClock, Lanes: []string{"nodeport/new", "nodeport/reused", "nodeport/slow"}},
			{
				Name: "worker-0", Node: "worker", IP: "10.244.1.5", Comparison: oneClock,
				Lanes: []string{"service/new", "service/reused", "service/replayable", "service/slow"},
			},
		},
	}
	event := func(at time.Duration, kind timeline.Kind, p madePod) {
		if at != 0 {
			tl.Events = append(tl.Events, timeline.Event{
				At: at, Kind: kind, Pod: p.name, UID: "uid-" + p.name,
				Node: "worker", IP: p.ip,
			})
		}
	}
	for _, p := range pods() {
		for _, e := range []struct {
			at   time.Duration
			kind timeline.Kind
		}{
			{p.created, timeline.PodCreated},
			{p.created + 20*ms, timeline.PodAddressed},
			{p.created + 30*ms, timeline.AppStart},
			{p.listening, timeline.AppListening},
			{p.ready, timeline.PodReady},
			{p.ready + 10*ms, timeline.EndpointServing},
			{p.deleted, timeline.PodDeleted},
			{p.sigterm, timeline.AppSIGTERM},
			{p.closed, timeline.AppListenerClosed},
			{p.exit, timeline.ProcessExit},
			{p.gone, timeline.EndpointGone},
			{p.gone, timeline.PodGone},
		} {
			event(e.at, e.kind, p)
		}
	}
	slices.SortStableFunc(tl.Events, func(a, b timeline.Event) int { return cmp.Compare(a.At, b.At) })
	_, err := tl.Routes.Index("worker")
	if err != nil {
		panic(err)
	}
	random := rand.New(rand.NewPCG(4, 8)) // seeded: a made-up run is always the same
	for _, name := range []string{"service/new", "service/reused", "nodeport/new", "nodeport/reused", "nodeport/slow"} {
		tl.Lanes = append(tl.Lanes, madeLane(&tl, name, rate, random))
	}
	slices.SortStableFunc(tl.Routes.List, func(a, b timeline.Route) int { return cmp.Compare(a.At, b.At) })
	return tl
}

func madeLane(tl *timeline.Timeline, name string, rate int, random *rand.Rand) timeline.LaneRecord {
	spec := specOf(name, rate)
	tl.Spec.Lanes = append(tl.Spec.Lanes, spec)
	lane := timeline.LaneRecord{
		Name: name, URL: "http://" + spec.Consumer, Rate: rate,
		Planned: int(madeEnd.Seconds()) * rate,
	}
	all := pods()
	for _, p := range all {
		lane.Pods = append(lane.Pods, p.name)
	}
	for seq := range lane.Planned {
		r := timeline.Request{
			Planned: time.Duration(seq) * time.Second / time.Duration(rate), Lag: 100 * time.Microsecond,
			Latency: 3 * ms, Leaving: timeline.NotLeaving,
			Conn: 1, ConnUse: 1, Port: uint16(10000 + seq%50000), Code: 200, Cause: timeline.OK, Attempts: 1,
		}
		var routed []int
		for i, p := range all {
			if sent := r.Sent(); sent >= p.ready && (p.until == 0 || sent < p.until) {
				routed = append(routed, i)
			}
		}
		fail := func(cause timeline.Cause, took time.Duration) {
			r.Cause, r.Latency, r.Code, r.Pod, r.Conn, r.ConnUse = cause, took, 0, 0, 0, 0
		}
		if len(routed) == 0 {
			fail(timeline.Refused, ms)
			lane.Requests = append(lane.Requests, r)
			continue
		}
		i := routed[random.IntN(len(routed))]
		p, sent := all[i], r.Sent()
		r.Pod = uint16(i + 1)
		within := func(from, to time.Duration) bool { return sent >= from && sent < to }
		switch {
		case sent < p.listening, p.closed != 0 && within(p.closed, p.exit):
			fail(timeline.Refused, ms)
		case p.exit != 0 && sent >= p.exit:
			fail(timeline.Timeout, spec.Timeout)
		case p.closed != 0 && within(p.closed-300*ms, p.closed) && seq%3 == 0:
			fail(timeline.EOF, p.exit-sent+ms)
		case p.sigterm != 0 && within(p.sigterm, p.closed) && seq%9 == 0, p.deleted != 0 &&
			within(p.deleted, p.sigterm) && seq%40 == 0, seq%977 == 976:
			r.Cause, r.Code = timeline.HTTP5xx, 503
		}
		if spec.Consumer == "service" && !spec.Reuses() {
			source, _ := tl.Routes.Index("10.244.1.5")
			target, err := tl.Routes.Index(p.ip)
			if err != nil {
				panic(err)
			}
			tl.Routes.List = append(tl.Routes.List,
				timeline.Route{At: sent + ms/2, Source: source, Target: target, Port: r.Port})
		}
		lane.Requests = append(lane.Requests, r)
	}
	return lane
}

// specOf is the declaration of the lane that is made up under a name.
func specOf(name string, rate int) timeline.LaneSpec {
	consumer, load, _ := strings.Cut(name, "/")
	l := timeline.LaneSpec{
		Name: name, Consumer: consumer, Load: load, From: timeline.FromCluster, Routing: timeline.PerConnection,
		Evidence: []string{timeline.EvidenceConntrack}, Driver: "http", Class: timeline.ClassNew, Rate: rate,
		Connections: "new",
		Timeout:     2 * time.Second, Held: map[timeline.Class]timeline.Promise{},
	}
	if consumer == "nodeport" {
		l.From, l.Evidence = timeline.FromOutside, nil
	}
	if load == "reused" {
		l.Class, l.Connections = timeline.ClassKeptAlive, timeline.Reused
	}
	for _, class := range []timeline.Class{l.Class, timeline.ClassInFlight} {
		l.Held[class] = timeline.Promise{Expect: timeline.Measured, Source: "strategy"}
	}
	return l
}

// allDropped is a run that dropped everything for most of its time, on several lanes.
func allDropped(requests int) timeline.Timeline {
	const lanes = 4
	tl := madeRun("shutdown-at-once", 25)
	tl.Lanes, tl.Spec.Lanes = nil, nil
	for n := range lanes {
		spec := specOf(fmt.Sprintf("service/lane%d", n), 1000)
		tl.Spec.Lanes = append(tl.Spec.Lanes, spec)
		lane := timeline.LaneRecord{Name: spec.Name, Rate: spec.Rate, Planned: requests / lanes}
		for seq := range lane.Planned {
			lane.Requests = append(lane.Requests, timeline.Request{
				Planned: time.Duration(seq) * madeEnd / time.Duration(lane.Planned), Latency: ms,
				Leaving: timeline.NotLeaving, Port: uint16(1024 + seq%60000),
				Cause: timeline.Refused, Attempts: 1,
			})
		}
		tl.Lanes = append(tl.Lanes, lane)
	}
	return tl
}
