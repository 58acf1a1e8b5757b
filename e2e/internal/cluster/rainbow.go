package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// colour is the app as the Deployment of a colour makes it, which has the colour behind its name, in the
// labels of its Pods, and as their release. Several may be asked at the same time; what is done to the
// answer is not done to the app.
func (a *App) colour(name string) (*App, error) {
	a.keepFirst()
	if name == scenarios.FirstColour {
		first := *a.first
		return &first, nil
	}
	c, err := a.first.sibling(name)
	if err == nil {
		err = unstructured.SetNestedField(
			c.workload.Object, name, "spec", "template", "metadata", "annotations", releaseKey,
		)
	}
	return c, err
}

// DeployColour makes the Deployment of a colour and waits until its Pods are ready. No Service selects
// them.
func (a *App) DeployColour(ctx context.Context, colour string) error {
	c, err := a.colour(colour)
	if err == nil {
		err = c.start(ctx)
	}
	if err != nil {
		return fmt.Errorf("deploy colour %s: %w", colour, err)
	}
	return nil
}

// brokenWithin is the progressDeadlineSeconds of a colour that never gets ready.
const brokenWithin = 10

// BreakColour makes the Deployment of a colour whose Pods never get ready, and waits until it says that it
// makes no progress.
func (a *App) BreakColour(ctx context.Context, colour string) error {
	c, err := a.colour(colour)
	if err == nil {
		err = breakReadiness(c.workload.Unstructured)
	}
	if err == nil {
		_, err = c.workload.create(ctx)
	}
	if err == nil {
		err = c.WaitStuck(ctx)
	}
	if err != nil {
		return fmt.Errorf("deploy colour %s, which is not to get ready: %w", colour, err)
	}
	return nil
}

// breakReadiness has the readiness probe of a Deployment's Pods ask for what the app doesn't have.
func breakReadiness(o *unstructured.Unstructured) error {
	containers, app, err := containersOf(o)
	if err != nil {
		return err
	}
	app["readinessProbe"] = map[string]any{
		"httpGet": map[string]any{"path": "/never-ready", "port": "http"}, "periodSeconds": int64(1),
	}
	if err := unstructured.SetNestedSlice(o.Object, containers, "spec", "template", "spec", "containers"); err != nil {
		return err
	}
	return unstructured.SetNestedField(o.Object, int64(brokenWithin), "spec", "progressDeadlineSeconds")
}

// SwitchTo has all Services select the Pods of a colour, which is the app from then on.
func (a *App) SwitchTo(ctx context.Context, colour string) error {
	c, err := a.colour(colour)
	if err == nil {
		err = a.switchTo(ctx, c)
	}
	if err != nil {
		return fmt.Errorf("switch to colour %s: %w", colour, err)
	}
	return nil
}

// Work asks each Pod of a colour how much work it has, but for those that are on their way out.
func (a *App) Work(ctx context.Context, colour string) (map[string]int, error) {
	c, err := a.colour(colour)
	if err != nil {
		return nil, fmt.Errorf("ask the Pods of colour %s for their work: %w", colour, err)
	}
	var work map[string]int
	what := "the Pods of colour " + colour + " to say how much work they have"
	err = poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, answerWithin)
		defer cancel()
		pods, err := c.Pods(ctx)
		if err != nil {
			return "", err
		}
		work = map[string]int{}
		for _, pod := range pods {
			var has protocol.Busy
			if err := a.ask(ctx, pod, protocol.PathBusy, &has); err != nil { // it may have gone meanwhile
				return "", err
			}
			work[pod] = has.Work
		}
		return "", nil
	})
	return work, err
}

// StopTasks has the Pods of a colour take no further task.
func (a *App) StopTasks(ctx context.Context, colour string) error {
	var pods []string
	c, err := a.colour(colour)
	if err == nil {
		pods, err = c.Pods(ctx)
	}
	for _, pod := range pods {
		if err == nil {
			err = a.order(ctx, pod, protocol.Port, protocol.PathDrain, nil, nil)
		}
	}
	if err != nil {
		return fmt.Errorf("have colour %s take no further task: %w", colour, err)
	}
	return nil
}

// SetDeletionCosts says of Pods what their deletion costs: of several, a ReplicaSet that has too many
// deletes the one that costs least.
func (a *App) SetDeletionCosts(ctx context.Context, costs map[string]int) error {
	for _, pod := range slices.Sorted(maps.Keys(costs)) {
		patch := fmt.Appendf(nil, `{"metadata": {"annotations": {%q: %q}}}`,
			corev1.PodDeletionCost, strconv.Itoa(costs[pod]))
		err := poll(ctx, deployWithin, "Pod "+pod+" to have a deletion cost", func(ctx context.Context) (string, error) {
			_, err := a.cluster.pods().Patch(ctx, pod, types.MergePatchType, patch, metav1.PatchOptions{})
			if apierrors.IsNotFound(err) { // nobody has to choose it any more
				err = nil
			}
			return "", err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ScaleColour asks for fewer replicas of a colour, and waits until its Deployment has taken note.
func (a *App) ScaleColour(ctx context.Context, colour string, replicas int) error {
	c, err := a.colour(colour)
	if err == nil {
		err = c.ScaleDown(ctx, replicas)
	}
	if err != nil {
		return fmt.Errorf("scale colour %s to %d: %w", colour, replicas, err)
	}
	return nil
}

// RemoveColour waits until a colour that was scaled to zero has no Pods, and removes its Deployment.
func (a *App) RemoveColour(ctx context.Context, colour string) error {
	c, err := a.colour(colour)
	if err == nil {
		err = poll(ctx, c.replaceWithin(), "its Pods to be gone", func(ctx context.Context) (string, error) {
			_, all, err := c.count(ctx)
			if err != nil || all == 0 {
				return "", err
			}
			return fmt.Sprintf("%d are there", all), nil
		})
	}
	if err == nil {
		err = c.workload.remove(ctx)
	}
	if err != nil {
		return fmt.Errorf("remove colour %s: %w", colour, err)
	}
	return nil
}
