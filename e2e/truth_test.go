package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestAttributionTruth holds attribution against the truth: Pods fail requests whose numbers are known beforehand, and each tells in its log which it has
// failed. Each of those is charged to the Pod that told of it, and to a part of its life in which it took requests; undisturbed, nothing else is lost.
//
// The runs themselves are not believed, as they lose requests before the disruption: so their verdicts are kept out of the suite's.
func TestAttributionTruth(t *testing.T) {
	onlyIfNamed(t)
	require.NoError(t, the.broken)
	require.NoError(t, the.makeRoom())
	artifacts := the.settings.artifacts
	the.settings.artifacts = filepath.Join(artifacts, "truth")
	defer func() { the.settings.artifacts = artifacts }()
	tests := []struct {
		name       string
		strategy   string
		disruption string
		every      int              // no divisor of the ten clients that reuse connections, or it would always meet the same one
		want       []verdict.Moment // in which Pods fail requests: all of these, and no others
	}{
		{"nothing happens to the Pods", "in-app-delay", "none", 50, []verdict.Moment{verdict.BeforeDeletion}},
		{"Pods go", "prestop-sleep@3s", "pod-deletion", 9, []verdict.Moment{verdict.BeforeDeletion, verdict.PreStop}},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := the.catalogue.Find(tt.strategy, tt.disruption, the.settings.rate)
			require.NoError(t, err)
			s, err = s.Only([]string{"service/new", "service/reused", "service/slow"})
			require.NoError(t, err)
			s.Strategy = s.Strategy.With(fmt.Sprintf("-fail-every=%d", tt.every))
			v, dir := the.attempt(t, scenarios.Run{Scenario: s, Repeat: 1}, i+1, len(tests))
			require.NotEqual(t, verdict.Infrastructure, v.Outcome, "%v", v.Reasons)

			told := failedOnPurpose(t, filepath.Join(dir, "pods"))
			planned := 0
			for _, l := range v.Lanes {
				require.Zero(t, l.Unsent, l.Name)
				planned += (l.Planned + tt.every - 1) / tt.every // the first of a lane is number 0
			}
			require.Greater(t, len(told), planned*9/10, "the Pods have failed what they were told to")
			charged := map[failed]string{}
			evidence := map[verdict.Evidence]int{}
			moments := map[verdict.Moment]int{}
			for _, l := range v.Losses {
				at := failed{l.Lane, l.Seq}
				assert.NotContains(t, charged, at, "charged once")
				charged[at] = l.Pod
				if _, onPurpose := told[at]; onPurpose {
					evidence[l.Evidence]++
					moments[l.Moment]++
					assert.Contains(t, tt.want, l.Moment, "%s %d: %s, %s", l.Lane, l.Seq, l.Cause, l.Why)
				}
			}
			for at, pod := range told {
				assert.Equal(t, pod, charged[at], "%s %d", at.lane, at.seq)
			}
			if tt.disruption == "none" {
				assert.Len(t, told, planned)
				assert.Equal(t, told, charged, "nothing else is lost")
			}
			pods := map[string]bool{}
			for _, pod := range told {
				pods[pod] = true
			}
			assert.Greater(t, len(pods), 1, "with one Pod to name, naming is no art")
			assert.Positive(t, evidence[verdict.ByRoute], "as on new connections")
			assert.Positive(t, evidence[verdict.ByConnection], "as on reused ones")
			assert.Len(t, moments, len(tt.want), "%v", moments)
			t.Logf("%d requests failed on purpose by %d Pods; named by %v, in %v", len(told), len(pods), evidence, moments)
		})
	}
}

// failed is a request that a Pod has failed on purpose.
type failed struct {
	lane string
	seq  int
}

// failedOnPurpose reads from the Pods' logs which requests they have failed, and which Pod it was. No log at all is an error.
func failedOnPurpose(t *testing.T, dir string) map[failed]string {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	require.NoError(t, err)
	require.NotEmpty(t, logs, "no log of a Pod in %s", dir)
	out := map[failed]string{}
	for _, path := range slices.Sorted(slices.Values(logs)) {
		f, err := os.Open(path)
		require.NoError(t, err)
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			var life struct {
				Event, Pod, Lane string
				Seq              *int
			}
			if json.Unmarshal(lines.Bytes(), &life) != nil || life.Event != "failed-request" {
				continue
			}
			require.NotNil(t, life.Seq, lines.Text())
			require.Equal(t, strings.TrimSuffix(filepath.Base(path), ".log"), life.Pod, lines.Text())
			at := failed{life.Lane, *life.Seq}
			require.NotContains(t, out, at, "a request that arrived twice")
			out[at] = life.Pod
		}
		require.NoError(t, lines.Err())
		require.NoError(t, f.Close())
	}
	return out
}
