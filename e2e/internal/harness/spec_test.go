package harness

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestWords: the timeline stands alone, so each word is there a second time. Both have the same
// text.
func TestWords(t *testing.T) {
	for of, want := range map[string]string{
		string(scenarios.ClassNew): string(timeline.ClassNew), string(scenarios.ClassKeptAlive): string(timeline.ClassKeptAlive),
		string(scenarios.ClassInFlight): string(timeline.ClassInFlight), string(scenarios.ClassHeld): string(timeline.ClassHeld),
		string(scenarios.Clean): string(timeline.Clean), string(scenarios.Drops): string(timeline.Drops),
		string(scenarios.Measured):  string(timeline.Measured),
		string(scenarios.ScopeNone): string(timeline.ScopeNone), string(scenarios.ScopeAll): string(timeline.ScopeAll),
		string(scenarios.ScopeNode): string(timeline.ScopeNode), string(scenarios.ScopeSome): string(timeline.ScopeSome),
		string(scenarios.ReusedConnections): timeline.Reused,
	} {
		assert.Equal(t, want, of)
	}
	assert.Equal(t, timeline.Holding, string(scenarios.HeldConnections))
	c, err := scenarios.NewCatalogue()
	require.NoError(t, err)
	scenario, err := c.Find("prestop-sleep", "rolling-update", scenarios.DefaultRate)
	require.NoError(t, err)
	for _, l := range NewSpec(scenario, timeline.Environment{MinSyncPeriod: "1s"}).Lanes {
		assert.Contains(t, []timeline.Place{timeline.FromCluster, timeline.FromOutside}, l.From, l.Name)
		assert.Contains(t, []timeline.Routing{timeline.PerConnection, timeline.PerRequest, timeline.ByClient}, l.Routing, l.Name)
		assert.Subset(t, []string{timeline.EvidenceConntrack, timeline.EvidenceRemoteAddress, timeline.EvidenceAccessLog}, l.Evidence, l.Name)
		assert.Contains(t, timeline.Classes(), l.Class, l.Name)
		assert.Contains(t, l.Held, l.ConnectionClass(), l.Name)
		assert.Contains(t, l.Held, timeline.ClassInFlight, l.Name)
		assert.Len(t, l.Held, 2, l.Name)
	}
}

// TestSpecOfHeldConnections: who holds them, for how long and by which seed is written down, and that a strategy which says nothing of them promises nothing.
func TestSpecOfHeldConnections(t *testing.T) {
	c, err := scenarios.NewCatalogue()
	require.NoError(t, err)
	groups, err := c.Selected(scenarios.Selection{Profile: "quick", Consumers: []string{"service-websocket"}, Rate: 20, Clients: 70})
	require.NoError(t, err)
	scenario, err := c.In(groups[0], "in-app-delay", "pod-deletion")
	require.NoError(t, err)
	lane, ok := NewSpec(scenario, timeline.Environment{MinSyncPeriod: "1s"}).Lane("service-websocket/websocket-backoff")
	require.True(t, ok)
	measured := timeline.Promise{Expect: timeline.Measured, Source: "strategy in-app-delay expects nothing of class held"}
	assert.Equal(t, timeline.LaneSpec{
		Name: "service-websocket/websocket-backoff", Consumer: "service-websocket", From: timeline.FromCluster, Routing: timeline.PerConnection,
		Evidence: []string{timeline.EvidenceConntrack}, Load: "websocket-backoff", Driver: "websocket", Class: timeline.ClassHeld, Rate: 20,
		Connections: timeline.Holding, Clients: 70, Reconnect: "backoff", StaysMin: 5 * time.Second, StaysMax: time.Minute, Seed: 1, Timeout: 5 * time.Second,
		Held: map[timeline.Class]timeline.Promise{timeline.ClassHeld: measured, timeline.ClassInFlight: measured},
	}, lane)
	assert.True(t, lane.Holds())
	assert.True(t, lane.Reuses())
}

// TestSpecOfTasks: what Pods take beside requests is written down, in the same fields.
func TestSpecOfTasks(t *testing.T) {
	c, err := scenarios.NewCatalogue()
	require.NoError(t, err)
	scenario, err := c.Find("tasks-hand-back", "rolling-update", 50)
	require.NoError(t, err)
	scenario.TaskLength = 20 * time.Second
	want := &timeline.TaskSpec{Length: 20 * time.Second, Lease: 5 * time.Second, First: 3, Every: 20 * time.Second}
	assert.Equal(t, want, NewSpec(scenario, timeline.Environment{}).Tasks)
	scenario, err = c.Find("prestop-sleep", "rolling-update", 50)
	require.NoError(t, err)
	assert.Nil(t, NewSpec(scenario, timeline.Environment{}).Tasks)
}

// TestNewSpec: what is declared is written down, with the promises and who makes them on this
// cluster.
func TestNewSpec(t *testing.T) {
	c, err := scenarios.NewCatalogue()
	require.NoError(t, err)
	scenario, err := c.Find("prestop-sleep", "rolling-update", 50)
	require.NoError(t, err)
	scenario, err = scenario.Only([]string{"service/slow", "dns/reused", "dns-cached/new"})
	require.NoError(t, err)
	scenario.SameAs, scenario.Group, scenario.ProxyMode = "prestop-nap", "local", "nftables"
	scenario.Lanes[0].Consumer.Local, scenario.Lanes[0].Consumer.Component = true, "traefik"
	kept := timeline.Promise{Expect: timeline.Measured, Source: "strategy prestop-sleep"}
	clean := timeline.Promise{Expect: timeline.Clean, Source: "strategy prestop-sleep"}
	late := timeline.Promise{Expect: timeline.Measured, Source: "consumer dns-cached: holds from a delay of 32s on, and this one is 15s"}
	want := timeline.Spec{
		Strategy: "prestop-sleep", Summary: scenario.Strategy.Summary, Group: "preStop", SameAs: "prestop-nap",
		Delay: 15 * time.Second, PreStop: 15 * time.Second,
		Disruption: "rolling-update", Scope: timeline.ScopeAll, ConsumerGroup: "local", ProxyMode: "nftables",
		Lanes: []timeline.LaneSpec{
			{
				Name: "service/slow", Consumer: "service", From: timeline.FromCluster, Routing: timeline.PerConnection,
				Evidence: []string{timeline.EvidenceConntrack}, Component: "traefik", Local: true, Load: "slow", Driver: "http", Class: timeline.ClassInFlight, Rate: 50,
				Connections: "new", Work: 2 * time.Second, Timeout: 5 * time.Second,
				Held: map[timeline.Class]timeline.Promise{timeline.ClassNew: clean, timeline.ClassInFlight: clean},
			},
			{
				Name: "dns/reused", Consumer: "dns", From: timeline.FromCluster, Routing: timeline.ByClient,
				Evidence: []string{timeline.EvidenceRemoteAddress}, Load: "reused", Driver: "http", Class: timeline.ClassKeptAlive, Rate: 25,
				Connections: "reused", Timeout: 5 * time.Second,
				Held: map[timeline.Class]timeline.Promise{timeline.ClassKeptAlive: kept, timeline.ClassInFlight: kept},
			},
			{
				Name: "dns-cached/new", Consumer: "dns-cached", From: timeline.FromCluster, Routing: timeline.ByClient,
				Evidence: []string{timeline.EvidenceRemoteAddress}, Load: "new", Driver: "http", Class: timeline.ClassNew, Rate: 25,
				Connections: "new", Timeout: 5 * time.Second,
				Held: map[timeline.Class]timeline.Promise{timeline.ClassNew: late, timeline.ClassInFlight: late},
			},
		},
	}
	assert.Equal(t, want, NewSpec(scenario, timeline.Environment{MinSyncPeriod: "1s"}))

	unknown := timeline.Promise{Expect: timeline.Measured, Source: "consumer service: kube-proxy's minimum sync period is not known"}
	for _, period := range []string{"", "unknown"} {
		got := NewSpec(scenario, timeline.Environment{MinSyncPeriod: period})
		assert.Equal(t, unknown, got.Lanes[0].Held[timeline.ClassNew], "a promise that depends on what nobody knows is none")
		assert.Equal(t, clean, got.Lanes[0].Held[timeline.ClassInFlight])
	}
}
