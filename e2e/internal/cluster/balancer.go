package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kind/pkg/exec"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// The load balancer is a component that is not in the cluster: a container beside it, as what
// implements Services of type LoadBalancer mostly is (scripts/images/loadbalancer). It is started for
// the first run that needs it and stays as long as the cluster is open.

// balancer is the container, running.
type balancer struct {
	container
	ip      string
	started string // when the engine started it
}

// Names within the container.
const (
	balancerFolder = "/var/log/zerodrop"
	balancerAccess = balancerFolder + "/loadbalancer.log"
	// balancerMarks are HAProxy's own words: when it took which result of a probe from which node, and
	// when it marked a node DOWN or UP, to the microsecond.
	balancerMarks = balancerFolder + "/loadbalancer-marks.log"
)

// addressWithin is how long a Service may take to get its address.
const addressWithin = time.Minute

// errAdopts is the guarantee that nobody's Service is taken over.
var errAdopts = errors.New("the load balancer would adopt a Service that isn't the run's")

// useBalancer has the load balancer run.
func (c *Cluster) useBalancer(ctx context.Context) error {
	if !c.Ours() {
		return fmt.Errorf("component %s: it %w", fixtures.LoadBalancer, scenarios.ErrNotOurs)
	}
	if err := c.startBalancer(ctx); err != nil {
		return fmt.Errorf("component %s: %w", fixtures.LoadBalancer, err)
	}
	return nil
}

func (c *Cluster) startBalancer(ctx context.Context) error {
	// The service controller adopts every Service of type LoadBalancer that has no class.
	services, err := c.client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list Services: %w", err)
	}
	for _, s := range services.Items {
		if s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.LoadBalancerClass == nil && s.Namespace != c.namespace {
			return fmt.Errorf("%w: %s in namespace %s", errAdopts, s.Name, s.Namespace)
		}
	}
	if c.balancer != nil && c.kind.ended(ctx, *c.balancer) == nil {
		// A log of runs before would be one more thing that fills memory.
		_, err := c.kind.engine(ctx, nil, "exec", c.balancer.name(), "sh", "-c", ": >"+balancerAccess+"; : >"+balancerMarks)
		return err
	}
	c.balancer = nil
	if _, err := c.kind.engine.removeContainers(ctx, containerLabel(c.kind.name())+"="+fixtures.LoadBalancer); err != nil {
		return err
	}
	image, err := c.kind.builtImage(ctx, fixtures.LoadBalancer, "")
	if err != nil {
		return err
	}
	const internal = true // as a container on the nodes' network reaches the API
	kubeconfig, err := c.kind.provider.KubeConfig(c.kind.name(), internal)
	if err != nil {
		return fmt.Errorf("find its kubeconfig: %w", err)
	}
	c.config.Step("start " + fixtures.LoadBalancer)
	b := balancer{container: container{
		cluster: c.kind.name(), role: fixtures.LoadBalancer, image: image,
		memory: []string{"/run:size=16m", balancerFolder + ":size=256m"},
	}}
	if b.ip, _, err = c.kind.engine.start(ctx, b.container); err != nil {
		return err
	}
	// Into memory, where it is read once and removed.
	const take = "cat >/run/kubeconfig.new && mv /run/kubeconfig.new /run/kubeconfig"
	in := strings.NewReader(kubeconfig)
	if _, err := c.kind.engine(ctx, in, "exec", "--interactive", b.name(), "sh", "-c", take); err != nil {
		return errors.Join(fmt.Errorf("give it a kubeconfig: %w", err), c.kind.ended(ctx, b))
	}
	if b.started, err = c.kind.engine(ctx, nil, "inspect", "--format", "{{.State.StartedAt}}", b.name()); err != nil {
		return err
	}
	c.balancer = &b
	return nil
}

// ended says how the container ended, or that it was started again, which it never is by us; nil if
// it runs.
func (k *kindCluster) ended(ctx context.Context, b balancer) error {
	const format = "{{if .State.Running}}{{.State.StartedAt}}{{else}}exit code {{.State.ExitCode}}{{end}}"
	state, err := k.engine(ctx, nil, "inspect", "--format", format, b.name())
	switch {
	case err != nil:
		return fmt.Errorf("container %s: %w", b.name(), err)
	case b.started == "" && !strings.HasPrefix(state, "exit code"), state == b.started:
		return nil
	case strings.HasPrefix(state, "exit code"):
		return fmt.Errorf("container %s has ended: %s", b.name(), state)
	}
	return fmt.Errorf("container %s was started again at %s", b.name(), state)
}

// balancerAddress waits until the load balancer has given a Service its address.
func (a *App) balancerAddress(ctx context.Context, service object) (string, error) {
	b := a.cluster.balancer
	if b == nil {
		return "", fmt.Errorf("no load balancer runs: want the annotation zerodrop.dev/component: %s", fixtures.LoadBalancer)
	}
	var ip string
	what := "the load balancer to give Service " + service.GetName() + " its address"
	ctx, cancel := context.WithTimeoutCause(ctx, addressWithin, fmt.Errorf("not within %s", addressWithin))
	defer cancel()
	err := poll(ctx, addressWithin, what, func(ctx context.Context) (string, error) {
		present, err := service.get(ctx)
		if err != nil {
			return "", err
		}
		ingress, _, _ := unstructured.NestedSlice(present.Object, "status", "loadBalancer", "ingress")
		if len(ingress) > 0 {
			ip, _ = ingress[0].(map[string]any)["ip"].(string)
		}
		if ip == b.ip { // and not that of one before
			return "", nil
		}
		if err := a.cluster.kind.ended(ctx, *b); err != nil && ctx.Err() == nil {
			return "", fmt.Errorf("%w: %w", errPermanent, err)
		}
		return a.lastEvent(ctx, service.GetName()), nil
	})
	if err != nil {
		return "", errors.Join(fmt.Errorf("%w: %w", ErrComponent, err), a.cluster.saveBalancerLog(ctx, a.dir))
	}
	return ip, nil
}

// lastEvent is what the service controller said last about a Service.
func (a *App) lastEvent(ctx context.Context, service string) string {
	of := metav1.ListOptions{FieldSelector: "involvedObject.kind=Service,involvedObject.name=" + service}
	list, err := a.cluster.client.CoreV1().Events(a.cluster.namespace).List(ctx, of)
	if err != nil || len(list.Items) == 0 {
		return "nobody has said anything about it"
	}
	last := list.Items[0]
	for _, e := range list.Items {
		if e.LastTimestamp.After(last.LastTimestamp.Time) {
			last = e
		}
	}
	return last.Reason + ": " + last.Message
}

// checkBalancer saves HAProxy's marks of a run in its folder, and says if the load balancer broke
// down since the run began.
func (c *Cluster) checkBalancer(ctx context.Context, dir string) error {
	marks, err := c.kind.engine(ctx, nil, "exec", c.balancer.name(), "cat", balancerMarks)
	if err == nil {
		err = saveComponent(dir, fixtures.LoadBalancer+"-marks.log", marks)
	}
	if broken := c.kind.ended(ctx, *c.balancer); broken != nil {
		err = broken
	}
	if err != nil {
		return errors.Join(fmt.Errorf("component %s: %w", fixtures.LoadBalancer, err), c.saveBalancerLog(ctx, dir))
	}
	return nil
}

// saveBalancerLog writes what the service controller and HAProxy have said to a run's folder.
func (c *Cluster) saveBalancerLog(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
	defer cancel()
	// The engine's command writes it to its standard error, as the programs do.
	var log strings.Builder
	cmd := exec.CommandContext(ctx, c.kind.program, "logs", c.balancer.name())
	if err := cmd.SetStdout(&log).SetStderr(&log).Run(); err != nil {
		return fmt.Errorf("save the log of component %s: %w", fixtures.LoadBalancer, err)
	}
	return saveComponent(dir, fixtures.LoadBalancer+".log", log.String())
}

// saveComponent writes a file of a component to a run's folder.
func saveComponent(dir, name, text string) error {
	file := filepath.Join(dir, componentsDir, name)
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte(text), 0o644)
	}
	if err != nil {
		return fmt.Errorf("save %s: %w", name, err)
	}
	return nil
}

// accessLog is the load balancer's, in its container, which is like a node for who reads it.
func (k *kindCluster) accessLog(b balancer) observe.AccessLog {
	way := func(ctx context.Context, command string, args ...string) exec.Cmd {
		return exec.CommandContext(ctx, k.program, append([]string{"exec", "--interactive", b.name(), command}, args...)...)
	}
	return observe.AccessLog{Component: fixtures.LoadBalancer, File: balancerAccess, Node: observe.Node{
		Name: b.name(), IP: b.ip,
		Run: func(ctx context.Context, stdout io.Writer, command string, args ...string) error {
			return runIn(ctx, "container "+b.name(), way, stdout, command, args...)
		},
	}}
}
