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
	onlyIfNamed(t, "TestSyncPeriod")
	require.NoError(t, the.broken)
	require.NoError(t, the.makeRoom())
	const (
		strategy, repeats = "shutdown-at-once", 3
		lane              = "service/new"
		// The losses follow the period, so ten times the period could mean ten times the losses; but a rollout is over before it has met the longest wait
		// of each Pod. Half of what it was must not pass for a rise.
		factor = 2
	)
	periods := []time.Duration{time.Second, 10 * time.Second}
	lost := map[time.Duration]int{}
	artifacts := the.settings.artifacts
	defer func() { the.settings.artifacts = artifacts }()
	for p, period := range periods {
		require.NoError(t, the.closeCluster(t.Context()), "the one before")
		the.settings.cluster.ProxyMinSync = period
		the.settings.artifacts = filepath.Join(artifacts, "min-sync-"+period.String())
		s, err := the.catalogue.Find(strategy, "rolling-update", the.settings.rate)
		require.NoError(t, err)
		var dropped []int
		// A run that can't be believed is made again, twice at most: a machine may be busy for a moment, but a test that goes on until it likes what it sees is none.
		for n := 0; len(dropped) < repeats && n < repeats+2; n++ {
			v, dir := the.attempt(t, scenarios.Run{Scenario: s, Repeat: n + 1}, p*repeats+len(dropped)+1, len(periods)*repeats)
			if v.Outcome == verdict.Inconclusive && len(v.Reasons) > 0 {
				t.Logf("not believed, and made again: %v", v.Reasons)
				continue
			}
			the.conclude(t, v, dir)
			for _, l := range v.Lanes {
				if l.Name == lane {
					dropped = append(dropped, l.Dropped)
				}
			}
		}
		require.Len(t, dropped, repeats)
		lost[period] = median(dropped)
		t.Logf("minSyncPeriod %s: %s lost %v on %s", period, strategy, dropped, lane)
	}
	assert.Greater(t, lost[periods[1]], factor*lost[periods[0]], "losses rise with kube-proxy's sync period, or the instrument doesn't move")
}
