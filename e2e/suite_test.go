package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/cluster"
	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// suite is what the tests of one process share: one cluster, which is brought up when the first test needs it, and the verdicts so far.
type suite struct {
	ctx       context.Context
	settings  settings
	catalogue scenarios.Catalogue
	broken    error // why there is no catalogue
	progress  *progress
	started   time.Time

	cluster     *cluster.Cluster
	clusterErr  error
	clusterTook time.Duration
	kindLog     *os.File
	facts       timeline.Environment
	verdicts    []verdict.Verdict
	safeDelays  []report.SafeDelay // that were measured; none unless TestSafeDelay or its like was named
	folders     []string           // of the verdicts, in their order; empty for a run that has none
	failed      bool               // a test failed: the cluster's logs are worth keeping
}

func newSuite(ctx context.Context, s settings) *suite {
	out := &suite{ctx: ctx, settings: s, started: time.Now(), progress: newProgress()}
	out.catalogue, out.broken = scenarios.NewCatalogue()
	return out
}

// cleanUp is the time that is left for taking the cluster away when the time of go test -timeout is nearly over.
const cleanUp = time.Minute

// errTime is what ends a suite that is given too little time.
var errTime = errors.New("the time of go test -timeout is nearly over: give more, as in -timeout 60m")

// errStopped is what ends a suite on Ctrl-C.
var errStopped = errors.New("stopped by a signal")

// timedTest is a *testing.T but for tests.
type timedTest interface {
	testing.TB
	Deadline() (deadline time.Time, ok bool)
}

// context is the context of a test. It ends early enough for everything to be taken away in time. An error says that there is no point in beginning.
func (s *suite) context(t timedTest) (context.Context, error) {
	t.Helper()
	if s.ctx.Err() != nil {
		return nil, fmt.Errorf("not run: %w", errStopped)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := context.AfterFunc(s.ctx, func() { cancel(errStopped) })
	t.Cleanup(func() { stop(); cancel(nil) })
	if deadline, ok := t.Deadline(); ok {
		timed, release := context.WithDeadlineCause(ctx, deadline.Add(-cleanUp), errTime)
		t.Cleanup(release)
		ctx = timed
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("not run: %w", context.Cause(ctx))
	}
	return ctx, nil
}

// openCluster brings the cluster up once. A test that comes after a failure gets the same error.
func (s *suite) openCluster(ctx context.Context) (*cluster.Cluster, error) {
	if s.cluster != nil {
		return s.cluster, s.clusterErr
	}
	began := time.Now()
	config := s.settings.cluster
	config.Step, config.Log = s.progress.step, s.kindLog
	s.cluster, s.clusterErr = cluster.Open(ctx, config)
	s.clusterTook = time.Since(began)
	if s.clusterErr == nil {
		s.facts = s.cluster.Environment()
		s.progress.line("cluster ready after %s: Kubernetes %s, %d nodes", seconds(s.clusterTook), s.facts.Kubernetes, s.facts.Nodes)
	}
	return s.cluster, s.clusterErr
}

// closeCluster takes the cluster away before the suite is over: the next run brings up another. Without one it does nothing.
func (s *suite) closeCluster(ctx context.Context) error {
	if s.cluster == nil {
		return nil
	}
	s.progress.step("take the cluster away")
	err := s.cluster.Close(ctx)
	s.cluster, s.clusterErr = nil, nil
	return err
}

// previousDir keeps what the suite before has left, so that a new run neither mixes with it nor destroys it at once.
const previousDir = "previous"

// makeRoom makes the artifacts' folder and opens the log of kind in it, once. What an earlier suite has left there is moved aside, one generation deep.
func (s *suite) makeRoom() (err error) {
	if s.kindLog != nil {
		return nil
	}
	dir := s.settings.artifacts
	if err := s.moveAside(); err != nil {
		return fmt.Errorf("make room in the artifacts' folder: %w", err)
	}
	if s.kindLog, err = os.Create(filepath.Join(dir, kindLogFile)); err != nil {
		return fmt.Errorf("make the log of kind: %w", err)
	}
	return nil
}

// moveAside moves what a suite before has left into a folder beside it: its reports, its logs, and the folders of strategies. Whatever else there is stays, in
// case somebody uses a folder that they need for something else; and without a report nothing is touched.
func (s *suite) moveAside() error {
	dir := s.settings.artifacts
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "report.json")); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	previous := filepath.Join(dir, previousDir)
	if err := os.RemoveAll(previous); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if err := os.Mkdir(previous, 0o755); err != nil {
		return err
	}
	for _, entry := range entries {
		if !s.makes(entry.Name()) {
			continue
		}
		if err := os.Rename(filepath.Join(dir, entry.Name()), filepath.Join(previous, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Names in the artifacts' folder.
const (
	kindLogFile    = "kind.log"
	clusterLogsDir = "cluster-logs"
	minSyncDir     = "min-sync-" // and the period: of tests that go through several
)

// makes says whether a name in the artifacts' folder is of something that a suite makes there.
func (s *suite) makes(name string) bool {
	names := []string{kindLogFile, clusterLogsDir}
	for _, format := range report.Formats() {
		names = append(names, format.File)
	}
	for _, format := range report.SafeDelayFormats() {
		names = append(names, format.File)
	}
	if slices.Contains(names, name) || strings.HasPrefix(name, minSyncDir) {
		return true
	}
	_, err := s.catalogue.Strategy(name)
	return err == nil
}

// dir is where a run's artifacts go.
func (s *suite) dir(run scenarios.Run) string {
	dir := filepath.Join(s.settings.artifacts, run.Strategy.Name, run.Disruption.Name)
	if run.Series {
		dir = filepath.Join(dir, strconv.Itoa(run.Repeat))
	}
	return dir
}

// madeAgain is how many runs of a series may be made again because they could not be believed. A machine may be busy for a moment, but a test that goes on until
// it likes what it sees is none.
const madeAgain = 2

// series makes n runs of a scenario and puts their verdicts on record. One that can't be believed is made again (see madeAgain) and stays off the record; the
// first that is one too many, or for which the infrastructure broke down, is on it and is the last.
func (s *suite) series(t testing.TB, scenario scenarios.Scenario, n int, attempt func(scenarios.Run) (v verdict.Verdict, dir string)) []verdict.Verdict {
	t.Helper()
	var out []verdict.Verdict
	for doubted := 0; len(out) < n; {
		v, dir := attempt(scenarios.Run{Scenario: scenario, Repeat: len(out) + doubted + 1, Series: true})
		believed := v.Outcome == verdict.Pass || v.Outcome == verdict.Fail
		if v.Outcome == verdict.Inconclusive && doubted < madeAgain && s.ctx.Err() == nil {
			doubted++
			s.progress.line("not believed, and made again: %s", strings.Join(v.Reasons, "; "))
			continue
		}
		s.conclude(t, v, dir)
		out = append(out, v)
		if !believed {
			break
		}
	}
	return out
}

// picture writes what there is to see of a run into its folder, which is made if need be: its picture, and its lost requests one by one. A run that lost nothing
// has an empty list, as none is an answer.
func picture(v verdict.Verdict, tl timeline.Timeline, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write picture: %w", err)
	}
	for file, write := range map[string]func(io.Writer) error{
		report.PictureFile: func(w io.Writer) error { return report.Picture(w, v, tl) },
		report.LossesFile:  func(w io.Writer) error { return report.Losses(w, v.Losses, tl.Window.DisruptStart) },
	} {
		var out bytes.Buffer
		if err := write(&out); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), out.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write picture: %w", err)
		}
	}
	return nil
}

// pictures are where the runs' pictures are, from the artifacts' folder and with slashes, as in a link; empty where there is none.
func (s *suite) pictures() []string {
	out := make([]string, len(s.folders))
	for i, dir := range s.folders {
		file := filepath.Join(dir, report.PictureFile)
		if _, err := os.Stat(file); dir == "" || err != nil {
			continue
		}
		if path, err := filepath.Rel(s.settings.artifacts, file); err == nil {
			out[i] = filepath.ToSlash(path)
		}
	}
	return out
}

// conclude keeps a verdict, writes the reports so far, and fails the test if the run did not pass. With dir, the verdict is written there, too, and the
// reports lead to the picture that is there.
func (s *suite) conclude(t testing.TB, v verdict.Verdict, dir string) {
	t.Helper()
	s.verdicts, s.folders = append(s.verdicts, v), append(s.folders, dir)
	if dir != "" {
		raw, err := json.MarshalIndent(v, "", " ")
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "verdict.json"), append(raw, '\n'), 0o644)
		}
		if err != nil {
			t.Errorf("write verdict: %s", err)
		}
	}
	if err := s.write(); err != nil {
		t.Error(err)
	}
	if v.Outcome != verdict.Pass {
		s.failed = true
		if len(v.Reasons) == 0 {
			t.Errorf("%s, for no reason that is known", v.Outcome)
		}
		for _, reason := range v.Reasons {
			t.Errorf("%s: %s", v.Outcome, reason)
		}
	}
}

func (s *suite) report() report.Report {
	summaries := s.catalogue.Summaries()
	for _, v := range s.verdicts {
		if strategy, err := s.catalogue.Strategy(v.Strategy); err == nil {
			summaries[v.Strategy] = strategy.Summary
		}
	}
	artifacts, err := filepath.Abs(s.settings.artifacts)
	if err != nil {
		artifacts = s.settings.artifacts
	}
	return report.Report{
		Suite: verdict.JudgeSuite(s.verdicts), Cluster: s.facts, Profile: s.settings.profile, Rate: s.settings.rate, Started: s.started,
		Elapsed: time.Since(s.started), Artifacts: artifacts, Summaries: summaries, Replay: s.settings.replay != "",
		Pictures: s.pictures(),
		Phases:   []report.Phase{{Name: "cluster", Took: s.clusterTook}, {Name: "runs", Took: time.Since(s.started) - s.clusterTook}},
	}
}

// write writes every report format into the artifacts' folder.
func (s *suite) write() error {
	if err := os.MkdirAll(s.settings.artifacts, 0o755); err != nil {
		return fmt.Errorf("write reports: %w", err)
	}
	r := s.report()
	for _, format := range report.Formats() {
		var out bytes.Buffer
		if err := format.Write(&out, r); err != nil {
			return fmt.Errorf("write %s: %w", format.File, err)
		}
		if err := os.WriteFile(filepath.Join(s.settings.artifacts, format.File), out.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write reports: %w", err)
		}
	}
	return nil
}

// finish takes the cluster away, prints the report and says how the suite came out; nil if there was no run. What isn't a pass is an error as well, whatever
// the tests say.
func (s *suite) finish(ctx context.Context) (*verdict.Outcome, error) {
	var errs []error
	var outcome *verdict.Outcome
	if s.cluster != nil {
		if (s.failed || s.clusterErr != nil) && ctx.Err() == nil { // who stops a run wants it to end
			s.progress.step("collect the cluster's logs")
			// What can't be collected of a broken cluster is no reason to keep the rest from being reported.
			if err := s.cluster.CollectLogs(filepath.Join(s.settings.artifacts, clusterLogsDir)); err != nil {
				s.progress.line("not all logs could be collected: %s", err)
			}
		}
		if s.settings.cluster.Keep && s.clusterErr == nil && s.cluster.Kubeconfig() != "" {
			s.progress.line("the cluster is kept: KUBECONFIG=%s", s.cluster.Kubeconfig())
		} else {
			s.progress.step("take everything away again")
		}
		errs = append(errs, s.cluster.Close(ctx))
	}
	if s.kindLog != nil {
		errs = append(errs, s.kindLog.Close())
	}
	if len(s.verdicts) > 0 {
		errs = append(errs, s.write(), s.publish())
		suite := s.outcome()
		if outcome = &suite; suite != verdict.Pass {
			errs = append(errs, fmt.Errorf("the suite's outcome is %s", suite))
		}
	}
	return outcome, errors.Join(errs...)
}

// outcome is that of all runs, and of what was to be found out by them: runs that all pass may still recommend nothing.
func (s *suite) outcome() verdict.Outcome {
	out := s.report().Suite.Outcome
	for _, d := range s.safeDelays {
		if d.Outcome.Outranks(out) {
			out = d.Outcome
		}
	}
	return out
}

// publish shows the report: as text here, and as markdown in the summary of a GitHub job.
func (s *suite) publish() error {
	s.progress.clear()
	if err := report.Text(s.progress.out, s.report()); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	for _, d := range s.safeDelays {
		if err := report.WriteSafeDelay(s.progress.out, d); err != nil {
			return fmt.Errorf("print safe delay: %w", err)
		}
	}
	path := os.Getenv("GITHUB_STEP_SUMMARY")
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write job summary: %w", err)
	}
	err = report.Markdown(f, s.report())
	for _, d := range s.safeDelays {
		var text bytes.Buffer
		err = errors.Join(err, report.WriteSafeDelay(&text, d))
		_, wrote := fmt.Fprintf(f, "\n```text%s```\n", text.String())
		err = errors.Join(err, wrote)
	}
	return errors.Join(err, f.Close())
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
