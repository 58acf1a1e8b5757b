package cluster

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// balancedApp is an app with a load balancer whose container has this state, and which has given its
// Service this address.
func balancedApp(t *testing.T, state, address string) (*App, *fakeEngine) {
	t.Helper()
	t.Setenv("KIND_EXPERIMENTAL_DOCKER_NETWORK", "")
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "app-lb-azure", Namespace: namespace}}
	service.Spec.Ports = []corev1.ServicePort{{Port: 8083, NodePort: 30083}}
	if address != "" {
		service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address}}
	}
	app, _ := newApp(service, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: namespace}, Reason: "SyncLoadBalancerFailed", Message: "port 8083 is taken",
	})
	app.dir = t.TempDir()
	f := &fakeEngine{answers: map[string]string{"image": "zerodrop/loadbalancer:v0-1", "inspect": state, "exec": "w1 is DOWN"}}
	app.cluster.kind = &kindCluster{provider: &fakeKind{}, engine: f.run, program: "echo"}
	app.cluster.config.Step = noStep
	return app, f
}

// TestBalancer: it is started once, its kubeconfig is nowhere but in its memory, and it is another's
// address that runs after it has broken down.
func TestBalancer(t *testing.T) {
	app, f := balancedApp(t, "172.18.0.9", "172.18.0.9")
	c := app.cluster
	consumer := aConsumer(t, "lb-azure")
	located, err := c.locate(consumer.Objects)
	require.NoError(t, err)
	require.ErrorContains(t, app.expose(t.Context(), exposed{consumer, located}), "no load balancer runs")

	require.NoError(t, c.useBalancer(t.Context()))
	run := strings.Join(f.calls, "\n")
	assert.Contains(t, run, "--label dev.zerodrop.container=loadbalancer ")
	assert.Contains(t, run, "--read-only --cap-drop ALL ")
	assert.Contains(t, run, "--tmpfs /run:size=16m --tmpfs /var/log/zerodrop:size=256m zerodrop/loadbalancer:v0-1")
	assert.NotContains(t, run, "--publish")
	assert.NotContains(t, run, "kubeconfig of")
	assert.Equal(t, "kubeconfig of zerodrop, internal: true", string(f.loaded))
	require.NoError(t, app.expose(t.Context(), exposed{consumer, located}))
	assert.Equal(t, "http://172.18.0.9:8083", app.URL(consumer))

	f.calls = nil
	require.NoError(t, c.useBalancer(t.Context()), "it runs")
	assert.Equal(t, []string{"inspect", "exec"}, verbs(f))
	require.NoError(t, c.checkBalancer(t.Context(), app.dir))
	marks, err := os.ReadFile(filepath.Join(app.dir, "components", "loadbalancer-marks.log"))
	require.NoError(t, err)
	assert.Equal(t, "w1 is DOWN", string(marks))
	log := c.kind.accessLog(*c.balancer)
	assert.Equal(t, []string{"loadbalancer", "172.18.0.9"}, []string{log.Component, log.Node.IP})
	var out strings.Builder
	require.NoError(t, log.Node.Run(t.Context(), &out, "tail", "-F", log.File)) // by echo
	assert.True(t, strings.HasPrefix(out.String(), "exec --interactive zerodrop-loadbalancer sh -c "), out.String())

	f.answers["inspect"] = "exit code 1"
	require.ErrorContains(t, c.checkBalancer(t.Context(), app.dir), "component loadbalancer: container zerodrop-loadbalancer has ended: exit code 1")
	require.FileExists(t, filepath.Join(app.dir, "components", "loadbalancer.log"))
	f.calls = nil
	_ = c.useBalancer(t.Context())
	assert.Equal(t, []string{"inspect", "ps", "image", "run"}, verbs(f)[:4], "another is started")

	f.calls = nil
	require.NoError(t, app.Close(t.Context()))
	assert.Contains(t, f.calls, "ps --all --quiet --filter label=dev.zerodrop.container=client", "it stays for the next run")
}

func verbs(f *fakeEngine) []string {
	var out []string
	for _, call := range f.calls {
		verb, _, _ := strings.Cut(call, " ")
		out = append(out, verb)
	}
	return out
}

// TestNoAddress: a Service that never gets its address says why, in time.
func TestNoAddress(t *testing.T) {
	tests := []struct {
		name, state, address string
		want                 []string
	}{
		{"the controller says why", "now", "", []string{"not within 1m0s", "SyncLoadBalancerFailed: port 8083 is taken"}},
		{"it has that of a balancer before", "now", "172.18.0.4", []string{"not within 1m0s"}},
		{"the balancer has ended", "exit code 1", "", []string{"permanent failure: container zerodrop-loadbalancer has ended: exit code 1"}},
		{"the balancer was started again", "later", "", []string{"was started again at later"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app, _ := balancedApp(t, tt.state, tt.address)
			app.cluster.kind.program = "" // no process within a bubble
			app.cluster.balancer = &balancer{container: container{cluster: DefaultName, role: fixtures.LoadBalancer}, ip: "172.18.0.9", started: "now"}
			located, err := app.cluster.locate(aConsumer(t, "lb-azure").Objects)
			require.NoError(t, err)
			inBubble(t, func(t *testing.T) {
				_, err := app.balancerAddress(t.Context(), located[0])
				require.ErrorIs(t, err, ErrComponent)
				for _, want := range append(tt.want, "wait for the load balancer to give Service app-lb-azure its address") {
					require.ErrorContains(t, err, want)
				}
			})
		})
	}
}

// TestBalancerIsRefused: no load balancer where it would do harm, or can't be had.
func TestBalancerIsRefused(t *testing.T) {
	theirs := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
	tests := []struct {
		name   string
		change func(*Cluster, *fakeEngine)
		want   string
	}{
		{"a cluster that exists", func(c *Cluster, _ *fakeEngine) { c.kind = nil }, scenarios.ErrNotOurs.Error()},
		{"another Service", func(c *Cluster, _ *fakeEngine) { c.client = fake.NewSimpleClientset(theirs) }, "would adopt a Service that isn't the run's: web in namespace default"},
		{"no image", func(_ *Cluster, f *fakeEngine) { f.answers["image"] = "" }, "there is no image with the label org.zerodrop.component.loadbalancer: make images CONSUMERS=loadbalancer"},
		{"no engine", func(_ *Cluster, f *fakeEngine) { f.fail = map[string]error{"run": errFake} }, "start container zerodrop-loadbalancer"},
		{"it ends at once", func(_ *Cluster, f *fakeEngine) {
			f.fail = map[string]error{"exec": io.EOF}
			f.answers["inspect"] = "exit code 2"
		}, "give it a kubeconfig: EOF\ncontainer zerodrop-loadbalancer has ended: exit code 2"},
		{"no kubeconfig", func(c *Cluster, _ *fakeEngine) {
			c.kind.provider.(*fakeKind).fail = map[string]error{"kubeconfig": errFake}
		}, "find its kubeconfig"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app, f := balancedApp(t, "now", "")
			tt.change(app.cluster, f)
			err := app.cluster.useBalancer(t.Context())
			require.ErrorContains(t, err, tt.want)
			assert.ErrorContains(t, err, "component loadbalancer: ")
		})
	}
}

// TestBalancerFinalizer: what the service controller has put on Services is taken off where it is
// ours, as the controller may be gone; and not on a cluster that exists.
func TestBalancerFinalizer(t *testing.T) {
	for name, ours := range map[string]bool{"ours": true, "one that exists": false} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewSimpleClientset(&corev1.Service{ObjectMeta: metav1.ObjectMeta{
				Name: "a", Namespace: namespace, Finalizers: []string{balancerFinalizer, "example.com/hold"},
			}}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: managed}})
			c := newCluster(client, Config{})
			if ours {
				c.kind = &kindCluster{}
			}
			require.NoError(t, c.removeNamespaces(t.Context()), "of a run that was killed")
			left, err := client.CoreV1().Services(namespace).Get(t.Context(), "a", metav1.GetOptions{})
			require.NoError(t, err)
			assert.Equal(t, !ours, len(left.Finalizers) == 2)
			if ours {
				refuse(client, "patch", "services", errDown)
				left.Finalizers = []string{balancerFinalizer}
				_, err := client.CoreV1().Services(namespace).Update(t.Context(), left, metav1.UpdateOptions{})
				require.NoError(t, err)
				require.ErrorContains(t, c.removeFinalizers(t.Context(), namespace), "remove the finalizers of Service a: ")
				refuse(client, "list", "services", errDown)
				require.ErrorContains(t, c.removeFinalizers(t.Context(), namespace), "list Services: ")
			}
		})
	}
}
