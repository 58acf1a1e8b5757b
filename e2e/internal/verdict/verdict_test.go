package verdict

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline/timelinetest"
)

const (
	ms  = time.Millisecond
	sec = time.Second
)

func rollout() timeline.Timeline { return timelinetest.Rollout("prestop-sleep") }

// sent says who sent the lanes of rollout: a worker the first two, this machine the third. The
// server's ledger agrees with the client's.
func sent(tl *timeline.Timeline) {
	pressure := 0.4
	tl.Senders = []timeline.Sender{
		{
			Name: "worker-0", Node: "n", Lanes: []string{"nodeport/new", "nodeport/reused"}, Pressure: &pressure,
			Comparison: timeline.Comparison{Offset: ms, Uncertainty: 400 * time.Microsecond},
		},
		{Name: "host", Lanes: []string{"nodeport/slow"}, Pressure: &pressure},
	}
	tl.Spec.Lanes[0].From, tl.Spec.Lanes[1].From = timeline.FromCluster, timeline.FromCluster
	for _, pod := range tl.Lanes[0].Pods[1:] { // app-0 was killed and told nothing
		answered := map[string]int{}
		for _, l := range tl.Lanes {
			for _, r := range l.Requests {
				if l.PodOf(r) == pod {
					answered[l.Name]++
				}
			}
		}
		tl.Served = append(tl.Served, timeline.Served{Pod: pod, Answered: answered})
	}
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
	v := Judge(rollout())
	require.Equal(t, Pass, v.Outcome, v.Reasons)
	assert.Empty(t, v.Reasons)
	assert.Equal(t, "prestop-sleep/rolling-update", v.Name())
	assert.Equal(t, 1, v.Repeat)
	assert.False(t, v.Spec.Control)
	assert.Equal(t, 3, v.PodsReplaced)
	assert.Equal(t, 9*sec, v.Rollout)
	assert.Equal(t, 50*ms, v.Overhead)
	assert.Equal(t, "v1.37.2", v.Environment.Kubernetes)
	require.Len(t, v.Lanes, 3)
	l := v.Lanes[0]
	assert.Equal(t, Pass, l.Outcome)
	assert.Equal(t, []int{200, 200, 0, 200, 0, 0}, []int{l.Planned, l.Sent, l.Unsent, l.OK, l.Dropped, l.Masked})
	assert.Empty(t, l.Causes)
	assert.Equal(t, 300*ms, l.MinDetectableOutage)
	assert.Equal(t, 400*time.Microsecond, l.LagP50)
	assert.Equal(t, 900*time.Microsecond, l.LagP99)
	assert.Equal(t, 900*time.Microsecond, l.LagMax)
	assert.Equal(t, 3*ms, l.LatencyP50)
	assert.Equal(t, 5*ms, l.LatencyP99)
	assert.Nil(t, l.LastArrival, "no Pod answered after its deletion")
}

// TestLate: an answer is late by what it took beyond the work that was asked for; one that was
// dropped never came.
func TestLate(t *testing.T) {
	tl := rollout()
	for i := range tl.Spec.Lanes {
		tl.Spec.Lanes[i].Work = time.Duration(i) * sec
	}
	for i := range tl.Lanes {
		on := sec + tl.Spec.Lanes[i].Work
		tl.Lanes[i].Requests[70].Latency, tl.Lanes[i].Requests[80].Latency = on, on+1
		tl.Lanes[i].Requests[90].Latency, tl.Lanes[i].Requests[90].Cause = 5*sec, timeline.Timeout
	}
	for _, l := range Judge(tl).Lanes {
		assert.Equal(t, 1, l.Late, l.Name)
		assert.Equal(t, 1, l.Dropped, l.Name)
	}
}

// TestLastLate: the longest time from the last deletion, of which there are at 4, 6 and 8 s, to a request that was answered late.
func TestLastLate(t *testing.T) {
	tests := []struct {
		name string
		late []int // numbers of requests, ten a second
		want *time.Duration
	}{
		{"none", nil, nil},
		{"before any deletion", []int{30}, nil},
		{"by the last deletion before it", []int{70}, new(sec)},
		{"the longest, not the last", []int{50, 80}, new(sec)},
		{"long after the last", []int{30, 80, 110}, new(3 * sec)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := rollout()
			for _, seq := range tt.late {
				tl.Lanes[0].Requests[seq].Latency = sec + ms
			}
			v := Judge(tl)
			assert.Equal(t, tt.want, v.Lanes[0].LastLate)
			assert.Nil(t, v.Lanes[1].LastLate, "lanes are apart")
		})
	}
}

func TestPromises(t *testing.T) {
	tests := []struct {
		name     string
		strategy string
		change   func(*timeline.Timeline)
		reason   string
		want     Outcome
	}{
		{"clean lane drops one", "prestop-sleep", func(tl *timeline.Timeline) {
			drop(tl, 0, 1, 5*sec, timeline.Refused)
		}, "nodeport/new: new: dropped 1 of 200 where none may be dropped (strategy prestop-sleep)", Fail},
		{"measured lane drops many", "prestop-sleep", func(tl *timeline.Timeline) { drop(tl, 1, 9, 5*sec, timeline.EOF) }, "", Pass},
		{"clean lane hides one", "prestop-sleep", func(tl *timeline.Timeline) {
			tl.Lanes[2].Requests[90].Attempts = 2
		}, "nodeport/slow: new: 1 of 200 were dropped once and sent again", Fail},
		{"measured lane hides one", "prestop-sleep", func(tl *timeline.Timeline) { tl.Lanes[1].Requests[90].Attempts = 2 }, "", Pass},
		{"control drops nothing", "no-handler", func(*timeline.Timeline) {}, "no lane dropped anything where something must be dropped", Inconclusive},
		{"control drops as it must", "no-handler", func(tl *timeline.Timeline) {
			drop(tl, 0, 1, 5*sec, timeline.Timeout)
			drop(tl, 2, 1, 5*sec, timeline.Reset)
			begun(tl, 2, 50)
		}, "", Pass},
		{"control drops, and nothing in flight", "no-handler", func(tl *timeline.Timeline) {
			drop(tl, 2, 1, 5*sec, timeline.Reset)
		}, "nodeport/slow: in-flight: dropped none of 200 where some must be dropped (strategy no-handler): the instrument can't see drops", Inconclusive},
		{"control drops nothing, and no lane must", "no-handler", func(tl *timeline.Timeline) {
			tl.Lanes, tl.Spec.Lanes = tl.Lanes[:2], tl.Spec.Lanes[:2]
		}, "no lane dropped anything", Inconclusive},
		{"control hides what it drops, and no lane must", "no-handler", func(tl *timeline.Timeline) {
			tl.Lanes, tl.Spec.Lanes = tl.Lanes[:2], tl.Spec.Lanes[:2]
			tl.Lanes[1].Requests[90].Attempts = 2
		}, "", Pass},
		{"control drops on one lane only", "no-handler", func(tl *timeline.Timeline) {
			drop(tl, 0, 1, 5*sec, timeline.Timeout)
		}, "nodeport/slow: in-flight: dropped none of 200", Inconclusive},
		{"a strategy that nobody knows", "of somebody else", func(tl *timeline.Timeline) {
			for i := range tl.Spec.Lanes {
				for class := range tl.Spec.Lanes[i].Held {
					tl.Spec.Lanes[i].Held[class] = timeline.Promise{Expect: timeline.Clean, Source: "its owner"}
				}
			}
			drop(tl, 1, 2, 5*sec, timeline.EOF)
		}, "nodeport/reused: kept-alive: dropped 2 of 200 where none may be dropped (its owner)", Fail},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := rollout()
			tl.Spec = timelinetest.Spec(tt.strategy, "rolling-update")
			tt.change(&tl)
			v := Judge(tl)
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

// begun says that app-1 had begun a request of a lane, and not answered it.
func begun(tl *timeline.Timeline, lane, seq int) {
	if len(tl.Served) == 0 {
		sent(tl)
	}
	tl.Served[0].Unanswered = append(tl.Served[0].Unanswered, timeline.Unanswered{Lane: tl.Lanes[lane].Name, Seq: seq})
}

// TestClasses: a dropped request has a class of its own, and is held to what was promised for that.
func TestClasses(t *testing.T) {
	type result struct {
		class           timeline.Class
		dropped, masked int
		outcome         Outcome
	}
	expect := func(lane int, class timeline.Class, e timeline.Expect) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) { tl.Spec.Lanes[lane].Held[class] = timeline.Promise{Expect: e} }
	}
	tests := []struct {
		name    string
		lane    int
		changes changes
		outcome Outcome
		want    []result
	}{
		{"nothing", 0, nil, Pass, []result{{"new", 0, 0, Pass}, {"in-flight", 0, 0, Pass}}},
		{"the connection's, without evidence", 2, changes{func(tl *timeline.Timeline) {
			drop(tl, 2, 3, 5*sec, timeline.EOF)
		}}, Fail, []result{{"new", 3, 0, Fail}, {"in-flight", 0, 0, Pass}}},
		{"begun by the app", 2, changes{func(tl *timeline.Timeline) {
			drop(tl, 2, 3, 5*sec, timeline.EOF)
			begun(tl, 2, 50)
			begun(tl, 2, 51)
			begun(tl, 1, 52) // of another lane
		}}, Fail, []result{{"new", 1, 0, Fail}, {"in-flight", 2, 0, Fail}}},
		{
			"each by its own promise", 2,
			changes{func(tl *timeline.Timeline) {
				drop(tl, 2, 2, 5*sec, timeline.EOF)
				begun(tl, 2, 50)
			}, expect(2, timeline.ClassNew, timeline.Measured), expect(2, timeline.ClassInFlight, timeline.Clean)},
			Fail,
			[]result{{"new", 1, 0, Pass}, {"in-flight", 1, 0, Fail}},
		},
		{"both kept", 2, changes{func(tl *timeline.Timeline) {
			drop(tl, 2, 1, 5*sec, timeline.EOF)
			begun(tl, 2, 50)
		}, expect(2, timeline.ClassInFlight, timeline.Drops)}, Pass, []result{{"new", 0, 0, Pass}, {"in-flight", 1, 0, Pass}}},
		{
			"drops of the other class", 2,
			changes{func(tl *timeline.Timeline) {
				drop(tl, 2, 1, 5*sec, timeline.EOF)
			}, expect(2, timeline.ClassNew, timeline.Measured), expect(2, timeline.ClassInFlight, timeline.Drops)},
			Inconclusive,
			[]result{{"new", 1, 0, Pass}, {"in-flight", 0, 0, Inconclusive}},
		},
		{"masked is of the connection", 1, changes{func(tl *timeline.Timeline) {
			tl.Lanes[1].Requests[90].Attempts = 2
		}, expect(1, timeline.ClassInFlight, timeline.Clean)}, Pass, []result{{"kept-alive", 0, 1, Pass}, {"in-flight", 0, 0, Pass}}},
		{"a class of which nothing was declared, and which doesn't occur", 0, changes{func(tl *timeline.Timeline) {
			delete(tl.Spec.Lanes[0].Held, timeline.ClassInFlight)
		}}, Pass, []result{{"new", 0, 0, Pass}}},
		{"and which does", 0, changes{func(tl *timeline.Timeline) {
			delete(tl.Spec.Lanes[0].Held, timeline.ClassInFlight)
			drop(tl, 0, 1, 5*sec, timeline.EOF)
			begun(tl, 0, 50)
		}}, Inconclusive, []result{{"new", 0, 0, Pass}, {"in-flight", 1, 0, Inconclusive}}},
		{
			"held", 1,
			changes{func(tl *timeline.Timeline) {
				tl.Spec.Lanes[1].Class = timeline.ClassHeld
				drop(tl, 1, 1, 5*sec, timeline.EOF)
			}, expect(1, timeline.ClassHeld, timeline.Clean)},
			Fail,
			[]result{{"kept-alive", 0, 0, Pass}, {"in-flight", 0, 0, Pass}, {"held", 1, 0, Fail}},
		},
		{
			"an expectation that is none", 0,
			changes{expect(0, timeline.ClassNew, "cleen")},
			Inconclusive,
			[]result{{"new", 0, 0, Inconclusive}, {"in-flight", 0, 0, Pass}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := rollout()
			for _, change := range tt.changes {
				change(&tl)
			}
			v := Judge(tl)
			l := v.Lanes[tt.lane]
			var got []result
			sum := 0
			for _, c := range l.Classes {
				got = append(got, result{c.Class, c.Dropped, c.Masked, c.Outcome})
				sum += c.Dropped
				assert.Equal(t, c.Outcome == Pass, c.Reason == "")
			}
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.outcome, l.Outcome)
			assert.Equal(t, tt.outcome, v.Outcome, v.Reasons)
			assert.Equal(t, l.Dropped, sum)
		})
	}
}

// TestCutAtExitIsInFlight: the phase alone makes a dropped request one that was in flight.
func TestCutAtExitIsInFlight(t *testing.T) {
	tl := leaving()
	give(&tl, 0, 5500*ms, 7001*ms, timeline.EOF)
	chosen(&tl, 5501*ms, "10.9.0.1", 40000, "10.0.0.1")
	give(&tl, 0, 6500*ms, 6501*ms, timeline.Refused)
	chosen(&tl, 6501*ms, "10.9.0.1", 40001, "10.0.0.1")
	var got []timeline.Class
	for _, d := range attribute(tl, podLifecycles(tl))[0] {
		got = append(got, d.Class)
	}
	assert.Equal(t, []timeline.Class{timeline.ClassInFlight, timeline.ClassNew}, got)
}

// TestScope: which Pods have to be gone afterwards.
func TestScope(t *testing.T) {
	chosenNode := func(node string) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) {
			happens(tl, 3*sec, timeline.NodeDisrupted, timeline.Event{Node: node})
		}
	}
	nodes := func(tl *timeline.Timeline) { // app-0 and app-1 are on n1, app-2 on n2
		for i := range tl.Events {
			tl.Events[i].Node = map[string]string{"app-0": "n1", "app-1": "n1", "app-2": "n2"}[tl.Events[i].Pod]
		}
	}
	stays := func(pods ...string) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) {
			tl.Events = slices.DeleteFunc(tl.Events, func(e timeline.Event) bool {
				return slices.Contains(pods, e.Pod) && (e.Kind == timeline.PodDeleted || e.Kind == timeline.PodGone)
			})
		}
	}
	oneGoes := func(tl *timeline.Timeline) { tl.Spec.Gone = 1 }
	tests := []struct {
		name    string
		scope   timeline.Scope
		changes changes
		want    string
	}{
		{"all", timeline.ScopeAll, nil, ""},
		{"all but one", timeline.ScopeAll, changes{stays("app-2")}, "2 of 3 Pods were replaced"},
		{"a node", timeline.ScopeNode, changes{nodes, chosenNode("n1"), stays("app-2")}, ""},
		{"a node, of which one stayed", timeline.ScopeNode, changes{nodes, chosenNode("n1"), stays("app-1")}, `1 of 2 Pods of node "n1" are gone`},
		{"a node without a Pod", timeline.ScopeNode, changes{nodes, chosenNode("n3")}, `0 of 0 Pods of node "n3" are gone`},
		{"a node that nobody has named", timeline.ScopeNode, changes{nodes}, `Pods of node "" are gone`},
		{"some", timeline.ScopeSome, changes{stays("app-1", "app-2")}, ""},
		{"some, and none went", timeline.ScopeSome, changes{stays("app-0", "app-1", "app-2")}, "none of 4 Pods is gone"},
		{"one, and two went", timeline.ScopeSome, changes{stays("app-2"), oneGoes}, "2 of 4 Pods are gone, and 1 had to go"},
		{"none", timeline.ScopeNone, changes{stays("app-0", "app-1", "app-2")}, ""},
		{"none, and one went", timeline.ScopeNone, changes{stays("app-0", "app-1")}, "1 Pods went away though nothing was done to them"},
		{"unknown", "most", nil, `unknown scope "most": nobody can say which Pods had to go`},
		{"undeclared", "", nil, `unknown scope ""`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := rollout()
			tl.Spec.Scope = tt.scope
			for _, change := range tt.changes {
				change(&tl)
			}
			v := Judge(tl)
			if tt.want == "" {
				assert.Empty(t, v.Reasons)
				assert.Equal(t, Pass, v.Outcome)
				return
			}
			assert.Equal(t, Inconclusive, v.Outcome)
			require.Len(t, v.Reasons, 1)
			assert.Contains(t, v.Reasons[0], tt.want)
		})
	}
}

func TestLedger(t *testing.T) {
	tl := rollout()
	drop(&tl, 0, 3, 5*sec, timeline.Refused)
	drop(&tl, 0, 2, 7*sec, timeline.Timeout)
	drop(&tl, 0, 4, 9*sec, timeline.Unsent)
	l := Judge(tl).Lanes[0]
	assert.Equal(t, l.Planned, l.Sent+l.Unsent)
	assert.Equal(t, l.Sent, l.OK+l.Dropped)
	assert.Equal(t, []int{200, 196, 4, 191, 5}, []int{l.Planned, l.Sent, l.Unsent, l.OK, l.Dropped})
	assert.Equal(t, map[timeline.Cause]int{timeline.Refused: 3, timeline.Timeout: 2}, l.Causes)
	assert.Equal(t, 2*sec, l.FirstDropped.Round(ms))
	assert.Equal(t, 4100*ms+100*time.Microsecond, l.DroppedEnd)
}

// TestValidity breaks one condition at a time. Each makes the run inconclusive, whatever it
// dropped, and says why.
func TestValidity(t *testing.T) {
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
		{"interrupted", func(tl *timeline.Timeline) { tl.Interrupted = "stopped by a signal" }, "stopped by a signal"},
		{"no lanes", func(tl *timeline.Timeline) { tl.Lanes = nil }, "no lane was measured"},
		{"disruption never began", func(tl *timeline.Timeline) { tl.Window.DisruptStart = 0 }, "did not go through all of its phases"},
		{"disruption never ended", func(tl *timeline.Timeline) { tl.Window.DisruptEnd = 0 }, "did not go through all of its phases"},
		{"never settled", func(tl *timeline.Timeline) { tl.Window.Settled = 0 }, "did not go through all of its phases"},
		{"no tail", func(tl *timeline.Timeline) { tl.Window.LoadEnd = tl.Window.Settled }, "did not go through all of its phases"},
		{"a lane that nobody measured", func(tl *timeline.Timeline) {
			tl.Spec.Lanes = append(tl.Spec.Lanes, timeline.LaneSpec{Name: "service/new"})
		}, "service/new: was not measured"},
		{"a lane of which nothing was declared", func(tl *timeline.Timeline) { tl.Spec.Lanes[1].Held = nil }, "nodeport/reused: nothing was declared of it"},
		{"a lane is missing", func(tl *timeline.Timeline) { tl.Lanes = tl.Lanes[:2] }, "nodeport/slow: was not measured"},
		{"a lane too many", func(tl *timeline.Timeline) {
			tl.Lanes = append(tl.Lanes, tl.Lanes[0])
			tl.Lanes[3].Name = "ingress/new"
		}, "ingress/new: on record, and not declared"},
		{"a lane twice", func(tl *timeline.Timeline) { tl.Lanes = append(tl.Lanes, tl.Lanes[0]) }, "nodeport/new: twice on record"},
		{"another rate", each(func(l *timeline.LaneRecord) { l.Rate = 11 }), "nodeport/reused: recorded at 11 requests/s instead of 10"},
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
		{"a sender that stopped before the end of the disruption", each(func(l *timeline.LaneRecord) {
			for i := 100; i < 125; i++ {
				l.Requests[i].Lag = l.Requests[125].Planned - l.Requests[i].Planned // 10 to 12.5 s: settled at 12 s
			}
		}), "nodeport/reused: no request left for 2.599s"},
		{"no CPU left", func(tl *timeline.Timeline) {
			most := 0.96
			tl.Senders[0].Pressure = &most
		}, "too few CPUs: tasks waited for one in 96 % of the time where worker-0 sent from, at most 95 %"},
		{
			"answers that no Pod has given", func(tl *timeline.Timeline) { tl.Served[1].Answered["nodeport/new"] -= 2 },
			"nodeport/new: 13 answers arrived from Pod app-2, which says it has given 11",
		},
		{
			"answers that nobody has lost", func(tl *timeline.Timeline) { tl.Served[3].Answered["nodeport/reused"]++ },
			"nodeport/reused: the Pods say they have answered 187 requests, of which 186 arrived: the client knows of only 0 that could be the rest",
		},
		{"more answers than were lost", func(tl *timeline.Timeline) {
			drop(tl, 1, 2, 5*sec, timeline.EOF) // of two Pods, which say that they have answered
			tl.Served[3].Answered["nodeport/reused"]++
		}, "nodeport/reused: the Pods say they have answered 187 requests, of which 184 arrived: the client knows of only 2 that could be the rest"},
		{
			"a clock that nobody knows", func(tl *timeline.Timeline) { tl.Senders[0].Uncertainty = 301 * ms },
			"nodeport/new: the clock of worker-0 is known to 301ms only: at most 300ms at 10 requests/s",
		},
		{
			"a clock that moved", func(tl *timeline.Timeline) { tl.Senders[0].Drift = -1801 * time.Microsecond },
			"the clock of worker-0 moved by -1.801ms during the run, and is known to 400µs",
		},
		{"a worker that nobody knows", func(tl *timeline.Timeline) { tl.Senders = tl.Senders[1:] }, "nodeport/new: nobody is on record to have sent it, by no known clock"},
		{"loss in the lead", each(func(l *timeline.LaneRecord) { l.Requests[10].Cause = timeline.Reset }), "1 requests were dropped before the disruption"},
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
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := rollout()
			sent(&tl)
			tt.spoil(&tl)
			v := Judge(tl)
			require.Equal(t, Inconclusive, v.Outcome)
			assert.Contains(t, fmt.Sprint(v.Reasons), tt.want)
		})
	}
}

// TestValidityHolds: what is within the bounds is valid.
func TestValidityHolds(t *testing.T) {
	tests := []struct {
		name   string
		change func(*timeline.Timeline)
	}{
		{"as it was sent", func(*timeline.Timeline) {}},
		{"nobody on record, of lanes from outside", func(tl *timeline.Timeline) {
			tl.Senders, tl.Served = nil, nil
			for i := range tl.Spec.Lanes {
				tl.Spec.Lanes[i].From = timeline.FromOutside
			}
		}},
		{"late by the shortest visible gap", func(tl *timeline.Timeline) { tl.Lanes[1].Requests[61].Lag = 299 * ms }},
		{"a kernel that doesn't tell of its pressure", func(tl *timeline.Timeline) { tl.Senders[0].Pressure = nil }},
		{"just enough CPU", func(tl *timeline.Timeline) {
			most := 0.9
			tl.Senders[0].Pressure = &most
		}},
		{"answers that never arrived", func(tl *timeline.Timeline) { drop(tl, 1, 9, 5*sec, timeline.EOF) }},
		{"half an answer", func(tl *timeline.Timeline) {
			tl.Lanes[1].Requests[80].Cause = timeline.Truncated // and yet handed to the kernel as a whole
		}},
		{"half an answer of a Pod that was cut off", func(tl *timeline.Timeline) {
			tl.Lanes[1].Requests[80].Cause = timeline.Truncated
			for i := range tl.Served {
				if tl.Served[i].Pod == tl.Lanes[1].PodOf(tl.Lanes[1].Requests[80]) {
					tl.Served[i].Answered["nodeport/reused"]--
				}
			}
		}},
		{"an answer that was lost, and the request sent again", func(tl *timeline.Timeline) {
			tl.Lanes[1].Requests[80].Attempts = 2
			tl.Served[3].Answered["nodeport/reused"]++
		}},
		{"a new Pod that was never ready, and one that nobody saw begin, answered nothing", func(tl *timeline.Timeline) {
			happens(tl, 5*sec, timeline.PodCreated, timeline.Event{Pod: "app-6"})
			happens(tl, 11*sec, timeline.PodReady, timeline.Event{Pod: "app-7"})
		}},
		{"a clock as good as it must be", func(tl *timeline.Timeline) { tl.Senders[0].Uncertainty, tl.Senders[0].Drift = 300*ms, 601*ms }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := rollout()
			sent(&tl)
			tt.change(&tl)
			assert.Empty(t, Judge(tl).Reasons)
		})
	}
}

// TestStall: one stall among many requests that left on time, which no percentile of the lag shows.
// Lanes are at 100 requests/s.
func TestStall(t *testing.T) {
	tests := []struct {
		name   string
		at     int // number of the request that left late, 10 ms each
		length time.Duration
		alone  bool // those that were due meanwhile left on time
		want   string
	}{
		{"within the disruption", 600, 260 * ms, false, "nodeport/reused: no request left for 269ms, from 2.991s after the start of the disruption on: at most 210ms at 100 requests/s"},
		{"across its start", 297, 260 * ms, false, "nodeport/reused: no request left for 270ms, from -40ms after"},
		{"across the instant when it had settled", 1197, 260 * ms, false, "nodeport/reused: no request left for 269ms, from 8.961s"},
		{"as long as may be", 600, 199 * ms, false, ""},
		{"overtaken by others", 600, 260 * ms, true, ""},
		{"before the disruption", 200, 60 * ms, false, ""},
		{"after it had settled", 1300, 60 * ms, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := dense(6000)
			requests := tl.Lanes[1].Requests
			for i := tt.at; requests[i].Planned < requests[tt.at].Planned+tt.length; i++ {
				requests[i].Lag = requests[tt.at].Planned + tt.length + ms - requests[i].Planned
				if tt.alone {
					break
				}
			}
			v := Judge(tl)
			if tt.want == "" {
				assert.Empty(t, v.Reasons)
				return
			}
			require.Len(t, v.Reasons, 1, "nothing else is wrong: %s", v.Reasons)
			assert.Contains(t, v.Reasons[0], tt.want)
		})
	}
}

// dense is rollout with n requests in all lanes together, within the same 20 s.
func dense(n int) timeline.Timeline {
	tl := rollout()
	rate := n / len(tl.Lanes) / 20
	for i := range tl.Lanes {
		l := &tl.Lanes[i]
		base := l.Requests
		l.Rate, tl.Spec.Lanes[i].Rate = rate, rate
		l.Requests, l.Planned = nil, n/len(tl.Lanes)
		for seq := range l.Planned {
			r := base[seq*len(base)/l.Planned]
			r.Planned = 20 * sec * time.Duration(seq) / time.Duration(l.Planned)
			r.Lag = time.Duration(seq*7919%997) * time.Microsecond
			l.Requests = append(l.Requests, r)
		}
	}
	sent(&tl)
	return tl
}

// TestNodeDown: a Node that stopped being ready is a breakdown, whatever else there is to say.
func TestNodeDown(t *testing.T) {
	tl := rollout()
	tl.Events = append(tl.Events, timeline.Event{At: tl.Window.DisruptStart + 2*sec, Kind: timeline.NodeUnready, Node: "worker2"})
	v := Judge(tl)
	assert.Equal(t, Infrastructure, v.Outcome)
	assert.Equal(t, []string{"node worker2 stopped being ready 2s after the start of the disruption"}, v.Reasons)
}

// TestErrorsSpeakAlone: what follows from what broke down, or from an early end, is not listed
// beside it.
func TestErrorsSpeakAlone(t *testing.T) {
	tests := []struct {
		name        string
		interrupted string
		errors      []string
		outcome     Outcome
		want        []string
	}{
		{"an error", "", []string{"deploy: no such host"}, Infrastructure, []string{"deploy: no such host"}},
		{"an early end", "stopped by a signal", nil, Inconclusive, []string{"stopped by a signal"}},
		{"an early end that isn't even on disk", "stopped by a signal", []string{"save timeline: disk full"}, Infrastructure, []string{"save timeline: disk full"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := timeline.Timeline{Spec: timelinetest.Spec("prestop-sleep", "rolling-update"), Interrupted: tt.interrupted, Errors: tt.errors}
			v := Judge(tl)
			assert.Equal(t, tt.outcome, v.Outcome)
			assert.Equal(t, tt.want, v.Reasons)
		})
	}
	whole := rollout()
	whole.Errors = []string{"save timeline: disk full"}
	assert.Equal(t, Infrastructure, Judge(whole).Outcome, "however good what was measured is")
}

func TestUndisturbedRun(t *testing.T) {
	tl := rollout()
	tl.Spec = timelinetest.Spec("prestop-sleep", "none")
	v := Judge(tl)
	assert.Equal(t, Inconclusive, v.Outcome)
	assert.Contains(t, v.Reasons, "3 Pods went away though nothing was done to them")

	tl.Events = []timeline.Event{{Kind: timeline.PodCreated, Pod: "app-0"}, {Kind: timeline.PodReady, Pod: "app-0"}}
	v = Judge(tl)
	assert.Equal(t, Pass, v.Outcome, v.Reasons)
	assert.True(t, v.Spec.Control)
	drop(&tl, 1, 1, 5*sec, timeline.EOF)
	assert.Equal(t, Fail, Judge(tl).Outcome, "undisturbed, no lane is only measured")
}

func TestNobodyHasJudged(t *testing.T) {
	assert.Equal(t, Inconclusive, Verdict{}.Outcome)
	assert.Equal(t, Inconclusive, Lane{}.Outcome)
	assert.Equal(t, Inconclusive, Judge(timeline.Timeline{}).Outcome)
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
	v := Judge(tl)
	require.NotNil(t, v.Lanes[0].LastArrival)
	assert.Equal(t, Arrival{Pod: "app-1", Owner: 1, After: 807 * ms}, *v.Lanes[0].LastArrival, "the last one, by when it left, of the Pod with the longest time")
	assert.Nil(t, v.Lanes[1].LastArrival, "lanes are apart")
}

func TestCost(t *testing.T) {
	v := Judge(rollout())
	// One Pod more from 3 s to 10 s; at 5 s and 7 s the next new one comes while the one before is
	// still terminating until 6 s and 8 s.
	assert.Equal(t, 5, v.PeakPods)
	assert.InDelta(t, 7+1+1, v.ExtraPodSeconds, 1e-9)

	tl := rollout()
	tl.Window.Settled = 0
	tl.Events = append(tl.Events, timeline.Event{At: 15 * sec, Kind: timeline.PodCreated, Pod: "app-6"}, timeline.Event{At: 30 * sec, Kind: timeline.PodCreated, Pod: "app-7"})
	v = Judge(tl)
	assert.InDelta(t, 9+5, v.ExtraPodSeconds, 1e-9, "a run that never settled costs until its load ended")
	assert.Zero(t, v.Rollout)
}

func TestSuite(t *testing.T) {
	run := func(name string, o Outcome, control bool) Verdict {
		v := Verdict{Spec: timeline.Spec{Strategy: name, Disruption: "rolling-update", Control: control}, Outcome: o}
		if o != Pass {
			v.Reasons = []string{"why"}
		}
		return v
	}
	of := func(group, mode string, v Verdict) Verdict {
		v.Spec.ConsumerGroup, v.Spec.ProxyMode = group, mode
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
		{"infrastructure outweighs inconclusive", []Verdict{run("a", Infrastructure, false), run("b", Inconclusive, false), run("c", Fail, false)}, []Outcome{Infrastructure, Inconclusive, Fail}, Infrastructure},
		{"a control without a measurement", []Verdict{run("no-handler", Infrastructure, true), run("a", Pass, false)}, []Outcome{Infrastructure, Inconclusive}, Infrastructure},
		{
			"a control of another group fails",
			[]Verdict{of("ingress", "", run("no-handler", Infrastructure, true)), of("ingress", "", run("a", Pass, false)), run("a", Pass, false)},
			[]Outcome{Infrastructure, Inconclusive, Pass},
			Infrastructure,
		},
		{
			"a control of another kube-proxy fails",
			[]Verdict{of("", "nftables", run("no-handler", Fail, true)), of("", "nftables", run("a", Pass, false)), run("a", Pass, false)},
			[]Outcome{Fail, Inconclusive, Pass},
			Inconclusive,
		},
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
	require.Len(t, Outcomes(), len(outcomeNames))
	for _, o := range Outcomes() {
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

func TestExitCode(t *testing.T) {
	want := map[Outcome]int{Pass: 0, Fail: 1, Inconclusive: 3, Infrastructure: 4, Outcome(7): 3, Outcome(-1): 3}
	for o, code := range want {
		assert.Equal(t, code, o.ExitCode(), o.String())
	}
}

func TestMinDetectableOutage(t *testing.T) {
	assert.Equal(t, 30*ms, MinDetectableOutage(100))
	assert.Zero(t, MinDetectableOutage(0))
	assert.Equal(t, []time.Duration{30 * ms, 10 * ms}, []time.Duration{arrivalResolution(100), arrivalResolution(1000)})
}

// leaky is dense with one request in a hundred dropped, and with a route for each request: all are
// on connections of their own, from one worker.
func leaky(n int) timeline.Timeline {
	tl := dense(n)
	tl.Senders = []timeline.Sender{{Name: "worker-0", Node: "n1", IP: "10.9.0.1", Comparison: oneClock}}
	tl.Sources = []timeline.Source{
		{Kind: timeline.SourceHarness, Comparison: oneClock}, {Kind: timeline.SourceConntrack, Node: "n1", Comparison: oneClock},
	}
	tl.Served = nil
	for i := range tl.Events {
		tl.Events[i].Node, tl.Events[i].IP = "n1", "10.0.0."+tl.Events[i].Pod[len("app-"):]
	}
	tl.Routes.Names = []string{"n1", "10.9.0.1", "10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"}
	port := uint16(0)
	for i := range tl.Lanes {
		l := &tl.Lanes[i]
		tl.Spec.Lanes[i].From, tl.Spec.Lanes[i].Evidence = timeline.FromCluster, []string{timeline.EvidenceConntrack}
		tl.Senders[0].Lanes = append(tl.Senders[0].Lanes, l.Name)
		for seq := range l.Requests {
			r := &l.Requests[seq]
			port++
			r.Port = port
			tl.Routes.List = append(tl.Routes.List, timeline.Route{At: r.Sent() + ms, Source: 1, Target: 1 + r.Pod, Port: port})
			if seq%100 == 50 {
				r.Cause, r.Pod, r.Code = timeline.Reset, 0, 0
			}
		}
	}
	slices.SortFunc(tl.Routes.List, func(a, b timeline.Route) int { return cmp.Compare(a.At, b.At) })
	return tl
}

// BenchmarkJudgeGrowth shows that judging grows linearly with the requests: a million, one in a
// hundred of them dropped, and a route for each, take less than two seconds.
func BenchmarkJudgeGrowth(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			tl := leaky(n)
			for b.Loop() {
				if v := Judge(tl); len(v.DroppedRequests) < n/101 {
					b.Fatal(len(v.DroppedRequests))
				}
			}
		})
	}
}

func TestWorst(t *testing.T) {
	a, b, c := excess{2 * ms, "a: late"}, excess{5 * ms, "b: late"}, excess{1 * ms, "c: late"}
	tests := []struct {
		name  string
		lanes []excess
		want  []string
	}{
		{"none", nil, nil},
		{"one", []excess{a}, []string{"a: late"}},
		{"two", []excess{a, b}, []string{"b: late; and so in another lane"}},
		{"three", []excess{a, b, c}, []string{"b: late; and so in 2 other lanes"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, worst(tt.lanes)) })
	}
}

// TestWorstByItsOwnBound: of two lanes the one that is farther beyond its own bound is named, though
// the other is later. At 10 requests/s a lag of 300 ms is allowed, at 100 requests/s one of 200 ms.
func TestWorstByItsOwnBound(t *testing.T) {
	tl := timeline.Timeline{Lanes: []timeline.LaneRecord{{Name: "sparse", Rate: 10}, {Name: "dense", Rate: 100}}}
	tests := []struct {
		name          string
		check         func(timeline.Timeline, findings) []string
		sparse, dense punctuality
	}{
		{"late", senderWasOnTime, punctuality{lagP99: 400 * ms}, punctuality{lagP99: 350 * ms}},
		{"late in the disruption", senderWasOnTime, punctuality{disruptLagP99: 400 * ms}, punctuality{disruptLagP99: 350 * ms}},
		{"stalled", senderNeverStalled, punctuality{gap: 500 * ms}, punctuality{gap: 400 * ms}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			why := tt.check(tl, findings{punctuality: []punctuality{tt.sparse, tt.dense}})
			require.Len(t, why, 1)
			assert.Regexp(t, "^dense: .* and so in another lane$", why[0])
		})
	}
}

// TestDeletionSeen: how late a deletion was seen is known of those that were asked for here, and of
// no others.
func TestDeletionSeen(t *testing.T) {
	tl := rollout() // app-0, app-1 and app-2 are deleted at 4, 6 and 8 s
	tl.Events = append(tl.Events,
		timeline.Event{At: 4*sec - 12*ms, Kind: timeline.DeleteAsked, Pod: "app-0"},
		timeline.Event{At: 4*sec - ms, Kind: timeline.DeleteAnswered, Pod: "app-0"},
		timeline.Event{At: 8*sec - 30*ms, Kind: timeline.DeleteAsked, Pod: "app-2"},
		timeline.Event{At: 9 * sec, Kind: timeline.DeleteAsked, Pod: "app-3"}, // never seen
	)
	assert.Equal(t, []time.Duration{12 * ms, 30 * ms}, Judge(tl).DeletionSeen)
	assert.Empty(t, Judge(rollout()).DeletionSeen)
}

// TestDeletionLate: where the audit log has dated a deletion, the watch saw it later than that began,
// and later still than the disruption asked for it. How wide the interval is comes out as well.
func TestDeletionLate(t *testing.T) {
	tl := rollout()
	dated := slices.IndexFunc(tl.Events, func(e timeline.Event) bool { return e.Kind == timeline.PodDeleted && e.Pod == "app-1" })
	tl.Events[dated].SeenAfter, tl.Events[dated].Width = 25*ms, 15*ms
	tl.Events = append(tl.Events,
		timeline.Event{At: 4*sec - 12*ms, Kind: timeline.DeleteAsked, Pod: "app-0"},
		timeline.Event{At: 6*sec - 5*ms, Kind: timeline.DeleteAsked, Pod: "app-1"},
	)
	v := Judge(tl)
	assert.Equal(t, []time.Duration{12 * ms, 30 * ms}, v.DeletionSeen)
	assert.Equal(t, []time.Duration{25 * ms}, v.DeletionLate)
	assert.Equal(t, []time.Duration{15 * ms}, v.DeletionWidth)
}
