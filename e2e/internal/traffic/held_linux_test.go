package traffic

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// buildApp builds the sample app. It runs as a process of its own, so that both sides' ledgers are real, and so are their ends.
func buildApp(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "sampleapp")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", path, "../../../sampleapp").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// heldApp is the sample app, running.
type heldApp struct {
	addr, grpc string
	cmd        *exec.Cmd
	ended      chan struct{}

	mu       sync.Mutex
	held     []protocol.Held
	answered map[string]int64 // by lane, as it says when it ends
}

func startApp(t *testing.T, path, addr string, args ...string) *heldApp {
	t.Helper()
	a, err := launch(path, addr, args...)
	require.NoError(t, err)
	t.Cleanup(func() { a.stop(syscall.SIGKILL) })
	return a
}

func launch(path, addr string, args ...string) (*heldApp, error) {
	a := &heldApp{ended: make(chan struct{})}
	a.cmd = exec.Command(path, append([]string{"-addr=" + addr, "-grpc-addr=127.0.0.1:0", "-on-sigterm=shutdown"}, args...)...)
	a.cmd.Env = append(os.Environ(), "POD_NAME=app-1")
	stdout, err := a.cmd.StdoutPipe()
	if err := errors.Join(err, a.cmd.Start()); err != nil {
		return nil, err
	}
	listening := make(chan protocol.Event, 1)
	go func() {
		defer close(a.ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var e protocol.Event
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				continue
			}
			switch e.Event {
			case protocol.EventListening:
				listening <- e
			case protocol.EventLastRequest:
				a.mu.Lock()
				a.answered = e.Lanes
				a.mu.Unlock()
			case protocol.EventHeldEnded:
				a.mu.Lock()
				a.held = append(a.held, *e.Held)
				a.mu.Unlock()
			}
		}
	}()
	select {
	case e := <-listening:
		a.addr, a.grpc = e.Addr, e.GRPC
		return a, nil
	case <-a.ended:
		return nil, errors.New("the app doesn't start")
	}
}

// url is where a load finds the app.
func (a *heldApp) url(load scenarios.Load) string { return urlOf(load, a.addr, a.grpc) }

func urlOf(load scenarios.Load, http, grpc string) string {
	if load.Driver == scenarios.GRPCStream {
		return "passthrough:///" + grpc
	}
	return "http://" + http
}

func (a *heldApp) stop(signal os.Signal) {
	_ = a.cmd.Process.Signal(signal)
	<-a.ended
	_ = a.cmd.Wait()
}

// told is the app's ledger when it has been told to end.
func (a *heldApp) told() []protocol.Held {
	a.stop(syscall.SIGTERM)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.held
}

// heldLoads are all protocols, with as many clients.
func heldLoads(rate, clients int) []scenarios.Load {
	loads := []scenarios.Load{scenarios.Sockets(rate), scenarios.Events(rate), scenarios.Streams(rate)}
	for i := range loads {
		loads[i].Clients = clients
	}
	return loads
}

// connection names one on both sides.
type connection struct{ client, number int }

// assertLedgersAgree holds the client's side against the app's: each connection is on both, and nothing came that wasn't sent.
func assertLedgersAgree(t *testing.T, clients []timeline.Held, app []protocol.Held) {
	t.Helper()
	theirs := map[connection]protocol.Held{}
	for _, h := range app {
		theirs[connection{h.Client, h.Number}] = h
	}
	require.Len(t, theirs, len(app), "each once")
	next := map[int]int{}
	for _, h := range clients {
		assert.Equal(t, next[h.Client]+1, h.Number, "client %d", h.Client)
		next[h.Client] = h.Number + h.Tried
		other, known := theirs[connection{h.Client, h.Number}]
		assert.True(t, known, "%+v", h)
		for n := h.Number; n <= next[h.Client]; n++ { // what failed for the client, the app may have answered
			delete(theirs, connection{h.Client, n})
		}
		assert.LessOrEqual(t, h.Answered, other.Echoed, "%+v %+v", h, other)
		assert.LessOrEqual(t, other.Received, h.Sent, "%+v %+v", h, other)
		assert.LessOrEqual(t, h.Last, other.Last, "%+v %+v", h, other)
		assert.Equal(t, "app-1", h.Pod)
		assert.NotZero(t, h.Port)
		assert.Less(t, h.Opened, h.Ended)
	}
	assert.Empty(t, theirs, "connections that no client knows")
}

// assertMessagesAgree holds the messages that arrived against those that the app says it has sent, as the verdict does (ledgersAgree, heldSlack).
func assertMessagesAgree(t *testing.T, record timeline.LaneRecord, app *heldApp) {
	t.Helper()
	arrived, dropped, early := 0, 0, 0
	for _, r := range record.Requests {
		switch r.Cause {
		case timeline.OK, timeline.WrongBody:
			arrived++
		default:
			dropped++
		}
	}
	early -= arrived
	for _, h := range record.Held {
		early += h.Answered
		if h.End != timeline.HeldLeft {
			early++
		}
	}
	more := int(app.answered[record.Name]) - arrived
	assert.GreaterOrEqual(t, more, 0)
	assert.LessOrEqual(t, more, dropped+max(0, early), "%d arrived, %d dropped", arrived, dropped)
}

// TestHeldClients: messages come home, clients stay for their time and leave, and others come in their place, on both ledgers.
func TestHeldClients(t *testing.T) {
	path := buildApp(t)
	for _, load := range heldLoads(100, 10) {
		t.Run(load.Name, func(t *testing.T) {
			app := startApp(t, path, "127.0.0.1:0")
			load.Stays = scenarios.Stays{Min: 200 * time.Millisecond, Max: 500 * time.Millisecond}
			record := send(t, load, app.url(load), 200)
			assert.Equal(t, map[timeline.Cause]int{timeline.OK: 200}, count(record))
			for seq, r := range record.Requests {
				assert.EqualValues(t, 1, r.Attempts, "message %d", seq)
				assert.Equal(t, "app-1", record.PodOf(r))
				assert.NotZero(t, r.ConnUse)
			}
			assertLedgersAgree(t, record.Held, app.told())
			assertMessagesAgree(t, record, app)
			assert.Greater(t, len(record.Held), 30, "each stays for 350 ms of 2 s in the mean")
			for _, h := range record.Held {
				assert.Equal(t, timeline.HeldLeft, h.End, "%+v", h)
				assert.Less(t, h.Ended-h.Opened, 5*time.Second)
			}
		})
	}
}

// TestHeldShards: senders that share a lane have their clients between them.
func TestHeldShards(t *testing.T) {
	path := buildApp(t)
	for _, load := range heldLoads(100, 5) {
		app := startApp(t, path, "127.0.0.1:0")
		ledger, end := NewLedger(), &End{}
		const last = 600 * time.Millisecond
		end.Set(last)
		lane := Lane{Name: "test/" + load.Name, URL: app.url(load), Start: 100 * time.Millisecond, Load: load}
		clock := timeline.NewClock(time.Now())
		var senders sync.WaitGroup
		for i := range 2 {
			senders.Go(func() {
				assert.NoError(t, SendShard(lane, Plan{Clock: clock, End: end, Max: time.Minute, Shard: Shard{i, 2}}, ledger))
			})
		}
		senders.Wait()
		record := ledger.Record(lane, last)
		assert.Equal(t, map[timeline.Cause]int{timeline.OK: record.Planned}, count(record))
		var clients []int
		for _, h := range record.Held {
			clients = append(clients, h.Client)
		}
		assert.Equal(t, []int{0, 1, 2, 3, 4, 5}, clients, "three each: five don't divide evenly")
		assertLedgersAgree(t, record.Held, app.told())
	}
}

// TestHeldTruth: whichever connections the app has cut, announced, stalled or echoed wrongly, by its own ledger, the client names as such, and no others.
func TestHeldTruth(t *testing.T) {
	path := buildApp(t)
	const trials = 59 // with none wrong, less than one in twenty is, with 95 %
	for _, load := range heldLoads(500, 150) {
		load.Timeout = time.Second
		for fault, want := range map[string]timeline.HeldEnd{
			"cut": timeline.HeldCut, "announce": timeline.HeldAnnounced, "stall": timeline.HeldSilent, "wrong": timeline.HeldLeft,
		} {
			t.Run(load.Name+" "+fault, func(t *testing.T) {
				t.Parallel()
				app := startApp(t, path, "127.0.0.1:0", "-held-fault="+fault, "-held-fault-every=2")
				record := send(t, load, app.url(load), 1500)
				told := app.told()
				assertLedgersAgree(t, record.Held, told)
				assertMessagesAgree(t, record, app)
				failed := map[connection]bool{}
				for _, h := range told {
					if h.Fault != "" {
						failed[connection{h.Client, h.Number}] = true
					}
				}
				require.GreaterOrEqual(t, len(failed), trials)
				last := record.Requests[len(record.Requests)-1].Planned
				exact := 0
				for _, h := range record.Held {
					of := connection{h.Client, h.Number}
					if h.Ended > last { // it may have been leaving when the fault came
						delete(failed, of)
						continue
					}
					if failed[of] {
						assert.Equal(t, want, h.End, "%+v", h)
						exact++
					} else {
						assert.Equal(t, timeline.HeldLeft, h.End, "%+v", h)
					}
					assert.Equal(t, fault == "wrong" && failed[of], h.Wrong > 0, "%+v", h)
				}
				if fault == "wrong" { // it goes on until the end of the load
					for _, h := range record.Held {
						if h.Wrong > 0 {
							exact++
						}
					}
				}
				assert.GreaterOrEqual(t, exact, trials)
			})
		}
	}
}

// TestHeldComeBack: the app is killed, and back after a while. Every client knows that it was cut, and for how long it was away.
func TestHeldComeBack(t *testing.T) {
	path := buildApp(t)
	loads := append(heldLoads(100, 20), scenarios.SocketsBackoff(100), scenarios.EventsBackoff(100), scenarios.StreamsBackoff(100))
	for _, load := range loads {
		t.Run(load.Name, func(t *testing.T) {
			t.Parallel()
			const outage = 300 * time.Millisecond
			load.Clients = 20
			app := startApp(t, path, "127.0.0.1:0")
			begun := time.Now()
			back := make(chan *heldApp)
			go func() {
				<-time.After(time.Second)
				app.stop(syscall.SIGKILL)
				<-time.After(outage)
				again, err := launch(path, app.addr, "-grpc-addr="+app.grpc)
				assert.NoError(t, err)
				back <- again
			}()
			var record timeline.LaneRecord
			sent := make(chan error, 1)
			go func() {
				var err error
				record, err = sendUntil(load, app.url(load), 5*time.Second)
				sent <- err
			}()
			again := <-back
			require.NotNil(t, again)
			away := time.Since(begun)
			require.NoError(t, <-sent)
			again.told()
			cut := 0
			for _, h := range record.Held {
				if h.Number > 1 {
					assert.Equal(t, timeline.HeldLeft, h.End, "%+v", h)
					continue
				}
				cut++
				assert.Equal(t, timeline.HeldCut, h.End, "%+v", h)
				assert.GreaterOrEqual(t, h.Back, outage, "%+v", h)
				switch {
				case load.Reconnect == scenarios.Immediately:
					assert.Less(t, h.Back, away, "%+v", h)
					assert.NotZero(t, h.Tried)
					assert.Equal(t, "refused", h.Failed)
				case load.Driver == scenarios.GRPCStream: // whose first attempt is made at once, and may meet the process as it ends
					assert.NotZero(t, h.Tried)
					assert.Contains(t, []string{"refused", "reset", "eof"}, h.Failed)
				default:
					assert.GreaterOrEqual(t, h.Back, socketIO.first/2)
				}
			}
			assert.Equal(t, 20, cut)
			causes := count(record)
			assert.LessOrEqual(t, causes[timeline.Reset]+causes[timeline.EOF], 20, "what was under way")
			delete(causes, timeline.Reset)
			delete(causes, timeline.EOF)
			delete(causes, timeline.OK)
			assert.Empty(t, causes, "what falls due while its client is away waits, and is late")
		})
	}
}

// TestHeldNobody: where there is no server, messages are dropped by what keeps the clients away.
func TestHeldNobody(t *testing.T) {
	for _, load := range heldLoads(50, 5) {
		load.Timeout = 300 * time.Millisecond
		host := strings.TrimPrefix(nobody(t), "http://")
		record := send(t, load, urlOf(load, host, host), 10)
		assert.Equal(t, map[timeline.Cause]int{timeline.Refused: 10}, count(record))
		assert.Empty(t, record.Held)
		assert.NotZero(t, record.Requests[9].Port)
	}
}

// TestHeldAnnounced: on SIGTERM the app closes its connections as it is told to, and clients know by what.
func TestHeldAnnounced(t *testing.T) {
	path := buildApp(t)
	for _, load := range heldLoads(100, 10) {
		app := startApp(t, path, "127.0.0.1:0", "-held=close")
		go func() {
			<-time.After(500 * time.Millisecond)
			_ = app.cmd.Process.Signal(syscall.SIGTERM)
		}()
		load.Timeout = time.Second
		record, err := sendUntil(load, app.url(load), time.Second)
		require.NoError(t, err)
		assertLedgersAgree(t, record.Held, app.told())
		assertMessagesAgree(t, record, app)
		said := map[string]string{scenarios.WebSocket: "close frame 1001", scenarios.SSE: "end of stream", scenarios.GRPCStream: "status Unavailable"}[load.Driver]
		for _, h := range record.Held {
			assert.Equal(t, timeline.HeldAnnounced, h.End, "%+v", h)
			assert.Equal(t, said, h.Detail)
		}
		assert.GreaterOrEqual(t, len(record.Held), 10)
	}
}

// TestPauseBefore: the delays are those of the ecosystems, and all of their range is used.
func TestPauseBefore(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	tests := []struct {
		name     string
		load     scenarios.Load
		tried    int
		min, max time.Duration
	}{
		{"at once", scenarios.Sockets(1), 0, 0, 0},
		{"again", scenarios.Sockets(1), 1, 100 * ms, 100 * ms},
		{"and again", scenarios.Sockets(1), 50, 100 * ms, 100 * ms},
		{"gRPC, immediately", scenarios.Streams(1), 1, 100 * ms, 100 * ms},
		{"first", scenarios.SocketsBackoff(1), 0, 500 * ms, 1500 * ms},
		{"second", scenarios.SocketsBackoff(1), 1, s, 3 * s},
		{"third", scenarios.EventsBackoff(1), 2, 2 * s, 5 * s},
		{"fourth", scenarios.EventsBackoff(1), 3, 4 * s, 5 * s},
		{"hundredth", scenarios.SocketsBackoff(1), 99, 5 * s, 5 * s},
		{"gRPC, first", scenarios.StreamsBackoff(1), 0, 0, 0},
		{"gRPC, second", scenarios.StreamsBackoff(1), 1, 800 * ms, 1200 * ms},
		{"gRPC, third", scenarios.StreamsBackoff(1), 2, 1280 * ms, 1920 * ms},
		{"gRPC, fourth", scenarios.StreamsBackoff(1), 3, 2048 * ms, 3072 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			chance := rand.New(rand.NewPCG(1, 2))
			d := &heldDriver{driverConfig: driverConfig{lane: Lane{Load: tt.load}}}
			least, most := time.Hour, time.Duration(0)
			for range 1000 {
				pause := d.pauseBefore(tt.tried, chance)
				least, most = min(least, pause), max(most, pause)
			}
			assert.GreaterOrEqual(t, least, tt.min)
			assert.LessOrEqual(t, most, tt.max)
			assert.LessOrEqual(t, float64(least-tt.min)+float64(tt.max-most), 0.02*float64(time.Second)+0.02*float64(tt.max))
		})
	}
}

// TestStays: clients stay for times that are spread evenly, and are the same for the same seed.
func TestStays(t *testing.T) {
	stays := scenarios.Sockets(1).Stays
	var sum time.Duration
	const n = 1000
	for client := range uint64(n) {
		draw := func() time.Duration { return staysFor(stays, rand.New(rand.NewPCG(1, client<<32|1))) }
		d := draw()
		assert.Equal(t, d, draw())
		assert.GreaterOrEqual(t, d, stays.Min)
		assert.LessOrEqual(t, d, stays.Max)
		sum += d
	}
	assert.InDelta(t, float64(stays.Min+stays.Max)/2, float64(sum)/n, float64(2*time.Second))
}

func TestEventStream(t *testing.T) {
	const text = ": a comment\n\nid: 7\ndata: 7 -1 ok\n\nevent: x\r\ndata:one\r\ndata: two\r\n\r\ndata: cut"
	s := &eventStream{body: bufio.NewReader(strings.NewReader(text))}
	for _, want := range []string{"7 -1 ok", "one\ntwo"} {
		got, err := s.receive()
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	_, err := s.receive()
	require.ErrorIs(t, err, io.EOF, "an event without its end is none")
	said, confirms := s.word(err)
	assert.Equal(t, "end of stream", said)
	assert.True(t, confirms)
	said, _ = s.word(io.ErrUnexpectedEOF)
	assert.Empty(t, said)
}

// TestHeldEnd: who has ended a connection, by the client's own word and by the server's.
func TestHeldEnd(t *testing.T) {
	closed := func(code websocket.StatusCode) error { return websocket.CloseError{Code: code} }
	tests := []struct {
		name       string
		left       bool
		silent     bool
		err, wire  error
		wantDetail string
		wantCause  timeline.Cause
		want       timeline.HeldEnd
	}{
		{"left", true, false, closed(1000), nil, "close frame 1000", timeline.Other, timeline.HeldLeft},
		{"left, and the server too", true, false, closed(1001), nil, "the client was leaving: close frame 1001", timeline.Other, timeline.HeldUnknown},
		{"left, and cut", true, false, io.EOF, syscall.ECONNRESET, "the client was leaving: reset", timeline.Reset, timeline.HeldUnknown},
		{"left, and no word", true, false, os.ErrDeadlineExceeded, os.ErrDeadlineExceeded, "the client was leaving: no answer in time", timeline.Timeout, timeline.HeldUnknown},
		{"announced", false, false, closed(1001), nil, "close frame 1001", timeline.GoAway, timeline.HeldAnnounced},
		{"announced as done", false, false, closed(1000), nil, "close frame 1000", timeline.GoAway, timeline.HeldAnnounced},
		{"FIN", false, false, io.EOF, io.EOF, "FIN without a word", timeline.EOF, timeline.HeldCut},
		{"RST", false, false, errors.New("failed"), syscall.ECONNRESET, "reset", timeline.Reset, timeline.HeldCut},
		{"silent", false, true, net.ErrClosed, net.ErrClosed, "no answer in time", timeline.Timeout, timeline.HeldSilent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &heldConn{heldStream: &socket{}, raw: &conn{}, left: tt.left, silent: tt.silent}
			if tt.wire != nil {
				c.raw.ended.Store(&tt.wire)
			}
			end, detail, cause := c.end(tt.err)
			assert.Equal(t, tt.want, end)
			assert.Equal(t, tt.wantDetail, detail)
			if tt.want != timeline.HeldLeft { // nothing is under way then
				assert.Equal(t, tt.wantCause, cause)
			}
		})
	}
}

// TestHeldBudget: 1,000 connections and 500 messages a second leave as planned, and a connection costs its sender 32 KiB at most, or what gRPC costs.
func TestHeldBudget(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds, and a core")
	}
	budgets := map[string]int{scenarios.WebSocket: 32 << 10, scenarios.SSE: 32 << 10, scenarios.GRPCStream: 72 << 10}
	path := buildApp(t)
	for _, load := range heldLoads(500, scenarios.MaxClients) {
		t.Run(load.Name, func(t *testing.T) {
			app := startApp(t, path, "127.0.0.1:0")
			const length = 6 * time.Second
			before := inUse()
			var record timeline.LaneRecord
			sent := make(chan error, 1)
			go func() {
				var err error
				record, err = sendUntil(load, app.url(load), length)
				sent <- err
			}()
			<-time.After(length / 2)
			each := (inUse() - before) / scenarios.MaxClients
			goroutines := runtime.NumGoroutine() / scenarios.MaxClients
			require.NoError(t, <-sent)
			var lags []time.Duration
			for _, r := range record.Requests {
				lags = append(lags, r.Lag)
			}
			t.Logf("%s: %d B and %d goroutines each, lag p50 %s p99 %s", load.Name, each, goroutines, quantile(lags, 0.5), quantile(lags, 0.99))
			assert.LessOrEqual(t, each, budgets[load.Driver])
			assert.Equal(t, map[timeline.Cause]int{timeline.OK: record.Planned}, count(record), "planned = sent = ok")
			assert.Len(t, slices.CompactFunc(slices.Clone(record.Held), func(a, b timeline.Held) bool { return a.Client == b.Client }), scenarios.MaxClients)
			assertLedgersAgree(t, record.Held, app.told())
		})
	}
}

// inUse is what this process holds, of its heap and for its goroutines.
func inUse() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}
