package traffic

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Driver makes the requests of one lane, in one protocol. Several are under way at the same time.
type Driver interface {
	// Do makes one planned request, waits for its end, and says how it ended. The number is that in
	// the lane.
	Do(ctx context.Context, seq int) Outcome
	// Close lets go of connections when the last request has ended.
	Close() error
}

// Outcome is how one request ended.
type Outcome struct {
	Cause   timeline.Cause
	Code    uint16        // status; 0 if there was none. Of gRPC: the one that the server sent
	Pod     string        // that answered; "" if the answer doesn't say
	Leaving time.Duration // how long that Pod had known of its SIGTERM; timeline.NotLeaving if it had not got any
	Conn    uint32        // number of the connection as the Pod counts
	ConnUse uint32        // which request on its connection it was, from 1
	// Port and Address are the local port and the remote IP of the last attempt.
	Port     uint16
	Address  string
	Attempts uint8 // on the wire
}

// Target is the app under test, as far as it speaks HTTP: how it is asked, which answer is right,
// and how an answer names its Pod.
type Target struct {
	Request func(ctx context.Context, seq int) (*http.Request, error)
	// Accept gives the cause of an answer; complete says that all of its body came.
	Accept func(code int, body []byte, complete bool) timeline.Cause
	Pod    func(http.Header) string // "" if the answer doesn't say
	// Identify, if it is there, fills in what an answer that names its Pod says beyond that.
	Identify func(http.Header, *Outcome)
}

// driverConfig is what a driver is made of.
type driverConfig struct {
	lane   Lane
	shard  Shard
	target Target
	clock  timeline.Clock
	ledger *Ledger      // for connections that are held; requests are the recorder's
	lookup Lookup       // for a lane that resolves
	api    *http.Client // to the API server, for a lane that writes there
}

// Lookup finds the IPv4 addresses of a name.
type Lookup func(ctx context.Context, host string) ([]netip.Addr, error)

// drivers are what makes a driver, by the name that a load gives.
var drivers = map[string]func(driverConfig) Driver{
	scenarios.HTTP: func(c driverConfig) Driver { return newHTTPDriver(c) },
	scenarios.H2:   func(c driverConfig) Driver { return newHTTPDriver(c) },
	scenarios.GRPC: func(c driverConfig) Driver { return newGRPCDriver(c) },
	scenarios.API:  func(c driverConfig) Driver { return apiDriver{lane: c.lane, client: c.api} },

	scenarios.WebSocket:  func(c driverConfig) Driver { return newHeldDriver(c, sockets) },
	scenarios.SSE:        func(c driverConfig) Driver { return newHeldDriver(c, events) },
	scenarios.GRPCStream: func(c driverConfig) Driver { return newHeldDriver(c, streams) },
}

// driverOf finds what makes the lane's driver.
func driverOf(lane Lane) (func(driverConfig) Driver, error) {
	name := lane.Load.Driver
	if found, ok := drivers[name]; ok {
		return found, nil
	}
	known := strings.Join(slices.Sorted(maps.Keys(drivers)), ", ")
	return nil, fmt.Errorf("lane %s: unknown driver %q: want one of %s", lane.Name, name, known)
}
