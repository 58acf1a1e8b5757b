package suite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/cluster"
	"github.com/zerodrop/zerodrop/e2e/internal/harness"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Runs are those that the flags ask for, in the order in which they are made: runs that can share a
// cluster follow each other, and of those the ones of a group of consumers. A strategy or disruption
// that is not for the cluster at hand is an error if it is named, and is not run if it is of the
// profile.
func (s *Suite) Runs() ([]scenarios.Run, error) {
	switch {
	case s.Config.Cluster.Live != nil:
		scenario, err := s.liveScenario()
		return scenarios.Interleave([]scenarios.Scenario{scenario}, 1), err
	case s.app != nil:
		list, err := s.appScenarios()
		return scenarios.Interleave(list, s.Config.Repeat), err
	case s.Config.Profile == scenarios.ServersProfile:
		list, err := s.serverScenarios()
		return groupRuns(scenarios.Interleave(list, s.Config.Repeat)), err
	}
	list, err := s.catalogue.Select(s.selection())
	if err != nil {
		return nil, err
	}
	if s.notRun, err = s.catalogue.NotRun(s.selection()); err != nil {
		return nil, err
	}
	if list, err = s.allowed(list); err != nil {
		return nil, err
	}
	return groupRuns(scenarios.Interleave(list, s.Config.Repeat)), nil
}

// allowed are the scenarios that the cluster at hand is for. The undisturbed control of a group isn't made
// for itself alone.
func (s *Suite) allowed(list []scenarios.Scenario) ([]scenarios.Scenario, error) {
	var out []scenarios.Scenario
	refused, disturbed := map[string]bool{}, map[string]bool{} // groups in which a scenario is
	for _, scenario := range list {
		switch err := scenario.Allowed(s.Config.Cluster.Kubeconfig == ""); {
		case err == nil:
			out = append(out, scenario)
			disturbed[scenario.Group] = disturbed[scenario.Group] || !undisturbed(scenario)
		case slices.Contains(s.Config.Disruptions, scenario.Disruption.Name),
			slices.Contains(s.Config.Strategies, scenario.Strategy.Name):
			return nil, err
		default:
			refused[scenario.Group] = true
			cell := scenarios.NotRun{
				Strategy: scenario.Strategy.Name, Disruption: scenario.Disruption.Name, Why: err.Error(),
			}
			if !slices.Contains(s.notRun, cell) { // it may be of several groups
				s.notRun = append(s.notRun, cell)
			}
		}
	}
	return slices.DeleteFunc(out, func(of scenarios.Scenario) bool {
		return undisturbed(of) && refused[of.Group] && !disturbed[of.Group]
	}), nil
}

// undisturbed says whether a scenario is the control in which nothing happens.
func undisturbed(s scenarios.Scenario) bool {
	return s.Control && s.Disruption.Scope == scenarios.ScopeNone
}

// selection is what the flags select.
func (s *Suite) selection() scenarios.Selection {
	c := s.Config
	night := c.Night
	if night.IsZero() {
		night = s.started
	}
	return scenarios.Selection{
		Profile: c.Profile, Strategies: c.Strategies, Disruptions: c.Disruptions, Lanes: c.Lanes, Consumers: c.Consumers,
		Rate: c.Rate, Clients: c.Clients, Delay: c.Delay, MinSync: c.Cluster.ProxyMinSync, Night: night,
		TaskLength: c.TaskLength,
		OneProxy:   c.Cluster.ProxyMode != "" || c.Cluster.Kubeconfig != "",
	}
}

const (
	// clusterTakes is how long a kind cluster takes until a run can begin.
	clusterTakes = 50 * time.Second
	// componentTakes is the same of a component: its image is loaded, and it gets ready.
	componentTakes = 20 * time.Second
	// replicaTakes is what each Pod more than the usual adds to a run: one after the other it is made,
	// gets ready and is replaced.
	replicaTakes = 5 * time.Second
	// usualReplicas are those that runOverhead is of.
	usualReplicas = 3
)

// Announce says how many runs are to be made, and about how long they take: on two CPUs, the 11 of
// profile quick took 6 to 7 minutes, and 27 of profile full 16 min 40 s.
func (s *Suite) Announce(runs []scenarios.Run) {
	left := runs
	if s.Config.Resume {
		left = slices.DeleteFunc(slices.Clone(runs), func(run scenarios.Run) bool { return isStored(s.dir(run)) })
	}
	takes, more := s.estimate(left), ""
	if s.Config.Cluster.Live != nil {
		s.tellPlan(runs[0])
		return
	}
	if s.app != nil {
		takes += followUps * runOverhead
		more = fmt.Sprintf(" and up to %d by what these measure", followUps)
	}
	line := fmt.Sprintf("%d runs%s, about %.0f min", len(left), more, max(1, takes.Minutes()))
	if n := len(runs) - len(left); n > 0 {
		line += fmt.Sprintf("; %d more are stored", n)
	}
	if n := len(s.notRun); n > 0 {
		line += fmt.Sprintf("; %d more are not run, and the report says why", n)
	}
	s.progress.line("%s", line)
}

func (s *Suite) estimate(runs []scenarios.Run) (d time.Duration) {
	type component struct{ cluster, name string }
	clusters, components := map[string]bool{}, map[component]bool{}
	for _, run := range runs {
		key := run.Needs().Key()
		clusters[key] = s.Config.Cluster.Kubeconfig == ""
		for _, c := range run.Consumers() {
			components[component{key, c.Component}] = c.Component != ""
		}
		if run.Own != nil {
			for _, image := range run.Own.Images {
				components[component{key, image}] = true
			}
		}
		d += runOverhead + run.Strategy.ServesFor() + run.Disruption.Takes
		d += time.Duration(max(0, run.Replicas()-usualReplicas)) * replicaTakes
		if tasks := run.Tasks(); tasks != nil { // of the Pods that go, and those that are done anew
			d += tasks.Length + tasks.Again()
		}
	}
	for _, made := range clusters {
		if made {
			d += clusterTakes
		}
	}
	for _, made := range components {
		if made {
			d += componentTakes
		}
	}
	return d
}

// groupRuns puts runs with the same needs of the cluster together, and of those the runs of a group
// of consumers, each in the order of the first. Those that take a node are the last of their cluster.
func groupRuns(runs []scenarios.Run) []scenarios.Run {
	first := func(of func(scenarios.Run) string) func(scenarios.Run) int {
		index := map[string]int{}
		for i, run := range runs {
			if _, known := index[of(run)]; !known {
				index[of(run)] = i
			}
		}
		return func(run scenarios.Run) int { return index[of(run)] }
	}
	needs := first(func(run scenarios.Run) string { return run.Needs().Key() })
	group := first(func(run scenarios.Run) string { return run.Group })
	last := func(run scenarios.Run) int { // a node that doesn't come back costs the cluster
		if run.Disruption.TakesNode {
			return 1
		}
		return 0
	}
	return slices.SortedStableFunc(slices.Values(runs), func(a, b scenarios.Run) int {
		return cmp.Or(
			cmp.Compare(needs(a), needs(b)), cmp.Compare(last(a), last(b)), cmp.Compare(group(a), group(b)),
		)
	})
}

// Measure makes a run, the i-th of n, and puts its verdict on record. With -resume, one that is
// stored is not made again.
func (s *Suite) Measure(ctx context.Context, r Reporter, run scenarios.Run, i, n int) verdict.Verdict {
	if s.Config.Resume {
		if v, ok := s.takeOver(r, run, i, n); ok {
			return v
		}
		if err := s.setAside(run); err != nil {
			r.Errorf("move away what is left of a run: %s", err)
		}
	}
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
	if cut, err := timeline.Load(dir + firstAttempt); s.Config.Resume && err == nil { // its second attempt was cut off
		return attempt(verdict.Judge(cut).RetryReasons())
	}
	v := attempt(nil)
	if !v.MachineBusy || s.ctx.Err() != nil || s.Config.Cluster.Live != nil { // what runs is restarted once
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
	var environment timeline.Environment // of the cluster, once there is one: reports keep modes of kube-proxy apart
	failed := func(err error) timeline.Timeline {
		tl := harness.Failed(run, began, err)
		tl.Environment = environment
		return interrupted(tl, context.Cause(ctx))
	}
	c, err := s.openCluster(ctx, run.Needs())
	if err != nil {
		return failed(err)
	}
	environment = s.environment
	if err := run.Allowed(c.Ours()); err != nil {
		return failed(err)
	}
	needs := path.Join(run.Group, run.Disruption.Workload) // whose components it needs
	if run.Own != nil {
		needs = path.Join(needs, run.Own.Workload.Name)
	}
	if err := s.broken[needs]; err != nil {
		return failed(fmt.Errorf("not tried again: %w", err))
	}
	c.SetClockSkew(s.Config.Cluster.ClockSkew)
	c.SetComponentArgs(s.Config.Cluster.ComponentArgs)
	c.SetComponentEnv(s.Config.Cluster.ComponentEnv)
	began = time.Now()
	progress.phase("deploy")
	app, err := c.Deploy(ctx, run.Scenario, dir)
	if err != nil {
		s.noteBroken(needs, run, err)
		return failed(err)
	}
	deployed := time.Since(began)
	options := harness.Defaults
	options.Limit, options.Phase = harness.LimitFor(run, app.Replicas()), progress.phase
	tl := harness.Run(ctx, app, run, options)
	if err := app.Close(context.WithoutCancel(ctx)); err != nil {
		progress.line("%s", err) // the load is over, by its own bound at the latest
	}
	tl.Window.Overhead += deployed
	return interrupted(tl, context.Cause(ctx))
}

// noteBroken remembers that a component, which all runs of a group on a workload need, can't be had on
// this cluster: its image is missing, or it didn't get ready in its time; or that people's own app can't be
// had as it is. The others then don't wait for it as well.
func (s *Suite) noteBroken(needs string, run scenarios.Run, err error) {
	theirs := run.Own != nil && run.Change == ""
	if s.ctx.Err() == nil && (theirs || errors.Is(err, cluster.ErrComponent)) {
		s.broken[needs] = err
	}
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
