package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// terminations is how Pods ended, held against their grace periods: whatever a run came to, this is
// what the kubelet did.
func terminations(m model) section {
	var parts [][]row
	for _, part := range m.Parts {
		part = slices.DeleteFunc(slices.Clone(part), func(r row) bool { return len(r.terminations()) == 0 })
		if len(part) > 0 {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return section{}
	}
	return section{Title: "How Pods ended", Blocks: []block{{
		Text:  "Of the Pods that were deleted with a grace period, in all repeats; times count from the deletion.",
		Table: Tabulate(terminationColumns, parts),
		List: []string{
			"preStop: what the hook asks for; SIGTERM: when the app got it, which ends the hook's time; " + None +
				" where the app says nothing of it",
			"exits: exit codes, and of how many Pods; 137 is SIGKILL",
			"beyond: by how much the last of them outlived its grace period. The kubelet leaves a process 2 s after a hook " +
				"that has used the period up, and takes whole seconds of a hook off it",
			"preStop counted: of how many Pods SIGKILL shows that the hook's time is a part of the grace period; the ends of " +
				"the others don't tell",
		},
	}}}
}

var terminationColumns = []Column[row]{
	disruptionColumn,
	Key("strategy", row.label),
	Number("Pods", func(r row) string { return integer(len(r.terminations())) }),
	Number("grace", func(r row) string {
		return Extent(r.ends(func(t verdict.Termination) *time.Duration { return &t.Grace }), Duration)
	}),
	Number("preStop", func(r row) string {
		if r.PreStop == 0 {
			return None
		}
		return Duration(r.PreStop)
	}),
	Number("SIGTERM", func(r row) string {
		return Extent(r.ends(func(t verdict.Termination) *time.Duration { return t.SIGTERM }), Duration)
	}),
	Number("ended", func(r row) string {
		return Extent(r.ends(func(t verdict.Termination) *time.Duration { return t.Exit }), Duration)
	}),
	Words("exits", row.exits),
	Number("beyond", func(r row) string {
		if last := slices.Max(r.ends(func(t verdict.Termination) *time.Duration { return new(t.Beyond()) })); last > 0 {
			return Duration(last)
		}
		return None
	}),
	Number("preStop counted", func(r row) string {
		yes, no := r.counted()
		if yes+no == 0 {
			return None
		}
		return ratio(yes, yes+no)
	}),
	Number("hook failed", func(r row) string { return ratio(r.hooksFailed(), len(r.terminations())) }).
		Unless(func(r row) bool { return r.hooksFailed() == 0 }),
}

// terminations are those of all runs of the row.
func (r row) terminations() []verdict.Termination {
	var out []verdict.Termination
	for _, v := range r.Runs {
		out = append(out, v.Terminations...)
	}
	return out
}

// ends are lengths of terminations, of those that have it.
func (r row) ends(of func(verdict.Termination) *time.Duration) []time.Duration {
	var out []time.Duration
	for _, t := range r.terminations() {
		if d := of(t); d != nil {
			out = append(out, *d)
		}
	}
	return out
}

// exits are the exit codes, each with its number of Pods: "0 ×2 · 137 ×1".
func (r row) exits() string {
	codes := map[int]int{}
	for _, t := range r.terminations() {
		if t.Code != nil {
			codes[*t.Code]++
		}
	}
	if len(codes) == 0 {
		return None
	}
	var words []string
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		words = append(words, fmt.Sprintf("%d ×%d", code, codes[code]))
	}
	return strings.Join(words, " · ")
}

// counted is how many Pods show that preStop is a part of the grace period, and that it isn't.
func (r row) counted() (yes, no int) {
	for _, t := range r.terminations() {
		switch {
		case t.PreStopCounted == nil:
		case *t.PreStopCounted:
			yes++
		default:
			no++
		}
	}
	return yes, no
}

func (r row) hooksFailed() int {
	n := 0
	for _, t := range r.terminations() {
		if t.HookFailed {
			n++
		}
	}
	return n
}

// graceNotes says where a hook failed, and where the kubelet did not count its time.
func (m model) graceNotes() []string {
	var failed, uncounted []string
	for _, same := range groupBy(slices.Concat(m.Parts...), func(r row) string { return r.Strategy }) {
		all := row{}
		for _, r := range same.items {
			all.Runs = append(all.Runs, r.Runs...)
		}
		n := len(all.terminations())
		if hooks := all.hooksFailed(); hooks > 0 {
			failed = append(failed, fmt.Sprintf("%s (%d of %s)", same.key, hooks, Count(n, "Pod")))
		}
		if _, no := all.counted(); no > 0 {
			uncounted = append(uncounted, fmt.Sprintf("%s (%d of %s)", same.key, no, Count(n, "Pod")))
		}
	}
	var out []string
	if len(uncounted) > 0 {
		out = append(out, "the time of preStop was no part of the grace period: "+Enumerate(uncounted))
	}
	if len(failed) > 0 {
		out = append(out, "the kubelet says that a preStop hook failed: "+Enumerate(failed))
	}
	return out
}
