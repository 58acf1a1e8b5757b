package e2e

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/harness"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestRollout runs every scenario of the profile, or with -replay judges every stored one. Each is a subtest of its name, as in
// TestRollout/prestop-sleep/rolling-update.
func TestRollout(t *testing.T) {
	if the.settings.replay != "" {
		replay(t)
		return
	}
	if testing.Short() {
		t.Skip("needs a cluster")
	}
	list, err := the.catalogue.Profile(the.settings.profile, the.settings.rate)
	require.NoError(t, err)
	runs := scenarios.Interleave(list, the.settings.repeat)
	for i, run := range runs {
		t.Run(run.Name(), func(t *testing.T) {
			ctx := the.context(t)
			progress := the.progress.run(i+1, len(runs), run)
			c, err := the.openCluster(ctx)
			require.NoError(t, err)

			dir := the.dir(run)
			began := time.Now()
			progress.phase("deploy")
			app, err := c.Deploy(ctx, run.Scenario, dir)
			require.NoError(t, err)
			deployed := time.Since(began)

			options := harness.Defaults
			options.Phase = progress.phase
			tl := harness.Run(ctx, app, run, options)
			tl.Window.Overhead += deployed
			require.NoError(t, timeline.Save(dir, tl))
			v := verdict.Judge(tl, run.Scenario)
			progress.done(v)
			the.conclude(t, v, dir)
		})
	}
}

func replay(t *testing.T) {
	dirs, err := timeline.Find(the.settings.replay)
	require.NoError(t, err)
	for _, dir := range dirs {
		name, err := filepath.Rel(the.settings.replay, dir)
		require.NoError(t, err)
		t.Run(name, func(t *testing.T) {
			tl, err := timeline.Load(dir)
			require.NoError(t, err)
			s, err := the.catalogue.Find(tl.Strategy, tl.Disruption, the.settings.rate)
			require.NoError(t, err)
			the.facts = tl.Environment
			the.conclude(t, verdict.Judge(tl, s), "")
		})
	}
}
