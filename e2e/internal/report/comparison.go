package report

import (
	"fmt"
	"slices"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// groups are the two answers to the question that this tool is asked most, as timeline.Spec.Group
// has them: where does the delay belong?
var groups = [2]string{"preStop", "in-app delay"}

// side is the place of a row among those that a reader compares: 0 and 1 for the strategies of the
// two groups, then the rest, and controls last.
func (r row) side() int {
	i := slices.Index(groups[:], r.Group)
	switch {
	case r.Control:
		return len(groups) + 1
	case i < 0:
		return len(groups)
	}
	return i
}

// compares says whether the row is of one of the two groups.
func (r row) compares() bool { return r.side() < len(groups) }

// missing says which group has no row; "" if both have one.
func missing(rows []row, verb string) string {
	var absent []string
	for i, group := range groups {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.side() == i }) {
			absent = append(absent, fmt.Sprintf("no %s strategy", group))
		}
	}
	if len(absent) == 0 {
		return ""
	}
	return fmt.Sprintf("Nothing to compare: %s %s.", Enumerate(absent), verb)
}

// comparisons is which of the differences between preStop and in-app delay mean anything, one list
// per disruption.
func comparisons(m model) section {
	out := section{Title: "preStop or in-app delay?"}
	if absent := missing(slices.Concat(m.Parts...), "was run"); len(m.Parts) > 0 && absent != "" {
		out.Blocks = []block{{Text: absent}}
		return out
	}
	for _, part := range m.Parts {
		if list := m.compare(part); len(list) > 0 {
			out.Blocks = append(out.Blocks, block{Heading: part[0].Where, List: list})
		}
	}
	return out
}

// compare says how the two groups compare under one disruption; nothing where neither has anything,
// as without a disruption. Only conclusive runs are compared.
func (m model) compare(part []row) []string {
	var rows []row
	var out, left []string
	for _, r := range part {
		if !r.compares() {
			continue
		}
		kept := r.conclusive()
		if n := len(r.Runs) - len(kept.Runs); n > 0 {
			left = append(left, fmt.Sprintf("%s (%d of %s)", r.Strategy, n, Count(len(r.Runs), "run")))
		}
		if len(kept.Runs) > 0 {
			rows = append(rows, kept)
		}
	}
	if len(left) > 0 {
		out = append(out, "Left out, not measured or not conclusive: "+Enumerate(left)+".")
	}
	if len(rows)+len(left) == 0 {
		return nil
	}
	if line := missing(rows, "has a conclusive run"); line != "" {
		return append(out, line)
	}
	return append(out, differences(rows)...)
}

// sizes is the number of runs of each strategy.
func sizes(rows []row) []int {
	var out []int
	for _, r := range rows {
		out = append(out, len(r.Runs))
	}
	return out
}

const moreThanNoise = "More than noise: "

// differences says which of the differences between strategies of the two groups can't be put down
// to chance. All tests are corrected for each other.
func differences(rows []row) []string {
	var all []verdict.Comparison
	for _, a := range rows {
		for _, b := range rows {
			if a.side() < b.side() {
				all = append(all, verdict.Compare(a.Runs, b.Runs))
			}
		}
	}
	made := verdict.Correct(all)
	var out []string
	for _, c := range all {
		for _, r := range c.Rows {
			how, test, differs := r.Difference()
			if !differs {
				continue
			}
			p := probability(test.P)
			if made > 1 {
				p += ", corrected " + probability(test.Corrected)
			}
			out = append(out, fmt.Sprintf(moreThanNoise+"%s, %s against %s: %s (%s).",
				r.What, c.Base, c.Now, how, p))
		}
	}
	least, most := slices.Min(sizes(rows)), slices.Max(sizes(rows))
	runs := Count(most, "run") + " each"
	if least != most {
		runs = fmt.Sprintf("%d to %d runs each", least, most)
	}
	if made > 1 {
		runs += fmt.Sprintf(", %d comparisons corrected for each other", made)
	}
	if len(out) > 0 {
		return append(out, fmt.Sprintf("No other difference can be told from noise at the 5 %% level (%s).", runs))
	}
	line := fmt.Sprintf("No difference above can be told from noise at the 5 %% level (%s)", runs)
	if fewest := verdict.FewestRuns(made); most < fewest {
		line += fmt.Sprintf("; %d runs of each are the least that could show one", fewest)
	}
	return []string{line + "."}
}
