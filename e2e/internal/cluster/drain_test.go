package cluster

import (
	"context"
	"slices"
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

// byNode has lists of Pods be of the node that is asked for, which a fake client doesn't do.
func byNode(t *testing.T, client *fake.Clientset) {
	t.Helper()
	client.PrependReactor("list", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		node, asked := a.(clienttesting.ListAction).GetListRestrictions().Fields.RequiresExactMatch("spec.nodeName")
		if !asked {
			return false, nil, nil
		}
		list, err := client.Tracker().List(podsGVR, corev1.SchemeGroupVersion.WithKind("Pod"), a.GetNamespace())
		require.NoError(t, err)
		pods := list.(*corev1.PodList).DeepCopy()
		pods.Items = slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.Spec.NodeName != node })
		return true, pods, nil
	})
}

// aBudgetForbids is an eviction's answer as the API server gives it.
func aBudgetForbids() error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: policyv1.DisruptionBudgetCause, Message: "The disruption budget app needs 3 healthy pods and has 3 currently",
	}}
	return err
}

// TestDrain: the app's Pods on the node are evicted, and nobody else's; it takes as long as a budget
// has it take, and the node can be used again afterwards, whatever came of it.
func TestDrain(t *testing.T) {
	byDaemonSet := func(p *corev1.Pod) { p.OwnerReferences[0].Kind, p.OwnerReferences[0].Name = "DaemonSet", "app" }
	withData := func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	}
	elsewhere := func(p *corev1.Pod) { p.Namespace = "kube-system" }
	granted := func(time.Duration) error { return nil }
	const (
		forbidden = "drain node n1: wait for Pod app-a to be evicted: not within 2m0s: Cannot evict pod as it would violate the pod's disruption budget. " +
			"The disruption budget app needs 3 healthy pods and has 3 currently"
		nobodys = "drain node n1: cannot delete Pods that declare no controller (use --force to override): zerodrop-test/app-a"
	)
	two := []runtime.Object{aPod("app-a", ready, on("n1")), aPod("app-b", ready, on("n1"))}
	tests := []struct {
		name   string
		pods   []runtime.Object
		answer func(since time.Duration) error // to evictions
		node   string
		left   []string
		took   time.Duration
		want   string // error
	}{
		{"granted", two, granted, "n1", []string{"app-z"}, 0, ""},
		{"with data", []runtime.Object{aPod("app-a", ready, on("n1"), withData)}, granted, "n1", []string{"app-z"}, 0, ""},
		{
			"others stay", append([]runtime.Object{
				aPod("other", on("n1"), foreign), aPod("coredns", on("n1"), foreign, elsewhere), aPod("kindnet", on("n1"), foreign, elsewhere, byDaemonSet),
			}, two...), granted, "n1", []string{"app-z", "other"}, 0, "",
		},
		{"forbidden for a while", two, func(since time.Duration) error {
			if since < 7*sec {
				return aBudgetForbids()
			}
			return nil
		}, "n1", []string{"app-z"}, 7 * sec, ""},
		{"forbidden for ever", two[:1], func(time.Duration) error { return aBudgetForbids() }, "n1", []string{"app-a", "app-z"}, 120 * sec, forbidden},
		{"the API server is away", two[:1], func(time.Duration) error { return errDown }, "n1", []string{"app-a", "app-z"}, 15 * sec, "drain node n1: wait for Pod app-a to be evicted: " + errDown.Error()},
		{"nothing there", nil, granted, "n1", []string{"app-z"}, 0, "drain node n1: no Pod of the app can be evicted there"},
		{"a DaemonSet's", []runtime.Object{aPod("app-a", ready, on("n1"), byDaemonSet)}, granted, "n1", []string{"app-a", "app-z"}, 0, "drain node n1: no Pod of the app can be evicted there"},
		{"nobody's", []runtime.Object{aPod("app-a", ready, func(p *corev1.Pod) { p.Spec.NodeName = "n1" })}, granted, "n1", []string{"app-a", "app-z"}, 0, nobodys},
		{"no such node", two, granted, "n9", []string{"app-a", "app-b", "app-z"}, 0, `wait for node n9 to be cordoned: permanent failure: nodes "n9" not found`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				daemonSet := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: namespace}}
				app, client := newApp(append([]runtime.Object{
					aNode("n1", corev1.ConditionTrue), aNode("n2", corev1.ConditionTrue), aPod("app-z", ready, on("n2")), daemonSet,
				}, tt.pods...)...)
				byNode(t, client)
				began := time.Now()
				evictionsOf(t, client, func(int) error { return tt.answer(time.Since(began)) })
				err := app.Drain(t.Context(), tt.node)
				if tt.want == "" {
					require.NoError(t, err)
				} else {
					require.EqualError(t, err, tt.want)
				}
				assert.Equal(t, tt.took, time.Since(began).Truncate(sec))
				pods, err := client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
				require.NoError(t, err)
				var left []string
				for _, p := range pods.Items {
					left = append(left, p.Name)
				}
				assert.ElementsMatch(t, tt.left, left)
				if tt.node == "n1" {
					assert.Equal(t, []string{"n1"}, cordoned(t, client))
				}
				require.NoError(t, app.RestoreNodes(t.Context()))
				assert.Empty(t, cordoned(t, client))
			})
		})
	}
}

func cordoned(t *testing.T, client *fake.Clientset) []string {
	t.Helper()
	nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	var out []string
	for _, n := range nodes.Items {
		if n.Spec.Unschedulable {
			out = append(out, n.Name)
		}
	}
	return out
}

// TestDrainEndsWithTheRun: one that a budget blocks ends when the run does, with all of its evictions.
func TestDrainEndsWithTheRun(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		app, client := newApp(aNode("n1", corev1.ConditionTrue), aPod("app-a", ready, on("n1")), aPod("app-b", ready, on("n1")))
		byNode(t, client)
		evictionsOf(t, client, func(int) error { return aBudgetForbids() })
		ctx, cancel := context.WithTimeoutCause(t.Context(), 5*sec, errUser)
		defer cancel()
		err := app.Drain(ctx, "n1")
		require.ErrorIs(t, err, errUser)
		require.ErrorContains(t, err, "The disruption budget app needs 3 healthy pods")
		require.NoError(t, app.RestoreNodes(t.Context()))
		assert.Empty(t, cordoned(t, client))
	})
}

// TestCordon: an API server that can't for a moment is asked again, and the answer that was lost does no
// harm; what could not be done is told.
func TestCordon(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		app, client := newApp(aNode("n1", corev1.ConditionTrue))
		asked := 0
		client.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
			asked++
			return asked == 1, nil, errDown
		})
		require.NoError(t, app.Cordon(t.Context(), "n1"))
		assert.Equal(t, []string{"n1"}, cordoned(t, client))
		refuse(client, "patch", "nodes", errDown)
		require.ErrorContains(t, app.RestoreNodes(t.Context()), "wait for node n1 to be uncordoned: ")
		assert.Len(t, app.nodes.undo, 1, "it can be tried again")
	})
}
