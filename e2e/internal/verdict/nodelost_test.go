package verdict

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// losing is rollout, but that a node is lost at 3 s, with app-0 and app-1. The node controller gives it up
// at 4 s; its Pods are deleted at 4 s and at 6 s, and nobody ends them. app-2 stays on another node.
func losing() timeline.Timeline {
	tl := rollout()
	tl.Spec.Disruption, tl.Spec.Scope = "node-lost", timeline.ScopeNode
	for _, l := range tl.Spec.Lanes {
		for class := range l.Held {
			l.Held[class] = timeline.Promise{Expect: timeline.Measured}
		}
	}
	tl.Events = slices.DeleteFunc(tl.Events, func(e timeline.Event) bool {
		return e.Kind == timeline.PodGone || e.Kind == timeline.PodDeleted && e.Pod == "app-2"
	})
	for i := range tl.Events {
		tl.Events[i].Node = "n2"
		if pod := tl.Events[i].Pod; pod == "app-0" || pod == "app-1" {
			tl.Events[i].Node = "n1"
		}
	}
	for _, pod := range []string{"app-0", "app-1"} {
		happens(&tl, 0, timeline.EndpointServing, timeline.Event{Pod: pod})
		happens(&tl, 4*sec, timeline.EndpointUnready, timeline.Event{Pod: pod})
	}
	for _, kind := range []timeline.Kind{timeline.NodeDisrupted, timeline.NodeLost, timeline.NodeUnready} {
		happens(&tl, 3*sec, kind, timeline.Event{Node: "n1"})
	}
	tl.Spec.TakesNode = true
	// Whatever was watched on the node ended with it.
	for _, kind := range []timeline.SourceKind{timeline.SourceRuntime, timeline.SourceConntrack} {
		tl.Sources = append(tl.Sources, timeline.Source{Kind: kind, Node: "n1", Comparison: oneClock, Missing: "from 3s on: it ended"})
	}
	return tl
}

// TestNodeLost: the Pods of a node that was lost are gone when they are deleted and nobody is sent to them.
// On a node that lives they are not.
func TestNodeLost(t *testing.T) {
	lacks := func(kind timeline.Kind, pod string) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) {
			tl.Events = slices.DeleteFunc(tl.Events, func(e timeline.Event) bool { return e.Kind == kind && e.Pod == pod })
		}
	}
	late := func(tl *timeline.Timeline) {
		happens(tl, 16*sec, timeline.EndpointUnready, timeline.Event{Pod: "app-1"})
	}
	const tooShort = ": the load ended 4s after the last Pod was gone: at least its timeout of 5s is needed"
	tests := []struct {
		name    string
		changes changes
		outcome Outcome
		want    []string
	}{
		{"valid", nil, Pass, nil},
		{"nobody says that it was lost", changes{lacks(timeline.NodeLost, "")}, Inconclusive, []string{
			`0 of 2 Pods of node "n1" are gone`, "Pod app-0 was still terminating when the load ended", "Pod app-1 was still terminating when the load ended",
		}},
		{"another one was lost", changes{lacks(timeline.NodeLost, ""), func(tl *timeline.Timeline) {
			happens(tl, 3*sec, timeline.NodeLost, timeline.Event{Node: "n3"})
		}}, Inconclusive, []string{
			`0 of 2 Pods of node "n1" are gone`, "Pod app-0 was still terminating when the load ended", "Pod app-1 was still terminating when the load ended",
		}},
		{"one is an endpoint to the end", changes{lacks(timeline.EndpointUnready, "app-1")}, Inconclusive, []string{
			`1 of 2 Pods of node "n1" are gone`, "Pod app-1 was still terminating when the load ended",
		}},
		{"one was not deleted", changes{lacks(timeline.PodDeleted, "app-1")}, Inconclusive, []string{`1 of 2 Pods of node "n1" are gone`}},
		{"one is an endpoint for too long", changes{lacks(timeline.EndpointUnready, "app-1"), late}, Inconclusive, []string{
			"nodeport/new" + tooShort, "nodeport/reused" + tooShort, "nodeport/slow" + tooShort,
		}},
		{"a node that was to stay", changes{func(tl *timeline.Timeline) { tl.Spec.TakesNode = false }}, Infrastructure, []string{
			"node n1 stopped being ready 0s after the start of the disruption",
		}},
		{"a node that was not chosen", changes{lacks(timeline.NodeDisrupted, "")}, Infrastructure, []string{
			"node n1 stopped being ready 0s after the start of the disruption",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := losing()
			for _, change := range tt.changes {
				change(&tl)
			}
			v := Judge(tl)
			assert.Equal(t, tt.outcome, v.Outcome)
			assert.Equal(t, tt.want, v.Reasons)
		})
	}
}

// TestLostPods: nobody has asked a Pod to go whose node was lost, and it holds no memory from then on. So it
// tells nothing of how Pods go.
func TestLostPods(t *testing.T) {
	v := Judge(losing())
	assert.Equal(t, 2, v.PodsReplaced)
	for _, l := range v.Lanes {
		assert.Empty(t, l.Arrivals, l.Name)
	}
	assert.Empty(t, v.Terminations)
	in, out := Sequences(v)
	assert.Len(t, in.Pods, 2, "app-3 came as the disruption began")
	assert.Empty(t, out.Pods)
	counts := CountPods(v)
	assert.Zero(t, counts.Terminating)
	assert.Equal(t, 1, counts.Steps[0].Running, "app-2")
}

// TestPhasesOfLostPods: a Pod of a node that was lost ended then, whatever was done to it later.
func TestPhasesOfLostPods(t *testing.T) {
	// app-0 is lost between 5 s and 5.4 s with n1, no endpoint from 8 s on, deleted at 9 s.
	lost := func() timeline.Timeline {
		tl := leaving()
		stays(&tl)
		happens(&tl, 5*sec, timeline.NodeLost, timeline.Event{Node: "n1", Width: 400 * ms})
		note(&tl, 8*sec, timeline.EndpointUnready)
		note(&tl, 9*sec, timeline.PodDeleted)
		return tl
	}
	tests := []struct {
		name       string
		sent, done time.Duration
		cause      timeline.Cause
		want       LifecyclePhase
		class      timeline.Class
	}{
		{"in good health", 3 * sec, 3001 * ms, timeline.Reset, BeforeDeletion, timeline.ClassNew},
		{"in flight", 4500 * ms, 9500 * ms, timeline.Timeout, CutAtExit, timeline.ClassInFlight},
		{"sent as it is lost", 5200 * ms, 10200 * ms, timeline.Timeout, CutAtExit, timeline.ClassInFlight},
		{"sent to it, in vain", 6 * sec, 11 * sec, timeline.Timeout, AfterExit, timeline.ClassNew},
		{"sent to it, and nobody knows the way", 6 * sec, 6003 * ms, timeline.Unreachable, AfterExit, timeline.ClassNew},
		{"sent to it when it was deleted", 9500 * ms, 14500 * ms, timeline.Timeout, AfterExit, timeline.ClassNew},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := lost()
			give(&tl, 0, tt.sent, tt.done, tt.cause)
			chosen(&tl, tt.sent+ms, "10.9.0.1", 40000, "10.0.0.1")
			d := one(t, tl)
			assert.Equal(t, "app-0", d.Pod)
			assert.Equal(t, tt.want.String(), d.Phase.String(), d.Why)
			assert.Equal(t, tt.class, d.Class)
		})
	}
	life := podLifecycles(lost()).byName["app-0"][0]
	assert.Equal(t, []Segment{{StartUp, 0, sec}, {BeforeDeletion, sec, 5 * sec}, {AfterExit, 5 * sec, 9 * sec}}, life.segments())
	other := podLifecycles(lost()).byName["app-1"][0]
	require.False(t, other.has(timeline.NodeLost), "it is on another node")
}
