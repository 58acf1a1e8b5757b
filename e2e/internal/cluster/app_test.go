package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/zerodrop/zerodrop/e2e/internal/harness"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
	"github.com/zerodrop/zerodrop/e2e/internal/worker"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

var _ harness.App = (*App)(nil)

// serve answers requests as the given Pods do, in turn; a Pod whose name ends in ! answers with
// 503. seen hears of each request; nil if nobody wants to know.
func serve(t *testing.T, pods func() []string, seen func(n int)) (port int32) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		n++
		if seen != nil {
			seen(n)
		}
		names := pods()
		if r.URL.Path != "/work" || len(names) == 0 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		name, broken := strings.CutSuffix(names[n%len(names)], "!")
		w.Header().Set("Zerodrop-Pod", name)
		if broken {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	return int32(server.Listener.Addr().(*net.TCPAddr).Port)
}

// loopback is a node of a cluster that exists.
func loopback() *corev1.Node { return aNodeAt("here", "127.0.0.1") }

func aNodeAt(name string, addresses ...string) *corev1.Node {
	n := aNode(name, corev1.ConditionTrue)
	for _, a := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	return n
}

// TestDeploy: app and workers before are taken away, the Services stay, the new ones are there when
// each Pod has answered to everyone on each path, and what was deployed is on disk.
func TestDeploy(t *testing.T) {
	client := fake.NewSimpleClientset(loopback())
	controllers := runControllers(t, client)
	controllers.nodePort = serve(t, controllers.names, nil)
	stranger := aPod("stranger", ready, foreign)
	_, err := client.CoreV1().Pods(namespace).Create(t.Context(), stranger, metav1.CreateOptions{})
	require.NoError(t, err)
	client.ClearActions()
	facts := timeline.Environment{Kubernetes: "v1.37.2"}
	c := newCluster(client, Config{Workers: 2})
	c.facts = facts
	p := &proxy{app: controllers.names}
	p.listen(t, c)

	first := filepath.Join(t.TempDir(), "artifacts", "prestop-sleep", "rolling-update")
	app, err := c.Deploy(t.Context(), find(t, "prestop-sleep", "rolling-update"), first)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"create jobs", "create services", "create services", "create services", "create services", "create deployments",
	}, actions(client), "one Service for all lanes of a consumer")
	assert.Equal(t, 3, app.Replicas())
	assert.Equal(t, facts, app.Environment())
	assert.Equal(t, []string{"app-internal", "app-dns", "app-dns-cached", "app"}, app.services)
	pods, err := app.Pods(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"app-1-0", "app-1-1", "app-1-2"}, pods)
	assert.DirExists(t, filepath.Join(first, "pods"))
	require.NotNil(t, app.Sender(fixtures.FromCluster))
	assert.Equal(t, traffic.Host{}, app.Sender(fixtures.FromOutside), "of a cluster that exists")
	urls := map[string]bool{
		"http://10.96.7.7": true, "http://app-dns.zerodrop-test.svc.cluster.local.:8080": true,
		"http://app-dns-cached.zerodrop-test.svc.cluster.local.:8080": true,
	}
	assert.Equal(t, map[string]map[string]bool{"loadgen-z": urls, "loadgen-y": urls}, p.asked,
		"each worker sees each Pod at each consumer; no name that DNS is asked for, but where DNS is the consumer")

	client.ClearActions()
	second := t.TempDir()
	app, err = c.Deploy(t.Context(), find(t, "shell-as-pid1", "pod-deletion"), second)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"delete-collection jobs", "delete-collection pods", "delete-collection deployments", "delete-collection pods", "create jobs", "create deployments",
	}, actions(client), "the Services stay")
	pods, err = app.Pods(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"app-2-0", "app-2-1", "app-2-2"}, pods)
	require.Len(t, controllers.deleted, 2, "workers and app")
	for _, options := range controllers.deleted {
		assert.Equal(t, new(int64(0)), options.GracePeriodSeconds, "at once")
	}
	_, err = client.CoreV1().Pods(namespace).Get(t.Context(), "stranger", metav1.GetOptions{})
	require.NoError(t, err, "not ours")
	assert.Equal(t, "http://10.96.7.7", app.URL(aConsumer(t, "service")), "the address of a Service that was there")
	assert.Equal(t, fmt.Sprintf("http://127.0.0.1:%d", controllers.nodePort), app.URL(aConsumer(t, "nodeport")))

	for dir, want := range map[string]string{first: fixtures.StaticImage, second: fixtures.ShellImage} {
		m := manifests(t, dir)
		assert.Equal(t, want, m.deployment.Spec.Template.Spec.Containers[0].Image)
		assert.Equal(t, int32(3), *m.deployment.Spec.Replicas)
		assert.Empty(t, m.services[0].Spec.ClusterIP, "as it was asked for")
		assert.Zero(t, m.services[3].Spec.Ports[0].NodePort, "the API server chooses")
		assert.Equal(t, new(int32(2)), m.job.Spec.Completions)
		assert.Equal(t, new(int32(2)), m.job.Spec.Parallelism)
	}
}

func aConsumer(t *testing.T, name string) fixtures.Consumer {
	t.Helper()
	consumers, err := fixtures.Consumers()
	require.NoError(t, err)
	require.Contains(t, consumers, name)
	return consumers[name]
}

// deployed is what Deploy has written down.
type deployed struct {
	deployment appsv1.Deployment
	services   [4]corev1.Service
	job        batchv1.Job
}

// manifestsIn are as Deploy has written them down.
func manifestsIn(t *testing.T, dir string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "manifests.yaml"))
	require.NoError(t, err)
	return string(raw)
}

// manifests reads back what Deploy has written down, as kubectl would: it must be complete.
func manifests(t *testing.T, dir string) deployed {
	t.Helper()
	documents := strings.Split(manifestsIn(t, dir), "---\n")
	require.Len(t, documents, 7)
	assert.Empty(t, documents[0])
	var d deployed
	service := metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}
	for i, document := range []struct {
		into any
		is   *metav1.TypeMeta
		want metav1.TypeMeta
	}{
		{&d.deployment, &d.deployment.TypeMeta, metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}},
		{&d.services[0], &d.services[0].TypeMeta, service},
		{&d.services[1], &d.services[1].TypeMeta, service},
		{&d.services[2], &d.services[2].TypeMeta, service},
		{&d.services[3], &d.services[3].TypeMeta, service},
		{&d.job, &d.job.TypeMeta, metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}},
	} {
		require.NoError(t, yaml.UnmarshalStrict([]byte(documents[i+1]), document.into))
		assert.Equal(t, document.want, *document.is)
	}
	return d
}

// TestDeployOutside: without a lane within the cluster nobody is asked to send from there.
func TestDeployOutside(t *testing.T) {
	client := fake.NewSimpleClientset(aWorker("loadgen-old", 0, running), loopback())
	controllers := runControllers(t, client)
	controllers.nodePort = serve(t, controllers.names, nil)
	c := newCluster(client, Config{})
	s := find(t, "prestop-sleep", "rolling-update")
	s.Lanes = slices.DeleteFunc(s.Lanes, func(l scenarios.Lane) bool { return l.Consumer.From == fixtures.FromCluster })
	app, err := c.Deploy(t.Context(), s, t.TempDir())
	require.NoError(t, err)
	assert.Equal(t, []string{"delete-collection pods", "create services", "create deployments"}, actions(client),
		"workers of a run before go all the same")
	assert.Nil(t, app.Sender(fixtures.FromCluster))
	assert.Equal(t, []string{"app"}, app.services)
}

// TestDeployImage: a cluster that exists pulls the images from where it is told to, and the
// manifests say so.
func TestDeployImage(t *testing.T) {
	client := fake.NewSimpleClientset()
	controllers := runControllers(t, client)
	controllers.nodePort = serve(t, controllers.names, nil)
	c := newCluster(client, Config{
		Address: "localhost", AppImage: "registry.example/sampleapp:1", LoadImage: "registry.example/loadgen:1",
	})
	(&proxy{app: controllers.names}).listen(t, c)
	dir := t.TempDir()
	_, err := c.Deploy(t.Context(), find(t, "prestop-sleep", "rolling-update"), dir)
	require.NoError(t, err)
	live, err := client.AppsV1().Deployments(namespace).Get(t.Context(), "app", metav1.GetOptions{})
	require.NoError(t, err)
	job, err := client.BatchV1().Jobs(namespace).Get(t.Context(), "loadgen", metav1.GetOptions{})
	require.NoError(t, err)
	stored := manifests(t, dir)
	for _, d := range []appsv1.Deployment{*live, stored.deployment} {
		require.Len(t, d.Spec.Template.Spec.Containers, 1)
		assert.Equal(t, "registry.example/sampleapp:1", d.Spec.Template.Spec.Containers[0].Image)
	}
	for _, j := range []batchv1.Job{*job, stored.job} {
		require.Len(t, j.Spec.Template.Spec.Containers, 1)
		assert.Equal(t, "registry.example/loadgen:1", j.Spec.Template.Spec.Containers[0].Image)
	}
}

// TestDeployAfterCutOff: Pods without a Deployment are what a removal leaves that was cut off. They
// are taken away, too.
func TestDeployAfterCutOff(t *testing.T) {
	client := fake.NewSimpleClientset(aPod("app-0-0", ready), aPod("app-0-1", ready, terminating))
	controllers := runControllers(t, client)
	controllers.nodePort = serve(t, controllers.names, nil)
	c := newCluster(client, Config{Address: "127.0.0.1"})
	(&proxy{app: controllers.names}).listen(t, c)
	app, err := c.Deploy(t.Context(), find(t, "prestop-sleep", "rolling-update"), t.TempDir())
	require.NoError(t, err)
	pods, err := app.Pods(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"app-1-0", "app-1-1", "app-1-2"}, pods)
	assert.Equal(t, []string{
		"delete-collection pods", "create jobs",
		"create services", "create services", "create services", "create services", "create deployments",
	}, actions(client))
}

// TestDeployFails: what went wrong is told with the strategy's name and what was being done.
func TestDeployFails(t *testing.T) {
	tests := []struct {
		name           string
		verb, resource string
		err            error
		want           string
	}{
		{"the workers before can't be removed", "list", "jobs", errDown, "deploy prestop-sleep: wait for the workers to go: .*etcd is away"},
		{"no workers", "create", "jobs", errDown, "deploy prestop-sleep: start the workers: .*etcd is away"},
		{"the app before can't be removed", "list", "deployments", errDown, "deploy prestop-sleep: wait for the app before to go: .*etcd is away"},
		{"the app before stays", "delete-collection", "pods", errDown, "deploy prestop-sleep: wait for the app before to go: .*etcd is away"},
		{"no Service can be asked for", "get", "services", errDown, "deploy prestop-sleep: consumer service: look for Service app-internal: .*etcd is away"},
		{"a Service is refused", "create", "services", apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "app", nil), `deploy prestop-sleep: consumer service: create Service app-internal: Service "app" is invalid`},
		{"no Deployment", "create", "deployments", errDown, "deploy prestop-sleep: .*etcd is away"},
		{"its Pods can't be listed", "get", "deployments", errDown, "deploy prestop-sleep: wait for new Pods to be ready and old ones to be gone: .*etcd is away"},
		{"no node to ask", "list", "nodes", errDown, "deploy prestop-sleep: consumer nodeport: list nodes: .*etcd is away"},
		{"no worker comes", "", "", nil, "deploy prestop-sleep: wait for the workers: not within 2m0s: .*502 Bad Gateway"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				client := fake.NewSimpleClientset(aPod("app-0-0", ready), loopback())
				runControllers(t, client)
				if tt.err != nil {
					refuse(client, tt.verb, tt.resource, tt.err)
				}
				away := &proxy{broken: map[string]http.HandlerFunc{"loadgen-z": badGateway}}
				c := newCluster(client, Config{})
				c.http, c.server = &http.Client{Transport: away}, "http://api-server"
				app, err := c.Deploy(t.Context(), find(t, "prestop-sleep", "rolling-update"), t.TempDir())
				require.Error(t, err)
				assert.Regexp(t, "(?s)^"+tt.want, err.Error())
				assert.Nil(t, app)
			})
		})
	}
	t.Run("nowhere to write the manifests", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		client := fake.NewSimpleClientset()
		_, err := newCluster(client, Config{}).Deploy(t.Context(), find(t, "prestop-sleep", "rolling-update"), file)
		require.ErrorContains(t, err, "deploy prestop-sleep: save manifests: ")
		assert.Empty(t, actions(client), "nothing is deployed that isn't on disk")
	})
}

func badGateway(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "nobody listens", http.StatusBadGateway)
}

// TestWaitServed: a path is there when every Pod has answered well.
func TestWaitServed(t *testing.T) {
	pods := []runtime.Object{aPod("a", ready), aPod("b", ready), aPod("gone", ready, terminating)}
	tests := []struct {
		name    string
		answers []string // Pods that answer in turn
		want    string   // what is missing; empty for nothing
	}{
		{"each Pod", []string{"a", "b"}, ""},
		{"others, too", []string{"x", "a", "b"}, ""},
		{"one Pod never", []string{"a", "a"}, "Pod b has not answered yet"},
		{"one Pod with an error", []string{"a", "b!"}, "/work answers 503 Service Unavailable"},
		{"nobody", nil, "/work answers 404 Not Found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app, _ := newApp(pods...)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			port := serve(t, func() []string { return tt.answers }, func(n int) {
				if n == 50 { // in the middle of the third look
					cancel(errUser)
				}
			})
			probes := app.probes(fixtures.Consumer{Name: "x", From: fixtures.FromOutside})
			require.Len(t, probes, 1, "this machine")
			err := app.waitServed(ctx, worker.Target{URL: fmt.Sprintf("http://127.0.0.1:%d", port)}, probes[0])
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, errUser)
			assert.ErrorContains(t, err, "wait for an answer of each Pod: ")
			assert.ErrorContains(t, err, tt.want)
		})
	}
	t.Run("nothing listens", func(t *testing.T) {
		server := httptest.NewServer(http.NotFoundHandler())
		server.Close()
		inBubble(t, func(t *testing.T) { // in which time stands still during a real attempt to connect
			app, _ := newApp(pods...)
			ctx, cancel := context.WithTimeoutCause(t.Context(), sec, errUser)
			defer cancel()
			err := app.waitServed(ctx, worker.Target{URL: server.URL}, app.probes(fixtures.Consumer{From: fixtures.FromOutside})[0])
			require.ErrorIs(t, err, errUser)
			assert.ErrorContains(t, err, "connection refused")
		})
	})
	t.Run("the Pods can't be listed", func(t *testing.T) {
		app, client := newApp()
		refuse(client, "list", "pods", errDown)
		require.ErrorContains(t, app.waitServed(t.Context(), worker.Target{}, nil), "list Pods: ")
	})
}

// TestAddress: where consumers are reached from, whoever has made their objects.
func TestAddress(t *testing.T) {
	const template = "http://{service}.{namespace}.svc.cluster.local.:8080"
	at := func(from, address string) fixtures.Consumer {
		return fixtures.Consumer{Name: "x", From: from, Address: address}
	}
	tests := []struct {
		name     string
		host     string // -address
		consumer fixtures.Consumer
		ip       string // of its Service
		want     string // URL, or what is wrong
	}{
		{"at the nodes", "", at(fixtures.FromOutside, "http://{node}:{nodePort}"), "10.96.0.9", "http://172.18.0.3:31234"},
		{"at another address", "node.example", at(fixtures.FromOutside, "http://{node}:{nodePort}/app"), "10.96.0.9", "http://node.example:31234/app"},
		{"at an IPv6 address", "::1", at(fixtures.FromOutside, "http://{node}:{nodePort}"), "10.96.0.9", "http://[::1]:31234"},
		{"by address", "", at(fixtures.FromCluster, "http://{clusterIP}"), "10.96.0.9", "http://10.96.0.9"},
		{"by address, whatever the one outside", "node.example", at(fixtures.FromCluster, "http://{clusterIP}"), "10.96.0.9", "http://10.96.0.9"},
		{"IPv6", "", at(fixtures.FromCluster, "http://{clusterIP}:8080"), "fd00:10:96::9", "http://[fd00:10:96::9]:8080"},
		{"by name", "", at(fixtures.FromCluster, template), "None", "http://app.zerodrop-test.svc.cluster.local.:8080"},
		{"unknown placeholder", "", at(fixtures.FromCluster, "http://{nodeIP}"), "10.96.0.9", "address http://{nodeIP}: unknown placeholder {nodeIP}: want some of [api clusterIP namespace node nodePort port service]"},
		{"by the address of a headless Service", "", at(fixtures.FromCluster, "http://{clusterIP}"), "None", "address http://{clusterIP}: unknown placeholder {clusterIP}: want some of [api namespace node nodePort port service]"},
		{"no URL", "node.example", at(fixtures.FromOutside, "http://a b"), "10.96.0.9", `address http://a b: parse "http://a b": invalid character " " in host name`},
	}
	service := aConsumer(t, "nodeport").Objects[0]
	controlPlane, broken := aNodeAt("control-plane", "172.18.0.2"), aNodeAt("broken", "172.18.0.9")
	broken.Status.Conditions = nil
	controlPlane.Labels = map[string]string{"node.kubernetes.io/exclude-from-external-load-balancers": ""}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app, client := newApp(&corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: namespace, Annotations: service.GetAnnotations()},
				Spec:       corev1.ServiceSpec{Selector: selectorOf(service), ClusterIP: tt.ip, Ports: []corev1.ServicePort{{Port: 80, NodePort: 31234}}},
			}, controlPlane, broken, aNodeAt("worker", "172.18.0.3", "fc00::3"), aNodeAt("worker2", "172.18.0.4"))
			app.cluster.config.Address = tt.host
			objects, err := app.cluster.locate([]*unstructured.Unstructured{service, anObject("example.dev/v1", "Route", "second")})
			require.NoError(t, err)
			err = app.expose(t.Context(), exposed{tt.consumer, objects})
			assert.Equal(t, []string{"create routes"}, actions(client), "the one that wasn't there")
			if err != nil {
				require.EqualError(t, err, tt.want)
				return
			}
			assert.Equal(t, tt.want, app.URL(tt.consumer))
			if strings.Contains(tt.consumer.Address, "{node}") && tt.host == "" {
				assert.Equal(t, []netip.Addr{netip.MustParseAddr("172.18.0.3"), netip.MustParseAddr("172.18.0.4")}, app.Addresses(tt.consumer))
				assert.Equal(t, []string{"http://172.18.0.3:31234", "http://172.18.0.4:31234"}, app.urls["x"], "each has a kube-proxy of its own")
			} else {
				assert.Empty(t, app.Addresses(tt.consumer))
				assert.Equal(t, []string{tt.want}, app.urls["x"])
			}
		})
	}
}

// TestPods: oldest first, by name where the clock can't tell, and only those that stay.
func TestPods(t *testing.T) {
	app, client := newApp(
		aPod("app-a", aged(1)), aPod("app-b", aged(3)), aPod("app-c", aged(2), unready), aPod("app-d", aged(3)),
		aPod("app-e", aged(9), ready, terminating), aPod("other", aged(9), ready, foreign),
	)
	pods, err := app.Pods(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"app-b", "app-d", "app-c", "app-a"}, pods)

	refuse(client, "list", "pods", errDown)
	_, err = app.Pods(t.Context())
	require.ErrorContains(t, err, "list Pods: ")
}

func TestDeletePod(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		app, client := newApp(aPod("app-a", ready), aPod("app-b", ready))
		client.PrependReactor("delete", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
			assert.Nil(t, a.(clienttesting.DeleteActionImpl).DeleteOptions.GracePeriodSeconds, "the Pod's own")
			return false, nil, nil
		})
		require.NoError(t, app.DeletePod(t.Context(), "app-a"))
		assert.Equal(t, []string{"delete pods"}, actions(client))
		err := app.DeletePod(t.Context(), "app-a")
		require.ErrorContains(t, err, "wait for Pod app-a to be deleted: ")
		assert.True(t, apierrors.IsNotFound(err))
		// An API server that restarts does what it is asked and doesn't live to say so.
		var once sync.Once
		client.PrependReactor("delete", "pods", func(a clienttesting.Action) (handled bool, _ runtime.Object, err error) {
			once.Do(func() {
				require.NoError(t, client.Tracker().Delete(podsGVR, namespace, a.(clienttesting.DeleteActionImpl).Name))
				handled, err = true, errDown
			})
			return handled, nil, err
		})
		require.NoError(t, app.DeletePod(t.Context(), "app-b"))
	})
}

// TestWait: which Pods let WaitReady return, and which WaitStable.
func TestWait(t *testing.T) {
	three := []runtime.Object{aPod("a", ready), aPod("b", ready), aPod("c", ready)}
	tests := []struct {
		name       string
		pods       []runtime.Object
		wantReady  string // what WaitReady says is missing; empty for nothing
		wantStable string
	}{
		{"all ready", three, "", ""},
		{"none", nil, "0 of 3 are", "0 of 3 Pods are ready, 0 are there"},
		{"one too few", three[:2], "2 of 3 are", "2 of 3 Pods are ready, 2 are there"},
		{"one not ready", append([]runtime.Object{aPod("d", unready)}, three[:2]...), "2 of 3 are", "2 of 3 Pods are ready, 3 are there"},
		{"one without conditions", append([]runtime.Object{aPod("d")}, three[:2]...), "2 of 3 are", "2 of 3 Pods are ready, 3 are there"},
		{"one ready and terminating", append([]runtime.Object{aPod("d", ready, terminating)}, three[:2]...), "2 of 3 are", "2 of 3 Pods are ready, 3 are there"},
		{"an old one is terminating", append([]runtime.Object{aPod("d", ready, terminating)}, three...), "", "3 of 3 Pods are ready, 4 are there"},
		{"an old one is not ready and terminating", append([]runtime.Object{aPod("d", unready, terminating)}, three...), "", "3 of 3 Pods are ready, 4 are there"},
		{"one more, ready", append([]runtime.Object{aPod("d", ready)}, three...), "", "4 of 3 Pods are ready, 4 are there"},
		{"one more, not ready", append([]runtime.Object{aPod("d", unready)}, three...), "", "3 of 3 Pods are ready, 4 are there"},
	}
	for _, tt := range tests {
		for _, wait := range []struct {
			name string
			do   func(*App, context.Context) error
			what string
			want string
		}{
			{"ready", (*App).WaitReady, "Pods to be ready", tt.wantReady},
			{"stable", (*App).WaitStable, "new Pods to be ready and old ones to be gone", tt.wantStable},
		} {
			t.Run(wait.name+"/"+tt.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					app, _ := newApp(append([]runtime.Object{aDeployment()}, tt.pods...)...)
					ctx, cancel := context.WithTimeoutCause(t.Context(), sec, errUser)
					defer cancel()
					began := time.Now()
					err := wait.do(app, ctx)
					if wait.want == "" {
						require.NoError(t, err)
						assert.Zero(t, time.Since(began))
						return
					}
					require.EqualError(t, err, fmt.Sprintf("wait for %s: stopped by the user: %s", wait.what, wait.want))
				})
			})
		}
	}
}

// TestWaitEnds: the waits end when the last thing that was missing comes, and put up with an API
// server that is away for a while.
func TestWaitEnds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		app, client := newApp(aDeployment(), aPod("a", ready), aPod("b", ready), aPod("c", unready), aPod("d", ready, terminating))
		var down atomic.Bool
		client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return down.Load(), nil, errDown })
		began := time.Now()
		time.AfterFunc(2*sec, func() { down.Store(true) })
		time.AfterFunc(10*sec, func() { down.Store(false) })
		time.AfterFunc(20*sec, func() { assert.NoError(t, client.Tracker().Update(podsGVR, aPod("c", ready), namespace)) })
		time.AfterFunc(30*sec, func() { assert.NoError(t, client.Tracker().Delete(podsGVR, namespace, "d")) })
		require.NoError(t, app.WaitReady(t.Context()))
		assert.Equal(t, 20*sec, time.Since(began).Truncate(sec))
		require.NoError(t, app.WaitStable(t.Context()))
		assert.Equal(t, 30*sec, time.Since(began).Truncate(sec))
	})
}

// TestRolledOut: the rules of kubectl rollout status.
func TestRolledOut(t *testing.T) {
	tests := []struct {
		name   string
		status appsv1.DeploymentStatus // of generation 4 with three replicas
		want   string
	}{
		{"complete", appsv1.DeploymentStatus{ObservedGeneration: 4, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}, ""},
		{"changed again since", appsv1.DeploymentStatus{ObservedGeneration: 5, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}, ""},
		{"not seen", appsv1.DeploymentStatus{ObservedGeneration: 3, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}, "the Deployment's controller has not seen the change"},
		{"never seen", appsv1.DeploymentStatus{}, "the Deployment's controller has not seen the change"},
		{"new Pods missing", appsv1.DeploymentStatus{ObservedGeneration: 4, Replicas: 4, UpdatedReplicas: 2, AvailableReplicas: 3}, "2 of 3 Pods are of the new template"},
		{"old Pods there", appsv1.DeploymentStatus{ObservedGeneration: 4, Replicas: 4, UpdatedReplicas: 3, AvailableReplicas: 3}, "1 Pods of an old template are there"},
		{"not available", appsv1.DeploymentStatus{ObservedGeneration: 4, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 2}, "2 of 3 Pods are available"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				d := aDeployment(func(d *appsv1.Deployment) { d.Status = tt.status })
				app, client := newApp(d, aPod("a", ready), aPod("b", ready), aPod("c", ready))
				missing, err := app.rolledOut(t.Context())
				require.NoError(t, err)
				assert.Equal(t, tt.want, missing)
				if tt.want != "" {
					ctx, cancel := context.WithTimeoutCause(t.Context(), sec, errUser)
					defer cancel()
					require.ErrorContains(t, app.WaitStable(ctx), tt.want, "stable is more than ready Pods")
				}
				refuse(client, "get", "deployments", errDown)
				_, err = app.rolledOut(t.Context())
				require.ErrorIs(t, err, error(errDown))
			})
		})
	}
}

// TestChangeTemplate: each call changes the template, and returns when the Deployment is complete
// again.
func TestChangeTemplate(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		app, client := newApp(aDeployment())
		conflicts := 1
		var releases []string
		client.PrependReactor("patch", "deployments", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if conflicts > 0 {
				conflicts--
				return true, nil, apierrors.NewConflict(deploymentsGVR.GroupResource(), "app", nil)
			}
			// What the API server and the controller do.
			present, err := client.Tracker().Get(deploymentsGVR, namespace, "app")
			require.NoError(t, err)
			d := present.(*appsv1.Deployment).DeepCopy()
			require.NoError(t, json.Unmarshal(a.(clienttesting.PatchAction).GetPatch(), d))
			d.Generation++
			releases = append(releases, d.Spec.Template.Annotations["zerodrop.dev/release"])
			require.NoError(t, client.Tracker().Update(deploymentsGVR, d, namespace))
			done := d.DeepCopy()
			time.AfterFunc(5*sec, func() {
				done.Status.ObservedGeneration = done.Generation
				assert.NoError(t, client.Tracker().Update(deploymentsGVR, done, namespace))
			})
			return true, d, nil
		})
		for range 3 {
			began := time.Now()
			require.NoError(t, app.ChangeTemplate(t.Context()))
			assert.Equal(t, 5*sec, time.Since(began).Truncate(sec), "not before the controller has seen it")
		}
		assert.Equal(t, []string{"5", "6", "7"}, releases)
	})
}

// TestChangeTemplateKeeps: the annotations that are on the template stay there.
func TestChangeTemplateKeeps(t *testing.T) {
	app, client := newApp(aDeployment(func(d *appsv1.Deployment) { d.Spec.Template.Annotations = map[string]string{"a": "b"} }))
	require.NoError(t, app.ChangeTemplate(t.Context()))
	d, err := client.AppsV1().Deployments(namespace).Get(t.Context(), "app", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"a": "b", "zerodrop.dev/release": "5"}, d.Spec.Template.Annotations)
}

func TestChangeTemplateFails(t *testing.T) {
	tests := []struct {
		name string
		verb string
		err  error
		want string
	}{
		{"no Deployment", "get", apierrors.NewNotFound(deploymentsGVR.GroupResource(), "app"), `change the Pod template: wait for the Pod template to change: deployments.apps "app" not found`},
		{"refused", "patch", errDown, "change the Pod template: .*etcd is away"},
		{"never without a conflict", "patch", apierrors.NewConflict(deploymentsGVR.GroupResource(), "app", nil), "change the Pod template: wait for the Pod template to change: Operation cannot be fulfilled"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				app, client := newApp(aDeployment())
				refuse(client, tt.verb, "deployments", tt.err)
				err := app.ChangeTemplate(t.Context())
				require.Error(t, err)
				assert.Regexp(t, "^"+tt.want, err.Error())
			})
		})
	}
	t.Run("the rollout hangs", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			app, _ := newApp(aDeployment(func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 1 }))
			require.EqualError(t, app.ChangeTemplate(t.Context()), "wait for the rollout: not within 3m30s: 1 of 3 Pods are of the new template")
		})
	})
}

// TestObserve: the observation is of this app, in its namespace, and its logs go where its
// artifacts are.
func TestObserve(t *testing.T) {
	started := func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "app-x", Namespace: namespace, Labels: map[string]string{discoveryv1.LabelServiceName: "app"}},
		Endpoints:  []discoveryv1.Endpoint{{TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "app-a"}}},
	}
	elsewhere := aPod("app-b", ready)
	elsewhere.Namespace = "other"
	app, client := newApp(aPod("app-a", ready, started), aPod("other-a", ready, foreign), elsewhere, slice)
	(&proxy{ledgers: map[string]string{"app-a": `{"service/new": 7}`}}).listen(t, app.cluster)
	app.dir = t.TempDir()
	require.NoError(t, app.save(nil))
	stop, err := app.Observe(t.Context(), timeline.NewClock(time.Now()))
	require.NoError(t, err)
	log := filepath.Join(app.dir, "pods", "app-a.log")
	require.Eventually(t, func() bool { raw, _ := os.ReadFile(log); return len(raw) > 0 }, 30*sec, time.Millisecond)
	got := map[string]bool{}
	seen := stop()
	assert.Equal(t, []timeline.Served{{Pod: "app-a", Answered: map[string]int{"service/new": 7}}}, seen.Served, "it lives on and can be asked")
	for _, e := range seen.Events {
		got[e.Pod+" "+string(e.Kind)] = true
	}
	assert.Equal(t, map[string]bool{"app-a pod-created": true, "app-a pod-started": true, "app-a pod-ready": true, "app-a endpoint-serving": true}, got)

	refuse(client, "list", "endpointslices", errDown)
	_, err = app.Observe(t.Context(), timeline.NewClock(time.Now()))
	require.ErrorContains(t, err, "observe EndpointSlices: ")
}
