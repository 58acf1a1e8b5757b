package verdict

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Life is what is known of one Pod: when each thing first happened to it. What was not seen is not there, and nothing is put in its place.
type Life struct {
	Pod  string
	UID  string `json:",omitempty"` // empty in timelines that are older than it
	Node string
	IP   string
	// Marks are the first instants of each kind, as offsets from the start of the run.
	Marks map[timeline.Kind]time.Duration
	// Routed is, by node, the last instant at which that node chose this Pod for a new connection: from then on it was no longer routed to there. Only where
	// connection tracking was watched.
	Routed map[string]time.Duration `json:",omitempty"`

	deletionLate time.Duration // length: how much later than its instant the watch told of the deletion; 0 if the instant is the watch's
	serving      []span        // when its endpoint was one that kube-proxy may route to: ready, or terminating and not yet failing its probe
	restarted    bool          // its process started a second time, and the marks are of the first
}

// At is the first instant of a kind, and whether it was seen at all.
func (l Life) At(kind timeline.Kind) (time.Duration, bool) {
	at, ok := l.Marks[kind]
	return at, ok
}

// has says that a mark was seen.
func (l Life) has(kind timeline.Kind) bool { _, seen := l.Marks[kind]; return seen }

// began is when the Pod was first seen; the start of the run if that was not.
func (l Life) began() time.Duration { return l.Marks[timeline.PodCreated] }

// lives are all Pods of a run, each once, in the order in which they were first seen.
type lives struct {
	all    []*Life
	byName map[string][]*Life // in that order, too: a name may come again
	byIP   map[string][]*Life
}

// podLives reads the events, which are in the order of their time. Two Pods of one name are told apart by their UIDs, or where there are none by the end of the
// first.
func podLives(tl timeline.Timeline) lives {
	pods := lives{byName: map[string][]*Life{}, byIP: map[string][]*Life{}}
	for _, e := range tl.Events {
		if e.Pod == "" {
			continue
		}
		l := pods.find(e.Pod, e.UID)
		if l == nil || e.Kind == timeline.PodCreated && l.has(timeline.PodGone) {
			l = &Life{Pod: e.Pod, UID: e.UID, Marks: map[timeline.Kind]time.Duration{}}
			pods.all = append(pods.all, l)
			pods.byName[e.Pod] = append(pods.byName[e.Pod], l)
		}
		l.UID, l.Node = cmp.Or(l.UID, e.UID), cmp.Or(l.Node, e.Node)
		if l.IP == "" && e.IP != "" {
			l.IP = e.IP
			pods.byIP[e.IP] = append(pods.byIP[e.IP], l)
		}
		at, again := l.Marks[e.Kind]
		if !again || e.At < at {
			l.Marks[e.Kind] = e.At
		}
		if e.Kind == timeline.PodDeleted && !again {
			l.deletionLate = e.SeenAfter
		}
		l.serves(e)
		l.restarted = l.restarted || again && (e.Kind == timeline.AppStart || e.Kind == timeline.ProcessStart)
	}
	slices.SortStableFunc(pods.all, func(a, b *Life) int {
		return cmp.Or(cmp.Compare(a.began(), b.began()), cmp.Compare(a.Pod, b.Pod))
	})
	for _, same := range pods.byName {
		slices.SortStableFunc(same, func(a, b *Life) int { return cmp.Compare(a.began(), b.began()) })
	}
	for _, r := range tl.Routes.List {
		if l := pods.at(tl.Routes.Name(r.Target), r.At); l != nil {
			if l.Routed == nil {
				l.Routed = map[string]time.Duration{}
			}
			node := tl.Routes.Name(r.Node)
			l.Routed[node] = max(l.Routed[node], r.At)
		}
	}
	return pods
}

// serves takes an event of an endpoint, of which the first makes it serve, the next ends that, and so on: a Pod may fail its readiness probe and recover.
func (l *Life) serves(e timeline.Event) {
	last := len(l.serving) - 1
	under := last >= 0 && l.serving[last].to == forever
	switch e.Kind {
	case timeline.EndpointServing:
		if !under {
			l.serving = append(l.serving, span{e.At, forever})
		}
	case timeline.EndpointUnready, timeline.EndpointNotServing, timeline.EndpointGone:
		if under {
			l.serving[last].to = e.At
		}
	}
}

// find is the Pod of a name and a UID. An event without a UID is of the latest Pod of its name.
func (l lives) find(name, uid string) *Life {
	same := l.byName[name]
	for _, life := range slices.Backward(same) {
		if uid == "" || life.UID == "" || life.UID == uid {
			return life
		}
	}
	return nil
}

// named is the Pod that had a name at an instant; nil if none is known, or if it can't be told.
func (l lives) named(name string, at time.Duration) *Life {
	return onlyOne(l.byName[name], at, timeline.PodCreated)
}

// at is the Pod that had an IP address at an instant, or had it last; nil if none is known, or if it can't be told. What is still sent to the address of a Pod
// that is gone is sent to that Pod, until another has it.
func (l lives) at(ip string, at time.Duration) *Life {
	return onlyOne(l.byIP[ip], at, timeline.PodAddressed)
}

// onlyOne chooses among Pods that had the same name, or address, since the instant of a mark: the last to have it, if the one before was gone by then.
func onlyOne(same []*Life, at time.Duration, since timeline.Kind) *Life {
	if len(same) == 1 {
		return same[0]
	}
	var last, before *Life
	for _, life := range same {
		if from, known := life.At(since); !known || from <= at {
			last, before = life, last
		}
	}
	if before != nil {
		gone, known := before.At(timeline.PodGone)
		if from, seen := last.At(since); !known || !seen || gone > from {
			return nil
		}
	}
	return last
}

// sorted are the Pods by name, so that it comes in one order.
func (l lives) sorted() []*Life {
	return slices.SortedStableFunc(slices.Values(l.all), func(a, b *Life) int { return cmp.Compare(a.Pod, b.Pod) })
}

// replaced counts the Pods that were there when the disruption began and that are gone.
func (l lives) replaced(w timeline.Window) int {
	n := 0
	for _, life := range l.all {
		created, known := life.At(timeline.PodCreated)
		_, gone := life.At(timeline.PodGone)
		if known && created <= w.DisruptStart && gone {
			n++
		}
	}
	return n
}

// cost is the most Pods at once, and the Pod-seconds beyond the replicas asked for, between the start of the disruption and the instant when it had
// settled, or the end of the load if it never did. Terminating Pods count: they hold their memory and their place until they are gone.
//
//	replicas 3, Pods 3 ──4──── 5 ──── 4 ── 3
//	         at         0s   1s    11s   12s    peak 5, extra 1·1 + 2·10 + 1·1 = 22 Pod-seconds
func (l lives) cost(tl timeline.Timeline) (peak int, extra float64) {
	from, to := tl.Window.DisruptStart, tl.Window.Settled
	if to == 0 {
		to = tl.Window.LoadEnd
	}
	steps := map[time.Duration]int{}
	for _, life := range l.all {
		created, known := life.At(timeline.PodCreated)
		if !known || created >= to {
			continue
		}
		steps[max(created, from)]++
		if gone, ok := life.At(timeline.PodGone); ok {
			steps[min(max(gone, from), to)]--
		}
	}
	steps[to] += 0 // the last stretch ends here
	count, last := 0, from
	for _, at := range slices.Sorted(maps.Keys(steps)) {
		extra += float64(max(0, count-tl.Replicas)) * (at - last).Seconds()
		count, last = count+steps[at], at
		peak = max(peak, count)
	}
	return peak, extra
}
