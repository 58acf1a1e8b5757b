package cluster

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// newWorkload is an app whose Pods are held by another kind than a Deployment.
func newWorkload(t *testing.T, kind string, there runtime.Object) (*App, *fake.Clientset) {
	t.Helper()
	app, client := newApp(there)
	objects, err := app.cluster.locate([]*unstructured.Unstructured{anObject("apps/v1", kind, "app")})
	require.NoError(t, err)
	app.workload, app.replicas = objects[0], 0
	return app, client
}

// aStatefulSet of three replicas and aDaemonSet on three nodes, complete.
func aStatefulSet(s appsv1.StatefulSetStatus) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: namespace, Labels: map[string]string{"app": "app"}, Generation: 4},
		Spec:       appsv1.StatefulSetSpec{Replicas: new(int32(3))}, Status: s,
	}
}

func aDaemonSet(s appsv1.DaemonSetStatus) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: namespace, Labels: map[string]string{"app": "app"}, Generation: 4},
		Status:     s,
	}
}

// TestProgress: the rules of kubectl rollout status, for the kinds that have others than a
// Deployment.
func TestProgress(t *testing.T) {
	set := func(observed int64, all, updated, available int32) runtime.Object {
		return aStatefulSet(appsv1.StatefulSetStatus{
			ObservedGeneration: observed, Replicas: all, UpdatedReplicas: updated, AvailableReplicas: available,
		})
	}
	daemon := func(observed int64, desired, updated, available int32) runtime.Object {
		return aDaemonSet(appsv1.DaemonSetStatus{
			ObservedGeneration: observed, DesiredNumberScheduled: desired, CurrentNumberScheduled: desired,
			UpdatedNumberScheduled: updated, NumberAvailable: available,
		})
	}
	tests := []struct {
		name     string
		kind     string
		there    runtime.Object // of generation 4
		wantPods int
		want     string
	}{
		{"complete", "StatefulSet", set(4, 3, 3, 3), 3, ""},
		{"not seen", "StatefulSet", set(3, 3, 3, 3), 0, "the StatefulSet's controller has not seen the change"},
		{"new Pods missing", "StatefulSet", set(4, 3, 1, 3), 3, "1 of 3 Pods are of the new template"},
		{"not available", "StatefulSet", set(4, 3, 3, 2), 3, "2 of 3 Pods are available"},
		{"complete", "DaemonSet", daemon(4, 2, 2, 2), 2, ""},
		{"not seen", "DaemonSet", daemon(3, 2, 2, 2), 0, "the DaemonSet's controller has not seen the change"},
		{"new Pods missing", "DaemonSet", daemon(4, 2, 1, 2), 2, "1 of 2 Pods are of the new template"},
		{"not available", "DaemonSet", daemon(4, 2, 2, 1), 2, "1 of 2 Pods are available"},
	}
	for _, tt := range tests {
		t.Run(tt.kind+"/"+tt.name, func(t *testing.T) {
			app, client := newWorkload(t, tt.kind, tt.there)
			want, missing, err := app.progress(t.Context())
			require.NoError(t, err)
			assert.Equal(t, tt.wantPods, want)
			assert.Equal(t, tt.want, missing)
			refuse(client, "get", "*", errDown)
			_, _, err = app.progress(t.Context())
			require.ErrorIs(t, err, error(errDown))
		})
	}
}

// TestRolloutOfArgo: it writes the generation as text, says itself what it waits for, and is complete when its Service is switched and the Pods before are
// on their way out.
func TestRolloutOfArgo(t *testing.T) {
	status := func(generation, hash, active string, all, updated, available int64) map[string]any {
		return map[string]any{
			"observedGeneration": generation, "currentPodHash": hash, "blueGreen": map[string]any{"activeSelector": active},
			"replicas": all, "updatedReplicas": updated, "availableReplicas": available,
		}
	}
	waiting := status("4", "new", "new", 6, 3, 3)
	waiting["message"] = "old replicas are pending termination"
	tests := []struct {
		name   string
		status map[string]any
		want   string
	}{
		{"complete", status("4", "new", "new", 3, 3, 3), ""},
		{"never seen", nil, "the Rollout's controller has not seen the change"},
		{"not seen", status("3", "old", "old", 3, 3, 3), "the Rollout's controller has not seen the change"},
		{"new Pods missing", status("4", "new", "old", 4, 1, 3), "1 of 3 Pods are of the new template"},
		{"not switched", status("4", "new", "", 3, 3, 3), "the Service has not been switched to the new Pods"},
		{"switched, and the Pods before run on", waiting, "3 Pods of an old template are there: old replicas are pending termination"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := anObject("argoproj.io/v1alpha1", "Rollout", "app")
			o.SetGeneration(4)
			o.Object["spec"] = map[string]any{"replicas": int64(3)}
			if tt.status != nil {
				o.Object["status"] = tt.status
			}
			_, missing, err := rollout(o)
			require.NoError(t, err)
			assert.Equal(t, tt.want, missing)
		})
	}
}

// TestChangeTemplateOfOthers: the template of any kind is changed, and its rollout is waited for,
// as long as it takes to replace one Pod after the other.
func TestChangeTemplateOfOthers(t *testing.T) {
	complete := map[string]runtime.Object{
		"StatefulSet": aStatefulSet(appsv1.StatefulSetStatus{ObservedGeneration: 4, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}),
		"DaemonSet":   aDaemonSet(appsv1.DaemonSetStatus{ObservedGeneration: 4, DesiredNumberScheduled: 3, UpdatedNumberScheduled: 3, NumberAvailable: 3}),
	}
	const patch = `{"spec": {"template": {"metadata": {"annotations": {"zerodrop.dev/release": "5"}}}}}`
	for kind, there := range complete {
		t.Run(kind, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				app, client := newWorkload(t, kind, there)
				require.NoError(t, app.awaitReplicas(t.Context()))
				assert.Equal(t, 3, app.Replicas())
				gvr := workloadResources[kind]
				var patches []string
				client.PrependReactor("patch", gvr.Resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
					raw := a.(clienttesting.PatchAction).GetPatch()
					patches = append(patches, string(raw))
					if len(patches) == 1 {
						return true, nil, errDown // it is done, and the answer is lost
					}
					require.NoError(t, json.Unmarshal(raw, there))
					there.(metav1.Object).SetGeneration(5)
					require.NoError(t, client.Tracker().Update(gvr, there.DeepCopyObject(), namespace))
					time.AfterFunc(180*sec, func() {
						switch o := there.(type) {
						case *appsv1.StatefulSet:
							o.Status.ObservedGeneration = 5
						case *appsv1.DaemonSet:
							o.Status.ObservedGeneration = 5
						}
						assert.NoError(t, client.Tracker().Update(gvr, there.DeepCopyObject(), namespace))
					})
					return true, there, nil
				})
				began := time.Now()
				require.NoError(t, app.ChangeTemplate(t.Context()))
				assert.Equal(t, 180*sec, time.Since(began).Truncate(sec), "not before the controller has seen it")
				assert.Equal(t, []string{patch, patch}, patches, "the second is no other change")
			})
		})
	}
}

// TestAwaitReplicas: a DaemonSet has as many Pods as nodes, once that is known; none at all is an
// error.
func TestAwaitReplicas(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		app, client := newWorkload(t, "DaemonSet", aDaemonSet(appsv1.DaemonSetStatus{}))
		time.AfterFunc(3*sec, func() {
			seen := aDaemonSet(appsv1.DaemonSetStatus{ObservedGeneration: 4, DesiredNumberScheduled: 2})
			assert.NoError(t, client.Tracker().Update(workloadResources["DaemonSet"], seen, namespace))
		})
		require.NoError(t, app.awaitReplicas(t.Context()))
		assert.Equal(t, 2, app.Replicas(), "none of them is there yet")
	})
	inBubble(t, func(t *testing.T) {
		app, _ := newWorkload(t, "DaemonSet", aDaemonSet(appsv1.DaemonSetStatus{ObservedGeneration: 4}))
		require.EqualError(t, app.awaitReplicas(t.Context()), "wait for the number of Pods: not within 2m0s: the DaemonSet asks for none")
	})
}

// TestRemoveOld: whatever held the Pods goes, and with it its Pods; what isn't selected stays.
func TestRemoveOld(t *testing.T) {
	other := aDeployment(func(d *appsv1.Deployment) { d.Name, d.Labels = "traefik", map[string]string{"app": "traefik"} })
	app, client := newApp(aStatefulSet(appsv1.StatefulSetStatus{}), aDaemonSet(appsv1.DaemonSetStatus{}), other, aPod("a"), aPod("b", foreign))
	runControllers(t, client)
	require.NoError(t, app.removeOld(t.Context()))
	assert.ElementsMatch(t, []string{"delete-collection statefulsets", "delete-collection daemonsets", "delete-collection pods"}, actions(client))
	for kind, gvr := range workloadResources {
		list, err := client.Tracker().List(gvr, appsv1.SchemeGroupVersion.WithKind(kind), namespace)
		require.NoError(t, err)
		left, err := json.Marshal(list)
		require.NoError(t, err)
		assert.Equal(t, kind == "Deployment", len(left) > 100, "%s: %s", kind, left)
	}
}

// TestRemoveOldRollout: a Rollout goes first, which would make new ReplicaSets, where its component has been deployed.
func TestRemoveOldRollout(t *testing.T) {
	app, client := newApp()
	var asked []string
	gone, present := false, anObject("argoproj.io/v1alpha1", "Rollout", "app")
	present.SetLabels(map[string]string{"app": "app", ownLabel: ownApp})
	client.PrependReactor("*", "rollouts", func(a clienttesting.Action) (bool, runtime.Object, error) {
		asked = append(asked, a.GetVerb())
		list := &unstructured.UnstructuredList{}
		if a.GetVerb() == "delete-collection" {
			gone = true
		} else if !gone {
			list.Items = append(list.Items, *present)
		}
		return true, list, nil
	})
	require.NoError(t, app.removeOld(t.Context()))
	assert.Empty(t, asked, "there may be no such kind")
	app.cluster.deployed = map[string]*unstructured.Unstructured{"argo-rollouts": {}}
	require.NoError(t, app.removeOld(t.Context()))
	assert.Equal(t, []string{"list", "delete-collection", "list", "list"}, asked, "by two selectors")
}

// TestComponentsOf: each once, those of the workload as well.
func TestComponentsOf(t *testing.T) {
	proxy := scenarios.Lane{Consumer: fixtures.Consumer{Component: "traefik"}}
	s := scenarios.Scenario{
		Lanes: []scenarios.Lane{{}, proxy, proxy}, Watched: []fixtures.Consumer{{Component: "prometheus"}, {Component: "traefik"}},
	}
	assert.Equal(t, []string{"traefik", "prometheus"}, componentsOf(s, fixtures.Workload{}))
	assert.Equal(t, []string{"traefik", "prometheus", "argo-rollouts"}, componentsOf(s, fixtures.Workload{Component: "argo-rollouts"}))
}

// TestUnknownWorkload: a workload that isn't there is an error that lists those that are.
func TestUnknownWorkload(t *testing.T) {
	client := fake.NewSimpleClientset()
	c := newCluster(client, Config{Workload: "cronjob"})
	_, err := c.Deploy(t.Context(), find(t, "prestop-sleep", "rolling-update"), t.TempDir())
	require.ErrorContains(t, err, `deploy prestop-sleep: unknown workload "cronjob": want one of daemonset, deployment, rollout, statefulset`)
	assert.Empty(t, actions(client))
}

// TestDeployRefuses: what isn't for this cluster is refused before anything is deployed.
func TestDeployRefuses(t *testing.T) {
	gate := scenarios.Needs{FeatureGates: map[string]bool{"Gate": true}}
	const class = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: mine}\n"
	tests := []struct {
		name   string
		kind   *kindCluster
		config Config
		change func(*scenarios.Disruption)
		want   string
	}{
		{
			"beyond the namespace", nil,
			Config{},
			func(d *scenarios.Disruption) { d.Reach = scenarios.ReachNode },
			"disruption rolling-update reaches beyond the namespace, to the node: is only for a kind cluster of zerodrop's own",
		},
		{
			"with a component", nil,
			Config{Workload: "rollout"},
			func(*scenarios.Disruption) {},
			"component argo-rollouts: it is only for a kind cluster of zerodrop's own",
		},
		{
			"with settings of the cluster", nil,
			Config{},
			func(d *scenarios.Disruption) { d.Needs = gate },
			"disruption rolling-update needs settings of the cluster: is only for a kind cluster of zerodrop's own",
		},
		{
			"in a cluster without its settings", &kindCluster{},
			Config{},
			func(d *scenarios.Disruption) { d.Needs = gate },
			"disruption rolling-update: " + errOtherNeeds.Error(),
		},
		{
			"in a cluster with the settings of another", &kindCluster{},
			Config{Needs: gate},
			func(*scenarios.Disruption) {},
			"disruption rolling-update: " + errOtherNeeds.Error(),
		},
		{
			"objects beyond the namespace", nil,
			Config{},
			func(d *scenarios.Disruption) { d.Objects = class },
			"disruption rolling-update: IngressClass mine is in no namespace: it is only for a kind cluster of zerodrop's own",
		},
		{
			"objects that are none", nil,
			Config{},
			func(d *scenarios.Disruption) { d.Objects = "kind: IngressClass\n" },
			"disruption rolling-update: an object of kind IngressClass has no name",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := fake.NewSimpleClientset()
			c := newCluster(client, tt.config)
			c.kind = tt.kind
			assert.Equal(t, tt.kind != nil, c.Ours())
			s := find(t, "prestop-sleep", "rolling-update")
			tt.change(&s.Disruption)
			app, err := c.Deploy(t.Context(), s, t.TempDir())
			require.EqualError(t, err, "deploy prestop-sleep: "+tt.want)
			assert.Nil(t, app)
			assert.Empty(t, actions(client))
		})
	}
}

// TestDisruptionObjects: they are made before the run, when the app is there; written down; and
// removed after it, or by the next run if that could not be done.
func TestDisruptionObjects(t *testing.T) {
	client := fake.NewSimpleClientset()
	controllers := runControllers(t, client)
	controllers.nodePort = serve(t, controllers.names, nil)
	c := newCluster(client, Config{Address: "127.0.0.1"})
	(&proxy{app: controllers.names}).listen(t, c)
	s := find(t, "prestop-sleep", "rolling-update")
	s.Disruption.Objects = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: app}\nspec: {maxUnavailable: 1}\n"
	dir := t.TempDir()
	app, err := c.Deploy(t.Context(), s, dir)
	require.NoError(t, err)
	done := actions(client)
	assert.Equal(t, []string{"create deployments", "create poddisruptionbudgets"}, done[len(done)-2:])
	assert.Contains(t, manifestsIn(t, dir), "kind: PodDisruptionBudget")
	budgets := func() int {
		list, err := client.PolicyV1().PodDisruptionBudgets(namespace).List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		return len(list.Items)
	}
	assert.Equal(t, 1, budgets())
	require.NoError(t, app.Close(t.Context()))
	assert.Zero(t, budgets())
	require.NoError(t, app.Close(t.Context()), "once more")

	_, err = c.Deploy(t.Context(), s, t.TempDir())
	require.NoError(t, err)
	plain := find(t, "prestop-sleep", "pod-deletion")
	_, err = c.Deploy(t.Context(), plain, t.TempDir())
	require.NoError(t, err)
	assert.Zero(t, budgets(), "a run that was never closed")
}
