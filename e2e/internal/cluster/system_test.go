package cluster

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/kind/pkg/cluster/nodes"

	"github.com/zerodrop/zerodrop/scenarios"
)

// aWorkerNode is a machine that Pods of the app can be on.
type aWorkerNode struct {
	*machine
	name string
}

func (n aWorkerNode) String() string        { return n.name }
func (n aWorkerNode) Role() (string, error) { return "worker", nil }

// reports is a kubelet of a node: it has last reported at a time, to the second.
func reports(name string, ready corev1.ConditionStatus, at int64) *corev1.Node {
	n := aNode(name, ready)
	for i := range n.Status.Conditions {
		n.Status.Conditions[i].LastHeartbeatTime = metav1.Unix(at, 0)
	}
	return n
}

// TestRestartKubelet: on a worker alone, and over when the kubelet has reported anew, and reports that its node is ready.
func TestRestartKubelet(t *testing.T) {
	const yes, no = corev1.ConditionTrue, corev1.ConditionFalse
	tests := []struct {
		name  string
		node  string
		after *corev1.Node // what is known of the node in the end; nil for what was known before
		want  string
	}{
		{"it reports", "zerodrop-worker", reports("zerodrop-worker", yes, 1001), ""},
		{"it says nothing", "zerodrop-worker", nil, "wait for the kubelet of node zerodrop-worker to report after its restart: not within 2m0s: its last report is of before"},
		{"its node isn't ready", "zerodrop-worker", reports("zerodrop-worker", no, 1001), "it says that the node is not ready"},
		{"no worker", "zerodrop-control-plane", nil, "restart the kubelet of node zerodrop-control-plane: it is no worker"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				client := fake.NewSimpleClientset(reports("zerodrop-worker", yes, 1000))
				m := &machine{}
				c := newCluster(client, Config{})
				c.kind = &kindCluster{provider: &fakeKind{nodes: []nodes.Node{aWorkerNode{m, "zerodrop-worker2"}, m, aWorkerNode{m, "zerodrop-worker"}}}}
				a := &App{cluster: c}
				names, err := a.WorkerNodes(t.Context())
				require.NoError(t, err)
				assert.Equal(t, []string{"zerodrop-worker", "zerodrop-worker2"}, names)
				client.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
					restarted := len(m.asked) > 0 && tt.after != nil
					return restarted, tt.after, nil
				})
				err = a.RestartKubelet(t.Context(), tt.node)
				if tt.want != "" {
					require.ErrorContains(t, err, tt.want)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, []string{"systemctl restart kubelet"}, m.asked)
			})
		})
	}
	none := newCluster(fake.NewSimpleClientset(), Config{})
	none.kind = &kindCluster{provider: &fakeKind{nodes: []nodes.Node{&machine{}}}}
	_, err := (&App{cluster: none}).WorkerNodes(t.Context())
	require.EqualError(t, err, "find the worker nodes: there are none")
}

// TestSystemOfOthers: nothing of a cluster of somebody else is restarted, whoever asks.
func TestSystemOfOthers(t *testing.T) {
	client := fake.NewSimpleClientset()
	a := &App{cluster: newCluster(client, Config{})}
	_, err := a.WorkerNodes(t.Context())
	require.ErrorIs(t, err, scenarios.ErrNotOurs)
	require.ErrorIs(t, a.RestartKubelet(t.Context(), "x"), scenarios.ErrNotOurs)
	require.ErrorIs(t, a.RollKubeProxy(t.Context()), scenarios.ErrNotOurs)
	require.ErrorIs(t, a.RollCoreDNS(t.Context()), scenarios.ErrNotOurs)
	require.EqualError(t, a.RollComponent(t.Context(), "traefik"), "roll component traefik: it doesn't run")
	assert.Empty(t, client.Actions())
}

// TestRollSystem: the template changes, and it is over when the workload is complete and no Pod but its own is there.
func TestRollSystem(t *testing.T) {
	pod := func(name, app string) *corev1.Pod {
		return aPod(name, func(p *corev1.Pod) { p.Namespace, p.Labels = metav1.NamespaceSystem, map[string]string{"k8s-app": app} })
	}
	selector := func(app string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"k8s-app": app}}
	}
	proxies := kubeProxy(2, 2)
	proxies.Spec.Selector = selector("kube-proxy")
	proxies.Status.UpdatedNumberScheduled, proxies.Status.NumberAvailable = 2, 2
	names := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "coredns", Namespace: metav1.NamespaceSystem}}
	names.Spec = appsv1.DeploymentSpec{Replicas: new(int32(1)), Selector: selector("kube-dns")}
	names.Status = appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1}
	inBubble(t, func(t *testing.T) {
		client := fake.NewSimpleClientset(proxies, names, pod("p1", "kube-proxy"), pod("p2", "kube-proxy"), pod("c1", "kube-dns"), pod("old", "kube-dns"))
		c := newCluster(client, Config{})
		c.kind = &kindCluster{}
		a := &App{cluster: c}
		require.NoError(t, a.RollKubeProxy(t.Context()))
		rolled, err := client.AppsV1().DaemonSets(metav1.NamespaceSystem).Get(t.Context(), "kube-proxy", metav1.GetOptions{})
		require.NoError(t, err)
		first := rolled.Spec.Template.Annotations[releaseKey]
		assert.NotEmpty(t, first)
		time.Sleep(time.Second)
		require.NoError(t, a.RollKubeProxy(t.Context()))
		rolled, err = client.AppsV1().DaemonSets(metav1.NamespaceSystem).Get(t.Context(), "kube-proxy", metav1.GetOptions{})
		require.NoError(t, err)
		assert.NotEqual(t, first, rolled.Spec.Template.Annotations[releaseKey], "a second time is a change, too")

		require.EqualError(t, a.RollCoreDNS(t.Context()),
			"wait for Deployment coredns to be rolled: not within 2m0s: 2 Pods are there, of which 1 are to stay")
		require.NoError(t, client.Tracker().Delete(podsGVR, metav1.NamespaceSystem, "old"))
		require.NoError(t, a.RollCoreDNS(t.Context()))
	})
}

// TestRollComponent: in a run that rolls it, a component is deployed as that says and asked by its Service; the new Pod has
// an access log of its own, and is the one that has to stay. The next run has what all others have.
func TestRollComponent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, client, m := newComponents(t, ready)
		a := &App{cluster: c, dir: t.TempDir()}
		used, err := c.useComponents(t.Context(), []string{"traefik"}, a.dir)
		require.NoError(t, err)
		usual := c.deployed["traefik"]

		c.patches = map[string]string{"traefik": "spec: {strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1}}, " +
			"template: {spec: {terminationGracePeriodSeconds: 60, containers: [{name: traefik, resources: {requests: {cpu: 50m}}}]}}}"}
		client.ClearActions()
		a.components, err = c.useComponents(t.Context(), []string{"traefik"}, a.dir)
		require.NoError(t, err)
		assert.NotEqual(t, used["traefik"].pod, a.components["traefik"].pod)
		assert.Equal(t, []string{"create deployments", "update deployments", "create deployments", "update deployments"}, actions(client),
			"it is stopped before")
		deployment := func() *appsv1.Deployment {
			d, err := client.AppsV1().Deployments(componentsNamespace).Get(t.Context(), "traefik", metav1.GetOptions{})
			require.NoError(t, err)
			return d
		}
		d := deployment()
		assert.Equal(t, appsv1.RollingUpdateDeploymentStrategyType, d.Spec.Strategy.Type)
		assert.EqualValues(t, 60, *d.Spec.Template.Spec.TerminationGracePeriodSeconds)
		program := d.Spec.Template.Spec.Containers[0]
		assert.Equal(t, "50m", program.Resources.Requests.Cpu().String())
		assert.Equal(t, traefikImage, program.Image, "the rest stays")
		assert.Contains(t, program.Args, "--accessLog.filePath=/var/log/zerodrop/traefik.log")

		require.NoError(t, a.askService(t.Context(), ""))
		require.ErrorContains(t, a.askService(t.Context(), "traefik"), "find the address of component traefik: ")
		require.ErrorContains(t, a.askService(t.Context(), "istiod"), "component istiod is to be rolled, and doesn't run")
		service, err := client.CoreV1().Services(componentsNamespace).Get(t.Context(), "traefik", metav1.GetOptions{})
		require.NoError(t, err)
		service.Spec.ClusterIP = serviceIP
		_, err = client.CoreV1().Services(componentsNamespace).Update(t.Context(), service, metav1.UpdateOptions{})
		require.NoError(t, err)
		require.NoError(t, a.askService(t.Context(), "traefik"))
		before := a.components["traefik"]
		assert.Equal(t, netip.MustParseAddr(serviceIP), before.service)

		require.NoError(t, a.RollComponent(t.Context(), "traefik"))
		after := a.components["traefik"]
		assert.NotEqual(t, before.uid, after.uid)
		assert.NotEqual(t, before.ip, after.ip)
		assert.Equal(t, before.service, after.service)
		program = deployment().Spec.Template.Spec.Containers[0]
		assert.Contains(t, program.Args, "--accessLog.filePath=/var/log/zerodrop/traefik.log.rolled")
		assert.NotContains(t, program.Args, "--accessLog.filePath=/var/log/zerodrop/traefik.log")
		require.NoError(t, a.Intact(t.Context()), "it went on purpose")

		c.patches = nil
		_, err = c.useComponents(t.Context(), []string{"traefik"}, a.dir)
		require.NoError(t, err)
		assert.Equal(t, usual, c.deployed["traefik"])
		assert.Equal(t, appsv1.RecreateDeploymentStrategyType, deployment().Spec.Strategy.Type)
		assert.Equal(t, "rm -f /var/log/zerodrop/traefik.log /var/log/zerodrop/traefik.log.rolled", m.asked[len(m.asked)-1])
	})
}

// TestNextRelease: a component that doesn't name its log can't have another one.
func TestNextRelease(t *testing.T) {
	c, _, _ := newComponents(t, ready)
	inBubble(t, func(t *testing.T) {
		_, err := c.useComponents(t.Context(), []string{"traefik"}, t.TempDir())
		require.NoError(t, err)
	})
	d := c.deployed["traefik"]
	_, err := nextRelease(d, "/elsewhere.log")
	require.EqualError(t, err, "no argument names its access log /elsewhere.log")
	next, err := nextRelease(d, "")
	require.NoError(t, err)
	assert.NotEqual(t, d, next)
	_, err = patched(d, "a: b: c")
	require.ErrorContains(t, err, "patch its Deployment: ")
}
