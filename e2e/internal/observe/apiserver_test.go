package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

const (
	ms  = time.Millisecond
	sec = time.Second

	namespace = "zerodrop-test"
	podsPath  = "/api/v1/namespaces/" + namespace + "/pods"
	slicePath = "/apis/discovery.k8s.io/v1/namespaces/" + namespace + "/endpointslices"
)

// apiServer stands in for an API server: lists, watches and logs over HTTP, as client-go gets them, on connections in memory. So all of it runs in a bubble of
// testing/synctest, where the clock stands still until everything waits: the time of each event is exact, and a goroutine that stays fails the test.
type apiServer struct {
	client kubernetes.Interface

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced with each change
	version   int
	resources map[string]*resource // by path
	logs      map[string]*podLog
	requests  []*url.URL
}

// resource is all objects of one kind, and what happened to them.
type resource struct {
	list    metav1.TypeMeta
	objects map[string]runtime.Object
	history []change
	oldest  int // watches from before this version have expired
	epoch   int // watches from an earlier epoch end
	away    bool
	blunt   bool // expired watches are refused, instead of being begun and ended
	refuse  map[string]*apierrors.StatusError
}

type change struct {
	version int
	raw     []byte // a line of a watch
	labels  labels.Set
}

type podLog struct {
	text       string
	ended, cut bool
	refuse     *apierrors.StatusError
}

// inBubble runs a test against a stand-in for the API server.
func inBubble(t *testing.T, test func(t *testing.T, s *apiServer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &apiServer{
			changed: make(chan struct{}), version: 100, logs: map[string]*podLog{},
			resources: map[string]*resource{
				podsPath:  newResource("v1", "PodList"),
				slicePath: newResource("discovery.k8s.io/v1", "EndpointSliceList"),
			},
		}
		l := &listener{conns: make(chan net.Conn), closed: make(chan struct{})}
		server := &http.Server{Handler: s}
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		transport := &http.Transport{DialContext: l.dial}
		t.Cleanup(func() {
			transport.CloseIdleConnections()
			assert.NoError(t, server.Close())
			assert.ErrorIs(t, <-served, http.ErrServerClosed)
		})
		config := &rest.Config{Host: "http://api-server", QPS: -1, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON}}
		var err error
		s.client, err = kubernetes.NewForConfigAndClient(config, &http.Client{Transport: transport})
		require.NoError(t, err)
		test(t, s)
	})
}

func newResource(version, list string) *resource {
	return &resource{
		list:    metav1.TypeMeta{APIVersion: version, Kind: list},
		objects: map[string]runtime.Object{}, refuse: map[string]*apierrors.StatusError{},
	}
}

// listener hands out pipes.
type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

func (l *listener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// update does something to the state and tells everyone who waits for it.
func (s *apiServer) update(do func()) {
	s.mu.Lock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	synctest.Wait()
}

// put creates or changes an object, remove removes it.
func (s *apiServer) put(object runtime.Object)    { s.change(object, false) }
func (s *apiServer) remove(object runtime.Object) { s.change(object, true) }

func (s *apiServer) change(object runtime.Object, remove bool) {
	object = object.DeepCopyObject()
	s.update(func() {
		r := s.resources[pathOf(object)]
		m, err := meta.Accessor(object)
		if err != nil {
			panic(err)
		}
		s.version++
		m.SetResourceVersion(strconv.Itoa(s.version))
		kind := watch.Added
		switch {
		case remove:
			kind = watch.Deleted
			delete(r.objects, m.GetName())
		case r.objects[m.GetName()] != nil:
			kind = watch.Modified
			fallthrough
		default:
			r.objects[m.GetName()] = object
		}
		r.history = append(r.history, change{s.version, watchLine(kind, object), m.GetLabels()})
	})
}

func pathOf(object runtime.Object) string {
	if _, ok := object.(*corev1.Pod); ok {
		return podsPath
	}
	return slicePath
}

func watchLine(kind watch.EventType, object any) []byte {
	raw, err := json.Marshal(map[string]any{"type": kind, "object": object})
	if err != nil {
		panic(err)
	}
	return append(raw, '\n')
}

// disconnect ends all watches of a resource; they can be resumed.
func (s *apiServer) disconnect(path string) {
	s.update(func() { s.resources[path].epoch++ })
}

// leave ends all watches of a resource and begins no new ones until comeBack.
func (s *apiServer) leave(path string) {
	s.update(func() { s.resources[path].epoch++; s.resources[path].away = true })
}

// comeBack ends leave. With forget, the server doesn't know any more what happened before now.
func (s *apiServer) comeBack(path string, forget bool) {
	s.update(func() {
		r := s.resources[path]
		r.away = false
		if forget {
			r.oldest = s.version
		}
	})
}

// refuse answers a verb, list or watch, with an error; nil for no more.
func (s *apiServer) refuse(path, verb string, err *apierrors.StatusError) {
	s.update(func() { s.resources[path].refuse[verb] = err })
}

// say lets a Pod write to its log.
func (s *apiServer) say(pod string, text string) {
	s.update(func() { s.logOf(pod).text += text })
}

// endLog ends a log in an orderly way, cutLog by breaking the connection.
func (s *apiServer) endLog(pod string) { s.update(func() { s.logOf(pod).ended = true }) }
func (s *apiServer) cutLog(pod string) { s.update(func() { s.logOf(pod).cut = true }) }

func (s *apiServer) logOf(pod string) *podLog {
	if s.logs[pod] == nil {
		s.logs[pod] = &podLog{}
	}
	return s.logs[pod]
}

// asked are the requests so far whose path ends so, of watches or of others.
func (s *apiServer) asked(suffix string, watches bool) []*url.URL {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*url.URL
	for _, u := range s.requests {
		if strings.HasSuffix(u.Path, suffix) && (u.Query().Get("watch") != "") == watches {
			out = append(out, u)
		}
	}
	return out
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.URL)
	s.mu.Unlock()
	name, isLog := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, podsPath+"/"), "/log")
	switch {
	case isLog:
		s.serveLog(w, r, name)
	case s.resources[r.URL.Path] == nil:
		refuse(w, apierrors.NewGenericServerResponse(http.StatusNotFound, r.Method, corev1.Resource("x"), r.URL.Path, "no such path", 0, true))
	case r.URL.Query().Get("watch") != "":
		s.serveWatch(w, r, s.resources[r.URL.Path])
	default:
		s.serveList(w, r, s.resources[r.URL.Path])
	}
}

var statusType = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}

func refuse(w http.ResponseWriter, err *apierrors.StatusError) {
	status := err.Status()
	status.TypeMeta = statusType
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	w.WriteHeader(int(status.Code))
	_ = json.NewEncoder(w).Encode(status)
}

func (s *apiServer) serveList(w http.ResponseWriter, r *http.Request, from *resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := from.refuse["list"]; err != nil {
		refuse(w, err)
		return
	}
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		panic(err)
	}
	items := []runtime.Object{}
	for _, object := range from.objects {
		if m, err := meta.Accessor(object); err == nil && selector.Matches(labels.Set(m.GetLabels())) {
			items = append(items, object)
		}
	}
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"apiVersion": from.list.APIVersion, "kind": from.list.Kind, "items": items,
		"metadata": metav1.ListMeta{ResourceVersion: strconv.Itoa(s.version)},
	})
}

func (s *apiServer) serveWatch(w http.ResponseWriter, r *http.Request, from *resource) {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		panic(err)
	}
	version, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	epoch := from.epoch
	if from.away {
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	no := from.refuse["watch"]
	if from.blunt && version < from.oldest {
		no = expired(version, from.oldest)
	}
	if no != nil {
		s.mu.Unlock()
		refuse(w, no)
		return
	}
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	for {
		var lines [][]byte
		end := from.epoch != epoch
		if version < from.oldest {
			status := expired(version, from.oldest).Status()
			status.TypeMeta = statusType
			lines, end = append(lines, watchLine(watch.Error, status)), true
		} else {
			for _, c := range from.history {
				if c.version > version && selector.Matches(c.labels) {
					lines = append(lines, c.raw)
				}
			}
			version = s.version
		}
		changed := s.changed
		s.mu.Unlock()
		for _, line := range lines {
			_, _ = w.Write(line)
		}
		w.(http.Flusher).Flush()
		if end {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
		s.mu.Lock()
	}
}

func expired(version, oldest int) *apierrors.StatusError {
	return apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", version, oldest))
}

func (s *apiServer) serveLog(w http.ResponseWriter, r *http.Request, pod string) {
	written := 0
	for {
		s.mu.Lock()
		l := *s.logOf(pod)
		changed := s.changed
		s.mu.Unlock()
		if l.refuse != nil {
			refuse(w, l.refuse)
			return
		}
		_, _ = w.Write([]byte(l.text[written:]))
		w.(http.Flusher).Flush()
		written = len(l.text)
		switch {
		case l.cut:
			panic(http.ErrAbortHandler)
		case l.ended:
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// observe begins to watch on a clock that starts now.
func (s *apiServer) observe(t *testing.T, change ...func(*Config)) *Observation {
	t.Helper()
	config := Config{Client: s.client, Namespace: namespace, Selector: "app=app", Services: []string{"app"}, Container: "app"}
	for _, c := range change {
		c(&config)
	}
	o, err := Start(t.Context(), timeline.NewClock(time.Now()), config)
	require.NoError(t, err)
	synctest.Wait()
	return o
}

// after lets time pass until everything that it brings has been done.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// aPod is a Pod of the app that has just been created.
func aPod(name string) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"app": "app"}},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
}

func setRunning(p *corev1.Pod) {
	p.Spec.NodeName, p.Status.PodIP, p.Status.Phase = "worker", "10.244.1.2", corev1.PodRunning
	p.Status.ContainerStatuses = []corev1.ContainerStatus{
		{Name: "sidecar", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error"}}},
		{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
	}
}

func setReady(p *corev1.Pod, ready bool) {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: status}}
}

// setLeaving deletes a Pod with a grace period of 30 s.
func setLeaving(p *corev1.Pod) {
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = new(metav1.Now()), new(int64(30))
}

func setExited(p *corev1.Pod, code int32, reason string) {
	p.Status.ContainerStatuses[1].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}
}

// aReadyPod is a Pod of the app that serves.
func aReadyPod(name string) *corev1.Pod {
	p := aPod(name)
	setRunning(p)
	setReady(p, true)
	return p
}

// aSlice is an EndpointSlice of the app's Service.
func aSlice(name string, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		TypeMeta:   metav1.TypeMeta{Kind: "EndpointSlice", APIVersion: "discovery.k8s.io/v1"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{discoveryv1.LabelServiceName: "app"}},
		Endpoints:  endpoints,
	}
}

// The conditions that an endpoint goes through.
var (
	unready      = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(false), Terminating: new(false)}
	serving      = discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)}
	unsaid       = discoveryv1.EndpointConditions{}
	terminating  = discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}
	stillServing = discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(true)} // with publishNotReadyAddresses
)

func endpoint(pod string, c discoveryv1.EndpointConditions) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{"10.244.1.2"}, Conditions: c, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod}}
}

// only keeps the events of these kinds.
func only(events []timeline.Event, kinds ...timeline.Kind) []timeline.Event {
	var out []timeline.Event
	for _, e := range events {
		for _, kind := range kinds {
			if e.Kind == kind {
				out = append(out, e)
			}
		}
	}
	return out
}
