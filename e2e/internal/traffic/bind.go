package traffic

import (
	"context"
	"fmt"
	"syscall"
)

// attemptsKey is the context's key of a request's attempts. http.Transport hands the values of a request's context on to the dial that it starts.
type attemptsKey struct{}

// bindFirst gives a socket its local port before it connects, and writes that down. A connection that is refused or never answered has no address that
// could be asked for afterwards; with its port, what the cluster did with it can still be found.
func bindFirst(ctx context.Context, network, _ string, conn syscall.RawConn) error {
	wire, ok := ctx.Value(attemptsKey{}).(*attempts)
	if !ok {
		return nil
	}
	var anyPort syscall.Sockaddr = &syscall.SockaddrInet4{}
	if network == "tcp6" {
		anyPort = &syscall.SockaddrInet6{}
	}
	var err error
	controlErr := conn.Control(func(fd uintptr) {
		if err = syscall.Bind(int(fd), anyPort); err != nil {
			return
		}
		var local syscall.Sockaddr
		if local, err = syscall.Getsockname(int(fd)); err != nil {
			return
		}
		switch local := local.(type) {
		case *syscall.SockaddrInet4:
			wire.bound(uint16(local.Port))
		case *syscall.SockaddrInet6:
			wire.bound(uint16(local.Port))
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
