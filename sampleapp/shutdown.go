package main

import (
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
)

// action is what the process does on SIGTERM.
type action string

const (
	// actionDefault installs no handler: the Go runtime ends the process at once, also as PID 1, where the kernel itself would not.
	actionDefault action = "default"
	// actionIgnore serves on until SIGKILL, as PID 1 does when it is a shell.
	actionIgnore action = "ignore"
	// actionShutdown is what most Go services do: http.Server.Shutdown at once.
	actionShutdown action = "shutdown"
	// actionDelay serves on first, because requests arrive until every node and proxy knows that this Pod goes away.
	actionDelay action = "delay"
)

var actions = []action{actionDefault, actionIgnore, actionShutdown, actionDelay}

// departure is the way out of a process: it begins with SIGTERM and is over when it is time to shut down.
type departure struct {
	action action
	delay  time.Duration
	life   *lifeLog

	sigterm chan os.Signal
	since   atomic.Pointer[time.Time] // when SIGTERM came, nil until then; keeps its monotonic reading
	over    chan struct{}             // closed when it is time to shut down
}

func newDeparture(cfg config, life *lifeLog) *departure {
	return &departure{action: cfg.onSIGTERM, delay: cfg.delay, life: life, sigterm: make(chan os.Signal, 1), over: make(chan struct{})}
}

// arm takes SIGTERM over from the Go runtime, if the action is to outlive it. From then on none is lost; pass says what comes of it.
func (d *departure) arm() {
	if d.action != actionDefault {
		// Also for actionIgnore, where signal.Ignore would be the ordinary way: to the outside both are the same, and so its instant is known.
		signal.Notify(d.sigterm, syscall.SIGTERM)
	}
}

// pass waits for the first SIGTERM and goes the way out. Later SIGTERMs change nothing.
func (d *departure) pass() {
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
func (d *departure) begin(at time.Time) {
	d.since.Store(&at)
	d.life.record(at, event{Event: eventSIGTERM})
}

// begun says whether SIGTERM has come.
func (d *departure) begun() bool { return d.since.Load() != nil }

// milliseconds says how long ago SIGTERM came, in decimal milliseconds down to the microsecond, as in "1503.214"; "-1" if it hasn't.
func (d *departure) milliseconds() string {
	since := d.since.Load()
	if since == nil {
		return "-1"
	}
	return strconv.FormatFloat(float64(time.Since(*since))/float64(time.Millisecond), 'f', 3, 64)
}

// shutdown closes the listener and the idle connections and waits for requests in flight, no longer than timeout; then it cuts them off, and that is an error.
func shutdown(s *http.Server, timeout time.Duration, life *lifeLog) error {
	life.record(time.Now(), event{Event: eventShutdownBegin})
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := s.Shutdown(ctx)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("shut down within %s: %w", timeout, err)
	if errors.Is(err, context.DeadlineExceeded) {
		life.record(time.Now(), event{Event: eventShutdownTimeout, Error: err.Error()})
	}
	return errors.Join(err, s.Close())
}

// witnessedListener tells the life log when it was closed. Only the listener itself knows: Shutdown closes it first but returns last.
type witnessedListener struct {
	net.Listener
	life *lifeLog

	closing sync.Once
}

// Close closes the listener once; further calls do nothing.
func (l *witnessedListener) Close() (err error) {
	l.closing.Do(func() {
		// net's Close returns when close(2) is done, not when it is due: it waits for the Accept that still holds the descriptor.
		err = l.Listener.Close()
		closed := event{Event: eventListenerClosed}
		at := time.Now()
		if err != nil {
			closed.Error = err.Error()
		}
		l.life.record(at, closed)
	})
	return err
}
