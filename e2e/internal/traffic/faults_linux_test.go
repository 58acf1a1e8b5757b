package traffic

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// fault is one way in which a request can end, planted on the wire.
type fault struct {
	name string
	// commit answers a request, or doesn't, on its connection.
	commit func(*exchange) error
	// unread says that the request is left in the socket.
	unread bool
	// elsewhere is where a request goes that the server never gets to see.
	elsewhere func(*testing.T) string
	// timeout is the client's, if it is to run out.
	timeout time.Duration
	// least is the shortest latency that the fault allows.
	least time.Duration
	// resent says that http.Transport sends a request again that ended so, if it may and if the connection had been used before: it does if not one byte of
	// an answer came. Whatever came of an answer, an answer that never comes, and a connection that can't be made, are reported also by ordinary clients.
	resent bool
	// closes says that the connection is closed while it is idle. If the client uses it again before it has noticed, that is a fault after all.
	closes bool
	code   uint16 // status that the record holds
	want   timeline.Cause
}

// The client's timeouts. The requests that meet no fault have to end in them, on a machine that has other things to do.
const (
	patience = 3 * time.Second  // where it is to run out
	plenty   = 30 * time.Second // where none of the requests should come near it
)

// late is how long an answer takes that comes late and in time.
const late = 150 * time.Millisecond

const (
	wholeAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n" + protocol.Body
	halfAnswer  = "HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n" + "ok from"
	halfHeader  = "HTTP/1.1 200 OK\r\nContent-Length: 27\r\nZero"
)

func faults() []fault {
	return []fault{
		// Before the server.
		{name: "nobody listens", elsewhere: nobody, want: timeline.Refused},
		{name: "SYN swallowed", elsewhere: crowded, timeout: patience, least: patience, want: timeline.Timeout},
		{name: "name unknown", elsewhere: unresolvable, want: timeline.DNS},
		{name: "no TLS", elsewhere: plaintext, want: timeline.TLS},
		// Before an answer.
		{name: "RST before it is read", unread: true, commit: hang("", reset), resent: true, want: timeline.Reset},
		{name: "RST after it is read", commit: hang("", reset), resent: true, want: timeline.Reset},
		{name: "FIN after it is read", commit: hang("", finish), resent: true, want: timeline.EOF},
		{name: "FIN in the instant of reuse", unread: true, commit: crossed, resent: true, want: timeline.EOF},
		{name: "no answer", commit: hang("", untilClientLeaves), timeout: patience, least: patience, want: timeline.Timeout},
		{name: "answer after the client's timeout", commit: afterClientLeft, timeout: patience, least: patience, want: timeline.Timeout},
		// Within an answer.
		{name: "RST within the header", commit: hang(halfHeader, reset), want: timeline.Reset},
		{name: "FIN within the header", commit: hang(halfHeader, finish), want: timeline.EOF},
		{name: "header trickles", commit: trickle, timeout: patience, least: patience, want: timeline.Timeout},
		{name: "RST within the body", commit: hang(halfAnswer, reset), code: 200, want: timeline.Truncated},
		{name: "FIN within the body", commit: hang(halfAnswer, finish), code: 200, want: timeline.Truncated},
		{name: "half a body and no more", commit: hang(halfAnswer, untilClientLeaves), timeout: patience, least: patience, code: 200, want: timeline.Timeout},
		// The answer. The right body doesn't make a wrong status right.
		{name: "status 500", commit: answer(500, protocol.Body), code: 500, want: timeline.HTTP5xx},
		{name: "status 503", commit: answer(503, protocol.Body), code: 503, want: timeline.HTTP5xx},
		{name: "status 404", commit: answer(404, protocol.Body), code: 404, want: timeline.HTTPOther},
		{name: "redirect", commit: answer(302, protocol.Body), code: 302, want: timeline.HTTPOther},
		{name: "another body", commit: answer(200, "It works!"), code: 200, want: timeline.WrongBody},
		{name: "empty body", commit: answer(200, ""), code: 200, want: timeline.WrongBody},
		{name: "body of another app", commit: answer(200, protocol.StrangerBody), code: 200, want: timeline.WrongApp},
		{name: "body with something after it", commit: answer(200, protocol.Body+"\n"), code: 200, want: timeline.WrongBody},
		// What looks like a fault and is none.
		{name: "late answer", commit: slowly, least: late, code: 200, want: timeline.OK},
		{name: "FIN on the idle connection", commit: (*exchange).last, closes: true, code: 200, want: timeline.OK},
	}
}

// exchange is a request on its connection.
type exchange struct {
	conn   *net.TCPConn
	number int // of the connection, from 1
	use    int // of the connection, from 1
	lane   string
	seq    int
	closes bool // the client asks for the connection to be closed
}

// whole answers as the app does.
func (e *exchange) whole() error {
	if e.closes {
		return e.last()
	}
	_, err := io.WriteString(e.conn, e.text(200, protocol.Body))
	return err
}

// last answers as the app does and closes the connection by a FIN that comes with the answer's last bytes: no request can fall between the two. It also
// leaves the wait after a close (TIME_WAIT) to the server's side: the client would run out of ports.
func (e *exchange) last() error {
	raw, err := e.conn.SyscallConn()
	if err != nil {
		return err
	}
	if controlErr := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_CORK, 1)
	}); controlErr != nil || err != nil {
		return errors.Join(controlErr, err)
	}
	if _, err := io.WriteString(e.conn, e.text(200, protocol.Body)); err != nil {
		return err
	}
	return e.conn.CloseWrite()
}

func (e *exchange) text(code int, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d Whatever\r\nContent-Length: %d\r\nLocation: /elsewhere\r\nZerodrop-Pod: pod-a\r\nZerodrop-Leaving-Ms: -1\r\n"+
		"Zerodrop-Conn: %d\r\nZerodrop-Conn-Request: %d\r\n\r\n%s", code, len(body), e.number, e.use, body)
}

// answer answers as the app does, but for the status and the body.
func answer(code int, body string) func(*exchange) error {
	return func(e *exchange) error {
		_, err := io.WriteString(e.conn, e.text(code, body))
		return err
	}
}

// hang sends the beginning of an answer and ends the connection.
func hang(begin string, end func(*net.TCPConn) error) func(*exchange) error {
	return func(e *exchange) error {
		if _, err := io.WriteString(e.conn, begin); err != nil {
			return err
		}
		return end(e.conn)
	}
}

// reset sends a RST.
func reset(conn *net.TCPConn) error {
	if err := conn.SetLinger(0); err != nil {
		return err
	}
	return conn.Close()
}

// finish sends a FIN.
func finish(conn *net.TCPConn) error { return conn.Close() }

// crossed is what the client sees of a server that closes a connection in the instant in which it is used again: the FIN comes when the request is on its
// way, and the request is answered by a RST.
func crossed(e *exchange) error {
	if err := e.conn.CloseWrite(); err != nil {
		return err
	}
	return reset(e.conn)
}

func untilClientLeaves(conn *net.TCPConn) error {
	_, err := io.Copy(io.Discard, conn)
	return err
}

func afterClientLeft(e *exchange) error {
	if err := untilClientLeaves(e.conn); err != nil {
		return err
	}
	_, _ = io.WriteString(e.conn, wholeAnswer) // to nobody, who may tell so
	return e.conn.Close()
}

// trickle sends a header that never ends, for as long as there is a client.
func trickle(e *exchange) error {
	gone := make(chan error, 1)
	go func() { gone <- untilClientLeaves(e.conn) }()
	_, _ = io.WriteString(e.conn, halfHeader)
	for {
		select {
		case err := <-gone:
			return err
		case <-time.After(patience / 20):
			_, _ = io.WriteString(e.conn, "o") // a client that is gone is seen above
		}
	}
}

func slowly(e *exchange) error {
	<-time.After(late)
	return e.whole()
}

// nobody is where a port is taken and nobody listens: no other test can get it.
func nobody(t *testing.T) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	return boundTo(t, fd)
}

// crowded is a listener that accepts nobody and whose queue is full: what comes then is dropped by the kernel without a word, as it is for a Pod whose
// network is gone.
func crowded(t *testing.T) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(fd, 0))
	address := boundTo(t, fd)
	conn, err := net.Dial("tcp", strings.TrimPrefix(address, "http://")) // a queue of 0 has room for one
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return address
}

func boundTo(t *testing.T, fd int) string {
	local, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	return fmt.Sprintf("http://127.0.0.1:%d", local.(*syscall.SockaddrInet4).Port)
}

// unresolvable is no name, for want of a label: that takes no DNS server to tell.
func unresolvable(*testing.T) string { return "http://app..invalid" }

// plaintext is a server without TLS, of which TLS is asked.
func plaintext(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: http.NotFoundHandler()}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		assert.NoError(t, server.Close())
		assert.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return "https://" + listener.Addr().String()
}
