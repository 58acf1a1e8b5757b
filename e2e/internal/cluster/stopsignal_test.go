package cluster

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestCheckStopSignal: a strategy that names a signal is refused by a cluster that ignores it.
func TestCheckStopSignal(t *testing.T) {
	with := func(signal *corev1.Signal) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "other"}, {Name: "app", StopSignal: signal}}
		}
	}
	tests := []struct {
		name     string
		strategy string
		signal   *corev1.Signal
		want     string
	}{
		{"as it names it", "stop-signal", new(corev1.SIGUSR1), ""},
		{"another", "stop-signal", new(corev1.SIGTERM), "stop signal of Pod app-0 is SIGTERM, not SIGUSR1: "},
		{"nobody tells", "stop-signal", nil, "stop signal of Pod app-0 is none, not SIGUSR1: "},
		{"of a strategy that names none", "prestop-sleep", new(corev1.SIGTERM), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app, _ := newApp(aPod("app-0", ready, with(tt.signal)))
			strategies, err := fixtures.Strategies()
			require.NoError(t, err)
			_, err = app.render(scenarios.Scenario{Strategy: strategies[tt.strategy]})
			require.NoError(t, err)
			err = app.checkStopSignal(t.Context())
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, errOtherSignal)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}
