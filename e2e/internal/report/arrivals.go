package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// arrivals is how long requests still came to Pods that were being deleted, over all Pods and
// repeats: what a delay has to outlast.
func arrivals(m model) section {
	var parts [][]row
	for _, part := range m.Parts {
		kept := slices.DeleteFunc(slices.Clone(part), func(r row) bool { return r.deleted() == 0 })
		if len(kept) > 0 {
			parts = append(parts, kept)
		}
	}
	if len(parts) == 0 || len(m.Lanes) == 0 {
		return section{}
	}
	pods := Number("Pods", func(r row) string { return integer(r.deleted()) })
	pods.Key = true
	columns := []Column[row]{disruptionColumn, strategyColumn, pods}
	for _, lane := range names(m.Lanes) {
		columns = append(columns, arrivalColumns(lane)...)
	}
	lanes := m.having(func(a aggregate) bool { return a.Deleted > 0 })
	var list []string
	if line := m.silence(slices.Concat(parts...)); line != "" {
		list = append(list, line)
	}
	var apart []time.Duration
	for _, a := range slices.Concat(lanes...) {
		apart = append(apart, a.Apart...)
	}
	if len(apart) > 0 {
		list = append(list, fmt.Sprintf("resolution: %s, the time between two requests of a lane (1/rate)",
			Extent(apart, Duration)))
	}
	return section{Title: "Last arrival after deletion", Folded: true, Blocks: []block{{
		Text: "From a Pod's deletion to the last request of the lane that came to it, answered or dropped; over all " +
			"Pods that were deleted, in all repeats" + lowerBounds(lanes) + ". A reused connection stays with its " +
			"Pod until one of them ends it.",
		Table: Tabulate(columns, parts),
		List:  list,
	}}}
}

// lowerBounds explains ≥ where it occurs.
func lowerBounds(parts [][]aggregate) string {
	all, out := slices.Concat(parts...), ""
	if slices.ContainsFunc(all, aggregate.unsettled) {
		out += "; ≥ where dropped requests can't be charged to a Pod, as these may have come later"
	}
	if slices.ContainsFunc(all, aggregate.censored) {
		out += "; ≥ …, until it ended: requests came until the Pod's own end, and are in no percentile"
	}
	return out
}

// silence says which rows have Pods that got nothing of a lane after their deletion; "" if there is
// none.
func (m model) silence(rows []row) string {
	var all []string
	for _, r := range rows {
		var parts []string
		for _, same := range groupBy(names(m.Lanes), func(lane string) [2]int {
			a := r.lane(lane)
			return [2]int{a.silent(), a.Deleted}
		}) {
			where := Enumerate(same.items)
			if len(same.items) == len(m.Lanes) {
				where = "every lane"
			}
			if same.key[0] > 0 {
				parts = append(parts, fmt.Sprintf("%d of %d on %s", same.key[0], same.key[1], where))
			}
		}
		if len(parts) > 0 {
			all = append(all, r.Name()+" "+strings.Join(parts, ", "))
		}
	}
	if len(all) == 0 {
		return ""
	}
	return "Pods without arrival, which got nothing of a lane after their deletion, count as 0: " +
		strings.Join(all, "; ")
}

func arrivalColumns(lane string) []Column[row] {
	var out []Column[row]
	for _, p := range []struct {
		name string
		cell func(aggregate) string
	}{
		{"p50", func(a aggregate) string { return a.arrival(0.50) }},
		{"p99", func(a aggregate) string { return a.arrival(0.99) }},
		{"max", aggregate.delay},
	} {
		c := Number(p.name, func(r row) string {
			if a := r.lane(lane); a.Deleted > 0 {
				return p.cell(a)
			}
			return None
		})
		out = append(out, c.under(lane, lane+" "+p.name))
	}
	return out
}

// silent is how many of the deleted Pods got nothing of the lane after their deletion.
func (a aggregate) silent() int { return max(0, a.Deleted-len(a.Arrivals)) }

// arrival is the time within which a share of the deleted Pods had their last request. Pods that
// got none count as zero. Those that got requests until their own end don't count, as nobody knows
// how long they would have.
func (a aggregate) arrival(share float64) string {
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
