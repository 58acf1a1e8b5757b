package timeline

import (
	"path"
	"slices"
	"strings"
	"time"
)

// Spec is the declaration of a run, written down when the run begins: all that its verdict needs of
// the scenario. A stored run is judged by what was promised then, whatever has become of its
// strategy.
type Spec struct {
	Strategy string `json:"strategy"`
	Summary  string `json:"summary,omitempty"` // what the strategy does, in one line
	// Group is the answer that the strategy gives to "where does the delay belong?": preStop,
	// in-app delay; empty for one that is not part of that comparison.
	Group string `json:"group,omitempty"`
	// SameAs is, of an A/A comparison, the strategy that this one equals in all but its name.
	SameAs string `json:"sameAs,omitempty"`
	// Delay is how long a Pod serves on after its deletion, as the strategy says; a length.
	Delay time.Duration `json:"delay,omitempty"`
	// PreStop is how long the strategy's preStop hook asks to take, whatever the grace period; a length.
	PreStop    time.Duration `json:"preStop,omitempty"`
	Disruption string        `json:"disruption"`
	Scope      Scope         `json:"scope"`
	// Gone is how many Pods had to go, of ScopeSome; 0 for any number but none and all.
	Gone int `json:"gone,omitempty"`
	// TakesNode says that the node that the disruption chooses goes with its Pods.
	TakesNode bool `json:"takesNode,omitempty"`
	// Control says that the result is known beforehand.
	Control bool `json:"control,omitempty"`
	// ConsumerGroup is that of the lanes' consumers; empty for the consumers of every run.
	ConsumerGroup string `json:"consumerGroup,omitempty"`
	// ProxyMode is the mode of kube-proxy that the run is about; empty for whatever the cluster has.
	ProxyMode string     `json:"proxyMode,omitempty"`
	Lanes     []LaneSpec `json:"lanes"`
	// Watched are consumers without lanes: what they ask Pods by themselves is on record (Scrapes).
	Watched []string `json:"watched,omitempty"`
	// Tasks are what Pods take beside requests; nil where they take none.
	Tasks *TaskSpec `json:"tasks,omitempty"`
	// Target is the app under test; nil for the sample app, which alone says of itself what Pods did.
	Target *TargetSpec `json:"target,omitempty"`
	// Change is what the strategy changes in what people have written for their app, as a unified diff; empty
	// for the app as it is, and for the sample app.
	Change string `json:"change,omitempty"`
}

// TargetSpec is an app under test that isn't the sample app: how it was asked, and which answer was right.
type TargetSpec struct {
	Name         string `json:"name"`
	Request      string `json:"request"`               // as in GET /
	SlowRequest  string `json:"slowRequest,omitempty"` // of the lane of slow requests; empty: there is none
	ExpectStatus int    `json:"expectStatus"`
	// StatusLearnt says that the status is the one that the app answered before the load began.
	StatusLearnt bool   `json:"statusLearnt,omitempty"`
	ExpectBody   string `json:"expectBody,omitempty"` // a regular expression; empty: any complete body was right
	PodHeader    string `json:"podHeader,omitempty"`  // of an answer, that named its Pod; empty: none did
	// Live says that it ran already, and was restarted as it was.
	Live bool `json:"live,omitempty"`
	// Signal is what ends its processes, as its manifests have it; empty where nobody said.
	Signal string `json:"signal,omitempty"`
}

// SaysItself says that the app tells of itself: its ledger, its log of what it did, and headers by which
// each answer names its Pod and its connection. A foreign app doesn't, and nothing may be concluded from
// its silence.
func (s Spec) SaysItself() bool { return s.Target == nil }

// Scope says which of the Pods that were there have to be gone after the disruption, or what else has
// to have happened to them.
type Scope string

// The scopes.
const (
	ScopeNone Scope = "none" // no Pod may go
	ScopeAll  Scope = "all"  // every Pod
	ScopeNode Scope = "node" // the Pods of the node that the event NodeDisrupted names
	ScopeSome Scope = "some" // as many as Spec.Gone says
	// None is gone, and each:
	ScopeRestarted Scope = "restarted" // has had its container started again, in place
	ScopeUnready   Scope = "unready"   // has been taken out of its Services' ready endpoints for a time
	ScopeLeft      Scope = "left"      // has left its Services, and runs on
)

// KeepsPods says that no Pod is to be gone after the disruption: what is dropped then says nothing of how
// long consumers go on sending to one that is.
func (s Scope) KeepsPods() bool {
	return slices.Contains([]Scope{ScopeNone, ScopeRestarted, ScopeUnready, ScopeLeft}, s)
}

// LaneSpec is the declaration of a lane: one consumer and one load.
type LaneSpec struct {
	Name     string  `json:"lane"` // consumer/load, as in nodeport/new
	Consumer string  `json:"consumer"`
	From     Place   `json:"from"`
	Routing  Routing `json:"routing"`
	// Evidence are the sources that can name the Pod of a dropped request: EvidenceConntrack ….
	Evidence []string `json:"evidence,omitempty"`
	// Component is the program of the consumer that takes the lane's requests, as traefik; its access
	// log is Forwards of that name. Empty where there is none.
	Component string `json:"component,omitempty"`
	// Local says that a node that is asked keeps to Pods of its own (externalTrafficPolicy or
	// internalTrafficPolicy Local).
	Local  bool   `json:"local,omitempty"`
	Load   string `json:"load"`
	Driver string `json:"driver"`
	Class  Class  `json:"class"`
	Rate   int    `json:"rate"` // requests per second
	// Connections says how the load uses connections: new, reused, held.
	Connections string `json:"connections"`
	// Clients is how many hold a connection each; 0 where none is held.
	Clients int `json:"clients,omitempty"`
	// Reconnect is how a client that has lost its connection comes back: immediately, backoff.
	Reconnect string `json:"reconnect,omitempty"`
	// StaysMin and StaysMax are lengths: each client stays for a time between the two, drawn evenly by
	// Seed, and then leaves.
	StaysMin time.Duration `json:"staysMin,omitempty"`
	StaysMax time.Duration `json:"staysMax,omitempty"`
	Seed     uint64        `json:"seed,omitempty"`
	// Replayable says that http.Transport is free to send a request again, as in ordinary clients.
	Replayable bool          `json:"replayable,omitempty"`
	Work       time.Duration `json:"work,omitempty"` // length: what the server is asked to work for each request
	Timeout    time.Duration `json:"timeout"`        // length: how long the client waits for a complete answer
	// Held is what the dropped requests of each class are held to.
	Held map[Class]Promise `json:"held"`
}

// Promise is what is expected of the dropped requests of one class of a lane, and who says so.
type Promise struct {
	Expect Expect `json:"expect"`
	Source string `json:"source"`
}

// Expect bounds how many requests may be dropped.
type Expect string

// What can be expected. The zero value is none of them: what was not declared can't be kept.
const (
	Clean    Expect = "clean"    // nothing may be dropped
	Drops    Expect = "drops"    // something must be dropped, else the instrument is blind
	Measured Expect = "measured" // either is a finding
)

// Class is what a strategy can promise for. It is that of a dropped request, and not of its lane.
type Class string

// The classes.
const (
	ClassNew       Class = "new"        // on a connection made for the request
	ClassKeptAlive Class = "kept-alive" // on a connection that was there before
	ClassInFlight  Class = "in-flight"  // begun by the app, and cut when its process ended or gave up
	ClassHeld      Class = "held"       // a connection that is held open: WebSocket, streams
)

// Classes lists every class, in the order in which reports show them.
func Classes() []Class { return []Class{ClassNew, ClassKeptAlive, ClassInFlight, ClassHeld} }

// Routing says when the consumer chooses the Pod of a request.
type Routing string

// The ways to route.
const (
	PerConnection Routing = "per-connection" // kube-proxy: the Pod stays with the connection
	PerRequest    Routing = "per-request"    // an L7 proxy: the client's connection says nothing about the Pod
	ByClient      Routing = "by-client"      // the client itself knows the Pod's address: DNS, xDS
)

// Place is where load is sent from.
type Place string

// The places.
const (
	FromCluster Place = "cluster" // Pods within
	FromOutside Place = "outside" // a client that is none of the cluster's
	FromAPI     Place = "api"     // the API server, when the harness writes to it
)

// Sources that can name the Pod of a dropped request.
const (
	EvidenceConntrack     = "conntrack"      // the choice of the node that the client asked
	EvidenceRemoteAddress = "remote-address" // the client dialled the Pod itself
	EvidenceAccessLog     = "access-log"     // the proxy wrote down where it sent the request
)

// Values of LaneSpec.Connections.
const (
	Reused  = "reused" // the load keeps its connections
	Holding = "held"   // each of its clients holds one
)

// Reuses says that the lane sends its requests on connections that it already has.
func (l LaneSpec) Reuses() bool { return l.Connections == Reused || l.Holds() }

// Holds says that the lane's requests are messages on connections that its clients hold.
func (l LaneSpec) Holds() bool { return l.Connections == Holding }

// Logged says that the access log of the lane's component can name the Pod of a dropped request.
func (l LaneSpec) Logged() bool { return slices.Contains(l.Evidence, EvidenceAccessLog) }

// ConnectionClass is the class of a request of the lane that was not in flight when it was dropped.
func (l LaneSpec) ConnectionClass() Class {
	switch {
	case l.Class == ClassHeld:
		return ClassHeld
	case l.Reuses():
		return ClassKeptAlive
	}
	return ClassNew
}

// Name is strategy/disruption, below the group of consumers and the mode of kube-proxy if the run is
// about one, as in local-nftables/prestop-sleep/pod-deletion.
func (s Spec) Name() string {
	return path.Join(strings.Trim(s.ConsumerGroup+"-"+s.ProxyMode, "-"), s.Strategy, s.Disruption)
}

// Together is the same of runs that stand and fall with the same controls.
func (s Spec) Together(other Spec) bool {
	return s.ConsumerGroup == other.ConsumerGroup && s.ProxyMode == other.ProxyMode
}

// Lane is the declaration of the lane of a name; false if there is none.
func (s Spec) Lane(name string) (LaneSpec, bool) {
	i := slices.IndexFunc(s.Lanes, func(l LaneSpec) bool { return l.Name == name })
	if i < 0 {
		return LaneSpec{Name: name}, false
	}
	return s.Lanes[i], true
}
