package suite

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// files are all files below a folder, with what is in them.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(path)
		out[filepath.ToSlash(name)] = string(raw)
		return err
	}))
	return out
}

func create(t *testing.T, dir string, all map[string]string) {
	t.Helper()
	for name, content := range all {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
}

// TestPrepareArtifacts: a new suite neither mixes with the one before nor destroys it, nor anything
// else.
func TestPrepareArtifacts(t *testing.T) {
	type all = map[string]string
	tests := []struct {
		name   string
		before all
		want   all
	}{
		{"nothing there", nil, all{"kind.log": ""}},
		{
			"a suite before", all{
				"report.json": "1", "report.md": "1", "report.txt": "1", "junit.xml": "1", "kind.log": "1", "cluster-logs/node/journal.log": "1",
				"prestop-sleep/rolling-update/timeline.json": "1", "no-handler/none/2/timeline.json": "1", "index.html": "1",
				"safe-delay.txt": "1", "safe-delay.json": "1", "in-app-delay@1.5s/rolling-update/1/timeline.json": "1", "min-sync-1s/safe-delay.txt": "1",
				"min-sync-1s/no-handler/none/1/timeline.json": "1", "cluster-logs-2/x.log": "1", "some-app/rolling-update/timeline.json": "1",
			}, all{
				"previous/report.json": "1", "previous/report.md": "1", "previous/report.txt": "1", "previous/junit.xml": "1", "previous/kind.log": "1",
				"previous/cluster-logs/node/journal.log": "1", "previous/prestop-sleep/rolling-update/timeline.json": "1", "previous/no-handler/none/2/timeline.json": "1",
				"previous/safe-delay.txt": "1", "previous/safe-delay.json": "1", "previous/in-app-delay@1.5s/rolling-update/1/timeline.json": "1",
				"previous/min-sync-1s/safe-delay.txt": "1", "previous/min-sync-1s/no-handler/none/1/timeline.json": "1",
				"previous/cluster-logs-2/x.log": "1", "previous/some-app/rolling-update/timeline.json": "1",
				"kind.log": "", "previous/index.html": "1",
			},
		},
		{
			"two suites before: one is kept",
			all{"report.json": "2", "previous/report.json": "1", "previous/kind.log": "1"},
			all{"previous/report.json": "2", "kind.log": ""},
		},
		{
			"no report: whatever it is, it's left alone",
			all{"prestop-sleep/notes.txt": "mine", "previous/photo.jpg": "mine", "report.txt": "mine"},
			all{"prestop-sleep/notes.txt": "mine", "previous/photo.jpg": "mine", "report.txt": "mine", "kind.log": ""},
		},
		{
			"a report among other things: they stay",
			all{
				"report.json": "1", "no-handler/none/timeline.json": "1", "go.mod": "mine", "e2e/main_test.go": "mine", ".git/HEAD": "mine",
				"e2e/internal/verdict/testdata/no-handler/none/timeline.json": "mine", "shutdown-at-once/notes.txt": "mine",
			},
			all{
				"previous/report.json": "1", "previous/no-handler/none/timeline.json": "1", "go.mod": "mine", "e2e/main_test.go": "mine", ".git/HEAD": "mine",
				"e2e/internal/verdict/testdata/no-handler/none/timeline.json": "mine", "shutdown-at-once/notes.txt": "mine", "kind.log": "",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newTestSuite(t)
			create(t, s.Config.Out, tt.before)
			require.NoError(t, s.PrepareArtifacts())
			assert.Equal(t, tt.want, files(t, s.Config.Out))
			_, err := s.finish()
			require.NoError(t, err)
		})
	}
}

// TestPrepareArtifactsFails: where no room can be made, no run is begun.
func TestPrepareArtifactsFails(t *testing.T) {
	tests := []struct {
		name string
		set  func(t *testing.T, dir string)
		want string
	}{
		{"a file in place of the folder", func(t *testing.T, dir string) { require.NoError(t, os.WriteFile(dir, nil, 0o600)) }, "make room in the artifacts' folder: "},
		{"a folder in place of kind's log", func(t *testing.T, dir string) { create(t, dir, map[string]string{"kind.log/x": ""}) }, "make the log of kind: "},
		{"a report that can't be looked at", func(t *testing.T, dir string) {
			require.NoError(t, os.Mkdir(dir, 0o755))
			require.NoError(t, os.Symlink("report.json", filepath.Join(dir, "report.json")))
		}, "make room in the artifacts' folder: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newTestSuite(t)
			tt.set(t, s.Config.Out)
			require.ErrorContains(t, s.PrepareArtifacts(), tt.want)
		})
	}
}

// TestRotateArtifacts: what a suite makes is what the next one moves aside.
func TestRotateArtifacts(t *testing.T) {
	s, _ := newTestSuite(t, "-repeat=2")
	require.NoError(t, s.PrepareArtifacts())
	for _, profile := range []string{"full", "aa"} {
		runs, err := s.With(func(c *Config) { c.Profile = profile }).Runs()
		require.NoError(t, err)
		for _, run := range runs {
			require.NoError(t, timeline.Save(s.dir(run), timeline.Timeline{}))
		}
	}
	require.NoError(t, s.write())
	entries, err := os.ReadDir(s.Config.Out)
	require.NoError(t, err)
	require.Greater(t, len(entries), 10)
	require.NoError(t, s.PrepareArtifacts(), "a second call moves nothing that this suite has made")
	again, err := os.ReadDir(s.Config.Out)
	require.NoError(t, err)
	require.Len(t, again, len(entries))
	require.NoError(t, s.kindLog.Close())
	s.kindLog = nil // as in the next suite
	require.NoError(t, s.PrepareArtifacts())
	left, err := os.ReadDir(s.Config.Out)
	require.NoError(t, err)
	var names []string
	for _, entry := range left {
		names = append(names, entry.Name())
	}
	assert.Equal(t, []string{"kind.log", "previous"}, names)
	_, err = s.finish()
	require.NoError(t, err)
}

// TestDir: a run of a series keeps out of the way of the others, whoever asked for the series.
func TestDir(t *testing.T) {
	tests := []struct {
		name  string
		flags []string
		want  []string
	}{
		{"once", []string{"-strategies=prestop-sleep"}, []string{"no-handler/none", "prestop-sleep/rolling-update"}},
		{
			"several",
			[]string{"-strategies=prestop-http,in-app-delay", "-delay=1.5s", "-repeat=2"},
			[]string{
				"no-handler/none/1", "prestop-http@1.5s/rolling-update/1", "in-app-delay@1.5s/rolling-update/1",
				"in-app-delay@1.5s/rolling-update/2", "prestop-http@1.5s/rolling-update/2", "no-handler/none/2",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newTestSuite(t, append(tt.flags, "-disruptions=rolling-update")...)
			runs, err := s.Runs()
			require.NoError(t, err)
			var got []string
			for _, run := range runs {
				dir, err := filepath.Rel(s.Config.Out, s.dir(run))
				require.NoError(t, err)
				got = append(got, filepath.ToSlash(dir))
			}
			assert.Equal(t, tt.want, got)
		})
	}
	s, _ := newTestSuite(t)
	scenario, err := s.catalogue.Find("shutdown-at-once", "rolling-update", 100)
	require.NoError(t, err)
	var dirs []string
	s.Series(&recorder{}, scenario, 3, func(run scenarios.Run) (verdict.Verdict, string) {
		dirs = append(dirs, s.dir(run))
		require.NoError(t, os.MkdirAll(s.dir(run), 0o755))
		return verdict.Verdict{Outcome: verdict.Pass}, s.dir(run)
	})
	at := filepath.Join(s.Config.Out, "shutdown-at-once", "rolling-update")
	assert.Equal(t, []string{filepath.Join(at, "1"), filepath.Join(at, "2"), filepath.Join(at, "3")}, dirs)
	assert.Len(t, s.verdicts, 3)
}
