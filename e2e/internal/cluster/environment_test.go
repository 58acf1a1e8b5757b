package cluster

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

func aNode(name string, ready corev1.ConditionStatus) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse}, {Type: corev1.NodeReady, Status: ready}}
	n.Status.NodeInfo = corev1.NodeSystemInfo{KernelVersion: "6.18.44", ContainerRuntimeVersion: "containerd://2.3.7"}
	return n
}

func kubeProxy(desired, ready int32) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-proxy", Namespace: "kube-system"},
		Status:     appsv1.DaemonSetStatus{DesiredNumberScheduled: desired, NumberReady: ready},
	}
}

func coreDNS(replicas, available int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "coredns", Namespace: "kube-system"},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas}, Status: appsv1.DeploymentStatus{AvailableReplicas: available},
	}
}

// TestWaitClusterReady: each thing that a cluster may lack is named.
func TestWaitClusterReady(t *testing.T) {
	const yes, no = corev1.ConditionTrue, corev1.ConditionFalse
	off := aNode("a", yes)
	off.Spec.Unschedulable = true
	tests := []struct {
		name    string
		foreign bool // somebody else's cluster
		objects []k8sruntime.Object
		want    string // what is missing; empty for nothing
	}{
		{"all there", false, []k8sruntime.Object{aNode("a", yes), aNode("b", yes), kubeProxy(2, 2), coreDNS(2, 2)}, ""},
		{"no nodes", false, []k8sruntime.Object{kubeProxy(0, 0), coreDNS(2, 2)}, "0 of 1 nodes are there"},
		{"a node is not ready", false, []k8sruntime.Object{aNode("a", yes), aNode("b", no), kubeProxy(2, 2), coreDNS(2, 2)}, "node b is not ready"},
		{"a node's state is unknown", false, []k8sruntime.Object{aNode("a", corev1.ConditionUnknown), kubeProxy(1, 1), coreDNS(2, 2)}, "node a is not ready"},
		{"a node says nothing yet", false, []k8sruntime.Object{&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, kubeProxy(1, 1), coreDNS(2, 2)}, "node a is not ready"},
		{"no kube-proxy", false, []k8sruntime.Object{aNode("a", yes), coreDNS(2, 2)}, "there is no kube-proxy"},
		{"kube-proxy not ready", false, []k8sruntime.Object{aNode("a", yes), aNode("b", yes), kubeProxy(2, 1), coreDNS(2, 2)}, "kube-proxy is ready on 1 of 2 nodes"},
		{"kube-proxy not yet meant for a node", false, []k8sruntime.Object{aNode("a", yes), aNode("b", yes), kubeProxy(1, 1), coreDNS(2, 2)}, "kube-proxy is ready on 1 of 2 nodes"},
		{"no CoreDNS", false, []k8sruntime.Object{aNode("a", yes), kubeProxy(1, 1)}, `deployments.apps "coredns" not found`},
		{"CoreDNS not available", false, []k8sruntime.Object{aNode("a", yes), kubeProxy(1, 1), coreDNS(2, 1)}, "1 of 2 CoreDNS Pods are available"},
		{"no CoreDNS wanted", false, []k8sruntime.Object{aNode("a", yes), kubeProxy(1, 1), coreDNS(0, 0)}, "0 of 0 CoreDNS Pods are available"},
		{"a node that its owner has cordoned", true, []k8sruntime.Object{off}, ""},
		{"somebody else's, with other parts", true, []k8sruntime.Object{aNode("a", yes)}, ""},
		{"somebody else's, not ready", true, []k8sruntime.Object{aNode("a", no)}, "node a is not ready"},
		{"somebody else's, without nodes", true, nil, "0 of 1 nodes are there"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				c := &Cluster{client: fake.NewSimpleClientset(tt.objects...)}
				if !tt.foreign {
					c.kind = &kindCluster{}
				}
				ctx, cancel := context.WithTimeoutCause(t.Context(), sec, errUser)
				defer cancel()
				began := time.Now()
				err := c.waitClusterReady(ctx)
				if tt.want == "" {
					require.NoError(t, err)
					assert.Zero(t, time.Since(began))
					return
				}
				require.ErrorContains(t, err, "wait for nodes, kube-proxy and CoreDNS: stopped by the user")
				assert.ErrorContains(t, err, tt.want)
				assert.Equal(t, sec, time.Since(began), "it goes on waiting")
			})
		})
	}
}

func TestReadProxy(t *testing.T) {
	tests := []struct {
		name string
		raw  string
		want [2]string // mode and minimum sync period; empty for an error
	}{
		{"iptables", "mode: iptables\niptables: {minSyncPeriod: 10s}\nnftables: {minSyncPeriod: 3s}", [2]string{"iptables", "10s"}},
		{"nftables", "mode: nftables\niptables: {minSyncPeriod: 10s}\nnftables: {minSyncPeriod: 3s}", [2]string{"nftables", "3s"}},
		{"ipvs", "mode: ipvs\nipvs: {minSyncPeriod: 500ms}", [2]string{"ipvs", "500ms"}},
		{"as kind writes it", "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: \"iptables\"\niptables:\n  localhostNodePorts: null\n  minSyncPeriod: 1s\n  syncPeriod: 0s\nnftables:\n  minSyncPeriod: 0s\n", [2]string{"iptables", "1s"}},
		{"no mode means iptables", "mode: \"\"\niptables: {minSyncPeriod: 10s}", [2]string{"iptables", "10s"}},
		{"nothing at all is all defaults", "", [2]string{"iptables", "1s"}},
		{"0 means kube-proxy's default: iptables", "mode: iptables\niptables: {minSyncPeriod: 0s}", [2]string{"iptables", "1s"}},
		{"0 means kube-proxy's default: nftables", "mode: nftables\nnftables: {minSyncPeriod: 0s}", [2]string{"nftables", "1s"}},
		{"0 means none: ipvs", "mode: ipvs", [2]string{"ipvs", "0s"}},
		{"a mode nobody knows", "mode: userspace", [2]string{"userspace", "unknown"}},
		{"no YAML", "mode: [", [2]string{}},
		{"no duration", "iptables: {minSyncPeriod: soon}", [2]string{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := timeline.Environment{ProxyMode: unknown, MinSyncPeriod: unknown}
			err := readProxy(tt.raw, &e)
			if tt.want[0] == "" {
				require.ErrorContains(t, err, "read kube-proxy's configuration: ")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, [2]string{e.ProxyMode, e.MinSyncPeriod})
		})
	}
}

func proxyConfig(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kube-proxy", Namespace: "kube-system"}, Data: data}
}

// TestEnvironment: a number without its environment compares with nothing; what isn't known is said
// to be unknown.
func TestEnvironment(t *testing.T) {
	all := timeline.Environment{
		Kubernetes: "v1.37.2", Nodes: 2, ProxyMode: "iptables", MinSyncPeriod: "10s", Kernel: "6.18.44", Runtime: "containerd://2.3.7", CPUs: runtime.NumCPU(),
	}
	without := all
	without.ProxyMode, without.MinSyncPeriod = "unknown", "unknown"
	tests := []struct {
		name    string
		objects []k8sruntime.Object
		refuse  error // of the ConfigMap
		want    timeline.Environment
	}{
		{"kube-proxy as kubeadm sets it up", []k8sruntime.Object{proxyConfig(map[string]string{"config.conf": "iptables: {minSyncPeriod: 10s}"})}, nil, all},
		{"no kube-proxy", nil, nil, without},
		{"kube-proxy set up in another way", []k8sruntime.Object{proxyConfig(map[string]string{"kubeconfig": "…"})}, nil, without},
		{"not to be read", nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "kube-proxy", nil), without},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := fake.NewSimpleClientset(append(tt.objects, aNode("a", corev1.ConditionTrue), aNode("b", corev1.ConditionTrue))...)
			client.Discovery().(*fakediscovery.FakeDiscovery).FakedServerVersion = &version.Info{GitVersion: "v1.37.2"}
			if tt.refuse != nil {
				refuse(client, "get", "configmaps", tt.refuse)
			}
			c := &Cluster{client: client}
			e, err := c.environment(t.Context())
			require.NoError(t, err)
			assert.Equal(t, tt.want, e)
		})
	}
}

func TestEnvironmentFails(t *testing.T) {
	tests := []struct {
		name     string
		verb     string
		resource string
		want     string
	}{
		{"no version", "get", "version", "ask the API server for its version: "},
		{"no nodes", "list", "nodes", "list nodes: "},
		{"no configuration", "get", "configmaps", "read kube-proxy's configuration: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := fake.NewSimpleClientset()
			refuse(client, tt.verb, tt.resource, errDown)
			_, err := (&Cluster{client: client}).environment(t.Context())
			require.ErrorContains(t, err, tt.want)
			assert.ErrorContains(t, err, "etcd is away")
		})
	}
}
