package verdict

import (
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// pace is how the requests of a lane left: how late, and how far apart. To know it takes sorting them, so it is worked out once for all who ask.
type pace struct {
	lagP50, lagP99, lagMax time.Duration // of all that were sent
	// Of the time from the start of the disruption until it had settled:
	disruptLagP99 time.Duration // of those that were due in it
	gap           time.Duration // the longest time between two sends, in the order of sending, that overlaps it
	gapFrom       time.Duration // when that began
}

func paceOf(l timeline.LaneRecord, w timeline.Window) pace {
	lags, sends := make([]time.Duration, 0, len(l.Requests)), make([]time.Duration, 0, len(l.Requests))
	var disruptLags []time.Duration
	for _, r := range l.Requests {
		if r.Cause == timeline.Unsent {
			continue
		}
		lags, sends = append(lags, r.Lag), append(sends, r.Sent())
		if r.Planned >= w.DisruptStart && r.Planned <= w.Settled {
			disruptLags = append(disruptLags, r.Lag)
		}
	}
	slices.Sort(lags)
	slices.Sort(sends)
	slices.Sort(disruptLags)
	p := pace{lagP50: Percentile(lags, 0.50), lagP99: Percentile(lags, 0.99), lagMax: Percentile(lags, 1), disruptLagP99: Percentile(disruptLags, 0.99)}
	for i := 1; i < len(sends); i++ {
		if before, after := sends[i-1], sends[i]; after > w.DisruptStart && before < w.Settled && after-before > p.gap {
			p.gapFrom, p.gap = before, after-before
		}
	}
	return p
}

// sight is the shortest interval of total loss that a lane of so many requests per second is sure enough to have seen. By plan that is 3/rate (see Visible), if
// requests leave as planned. On a machine that is busy with a rollout they don't quite: an interval no longer than the longest time in which none left can have
// been missed altogether, and one that is no longer than the lag can have been overtaken by most of those that were due in it. What a run claims is the greatest
// of the three,
//
//	sight = max(3/rate, longest gap between two sends, lag p99)
//
// all of it between the start of the disruption and the instant when it had settled. So a late sender doesn't spoil a run: the run claims less, and says so.
func (p pace) sight(rate int) time.Duration { return max(Visible(rate), p.gap, p.disruptLagP99) }
