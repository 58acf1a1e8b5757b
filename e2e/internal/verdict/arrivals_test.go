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
	lost := func(sent time.Duration, target string) func(*timeline.Timeline) {
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
		{"the last, not the first", changes{answered(1, 4100*ms, 4900*ms, 4500*ms)}, []Arrival{{"app-0", 900 * ms}}},
		{"one that was lost there", changes{answered(1, 4100*ms), lost(7200*ms, "10.0.0.1")}, []Arrival{{"app-0", 3200 * ms}}},
		{"one that was lost elsewhere", changes{answered(1, 4100*ms), lost(7200*ms, "10.0.0.2")}, []Arrival{{"app-0", 100 * ms}}},
		{"one that nobody knows where", changes{answered(1, 4100*ms), lost(7200*ms, "")}, []Arrival{{"app-0", 100 * ms}}},
		{"sent before, answered afterwards", changes{func(tl *timeline.Timeline) { give(tl, 0, 3900*ms, 5*sec, timeline.OK).Pod = 1 }}, nil},
		{"answered badly", changes{func(tl *timeline.Timeline) { give(tl, 0, 4300*ms, 4400*ms, timeline.HTTP5xx).Pod = 1 }}, []Arrival{{"app-0", 300 * ms}}},
		{"a Pod that stays", changes{answered(2, 5*sec, 6*sec)}, nil},
		{"another lane", changes{func(tl *timeline.Timeline) { give(tl, 1, 4300*ms, 4400*ms, timeline.OK).Pod = 1 }}, nil},
		{"a deletion that was never seen", changes{without(timeline.PodDeleted), answered(1, 5*sec)}, nil},
		{"two Pods, in the order of their deletions", changes{func(tl *timeline.Timeline) {
			happens(tl, 3*sec, timeline.PodDeleted, timeline.Event{Pod: "app-1"})
		}, answered(1, 4200*ms), answered(2, 3500*ms, 3700*ms)}, []Arrival{{"app-1", 700 * ms}, {"app-0", 200 * ms}}},
		{"a later Pod of that name", changes{again, answered(1, 4200*ms, 12*sec)}, []Arrival{{"app-0", 200 * ms}}},
		{"both Pods of that name", changes{again, func(tl *timeline.Timeline) {
			happens(tl, 13*sec, timeline.PodDeleted, timeline.Event{Pod: "app-0", UID: "uid-again"})
		}, answered(1, 4200*ms, 12*sec, 13500*ms)}, []Arrival{{"app-0", 200 * ms}, {"app-0", 500 * ms}}},
		{"lost at the address of the first of that name", changes{again, func(tl *timeline.Timeline) {
			happens(tl, 13*sec, timeline.PodDeleted, timeline.Event{Pod: "app-0", UID: "uid-again"})
		}, lost(13500*ms, "10.0.0.1")}, []Arrival{{"app-0", 9500 * ms}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			for _, change := range tt.changes {
				change(&tl)
			}
			pods := podLives(tl)
			losses := attribute(tl, pods)
			assert.Equal(t, tt.want, arrivals(tl.Lanes[0], losses[0], pods))
		})
	}
}

// TestArrivalsOfAnUnknownPod: an index that stands for nobody is nobody's arrival.
func TestArrivalsOfAnUnknownPod(t *testing.T) {
	tl := leaving()
	give(&tl, 0, 5*sec, 5001*ms, timeline.OK).Pod = 9
	assert.Empty(t, arrivals(tl.Lanes[0], nil, podLives(tl)))
}

// again gives the name of app-0 to another Pod at 10 s, as a StatefulSet does, with an address of its own.
func again(tl *timeline.Timeline) {
	pod := timeline.Event{Pod: "app-0", UID: "uid-again", Node: "n2", IP: "10.0.0.5"}
	happens(tl, 10*sec, timeline.PodCreated, pod)
	happens(tl, 10100*ms, timeline.PodAddressed, pod)
	happens(tl, 10500*ms, timeline.AppStart, pod)
	happens(tl, 11*sec, timeline.AppListening, pod)
}
