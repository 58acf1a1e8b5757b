package report

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// phases is which phase of a Pod's life dropped the requests, and what is charged to nobody.
func phases(m model) section {
	parts := m.having(func(a aggregate) bool { return len(a.Phases) > 0 })
	if len(parts) == 0 {
		return section{}
	}
	shown := m.having(func(a aggregate) bool { return len(a.Phases) > 0 && a.Phases[verdict.Unattributed] < a.Dropped })
	b := block{List: phaseNotes(slices.Concat(parts...))}
	if len(shown) > 0 {
		b.Table = Tabulate(phaseColumns(), shown)
		b.List = append([]string{"charged: to one Pod and one phase"}, b.List...)
	}
	return section{Title: "Which phase of a Pod's life dropped them", Blocks: []block{b}}
}

func phaseColumns() []Column[aggregate] {
	out := append(slices.Clone(laneKeys), Number("dropped", func(a aggregate) string { return integer(a.Dropped) }),
		Number("charged", charged))
	for _, phase := range verdict.LifecyclePhases() {
		if phase == verdict.Unattributed {
			continue // what is not charged is in the list, with its reasons
		}
		c := Number(phase.String(), func(a aggregate) string {
			if a.Phases[phase] == 0 {
				return "" // so that the eye finds the numbers
			}
			return integer(a.Phases[phase])
		})
		out = append(out, c.Unless(func(a aggregate) bool { return a.Phases[phase] == 0 }))
	}
	return out
}

// charged is the share of the dropped requests that are charged to one Pod and one phase. It is
// rounded down: what is not all must not look like all.
func charged(a aggregate) string {
	n := a.Dropped - a.Phases[verdict.Unattributed] - a.Phases[verdict.NoEndpoint]
	switch {
	case a.Dropped == 0:
		return None
	case n == a.Dropped:
		return "100 %"
	}
	return fmt.Sprintf("%.1f %%", math.Floor(1000*float64(n)/float64(a.Dropped))/10)
}

// phaseNotes explains the phases that occur, and says what is charged to nobody: each reason once,
// the most frequent first, with the lanes it is of.
func phaseNotes(rows []aggregate) []string {
	var out []string
	for _, phase := range verdict.LifecyclePhases() {
		occurs := slices.ContainsFunc(rows, func(a aggregate) bool { return a.Phases[phase] > 0 })
		if occurs && phase != verdict.Unattributed {
			out = append(out, fmt.Sprintf("%s: %s", phase, phase.Meaning()))
		}
	}
	why := map[string]int{}
	lanes := map[string]map[string]int{}
	for _, a := range rows {
		for reason, n := range a.Unattributed {
			why[reason] += n
			if lanes[reason] == nil {
				lanes[reason] = map[string]int{}
			}
			lanes[reason][a.Lane] += n
		}
	}
	reasons := slices.Sorted(maps.Keys(why))
	slices.SortStableFunc(reasons, func(a, b string) int { return why[b] - why[a] })
	for _, reason := range reasons {
		out = append(out, fmt.Sprintf("unattributed, %s: %s (%s)", Count(why[reason], "request"), Plain(reason),
			Counts(slices.Sorted(maps.Keys(lanes[reason])), lanes[reason], 0)))
	}
	return out
}
