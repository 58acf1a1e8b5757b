package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

const (
	// ownLabel is on every Pod that is made of the app's template, and on what holds it, whatever
	// Services select them by. So those are found, too, that a disruption has taken out of them.
	ownLabel    = "zerodrop.dev/app"
	ownApp      = "app"
	otherApp    = "other" // the value for an app that is another one
	ownSelector = ownLabel + "=" + ownApp

	// Suffixes of the labels, and of the workloads' names, that nothing selects at first.
	isolatedSuffix = "isolated"
	secondSuffix   = "second"
)

// The container beside the app whose end starts all containers of a Pod again
// (scenarios/disruption_inplace.go).
const (
	besidePort  = 8081
	restartCode = 42
)

// siblings is what disruptions make beside the app, and what they have to know of it for that.
type siblings struct {
	delay   time.Duration     // of the strategy
	matched map[string]string // the labels that Services and the workload select its Pods by
	first   *App              // that Services select as they were made; nil before there is something to switch them to
	second  *App              // that they are to be switched to
	// switched are the labels that Services were to select instead since then.
	switched []map[string]string
	other    *App // another app
}

// Delay is how long a Pod with the app's strategy serves on after its deletion.
func (a *App) Delay() time.Duration { return a.delay }

// FailLiveness has a Pod fail its liveness probe, and waits until its container was started again and
// the Pod is ready.
func (a *App) FailLiveness(ctx context.Context, pod string) error {
	return a.restart(ctx, pod, protocol.Port, protocol.PathFail+"?"+protocol.ParamProbe+"="+protocol.ProbeLive)
}

// RestartContainers ends the container beside the app's with the code on which all of the Pod are
// started again, and waits until the app's was and the Pod is ready.
func (a *App) RestartContainers(ctx context.Context, pod string) error {
	return a.restart(ctx, pod, besidePort, fmt.Sprintf("%s?%s=%d", protocol.PathExit, protocol.ParamCode, restartCode))
}

// restart gives an order and waits for what comes of it.
func (a *App) restart(ctx context.Context, pod string, port int, order string) error {
	before, err := a.containerIn(ctx, pod)
	if err == nil {
		err = a.order(ctx, pod, port, order, nil, func(ctx context.Context) bool {
			now, err := a.containerIn(ctx, pod)
			return err == nil && now.id != before.id
		})
	}
	if err != nil {
		return fmt.Errorf("restart Pod %s in place: %w", pod, err)
	}
	what := "Pod " + pod + " to be restarted in place"
	return poll(ctx, a.replaceWithin(), what, func(ctx context.Context) (string, error) {
		now, err := a.containerIn(ctx, pod)
		switch {
		case apierrors.IsNotFound(err):
			return "", fmt.Errorf("%w: %w", errPermanent, err)
		case err != nil:
			return "", err
		case now.id == "":
			return "its container doesn't run", nil
		case now.id == before.id:
			return "its container is the same", nil
		case !now.ready:
			return "it is not ready", nil
		}
		return "", nil
	})
}

// FailReadiness has a Pod fail its readiness probe for a time, and waits until the Pod was unready and
// is ready again.
func (a *App) FailReadiness(ctx context.Context, pod string, d time.Duration) error {
	now, err := a.containerIn(ctx, pod)
	if err == nil && !now.probed {
		err = errors.New("has no readiness probe to fail")
	}
	if err == nil {
		err = a.order(ctx, pod, protocol.Port, fmt.Sprintf("%s?%s=%s&%s=%s",
			protocol.PathFail, protocol.ParamProbe, protocol.ProbeReady, protocol.ParamFor, d), nil, nil)
	}
	if err != nil {
		return fmt.Errorf("take Pod %s's readiness away: %w", pod, err)
	}
	wasUnready := false
	what := "Pod " + pod + " to be unready, and ready again"
	return poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
		now, err := a.containerIn(ctx, pod)
		switch {
		case apierrors.IsNotFound(err):
			return "", fmt.Errorf("%w: %w", errPermanent, err)
		case err != nil:
			return "", err
		case !now.ready:
			wasUnready = true
			return "it is unready", nil
		case !wasUnready:
			return "it was ready all the time", nil
		}
		return "", nil
	})
}

// appContainer is the app's container in a Pod.
type appContainer struct {
	id     string // empty for one that doesn't run
	ready  bool   // the Pod is
	probed bool   // it has a readiness probe
}

// containerIn looks at the app's container in a Pod.
func (a *App) containerIn(ctx context.Context, pod string) (appContainer, error) {
	p, err := a.cluster.pods().Get(ctx, pod, metav1.GetOptions{})
	if err != nil {
		return appContainer{}, err
	}
	out := appContainer{ready: observe.Ready(p)}
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == a.container && c.State.Running != nil {
			out.id = c.ContainerID
		}
	}
	out.probed = slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool {
		return c.Name == a.container && c.ReadinessProbe != nil
	})
	return out, nil
}

// order gives an order to the sample app in a Pod, through the API server. One that doesn't come through is
// given again, unless obeyed, which may be nil, says that its answer alone was lost.
func (a *App) order(
	ctx context.Context, pod string, port int, path string, body []byte, obeyed func(context.Context) bool,
) error {
	given := false
	return poll(ctx, deployWithin, "the order "+path+" to be taken", func(ctx context.Context) (string, error) {
		if given && obeyed != nil && obeyed(ctx) {
			return "", nil
		}
		given = true
		return "", a.post(ctx, pod, port, path, body)
	})
}

// post is order, once. What the app itself refuses is a permanent failure.
func (a *App) post(ctx context.Context, pod string, port int, path string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.cluster.proxyURL(a.cluster.namespace, pod, port)+path,
		bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %w", errPermanent, err)
	}
	resp, err := a.cluster.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	why, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // only for the error
	switch {
	case resp.StatusCode >= http.StatusInternalServerError:
		return fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(why)))
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%w: %s: %s", errPermanent, resp.Status, strings.TrimSpace(string(why)))
	}
	return nil
}

// Isolate changes a Pod's labels to such that nothing selects. Its ReplicaSet lets go of it, and makes
// another.
func (a *App) Isolate(ctx context.Context, pod string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": suffixed(a.matched, isolatedSuffix)}})
	if err != nil {
		return fmt.Errorf("isolate Pod %s: %w", pod, err)
	}
	return poll(ctx, deployWithin, "Pod "+pod+" to be isolated", func(ctx context.Context) (string, error) {
		_, err := a.cluster.pods().Patch(ctx, pod, types.MergePatchType, patch, metav1.PatchOptions{})
		if apierrors.IsNotFound(err) {
			err = fmt.Errorf("%w: %w", errPermanent, err)
		}
		return "", err
	})
}

// suffixed are the labels with other values.
func suffixed(matched map[string]string, suffix string) map[string]string {
	out := map[string]string{}
	for key, value := range matched {
		out[key] = value + "-" + suffix
	}
	return out
}

// errDeployment is the guarantee that nothing is copied whose Pods depend on its name.
var errDeployment = errors.New("only a Deployment can be there twice")

// sibling is the app as a workload of another name makes it, which isn't there yet. Nothing selects
// its Pods: their labels have other values.
func (a *App) sibling(suffix string) (*App, error) {
	o := a.workload.DeepCopy()
	if o.GetKind() != "Deployment" {
		return nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), errDeployment)
	}
	matched := suffixed(a.matched, suffix)
	o.SetName(o.GetName() + "-" + suffix)
	o.SetLabels(labels.Merge(o.GetLabels(), matched))
	for _, path := range [][]string{{"spec", "selector", "matchLabels"}, {"spec", "template", "metadata", "labels"}} {
		present, _, err := unstructured.NestedStringMap(o.Object, path...)
		if err == nil {
			err = unstructured.SetNestedStringMap(o.Object, labels.Merge(present, matched), path...)
		}
		if err != nil {
			return nil, fmt.Errorf("copy %s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	s := *a
	s.workload, s.selector = object{o, a.workload.api}, labels.SelectorFromSet(matched).String()
	s.siblings = siblings{delay: a.delay, matched: matched}
	return &s, nil
}

// start makes the workload of a sibling and waits until its Pods are ready.
func (a *App) start(ctx context.Context) error {
	if _, err := a.workload.create(ctx); err != nil {
		return err
	}
	return a.WaitStable(ctx)
}

// DeploySecond makes another Deployment of the app's template and waits until its Pods are ready. No
// Service selects them.
func (a *App) DeploySecond(ctx context.Context) (err error) {
	if a.second, err = a.sibling(secondSuffix); err == nil {
		err = a.second.start(ctx)
	}
	if err != nil {
		return fmt.Errorf("deploy the app a second time: %w", err)
	}
	return nil
}

// SwitchServices has all Services select the Pods of the second Deployment, which is the app from then
// on.
func (a *App) SwitchServices(ctx context.Context) error {
	if a.second == nil {
		return errors.New("switch Services: there is nothing to switch them to")
	}
	return a.switchTo(ctx, a.second)
}

// switchTo has all Services select the Pods of a sibling, which is the app from then on.
func (a *App) switchTo(ctx context.Context, next *App) error {
	a.keepFirst()
	a.switched = append(a.switched, next.matched) // before it is done: Restore takes back what was done by halves, too
	if err := a.reselect(ctx, next.matched, a.matched); err != nil {
		return err
	}
	a.workload, a.selector, a.matched = next.workload, next.selector, next.matched
	return nil
}

// keepFirst remembers the app as it was deployed.
func (a *App) keepFirst() {
	if a.first == nil {
		first := *a
		a.first = &first
	}
}

// reselect has the Services that select Pods by some labels, of several, select others. None is an error.
func (a *App) reselect(ctx context.Context, to map[string]string, from ...map[string]string) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"selector": to}})
	if err != nil {
		return fmt.Errorf("switch Services: %w", err)
	}
	services := a.cluster.client.CoreV1().Services(a.cluster.namespace)
	switched := 0
	for _, name := range a.services {
		err := poll(ctx, deployWithin, "Service "+name+" to be switched", func(ctx context.Context) (string, error) {
			service, err := services.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return "", err
			}
			selects := labels.Set(service.Spec.Selector)
			ours := func(from map[string]string) bool { return labels.SelectorFromSet(from).Matches(selects) }
			switch {
			case labels.SelectorFromSet(to).Matches(selects): // the answer to the change may have been lost
			case !slices.ContainsFunc(from, ours):
				return "", nil // it selects by something else
			default:
				_, err = services.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
			}
			if err == nil {
				switched++
			}
			return "", err
		})
		if err != nil {
			return err
		}
	}
	if switched == 0 {
		return fmt.Errorf("switch Services: none of %v selects Pods by %v", a.services, from)
	}
	return nil
}

// ScaleFirstDown takes the Pods away that Services selected before they were switched.
func (a *App) ScaleFirstDown(ctx context.Context) error {
	if a.first == nil {
		return errors.New("scale the first Deployment down: no Service was switched to another")
	}
	first := a.first.workload
	return poll(ctx, deployWithin, "the first Deployment to be scaled down", func(ctx context.Context) (string, error) {
		none := []byte(`{"spec": {"replicas": 0}}`)
		_, err := first.api.Patch(ctx, first.GetName(), types.MergePatchType, none, metav1.PatchOptions{})
		return "", err
	})
}

// DeployOther makes an app beside this one whose answers are another's, with the same strategy, and
// waits until its Pods are ready.
func (a *App) DeployOther(ctx context.Context) (err error) {
	if a.other, err = a.sibling(otherApp); err == nil {
		if err = estrange(a.other.workload.Unstructured); err == nil {
			err = a.other.start(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("deploy another app: %w", err)
	}
	return nil
}

// estrange makes another app of a copy of the app: by what it answers, and for who observes the app.
func estrange(o *unstructured.Unstructured) error {
	containers, app, err := containersOf(o)
	if err != nil {
		return err
	}
	if _, ok := app["command"]; ok {
		return errors.New("it has a command, and its arguments are not the app's")
	}
	args, _, err := unstructured.NestedStringSlice(app, "args")
	if err != nil {
		return err
	}
	if err := unstructured.SetNestedStringSlice(app, append(args, "-stranger"), "args"); err != nil {
		return err
	}
	if err := unstructured.SetNestedSlice(o.Object, containers, "spec", "template", "spec", "containers"); err != nil {
		return err
	}
	return unstructured.SetNestedField(o.Object, otherApp, "spec", "template", "metadata", "labels", ownLabel)
}

// containersOf are those of a workload's Pod template, and the app's of them.
func containersOf(o *unstructured.Unstructured) (all []any, app map[string]any, err error) {
	all, _, err = unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return nil, nil, err
	}
	app, ok := all[0].(map[string]any) // the first one is the app's
	if !ok {
		return nil, nil, errors.New("its first container is none")
	}
	return all, app, nil
}

// ChangeBoth changes the Pod templates of the app and of the other app at the same time.
func (a *App) ChangeBoth(ctx context.Context) error {
	if a.other == nil {
		return errors.New("change both apps: there is no other")
	}
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return a.ChangeTemplate(ctx) })
	both.Go(func() error {
		if err := a.other.ChangeTemplate(ctx); err != nil {
			return fmt.Errorf("the other app: %w", err)
		}
		return nil
	})
	return both.Wait()
}

// WaitReplaced waits until the app is stable and no Pod of it is there that Services don't select any
// more.
func (a *App) WaitReplaced(ctx context.Context) error {
	if err := a.WaitStable(ctx); err != nil {
		return err
	}
	left := metav1.ListOptions{LabelSelector: ownSelector + unselected(a.matched)}
	const what = "Pods that have left their Services to be gone"
	return poll(ctx, a.replaceWithin(), what, func(ctx context.Context) (string, error) {
		list, err := a.cluster.pods().List(ctx, left)
		if err != nil || len(list.Items) == 0 {
			return "", err
		}
		return fmt.Sprintf("%d are there", len(list.Items)), nil
	})
}

// unselected continues a selector: without those that have one of the labels.
func unselected(matched map[string]string) string {
	var out strings.Builder
	for _, key := range slices.Sorted(maps.Keys(matched)) {
		fmt.Fprintf(&out, ",%s!=%s", key, matched[key])
	}
	return out.String()
}

// Restore has Services select the Pods that they were made for, and takes away, at once, what was made
// beside the app, and isolated Pods. It may be called more than once.
func (a *App) Restore(ctx context.Context) error {
	var err error
	original := a
	if a.first != nil {
		original = a.first
		if err = a.reselect(ctx, original.matched, a.switched...); err == nil {
			a.workload, a.selector, a.matched = original.workload, original.selector, original.matched
			a.first = nil
		}
	}
	// Owners before what they own.
	return errors.Join(err, a.cluster.removeSelected(ctx, "what was made beside the app to go",
		ownLabel+unselected(original.matched), "deployments.v1.apps", "replicasets.v1.apps", "pods.v1."))
}
