package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// momentWords says each moment in plain words.
var momentWords = map[verdict.Moment]string{
	verdict.StartUp:        "the Pod didn't listen yet",
	verdict.BeforeDeletion: "nothing had been done to the Pod",
	verdict.PreStop:        "from its deletion to SIGTERM, which is the preStop hook and what the kubelet takes",
	verdict.Terminating:    "from SIGTERM until it closed its listener: it still took connections",
	verdict.ListenerClosed: "it had closed its listener, and its process still ran",
	verdict.CutAtExit:      "in flight when its process ended",
	verdict.AfterExit:      "sent to it when its process had ended, as a node still routed there",
	verdict.NoEndpoint:     "the Service had no endpoint at all, so there is no Pod to charge",
}

// moments is which part of a Pod's life lost the dropped requests, and what is charged to nobody.
func moments(m model) section {
	var parts [][]laneRow
	for _, part := range m.Parts {
		var rows []laneRow
		for _, r := range part {
			for _, lane := range m.Lanes {
				if sum := r.lane(lane); len(sum.Moments) > 0 {
					rows = append(rows, laneRow{r, sum})
				}
			}
		}
		if len(rows) > 0 {
			parts = append(parts, rows)
		}
	}
	if len(parts) == 0 {
		return section{}
	}
	shown := make([][]laneRow, 0, len(parts))
	for _, part := range parts {
		if rows := slices.DeleteFunc(slices.Clone(part), func(l laneRow) bool { return l.sum.Moments[verdict.Unattributed] == l.sum.Dropped }); len(rows) > 0 {
			shown = append(shown, rows)
		}
	}
	b := block{List: momentNotes(slices.Concat(parts...))}
	if len(shown) > 0 {
		b.Table = tabulate(momentColumns(), shown)
		b.List = append([]string{"charged: to one Pod and one moment"}, b.List...)
	}
	return section{Title: "Which part of a Pod's life lost them", Folded: true, Blocks: []block{b}}
}

func momentColumns() []column[laneRow] {
	out := []column[laneRow]{
		{header: header{Name: "disruption", Key: true, Left: true}, cell: func(l laneRow) string { return l.Disruption }},
		{header: header{Name: "strategy", Key: true, Left: true}, cell: func(l laneRow) string { return l.label() }},
		{header: header{Name: "lane", Key: true, Left: true}, cell: func(l laneRow) string { return l.sum.Name }},
		{header: header{Name: "dropped"}, cell: func(l laneRow) string { return integer(l.sum.Dropped) }},
		{header: header{Name: "charged"}, cell: func(l laneRow) string { return charged(l.sum) }},
	}
	for _, moment := range verdict.Moments() {
		if moment == verdict.Unattributed {
			continue // what is not charged is in the list, with its reasons
		}
		out = append(out, column[laneRow]{
			header: header{Name: moment.String()},
			cell:   func(l laneRow) string { return blankZero(l.sum.Moments[moment]) },
			hide:   func(l laneRow) bool { return l.sum.Moments[moment] == 0 },
		})
	}
	return out
}

// blankZero leaves a cell empty where there is nothing, so that the eye finds the numbers.
func blankZero(n int) string {
	if n == 0 {
		return ""
	}
	return integer(n)
}

// charged is the share of the dropped requests that are charged to one Pod and one moment. It is rounded down: what is not all must not look like all.
func charged(s laneSum) string {
	n := s.Dropped - s.Moments[verdict.Unattributed] - s.Moments[verdict.NoEndpoint]
	switch {
	case s.Dropped == 0:
		return none
	case n == s.Dropped:
		return "100 %"
	}
	return fmt.Sprintf("%.1f %%", math.Floor(1000*float64(n)/float64(s.Dropped))/10)
}

// momentNotes explains the moments that occur, and says what is charged to nobody: each reason once, the most frequent first, with the lanes it is of.
func momentNotes(rows []laneRow) []string {
	var out []string
	for _, moment := range verdict.Moments() {
		if words, ok := momentWords[moment]; ok && slices.ContainsFunc(rows, func(l laneRow) bool { return l.sum.Moments[moment] > 0 }) {
			out = append(out, fmt.Sprintf("%s: %s", moment, words))
		}
	}
	why := map[string]int{}
	lanes := map[string]map[string]int{}
	for _, l := range rows {
		for reason, n := range l.sum.Unattributed {
			why[reason] += n
			if lanes[reason] == nil {
				lanes[reason] = map[string]int{}
			}
			lanes[reason][l.sum.Name] += n
		}
	}
	for _, reason := range frequent(why) {
		parts := make([]string, 0, len(lanes[reason]))
		for _, lane := range frequent(lanes[reason]) {
			parts = append(parts, fmt.Sprintf("%s %d", lane, lanes[reason][lane]))
		}
		out = append(out, fmt.Sprintf("unattributed, %s: %s (%s)", count(why[reason], "request"), plain(reason), strings.Join(parts, " · ")))
	}
	return out
}

// frequent is the keys of counts, the greatest count first, those of one count by name.
func frequent(counts map[string]int) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b)) })
}
