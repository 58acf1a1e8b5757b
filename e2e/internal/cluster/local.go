package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zerodrop/zerodrop/fixtures"
)

// errWhichNode is the guarantee that a node's own Pods are known before it is asked for them.
var errWhichNode = errors.New("its node answers by its own Pods alone, and which node -address is isn't known")

// localize leaves a consumer whose nodes answer by their own Pods alone with the nodes that have one,
// as a load balancer does that probes them, and writes down which Pods have to answer there. It
// doesn't follow what the run does to them: no load balancer is measured here.
func (a *App) localize(ctx context.Context, c fixtures.Consumer) error {
	if !c.Local || !strings.Contains(c.Address, "{node}") {
		return nil // a load balancer finds out by itself
	}
	addresses, urls := a.addresses[c.Name], a.urls[c.Name]
	if len(addresses) == 0 {
		return errWhichNode
	}
	pods, err := a.cluster.pods().List(ctx, metav1.ListOptions{LabelSelector: a.selector})
	if err != nil {
		return fmt.Errorf("list Pods: %w", err)
	}
	on := map[netip.Addr][]string{} // Pods by their node's address
	for _, p := range pods.Items {
		if p.DeletionTimestamp != nil {
			continue
		}
		for _, ip := range p.Status.HostIPs {
			if address, err := netip.ParseAddr(ip.IP); err == nil {
				on[address] = append(on[address], p.Name)
			}
		}
	}
	a.addresses[c.Name], a.urls[c.Name] = nil, nil
	for i, address := range addresses {
		if len(on[address]) > 0 {
			a.addresses[c.Name] = append(a.addresses[c.Name], address)
			a.urls[c.Name] = append(a.urls[c.Name], urls[i])
			a.own[urls[i]] = on[address]
		}
	}
	if len(a.urls[c.Name]) == 0 {
		return errors.New("no node that may be asked has a Pod")
	}
	return nil
}
