package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// arrivals is how long requests still came to Pods that were being deleted, lane by lane over all
// Pods and repeats: what a delay has to outlast.
func arrivals(m model) section {
	parts := m.having(func(a aggregate) bool { return a.N > 0 && a.Deleted > 0 })
	if len(parts) == 0 {
		return section{}
	}
	list := []string{"without: Pods that got nothing of the lane after their deletion, which count as 0; those that " +
		"ended too soon for anything to come don't count"}
	var apart []time.Duration
	for _, a := range slices.Concat(parts...) {
		apart = append(apart, a.Apart...)
	}
	if len(apart) > 0 {
		list = append(list, fmt.Sprintf("resolution: %s, the time between two requests of a lane (1/rate)",
			Extent(apart, Duration)))
	}
	return section{Title: "Last arrival after deletion", Blocks: []block{{
		Text: "From a Pod's deletion to the last request of the lane that came to it, answered or dropped; over all " +
			"Pods that were deleted, in all repeats" + lowerBounds(parts) + ". A reused connection stays with its " +
			"Pod until one of them ends it.",
		Table: Tabulate(append(slices.Clone(laneKeys),
			Number("Pods", func(a aggregate) string { return integer(a.Deleted) }),
			Number("without", func(a aggregate) string { return integer(a.silent()) }),
			Number("p50", func(a aggregate) string { return a.arrival(0.50) }),
			Number("p99", func(a aggregate) string { return a.arrival(0.99) }),
			Number("max", aggregate.delay)), parts),
		List: list,
	}}}
}

// lowerBounds explains ≥ where it occurs.
func lowerBounds(parts [][]aggregate) string {
	all, out := slices.Concat(parts...), ""
	if slices.ContainsFunc(all, aggregate.unsettled) {
		out += "; ≥ where dropped requests can't be charged to a Pod, as these may have come later"
	}
	if slices.ContainsFunc(all, aggregate.censored) {
		out += "; ≥ …, until it ended: requests came until the Pod's own end, or would have come to it, and are in no " +
			"percentile"
	}
	return out
}

// silent is how many of the deleted Pods got nothing of the lane after their deletion, but for those of
// which nobody knows whether they would have.
func (a aggregate) silent() int { return max(0, a.Deleted-len(a.Arrivals)) }

// arrival is the time within which a share of the deleted Pods had their last request. Pods that
// got none count as zero. Those that got requests until their own end don't count, as nobody knows
// how long they would have.
func (a aggregate) arrival(share float64) string {
	if a.Anonymous {
		return None
	}
	all := slices.Repeat([]time.Duration{0}, a.silent())
	for _, one := range a.Arrivals {
		if !one.Censored {
			all = append(all, one.After)
		}
	}
	if len(all) == 0 {
		return None
	}
	slices.Sort(all)
	return hundredths(verdict.Percentile(all, share))
}

// last is the longest arrival, a censored one where several are.
func (a aggregate) last() (out verdict.Arrival) {
	if len(a.Arrivals) > 0 {
		out = slices.MaxFunc(a.Arrivals, func(a, b verdict.Arrival) int {
			if a.Censored != b.Censored && a.After == b.After {
				return map[bool]int{false: -1, true: 1}[a.Censored]
			}
			return cmp.Compare(a.After, b.After)
		})
	}
	return out
}

func (a aggregate) censored() bool { return a.last().Censored }

// unsettled says that dropped requests of the lane are charged to nobody: they may have come later
// than the last arrival.
func (a aggregate) unsettled() bool { return a.Deleted > 0 && a.Phases[verdict.Unattributed] > 0 }

// longest is the longest arrival, 0 if there is none, marked where it is a lower bound.
func (a aggregate) longest() string {
	if a.unsettled() || a.censored() {
		return atLeast + hundredths(a.last().After)
	}
	return hundredths(a.last().After)
}

// delay is how long a Pod has to go on serving after its deletion, by what was seen: until the last
// request came.
func (a aggregate) delay() string {
	if a.N == 0 || a.Deleted == 0 || a.Anonymous {
		return None
	}
	return a.longest()
}

// kinds is lanes by what they use: new connections, and connections that they have.
func kinds(lanes []timeline.LaneSpec) (fresh, reused []string) {
	for _, lane := range lanes {
		if lane.Reuses() {
			reused = append(reused, lane.Name)
		} else {
			fresh = append(fresh, lane.Name)
		}
	}
	return fresh, reused
}

// proxied is the model with only the lanes whose Pod a proxy chooses; with all if there are no
// others. A client that keeps a DNS answer for half a minute would drown what the strategies differ
// in.
func (m model) proxied() model {
	lanes := slices.DeleteFunc(
		slices.Clone(m.Lanes),
		func(l timeline.LaneSpec) bool { return l.Routing == timeline.ByClient },
	)
	if len(lanes) > 0 {
		m.Lanes = lanes
	}
	return m
}
