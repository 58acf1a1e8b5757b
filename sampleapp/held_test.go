package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// holder is a client that holds a connection.
type holder struct {
	t    *testing.T
	conn *net.TCPConn
	ws   *websocket.Conn // or
	rpc  *rpcHolder      // or
	body *bufio.Reader
	held http.Header // of the answer to its handshake
}

func heldHeader(client int) http.Header {
	return http.Header{
		protocol.HeaderLane: {"held"}, protocol.HeaderClient: {strconv.Itoa(client)}, protocol.HeaderClientConn: {"1"},
	}
}

// openSocket opens a WebSocket.
func (c *child) openSocket(client int) *holder {
	h := &holder{t: c.t}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			h.conn = conn.(*net.TCPConn)
		}
		return conn, err
	}}
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	//nolint:bodyclose // "You never need to close resp.Body yourself."
	ws, resp, err := websocket.Dial(ctx, "http://"+c.addr+protocol.PathSocket, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: heldHeader(client),
	})
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = ws.CloseNow() })
	h.ws, h.held = ws, resp.Header
	return h
}

// openEvents opens a stream of events: number 0 at once, the next in a thousandth of a second.
func (c *child) openEvents(client int) *holder {
	conn, err := net.Dial("tcp", c.addr)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(c.t, conn.SetDeadline(time.Now().Add(patience)))
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, "http://"+c.addr+protocol.PathEvents+"?from=0&step=1&in=-1s&every=1ms", nil)
	require.NoError(c.t, err)
	req.Header = heldHeader(client)
	require.NoError(c.t, req.Write(conn))
	resp, err := http.ReadResponse(bufio.NewReader(conn), req) //nolint:bodyclose // the connection is closed
	require.NoError(c.t, err)
	require.Equal(c.t, http.StatusOK, resp.StatusCode)
	return &holder{t: c.t, conn: conn.(*net.TCPConn), body: bufio.NewReader(resp.Body), held: resp.Header}
}

// next is the text that the app sends for a number.
func (h *holder) next(seq int) (string, error) {
	if h.rpc != nil {
		return h.rpc.receive()
	}
	if h.ws == nil {
		for {
			line, err := h.body.ReadString('\n')
			if text, isData := strings.CutPrefix(strings.TrimSpace(line), "data: "); isData || err != nil {
				return text, err
			}
		}
	}
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	if err := h.ws.Write(ctx, websocket.MessageText, []byte(strconv.Itoa(seq))); err != nil {
		return "", err
	}
	_, text, err := h.ws.Read(ctx)
	return string(text), err
}

// leave closes the connection as a client does that has what it wants, and waits for the app's word.
func (h *holder) leave() {
	if h.ws != nil {
		require.NoError(h.t, h.ws.Close(websocket.StatusNormalClosure, ""))
		return
	}
	if h.rpc != nil {
		require.NoError(h.t, h.rpc.CloseSend())
		require.Equal(h.t, "status OK", h.how())
		return
	}
	require.NoError(h.t, h.conn.CloseWrite())
	_, err := io.Copy(io.Discard, h.body)
	require.NoError(h.t, err, "the stream has an end")
}

// how says how the connection ends, once all that was sent has been read.
func (h *holder) how() string {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	var err error
	for err == nil {
		if h.ws != nil {
			_, _, err = h.ws.Read(ctx)
		} else if h.rpc != nil {
			_, err = h.rpc.receive()
		} else if _, err = io.Copy(io.Discard, h.body); err == nil {
			err = io.EOF
		}
	}
	return h.ended(err)
}

// ended says what an error means.
func (h *holder) ended(err error) string {
	if h.rpc != nil {
		return h.rpc.ended(err)
	}
	switch code := websocket.CloseStatus(err); {
	case code != -1:
		return fmt.Sprintf("close frame %d", code)
	case h.ws == nil && errors.Is(err, io.EOF):
		return "end of stream"
	case errors.Is(err, syscall.ECONNRESET):
		return "RST"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "FIN"
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "nothing"
	}
	return err.Error()
}

// protocols are all ways to hold a connection.
var protocols = map[string]func(*child, int) *holder{
	"socket": (*child).openSocket, "events": (*child).openEvents, "stream": (*child).openStream,
}

// heldEnded is the app's side of the ledger, once it has as many lines.
func (c *child) heldEnded(n int) []protocol.Held {
	c.t.Helper()
	var out []protocol.Held
	require.Eventually(c.t, func() bool {
		out = nil
		events, _ := c.all()
		for _, e := range events {
			if e.Event == protocol.EventHeldEnded {
				out = append(out, *e.Held)
			}
		}
		return len(out) >= n
	}, patience, 2*time.Millisecond)
	return out
}

// TestHeld: messages are echoed, and a client that leaves is on record with what both sides count.
func TestHeld(t *testing.T) {
	t.Parallel()
	for name, open := range protocols {
		t.Run(name, func(t *testing.T) {
			app := listening(t)
			h := open(app, 7)
			assert.NotEmpty(t, h.held.Get(protocol.HeaderPod))
			assert.Equal(t, "-1", h.held.Get(protocol.HeaderLeaving))
			assert.Equal(t, "1", h.held.Get(protocol.HeaderConn))
			for seq := range 3 {
				text, err := h.next(seq)
				require.NoError(t, err)
				number, leaving, good := protocol.ParseEcho(text)
				assert.Equal(t, strconv.Itoa(seq), number)
				assert.Equal(t, "-1", leaving)
				assert.True(t, good, text)
			}
			h.leave()
			told := app.heldEnded(1)[0]
			assert.InDelta(t, time.Now().UnixNano(), told.Opened, float64(patience))
			assert.GreaterOrEqual(t, told.Echoed, 3)
			assert.Equal(t, told.Echoed-1, told.Last)
			if name == "socket" {
				assert.Equal(t, 3, told.Received)
			}
			told.Opened, told.Echoed, told.Last, told.Received = 0, 0, 0, 0
			assert.Equal(t, protocol.Held{Lane: "held", Client: 7, Number: 1, By: protocol.ByClient}, told)
		})
	}
}

// TestNothingAfterTheLedger: what isn't in the ledger any more isn't sent.
func TestNothingAfterTheLedger(t *testing.T) {
	cfg := config{}
	life := &lifeLog{out: io.Discard, pod: "pod-1"}
	s := &server{config: cfg, pod: "pod-1", life: life, terminator: newTerminator(cfg, life)}
	c := s.hold(protocol.Held{Lane: "held", Last: -1}, false, func() {})
	assert.True(t, s.echoes(c, 0))
	s.cutHeld(false)
	assert.False(t, s.echoes(c, 1))
	assert.Equal(t, 1, c.told.Echoed)
	assert.Empty(t, s.held.list())
}

// TestHeldGone: a client that resets is not one that has left.
func TestHeldGone(t *testing.T) {
	t.Parallel()
	app := listening(t)
	h := app.openSocket(0)
	_, err := h.next(0)
	require.NoError(t, err)
	require.NoError(t, h.conn.SetLinger(0))
	require.NoError(t, h.conn.Close())
	assert.Equal(t, protocol.ByNobody, app.heldEnded(1)[0].By)
}

// TestHeldOnSIGTERM: what becomes of held connections is what -held says.
func TestHeldOnSIGTERM(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		protocol string
		args     []string
		wantBy   string
		wantCode int
		want     string
	}{
		{"a WebSocket is left alone", "socket", []string{"-on-sigterm=shutdown"}, protocol.ByAppsExit, 0, "FIN"},
		{"a stream is left alone", "events", []string{"-on-sigterm=shutdown", "-shutdown-timeout=100ms"}, protocol.ByAppsExit, 1, "FIN"},
		{"gRPC is left alone, but told", "stream", []string{"-on-sigterm=shutdown", "-shutdown-timeout=100ms"}, protocol.ByApp, 1, "GOAWAY"},
		{"a WebSocket is closed", "socket", []string{"-on-sigterm=shutdown", "-held=close"}, protocol.ByApp, 0, "close frame 1001"},
		{"a stream is closed", "events", []string{"-on-sigterm=shutdown", "-held=close"}, protocol.ByApp, 0, "end of stream"},
		{"gRPC is closed", "stream", []string{"-on-sigterm=shutdown", "-held=close"}, protocol.ByApp, 0, "status Unavailable"},
		{"a WebSocket's turn", "socket", []string{"-on-sigterm=delay", "-delay=200ms", "-held=spread"}, protocol.ByApp, 0, "close frame 1001"},
		{"a stream's turn", "events", []string{"-on-sigterm=delay", "-delay=200ms", "-held=spread"}, protocol.ByApp, 0, "end of stream"},
		{"gRPC's turn", "stream", []string{"-on-sigterm=delay", "-delay=200ms", "-held=spread"}, protocol.ByApp, 0, "status Unavailable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			app := listening(t, tt.args...)
			h := protocols[tt.protocol](app, 0)
			_, err := h.next(0)
			require.NoError(t, err)
			app.sigterm()
			assert.Equal(t, tt.want, h.how())
			assert.Equal(t, tt.wantCode, app.exited().ExitCode())
			told := app.heldEnded(1)
			require.Len(t, told, 1, "one line each")
			assert.Equal(t, tt.wantBy, told[0].By)
		})
	}
}

// TestHeldSpread: connections are closed one by one over the delay, the first that came first, and one that comes meanwhile last of all.
func TestHeldSpread(t *testing.T) {
	t.Parallel()
	app := listening(t, "-on-sigterm=delay", "-delay=1s", "-held=spread")
	var holders []*holder
	for client := range 3 {
		holders = append(holders, app.openSocket(client))
	}
	app.sigterm()
	app.await("sigterm")
	began := time.Now()
	holders = append(holders, app.openEvents(3))
	var ended sync.WaitGroup
	for _, h := range holders { // each answers at once, however long the others take
		ended.Go(func() { h.how() })
	}
	ended.Wait()
	assert.GreaterOrEqual(t, time.Since(began), 900*time.Millisecond)
	var ends []int64
	var order []int
	app.exited()
	events, _ := app.all()
	for _, e := range events {
		if e.Event == protocol.EventHeldEnded {
			ends, order = append(ends, e.UnixNano), append(order, e.Held.Client)
			assert.Equal(t, protocol.ByApp, e.Held.By)
		}
	}
	require.Equal(t, []int{0, 1, 2, 3}, order)
	for i := range 3 {
		assert.GreaterOrEqual(t, time.Duration(ends[i+1]-ends[i]), 150*time.Millisecond, "a quarter of the delay apart")
	}
}

// TestHeldFaults: of nine connections each third has the fault, from its second message on, and the app says which.
func TestHeldFaults(t *testing.T) {
	t.Parallel()
	for name, open := range protocols {
		for fault, want := range map[string]string{
			"cut": "RST", "announce": map[string]string{"socket": "close frame 1001", "events": "end of stream", "stream": "status Unavailable"}[name], "stall": "nothing", "wrong": "wrong",
		} {
			t.Run(name+" "+fault, func(t *testing.T) {
				t.Parallel()
				app := listening(t, "-held-fault="+fault, "-held-fault-every=3")
				for client := range 9 {
					h := open(app, client)
					first, err := h.next(0)
					require.NoError(t, err)
					_, _, good := protocol.ParseEcho(first)
					require.True(t, good, "the first message is well")
					if client%3 != 2 {
						_, err := h.next(1)
						require.NoError(t, err)
						h.leave()
						continue
					}
					require.NoError(t, h.conn.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
					second, err := h.next(1)
					if want == "wrong" {
						require.NoError(t, err)
						_, _, good := protocol.ParseEcho(second)
						assert.False(t, good)
					} else {
						assert.Equal(t, want, h.ended(err))
					}
					_ = h.conn.Close()
				}
				var failed []int
				for _, told := range app.heldEnded(9) {
					if told.Fault != "" {
						assert.Equal(t, fault, told.Fault)
						failed = append(failed, told.Client)
					}
				}
				assert.ElementsMatch(t, []int{2, 5, 8}, failed)
			})
		}
	}
}

// TestBadHolders: whoever can't be told apart from others holds nothing.
func TestBadHolders(t *testing.T) {
	for _, target := range []string{
		"/socket", "/events", "/events?from=0&step=1&in=0s&every=1ms", "/events?from=0&step=0&in=0s&every=1ms", "/events?from=a&step=1&in=0s&every=1s",
	} {
		onFakeClock(t, config{}, func(t *testing.T, _ *server, p *pipes) {
			r, err := p.dial(t).try("GET " + target + " HTTP/1.1\r\nHost: app\r\n\r\n")
			require.NoError(t, err)
			assert.Equal(t, http.StatusBadRequest, r.code, target)
		})
	}
}
