package observe

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// auditFile is where the audit log of a made-up node is.
const auditFile = "/audit.log"

// audited is a line of the audit log: a request that arrived at an instant of the bubble's clock and was answered 15 ms later, with a version or none.
// What is about is verb and path, as in "delete pods/app-0".
func audited(at time.Duration, about, version, user string) string {
	verb, path, _ := strings.Cut(about, " ")
	parts := append(strings.Split(path, "/"), "")
	received := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(at)
	const micros = "2006-01-02T15:04:05.000000Z07:00"
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","stage":"ResponseComplete","verb":%q,`+
		`"user":{"username":%q,"groups":["system:authenticated"]},"userAgent":"kubelet/v1.37.2",`+
		`"objectRef":{"resource":%q,"namespace":%q,"name":%q,"subresource":%q},"responseStatus":{"metadata":{},"code":200},`+
		`"responseObject":{"kind":"Pod","metadata":{"name":%[5]q,"resourceVersion":%[7]q}},"requestReceivedTimestamp":%[8]q,"stageTimestamp":%[9]q}`+"\n",
		verb, user, parts[0], namespace, parts[1], parts[2], version, received.Format(micros), received.Add(15*ms).Format(micros))
}

const (
	replicaSets    = "system:serviceaccount:kube-system:replicaset-controller"
	endpointSlices = "system:serviceaccount:kube-system:endpointslice-controller"
	kubelet        = "system:node:worker"
)

// TestAuditLog: what a watch delivers is dated by the audit log, and what that says nothing of stays as the watch delivered it.
func TestAuditLog(t *testing.T) {
	ours := strings.Replace(audited(8850*ms, "delete pods/app-4", "112", "kubernetes-admin"), "kubelet/v1.37.2", UserAgent, 1)
	log := strings.Join([]string{
		"tail: a word of its own\n",
		audited(-5*ms, "patch pods/app-9/status", "51", kubelet), // listed: nobody knows when it came about
		audited(990*ms, "create pods/", "", replicaSets),
		audited(1980*ms, "patch pods/app-0/status", "102", kubelet),
		audited(1970*ms, "patch pods/app-0/status", "102", kubelet), // one of the two changed nothing, and was answered with what was there
		audited(1990*ms, "patch pods/app-0/status", "102", kubelet), // as this one, which began too late
		audited(2970*ms, "update endpointslices/app-x", "103", endpointSlices),
		audited(3970*ms, "patch pods/app-0/status", "104", kubelet), // as above: the version is the deletion's
		audited(3960*ms, "delete pods/app-0", "104", replicaSets),
		strings.Replace(audited(3900*ms, "patch pods/app-0/status", "105", kubelet), `"code":200`, `"code":409`, 1),
		strings.Replace(audited(3900*ms, "patch pods/app-0/status", "105", kubelet), namespace, "another", 1),
		strings.Replace(audited(3900*ms, "patch pods/app-0/status", "105", kubelet), `"requestReceived`, `"`, 1),
		strings.Replace(audited(3900*ms, "patch pods/app-0/status", "105", kubelet), `"verb"`, `"verb`, 1),
		audited(4940*ms, "delete pods/app-0", "106", kubelet),
		audited(6900*ms, "patch pods/app-1/status", "107", kubelet), // the watch delivers it at 6 s: a clock is wrong
		strings.Replace(audited(6950*ms, "create pods/app-1/eviction", "", "kubernetes-admin"), `"code":200`, `"code":429`, 1),
		audited(6960*ms, "create pods/app-1/eviction", "", "kubernetes-admin"),
		audited(6970*ms, "create pods/app-1/eviction", "", "kubernetes-admin"), // of a Pod that is going already
		audited(8960*ms, "create pods/app-1/eviction", "", "drainer"),          // of another Pod of that name
		ours,
	}, "")
	inBubble(t, func(t *testing.T, s *apiServer) {
		s.version = 50
		s.put(aReadyPod("app-9")) // 51
		s.version = 100
		const following = subscribed + "\n…"
		node := func(name string, prints map[string]string) Node {
			n := fakeNode(name, prints)
			n.AuditLog = auditFile
			return n
		}
		o := s.observe(t, func(c *Config) {
			c.Nodes = []Node{
				fakeNode("worker", map[string]string{"cat": timeline.Kernel(), "sh": following, "ctr": "…"}),
				node("control", map[string]string{"cat": timeline.Kernel(), "sh": following, "ctr": "…", "tail": "…", auditFile: log + "…"}),
				node("elsewhere", map[string]string{"cat": "another", "date": "946684800000000000", "sh": following, "ctr": "…", "tail": log}),
				node("deaf", nil),
			}
		})
		after(sec)
		p := aPod("app-0")
		s.put(p) // 101, of whose making the log says no version
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
		setExited(p, 0, "Completed")
		s.put(p)
		s.remove(p)
		after(sec)
		p = aPod("app-1")
		setRunning(p)
		s.put(p)
		after(sec)
		setLeaving(p)
		s.put(p)
		s.remove(p)
		after(sec)
		p = aPod("app-1")
		p.UID = "another"
		s.put(p)
		after(sec)
		setLeaving(p)
		s.put(p)
		q := aReadyPod("app-4")
		setLeaving(q)
		s.put(q)
		after(sec)
		seen := o.Stop()
		got := map[string][]string{}
		for _, e := range seen.Events {
			text := fmt.Sprintf("%s at %s", e.Kind, e.At)
			if e.SeenAfter != 0 || e.Width != 0 || e.By != "" {
				text += fmt.Sprintf(" + %s by %s, seen after %s", e.Width, e.By, e.SeenAfter)
			}
			id := strings.TrimSuffix(e.Pod+" "+e.UID, " ")
			got[id] = append(got[id], text)
		}
		for _, list := range got {
			slices.Sort(list)
		}
		assert.Equal(t, map[string][]string{
			"app-0": {
				"container-exit at 5s",
				"endpoint-serving at 2.97s + 15ms by endpointslice-controller, seen after 30ms",
				"kubelet-wrote at 1.97s + 15ms by kubelet of worker, seen after 0s",
				"pod-addressed at 1.97s + 15ms by kubelet of worker, seen after 30ms",
				"pod-created at 1s",
				"pod-deleted at 3.96s + 15ms by replicaset-controller, seen after 40ms",
				"pod-gone at 4.94s + 15ms by kubelet of worker, seen after 60ms",
				"pod-ready at 1.97s + 15ms by kubelet of worker, seen after 30ms",
				"pod-scheduled at 1.97s + 15ms by kubelet of worker, seen after 30ms",
				"pod-started at 1.97s + 15ms by kubelet of worker, seen after 30ms",
			},
			"app-1": {
				"kubelet-wrote at 6.9s + 15ms by kubelet of worker, seen after 0s",
				"pod-addressed at 6s", "pod-created at 6s", "pod-deleted at 6.96s + 15ms by eviction by kubernetes-admin, seen after 40ms",
				"pod-gone at 7s", "pod-scheduled at 6s", "pod-started at 6s",
			},
			"app-1 another": {"pod-created at 8s", "pod-deleted at 8.96s + 15ms by eviction by drainer, seen after 40ms"},
			"app-4": {
				"pod-addressed at 9s", "pod-created at 9s", "pod-deleted at 8.85s + 15ms by harness, seen after 150ms",
				"pod-ready at 9s", "pod-scheduled at 9s", "pod-started at 9s",
			},
			"app-9": {"pod-addressed at 0s", "pod-created at 0s", "pod-ready at 0s", "pod-scheduled at 0s", "pod-started at 0s"},
		}, got)
		assert.True(t, slices.IsSortedFunc(seen.Events, func(a, b timeline.Event) int { return cmp.Compare(a.At, b.At) }), "in the order of what happened")
		var sources []string
		for _, source := range seen.Sources {
			if source.Kind == timeline.SourceAudit {
				sources = append(sources, source.Node+": "+source.Missing)
			}
		}
		assert.Equal(t, []string{
			"control: ", "elsewhere: its clock is not the harness', which what a watch tells is dated by", "deaf: from 0s on: ask node deaf (cat): cat: not found",
		}, sources, "of nodes that should have it")
		assert.Equal(t, seen, o.Stop(), "twice")
	})
}

// TestAuditedWayIn: a Pod's creation is dated by its version, its binding and the kubelet's first write by its UID.
func TestAuditedWayIn(t *testing.T) {
	of := func(uid, line string) string { // with the Pod's UID, which the answer to a binding doesn't have
		line = strings.Replace(line, `"resourceVersion":`, `"uid":"`+uid+`","resourceVersion":`, 1)
		return strings.Replace(line, `"subresource":"binding"`, `"subresource":"binding","uid":"`+uid+`"`, 1)
	}
	log := strings.Join([]string{
		of("", audited(950*ms, "create pods/", "101", replicaSets)),
		of("u0", audited(970*ms, "create pods/app-0/binding", "", "system:kube-scheduler")),
		of("u1", audited(971*ms, "create pods/app-0/binding", "", "system:kube-scheduler")), // of another Pod of that name
		of("u0", audited(1200*ms, "patch pods/app-0/status", "103", kubelet)),
		of("u0", audited(1100*ms, "patch pods/app-0/status", "102", kubelet)),
		of("u0", audited(1050*ms, "patch pods/app-0/status", "102", replicaSets)), // no kubelet
	}, "")
	inBubble(t, func(t *testing.T, s *apiServer) {
		node := fakeNode("control", map[string]string{"cat": timeline.Kernel(), "sh": subscribed + "\n…", "ctr": "…", "tail": log + "…"})
		node.AuditLog = auditFile
		o := s.observe(t, func(c *Config) { c.Nodes = []Node{node} })
		after(sec)
		p := aPod("app-0")
		p.UID, p.Spec.NodeName = "u0", "worker"
		s.put(p) // 101: the watch tells of the Pod when it is bound
		after(sec)
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue}}
		s.put(p) // 102
		after(sec)
		var got []string
		for _, e := range o.Stop().Events {
			got = append(got, fmt.Sprintf("%s %s at %s + %s by %s", e.UID, e.Kind, e.At, e.Width, e.By))
		}
		assert.Equal(t, []string{
			"u0 pod-created at 950ms + 15ms by replicaset-controller",
			"u0 pod-scheduled at 970ms + 15ms by kube-scheduler",
			"u0 pod-sandbox-ready at 1.05s + 15ms by kubelet of worker",
			"u0 kubelet-wrote at 1.1s + 15ms by kubelet of worker",
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
