package suite

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/scenarios"
)

// TestForeign: by its name no disruption that reaches beyond the namespace, or needs settings of the
// cluster, can be asked for on a cluster that exists. The others can.
func TestForeign(t *testing.T) {
	for _, d := range scenarios.Disruptions() {
		t.Run(d.Name, func(t *testing.T) {
			s, _ := newTestSuite(t, "-kubeconfig=/k", "-context=c", "-strategies=prestop-sleep", "-disruptions="+d.Name)
			_, err := s.Runs()
			if d.Reach == scenarios.ReachNamespace && d.Needs.Key() == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, scenarios.ErrNotOurs)
			require.ErrorContains(t, err, "disruption "+d.Name+" ")
		})
	}
}
