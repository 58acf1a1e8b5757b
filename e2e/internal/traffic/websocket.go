package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/coder/websocket"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// sockets opens WebSockets.
func sockets(d *heldDriver) opener {
	client := &http.Client{
		Transport: &http.Transport{
			Proxy:              nil, // HTTP_PROXY must not come between
			DialContext:        d.connectTo,
			DisableKeepAlives:  true, // whatever is no WebSocket: each try has a connection of its own
			DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context, _ *holder, handshake http.Header) (heldStream, *http.Response, error) {
		options := &websocket.DialOptions{HTTPClient: client, HTTPHeader: handshake}
		ws, resp, err := websocket.Dial(ctx, d.lane.URL+protocol.PathSocket, options)
		if err != nil {
			return nil, resp, err
		}
		return &socket{ws: ws, closed: make(chan error, 1)}, resp, nil
	}
}

// socket is an open WebSocket.
type socket struct {
	ws      *websocket.Conn
	leaving atomic.Bool
	closed  chan error // what came of leaving
}

func (s *socket) send(ctx context.Context, seq int) error {
	return s.ws.Write(ctx, websocket.MessageText, strconv.AppendInt(nil, int64(seq), 10))
}

func (s *socket) receive() (string, error) {
	_, text, err := s.ws.Read(context.Background())
	return string(text), err
}

// word implements heldStream. Close reads as well: where it has got the server's word, receive hears only
// that the connection is closed.
func (s *socket) word(err error) (said string, confirms bool) {
	if s.leaving.Load() && errors.Is(err, net.ErrClosed) {
		if err = <-s.closed; err == nil {
			return saidCode(websocket.StatusNormalClosure), true
		}
	}
	code := websocket.CloseStatus(err)
	if code == -1 {
		return "", false
	}
	return saidCode(code), code == websocket.StatusNormalClosure
}

func saidCode(code websocket.StatusCode) string { return fmt.Sprintf("close frame %d", code) }

func (s *socket) leave() error {
	s.leaving.Store(true)
	err := s.ws.Close(websocket.StatusNormalClosure, "")
	s.closed <- err
	return err
}

func (s *socket) abort() error { return s.ws.CloseNow() }
