package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/zerodrop/zerodrop/e2e/internal/harness"
	"github.com/zerodrop/zerodrop/e2e/internal/observe"
	"github.com/zerodrop/zerodrop/scenarios"
)

// releaseKey is the annotation of the Pod template that changes with a new release.
const releaseKey = observe.ReleaseKey

// render puts a scenario's strategy on its workload, or on the one that is asked for. manifest is what
// is deployed.
func (a *App) render(s scenarios.Scenario) (manifest *unstructured.Unstructured, err error) {
	rendered, err := s.Render(a.cluster.config.Workload)
	if err != nil {
		return nil, err
	}
	for i := range rendered.Template.Spec.Containers {
		if image := a.cluster.config.AppImage; image != "" && s.Own == nil {
			rendered.Template.Spec.Containers[i].Image = image
		}
	}
	rendered.Template.Labels = labels.Merge(rendered.Template.Labels, labels.Set{ownLabel: ownApp})
	selector, err := metav1.LabelSelectorAsSelector(rendered.Selector)
	if err == nil && selector.String() == "" {
		err = errors.New("is empty: it would select every Pod")
	}
	if err != nil {
		return nil, fmt.Errorf("selector of the workload: %w", err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(rendered.Object)
	if err != nil {
		return nil, fmt.Errorf("workload: %w", err)
	}
	manifest = &unstructured.Unstructured{Object: content}
	// The workload itself is found by the selector, too, when the next run removes it.
	a.matched = rendered.Selector.MatchLabels
	manifest.SetLabels(labels.Merge(manifest.GetLabels(), labels.Merge(a.matched, labels.Set{ownLabel: ownApp})))
	located, err := a.cluster.locate([]*unstructured.Unstructured{manifest})
	if err != nil {
		return nil, err
	}
	a.workload, a.selector, a.container = located[0], selector.String(), rendered.App().Name
	a.replicas, a.grace = rendered.Replicas, rendered.Grace()
	a.stopSignal = nil
	if l := rendered.App().Lifecycle; l != nil {
		a.stopSignal = l.StopSignal
	}
	return manifest, nil
}

// removeOld takes the app of an earlier run away, whatever held its Pods, and what a disruption has
// left of it under other labels. ReplicaSets would make new Pods for those that are deleted; the
// garbage collector finds them, too, a second later.
func (a *App) removeOld(ctx context.Context) error {
	held := []string{
		"deployments.v1.apps", "statefulsets.v1.apps", "daemonsets.v1.apps", "replicasets.v1.apps", "pods.v1.",
	}
	if a.cluster.deployed["argo-rollouts"] != nil { // else there is no such kind
		held = slices.Insert(held, 0, "rollouts.v1alpha1.argoproj.io")
	}
	for _, selector := range []string{a.selector, ownLabel} {
		err := a.cluster.removeSelected(ctx, "the app before to go", selector, held...)
		if err != nil {
			return err
		}
	}
	return nil
}

// removeSelected takes what a run has left away, at once: nobody measures how that goes. Owners are
// named before what they own, which may be there alone, if a removal was cut off.
func (c *Cluster) removeSelected(ctx context.Context, what, selector string, resources ...string) error {
	atOnce := metav1.DeleteOptions{
		GracePeriodSeconds: new(int64(0)), PropagationPolicy: new(metav1.DeletePropagationBackground),
	}
	selected := metav1.ListOptions{LabelSelector: selector}
	return poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
		var left []string
		for _, name := range resources {
			resource, _ := schema.ParseResourceArg(name)
			api := c.dynamic.Resource(*resource).Namespace(c.namespace)
			list, err := api.List(ctx, selected)
			if err == nil && len(list.Items) > 0 {
				left = append(left, fmt.Sprintf("%d %s are there", len(list.Items), resource.Resource))
				err = api.DeleteCollection(ctx, atOnce, selected)
			}
			if err != nil {
				return "", err
			}
		}
		return strings.Join(left, ", "), nil
	})
}

// ChangeTemplate changes the Pod template and waits until the workload is complete, as kubectl
// rollout status does.
func (a *App) ChangeTemplate(ctx context.Context) error {
	if err := a.BeginChange(ctx); err != nil {
		return err
	}
	return poll(ctx, a.replaceWithin(), "the rollout", a.rolledOut)
}

// BeginChange changes the Pod template, and waits for nothing.
func (a *App) BeginChange(ctx context.Context) error {
	if a.cluster.config.Live != nil {
		return a.restartLive(ctx)
	}
	return a.patchTemplate(ctx, types.MergePatchType,
		`{"spec": {"template": {"metadata": {"annotations": {%q: %q}}}}}`, releaseKey)
}

// patchTemplate changes the Pod template by a patch, which is a format for args and, behind them, for
// the name of the release.
func (a *App) patchTemplate(ctx context.Context, kind types.PatchType, format string, args ...any) error {
	var patch []byte
	// An API server that restarts just now is waited for, as everywhere.
	err := poll(ctx, deployWithin, "the Pod template to change", func(ctx context.Context) (string, error) {
		if patch == nil { // a second patch is the same: the answer to the first may have been lost, and not the change
			present, err := a.workload.get(ctx)
			if err != nil {
				return "", err
			}
			before, _, err := unstructured.NestedMap(present.Object, "spec", "template")
			if err != nil {
				return "", fmt.Errorf("%w: read the Pod template: %w", errPermanent, err)
			}
			a.before, a.release = before, strconv.FormatInt(present.GetGeneration()+1, 10)
			patch = fmt.Appendf(nil, format, append(args, a.release)...)
		}
		_, err := a.workload.api.Patch(ctx, a.workload.GetName(), kind, patch, metav1.PatchOptions{})
		return "", err
	})
	if err != nil {
		return fmt.Errorf("change the Pod template: %w", err)
	}
	return nil
}

// replaceWithin is how long it may take until all Pods are replaced: a StatefulSet and a DaemonSet
// wait for each to be gone before they make the next.
func (a *App) replaceWithin() time.Duration {
	within := deployWithin
	if a.cluster.config.Live != nil { // it may start as slowly as it likes
		within = harness.ProgressWithin
	}
	return within + time.Duration(a.replicas)*a.grace
}

// rolledOut says what the workload lacks to be complete.
func (a *App) rolledOut(ctx context.Context) (string, error) {
	_, missing, err := a.progress(ctx)
	return missing, err
}

// awaitReplicas waits until it is known how many Pods there will be, where the cluster decides
// that.
func (a *App) awaitReplicas(ctx context.Context) error {
	return poll(ctx, deployWithin, "the number of Pods", func(ctx context.Context) (string, error) {
		if a.replicas > 0 {
			return "", nil
		}
		want, missing, err := a.progress(ctx)
		if a.replicas = want; want > 0 || err != nil {
			return "", err
		}
		return cmp.Or(missing, fmt.Sprintf("the %s asks for none", a.workload.GetKind())), nil
	})
}

// progress returns how many Pods the workload asks for and what it lacks to be complete, by the
// rules of kubectl rollout status. kubectl's own are in a package that brings 20 modules.
func (a *App) progress(ctx context.Context) (want int, missing string, err error) {
	present, err := a.workload.get(ctx)
	if err != nil {
		return 0, "", err
	}
	return rollout(present)
}

// rollout is progress of any workload.
func rollout(present *unstructured.Unstructured) (want int, missing string, err error) {
	var w struct {
		Spec   struct{ Replicas int }
		Status struct {
			ObservedGeneration                                              json.Number // of a Rollout it is text
			Replicas, UpdatedReplicas, AvailableReplicas                    int         // of a Deployment, a StatefulSet
			DesiredNumberScheduled, UpdatedNumberScheduled, NumberAvailable int         // of a DaemonSet
			CurrentPodHash, Message                                         string      // of a Rollout
			BlueGreen                                                       struct{ ActiveSelector string }
		}
	}
	raw, err := present.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(raw, &w)
	}
	if err != nil {
		return 0, "", fmt.Errorf("read the status of %s %s: %w", present.GetKind(), present.GetName(), err)
	}
	s := w.Status
	want, updated, available := w.Spec.Replicas, s.UpdatedReplicas, s.AvailableReplicas
	if present.GetKind() == "DaemonSet" {
		want, updated, available = s.DesiredNumberScheduled, s.UpdatedNumberScheduled, s.NumberAvailable
	}
	observed, _ := s.ObservedGeneration.Int64() // 0 before the controller has written any
	switch {
	case observed < present.GetGeneration():
		return 0, fmt.Sprintf("the %s's controller has not seen the change", present.GetKind()), nil
	case updated < want:
		missing = fmt.Sprintf("%d of %d Pods are of the new template", updated, want)
	case s.Replicas > s.UpdatedReplicas:
		missing = fmt.Sprintf("%d Pods of an old template are there", s.Replicas-s.UpdatedReplicas)
	case available < want:
		missing = fmt.Sprintf("%d of %d Pods are available", available, want)
	case s.BlueGreen.ActiveSelector != s.CurrentPodHash:
		missing = "the Service has not been switched to the new Pods"
	}
	if missing != "" && s.Message != "" {
		missing += ": " + s.Message
	}
	return want, missing, nil
}
