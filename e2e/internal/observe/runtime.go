package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// runtimeEvents records what becomes of the app's Pods on a node, from containerd's events: when
// their sandboxes start and end, their containers are made, and their processes start and end. When
// processes were asked to stop, containerd's log tells.
type runtimeEvents struct{ node *watchedNode }

// process is a container that was made, or what happened to its process.
type process struct {
	at        time.Duration
	kind      timeline.Kind
	container string
	code      int
	signal    string
}

// ofSandbox are the kinds that a process' are of where the container is a Pod's sandbox.
var ofSandbox = map[timeline.Kind]timeline.Kind{
	timeline.ProcessStart: timeline.SandboxStart,
	timeline.ProcessExit:  timeline.SandboxExit,
}

func (r runtimeEvents) Name() string { return "runtime of node " + r.node.Name }

func (r runtimeEvents) Run(ctx context.Context, to Recorder) error {
	to.Ready()
	var processes []process
	known := sandboxes{uids: map[string]string{}, are: map[string]bool{}}
	var reading sync.WaitGroup
	reading.Go(func() { known.read(ctx, r.node) }) // of the Pods that are there
	source := r.node.follow(ctx, to, timeline.SourceRuntime, func(line []byte) {
		if at, p, ok := parseTask(line); ok {
			p.at = r.node.offset(to.clock, at)
			processes = append(processes, p)
		}
	}, "ctr", "-n", "k8s.io", "events")
	reading.Wait()
	known.read(context.WithoutCancel(ctx), r.node) // of those that have come
	processes = append(processes, r.stops(context.WithoutCancel(ctx), to)...)
	to.AtEnd(func(all *Record) {
		all.Sources = append(all.Sources, source)
		pods := map[string]timeline.Event{} // by UID
		for _, e := range all.Events {
			if e.Kind == timeline.PodCreated && e.UID != "" {
				pods[e.UID] = timeline.Event{Pod: e.Pod, UID: e.UID, Node: r.node.Name}
			}
		}
		for _, p := range processes {
			if e, isApp := all.containers[p.container]; isApp {
				e.At, e.Kind, e.Code, e.Detail = p.at, p.kind, p.code, p.signal
				all.Events = append(all.Events, e)
				continue
			}
			kind := ofSandbox[p.kind]
			if e, ours := pods[known.pod(p.container)]; ours && kind != "" {
				e.At, e.Kind = p.at, kind
				all.Events = append(all.Events, e)
			}
		}
	})
	return nil
}

// stops are the signals by which containerd asked processes to stop, from its log. That is read when the
// load is over: to follow it would cost the CPUs that are measured on. A node that can't be asked tells of
// none.
func (r runtimeEvents) stops(ctx context.Context, to Recorder) (out []process) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	since := fmt.Sprintf("--since=-%ds", int(to.now().Seconds())+1)
	_ = r.node.Run(ctx, &lines{do: func(line []byte) {
		if at, p, ok := parseStop(string(line)); ok {
			p.at = r.node.offset(to.clock, at)
			out = append(out, p)
		}
	}}, "journalctl", "--unit=containerd", "--no-pager", "--output=cat", since)
	return out
}

// parseStop reads a line of containerd's log, which it writes just before it sends the signal:
//
//	time="2026-11-27T06:48:08.502109523Z" level=info msg="Stop container \"ea0…\" with signal terminated"
func parseStop(line string) (at time.Time, p process, ok bool) {
	_, line, dated := strings.Cut(line, `time="`)
	when, line, _ := strings.Cut(line, `"`)
	_, line, stops := strings.Cut(line, `msg="Stop container \"`)
	id, line, named := strings.Cut(line, `\" with signal `)
	signal, _, whole := strings.Cut(line, `"`)
	at, err := time.Parse(time.RFC3339Nano, when)
	p = process{kind: timeline.StopSignal, container: id, signal: signal}
	return at, p, dated && stops && named && whole && err == nil
}

// sandboxes says which containers on a node are Pods' sandboxes: the API server doesn't know them.
// containerd writes it into the folder of each container that has a process. It is read twice, before
// and after the load: to ask for each Pod when it comes would cost the CPUs that are measured on. A
// Pod that came and went in between is not known.
type sandboxes struct {
	uids map[string]string // of the Pod, by the container's ID
	are  map[string]bool   // by the container's ID
}

// containersDir has a folder for each of the kubelet's containers that has a process, and in it a
// config.json with annotations: what the container is, and the UID of its Pod.
const (
	containersDir = "/run/containerd/io.containerd.runtime.v2.task/k8s.io"
	containerType = "io.kubernetes.cri.container-type"
	sandboxUID    = "io.kubernetes.cri.sandbox-uid"
)

// read adds those that are there now. A node that can't be asked tells of none.
func (s sandboxes) read(ctx context.Context, node *watchedNode) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	// A folder may go while it is read, which is an error: what was printed is true all the same.
	_ = node.Run(ctx, &lines{do: s.parse},
		"find", containersDir, "-mindepth", "2", "-maxdepth", "2", "-name", "config.json", "-exec",
		"grep", "-Ho", "-e", `"`+containerType+`": *"[^"]*"`, "-e", `"`+sandboxUID+`": *"[^"]*"`, "{}", "+")
}

// parse reads what grep prints, the path first:
//
//	/run/…/k8s.io/07f…/config.json:"io.kubernetes.cri.container-type":"sandbox"
//	/run/…/k8s.io/07f…/config.json:"io.kubernetes.cri.sandbox-uid":"5d1f…"
func (s sandboxes) parse(line []byte) {
	file, annotation, _ := bytes.Cut(line, []byte(":"))
	name, value, _ := bytes.Cut(annotation, []byte(":"))
	id, text := path.Base(path.Dir(string(file))), string(bytes.Trim(value, `" `))
	switch string(bytes.Trim(name, `"`)) {
	case containerType:
		s.are[id] = text == "sandbox"
	case sandboxUID:
		s.uids[id] = text
	}
}

// pod is the UID of the Pod whose sandbox a container is; "" if it is none, or not known.
func (s sandboxes) pod(container string) string {
	if !s.are[container] {
		return ""
	}
	return s.uids[container]
}

// parseTask reads a line of containerd's events:
//
//	2026-11-22 21:33:17.613095017 +0000 UTC k8s.io /tasks/exit
//	{"container_id":"07f…","id":"07f…","pid":21358,
//	"exited_at":{"seconds":1795383197,"nanos":612815790}}
//
// Where id is another than the container's, it is a process that was run in it, such as a probe. The
// event of a container that is made has no container_id: id is the container's own.
func parseTask(line []byte) (at time.Time, p process, ok bool) {
	fields := bytes.SplitN(line, []byte(" "), 7)
	if len(fields) < 7 {
		return at, p, false
	}
	var task struct {
		Container string `json:"container_id"`
		ID        string `json:"id"`
		Status    int    `json:"exit_status"`
		ExitedAt  struct {
			Seconds int64 `json:"seconds"`
			Nanos   int64 `json:"nanos"`
		} `json:"exited_at"`
	}
	if json.Unmarshal(fields[6], &task) != nil {
		return at, p, false
	}
	p.container = task.Container
	switch string(fields[5]) {
	case "/containers/create":
		p.kind, p.container = timeline.ContainerCreated, task.ID
	case "/tasks/start":
		p.kind = timeline.ProcessStart
	case "/tasks/exit":
		p.kind, p.code = timeline.ProcessExit, task.Status
		return time.Unix(task.ExitedAt.Seconds, task.ExitedAt.Nanos), p, task.ID == task.Container
	default:
		return at, p, false
	}
	at, err := time.Parse("2006-01-02 15:04:05.999999999 -0700", string(bytes.Join(fields[:3], []byte(" "))))
	return at, p, err == nil
}
