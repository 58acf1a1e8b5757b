package verdict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestLongerDelay: a lane whose end wasn't seen asks for a longer delay, even if it dropped
// requests at the end of the one that it had; what is measured with that takes the lane's place.
// Kept connections ask for none.
func TestLongerDelay(t *testing.T) {
	const second = time.Second
	lane := func(consumer, connections string, dropped int, last time.Duration, censored bool) Lane {
		l := Lane{Dropped: dropped, Arrivals: []Arrival{{Pod: "app-0", After: last, Censored: censored}}}
		l.LaneSpec = timeline.LaneSpec{Name: consumer + "/" + connections, Consumer: consumer, Class: timeline.ClassNew, Rate: 100, Connections: connections}
		return l
	}
	run := func(o Outcome, lanes ...Lane) []Verdict { return []Verdict{{Outcome: o, Lanes: lanes}} }
	got := NewSafeDelay(run(Pass,
		lane("service", "new", 0, second, false),
		lane("dns", "new", 7, 15*second, true),
		lane("dns", timeline.Reused, 7, 15*second, true),
		lane("proxy", "new", 7, second, false),
		lane("cached", "new", 7, 25*second, false), // to Pods that had ended
	), 15*second)
	require.Equal(t, []string{"dns/new", "cached/new"}, got.TooShort())
	got.Lanes = got.Lanes[:4]
	require.Nil(t, got.Delay, "as one of all lanes has none")

	got.Choose("service")
	require.NotNil(t, got.Delay)
	assert.Equal(t, 1500*time.Millisecond, *got.Delay)
	got.Choose("service", "dns")
	assert.Nil(t, got.Delay)
	assert.Equal(t, "dns/new: none up to 15s: requests went on arriving for ≥ 15s", got.Why)

	got.Merge(NewSafeDelay(run(Inconclusive, lane("dns", "new", 0, 20*second, false)), 30*second))
	assert.Equal(t, []string{"dns/new"}, got.TooShort(), "what isn't conclusive changes nothing")
	got.Merge(NewSafeDelay(run(Pass, lane("dns", "new", 7, 30*second, true)), 30*second))
	got.Choose("service", "dns")
	assert.Equal(t, "dns/new: none up to 30s: requests went on arriving for ≥ 30s", got.Why)
	assert.Equal(t, []string{"dns/new"}, got.TooShort())

	got.Merge(NewSafeDelay(run(Pass, lane("dns", "new", 0, 40*second, false)), 60*second))
	got.Choose("service", "dns")
	assert.Empty(t, got.TooShort())
	require.NotNil(t, got.Delay)
	assert.Equal(t, 50500*time.Millisecond, *got.Delay)
	var with []time.Duration
	for _, l := range got.Lanes {
		with = append(with, l.With)
	}
	assert.Equal(t, []time.Duration{15 * second, 60 * second, 15 * second, 15 * second}, with)
	assert.Equal(t, "7 requests were dropped even with a delay of 15s", got.Lanes[3].Why, "where the end was seen, a longer delay is no answer")
}
