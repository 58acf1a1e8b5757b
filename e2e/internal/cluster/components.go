package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Components are programs that consumers need, as an ingress controller, or a workload. Each is
// deployed at the first run that needs it, on the control plane, and scaled to zero while runs that
// don't need it are made: there are few CPUs.

// componentsNamespace is where the namespaced objects of components are, as manifests name it.
const componentsNamespace = "zerodrop-components"

// componentImageLabel, with the component's name after it, is on images that scripts/images built.
const componentImageLabel = "org.zerodrop.component."

// componentsDir is the folder of a run with the logs of components that broke down.
const componentsDir = "components"

// componentWithin is how long a component may take to be ready, once its image is on its node.
const componentWithin = time.Minute

// instance is a component's Pod as it was when a run began.
type instance struct {
	fixtures.Component
	pod, uid, node string
	ip             netip.Addr
	service        netip.Addr // that is asked instead of ip; not valid where ip is
	restarts       int32
}

// useComponents has the named components ready, and all others scaled to zero. The log of one that
// isn't ready in time is saved in a run's folder.
func (c *Cluster) useComponents(ctx context.Context, names []string, dir string) (map[string]instance, error) {
	if len(names) > 0 && !c.Ours() {
		return nil, fmt.Errorf("component %s: it %w", names[0], scenarios.ErrNotOurs)
	}
	known, err := fixtures.Components(c.namespace)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(c.deployed)) {
		if !slices.Contains(names, name) {
			if err := c.stopComponent(ctx, known[name]); err != nil {
				return nil, fmt.Errorf("component %s: %w", name, err)
			}
		}
	}
	used := map[string]instance{}
	for _, name := range names {
		component, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("unknown component %q: want one of %s", name, slices.Sorted(maps.Keys(known)))
		}
		if used[name], err = c.startComponent(ctx, component); err != nil {
			return nil, errors.Join(
				fmt.Errorf("%w: component %s: %w", ErrComponent, name, err), c.saveComponentLog(ctx, component, dir))
		}
	}
	return used, nil
}

// componentsOf are those that a scenario needs on a workload.
func componentsOf(s scenarios.Scenario, w fixtures.Workload) []string {
	var names []string
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, lane := range s.Lanes {
		add(lane.Consumer.Component)
	}
	for _, c := range s.Watched {
		add(c.Component)
	}
	add(w.Component)
	for _, name := range slices.Sorted(maps.Keys(s.Disruption.Uses)) {
		add(name)
	}
	return names
}

// missingKind says of a kind that the API server doesn't have which component should have defined it.
func missingKind(component string, err error) error {
	if component != "" && (meta.IsNoMatchError(err) || apierrors.IsNotFound(err)) {
		return fmt.Errorf("the CustomResourceDefinitions of component %s are missing: %w", component, err)
	}
	return err
}

func (c *Cluster) startComponent(ctx context.Context, component fixtures.Component) (instance, error) {
	node, err := c.kind.controlPlane()
	if err != nil {
		return instance{}, err
	}
	before, ok := c.deployed[component.Name]
	if !ok {
		if err := c.install(ctx, component, node); err != nil {
			return instance{}, err
		}
	}
	args := slices.Concat(c.config.ComponentArgs[component.Name], c.args[component.Name])
	env := c.config.ComponentEnv[component.Name]
	desired, err := withArgs(component.Deployment, 1, args, env)
	if patch := c.patches[component.Name]; err == nil && patch != "" {
		desired, err = patched(desired, patch)
	}
	if err != nil {
		return instance{}, err
	}
	if !ok || !reflect.DeepEqual(before, desired) {
		// A log of runs before would be one more thing that fills the disk.
		if log := component.AccessLog; log != "" {
			if err := runOn(ctx, node, io.Discard, "rm", "-f", log, rolledLog(log)); err != nil {
				return instance{}, fmt.Errorf("remove its access log: %w", err)
			}
		}
		// Else a Pod of a Deployment that is rolled would wait for the CPU of the one before, and that for it.
		if ok && c.patches[component.Name] != "" {
			if err := c.stopComponent(ctx, component); err != nil {
				return instance{}, err
			}
		}
		if err := c.applyComponent(ctx, component, desired); err != nil {
			return instance{}, err
		}
	}
	var i instance
	err = poll(ctx, componentWithin, "its Pod to be ready", func(ctx context.Context) (missing string, err error) {
		i, missing, err = c.instance(ctx, component)
		return missing, err
	})
	return i, err
}

// stopComponent scales a component to zero and waits until its Pod is gone.
func (c *Cluster) stopComponent(ctx context.Context, component fixtures.Component) error {
	desired, err := withArgs(component.Deployment, 0, nil, nil)
	if err != nil || reflect.DeepEqual(c.deployed[component.Name], desired) {
		return err
	}
	if err := c.applyComponent(ctx, component, desired); err != nil {
		return err
	}
	return poll(ctx, componentWithin, "its Pod to go", func(ctx context.Context) (string, error) {
		pods, err := c.componentPods(ctx, component)
		if err != nil || len(pods) == 0 {
			return "", err
		}
		return fmt.Sprintf("Pod %s is there", pods[0].Name), nil
	})
}

// withArgs is a Deployment with a number of replicas and more arguments and variables for its program,
// at the end of those that it has.
func withArgs(d *unstructured.Unstructured, replicas int64, args, env []string) (*unstructured.Unstructured, error) {
	d = d.DeepCopy()
	if err := unstructured.SetNestedField(d.Object, replicas, "spec", "replicas"); err != nil {
		return nil, err
	}
	where := []string{"spec", "template", "spec", "containers"}
	containers, _, err := unstructured.NestedSlice(d.Object, where...)
	if err != nil || len(args)+len(env) == 0 {
		return d, err
	}
	program := containers[0].(map[string]any)
	if len(args) > 0 {
		var present []string
		if present, _, err = unstructured.NestedStringSlice(program, "args"); err == nil {
			err = unstructured.SetNestedStringSlice(program, slices.Concat(present, args), "args")
		}
	}
	if err == nil && len(env) > 0 {
		variables, _ := program["env"].([]any)
		for _, text := range env {
			name, value, _ := strings.Cut(text, "=")
			variables = append(variables, map[string]any{"name": name, "value": value})
		}
		err = unstructured.SetNestedSlice(program, variables, "env")
	}
	if err == nil {
		err = unstructured.SetNestedSlice(d.Object, containers, where...)
	}
	return d, err
}

// install loads a component's image and makes what its Deployment needs.
func (c *Cluster) install(ctx context.Context, component fixtures.Component, node nodes.Node) error {
	c.config.Step("load the image of " + component.Name)
	if err := c.kind.loadComponent(ctx, component, node); err != nil {
		return err
	}
	c.config.Step("deploy " + component.Name)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name:   componentsNamespace,
		Labels: labels.Merge(managed, labels.Set{"pod-security.kubernetes.io/enforce": "privileged"}),
	}}
	_, err := c.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", componentsNamespace, err)
	}
	objects, err := withCertificates(component.Objects)
	if err != nil {
		return err
	}
	return c.applyComponent(ctx, component, objects...)
}

// applyComponent makes objects of a component, or makes those that are there what they are to be.
func (c *Cluster) applyComponent(
	ctx context.Context, component fixtures.Component, objects ...*unstructured.Unstructured,
) error {
	for _, o := range objects {
		what := fmt.Sprintf("%s %s to be applied", o.GetKind(), o.GetName())
		// Kinds that objects before have defined are known a moment later.
		err := poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
			located, err := c.locateIn(componentsNamespace, []*unstructured.Unstructured{o})
			if err == nil {
				err = located[0].replace(ctx)
			}
			if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
				err = fmt.Errorf("%w: %w", errPermanent, err)
			}
			return "", err
		})
		if err != nil {
			return err
		}
		if o.GetKind() == component.Deployment.GetKind() {
			if c.deployed == nil {
				c.deployed = map[string]*unstructured.Unstructured{}
			}
			c.deployed[component.Name] = o
		}
	}
	return nil
}

// instance returns the component's Pod, or what it lacks to be ready.
func (c *Cluster) instance(ctx context.Context, component fixtures.Component) (i instance, missing string, err error) {
	located, err := c.locateIn(componentsNamespace, []*unstructured.Unstructured{component.Deployment})
	if err != nil {
		return i, "", err
	}
	present, err := located[0].get(ctx)
	if err != nil {
		return i, "", err
	}
	_, missing, err = rollout(present)
	if err != nil {
		return i, "", err
	}
	pods, err := c.componentPods(ctx, component)
	switch {
	case err != nil:
		return i, "", err
	case len(pods) != 1:
		return i, cmp.Or(missing, fmt.Sprintf("%d Pods are there", len(pods))), nil
	}
	p := &pods[0]
	if missing != "" || !observe.Ready(p) {
		return i, fmt.Sprintf("Pod %s is %s%s and not ready", p.Name, p.Status.Phase, waitingFor(p)), nil
	}
	i = instance{Component: component, pod: p.Name, uid: string(p.UID), node: p.Spec.NodeName, restarts: restarts(p)}
	if i.ip, err = netip.ParseAddr(p.Status.PodIP); err != nil {
		return i, "", fmt.Errorf("address of Pod %s: %w", p.Name, err)
	}
	return i, "", nil
}

func (c *Cluster) componentPods(ctx context.Context, component fixtures.Component) ([]corev1.Pod, error) {
	selector, _, err := unstructured.NestedStringMap(component.Deployment.Object, "spec", "selector", "matchLabels")
	if err != nil {
		return nil, err
	}
	selected := metav1.ListOptions{LabelSelector: labels.FormatLabels(selector)}
	list, err := c.client.CoreV1().Pods(componentsNamespace).List(ctx, selected)
	if err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	return list.Items, nil
}

func restarts(p *corev1.Pod) (n int32) {
	for _, s := range p.Status.ContainerStatuses {
		n += s.RestartCount
	}
	return n
}

// checkComponents says which of the components that a run uses broke down since it began. The logs
// of these are saved in the run's folder.
func (c *Cluster) checkComponents(ctx context.Context, used map[string]instance, dir string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(used)) {
		began := used[name]
		var broken string
		err := poll(ctx, maxAPIOutage, "the component's state", func(ctx context.Context) (string, error) {
			pods, err := c.componentPods(ctx, began.Component)
			broken = began.compare(pods)
			return "", err
		})
		if err == nil && broken == "" {
			continue
		}
		err = cmp.Or(err, errors.New(broken))
		errs = append(errs, fmt.Errorf("component %s: %w", name, err), c.saveComponentLog(ctx, began.Component, dir))
	}
	return errors.Join(errs...)
}

// compare says what became of the instance, by the Pods that are there now; empty if nothing did.
func (i instance) compare(pods []corev1.Pod) string {
	n := slices.IndexFunc(pods, func(p corev1.Pod) bool { return string(p.UID) == i.uid })
	if n < 0 {
		return fmt.Sprintf("Pod %s is gone in mid-run", i.pod)
	}
	p := &pods[n]
	if restarts(p) != i.restarts || !observe.Ready(p) {
		why := fmt.Sprintf("its container in Pod %s ended or wasn't ready in mid-run", i.pod)
		for _, s := range p.Status.ContainerStatuses { // one
			if t := cmp.Or(s.State.Terminated, s.LastTerminationState.Terminated); t != nil {
				return fmt.Sprintf("%s: %s, exit code %d", why, t.Reason, t.ExitCode)
			}
		}
		return why
	}
	return ""
}

// saveComponentLog writes the log of a component, with that of the container before, to a run's
// folder.
func (c *Cluster) saveComponentLog(ctx context.Context, component fixtures.Component, dir string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
	defer cancel()
	pods, err := c.componentPods(ctx, component)
	if err != nil {
		return fmt.Errorf("save the log of component %s: %w", component.Name, err)
	}
	var out []byte
	for _, p := range pods {
		for _, previous := range []bool{true, false} {
			log := c.client.CoreV1().Pods(componentsNamespace).GetLogs(p.Name, &corev1.PodLogOptions{Previous: previous})
			if text, err := log.DoRaw(ctx); err == nil { // there may be none before, or none yet
				out = append(out, text...)
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	return saveComponent(dir, component.Name+".log", string(out))
}

// controlPlane is the node that components run on.
func (k *kindCluster) controlPlane() (nodes.Node, error) {
	all, err := k.provider.ListInternalNodes(k.name())
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	found, err := nodeutils.ControlPlaneNodes(all)
	if err == nil && len(found) == 0 {
		err = errors.New("there is none")
	}
	if err != nil {
		return nil, fmt.Errorf("find the control plane: %w", err)
	}
	return found[0], nil
}

// loadComponent loads a component's image into its node under its official name, unless it is
// there.
func (k *kindCluster) loadComponent(ctx context.Context, component fixtures.Component, node nodes.Node) error {
	ref, err := k.componentImage(ctx, component)
	if err != nil {
		return err
	}
	onNode := ref // as containerd writes it, in full
	if registry, _, _ := strings.Cut(ref, "/"); !strings.ContainsAny(registry, ".:") && registry != "localhost" {
		onNode = "docker.io/" + ref
	}
	var present strings.Builder
	if err := runOn(ctx, node, &present, "ctr", "--namespace=k8s.io", "images", "ls", "--quiet"); err != nil {
		return fmt.Errorf("look for image %s: %w", ref, err)
	}
	if !slices.Contains(strings.Fields(present.String()), onNode) {
		if err := k.loadImage(ctx, ref, node); err != nil {
			return fmt.Errorf("load image %s into node %s: %w", ref, node, err)
		}
	}
	if onNode == component.Image {
		return nil
	}
	return runOn(ctx, node, io.Discard, "ctr", "--namespace=k8s.io", "images", "tag", "--force", onNode, component.Image)
}

// componentImage is the name by which the engine has a component's image: the official one, or one
// that scripts/images has built.
func (k *kindCluster) componentImage(ctx context.Context, component fixtures.Component) (string, error) {
	if _, err := k.engine(ctx, nil, "image", "inspect", component.Image); err == nil {
		return component.Image, nil
	}
	_, tag, _ := strings.Cut(path.Base(component.Image), ":")
	return k.builtImage(ctx, component.Name, tag)
}

// builtImage is the name by which the engine has a component's image that scripts/images has built,
// for a tag of the official one; empty for any. Of two, nothing says which is meant.
func (k *kindCluster) builtImage(ctx context.Context, component, tag string) (string, error) {
	label := componentImageLabel + component
	out, err := k.engine(ctx, nil, "image", "ls", "--filter", "label="+label, "--format", "{{.Repository}}:{{.Tag}}")
	if err != nil {
		return "", fmt.Errorf("find its image: %w", err)
	}
	names := slices.DeleteFunc(strings.Fields(out), func(name string) bool {
		return tag != "" && !strings.Contains(name, ":"+tag+"-")
	})
	switch len(names) {
	case 0:
		return "", fmt.Errorf("there is no image with the label %s: make images CONSUMERS=%s", label, component)
	case 1:
		return names[0], nil
	}
	return "", fmt.Errorf("several images have the label %s, of one recipe and of older ones: %s", label, names)
}

// loadImage copies an image from the engine to a node.
func (k *kindCluster) loadImage(ctx context.Context, ref string, node nodes.Node) error {
	dir, err := os.MkdirTemp("", "zerodrop-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "image.tar")
	if _, err := k.engine(ctx, nil, "save", "--output", file, ref); err != nil {
		return err
	}
	archive, err := os.Open(file)
	if err != nil {
		return err
	}
	defer archive.Close()
	return nodeutils.LoadImageArchive(node, archive)
}
