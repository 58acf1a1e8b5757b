package traffic

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
)

// attemptsKey is the context's key of a request's attempts. http.Transport hands the values of a
// request's context on to the dial that it starts.
type attemptsKey struct{}

// lastPort is the port that was taken last, within ephemeral, counted from firstPort.
var lastPort atomic.Uint32

// firstPort is where this process began.
var firstPort = portAt(time.Now())

// portAt is the hand of a clock that goes round in 141 s. A sender in the place of another, at the
// same address, so begins beyond the ports that the other has used: a node remembers for up to two
// minutes which Pod a connection went to that was never answered, or was given up
// (nf_conntrack_tcp_timeout_syn_sent, _fin_wait). That holds up to 200 new connections a second in
// all, which is what the outside lanes send by default; beyond 235 the ports themselves come round
// within two minutes.
func portAt(begin time.Time) uint32 { return uint32(begin.Unix() * 200 % int64(ephemeral.count)) }

// ephemeral are the ports that bindNext takes: Linux' default range for clients
// (ip_local_port_range).
var ephemeral = struct{ first, count uint32 }{32768, 28232}

// bindNext binds a socket to the next port that is free, and returns that: so a port comes round
// again as late as can be. The kernel, when it chooses, chooses at random, and now and then one
// that was in use a few seconds before. On the way to a Service that does harm: where the
// connection before was reset, connection tracking remembers for ten seconds which Pod it went to,
// and sends the new one there as well, even if that Pod is gone by now
// (nf_conntrack_tcp_timeout_close).
func bindNext(fd int, v6 bool) (uint16, error) {
	for range ephemeral.count {
		port := int(ephemeral.first + (firstPort+lastPort.Add(1))%ephemeral.count)
		var at syscall.Sockaddr = &syscall.SockaddrInet4{Port: port}
		if v6 {
			at = &syscall.SockaddrInet6{Port: port}
		}
		if err := syscall.Bind(fd, at); !errors.Is(err, syscall.EADDRINUSE) {
			return uint16(port), err
		}
	}
	return 0, syscall.EADDRNOTAVAIL
}

// bindFirst gives a socket its local port before it connects, and writes that down. A connection
// that is refused or never answered has no address that could be asked for afterwards; with its
// port, what the cluster did with it can still be found.
func bindFirst(ctx context.Context, network, address string, conn syscall.RawConn) error {
	wire, ok := ctx.Value(attemptsKey{}).(*attempts)
	if !ok {
		return nil
	}
	var err error
	controlErr := conn.Control(func(fd uintptr) {
		var port uint16
		if port, err = bindNext(int(fd), network == "tcp6"); err == nil {
			wire.bound(port, address)
		}
	})
	if controlErr != nil {
		return fmt.Errorf("bind local port: %w", controlErr)
	}
	if err != nil {
		return fmt.Errorf("bind local port: %w", err)
	}
	return nil
}
