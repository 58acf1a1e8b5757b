package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// send runs one lane for n requests and returns its record.
func send(t *testing.T, load scenarios.Load, url string, n int) timeline.LaneRecord {
	t.Helper()
	record, err := sendUntil(load, url, time.Duration(n-1)*time.Second/time.Duration(load.Rate))
	require.NoError(t, err)
	require.Equal(t, n, record.Planned)
	require.Len(t, record.Requests, n)
	return record
}

func sendUntil(load scenarios.Load, url string, length time.Duration) (timeline.LaneRecord, error) {
	return sendLaneUntil(laneTo(nil, load, url), length)
}

// laneTo is a lane to an app.
func laneTo(app *scenarios.Target, load scenarios.Load, url string) Lane {
	if app != nil {
		load.Method, load.Opaque = app.Of(load).Request.Method, true
	}
	return Lane{Name: "test/" + load.Name, URL: url, Start: 10 * time.Millisecond, Load: load, Target: app}
}

// sendLane sends a lane for n requests and returns its record.
func sendLane(t *testing.T, lane Lane, n int) timeline.LaneRecord {
	t.Helper()
	record, err := sendLaneUntil(lane, time.Duration(n-1)*lane.Interval())
	require.NoError(t, err)
	require.Len(t, record.Requests, n)
	return record
}

func sendLaneUntil(lane Lane, length time.Duration) (timeline.LaneRecord, error) {
	end := &End{}
	end.Set(lane.Start + length)
	return Send(lane, Plan{Clock: timeline.NewClock(time.Now()), End: end, Max: time.Minute})
}

func count(record timeline.LaneRecord) map[timeline.Cause]int {
	causes := map[timeline.Cause]int{}
	for _, r := range record.Requests {
		causes[r.Cause]++
	}
	return causes
}

// faulty is a server that commits a known fault on every tenth request and answers as the app does otherwise.
type faulty struct {
	fault func(http.ResponseWriter, *http.Request)
	mu    sync.Mutex
	seen  map[int]int // how often each request arrived
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seq, err := strconv.Atoi(r.Header.Get("Zerodrop-Seq"))
	if err != nil {
		http.Error(w, "no sequence number", http.StatusBadRequest)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	f.mu.Lock()
	f.seen[seq]++
	f.mu.Unlock()
	if seq%10 == 9 {
		f.fault(w, r)
		return
	}
	h := w.Header()
	h.Set(protocol.HeaderPod, "pod-a")
	h.Set(protocol.HeaderLeaving, "12.5")
	h.Set(protocol.HeaderConn, "3")
	h.Set(protocol.HeaderConnRequest, "4")
	_, _ = io.WriteString(w, protocol.Body)
}

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, protocol.Body) // the right body doesn't make a wrong status right
	}
}

// TestIdleConnectionsThatDie closes every kept-alive connection after its first answer, at the instant when the client is likely to use it again. An
// ordinary GET client resends and reports nothing; here every request that arrived twice or not at all must show: also a GET, to an app that isn't the
// sample app.
func TestIdleConnectionsThatDie(t *testing.T) {
	var arrived, withBody atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			withBody.Add(1)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		arrived.Add(1)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(protocol.Body), protocol.Body)
		// The client of this connection has its next turn in 10 ms: linger about as long, then read what it may have sent and die without a word.
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if n, _ := conn.Read(make([]byte, 1)); n > 0 {
			arrived.Add(1)
		}
		_ = conn.Close()
	}))
	defer server.Close()
	load := scenarios.Reused(200)
	load.Clients = 2
	for name, app := range map[string]*scenarios.Target{"the sample app": nil, "another": {Name: "shop", Request: get("/")}} {
		t.Run(name, func(t *testing.T) {
			arrived.Store(0)
			withBody.Store(0)
			record := sendLane(t, laneTo(app, load, server.URL), 400)
			causes := count(record)
			assert.Positive(t, causes[timeline.OK])
			assert.Positive(t, causes[timeline.EOF]+causes[timeline.Reset], "some requests met a dying connection")
			for seq, r := range record.Requests {
				assert.EqualValues(t, 1, r.Attempts, "request %d was sent once", seq)
				assert.False(t, r.Masked())
			}
			assert.LessOrEqual(t, int(arrived.Load()), record.Planned, "nothing arrived that was not planned")
			assert.Equal(t, app == nil, withBody.Load() > 0, "a GET has no body on the wire")
		})
	}
}

// TestWhatCanBeSentTwice looks at requests as http.Transport gets them. It sends again what it can have the body of once more, whatever the method, if it
// finds the connection dead before it has written: too rare to wait for.
func TestWhatCanBeSentTwice(t *testing.T) {
	tests := []struct {
		load scenarios.Load
		want bool
	}{
		{scenarios.New(100), false},
		{scenarios.Reused(100), false},
		{scenarios.Replayable(100), true},
	}
	for _, tt := range tests {
		t.Run(tt.load.Name, func(t *testing.T) {
			lane := Lane{Name: "test/" + tt.load.Name, Load: tt.load}
			target := sampleApp(lane)
			req, err := http.NewRequest(tt.load.Method, "probe://app/work", strings.NewReader("work\n"))
			require.NoError(t, err)
			ask := target.Request
			target.Request = func(ctx context.Context, seq int) (*http.Request, error) {
				own, err := ask(ctx, seq)
				req.Header = own.Header
				return req.WithContext(ctx), err
			}
			d := newHTTPDriver(driverConfig{lane: lane, target: target})
			var got *http.Request
			for _, client := range d.clients {
				client.RegisterProtocol("probe", roundTripper(func(r *http.Request) (*http.Response, error) {
					got = r
					return nil, io.EOF
				}))
			}
			require.Equal(t, timeline.EOF, d.Do(t.Context(), 7).Cause)
			assert.Equal(t, tt.want, got.GetBody != nil)
			assert.NotNil(t, req.GetBody, "the caller's request is left as it is")
			assert.Equal(t, http.Header{protocol.HeaderLane: {"test/" + tt.load.Name}, protocol.HeaderSeq: {"7"}}, got.Header, "Idempotency-Key would let it be sent again, too")
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRecordSaysWhoAnswered(t *testing.T) {
	server := httptest.NewServer(&faulty{fault: status(500), seen: map[int]int{}})
	defer server.Close()
	record := send(t, scenarios.New(200), server.URL, 10)
	r := record.Requests[0]
	assert.Equal(t, "pod-a", record.PodOf(r))
	assert.Equal(t, 12500*time.Microsecond, r.Leaving)
	assert.EqualValues(t, 3, r.Conn)
	assert.EqualValues(t, 4, r.ConnUse)
	assert.EqualValues(t, 200, r.Code)
	assert.NotZero(t, r.Port)
	failed := record.Requests[9]
	assert.Empty(t, record.PodOf(failed))
	assert.Equal(t, timeline.NotLeaving, failed.Leaving)
	assert.EqualValues(t, 500, failed.Code)
}

// TestPortIsTheOneOnTheWire: the recorded port is the one that the server sees.
func TestPortIsTheOneOnTheWire(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Skip(err) // a machine without IPv6
		}
		var mu sync.Mutex
		seen := map[string]string{} // sequence number → the client's address
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			seen[r.Header.Get("Zerodrop-Seq")] = r.RemoteAddr
			_, _ = io.WriteString(w, protocol.Body)
		})}
		go func() { _ = server.Serve(listener) }()
		for _, load := range []scenarios.Load{scenarios.New(200), scenarios.Reused(200)} {
			record := send(t, load, "http://"+listener.Addr().String(), 20)
			mu.Lock()
			for seq, r := range record.Requests {
				_, port, err := net.SplitHostPort(seen[strconv.Itoa(seq)])
				require.NoError(t, err)
				assert.Equal(t, port, strconv.Itoa(int(r.Port)), "request %d of %s", seq, load.Name)
			}
			mu.Unlock()
		}
		require.NoError(t, server.Close())
	}
}

func TestBlindLoadIsNotSent(t *testing.T) {
	load := scenarios.Reused(100)
	load.Method = http.MethodGet
	_, err := Send(Lane{Load: load}, Plan{})
	require.ErrorContains(t, err, "can't see what it measures")
}

func TestClassifyWhatServersCantDo(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want timeline.Cause
	}{
		{"no free port", fmt.Errorf("dial: %w", syscall.EADDRNOTAVAIL), timeline.Client},
		{"no descriptor left", fmt.Errorf("dial: %w", syscall.EMFILE), timeline.Client},
		{"no route", fmt.Errorf("dial: %w", syscall.EHOSTUNREACH), timeline.Unreachable},
		{"write to a closed connection", fmt.Errorf("write: %w", syscall.EPIPE), timeline.Reset},
		{"idle close", errors.New("http: server closed idle connection"), timeline.EOF},
		{"anything else", errors.New("malformed HTTP response"), timeline.Other},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, classify(tt.err)) })
	}
	assert.Equal(t, timeline.NotLeaving, millis(-1))
	assert.Zero(t, number("x"))
}

// TestDialThatNobodyWaitsFor: a request may be given a connection that has become idle while one is dialled for it. What becomes of the dial says nothing
// of the request: neither is its port the request's, nor is its failure an attempt.
func TestDialThatNobodyWaitsFor(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	var wire attempts
	trace := wire.trace()
	trace.GetConn("app:80")
	wire.bound(1, "10.0.0.1:80")
	trace.GotConn(httptrace.GotConnInfo{Conn: &conn{Conn: portOf{here, 2}}, Reused: true})
	wire.bound(3, "10.0.0.3:80")
	trace.ConnectDone("tcp", "app:80", syscall.ECONNREFUSED)
	count, port, ip, use := wire.seen()
	assert.EqualValues(t, 1, count)
	assert.EqualValues(t, 2, port)
	assert.Equal(t, "10.0.0.9", ip)
	assert.EqualValues(t, 1, use)

	trace.GetConn("app:80") // the connection has died and the request is sent again
	wire.bound(4, "10.0.0.4:80")
	trace.ConnectDone("tcp", "app:80", syscall.ECONNREFUSED)
	count, port, ip, use = wire.seen()
	assert.EqualValues(t, 2, count)
	assert.EqualValues(t, 4, port)
	assert.Equal(t, "10.0.0.4", ip)
	assert.Zero(t, use, "it had no connection")
}

// portOf is a connection from a port.
type portOf struct {
	net.Conn
	port int
}

func (p portOf) LocalAddr() net.Addr { return &net.TCPAddr{Port: p.port} }

func (p portOf) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 9), Port: 80} }
