package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// heldAction is what the process does on SIGTERM about the connections that clients hold.
type heldAction string

const (
	// heldLeave does nothing, as net/http doesn't: Shutdown waits for streams, which never end, until it
	// gives up, and knows nothing of a WebSocket, which the process' exit cuts. GracefulStop waits for
	// streams as well, but says so to their clients, by GOAWAY.
	heldLeave heldAction = "leave"
	// heldClose announces the end of each connection at once, and of each that is opened later.
	heldClose heldAction = "close"
	// heldSpread announces one after the other over the delay, so that not all clients come back in the
	// same instant.
	heldSpread heldAction = "spread"
)

var heldActions = []heldAction{heldLeave, heldClose, heldSpread}

// The faults of a held connection.
const (
	faultCut      = "cut"
	faultAnnounce = "announce"
	faultStall    = "stall"
	faultWrong    = "wrong"
)

var heldFaults = []string{faultCut, faultAnnounce, faultStall, faultWrong}

// held are the connections that clients hold: WebSockets and streams of events, gRPC's among them.
type held struct {
	mu      sync.Mutex
	count   int
	open    map[*heldConn]bool
	closing bool // each that is opened from now on is closed by announcement
}

// heldConn is one of them.
type heldConn struct {
	number   int           // of this connection among the held ones of this process, from 1
	announce func()        // has the handler announce its end; called once, and doesn't wait for that
	goAway   bool          // gRPC: GracefulStop announces its end, by GOAWAY, and leaves it open
	ended    chan struct{} // closed when all is told of it

	mu        sync.Mutex
	told      protocol.Held
	announced bool
	over      bool
}

// heldBy is whose connection a request is about to make, by the values of its headers.
func heldBy(value func(header string) string) (protocol.Held, error) {
	client, clientErr := strconv.Atoi(value(protocol.HeaderClient))
	number, numberErr := strconv.Atoi(value(protocol.HeaderClientConn))
	if clientErr != nil || numberErr != nil {
		return protocol.Held{}, fmt.Errorf("want a number in %s and in %s", protocol.HeaderClient, protocol.HeaderClientConn)
	}
	return protocol.Held{Lane: value(protocol.HeaderLane), Client: client, Number: number, Last: -1}, nil
}

// hold takes a connection in. What ends it has to be told to endedHeld.
func (s *server) hold(of protocol.Held, goAway bool, announce func()) *heldConn {
	of.Opened = time.Now().UnixNano()
	c := &heldConn{announce: announce, goAway: goAway, ended: make(chan struct{}), told: of}
	h := &s.held
	h.mu.Lock()
	h.count++
	c.number = h.count
	if h.open == nil {
		h.open = map[*heldConn]bool{}
	}
	h.open[c] = true
	closing := h.closing
	h.mu.Unlock()
	if closing {
		c.announceEnd()
	}
	return c
}

// announceEnd announces the connection's end, once.
func (c *heldConn) announceEnd() {
	c.mu.Lock()
	first := !c.announced && !c.over
	c.announced = c.announced || first
	c.mu.Unlock()
	if first {
		c.announce()
	}
}

// wasAnnounced says whether the app has announced the connection's end.
func (c *heldConn) wasAnnounced() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.announced
}

// received counts a message of the client.
func (c *heldConn) received() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told.Received++
}

// echoes counts a message that is about to be sent. Nobody waits for a WebSocket when the process ends:
// a message that was counted once it was sent might have arrived and be in no ledger. So might one that is
// sent when all is told of its connection: then it is false, and nothing may be sent.
func (s *server) echoes(c *heldConn, seq int) bool {
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		return false
	}
	c.told.Echoed++
	c.told.Last = seq
	lane := c.told.Lane
	c.mu.Unlock()
	s.answered.add(time.Now(), lane)
	return true
}

// endedHeld writes down who has ended the connection. Only the first call counts.
func (s *server) endedHeld(c *heldConn, by string) {
	at := time.Now()
	c.mu.Lock()
	first := !c.over
	c.over = true
	c.told.By = by
	told := c.told
	c.mu.Unlock()
	if !first {
		return
	}
	s.held.mu.Lock()
	delete(s.held.open, c)
	s.held.mu.Unlock()
	s.life.record(at, protocol.Event{Event: protocol.EventHeldEnded, Held: &told})
	close(c.ended)
}

// list is all that are open, in the order in which they were opened.
func (h *held) list() []*heldConn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.SortedFunc(maps.Keys(h.open), func(a, b *heldConn) int { return cmp.Compare(a.number, b.number) })
}

// announceAll announces the end of all that are open, and of each that is opened later.
func (h *held) announceAll() {
	h.mu.Lock()
	h.closing = true
	h.mu.Unlock()
	for _, c := range h.list() {
		c.announceEnd()
	}
}

// wait returns when all have ended, or ctx has.
func (h *held) wait(ctx context.Context) error {
	for open := h.list(); len(open) > 0; open = h.list() {
		for _, c := range open {
			select {
			case <-c.ended:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// endHeld announces what is to be announced from SIGTERM on, before Shutdown is called.
func (s *server) endHeld() {
	<-s.terminator.began
	switch s.heldConnections {
	case heldLeave:
	case heldClose:
		s.held.announceAll()
	case heldSpread:
		open := s.held.list()
		began := time.Now()
		for i, c := range open {
			<-time.After(time.Until(began.Add(s.delay * time.Duration(i+1) / time.Duration(len(open)+1))))
			c.announceEnd()
		}
	}
}

// cutHeld writes down that what is still open ends with the process, or with its patience. After
// GracefulStop the connections of gRPC have the app's word.
func (s *server) cutHeld(stoppedGRPC bool) {
	for _, c := range s.held.list() {
		by := protocol.ByAppsExit
		if stoppedGRPC && c.goAway {
			by = protocol.ByApp
		}
		s.endedHeld(c, by)
	}
}

// heldFaultOf is the fault that the connection has for its next message, of which there were some before.
func (s *server) heldFaultOf(c *heldConn, before int) string {
	if s.heldFaultEvery == 0 || c.number%s.heldFaultEvery != 0 || before == 0 {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told.Fault = s.heldFault
	return s.heldFault
}

// identify says who answers, as answer does.
func (s *server) identify(h http.Header) {
	h.Set(protocol.HeaderPod, s.pod)
	h.Set(protocol.HeaderLeaving, s.terminator.milliseconds())
}

// echo is what is sent for a number.
func (s *server) echo(seq string, fault string) string {
	body := s.body()
	if fault == faultWrong {
		body = "wrong on purpose\n"
	}
	return protocol.Echo(seq, s.terminator.milliseconds(), body)
}

// socket is a WebSocket: each of its messages is a number, and is echoed.
func (s *server) socket(w http.ResponseWriter, r *http.Request) {
	raw := connectionOf(r.Context()).Conn
	of, err := heldBy(r.Header.Get)
	if err != nil {
		_ = s.answer(w, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	s.identify(w.Header())
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // it has been answered
	}
	c := s.hold(of, false, func() {
		go func() { _ = ws.Close(websocket.StatusGoingAway, "") }() // reading tells how that went
	})
	by, err := s.readSocket(ws, c)
	switch {
	case by != "":
	case websocket.CloseStatus(err) == websocket.StatusNormalClosure && c.wasAnnounced():
		by = protocol.ByBoth
	case c.wasAnnounced():
		by = protocol.ByApp
	case websocket.CloseStatus(err) != -1:
		by = protocol.ByClient
	default:
		by = protocol.ByNobody
	}
	s.endedHeld(c, by)
	if by == protocol.ByAppCut {
		resetConn(raw)
	}
	_ = ws.CloseNow()
}

// readSocket echoes until the connection ends: by whom, if that was the app itself, or else how reading
// ended.
func (s *server) readSocket(ws *websocket.Conn, c *heldConn) (by string, err error) {
	ctx := context.Background() // the request's own is over once its connection is a WebSocket's
	for n := 0; ; n++ {
		_, text, err := ws.Read(ctx)
		if err != nil {
			return "", err
		}
		c.received()
		seq, badNumber := strconv.Atoi(string(text))
		if badNumber != nil {
			return protocol.ByApp, ws.Close(websocket.StatusUnsupportedData, "want a number")
		}
		fault := s.heldFaultOf(c, n)
		switch fault {
		case faultCut:
			return protocol.ByAppCut, nil
		case faultStall:
			continue
		case faultAnnounce:
			c.announceEnd()
			continue // until the client's own word is there
		}
		if !s.echoes(c, seq) {
			return protocol.ByAppsExit, nil
		}
		_ = ws.Write(ctx, websocket.MessageText, []byte(s.echo(string(text), fault))) // reading tells how it ended
	}
}

// events is a stream of server-sent events, an echo of each number when it is due.
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	plan, err := parseSchedule(r.URL.RawQuery)
	if err == nil && r.ProtoMajor != 1 {
		err = errors.New("want HTTP/1.1, where a stream is a connection of its own")
	}
	of, ofErr := heldBy(r.Header.Get)
	if err = cmp.Or(err, ofErr); err != nil {
		_ = s.answer(w, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	s.identify(w.Header())
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	announced := make(chan struct{})
	c := s.hold(of, false, func() { close(announced) })
	out := http.NewResponseController(w)
	if out.Flush() != nil {
		s.endedHeld(c, protocol.ByNobody)
		return
	}
	by := s.sendEvents(c, plan, ends{announced: announced, left: r.Context().Done()}, func(seq, text string) error {
		_, err := fmt.Fprintf(w, "id: %s\ndata: %s\n\n", seq, text)
		return cmp.Or(err, out.Flush())
	})
	s.endedHeld(c, by)
	if by == protocol.ByAppCut {
		resetConn(connectionOf(r.Context()).Conn)
		panic(http.ErrAbortHandler)
	}
}

// ends are what ends a stream of events: each is closed when it has happened.
type ends struct {
	announced <-chan struct{} // by the app
	left      <-chan struct{} // by the client
	gone      <-chan struct{} // by nobody's word
}

// sendEvents sends an echo of each number when it is due, until the stream ends: by whom.
func (s *server) sendEvents(c *heldConn, plan schedule, ends ends, send func(seq, text string) error) (by string) {
	timer := time.NewTimer(plan.in)
	defer timer.Stop()
	due := time.Now().Add(plan.in)
	for n := 0; ; n++ {
		select {
		case <-timer.C:
		case <-ends.announced:
			return protocol.ByApp
		case <-ends.left:
			if c.wasAnnounced() {
				return protocol.ByBoth
			}
			return protocol.ByClient
		case <-ends.gone:
			return protocol.ByNobody
		}
		seq := plan.from + n*plan.step
		due = due.Add(plan.every)
		timer.Reset(time.Until(due))
		fault := s.heldFaultOf(c, n)
		switch fault {
		case faultCut:
			return protocol.ByAppCut
		case faultStall:
			continue
		case faultAnnounce:
			c.announceEnd()
			continue
		}
		number := strconv.Itoa(seq)
		if !s.echoes(c, seq) || send(number, s.echo(number, fault)) != nil {
			return protocol.ByNobody
		}
	}
}

// schedule is when the events of a stream are due.
type schedule struct {
	from, step int
	in, every  time.Duration
}

func parseSchedule(query string) (p schedule, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return p, fmt.Errorf("read the query: %w", err)
	}
	var errs [4]error
	p.from, errs[0] = strconv.Atoi(values.Get(protocol.ParamFrom))
	p.step, errs[1] = strconv.Atoi(values.Get(protocol.ParamStep))
	p.in, errs[2] = time.ParseDuration(values.Get(protocol.ParamIn))
	p.every, errs[3] = time.ParseDuration(values.Get(protocol.ParamEvery))
	if err := errors.Join(errs[:]...); err != nil || p.from < 0 || p.step <= 0 || p.every < time.Millisecond {
		return p, fmt.Errorf("%q: want from=0, step=1, in=0s and every=1ms, or more of them", query)
	}
	return p, nil
}
