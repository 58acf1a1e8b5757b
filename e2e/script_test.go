package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeGo stands in for go: as `go test` it says what it was called with and where its output goes,
// writes the suite's exit code down if it is to, and exits with 1. With FAKE_WAIT it does so on
// Ctrl-C only.
const fakeGo = `#!/bin/bash
case $1 in
env) exit 0 ;;
esac
echo "go $*"
readlink /proc/self/fd/1
[[ -z ${FAKE_CAT:-} ]] || sed 's/^/kept: /' "$TMPDIR"/*/stdin.yaml 2>/dev/null
end() {
	[[ -z ${FAKE_CODE:-} ]] || echo "$FAKE_CODE" >"$ZERODROP_EXIT_CODE"
	exit 1
}
if [[ -n ${FAKE_WAIT:-} ]]; then
	trap end INT
	echo ready >&2
	for ((i = 0; i < 600; i++)); do sleep 0.05; done
fi
end
`

// script is scripts/e2e.sh with the fake go, as the leader of a process group, as a shell starts it
// in a terminal; and its folder for temporary files.
func script(t *testing.T, env ...string) (cmd *exec.Cmd, temp string) {
	t.Helper()
	return scriptWith(t, "e2e.sh", []string{"-replay", "x", "-run", "TestRollout/a"}, env...)
}

func scriptWith(t *testing.T, name string, args []string, env ...string) (cmd *exec.Cmd, temp string) {
	t.Helper()
	bin, temp := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "go"), []byte(fakeGo), 0o755))
	cmd = exec.CommandContext(t.Context(), filepath.Join("..", "scripts", name), args...)
	cmd.Env = append(append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "TMPDIR="+temp), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, temp
}

// TestScript: what the suite has exited with is what scripts/e2e.sh exits with, though go test
// always exits with 1. What is printed goes where the script's own output does, and not through a
// pipe.
func TestScript(t *testing.T) {
	tests := []struct {
		name string
		env  []string
		want int
	}{
		{"pass", []string{"FAKE_CODE=0"}, 0},
		{"fail", []string{"FAKE_CODE=1"}, 1},
		{"bad flags", []string{"FAKE_CODE=2"}, 2},
		{"inconclusive", []string{"FAKE_CODE=3"}, 3},
		{"infrastructure", []string{"FAKE_CODE=4"}, 4},
		{"no suite, as it didn't compile", nil, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd, temp := script(t, tt.env...)
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			require.NoError(t, err)
			defer out.Close()
			cmd.Stdout, cmd.Stderr = out, out
			_ = cmd.Run() // the code says more
			assert.Equal(t, tt.want, cmd.ProcessState.ExitCode())
			said, err := os.ReadFile(out.Name())
			require.NoError(t, err)
			assert.Equal(t, "go -C e2e test -count=1 -v -timeout 60m -replay x -run TestRollout/a\n"+out.Name()+"\n", string(said))
			assertEmpty(t, temp)
		})
	}
}

// TestScriptSelects: without -run it is the scenarios that run, or the long tests that are named;
// never the tests of the suite itself.
func TestScriptSelects(t *testing.T) {
	tests := []struct {
		name string
		args []string // with -replay, so that no container engine is looked for
		want string
	}{
		{"scenarios", []string{"-replay", "x"}, "-run ^TestRollout$ -replay x"},
		{
			"long tests",
			[]string{"-long", "faults", "-replay", "x"},
			"-skip ^Test(Script|Process|Rises) -long faults -replay x",
		},
		{
			"long tests, with an equals sign",
			[]string{"--long=faults", "-replay", "x"},
			"-skip ^Test(Script|Process|Rises) --long=faults -replay x",
		},
		{
			"chosen",
			[]string{"-long", "faults", "-run", "TestFaults/a", "-replay", "x"},
			"-long faults -run TestFaults/a -replay x",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd, _ := scriptWith(t, "e2e.sh", tt.args, "FAKE_CODE=0")
			out, err := cmd.Output()
			require.NoError(t, err)
			assert.Contains(t, string(out), "go -C e2e test -count=1 -v -timeout 60m "+tt.want+"\n")
		})
	}
}

// TestScriptConsumers: consumers that every cluster has need no image, and flags of one's own win.
func TestScriptConsumers(t *testing.T) {
	cmd, _ := scriptWith(t, "consumers.sh", []string{"-consumers", "service,dns", "-replay", "x", "-out", "y"}, "FAKE_CODE=3")
	out, err := cmd.Output()
	require.Error(t, err)
	assert.Equal(t, 3, cmd.ProcessState.ExitCode())
	assert.Contains(t, string(out), "go -C e2e test -count=1 -v -timeout 60m -run ^TestRollout$ "+
		"-profile consumers -out artifacts/consumers -timeout 3h -consumers service,dns -replay x -out y\n")
	assert.NotContains(t, string(out), "components")
}

// TestScriptInterrupted: Ctrl-C reaches the suite, and the script waits for what it says of it.
func TestScriptInterrupted(t *testing.T) {
	cmd, temp := script(t, "FAKE_WAIT=1", "FAKE_CODE=3")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stderr).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT), "as a terminal does")
	_ = cmd.Wait() // the code says more
	assert.Equal(t, 3, cmd.ProcessState.ExitCode())
	assertEmpty(t, temp)
}

func assertEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries, "temporary files are taken away")
}

// TestScriptApp: what is wrong with an app is said before anything is made for it; its paths are meant from where the
// caller is, and standard input is kept in a file.
func TestScriptApp(t *testing.T) {
	tests := []struct {
		name string
		args []string
		env  []string
		want []string // calls of go test, with CALLER and TEMP for folders
		code int
	}{
		{
			"paths",
			[]string{"-app", "deploy", "-app-archive=image.tar", "-context", "x"},
			[]string{"FAKE_CODE=0"},
			[]string{"-app CALLER/deploy -app-archive=CALLER/image.tar -context x -run ^$", "-run ^TestRollout$ -app CALLER/deploy -app-archive=CALLER/image.tar -context x"},
			0,
		},
		{
			"absolute paths",
			[]string{"--app=/deploy", "-context", "x"},
			[]string{"FAKE_CODE=0"},
			[]string{"--app=/deploy -context x -run ^$", "-run ^TestRollout$ --app=/deploy -context x"},
			0,
		},
		{
			"standard input",
			[]string{"-app", "-", "-context", "x"},
			[]string{"FAKE_CODE=0"},
			[]string{"-app TEMP/stdin.yaml -context x -run ^$", "-run ^TestRollout$ -app TEMP/stdin.yaml -context x"},
			0,
		},
		{"refused", []string{"-app", "deploy"}, []string{"FAKE_CODE=2"}, []string{"-app CALLER/deploy -run ^$"}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, err := filepath.Abs(filepath.Join("..", "scripts", "e2e.sh"))
			require.NoError(t, err)
			cmd, temp := scriptWith(t, "e2e.sh", tt.args, append(tt.env, "FAKE_CAT=1")...)
			caller := t.TempDir()
			cmd.Path, cmd.Dir, cmd.Stdin = path, caller, strings.NewReader("kind: List\n")
			out, _ := cmd.Output() // the code says more
			assert.Equal(t, tt.code, cmd.ProcessState.ExitCode())
			said := strings.NewReplacer(caller, "CALLER").Replace(string(out))
			said = regexp.MustCompile(regexp.QuoteMeta(temp)+`/[^/ ]+`).ReplaceAllString(said, "TEMP")
			var calls []string
			for line := range strings.Lines(said) {
				if call, ok := strings.CutPrefix(line, "go -C e2e test -count=1 -v -timeout 60m "); ok {
					calls = append(calls, strings.TrimSpace(call))
				}
			}
			assert.Equal(t, tt.want, calls)
			assert.Equal(t, strings.Contains(strings.Join(tt.args, " "), " - "), strings.Contains(said, "kept: kind: List"))
			assertEmpty(t, temp)
		})
	}
}
