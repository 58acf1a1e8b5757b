package e2e

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/suite"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestSyncPeriod proves that the instrument moves: where kube-proxy may let a change of endpoints
// wait for ten seconds and not for one, a Pod that shuts down at once has to drop more. It makes a
// cluster of its own for each period.
func TestSyncPeriod(t *testing.T) {
	long(t, suite.LongSyncPeriod)
	const (
		strategy, repeats = "shutdown-at-once", 3
		lane              = "service/new"
		// The drops follow the period, so ten times the period could mean ten times the drops; but
		// a rollout is over before it has met the longest wait of each Pod. Half of what it was
		// must not pass for a rise.
		factor = 2
	)
	medians := map[time.Duration]float64{}
	made := 0
	for _, period := range syncPeriods() {
		sync := withSyncPeriod(t, period)
		s, err := sync.Find(strategy, "rolling-update")
		require.NoError(t, err)
		var dropped verdict.Sample
		for _, v := range sync.Series(t, s, repeats, func(run scenarios.Run) (verdict.Verdict, string) {
			return sync.Attempt(testContext(t), t, run, made+run.Repeat, len(syncPeriods())*repeats)
		}) {
			for _, l := range v.Lanes {
				if l.Name == lane && v.Outcome == verdict.Pass {
					dropped = append(dropped, float64(l.Dropped))
				}
			}
		}
		require.Len(t, dropped, repeats)
		made += repeats
		medians[period] = dropped.Median()
		t.Logf("minSyncPeriod %s: %s dropped %v on %s", period, strategy, dropped, lane)
	}
	assert.Greater(t, medians[syncPeriods()[1]], factor*medians[syncPeriods()[0]],
		"drops rise with kube-proxy's sync period, or the instrument doesn't move")
}

// syncPeriods are kind's own least sync period of kube-proxy, and one that nobody could take for
// it.
func syncPeriods() []time.Duration { return []time.Duration{time.Second, 10 * time.Second} }

// withSyncPeriod is the suite on a cluster of that period, with a folder of its own.
func withSyncPeriod(t *testing.T, period time.Duration) *suite.Suite {
	t.Helper()
	if shared.Config.Cluster.Kubeconfig != "" {
		t.Skip("the kube-proxy of a cluster that exists is taken as it is")
	}
	return shared.With(func(c *suite.Config) {
		c.Cluster.ProxyMinSync = period
		c.Out = filepath.Join(c.Out, "min-sync-"+period.String())
	})
}
