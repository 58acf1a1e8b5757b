package timeline

import "time"

// Forwards are what proxies passed on, as their access logs have it.
type Forwards struct {
	Names []string // components, lanes and IP addresses that Forward indexes; the first is ""
	List  []Forward
}

// Forward is one request that a proxy took, or one connection where the proxy reads no requests. It
// has a fixed size, as there may be one for each request.
type Forward struct {
	At         time.Duration // when the proxy took it, by its own wall clock, turned into an offset
	Number     uint32        // that the proxy gives to what it logs, one more each time: a gap is a line that is lost
	Seq        uint32        // of a request: its number in the lane
	Component  uint16        // index in Forwards.Names: the proxy
	Lane       uint16        // index: that the request says it is of; 0 where the proxy reads no requests
	Client     uint16        // index: IP that it came from
	ClientPort uint16
	Target     uint16 // index: IP that it was sent to last; 0 if to none
	LocalPort  uint16 // of the proxy's own connection to Target; 0 if the log doesn't tell
	Code       uint16 // status that the client was answered; 0 for none
	Attempts   uint8  // how often the proxy sent it
}
