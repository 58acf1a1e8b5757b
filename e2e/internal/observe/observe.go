// Package observe watches the app's Pods, their endpoints and their logs, and writes down what happens as events on the run's clock. It is the only
// watcher, and it writes nothing to the cluster.
package observe

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
	"k8s.io/klog/v2"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Config says what to watch.
type Config struct {
	Client    kubernetes.Interface
	Namespace string
	App       string   // value of the label app on the Pods
	Services  []string // whose EndpointSlices
	Container string   // whose log
	// LogDir gets the log of each Pod as <pod>.log; empty if nobody wants them. The events in the logs are read all the same.
	LogDir string
	// Nodes are those that can be asked for what the API server doesn't know: connections, processes. None where that can't be had.
	Nodes []Node
}

// Observation is a watch that is under way.
type Observation struct {
	clock  timeline.Clock
	config Config
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu         sync.Mutex
	events     []timeline.Event
	served     []timeline.Served
	seen       map[mark]bool
	containers map[string]timeline.Event // by ID: whose they are
	present    map[string]string         // by etcd's key: the resourceVersion of what is kept there
	replaced   map[string]place          // by resourceVersion: what that version took the place of
	kernels    map[string]string         // by node: of the app's processes there; empty if one doesn't tell
	nodes      []*nodeWatch
	routes     timeline.Routes
	sources    []timeline.Source
	finished   bool
}

// pod tells Pods apart: names come again.
type pod struct{ name, uid string }

// mark is an event that is told once per Pod.
type mark struct {
	pod  pod
	kind timeline.Kind
}

// Start begins to watch and returns when the present state is known. Stop must be called.
func Start(ctx context.Context, clock timeline.Clock, config Config) (*Observation, error) {
	// RetryWatcher logs each attempt of its own. What comes of them is in the events.
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, klog.Logger{}))
	o := &Observation{
		clock: clock, config: config, cancel: cancel,
		seen: map[mark]bool{}, containers: map[string]timeline.Event{}, present: map[string]string{}, replaced: map[string]place{},
		kernels: map[string]string{},
	}
	o.watchNodes(ctx)
	defer o.awaitNodes(ctx) // while the rest begins
	pods := config.Client.CoreV1().Pods(config.Namespace)
	slices := config.Client.DiscoveryV1().EndpointSlices(config.Namespace)
	nodes := config.Client.CoreV1().Nodes()
	told := config.Client.CoreV1().Events(config.Namespace)
	for _, w := range []*watcher{
		{
			what:     "Pods",
			resource: "pods",
			labels:   "app=" + config.App,
			list:     func(opts metav1.ListOptions) (runtime.Object, error) { return pods.List(ctx, opts) },
			watch:    func(opts metav1.ListOptions) (watch.Interface, error) { return pods.Watch(ctx, opts) },
			see:      o.seePods(ctx),
		},
		{
			what:     "EndpointSlices",
			resource: "endpointslices",
			labels:   discoveryv1.LabelServiceName + " in (" + strings.Join(config.Services, ",") + ")",
			list:     func(opts metav1.ListOptions) (runtime.Object, error) { return slices.List(ctx, opts) },
			watch:    func(opts metav1.ListOptions) (watch.Interface, error) { return slices.Watch(ctx, opts) },
			see:      o.seeSlices(),
		},
		{
			what:     "Nodes",
			optional: true,
			list:     func(opts metav1.ListOptions) (runtime.Object, error) { return nodes.List(ctx, opts) },
			watch:    func(opts metav1.ListOptions) (watch.Interface, error) { return nodes.Watch(ctx, opts) },
			see:      o.seeNodes(),
		},
		{
			what:     "Events",
			optional: true,
			list:     func(opts metav1.ListOptions) (runtime.Object, error) { return told.List(ctx, opts) },
			watch:    func(opts metav1.ListOptions) (watch.Interface, error) { return told.Watch(ctx, opts) },
			see:      o.seeEvents,
		},
	} {
		w.observation = o
		err := w.start(ctx)
		if w.optional && (apierrors.IsForbidden(err) || apierrors.IsNotFound(err)) {
			continue
		}
		if err != nil {
			o.Stop()
			return nil, fmt.Errorf("observe %s: %w", w.what, err)
		}
	}
	return o, nil
}

// Stop ends the watch and returns what was seen: events and routes in the order of their time, and the last words of Pods.
func (o *Observation) Stop() timeline.Seen {
	o.cancel()
	o.done.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.finished {
		o.finished = true
		o.settle()
		o.appSources()
		slices.SortStableFunc(o.events, func(a, b timeline.Event) int { return cmp.Compare(a.At, b.At) })
	}
	return timeline.Seen{Events: o.events, Served: slices.Clone(o.served), Sources: o.sources, Routes: o.routes}
}

// once writes an event down unless the Pod had one of the kind already.
func (o *Observation) once(e timeline.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if key := (mark{pod{e.Pod, e.UID}, e.Kind}); !o.seen[key] {
		o.seen[key] = true
		o.events = append(o.events, e)
	}
}

func (o *Observation) add(e timeline.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = append(o.events, e)
}

// withdraw takes an event back that has turned out not to have happened.
func (o *Observation) withdraw(key mark) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen[key] {
		delete(o.seen, key)
		o.events = slices.DeleteFunc(o.events, func(e timeline.Event) bool { return mark{pod{e.Pod, e.UID}, e.Kind} == key })
	}
}

func (o *Observation) now() time.Duration { return o.clock.Offset(time.Now()) }

// seePods returns what to do with the state of Pods: objects that exist, or were deleted, as of the given offset.
func (o *Observation) seePods(ctx context.Context) func(at time.Duration, object runtime.Object, deleted bool) {
	wasReady := map[pod]bool{}
	return func(at time.Duration, object runtime.Object, deleted bool) {
		p, ok := object.(*corev1.Pod)
		if !ok {
			return
		}
		id := pod{p.Name, string(p.UID)}
		e := timeline.Event{At: at, Pod: p.Name, UID: id.uid, Node: p.Spec.NodeName, IP: p.Status.PodIP, Version: p.ResourceVersion}
		tell := func(kind timeline.Kind) { e.Kind = kind; o.once(e) }
		tell(timeline.PodCreated)
		if p.Spec.NodeName != "" {
			tell(timeline.PodScheduled)
		}
		if p.Status.PodIP != "" {
			tell(timeline.PodAddressed)
		}
		ready := Ready(p)
		if ready && !wasReady[id] {
			e.Kind = timeline.PodReady
			o.add(e)
		}
		if wasReady[id] && !ready && p.DeletionTimestamp == nil {
			e.Kind = timeline.PodUnready
			o.add(e)
		}
		wasReady[id] = ready
		if p.DeletionTimestamp != nil {
			tell(timeline.PodDeleted)
		}
		for _, c := range p.Status.ContainerStatuses {
			if c.Name != o.config.Container {
				continue
			}
			if c.ContainerID != "" {
				o.own(c.ContainerID, e)
			}
			if c.State.Running != nil || c.State.Terminated != nil {
				tell(timeline.PodStarted)
				o.follow(ctx, e)
			}
			if t := c.State.Terminated; t != nil {
				e.Code, e.Detail = int(t.ExitCode), t.Reason
				tell(timeline.ContainerExit)
				e.Code, e.Detail = 0, ""
			}
		}
		if deleted {
			tell(timeline.PodGone)
		}
	}
}

// seeSlices returns what to do with the state of EndpointSlices. An endpoint is gone when no slice has it any more. One that moves from a slice to another
// may seem to be gone for a moment, depending on which of the two is seen first: when it comes back, it has not been gone.
func (o *Observation) seeSlices() func(at time.Duration, object runtime.Object, deleted bool) {
	has := map[string]map[pod]bool{} // slice → Pods in it
	wasServing := map[pod]bool{}
	return func(at time.Duration, object runtime.Object, deleted bool) {
		s, ok := object.(*discoveryv1.EndpointSlice)
		if !ok {
			return
		}
		now := map[pod]bool{}
		for _, endpoint := range s.Endpoints {
			if deleted || endpoint.TargetRef == nil || endpoint.TargetRef.Kind != "Pod" {
				continue
			}
			id := pod{endpoint.TargetRef.Name, string(endpoint.TargetRef.UID)}
			now[id] = true
			o.withdraw(mark{id, timeline.EndpointGone})
			e := timeline.Event{At: at, Pod: id.name, UID: id.uid, Version: s.ResourceVersion}
			c := endpoint.Conditions
			switch {
			case c.Terminating != nil && *c.Terminating:
				e.Kind = timeline.EndpointTerminating
				o.once(e)
				if c.Serving != nil && !*c.Serving {
					e.Kind = timeline.EndpointNotServing
					o.once(e)
				}
			case c.Ready == nil || *c.Ready: // an unset Ready means ready, says the API
				if !wasServing[id] {
					e.Kind = timeline.EndpointServing
					o.add(e)
				}
				wasServing[id] = true
			case wasServing[id]:
				e.Kind = timeline.EndpointUnready
				o.add(e)
				wasServing[id] = false
			}
		}
		before := has[s.Name]
		has[s.Name] = now
		for id := range before {
			if !now[id] && !inAny(has, id) {
				o.once(timeline.Event{At: at, Pod: id.name, UID: id.uid, Kind: timeline.EndpointGone, Version: s.ResourceVersion})
			}
		}
	}
}

// seeNodes returns what to do with the state of Nodes. One that stops being ready, or is removed, takes Pods away that nobody meant to disrupt.
func (o *Observation) seeNodes() func(at time.Duration, object runtime.Object, deleted bool) {
	wasReady := map[string]bool{}
	return func(at time.Duration, object runtime.Object, deleted bool) {
		node, ok := object.(*corev1.Node)
		if !ok {
			return
		}
		ready := !deleted && slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
		if wasReady[node.Name] && !ready {
			o.add(timeline.Event{At: at, Kind: timeline.NodeUnready, Node: node.Name})
		}
		wasReady[node.Name] = ready
	}
}

// own writes down whose a container is, by its ID as containerd knows it.
func (o *Observation) own(id string, e timeline.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, id, _ = strings.Cut(id, "://")
	o.containers[id] = timeline.Event{Pod: e.Pod, UID: e.UID, Node: e.Node}
}

// seeEvents reads what the kubelet says of the app's Pods. Events of earlier Pods lie about for an hour: only what is of a Pod that was seen, and happened since
// the start, is told. At is when the watch delivered it, which may be seconds after the fact.
func (o *Observation) seeEvents(at time.Duration, object runtime.Object, deleted bool) {
	event, ok := object.(*corev1.Event)
	if !ok || deleted || event.InvolvedObject.Kind != "Pod" || event.LastTimestamp.Unix() < o.clock.Start().Unix() {
		return
	}
	e := timeline.Event{At: at, Pod: event.InvolvedObject.Name, UID: string(event.InvolvedObject.UID)}
	switch event.Reason {
	case "Killing":
		e.Kind = timeline.KubeletKilling
	case "FailedPreStopHook":
		e.Kind, e.Detail = timeline.PreStopFailed, event.Message
	default:
		return
	}
	o.mu.Lock()
	known := o.seen[mark{pod{e.Pod, e.UID}, timeline.PodCreated}]
	o.mu.Unlock()
	if known {
		o.once(e)
	}
}

func inAny(has map[string]map[pod]bool, id pod) bool {
	for _, pods := range has {
		if pods[id] {
			return true
		}
	}
	return false
}

// Ready says whether a Pod's Ready condition is true.
func Ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// watcher lists once and watches from there. When a watch can't be resumed where it ended, changes may have been missed: it says so and lists anew.
type watcher struct {
	observation *Observation
	what        string
	resource    string // as the API names it; empty where nobody asks when a change happened
	optional    bool   // a run does without it where it isn't allowed, as in a cluster that is shared
	labels      string
	list        func(metav1.ListOptions) (runtime.Object, error)
	watch       func(metav1.ListOptions) (watch.Interface, error)
	see         func(at time.Duration, object runtime.Object, deleted bool)
	known       map[string]runtime.Object
}

func (w *watcher) start(ctx context.Context) error {
	version, err := w.snapshot()
	if err != nil {
		return err
	}
	w.observation.done.Go(func() {
		for ctx.Err() == nil {
			began := w.observation.now()
			why := w.follow(ctx, version)
			if ctx.Err() != nil {
				return
			}
			w.observation.add(timeline.Event{At: w.observation.now(), Kind: timeline.WatchGap, Detail: w.what + ": " + why})
			pause(ctx, began+pace-w.observation.now())
			for version, err = w.snapshot(); err != nil && ctx.Err() == nil; version, err = w.snapshot() {
				pause(ctx, pace)
			}
		}
	})
	return nil
}

// pace is the least time between two attempts to watch, so that an API server that refuses isn't flooded.
const pace = time.Second

// snapshot sees everything that is there, and the end of everything that was known and is there no more. It returns the version to watch from.
func (w *watcher) snapshot() (version string, err error) {
	list, err := w.list(metav1.ListOptions{LabelSelector: w.labels})
	if err != nil {
		return "", err
	}
	at := w.observation.now()
	found := map[string]runtime.Object{}
	err = eachItem(list, func(object runtime.Object) {
		name := nameOf(object)
		found[name] = object
		w.keep(object, false, false)
		w.see(at, unversioned(object), false)
	})
	if err != nil {
		return "", err
	}
	for name, object := range w.known {
		if found[name] == nil {
			w.keep(object, false, true)
			w.see(at, unversioned(object), true)
		}
	}
	w.known = found
	return listVersion(list), nil
}

// follow sees changes until the watch ends for good, and says why it did.
func (w *watcher) follow(ctx context.Context, version string) string {
	source := &cache.ListWatch{WatchFuncWithContext: func(_ context.Context, opts metav1.ListOptions) (watch.Interface, error) {
		opts.LabelSelector = w.labels
		return w.begin(ctx, opts)
	}}
	changes, err := toolswatch.NewRetryWatcherWithContext(ctx, version, source)
	if err != nil {
		return err.Error()
	}
	defer func() { changes.Stop(); <-changes.Done() }()
	for change := range changes.ResultChan() {
		at := w.observation.now()
		switch change.Type {
		case watch.Added, watch.Modified, watch.Deleted:
			deleted := change.Type == watch.Deleted
			if deleted {
				delete(w.known, nameOf(change.Object))
			} else {
				w.known[nameOf(change.Object)] = change.Object
			}
			w.keep(change.Object, true, deleted)
			w.see(at, change.Object, deleted)
		case watch.Error:
			return apierrors.FromObject(change.Object).Error()
		case watch.Bookmark:
		}
	}
	return "watch ended"
}

func (w *watcher) keep(object runtime.Object, delivered, deleted bool) {
	if w.resource != "" {
		w.observation.keep(w.resource, object, delivered, deleted)
	}
}

// begin begins a watch and says what goes wrong in a way that RetryWatcher understands.
func (w *watcher) begin(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	changes, err := w.watch(opts)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, io.EOF // the end of the observation is not an error to log
	case apierrors.IsResourceExpired(err) || apierrors.IsGone(err):
		// As the answer to a request it would be tried again for ever, with the same version. As an event it ends the watch.
		gone := make(chan watch.Event, 1)
		gone <- watch.Event{Type: watch.Error, Object: &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: err.Error(),
		}}
		return watch.NewProxyWatcher(gone), nil
	}
	return changes, err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
