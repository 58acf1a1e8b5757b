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
	// NewConnections opens one connection per request. Each request meets the endpoints as they are now.
	NewConnections Connections = "new"
	// ReusedConnections spreads the requests over a fixed number of keep-alive connections, in turn. Each stays with the Pod it was first sent to.
	ReusedConnections Connections = "reused"
)

// Load says how requests are sent. It is constant and open-loop: requests leave by the plan, whether or not earlier ones were answered.
type Load struct {
	Name        string
	Rate        int // requests per second
	Method      string
	Connections Connections
	// Clients is how many keep-alive connections ReusedConnections has. net/http would use one or two for fast answers, all to one Pod.
	Clients int
	Work    time.Duration // how long the server works for each request
	Timeout time.Duration // how long the client waits for a complete answer
	// Replayable lets http.Transport send a request again, silently, when a reused connection dies under it, as it does in ordinary clients. Such a load
	// doesn't tell its losses: what it hides is counted as masked, and that is what it is for. It hides a connection that was used before and ends, by RST or
	// by FIN, before one byte of the answer has come. It tells of all the rest: a connection that can't be made or is new, an answer that breaks off, a
	// timeout, a wrong status.
	Replayable bool
}

// DefaultRate is the requests per second of a lane: 100 see a gap of 30 ms (3/rate), and three lanes of it leave two cores to the cluster.
const DefaultRate = 100

// MaxRate is the highest rate that a load accepts: above 1,000 requests/s the kernel's timer grain of 1 ms makes bursts of a constant rate.
const MaxRate = 1000

// New is one connection per request.
func New(rate int) Load {
	return Load{Name: "new", Rate: rate, Method: http.MethodGet, Connections: NewConnections, Timeout: timeout}
}

// Reused is keep-alive clients whose requests can't be resent by http.Transport: POST with a body that can't be had twice.
func Reused(rate int) Load {
	return Load{Name: "reused", Rate: rate, Method: http.MethodPost, Connections: ReusedConnections, Clients: 10, Timeout: timeout}
}

// Replayable is keep-alive clients as most are: GET without a body, which http.Transport sends again when a reused connection dies. Beside Reused it shows
// how many losses an ordinary Go client would not have told.
func Replayable(rate int) Load {
	return Load{
		Name: "replayable", Rate: rate, Method: http.MethodGet, Connections: ReusedConnections, Clients: 10, Timeout: timeout, Replayable: true,
	}
}

// Slow is requests that take two seconds, so that many are in flight when SIGTERM comes.
func Slow(rate int) Load {
	return Load{Name: "slow", Rate: rate, Method: http.MethodGet, Connections: NewConnections, Work: 2 * time.Second, Timeout: timeout}
}

// timeout is short enough to end a run soon, and long enough for two seconds of work plus a SYN sent again after one and after three seconds.
const timeout = 5 * time.Second

// errBlind is the guarantee that every load gives unless it says otherwise (Replayable): a request that was lost is reported as lost.
var errBlind = errors.New("http.Transport sends it again on a dead connection and reports no loss: a load can't see what it measures")

// resent are the methods that http.Transport may send a second time on its own (net/http, Request.isReplayable).
var resent = []string{"", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace}

// Validate refuses a load that makes no sense, and above all one that can't see its losses.
func (l Load) Validate() error {
	var errs []error
	if l.Name == "" {
		errs = append(errs, errors.New("has no name"))
	}
	if l.Rate <= 0 || l.Rate > MaxRate {
		errs = append(errs, fmt.Errorf("has a rate of %d requests/s: want 1 to %d", l.Rate, MaxRate))
	}
	if l.Timeout <= 0 || l.Timeout > 30*time.Second {
		errs = append(errs, fmt.Errorf("has a timeout of %s: want more than 0 and at most 30s", l.Timeout))
	}
	if l.Work < 0 || l.Work >= l.Timeout {
		errs = append(errs, fmt.Errorf("has %s of work and a timeout of %s: every request would time out", l.Work, l.Timeout))
	}
	switch l.Connections {
	case NewConnections:
		if l.Replayable {
			errs = append(errs, errors.New("opens a connection for each request and is replayable: nothing is ever sent again on a new connection"))
		}
	case ReusedConnections:
		if l.Clients <= 0 {
			errs = append(errs, errors.New("reuses connections and has none"))
		}
		switch sentAgain := slices.Contains(resent, l.Method); {
		case sentAgain && !l.Replayable:
			errs = append(errs, fmt.Errorf("reuses connections with method %q: %w", l.Method, errBlind))
		case !sentAgain && l.Replayable:
			errs = append(errs, fmt.Errorf("is replayable with method %q, which nothing sends again", l.Method))
		}
	default:
		errs = append(errs, fmt.Errorf("has unknown connections %q: want %s or %s", l.Connections, NewConnections, ReusedConnections))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("load %q: %w", l.Name, err)
	}
	return nil
}
