package verdict

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// judgeLane counts what became of a lane's requests and compares the losses with what the strategy promises.
func judgeLane(tl timeline.Timeline, lane int, s scenarios.Scenario, found findings) Lane {
	record, pace, losses := tl.Lanes[lane], found.paces[lane], found.losses[lane]
	l := Lane{
		Name: record.Name, From: record.From, Rate: record.Rate, Connections: record.Connections, Replayable: record.Replayable, Planned: record.Planned, Causes: map[timeline.Cause]int{},
		LagP50: pace.lagP50, LagP99: pace.lagP99, LagMax: pace.lagMax, Window: pace.sight(record.Rate),
		Arrivals: arrivals(record, losses, found.pods), Outages: outages(record, losses, tl.Events),
		Moments: map[Moment]int{}, Unattributed: map[string]int{},
	}
	for _, a := range l.Arrivals {
		if l.LastArrival == nil || a.After > *l.LastArrival {
			l.LastArrival = new(a.After)
		}
	}
	for _, loss := range losses {
		l.Moments[loss.Moment]++
		if loss.Moment == Unattributed {
			l.Unattributed[loss.Why]++
		}
	}
	var latencies []time.Duration
	for _, r := range record.Requests {
		switch {
		case r.Cause == timeline.Unsent:
			l.Unsent++
			continue
		case r.Dropped():
			if l.Dropped == 0 {
				l.FirstDropped = r.Sent() - tl.Window.DisruptStart
			}
			l.DroppedEnd = r.Sent() - tl.Window.DisruptStart
			l.Dropped++
			l.Causes[r.Cause]++
		default:
			l.OK++
			latencies = append(latencies, r.Latency)
		}
		if r.Masked() {
			l.Masked++
		}
		l.Sent++
	}
	slices.Sort(latencies)
	l.LatencyP50, l.LatencyP99 = Percentile(latencies, 0.50), Percentile(latencies, 0.99)

	expect, err := s.Expect(loadOf(record.Name))
	l.Expect = expect
	switch {
	case err != nil:
		l.Reasons = []string{err.Error()}
	case l.Dropped < expect.Min:
		l.Reasons = []string{fmt.Sprintf("lost %d of %d where at least %d must be lost: the instrument can't see losses", l.Dropped, l.Sent, expect.Min)}
	case l.Dropped > expect.Max:
		l.Outcome = Fail
		l.Reasons = []string{fmt.Sprintf("lost %d of %d where at most %d may be lost", l.Dropped, l.Sent, expect.Max)}
	case expect == scenarios.Clean && l.Masked > 0:
		l.Outcome = Fail
		l.Reasons = []string{fmt.Sprintf("%d of %d were lost once and sent again", l.Masked, l.Sent)}
	default:
		l.Outcome = Pass
	}
	return l
}

// loadOf is the load of a lane named path/load.
func loadOf(lane string) string { return lane[strings.LastIndex(lane, "/")+1:] }
