package suite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/cluster"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline/timelinetest"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// The tests of the suite itself need no cluster.

const (
	ms  = time.Millisecond
	sec = time.Second
)

// newTestSuite is a suite with a folder of its own that writes its progress, as plain lines, where
// the test can read it.
func newTestSuite(t *testing.T, args ...string) (*Suite, *bytes.Buffer) {
	t.Helper()
	t.Setenv("GITHUB_STEP_SUMMARY", "")
	config := parseFlags(t, append([]string{"-out=" + filepath.Join(t.TempDir(), "artifacts")}, args...)...)
	require.NoError(t, config.Validate())
	s, err := New(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { s.unhook() })
	var out bytes.Buffer
	s.progress = &progress{out: &out, began: time.Now()}
	return s, &out
}

// conclusive is the timeline of a rolling update of a valid run that dropped nothing, as was
// promised. With no-handler it is a control that has to drop something.
func conclusive(strategy string) timeline.Timeline {
	tl := timelinetest.Rollout(strategy)
	tl.Start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, l := range tl.Spec.Lanes {
		l.Held[timeline.ClassInFlight] = timeline.Promise{Expect: timeline.Clean, Source: "strategy " + strategy}
		l.Held[l.ConnectionClass()] = l.Held[timeline.ClassInFlight]
	}
	if tl.Spec.Control {
		tl.Spec.Lanes[0].Held[timeline.ClassNew] = timeline.Promise{Expect: timeline.Drops, Source: "strategy " + strategy}
	}
	return tl
}

// dropping is the same with requests of the first lane dropped during the disruption.
func dropping(strategy string, n int) timeline.Timeline {
	tl := conclusive(strategy)
	for i := range n {
		r := &tl.Lanes[0].Requests[60+i]
		r.Cause, r.Code, r.Pod, r.Conn, r.ConnUse = timeline.Refused, 0, 0, 0, 0
	}
	return tl
}

// recorder takes failures down.
type recorder struct{ errors []string }

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// TestOpenCluster: a cluster that can't be had is tried once, and taken away once.
func TestOpenCluster(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no container engine
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for name, config := range map[string]cluster.Config{"exists": {Kubeconfig: "/nonexistent", Context: "c"}, "kind": {}} {
		t.Run(name, func(t *testing.T) {
			s, out := newTestSuite(t)
			s.Config.Cluster = config
			require.NoError(t, s.PrepareArtifacts())
			_, first := s.openCluster(t.Context(), scenarios.Needs{})
			require.Error(t, first)
			_, second := s.openCluster(t.Context(), scenarios.Needs{})
			assert.Same(t, first, second, "not tried again")
			_, err := s.finish()
			require.NoError(t, err)
			assert.NotContains(t, out.String(), "cluster ready")
			assert.NotContains(t, out.String(), "could be collected")
		})
	}
}

// TestContext: a run ends when the suite is stopped or when its test's time is nearly over, and
// says which it was. What could not begin says so, too.
func TestContext(t *testing.T) {
	start := func(t *testing.T) (*Suite, context.CancelFunc) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		return &Suite{state: &state{ctx: ctx}}, cancel
	}
	t.Run("stopped", func(t *testing.T) {
		s, stop := start(t)
		ctx, release, err := s.context(t.Context())
		require.NoError(t, err)
		defer release()
		require.NoError(t, ctx.Err())
		stop()
		<-ctx.Done()
		require.ErrorIs(t, context.Cause(ctx), errStopped)
		_, _, err = s.context(t.Context())
		require.ErrorIs(t, err, errStopped)
		assert.ErrorContains(t, err, "not run: ")
	})
	t.Run("out of time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, _ := start(t)
			began := time.Now()
			timed, cancel := context.WithDeadline(t.Context(), began.Add(10*time.Minute))
			defer cancel()
			ctx, release, err := s.context(timed)
			require.NoError(t, err)
			defer release()
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), errTime)
			assert.Equal(t, 9*time.Minute, time.Since(began), "a minute is left for taking everything away")
			_, _, err = s.context(timed)
			require.ErrorIs(t, err, errTime)
			assert.ErrorContains(t, err, "not run: ")
		})
	})
	t.Run("no limit", func(t *testing.T) {
		s, _ := start(t)
		ctx, release, err := s.context(t.Context())
		require.NoError(t, err)
		defer release()
		_, limited := ctx.Deadline()
		assert.False(t, limited)
	})
	t.Run("ends with its test", func(t *testing.T) {
		s, _ := start(t)
		test, end := context.WithCancel(t.Context())
		ctx, release, err := s.context(test)
		require.NoError(t, err)
		defer release()
		end()
		<-ctx.Done()
		assert.ErrorIs(t, context.Cause(ctx), context.Canceled)
	})
}

// TestParentGone: who kills go test alone ends the suite, too. The test starts itself below a shell.
func TestParentGone(t *testing.T) {
	if file := os.Getenv("ZERODROP_TEST_PARENT"); file != "" {
		ctx, cancel := WithParent(t.Context())
		defer cancel()
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		<-ctx.Done()
		require.NoError(t, os.Remove(file))
		return
	}
	file := filepath.Join(t.TempDir(), "runs")
	shell := exec.CommandContext(t.Context(), "sh", "-c", `"$0" -test.run='^TestParentGone$' & wait`, os.Args[0])
	shell.Env = append(os.Environ(), "ZERODROP_TEST_PARENT="+file)
	require.NoError(t, shell.Start())
	require.Eventually(t, func() bool { return isThere(file) }, 10*sec, 10*ms)
	assert.Never(t, func() bool { return !isThere(file) }, 1500*ms, 100*ms, "it goes on while its parent lives")
	require.NoError(t, shell.Process.Kill())
	_ = shell.Wait()
	assert.Eventually(t, func() bool { return !isThere(file) }, 10*sec, 10*ms)
}

func isThere(file string) bool { _, err := os.Stat(file); return err == nil }

// TestExitCode: the suite's outcome has the say; where there is none, or it is a pass, whatever
// else went wrong.
func TestExitCode(t *testing.T) {
	pass, fail, inconclusive, infrastructure := verdict.Pass, verdict.Fail, verdict.Inconclusive, verdict.Infrastructure
	full := errors.New("write reports: disk full")
	tests := []struct {
		name    string
		tests   int
		outcome *verdict.Outcome
		err     error
		want    int
	}{
		{"nothing was run", 0, nil, nil, 0},
		{"a test failed, no run", 1, nil, nil, 1},
		{"no run, and a cluster that stays", 0, nil, full, 1},
		{"pass", 0, &pass, nil, 0},
		{"pass, and another test failed", 1, &pass, nil, 1},
		{"pass, and no report", 0, &pass, full, 1},
		{"fail", 1, &fail, full, 1},
		{"inconclusive", 1, &inconclusive, full, 3},
		{"infrastructure", 1, &infrastructure, full, 4},
		{"inconclusive as a whole, each run by itself a pass", 0, &inconclusive, nil, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, exitCode(tt.tests, tt.outcome, tt.err)) })
	}
}

// TestWriteExitCode: who wants the exit code in a file gets it there, or an exit code that says
// that it isn't.
func TestWriteExitCode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "code")
	t.Setenv(exitCodeFile, file)
	assert.Equal(t, 4, WriteExitCode(4))
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "4\n", string(raw))
	t.Setenv(exitCodeFile, t.TempDir())
	assert.Equal(t, 4, WriteExitCode(4))
	assert.Equal(t, 1, WriteExitCode(0), "what can't be told is no pass")
	t.Setenv(exitCodeFile, "")
	assert.Equal(t, 0, WriteExitCode(0))
}
