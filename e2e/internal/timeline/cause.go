package timeline

import "fmt"

// Cause says how a request ended. The zero value is Unsent, so that a record nobody filled in
// counts as not sent and never as ok.
type Cause uint8

// The causes. Each dropped request has exactly one.
const (
	Unsent      Cause = iota // was due and never left
	OK                       // complete answer with the expected status (of the sample app: 2xx) and body
	Refused                  // the connection was refused (TCP RST on SYN)
	Reset                    // the connection was reset while in use (ECONNRESET, EPIPE)
	EOF                      // the connection was closed before the header of the answer was complete
	Timeout                  // no complete answer within the client's timeout: no connection, no header or no body
	Truncated                // the connection ended within the body
	WrongBody                // complete answer with the expected status and another body
	HTTP5xx                  // status 500 to 599, where another is expected
	HTTPOther                // any other status that is not expected, redirects included
	DNS                      // the name could not be resolved
	TLS                      // the TLS handshake failed
	Unreachable              // no route to the host or network (EHOSTUNREACH, ENETUNREACH)
	Client                   // the sender itself could not send: no free port, no file descriptor
	Other                    // an error of no known kind
	GoAway                   // taken back unprocessed (GOAWAY, REFUSED_STREAM); or a held connection's end was announced
	RPCStatus                // the server ended the call with a gRPC status that isn't OK
	NoAddress                // the client knew no address to send it to: its endpoints are none
	WrongApp                 // complete 2xx answer of another app, which the address belongs to by now

	numCauses
)

var causeNames = [numCauses]string{
	"unsent", "ok", "refused", "reset", "eof", "timeout", "truncated", "wrong-body", "http-5xx", "http-other",
	"dns", "tls", "unreachable", "client", "other", "goaway", "grpc-status", "no-address",
	"wrong-app",
}

// Causes lists every cause of a dropped request, in the order in which reports show them.
func Causes() []Cause {
	var out []Cause
	for c := Refused; c < numCauses; c++ {
		out = append(out, c)
	}
	return out
}

// String is the name used in files and reports.
func (c Cause) String() string {
	if c >= numCauses {
		return fmt.Sprintf("cause(%d)", uint8(c))
	}
	return causeNames[c]
}

// ParseCause is the inverse of String.
func ParseCause(s string) (Cause, error) {
	for i, name := range causeNames {
		if name == s {
			return Cause(i), nil
		}
	}
	return Unsent, fmt.Errorf("unknown cause %q", s)
}

// MarshalText makes a Cause readable in JSON, as a value and as a key.
func (c Cause) MarshalText() ([]byte, error) {
	if c >= numCauses {
		return nil, fmt.Errorf("cause %d has no name", uint8(c))
	}
	return []byte(causeNames[c]), nil
}

// UnmarshalText is the inverse of MarshalText.
func (c *Cause) UnmarshalText(text []byte) (err error) {
	*c, err = ParseCause(string(text))
	return err
}
