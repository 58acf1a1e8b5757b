package verdict

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

var update = flag.Bool("update", false, "write the golden verdicts anew")

// TestStoredRuns judges runs that were recorded on a real cluster, request by request. A rule that is
// added or changed shows here what it does to them. Together they have every phase of a Pod's life,
// outages of one request and of many, and arrivals that the Pod's own end cut off.
func TestStoredRuns(t *testing.T) {
	dirs, err := timeline.Find("testdata")
	require.NoError(t, err)
	phases, lengths, censored := map[LifecyclePhase]bool{}, map[bool]bool{}, map[bool]bool{}
	for _, dir := range dirs {
		t.Run(dir, func(t *testing.T) {
			tl, err := timeline.Load(dir)
			require.NoError(t, err)
			v := Judge(tl)
			golden := filepath.Join(dir, "verdict.txt")
			got := told(v)
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
			for _, d := range v.DroppedRequests {
				phases[d.Phase] = true
			}
			for _, l := range v.Lanes {
				for _, o := range l.Outages {
					lengths[o.Dropped > 1] = true
				}
				for _, a := range l.Arrivals {
					censored[a.Censored] = true
				}
			}
		})
	}
	for _, p := range LifecyclePhases() {
		assert.True(t, phases[p], "no stored run has a dropped request of phase %s", p)
	}
	assert.Len(t, lengths, 2)
	assert.Len(t, censored, 2)
}

// told is a verdict as text that fits a screen: the run; for each lane what became of its requests,
// when they arrived, and its classes; and the dropped requests, counted by lane, phase and Pod, with
// the numbers of the first and the last.
func told(v Verdict) string {
	var out strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	line("%s: %s %q", v.Name(), v.Outcome, v.Reasons)
	line("%d Pods replaced, %d deleted, rollout %s, at most %d Pods, %.3f extra Pod-seconds", v.PodsReplaced, v.Deleted(), v.Rollout, v.PeakPods, v.ExtraPodSeconds)
	for _, l := range v.Lanes {
		var classes, arrivals []string
		for _, c := range l.Classes {
			classes = append(classes, fmt.Sprintf("%s %s, %d dropped", c.Class, c.Promise.Expect, c.Dropped))
		}
		for _, a := range l.Arrivals {
			arrivals = append(arrivals, map[bool]string{true: "≥"}[a.Censored]+round(a.After).String())
		}
		line("%s: %s: %s %q", l.Name, l.Outcome, strings.Join(classes, "; "), l.Reasons)
		line("  planned %d, sent %d, ok %d, dropped %d %v, masked %d, late %d, outages %d of %s or longer",
			l.Planned, l.Sent, l.OK, l.Dropped, sortedCounts(l.Causes), l.Masked, l.Late, len(l.Outages), l.MinDetectableOutage)
		line("  lag p50 %s, p99 %s, max %s; latency p50 %s, p99 %s; arrivals %v", l.LagP50, l.LagP99, l.LagMax, l.LatencyP50, l.LatencyP99, arrivals)
		count, first, last := map[string]int{}, map[string]int{}, map[string]int{}
		for _, d := range v.DroppedRequests {
			if d.Lane != l.Name {
				continue
			}
			key := fmt.Sprintf("%s, %s, Pod %d %s%s", d.Phase, d.Class, d.Owner, cmp.Or(string(d.Evidence), "unknown: "), d.Why)
			if count[key]++; count[key] == 1 {
				first[key] = d.Seq
			}
			last[key] = d.Seq
		}
		for _, key := range slices.Sorted(maps.Keys(count)) {
			line("  %s: %d from #%d to #%d", key, count[key], first[key], last[key])
		}
	}
	return out.String()
}

// sortedCounts are counts in words, in one order.
func sortedCounts[K interface {
	comparable
	fmt.Stringer
}](counts map[K]int) []string {
	var out []string
	for _, k := range slices.SortedFunc(maps.Keys(counts), func(a, b K) int { return strings.Compare(a.String(), b.String()) }) {
		out = append(out, fmt.Sprintf("%s %d", k, counts[k]))
	}
	return out
}
