package observe

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
	"k8s.io/klog/v2"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// apiWatch records what the API server has of the app: its Pods, their endpoints, the nodes and the
// kubelet's Events. It gives the other sources what they need to know of Pods: which have started,
// and which containers are theirs.
type apiWatch struct{ config Config }

func (apiWatch) Name() string { return "API watch" }

func (a apiWatch) Run(ctx context.Context, to Recorder) error {
	// RetryWatcher logs each attempt of its own. What comes of them is in the events.
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, klog.Logger{}))
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	client, namespace := a.config.Client, a.config.Namespace
	// One after the other: the events of Pods are read when it is known which Pods are the app's.
	for _, w := range []*watcher{
		{
			what: "Pods", api: apiOf(client.CoreV1().Pods(namespace)), labels: a.config.Selector,
			changed: podChanges(to, a.config.Container),
		},
		{
			what: "EndpointSlices", api: apiOf(client.DiscoveryV1().EndpointSlices(namespace)),
			labels:  discoveryv1.LabelServiceName + " in (" + strings.Join(a.config.Services, ",") + ")",
			changed: sliceChanges(to),
		},
		{what: "Nodes", api: apiOf(client.CoreV1().Nodes()), optional: true, changed: nodeChanges(to)},
		{what: "Events", api: apiOf(client.CoreV1().Events(namespace)), optional: true, changed: kubeletEvents(to)},
	} {
		w.to = to
		resourceVersion, err := w.listAll(ctx)
		if w.optional && (apierrors.IsForbidden(err) || apierrors.IsNotFound(err)) {
			continue
		}
		if err != nil {
			return fmt.Errorf("observe %s: %w", w.what, err)
		}
		following.Go(func() { w.run(ctx, resourceVersion) })
	}
	to.Ready()
	<-ctx.Done()
	return nil
}

const (
	// ReleaseKey is the annotation of a Pod that names the release that it is of.
	ReleaseKey = "zerodrop.dev/release"
	// RestartedKey is the one by which kubectl rollout restart makes a release.
	RestartedKey = "kubectl.kubernetes.io/restartedAt"
)

// handler takes the state of an object that exists, or was deleted, as of an offset. Objects of
// another kind are passed over.
type handler func(at time.Duration, object runtime.Object, deleted bool)

// podChanges returns what records the changes of Pods, of which one container is the app.
func podChanges(to Recorder, container string) handler {
	wasReady := map[pod]bool{}
	return func(at time.Duration, object runtime.Object, deleted bool) {
		p, ok := object.(*corev1.Pod)
		if !ok {
			return
		}
		id := pod{p.Name, string(p.UID)}
		e := timeline.Event{
			At: at, Pod: id.name, UID: id.uid, Node: p.Spec.NodeName, IP: p.Status.PodIP, Version: p.ResourceVersion,
		}
		once := func(kind timeline.Kind) { e.Kind = kind; to.Once(e) }
		e.Release = cmp.Or(p.Annotations[ReleaseKey], p.Annotations[RestartedKey])
		once(timeline.PodCreated)
		e.Release = ""
		if p.Spec.NodeName != "" {
			once(timeline.PodScheduled)
		}
		if conditionTrue(p, corev1.PodReadyToStartContainers) {
			once(timeline.PodSandboxReady)
		}
		if p.Status.PodIP != "" {
			once(timeline.PodAddressed)
		}
		ready := Ready(p)
		if ready && !wasReady[id] {
			e.Kind = timeline.PodReady
			to.Add(e)
		}
		if wasReady[id] && !ready && p.DeletionTimestamp == nil {
			e.Kind = timeline.PodUnready
			to.Add(e)
		}
		wasReady[id] = ready
		// Of a Pod that has ended, as one that its node has evicted, the object alone is deleted.
		if p.DeletionTimestamp != nil && !Ended(p) {
			if seconds := p.DeletionGracePeriodSeconds; seconds != nil {
				e.Grace = time.Duration(*seconds) * time.Second
			}
			once(timeline.PodDeleted)
			e.Grace = 0
		}
		for _, c := range p.Status.ContainerStatuses {
			if c.Name != container {
				continue
			}
			if _, containerID, found := strings.Cut(c.ContainerID, "://"); found {
				e.Restart = to.OwnContainer(containerID, e)
			}
			if c.State.Running != nil || c.State.Terminated != nil {
				once(timeline.PodStarted)
			}
			if t := c.State.Terminated; t != nil {
				e.Code, e.Detail = int(t.ExitCode), t.Reason
				once(timeline.ContainerExit)
				e.Code, e.Detail = 0, ""
			}
			e.Restart = 0
		}
		if deleted {
			once(timeline.PodGone)
		}
	}
}

// sliceChanges returns what records the changes of EndpointSlices. An endpoint is gone when no
// slice has it any more. One that moves from a slice to another may seem to be gone for a moment,
// depending on which of the two is delivered first: when it comes back, it has not been gone.
func sliceChanges(to Recorder) handler {
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
			to.Withdraw(mark{pod: id, kind: timeline.EndpointGone})
			e := timeline.Event{At: at, Pod: id.name, UID: id.uid, Version: s.ResourceVersion}
			c := endpoint.Conditions
			switch {
			case c.Terminating != nil && *c.Terminating:
				e.Kind = timeline.EndpointTerminating
				to.Once(e)
				if c.Serving != nil && !*c.Serving {
					e.Kind = timeline.EndpointNotServing
					to.Once(e)
				}
			case c.Ready == nil || *c.Ready: // an unset Ready means ready, says the API
				if !wasServing[id] {
					e.Kind = timeline.EndpointServing
					to.Add(e)
				}
				wasServing[id] = true
			case wasServing[id]:
				e.Kind = timeline.EndpointUnready
				to.Add(e)
				wasServing[id] = false
			}
		}
		before := has[s.Name]
		has[s.Name] = now
		for id := range before {
			if !now[id] && !inAny(has, id) {
				to.Once(timeline.Event{
					At: at, Pod: id.name, UID: id.uid, Kind: timeline.EndpointGone, Version: s.ResourceVersion,
				})
			}
		}
	}
}

func inAny(has map[string]map[pod]bool, id pod) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(has)), func(pods map[pod]bool) bool { return pods[id] })
}

// nodeChanges returns what records the changes of Nodes. One that stops being ready, or is removed,
// takes Pods away that nobody meant to disrupt.
func nodeChanges(to Recorder) handler {
	wasReady := map[string]bool{}
	return func(at time.Duration, object runtime.Object, deleted bool) {
		node, ok := object.(*corev1.Node)
		if !ok {
			return
		}
		ready := !deleted && NodeReady(node)
		if wasReady[node.Name] && !ready {
			to.Add(timeline.Event{At: at, Kind: timeline.NodeUnready, Node: node.Name})
		}
		wasReady[node.Name] = ready
	}
}

// kubeletEvents returns what records the kubelet's Events about the app's Pods. Events of earlier
// Pods are kept for an hour: only one about a Pod that was recorded, and that happened since the
// start, counts. At is when the watch delivered it, which may be seconds after the fact; the audit log
// may date it.
func kubeletEvents(to Recorder) handler {
	return func(at time.Duration, object runtime.Object, deleted bool) {
		event, ok := object.(*corev1.Event)
		if !ok || deleted || event.InvolvedObject.Kind != "Pod" ||
			event.LastTimestamp.Unix() < to.clock.Start().Unix() {
			return
		}
		id := pod{event.InvolvedObject.Name, string(event.InvolvedObject.UID)}
		e := timeline.Event{At: at, Pod: id.name, UID: id.uid, Version: event.ResourceVersion}
		switch event.Reason {
		case "Killing":
			e.Kind = timeline.KubeletKilling
		case "FailedPreStopHook":
			e.Kind, e.Detail = timeline.PreStopFailed, event.Message
		default:
			return
		}
		if to.Has(mark{pod: id, kind: timeline.PodCreated}) {
			to.Once(e)
		}
	}
}

// Ready says whether a Pod's Ready condition is true.
func Ready(p *corev1.Pod) bool { return conditionTrue(p, corev1.PodReady) }

// Ended says whether a Pod is in one of the phases that are final.
func Ended(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
}

func conditionTrue(p *corev1.Pod, condition corev1.PodConditionType) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == condition && c.Status == corev1.ConditionTrue
	})
}

// NodeReady says whether a Node's Ready condition is true.
func NodeReady(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// api is the part of a client that lists and watches one kind of object.
type api struct {
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

func apiOf[L runtime.Object](client interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
},
) api {
	list := func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
		return client.List(ctx, opts)
	}
	return api{list, client.Watch}
}

// watcher lists once and watches from there. When a watch can't be resumed where it ended, changes
// may have been missed: the watcher records the gap and lists anew.
type watcher struct {
	api
	to       Recorder
	what     string
	optional bool // a run does without it where it isn't allowed, as in a cluster that is shared
	labels   string
	changed  handler
	known    map[string]runtime.Object
}

// retryBackoff is the least time between two attempts to watch, so that an API server that refuses
// isn't flooded.
const retryBackoff = time.Second

// run follows changes until ctx ends, and lists anew after each gap.
func (w *watcher) run(ctx context.Context, resourceVersion string) {
	for {
		began := w.to.now()
		why := w.follow(ctx, resourceVersion)
		if ctx.Err() != nil {
			return
		}
		w.to.Add(timeline.Event{At: w.to.now(), Kind: timeline.WatchGap, Detail: w.what + ": " + why})
		pause(ctx, began+retryBackoff-w.to.now())
		var err error
		for resourceVersion, err = w.listAll(ctx); err != nil; resourceVersion, err = w.listAll(ctx) {
			if pause(ctx, retryBackoff); ctx.Err() != nil {
				return
			}
		}
	}
}

// listAll handles everything that is there, and the end of everything that was known and is there
// no more. It returns the version to watch from.
func (w *watcher) listAll(ctx context.Context) (resourceVersion string, err error) {
	list, err := w.list(ctx, metav1.ListOptions{LabelSelector: w.labels})
	if err != nil {
		return "", err
	}
	at := w.to.now()
	found := map[string]runtime.Object{}
	err = meta.EachListItem(list, func(object runtime.Object) error {
		found[metaOf(object).GetName()] = object
		w.changed(at, unversioned(object), false)
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("read list: %w", err)
	}
	for name, object := range w.known {
		if found[name] == nil {
			w.changed(at, unversioned(object), true)
		}
	}
	w.known = found
	m, err := meta.ListAccessor(list)
	if err != nil {
		return "", fmt.Errorf("read list: %w", err)
	}
	return m.GetResourceVersion(), nil
}

// follow handles changes until the watch ends for good, and says why it did.
func (w *watcher) follow(ctx context.Context, resourceVersion string) string {
	begin := func(_ context.Context, opts metav1.ListOptions) (watch.Interface, error) {
		opts.LabelSelector = w.labels
		return w.begin(ctx, opts)
	}
	changes, err := toolswatch.NewRetryWatcherWithContext(
		ctx, resourceVersion, &cache.ListWatch{WatchFuncWithContext: begin})
	if err != nil {
		return err.Error()
	}
	defer func() { changes.Stop(); <-changes.Done() }()
	for change := range changes.ResultChan() {
		at := w.to.now()
		switch change.Type {
		case watch.Added, watch.Modified, watch.Deleted:
			m, deleted := metaOf(change.Object), change.Type == watch.Deleted
			if deleted {
				delete(w.known, m.GetName())
			} else {
				w.known[m.GetName()] = change.Object
			}
			w.changed(at, change.Object, deleted)
		case watch.Error:
			return apierrors.FromObject(change.Object).Error()
		case watch.Bookmark:
		}
	}
	return "watch ended"
}

// begin begins a watch and turns what goes wrong into what RetryWatcher understands.
func (w *watcher) begin(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	changes, err := w.watch(ctx, opts)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, io.EOF // the end of the observation is not an error to log
	case apierrors.IsResourceExpired(err) || apierrors.IsGone(err):
		// As the answer to a request it would be tried again for ever, with the same version. As an
		// event it ends the watch.
		gone := make(chan watch.Event, 1)
		status := apierrors.NewResourceExpired(err.Error()).Status()
		gone <- watch.Event{Type: watch.Error, Object: &status}
		return watch.NewProxyWatcher(gone), nil
	}
	return changes, err
}

// unversioned is an object without its resourceVersion: one that was listed shows how things are,
// and not which of its versions brought them about.
func unversioned(object runtime.Object) runtime.Object {
	object = object.DeepCopyObject()
	metaOf(object).SetResourceVersion("")
	return object
}

// metaOf is empty for what has no metadata, which no object from the API server is.
func metaOf(object runtime.Object) metav1.Object {
	if m, err := meta.Accessor(object); err == nil {
		return m
	}
	return &metav1.ObjectMeta{}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
