package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

const (
	marked  = "before\n<!-- consumers -->\nold\n<!-- end -->\nafter\n"
	article = "<!-- article -->\n<!-- end -->\n<!-- long-work -->\n<!-- end -->\n"
	servers = "<!-- servers -->\n<!-- end -->\n"
	apps    = "<!-- measured -->\n<!-- end -->\n"
)

// measured is a report of one consumer, measured on a day of November.
func measured(t *testing.T, day int, last time.Duration) string {
	t.Helper()
	v := verdict.Verdict{
		Spec:     timeline.Spec{Strategy: "prestop-sleep", Disruption: "rolling-update", Scope: timeline.ScopeAll},
		Replicas: 3, Outcome: verdict.Pass, Environment: timeline.Environment{ProxyMode: "iptables"},
		Pods: []verdict.PodLifecycle{{Pod: "app-1", FirstSeen: map[timeline.Kind]time.Duration{timeline.PodDeleted: time.Second}}},
		Lanes: []verdict.Lane{{
			LaneSpec: timeline.LaneSpec{
				Name: "service/new", Consumer: "service", Load: "new", From: timeline.FromCluster, Class: timeline.ClassNew, Rate: 100,
			},
			Outcome: verdict.Pass, Sent: 100, OK: 100, Planned: 100,
			Arrivals: []verdict.Arrival{{Pod: "app-1", After: last}},
		}},
	}
	v.Spec.Lanes = []timeline.LaneSpec{v.Lanes[0].LaneSpec}
	r := report.Report{
		Suite: verdict.JudgeSuite([]verdict.Verdict{v}), Profile: report.ConsumersProfile, Started: time.Date(2026, 11, day, 9, 0, 0, 0, time.UTC),
	}
	var out bytes.Buffer
	require.NoError(t, report.JSON(&out, r))
	path := filepath.Join(t.TempDir(), "report.json")
	require.NoError(t, os.WriteFile(path, out.Bytes(), 0o644))
	return path
}

// TestRun: what is kept, written into the documents, and said of two measurements.
func TestRun(t *testing.T) {
	root := t.TempDir()
	kept := filepath.Join(root, "scenarios", "results")
	require.NoError(t, os.MkdirAll(kept, 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "fixtures", "apps"), 0o755))
	for name, text := range map[string]string{
		"README.md": marked, "scenarios/RESULTS.md": marked + servers + article, "fixtures/apps/README.md": apps,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	read := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		return string(raw)
	}
	var out bytes.Buffer
	require.NoError(t, run(&out, root, "", "", nil))
	assert.Equal(t, marked, read("README.md"), "its table stays until there is another")
	assert.Contains(t, read("scenarios/RESULTS.md"), "Nothing is kept yet")

	require.NoError(t, run(&out, root, "abc1234", "make consumers", []string{measured(t, 1, time.Second), measured(t, 2, 2*time.Second)}))
	assert.FileExists(t, filepath.Join(kept, "2026-11-01-090000.json"))
	assert.Contains(t, out.String(), "2 measurements: 1 of 1 consumers that were measured twice disagree")
	assert.Contains(t, out.String(), "service (kube-proxy iptables): safe delay 2.01s, and 1.01s before")
	assert.Contains(t, read("README.md"), "| service | 2.00s | 2.00s | 2.01s |")
	assert.Contains(t, read("scenarios/RESULTS.md"), "| service | iptables | cluster | 1 | 0 | 2.00s |")
	assert.Contains(t, read("scenarios/RESULTS.md"), "| After 15 s everybody has learned that the Pod goes. | ✓ holds | "+
		"service 2.01s | stored 2026-11-02 | `make consumers` |")
	assert.NotContains(t, read("README.md"), "old")

	edited := filepath.Join(kept, "2026-11-01-090000.json")
	raw := read("scenarios/results/2026-11-01-090000.json")
	require.NoError(t, os.WriteFile(edited, bytes.Replace([]byte(raw), []byte("1.01"), []byte("1.99"), 1), 0o644))
	assert.ErrorContains(t, run(&out, root, "", "", nil), "2026-11-01-090000.json: read results: the checksum doesn't hold")
	assert.ErrorContains(t, run(&out, root, "abc1234", "make consumers", []string{edited}), "want \"zerodrop.report/v2\"")
	assert.ErrorContains(t, run(&out, root, "abc1234", "make consumers", []string{"nowhere.json"}), "keep nowhere.json")
}
