package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// logFollowed marks a Pod whose log is being read; it never becomes an event.
const logFollowed timeline.Kind = "log-followed"

// follow reads the Pod's log, from its first line to its last, once. The log has to be followed while the Pod lives: when the Pod is gone, so is the log.
func (o *Observation) follow(ctx context.Context, name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := mark{name, logFollowed}
	if o.seen[key] {
		return
	}
	o.seen[key] = true
	o.done.Go(func() {
		if err := o.readLog(ctx, name); err != nil && ctx.Err() == nil {
			o.add(timeline.Event{At: o.now(), Kind: timeline.LogCut, Pod: name, Detail: err.Error()})
		}
	})
}

func (o *Observation) readLog(ctx context.Context, name string) (err error) {
	opts := &corev1.PodLogOptions{Container: o.config.Container, Follow: true}
	stream, err := o.config.Client.CoreV1().Pods(o.config.Namespace).GetLogs(name, opts).Stream(ctx)
	if err != nil {
		return fmt.Errorf("log of Pod %s: %w", name, err)
	}
	defer stream.Close()
	var to io.Writer = &lines{see: func(line []byte) { o.seeLine(name, line) }}
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
func (o *Observation) seeLine(pod string, line []byte) {
	var life struct {
		Event    string `json:"event"`
		UnixNano int64  `json:"unixNano"`
		Code     int    `json:"code"`
		// Lanes is how many requests of each lane the process has answered in its life.
		Lanes map[string]int `json:"lanes"`
	}
	if json.Unmarshal(line, &life) != nil {
		return
	}
	if kind, ok := told[life.Event]; ok && life.UnixNano > 0 {
		o.once(timeline.Event{At: o.clock.Offset(time.Unix(0, life.UnixNano)), Kind: kind, Pod: pod, Code: life.Code})
		if kind == timeline.AppLastRequest && life.Lanes != nil {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.served = append(o.served, timeline.Served{Pod: pod, Answered: life.Lanes})
		}
	}
}

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
