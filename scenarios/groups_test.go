package scenarios

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/fixtures"
)

// grouped is a catalogue of consumers in groups, beside the reference: one behind a component, one
// that is only watched, and two that hold no promise before half a minute.
func grouped(t *testing.T) Catalogue {
	t.Helper()
	c := catalogue(t)
	at := func(delay string) fixtures.HoldsFrom {
		h, err := fixtures.ParseHoldsFrom(delay)
		require.NoError(t, err)
		return h
	}
	c.consumers = map[string]fixtures.Consumer{"service": c.consumers["service"]}
	return c.With(
		fixtures.Consumer{
			Name: "ingress", Group: "ingress", From: fixtures.FromCluster, Component: "traefik", Loads: []string{"new", "slow"}, MaxRate: 10,
			HoldsFrom: at("4s"),
		},
		fixtures.Consumer{Name: "prometheus", Group: "local", From: fixtures.FromCluster, Component: "prometheus"},
		fixtures.Consumer{
			Name: "lb-gcp", Group: "loadbalancer", From: fixtures.FromOutside, Loads: []string{"new", "reused"}, HoldsFrom: at("24s+minSyncPeriod"),
		},
		fixtures.Consumer{Name: "lb-aws", Group: "loadbalancer", From: fixtures.FromOutside, Loads: []string{"new"}, HoldsFrom: at("39.2s")},
	)
}

func paths(list []Scenario) []string {
	var out []string
	for _, s := range list {
		out = append(out, s.Path())
	}
	return out
}

// TestGroups: consumers of a group are measured together, with the reference beside them, and none
// faster than it bears.
func TestGroups(t *testing.T) {
	c := grouped(t)
	groups, err := c.Groups(nil, 25)
	require.NoError(t, err)
	got := map[string][]string{}
	for _, g := range groups {
		got[g.Name] = laneNames(g.Lanes)
	}
	assert.Equal(t, map[string][]string{
		"":             {"service/new", "service/reused", "service/replayable", "service/slow"},
		"ingress":      {"service/new", "ingress/new", "ingress/slow"},
		"loadbalancer": {"service/new", "lb-aws/new", "lb-gcp/new", "lb-gcp/reused"},
		"local":        {"service/new"},
	}, got)
	assert.Equal(t, 10, groups[1].Lanes[1].Load.Rate)
	assert.Equal(t, 25, groups[1].Lanes[0].Load.Rate)
	assert.Equal(t, "prometheus", groups[3].Watched[0].Name)
	assert.Equal(t, "service/new", c.Reference())

	s, err := c.In(groups[3], "prestop-sleep", "pod-deletion")
	require.NoError(t, err)
	assert.Equal(t, "local/prestop-sleep/pod-deletion", s.Path())
	assert.Len(t, s.Consumers(), 2)
	lanes, err := c.Lanes(25)
	require.NoError(t, err)
	assert.Equal(t, groups[0].Lanes, lanes)
}

// TestGroupsAreSmall: about twelve lanes share two CPUs with what they measure, and no group is
// called as a strategy, whose folder it would share.
func TestGroupsAreSmall(t *testing.T) {
	c := catalogue(t)
	groups, err := c.Groups(nil, 25)
	require.NoError(t, err)
	for _, g := range groups {
		assert.LessOrEqual(t, len(g.Lanes), 13, "group %q: %v", g.Name, laneNames(g.Lanes))
		assert.Contains(t, laneNames(g.Lanes), "service/new", g.Name)
		assert.NotContains(t, c.strategies, g.Name)
	}
}

// TestSelectGroups: the profile goes from group to group, each with its control; chosen consumers
// come in their groups, with the reference.
func TestSelectGroups(t *testing.T) {
	prestop := []string{"prestop-sleep"}
	rolling := []string{"rolling-update"}
	tests := []struct {
		name string
		sel  Selection
		want []string
		err  string
	}{
		{
			"the profile",
			Selection{Profile: "consumers", Strategies: prestop, Disruptions: rolling},
			[]string{
				"no-handler/none", "prestop-sleep/rolling-update",
				"ingress/no-handler/none", "ingress/prestop-sleep/rolling-update",
				"loadbalancer/no-handler/none", "loadbalancer/prestop-sleep/rolling-update",
				"loadbalancer/prestop-sleep-25s/rolling-update", "loadbalancer/prestop-sleep-40s/rolling-update",
				"local/no-handler/none", "local/prestop-sleep/rolling-update",
				"nftables/no-handler/none", "nftables/prestop-sleep/rolling-update",
				"local-nftables/no-handler/none", "local-nftables/prestop-sleep/rolling-update",
			},
			"",
		},
		{
			"one kube-proxy, with another period",
			Selection{Profile: "consumers", Strategies: prestop, Disruptions: rolling, OneProxy: true, MinSync: 20 * time.Second, Consumers: []string{"service", "lb-gcp"}},
			[]string{
				"no-handler/none", "prestop-sleep/rolling-update", "prestop-sleep-22s/rolling-update",
				"loadbalancer/no-handler/none", "loadbalancer/prestop-sleep/rolling-update",
				"loadbalancer/prestop-sleep-22s/rolling-update", "loadbalancer/prestop-sleep-44s/rolling-update",
			},
			"",
		},
		{
			"a delay for all",
			Selection{Profile: "consumers", Strategies: prestop, Disruptions: rolling, Delay: 5 * time.Second, Consumers: []string{"lb-aws"}},
			[]string{"loadbalancer/no-handler/none", "loadbalancer/prestop-sleep@5s/rolling-update"},
			"",
		},
		{
			"another strategy has no longer delays",
			Selection{Profile: "consumers", Strategies: []string{"shutdown-at-once"}, Disruptions: rolling, Consumers: []string{"lb-aws"}},
			[]string{"loadbalancer/no-handler/none", "loadbalancer/shutdown-at-once/rolling-update"},
			"",
		},
		{
			"of another profile",
			Selection{Profile: "smoke", Strategies: prestop, Consumers: []string{"lb-aws", "ingress"}},
			[]string{
				"ingress/no-handler/none", "ingress/prestop-sleep/rolling-update",
				"loadbalancer/no-handler/none", "loadbalancer/prestop-sleep/rolling-update",
			},
			"",
		},
		{
			"lanes of some groups",
			Selection{Profile: "consumers", Strategies: prestop, Disruptions: rolling, OneProxy: true, Lanes: []string{"ingress/slow"}},
			[]string{"ingress/no-handler/none", "ingress/prestop-sleep/rolling-update"},
			"",
		},
		{"every run's alone", Selection{Profile: "smoke", Strategies: prestop}, []string{"no-handler/none", "prestop-sleep/rolling-update"}, ""},
		{"unknown consumer", Selection{Profile: "smoke", Consumers: []string{"mesh"}}, nil, `unknown consumer "mesh": want one of ingress, lb-aws, lb-gcp, prometheus, service`},
		{"unknown lane", Selection{Profile: "consumers", Lanes: []string{"ingress/fast"}}, nil, `unknown lane "ingress/fast"`},
		{"a lane of a group that isn't run", Selection{Profile: "smoke", Lanes: []string{"ingress/new"}}, nil, `unknown lane "ingress/new"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list, err := grouped(t).Select(tt.sel)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, paths(list))
		})
	}
}

// TestConsumersProfile: nothing is missing, and each run has what it is about.
func TestConsumersProfile(t *testing.T) {
	list, err := grouped(t).Select(Selection{Profile: "consumers"})
	require.NoError(t, err)
	const perGroup = 1 + 4*2
	assert.Len(t, list, (4+2)*perGroup+2*2)
	seen := map[string]bool{}
	for _, s := range list {
		assert.False(t, seen[s.Path()], "%s twice", s.Path())
		seen[s.Path()] = true
		assert.LessOrEqual(t, s.Lanes[0].Load.Rate, 25)
		assert.Empty(t, s.SameAs)
		assert.Equal(t, s.ProxyMode, s.Needs().ProxyMode)
		if s.Strategy.Name == "prestop-sleep-40s" {
			assert.Equal(t, 40*time.Second, s.Strategy.ServesFor())
			rendered, err := s.Strategy.Default()
			require.NoError(t, err)
			assert.GreaterOrEqual(t, rendered.Grace(), 50*time.Second, "grace to match")
		}
	}
	assert.True(t, seen["loadbalancer/prestop-sleep-40s/pod-deletion"])
	assert.True(t, seen["local-nftables/single-replica-prestop-sleep/pod-deletion"])
}

// TestScenarioNeeds: another mode of kube-proxy is another cluster, of zerodrop's own.
func TestScenarioNeeds(t *testing.T) {
	s, err := catalogue(t).Find("prestop-sleep", "rolling-update", DefaultRate)
	require.NoError(t, err)
	require.NoError(t, s.Allowed(false))
	assert.Empty(t, s.Needs().Key())
	s.ProxyMode = "nftables"
	assert.Equal(t, "kube-proxy nftables", s.Needs().Key())
	require.NoError(t, s.Allowed(true))
	require.ErrorIs(t, s.Allowed(false), ErrNotOurs)
	require.ErrorContains(t, s.Allowed(false), "prestop-sleep/rolling-update needs kube-proxy in mode nftables: ")
	s.Disruption.Reach = ReachNode
	require.ErrorContains(t, s.Allowed(false), "reaches beyond the namespace")
}

// TestStrategyNeeds: feature gates of a strategy are the cluster's, beside those of the disruption.
func TestStrategyNeeds(t *testing.T) {
	s, err := catalogue(t).Find("stop-signal", "rolling-update", DefaultRate)
	require.NoError(t, err)
	assert.Equal(t, "ContainerStopSignals=true", s.Needs().Key())
	require.NoError(t, s.Allowed(true))
	require.ErrorIs(t, s.Allowed(false), ErrNotOurs)
	require.ErrorContains(t, s.Allowed(false), "strategy stop-signal needs settings of the cluster: ")
	s.Disruption.Needs.FeatureGates = map[string]bool{"A": false}
	s.ProxyMode = "nftables"
	assert.Equal(t, "kube-proxy nftables\nA=false\nContainerStopSignals=true", s.Needs().Key())
	assert.Equal(t, map[string]bool{"ContainerStopSignals": true}, s.Strategy.FeatureGates, "the strategy itself stays as it is")
}
