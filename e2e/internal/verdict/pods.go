package verdict

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// PodLifecycle is what is known of one Pod: when each thing first happened to it. Nothing stands in
// the place of what was not seen.
type PodLifecycle struct {
	Pod  string
	UID  string `json:",omitempty"` // empty in timelines that are older than it
	Node string
	IP   string
	// Release is that which the Pod is of; empty for one that the app was deployed with.
	Release string `json:",omitempty"`
	// FirstSeen are the first instants of each kind, as offsets from the start of the run.
	FirstSeen map[timeline.Kind]time.Duration
	// Routed is, by node, the last instant at which that node chose this Pod for a new connection.
	// Only where connection tracking was watched.
	Routed map[string]time.Duration `json:",omitempty"`
	// Segments are the phases between instants that were both seen; else there is a gap:
	//
	//	created    listening          deleted         SIGTERM      listener closed     exit        gone, no longer routed
	//	   ├─ start-up ─┼─ before deletion ┼─ preStop ───┼─ terminating ───┼─ listener closed ┼─ after exit ─┤
	Segments []Segment `json:"-"`

	// of the deletion, lengths: how much later the watch told of it, and the interval within which it
	// was made; 0 if its instant is the watch's
	deletionLate, deletionWidth time.Duration

	// of what is in FirstSeen, lengths: the intervals within which it happened
	widths   map[timeline.Kind]time.Duration
	clockOff time.Duration // how far off the clock of its node may be, by which app and runtime tell
	answered span          // of the requests that it answered the first, from sent to done; zero for none

	// shown is when an app that says nothing of itself has shown what it doesn't say (foreign.go).
	shown  map[timeline.Kind]time.Duration
	killed bool // SIGKILL ended its process

	serving   []span // when kube-proxy may route to it: ready, or terminating and not failing its probe
	restarted bool   // its process started a second time, and nothing says what is of which

	// later are, by Event.Restart, the first instants of each kind that the containers tell which were
	// started in the first one's place. FirstSeen has nothing of them.
	later map[int]map[timeline.Kind]time.Duration
	// runs are, of a Pod whose container was started again, what is known of the Pod for as long as each
	// of its containers was the present one; empty for any other.
	runs []*PodLifecycle
	next time.Duration // of one of runs: when the next one began; 0 for the last
}

// Segment is a phase of a Pod's life. To is endless for one that goes on.
type Segment struct {
	Phase    LifecyclePhase
	From, To time.Duration
}

// End is when the Pod was gone, and no node routed to it any more; false if its end was not seen.
func (l PodLifecycle) End() (time.Duration, bool) {
	if l.next > 0 {
		return l.next, true
	}
	gone, ok := l.goneAt()
	for _, at := range l.Routed {
		gone = max(gone, at)
	}
	return gone, ok
}

// goneAt is when the Pod was gone; false if it was not. Where its node was lost nobody ends it, and its
// object stays until the node is back: it is gone when it was deleted and is no endpoint any more.
func (l PodLifecycle) goneAt() (time.Duration, bool) {
	if at, ok := l.At(timeline.PodGone); ok || !l.has(timeline.NodeLost) {
		return at, ok
	}
	at, deleted := l.At(timeline.PodDeleted)
	for _, s := range l.serving {
		at = max(at, s.to)
	}
	if !deleted || at == endless {
		return 0, false
	}
	return at, true
}

// segments are the phases of a Pod's life, by the rules that dropped requests are charged by.
func (l PodLifecycle) segments() []Segment {
	if len(l.runs) > 0 {
		var out []Segment
		for _, run := range l.runs {
			out = append(out, run.segments()...)
		}
		return out
	}
	first := func(kinds ...timeline.Kind) (time.Duration, bool) {
		for _, kind := range kinds { // each says the same, the better one first
			if at, ok := l.when(kind); ok {
				return at, true
			}
		}
		return 0, false
	}
	created, hasCreated := l.At(timeline.PodCreated)
	listening, hasListened := first(timeline.AppListening, timeline.PodReady)
	deleted, wasDeleted := l.deletedBy()
	sigterm, hasSIGTERM := l.At(timeline.AppSIGTERM)
	if hasSIGTERM {
		deleted = min(deleted, sigterm) // nothing is later than what follows from it
	}
	closed, hasClosed := l.when(timeline.AppListenerClosed)
	exit, exited := first(timeline.ProcessExit, timeline.AppExit, timeline.ContainerExit, timeline.NodeLost)
	if asked, _ := l.At(timeline.PodDeleted); exited {
		deleted = max(asked, min(deleted, exit))
	}
	if lost, ok := l.At(timeline.NodeLost); ok {
		deleted = min(deleted, lost) // it was deleted because it was gone
	}
	last, ended := l.End()

	var out []Segment
	add := func(p LifecyclePhase, from, to time.Duration, seen bool) {
		if seen && to > from {
			out = append(out, Segment{p, from, to})
		}
	}
	add(StartUp, created, listening, hasCreated && hasListened)
	switch {
	case wasDeleted:
		add(BeforeDeletion, listening, deleted, hasListened)
	case hasSIGTERM:
		add(BeforeDeletion, listening, sigterm, hasListened)
	case exited:
		add(BeforeDeletion, listening, exit, hasListened)
	case !ended:
		add(BeforeDeletion, listening, endless, hasListened)
	}
	switch {
	case hasSIGTERM:
		add(PreStop, deleted, sigterm, wasDeleted)
	case l.logComplete(): // no word of SIGTERM: no handler, so it ended the process
		add(PreStop, deleted, exit, wasDeleted && exited)
	}
	if hasClosed {
		add(Terminating, sigterm, closed, hasSIGTERM)
		add(ListenerClosed, closed, exit, exited)
	} else {
		add(Terminating, sigterm, exit, hasSIGTERM && exited)
	}
	add(AfterExit, exit, last, exited && ended)
	return out
}

// At is the first instant of a kind, and whether it was seen at all.
func (l PodLifecycle) At(kind timeline.Kind) (time.Duration, bool) {
	at, ok := l.FirstSeen[kind]
	return at, ok
}

// deletedBy is when the Pod was deleted at the latest: at the end of the interval in which that was
// done, or when the watch told of it. What happened before may have happened to a Pod to which
// nothing had been done. At, when the deletion was asked for, is what latencies count from: they are
// never too short by that.
//
//	asked for ──────── done? ──────── answered ───── the watch tells
//	    At                            deletedBy
func (l PodLifecycle) deletedBy() (time.Duration, bool) {
	at, ok := l.At(timeline.PodDeleted)
	return at + min(l.deletionWidth, l.deletionLate), ok
}

// has says that a kind was seen.
func (l PodLifecycle) has(kind timeline.Kind) bool { _, seen := l.FirstSeen[kind]; return seen }

// created is when the Pod was first seen; the start of the run if that was not.
func (l PodLifecycle) created() time.Duration { return l.FirstSeen[timeline.PodCreated] }

// lifecycles are all Pods of a run, each once, in the order in which they were first seen.
type lifecycles struct {
	all    []*PodLifecycle
	byName map[string][]*PodLifecycle // in that order, too: a name may come again
	byIP   map[string][]*PodLifecycle
}

// podLifecycles reads the events, which are in the order of their time. Two Pods of one name are
// known apart by their UIDs, or where there are none by the end of the first.
func podLifecycles(tl timeline.Timeline) lifecycles {
	pods := lifecycles{byName: map[string][]*PodLifecycle{}, byIP: map[string][]*PodLifecycle{}}
	for _, e := range tl.Events {
		if e.Pod == "" {
			continue
		}
		l := pods.find(e.Pod, e.UID)
		if l == nil || e.Kind == timeline.PodCreated && l.has(timeline.PodGone) {
			l = &PodLifecycle{Pod: e.Pod, UID: e.UID, FirstSeen: map[timeline.Kind]time.Duration{}}
			pods.all = append(pods.all, l)
			pods.byName[e.Pod] = append(pods.byName[e.Pod], l)
		}
		l.UID, l.Node, l.Release = cmp.Or(l.UID, e.UID), cmp.Or(l.Node, e.Node), cmp.Or(l.Release, e.Release)
		if l.IP == "" && e.IP != "" {
			l.IP = e.IP
			pods.byIP[e.IP] = append(pods.byIP[e.IP], l)
		}
		seen := l.of(e.Restart)
		at, again := seen[e.Kind]
		if !again || e.At < at {
			seen[e.Kind] = e.At
			if e.Restart == 0 {
				l.width(e)
			}
		}
		if e.Kind == timeline.PodDeleted && !again {
			l.deletionLate, l.deletionWidth = e.SeenAfter, e.Width
		}
		l.serves(e)
		l.killed = l.killed || e.Kind == timeline.ProcessExit && e.Code == exitKilled
		l.restarted = l.restarted || again && (e.Kind == timeline.AppStart || e.Kind == timeline.ProcessStart)
	}
	pods.noteLost(tl)
	for _, l := range pods.all {
		l.divide()
	}
	slices.SortStableFunc(pods.all, func(a, b *PodLifecycle) int {
		return cmp.Or(cmp.Compare(a.created(), b.created()), cmp.Compare(a.Pod, b.Pod))
	})
	for _, same := range pods.byName {
		slices.SortStableFunc(same, func(a, b *PodLifecycle) int { return cmp.Compare(a.created(), b.created()) })
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

// noteLost notes of the Pods of a node that was lost when that was.
func (l lifecycles) noteLost(tl timeline.Timeline) {
	for _, e := range tl.Events {
		if e.Kind != timeline.NodeLost {
			continue
		}
		for _, life := range l.all {
			if gone, ok := life.At(timeline.PodGone); life.Node == e.Node && (!ok || gone > e.At) {
				life.FirstSeen[timeline.NodeLost] = e.At
				life.width(e)
			}
		}
	}
}

// of are the first instants of what the n-th container of the Pod tells; those of the Pod itself are
// with the first.
func (l *PodLifecycle) of(n int) map[timeline.Kind]time.Duration {
	if n == 0 {
		return l.FirstSeen
	}
	if l.later == nil {
		l.later = map[int]map[timeline.Kind]time.Duration{}
	}
	if l.later[n] == nil {
		l.later[n] = map[timeline.Kind]time.Duration{}
	}
	return l.later[n]
}

// divide works out runs. Each container has a life like that of a Pod: it begins when the container
// was first seen, and ends when the next one begins. The Pod's own end is that of the last.
//
//	container 0: created ─ listening ─ SIGTERM ─ exit ─┐
//	                                       container 1: started ─ listening ─ … ─ deleted ─ … ─ gone
func (l *PodLifecycle) divide() {
	if len(l.later) == 0 {
		return
	}
	first := *l
	l.runs = []*PodLifecycle{&first}
	for _, n := range slices.Sorted(maps.Keys(l.later)) {
		run := *l
		run.FirstSeen, run.runs = maps.Clone(l.later[n]), nil
		run.FirstSeen[timeline.PodCreated] = slices.Min(slices.Collect(maps.Values(l.later[n])))
		l.runs = append(l.runs, &run)
	}
	for i, run := range l.runs {
		if i+1 < len(l.runs) {
			run.next, run.Routed = l.runs[i+1].created(), nil
		}
	}
	last := l.runs[len(l.runs)-1]
	first.FirstSeen = maps.Clone(l.FirstSeen)
	for _, kind := range []timeline.Kind{timeline.PodDeleted, timeline.PodGone, timeline.NodeLost} {
		delete(first.FirstSeen, kind)
		if at, seen := l.At(kind); seen {
			last.FirstSeen[kind] = at
		}
	}
}

// during is what is known of the Pod for as long as the container was the present one that was so at
// an instant.
func (l *PodLifecycle) during(at time.Duration) *PodLifecycle {
	for _, run := range slices.Backward(l.runs) {
		if run.created() <= at {
			return run
		}
	}
	if len(l.runs) > 0 {
		return l.runs[0]
	}
	return l
}

// last is what is known of the Pod for as long as its last container was the present one.
func (l *PodLifecycle) last() *PodLifecycle { return l.during(endless) }

// width takes an event that is the first of its kind.
func (l *PodLifecycle) width(e timeline.Event) {
	if l.widths == nil {
		l.widths = map[timeline.Kind]time.Duration{}
	}
	l.widths[e.Kind] = e.Width
}

// serves takes an event of an endpoint. A Pod may fail its readiness probe and recover.
func (l *PodLifecycle) serves(e timeline.Event) {
	last := len(l.serving) - 1
	under := last >= 0 && l.serving[last].to == endless
	switch e.Kind {
	case timeline.EndpointServing:
		if !under {
			l.serving = append(l.serving, span{e.At, endless})
		}
	case timeline.EndpointUnready, timeline.EndpointNotServing, timeline.EndpointGone:
		if under {
			l.serving[last].to = e.At
		}
	}
}

// find is the Pod of a name and a UID. An event without a UID is of the latest Pod of its name.
func (l lifecycles) find(name, uid string) *PodLifecycle {
	same := l.byName[name]
	for _, life := range slices.Backward(same) {
		if uid == "" || life.UID == "" || life.UID == uid {
			return life
		}
	}
	return nil
}

// named is the Pod that had a name at an instant; nil if none is known, or if it can't be told.
func (l lifecycles) named(name string, at time.Duration) *PodLifecycle {
	return onlyOne(l.byName[name], at, timeline.PodCreated)
}

// at is the Pod that had an IP address at an instant, or had it last, even if it is gone by then;
// nil if none is known, or if it can't be told.
func (l lifecycles) at(ip string, at time.Duration) *PodLifecycle {
	return onlyOne(l.byIP[ip], at, timeline.PodAddressed)
}

// onlyOne chooses among Pods that had the same name, or address, since an event: the last to have
// it, if the one before was gone by then.
func onlyOne(same []*PodLifecycle, at time.Duration, since timeline.Kind) *PodLifecycle {
	if len(same) == 1 {
		return same[0]
	}
	var last, before *PodLifecycle
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

// sinceDeletion is how long before an instant the last deletion was; false if none was.
func (l lifecycles) sinceDeletion(at time.Duration) (since time.Duration, ok bool) {
	for _, life := range l.all {
		if deleted, was := life.At(timeline.PodDeleted); was && deleted <= at && (!ok || at-deleted < since) {
			since, ok = at-deleted, true
		}
	}
	return since, ok
}

// sorted are the Pods by name, so that it comes in one order.
func (l lifecycles) sorted() []*PodLifecycle {
	return slices.SortedStableFunc(
		slices.Values(l.all),
		func(a, b *PodLifecycle) int { return cmp.Compare(a.Pod, b.Pod) },
	)
}

// gone counts the Pods that were there when the disruption began and that are gone, of those on a
// node; of all if that is empty. There says how many there were.
func (l lifecycles) gone(w timeline.Window, node string) (gone, there int) {
	for _, life := range l.all {
		created, known := life.At(timeline.PodCreated)
		if !known || created > w.DisruptStart || node != "" && life.Node != node {
			continue
		}
		there++
		if _, ok := life.goneAt(); ok {
			gone++
		}
	}
	return gone, there
}

// inPlace counts the Pods that were there when the disruption began, that are not gone, and to which
// something has happened since. There says how many there were.
func (l lifecycles) inPlace(w timeline.Window, happened func(*PodLifecycle) bool) (n, there int) {
	for _, life := range l.all {
		created, known := life.At(timeline.PodCreated)
		if !known || created > w.DisruptStart {
			continue
		}
		there++
		if !life.has(timeline.PodGone) && happened(life) {
			n++
		}
	}
	return n, there
}

// startedAgain says that the Pod's container was started again after an instant.
func (l *PodLifecycle) startedAgain(after time.Duration) bool {
	return len(l.runs) > 1 && l.last().created() > after
}

// unreadyIn says that the Pod's endpoint stopped being ready after an instant, and is ready again.
func (l *PodLifecycle) unreadyIn(after time.Duration) bool {
	n := len(l.serving)
	return n > 1 && l.serving[n-2].to > after && l.serving[n-1].to == endless
}

// hasLeft says that the Pod was taken out of its Services after an instant.
func (l *PodLifecycle) hasLeft(after time.Duration) bool {
	left, ok := l.At(timeline.EndpointGone)
	return ok && left > after
}

// toGo is when it was asked for that no request comes to the Pod any more: when it was to be deleted,
// or before that when it was to be taken out of its Services. Where a controller has taken it out, as
// of Argo Rollouts, nobody tells when it asked: that is when the Pod was no endpoint any more. Of a Pod
// that was deleted because its node had been lost that was never asked for.
func (l PodLifecycle) toGo() (time.Duration, bool) {
	deleted, ok := l.At(timeline.PodDeleted)
	if lost, was := l.At(timeline.NodeLost); was && lost < deleted {
		return 0, false
	}
	if left, asked := l.At(timeline.LeaveAsked); asked && (!ok || left < deleted) {
		return left, true
	}
	if left, gone := l.At(timeline.EndpointGone); ok && gone && left < deleted && !l.has(timeline.EndpointTerminating) {
		return left, true
	}
	return deleted, ok
}

// cost is the most Pods at once, and the Pod-seconds beyond the replicas asked for, from the start
// of the disruption until it had settled, or the load ended. Terminating Pods count: they still
// hold their memory.
//
//	replicas 3, Pods 3 ──4──── 5 ──── 4 ── 3
//	         at         0s   1s    11s   12s    peak 5, extra 1·1 + 2·10 + 1·1 = 22 Pod-seconds
func (l lifecycles) cost(tl timeline.Timeline) (peak int, extra float64) {
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
		if gone, ok := life.goneAt(); ok {
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
