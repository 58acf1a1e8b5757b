package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/suite"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestDeletionInstants holds the intervals of deletions against what is known of them. All are dated
// by the audit log, whether a controller asked for them or the disruption itself; and in the latter
// case they begin between the question and the answer.
func TestDeletionInstants(t *testing.T) {
	long(t, suite.LongInstants)
	if shared.Config.Cluster.Kubeconfig != "" {
		t.Skip("the audit log of a cluster that exists can't be read")
	}
	const repeats = 5
	var list []scenarios.Scenario
	for _, disruption := range []string{"rolling-update", "pod-deletion"} {
		s, err := shared.Find("shutdown-at-once", disruption)
		require.NoError(t, err)
		list = append(list, s)
	}
	var since, until, late, wide []time.Duration
	all := 0
	runs := scenarios.Interleave(list, repeats)
	for i, run := range runs {
		run.Series = true
		v, dir := shared.Attempt(testContext(t), t, run, i+1, len(runs))
		require.NotEqual(t, verdict.Infrastructure, v.Outcome, "%v", v.Reasons)
		tl, err := timeline.Load(dir)
		require.NoError(t, err)
		asked, deletions := 0, 0
		for _, life := range v.Pods {
			deleted, ok := life.At(timeline.PodDeleted)
			if !ok || deleted > tl.Window.Settled {
				continue
			}
			deletions++
			question, known := life.At(timeline.DeleteAsked)
			if !known {
				continue
			}
			answer, answered := life.At(timeline.DeleteAnswered)
			require.True(t, answered, "%s of %s", life.Pod, dir)
			assert.Less(t, question, deleted, "%s of %s", life.Pod, dir)
			assert.Less(t, deleted, answer, "%s of %s", life.Pod, dir)
			since, until = append(since, deleted-question), append(until, answer-deleted)
			asked++
		}
		assert.Equal(t, v.PodsReplaced, deletions, dir)
		all += deletions
		if run.Disruption.Name == "pod-deletion" {
			assert.Equal(t, v.PodsReplaced, asked)
		}
		late, wide = append(late, v.DeletionLate...), append(wide, v.DeletionWidth...)
	}
	assert.Len(t, wide, all, "deletions that the audit log has dated, of all")
	for _, is := range []struct {
		what string
		list []time.Duration
	}{
		{"from the question to the start of the interval", since},
		{"from the start of the interval to the answer", until},
		{"from the start of the interval to when the watch told of the deletion", late},
		{"width of the interval", wide},
	} {
		require.NotEmpty(t, is.list, is.what)
		slices.Sort(is.list)
		t.Logf("%s: %d, median %s: %v", is.what, len(is.list), is.list[len(is.list)/2], is.list)
	}
}
