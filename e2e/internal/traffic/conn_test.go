package traffic

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestServerClosesFirst: after its answer the server is told the end of the client's side only when it has ended its own.
func TestServerClosesFirst(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var early sync.Map // requests whose client has said goodbye first
	const keep = 300 * time.Millisecond
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := c.Read(make([]byte, 4<<10)); err != nil {
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 27\r\n\r\n"+protocol.Body)
				_ = c.SetReadDeadline(time.Now().Add(keep))
				if _, err := c.Read(make([]byte, 1)); err == io.EOF { //nolint:errorlint // as net says it
					early.Store(c.RemoteAddr().String(), true)
				}
			}()
		}
	}()
	record := send(t, scenarios.New(100), "http://"+l.Addr().String(), 10)
	require.NoError(t, l.Close())
	assert.Equal(t, map[timeline.Cause]int{timeline.OK: 10}, count(record))
	early.Range(func(client, _ any) bool {
		assert.Fail(t, "closed first", "%s", client)
		return true
	})
	for _, r := range record.Requests {
		assert.Less(t, r.Latency, keep, "and nobody waits for it")
	}
}

// TestConnectionIsGivenUp: who doesn't close is left, soon.
func TestConnectionIsGivenUp(t *testing.T) {
	here, there := net.Pipe()
	c := &conn{Conn: here}
	go func() { _, _ = there.Write([]byte("x")) }()
	_, err := c.Read(make([]byte, 1))
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, c.Close())
	_, err = there.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	assert.GreaterOrEqual(t, time.Since(began), serverCloseTimeout-time.Millisecond)
}

// TestClosedAtOnce: a connection that nothing was read from, or that is being read from, doesn't wait for anybody.
func TestClosedAtOnce(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(c *conn, there net.Conn)
	}{
		{"nothing was read", func(*conn, net.Conn) {}},
		{"is read from", func(c *conn, there net.Conn) {
			go func() { _, _ = there.Write([]byte("x")) }()
			_, _ = c.Read(make([]byte, 1))
			go func() { _, _ = c.Read(make([]byte, 1)) }()
			for c.reading.Load() == 0 {
				<-time.After(time.Millisecond)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			here, there := net.Pipe()
			c := &conn{Conn: here}
			tt.prepare(c, there)
			began := time.Now()
			require.NoError(t, c.Close())
			_, err := there.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
			assert.Less(t, time.Since(began), serverCloseTimeout)
		})
	}
}

// TestPortsLast: a thousand connections, none of which keeps its port.
func TestPortsLast(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, protocol.Body) }))
	defer server.Close()
	record := send(t, scenarios.New(1000), server.URL, 1000)
	assert.Equal(t, map[timeline.Cause]int{timeline.OK: 1000}, count(record))
	taken := 0
	for _, r := range record.Requests {
		if !free(t, r.Port) {
			taken++
		}
	}
	assert.Less(t, taken, 50, "ports that can't be had")
}

// TestPortsComeRoundLate: no port is used twice within so many connections, whatever the kernel would choose.
func TestPortsComeRoundLate(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, protocol.Body) }))
	defer server.Close()
	seen := map[uint16]bool{}
	for range 3 {
		for _, r := range send(t, scenarios.New(1000), server.URL, 1000).Requests {
			assert.False(t, seen[r.Port], "port %d", r.Port)
			seen[r.Port] = true
		}
	}
}

// free says whether a socket can be bound to a port, as bindFirst does. A listener of net's could be: it takes ports that are in TIME_WAIT.
func free(t *testing.T, port uint16) bool {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, syscall.Close(fd)) }()
	return syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(port)}) == nil
}
