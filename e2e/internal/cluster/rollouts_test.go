package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// errBudget is the answer to an eviction that a budget forbids.
var errBudget = apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)

// evictionsOf has answer say what becomes of each eviction: it is done if that is nil.
func evictionsOf(t *testing.T, client *fake.Clientset, answer func(n int) error) *int {
	t.Helper()
	asked := 0
	client.PrependReactor("create", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		require.Equal(t, "eviction", a.GetSubresource())
		asked++
		eviction := a.(clienttesting.CreateAction).GetObject().(*policyv1.Eviction)
		if err := answer(asked); err != nil {
			return true, nil, err
		}
		return true, nil, client.Tracker().Delete(podsGVR, namespace, eviction.Name)
	})
	return &asked
}

// TestEvictPod: an eviction that a budget forbids is none. It is tried again, and if that is in vain, the
// budget's word is told.
func TestEvictPod(t *testing.T) {
	const what = "wait for Pod app-a to be evicted: "
	forbidden := func(since time.Time, d time.Duration) func(int) error {
		return func(int) error {
			if time.Since(since) < d {
				return errBudget
			}
			return nil
		}
	}
	tests := []struct {
		name   string
		answer func(since time.Time) func(n int) error
		took   time.Duration
		gone   bool
		want   string
	}{
		{"granted", func(time.Time) func(int) error { return func(int) error { return nil } }, 0, true, ""},
		{"forbidden for a while", func(since time.Time) func(int) error { return forbidden(since, 20*sec) }, 20 * sec, true, ""},
		{
			"forbidden for ever", func(since time.Time) func(int) error { return forbidden(since, time.Hour) }, 120 * sec, false,
			what + "not within 2m0s: Cannot evict pod as it would violate the pod's disruption budget.",
		},
		{"an API server that is away", func(time.Time) func(int) error { return func(int) error { return errDown } }, 15 * sec, false, what + errDown.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				app, client := newApp(aPod("app-a", ready))
				since := time.Now()
				evictionsOf(t, client, tt.answer(since))
				err := app.EvictPod(t.Context(), "app-a")
				if tt.want == "" {
					require.NoError(t, err)
				} else {
					require.EqualError(t, err, tt.want)
				}
				assert.Equal(t, tt.took, time.Since(since).Truncate(sec))
				pods, err := app.Pods(t.Context())
				require.NoError(t, err)
				assert.Equal(t, tt.gone, len(pods) == 0)
			})
		})
	}
	t.Run("until the run is over", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			app, client := newApp(aPod("app-a", ready))
			evictionsOf(t, client, func(int) error { return errBudget })
			ctx, cancel := context.WithTimeoutCause(t.Context(), 5*sec, errUser)
			defer cancel()
			require.EqualError(t, app.EvictPod(ctx, "app-a"), what+"stopped by the user: "+errBudget.Error())
		})
	})
	t.Run("the answer is lost", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			app, client := newApp(aPod("app-a", ready))
			asked := evictionsOf(t, client, func(n int) error {
				if n == 1 {
					require.NoError(t, client.Tracker().Delete(podsGVR, namespace, "app-a"))
					return errDown
				}
				return apierrors.NewNotFound(podsGVR.GroupResource(), "app-a")
			})
			require.NoError(t, app.EvictPod(t.Context(), "app-a"))
			assert.Equal(t, 2, *asked)
		})
	})
	t.Run("a Pod that isn't there", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			app, client := newApp()
			evictionsOf(t, client, func(int) error { return apierrors.NewNotFound(podsGVR.GroupResource(), "app-a") })
			require.EqualError(t, app.EvictPod(t.Context(), "app-a"), what+`pods "app-a" not found`)
		})
	})
}

func TestDeletePodNow(t *testing.T) {
	app, client := newApp(aPod("app-a", ready))
	client.PrependReactor("delete", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		assert.Equal(t, new(int64(0)), a.(clienttesting.DeleteActionImpl).DeleteOptions.GracePeriodSeconds)
		return false, nil, nil
	})
	require.NoError(t, app.DeletePodNow(t.Context(), "app-a"))
	assert.Equal(t, []string{"delete pods"}, actions(client))
}

// TestScaleDown: from then on fewer Pods are waited for.
func TestScaleDown(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		app, client := newApp(aDeployment(), aPod("a", ready), aPod("b", ready), aPod("c", ready))
		require.NoError(t, app.ScaleDown(t.Context(), 1))
		assert.Equal(t, 1, app.Replicas())
		d, err := client.AppsV1().Deployments(namespace).Get(t.Context(), "app", metav1.GetOptions{})
		require.NoError(t, err)
		assert.Equal(t, new(int32(1)), d.Spec.Replicas)
		d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas = 1, 1, 1
		require.NoError(t, client.Tracker().Update(deploymentsGVR, d, namespace))

		began := time.Now()
		time.AfterFunc(5*sec, func() { assert.NoError(t, client.Tracker().Delete(podsGVR, namespace, "b")) })
		time.AfterFunc(9*sec, func() { assert.NoError(t, client.Tracker().Delete(podsGVR, namespace, "c")) })
		require.NoError(t, app.WaitReady(t.Context()))
		assert.Zero(t, time.Since(began))
		require.NoError(t, app.WaitStable(t.Context()))
		assert.Equal(t, 9*sec, time.Since(began).Truncate(sec))

		require.EqualError(t, app.ScaleDown(t.Context(), 1), "scale down to 1 replicas: there are 1")
		app.replicas = 3
		refuse(client, "patch", "deployments", errDown)
		require.ErrorContains(t, app.ScaleDown(t.Context(), 1), "wait for the workload to be scaled down: ")
		assert.Equal(t, 3, app.Replicas(), "as many are still asked for")
	})
}

// aRelease has a Deployment's Pods have a template as a strategy gives it.
func aRelease(d *appsv1.Deployment) {
	d.Spec.Template.Annotations = map[string]string{"a": "b"}
	d.Spec.Template.Spec.Containers = []corev1.Container{{
		Name: "app", Image: "sampleapp",
		ReadinessProbe: &corev1.Probe{
			ProbeHandler:     corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz"}},
			FailureThreshold: 1, PeriodSeconds: 2,
		},
	}}
}

// TestRollBack: what was changed of the template is taken back, all of it, once.
func TestRollBack(t *testing.T) {
	for name, change := range map[string]func(*App, context.Context) error{
		"a release":                 (*App).BeginChange,
		"one that is never ready":   (*App).BreakTemplate,
		"one that was waited for":   (*App).ChangeTemplate,
		"one whose answer was lost": (*App).BeginChange,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				app, client := newApp(aDeployment(aRelease))
				template := func() corev1.PodTemplateSpec {
					d, err := client.AppsV1().Deployments(namespace).Get(t.Context(), "app", metav1.GetOptions{})
					require.NoError(t, err)
					return d.Spec.Template
				}
				before := template()
				require.NoError(t, app.RollBack(t.Context()), "there is nothing to be taken back")
				assert.Empty(t, actions(client))

				lost := name == "one whose answer was lost"
				client.PrependReactor("patch", "deployments", func(clienttesting.Action) (bool, runtime.Object, error) {
					handled := lost
					lost = false
					return handled, nil, errDown
				})
				require.NoError(t, change(app, t.Context()))
				assert.Equal(t, "5", template().Annotations[releaseKey])
				assert.Equal(t, "5", app.release)
				assert.Equal(t, "b", template().Annotations["a"])
				assert.Equal(t, "sampleapp", template().Spec.Containers[0].Image)

				require.NoError(t, app.RollBack(t.Context()))
				assert.Equal(t, before, template())
				client.ClearActions()
				require.NoError(t, app.RollBack(t.Context()), "once more")
				assert.Empty(t, actions(client))
			})
		})
	}
	t.Run("fails", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			app, client := newApp(aDeployment(aRelease))
			require.NoError(t, app.BeginChange(t.Context()))
			refuse(client, "patch", "deployments", errDown)
			require.ErrorContains(t, app.RollBack(t.Context()), "wait for the Pod template to be rolled back: ")
			assert.NotNil(t, app.before, "it can be tried again")
		})
	})
}

// TestBreakTemplate: the readiness probe asks for what isn't there, and the rest of it stays.
func TestBreakTemplate(t *testing.T) {
	app, client := newApp(aDeployment(aRelease))
	require.NoError(t, app.BreakTemplate(t.Context()))
	d, err := client.AppsV1().Deployments(namespace).Get(t.Context(), "app", metav1.GetOptions{})
	require.NoError(t, err)
	require.Len(t, d.Spec.Template.Spec.Containers, 1)
	probe := d.Spec.Template.Spec.Containers[0].ReadinessProbe
	assert.Equal(t, "/never-ready", probe.HTTPGet.Path)
	assert.Equal(t, "http", probe.HTTPGet.Port.StrVal)
	assert.EqualValues(t, 1, probe.FailureThreshold)
	refuse(client, "get", "deployments", apierrors.NewUnauthorized("no"))
	inBubble(t, func(t *testing.T) {
		require.ErrorContains(t, app.BreakTemplate(t.Context()), "change the Pod template: wait for the Pod template to change: ")
	})
}

func TestWaitMidway(t *testing.T) {
	released := func(p *corev1.Pod) { p.Annotations = map[string]string{releaseKey: "5"} }
	earlier := func(p *corev1.Pod) { p.Annotations = map[string]string{releaseKey: "4"} }
	old := []runtime.Object{aPod("a", ready), aPod("b", ready, earlier), aPod("c", ready)}
	tests := []struct {
		name string
		pods []runtime.Object
		want string // what is missing; empty for nothing
	}{
		{"no new one", old, "stopped by the user: 0 new Pods are ready, 3 of 3 old ones stay"},
		{"a new one that isn't ready", append([]runtime.Object{aPod("d", unready, released)}, old[:2]...), "stopped by the user: 0 new Pods are ready, 2 of 3 old ones stay"},
		{"a new one, and nothing has gone", append([]runtime.Object{aPod("d", ready, released)}, old...), "stopped by the user: 1 new Pods are ready, 3 of 3 old ones stay"},
		{"an old one is gone", append([]runtime.Object{aPod("d", ready, released)}, old[:2]...), ""},
		{"an old one terminates", append([]runtime.Object{aPod("d", ready, released), aPod("e", ready, terminating)}, old[:2]...), ""},
		{"the new one terminates", append([]runtime.Object{aPod("d", ready, released, terminating)}, old[:2]...), "stopped by the user: 0 new Pods are ready, 2 of 3 old ones stay"},
		{"it is over", []runtime.Object{aPod("d", ready, released), aPod("e", ready, terminating)}, "permanent failure: no Pod of the old template stays"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				app, _ := newApp(tt.pods...)
				app.release = "5"
				ctx, cancel := context.WithTimeoutCause(t.Context(), sec, errUser)
				defer cancel()
				err := app.WaitMidway(ctx)
				if tt.want == "" {
					require.NoError(t, err)
					return
				}
				require.EqualError(t, err, "wait for the middle of the rollout: "+tt.want)
			})
		})
	}
	app, _ := newApp()
	app.replicas = 1
	require.EqualError(t, app.WaitMidway(t.Context()), "wait for the middle of the rollout: 1 replica has none")
}

func TestWaitStuck(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		progress := func(reason string, observed int64) *appsv1.Deployment {
			return aDeployment(func(d *appsv1.Deployment) {
				d.Status.ObservedGeneration = observed
				d.Status.Conditions = []appsv1.DeploymentCondition{
					{Type: appsv1.DeploymentAvailable, Reason: "MinimumReplicasAvailable"}, {Type: appsv1.DeploymentProgressing, Reason: reason},
				}
			})
		}
		app, client := newApp(progress("ProgressDeadlineExceeded", 3)) // of the change before
		began := time.Now()
		for at, d := range map[time.Duration]*appsv1.Deployment{
			2 * sec: progress("ReplicaSetUpdated", 4), 12 * sec: progress("ProgressDeadlineExceeded", 4),
		} {
			time.AfterFunc(at, func() { assert.NoError(t, client.Tracker().Update(deploymentsGVR, d, namespace)) })
		}
		require.NoError(t, app.WaitStuck(t.Context()))
		assert.Equal(t, 12*sec, time.Since(began).Truncate(sec))
		require.NoError(t, client.Tracker().Update(deploymentsGVR, aDeployment(), namespace))
		require.EqualError(t, app.WaitStuck(t.Context()), "wait for the rollout to be given up: not within 2m0s: no word of its progress")
	})
	app, _ := newWorkload(t, "StatefulSet", aStatefulSet(appsv1.StatefulSetStatus{}))
	require.EqualError(t, app.WaitStuck(t.Context()), "wait for the rollout to be given up: permanent failure: a StatefulSet has no progress deadline")
}

// TestRemoveFailed: a Pod that its node has ended is removed, whatever ended it; one that has failed for
// another reason is none of the disruption's.
func TestRemoveFailed(t *testing.T) {
	failed := func(reason string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.Phase, p.Status.Reason, p.Status.Message = corev1.PodFailed, reason, "as it says"
		}
	}
	verbs := []struct {
		name   string
		do     func(*App, context.Context) error
		reason string
		within string
	}{
		{"ExpirePod", func(a *App, ctx context.Context) error { return a.ExpirePod(ctx, "app-a") }, "DeadlineExceeded", "2m0s"},
		{"OverfillPod", func(a *App, ctx context.Context) error { return a.OverfillPod(ctx, "app-a", 3) }, "Evicted", "3m0s"},
	}
	const what = "wait for Pod app-a to fail and be removed: "
	for _, verb := range verbs {
		tests := []struct {
			name  string
			after *corev1.Pod // 40 s; nil: it is gone
			want  string
		}{
			{"it fails", aPod("app-a", failed(verb.reason)), ""},
			{"somebody else removes it", nil, ""},
			{"it fails otherwise", aPod("app-a", failed("NodeShutdown")), what + "permanent failure: it has failed for another reason than " + verb.reason + ": NodeShutdown as it says"},
			{"it goes on", aPod("app-a", running), what + "not within " + verb.within + ": it is Running"},
		}
		for _, tt := range tests {
			t.Run(verb.name+"/"+tt.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					var filled []byte
					p := &proxy{broken: map[string]http.HandlerFunc{"app-a": func(_ http.ResponseWriter, r *http.Request) {
						assert.Equal(t, http.MethodPost, r.Method)
						assert.Contains(t, r.URL.Path, ":8080/proxy/fill")
						filled, _ = io.ReadAll(r.Body)
					}}}
					app, client := newProxied(p, aPod("app-a", running), aPod("app-b", running))
					began := time.Now()
					time.AfterFunc(40*sec, func() {
						if tt.after == nil {
							assert.NoError(t, client.Tracker().Delete(podsGVR, namespace, "app-a"))
							return
						}
						assert.NoError(t, client.Tracker().Update(podsGVR, tt.after, namespace))
					})
					err := verb.do(app, t.Context())
					if tt.want != "" {
						require.EqualError(t, err, tt.want)
						return
					}
					require.NoError(t, err)
					assert.Equal(t, 40*sec, time.Since(began).Truncate(sec))
					pods, err := app.Pods(t.Context())
					require.NoError(t, err)
					assert.Equal(t, []string{"app-b"}, pods)
					assert.Equal(t, verb.name == "OverfillPod", len(filled) == 3)
				})
			})
		}
	}
}

// TestExpirePod: it is the Pod that gets the deadline; a template can't have one.
func TestExpirePod(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		app, client := newApp(aPod("app-a", running))
		ctx, cancel := context.WithTimeoutCause(t.Context(), sec, errUser)
		defer cancel()
		require.ErrorIs(t, app.ExpirePod(ctx, "app-a"), errUser)
		p, err := client.CoreV1().Pods(namespace).Get(t.Context(), "app-a", metav1.GetOptions{})
		require.NoError(t, err)
		assert.Equal(t, new(int64(1)), p.Spec.ActiveDeadlineSeconds)
		require.EqualError(t, app.ExpirePod(t.Context(), "app-z"), `wait for Pod app-z to get a deadline: pods "app-z" not found`)
	})
}

func TestOverfillPodFails(t *testing.T) {
	app, client := newProxied(&proxy{}, aPod("app-a", running))
	require.ErrorContains(t, app.OverfillPod(t.Context(), "app-a", 3),
		"fill the volume of Pod app-a: wait for the order /fill to be taken: permanent failure: 404 Not Found: no such thing: POST ")
	app.cluster.server = "://"
	require.ErrorContains(t, app.OverfillPod(t.Context(), "app-a", 3), "fill the volume of Pod app-a: ")
	assert.Empty(t, actions(client))
}

// TestRenderForDisruption: a disruption's workload is what is deployed, whatever the suite runs on,
// with its patch and its arguments.
func TestRenderForDisruption(t *testing.T) {
	for disruption, want := range map[string]string{
		"statefulset-rolling-update": "StatefulSet app 3", "daemonset-rolling-update": "DaemonSet app 0", "rolling-update-quarter": "Deployment app 4",
		"rolling-update": "Deployment app 3",
	} {
		app, _ := newApp()
		manifest, err := app.render(find(t, "prestop-sleep", disruption))
		require.NoError(t, err)
		assert.Equal(t, want, fmt.Sprintf("%s %s %d", manifest.GetKind(), manifest.GetName(), app.Replicas()))
		assert.Equal(t, "app=app", app.selector)
	}
	app, _ := newApp()
	app.cluster.config.Workload = "statefulset"
	manifest, err := app.render(find(t, "prestop-sleep", "rolling-update"))
	require.NoError(t, err)
	assert.Equal(t, "StatefulSet", manifest.GetKind())
	_, err = app.render(find(t, "prestop-sleep", "rolling-update-quarter"))
	require.ErrorContains(t, err, "patch workload statefulset with strategy prestop-sleep: ")
}
