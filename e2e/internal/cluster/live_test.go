package cluster

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/zerodrop/zerodrop/fixtures"
)

// TestSteady: what a restart would meet in the middle of something is refused, with what to do first.
func TestSteady(t *testing.T) {
	tests := []struct {
		name   string
		change func(*appsv1.Deployment)
		err    string
	}{
		{"whole", func(*appsv1.Deployment) {}, ""},
		{"paused", func(d *appsv1.Deployment) { d.Spec.Paused = true }, "it is paused, and a restart would wait. Write kubectl -n zerodrop-test rollout resume deployment/app"},
		{"a rollout is under way", func(d *appsv1.Deployment) { d.Status.UpdatedReplicas = 1 }, "1 of 3 Pods are of the new template"},
		{"old Pods are there", func(d *appsv1.Deployment) { d.Status.Replicas = 4 }, "1 Pods of an old template are there"},
		{"not all are ready", func(d *appsv1.Deployment) { d.Status.AvailableReplicas = 2 }, "2 of 3 Pods are available"},
		{"the change isn't seen yet", func(d *appsv1.Deployment) { d.Generation = 9 }, "controller has not seen the change"},
		{"none", func(d *appsv1.Deployment) {
			d.Spec.Replicas, d.Status = new(int32(0)), appsv1.DeploymentStatus{ObservedGeneration: d.Status.ObservedGeneration}
		}, "it has 0 replicas"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := aDeployment()
			d.Generation, d.Spec.Replicas = 2, new(int32(3))
			d.Status = appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}
			tt.change(d)
			content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(d)
			require.NoError(t, err)
			err = steady(&unstructured.Unstructured{Object: content})
			if tt.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, errUnsteady)
			require.ErrorContains(t, err, "Deployment app is not restarted: ")
			assert.ErrorContains(t, err, tt.err)
		})
	}
}

// TestRights: of both Roles each verb is asked for, in its namespace; what isn't allowed is told as the rules to bind.
func TestRights(t *testing.T) {
	allowing := func(may func(*authorizationv1.ResourceAttributes) bool) (*fake.Clientset, *[]string) {
		client, asked := fake.NewSimpleClientset(), &[]string{}
		client.PrependReactor("create", "selfsubjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
			review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
			of := review.Spec.ResourceAttributes
			*asked = append(*asked, fmt.Sprintf("%s: %s %s/%s/%s", of.Namespace, of.Verb, of.Group, of.Resource, of.Subresource))
			review.Status.Allowed = may(of)
			return true, review, nil
		})
		return client, asked
	}
	live := &Live{Namespace: "shop", Deployment: "web", LoadNamespace: "load"}

	client, asked := allowing(func(*authorizationv1.ResourceAttributes) bool { return true })
	require.NoError(t, newCluster(client, Config{Live: live}).checkRights(t.Context()))
	assert.Contains(t, *asked, "shop: patch apps/deployments/")
	assert.Contains(t, *asked, "load: create /pods/proxy")
	assert.Contains(t, *asked, "load: create batch/jobs/")
	for _, of := range *asked {
		assert.NotContains(t, of, "shop: create", "there nothing is made")
	}

	client, _ = allowing(func(of *authorizationv1.ResourceAttributes) bool {
		return of.Verb != "patch" && (of.Subresource != "proxy" || of.Verb != "create")
	})
	err := newCluster(client, Config{Live: live}).checkRights(t.Context())
	require.ErrorIs(t, err, errRights)
	require.ErrorContains(t, err, `- {apiGroups: ["apps"], resources: [deployments], verbs: [patch]} # namespace shop, Role zerodrop-target`)
	require.ErrorContains(t, err, `- {apiGroups: [""], resources: [pods/proxy], verbs: [create]} # namespace load, Role zerodrop-load`)

	client, asked = allowing(func(of *authorizationv1.ResourceAttributes) bool { return of.Namespace == "shop" })
	require.NoError(t, newCluster(client, Config{Live: &Live{Namespace: "shop", NoWorkers: true}}).checkRights(t.Context()))
	assert.NotEmpty(t, *asked)
}

// liveApp is the Deployment of a namespace that isn't ours.
func liveApp(t *testing.T, d *appsv1.Deployment, objects ...runtime.Object) (*App, *fake.Clientset) {
	t.Helper()
	app, client := newApp(append(objects, d)...)
	app.cluster.config.Live = &Live{Namespace: namespace, Deployment: d.Name}
	app.cluster.load = loads{namespace, LiveJob + "-abc"}
	return app, client
}

func whole(d *appsv1.Deployment) {
	d.Spec.Replicas = new(int32(3))
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}
}

// TestRestartOnce: a Deployment that runs is restarted as kubectl does it, once, whoever asks; one that isn't whole any more isn't at all.
func TestRestartOnce(t *testing.T) {
	app, client := liveApp(t, aDeployment(whole))
	require.NoError(t, app.BeginChange(t.Context()))
	require.ErrorIs(t, app.BeginChange(t.Context()), errRestarted)
	require.ErrorIs(t, app.ChangeTemplate(t.Context()), errRestarted)
	assert.Equal(t, []string{"patch deployments"}, actions(client))
	d, err := client.AppsV1().Deployments(namespace).Get(t.Context(), "app", metav1.GetOptions{})
	require.NoError(t, err)
	assert.NotEmpty(t, d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"])
	d.Spec.Template.Annotations = aDeployment().Spec.Template.Annotations
	assert.Equal(t, aDeployment(whole).Spec, d.Spec, "nothing else has changed")

	app, client = liveApp(t, aDeployment(whole, func(d *appsv1.Deployment) { d.Status.AvailableReplicas = 2 }))
	require.ErrorIs(t, app.BeginChange(t.Context()), errUnsteady)
	assert.Empty(t, actions(client))
}

// TestLiveIsLeft: at the end the one Job that was made goes, by its name, and nothing else in a namespace that isn't ours; the namespace stays.
func TestLiveIsLeft(t *testing.T) {
	job := func(name string) *batchv1.Job {
		return &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"app": loadName}}}
	}
	app, client := liveApp(t, aDeployment(whole), job(LiveJob+"-abc"), job("loadgen"), aPod("loadgen-x", ready), aPod("app-a", ready))
	require.NoError(t, app.Close(t.Context()))
	require.NoError(t, app.cluster.Close(t.Context()))
	assert.Equal(t, []string{"delete jobs"}, actions(client))
	left, err := client.BatchV1().Jobs(namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, left.Items, 1)
	assert.Equal(t, "loadgen", left.Items[0].Name)
}

// TestLiveOnly: nothing but a rolling update is done to what runs.
func TestLiveOnly(t *testing.T) {
	app, client := liveApp(t, aDeployment(whole))
	s := theirs(t, theirDeployment, theirObjects)
	s.Disruption.Name = "pod-deletion"
	_, err := app.cluster.Deploy(t.Context(), s, t.TempDir())
	require.ErrorIs(t, err, errLive)
	assert.Equal(t, []string{"delete jobs"}, actions(client), "that of our own name, should it be there")
}

// TestLightJob: in somebody else's namespace the workers' Job has a name of its own, and stays off the control plane.
func TestLightJob(t *testing.T) {
	job, err := fixtures.LoadJob()
	require.NoError(t, err)
	light(job, LiveJob+"-abc")
	assert.Equal(t, LiveJob+"-abc", job.Name)
	assert.Equal(t, job.Name, job.Spec.Template.Labels["app"])
	assert.Empty(t, job.Spec.Template.Spec.Tolerations)
	assert.Nil(t, job.Spec.Template.Spec.Affinity)
	assert.Equal(t, "100m", job.Spec.Template.Spec.Containers[0].Resources.Requests.Cpu().String())
}
