package e2e

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/cluster"
	"github.com/zerodrop/zerodrop/e2e/internal/suite"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestForeign tries every disruption on a cluster that is treated as somebody else's, as our own is when
// -kubeconfig and -context name it. What reaches beyond the namespace is refused by its name before
// anything is deployed; the rest is allowed, and not done here.
func TestForeign(t *testing.T) {
	long(t, suite.LongForeign)
	if shared.Config.Cluster.Kubeconfig == "" {
		t.Skip("wants a cluster that exists: name one by -kubeconfig and -context")
	}
	theirs, err := cluster.Open(testContext(t), shared.Config.Cluster)
	t.Cleanup(func() { assert.NoError(t, theirs.Close(context.WithoutCancel(t.Context()))) })
	require.NoError(t, err)
	for _, d := range scenarios.Disruptions() {
		t.Run(d.Name, func(t *testing.T) {
			s, err := shared.Find("prestop-sleep", d.Name)
			require.NoError(t, err)
			if d.Reach == scenarios.ReachNamespace && d.Needs.Key() == "" {
				require.NoError(t, s.Allowed(theirs.Ours()))
				return
			}
			dir := t.TempDir()
			_, err = theirs.Deploy(testContext(t), s, dir)
			require.ErrorIs(t, err, scenarios.ErrNotOurs)
			require.ErrorContains(t, err, "disruption "+d.Name+" ")
			files, err := os.ReadDir(dir) // where Deploy writes down what it deploys, before it does
			require.NoError(t, err)
			assert.Empty(t, files)
		})
	}
}
