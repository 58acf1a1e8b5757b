package scenarios

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/fixtures"
)

// TestHeldTo goes through the order of those who have a say, the first one first.
func TestHeldTo(t *testing.T) {
	const (
		sec   = time.Second
		alone = ": drops is asked of the reference alone"
	)
	rolling, none := Disruptions()[1], Disruptions()[0]
	zero := rolling
	zero.Name, zero.GraceZero = "grace-zero", true
	asked := &Asked{New: Drops, Source: "a third of the delay"}
	tests := []struct {
		name       string
		strategy   string
		delay      time.Duration // 0: its own
		disruption Disruption
		asked      *Asked
		lane       string
		class      Class
		minSync    time.Duration
		want       Promise
	}{
		{"asked", "prestop-sleep", 0, rolling, asked, "service/new", ClassNew, sec, Promise{Drops, "a third of the delay"}},
		{"asked, away from the reference", "prestop-sleep", 0, rolling, asked, "dns/new", ClassNew, sec, Promise{Drops, "a third of the delay"}},
		{"asked before any disruption", "prestop-sleep", 0, none, asked, "service/new", ClassNew, sec, Promise{Drops, "a third of the delay"}},
		{"asked of a grace of zero", "prestop-sleep", 0, zero, asked, "service/new", ClassNew, sec, Promise{Drops, "a third of the delay"}},
		{"asked, in flight without work", "prestop-sleep", 0, rolling, asked, "service/new", ClassInFlight, sec, Promise{Drops, "a third of the delay"}},
		{"asked of new connections alone", "prestop-sleep", 0, rolling, asked, "service/reused", ClassKeptAlive, sec, Promise{Measured, "strategy prestop-sleep"}},
		{"asked, in flight with work", "prestop-sleep", 0, rolling, asked, "service/slow", ClassInFlight, sec, Promise{Clean, "strategy prestop-sleep"}},

		{"undisturbed", "no-handler", 0, none, nil, "service/slow", ClassInFlight, sec, Promise{Clean, "disruption none"}},
		{"undisturbed, where nothing is promised", "no-handler", 0, none, nil, "ingress/new", ClassNew, 0, Promise{Clean, "disruption none"}},

		{"grace zero, in flight", "prestop-sleep", 0, zero, nil, "service/slow", ClassInFlight, sec, Promise{Drops, "disruption grace-zero"}},
		{"grace zero, in flight elsewhere", "prestop-sleep", 0, zero, nil, "nodeport/slow", ClassInFlight, sec, Promise{Measured, "disruption grace-zero" + alone}},
		{"grace zero, in flight without work", "prestop-sleep", 0, zero, nil, "service/new", ClassInFlight, sec, Promise{Measured, "disruption grace-zero" + alone}},
		{"grace zero, new", "prestop-sleep", 0, zero, nil, "service/slow", ClassNew, sec, Promise{Measured, "disruption grace-zero" + alone}},

		{"consumer holds", "prestop-sleep", 0, rolling, nil, "service/new", ClassNew, sec, Promise{Clean, "strategy prestop-sleep"}},
		{"consumer holds from just there", "prestop-sleep", 3 * sec, rolling, nil, "service/new", ClassNew, sec, Promise{Clean, "strategy prestop-sleep@3s"}},
		{"too short", "prestop-sleep", 2 * sec, rolling, nil, "service/new", ClassNew, sec, Promise{Measured, "consumer service: holds from a delay of 3s on, and this one is 2s"}},
		{"too short for a longer period", "prestop-sleep", 0, rolling, nil, "nodeport/new", ClassNew, 30 * sec, Promise{Measured, "consumer nodeport: holds from a delay of 32s on, and this one is 15s"}},
		{"too short for a slow consumer", "prestop-sleep", 0, rolling, nil, "dns-cached/new", ClassNew, sec, Promise{Measured, "consumer dns-cached: holds from a delay of 32s on, and this one is 15s"}},
		{"the period is not known", "prestop-sleep", 0, rolling, nil, "service/new", ClassNew, 0, Promise{Measured, "consumer service: kube-proxy's minimum sync period is not known"}},
		{"nor needed", "prestop-sleep", 0, rolling, nil, "dns/new", ClassNew, 0, Promise{Clean, "strategy prestop-sleep"}},
		{"consumer says nothing", "prestop-sleep", 0, rolling, nil, "ingress/new", ClassNew, sec, Promise{Measured, "consumer ingress: promises nothing"}},
		{"no delay, and serves on", "ignore-sigterm", 0, rolling, nil, "service/new", ClassNew, sec, Promise{Clean, "strategy ignore-sigterm"}},
		{"kept-alive, too", "in-app-delay-close", 0, rolling, nil, "service/reused", ClassKeptAlive, 20 * sec, Promise{Measured, "consumer service: holds from a delay of 22s on, and this one is 15s"}},
		{"in flight, whatever the consumer", "shutdown-at-once", 0, rolling, nil, "ingress/slow", ClassInFlight, 0, Promise{Clean, "strategy shutdown-at-once"}},
		{"in flight without work is its connection", "shutdown-at-once", 0, rolling, nil, "service/new", ClassInFlight, sec, Promise{Measured, "strategy shutdown-at-once"}},
		{"and depends on the consumer", "prestop-sleep", 0, rolling, nil, "ingress/new", ClassInFlight, sec, Promise{Measured, "consumer ingress: promises nothing"}},
		{"new on a lane with work", "prestop-sleep", 0, rolling, nil, "service/slow", ClassNew, sec, Promise{Clean, "strategy prestop-sleep"}},

		{"drops in flight", "no-handler", 0, rolling, nil, "service/slow", ClassInFlight, sec, Promise{Drops, "strategy no-handler"}},
		{"drops elsewhere", "no-handler", 0, rolling, nil, "nodeport/slow", ClassInFlight, sec, Promise{Measured, "strategy no-handler" + alone}},
		{"drops new", "no-readiness-probe", 0, rolling, nil, "service/new", ClassNew, sec, Promise{Drops, "strategy no-readiness-probe"}},
		{"drops new on a lane of another class", "no-readiness-probe", 0, rolling, nil, "service/slow", ClassNew, sec, Promise{Measured, "strategy no-readiness-probe" + alone}},
		{"drops, in flight without work", "no-readiness-probe", 0, rolling, nil, "service/new", ClassInFlight, sec, Promise{Measured, "strategy no-readiness-probe" + alone}},
		{"a class of which the strategy says nothing", "prestop-sleep", 0, rolling, nil, "service/new", ClassHeld, sec, Promise{Measured, "strategy prestop-sleep expects nothing of class held"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := catalogue(t).Find(tt.strategy, "rolling-update", DefaultRate)
			require.NoError(t, err)
			if tt.delay > 0 {
				s, err = s.WithDelay(tt.delay)
				require.NoError(t, err)
			}
			s.Disruption, s.Asked = tt.disruption, tt.asked
			for _, load := range []Load{New(1), Slow(1)} { // a consumer whose folder promises nothing
				s.Lanes = append(s.Lanes, Lane{Consumer: fixtures.Consumer{Name: "ingress"}, Load: load})
			}
			only, err := s.Only([]string{tt.lane})
			require.NoError(t, err)
			assert.Equal(t, tt.want, s.HeldTo(only.Lanes[0], tt.class, tt.minSync))
		})
	}
}

// TestReplicas: the promise is that of a run with as many Pods as it really has.
func TestReplicas(t *testing.T) {
	s, err := catalogue(t).Find("prestop-sleep", "rolling-update", DefaultRate)
	require.NoError(t, err)
	assert.Equal(t, 3, s.Replicas())
	s.Disruption.Serves = true
	assert.Equal(t, Clean, s.HeldTo(s.Lanes[0], ClassNew, time.Second).Expect)
	s.Disruption.Patch = "spec: {replicas: 1}"
	assert.Equal(t, 1, s.Replicas())
	assert.Equal(t, Promise{Measured, "strategy prestop-sleep: nobody serves while its only Pod is out"}, s.HeldTo(s.Lanes[0], ClassNew, time.Second))
	s.Disruption.Patch = "spec: {minReadySeconds: 3}"
	assert.Equal(t, 3, s.Replicas())
	s.Disruption.Workload = "daemonset"
	s.Disruption.Patch = "spec: {template: {spec: {terminationGracePeriodSeconds: 60}}}"
	assert.Equal(t, 3, s.Replicas(), "the cluster decides: as many as the strategy has elsewhere")
}
