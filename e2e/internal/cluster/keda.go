package cluster

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/zerodrop/zerodrop/fixtures"
)

// withCertificates are a component's objects, where Secrets have the certificate that they ask for: a
// new one, which vouches for itself.
func withCertificates(objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	out := slices.Clone(objects)
	for i, o := range out {
		host := o.GetAnnotations()[fixtures.CertificateAnnotation]
		if host == "" {
			continue
		}
		made, err := newCertificate(host, time.Now())
		if err != nil {
			return nil, err
		}
		data := map[string]any{}
		for name, content := range map[string][]byte{
			"ca.crt": made.pem, "tls.crt": made.pem, "tls.key": made.all[len(made.pem):],
		} {
			data[name] = base64.StdEncoding.EncodeToString(content)
		}
		out[i] = o.DeepCopy()
		out[i].Object["data"] = data
	}
	return out, nil
}

// scaling is the ScaledObject of the app, which the disruption has among its objects.
func (a *App) scaling() (object, error) {
	i := slices.IndexFunc(a.cluster.added, func(o object) bool {
		return o.GetKind() == "ScaledObject" && o.GetName() == a.workload.GetName()
	})
	if i < 0 {
		return object{}, fmt.Errorf("%s %s has no ScaledObject", a.workload.GetKind(), a.workload.GetName())
	}
	return a.cluster.added[i], nil
}

// ChangeScaling changes the app's ScaledObject by a JSON merge patch.
func (a *App) ChangeScaling(ctx context.Context, patch string) error {
	scaled, err := a.scaling()
	if err != nil {
		return fmt.Errorf("change the scaling: %w", err)
	}
	return poll(ctx, deployWithin, "the ScaledObject to be changed", func(ctx context.Context) (string, error) {
		_, err := scaled.api.Patch(ctx, scaled.GetName(), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return "", err
	})
}

// WaitScaling waits until KEDA says of the app's ScaledObject that a condition holds, or doesn't.
func (a *App) WaitScaling(ctx context.Context, condition string, holds bool) error {
	scaled, err := a.scaling()
	if err != nil {
		return fmt.Errorf("wait for KEDA: %w", err)
	}
	want := map[bool]metav1.ConditionStatus{true: metav1.ConditionTrue, false: metav1.ConditionFalse}[holds]
	what := fmt.Sprintf("KEDA to say that %s is %s", condition, want)
	return poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
		now, err := scaled.get(ctx)
		if err != nil {
			return "", err
		}
		conditions, _, _ := unstructured.NestedSlice(now.Object, "status", "conditions")
		for _, c := range conditions {
			c, ok := c.(map[string]any)
			switch {
			case !ok || c["type"] != condition:
			case c["status"] == string(want):
				return "", nil
			default:
				return fmt.Sprintf("it is %v: %v", c["status"], c["message"]), nil
			}
		}
		return "it says nothing of that", nil
	})
}

// WaitNone waits until no Pod of the app is there.
func (a *App) WaitNone(ctx context.Context) error {
	return poll(ctx, a.replaceWithin(), "all Pods to be gone", func(ctx context.Context) (string, error) {
		_, all, err := a.count(ctx)
		if err != nil || all == 0 {
			return "", err
		}
		return fmt.Sprintf("%d are there", all), nil
	})
}

// ScaleBack has the app have as many Pods as it was deployed with, and waits until they are ready.
func (a *App) ScaleBack(ctx context.Context) error {
	patch := fmt.Appendf(nil, `{"spec": {"replicas": %d}}`, a.replicas)
	if err := a.patchWorkload(ctx, "the workload to be scaled back", types.MergePatchType, patch); err != nil {
		return err
	}
	return a.WaitReady(ctx)
}

// AddScaling makes the objects by which KEDA scales a colour. They go with those of the disruption.
func (a *App) AddScaling(ctx context.Context, colour, text string) error {
	a.cluster.adding.Lock() // several colours may drain
	defer a.cluster.adding.Unlock()
	c, err := a.colour(colour)
	if err != nil {
		return err
	}
	selector, err := json.Marshal(c.matched)
	if err != nil {
		return fmt.Errorf("scale colour %s by KEDA: %w", colour, err)
	}
	filled := strings.NewReplacer("{workload}", c.workload.GetName(), "{selector}", string(selector),
		"{namespace}", a.cluster.namespace, "{replicas}", fmt.Sprint(c.replicas)).Replace(text)
	objects, err := fixtures.Objects([]byte(filled))
	if err != nil {
		return fmt.Errorf("scale colour %s by KEDA: %w", colour, err)
	}
	located, err := a.cluster.locate(objects)
	if err == nil {
		err = a.cluster.addObjects(ctx, located)
	}
	if err != nil {
		return fmt.Errorf("scale colour %s by KEDA: %w", colour, err)
	}
	return nil
}

// ScaledToZero says whether the Deployment of a colour asks for no Pod.
func (a *App) ScaledToZero(ctx context.Context, colour string) (zero bool, err error) {
	c, err := a.colour(colour)
	if err != nil {
		return false, err
	}
	err = poll(ctx, deployWithin, "the replicas of colour "+colour, func(ctx context.Context) (string, error) {
		now, err := c.workload.get(ctx)
		if err != nil {
			return "", err
		}
		replicas, found, err := unstructured.NestedInt64(now.Object, "spec", "replicas")
		zero = found && replicas == 0
		return "", err
	})
	return zero, err
}
