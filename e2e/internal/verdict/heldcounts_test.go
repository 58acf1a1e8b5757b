package verdict

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestHeldCounts: each connection counts with its Pod for as long as its client held it, and no other Pod of the name has it.
func TestHeldCounts(t *testing.T) {
	tl := holding()
	counts := judgedHeld(tl).Counts
	assert.Equal(t, tl.Window.LoadEnd-tl.Window.DisruptStart, counts.Until)
	require.Len(t, counts.Pods, 2)
	old, other := counts.Pods[0], counts.Pods[1]
	assert.Equal(t, "app-0", old.Pod)
	assert.Equal(t, "app-1", other.Pod)
	assert.Nil(t, other.Deleted)
	deleted, ok := podLifecycles(tl).named("app-0", 2*sec).At(timeline.PodDeleted)
	require.True(t, ok)
	require.NotNil(t, old.Deleted)
	assert.Equal(t, deleted-tl.Window.DisruptStart, *old.Deleted)
	for n := range HeldInstants {
		at := tl.Window.DisruptStart + counts.Until*time.Duration(2*n+1)/(2*HeldInstants)
		want := map[string]int{}
		for _, h := range tl.Lanes[0].Held {
			if h.Opened <= at && at < h.Ended {
				want[h.Pod]++
			}
		}
		assert.Equal(t, want["app-0"], old.Open[n], at)
		assert.Equal(t, want["app-1"], other.Open[n], at)
	}
	assert.Equal(t, 2, slices.Max(old.Open))
	assert.Equal(t, 3, slices.Max(other.Open), "all of them, in the end")

	tl.Window.DisruptStart = 0
	assert.Empty(t, judgedHeld(tl).Counts, "it didn't get to its disruption")
}
