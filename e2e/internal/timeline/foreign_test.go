package timeline_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline/timelinetest"
)

// TestAsForeign: nothing is left that the app has said, all else stays, and so does the timeline itself.
func TestAsForeign(t *testing.T) {
	tl := timelinetest.Rollout("prestop-sleep")
	tl.Served = []timeline.Served{{Pod: "app-0", Answered: map[string]int{"nodeport/new": 3}}}
	tl.Sources = []timeline.Source{{Kind: timeline.SourceApp, Node: "n1"}, {Kind: timeline.SourceRuntime, Node: "n1"}}
	tl.Events = append(tl.Events,
		timeline.Event{At: 5 * time.Second, Kind: timeline.AppSIGTERM, Pod: "app-0"}, timeline.Event{At: 5 * time.Second, Kind: timeline.StopSignal, Pod: "app-0"},
	)
	tl.Lanes[0].Requests[7].Leaving = time.Second
	events := len(tl.Events)
	target := timeline.TargetSpec{Name: "shop", Request: "GET /", ExpectStatus: 200}
	got := tl.AsForeign(target)
	assert.True(t, tl.Spec.SaysItself())
	assert.False(t, got.Spec.SaysItself())
	assert.Equal(t, &target, got.Spec.Target)
	assert.Empty(t, got.Served)
	assert.Equal(t, tl.Sources[1:], got.Sources)
	assert.Len(t, got.Events, events-1)
	assert.Equal(t, timeline.StopSignal, got.Events[events-2].Kind)
	for i, l := range got.Lanes {
		assert.Empty(t, l.Pods)
		for seq, r := range l.Requests {
			was := tl.Lanes[i].Requests[seq]
			assert.NotZero(t, was.Pod, "the timeline itself stays as it is")
			was.Pod, was.Conn, was.Leaving = 0, 0, timeline.NotLeaving
			assert.Equal(t, was, r)
		}
	}
}
