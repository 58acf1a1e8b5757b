package cluster

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	kindexec "sigs.k8s.io/kind/pkg/exec"
)

var nodesGVR = corev1.SchemeGroupVersion.WithResource("nodes")

// heard is a node that has said so many seconds ago that it is ready.
func heard(name, podCIDR string, seconds int64, change ...func(*corev1.Node)) *corev1.Node {
	n := aNode(name, corev1.ConditionTrue)
	n.Spec.PodCIDR, n.Spec.PodCIDRs = podCIDR, []string{podCIDR}
	for i := range n.Status.Conditions {
		n.Status.Conditions[i].LastHeartbeatTime = metav1.Unix(1e9-seconds, 0)
	}
	for _, c := range change {
		c(n)
	}
	return n
}

func bound(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

// aDaemon is the Pod of kube-proxy on a node, with the ID of its container.
func aDaemon(node, id string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := aPod("kube-proxy-"+node, append([]func(*corev1.Pod){bound(node), ready}, change...)...)
	p.Namespace, p.Labels = metav1.NamespaceSystem, nil
	p.OwnerReferences = []metav1.OwnerReference{{Kind: "DaemonSet", Name: "kube-proxy", Controller: new(true)}}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{ContainerID: id}}
	return p
}

// machines are the nodes of a kind cluster, of which node-a goes. Its kubelet says what comes when it is
// started: the Node and kube-proxy's Pod.
type machines struct {
	fakeEngine
	client *fake.Clientset
	comes  *corev1.Node
	a, b   filteringNode
}

func (m *machines) run(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	out, err := m.fakeEngine.run(ctx, stdin, args...)
	if args[0] != "restart" || err != nil {
		return out, err
	}
	m.a.rules = nil
	tracker := m.client.Tracker()
	if _, gone := tracker.Get(nodesGVR, "", m.comes.Name); gone != nil {
		err = tracker.Create(nodesGVR, m.comes, "")
	} else {
		err = tracker.Update(nodesGVR, m.comes, "")
	}
	if err == nil {
		err = tracker.Update(podsGVR, aDaemon(m.comes.Name, "new"), metav1.NamespaceSystem)
	}
	return out, err
}

// losable is an app with two of its three Pods on node-a, which has the given Node when it is back.
func losable(comes *corev1.Node, objects ...runtime.Object) (*App, *machines) {
	app, client := newApp(append([]runtime.Object{
		aDeployment(), kubeProxy(2, 2), coreDNS(2, 2), aDaemon("node-a", "old"), aDaemon("node-b", "other"),
		heard("node-a", "10.244.1.0/24", 60), heard("node-b", "10.244.2.0/24", 60),
		aPod("app-a", ready, bound("node-a")), aPod("app-b", ready, bound("node-a")), aPod("app-c", ready, bound("node-b")),
	}, objects...)...)
	m := &machines{client: client, comes: comes, a: filteringNode{name: "node-a"}, b: filteringNode{name: "node-b"}}
	app.cluster.kind = &kindCluster{provider: &fakeKind{nodes: []nodes.Node{&m.a, &m.b}}, engine: m.run}
	app.nodes.chosen = "node-a"
	return app, m
}

// undone takes back what was done to nodes, as RestoreNodes does.
func undone(t *testing.T, app *App) {
	t.Helper()
	for _, undo := range slices.Backward(app.nodes.undo) {
		require.NoError(t, undo(t.Context()))
	}
}

// lose takes node-a off the network and ends it, as the harness does.
func lose(ctx context.Context, app *App) error {
	if err := app.CutNode(ctx, "node-a"); err != nil {
		return err
	}
	return app.LoseNode(ctx, "node-a")
}

// TestLoseNode: its network goes before its container. It is brought back as it was, with the rules that a
// start undoes, and the kubelet ends what was deleted meanwhile.
func TestLoseNode(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		app, m := losable(heard("node-a", "10.244.1.0/24", 1))
		require.NoError(t, lose(t.Context(), app))
		assert.Equal(t, []string{"exec --privileged node-a ip link set dev eth0 down", "kill node-a"}, m.calls)
		terminates := aPod("app-a", ready, bound("node-a"), terminating)
		require.NoError(t, m.client.Tracker().Update(podsGVR, terminates, namespace))
		const ends = 5 * sec
		go func() {
			time.Sleep(ends)
			_ = m.client.Tracker().Delete(podsGVR, namespace, "app-a")
		}()
		began := time.Now()
		undone(t, app)
		assert.Equal(t, ends, time.Since(began).Truncate(sec))
		assert.Equal(t, []string{"restart -t 0 node-a", "exec node-a grep -rqF 10.244.1.0/24 /etc/cni/net.d"}, m.calls[2:])
		assert.Len(t, m.a.rules, 3)
		assert.Contains(t, m.a.rules[0], "10.244.1.0/24")
	})
	for verb, want := range map[string]string{"exec": "cut node node-a off: ", "kill": "lose node node-a: "} {
		t.Run(verb+" fails", func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				app, m := losable(heard("node-a", "10.244.1.0/24", 1))
				m.fail = map[string]error{verb: errFake}
				require.EqualError(t, lose(t.Context(), app), want+errFake.Error())
				assert.Contains(t, m.calls[len(m.calls)-1], verb, "nothing after it")
				m.fail = nil
				undone(t, app)
				assert.Contains(t, m.calls, "restart -t 0 node-a", "whatever was done to it")
			})
		})
	}
	t.Run("it doesn't come back", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			app, m := losable(heard("node-a", "10.244.1.0/24", 60)) // the API server has heard nothing new
			require.NoError(t, lose(t.Context(), app))
			const why = "bring node node-a back: wait for it to be of use: not within 2m0s: its kubelet has not said anything"
			require.EqualError(t, app.nodes.undo[0](t.Context()), why)
			assert.Empty(t, m.a.rules)
		})
	})
	t.Run("no node of ours", func(t *testing.T) {
		app, _ := newApp()
		require.EqualError(t, app.CutNode(t.Context(), "node-a"), "take node node-a away: it is not of a cluster that is ours")
		require.EqualError(t, app.LoseNode(t.Context(), "node-a"), "take node node-a away: it is not of a cluster that is ours")
		require.EqualError(t, app.RemoveNode(t.Context(), "node-a"), "take node node-a away: it is not of a cluster that is ours")
		app, _ = losable(nil)
		require.EqualError(t, app.CutNode(t.Context(), ""), "take a node away: none is chosen")
	})
}

// TestRemoveNode: what the autoscaler does, in its order; and the node comes back, with other addresses.
func TestRemoveNode(t *testing.T) {
	taintsOf := func(client *fake.Clientset) (taints []corev1.Taint) {
		if n, err := client.Tracker().Get(nodesGVR, "", "node-a"); err == nil {
			taints = n.(*corev1.Node).Spec.Taints
		}
		return taints
	}
	inBubble(t, func(t *testing.T) {
		app, m := losable(heard("node-a", "10.244.3.0/24", 1))
		client := m.client
		evicted := 0
		evictionsOf(t, client, func(n int) error {
			evicted = n
			assert.Equal(t, []corev1.Taint{{Key: "ToBeDeletedByClusterAutoscaler", Value: "946684800", Effect: "NoSchedule"}}, taintsOf(client))
			return nil
		})
		require.NoError(t, app.RemoveNode(t.Context(), "node-a"))
		assert.Equal(t, 2, evicted, "not the Pod of another node")
		assert.Equal(t, []string{"update nodes", "create pods", "create pods", "delete nodes"}, actions(client))
		assert.Equal(t, []string{"stop node-a"}, m.calls)
		undone(t, app)
		assert.Equal(t, []string{"restart -t 0 node-a", "exec node-a grep -rqF 10.244.3.0/24 /etc/cni/net.d"}, m.calls[1:])
		assert.Contains(t, m.a.rules[0], "10.244.3.0/24")
	})
	t.Run("a budget forbids it", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			app, m := losable(nil)
			evictionsOf(t, m.client, func(int) error { return errBudget })
			require.ErrorContains(t, app.RemoveNode(t.Context(), "node-a"), "remove node node-a: wait for Pod app-")
			assert.Len(t, taintsOf(m.client), 1)
			undone(t, app)
			assert.Empty(t, taintsOf(m.client))
			assert.Empty(t, m.calls, "it runs on")
		})
	})
	t.Run("its Pods stay", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			app, m := losable(nil)
			m.client.PrependReactor("create", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, nil })
			require.ErrorContains(t, app.RemoveNode(t.Context(), "node-a"), "wait for the Pods of node node-a to be gone: not within ")
			assert.Empty(t, m.calls)
		})
	})
	t.Run("it can't be stopped", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			app, m := losable(heard("node-a", "10.244.3.0/24", 1))
			evictionsOf(t, m.client, func(int) error { return nil })
			m.fail = map[string]error{"stop": errFake}
			require.EqualError(t, app.RemoveNode(t.Context(), "node-a"), "remove node node-a: "+errFake.Error())
			undone(t, app)
		})
	})
}

// TestNotBack: a node that was started is of use when nothing of it is as it was before.
func TestNotBack(t *testing.T) {
	notReady := func(n *corev1.Node) { n.Status.Conditions[1].Status = corev1.ConditionFalse }
	tests := []struct {
		name   string
		node   *corev1.Node // nil: there is none
		daemon *corev1.Pod
		fail   error // of the look at its network
		want   string
	}{
		{"back", heard("node-a", "10.244.1.0/24", 1), aDaemon("node-a", "new"), nil, ""},
		{"not registered", nil, aDaemon("node-a", "new"), nil, "its kubelet has not said anything"},
		{"ready since before", heard("node-a", "10.244.1.0/24", 60), aDaemon("node-a", "new"), nil, "its kubelet has not said anything"},
		{"not ready", heard("node-a", "10.244.1.0/24", 1, notReady), aDaemon("node-a", "new"), nil, "it is not ready"},
		{"without addresses", heard("node-a", "", 1), aDaemon("node-a", "new"), nil, "it has no addresses for Pods"},
		{"kube-proxy as it was before", heard("node-a", "10.244.1.0/24", 1), aDaemon("node-a", "old"), nil, "kube-proxy doesn't run there"},
		{"kube-proxy not ready", heard("node-a", "10.244.1.0/24", 1), aDaemon("node-a", "new", unready), nil, "kube-proxy doesn't run there"},
		{"kube-proxy on its way out", heard("node-a", "10.244.1.0/24", 1), aDaemon("node-a", "new", terminating), nil, "kube-proxy doesn't run there"},
		{"kube-proxy on another node", heard("node-a", "10.244.1.0/24", 1), aDaemon("node-b", "new"), nil, "kube-proxy doesn't run there"},
		{"network of other addresses", heard("node-a", "10.244.3.0/24", 1), aDaemon("node-a", "new"), errFake, "its network has not heard of 10.244.3.0/24: " + errFake.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			objects := []runtime.Object{kubeProxy(2, 2), tt.daemon}
			var before nodeState
			if tt.node != nil { // else it was deleted
				objects = append(objects, tt.node)
				before.heartbeat = time.Unix(1e9-60, 0)
			}
			before.pods = []corev1.Pod{*aDaemon("node-a", "old")}
			engine := &fakeEngine{fail: map[string]error{"exec": tt.fail}}
			c := newCluster(fake.NewSimpleClientset(objects...), Config{})
			c.kind = &kindCluster{engine: engine.run}
			missing, err := c.notBack(t.Context(), "node-a", before)
			require.NoError(t, err)
			assert.Equal(t, tt.want, missing)
		})
	}
}

// TestWaitLost: it is over when nobody is sent to the Pods of the node any more, and others serve.
func TestWaitLost(t *testing.T) {
	slice := func(ready, serving bool) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Name: "app-x", Namespace: namespace, Labels: map[string]string{discoveryv1.LabelServiceName: "app"}},
			Endpoints: []discoveryv1.Endpoint{
				{NodeName: new("node-b")},
				{NodeName: new("node-a"), Conditions: discoveryv1.EndpointConditions{Ready: new(ready), Serving: new(serving)}},
			},
		}
	}
	lost := aPod("lost", ready, bound("node-a"), terminating)
	others := []runtime.Object{
		aPod("app-c", ready, bound("node-b")), aPod("app-d", ready, bound("node-b")), aPod("app-e", ready, bound("node-b")),
	}
	tests := []struct {
		name    string
		objects []runtime.Object
		want    string // that is missing; empty for nothing
	}{
		{"over", append([]runtime.Object{lost, slice(false, false)}, others...), ""},
		{"not deleted", append([]runtime.Object{aPod("lost", unready, bound("node-a"))}, others...), "Pod lost is not deleted"},
		{"not replaced", append([]runtime.Object{lost}, others[1:]...), "2 of 3 Pods are ready on other nodes, 2 are there"},
		{"one not ready", append([]runtime.Object{lost, aPod("app-f", unready, bound("node-b"))}, others[1:]...), "2 of 3 Pods are ready on other nodes, 3 are there"},
		{"one too many", append([]runtime.Object{lost, aPod("app-f", ready, bound("node-b"), terminating)}, others...), "3 of 3 Pods are ready on other nodes, 4 are there"},
		{"ready", append([]runtime.Object{lost, slice(true, true)}, others...), "EndpointSlice app-x has an endpoint there"},
		{"serving", append([]runtime.Object{lost, slice(false, true)}, others...), "EndpointSlice app-x has an endpoint there"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				app, _ := newApp(append([]runtime.Object{aDeployment()}, tt.objects...)...)
				app.nodes.chosen = "node-a"
				err := app.WaitLost(t.Context())
				if tt.want == "" {
					require.NoError(t, err)
					return
				}
				require.EqualError(t, err, "wait for the Pods of a lost node to be out of service and replaced: not within 3m0s: "+tt.want)
			})
		})
	}
}

// deafCmd is the client of a program that nobody ends: its node is gone.
type deafCmd struct {
	kindexec.Cmd
	ctx context.Context //nolint:containedctx // as os/exec's has it
}

func (c deafCmd) SetStdin(io.Reader) kindexec.Cmd  { return c }
func (c deafCmd) SetStdout(io.Writer) kindexec.Cmd { return c }
func (c deafCmd) SetStderr(io.Writer) kindexec.Cmd { return c }
func (c deafCmd) Run() error                       { <-c.ctx.Done(); return c.ctx.Err() }

// TestRunOnGone: nobody waits for ever for a program whose node is gone.
func TestRunOnGone(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), sec, errUser)
		defer cancel()
		began := time.Now()
		way := func(ctx context.Context, _ string, _ ...string) kindexec.Cmd { return deafCmd{ctx: ctx} }
		require.ErrorIs(t, runIn(ctx, "node node-a", way, &strings.Builder{}, "conntrack"), errUser)
		assert.Equal(t, sec+endsWithin, time.Since(began))
	})
}
