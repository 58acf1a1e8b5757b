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
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/suite"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestAttributionTruth holds attribution against the truth: Pods fail requests whose numbers are
// known beforehand, and each tells in its log which it has failed. Each of those is charged to the
// Pod that told of it, and to a part of its life in which it took requests; undisturbed, nothing
// else is dropped.
//
// The runs themselves are inconclusive, as they drop requests before the disruption: so their
// verdicts are kept out of the suite's.
func TestAttributionTruth(t *testing.T) {
	long(t, suite.LongTruth)
	truth := shared.With(func(c *suite.Config) { c.Out = filepath.Join(c.Out, "truth") })
	tests := []struct {
		name       string
		strategy   string
		delay      time.Duration // 0 for its own
		disruption string
		every      int                      // no divisor of the ten clients that reuse connections, or it would always meet the same one
		want       []verdict.LifecyclePhase // in which Pods fail requests: all of these, and no others
	}{
		{"nothing happens to the Pods", "in-app-delay", 0, "none", 50, []verdict.LifecyclePhase{verdict.BeforeDeletion}},
		{"Pods go", "prestop-sleep", 3 * time.Second, "pod-deletion", 9, []verdict.LifecyclePhase{verdict.BeforeDeletion, verdict.PreStop}},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := truth.Find(tt.strategy, tt.disruption)
			require.NoError(t, err)
			if tt.delay > 0 {
				s, err = s.WithDelay(tt.delay)
				require.NoError(t, err)
			}
			s, err = s.Only([]string{"service/new", "service/reused", "service/slow"})
			require.NoError(t, err)
			s.Strategy = s.Strategy.With(fmt.Sprintf("-fail-every=%d", tt.every))
			v, dir := truth.Attempt(testContext(t), t, scenarios.Run{Scenario: s, Repeat: 1}, i+1, len(tests))
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
			phases := map[verdict.LifecyclePhase]int{}
			for _, l := range v.DroppedRequests {
				at := failed{l.Lane, l.Seq}
				assert.NotContains(t, charged, at, "charged once")
				charged[at] = l.Pod
				if _, onPurpose := told[at]; onPurpose {
					evidence[l.Evidence]++
					phases[l.Phase]++
					assert.Contains(t, tt.want, l.Phase, "%s %d: %s, %s", l.Lane, l.Seq, l.Cause, l.Why)
				}
			}
			for at, pod := range told {
				assert.Equal(t, pod, charged[at], "%s %d", at.lane, at.seq)
			}
			if tt.disruption == "none" {
				assert.Len(t, told, planned)
				assert.Equal(t, told, charged, "nothing else is dropped")
			}
			pods := map[string]bool{}
			for _, pod := range told {
				pods[pod] = true
			}
			assert.Greater(t, len(pods), 1, "with one Pod to name, naming is no art")
			assert.Positive(t, evidence[verdict.ByRoute], "as on new connections")
			assert.Positive(t, evidence[verdict.ByConnection], "as on reused ones")
			assert.Len(t, phases, len(tt.want), "%v", phases)
			t.Logf("%d requests failed on purpose by %d Pods; named by %v, in %v", len(told), len(pods), evidence, phases)
		})
	}
}

// failed is a request that a Pod has failed on purpose.
type failed struct {
	lane string
	seq  int
}

// failedOnPurpose reads from the Pods' logs which requests they have failed, and which Pod it was.
// No log at all is an error.
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
			var event protocol.Event
			if json.Unmarshal(lines.Bytes(), &event) != nil || event.Event != protocol.EventFailedRequest {
				continue
			}
			require.NotNil(t, event.Seq, lines.Text())
			require.Equal(t, strings.TrimSuffix(filepath.Base(path), ".log"), event.Pod, lines.Text())
			at := failed{event.Lane, *event.Seq}
			require.NotContains(t, out, at, "a request that arrived twice")
			out[at] = event.Pod
		}
		require.NoError(t, lines.Err())
		require.NoError(t, f.Close())
	}
	return out
}
