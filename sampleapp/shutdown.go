package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// action is what the process does on SIGTERM.
type action string

const (
	// actionDefault installs no handler: the Go runtime ends the process at once, also as PID 1,
	// where the kernel itself would not.
	actionDefault action = "default"
	// actionIgnore serves on until SIGKILL, as PID 1 does when it is a shell.
	actionIgnore action = "ignore"
	// actionShutdown is what most Go services do: http.Server.Shutdown at once.
	actionShutdown action = "shutdown"
	// actionDelay serves on first, because requests arrive until every node and proxy knows that
	// this Pod goes away.
	actionDelay action = "delay"
)

var actions = []action{actionDefault, actionIgnore, actionShutdown, actionDelay}

// stopSignals are those that a container runtime may be told to stop the process with.
var stopSignals = map[string]syscall.Signal{
	stopSignalDefault: syscall.SIGTERM, "SIGUSR1": syscall.SIGUSR1, "SIGQUIT": syscall.SIGQUIT,
}

const stopSignalDefault = "SIGTERM"

// terminator is the way out of a process: it begins with SIGTERM and is over when it is time to
// shut down.
type terminator struct {
	action action
	signal syscall.Signal // SIGTERM, unless -stop-signal says otherwise
	delay  time.Duration
	life   *lifeLog

	sigterm chan os.Signal
	since   atomic.Pointer[time.Time] // when SIGTERM came, nil until then; keeps its monotonic reading
	began   chan struct{}             // closed when SIGTERM came
	over    chan struct{}             // closed when it is time to shut down
}

func newTerminator(cfg config, life *lifeLog) *terminator {
	return &terminator{
		action:  cfg.onSIGTERM,
		signal:  cmp.Or(stopSignals[cfg.stopSignal], syscall.SIGTERM),
		delay:   cfg.delay,
		life:    life,
		sigterm: make(chan os.Signal, 1),
		began:   make(chan struct{}),
		over:    make(chan struct{}),
	}
}

// notify takes SIGTERM over from the Go runtime, if the action is to outlive it. From then on none
// is missed; run says what comes of it.
func (d *terminator) notify() {
	if d.action != actionDefault {
		// Also for actionIgnore, where signal.Ignore would be the ordinary way: to the outside both
		// are the same, and so its instant is known.
		signal.Notify(d.sigterm, d.signal)
	}
}

// run waits for the first SIGTERM and goes the way out. Later SIGTERMs change nothing.
func (d *terminator) run() {
	<-d.sigterm
	d.begin(time.Now())
	switch d.action {
	case actionDelay:
		<-time.After(d.delay)
		close(d.over)
	case actionShutdown:
		close(d.over)
	case actionDefault, actionIgnore: // never over
	}
}

// begin marks at as the instant of SIGTERM.
func (d *terminator) begin(at time.Time) {
	d.since.Store(&at)
	close(d.began)
	d.life.record(at, protocol.Event{Event: protocol.EventSIGTERM})
}

// begun says whether SIGTERM has come.
func (d *terminator) begun() bool { return d.since.Load() != nil }

// milliseconds says how long ago SIGTERM came, in decimal milliseconds down to the microsecond, as
// in "1503.214"; "-1" if it hasn't.
func (d *terminator) milliseconds() string {
	since := d.since.Load()
	if since == nil {
		return "-1"
	}
	return strconv.FormatFloat(float64(time.Since(*since))/float64(time.Millisecond), 'f', 3, 64)
}

// shutdown closes the listeners and the idle connections and waits for requests in flight, no longer
// than the shutdown timeout; then it cuts them off, and that is an error. HTTP and gRPC go at the
// same time.
func (s *server) shutdown(h *http.Server, g *grpc.Server) error {
	s.life.record(time.Now(), protocol.Event{Event: protocol.EventShutdownBegin})
	ctx, cancel := context.WithTimeout(context.Background(), s.shutdownTimeout)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		g.GracefulStop()
		close(stopped)
	}()
	if s.heldConnections != heldLeave {
		s.held.announceAll()
	}
	err := h.Shutdown(ctx)
	select {
	case <-stopped:
	case <-ctx.Done():
		err = cmp.Or(err, ctx.Err())
	}
	if s.heldConnections != heldLeave { // Shutdown waits for no WebSocket
		err = cmp.Or(err, s.held.wait(ctx))
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("shut down within %s: %w", s.shutdownTimeout, err)
	if errors.Is(err, context.DeadlineExceeded) {
		s.cut = s.unanswered.list()
		s.life.record(
			time.Now(),
			protocol.Event{Event: protocol.EventShutdownTimeout, Error: err.Error(), Unanswered: s.cut},
		)
	}
	s.cutHeld(true)
	g.Stop()
	return errors.Join(err, h.Close())
}

// loggingListener tells the life log when it was closed. Only the listener itself knows: Shutdown
// closes it first but returns last.
type loggingListener struct {
	net.Listener
	life *lifeLog

	closing sync.Once
}

// Close closes the listener once; further calls do nothing.
func (l *loggingListener) Close() (err error) {
	l.closing.Do(func() {
		// net's Close returns when close(2) is done, not when it is due: it waits for the Accept
		// that still holds the descriptor.
		err = l.Listener.Close()
		closed := protocol.Event{Event: protocol.EventListenerClosed}
		at := time.Now()
		if err != nil {
			closed.Error = err.Error()
		}
		l.life.record(at, closed)
	})
	return err
}
