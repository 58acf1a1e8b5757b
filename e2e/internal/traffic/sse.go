package traffic

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// events opens streams of server-sent events. The server sends by itself: a stream is asked for with the
// number of the first message that it is for, and when that is due, by the server's own clock from then
// on. What is overdue comes at once, as with Last-Event-ID.
func events(d *heldDriver) opener {
	return func(ctx context.Context, h *holder, handshake http.Header) (heldStream, *http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.lane.URL+protocol.PathEvents, nil)
		if err != nil {
			return nil, nil, err
		}
		address := req.URL.Host
		if req.URL.Port() == "" {
			address = net.JoinHostPort(req.URL.Hostname(), "80")
		}
		made, err := d.connectTo(ctx, "tcp", address)
		if err != nil {
			return nil, nil, err
		}
		stop := context.AfterFunc(ctx, func() { _ = made.SetDeadline(time.Now()) })
		defer stop()
		req.URL.RawQuery = d.schedule(h.expects())
		req.Header = handshake
		req.Header.Set("Accept", "text/event-stream")
		if err := req.Write(made); err != nil {
			return nil, nil, err
		}
		resp, err := http.ReadResponse(bufio.NewReader(made), req)
		switch {
		case err != nil:
			return nil, nil, err
		case resp.StatusCode != http.StatusOK:
			return nil, resp, fmt.Errorf("stream of events: %s", resp.Status)
		case !stop():
			return nil, nil, context.Cause(ctx)
		}
		return &eventStream{raw: made.(*conn), body: bufio.NewReader(resp.Body)}, resp, nil
	}
}

// schedule asks for events from a number on, each when it is due by the server's own clock.
func (d *heldDriver) schedule(from int) string {
	return url.Values{
		protocol.ParamFrom:  {strconv.Itoa(from)},
		protocol.ParamStep:  {strconv.Itoa(d.step)},
		protocol.ParamIn:    {(d.lane.Due(from) - d.clock.Offset(time.Now())).String()},
		protocol.ParamEvery: {(time.Duration(d.step) * d.lane.Interval()).String()},
	}.Encode()
}

// eventStream reads the events of an open stream. It is a reader of our own because those that there
// are connect again by themselves, and hide what is to be seen.
type eventStream struct {
	raw  *conn
	body *bufio.Reader
}

func (*eventStream) send(context.Context, int) error { return nil }

// receive returns the data of the next event that has some. Fields without a meaning here, as id is one,
// are left out.
func (s *eventStream) receive() (string, error) {
	var data []string
	for {
		line, err := s.body.ReadString('\n')
		if err != nil {
			return "", err
		}
		line = strings.TrimRight(line, "\r\n")
		switch field, value, _ := strings.Cut(line, ":"); {
		case line == "" && data != nil:
			return strings.Join(data, "\n"), nil
		case field == "data":
			data = append(data, strings.TrimPrefix(value, " "))
		}
	}
}

// word implements heldStream: the end of the stream is the server's word, and also its answer to ours.
func (*eventStream) word(err error) (said string, confirms bool) {
	if err == io.EOF { //nolint:errorlint // and no error that wraps it: those are of the connection
		return "end of stream", true
	}
	return "", false
}

// leave closes the client's side of the connection, upon which the server ends the stream.
func (s *eventStream) leave() error {
	return s.raw.Conn.(interface{ CloseWrite() error }).CloseWrite()
}

func (s *eventStream) abort() error { return s.raw.Conn.Close() }
