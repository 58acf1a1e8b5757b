package cluster

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/worker"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// newProxied is an app in a cluster that holds these objects, and whose API server passes requests
// on as the proxy does.
func newProxied(p *proxy, objects ...runtime.Object) (*App, *fake.Clientset) {
	app, client := newApp(objects...)
	app.cluster.server, app.cluster.http = "http://api-server", &http.Client{Transport: p}
	return app, client
}

// TestJob: as many workers as asked for, one at least, of the image that is named.
func TestJob(t *testing.T) {
	tests := []struct {
		name      string
		config    Config
		want      int32
		wantImage string
	}{
		{"nobody says how many", Config{}, 1, fixtures.LoadImage},
		{"-workers 1", Config{Workers: 1}, 1, fixtures.LoadImage},
		{"-workers 4", Config{Workers: 4}, 4, fixtures.LoadImage},
		{"-load-image", Config{Workers: 2, LoadImage: "registry.example/loadgen:1"}, 2, "registry.example/loadgen:1"},
		{"-app-image is another", Config{AppImage: "registry.example/sampleapp:1"}, 1, fixtures.LoadImage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			job, err := (&App{cluster: &Cluster{config: tt.config}}).job(scenarios.Scenario{})
			require.NoError(t, err)
			assert.Equal(t, tt.want, *job.Spec.Completions)
			assert.Equal(t, tt.want, *job.Spec.Parallelism, "all at once")
			assert.Equal(t, tt.wantImage, job.Spec.Template.Spec.Containers[0].Image)
		})
	}
}

// TestNamesOfTheJob: what is written in fixtures/load/job.yaml and in the app's Deployment, and
// known here by constants.
func TestNamesOfTheJob(t *testing.T) {
	job, err := fixtures.LoadJob()
	require.NoError(t, err)
	assert.Equal(t, loadName, job.Name)
	assert.Equal(t, map[string]string{"app": loadName}, job.Spec.Template.Labels)
	assert.EqualValues(t, worker.Port, job.Spec.Template.Spec.Containers[0].Ports[0].ContainerPort)

	d, err := find(t, "prestop-sleep", "rolling-update").Strategy.Default()
	require.NoError(t, err)
	assert.EqualValues(t, protocol.Port, d.App().Ports[0].ContainerPort)
}

// TestRemoveWorkers: the Job goes, and with it its Pods at once; what isn't the workers' stays.
func TestRemoveWorkers(t *testing.T) {
	aJob := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "loadgen", Namespace: namespace, Labels: map[string]string{"app": "loadgen"}}}
	tests := []struct {
		name    string
		objects []runtime.Object
		want    []string
	}{
		{"none there", []runtime.Object{aPod("app-a", ready)}, nil},
		{"a Job that has no Pods yet", []runtime.Object{aPod("app-a", ready), aJob}, []string{"delete-collection jobs"}},
		{
			"Pods that a removal left that was cut off",
			[]runtime.Object{aPod("app-a", ready), aWorker("loadgen-a", 0, running, terminating), aWorker("loadgen-b", 1, running)},
			[]string{"delete-collection pods"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app, client := newApp(tt.objects...)
			runControllers(t, client)
			require.NoError(t, app.removeWorkers(t.Context()))
			assert.Equal(t, tt.want, actions(client))
			left, err := client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
			require.NoError(t, err)
			require.Len(t, left.Items, 1)
			assert.Equal(t, "app-a", left.Items[0].Name)
			jobs, err := client.BatchV1().Jobs(namespace).List(t.Context(), metav1.ListOptions{})
			require.NoError(t, err)
			assert.Empty(t, jobs.Items)
		})
	}
	t.Run("they stay", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			app, client := newApp(aWorker("loadgen-a", 0, running))
			refuse(client, "delete-collection", "pods", nil)
			require.EqualError(t, app.removeWorkers(t.Context()), "wait for the workers to go: not within 2m0s: 1 pods are there")
		})
	})
	t.Run("the Job can't be deleted", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			app, client := newApp(aJob)
			refuse(client, "delete-collection", "jobs", errDown)
			err := app.removeWorkers(t.Context())
			require.ErrorContains(t, err, "wait for the workers to go: ")
			require.ErrorIs(t, err, error(errDown))
		})
	})
	t.Run("their Pods can't be listed", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			app, client := newApp()
			refuse(client, "list", "pods", errDown)
			require.ErrorContains(t, app.removeWorkers(t.Context()), "wait for the workers to go: ")
		})
	})
}

// TestAwaitWorkers: which Pods let it return, and what it says is missing.
func TestAwaitWorkers(t *testing.T) {
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	both := []runtime.Object{aWorker("loadgen-a", 1, running), aWorker("loadgen-b", 0, running)}
	tests := []struct {
		name   string
		pods   []runtime.Object
		broken map[string]http.HandlerFunc
		want   string // what is missing; empty for nothing
	}{
		{"both", both, nil, ""},
		{"none", nil, nil, "0 of 2 are there"},
		{"one too few", both[:1], nil, "1 of 2 are there"},
		{"one too many", append([]runtime.Object{aWorker("loadgen-c", 2, running)}, both...), nil, "3 of 2 are there"},
		{"no image", append([]runtime.Object{aWorker("loadgen-c", 0, pending("ImagePullBackOff"))}, both[:1]...), nil, "Pod loadgen-c is Pending: ImagePullBackOff"},
		{"no node for it", append([]runtime.Object{aWorker("loadgen-c", 0, func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending })}, both[:1]...), nil, "Pod loadgen-c is Pending"},
		{"one of a run before", append([]runtime.Object{aWorker("loadgen-c", 0, running, terminating)}, both...), nil, "Pod loadgen-c is terminating"},
		{"one of a run before that crashed", append([]runtime.Object{aWorker("loadgen-c", 0, crashed, terminating)}, both...), nil, "Pod loadgen-c is terminating"},
		{"one doesn't listen yet", both, map[string]http.HandlerFunc{"loadgen-a": badGateway}, "GET /clock: 502 Bad Gateway: nobody listens"},
		{"one hangs", both, map[string]http.HandlerFunc{"loadgen-a": silent}, `loadgen-a:8090/proxy/clock": context deadline exceeded`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				app, _ := newProxied(&proxy{broken: tt.broken}, tt.pods...)
				ctx, cancel := context.WithTimeoutCause(t.Context(), 7*sec, errUser)
				defer cancel()
				err := app.awaitWorkers(ctx, 2)
				if tt.want != "" {
					require.ErrorIs(t, err, errUser)
					assert.ErrorContains(t, err, "wait for the workers: ")
					assert.ErrorContains(t, err, tt.want)
					return
				}
				require.NoError(t, err)
				var got []string
				for _, w := range app.workers {
					got = append(got, w.Name+" on "+w.Node)
				}
				assert.Equal(t, []string{"worker-0 on node-0", "worker-1 on node-1"}, got, "by their index, not by their Pods' names")
				assert.NotNil(t, app.Sender("cluster"))
			})
		})
	}
	t.Run("the Pods can't be listed", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			app, client := newProxied(&proxy{})
			refuse(client, "list", "pods", errDown)
			require.ErrorIs(t, app.awaitWorkers(t.Context(), 1), error(errDown))
		})
	})
	t.Run("one comes late", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			app, client := newProxied(&proxy{}, both[:1]...)
			time.AfterFunc(20*sec, func() { assert.NoError(t, client.Tracker().Add(both[1])) })
			began := time.Now()
			require.NoError(t, app.awaitWorkers(t.Context(), 2))
			assert.Equal(t, 20*sec, time.Since(began).Truncate(sec))
			assert.Len(t, app.workers, 2)
		})
	})
}

// TestWorkerThatEnded: no other takes its place, so nobody waits for it, wherever it was needed.
func TestWorkerThatEnded(t *testing.T) {
	tests := []struct {
		name string
		end  func(*corev1.Pod)
		want string
	}{
		{"it crashed", crashed, "Pod loadgen-a is Failed: Error: exit code 2"},
		{"its program is not in the image", func(p *corev1.Pod) {
			crashed(p)
			end := p.Status.ContainerStatuses[0].State.Terminated
			end.Reason, end.ExitCode, end.Message = "StartError", 128, "no such file or directory"
		}, "Pod loadgen-a is Failed: StartError: exit code 128: no such file or directory"},
		{"it was evicted", func(p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node was low on resource: memory."}
		}, "Pod loadgen-a is Failed: Evicted: The node was low on resource: memory."},
		{"it is done before it was asked for anything", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }, "Pod loadgen-a is Succeeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				p := &proxy{app: func() []string { return []string{"a"} }, broken: map[string]http.HandlerFunc{}}
				other, one := aWorker("loadgen-b", 1, running), aWorker("loadgen-a", 0, running)
				a, client := newProxied(p, aPod("a", ready), other, one)
				require.NoError(t, a.awaitWorkers(t.Context(), 2))
				service := aConsumer(t, "service")
				fleet, probe := a.Sender("cluster"), a.probes(service)[0]
				require.NoError(t, a.waitServed(t.Context(), worker.Target{URL: "http://10.96.7.7"}, probe))

				tt.end(one)
				require.NoError(t, client.Tracker().Update(podsGVR, one, namespace))
				p.broken["loadgen-a"] = badGateway
				began := time.Now()
				require.EqualError(t, a.awaitWorkers(t.Context(), 2), "wait for the workers: permanent failure: worker-0: worker has ended: "+tt.want)
				require.EqualError(t, a.waitServed(t.Context(), worker.Target{URL: "http://10.96.7.7"}, probe), "wait for an answer of each Pod: permanent failure: probe from worker-0: worker has ended: "+tt.want)
				require.ErrorIs(t, fleet.Sync(t.Context(), timeline.NewClock(time.Now())), worker.ErrEnded)
				assert.Zero(t, time.Since(began))
			})
		})
	}
}

// TestCall: what is wrong with the way to a worker, and what with the worker.
func TestCall(t *testing.T) {
	no := func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "has an order already", http.StatusConflict)
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
		pods   []runtime.Object
		down   error // that the API server has of its own
		ended  bool
		want   string
	}{
		{"it can't be reached", badGateway, []runtime.Object{aWorker("loadgen-a", 0, running)}, nil, false, "GET /clock: 502 Bad Gateway: nobody listens"},
		{"it can't be reached, nor can the API server", badGateway, []runtime.Object{aWorker("loadgen-a", 0, crashed)}, errDown, false, "GET /clock: 502 Bad Gateway: nobody listens"},
		{"it has crashed", badGateway, []runtime.Object{aWorker("loadgen-a", 0, crashed)}, nil, true, "worker has ended: Pod loadgen-a is Failed: Error: exit code 2"},
		{"its Pod was deleted", badGateway, nil, nil, true, "worker has ended: Pod loadgen-a is gone"},
		{"it says no", no, []runtime.Object{aWorker("loadgen-a", 0, crashed)}, nil, false, "worker refused: GET /clock: 409 Conflict: has an order already"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, client := newProxied(&proxy{broken: map[string]http.HandlerFunc{"loadgen-a": tt.answer}}, tt.pods...)
			if tt.down != nil {
				refuse(client, "get", "pods", tt.down)
			}
			_, err := a.call("loadgen-a")(t.Context(), "/clock", nil)
			require.EqualError(t, err, tt.want)
			assert.Equal(t, tt.ended, errors.Is(err, worker.ErrEnded))
		})
	}
}

// TestProbes: load from within the cluster is asked for by every worker, and what a worker says is
// missing is told.
func TestProbes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		app := []string{"a", "b"}
		p := &proxy{app: func() []string { return app }}
		a, _ := newProxied(p, aPod("a", ready), aPod("b", ready), aWorker("loadgen-a", 0, running), aWorker("loadgen-b", 1, running))
		service := aConsumer(t, "service")
		a.urls[service.Name] = []string{"http://10.96.7.7"}
		assert.Empty(t, a.probes(service), "no workers yet")
		assert.Nil(t, a.Sender("cluster"))

		require.NoError(t, a.awaitWorkers(t.Context(), 2))
		probes := a.probes(service)
		require.Len(t, probes, 2)
		require.NoError(t, a.waitServed(t.Context(), a.targets(service)[0], probes[1]))
		assert.Equal(t, map[string]map[string]bool{"loadgen-b": {"http://10.96.7.7": true}}, p.asked, "that worker, the Service's address")

		app = nil
		err := a.waitServed(t.Context(), a.targets(service)[0], probes[0])
		require.EqualError(t, err, "wait for an answer of each Pod: not within 2m0s: probe from worker-0: connection refused")
	})
}

// TestServed: the ledgers of the Pods that live on. Nothing is known of one that doesn't tell, and
// it takes no time from the others.
func TestServed(t *testing.T) {
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) }
	}
	p := &proxy{
		ledgers: map[string]string{"app-b": `{"service/new": 120, "nodeport/slow": 7}` + "\n", "app-c": "null\n", "app-d": `{"service/new": 1}`},
		broken: map[string]http.HandlerFunc{
			"app-a": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			"app-e": badGateway, "app-f": text("no ledger"), "app-g": text(`{"service/new": "many"}`),
		},
	}
	app, client := newProxied(p,
		aPod("app-a", ready), aPod("app-b", ready), aPod("app-c", ready), aPod("app-d", ready, terminating), aPod("app-e", ready), aPod("app-f", ready),
		aPod("app-g", ready), aWorker("loadgen-a", 0, running),
	)
	p.listen(t, app.cluster)
	ctx, cancel := context.WithTimeout(t.Context(), sec)
	defer cancel()
	assert.Equal(t, []timeline.Served{
		{Pod: "app-b", Answered: map[string]int{"service/new": 120, "nodeport/slow": 7}}, {Pod: "app-c"},
	}, app.served(ctx), "one that goes says it in its last words")

	app.cluster.server = "://"
	assert.Empty(t, app.served(t.Context()), "no URL")
	refuse(client, "list", "pods", errDown)
	assert.Empty(t, app.served(t.Context()), "no Pods")
}

// TestClose: after a run nobody sends, told to stop or not, and the app is left as it is.
func TestClose(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		worker := aWorker("loadgen-a", 0, running)
		job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "loadgen", Namespace: namespace, Labels: worker.Labels}}
		app, client := newApp(aDeployment(), aPod("app-1-0", ready), job, worker)
		controllers := runControllers(t, client)
		require.NoError(t, app.Close(t.Context()))
		assert.Equal(t, []string{"delete-collection jobs", "delete-collection pods"}, actions(client))
		assert.Zero(t, *controllers.deleted[0].GracePeriodSeconds)
		assert.Equal(t, metav1.DeletePropagationBackground, *controllers.deleted[0].PropagationPolicy)
		assert.Equal(t, []string{"app-1-0"}, controllers.names())
		client.ClearActions()
		require.NoError(t, app.Close(t.Context()), "it may be called more than once")
		assert.Empty(t, actions(client))

		require.NoError(t, client.Tracker().Add(worker))
		refuse(client, "delete-collection", "pods", errDown)
		require.ErrorContains(t, app.Close(t.Context()), "wait for the workers to go: ")
		refuse(client, "list", "jobs", errDown)
		require.ErrorContains(t, app.Close(t.Context()), "wait for the workers to go: ")
	})
}

// TestJobDeadline: workers outlive the longest run, by as much as any other.
func TestJobDeadline(t *testing.T) {
	usual, err := (&App{cluster: &Cluster{}}).job(find(t, "prestop-sleep", "rolling-update"))
	require.NoError(t, err)
	assert.Equal(t, new(int64(900)), usual.Spec.Template.Spec.ActiveDeadlineSeconds)
	long, err := (&App{cluster: &Cluster{}}).job(find(t, "ten-replicas-stop-40s", "rolling-update"))
	require.NoError(t, err)
	assert.Equal(t, new(int64(900+610-240)), long.Spec.Template.Spec.ActiveDeadlineSeconds)
}

// TestJobToken: the workers get the token of a ServiceAccount only where a consumer's client watches.
func TestJobToken(t *testing.T) {
	for address, want := range map[string]bool{"http://{clusterIP}": false, "kubernetes:///{service}.{namespace}:grpc": true} {
		lanes := []scenarios.Lane{{Consumer: fixtures.Consumer{Address: address}}}
		job, err := (&App{cluster: &Cluster{}}).job(scenarios.Scenario{Lanes: lanes})
		require.NoError(t, err)
		assert.Equal(t, want, *job.Spec.Template.Spec.AutomountServiceAccountToken, address)
	}
}
