package traffic

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// sender is the RoundTripper under vegeta: it sends, reads the whole answer and writes the record.
type sender struct {
	lane    Lane
	plan    Plan
	clients []*http.Transport
	ledger  *Ledger
	// recorded is how many requests the ledger has taken from this sender.
	recorded atomic.Int64
}

func newSender(lane Lane, plan Plan, ledger *Ledger) *sender {
	s := &sender{lane: lane, plan: plan, ledger: ledger}
	n := 1
	if lane.Load.Connections == scenarios.ReusedConnections {
		// Senders that share a lane share its connections, too: as many in all, or a few more where they don't divide evenly.
		n = (lane.Load.Clients + plan.Share.of() - 1) / plan.Share.of()
	}
	dialer := &net.Dialer{Timeout: lane.Load.Timeout, KeepAlive: -1, ControlContext: bindFirst}
	for range n {
		s.clients = append(s.clients, &http.Transport{
			Proxy:              nil, // HTTP_PROXY must not come between
			DialContext:        wrapped(dialer.DialContext),
			DisableKeepAlives:  lane.Load.Connections == scenarios.NewConnections,
			DisableCompression: true,
			MaxIdleConns:       0, // no limit
			// One client needs more than one connection only when its answers are slower than its own pace.
			MaxIdleConnsPerHost: 16,
		})
	}
	return s
}

func (s *sender) close() {
	for _, c := range s.clients {
		c.CloseIdleConnections()
	}
}

// maxAnswer bounds what is read of an answer. The app's is shorter, so anything that reaches the bound is wrong anyway.
const maxAnswer = 4 << 10

// vegeta's own headers. Its number is the sender's, which says little where several share a lane: it is replaced by the lane's.
const (
	vegetaSeq    = "X-Vegeta-Seq"
	vegetaAttack = "X-Vegeta-Attack"
)

// RoundTrip implements http.RoundTripper. It is called once per planned request, as http.Client follows no redirect here.
func (s *sender) RoundTrip(req *http.Request) (*http.Response, error) {
	start := s.plan.Clock.Offset(time.Now())
	hit, err := strconv.Atoi(req.Header.Get(vegetaSeq))
	if err != nil {
		return nil, err
	}
	seq := s.plan.Share.seq(hit)
	due := s.lane.Due(seq)
	// Times are kept in microseconds, as they are stored: a stored run gives the verdict of the live one to the last digit.
	r := timeline.Request{Planned: due.Round(time.Microsecond), Lag: max(0, start-due).Round(time.Microsecond), Leaving: timeline.NotLeaving}

	ctx, cancel := context.WithTimeout(req.Context(), s.lane.Load.Timeout)
	defer cancel()
	var wire attempts
	sent := req.WithContext(httptrace.WithClientTrace(context.WithValue(ctx, attemptsKey{}, &wire), wire.trace()))
	sent.Header = http.Header{headerLane: {s.lane.Name}, headerSeq: {strconv.Itoa(seq)}}
	if !s.lane.Load.Replayable {
		// http.Transport sends a request again, silently, when a reused connection dies under it and it can have the body once more. Without GetBody it
		// can't.
		sent.GetBody = nil
	}
	resp, err := s.clients[hit%len(s.clients)].RoundTrip(sent)
	var pod string
	if err != nil {
		if r.Cause = classify(err); r.Cause == timeline.Other {
			r.Cause = wire.fate() // net/http says only that half a line of a header is no header
		}
	} else {
		r.Code = uint16(resp.StatusCode)
		body, readErr := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		_ = resp.Body.Close() // what can go wrong with the answer has gone wrong in reading it
		r.Cause = classifyAnswer(resp.StatusCode, string(body), readErr)
		pod = identify(&r, resp.Header)
		resp.Body, err = http.NoBody, nil
	}
	r.Latency = max(0, s.plan.Clock.Offset(time.Now())-due).Round(time.Microsecond)
	var use uint32
	r.Attempts, r.Port, use = wire.seen()
	if r.ConnUse == 0 {
		r.ConnUse = use // the Pod has not said it
	}
	if s.ledger.Put(seq, r, pod) {
		s.recorded.Add(1)
	}
	return resp, err
}

// attempts counts what went on the wire for one request. http.Transport may go on dialling after the request was given up, hence the lock; or after it was
// given a connection that had become idle meanwhile, and then the dial is none of the request's any more.
type attempts struct {
	mu    sync.Mutex
	count uint8
	port  uint16
	use   uint32   // which request on conn it is, from 1
	conn  net.Conn // that the request was given last; nil while it waits for one
}

func (a *attempts) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.conn, a.use = nil, 0
		},
		GotConn: func(info httptrace.GotConnInfo) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.conn = info.Conn
			a.add()
			if c, ok := info.Conn.(*conn); ok {
				a.use = c.uses.Add(1)
			}
			if addr, ok := info.Conn.LocalAddr().(*net.TCPAddr); ok {
				a.port = uint16(addr.Port)
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

func (a *attempts) add() {
	if a.count < 255 {
		a.count++
	}
}

func (a *attempts) bound(port uint16) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn == nil {
		a.port = port
	}
}

// fate is the cause that the request's connection knows when the error doesn't tell.
func (a *attempts) fate() timeline.Cause {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, ok := a.conn.(*conn); ok {
		if end := c.ended.Load(); end != nil {
			return classify(*end)
		}
	}
	return timeline.Other
}

// seen returns how many attempts there were, and of the last one the local port and which request on its connection it was. A request that timed out while its
// SYNs were swallowed is one attempt, on no connection.
func (a *attempts) seen() (count uint8, port uint16, use uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return max(1, a.count), a.port, a.use
}

// identify fills in what the answer says of its connection and of its Pod's life, and returns the Pod's name; "" if it gives none.
func identify(r *timeline.Request, h http.Header) (pod string) {
	if pod = h.Get(headerPod); pod == "" {
		return ""
	}
	if ms, err := strconv.ParseFloat(h.Get(headerLeaving), 64); err == nil {
		r.Leaving = millis(ms)
	}
	r.Conn = number(h.Get(headerConn))
	r.ConnUse = number(h.Get(headerConnUse))
	return pod
}

func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}
