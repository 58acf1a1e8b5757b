package cluster

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/zerodrop/zerodrop/scenarios"
)

func anObject(version, kind, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(version)
	o.SetKind(kind)
	o.SetName(name)
	return o
}

// TestApply: an object of any kind is made once, in our namespace if its kind has one.
func TestApply(t *testing.T) {
	client := fake.NewSimpleClientset()
	c := newCluster(client, Config{})
	c.kind = &kindCluster{}
	client.PrependReactor("create", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		assert.Equal(t, metav1.FieldValidationStrict, a.(clienttesting.CreateActionImpl).CreateOptions.FieldValidation)
		return false, nil, nil
	})
	route, class := anObject("example.dev/v1", "Route", "app"), anObject("networking.k8s.io/v1", "IngressClass", "mine")
	route.SetNamespace("elsewhere")
	require.NoError(t, unstructured.SetNestedField(route.Object, "app-internal", "spec", "to"))
	for range 2 {
		objects, err := c.locate([]*unstructured.Unstructured{route, class})
		require.NoError(t, err)
		for _, o := range objects {
			_, err := o.apply(t.Context())
			require.NoError(t, err)
		}
		present, err := objects[0].get(t.Context())
		require.NoError(t, err)
		assert.Equal(t, namespace, present.GetNamespace())
		to, _, err := unstructured.NestedString(present.Object, "spec", "to")
		require.NoError(t, err)
		assert.Equal(t, "app-internal", to, "as it is")
		present, err = objects[1].get(t.Context())
		require.NoError(t, err)
		assert.Empty(t, present.GetNamespace())
	}
	assert.Equal(t, []string{"create routes", "create ingressclasses"}, actions(client), "the second time they are there")
	assert.Equal(t, "elsewhere", route.GetNamespace(), "the fixture isn't changed")

	_, err := c.locate([]*unstructured.Unstructured{anObject("example.dev/v2", "Road", "app")})
	require.ErrorContains(t, err, "Road app: no matches for kind")
	c.kind = nil
	_, err = c.locate([]*unstructured.Unstructured{class})
	require.ErrorIs(t, err, scenarios.ErrNotOurs, "everybody would see it")
	require.EqualError(t, err, "IngressClass mine is in no namespace: it is only for a kind cluster of zerodrop's own")
}

// TestApplyAnnotations: what programs read of an object that is there is what this run wants, and what
// others have written there stays.
func TestApplyAnnotations(t *testing.T) {
	client := fake.NewSimpleClientset()
	c := newCluster(client, Config{})
	apply := func(annotations map[string]string) map[string]string {
		route := anObject("example.dev/v1", "Route", "app")
		route.SetAnnotations(annotations)
		objects, err := c.locate([]*unstructured.Unstructured{route})
		require.NoError(t, err)
		present, err := objects[0].apply(t.Context())
		require.NoError(t, err)
		return present.GetAnnotations()
	}
	apply(map[string]string{"interval": "5s", "of-others": "x"})
	assert.Equal(t, map[string]string{"interval": "10s", "of-others": "x"}, apply(map[string]string{"interval": "10s"}))
	apply(map[string]string{"interval": "10s"})
	assert.Equal(t, []string{"create routes", "patch routes"}, actions(client))
}

// TestApplySelector: a Service that is there selects what this run wants, and nothing that a controller has added.
func TestApplySelector(t *testing.T) {
	there := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: namespace},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "app-second", "rollouts-pod-template-hash": "a"}},
	}
	client := fake.NewSimpleClientset(there)
	service := anObject("v1", "Service", "app")
	service.Object["spec"] = map[string]any{"selector": map[string]any{"app": "app"}}
	objects, err := newCluster(client, Config{}).locate([]*unstructured.Unstructured{service})
	require.NoError(t, err)
	for range 2 {
		present, err := objects[0].apply(t.Context())
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"app": "app"}, selectorOf(present))
	}
	assert.Equal(t, []string{"patch services"}, actions(client))
}

// TestRetire: what only consumers of runs before have had goes.
func TestRetire(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c := newCluster(fake.NewSimpleClientset(), Config{})
		of := func(names ...string) exposed {
			var list []*unstructured.Unstructured
			for _, name := range names {
				list = append(list, anObject("example.dev/v1", "Route", name))
			}
			objects, err := c.locate(list)
			require.NoError(t, err)
			for _, o := range objects {
				_, err := o.apply(t.Context())
				require.NoError(t, err)
			}
			return exposed{objects: objects}
		}
		first, second := of("a", "b"), of("b", "c")
		require.NoError(t, c.retire(t.Context(), []exposed{first}))
		require.NoError(t, c.retire(t.Context(), []exposed{second}))
		_, err := first.objects[0].get(t.Context())
		require.ErrorContains(t, err, "not found")
		for _, o := range second.objects {
			_, err := o.get(t.Context())
			require.NoError(t, err)
		}
	})
}

// TestRemoveObjects: what a disruption has needed goes, the last first; what doesn't is tried
// again.
func TestRemoveObjects(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		client := fake.NewSimpleClientset()
		c := newCluster(client, Config{})
		objects, err := c.locate([]*unstructured.Unstructured{
			anObject("example.dev/v1", "Route", "a"), anObject("policy/v1", "PodDisruptionBudget", "b"),
		})
		require.NoError(t, err)
		require.NoError(t, c.addObjects(t.Context(), objects))
		down := true
		client.PrependReactor("delete", "routes", func(clienttesting.Action) (bool, runtime.Object, error) { return down, nil, errDown })
		require.ErrorContains(t, c.removeObjects(t.Context()), "wait for Route a to go: ")
		_, err = objects[1].get(t.Context())
		require.ErrorContains(t, err, "not found")
		down = false
		client.ClearActions()
		require.NoError(t, c.removeObjects(t.Context()))
		assert.Equal(t, []string{"delete routes", "delete routes"}, actions(client), "until it is gone; the other is gone")
		client.ClearActions()
		require.NoError(t, c.removeObjects(t.Context()))
		assert.Empty(t, actions(client))
	})
}
