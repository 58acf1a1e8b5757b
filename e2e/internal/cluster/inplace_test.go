package cluster

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// runs is a Pod whose app's container runs; with no ID, none does.
func runs(id string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		status := corev1.ContainerStatus{Name: "app", ContainerID: id}
		if id != "" {
			status.State.Running = &corev1.ContainerStateRunning{}
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "beside", ContainerID: "x"}, status}
	}
}

func probed(p *corev1.Pod) {
	p.Spec.Containers = []corev1.Container{{Name: "app", ReadinessProbe: &corev1.Probe{}}}
}

// later changes a Pod of the app after a while.
func later(t *testing.T, client *fake.Clientset, after time.Duration, changes ...func(*corev1.Pod)) {
	t.Helper()
	time.AfterFunc(after, func() {
		o, err := client.Tracker().Get(podsGVR, namespace, "app-a")
		if !assert.NoError(t, err) {
			return
		}
		p := o.(*corev1.Pod).DeepCopy()
		for _, change := range changes {
			change(p)
		}
		assert.NoError(t, client.Tracker().Update(podsGVR, p, namespace))
	})
}

// ordered is a proxy to Pod app-a, which does as it is told.
func ordered(orders *[]string, do func()) *proxy {
	return &proxy{broken: map[string]http.HandlerFunc{"app-a": func(_ http.ResponseWriter, r *http.Request) {
		*orders = append(*orders, r.Method+" "+strings.TrimPrefix(r.URL.RequestURI(), "/api/v1/namespaces/"+namespace+"/pods/http:"))
		if do != nil {
			do()
		}
	}}}
}

// TestRestartInPlace: an order, and then as long as it takes until the container is another one and the Pod is ready.
func TestRestartInPlace(t *testing.T) {
	tests := []struct {
		name string
		do   func(context.Context, *App) error
		want string
	}{
		{"liveness", func(ctx context.Context, a *App) error { return a.FailLiveness(ctx, "app-a") }, "POST app-a:8080/proxy/fail?probe=livez"},
		{"all containers", func(ctx context.Context, a *App) error { return a.RestartContainers(ctx, "app-a") }, "POST app-a:8081/proxy/exit?code=42"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var orders []string
				var client *fake.Clientset
				var app *App
				app, client = newProxied(ordered(&orders, func() {
					later(t, client, 3*sec, runs(""), unready)
					later(t, client, 5*sec, runs("second"))
					later(t, client, 6*sec, ready)
				}), aPod("app-a", ready, runs("first")))
				began := time.Now()
				require.NoError(t, tt.do(t.Context(), app))
				assert.Equal(t, 6*sec, time.Since(began).Truncate(sec))
				assert.Equal(t, []string{tt.want}, orders)
			})
		})
	}
}

func TestRestartFails(t *testing.T) {
	tests := []struct {
		name string
		do   func(*fake.Clientset)
		pod  string
		want string
	}{
		{"no such Pod", nil, "app-b", `restart Pod app-b in place: pods "app-b" not found`},
		{"never", nil, "app-a", "wait for Pod app-a to be restarted in place: not within 3m30s: its container is the same"},
		{"ends for good", func(c *fake.Clientset) { later(t, c, sec, runs(""), unready) }, "app-a", "its container doesn't run"},
		{"not ready again", func(c *fake.Clientset) { later(t, c, sec, runs("second"), unready) }, "app-a", "it is not ready"},
		{"goes", func(c *fake.Clientset) {
			time.AfterFunc(sec, func() { assert.NoError(t, c.Tracker().Delete(podsGVR, namespace, "app-a")) })
		}, "app-a", `permanent failure: pods "app-a" not found`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var orders []string
				var client *fake.Clientset
				var app *App
				app, client = newProxied(ordered(&orders, func() {
					if tt.do != nil {
						tt.do(client)
					}
				}), aPod("app-a", ready, runs("first")))
				require.ErrorContains(t, app.FailLiveness(t.Context(), tt.pod), tt.want)
			})
		})
	}
	p := &proxy{broken: map[string]http.HandlerFunc{"app-a": func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no such path", http.StatusNotFound)
	}}}
	app, _ := newProxied(p, aPod("app-a", ready, runs("first")))
	require.EqualError(t, app.FailLiveness(t.Context(), "app-a"),
		"restart Pod app-a in place: wait for the order /fail?probe=livez to be taken: permanent failure: 404 Not Found: no such path")
}

// TestOrderAgain: an order that the API server can't pass on is given again; one that was obeyed, though its answer was lost, isn't.
func TestOrderAgain(t *testing.T) {
	tests := []struct {
		name   string
		obeyed bool // the order of which the answer is lost
		want   int
	}{
		{"it did not come through", false, 2},
		{"its answer was lost", true, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				orders := 0
				var client *fake.Clientset
				restarted := func() {
					later(t, client, 0, runs(""), unready)
					later(t, client, 3*sec, runs("second"), ready)
				}
				p := &proxy{broken: map[string]http.HandlerFunc{"app-a": func(w http.ResponseWriter, _ *http.Request) {
					if orders++; orders > 1 {
						restarted()
						return
					}
					if tt.obeyed {
						restarted()
					}
					http.Error(w, "the apiserver is shutting down", http.StatusServiceUnavailable)
				}}}
				var app *App
				app, client = newProxied(p, aPod("app-a", ready, runs("first")))
				require.NoError(t, app.FailLiveness(t.Context(), "app-a"))
				assert.Equal(t, tt.want, orders)
			})
		})
	}
	inBubble(t, func(t *testing.T) {
		p := &proxy{broken: map[string]http.HandlerFunc{"app-a": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no Pod there", http.StatusBadGateway)
		}}}
		app, _ := newProxied(p, aPod("app-a", ready, runs("first")))
		require.EqualError(t, app.OverfillPod(t.Context(), "app-a", 1),
			"fill the volume of Pod app-a: wait for the order /fill to be taken: 502 Bad Gateway: no Pod there")
	})
}

// TestFailReadiness: it is over when the Pod was seen to be unready, and to be ready again.
func TestFailReadiness(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var orders []string
		var client *fake.Clientset
		var app *App
		app, client = newProxied(ordered(&orders, func() {
			later(t, client, sec, unready)
			later(t, client, 6*sec, ready)
		}), aPod("app-a", ready, probed, runs("first")))
		began := time.Now()
		require.NoError(t, app.FailReadiness(t.Context(), "app-a", 5*sec))
		assert.Equal(t, 6*sec, time.Since(began).Truncate(sec))
		assert.Equal(t, []string{"POST app-a:8080/proxy/fail?probe=readyz&for=5s"}, orders)
	})
	inBubble(t, func(t *testing.T) {
		var orders []string
		app, _ := newProxied(ordered(&orders, nil), aPod("app-a", ready, probed, runs("first")))
		require.EqualError(t, app.FailReadiness(t.Context(), "app-a", 5*sec),
			"wait for Pod app-a to be unready, and ready again: not within 2m0s: it was ready all the time")
	})
	var orders []string
	app, _ := newProxied(ordered(&orders, nil), aPod("app-a", ready, runs("first")))
	require.EqualError(t, app.FailReadiness(t.Context(), "app-a", sec), "take Pod app-a's readiness away: has no readiness probe to fail")
	assert.Empty(t, orders)
}

// TestIsolatePod: nothing selects the Pod any more, and who observes the app still sees it.
func TestIsolatePod(t *testing.T) {
	app, client := newApp(aPod("app-a", ready), aPod("app-b", ready))
	require.NoError(t, app.Isolate(t.Context(), "app-a"))
	pods, err := app.Pods(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"app-b"}, pods)
	own, err := app.selected(t.Context(), ownSelector)
	require.NoError(t, err)
	assert.Equal(t, []string{"app-a", "app-b"}, own)
	p, err := client.CoreV1().Pods(namespace).Get(t.Context(), "app-a", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, "app-isolated", p.Labels["app"])
	require.ErrorContains(t, app.Isolate(t.Context(), "app-c"), "wait for Pod app-c to be isolated: permanent failure: ")

	runControllers(t, client)
	require.NoError(t, app.Restore(t.Context()))
	own, err = app.selected(t.Context(), ownSelector)
	require.NoError(t, err)
	assert.Equal(t, []string{"app-b"}, own, "isolated Pods are taken away in the end")
}

// TestRemoveOldUnderOtherLabels: what a run has left under other labels goes, too, and nothing else.
func TestRemoveOldUnderOtherLabels(t *testing.T) {
	app, client := newApp(
		aPod("app-a", ready), aPod("app-b", ready, func(p *corev1.Pod) { p.Labels["app"] = "app-isolated" }), aPod("stranger", ready, foreign),
		aDeployment(func(d *appsv1.Deployment) {
			d.Name, d.Labels = "app-second", map[string]string{"app": "app-second", ownLabel: ownApp}
		}),
	)
	runControllers(t, client)
	require.NoError(t, app.removeOld(t.Context()))
	pods, err := client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, pods.Items, 1)
	assert.Equal(t, "stranger", pods.Items[0].Name)
	_, err = client.AppsV1().Deployments(namespace).Get(t.Context(), "app-second", metav1.GetOptions{})
	require.ErrorContains(t, err, "not found")
}

// deploying does what the controllers do with a new Deployment: it is complete, and has its Pods.
func deploying(t *testing.T, client *fake.Clientset) {
	t.Helper()
	runControllers(t, client)
	client.PrependReactor("create", "deployments", func(a clienttesting.Action) (bool, runtime.Object, error) {
		d := a.(clienttesting.CreateAction).GetObject().(*appsv1.Deployment)
		n := *d.Spec.Replicas
		d.Status = appsv1.DeploymentStatus{Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
		for i := range n {
			p := aPod(d.Name+"-"+string('a'+i), ready)
			p.Labels = d.Spec.Template.Labels
			require.NoError(t, client.Tracker().Create(podsGVR, p, namespace))
		}
		return false, nil, nil
	})
}

func aService(name, selects string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": selects}},
	}
}

func selected(t *testing.T, client *fake.Clientset, service string) string {
	t.Helper()
	s, err := client.CoreV1().Services(namespace).Get(t.Context(), service, metav1.GetOptions{})
	require.NoError(t, err)
	return s.Spec.Selector["app"]
}

// TestBlueGreen: the second Deployment is there beside the first, then in its place, and in the end the first one's Services are as they were.
func TestBlueGreen(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		app, client := newApp(aDeployment(), aPod("app-a", ready), aPod("app-b", ready), aPod("app-c", ready),
			aService("app", "app"), aService("app-internal", "app"), aService("others", "others"))
		app.services = []string{"app", "app-internal", "others"}
		deploying(t, client)
		ctx := t.Context()
		require.ErrorContains(t, app.SwitchServices(ctx), "nothing to switch them to")
		require.ErrorContains(t, app.ScaleFirstDown(ctx), "no Service was switched")
		require.NoError(t, app.DeploySecond(ctx))
		pods, err := app.Pods(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"app-a", "app-b", "app-c"}, pods, "the app is what it was")
		d, err := client.AppsV1().Deployments(namespace).Get(ctx, "app-second", metav1.GetOptions{})
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"app": "app-second"}, d.Spec.Selector.MatchLabels)
		assert.Equal(t, map[string]string{"app": "app-second", ownLabel: ownApp}, d.Spec.Template.Labels)
		assert.Equal(t, "app", selected(t, client, "app"))

		require.NoError(t, app.SwitchServices(ctx))
		assert.Equal(t, []string{"app-second", "app-second", "others"},
			[]string{selected(t, client, "app"), selected(t, client, "app-internal"), selected(t, client, "others")})
		pods, err = app.Pods(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"app-second-a", "app-second-b", "app-second-c"}, pods)
		own, err := app.selected(ctx, ownSelector)
		require.NoError(t, err)
		assert.Len(t, own, 6, "both are observed")

		require.NoError(t, app.ScaleFirstDown(ctx))
		first, err := client.AppsV1().Deployments(namespace).Get(ctx, "app", metav1.GetOptions{})
		require.NoError(t, err)
		assert.Zero(t, *first.Spec.Replicas)
		began := time.Now()
		for i, name := range []string{"app-a", "app-b", "app-c"} {
			time.AfterFunc(time.Duration(i+3)*sec, func() { assert.NoError(t, client.Tracker().Delete(podsGVR, namespace, name)) })
		}
		require.NoError(t, app.WaitReplaced(ctx))
		assert.Equal(t, 5*sec, time.Since(began).Truncate(sec), "until the first one's Pods are gone")

		for range 2 {
			require.NoError(t, app.Restore(ctx))
			assert.Equal(t, "app", selected(t, client, "app"))
			assert.Equal(t, "app", selected(t, client, "app-internal"))
			own, err = app.selected(ctx, ownSelector)
			require.NoError(t, err)
			assert.Empty(t, own)
			_, err = client.AppsV1().Deployments(namespace).Get(ctx, "app-second", metav1.GetOptions{})
			require.ErrorContains(t, err, "not found")
		}
	})
}

// TestSwitchByHalves: Services that were switched before one failed are switched back.
func TestSwitchByHalves(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		app, client := newApp(aDeployment(), aPod("app-a", ready), aPod("app-b", ready), aPod("app-c", ready), aService("app", "app"))
		app.services = []string{"app", "missing"}
		deploying(t, client)
		require.NoError(t, app.DeploySecond(t.Context()))
		require.ErrorContains(t, app.SwitchServices(t.Context()), "wait for Service missing to be switched: ")
		assert.Equal(t, "app-second", selected(t, client, "app"))
		pods, err := app.Pods(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"app-a", "app-b", "app-c"}, pods, "the app is what it was")

		app.services = app.services[:1] // it has come back
		for range 2 {
			require.NoError(t, app.Restore(t.Context()))
			assert.Equal(t, "app", selected(t, client, "app"))
			_, err = client.AppsV1().Deployments(namespace).Get(t.Context(), "app-second", metav1.GetOptions{})
			require.ErrorContains(t, err, "not found")
		}
	})
}

// TestOtherApp: it is like the app but for its answers, nobody takes its Pods for the app's, and both are rolled at once.
func TestOtherApp(t *testing.T) {
	app, client := newApp(aDeployment(), aPod("app-a", ready), aPod("app-b", ready), aPod("app-c", ready))
	deploying(t, client)
	ctx := t.Context()
	require.ErrorContains(t, app.ChangeBoth(ctx), "there is no other")
	require.NoError(t, app.DeployOther(ctx))
	get := func(name string) *appsv1.Deployment {
		d, err := client.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		require.NoError(t, err)
		return d
	}
	other := get("app-other").Spec.Template
	assert.Equal(t, map[string]string{"app": "app-other", ownLabel: otherApp}, other.Labels)
	assert.Equal(t, []string{"-on-sigterm=shutdown", "-stranger"}, other.Spec.Containers[0].Args)
	own, err := app.selected(ctx, ownSelector)
	require.NoError(t, err)
	assert.Equal(t, []string{"app-a", "app-b", "app-c"}, own, "it isn't observed")

	require.NoError(t, app.ChangeBoth(ctx))
	for _, name := range []string{"app", "app-other"} {
		assert.NotEmpty(t, get(name).Spec.Template.Annotations[releaseKey], name)
	}
	require.NoError(t, app.Restore(ctx))
	all, err := app.selected(ctx, ownLabel)
	require.NoError(t, err)
	assert.Equal(t, own, all)
}

// TestOnlyDeploymentsTwice: a copy of what gives its Pods names of its own would not be one.
func TestOnlyDeploymentsTwice(t *testing.T) {
	app, _ := newWorkload(t, "StatefulSet", aStatefulSet(appsv1.StatefulSetStatus{}))
	require.ErrorIs(t, app.DeploySecond(t.Context()), errDeployment)
	require.ErrorIs(t, app.DeployOther(t.Context()), errDeployment)
}

// TestSelectorIsRestored: a Service that a killed run has left switched is as it is to be with the next one.
func TestSelectorIsRestored(t *testing.T) {
	app, client := newApp(aService("app", "app-second"))
	service := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "app"},
		"spec": map[string]any{"selector": map[string]any{"app": "app"}},
	}}
	objects, err := app.cluster.locate([]*unstructured.Unstructured{service})
	require.NoError(t, err)
	for range 2 {
		_, err = objects[0].apply(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "app", selected(t, client, "app"))
	}
	assert.Equal(t, []string{"patch services"}, actions(client))
}

// TestDeployWithTemplate: what a disruption needs of the Pod template is there from the beginning, with the cluster's own images.
func TestDeployWithTemplate(t *testing.T) {
	client := fake.NewSimpleClientset()
	controllers := runControllers(t, client)
	controllers.nodePort = serve(t, controllers.names, nil)
	c := newCluster(client, Config{Address: "localhost", AppImage: "registry.example/sampleapp:1"})
	(&proxy{app: controllers.names}).listen(t, c)
	app, err := c.Deploy(t.Context(), find(t, "prestop-sleep", "restart-all-containers"), t.TempDir())
	require.NoError(t, err)
	assert.Equal(t, 15*sec, app.Delay())
	d, err := client.AppsV1().Deployments(namespace).Get(t.Context(), "app", metav1.GetOptions{})
	require.NoError(t, err)
	require.Len(t, d.Spec.Template.Spec.Containers, 2)
	for _, container := range d.Spec.Template.Spec.Containers {
		assert.Equal(t, "registry.example/sampleapp:1", container.Image)
	}
	assert.Equal(t, "app", app.container)
	assert.Equal(t, ownApp, d.Spec.Template.Labels[ownLabel])
	assert.Equal(t, ownApp, d.Labels[ownLabel])
}
