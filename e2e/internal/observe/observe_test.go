package observe

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kube "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var podsResource = schema.GroupResource{Resource: "pods"}

// TestLifeOfAPod: from its creation to its removal, each event at the instant at which the watch delivered it.
func TestLifeOfAPod(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer) {
		o := s.observe(t)

		after(sec)
		p := aPod("app-0")
		s.put(p)
		after(sec)
		setRunning(p)
		s.put(p)
		after(sec)
		setReady(p, true)
		s.put(p)
		after(10 * sec)
		setLeaving(p)
		s.put(p)
		after(sec)
		setReady(p, false)
		s.put(p)
		after(sec)
		setExited(p, 137, "OOMKilled")
		s.put(p)
		after(sec)
		s.remove(p)
		after(sec)

		worker := func(at time.Duration, kind timeline.Kind, version string) timeline.Event {
			return timeline.Event{At: at, Kind: kind, Pod: "app-0", Node: "worker", IP: "10.244.1.2", Version: version}
		}
		exit := worker(15*sec, timeline.ContainerExit, "106")
		exit.Code, exit.Detail = 137, "OOMKilled"
		deleted := worker(13*sec, timeline.PodDeleted, "104")
		deleted.Grace = 30 * sec
		assert.Equal(t, []timeline.Event{
			{At: 1 * sec, Kind: timeline.PodCreated, Pod: "app-0", Version: "101"},
			worker(2*sec, timeline.PodScheduled, "102"),
			worker(2*sec, timeline.PodAddressed, "102"),
			worker(2*sec, timeline.PodStarted, "102"),
			worker(3*sec, timeline.PodReady, "103"),
			deleted,
			exit,
			worker(16*sec, timeline.PodGone, "107"),
		}, o.Stop().Events)
	})
}

// TestPresentState: what is there when the watch begins is told as of then, and only of the app.
func TestPresentState(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer) {
		leaving := aReadyPod("app-1")
		setLeaving(leaving)
		foreign := aReadyPod("other-0")
		foreign.Labels["app"] = "other"
		foreignSlice := aSlice("other-x", endpoint("other-0", serving))
		foreignSlice.Labels[discoveryv1.LabelServiceName] = "other"
		s.put(aReadyPod("app-0"))
		s.put(leaving)
		s.put(foreign)
		s.put(foreignSlice)
		s.put(aSlice("app-x", endpoint("app-0", serving), endpoint("app-1", terminating)))

		o := s.observe(t)
		s.put(foreign)
		s.put(foreignSlice)
		after(sec)

		events := o.Stop().Events
		var got []string
		for _, e := range events {
			assert.Zero(t, e.At)
			got = append(got, e.Pod+" "+string(e.Kind))
		}
		assert.ElementsMatch(t, []string{
			"app-0 pod-created", "app-0 pod-scheduled", "app-0 pod-addressed", "app-0 pod-started", "app-0 pod-ready",
			"app-1 pod-created", "app-1 pod-scheduled", "app-1 pod-addressed", "app-1 pod-started", "app-1 pod-ready", "app-1 pod-deleted",
			"app-0 endpoint-serving", "app-1 endpoint-terminating",
		}, got)
		assert.Len(t, s.asked("/log", false), 2, "one log for each Pod of the app")
	})
}

// grown is the events without what is told of each Pod on its way, which TestLifeOfAPod is about.
func grown(events []timeline.Event) []timeline.Event {
	return slices.DeleteFunc(events, func(e timeline.Event) bool {
		return slices.Contains([]timeline.Kind{timeline.PodScheduled, timeline.PodAddressed, timeline.PodStarted}, e.Kind)
	})
}

// TestPods: what a Pod tells once, and what each time.
func TestPods(t *testing.T) {
	type step struct {
		at   time.Duration
		kind timeline.Kind
	}
	tests := []struct {
		name string
		do   func(s *apiServer)
		want []step // of app-0, from its creation on
	}{
		{"changes that say nothing new", func(s *apiServer) {
			p := aReadyPod("app-0")
			for range 3 {
				s.put(p)
				after(sec)
			}
			setLeaving(p)
			for range 3 {
				s.put(p)
				after(sec)
			}
			setExited(p, 0, "Completed")
			for range 3 {
				s.put(p)
				after(sec)
			}
		}, []step{{0, timeline.PodCreated}, {0, timeline.PodReady}, {3 * sec, timeline.PodDeleted}, {6 * sec, timeline.ContainerExit}}},
		{"readiness comes and goes: each time", func(s *apiServer) {
			p := aReadyPod("app-0")
			for i := range 5 {
				setReady(p, i%2 == 0)
				s.put(p)
				s.put(p)
				after(sec)
			}
		}, []step{{0, timeline.PodCreated}, {0, timeline.PodReady}, {1 * sec, timeline.PodUnready}, {2 * sec, timeline.PodReady}, {3 * sec, timeline.PodUnready}, {4 * sec, timeline.PodReady}}},
		{"never ready", func(s *apiServer) {
			p := aPod("app-0")
			setRunning(p)
			setReady(p, false)
			s.put(p)
			after(sec)
			s.put(p)
		}, []step{{0, timeline.PodCreated}}},
		{"readiness lost while terminating is no news", func(s *apiServer) {
			p := aReadyPod("app-0")
			s.put(p)
			after(sec)
			setLeaving(p)
			setReady(p, false)
			s.put(p)
		}, []step{{0, timeline.PodCreated}, {0, timeline.PodReady}, {1 * sec, timeline.PodDeleted}}},
		{"container restarted in place: its first exit", func(s *apiServer) {
			p := aReadyPod("app-0")
			s.put(p)
			for range 2 {
				after(sec)
				setExited(p, 2, "Error")
				s.put(p)
				after(sec)
				setRunning(p)
				s.put(p)
			}
		}, []step{{0, timeline.PodCreated}, {0, timeline.PodReady}, {1 * sec, timeline.ContainerExit}}},
		{"deleted by force: gone at once", func(s *apiServer) {
			p := aReadyPod("app-0")
			s.put(p)
			after(sec)
			s.remove(p)
		}, []step{{0, timeline.PodCreated}, {0, timeline.PodReady}, {1 * sec, timeline.PodGone}}},
		{"gone before it ran", func(s *apiServer) {
			p := aPod("app-0")
			s.put(p)
			after(sec)
			setLeaving(p)
			s.remove(p)
		}, []step{{0, timeline.PodCreated}, {1 * sec, timeline.PodDeleted}, {1 * sec, timeline.PodGone}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *apiServer) {
				o := s.observe(t)
				tt.do(s)
				after(sec)
				var got []step
				for _, e := range grown(o.Stop().Events) {
					assert.Equal(t, "app-0", e.Pod)
					got = append(got, step{e.At, e.Kind})
				}
				assert.Equal(t, tt.want, got)
				assert.LessOrEqual(t, len(s.asked("/log", false)), 1, "a log is read once")
			})
		})
	}
}

// TestEndpoints: an endpoint goes through its states in one slice or more.
func TestEndpoints(t *testing.T) {
	type step struct {
		at   time.Duration
		pod  string
		kind timeline.Kind
	}
	none := aSlice("app-x")
	withoutPod := discoveryv1.Endpoint{Addresses: []string{"192.0.2.1"}, Conditions: serving}
	notAPod := endpoint("app-0", serving)
	notAPod.TargetRef.Kind = "Node"
	put := func(slices ...*discoveryv1.EndpointSlice) func(*apiServer) {
		return func(s *apiServer) {
			for _, slice := range slices {
				s.put(slice)
			}
		}
	}
	remove := func(slice *discoveryv1.EndpointSlice) func(*apiServer) { return func(s *apiServer) { s.remove(slice) } }
	x := func(c discoveryv1.EndpointConditions) *discoveryv1.EndpointSlice {
		return aSlice("app-x", endpoint("app-0", c))
	}
	y := func(c discoveryv1.EndpointConditions) *discoveryv1.EndpointSlice {
		return aSlice("app-y", endpoint("app-0", c))
	}
	tests := []struct {
		name string
		do   []func(*apiServer) // one a second
		want []step
	}{
		{
			"unready, ready, terminating, gone",
			[]func(*apiServer){put(x(unready)), put(x(serving)), put(x(terminating)), put(x(terminating)), put(none)},
			[]step{{2 * sec, "app-0", timeline.EndpointServing}, {3 * sec, "app-0", timeline.EndpointTerminating}, {5 * sec, "app-0", timeline.EndpointGone}},
		},
		{
			"unset conditions mean ready",
			[]func(*apiServer){put(x(unsaid))},
			[]step{{1 * sec, "app-0", timeline.EndpointServing}},
		},
		{
			"terminating, though it publishes what isn't ready",
			[]func(*apiServer){put(x(serving)), put(x(stillServing))},
			[]step{{1 * sec, "app-0", timeline.EndpointServing}, {2 * sec, "app-0", timeline.EndpointTerminating}},
		},
		{
			"unready without terminating, each time",
			[]func(*apiServer){put(x(serving)), put(x(unready)), put(x(unready)), put(x(serving)), put(x(unready))},
			[]step{{1 * sec, "app-0", timeline.EndpointServing}, {2 * sec, "app-0", timeline.EndpointUnready}, {4 * sec, "app-0", timeline.EndpointServing}, {5 * sec, "app-0", timeline.EndpointUnready}},
		},
		{
			"moves to another slice, the new one told first",
			[]func(*apiServer){put(x(serving)), put(y(serving), none), put(y(terminating)), put(aSlice("app-y"))},
			[]step{{1 * sec, "app-0", timeline.EndpointServing}, {3 * sec, "app-0", timeline.EndpointTerminating}, {4 * sec, "app-0", timeline.EndpointGone}},
		},
		{
			"moves to another slice, the old one told first",
			[]func(*apiServer){put(x(serving)), put(none, y(serving)), put(y(terminating)), put(aSlice("app-y"))},
			[]step{{1 * sec, "app-0", timeline.EndpointServing}, {3 * sec, "app-0", timeline.EndpointTerminating}, {4 * sec, "app-0", timeline.EndpointGone}},
		},
		{
			"in two slices, gone when both have let go of it",
			[]func(*apiServer){put(x(serving), y(serving)), put(none), put(aSlice("app-y"))},
			[]step{{1 * sec, "app-0", timeline.EndpointServing}, {3 * sec, "app-0", timeline.EndpointGone}},
		},
		{
			"slice removed with two endpoints in it",
			[]func(*apiServer){put(aSlice("app-x", endpoint("app-0", serving), endpoint("app-1", unready))), remove(none)},
			[]step{{1 * sec, "app-0", timeline.EndpointServing}, {2 * sec, "app-0", timeline.EndpointGone}, {2 * sec, "app-1", timeline.EndpointGone}},
		},
		{
			"slice removed, another one has its endpoint",
			[]func(*apiServer){put(x(serving), y(serving)), remove(x(serving))},
			[]step{{1 * sec, "app-0", timeline.EndpointServing}},
		},
		{
			"endpoints that are no Pods",
			[]func(*apiServer){put(aSlice("app-x", withoutPod, notAPod)), put(none)},
			nil,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *apiServer) {
				o := s.observe(t)
				for _, do := range tt.do {
					after(sec)
					do(s)
				}
				after(sec)
				var got []step
				for _, e := range grown(o.Stop().Events) {
					got = append(got, step{e.At, e.Pod, e.Kind})
				}
				assert.ElementsMatch(t, tt.want, got)
			})
		})
	}
}

// TestServices: an endpoint is gone when the slices of all Services have let go of it, and slices of other Services are none of ours.
func TestServices(t *testing.T) {
	of := func(service, name string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
		s := aSlice(name, endpoints...)
		s.Labels[discoveryv1.LabelServiceName] = service
		return s
	}
	type step struct {
		at   time.Duration
		kind timeline.Kind
	}
	tests := []struct {
		name     string
		services []string
		want     []step // of app-0
	}{
		{"one", []string{"app"}, []step{{0, timeline.EndpointServing}, {1 * sec, timeline.EndpointTerminating}, {3 * sec, timeline.EndpointGone}}},
		{"the other", []string{"app-internal"}, []step{{0, timeline.EndpointServing}, {2 * sec, timeline.EndpointTerminating}, {4 * sec, timeline.EndpointGone}}},
		{"both", []string{"app", "app-internal"}, []step{{0, timeline.EndpointServing}, {1 * sec, timeline.EndpointTerminating}, {4 * sec, timeline.EndpointGone}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *apiServer) {
				s.put(of("app", "app-x", endpoint("app-0", serving)))
				s.put(of("app-internal", "app-internal-y", endpoint("app-0", serving)))
				s.put(of("other", "other-z", endpoint("app-0", serving)))
				o := s.observe(t, func(c *Config) { c.Services = tt.services })
				for _, slice := range []*discoveryv1.EndpointSlice{
					of("app", "app-x", endpoint("app-0", terminating)),
					of("app-internal", "app-internal-y", endpoint("app-0", terminating)),
					of("app", "app-x"),
					of("app-internal", "app-internal-y"),
				} {
					after(sec)
					s.put(slice)
				}
				after(sec)
				var got []step
				for _, e := range grown(o.Stop().Events) {
					assert.Equal(t, "app-0", e.Pod)
					got = append(got, step{e.At, e.Kind})
				}
				assert.Equal(t, tt.want, got)
			})
		})
	}
}

// TestGap: a watch that can't be resumed is one gap on record, after which the state is what it is: what disappeared meanwhile is gone, what is new is there,
// and changes are seen as before.
func TestGap(t *testing.T) {
	tests := []struct {
		name  string
		blunt bool
	}{
		{"told in the watch that its version is too old", false},
		{"told so instead of a watch", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *apiServer) {
				s.resources[podsPath].blunt, s.resources[slicePath].blunt = tt.blunt, tt.blunt
				old, kept, replacement := aReadyPod("app-0"), aReadyPod("app-1"), aReadyPod("app-2")
				s.put(old)
				s.put(kept)
				s.put(aSlice("app-x", endpoint("app-0", serving), endpoint("app-1", serving)))
				o := s.observe(t)
				after(10 * sec)

				for _, path := range []string{podsPath, slicePath} {
					s.leave(path)
				}
				s.remove(old)
				s.put(replacement)
				s.put(aSlice("app-x", endpoint("app-1", serving), endpoint("app-2", serving)))
				for _, path := range []string{podsPath, slicePath} {
					s.comeBack(path, true)
				}
				after(10 * sec)
				back := o.record.now()
				setLeaving(kept)
				s.put(kept)
				s.put(aSlice("app-x", endpoint("app-1", terminating), endpoint("app-2", serving)))
				after(sec)

				type mark struct {
					pod  string
					kind timeline.Kind
				}
				count := map[mark]int{}
				late := map[mark]bool{} // seen after the gap
				for _, e := range grown(o.Stop().Events) {
					m := mark{e.Pod, e.Kind}
					count[m]++
					late[m] = e.At > 10*sec
					if e.Kind == timeline.WatchGap {
						assert.Regexp(t, `^(Pods|EndpointSlices): too old resource version`, e.Detail)
						assert.GreaterOrEqual(t, e.At, 10*sec)
					}
					if m == (mark{"app-1", timeline.PodDeleted}) || m == (mark{"app-1", timeline.EndpointTerminating}) {
						assert.Equal(t, back, e.At, "seen by the new watch")
					}
				}
				assert.Equal(t, map[mark]int{
					{"", timeline.WatchGap}:                 2, // one for the Pods, one for the EndpointSlices
					{"app-0", timeline.PodCreated}:          1,
					{"app-0", timeline.PodReady}:            1,
					{"app-0", timeline.EndpointServing}:     1,
					{"app-0", timeline.PodGone}:             1,
					{"app-0", timeline.EndpointGone}:        1,
					{"app-1", timeline.PodCreated}:          1,
					{"app-1", timeline.PodReady}:            1,
					{"app-1", timeline.EndpointServing}:     1,
					{"app-1", timeline.PodDeleted}:          1,
					{"app-1", timeline.EndpointTerminating}: 1,
					{"app-2", timeline.PodCreated}:          1,
					{"app-2", timeline.PodReady}:            1,
					{"app-2", timeline.EndpointServing}:     1,
				}, count)
				for _, m := range []mark{
					{"app-0", timeline.PodGone},
					{"app-0", timeline.EndpointGone},
					{"app-2", timeline.PodCreated},
					{"app-2", timeline.PodReady},
					{"app-2", timeline.EndpointServing},
				} {
					assert.True(t, late[m], "%s %s", m.pod, m.kind)
				}
				assert.False(t, late[mark{"app-1", timeline.PodCreated}], "it was there all the time")
			})
		})
	}
}

// TestGapSlices: relisting looks at one slice after the other, in any order. An endpoint that has moved meanwhile is not gone.
func TestGapSlices(t *testing.T) {
	const n = 10
	inBubble(t, func(t *testing.T, s *apiServer) {
		put := func(shift int) {
			for i := range n {
				s.put(aSlice(fmt.Sprintf("app-%c", 'a'+i), endpoint(fmt.Sprintf("app-%d", (i+shift)%n), serving)))
			}
		}
		put(0)
		o := s.observe(t)
		after(sec)
		s.leave(slicePath)
		put(1)
		s.comeBack(slicePath, true)
		after(10 * sec)
		gone := o.record.now()
		for i := range n {
			s.remove(aSlice(fmt.Sprintf("app-%c", 'a'+i)))
		}
		events := grown(o.Stop().Events)
		assert.Len(t, only(events, timeline.WatchGap), 1)
		ends := only(events, timeline.EndpointGone)
		assert.Len(t, ends, n)
		for _, e := range ends {
			assert.Equal(t, gone, e.At, e.Pod)
		}
	})
}

// TestResume: a watch that ends and can be resumed misses nothing, tells nothing twice, and is no gap.
func TestResume(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer) {
		p := aReadyPod("app-0")
		s.put(p)
		o := s.observe(t)
		for range 3 {
			after(5 * sec)
			s.disconnect(podsPath)
			s.put(p)
		}
		after(5 * sec)
		s.leave(podsPath)
		setLeaving(p)
		s.put(p)
		s.remove(p)
		after(3 * sec)
		s.comeBack(podsPath, false)
		after(5 * sec)
		var got []timeline.Kind
		for _, e := range grown(o.Stop().Events) {
			got = append(got, e.Kind)
		}
		assert.Equal(t, []timeline.Kind{timeline.PodCreated, timeline.PodReady, timeline.PodDeleted, timeline.PodGone}, got)
		assert.Len(t, s.asked("/pods", false), 1, "no need to list anew")
		assert.GreaterOrEqual(t, len(s.asked("/pods", true)), 5)
	})
}

// TestRelistRefused: while the API server can't list, it is asked again, and the gap is told once.
func TestRelistRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer) {
		p := aReadyPod("app-0")
		s.put(p)
		o := s.observe(t)
		after(sec)
		s.refuse(podsPath, "list", apierrors.NewInternalError(assert.AnError))
		s.leave(podsPath)
		s.remove(p)
		s.comeBack(podsPath, true)
		after(10 * sec)
		asked := len(s.asked("/pods", false))
		assert.Greater(t, asked, 3, "asked again")
		assert.Less(t, asked, 15, "but not all the time")
		s.refuse(podsPath, "list", nil)
		s.put(aReadyPod("app-1"))
		after(5 * sec)
		events := grown(o.Stop().Events)
		assert.Len(t, only(events, timeline.WatchGap), 1)
		var created []string
		for _, e := range only(events, timeline.PodCreated) {
			created = append(created, e.Pod)
		}
		assert.Equal(t, []string{"app-0", "app-1"}, created)
		require.Len(t, only(events, timeline.PodGone), 1)
	})
}

// TestWatchForbidden: a client that may list and not watch says so and doesn't flood the API server.
func TestWatchForbidden(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer) {
		s.refuse(podsPath, "watch", apierrors.NewForbidden(podsResource, "", assert.AnError))
		s.put(aReadyPod("app-0"))
		o := s.observe(t)
		after(10 * sec)
		events := grown(o.Stop().Events)
		gaps := only(events, timeline.WatchGap)
		require.NotEmpty(t, gaps)
		assert.Contains(t, gaps[0].Detail, "Pods: ")
		assert.Contains(t, gaps[0].Detail, "forbidden")
		assert.LessOrEqual(t, len(gaps), 12, "once a second")
		assert.LessOrEqual(t, len(s.asked("/pods", false)), 12)
		assert.Len(t, only(events, timeline.PodCreated), 1)
	})
}

// TestStartFails: without the present state there is no observation, and nothing stays of it.
func TestStartFails(t *testing.T) {
	tests := []struct {
		name string
		path string
		want string
	}{
		{"Pods", podsPath, "observe Pods: "},
		{"EndpointSlices, when Pods are watched already", slicePath, "observe EndpointSlices: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *apiServer) {
				s.put(aReadyPod("app-0"))
				s.refuse(tt.path, "list", apierrors.NewForbidden(podsResource, "", assert.AnError))
				o, err := Start(t.Context(), timeline.NewClock(time.Now()), Config{Client: s.client, Namespace: namespace, Selector: "app=app", Services: []string{"app"}})
				require.ErrorContains(t, err, tt.want)
				assert.Nil(t, o)
				assert.True(t, apierrors.IsForbidden(err))
			})
		})
	}
}

// TestStop: the end of the watch is no event, and the events come in the order of their time, whatever the order in which they were seen.
func TestStop(t *testing.T) {
	tests := []struct {
		name string
		end  func(o *Observation, cancel context.CancelFunc) []timeline.Event
	}{
		{"stop", func(o *Observation, _ context.CancelFunc) []timeline.Event { return o.Stop().Events }},
		{"its context ends first", func(o *Observation, cancel context.CancelFunc) []timeline.Event {
			cancel()
			after(5 * sec)
			return o.Stop().Events
		}},
		{"twice", func(o *Observation, _ context.CancelFunc) []timeline.Event { o.Stop(); return o.Stop().Events }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *apiServer) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				start := time.Now().Add(10 * sec)
				after(10 * sec)
				o, err := Start(ctx, timeline.NewClock(start), Config{Client: s.client, Namespace: namespace, Selector: "app=app", Services: []string{"app"}, Container: "app"})
				require.NoError(t, err)
				after(sec)
				for i := range 3 {
					s.put(aReadyPod(fmt.Sprintf("app-%d", i)))
					after(sec)
					// The app tells of its start when the Pod is known already.
					s.say(fmt.Sprintf("app-%d", i), fmt.Sprintf(`{"event":"start","unixNano":%d}`+"\n", start.Add(-time.Duration(i)*sec).UnixNano()))
				}
				after(sec)
				running := []string{"(*watcher).follow(", "(*lifeLog).read("}
				for _, function := range running {
					assert.Contains(t, stacks(), function)
				}
				events := tt.end(o, cancel)
				for _, function := range running {
					assert.NotContains(t, stacks(), function, "Stop waits for all that it stops: what comes later would change the events")
				}
				type step struct {
					at   time.Duration
					pod  string
					kind timeline.Kind
				}
				var got []step
				for _, e := range grown(events) {
					got = append(got, step{e.At, e.Pod, e.Kind})
				}
				assert.Equal(t, []step{
					{-2 * sec, "app-2", timeline.AppStart},
					{-1 * sec, "app-1", timeline.AppStart},
					{0, "app-0", timeline.AppStart},
					{1 * sec, "app-0", timeline.PodCreated},
					{1 * sec, "app-0", timeline.PodReady},
					{2 * sec, "app-1", timeline.PodCreated},
					{2 * sec, "app-1", timeline.PodReady},
					{3 * sec, "app-2", timeline.PodCreated},
					{3 * sec, "app-2", timeline.PodReady},
				}, got)
			})
		})
	}
}

// stacks are those of all goroutines.
func stacks() string {
	text := make([]byte, 1<<20)
	return string(text[:runtime.Stack(text, true)])
}

// recorder returns a Recorder for what is recorded without a source, on a clock that starts then.
func recorder(start time.Time) Recorder {
	return Recorder{Record: newRecord(timeline.NewClock(start), 1), ready: func() {}}
}

// TestForeignObjects: what isn't of the kind that is watched, or has no name, is passed over.
func TestForeignObjects(t *testing.T) {
	to := recorder(time.Now())
	podChanges(to, "app")(0, aSlice("app-x", endpoint("app-0", serving)), false)
	sliceChanges(to)(0, aPod("app-0"), false)
	nodeChanges(to)(0, aPod("app-0"), false)
	kubeletEvents(to)(0, aPod("app-0"), false)
	assert.Empty(t, to.Events)
	status := &metav1.Status{Code: http.StatusTeapot}
	assert.Empty(t, metaOf(status).GetName())
	assert.Empty(t, metaOf(nil).GetResourceVersion())
	w := watcher{to: to, api: api{list: func(context.Context, metav1.ListOptions) (kube.Object, error) { return status, nil }}}
	_, err := w.listAll(t.Context())
	assert.ErrorContains(t, err, "read list")
}

// fakeSource runs as it is given.
type fakeSource func(ctx context.Context, to Recorder) error

func (fakeSource) Name() string                                 { return "fake" }
func (f fakeSource) Run(ctx context.Context, to Recorder) error { return f(ctx, to) }

// TestSources: sources are waited for until they are ready, an error stops the start or is on record, and what they do
// at the end is done in their order when all have ended.
func TestSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := timeline.NewClock(time.Now())
		var order []string
		source := func(name string, ready, end time.Duration, err error) Source {
			return fakeSource(func(ctx context.Context, to Recorder) error {
				pause(ctx, ready)
				to.Ready()
				to.Ready() // again, which changes nothing
				pause(ctx, end-ready)
				to.AtEnd(func(all *Record) {
					assert.ErrorIs(t, ctx.Err(), context.Canceled)
					order = append(order, name)
					all.Sources = append(all.Sources, timeline.Source{Node: name})
				})
				return err
			})
		}
		o, err := start(t.Context(), clock, []Source{
			source("fails when the watch is over", sec, time.Hour, assert.AnError),
			source("fails when it is ready", 3*sec, 4*sec, assert.AnError),
			source("is done", 2*sec, 3*sec, nil),
			fakeSource(func(context.Context, Recorder) error { return nil }), // has nothing to do
		})
		require.NoError(t, err)
		assert.Equal(t, 3*sec, o.record.now(), "the last one was ready then")
		after(10 * sec)
		seen := o.Stop()
		assert.Equal(t, []timeline.Event{
			{At: 4 * sec, Kind: timeline.WatchGap, Detail: "fake: " + assert.AnError.Error()},
		}, seen.Events)
		assert.Equal(t, []string{"fails when the watch is over", "fails when it is ready", "is done"}, order)
		assert.Len(t, seen.Sources, 3)
		assert.Equal(t, seen, o.Stop(), "twice")
		assert.Len(t, order, 3, "done once")

		stopped := false
		_, err = start(t.Context(), clock, []Source{
			fakeSource(func(ctx context.Context, to Recorder) error { <-ctx.Done(); stopped = true; return nil }),
			fakeSource(func(context.Context, Recorder) error { return assert.AnError }),
		})
		assert.ErrorIs(t, err, assert.AnError)
		assert.True(t, stopped)
	})
}
