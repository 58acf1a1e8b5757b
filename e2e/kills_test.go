package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/suite"
)

// killSeed gives the instants of the kills.
const killSeed = 11

// TestKills kills runs at random instants, their cluster's creation included: the suite's process,
// go test, or both with all that is in their group. Within a minute nothing of them is left, and
// what belongs to others is as it was. After every fourth a run is started at once, and passes.
// -repeat says how many, if more than one.
func TestKills(t *testing.T) {
	long(t, suite.LongKills)
	config := shared.Config
	if config.Cluster.Kubeconfig != "" {
		t.Skip("kills runs on clusters of their own")
	}
	kills := 20
	if config.Repeat > 1 {
		kills = config.Repeat
	}
	// Stands in for somebody else's kind cluster. It doesn't survive its daemon, either.
	out := docker(t, "run", "--detach", "--label", "io.x-k8s.kind.cluster=other", "--entrypoint", "sleep",
		config.Cluster.NodeImage, "infinity")
	foreign := out[len(out)-1]
	t.Cleanup(func() { docker(t, "rm", "--force", "--volumes", foreign) })
	others := func() []string {
		return docker(t, "inspect", "--format", "{{.State.Running}} {{.State.StartedAt}}", foreign)
	}
	before := others()
	random := rand.New(rand.NewPCG(killSeed, 0))
	for i := range kills {
		how := []string{"the suite", "go test", "the group"}[i%3]
		at := time.Second + time.Duration(random.Int64N(int64(89*time.Second)))
		t.Run(fmt.Sprintf("%d: %s after %s", i+1, how, at.Round(100*time.Millisecond)), func(t *testing.T) {
			dir := filepath.Join(config.Out, "kills", strconv.Itoa(i+1))
			run := startRun(t, dir)
			run.kill(t, how, at)
			killed := time.Now()
			if i%4 == 3 {
				next := startRun(t, filepath.Join(dir, "next"))
				err := next.Wait()
				t.Logf("the next run: %s: %v", next.last(t), err)
				assert.NoError(t, err) // whatever it came to, nothing may be left
			}
			requireNothing(t, killed.Add(time.Minute))
			t.Logf("seed %d: killed in %q; nothing was left %s later", killSeed, run.last(t), time.Since(killed).Round(time.Second))
			assert.Equal(t, before, others(), "what isn't ours is as it was")
		})
	}
}

// docker returns the lines that a docker command prints.
func docker(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "docker", args...).Output()
	require.NoError(t, err, args)
	return strings.Fields(string(out))
}

// requireNothing waits until nothing of a run is left: no lock that somebody holds, and no container.
func requireNothing(t *testing.T, until time.Time) {
	t.Helper()
	dir, err := os.UserCacheDir()
	require.NoError(t, err)
	lock, err := os.Open(filepath.Join(dir, "zerodrop", "cluster.lock"))
	require.NoError(t, err)
	defer lock.Close()
	free := func() bool { return syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil }
	require.Eventually(t, free, max(time.Second, time.Until(until)), 100*time.Millisecond, "something holds the cluster's lock")
	for _, label := range []string{"io.x-k8s.kind.cluster=zerodrop", "dev.zerodrop.container"} {
		assert.Empty(t, docker(t, "ps", "--all", "--quiet", "--filter", "label="+label))
	}
}

// killable is a run in a process group of its own, by go test.
type killable struct {
	*exec.Cmd
	log   string
	suite int // the process of the test binary
}

func startRun(t *testing.T, dir string) killable {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	log, err := os.Create(filepath.Join(dir, "go-test.log"))
	require.NoError(t, err)
	defer log.Close()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-run=^TestRollout$",
		"-strategies=prestop-sleep", "-disruptions=rolling-update", "-lanes=service/new,nodeport/new", "-rate=25",
		"-node-image="+shared.Config.Cluster.NodeImage, "-out="+dir)
	cmd.Env = append(os.Environ(), "ZERODROP_EXIT_CODE=", "GITHUB_STEP_SUMMARY=")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	run := killable{Cmd: cmd, log: log.Name()}
	require.Eventually(t, func() bool {
		out, err := exec.CommandContext(t.Context(), "pgrep", "--parent", strconv.Itoa(cmd.Process.Pid), "--exact", "e2e.test").Output()
		if err != nil {
			return false
		}
		run.suite, err = strconv.Atoi(strings.TrimSpace(string(out)))
		return err == nil
	}, 5*time.Minute, 100*time.Millisecond, "go test has to compile the suite")
	return run
}

// kill kills what is named at an instant after the suite's start, and waits for go test to end.
func (r killable) kill(t *testing.T, what string, at time.Duration) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- r.Wait() }()
	select {
	case <-time.After(at):
	case <-ended:
		require.FailNow(t, "the run was over before it was killed", r.last(t))
	}
	pid := map[string]int{"the suite": r.suite, "go test": r.Process.Pid, "the group": -r.Process.Pid}[what]
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	var exit *exec.ExitError
	require.ErrorAs(t, <-ended, &exit)
}

// last is the last line of progress that a run has told.
func (r killable) last(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(r.log)
	require.NoError(t, err)
	lines := regexp.MustCompile(`(?m)^\[.*$`).FindAllString(string(raw), -1)
	if len(lines) == 0 {
		return "nothing was told yet"
	}
	return lines[len(lines)-1]
}
