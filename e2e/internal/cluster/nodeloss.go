package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
)

const (
	// lostWithin is how long it may take until a node that is lost has no Pods in service any more: its
	// kubelet's word is waited for (50 s), its Pods tolerate that (10 s), and others have to get ready.
	lostWithin = 3 * time.Minute
	// backWithin is how long a node may take from its start until it is of use.
	backWithin = 2 * time.Minute
)

// removalTaint is what the cluster autoscaler marks a node with that it is about to remove. Its value is
// when that was done, in seconds since 1970.
const removalTaint = "ToBeDeletedByClusterAutoscaler"

// RemoveNode removes a node as the cluster autoscaler does: it marks the node, so that no Pod comes,
// evicts the app's Pods there at the same time, waits until they are gone, deletes the Node and stops
// the machine. CoreDNS has gone before them: its loss would be another disruption.
func (a *App) RemoveNode(ctx context.Context, node string) error {
	c := a.cluster
	if err := c.removable(node); err != nil {
		return err
	}
	a.nodes.undo = append(a.nodes.undo, func(ctx context.Context) error { return c.setRemovalTaint(ctx, node, false) })
	if err := c.setRemovalTaint(ctx, node, true); err != nil {
		return err
	}
	if err := c.moveDNS(ctx, node); err != nil {
		return fmt.Errorf("remove node %s: %w", node, err)
	}
	pods, err := a.podsOn(ctx, node)
	if err == nil {
		err = a.evictAll(ctx, pods)
	}
	if err != nil {
		return fmt.Errorf("remove node %s: %w", node, err)
	}
	what := "the Pods of node " + node + " to be gone"
	err = poll(ctx, a.replaceWithin(), what, func(ctx context.Context) (string, error) {
		left, err := a.podsOn(ctx, node)
		if err != nil || len(left) == 0 {
			return "", err
		}
		return fmt.Sprintf("%d are there", len(left)), nil
	})
	if err != nil {
		return err
	}
	a.nodes.undo = append(a.nodes.undo, func(ctx context.Context) error { return c.bringBack(ctx, node) })
	err = poll(ctx, deployWithin, "Node "+node+" to be deleted", func(ctx context.Context) (string, error) {
		err := c.client.CoreV1().Nodes().Delete(ctx, node, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			err = nil // an answer was lost
		}
		return "", err
	})
	if err == nil {
		_, err = c.kind.engine(ctx, nil, "stop", node)
	}
	if err != nil {
		return fmt.Errorf("remove node %s: %w", node, err)
	}
	return nil
}

// removable says whether a node can be taken away: one that this process can start again.
func (c *Cluster) removable(node string) error {
	if c.kind == nil {
		return fmt.Errorf("take node %s away: it is not of a cluster that is ours", node)
	}
	if node == "" {
		return errors.New("take a node away: none is chosen")
	}
	return nil
}

// podsOn are the app's Pods on a node.
func (a *App) podsOn(ctx context.Context, node string) ([]corev1.Pod, error) {
	return a.cluster.podsOn(ctx, node, a.cluster.namespace, a.selector)
}

// podsOn are the Pods of a namespace on a node.
func (c *Cluster) podsOn(ctx context.Context, node, namespace, selector string) ([]corev1.Pod, error) {
	list, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list the Pods of node %s: %w", node, err)
	}
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.Spec.NodeName != node }), nil
}

// setRemovalTaint marks a node as one that the autoscaler is about to remove, or takes the mark away.
func (c *Cluster) setRemovalTaint(ctx context.Context, name string, marked bool) error {
	nodes := c.client.CoreV1().Nodes()
	what := fmt.Sprintf("taint %s of node %s to be %t", removalTaint, name, marked)
	return poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
		node, err := nodes.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) && !marked {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		taints := node.Spec.Taints
		kept := slices.DeleteFunc(slices.Clone(taints), func(t corev1.Taint) bool { return t.Key == removalTaint })
		if marked == (len(kept) < len(taints)) {
			return "", nil
		}
		if marked {
			kept = append(kept, corev1.Taint{
				Key: removalTaint, Value: strconv.FormatInt(time.Now().Unix(), 10), Effect: corev1.TaintEffectNoSchedule,
			})
		}
		node.Spec.Taints = kept
		_, err = nodes.Update(ctx, node, metav1.UpdateOptions{}) // another's change in between is a conflict: once more
		return "", err
	})
}

// CutNode takes a node off the network, as the first part of its loss: when a container is killed, the
// kernel closes the sockets of its processes and tells whoever is at the other end. A container that is
// paused is no lost node, either: the kernel goes on taking connections for it.
func (a *App) CutNode(ctx context.Context, node string) error {
	c := a.cluster
	if err := c.removable(node); err != nil {
		return err
	}
	a.nodes.undo = append(a.nodes.undo, func(ctx context.Context) error {
		if err := c.bringBack(ctx, node); err != nil {
			return err
		}
		return a.waitEnded(ctx, node)
	})
	_, err := c.kind.engine(ctx, nil, "exec", "--privileged", node, "ip", "link", "set", "dev", uplink, "down")
	if err != nil {
		return fmt.Errorf("cut node %s off: %w", node, err)
	}
	return nil
}

// LoseNode ends a node that was cut off (CutNode) at once, as a power failure does: nothing of it says
// good-bye.
func (a *App) LoseNode(ctx context.Context, node string) error {
	if err := a.cluster.removable(node); err != nil {
		return err
	}
	if _, err := a.cluster.kind.engine(ctx, nil, "kill", node); err != nil {
		return fmt.Errorf("lose node %s: %w", node, err)
	}
	return nil
}

// waitEnded waits until the kubelet of a node that is back has ended what was deleted meanwhile.
func (a *App) waitEnded(ctx context.Context, node string) error {
	what := "the Pods that were deleted on node " + node + " to be gone"
	return poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
		pods, err := a.podsOn(ctx, node)
		if err != nil {
			return "", err
		}
		if i := slices.IndexFunc(pods, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }); i >= 0 {
			return "Pod " + pods[i].Name + " is there", nil
		}
		return "", nil
	})
}

// WaitLost waits until nobody is sent to the Pods of the chosen node any more, which is lost, and others
// are ready in their place. They terminate as long as the node is away: nobody ends them.
func (a *App) WaitLost(ctx context.Context) error {
	const what = "the Pods of a lost node to be out of service and replaced"
	return poll(ctx, lostWithin, what, func(ctx context.Context) (string, error) {
		list, err := a.cluster.pods().List(ctx, metav1.ListOptions{LabelSelector: a.selector})
		if err != nil {
			return "", err
		}
		ready, elsewhere := 0, 0
		for i := range list.Items {
			switch p := &list.Items[i]; {
			case p.Spec.NodeName != a.nodes.chosen:
				elsewhere++
				if p.DeletionTimestamp == nil && observe.Ready(p) {
					ready++
				}
			case p.DeletionTimestamp == nil:
				return fmt.Sprintf("Pod %s is not deleted", p.Name), nil
			}
		}
		if ready != a.replicas || elsewhere != a.replicas {
			return fmt.Sprintf("%d of %d Pods are ready on other nodes, %d are there", ready, a.replicas, elsewhere), nil
		}
		if missing, err := a.outOfService(ctx, a.nodes.chosen); missing != "" || err != nil {
			return missing, err
		}
		return a.rolledOut(ctx)
	})
}

// outOfService says which endpoint of the app's Services on a node is one that requests are sent to.
func (a *App) outOfService(ctx context.Context, node string) (string, error) {
	of := discoveryv1.LabelServiceName + " in (" + strings.Join(a.services, ",") + ")"
	list, err := a.cluster.client.DiscoveryV1().EndpointSlices(a.cluster.namespace).
		List(ctx, metav1.ListOptions{LabelSelector: of})
	if err != nil {
		return "", err
	}
	for _, s := range list.Items {
		for _, e := range s.Endpoints {
			// What is not set means yes, says the API. One that serves is asked where no other is ready.
			is := func(condition *bool) bool { return condition == nil || *condition }
			if e.NodeName != nil && *e.NodeName == node && (is(e.Conditions.Ready) || is(e.Conditions.Serving)) {
				return fmt.Sprintf("EndpointSlice %s has an endpoint there", s.Name), nil
			}
		}
	}
	return "", nil
}

// bringBack starts a node's machine, also one that runs, and waits until Pods can be put there that
// others reach. Images survive: they are on a volume of the node's container. What the start of a
// container undoes is done again: the rules that keep load in the cluster (isolate). The weight of a node
// that sends load is not, as none of those is ever taken away.
func (c *Cluster) bringBack(ctx context.Context, name string) error {
	before, err := c.nodeState(ctx, name)
	if err == nil {
		_, err = c.kind.engine(ctx, nil, "restart", "-t", "0", name)
	}
	if err == nil {
		err = poll(ctx, backWithin, "it to be of use", func(ctx context.Context) (string, error) {
			return c.notBack(ctx, name, before)
		})
	}
	if err == nil {
		err = c.kind.isolate(ctx, c.client)
	}
	if err != nil {
		return fmt.Errorf("bring node %s back: %w", name, err)
	}
	return nil
}

// nodeState is what the API server last heard of a node: it keeps that when the node is gone.
type nodeState struct {
	heartbeat time.Time    // when the node was last said to be ready; zero if there is no such Node
	ready     bool         // what was said
	podCIDR   string       // its Pods' addresses
	pods      []corev1.Pod // the cluster's own
}

// had says whether one of the cluster's own Pods there has a container.
func (s nodeState) had(container corev1.ContainerStatus) bool {
	return slices.ContainsFunc(s.pods, func(p corev1.Pod) bool {
		return slices.ContainsFunc(p.Status.ContainerStatuses, func(other corev1.ContainerStatus) bool {
			return other.ContainerID == container.ContainerID
		})
	})
}

func (c *Cluster) nodeState(ctx context.Context, name string) (s nodeState, err error) {
	switch node, err := c.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{}); {
	case apierrors.IsNotFound(err):
	case err != nil:
		return s, err
	default:
		s.ready, s.podCIDR, s.heartbeat = observe.NodeReady(node), node.Spec.PodCIDR, reported(node)
	}
	s.pods, err = c.podsOn(ctx, name, metav1.NamespaceSystem, "")
	return s, err
}

// moveDNS evicts the CoreDNS that runs on a node, and waits until as many as before run elsewhere: they
// come to workers when they were rolled, and nobody would resolve names for as long as they are gone
// with a node.
func (c *Cluster) moveDNS(ctx context.Context, node string) error {
	drainer := c.drainer(ctx, "k8s-app=kube-dns")
	list, errs := drainer.GetPodsForDeletion(node)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("move CoreDNS: %w", err)
	}
	if err := drainer.DeleteOrEvictPods(list.Pods()); err != nil {
		return fmt.Errorf("move CoreDNS: %w", err)
	}
	return c.waitClusterReady(ctx)
}

// notBack says what a node that was started lacks: its kubelet's word, new containers of kube-proxy and
// of the network's program, which every node has, and a network for the addresses that its Pods are given.
// A Node that was deleted gets others when it registers anew, and the configuration on the node is that
// of before until the network's program has read them.
func (c *Cluster) notBack(ctx context.Context, name string, before nodeState) (string, error) {
	now, err := c.nodeState(ctx, name)
	switch {
	case err != nil:
		return "", err
	case now.heartbeat.Equal(before.heartbeat):
		return "its kubelet has not said anything", nil
	case !now.ready:
		return "it is not ready", nil
	case now.podCIDR == "":
		return "it has no addresses for Pods", nil
	}
	sets, err := c.client.AppsV1().DaemonSets(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, set := range sets.Items {
		runs := func(p corev1.Pod) bool {
			return metav1.IsControlledBy(&p, &set) && p.DeletionTimestamp == nil && observe.Ready(&p) &&
				!slices.ContainsFunc(p.Status.ContainerStatuses, before.had)
		}
		if !slices.ContainsFunc(now.pods, runs) {
			return set.Name + " doesn't run there", nil
		}
	}
	// By either network: kind's own, and the one of the node image that is built from source.
	if _, err := c.kind.engine(ctx, nil, "exec", name, "grep", "-rqF", now.podCIDR, "/etc/cni/net.d"); err != nil {
		return fmt.Sprintf("its network has not heard of %s: %s", now.podCIDR, err), nil
	}
	return "", nil
}
