package verdict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestArrivals: of app-0, deleted at 4 s. Requests are of the lane service/new, and app-1 stays.
func TestArrivals(t *testing.T) {
	answered := func(pod uint16, sent ...time.Duration) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) {
			for _, at := range sent {
				give(tl, 0, at, at+ms, timeline.OK).Pod = pod
			}
		}
	}
	dropped := func(sent time.Duration, target string) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) {
			r := give(tl, 0, sent, sent+ms, timeline.Refused)
			if target != "" {
				chosen(tl, sent, "10.9.0.1", r.Port, target)
			}
		}
	}
	tests := []struct {
		name    string
		changes changes
		want    []Arrival
	}{
		{"nothing", nil, nil},
		{"before its deletion only", changes{answered(1, sec, 3*sec, 4*sec)}, nil},
		{"counted from when the deletion was asked for", changes{interval(40*ms, 60*ms), answered(1, 4100*ms)}, []Arrival{{Pod: "app-0", After: 100 * ms}}},
		{"while the deletion was being made", changes{interval(40*ms, 60*ms), answered(1, 4030*ms)}, []Arrival{{Pod: "app-0", After: 30 * ms}}},
		{"the last, not the first", changes{answered(1, 4100*ms, 4900*ms, 4500*ms)}, []Arrival{{Pod: "app-0", After: 900 * ms}}},
		{"one that was dropped there", changes{answered(1, 4100*ms), dropped(7200*ms, "10.0.0.1")}, []Arrival{{Pod: "app-0", After: 3200 * ms}}},
		{"one that was dropped elsewhere", changes{answered(1, 4100*ms), dropped(7200*ms, "10.0.0.2")}, []Arrival{{Pod: "app-0", After: 100 * ms}}},
		{"one that nobody knows where", changes{answered(1, 4100*ms), dropped(7200*ms, "")}, []Arrival{{Pod: "app-0", After: 100 * ms}}},
		{"sent before, answered afterwards", changes{func(tl *timeline.Timeline) { give(tl, 0, 3900*ms, 5*sec, timeline.OK).Pod = 1 }}, nil},
		{"answered badly", changes{func(tl *timeline.Timeline) { give(tl, 0, 4300*ms, 4400*ms, timeline.HTTP5xx).Pod = 1 }}, []Arrival{{Pod: "app-0", After: 300 * ms}}},
		{"a Pod that stays", changes{answered(2, 5*sec, 6*sec)}, nil},
		{"another lane", changes{func(tl *timeline.Timeline) { give(tl, 1, 4300*ms, 4400*ms, timeline.OK).Pod = 1 }}, nil},
		{"a deletion that was never seen", changes{without(timeline.PodDeleted), answered(1, 5*sec)}, nil},
		{"two Pods, in the order of their deletions", changes{func(tl *timeline.Timeline) {
			happens(tl, 3*sec, timeline.PodDeleted, timeline.Event{Pod: "app-1"})
		}, answered(1, 4200*ms), answered(2, 3500*ms, 3700*ms)}, []Arrival{{Pod: "app-1", Owner: 1, After: 700 * ms}, {Pod: "app-0", After: 200 * ms}}},
		{"a later Pod of that name", changes{again, answered(1, 4200*ms, 12*sec)}, []Arrival{{Pod: "app-0", After: 200 * ms}}},
		{"both Pods of that name", changes{again, func(tl *timeline.Timeline) {
			happens(tl, 13*sec, timeline.PodDeleted, timeline.Event{Pod: "app-0", UID: "uid-again"})
		}, answered(1, 4200*ms, 12*sec, 13500*ms)}, []Arrival{{Pod: "app-0", After: 200 * ms}, {Pod: "app-0", Owner: 2, After: 500 * ms}}},
		{"dropped at the address of the first of that name", changes{again, func(tl *timeline.Timeline) {
			happens(tl, 13*sec, timeline.PodDeleted, timeline.Event{Pod: "app-0", UID: "uid-again"})
		}, dropped(13500*ms, "10.0.0.1")}, []Arrival{{Pod: "app-0", After: 9500 * ms}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			for _, change := range tt.changes {
				change(&tl)
			}
			pods := podLifecycles(tl)
			charged := attribute(tl, pods)
			assert.Equal(t, tt.want, arrivals(tl, tl.Spec.Lanes[0], tl.Lanes[0], charged[0], pods))
		})
	}
}

// TestCensored: requests that arrive until the Pod's own end may have gone on. app-0 closes its
// listener at 6 s. At 10 requests/s, one of n Pods gets a request in n · 0.3 s with 95 %.
func TestCensored(t *testing.T) {
	alone := func(tl *timeline.Timeline) { // app-1 serves no more
		happens(tl, 5*sec, timeline.EndpointGone, timeline.Event{Pod: "app-1"})
	}
	tests := []struct {
		name    string
		changes changes
		last    time.Duration
		want    bool
	}{
		{"well before its end", nil, 5*sec + 400*ms, false},
		{"near its end", nil, 5*sec + 401*ms, true},
		{"just before its end", nil, 6*sec - ms, true},
		{"at its end", nil, 6 * sec, true},
		{"after its end", nil, 6*sec + ms, false},
		{"long after its end", nil, 9 * sec, false},
		{"near, as the only Pod", changes{alone}, 5*sec + 700*ms, false},
		{"nearer, as the only Pod", changes{alone}, 5*sec + 701*ms, true},
		{"without a handler, by its exit", changes{noHandler}, 7*sec - ms, true},
		{"without a handler, after its exit", changes{noHandler}, 7*sec + 21*ms, false},
		{"an end that nobody saw", changes{noHandler, noRuntime}, 7*sec - ms, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			for _, change := range tt.changes {
				change(&tl)
			}
			give(&tl, 0, tt.last, tt.last+ms, timeline.OK).Pod = 1
			pods := podLifecycles(tl)
			assert.Equal(t, []Arrival{{Pod: "app-0", After: tt.last - 4*sec, Censored: tt.want}}, arrivals(tl, tl.Spec.Lanes[0], tl.Lanes[0], nil, pods))
		})
	}
	t.Run("a lane without a rate", func(t *testing.T) {
		tl := leaving()
		tl.Lanes[0].Rate = 0
		give(&tl, 0, 6*sec-ms, 6*sec, timeline.OK).Pod = 1
		assert.False(t, arrivals(tl, tl.Spec.Lanes[0], tl.Lanes[0], nil, podLifecycles(tl))[0].Censored)
	})
}

// TestArrivalsBeforeNoEndpoint: where there was no endpoint any more, requests would have gone on to the Pod that had been the last to be one: to it
// alone. app-0 on n1 is gone from 7.1 s on, app-1 on n2 from 9 s on; app-2 on n1 comes later. Requests are sent to n1.
func TestArrivalsBeforeNoEndpoint(t *testing.T) {
	tests := []struct {
		name  string
		local bool
		sent  time.Duration // of the last request, for which nothing was chosen
		want  bool          // that the arrival of app-0, at 7.05 s, is a lower bound
	}{
		{"the other node has an endpoint, which this one doesn't ask", true, 8 * sec, true},
		{"the other node has one", false, 8 * sec, false},
		{"no node has one, and the other's was the last", false, 10 * sec, false},
		{"no node has one, and this one keeps to its own", true, 10 * sec, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			tl.Spec.Lanes[0].Local = tt.local
			happens(&tl, 9*sec, timeline.EndpointGone, timeline.Event{Pod: "app-1"})
			happens(&tl, 10500*ms, timeline.EndpointServing, timeline.Event{Pod: "app-2", Node: "n1"})
			happens(&tl, 12*sec, timeline.EndpointGone, timeline.Event{Pod: "app-2"})
			chosen(&tl, 7050*ms, "10.9.0.1", give(&tl, 0, 7050*ms, 7051*ms, timeline.Refused).Port, "10.0.0.1")
			give(&tl, 0, tt.sent, tt.sent+ms, timeline.Timeout)
			pods := podLifecycles(tl)
			want := []Arrival{{Pod: "app-0", After: 3050 * ms, Censored: tt.want, Missed: tt.want}}
			assert.Equal(t, want, arrivals(tl, tl.Spec.Lanes[0], tl.Lanes[0], attribute(tl, pods)[0], pods))
		})
	}
}

// TestNothingArrived: a Pod that ended so soon after its deletion, at 4 s, that nobody knows whether a request would have come. One of
// two Pods gets one in 0.6 s.
func TestNothingArrived(t *testing.T) {
	ends := func(at time.Duration) changes {
		return changes{without(timeline.AppListenerClosed), with(at, timeline.AppListenerClosed)}
	}
	censored := []Arrival{{Pod: "app-0", Censored: true}}
	tests := []struct {
		name    string
		changes changes
		want    []Arrival
	}{
		{"at once", ends(4001 * ms), censored},
		{"just soon enough", ends(4599 * ms), censored},
		{"later", ends(4600 * ms), nil},
		{"before it was an endpoint", append(ends(4001*ms), without(timeline.EndpointServing)), nil},
		{"an end that nobody saw", changes{noHandler, noRuntime}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			for _, change := range tt.changes {
				change(&tl)
			}
			give(&tl, 0, 3*sec, 3001*ms, timeline.OK).Pod = 1
			assert.Equal(t, tt.want, arrivals(tl, tl.Spec.Lanes[0], tl.Lanes[0], nil, podLifecycles(tl)))
		})
	}
}

// TestMissedByLate: a node without an endpoint drops a SYN, which leaves no trace but that the answer comes late. app-0 on n1 is gone from 7.1 s
// on, app-2 on n1 serves from 10 s on; app-1 on n2 stays. Requests are sent to n1.
func TestMissedByLate(t *testing.T) {
	request := func(sent, done time.Duration, use uint32) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) { give(tl, 0, sent, done, timeline.OK).ConnUse = use }
	}
	arrives := func(tl *timeline.Timeline) { give(tl, 0, 5*sec, 5001*ms, timeline.OK).Pod = 1 }
	other := func(tl *timeline.Timeline) { tl.Senders[1].Node = "n2" }
	everywhere := func(tl *timeline.Timeline) { tl.Spec.Lanes[0].Local = false }
	late := request(8*sec, 10500*ms, 1)
	missed := func(after time.Duration) []Arrival {
		return []Arrival{{Pod: "app-0", After: after, Censored: true, Missed: true}}
	}
	tests := []struct {
		name    string
		changes changes
		want    []Arrival
	}{
		{"late, with nothing that arrived", changes{late}, missed(0)},
		{"late, with an arrival", changes{arrives, late}, missed(sec)},
		{"sent before it was gone", changes{request(7*sec, 10200*ms, 1)}, missed(0)},
		{"in time", changes{arrives, request(8*sec, 9*sec, 1)}, []Arrival{{Pod: "app-0", After: sec}}},
		{"late, on a connection that was there", changes{late, func(tl *timeline.Timeline) { tl.Lanes[0].Requests[0].ConnUse = 7 }}, nil},
		{"late, before it was gone", changes{request(3*sec, 5*sec, 1)}, nil},
		{"late, long after another had come", changes{request(12100*ms, 15*sec, 1)}, nil},
		{"late on another node", changes{late, other}, nil},
		{"late, of nodes that ask others", changes{late, everywhere}, nil},
	}
	returns := func(tl *timeline.Timeline) {
		happens(tl, 10*sec, timeline.EndpointServing, timeline.Event{Pod: "app-2", Node: "n1"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			returns(&tl)
			tl.Spec.Lanes[0].Local = true
			for _, change := range tt.changes {
				change(&tl)
			}
			assert.Equal(t, tt.want, arrivals(tl, tl.Spec.Lanes[0], tl.Lanes[0], nil, podLifecycles(tl)))
		})
	}
	for node, want := range map[string][]Arrival{"172.18.0.2": missed(0), "172.18.0.3": nil} {
		t.Run("late through a balancer that asked "+node, func(t *testing.T) {
			tl := proxied()
			returns(&tl)
			tl.Spec.Lanes[balanced].Local = true
			give(&tl, balanced, 8*sec, 10500*ms, timeline.OK)
			passes(&tl, "loadbalancer", "", client, "172.18.0.3", timeline.Forward{At: 7 * sec, ClientPort: 40000})
			passes(&tl, "loadbalancer", "", client, node, timeline.Forward{At: 8001 * ms, ClientPort: 40000})
			assert.Equal(t, want, arrivals(tl, tl.Spec.Lanes[balanced], tl.Lanes[balanced], nil, podLifecycles(tl)))
		})
	}
}

// TestArrivalsOfAnUnknownPod: an index that stands for nobody is nobody's arrival.
func TestArrivalsOfAnUnknownPod(t *testing.T) {
	tl := leaving()
	give(&tl, 0, 5*sec, 5001*ms, timeline.OK).Pod = 9
	assert.Empty(t, arrivals(tl, tl.Spec.Lanes[0], tl.Lanes[0], nil, podLifecycles(tl)))
}

// again gives the name of app-0 to another Pod at 10 s, as a StatefulSet does, with an address of
// its own.
func again(tl *timeline.Timeline) {
	pod := timeline.Event{Pod: "app-0", UID: "uid-again", Node: "n2", IP: "10.0.0.5"}
	happens(tl, 10*sec, timeline.PodCreated, pod)
	happens(tl, 10100*ms, timeline.PodAddressed, pod)
	happens(tl, 10500*ms, timeline.AppStart, pod)
	happens(tl, 11*sec, timeline.AppListening, pod)
}
