package verdict

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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

// told is a verdict as text: the run, a paragraph for each lane, and every dropped request. Neighbours
// that differ in nothing but their number share a line.
func told(v Verdict) string {
	var out strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	line("%s: %s%s", v.Name(), v.Outcome, strings.Join(append([]string{""}, v.Reasons...), "\n  "))
	line("%d Pods replaced, %d deleted, rollout %s, at most %d Pods, %.3f extra Pod-seconds", v.PodsReplaced, v.Deleted(), v.Rollout, v.PeakPods, v.ExtraPodSeconds)
	for _, l := range v.Lanes {
		line("\n%s: %s%s", l.Name, l.Outcome, strings.Join(append([]string{""}, l.Reasons...), "\n  "))
		line("  planned %d, sent %d, ok %d, dropped %d %v, masked %d", l.Planned, l.Sent, l.OK, l.Dropped, sortedCounts(l.Causes), l.Masked)
		for _, c := range l.Classes {
			line("  %s: dropped %d, %s by %s", c.Class, c.Dropped, c.Promise.Expect, c.Promise.Source)
		}
		line("  phases %v, unattributed %v", sortedCounts(l.Phases), l.Unattributed)
		line("  lag p50 %s, p99 %s, max %s; latency p50 %s, p99 %s; outages %d, detectable from %s",
			l.LagP50, l.LagP99, l.LagMax, l.LatencyP50, l.LatencyP99, len(l.Outages), l.MinDetectableOutage)
		var arrivals []string
		for _, a := range l.Arrivals {
			arrivals = append(arrivals, fmt.Sprintf("%s%s", map[bool]string{true: "≥"}[a.Censored], a.After))
		}
		line("  arrivals %s", strings.Join(arrivals, " "))
	}
	line("")
	type same struct {
		lane, pod string
		cause     timeline.Cause
		by        Evidence
		phase     LifecyclePhase
		class     timeline.Class
		owner     int
	}
	of := func(d DroppedRequest) same {
		return same{d.Lane, d.Pod, d.Cause, d.Evidence, d.Phase, d.Class, d.Owner}
	}
	for i := 0; i < len(v.DroppedRequests); {
		d := v.DroppedRequests[i]
		var numbers []string
		for ; i < len(v.DroppedRequests) && of(v.DroppedRequests[i]) == of(d); i++ {
			numbers = append(numbers, fmt.Sprint(v.DroppedRequests[i].Seq))
		}
		line("%s %s: %s, Pod %d %s by %q: %s, %s", d.Lane, strings.Join(numbers, " "), d.Cause, d.Owner, d.Pod, d.Evidence, d.Phase, d.Class)
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

// BenchmarkJudge is of the largest stored run.
func BenchmarkJudge(b *testing.B) {
	tl, err := timeline.Load(filepath.Join("testdata", "inside", "no-handler", "pod-deletion"))
	require.NoError(b, err)
	for b.Loop() {
		if v := Judge(tl); v.Rollout < time.Second {
			b.Fatal(v.Rollout)
		}
	}
}
