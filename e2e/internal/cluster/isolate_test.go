package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	kindexec "sigs.k8s.io/kind/pkg/exec"
)

// filteringNode has iptables and nothing else.
type filteringNode struct {
	nodes.Node
	name  string
	fails bool
	rules []string // in the order of their place, by chain or not
}

func (n *filteringNode) String() string { return n.name }

func (n *filteringNode) CommandContext(_ context.Context, command string, args ...string) kindexec.Cmd {
	return &filterCmd{node: n, command: command, how: args[0], rule: strings.Join(args[1:], " ")}
}

type filterCmd struct {
	kindexec.Cmd
	node               *filteringNode
	command, how, rule string
}

func (c *filterCmd) Run() error {
	n := c.node
	switch {
	case c.command != "iptables" || n.fails:
		return errors.New("no such program")
	case c.how == "--check" && !slices.Contains(n.rules, c.rule):
		return errors.New("no such rule")
	case c.how == "--append":
		n.rules = append(n.rules, c.rule)
	case c.how == "--insert":
		n.rules = slices.Insert(n.rules, 0, c.rule)
	}
	return nil
}

// TestIsolate: each node keeps what is for its own Pods, and all keep what is for Services; once,
// however often a cluster is taken.
func TestIsolate(t *testing.T) {
	a := &filteringNode{name: "node-a", rules: []string{"FORWARD --jump KUBE-FORWARD"}}
	b := &filteringNode{name: "node-b"}
	node := func(name string, subnets ...string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDRs: subnets}}
	}
	client := fake.NewClientset(node("node-a", "10.244.0.0/24"), node("node-b", "10.244.1.0/24"))
	k := &kindCluster{provider: &fakeKind{nodes: []nodes.Node{a, b}}}
	for range 2 {
		require.NoError(t, k.isolate(t.Context(), client))
		assert.Equal(t, []string{
			"OUTPUT --destination 10.244.0.0/24 --out-interface eth0 --jump DROP",
			"FORWARD --destination 10.244.0.0/24 --out-interface eth0 --jump DROP",
			"FORWARD --jump KUBE-FORWARD",
			"FORWARD --destination 10.96.0.0/16 --jump DROP",
		}, a.rules, "Pods before what kube-proxy accepts, Services after what it rewrites")
		assert.Len(t, b.rules, 3)
		assert.Contains(t, b.rules[0], "10.244.1.0/24")
	}

	t.Run("another subnet", func(t *testing.T) {
		c := &filteringNode{name: "node-a"}
		k := &kindCluster{provider: &fakeKind{nodes: []nodes.Node{c}}, subnet: "10.2.0.0/16"}
		require.NoError(t, k.isolate(t.Context(), client))
		assert.Contains(t, c.rules, "FORWARD --destination 10.2.0.0/16 --jump DROP")
	})
	t.Run("fails", func(t *testing.T) {
		require.ErrorContains(t, (&kindCluster{provider: &fakeKind{fail: map[string]error{"nodes": assert.AnError}}}).isolate(t.Context(), client), "list nodes")
		for name, n := range map[string]*filteringNode{
			"keep the load of node node-a within the cluster":   {name: "node-a", fails: true},
			"find the addresses of Pods on node node-unheardof": {name: "node-unheardof"},
		} {
			require.ErrorContains(t, (&kindCluster{provider: &fakeKind{nodes: []nodes.Node{n}}}).isolate(t.Context(), client), name)
		}
	})
}
