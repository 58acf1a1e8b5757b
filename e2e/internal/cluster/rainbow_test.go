package cluster

import (
	"net/http"
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
)

// colouring is an app of three Pods behind a Service, in a cluster that makes further Deployments.
func colouring(t *testing.T, p *proxy) (*App, *fake.Clientset) {
	t.Helper()
	app, client := newProxied(p, aDeployment(), aPod("app-a", ready), aPod("app-b", ready), aPod("app-c", ready), aService("app", "app"))
	deploying(t, client)
	return app, client
}

// TestColours: each is a Deployment of its own, and what Services select is the app.
func TestColours(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		app, client := colouring(t, &proxy{})
		ctx := t.Context()
		get := func(name string) (*appsv1.Deployment, error) {
			return client.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		}
		require.NoError(t, app.DeployColour(ctx, "red"))
		d, err := get("app-red")
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"app": "app-red"}, d.Spec.Selector.MatchLabels)
		assert.Equal(t, map[string]string{"app": "app-red", ownLabel: ownApp}, d.Spec.Template.Labels)
		assert.Equal(t, "red", d.Spec.Template.Annotations[releaseKey])
		assert.Equal(t, "app", selected(t, client, "app"))

		require.NoError(t, app.SwitchTo(ctx, "red"))
		assert.Equal(t, "app-red", selected(t, client, "app"))
		require.NoError(t, app.ScaleColour(ctx, "first", 2))
		require.NoError(t, app.DeployColour(ctx, "orange"), "as many as the app was deployed with, whatever is left of it")
		pods, err := app.Pods(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"app-red-a", "app-red-b", "app-red-c"}, pods)
		require.NoError(t, app.SwitchTo(ctx, "orange"))
		assert.Equal(t, "app-orange", selected(t, client, "app"))
		require.NoError(t, app.SwitchTo(ctx, "first"))
		assert.Equal(t, "app", selected(t, client, "app"), "and back")
		require.NoError(t, app.SwitchTo(ctx, "orange"))

		require.NoError(t, app.ScaleColour(ctx, "first", 0))
		began := time.Now()
		for i, name := range []string{"app-a", "app-b", "app-c"} {
			time.AfterFunc(time.Duration(i+3)*sec, func() { assert.NoError(t, client.Tracker().Delete(podsGVR, namespace, name)) })
		}
		require.NoError(t, app.RemoveColour(ctx, "first"))
		assert.Equal(t, 5*sec, time.Since(began).Truncate(sec), "until its Pods are gone")
		_, err = get("app")
		require.ErrorContains(t, err, "not found")
		_, err = get("app-red")
		require.NoError(t, err, "another colour")

		for range 2 {
			require.NoError(t, app.Restore(ctx))
			assert.Equal(t, "app", selected(t, client, "app"))
			own, err := app.selected(ctx, ownSelector)
			require.NoError(t, err)
			assert.Empty(t, own)
			for _, name := range []string{"app-red", "app-orange"} {
				_, err = get(name)
				require.ErrorContains(t, err, "not found")
			}
		}
	})
}

// TestColourNeverReady: no Service is switched, what there was stays, and what was made goes.
func TestColourNeverReady(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		app, client := colouring(t, &proxy{})
		broken := func(a clienttesting.Action) *appsv1.Deployment {
			return a.(clienttesting.CreateAction).GetObject().(*appsv1.Deployment)
		}
		client.PrependReactor("create", "deployments", func(a clienttesting.Action) (bool, runtime.Object, error) {
			d := broken(a)
			d.Status = appsv1.DeploymentStatus{
				Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Reason: "ProgressDeadlineExceeded"}},
			}
			return true, d, client.Tracker().Create(deploymentsGVR, d, namespace)
		})
		ctx := t.Context()
		require.ErrorContains(t, app.DeployColour(ctx, "red"), "deploy colour red: wait for new Pods to be ready and old ones to be gone: ")
		require.NoError(t, app.BreakColour(ctx, "orange"))
		d, err := client.AppsV1().Deployments(namespace).Get(ctx, "app-orange", metav1.GetOptions{})
		require.NoError(t, err)
		assert.Equal(t, "/never-ready", d.Spec.Template.Spec.Containers[0].ReadinessProbe.HTTPGet.Path)
		assert.Equal(t, int32(brokenWithin), *d.Spec.ProgressDeadlineSeconds)
		assert.Equal(t, "app", selected(t, client, "app"))
		require.NoError(t, app.RemoveColour(ctx, "orange"))
		require.NoError(t, app.Restore(ctx))
		own, err := app.selected(ctx, ownSelector)
		require.NoError(t, err)
		assert.Equal(t, []string{"app-a", "app-b", "app-c"}, own)
		_, err = client.AppsV1().Deployments(namespace).Get(ctx, "app-red", metav1.GetOptions{})
		require.ErrorContains(t, err, "not found")
	})
}

// TestWork: every Pod is asked that isn't on its way out, and one that doesn't answer is asked again.
func TestWork(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		asked := 0
		says := func(text string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if asked++; asked == 1 {
					http.Error(w, "not now", http.StatusServiceUnavailable)
					return
				}
				assert.Equal(t, "/api/v1/namespaces/"+namespace+"/pods/http:app-a:8080/proxy/busy", r.URL.Path)
				_, _ = w.Write([]byte(text))
			}
		}
		p := &proxy{broken: map[string]http.HandlerFunc{"app-a": says(`{"held": 3, "requests": 1, "work": 4}`)}}
		app, _ := newProxied(p, aDeployment(), aPod("app-a", ready), aPod("app-b", ready, terminating))
		work, err := app.Work(t.Context(), "first")
		require.NoError(t, err)
		assert.Equal(t, map[string]int{"app-a": 4}, work)
		work, err = app.Work(t.Context(), "red")
		require.NoError(t, err)
		assert.Empty(t, work, "it has no Pods")
	})
	inBubble(t, func(t *testing.T) {
		app, _ := newProxied(&proxy{}, aDeployment(), aPod("app-a", ready))
		_, err := app.Work(t.Context(), "first")
		require.ErrorContains(t, err, "wait for the Pods of colour first to say how much work they have: ask Pod app-a for /busy: 404 Not Found")
	})
}

// TestDeletionCosts: each Pod gets its own; one that has gone needs none.
func TestDeletionCosts(t *testing.T) {
	app, client := newApp(aPod("app-a", ready), aPod("app-b", ready))
	require.NoError(t, app.SetDeletionCosts(t.Context(), map[string]int{"app-a": 7, "app-b": 0, "app-c": 1}))
	for name, want := range map[string]string{"app-a": "7", "app-b": "0"} {
		p, err := client.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		assert.Equal(t, want, p.Annotations[corev1.PodDeletionCost])
	}
}

// TestOnlyDeploymentsHaveColours: a copy of what gives its Pods names of its own would not be one.
func TestOnlyDeploymentsHaveColours(t *testing.T) {
	app, _ := newWorkload(t, "StatefulSet", aStatefulSet(appsv1.StatefulSetStatus{}))
	require.ErrorIs(t, app.DeployColour(t.Context(), "red"), errDeployment)
	require.ErrorIs(t, app.BreakColour(t.Context(), "red"), errDeployment)
}
