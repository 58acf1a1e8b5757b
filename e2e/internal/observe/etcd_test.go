package observe

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// etcdSays is a line of etcd's log about a transaction that began to be applied at an instant of the bubble's clock and took 1.5 ms.
func etcdSays(at time.Duration, request string) string {
	ended := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(at + 1500*time.Microsecond)
	return fmt.Sprintf(`%s stderr F {"level":"warn","ts":"%s","caller":"txn/util.go:93","msg":"apply request took too long","took":"1.5ms",`+
		`"expected-duration":"1ns","prefix":"","request":%q,"response":"size:20"}`+"\n",
		ended.Add(sec).Format(time.RFC3339Nano), ended.Format("2006-01-02T15:04:05.999999Z0700"), request)
}

// etcdWrites is the same about a write.
func etcdWrites(at time.Duration, operation, key, replaces string) string {
	return etcdSays(at, fmt.Sprintf(`header:<ID:59 username:"kube-apiserver-etcd-client"  auth_revision:1> txn:<compare:<target:MOD  key:"%[1]s"  mod_revision:%[2]s> `+
		`success:<request_%[3]s:<key:"%[1]s" value_size:3801 >> failure:<request_range:{key:"%[1]s"}>>`, key, replaces, operation))
}

// TestWritesOfEtcd: what a watch delivers is dated by etcd, and what etcd says nothing of stays as the watch delivered it.
func TestWritesOfEtcd(t *testing.T) {
	const pods, slice = "/registry/pods/" + namespace + "/", "/registry/endpointslices/" + namespace + "/app-x"
	const pod = pods + "app-0"
	log := strings.Join([]string{
		"==> /var/log/pods/kube-system_etcd-node_1/etcd/0.log <==\n",
		etcdWrites(-5*ms, "put", pods+"app-9", "40"), // leads to 51
		etcdWrites(990*ms, "put", pod, "0"),          // leads to 101
		etcdSays(995*ms, `key:"`+pod+`"  limit:1`),
		etcdWrites(1980*ms, "put", pod, "101"), // leads to 102
		etcdWrites(1985*ms, "put", pod, "101"), // came too late, and was not applied
		etcdWrites(2970*ms, "put", slice, "0"), // leads to 103, the slice's only one
		etcdWrites(3960*ms, "put", pod, "102"), // leads to 104
		strings.Replace(etcdWrites(4100*ms, "put", pod, "104"), "1.5ms", "soon", 1),
		strings.Replace(etcdWrites(4100*ms, "put", pod, "104"), `"ts":"2000-`, `"ts":"`, 1),
		strings.Replace(etcdWrites(4100*ms, "put", pod, "104"), "stderr F {", "stderr P {", 1),
		etcdWrites(4950*ms, "delete_range", pod, "104"),          // leads to 105
		etcdWrites(7*sec, "put", pods+"app-1", "0"),              // leads to 106
		etcdWrites(6500*ms, "put", pods+"app-2", "107"),          // leads to 108; of 107 nothing was heard
		etcdWrites(7900*ms, "put", pods+"app-9", "51"),           // leads to 109
		etcdWrites(8800*ms, "delete_range", pods+"app-1", "106"), // leads to 110
		etcdWrites(8900*ms, "put", pods+"app-1", "0"),            // leads to 111: another Pod of that name
	}, "")
	inBubble(t, func(t *testing.T, s *apiServer) {
		s.version = 50
		s.put(aReadyPod("app-9")) // 51: listed, and not watched
		s.version = 100
		o := s.observe(t, func(c *Config) {
			c.Nodes = []Node{
				{Name: "worker", Run: fakeNode("worker", map[string]string{"cat": timeline.Kernel(), "sh": subscribed + "\n…", "ctr": "…"}).Run},
				{Name: "control", Etcd: true, Run: fakeNode("control", map[string]string{
					"cat": timeline.Kernel(), "sh": subscribed + "\n…", "ctr": "…", followEtcd: log + "…",
				}).Run},
				{Name: "elsewhere", Etcd: true, Run: fakeNode("elsewhere", map[string]string{
					"cat": "another", "date": "946684800000000000", "sh": subscribed + "\n…", "ctr": "…",
					followEtcd: log + "…",
				}).Run},
				{Name: "deaf", Etcd: true, Run: fakeNode("deaf", nil).Run},
			}
		})
		after(sec)
		p := aPod("app-0")
		s.put(p)
		after(sec)
		setRunning(p)
		setReady(p, true)
		s.put(p)
		after(sec)
		s.put(aSlice("app-x", endpoint("app-0", serving)))
		after(sec)
		setLeaving(p)
		s.put(p)
		after(sec)
		s.remove(p)
		after(sec)
		s.put(aPod("app-1")) // at 6 s by the watch and at 7 s by etcd: a clock is wrong
		after(sec)
		p = aPod("app-2")
		s.put(p)
		setRunning(p)
		s.put(p)
		after(sec)
		p = aReadyPod("app-9")
		setReady(p, false)
		s.put(p)
		after(sec)
		p = aPod("app-1")
		s.remove(p)
		p.UID = "another"
		s.put(p)
		after(sec)
		seen := o.Stop()

		var got []string
		for _, e := range seen.Events {
			got = append(got, fmt.Sprintf("%s %s %s, seen %s later", e.At, e.Pod, e.Kind, e.SeenAfter))
		}
		slices.Sort(got)
		assert.Equal(t, []string{
			"0s app-9 pod-addressed, seen 0s later",
			"0s app-9 pod-created, seen 0s later",
			"0s app-9 pod-ready, seen 0s later",
			"0s app-9 pod-scheduled, seen 0s later",
			"0s app-9 pod-started, seen 0s later",
			"1.98s app-0 pod-addressed, seen 20ms later",
			"1.98s app-0 pod-ready, seen 20ms later",
			"1.98s app-0 pod-scheduled, seen 20ms later",
			"1.98s app-0 pod-started, seen 20ms later",
			"2.97s app-0 endpoint-serving, seen 30ms later",
			"3.96s app-0 pod-deleted, seen 40ms later",
			"4.95s app-0 pod-gone, seen 50ms later",
			"6.5s app-2 pod-addressed, seen 500ms later",
			"6.5s app-2 pod-scheduled, seen 500ms later",
			"6.5s app-2 pod-started, seen 500ms later",
			"6s app-1 pod-created, seen 0s later",
			"7.9s app-9 pod-unready, seen 100ms later",
			"7s app-2 pod-created, seen 0s later",
			"8.8s app-1 pod-gone, seen 200ms later",
			"990ms app-0 pod-created, seen 10ms later",
			"9s app-1 pod-created, seen 0s later",
		}, got)
		assert.True(t, slices.IsSortedFunc(seen.Events, func(a, b timeline.Event) int { return int(a.At - b.At) }), "in the order of what happened")
		var sources []string
		for _, source := range seen.Sources {
			if source.Kind == timeline.SourceEtcd {
				sources = append(sources, source.Node+": "+source.Missing)
			}
		}
		assert.Equal(t, []string{
			"control: ", "elsewhere: its clock is not the harness', which what a watch tells is dated by", "deaf: from 0s on: ask node deaf (cat): cat: not found",
		}, sources, "of nodes that should have it")
		assert.Equal(t, seen, o.Stop(), "twice")
	})
}

// TestGapIsNotDated: what a list tells after a gap came about nobody knows when, though etcd has told of each step; what is watched from there on is dated.
func TestGapIsNotDated(t *testing.T) {
	const pods = "/registry/pods/" + namespace + "/"
	const pod, gone, stays = pods + "app-0", pods + "app-1", pods + "app-2"
	log := strings.Join([]string{
		etcdWrites(900*ms, "put", pod, "0"),              // leads to 101
		etcdWrites(910*ms, "put", gone, "0"),             // leads to 102
		etcdWrites(920*ms, "put", stays, "0"),            // leads to 103
		etcdWrites(1100*ms, "put", pod, "101"),           // leads to 104
		etcdWrites(1200*ms, "put", pod, "104"),           // leads to 105
		etcdWrites(1300*ms, "delete_range", gone, "102"), // leads to 106
		etcdWrites(11900*ms, "delete_range", pod, "105"), // leads to 107
	}, "")
	inBubble(t, func(t *testing.T, s *apiServer) {
		s.version = 100
		o := s.observe(t, func(c *Config) {
			c.Nodes = []Node{{Name: "control", Etcd: true, Run: fakeNode("control", map[string]string{
				"cat": timeline.Kernel(), "sh": subscribed + "\n…", "ctr": "…", followEtcd: log + "…",
			}).Run}}
		})
		after(sec)
		p, q := aPod("app-0"), aPod("app-1")
		s.put(p)
		s.put(q)
		s.put(aPod("app-2"))
		s.leave(podsPath)
		setRunning(p)
		s.put(p)
		setLeaving(p)
		s.put(p)
		s.remove(q)
		s.comeBack(podsPath, true)
		after(11 * sec)
		s.remove(p)
		after(sec)
		var got []string
		for _, e := range o.Stop().Events {
			if e.Kind == timeline.PodCreated || e.Kind == timeline.PodDeleted || e.Kind == timeline.PodGone {
				got = append(got, fmt.Sprintf("%s %s %s", e.Pod, e.Kind, e.SeenAfter))
			}
		}
		assert.ElementsMatch(t, []string{
			"app-0 pod-created 100ms", "app-1 pod-created 90ms", "app-2 pod-created 80ms", "app-0 pod-deleted 0s", "app-1 pod-gone 0s", "app-0 pod-gone 100ms",
		}, got)
	})
}

// TestUndatable: a wall clock that isn't this one, or isn't what it was, dates nothing.
func TestUndatable(t *testing.T) {
	assert.Empty(t, undatable(oneClock, 0))
	assert.Equal(t, "the clock was set by -2s in mid-run", undatable(oneClock, -2*sec))
	assert.NotEmpty(t, undatable(timeline.Comparison{Uncertainty: ms}, 0))
}

// TestListedHasNoVersion: a list tells how things are when a watch broke, and not when they came to be so.
func TestListedHasNoVersion(t *testing.T) {
	p := aPod("app-0")
	p.ResourceVersion = "7"
	assert.Empty(t, unversioned(p).(interface{ GetResourceVersion() string }).GetResourceVersion())
	assert.Equal(t, "7", p.ResourceVersion, "what is known stays as it is")
}
