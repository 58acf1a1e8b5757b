package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kind/pkg/cluster/constants"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/exec"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
	"github.com/zerodrop/zerodrop/fixtures"
)

// observed are the nodes that the observer can ask: those of a kind cluster. What runs in a node of
// a cluster that exists needs rights that a user of it rarely has, and that a load test should not
// ask for.
func (k *kindCluster) observed() ([]observe.Node, error) {
	all, err := k.provider.ListInternalNodes(k.name())
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var out []observe.Node
	for _, node := range all {
		role, err := node.Role()
		if err != nil {
			return nil, fmt.Errorf("role of node %s: %w", node, err)
		}
		if role == "external-load-balancer" { // runs no Pods
			continue
		}
		ip, _, err := node.IP()
		if err != nil {
			return nil, fmt.Errorf("address of node %s: %w", node, err)
		}
		n := observable(node)
		n.IP = ip
		if role == constants.ControlPlaneNodeRoleValue {
			n.AuditLog = fixtures.AuditLog
		}
		out = append(out, n)
	}
	return out, nil
}

// observable is a node by its name, and the way to run programs there.
func observable(node nodes.Node) observe.Node {
	run := func(ctx context.Context, stdout io.Writer, command string, args ...string) error {
		return runOn(ctx, node, stdout, command, args...)
	}
	return observe.Node{Name: node.String(), Run: run}
}

// auditedWithin is how long the audit log may take to have a line. The API server writes it when it
// has answered.
const auditedWithin = 10 * time.Second

// checkAuditLog makes sure that the audit log of the API server tells of what is done to Pods. Where
// kubeadm's configuration is of a version that no patch is for, kind leaves the log out and says
// nothing. The deletion of a Pod that isn't there is a line of ours and changes nothing.
func (c *Cluster) checkAuditLog(ctx context.Context, all []observe.Node) error {
	const pod = "audited"
	if err := c.pods().Delete(ctx, pod, metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete a Pod that isn't there: %w", cmp.Or(err, errors.New("it was there")))
	}
	line := "/namespaces/" + c.namespace + "/pods/" + pod
	const what = "a line of ours in the API server's audit log"
	return poll(ctx, auditedWithin, what, func(ctx context.Context) (string, error) {
		why := "no node should have one"
		for _, node := range all {
			if node.AuditLog == "" {
				continue
			}
			err := node.Run(ctx, io.Discard, "grep", "-q", line, node.AuditLog)
			if err == nil || ctx.Err() != nil {
				return "", err
			}
			why = err.Error()
		}
		return why, nil
	})
}

// untilHungUp runs a program until its own standard input ends. Who kills docker exec ends only the
// client of it: the program in the node would run on, and be one more with every run.
const untilHungUp = `exec 3<&0
"$@" </dev/null &
child=$!
{ cat; kill "$child"; } <&3 >/dev/null 2>&1 &
wait "$child"`

// endsWithin is how long a program may take to end when it is told to, until its client is killed.
const endsWithin = 10 * time.Second

// runOn runs a program on a node until it ends, or ctx is over; then it is ended there, too.
func runOn(ctx context.Context, node nodes.Node, stdout io.Writer, command string, args ...string) error {
	return runIn(ctx, "node "+node.String(), node.CommandContext, stdout, command, args...)
}

// runIn is runOn for any place that a way to run programs there leads to.
func runIn(
	ctx context.Context, place string, way func(context.Context, string, ...string) exec.Cmd,
	stdout io.Writer, command string, args ...string,
) error {
	// Where the place itself is gone, as a node that was killed, the client may not end by itself.
	running, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	// A pipe of the system's, which the process reads itself: with any other reader, os/exec goes
	// on copying after the program has ended.
	stdin, hangUp, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("run %s on %s: %w", command, place, err)
	}
	defer stdin.Close()
	defer hangUp.Close() // also after it was closed because ctx was over, which changes nothing
	stop := context.AfterFunc(ctx, func() {
		_ = hangUp.Close()
		select {
		case <-running.Done():
		case <-time.After(endsWithin):
			kill()
		}
	})
	defer stop()
	var said bytes.Buffer
	args = append([]string{"-c", untilHungUp, "sh", command}, args...)
	program := way(running, "sh", args...)
	err = program.SetStdin(stdin).SetStdout(stdout).SetStderr(&said).Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("run %s on %s: %w", command, place, err), lastLine(said.String()))
	}
	return nil
}

// lastLine is what a program said last, which is mostly why it failed; nil if it said nothing.
func lastLine(text string) error {
	text = strings.TrimSpace(text)
	if text = text[strings.LastIndex(text, "\n")+1:]; text == "" {
		return nil
	}
	return errors.New(text)
}
