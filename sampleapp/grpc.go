package main

import (
	"context"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// grpcServer returns the gRPC server that is to be started and shut down: the work, and the health
// service that grpc-go has.
func (s *server) grpcServer() *grpc.Server {
	g := grpc.NewServer(grpc.StatsHandler(rpcLedger{s}), grpc.Creds(connCredentials{insecure.NewCredentials()}))
	g.RegisterService(&grpc.ServiceDesc{
		ServiceName: protocol.GRPCService,
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: protocol.GRPCWork,
			Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				return s.workRPC(ctx, decode)
			},
		}},
		Streams: []grpc.StreamDesc{{
			StreamName:    protocol.GRPCEvents,
			Handler:       func(_ any, stream grpc.ServerStream) error { return s.eventsRPC(stream) },
			ServerStreams: true,
			ClientStreams: true,
		}},
	}, s)
	healthy := health.NewServer()
	healthpb.RegisterHealthServer(g, healthy)
	if s.unready {
		go func() {
			<-s.terminator.began
			healthy.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
		}()
	}
	return g
}

// workRPC is work, for gRPC.
func (s *server) workRPC(ctx context.Context, decode func(any) error) (*wrapperspb.StringValue, error) {
	var work durationpb.Duration
	if err := decode(&work); err != nil {
		return nil, err
	}
	if duration := work.AsDuration(); duration < 0 || duration > maxWork {
		return nil, status.Errorf(codes.InvalidArgument, "work of %s: want a duration from 0s to %s", duration, maxWork)
	}
	connection := connectionOf(ctx)
	number := connection.requests.Add(1)
	if err := pause(ctx, work.AsDuration()); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	if lane, seq := named(ctx); s.fails(lane, seq) {
		return nil, status.Error(codes.Internal, errFailed.Error()) // and without a word of who says so
	}
	err := grpc.SetHeader(ctx, metadata.Pairs(
		protocol.HeaderPod, s.pod,
		protocol.HeaderLeaving, s.terminator.milliseconds(),
		protocol.HeaderConn, strconv.FormatInt(connection.number, 10),
		protocol.HeaderConnRequest, strconv.FormatInt(number, 10),
	))
	return wrapperspb.String(s.body()), err
}

// named is which request of the load a call is, as it says.
func named(ctx context.Context) (lane, seq string) {
	value := valueIn(ctx)
	return value(protocol.HeaderLane), value(protocol.HeaderSeq)
}

// valueIn finds values in the metadata of a call, as http.Header.Get does in a header.
func valueIn(ctx context.Context) func(key string) string {
	return func(key string) string {
		if values := metadata.ValueFromIncomingContext(ctx, key); len(values) > 0 {
			return values[0]
		}
		return ""
	}
}

// rpcLedger keeps the server's side of the accounts for gRPC. A call counts as answered when grpc-go
// has taken its status, which it then writes by itself: nothing tells when the kernel has it.
type rpcLedger struct{ *server }

// rpcKey is the context key of the function that ends a call in the ledger.
type rpcKey struct{}

// TagConn implements stats.Handler: it numbers the connection.
func (l rpcLedger) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return l.numbered(ctx, nil)
}

// HandleConn implements stats.Handler.
func (rpcLedger) HandleConn(context.Context, stats.ConnStats) {}

// TagRPC implements stats.Handler: it writes the beginning of a call down.
func (l rpcLedger) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	if info.FullMethodName != "/"+protocol.GRPCService+"/"+protocol.GRPCWork {
		return ctx
	}
	lane, seq := named(ctx)
	begun := l.unanswered.add(lane, seq)
	return context.WithValue(ctx, rpcKey{}, func(err error) {
		begun()
		// As with HTTP, a call that was refused is answered, and one that was failed or that nobody
		// waits for is not.
		if code := status.Code(err); code == codes.OK || code == codes.InvalidArgument {
			l.answered.add(time.Now(), lane)
		}
	})
}

// HandleRPC implements stats.Handler: it writes the end of a call down.
func (rpcLedger) HandleRPC(ctx context.Context, s stats.RPCStats) {
	end, isEnd := s.(*stats.End)
	if done, ok := ctx.Value(rpcKey{}).(func(error)); ok && isEnd {
		done(end.Error)
	}
}
