package observe

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// conntrack records which Pods a node chose for new connections, from the connection tracking of
// its kernel.
type conntrack struct{ node *watchedNode }

func (c conntrack) Name() string { return "conntrack of node " + c.node.Name }

// subscribed is what conntrack says, on its standard error, when it has subscribed to the kernel's
// events and sets the size of its buffer. Connections that begin before that are missed.
const subscribed = "Netlink socket buffer size has been set"

// Only new connections: nothing else says which Pod kube-proxy chose. The reader goes before all
// else on its node: conntrack 1.4.7 sets the buffer of another socket than that of the events, which
// holds some 200 (seen with ss -f netlink -m), and a node on which Pods start let it wait for 0.5 s.
const followConntrack = "exec nice -n -20 conntrack -E -e NEW -p tcp -o timestamp -b 8388608 2>&1"

// overrun is what conntrack says when the kernel has thrown events away, as nobody took them.
const overrun = "ENOBUFS"

func (c conntrack) Run(ctx context.Context, to Recorder) error {
	limit := time.AfterFunc(askWithin, to.Ready)
	defer limit.Stop()
	var routes []route
	lost := ""
	source := c.node.follow(ctx, to, timeline.SourceConntrack, func(line []byte) {
		if bytes.Contains(line, []byte(subscribed)) {
			to.Ready()
		} else if bytes.Contains(line, []byte(overrun)) {
			lost = cmp.Or(lost, fmt.Sprintf("events were lost, first at %s", to.now().Round(time.Millisecond)))
		} else if at, chosen, ok := parseConnection(string(line)); ok {
			chosen.at, chosen.node = c.node.offset(to.clock, at), c.node.Name
			routes = append(routes, chosen)
		}
	}, "sh", "-c", followConntrack)
	source.Missing = cmp.Or(source.Missing, lost)
	to.AtEnd(func(all *Record) {
		all.Sources = append(all.Sources, source)
		ips := all.podIPs()
		for _, r := range routes {
			if ips[r.target] {
				all.routes = append(all.routes, r)
			}
		}
	})
	return nil
}

// parseConnection reads a line of conntrack:
//
//	[1795382109.014939]     [NEW] tcp      6 120 SYN_SENT
//	src=10.244.0.41 dst=10.96.197.182 sport=33998 dport=80
//	[UNREPLIED] src=10.244.1.7 dst=10.244.0.41 sport=8080 dport=33998
//
// The first addresses are those of the packet, the second those that an answer will have. Where the
// answer will come from another address than the packet went to, the node has chosen it. Any other
// line is of a connection in which nothing was chosen here.
func parseConnection(line string) (at time.Time, r route, ok bool) {
	var sources, targets, ports []string
	fields := strings.Fields(line)
	for _, field := range fields {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "src":
			sources = append(sources, value)
		case "dst":
			targets = append(targets, value)
		case "sport":
			ports = append(ports, value)
		}
	}
	if len(sources) != 2 || len(targets) != 2 || len(ports) != 2 || sources[1] == targets[0] {
		return at, r, false
	}
	seconds, fraction, _ := strings.Cut(strings.Trim(fields[0], "[]"), ".")
	micros, noInstant := strconv.ParseInt(seconds+fraction, 10, 64)
	port, noPort := strconv.ParseUint(ports[0], 10, 16)
	ok = len(fraction) == 6 && noInstant == nil && noPort == nil
	return time.UnixMicro(micros), route{source: sources[0], target: sources[1], port: uint16(port)}, ok
}
