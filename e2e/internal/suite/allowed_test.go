package suite

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNoControlAlone: where everything that a group of consumers is for can't be run on a cluster of somebody else, nor is
// its control, which would need what the group needs.
func TestNoControlAlone(t *testing.T) {
	s, _ := newTestSuite(t, "-profile=disruptions", "-kubeconfig=/k", "-context=c")
	runs, err := s.Runs()
	require.NoError(t, err)
	for _, run := range runs {
		assert.Empty(t, run.Group, run.Path())
	}
	assert.Equal(t, "no-handler/none", runs[0].Path())
	times := map[string]int{}
	for _, cell := range s.notRun {
		times[cell.Disruption]++
	}
	assert.Equal(t, 1, times["ingress-rolled"], "in two groups, and told once")
	assert.Equal(t, 1, times["kubelet-restart"])
}
