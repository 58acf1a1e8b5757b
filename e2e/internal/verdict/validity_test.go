package verdict

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestMachineBusy: only what the machine alone is to blame for is worth another attempt.
func TestMachineBusy(t *testing.T) {
	late := func(tl *timeline.Timeline) {
		for i := range tl.Lanes[1].Requests {
			tl.Lanes[1].Requests[i].Lag = sec
		}
	}
	stalled := func(tl *timeline.Timeline) {
		for i := 100; i < 125; i++ {
			r := tl.Lanes[1].Requests
			r[i].Lag = r[125].Planned - r[i].Planned
		}
	}
	noCPU := func(tl *timeline.Timeline) { most := 0.96; tl.Senders[0].Pressure = &most }
	unsent := func(tl *timeline.Timeline) { tl.Lanes[1].Requests[100].Cause = timeline.Unsent }
	broken := func(tl *timeline.Timeline) { tl.Errors = []string{"run: the API server went away"} }
	tests := []struct {
		name  string
		spoil []func(*timeline.Timeline)
		want  bool
	}{
		{"nothing", nil, false},
		{"late", []func(*timeline.Timeline){late}, true},
		{"stalled", []func(*timeline.Timeline){stalled}, true},
		{"no CPU", []func(*timeline.Timeline){noCPU}, true},
		{"late, without CPU", []func(*timeline.Timeline){noCPU, late}, true},
		{"unsent", []func(*timeline.Timeline){unsent}, false},
		{"unsent, without CPU", []func(*timeline.Timeline){noCPU, unsent}, false},
		{"broken, without CPU", []func(*timeline.Timeline){noCPU, broken}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := rollout()
			sent(&tl)
			for _, spoil := range tt.spoil {
				spoil(&tl)
			}
			assert.Equal(t, tt.want, Judge(tl).MachineBusy)
		})
	}
}
