package cluster

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// readyWithin is how long a cluster may take from the end of its creation until it is of use.
const readyWithin = 3 * time.Minute

// waitClusterReady waits until all nodes are ready and take Pods, kube-proxy runs on each and CoreDNS
// answers, as far as the cluster has these. kind's own wait gives up silently, and it looks at the control
// plane only.
func (c *Cluster) waitClusterReady(ctx context.Context) error {
	return poll(ctx, readyWithin, "nodes, kube-proxy and CoreDNS", func(ctx context.Context) (string, error) {
		nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", err
		}
		if n := len(nodes.Items); n < max(1, c.facts.Nodes) {
			return fmt.Sprintf("%d of %d nodes are there", n, max(1, c.facts.Nodes)), nil
		}
		for i := range nodes.Items {
			switch node := &nodes.Items[i]; {
			case !observe.NodeReady(node):
				return fmt.Sprintf("node %s is not ready", node.Name), nil
			case c.changed && !takesPods(node): // else its owner wants it so
				return fmt.Sprintf("node %s takes no Pods", node.Name), nil
			}
		}
		if c.kind == nil {
			return "", nil // somebody else's cluster may have neither by that name
		}
		sets, err := c.client.AppsV1().DaemonSets(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", err
		}
		if len(sets.Items) == 0 {
			return "there is no kube-proxy", nil
		}
		for _, set := range sets.Items { // kube-proxy, and the network's program
			s := set.Status
			if int(s.DesiredNumberScheduled) < len(nodes.Items) || s.NumberReady < s.DesiredNumberScheduled {
				return fmt.Sprintf("%s is ready on %d of %d nodes", set.Name, s.NumberReady, len(nodes.Items)), nil
			}
		}
		dns, err := c.client.AppsV1().Deployments(metav1.NamespaceSystem).Get(ctx, "coredns", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if s := dns.Status; s.AvailableReplicas == 0 || s.AvailableReplicas < *dns.Spec.Replicas {
			return fmt.Sprintf("%d of %d CoreDNS Pods are available", s.AvailableReplicas, *dns.Spec.Replicas), nil
		}
		return "", nil
	})
}

// takesPods says whether new Pods come to a node. The taints of its conditions go only after these.
func takesPods(node *corev1.Node) bool {
	const conditions = "node.kubernetes.io/" // begins the taints that the node controller sets
	return !node.Spec.Unschedulable && !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool {
		return strings.HasPrefix(t.Key, conditions)
	})
}

// unknown stands for what a cluster doesn't tell.
const unknown = "unknown"

func (c *Cluster) environment(ctx context.Context) (timeline.Environment, error) {
	e := timeline.Environment{ProxyMode: unknown, MinSyncPeriod: unknown, CPUs: runtime.NumCPU()}
	version, err := c.client.Discovery().ServerVersion()
	if err != nil {
		return e, fmt.Errorf("ask the API server for its version: %w", err)
	}
	e.Kubernetes = version.GitVersion
	nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return e, nil // who may do no more than a Role lets them
	}
	if err != nil {
		return e, fmt.Errorf("list nodes: %w", err)
	}
	if e.Nodes = len(nodes.Items); e.Nodes > 0 {
		info := nodes.Items[0].Status.NodeInfo
		e.Kernel, e.Runtime = info.KernelVersion, info.ContainerRuntimeVersion
	}
	proxy, err := c.client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, "kube-proxy", metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return e, nil // another proxy, or none of our business
	}
	if err != nil {
		return e, fmt.Errorf("read kube-proxy's configuration: %w", err)
	}
	raw, ok := proxy.Data["config.conf"]
	if !ok {
		return e, nil // not written by kubeadm: its configuration is elsewhere
	}
	err = readProxy(raw, &e)
	return e, err
}

// defaultMinSync is what kube-proxy takes for a minimum sync period of 0 in its iptables and
// nftables modes, as kubeadm writes it where nobody sets one (SetDefaults_KubeProxyConfiguration).
const defaultMinSync = time.Second

// readProxy takes mode and minimum sync period from a KubeProxyConfiguration.
func readProxy(raw string, e *timeline.Environment) error {
	type perMode struct {
		MinSyncPeriod metav1.Duration `json:"minSyncPeriod"`
	}
	var config struct {
		Mode     string  `json:"mode"`
		IPTables perMode `json:"iptables"`
		NFTables perMode `json:"nftables"`
		IPVS     perMode `json:"ipvs"`
	}
	if err := yaml.Unmarshal([]byte(raw), &config); err != nil {
		return fmt.Errorf("read kube-proxy's configuration: %w", err)
	}
	modes := map[string]perMode{"iptables": config.IPTables, "nftables": config.NFTables, "ipvs": config.IPVS}
	if config.Mode == "" {
		config.Mode = "iptables" // the default on Linux
	}
	e.ProxyMode = config.Mode
	if mode, ok := modes[config.Mode]; ok {
		period := mode.MinSyncPeriod.Duration
		if period == 0 && config.Mode != "ipvs" {
			period = defaultMinSync
		}
		e.MinSyncPeriod = period.String()
	}
	return nil
}
