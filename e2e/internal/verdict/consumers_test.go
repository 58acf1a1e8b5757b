package verdict

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// brought is a run of one consumer with a lane of new connections, three Pods, and one arrival at
// each of the first ones.
func brought(consumer, strategy string, delay time.Duration, after ...Arrival) Verdict {
	v := Verdict{
		Spec:     timeline.Spec{Strategy: strategy, Delay: delay, Disruption: "rolling-update", Scope: timeline.ScopeAll},
		Replicas: 3, Outcome: Pass, Environment: timeline.Environment{ProxyMode: "iptables"},
	}
	for i := range 3 {
		at := time.Duration(i+1) * 10 * sec
		v.Pods = append(v.Pods, PodLifecycle{Pod: fmt.Sprintf("app-%d", i), FirstSeen: map[timeline.Kind]time.Duration{
			timeline.EndpointServing: 0, timeline.PodDeleted: at, timeline.ProcessExit: at + max(delay, sec),
		}})
	}
	for i := range after {
		after[i].Pod, after[i].Owner = v.Pods[i].Pod, i
	}
	v.Lanes = []Lane{{
		LaneSpec: timeline.LaneSpec{
			Name: consumer + "/new", Consumer: consumer, Load: "new", Driver: "http", Class: timeline.ClassNew, Connections: "new",
			Rate: 50, Routing: timeline.PerConnection,
		},
		Outcome: Pass, Sent: 1000, OK: 1000, Arrivals: after,
	}}
	v.Spec.Lanes = []timeline.LaneSpec{v.Lanes[0].LaneSpec}
	return v
}

func (v Verdict) with(change func(*Verdict)) Verdict {
	change(&v)
	return v
}

func at(after time.Duration) Arrival    { return Arrival{After: after} }
func until(after time.Duration) Arrival { return Arrival{After: after, Censored: true} }

// TestConsumers: what counts as a removal, and what is in no percentile.
func TestConsumers(t *testing.T) {
	usual := brought("service", "prestop-sleep", 15*sec, at(sec), at(2*sec), at(3*sec))
	single := brought("service", "single-replica", 15*sec, at(9*sec)).with(func(v *Verdict) {
		v.Replicas, v.Lanes[0].Dropped = 1, 50
		v.Lanes[0].Outages = []Outage{{From: 30 * sec, To: 31 * sec}, {From: 40 * sec, To: 40 * sec}}
	})
	tests := []struct {
		name             string
		runs             []Verdict
		known, censored  int
		p50, p90, most   time.Duration
		safe             time.Duration // 0: none
		atLeast          bool
		why              string
		runsOf, doubtful int
	}{
		{"as it is", []Verdict{usual}, 3, 0, 2 * sec, 3 * sec, 3 * sec, 3020 * ms, false, "", 1, 0},
		{
			"a censored arrival is in no percentile", // and what lasted longer makes a bound of the delay
			[]Verdict{usual, brought("service", "in-app-delay", 15*sec, until(14*sec), until(15*sec), at(2500*ms))},
			4, 2, 2 * sec, 3 * sec, 3 * sec, 15020 * ms, true, "", 2, 0,
		},
		{
			"a shorter one that is censored bounds nothing",
			[]Verdict{usual, brought("service", "shutdown-at-once", 0, until(sec), at(sec), at(sec))},
			5, 1, sec, 3 * sec, 3 * sec, 3020 * ms, false, "", 2, 0,
		},
		{"only censored", []Verdict{brought("service", "a", sec, until(sec), until(sec), until(sec))}, 0, 3, 0, 0, 0, 1020 * ms, true, "", 1, 0},
		{"a Pod that got nothing", []Verdict{brought("service", "a", 15*sec, at(sec))}, 3, 0, 0, sec, sec, 1020 * ms, false, "", 1, 0},
		{
			"a Pod that got nothing, and ended at once",
			[]Verdict{brought("service", "a", 15*sec, at(sec), at(0), until(0))},
			2, 1, 0, sec, sec, 1020 * ms, false, "", 1, 0,
		},
		{
			"a Pod that never served",
			[]Verdict{brought("service", "a", 15*sec, at(sec), at(sec)).with(func(v *Verdict) {
				delete(v.Pods[2].FirstSeen, timeline.EndpointServing)
			})},
			2, 0, sec, sec, sec, 1020 * ms, false, "", 1, 0,
		},
		{"a single replica is no removal", []Verdict{usual, single}, 3, 0, 2 * sec, 3 * sec, 3 * sec, 3020 * ms, false, "", 2, 0},
		{"nothing but a single replica", []Verdict{single}, 0, 0, 0, 0, 0, 0, false, "no Pod was removed that it could reach", 1, 0},
		{"no disruption", []Verdict{usual, usual.with(func(v *Verdict) { v.Spec.Scope = timeline.ScopeNone })}, 3, 0, 2 * sec, 3 * sec, 3 * sec, 3020 * ms, false, "", 1, 0},
		{
			"inconclusive runs and lanes",
			[]Verdict{usual.with(func(v *Verdict) { v.Outcome = Inconclusive }), usual.with(func(v *Verdict) {
				v.Lanes = []Lane{v.Lanes[0]}
				v.Lanes[0].Outcome = Inconclusive
			})},
			0, 0, 0, 0, 0, 0, false, "none of 2 runs is conclusive", 0, 2,
		},
		{
			"a dropped request of nobody, later than all arrivals",
			[]Verdict{usual.with(func(v *Verdict) {
				v.DroppedRequests = []DroppedRequest{{Lane: "service/new", Sent: 35 * sec}, {Lane: "service/reused", Sent: 60 * sec}}
			})},
			3, 0, 2 * sec, 3 * sec, 3 * sec, 3020 * ms, true, "", 1, 0,
		},
		{
			"and one that is no later",
			[]Verdict{usual.with(func(v *Verdict) { v.DroppedRequests = []DroppedRequest{{Lane: "service/new", Sent: 33 * sec}} })},
			3, 0, 2 * sec, 3 * sec, 3 * sec, 3020 * ms, false, "", 1, 0,
		},
		{
			"an answer that came late, later than all arrivals",
			[]Verdict{usual.with(func(v *Verdict) { change(v, func(l *Lane) { l.LastLate = new(3001 * ms) }) })},
			3, 0, 2 * sec, 3 * sec, 3 * sec, 3020 * ms, true, "", 1, 0,
		},
		{
			"and one that is no later",
			[]Verdict{usual.with(func(v *Verdict) { change(v, func(l *Lane) { l.LastLate = new(3 * sec) }) })},
			3, 0, 2 * sec, 3 * sec, 3 * sec, 3020 * ms, false, "", 1, 0,
		},
		{
			"a proxy that sent a request again, nobody knows from where",
			[]Verdict{usual.with(func(v *Verdict) { change(v, func(l *Lane) { l.ProxyMasked = 1 }) })},
			3, 0, 2 * sec, 3 * sec, 3 * sec, 3020 * ms, true, "", 1, 0,
		},
		{
			"the API server's kept connections, which are its own",
			[]Verdict{usual.with(func(v *Verdict) {
				reuse(v, timeline.PerRequest)
				v.Lanes[0].From = timeline.FromAPI
			})},
			0, 0, 0, 0, 0, 0, false, whyReused, 1, 0,
		},
		{
			"kept connections, of a Pod that was chosen once",
			[]Verdict{usual.with(func(v *Verdict) { reuse(v, timeline.PerConnection) })},
			0, 0, 0, 0, 0, 0, false, whyReused, 1, 0,
		},
		{
			"kept connections, of a Pod that is chosen each time",
			[]Verdict{usual.with(func(v *Verdict) { reuse(v, timeline.ByClient) })},
			3, 0, 2 * sec, 3 * sec, 3 * sec, 3020 * ms, false, "", 1, 0,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all := Consumers(tt.runs)
			require.Len(t, all, 1)
			c := all[0]
			assert.Equal(t, []int{tt.known, tt.censored}, []int{c.Known, c.Censored}, "known, censored")
			assert.Equal(t, []time.Duration{tt.p50, tt.p90, tt.most}, []time.Duration{c.P50, c.P90, c.Max}, "p50, p90, max")
			if assert.Equal(t, tt.safe == 0, c.Safe == nil, "%v", c.Safe) && c.Safe != nil {
				assert.Equal(t, tt.safe, *c.Safe)
			}
			assert.Equal(t, tt.atLeast, c.SafeAtLeast, "a lower bound")
			assert.Equal(t, tt.why, c.Why)
			assert.Equal(t, []int{tt.runsOf, tt.doubtful}, []int{c.Runs, c.Inconclusive}, "runs, inconclusive")
			assert.Len(t, c.Removals, tt.known+tt.censored)
		})
	}
}

// change takes the run's first lane anew.
func change(v *Verdict, of func(*Lane)) {
	v.Lanes = slices.Clone(v.Lanes)
	of(&v.Lanes[0])
}

// TestArrivalsOfSeveralLanes: at the first of the Pods, by two lanes of one consumer, at what the second has.
func TestArrivalsOfSeveralLanes(t *testing.T) {
	missed := func(after time.Duration) Arrival { return Arrival{After: after, Censored: true, Missed: true} }
	none := Arrival{Owner: 2} // of another Pod
	tests := []struct {
		name          string
		routing       timeline.Routing
		reused        bool // the second lane
		first, second Arrival
		want          Removal
	}{
		{"a proxy chooses for each request: the greatest", timeline.PerRequest, true, at(400 * ms), at(3 * sec), Removal{After: 3 * sec}},
		{"a proxy: the greatest, whichever lane", timeline.PerRequest, true, at(3 * sec), at(400 * ms), Removal{After: 3 * sec}},
		{"a connection stays", timeline.PerConnection, true, at(400 * ms), at(3 * sec), Removal{After: 400 * ms}},
		{"a client that chooses itself", timeline.ByClient, true, at(400 * ms), at(3 * sec), Removal{After: 400 * ms}},
		{"two of new connections", timeline.PerConnection, false, at(400 * ms), at(3 * sec), Removal{After: 3 * sec}},
		{"the longest is cut off", timeline.PerConnection, false, at(sec), until(3 * sec), Removal{After: 3 * sec, Censored: true}},
		{"a shorter one is", timeline.PerConnection, false, until(sec), at(3 * sec), Removal{After: 3 * sec}},
		{"a shorter one has no upper end", timeline.PerConnection, false, missed(sec), at(1200 * ms), Removal{After: 1200 * ms, Censored: true}},
		{"nothing came where some was missed", timeline.PerConnection, false, at(sec), missed(0), Removal{After: sec, Censored: true}},
		{"nothing came, and one lane would have seen it", timeline.PerConnection, false, until(0), none, Removal{}},
		{"nothing came, and neither would have", timeline.PerConnection, false, until(0), until(0), Removal{Censored: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := brought("ingress", "a", 15*sec, tt.first)
			second := v.Lanes[0]
			second.Name, second.Arrivals = "ingress/second", []Arrival{tt.second}
			v.Lanes = append(v.Lanes, second)
			for i := range v.Lanes {
				v.Lanes[i].Routing = tt.routing
			}
			if tt.reused {
				v.Lanes[1].Class, v.Lanes[1].Connections = timeline.ClassKeptAlive, timeline.Reused
			}
			c := Consumers([]Verdict{v})[0]
			require.NotEmpty(t, c.Removals)
			assert.Equal(t, []any{tt.want.After, tt.want.Censored}, []any{c.Removals[0].After, c.Removals[0].Censored})
			assert.Equal(t, timeline.ClassNew, c.ArrivalsOn)
		})
	}
}

// TestRemovalsOfOneName: an arrival is that of its Pod, whatever others are called.
func TestRemovalsOfOneName(t *testing.T) {
	v := brought("service", "a", 15*sec, at(0), at(2*sec))
	v.Lanes[0].Arrivals = v.Lanes[0].Arrivals[1:] // the first Pod got nothing
	v.Pods[0].Pod, v.Pods[1].Pod, v.Lanes[0].Arrivals[0].Pod = "app-0", "app-0", "app-0"
	var got []time.Duration
	for _, r := range Consumers([]Verdict{v})[0].Removals {
		got = append(got, r.After)
	}
	assert.Equal(t, []time.Duration{0, 2 * sec, 0}, got)
}

// TestConsumerBound: removals of one rollout are not independent; rollouts with a known one count.
func TestConsumerBound(t *testing.T) {
	usual := brought("service", "a", 15*sec, at(sec), at(2*sec), at(3*sec))
	cut := brought("service", "a", 15*sec, until(sec), until(sec), until(sec))
	for want, runs := range [][]Verdict{{cut}, {usual, cut}, {usual, usual}} {
		c := Consumers(runs)[0]
		assert.Equal(t, want, c.Rollouts)
		assert.InDelta(t, ClopperPearson(0, want), c.Bound, 1e-9)
	}
}

// TestConsumersNotMeasured: a run that failed before anything was sent counts for those that it was to measure.
func TestConsumersNotMeasured(t *testing.T) {
	failed := brought("ingress", "a", 15*sec).with(func(v *Verdict) {
		v.Lanes, v.Outcome, v.Spec.Watched = nil, Infrastructure, []string{"prometheus"}
	})
	all := Consumers([]Verdict{failed, failed})
	require.Len(t, all, 2)
	for i, name := range []string{"ingress", "prometheus"} {
		c := all[i]
		assert.Equal(t, []any{name, 0, 2, i == 1}, []any{c.Consumer, c.Runs, c.Inconclusive, c.Watched})
		assert.Equal(t, "none of 2 runs is conclusive", c.Why)
	}
	both := Consumers([]Verdict{failed, brought("ingress", "a", 15*sec, at(sec))})[0]
	assert.False(t, both.Watched)
	assert.NotNil(t, both.Safe)
}

func reuse(v *Verdict, routing timeline.Routing) {
	l := v.Lanes[0]
	l.Class, l.Connections, l.Routing = timeline.ClassKeptAlive, timeline.Reused, routing
	v.Lanes = []Lane{l}
}

// TestConsumersApart: a consumer that goes along in other groups as their reference has its own
// runs alone, and each mode of kube-proxy a row of its own.
func TestConsumersApart(t *testing.T) {
	in := func(group, mode string, v Verdict) Verdict {
		v.Spec.ConsumerGroup, v.Environment.ProxyMode = group, mode
		return v
	}
	ingress := brought("ingress", "a", 15*sec, at(4*sec))
	service := brought("service", "a", 15*sec, at(7*sec))
	ingress.Lanes, ingress.Spec.Lanes = append(ingress.Lanes, service.Lanes...), append(ingress.Spec.Lanes, service.Spec.Lanes...)
	runs := []Verdict{
		in("ingress", "iptables", ingress),
		in("", "iptables", brought("service", "a", 15*sec, at(sec))),
		in("", "nftables", brought("service", "a", 15*sec, at(2*sec))),
	}
	var got []string
	for _, c := range Consumers(runs) {
		got = append(got, fmt.Sprintf("%s %q: %s %s", c.ProxyMode, c.Group, c.Consumer, c.Max))
	}
	assert.Equal(t, []string{`iptables "ingress": ingress 4s`, `iptables "": service 1s`, `nftables "": service 2s`}, got)
	assert.Equal(t, 7*sec, Consumers(runs[:1])[1].Max, "a reference whose own group was not measured")
	two := Consumers([]Verdict{in("http2", "iptables", ingress), runs[0], in("http2", "iptables", ingress)})
	assert.Equal(t, []string{"", ""}, []string{two[0].Group, two[1].Group}, "of several groups")
}

// TestConsumerStrategies: what was dropped, masked and late, by strategy.
func TestConsumerStrategies(t *testing.T) {
	v := brought("ingress", "shutdown-at-once", 0, at(sec))
	l := &v.Lanes[0]
	l.Dropped, l.Late, l.Masked, l.ProxyMasked = 9, 4, 1, 3
	l.Classes = []ClassResult{{Class: timeline.ClassNew, Dropped: 7}, {Class: timeline.ClassInFlight, Dropped: 2}}
	l.Unattributed = map[string]int{"a gap in the access log": 2, "no connection": 1}
	kept := *l
	kept.Name, kept.Load, kept.Connections, kept.Class, kept.ProxyMasked = "ingress/reused", "reused", timeline.Reused, timeline.ClassKeptAlive, 0
	kept.Classes, kept.Unattributed = nil, nil
	v.Lanes = append(v.Lanes, kept)
	again := brought("ingress", "shutdown-at-once", 0, at(sec))
	single := brought("ingress", "single-replica", 15*sec).with(func(v *Verdict) {
		v.Replicas, v.Spec.Disruption = 1, "pod-deletion"
		v.Lanes[0].Outages = []Outage{{From: 40 * sec, To: 40 * sec}, {From: 30 * sec, To: 31 * sec}}
	})
	c := Consumers([]Verdict{v, again, single})[0]
	require.Len(t, c.Strategies, 2)
	s := c.Strategies[0]
	assert.Equal(t, map[timeline.Class]Tally{
		timeline.ClassNew: {7, 2000}, timeline.ClassKeptAlive: {9, 1000}, timeline.ClassInFlight: {2, 3000},
	}, s.Classes)
	assert.Equal(t, ConsumerLoad{Sent: 3000, Dropped: 18, Masked: 2, ProxyMasked: 3, Late: 8}, s.Total())
	assert.Equal(t, []int{2, 1}, []int{s.Rollouts, s.Lossy})
	assert.InDelta(t, ClopperPearson(1, 2), s.Bound, 0)
	assert.Equal(t, []ConsumerLoad{
		{Load: "new", Driver: "http", Class: timeline.ClassNew, Sent: 2000, Dropped: 9, Masked: 1, ProxyMasked: 3, Late: 4},
		{Load: "reused", Driver: "http", Class: timeline.ClassKeptAlive, Sent: 1000, Dropped: 9, Masked: 1, Late: 4},
	}, s.Loads)
	assert.Equal(t, []int{18, 3}, []int{c.Dropped, c.Unattributed})
	assert.Equal(t, "a gap in the access log", c.TopReason())
	assert.True(t, c.Strategies[1].Single)
	assert.Equal(t, 1020*ms, c.Strategies[1].Outage)
	assert.Equal(t, "pod-deletion", c.Strategies[1].Under)
}

// TestConsumerWatched: a consumer without lanes has the removals that it saw, and promises nothing.
func TestConsumerWatched(t *testing.T) {
	v := brought("service", "prestop-sleep", 15*sec, at(sec)).with(func(v *Verdict) {
		v.Watched = []Watched{
			{Consumer: "prometheus", Pod: "app-0", After: -2 * sec, Blind: 17 * sec},
			{Consumer: "prometheus", Pod: "app-1", After: 3 * sec, Blind: 12 * sec},
			{Consumer: "prometheus", Pod: "app-2", After: 14 * sec, Censored: true, Blind: sec},
			{Consumer: "prometheus", Pod: "app-3", After: 14 * sec, Censored: true}, // whose end was not seen
		}
		v.Spec.Watched = []string{"prometheus"}
	})
	c := Consumers([]Verdict{v})[1]
	assert.True(t, c.Watched)
	assert.Equal(t, []int{1, 2, 2}, []int{c.Runs, c.Known, c.Censored})
	assert.Equal(t, []time.Duration{-2 * sec, 3 * sec}, []time.Duration{c.P50, c.Max})
	assert.Equal(t, []time.Duration{sec, 12 * sec, 17 * sec}, c.Blind)
	assert.Nil(t, c.Safe)
	assert.Equal(t, "it is only watched: no request of a client depends on it", c.Why)
	assert.Empty(t, c.Strategies)
	v.Replicas = 1
	assert.Empty(t, Consumers([]Verdict{v})[1].Removals, "a single replica")
}
