package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// judged is the verdict on a run that lost so many requests, and in which requests went on arriving at each of three Pods for up to so long.
func judged(run scenarios.Run, dropped int, last time.Duration) verdict.Verdict {
	v := verdict.Verdict{Strategy: run.Strategy.Name, Disruption: run.Disruption.Name, Repeat: run.Repeat, Control: run.Control, Outcome: verdict.Pass}
	for _, lane := range run.Lanes {
		expect, err := run.Expect(lane.Load.Name)
		if err != nil {
			return verdict.Verdict{}
		}
		l := verdict.Lane{Name: lane.Name(), Expect: expect, Outcome: verdict.Pass, Planned: 2600, Sent: 2600, OK: 2600 - dropped, Dropped: dropped}
		if !expect.Allows(dropped) {
			l.Outcome, v.Outcome = verdict.Fail, verdict.Fail
			v.Reasons = append(v.Reasons, fmt.Sprintf("%s: lost %d", lane.Name(), dropped))
		}
		if last > 0 {
			for i := range 3 {
				l.Arrivals = append(l.Arrivals, verdict.Arrival{Pod: fmt.Sprint("app-", i), After: last / time.Duration(i+1)})
			}
		}
		v.Lanes = append(v.Lanes, l)
	}
	return v
}

func doubt(v verdict.Verdict, o verdict.Outcome, reason string) verdict.Verdict {
	v.Outcome, v.Reasons = o, []string{reason}
	return v
}

// usual is how a run comes out on a cluster where removals take up to 1.04 s.
func usual(run scenarios.Run) verdict.Verdict {
	delay, err := run.Strategy.Delay()
	switch {
	case run.Disruption.Name == "none":
		return judged(run, 0, 0)
	case err != nil:
		return judged(run, 80, 0)
	case delay < 1040*ms:
		return judged(run, 12, delay)
	}
	return judged(run, 0, 1040*ms)
}

// TestDelayTrial: the runs that are made, in their order, and what comes of them, down to the exit code.
func TestDelayTrial(t *testing.T) {
	controls := []string{"no-handler/none 1", "no-handler/rolling-update 1"}
	three := func(name string) []string {
		return []string{name + "/rolling-update 1", name + "/rolling-update 2", name + "/rolling-update 3"}
	}
	four := func(name string) []string { return append(three(name), name+"/rolling-update 4") }
	long := slices.Concat(controls, three("in-app-delay-close"))
	proofs := slices.Concat(three("in-app-delay-close@1.5s"), three("prestop-sleep@2s"), three("in-app-delay-close@500ms+measured"))
	all := slices.Concat(long, proofs)
	tests := []struct {
		name    string
		flags   []string
		minSync time.Duration
		fake    func(run scenarios.Run, nth int) verdict.Verdict // nth run of its name, from 1; made again or not
		made    []string
		delay   time.Duration // 0 for none
		outcome verdict.Outcome
		why     string
		code    int
	}{
		{
			"proved", nil, sec, func(run scenarios.Run, _ int) verdict.Verdict { return usual(run) },
			all, 1500 * ms, verdict.Pass, "", 0,
		},
		{
			"the proof loses", nil, sec, func(run scenarios.Run, nth int) verdict.Verdict {
				if run.Strategy.Name == "in-app-delay-close@1.5s" && nth == 2 {
					return judged(run, 3, 1600*ms)
				}
				return usual(run)
			}, all, 1500 * ms, verdict.Fail, "in-app-delay-close@1.5s/rolling-update: fail: service/new: lost 3; ", 1,
		},
		{
			"the proof as preStop sleep loses new connections", nil, sec, func(run scenarios.Run, nth int) verdict.Verdict {
				if run.Strategy.Name == "prestop-sleep@2s" && nth == 3 {
					return judged(run, 1, 2*sec)
				}
				return usual(run)
			}, all, 1500 * ms, verdict.Fail, "prestop-sleep@2s/rolling-update: fail: ", 1,
		},
		{
			"one that isn't believed is made again", nil, sec, func(run scenarios.Run, nth int) verdict.Verdict {
				if run.Strategy.Name == "in-app-delay-close" && nth == 2 {
					return doubt(judged(run, 0, 9*sec), verdict.Inconclusive, "requests left late")
				}
				return usual(run)
			}, slices.Concat(long, []string{"in-app-delay-close/rolling-update 4"}, proofs), 1500 * ms, verdict.Pass, "", 0,
		},
		{
			"not believed three times: nothing is proved", nil, sec, func(run scenarios.Run, _ int) verdict.Verdict {
				if run.Strategy.Name == "in-app-delay-close" {
					return doubt(usual(run), verdict.Inconclusive, "requests left late")
				}
				return usual(run)
			}, long, 0, verdict.Inconclusive, "in-app-delay-close/rolling-update: inconclusive: requests left late", 3,
		},
		{
			"the proof isn't believed three times: what shows beside it is run all the same", nil, sec, func(run scenarios.Run, _ int) verdict.Verdict {
				if run.Strategy.Name == "in-app-delay-close@1.5s" {
					return doubt(usual(run), verdict.Inconclusive, "requests left late")
				}
				return usual(run)
			}, all, 1500 * ms, verdict.Inconclusive, "in-app-delay-close@1.5s/rolling-update: inconclusive: requests left late", 3,
		},
		{
			"a blind instrument", nil, sec, func(run scenarios.Run, _ int) verdict.Verdict {
				if run.Control {
					return doubt(judged(run, 0, 0), verdict.Inconclusive, "lost 0")
				}
				return usual(run)
			}, []string{"no-handler/none 1", "no-handler/none 2", "no-handler/none 3"}, 0, verdict.Inconclusive, "control failed: no-handler/none: inconclusive: lost 0", 3,
		},
		{
			"a control that loses", nil, sec, func(run scenarios.Run, _ int) verdict.Verdict {
				if run.Disruption.Name == "none" {
					return judged(run, 1, 0)
				}
				return usual(run)
			}, controls[:1], 0, verdict.Inconclusive, "control failed: no-handler/none: fail: service/new: lost 1", 3,
		},
		{
			"the cluster breaks down", nil, sec, func(run scenarios.Run, nth int) verdict.Verdict {
				if run.Strategy.Name == "in-app-delay-close" && nth == 2 {
					return doubt(usual(run), verdict.Infrastructure, "the API server is away")
				}
				return usual(run)
			}, long[:4], 1500 * ms, verdict.Infrastructure, "infrastructure: the API server is away", 4,
		},
		{
			"even the long delay loses", nil, sec, func(run scenarios.Run, nth int) verdict.Verdict {
				if run.Strategy.Name == "in-app-delay-close" && nth == 2 {
					return judged(run, 2, 1040*ms)
				}
				return usual(run)
			}, long, 0, verdict.Fail, "in-app-delay-close/rolling-update: fail: service/new: lost 2", 1,
		},
		{
			"nothing arrived: no delay, and not zero", nil, sec, func(run scenarios.Run, _ int) verdict.Verdict {
				if run.Strategy.Name == "in-app-delay-close" {
					return judged(run, 0, 0)
				}
				return usual(run)
			}, long, 0, verdict.Inconclusive, "no request arrived at a Pod after its deletion", 3,
		},
		{
			"a slow proxy: a longer delay to measure with", nil, 10 * sec, func(run scenarios.Run, _ int) verdict.Verdict {
				if run.Control {
					return usual(run)
				}
				return judged(run, 0, 9*sec)
			}, slices.Concat(controls, three("in-app-delay-close@25s"), three("in-app-delay-close@11.5s"), three("prestop-sleep@12s"),
				three("in-app-delay-close@3.8s+measured")), 11500 * ms, verdict.Pass, "", 0,
		},
		{
			"more repeats, fewer lanes", []string{"-repeat=4", "-lanes=service/new"}, sec, func(run scenarios.Run, _ int) verdict.Verdict {
				if len(run.Lanes) != 1 {
					return verdict.Verdict{}
				}
				return usual(run)
			}, slices.Concat(controls, four("in-app-delay-close"), four("in-app-delay-close@1.5s"), four("prestop-sleep@2s"), four("in-app-delay-close@500ms+measured")), 1500 * ms, verdict.Pass, "", 0,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, out := newTestSuite(t, tt.flags...)
			require.NoError(t, s.makeRoom())
			s.facts = timeline.Environment{Kubernetes: "v1.37.2", ProxyMode: "iptables", MinSyncPeriod: tt.minSync.String()}
			var made []string
			nth := map[string]int{}
			r := &recorder{TB: t}
			trial := &delayTrial{
				t: r, suite: s, repeats: max(delayRepeats, s.settings.repeat), minSync: func() time.Duration { return tt.minSync },
				attempt: func(run scenarios.Run, i, n int) (verdict.Verdict, string) {
					assert.LessOrEqual(t, i, n)
					nth[run.Name()]++
					dir := s.dir(run)
					require.NoDirExists(t, dir, "each run has a folder of its own")
					require.NoError(t, os.MkdirAll(dir, 0o755))
					made = append(made, fmt.Sprintf("%s %d", run.Name(), run.Repeat))
					return tt.fake(run, nth[run.Name()]), dir
				},
			}
			result, err := trial.measure()
			require.NoError(t, err)
			if result.Outcome == verdict.Pass {
				require.NoError(t, trial.prove(&result))
			}
			require.NoError(t, s.recommend(result))
			assert.Equal(t, tt.made, made)
			assert.Equal(t, tt.outcome, result.Outcome)
			assert.Contains(t, result.Why, tt.why)
			assert.Equal(t, tt.outcome == verdict.Pass, result.Why == "", result.Why)
			if d := result.Estimate.Delay; tt.delay == 0 {
				assert.Nil(t, d)
				assert.Empty(t, result.Trials)
			} else {
				require.NotNil(t, d)
				assert.Equal(t, tt.delay, *d)
			}
			assert.Equal(t, tt.code == 0, len(r.errors) == 0 && result.Outcome == verdict.Pass, r.errors)

			outcome, err := s.finish(t.Context())
			assert.Equal(t, tt.code, exitCode(min(len(r.errors), 1), outcome, err))
			text, err := os.ReadFile(filepath.Join(s.settings.artifacts, "safe-delay.txt"))
			require.NoError(t, err)
			assert.Contains(t, out.String(), string(text), "it is shown at the end")
			raw, err := os.ReadFile(filepath.Join(s.settings.artifacts, "safe-delay.json"))
			require.NoError(t, err)
			var stored struct {
				Schema, Outcome string
				DelaySeconds    *float64
				Lanes, Trials   []map[string]any
			}
			require.NoError(t, json.Unmarshal(raw, &stored))
			assert.Equal(t, tt.outcome.String(), stored.Outcome)
			assert.Equal(t, tt.delay == 0, stored.DelaySeconds == nil)
			assert.Len(t, stored.Trials, len(result.Trials))
		})
	}
}

func TestLongDelay(t *testing.T) {
	tests := []struct {
		name    string
		minSync time.Duration
		want    time.Duration
	}{
		{"unknown", 0, 15 * sec},
		{"kind's own", sec, 15 * sec},
		{"as long as it may be", 5 * sec, 15 * sec},
		{"longer", 6 * sec, 19 * sec},
		{"ten seconds", 10 * sec, 25 * sec},
		{"kube-proxy's sync period", 30 * sec, 55 * sec},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, longDelay(15*sec, tt.minSync)) })
	}
}

func TestRises(t *testing.T) {
	tests := []struct {
		name        string
		short, long time.Duration
		want        bool
	}{
		{"tenfold", 1500 * ms, 12 * sec, true},
		{"just over twofold, and two seconds", 1500 * ms, 3600 * ms, true},
		{"twofold", 2 * sec, 4 * sec, false},
		{"twofold, and less than two seconds", 500 * ms, 2 * sec, false},
		{"the same", 1500 * ms, 1500 * ms, false},
		{"the other way round", 12 * sec, 1500 * ms, false},
		{"none", 0, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, rises(tt.short, tt.long) == nil) })
	}
}

func TestDelaysNamed(t *testing.T) {
	tests := []struct {
		name string // of -run
		want []string
	}{
		{"", nil},
		{"TestRollout", nil},
		{"TestRollout/prestop-sleep/rolling-update", nil},
		{"TestRollout/in-app-delay-close@1.5s", []string{"in-app-delay-close@1.5s"}},
		{"^TestRollout$/^in-app-delay-close@1\\.5s$/rolling-update", []string{"in-app-delay-close@1.5s"}},
		{`TestRollout/in-app-delay@500ms\+measured`, []string{"in-app-delay@500ms+measured"}},
		{"TestRollout/(prestop-sleep@2s|no-handler|prestop-http@1s)", []string{"prestop-sleep@2s", "prestop-http@1s"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, delaysNamed(tt.name)) })
	}
}
