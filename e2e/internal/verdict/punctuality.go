package verdict

import (
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// punctuality is how the requests of a lane left: how late, and how far apart.
type punctuality struct {
	lagP50, lagP99, lagMax time.Duration // of all that were sent
	// Of the time from the start of the disruption until it had settled:
	disruptLagP99 time.Duration // of those that were due in it
	gap           time.Duration // the longest time between two sends, in the order of sending, that overlaps it
	gapFrom       time.Duration // when that began
}

func punctualityOf(l timeline.LaneRecord, w timeline.Window) punctuality {
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
	p := punctuality{
		lagP50: Percentile(lags, 0.50), lagP99: Percentile(lags, 0.99), lagMax: Percentile(lags, 1),
		disruptLagP99: Percentile(disruptLags, 0.99),
	}
	for i := 1; i < len(sends); i++ {
		if before, after := sends[i-1], sends[i]; after > w.DisruptStart && before < w.Settled && after-before > p.gap {
			p.gapFrom, p.gap = before, after-before
		}
	}
	return p
}

// minDetectableOutage is the shortest outage that a lane is sure enough to have seen. By plan that
// is 3/rate (see MinDetectableOutage). An outage no longer than the longest time in which no
// request left can have been missed altogether, and one no longer than the lag can have been
// overtaken by most that were due in it:
//
//	max(3/rate, longest gap between two sends, lag p99)
//
// between the start of the disruption and the instant when it had settled. So a run with a late
// sender claims less, and says so.
func (p punctuality) minDetectableOutage(rate int) time.Duration {
	return max(MinDetectableOutage(rate), p.gap, p.disruptLagP99)
}
