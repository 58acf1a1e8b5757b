package verdict

import (
	"fmt"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// asked is a connection that a node was asked for, and when it can have been.
type asked struct {
	node     string
	from, to time.Duration
}

// notLocal says why a lane whose nodes are to keep to their own Pods doesn't show that they did, by
// connection tracking of the nodes that were asked; "" if it does, or nothing of the kind was
// declared. A node's own Pods, say, are answered by the Cluster chain.
func notLocal(tl timeline.Timeline, spec timeline.LaneSpec, record timeline.LaneRecord, pods lifecycles) string {
	if !spec.Local {
		return ""
	}
	connections := map[connectionKey][]asked{}
	from := senders(tl, record.Name)
	clients := map[connectionKey][]asked{} // of a load balancer
	for seq, r := range record.Requests {
		sender := senderOf(from, seq)
		if r.Port == 0 || sender.IP == "" {
			continue
		}
		node := sender.Node
		if node == "" {
			node = nodeAt(tl, record.AddressOf(r))
		}
		k, a := connectionKey{sender.IP, r.Port}, asked{node, r.Sent(), r.Done() + lateRoute}
		if spec.Reuses() {
			a.from -= portRests
		}
		if spec.Logged() {
			clients[k] = append(clients[k], a)
		} else if node != "" {
			connections[k] = append(connections[k], a)
		}
	}
	log := accessLogOf(tl, spec.Component)
	for _, f := range tl.Forwards.List {
		if tl.Forwards.Name(f.Component) != spec.Component {
			continue
		}
		node := nodeAt(tl, tl.Forwards.Name(f.Target))
		for _, a := range clients[connectionKey{tl.Forwards.Name(f.Client), f.ClientPort}] {
			if node != "" && f.At >= a.from-clockGrain && f.At <= a.to {
				k := connectionKey{log.IP, f.LocalPort}
				connections[k] = append(connections[k], asked{node, f.At, a.to})
				break
			}
		}
	}
	chosen, elsewhere := 0, 0
	example := ""
	for _, route := range tl.Routes.List {
		node := tl.Routes.Name(route.Node)
		for _, a := range connections[connectionKey{tl.Routes.Name(route.Source), route.Port}] {
			if a.node != node || route.At < a.from-clockGrain || route.At > a.to {
				continue
			}
			life := pods.at(tl.Routes.Name(route.Target), route.At)
			if life == nil || life.Node == "" {
				break
			}
			if chosen++; life.Node != node {
				if elsewhere++; elsewhere == 1 {
					example = fmt.Sprintf("as Pod %s of %s by %s", life.Pod, life.Node, node)
				}
			}
			break
		}
	}
	switch {
	case chosen == 0:
		return "connection tracking doesn't show that nodes chose Pods of their own"
	case elsewhere > 0:
		return fmt.Sprintf("nodes chose a Pod of another node for %d of %d connections, %s: they don't keep to their own",
			elsewhere, chosen, example)
	}
	return ""
}
