package traffic

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// httpDriver speaks HTTP/1.1, or HTTP/2 with prior knowledge: net/http's own, which sends a stream
// again after GOAWAY and REFUSED_STREAM, if it may. Each Transport then has one connection, and
// beside it one that replaces it.
type httpDriver struct {
	lane    Lane
	shard   Shard
	target  Target
	clients []*http.Transport
}

func newHTTPDriver(c driverConfig) *httpDriver {
	d := &httpDriver{lane: c.lane, shard: c.shard, target: c.target}
	n := 1
	if c.lane.Load.Connections == scenarios.ReusedConnections {
		// Senders that share a lane share its connections, too: as many in all, or a few more where
		// they don't divide evenly.
		n = (c.lane.Load.Clients + c.shard.count() - 1) / c.shard.count()
	}
	dialer := &net.Dialer{Timeout: c.lane.Load.Timeout, KeepAlive: -1, ControlContext: bindFirst}
	dial := wrapped(dialer.DialContext)
	if c.lane.Resolve != nil {
		dial = newResolver(c).dialing(dial)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(c.lane.Load.Driver == scenarios.HTTP)
	protocols.SetUnencryptedHTTP2(c.lane.Load.Driver == scenarios.H2)
	var secured *tls.Config
	if t := c.lane.Target; t != nil {
		secured = t.TLS
	}
	for range n {
		d.clients = append(d.clients, &http.Transport{
			Proxy:              nil, // HTTP_PROXY must not come between
			TLSClientConfig:    secured,
			Protocols:          protocols,
			DialContext:        dial,
			DisableKeepAlives:  c.lane.Load.Connections == scenarios.NewConnections,
			DisableCompression: true,
			MaxIdleConns:       0, // no limit
			// One client needs more than one connection only when its answers are slower than its
			// own pace.
			MaxIdleConnsPerHost: 16,
		})
	}
	return d
}

// Close implements Driver.
func (d *httpDriver) Close() error {
	for _, c := range d.clients {
		c.CloseIdleConnections()
	}
	return nil
}

// maxAnswer is how much of an answer is held against what is expected; the sample app's is shorter.
const maxAnswer = 64 << 10

// readAnswer reads an answer to its end, and keeps its beginning. An error says that its end didn't come.
func readAnswer(resp *http.Response) (body []byte, err error) {
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	_ = resp.Body.Close() // what can go wrong with the answer has gone wrong in reading it
	return body, err
}

// Do implements Driver. Clients take turns.
func (d *httpDriver) Do(ctx context.Context, seq int) Outcome {
	o := Outcome{Leaving: timeline.NotLeaving}
	ctx, cancel := context.WithTimeout(ctx, d.lane.Load.Timeout)
	defer cancel()
	wire := attempts{streams: d.lane.Load.Driver == scenarios.H2}
	ctx = httptrace.WithClientTrace(context.WithValue(ctx, attemptsKey{}, &wire), wire.trace())
	req, err := d.target.Request(ctx, seq)
	if err != nil {
		o.Cause = timeline.Client
		return o
	}
	if !d.lane.Load.Replayable {
		// http.Transport sends a request again, silently, when a reused connection dies under it
		// and it can have the body once more. Without GetBody it can't.
		req.GetBody = nil
	}
	// No http.Client: it would follow redirects.
	resp, err := d.clients[seq/d.shard.count()%len(d.clients)].RoundTrip(req)
	if err != nil {
		o.Cause = classify(err)
		switch {
		case o.Cause == timeline.Other:
			o.Cause = wire.fate() // net/http says only that half a line of a header is no header
		case o.Cause == timeline.EOF && wire.streams:
			// The kernel tells of a RST once: if that was in writing an acknowledgement, reading ends in
			// EOF.
			o.Cause = wire.fate()
		}
	} else {
		o.Code = uint16(resp.StatusCode)
		body, readErr := readAnswer(resp)
		o.Cause = d.target.Accept(resp.StatusCode, body, readErr == nil)
		if o.Cause == timeline.Truncated && classify(readErr) == timeline.Timeout {
			o.Cause = timeline.Timeout
		}
		if o.Pod = d.target.Pod(resp.Header); o.Pod != "" && d.target.Identify != nil {
			d.target.Identify(resp.Header, &o)
		}
	}
	var use uint32
	o.Attempts, o.Port, o.Address, use = wire.seen()
	if o.ConnUse == 0 {
		o.ConnUse = use // the Pod has not said it
	}
	return o
}

// attempts counts what went on the wire for one request. http.Transport may go on dialling after
// the request was given up, hence the lock; or after it was given a connection that had become idle
// meanwhile, and then the dial is none of the request's any more.
type attempts struct {
	// streams says that the protocol is HTTP/2, where a connection that is given to a request may turn
	// out to take none any more: then the attempt counts when its header is written.
	streams bool
	mu      sync.Mutex
	count   uint8
	port    uint16
	address string   // that was dialled, with its port; "" while the request waits for a connection
	use     uint32   // which request on conn it is, from 1
	conn    net.Conn // that the request was given last; nil while it waits for one
}

func (a *attempts) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.conn, a.use, a.address = nil, 0, ""
		},
		GotConn: func(info httptrace.GotConnInfo) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.conn = info.Conn
			if !a.streams {
				a.add()
			}
			if c, ok := dialled(info.Conn); ok {
				a.use = c.uses.Add(1)
			}
			if addr, ok := info.Conn.LocalAddr().(*net.TCPAddr); ok {
				a.port = uint16(addr.Port)
			}
			if addr, ok := info.Conn.RemoteAddr().(*net.TCPAddr); ok {
				a.address = addr.String()
			}
		},
		WroteHeaders: func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.streams {
				a.add()
			}
		},
		ConnectDone: func(_, _ string, err error) {
			a.mu.Lock()
			defer a.mu.Unlock()
			if err != nil && a.conn == nil {
				a.add() // its port is known since it was bound
			}
		},
	}
}

// dialled is the connection itself, beneath TLS.
func dialled(c net.Conn) (*conn, bool) {
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	out, ok := c.(*conn)
	return out, ok
}

func (a *attempts) add() {
	if a.count < 255 {
		a.count++
	}
}

func (a *attempts) bound(port uint16, address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn == nil {
		a.port, a.address = port, address
	}
}

// fate is the cause that the request's connection knows when the error doesn't tell.
func (a *attempts) fate() timeline.Cause {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, ok := dialled(a.conn); ok {
		if end := c.ended.Load(); end != nil {
			return classify(*end)
		}
	}
	return timeline.Other
}

// seen returns how many attempts there were, and of the last one the local port, the IP that was
// dialled, and which request on its connection it was. A request that timed out while its SYNs were
// swallowed is one attempt, on no connection.
func (a *attempts) seen() (count uint8, port uint16, ip string, use uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ip, _, _ = net.SplitHostPort(a.address) // there is none before the first dial
	return max(1, a.count), a.port, ip, a.use
}
