package observe

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestNodes: a Node that stops being ready is told of, each time, and one that was never ready isn't.
func TestNodes(t *testing.T) {
	node := func(name string, ready corev1.ConditionStatus) runtime.Object {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}},
		}
	}
	to := recorder(time.Now())
	changed := nodeChanges(to)
	for i, step := range []struct {
		node    runtime.Object
		deleted bool
	}{
		{node("a", corev1.ConditionTrue), false},
		{node("b", corev1.ConditionFalse), false}, // was never ready
		{node("a", corev1.ConditionTrue), false},
		{node("a", corev1.ConditionUnknown), false}, // at 3 s: the kubelet is silent
		{node("a", corev1.ConditionUnknown), false},
		{node("a", corev1.ConditionTrue), false},
		{node("a", corev1.ConditionFalse), false}, // at 6 s
		{node("b", corev1.ConditionTrue), false},
		{node("b", corev1.ConditionTrue), true}, // at 8 s: it was removed
		{&corev1.Pod{}, false},
	} {
		changed(time.Duration(i)*time.Second, step.node, step.deleted)
	}
	assert.Equal(t, []timeline.Event{
		{At: 3 * time.Second, Kind: timeline.NodeUnready, Node: "a"},
		{At: 6 * time.Second, Kind: timeline.NodeUnready, Node: "a"},
		{At: 8 * time.Second, Kind: timeline.NodeUnready, Node: "b"},
	}, to.Events)
}

// fakeNode prints what is given for each command, by its name or, of a shell, by what it is to do. Of one that ends in "…" the program runs on until the observation ends.
func fakeNode(name string, prints map[string]string) Node {
	return Node{Name: name, Run: func(ctx context.Context, stdout io.Writer, command string, args ...string) error {
		text, known := prints[command]
		if len(args) > 0 && prints[args[len(args)-1]] != "" {
			text = prints[args[len(args)-1]]
		}
		if !known {
			return fmt.Errorf("%s: not found", command)
		}
		text, goesOn := strings.CutSuffix(text, "…")
		for i := 0; i < len(text); i += 50 { // in pieces, as it comes: cut anywhere
			if _, err := io.WriteString(stdout, text[i:min(i+50, len(text))]); err != nil {
				return err
			}
		}
		if goesOn {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		return nil
	}}
}

// Of the bubble's clock, which starts at 2000-01-01 00:00:00 UTC.
const (
	connections = `[946684801.000100]	    [NEW] tcp      6 120 SYN_SENT src=10.244.0.41 dst=10.96.197.182 sport=33998 dport=80 [UNREPLIED] src=10.244.1.2 dst=10.244.0.41 sport=8080 dport=33998
[946684801.200000]	    [NEW] tcp      6 120 SYN_SENT src=127.0.0.1 dst=127.0.0.1 sport=49916 dport=10259 [UNREPLIED] src=127.0.0.1 dst=127.0.0.1 sport=10259 dport=49916
[946684801.300000]	    [NEW] tcp      6 120 SYN_SENT src=10.244.0.9 dst=10.96.0.10 sport=4000 dport=53 [UNREPLIED] src=10.244.0.3 dst=10.244.0.9 sport=53 dport=4000
[nonsense] src=a dst=b sport=1 dport=2 src=10.244.1.2 dst=a sport=2 dport=1
[946684801.5] src=a dst=b sport=1 dport=2 src=10.244.1.2 dst=a sport=2 dport=1
[946684801.500000] src=a dst=b sport=65536 dport=2 src=10.244.1.2 dst=a sport=2 dport=1
[946684800.900000]	    [NEW] tcp      6 120 SYN_SENT src=172.18.0.1 dst=172.18.0.3 sport=50000 dport=30080 [UNREPLIED] src=10.244.1.2 dst=172.18.0.3 sport=8080 dport=50000
[946684802.000000]	    [NEW] tcp      6 120 SYN_SENT src=10.244.0.41 dst=10.96.197.182 sport=34000 dport=80 [UNREPLIED] src=10.244.1.2`
	processes = `2000-01-01 00:00:00.5 +0000 UTC k8s.io /tasks/start {"container_id":"c0","pid":838}
2000-01-01 00:00:00.3 +0000 UTC k8s.io /tasks/start {"container_id":"s0","pid":830}
2000-01-01 00:00:00.4 +0000 UTC k8s.io /containers/create {"id":"c0","image":"app"}
2000-01-01 00:00:00.4 +0000 UTC k8s.io /containers/create {"id":"s0","image":"pause"}
2000-01-01 00:00:01.1 +0000 UTC k8s.io /containers/delete {"id":"c0"}
2000-01-01 00:00:01.2 +0000 UTC k8s.io /tasks/exit {"container_id":"c0","id":"probe","pid":9,"exited_at":{"seconds":946684801,"nanos":100}}
2000-01-01 00:00:01.3 +0000 UTC k8s.io /tasks/exit {"container_id":"foreign","id":"foreign","pid":9,"exited_at":{"seconds":946684801,"nanos":100}}
2000-01-01 00:00:01.4 +0000 UTC k8s.io /tasks/exit {"container_id
2000-01-01 00:00:03.4 +0000 UTC k8s.io /tasks/exit {"container_id":"c0","id":"c0","pid":838,"exit_status":137,"exited_at":{"seconds":946684803,"nanos":200000000}}
2000-01-01 00:00:03.5 +0000 UTC k8s.io /tasks/exit {"container_id":"s0","id":"s0","pid":830,"exit_status":137,"exited_at":{"seconds":946684803,"nanos":500000000}}
2000-01-01 00:00:03.5 +0000 UTC k8s.io /tasks/exit {"container_id":"s1","id":"s1","pid":831,"exited_at":{"seconds":946684803,"nanos":500000000}}
2000-01-01 00:00:03.5 +0000 UTC k8s.io /tasks/exit {"container_id":"side","id":"side","pid":832,"exited_at":{"seconds":946684803,"nanos":500000000}}
`
	stops = `time="2000-01-01T00:00:02.4Z" level=info msg="StopContainer for \"c0\" with timeout 30 (s)"
time="2000-01-01T00:00:02.5Z" level=info msg="Stop container \"c0\" with signal terminated"
time="2000-01-01T00:00:02.6Z" level=info msg="Stop container \"foreign\" with signal quit"
time="2000-01-01T00:00:02.7Z" level=info msg="Kill container \"c0\""
time="no instant" level=info msg="Stop container \"c0\" with signal terminated"
time="2000-01-01T00:00:02.8Z" level=info msg="Stop container \"c0\" with sig
`
	// What containerd has written down of containers: the sandboxes of an app's Pod and of another, and what is none.
	containers = containersDir + `/s0/config.json:"` + containerType + `":"sandbox"
` + containersDir + `/s0/config.json:"` + sandboxUID + `":"u0"
` + containersDir + `/s1/config.json:"` + containerType + `":"sandbox"
` + containersDir + `/s1/config.json:"` + sandboxUID + `":"u1"
` + containersDir + `/side/config.json:"` + containerType + `":"container"
` + containersDir + `/side/config.json:"` + sandboxUID + `": "u0"
grep: ` + containersDir + `/c9/config.json: No such file or directory
`
)

// TestWatchNodes: which Pod was chosen for a new connection, and when a Pod's process began and ended, as the node tells it.
func TestWatchNodes(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer) {
		p := aReadyPod("app-0")
		p.UID = "u0"
		p.Status.ContainerStatuses[1].ContainerID = "containerd://c0"
		s.put(p)
		o := s.observe(t, func(c *Config) {
			lossy := fakeNode("lossy", map[string]string{
				"cat": timeline.Kernel() + "\n", "sh": "WARNING: We have hit ENOBUFS! We are losing events.\n" + connections + "…", "ctr": "…",
			})
			lossy.IP = "172.18.0.4"
			c.Nodes = []Node{
				lossy,
				fakeNode("worker", map[string]string{
					"cat": timeline.Kernel() + "\n", "sh": "NOTICE: " + subscribed + " to 16777216 bytes.\n" + connections + "…", "ctr": processes + "…",
					"find": containers, "journalctl": stops,
				}),
				fakeNode("deaf", nil),
				fakeNode("elsewhere", map[string]string{"cat": "another\n", "date": "946684803000000000\n", "sh": connections + "\n", "ctr": ""}),
			}
		})
		after(5 * sec)
		seen := o.Stop()

		name := func(i uint16) string { return seen.Routes.Name(i) }
		var routes []string
		for _, r := range seen.Routes.List {
			routes = append(routes, fmt.Sprintf("%s %s %s:%d → %s", r.At, name(r.Node), name(r.Source), r.Port, name(r.Target)))
		}
		assert.Equal(t, []string{
			"-2.1s elsewhere 172.18.0.1:50000 → 10.244.1.2", // its clock is 3 s ahead
			"-1.9999s elsewhere 10.244.0.41:33998 → 10.244.1.2",
			"900ms lossy 172.18.0.1:50000 → 10.244.1.2",
			"900ms worker 172.18.0.1:50000 → 10.244.1.2",
			"1.0001s lossy 10.244.0.41:33998 → 10.244.1.2",
			"1.0001s worker 10.244.0.41:33998 → 10.244.1.2",
		}, routes, "of the app's Pods only, and what is whole")

		process := timeline.Event{At: 500 * ms, Kind: timeline.ProcessStart, Pod: "app-0", UID: "u0", Node: "worker"}
		exit := timeline.Event{At: 3200 * ms, Kind: timeline.ProcessExit, Pod: "app-0", UID: "u0", Node: "worker", Code: 137}
		assert.Equal(t, []timeline.Event{process, exit}, only(seen.Events, timeline.ProcessStart, timeline.ProcessExit))
		stop := timeline.Event{At: 2*sec + 500*ms, Kind: timeline.StopSignal, Pod: "app-0", UID: "u0", Node: "worker", Detail: "terminated"}
		assert.Equal(t, []timeline.Event{stop}, only(seen.Events, timeline.StopSignal), "of the app's container only")
		of := func(at time.Duration, kind timeline.Kind) timeline.Event {
			return timeline.Event{At: at, Kind: kind, Pod: "app-0", UID: "u0", Node: "worker"}
		}
		assert.Equal(t, []timeline.Event{
			of(300*ms, timeline.SandboxStart), of(400*ms, timeline.ContainerCreated), of(3500*ms, timeline.SandboxExit),
		}, only(seen.Events, timeline.SandboxStart, timeline.ContainerCreated, timeline.SandboxExit))

		assert.Equal(t, []timeline.Source{
			{Kind: timeline.SourceRuntime, Node: "lossy", IP: "172.18.0.4", Comparison: oneClock},
			{Kind: timeline.SourceConntrack, Node: "lossy", IP: "172.18.0.4", Comparison: oneClock, Missing: "events were lost, first at 0s"},
			{Kind: timeline.SourceRuntime, Node: "worker", Comparison: oneClock},
			{Kind: timeline.SourceConntrack, Node: "worker", Comparison: oneClock},
			{Kind: timeline.SourceRuntime, Node: "deaf", Missing: "from 0s on: ask node deaf (cat): cat: not found"},
			{Kind: timeline.SourceConntrack, Node: "deaf", Missing: "from 0s on: ask node deaf (cat): cat: not found"},
			{Kind: timeline.SourceRuntime, Node: "elsewhere", Comparison: timeline.Comparison{Offset: 3 * sec}, Missing: "from 0s on: it ended"},
			{Kind: timeline.SourceConntrack, Node: "elsewhere", Comparison: timeline.Comparison{Offset: 3 * sec}, Missing: "from 0s on: it ended"},
		}, seen.Sources)
		assert.Equal(t, seen, o.Stop(), "twice")
	})
}

// TestWaitForConntrack: the start waits for connection tracking of every node, but not for ever. The clock of a node is
// compared once for all that is read there.
func TestWaitForConntrack(t *testing.T) {
	for name, tt := range map[string]struct{ subscribes, want time.Duration }{
		"when it has subscribed": {3 * sec, 3 * sec},
		"it takes too long":      {time.Minute, askWithin},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *apiServer) {
				node := fakeNode("worker", map[string]string{"cat": timeline.Kernel(), "sh": subscribed + "\n…", "ctr": "…"})
				node.AuditLog = auditFile
				run := node.Run
				var compared atomic.Int32
				node.Run = func(ctx context.Context, stdout io.Writer, command string, args ...string) error {
					switch command {
					case "cat":
						compared.Add(1)
					case "sh":
						pause(ctx, tt.subscribes)
					}
					return run(ctx, stdout, command, args...)
				}
				o := s.observe(t, func(c *Config) { c.Nodes = []Node{slowClock("other", sec), node} })
				assert.Equal(t, tt.want, o.record.now())
				assert.Len(t, o.Stop().Sources, 5)
				assert.EqualValues(t, 1, compared.Load())
			})
		})
	}
}

// oneClock is how clocks compare where everything is on one machine.
var oneClock = timeline.Comparison{SameClock: true}

// TestAppClocks: by which clock the app tells its life, node by node.
func TestAppClocks(t *testing.T) {
	start := func(kernel string) string {
		return fmt.Sprintf(`{"event":"start","unixNano":946684801000000000,"kernel":%q}`+"\n", kernel)
	}
	tests := []struct {
		name   string
		logs   []string // of Pods on one node
		nodes  []Node
		at     time.Duration
		source timeline.Source
	}{
		{"the harness' own", []string{start(timeline.Kernel())}, nil, sec, timeline.Source{Comparison: oneClock}},
		{"not told", []string{start("")}, nil, sec, timeline.Source{Comparison: timeline.Comparison{Uncertainty: unsure}, Missing: "its clock is not the harness', and the node can't be asked how far it is ahead"}},
		{"not told by one", []string{start(timeline.Kernel()), start("")}, nil, sec, timeline.Source{Comparison: timeline.Comparison{Uncertainty: unsure}, Missing: "its clock is not the harness', and the node can't be asked how far it is ahead"}},
		{
			"told by the node",
			[]string{start("another")},
			[]Node{slowClock("worker", 3*sec)},
			-2 * sec,
			timeline.Source{Comparison: timeline.Comparison{Offset: 3 * sec, Uncertainty: 50 * ms}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *apiServer) {
				for i, text := range tt.logs {
					pod := fmt.Sprint("app-", i)
					s.put(aReadyPod(pod))
					s.say(pod, text)
				}
				o := s.observe(t, func(c *Config) { c.Nodes = tt.nodes })
				after(2 * sec)
				seen := o.Stop()
				tt.source.Kind, tt.source.Node = timeline.SourceApp, "worker"
				assert.Contains(t, seen.Sources, tt.source)
				for _, e := range only(seen.Events, timeline.AppStart) {
					assert.Equal(t, tt.at, e.At)
				}
			})
		})
	}
}

// slowClock is a node on another kernel whose clock is ahead, and that takes 100 ms to answer.
func slowClock(name string, ahead time.Duration) Node {
	return Node{Name: name, Run: func(ctx context.Context, stdout io.Writer, command string, _ ...string) error {
		switch command {
		case "cat":
			_, err := io.WriteString(stdout, "another")
			return err
		case "date":
			after(50 * ms)
			_, err := fmt.Fprintln(stdout, time.Now().Add(ahead).UnixNano())
			after(50 * ms)
			return err
		case "sh":
			_, _ = fmt.Fprintln(stdout, subscribed)
			fallthrough
		default:
			<-ctx.Done()
			return ctx.Err()
		}
	}}
}

// TestKubeletEvents: what the kubelet says of Pods that were seen, since the start, once.
func TestKubeletEvents(t *testing.T) {
	to := recorder(time.Unix(1000, 0))
	to.Once(timeline.Event{Kind: timeline.PodCreated, Pod: "app-0", UID: "u0"})
	changed := kubeletEvents(to)
	event := func(uid, reason, kind string, at int64) *corev1.Event {
		return &corev1.Event{
			Reason: reason, Message: "why", LastTimestamp: metav1.Unix(at, 0),
			InvolvedObject: corev1.ObjectReference{Kind: kind, Name: "app-0", UID: types.UID(uid)},
		}
	}
	for i, e := range []*corev1.Event{
		event("u0", "Killing", "Pod", 999), // before the start
		event("u0", "Killing", "Pod", 1000),
		event("u0", "Killing", "Pod", 1001),           // again
		event("u1", "Killing", "Pod", 1001),           // another Pod of that name, that was not seen
		event("u0", "Killing", "ReplicaSet", 1001),    // of something else
		event("u0", "FailedPreStopHook", "Pod", 1002), // at 5 s
		event("u0", "Pulled", "Pod", 1002),
	} {
		changed(time.Duration(i)*sec, e, false)
	}
	changed(9*sec, event("u0", "Killing", "Pod", 1003), true) // the Event itself was removed
	assert.Equal(t, []timeline.Event{
		{At: 1 * sec, Kind: timeline.KubeletKilling, Pod: "app-0", UID: "u0"},
		{At: 5 * sec, Kind: timeline.PreStopFailed, Pod: "app-0", UID: "u0", Detail: "why"},
	}, only(to.Events, timeline.KubeletKilling, timeline.PreStopFailed))
	assert.Len(t, to.Events, 3, "no other")
}

// TestNameThatComesAgain: a Pod of the name of an earlier one, as a StatefulSet makes them, is another Pod, with a log of its own.
func TestNameThatComesAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer) {
		o := s.observe(t)
		for _, uid := range []types.UID{"u0", "u1"} {
			p := aReadyPod("app-0")
			p.UID = uid
			after(sec)
			s.put(p)
			after(sec)
			s.say("app-0", `{"event":"start","unixNano":946684801000000000}`+"\n")
			s.endLog("app-0")
			after(sec)
			s.remove(p)
		}
		after(sec)
		got := map[string][]string{}
		for _, e := range only(o.Stop().Events, timeline.PodCreated, timeline.PodReady, timeline.AppStart, timeline.PodGone) {
			got[e.UID] = append(got[e.UID], string(e.Kind))
		}
		life := []string{"pod-created", "pod-ready", "app-start", "pod-gone"}
		for uid := range got {
			assert.ElementsMatch(t, life, got[uid], uid)
		}
		assert.Len(t, got, 2)
	})
}
