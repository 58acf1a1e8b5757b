package main

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// rpcHolder holds a stream of gRPC.
type rpcHolder struct{ grpc.ClientStream }

// stream opens a stream with a query, over a channel of its own.
func (c *child) stream(query string, values metadata.MD) (*rpcHolder, *net.TCPConn) {
	made := make(chan *net.TCPConn, 1)
	channel, err := grpc.NewClient("passthrough:///"+c.await("listening").GRPC,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err == nil {
				made <- conn.(*net.TCPConn)
			}
			return conn, err
		}))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = channel.Close() })
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(c.t.Context(), values), patience)
	c.t.Cleanup(cancel)
	stream, err := channel.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/zerodrop.App/Events")
	require.NoError(c.t, err)
	require.NoError(c.t, stream.SendMsg(wrapperspb.String(query)))
	return &rpcHolder{stream}, <-made
}

// openStream is openEvents, for gRPC, and slower: a reset overtakes what the app has sent just before.
func (c *child) openStream(client int) *holder {
	values := metadata.MD{}
	for key, value := range heldHeader(client) {
		values.Append(key, value...)
	}
	stream, conn := c.stream("from=0&step=1&in=0s&every=20ms", values)
	header, err := stream.Header()
	require.NoError(c.t, err)
	held := make(map[string][]string)
	for _, key := range []string{protocol.HeaderPod, protocol.HeaderLeaving, protocol.HeaderConn} {
		held[key] = header.Get(key)
	}
	return &holder{t: c.t, conn: conn, rpc: stream, held: held}
}

func (h *rpcHolder) receive() (string, error) {
	var text wrapperspb.StringValue
	err := h.RecvMsg(&text)
	return text.Value, err
}

// ended says what an error of receive means.
func (h *rpcHolder) ended(err error) string {
	switch text := err.Error(); {
	case errors.Is(err, io.EOF):
		return "status OK"
	case len(h.Trailer()) > 0:
		return "status " + status.Code(err).String()
	case strings.Contains(text, "received prior goaway"): // and then FIN or RST, by what the app had not read
		return "GOAWAY"
	case strings.Contains(text, "connection reset by peer"):
		return "RST"
	case strings.Contains(text, "i/o timeout"):
		return "nothing"
	default:
		return text
	}
}

// TestBadStreams: who can't be told apart from others holds nothing.
func TestBadStreams(t *testing.T) {
	t.Parallel()
	app := listening(t)
	who := metadata.Pairs(protocol.HeaderClient, "1", protocol.HeaderClientConn, "1")
	for query, values := range map[string]metadata.MD{"from=0&step=1&in=0s&every=1ms": nil, "from=0": who} {
		stream, _ := app.stream(query, values)
		_, err := stream.receive()
		assert.Equal(t, codes.InvalidArgument, status.Code(err), query)
	}
}
