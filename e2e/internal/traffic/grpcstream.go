package traffic

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// heldBuffer is the size of a channel's buffers for reading and writing: grpc-go's own, of 32 KiB each, are
// for more than a short message now and then.
const heldBuffer = 1 << 10

// streams opens streams of gRPC, on which the server sends by itself, as in events. Each has a channel, and
// so a connection, of its own. That costs the sender about 60 KiB, where a WebSocket costs it 20 and a
// stream of events 12 (TestHeldBudget); with grpc-go's own buffers it would be twice as much.
func streams(d *heldDriver) opener {
	return func(ctx context.Context, h *holder, handshake http.Header) (heldStream, *http.Response, error) {
		var failed atomic.Pointer[error] // grpc-go hands the errors of dials on as texts
		channel, err := grpc.NewClient(d.lane.URL,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithNoProxy(),
			grpc.WithDisableServiceConfig(),
			grpc.WithDisableRetry(),
			grpc.WithReadBufferSize(heldBuffer),
			grpc.WithWriteBufferSize(heldBuffer),
			grpc.WithContextDialer(func(dialling context.Context, address string) (net.Conn, error) {
				dialling = context.WithValue(dialling, attemptsKey{}, ctx.Value(attemptsKey{}))
				dialling = context.WithValue(dialling, dialledKey{}, ctx.Value(dialledKey{}))
				made, err := d.connectTo(dialling, "tcp", address)
				if err != nil {
					failed.Store(&err)
				}
				return made, err
			}),
		)
		if err != nil {
			return nil, nil, err
		}
		life, end := context.WithCancel(metadata.NewOutgoingContext(context.Background(), metadataOf(handshake)))
		stop := context.AfterFunc(ctx, end)
		s := &rpcStream{channel: channel, end: end}
		header, err := s.open(life, func() string { return d.schedule(h.expects()) })
		switch over := !stop(); {
		case err == nil && !over:
			return s, &http.Response{StatusCode: http.StatusOK, Header: header}, nil
		case over:
			err = context.Cause(ctx)
		case failed.Load() != nil:
			err = *failed.Load()
		}
		_ = s.abort()
		return nil, nil, err
	}
}

// metadataOf is a header, as gRPC has them.
func metadataOf(header http.Header) metadata.MD {
	out := metadata.MD{}
	for key, values := range header {
		out.Append(key, values...)
	}
	return out
}

// headerOf is the reverse of metadataOf.
func headerOf(values metadata.MD) http.Header {
	out := http.Header{}
	for key, value := range values {
		out[textproto.CanonicalMIMEHeaderKey(key)] = value
	}
	return out
}

// rpcStream is an open stream of gRPC.
type rpcStream struct {
	grpc.ClientStream
	channel *grpc.ClientConn
	end     context.CancelFunc
}

// open opens the stream, asks for events by a query that it makes once there is a connection, and returns
// the server's header.
func (s *rpcStream) open(ctx context.Context, query func() string) (http.Header, error) {
	method := "/" + protocol.GRPCService + "/" + protocol.GRPCEvents
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	var err error
	if s.ClientStream, err = s.channel.NewStream(ctx, desc, method); err != nil {
		return nil, err
	}
	if err := s.SendMsg(wrapperspb.String(query())); err != nil && !errors.Is(err, io.EOF) { // EOF: receiving tells
		return nil, err
	}
	header, err := s.Header()
	if err == nil && len(header) == 0 { // it has ended, and only receiving tells how
		_, err = s.receive()
	}
	return headerOf(header), err
}

func (*rpcStream) send(context.Context, int) error { return nil }

func (s *rpcStream) receive() (string, error) {
	var text wrapperspb.StringValue
	err := s.RecvMsg(&text)
	return text.GetValue(), err
}

// word implements heldStream. A status of the server's own comes with trailers, and one that grpc-go makes up
// for a connection that has ended without them. Where GOAWAY came before, that is the server's word, although
// no client of grpc-go hears of it as long as its stream goes on.
func (s *rpcStream) word(err error) (said string, confirms bool) {
	switch {
	case err == io.EOF: //nolint:errorlint // RecvMsg returns it as it is
		return "status OK", true
	case len(s.Trailer()) > 0:
		return "status " + grpcstatus.Code(err).String(), false
	case strings.Contains(err.Error(), "received prior goaway"):
		return "GOAWAY", false
	}
	return "", false
}

// leave closes the client's side of the stream, upon which the server ends it with status OK.
func (s *rpcStream) leave() error { return s.CloseSend() }

func (s *rpcStream) abort() error {
	s.end()
	return s.channel.Close()
}
