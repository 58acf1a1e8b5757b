package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// suiteRun is the suite as a process of its own: this test binary, in a place without a container engine.
type suiteRun struct {
	code    int
	out     string // standard output and error
	summary string // what is in the summary of the GitHub job
}

func runSuite(t *testing.T, args ...string) suiteRun {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	summary, told := filepath.Join(t.TempDir(), "summary.md"), filepath.Join(t.TempDir(), "code")
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"-test.run=^TestRollout$", "-test.v"}, args...)...)
	cmd.Env = append(os.Environ(), "GITHUB_STEP_SUMMARY="+summary, exitCodeFile+"="+told, "PATH="+t.TempDir(), "XDG_CACHE_HOME="+t.TempDir(),
		"GORACE=atexit_sleep_ms=0") // the race detector would sleep a second at the end of each
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	raw, err := os.ReadFile(summary)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
	code, err := os.ReadFile(told)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintln(cmd.ProcessState.ExitCode()), string(code), "what is written down is the exit code")
	return suiteRun{cmd.ProcessState.ExitCode(), out.String(), string(raw)}
}

// cut takes the second half of a file away.
func cut(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, info.Size()/2))
}

// TestReplay: stored timelines are judged again, without a cluster, and the process says how it went.
func TestReplay(t *testing.T) {
	type runs = map[string]string // strategy/disruption → outcome
	save := func(tl timeline.Timeline) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, timeline.Save(filepath.Join(dir, tl.Strategy, tl.Disruption), tl))
		}
	}
	damaged := func(file string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			save(believable("in-app-delay"))(t, dir)
			cut(t, filepath.Join(dir, "in-app-delay", "rolling-update", file))
		}
	}
	old := believable("prestop-sleep")
	old.Strategy = "prestop-nap"
	torn, stopped := believable("in-app-delay"), believable("in-app-delay")
	torn.Faults, stopped.Interrupted = []string{"deploy in-app-delay: the API server is away"}, "stopped by a signal"
	tests := []struct {
		name  string
		store []func(t *testing.T, dir string)
		code  int
		says  []string
		want  runs // in the report; nil for none
	}{
		{
			"a pass",
			[]func(*testing.T, string){save(believable("prestop-sleep"))},
			0,
			[]string{"PASS: TestRollout/prestop-sleep/rolling-update"},
			runs{"prestop-sleep/rolling-update": "pass"},
		},
		{
			"at other delays: what is expected goes by the name",
			[]func(*testing.T, string){save(believable("in-app-delay-close@1.5s")), save(lossy("in-app-delay-close@500ms+measured", 2))},
			0,
			[]string{"PASS: TestRollout/in-app-delay-close@1.5s/rolling-update", "PASS: TestRollout/in-app-delay-close@500ms+measured/rolling-update"},
			runs{"in-app-delay-close@1.5s/rolling-update": "pass", "in-app-delay-close@500ms+measured/rolling-update": "pass"},
		},
		{
			"a delay that loses where it is to lose nothing",
			[]func(*testing.T, string){save(lossy("in-app-delay-close@1.5s", 2))},
			1,
			[]string{"fail: nodeport/new: lost 2 of 200 where at most 0 may be lost"},
			runs{"in-app-delay-close@1.5s/rolling-update": "fail"},
		},
		{
			"a fail",
			[]func(*testing.T, string){save(believable("prestop-sleep")), save(lossy("in-app-delay", 2))},
			1,
			[]string{"fail: nodeport/new: lost 2 of 200 where at most 0 may be lost", "FAIL: TestRollout/in-app-delay/rolling-update", "the suite's outcome is fail"},
			runs{"prestop-sleep/rolling-update": "pass", "in-app-delay/rolling-update": "fail"},
		},
		{
			"a control that lost nothing takes the belief in all away",
			[]func(*testing.T, string){save(believable("prestop-sleep")), save(believable("no-handler"))},
			3,
			[]string{"the suite's outcome is inconclusive"},
			runs{"prestop-sleep/rolling-update": "inconclusive", "no-handler/rolling-update": "inconclusive"},
		},
		{
			"the cluster broke down",
			[]func(*testing.T, string){save(lossy("prestop-sleep", 2)), save(torn)},
			4,
			[]string{"infrastructure: deploy in-app-delay: the API server is away", "the suite's outcome is infrastructure"},
			runs{"prestop-sleep/rolling-update": "fail", "in-app-delay/rolling-update": "infrastructure"},
		},
		{
			"somebody stopped it",
			[]func(*testing.T, string){save(lossy("prestop-sleep", 2)), save(stopped)},
			3,
			[]string{"inconclusive: stopped by a signal", "the suite's outcome is inconclusive"},
			runs{"prestop-sleep/rolling-update": "fail", "in-app-delay/rolling-update": "inconclusive"},
		},
		{
			"requests cut off in the middle",
			[]func(*testing.T, string){save(believable("prestop-sleep")), damaged(timeline.CSVFile)},
			4,
			[]string{"in-app-delay/rolling-update: timeline.csv.gz: stored timeline is damaged or cut off: ", "the suite's outcome is infrastructure"},
			runs{"prestop-sleep/rolling-update": "pass", "in-app-delay/rolling-update": "infrastructure"},
		},
		{
			"events cut off in the middle",
			[]func(*testing.T, string){damaged(timeline.JSONFile)},
			4,
			[]string{"in-app-delay/rolling-update: timeline.json: stored timeline is damaged or cut off: ", "the suite's outcome is infrastructure"},
			runs{"in-app-delay/rolling-update": "infrastructure"},
		},
		{
			"a strategy that is no more",
			[]func(*testing.T, string){save(believable("prestop-sleep")), save(old)},
			3,
			[]string{`prestop-nap/rolling-update: unknown strategy "prestop-nap": want one of `},
			runs{"prestop-sleep/rolling-update": "pass", "prestop-nap/rolling-update": "inconclusive"},
		},
		{
			"the suite before is another one",
			[]func(*testing.T, string){
				save(believable("prestop-sleep")),
				func(t *testing.T, dir string) { save(lossy("in-app-delay", 2))(t, filepath.Join(dir, "previous")) },
			},
			0, nil,
			runs{"prestop-sleep/rolling-update": "pass"},
		},
		{
			"only the suite before",
			[]func(*testing.T, string){
				func(t *testing.T, dir string) { save(believable("in-app-delay"))(t, filepath.Join(dir, "previous")) },
			},
			1,
			[]string{"there are only timelines of the suite before: name ", "/previous to judge those"},
			nil,
		},
		{"nothing", nil, 1, []string{"find timelines: no timeline.json below "}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stored, artifacts := t.TempDir(), filepath.Join(t.TempDir(), "artifacts")
			for _, store := range tt.store {
				store(t, stored)
			}
			before := files(t, stored)
			got := runSuite(t, "-test.short", "-replay="+stored, "-out="+artifacts)
			assert.Equal(t, tt.code, got.code, got.out)
			for _, want := range tt.says {
				assert.Contains(t, got.out, want)
			}
			assert.Equal(t, before, files(t, stored), "what is judged isn't changed")
			if tt.want == nil {
				assert.NoFileExists(t, filepath.Join(artifacts, "report.json"))
				assert.Empty(t, got.summary)
				return
			}
			r := readReport(t, artifacts)
			assert.Equal(t, "zerodrop.report/v1", r.Schema)
			assert.True(t, r.Replay)
			outcomes := runs{}
			for _, run := range r.Runs {
				name := run.Strategy + "/" + run.Disruption
				outcomes[name] = run.Outcome
				assert.Equal(t, run.Outcome == "pass", len(run.Reasons) == 0, name)
			}
			assert.Equal(t, tt.want, outcomes)
			assert.Equal(t, tt.code == 0, r.Outcome == "pass")
			text, err := os.ReadFile(filepath.Join(artifacts, "report.txt"))
			require.NoError(t, err)
			assert.Contains(t, got.out, string(text[:40]), "the report is shown")
			index, err := os.ReadFile(filepath.Join(artifacts, "index.html"))
			require.NoError(t, err)
			for name := range tt.want {
				strategy, _, _ := strings.Cut(name, "/")
				assert.Contains(t, got.summary, strategy)
				picture := name + "/" + report.PictureFile
				unread := strings.Contains(strings.Join(tt.says, "\n"), name+": ")
				_, err := os.Stat(filepath.Join(artifacts, filepath.FromSlash(picture)))
				assert.Equal(t, unread, errors.Is(err, os.ErrNotExist), "what could be judged has a picture: %s", picture)
				assert.Equal(t, !unread, strings.Contains(html.UnescapeString(string(index)), `href="`+picture+`"`), "and a link to it")
			}
		})
	}
}

// TestReplayOne: one run is judged by naming its folder.
func TestReplayOne(t *testing.T) {
	dir, artifacts := filepath.Join(t.TempDir(), "prestop-sleep", "rolling-update"), t.TempDir()
	require.NoError(t, timeline.Save(dir, believable("prestop-sleep")))
	got := runSuite(t, "-test.short", "-replay="+dir, "-out="+artifacts)
	assert.Zero(t, got.code, got.out)
	r := readReport(t, artifacts)
	require.Len(t, r.Runs, 1)
	assert.Equal(t, "prestop-sleep", r.Runs[0].Strategy)
	require.Len(t, r.Runs[0].Lanes, 3)
	assert.Equal(t, 200, r.Runs[0].Lanes[0].Sent)
	assert.Equal(t, "v1.37.2", r.Cluster.Kubernetes)
	assert.FileExists(t, filepath.Join(artifacts, "rolling-update", report.PictureFile), "by the name of the one folder")
	assert.FileExists(t, filepath.Join(artifacts, "rolling-update", "verdict.json"))
}

// TestSuiteProcess: what is wrong is told by the exit code and in words, and nothing is brought up before.
func TestSuiteProcess(t *testing.T) {
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"bad flags", []string{"-rate=0", "-repeat=0"}, 2, "bad flags: -rate 0: want 1 to 1000 requests per second\n-repeat 0: want 1 or more\n"},
		{"unknown flag", []string{"-profil=quick"}, 2, "flag provided but not defined: -profil"},
		{"unknown profile", []string{"-profile=everything"}, 1, `unknown profile "everything": want one of quick, full`},
		{"no such folder to replay", []string{"-replay=/nonexistent"}, 1, "find timelines: lstat /nonexistent: no such file"},
		{"short", []string{"-test.short"}, 0, "needs a cluster"},
		{"a delay that can't be", []string{"-test.run=^TestRollout$/prestop-sleep@1.5s"}, 1, "a delay of 1.5s: the kubelet's sleep action takes whole seconds"},
		{"help", []string{"-h"}, 0, "which scenarios to run: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			artifacts := filepath.Join(t.TempDir(), "artifacts")
			got := runSuite(t, append([]string{"-out=" + artifacts}, tt.args...)...)
			assert.Equal(t, tt.code, got.code, got.out)
			assert.Contains(t, got.out, tt.want)
			assert.NoDirExists(t, artifacts)
			assert.Empty(t, got.summary)
		})
	}
	t.Run("no container engine", func(t *testing.T) {
		artifacts := filepath.Join(t.TempDir(), "artifacts")
		got := runSuite(t, "-out="+artifacts, "-profile=smoke")
		assert.Equal(t, 4, got.code, got.out)
		assert.Contains(t, got.out, "find a container engine for kind (make e2e brings one up): ")
		r := readReport(t, artifacts)
		assert.Equal(t, "infrastructure", r.Outcome)
		require.Len(t, r.Runs, 3, "every run is in the report")
		for _, run := range r.Runs {
			assert.Equal(t, "infrastructure", run.Outcome)
			assert.Contains(t, strings.Join(run.Reasons, "\n"), "find a container engine")
			assert.FileExists(t, filepath.Join(artifacts, run.Strategy, run.Disruption, timeline.JSONFile))
			assert.FileExists(t, filepath.Join(artifacts, run.Strategy, run.Disruption, report.PictureFile))
		}
	})
}

// TestRolloutAtADelay: a strategy at another delay is in no profile, and runs if it is named.
func TestRolloutAtADelay(t *testing.T) {
	artifacts := filepath.Join(t.TempDir(), "artifacts")
	got := runSuite(t, "-test.run=^TestRollout$/^in-app-delay-close@1.5s$/rolling-update", "-out="+artifacts)
	assert.Equal(t, 4, got.code, "there is no container engine: %s", got.out)
	r := readReport(t, artifacts)
	require.Len(t, r.Runs, 1)
	assert.Equal(t, "in-app-delay-close@1.5s", r.Runs[0].Strategy)
	assert.FileExists(t, filepath.Join(artifacts, "in-app-delay-close@1.5s", "rolling-update", timeline.JSONFile))
}

// TestReplayLeavesTheReportsAlone: without -out, the reports of a replay go into a folder of their own.
func TestReplayLeavesTheReportsAlone(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, timeline.Save(filepath.Join(dir, "prestop-sleep", "rolling-update"), believable("prestop-sleep")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "report.json"), []byte("as it was"), 0o644))
	got := runSuite(t, "-test.short", "-replay="+dir)
	require.Zero(t, got.code, "%v", got)
	raw, err := os.ReadFile(filepath.Join(dir, "report.json"))
	require.NoError(t, err)
	assert.Equal(t, "as it was", string(raw))
	assert.FileExists(t, filepath.Join(dir, "replayed", "report.json"))
	got = runSuite(t, "-test.short", "-replay="+dir)
	require.Zero(t, got.code, "and they are not taken for timelines the next time: %v", got)
}
