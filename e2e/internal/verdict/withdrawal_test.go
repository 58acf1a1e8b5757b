package verdict

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestWithdrawals: who took an endpoint away that nobody has deleted, and whether its process had ended.
func TestWithdrawals(t *testing.T) {
	const controller, kubelet = "node-controller", "kubelet of node-a"
	type events = []timeline.Event
	event := func(at time.Duration, kind timeline.Kind, by string) timeline.Event {
		return timeline.Event{At: 10*sec + at, Kind: kind, Pod: "app-0", UID: "u0", By: by}
	}
	exit := event(15*sec, timeline.ProcessExit, "")
	tests := []struct {
		name   string
		node   string // that was disrupted; "" for none
		events events
		want   []Withdrawal
	}{
		{
			"by its kubelet, when its process has ended", "node-a",
			events{exit, event(15200*ms, timeline.PodUnready, kubelet), event(15210*ms, timeline.EndpointGone, "endpointslice-controller")},
			[]Withdrawal{{Pod: "app-0", By: kubelet, After: 15210 * ms, BeforeExit: new(-210 * ms)}},
		},
		{
			"by the node controller, for good", "node-a",
			events{
				event(3*sec, timeline.PodUnready, controller), event(3100*ms, timeline.EndpointUnready, ""), exit,
				event(15200*ms, timeline.EndpointGone, ""),
			},
			[]Withdrawal{{Pod: "app-0", By: controller, After: 3100 * ms, BeforeExit: new(11900 * ms)}},
		},
		{
			"by the node controller, and its kubelet says otherwise", "node-a",
			events{
				event(3*sec, timeline.PodUnready, controller), event(3100*ms, timeline.EndpointUnready, ""),
				event(9*sec, timeline.PodReady, kubelet), event(9100*ms, timeline.EndpointServing, ""), exit,
				event(15200*ms, timeline.PodUnready, kubelet), event(15210*ms, timeline.EndpointGone, ""),
			},
			[]Withdrawal{{Pod: "app-0", By: controller, After: 3100 * ms, BeforeExit: new(11900 * ms), Back: true, PutBack: kubelet}},
		},
		{
			"nobody says who, nor when it ended", "node-a",
			events{event(sec, timeline.PodUnready, ""), event(sec, timeline.EndpointUnready, "")},
			[]Withdrawal{{Pod: "app-0", After: sec}},
		},
		{
			"deleted, as by a drain", "node-a",
			events{event(sec, timeline.PodDeleted, "eviction by harness"), event(1100*ms, timeline.EndpointTerminating, ""), exit, event(16*sec, timeline.EndpointGone, "")},
			nil,
		},
		{"deleted after that", "node-a", events{event(sec, timeline.EndpointUnready, ""), event(2*sec, timeline.PodDeleted, "")}, []Withdrawal{{Pod: "app-0", After: sec}}},
		{"on another node", "node-b", events{event(sec, timeline.EndpointUnready, "")}, nil},
		{"of a run that is about no node", "", events{event(sec, timeline.EndpointUnready, "")}, nil},
		{"before the disruption", "node-a", events{event(-sec, timeline.EndpointUnready, ""), event(-sec/2, timeline.EndpointServing, "")}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := timeline.Timeline{Window: timeline.Window{DisruptStart: 10 * sec}, Events: events{
				{Kind: timeline.PodCreated, Pod: "app-0", UID: "u0", Node: "node-a"},
				{Kind: timeline.EndpointServing, Pod: "app-0", UID: "u0"},
			}}
			if tt.node != "" {
				tl.Events = append(tl.Events, timeline.Event{At: 10 * sec, Kind: timeline.NodeDisrupted, Node: tt.node})
			}
			tl.Events = append(tl.Events, tt.events...)
			slices.SortStableFunc(tl.Events, func(a, b timeline.Event) int { return int(a.At - b.At) })
			assert.Equal(t, tt.want, Judge(tl).Withdrawals)
		})
	}
}
