package verdict

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// oneClock is how clocks compare where everything is on one machine.
var oneClock = timeline.Comparison{SameClock: true}

// leaving is a timeline without requests: one Pod that goes in an orderly way, and one that stays.
//
//	app-0 on n1, 10.0.0.1: listening 1 s, deleted 4 s, SIGTERM 5 s, listener closed 6 s, exit 7 s, gone 8 s
//	app-1 on n2, 10.0.0.2: listening 1 s
//
// worker-0 on n1 sends service/new, service/reused, dns/new and ingress/reused, the host
// nodeport/reused. There is one clock, and connection tracking on both nodes.
func leaving() timeline.Timeline {
	tl := timeline.Timeline{
		Window: timeline.Window{DisruptStart: 3 * sec, DisruptEnd: 4 * sec, Settled: 9 * sec, LoadEnd: 20 * sec},
		Spec: timeline.Spec{Strategy: "prestop-sleep", Disruption: "rolling-update", Scope: timeline.ScopeAll, Lanes: []timeline.LaneSpec{
			lane("service/new", timeline.FromCluster, timeline.PerConnection, timeline.EvidenceConntrack),
			lane("service/reused", timeline.FromCluster, timeline.PerConnection, timeline.EvidenceConntrack),
			lane("nodeport/reused", timeline.FromOutside, timeline.PerConnection),
			lane("dns/new", timeline.FromCluster, timeline.ByClient, timeline.EvidenceRemoteAddress),
			lane("ingress/reused", timeline.FromCluster, timeline.PerRequest),
		}},
		Senders: []timeline.Sender{
			{Name: "host", Lanes: []string{"nodeport/reused"}, Comparison: oneClock},
			{
				Name: "worker-0", Node: "n1", IP: "10.9.0.1", Comparison: oneClock,
				Lanes: []string{"service/new", "service/reused", "dns/new", "ingress/reused"},
			},
		},
		Sources: []timeline.Source{
			{Kind: timeline.SourceHarness, Comparison: oneClock},
			{Kind: timeline.SourceApp, Node: "n1", Comparison: oneClock},
			{Kind: timeline.SourceApp, Node: "n2", Comparison: oneClock},
			{Kind: timeline.SourceConntrack, Node: "n1", Comparison: oneClock},
			{Kind: timeline.SourceConntrack, Node: "n2", Comparison: oneClock},
		},
	}
	for _, l := range tl.Spec.Lanes {
		tl.Lanes = append(tl.Lanes, timeline.LaneRecord{
			Name: l.Name, Rate: l.Rate, Pods: []string{"app-0", "app-1"}, Addresses: []string{"10.0.0.1", "10.0.0.2", "10.0.0.9"},
		})
	}
	for i := range 2 {
		pod := timeline.Event{Pod: fmt.Sprintf("app-%d", i), UID: fmt.Sprintf("uid-%d", i), Node: fmt.Sprintf("n%d", i+1), IP: fmt.Sprintf("10.0.0.%d", i+1)}
		happens(&tl, 0, timeline.PodCreated, pod)
		happens(&tl, 100*ms, timeline.PodAddressed, pod)
		happens(&tl, 500*ms, timeline.AppStart, pod)
		happens(&tl, sec, timeline.AppListening, pod)
		happens(&tl, 1200*ms, timeline.PodReady, pod)
		happens(&tl, 1300*ms, timeline.EndpointServing, pod)
		if i == 0 {
			happens(&tl, 4*sec, timeline.PodDeleted, pod)
			happens(&tl, 5*sec, timeline.AppSIGTERM, pod)
			happens(&tl, 6*sec, timeline.AppListenerClosed, pod)
			happens(&tl, 7*sec, timeline.AppExit, pod)
			happens(&tl, 7020*ms, timeline.ProcessExit, pod)
			happens(&tl, 7100*ms, timeline.EndpointGone, pod)
			happens(&tl, 7500*ms, timeline.ContainerExit, pod)
			happens(&tl, 8*sec, timeline.PodGone, pod)
		}
	}
	return tl
}

// lane is the declaration of a lane: consumer/connections.
func lane(name string, from timeline.Place, routing timeline.Routing, evidence ...string) timeline.LaneSpec {
	consumer, connections, _ := strings.Cut(name, "/")
	return timeline.LaneSpec{
		Name: name, Consumer: consumer, From: from, Routing: routing, Evidence: evidence, Rate: 10, Connections: connections,
		Load: connections, Driver: "http", Timeout: 5 * sec,
	}
}

// happens adds an event of a Pod, in the order of time.
func happens(tl *timeline.Timeline, at time.Duration, kind timeline.Kind, pod timeline.Event) {
	pod.At, pod.Kind = at, kind
	tl.Events = append(tl.Events, pod)
	slices.SortStableFunc(tl.Events, func(a, b timeline.Event) int { return cmp.Compare(a.At, b.At) })
}

// forget takes all events of app-0 away that are of one of the kinds.
func forget(tl *timeline.Timeline, kinds ...timeline.Kind) {
	tl.Events = slices.DeleteFunc(tl.Events, func(e timeline.Event) bool { return e.Pod == "app-0" && slices.Contains(kinds, e.Kind) })
}

// note adds an event of app-0, which tells no UID, node or address.
func note(tl *timeline.Timeline, at time.Duration, kind timeline.Kind) {
	happens(tl, at, kind, timeline.Event{Pod: "app-0"})
}

// chosen adds a choice of kube-proxy on n1, for a port of the sender with an address.
func chosen(tl *timeline.Timeline, at time.Duration, source string, port uint16, target string) {
	chosenOn(tl, "n1", at, source, port, target)
}

func chosenOn(tl *timeline.Timeline, node string, at time.Duration, source string, port uint16, target string) {
	index := func(name string) uint16 {
		i, err := tl.Routes.Index(name)
		if err != nil {
			panic(err)
		}
		return i
	}
	tl.Routes.List = append(tl.Routes.List, timeline.Route{At: at, Node: index(node), Source: index(source), Target: index(target), Port: port})
}

// give adds a request to a lane and returns its record: first on a connection of its own, from port
// 40000 on, and answered by app-1 if it is ok.
func give(tl *timeline.Timeline, lane int, sent, done time.Duration, cause timeline.Cause) *timeline.Request {
	l := &tl.Lanes[lane]
	r := timeline.Request{Planned: sent, Latency: done - sent, Leaving: timeline.NotLeaving, Cause: cause, Attempts: 1, ConnUse: 1, Port: uint16(40000 + len(l.Requests))}
	if cause == timeline.OK {
		r.Pod, r.Code = 2, 200
	}
	l.Requests = append(l.Requests, r)
	l.Planned++
	return &l.Requests[len(l.Requests)-1]
}

// one is the dropped request of a timeline, the last if there are several.
func one(t *testing.T, tl timeline.Timeline) DroppedRequest {
	t.Helper()
	dropped := slices.Concat(attribute(tl, podLifecycles(tl))...)
	require.NotEmpty(t, dropped)
	return dropped[len(dropped)-1]
}

// Ways to go other than the orderly one.
func noHandler(tl *timeline.Timeline) {
	forget(tl, timeline.AppSIGTERM, timeline.AppListenerClosed, timeline.AppExit)
}

func ignores(tl *timeline.Timeline) { forget(tl, timeline.AppListenerClosed, timeline.AppExit) }

func stays(tl *timeline.Timeline) {
	forget(tl, timeline.PodDeleted, timeline.AppSIGTERM, timeline.AppListenerClosed, timeline.AppExit, timeline.ProcessExit, timeline.EndpointGone,
		timeline.ContainerExit, timeline.PodGone)
}

func noRuntime(tl *timeline.Timeline) { forget(tl, timeline.ProcessExit) }

func killed(tl *timeline.Timeline) { forget(tl, timeline.AppExit) }

func gap(at time.Duration) func(*timeline.Timeline) {
	return func(tl *timeline.Timeline) {
		happens(tl, at, timeline.WatchGap, timeline.Event{Detail: "Pods: expired"})
	}
}

func without(kinds ...timeline.Kind) func(*timeline.Timeline) {
	return func(tl *timeline.Timeline) { forget(tl, kinds...) }
}

func with(at time.Duration, kind timeline.Kind) func(*timeline.Timeline) {
	return func(tl *timeline.Timeline) { note(tl, at, kind) }
}

// interval makes the deletion of app-0 one that the audit log has dated: asked for at 4 s, done within
// a width from there, and told of by the watch after a while.
func interval(width, seenAfter time.Duration) func(*timeline.Timeline) {
	return func(tl *timeline.Timeline) {
		i := slices.IndexFunc(tl.Events, func(e timeline.Event) bool { return e.Pod == "app-0" && e.Kind == timeline.PodDeleted })
		tl.Events[i].Width, tl.Events[i].SeenAfter = width, seenAfter
	}
}

type changes []func(*timeline.Timeline)

// TestPhases: a request that was routed to app-0, and what is known of that Pod.
func TestPhases(t *testing.T) {
	tests := []struct {
		name       string
		pod        changes
		sent, done time.Duration
		cause      timeline.Cause
		why        string
		want       LifecyclePhase
	}{
		{"before it listened", nil, 900 * ms, 901 * ms, timeline.Refused, "", StartUp},
		{"before it listened, and ready too soon", changes{with(800*ms, timeline.PodReady)}, 900 * ms, 901 * ms, timeline.Refused, "", StartUp},
		{"sent before it listened, dropped afterwards", nil, 900 * ms, 2 * sec, timeline.Reset, "", BeforeDeletion},
		{"in good health", nil, 3 * sec, 3001 * ms, timeline.Reset, "", BeforeDeletion},
		{"of a Pod that stays", changes{stays}, 9 * sec, 9001 * ms, timeline.Reset, "", BeforeDeletion},
		{"of a Pod that crashed", changes{stays, with(7*sec, timeline.ProcessExit)}, 6 * sec, 6001 * ms, timeline.Reset, "", BeforeDeletion},
		{"just after the deletion", nil, 4 * sec, 4001 * ms, timeline.Reset, "", PreStop},
		{"while the deletion was being made", changes{interval(40*ms, 60*ms)}, 4038 * ms, 4039 * ms, timeline.Reset, "", BeforeDeletion},
		{"when the deletion was made", changes{interval(40*ms, 60*ms)}, 4040 * ms, 4041 * ms, timeline.Reset, "", PreStop},
		{"timed out, sent while the deletion was being made", changes{interval(40*ms, 60*ms)}, 4039 * ms, 6500 * ms, timeline.Timeout, "", BeforeDeletion},
		{"while the deletion was being made, told of by the watch", changes{interval(40*ms, 20*ms)}, 4020 * ms, 4021 * ms, timeline.Reset, "", PreStop},
		{"while the deletion was being made, just before the watch told", changes{interval(40*ms, 20*ms)}, 4018 * ms, 4019 * ms, timeline.Reset, "", BeforeDeletion},
		{"dated to the instant", changes{interval(0, 60*ms)}, 4 * sec, 4001 * ms, timeline.Reset, "", PreStop},
		{"while the deletion was being made, after SIGTERM", changes{interval(1500*ms, 1600*ms)}, 5200 * ms, 5201 * ms, timeline.Reset, "", Terminating},
		{"sent before the deletion, dropped in preStop", nil, 3 * sec, 4500 * ms, timeline.Reset, "", PreStop},
		{"preStop without a handler", changes{noHandler}, 5500 * ms, 5501 * ms, timeline.Reset, "", PreStop},
		{"just after SIGTERM", nil, 5 * sec, 5001 * ms, timeline.Reset, "", Terminating},
		{"after SIGTERM, deletion seen late", changes{without(timeline.PodDeleted), with(5500*ms, timeline.PodDeleted)}, 5200 * ms, 5201 * ms, timeline.Reset, "", Terminating},
		{"SIGTERM, deletion never seen", changes{without(timeline.PodDeleted)}, 5200 * ms, 5201 * ms, timeline.Reset, "", Terminating},
		{"SIGTERM ignored", changes{ignores}, 6500 * ms, 6501 * ms, timeline.Reset, "", Terminating},
		{"listener closed", nil, 6500 * ms, 6501 * ms, timeline.Refused, "", ListenerClosed},
		{"idle connection closed by Shutdown", nil, 5999 * ms, 6001 * ms, timeline.EOF, "", ListenerClosed},
		{"listener closed, only its own word for the exit", changes{noRuntime}, 6500 * ms, 6501 * ms, timeline.Refused, "", ListenerClosed},
		{"sent on a kept connection after the listener was closed, ended with the process", nil, 6500 * ms, 7001 * ms, timeline.EOF, "", AfterExit},
		{"timed out, sent to a closed listener", nil, 6500 * ms, 11500 * ms, timeline.Timeout, "", ListenerClosed},
		{"in flight at the exit", nil, 5500 * ms, 7001 * ms, timeline.EOF, "", CutAtExit},
		{"in flight at the exit, body begun", nil, 5500 * ms, 7001 * ms, timeline.Truncated, "", CutAtExit},
		{"in flight when Shutdown gave up", changes{with(6900*ms, timeline.AppShutdownTimeout)}, 5500 * ms, 6901 * ms, timeline.EOF, "", CutAtExit},
		{"in flight until a SIGKILL, whose news came late", changes{ignores}, 6500 * ms, 6990 * ms, timeline.EOF, "", CutAtExit},
		{"in flight when the runtime ended it", changes{noHandler}, 6500 * ms, 7021 * ms, timeline.Reset, "", CutAtExit},
		{"reset a while before the exit", changes{noHandler}, 6300 * ms, 6490 * ms, timeline.Reset, "", PreStop},
		{"timed out, in flight at the exit", changes{noHandler}, 6500 * ms, 11500 * ms, timeline.Timeout, "", CutAtExit},
		{"timed out before the exit", nil, 3 * sec, 6 * sec, timeline.Timeout, "", BeforeDeletion},
		{"timed out before the exit, sent in preStop", nil, 4100 * ms, 6500 * ms, timeline.Timeout, "", PreStop},
		{"refused before the exit was noticed", changes{noHandler}, 6990 * ms, 6991 * ms, timeline.Refused, "", AfterExit},
		{"unreachable before the exit was noticed", changes{ignores}, 6990 * ms, 6991 * ms, timeline.Unreachable, "", AfterExit},
		{"refused across the exit", nil, 6999 * ms, 7001 * ms, timeline.Refused, "", AfterExit},
		{"after the exit", nil, 7100 * ms, 7101 * ms, timeline.Refused, "", AfterExit},
		{"after the exit, between its word and its runtime's", nil, 7005 * ms, 7006 * ms, timeline.Refused, "", AfterExit},
		{"after the exit, timed out", nil, 7100 * ms, 12100 * ms, timeline.Timeout, "", AfterExit},
		{"after the Pod was gone", nil, 9 * sec, 9001 * ms, timeline.Unreachable, "", AfterExit},
		{"after the exit, by the API server's word alone", changes{noRuntime, killed}, 7600 * ms, 7601 * ms, timeline.Refused, "", AfterExit},
		{"in good health, nothing told by the node", changes{noHandler, noRuntime, without(timeline.AppListening)}, 3 * sec, 3001 * ms, timeline.Reset, whyNotSeen, Unattributed},
		{"around an exit that nobody saw", changes{noRuntime, killed}, 6500 * ms, 6501 * ms, timeline.Refused, whyNotSeen, Unattributed},
		{"SIGTERM, then a log that was cut off", changes{ignores, with(7*sec, timeline.LogCut)}, 6500 * ms, 6501 * ms, timeline.Refused, whyNotSeen, Unattributed},
		{"nothing of SIGTERM, in a log that was cut off", changes{noHandler, with(7*sec, timeline.LogCut)}, 5500 * ms, 5501 * ms, timeline.Reset, whyNotSeen, Unattributed},
		{"nothing of SIGTERM, in no log", changes{noHandler, without(timeline.AppStart)}, 5500 * ms, 5501 * ms, timeline.Reset, whyNotSeen, Unattributed},
		{"refused before the exit was noticed, log cut off", changes{noHandler, with(7*sec, timeline.LogCut)}, 6990 * ms, 6991 * ms, timeline.Refused, whyNotSeen, Unattributed},
		{"before SIGTERM, deletion never seen", changes{without(timeline.PodDeleted)}, 4500 * ms, 4501 * ms, timeline.Reset, whyNotSeen, Unattributed},
		{"a watch gap before the deletion was seen", changes{gap(3500 * ms)}, 3 * sec, 3001 * ms, timeline.Reset, whyNotSeen, Unattributed},
		{"a watch gap afterwards", changes{gap(4500 * ms)}, 3 * sec, 3001 * ms, timeline.Reset, "", BeforeDeletion},
		{"preStop by a late view of the deletion", changes{gap(3500 * ms)}, 4500 * ms, 4501 * ms, timeline.Reset, "", PreStop},
		{"of a Pod that stays, as far as a broken watch knows", changes{stays, gap(12 * sec)}, 9 * sec, 9001 * ms, timeline.Reset, whyNotSeen, Unattributed},
		{"of a Pod that is gone, and was never seen to be deleted", changes{stays, with(12*sec, timeline.PodGone)}, 9 * sec, 9001 * ms, timeline.Reset, whyNotSeen, Unattributed},
		{"of a container that ended, nobody knows when", changes{stays, with(12*sec, timeline.ContainerExit)}, 9 * sec, 9001 * ms, timeline.Reset, whyNotSeen, Unattributed},
		{"of a process that was started again", changes{stays, with(2*sec, timeline.ProcessExit), with(3*sec, timeline.AppStart)}, 9 * sec, 9001 * ms, timeline.Reset, whyRestarted, Unattributed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			for _, change := range tt.pod {
				change(&tl)
			}
			give(&tl, 0, tt.sent, tt.done, tt.cause)
			chosen(&tl, tt.sent+ms, "10.9.0.1", 40000, "10.0.0.1")
			d := one(t, tl)
			assert.Equal(t, "app-0", d.Pod)
			assert.Equal(t, ByRoute, d.Evidence)
			assert.Equal(t, tt.why, d.Why)
			assert.Equal(t, tt.want.String(), d.Phase.String())
			if deleted, ok := podLifecycles(tl).byName["app-0"][0].At(timeline.PodDeleted); ok {
				require.NotNil(t, d.SinceDeletion)
				assert.Equal(t, tt.sent-deleted, *d.SinceDeletion)
			} else {
				assert.Nil(t, d.SinceDeletion, "nothing is put in the place of a deletion that was not seen")
			}
		})
	}
}

// TestRefusedBeforeItListened: a Pod that never said that it listened may refuse because it doesn't
// yet: that dates no exit.
func TestRefusedBeforeItListened(t *testing.T) {
	tl := leaving()
	noHandler(&tl)
	forget(&tl, timeline.AppListening)
	for i, cause := range []timeline.Cause{timeline.Refused, timeline.Reset} {
		at := 6600*ms + time.Duration(i)*100*ms
		give(&tl, 0, at, at+ms, cause)
		chosen(&tl, at, "10.9.0.1", uint16(40000+i), "10.0.0.1")
	}
	assert.Equal(t, CutAtExit, one(t, tl).Phase, "the exit is as the runtime has it, at 7.02s or a little before")
}

// TestAnswered: a Pod that has answered, not well, had neither ended nor not begun.
func TestAnswered(t *testing.T) {
	tests := []struct {
		name       string
		pod        changes
		sent, done time.Duration
		cause      timeline.Cause
		want       LifecyclePhase
	}{
		{"in good health", nil, 3 * sec, 3001 * ms, timeline.HTTP5xx, BeforeDeletion},
		{"in good health, no word of listening", changes{without(timeline.AppListening)}, 3 * sec, 3001 * ms, timeline.HTTP5xx, BeforeDeletion},
		{"on a kept connection, read after the exit", nil, 6500 * ms, 7001 * ms, timeline.WrongBody, ListenerClosed},
		{"just before a SIGKILL", changes{ignores}, 6980 * ms, 6990 * ms, timeline.HTTPOther, Terminating},
		{"ended within its body", nil, 5500 * ms, 7001 * ms, timeline.Truncated, CutAtExit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			for _, change := range tt.pod {
				change(&tl)
			}
			give(&tl, 2, tt.sent, tt.done, tt.cause).Pod = 1
			d := one(t, tl)
			assert.Equal(t, "app-0", d.Pod)
			assert.Equal(t, ByAnswer, d.Evidence, "from the host as well")
			assert.Equal(t, tt.want.String(), d.Phase.String())
		})
	}
}

// TestPodOfDropped: which Pod a request that was dropped at 4.5 s is charged to, and how that is
// known.
func TestPodOfDropped(t *testing.T) {
	const sent, done = 4500 * ms, 4502 * ms
	drop := func(tl *timeline.Timeline, lane int) *timeline.Request {
		return give(tl, lane, sent, done, timeline.Reset)
	}
	tests := []struct {
		name     string
		requests func(*timeline.Timeline)
		pod      string
		evidence Evidence
		want     string // why not, or the phase
	}{
		{"by the choice for its port", func(tl *timeline.Timeline) {
			drop(tl, 0)
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
		}, "app-0", ByRoute, "prestop"},
		{"by the choice for its port, told late", func(tl *timeline.Timeline) {
			drop(tl, 0)
			chosen(tl, done+1900*ms, "10.9.0.1", 40000, "10.0.0.1")
		}, "app-0", ByRoute, "prestop"},
		{"not by the choice that was nearest in time", func(tl *timeline.Timeline) {
			drop(tl, 0)
			chosen(tl, sent, "10.9.0.1", 41000, "10.0.0.2")
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
			chosen(tl, sent+ms, "10.9.0.2", 40000, "10.0.0.2")
		}, "app-0", ByRoute, "prestop"},
		{"not by the Pod that was leaving at the time", func(tl *timeline.Timeline) {
			drop(tl, 0)
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.2")
		}, "app-1", ByRoute, "before-deletion"},
		{"a choice that was told twice", func(tl *timeline.Timeline) {
			drop(tl, 0)
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
			chosen(tl, sent+2*ms, "10.9.0.1", 40000, "10.0.0.1")
		}, "app-0", ByRoute, "prestop"},
		{"a port that was used a while before", func(tl *timeline.Timeline) {
			drop(tl, 0)
			chosen(tl, sent-ms-2*clockGrain, "10.9.0.1", 40000, "10.0.0.2")
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
			chosen(tl, done+2100*ms, "10.9.0.1", 40000, "10.0.0.2")
		}, "app-0", ByRoute, "prestop"},
		{"a port whose own choice was not seen", func(tl *timeline.Timeline) {
			drop(tl, 0)
			chosen(tl, sent-100*ms, "10.9.0.1", 40000, "10.0.0.2")
			chosen(tl, sent+30*sec, "10.9.0.1", 40000, "10.0.0.2")
		}, "", "", whyNoRoute},
		{"a port that was used twice at the time", func(tl *timeline.Timeline) {
			drop(tl, 0)
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
			chosen(tl, sent+2*ms, "10.9.0.1", 40000, "10.0.0.2")
		}, "", "", whyTwoRoutes},
		{"an address that is none of the app's", func(tl *timeline.Timeline) {
			drop(tl, 0)
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.9")
		}, "", "", whyForeignIP},
		{"no connection at all", func(tl *timeline.Timeline) { drop(tl, 0).Port = 0 }, "", "", whyNoPort},
		{"a sender without an address", func(tl *timeline.Timeline) {
			drop(tl, 0)
			tl.Senders[1].IP = ""
		}, "", "", whyNoSender},
		{"nobody is on record to have sent it", func(tl *timeline.Timeline) {
			drop(tl, 0)
			tl.Senders = nil
		}, "", "", whyNoSender},
		{"no connection tracking", func(tl *timeline.Timeline) {
			drop(tl, 0)
			tl.Sources = tl.Sources[:3]
		}, "", "", whyNoConntrack},
		{"no connection tracking where it was sent from", func(tl *timeline.Timeline) {
			drop(tl, 0)
			tl.Sources[3].Node = "n3"
		}, "", "", whyNoConntrack},
		{"connection tracking that ended", func(tl *timeline.Timeline) {
			drop(tl, 0)
			tl.Sources[3].Missing = "ended at 4s"
		}, "", "", whyNoConntrack + ": ended at 4s"},
		{"connection tracking that ended later", func(tl *timeline.Timeline) {
			drop(tl, 0)
			tl.Sources[3].Missing = "ended at 6s"
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
		}, "app-0", ByRoute, "prestop"},
		{"a new connection from the host", func(tl *timeline.Timeline) {
			drop(tl, 2)
			chosen(tl, sent+ms, "", 40000, "10.0.0.1")
		}, "", "", whyOutside},
		{"by the answer before, from the host", func(tl *timeline.Timeline) {
			r := give(tl, 2, sec, sec+ms, timeline.OK)
			r.Pod, r.ConnUse = 1, 7
			r = drop(tl, 2)
			r.Port, r.ConnUse = 40000, 8
		}, "app-0", ByConnection, "prestop"},
		{"by the answer before, which the plan has later", func(tl *timeline.Timeline) {
			r := drop(tl, 1)
			r.Port, r.ConnUse = 40001, 8
			r = give(tl, 1, 4100*ms, 4200*ms, timeline.OK) // is due later in the plan
			r.Pod, r.ConnUse = 1, 7
		}, "app-0", ByConnection, "prestop"},
		{"by the answer before, which was no good one", func(tl *timeline.Timeline) {
			r := give(tl, 1, 4100*ms, 4200*ms, timeline.HTTP5xx)
			r.Pod, r.ConnUse = 1, 7
			r = drop(tl, 1)
			r.Port, r.ConnUse = 40000, 8
		}, "app-0", ByConnection, "prestop"},
		{"by the latest answer before, of two", func(tl *timeline.Timeline) {
			for i, pod := range []uint16{2, 1, 2} {
				r := give(tl, 1, time.Duration(1+3*i)*sec, time.Duration(1+3*i)*sec+ms, timeline.OK)
				r.Pod, r.ConnUse, r.Port = pod, 7, 40000
			}
			r := drop(tl, 1)
			r.Port, r.ConnUse = 40000, 8
		}, "app-0", ByConnection, "prestop"},
		{"an answer two before", func(tl *timeline.Timeline) {
			give(tl, 2, sec, sec+ms, timeline.OK).ConnUse = 6
			r := drop(tl, 2)
			r.Port, r.ConnUse = 40000, 8
		}, "", "", whyConnection},
		{"an answer on another connection", func(tl *timeline.Timeline) {
			give(tl, 2, sec, sec+ms, timeline.OK).ConnUse = 7
			drop(tl, 2).ConnUse = 8
		}, "", "", whyConnection},
		{"first on a connection that is kept", func(tl *timeline.Timeline) {
			give(tl, 1, sec, sec+ms, timeline.OK)
			drop(tl, 1).Port = 40000
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
		}, "app-0", ByRoute, "prestop"},
		{"first on a connection that is kept, dialled for an earlier one", func(tl *timeline.Timeline) {
			drop(tl, 1)
			chosen(tl, sent-4*sec, "10.9.0.1", 40000, "10.0.0.1")
		}, "app-0", ByRoute, "prestop"},
		{"a connection that was never made", func(tl *timeline.Timeline) {
			drop(tl, 1).ConnUse = 0
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
		}, "app-0", ByRoute, "prestop"},
		{"a Pod that nobody watched", func(tl *timeline.Timeline) {
			tl.Lanes[2].Pods = []string{"app-9"}
			drop(tl, 2).Pod = 1
		}, "app-9", ByAnswer, whyNoLifecycle},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			tt.requests(&tl)
			d := one(t, tl)
			assert.Equal(t, tt.pod, d.Pod)
			assert.Equal(t, tt.evidence, d.Evidence)
			assert.Equal(t, tt.want, cmp.Or(d.Why, d.Phase.String()))
			assert.Equal(t, d.Phase == Unattributed, d.Why != "", "a reason, or a phase")
		})
	}
}

// TestFromOutside: the choice for a client outside is that of the node that it asked, whose
// connection tracking alone counts. Its answer comes back to the node, which hides the client's
// address from the Pod: what the client is known by is where it came from.
func TestFromOutside(t *testing.T) {
	const sent, done, client = 4500 * ms, 4501 * ms, "172.18.0.5"
	tests := []struct {
		name   string
		change func(*timeline.Timeline)
		pod    string
		want   string // why not, or the phase
	}{
		{"as the node that was asked has it", func(tl *timeline.Timeline) {
			chosenOn(tl, "n2", sent+ms, client, 40000, "10.0.0.1")
		}, "app-0", "prestop"},
		{"not as another node has it", func(tl *timeline.Timeline) {
			chosenOn(tl, "n1", sent+ms, client, 40000, "10.0.0.1")
		}, "", whyNoRoute},
		{"not as the node that was asked has it of somebody else", func(tl *timeline.Timeline) {
			chosenOn(tl, "n2", sent+ms, "172.18.0.6", 40000, "10.0.0.1")
		}, "", whyNoRoute},
		{"that node's connection tracking ended", func(tl *timeline.Timeline) { tl.Sources[4].Missing = "ended at 4s" }, "", whyNoConntrack + ": ended at 4s"},
		{"another node's ended", func(tl *timeline.Timeline) { tl.Sources[3].Missing = "ended at 4s" }, "", whyNoRoute},
		{"that node's clock is known badly", func(tl *timeline.Timeline) {
			known(&tl.Sources[4], 9*sec)
			chosenOn(tl, "n2", sent+ms, client, 40000, "10.0.0.1")
		}, "", whyClock},
		{"a node that is watched by nobody, as of a cluster that exists", func(tl *timeline.Timeline) { tl.Lanes[2].Requests[0].Address = 3 }, "", whyNoConntrack},
		{"from this machine to a cluster that exists", func(tl *timeline.Timeline) {
			tl.Senders[0] = timeline.Sender{Name: "host", Lanes: tl.Senders[0].Lanes}
			tl.Sources = tl.Sources[:3]
		}, "", whyNoConntrack},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			tl.Spec.Lanes[2].Evidence = []string{timeline.EvidenceConntrack}
			tl.Senders[0].Name, tl.Senders[0].IP = "client", client
			tl.Sources[3].IP, tl.Sources[4].IP = "172.18.0.2", "172.18.0.3"
			tl.Lanes[2].Addresses = []string{"172.18.0.2", "172.18.0.3", "172.18.0.4"}
			give(&tl, 2, sent, done, timeline.Refused).Address = 2
			tt.change(&tl)
			d := one(t, tl)
			assert.Equal(t, tt.pod, d.Pod)
			assert.Equal(t, tt.want, cmp.Or(d.Why, d.Phase.String()))
		})
	}
}

// TestRouting: the evidence of a dropped request is what holds for its consumer's routing.
func TestRouting(t *testing.T) {
	const dns, ingress = 3, 4
	const sent, done = 4500 * ms, 4502 * ms
	noEndpoint := func(tl *timeline.Timeline) {
		for i, at := range []time.Duration{3 * sec, 2 * sec} {
			happens(tl, at, timeline.EndpointGone, timeline.Event{Pod: fmt.Sprintf("app-%d", i)})
		}
	}
	tests := []struct {
		name     string
		requests func(*timeline.Timeline)
		pod      string
		evidence Evidence
		want     string // why not, or the phase
	}{
		{"per request: the connection says nothing", func(tl *timeline.Timeline) {
			give(tl, ingress, sec, sec+ms, timeline.OK).ConnUse = 7
			r := give(tl, ingress, sent, done, timeline.EOF)
			r.Port, r.ConnUse = 40000, 8
		}, "", "", whyPerRequest},
		{"per request: nor does a choice for its port", func(tl *timeline.Timeline) {
			give(tl, ingress, sent, done, timeline.EOF)
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
		}, "", "", whyPerRequest},
		{"per request: the answer does", func(tl *timeline.Timeline) {
			give(tl, ingress, sent, done, timeline.HTTP5xx).Pod = 1
		}, "app-0", ByAnswer, "prestop"},
		{"by client: the address", func(tl *timeline.Timeline) {
			give(tl, dns, sent, done, timeline.Reset).Address = 1
		}, "app-0", ByAddress, "prestop"},
		{"by client: the address, whatever connection tracking has", func(tl *timeline.Timeline) {
			give(tl, dns, sent, done, timeline.Reset).Address = 2
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
		}, "app-1", ByAddress, "before-deletion"},
		{"by client: the address that it dialled and had no connection to", func(tl *timeline.Timeline) {
			r := give(tl, dns, 6500*ms, 6501*ms, timeline.Refused)
			r.Address, r.ConnUse = 1, 0
		}, "app-0", ByAddress, "listener-closed"},
		{"by client: timed out", func(tl *timeline.Timeline) {
			r := give(tl, dns, 9*sec, 14*sec, timeline.Timeout)
			r.Address, r.ConnUse, r.Port = 1, 0, 0
		}, "app-0", ByAddress, "after-exit"},
		{"by client: an address of nobody", func(tl *timeline.Timeline) {
			give(tl, dns, sent, done, timeline.Reset).Address = 3
		}, "", "", whyForeignIP},
		{"by client: an index of nothing", func(tl *timeline.Timeline) {
			give(tl, dns, sent, done, timeline.DNS).Address = 9
		}, "", "", whyNoAddress},
		{"by client: no address", func(tl *timeline.Timeline) { give(tl, dns, sent, done, timeline.DNS) }, "", "", whyNoAddress},
		{"by client: no address, as there is no endpoint", func(tl *timeline.Timeline) {
			noEndpoint(tl)
			give(tl, dns, sent, done, timeline.DNS)
		}, "", "", "no-endpoint"},
		{"by client: an address, though there is no endpoint", func(tl *timeline.Timeline) {
			noEndpoint(tl)
			give(tl, dns, sent, done, timeline.Refused).Address = 1
		}, "app-0", ByAddress, "prestop"},
		{"by client: an address that two Pods had", func(tl *timeline.Timeline) {
			again(tl)
			happens(tl, 9*sec, timeline.PodAddressed, timeline.Event{Pod: "app-2", UID: "uid-2", IP: "10.0.0.1"})
			forget(tl, timeline.PodGone)
			give(tl, dns, 12*sec, 12001*ms, timeline.Refused).Address = 1
		}, "", "", whyTwoPods},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			tt.requests(&tl)
			d := one(t, tl)
			assert.Equal(t, tt.pod, d.Pod)
			assert.Equal(t, tt.evidence, d.Evidence)
			assert.Equal(t, tt.want, cmp.Or(d.Why, d.Phase.String()))
		})
	}
}

// TestSendersOfALane: which of the senders sent a request, its number says.
func TestSendersOfALane(t *testing.T) {
	tl := leaving()
	tl.Senders = nil
	for i := range 3 {
		tl.Senders = append(tl.Senders, timeline.Sender{
			Name: fmt.Sprintf("worker-%d", i), Node: "n1", IP: fmt.Sprintf("10.9.0.%d", i), Lanes: []string{"service/new", "service/reused"}, Comparison: oneClock,
		})
	}
	targets := []string{"10.0.0.1", "10.0.0.2", "10.0.0.1"}
	for i, target := range targets {
		give(&tl, 0, 4500*ms, 4501*ms, timeline.Reset).Port = 40000 // the same port everywhere
		chosen(&tl, 4500*ms, tl.Senders[i].IP, 40000, target)
	}
	for _, pod := range []uint16{1, 2, 1} { // reused: answered, on the same port everywhere
		r := give(&tl, 1, 3*sec, 3001*ms, timeline.OK)
		r.Pod, r.Port = pod, 40000
	}
	for range 3 {
		r := give(&tl, 1, 4500*ms, 4501*ms, timeline.Reset)
		r.Port, r.ConnUse = 40000, 2
	}
	var pods []string
	for _, d := range slices.Concat(attribute(tl, podLifecycles(tl))...) {
		pods = append(pods, d.Pod)
	}
	assert.Equal(t, []string{"app-0", "app-1", "app-0", "app-0", "app-1", "app-0"}, pods)
}

// TestNoEndpoint: a request is charged to the lack of an endpoint only if it was refused, no choice
// was made for it, and there was none.
func TestNoEndpoint(t *testing.T) {
	// app-1 goes, too: no endpoint from 7.1 s until app-2 comes at 10 s. It goes at 15 s for good.
	withoutAny := func(tl *timeline.Timeline) {
		happens(tl, 6*sec, timeline.EndpointGone, timeline.Event{Pod: "app-1"})
		for at, kind := range map[time.Duration]timeline.Kind{9 * sec: timeline.PodCreated, 10 * sec: timeline.EndpointServing, 15 * sec: timeline.EndpointGone} {
			happens(tl, at, kind, timeline.Event{Pod: "app-2", UID: "uid-2", Node: "n1"})
		}
	}
	tests := []struct {
		name   string
		change func(*timeline.Timeline)
		sent   time.Duration
		cause  timeline.Cause
		want   string
	}{
		{"without an endpoint", withoutAny, 8 * sec, timeline.Refused, "no-endpoint"},
		{"when the node did not know yet of its end", withoutAny, 11900 * ms, timeline.Refused, "no-endpoint"},
		{"when it must have known", withoutAny, 12100 * ms, timeline.Refused, whyNoRoute},
		{"before it", withoutAny, 6900 * ms, timeline.Refused, whyNoRoute},
		{"once the last endpoint fails its probe", func(tl *timeline.Timeline) {
			withoutAny(tl)
			happens(tl, 6500*ms, timeline.EndpointNotServing, timeline.Event{Pod: "app-0"})
		}, 6900 * ms, timeline.Refused, "no-endpoint"},
		{"while the last endpoint, though not terminating, fails its probe", func(tl *timeline.Timeline) {
			happens(tl, 6*sec, timeline.EndpointUnready, timeline.Event{Pod: "app-1"})
			happens(tl, 9*sec, timeline.EndpointServing, timeline.Event{Pod: "app-1"})
		}, 8 * sec, timeline.Refused, "no-endpoint"},
		{"long after it has recovered", func(tl *timeline.Timeline) {
			happens(tl, 6*sec, timeline.EndpointUnready, timeline.Event{Pod: "app-1"})
			happens(tl, 9*sec, timeline.EndpointServing, timeline.Event{Pod: "app-1"})
		}, 11100 * ms, timeline.Refused, whyNoRoute},
		{"in the one that does not end", withoutAny, 19 * sec, timeline.Refused, "no-endpoint"},
		{"not even rejected", withoutAny, 8 * sec, timeline.Timeout, "no-endpoint"},
		{"never without one", func(*timeline.Timeline) {}, 8 * sec, timeline.Refused, whyNoRoute},
		{"a choice was made", func(tl *timeline.Timeline) {
			withoutAny(tl)
			chosen(tl, 8001*ms, "10.9.0.1", 40000, "10.0.0.1")
		}, 8 * sec, timeline.Refused, "after-exit"},
		{"nobody would know of a choice", func(tl *timeline.Timeline) {
			withoutAny(tl)
			tl.Sources[3].Missing = "no permission"
		}, 8 * sec, timeline.Refused, whyNoConntrack + ": no permission"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			tt.change(&tl)
			give(&tl, 0, tt.sent, tt.sent+2*ms, tt.cause)
			d := one(t, tl)
			assert.Equal(t, tt.want, cmp.Or(d.Why, d.Phase.String()))
			assert.Equal(t, tt.want == "after-exit", d.Pod != "")
		})
	}
}

// TestClocks: a phase is named only where the clocks that are compared say what came first.
func TestClocks(t *testing.T) {
	app, conntrack := 1, 3
	tests := []struct {
		name   string
		change func(*timeline.Timeline)
		done   time.Duration
		want   string
	}{
		{"one clock", func(*timeline.Timeline) {}, 5 * sec, "terminating"},
		{"the node's clock is uncertain", func(tl *timeline.Timeline) { known(&tl.Sources[app], 20*ms) }, 5019 * ms, whyClock},
		{"it is certain enough", func(tl *timeline.Timeline) { known(&tl.Sources[app], 20*ms) }, 5020 * ms, "terminating"},
		{"the worse of two", func(tl *timeline.Timeline) {
			known(&tl.Sources[app], 5*ms)
			known(&tl.Sources[conntrack], 20*ms)
		}, 5019 * ms, whyClock},
		{"near an instant that decides nothing", func(tl *timeline.Timeline) { known(&tl.Sources[app], 20*ms) }, 7025 * ms, "cut-at-exit"},
		{"the sender's clock is uncertain", func(tl *timeline.Timeline) { tl.Senders[1].SameClock, tl.Senders[1].Uncertainty = false, 30*ms }, 4980 * ms, whyClock},
		{"and near the deletion", func(tl *timeline.Timeline) { tl.Senders[1].SameClock, tl.Senders[1].Uncertainty = false, 30*ms }, 4029 * ms, whyClock},
		{"uncertain, and the same", func(tl *timeline.Timeline) { tl.Senders[1].Uncertainty = 30 * ms }, 4980 * ms, "prestop"},
		{"both are", func(tl *timeline.Timeline) {
			known(&tl.Sources[app], 20*ms)
			tl.Senders[1].SameClock, tl.Senders[1].Uncertainty = false, 30*ms
		}, 5049 * ms, whyClock},
		{"the harness' clock was set", func(tl *timeline.Timeline) { tl.Sources[0].Drift = -300 * ms }, 5299 * ms, whyClock},
		{"set, and far from any instant", func(tl *timeline.Timeline) { tl.Sources[0].Drift = -300 * ms }, 5500 * ms, "terminating"},
		{"set by so much that a port may have come round again", func(tl *timeline.Timeline) { tl.Sources[0].Drift = 9 * sec }, 5500 * ms, whyClock},
		{"a node whose clock nobody knows", func(tl *timeline.Timeline) { tl.Sources[app].SameClock, tl.Sources[conntrack].SameClock = false, false }, 5500 * ms, whyClock},
		{"older than sources", func(tl *timeline.Timeline) { tl.Sources = nil }, 5500 * ms, "terminating"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			tt.change(&tl)
			give(&tl, 0, 3990*ms, tt.done, timeline.Reset)
			chosen(&tl, 3991*ms, "10.9.0.1", 40000, "10.0.0.1")
			d := one(t, tl)
			assert.Equal(t, tt.want, cmp.Or(d.Why, d.Phase.String()))
		})
	}
	for _, sent := range []time.Duration{4971 * ms, 5029 * ms} {
		t.Run(fmt.Sprintf("timed out, sent at %s", sent), func(t *testing.T) {
			tl := leaving()
			tl.Senders[1].SameClock, tl.Senders[1].Uncertainty = false, 30*ms
			give(&tl, 0, sent, sent+sec, timeline.Timeout)
			chosen(&tl, sent, "10.9.0.1", 40000, "10.0.0.1")
			assert.Equal(t, whyClock, one(t, tl).Why, "SIGTERM was at 5s")
		})
	}
	for at, want := range map[time.Duration]string{-32 * ms: whyNoRoute, -30 * ms: "", 2030 * ms: "", 2033 * ms: whyNoRoute} {
		t.Run(fmt.Sprintf("a choice for its port, seen %s after it", at), func(t *testing.T) {
			tl := leaving()
			known(&tl.Sources[conntrack], 30*ms)
			give(&tl, 0, 3*sec, 3001*ms, timeline.Reset)
			chosen(&tl, 3*sec+at, "10.9.0.1", 40000, "10.0.0.1")
			assert.Equal(t, want, one(t, tl).Why)
		})
	}
	t.Run("a port may have come round again, however clear the phase", func(t *testing.T) {
		tl := leaving()
		tl.Sources[0].Drift = 9 * sec
		give(&tl, 0, 19*sec, 19001*ms, timeline.Refused)
		chosen(&tl, 19*sec, "10.9.0.1", 40000, "10.0.0.1")
		assert.Equal(t, whyClock, one(t, tl).Why)
	})
	t.Run("a node that tells nothing needs no clock", func(t *testing.T) {
		tl := leaving()
		forget(&tl, timeline.AppStart, timeline.AppListening, timeline.AppSIGTERM, timeline.AppListenerClosed, timeline.AppExit, timeline.ProcessExit)
		tl.Sources = slices.Delete(tl.Sources, app, conntrack+1)
		give(&tl, 2, 3*sec, 3001*ms, timeline.HTTP5xx).Pod = 1
		assert.Equal(t, BeforeDeletion, one(t, tl).Phase)
	})
}

// known makes the clock of a source another one, known to within a length.
func known(s *timeline.Source, uncertainty time.Duration) {
	s.SameClock, s.Uncertainty, s.Offset = false, uncertainty, 7*sec
}

// TestNeverTwo: whatever is on record, in whatever order: each dropped request is charged once or
// says why not, and the sums agree.
func TestNeverTwo(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	phases, evidence, reasons := map[LifecyclePhase]int{}, map[Evidence]int{}, map[string]int{}
	for range 200 {
		tl := anything(random)
		v := Judge(tl)
		type number struct {
			lane string
			seq  int
		}
		charged := map[number]int{}
		for _, l := range v.DroppedRequests {
			charged[number{l.Lane, l.Seq}]++
			require.Equal(t, l.Phase == Unattributed, l.Why != "", "%+v", l)
			require.Equal(t, l.Pod == "", l.Evidence == "", "%+v", l)
			if l.Phase != Unattributed && l.Phase != NoEndpoint {
				require.NotEmpty(t, l.Pod, "%+v", l)
			}
			phases[l.Phase]++
			evidence[l.Evidence]++
			reasons[l.Why]++
		}
		for i, lane := range v.Lanes {
			dropped, sum, outage := 0, 0, 0
			for seq, r := range tl.Lanes[i].Requests {
				if r.Dropped() {
					dropped++
					require.Equal(t, 1, charged[number{lane.Name, seq}])
				}
			}
			for _, n := range lane.Phases {
				sum += n
			}
			for _, o := range lane.Outages {
				outage += o.Dropped
			}
			require.Equal(t, []int{dropped, dropped, dropped}, []int{lane.Dropped, sum, outage}, lane.Name)
			unattributed := 0
			for _, n := range lane.Unattributed {
				unattributed += n
			}
			require.Equal(t, lane.Phases[Unattributed], unattributed)
		}
	}
	for _, m := range LifecyclePhases() {
		assert.Positive(t, phases[m], "%s never came", m)
	}
	for _, e := range []Evidence{ByAnswer, ByConnection, ByAddress, ByRoute, ByAccessLog} {
		assert.Positive(t, evidence[e], "%s never came", e)
	}
	for _, why := range []string{
		whyOutside, whyPerRequest, whyNoAddress, whyNoPort, whyNoConntrack, whyNoRoute, whyTwoRoutes, whyForeignIP, whyConnection,
		whyNotSeen, whyClock, whyNotTaken, whyNoAccessLog, whyNoForward, whyTwoForwards, whyNoTarget, whyNoLocalPort, whyService,
	} {
		assert.Positive(t, reasons[why], "%s: never came", why)
	}
}

// anything is leaving with instants, clocks and sources that are missing at random, and with random
// requests and routes.
func anything(random *rand.Rand) timeline.Timeline {
	tl := proxied()
	if random.IntN(4) == 0 {
		tl.Spec.Lanes[ingress].Evidence = nil
	}
	happens(&tl, 10*sec, timeline.PodCreated, timeline.Event{Pod: "app-0", UID: "uid-again"})
	happens(&tl, 10500*ms, timeline.PodAddressed, timeline.Event{Pod: "app-0", UID: "uid-again", Node: "n1", IP: "10.0.0.1"})
	if random.IntN(3) == 0 {
		happens(&tl, 7*sec, timeline.EndpointGone, timeline.Event{Pod: "app-1", UID: "uid-1"})
	}
	tl.Events = slices.DeleteFunc(tl.Events, func(timeline.Event) bool { return random.IntN(12) == 0 })
	tl.Sources = slices.DeleteFunc(tl.Sources, func(timeline.Source) bool { return random.IntN(20) == 0 })
	for i := range tl.Sources {
		if random.IntN(10) == 0 {
			known(&tl.Sources[i], time.Duration(random.IntN(50))*ms)
		}
	}
	if random.IntN(10) == 0 {
		gap(time.Duration(random.IntN(20)) * sec)(&tl)
	}
	targets := []string{"10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.9"}
	for lane := range tl.Lanes {
		for seq := range 60 {
			sent := time.Duration(random.IntN(20000)) * ms
			done := sent + time.Duration(random.IntN(30))*ms
			if random.IntN(6) == 0 {
				done = sent + time.Duration(random.IntN(5000))*ms
			}
			r := give(&tl, lane, sent, done, timeline.Cause(random.IntN(int(timeline.Other)+1)))
			if random.IntN(3) == 0 && r.Cause != timeline.OK {
				r.Cause = timeline.Refused
			}
			r.Pod, r.Code = 0, 0
			if r.Cause == timeline.OK || r.Cause == timeline.HTTP5xx {
				r.Pod = uint16(1 + random.IntN(2))
			}
			r.ConnUse = uint32(random.IntN(2))
			if tl.Spec.Lanes[lane].Routing == timeline.ByClient {
				r.Address = uint16(random.IntN(4))
			}
			if lane > 0 && seq > 0 && random.IntN(2) == 0 {
				r.Port, r.ConnUse = r.Port-1, tl.Lanes[lane].Requests[seq-1].ConnUse+1
			}
			for range random.IntN(2) + random.IntN(2) {
				chosen(&tl, sent+ms, "10.9.0.1", r.Port, targets[random.IntN(len(targets))])
			}
			if spec := tl.Spec.Lanes[lane]; spec.Component != "" {
				for range random.IntN(2) + random.IntN(2) + random.IntN(2) {
					f := timeline.Forward{At: sent + ms, Seq: uint32(seq), ClientPort: r.Port, LocalPort: uint16(random.IntN(2) * (seq + 50000))}
					if spec.Routing == timeline.PerRequest {
						passes(&tl, spec.Component, spec.Name, "10.9.0.1", append(targets, "")[random.IntN(5)], f)
						continue
					}
					passes(&tl, spec.Component, "", client, []string{"172.18.0.2", "172.18.0.2", ""}[random.IntN(3)], f)
					if random.IntN(4) > 0 {
						chosen(&tl, sent+2*ms, "172.18.0.6", f.LocalPort, targets[random.IntN(len(targets))])
					}
				}
			}
			if random.IntN(30) == 0 {
				r.Port = 0
			}
		}
	}
	slices.SortFunc(tl.Routes.List, func(a, b timeline.Route) int { return cmp.Compare(a.At, b.At) })
	return tl
}

// TestLaneTwice: the dropped requests of a lane that is twice on record are each counted once.
func TestLaneTwice(t *testing.T) {
	tl := leaving()
	give(&tl, 0, 4500*ms, 4501*ms, timeline.Reset)
	tl.Lanes = []timeline.LaneRecord{tl.Lanes[0], tl.Lanes[1], tl.Lanes[0]}
	v := Judge(tl)
	for i, want := range []int{1, 0, 1} {
		assert.Equal(t, want, v.Lanes[i].Dropped)
		assert.Equal(t, want, v.Lanes[i].Phases[Unattributed])
	}
	assert.Len(t, v.DroppedRequests, 2)
}

func TestPhaseNames(t *testing.T) {
	require.Len(t, LifecyclePhases(), len(phaseWords))
	seen := map[LifecyclePhase]bool{}
	for _, m := range LifecyclePhases() {
		raw, err := json.Marshal(map[LifecyclePhase]LifecyclePhase{m: m})
		require.NoError(t, err)
		var back map[LifecyclePhase]LifecyclePhase
		require.NoError(t, json.Unmarshal(raw, &back))
		assert.Equal(t, map[LifecyclePhase]LifecyclePhase{m: m}, back)
		assert.NotEmpty(t, m.Meaning(), m)
		seen[m] = true
	}
	assert.Len(t, seen, len(phaseWords))
	assert.Empty(t, LifecyclePhase(-1).Meaning()+LifecyclePhase(99).Meaning())
	assert.Equal(t, Unattributed, DroppedRequest{}.Phase, "what nobody looked into is charged to no one")
	assert.Equal(t, "phase(99) phase(-1)", LifecyclePhase(99).String()+" "+LifecyclePhase(-1).String())
	var m LifecyclePhase
	require.ErrorContains(t, m.UnmarshalText([]byte("late")), `unknown phase "late"`)
}

// TestCutUnseen: where no node can be asked which Pod it was, a slow request is in flight whose connection was made, and cut while the app worked on it.
func TestCutUnseen(t *testing.T) {
	tests := []struct {
		name  string
		class timeline.Class // of the lane
		cause timeline.Cause
		lasts time.Duration
		seen  bool // a node tells which Pods it chose
		want  timeline.Class
	}{
		{"cut while it worked", timeline.ClassInFlight, timeline.EOF, 700 * ms, false, timeline.ClassInFlight},
		{"reset while it worked", timeline.ClassInFlight, timeline.Reset, 700 * ms, false, timeline.ClassInFlight},
		{"given up at once", timeline.ClassInFlight, timeline.Reset, 3 * ms, false, timeline.ClassNew},
		{"refused", timeline.ClassInFlight, timeline.Refused, 700 * ms, false, timeline.ClassNew},
		{"never answered", timeline.ClassInFlight, timeline.Timeout, 5 * sec, false, timeline.ClassNew},
		{"what doesn't take long", timeline.ClassNew, timeline.EOF, 700 * ms, false, timeline.ClassNew},
		{"nodes tell", timeline.ClassInFlight, timeline.EOF, 700 * ms, true, timeline.ClassNew},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			tl.Spec.Lanes[0].Class = tt.class
			if tt.seen {
				chosen(&tl, sec, "10.9.0.1", 1, "10.0.0.1")
			}
			give(&tl, 0, 5500*ms, 5500*ms+tt.lasts, tt.cause)
			assert.Equal(t, tt.want, one(t, tl).Class)
		})
	}
}
