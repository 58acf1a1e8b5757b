package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// app is a server under test that says who it is, refuses every tenth request and counts what it has seen.
type app struct {
	mu   sync.Mutex
	seen map[string]int
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	lane, seq := r.Header.Get("Zerodrop-Lane"), r.Header.Get("Zerodrop-Seq")
	a.mu.Lock()
	a.seen[lane+" "+seq]++
	a.mu.Unlock()
	w.Header().Set("Zerodrop-Pod", "app-"+seq[len(seq)-1:])
	w.Header().Set("Zerodrop-Conn", "7")
	if strings.HasSuffix(seq, "3") {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = io.WriteString(w, protocol.Body)
}

// site is an app, workers that load it, and a way to them that a test can break.
type site struct {
	url     string
	app     *app
	servers []*Server
	workers []Worker
}

func newSite(t *testing.T, skews ...time.Duration) *site {
	t.Helper()
	s := &site{app: &app{seen: map[string]int{}}}
	under := httptest.NewServer(s.app)
	t.Cleanup(under.Close)
	s.url = under.URL
	for i, skew := range skews {
		w := NewServer(skew)
		server := httptest.NewServer(w)
		t.Cleanup(server.Close)
		client := &http.Client{Transport: &http.Transport{}}
		t.Cleanup(client.CloseIdleConnections)
		s.servers = append(s.servers, w)
		s.workers = append(s.workers, Worker{Name: fmt.Sprint("worker-", i), Node: "node", Call: At(client, server.URL)})
	}
	return s
}

// length is how long the load of these tests lasts.
const length = 600 * time.Millisecond

// lanes are two lanes, of which the first has 301 and the second 61 requests.
func (s *site) lanes(start time.Duration) []traffic.Lane {
	return []traffic.Lane{
		{Name: "service/new", URL: s.url, Start: start, Load: scenarios.New(500)},
		{Name: "service/reused", URL: s.url, Start: start, Load: scenarios.Reused(100)},
	}
}

// run sends the lanes with the fleet.
func (s *site) run(t *testing.T, fleet *Fleet) ([]timeline.LaneRecord, []timeline.Sender, error) {
	t.Helper()
	clock, end := timeline.NewClock(time.Now()), &traffic.End{}
	if err := fleet.Sync(t.Context(), clock); err != nil {
		return nil, nil, err
	}
	start := clock.Offset(time.Now()) + fleet.LeadTime()
	timer := time.AfterFunc(fleet.LeadTime(), func() { end.Set(start + length) })
	defer timer.Stop()
	return fleet.Send(t.Context(), s.lanes(start), traffic.Plan{Clock: clock, End: end, Max: time.Minute})
}

func causes(record timeline.LaneRecord) map[timeline.Cause]int {
	out := map[timeline.Cause]int{}
	for _, r := range record.Requests {
		out[r.Cause]++
	}
	return out
}

// TestFleet: however many workers there are, and however wrong their clocks, the records are those of one sender.
func TestFleet(t *testing.T) {
	tests := []struct {
		name  string
		skews []time.Duration
	}{
		{"one", []time.Duration{0}},
		{"four", []time.Duration{0, 0, 0, 0}},
		{"clocks off by seconds", []time.Duration{time.Second, -time.Hour, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, tt.skews...)
			records, senders, err := s.run(t, NewFleet(s.workers))
			require.NoError(t, err)
			require.Len(t, records, 2)
			assert.Equal(t, map[timeline.Cause]int{timeline.OK: 271, timeline.HTTP5xx: 30}, causes(records[0]))
			assert.Equal(t, map[timeline.Cause]int{timeline.OK: 55, timeline.HTTP5xx: 6}, causes(records[1]))
			for _, record := range records {
				for seq, r := range record.Requests {
					assert.Equal(t, 1, s.app.seen[fmt.Sprint(record.Name, " ", seq)])
					assert.Equal(t, fmt.Sprint("app-", seq%10), record.PodOf(r), "the Pods of several workers are put together")
					assert.Less(t, r.Lag, 900*time.Millisecond, "on the run's clock")
				}
				first := record.Requests[0].Planned
				for seq, r := range record.Requests {
					want := first + time.Duration(seq)*time.Second/time.Duration(record.Rate)
					assert.Equal(t, want, r.Planned)
				}
			}
			require.Len(t, senders, len(tt.skews))
			for i, sender := range senders {
				assert.Equal(t, fmt.Sprint("worker-", i), sender.Name)
				assert.Equal(t, []string{"service/new", "service/reused"}, sender.Lanes)
				assert.InDelta(t, tt.skews[i], sender.Offset, float64(sender.Uncertainty), "the offset is known as well as it says")
				assert.Less(t, sender.Uncertainty, 500*time.Millisecond)
				assert.Less(t, sender.Drift.Abs(), 500*time.Millisecond)
				<-s.servers[i].Exit()
			}
		})
	}
}

// cut is a body that breaks off after n bytes.
type cut struct {
	io.ReadCloser
	n int
}

func (c *cut) Read(p []byte) (int, error) {
	if c.n <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.n)])
	c.n -= n
	return n, err
}

// TestBrokenWay: the way to the worker breaks again and again, in the middle of a batch, too. Nothing is lost and nothing counted twice.
func TestBrokenWay(t *testing.T) {
	s := newSite(t, 0)
	whole := s.workers[0].Call
	var calls atomic.Int32
	s.workers[0].Call = func(ctx context.Context, path string, body []byte) (io.ReadCloser, error) {
		n := int(calls.Add(1))
		if n%5 == 1 {
			return nil, errors.New("the API server restarts")
		}
		answer, err := whole(ctx, path, body)
		if err == nil && n%5 == 2 && !strings.HasPrefix(path, "/records") {
			_ = answer.Close()
			return nil, errors.New("the answer was lost") // and what was asked for is done
		}
		if err == nil && strings.HasPrefix(path, "/records") && n < 150 {
			answer = &cut{answer, 2000 + 777*n}
		}
		return answer, err
	}
	records, _, err := s.run(t, NewFleet(s.workers))
	require.NoError(t, err)
	assert.Equal(t, map[timeline.Cause]int{timeline.OK: 271, timeline.HTTP5xx: 30}, causes(records[0]))
	assert.Equal(t, map[timeline.Cause]int{timeline.OK: 55, timeline.HTTP5xx: 6}, causes(records[1]))
	assert.Greater(t, calls.Load(), int32(40))
}

// TestLostWorker: what a worker had handed over before it was killed is kept, the rest is unsent, and the run knows. Nobody asks it again for what it had.
func TestLostWorker(t *testing.T) {
	for _, tt := range []struct {
		name string
		says error
		want string
	}{
		{"another answers in its place", ErrRefused, "worker-1: worker refused: no such order"},
		{"it has ended", ErrEnded, "worker-1: worker is lost, and with it what it had not handed over: worker has ended: no such order"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, 0, 0)
			lost := s.workers[1].Call
			var gone atomic.Bool
			var asked atomic.Int32
			s.workers[1].Call = func(ctx context.Context, path string, body []byte) (io.ReadCloser, error) {
				if strings.HasPrefix(path, "/records") {
					asked.Add(1)
				}
				if gone.Load() {
					return nil, fmt.Errorf("%w: no such order", tt.says)
				}
				answer, err := lost(ctx, path, body)
				if err == nil && strings.HasPrefix(path, "/records") {
					gone.Store(true)
					answer = &cut{answer, 6000}
				}
				return answer, err
			}
			records, senders, err := s.run(t, NewFleet(s.workers))
			require.ErrorContains(t, err, tt.want)
			require.ErrorIs(t, err, tt.says)
			assert.EqualValues(t, 2, asked.Load())
			require.Len(t, senders, 2)
			found := causes(records[0])
			assert.Equal(t, 301, records[0].Planned)
			assert.Len(t, records[0].Requests, 301)
			assert.Positive(t, found[timeline.Unsent])
			assert.LessOrEqual(t, found[timeline.Unsent], 150, "the share of the other worker is all there")
			s.servers[1].end.Set(time.Nanosecond)
			<-s.servers[1].sent
		})
	}
}

// TestSyncWithAWorkerThatEnded: it is asked once.
func TestSyncWithAWorkerThatEnded(t *testing.T) {
	calls := 0
	fleet := NewFleet([]Worker{{Name: "worker-0", Call: func(context.Context, string, []byte) (io.ReadCloser, error) {
		calls++
		return nil, ErrEnded
	}}})
	require.EqualError(t, fleet.Sync(t.Context(), timeline.NewClock(time.Now())), "compare clocks with worker-0: worker has ended")
	assert.Equal(t, 1, calls)
}

// answering is the harness' end of a worker that is served at a place of its own.
func answering(t *testing.T, server *Server) *member {
	t.Helper()
	site := httptest.NewServer(server)
	t.Cleanup(site.Close)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	return &member{Worker: Worker{Name: "worker-0", Call: At(client, site.URL)}}
}

// TestProbeOfAComponent: a proxy is dialled, and asked for the host of the URL.
func TestProbeOfAComponent(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(protocol.HeaderPod, "at "+r.Host+r.URL.Path)
	}))
	t.Cleanup(site.Close)
	ip, port, _ := strings.Cut(strings.TrimPrefix(site.URL, "http://"), ":")
	w := answering(t, NewServer(0))
	answer, err := w.Probe(t.Context(), Target{URL: "http://ingress.invalid:" + port, Dial: netip.MustParseAddr(ip)})
	require.NoError(t, err)
	assert.Equal(t, traffic.Answer{Pod: "at ingress.invalid:" + port + "/work"}, answer)
	answer, err = w.Probe(t.Context(), Target{URL: site.URL})
	require.NoError(t, err)
	assert.Equal(t, traffic.Answer{Pod: "at " + ip + ":" + port + "/work"}, answer)
}

// TestProbeOfAForeignApp: whatever it answers is told, a redirect too, which is not followed.
func TestProbeOfAForeignApp(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Served-By", "shop-a")
		switch r.URL.Path {
		case "/shop":
			http.Redirect(w, r, "/login", http.StatusFound)
		case "/page":
			_, _ = io.WriteString(w, "page "+r.URL.RawQuery)
		default:
			http.Error(w, "who are you?", http.StatusUnauthorized)
		}
	}))
	t.Cleanup(site.Close)
	w := answering(t, NewServer(0))
	tests := []struct {
		path string
		want traffic.Answer
	}{
		{"/page?2", traffic.Answer{Pod: "shop-a", Status: 200, Body: timeline.OK}},
		{"/page?3", traffic.Answer{Pod: "shop-a", Status: 200, Body: timeline.WrongBody}},
		{"/shop", traffic.Answer{Pod: "shop-a", Status: 302, Location: "/login", Body: timeline.WrongBody}},
		{"/", traffic.Answer{Pod: "shop-a", Status: 401, Body: timeline.WrongBody}},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			app := scenarios.Target{
				Name: "shop", Request: scenarios.Request{Method: "GET", Path: tt.path}, ExpectBody: "^page [12]$", PodHeader: "X-Served-By",
			}
			answer, err := w.Probe(t.Context(), Target{URL: site.URL, App: &app})
			require.NoError(t, err)
			assert.Positive(t, answer.Took)
			answer.Took = 0
			assert.Equal(t, tt.want, answer)
		})
	}
}

func TestServerRefuses(t *testing.T) {
	far := func(n time.Duration) int64 { return time.Now().Add(n).UnixNano() }
	lane := func(start time.Duration) traffic.Lane {
		return traffic.Lane{Name: "a/new", URL: "http://127.0.0.1:1", Start: start, Load: scenarios.New(10)}
	}
	// It can't come too late, and its load has reached its bound before anything is sent: however slow the machine, nothing here is in a hurry.
	good := startRequest{Zero: far(0), Lanes: []traffic.Lane{lane(time.Hour)}, Max: time.Minute}
	blind := lane(time.Hour)
	blind.Load.Method, blind.Load.Connections, blind.Load.Clients = http.MethodGet, scenarios.ReusedConnections, 1
	tests := []struct {
		name, path string
		body       any
		want       string
	}{
		{"no lanes", "/start", startRequest{}, "no lanes"},
		{"a load that can't see its losses", "/start", startRequest{Lanes: []traffic.Lane{blind}}, "can't see what it measures"},
		{"an order that comes too late", "/start", startRequest{Zero: far(-time.Minute), Lanes: []traffic.Lane{lane(time.Second)}}, "after its first request was due"},
		{"an end before the order", "/stop", stopRequest{time.Second}, "has not started"},
		{"an unknown field", "/start", map[string]int{"lane": 1}, "unknown field"},
		{"no such thing", "/order", nil, "404"},
		{"records before the order", "/records?from=0", nil, "1 places for 0 lanes"},
		{"the first order", "/start", good, ""},
		{"the same order again", "/start", good, ""},
		{"another order", "/start", startRequest{Zero: 1, Lanes: good.Lanes}, "has started already"},
		{"records from nowhere", "/records?from=x", nil, "want a number"},
		{"exit", "/exit", struct{}{}, ""},
		{"exit again", "/exit", struct{}{}, ""},
	}
	server := NewServer(0)
	w := answering(t, server)
	for _, tt := range tests {
		var err error
		if tt.body == nil {
			_, err = w.Call(t.Context(), tt.path, nil)
		} else {
			err = w.post(t.Context(), tt.path, tt.body)
		}
		if tt.want == "" {
			require.NoError(t, err, tt.name)
		} else {
			require.ErrorContains(t, err, tt.want, tt.name)
		}
	}
	<-server.Exit()
	<-server.sent
	assert.Contains(t, server.summary.Err, "reached its bound", "what went wrong in sending is in the ledgers")
}

// TestLateEnd: a worker that hears of the end too late refuses it, and ends there and then. A request that its pacer sleeps towards at that instant still
// leaves, and then the ledgers say so. Whether there is one is up to the machine.
func TestLateEnd(t *testing.T) {
	server := NewServer(0)
	lane := traffic.Lane{Name: "a/new", URL: "http://127.0.0.1:1", Load: scenarios.New(10)}
	o := startRequest{Lanes: []traffic.Lane{lane}, Max: time.Minute}
	// Not through start: the first request is due now, and an order that comes now is too late.
	server.started, server.clock, server.ledgers = &o, timeline.NewClock(time.Now()), []*traffic.Ledger{traffic.NewLedger()}
	go server.send(o)
	require.Eventually(t, func() bool { return server.ledgers[0].Len() > 0 }, o.Max, time.Millisecond)
	require.ErrorContains(t, server.stop(stopRequest{-time.Second}), "too late")
	require.ErrorContains(t, server.stop(stopRequest{time.Hour}), "already", "it has an end by now")
	<-server.sent
	end, _ := server.end.At()
	require.Less(t, end, o.Max)
	require.Len(t, server.summary.Recorded, 1)
	due, sent := lane.Planned(end), server.summary.Recorded[0]
	require.GreaterOrEqual(t, sent, due)
	assert.Equal(t, sent > due, strings.Contains(server.summary.Err, "its end came too late"), server.summary.Err)
}

// TestBadLedgers: a worker that hands over a record twice, or fewer than it says it has, is not believed.
func TestBadLedgers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		wrong func(s *Server)
		want  string
	}{
		{name: "fewer than it has", wrong: func(s *Server) { s.summary.Recorded = []int{302, 61} }, want: "302 records of its lane 0 and handed 301 over"},
		{name: "what went wrong in sending", wrong: func(s *Server) { s.summary.Err = "no port left" }, want: "worker-0: no port left"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, 0)
			honest := s.workers[0].Call
			s.workers[0].Call = func(ctx context.Context, path string, body []byte) (io.ReadCloser, error) {
				if strings.HasPrefix(path, "/records") {
					<-s.servers[0].sent
					s.servers[0].mu.Lock()
					tt.wrong(s.servers[0])
					s.servers[0].mu.Unlock()
				}
				return honest(ctx, path, body)
			}
			records, _, err := s.run(t, NewFleet(s.workers))
			require.ErrorContains(t, err, tt.want)
			assert.Equal(t, 271, causes(records[0])[timeline.OK], "what came is kept")
		})
	}
	ledgers := []*traffic.Ledger{traffic.NewLedger()}
	ledgers[0].Put(0, timeline.Request{Cause: timeline.OK}, "app-1", "")
	server := NewServer(0)
	server.started = &startRequest{}
	server.ledgers = []*traffic.Ledger{ledgers[0]}
	server.summary.Recorded = []int{1}
	close(server.sent)
	_, err := answering(t, server).collect(t.Context(), ledgers)
	require.ErrorIs(t, err, traffic.ErrTwice)
}

// TestLookups: what workers look up is counted together, and their addresses are one table.
func TestLookups(t *testing.T) {
	s := newSite(t, 0, 0)
	clock, end := timeline.NewClock(time.Now()), &traffic.End{}
	fleet := NewFleet(s.workers)
	require.NoError(t, fleet.Sync(t.Context(), clock))
	start := clock.Offset(time.Now()) + fleet.LeadTime()
	end.Set(start + 190*time.Millisecond)
	lane := traffic.Lane{Name: "dns/new", Start: start, Load: scenarios.New(100), Resolve: &traffic.Resolve{}}
	lane.URL = strings.Replace(s.url, "127.0.0.1", "app", 1)
	for _, server := range s.servers {
		server.lookup = func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
	}
	records, _, err := fleet.Send(t.Context(), []traffic.Lane{lane}, traffic.Plan{Clock: clock, End: end, Max: time.Minute})
	require.NoError(t, err)
	assert.Equal(t, 20, records[0].Planned)
	assert.Equal(t, 20, records[0].Lookups)
	assert.Equal(t, []string{"127.0.0.1"}, records[0].Addresses)
	for _, r := range records[0].Requests {
		assert.EqualValues(t, 1, r.Address)
	}
}

// TestTasks: the first worker has the queue, from the first request on, and hands over what it has given out, on the run's clock.
func TestTasks(t *testing.T) {
	s := newSite(t, time.Minute, 0)
	say := func(worker int, path string) (code int, task protocol.Task) {
		w := httptest.NewRecorder()
		body := strings.NewReader(`{"pod":"app-0","task":1,"attempt":1,"workedNanos":5000}`)
		s.servers[worker].ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, body))
		if w.Code == http.StatusOK {
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &task))
		}
		return w.Code, task
	}
	code, _ := say(0, protocol.PathTaskTake)
	assert.Equal(t, http.StatusNoContent, code, "nothing is due before the load")
	fleet, clock, end := NewFleet(s.workers), timeline.NewClock(time.Now()), &traffic.End{}
	require.NoError(t, fleet.Sync(t.Context(), clock))
	start := clock.Offset(time.Now()) + fleet.LeadTime()
	plan := traffic.Plan{
		Clock: clock, End: end, Max: time.Minute,
		Tasks: &timeline.TaskSpec{Length: time.Second, Lease: time.Minute, First: 2, Every: time.Hour},
	}
	var senders []timeline.Sender
	var sent sync.WaitGroup
	sent.Go(func() {
		var err error
		_, senders, err = fleet.Send(t.Context(), s.lanes(start), plan)
		assert.NoError(t, err)
	})
	require.Eventually(t, func() bool {
		code, task := say(0, protocol.PathTaskTake)
		return code == http.StatusOK && task == protocol.Task{Task: 1, Attempt: 1, Length: time.Second, Lease: time.Minute}
	}, time.Minute, time.Millisecond)
	code, _ = say(0, protocol.PathTaskDone)
	assert.Equal(t, http.StatusNoContent, code)
	code, _ = say(1, protocol.PathTaskTake)
	assert.Equal(t, http.StatusNoContent, code, "one worker has the queue")
	code, _ = say(0, protocol.PathTaskTake)
	assert.Equal(t, http.StatusOK, code)
	end.Set(clock.Offset(time.Now()) + 500*time.Millisecond)
	sent.Wait()
	require.Len(t, senders, 2)
	assert.Empty(t, senders[1].Tasks)
	require.Len(t, senders[0].Tasks, 2)
	done, open := senders[0].Tasks[0], senders[0].Tasks[1]
	assert.Equal(t, []timeline.TaskEnd{timeline.TaskDone, timeline.TaskOpen}, []timeline.TaskEnd{done.End, open.End})
	assert.Equal(t, start, done.Due)
	assert.Equal(t, 5*time.Microsecond, done.Worked)
	assert.GreaterOrEqual(t, done.Taken, start-time.Millisecond)
	last, _ := end.At()
	assert.Less(t, done.Ended, last)
	assert.Greater(t, open.Ended, last-100*time.Millisecond, "when the last request has ended")
	code, _ = say(0, protocol.PathTaskDone)
	assert.Equal(t, http.StatusConflict, code, "it is closed")
}

// TestHeldConnections: what workers know of connections that clients held is put together, client by client.
func TestHeldConnections(t *testing.T) {
	ledgers := []*traffic.Ledger{traffic.NewLedger()}
	for i := range 2 {
		server := NewServer(0)
		server.started, server.ledgers = &startRequest{}, []*traffic.Ledger{traffic.NewLedger()}
		server.summary.Recorded = []int{0}
		server.summary.Held = [][]timeline.Held{{{Client: 1 - i, Number: 1, End: timeline.HeldCut, Back: time.Second}, {Client: 1 - i, Number: 2, End: timeline.HeldLeft}}}
		close(server.sent)
		_, err := answering(t, server).collect(t.Context(), ledgers)
		require.NoError(t, err)
	}
	assert.Equal(t, []timeline.Held{
		{Client: 0, Number: 1, End: timeline.HeldCut, Back: time.Second},
		{Client: 0, Number: 2, End: timeline.HeldLeft},
		{Client: 1, Number: 1, End: timeline.HeldCut, Back: time.Second},
		{Client: 1, Number: 2, End: timeline.HeldLeft},
	}, ledgers[0].Held())
}
