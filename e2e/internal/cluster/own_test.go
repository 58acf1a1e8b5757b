package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

const theirDeployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 3
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: proxy, image: 'p:1'}, {name: web, image: 'w:1'}]}
`

const theirObjects = `apiVersion: v1
kind: Secret
metadata: {name: db}
stringData: {password: "{namespace}"}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: app}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: app}
subjects: [{kind: ServiceAccount, name: app, namespace: prod}, {kind: Group, name: all}]
---
apiVersion: gone.example/v1
kind: Gone
metadata: {name: old}
`

// theirs is a scenario with an app of people's own in the place of the sample app.
func theirs(t *testing.T, deployment, objects string) scenarios.Scenario {
	t.Helper()
	w, err := fixtures.NewWorkload([]byte(deployment), "web", 0)
	require.NoError(t, err)
	strategy, err := fixtures.NewStrategy("as-is", "as it is", w, nil)
	require.NoError(t, err)
	beside, err := fixtures.Objects([]byte(objects))
	require.NoError(t, err)
	s, err := find(t, "no-handler", "rolling-update").Only([]string{"service/new"})
	require.NoError(t, err)
	s.Strategy, s.Own, s.Control = strategy, &fixtures.Own{Workload: w, Beside: beside}, false
	return s
}

// TestDeployOwn: people's own objects are made before their workload, in our namespace, once; a kind that the cluster
// doesn't have is left out, and Secrets are written nowhere. The sample app after it takes them away.
func TestDeployOwn(t *testing.T) {
	client := fake.NewSimpleClientset(loopback())
	controllers := runControllers(t, client)
	var said []string
	c := newCluster(client, Config{Workers: 1, AppImage: "sample:1", Step: func(step string) { said = append(said, step) }})
	p := &proxy{app: controllers.names}
	p.listen(t, c)

	dir := t.TempDir()
	app, err := c.Deploy(t.Context(), theirs(t, theirDeployment, theirObjects), dir)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"create secrets", "create rolebindings", "create jobs", "create services", "create deployments",
	}, actions(client))
	assert.Contains(t, said, "left out: Gone old, as the cluster has no gone.example/v1")
	assert.Equal(t, "web", app.container)
	binding, err := client.RbacV1().RoleBindings(namespace).Get(t.Context(), "app", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, namespace, binding.Subjects[0].Namespace)
	assert.Empty(t, binding.Subjects[1].Namespace)
	secret, err := client.CoreV1().Secrets(namespace).Get(t.Context(), "db", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, "{namespace}", secret.StringData["password"], "as they have written it")
	text := manifestsIn(t, dir)
	assert.NotContains(t, text, "password")
	assert.Contains(t, text, "kind: RoleBinding")
	assert.NotContains(t, text, "sample:1", "that is another app's image")

	client.ClearActions()
	_, err = c.Deploy(t.Context(), theirs(t, theirDeployment, theirObjects), t.TempDir())
	require.NoError(t, err)
	assert.NotContains(t, actions(client), "create secrets", "it is there")
	client.ClearActions()
	s, err := find(t, "no-handler", "rolling-update").Only([]string{"service/new"})
	require.NoError(t, err)
	_, err = c.Deploy(t.Context(), s, t.TempDir())
	require.NoError(t, err)
	assert.Contains(t, actions(client), "delete secrets")
}

// TestDeployOwnRefused: what no node can take is told before anybody waits for it.
func TestDeployOwnRefused(t *testing.T) {
	client := fake.NewSimpleClientset(loopback())
	runControllers(t, client)
	c := newCluster(client, Config{Workers: 1, Step: func(string) {}})
	elsewhere := theirDeployment[:len(theirDeployment)-len("}\n")-1] + "], nodeSelector: {disk: ssd}}\n"
	_, err := c.Deploy(t.Context(), theirs(t, elsewhere, theirObjects), t.TempDir())
	require.ErrorIs(t, err, errApp)
	require.ErrorContains(t, err, "no node has the labels of its nodeSelector, disk=ssd: take them out, for this at least")
	assert.Empty(t, actions(client))
}

func TestNoRoom(t *testing.T) {
	node := func(disk, cpu, memory string) corev1.Node {
		return corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"disk": disk}},
			Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
			}},
		}
	}
	nodes := []corev1.Node{node("ssd", "2", "4Gi"), node("hdd", "8", "16Gi")}
	requests := func(list ...string) corev1.Container {
		c := corev1.Container{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{}}}
		for i := 0; i < len(list); i += 2 {
			c.Resources.Requests[corev1.ResourceName(list[i])] = resource.MustParse(list[i+1])
		}
		return c
	}
	tests := []struct {
		name string
		pod  corev1.PodSpec
		want string
	}{
		{"nothing asked for", corev1.PodSpec{Containers: []corev1.Container{{}}}, ""},
		{"enough", corev1.PodSpec{Containers: []corev1.Container{requests("cpu", "4"), requests("cpu", "4", "memory", "16Gi")}}, ""},
		{"too much, together", corev1.PodSpec{Containers: []corev1.Container{requests("cpu", "4"), requests("cpu", "5")}}, "a Pod asks for 9 of cpu, and the largest node has 8: write less into resources.requests, for this at least"},
		{"too much by a limit", corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"memory": resource.MustParse("32Gi")}}}}}, "a Pod asks for 32Gi of memory, and the largest node has 16Gi"},
		{"what no node has", corev1.PodSpec{Containers: []corev1.Container{requests("nvidia.com/gpu", "1")}}, "a Pod asks for 1 of nvidia.com/gpu, and the largest node has 0"},
		{"of the nodes that are left", corev1.PodSpec{NodeSelector: map[string]string{"disk": "ssd"}, Containers: []corev1.Container{requests("cpu", "4")}}, "a Pod asks for 4 of cpu, and the largest node has 2"},
		{"none is left", corev1.PodSpec{NodeSelector: map[string]string{"disk": "tape"}}, "no node has the labels of its nodeSelector, disk=tape"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := noRoom(tt.pod, nodes)
			if tt.want == "" {
				assert.Empty(t, got)
			}
			assert.Contains(t, got, tt.want)
		})
	}
}

// TestTroubleOf: what waiting won't mend is told apart from what it may.
func TestTroubleOf(t *testing.T) {
	now := time.Unix(1e9, 0)
	status := func(s corev1.ContainerStatus) *corev1.Pod {
		s.Name, s.Image = "web", "shop:1"
		return &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{s}}}
	}
	waiting := func(reason string, restarts int32) *corev1.Pod {
		return status(corev1.ContainerStatus{
			State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "because"}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3}}, RestartCount: restarts,
		})
	}
	unscheduled := func(since time.Duration) *corev1.Pod {
		return &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available", LastTransitionTime: metav1.NewTime(now.Add(-since)),
		}}}}
	}
	tests := []struct {
		name  string
		pod   *corev1.Pod
		want  string
		final bool
	}{
		{"none", &corev1.Pod{}, "", false},
		{"being made", waiting("ContainerCreating", 0), "", false},
		{"an image that is pulled again", waiting("ErrImagePull", 0), "", false},
		{"an image that can't be pulled", waiting("ImagePullBackOff", 0), "image shop:1 can't be pulled here (because). Load it: docker save shop:1 -o image.tar, and -app-archive image.tar", true},
		{"a key that is missing", waiting("CreateContainerConfigError", 0), "container web can't be made: because", true},
		{"it ended once", waiting("CrashLoopBackOff", 1), "container web ends by itself, with exit code 3", false},
		{"it ends each time", waiting("CrashLoopBackOff", 2), "container web ends by itself, with exit code 3", true},
		{"not ready", status(corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}, Started: new(true)}), "container web runs and isn't ready: is that what its readiness probe asks?", false},
		{"no node yet", unscheduled(time.Second), "no node takes it: 0/3 nodes are available", false},
		{"no node", unscheduled(time.Minute), "no node takes it: 0/3 nodes are available", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			why, final := troubleOf(tt.pod, now)
			assert.Equal(t, tt.want, why)
			assert.Equal(t, tt.final, final)
		})
	}
}

// TestTrouble: an app of people's own isn't waited for in vain, and what its container said is told; the sample app
// is.
func TestTrouble(t *testing.T) {
	crashing := aPod("app-1", func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "web", RestartCount: 5, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
		}}
	})
	app, _ := newApp(aDeployment(), crashing)
	missing, err := app.trouble(t.Context(), "0 of 3")
	require.NoError(t, err)
	assert.Equal(t, "0 of 3", missing)
	app.theirs = true
	_, err = app.trouble(t.Context(), "0 of 3")
	require.ErrorIs(t, err, errPermanent)
	require.ErrorIs(t, err, errApp)
	require.ErrorContains(t, err, "Pod app-1: container web ends by itself. Its last words:\nfake logs")

	refused := aDeployment(func(d *appsv1.Deployment) {
		d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota"}}
	})
	app, _ = newApp(refused)
	app.theirs = true
	_, err = app.trouble(t.Context(), "0 of 3")
	require.ErrorContains(t, err, "no Pod is made: exceeded quota")

	app, _ = newApp(aDeployment(), aPod("app-1", unready, func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "web", Started: new(true), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		}}
	}))
	app.theirs = true
	missing, err = app.trouble(t.Context(), "0 of 3")
	require.NoError(t, err)
	assert.Equal(t, "0 of 3; Pod app-1: container web runs and isn't ready: is that what its readiness probe asks?", missing)
}

// TestNamespaceOfOwn: Pods of people's own may do what those of the sample app mustn't.
func TestNamespaceOfOwn(t *testing.T) {
	for _, anyPods := range []bool{false, true} {
		client := fake.NewSimpleClientset()
		c := newCluster(client, Config{AnyPods: anyPods, Kubeconfig: "k", Context: "c"})
		c.kind = &kindCluster{} // so that no reaper is started
		require.NoError(t, c.createNamespace(t.Context()))
		ns, err := client.CoreV1().Namespaces().Get(t.Context(), c.namespace, metav1.GetOptions{})
		require.NoError(t, err)
		_, restricted := ns.Labels["pod-security.kubernetes.io/enforce"]
		assert.Equal(t, !anyPods, restricted)
		assert.Equal(t, "zerodrop", ns.Labels["app.kubernetes.io/managed-by"])
	}
}
