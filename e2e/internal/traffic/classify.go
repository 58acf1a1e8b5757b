package traffic

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// classify gives the cause of an error that came instead of an answer. The first that fits counts;
// the order matters where one error wraps another.
func classify(err error) timeline.Cause {
	var (
		dns     *net.DNSError
		timeout net.Error
		stream  streamError
	)
	switch {
	case errors.As(err, &dns):
		return timeline.DNS
	case isTLS(err):
		return timeline.TLS
	case is(err, syscall.EADDRNOTAVAIL, syscall.EADDRINUSE, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS,
		syscall.EACCES, syscall.EPERM):
		return timeline.Client
	case is(err, syscall.ECONNREFUSED):
		return timeline.Refused
	case is(err, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED):
		return timeline.Reset
	case is(err, syscall.EHOSTUNREACH, syscall.ENETUNREACH):
		return timeline.Unreachable
	case is(err, context.DeadlineExceeded, syscall.ETIMEDOUT), errors.As(err, &timeout) && timeout.Timeout():
		return timeline.Timeout
	case isGoAway(err.Error()):
		return timeline.GoAway
	case errors.As(err, &stream):
		return timeline.Reset
	case is(err, io.EOF, io.ErrUnexpectedEOF), isIdleClose(err):
		return timeline.EOF
	}
	return timeline.Other
}

func is(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func isTLS(err error) bool {
	var (
		record tls.RecordHeaderError
		alert  tls.AlertError
		verify *tls.CertificateVerificationError
		host   x509.HostnameError
		signer x509.UnknownAuthorityError
	)
	return errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &verify) ||
		errors.As(err, &host) || errors.As(err, &signer)
}

// isIdleClose knows net/http's errServerClosedIdle by its text, as it isn't exported: the server
// closed a kept-alive connection just as we took it.
func isIdleClose(err error) bool {
	return strings.Contains(err.Error(), "server closed idle connection")
}

// isGoAway knows by their texts that net/http and grpc-go were told that a stream wasn't processed,
// and didn't send it again. A connection that ends after its GOAWAY is none: it has an end of its
// own.
func isGoAway(text string) bool {
	for _, said := range []string{"graceful shutdown GOAWAY", "REFUSED_STREAM", "server is draining"} {
		if strings.Contains(text, said) {
			return true
		}
	}
	return false
}

// streamError is what net/http's HTTP/2 has for a stream that was reset alone. It isn't exported,
// and errors.As fills in any struct that looks like it.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

// Error implements error.
func (e streamError) Error() string {
	return fmt.Sprintf("stream %d was reset: %d", e.StreamID, e.Code)
}
