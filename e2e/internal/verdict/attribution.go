package verdict

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Moment is the part of a Pod's life in which it lost a request.
type Moment int

// The zero value is Unattributed: what nobody looked into is charged to no one.
const (
	Unattributed   Moment = iota // to no Pod, or to no part of its life; Loss.Why says why
	StartUp                      // before the Pod listened
	BeforeDeletion               // while nothing had been done to the Pod
	PreStop                      // from its deletion to SIGTERM: the preStop hook, and what the kubelet takes
	Terminating                  // from SIGTERM until its listener was closed, or its process ended: it still took connections
	ListenerClosed               // from then until its process ended
	CutAtExit                    // in flight when its process ended, or gave up waiting for what was
	AfterExit                    // sent to a Pod whose process had ended: from the exit until the last node no longer routed there
	NoEndpoint                   // sent when the Service had no endpoint at all
)

var momentNames = [...]string{
	"unattributed", "start-up", "before-deletion", "prestop", "terminating", "listener-closed", "cut-at-exit", "after-exit", "no-endpoint",
}

// Moments lists every moment in the order in which a life has them, Unattributed last.
func Moments() []Moment {
	return []Moment{StartUp, BeforeDeletion, PreStop, Terminating, ListenerClosed, CutAtExit, AfterExit, NoEndpoint, Unattributed}
}

func (m Moment) String() string {
	if m < 0 || int(m) >= len(momentNames) {
		return fmt.Sprintf("moment(%d)", int(m))
	}
	return momentNames[m]
}

// MarshalText writes the name, as a value and as a key.
func (m Moment) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (m *Moment) UnmarshalText(text []byte) error {
	i := slices.Index(momentNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("unknown moment %q", text)
	}
	*m = Moment(i)
	return nil
}

// Evidence says how it is known which Pod a request went to.
type Evidence string

// The kinds of evidence, the strongest first.
const (
	ByAnswer     Evidence = "answer"     // the Pod named itself in its answer, which was not a good one or not whole
	ByConnection Evidence = "connection" // the request before on the same connection was answered by the Pod, and a connection stays with its Pod
	ByRoute      Evidence = "conntrack"  // kube-proxy's choice for the request's own port, as connection tracking on the node saw it
)

// Loss is a dropped request and what is known of why. It is charged to one Pod and one moment, or it says why not.
type Loss struct {
	Lane     string
	Seq      int           // its number in the lane, from 0
	Sent     time.Duration // when it left
	Done     time.Duration // when it failed
	Cause    timeline.Cause
	Code     uint16   // HTTP status, if there was one
	Port     uint16   // the connection: its local port
	ConnUse  uint32   // which request on that connection it was; 0 if the connection was never made
	Pod      string   // "" if that is not known
	Evidence Evidence // of Pod
	Moment   Moment
	// Since is from the Pod's deletion to the instant at which the request left; nil if the Pod or that is not known.
	Since *time.Duration
	Why   string // of Unattributed: what is missing

	life *Life // of Pod; nil if it is not known
}

// Reasons not to charge a request to a Pod or to a moment.
const (
	whyOutside     = "sent from outside the cluster, where the choice of a Pod for a new connection can't be seen"
	whyNoPort      = "it had no port of its own: it never got as far as a connection"
	whyNoSender    = "its sender's address is not on record"
	whyNoConntrack = "connection tracking was not watched where it was sent from"
	whyNoRoute     = "connection tracking saw no choice for its port"
	whyTwoRoutes   = "its port was used twice at about that time, for two Pods"
	whyForeignIP   = "it was sent to an address that none of the app's Pods had"
	whyConnection  = "nothing was answered before on its connection"
	whyTwoPods     = "the name or address belonged to two Pods at that time"
	whyRestarted   = "the Pod's process was started again: in which of its lives it lost this can't be told"
	whyNoLife      = "nothing is known of the Pod that answered"
	whyNoMarks     = "the marks of the Pod's life that it lies between were not seen"
	whyClock       = "a clock is not known well enough to say what came first"
)

// attribution charges lost requests to Pods.
type attribution struct {
	tl     timeline.Timeline
	pods   lives
	clocks map[string]time.Duration // by node: how far off its wall clock may be
	step   time.Duration            // by how much the harness' own wall clock was set in mid-run, either way
	holes  []span                   // when the Service had no endpoint
	// refused is when a Pod first refused a connection that it had to take if it lived (see findRefusals).
	refused map[*Life]time.Duration
	gap     time.Duration // when a watch was first interrupted: up to then, a Pod that was not seen to be deleted was not
}

// attribute says of every dropped request, lane by lane, which Pod lost it, and in which part of its life. It takes what the client knows of the request (its
// port, its connection), what the cluster knows of the port (the choice of kube-proxy), and what is known of the Pod. It compares instants only to say what
// came first, never to find who was near: two Pods that go at the same time would be taken for each other.
//
// Its time grows linearly with the requests and the routes.
func attribute(tl timeline.Timeline, pods lives) [][]Loss {
	a := attribution{tl: tl, pods: pods, clocks: map[string]time.Duration{}, holes: pods.holes(), gap: forever}
	for _, e := range tl.Events {
		if e.Kind == timeline.WatchGap {
			a.gap = min(a.gap, e.At)
		}
	}
	for _, s := range tl.Sources {
		if s.SameClock || s.Uncertainty > 0 {
			a.clocks[s.Node] = max(a.clocks[s.Node], s.Uncertainty)
		}
		if s.Kind == timeline.SourceHarness {
			a.step = s.Drift.Abs()
		}
	}
	routes := a.routesOfLosses()
	losses := make([][]Loss, len(tl.Lanes))
	for i, lane := range tl.Lanes {
		losses[i] = a.lane(lane, routes)
	}
	a.findRefusals(losses)
	for i, lane := range tl.Lanes {
		from := senders(tl, lane.Name)
		for j := range losses[i] {
			if loss := &losses[i][j]; loss.life != nil {
				loss.Moment, loss.Why = a.moment(*loss, uncertainty(sharer(from, loss.Seq)))
			}
		}
	}
	return losses
}

// findRefusals finds, for each Pod that didn't say when it closed its listener, when it first refused a connection although it had listened. A listener refuses
// nothing: by then the process had ended, which the runtime notices later.
func (a *attribution) findRefusals(losses [][]Loss) {
	a.refused = map[*Life]time.Duration{}
	for _, lane := range losses {
		for _, loss := range lane {
			if loss.life == nil || loss.Cause != timeline.Refused || loss.life.has(timeline.AppListenerClosed) || !loss.life.whole() {
				continue
			}
			listening, ok := loss.life.At(timeline.AppListening)
			if first, known := a.refused[loss.life]; ok && loss.Sent > listening && (!known || loss.Done < first) {
				a.refused[loss.life] = loss.Done
			}
		}
	}
}

// unknownClock is how far off a clock may be that nobody has measured: longer than any run.
const unknownClock = 24 * time.Hour

// clock is how far off what a node tells by its wall clock may be. Timelines that are older than Sources come from clusters on one machine, with one clock.
func (a attribution) clock(node string) time.Duration {
	slack, known := a.clocks[node]
	if !known && len(a.tl.Sources) > 0 {
		return unknownClock
	}
	return slack + a.step
}

// uncertainty is how far off a sender's instants may be.
func uncertainty(s timeline.Sender) time.Duration {
	if s.SameClock {
		return 0
	}
	return s.Uncertainty
}

// key is what a connection is known by on both sides: where it came from.
type key struct {
	ip   string
	port uint16
}

// senders are those of a lane, in the order in which they share its requests.
func senders(tl timeline.Timeline, lane string) []timeline.Sender {
	var out []timeline.Sender
	for _, s := range tl.Senders {
		if slices.Contains(s.Lanes, lane) {
			out = append(out, s)
		}
	}
	return out
}

// routesOfLosses are the choices of kube-proxy for the ports of dropped requests, in the order of their time. The rest, nearly all, is not kept.
func (a attribution) routesOfLosses() map[key][]timeline.Route {
	wanted := map[key][]timeline.Route{}
	for _, lane := range a.tl.Lanes {
		from := senders(a.tl, lane.Name)
		for seq, r := range lane.Requests {
			if r.Dropped() && r.Port != 0 {
				wanted[key{sharer(from, seq).IP, r.Port}] = nil
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	for _, route := range a.tl.Routes.List {
		k := key{a.tl.Routes.Name(route.Source), route.Port}
		if _, ok := wanted[k]; ok {
			wanted[k] = append(wanted[k], route)
		}
	}
	return wanted
}

// request is what a request on a connection is known by on the client's side.
type request struct {
	sender string
	port   uint16
	use    uint32
}

// answer says that a Pod answered.
type answer struct {
	sent time.Duration
	pod  string
}

// answersBefore are the answers to those requests that went over a connection just before one that was lost on it. The rest, nearly all, is not kept. There may
// be several of a key where a port was used again.
func answersBefore(lane timeline.LaneRecord, senderOf func(seq int) timeline.Sender) map[request][]answer {
	before := map[request][]answer{}
	for seq, r := range lane.Requests {
		if r.Dropped() && r.ConnUse > 1 {
			before[request{senderOf(seq).Name, r.Port, r.ConnUse - 1}] = nil
		}
	}
	if len(before) == 0 {
		return nil
	}
	for seq, r := range lane.Requests {
		if r.Pod == 0 {
			continue
		}
		k := request{senderOf(seq).Name, r.Port, r.ConnUse}
		if _, ok := before[k]; ok {
			before[k] = append(before[k], answer{r.Sent(), lane.PodOf(r)})
		}
	}
	return before
}

// sharer is who of those that share a lane sent a request of it; the zero Sender if nobody is on record.
func sharer(from []timeline.Sender, seq int) timeline.Sender {
	if len(from) == 0 {
		return timeline.Sender{}
	}
	return from[seq%len(from)]
}

// lane finds the Pods of the dropped requests of a lane.
func (a attribution) lane(lane timeline.LaneRecord, routes map[key][]timeline.Route) []Loss {
	from := senders(a.tl, lane.Name)
	senderOf := func(seq int) timeline.Sender { return sharer(from, seq) }
	before := answersBefore(lane, senderOf)
	var losses []Loss
	for seq, r := range lane.Requests {
		if !r.Dropped() {
			continue
		}
		sender := senderOf(seq)
		loss := Loss{
			Lane: lane.Name, Seq: seq, Sent: r.Sent(), Done: r.Done(), Cause: r.Cause, Code: r.Code, Port: r.Port, ConnUse: r.ConnUse,
		}
		switch {
		case lane.PodOf(r) != "":
			a.name(&loss, lane.PodOf(r), ByAnswer)
		case r.ConnUse > 1:
			// The latest, where the port was used again: whoever was given the connection before this one has no more to do with it.
			var last answer
			for _, b := range before[request{sender.Name, r.Port, r.ConnUse - 1}] {
				if b.sent <= loss.Done && b.sent >= last.sent {
					last = b
				}
			}
			if last.pod == "" {
				loss.Why = whyConnection
				break
			}
			a.name(&loss, last.pod, ByConnection)
		default:
			a.route(&loss, lane, sender, routes[key{sender.IP, r.Port}])
		}
		if loss.life != nil {
			if deleted, ok := loss.life.At(timeline.PodDeleted); ok {
				loss.Since = new(loss.Sent - deleted)
			}
		}
		losses = append(losses, loss)
	}
	return losses
}

// name fills in the Pod of a name that the client knows, or why that can't be told.
func (a attribution) name(loss *Loss, pod string, by Evidence) {
	switch loss.life = a.pods.named(pod, loss.Sent); {
	case loss.life != nil:
		loss.Pod, loss.Evidence = pod, by
	case len(a.pods.byName[pod]) > 1:
		loss.Why = whyTwoPods
	default:
		loss.Pod, loss.Evidence, loss.Why = pod, by, whyNoLife
	}
}

// lateRoute is how long after the fact connection tracking may tell of a new connection: its instant is that of the reading, by a process that has to be
// scheduled first.
const lateRoute = 2 * time.Second

// portRests is how long a port is left alone, at the least, before it is used again: package traffic takes ports in turn, and even at a thousand connections a
// second they last for 28 s. As long as instants are known better than that, the port decides alone.
const portRests = 10 * time.Second

// route finds the Pod that kube-proxy chose for a request on a connection of its own, and fills in who it was, or why that is not known. It is the choice for
// the request's own port while the request was under way: one that was made for an earlier user of that port says nothing.
func (a attribution) route(loss *Loss, lane timeline.LaneRecord, sender timeline.Sender, routes []timeline.Route) {
	slack := uncertainty(sender) + a.clock(sender.Node) + clockGrain
	since := loss.Sent - slack
	if lane.Connections == string(scenarios.ReusedConnections) {
		since -= portRests // the connection may have been dialled for an earlier request, which was given another one then
	}
	var found []timeline.Route
	for _, route := range routes {
		if route.At >= since && route.At <= loss.Done+slack+lateRoute {
			found = append(found, route)
		}
	}
	switch missing := a.blind(sender.Node); {
	case lane.From != fixtures.FromCluster:
		loss.Why = whyOutside
	case loss.Port == 0:
		loss.Why = whyNoPort
	case sender.IP == "":
		loss.Why = whyNoSender
	case len(found) == 0 && missing != "":
		loss.Why = missing
	case slack+lateRoute > portRests:
		loss.Why = whyClock
	case len(found) == 0 && a.noEndpoint(loss.Sent, loss.Done):
		// However it ended: the node rejects what comes then, but the kernel sends only a few rejections a second to one client (icmp_ratelimit), and the rest
		// waits until it times out.
		loss.Moment = NoEndpoint
	case len(found) == 0:
		loss.Why = whyNoRoute
	case slices.ContainsFunc(found, func(r timeline.Route) bool { return r.Target != found[0].Target }):
		loss.Why = whyTwoRoutes
	default:
		ip := a.tl.Routes.Name(found[0].Target)
		switch loss.life = a.pods.at(ip, found[0].At); {
		case loss.life != nil:
			loss.Pod, loss.Evidence = loss.life.Pod, ByRoute
		case len(a.pods.byIP[ip]) > 1:
			loss.Why = whyTwoPods
		default:
			loss.Why = whyForeignIP
		}
	}
}

// blind says why connection tracking on a node can't be relied on; "" if it can.
func (a attribution) blind(node string) string {
	for _, s := range a.tl.Sources {
		if s.Kind == timeline.SourceConntrack && s.Node == node {
			if s.Missing != "" {
				return whyNoConntrack + ": " + s.Missing
			}
			return ""
		}
	}
	return whyNoConntrack
}

// moment is the part of its Pod's life in which a request was lost. It is charged only if it comes out the same wherever the instants of the request may lie, as
// well as the clocks that are compared are known: that of its sender, and that of the Pod's node if there are marks by it.
func (a attribution) moment(loss Loss, slack time.Duration) (Moment, string) {
	if loss.life.restarted {
		return Unattributed, whyRestarted
	}
	if loss.life.told() {
		slack += a.clock(loss.life.Node)
	}
	earliest, latest := loss, loss
	earliest.Sent, earliest.Done = loss.Sent-slack, loss.Done-slack
	latest.Sent, latest.Done = loss.Sent+slack, loss.Done+slack
	m := a.part(earliest)
	switch {
	case m != a.part(latest):
		return Unattributed, whyClock
	case m == Unattributed:
		return m, whyNoMarks
	}
	return m, ""
}

// part is the part of its Pod's life in which a request was lost, as its marks have it; Unattributed if those that it lies between were not seen. It goes by the
// instant at which the loss was decided: when the connection ended, or was refused; for a request that timed out, when it was sent, as what waited for it all
// the time was the client.
//
// What a process tells of itself is exact. The deletion may be known only from when it was seen, a little late: so the parts are tried from the end, and the
// deletion only decides where nothing later does.
//
//	        created    listening        deletion          SIGTERM      listener closed     exit        no longer routed
//	           ├─ start-up ─┼─ before deletion ─┼─ preStop ─┼─ terminating ─┼─ listener closed ─┼─ after exit ─┤
//	sent before the listener was closed, ended with the process:         cut at exit ─────┘
func (a attribution) part(loss Loss) Moment {
	life := *loss.life
	at := loss.Done
	if loss.Cause == timeline.Timeout {
		at = loss.Sent
	}
	before := func(mark timeline.Kind) bool { t, seen := life.At(mark); return seen && at < t }
	since := func(mark timeline.Kind) bool { t, seen := life.At(mark); return seen && at >= t }
	hasClosed := life.has(timeline.AppListenerClosed)
	exit, late, exited := a.exit(loss.life)
	whole := life.whole()
	// What has answered had not ended, and what never connected was not in flight.
	answered := loss.Cause == timeline.HTTP5xx || loss.Cause == timeline.HTTPOther || loss.Cause == timeline.WrongBody
	connected := loss.Cause != timeline.Refused && loss.Cause != timeline.Unreachable
	inFlight := connected && !answered && loss.Sent < exit && (!hasClosed || loss.Sent < life.Marks[timeline.AppListenerClosed])

	switch {
	case exited && inFlight && loss.Done >= life.cut(exit-late):
		return CutAtExit
	case exited && !answered && at >= exit, since(timeline.ContainerExit):
		return AfterExit
	case exited && loss.Cause == timeline.Unreachable && at >= exit-late && since(timeline.AppListening) && whole && !hasClosed:
		return AfterExit // a network that is gone has no process any more
	case since(timeline.AppListenerClosed) && exited:
		return ListenerClosed
	case loss.Cause == timeline.Refused && hasClosed && exited && since(timeline.AppSIGTERM):
		return ListenerClosed // what refuses is closed: the mark is of the instant when closing had been done
	case since(timeline.AppSIGTERM) && (before(timeline.AppListenerClosed) || whole && !hasClosed && exited):
		return Terminating
	case since(timeline.AppSIGTERM):
		return Unattributed // it may have closed its listener, or ended
	case before(timeline.AppListening):
		return StartUp
	case since(timeline.PodDeleted) && (life.has(timeline.AppSIGTERM) || whole && exited):
		return PreStop // who told nothing of SIGTERM, in a whole log, has no handler: it was ended by it
	case (since(timeline.AppListening) || loss.Evidence != ByRoute) && a.notDeleted(life, at):
		return BeforeDeletion // who has answered has listened
	}
	return Unattributed
}

// notDeleted says that at an instant nothing had been done to the Pod: that its deletion was seen later, or never, by a watch without a gap. Of a Pod whose end
// was seen and not its deletion nobody knows when that was.
func (a attribution) notDeleted(life Life, at time.Duration) bool {
	if deleted, ok := life.At(timeline.PodDeleted); ok {
		return at < deleted && deleted <= a.gap
	}
	_, _, exited := life.exit()
	return a.gap == forever && !life.has(timeline.PodGone) && (exited || !life.has(timeline.ContainerExit))
}

// reaped is how long the runtime may take to notice that a process has ended: the kernel closes its connections before anybody can know of it. Seen on two busy
// cores: connections end 17-340 ms before the exit on record, and up to 20 ms before the first refusal, which is asked first, but comes only if somebody connects.
const reaped = 500 * time.Millisecond

// exit is when the Pod's process ended, and how much earlier that may have been: by its own last words, else by its runtime.
func (l Life) exit() (at, late time.Duration, ok bool) {
	if at, ok := l.At(timeline.AppExit); ok {
		return at, 0, true
	}
	at, ok = l.At(timeline.ProcessExit)
	return at, reaped, ok
}

// exit is the Pod's exit as its refusals have it, where the runtime noticed later.
func (a attribution) exit(life *Life) (at, late time.Duration, ok bool) {
	at, late, ok = life.exit()
	if first, refused := a.refused[life]; refused && ok && late > 0 && first < at {
		at = first
	}
	return at, late, ok
}

// whole says that the Pod's log was read from its beginning to its end. Of one that was cut off nobody knows what else it would have told.
func (l Life) whole() bool { return l.has(timeline.AppStart) && !l.has(timeline.LogCut) }

// cut is when the process cut off what was in flight: at its exit, or when it gave up waiting just before.
func (l Life) cut(exit time.Duration) time.Duration {
	if gaveUp, ok := l.At(timeline.AppShutdownTimeout); ok {
		return min(gaveUp, exit)
	}
	return exit
}

// toldByNode are the marks of the parts of a life that are told by the wall clock of the Pod's node.
var toldByNode = []timeline.Kind{
	timeline.AppListening, timeline.AppSIGTERM, timeline.AppListenerClosed, timeline.AppShutdownTimeout, timeline.AppExit, timeline.ProcessExit,
}

// told says that marks of the Pod's life are known by the wall clock of its node.
func (l Life) told() bool { return slices.ContainsFunc(toldByNode, l.has) }

// span is a time: in which an endpoint served, or in which a Service had none that did.
type span struct{ from, to time.Duration }

// forever is the end of what did not end within the run.
const forever = time.Duration(1<<63 - 1)

// holes are the times between the first endpoint and the end of the run in which there was no endpoint, terminating ones included as long as they serve:
// kube-proxy goes on routing to those when there is no other (KEP-1669).
func (l lives) holes() []span {
	steps := map[time.Duration]int{}
	for _, life := range l.all {
		for _, s := range life.serving {
			steps[s.from]++
			steps[s.to]--
		}
	}
	var out []span
	count := 0
	for _, at := range slices.Sorted(maps.Keys(steps)) {
		before := count
		count += steps[at]
		switch {
		case at == forever:
		case count == 0 && before > 0:
			out = append(out, span{at, forever})
		case count > 0 && before == 0 && len(out) > 0:
			out[len(out)-1].to = at
		}
	}
	return out
}

// proxyFollows is how long a node may take to route by endpoints that have changed.
const proxyFollows = 2 * time.Second

// noEndpoint says that a request was under way while there was no endpoint, or just after, when the node didn't know better yet.
func (a attribution) noEndpoint(sent, done time.Duration) bool {
	return slices.ContainsFunc(a.holes, func(h span) bool { return done >= h.from && (h.to == forever || sent <= h.to+proxyFollows) })
}
