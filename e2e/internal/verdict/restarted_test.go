package verdict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestRestarted: what was restarted is told. A node that is unready after its kubelet was restarted is a finding, one that is
// so before, or another one, a breakdown.
func TestRestarted(t *testing.T) {
	start := rollout().Window.DisruptStart
	restart := func(what, node string, at time.Duration) timeline.Event {
		return timeline.Event{At: start + at, Kind: timeline.ProgramRestarted, Detail: what, Node: node}
	}
	unready := func(node string, at time.Duration) timeline.Event {
		return timeline.Event{At: start + at, Kind: timeline.NodeUnready, Node: node}
	}
	tests := []struct {
		name    string
		events  []timeline.Event
		outcome Outcome
		want    []string
	}{
		{"nothing", nil, Pass, nil},
		{
			"programs",
			[]timeline.Event{restart("CoreDNS", "", sec), restart("kubelet", "a", 2*sec)},
			Pass,
			[]string{
				"CoreDNS was restarted 1s after the start of the disruption",
				"kubelet of node a was restarted 2s after the start of the disruption",
			},
		},
		{
			"a node in passing",
			[]timeline.Event{restart("kubelet", "a", sec), unready("a", 3*sec)},
			Pass,
			[]string{"kubelet of node a was restarted 1s after the start of the disruption, and the node stopped being ready 2s later"},
		},
		{
			"another node",
			[]timeline.Event{restart("kubelet", "a", sec), unready("b", 3*sec)},
			Infrastructure,
			[]string{"kubelet of node a was restarted 1s after the start of the disruption"},
		},
		{
			"before",
			[]timeline.Event{unready("a", 0), restart("kubelet", "a", sec)},
			Infrastructure,
			[]string{"kubelet of node a was restarted 1s after the start of the disruption"},
		},
		{
			"of no kubelet",
			[]timeline.Event{restart("kube-proxy", "", sec), unready("a", 3*sec)},
			Infrastructure,
			[]string{"kube-proxy was restarted 1s after the start of the disruption"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := rollout()
			tl.Events = append(tl.Events, tt.events...)
			v := Judge(tl)
			assert.Equal(t, tt.want, v.Restarted)
			assert.Equal(t, tt.outcome, v.Outcome, v.Reasons)
		})
	}
}
