package observe

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// auditLog dates what watches deliver, and says who asked for it. A watch delivers a change late:
// etcd has to wake the API server, and that this process, on a machine whose CPUs are busy with
// load. The audit log has when the request for the change arrived and when it was answered; the
// change was made in between.
//
// An answer that holds the object says by its resourceVersion which change it was. An eviction's
// doesn't: that is known by the Pod's name. Nor does a binding's: that is known by the Pod's UID.
type auditLog struct {
	node      *watchedNode
	namespace string
}

// UserAgent is what this process calls itself when it asks an API server: the audit log tells it
// from others by that.
const UserAgent = "zerodrop"

func (s auditLog) Name() string { return "audit log of node " + s.node.Name }

func (s auditLog) Run(ctx context.Context, to Recorder) error {
	to.Ready()
	writes := auditedWrites{
		versions: map[auditedVersion]auditedWrite{}, evictions: map[string][]auditedWrite{},
		bindings: map[pod]auditedWrite{}, statuses: map[pod]auditedWrite{},
	}
	source := timeline.Source{Kind: timeline.SourceAudit, Node: s.node.Name}
	if err := s.node.compareClocks(ctx, to.clock); err != nil || undatable(s.node.comparison, 0) == "" {
		// By its name, as the API server moves it aside when it has grown.
		source = s.node.follow(ctx, to, source.Kind, func(line []byte) {
			writes.add(line, s.namespace, func(at time.Time) time.Duration { return s.node.offset(to.clock, at) })
		}, "tail", "-n", "0", "-F", s.node.AuditLog)
	}
	source.Comparison = s.node.comparison
	to.AtEnd(func(all *Record) {
		why := undatable(source.Comparison, all.clock.Stepped())
		source.Missing = cmp.Or(source.Missing, why)
		all.Sources = append(all.Sources, source)
		if why == "" {
			writes.date(all.Events)
			all.Events = append(all.Events, writes.byKubelets(all.Events)...)
		}
	})
	return nil
}

// undatable says why the audit log can't date events, given by how much the wall clock was set in
// mid-run; "" if it can. A watch is late by milliseconds, and a clock that is compared is hardly
// known to more.
func undatable(clock timeline.Comparison, stepped time.Duration) string {
	switch {
	case !clock.SameClock:
		return "its clock is not the harness', which what a watch tells is dated by"
	case stepped != 0:
		return fmt.Sprintf("the clock was set by %s in mid-run", stepped)
	}
	return ""
}

// auditedWrite is a request that changed an object: the change was made after it had arrived and
// before it was answered.
type auditedWrite struct {
	arrived, answered time.Duration
	by                string
}

// auditedVersion is what an answer and a watch know a change by. A Pod's deletion is no other
// request's, even if that was answered with the version that the deletion had made.
type auditedVersion struct {
	resourceVersion string
	deletesPod      bool
}

// auditedWrites are those that the audit log has told of.
type auditedWrites struct {
	versions  map[auditedVersion]auditedWrite
	evictions map[string][]auditedWrite // by Pod, in the order of their answers
	bindings  map[pod]auditedWrite
	statuses  map[pod]auditedWrite // the first that a kubelet wrote
}

// auditEvent is what is read of a line of the audit log (audit.k8s.io/v1, Event).
type auditEvent struct {
	Verb, UserAgent string
	User            struct{ Username string }
	ObjectRef       struct{ Resource, Subresource, Namespace, Name, UID string }
	ResponseStatus  struct{ Code int }
	ResponseObject  struct {
		Metadata struct{ ResourceVersion, UID string }
	}
	RequestReceivedTimestamp, StageTimestamp time.Time
}

// add takes a line. A version may be answered twice, as by a patch that changed nothing: it was
// there by the first of the answers, and who answered first is taken for who asked.
func (w auditedWrites) add(line []byte, namespace string, offset func(time.Time) time.Duration) {
	var e auditEvent
	if json.Unmarshal(line, &e) != nil || e.ObjectRef.Namespace != namespace ||
		e.ResponseStatus.Code >= http.StatusMultipleChoices || e.RequestReceivedTimestamp.IsZero() {
		return
	}
	write := auditedWrite{offset(e.RequestReceivedTimestamp), offset(e.StageTimestamp), asker(e)}
	if e.ObjectRef.Subresource == "eviction" {
		write.by = "eviction by " + write.by
		w.evictions[e.ObjectRef.Name] = append(w.evictions[e.ObjectRef.Name], write)
		return
	}
	of := pod{e.ObjectRef.Name, cmp.Or(e.ObjectRef.UID, e.ResponseObject.Metadata.UID)}
	switch first, again := w.statuses[of]; {
	case e.ObjectRef.Subresource == "binding":
		w.bindings[of] = write
		return
	case e.ObjectRef.Resource == "pods" && e.ObjectRef.Subresource == "status" &&
		strings.HasPrefix(e.User.Username, nodeUser) && (!again || write.arrived < first.arrived):
		w.statuses[of] = write
	}
	version := auditedVersion{
		e.ResponseObject.Metadata.ResourceVersion, e.Verb == "delete" && e.ObjectRef.Resource == "pods",
	}
	if version.resourceVersion == "" {
		return
	}
	if before, again := w.versions[version]; again {
		write = auditedWrite{min(before.arrived, write.arrived), min(before.answered, write.answered), before.by}
	}
	w.versions[version] = write
}

// nodeUser is what the names of kubelets begin with.
const nodeUser = "system:node:"

// asker is who sent a request: the harness, the kubelet of a node, or a controller by its name.
func asker(e auditEvent) string {
	if e.UserAgent == UserAgent {
		return "harness"
	}
	if node, isNode := strings.CutPrefix(e.User.Username, nodeUser); isNode {
		return "kubelet of " + node
	}
	return e.User.Username[strings.LastIndex(e.User.Username, ":")+1:]
}

// date gives each event that a watch has delivered the interval in which the API server made the
// change, if the audit log tells. An interval that begins after the watch has told is another
// change's, or a clock is wrong.
func (w auditedWrites) date(events []timeline.Event) {
	created := map[pod]time.Duration{}
	for _, e := range events {
		if e.Kind == timeline.PodCreated {
			created[pod{e.Pod, e.UID}] = e.At
		}
	}
	for i, e := range events {
		deletesPod := e.Kind == timeline.PodDeleted || e.Kind == timeline.PodGone
		write, found := w.versions[auditedVersion{e.Version, deletesPod}]
		if e.Kind == timeline.PodDeleted && !found {
			write, found = w.eviction(e.Pod, created[pod{e.Pod, e.UID}])
		}
		if bound, known := w.bindings[pod{e.Pod, e.UID}]; known && e.Kind == timeline.PodScheduled {
			write, found = bound, true
		}
		if found && write.arrived < e.At {
			events[i].At, events[i].SeenAfter = write.arrived, e.At-write.arrived
			events[i].Width, events[i].By = write.answered-write.arrived, write.by
		}
	}
}

// byKubelets are the first writes of kubelets to the status of Pods. Of a Pod that was there before
// the watch, the log doesn't have the first.
func (w auditedWrites) byKubelets(events []timeline.Event) (wrote []timeline.Event) {
	for _, e := range events {
		first, known := w.statuses[pod{e.Pod, e.UID}]
		if e.Kind == timeline.PodCreated && e.Version != "" && known {
			wrote = append(wrote, timeline.Event{
				At: first.arrived, Kind: timeline.KubeletWrote, Pod: e.Pod, UID: e.UID,
				Width: first.answered - first.arrived, By: first.by,
			})
		}
	}
	return wrote
}

// eviction is the first that was granted for a Pod that was created at an instant: one before was
// of another Pod of that name.
func (w auditedWrites) eviction(name string, created time.Duration) (auditedWrite, bool) {
	for _, write := range w.evictions[name] {
		if write.arrived > created {
			return write, true
		}
	}
	return auditedWrite{}, false
}
