package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// lifeEvents are the events of the app's life, by their names in its log.
var lifeEvents = map[string]timeline.Kind{
	protocol.EventStart:           timeline.AppStart,
	protocol.EventListening:       timeline.AppListening,
	protocol.EventReady:           timeline.AppReady,
	protocol.EventPreStopStart:    timeline.AppPreStopStart,
	protocol.EventPreStopEnd:      timeline.AppPreStopEnd,
	protocol.EventSIGTERM:         timeline.AppSIGTERM,
	protocol.EventShutdownBegin:   timeline.AppShutdown,
	protocol.EventListenerClosed:  timeline.AppListenerClosed,
	protocol.EventShutdownTimeout: timeline.AppShutdownTimeout,
	protocol.EventLastRequest:     timeline.AppLastRequest,
	protocol.EventExit:            timeline.AppExit,
}

// appLog records what the app says in its log: the events of its life and the requests that it has
// answered.
type appLog struct {
	config Config
	nodes  []*watchedNode // they may know how far the app's clock is ahead
}

// lifeLog is the log of one container, and what it says of its process as a whole.
type lifeLog struct {
	of     timeline.Event // Pod, UID, node and Restart
	file   string         // in the folder of logs
	kernel *string        // nil until the process has started
	served timeline.Served
	held   []timeline.HeldByPod
	tasks  []timeline.TaskByPod
}

func (appLog) Name() string { return "app log" }

// Run reads the log of each container while its Pod lives: when the Pod is gone, so is the log. That of
// a container ends with it, and the one that is started in its place has a log of its own.
func (a appLog) Run(ctx context.Context, to Recorder) error {
	to.Ready()
	var logs []*lifeLog
	var reading sync.WaitGroup
	named := map[string]int{} // how many Pods there were of a name
	to.EachStarted(ctx, func(e timeline.Event) {
		l := &lifeLog{
			of:     timeline.Event{Pod: e.Pod, UID: e.UID, Node: e.Node, Restart: e.Restart},
			served: timeline.Served{Pod: e.Pod, UID: e.UID},
		}
		if e.Restart == 0 {
			named[e.Pod]++
		}
		l.file = e.Pod
		if n := named[e.Pod]; n > 1 {
			l.file += fmt.Sprintf(".%d", n)
		}
		if e.Restart > 0 {
			l.file += fmt.Sprintf("-restart-%d", e.Restart)
		}
		logs = append(logs, l)
		reading.Go(func() {
			if err := l.read(ctx, a.config, to); err != nil && ctx.Err() == nil {
				to.Add(timeline.Event{
					At: to.now(), Kind: timeline.LogCut, Pod: e.Pod, UID: e.UID, Restart: e.Restart, Detail: err.Error(),
				})
			}
		})
	})
	reading.Wait()
	to.AtEnd(func(all *Record) {
		for _, l := range logs {
			if l.served.Answered != nil { // else the Pod's side of the ledger isn't known
				all.Served = append(all.Served, l.served)
			}
		}
		a.addSources(all, logs)
		for _, l := range logs {
			all.Held = append(all.Held, l.held...)
			all.Tasks = append(all.Tasks, l.tasks...)
		}
	})
	return nil
}

// read reads the log from its first line to its last.
func (l *lifeLog) read(ctx context.Context, config Config, to Recorder) (err error) {
	name := l.of.Pod
	opts := &corev1.PodLogOptions{Container: config.Container, Follow: true}
	stream, err := config.Client.CoreV1().Pods(config.Namespace).GetLogs(name, opts).Stream(ctx)
	if err != nil {
		return fmt.Errorf("log of Pod %s: %w", name, err)
	}
	defer stream.Close()
	var out io.Writer = &lines{do: func(line []byte) { l.parse(line, to) }}
	if config.Foreign {
		out = io.Discard
	}
	if config.LogDir != "" {
		f, err := os.Create(filepath.Join(config.LogDir, l.file+".log"))
		if err != nil {
			return fmt.Errorf("log of Pod %s: %w", name, err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = io.MultiWriter(f, out)
	}
	if _, err := io.Copy(out, stream); err != nil {
		return fmt.Errorf("log of Pod %s: %w", name, err)
	}
	return nil
}

// parse records the event that a line tells of. Lines without one, such as those of a stack trace,
// are in the log file only.
func (l *lifeLog) parse(line []byte, to Recorder) {
	var life protocol.Event
	if json.Unmarshal(line, &life) != nil {
		return
	}
	if life.Event == protocol.EventHeldEnded && life.Held != nil {
		l.addHeld(life.UnixNano, *life.Held, to.clock)
		return
	}
	if life.Task != nil {
		l.addTask(life, to.clock)
		return
	}
	kind, known := lifeEvents[life.Event]
	if !known || life.UnixNano <= 0 {
		return
	}
	e := l.of
	e.At, e.Kind = to.clock.Wall(time.Unix(0, life.UnixNano)), kind
	if life.Code != nil {
		e.Code = *life.Code
	}
	to.Once(e)
	switch kind {
	case timeline.AppStart:
		l.kernel = &life.Kernel
	case timeline.AppLastRequest:
		if life.Lanes != nil {
			l.served.Answered = map[string]int{}
		}
		for lane, n := range life.Lanes {
			l.served.Answered[lane] = int(n)
		}
	case timeline.AppShutdownTimeout, timeline.AppExit: // what both name is one request
		for _, r := range life.Unanswered {
			request := timeline.Unanswered(r)
			if !slices.Contains(l.served.Unanswered, request) {
				l.served.Unanswered = append(l.served.Unanswered, request)
			}
		}
	}
}

// addHeld records a connection that a client held.
func (l *lifeLog) addHeld(ended int64, h protocol.Held, clock timeline.Clock) {
	at := func(unixNano int64) time.Duration { return clock.Wall(time.Unix(0, unixNano)).Round(time.Microsecond) }
	l.held = append(l.held, timeline.HeldByPod{
		Pod: l.of.Pod, UID: l.of.UID, Lane: h.Lane, Client: h.Client, Number: h.Number,
		Opened: at(h.Opened), Ended: at(ended), By: timeline.HeldBy(h.By), Fault: h.Fault,
		Received: h.Received, Echoed: h.Echoed, Last: h.Last,
	})
}

// addTask records that a task was taken, or how it ended that the Pod had it.
func (l *lifeLog) addTask(e protocol.Event, clock timeline.Clock) {
	at := clock.Wall(time.Unix(0, e.UnixNano)).Round(time.Microsecond)
	switch e.Event {
	case protocol.EventTaskTaken:
		l.tasks = append(l.tasks, timeline.TaskByPod{
			Pod: l.of.Pod, UID: l.of.UID, Task: e.Task.Task, Attempt: e.Task.Attempt, Taken: at,
		})
	case protocol.EventTaskEnded: // of the one that it took last: it has one at a time
		if n := len(l.tasks) - 1; n >= 0 && l.tasks[n].Task == e.Task.Task && l.tasks[n].Attempt == e.Task.Attempt {
			t := &l.tasks[n]
			t.Ended, t.By, t.Worked, t.Error = at, timeline.TaskBy(e.Task.By), e.Task.Worked, e.Error
		}
	}
}

// unsure is how far off a clock is taken to be that nobody could compare: nodes that keep their
// time by NTP are within that.
const unsure = time.Second

// addSources records of each node what is known of the clock that the app's events are dated by: it
// is this process' own clock, or the node was asked. The events are corrected by the latter.
func (a appLog) addSources(all *Record, logs []*lifeLog) {
	kernels := map[string]string{} // by node; empty if one of its Pods didn't name it
	for _, l := range logs {
		if l.kernel == nil {
			continue
		}
		if known, found := kernels[l.of.Node]; !found || known != "" {
			kernels[l.of.Node] = *l.kernel
		}
	}
	for _, node := range slices.Sorted(maps.Keys(kernels)) {
		source := timeline.Source{Kind: timeline.SourceApp, Node: node}
		source.SameClock = timeline.SameKernel(kernels[node])
		i := slices.IndexFunc(a.nodes, func(n *watchedNode) bool { return n.Name == node })
		switch {
		case source.SameClock:
		case i >= 0 && a.nodes[i].comparison.Uncertainty > 0:
			source.Comparison = a.nodes[i].comparison
			correct(all.Events, node, source.Correction())
			for _, l := range logs {
				for i := range l.held {
					if l.of.Node == node {
						l.held[i].Opened -= source.Correction()
						l.held[i].Ended -= source.Correction()
					}
				}
				for i := range l.tasks {
					if l.of.Node == node {
						l.tasks[i].Taken -= source.Correction()
						l.tasks[i].Ended -= source.Correction()
					}
				}
			}
		default:
			source.Uncertainty = unsure
			source.Missing = "its clock is not the harness', and the node can't be asked how far it is ahead"
		}
		all.Sources = append(all.Sources, source)
	}
}

// correct moves the app's events on a node to the harness' clock.
func correct(events []timeline.Event, node string, ahead time.Duration) {
	kinds := slices.Collect(maps.Values(lifeEvents))
	for i := range events {
		if e := &events[i]; e.Node == node && slices.Contains(kinds, e.Kind) {
			e.At -= ahead
		}
	}
}
