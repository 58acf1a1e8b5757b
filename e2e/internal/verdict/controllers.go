package verdict

import (
	"net/netip"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Controllers is what the controllers of the cluster did in a run: what they put endpoints into, when
// they changed them, and when a rollout deleted Pods.
type Controllers struct {
	// When the run began; all 0 where nobody looked.
	Services       int
	InOneObject    int // of these: their endpoints were in one object alone
	Slices         int // EndpointSlices of all of them
	Objects        int // objects of the older kind Endpoints
	Endpoints      int // in those EndpointSlices
	AddressAndPort int // of these: the IP of a Pod, and the port that its Service targets
	// Since the disruption began; all 0 where no endpoint was seen.
	Created, Deleted, Left Followed // a Pod, which got ready; a Pod; a Pod that was taken out of its Services
	// DeletedEarly are of so many Deletions those that came before a new Pod was ready in the place of
	// the one that was deleted.
	Deletions, DeletedEarly int
}

// Followed is to how many Pods something happened, and of how many of these the endpoints changed
// then.
type Followed struct{ Pods, Changed int }

func (f *Followed) add(changed bool) {
	if f.Pods++; changed {
		f.Changed++
	}
}

func controllers(tl timeline.Timeline, pods lifecycles) Controllers {
	var out Controllers
	ips := map[netip.Addr]bool{}
	for _, e := range tl.Events {
		if ip, err := netip.ParseAddr(e.IP); err == nil {
			ips[ip] = true
		}
	}
	for _, s := range tl.Services {
		out.Services++
		out.Slices, out.Objects = out.Slices+s.Slices, out.Objects+s.Objects
		if s.Slices+s.Objects == 1 {
			out.InOneObject++
		}
		for _, endpoint := range s.Endpoints {
			out.Endpoints++
			if ips[endpoint.Addr()] && slices.Contains(s.TargetPorts, endpoint.Port()) {
				out.AddressAndPort++
			}
		}
	}
	start := tl.Window.DisruptStart
	if start == 0 {
		return out // the run didn't get there
	}
	out.Deletions, out.DeletedEarly = pods.deletedEarly(start)
	if !slices.ContainsFunc(pods.all, func(l *PodLifecycle) bool { return l.has(timeline.EndpointServing) }) {
		return out
	}
	for _, life := range pods.all {
		if life.created() > start && life.has(timeline.PodReady) {
			out.Created.add(life.has(timeline.EndpointServing))
		}
		deleted, was := life.At(timeline.PodDeleted)
		switch {
		case life.has(timeline.LeaveAsked):
			out.Left.add(life.has(timeline.EndpointGone))
		case was && deleted >= start:
			out.Deleted.add(life.has(timeline.EndpointTerminating) || life.has(timeline.EndpointGone))
		}
	}
	return out
}

// deletedEarly counts the deletions since an instant, and those of them that came before as many new
// Pods were ready:
//
//	created n1   ready n1   deleted o1                none is early
//	created n1   deleted o1   ready n1                that of o1 is
//	deleted o1   created n1   ready n1   deleted o2   both are: for o2 there is no other yet
func (l lifecycles) deletedEarly(start time.Duration) (deletions, early int) {
	var ready, deleted []time.Duration
	for _, life := range l.all {
		if at, ok := life.At(timeline.PodReady); ok && life.created() > start {
			ready = append(ready, at)
		}
		if at, ok := life.At(timeline.PodDeleted); ok && at >= start {
			deleted = append(deleted, at)
		}
	}
	slices.Sort(ready)
	slices.Sort(deleted)
	for i, at := range deleted {
		if i >= len(ready) || at < ready[i] {
			early++
		}
	}
	return len(deleted), early
}
