package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const gcp = "interval=8s fall=3 rise=1 timeout=1s deregistration=30s"

func aService(name string, port int32, probe string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", Annotations: map[string]string{probeAnnotation: probe}},
		Spec: corev1.ServiceSpec{
			Ports:                 []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: port, NodePort: 30000 + port}},
			ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, HealthCheckNodePort: 31000 + port,
		},
	}
}

// nodes are given as name=address.
func nodes(all ...string) []*corev1.Node {
	var out []*corev1.Node
	for _, n := range all {
		name, ip, _ := strings.Cut(n, "=")
		out = append(out, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: ip}}},
		})
	}
	return out
}

// fake is a HAProxy with what it was told.
type fake struct {
	mu                sync.Mutex // of commands: a node that is drained is told later, by a timer
	configs, commands []string
	stopped           int
	answers           map[string]string
	err               error
}

func (f *fake) start(config string) (*session, error) {
	f.configs = append(f.configs, config)
	return &session{
		ask: func(command string) (string, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.commands = append(f.commands, command)
			return f.answers[command], nil
		},
		stop: func() { f.stopped++ },
	}, f.err
}

func (f *fake) told() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.commands
	f.commands = nil
	return out
}

// TestBalancer: a Service restarts HAProxy, a node never does.
func TestBalancer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		b := balancer{"172.18.0.9", newHAProxy("172.18.0.9", f.start)}
		s := aService("a", 8081, gcp)
		_, exists, err := b.GetLoadBalancer(t.Context(), "", s)
		require.NoError(t, err)
		assert.False(t, exists)
		status, err := b.EnsureLoadBalancer(t.Context(), "", s, nodes("w1=10.0.0.1", "w2=10.0.0.2"))
		require.NoError(t, err)
		assert.Equal(t, "172.18.0.9", status.Ingress[0].IP)
		assert.Equal(t, corev1.LoadBalancerIPModeProxy, *status.Ingress[0].IPMode)
		add := func(node, address, ports string) []string {
			server := "ns_a_8081/" + node
			return []string{
				"add server " + server + " " + address + ":38081 source 172.18.0.9:" + ports + " check port 39081 inter 8000ms fall 3 rise 1",
				"enable health " + server, "enable server " + server + ";set server " + server + " health down",
			}
		}
		assert.Equal(t, append(add("w1", "10.0.0.1", "10000-11999"), add("w2", "10.0.0.2", "12000-13999")...), f.told())
		assert.Contains(t, f.configs[0], "frontend ns_a_8081\n\tbind :8081\n")
		assert.Contains(t, f.configs[0], "timeout check 1000ms\n")

		update := func(want []string, all ...string) {
			t.Helper()
			require.NoError(t, b.UpdateLoadBalancer(t.Context(), "", s, nodes(all...)))
			assert.Equal(t, want, f.told())
		}
		ready := []string{"set server ns_a_8081/w1 addr 10.0.0.1 port 38081", "set server ns_a_8081/w1 state ready"}
		drain := []string{"set server ns_a_8081/w2 state drain"}
		update(append(drain, ready...), "w1=10.0.0.1")
		time.Sleep(29 * time.Second)
		assert.Empty(t, f.told(), "its connections live on")
		time.Sleep(2 * time.Second)
		assert.Equal(t, []string{"set server ns_a_8081/w2 state maint", "shutdown sessions server ns_a_8081/w2"}, f.told())
		back := slices.Concat(ready, []string{"set server ns_a_8081/w2 addr 10.0.0.3 port 38081", "set server ns_a_8081/w2 state ready"})
		update(back, "w1=10.0.0.1", "w2=10.0.0.3")
		update(append(drain, ready...), "w1=10.0.0.1")
		update(back, "w1=10.0.0.1", "w2=10.0.0.3")
		time.Sleep(time.Minute)
		assert.Empty(t, f.told(), "it came back in time")
		assert.Len(t, f.configs, 1)

		other := aService("b", 8082, "interval=10s fall=2 rise=2 timeout=10s cut=true")
		other.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
		_, err = b.EnsureLoadBalancer(t.Context(), "", other, nodes("w1=10.0.0.1"))
		require.NoError(t, err)
		assert.Contains(t, f.told(), "add server ns_b_8082/w1 10.0.0.1:38082 source 172.18.0.9:14000-15999 check port 10256 inter 10000ms fall 2 rise 2 on-marked-down shutdown-sessions")
		assert.Equal(t, 1, f.stopped)
		assert.Contains(t, f.configs[1], "frontend ns_a_8081\n")
		require.NoError(t, b.EnsureLoadBalancerDeleted(t.Context(), "", s))
		require.NoError(t, b.EnsureLoadBalancerDeleted(t.Context(), "", s), "twice")
		assert.NotContains(t, f.configs[2], "ns_a_8081")
		b.proxy.stop()
		assert.Equal(t, 3, f.stopped)
	})
}

// TestFixtures: what the consumers' folders say about probes is understood.
func TestFixtures(t *testing.T) {
	files, err := filepath.Glob("../../../fixtures/consumers/lb-*/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		_, after, found := strings.Cut(string(raw), probeAnnotation+": ")
		require.True(t, found, file)
		text, _, _ := strings.Cut(after, "\n")
		_, err = parseProbe(text)
		require.NoError(t, err, file)
	}
}

// TestRefused: what can't be balanced is refused with the reason, which the controller then says in
// an Event of the Service.
func TestRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*corev1.Service, *fake)
		want   string
	}{
		{"no probe", func(s *corev1.Service, _ *fake) { s.Annotations = nil }, `annotation zerodrop.dev/probe: "": want interval, timeout and fall`},
		{"unknown word", func(s *corev1.Service, _ *fake) { s.Annotations[probeAnnotation] = "every=8s" }, "every=8s: unknown word"},
		{"no time", func(s *corev1.Service, _ *fake) { s.Annotations[probeAnnotation] = "interval=8" }, `interval=8: time: missing unit`},
		{"UDP", func(s *corev1.Service, _ *fake) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP }, "port 8081: want TCP"},
		{"no node port", func(s *corev1.Service, _ *fake) { s.Spec.Ports[0].NodePort = 0 }, "port 8081: want TCP, with a node port"},
		{"a port that is taken", func(s *corev1.Service, _ *fake) { s.Spec.Ports[0].Port = 8080 }, "port 8080 is that of ns_first"},
		{"no HAProxy", func(_ *corev1.Service, f *fake) { f.err = errors.New("start haproxy: it has ended") }, "start haproxy: it has ended"},
		{"HAProxy says no", func(_ *corev1.Service, f *fake) {
			f.answers = map[string]string{"enable health ns_a_8081/w1": "No such server.\n"}
		}, "haproxy: enable health ns_a_8081/w1: No such server."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{}
			b := balancer{"172.18.0.9", newHAProxy("172.18.0.9", f.start)}
			_, err := b.EnsureLoadBalancer(t.Context(), "", aService("first", 8080, gcp), nodes("w1=10.0.0.1"))
			require.NoError(t, err)
			s := aService("a", 8081, gcp)
			tt.change(s, f)
			_, err = b.EnsureLoadBalancer(t.Context(), "", s, nodes("w1=10.0.0.1"))
			require.ErrorContains(t, err, tt.want)
		})
	}
}

// TestAwait: the kubeconfig isn't left where it was.
func TestAwait(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	go func() { _ = os.WriteFile(file, []byte("x"), 0o600) }()
	for want := "x"; ; {
		raw, err := await(t.Context(), file)
		require.NoError(t, err)
		if len(raw) > 0 { // it may be read between its creation and its content
			assert.Equal(t, want, string(raw))
			break
		}
	}
	require.NoFileExists(t, file)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := await(ctx, file)
	require.ErrorIs(t, err, context.Canceled)
	_, err = await(t.Context(), filepath.Dir(file))
	require.ErrorContains(t, err, "read kubeconfig: ")
}

// TestHAProxy: the real one marks a node DOWN after fall failures, sends nothing to a node that hasn't
// passed a probe, writes its log as promised, and its end is known.
func TestHAProxy(t *testing.T) {
	path, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skip("no haproxy: apt-get install haproxy")
	}
	var ill atomic.Bool
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" && ill.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer node.Close()
	_, port, err := net.SplitHostPort(node.Listener.Addr().String())
	require.NoError(t, err)
	dir := t.TempDir()
	p := program{path: path, dir: dir, access: filepath.Join(dir, "access.log"), marks: filepath.Join(dir, "marks.log")}
	ctx, cancel := context.WithCancelCause(t.Context())
	h := newHAProxy("127.0.0.1", func(config string) (*session, error) { return p.start(config, cancel) })
	defer h.stop()
	var nodePort int32
	_, err = fmt.Sscan(port, &nodePort)
	require.NoError(t, err)
	const interval = 200 * time.Millisecond
	s := balanced{
		ports: []servicePort{{"ns_a_18081", 18081, nodePort}}, probe: probe{port: nodePort, interval: interval, timeout: time.Second, fall: 3, rise: 1, cut: true},
	}
	require.NoError(t, h.set("ns_a", s, map[string]string{"w1": "127.0.0.1"}))
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func() error {
		r, err := client.Get("http://127.0.0.1:18081/")
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
		}
		return err
	}
	require.Error(t, get(), "before the first probe")
	served := func(want bool) func() bool { return func() bool { return (get() == nil) == want } }
	require.Eventually(t, served(true), 5*time.Second, 10*time.Millisecond)
	began := time.Now()
	ill.Store(true)
	require.Eventually(t, served(false), 5*time.Second, 10*time.Millisecond)
	assert.InDelta(t, 2.5, float64(time.Since(began))/float64(interval), 1.5, "failures in a row")
	require.NoError(t, h.set("ns_a", s, nil), "node changes")
	require.NoError(t, h.set("ns_a", s, map[string]string{"w1": "127.0.0.1"}))

	raw, err := os.ReadFile(p.access)
	require.NoError(t, err)
	numbers := map[int]bool{}
	sent := 0
	for line := range strings.Lines(string(raw)) {
		var l struct {
			StartUnixMs                        int64
			RequestCount, RetryAttempts        int
			ClientAddr, LocalAddr, ServiceAddr string
		}
		require.NoError(t, json.Unmarshal([]byte(line), &l), line)
		numbers[l.RequestCount] = true
		assert.WithinDuration(t, began, time.UnixMilli(l.StartUnixMs), 10*time.Second)
		assert.True(t, strings.HasPrefix(l.ClientAddr, "127.0.0.1:"), line)
		if l.ServiceAddr == node.Listener.Addr().String() {
			sent++
			assert.Regexp(t, `^127.0.0.1:1[01]\d\d\d$`, l.LocalAddr, "a port of the server's own")
		} else {
			assert.Equal(t, "-:-", l.ServiceAddr)
		}
	}
	assert.Positive(t, sent)
	for n := 1; n <= len(numbers); n++ {
		assert.True(t, numbers[n], "a number is missing: %d", n)
	}
	marks, err := os.ReadFile(p.marks)
	require.NoError(t, err)
	assert.Contains(t, string(marks), "Server ns_a_18081/w1 is DOWN")

	_, err = p.start("nonsense", cancel)
	require.ErrorContains(t, err, "start haproxy: it has ended (exit status 1)")
	require.NoError(t, ctx.Err())
	info, err := h.running.ask("show info")
	require.NoError(t, err)
	var pid int
	_, err = fmt.Sscan(info[strings.Index(info, "Pid: ")+len("Pid: "):], &pid)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	<-ctx.Done()
	require.ErrorContains(t, context.Cause(ctx), "haproxy has ended (signal: killed)")
}
