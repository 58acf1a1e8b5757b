package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/kind/pkg/cluster/constants"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"
	"sigs.k8s.io/yaml"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Disruptions of reach cluster: programs of the cluster itself are restarted.

// workerNodes are the nodes that the app's Pods run on.
func (c *Cluster) workerNodes() ([]nodes.Node, error) {
	if !c.Ours() {
		return nil, fmt.Errorf("find the worker nodes: what is done to them %w", scenarios.ErrNotOurs)
	}
	all, err := c.kind.provider.ListInternalNodes(c.kind.name())
	if err == nil {
		all, err = nodeutils.SelectNodesByRole(all, constants.WorkerNodeRoleValue)
	}
	if err == nil && len(all) == 0 {
		err = errors.New("there are none")
	}
	if err != nil {
		return nil, fmt.Errorf("find the worker nodes: %w", err)
	}
	return all, nil
}

// WorkerNodes names the nodes that the app's Pods run on.
func (a *App) WorkerNodes(context.Context) ([]string, error) {
	all, err := a.cluster.workerNodes()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, node := range all {
		names = append(names, node.String())
	}
	slices.Sort(names)
	return names, nil
}

// RestartKubelet restarts a worker's kubelet and waits until that has reported that its node is ready.
func (a *App) RestartKubelet(ctx context.Context, name string) error {
	all, err := a.cluster.workerNodes()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(n nodes.Node) bool { return n.String() == name })
	if i < 0 {
		return fmt.Errorf("restart the kubelet of node %s: it is no worker", name)
	}
	return a.cluster.restartKubelet(ctx, observable(all[i]))
}

// restartKubelet restarts a node's kubelet and waits until that has reported that its node is ready. The
// report before doesn't count: the Node is ready by it all the time.
func (c *Cluster) restartKubelet(ctx context.Context, node observe.Node) error {
	client := c.client.CoreV1().Nodes()
	known, err := client.Get(ctx, node.Name, metav1.GetOptions{})
	if err == nil {
		err = node.Run(ctx, io.Discard, "systemctl", "restart", "kubelet")
	}
	if err != nil {
		return fmt.Errorf("restart the kubelet of node %s: %w", node.Name, err)
	}
	before := reported(known)
	what := "the kubelet of node " + node.Name + " to report after its restart"
	return poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
		known, err := client.Get(ctx, node.Name, metav1.GetOptions{})
		switch {
		case err != nil:
			return "", err
		case !reported(known).After(before):
			return "its last report is of before", nil
		case !observe.NodeReady(known):
			return "it says that the node is not ready", nil
		}
		return "", nil
	})
}

// reported is when a node's kubelet has last said whether the node is ready, to the second. It does so
// when it starts, and then every five minutes.
func reported(node *corev1.Node) time.Time {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.LastHeartbeatTime.Time
		}
	}
	return time.Time{}
}

// RollKubeProxy replaces every kube-proxy, node by node.
func (a *App) RollKubeProxy(ctx context.Context) error {
	return a.cluster.rollSystem(ctx, "DaemonSet", "kube-proxy")
}

// RollCoreDNS replaces every CoreDNS.
func (a *App) RollCoreDNS(ctx context.Context) error {
	return a.cluster.rollSystem(ctx, "Deployment", "coredns")
}

// rollSystem rolls a workload of kube-system, as kubectl rollout restart does, and waits until it is
// complete and no old Pod is left.
func (c *Cluster) rollSystem(ctx context.Context, kind, name string) error {
	if !c.Ours() {
		return fmt.Errorf("roll %s: that %w", name, scenarios.ErrNotOurs)
	}
	located, err := c.locateIn(metav1.NamespaceSystem, []*unstructured.Unstructured{{Object: map[string]any{
		"apiVersion": "apps/v1", "kind": kind, "metadata": map[string]any{"name": name},
	}}})
	if err != nil {
		return fmt.Errorf("roll %s: %w", name, err)
	}
	workload := located[0]
	patch := fmt.Appendf(nil, `{"spec": {"template": {"metadata": {"annotations": {%q: %q}}}}}`,
		releaseKey, time.Now().Format(time.RFC3339Nano))
	what := kind + " " + name + " to be rolled"
	err = poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
		_, err := workload.api.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
		return "", err
	})
	if err != nil {
		return err
	}
	return poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
		now, err := workload.get(ctx)
		if err != nil {
			return "", err
		}
		want, missing, err := rollout(now)
		if err != nil || missing != "" {
			return missing, err
		}
		selector, _, err := unstructured.NestedStringMap(now.Object, "spec", "selector", "matchLabels")
		if err != nil {
			return "", err
		}
		selected := metav1.ListOptions{LabelSelector: labels.FormatLabels(selector)}
		pods, err := c.client.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, selected)
		if err != nil || len(pods.Items) == want {
			return "", err
		}
		return fmt.Sprintf("%d Pods are there, of which %d are to stay", len(pods.Items), want), nil
	})
}

// askService has consumers reach a component by its Service. Empty names none.
func (a *App) askService(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	i, ok := a.components[name]
	if !ok {
		return fmt.Errorf("component %s is to be rolled, and doesn't run", name)
	}
	service, err := a.cluster.client.CoreV1().Services(componentsNamespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		i.service, err = netip.ParseAddr(service.Spec.ClusterIP)
	}
	if err != nil {
		return fmt.Errorf("find the address of component %s: %w", name, err)
	}
	a.components[name] = i
	return nil
}

// RollComponent replaces the Pod of a component, as its Deployment says, and waits until the old one is
// gone. From then on the new one is what the run uses.
func (a *App) RollComponent(ctx context.Context, name string) error {
	before, ok := a.components[name]
	if !ok {
		return fmt.Errorf("roll component %s: it doesn't run", name)
	}
	next, err := nextRelease(a.cluster.deployed[name], before.AccessLog)
	if err == nil {
		err = a.cluster.applyComponent(ctx, before.Component, next)
	}
	if err != nil {
		return fmt.Errorf("roll component %s: %w", name, err)
	}
	what := "component " + name + " to be rolled"
	return poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
		now, missing, err := a.cluster.instance(ctx, before.Component)
		if err != nil || missing != "" {
			return missing, err
		}
		if now.uid == before.uid {
			return "Pod " + now.pod + " is there", nil
		}
		now.service = before.service
		a.components[name] = now
		return "", nil
	})
}

// patched is a component's Deployment with a strategic-merge patch.
func patched(d *unstructured.Unstructured, patch string) (*unstructured.Unstructured, error) {
	raw, err := yaml.YAMLToJSONStrict([]byte(patch))
	if err != nil {
		return nil, fmt.Errorf("patch its Deployment: %w", err)
	}
	var changes map[string]any
	if err := utiljson.Unmarshal(raw, &changes); err != nil { // numbers as unstructured objects have them
		return nil, fmt.Errorf("patch its Deployment: %w", err)
	}
	content, err := strategicpatch.StrategicMergeMapPatch(d.DeepCopy().Object, changes, &appsv1.Deployment{})
	if err != nil {
		return nil, fmt.Errorf("patch its Deployment: %w", err)
	}
	return &unstructured.Unstructured{Object: content}, nil
}

// nextRelease is a component's Deployment with another Pod template: of the next release, whose Pod
// writes to an access log of its own. Two programs that number their lines can't share one.
func nextRelease(d *unstructured.Unstructured, log string) (*unstructured.Unstructured, error) {
	d = d.DeepCopy()
	err := unstructured.SetNestedField(d.Object, "rolled", "spec", "template", "metadata", "annotations", releaseKey)
	if err != nil || log == "" {
		return d, err
	}
	where := []string{"spec", "template", "spec", "containers"}
	containers, _, err := unstructured.NestedSlice(d.Object, where...)
	if err != nil {
		return nil, err
	}
	program, named := containers[0].(map[string]any), false
	args, _, err := unstructured.NestedStringSlice(program, "args")
	if err != nil {
		return nil, err
	}
	for i := range args {
		named = named || strings.Contains(args[i], log)
		args[i] = strings.ReplaceAll(args[i], log, rolledLog(log))
	}
	if !named {
		return nil, fmt.Errorf("no argument names its access log %s", log)
	}
	if err := unstructured.SetNestedStringSlice(program, args, "args"); err != nil {
		return nil, err
	}
	return d, unstructured.SetNestedSlice(d.Object, containers, where...)
}

// rolledLog is the access log of the next release of a component.
func rolledLog(log string) string { return log + ".rolled" }
