package main

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// lifeLog writes life events as JSON, one object per line. Each line is one unbuffered Write,
// because the next thing that happens may be a SIGKILL, and because the container runtime
// time-stamps and splits by what arrives.
type lifeLog struct {
	out io.Writer
	pod string

	mu sync.Mutex
}

// record writes e as having happened at the given instant.
func (l *lifeLog) record(at time.Time, e protocol.Event) {
	e.UnixNano, e.Pod = at.UnixNano(), l.pod
	line, err := json.Marshal(e)
	if err != nil {
		panic(err) // can't be: strings and integers only
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// Where stdout is broken there is no place left to tell it, and requests matter more than the
	// log.
	_, _ = l.out.Write(append(line, '\n'))
}

// kernel identifies the kernel that runs this process, from its boot to its end. All processes on
// it have one wall clock, whatever containers they are in.
func kernel() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
