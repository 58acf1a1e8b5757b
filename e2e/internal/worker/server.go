package worker

import (
	"context"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zerodrop/zerodrop/e2e/internal/queue"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// Server is a worker. It takes one start request in its life.
type Server struct {
	born time.Time
	// skew is what the clock that it tells is off by.
	skew time.Duration
	exit chan struct{}
	// lookup resolves names; nil outside of tests.
	lookup traffic.Lookup
	tasks  queue.Queue

	mu      sync.Mutex
	started *startRequest
	clock   timeline.Clock
	end     *traffic.End
	ledgers []*traffic.Ledger
	sent    chan struct{} // closed when summary is there
	summary summary
	exiting sync.Once
}

// NewServer is a worker that has not started. Skew makes its clock go wrong by as much, which only
// a test wants.
func NewServer(skew time.Duration) *Server {
	return &Server{
		born: time.Now(),
		skew: skew,
		exit: make(chan struct{}),
		end:  &traffic.End{},
		sent: make(chan struct{}),
	}
}

// Exit is closed when the worker is no longer needed.
func (s *Server) Exit() <-chan struct{} { return s.exit }

// now is the worker's clock: the wall clock as it was when the worker began, and since then the
// monotonic one, which nobody sets.
func (s *Server) now() time.Time { return s.born.Round(0).Add(time.Since(s.born) + s.skew) }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method + " " + r.URL.Path {
	case "GET /clock":
		reading := clockReading{UnixNano: s.now().UnixNano()}
		if s.skew == 0 {
			reading.Kernel = timeline.Kernel()
		}
		_ = json.NewEncoder(w).Encode(reading) // who doesn't get it asks again
	case "POST /probe":
		probe(w, r)
	case "POST /start":
		answer(w, r, s.start)
	case "GET /records":
		s.records(w, r)
	case "POST /stop":
		answer(w, r, s.stop)
	case "POST " + protocol.PathTaskTake, "POST " + protocol.PathTaskRenew, "POST " + protocol.PathTaskDone,
		"POST " + protocol.PathTaskHandBack:
		s.tasks.ServeHTTP(w, r)
	case "POST /exit":
		s.exiting.Do(func() { close(s.exit) })
		w.WriteHeader(http.StatusNoContent)
	default:
		http.Error(w, "no such thing: "+r.Method+" "+r.URL.Path, http.StatusNotFound)
	}
}

// answer decodes what is posted and does it. What can't be done is a conflict: to ask again
// wouldn't help.
func answer[T any](w http.ResponseWriter, r *http.Request, do func(T) error) {
	in, err := posted[T](w, r)
	if err == nil {
		err = do(in)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// posted decodes what is posted. A field that is unknown here is a harness of another version.
func posted[T any](w http.ResponseWriter, r *http.Request) (in T, err error) {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(&in)
	return in, err
}

// probe sends one request to the app and tells which Pod has answered it, or what went wrong.
func probe(w http.ResponseWriter, r *http.Request) {
	at, err := posted[Target](w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	var a probeResponse
	if a.Answer, err = Probe(r.Context(), at); err != nil {
		a.Err = err.Error()
	}
	_ = json.NewEncoder(w).Encode(a) // who doesn't get it asks again
}

// probeTimeout is how long the app may take to answer a probe. One that isn't the sample app may be asked for
// what is slow, but has to be sooner than who waits for the worker.
const (
	probeTimeout   = time.Second
	foreignTimeout = callTimeout - time.Second
)

// probeWork is how long the app is to work for a probe, so that those that are sent at the same time
// take a connection each, also of a proxy's own.
const probeWork = 100 * time.Millisecond

// Probe sends one request to the app and returns the answer: of the sample app one that was good, of another
// any.
func Probe(ctx context.Context, at Target) (a traffic.Answer, err error) {
	within := probeTimeout
	if at.App != nil {
		within = foreignTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if traffic.IsGRPC(at.URL) {
		a.Pod, err = traffic.ProbeGRPC(ctx, at.URL)
		return a, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if at.Dial.IsValid() {
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(at.Dial.String(), port))
		}
	}
	if at.App != nil {
		transport.TLSClientConfig = at.App.TLS
		return traffic.ProbeForeign(ctx, transport, at.URL, *at.App)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.URL+protocol.PathWork, nil)
	if err != nil {
		return a, err
	}
	req.URL.RawQuery = url.Values{protocol.ParamFor: {probeWork.String()}}.Encode()
	client := &http.Client{Transport: transport}
	resp, err := client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<10)); err != nil {
		return a, err
	}
	if resp.StatusCode != http.StatusOK {
		return a, fmt.Errorf("%s%s answers %s", at.URL, protocol.PathWork, resp.Status)
	}
	a.Pod = resp.Header.Get(protocol.HeaderPod)
	return a, nil
}

// start begins to send. The same request may come twice, if the answer to the first did not arrive.
func (s *Server) start(o startRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started != nil {
		if reflect.DeepEqual(*s.started, o) {
			return nil
		}
		return fmt.Errorf("has started already")
	}
	if len(o.Lanes) == 0 {
		return fmt.Errorf("start request has no lanes")
	}
	for _, lane := range o.Lanes {
		if err := lane.Validate(); err != nil {
			return fmt.Errorf("start request: %w", err)
		}
	}
	// The clock of the run, on this machine's monotonic clock.
	s.clock = timeline.NewClock(time.Now().Add(-s.now().Sub(time.Unix(0, o.Zero))))
	if late := s.clock.Offset(time.Now()) - o.Lanes[0].Start; late > 0 {
		return fmt.Errorf("start request came %s after its first request was due", late)
	}
	s.started = &o
	if o.Tasks != nil {
		clock := s.clock
		s.tasks.Open(
			queue.Plan{TaskSpec: *o.Tasks, Start: o.Lanes[0].Start},
			func() time.Duration { return clock.Offset(time.Now()).Round(time.Microsecond) },
		)
	}
	for range o.Lanes {
		s.ledgers = append(s.ledgers, traffic.NewLedger())
	}
	go s.send(o)
	return nil
}

// send sends all lanes and closes the ledgers.
func (s *Server) send(o startRequest) {
	pressure := traffic.Pressure()
	var lanes errgroup.Group
	for i, lane := range o.Lanes {
		lanes.Go(func() error {
			return traffic.SendShard(
				lane,
				traffic.Plan{Clock: s.clock, End: s.end, Max: o.Max, Shard: o.Shard, Lookup: s.lookup},
				s.ledgers[i],
			)
		})
	}
	err := lanes.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.summary.Err = err.Error()
	}
	s.summary.Pressure = pressure()
	s.summary.Tasks = s.tasks.Close()
	for _, l := range s.ledgers {
		s.summary.Recorded = append(s.summary.Recorded, l.Len())
		s.summary.Lookups = append(s.summary.Lookups, l.Lookups())
		s.summary.Held = append(s.summary.Held, l.Held())
	}
	close(s.sent)
}

// stop is refused when it comes too late: requests beyond it may have been sent. The load ends then
// as soon as it can: whoever asked for its end wants that, above all.
func (s *Server) stop(e stopRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started == nil {
		return fmt.Errorf("has not started and can't stop")
	}
	if at, known := s.end.At(); known {
		if at == e.Offset {
			return nil
		}
		return fmt.Errorf("ends at %s already", at)
	}
	if late := s.clock.Offset(time.Now()) - e.Offset; late > 0 {
		s.end.Set(s.clock.Offset(time.Now()))
		return fmt.Errorf("the end of the load came %s too late", late)
	}
	s.end.Set(e.Offset)
	return nil
}

// flushEvery is how often records are handed on.
const flushEvery = 500 * time.Millisecond

// records hands on what has ended since the given places in the lanes' ledgers (?from=12,0,7),
// until all is sent and handed on.
func (s *Server) records(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	ledgers := s.ledgers
	s.mu.Unlock()
	cursors, err := parseCursors(r.URL.Query().Get("from"), len(ledgers))
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	out, flusher := gob.NewEncoder(w), http.NewResponseController(w)
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for over := false; ; {
		for i, l := range ledgers {
			b := batch{Lane: i, Batch: l.Since(cursors[i])}
			if len(b.Seqs) == 0 {
				continue
			}
			cursors[i] += len(b.Seqs)
			if out.Encode(b) != nil {
				return // who reads will come back
			}
		}
		if over {
			_ = out.Encode(batch{Lane: noLane, Last: &s.summary})
			return
		}
		if out.Encode(batch{Lane: noLane}) != nil || flusher.Flush() != nil { // nothing new is news, too
			return
		}
		select {
		case <-s.sent:
			over = true // once more, for what was put since
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

func parseCursors(text string, lanes int) ([]int, error) {
	cursors := make([]int, 0, lanes)
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("from=%q: want a number for each lane", text)
		}
		cursors = append(cursors, n)
	}
	if lanes == 0 || len(cursors) != lanes {
		return nil, fmt.Errorf("from=%q: %d places for %d lanes", text, len(cursors), lanes)
	}
	return cursors, nil
}
