package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
)

// startLogind starts what tells a kubelet of a shutdown, on a node whose image has it: kind's own has no
// D-Bus, and the image built from source has.
const startLogind = `for program in dbus-daemon dbus-send systemd-inhibit; do
	command -v $program >/dev/null && continue
	echo "the node's image has no $program, that of scripts/images has it" >&2
	exit 1
done
systemctl start dbus.service systemd-logind.service`

// sayShutdown sends what logind sends before a shutdown, as the tests of Kubernetes do: the kubelet
// doesn't ask who the sender is, and the node goes on running.
var sayShutdown = []string{
	"dbus-send", "--system", "--type=signal", "/org/freedesktop/login1",
	"org.freedesktop.login1.Manager.PrepareForShutdown", "boolean:true",
}

// errDeaf is the guarantee that no node says that it shuts down while its kubelet wouldn't hear of it:
// nothing would happen to any Pod, and that would look like a strategy that drops nothing.
var errDeaf = errors.New("the kubelet holds no inhibitor of a shutdown: it would not hear of one")

// hearsWithin is how long a kubelet may take from its first report until it holds an inhibitor.
const hearsWithin = 30 * time.Second

// hearShutdowns has the kubelets of nodes hear of shutdowns. One that has started without logind doesn't,
// and never tries again: it is started anew.
func (c *Cluster) hearShutdowns(ctx context.Context, nodes []observe.Node) error {
	for _, node := range nodes {
		if err := node.Run(ctx, io.Discard, "sh", "-c", startLogind); err != nil {
			return fmt.Errorf("start logind: %w", err)
		}
		err := hearsShutdown(ctx, node)
		if errors.Is(err, errDeaf) {
			err = c.hearAgain(ctx, node)
		}
		if err != nil {
			return err
		}
	}
	return c.waitClusterReady(ctx)
}

// hearsShutdown says why a node's kubelet doesn't hear of a shutdown; errDeaf if it holds no inhibitor:
//
//	WHO     UID USER PID  COMM    WHAT     WHY                                        MODE
//	kubelet 0   root 2355 kubelet shutdown Kubelet needs time to handle node shutdown delay
func hearsShutdown(ctx context.Context, node observe.Node) error {
	var out bytes.Buffer
	if err := node.Run(ctx, &out, "systemd-inhibit", "--list", "--no-legend", "--no-pager"); err != nil {
		return fmt.Errorf("list inhibitors: %w", err)
	}
	for line := range strings.Lines(out.String()) {
		if words := strings.Fields(line); len(words) > 5 && words[0] == "kubelet" && words[5] == "shutdown" {
			return nil
		}
	}
	return fmt.Errorf("node %s: %w", node.Name, errDeaf)
}

// hearAgain starts a node's kubelet anew, and waits until it hears of shutdowns.
func (c *Cluster) hearAgain(ctx context.Context, node observe.Node) error {
	if err := c.restartKubelet(ctx, node); err != nil {
		return err
	}
	what := "an inhibitor of the kubelet of node " + node.Name
	return poll(ctx, hearsWithin, what, func(ctx context.Context) (string, error) {
		err := hearsShutdown(ctx, node)
		if errors.Is(err, errDeaf) {
			return "there is none", nil
		}
		return "", err
	})
}

// ShutDownNode has a node say that it shuts down, and waits until its kubelet has ended the app's Pods
// there, and as many as asked for are ready elsewhere. What is left of the ended ones is removed: their
// objects would stay, as nobody has deleted them.
func (a *App) ShutDownNode(ctx context.Context, name string) error {
	nodes, err := a.cluster.kind.observed()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(nodes, func(n observe.Node) bool { return n.Name == name })
	if i < 0 {
		return fmt.Errorf("shut down node %s: there is none of that name", name)
	}
	return a.shutDown(ctx, nodes[i])
}

func (a *App) shutDown(ctx context.Context, node observe.Node) error {
	if err := hearsShutdown(ctx, node); err != nil {
		return err
	}
	a.nodes.undo = append(a.nodes.undo, func(ctx context.Context) error { return a.cluster.cancelShutdown(ctx, node) })
	if err := node.Run(ctx, io.Discard, sayShutdown[0], sayShutdown[1:]...); err != nil {
		return fmt.Errorf("tell the kubelet of a shutdown: %w", err)
	}
	what := "the shutdown of node " + node.Name
	return poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
		// A replacement may still be given to the node before that is known to be unready. Its kubelet
		// refuses it, and it has to be replaced as well.
		left, err := a.cluster.removeEnded(ctx, node.Name, a.cluster.namespace, ownSelector)
		if err != nil || left != "" {
			return left, err
		}
		ready, _, err := a.count(ctx)
		if err == nil && ready < a.replicas {
			return fmt.Sprintf("%d of %d Pods are ready elsewhere", ready, a.replicas), nil
		}
		return "", err
	})
}

// cancelShutdown has a node take Pods again, and waits until what every cluster needs runs there again.
//
// The kubelet is started anew, where logind would say that the shutdown is off. It hears that only when it
// has done with all Pods, up to shutdownGracePeriod later, and then closes the descriptor of its inhibitor
// a second time, which by then may be that of its new one, or of anything else
// (Kubernetes 1.37, pkg/kubelet/nodeshutdown: acquireInhibitLock).
func (c *Cluster) cancelShutdown(ctx context.Context, node observe.Node) error {
	if err := c.hearAgain(ctx, node); err != nil {
		return err
	}
	// A DaemonSet waits longer and longer before it replaces a Pod that has failed, and makes another at
	// once for one that is removed.
	if _, err := c.removeEnded(ctx, node.Name, metav1.NamespaceAll, ""); err != nil {
		return fmt.Errorf("remove what ended with node %s: %w", node.Name, err)
	}
	return c.waitClusterReady(ctx)
}

// Reasons that the kubelet gives for the failure of Pods that it has ended, or refused, as its node shuts
// down. One whose process has ended by itself in the time that it was given has succeeded.
var shutdownReasons = []string{"Terminated", "NodeShutdown"}

// removeEnded removes the Pods that a node has ended as it shuts down, and says which other one is there;
// "" for none.
func (c *Cluster) removeEnded(ctx context.Context, node, namespace, selector string) (left string, err error) {
	list, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return "", err
	}
	for _, p := range list.Items {
		if p.Spec.NodeName != node {
			continue
		}
		status := p.Status
		failed := status.Phase == corev1.PodFailed && slices.Contains(shutdownReasons, status.Reason)
		if status.Phase != corev1.PodSucceeded && !failed {
			left = strings.TrimSpace(fmt.Sprintf("Pod %s is %s %s", p.Name, status.Phase, status.Reason))
			continue
		}
		err := c.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return "", err
		}
	}
	return left, nil
}
