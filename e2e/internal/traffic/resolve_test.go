package traffic

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// named are loopback addresses on one port, of which the dead ones have no listener.
func named(t *testing.T, dead ...string) (port string, all []netip.Addr) {
	t.Helper()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, protocol.Body)
	})
	for _, ip := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		all = append(all, netip.MustParseAddr(ip))
		if slices.Contains(dead, ip) {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort(ip, port0(port)))
		require.NoError(t, err)
		_, port, err = net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		server := &http.Server{Handler: handler}
		go func() { _ = server.Serve(l) }()
		t.Cleanup(func() { _ = server.Close() })
	}
	return port, all
}

// port0 has the kernel choose a port if there is none yet.
func port0(port string) string {
	if port == "" {
		return "0"
	}
	return port
}

// sendNamed sends n requests to a name and returns the record.
func sendNamed(t *testing.T, load scenarios.Load, how Resolve, port string, n int, find Lookup) timeline.LaneRecord {
	t.Helper()
	lane := Lane{Name: "dns/" + load.Name, URL: "http://app:" + port, Load: load, Resolve: &how}
	plan := Plan{Clock: timeline.NewClock(time.Now()), End: &End{}, Max: time.Minute, Lookup: find}
	plan.End.Set(lane.Due(n - 1))
	record, err := Send(lane, plan)
	require.NoError(t, err)
	require.Equal(t, n, record.Planned)
	return record
}

func addressOf(record timeline.LaneRecord, r timeline.Request) string {
	if r.Address == 0 {
		return ""
	}
	return record.Addresses[r.Address-1]
}

// TestDeadAddress: of a name with one dead address of three exactly its share is dropped, and nothing is masked.
func TestDeadAddress(t *testing.T) {
	for _, keep := range []time.Duration{0, time.Minute} {
		t.Run(keep.String(), func(t *testing.T) {
			port, all := named(t, "127.0.0.3")
			record := sendNamed(t, scenarios.New(200), Resolve{Keep: keep}, port, 30, func(_ context.Context, host string) ([]netip.Addr, error) {
				assert.Equal(t, "app.", host, "fully qualified")
				return []netip.Addr{all[2], all[0], all[1]}, nil // sorted before one is chosen
			})
			assert.Equal(t, map[timeline.Cause]int{timeline.OK: 20, timeline.Refused: 10}, count(record))
			share := map[string]int{}
			for _, r := range record.Requests {
				share[addressOf(record, r)]++
				assert.Equal(t, addressOf(record, r) == "127.0.0.3", r.Cause == timeline.Refused)
				assert.EqualValues(t, 1, r.Attempts)
				assert.False(t, r.Masked())
			}
			assert.Equal(t, map[string]int{"127.0.0.2": 10, "127.0.0.3": 10, "127.0.0.4": 10}, share)
			want := 30
			if keep > 0 {
				want = 1
			}
			assert.Equal(t, want, record.Lookups)
		})
	}
}

// TestKnownAddresses: those of nodes are asked in turn, and DNS isn't.
func TestKnownAddresses(t *testing.T) {
	port, all := named(t, "127.0.0.4")
	record := sendNamed(t, scenarios.New(200), Resolve{Known: all}, port, 30, func(context.Context, string) ([]netip.Addr, error) { return nil, assert.AnError })
	assert.Equal(t, map[timeline.Cause]int{timeline.OK: 20, timeline.Refused: 10}, count(record))
	assert.Equal(t, []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"}, slices.Sorted(slices.Values(record.Addresses)))
	assert.Zero(t, record.Lookups)
}

// TestPortsRest: a sender that takes another's place at the same address, a minute's run of 150
// connections a second after it or more of them, uses no port that the other has used within two
// minutes.
func TestPortsRest(t *testing.T) {
	const rate, runs = 150, 60 // seconds
	begin := time.Unix(1_800_000_000, 0)
	for later := runs; later <= 5*runs; later++ {
		used := map[uint32]int{} // in which second
		for n := range rate * runs {
			used[(portAt(begin)+uint32(n))%ephemeral.count] = n / rate
		}
		for n := range rate * runs {
			port := (portAt(begin.Add(time.Duration(later)*time.Second)) + uint32(n)) % ephemeral.count
			if at, again := used[port]; again {
				require.Greater(t, later+n/rate-at, 120, "port %d, %d s later", port, later)
			}
		}
	}
}

// TestKeptConnectionsResolveOnce: a connection resolves when it is dialled, and not when it is used again.
func TestKeptConnectionsResolveOnce(t *testing.T) {
	port, all := named(t)
	load := scenarios.Reused(100)
	load.Clients = 3
	record := sendNamed(t, load, Resolve{}, port, 30, func(context.Context, string) ([]netip.Addr, error) { return all, nil })
	assert.Equal(t, map[timeline.Cause]int{timeline.OK: 30}, count(record))
	dialled := 0
	for seq, r := range record.Requests {
		if r.ConnUse == 1 {
			dialled++
		}
		assert.NotZero(t, r.Address, "request %d", seq)
	}
	assert.GreaterOrEqual(t, record.Lookups, dialled)
	assert.Less(t, record.Lookups, 15, "three connections, and more where an answer was slow; else 30")
}

// TestFailedLookup: a name that isn't known is one attempt at no address.
func TestFailedLookup(t *testing.T) {
	for _, found := range []error{nil, &net.DNSError{Err: "no such host", IsNotFound: true}} {
		record := sendNamed(t, scenarios.New(200), Resolve{Keep: time.Minute}, "80", 5, func(context.Context, string) ([]netip.Addr, error) { return nil, found })
		assert.Equal(t, map[timeline.Cause]int{timeline.DNS: 5}, count(record))
		assert.Empty(t, record.Addresses)
		assert.Positive(t, record.Lookups)
		for _, r := range record.Requests {
			assert.EqualValues(t, 1, r.Attempts)
			assert.Zero(t, r.Port)
			assert.Zero(t, r.Address)
		}
	}
}

// TestKeep: an answer is used until its time is over, also one whose addresses have changed meanwhile; an error
// is not kept; those who ask at the same time ask once.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var queries atomic.Int64
		answer, failure := []netip.Addr{netip.MustParseAddr("10.0.0.1")}, errors.New("server misbehaving")
		r := newResolver(driverConfig{
			lane: Lane{Load: scenarios.New(1), Resolve: &Resolve{Keep: 30 * time.Second}},
			lookup: func(context.Context, string) ([]netip.Addr, error) {
				queries.Add(1)
				<-time.After(time.Second)
				return answer, failure
			},
		})
		ask := func() (string, error) {
			ip, err := r.pick(t.Context(), "app")
			return ip.String(), err
		}
		_, err := ask()
		require.ErrorIs(t, err, failure)
		failure = nil
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				ip, err := ask()
				assert.NoError(t, err)
				assert.Equal(t, "10.0.0.1", ip)
			})
		}
		all.Wait()
		assert.EqualValues(t, 2, queries.Load(), "the one that failed, and one for all")
		answer = []netip.Addr{netip.MustParseAddr("10.0.0.2")}
		<-time.After(29 * time.Second)
		ip, err := ask()
		require.NoError(t, err)
		assert.Equal(t, "10.0.0.1", ip, "it has left the answer and is still used")
		assert.EqualValues(t, 2, queries.Load())
		<-time.After(time.Second)
		ip, err = ask()
		require.NoError(t, err)
		assert.Equal(t, "10.0.0.2", ip)
		assert.EqualValues(t, 3, queries.Load())
	})
}

func TestLaneIsRefused(t *testing.T) {
	lane := Lane{Name: "a/new", Load: scenarios.New(10), Resolve: &Resolve{Keep: -1}}
	require.ErrorContains(t, lane.Validate(), "keeps addresses for -1ns")
	lane.Resolve, lane.Load.Driver = nil, "gopher"
	require.EqualError(t, lane.Validate(), `lane a/new: unknown driver "gopher": want one of api, grpc, grpc-stream, h2, http, sse, websocket`)
	_, err := Send(lane, Plan{})
	require.ErrorContains(t, err, "unknown driver")
	lane.Load.Driver = ""
	require.ErrorContains(t, lane.Validate(), "has no driver")
}

// TestPutBatch: the tables of several senders are put together, and a batch that isn't right is refused.
func TestPutBatch(t *testing.T) {
	l := NewLedger()
	l.Put(0, timeline.Request{Cause: timeline.OK}, "app-1", "10.0.0.1")
	b := Batch{Pods: []string{"app-2", "app-1"}, Addresses: []string{"10.0.0.2", "10.0.0.1"}}
	for seq := range uint16(3) {
		b.Seqs = append(b.Seqs, uint32(seq)+1)
		b.Requests = append(b.Requests, timeline.Request{Cause: timeline.OK, Pod: seq, Address: seq})
	}
	require.NoError(t, l.PutBatch(b))
	l.AddLookups(2)
	l.AddLookups(3)
	record := l.Record(Lane{Load: scenarios.New(100)}, 30*time.Millisecond)
	assert.Equal(t, 5, record.Lookups)
	for seq, want := range []string{"1", "", "2", "1"} {
		r := record.Requests[seq]
		if want == "" {
			assert.Zero(t, r.Pod+r.Address)
			continue
		}
		assert.Equal(t, "app-"+want, record.PodOf(r), strconv.Itoa(seq))
		assert.Equal(t, "10.0.0."+want, addressOf(record, r))
	}
	require.ErrorIs(t, l.PutBatch(b), ErrTwice)
	b.Seqs, b.Requests = []uint32{9}, []timeline.Request{{Cause: timeline.OK, Pod: 3}}
	require.ErrorContains(t, l.PutBatch(b), "names Pod 3 of 2")
}

// TestSystemLookup: an A record is an IPv4 address, not one that is mapped into IPv6.
func TestSystemLookup(t *testing.T) {
	found, err := systemLookup(t.Context(), "localhost") // of /etc/hosts, which doesn't hold names with a dot at their end
	require.NoError(t, err)
	assert.Equal(t, netip.MustParseAddr("127.0.0.1"), found[0])
}
