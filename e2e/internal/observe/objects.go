package observe

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
)

func eachItem(list runtime.Object, see func(runtime.Object)) error {
	err := meta.EachListItem(list, func(object runtime.Object) error {
		see(object)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read list: %w", err)
	}
	return nil
}

// unversioned is an object without its resourceVersion: one that was listed tells how things are, and not which of its versions brought them about.
func unversioned(object runtime.Object) runtime.Object {
	object = object.DeepCopyObject()
	if m, err := meta.Accessor(object); err == nil {
		m.SetResourceVersion("")
	}
	return object
}

// nameOf is empty for what has no name, which no object from the API server is.
func nameOf(object runtime.Object) string {
	m, err := meta.Accessor(object)
	if err != nil {
		return ""
	}
	return m.GetName()
}

// listVersion is the resourceVersion of a list.
func listVersion(list runtime.Object) string {
	m, err := meta.ListAccessor(list)
	if err != nil {
		return ""
	}
	return m.GetResourceVersion()
}
