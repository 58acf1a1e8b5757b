package traffic

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// streamFault is one way in which a request in HTTP/2 or gRPC can end, planted on the wire.
type streamFault struct {
	name      string
	commit    func(*stream) error
	elsewhere func(*testing.T) string // where all requests go that the server never gets to see
	timeout   time.Duration           // the client's, if it is to run out
	// How a request with the fault ends, by load; Unsent where the load can't have it. OK is masked, but for a fault that is none.
	h2, get, grpc timeline.Cause
	none          bool
}

func streamFaults() []streamFault {
	all := func(f streamFault, c timeline.Cause) streamFault { f.h2, f.get, f.grpc = c, c, c; return f }
	again := func(f streamFault) streamFault {
		f.h2, f.get, f.grpc = timeline.GoAway, timeline.OK, timeline.OK
		return f
	}
	return []streamFault{
		all(streamFault{name: "nobody listens", elsewhere: nobody}, timeline.Refused),
		all(streamFault{name: "SYN swallowed", elsewhere: crowded, timeout: patience}, timeline.Timeout),
		// Taken back: GOAWAY below the stream.
		again(streamFault{name: "GOAWAY below it", commit: func(s *stream) error { return s.out.WriteGoAway(max(s.id, 2)-2, http2.ErrCodeNo, nil) }}),
		again(streamFault{name: "refused", commit: resetStream(http2.ErrCodeRefusedStream)}),
		// Before an answer.
		all(streamFault{name: "GOAWAY at it, then FIN", commit: func(s *stream) error {
			return errors.Join(s.out.WriteGoAway(s.id, http2.ErrCodeNo, nil), s.conn.CloseWrite())
		}}, timeline.EOF),
		all(streamFault{name: "stream reset", commit: resetStream(http2.ErrCodeInternal)}, timeline.Reset),
		all(streamFault{name: "FIN", commit: func(s *stream) error { return s.conn.CloseWrite() }}, timeline.EOF),
		all(streamFault{name: "RST", commit: func(s *stream) error { return reset(s.conn) }}, timeline.Reset),
		all(streamFault{name: "no answer", commit: func(*stream) error { return nil }, timeout: patience}, timeline.Timeout),
		// Within an answer.
		all(streamFault{name: "header, then FIN", commit: func(s *stream) error { return errors.Join(s.header(200), s.conn.CloseWrite()) }}, timeline.Truncated),
		all(streamFault{name: "header, then stream reset", commit: func(s *stream) error {
			return errors.Join(s.header(200), resetStream(http2.ErrCodeInternal)(s))
		}}, timeline.Truncated),
		all(streamFault{name: "header and no more", commit: func(s *stream) error { return s.header(200) }, timeout: patience}, timeline.Timeout),
		// The answer.
		all(streamFault{name: "status 503", commit: func(s *stream) error {
			s.foreign = true
			return errors.Join(s.header(503), s.out.WriteData(s.id, true, []byte(protocol.Body)))
		}}, timeline.HTTP5xx),
		all(streamFault{name: "another body", commit: func(s *stream) error { return s.answer("It works!") }}, timeline.WrongBody),
		all(streamFault{name: "another app", commit: func(s *stream) error { return s.answer(protocol.StrangerBody) }}, timeline.WrongApp),
		{name: "status INTERNAL", commit: trailer(codes.Internal), grpc: timeline.RPCStatus},
		{name: "status UNAVAILABLE, which is an answer", commit: trailer(codes.Unavailable), grpc: timeline.RPCStatus},
		// What looks like a fault and is none.
		all(streamFault{name: "late answer", none: true, commit: func(s *stream) error {
			<-time.After(late)
			return s.answer(protocol.Body)
		}}, timeline.OK),
		all(streamFault{name: "GOAWAY at it, then the answer", none: true, commit: func(s *stream) error {
			return errors.Join(s.out.WriteGoAway(s.id, http2.ErrCodeNo, nil), s.answer(protocol.Body))
		}}, timeline.OK),
	}
}

// stream is a request on its connection.
type stream struct {
	conn    *net.TCPConn
	out     *http2.Framer
	id      uint32
	grpc    bool
	foreign bool // the answer is none of gRPC's
	arrival
}

func resetStream(code http2.ErrCode) func(*stream) error {
	return func(s *stream) error { return s.out.WriteRSTStream(s.id, code) }
}

func trailer(code codes.Code) func(*stream) error {
	return func(s *stream) error {
		return s.fields(true, ":status", "200", "content-type", "application/grpc", "grpc-status", strconv.Itoa(int(code)))
	}
}

// fields writes a frame of header fields.
func (s *stream) fields(last bool, pairs ...string) error {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for pair := range slices.Chunk(pairs, 2) {
		if err := encoder.WriteField(hpack.HeaderField{Name: pair[0], Value: pair[1]}); err != nil {
			return err
		}
	}
	return s.out.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: last})
}

func (s *stream) header(code int) error {
	kind := "text/plain"
	if s.grpc && !s.foreign {
		kind = "application/grpc"
	}
	return s.fields(false, ":status", strconv.Itoa(code), "content-type", kind, "zerodrop-pod", "pod-a", "zerodrop-leaving-ms", "-1",
		"zerodrop-conn", strconv.Itoa(s.number), "zerodrop-conn-request", strconv.Itoa(s.use))
}

func (s *stream) answer(body string) error {
	if !s.grpc {
		return errors.Join(s.header(200), s.out.WriteData(s.id, true, []byte(body)))
	}
	message, err := proto.Marshal(wrapperspb.String(body))
	message = append([]byte{0, 0, 0, 0, byte(len(message))}, message...)
	return errors.Join(err, s.header(200), s.out.WriteData(s.id, false, message), s.fields(true, "grpc-status", "0"))
}

// streamApp is a server that speaks HTTP/2 by hand, frame by frame. It keeps a ledger.
type streamApp struct {
	listener net.Listener
	fault    streamFault
	faulty   []int
	serving  sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	seen  map[int][]arrival
}

// close ends what connections are left: a client keeps those on which it waits for a server that said GOAWAY.
func (a *streamApp) close() {
	_ = a.listener.Close()
	a.mu.Lock()
	for _, c := range a.conns {
		_ = c.Close()
	}
	a.mu.Unlock()
	a.serving.Wait()
}

func newStreamApp(f streamFault, faulty []int) (*streamApp, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	a := &streamApp{listener: listener, fault: f, faulty: faulty, seen: map[int][]arrival{}}
	if err != nil {
		return nil, err
	}
	a.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			a.mu.Lock()
			a.conns = append(a.conns, conn)
			number := len(a.conns)
			a.mu.Unlock()
			a.serving.Go(func() {
				defer func() { _ = reset(conn.(*net.TCPConn)) }()
				_ = a.serve(conn.(*net.TCPConn), number) // until either side ends it
			})
		}
	})
	return a, nil
}

func (a *streamApp) serve(conn *net.TCPConn, number int) error {
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		return err
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := framer.WriteSettings(); err != nil {
		return err
	}
	open, use := map[uint32]*stream{}, 0
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return err
		}
		var ended uint32
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				err = framer.WritePing(true, f.Data)
			}
		case *http2.MetaHeadersFrame:
			use++
			s := &stream{conn: conn, out: framer, id: f.StreamID, arrival: arrival{number: number, use: use, port: conn.RemoteAddr().(*net.TCPAddr).Port}}
			for _, field := range f.Fields {
				switch strings.ToLower(field.Name) {
				case "zerodrop-lane":
					s.lane = field.Value
				case "zerodrop-seq":
					s.seq, err = strconv.Atoi(field.Value)
				case "content-type":
					s.grpc = field.Value == "application/grpc"
				}
			}
			open[f.StreamID] = s
			if f.StreamEnded() {
				ended = f.StreamID
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				ended = f.StreamID
			}
		}
		if s := open[ended]; s != nil && err == nil {
			err = a.commit(s)
		}
		if err != nil {
			return err
		}
	}
}

func (a *streamApp) commit(s *stream) error {
	a.mu.Lock()
	s.fault = slices.Contains(a.faulty, s.seq) && len(a.seen[s.seq]) == 0
	a.seen[s.seq] = append(a.seen[s.seq], s.arrival)
	a.mu.Unlock()
	if s.fault {
		return a.fault.commit(s)
	}
	return s.answer(protocol.Body)
}

// streamClients are the connections of a trial; each has a request every 40 ms.
const streamClients, streamRate = 5, 125

// streamTrials runs a trial again while it is void: where two requests were on one connection at a time, a fault of one was one of the other.
func streamTrials(f streamFault, load scenarios.Load, seed uint64, elsewhere string, want timeline.Cause) (err error) {
	for range 20 {
		if err = streamTrial(f, load, seed, elsewhere, want); !errors.Is(err, errVoid) {
			break
		}
	}
	return err
}

// streamsSending is sending for these: they take more of a machine.
var streamsSending = make(chan struct{}, 4)

// streamTrial sends a lane of which some requests meet the fault, and compares the two ledgers request by request.
func streamTrial(f streamFault, load scenarios.Load, seed uint64, elsewhere string, want timeline.Cause) error {
	faulty := rand.New(rand.NewPCG(seed, 0)).Perm(plannedInTrial)[:faultsInTrial]
	streamsSending <- struct{}{}
	defer func() { <-streamsSending }()
	server, err := newStreamApp(f, faulty)
	if err != nil {
		return err
	}
	address := server.listener.Addr().String()
	if elsewhere != "" {
		address = strings.TrimPrefix(elsewhere, "http://")
	}
	lane := Lane{Name: "test/" + load.Name, URL: "http://" + address, Start: 10 * time.Millisecond, Load: load}
	if load.Driver == scenarios.GRPC {
		lane.URL = "passthrough:///" + address
	}
	lane.Load.Clients, lane.Load.Timeout = streamClients, plenty
	if f.timeout != 0 {
		lane.Load.Timeout = f.timeout
	}
	plan := Plan{Clock: timeline.NewClock(time.Now()), End: &End{}, Max: time.Minute}
	plan.End.Set(lane.Due(plannedInTrial - 1))
	record, err := Send(lane, plan)
	server.close()
	if err != nil {
		return err
	}
	var errs []error
	for seq, r := range record.Requests {
		seen := server.seen[seq]
		planted := elsewhere != "" || slices.Contains(faulty, seq)
		cause, attempts, arrivals, code := timeline.OK, 1, 1, 200
		if planted {
			cause = want
			switch {
			case elsewhere != "":
				arrivals = 0
			case want == timeline.OK && !f.none:
				attempts, arrivals = 2, 2
			}
			switch {
			case want == timeline.HTTP5xx:
				code = 503
			case !slices.Contains([]timeline.Cause{timeline.OK, timeline.WrongBody, timeline.WrongApp, timeline.Truncated}, want) && f.name != "header and no more":
				code = 0
			}
		}
		if load.Driver == scenarios.GRPC {
			code = 0 // of its statuses, which OK is
			if cause == timeline.RPCStatus {
				code = int(r.Code) // has a test of its own
			}
		}
		switch {
		case len(seen) != arrivals, int(r.Attempts) != attempts, r.Cause != cause, int(r.Code) != code:
			err = fmt.Errorf("want %d arrivals, %d attempts, %s (%d)", arrivals, attempts, cause, code)
		case r.Port == 0, record.AddressOf(r) != "127.0.0.1":
			err = errors.New("left from no port, to nobody")
		case arrivals > 0 && (int(r.Port) != seen[arrivals-1].port || int(r.ConnUse) != seen[arrivals-1].use):
			err = errors.New("was sent on another connection")
		default:
			continue
		}
		errs = append(errs, fmt.Errorf("request %d, planted %t: %w\n\tclient: %s %+v\n\tserver: %+v", seq, planted, err, r.Cause, r, seen))
	}
	for seq, r := range record.Requests[:plannedInTrial-streamClients] {
		if next := record.Requests[seq+streamClients]; len(errs) > 0 && next.Sent() < r.Done() {
			return fmt.Errorf("%w: %w", errVoid, errors.Join(errs...))
		}
	}
	return errors.Join(errs...)
}

// TestPlantedStreamFaults is TestPlantedFaults for HTTP/2 and gRPC, three loads together.
func TestPlantedStreamFaults(t *testing.T) {
	trials := 20
	if testing.Short() {
		trials = 3
	}
	for _, f := range streamFaults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			var elsewhere string
			if f.elsewhere != nil {
				elsewhere = f.elsewhere(t)
			}
			var all sync.WaitGroup
			for seed := range uint64(trials) {
				for want, load := range map[*timeline.Cause]scenarios.Load{
					&f.h2: scenarios.ReusedH2(streamRate), &f.get: scenarios.ReplayableH2(streamRate), &f.grpc: scenarios.Unary(streamRate),
				} {
					if *want != timeline.Unsent {
						all.Go(func() {
							assert.NoError(t, streamTrials(f, load, seed, elsewhere, *want), "%s, seed %d", load.Name, seed)
						})
					}
				}
			}
			all.Wait()
		})
	}
}

// TestCharge: a call that got no connection is charged to the dial that its error names, and to no other.
func TestCharge(t *testing.T) {
	refused, open := &dial{err: syscall.ECONNREFUSED}, &dial{}
	tests := []struct {
		name     string
		text     string
		code     codes.Code
		last     *dial
		wantDial *dial
		want     timeline.Cause
	}{
		{"refused", `last connection error: connection error: desc = "transport: Error while dialing: dial from port 40001: dial tcp: refused"`, codes.Unavailable, open, refused, timeline.Refused},
		{"by nobody known", `transport: Error while dialing: dial from port 40002: dial tcp: refused`, codes.Unavailable, refused, nil, timeline.Other},
		{"waits for a dial", "context deadline exceeded while waiting for connections to become ready", codes.DeadlineExceeded, open, open, timeline.Timeout},
		{"waits for nothing", "context deadline exceeded", codes.DeadlineExceeded, refused, nil, timeline.Timeout},
		{"no addresses", "last resolver error: produced zero addresses", codes.Unavailable, refused, nil, timeline.NoAddress},
		{"no name", `name resolver error: lookup app on 10.96.0.10:53: no such host`, codes.Unavailable, nil, nil, timeline.DNS},
		{"nobody says", "who knows", codes.Unavailable, refused, nil, timeline.Other},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &channel{dials: map[uint16]*dial{40001: refused, 40003: open}, last: tt.last}
			got, cause := c.charge(grpcstatus.Error(tt.code, tt.text))
			assert.Same(t, tt.wantDial, got)
			assert.Equal(t, tt.want, cause)
		})
	}
}

// TestTargets: what a channel's scheme makes of its target, up to the answer of a Pod or to the cause for which there is none.
func TestTargets(t *testing.T) {
	server, err := newStreamApp(streamFault{}, nil)
	require.NoError(t, err)
	defer server.close()
	address := server.listener.Addr().String()
	tests := []struct {
		name   string
		target string
		pod    string
		want   timeline.Cause
		ip     string
	}{
		{"an address", "passthrough:///" + address, "pod-a", timeline.OK, "127.0.0.1"},
		{"a name", "dns:///localhost:" + strings.Split(address, ":")[1], "pod-a", timeline.OK, "127.0.0.1"},
		{"no name", "dns:///app..invalid:80", "", timeline.NoAddress, ""}, // as a Service without endpoints has,
		{"no cluster to watch", "kubernetes:///app.zerodrop:grpc", "", timeline.Other, ""},
		{"no control plane", "xds:///app.zerodrop:9090", "", timeline.Other, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			record := send(t, scenarios.Unary(100), tt.target, 3)
			for _, r := range record.Requests {
				assert.Equal(t, tt.want, r.Cause)
				assert.Equal(t, tt.pod, record.PodOf(r))
				assert.Equal(t, tt.ip, record.AddressOf(r))
			}
			pod, err := ProbeGRPC(t.Context(), tt.target)
			assert.Equal(t, tt.pod, pod)
			assert.Equal(t, tt.want == timeline.OK, err == nil, "%v", err)
		})
	}
}
