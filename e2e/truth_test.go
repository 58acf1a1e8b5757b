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
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestAttributionTruth holds attribution against the truth: Pods fail requests whose numbers are
// known beforehand, and each tells in its log which it has failed. Each of those is charged to the
// Pod that told of it, and to a part of its life in which it took requests; undisturbed, nothing
// else is dropped. The flag -consumers says through whom the requests go; without it kube-proxy alone.
//
// The runs themselves are inconclusive, as they drop requests before the disruption: so their
// verdicts are kept out of the suite's.
func TestAttributionTruth(t *testing.T) {
	long(t, suite.LongTruth)
	tests := []struct {
		name       string
		strategy   string
		delay      time.Duration // 0 for its own
		disruption string
		every      int                      // no divisor of the ten clients that reuse connections, or it would always meet the same one
		want       []verdict.LifecyclePhase // in which Pods fail requests: all of these, and no others
	}{
		{"nothing happens to the Pods", "in-app-delay", 0, "none", 50, []verdict.LifecyclePhase{verdict.BeforeDeletion}},
		// Longer than Traefik sends to a Pod that goes, and two seconds of work on top.
		{"Pods go", "prestop-sleep", 5 * time.Second, "pod-deletion", 9, []verdict.LifecyclePhase{verdict.BeforeDeletion, verdict.PreStop}},
	}
	for _, tt := range tests {
		truth := shared.With(func(c *suite.Config) {
			c.Out, c.Delay = filepath.Join(c.Out, "truth"), tt.delay
			if len(c.Consumers)+len(c.Lanes) == 0 {
				c.Lanes = []string{"service/new", "service/reused", "service/slow"}
			}
		})
		runs := runsOf(t, truth, tt.strategy, tt.disruption)
		for i, run := range runs {
			t.Run(strings.TrimSuffix(tt.name+", through "+run.Group, ", through "), func(t *testing.T) {
				run.Strategy = run.Strategy.With(fmt.Sprintf("-fail-every=%d", tt.every))
				// What a client sends again comes to two Pods: which of them failed it last, only the client knows.
				// gRPC sends nothing again that was answered with a status.
				run.Lanes = slices.DeleteFunc(slices.Clone(run.Lanes), func(l scenarios.Lane) bool {
					return l.Load.Replayable && l.Load.Driver != scenarios.GRPC
				})
				v, dir := truth.Attempt(testContext(t), t, run, i+1, len(runs))
				require.NotEqual(t, verdict.Infrastructure, v.Outcome, "%v", v.Reasons)
				holdAgainst(t, v, failedOnPurpose(t, filepath.Join(dir, "pods")), tt.every, tt.want)
			})
		}
	}
}

// runsOf are those of a strategy and a disruption through the consumers that the suite is to measure: one of each group.
func runsOf(t *testing.T, s *suite.Suite, strategy, disruption string) []scenarios.Run {
	t.Helper()
	runs, err := s.With(func(c *suite.Config) {
		c.Strategies, c.Disruptions, c.Repeat = []string{strategy}, []string{disruption}, 1
	}).Runs()
	require.NoError(t, err)
	runs = slices.DeleteFunc(runs, func(run scenarios.Run) bool {
		control := run.Strategy.Name == "no-handler" && strategy != "no-handler"
		return control || run.ProxyMode != "" // nor another kube-proxy
	})
	require.NotEmpty(t, runs)
	return runs
}

// nameless says through whom, and by which causes, a request may be dropped that nobody tells the Pod
// of: it may be charged to no one, with the reason.
func nameless(consumer string, cause timeline.Cause) bool {
	switch consumer {
	case "ingress-nativelb": // Traefik sends to the Service's address, and doesn't log from which port
		return true
	case "haproxy-dns":
		// Where a Pod fails a request that is not the first of its client's connection, HAProxy closes
		// that without an answer, so that the client tries again, and logs nothing (http_ana.c,
		// abort_keep_alive). The gap in the log's numbers is the reason.
		return cause == timeline.EOF
	}
	return false
}

// holdAgainst holds a verdict against what Pods told that they have failed on purpose.
func holdAgainst(t *testing.T, v verdict.Verdict, told map[failed]string, every int, want []verdict.LifecyclePhase) {
	t.Helper()
	planned, consumers := 0, map[string]string{}
	for _, l := range v.Lanes {
		require.Zero(t, l.Unsent, l.Name)
		planned += (l.Planned + every - 1) / every // the first of a lane is number 0
		consumers[l.Name] = l.Consumer
	}
	require.Greater(t, len(told), planned*9/10, "the Pods have failed what they were told to")
	charged := map[failed]string{}
	evidence := map[string]map[verdict.Evidence]int{} // by consumer
	phases := map[verdict.LifecyclePhase]int{}
	for _, l := range v.DroppedRequests {
		at, consumer := failed{l.Lane, l.Seq}, consumers[l.Lane]
		assert.NotContains(t, charged, at, "charged once")
		charged[at] = l.Pod
		if _, onPurpose := told[at]; !onPurpose {
			continue
		}
		if evidence[consumer] == nil {
			evidence[consumer] = map[verdict.Evidence]int{}
		}
		evidence[consumer][l.Evidence]++
		if l.Pod == "" && l.Why != "" && nameless(consumer, l.Cause) {
			charged[at] = told[at] // excused
			continue
		}
		phases[l.Phase]++
		assert.Contains(t, want, l.Phase, "%s %d: %s %d, %s", l.Lane, l.Seq, l.Cause, l.Code, l.Why)
	}
	for at, pod := range told {
		assert.Equal(t, pod, charged[at], "%s %d", at.lane, at.seq)
	}
	if v.Spec.Scope == timeline.ScopeNone {
		assert.Len(t, told, planned)
		assert.Equal(t, told, charged, "nothing else is dropped")
	}
	pods := map[string]bool{}
	for _, pod := range told {
		pods[pod] = true
	}
	assert.Greater(t, len(pods), 1, "with one Pod to name, naming is no art")
	for _, l := range v.Lanes {
		by := evidence[l.Consumer]
		switch {
		case nameless(l.Consumer, timeline.HTTP5xx): // by any cause
		case l.Routing == timeline.ByClient:
			assert.Positive(t, by[verdict.ByAddress], l.Name)
		case l.Routing == timeline.PerRequest:
			assert.Positive(t, by[verdict.ByAccessLog], l.Name)
			assert.Zero(t, by[verdict.ByConnection], "%s: behind a proxy a connection says nothing", l.Name)
		case l.Reuses():
			assert.Positive(t, by[verdict.ByConnection], l.Name)
		default:
			assert.Positive(t, by[verdict.ByRoute], l.Name)
		}
	}
	assert.Len(t, phases, len(want), "%v", phases)
	t.Logf("%d requests failed on purpose by %d Pods; named by %v, in %v", len(told), len(pods), evidence, phases)
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
