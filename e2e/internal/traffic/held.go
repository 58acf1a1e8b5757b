package traffic

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// heldDriver has clients that hold a connection each. A request is a message on the connection of the
// client whose turn it is, and these are the rules:
//
//	the client has a connection           the message goes over it; its echo in time is ok
//	the connection ends before the echo   dropped, by what ended it
//	no echo in time                       dropped, and the client gives the connection up
//	the client has no connection          the message waits for one, in time, or is dropped by what kept
//	                                      the client from having one
//
// No message is sent twice. A client comes back by itself, in the way of its load. One that has stayed
// for its time leaves, once the messages under way have come home, and a new one comes in its place.
type heldDriver struct {
	driverConfig
	open    opener
	step    int // between the numbers of a client's messages
	dial    dialFunc
	clients []*holder
	ctx     context.Context // ends with the load
	over    context.CancelFunc
	running sync.WaitGroup
}

// opener opens a connection, in its protocol. The handshake is what the client says of itself. What the
// server answers is known also with an error, if it has answered.
type opener func(ctx context.Context, h *holder, handshake http.Header) (heldStream, *http.Response, error)

// heldStream is an open connection, in its protocol. One goroutine receives; the others may be called
// meanwhile.
type heldStream interface {
	// send sends a message; where the server sends by itself there is nothing to do.
	send(ctx context.Context, seq int) error
	// receive returns the next text of the server, or how the connection has ended.
	receive() (text string, err error)
	// word is the server's word that it ends the connection, if that is what an error of receive means,
	// and whether that word can be the answer to the client's own.
	word(err error) (said string, confirms bool)
	// leave gives the server the client's word that it leaves.
	leave() error
	// abort closes the connection without a word.
	abort() error
}

// openEvery is the time between two clients' first connections: a thousand take a second.
const openEvery = time.Millisecond

func newHeldDriver(c driverConfig, speaking func(*heldDriver) opener) *heldDriver {
	d := &heldDriver{driverConfig: c}
	d.open = speaking(d)
	d.ctx, d.over = context.WithCancel(context.Background())
	dialer := &net.Dialer{KeepAlive: -1, ControlContext: bindFirst}
	d.dial = dialer.DialContext
	if c.lane.Resolve != nil {
		d.dial = newResolver(c).dialing(d.dial)
	}
	n := (c.lane.Load.Clients + c.shard.count() - 1) / c.shard.count()
	d.step = n * c.shard.count()
	for i := range n {
		h := &holder{driver: d, client: c.shard.seq(i), pending: map[int]*message{}, early: map[int]Outcome{}}
		h.next = h.client
		d.clients = append(d.clients, h)
		d.running.Go(func() { h.run(time.Duration(i) * openEvery) })
	}
	return d
}

// Do implements Driver. Clients take turns.
func (d *heldDriver) Do(ctx context.Context, seq int) Outcome {
	ctx, cancel := context.WithTimeout(ctx, d.lane.Load.Timeout)
	defer cancel()
	return d.clients[seq/d.shard.count()%len(d.clients)].message(ctx, seq)
}

// Close implements Driver: every client leaves.
func (d *heldDriver) Close() error {
	d.over()
	for _, h := range d.clients {
		h.leave(nil)
	}
	d.running.Wait()
	return nil
}

// offset is the present on the run's clock, as it is stored.
func (d *heldDriver) offset() time.Duration {
	return d.clock.Offset(time.Now()).Round(time.Microsecond)
}

// holder is a client, and those that come in its place.
type holder struct {
	driver *heldDriver
	client int // its number in the lane
	tries  int // to connect; only the client's own goroutine counts

	mu      sync.Mutex
	conn    *heldConn // nil while it has none that takes messages
	next    int       // number of the first message that has not been due yet
	pending map[int]*message
	early   map[int]Outcome // of messages that were there before they were due
	failed  *attempt        // the last that failed since there was a connection
	trying  *attempts       // of the one that is under way
}

// message is one that is due and not answered.
type message struct {
	on   *heldConn // that it went over; nil while it waits for one
	use  uint32    // which message on that connection it is, from 1
	done chan Outcome
}

// attempt is a try to connect.
type attempt struct {
	cause   timeline.Cause
	code    uint16
	port    uint16
	address string
}

// heldConn is a connection and its record.
type heldConn struct {
	heldStream
	raw     *conn
	record  timeline.Held
	outcome Outcome // of a message on it, but for how that ends
	uses    uint32
	// leaving says that the client's time is over: no message goes over it any more. left says that the
	// client has given its word, silent that it has lost its patience.
	leaving, left, silent bool
}

// message is one message, from when it is due until it is over.
func (h *holder) message(ctx context.Context, seq int) Outcome {
	m := &message{done: make(chan Outcome, 1)}
	h.mu.Lock()
	h.next = seq + h.driver.step
	if o, ok := h.early[seq]; ok {
		delete(h.early, seq)
		h.mu.Unlock()
		return o
	}
	h.pending[seq] = m
	c := h.conn
	if c != nil {
		c.take(m)
	}
	h.mu.Unlock()
	if c != nil {
		_ = c.send(ctx, seq) // receiving tells what is wrong with the connection
	}
	select {
	case o := <-m.done:
		return o
	case <-ctx.Done():
		return h.expire(seq, m)
	}
}

// take has a message go over the connection. The client's lock must be held.
func (c *heldConn) take(m *message) {
	m.on = c
	c.uses++
	m.use = c.uses
	c.record.Sent++
}

// ends is how a message that went over the connection ends.
func (c *heldConn) ends(m *message, cause timeline.Cause) Outcome {
	o := c.outcome
	o.Cause, o.ConnUse = cause, m.use
	return o
}

// expire ends a message that was not answered in time.
func (h *holder) expire(seq int, m *message) Outcome {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case o := <-m.done:
		return o // just in time
	default:
	}
	delete(h.pending, seq)
	if c := m.on; c != nil {
		c.silent = true
		_ = c.raw.Conn.Close()
		return c.ends(m, timeline.Timeout)
	}
	o := Outcome{Leaving: timeline.NotLeaving, Attempts: 1, Cause: timeline.Timeout}
	if f := h.failed; f != nil {
		o.Cause, o.Code, o.Port, o.Address = f.cause, f.code, f.port, f.address
	} else if h.trying != nil {
		_, o.Port, o.Address, _ = h.trying.seen()
	}
	return o
}

// run connects, holds the connection until it ends, and comes back, until the load is over.
func (h *holder) run(after time.Duration) {
	var last *timeline.Held // whose client is not back yet
	for n := uint64(0); ; n++ {
		chance := rand.New(rand.NewPCG(h.driver.lane.Load.Seed, uint64(h.client)<<32|n))
		stay := staysFor(h.driver.lane.Load.Stays, chance)
		byOther := last != nil && last.End != timeline.HeldLeft && last.End != timeline.HeldUnknown
		c, tried, failed := h.connect(after, byOther, chance)
		after = 0
		if last != nil {
			last.Tried = tried
			if failed != nil {
				last.Failed = failed.cause.String()
			}
			if c != nil {
				last.Back = c.record.Opened - last.Ended
			}
			h.driver.ledger.AddHeld(*last)
		}
		if c == nil {
			return
		}
		timer := time.AfterFunc(stay, func() { h.leave(c) })
		err := h.receive(c)
		timer.Stop()
		_ = c.abort()
		h.ended(c, err)
		record := c.record
		last = &record
	}
}

// staysFor draws for how long a client stays.
func staysFor(stays scenarios.Stays, chance *rand.Rand) time.Duration {
	return stays.Min + time.Duration(chance.Int64N(int64(stays.Max-stays.Min)+1))
}

// connect connects, again and again if need be, until there is a connection or the load is over: then
// it returns none. A client that has lost its connection waits as its load says, a new one doesn't. The
// attempts that failed are counted, and the last of them is returned.
func (h *holder) connect(
	wait time.Duration, byOther bool, chance *rand.Rand,
) (c *heldConn, tried int, last *attempt) {
	if byOther {
		wait = h.driver.pauseBefore(0, chance)
	}
	for {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-h.driver.ctx.Done():
			timer.Stop()
		}
		if h.driver.ctx.Err() != nil {
			return nil, tried, last
		}
		c, failed := h.try()
		if c != nil {
			return c, tried, last
		}
		tried, last = tried+1, failed
		h.mu.Lock()
		h.failed = failed
		h.mu.Unlock()
		wait = h.driver.pauseBefore(tried, chance)
	}
}

// retryEvery is how often a client that comes back immediately tries again: to dial without a pause
// would take the CPU from everybody else.
const retryEvery = 100 * time.Millisecond

// backoff is how long clients of an ecosystem wait before they try again.
type backoff struct {
	first, most time.Duration
	factor      float64 // from one attempt to the next
	jitter      float64 // a share of the time, more or less
	atOnce      bool    // the first attempt isn't waited for
}

// socketIO is what Socket.IO's client does by its defaults: reconnectionDelay, reconnectionDelayMax and
// randomizationFactor of its Manager. It waits also before its first attempt, and doubles and varies the
// delay before it cuts it to the longest (packages/socket.io-client of github.com/socketio/socket.io:
// lib/manager.ts, lib/contrib/backo2.ts, as of 4.8.3).
var socketIO = backoff{first: time.Second, most: 5 * time.Second, factor: 2, jitter: 0.5}

// ofChannels is what channels of gRPC do by theirs: they connect at once, and wait after a failure
// (doc/connection-backoff.md of github.com/grpc/grpc; backoff.DefaultConfig of grpc-go).
var ofChannels = backoff{first: time.Second, most: 2 * time.Minute, factor: 1.6, jitter: 0.2, atOnce: true}

// pause is how long a client waits before it tries to connect, after so many attempts that have failed
// since it lost its connection.
func (b backoff) pause(tried int, chance *rand.Rand) time.Duration {
	if b.atOnce {
		if tried == 0 {
			return 0
		}
		tried--
	}
	// Beyond ten steps all are the longest, and more of them overflow.
	d := float64(b.first) * math.Pow(b.factor, float64(min(tried, 10)))
	d *= 1 + b.jitter*(2*chance.Float64()-1)
	return min(time.Duration(d), b.most)
}

// pauseBefore is how long a client of the lane waits before it tries to connect.
func (d *heldDriver) pauseBefore(tried int, chance *rand.Rand) time.Duration {
	switch load := d.lane.Load; {
	case load.Reconnect == scenarios.Backoff && load.Driver == scenarios.GRPCStream:
		return ofChannels.pause(tried, chance)
	case load.Reconnect == scenarios.Backoff:
		return socketIO.pause(tried, chance)
	case tried == 0:
		return 0
	}
	return retryEvery
}

// try connects once. The end of the load doesn't break off what the server may have answered already:
// each side would have something else on record.
func (h *holder) try() (*heldConn, *attempt) {
	d := h.driver
	ctx, cancel := context.WithTimeout(context.Background(), d.lane.Load.Timeout)
	defer cancel()
	defer context.AfterFunc(d.ctx, func() { time.AfterFunc(leaveTimeout, cancel) })()
	h.tries++
	var wire attempts
	var made atomic.Pointer[conn]
	h.mu.Lock()
	h.trying = &wire
	h.mu.Unlock()
	ctx = context.WithValue(context.WithValue(ctx, attemptsKey{}, &wire), dialledKey{}, &made)
	//nolint:bodyclose // the stream has it
	s, resp, err := d.open(ctx, h, http.Header{
		protocol.HeaderLane:       {d.lane.Name},
		protocol.HeaderClient:     {strconv.Itoa(h.client)},
		protocol.HeaderClientConn: {strconv.Itoa(h.tries)},
	})
	_, port, address, _ := wire.seen()
	if err != nil {
		f := &attempt{cause: classify(err), port: port, address: address}
		if resp != nil {
			f.code, f.cause = uint16(resp.StatusCode), acceptSampleApp(resp.StatusCode, nil, true)
			if f.cause == timeline.WrongBody {
				f.cause = timeline.HTTPOther // well, and no handshake
			}
		} else if raw := made.Load(); raw != nil && f.cause == timeline.Other && raw.ended.Load() != nil {
			f.cause = classify(*raw.ended.Load()) // net/http says only that half a header is none
		}
		if raw := made.Load(); raw != nil {
			_ = raw.Conn.Close()
		}
		return nil, f
	}
	o := Outcome{Leaving: timeline.NotLeaving, Attempts: 1, Port: port, Address: address}
	o.Pod = resp.Header.Get(protocol.HeaderPod)
	identifySampleApp(resp.Header, &o)
	c := &heldConn{heldStream: s, raw: made.Load(), outcome: o, record: timeline.Held{
		Client: h.client, Number: h.tries, Opened: d.offset(), Pod: o.Pod, Conn: o.Conn, Port: o.Port, Last: -1,
	}}
	h.attach(c)
	return c, nil
}

// attach gives the connection to the messages that wait for one.
func (h *holder) attach(c *heldConn) {
	h.mu.Lock()
	h.conn, h.failed, h.trying = c, nil, nil
	var waiting []int
	for seq, m := range h.pending {
		if m.on == nil {
			waiting = append(waiting, seq)
			c.take(m)
		}
	}
	over := h.driver.ctx.Err() != nil
	h.mu.Unlock()
	slices.Sort(waiting)
	for _, seq := range waiting {
		_ = c.send(context.Background(), seq) // receiving tells what is wrong with the connection
	}
	if over {
		h.leave(c)
	}
}

// expects is the number of the first message that a new connection is for: the first that waits, or is
// not due yet, and has not come before its time.
func (h *holder) expects() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	from := h.next
	for {
		if _, came := h.early[from]; !came {
			break
		}
		from += h.driver.step
	}
	for seq := range h.pending {
		from = min(from, seq)
	}
	return from
}

// receive takes what comes over a connection until it ends, and returns how.
func (h *holder) receive(c *heldConn) error {
	for {
		text, err := c.receive()
		if err != nil {
			return err
		}
		h.answered(c, text)
	}
}

// answered ends the message that a text answers. A text of no known number is none.
func (h *holder) answered(c *heldConn, text string) {
	number, leaving, good := protocol.ParseEcho(text)
	seq, err := strconv.Atoi(number)
	if err != nil {
		return
	}
	o := c.outcome
	o.Cause = timeline.OK
	switch {
	case strings.HasSuffix(text, strings.TrimSuffix(protocol.StrangerBody, "\n")):
		o.Cause = timeline.WrongApp
	case !good:
		o.Cause = timeline.WrongBody
	}
	if ms, err := strconv.ParseFloat(leaving, 64); err == nil {
		o.Leaving = millis(ms)
	}
	h.mu.Lock()
	m, due := h.pending[seq]
	switch {
	case due:
		delete(h.pending, seq)
	case seq >= h.next:
		m = &message{}
	default: // too late: it is dropped already
		h.mu.Unlock()
		return
	}
	if m.on == nil { // before it was due, or over a connection that its client was about to leave
		c.take(m)
	}
	o.ConnUse = m.use
	c.record.Answered++
	c.record.Last = max(c.record.Last, seq)
	if !good {
		c.record.Wrong++
	}
	if due {
		m.done <- o
	} else {
		h.early[seq] = o
	}
	goes := h.mayGo(c)
	h.mu.Unlock()
	if goes {
		h.giveWord(c)
	}
}

// mayGo says, once, that a client whose time is over may give its word: no message is under way. The
// lock must be held.
func (h *holder) mayGo(c *heldConn) bool {
	if !c.leaving || c.left {
		return false
	}
	for _, m := range h.pending {
		if m.on == c {
			return false
		}
	}
	c.left = true
	return true
}

// leave has the client leave its connection, or any that it has if none is given.
func (h *holder) leave(c *heldConn) {
	h.mu.Lock()
	if c == nil {
		c = h.conn
	}
	if c == nil || c.leaving {
		h.mu.Unlock()
		return
	}
	c.leaving = true
	if h.conn == c {
		h.conn = nil
	}
	goes := h.mayGo(c)
	h.mu.Unlock()
	if goes {
		h.giveWord(c)
	}
}

// leaveTimeout is how long a client waits for the server's word when it leaves.
const leaveTimeout = time.Second

// giveWord gives the server the client's word. Receiving tells what the server says to that; where it says
// nothing, the connection is closed.
func (h *holder) giveWord(c *heldConn) {
	_ = c.raw.SetReadDeadline(time.Now().Add(leaveTimeout))
	go func() { _ = c.leave() }()
}

// ended completes the record of a connection that has ended, and drops what was under way on it.
func (h *holder) ended(c *heldConn, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.record.Ended = h.driver.offset()
	var cause timeline.Cause
	c.record.End, c.record.Detail, cause = c.end(err)
	if h.conn == c {
		h.conn = nil
	}
	for seq, m := range h.pending {
		if m.on == c {
			delete(h.pending, seq)
			m.done <- c.ends(m, cause)
		}
	}
}

// end says how the connection has ended, and by what a message that was under way was dropped.
func (c *heldConn) end(err error) (end timeline.HeldEnd, detail string, cause timeline.Cause) {
	said, confirms := c.word(err)
	cause = classify(err)
	if wire := c.raw.ended.Load(); wire != nil {
		cause = classify(*wire)
	}
	detail = said
	if said == "" {
		switch detail = cause.String(); cause {
		case timeline.EOF:
			detail = "FIN without a word"
		case timeline.Timeout:
			detail = "no answer in time"
		}
	}
	switch {
	case c.silent:
		return timeline.HeldSilent, "no answer in time", timeline.Timeout
	case c.left && confirms:
		return timeline.HeldLeft, said, cause
	case c.left:
		return timeline.HeldUnknown, fmt.Sprintf("the client was leaving: %s", detail), cause
	case said != "":
		return timeline.HeldAnnounced, said, timeline.GoAway
	}
	return timeline.HeldCut, detail, cause
}

// dialledKey is the context's key of where connectTo puts its connection, an *atomic.Pointer[conn].
type dialledKey struct{}

// connectTo dials for a try, and leaves the connection with that: it knows how it ended. http.Transport
// may go on dialling after a try is over.
func (d *heldDriver) connectTo(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw}
	if made, ok := ctx.Value(dialledKey{}).(*atomic.Pointer[conn]); ok {
		made.Store(c)
	}
	return c, nil
}
