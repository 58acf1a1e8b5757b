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

// TestDeletionInstants holds the instants of deletions against what is known of them. They are
// dated by etcd, whether a controller asked for them or the disruption itself; and in the latter
// case they lie between the question and the answer, as the API server answers when etcd has done
// it.
func TestDeletionInstants(t *testing.T) {
	long(t, suite.LongInstants)
	if shared.Config.Cluster.Kubeconfig != "" {
		t.Skip("the etcd of a cluster that exists can't be asked")
	}
	const repeats = 5
	var list []scenarios.Scenario
	for _, disruption := range []string{"rolling-update", "pod-deletion"} {
		s, err := shared.Find("shutdown-at-once", disruption)
		require.NoError(t, err)
		list = append(list, s)
	}
	since, until, late := []time.Duration{}, []time.Duration{}, []time.Duration{}
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
		late = append(late, v.DeletionLate...)
	}
	assert.GreaterOrEqual(t, len(late), all*2/3, "of %d deletions so many are dated by etcd, and not by a watch that was sooner", all)
	for _, is := range []struct {
		what string
		list []time.Duration
	}{
		{"from the question to the deletion", since},
		{"from the deletion to the answer", until},
		{"from the deletion to when the watch told of it", late},
	} {
		slices.Sort(is.list)
		t.Logf("%s: %d, median %s: %v", is.what, len(is.list), is.list[len(is.list)/2], is.list)
	}
}
