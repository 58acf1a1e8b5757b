package cluster

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kind/pkg/cluster/constants"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"

	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// errApp says that an app of people's own can't run on this cluster, for the reason that follows.
var errApp = errors.New("the app can't run here")

// locateOwn is what people have beside their workload, in our namespace; none for the sample app. A kind that
// the cluster doesn't have after all is left out.
func (c *Cluster) locateOwn(own *fixtures.Own) ([]object, error) {
	if own == nil {
		return nil, nil
	}
	var out []object
	for _, o := range own.Beside {
		o = o.DeepCopy()
		if err := c.bindHere(o); err != nil {
			return nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
		located, err := c.locate([]*unstructured.Unstructured{o})
		if meta.IsNoMatchError(err) {
			c.config.Step(fmt.Sprintf("left out: %s %s, as the cluster has no %s", o.GetKind(), o.GetName(), o.GetAPIVersion()))
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, located...)
	}
	return out, nil
}

// bindHere makes the ServiceAccounts of a RoleBinding those of our namespace, as kustomize does when it sets one.
func (c *Cluster) bindHere(o *unstructured.Unstructured) error {
	subjects, given, err := unstructured.NestedSlice(o.Object, "subjects")
	if err != nil || !given || o.GetKind() != "RoleBinding" {
		return err
	}
	for _, s := range subjects {
		if subject, ok := s.(map[string]any); ok && subject["kind"] == "ServiceAccount" {
			subject["namespace"] = c.namespace
		}
	}
	return unstructured.SetNestedSlice(o.Object, subjects, "subjects")
}

// prepareOwn makes what people have beside their workload, unless the run before has, and refuses a workload
// that no node can take. For the sample app it does nothing.
func (a *App) prepareOwn(ctx context.Context, s scenarios.Scenario, beside []object) error {
	a.theirs = s.Own != nil
	if !a.theirs {
		return nil
	}
	rendered, err := s.Render("")
	if err != nil {
		return err
	}
	nodes, err := a.cluster.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	if why := noRoom(rendered.Template.Spec, nodes.Items); why != "" {
		return fmt.Errorf("%w: %s", errApp, why)
	}
	if err := a.cluster.loadServers(ctx, s.Own.Images); err != nil {
		return fmt.Errorf("%w: %w", errApp, err)
	}
	for _, o := range beside {
		if o.GetKind() == "ConfigMap" { // that of the run before may say something else
			err = o.replace(ctx)
		} else {
			_, err = o.apply(ctx)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errApp, err)
		}
	}
	return nil
}

// loadServers loads images that scripts/images has made into the nodes that Pods of apps are on.
func (c *Cluster) loadServers(ctx context.Context, images []string) error {
	if len(images) == 0 {
		return nil
	}
	if !c.Ours() {
		return fmt.Errorf("image %s: it %w", images[0], scenarios.ErrNotOurs)
	}
	all, err := c.kind.provider.ListInternalNodes(c.kind.name())
	if err == nil {
		all, err = nodeutils.SelectNodesByRole(all, constants.WorkerNodeRoleValue)
	}
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	for _, image := range images {
		recipe, _, _ := strings.Cut(path.Base(image), ":")
		for _, node := range all {
			c.config.Step(fmt.Sprintf("load the image of %s into node %s", recipe, node))
			if err := c.kind.loadComponent(ctx, fixtures.Component{Name: recipe, Image: image}, node); err != nil {
				return fmt.Errorf("image %s: %w", image, err)
			}
		}
	}
	return nil
}

// noRoom says why no node could take a Pod, were it empty; "" if one could.
func noRoom(pod corev1.PodSpec, nodes []corev1.Node) string {
	var labelled []corev1.Node
	for _, node := range nodes {
		fits := true
		for key, value := range pod.NodeSelector {
			fits = fits && node.Labels[key] == value
		}
		if fits {
			labelled = append(labelled, node)
		}
	}
	if len(labelled) == 0 {
		return fmt.Sprintf("no node has the labels of its nodeSelector, %s: take them out, for this at least",
			metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: pod.NodeSelector}))
	}
	asked := corev1.ResourceList{}
	for _, c := range pod.Containers {
		for name, quantity := range c.Resources.Requests {
			sum := asked[name]
			sum.Add(quantity)
			asked[name] = sum
		}
		for name, quantity := range c.Resources.Limits { // a limit alone is asked for as well
			if _, given := c.Resources.Requests[name]; !given {
				sum := asked[name]
				sum.Add(quantity)
				asked[name] = sum
			}
		}
	}
	var most []string
	for name, quantity := range asked {
		var greatest resource.Quantity
		for _, node := range labelled {
			if has := node.Status.Allocatable[name]; has.Cmp(greatest) > 0 {
				greatest = has
			}
		}
		if quantity.Cmp(greatest) > 0 {
			most = append(most, fmt.Sprintf("%s of %s, and the largest node has %s", quantity.String(), name, greatest.String()))
		}
	}
	if len(most) == 0 {
		return ""
	}
	slices.Sort(most)
	return "a Pod asks for " + strings.Join(most, "; ") + ": write less into resources.requests, for this at least"
}

// unscheduledFor is how long a Pod may be without a node before nobody waits for one: those before it may be
// about to go.
const unscheduledFor = 20 * time.Second

// trouble is what is missing, with what is known of why, for an app of people's own. What waiting won't mend is
// an error.
func (a *App) trouble(ctx context.Context, missing string) (string, error) {
	if !a.theirs {
		return missing, nil
	}
	refused, err := a.refused(ctx)
	if err != nil {
		return "", err
	}
	if refused != "" {
		return "", fmt.Errorf("%w: %w: %s", errPermanent, errApp, refused)
	}
	list, err := a.cluster.pods().List(ctx, metav1.ListOptions{LabelSelector: a.selector})
	if err != nil {
		return "", err
	}
	for i := range list.Items {
		pod := &list.Items[i]
		why, final := troubleOf(pod, time.Now())
		if final {
			return "", fmt.Errorf("%w: %w: Pod %s: %s%s", errPermanent, errApp, pod.Name, why, a.lastWords(ctx, pod))
		}
		if why != "" && !strings.Contains(missing, "Pod ") {
			missing += fmt.Sprintf("; Pod %s: %s", pod.Name, why)
		}
	}
	return missing, nil
}

// refused is why the API server takes no Pod of the workload, as its controller has written it down; "" if it
// does.
func (a *App) refused(ctx context.Context) (string, error) {
	present, err := a.workload.get(ctx)
	if err != nil {
		return "", err
	}
	conditions, _, _ := unstructured.NestedSlice(present.Object, "status", "conditions")
	for _, c := range conditions {
		condition, _ := c.(map[string]any)
		if condition["type"] == "ReplicaFailure" && condition["status"] == "True" {
			return fmt.Sprintf("no Pod is made: %v", condition["message"]), nil
		}
	}
	return "", nil
}

// troubleOf is why a Pod isn't ready, if that is known, and whether waiting won't mend it.
func troubleOf(pod *corev1.Pod, now time.Time) (why string, final bool) {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "no node takes it: " + c.Message, now.Sub(c.LastTransitionTime.Time) > unscheduledFor
		}
	}
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		waiting := c.State.Waiting
		if waiting == nil {
			if c.State.Running != nil && !c.Ready && c.Started != nil {
				why = fmt.Sprintf("container %s runs and isn't ready: is that what its readiness probe asks?", c.Name)
			}
			continue
		}
		switch waiting.Reason {
		case "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull":
			return fmt.Sprintf("image %s can't be pulled here (%s). Load it: docker save %s -o image.tar, and -app-archive "+
				"image.tar",
				c.Image, waiting.Message, c.Image), true
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return fmt.Sprintf("container %s can't be made: %s", c.Name, waiting.Message), true
		case "CrashLoopBackOff":
			why = fmt.Sprintf("container %s ends by itself", c.Name)
			if last := c.LastTerminationState.Terminated; last != nil {
				why += fmt.Sprintf(", with exit code %d", last.ExitCode)
			}
			return why, c.RestartCount >= 2
		}
	}
	return why, false
}

// lastWords are the last lines that a container has written which ends by itself; "" for any other Pod.
func (a *App) lastWords(ctx context.Context, pod *corev1.Pod) string {
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if c.State.Waiting == nil || c.State.Waiting.Reason != "CrashLoopBackOff" {
			continue
		}
		raw, err := a.cluster.pods().GetLogs(pod.Name, &corev1.PodLogOptions{
			Container: c.Name, Previous: true, TailLines: new(int64(5)),
		}).DoRaw(ctx)
		if err == nil && len(raw) > 0 {
			return ". Its last words:\n" + strings.TrimSpace(string(raw))
		}
	}
	return ""
}
