package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// pipes is a listener without a network, so that a server can run on the fake clock of a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// dial opens a connection to the server behind p.
func (p *pipes) dial(t *testing.T) *client {
	near, far := net.Pipe()
	p.conns <- far
	return newClient(t, near)
}

// onFakeClock runs test in a bubble, with a server that is closed at its end, and returns the server's life log.
func onFakeClock(t *testing.T, cfg config, test func(t *testing.T, s *server, p *pipes)) string {
	t.Helper()
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		life := &lifeLog{out: &log, pod: "pod-1"}
		s := &server{config: cfg, pod: "pod-1", life: life, terminator: newTerminator(cfg, life)}
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		httpServer := s.httpServer()
		served := make(chan error)
		go func() { served <- httpServer.Serve(p) }()
		test(t, s, p)
		require.NoError(t, httpServer.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return log.String()
}

func TestAnswers(t *testing.T) {
	tests := []struct {
		name     string
		request  string // first line
		wantBody string // part of it, all of it for 200
		wantTime time.Duration
		want     int
	}{
		{"work", "GET /work", protocol.Body, 0, 200},
		{"work for no time", "GET /work?for=0s", protocol.Body, 0, 200},
		{"work that takes time", "POST /work?for=2s", protocol.Body, 2 * time.Second, 200},
		{"longest work", "GET /work?for=60s", protocol.Body, time.Minute, 200},
		{"too much work", "GET /work?for=60.001s", `for="60.001s": want a duration from 0s to 1m0s`, 0, 400},
		{"negative work", "GET /work?for=-1ms", `for="-1ms": want a duration`, 0, 400},
		{"work without a unit", "GET /work?for=2", `for="2": want a duration`, 0, 400},
		{"empty work", "GET /work?for=", `for="": want a duration`, 0, 400},
		{"unreadable query", "GET /work?for=2s;x", "read the query: invalid semicolon", 0, 400},
		{"method", "PUT /work", "want GET or POST", 0, 405},
		{"below work", "GET /work/1", "no such path", 0, 404},
		{"root", "GET /", "no such path", 0, 404},
		{"unclean path", "GET //work", "no such path", 0, 404},
		{"ready", "GET /readyz", "ready\n", 0, 200},
		{"live", "GET /livez", "live\n", 0, 200},
		{"ledger", "GET /ledger", "null\n", 0, 200},
		{"metrics", "GET /metrics", "# TYPE zerodrop_leaving gauge\nzerodrop_leaving 0\n# TYPE zerodrop_tasks gauge\nzerodrop_tasks 0\n# TYPE zerodrop_answered_total counter\nzerodrop_answered_total 0\n# TYPE zerodrop_lane_answered_total counter\n", 0, 200},
		{"hook", "GET /prestop?for=15s", "waited\n", 15 * time.Second, 200},
		{"hook longer than grace", "GET /prestop?for=40s", "waited\n", 40 * time.Second, 200},
		{"hook without time", "GET /prestop", `for="": want a duration from 0s to 1h0m0s`, 0, 400},
		{"endless hook", "GET /prestop?for=61m", `for="61m": want`, 0, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onFakeClock(t, config{}, func(t *testing.T, _ *server, p *pipes) {
				begun := time.Now()
				r, err := p.dial(t).try(tt.request + " HTTP/1.1\r\nHost: app\r\n\r\n")
				require.NoError(t, err)
				assert.Equal(t, tt.wantTime, time.Since(begun))
				if tt.want == 200 {
					assert.Equal(t, tt.wantBody, r.body)
				} else {
					assert.Contains(t, r.body, tt.wantBody)
				}
				assert.Equal(t, "pod-1", r.header.Get("Zerodrop-Pod"))
				assert.Equal(t, "-1", r.header.Get(protocol.HeaderLeaving))
				assert.Equal(t, 1, r.conn)
				assert.Equal(t, 1, r.connRequest)
				assert.False(t, r.close)
				assert.Equal(t, tt.want, r.code)
			})
		})
	}
}

// TestBodyIsReadFirst: the work begins when the request is complete, and what was read doesn't matter.
func TestBodyIsReadFirst(t *testing.T) {
	log := onFakeClock(t, config{}, func(t *testing.T, s *server, p *pipes) {
		begun := time.Now()
		c := p.dial(t)
		body := strings.Repeat("0123456789abcdef", 64<<10) // 1 MiB, more than net/http would read by itself after an answer
		_, err := fmt.Fprintf(c.conn, "POST /work?for=1s HTTP/1.1\r\nHost: app\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:len(body)/2])
		require.NoError(t, err)
		<-time.After(10 * time.Second)
		r, err := c.try(body[len(body)/2:])
		require.NoError(t, err)
		assert.Equal(t, protocol.Body, r.body)
		assert.Equal(t, 11*time.Second, time.Since(begun))
		assert.Equal(t, 2, c.get("/work").connRequest, "the connection is still good")
		synctest.Wait() // an answer is counted when it has been written, which is when the client has it already
		n, last, _ := s.answered.total()
		assert.EqualValues(t, 2, n)
		assert.Equal(t, 11*time.Second, last.Sub(begun))
	})
	assert.Empty(t, log, "no access log")
}

// TestIdleConnectionsAreKept: the server never closes an idle connection during a run, while a client that never says anything is dropped.
func TestIdleConnectionsAreKept(t *testing.T) {
	onFakeClock(t, config{}, func(t *testing.T, _ *server, p *pipes) {
		c := p.dial(t)
		for i := range 3 {
			assert.Equal(t, i+1, c.get("/work").connRequest)
			<-time.After(15 * time.Minute)
		}
		begun := time.Now()
		silent := p.dial(t)
		_, err := silent.in.ReadByte()
		assert.ErrorIs(t, err, io.EOF)
		assert.Equal(t, readHeaderTimeout, time.Since(begun))
	})
}

// TestLeavingMilliseconds: counted from SIGTERM, the same on all connections, to the microsecond.
func TestLeavingMilliseconds(t *testing.T) {
	log := onFakeClock(t, config{onSIGTERM: actionIgnore}, func(t *testing.T, s *server, p *pipes) {
		c := p.dial(t)
		assert.Equal(t, "-1", c.get("/work").header.Get("Zerodrop-Leaving-Ms"))
		s.terminator.begin(time.Now())
		assert.Equal(t, "0.000", c.get("/work").header.Get("Zerodrop-Leaving-Ms"))
		<-time.After(1234567890 * time.Nanosecond)
		assert.Equal(t, "1234.568", c.get("/work").header.Get("Zerodrop-Leaving-Ms"))
		assert.Equal(t, "3234.568", p.dial(t).get("/work?for=2s").header.Get("Zerodrop-Leaving-Ms"), "of the answer, not of the arrival")
	})
	assert.Equal(t, 1, strings.Count(log, "\n"))
	assert.Contains(t, log, `"event":"sigterm"`)
}

// TestConnectionAndRequestNumbers: many connections at once; each has a number of its own, and its requests are numbered from 1 without gaps.
func TestConnectionAndRequestNumbers(t *testing.T) {
	t.Parallel()
	const connections, requests = 20, 10
	app := listening(t, "-on-sigterm=shutdown")
	clients := make([]*client, connections)
	for i := range clients {
		clients[i] = app.dial()
	}
	numbers := make([][]int, connections)
	var group sync.WaitGroup
	for i, c := range clients {
		group.Go(func() {
			for n := range requests {
				target := "/work"
				if n%3 == 0 {
					target = "/livez" // a request like any other on this connection, but none of /work
				}
				r, err := c.try("GET " + target + " HTTP/1.1\r\nHost: app\r\n\r\n")
				if !assert.NoError(t, err) {
					return
				}
				assert.Equal(t, n+1, r.connRequest)
				assert.Equal(t, app.pod, r.header.Get("Zerodrop-Pod"))
				numbers[i] = append(numbers[i], r.conn)
			}
		})
	}
	group.Wait()

	owner := map[int]int{}
	for i, of := range numbers {
		require.Len(t, of, requests)
		for _, number := range of {
			assert.Equal(t, of[0], number, "one connection, one number")
		}
		assert.Positive(t, of[0])
		assert.LessOrEqual(t, of[0], connections)
		_, taken := owner[of[0]]
		assert.False(t, taken, "connection number %d twice", of[0])
		owner[of[0]] = i
	}

	app.sigterm()
	app.exited()
	assert.EqualValues(t, connections*6, app.await("last-request").Requests)
}

func TestPodName(t *testing.T) {
	t.Setenv("POD_NAME", "web-7f9c-x2v")
	name, err := podName()
	require.NoError(t, err)
	assert.Equal(t, "web-7f9c-x2v", name)

	t.Setenv("POD_NAME", "")
	name, err = podName()
	require.NoError(t, err)
	assert.NotEmpty(t, name)
}

// work sends a request to /work as one of a lane; "" for one that is of none.
func (c *client) work(t *testing.T, lane string) reply {
	t.Helper()
	header := ""
	if lane != "" {
		header = protocol.HeaderLane + ": " + lane + "\r\n"
	}
	r, err := c.try("GET /work HTTP/1.1\r\nHost: app\r\n" + header + "\r\n")
	require.NoError(t, err)
	return r
}

// TestLedger: what was answered, by lane, as far as requests say which lane they are of.
func TestLedger(t *testing.T) {
	tests := []struct {
		name  string
		lanes []string // of the requests
		want  string
	}{
		{"nothing answered", nil, "null\n"},
		{"of no lane", []string{"", ""}, "null\n"},
		{"of one lane", []string{"service/new", "service/new"}, `{"service/new":2}` + "\n"},
		{"of several, and of none", []string{"service/new", "", "nodeport/slow", "service/new"}, `{"nodeport/slow":1,"service/new":2}` + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onFakeClock(t, config{}, func(t *testing.T, s *server, p *pipes) {
				c := p.dial(t)
				for _, lane := range tt.lanes {
					assert.Equal(t, http.StatusOK, c.work(t, lane).code)
				}
				synctest.Wait() // an answer is counted when it has been written
				for range 2 {
					r := c.get("/ledger")
					assert.Equal(t, http.StatusOK, r.code)
					assert.Equal(t, tt.want, r.body, "to ask changes nothing")
				}
				n, _, lanes := s.answered.total()
				assert.EqualValues(t, len(tt.lanes), n, "those of no lane are counted, too")
				metrics := c.get("/metrics").body
				assert.Contains(t, metrics, fmt.Sprintf("\nzerodrop_answered_total %d\n", n))
				for lane, n := range lanes {
					assert.Contains(t, metrics, fmt.Sprintf("\nzerodrop_lane_answered_total{lane=%q} %d\n", lane, n))
				}
			})
		})
	}
}

// TestLedgerCountsAnswers: a request that nobody was there to be answered for is not in it, one that was answered badly is.
func TestLedgerCountsAnswers(t *testing.T) {
	onFakeClock(t, config{}, func(t *testing.T, s *server, p *pipes) {
		gone := p.dial(t)
		_, err := io.WriteString(gone.conn, "GET /work?for=10s HTTP/1.1\r\nHost: app\r\n"+protocol.HeaderLane+": a/new\r\n\r\n")
		require.NoError(t, err)
		<-time.After(time.Second)
		require.NoError(t, gone.conn.Close())
		r, err := p.dial(t).try("GET /work?for=soon HTTP/1.1\r\nHost: app\r\n" + protocol.HeaderLane + ": a/new\r\n\r\n")
		require.NoError(t, err)
		assert.Equal(t, http.StatusBadRequest, r.code)
		<-time.After(time.Minute)
		_, _, lanes := s.answered.total()
		assert.Equal(t, map[string]int64{"a/new": 1}, lanes)
	})
}

// TestTally: what a client can make the ledger remember is bounded, and lanes that are in it go on to be counted.
func TestTally(t *testing.T) {
	var l tally
	first := time.Unix(1700000000, 0)
	for i := range maxLanes + 50 {
		l.add(first.Add(time.Duration(i)*time.Second), fmt.Sprint("lane-", i))
	}
	l.add(first, "lane-0")
	l.add(first, "one too many")
	n, last, lanes := l.total()
	assert.EqualValues(t, maxLanes+52, n)
	assert.Equal(t, first.Add((maxLanes+49)*time.Second), last, "the latest, in whatever order they come")
	assert.Len(t, lanes, maxLanes)
	assert.EqualValues(t, 2, lanes["lane-0"])
	assert.EqualValues(t, 1, lanes[fmt.Sprint("lane-", maxLanes-1)])
	assert.NotContains(t, lanes, "one too many")
	assert.NotContains(t, lanes, fmt.Sprint("lane-", maxLanes))

	lanes["lane-0"] = 77
	_, _, again := l.total()
	assert.EqualValues(t, 2, again["lane-0"], "a copy")
}

// TestLastWords: the ledger of a process that goes is in its last words.
func TestLastWords(t *testing.T) {
	t.Parallel()
	app := listening(t, "-on-sigterm=shutdown")
	c := app.dial()
	for _, lane := range []string{"service/new", "", "service/new", "nodeport/slow"} {
		c.work(t, lane)
	}
	app.sigterm()
	require.Equal(t, 0, app.exited().ExitCode())
	last := app.await("last-request")
	assert.EqualValues(t, 4, last.Requests)
	assert.Equal(t, map[string]int64{"service/new": 2, "nodeport/slow": 1}, last.Lanes)
}

// TestFailEvery: which requests are failed, of one lane or another, and that each is told before its client can know.
func TestFailEvery(t *testing.T) {
	tests := []struct {
		name  string
		every int
		path  string
		lane  string
		seq   string
		want  bool
	}{
		{"the first", 3, "/work", "service/new", "0", true},
		{"a multiple", 3, "/work", "service/slow", "9", true},
		{"one between", 3, "/work", "service/new", "10", false},
		{"every one", 1, "/work", "service/new", "7", true},
		{"none", 0, "/work", "service/new", "0", false},
		{"a request that isn't of the load", 3, "/work", "", "", false},
		{"a number that is none", 3, "/work", "service/new", "0x3", false},
		{"a probe", 3, "/readyz", "service/new", "3", false},
		{"bad work", 3, "/work?for=x", "service/new", "3", false},
		{"after its work", 3, "/work?for=20ms", "service/slow", "3", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			app := listening(t, "-on-sigterm=shutdown", fmt.Sprintf("-fail-every=%d", tt.every))
			c := app.dial()
			begun := time.Now()
			_, err := c.try("GET " + tt.path + " HTTP/1.1\r\nHost: app\r\n" + protocol.HeaderLane + ": " + tt.lane + "\r\n" + protocol.HeaderSeq + ": " + tt.seq + "\r\n\r\n")
			if !tt.want {
				require.NoError(t, err)
				assert.False(t, app.seen("failed-request"))
				return
			}
			require.ErrorIs(t, err, syscall.ECONNRESET, "reset, not closed")
			if strings.Contains(tt.path, "for=") {
				assert.GreaterOrEqual(t, time.Since(begun), 20*time.Millisecond)
			}
			told := app.await("failed-request")
			assert.Equal(t, tt.lane, told.Lane)
			require.NotNil(t, told.Seq)
			assert.Equal(t, tt.seq, fmt.Sprint(*told.Seq))
			assert.Equal(t, http.StatusOK, app.dial().get("/work").code, "others go well")
			app.sigterm()
			assert.Equal(t, 0, app.exited().ExitCode())
			assert.EqualValues(t, 1, app.await("last-request").Requests, "what failed was not answered")
			assert.Equal(t, 1, strings.Count(strings.Join(app.names(), " "), "failed-request"))
		})
	}
}
