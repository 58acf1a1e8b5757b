package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// BreakTemplate changes the Pod template to one whose Pods never get ready: their readiness probe asks
// for what the app doesn't have.
func (a *App) BreakTemplate(ctx context.Context) error {
	const patch = `{"spec": {"template": {"spec": {"containers": [{"name": %q, "readinessProbe": ` +
		`{"httpGet": {"path": "/never-ready", "port": "http"}, "periodSeconds": 1}}]}, ` +
		`"metadata": {"annotations": {%q: %q}}}}}`
	return a.patchTemplate(ctx, types.StrategicMergePatchType, patch, a.container, releaseKey)
}

// WaitMidway waits until a Pod of the new template is ready and one of the old is terminating, or
// gone. The rollout of one replica has no such middle: its old Pod goes when all is done.
func (a *App) WaitMidway(ctx context.Context) error {
	if a.replicas < 2 {
		return fmt.Errorf("wait for the middle of the rollout: %d replica has none", a.replicas)
	}
	return poll(ctx, deployWithin, "the middle of the rollout", func(ctx context.Context) (string, error) {
		pods, err := a.cluster.pods().List(ctx, metav1.ListOptions{LabelSelector: a.selector})
		if err != nil {
			return "", err
		}
		ready, old := 0, 0
		for i := range pods.Items {
			switch p := &pods.Items[i]; {
			case p.DeletionTimestamp != nil:
			case p.Annotations[releaseKey] != a.release:
				old++
			case observe.Ready(p):
				ready++
			}
		}
		switch {
		case old == 0:
			return "", fmt.Errorf("%w: no Pod of the old template stays", errPermanent)
		case ready == 0 || old >= a.replicas:
			return fmt.Sprintf("%d new Pods are ready, %d of %d old ones stay", ready, old, a.replicas), nil
		}
		return "", nil
	})
}

// WaitStuck waits until the Deployment says that its rollout makes no progress. Other kinds don't say
// such a thing.
func (a *App) WaitStuck(ctx context.Context) error {
	const want = "ProgressDeadlineExceeded"
	return poll(ctx, deployWithin, "the rollout to be given up", func(ctx context.Context) (string, error) {
		present, err := a.workload.get(ctx)
		if err != nil {
			return "", err
		}
		if present.GetKind() != "Deployment" {
			return "", fmt.Errorf("%w: a %s has no progress deadline", errPermanent, present.GetKind())
		}
		observed, _, _ := unstructured.NestedInt64(present.Object, "status", "observedGeneration")
		conditions, _, _ := unstructured.NestedSlice(present.Object, "status", "conditions")
		reason := "no word of its progress"
		for _, c := range conditions {
			if c, ok := c.(map[string]any); ok && c["type"] == "Progressing" {
				reason = fmt.Sprint(c["reason"])
			}
		}
		if reason != want || observed < present.GetGeneration() {
			return reason, nil
		}
		return "", nil
	})
}

// RollBack puts the Pod template before the last change back, as kubectl rollout undo does, and waits
// until the workload is complete. Without a change it does nothing.
func (a *App) RollBack(ctx context.Context) error {
	if a.before == nil {
		return nil
	}
	patch, err := json.Marshal([]any{map[string]any{"op": "replace", "path": "/spec/template", "value": a.before}})
	if err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	if err := a.patchWorkload(ctx, "the Pod template to be rolled back", types.JSONPatchType, patch); err != nil {
		return err
	}
	a.before = nil
	return poll(ctx, a.replaceWithin(), "the rollback", a.rolledOut)
}

// ScaleDown asks for fewer replicas, and waits until the workload has taken note. From then on that
// many are what others wait for.
func (a *App) ScaleDown(ctx context.Context, replicas int) error {
	if a.replicas <= replicas {
		return fmt.Errorf("scale down to %d replicas: there are %d", replicas, a.replicas)
	}
	const what = "the workload to be scaled down"
	patch := fmt.Appendf(nil, `{"spec": {"replicas": %d}}`, replicas)
	if err := a.patchWorkload(ctx, what, types.MergePatchType, patch); err != nil {
		return err
	}
	a.replicas = replicas
	return poll(ctx, deployWithin, what, a.rolledOut)
}

// patchWorkload changes the workload. A field that its kind doesn't have is an error.
func (a *App) patchWorkload(ctx context.Context, what string, kind types.PatchType, patch []byte) error {
	strict := metav1.PatchOptions{FieldValidation: metav1.FieldValidationStrict}
	return poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
		_, err := a.workload.api.Patch(ctx, a.workload.GetName(), kind, patch, strict)
		return "", err
	})
}

// DeletePodNow deletes a Pod with a grace period of 0: the object is gone at once, and its node ends
// the process.
func (a *App) DeletePodNow(ctx context.Context, name string) error {
	return a.deletePod(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
}

// EvictPod evicts a Pod through the API. The answer 429 says that a budget forbids it for now: it is
// tried again, as kubectl drain does.
func (a *App) EvictPod(ctx context.Context, name string) error {
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: a.cluster.namespace}}
	evictions := a.cluster.client.PolicyV1().Evictions(a.cluster.namespace)
	lost := false // an answer
	return poll(ctx, deployWithin, "Pod "+name+" to be evicted", func(ctx context.Context) (string, error) {
		err := evictions.Evict(ctx, eviction)
		switch {
		case apierrors.IsTooManyRequests(err):
			cause, _ := apierrors.StatusCause(err, policyv1.DisruptionBudgetCause) // names the budget
			return strings.TrimSpace(err.Error() + " " + cause.Message), nil
		case apierrors.IsNotFound(err) && lost:
			return "", nil
		case !apierrors.IsNotFound(err):
			lost = err != nil
		}
		return "", err
	})
}

// Reasons that the kubelet gives for the failure of a Pod that it has ended.
const (
	deadlineExceeded = "DeadlineExceeded"
	evicted          = "Evicted"
)

// ExpirePod gives a Pod a deadline of one second after its start. It has passed: a template can't have
// one, but Pods can be given one. The Pod is gone when this returns.
func (a *App) ExpirePod(ctx context.Context, name string) error {
	patch := []byte(`{"spec": {"activeDeadlineSeconds": 1}}`)
	what := "Pod " + name + " to get a deadline"
	err := poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
		_, err := a.cluster.pods().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
		return "", err
	})
	if err != nil {
		return err
	}
	return a.removeFailed(ctx, name, deadlineExceeded, deployWithin)
}

// evictedWithin is how long it may take until the kubelet evicts a Pod for the size of its volume. It
// measures volumes every one to two minutes, the first time up to one minute after a Pod's start, and
// looks at what it has measured every ten seconds.
const evictedWithin = 3 * time.Minute

// OverfillPod has a Pod write so many bytes to its volume, and waits until its node has evicted it for
// that. The Pod is gone when this returns.
func (a *App) OverfillPod(ctx context.Context, name string, size int) error {
	if err := a.order(ctx, name, protocol.Port, protocol.PathFill, make([]byte, size), nil); err != nil {
		return fmt.Errorf("fill the volume of Pod %s: %w", name, err)
	}
	return a.removeFailed(ctx, name, evicted, evictedWithin)
}

// removeFailed waits until a Pod has failed for a reason, and removes it: its object would stay, beside
// the replacement, as nobody has deleted it.
func (a *App) removeFailed(ctx context.Context, name, reason string, within time.Duration) error {
	return poll(ctx, within, "Pod "+name+" to fail and be removed", func(ctx context.Context) (string, error) {
		p, err := a.cluster.pods().Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return "", nil
		case err != nil:
			return "", err
		case p.Status.Phase == corev1.PodSucceeded && reason == evicted:
			// Its process has ended by itself in the time that it was given, and the kubelet forgets why it had to.
		case p.Status.Phase != corev1.PodFailed:
			return fmt.Sprintf("it is %s", p.Status.Phase), nil
		case p.Status.Reason != reason:
			return "", fmt.Errorf("%w: it has failed for another reason than %s: %s %s",
				errPermanent, reason, p.Status.Reason, p.Status.Message)
		}
		err = a.cluster.pods().Delete(ctx, name, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			err = nil
		}
		return "it has ended, and is there", err
	})
}
