package main

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// rpc is a gRPC client of the app.
func (c *child) rpc() *grpc.ClientConn {
	c.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+c.await("listening").GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { assert.NoError(c.t, conn.Close()) })
	return conn
}

// call asks for work as a request of lane a/grpc, and returns what came with the answer.
func call(t *testing.T, conn *grpc.ClientConn, seq string, work time.Duration) (body string, header metadata.MD, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var answer wrapperspb.StringValue
	ctx = metadata.AppendToOutgoingContext(ctx, protocol.HeaderLane, "a/grpc", protocol.HeaderSeq, seq)
	err = conn.Invoke(ctx, "/zerodrop.App/Work", durationpb.New(work), &answer, grpc.Header(&header))
	return answer.Value, header, err
}

// TestGRPC: a call is answered as a request to /work is, counted in the same ledger, and failed by the same rule.
func TestGRPC(t *testing.T) {
	t.Parallel()
	app := listening(t, "-on-sigterm=shutdown", "-fail-every=5")
	conn := app.rpc()
	for n, seq := range []string{"1", "2", "none"} {
		body, header, err := call(t, conn, seq, 0)
		require.NoError(t, err)
		assert.Equal(t, protocol.Body, body)
		assert.Equal(t, []string{app.pod}, header.Get(protocol.HeaderPod))
		assert.Equal(t, []string{"-1"}, header.Get(protocol.HeaderLeaving))
		assert.Equal(t, []string{"1"}, header.Get(protocol.HeaderConn))
		assert.Equal(t, []string{string(rune('1' + n))}, header.Get(protocol.HeaderConnRequest))
	}
	_, header, err := call(t, conn, "5", 0)
	assert.Equal(t, codes.Internal, status.Code(err))
	assert.Empty(t, header.Get(protocol.HeaderPod), "it is failed without a name")
	assert.Equal(t, "a/grpc", app.await("failed-request").Lane)
	_, _, err = call(t, conn, "6", 2*maxWork)
	assert.Equal(t, codes.InvalidArgument, status.Code(err), "refused, which is an answer")
	app.sigterm()
	assert.Equal(t, 0, app.exited().ExitCode())
	assert.Equal(t, map[string]int64{"a/grpc": 4}, app.await("last-request").Lanes)
}

// TestGRPCShutdown: calls in flight are waited for, new ones are refused, and what takes too long is cut off and told.
func TestGRPCShutdown(t *testing.T) {
	tests := []struct {
		name    string
		timeout string
		want    codes.Code
		exit    int
	}{
		{"in time", "-shutdown-timeout=30s", codes.OK, 0},
		{"too late", "-shutdown-timeout=50ms", codes.Unavailable, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			app := listening(t, "-on-sigterm=shutdown", tt.timeout)
			conn := app.rpc()
			_, _, err := call(t, conn, "1", 0)
			require.NoError(t, err)
			slow := make(chan error, 1)
			go func() {
				_, _, err := call(t, conn, "2", time.Second)
				slow <- err
			}()
			<-time.After(200 * time.Millisecond) // it has no sign of having been begun
			app.sigterm()
			app.await("listener-closed")
			_, _, err = call(t, app.rpc(), "3", 0)
			assert.Equal(t, codes.Unavailable, status.Code(err))
			assert.Equal(t, tt.want, status.Code(<-slow))
			assert.Equal(t, tt.exit, app.exited().ExitCode())
			if tt.want != codes.OK {
				assert.Equal(t, []protocol.Request{{Lane: "a/grpc", Seq: 2}}, app.await("shutdown-timeout").Unanswered)
			}
		})
	}
}

// TestGRPCHealth: the health service says what the readiness probe says.
func TestGRPCHealth(t *testing.T) {
	t.Parallel()
	app := listening(t, "-on-sigterm=ignore", "-unready")
	health := healthpb.NewHealthClient(app.rpc())
	answer, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{})
	require.NoError(t, err)
	assert.Equal(t, healthpb.HealthCheckResponse_SERVING, answer.Status)
	app.sigterm()
	assert.Eventually(t, func() bool {
		answer, err = health.Check(t.Context(), &healthpb.HealthCheckRequest{})
		return err == nil && answer.Status == healthpb.HealthCheckResponse_NOT_SERVING
	}, patience, 10*time.Millisecond)
}

// TestHTTP2: what begins with HTTP/2 is answered in it, on one connection; -close ends that by GOAWAY, and a request that is failed takes no other with it.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	app := listening(t, "-on-sigterm=ignore", "-close", "-fail-every=5")
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	work := func(seq string) (http.Header, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+app.addr+"/work", http.NoBody)
		require.NoError(t, err)
		req.Header = http.Header{protocol.HeaderLane: {"a/h2"}, protocol.HeaderSeq: {seq}}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		body, readErr := io.ReadAll(resp.Body)
		require.NoError(t, readErr)
		assert.Equal(t, protocol.Body, string(body))
		assert.Equal(t, 2, resp.ProtoMajor)
		return resp.Header, nil
	}
	numbers := func(seq, conn, use string) {
		t.Helper()
		header, err := work(seq)
		require.NoError(t, err)
		assert.Equal(t, conn, header.Get(protocol.HeaderConn))
		assert.Equal(t, use, header.Get(protocol.HeaderConnRequest))
	}
	numbers("1", "1", "1")
	numbers("2", "1", "2")
	_, err := work("5")
	assert.ErrorContains(t, err, "stream error: stream ID 5; INTERNAL_ERROR")
	app.await("failed-request")
	numbers("6", "1", "4")
	app.sigterm()
	app.await("sigterm")
	numbers("7", "1", "5")
	assert.Eventually(t, func() bool { // the GOAWAY is on its way
		header, err := work("8")
		return assert.NoError(t, err) && header.Get(protocol.HeaderConn) != "1"
	}, patience, time.Millisecond)
}
