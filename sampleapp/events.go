package main

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// The events of a life, in the order in which an orderly one has them. One that is missing did not happen, or the process was killed before it could say so.
const (
	eventStart           = "start"            // main began
	eventListening       = "listening"        // the kernel accepts connections from now on
	eventReady           = "ready"            // /readyz answered 200 for the first time
	eventPreStopStart    = "prestop-start"    // a preStop hook called /prestop
	eventPreStopEnd      = "prestop-end"      // … and was answered, or hung up (then with an error)
	eventSIGTERM         = "sigterm"          // the first SIGTERM reached the program; never seen with -on-sigterm=default
	eventShutdownBegin   = "shutdown-begin"   // Shutdown is about to be called: any delay is over
	eventListenerClosed  = "listener-closed"  // the kernel refuses connections from now on
	eventFailedRequest   = "failed-request"   // a request to /work was failed on purpose, see -fail-every
	eventShutdownTimeout = "shutdown-timeout" // Shutdown gave up waiting; what is in flight is cut off now
	eventLastRequest     = "last-request"     // the last answer to /work was written. Told right before exit; absent if there was none
	eventExit            = "exit"             // the process is about to exit, with this code
)

// event is one line of the life log.
type event struct {
	Event    string `json:"event"`
	UnixNano int64  `json:"unixNano"` // wall clock, of the instant the event happened, not of the writing
	Pod      string `json:"pod"`
	Kernel   string `json:"kernel,omitempty"`   // start: whose wall clock the instants are of (Linux' boot_id); empty where the system doesn't tell
	Addr     string `json:"addr,omitempty"`     // listening: the address, with the port that was chosen
	Requests int64  `json:"requests,omitempty"` // last-request: how many requests to /work were answered in this life
	// Lanes are those of Requests that said which lane of the load they belong to, by lane.
	Lanes map[string]int64 `json:"lanes,omitempty"`
	Lane  string           `json:"lane,omitempty"`  // failed-request: the lane of the load that it belonged to
	Seq   *int             `json:"seq,omitempty"`   // failed-request: its number there; a pointer because 0 is to be seen
	Code  *int             `json:"code,omitempty"`  // exit: the exit code; a pointer because 0 is to be seen
	Error string           `json:"error,omitempty"` // why it went wrong, where it did
}

// lifeLog writes life events as JSON, one object per line. Each line is one unbuffered Write, because the next thing that happens may be a SIGKILL, and because
// the container runtime time-stamps and splits by what arrives.
type lifeLog struct {
	out io.Writer
	pod string

	mu sync.Mutex
}

// record writes e as having happened at the given instant.
func (l *lifeLog) record(at time.Time, e event) {
	e.UnixNano, e.Pod = at.UnixNano(), l.pod
	line, err := json.Marshal(e)
	if err != nil {
		panic(err) // can't be: strings and integers only
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// Where stdout is broken there is no place left to tell it, and requests matter more than the log.
	_, _ = l.out.Write(append(line, '\n'))
}

// kernel identifies the kernel that runs this process, from its boot to its end. All processes on it have one wall clock, whatever containers they are in.
func kernel() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
