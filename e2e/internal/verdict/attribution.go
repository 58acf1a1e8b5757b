package verdict

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Evidence says how it is known which Pod a request went to.
type Evidence string

// The kinds of evidence, the strongest first.
const (
	ByAnswer     Evidence = "answer"         // the Pod named itself in an answer that was bad or incomplete
	ByConnection Evidence = "connection"     // the Pod answered before on the same connection, a request or its handshake
	ByAddress    Evidence = "remote-address" // the client dialled the Pod's own address
	ByAccessLog  Evidence = "access-log"     // the proxy wrote down where it had sent the request
	// kube-proxy's choice for the request's own port, or for that of a load balancer's connection
	ByRoute Evidence = "conntrack"
)

// DroppedRequest is one, charged to one Pod and one phase, or it says why not.
type DroppedRequest struct {
	Lane     string
	Seq      int           // its number in the lane, from 0
	Sent     time.Duration // when it left
	Done     time.Duration // when it failed
	Cause    timeline.Cause
	Code     uint16   // HTTP status, if there was one
	Port     uint16   // the connection: its local port
	ConnUse  uint32   // which request on that connection it was; 0 if the connection was never made
	Pod      string   // "" if that is not known
	Owner    int      // index of the Pod's lifecycle in Verdict.Pods; -1 if it is not known
	Evidence Evidence // of Pod
	Phase    LifecyclePhase
	// Class is in-flight if that is known of the request, else that of its connection.
	Class timeline.Class
	// SinceDeletion is from when the Pod's deletion was asked for to when the request left, or failed
	// where a proxy had sent it more than once; nil if that is not known.
	SinceDeletion *time.Duration
	Why           string // of Unattributed: what is missing

	lifecycle *PodLifecycle // of Pod; nil if it is not known
	// holds says that it was a message on a connection that its client held: it needed no listener.
	holds bool
	// landed is when it came to Pod: Sent, or Done where a proxy sent it again. Its last attempt is the
	// one that is charged, and is later than the request by all attempts before.
	landed time.Duration
	// instead is, of NoEndpoint where kube-proxy chose, the Pod that was the last to be one; it would
	// have been sent there had that lived longer.
	instead *PodLifecycle
}

// Reasons not to charge a request to a Pod or to a phase.
const (
	whyOutside     = "the choice of a Pod for a new connection can't be seen where it was sent to"
	whyPerRequest  = "a proxy chose the Pod for it, and the proxy doesn't tell which"
	whyNoAddress   = "the name that it was sent to had no address"
	whyNoPort      = "it had no port of its own: it never got as far as a connection"
	whyNoSender    = "its sender's address is not on record"
	whyNoConntrack = "connection tracking was not watched on the node that chose the Pod"
	whyNoRoute     = "connection tracking saw no choice for its port"
	whyTwoRoutes   = "its port was used twice at about that time, for two Pods"
	whyForeignIP   = "it was sent to an address that none of the app's Pods had"
	whyConnection  = "nothing was answered before on its connection"
	whyTwoPods     = "the name or address belonged to two Pods at that time"
	whyRestarted   = "the Pod's process was started again: which of the two dropped this can't be told"
	whyNoLifecycle = "nothing is known of the Pod that answered"
	whyNotSeen     = "the events of the Pod that it lies between were not seen"
	whyClock       = "a clock is not known well enough to say what came first"

	whyNotTaken    = "it never got as far as a connection with the proxy"
	whyNoAccessLog = "the proxy's access log was not read"
	whyNoForward   = "the proxy's access log has no line of it"
	whyTwoForwards = "the proxy's access log has it twice, and sent to two places"
	whyNoTarget    = "the proxy sent it to nobody, though the Service had a ready endpoint"
	whyNoLocalPort = "the proxy doesn't tell which port it sent it from"
	whyService     = "the proxy left the choice to the Service, and its log doesn't tell from which port it asked"
)

// attribution charges dropped requests to Pods.
type attribution struct {
	tl              timeline.Timeline
	pods            lifecycles
	clocks          map[string]time.Duration // by node: how far off its wall clock may be
	step            time.Duration            // by how much the harness' own wall clock was set in mid-run, either way
	withoutEndpoint []span                   // when the Service had no endpoint
	withoutReady    []span                   // when none of its endpoints was ready
	// refused is when a Pod first refused a connection although it had listened (findRefusals).
	refused map[*PodLifecycle]time.Duration
	gap     time.Duration // when a watch was first interrupted: until then every deletion was seen
	foreign bool          // the app doesn't tell of itself (foreign.go)
}

// attribute says of every dropped request, lane by lane, which Pod dropped it, and in which phase.
// It takes what the client knows of the request, kube-proxy's choice for its port, and what is
// known of the Pod. It compares instants only to say what came first, never to find which Pod was
// near: two Pods that go at the same time would be taken for each other. Its time grows linearly
// with the requests and the routes.
func attribute(tl timeline.Timeline, pods lifecycles) [][]DroppedRequest {
	a := newAttribution(tl, pods)
	dropped := a.find(timeline.Request.Dropped)
	a.findRefusals(dropped)
	unanswered := unansweredBy(tl.Served)
	for i, lane := range tl.Lanes {
		spec, _ := tl.Spec.Lane(lane.Name)
		from := senders(tl, lane.Name)
		for j := range dropped[i] {
			d := &dropped[i][j]
			d.Owner = slices.Index(pods.all, d.lifecycle)
			if d.lifecycle != nil {
				d.Phase, d.Why = a.phase(*d, uncertainty(senderOf(from, d.Seq)))
			}
			begun := unanswered[timeline.Unanswered{Lane: d.Lane, Seq: d.Seq}]
			if d.Phase == CutAtExit || begun || a.cutUnseen(*d, spec) {
				d.Class = timeline.ClassInFlight
			}
		}
	}
	return dropped
}

// workedOn is how long a connection lasts at least on which an app has begun to work. One that nobody takes any
// more is refused, or reset within a round trip.
const workedOn = 50 * time.Millisecond

// cutUnseen says that a request was in flight, as far as its client can tell, where no node can be asked which Pod
// it went to: it takes long, its connection was made, and was cut while it worked.
func (a attribution) cutUnseen(d DroppedRequest, spec timeline.LaneSpec) bool {
	cut := d.Cause == timeline.Reset || d.Cause == timeline.EOF || d.Cause == timeline.Truncated
	unseen := len(a.tl.Routes.List) == 0 && d.Pod == ""
	return unseen && spec.Class == timeline.ClassInFlight && cut && d.Done-d.Sent > workedOn
}

// find finds the Pods of requests of some kind, lane by lane.
func (a attribution) find(of func(timeline.Request) bool) [][]DroppedRequest {
	forwards := a.forwardsOf(of)
	routes, free := a.routesOf(of, forwards), a.portsFree(of)
	found := make([][]DroppedRequest, len(a.tl.Lanes))
	for i := range a.tl.Lanes {
		found[i] = a.lane(i, of, forwards, routes, free)
	}
	return found
}

// newAttribution reads what is common to all that is charged.
func newAttribution(tl timeline.Timeline, pods lifecycles) attribution {
	a := attribution{tl: tl, pods: pods, clocks: map[string]time.Duration{}, gap: endless, foreign: !tl.Spec.SaysItself()}
	a.withoutEndpoint = pods.withoutEndpoint()
	a.withoutReady = pods.without((*PodLifecycle).ready)
	for _, e := range tl.Events {
		if e.Kind == timeline.WatchGap {
			a.gap = min(a.gap, e.At)
		}
	}
	a.readClocks()
	return a
}

// unansweredBy are the requests that Pods say they had begun and not answered when they gave up. An
// established, written connection proves nothing of the kind: the kernel takes connections before
// the app does.
func unansweredBy(served []timeline.Served) map[timeline.Unanswered]bool {
	out := map[timeline.Unanswered]bool{}
	for _, s := range served {
		for _, u := range s.Unanswered {
			out[u] = true
		}
	}
	return out
}

// findRefusals finds, for each Pod that didn't say when it closed its listener, when it first
// refused a connection although it had listened. By then its process had ended, which the runtime
// notices later; or if the app doesn't tell of itself, it may have closed its listener (noteClosed).
func (a *attribution) findRefusals(dropped [][]DroppedRequest) {
	a.refused = map[*PodLifecycle]time.Duration{}
	for _, lane := range dropped {
		for _, d := range lane {
			if d.lifecycle == nil || d.Cause != timeline.Refused {
				continue
			}
			life := d.lifecycle.during(d.Done)
			if life.has(timeline.AppListenerClosed) || !a.foreign && !life.logComplete() {
				continue
			}
			if deleted, was := life.At(timeline.PodDeleted); a.foreign && (!was || d.Done < deleted) {
				continue
			}
			listening, ok := life.when(timeline.AppListening)
			if first, known := a.refused[life]; ok && d.Sent > listening && (!known || d.Done < first) {
				a.refused[life] = d.Done
			}
		}
	}
	if a.foreign {
		a.noteClosed()
	}
}

// readClocks takes what is known of the clocks of nodes, and of the harness' own.
func (a *attribution) readClocks() {
	for _, s := range a.tl.Sources {
		if s.SameClock || s.Uncertainty > 0 {
			a.clocks[s.Node] = max(a.clocks[s.Node], s.Uncertainty)
		}
		if s.Kind == timeline.SourceHarness {
			a.step = s.Drift.Abs()
		}
	}
}

// unknownClock is how far off a clock may be that nobody has measured: longer than any run.
const unknownClock = 24 * time.Hour

// clock is how far off a node's wall clock may be. Without Sources there is one clock.
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

// connectionKey is what a connection is known by on both sides: where it came from.
type connectionKey struct {
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

// routesOf are kube-proxy's choices for the ports of requests of some kind, and of the connections
// that a load balancer made for them, in the order of their time.
func (a attribution) routesOf(
	of func(timeline.Request) bool, forwards map[forwardKey][]timeline.Forward,
) map[connectionKey][]timeline.Route {
	wanted := map[connectionKey][]timeline.Route{}
	for key, lines := range forwards {
		for _, f := range lines {
			if f.LocalPort != 0 {
				wanted[connectionKey{accessLogOf(a.tl, key.component).IP, f.LocalPort}] = nil
			}
		}
	}
	for _, lane := range a.tl.Lanes {
		from := senders(a.tl, lane.Name)
		for seq, r := range lane.Requests {
			if of(r) && r.Port != 0 {
				wanted[connectionKey{senderOf(from, seq).IP, r.Port}] = nil
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	for _, route := range a.tl.Routes.List {
		k := connectionKey{a.tl.Routes.Name(route.Source), route.Port}
		if _, ok := wanted[k]; ok {
			wanted[k] = append(wanted[k], route)
		}
	}
	return wanted
}

// portsFree says of each request of some kind, of the lanes that keep connections, since when its port was
// free for its connection: when the last request on another connection from there had ended; the zero value
// for the first connection. A port belongs to one connection at a time.
//
//	port 40000   1st request ── 2nd ── 3rd          1st request ── 2nd
//	                                      ╰─ both of these: free since here
func (a attribution) portsFree(of func(timeline.Request) bool) map[requestKey]time.Duration {
	type key struct {
		sender string
		port   uint16
	}
	type use struct {
		requestKey
		sent, done time.Duration
		first      bool
	}
	wanted := map[key][]use{}
	each := func(do func(k key, u use, reuses bool)) {
		for i, lane := range a.tl.Lanes {
			spec, _ := a.tl.Spec.Lane(lane.Name)
			from := senders(a.tl, lane.Name)
			for seq, r := range lane.Requests {
				if r.Cause != timeline.Unsent && r.Port != 0 {
					do(key{senderOf(from, seq).Name, r.Port},
						use{requestKey{i, seq}, r.Sent(), r.Done(), r.ConnUse <= 1}, spec.Reuses() && of(r))
				}
			}
		}
	}
	each(func(k key, _ use, reuses bool) {
		if reuses {
			wanted[k] = nil
		}
	})
	if len(wanted) == 0 {
		return nil
	}
	each(func(k key, u use, _ bool) {
		if _, ok := wanted[k]; ok {
			wanted[k] = append(wanted[k], u)
		}
	})
	free := map[requestKey]time.Duration{}
	for _, uses := range wanted {
		slices.SortStableFunc(uses, func(a, b use) int { return cmp.Compare(a.sent, b.sent) })
		var since, end time.Duration
		for i, u := range uses {
			if i > 0 && u.sent >= end && (u.first || u.lane != uses[i-1].lane) {
				since = end
			}
			end = max(end, u.done)
			free[u.requestKey] = since
		}
	}
	return free
}

// requestKey is a request by its place in the timeline.
type requestKey struct{ lane, seq int }

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

// answersBefore are the answers to requests that went over a connection just before one that was
// dropped on it. There may be several of a key where a port was used again.
func answersBefore(lane timeline.LaneRecord, from []timeline.Sender) map[request][]answer {
	before := map[request][]answer{}
	for seq, r := range lane.Requests {
		if r.Dropped() && r.ConnUse > 1 {
			before[request{senderOf(from, seq).Name, r.Port, r.ConnUse - 1}] = nil
		}
	}
	if len(before) == 0 {
		return nil
	}
	for seq, r := range lane.Requests {
		if r.Pod == 0 {
			continue
		}
		k := request{senderOf(from, seq).Name, r.Port, r.ConnUse}
		if _, ok := before[k]; ok {
			before[k] = append(before[k], answer{r.Sent(), lane.PodOf(r)})
		}
	}
	return before
}

// senderOf is who of those that share a lane sent a request of it; zero if nobody is on record.
func senderOf(from []timeline.Sender, seq int) timeline.Sender {
	if len(from) == 0 {
		return timeline.Sender{}
	}
	return from[seq%len(from)]
}

// lane finds the Pods of a lane's requests of some kind, by evidence that holds for its routing.
func (a attribution) lane(
	i int, of func(timeline.Request) bool, forwards map[forwardKey][]timeline.Forward,
	routes map[connectionKey][]timeline.Route, free map[requestKey]time.Duration,
) []DroppedRequest {
	lane := a.tl.Lanes[i]
	spec, _ := a.tl.Spec.Lane(lane.Name)
	from := senders(a.tl, lane.Name)
	before := answersBefore(lane, from)
	var out []DroppedRequest
	for seq, r := range lane.Requests {
		if !of(r) {
			continue
		}
		sender := senderOf(from, seq)
		d := DroppedRequest{
			Lane: lane.Name, Seq: seq, Sent: r.Sent(), Done: r.Done(), Cause: r.Cause, Code: r.Code,
			Port: r.Port, ConnUse: r.ConnUse, Class: spec.ConnectionClass(), landed: r.Sent(),
		}
		onConnection := last(before[request{sender.Name, r.Port, r.ConnUse - 1}], d.Done)
		switch {
		// The Pod of a held connection has named itself in the handshake.
		case spec.Holds() && lane.PodOf(r) != "" && r.Cause != timeline.WrongBody && r.Cause != timeline.WrongApp:
			a.name(&d, lane.PodOf(r), ByConnection)
			d.holds = true
		// Another app's Pod has answered. To blame is the one that had its address before.
		case lane.PodOf(r) != "" && r.Cause != timeline.WrongApp:
			a.name(&d, lane.PodOf(r), ByAnswer)
		case spec.Routing == timeline.PerRequest && !spec.Logged():
			d.Why = whyPerRequest
		case spec.Routing == timeline.PerRequest:
			a.forwarded(&d, spec, sender, forwards[keyOf(spec, sender, seq, r)], routes)
		case spec.Routing == timeline.ByClient && lane.AddressOf(r) != "":
			a.address(&d, lane.AddressOf(r), d.Sent, ByAddress)
		case onConnection != "":
			a.name(&d, onConnection, ByConnection)
		case r.ConnUse > 1 && !slices.Contains(spec.Evidence, timeline.EvidenceConntrack):
			d.Why = whyConnection
		// DNS, xDS and the like give no addresses of Pods that terminate, even if no other is left.
		case spec.Routing == timeline.ByClient && during(a.withoutReady, d.Sent, d.Done, componentFollows):
			d.Phase = NoEndpoint
		case spec.Routing == timeline.ByClient:
			d.Why = whyNoAddress
		case spec.Logged(): // a load balancer, whose connection stays with its Pod like the client's
			a.forwarded(&d, spec, sender, forwards[keyOf(spec, sender, seq, r)], routes)
		default:
			if sender.Node == "" {
				sender.Node = nodeAt(a.tl, lane.AddressOf(r))
			}
			since := d.Sent
			if spec.Reuses() {
				// The connection may have been dialled for an earlier request, or to be a spare one, at any time
				// since its port was free; of the one before, connection tracking may tell late.
				if since = free[requestKey{i, seq}]; since > 0 {
					since += lateRoute + 2*a.slack(sender)
				}
			}
			a.route(&d, spec, sender, r.Port, since, routes[connectionKey{sender.IP, r.Port}])
		}
		if d.lifecycle != nil {
			if deleted, ok := d.lifecycle.At(timeline.PodDeleted); ok {
				d.SinceDeletion = new(d.landed - deleted)
			}
		}
		out = append(out, d)
	}
	return out
}

// last is the Pod of the latest of some answers that were sent before an instant: a port may have been used
// again. It is empty without any.
func last(answers []answer, before time.Duration) string {
	var latest answer
	for _, b := range answers {
		if b.sent <= before && b.sent >= latest.sent {
			latest = b
		}
	}
	return latest.pod
}

// address fills in the Pod that had an IP address at an instant, or why that can't be told.
func (a attribution) address(d *DroppedRequest, ip string, at time.Duration, by Evidence) {
	switch d.lifecycle = a.pods.at(ip, at); {
	case d.lifecycle != nil:
		d.Pod, d.Evidence = d.lifecycle.Pod, by
	case len(a.pods.byIP[ip]) > 1:
		d.Why = whyTwoPods
	default:
		d.Why = whyForeignIP
	}
}

// name fills in the Pod of a name that the client knows, or why that can't be told.
func (a attribution) name(d *DroppedRequest, pod string, by Evidence) {
	switch d.lifecycle = a.pods.named(pod, d.Sent); {
	case d.lifecycle != nil:
		d.Pod, d.Evidence = pod, by
	case len(a.pods.byName[pod]) > 1:
		d.Why = whyTwoPods
	default:
		d.Pod, d.Evidence, d.Why = pod, by, whyNoLifecycle
	}
}

// nodeAt is the node of an address: kube-proxy there has chosen the Pod for a client outside of the
// cluster, and not one where the client is. "" if that is not known.
func nodeAt(tl timeline.Timeline, ip string) string {
	for _, s := range tl.Sources {
		if ip != "" && s.Kind == timeline.SourceConntrack && s.IP == ip {
			return s.Node
		}
	}
	return ""
}

// lateRoute is how long after the fact connection tracking may tell of a new connection: its
// instant is that of the reading, by a process that has to be scheduled first.
const lateRoute = 2 * time.Second

// portRests is how long a port is left alone, at the least, before it is used again: senders take
// ports in turn, and even at a thousand connections a second they last for 28 s. As long as
// instants are known better than that, the port decides alone.
const portRests = 10 * time.Second

// route fills in the Pod that kube-proxy chose for a connection from a sender's port, which was
// dialled at an instant or later, while the request was under way; or why that is not known. A choice
// for an earlier user of that port says nothing.
func (a attribution) route(
	d *DroppedRequest, lane timeline.LaneSpec, sender timeline.Sender, port uint16, since time.Duration,
	routes []timeline.Route,
) {
	slack := a.slack(sender)
	var found []timeline.Route
	for _, route := range routes {
		if a.tl.Routes.Name(route.Node) == sender.Node && route.At >= since-slack && route.At <= d.Done+slack+lateRoute {
			found = append(found, route)
		}
	}
	switch missing := a.blind(sender.Node); {
	case !slices.Contains(lane.Evidence, timeline.EvidenceConntrack):
		d.Why = whyOutside
	case port == 0:
		d.Why = whyNoPort
	case sender.Name == "":
		d.Why = whyNoSender
	case len(found) == 0 && missing != "":
		d.Why = missing
	case sender.IP == "":
		d.Why = whyNoSender
	case slack+lateRoute > portRests:
		d.Why = whyClock
	case len(found) == 0 && a.noEndpoint(lane, sender.Node, d.Sent, d.Done):
		// However it ended: the kernel sends only a few rejections a second to one client
		// (icmp_ratelimit), and the rest waits until it times out.
		d.Phase, d.instead = NoEndpoint, a.pods.lastEndpoint(lane, sender.Node, d.Done)
	case len(found) == 0:
		d.Why = whyNoRoute
	case slices.ContainsFunc(found, func(r timeline.Route) bool { return r.Target != found[0].Target }):
		d.Why = whyTwoRoutes
	default:
		a.address(d, a.tl.Routes.Name(found[0].Target), found[0].At, ByRoute)
	}
}

// slack is how far off a sender's instants may be against those of its node's connection tracking.
func (a attribution) slack(sender timeline.Sender) time.Duration {
	return uncertainty(sender) + a.clock(sender.Node) + clockGrain
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

// phase is the part of its Pod's life in which a request was dropped, if it comes out the same
// wherever its instants may lie by the clocks of its sender and of the Pod's node.
func (a attribution) phase(d DroppedRequest, slack time.Duration) (LifecyclePhase, string) {
	if d.lifecycle.restarted {
		return Unattributed, whyRestarted
	}
	if d.lifecycle.hasNodeInstants() {
		slack += a.clock(d.lifecycle.Node)
	}
	earliest, latest := d, d
	earliest.Sent, earliest.Done = d.Sent-slack, d.Done-slack
	latest.Sent, latest.Done = d.Sent+slack, d.Done+slack
	m := a.phaseOf(earliest)
	switch {
	case m != a.phaseOf(latest):
		return Unattributed, whyClock
	case m == Unattributed:
		return m, whyNotSeen
	}
	return m, ""
}

// phaseOf is that phase for exact instants; Unattributed if the events that it lies between were
// not seen. It goes by when the connection ended or was refused; for a request that timed out, by
// when it was sent.
//
// What a process tells of itself is exact. The deletion lies within an interval, or was seen a
// little late: so the phases are tried from the end, and the deletion only decides where nothing
// later does, by when it was done at the latest.
//
//	        created    listening        deletion          SIGTERM      listener closed     exit        no longer routed
//	           ├─ start-up ─┼─ before deletion ─┼─ preStop ─┼─ terminating ─┼─ listener closed ─┼─ after exit ─┤
//	sent before the listener was closed, ended with the process:         cut at exit ─────┘
func (a attribution) phaseOf(d DroppedRequest) LifecyclePhase {
	at := d.Done
	// A proxy's own answer is none of the Pod's.
	byProxy := d.Evidence == ByAccessLog
	if d.Cause == timeline.Timeout || byProxy && d.Code == http.StatusGatewayTimeout {
		at = d.Sent
	}
	run := d.lifecycle.during(at)
	life := *run
	before := func(k timeline.Kind) bool { t, seen := life.when(k); return seen && at < t }
	since := func(k timeline.Kind) bool { t, seen := life.when(k); return seen && at >= t }
	closed, hasClosed := life.when(timeline.AppListenerClosed)
	deleted, wasDeleted := life.deletedBy()
	exit, late, exited := a.exit(run)
	complete := life.logComplete()
	// Nothing says that it has closed its listener.
	open := (complete || a.foreign) && !hasClosed
	// What has answered had not ended, and what never connected was not in flight.
	answered := !byProxy && slices.Contains([]timeline.Cause{
		timeline.HTTP5xx, timeline.HTTPOther, timeline.WrongBody, timeline.GoAway, timeline.RPCStatus,
	}, d.Cause)
	connected := d.Cause != timeline.Refused && d.Cause != timeline.Unreachable
	inFlight := connected && !answered && d.Sent < exit &&
		(!hasClosed || d.holds || d.Sent < closed) && (!a.foreign || life.hadBegun(d, exit-late))

	switch {
	case exited && inFlight && d.Done >= life.connectionsCutAt(exit-late):
		return CutAtExit
	case exited && !answered && at >= exit, since(timeline.ContainerExit):
		return AfterExit
	case exited && d.Cause == timeline.Unreachable && at >= exit-late && since(timeline.AppListening) && open:
		return AfterExit // a network that is gone has no process any more
	case since(timeline.AppListenerClosed) && exited:
		return ListenerClosed
	case d.Cause == timeline.Refused && hasClosed && exited && since(timeline.AppSIGTERM):
		return ListenerClosed // it refused, and says when closing was done
	case since(timeline.AppSIGTERM) && (before(timeline.AppListenerClosed) || open && exited):
		return Terminating
	case since(timeline.AppSIGTERM):
		return Unattributed // it may have closed its listener, or ended
	case before(timeline.AppListening):
		return StartUp
	case wasDeleted && at >= deleted && (life.has(timeline.AppSIGTERM) || complete && exited):
		return PreStop // a complete log without SIGTERM: no handler
	case (since(timeline.AppListening) || d.Evidence == ByAnswer || d.Evidence == ByConnection) &&
		a.notDeleted(life, at):
		return BeforeDeletion // who has answered has listened
	}
	return Unattributed
}

// notDeleted says that at an instant nothing had been done to the Pod: a watch without a gap saw
// its deletion later, or never. Of a Pod whose end alone was seen, nobody knows when it was
// deleted.
func (a attribution) notDeleted(life PodLifecycle, at time.Duration) bool {
	if deleted, ok := life.deletedBy(); ok {
		return at < deleted && deleted <= a.gap
	}
	_, _, exited := life.exit()
	return a.gap == endless && !life.has(timeline.PodGone) && (exited || !life.has(timeline.ContainerExit))
}

// reaped is how long the runtime may take to notice that a process has ended: the kernel closes its
// connections before anybody can know of it. Seen on two busy cores: connections end 17-340 ms
// before the exit on record, and up to 20 ms before the first refusal, which comes only if somebody
// connects.
const reaped = 500 * time.Millisecond

// exit is when the Pod's process ended, by its word or its runtime's, or with its node, and how early
// that may be.
func (l PodLifecycle) exit() (at, late time.Duration, ok bool) {
	if at, ok := l.At(timeline.AppExit); ok {
		return at, 0, true
	}
	if at, ok := l.At(timeline.ProcessExit); ok {
		return at, reaped, true
	}
	at, ok = l.At(timeline.NodeLost)
	width := l.widths[timeline.NodeLost]
	return at + width, width, ok
}

// exit is the Pod's exit as its refusals have it, where the runtime noticed later.
func (a attribution) exit(life *PodLifecycle) (at, late time.Duration, ok bool) {
	at, late, ok = life.exit()
	if first, refused := a.refused[life]; refused && ok && late > 0 && first < at {
		at = first
	}
	return at, late, ok
}

// logComplete says that the Pod's log was read from its beginning to its end.
func (l PodLifecycle) logComplete() bool { return l.has(timeline.AppStart) && !l.has(timeline.LogCut) }

// connectionsCutAt is when the process cut off what was in flight: when it ended or gave up.
func (l PodLifecycle) connectionsCutAt(exit time.Duration) time.Duration {
	if gaveUp, ok := l.At(timeline.AppShutdownTimeout); ok {
		return min(gaveUp, exit)
	}
	return exit
}

// nodeInstants are the kinds that are told by the wall clock of the Pod's node.
var nodeInstants = []timeline.Kind{
	timeline.AppListening, timeline.AppSIGTERM, timeline.AppListenerClosed, timeline.AppShutdownTimeout,
	timeline.AppExit, timeline.ProcessExit,
}

// hasNodeInstants says that the Pod has some of them.
func (l PodLifecycle) hasNodeInstants() bool { return slices.ContainsFunc(nodeInstants, l.has) }

// span is a time: in which an endpoint served, or in which a Service had none that did.
type span struct{ from, to time.Duration }

// endless is the end of what did not end within the run.
const endless = time.Duration(1<<63 - 1)

// ready are the times in which an endpoint was ready: it is no longer once the Pod is terminating.
func (l *PodLifecycle) ready() []span {
	deleted, wasDeleted := l.At(timeline.PodDeleted)
	var out []span
	for _, s := range l.serving {
		if wasDeleted {
			s.to = min(s.to, deleted)
		}
		if s.from < s.to {
			out = append(out, s)
		}
	}
	return out
}

// withoutEndpoint are the times without one that kube-proxy routes to. Terminating ones count as long
// as they serve: it goes on routing to those when there is no other (KEP-1669).
func (l lifecycles) withoutEndpoint() []span {
	return l.without(func(life *PodLifecycle) []span { return life.serving })
}

// withoutOn are the times in which a node had none of its own.
func (l lifecycles) withoutOn(node string) []span {
	return l.without(func(life *PodLifecycle) []span {
		if life.Node != node {
			return nil
		}
		return life.serving
	})
}

// without are the times after the first endpoint in which there was none, by when each was one.
func (l lifecycles) without(is func(*PodLifecycle) []span) []span {
	steps := map[time.Duration]int{}
	for _, life := range l.all {
		for _, s := range is(life) {
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
		case at == endless:
		case count == 0 && before > 0:
			out = append(out, span{at, endless})
		case count > 0 && before == 0 && len(out) > 0:
			out[len(out)-1].to = at
		}
	}
	return out
}

// proxyFollows is how long a node may take to route by endpoints that have changed.
const proxyFollows = 2 * time.Second

// noEndpoint says that there was no endpoint meanwhile, or that the node didn't know better yet. Of
// a lane whose nodes keep to their own Pods, those count.
func (a attribution) noEndpoint(lane timeline.LaneSpec, node string, sent, done time.Duration) bool {
	if lane.Local && node != "" && during(a.pods.withoutOn(node), sent, done, proxyFollows) {
		return true
	}
	return during(a.withoutEndpoint, sent, done, proxyFollows)
}

// lastEndpoint is the Pod that was the last to be an endpoint before an instant, of a lane whose nodes
// keep to their own Pods on that node; nil if nobody knows.
func (l lifecycles) lastEndpoint(lane timeline.LaneSpec, node string, at time.Duration) *PodLifecycle {
	var last *PodLifecycle
	var until time.Duration
	for _, life := range l.all {
		if n := len(life.serving); n > 0 && (!lane.Local || life.Node == node) {
			if end := life.serving[n-1].to; end <= at && end > until {
				last, until = life, end
			}
		}
	}
	return last
}

// during says that a request was under way in one of the spans, or so soon after it that who routes
// may not have followed.
func during(spans []span, sent, done, follows time.Duration) bool {
	return slices.ContainsFunc(spans, func(s span) bool {
		return done >= s.from && (s.to == endless || sent <= s.to+follows)
	})
}
