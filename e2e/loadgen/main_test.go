package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a worker at a URL, and what run has returned when it is over.
type running struct {
	url   string
	ended chan error
}

func start(ctx context.Context, t *testing.T, skew time.Duration) running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	r := running{url: "http://" + addr, ended: make(chan error, 1)}
	go func() { r.ended <- run(ctx, addr, skew) }()
	require.Eventually(t, func() bool { return ask(t, http.MethodGet, r.url+"/clock") == http.StatusOK }, 30*time.Second, 5*time.Millisecond)
	return r
}

// ask returns the status of an answer, 0 if there was none.
func ask(t *testing.T, method, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// TestExit: a worker that is let go answers, ends well and listens no more.
func TestExit(t *testing.T) {
	r := start(t.Context(), t, 0)
	assert.Equal(t, http.StatusNoContent, ask(t, http.MethodPost, r.url+"/exit"), "the last answer is still given")
	require.NoError(t, <-r.ended)
	assert.Zero(t, ask(t, http.MethodGet, r.url+"/clock"))
}

// TestStopped: one that is stopped before says so, so that its Pod doesn't look as if it had done its work.
func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := start(ctx, t, 0)
	cancel()
	require.ErrorIs(t, <-r.ended, errUnfinished)
	assert.Zero(t, ask(t, http.MethodGet, r.url+"/clock"))
}

// TestClockSkew: the clock that a worker tells is ahead by as much as it was told to be.
func TestClockSkew(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := start(ctx, t, time.Hour)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/clock", nil)
	require.NoError(t, err)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var reading struct{ UnixNano int64 }
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&reading))
	assert.InDelta(t, time.Hour, time.Until(time.Unix(0, reading.UnixNano)), float64(30*time.Second))
	cancel()
	require.ErrorIs(t, <-r.ended, errUnfinished)
}

// TestAddressInUse: a worker that nobody can reach ends at once.
func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	err = run(t.Context(), l.Addr().String(), 0)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	assert.ErrorContains(t, err, fmt.Sprintf("serve: listen tcp %s: ", l.Addr()))
}
