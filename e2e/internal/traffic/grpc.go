package traffic

import (
	"context"
	"fmt"
	"maps"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sercand/kuberesolver/v6"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	grpcresolver "google.golang.org/grpc/resolver"
	"google.golang.org/grpc/stats"
	grpcstatus "google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds" // the resolver of xds:///, which can't be had without its registration
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// grpcDriver makes unary calls over channels that it keeps. The lane's URL is a target as grpc-go
// has them, whose scheme says how a channel finds its addresses:
//
//	passthrough:///10.96.3.4:9090                   dialled as it is; one connection
//	dns:///app.zerodrop.svc.cluster.local.:9090     grpc-go's resolver; round robin over all addresses
//	kubernetes:///app.zerodrop:grpc                 a watch of EndpointSlices (kuberesolver); round robin
//	xds:///app.zerodrop.svc.cluster.local:9090      from the control plane of the process' bootstrap
//
// No service config but xDS' own is obeyed, and none has retries. What is left is the transparent
// retry, which no option turns off: it shows as a second attempt.
type grpcDriver struct {
	lane     Lane
	shard    Shard
	channels []*channel
}

func newGRPCDriver(c driverConfig) *grpcDriver {
	d := &grpcDriver{lane: c.lane, shard: c.shard}
	var kubernetes grpcresolver.Builder
	if schemeOf(c.lane.URL) == "kubernetes" {
		kubernetes = endpointWatcher()
	}
	for range (c.lane.Load.Clients + c.shard.count() - 1) / c.shard.count() {
		d.channels = append(d.channels, newChannel(c.lane, kubernetes))
	}
	return d
}

// endpointWatcher is the resolver of kubernetes:///, one for the whole process: it never closes the
// inotify instance by which it watches its token's file, of which a machine has 128 for all nodes of
// kind. Where there is no token each driver has one that says so when it is used.
func endpointWatcher() grpcresolver.Builder {
	client, _ := inClusterClient()
	return kuberesolver.NewBuilder(client, "kubernetes")
}

var inClusterClient = sync.OnceValues(kuberesolver.NewInClusterK8sClient)

func schemeOf(target string) string {
	scheme, _, _ := strings.Cut(target, ":")
	return scheme
}

// Close implements Driver.
func (d *grpcDriver) Close() error {
	for _, c := range d.channels {
		if c.ClientConn != nil {
			_ = c.Close()
		}
	}
	return nil
}

// Do implements Driver. Channels take turns.
func (d *grpcDriver) Do(ctx context.Context, seq int) Outcome {
	ctx, cancel := context.WithTimeout(ctx, d.lane.Load.Timeout)
	defer cancel()
	o, _ := d.channels[seq/d.shard.count()%len(d.channels)].call(ctx, d.lane, seq)
	return o
}

// channel is a grpc.ClientConn and what is known of its connections.
type channel struct {
	*grpc.ClientConn
	err error // why there is none

	mu    sync.Mutex
	dials map[uint16]*dial // by local port
	last  *dial
}

// dial is an attempt to connect.
type dial struct {
	attempts
	made *conn // nil if it is under way, or failed
	err  error // why it failed
}

func newChannel(lane Lane, kubernetes grpcresolver.Builder) *channel {
	c := &channel{dials: map[uint16]*dial{}}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(c.dial),
		grpc.WithNoProxy(),
		grpc.WithStatsHandler(attemptStats{c}),
		grpc.WithDisableRetry(),
	}
	switch schemeOf(lane.URL) {
	case "xds":
	case "dns":
		options = append(options, grpc.WithDisableServiceConfig(), roundRobin)
	case "kubernetes":
		options = append(options, grpc.WithDisableServiceConfig(), roundRobin, grpc.WithResolvers(kubernetes))
	default:
		options = append(options, grpc.WithDisableServiceConfig())
	}
	if c.ClientConn, c.err = grpc.NewClient(lane.URL, options...); c.err == nil {
		c.Connect()
	}
	return c
}

var roundRobin = grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`)

// call makes one call and says how it ended, with the error that it ended in.
func (c *channel) call(ctx context.Context, lane Lane, seq int) (Outcome, error) {
	o := Outcome{Leaving: timeline.NotLeaving, Attempts: 1}
	if c.err != nil {
		o.Cause = timeline.Client
		return o, c.err
	}
	var rpc rpc
	ctx = metadata.AppendToOutgoingContext(context.WithValue(ctx, rpcKey{}, &rpc),
		protocol.HeaderLane, lane.Name, protocol.HeaderSeq, strconv.Itoa(seq))
	var (
		answer wrapperspb.StringValue
		header metadata.MD
	)
	err := c.Invoke(ctx, grpcMethod, durationpb.New(lane.Load.Work), &answer, grpc.Header(&header))
	rpc.mu.Lock()
	defer rpc.mu.Unlock()
	o.Attempts, o.Port, o.Address, o.ConnUse = max(1, rpc.count), rpc.port, rpc.address, rpc.use
	switch {
	case err == nil && answer.Value == protocol.StrangerBody:
		o.Cause = timeline.WrongApp
	case err == nil && answer.Value != protocol.Body:
		o.Cause = timeline.WrongBody
	case err == nil:
		o.Cause = timeline.OK
	case rpc.trailer:
		o.Cause, o.Code = timeline.RPCStatus, uint16(grpcstatus.Code(err))
	case rpc.address == "":
		var d *dial
		if d, o.Cause = c.charge(err); d != nil {
			_, o.Port, o.Address, _ = d.seen()
		}
	default:
		o.Cause = rpc.cause(err)
	}
	values := headerOf(header)
	if o.Pod = values.Get(protocol.HeaderPod); o.Pod != "" {
		identifySampleApp(values, &o)
	}
	return o, err
}

const grpcMethod = "/" + protocol.GRPCService + "/" + protocol.GRPCWork

// charge finds the dial for which a call got no connection, and the cause. grpc-go hands errors on
// as texts, so a dial is known again by the local port that it has put into its own.
func (c *channel) charge(err error) (*dial, timeline.Cause) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := err.Error()
	switch named := dialPort.FindStringSubmatch(text); {
	case named != nil:
		port, _ := strconv.ParseUint(named[1], 10, 16)
		if d := c.dials[uint16(port)]; d != nil && d.err != nil { // and not a later one from the same port
			return d, classify(d.err)
		}
		return nil, timeline.Other
	case grpcstatus.Code(err) == codes.DeadlineExceeded:
		if c.last != nil && c.last.made == nil && c.last.err == nil {
			return c.last, timeline.Timeout // of which it has waited
		}
		return nil, timeline.Timeout
	case noAddress.MatchString(text):
		return nil, timeline.NoAddress
	case strings.Contains(text, "lookup "):
		return nil, timeline.DNS
	case c.last != nil && c.last.made != nil && c.last.made.ended.Load() != nil: // before it had said it speaks HTTP/2
		return c.last, classify(*c.last.made.ended.Load())
	}
	return nil, timeline.Other
}

var (
	// dialPort finds the port in the error of a dial.
	dialPort = regexp.MustCompile(`dial from port (\d+):`)
	// noAddress knows the errors of load balancers that nobody has given an address: pick_first's,
	// round_robin's, and those of xDS. A name that doesn't exist is no address, too.
	noAddress = regexp.MustCompile(`zero addresses|no (children|targets) to pick from|all priorities are removed`)
)

// dialError is a dial's, with the port that it is known by.
type dialError struct {
	port uint16
	err  error
}

func (e dialError) Error() string {
	return "dial from port " + strconv.Itoa(int(e.port)) + ": " + e.err.Error()
}
func (e dialError) Unwrap() error { return e.err }

// dial connects from a port that is known beforehand.
func (c *channel) dial(ctx context.Context, address string) (net.Conn, error) {
	d := &dial{}
	c.mu.Lock()
	c.last = d
	c.mu.Unlock()
	dialer := net.Dialer{KeepAlive: -1, ControlContext: bindFirst}
	made, err := dialer.DialContext(context.WithValue(ctx, attemptsKey{}, &d.attempts), "tcp", address)
	_, port, _, _ := d.seen()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		d.made = &conn{Conn: made}
	}
	d.err = err
	if len(c.dials) >= maxDials { // of those that failed, only the latest is asked for
		maps.DeleteFunc(c.dials, func(_ uint16, d *dial) bool { return d.made == nil })
	}
	c.dials[port] = d
	if err != nil {
		return nil, dialError{port, err}
	}
	return d.made, nil
}

// maxDials bounds what is remembered of dials.
const maxDials = 1000

// connection is the one that a channel has from a local port.
func (c *channel) connection(port uint16) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.dials[port]; d != nil && d.made != nil {
		return d.made
	}
	return &conn{}
}

// rpcKey is the context key of a call's *rpc.
type rpcKey struct{}

// rpc is what went on the wire for one call. All but the count is of the last attempt.
type rpc struct {
	mu              sync.Mutex
	count           uint8
	port            uint16
	address         string // IP; "" while it waits for a connection
	use             uint32 // which call on its connection it is, from 1
	conn            *conn
	header, trailer bool // that have come
}

// cause is that of a call which had a connection and no status from the server.
func (r *rpc) cause(err error) timeline.Cause {
	if grpcstatus.Code(err) == codes.DeadlineExceeded {
		return timeline.Timeout
	}
	text := err.Error()
	switch ended := r.conn.ended.Load(); {
	case isGoAway(text):
		return timeline.GoAway
	case r.header: // whatever ended it, it ended within the answer
		return timeline.Truncated
	case strings.Contains(text, "unexpected HTTP status code received from server: 5"):
		return timeline.HTTP5xx
	case strings.Contains(text, "unexpected HTTP status code"):
		return timeline.HTTPOther
	case strings.Contains(text, "RST_STREAM"):
		return timeline.Reset
	case ended != nil:
		return classify(*ended)
	}
	return timeline.Other
}

// attemptStats sees each attempt of a channel's calls.
type attemptStats struct{ channel *channel }

// TagConn implements stats.Handler.
func (attemptStats) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (attemptStats) HandleConn(context.Context, stats.ConnStats) {}

// TagRPC implements stats.Handler.
func (attemptStats) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler. An attempt begins, is given a stream on a connection, which
// OutHeader tells with both addresses, and gets answers.
func (s attemptStats) HandleRPC(ctx context.Context, event stats.RPCStats) {
	r, ok := ctx.Value(rpcKey{}).(*rpc)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e := event.(type) {
	case *stats.Begin:
		r.conn, r.port, r.address, r.use, r.header, r.trailer = nil, 0, "", 0, false, false
	case *stats.OutHeader:
		if r.count < 255 {
			r.count++
		}
		if local, ok := e.LocalAddr.(*net.TCPAddr); ok {
			r.port = uint16(local.Port)
		}
		r.address, _, _ = net.SplitHostPort(e.RemoteAddr.String())
		r.conn = s.channel.connection(r.port)
		r.use = r.conn.uses.Add(1)
	case *stats.InHeader:
		r.header = true
	case *stats.InTrailer:
		r.trailer = true
	}
}

// ProbeGRPC makes a call to the app at a target, over a channel of its own, and returns the Pod that
// answered it well. Where the channel chooses among several Pods it makes a second one: the first
// goes to the Pod that is connected first, and that is always the same.
func ProbeGRPC(ctx context.Context, target string) (pod string, err error) {
	lane := Lane{Name: "probe", URL: target, Load: scenarios.Load{Clients: 1}}
	d := newGRPCDriver(driverConfig{lane: lane})
	defer func() { _ = d.Close() }()
	o, err := d.channels[0].call(ctx, lane, probeSeq)
	if schemeOf(target) != "passthrough" && err == nil {
		select {
		case <-time.After(probeAgainAfter):
		case <-ctx.Done():
		}
		o, err = d.channels[0].call(ctx, lane, probeSeq)
	}
	if err == nil && o.Cause != timeline.OK {
		err = fmt.Errorf("%s gives a wrong answer", target)
	}
	return o.Pod, err
}

// probeSeq is the number of no planned request: the app may be told to fail some of those.
const probeSeq = -1

// probeAgainAfter is the time for all of a channel's connections to be there.
const probeAgainAfter = 50 * time.Millisecond

// IsGRPC says that a URL is a target of the driver for gRPC.
func IsGRPC(url string) bool { return !strings.HasPrefix(schemeOf(url), "http") }
