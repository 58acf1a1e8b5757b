package scenarios

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Connections says how a load uses connections.
type Connections string

// The ways to use connections.
const (
	// NewConnections opens one connection per request, which meets the endpoints as they are now.
	NewConnections Connections = "new"
	// ReusedConnections spreads the requests over a fixed number of keep-alive connections, in
	// turn. Each stays with the Pod it was first sent to.
	ReusedConnections Connections = "reused"
	// HeldConnections has each of a number of clients hold a connection for as long as it stays. A request
	// is a message on the connection of the client whose turn it is.
	HeldConnections Connections = "held"
)

// Reconnect says how a client comes back whose connection was ended by another than itself.
type Reconnect string

// The ways to come back.
const (
	Immediately Reconnect = "immediately" // at once, and then every tenth of a second
	Backoff     Reconnect = "backoff"     // after a time that doubles with each attempt, and that chance varies
)

// Load says how requests are sent. It is constant and open-loop: requests leave by the plan,
// whether or not earlier ones were answered.
type Load struct {
	Name string
	// Driver is how one request is made and how its end is told: http, h2, grpc, api, websocket, sse,
	// grpc-stream.
	Driver string
	// Class is what the load is there to show; its dropped requests have one each (Classes).
	Class       Class
	Rate        int // requests per second
	Method      string
	Connections Connections
	// Clients is how many keep-alive connections ReusedConnections has. net/http would use one or
	// two for fast answers, all to one Pod. Of HeldConnections it is how many clients there are.
	Clients int
	Work    time.Duration // how long the server works for each request
	Timeout time.Duration // how long the client waits for a complete answer
	// Replayable lets http.Transport send a request again, silently, when a reused connection dies
	// under it, as in ordinary clients. What that hides is counted as masked. It hides a connection
	// that was used before and ends, by RST or by FIN, before one byte of the answer has come, and
	// nothing else; in HTTP/2 a stream that the server says it has not processed, and nothing else.
	Replayable bool
	// Opaque says that each request has a body that can't be had twice, be it empty: then http.Transport
	// sends it only once, whatever its method.
	Opaque bool
	// Reconnect, Stays and Seed are of HeldConnections: each client stays for a time drawn evenly from
	// Stays by Seed, and leaves; a new one comes at once.
	Reconnect Reconnect
	Stays     Stays
	Seed      uint64
}

// Stays is the shortest and the longest time that a client holds a connection.
type Stays struct{ Min, Max time.Duration }

// The drivers.
const (
	HTTP = "http" // HTTP/1.1
	H2   = "h2"   // HTTP/2 with prior knowledge
	GRPC = "grpc" // gRPC, unary
	API  = "api"  // writes to the API server, which asks the app before it allows them

	WebSocket = "websocket" // messages on WebSockets, each of which is echoed
	SSE       = "sse"       // server-sent events, each due at an instant that the client has asked for
	// the same on streams of gRPC, each on a connection of its own
	GRPCStream = "grpc-stream"
)

// loads are all there are, by the name that a consumer's folder gives them.
var loads = []func(rate int) Load{
	New, Reused, Replayable, Slow, ReusedH2, ReplayableH2, Unary, Writes, Sockets, SocketsBackoff, Events, EventsBackoff,
	Streams, StreamsBackoff,
}

// loadNamed is the load of a name at a rate. An unknown name is an error that lists the known ones.
func loadNamed(name string, rate int) (Load, error) {
	var known []string
	for _, load := range loads {
		l := load(rate)
		if l.Name == name {
			return l, nil
		}
		known = append(known, l.Name)
	}
	return Load{}, unknown("load", name, known)
}

// Classes are those that a dropped request of the load can have.
func (l Load) Classes() []Class { return []Class{l.connectionClass(), ClassInFlight} }

// connectionClass is the class of a request that was not in flight when it was dropped.
func (l Load) connectionClass() Class {
	switch {
	case l.Class == ClassHeld:
		return ClassHeld
	case l.Connections == ReusedConnections:
		return ClassKeptAlive
	}
	return ClassNew
}

// DefaultRate is the requests per second of a lane: 100 see a gap of 30 ms (3/rate), and three
// lanes of it leave two cores to the cluster.
const DefaultRate = 100

// MaxRate is the highest rate that a load accepts: above 1,000 requests/s the kernel's timer grain
// of 1 ms makes bursts of a constant rate.
const MaxRate = 1000

// New is one connection per request. It is a POST, so that it compares at all consumers: a proxy
// whose own connection to a Pod is dead sends a GET again and tells nobody.
func New(rate int) Load {
	return Load{
		Name: "new", Driver: HTTP, Class: ClassNew, Rate: rate, Method: http.MethodPost,
		Connections: NewConnections, Timeout: timeout,
	}
}

// Reused is keep-alive clients that nothing resends: POST with a body that can't be had twice.
func Reused(rate int) Load {
	return Load{
		Name: "reused", Driver: HTTP, Class: ClassKeptAlive, Rate: rate, Method: http.MethodPost,
		Connections: ReusedConnections, Clients: 10, Timeout: timeout,
	}
}

// Replayable is keep-alive clients as most are: GET without a body, which http.Transport sends
// again when a reused connection dies. Beside Reused it shows how many dropped requests an ordinary
// Go client would not have told of.
func Replayable(rate int) Load {
	l := Reused(rate)
	l.Name, l.Method, l.Replayable = "replayable", http.MethodGet, true
	return l
}

// Slow is requests that take two seconds, so that many are in flight when SIGTERM comes.
func Slow(rate int) Load {
	l := New(rate)
	l.Name, l.Class, l.Work = "slow", ClassInFlight, 2*time.Second
	return l
}

// ReusedH2 is Reused in HTTP/2: what a server takes back by GOAWAY can't be sent again, and is
// dropped.
func ReusedH2(rate int) Load {
	l := Reused(rate)
	l.Name, l.Driver = "h2", H2
	return l
}

// ReplayableH2 is Replayable in HTTP/2.
func ReplayableH2(rate int) Load {
	l := Replayable(rate)
	l.Name, l.Driver = "h2-get", H2
	return l
}

// Unary is unary gRPC calls over channels that are kept. grpc-go sends a call again once, whatever
// its service config, if the server says by GOAWAY or REFUSED_STREAM that it has not processed it.
func Unary(rate int) Load {
	return Load{
		Name: "grpc", Driver: GRPC, Class: ClassKeptAlive, Rate: rate,
		Connections: ReusedConnections, Clients: 10, Replayable: true, Timeout: timeout,
	}
}

// Writes are creations of an object that are only tried, of which the API server asks the app as a
// webhook. What the app doesn't answer is rejected.
func Writes(rate int) Load {
	return Load{
		Name: "writes", Driver: API, Class: ClassKeptAlive, Rate: rate, Method: http.MethodPost,
		Connections: ReusedConnections, Clients: 1, Timeout: timeout,
	}
}

// Sockets is clients that hold a WebSocket each, and that come back immediately.
func Sockets(rate int) Load {
	return Load{
		Name: "websocket", Driver: WebSocket, Class: ClassHeld, Rate: rate, Connections: HeldConnections,
		Clients: 50, Reconnect: Immediately, Stays: Stays{5 * time.Second, time.Minute}, Seed: 1, Timeout: timeout,
	}
}

// SocketsBackoff is Sockets with the default delays of Socket.IO's client, which waits also before its
// first attempt: a second, twice as long each time, half of it more or less, five seconds at most.
func SocketsBackoff(rate int) Load {
	l := Sockets(rate)
	l.Name, l.Reconnect = "websocket-backoff", Backoff
	return l
}

// Events is clients that hold a stream of server-sent events each, and that come back immediately.
func Events(rate int) Load {
	l := Sockets(rate)
	l.Name, l.Driver = "sse", SSE
	return l
}

// EventsBackoff is Events with the delays of SocketsBackoff.
func EventsBackoff(rate int) Load {
	l := SocketsBackoff(rate)
	l.Name, l.Driver = "sse-backoff", SSE
	return l
}

// Streams is clients that hold a stream of gRPC each, and that come back immediately.
func Streams(rate int) Load {
	l := Sockets(rate)
	l.Name, l.Driver = "grpc-stream", GRPCStream
	return l
}

// StreamsBackoff is Streams with the default delays of a channel of gRPC, which makes its first attempt at
// once: a second, 1.6 times as long each time, a fifth of it more or less, two minutes at most.
func StreamsBackoff(rate int) Load {
	l := SocketsBackoff(rate)
	l.Name, l.Driver = "grpc-stream-backoff", GRPCStream
	return l
}

// MaxClients is how many clients of HeldConnections there may be.
const MaxClients = 1000

// timeout is short enough to end a run soon, and long enough for two seconds of work plus a SYN
// sent again after one and after three seconds.
const timeout = 5 * time.Second

// errBlind is the guarantee of every load but a Replayable one: a dropped request is reported.
var errBlind = errors.New("http.Transport sends it again on a dead connection: the load can't see what it measures")

// resent are the methods that http.Transport may resend (net/http, Request.isReplayable).
var resent = []string{"", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace}

// Validate refuses a load that makes no sense, and above all one that can't see what it drops.
func (l Load) Validate() error {
	var errs []error
	if l.Name == "" {
		errs = append(errs, errors.New("has no name"))
	}
	if l.Driver == "" {
		errs = append(errs, errors.New("has no driver"))
	}
	if !slices.Contains(classes, l.Class) {
		errs = append(errs, fmt.Errorf("has unknown class %q", l.Class))
	}
	if l.Rate <= 0 || l.Rate > MaxRate {
		errs = append(errs, fmt.Errorf("has a rate of %d requests/s: want 1 to %d", l.Rate, MaxRate))
	}
	if l.Timeout <= 0 || l.Timeout > 30*time.Second {
		errs = append(errs, fmt.Errorf("has a timeout of %s: want more than 0 and at most 30s", l.Timeout))
	}
	if l.Work < 0 || l.Work >= l.Timeout {
		errs = append(errs, fmt.Errorf("has %s of work in %s: every request would time out", l.Work, l.Timeout))
	}
	if held := l.Connections == HeldConnections; held != (l.Class == ClassHeld) {
		errs = append(errs, fmt.Errorf("has class %q and connections %q: want both held, or none", l.Class, l.Connections))
	}
	switch l.Connections {
	case HeldConnections:
		errs = append(errs, l.validateHeld())
	case NewConnections:
		if slices.Contains([]string{H2, GRPC, API}, l.Driver) {
			errs = append(errs, fmt.Errorf("has driver %q, which keeps its connections", l.Driver))
		}
		if l.Replayable {
			errs = append(errs, errors.New("is replayable: nothing is ever sent again on a new connection"))
		}
	case ReusedConnections:
		if l.Clients <= 0 {
			errs = append(errs, errors.New("reuses connections and has none"))
		}
		if l.Driver == GRPC {
			if l.Method != "" || !l.Replayable {
				errs = append(errs, errors.New("is gRPC, which has no methods and sends again: want Replayable"))
			}
			break
		}
		switch sentAgain := slices.Contains(resent, l.Method); {
		case sentAgain && !l.Replayable && !l.Opaque:
			errs = append(errs, fmt.Errorf("reuses connections with method %q: %w", l.Method, errBlind))
		case !sentAgain && l.Replayable:
			errs = append(errs, fmt.Errorf("is replayable with method %q, which nothing sends again", l.Method))
		}
	default:
		errs = append(errs, fmt.Errorf("has unknown connections %q: want new, reused or held", l.Connections))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("load %q: %w", l.Name, err)
	}
	return nil
}

// validateHeld says what is wrong with a load whose clients hold connections.
func (l Load) validateHeld() error {
	switch {
	case !slices.Contains([]string{WebSocket, SSE, GRPCStream}, l.Driver):
		return fmt.Errorf("has driver %q, which holds no connections", l.Driver)
	case l.Clients < 1 || l.Clients > MaxClients:
		return fmt.Errorf("has %d clients: want 1 to %d", l.Clients, MaxClients)
	case l.Reconnect != Immediately && l.Reconnect != Backoff:
		return fmt.Errorf("has clients that come back %q: want immediately or backoff", l.Reconnect)
	case l.Stays.Min <= 0 || l.Stays.Max < l.Stays.Min:
		return fmt.Errorf("has clients that stay for %s to %s", l.Stays.Min, l.Stays.Max)
	case l.Replayable || l.Work > 0 || l.Method != "":
		return errors.New("has messages, which have no method and no work, and are not sent again")
	}
	return nil
}
