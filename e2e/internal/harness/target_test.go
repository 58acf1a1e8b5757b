package harness

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestForeignApp: an app that isn't the sample app is asked as its target says, and what it has answered before the load decides which answer is right.
func TestForeignApp(t *testing.T) {
	target := scenarios.Target{
		Name: "shop", Request: scenarios.Request{Method: http.MethodGet, Path: "/shop"}, PodHeader: "Zerodrop-Pod", ExpectBody: "^ok from ",
		Slow:   &scenarios.Request{Method: http.MethodGet, Path: "/report"},
		Expect: map[scenarios.Class]scenarios.Expect{scenarios.ClassNew: scenarios.Clean},
	}
	tests := []struct {
		name   string
		status int // that it has answered
		want   timeline.Cause
	}{
		{"as it always answers", 200, timeline.OK},
		{"other than it has answered before", 201, timeline.HTTPOther},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app, run := newFakeApp(t), rollingUpdate(t)
			app.learnt = scenarios.Learnt{Status: tt.status, Slow: 20 * time.Millisecond}
			run.Target, run.Lanes = &target, target.Lanes(run.Lanes)
			tl := Run(t.Context(), app, run, options)
			require.Empty(t, tl.Errors)
			assert.Equal(t, &timeline.TargetSpec{
				Name: "shop", Request: "GET /shop", SlowRequest: "GET /report", ExpectStatus: tt.status, StatusLearnt: true,
				ExpectBody: "^ok from ", PodHeader: "Zerodrop-Pod",
			}, tl.Spec.Target)
			for i, l := range tl.Lanes {
				spec := tl.Spec.Lanes[i]
				assert.Equal(t, spec.Load == "slow", spec.Work == 20*time.Millisecond, l.Name)
				for _, r := range l.Requests {
					require.Equal(t, tt.want, r.Cause, l.Name)
					assert.NotEmpty(t, l.PodOf(r))
				}
			}
			assert.Equal(t, timeline.Promise{Expect: timeline.Clean, Source: "app shop"}, tl.Spec.Lanes[0].Held[timeline.ClassNew])
		})
	}
}
