package e2e

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestSyncPeriod proves that the instrument moves: where kube-proxy may let a change of endpoints wait for ten seconds and not for one, a Pod that shuts down
// at once has to lose more. It makes a cluster of its own for each period.
func TestSyncPeriod(t *testing.T) {
	onlyIfNamed(t)
	require.NoError(t, the.broken)
	require.NoError(t, the.makeRoom())
	const (
		strategy, repeats = "shutdown-at-once", 3
		lane              = "service/new"
		// The losses follow the period, so ten times the period could mean ten times the losses; but a rollout is over before it has met the longest wait
		// of each Pod. Half of what it was must not pass for a rise.
		factor = 2
	)
	lost := map[time.Duration]int{}
	made := 0
	forEachSyncPeriod(t, func(period time.Duration) {
		s, err := the.catalogue.Find(strategy, "rolling-update", the.settings.rate)
		require.NoError(t, err)
		var dropped []int
		for _, v := range the.series(t, s, repeats, func(run scenarios.Run) (verdict.Verdict, string) {
			return the.attempt(t, run, made+min(run.Repeat, repeats), len(syncPeriods)*repeats)
		}) {
			for _, l := range v.Lanes {
				if l.Name == lane && v.Outcome == verdict.Pass {
					dropped = append(dropped, l.Dropped)
				}
			}
		}
		require.Len(t, dropped, repeats)
		made += repeats
		lost[period] = median(dropped)
		t.Logf("minSyncPeriod %s: %s lost %v on %s", period, strategy, dropped, lane)
	})
	assert.Greater(t, lost[syncPeriods[1]], factor*lost[syncPeriods[0]], "losses rise with kube-proxy's sync period, or the instrument doesn't move")
}

// syncPeriods are kind's own least sync period of kube-proxy, and one that nobody could take for it.
var syncPeriods = []time.Duration{time.Second, 10 * time.Second}

// forEachSyncPeriod does something with a cluster for each period, one after the other, and with a folder for each below that of the artifacts.
func forEachSyncPeriod(t *testing.T, do func(period time.Duration)) {
	t.Helper()
	before := the.settings
	defer func() { the.settings = before }()
	for _, period := range syncPeriods {
		require.NoError(t, the.closeCluster(t.Context()), "the one before")
		the.settings.cluster.ProxyMinSync = period
		the.settings.artifacts = filepath.Join(before.artifacts, minSyncDir+period.String())
		do(period)
	}
}
