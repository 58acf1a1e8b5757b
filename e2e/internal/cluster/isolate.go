package cluster

import (
	"cmp"
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
)

const (
	// serviceSubnet is kind's default for the addresses of Services.
	serviceSubnet = "10.96.0.0/16"
	// uplink is the only interface of a kind node that leads out of it.
	uplink = "eth0"
)

// isolate keeps in the cluster what is meant for it. A packet that nobody there feels responsible
// for takes the node's default route and leaves the machine, and whoever is there may even answer.
// There are two kinds:
//
//   - To a Service. While kube-proxy rewrites its rules there are instants in which nothing is said
//     of one, above all if it gets its first endpoint: iptables-restore takes the rejection out of
//     one table before it puts the endpoint into another (seen: a proxy outside answered 404 to 117
//     requests in 50 ms). Once a Service's address has been replaced by a Pod's, no packet to one
//     is left to be forwarded: so what still is, at the end of all rules, is dropped.
//   - To a Pod that is gone. Its node has no route to it any more, but the default one (seen: 403,
//     from outside, to a call of a worker that had been killed). What is for a node's own Pods
//     never leaves the node by its uplink, and is dropped before any rule accepts it. The sender
//     sees what it has seen before, where nobody answered outside: nothing.
func (k *kindCluster) isolate(ctx context.Context, client kubernetes.Interface) error {
	all, err := k.provider.ListInternalNodes(k.name())
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	for _, node := range all {
		known, err := client.CoreV1().Nodes().Get(ctx, node.String(), metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("find the addresses of Pods on node %s: %w", node, err)
		}
		err = drop(ctx, node, "--append", "FORWARD", "--destination", cmp.Or(k.subnet, serviceSubnet))
		for _, subnet := range known.Spec.PodCIDRs {
			for _, chain := range []string{"FORWARD", "OUTPUT"} {
				err = cmp.Or(
					err,
					drop(ctx, node, "--insert", chain, "--destination", subnet, "--out-interface", uplink),
				)
			}
		}
		if err != nil {
			return fmt.Errorf("keep the load of node %s within the cluster: %w", node, err)
		}
	}
	return nil
}

// drop has a node drop the packets that match. A node of a cluster that was kept may do so already.
func drop(ctx context.Context, node nodes.Node, how, chain string, match ...string) error {
	rule := append(append([]string{chain}, match...), "--jump", "DROP")
	if node.CommandContext(ctx, "iptables", append([]string{"--check"}, rule...)...).Run() == nil {
		return nil
	}
	return node.CommandContext(ctx, "iptables", append([]string{how}, rule...)...).Run()
}
