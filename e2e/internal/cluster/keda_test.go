package cluster

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestCertificatesOfComponents: what KEDA is given is a certificate and its key, of its own for each cluster, and no fixture is changed.
func TestCertificatesOfComponents(t *testing.T) {
	components, err := fixtures.Components("test")
	require.NoError(t, err)
	asked := components["keda"].Objects
	made, err := withCertificates(asked)
	require.NoError(t, err)
	require.Len(t, made, len(asked))
	secrets := 0
	for i, o := range made {
		if o.GetKind() != "Secret" {
			assert.Same(t, asked[i], o)
			continue
		}
		secrets++
		assert.NotContains(t, asked[i].Object, "data")
		data, _, err := unstructured.NestedStringMap(o.Object, "data")
		require.NoError(t, err)
		content := map[string][]byte{}
		for name, text := range data {
			content[name], err = base64.StdEncoding.DecodeString(text)
			require.NoError(t, err)
		}
		pair, err := tls.X509KeyPair(content["tls.crt"], content["tls.key"])
		require.NoError(t, err)
		assert.NoError(t, pair.Leaf.VerifyHostname("keda.zerodrop-components.svc"))
		assert.Equal(t, content["tls.crt"], content["ca.crt"])
	}
	assert.Equal(t, 1, secrets)
}

// scaledBy is an app with a ScaledObject whose status is what each look at it takes from a list; patches are of it.
func scaledBy(t *testing.T, conditions ...[]any) (a *App, patches *[]string) {
	t.Helper()
	a, client := newApp()
	patches = &[]string{}
	o := anObject("keda.sh/v1alpha1", "ScaledObject", "app")
	client.PrependReactor("*", "scaledobjects", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if p, ok := action.(clienttesting.PatchAction); ok {
			*patches = append(*patches, string(p.GetPatch()))
		}
		now := o.DeepCopy()
		if action.GetVerb() == "get" && len(conditions) > 0 {
			now.Object["status"] = map[string]any{"conditions": conditions[0]}
			if len(conditions) > 1 {
				conditions = conditions[1:]
			}
		}
		return true, now, nil
	})
	resource := schema.GroupVersionResource{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"}
	a.cluster.added = []object{{o, a.cluster.dynamic.Resource(resource).Namespace(namespace)}}
	return a, patches
}

// TestScaling: its ScaledObject is changed as asked for, and KEDA's word is waited for.
func TestScaling(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ready := func(status string) []any {
			return []any{
				map[string]any{"type": "Active", "status": "True"},
				map[string]any{"type": "Ready", "status": status, "message": "why"},
			}
		}
		a, patches := scaledBy(t, nil, ready("Unknown"), ready("True"), ready("False"))
		require.NoError(t, a.ChangeScaling(t.Context(), `{"spec": {}}`))
		assert.Equal(t, []string{`{"spec": {}}`}, *patches)
		require.NoError(t, a.WaitScaling(t.Context(), "Ready", true))
		require.NoError(t, a.WaitScaling(t.Context(), "Ready", false))
		require.NoError(t, a.WaitScaling(t.Context(), "Active", true))
		require.ErrorContains(t, a.WaitScaling(t.Context(), "Ready", true), "wait for KEDA to say that Ready is True: not within 2m0s: it is False: why")
		require.ErrorContains(t, a.WaitScaling(t.Context(), "Paused", true), "it says nothing of that")

		a.cluster.added = nil
		require.EqualError(t, a.ChangeScaling(t.Context(), "{}"), "change the scaling: Deployment app has no ScaledObject")
		require.EqualError(t, a.WaitScaling(t.Context(), "Ready", true), "wait for KEDA: Deployment app has no ScaledObject")
	})
}

// TestScaledToZero: none is there when also those are gone that terminate, and back come as many as there were.
func TestScaledToZero(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		a, _ := newApp()
		require.NoError(t, a.WaitNone(t.Context()))
		a, _ = newApp(aPod("app-1", terminating))
		require.ErrorContains(t, a.WaitNone(t.Context()), "wait for all Pods to be gone: not within 3m30s: 1 are there")

		a, client := newApp(aPod("app-1", ready), aPod("app-2", ready), aPod("app-3", ready))
		var patches []string
		client.PrependReactor("patch", "deployments", func(action clienttesting.Action) (bool, runtime.Object, error) {
			patches = append(patches, string(action.(clienttesting.PatchAction).GetPatch()))
			return true, a.workload.DeepCopy(), nil
		})
		require.NoError(t, a.ScaleBack(t.Context()))
		assert.Equal(t, []string{`{"spec": {"replicas": 3}}`}, patches)
	})
}

// TestUses: components that a disruption needs are there for it, with its arguments, and no others of theirs.
func TestUses(t *testing.T) {
	s := scenarios.Scenario{Disruption: scenarios.Disruption{Uses: map[string][]string{"traefik": {"--metrics"}, "keda": nil}}}
	assert.Equal(t, []string{"keda", "traefik"}, componentsOf(s, fixtures.Workload{}))
	inBubble(t, func(t *testing.T) {
		c, client, _ := newComponents(t, ready)
		deployed := func() string {
			_, err := c.useComponents(t.Context(), []string{"traefik"}, t.TempDir())
			require.NoError(t, err)
			d, err := client.Tracker().Get(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, componentsNamespace, "traefik")
			require.NoError(t, err)
			raw, err := json.Marshal(d)
			require.NoError(t, err)
			return string(raw)
		}
		assert.NotContains(t, deployed(), "--metrics")
		c.args = s.Disruption.Uses
		assert.Contains(t, deployed(), "--metrics")
		c.args = nil
		assert.NotContains(t, deployed(), "--metrics")
	})
}

// TestAddScaling: what is made for a colour is about its Deployment and its Pods, and goes with what else the disruption has made.
func TestAddScaling(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		app, client := colouring(t, &proxy{})
		ctx := t.Context()
		require.NoError(t, app.DeployColour(ctx, "red"))
		const text = "apiVersion: v1\nkind: Service\nmetadata: {name: '{workload}-x', labels: {in: '{namespace}', of: '{replicas}'}}\n" +
			"spec: {selector: {selector}}\n"
		require.NoError(t, app.AddScaling(ctx, "red", text))
		require.NoError(t, app.AddScaling(ctx, "first", text))
		assert.Equal(t, "app-red", selected(t, client, "app-red-x"))
		assert.Equal(t, "app", selected(t, client, "app-x"))
		s, err := client.CoreV1().Services(namespace).Get(ctx, "app-x", metav1.GetOptions{})
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"in": namespace, "of": "3"}, s.Labels)

		zero, err := app.ScaledToZero(ctx, "red")
		require.NoError(t, err)
		assert.False(t, zero)
		require.NoError(t, app.ScaleColour(ctx, "red", 0))
		zero, err = app.ScaledToZero(ctx, "red")
		require.NoError(t, err)
		assert.True(t, zero)

		require.NoError(t, app.cluster.removeObjects(ctx))
		_, err = client.CoreV1().Services(namespace).Get(ctx, "app-x", metav1.GetOptions{})
		require.ErrorContains(t, err, "not found")
		require.ErrorContains(t, app.AddScaling(ctx, "red", "kind: Nobody"), "scale colour red by KEDA: ")
	})
}
