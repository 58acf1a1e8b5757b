package e2e

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/suite"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestFaults breaks things on a real cluster in mid-run. Each fault ends in the right outcome, with
// the reason, and what was recorded by then is kept.
func TestFaults(t *testing.T) {
	long(t, suite.LongFaults)
	if shared.Config.Cluster.Kubeconfig != "" {
		t.Skip("breaks nothing in a cluster that exists")
	}
	docker := func(ctx context.Context, args ...string) error {
		out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
		if err != nil {
			t.Errorf("docker %s: %s: %s", strings.Join(args, " "), err, out)
		}
		return err
	}
	tests := []struct {
		name string
		// fault happens as the disruption begins. It returns at once; what it starts is over by itself.
		fault      func(ctx context.Context) error
		skew       time.Duration
		disruption string                          // instead of the rolling update
		consumers  []string                        // instead of those of every run
		before     func(ctx context.Context) error // on the cluster of the test before: the run can't even begin
		outcome    verdict.Outcome
		reason     string              // in one of the reasons; empty if the run may be believed
		partial    bool                // the workers' records may end early
		missing    timeline.SourceKind // what tells no more of the control plane's node from then on; empty if all does
	}{
		{name: "a worker is killed", fault: func(ctx context.Context) error {
			return docker(ctx, "exec", "zerodrop-control-plane", "pkill", "-KILL", "loadgen")
		}, outcome: verdict.Infrastructure, reason: "worker-0", partial: true},
		{name: "a node is paused", fault: func(ctx context.Context) error {
			// Longer than the 50 s after which the control plane gives a silent node up
			// (node-monitor-grace-period).
			time.AfterFunc(75*time.Second, func() { _ = docker(context.WithoutCancel(ctx), "unpause", "zerodrop-worker2") })
			return docker(ctx, "pause", "zerodrop-worker2")
		}, outcome: verdict.Infrastructure, reason: "zerodrop-worker2"},
		{name: "the API server restarts", fault: func(ctx context.Context) error {
			return docker(ctx, "exec", "zerodrop-control-plane", "pkill", "-KILL", "kube-apiserver")
		}, outcome: verdict.Inconclusive, reason: "events may be missing"},
		{name: "connection tracking ends", fault: func(ctx context.Context) error {
			return docker(ctx, "exec", "zerodrop-control-plane", "pkill", "-KILL", "conntrack")
		}, outcome: verdict.Pass, missing: timeline.SourceConntrack},
		{name: "a component is killed", fault: func(ctx context.Context) error {
			return docker(ctx, "exec", "zerodrop-control-plane", "pkill", "-KILL", "traefik")
		}, consumers: []string{"ingress"}, outcome: verdict.Infrastructure, reason: "component traefik", missing: timeline.SourceAccessLog},
		{name: "the kinds of a component are gone", before: func(ctx context.Context) error {
			return docker(ctx, "exec", "zerodrop-control-plane", "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf",
				"delete", "crd", "httproutes.gateway.networking.k8s.io")
		}, consumers: []string{"gateway"}, outcome: verdict.Infrastructure, reason: "of component traefik are missing"},
		{name: "an access log ends", fault: func(ctx context.Context) error {
			return docker(ctx, "exec", "zerodrop-control-plane", "pkill", "-KILL", "-f", "tail .*traefik.log")
		}, consumers: []string{"ingress"}, outcome: verdict.Pass, missing: timeline.SourceAccessLog},
		{
			name: "the autoscaler is killed in mid-drain", fault: func(ctx context.Context) error {
				// The first release is out by then, and its clients stay for up to a minute.
				time.AfterFunc(30*time.Second, func() {
					_ = docker(context.WithoutCancel(ctx), "exec", "zerodrop-control-plane", "pkill", "-KILL", "-x", "keda")
				})
				return nil
			}, disruption: "rainbow-keda", consumers: []string{"service-websocket"},
			outcome: verdict.Infrastructure, reason: "component keda",
		},
		{name: "the clock of a worker is off by a second", skew: time.Second, outcome: verdict.Pass},
		{name: "nothing is wrong after all that", outcome: verdict.Pass},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			broken := shared.With(func(c *suite.Config) {
				c.Cluster.ClockSkew = tt.skew
				c.Out, c.Consumers = filepath.Join(c.Out, "faults", strings.ReplaceAll(tt.name, " ", "-")), tt.consumers
			})
			s := runsOf(t, broken, "prestop-sleep", cmp.Or(tt.disruption, "rolling-update"))[0].Scenario
			if tt.before != nil {
				require.NoError(t, tt.before(testContext(t)))
			}
			update := s.Disruption.Run
			s.Disruption.Run = func(ctx context.Context, app scenarios.App) error {
				if tt.fault != nil {
					if err := tt.fault(ctx); err != nil {
						return err
					}
				}
				return update(ctx, app)
			}
			v, dir := broken.Attempt(testContext(t), t, scenarios.Run{Scenario: s, Repeat: i + 1}, i+1, len(tests))
			tl, err := timeline.Load(dir)
			require.NoError(t, err)
			t.Logf("%s: %s", v.Outcome, strings.Join(v.Reasons, "; "))
			assert.Equal(t, tt.outcome, v.Outcome)
			if v.Outcome != verdict.Pass {
				assert.NotEmpty(t, v.Reasons)
			}
			assert.Contains(t, strings.Join(v.Reasons, "\n"), tt.reason)
			if tt.before != nil {
				return
			}
			for _, l := range v.Lanes {
				t.Logf("%s: %d of %d sent", l.Name, l.Sent, l.Planned)
				assert.Greater(t, l.Sent, 50, "%s: what was recorded before is kept", l.Name)
				if !tt.partial || strings.HasPrefix(l.Name, "nodeport/") {
					assert.Equal(t, l.Planned, l.Sent, "%s: every request is accounted for", l.Name)
				}
			}
			for _, source := range tl.Sources {
				if source.Node == "zerodrop-control-plane" {
					assert.Equal(t, source.Kind == tt.missing, source.Missing != "", "%s: %s", source.Kind, source.Missing)
				}
			}
			for _, sender := range tl.Senders {
				if strings.HasPrefix(sender.Name, "worker-") {
					assert.InDelta(t, tt.skew, sender.Offset, float64(50*time.Millisecond), "the clock's offset is known")
				}
			}
			for _, l := range v.Lanes {
				assert.Less(t, l.LagP50, 500*time.Millisecond, "%s: sent by the run's clock and not by its own", l.Name)
			}
		})
	}
}

// TestFullDisk: a timeline that can't be saved is told of, and the run is not believed. It mounts a
// small file system, which takes root.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("can't mount a small file system: %s", err)
	}
	defer func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) }()
	tl, err := timeline.Load(storedRun())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 40<<10), 0o600))
	err = timeline.Save(dir, tl)
	require.ErrorIs(t, err, syscall.ENOSPC)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "nothing half-written is left")
}
