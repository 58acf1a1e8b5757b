package cluster

import (
	"cmp"
	"context"
	"fmt"
)

// serviceSubnet is kind's default for the addresses of Services.
const serviceSubnet = "10.96.0.0/16"

// fence keeps in the cluster what is meant for it. While kube-proxy rewrites its rules there are instants in which nothing is said of a Service, above all one
// that gets its first endpoint: iptables-restore takes the rejection out of one table before it puts the endpoint into another. A packet that comes just then
// takes the node's default route and leaves the machine, and whoever is there may even answer (seen: a proxy, with 404, to 117 requests in 50 ms). Once a Service's
// address has been replaced by a Pod's, no packet to one is left to be forwarded: so what still is, at the end of all rules, is dropped.
func (k *kindCluster) fence(ctx context.Context) error {
	all, err := k.provider.ListInternalNodes(clusterName)
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	subnet := cmp.Or(k.subnet, serviceSubnet)
	for _, node := range all {
		rule := fmt.Sprintf("iptables -C FORWARD -d %[1]s -j DROP 2>/dev/null || iptables -A FORWARD -d %[1]s -j DROP", subnet)
		if err := node.CommandContext(ctx, "sh", "-c", rule).Run(); err != nil {
			return fmt.Errorf("keep the load of node %s within the cluster: %w", node, err)
		}
	}
	return nil
}
