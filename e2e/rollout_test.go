package e2e

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/scenarios"
)

// TestRollout runs every scenario of the profile, and what follows from their results, or with -replay judges every stored run. Each is
// a subtest of its path, as in TestRollout/prestop-sleep/rolling-update.
func TestRollout(t *testing.T) {
	switch config := shared.Config; {
	case config.Replay != "":
		replay(t)
		return
	case testing.Short():
		t.Skip("needs a cluster")
	case len(config.Long) > 0:
		t.Skip("-long names what to run instead")
	}
	runs, err := shared.Runs()
	require.NoError(t, err)
	shared.Announce(runs)
	if shared.Config.DryRun {
		t.Log("-dry-run: nothing was done")
		return
	}
	measure(t, runs, 0)
	more, err := shared.FollowUp()
	require.NoError(t, err)
	measure(t, more, len(runs))
	if shared.Config.Profile == scenarios.ServersProfile {
		checkServers(t)
	}
	require.NotEmpty(t, shared.Verdicts(),
		"no scenario of profile %s matches -run: -strategies and -disruptions choose others", shared.Config.Profile)
}

// measure makes runs, of which some were made before.
func measure(t *testing.T, runs []scenarios.Run, before int) {
	t.Helper()
	for i, run := range runs {
		t.Run(run.Path(), func(t *testing.T) {
			require.NoError(t, shared.PrepareArtifacts())
			shared.Measure(testContext(t), t, run, before+i+1, before+len(runs))
		})
	}
}

// checkServers: what is charged to Pods without the servers' help is right, by what they have logged, and most is
// charged.
func checkServers(t *testing.T) {
	t.Helper()
	check, err := shared.CheckServers()
	require.NoError(t, err)
	t.Logf("%d connections in the servers' own logs, %d of them of another Pod than connection tracking says; of %d "+
		"requests that were dropped on new connections or in flight, %d are charged to nobody",
		check.Connections, len(check.Wrong), check.Dropped, check.Unattributed)
	assert.Empty(t, check.Wrong)
	assert.LessOrEqual(t, check.Unattributed, check.Dropped/20, "95 % are charged")
}

func replay(t *testing.T) {
	stored, err := shared.Stored()
	require.NoError(t, err)
	for _, run := range stored {
		t.Run(run.Name, func(t *testing.T) { shared.Replay(t, run) })
	}
}
