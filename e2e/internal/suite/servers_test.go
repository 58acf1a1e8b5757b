package suite

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/cluster"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestServerRuns: the controls, then each server in each way, those on a cluster with a feature gate last; in
// the time that there is for them.
func TestServerRuns(t *testing.T) {
	config := Config{Profile: scenarios.ServersProfile, Repeat: 1, Soak: time.Hour, Cluster: cluster.Config{Workers: 1}}
	require.NoError(t, config.Validate())
	assert.True(t, config.Cluster.AnyPods, "they run as root")
	assert.Equal(t, 25, config.Rate)
	s, err := New(t.Context(), config)
	require.NoError(t, err)
	runs, err := s.Runs()
	require.NoError(t, err)
	got := paths(runs)
	require.Len(t, got, 31)
	assert.Equal(t, []string{"no-handler/none", "no-handler/rolling-update", "apache/rolling-update"}, got[:3])
	assert.Equal(t, []string{
		"apache-stop-signal/rolling-update", "haproxy-stop-signal/rolling-update", "nginx-stop-signal/rolling-update",
	}, got[28:])
	assert.LessOrEqual(t, s.estimate(runs), 45*time.Minute)

	for _, run := range runs[2:] {
		require.NotNil(t, run.Target, run.Path())
		assert.NotNil(t, run.Target.Slow, run.Path())
		assert.NotEmpty(t, run.Target.Signal, run.Path())
		assert.NotEmpty(t, run.Own.Images, run.Path())
		assert.Len(t, run.Lanes, 3, run.Path())
		assert.False(t, run.Control, run.Path())
	}

	s.Config.Strategies, s.Config.Disruptions = []string{"puma", "nginx-sleep"}, []string{"pod-deletion"}
	runs, err = s.Runs()
	require.NoError(t, err)
	assert.Equal(t, []string{
		"no-handler/none", "no-handler/pod-deletion", "nginx-sleep/pod-deletion", "puma/pod-deletion",
	}, paths(runs))
	assert.Equal(t, 15*time.Second, runs[2].Strategy.ServesFor())
	s.Config.Strategies = []string{"lighttpd"}
	_, err = s.Runs()
	require.ErrorContains(t, err, `unknown server "lighttpd": want one of apache, apache-sleep-winch`)

	config.Delay = time.Second
	require.ErrorIs(t, config.Validate(), ErrConfig)
}
