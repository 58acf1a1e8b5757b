package observe

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// etcdLog dates what watches deliver. A watch delivers a change late: etcd has to wake the API
// server, and that this process, on a machine whose CPUs are busy with load. etcd itself knows the
// instant, as nothing is done before it has applied the transaction of the change.
//
// etcd logs the version that a write replaces, and not the one that it leads to. A watch delivers
// every version of an object, so both are known.
type etcdLog struct{ node *watchedNode }

// followEtcd follows the log of etcd from now on. The kubelet moves it aside when it has grown,
// hence by its name.
const followEtcd = "exec tail -n 0 -F /var/log/pods/kube-system_etcd-*/etcd/*.log"

const (
	// nothing is the revision of what isn't there.
	nothing = "0"
	// ambiguous is the instant of a write that can't be dated: after all that is delivered.
	ambiguous = time.Duration(math.MaxInt64)
	// registry is where the API server keeps its objects in etcd, unless configured otherwise.
	registry = "/registry/"
)

func (s etcdLog) Name() string { return "etcd of node " + s.node.Name }

func (s etcdLog) Run(ctx context.Context, to Recorder) error {
	to.Ready()
	writes := map[version]time.Duration{} // by the version replaced: when etcd began to apply the write
	source := timeline.Source{Kind: timeline.SourceEtcd, Node: s.node.Name}
	if err := s.node.compareClocks(ctx, to.clock); err != nil || undatable(s.node.comparison, 0) == "" {
		source = s.node.follow(ctx, to, source.Kind, func(line []byte) {
			began, replaced, ok := parseWrite(line)
			if !ok {
				return
			}
			switch _, taken := writes[replaced]; {
			case !taken:
				writes[replaced] = s.node.offset(to.clock, began)
			case replaced.revision == nothing: // removed and made anew, or made by two writers
				writes[replaced] = ambiguous
			default: // of several writers only the first succeeded
			}
		}, "sh", "-c", followEtcd)
	}
	source.Comparison = s.node.comparison
	to.AtEnd(func(all *Record) {
		why := undatable(source.Comparison, all.clock.Stepped())
		source.Missing = cmp.Or(source.Missing, why)
		all.Sources = append(all.Sources, source)
		if why == "" {
			date(all, writes)
		}
	})
	return nil
}

// undatable says why etcd's log can't date events, given by how much the wall clock was set in
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

// date gives each event that a watch has delivered the instant at which etcd began to apply the
// write, if etcd logged it. The watch may be sooner: an etcd thread that has to wait for a CPU
// between its work and its stopwatch's reading dates the write too late, which on two busy cores is
// one write in a hundred or two.
func date(all *Record, writes map[version]time.Duration) {
	for i, e := range all.Events {
		replaced, delivered := all.replaced[e.Version]
		if at, logged := writes[replaced]; delivered && logged && at < e.At {
			all.Events[i].At, all.Events[i].SeenAfter = at, e.At-at
		}
	}
}

// guardedWrite is the API server's way to write, as etcd logs it: a transaction that changes a key
// if it still has the revision that was read.
var guardedWrite = regexp.MustCompile(
	`txn:<compare:<target:MOD +key:"([^"]+)" +mod_revision:(\d+)> success:<request_(?:put|delete_range):`)

// parseWrite reads a line of the log of etcd, as the container runtime stores it:
//
//	2026-11-23T00:20:01.5Z stderr F {"level":"warn","ts":"2026-11-23T00:20:01.498213Z",
//	"msg":"apply request took too long","took":"112.3µs","request":"header:<…>
//	txn:<compare:<target:MOD  key:\"/registry/pods/ns/app-0\"  mod_revision:1172>
//	success:<request_put:<key:\"/registry/pods/ns/app-0\" value_size:3801 >> …>",…}
//
// It returns when the write began to be applied and which version it replaced. Any other line is of
// no write.
func parseWrite(line []byte) (began time.Time, replaced version, ok bool) {
	_, text, _ := bytes.Cut(line, []byte(" F "))
	var entry struct{ TS, Took, Request string }
	if !bytes.Contains(line, []byte(registry)) || json.Unmarshal(text, &entry) != nil {
		return began, replaced, false
	}
	found := guardedWrite.FindStringSubmatch(entry.Request)
	if found == nil {
		return began, replaced, false
	}
	ended, noInstant := time.Parse(time.RFC3339Nano, entry.TS)
	took, noLength := time.ParseDuration(entry.Took)
	return ended.Add(-took), version{found[1], found[2]}, noInstant == nil && noLength == nil
}
