package verdict

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestOneNameTwice: each Pod of a name has a lifecycle of its own, whether or not events tell UIDs.
func TestOneNameTwice(t *testing.T) {
	noUIDs := func(tl *timeline.Timeline) {
		for i := range tl.Events {
			tl.Events[i].UID = ""
		}
	}
	tests := []struct {
		name   string
		change func(*timeline.Timeline)
		uids   []string
	}{
		{"with UIDs", func(*timeline.Timeline) {}, []string{"uid-0", "uid-again"}},
		{"without", noUIDs, []string{"", ""}},
		{"without in the logs", func(tl *timeline.Timeline) {
			for i := range tl.Events {
				if e := &tl.Events[i]; slices.Contains(slices.Concat(nodeInstants, []timeline.Kind{timeline.AppStart}), e.Kind) {
					e.UID = ""
				}
			}
		}, []string{"uid-0", "uid-again"}},
		{"with a log that is older than the watch", func(tl *timeline.Timeline) {
			for i := range tl.Events {
				if e := &tl.Events[i]; e.Kind == timeline.AppStart && e.UID == "uid-0" {
					e.At, e.UID = -sec, ""
				}
			}
			slices.SortStableFunc(tl.Events, func(a, b timeline.Event) int { return int(a.At - b.At) })
		}, []string{"uid-0", "uid-again"}},
		{"with UIDs, and the first is seen to be gone late", func(tl *timeline.Timeline) {
			forget(tl, timeline.PodGone)
			happens(tl, 12*sec, timeline.PodGone, timeline.Event{Pod: "app-0", UID: "uid-0"})
		}, []string{"uid-0", "uid-again"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			again(&tl)
			tt.change(&tl)
			pods := podLifecycles(tl)
			same := pods.byName["app-0"]
			require.Len(t, same, 2)
			require.Len(t, pods.all, 3)
			for i, life := range same {
				assert.Equal(t, tt.uids[i], life.UID)
				assert.False(t, life.restarted)
			}
			assert.Equal(t, []string{"10.0.0.1", "10.0.0.5"}, []string{same[0].IP, same[1].IP})
			assert.Equal(t, []string{"n1", "n2"}, []string{same[0].Node, same[1].Node})
			assert.Equal(t, []time.Duration{sec, 11 * sec}, []time.Duration{same[0].FirstSeen[timeline.AppListening], same[1].FirstSeen[timeline.AppListening]})
			assert.False(t, same[1].has(timeline.PodDeleted))
		})
	}
}

// TestFirstSeen: of what is told twice the first counts, in whatever order it is told.
func TestFirstSeen(t *testing.T) {
	for _, at := range [][]time.Duration{{sec, 2 * sec}, {2 * sec, sec}} {
		tl := timeline.Timeline{Events: []timeline.Event{
			{At: at[0], Kind: timeline.AppSIGTERM, Pod: "app-0"}, {At: at[1], Kind: timeline.AppSIGTERM, Pod: "app-0"},
		}}
		assert.Equal(t, sec, podLifecycles(tl).all[0].FirstSeen[timeline.AppSIGTERM])
	}
}

// TestSegmentsOfALateAnswer: a process that ended before its deletion was answered has been deleted
// by then, and no two phases overlap.
func TestSegmentsOfALateAnswer(t *testing.T) {
	life := PodLifecycle{FirstSeen: map[timeline.Kind]time.Duration{
		timeline.AppListening: 0, timeline.PodDeleted: 1, timeline.ProcessExit: 2, timeline.PodGone: 9,
	}, deletionLate: 5, deletionWidth: 5}
	assert.Equal(t, []Segment{{BeforeDeletion, 0, 2}, {AfterExit, 2, 9}}, life.segments())
}

// TestSegments: a phase lies between two instants that were both seen, in their order.
func TestSegments(t *testing.T) {
	type seen = map[timeline.Kind]time.Duration
	tests := []struct {
		name string
		seen seen
		want string
	}{
		{"an orderly life", seen{
			timeline.PodCreated: 1, timeline.AppListening: 2, timeline.PodReady: 3, timeline.PodDeleted: 4, timeline.AppSIGTERM: 5,
			timeline.AppListenerClosed: 6, timeline.ProcessExit: 7, timeline.PodGone: 9,
		}, "start-up 1-2 before-deletion 2-4 prestop 4-5 terminating 5-6 listener-closed 6-7 after-exit 7-9 "},
		{"it goes on", seen{timeline.AppListening: 1}, "before-deletion 1- "},
		{"it ended by itself", seen{timeline.AppStart: 0, timeline.AppListening: 1, timeline.ProcessExit: 2}, "before-deletion 1-2 "},
		{"SIGTERM, and no deletion", seen{timeline.AppListening: 1, timeline.AppSIGTERM: 2, timeline.AppExit: 3}, "before-deletion 1-2 terminating 2-3 "},
		{"deleted and gone", seen{timeline.PodDeleted: 1, timeline.PodGone: 3}, ""},
		{"no SIGTERM told and no exit seen", seen{timeline.PodReady: 0, timeline.PodDeleted: 1, timeline.AppListenerClosed: 2}, "before-deletion 0-1 "},
		{"no handler: SIGTERM ended it", seen{timeline.AppStart: 0, timeline.PodDeleted: 1, timeline.ProcessExit: 2}, "prestop 1-2 "},
		{"a log that was cut off", seen{timeline.AppStart: 0, timeline.LogCut: 1, timeline.PodDeleted: 1, timeline.ProcessExit: 2}, ""},
		{"SIGTERM before the deletion was told of", seen{timeline.PodReady: 0, timeline.PodDeleted: 4, timeline.AppSIGTERM: 2}, "before-deletion 0-2 "},
		{"a clock that stepped back", seen{timeline.AppListening: 5, timeline.PodDeleted: 4}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			for _, s := range (PodLifecycle{FirstSeen: tt.seen}).segments() {
				got += strings.TrimSuffix(fmt.Sprintf("%s %d-%d", s.Phase, s.From, s.To), fmt.Sprint(int64(endless))) + " "
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

// TestWhoWasIt: the Pod that had a name, or an address, at an instant.
func TestWhoWasIt(t *testing.T) {
	// handedOn gives the address of app-0 to app-2 at 10 s.
	handedOn := func(tl *timeline.Timeline) {
		pod := timeline.Event{Pod: "app-2", UID: "uid-2", Node: "n1", IP: "10.0.0.1"}
		happens(tl, 9*sec, timeline.PodCreated, timeline.Event{Pod: "app-2", UID: "uid-2"})
		happens(tl, 10*sec, timeline.PodAddressed, pod)
	}
	late := func(tl *timeline.Timeline) {
		forget(tl, timeline.PodGone)
		happens(tl, 12*sec, timeline.PodGone, timeline.Event{Pod: "app-0", UID: "uid-0"})
	}
	tests := []struct {
		name    string
		changes changes
		of      string // a name or an address
		at      time.Duration
		want    string // UID
	}{
		{"a name, one Pod", nil, "app-0", 3 * sec, "uid-0"},
		{"a name, one Pod, long after", nil, "app-0", 19 * sec, "uid-0"},
		{"a name that nobody has", nil, "app-9", 3 * sec, ""},
		{"a name, the first of two", changes{again}, "app-0", 9999 * ms, "uid-0"},
		{"a name, the second of two", changes{again}, "app-0", 10 * sec, "uid-again"},
		{"a name, the first not known to be gone", changes{again, without(timeline.PodGone)}, "app-0", 12 * sec, ""},
		{"a name, the first gone too late", changes{again, late}, "app-0", 12 * sec, ""},
		{"an address, one Pod", nil, "10.0.0.1", 3 * sec, "uid-0"},
		{"an address that nobody has", nil, "10.0.0.9", 3 * sec, ""},
		{"an address, of a Pod that is gone", changes{handedOn}, "10.0.0.1", 9500 * ms, "uid-0"},
		{"an address, handed on", changes{handedOn}, "10.0.0.1", 10 * sec, "uid-2"},
		{"an address, the first not known to be gone", changes{handedOn, without(timeline.PodGone)}, "10.0.0.1", 12 * sec, ""},
		{"an address, the first gone too late", changes{handedOn, late}, "10.0.0.1", 12 * sec, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			for _, change := range tt.changes {
				change(&tl)
			}
			pods := podLifecycles(tl)
			life := pods.named(tt.of, tt.at)
			if life == nil {
				life = pods.at(tt.of, tt.at)
			}
			if tt.want == "" {
				assert.Nil(t, life)
				return
			}
			require.NotNil(t, life)
			assert.Equal(t, tt.want, life.UID)
		})
	}
	t.Run("what that does to a dropped request", func(t *testing.T) {
		tl := leaving()
		handedOn(&tl)
		happens(&tl, 10500*ms, timeline.AppStart, timeline.Event{Pod: "app-2"})
		happens(&tl, 11*sec, timeline.AppListening, timeline.Event{Pod: "app-2"})
		for _, at := range []time.Duration{9 * sec, 10600 * ms, 12 * sec} {
			r := give(&tl, 0, at, at+ms, timeline.Refused)
			chosen(&tl, at, "10.9.0.1", r.Port, "10.0.0.1")
		}
		var got []string
		for _, l := range attribute(tl, podLifecycles(tl))[0] {
			got = append(got, l.Pod+" "+l.Phase.String())
		}
		assert.Equal(t, []string{"app-0 after-exit", "app-2 start-up", "app-2 before-deletion"}, got)
	})
	t.Run("and where it can't be told", func(t *testing.T) {
		tl := leaving()
		handedOn(&tl)
		again(&tl)
		forget(&tl, timeline.PodGone)
		r := give(&tl, 0, 12*sec, 12001*ms, timeline.Refused)
		chosen(&tl, 12*sec, "10.9.0.1", r.Port, "10.0.0.1")
		give(&tl, 0, 12*sec, 12001*ms, timeline.HTTP5xx).Pod = 1
		for _, l := range attribute(tl, podLifecycles(tl))[0] {
			assert.Equal(t, whyTwoPods, l.Why)
			assert.Empty(t, l.Pod)
			assert.Empty(t, l.Evidence)
			assert.Nil(t, l.SinceDeletion)
		}
	})
}

// TestSegmentsOfAnInterval: before its deletion is a Pod until that was done at the latest, which was
// before what followed from it.
func TestSegmentsOfAnInterval(t *testing.T) {
	for _, tt := range []struct {
		name  string
		width time.Duration
		want  []Segment
	}{
		{"well before SIGTERM", 40 * ms, []Segment{{BeforeDeletion, sec, 4040 * ms}, {PreStop, 4040 * ms, 5 * sec}}},
		{"beyond SIGTERM", 1500 * ms, []Segment{{BeforeDeletion, sec, 5 * sec}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			interval(tt.width, 2*sec)(&tl)
			got := podLifecycles(tl).byName["app-0"][0].segments()
			assert.Equal(t, append([]Segment{{StartUp, 0, sec}}, append(tt.want, Segment{Terminating, 5 * sec, 6 * sec})...), got[:len(tt.want)+2])
		})
	}
}

// TestRouted: until when each node went on choosing a Pod.
func TestRouted(t *testing.T) {
	tl := leaving()
	chosen(&tl, 3*sec, "10.9.0.1", 1, "10.0.0.1")
	chosen(&tl, 4500*ms, "10.9.0.1", 2, "10.0.0.1")
	chosen(&tl, 4400*ms, "10.9.0.2", 3, "10.0.0.1")
	chosen(&tl, 6*sec, "10.9.0.1", 4, "10.0.0.2")
	chosen(&tl, 6*sec, "10.9.0.1", 5, "10.0.0.9")
	n2, err := tl.Routes.Index("n2")
	require.NoError(t, err)
	tl.Routes.List = append(tl.Routes.List, timeline.Route{At: 5 * sec, Node: n2, Target: tl.Routes.List[0].Target})
	pods := podLifecycles(tl)
	assert.Equal(t, map[string]time.Duration{"n1": 4500 * ms, "n2": 5 * sec}, pods.byName["app-0"][0].Routed)
	assert.Equal(t, map[string]time.Duration{"n1": 6 * sec}, pods.byName["app-1"][0].Routed)
}

// TestWithoutEndpoint: when there was no endpoint, between the first one and the end.
func TestWithoutEndpoint(t *testing.T) {
	type endpoint struct{ serving, gone time.Duration } // gone 0: never
	tests := []struct {
		name string
		give []endpoint
		want []span
	}{
		{"no endpoint at all", nil, nil},
		{"one that stays", []endpoint{{sec, 0}}, nil},
		{"one that goes", []endpoint{{sec, 3 * sec}}, []span{{3 * sec, endless}}},
		{"one after another", []endpoint{{sec, 3 * sec}, {5 * sec, 0}}, []span{{3 * sec, 5 * sec}}},
		{"one over another", []endpoint{{sec, 3 * sec}, {2 * sec, 0}}, nil},
		{"one as another goes", []endpoint{{sec, 3 * sec}, {3 * sec, 0}}, nil},
		{"two such times", []endpoint{{sec, 3 * sec}, {2 * sec, 4 * sec}, {5 * sec, 7 * sec}}, []span{{4 * sec, 5 * sec}, {7 * sec, endless}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var tl timeline.Timeline
			for i, e := range tt.give {
				pod := timeline.Event{Pod: fmt.Sprintf("app-%d", i)}
				happens(&tl, 0, timeline.PodCreated, pod)
				happens(&tl, e.serving, timeline.EndpointServing, pod)
				if e.gone > 0 {
					happens(&tl, e.gone, timeline.EndpointGone, pod)
				}
			}
			happens(&tl, 0, timeline.PodCreated, timeline.Event{Pod: "app-9"})
			assert.Equal(t, tt.want, podLifecycles(tl).withoutEndpoint())
		})
	}
}

// TestWithoutEndpointByProbes: an endpoint whose Pod fails its readiness probe doesn't serve until
// it recovers, and one that is terminating serves until it fails it.
func TestWithoutEndpointByProbes(t *testing.T) {
	var tl timeline.Timeline
	for at, kind := range map[time.Duration]timeline.Kind{
		sec: timeline.EndpointServing, 2 * sec: timeline.EndpointUnready, 4 * sec: timeline.EndpointServing, 5 * sec: timeline.EndpointTerminating,
		6 * sec: timeline.EndpointNotServing, 7 * sec: timeline.EndpointGone,
	} {
		happens(&tl, at, kind, timeline.Event{Pod: "app-0"})
	}
	assert.Equal(t, []span{{2 * sec, 4 * sec}, {6 * sec, endless}}, podLifecycles(tl).withoutEndpoint())
	happens(&tl, 3*sec, timeline.EndpointServing, timeline.Event{Pod: "app-1"})
	happens(&tl, 8*sec, timeline.EndpointUnready, timeline.Event{Pod: "app-1"})
	assert.Equal(t, []span{{2 * sec, 3 * sec}, {8 * sec, endless}}, podLifecycles(tl).withoutEndpoint())

	happens(&tl, 4500*ms, timeline.PodDeleted, timeline.Event{Pod: "app-1"})
	happens(&tl, 4800*ms, timeline.PodDeleted, timeline.Event{Pod: "app-0"})
	assert.Equal(t, []span{{2 * sec, 3 * sec}, {4800 * ms, endless}}, podLifecycles(tl).without((*PodLifecycle).ready), "a terminating one is not ready")
}
