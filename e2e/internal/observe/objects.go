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

// nameOf is empty for what has no name, which no object from the API server is.
func nameOf(object runtime.Object) string {
	m, err := meta.Accessor(object)
	if err != nil {
		return ""
	}
	return m.GetName()
}

// versionOf is the resourceVersion of a list.
func versionOf(list runtime.Object) string {
	m, err := meta.ListAccessor(list)
	if err != nil {
		return ""
	}
	return m.GetResourceVersion()
}
