package cluster

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
)

const inhibitor = "kubelet 0 root 2355 kubelet shutdown Kubelet needs time to handle node shutdown delay\n"

// aLogindNode is a node that takes the commands of a shutdown.
type aLogindNode struct {
	hears     time.Time        // from when on its kubelet does; zero for now
	deaf      bool             // it never does
	fails     map[string]error // what commands that begin so say
	shutsDown func()
	restarts  func()   // its kubelet
	ran       []string // but for lists of inhibitors
}

func (n *aLogindNode) node(name string) observe.Node {
	return observe.Node{Name: name, Run: func(_ context.Context, stdout io.Writer, command string, args ...string) error {
		line := strings.Join(append([]string{command}, args...), " ")
		for begin, err := range n.fails {
			if strings.HasPrefix(line, begin) {
				return err
			}
		}
		switch command {
		case "systemd-inhibit":
			if n.deaf || time.Now().Before(n.hears) {
				return nil
			}
			_, err := io.WriteString(stdout, "someone 0 root 1 x sleep kubelet shutdown delay\n"+inhibitor)
			return err
		case "systemctl":
			n.hears = time.Now().Add(2 * sec)
			n.restarts()
		case "dbus-send":
			n.shutsDown()
		case "sh":
			line = "start logind"
		}
		n.ran = append(n.ran, line)
		return nil
	}}
}

// reportsNow is a kubelet that reports at once when it is restarted.
func reportsNow(t *testing.T, client *fake.Clientset, name string) func() {
	t.Helper()
	return func() {
		assert.NoError(t, client.Tracker().Update(nodesGVR, reports(name, corev1.ConditionTrue, time.Now().Unix()), ""))
	}
}

// TestHearShutdowns: a kubelet that hears of shutdowns is left alone, another one is started again, and a
// node that lacks something is told.
func TestHearShutdowns(t *testing.T) {
	errNone := errors.New("the node's image has no dbus-daemon")
	const restart = "systemctl restart kubelet"
	tests := []struct {
		name string
		node aLogindNode
		took time.Duration
		ran  []string
		want string
	}{
		{"it hears", aLogindNode{}, 0, []string{"start logind"}, ""},
		{"it has to be started again", aLogindNode{hears: time.Unix(1e11, 0)}, 2 * sec, []string{"start logind", restart}, ""},
		{"it never does", aLogindNode{deaf: true}, 30 * sec, []string{"start logind", restart}, "wait for an inhibitor of the kubelet of node node-a: not within 30s: there is none"},
		{"no D-Bus", aLogindNode{fails: map[string]error{"sh": errNone}}, 0, nil, "start logind: the node's image has no dbus-daemon"},
		{"no logind", aLogindNode{fails: map[string]error{"systemd-inhibit": errFake}}, 0, []string{"start logind"}, "list inhibitors: " + errFake.Error()},
		{"no kubelet", aLogindNode{deaf: true, fails: map[string]error{"systemctl": errFake}}, 0, []string{"start logind"}, "restart the kubelet of node node-a: " + errFake.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				client := fake.NewSimpleClientset(aNode("node-a", corev1.ConditionTrue))
				c := newCluster(client, Config{})
				tt.node.restarts = reportsNow(t, client, "node-a")
				began := time.Now()
				err := c.hearShutdowns(t.Context(), []observe.Node{tt.node.node("node-a")})
				if tt.want == "" {
					require.NoError(t, err)
				} else {
					require.EqualError(t, err, tt.want)
				}
				assert.Equal(t, tt.took, time.Since(began).Truncate(sec))
				assert.Equal(t, tt.ran, tt.node.ran)
			})
		})
	}
}

func atNode(name string, phase corev1.PodPhase, reason string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.NodeName, p.Status.Phase, p.Status.Reason = name, phase, reason
	}
}

// TestShutDown: the Pods of the node end, what is left of them and of what the kubelet refuses is removed,
// and it is over when all are ready elsewhere. Undone, the kubelet takes Pods again, and those of the
// system that have ended with the node are replaced.
func TestShutDown(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const a, b = "node-a", "node-b"
		on := func(node string) func(*corev1.Pod) { return atNode(node, corev1.PodRunning, "") }
		proxy := aPod("kube-proxy-a", on(a))
		proxy.Namespace, proxy.Labels = metav1.NamespaceSystem, nil
		app, client := newApp(aNode(a, corev1.ConditionTrue), proxy,
			aPod("a", ready, on(a)), aPod("b", ready, on(a)), aPod("c", ready, on(b)))
		put := func(after time.Duration, p *corev1.Pod) {
			time.AfterFunc(after, func() {
				if client.Tracker().Update(podsGVR, p, p.Namespace) != nil {
					assert.NoError(t, client.Tracker().Create(podsGVR, p, p.Namespace))
				}
			})
		}
		node := &aLogindNode{restarts: reportsNow(t, client, a), shutsDown: func() {
			put(3*sec, aPod("a", unready, atNode(a, corev1.PodFailed, "Terminated")))
			put(5*sec, aPod("b", unready, atNode(a, corev1.PodSucceeded, "")))
			put(5*sec, aPod("d", unready, atNode(a, corev1.PodFailed, "NodeShutdown")))
			put(8*sec, aPod("e", ready, on(b)))
			put(9*sec, aPod("f", ready, on(b)))
			ended := proxy.DeepCopy()
			atNode(a, corev1.PodFailed, "Terminated")(ended)
			put(6*sec, ended)
		}}
		began := time.Now()
		require.NoError(t, app.shutDown(t.Context(), node.node(a)))
		assert.Equal(t, 9*sec, time.Since(began).Truncate(sec))
		pods, err := app.Pods(t.Context())
		require.NoError(t, err)
		assert.ElementsMatch(t, []string{"c", "e", "f"}, pods)

		require.Len(t, app.nodes.undo, 1)
		require.NoError(t, app.nodes.undo[0](t.Context()))
		require.NoError(t, app.nodes.undo[0](t.Context()), "twice")
		assert.Len(t, node.ran, 3)
		assert.Equal(t, []string{strings.Join(sayShutdown, " "), "systemctl restart kubelet"}, node.ran[:2])
		list, err := client.CoreV1().Pods(metav1.NamespaceSystem).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		assert.Empty(t, list.Items)
	})
}

// TestShutDownInVain: nothing is said to a node whose kubelet doesn't hear it, and what doesn't end, or for
// another reason, is told.
func TestShutDownInVain(t *testing.T) {
	const late = "wait for the shutdown of node node-a: not within 2m0s: "
	tests := []struct {
		name string
		node aLogindNode
		pod  func(*corev1.Pod)
		undo int
		want string
	}{
		{"nobody listens", aLogindNode{deaf: true}, ready, 0, "node node-a: " + errDeaf.Error()},
		{"it can't be said", aLogindNode{fails: map[string]error{"dbus-send": errFake}}, ready, 1, "tell the kubelet of a shutdown: " + errFake.Error()},
		{"a Pod stays", aLogindNode{}, atNode("node-a", corev1.PodRunning, ""), 1, late + "Pod a is Running"},
		{"a Pod is evicted", aLogindNode{}, atNode("node-a", corev1.PodFailed, "Evicted"), 1, late + "Pod a is Failed Evicted"},
		{"none is ready elsewhere", aLogindNode{}, atNode("node-b", corev1.PodPending, ""), 1, late + "0 of 3 Pods are ready elsewhere"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				app, _ := newApp(aPod("a", tt.pod))
				tt.node.shutsDown = func() {}
				require.EqualError(t, app.shutDown(t.Context(), tt.node.node("node-a")), tt.want)
				assert.Len(t, app.nodes.undo, tt.undo)
			})
		})
	}
}
