package main

import (
	"cmp"
	"errors"
	"io"
	"net"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// eventsRPC is events, for gRPC.
func (s *server) eventsRPC(stream grpc.ServerStream) error {
	var query wrapperspb.StringValue
	if err := stream.RecvMsg(&query); err != nil {
		return err
	}
	plan, err := parseSchedule(query.Value)
	of, ofErr := heldBy(valueIn(stream.Context()))
	if err = cmp.Or(err, ofErr); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	announced, left := make(chan struct{}), make(chan struct{})
	c := s.hold(of, true, func() { close(announced) })
	connection := connectionOf(stream.Context())
	err = stream.SendHeader(metadata.Pairs(
		protocol.HeaderPod, s.pod,
		protocol.HeaderLeaving, s.terminator.milliseconds(),
		protocol.HeaderConn, strconv.FormatInt(connection.number, 10),
		protocol.HeaderConnRequest, strconv.FormatInt(connection.requests.Add(1), 10),
	))
	if err != nil {
		s.endedHeld(c, protocol.ByNobody)
		return err
	}
	go func() { // it ends with the stream
		if errors.Is(stream.RecvMsg(new(wrapperspb.StringValue)), io.EOF) {
			close(left)
		}
	}()
	by := s.sendEvents(c, plan, ends{announced: announced, left: left, gone: stream.Context().Done()},
		func(_, text string) error { return stream.SendMsg(wrapperspb.String(text)) })
	s.endedHeld(c, by)
	if by == protocol.ByAppCut {
		if p, ok := peer.FromContext(stream.Context()); ok {
			resetConn(p.AuthInfo.(connInfo).Conn)
		}
	}
	stream.SetTrailer(metadata.Pairs(protocol.HeaderLeaving, s.terminator.milliseconds()))
	if by == protocol.ByClient {
		return nil
	}
	return status.Error(codes.Unavailable, "leaving")
}

// connCredentials are credentials of nobody, by which the handler of a call knows its connection: grpc-go
// tells it nothing but the addresses, and the fault that resets a connection needs the connection.
type connCredentials struct {
	credentials.TransportCredentials
}

// ServerHandshake implements credentials.TransportCredentials.
func (connCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return conn, connInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}, conn}, nil
}

// connInfo is the connection of a call, as credentials.AuthInfo.
type connInfo struct {
	credentials.CommonAuthInfo
	net.Conn
}

// AuthType implements credentials.AuthInfo.
func (connInfo) AuthType() string { return "none" }
