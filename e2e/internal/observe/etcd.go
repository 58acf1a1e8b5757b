package observe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// A watch tells what has happened, and tells it late: etcd has to wake the API server, and that this process, on a machine whose CPUs are busy with load. etcd
// itself knows when, as nothing is done before it has applied the transaction that says so.

// followEtcd follows the log of etcd from now on. The kubelet moves it aside when it has grown, hence by its name.
const followEtcd = "exec tail -n 0 -F /var/log/pods/kube-system_etcd-*/etcd/*.log"

// writes are what etcd has written, and when it began to apply each write.
type writes struct {
	last    map[string]write         // by key: the write that nothing has replaced yet, the revision of which is unknown
	applied map[string]time.Duration // by revision, which is the resourceVersion of the object
}

// write is one that took the place of another.
type write struct {
	at       time.Duration
	replaces string // the revision that the key had
}

// guardedWrite is the API server's way to write, as etcd logs it: a transaction that changes a key if it still has the revision that was read.
var guardedWrite = regexp.MustCompile(`txn:<compare:<target:MOD +key:"([^"]+)" +mod_revision:(\d+)> success:<request_(?:put|delete_range):`)

// registry is where the API server keeps its objects in etcd, unless told otherwise.
var registry = []byte("/registry/")

// seeWrite reads a line of the log of etcd, as the container runtime stores it:
//
//	2026-11-23T00:20:01.5Z stderr F {"level":"warn","ts":"2026-11-23T00:20:01.498213Z","msg":"apply request took too long","took":"112.3µs",
//	"request":"header:<…> txn:<compare:<target:MOD  key:\"/registry/pods/ns/app-0\"  mod_revision:1172> success:<request_put:<key:\"/registry/pods/ns/app-0\" value_size:3801 >> …>",…}
//
// Any other is of something that wasn't written.
func (w *nodeWatch) seeWrite(line []byte) {
	if !bytes.Contains(line, registry) {
		return
	}
	_, text, _ := bytes.Cut(line, []byte(" F "))
	var said struct{ TS, Took, Request string }
	if json.Unmarshal(text, &said) != nil {
		return
	}
	found := guardedWrite.FindStringSubmatch(said.Request)
	if found == nil {
		return
	}
	ended, err := time.Parse(time.RFC3339Nano, said.TS)
	if err != nil {
		return
	}
	took, err := time.ParseDuration(said.Took)
	if err != nil {
		return
	}
	w.observation.mu.Lock()
	defer w.observation.mu.Unlock()
	w.writes.add(found[1], write{w.offset(ended.Add(-took)), found[2]})
}

// add takes the next write of a key. etcd doesn't log the revision that a write leads to, but the next one of the same key names it as the one it replaces.
func (w *writes) add(key string, next write) {
	if w.last == nil {
		w.last, w.applied = map[string]write{}, map[string]time.Duration{}
	}
	before, known := w.last[key]
	if known && before.replaces == next.replaces {
		return // another was quicker, and this one was not applied
	}
	if known {
		w.applied[next.replaces] = before.at
	}
	w.last[key] = next
}

// of is when etcd began to apply the write that gave the object under a key its revision, if it has told.
func (w *writes) of(key, revision string) (at time.Duration, known bool) {
	if at, known = w.applied[revision]; known {
		return at, true
	}
	last, known := w.last[key]
	return last.at, known && newer(revision, last.replaces) // then it is the last one's
}

// undatable says why nothing can be dated by what the node's etcd tells, given by how much the wall clock was set in mid-run; "" if things can. A watch is late by
// milliseconds, and a clock that is compared is hardly known to more.
func (w *nodeWatch) undatable(stepped time.Duration) string {
	switch {
	case !w.clock.SameClock:
		return "its clock is not the harness', which what a watch tells is dated by"
	case stepped != 0:
		return fmt.Sprintf("the clock was set by %s in mid-run", stepped)
	}
	return ""
}

// dated is an event that a watch has delivered, with the instant at which it happened if etcd has told that. The watch may be the sooner to tell: a thread of
// etcd's that has to wait for a CPU between its work and its stopwatch's reading dates it too late, which on two busy cores is one write in a hundred or two.
func (o *Observation) dated(e timeline.Event, w *writes) timeline.Event {
	if e.Version == "" {
		return e
	}
	if at, known := w.of(o.keys[e.Version], e.Version); known && at < e.At {
		e.At, e.SeenAfter = at, e.At-at
	}
	return e
}

// versionOf is the resourceVersion of an object, empty for one that was listed. Under which key etcd keeps that one is written down.
func (o *Observation) versionOf(resource string, object metav1.Object) string {
	version := object.GetResourceVersion()
	if version == "" {
		return ""
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keys[version] = string(registry) + resource + "/" + object.GetNamespace() + "/" + object.GetName()
	return version
}

// newer says that a revision came after another.
func newer(revision, than string) bool {
	a, errA := strconv.ParseUint(revision, 10, 64)
	b, errB := strconv.ParseUint(than, 10, 64)
	return errA == nil && errB == nil && a > b
}
