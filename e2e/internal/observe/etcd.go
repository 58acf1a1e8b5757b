package observe

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// A watch tells what has happened, and tells it late: etcd has to wake the API server, and that this process, on a machine whose CPUs are busy with load. etcd
// itself knows when, as nothing is done before it has applied the transaction that says so.

// followEtcd follows the log of etcd from now on. The kubelet moves it aside when it has grown, hence by its name.
const followEtcd = "exec tail -n 0 -F /var/log/pods/kube-system_etcd-*/etcd/*.log"

// place is what a write took the place of: what etcd kept under a key in a revision, which is the resourceVersion of an object; "0" where there was nothing.
// etcd logs the revision that a write replaces, and not the one that it leads to. A watch delivers every version of an object, so both are known.
type place struct{ key, revision string }

const (
	// nothing is the revision of what isn't there.
	nothing = "0"
	// never is the instant of what can't be dated: after all that is seen.
	never = time.Duration(math.MaxInt64)
)

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
	of := place{found[1], found[2]}
	switch _, taken := w.writes[of]; {
	case !taken:
		w.writes[of] = w.offset(ended.Add(-took))
	case of.revision == nothing: // removed and made anew, or made by two: nobody can tell which this is
		w.writes[of] = never
	default: // of several writers only the first was let
	}
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

// date gives the events the instants that a node's etcd tells, or writes down why it can't. The lock must be held.
func (o *Observation) date(w *nodeWatch, stepped time.Duration) {
	if why := w.undatable(stepped); why != "" {
		w.missing[timeline.SourceEtcd] = cmp.Or(w.missing[timeline.SourceEtcd], why)
		return
	}
	for i, e := range o.events {
		o.events[i] = o.dated(e, w.writes)
	}
}

// dated is an event that a watch has delivered, with the instant at which etcd began to apply the write that brought it about, if it has told. The watch may be
// the sooner to tell: a thread of etcd's that has to wait for a CPU between its work and its stopwatch's reading dates it too late, which on two busy cores is one
// write in a hundred or two.
func (o *Observation) dated(e timeline.Event, writes map[place]time.Duration) timeline.Event {
	of, delivered := o.replaced[e.Version]
	if at, known := writes[of]; delivered && known && at < e.At {
		e.At, e.SeenAfter = at, e.At-at
	}
	return e
}

// keep writes down which version of an object is the present one, and which it took the place of if a watch has delivered it: a list tells of the present only.
func (o *Observation) keep(resource string, object runtime.Object, delivered, deleted bool) {
	m, err := meta.Accessor(object)
	if err != nil {
		return
	}
	key := string(registry) + resource + "/" + m.GetNamespace() + "/" + m.GetName()
	o.mu.Lock()
	defer o.mu.Unlock()
	if delivered {
		o.replaced[m.GetResourceVersion()] = place{key, cmp.Or(o.present[key], nothing)}
	}
	if deleted {
		delete(o.present, key)
	} else {
		o.present[key] = m.GetResourceVersion()
	}
}
