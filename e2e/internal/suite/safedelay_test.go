package suite

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/harness"
	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// judged is the verdict on a run that dropped so many requests on each lane, and in which requests
// went on arriving at each of three Pods for up to as long as arrived says of the lane.
func judged(run scenarios.Run, minSync time.Duration, dropped int, arrived func(scenarios.Lane) time.Duration) verdict.Verdict {
	v := verdict.Verdict{
		Spec: timeline.Spec{
			Strategy: run.Strategy.Name, Disruption: run.Disruption.Name, Control: run.Control, ConsumerGroup: run.Group,
		},
		Repeat: run.Repeat, Outcome: verdict.Pass,
	}
	for _, lane := range run.Lanes {
		class := timeline.ClassNew
		if lane.Load.Connections == scenarios.ReusedConnections {
			class = timeline.ClassKeptAlive
		}
		l := verdict.Lane{
			LaneSpec: timeline.LaneSpec{
				Name: lane.Name(), Consumer: lane.Consumer.Name, Class: class, Rate: lane.Load.Rate, Connections: string(lane.Load.Connections),
			},
			Outcome: verdict.Pass, Planned: 2600, Sent: 2600, OK: 2600 - dropped, Dropped: dropped,
		}
		switch p := run.HeldTo(lane, scenarios.Class(class), minSync); {
		case p.Expect == scenarios.Clean && dropped > 0:
			l.Outcome, v.Outcome = verdict.Fail, verdict.Fail
			v.Reasons = append(v.Reasons, fmt.Sprintf("%s: dropped %d (%s)", lane.Name(), dropped, p.Source))
		case p.Expect == scenarios.Drops && dropped == 0:
			l.Outcome, v.Outcome = verdict.Fail, verdict.Fail
			v.Reasons = append(v.Reasons, fmt.Sprintf("%s: dropped none (%s)", lane.Name(), p.Source))
		}
		if last := arrived(lane); last > 0 {
			delay := run.Strategy.ServesFor()
			for i := range 3 {
				after := min(last, delay) / time.Duration(i+1)
				l.Arrivals = append(l.Arrivals, verdict.Arrival{Pod: fmt.Sprint("app-", i), After: after, Censored: i == 0 && last >= delay})
			}
		}
		v.Lanes = append(v.Lanes, l)
	}
	return v
}

// all says that requests of every lane went on arriving for that long.
func all(last time.Duration) func(scenarios.Lane) time.Duration {
	return func(scenarios.Lane) time.Duration { return last }
}

func doubt(v verdict.Verdict, o verdict.Outcome, reason string) verdict.Verdict {
	v.Outcome, v.Reasons = o, []string{reason}
	return v
}

// usual is how a run comes out on a cluster where removals take up to 1.04 s, for every consumer.
func usual(run scenarios.Run) verdict.Verdict {
	delay := run.Strategy.ServesFor()
	switch {
	case run.Disruption.Name == "none":
		return judged(run, sec, 0, all(0))
	case run.Control:
		return judged(run, sec, 80, all(0))
	case delay < 1040*ms:
		return judged(run, sec, 12, all(delay/2))
	}
	return judged(run, sec, 0, all(1040*ms))
}

// slow is the same where a consumer's clients go on coming for longer.
func slow(consumer string, last time.Duration) func(scenarios.Run, int) verdict.Verdict {
	return func(run scenarios.Run, _ int) verdict.Verdict {
		if run.Control || run.Strategy.ServesFor() < 1040*ms {
			return usual(run)
		}
		return judged(run, sec, 0, func(l scenarios.Lane) time.Duration {
			if l.Consumer.Name == consumer {
				return last
			}
			return 1040 * ms
		})
	}
}

// except is usual, but for the nth run of a strategy; for all of its runs if that is 0.
func except(
	strategy string, nth int, other func(scenarios.Run) verdict.Verdict,
) func(scenarios.Run, int) verdict.Verdict {
	return func(run scenarios.Run, n int) verdict.Verdict {
		if run.Strategy.Name == strategy && (nth == 0 || nth == n) {
			return other(run)
		}
		return usual(run)
	}
}

func drops(n int, last time.Duration) func(scenarios.Run) verdict.Verdict {
	return func(run scenarios.Run) verdict.Verdict { return judged(run, sec, n, all(last)) }
}

// late is not conclusive, so what it says of arrivals counts for nothing.
func late(run scenarios.Run) verdict.Verdict {
	return doubt(judged(run, sec, 0, all(9*sec)), verdict.Inconclusive, "requests left late")
}

// TestDelayTrial: the runs that are made, in their order, and what comes of them, down to the exit
// code.
func TestDelayTrial(t *testing.T) {
	controls := []string{"no-handler/none 1", "no-handler/rolling-update 1"}
	three := func(name string) []string {
		return []string{name + "/rolling-update 1", name + "/rolling-update 2", name + "/rolling-update 3"}
	}
	four := func(name string) []string { return append(three(name), name+"/rolling-update 4") }
	long := slices.Concat(controls, three("in-app-delay-close"))
	proofs := slices.Concat(three("in-app-delay-close@1.5s"), three("prestop-sleep@2s"), three("in-app-delay-close@500ms"))
	proved := slices.Concat(long, proofs)
	tests := []struct {
		name    string
		flags   []string
		minSync time.Duration
		fake    func(run scenarios.Run, nth int) verdict.Verdict // nth run of its name, from 1
		made    []string
		delay   time.Duration // 0 for none
		outcome verdict.Outcome
		why     string
		code    int
	}{
		{"proved", nil, sec, except("", 0, nil), proved, 1500 * ms, verdict.Pass, "", 0},
		{"the proof drops", nil, sec, except("in-app-delay-close@1.5s", 2, drops(3, 1600*ms)), proved, 1500 * ms, verdict.Fail, "in-app-delay-close@1.5s/rolling-update: fail: service/new: dropped 3 (the recommended delay, to be proved); ", 1},
		{"the proof as preStop sleep drops new connections", nil, sec, except("prestop-sleep@2s", 3, drops(1, 2*sec)), proved, 1500 * ms, verdict.Fail, "prestop-sleep@2s/rolling-update: fail: ", 1},
		{"not conclusive: nothing is proved", nil, sec, except("in-app-delay-close", 0, late), long[:3], 0, verdict.Inconclusive, "in-app-delay-close/rolling-update: inconclusive: requests left late", 3},
		{"the proof isn't conclusive: what shows beside it is run all the same", nil, sec, except("in-app-delay-close@1.5s", 0, late), slices.Concat(long, proofs[:1], proofs[3:]), 1500 * ms, verdict.Inconclusive, "in-app-delay-close@1.5s/rolling-update: inconclusive: requests left late", 3},
		{
			"a blind instrument", nil, sec, func(run scenarios.Run, _ int) verdict.Verdict {
				if run.Control {
					return doubt(judged(run, sec, 0, all(0)), verdict.Inconclusive, "dropped 0")
				}
				return usual(run)
			}, controls[:1], 0, verdict.Inconclusive, "control failed: no-handler/none: inconclusive: dropped 0", 3,
		},
		{
			"a control that drops", nil, sec, func(run scenarios.Run, _ int) verdict.Verdict {
				if run.Disruption.Name == "none" {
					return judged(run, sec, 1, all(0))
				}
				return usual(run)
			}, controls[:1], 0, verdict.Inconclusive, "control failed: no-handler/none: fail: service/new: dropped 1", 3,
		},
		{
			"the cluster breaks down", nil, sec, except("in-app-delay-close", 2, func(run scenarios.Run) verdict.Verdict {
				return doubt(usual(run), verdict.Infrastructure, "the API server is away")
			}), long[:4], 1500 * ms, verdict.Infrastructure, "infrastructure: the API server is away", 4,
		},
		{"even the long delay drops", nil, sec, except("in-app-delay-close", 2, drops(2, 1040*ms)), long, 0, verdict.Fail, "in-app-delay-close/rolling-update: fail: service/new: dropped 2", 1},
		{"nothing arrived: no delay, and not zero", nil, sec, except("in-app-delay-close", 0, drops(0, 0)), long, 0, verdict.Inconclusive, "no request arrived at a Pod after its deletion", 3},
		{
			"a slow proxy: a longer delay to measure with", nil, 10 * sec, func(run scenarios.Run, _ int) verdict.Verdict {
				if run.Control {
					return usual(run)
				}
				return judged(run, sec, 0, all(9*sec))
			}, slices.Concat(controls, three("in-app-delay-close@25s"), three("in-app-delay-close@11.5s"), three("prestop-sleep@12s"),
				three("in-app-delay-close@3.8s")), 11500 * ms, verdict.Pass, "", 0,
		},
		{
			"more repeats, fewer lanes", []string{"-repeat=4", "-lanes=service/new"}, sec, func(run scenarios.Run, _ int) verdict.Verdict {
				if len(run.Lanes) != 1 {
					return verdict.Verdict{}
				}
				return usual(run)
			}, slices.Concat(controls, four("in-app-delay-close"), four("in-app-delay-close@1.5s"), four("prestop-sleep@2s"), four("in-app-delay-close@500ms")), 1500 * ms, verdict.Pass, "", 0,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, out := newTestSuite(t, tt.flags...)
				require.NoError(t, s.PrepareArtifacts())
				s.environment = timeline.Environment{Kubernetes: "v1.37.2", ProxyMode: "iptables", MinSyncPeriod: tt.minSync.String()}
				r := &recorder{}
				trial, err := s.newDelayTrial(t.Context(), r, false)
				require.NoError(t, err)
				var made []string
				trial.attempt = fake(t, s, tt.fake, &made)
				result, err := trial.follow()
				require.NoError(t, err)
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

				outcome, err := s.finish()
				assert.Equal(t, tt.code, exitCode(min(len(r.errors), 1), outcome, err))
				text, err := os.ReadFile(filepath.Join(s.Config.Out, "safe-delay.txt"))
				require.NoError(t, err)
				answer := strings.Fields(strings.Split(string(text), "\n\n")[0]) // after a title of three words and its rule
				assert.Contains(t, strings.Join(strings.Fields(out.String()), " "), "Safe delay: "+strings.Join(answer[4:], " "), "it is shown at the end")
				raw, err := os.Open(filepath.Join(s.Config.Out, "safe-delay.json"))
				require.NoError(t, err)
				defer raw.Close()
				stored, err := report.ReadSafeDelay(raw)
				require.NoError(t, err)
				assert.Equal(t, tt.outcome, stored.Outcome)
				assert.Equal(t, tt.delay == 0, stored.DelaySeconds == nil)
				assert.Len(t, stored.Trials, len(result.Trials))
			})
		})
	}
}

// fake makes runs without a cluster: each takes its time, and comes out as judge says of the nth
// run of its name, from 1. Those that were made are taken down.
func fake(
	t *testing.T, s *Suite, judge func(run scenarios.Run, nth int) verdict.Verdict, made *[]string,
) func(scenarios.Run, int, int) (verdict.Verdict, string) {
	nth := map[string]int{}
	return func(run scenarios.Run, i, n int) (verdict.Verdict, string) {
		assert.LessOrEqual(t, i, n)
		nth[run.Path()]++
		dir := s.dir(run)
		require.NoDirExists(t, dir, "each run has a folder of its own")
		require.NoError(t, os.MkdirAll(dir, 0o755))
		time.Sleep(harness.Defaults.Lead + run.Strategy.ServesFor() + runOverhead)
		*made = append(*made, fmt.Sprintf("%s %d", run.Path(), run.Repeat))
		return judge(run, nth[run.Path()]), dir
	}
}

// TestDelaysOfGroups: each group has a series of its own, and each consumer its own delay. The one
// that is proved is kube-proxy's, or that of the consumers that were chosen. What breaks in a group
// leaves the others as they are.
func TestDelaysOfGroups(t *testing.T) {
	pigeon := fixtures.Consumer{
		Name: "pigeon", Group: "birds", From: fixtures.FromCluster, Routing: "per-request", Component: "loft", Loads: []string{"new", "reused"},
	}
	three := func(name string) []string { return []string{name + " 1", name + " 2", name + " 3"} }
	first := slices.Concat([]string{"no-handler/none 1", "no-handler/rolling-update 1"}, three("in-app-delay-close/rolling-update"))
	proofs := slices.Concat(three("in-app-delay-close@1.5s/rolling-update"), three("prestop-sleep@2s/rolling-update"), three("in-app-delay-close@500ms/rolling-update"))
	tests := []struct {
		name    string
		flags   []string
		fake    func(run scenarios.Run, nth int) verdict.Verdict
		made    []string
		delays  map[string]time.Duration // by consumer; 0 for none
		outcome verdict.Outcome
		why     string
	}{
		{
			"every group",
			[]string{"-consumers=service,nodeport,pigeon"},
			slow("pigeon", 3*sec),
			slices.Concat(first, []string{"birds/no-handler/none 1"}, three("birds/in-app-delay-close/rolling-update"), proofs),
			map[string]time.Duration{"service": 1500 * ms, "nodeport": 1500 * ms, "pigeon": 4 * sec},
			verdict.Pass, "",
		},
		{
			"of one group, and its own is proved",
			[]string{"-consumers=pigeon"},
			slow("pigeon", 3*sec),
			slices.Concat(
				[]string{"birds/no-handler/none 1", "birds/no-handler/rolling-update 1"}, three("birds/in-app-delay-close/rolling-update"),
				three("birds/in-app-delay-close@4s/rolling-update"), three("birds/prestop-sleep@4s/rolling-update"), three("birds/in-app-delay-close@1.3s/rolling-update"),
			),
			map[string]time.Duration{"service": 1500 * ms, "pigeon": 4 * sec},
			verdict.Pass, "",
		},
		{
			"a component that isn't ready",
			[]string{"-consumers=service,nodeport,pigeon"},
			func(run scenarios.Run, _ int) verdict.Verdict {
				if run.Group == "birds" {
					return doubt(usual(run), verdict.Infrastructure, "component loft: no image")
				}
				return usual(run)
			},
			slices.Concat(first, []string{"birds/no-handler/none 1"}, proofs),
			map[string]time.Duration{"service": 1500 * ms, "nodeport": 1500 * ms},
			verdict.Inconclusive,
			"not every group could be measured: control failed: birds/no-handler/none: infrastructure: component loft: no image",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, out := newTestSuite(t, append(tt.flags, "-rate=100")...)
				fixed, err := scenarios.NewCatalogue()
				require.NoError(t, err)
				s.catalogue = fixed.With(pigeon)
				s.environment = timeline.Environment{MinSyncPeriod: "1s"}
				trial, err := s.newDelayTrial(t.Context(), &recorder{}, false)
				require.NoError(t, err)
				var made []string
				trial.attempt = fake(t, s, tt.fake, &made)
				result, err := trial.follow()
				require.NoError(t, err)
				assert.Equal(t, tt.made, made)
				got := map[string]time.Duration{}
				for _, c := range result.Estimate.Consumers() {
					if got[c.Consumer] = 0; c.Delay != nil {
						got[c.Consumer] = *c.Delay
					}
				}
				assert.Equal(t, tt.delays, got)
				assert.Equal(t, tt.outcome, result.Outcome, result.Why)
				assert.Equal(t, tt.why, result.Why)
				for _, trial := range result.Trials {
					assert.Equal(t, verdict.Pass, trial.Proof.Outcome)
				}
				_, _ = s.finish()
				if tt.outcome != verdict.Pass {
					assert.Contains(t, strings.Join(strings.Fields(out.String()), " "), "Safe delay: 1.5s in the app, or 2s of preStop sleep, was run, and no new connection was dropped. not every group")
				}
			})
		})
	}
}

// TestLongerDelays: a consumer whose end wasn't seen is measured with a delay that is doubled as
// long as time allows, and holds nobody else up. One that never leaves has no delay, and its
// measurement an end.
func TestLongerDelays(t *testing.T) {
	const never = 24 * time.Hour
	type lane struct {
		with, delay time.Duration // delay 0 for none
		why         string
	}
	tests := []struct {
		name   string
		flags  []string
		proxy  bool // ProxyDelay
		fake   func(run scenarios.Run, nth int) verdict.Verdict
		withs  []time.Duration // that it was measured with
		again  []string        // lanes that were measured again
		lanes  map[string]lane
		delay  time.Duration // 0 for none
		budget time.Duration
	}{
		{
			"cached answers outlive the first delays", nil, false, slow("dns-cached", 31*sec),
			[]time.Duration{15 * sec, 30 * sec, 60 * sec},
			[]string{"dns-cached/new"},
			map[string]lane{
				"service/new": {15 * sec, 1500 * ms, ""}, "nodeport/slow": {15 * sec, 1500 * ms, ""},
				"dns-cached/new": {60 * sec, 39 * sec, ""},
			},
			1500 * ms, slowDelayBudget,
		},
		{
			"a consumer that never leaves", nil, false, slow("dns-cached", never),
			[]time.Duration{15 * sec, 30 * sec, 60 * sec, 120 * sec},
			[]string{"dns-cached/new"},
			map[string]lane{
				"service/new":    {15 * sec, 1500 * ms, ""},
				"dns-cached/new": {120 * sec, 0, "none up to 2m0s: requests went on arriving for ≥ 2m0s"},
			},
			1500 * ms, slowDelayBudget,
		},
		{
			"the same where nobody is known to be slow: less time, and kept connections ask for none",
			[]string{"-lanes=service/new,dns/new,dns/reused"},
			false, slow("dns", never),
			[]time.Duration{15 * sec, 30 * sec, 60 * sec},
			[]string{"dns/new"},
			map[string]lane{
				"service/new": {15 * sec, 1500 * ms, ""},
				"dns/new":     {60 * sec, 0, "none up to 1m0s: requests went on arriving for ≥ 1m0s"},
				"dns/reused":  {15 * sec, 0, "a connection stays until the Pod closes it, however fast everybody follows the endpoints"},
			},
			1500 * ms, delayBudget,
		},
		{
			"kube-proxy itself never leaves: nothing is recommended",
			[]string{"-lanes=service/new,dns/new"},
			false, slow("service", never),
			[]time.Duration{15 * sec, 30 * sec, 60 * sec},
			[]string{"service/new"},
			map[string]lane{
				"service/new": {60 * sec, 0, "none up to 1m0s: requests went on arriving for ≥ 1m0s"},
				"dns/new":     {15 * sec, 1500 * ms, ""},
			},
			0, delayBudget,
		},
		{
			"without kube-proxy's lanes it is the others' delay",
			[]string{"-lanes=dns-cached/new"},
			false, slow("dns-cached", 31*sec),
			[]time.Duration{15 * sec, 30 * sec, 60 * sec},
			[]string{"dns-cached/new"},
			map[string]lane{"dns-cached/new": {60 * sec, 39 * sec, ""}},
			39 * sec, slowDelayBudget,
		},
		{
			"kube-proxy's alone", nil, true, slow("dns-cached", never),
			[]time.Duration{15 * sec},
			nil,
			map[string]lane{"service/new": {15 * sec, 1500 * ms, ""}, "nodeport/new": {15 * sec, 1500 * ms, ""}},
			1500 * ms, delayBudget,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _ := newTestSuite(t, tt.flags...)
				s.environment = timeline.Environment{MinSyncPeriod: "1s"}
				trial, err := s.newDelayTrial(t.Context(), t, tt.proxy)
				require.NoError(t, err)
				var made, again []string
				var withs []time.Duration
				trial.attempt = fake(t, s, func(run scenarios.Run, nth int) verdict.Verdict {
					if with := run.Strategy.ServesFor(); !run.Control && run.Asked == nil && !slices.Contains(withs, with) {
						withs = append(withs, with)
					}
					for _, l := range run.Lanes {
						if !run.Control && run.Asked == nil && len(withs) > 1 && !slices.Contains(again, l.Name()) {
							again = append(again, l.Name())
						}
						if run.Asked != nil && tt.delay < sec*2 {
							assert.True(t, followsProxy(l.Consumer), "%s is not held to kube-proxy's delay", l.Name())
						}
						assert.True(t, !tt.proxy || followsProxy(l.Consumer), l.Name())
					}
					return tt.fake(run, nth)
				}, &made)
				result, err := trial.follow()
				require.NoError(t, err)
				assert.LessOrEqual(t, time.Since(trial.began), tt.budget)
				assert.Equal(t, tt.withs, withs)
				assert.Equal(t, tt.again, again)
				for _, l := range result.Estimate.Lanes {
					want, ok := tt.lanes[l.Lane]
					if !ok {
						continue
					}
					assert.Equal(t, want.with, l.With, l.Lane)
					assert.Equal(t, want.why, l.Why, l.Lane)
					if assert.Equal(t, want.delay > 0, l.Delay != nil, l.Lane) && l.Delay != nil {
						assert.Equal(t, want.delay, *l.Delay, l.Lane)
					}
					delete(tt.lanes, l.Lane)
				}
				assert.Empty(t, tt.lanes, "every lane is in the table")
				if tt.delay == 0 {
					assert.Nil(t, result.Estimate.Delay)
					assert.Equal(t, verdict.Inconclusive, result.Outcome)
					assert.Contains(t, result.Why, "service/new: none up to ")
					return
				}
				require.NotNil(t, result.Estimate.Delay)
				assert.Equal(t, tt.delay, *result.Estimate.Delay)
				assert.Equal(t, verdict.Pass, result.Outcome, result.Why)
				assert.Equal(t, tt.proxy, len(result.Trials) == 0)
			})
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
