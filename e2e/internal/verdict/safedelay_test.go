package verdict

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline/timelinetest"
)

// arrived is a conclusive run with one lane per list of last arrivals, at 100 requests/s.
func arrived(lanes ...[]time.Duration) Verdict {
	v := Verdict{Outcome: Pass}
	for i, list := range lanes {
		spec := timeline.LaneSpec{Name: []string{"service/new", "service/slow"}[i], Rate: 100, Connections: "new"}
		l := Lane{LaneSpec: spec, Outcome: Pass, Sent: 100}
		for _, after := range list {
			l.Arrivals = append(l.Arrivals, Arrival{Pod: "app", After: after})
		}
		v.Lanes = append(v.Lanes, l)
	}
	return v
}

func after(list ...time.Duration) []time.Duration { return list }

func TestSafeDelay(t *testing.T) {
	doubted := func(v Verdict, o Outcome) Verdict {
		v.Outcome = o
		return v
	}
	drops := func(v Verdict, lane, dropped, masked int) Verdict {
		v.Outcome, v.Lanes[lane].Dropped, v.Lanes[lane].Masked = Fail, dropped, masked
		return v
	}
	type lane struct {
		n        int
		p50, max time.Duration
		bound    float64
		delay    time.Duration // 0 for none
		why      string
	}
	tests := []struct {
		name  string
		runs  []Verdict
		with  time.Duration
		rate  int
		lanes []lane
		delay time.Duration // 0 for none
		why   string
		bound float64 // of rollouts
	}{
		{
			"one rollout",
			[]Verdict{arrived(after(400*ms, 1040*ms, 600*ms))},
			15 * sec, 100,
			[]lane{{3, 600 * ms, 1040 * ms, 0.6316, 1500 * ms, ""}},
			1500 * ms, "", 0.95,
		},
		{
			"three rollouts: the greatest of all, and of all lanes",
			[]Verdict{arrived(after(400*ms, 900*ms), after(500*ms)), arrived(after(700*ms, 800*ms), after(1900*ms)), arrived(after(100*ms), after(600*ms))},
			15 * sec, 100,
			[]lane{{5, 700 * ms, 900 * ms, 0.4507, 1500 * ms, ""}, {3, 600 * ms, 1900 * ms, 0.6316, 2500 * ms, ""}},
			2500 * ms, "", 0.6316,
		},
		{
			"what is exactly half a second stays",
			[]Verdict{arrived(after(690 * ms))},
			15 * sec, 100,
			[]lane{{1, 690 * ms, 690 * ms, 0.95, 1 * sec, ""}},
			1 * sec, "", 0.95,
		},
		{
			"a hair more is another half",
			[]Verdict{arrived(after(691 * ms))},
			15 * sec, 100,
			[]lane{{1, 691 * ms, 691 * ms, 0.95, 1500 * ms, ""}},
			1500 * ms, "", 0.95,
		},
		{
			"a long one: a quarter is more than 0.3 s",
			[]Verdict{arrived(after(8900 * ms))},
			25 * sec, 100,
			[]lane{{1, 8900 * ms, 8900 * ms, 0.95, 11500 * ms, ""}},
			11500 * ms, "", 0.95,
		},
		{
			"few requests a second see less",
			[]Verdict{arrived(after(500 * ms))},
			15 * sec, 10,
			[]lane{{1, 500 * ms, 500 * ms, 0.95, 2 * sec, ""}},
			2 * sec, "", 0.95,
		},
		{
			"a run that is not conclusive gives nothing",
			[]Verdict{arrived(after(400 * ms)), doubted(arrived(after(9*sec)), Inconclusive)},
			15 * sec, 100,
			[]lane{{1, 400 * ms, 400 * ms, 0.95, 1 * sec, ""}},
			1 * sec, "", 0.95,
		},
		{
			"none is conclusive",
			[]Verdict{doubted(arrived(after(400*ms)), Inconclusive), doubted(arrived(after(400*ms)), Infrastructure)},
			15 * sec, 100,
			[]lane{{0, 0, 0, 1, 0, "none of 2 runs is conclusive"}},
			0, "service/new: none of 2 runs is conclusive", 1,
		},
		{
			"nothing arrived: not zero",
			[]Verdict{arrived(nil)},
			15 * sec, 100,
			[]lane{{0, 0, 0, 1, 0, "no request arrived at a Pod after its deletion"}},
			0, "service/new: no request arrived at a Pod after its deletion", 0.95,
		},
		{
			"nothing arrived in one lane: the other has the say",
			[]Verdict{arrived(nil, after(400*ms))},
			15 * sec, 100,
			[]lane{{0, 0, 0, 1, 0, "no request arrived at a Pod after its deletion"}, {1, 400 * ms, 400 * ms, 0.95, 1 * sec, ""}},
			1 * sec, "", 0.95,
		},
		{
			"requests dropped with the long delay",
			[]Verdict{drops(arrived(after(400*ms), after(400*ms)), 1, 2, 0)},
			15 * sec, 100,
			[]lane{{1, 400 * ms, 400 * ms, 0.95, 1 * sec, ""}, {1, 400 * ms, 400 * ms, 0.95, 0, "2 requests were dropped even with a delay of 15s"}},
			0, "service/slow: 2 requests were dropped even with a delay of 15s", 0.95,
		},
		{
			"the same, and nothing arrived",
			[]Verdict{drops(arrived(nil, after(400*ms)), 0, 0, 3)},
			15 * sec, 100,
			[]lane{{0, 0, 0, 1, 0, "3 requests were dropped even with a delay of 15s"}, {1, 400 * ms, 400 * ms, 0.95, 1 * sec, ""}},
			0, "service/new: 3 requests were dropped even with a delay of 15s", 0.95,
		},
		{
			"cut off by the end of the delay",
			[]Verdict{arrived(after(14900*ms), after(400*ms))},
			15 * sec, 100,
			[]lane{
				{1, 14900 * ms, 14900 * ms, 0.95, 0, "requests went on arriving for 14.9s, too near the delay of 15s that this was measured with: a longer one has to show their end"},
				{1, 400 * ms, 400 * ms, 0.95, 1 * sec, ""},
			},
			0, "service/new: requests went on arriving for 14.9s, too near the delay of 15s that this was measured with: a longer one has to show their end", 0.95,
		},
		{
			"a client that keeps its connections has no say",
			[]Verdict{reuses(drops(arrived(after(400*ms), after(14200*ms)), 1, 2, 0), 1)},
			15 * sec, 100,
			[]lane{{1, 400 * ms, 400 * ms, 0.95, 1 * sec, ""}, {1, 14200 * ms, 14200 * ms, 0.95, 0, whyReused}},
			1 * sec, "", 0.95,
		},
		{
			"nor has it alone",
			[]Verdict{reuses(arrived(after(400*ms)), 0)},
			15 * sec, 100,
			[]lane{{1, 400 * ms, 400 * ms, 0.95, 0, whyReused}},
			0, "service/new: " + whyReused, 0.95,
		},
		{"no run at all", nil, 15 * sec, 100, nil, 0, "nothing was measured", 1},
		{
			"no rate",
			[]Verdict{arrived(after(400 * ms))},
			15 * sec, 0,
			[]lane{{1, 400 * ms, 400 * ms, 0.95, 0, "the rate is not known"}},
			0, "service/new: the rate is not known", 0.95,
		},
	}
	value := func(d *time.Duration) time.Duration {
		if d == nil {
			return 0
		}
		assert.Positive(t, *d, "none is nil, not zero")
		return *d
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, v := range tt.runs {
				for i := range v.Lanes {
					v.Lanes[i].Rate = tt.rate
				}
			}
			got := NewSafeDelay(tt.runs, tt.with)
			var lanes []lane
			for _, l := range got.Lanes {
				assert.Equal(t, strings.Contains(l.Why, "longer"), l.TooShort)
				assert.Zero(t, l.Censored)
				lanes = append(lanes, lane{l.N, l.P50, l.Max, float64(int(l.Bound*1e4+0.5)) / 1e4, value(l.Delay), l.Why})
			}
			assert.Equal(t, tt.lanes, lanes)
			assert.Equal(t, tt.delay, value(got.Delay))
			assert.Equal(t, tt.why, got.Why)
			assert.InDelta(t, tt.bound, got.RunBound, 1e-4)
			assert.Equal(t, len(tt.runs), got.Runs+got.Inconclusive)
			assert.Equal(t, tt.with, got.With)
		})
	}
}

// reuses is the verdict with a lane of reused connections.
func reuses(v Verdict, lane int) Verdict {
	v.Lanes[lane].Connections = timeline.Reused
	return v
}

// holds is the verdict with a lane of held connections.
func holds(v Verdict, lane int) Verdict {
	v.Lanes[lane].Class = timeline.ClassHeld
	return v
}

// TestSafeDelayOfTimelines goes the whole way, from requests to the recommendation: it is the last
// one to arrive at a Pod that counts.
func TestSafeDelayOfTimelines(t *testing.T) {
	tl := rollout()
	tl.Spec = timelinetest.Spec("in-app-delay-close", "rolling-update")
	l := &tl.Lanes[0]
	for seq := 40; seq <= 52; seq++ { // app-0, deleted at 4 s, until 1.2 s later
		l.Requests[seq].Pod, l.Requests[seq].Lag = 1, ms
	}
	for seq := 60; seq <= 66; seq++ { // app-1, deleted at 6 s, until 0.6 s later
		l.Requests[seq].Pod, l.Requests[seq].Lag = 2, ms
	}
	v := Judge(tl)
	require.Equal(t, Pass, v.Outcome, v.Reasons)
	got := NewSafeDelay([]Verdict{v}, 15*sec)
	require.NotEmpty(t, got.Lanes)
	lane := got.Lanes[0]
	assert.Equal(t, []any{2, 601 * ms, 1201 * ms, 100 * ms}, []any{lane.N, lane.P50, lane.Max, lane.Resolution})
	require.NotNil(t, got.Delay)
	assert.Equal(t, 2500*ms, *got.Delay, "1.201 + 0.1 + 10/10")
}

// TestCensoredArrivals: a request that came until the Pod's own end says that the delay was too
// short, and nothing of how long it would have to be.
func TestCensoredArrivals(t *testing.T) {
	censor := func(v Verdict, lane int, at ...time.Duration) Verdict {
		for _, after := range at {
			v.Lanes[lane].Arrivals = append(v.Lanes[lane].Arrivals, Arrival{Pod: "app", After: after, Censored: true})
		}
		return v
	}
	const tooShort = "requests went on arriving for ≥ 14.9s, and Pods served on for 15s: a longer delay has to show their end"
	tests := []struct {
		name     string
		run      Verdict
		n        int // and of service/new:
		max      time.Duration
		censored int
		atLeast  time.Duration
		short    bool
		why      string
	}{
		{"one of three", censor(arrived(after(400*ms, 600*ms), after(sec)), 0, 14900*ms), 2, 600 * ms, 1, 14900 * ms, true, tooShort},
		{"all of them", censor(arrived(nil, after(sec)), 0, 14*sec, 14900*ms), 0, 0, 2, 14900 * ms, true, tooShort},
		{"kept-alive, of which no delay is long enough", reuses(censor(arrived(after(400*ms), after(sec)), 0, 14900*ms), 0), 1, 400 * ms, 1, 14900 * ms, false, whyReused},
		{"held", holds(censor(arrived(nil, after(sec)), 0, 14900*ms), 0), 0, 0, 1, 14900 * ms, false, whyReused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := NewSafeDelay([]Verdict{tt.run}, 15*sec)
			l := got.Lanes[0]
			assert.Equal(t, []any{tt.n, tt.max, tt.censored, tt.atLeast}, []any{l.N, l.Max, l.Censored, l.AtLeast})
			assert.LessOrEqual(t, l.P50, tt.max)
			assert.Equal(t, tt.short, l.TooShort)
			assert.Equal(t, tt.why, l.Why)
			assert.Nil(t, l.Delay)
			assert.Equal(t, tt.short, got.Delay == nil, "the other lane's 1s has the say, unless a longer delay has to show an end")
		})
	}
}

// TestNothingIsNoObservation: a Pod that ended before anything could come says nothing of how long requests arrive; one that requests were missed
// at does.
func TestNothingIsNoObservation(t *testing.T) {
	for _, missed := range []bool{false, true} {
		v := arrived(after(400 * ms))
		v.Lanes[0].Arrivals = append(v.Lanes[0].Arrivals, Arrival{Pod: "app", Censored: true, Missed: missed})
		l := NewSafeDelay([]Verdict{v}, 15*sec).Lanes[0]
		assert.Equal(t, 1, l.N)
		assert.Equal(t, missed, l.TooShort)
		assert.Equal(t, missed, l.Delay == nil)
	}
}

// TestConsumerThatNeverLeaves: however long the delay, requests arrive until the Pod's own end.
func TestConsumerThatNeverLeaves(t *testing.T) {
	for _, delay := range []time.Duration{15 * sec, 30 * sec, 15 * time.Minute} {
		tl := leaving()
		tl.Spec.Lanes, tl.Lanes = tl.Spec.Lanes[:1], tl.Lanes[:1]
		forget(&tl, timeline.AppSIGTERM, timeline.AppListenerClosed, timeline.AppExit, timeline.ProcessExit, timeline.EndpointGone, timeline.PodGone)
		note(&tl, 4*sec+delay, timeline.AppListenerClosed)
		for at := 4 * sec; at < 4*sec+delay; at += 100 * ms {
			give(&tl, 0, at, at+ms, timeline.OK).Pod = uint16(1 + len(tl.Lanes[0].Requests)%2)
		}
		v := Judge(tl)
		v.Outcome = Pass // the run is a sketch, and its validity not the matter here
		got := NewSafeDelay([]Verdict{v}, delay)
		require.Len(t, got.Lanes, 1)
		l := got.Lanes[0]
		assert.True(t, l.TooShort, delay)
		assert.Equal(t, []int{0, 1}, []int{l.N, l.Censored}, delay)
		assert.Greater(t, l.AtLeast, delay-sec)
		assert.Nil(t, l.Delay)
		assert.Nil(t, got.Delay)
		assert.Contains(t, got.Why, "service/new: requests went on arriving for ≥ ")
	}
}

// TestSafeDelayRepeats: three times the whole measurement, three rollouts of three Pods each,
// recommend delays within a second of each other, and the next three rollouts stay within what is
// recommended. Removals take as long as they do where kube-proxy has a least period of a second:
// anything up to it, and what the proxy itself takes.
func TestSafeDelayRepeats(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 6))
	measure := func() SafeDelay {
		var runs []Verdict
		for range 3 {
			var list []time.Duration
			for range 3 {
				list = append(list, 50*ms+time.Duration(random.Float64()*float64(sec))+time.Duration(random.ExpFloat64()*float64(50*ms)))
			}
			runs = append(runs, arrived(list))
		}
		return NewSafeDelay(runs, 15*sec)
	}
	const trials = 1000
	apart, beyond := 0, 0
	for range trials {
		var recommended []time.Duration
		for range 3 {
			d := measure().Delay
			require.NotNil(t, d)
			recommended = append(recommended, *d)
			if measure().Lanes[0].Max > *d {
				beyond++
			}
		}
		if slices.Max(recommended)-slices.Min(recommended) > sec {
			apart++
		}
	}
	assert.LessOrEqual(t, apart, trials/100, "triples more than a second apart")
	assert.LessOrEqual(t, beyond, 3*trials/100, "proofs that dropped something")
}

func TestWholeSecondsAndThird(t *testing.T) {
	tests := []struct {
		name  string
		delay time.Duration
		whole time.Duration
		third time.Duration
		shown bool
	}{
		{"half a second", 500 * ms, sec, 100 * ms, false},
		{"less than a second", 800 * ms, sec, 200 * ms, false},
		{"just enough", 900 * ms, sec, 300 * ms, true},
		{"one", sec, sec, 300 * ms, true},
		{"one and a half", 1500 * ms, 2 * sec, 500 * ms, true},
		{"two", 2 * sec, 2 * sec, 600 * ms, true},
		{"long", 11500 * ms, 12 * sec, 3800 * ms, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.whole, WholeSeconds(tt.delay))
			third, ok := Third(tt.delay)
			assert.Equal(t, tt.third, third)
			assert.Equal(t, tt.shown, ok)
		})
	}
}

func TestProve(t *testing.T) {
	run := func(o Outcome, dropped, masked int) Verdict {
		reused := timeline.LaneSpec{Connections: timeline.Reused}
		return Verdict{Outcome: o, Lanes: []Lane{
			{Sent: 100}, {Sent: 50, Dropped: dropped}, {LaneSpec: reused, Sent: 30, Dropped: 2 * masked, Masked: masked},
		}}
	}
	tests := []struct {
		name string
		runs []Verdict
		n    int
		want Proof
	}{
		{"three clean", []Verdict{run(Pass, 0, 0), run(Pass, 0, 0), run(Pass, 0, 0)}, 3, Proof{Pass, 3, 0, 450, 0, 90, 0, 0, 0.6316}},
		{"one too few", []Verdict{run(Pass, 0, 0), run(Pass, 0, 0)}, 3, Proof{Inconclusive, 2, 0, 300, 0, 60, 0, 0, 0.7764}},
		{"one drops", []Verdict{run(Pass, 0, 0), run(Fail, 3, 0), run(Pass, 0, 0)}, 3, Proof{Fail, 3, 1, 450, 3, 90, 0, 0, 0.8647}},
		{"dropped on reused connections only", []Verdict{run(Pass, 0, 0), run(Pass, 0, 0), run(Pass, 0, 2)}, 3, Proof{Pass, 3, 0, 450, 0, 90, 4, 2, 0.6316}},
		{"a third: drops, and is allowed to", []Verdict{run(Pass, 9, 0)}, 1, Proof{Pass, 1, 1, 150, 9, 30, 0, 0, 1}},
		{"one not conclusive: its numbers don't count", []Verdict{run(Inconclusive, 5, 0), run(Pass, 0, 0)}, 1, Proof{Inconclusive, 1, 0, 150, 0, 30, 0, 0, 0.95}},
		{"one drops, and one is not conclusive", []Verdict{run(Fail, 5, 0), run(Inconclusive, 0, 0)}, 2, Proof{Inconclusive, 1, 1, 150, 5, 30, 0, 0, 1}},
		{"broken down", []Verdict{run(Infrastructure, 0, 0), run(Inconclusive, 0, 0)}, 2, Proof{Outcome: Infrastructure, Bound: 1}},
		{"no run", nil, 0, Proof{Outcome: Inconclusive, Bound: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Prove(tt.runs, tt.n)
			assert.InDelta(t, tt.want.Bound, got.Bound, 1e-4)
			got.Bound = tt.want.Bound
			assert.Equal(t, tt.want, got)
		})
	}
}
