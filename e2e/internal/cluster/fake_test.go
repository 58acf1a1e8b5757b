package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"

	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	sec = time.Second

	namespace = "zerodrop-test"
)

// errDown is what an API server says that is there and can't.
var errDown = apierrors.NewInternalError(fmt.Errorf("etcd is away"))

// inBubble runs a test on a clock that stands still until everything waits.
func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// newCluster is a cluster whose API is that of a fake client.
func newCluster(client *fake.Clientset, config Config) *Cluster {
	return &Cluster{
		client: client, dynamic: newDynamic(client), mapper: newMapper(), namespace: namespace, load: loads{namespace, loadName}, http: http.DefaultClient,
		config: config,
	}
}

// newApp is a Deployment of three replicas in a cluster that holds these objects.
func newApp(objects ...runtime.Object) (*App, *fake.Clientset) {
	client := fake.NewSimpleClientset(objects...)
	app := &App{cluster: newCluster(client, Config{}), services: []string{"app"}, urls: map[string][]string{}, addresses: map[string][]netip.Addr{}, own: map[string][]string{}}
	strategies, err := fixtures.Strategies()
	if err == nil {
		_, err = app.render(scenarios.Scenario{Strategy: strategies["prestop-sleep"]})
	}
	if err != nil {
		panic(err)
	}
	return app, client
}

// newMapper knows where the API has the kinds that these tests use.
func newMapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []schema.GroupVersionKind{
		{Version: "v1", Kind: "Service"},
		{Version: "v1", Kind: "ResourceQuota"},
		{Version: "v1", Kind: "Secret"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"},
		{Group: "apps", Version: "v1", Kind: "Deployment"},
		{Group: "apps", Version: "v1", Kind: "StatefulSet"},
		{Group: "apps", Version: "v1", Kind: "DaemonSet"},
		{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"},
		{Group: "example.dev", Version: "v1", Kind: "Route"},
	} {
		m.Add(kind, meta.RESTScopeNamespace)
	}
	m.Add(schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "IngressClass"}, meta.RESTScopeRoot)
	return m
}

// newDynamic is a dynamic client of the same API: it has what is asked of it done by the typed one,
// and knows kinds that the typed one doesn't.
func newDynamic(client *fake.Clientset) dynamic.Interface {
	lists := map[schema.GroupVersionResource]string{
		podsGVR: "PodList", jobsGVR: "JobList", {Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts"}: "RolloutList",
	}
	for kind, gvr := range workloadResources {
		lists[gvr] = kind + "List"
	}
	d := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists)
	convert := runtime.DefaultUnstructuredConverter
	toUnstructured := func(o runtime.Object) (*unstructured.Unstructured, error) {
		content, err := convert.ToUnstructured(o)
		u := &unstructured.Unstructured{Object: content}
		if kinds, _, unknown := scheme.Scheme.ObjectKinds(o); unknown == nil {
			u.SetGroupVersionKind(kinds[0])
		}
		return u, err
	}
	d.PrependReactor("*", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		toTyped := func(o runtime.Object) (runtime.Object, error) {
			u := o.(*unstructured.Unstructured)
			typed, err := scheme.Scheme.New(u.GroupVersionKind())
			if err != nil {
				return u, nil //nolint:nilerr // of a kind that the typed client doesn't know
			}
			return typed, convert.FromUnstructured(u.Object, typed)
		}
		var err error
		switch action := a.(type) {
		case clienttesting.CreateActionImpl:
			action.Object, err = toTyped(action.Object)
			a = action
		case clienttesting.UpdateActionImpl:
			action.Object, err = toTyped(action.Object)
			a = action
		}
		if err != nil {
			return true, nil, err
		}
		out, err := client.Invokes(a, nil)
		if out == nil || err != nil {
			return true, nil, err
		}
		if !meta.IsListType(out) {
			u, err := toUnstructured(out)
			return true, u, err
		}
		items, err := meta.ExtractList(out)
		if err != nil {
			return true, nil, err
		}
		list := &unstructured.UnstructuredList{}
		for _, item := range items {
			u, err := toUnstructured(item)
			if err != nil {
				return true, nil, err
			}
			list.Items = append(list.Items, *u)
		}
		return true, list, nil
	})
	return d
}

// refuse lets a verb on a resource fail; * stands for all.
func refuse(client *fake.Clientset, verb, resource string, err error) {
	client.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, err })
}

// actions are verb and resource of what was asked of the API server, in order, reading left out.
func actions(client *fake.Clientset) []string {
	var out []string
	for _, a := range client.Actions() {
		if verb := a.GetVerb(); verb != "get" && verb != "list" && verb != "watch" {
			out = append(out, verb+" "+a.GetResource().Resource)
		}
	}
	return out
}

func aPod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"app": "app", ownLabel: ownApp}}}
	for _, c := range change {
		c(p)
	}
	return p
}

func ready(p *corev1.Pod) {
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionTrue}}
}

func unready(p *corev1.Pod) {
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionFalse}}
}

func terminating(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1e9, 0)} }

func foreign(p *corev1.Pod) { p.Labels = map[string]string{"app": "other"} }

func aged(seconds int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.CreationTimestamp = metav1.Unix(1e9-seconds, 0) }
}

// aDeployment of three replicas, complete.
func aDeployment(change ...func(*appsv1.Deployment)) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: namespace, Labels: map[string]string{"app": "app"}, Generation: 4},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(3))},
		Status:     appsv1.DeploymentStatus{ObservedGeneration: 4, Replicas: 3, UpdatedReplicas: 3, ReadyReplicas: 3, AvailableReplicas: 3},
	}
	for _, c := range change {
		c(d)
	}
	return d
}

// aWorker is a Pod of the workers' Job.
func aWorker(name string, index int, change ...func(*corev1.Pod)) *corev1.Pod {
	p := aPod(name, change...)
	p.Labels = map[string]string{"app": "loadgen"}
	p.Annotations = map[string]string{"batch.kubernetes.io/job-completion-index": fmt.Sprint(index)}
	p.Spec.NodeName = "node-" + fmt.Sprint(index)
	return p
}

func running(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning }

// crashed is a Pod whose only container has ended in an error.
func crashed(p *corev1.Pod) {
	p.Status.Phase = corev1.PodFailed
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Error", ExitCode: 2}}}}
}

// pending is a Pod that waits for a container, for a reason.
func pending(reason string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodPending
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}}}
	}
}

// proxy is the API server as far as it passes requests on to Pods. Workers have clocks and ask the
// app, whose Pods answer in turn, as those of serve do; the app's Pods tell their ledgers.
type proxy struct {
	app     func() []string             // the Pods that answer to workers
	ledgers map[string]string           // what Pods of the app answer
	broken  map[string]http.HandlerFunc // Pods that answer otherwise
	mu      sync.Mutex
	asked   map[string]map[string]bool // URLs that workers were told to ask, by worker
	n       int
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/"+namespace+"/pods/http:"), "/proxy")
	pod, port, _ := strings.Cut(target, ":")
	if broken := p.broken[pod]; broken != nil {
		broken(w, r)
		return
	}
	switch r.Method + " :" + port + path {
	case "GET :8090/clock":
		_, _ = io.WriteString(w, `{"unixNano": 1}`)
	case "POST :8090/probe":
		p.ask(pod, w, r)
	case "GET :8080/ledger":
		_, _ = io.WriteString(w, p.ledgers[pod])
	default:
		http.Error(w, "no such thing: "+r.Method+" "+r.URL.Path, http.StatusNotFound)
	}
}

func (p *proxy) ask(worker string, w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var question struct{ URL string }
	if err := json.NewDecoder(r.Body).Decode(&question); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	if p.asked == nil {
		p.asked = map[string]map[string]bool{}
	}
	if p.asked[worker] == nil {
		p.asked[worker] = map[string]bool{}
	}
	p.asked[worker][question.URL] = true
	reply := map[string]any{"error": "connection refused"}
	if pods := p.app(); len(pods) > 0 {
		p.n++
		reply = map[string]any{"answer": traffic.Answer{Pod: pods[p.n%len(pods)]}}
	}
	_ = json.NewEncoder(w).Encode(reply)
}

// listen lets a cluster reach the proxy over the network.
func (p *proxy) listen(t *testing.T, c *Cluster) {
	t.Helper()
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	c.server, c.http = server.URL, server.Client()
}

// RoundTrip reaches the proxy without a network, which would keep the clock of a bubble from
// standing still.
func (p *proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

var (
	jobsGVR        = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
	podsGVR        = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	replicaSetsGVR = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}
	deploymentsGVR = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}

	// workloadResources are what can hold Pods, by kind.
	workloadResources = map[string]schema.GroupVersionResource{
		"Deployment": deploymentsGVR, "ReplicaSet": replicaSetsGVR,
		"StatefulSet": {Group: "apps", Version: "v1", Resource: "statefulsets"},
		"DaemonSet":   {Group: "apps", Version: "v1", Resource: "daemonsets"},
	}
)

// serviceIP is the address that every Service within the cluster gets.
const serviceIP = "10.96.7.7"

// controllers do what those of a cluster do with Deployments and Jobs: make a ReplicaSet and Pods,
// replace Pods that are deleted, collect what has no owner, give Services their addresses. Each
// call of settle is one round of theirs, and the fake calls it whenever somebody looks.
type controllers struct {
	t      *testing.T
	client *fake.Clientset
	mu     sync.Mutex
	made   int
	// nodePort is what Services get that ask for one.
	nodePort int32
	deleted  []metav1.DeleteOptions // of collections of Pods
}

func runControllers(t *testing.T, client *fake.Clientset) *controllers {
	t.Helper()
	c := &controllers{t: t, client: client, nodePort: 30001}
	for _, resource := range []string{"deployments", "replicasets", "pods"} {
		for _, verb := range []string{"get", "list"} {
			client.PrependReactor(verb, resource, func(clienttesting.Action) (bool, runtime.Object, error) {
				c.settle()
				return false, nil, nil
			})
		}
	}
	client.PrependReactor("create", "services", func(a clienttesting.Action) (bool, runtime.Object, error) {
		spec := &a.(clienttesting.CreateAction).GetObject().(*corev1.Service).Spec
		if spec.ClusterIP == "" {
			spec.ClusterIP = serviceIP
		}
		if spec.Type == corev1.ServiceTypeNodePort {
			spec.Ports[0].NodePort = c.nodePort
		}
		return false, nil, nil
	})
	collections := maps.Clone(workloadResources)
	collections["Job"] = jobsGVR
	for kind, gvr := range collections {
		client.PrependReactor("delete-collection", gvr.Resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
			list, err := client.Tracker().List(gvr, gvr.GroupVersion().WithKind(kind), namespace)
			require.NoError(t, err)
			items, err := meta.ExtractList(list)
			require.NoError(t, err)
			for _, item := range items {
				o, err := meta.Accessor(item)
				require.NoError(t, err)
				if a.(clienttesting.DeleteCollectionActionImpl).ListRestrictions.Labels.Matches(labels.Set(o.GetLabels())) {
					require.NoError(t, client.Tracker().Delete(gvr, namespace, o.GetName()))
				}
			}
			return true, nil, nil
		})
	}
	client.PrependReactor("delete-collection", "pods", func(a clienttesting.Action) (bool, runtime.Object, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		action := a.(clienttesting.DeleteCollectionActionImpl)
		c.deleted = append(c.deleted, action.DeleteOptions)
		for _, p := range c.pods() {
			if action.ListRestrictions.Labels.Matches(labels.Set(p.Labels)) {
				require.NoError(t, client.Tracker().Delete(podsGVR, namespace, p.Name))
			}
		}
		return true, nil, nil
	})
	return c
}

func (c *controllers) pods() []corev1.Pod {
	list, err := c.client.Tracker().List(podsGVR, corev1.SchemeGroupVersion.WithKind("Pod"), namespace)
	require.NoError(c.t, err)
	return list.(*corev1.PodList).Items
}

// names are those of the app's Pods.
func (c *controllers) names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, p := range c.pods() {
		if p.Labels["app"] == "app" {
			names = append(names, p.Name)
		}
	}
	return names
}

func (c *controllers) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	tracker := c.client.Tracker()
	c.settleJob()
	object, err := tracker.Get(deploymentsGVR, namespace, "app")
	if apierrors.IsNotFound(err) {
		// The garbage collector takes the ReplicaSet; Pods are left to whoever deletes them.
		list, err := tracker.List(replicaSetsGVR, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), namespace)
		require.NoError(c.t, err)
		for _, rs := range list.(*appsv1.ReplicaSetList).Items {
			require.NoError(c.t, tracker.Delete(replicaSetsGVR, namespace, rs.Name))
		}
		return
	}
	require.NoError(c.t, err)
	d := object.(*appsv1.Deployment).DeepCopy()
	if d.Status.ObservedGeneration == 0 {
		c.made++
		rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("app-%d", c.made), Namespace: namespace, Labels: map[string]string{"app": "app"}}}
		require.NoError(c.t, tracker.Create(replicaSetsGVR, rs, namespace))
		for i := range *d.Spec.Replicas {
			require.NoError(c.t, tracker.Create(podsGVR, aPod(fmt.Sprintf("%s-%d", rs.Name, i), ready), namespace))
		}
	}
	n := *d.Spec.Replicas
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: max(1, d.Generation), Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
	require.NoError(c.t, tracker.Update(deploymentsGVR, d, namespace))
}

// settleJob makes the Pods of a Job that has none, the last one first: their order in a list says
// nothing.
func (c *controllers) settleJob() {
	object, err := c.client.Tracker().Get(jobsGVR, namespace, "loadgen")
	if apierrors.IsNotFound(err) {
		return
	}
	require.NoError(c.t, err)
	job := object.(*batchv1.Job)
	if job.Status.Active > 0 {
		return
	}
	job = job.DeepCopy()
	job.Status.Active = *job.Spec.Parallelism
	require.NoError(c.t, c.client.Tracker().Update(jobsGVR, job, namespace))
	for i := range int(*job.Spec.Completions) {
		require.NoError(c.t, c.client.Tracker().Create(podsGVR, aWorker(fmt.Sprintf("loadgen-%c", 'z'-i), i, running), namespace))
	}
}

func find(t *testing.T, strategy, disruption string) scenarios.Scenario {
	t.Helper()
	c, err := scenarios.NewCatalogue()
	require.NoError(t, err)
	s, err := c.Find(strategy, disruption, scenarios.DefaultRate)
	require.NoError(t, err)
	// One consumer of each sort: what others are deployed as is no concern of these tests.
	s.Lanes = slices.DeleteFunc(s.Lanes, func(l scenarios.Lane) bool {
		return !slices.Contains([]string{"service", "dns", "dns-cached", "nodeport"}, l.Consumer.Name)
	})
	return s
}

// cancelled is a context that is over.
func cancelled(t *testing.T, cause error) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	return ctx
}
