package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
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

// suiteRun is the suite as a process of its own: this test binary, in a place without a container
// engine.
type suiteRun struct {
	code    int
	out     string // standard output and error
	summary string // what is in the summary of the GitHub job
}

func runSuite(t *testing.T, args ...string) suiteRun {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	summary, written := filepath.Join(t.TempDir(), "summary.md"), filepath.Join(t.TempDir(), "code")
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"-test.run=^TestRollout$", "-test.v"}, args...)...)
	cmd.Env = append(os.Environ(), "GITHUB_STEP_SUMMARY="+summary, "ZERODROP_EXIT_CODE="+written, "PATH="+t.TempDir(),
		"XDG_CACHE_HOME="+t.TempDir(), "GORACE=atexit_sleep_ms=0") // the race detector would sleep a second at the end of each
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	raw, err := os.ReadFile(summary)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
	code, err := os.ReadFile(written)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintln(cmd.ProcessState.ExitCode()), string(code), "what is written down is the exit code")
	assert.NotContains(t, out.String(), "stopping: ", "nobody has stopped it")
	return suiteRun{cmd.ProcessState.ExitCode(), out.String(), string(raw)}
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

// TestProcess: what is wrong is told by the exit code and in words, and nothing is brought up
// before.
func TestProcess(t *testing.T) {
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{
			"bad flags",
			[]string{"-rate=-1", "-repeat=0"},
			2,
			"bad flags: -rate -1: want 1 to 1000 requests per second\n-repeat 0: want 1 or more\n",
		},
		{"unknown flag", []string{"-profil=quick"}, 2, "flag provided but not defined: -profil"},
		{"unknown profile", []string{"-profile=everything"}, 1, `unknown profile "everything": want one of quick, full`},
		{"unknown strategy", []string{"-strategies=prestop-nap"}, 1, `unknown strategy "prestop-nap": want one of `},
		{"no such folder to replay", []string{"-replay=/nonexistent"}, 1, "find timelines: lstat /nonexistent: no such file"},
		{"short", []string{"-test.short"}, 0, "needs a cluster"},
		{
			"a delay that can't be",
			[]string{"-strategies=prestop-sleep", "-delay=1.5s"},
			1,
			"a delay of 1.5s: the kubelet's sleep action takes whole seconds",
		},
		{
			"a long test that isn't named",
			[]string{"-test.run=^TestSafeDelay$"},
			0,
			"runs only if it is named: -run '^TestSafeDelay$' -long safe-delay",
		},
		{
			"one of another name",
			[]string{"-test.run=^TestSafeDelay$", "-long=safe-delay-sync"},
			0,
			"runs only if it is named: -run '^TestSafeDelay$'",
		},
		{"long tests instead", []string{"-long=instants"}, 0, "-long names what to run instead"},
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
}

// TestProcessWithoutEngine: where no cluster can be had, every run that was asked for is in the
// report, and why.
func TestProcessWithoutEngine(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want []string
	}{
		{
			"smoke",
			[]string{"-profile=smoke"},
			[]string{"no-handler/none", "no-handler/rolling-update", "prestop-sleep/rolling-update"},
		},
		{
			"a strategy at another delay",
			[]string{"-strategies=in-app-delay-close", "-disruptions=rolling-update", "-delay=1.5s"},
			[]string{"no-handler/none", "in-app-delay-close@1.5s/rolling-update"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			artifacts := filepath.Join(t.TempDir(), "artifacts")
			got := runSuite(t, append([]string{"-out=" + artifacts}, tt.args...)...)
			assert.Equal(t, 4, got.code, got.out)
			assert.Contains(t, got.out, "find a container engine for kind (make e2e brings one up): ")
			r := readReport(t, artifacts)
			assert.Equal(t, verdict.Infrastructure, r.Outcome)
			var names []string
			for _, run := range r.Runs {
				names = append(names, run.Strategy+"/"+run.Disruption)
				assert.Equal(t, verdict.Infrastructure, run.Outcome)
				assert.Contains(t, strings.Join(run.Reasons, "\n"), "find a container engine")
				assert.FileExists(t, filepath.Join(artifacts, run.Strategy, run.Disruption, timeline.JSONFile))
				assert.FileExists(t, filepath.Join(artifacts, run.Strategy, run.Disruption, picture.File))
			}
			assert.Equal(t, tt.want, names)
		})
	}
}

// storedRun is the folder of a run in the verdict's test data.
func storedRun() string {
	return filepath.Join("internal", "verdict", "testdata", "prestop-sleep", "rolling-update")
}

// TestProcessReplay: stored runs are judged again, each in a subtest of its folder's name. The
// reports go into a folder of their own, and leave those of the run that is judged alone; they are
// not taken for runs the next time.
func TestProcessReplay(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(dir, "prestop-sleep", "rolling-update"), os.DirFS(storedRun())))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "report.json"), []byte("as it was"), 0o644))
	for range 2 {
		got := runSuite(t, "-test.short", "-replay="+dir)
		require.Zero(t, got.code, got.out)
		assert.Contains(t, got.out, "PASS: TestRollout/prestop-sleep/rolling-update")
		assert.Contains(t, got.summary, "prestop-sleep")
		raw, err := os.ReadFile(filepath.Join(dir, "report.json"))
		require.NoError(t, err)
		assert.Equal(t, "as it was", string(raw))
		require.Len(t, readReport(t, filepath.Join(dir, "replayed")).Runs, 1)
	}
	require.NoError(t, os.Truncate(filepath.Join(dir, "prestop-sleep", "rolling-update", timeline.CSVFile), 1000))
	got := runSuite(t, "-test.short", "-replay="+dir)
	assert.Equal(t, 4, got.code, got.out)
	assert.Contains(t, got.out, "timeline.csv.gz: stored timeline is damaged or cut off: ")
	assert.Contains(t, got.out, "FAIL: TestRollout/prestop-sleep/rolling-update")
}
