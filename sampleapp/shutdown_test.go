package main

import (
	"io"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// assertRefused checks that the kernel refuses new connections to the app.
func assertRefused(t *testing.T, app *child) {
	t.Helper()
	_, err := app.tryDial()
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
}

// assertCut checks that the connection ends without another byte.
func assertCut(t *testing.T, c *client) {
	t.Helper()
	_, err := c.in.ReadByte()
	require.Error(t, err)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "closed, not silent")
}

// TestDefault: the runtime ends the process at once, and with it what is in flight.
func TestDefault(t *testing.T) {
	t.Parallel()
	app := listening(t)
	idle, busy := app.dial(), app.dial()
	assert.Equal(t, "-1", idle.get("/work").header.Get(protocol.HeaderLeaving))
	busy.begin("/work")

	app.sigterm()
	status := app.exited().Sys().(syscall.WaitStatus)
	assert.True(t, status.Signaled(), "no handler: the signal itself ended it")
	assert.Equal(t, syscall.SIGTERM, status.Signal())
	assertCut(t, busy)
	assertCut(t, idle)
	assertRefused(t, app)
	assert.Equal(t, []string{"start", "listening"}, app.names(), "it had no time to say anything")
}

// TestIgnore: only the time stamp tells that there was a SIGTERM.
func TestIgnore(t *testing.T) {
	t.Parallel()
	app := listening(t, "-on-sigterm=ignore")
	kept := app.dial()
	assert.Equal(t, "-1", kept.get("/work").header.Get(protocol.HeaderLeaving))

	app.sigterm()
	app.await("sigterm")
	var last reply
	for last.leaving < 300 { // ms
		last = app.dial().get("/work")
		require.Equal(t, http.StatusOK, last.code)
	}
	assert.Greater(t, kept.get("/work").leaving, last.leaving, "the kept connection goes on, on the same clock")
	assert.False(t, last.close)
	app.sigterm()
	assert.Equal(t, http.StatusOK, kept.get("/readyz").code)
	app.await("ready")
	assert.Greater(t, kept.get("/work").leaving, last.leaving, "counted from the first SIGTERM")
	assert.Equal(t, []string{"start", "listening", "sigterm", "ready"}, app.names())

	require.NoError(t, app.cmd.Process.Kill())
	app.exited()
	assert.False(t, app.seen("exit"))
}

// TestStopSignal: another signal does what SIGTERM does, and SIGTERM then has no handler.
func TestStopSignal(t *testing.T) {
	t.Parallel()
	app := listening(t, "-on-sigterm=shutdown", "-stop-signal=SIGUSR1")
	require.NoError(t, app.cmd.Process.Signal(syscall.SIGUSR1))
	assert.Equal(t, 0, app.exited().ExitCode())
	assert.Equal(t, []string{"start", "listening", "sigterm", "shutdown-begin", "listener-closed", "exit"}, app.names())

	app = listening(t, "-on-sigterm=shutdown", "-stop-signal=SIGUSR1")
	app.sigterm()
	assert.Equal(t, syscall.SIGTERM, app.exited().Sys().(syscall.WaitStatus).Signal())
	assert.Equal(t, []string{"start", "listening"}, app.names())
}

// TestShutdown: what is in flight is answered, what is new is refused, what is idle is closed.
func TestShutdown(t *testing.T) {
	t.Parallel()
	app := listening(t, "-on-sigterm=shutdown")
	busy, idle := app.dial(), app.dial()
	busy.begin("/work")
	assert.Equal(t, http.StatusOK, idle.get("/work").code)

	app.sigterm()
	closed := app.await("listener-closed")
	assertRefused(t, app)
	assertCut(t, idle)
	assert.False(t, app.seen("exit"), "it waits for the request in flight")

	r := busy.finish()
	assert.Equal(t, http.StatusOK, r.code)
	assert.Equal(t, protocol.Body, r.body)
	assert.Positive(t, r.leaving, "stamped when answered, not when begun")
	assert.Equal(t, 0, app.exited().ExitCode())

	assert.Equal(t, []string{"start", "listening", "sigterm", "shutdown-begin", "listener-closed", "last-request", "exit"}, app.names())
	last := app.await("last-request")
	assert.EqualValues(t, 2, last.Requests)
	assert.Greater(t, last.UnixNano, closed.UnixNano, "answered after the listener was gone")
	assert.Equal(t, 0, *app.await("exit").Code)
}

// TestShutdownWaitsForWork is the same with work of its own, as the slow lane has it.
func TestShutdownWaitsForWork(t *testing.T) {
	t.Parallel()
	app := listening(t, "-on-sigterm=shutdown")
	busy := app.dial()
	busy.begin("/work?for=500ms")
	_, err := busy.conn.Write([]byte("x"))
	require.NoError(t, err)
	app.sigterm()
	r, err := busy.answer()
	require.NoError(t, err)
	assert.Equal(t, protocol.Body, r.body)
	assert.Equal(t, 0, app.exited().ExitCode())
}

// TestDelay: new connections are served until the delay is over, and refused from then on.
func TestDelay(t *testing.T) {
	t.Parallel()
	const delay = 2 * time.Second
	app := listening(t, "-on-sigterm=delay", "-delay", delay.String())
	kept := app.dial()
	assert.Equal(t, "-1", kept.get("/work").header.Get(protocol.HeaderLeaving))

	app.sigterm()
	sigterm := app.await("sigterm")
	var served reply
	var lost time.Time
	rate := time.NewTicker(5 * time.Millisecond) // fast enough to see the end, slow enough to leave ports to others
	defer rate.Stop()
	for range rate.C {
		c, err := app.tryDial()
		var r reply
		if err == nil {
			r, err = c.try("GET /work HTTP/1.1\r\nHost: app\r\n\r\n")
		}
		if err != nil {
			lost = time.Now()
			break
		}
		c.conn.Close()
		served = r
		require.Equal(t, http.StatusOK, r.code)
		require.False(t, r.close, "not asked to")
		if r.leaving < 500 { // ms
			require.Equal(t, http.StatusOK, kept.get("/readyz").code, "ready all the time")
		}
	}
	begin, closed := app.await("shutdown-begin"), app.await("listener-closed")
	assert.GreaterOrEqual(t, begin.UnixNano-sigterm.UnixNano, delay.Nanoseconds())
	assert.Less(t, begin.UnixNano-sigterm.UnixNano, (delay + patience).Nanoseconds())
	assert.GreaterOrEqual(t, closed.UnixNano, begin.UnixNano)
	assert.GreaterOrEqual(t, lost.UnixNano(), begin.UnixNano, "nothing was lost before the delay was over")
	assert.Greater(t, served.leaving, 500.0, "ms; served well into the delay")
	assertRefused(t, app)
	assertCut(t, kept)
	assert.Equal(t, 0, app.exited().ExitCode())
}

// TestLifeInOrder is a whole life with everything in it.
func TestLifeInOrder(t *testing.T) {
	t.Parallel()
	before := time.Now()
	app := listening(t, "-on-sigterm=delay", "-delay=50ms")
	c := app.dial()
	c.get("/readyz")
	c.get("/work")
	c.get("/work?for=soon") // answered, with 400
	c.get("/prestop?for=20ms")
	c.get("/readyz")
	app.sigterm()
	require.Equal(t, 0, app.exited().ExitCode())
	after := time.Now()

	assert.Equal(t, []string{
		"start", "listening", "ready", "prestop-start", "prestop-end", "sigterm", "shutdown-begin", "listener-closed", "last-request", "exit",
	}, app.names())
	events, _ := app.all()
	at := before.UnixNano()
	for _, e := range events {
		assert.Equal(t, app.pod, e.Pod)
		assert.Empty(t, e.Error)
		if e.Event == "last-request" {
			assert.EqualValues(t, 2, e.Requests, "only /work counts")
			assert.GreaterOrEqual(t, e.UnixNano, app.await("ready").UnixNano)
			assert.LessOrEqual(t, e.UnixNano, app.await("prestop-start").UnixNano, "when it was answered, not when it was told")
			continue
		}
		assert.GreaterOrEqual(t, e.UnixNano, at, "%s", e.Event)
		at = e.UnixNano
	}
	assert.LessOrEqual(t, at, after.UnixNano())
	assert.GreaterOrEqual(t, app.await("prestop-end").UnixNano-app.await("prestop-start").UnixNano, (20 * time.Millisecond).Nanoseconds())
	assert.GreaterOrEqual(t, app.await("shutdown-begin").UnixNano-app.await("sigterm").UnixNano, (50 * time.Millisecond).Nanoseconds())
}

// TestCloseWhileLeaving: no idle connection is touched; each is closed by the first answer on it after SIGTERM.
func TestCloseWhileLeaving(t *testing.T) {
	t.Parallel()
	app := listening(t, "-on-sigterm=ignore", "-close")
	first, second, busy := app.dial(), app.dial(), app.dial()
	for range 3 {
		assert.False(t, first.get("/work").close)
		assert.False(t, second.get("/work").close)
	}
	busy.begin("/work")

	app.sigterm()
	app.await("sigterm")
	for _, c := range []*client{first, second} {
		r := c.get("/work")
		assert.Equal(t, http.StatusOK, r.code)
		assert.Equal(t, 4, r.connRequest, "on the connection that was idle")
		assert.True(t, r.close)
		assertCut(t, c)
	}
	assert.True(t, busy.finish().close, "in flight at SIGTERM, answered after it")
	for _, target := range []string{"/work", "/work?for=soon", "/readyz", "/livez", "/nowhere"} {
		assert.True(t, app.dial().get(target).close, target)
	}
}

// TestUnreadyWhileLeaving: the readiness probe fails from SIGTERM on, and nothing else does.
func TestUnreadyWhileLeaving(t *testing.T) {
	t.Parallel()
	app := listening(t, "-on-sigterm=delay", "-delay=1h", "-unready")
	c := app.dial()
	assert.Equal(t, http.StatusOK, c.get("/readyz").code)
	app.await("ready")
	app.sigterm()
	app.await("sigterm")
	assert.Equal(t, http.StatusServiceUnavailable, c.get("/readyz").code)
	assert.Equal(t, http.StatusOK, c.get("/livez").code)
	assert.Equal(t, http.StatusOK, c.get("/work").code)
	assert.Equal(t, http.StatusServiceUnavailable, app.dial().get("/readyz").code)
	assert.Equal(t, []string{"start", "listening", "ready", "sigterm"}, app.names(), "ready is told once")
}

// TestShutdownTimeout: a request that takes longer than the bound is cut off.
func TestShutdownTimeout(t *testing.T) {
	t.Parallel()
	const bound = 200 * time.Millisecond
	app := listening(t, "-on-sigterm=shutdown", "-shutdown-timeout", bound.String())
	busy := app.dial()
	busy.begin("/work")

	app.sigterm()
	assertCut(t, busy)
	assert.Equal(t, 1, app.exited().ExitCode())
	assert.Equal(t, []string{"start", "listening", "sigterm", "shutdown-begin", "listener-closed", "shutdown-timeout", "exit"}, app.names(),
		"no last-request where none was answered")
	timeout, exit := app.await("shutdown-timeout"), app.await("exit")
	assert.GreaterOrEqual(t, timeout.UnixNano-app.await("shutdown-begin").UnixNano, bound.Nanoseconds())
	assert.Equal(t, "shut down within 200ms: context deadline exceeded", timeout.Error)
	assert.Equal(t, timeout.Error, exit.Error)
	assert.Equal(t, 1, *exit.Code)
}

// TestUnanswered: what the app had begun and not answered when it gave up is told, twice; what was answered, and
// what doesn't say which it is, is not.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	app := listening(t, "-on-sigterm=shutdown", "-shutdown-timeout=200ms")
	app.dial().work(t, "service/new")
	app.dial().begin("/work")
	for _, seq := range []string{"12", "3"} {
		_, err := io.WriteString(app.dial().conn, "GET /work?for=60s HTTP/1.1\r\nHost: app\r\n"+
			protocol.HeaderLane+": service/slow\r\n"+protocol.HeaderSeq+": "+seq+"\r\n\r\n")
		require.NoError(t, err)
	}
	app.dial().get("/readyz")
	<-time.After(100 * time.Millisecond) // the two have no sign of having been begun
	app.sigterm()
	assert.Equal(t, 1, app.exited().ExitCode())
	want := []protocol.Request{{Lane: "service/slow", Seq: 3}, {Lane: "service/slow", Seq: 12}}
	assert.Equal(t, want, app.await("shutdown-timeout").Unanswered)
	assert.Equal(t, want, app.await("exit").Unanswered)
}

// TestUnansweredIsBounded: a line of the log stays one write, and a request that is over is forgotten.
func TestUnansweredIsBounded(t *testing.T) {
	var b begun
	var over []func()
	for seq := range protocol.MaxUnanswered + 1 {
		over = append(over, b.add("", strconv.Itoa(seq)))
	}
	b.add("", "")()
	assert.Len(t, b.list(), protocol.MaxUnanswered)
	for _, done := range over[1:] {
		done()
	}
	assert.Equal(t, []protocol.Request{{}}, b.list())
}

// TestHangUpEndsWork: work for a client that is gone holds up no Shutdown and is no answer.
func TestHangUpEndsWork(t *testing.T) {
	t.Parallel()
	app := listening(t, "-on-sigterm=shutdown", "-shutdown-timeout=10m")
	gone := app.dial()
	gone.begin("/work?for=60s")
	_, err := gone.conn.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, gone.conn.Close())
	app.sigterm()
	assert.Equal(t, 0, app.exited().ExitCode())
	assert.Equal(t, []string{"start", "listening", "sigterm", "shutdown-begin", "listener-closed", "exit"}, app.names())
}

// TestPreStop: the hook waits while the Pod serves, and a hook that is given up says so.
func TestPreStop(t *testing.T) {
	t.Parallel()
	app := listening(t, "-on-sigterm=shutdown")
	hook := app.dial()
	_, err := hook.conn.Write([]byte("GET /prestop?for=1h HTTP/1.1\r\nHost: app\r\n\r\n"))
	require.NoError(t, err)
	app.await("prestop-start")
	assert.Equal(t, "-1", app.dial().get("/work").header.Get(protocol.HeaderLeaving), "SIGTERM comes after the hook")
	assert.Equal(t, http.StatusOK, app.dial().get("/readyz").code)
	assert.False(t, app.seen("prestop-end"))

	require.NoError(t, hook.conn.Close())
	assert.Equal(t, "the kubelet hung up: context canceled", app.await("prestop-end").Error)
}
