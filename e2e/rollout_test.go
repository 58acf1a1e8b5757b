package e2e

import (
	"testing"

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
	measure(t, runs, 0)
	more, err := shared.FollowUp()
	require.NoError(t, err)
	measure(t, more, len(runs))
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

func replay(t *testing.T) {
	stored, err := shared.Stored()
	require.NoError(t, err)
	for _, run := range stored {
		t.Run(run.Name, func(t *testing.T) { shared.Replay(t, run) })
	}
}
