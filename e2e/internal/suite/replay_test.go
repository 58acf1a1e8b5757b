package suite

import (
	"html"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/picture"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// replay judges what is stored below a folder, as TestRollout does, and says what its tests failed
// with.
func replay(t *testing.T, s *Suite) ([]string, error) {
	t.Helper()
	stored, err := s.Stored()
	if err != nil {
		return nil, err
	}
	var r recorder
	for _, run := range stored {
		s.Replay(&r, run)
	}
	return r.errors, nil
}

// cut takes the second half of a file away.
func cut(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, info.Size()/2))
}

// TestReplay: stored timelines are judged again, by what they were declared to be, and without a
// cluster.
func TestReplay(t *testing.T) {
	type runs = map[string]string // strategy/disruption → outcome
	save := func(tl timeline.Timeline) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, timeline.Save(filepath.Join(dir, tl.Spec.Strategy, tl.Spec.Disruption), tl))
		}
	}
	damaged := func(file string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			save(conclusive("in-app-delay"))(t, dir)
			cut(t, filepath.Join(dir, "in-app-delay", "rolling-update", file))
		}
	}
	measured := dropping("in-app-delay-close@500ms", 2)
	measured.Spec.Lanes[0].Held[timeline.ClassNew] = timeline.Promise{Expect: timeline.Measured, Source: "a third of the recommended delay"}
	torn, stopped := conclusive("in-app-delay"), conclusive("in-app-delay")
	torn.Errors, stopped.Interrupted = []string{"deploy in-app-delay: the API server is away"}, "stopped by a signal"
	const dropped = "fail: nodeport/new: new: dropped 2 of 200 where none may be dropped (strategy in-app-delay)"
	tests := []struct {
		name  string
		store []func(t *testing.T, dir string)
		code  int
		says  []string
		want  runs // in the report; nil for none
	}{
		{
			"a pass",
			[]func(*testing.T, string){save(conclusive("prestop-sleep"))},
			0, nil,
			runs{"prestop-sleep/rolling-update": "pass"},
		},
		{
			"what is expected goes by what was declared, and not by the name",
			[]func(*testing.T, string){save(conclusive("in-app-delay-close@1.5s")), save(measured)},
			0, nil,
			runs{"in-app-delay-close@1.5s/rolling-update": "pass", "in-app-delay-close@500ms/rolling-update": "pass"},
		},
		{
			"a fail",
			[]func(*testing.T, string){save(conclusive("prestop-sleep")), save(dropping("in-app-delay", 2))},
			1,
			[]string{dropped, "the suite's outcome is fail"},
			runs{"prestop-sleep/rolling-update": "pass", "in-app-delay/rolling-update": "fail"},
		},
		{
			"a control that dropped nothing takes the validity of all away",
			[]func(*testing.T, string){save(conclusive("prestop-sleep")), save(conclusive("no-handler"))},
			3,
			[]string{"the suite's outcome is inconclusive"},
			runs{"prestop-sleep/rolling-update": "inconclusive", "no-handler/rolling-update": "inconclusive"},
		},
		{
			"the cluster broke down",
			[]func(*testing.T, string){save(dropping("prestop-sleep", 2)), save(torn)},
			4,
			[]string{"infrastructure: deploy in-app-delay: the API server is away", "the suite's outcome is infrastructure"},
			runs{"prestop-sleep/rolling-update": "fail", "in-app-delay/rolling-update": "infrastructure"},
		},
		{
			"somebody stopped it",
			[]func(*testing.T, string){save(dropping("prestop-sleep", 2)), save(stopped)},
			3,
			[]string{"inconclusive: stopped by a signal", "the suite's outcome is inconclusive"},
			runs{"prestop-sleep/rolling-update": "fail", "in-app-delay/rolling-update": "inconclusive"},
		},
		{
			"requests cut off in the middle",
			[]func(*testing.T, string){save(conclusive("prestop-sleep")), damaged(timeline.CSVFile)},
			4,
			[]string{
				"in-app-delay/rolling-update: timeline.csv.gz: stored timeline is damaged or cut off: ",
				"the suite's outcome is infrastructure",
			},
			runs{"prestop-sleep/rolling-update": "pass", "in-app-delay/rolling-update": "infrastructure"},
		},
		{
			"events cut off in the middle",
			[]func(*testing.T, string){damaged(timeline.JSONFile)},
			4,
			[]string{
				"in-app-delay/rolling-update: timeline.json: stored timeline is damaged or cut off: ",
				"the suite's outcome is infrastructure",
			},
			runs{"in-app-delay/rolling-update": "infrastructure"},
		},
		{
			"a strategy that is no more",
			[]func(*testing.T, string){save(conclusive("prestop-sleep")), save(conclusive("prestop-nap"))},
			0, nil,
			runs{"prestop-sleep/rolling-update": "pass", "prestop-nap/rolling-update": "pass"},
		},
		{
			"the suite before is another one",
			[]func(*testing.T, string){
				save(conclusive("prestop-sleep")),
				func(t *testing.T, dir string) { save(dropping("in-app-delay", 2))(t, filepath.Join(dir, "previous")) },
			},
			0, nil,
			runs{"prestop-sleep/rolling-update": "pass"},
		},
		{
			"only the suite before",
			[]func(*testing.T, string){
				func(t *testing.T, dir string) { save(conclusive("in-app-delay"))(t, filepath.Join(dir, "previous")) },
			},
			1,
			[]string{"there are only those of the suite before: name ", "/previous to judge them"},
			nil,
		},
		{"nothing", nil, 1, []string{"find timelines: no timeline.json below "}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stored := t.TempDir()
			for _, store := range tt.store {
				store(t, stored)
			}
			before := files(t, stored)
			s, out := newTestSuite(t, "-replay="+stored)
			summary := filepath.Join(t.TempDir(), "summary.md")
			t.Setenv("GITHUB_STEP_SUMMARY", summary)
			said, err := replay(t, s)
			if tt.want == nil {
				said = []string{err.Error()}
			} else {
				require.NoError(t, err)
			}
			outcome, err := s.finish()
			assert.Equal(t, tt.code, exitCode(min(len(said), 1), outcome, err))
			if err != nil {
				said = append(said, err.Error())
			}
			for _, want := range tt.says {
				assert.Contains(t, strings.Join(said, "\n"), want)
			}
			assert.Equal(t, tt.code == 0, len(said) == 0, said)
			assert.Equal(t, before, files(t, stored), "what is judged isn't changed")
			if tt.want == nil {
				assert.NoDirExists(t, s.Config.Out)
				assert.NoFileExists(t, summary)
				return
			}
			r := readReport(t, s.Config.Out)
			assert.Equal(t, "zerodrop.report/v2", r.Schema)
			assert.True(t, r.Replay)
			outcomes := runs{}
			for _, run := range r.Runs {
				name := run.Strategy + "/" + run.Disruption
				outcomes[name] = run.Outcome.String()
				assert.Equal(t, run.Outcome == verdict.Pass, len(run.Reasons) == 0, name)
			}
			assert.Equal(t, tt.want, outcomes)
			assert.Equal(t, tt.code == 0, r.Outcome == verdict.Pass)
			text, err := os.ReadFile(filepath.Join(s.Config.Out, "report.txt"))
			require.NoError(t, err)
			assert.Contains(t, out.String(), string(text[:40]), "the report is shown")
			markdown, err := os.ReadFile(summary)
			require.NoError(t, err)
			index, err := os.ReadFile(filepath.Join(s.Config.Out, "index.html"))
			require.NoError(t, err)
			for name := range tt.want {
				strategy, _, _ := strings.Cut(name, "/")
				assert.Contains(t, string(markdown), strategy)
				file := name + "/" + picture.File
				unread := strings.Contains(strings.Join(tt.says, "\n"), name+": ")
				assert.Equal(t, !unread, exists(filepath.Join(s.Config.Out, filepath.FromSlash(file))),
					"what could be judged has a picture: %s", file)
				assert.Equal(t, !unread, strings.Contains(html.UnescapeString(string(index)), `href="`+file+`"`), "and a link to it")
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestReplayOne: one run is judged by naming its folder. What the report says of rate and cluster
// is the run's.
func TestReplayOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "prestop-sleep", "rolling-update")
	require.NoError(t, timeline.Save(dir, conclusive("prestop-sleep")))
	s, _ := newTestSuite(t, "-replay="+dir)
	said, err := replay(t, s)
	require.NoError(t, err)
	require.Empty(t, said)
	r := readReport(t, s.Config.Out)
	require.Len(t, r.Runs, 1)
	assert.Equal(t, "prestop-sleep", r.Runs[0].Strategy)
	require.Len(t, r.Runs[0].Lanes, 3)
	assert.Equal(t, 200, r.Runs[0].Lanes[0].Sent)
	assert.Equal(t, "v1.37.2", r.Cluster.Kubernetes)
	assert.Equal(t, 10, s.report().Rate)
	assert.FileExists(t, filepath.Join(s.Config.Out, "rolling-update", picture.File), "by the name of the one folder")
}

// TestReplayDamaged: a run that can't be read has the name of its folder, and is not a pass.
func TestReplayDamaged(t *testing.T) {
	tests := []struct {
		name, folder, want string
	}{
		{"a run", "prestop-sleep/rolling-update", "prestop-sleep/rolling-update"},
		{"a repeat", "prestop-sleep/rolling-update/2", "prestop-sleep/rolling-update"},
		{"some folder", "x", "x/unknown"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stored := t.TempDir()
			dir := filepath.Join(stored, filepath.FromSlash(tt.folder))
			require.NoError(t, timeline.Save(dir, conclusive("prestop-sleep")))
			cut(t, filepath.Join(dir, timeline.CSVFile))
			s, _ := newTestSuite(t, "-replay="+stored)
			said, err := replay(t, s)
			require.NoError(t, err)
			require.Len(t, said, 1)
			assert.Contains(t, said[0], "infrastructure: load timeline from "+dir)
			require.Len(t, s.Verdicts(), 1)
			assert.Equal(t, tt.want, s.Verdicts()[0].Name())
		})
	}
}
