package suite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/picture"
	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// TestRecord: whatever isn't a pass makes its test fail, with the reasons; every run is in all
// reports at once.
func TestRecord(t *testing.T) {
	s, out := newTestSuite(t)
	tl := conclusive("prestop-sleep")
	pass, fail, control := verdict.Judge(tl), verdict.Judge(dropping("in-app-delay", 7)), verdict.Judge(conclusive("no-handler"))
	torn := dropping("shutdown-at-once", 7)
	torn.Errors = []string{"run: the API server went away"}
	stopped := dropping("shutdown-at-once", 7)
	stopped.Interrupted = "stopped by a signal"
	tests := []struct {
		name   string
		v      verdict.Verdict
		failed bool     // so far
		want   []string // errors
	}{
		{"pass", pass, false, nil},
		{"fail", fail, true, []string{"fail: nodeport/new: new: dropped 7 of 200 where none may be dropped (strategy in-app-delay)"}},
		{"infrastructure", verdict.Judge(torn), true, []string{"infrastructure: run: the API server went away"}},
		{"stopped", verdict.Judge(stopped), true, []string{"inconclusive: stopped by a signal"}},
		{"a control that dropped nothing", control, true, []string{"inconclusive: no lane dropped anything where something must be dropped"}},
		{"not judged at all", verdict.Verdict{Spec: timeline.Spec{Strategy: "x", Disruption: "y"}}, true, []string{"inconclusive, for no reason that is known"}},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &recorder{}
			s.record(r, tt.v, t.TempDir())
			require.Len(t, r.errors, len(tt.want), r.errors)
			for j, want := range tt.want {
				assert.Contains(t, r.errors[j], want)
			}
			assert.Equal(t, tt.failed, s.failed)
			assert.Len(t, readReport(t, s.Config.Out).Runs, i+1)
		})
	}
	outcome, err := s.finish()
	require.EqualError(t, err, "the suite's outcome is infrastructure")
	assert.Equal(t, verdict.Infrastructure, *outcome)
	assert.Contains(t, out.String(), "INFRASTRUCTURE")
	assert.Contains(t, out.String(), "inconclusive")
}

// TestRecordCanNotWrite: a report that isn't on disk is an error of its run.
func TestRecordCanNotWrite(t *testing.T) {
	s, _ := newTestSuite(t)
	require.NoError(t, os.WriteFile(s.Config.Out, nil, 0o600)) // a file where the folder should be
	r := &recorder{}
	s.record(r, verdict.Judge(conclusive("prestop-sleep")), filepath.Join(t.TempDir(), "missing"))
	require.Len(t, r.errors, 1)
	assert.Contains(t, r.errors[0], "write report.txt: ")
	_, err := s.finish()
	assert.ErrorContains(t, err, "write report.txt: ")
}

func readReport(t *testing.T, artifacts string) report.File {
	t.Helper()
	f, err := os.Open(filepath.Join(artifacts, "report.json"))
	require.NoError(t, err)
	defer f.Close()
	r, err := report.Read(f)
	require.NoError(t, err)
	return r
}

// TestFinish: the report in every format, also the text for who looks on and the markdown for a
// GitHub job, added to what is there.
func TestFinish(t *testing.T) {
	s, out := newTestSuite(t, "-profile=smoke")
	summary := filepath.Join(t.TempDir(), "summary.md")
	require.NoError(t, os.WriteFile(summary, []byte("of another step\n"), 0o600))
	t.Setenv("GITHUB_STEP_SUMMARY", summary)
	require.NoError(t, s.PrepareArtifacts())
	s.environment = timeline.Environment{Kubernetes: "v1.37.2"}
	s.record(t, verdict.Judge(conclusive("prestop-sleep")), t.TempDir())
	outcome, err := s.finish()
	require.NoError(t, err)
	assert.Equal(t, verdict.Pass, *outcome)

	files := map[string]string{
		"report.txt": "prestop-sleep", "report.md": "| ", "junit.xml": "<testsuites", "report.json": `"zerodrop.report/v2"`, "index.html": "<!DOCTYPE html>",
	}
	require.Len(t, report.Formats(), len(files))
	for file, want := range files {
		raw, err := os.ReadFile(filepath.Join(s.Config.Out, file))
		require.NoError(t, err)
		assert.Contains(t, string(raw), want, file)
	}
	r := readReport(t, s.Config.Out)
	assert.Equal(t, verdict.Pass, r.Outcome)
	assert.Equal(t, "smoke", r.Profile)
	assert.Equal(t, "v1.37.2", r.Cluster.Kubernetes)
	assert.False(t, r.Replay)
	text, err := os.ReadFile(filepath.Join(s.Config.Out, "report.txt"))
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(text), "\n")
	assert.Contains(t, out.String(), first)
	markdown, err := os.ReadFile(summary)
	require.NoError(t, err)
	assert.Regexp(t, `(?s)^of another step\n.*prestop-sleep`, string(markdown))

	t.Setenv("GITHUB_STEP_SUMMARY", t.TempDir())
	require.ErrorContains(t, s.publish(), "write job summary: ")
}

// TestFinishWithoutRuns: with no run there's no report, and nothing to complain about: tests may
// have been skipped.
func TestFinishWithoutRuns(t *testing.T) {
	s, out := newTestSuite(t)
	outcome, err := s.finish()
	require.NoError(t, err)
	assert.Nil(t, outcome)
	assert.NoDirExists(t, s.Config.Out)
	assert.Empty(t, out.String())
}

// TestPictures: the index leads to each run's picture, by a path that holds wherever the artifacts
// are moved to; it leads nowhere where there is none.
func TestPictures(t *testing.T) {
	s, _ := newTestSuite(t)
	tl := conclusive("prestop-sleep")
	v := verdict.Judge(tl)
	dir := filepath.Join(s.Config.Out, "prestop-sleep", "rolling-update")
	require.NoError(t, draw(v, tl, dir))
	s.record(t, v, dir)
	raw, err := os.ReadFile(filepath.Join(dir, picture.File))
	require.NoError(t, err)
	assert.Contains(t, string(raw), "prestop-sleep")
	s.record(t, v, "")
	s.record(t, v, t.TempDir())
	assert.Equal(t, []string{"prestop-sleep/rolling-update/run.html", "", ""}, s.report().Pictures)
	index, err := os.ReadFile(filepath.Join(s.Config.Out, "index.html"))
	require.NoError(t, err)
	assert.Equal(t, 1, strings.Count(string(index), `href="prestop-sleep/rolling-update/run.html"`))

	require.NoError(t, os.WriteFile(filepath.Join(s.Config.Out, "file"), nil, 0o600))
	require.ErrorContains(t, draw(v, tl, filepath.Join(s.Config.Out, "file", "run")), "write run.html: ")
}
