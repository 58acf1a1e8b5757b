package verdict

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// forwardKey is what a line of an access log and the client both know: of a request, its lane and
// number; of a connection, where it came from.
type forwardKey struct {
	component string
	from      string // lane, or IP of the client
	seq       uint32
	port      uint16
}

// keyOf is that of a request, by what its proxy chooses for: each request, or each connection.
func keyOf(lane timeline.LaneSpec, sender timeline.Sender, seq int, r timeline.Request) forwardKey {
	if lane.Routing == timeline.PerRequest {
		return forwardKey{component: lane.Component, from: lane.Name, seq: uint32(seq)}
	}
	return forwardKey{component: lane.Component, from: sender.IP, port: r.Port}
}

// forwardsOf are the lines of access logs of requests of some kind, in the order of their time.
func (a attribution) forwardsOf(of func(timeline.Request) bool) map[forwardKey][]timeline.Forward {
	wanted := map[forwardKey][]timeline.Forward{}
	for _, lane := range a.tl.Lanes {
		spec, _ := a.tl.Spec.Lane(lane.Name)
		if !spec.Logged() {
			continue
		}
		from := senders(a.tl, lane.Name)
		for seq, r := range lane.Requests {
			if of(r) {
				wanted[keyOf(spec, senderOf(from, seq), seq, r)] = nil
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	for _, f := range a.tl.Forwards.List {
		k := keyOfLine(a.tl.Forwards, f)
		if _, ok := wanted[k]; ok {
			wanted[k] = append(wanted[k], f)
		}
	}
	return wanted
}

// keyOfLine is that of a line of an access log.
func keyOfLine(all timeline.Forwards, f timeline.Forward) forwardKey {
	k := forwardKey{component: all.Name(f.Component), from: all.Name(f.Lane), seq: f.Seq}
	if f.Lane == 0 {
		k.from, k.port = all.Name(f.Client), f.ClientPort
	}
	return k
}

// nodesAsked are, by its number, the nodes that a lane's requests of some kind were brought to: that of
// the client, or that of the address that it asked, or that which a load balancer chose.
func nodesAsked(
	tl timeline.Timeline, spec timeline.LaneSpec, record timeline.LaneRecord, of func(timeline.Request) bool,
) map[int]string {
	nodes, logged := map[int]string{}, map[forwardKey][]int{}
	from := senders(tl, record.Name)
	for seq, r := range record.Requests {
		if !of(r) {
			continue
		}
		sender := senderOf(from, seq)
		if spec.Logged() {
			k := keyOf(spec, sender, seq, r)
			logged[k] = append(logged[k], seq)
		} else if node := cmp.Or(sender.Node, nodeAt(tl, record.AddressOf(r))); node != "" {
			nodes[seq] = node
		}
	}
	if len(logged) == 0 {
		return nodes
	}
	for _, f := range tl.Forwards.List {
		for _, seq := range logged[keyOfLine(tl.Forwards, f)] {
			r := record.Requests[seq]
			since := r.Sent() - clockGrain
			if spec.Reuses() {
				since -= takenBefore
			}
			if node := nodeAt(tl, tl.Forwards.Name(f.Target)); node != "" && f.At >= since && f.At <= r.Done()+lateRoute {
				nodes[seq] = node
			}
		}
	}
	return nodes
}

// accessLogOf is the source of a component's lines; its Kind is empty where there is none.
func accessLogOf(tl timeline.Timeline, component string) timeline.Source {
	for _, s := range tl.Sources {
		if s.Kind == timeline.SourceAccessLog && s.Component == component {
			return s
		}
	}
	return timeline.Source{}
}

// lastForward is when a component took what its log tells of last; 0 if that tells of nothing.
func lastForward(tl timeline.Timeline, component string) (last time.Duration) {
	for _, f := range tl.Forwards.List {
		if tl.Forwards.Name(f.Component) == component {
			last = max(last, f.At)
		}
	}
	return last
}

// takenBefore is how long before its request a proxy may say that it took it: some date a request by
// the end of the one before on its connection, and a connection may have been dialled for an earlier
// request.
const takenBefore = portRests

// forwarded fills in the Pod that a proxy sent a request to, or why that is not known. Each link has
// to hold:
//
//	L7 proxy       lane and number ─▶ line of the access log ─▶ address of the Pod
//	load balancer  client's port ─▶ line of the access log ─▶ node, and port of the balancer's own
//	               connection ─▶ choice of that node for that port ─▶ Pod
func (a attribution) forwarded(
	d *DroppedRequest, lane timeline.LaneSpec, sender timeline.Sender,
	lines []timeline.Forward, routes map[connectionKey][]timeline.Route,
) {
	log := accessLogOf(a.tl, lane.Component)
	slack := uncertainty(sender) + a.clock(log.Node) + clockGrain
	since, perRequest := d.Sent-slack, lane.Routing == timeline.PerRequest
	if lane.Reuses() {
		since -= takenBefore
	}
	var found []timeline.Forward
	for _, f := range lines {
		if f.At >= since && f.At <= d.Done+slack+lateRoute {
			found = append(found, f)
		}
	}
	// What a client sends again comes to the proxy twice, and fails on the connection that it used last.
	onPort := func(f timeline.Forward) bool { return f.ClientPort == d.Port }
	if slices.ContainsFunc(found, onPort) {
		found = slices.DeleteFunc(found, func(f timeline.Forward) bool { return !onPort(f) })
	}
	switch {
	case len(found) == 0 && d.ConnUse == 0:
		d.Why = whyNotTaken
		return
	case len(found) == 0 && log.Kind == "":
		d.Why = whyNoAccessLog
		return
	case !perRequest && sender.IP == "":
		d.Why = whyNoSender
		return
	case !perRequest && slack+lateRoute > portRests:
		d.Why = whyClock
		return
	case len(found) == 0:
		d.Why = whyNoForward
		if last := lastForward(a.tl, lane.Component); log.Missing != "" {
			d.Why += ": " + log.Missing
		} else if last < d.Sent {
			d.Why += fmt.Sprintf(": its last line is of %s", last.Round(time.Millisecond)) // it may have been cut off
		}
		return
	case slices.ContainsFunc(found, func(f timeline.Forward) bool {
		return f.Target != found[0].Target || f.LocalPort != found[0].LocalPort
	}):
		d.Why = whyTwoForwards
		return
	}
	f := found[0]
	if f.Attempts > 1 && d.Cause != timeline.Timeout && d.Code != http.StatusGatewayTimeout {
		d.landed = d.Done // of what timed out, nobody knows when it was sent for the last time
	}
	switch target := a.tl.Forwards.Name(f.Target); {
	case target == "" && during(a.withoutReady, d.Sent, d.Done, componentFollows):
		d.Phase = NoEndpoint
	case target == "":
		d.Why = whyNoTarget
	case len(a.pods.byIP[target]) > 0:
		a.address(d, target, max(f.At, d.Sent), ByAccessLog)
	case !slices.Contains(lane.Evidence, timeline.EvidenceConntrack):
		if d.Why = whyService; nodeAt(a.tl, target) != "" {
			d.Why = whyForeignIP
		}
	case f.LocalPort == 0:
		d.Why = whyNoLocalPort
	default:
		// An address that is no node's is the Service's own: the component's own node chooses.
		node := cmp.Or(nodeAt(a.tl, target), log.Node)
		own := timeline.Sender{Name: lane.Component, Node: node, IP: log.IP, Comparison: log.Comparison}
		a.route(d, lane, own, f.LocalPort, f.At, routes[connectionKey{log.IP, f.LocalPort}])
	}
}

// componentFollows is how long a component may take to follow endpoints that have changed: the probes
// of a load balancer and an answer of DNS take half a minute. That it sent a request to nobody, its
// log says; this only says whether the endpoints are the reason.
const componentFollows = 40 * time.Second

// proxyMasked counts the requests of a lane that were answered only because the proxy sent them more
// than once.
func proxyMasked(tl timeline.Timeline, lane timeline.LaneSpec, record timeline.LaneRecord) int {
	resent := map[int][]time.Duration{}
	for _, f := range tl.Forwards.List {
		if f.Attempts > 1 && tl.Forwards.Name(f.Lane) == lane.Name && tl.Forwards.Name(f.Component) == lane.Component {
			resent[int(f.Seq)] = append(resent[int(f.Seq)], f.At)
		}
	}
	n := 0
	for seq, at := range resent {
		if seq >= len(record.Requests) || record.Requests[seq].Cause != timeline.OK {
			continue
		}
		r := record.Requests[seq]
		if slices.ContainsFunc(at, func(t time.Duration) bool {
			return t >= r.Sent()-takenBefore && t <= r.Done()+lateRoute
		}) {
			n++
		}
	}
	return n
}

// accessLogsCame wants at least one line of what a proxy passed on, of each lane that was answered
// through it. What else a log doesn't tell leaves dropped requests unattributed, and no more.
func accessLogsCame(tl timeline.Timeline, _ findings) []string {
	lines := map[[2]string]bool{} // by component and lane; by component alone where requests are not read
	for _, f := range tl.Forwards.List {
		lines[[2]string{tl.Forwards.Name(f.Component), tl.Forwards.Name(f.Lane)}] = true
	}
	var why []string
	for _, l := range tl.Lanes {
		spec, _ := tl.Spec.Lane(l.Name)
		key := [2]string{spec.Component, ""}
		if spec.Routing == timeline.PerRequest {
			key[1] = l.Name
		}
		answered := slices.ContainsFunc(l.Requests, func(r timeline.Request) bool { return r.Cause == timeline.OK })
		if !spec.Logged() || !answered || lines[key] {
			continue
		}
		text := fmt.Sprintf("%s: the access log of %s was cut off: it has no line of it", l.Name, spec.Component)
		if log := accessLogOf(tl, spec.Component); log.Missing != "" {
			text += ": " + log.Missing
		}
		why = append(why, text)
	}
	return why
}

// unseen is what the access logs of a run did not tell, a sentence each. It makes no run inconclusive:
// what it hides leaves dropped requests unattributed, or a proxy's own attempts uncounted.
func unseen(tl timeline.Timeline) []string {
	var out []string
	for _, s := range tl.Sources {
		if s.Kind == timeline.SourceAccessLog && s.Missing != "" {
			out = append(out, fmt.Sprintf("the access log of %s is not whole: %s", s.Component, s.Missing))
		}
	}
	return out
}
