package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/zerodrop/zerodrop/scenarios"
)

// object is one of any kind, and the place in the API where it is.
type object struct {
	*unstructured.Unstructured
	api dynamic.ResourceInterface
}

// locate asks the API where objects are and puts those of a namespaced kind into our namespace. Any
// other would be there for everybody: it is only for a cluster of zerodrop's own.
func (c *Cluster) locate(list []*unstructured.Unstructured) ([]object, error) {
	return c.locateIn(c.namespace, list)
}

func (c *Cluster) locateIn(namespace string, list []*unstructured.Unstructured) ([]object, error) {
	var out []object
	for _, o := range list {
		o, kind := o.DeepCopy(), o.GroupVersionKind()
		mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if meta.IsNoMatchError(err) { // a component may have defined the kind since the API was asked for all
			meta.MaybeResetRESTMapper(c.mapper)
			mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s %s: %w", kind.Kind, o.GetName(), err)
		case mapping.Scope.Name() == meta.RESTScopeNameNamespace:
			o.SetNamespace(namespace)
			out = append(out, object{o, c.dynamic.Resource(mapping.Resource).Namespace(namespace)})
		case c.Ours():
			out = append(out, object{o, c.dynamic.Resource(mapping.Resource)})
		default:
			return nil, fmt.Errorf("%s %s is in no namespace: it %w", kind.Kind, o.GetName(), scenarios.ErrNotOurs)
		}
	}
	return out, nil
}

// create makes the object. A field that its kind doesn't have is an error: it would do nothing,
// silently.
func (o object) create(ctx context.Context) (*unstructured.Unstructured, error) {
	made, err := o.api.Create(ctx, o.Unstructured, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		return nil, fmt.Errorf("create %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return made, nil
}

// get returns the object as it is now.
func (o object) get(ctx context.Context) (*unstructured.Unstructured, error) {
	return o.api.Get(ctx, o.GetName(), metav1.GetOptions{})
}

// apply makes the object unless the run before has, and returns it as it is now, with the annotations
// that it is to have, as programs read them, and a Service with the selector: a run that was killed
// may have left another.
func (o object) apply(ctx context.Context) (*unstructured.Unstructured, error) {
	present, err := o.get(ctx)
	switch {
	case apierrors.IsNotFound(err):
		return o.create(ctx)
	case err != nil:
		return nil, fmt.Errorf("look for %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	others := map[string]string{}
	for key, value := range o.GetAnnotations() {
		if present.GetAnnotations()[key] != value {
			others[key] = value
		}
	}
	changes := map[string]any{}
	if len(others) > 0 {
		changes["metadata"] = map[string]any{"annotations": others}
	}
	if selector := selectorOf(o.Unstructured); o.GetKind() == "Service" && !maps.Equal(selector, selectorOf(present)) {
		labels := map[string]any{}
		for key := range selectorOf(present) { // a merge patch keeps what it doesn't name, as what a controller has added
			labels[key] = nil
		}
		for key, value := range selector {
			labels[key] = value
		}
		changes["spec"] = map[string]any{"selector": labels}
	}
	if len(changes) == 0 {
		return present, nil
	}
	patch, err := json.Marshal(changes)
	if err == nil {
		present, err = o.api.Patch(ctx, o.GetName(), types.MergePatchType, patch, metav1.PatchOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("change %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return present, nil
}

// present is an object as it is now, which is made if it isn't there; in somebody else's namespace it has to be.
func (c *Cluster) present(ctx context.Context, o object) (*unstructured.Unstructured, error) {
	if c.config.Live == nil {
		return o.apply(ctx)
	}
	present, err := o.get(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return present, nil
}

// selectorOf are the labels of the Pods that a Service selects.
func selectorOf(service *unstructured.Unstructured) map[string]string {
	selector, _, _ := unstructured.NestedStringMap(service.Object, "spec", "selector")
	return selector
}

// replace makes the object, or makes what is there by its name what it is to be.
func (o object) replace(ctx context.Context) error {
	_, err := o.create(ctx)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	present, err := o.get(ctx)
	if err == nil {
		next := o.DeepCopy()
		next.SetResourceVersion(present.GetResourceVersion())
		_, err = o.api.Update(ctx, next, metav1.UpdateOptions{FieldValidation: metav1.FieldValidationStrict})
	}
	if err != nil {
		return fmt.Errorf("update %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return nil
}

// remove deletes the object, if it is there, and waits until it is gone.
func (o object) remove(ctx context.Context) error {
	what := fmt.Sprintf("%s %s to go", o.GetKind(), o.GetName())
	return poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
		err := o.api.Delete(ctx, o.GetName(), metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		return "it is there", err
	})
}

// retire takes away what consumers of runs before have had and these haven't: each Service is one
// more EndpointSlice to be written, and to be followed, at each change of a Pod.
func (c *Cluster) retire(ctx context.Context, keep []exposed) error {
	var kept []object
	for _, e := range keep {
		kept = append(kept, e.objects...)
	}
	if b := c.balancer; b != nil && c.kind.ended(ctx, *b) != nil { // nobody is left who lets go of a Service
		if err := c.removeFinalizers(ctx, c.namespace); err != nil {
			return err
		}
	}
	same := func(a, b object) bool { return a.GetKind() == b.GetKind() && a.GetName() == b.GetName() }
	for len(c.exposed) > 0 {
		last := c.exposed[len(c.exposed)-1]
		if !slices.ContainsFunc(kept, func(o object) bool { return same(o, last) }) {
			if err := last.remove(ctx); err != nil {
				return err
			}
		}
		c.exposed = c.exposed[:len(c.exposed)-1]
	}
	c.exposed = kept
	return nil
}

// addObjects makes what a disruption needs beside the app.
func (c *Cluster) addObjects(ctx context.Context, objects []object) error {
	for _, o := range objects {
		c.added = append(c.added, o) // also if the answer to its creation is lost
		if _, err := o.create(ctx); err != nil {
			return err
		}
	}
	return nil
}

// removeObjects takes back what addObjects has made. What can't be removed is tried again by the
// next call.
func (c *Cluster) removeObjects(ctx context.Context) error {
	for len(c.added) > 0 {
		last := len(c.added) - 1
		if err := c.added[last].remove(ctx); err != nil {
			return err
		}
		c.added = c.added[:last]
	}
	return nil
}
