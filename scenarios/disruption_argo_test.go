package scenarios

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestArgo: a change of the template, as for any workload; nothing of it in a cluster of somebody else, and no lane but those of the Service that is switched.
func TestArgo(t *testing.T) {
	require.Len(t, argo(), 1)
	d := argo()[0]
	require.NoError(t, d.validate())
	require.ErrorContains(t, d.Allowed(false), "disruption argo-blue-green reaches beyond the namespace, to the cluster: ")
	require.NoError(t, d.Allowed(true))
	app := &fakeApp{}
	require.NoError(t, d.Run(t.Context(), app))
	assert.Equal(t, []string{"change"}, app.did)
	require.ErrorIs(t, d.Run(t.Context(), &fakeApp{fail: "change"}), errFake)

	s, err := catalogue(t).Find("prestop-sleep", d.Name, DefaultRate)
	require.NoError(t, err)
	assert.Equal(t, []string{"service/new", "service/reused", "service/replayable", "service/slow"}, laneNames(s.Lanes))
	w, err := s.Workload("statefulset")
	require.NoError(t, err)
	assert.Equal(t, "argo-rollouts", w.Component, "whatever the suite runs on")
	other, err := catalogue(t).Find("prestop-sleep", "blue-green", DefaultRate)
	require.NoError(t, err)
	assert.Len(t, other.Lanes, 10)
}

// TestHeldToArgo: it waits for as long as Argo does, whatever the strategy's delay.
func TestHeldToArgo(t *testing.T) {
	waits := Promise{Clean, "disruption argo-blue-green waits for 30s"}
	for _, tt := range []struct {
		strategy string
		lane     string
		class    Class
		minSync  time.Duration
		want     Promise
	}{
		{"shutdown-at-once", "service/new", ClassNew, time.Second, waits},
		{"shutdown-at-once", "service/new", ClassNew, 20 * time.Second, waits},
		{"shutdown-at-once", "service/reused", ClassKeptAlive, time.Second, Promise{Measured, "strategy shutdown-at-once"}},
		{"prestop-sleep", "service/new", ClassNew, 20 * time.Second, Promise{Clean, "strategy prestop-sleep"}},
		{"prestop-sleep", "service/new", ClassNew, 29 * time.Second, Promise{Measured, "consumer service: holds from a delay of 31s on, and this one is 30s"}},
		{"no-handler", "service/slow", ClassInFlight, time.Second, Promise{Measured, "disruption argo-blue-green: waits before it ends Pods"}},
	} {
		s, err := catalogue(t).Find(tt.strategy, argoBlueGreen, DefaultRate)
		require.NoError(t, err)
		only, err := s.Only([]string{tt.lane})
		require.NoError(t, err)
		assert.Equal(t, tt.want, s.HeldTo(only.Lanes[0], tt.class, tt.minSync), "%s, %s", tt.strategy, tt.lane)
	}
}

// TestArgoProfile: Argo's beside the other, and in no other profile.
func TestArgoProfile(t *testing.T) {
	c := catalogue(t)
	list, err := c.Select(Selection{Profile: "argo"})
	require.NoError(t, err)
	assert.Equal(t, []string{
		"no-handler/none", "no-handler/rolling-update",
		"shutdown-at-once/argo-blue-green", "prestop-sleep/argo-blue-green",
		"shutdown-at-once/blue-green", "prestop-sleep/blue-green",
	}, names(list))
	for _, s := range list {
		assert.Equal(t, serviceLanes(), laneNames(s.Lanes), s.Name())
	}
	for _, profile := range []string{"disruptions", "nightly"} {
		for _, sel := range []Selection{{Profile: profile, Night: night(1)}, {Profile: profile, Strategies: heldAgainst()}} {
			list, err := c.Select(sel)
			require.NoError(t, err)
			notRun, err := c.NotRun(sel)
			require.NoError(t, err)
			for _, s := range list {
				assert.NotEqual(t, argoBlueGreen, s.Disruption.Name, profile)
			}
			for _, cell := range notRun {
				assert.NotEqual(t, argoBlueGreen, cell.Disruption, profile)
			}
		}
	}
	_, err = c.Select(Selection{Profile: "argo", Lanes: []string{"dns/new"}})
	require.ErrorContains(t, err, "shutdown-at-once/argo-blue-green: has no lanes")
}
