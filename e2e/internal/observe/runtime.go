package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// runtimeEvents records when the app's processes on a node start and end, from containerd's events.
type runtimeEvents struct{ node *watchedNode }

// process is the start or the end of a container's process.
type process struct {
	at        time.Duration
	kind      timeline.Kind
	container string
	code      int
}

func (r runtimeEvents) Name() string { return "runtime of node " + r.node.Name }

func (r runtimeEvents) Run(ctx context.Context, to Recorder) error {
	to.Ready()
	var processes []process
	source := r.node.follow(ctx, to, timeline.SourceRuntime, func(line []byte) {
		if at, p, ok := parseTask(line); ok {
			p.at = r.node.offset(to.clock, at)
			processes = append(processes, p)
		}
	}, "ctr", "-n", "k8s.io", "events")
	to.AtEnd(func(all *Record) {
		all.Sources = append(all.Sources, source)
		for _, p := range processes {
			if e, known := all.containers[p.container]; known {
				e.At, e.Kind, e.Code = p.at, p.kind, p.code
				all.Events = append(all.Events, e)
			}
		}
	})
	return nil
}

// parseTask reads a line of containerd's events:
//
//	2026-11-22 21:33:17.613095017 +0000 UTC k8s.io /tasks/exit
//	{"container_id":"07f…","id":"07f…","pid":21358,
//	"exited_at":{"seconds":1795383197,"nanos":612815790}}
//
// Where id is another than the container's, it is a process that was run in it, such as a probe.
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
	case "/tasks/start":
		p.kind = timeline.ProcessStart
		at, err := time.Parse("2006-01-02 15:04:05.999999999 -0700", string(bytes.Join(fields[:3], []byte(" "))))
		return at, p, err == nil
	case "/tasks/exit":
		p.kind, p.code = timeline.ProcessExit, task.Status
		return time.Unix(task.ExitedAt.Seconds, task.ExitedAt.Nanos), p, task.ID == task.Container
	}
	return at, p, false
}
