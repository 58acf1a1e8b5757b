package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/archive"
	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// measured is a report, of a day of November, of a rolling update that dropped so many requests.
func measured(t *testing.T, path string, day, dropped int) {
	t.Helper()
	v := verdict.Verdict{
		Spec:    timeline.Spec{Strategy: "shutdown-at-once", Disruption: "rolling-update", Scope: timeline.ScopeAll},
		Outcome: verdict.Pass, PodsReplaced: 3,
		Lanes: []verdict.Lane{{
			LaneSpec: timeline.LaneSpec{Name: "service/new", Consumer: "service"}, Outcome: verdict.Pass, Sent: 1000, Dropped: dropped,
			OK: 1000 - dropped, Planned: 1000, Classes: []verdict.ClassResult{{Class: timeline.ClassNew, Dropped: dropped, Outcome: verdict.Pass}},
		}},
	}
	r := report.Report{
		Suite: verdict.JudgeSuite([]verdict.Verdict{v}), Profile: "quick", Started: time.Date(2026, 11, day, 9, 0, 0, 0, time.UTC),
	}
	var out bytes.Buffer
	require.NoError(t, report.JSON(&out, r))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, out.Bytes(), 0o644))
}

// TestRun: by nothing, by what is kept, and by what this machine has; RESULTS.md by what is kept alone.
func TestRun(t *testing.T) {
	root := t.TempDir()
	page := filepath.Join(root, "artifacts", "article")
	marks := "<!-- consumers -->\n<!-- end -->\n<!-- servers -->\n<!-- end -->\n<!-- article -->\n<!-- end -->\n<!-- long-work -->\n<!-- end -->\n"
	require.NoError(t, os.MkdirAll(filepath.Join(root, "scenarios"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "scenarios", "RESULTS.md"), []byte(marks), 0o644))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "fixtures", "apps"), 0o755))
	servers := []byte("<!-- measured -->\n<!-- end -->\n")
	require.NoError(t, os.WriteFile(filepath.Join(root, "fixtures", "apps", "README.md"), servers, 0o644))
	read := func(path ...string) string {
		raw, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
		require.NoError(t, err)
		return string(raw)
	}
	article := func(reports ...string) string {
		var out bytes.Buffer
		require.NoError(t, run(&out, root, page, reports))
		return strings.Join(strings.Fields(out.String()), " ")
	}
	const enough = "Shutting down gracefully on SIGTERM is not enough. "
	assert.Contains(t, article(), enough+"? not measured yet make e2e")

	kept := filepath.Join(t.TempDir(), "report.json")
	measured(t, kept, 1, 40)
	_, err := archive.Keep(root, "abc1234", "make e2e", kept)
	require.NoError(t, err)
	assert.Contains(t, article(), enough+"✓ holds: shutdown-at-once 40/1000 · stored 2026-11-01 make e2e")

	measured(t, filepath.Join(root, "artifacts", "full", "report.json"), 2, 0)
	measured(t, filepath.Join(root, "artifacts", "report.json"), 3, 0)
	out := article()
	assert.Contains(t, out, enough+"✗ doesn't hold: shutdown-at-once 0/1000 (0/1 rollouts, ≤ 95 %) · here 2026-11-03 make e2e")
	assert.Contains(t, out, "2 reports of this machine, 1 kept. Page: "+filepath.Join(page, "index.html"))
	assert.Contains(t, article(filepath.Join(root, "artifacts", "full", "report.json")), "here 2026-11-02")
	assert.Contains(t, read("artifacts", "article", "index.html"), "here 2026-11-02")
	document := read("scenarios", "RESULTS.md")
	assert.Contains(t, document, "| ✓ holds | shutdown-at-once 40/1000 | stored 2026-11-01 |")
	assert.NotContains(t, document, "here 2026")
}

// TestRunRefuses: another schema, a sum that doesn't hold, and what isn't there.
func TestRunRefuses(t *testing.T) {
	root, file := t.TempDir(), filepath.Join(t.TempDir(), "report.json")
	fails := func(reports ...string) string {
		err := run(&bytes.Buffer{}, root, t.TempDir(), reports)
		require.Error(t, err)
		return err.Error()
	}
	measured(t, file, 1, 40)
	name, err := archive.Keep(root, "abc1234", "make e2e", file)
	require.NoError(t, err)
	assert.Contains(t, fails(filepath.Join(root, "nowhere.json")), "nowhere.json: ")
	assert.Contains(t, fails(name), `want "zerodrop.report/v2"`)

	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, bytes.Replace(raw, []byte(`"new":40`), []byte(`"new":0`), 1), 0o644))
	assert.Contains(t, fails(file), "the checksum doesn't hold")
}
