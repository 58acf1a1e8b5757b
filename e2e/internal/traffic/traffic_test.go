package traffic

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// send runs one lane for n requests and returns its record.
func send(t *testing.T, load scenarios.Load, url string, n int) timeline.LaneRecord {
	t.Helper()
	record, err := sendUntil(load, url, time.Duration(n-1)*time.Second/time.Duration(load.Rate))
	require.NoError(t, err)
	require.Equal(t, n, record.Planned)
	require.Len(t, record.Requests, n)
	return record
}

func sendUntil(load scenarios.Load, url string, length time.Duration) (timeline.LaneRecord, error) {
	const lead = 10 * time.Millisecond
	end := &End{}
	end.Set(lead + length)
	return Send(Lane{Name: "test/" + load.Name, URL: url, Start: lead, Load: load},
		Plan{Clock: timeline.NewClock(time.Now()), End: end, Max: time.Minute})
}

func count(record timeline.LaneRecord) map[timeline.Cause]int {
	causes := map[timeline.Cause]int{}
	for _, r := range record.Requests {
		causes[r.Cause]++
	}
	return causes
}

// faulty is a server that commits a known fault on every tenth request and answers as the app does otherwise.
type faulty struct {
	fault func(http.ResponseWriter, *http.Request)
	mu    sync.Mutex
	seen  map[int]int // how often each request arrived
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seq, err := strconv.Atoi(r.Header.Get("Zerodrop-Seq"))
	if err != nil {
		http.Error(w, "no sequence number", http.StatusBadRequest)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	f.mu.Lock()
	f.seen[seq]++
	f.mu.Unlock()
	if seq%10 == 9 {
		f.fault(w, r)
		return
	}
	h := w.Header()
	h.Set(headerPod, "pod-a")
	h.Set(headerLeaving, "12.5")
	h.Set(headerConn, "3")
	h.Set(headerConnUse, "4")
	_, _ = io.WriteString(w, Body)
}

// hangUp ends the connection under a request: by RST, or by FIN.
func hangUp(byReset bool, answer string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, answer)
		if byReset {
			_ = conn.(*net.TCPConn).SetLinger(0)
		}
		_ = conn.Close()
	}
}

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, Body) // the right body doesn't make a wrong status right
	}
}

// TestPlantedFaults commits exactly k faults of each kind and wants exactly k back, under the right cause, each sent once.
func TestPlantedFaults(t *testing.T) {
	const n, k = 100, 10
	shortened := "HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(Body)) + "\r\n\r\n" + Body[:5]
	faults := []struct {
		name  string
		fault func(http.ResponseWriter, *http.Request)
		want  timeline.Cause
	}{
		{"FIN before the answer", hangUp(false, ""), timeline.EOF},
		{"FIN within the header", hangUp(false, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"), timeline.EOF},
		{"RST before the answer", hangUp(true, ""), timeline.Reset},
		{"FIN within the body", hangUp(false, shortened), timeline.Truncated},
		{"status 500", status(http.StatusInternalServerError), timeline.HTTP5xx},
		{"status 503", status(http.StatusServiceUnavailable), timeline.HTTP5xx},
		{"status 404", status(http.StatusNotFound), timeline.HTTPOther},
		{"redirect", status(http.StatusFound), timeline.HTTPOther},
		{"empty body", func(http.ResponseWriter, *http.Request) {}, timeline.WrongBody},
		{"another body", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "It works!") }, timeline.WrongBody},
		{"no answer", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, timeline.Timeout},
		{"half an answer", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(Body)))
			_, _ = io.WriteString(w, Body[:5])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, timeline.Timeout},
	}
	for _, load := range []scenarios.Load{scenarios.New(400), scenarios.Reused(400)} {
		load.Timeout = 500 * time.Millisecond
		for _, tt := range faults {
			t.Run(load.Name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				app := &faulty{fault: tt.fault, seen: map[int]int{}}
				server := httptest.NewServer(app)
				defer server.Close()
				record := send(t, load, server.URL, n)
				assert.Equal(t, map[timeline.Cause]int{timeline.OK: n - k, tt.want: k}, count(record))
				app.mu.Lock()
				defer app.mu.Unlock()
				require.Len(t, app.seen, n)
				for seq, times := range app.seen {
					assert.Equal(t, 1, times, "request %d arrived once", seq)
				}
				for seq, r := range record.Requests {
					assert.EqualValues(t, 1, r.Attempts, "request %d was counted once", seq)
				}
			})
		}
	}
}

func TestRefused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	record := send(t, scenarios.New(200), "http://"+listener.Addr().String(), 20)
	assert.Equal(t, map[timeline.Cause]int{timeline.Refused: 20}, count(record))
	ports := map[uint16]bool{}
	for _, r := range record.Requests {
		assert.NotZero(t, r.Port, "also a refused connection has a local port")
		ports[r.Port] = true
	}
	assert.Greater(t, len(ports), 10, "each its own, as far as ports are not used again so soon")
}

func TestUnknownName(t *testing.T) {
	record := send(t, scenarios.New(200), "http://app.invalid", 5)
	assert.Equal(t, map[timeline.Cause]int{timeline.DNS: 5}, count(record))
}

func TestNotTLS(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	record := send(t, scenarios.New(200), "https://"+server.Listener.Addr().String(), 5)
	assert.Equal(t, map[timeline.Cause]int{timeline.TLS: 5}, count(record))
}

// TestIdleConnectionsThatDie closes every kept-alive connection after its first answer, at the instant when the client is likely to use it again. An
// ordinary GET client resends and reports nothing; here every request that arrived twice or not at all must show.
func TestIdleConnectionsThatDie(t *testing.T) {
	var arrived atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		arrived.Add(1)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(Body), Body)
		// The client of this connection has its next turn in 10 ms: linger about as long, then read what it may have sent and die without a word.
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if n, _ := conn.Read(make([]byte, 1)); n > 0 {
			arrived.Add(1)
		}
		_ = conn.Close()
	}))
	defer server.Close()
	load := scenarios.Reused(200)
	load.Clients = 2
	record := send(t, load, server.URL, 400)
	causes := count(record)
	assert.Positive(t, causes[timeline.OK])
	assert.Positive(t, causes[timeline.EOF]+causes[timeline.Reset], "some requests met a dying connection")
	for seq, r := range record.Requests {
		assert.EqualValues(t, 1, r.Attempts, "request %d was sent once", seq)
		assert.False(t, r.Masked())
	}
	assert.LessOrEqual(t, int(arrived.Load()), record.Planned, "nothing arrived that was not planned")
}

func TestRecordSaysWhoAnswered(t *testing.T) {
	server := httptest.NewServer(&faulty{fault: status(500), seen: map[int]int{}})
	defer server.Close()
	record := send(t, scenarios.New(200), server.URL, 10)
	r := record.Requests[0]
	assert.Equal(t, "pod-a", record.PodOf(r))
	assert.Equal(t, 12500*time.Microsecond, r.Leaving)
	assert.EqualValues(t, 3, r.Conn)
	assert.EqualValues(t, 4, r.ConnUse)
	assert.EqualValues(t, 200, r.Code)
	assert.NotZero(t, r.Port)
	failed := record.Requests[9]
	assert.Empty(t, record.PodOf(failed))
	assert.Equal(t, timeline.NotLeaving, failed.Leaving)
	assert.EqualValues(t, 500, failed.Code)
}

// TestPortIsTheOneOnTheWire: the recorded port is the one that the server sees.
func TestPortIsTheOneOnTheWire(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Skip(err) // a machine without IPv6
		}
		var mu sync.Mutex
		seen := map[string]string{} // sequence number → the client's address
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			seen[r.Header.Get("Zerodrop-Seq")] = r.RemoteAddr
			_, _ = io.WriteString(w, Body)
		})}
		go func() { _ = server.Serve(listener) }()
		for _, load := range []scenarios.Load{scenarios.New(200), scenarios.Reused(200)} {
			record := send(t, load, "http://"+listener.Addr().String(), 20)
			mu.Lock()
			for seq, r := range record.Requests {
				_, port, err := net.SplitHostPort(seen[strconv.Itoa(seq)])
				require.NoError(t, err)
				assert.Equal(t, port, strconv.Itoa(int(r.Port)), "request %d of %s", seq, load.Name)
			}
			mu.Unlock()
		}
		require.NoError(t, server.Close())
	}
}

// TestLatencyCountsFromThePlan: the sender is late by 50 ms, because the clock says so; the server is fast. The latency must hold both.
func TestLatencyCountsFromThePlan(t *testing.T) {
	server := httptest.NewServer(&faulty{seen: map[int]int{}})
	defer server.Close()
	const late = 50 * time.Millisecond
	end := &End{}
	end.Set(time.Millisecond)
	record, err := Send(Lane{URL: server.URL, Load: scenarios.New(1000)},
		Plan{Clock: timeline.NewClock(time.Now().Add(-late)), End: end, Max: time.Minute})
	require.NoError(t, err)
	require.Len(t, record.Requests, 2)
	for seq, r := range record.Requests {
		assert.Equal(t, time.Duration(seq)*time.Millisecond, r.Planned)
		assert.GreaterOrEqual(t, r.Lag, late-time.Millisecond)
		assert.GreaterOrEqual(t, r.Latency, r.Lag)
	}
}

// TestPaceIsKept: a server that needs 100 ms for each answer doesn't slow an open-loop load down.
func TestPaceIsKept(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/work", r.URL.Path)
		assert.Equal(t, "100ms", r.URL.Query().Get("for"))
		<-time.After(100 * time.Millisecond)
		_, _ = io.WriteString(w, Body)
	}))
	defer server.Close()
	load := scenarios.New(100)
	load.Work = 100 * time.Millisecond
	began := time.Now()
	record := send(t, load, server.URL, 50)
	assert.Less(t, time.Since(began), 2*time.Second, "one after the other they would take 5 s")
	assert.Equal(t, map[timeline.Cause]int{timeline.OK: 50}, count(record))
	for _, r := range record.Requests {
		assert.GreaterOrEqual(t, r.Latency, load.Work)
	}
}

func TestEndIsAgreed(t *testing.T) {
	var end End
	_, ok := end.At()
	assert.False(t, ok)
	end.Set(time.Second)
	end.Set(time.Minute)
	at, ok := end.At()
	assert.True(t, ok)
	assert.Equal(t, time.Second, at, "only the first call counts")
}

func TestLoadStopsByItself(t *testing.T) {
	server := httptest.NewServer(&faulty{seen: map[int]int{}, fault: status(500)})
	defer server.Close()
	record, err := Send(Lane{Name: "test/new", URL: server.URL, Load: scenarios.New(100)},
		Plan{Clock: timeline.NewClock(time.Now()), End: &End{}, Max: 200 * time.Millisecond})
	require.ErrorIs(t, err, ErrBound)
	assert.Equal(t, 21, record.Planned)
	assert.Len(t, record.Requests, 21, "what was recorded is kept")
}

// TestEndLosesNothing: what is in flight at the end is still waited for.
func TestEndLosesNothing(t *testing.T) {
	end := &End{}
	clock := timeline.NewClock(time.Now())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		end.Set(clock.Offset(time.Now()) + 50*time.Millisecond) // one interval of notice
		<-time.After(100 * time.Millisecond)
		_, _ = io.WriteString(w, Body)
	}))
	defer server.Close()
	record, err := Send(Lane{URL: server.URL, Load: scenarios.New(20)}, Plan{Clock: clock, End: end, Max: time.Minute})
	require.NoError(t, err)
	assert.Positive(t, record.Planned)
	assert.Len(t, record.Requests, record.Planned)
	assert.Equal(t, map[timeline.Cause]int{timeline.OK: record.Planned}, count(record))
}

func TestBlindLoadIsNotSent(t *testing.T) {
	load := scenarios.Reused(100)
	load.Method = http.MethodGet
	_, err := Send(Lane{Load: load}, Plan{})
	require.ErrorContains(t, err, "can't see what it measures")
}

// TestTimesAreStoredAsTheyAre: what is recorded has no more digits than what is stored.
func TestTimesAreStoredAsTheyAre(t *testing.T) {
	server := httptest.NewServer(&faulty{fault: status(500), seen: map[int]int{}})
	defer server.Close()
	end := &End{}
	end.Set(50 * time.Millisecond)
	record, err := Send(Lane{Name: "test/new", URL: server.URL, Start: 123456789 * time.Nanosecond / 100, Load: scenarios.New(300)}, // an interval of 3.333333 ms
		Plan{Clock: timeline.NewClock(time.Now()), End: end, Max: time.Minute})
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, timeline.Save(dir, timeline.Timeline{Lanes: []timeline.LaneRecord{record}}))
	stored, err := timeline.Load(dir)
	require.NoError(t, err)
	assert.Equal(t, record.Requests, stored.Lanes[0].Requests)
}

func TestUnsentRequestsKeepTheirPlace(t *testing.T) {
	l := NewLedger()
	assert.True(t, l.Put(2, timeline.Request{Planned: 20 * time.Millisecond, Cause: timeline.OK}, "app-1"))
	assert.False(t, l.Put(2, timeline.Request{Planned: 20 * time.Millisecond, Cause: timeline.Reset}, "app-2"), "a second one doesn't replace it")
	record := l.Record(Lane{Load: scenarios.New(100)}, 35*time.Millisecond)
	assert.Equal(t, 4, record.Planned)
	require.Len(t, record.Requests, 4)
	for seq, r := range record.Requests {
		assert.Equal(t, seq == 2, r.Cause == timeline.OK)
		assert.Equal(t, time.Duration(10*seq)*time.Millisecond, r.Planned, "unsent requests, too, were due at some time")
	}
	assert.Equal(t, "app-1", record.PodOf(record.Requests[2]))
	assert.Len(t, l.Record(Lane{Load: scenarios.New(100)}, 5*time.Millisecond).Requests, 3, "what was sent beyond the plan is not forgotten")
}

func TestSince(t *testing.T) {
	l := NewLedger()
	for _, seq := range []int{1, 0, 5} {
		l.Put(seq, timeline.Request{Cause: timeline.OK, Port: uint16(seq)}, fmt.Sprint("app-", seq))
	}
	seqs, requests, pods := l.Since(1)
	assert.Equal(t, []uint32{0, 5}, seqs, "in the order in which they ended")
	assert.Equal(t, []uint16{0, 5}, []uint16{requests[0].Port, requests[1].Port})
	assert.Equal(t, []string{"app-1", "app-0", "app-5"}, pods)
	assert.EqualValues(t, 3, requests[1].Pod)
	seqs, requests, _ = l.Since(7)
	assert.Empty(t, seqs)
	assert.Empty(t, requests)
}

// TestShares: several senders of one lane send each of its requests once, whatever the number of requests and of senders.
func TestShares(t *testing.T) {
	for of := range 6 {
		for planned := range 25 {
			var seqs []int
			for index := range max(1, of) {
				share := Share{Index: index, Of: of}
				for n := range share.count(planned) {
					seqs = append(seqs, share.seq(n))
				}
			}
			slices.Sort(seqs)
			want := make([]int, 0, planned)
			for seq := range planned {
				want = append(want, seq)
			}
			require.Equal(t, want, append([]int{}, seqs...), "%d requests, %d senders", planned, of)
		}
	}
}

// TestSendersShareALane: four senders, one ledger, one end that is set while they send.
func TestSendersShareALane(t *testing.T) {
	for _, load := range []scenarios.Load{scenarios.New(200), scenarios.Reused(200), scenarios.Replayable(200)} {
		t.Run(load.Name, func(t *testing.T) {
			app := &faulty{seen: map[int]int{}, fault: status(503)}
			server := httptest.NewServer(app)
			defer server.Close()
			lane := Lane{Name: "test/" + load.Name, URL: server.URL, Start: 50 * time.Millisecond, Load: load}
			ledger, end, clock := NewLedger(), &End{}, timeline.NewClock(time.Now())
			var senders errgroup.Group
			for i := range 4 {
				senders.Go(func() error {
					return SendShare(lane, Plan{Clock: clock, End: end, Max: time.Minute, Share: Share{Index: i, Of: 4}}, ledger)
				})
			}
			end.Set(550 * time.Millisecond)
			<-end.Known()
			require.NoError(t, senders.Wait())
			record := ledger.Record(lane, 550*time.Millisecond)
			assert.Equal(t, 101, record.Planned)
			assert.Equal(t, map[timeline.Cause]int{timeline.OK: 91, timeline.HTTP5xx: 10}, count(record))
			for seq, r := range record.Requests {
				assert.Equal(t, lane.Due(seq), r.Planned)
				assert.Equal(t, 1, app.seen[seq], "request %d", seq)
			}
		})
	}
}

// TestEndThatComesTooLate: who has sent beyond the agreed end says so.
func TestEndThatComesTooLate(t *testing.T) {
	end, clock := &End{}, timeline.NewClock(time.Now())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Zerodrop-Seq") == "9" {
			end.Set(50 * time.Millisecond)
		}
		_, _ = io.WriteString(w, Body)
	}))
	defer server.Close()
	record, err := Send(Lane{URL: server.URL, Load: scenarios.New(100)}, Plan{Clock: clock, End: end, Max: time.Minute})
	require.ErrorIs(t, err, errLate)
	assert.Equal(t, 6, record.Planned)
	assert.GreaterOrEqual(t, len(record.Requests), 10)
}

func TestPressure(t *testing.T) {
	if share := Pressure()(); share != nil {
		assert.GreaterOrEqual(t, *share, 0.0)
		assert.LessOrEqual(t, *share, 1.0)
	}
	tests := []struct {
		name, content string
		want          *time.Duration
	}{
		{"as Linux writes it", "some avg10=43.22 avg60=45.29 avg300=33.11 total=5757257654\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n", new(5757257654 * time.Microsecond)},
		{"no such line", "full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n", nil},
		{"no number", "some avg10=0.00 avg60=0.00 avg300=0.00 total=99999999999999999999\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "cpu")
			require.NoError(t, os.WriteFile(file, []byte(tt.content), 0o600))
			assert.Equal(t, tt.want, waited(file))
		})
	}
	assert.Nil(t, waited(filepath.Join(t.TempDir(), "none")), "a kernel without PSI")
}

func TestClassifyWhatServersCantDo(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want timeline.Cause
	}{
		{"no free port", fmt.Errorf("dial: %w", errno("EADDRNOTAVAIL")), timeline.Client},
		{"no descriptor left", fmt.Errorf("dial: %w", errno("EMFILE")), timeline.Client},
		{"no route", fmt.Errorf("dial: %w", errno("EHOSTUNREACH")), timeline.Unreachable},
		{"write to a closed connection", fmt.Errorf("write: %w", errno("EPIPE")), timeline.Reset},
		{"idle close", errors.New("http: server closed idle connection"), timeline.EOF},
		{"anything else", errors.New("malformed HTTP response"), timeline.Other},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, classify(tt.err)) })
	}
	assert.Equal(t, timeline.NotLeaving, millis(-1))
	assert.Zero(t, number("x"))
}
