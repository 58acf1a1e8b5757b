package verdict

import (
	"cmp"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Lanes of proxied.
const ingress, balanced, balancedReused = 4, 5, 6

// client is who asks the balancer.
const client = "172.18.0.5"

// proxied is leaving with two programs in between, and their access logs. traefik on n1 takes
// ingress/reused, and chooses per request; loadbalancer, 172.18.0.6, takes lb/new and lb/reused, which the client
// sends, and chooses a node: n1 172.18.0.2, n2 172.18.0.3.
func proxied() timeline.Timeline {
	tl := leaving()
	tl.Spec.Lanes[ingress].Evidence, tl.Spec.Lanes[ingress].Component = []string{timeline.EvidenceAccessLog}, "traefik"
	for _, name := range []string{"lb/new", "lb/reused"} {
		spec := lane(name, timeline.FromOutside, timeline.PerConnection, timeline.EvidenceAccessLog, timeline.EvidenceConntrack)
		spec.Component = "loadbalancer"
		tl.Spec.Lanes = append(tl.Spec.Lanes, spec)
		tl.Lanes = append(tl.Lanes, timeline.LaneRecord{Name: name, Rate: spec.Rate, Pods: []string{"app-0", "app-1"}, Addresses: []string{"172.18.0.6"}})
	}
	tl.Senders = append(tl.Senders, timeline.Sender{Name: "client", IP: client, Comparison: oneClock, Lanes: []string{"lb/new", "lb/reused"}})
	tl.Sources[3].IP, tl.Sources[4].IP = "172.18.0.2", "172.18.0.3"
	tl.Sources = append(tl.Sources,
		timeline.Source{Kind: timeline.SourceAccessLog, Component: "traefik", Node: "n1", Comparison: oneClock},
		timeline.Source{Kind: timeline.SourceAccessLog, Component: "loadbalancer", Node: "balancer", IP: "172.18.0.6", Comparison: oneClock},
	)
	return tl
}

// lastLines are those of requests that nobody asks for here, after all others.
func lastLines(tl *timeline.Timeline) {
	passes(tl, "traefik", "ingress/last", "10.9.0.1", "10.0.0.2", timeline.Forward{At: 19 * sec})
	passes(tl, "loadbalancer", "", "172.18.0.9", "172.18.0.2", timeline.Forward{At: 19 * sec})
}

// passes adds a line of a component's access log.
func passes(tl *timeline.Timeline, component, lane, from, target string, f timeline.Forward) {
	for _, name := range []struct {
		text  string
		index *uint16
	}{{component, &f.Component}, {lane, &f.Lane}, {from, &f.Client}, {target, &f.Target}} {
		i, err := tl.Forwards.Index(name.text)
		if err != nil {
			panic(err)
		}
		*name.index = i
	}
	tl.Forwards.List = append(tl.Forwards.List, f)
}

// noReady takes app-1's endpoint away, too, so that none is ready from 4 s on.
func noReady(tl *timeline.Timeline) {
	happens(tl, 3900*ms, timeline.EndpointUnready, timeline.Event{Pod: "app-1"})
}

// TestForwardedPerRequest: a request through traefik that was dropped, sent at 6.4 s: the listener of app-0 was closed by then.
func TestForwardedPerRequest(t *testing.T) {
	const sent, done = 6400 * ms, 6402 * ms
	line := func(at time.Duration, target string, change ...func(*timeline.Forward)) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) {
			f := timeline.Forward{At: at, Seq: uint32(len(tl.Lanes[ingress].Requests) - 1), ClientPort: 40000, Code: 502, Attempts: 1}
			for _, c := range change {
				c(&f)
			}
			passes(tl, "traefik", "ingress/reused", "10.9.0.1", target, f)
		}
	}
	source := func(change func(*timeline.Source)) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) { change(&tl.Sources[5]) }
	}
	request := func(change func(*timeline.Request)) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) { change(&tl.Lanes[ingress].Requests[len(tl.Lanes[ingress].Requests)-1]) }
	}
	// answeredBefore gives the connection an answer of app-1 before this one: to believe it would be a planted fault.
	answeredBefore := func(tl *timeline.Timeline) {
		l := &tl.Lanes[ingress]
		last := l.Requests[0]
		last.ConnUse = 8
		before := last
		before.Cause, before.Pod, before.ConnUse, before.Planned, before.Latency = timeline.OK, 2, 7, 6*sec, ms
		l.Requests = []timeline.Request{before, last}
	}
	timesOut := request(func(r *timeline.Request) { r.Cause, r.Code, r.Latency = timeline.Timeout, 0, 5*sec })
	tests := []struct {
		name    string
		changes changes
		pod     string
		want    string // why not, or the phase
	}{
		{"a 502 after which Pod the log tells", changes{line(sent+ms, "10.0.0.1")}, "app-0", "listener-closed"},
		{"not the Pod that answered before on the connection", changes{answeredBefore, line(sent+ms, "10.0.0.1")}, "app-0", "listener-closed"},
		{"nobody, though one answered before on the connection", changes{answeredBefore}, "", whyNoForward},
		{"not the choice of kube-proxy for its port", changes{func(tl *timeline.Timeline) { chosen(tl, sent+ms, "10.9.0.1", 40000, "10.0.0.2") }}, "", whyNoForward},
		{"the Pod's own answer, before the log", changes{request(func(r *timeline.Request) { r.Pod = 2 }), line(sent+ms, "10.0.0.1")}, "app-1", "before-deletion"},
		{"the proxy's answer, when the Pod's process had ended", changes{request(func(r *timeline.Request) { r.Planned = 7100 * ms }), line(7101*ms, "10.0.0.1")}, "app-0", "after-exit"},
		{"the proxy's answer, cut off with the process", changes{request(func(r *timeline.Request) { r.Planned, r.Latency = 5500*ms, 1501*ms }), line(5501*ms, "10.0.0.1")}, "app-0", "cut-at-exit"},
		{"timed out by the client", changes{timesOut, line(sent+ms, "10.0.0.1", func(f *timeline.Forward) { f.Code = 499 })}, "app-0", "listener-closed"},
		{"timed out by the proxy: by when it was sent", changes{
			request(func(r *timeline.Request) { r.Code, r.Planned, r.Latency = http.StatusGatewayTimeout, 4500*ms, 2*sec }), line(4501*ms, "10.0.0.1"),
		}, "app-0", "prestop"},
		{"dated by the end of the request before", changes{line(sent-9*sec, "10.0.0.1")}, "app-0", "listener-closed"},
		{"a number of another run", changes{line(sent-11*sec, "10.0.0.1"), line(done+3*sec, "10.0.0.1")}, "", whyNoForward},
		{"sent again by the client: the last, by its port", changes{
			line(sent+ms, "10.0.0.2", func(f *timeline.Forward) { f.ClientPort = 39999 }), line(sent+ms, "10.0.0.1"),
		}, "app-0", "listener-closed"},
		{"sent again by the client, and no port tells which was the last", changes{
			line(sent+ms, "10.0.0.2", func(f *timeline.Forward) { f.ClientPort = 1 }), line(sent+ms, "10.0.0.1", func(f *timeline.Forward) { f.ClientPort = 2 }),
		}, "", whyTwoForwards},
		{"another lane's number", changes{func(tl *timeline.Timeline) {
			passes(tl, "traefik", "ingress/new", "10.9.0.1", "10.0.0.1", timeline.Forward{At: sent})
		}}, "", whyNoForward},
		{"another program's log", changes{func(tl *timeline.Timeline) {
			passes(tl, "nginx", "ingress/reused", "10.9.0.1", "10.0.0.1", timeline.Forward{At: sent})
		}}, "", whyNoForward},
		{"an address that is none of the app's, as the Service's own", changes{line(sent+ms, "10.96.0.7")}, "", whyService},
		{"the Service's own address, and no port", changes{line(sent+ms, "10.96.0.7"), func(tl *timeline.Timeline) {
			tl.Spec.Lanes[ingress].Evidence = append(tl.Spec.Lanes[ingress].Evidence, timeline.EvidenceConntrack)
		}}, "", whyNoLocalPort},
		{"the log ended", changes{func(tl *timeline.Timeline) {
			tl.Forwards = timeline.Forwards{}
			passes(tl, "traefik", "ingress/reused", "10.9.0.1", "10.0.0.1", timeline.Forward{At: 5 * sec, Seq: 99})
		}}, "", whyNoForward + ": its last line is of 5s"},
		{"no line, as lines are lost", changes{source(func(s *timeline.Source) { s.Missing = "lost lines: 2" })}, "", whyNoForward + ": lost lines: 2"},
		{"a line, though others are lost", changes{line(sent+ms, "10.0.0.1"), source(func(s *timeline.Source) { s.Missing = "lost lines: 2" })}, "app-0", "listener-closed"},
		{"nobody read the log", changes{source(func(s *timeline.Source) { s.Component = "" })}, "", whyNoAccessLog},
		{"refused by the proxy", changes{request(func(r *timeline.Request) { r.Cause, r.Code, r.ConnUse = timeline.Refused, 0, 0 })}, "", whyNotTaken},
		{"nothing of the kind was declared", changes{line(sent+ms, "10.0.0.1"), func(tl *timeline.Timeline) { tl.Spec.Lanes[ingress].Evidence = nil }}, "", whyPerRequest},
		{"sent to nobody, as no endpoint was ready", changes{noReady, line(sent+ms, "")}, "", "no-endpoint"},
		{"sent to nobody, though one was", changes{line(sent+ms, "")}, "", whyNoTarget},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := proxied()
			r := give(&tl, ingress, sent, done, timeline.HTTP5xx)
			r.Code = http.StatusBadGateway
			lastLines(&tl)
			for _, change := range tt.changes {
				change(&tl)
			}
			d := one(t, tl)
			assert.Equal(t, tt.pod, d.Pod)
			assert.Equal(t, tt.want, cmp.Or(d.Why, d.Phase.String()))
			assert.Equal(t, tt.pod != "" && tl.Lanes[ingress].PodOf(tl.Lanes[ingress].Requests[d.Seq]) == "", d.Evidence == ByAccessLog)
			assert.NotEqual(t, ByConnection, d.Evidence)
		})
	}
}

// TestForwardedPerConnection: the chain from the client's port through the balancer and a node to the Pod, of a connection that ended at 4.5 s; and each
// link that may be missing.
func TestForwardedPerConnection(t *testing.T) {
	const sent, done = 4500 * ms, 4502 * ms
	taken := func(at time.Duration, target string, localPort uint16) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) {
			passes(tl, "loadbalancer", "", client, target, timeline.Forward{At: at, ClientPort: 40000, LocalPort: localPort, Attempts: 1})
		}
	}
	chose := func(node string, at time.Duration, source string, port uint16, target string) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) { chosenOn(tl, node, at, source, port, target) }
	}
	const balancer = "172.18.0.6"
	whole := changes{taken(sent+ms, "172.18.0.2", 50000), chose("n1", sent+ms, balancer, 50000, "10.0.0.1")}
	gone := func(pod string) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) { happens(tl, 4*sec, timeline.EndpointGone, timeline.Event{Pod: pod}) }
	}
	local := func(tl *timeline.Timeline) { tl.Spec.Lanes[balanced].Local = true }
	tests := []struct {
		name    string
		changes changes
		pod     string
		want    string // why not, or the phase
	}{
		{"every link", whole, "app-0", "prestop"},
		{"a Pod on another node than the one that was asked", changes{taken(sent+ms, "172.18.0.3", 50000), chose("n2", sent+ms, balancer, 50000, "10.0.0.1")}, "app-0", "prestop"},
		{"the port was another connection's a while before", append(changes{
			taken(sent-sec, "172.18.0.3", 50001), chose("n2", sent-sec, balancer, 50001, "10.0.0.2"), chose("n1", sent-sec, balancer, 50000, "10.0.0.2"),
		}, whole...), "app-0", "prestop"},
		{"the line came when the connection had ended, of one that was dialled for an earlier request", changes{
			func(tl *timeline.Timeline) { tl.Spec.Lanes[balanced].Connections = timeline.Reused },
			taken(sent-4*sec, "172.18.0.2", 50000), chose("n1", sent-4*sec, balancer, 50000, "10.0.0.1"),
		}, "app-0", "prestop"},
		{"no line", changes{chose("n1", sent+ms, balancer, 50000, "10.0.0.1")}, "", whyNoForward},
		{"not by the choice for the client's own port", changes{chose("n1", sent+ms, client, 40000, "10.0.0.1")}, "", whyNoForward},
		{"the line of another time", changes{taken(sent-sec, "172.18.0.2", 50000), chose("n1", sent-sec, balancer, 50000, "10.0.0.1")}, "", whyNoForward},
		{"lines are lost", changes{func(tl *timeline.Timeline) { tl.Sources[6].Missing = "lost lines: 1" }}, "", whyNoForward + ": lost lines: 1"},
		{"no log", changes{func(tl *timeline.Timeline) { tl.Sources = tl.Sources[:6] }}, "", whyNoAccessLog},
		{"refused by the balancer", changes{func(tl *timeline.Timeline) { tl.Lanes[balanced].Requests[0].ConnUse = 0 }}, "", whyNotTaken},
		{"two lines at the time", append(changes{taken(sent, "172.18.0.3", 50001)}, whole...), "", whyTwoForwards},
		{"two lines at the time, to one node", append(changes{taken(sent, "172.18.0.2", 50001)}, whole...), "", whyTwoForwards},
		{"a client without an address", append(changes{func(tl *timeline.Timeline) { tl.Senders[2].IP = "" }}, whole...), "", whyNoSender},
		{"the balancer's clock is known badly", append(changes{func(tl *timeline.Timeline) { known(&tl.Sources[6], 9*sec) }}, whole...), "", whyClock},
		{"no port of its own", changes{taken(sent+ms, "172.18.0.2", 0), whole[1]}, "", whyNoLocalPort},
		{"no choice on the node", changes{whole[0]}, "", whyNoRoute},
		{"a choice on another node than the one it was sent to", changes{whole[0], chose("n2", sent+ms, balancer, 50000, "10.0.0.1")}, "", whyNoRoute},
		{"a choice for somebody else's port of that number", changes{whole[0], chose("n1", sent+ms, "172.18.0.7", 50000, "10.0.0.1")}, "", whyNoRoute},
		{"connection tracking of the node ended", changes{whole[0], func(tl *timeline.Timeline) { tl.Sources[3].Missing = "ended" }}, "", whyNoConntrack + ": ended"},
		{"a node that nobody watched", changes{taken(sent+ms, "172.18.0.9", 50000), whole[1]}, "", whyNoConntrack},
		{"no evidence but the log", append(changes{func(tl *timeline.Timeline) { tl.Spec.Lanes[balanced].Evidence = []string{timeline.EvidenceAccessLog} }}, whole...), "", whyForeignIP},
		{"sent to no node, as none has a ready endpoint", changes{noReady, taken(sent+ms, "", 0)}, "", "no-endpoint"},
		{"sent to no node", changes{taken(sent+ms, "", 0)}, "", whyNoTarget},
		{"the node had no endpoint any more, and asks others", changes{gone("app-0"), whole[0]}, "", whyNoRoute},
		{"the node had no endpoint any more, and keeps to its own", changes{local, gone("app-0"), whole[0]}, "", "no-endpoint"},
		{"another node had none", changes{local, gone("app-1"), whole[0]}, "", whyNoRoute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := proxied()
			give(&tl, balanced, sent, done, timeline.Reset)
			lastLines(&tl)
			for _, change := range tt.changes {
				change(&tl)
			}
			d := one(t, tl)
			assert.Equal(t, tt.pod, d.Pod)
			assert.Equal(t, tt.want, cmp.Or(d.Why, d.Phase.String()))
			assert.Equal(t, tt.pod != "", d.Evidence == ByRoute)
		})
	}
	for uncertain, want := range map[time.Duration]string{0: "", 9 * sec: whyClock} {
		t.Run("a balancer that sends to the Pods themselves, by a clock known to "+uncertain.String(), func(t *testing.T) {
			tl := proxied()
			known(&tl.Sources[6], uncertain+ms)
			give(&tl, balanced, sent, done, timeline.Reset)
			taken(sent+ms, "10.0.0.1", 50000)(&tl)
			d := one(t, tl)
			assert.Equal(t, want, d.Why)
			assert.Equal(t, want == "", d.Evidence == ByAccessLog)
		})
	}
	t.Run("kept-alive: the Pod that answered before on the connection, which stays with it", func(t *testing.T) {
		tl := proxied()
		r := give(&tl, balancedReused, 4*sec, 4001*ms, timeline.OK)
		r.Pod, r.ConnUse = 1, 7
		r = give(&tl, balancedReused, sent, done, timeline.Reset)
		r.Port, r.ConnUse = 40000, 8
		d := one(t, tl)
		assert.Equal(t, []any{"app-0", ByConnection}, []any{d.Pod, d.Evidence})
	})
}

// TestSentAgain: what a proxy sent again is dated by its last attempt, but for what timed out. app-0 was deleted at 4 s.
func TestSentAgain(t *testing.T) {
	const sent, done = 6400 * ms, 8 * sec
	tests := []struct {
		name     string
		attempts uint8
		cause    timeline.Cause
		code     uint16
		want     time.Duration // since the deletion
	}{
		{"once", 1, timeline.HTTP5xx, http.StatusBadGateway, 2400 * ms},
		{"twice", 2, timeline.HTTP5xx, http.StatusBadGateway, 4 * sec},
		{"twice, reset", 2, timeline.Reset, 0, 4 * sec},
		{"twice, timed out", 2, timeline.Timeout, 0, 2400 * ms},
		{"twice, timed out in the proxy", 2, timeline.HTTP5xx, http.StatusGatewayTimeout, 2400 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := proxied()
			give(&tl, ingress, sent, done, tt.cause).Code = tt.code
			passes(&tl, "traefik", "ingress/reused", "10.9.0.1", "10.0.0.1", timeline.Forward{
				At: sent + ms, ClientPort: 40000, Code: tt.code, Attempts: tt.attempts,
			})
			d := one(t, tl)
			require.NotNil(t, d.SinceDeletion)
			assert.Equal(t, tt.want, *d.SinceDeletion)
			pods := podLifecycles(tl)
			got := arrivals(tl, tl.Spec.Lanes[ingress], tl.Lanes[ingress], attribute(tl, pods)[ingress], pods)
			assert.Equal(t, []Arrival{{Pod: "app-0", After: tt.want}}, got)
		})
	}
}

// TestUnseen: what an access log did not tell is told, and makes no run inconclusive by itself.
func TestUnseen(t *testing.T) {
	tl := proxied()
	assert.Empty(t, Judge(tl).Unseen)
	tl.Sources[3].Missing = "conntrack ended" // whose reason stands with the requests
	tl.Sources[5].Missing = "lost lines: 2"
	assert.Equal(t, []string{"the access log of traefik is not whole: lost lines: 2"}, Judge(tl).Unseen)
}

// TestProxyMasked: what the proxy sent again and was answered, once for each request. It breaks no promise: the consumer does so.
func TestProxyMasked(t *testing.T) {
	tl := proxied()
	for range 6 {
		give(&tl, ingress, 2*sec, 2001*ms, timeline.OK)
	}
	give(&tl, ingress, 2*sec, 2001*ms, timeline.HTTP5xx)
	tl.Spec.Lanes[ingress].Held = map[timeline.Class]timeline.Promise{timeline.ClassKeptAlive: {Expect: timeline.Clean}}
	line := func(component string, seq uint32, attempts uint8, at time.Duration) {
		passes(&tl, component, "ingress/reused", "10.9.0.1", "10.0.0.2", timeline.Forward{At: at, Seq: seq, Attempts: attempts})
	}
	line("traefik", 0, 1, 2*sec)
	line("traefik", 1, 2, 2*sec)
	line("traefik", 2, 3, 2*sec)
	line("traefik", 2, 2, 2*sec) // the client had sent it again, too
	line("nginx", 3, 2, 2*sec)
	line("traefik", 4, 2, -9*sec) // of another run
	line("traefik", 5, 2, 9*sec)
	line("traefik", 6, 2, 2*sec) // dropped all the same
	line("traefik", 9, 2, 2*sec) // of no request
	l := Judge(tl).Lanes[ingress]
	assert.Equal(t, 2, l.ProxyMasked)
	assert.Zero(t, l.Masked)
	tl.Lanes[ingress].Requests = tl.Lanes[ingress].Requests[:6]
	assert.Equal(t, Pass, Judge(tl).Lanes[ingress].Outcome)
}

// TestAccessLogsCame: a lane that was answered through a proxy of whose log nothing came is not believed.
func TestAccessLogsCame(t *testing.T) {
	none := func(lane, component string) string {
		return lane + ": the access log of " + component + " was cut off: it has no line of it"
	}
	tl := proxied()
	give(&tl, ingress, 2*sec, 2001*ms, timeline.OK)
	give(&tl, balancedReused, 2*sec, 2001*ms, timeline.OK)
	give(&tl, balanced, 2*sec, 2001*ms, timeline.Refused) // nothing was answered: a log may have nothing, too
	give(&tl, 0, 2*sec, 2001*ms, timeline.OK)             // through no proxy
	tl.Sources[6].Missing = "it ended"
	assert.Equal(t, []string{none("ingress/reused", "traefik"), none("lb/reused", "loadbalancer") + ": it ended"}, accessLogsCame(tl, findings{}))
	assert.Subset(t, Judge(tl).Reasons, accessLogsCame(tl, findings{}))
	assert.Equal(t, Inconclusive, Judge(tl).Outcome)
	passes(&tl, "traefik", "ingress/new", "10.9.0.1", "", timeline.Forward{})
	passes(&tl, "nginx", "ingress/reused", "10.9.0.1", "", timeline.Forward{})
	passes(&tl, "loadbalancer", "", client, "", timeline.Forward{}) // one line is enough: kept connections are told of at their end
	assert.Equal(t, []string{none("ingress/reused", "traefik")}, accessLogsCame(tl, findings{}))
	passes(&tl, "traefik", "ingress/reused", "10.9.0.1", "", timeline.Forward{})
	assert.Empty(t, accessLogsCame(tl, findings{}))
}

// TestLocal: nodes that keep to their own Pods are shown to, by connection tracking; the lane is inconclusive else. app-0 is on n1, app-1 on n2.
func TestLocal(t *testing.T) {
	const at = 2 * sec
	const nothing = "connection tracking doesn't show that nodes chose Pods of their own"
	const nodeport = 2
	through := func(target string, localPort uint16) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) {
			passes(tl, "loadbalancer", "", client, target, timeline.Forward{At: at, ClientPort: 40000, LocalPort: localPort})
		}
	}
	chose := func(node string, at time.Duration, source string, port uint16, target string) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) { chosenOn(tl, node, at, source, port, target) }
	}
	tests := []struct {
		name    string
		lane    int
		changes changes
		want    string
	}{
		{"from within, the client's own node", 0, changes{chose("n1", at, "10.9.0.1", 40000, "10.0.0.1")}, ""},
		{
			"from within, another node", 0,
			changes{chose("n1", at, "10.9.0.1", 40000, "10.0.0.1"), chose("n1", at, "10.9.0.1", 40000, "10.0.0.2")},
			"nodes chose a Pod of another node for 1 of 2 connections, as Pod app-1 of n2 by n1: they don't keep to their own",
		},
		{"what another node goes on to choose says nothing", 0, changes{chose("n2", at, "10.9.0.1", 40000, "10.0.0.1")}, nothing},
		{"nor what is chosen for another port", 0, changes{chose("n1", at, "10.9.0.1", 40001, "10.0.0.2")}, nothing},
		{"nor at another time", 0, changes{chose("n1", at-sec, "10.9.0.1", 40000, "10.0.0.2"), chose("n1", at+3*sec, "10.9.0.1", 40000, "10.0.0.2")}, nothing},
		{"nor of a Pod that is not the app's", 0, changes{chose("n1", at, "10.9.0.1", 40000, "10.0.0.9")}, nothing},
		{"dialled for an earlier request", 1, changes{chose("n1", at-9*sec, "10.9.0.1", 40000, "10.0.0.1")}, ""},
		{"from outside, the node that was asked", nodeport, changes{chose("n2", at, client, 40000, "10.0.0.2")}, ""},
		{
			"from outside, another", nodeport,
			changes{chose("n2", at, client, 40000, "10.0.0.1")},
			"nodes chose a Pod of another node for 1 of 1 connections, as Pod app-0 of n1 by n2: they don't keep to their own",
		},
		{"through a balancer", balanced, changes{through("172.18.0.3", 50000), chose("n2", at, "172.18.0.6", 50000, "10.0.0.2")}, ""},
		{
			"through a balancer, another", balanced,
			changes{through("172.18.0.3", 50000), chose("n2", at, "172.18.0.6", 50000, "10.0.0.1")},
			"nodes chose a Pod of another node for 1 of 1 connections, as Pod app-0 of n1 by n2: they don't keep to their own",
		},
		{"through a balancer that doesn't tell its port", balanced, changes{through("172.18.0.3", 0), chose("n2", at, "172.18.0.6", 50000, "10.0.0.2")}, nothing},
		{"nothing was seen", 0, nil, nothing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := proxied()
			tl.Senders[0].IP, tl.Senders[0].Node = client, "" // who sends nodeport/reused
			tl.Lanes[nodeport].Addresses = []string{"172.18.0.2", "172.18.0.3"}
			give(&tl, tt.lane, at, at+ms, timeline.OK).Address = 2
			for _, change := range tt.changes {
				change(&tl)
			}
			slices.SortFunc(tl.Routes.List, func(a, b timeline.Route) int { return cmp.Compare(a.At, b.At) })
			tl.Spec.Lanes[tt.lane].Held = map[timeline.Class]timeline.Promise{timeline.ClassNew: {Expect: timeline.Measured}}
			require.Equal(t, Pass, Judge(tl).Lanes[tt.lane].Outcome, "nothing of the kind is declared")
			tl.Spec.Lanes[tt.lane].Local = true
			l := Judge(tl).Lanes[tt.lane]
			if tt.want == "" {
				assert.Equal(t, Pass, l.Outcome)
				return
			}
			assert.Equal(t, Inconclusive, l.Outcome)
			assert.Equal(t, []string{tt.want}, l.Reasons)
		})
	}
}
