package timeline

import "net/netip"

// ServiceEndpoints is what the endpoints of one of the app's Services were in when the run began, and
// what they were.
type ServiceEndpoints struct {
	Service string `json:"service"`
	// TargetPorts are the numbers of the ports that the Service sends to.
	TargetPorts []uint16 `json:"targetPorts"`
	Slices      int      `json:"slices"`  // EndpointSlices
	Objects     int      `json:"objects"` // of the older kind Endpoints
	// Endpoints are those of the EndpointSlices, each with every port of its slice.
	Endpoints []netip.AddrPort `json:"endpoints"`
}
