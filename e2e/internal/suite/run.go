package suite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/harness"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Runs are those that the flags ask for, in the order in which they are made: runs that can share a
// cluster follow each other. A disruption that is not for the cluster at hand is an error.
func (s *Suite) Runs() ([]scenarios.Run, error) {
	c := s.Config
	list, err := s.catalogue.Select(scenarios.Selection{
		Profile: c.Profile, Strategies: c.Strategies, Disruptions: c.Disruptions, Lanes: c.Lanes,
		Rate: c.Rate, Delay: c.Delay,
	})
	if err != nil {
		return nil, err
	}
	for _, scenario := range list {
		if err := scenario.Disruption.Allowed(c.Cluster.Kubeconfig == ""); err != nil {
			return nil, err
		}
	}
	return groupByNeeds(scenarios.Interleave(list, c.Repeat)), nil
}

// clusterTakes is how long a kind cluster takes until a run can begin.
const clusterTakes = 50 * time.Second

// Announce says how many runs are to be made, and about how long they take: on two CPUs, the 11 of
// profile quick took 6 to 7 minutes, and the 27 of profile full 16 min 40 s.
func (s *Suite) Announce(runs []scenarios.Run) {
	s.progress.line("%d runs, about %.0f min", len(runs), max(1, s.estimate(runs).Minutes()))
}

func (s *Suite) estimate(runs []scenarios.Run) (d time.Duration) {
	clusters := map[string]bool{}
	for _, run := range runs {
		clusters[run.Disruption.Needs.Key()] = s.Config.Cluster.Kubeconfig == ""
		d += runOverhead + run.Strategy.ServesFor()
	}
	for _, made := range clusters {
		if made {
			d += clusterTakes
		}
	}
	return d
}

// groupByNeeds puts runs with the same needs of the cluster together, in the order of the first of
// each.
func groupByNeeds(runs []scenarios.Run) []scenarios.Run {
	first := map[string]int{}
	for i, run := range runs {
		if _, known := first[run.Disruption.Needs.Key()]; !known {
			first[run.Disruption.Needs.Key()] = i
		}
	}
	return slices.SortedStableFunc(slices.Values(runs), func(a, b scenarios.Run) int {
		return cmp.Compare(first[a.Disruption.Needs.Key()], first[b.Disruption.Needs.Key()])
	})
}

// Measure makes a run, the i-th of n, and puts its verdict on record.
func (s *Suite) Measure(ctx context.Context, r Reporter, run scenarios.Run, i, n int) verdict.Verdict {
	v, dir := s.Attempt(ctx, r, run, i, n)
	s.record(r, v, dir)
	return v
}

// firstAttempt ends the name of the folder of a run that was made again.
const firstAttempt = "-first-attempt"

// Attempt makes a run, saves it in a folder, judges it and draws it. The verdict is not on record
// yet.
//
// A run that is inconclusive for the machine's sake alone is made again, once: a machine may be busy
// for a moment, but a test that goes on until it likes what it sees is none. A run that failed is
// never made again. What there is of the first attempt stays beside the run's folder, and why it was
// one, and what it dropped against a promise, is part of the run's timeline.
func (s *Suite) Attempt(
	ctx context.Context, r Reporter, run scenarios.Run, i, n int,
) (v verdict.Verdict, dir string) {
	progress, dir := s.progress.run(i, n, run), s.dir(run)
	return s.repeatOnce(r, dir, progress, func() timeline.Timeline { return s.run(ctx, run, dir, progress) }), dir
}

// repeatOnce is Attempt, apart from how a run is made.
func (s *Suite) repeatOnce(r Reporter, dir string, progress runProgress, run func() timeline.Timeline) verdict.Verdict {
	attempt := func(retry []string) verdict.Verdict {
		tl := run()
		tl.Retry = retry
		if err := timeline.Save(dir, tl); err != nil { // a full disk, say: the verdict says so
			tl.Errors = append(tl.Errors, err.Error())
		}
		v := verdict.Judge(tl)
		if err := draw(v, tl, dir); err != nil {
			r.Errorf("%s", err) // the verdict stands without
		}
		progress.done(v)
		return v
	}
	v := attempt(nil)
	if !v.MachineBusy || s.ctx.Err() != nil {
		return v
	}
	why := v.RetryReasons()
	progress.line("the machine was busy, the run is made again: %s", strings.Join(why, "; "))
	if err := errors.Join(os.RemoveAll(dir+firstAttempt), os.Rename(dir, dir+firstAttempt)); err != nil {
		r.Errorf("keep the first attempt: %s", err)
	}
	return attempt(why)
}

// run deploys the app and runs the scenario against it. A run that can't even begin has a timeline,
// too: with an error, or interrupted if somebody wanted it to end. No verdict passes over either.
func (s *Suite) run(ctx context.Context, run scenarios.Run, dir string, progress runProgress) timeline.Timeline {
	began := time.Now()
	ctx, release, err := s.context(ctx)
	if err != nil {
		return interrupted(harness.Failed(run, began, err), err)
	}
	defer release()
	failed := func(err error) timeline.Timeline {
		return interrupted(harness.Failed(run, began, err), context.Cause(ctx))
	}
	c, err := s.openCluster(ctx, run.Disruption.Needs)
	if err != nil {
		return failed(err)
	}
	if err := run.Disruption.Allowed(c.Ours()); err != nil {
		return failed(err)
	}
	c.SetClockSkew(s.Config.Cluster.ClockSkew)
	began = time.Now()
	progress.phase("deploy")
	app, err := c.Deploy(ctx, run.Scenario, dir)
	if err != nil {
		return failed(err)
	}
	deployed := time.Since(began)
	options := harness.Defaults
	options.Phase = progress.phase
	tl := harness.Run(ctx, app, run, options)
	if err := app.Close(context.WithoutCancel(ctx)); err != nil {
		progress.line("%s", err) // the load is over, by its own bound at the latest
	}
	tl.Window.Overhead += deployed
	return interrupted(tl, context.Cause(ctx))
}

// interrupted is the timeline of a run that was to end before its time because of why: by a signal,
// or as the time of go test was over. What failed then failed because of it: nothing broke down,
// and the errors are dropped. A run without any was complete by then, and is left as it is.
func interrupted(tl timeline.Timeline, why error) timeline.Timeline {
	if len(tl.Errors) > 0 && (errors.Is(why, errStopped) || errors.Is(why, errTime)) {
		tl.Interrupted, tl.Errors = why.Error(), nil
	}
	return tl
}

// Series makes n runs of a scenario by attempt and puts their verdicts on record. One that is not
// conclusive is the last.
func (s *Suite) Series(
	r Reporter, scenario scenarios.Scenario, n int, attempt func(scenarios.Run) (v verdict.Verdict, dir string),
) []verdict.Verdict {
	var out []verdict.Verdict
	for len(out) < n {
		run := scenarios.Run{Scenario: scenario, Series: true}
		place := s.dir(run) // the same for series of the same name: none may write over another
		s.attempts[place]++
		run.Repeat = s.attempts[place]
		v, dir := attempt(run)
		s.record(r, v, dir)
		out = append(out, v)
		if !v.Conclusive() {
			break
		}
	}
	return out
}

// complaint is why runs don't all pass: what the weightiest of them says.
func complaint(runs []verdict.Verdict) string {
	worst := verdict.Verdict{Outcome: verdict.Pass}
	for _, v := range runs {
		if v.Outcome.Outranks(worst.Outcome) {
			worst = v
		}
	}
	return fmt.Sprintf("%s: %s: %s", worst.Name(), worst.Outcome, strings.Join(worst.Reasons, "; "))
}
