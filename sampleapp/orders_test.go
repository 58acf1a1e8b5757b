package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// ask sends a request without a body on a connection of its own.
func ask(t *testing.T, p *pipes, line string) reply {
	t.Helper()
	r, err := p.dial(t).try(line + " HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n")
	require.NoError(t, err)
	return r
}

// TestFailingProbes: a probe fails by order, for as long as that says, and work goes on.
func TestFailingProbes(t *testing.T) {
	tests := []struct {
		name  string
		order string
		after time.Duration
		live  int
		ready int
	}{
		{"nothing", "GET /work", 0, 200, 200},
		{"liveness", "POST /fail?probe=livez", time.Hour, 503, 200},
		{"readiness", "POST /fail?probe=readyz", time.Hour, 200, 503},
		{"readiness for a time, in it", "POST /fail?probe=readyz&for=5s", 5*time.Second - 1, 200, 503},
		{"readiness for a time, after it", "POST /fail?probe=readyz&for=5s", 5 * time.Second, 200, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onFakeClock(t, config{}, func(t *testing.T, _ *server, p *pipes) {
				require.Equal(t, http.StatusOK, ask(t, p, tt.order).code)
				time.Sleep(tt.after)
				assert.Equal(t, tt.live, ask(t, p, "GET /livez").code)
				assert.Equal(t, tt.ready, ask(t, p, "GET /readyz").code)
				assert.Equal(t, protocol.Body, ask(t, p, "GET /work").body)
			})
		})
	}
}

// TestExitByOrder: the process ends when the answer has been written.
func TestExitByOrder(t *testing.T) {
	onFakeClock(t, config{}, func(t *testing.T, s *server, p *pipes) {
		code := make(chan int, 1)
		s.exit = func(c int) { code <- c }
		assert.Equal(t, "ending\n", ask(t, p, "POST /exit?code=42").body)
		assert.Equal(t, 42, <-code)
	})
	app := listening(t)
	r, err := app.dial().try("POST /exit?code=42 HTTP/1.1\r\nHost: app\r\nContent-Length: 0\r\n\r\n")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, r.code)
	assert.Equal(t, 42, app.exited().ExitCode())
	assert.NotContains(t, app.names(), protocol.EventExit, "as after a crash")
}

// TestBadOrders: what isn't an order changes nothing.
func TestBadOrders(t *testing.T) {
	tests := []struct {
		name  string
		order string
		body  string
		want  int
	}{
		{"looked at", "GET /fail?probe=livez", "want POST", 405},
		{"no probe", "POST /fail", `probe="": want livez or readyz`, 400},
		{"unknown probe", "POST /fail?probe=startup", `probe="startup": want livez or readyz`, 400},
		{"no time", "POST /fail?probe=livez&for=long", `for="long": want a duration`, 400},
		{"exit, looked at", "GET /exit?code=1", "want POST", 405},
		{"no code", "POST /exit", `code="": want an exit code from 0 to 255`, 400},
		{"no exit code", "POST /exit?code=256", `code="256": want an exit code`, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onFakeClock(t, config{}, func(t *testing.T, s *server, p *pipes) {
				s.exit = func(int) { t.Error("ended") }
				r := ask(t, p, tt.order)
				assert.Contains(t, r.body, tt.body)
				assert.Equal(t, tt.want, r.code)
				assert.Equal(t, 200, ask(t, p, "GET /livez").code)
			})
		})
	}
}

// TestStranger: a stranger's answer is told from the app's by its body, and by nothing else.
func TestStranger(t *testing.T) {
	onFakeClock(t, config{stranger: true}, func(t *testing.T, _ *server, p *pipes) {
		r := ask(t, p, "GET /work")
		assert.Equal(t, http.StatusOK, r.code)
		assert.Equal(t, protocol.StrangerBody, r.body)
		assert.NotEqual(t, protocol.Body, r.body)
	})
}
