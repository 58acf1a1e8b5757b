package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

const (
	// readHeaderTimeout bounds a client that connects and says nothing. It is far above any client
	// time-out of the load, so it is never what loses a request.
	readHeaderTimeout = 10 * time.Second
	// idleTimeout is longer than any run: a server that closes an idle connection of its own
	// accord, in the instant in which the client reuses it, loses a request that would be charged
	// to the shutdown.
	idleTimeout = time.Hour
	// maxWork is the longest work that can be asked for; beyond it a request is a typing error that
	// would outlive every grace period.
	maxWork = time.Minute
	// maxPreStop is the longest preStop hook; a hook longer than the grace period (30 s by default)
	// is a mistake worth showing, so the limit is far above it.
	maxPreStop = time.Hour
)

// server answers requests, as one Pod among several.
type server struct {
	config

	pod        string
	life       *lifeLog
	terminator *terminator

	connections atomic.Int64
	ready       sync.Once
	answered    tally              // requests to /work
	unanswered  begun              // requests to /work
	cut         []protocol.Request // those that Shutdown gave up
	held        held               // connections

	failing struct{ live, ready outage } // probes, by order
	exit    func(code int)               // ends the process, by order
}

// httpServer returns the net/http server that is to be started and shut down, with its time-outs.
// It has no access log, which would cost more than the answers. A client that begins with the
// preface of HTTP/2 is answered in that.
func (s *server) httpServer() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           s,
		Protocols:         protocols,
		ConnContext:       s.connContext,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
	}
}

// ServeHTTP routes by hand, because http.ServeMux answers some requests itself (redirects to clean
// paths), without the headers.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	connection := connectionOf(r.Context())
	w.Header().Set(protocol.HeaderConn, strconv.FormatInt(connection.number, 10))
	w.Header().Set(protocol.HeaderConnRequest, strconv.FormatInt(connection.requests.Add(1), 10))
	switch r.URL.Path {
	case protocol.PathWork:
		defer s.unanswered.add(r.Header.Get(protocol.HeaderLane), r.Header.Get(protocol.HeaderSeq))()
		if err := s.work(w, r); err == nil {
			s.answered.add(time.Now(), r.Header.Get(protocol.HeaderLane))
		}
	case protocol.PathReady:
		s.readyz(w)
	case protocol.PathLive:
		s.livez(w)
	case protocol.PathPreStop:
		s.prestop(w, r)
	case protocol.PathLedger:
		s.ledger(w)
	case protocol.PathAdmit:
		s.admit(w, r)
	case protocol.PathMetrics:
		s.metrics(w)
	case protocol.PathBusy:
		s.busy(w)
	case protocol.PathFill:
		s.fill(w, r)
	case protocol.PathFail:
		s.fail(w, r)
	case protocol.PathExit:
		s.end(w, r)
	case protocol.PathSocket:
		s.socket(w, r)
	case protocol.PathEvents:
		s.events(w, r)
	default:
		const known = "/work, /readyz, /livez, /admit, /prestop, /ledger, /metrics, /busy, /fill, /fail, /exit, " +
			"/socket and /events"
		_ = s.answer(w, http.StatusNotFound, "no such path: there are "+known+"\n")
	}
}

// work reads the request to its end, works for ?for=2s (nothing if absent, maxWork at most; it only
// waits, so that many can be in flight on a small machine), and answers. It returns nil when an
// answer, whatever its status, has been written.
func (s *server) work(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		return s.answer(w, http.StatusMethodNotAllowed, "want GET or POST\n")
	}
	// First, because net/http notices that a client is gone only once its request has been read.
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return s.answer(w, http.StatusBadRequest, fmt.Sprintf("read the body: %v\n", err))
	}
	duration, err := durationOf(r, "0s", maxWork)
	if err != nil {
		return s.answer(w, http.StatusBadRequest, err.Error()+"\n")
	}
	if pause(r.Context(), duration) != nil {
		panic(http.ErrAbortHandler) // the client is gone; to return would be to answer 200
	}
	if s.fails(r.Header.Get(protocol.HeaderLane), r.Header.Get(protocol.HeaderSeq)) {
		return reset(w)
	}
	return s.answer(w, http.StatusOK, s.body())
}

// body is that of a good answer to PathWork.
func (s *server) body() string {
	if s.stranger {
		return protocol.StrangerBody
	}
	return protocol.Body
}

// errFailed is the guarantee that a request that was failed on purpose doesn't count as answered.
var errFailed = errors.New("failed on purpose")

// fails says whether a request is one of those that are failed on purpose, and tells which it was.
func (s *server) fails(lane, seq string) bool {
	n, err := strconv.Atoi(seq)
	if err != nil || s.failEvery == 0 || n%s.failEvery != 0 {
		return false
	}
	s.life.record(time.Now(), protocol.Event{Event: protocol.EventFailedRequest, Lane: lane, Seq: &n})
	return true
}

// reset resets the connection of a request without an answer.
func reset(w http.ResponseWriter) error {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: the stream is reset, and not the others of its connection
	}
	resetConn(conn)
	return errFailed
}

func resetConn(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // what is closed then is reset
	}
	_ = conn.Close()
}

// readyz is the readiness probe.
func (s *server) readyz(w http.ResponseWriter) {
	if s.unready && s.terminator.begun() {
		_ = s.answer(w, http.StatusServiceUnavailable, "leaving\n")
		return
	}
	if s.failing.ready.goesOn() {
		_ = s.answer(w, http.StatusServiceUnavailable, failingByOrder)
		return
	}
	if s.answer(w, http.StatusOK, "ready\n") == nil {
		s.ready.Do(func() { s.life.record(time.Now(), protocol.Event{Event: protocol.EventReady}) })
	}
}

// livez is the liveness probe.
func (s *server) livez(w http.ResponseWriter) {
	if s.failing.live.goesOn() {
		_ = s.answer(w, http.StatusServiceUnavailable, failingByOrder)
		return
	}
	_ = s.answer(w, http.StatusOK, "live\n")
}

// ledger tells how many requests to /work were answered so far, by lane: the server's side of the
// accounts, for a Pod that lives on. One that exits tells it in its last words
// (protocol.EventLastRequest).
func (s *server) ledger(w http.ResponseWriter) {
	_, _, lanes := s.answered.total()
	raw, err := json.Marshal(lanes)
	if err != nil {
		panic(err) // can't be: strings and integers only
	}
	_ = s.answer(w, http.StatusOK, string(raw)+"\n")
}

// metrics is the ledger in Prometheus' text format.
func (s *server) metrics(w http.ResponseWriter) {
	count, _, lanes := s.answered.total()
	leaving := 0
	if s.terminator.begun() {
		leaving = 1
	}
	var text strings.Builder
	fmt.Fprintf(&text, "# TYPE zerodrop_leaving gauge\nzerodrop_leaving %d\n", leaving)
	fmt.Fprintf(&text, "# TYPE zerodrop_answered_total counter\nzerodrop_answered_total %d\n", count)
	fmt.Fprintf(&text, "# TYPE zerodrop_lane_answered_total counter\n")
	for _, lane := range slices.Sorted(maps.Keys(lanes)) {
		fmt.Fprintf(&text, "zerodrop_lane_answered_total{lane=%q} %d\n", lane, lanes[lane])
	}
	_ = s.answer(w, http.StatusOK, text.String())
}

// prestop is for a preStop hook of kind httpGet: it answers after ?for=15s, and the kubelet holds
// SIGTERM back until then. The time has to be given, because a hook that returns at once protects
// nothing.
func (s *server) prestop(w http.ResponseWriter, r *http.Request) {
	duration, err := durationOf(r, "", maxPreStop)
	if err != nil {
		_ = s.answer(w, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	s.life.record(time.Now(), protocol.Event{Event: protocol.EventPreStopStart})
	err = pause(r.Context(), duration)
	if err == nil {
		err = s.answer(w, http.StatusOK, "waited\n")
	}
	end := protocol.Event{Event: protocol.EventPreStopEnd}
	at := time.Now()
	if err != nil {
		end.Error = fmt.Sprintf("the kubelet hung up: %v", err)
	}
	s.life.record(at, end)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// answer writes one complete answer and returns nil once all of it has been handed to the kernel.
// What depends on the moment is decided here, at the end of the work: a request that was in flight
// when SIGTERM came is answered as one of a leaving Pod.
func (s *server) answer(w http.ResponseWriter, code int, body string) error {
	header := w.Header()
	header.Set(protocol.HeaderPod, s.pod)
	header.Set(protocol.HeaderLeaving, s.terminator.milliseconds())
	if header.Get("Content-Type") == "" {
		header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if s.close && s.terminator.begun() {
		// Per answer, not by SetKeepAlivesEnabled(false): that closes idle connections at once,
		// under clients that are just about to use them.
		header.Set("Connection", "close")
	}
	w.WriteHeader(code)
	if _, err := io.WriteString(w, body); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// durationOf reads ?for=2s; absent stands for a value that isn't there, "" for one that has to be.
func durationOf(r *http.Request, absent string, limit time.Duration) (time.Duration, error) {
	query, err := url.ParseQuery(r.URL.RawQuery) // r.URL.Query would drop what it can't read
	if err != nil {
		return 0, fmt.Errorf("read the query: %w", err)
	}
	text := absent
	if query.Has(protocol.ParamFor) {
		text = query.Get(protocol.ParamFor)
	}
	duration, err := time.ParseDuration(text)
	if err != nil || duration < 0 || duration > limit {
		return 0, fmt.Errorf("for=%q: want a duration from 0s to %s", text, limit)
	}
	return duration, nil
}

// connection is what the server knows of one TCP connection.
type connection struct {
	net.Conn
	number   int64        // of this connection in this process, from 1, in the order of Accept
	requests atomic.Int64 // begun on it so far
}

// connectionKey is the context key of a request's *connection.
type connectionKey struct{}

// connContext numbers a new connection, as http.Server.ConnContext.
func (s *server) connContext(ctx context.Context, conn net.Conn) context.Context {
	return s.numbered(ctx, conn)
}

// numbered is the context of a new connection's requests; gRPC doesn't say which connection it is.
func (s *server) numbered(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, &connection{Conn: conn, number: s.connections.Add(1)})
}

func connectionOf(ctx context.Context) *connection {
	return ctx.Value(connectionKey{}).(*connection)
}

// tally counts, also by lane, and keeps the last instant, all of the same requests.
type tally struct {
	mu    sync.Mutex
	count int64
	last  time.Time
	lanes map[string]int64
}

// add counts a request of a lane; "" for one that is of none.
func (t *tally) add(at time.Time, lane string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count++
	if at.After(t.last) {
		t.last = at
	}
	if lane == "" {
		return
	}
	if t.lanes == nil {
		t.lanes = map[string]int64{}
	}
	if _, known := t.lanes[lane]; known || len(t.lanes) < maxLanes {
		t.lanes[lane]++
	}
}

// maxLanes bounds what a client can make the ledger remember.
const maxLanes = 100

// total returns how many were added, the latest of their instants, and how many there were of each
// lane.
func (t *tally) total() (count int64, last time.Time, lanes map[string]int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count, t.last, maps.Clone(t.lanes)
}

// begun holds the requests that have been begun and not yet answered.
type begun struct {
	all      atomic.Int64 // also those that don't say which they are
	mu       sync.Mutex
	requests map[*protocol.Request]bool
}

// add takes a request in, if it says which it is, and returns what takes it out again.
func (b *begun) add(lane, seq string) (done func()) {
	b.all.Add(1)
	n, err := strconv.Atoi(seq)
	if err != nil {
		return func() { b.all.Add(-1) }
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.requests == nil {
		b.requests = map[*protocol.Request]bool{}
	}
	r := &protocol.Request{Lane: lane, Seq: n}
	b.requests[r] = true
	return func() {
		b.all.Add(-1)
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.requests, r)
	}
}

// list returns the requests by lane and number, the first protocol.MaxUnanswered of them.
func (b *begun) list() []protocol.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	sorted := []protocol.Request{}
	for r := range b.requests {
		sorted = append(sorted, *r)
	}
	slices.SortFunc(sorted, func(a, b protocol.Request) int {
		return cmp.Or(cmp.Compare(a.Lane, b.Lane), cmp.Compare(a.Seq, b.Seq))
	})
	return sorted[:min(len(sorted), protocol.MaxUnanswered)]
}

// pause waits for the duration, and returns early with an error when ctx ends.
func pause(ctx context.Context, duration time.Duration) error {
	if duration == 0 {
		return ctx.Err() // no timer for the fast path; the load uses it
	}
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
