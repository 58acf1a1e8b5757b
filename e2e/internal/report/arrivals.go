package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// arrivals is how long requests still came to Pods that were being deleted, over all Pods and repeats: what a delay has to outlast.
func arrivals(m model) section {
	var parts [][]row
	for _, part := range m.Parts {
		if rows := slices.DeleteFunc(slices.Clone(part), func(r row) bool { return r.lanes(m.Lanes).Deleted == 0 }); len(rows) > 0 {
			parts = append(parts, rows)
		}
	}
	if len(parts) == 0 {
		return section{}
	}
	columns := []column[row]{disruptionColumn, strategyColumn, {header: header{Name: "Pods", Key: true}, cell: row.deleted}}
	for _, lane := range m.Lanes {
		columns = append(columns, arrivalColumns(lane)...)
	}
	var list []string
	if line := m.silence(slices.Concat(parts...)); line != "" {
		list = append(list, line)
	}
	if apart := intervals(slices.Concat(parts...)); len(apart) > 0 {
		list = append(list, fmt.Sprintf("resolution: %s, the time between two requests of a lane (1/rate)", extent(apart, duration)))
	}
	return section{Title: "Last arrival after deletion", Folded: true, Blocks: []block{{
		Text: "From a Pod's deletion to the last request of the lane that came to it, answered or lost; over all Pods that were deleted, in " +
			"all repeats. ≥ where lost requests can't be charged to a Pod, as these may have come later. A reused connection stays with its Pod until one of them ends it.",
		Table: tabulate(columns, parts),
		List:  list,
	}}}
}

// intervals is the time between two requests, 1/rate, of each lane of the rows whose rate is known.
func intervals(rows []row) []time.Duration {
	var out []time.Duration
	for _, r := range rows {
		for _, v := range r.Runs {
			for _, l := range v.Lanes {
				if l.Rate > 0 {
					out = append(out, time.Second/time.Duration(l.Rate))
				}
			}
		}
	}
	return out
}

// silence says which rows have Pods that got nothing of a lane after their deletion; "" if there is none.
func (m model) silence(rows []row) string {
	var all []string
	for _, r := range rows {
		var parts, order []string
		lanes := map[string][]string{}
		for _, lane := range m.Lanes {
			sum := r.lane(lane)
			if sum.silent() == 0 {
				continue
			}
			what := fmt.Sprintf("%d of %d", sum.silent(), sum.Deleted)
			if lanes[what] == nil {
				order = append(order, what)
			}
			lanes[what] = append(lanes[what], lane)
		}
		for _, what := range order {
			where := enumerate(lanes[what])
			if len(lanes[what]) == len(m.Lanes) {
				where = "every lane"
			}
			parts = append(parts, what+" on "+where)
		}
		if len(parts) > 0 {
			all = append(all, fmt.Sprintf("%s/%s %s", r.Strategy, r.Disruption, strings.Join(parts, ", ")))
		}
	}
	if len(all) == 0 {
		return ""
	}
	return "Pods without arrival, which got nothing of a lane after their deletion, count as 0: " + strings.Join(all, "; ")
}

// deleted is how many Pods were deleted in all runs of the row.
func (r row) deleted() string {
	n := 0
	for _, v := range r.Runs {
		n += deleted(v)
	}
	return integer(n)
}

func arrivalColumns(lane string) []column[row] {
	var out []column[row]
	for _, p := range []struct {
		name string
		cell func(laneSum) string
	}{
		{"p50", func(s laneSum) string { return hundredths(s.arrival(0.50)) }},
		{"p99", func(s laneSum) string { return hundredths(s.arrival(0.99)) }},
		{"max", laneSum.delay},
	} {
		out = append(out, column[row]{header: header{Group: lane, Name: p.name, Full: lane + " " + p.name}, cell: func(r row) string {
			if sum := r.lane(lane); sum.Deleted > 0 {
				return p.cell(sum)
			}
			return none
		}})
	}
	return out
}

// silent is how many of the deleted Pods got nothing of the lane after their deletion.
func (s laneSum) silent() int { return max(0, s.Deleted-len(s.Arrivals)) }

// arrival is the time within which a share of the deleted Pods had their last request. Pods that got none count as 0.
func (s laneSum) arrival(share float64) time.Duration {
	all := slices.Concat(make([]time.Duration, s.silent()), s.Arrivals)
	slices.Sort(all)
	return verdict.Percentile(all, share)
}
