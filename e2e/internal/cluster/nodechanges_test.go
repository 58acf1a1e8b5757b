package cluster

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/zerodrop/zerodrop/e2e/internal/worker"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// on is a Pod of a ReplicaSet's, on a node.
func on(node string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.NodeName = node
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "app-1", Controller: new(true)}}
	}
}

func TestChooseNode(t *testing.T) {
	tests := []struct {
		name string
		pods []runtime.Object
		want string // empty for none
	}{
		{"the most Pods", []runtime.Object{aPod("a", on("n1"), aged(9)), aPod("b", on("n2")), aPod("c", on("n2"))}, "n2"},
		{"as many", []runtime.Object{aPod("a", on("n1"), aged(5)), aPod("b", on("n2"), aged(9))}, "n2"},
		{"those that go don't count", []runtime.Object{aPod("a", on("n2"), terminating, aged(9)), aPod("b", on("n2"), aged(5)), aPod("c", on("n1"), aged(7))}, "n1"},
		{"nor those of others", []runtime.Object{aPod("a", on("n1"), foreign), aPod("b", on("n1"), foreign), aPod("c", on("n2"))}, "n2"},
		{"nor those on none", []runtime.Object{aPod("a"), aPod("b"), aPod("c", on("n1"))}, "n1"},
		{"none", []runtime.Object{aPod("a"), aPod("b", on("n1"), foreign)}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app, _ := newApp(tt.pods...)
			node, err := app.ChooseNode(t.Context())
			assert.Equal(t, tt.want, node)
			assert.Equal(t, tt.want, app.nodes.chosen)
			if tt.want == "" {
				require.EqualError(t, err, "choose a node: none has a Pod of the app")
				return
			}
			require.NoError(t, err)
		})
	}
	app, _ := newApp(aPod("a", on("n1")), aPod("b", on("n1")))
	_, err := app.ChooseNode(t.Context())
	require.EqualError(t, err, "choose a node: all 2 Pods are on n1")
	app, _ = newApp(aPod("a", on("n1")))
	app.workers = []worker.Worker{{Name: "worker-0", Node: "n1"}}
	_, err = app.ChooseNode(t.Context())
	require.EqualError(t, err, "choose a node: n1 sends load: fewer workers find room on another")

	app, client := newApp()
	refuse(client, "list", "pods", errDown)
	_, err = app.ChooseNode(t.Context())
	require.ErrorContains(t, err, "choose a node: list Pods: ")
}

// changeNode changes a node after a while.
func changeNode(t *testing.T, client *fake.Clientset, after time.Duration, name string, change func(*corev1.Node)) {
	t.Helper()
	time.AfterFunc(after, func() {
		node, err := client.CoreV1().Nodes().Get(context.WithoutCancel(t.Context()), name, metav1.GetOptions{})
		if assert.NoError(t, err) {
			change(node)
			assert.NoError(t, client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("nodes"), node, ""))
		}
	})
}

func isReady(is corev1.ConditionStatus) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Status.Conditions = aNode("", is).Status.Conditions }
}

func tainted(keys ...string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = nil
		for _, key := range keys {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
		}
	}
}

// TestRestoreNodes: what was done is taken back, the last change first, and it is over when Pods can go to every node again.
func TestRestoreNodes(t *testing.T) {
	const controlPlane = "node-role.kubernetes.io/control-plane"
	inBubble(t, func(t *testing.T) {
		app, client := newApp(aNode("n0", corev1.ConditionTrue), aNode("n1", corev1.ConditionFalse))
		app.cluster.facts.Nodes, app.cluster.changed, app.nodes.chosen = 3, true, "n1"
		var undone []string
		fail := errFake
		app.nodes.undo = []func(context.Context) error{
			func(context.Context) error { undone = append(undone, "first"); return nil },
			func(context.Context) error { undone = append(undone, "second"); return fail },
		}
		require.ErrorIs(t, app.RestoreNodes(t.Context()), errFake)
		assert.Equal(t, []string{"second", "first"}, undone, "each is tried")
		assert.False(t, app.cluster.Whole())

		fail = nil
		began := time.Now()
		changeNode(t, client, 0, "n0", tainted(controlPlane))
		time.AfterFunc(5*sec, func() { assert.NoError(t, client.Tracker().Add(aNode("n2", corev1.ConditionTrue))) })
		changeNode(t, client, 10*sec, "n1", isReady(corev1.ConditionTrue))
		changeNode(t, client, 9*sec, "n2", func(n *corev1.Node) { n.Spec.Unschedulable = true })
		changeNode(t, client, 15*sec, "n2", func(n *corev1.Node) {
			n.Spec.Unschedulable = false
			tainted(controlPlane, corev1.TaintNodeUnschedulable)(n)
		})
		changeNode(t, client, 20*sec, "n2", tainted())
		require.NoError(t, app.RestoreNodes(t.Context()))
		assert.Equal(t, 20*sec, time.Since(began).Truncate(sec))
		assert.Equal(t, []string{"second", "first", "second", "first"}, undone)
		assert.Empty(t, app.nodes)
		assert.True(t, app.cluster.Whole())
		require.NoError(t, app.RestoreNodes(t.Context()), "once more")
		assert.Len(t, undone, 4)
	})
}

// TestRestoreNodesInVain: which node it is, and what is the matter with it, is told.
func TestRestoreNodesInVain(t *testing.T) {
	const what = "wait for nodes, kube-proxy and CoreDNS: "
	tests := []struct {
		name   string
		change func(*corev1.Node)
		nodes  int
		want   string
	}{
		{"gone", nil, 2, "1 of 2 nodes are there"},
		{"not ready", isReady(corev1.ConditionUnknown), 1, "node n1 is not ready"},
		{"cordoned", func(n *corev1.Node) { n.Spec.Unschedulable = true }, 1, "node n1 takes no Pods"},
		{"tainted", tainted("node.kubernetes.io/unreachable"), 1, "node n1 takes no Pods"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				node := aNode("n1", corev1.ConditionTrue)
				if tt.change != nil {
					tt.change(node)
				}
				app, client := newApp(node)
				app.cluster.facts.Nodes, app.cluster.changed = tt.nodes, true
				require.EqualError(t, app.RestoreNodes(t.Context()), what+"not within 3m0s: "+tt.want)
				assert.False(t, app.cluster.Whole())
				refuse(client, "list", "nodes", errDown)
				require.ErrorContains(t, app.RestoreNodes(t.Context()), what)
			})
		})
	}
}

// TestIdentityOfAChangedCluster: a cluster that is to be kept is one that a later run would take, but
// for the time from before a disruption reaches beyond the namespace until that is undone. If it never
// is, the cluster goes.
func TestIdentityOfAChangedCluster(t *testing.T) {
	client := fake.NewSimpleClientset(aNode("n1", corev1.ConditionTrue), kubeProxy(1, 1), coreDNS(2, 2))
	controllers := runControllers(t, client)
	f := &fakeKind{clusters: []string{DefaultName}}
	c := newCluster(client, Config{Workers: 1, Keep: true})
	c.kind, c.opened = newKind(t, f), true
	c.kind.identity = "made like this"
	require.NoError(t, c.kind.remember())
	(&proxy{app: controllers.names}).listen(t, c)
	kept := func() string {
		raw, err := os.ReadFile(c.kind.identityFile())
		if err != nil {
			require.ErrorIs(t, err, os.ErrNotExist)
		}
		return string(raw)
	}
	s := find(t, "prestop-sleep", "rolling-update")
	s.Lanes = slices.DeleteFunc(s.Lanes, func(l scenarios.Lane) bool { return l.Consumer.From != fixtures.FromCluster })
	_, err := c.Deploy(t.Context(), s, t.TempDir())
	require.NoError(t, err)
	assert.Equal(t, "made like this", kept())
	assert.True(t, c.Whole())

	for _, reach := range []scenarios.Reach{scenarios.ReachNode, scenarios.ReachCluster} {
		s.Disruption.Reach = reach
		app, err := c.Deploy(t.Context(), s, t.TempDir())
		require.NoError(t, err)
		assert.Empty(t, kept())
		assert.False(t, c.Whole())
		app.nodes.undo = []func(context.Context) error{func(context.Context) error { return errFake }}
		require.ErrorIs(t, app.RestoreNodes(t.Context()), errFake)
		assert.Empty(t, kept(), "what could not be undone is not whole")
		assert.False(t, c.Whole())
		app.nodes.undo = nil
		require.NoError(t, app.RestoreNodes(t.Context()))
		assert.Equal(t, "made like this", kept())
		assert.True(t, c.Whole())
	}
	require.NoError(t, c.Close(t.Context()))
	assert.Zero(t, f.called("delete"), "it is kept")

	c.kind = newKind(t, f)
	require.NoError(t, c.markChanged())
	require.NoError(t, c.Close(t.Context()))
	assert.Equal(t, 1, f.called("delete"), "although it was to be kept")
}

// TestForeign: each disruption of the catalogue that reaches beyond the namespace, or needs settings of
// the cluster, is refused by its name on a cluster of somebody else's, before anything is asked of it.
// The others are not.
func TestForeign(t *testing.T) {
	refused := 0
	for _, d := range scenarios.Disruptions() {
		t.Run(d.Name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				client := fake.NewSimpleClientset()
				refuse(client, "*", "*", errDown) // as far as it gets
				c := newCluster(client, Config{})
				app, err := c.Deploy(t.Context(), find(t, "prestop-sleep", d.Name), t.TempDir())
				require.Error(t, err)
				assert.Nil(t, app)
				if d.Reach == scenarios.ReachNamespace && d.Needs.Key() == "" {
					require.NotErrorIs(t, err, scenarios.ErrNotOurs)
					assert.ErrorContains(t, err, errDown.Error(), "it was on its way")
					return
				}
				refused++
				require.ErrorIs(t, err, scenarios.ErrNotOurs)
				require.ErrorContains(t, err, "deploy prestop-sleep: disruption "+d.Name+" ")
				assert.Empty(t, client.Actions())
			})
		})
	}
	assert.Positive(t, refused)
}
