// Package e2e is the suite: go test ./e2e brings a kind cluster up, deploys the sample app under
// several shutdown strategies, drives constant load while its Pods are replaced, and reports which
// requests were dropped. What the tests share is in package suite.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/cluster"
	"github.com/zerodrop/zerodrop/e2e/internal/suite"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
)

// shared is the suite of this process. Tests can only share state through a variable of the
// package.
var shared *suite.Suite

func TestMain(m *testing.M) {
	if slices.Equal(os.Args[1:], []string{cluster.ReapArgument}) {
		os.Exit(cluster.Reap()) // this process is none of go test's: see cluster/reap.go
	}
	os.Exit(suite.WriteExitCode(run(m)))
}

// run runs the tests and says what to exit with.
func run(m *testing.M) int {
	var config suite.Config
	config.Register(flag.CommandLine)
	flag.CommandLine.Init(os.Args[0], flag.ContinueOnError)
	if err := flag.CommandLine.Parse(os.Args[1:]); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if err := config.Validate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	program, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	config.Cluster.Reaper = []string{program, cluster.ReapArgument}
	config.Terminal = !testing.Verbose() && !testing.Short()
	if !testing.Short() && config.Replay == "" {
		restore, _ := traffic.Prioritize() // at best: if requests leave late without it, the verdict says so
		defer restore()
	}
	// A go test that was killed reads no more. What is said to it is lost, and the suite goes on to
	// take everything away.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	parent, orphaned := suite.WithParent(context.Background())
	defer orphaned()
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process as it would any other
	if shared, err = suite.New(ctx, config); errors.Is(err, suite.ErrConfig) {
		fmt.Fprintln(os.Stderr, err)
		return 2
	} else if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return shared.Finish(m.Run())
}

// long skips a test that takes long, or breaks things on purpose, unless the flag -long names it.
func long(t *testing.T, name suite.Long) {
	t.Helper()
	if testing.Short() || !shared.Config.Runs(name) {
		t.Skipf("runs only if it is named: -run '^%s$' -long %s", t.Name(), name)
	}
	require.NoError(t, shared.PrepareArtifacts())
}

// testContext is the context of a test, which ends when the time of go test -timeout is over.
func testContext(t *testing.T) context.Context {
	t.Helper()
	deadline, ok := t.Deadline()
	if !ok {
		return t.Context()
	}
	ctx, cancel := context.WithDeadline(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}
