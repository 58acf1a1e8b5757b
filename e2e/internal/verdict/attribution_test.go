package verdict

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/fixtures"
)

// oneClock is how clocks compare where everything is on one machine.
var oneClock = timeline.Comparison{SameClock: true}

// leaving is a timeline without requests: one Pod that goes in an orderly way, and one that stays.
//
//	app-0 on n1, 10.0.0.1: listening 1 s, deleted 4 s, SIGTERM 5 s, listener closed 6 s, exit 7 s, gone 8 s
//	app-1 on n2, 10.0.0.2: listening 1 s
//
// worker-0 on n1 sends service/new and service/reused, the host nodeport/reused. There is one clock, and connection tracking on both nodes.
func leaving() timeline.Timeline {
	tl := timeline.Timeline{
		Window: timeline.Window{DisruptStart: 3 * sec, DisruptEnd: 4 * sec, Settled: 9 * sec, LoadEnd: 20 * sec},
		Lanes: []timeline.LaneRecord{
			{Name: "service/new", From: fixtures.FromCluster, Connections: "new", Rate: 10, Pods: []string{"app-0", "app-1"}},
			{Name: "service/reused", From: fixtures.FromCluster, Connections: "reused", Rate: 10, Pods: []string{"app-0", "app-1"}},
			{Name: "nodeport/reused", From: fixtures.FromHost, Connections: "reused", Rate: 10, Pods: []string{"app-0", "app-1"}},
		},
		Senders: []timeline.Sender{
			{Name: "host", Lanes: []string{"nodeport/reused"}, Comparison: oneClock},
			{Name: "worker-0", Node: "n1", IP: "10.9.0.1", Lanes: []string{"service/new", "service/reused"}, Comparison: oneClock},
		},
		Sources: []timeline.Source{
			{Kind: timeline.SourceHarness, Comparison: oneClock},
			{Kind: timeline.SourceApp, Node: "n1", Comparison: oneClock},
			{Kind: timeline.SourceApp, Node: "n2", Comparison: oneClock},
			{Kind: timeline.SourceConntrack, Node: "n1", Comparison: oneClock},
			{Kind: timeline.SourceConntrack, Node: "n2", Comparison: oneClock},
		},
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
	index := func(name string) uint16 {
		i, err := tl.Routes.Index(name)
		if err != nil {
			panic(err)
		}
		return i
	}
	tl.Routes.List = append(tl.Routes.List, timeline.Route{At: at, Node: index("n1"), Source: index(source), Target: index(target), Port: port})
}

// give adds a request to a lane and returns its record: first on a connection of its own, from port 40000 on, and answered by app-1 if it is ok.
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

// one is the loss of a timeline, the last if there are several.
func one(t *testing.T, tl timeline.Timeline) Loss {
	t.Helper()
	losses := slices.Concat(attribute(tl, podLives(tl))...)
	require.NotEmpty(t, losses)
	return losses[len(losses)-1]
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

type changes []func(*timeline.Timeline)

// TestMoments: a request that was routed to app-0, and what is known of that Pod.
func TestMoments(t *testing.T) {
	tests := []struct {
		name       string
		pod        changes
		sent, done time.Duration
		cause      timeline.Cause
		why        string
		want       Moment
	}{
		{"before it listened", nil, 900 * ms, 901 * ms, timeline.Refused, "", StartUp},
		{"before it listened, and ready too soon", changes{with(800*ms, timeline.PodReady)}, 900 * ms, 901 * ms, timeline.Refused, "", StartUp},
		{"sent before it listened, lost afterwards", nil, 900 * ms, 2 * sec, timeline.Reset, "", BeforeDeletion},
		{"in good health", nil, 3 * sec, 3001 * ms, timeline.Reset, "", BeforeDeletion},
		{"of a Pod that stays", changes{stays}, 9 * sec, 9001 * ms, timeline.Reset, "", BeforeDeletion},
		{"of a Pod that crashed", changes{stays, with(7*sec, timeline.ProcessExit)}, 6 * sec, 6001 * ms, timeline.Reset, "", BeforeDeletion},
		{"just after the deletion", nil, 4 * sec, 4001 * ms, timeline.Reset, "", PreStop},
		{"sent before the deletion, lost in preStop", nil, 3 * sec, 4500 * ms, timeline.Reset, "", PreStop},
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
		{"in good health, nothing told by the node", changes{noHandler, noRuntime, without(timeline.AppListening)}, 3 * sec, 3001 * ms, timeline.Reset, whyNoMarks, Unattributed},
		{"around an exit that nobody saw", changes{noRuntime, killed}, 6500 * ms, 6501 * ms, timeline.Refused, whyNoMarks, Unattributed},
		{"SIGTERM, then a log that was cut off", changes{ignores, with(7*sec, timeline.LogCut)}, 6500 * ms, 6501 * ms, timeline.Refused, whyNoMarks, Unattributed},
		{"nothing of SIGTERM, in a log that was cut off", changes{noHandler, with(7*sec, timeline.LogCut)}, 5500 * ms, 5501 * ms, timeline.Reset, whyNoMarks, Unattributed},
		{"nothing of SIGTERM, in no log", changes{noHandler, without(timeline.AppStart)}, 5500 * ms, 5501 * ms, timeline.Reset, whyNoMarks, Unattributed},
		{"refused before the exit was noticed, log cut off", changes{noHandler, with(7*sec, timeline.LogCut)}, 6990 * ms, 6991 * ms, timeline.Refused, whyNoMarks, Unattributed},
		{"before SIGTERM, deletion never seen", changes{without(timeline.PodDeleted)}, 4500 * ms, 4501 * ms, timeline.Reset, whyNoMarks, Unattributed},
		{"a watch gap before the deletion was seen", changes{gap(3500 * ms)}, 3 * sec, 3001 * ms, timeline.Reset, whyNoMarks, Unattributed},
		{"a watch gap afterwards", changes{gap(4500 * ms)}, 3 * sec, 3001 * ms, timeline.Reset, "", BeforeDeletion},
		{"preStop by a late sight of the deletion", changes{gap(3500 * ms)}, 4500 * ms, 4501 * ms, timeline.Reset, "", PreStop},
		{"of a Pod that stays, as far as a broken watch knows", changes{stays, gap(12 * sec)}, 9 * sec, 9001 * ms, timeline.Reset, whyNoMarks, Unattributed},
		{"of a Pod that is gone, and was never seen to be deleted", changes{stays, with(12*sec, timeline.PodGone)}, 9 * sec, 9001 * ms, timeline.Reset, whyNoMarks, Unattributed},
		{"of a container that ended, nobody knows when", changes{stays, with(12*sec, timeline.ContainerExit)}, 9 * sec, 9001 * ms, timeline.Reset, whyNoMarks, Unattributed},
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
			loss := one(t, tl)
			assert.Equal(t, "app-0", loss.Pod)
			assert.Equal(t, ByRoute, loss.Evidence)
			assert.Equal(t, tt.why, loss.Why)
			assert.Equal(t, tt.want.String(), loss.Moment.String())
			if deleted, ok := podLives(tl).byName["app-0"][0].At(timeline.PodDeleted); ok {
				require.NotNil(t, loss.Since)
				assert.Equal(t, tt.sent-deleted, *loss.Since)
			} else {
				assert.Nil(t, loss.Since, "nothing is put in the place of a deletion that was not seen")
			}
		})
	}
}

// TestAnswered: a Pod that has answered, not well, had neither ended nor not begun.
func TestAnswered(t *testing.T) {
	tests := []struct {
		name       string
		pod        changes
		sent, done time.Duration
		cause      timeline.Cause
		want       Moment
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
			loss := one(t, tl)
			assert.Equal(t, "app-0", loss.Pod)
			assert.Equal(t, ByAnswer, loss.Evidence, "from the host as well")
			assert.Equal(t, tt.want.String(), loss.Moment.String())
		})
	}
}

// TestPodOfLoss: which Pod a loss at 4.5 s is charged to, and how that is known.
func TestPodOfLoss(t *testing.T) {
	const sent, done = 4500 * ms, 4502 * ms
	lost := func(tl *timeline.Timeline, lane int) *timeline.Request {
		return give(tl, lane, sent, done, timeline.Reset)
	}
	tests := []struct {
		name     string
		requests func(*timeline.Timeline)
		pod      string
		evidence Evidence
		want     string // why not, or the moment
	}{
		{"by the choice for its port", func(tl *timeline.Timeline) {
			lost(tl, 0)
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
		}, "app-0", ByRoute, "prestop"},
		{"by the choice for its port, told late", func(tl *timeline.Timeline) {
			lost(tl, 0)
			chosen(tl, done+1900*ms, "10.9.0.1", 40000, "10.0.0.1")
		}, "app-0", ByRoute, "prestop"},
		{"not by the choice that was nearest in time", func(tl *timeline.Timeline) {
			lost(tl, 0)
			chosen(tl, sent, "10.9.0.1", 41000, "10.0.0.2")
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
			chosen(tl, sent+ms, "10.9.0.2", 40000, "10.0.0.2")
		}, "app-0", ByRoute, "prestop"},
		{"not by the Pod that was leaving at the time", func(tl *timeline.Timeline) {
			lost(tl, 0)
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.2")
		}, "app-1", ByRoute, "before-deletion"},
		{"a choice that was told twice", func(tl *timeline.Timeline) {
			lost(tl, 0)
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
			chosen(tl, sent+2*ms, "10.9.0.1", 40000, "10.0.0.1")
		}, "app-0", ByRoute, "prestop"},
		{"a port that was used a while before", func(tl *timeline.Timeline) {
			lost(tl, 0)
			chosen(tl, sent-ms-2*clockGrain, "10.9.0.1", 40000, "10.0.0.2")
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
			chosen(tl, done+2100*ms, "10.9.0.1", 40000, "10.0.0.2")
		}, "app-0", ByRoute, "prestop"},
		{"a port whose own choice was not seen", func(tl *timeline.Timeline) {
			lost(tl, 0)
			chosen(tl, sent-100*ms, "10.9.0.1", 40000, "10.0.0.2")
			chosen(tl, sent+30*sec, "10.9.0.1", 40000, "10.0.0.2")
		}, "", "", whyNoRoute},
		{"a port that was used twice at the time", func(tl *timeline.Timeline) {
			lost(tl, 0)
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
			chosen(tl, sent+2*ms, "10.9.0.1", 40000, "10.0.0.2")
		}, "", "", whyTwoRoutes},
		{"an address that is none of the app's", func(tl *timeline.Timeline) {
			lost(tl, 0)
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.9")
		}, "", "", whyForeignIP},
		{"no connection at all", func(tl *timeline.Timeline) { lost(tl, 0).Port = 0 }, "", "", whyNoPort},
		{"a sender without an address", func(tl *timeline.Timeline) {
			lost(tl, 0)
			tl.Senders[1].IP = ""
		}, "", "", whyNoSender},
		{"nobody is on record to have sent it", func(tl *timeline.Timeline) {
			lost(tl, 0)
			tl.Senders = nil
		}, "", "", whyNoSender},
		{"no connection tracking", func(tl *timeline.Timeline) {
			lost(tl, 0)
			tl.Sources = tl.Sources[:3]
		}, "", "", whyNoConntrack},
		{"no connection tracking where it was sent from", func(tl *timeline.Timeline) {
			lost(tl, 0)
			tl.Sources[3].Node = "n3"
		}, "", "", whyNoConntrack},
		{"connection tracking that ended", func(tl *timeline.Timeline) {
			lost(tl, 0)
			tl.Sources[3].Missing = "ended at 4s"
		}, "", "", whyNoConntrack + ": ended at 4s"},
		{"connection tracking that ended later", func(tl *timeline.Timeline) {
			lost(tl, 0)
			tl.Sources[3].Missing = "ended at 6s"
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
		}, "app-0", ByRoute, "prestop"},
		{"a new connection from the host", func(tl *timeline.Timeline) {
			lost(tl, 2)
			chosen(tl, sent+ms, "", 40000, "10.0.0.1")
		}, "", "", whyOutside},
		{"by the answer before, from the host", func(tl *timeline.Timeline) {
			r := give(tl, 2, sec, sec+ms, timeline.OK)
			r.Pod, r.ConnUse = 1, 7
			r = lost(tl, 2)
			r.Port, r.ConnUse = 40000, 8
		}, "app-0", ByConnection, "prestop"},
		{"by the answer before, which the plan has later", func(tl *timeline.Timeline) {
			r := lost(tl, 1)
			r.Port, r.ConnUse = 40001, 8
			r = give(tl, 1, 4100*ms, 4200*ms, timeline.OK) // is due later in the plan
			r.Pod, r.ConnUse = 1, 7
		}, "app-0", ByConnection, "prestop"},
		{"by the answer before, which was no good one", func(tl *timeline.Timeline) {
			r := give(tl, 1, 4100*ms, 4200*ms, timeline.HTTP5xx)
			r.Pod, r.ConnUse = 1, 7
			r = lost(tl, 1)
			r.Port, r.ConnUse = 40000, 8
		}, "app-0", ByConnection, "prestop"},
		{"by the latest answer before, of two", func(tl *timeline.Timeline) {
			for i, pod := range []uint16{2, 1, 2} {
				r := give(tl, 1, time.Duration(1+3*i)*sec, time.Duration(1+3*i)*sec+ms, timeline.OK)
				r.Pod, r.ConnUse, r.Port = pod, 7, 40000
			}
			r := lost(tl, 1)
			r.Port, r.ConnUse = 40000, 8
		}, "app-0", ByConnection, "prestop"},
		{"an answer two before", func(tl *timeline.Timeline) {
			give(tl, 2, sec, sec+ms, timeline.OK).ConnUse = 6
			r := lost(tl, 2)
			r.Port, r.ConnUse = 40000, 8
		}, "", "", whyConnection},
		{"an answer on another connection", func(tl *timeline.Timeline) {
			give(tl, 2, sec, sec+ms, timeline.OK).ConnUse = 7
			lost(tl, 2).ConnUse = 8
		}, "", "", whyConnection},
		{"first on a connection that is kept", func(tl *timeline.Timeline) {
			give(tl, 1, sec, sec+ms, timeline.OK)
			lost(tl, 1).Port = 40000
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
		}, "app-0", ByRoute, "prestop"},
		{"a connection that was never made", func(tl *timeline.Timeline) {
			lost(tl, 1).ConnUse = 0
			chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.1")
		}, "app-0", ByRoute, "prestop"},
		{"a Pod that nobody watched", func(tl *timeline.Timeline) {
			tl.Lanes[2].Pods = []string{"app-9"}
			lost(tl, 2).Pod = 1
		}, "app-9", ByAnswer, whyNoLife},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			tt.requests(&tl)
			loss := one(t, tl)
			assert.Equal(t, tt.pod, loss.Pod)
			assert.Equal(t, tt.evidence, loss.Evidence)
			assert.Equal(t, tt.want, cmp.Or(loss.Why, loss.Moment.String()))
			assert.Equal(t, loss.Moment == Unattributed, loss.Why != "", "a reason, or a moment")
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
	for _, loss := range slices.Concat(attribute(tl, podLives(tl))...) {
		pods = append(pods, loss.Pod)
	}
	assert.Equal(t, []string{"app-0", "app-1", "app-0", "app-0", "app-1", "app-0"}, pods)
}

// TestNoEndpoint: a request is charged to the lack of an endpoint only if it was refused, no choice was made for it, and there was none.
func TestNoEndpoint(t *testing.T) {
	// app-1 goes, too: no endpoint from 7.1 s until app-2 comes at 10 s. It goes at 15 s for good.
	holes := func(tl *timeline.Timeline) {
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
		{"in a hole", holes, 8 * sec, timeline.Refused, "no-endpoint"},
		{"when the node did not know yet of its end", holes, 11900 * ms, timeline.Refused, "no-endpoint"},
		{"when it must have known", holes, 12100 * ms, timeline.Refused, whyNoRoute},
		{"before it", holes, 6900 * ms, timeline.Refused, whyNoRoute},
		{"once the last endpoint fails its probe", func(tl *timeline.Timeline) {
			holes(tl)
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
		{"in the one that does not end", holes, 19 * sec, timeline.Refused, "no-endpoint"},
		{"not even rejected", holes, 8 * sec, timeline.Timeout, "no-endpoint"},
		{"no hole", func(*timeline.Timeline) {}, 8 * sec, timeline.Refused, whyNoRoute},
		{"a choice was made", func(tl *timeline.Timeline) {
			holes(tl)
			chosen(tl, 8001*ms, "10.9.0.1", 40000, "10.0.0.1")
		}, 8 * sec, timeline.Refused, "after-exit"},
		{"nobody would know of a choice", func(tl *timeline.Timeline) {
			holes(tl)
			tl.Sources[3].Missing = "no permission"
		}, 8 * sec, timeline.Refused, whyNoConntrack + ": no permission"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			tt.change(&tl)
			give(&tl, 0, tt.sent, tt.sent+2*ms, tt.cause)
			loss := one(t, tl)
			assert.Equal(t, tt.want, cmp.Or(loss.Why, loss.Moment.String()))
			assert.Equal(t, tt.want == "after-exit", loss.Pod != "")
		})
	}
}

// TestClocks: a moment is named only where the clocks that are compared say what came first.
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
		{"near a mark that decides nothing", func(tl *timeline.Timeline) { known(&tl.Sources[app], 20*ms) }, 7025 * ms, "cut-at-exit"},
		{"the sender's clock is uncertain", func(tl *timeline.Timeline) { tl.Senders[1].SameClock, tl.Senders[1].Uncertainty = false, 30*ms }, 4980 * ms, whyClock},
		{"and near the deletion", func(tl *timeline.Timeline) { tl.Senders[1].SameClock, tl.Senders[1].Uncertainty = false, 30*ms }, 4029 * ms, whyClock},
		{"uncertain, and the same", func(tl *timeline.Timeline) { tl.Senders[1].Uncertainty = 30 * ms }, 4980 * ms, "prestop"},
		{"both are", func(tl *timeline.Timeline) {
			known(&tl.Sources[app], 20*ms)
			tl.Senders[1].SameClock, tl.Senders[1].Uncertainty = false, 30*ms
		}, 5049 * ms, whyClock},
		{"the harness' clock was set", func(tl *timeline.Timeline) { tl.Sources[0].Drift = -300 * ms }, 5299 * ms, whyClock},
		{"set, and far from any mark", func(tl *timeline.Timeline) { tl.Sources[0].Drift = -300 * ms }, 5500 * ms, "terminating"},
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
			loss := one(t, tl)
			assert.Equal(t, tt.want, cmp.Or(loss.Why, loss.Moment.String()))
		})
	}
	t.Run("a node that tells nothing needs no clock", func(t *testing.T) {
		tl := leaving()
		forget(&tl, timeline.AppStart, timeline.AppListening, timeline.AppSIGTERM, timeline.AppListenerClosed, timeline.AppExit, timeline.ProcessExit)
		tl.Sources = slices.Delete(tl.Sources, app, conntrack+1)
		give(&tl, 2, 3*sec, 3001*ms, timeline.HTTP5xx).Pod = 1
		assert.Equal(t, BeforeDeletion, one(t, tl).Moment)
	})
}

// known makes the clock of a source another one, known to within a length.
func known(s *timeline.Source, uncertainty time.Duration) {
	s.SameClock, s.Uncertainty, s.Offset = false, uncertainty, 7*sec
}

// TestNeverTwo: whatever is on record, in whatever order: each dropped request is charged once or says why not, and the sums agree.
func TestNeverTwo(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	moments, evidence, reasons := map[Moment]int{}, map[Evidence]int{}, map[string]int{}
	s := scenario(t, "prestop-sleep", "rolling-update")
	for range 200 {
		tl := anything(random)
		v := Judge(tl, s)
		type number struct {
			lane string
			seq  int
		}
		charged := map[number]int{}
		for _, l := range v.Losses {
			charged[number{l.Lane, l.Seq}]++
			require.Equal(t, l.Moment == Unattributed, l.Why != "", "%+v", l)
			require.Equal(t, l.Pod == "", l.Evidence == "", "%+v", l)
			if l.Moment != Unattributed && l.Moment != NoEndpoint {
				require.NotEmpty(t, l.Pod, "%+v", l)
			}
			moments[l.Moment]++
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
			for _, n := range lane.Moments {
				sum += n
			}
			for _, o := range lane.Outages {
				outage += o.Lost
			}
			require.Equal(t, []int{dropped, dropped, dropped}, []int{lane.Dropped, sum, outage}, lane.Name)
			unattributed := 0
			for _, n := range lane.Unattributed {
				unattributed += n
			}
			require.Equal(t, lane.Moments[Unattributed], unattributed)
		}
	}
	for _, m := range Moments() {
		assert.Positive(t, moments[m], "%s never came", m)
	}
	for _, e := range []Evidence{ByAnswer, ByConnection, ByRoute} {
		assert.Positive(t, evidence[e], "%s never came", e)
	}
	for _, why := range []string{whyOutside, whyNoPort, whyNoConntrack, whyNoRoute, whyTwoRoutes, whyForeignIP, whyConnection, whyNoMarks, whyClock} {
		assert.Positive(t, reasons[why], "%s: never came", why)
	}
}

// anything is leaving with marks, clocks and sources that are missing at random, and with random requests and routes.
func anything(random *rand.Rand) timeline.Timeline {
	tl := leaving()
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
			if lane > 0 && seq > 0 && random.IntN(2) == 0 {
				r.Port, r.ConnUse = r.Port-1, tl.Lanes[lane].Requests[seq-1].ConnUse+1
			}
			for range random.IntN(2) + random.IntN(2) {
				chosen(&tl, sent+ms, "10.9.0.1", r.Port, targets[random.IntN(len(targets))])
			}
			if random.IntN(30) == 0 {
				r.Port = 0
			}
		}
	}
	slices.SortFunc(tl.Routes.List, func(a, b timeline.Route) int { return cmp.Compare(a.At, b.At) })
	return tl
}

// TestLaneTwice: the losses of a lane that is twice on record are each counted once.
func TestLaneTwice(t *testing.T) {
	tl := leaving()
	give(&tl, 0, 4500*ms, 4501*ms, timeline.Reset)
	tl.Lanes = []timeline.LaneRecord{tl.Lanes[0], tl.Lanes[1], tl.Lanes[0]}
	v := Judge(tl, scenario(t, "prestop-sleep", "rolling-update"))
	for i, want := range []int{1, 0, 1} {
		assert.Equal(t, want, v.Lanes[i].Dropped)
		assert.Equal(t, want, v.Lanes[i].Moments[Unattributed])
	}
	assert.Len(t, v.Losses, 2)
}

func TestMomentNames(t *testing.T) {
	require.Len(t, Moments(), len(momentNames))
	seen := map[Moment]bool{}
	for _, m := range Moments() {
		raw, err := json.Marshal(map[Moment]Moment{m: m})
		require.NoError(t, err)
		var back map[Moment]Moment
		require.NoError(t, json.Unmarshal(raw, &back))
		assert.Equal(t, map[Moment]Moment{m: m}, back)
		seen[m] = true
	}
	assert.Len(t, seen, len(momentNames))
	assert.Equal(t, Unattributed, Loss{}.Moment, "what nobody looked into is charged to no one")
	assert.Equal(t, "moment(99)", Moment(99).String())
	var m Moment
	require.ErrorContains(t, m.UnmarshalText([]byte("late")), `unknown moment "late"`)
}
