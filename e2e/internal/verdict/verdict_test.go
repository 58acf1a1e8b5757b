package verdict

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

const (
	ms  = time.Millisecond
	sec = time.Second
)

// rollout is a run that can be believed: three Pods replaced one after the other, three lanes at 10 requests/s for 20 s, nothing lost.
//
//	0s lead 3s disruption 9s termination 12s tail 20s
//	app-0..2 created before, deleted at 4, 6, 8 s, gone 2 s later; app-3..5 created 1 s before each deletion
func rollout() timeline.Timeline {
	tl := timeline.Timeline{
		Schema: timeline.Schema, Strategy: "prestop-sleep", Disruption: "rolling-update", Repeat: 1, Replicas: 3,
		Window:      timeline.Window{DisruptStart: 3 * sec, DisruptEnd: 9 * sec, Settled: 12 * sec, LoadEnd: 20 * sec, Overhead: 50 * ms},
		Environment: timeline.Environment{Kubernetes: "v1.37.2"},
	}
	event := func(at time.Duration, kind timeline.Kind, pod string) {
		tl.Events = append(tl.Events, timeline.Event{At: at, Kind: kind, Pod: pod})
	}
	for i := range 3 {
		before, after := fmt.Sprintf("app-%d", i), fmt.Sprintf("app-%d", i+3)
		deleted := time.Duration(4+2*i) * sec
		event(0, timeline.PodCreated, before)
		event(0, timeline.PodReady, before)
		event(deleted, timeline.PodDeleted, before)
		event(deleted+2*sec, timeline.PodGone, before)
		event(deleted-sec, timeline.PodCreated, after)
		event(deleted-500*ms, timeline.PodReady, after)
	}
	for _, load := range []string{"new", "reused", "slow"} {
		l := timeline.LaneRecord{
			Name: "nodeport/" + load, Rate: 10, Timeout: 5 * sec, Planned: 200,
			Pods: []string{"app-0", "app-1", "app-2", "app-3", "app-4", "app-5"},
		}
		for seq := range l.Planned {
			planned := time.Duration(seq) * 100 * ms
			// Before 4 s the old Pods answer in turn, later the new ones.
			pod := uint16(1 + seq%3)
			if planned >= 4*sec {
				pod += 3
			}
			l.Requests = append(l.Requests, timeline.Request{
				Planned: planned, Lag: time.Duration(seq%10) * 100 * time.Microsecond, Latency: time.Duration(1+seq%5) * ms,
				Leaving: timeline.NotLeaving, Cause: timeline.OK, Code: 200, Attempts: 1, Pod: pod, Conn: 1, ConnUse: 1,
			})
		}
		tl.Lanes = append(tl.Lanes, l)
	}
	return tl
}

func scenario(t *testing.T, strategy, disruption string) scenarios.Scenario {
	t.Helper()
	c, err := scenarios.NewCatalogue()
	require.NoError(t, err)
	s, err := c.Find(strategy, disruption, scenarios.DefaultRate)
	require.NoError(t, err)
	return s
}

// drop makes n requests of a lane, from the given instant on, end with a cause.
func drop(tl *timeline.Timeline, lane, n int, from time.Duration, cause timeline.Cause) {
	for i := range tl.Lanes[lane].Requests {
		r := &tl.Lanes[lane].Requests[i]
		if n > 0 && r.Planned >= from {
			r.Cause, r.Code, r.Pod = cause, 0, 0
			n--
		}
	}
}

func TestPass(t *testing.T) {
	v := Judge(rollout(), scenario(t, "prestop-sleep", "rolling-update"))
	require.Equal(t, Pass, v.Outcome, v.Reasons)
	assert.Empty(t, v.Reasons)
	assert.Equal(t, "prestop-sleep/rolling-update", v.Name())
	assert.Equal(t, 1, v.Repeat)
	assert.False(t, v.Control)
	assert.Equal(t, 3, v.PodsReplaced)
	assert.Equal(t, 9*sec, v.Rollout)
	assert.Equal(t, 50*ms, v.Overhead)
	assert.Equal(t, "v1.37.2", v.Environment.Kubernetes)
	require.Len(t, v.Lanes, 3)
	l := v.Lanes[0]
	assert.Equal(t, Pass, l.Outcome)
	assert.Equal(t, []int{200, 200, 0, 200, 0, 0}, []int{l.Planned, l.Sent, l.Unsent, l.OK, l.Dropped, l.Masked})
	assert.Empty(t, l.Causes)
	assert.Equal(t, 300*ms, l.Window)
	assert.Equal(t, 400*time.Microsecond, l.LagP50)
	assert.Equal(t, 900*time.Microsecond, l.LagP99)
	assert.Equal(t, 900*time.Microsecond, l.LagMax)
	assert.Equal(t, 3*ms, l.LatencyP50)
	assert.Equal(t, 5*ms, l.LatencyP99)
	assert.Nil(t, l.LastArrival, "no Pod answered after its deletion")
}

func TestLosses(t *testing.T) {
	tests := []struct {
		name   string
		judge  string // strategy
		change func(*timeline.Timeline)
		reason string
		want   Outcome
	}{
		{"clean lane loses one", "prestop-sleep", func(tl *timeline.Timeline) { drop(tl, 0, 1, 5*sec, timeline.Refused) }, "nodeport/new: lost 1 of 200", Fail},
		{"measured lane loses many", "prestop-sleep", func(tl *timeline.Timeline) { drop(tl, 1, 9, 5*sec, timeline.EOF) }, "", Pass},
		{"clean lane hides one", "prestop-sleep", func(tl *timeline.Timeline) { tl.Lanes[2].Requests[90].Attempts = 2 }, "1 of 200 were lost once and sent again", Fail},
		{"measured lane hides one", "prestop-sleep", func(tl *timeline.Timeline) { tl.Lanes[1].Requests[90].Attempts = 2 }, "", Pass},
		{"control loses nothing", "no-handler", func(*timeline.Timeline) {}, "the instrument can't see losses", Inconclusive},
		{"control loses as it must", "no-handler", func(tl *timeline.Timeline) {
			drop(tl, 0, 1, 5*sec, timeline.Timeout)
			drop(tl, 2, 1, 5*sec, timeline.Reset)
		}, "", Pass},
		{"control loses on one lane only", "no-handler", func(tl *timeline.Timeline) { drop(tl, 0, 1, 5*sec, timeline.Timeout) }, "nodeport/slow: lost 0", Inconclusive},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := rollout()
			tl.Strategy = tt.judge
			tt.change(&tl)
			v := Judge(tl, scenario(t, tt.judge, "rolling-update"))
			assert.Equal(t, tt.want, v.Outcome, v.Reasons)
			if tt.reason == "" {
				assert.Empty(t, v.Reasons)
				return
			}
			require.NotEmpty(t, v.Reasons)
			assert.Contains(t, v.Reasons[0], tt.reason)
		})
	}
}

func TestLedger(t *testing.T) {
	tl := rollout()
	drop(&tl, 0, 3, 5*sec, timeline.Refused)
	drop(&tl, 0, 2, 7*sec, timeline.Timeout)
	drop(&tl, 0, 4, 9*sec, timeline.Unsent)
	l := Judge(tl, scenario(t, "prestop-sleep", "rolling-update")).Lanes[0]
	assert.Equal(t, l.Planned, l.Sent+l.Unsent)
	assert.Equal(t, l.Sent, l.OK+l.Dropped)
	assert.Equal(t, []int{200, 196, 4, 191, 5}, []int{l.Planned, l.Sent, l.Unsent, l.OK, l.Dropped})
	assert.Equal(t, map[timeline.Cause]int{timeline.Refused: 3, timeline.Timeout: 2}, l.Causes)
	assert.Equal(t, 2*sec, l.FirstDropped.Round(ms))
	assert.Equal(t, 4100*ms+100*time.Microsecond, l.DroppedEnd)
}

// TestAssumptions breaks one condition at a time. Each makes the run inconclusive, whatever it lost, and says why.
func TestAssumptions(t *testing.T) {
	each := func(change func(*timeline.LaneRecord)) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) { change(&tl.Lanes[1]) }
	}
	without := func(kind timeline.Kind, pod string) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) {
			var rest []timeline.Event
			for _, e := range tl.Events {
				if e.Kind != kind || e.Pod != pod {
					rest = append(rest, e)
				}
			}
			tl.Events = rest
		}
	}
	tests := []struct {
		name  string
		spoil func(*timeline.Timeline)
		want  string
	}{
		{"fault", func(tl *timeline.Timeline) { tl.Faults = []string{"observe: gone"} }, "observe: gone"},
		{"no lanes", func(tl *timeline.Timeline) { tl.Lanes = nil }, "no lane was measured"},
		{"disruption never began", func(tl *timeline.Timeline) { tl.Window.DisruptStart = 0 }, "did not go through all of its phases"},
		{"disruption never ended", func(tl *timeline.Timeline) { tl.Window.DisruptEnd = 0 }, "did not go through all of its phases"},
		{"never settled", func(tl *timeline.Timeline) { tl.Window.Settled = 0 }, "did not go through all of its phases"},
		{"no tail", func(tl *timeline.Timeline) { tl.Window.LoadEnd = tl.Window.Settled }, "did not go through all of its phases"},
		{"another scenario's", func(tl *timeline.Timeline) { tl.Strategy = "no-handler" }, "recorded under no-handler/rolling-update, judged as prestop-sleep/rolling-update"},
		{"nothing planned", each(func(l *timeline.LaneRecord) { l.Planned, l.Requests = 0, nil }), "nodeport/reused: no request was planned"},
		{"one record in two hundred lost", each(func(l *timeline.LaneRecord) { l.Requests = l.Requests[:199] }), "200 planned, 199 on record"},
		{"one record too many", each(func(l *timeline.LaneRecord) { l.Requests = append(l.Requests, l.Requests[0]) }), "200 planned, 201 on record"},
		{"one not sent", each(func(l *timeline.LaneRecord) { l.Requests[150] = timeline.Request{Planned: 15 * sec} }), "1 of 200 planned requests were not sent"},
		{"no port", each(func(l *timeline.LaneRecord) { l.Requests[150].Cause = timeline.Client }), "had no port or descriptor for 1 of 200"},
		{"late sender", each(func(l *timeline.LaneRecord) {
			for i := range 3 {
				l.Requests[100+i].Lag = 301 * ms
			}
		}), "lag p99 301ms, at most 300ms at 10 requests/s"},
		{"late sender in the disruption only", each(func(l *timeline.LaneRecord) {
			l.Requests[60].Lag, l.Requests[61].Lag = 301*ms, 302*ms // 2 of the 90 in the window, 2 of 200 in all
			for i := 150; i < 160; i++ {
				l.Requests[i].Lag = 0
			}
		}), "left late during the disruption: lag p99 302ms, at most 300ms"},
		{"loss in the lead", each(func(l *timeline.LaneRecord) { l.Requests[10].Cause = timeline.Reset }), "1 requests were lost before the disruption"},
		{"no answer in the lead", each(func(l *timeline.LaneRecord) {
			for i := range 30 {
				l.Requests[i].Latency = 4 * sec
			}
		}), "no request was answered before the disruption"},
		{"a Pod that stayed", without(timeline.PodGone, "app-1"), "2 of 3 Pods were replaced"},
		{"replicas unknown", func(tl *timeline.Timeline) { tl.Replicas = 0 }, "3 of 0 Pods were replaced"},
		{"new Pod that answered nothing", func(tl *timeline.Timeline) {
			for i := range tl.Lanes {
				for j := range tl.Lanes[i].Requests {
					if r := &tl.Lanes[i].Requests[j]; r.Pod == 5 {
						r.Pod = 6
					}
				}
			}
		}, "Pod app-4 was ready and answered no request"},
		{"watch gap", func(tl *timeline.Timeline) {
			tl.Events = append(tl.Events, timeline.Event{At: 5 * sec, Kind: timeline.WatchGap, Detail: "Pods: expired"})
		}, "events may be missing at 5s: Pods: expired"},
		{"still terminating at the end", func(tl *timeline.Timeline) {
			tl.Events = append(tl.Events, timeline.Event{At: 19 * sec, Kind: timeline.PodDeleted, Pod: "app-5"})
		}, "Pod app-5 was still terminating when the load ended"},
		{"load that stopped when the new Pods were ready", func(tl *timeline.Timeline) {
			tl.Window.LoadEnd = 14 * sec
			for i := range tl.Lanes {
				tl.Lanes[i].Planned, tl.Lanes[i].Requests = 140, tl.Lanes[i].Requests[:140]
			}
		}, "the load ended 4s after the last Pod was gone: at least its timeout of 5s is needed"},
		{"unknown lane", func(tl *timeline.Timeline) { tl.Lanes[0].Name = "nodeport/upside-down" }, "expects nothing of load upside-down"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := rollout()
			tt.spoil(&tl)
			v := Judge(tl, scenario(t, "prestop-sleep", "rolling-update"))
			require.Equal(t, Inconclusive, v.Outcome)
			assert.Contains(t, fmt.Sprint(v.Reasons), tt.want)
		})
	}
}

// TestFaultsSpeakAlone: what follows from a fault is not listed beside it.
func TestFaultsSpeakAlone(t *testing.T) {
	v := Judge(timeline.Timeline{Strategy: "prestop-sleep", Disruption: "rolling-update", Faults: []string{"stopped by a signal"}}, scenario(t, "prestop-sleep", "rolling-update"))
	assert.Equal(t, Inconclusive, v.Outcome)
	assert.Equal(t, []string{"stopped by a signal"}, v.Reasons)
}

func TestUndisturbedRun(t *testing.T) {
	tl := rollout()
	tl.Disruption = "none"
	v := Judge(tl, scenario(t, "prestop-sleep", "none"))
	assert.Equal(t, Inconclusive, v.Outcome)
	assert.Contains(t, v.Reasons, "3 Pods went away though nothing was done to them")

	tl.Events = []timeline.Event{{Kind: timeline.PodCreated, Pod: "app-0"}, {Kind: timeline.PodReady, Pod: "app-0"}}
	v = Judge(tl, scenario(t, "prestop-sleep", "none"))
	assert.Equal(t, Pass, v.Outcome, v.Reasons)
	assert.True(t, v.Control)
	drop(&tl, 1, 1, 5*sec, timeline.EOF)
	assert.Equal(t, Fail, Judge(tl, scenario(t, "prestop-sleep", "none")).Outcome, "undisturbed, no lane is only measured")
}

func TestNobodyHasJudged(t *testing.T) {
	assert.Equal(t, Inconclusive, Verdict{}.Outcome)
	assert.Equal(t, Inconclusive, Lane{}.Outcome)
	assert.Equal(t, Inconclusive, Judge(timeline.Timeline{}, scenarios.Scenario{}).Outcome)
	assert.Equal(t, Inconclusive, JudgeSuite(nil).Outcome)
	assert.Equal(t, []string{"no run was made"}, JudgeSuite(nil).Reasons)
}

func TestLastArrival(t *testing.T) {
	tl := rollout()
	l := &tl.Lanes[0]
	arrive := func(seq int, pod uint16, cause timeline.Cause) {
		l.Requests[seq].Pod, l.Requests[seq].Cause, l.Requests[seq].Lag = pod, cause, 7*ms
	}
	arrive(45, 1, timeline.OK)      // app-0, deleted at 4 s: 0.5 s later
	arrive(62, 2, timeline.OK)      // app-1, deleted at 6 s: 0.2 s later
	arrive(68, 2, timeline.HTTP5xx) // 0.8 s later, and not well
	arrive(65, 2, timeline.OK)
	v := Judge(tl, scenario(t, "prestop-sleep", "rolling-update"))
	require.NotNil(t, v.Lanes[0].LastArrival)
	assert.Equal(t, 807*ms, *v.Lanes[0].LastArrival, "the last one, by when it left, of the Pod with the longest time")
	assert.Nil(t, v.Lanes[1].LastArrival, "lanes are apart")
}

func TestCost(t *testing.T) {
	v := Judge(rollout(), scenario(t, "prestop-sleep", "rolling-update"))
	// One Pod more from 3 s to 10 s; at 5 s and 7 s the next new one comes while the one before is still terminating until 6 s and 8 s.
	assert.Equal(t, 5, v.PeakPods)
	assert.InDelta(t, 7+1+1, v.ExtraPodSeconds, 1e-9)

	tl := rollout()
	tl.Window.Settled = 0
	tl.Events = append(tl.Events, timeline.Event{At: 15 * sec, Kind: timeline.PodCreated, Pod: "app-6"}, timeline.Event{At: 30 * sec, Kind: timeline.PodCreated, Pod: "app-7"})
	v = Judge(tl, scenario(t, "prestop-sleep", "rolling-update"))
	assert.InDelta(t, 9+5, v.ExtraPodSeconds, 1e-9, "a run that never settled costs until its load ended")
	assert.Zero(t, v.Rollout)
}

func TestSuite(t *testing.T) {
	run := func(name string, o Outcome, control bool) Verdict {
		v := Verdict{Strategy: name, Disruption: "rolling-update", Outcome: o, Control: control}
		if o != Pass {
			v.Reasons = []string{"why"}
		}
		return v
	}
	tests := []struct {
		name     string
		runs     []Verdict
		outcomes []Outcome
		want     Outcome
	}{
		{"all pass", []Verdict{run("no-handler", Pass, true), run("a", Pass, false)}, []Outcome{Pass, Pass}, Pass},
		{"one fails", []Verdict{run("no-handler", Pass, true), run("a", Fail, false), run("b", Pass, false)}, []Outcome{Pass, Fail, Pass}, Fail},
		{"inconclusive outweighs fail", []Verdict{run("a", Inconclusive, false), run("b", Fail, false)}, []Outcome{Inconclusive, Fail}, Inconclusive},
		{"control inconclusive", []Verdict{run("no-handler", Inconclusive, true), run("a", Pass, false), run("b", Fail, false)}, []Outcome{Inconclusive, Inconclusive, Fail}, Inconclusive},
		{"control fails", []Verdict{run("a", Pass, false), run("no-handler", Fail, true)}, []Outcome{Inconclusive, Fail}, Inconclusive},
		{"one control of two fails", []Verdict{run("c", Pass, true), run("no-handler", Inconclusive, true)}, []Outcome{Pass, Inconclusive}, Inconclusive},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := JudgeSuite(tt.runs)
			assert.Equal(t, tt.want, s.Outcome)
			for i, v := range s.Runs {
				assert.Equal(t, tt.outcomes[i], v.Outcome, v.Name())
			}
			assert.Equal(t, tt.want == Pass, len(s.Reasons) == 0)
		})
	}
	s := JudgeSuite(tests[3].runs)
	assert.Contains(t, s.Runs[1].Reasons, "control failed: no-handler/rolling-update")
	assert.Equal(t, Pass, tests[3].runs[1].Outcome, "what was judged stays as it was")
}

func TestOutcomeNames(t *testing.T) {
	for _, o := range []Outcome{Inconclusive, Pass, Fail} {
		raw, err := json.Marshal(o)
		require.NoError(t, err)
		var back Outcome
		require.NoError(t, json.Unmarshal(raw, &back))
		assert.Equal(t, o, back)
	}
	assert.Equal(t, "outcome(7)", Outcome(7).String())
	var o Outcome
	require.Error(t, o.UnmarshalText([]byte("passed")))
}

func TestStatistics(t *testing.T) {
	for n, want := range map[int]float64{0: 1, -1: 1, 1: 0.95, 3: 0.632, 10: 0.259, 20: 0.139, 59: 0.0495, 299: 0.00997} {
		assert.InDelta(t, want, ZeroBound(n), 0.0005, "%d rollouts", n)
	}
	assert.Equal(t, 30*ms, Visible(100))
	assert.Zero(t, Visible(0))
	assert.Zero(t, percentile(nil, 0.99))
	assert.Equal(t, 99*ms, percentile(upTo(100), 0.99))
	assert.Equal(t, 100*ms, percentile(upTo(100), 1))
	assert.Equal(t, 1*ms, percentile(upTo(100), 0))
	assert.Equal(t, 50*ms, percentile(upTo(100), 0.5))
}

// The closest pairs that the test separates at 5 %, and textbook values.
func TestFisher(t *testing.T) {
	assert.InDelta(t, 0.0325, Fisher(0, 10, 5, 10), 1e-4)
	assert.InDelta(t, 0.0867, Fisher(0, 10, 4, 10), 1e-4)
	assert.InDelta(t, 0.0286, Fisher(4, 4, 0, 4), 1e-4)
	assert.InDelta(t, 0.1, Fisher(0, 3, 3, 3), 1e-4)
	assert.InDelta(t, 0.4857, Fisher(1, 4, 3, 4), 1e-4) // the lady tasting tea, two-sided
	assert.InDelta(t, 1, Fisher(3, 3, 3, 3), 1e-9)
	assert.InDelta(t, 1, Fisher(0, 0, 3, 3), 1e-9)
	assert.InDelta(t, Fisher(2, 7, 9, 12), Fisher(9, 12, 2, 7), 1e-12)
	assert.InDelta(t, 1, Fisher(300, 600, 300, 600), 1e-9)
}

func TestFewestRuns(t *testing.T) {
	assert.InDelta(t, 0.1, Disjoint(3, 3), 1e-9)
	assert.InDelta(t, 2.0/70, Disjoint(4, 4), 1e-9)
	assert.Equal(t, 4, FewestRuns())
}

func upTo(n int) []time.Duration {
	var out []time.Duration
	for i := range n {
		out = append(out, time.Duration(i+1)*ms)
	}
	return out
}

// BenchmarkJudge shows that judging grows linearly with the requests.
func BenchmarkJudge(b *testing.B) {
	c, err := scenarios.NewCatalogue()
	require.NoError(b, err)
	s, err := c.Find("prestop-sleep", "rolling-update", scenarios.DefaultRate)
	require.NoError(b, err)
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			tl := rollout()
			for i := range tl.Lanes {
				l := &tl.Lanes[i]
				base := l.Requests
				l.Requests, l.Planned = nil, n/len(tl.Lanes)
				for seq := range l.Planned {
					r := base[seq*len(base)/l.Planned]
					r.Lag = time.Duration(seq*7919%997) * time.Microsecond
					l.Requests = append(l.Requests, r)
				}
			}
			b.ResetTimer()
			for b.Loop() {
				if v := Judge(tl, s); v.Outcome != Pass {
					b.Fatal(v.Reasons)
				}
			}
		})
	}
}
