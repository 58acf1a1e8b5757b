package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// logFollowed marks a Pod whose log is being read; it never becomes an event.
const logFollowed timeline.Kind = "log-followed"

// follow reads the Pod's log, from its first line to its last, once. The log has to be followed while the Pod lives: when the Pod is gone, so is the log.
func (o *Observation) follow(ctx context.Context, of timeline.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	of = timeline.Event{Pod: of.Pod, UID: of.UID, Node: of.Node}
	key := mark{pod{of.Pod, of.UID}, logFollowed}
	if o.seen[key] {
		return
	}
	o.seen[key] = true
	o.done.Go(func() {
		if err := o.readLog(ctx, of); err != nil && ctx.Err() == nil {
			o.add(timeline.Event{At: o.now(), Kind: timeline.LogCut, Pod: of.Pod, UID: of.UID, Detail: err.Error()})
		}
	})
}

func (o *Observation) readLog(ctx context.Context, of timeline.Event) (err error) {
	name := of.Pod
	opts := &corev1.PodLogOptions{Container: o.config.Container, Follow: true}
	stream, err := o.config.Client.CoreV1().Pods(o.config.Namespace).GetLogs(name, opts).Stream(ctx)
	if err != nil {
		return fmt.Errorf("log of Pod %s: %w", name, err)
	}
	defer stream.Close()
	var to io.Writer = &lines{see: func(line []byte) { o.seeLine(of, line) }}
	if o.config.LogDir != "" {
		f, err := os.Create(filepath.Join(o.config.LogDir, name+".log"))
		if err != nil {
			return fmt.Errorf("log of Pod %s: %w", name, err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		to = io.MultiWriter(f, to)
	}
	if _, err := io.Copy(to, stream); err != nil {
		return fmt.Errorf("log of Pod %s: %w", name, err)
	}
	return nil
}

// told are the app's life events and what they are called here.
var told = map[string]timeline.Kind{
	"start": timeline.AppStart, "listening": timeline.AppListening, "ready": timeline.AppReady,
	"prestop-start": timeline.AppPreStopStart, "prestop-end": timeline.AppPreStopEnd, "sigterm": timeline.AppSIGTERM,
	"shutdown-begin": timeline.AppShutdown, "listener-closed": timeline.AppListenerClosed,
	"shutdown-timeout": timeline.AppShutdownTimeout, "last-request": timeline.AppLastRequest, "exit": timeline.AppExit,
}

// seeLine turns a line of the app's log into an event, if it tells of one. Other lines are somebody else's, such as a stack trace: they are in the log file.
func (o *Observation) seeLine(of timeline.Event, line []byte) {
	var life struct {
		Event    string `json:"event"`
		UnixNano int64  `json:"unixNano"`
		Code     int    `json:"code"`
		Kernel   string `json:"kernel"`
		// Lanes is how many requests of each lane the process has answered in its life.
		Lanes map[string]int `json:"lanes"`
	}
	if json.Unmarshal(line, &life) != nil {
		return
	}
	if kind, ok := told[life.Event]; ok && life.UnixNano > 0 {
		e := of
		e.At, e.Kind, e.Code = o.clock.Wall(time.Unix(0, life.UnixNano)), kind, life.Code
		o.once(e)
		if kind == timeline.AppStart {
			o.mu.Lock()
			defer o.mu.Unlock()
			if known, ok := o.kernels[of.Node]; !ok || known != "" {
				o.kernels[of.Node] = life.Kernel
			}
		}
		if kind == timeline.AppLastRequest && life.Lanes != nil {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.served = append(o.served, timeline.Served{Pod: of.Pod, Answered: life.Lanes})
		}
	}
}

// appSources says of each node what is known of the clock that the app tells its life by: that it is this one's, or what the node itself said. The lock must be
// held.
func (o *Observation) appSources() {
	for _, node := range slices.Sorted(maps.Keys(o.kernels)) {
		source := timeline.Source{Kind: timeline.SourceApp, Node: node}
		source.SameClock = timeline.SameKernel(o.kernels[node])
		i := slices.IndexFunc(o.nodes, func(w *nodeWatch) bool { return w.node.Name == node })
		switch {
		case source.SameClock:
		case i >= 0 && o.nodes[i].clock.Uncertainty > 0:
			source.Comparison = o.nodes[i].clock
			o.correct(node, source.Correction())
		default:
			source.Uncertainty, source.Missing = unsure, "its clock is not the harness', and the node can't be asked how far it is ahead"
		}
		o.sources = append(o.sources, source)
	}
}

// correct moves what the app on a node has told to the harness' clock.
func (o *Observation) correct(node string, ahead time.Duration) {
	app := slices.Collect(maps.Values(told))
	for i := range o.events {
		if e := &o.events[i]; e.Node == node && slices.Contains(app, e.Kind) {
			e.At -= ahead
		}
	}
}

// unsure is how far off a clock is taken to be that nobody could compare: nodes that keep their time by NTP are within that.
const unsure = time.Second

// lines calls see with each whole line that is written to it, and drops a last one without an end: it was cut off.
type lines struct {
	see  func([]byte)
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		l.see(line)
		l.rest = rest
	}
}
