package verdict

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline/timelinetest"
)

// TestServiceObjects: in how many objects endpoints are, and what they are. Each figure follows what was recorded.
func TestServiceObjects(t *testing.T) {
	recorded := func() timeline.Timeline {
		return timeline.Timeline{
			Events: []timeline.Event{{Kind: timeline.PodAddressed, Pod: "app-0", IP: "10.0.0.1"}},
			Services: []timeline.ServiceEndpoints{
				{Service: "app", TargetPorts: []uint16{8080, 9090}, Slices: 1, Objects: 1, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:9090")}},
				{Service: "app-dns", TargetPorts: []uint16{8080}, Slices: 2, Objects: 1, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:8080")}},
			},
		}
	}
	tests := []struct {
		name   string
		change func(*timeline.Timeline)
		want   Controllers
	}{
		{"as recorded", func(*timeline.Timeline) {}, Controllers{Services: 2, Slices: 3, Objects: 2, Endpoints: 2, AddressAndPort: 2}},
		{"one object alone", func(tl *timeline.Timeline) { tl.Services[0].Objects = 0 }, Controllers{Services: 2, InOneObject: 1, Slices: 3, Objects: 1, Endpoints: 2, AddressAndPort: 2}},
		{"an address of no Pod", func(tl *timeline.Timeline) { tl.Events[0].IP = "10.0.0.2" }, Controllers{Services: 2, Slices: 3, Objects: 2, Endpoints: 2}},
		{"the Service's own port", func(tl *timeline.Timeline) { tl.Services[1].TargetPorts[0] = 80 }, Controllers{Services: 2, Slices: 3, Objects: 2, Endpoints: 2, AddressAndPort: 1}},
		{"an older timeline", func(tl *timeline.Timeline) { tl.Services = nil }, Controllers{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := recorded()
			tt.change(&tl)
			assert.Equal(t, tt.want, Judge(tl).Controllers)
		})
	}
}

// TestFollowed: a rolling update, which deletes each Pod half a second after a new one is ready.
func TestFollowed(t *testing.T) {
	endpoints := func(tl *timeline.Timeline) {
		for _, e := range slices.Clone(tl.Events) {
			switch e.Kind {
			case timeline.PodReady:
				happens(tl, e.At, timeline.EndpointServing, e)
			case timeline.PodDeleted:
				happens(tl, e.At, timeline.EndpointTerminating, e)
			}
		}
	}
	sooner := func(kind timeline.Kind, pod string, by time.Duration) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) {
			for i := range tl.Events {
				if e := &tl.Events[i]; e.Kind == kind && e.Pod == pod {
					e.At -= by
				}
			}
		}
	}
	all := Followed{3, 3}
	tests := []struct {
		name    string
		changes changes
		want    Controllers
	}{
		{"each change is seen", changes{endpoints}, Controllers{Created: all, Deleted: all, Deletions: 3}},
		{"no endpoint was watched", nil, Controllers{Deletions: 3}},
		{"a Pod that comes changes nothing", changes{endpoints, func(tl *timeline.Timeline) {
			forgetOf(tl, timeline.EndpointServing, "app-5")
		}}, Controllers{Created: Followed{3, 2}, Deleted: all, Deletions: 3}},
		{"nor does one that goes", changes{endpoints, func(tl *timeline.Timeline) {
			forgetOf(tl, timeline.EndpointTerminating, "app-0")
		}}, Controllers{Created: all, Deleted: Followed{3, 2}, Deletions: 3}},
		{"one leaves, and runs on", changes{endpoints, func(tl *timeline.Timeline) {
			forgetOf(tl, timeline.PodDeleted, "app-0")
			forgetOf(tl, timeline.EndpointTerminating, "app-0")
			happens(tl, 4*sec, timeline.LeaveAsked, timeline.Event{Pod: "app-0"})
			happens(tl, 4*sec+ms, timeline.EndpointGone, timeline.Event{Pod: "app-0"})
		}}, Controllers{Created: all, Deleted: Followed{2, 2}, Left: Followed{1, 1}, Deletions: 2}},
		{"deleted before another is ready", changes{sooner(timeline.PodDeleted, "app-1", 600*ms)}, Controllers{Deletions: 3, DeletedEarly: 1}},
		{"none is ever ready", changes{func(tl *timeline.Timeline) {
			for _, pod := range []string{"app-3", "app-4", "app-5"} {
				forgetOf(tl, timeline.PodReady, pod)
			}
		}}, Controllers{Deletions: 3, DeletedEarly: 3}},
		{"the disruption never began", changes{endpoints, func(tl *timeline.Timeline) { tl.Window.DisruptStart = 0 }}, Controllers{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := timelinetest.Rollout("prestop-sleep")
			tl.Window.DisruptStart -= 100 * ms // app-3 is created after it
			for _, change := range tt.changes {
				change(&tl)
			}
			assert.Equal(t, tt.want, Judge(tl).Controllers)
		})
	}
}

// forgetOf takes the events of a kind of a Pod away.
func forgetOf(tl *timeline.Timeline, kind timeline.Kind, pod string) {
	tl.Events = slices.DeleteFunc(tl.Events, func(e timeline.Event) bool { return e.Kind == kind && e.Pod == pod })
}
