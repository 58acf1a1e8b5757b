package traffic

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// Resolve has a lane's client resolve the host of its URL by itself, as the clients of a headless
// Service do.
type Resolve struct {
	// Keep is how long an answer is used, as a JVM uses it for 30 s. With 0 each new connection
	// resolves.
	Keep time.Duration
	// Known are the addresses, where nobody needs to be asked for them: those of a cluster's nodes.
	Known []netip.Addr
}

// systemLookup asks the DNS servers of the system for A records. It is Go's own resolver: the C
// library's would ask for AAAA, too, and may keep what it heard.
func systemLookup(ctx context.Context, host string) ([]netip.Addr, error) {
	found, err := (&net.Resolver{PreferGo: true}).LookupNetIP(ctx, "ip4", host)
	for i, ip := range found {
		found[i] = ip.Unmap() // net.Resolver writes an A record as ::ffff:10.0.0.1
	}
	return found, err
}

// resolver chooses the address of each dial of a lane. Each of a name's addresses gets its exact
// share in turn.
type resolver struct {
	Resolve
	timeout time.Duration // of a query, which is part of the dial
	lookup  Lookup
	turn    atomic.Uint64
	lookups singleflight.Group
	// kept and until are those of the last answer. Only the function that lookups runs touches
	// them.
	kept  []netip.Addr
	until time.Time
}

// newResolver begins with the turn of the shard, so that senders don't all begin with the same
// address.
func newResolver(c driverConfig) *resolver {
	r := &resolver{Resolve: *c.lane.Resolve, timeout: c.lane.Load.Timeout, lookup: c.lookup}
	r.turn.Store(uint64(c.shard.Index))
	return r
}

// pick resolves a host, or remembers its addresses, and returns the one whose turn it is.
func (r *resolver) pick(ctx context.Context, host string) (netip.Addr, error) {
	// Fully qualified: a resolver would try the name in each of its search domains first.
	host = strings.TrimSuffix(host, ".") + "."
	addresses, err := r.addresses(ctx, host)
	if err != nil {
		return netip.Addr{}, err
	}
	return addresses[(r.turn.Add(1)-1)%uint64(len(addresses))], nil
}

// addresses are those of a host, sorted. With Keep, those who ask at the same time share one query.
// A query that failed isn't kept.
func (r *resolver) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if len(r.Known) > 0 {
		return r.Known, nil
	}
	if r.Keep == 0 {
		return r.query(ctx, host)
	}
	found, err, _ := r.lookups.Do(host, func() (any, error) {
		if time.Now().Before(r.until) {
			return r.kept, nil
		}
		found, err := r.query(ctx, host)
		if err == nil {
			r.kept, r.until = found, time.Now().Add(r.Keep)
		}
		return found, err
	})
	return found.([]netip.Addr), err
}

func (r *resolver) query(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	found, err := r.lookup(ctx, host)
	if err == nil && len(found) == 0 {
		err = &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
	}
	return slices.SortedFunc(slices.Values(found), netip.Addr.Compare), err
}

// dialing resolves an address's host and dials the one address that pick returns. To give
// net.Dialer the name would have it try each address in turn and hide the Pods that refuse.
func (r *resolver) dialing(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		ip, err := r.pick(ctx, host)
		if err != nil {
			return nil, err
		}
		return dial(ctx, network, net.JoinHostPort(ip.String(), port))
	}
}
