// Package suite is what the tests of one process share: its flags, its cluster, its folder of
// artifacts, the verdicts on record and what becomes of them. The tests themselves say only what is
// run.
//
// A run is deployed, recorded and saved (run.go), or read from a folder (replay.go, resume.go); then
// it is judged, drawn and put on record, and every report is written again (record.go). What an earlier
// suite has left is moved aside first (artifacts.go). SafeDelay is a procedure of several runs
// (safedelay.go), and so is what is made of people's own app (own.go).
package suite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/cluster"
	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/userapp"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Suite is the state of a process under a configuration. Only one test at a time may use it.
type Suite struct {
	Config Config
	*state
}

// state is what the suite has by now. Suites that With has made of one another share it.
type state struct {
	ctx       context.Context // ends when somebody wants the process to end
	unhook    func() bool     // from then on, the end of ctx is nothing to tell of
	ending    context.Context // ends with ctx, and when end is called as all runs are made
	end       context.CancelFunc
	catalogue scenarios.Catalogue
	progress  *progress
	started   time.Time
	measured  time.Time // start of the earliest of the stored runs that are judged again

	cluster     *cluster.Cluster // nil until a run needs one
	clusterKey  string           // what the cluster was made for
	clusterErr  error
	clusterTook time.Duration // to bring up, all clusters together
	clusters    int           // brought up so far
	failed      bool          // a run on the present cluster did not pass: its logs are worth keeping
	// broken are the groups of consumers, each with the workload, that can't be measured on the present
	// cluster, as one of their components can't be had.
	broken  map[string]error
	kindLog *os.File

	environment timeline.Environment
	verdicts    []verdict.Verdict
	folders     []string           // of the verdicts, in their order; empty for a run that has none
	safeDelays  []report.SafeDelay // that were measured
	attempts    map[string]int     // by folder: runs of a series
	notRun      []scenarios.NotRun // what the flags' selection leaves out
	app         *userapp.App       // people's own; nil for the sample app
}

// New makes the suite of a process. Its runs end when ctx does; what was measured by then is kept.
func New(ctx context.Context, config Config) (*Suite, error) {
	catalogue, err := scenarios.NewCatalogue()
	if err != nil {
		return nil, err
	}
	app, err := readApp(ctx, config)
	if err != nil {
		return nil, err
	}
	ending, end := context.WithCancel(ctx)
	s := &Suite{config, &state{
		ctx: ctx, ending: ending, end: end, catalogue: catalogue, progress: newProgress(config.Terminal), started: time.Now(),
		attempts: map[string]int{}, broken: map[string]error{}, app: app,
	}}
	s.tellApp()
	s.unhook = context.AfterFunc(ctx, func() {
		after := "the cluster is taken away (also after a second Ctrl-C, which ends the rest at once)"
		if config.Cluster.Keep {
			after = "the cluster stays"
		}
		s.progress.line("stopping: what was measured is kept, %s", after)
	})
	return s, nil
}

// WithParent is a context that also ends, within a fifth of a second, when the parent of this
// process is gone: a go test that is killed alone takes nothing of its test binary with it.
func WithParent(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	parent := os.Getppid()
	go func() {
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for os.Getppid() == parent {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
		cancel()
	}()
	return ctx, cancel
}

// With is the suite under a configuration that differs, for some of its runs: in the folder of the
// artifacts, in the settings of the cluster. Cluster and record are the same.
func (s *Suite) With(change func(*Config)) *Suite {
	out := &Suite{s.Config, s.state}
	change(&out.Config)
	return out
}

// Verdicts are those on record.
func (s *Suite) Verdicts() []verdict.Verdict { return s.verdicts }

// Find is the scenario of a strategy and a disruption, at the suite's rate and with all lanes.
func (s *Suite) Find(strategy, disruption string) (scenarios.Scenario, error) {
	return s.catalogue.Find(strategy, disruption, s.Config.Rate)
}

// FindIn is Find with the consumers of a group; false if the catalogue has none of that name.
func (s *Suite) FindIn(group, strategy, disruption string) (scenarios.Scenario, bool, error) {
	groups, err := s.catalogue.Groups(nil, s.Config.Rate)
	if err != nil {
		return scenarios.Scenario{}, false, err
	}
	for _, g := range groups {
		if g.Name == group {
			scenario, err := s.catalogue.In(g, strategy, disruption)
			return scenario, true, err
		}
	}
	return scenarios.Scenario{}, false, nil
}

// openCluster returns a cluster that runs with the given needs can share: the present one if it is
// of that kind and no disruption has left something on it, else another in its place. A run that comes
// after a failure gets the same error.
func (s *Suite) openCluster(ctx context.Context, needs scenarios.Needs) (*cluster.Cluster, error) {
	key := s.key(needs)
	if s.cluster != nil && s.clusterKey == key && s.cluster.Whole() {
		return s.cluster, s.clusterErr
	}
	if err := s.closeCluster(ctx); err != nil {
		return nil, fmt.Errorf("take away the cluster before: %w", err)
	}
	began := time.Now()
	config := s.Config.Cluster
	config.Needs, config.Step, config.Log, config.Ending = needs, s.progress.step, s.kindLog, s.ending
	s.failed = false // what was taken over says nothing about this one
	s.cluster, s.clusterErr = cluster.Open(ctx, config)
	s.clusterKey, s.clusters, s.clusterTook = key, s.clusters+1, s.clusterTook+time.Since(began)
	if s.clusterErr == nil {
		s.environment = s.cluster.Environment()
		if s.Config.Cluster.Live == nil {
			s.progress.line("cluster ready after %s: Kubernetes %s, %d nodes",
				seconds(time.Since(began)), s.environment.Kubernetes, s.environment.Nodes)
		}
	}
	return s.cluster, s.clusterErr
}

// key tells clusters apart that are not made alike.
func (s *Suite) key(needs scenarios.Needs) string {
	return fmt.Sprintf("%s\nminSyncPeriod %s", needs.Key(), s.Config.Cluster.ProxyMinSync)
}

// closeCluster takes the cluster away, after its logs were saved if something went wrong on it.
// Without a cluster it does nothing.
func (s *Suite) closeCluster(ctx context.Context) error {
	if s.cluster == nil {
		return nil
	}
	if (s.failed || s.clusterErr != nil) && s.ctx.Err() == nil { // who stops a run wants it to end
		s.progress.step("collect the cluster's logs")
		dir := filepath.Join(s.Config.Out, clusterLogsDir)
		if s.clusters > 1 {
			dir += fmt.Sprintf("-%d", s.clusters)
		}
		// What can't be collected of a broken cluster is no reason to keep the rest from being
		// reported.
		if err := s.cluster.CollectLogs(dir); err != nil {
			s.progress.line("not all logs could be collected: %s", err)
		}
	}
	if s.Config.Cluster.Keep && s.clusterErr == nil && s.cluster.Kubeconfig() != "" && s.cluster.Whole() {
		s.progress.line("the cluster is kept: KUBECONFIG=%s", s.cluster.Kubeconfig())
	} else {
		s.progress.step("take everything away again")
	}
	err := s.cluster.Close(ctx)
	s.cluster, s.clusterErr, s.failed = nil, nil, false
	clear(s.broken)
	return err
}

// cleanUp is the time that is left for taking the cluster away when the time of go test -timeout is
// nearly over.
const cleanUp = time.Minute

// What ends a run before its time.
var (
	errTime    = errors.New("the time of go test -timeout is nearly over: give more, as in -timeout 60m")
	errStopped = errors.New("stopped by a signal")
)

// context is the context of a run, of that of its test. It ends early enough for everything to be
// taken away in time. An error says that there is no point in beginning.
func (s *Suite) context(ctx context.Context) (context.Context, context.CancelFunc, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(errStopped) })
	release := func() { stop(); cancel(nil) }
	if s.ctx.Err() != nil {
		cancel(errStopped)
	}
	if deadline, ok := ctx.Deadline(); ok {
		timed, cancelTimed := context.WithDeadlineCause(ctx, deadline.Add(-cleanUp), errTime)
		ctx, release = timed, func() { cancelTimed(); stop(); cancel(nil) }
	}
	if ctx.Err() != nil {
		defer release()
		return nil, nil, fmt.Errorf("not run: %w", context.Cause(ctx))
	}
	return ctx, release, nil
}

// Finish takes the cluster away, writes and shows the reports, and says what the process is to exit
// with; tests is what the tests themselves came to.
func (s *Suite) Finish(tests int) int {
	outcome, err := s.finish()
	s.unhook()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return exitCode(tests, outcome, err)
}

// finish says how the suite came out; nil if there was no run. What isn't a pass is an error as
// well, whatever the tests say.
func (s *Suite) finish() (*verdict.Outcome, error) {
	s.end()
	errs := []error{s.closeCluster(s.ctx)}
	if s.kindLog != nil {
		errs = append(errs, s.kindLog.Close())
	}
	if len(s.verdicts) == 0 {
		return nil, errors.Join(errs...)
	}
	errs = append(errs, s.write(), s.publish())
	outcome := s.outcome()
	if outcome != verdict.Pass {
		errs = append(errs, fmt.Errorf("the suite's outcome is %s", outcome))
	}
	return &outcome, errors.Join(errs...)
}

// outcome is that of all runs, and of what was to be found out by them: runs that all pass may
// still recommend nothing.
func (s *Suite) outcome() verdict.Outcome {
	out := s.report().Suite.Outcome
	for _, d := range s.safeDelays {
		if d.Outcome.Outranks(out) {
			out = d.Outcome
		}
	}
	return out
}

// exitCode is that of the suite's outcome (0 pass, 1 fail, 3 inconclusive, 4 infrastructure), which
// says more than the tests' own. A test that failed for a reason of its own, or a report that could
// not be written, is 1 where the suite has passed or has no outcome.
func exitCode(tests int, outcome *verdict.Outcome, err error) int {
	code := tests
	if outcome != nil {
		code = cmp.Or(outcome.ExitCode(), code)
	}
	if err != nil {
		code = cmp.Or(code, 1)
	}
	return code
}

// exitCodeFile names a file that is to hold the exit code. go test exits with 1 whatever the test
// binary has exited with: scripts/e2e.sh hands the code on. It is no flag, so that flags that can't
// be read are told, too.
const exitCodeFile = "ZERODROP_EXIT_CODE"

// WriteExitCode writes the exit code where somebody asked for it, and returns it.
func WriteExitCode(code int) int {
	file := os.Getenv(exitCodeFile)
	if file == "" {
		return code
	}
	if err := os.WriteFile(file, fmt.Appendln(nil, code), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, fmt.Errorf("write the exit code: %w", err))
		return cmp.Or(code, 1)
	}
	return code
}
