package verdict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// restarting is leaving, but that app-0 isn't deleted: its container is started again in place.
//
//	container 0: listening 1 s, SIGTERM 5 s, listener closed 6 s, exit 7 s; unready 7.1 s
//	container 1: started 7.5 s, listening 8 s; ready 8.5 s
func restarting() timeline.Timeline {
	tl := leaving()
	forget(&tl, timeline.PodDeleted, timeline.PodGone, timeline.EndpointGone)
	note(&tl, 7100*ms, timeline.EndpointUnready)
	second := timeline.Event{Pod: "app-0", UID: "uid-0", Node: "n1", Restart: 1}
	happens(&tl, 7500*ms, timeline.ProcessStart, second)
	happens(&tl, 7550*ms, timeline.AppStart, second)
	happens(&tl, 8*sec, timeline.AppListening, second)
	note(&tl, 8500*ms, timeline.EndpointServing)
	return tl
}

// TestRestartInPlace: each container's process has phases of its own, and what lies between them is charged to the Pod, too.
func TestRestartInPlace(t *testing.T) {
	leaves := func(tl *timeline.Timeline) {
		second := timeline.Event{Pod: "app-0", UID: "uid-0", Node: "n1", Restart: 1}
		note(tl, 10*sec, timeline.PodDeleted)
		happens(tl, 11*sec, timeline.AppSIGTERM, second)
		happens(tl, 12*sec, timeline.AppListenerClosed, second)
		happens(tl, 13*sec, timeline.AppExit, second)
		note(tl, 14*sec, timeline.PodGone)
	}
	tests := []struct {
		name       string
		pod        changes
		sent, done time.Duration
		cause      timeline.Cause
		want       LifecyclePhase
	}{
		{"in good health", nil, 3 * sec, 3001 * ms, timeline.Reset, BeforeDeletion},
		{"after SIGTERM", nil, 5200 * ms, 5201 * ms, timeline.Reset, Terminating},
		{"listener closed", nil, 6500 * ms, 6501 * ms, timeline.Refused, ListenerClosed},
		{"in flight at the exit", nil, 5500 * ms, 7001 * ms, timeline.EOF, CutAtExit},
		{"after the exit", nil, 7200 * ms, 7201 * ms, timeline.Refused, AfterExit},
		{"after the exit, timed out when the next one served", nil, 7200 * ms, 12200 * ms, timeline.Timeout, AfterExit},
		{"started again, and doesn't listen yet", nil, 7800 * ms, 7801 * ms, timeline.Refused, StartUp},
		{"started again, in good health", nil, 9 * sec, 9001 * ms, timeline.Reset, BeforeDeletion},
		{"started again, and left in the end: before", changes{leaves}, 6500 * ms, 6501 * ms, timeline.Refused, ListenerClosed},
		{"started again, deleted", changes{leaves}, 10500 * ms, 10501 * ms, timeline.Reset, PreStop},
		{"started again, after its second exit", changes{leaves}, 13500 * ms, 13501 * ms, timeline.Refused, AfterExit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := restarting()
			for _, change := range tt.pod {
				change(&tl)
			}
			give(&tl, 0, tt.sent, tt.done, tt.cause)
			chosen(&tl, tt.sent+ms, "10.9.0.1", 40000, "10.0.0.1")
			d := one(t, tl)
			assert.Equal(t, "app-0", d.Pod)
			assert.Equal(t, tt.want.String(), d.Phase.String(), d.Why)
		})
	}
	life := podLifecycles(restarting()).byName["app-0"][0]
	assert.Equal(t, []Segment{
		{StartUp, 0, sec},
		{BeforeDeletion, sec, 5 * sec},
		{Terminating, 5 * sec, 6 * sec},
		{ListenerClosed, 6 * sec, 7020 * ms},
		{AfterExit, 7020 * ms, 7500 * ms},
		{StartUp, 7500 * ms, 8 * sec},
		{BeforeDeletion, 8 * sec, endless},
	}, life.segments())
	assert.False(t, life.restarted, "events say which process they are of")
	assert.Equal(t, sec, life.FirstSeen[timeline.AppListening], "of the first")
}

// TestInPlace: where no Pod is to go, each has to have had done to it what the scope says.
func TestInPlace(t *testing.T) {
	gone := func(tl *timeline.Timeline) {
		happens(tl, 9*sec, timeline.PodGone, timeline.Event{Pod: "app-1", UID: "uid-1"})
	}
	unready := func(from, to time.Duration) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) {
			stays(tl)
			note(tl, from, timeline.EndpointUnready)
			if to > 0 {
				note(tl, to, timeline.EndpointServing)
			}
		}
	}
	left := func(at time.Duration) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) { stays(tl); note(tl, at, timeline.EndpointGone) }
	}
	again := func(tl *timeline.Timeline) { *tl = restarting() }
	tests := []struct {
		name     string
		scope    timeline.Scope
		change   changes
		replicas int
		want     string // "": valid
	}{
		{"restarted", timeline.ScopeRestarted, changes{again}, 1, ""},
		{"restarted, but one", timeline.ScopeRestarted, changes{again}, 2, "1 of 2 Pods had their container started again"},
		{"restarted, and one is gone", timeline.ScopeRestarted, changes{again, gone}, 1, "1 Pods went away though nothing was to end them"},
		{"restarted before", timeline.ScopeRestarted, changes{again, func(tl *timeline.Timeline) { tl.Window.DisruptStart = 8 * sec }}, 1, "0 of 1 Pods had"},
		{"nothing restarted", timeline.ScopeRestarted, changes{stays}, 1, "0 of 1 Pods had"},
		{"unready", timeline.ScopeUnready, changes{unready(5*sec, 6*sec)}, 1, ""},
		{"unready for good", timeline.ScopeUnready, changes{unready(5*sec, 0)}, 1, "0 of 1 Pods were unready for a time"},
		{"unready before", timeline.ScopeUnready, changes{unready(2*sec, 2500*ms)}, 1, "0 of 1 Pods were unready for a time"},
		{"left", timeline.ScopeLeft, changes{left(5 * sec)}, 1, ""},
		{"left, but one", timeline.ScopeLeft, changes{left(5 * sec)}, 2, "1 of 2 Pods have left their Services"},
		{"left before", timeline.ScopeLeft, changes{left(2 * sec)}, 1, "0 of 1 Pods have left their Services"},
		{"no Pods", timeline.ScopeLeft, nil, 0, "of 0 Pods"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			forget(&tl, timeline.PodGone)
			for _, change := range tt.change {
				change(&tl)
			}
			tl.Spec.Scope, tl.Replicas = tt.scope, tt.replicas
			why := podsWereReplaced(tl, findings{pods: podLifecycles(tl)})
			if tt.want == "" {
				assert.Empty(t, why)
				return
			}
			require.Len(t, why, 1)
			assert.Contains(t, why[0], tt.want)
		})
	}
}

// TestLedgersOfProcesses: a Pod's ledger is that of all its processes, or nothing is known of it.
func TestLedgersOfProcesses(t *testing.T) {
	said := func(pod string, n int) timeline.Served {
		return timeline.Served{Pod: pod, Answered: map[string]int{"service/new": n}}
	}
	tests := []struct {
		name   string
		served []timeline.Served
		want   string
	}{
		{"both told", []timeline.Served{said("app-0", 3), said("app-0", 2)}, ""},
		{"the first was killed", []timeline.Served{said("app-0", 2)}, ""},
		{"both told, and one answer is missing", []timeline.Served{said("app-0", 3), said("app-0", 1)}, "5 answers arrived from Pod app-0, which says it has given 4"},
		{"both told, and one answer is too many", []timeline.Served{said("app-0", 3), said("app-0", 3)}, "have answered 6 requests, of which 5 arrived"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := restarting()
			for i := range 5 {
				at := time.Duration(2+2*i) * sec
				give(&tl, 0, at, at+ms, timeline.OK).Pod = 1
			}
			tl.Served = tt.served
			why := ledgersAgree(tl, findings{pods: podLifecycles(tl)})
			if tt.want == "" {
				assert.Empty(t, why)
				return
			}
			require.Len(t, why, 1)
			assert.Contains(t, why[0], tt.want)
		})
	}
}

// TestWrongApp: an answer of another app is dropped, whatever it says, and charged to the Pod that had the address before.
func TestWrongApp(t *testing.T) {
	tl := leaving()
	tl.Lanes[0].Pods = append(tl.Lanes[0].Pods, "app-other-1")
	r := give(&tl, 0, 9*sec, 9001*ms, timeline.WrongApp)
	r.Pod, r.Code = 3, 200
	chosen(&tl, 9*sec, "10.9.0.1", r.Port, "10.0.0.1")
	d := one(t, tl)
	assert.Equal(t, []any{"app-0", ByRoute, AfterExit, timeline.WrongApp}, []any{d.Pod, d.Evidence, d.Phase, d.Cause}, d.Why)

	tl.Served = []timeline.Served{{Pod: "app-0", Answered: map[string]int{"service/new": 1}}}
	why := ledgersAgree(tl, findings{pods: podLifecycles(tl)})
	require.Len(t, why, 1)
	assert.Contains(t, why[0], "of which 0 arrived: the client knows of only 0 that could be the rest", "none of the app's Pods has answered it")

	spec := tl.Spec.Lanes[0]
	spec.Held = map[timeline.Class]timeline.Promise{timeline.ClassNew: {Expect: timeline.Clean, Source: "strategy prestop-sleep"}}
	tl.Spec.Lanes[0] = spec
	pods := podLifecycles(tl)
	lane := judgeLane(tl, 0, findings{pods: pods, dropped: attribute(tl, pods), punctuality: make([]punctuality, 1)})
	assert.Equal(t, []any{1, 0, 1, Fail}, []any{lane.Dropped, lane.OK, lane.Causes[timeline.WrongApp], lane.Outcome})

	tl.Routes.List = nil
	tl.Lanes[0].Requests[0].Port = 0
	assert.Equal(t, Unattributed, one(t, tl).Phase, "where nothing says whose address it was")
}

// TestArrivalsAfterLeaving: a Pod that is taken out of its Services is to get no request from then on, long before its deletion.
func TestArrivalsAfterLeaving(t *testing.T) {
	tl := leaving()
	note(&tl, 3*sec, timeline.LeaveAsked)
	give(&tl, 0, 3200*ms, 3201*ms, timeline.OK).Pod = 1
	pods := podLifecycles(tl)
	got := arrivals(tl, tl.Spec.Lanes[0], tl.Lanes[0], nil, pods)
	require.Len(t, got, 1)
	assert.Equal(t, Arrival{Pod: "app-0", Owner: 0, After: 200 * ms}, got[0])
}

// TestToGo: what comes first of what was asked for; a Pod that a controller has taken out of its Services has left them when it is no endpoint any more.
func TestToGo(t *testing.T) {
	at := func(kind timeline.Kind, seconds time.Duration) timeline.Event {
		return timeline.Event{At: seconds * time.Second, Kind: kind, Pod: "a"}
	}
	tests := []struct {
		name   string
		events []timeline.Event
		want   time.Duration // 0: never
	}{
		{"deleted", []timeline.Event{at(timeline.PodDeleted, 3), at(timeline.EndpointTerminating, 4), at(timeline.EndpointGone, 5)}, 3 * sec},
		{"to leave, then deleted", []timeline.Event{at(timeline.LeaveAsked, 1), at(timeline.EndpointGone, 2), at(timeline.PodDeleted, 33)}, 1 * sec},
		{"taken out by a controller, then deleted", []timeline.Event{at(timeline.EndpointGone, 2), at(timeline.PodDeleted, 32)}, 2 * sec},
		{"told of its deletion late", []timeline.Event{at(timeline.EndpointTerminating, 2), at(timeline.EndpointGone, 3), at(timeline.PodDeleted, 4)}, 4 * sec},
		{"no endpoint for another reason, as of a Pod that has failed", []timeline.Event{at(timeline.EndpointGone, 2)}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := podLifecycles(timeline.Timeline{Events: tt.events}).all[0].toGo()
			assert.Equal(t, tt.want, got)
			assert.Equal(t, tt.want > 0, ok)
		})
	}
}

// TestLeftBeforeTheEnd: a Pod that was to leave its Services and was deleted as their endpoint has shown nothing.
func TestLeftBeforeTheEnd(t *testing.T) {
	at := func(kind timeline.Kind, seconds time.Duration) timeline.Event {
		return timeline.Event{At: seconds * time.Second, Kind: kind, Pod: "a"}
	}
	tests := []struct {
		name   string
		events []timeline.Event
		want   int
	}{
		{"left, then deleted", []timeline.Event{at(timeline.LeaveAsked, 1), at(timeline.EndpointGone, 2), at(timeline.PodDeleted, 3)}, 0},
		{"left, and runs on", []timeline.Event{at(timeline.LeaveAsked, 1), at(timeline.EndpointGone, 2)}, 0},
		{"deleted first", []timeline.Event{at(timeline.LeaveAsked, 1), at(timeline.PodDeleted, 3), at(timeline.EndpointGone, 4)}, 1},
		{"never left", []timeline.Event{at(timeline.LeaveAsked, 1), at(timeline.PodDeleted, 3)}, 1},
		{"was not to leave", []timeline.Event{at(timeline.PodDeleted, 3), at(timeline.EndpointGone, 4)}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := timeline.Timeline{Events: tt.events}
			assert.Len(t, leftBeforeTheEnd(tl, findings{pods: podLifecycles(tl)}), tt.want)
		})
	}
}

// TestConsumersOfPodsThatStay: how long a consumer goes on sending to a Pod that is gone, only runs tell in which Pods go.
func TestConsumersOfPodsThatStay(t *testing.T) {
	run := func(scope timeline.Scope) Verdict {
		return Verdict{Spec: timeline.Spec{Scope: scope, Lanes: leaving().Spec.Lanes[:1]}}
	}
	for scope, want := range map[timeline.Scope]int{
		timeline.ScopeNone: 0, timeline.ScopeRestarted: 0, timeline.ScopeUnready: 0, timeline.ScopeLeft: 0,
		timeline.ScopeAll: 1, timeline.ScopeNode: 1, timeline.ScopeSome: 1,
	} {
		assert.Len(t, Consumers([]Verdict{run(scope)}), want, scope)
	}
}
