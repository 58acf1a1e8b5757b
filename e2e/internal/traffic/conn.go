package traffic

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// conn is a connection that remembers how it ended, and that leaves the first goodbye
// to the server.
type conn struct {
	net.Conn
	ended    atomic.Pointer[error] // how reading or writing ended, the first of the two
	reading  atomic.Int32          // reads under way
	answered atomic.Bool           // something was read
	uses     atomic.Uint32         // requests that were given it
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	c.reading.Add(1)
	defer c.reading.Add(-1)
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.answered.Store(true)
	}
	if err != nil {
		c.ended.CompareAndSwap(nil, &err)
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		c.ended.CompareAndSwap(nil, &err)
	}
	return n, err
}

// serverCloseTimeout is how long a server may take to close a connection after its last answer.
// Go's does so at once.
const serverCloseTimeout = 500 * time.Millisecond

// Close closes the connection, but after a complete answer only when the server has closed its
// side. Who closes first keeps the port for a minute (TIME_WAIT), and a port that a socket was
// bound to can't be had meanwhile: a client that does so at 1,000 connections/s has none left after
// half a minute. net/http's does. A connection that is given up while it is read from, or before
// anything was, is closed at once.
func (c *conn) Close() error {
	if c.reading.Load() > 0 || !c.answered.Load() || c.ended.Load() != nil {
		return c.Conn.Close()
	}
	if err := c.SetReadDeadline(time.Now().Add(serverCloseTimeout)); err != nil {
		return c.Conn.Close()
	}
	go func() {
		_, _ = io.Copy(io.Discard, c.Conn)
		_ = c.Conn.Close()
	}()
	return nil
}

// dialFunc opens a connection to an address, as net.Dialer does.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// wrapped makes the connections of a dial such.
func wrapped(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: c}, nil
	}
}
