package suite

import (
	"context"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/harness"
	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

const (
	// delayStrategy answers with Connection: close while it waits: kept-alive connections drain as
	// well, and their last request says something, too.
	delayStrategy   = "in-app-delay-close"
	preStopStrategy = "prestop-sleep"
	delayDisruption = "rolling-update"
	delayRepeats    = 3 // unless -repeat asks for more
)

// How long the procedure may take for one group of consumers. Consumers that say themselves that they
// need a longer delay than the first one measured with get more.
const (
	delayBudget     = 15 * time.Minute
	slowDelayBudget = 30 * time.Minute
	// runOverhead is what a run takes beyond lead and delay: a deployment, a rollout and a tail.
	runOverhead = 20 * time.Second
)

// SafeDelay measures how long requests of each consumer go on arriving at a Pod that is to go,
// recommends the delay that kube-proxy's ask for, proves it by running it, and puts all that on
// record. An outcome other than a pass says why. An error says that the procedure couldn't be
// followed.
func (s *Suite) SafeDelay(ctx context.Context, r Reporter) (report.SafeDelay, error) {
	return s.safeDelay(ctx, r, false)
}

// ProxyDelay is SafeDelay of kube-proxy's consumers alone, and without the proof.
func (s *Suite) ProxyDelay(ctx context.Context, r Reporter) (report.SafeDelay, error) {
	return s.safeDelay(ctx, r, true)
}

func (s *Suite) safeDelay(ctx context.Context, r Reporter, proxyOnly bool) (report.SafeDelay, error) {
	d, err := s.newDelayTrial(ctx, r, proxyOnly)
	if err != nil {
		return report.SafeDelay{}, err
	}
	return d.follow()
}

// longDelay is one that traffic ends well before, so that its end can be seen. kube-proxy lets a
// change of endpoints wait for its least sync period at most; what it takes by itself is a second
// or two.
func longDelay(own, minSync time.Duration) time.Duration {
	if minSync <= 5*time.Second {
		return own
	}
	return minSync*3/2 + 10*time.Second
}

// delayTrial is the procedure of SafeDelay, apart from how a run is made.
type delayTrial struct {
	suite   *Suite
	r       Reporter
	repeats int
	attempt func(run scenarios.Run, i, n int) (v verdict.Verdict, dir string)

	// groups are the strategy at its own delay, with the lanes of each group that is measured: the one
	// of proved first.
	groups []scenarios.Scenario
	proved scenarios.Scenario // of the first, the lanes of the consumers that the recommendation is for
	proves bool               // and doesn't only measure
	began  time.Time

	made, total int // runs, for the progress
}

func (s *Suite) newDelayTrial(ctx context.Context, r Reporter, proxyOnly bool) (*delayTrial, error) {
	d := &delayTrial{
		suite: s, r: r, repeats: delayRepeats, proves: !proxyOnly, began: time.Now(),
		attempt: func(run scenarios.Run, i, n int) (verdict.Verdict, string) { return s.Attempt(ctx, r, run, i, n) },
	}
	if s.Config.Repeat > 1 {
		d.repeats = s.Config.Repeat
	}
	groups, err := s.catalogue.Selected(s.selection())
	if err != nil {
		return nil, err
	}
	for _, group := range groups {
		base, err := s.catalogue.In(group, delayStrategy, delayDisruption)
		if err != nil {
			return nil, err
		}
		d.groups = append(d.groups, base)
	}
	if !d.choose(func(l scenarios.Lane) bool { return followsProxy(l.Consumer) }) {
		d.choose(func(scenarios.Lane) bool { return true }) // others were chosen: then it is their delay that is asked for
	}
	if proxyOnly {
		d.groups = []scenarios.Scenario{d.proved}
	}
	return d, nil
}

// choose makes the recommendation one for the lanes of the first group that has some of a kind,
// without those of the reference where it only goes along.
func (d *delayTrial) choose(kind func(scenarios.Lane) bool) bool {
	for i, base := range d.groups {
		lanes := slices.DeleteFunc(slices.Clone(base.Lanes), func(l scenarios.Lane) bool {
			return !kind(l) || l.Consumer.Group != base.Group
		})
		if len(lanes) > 0 {
			d.groups = slices.Insert(slices.Delete(slices.Clone(d.groups), i, i+1), 0, base)
			d.proved = base
			d.proved.Lanes = lanes
			return true
		}
	}
	return false
}

// followsProxy says whether a consumer is kube-proxy: what every cluster has, and chooses the Pod
// of a connection. Strategies are proved with its delay: those of others depend on what else is in
// the cluster.
func followsProxy(c fixtures.Consumer) bool {
	return c.Component == "" && c.Routing == "per-connection"
}

// minSync is that of kube-proxy, once the cluster is there.
func (d *delayTrial) minSync() time.Duration {
	period, err := time.ParseDuration(d.suite.environment.MinSyncPeriod)
	if err != nil { // a cluster that doesn't tell
		return d.suite.Config.Cluster.ProxyMinSync
	}
	return period
}

// follow goes through the whole procedure and puts the result on record.
func (d *delayTrial) follow() (report.SafeDelay, error) {
	out, err := d.measure()
	if err == nil && d.proves && out.Outcome == verdict.Pass {
		err = d.prove(&out)
	}
	if err != nil {
		return out, err
	}
	if len(out.Missing) > 0 && out.Outcome == verdict.Pass {
		out.Outcome, out.Why = verdict.Inconclusive, "not every group could be measured: "+out.Missing[0]
	}
	return out, d.suite.recommend(out)
}

// measure makes the runs with a long delay, group by group. It says what delay they ask for, and
// passes if there is one. What goes wrong in a group is no reason to leave the others out.
func (d *delayTrial) measure() (report.SafeDelay, error) {
	out := report.SafeDelay{Strategy: delayStrategy, Rate: d.suite.Config.Rate, Outcome: verdict.Pass}
	controls, err := d.suite.catalogue.Controls(delayDisruption, out.Rate)
	if err != nil {
		return out, err
	}
	d.total = len(controls) + d.repeats + (len(d.groups)-1)*(1+d.repeats)
	for i, base := range d.groups {
		if i > 0 { // whether drops are seen is known by then
			controls = controls[:1]
		}
		group, err := d.measureGroup(base, controls)
		if err != nil {
			return out, err
		}
		if i == 0 {
			out = group
			continue
		}
		out.Estimate.Add(group.Estimate)
		if group.Outcome != verdict.Pass {
			out.Missing = append(out.Missing, group.Why)
		}
	}
	return out, nil
}

// measureGroup makes the controls, without which nothing is conclusive, and the runs of a group.
func (d *delayTrial) measureGroup(base scenarios.Scenario, controls []scenarios.Scenario) (report.SafeDelay, error) {
	out := report.SafeDelay{Strategy: delayStrategy, Rate: d.suite.Config.Rate, Outcome: verdict.Pass}
	began := time.Now()
	for _, c := range controls {
		c.Group, c.Lanes, c.Watched = base.Group, base.Lanes, base.Watched
		runs := d.runs(c, 1)
		out.Cluster = d.suite.environment
		if p := verdict.Prove(runs, 1); p.Outcome != verdict.Pass {
			out.Outcome, out.Why = verdict.Inconclusive, "control failed: "+complaint(runs)
			if p.Outcome == verdict.Infrastructure {
				out.Outcome = verdict.Infrastructure
			}
			out.Estimate = verdict.NewSafeDelay(nil, 0)
			return out, nil
		}
	}
	usual, err := base.Strategy.Delay()
	if err != nil {
		return out, err
	}
	deciding := consumers(base.Lanes)
	if base.Group == d.proved.Group {
		deciding = consumers(d.proved.Lanes)
	}
	scenario, with := base, longDelay(usual, d.minSync())
	for budget := d.budget(base, with); ; with *= 2 {
		if with != usual {
			if scenario, err = scenario.WithDelay(with); err != nil {
				return out, err
			}
		}
		runs := d.runs(scenario, d.repeats)
		estimate := verdict.NewSafeDelay(runs, with)
		if out.Estimate.Lanes == nil {
			out.Strategy, out.Estimate = scenario.Strategy.Name, estimate
		} else {
			out.Estimate.Merge(estimate)
		}
		out.Estimate.Choose(deciding...)
		if p := verdict.Prove(runs, d.repeats); p.Outcome != verdict.Pass {
			out.Outcome, out.Why = p.Outcome, complaint(runs)
			return out, nil
		}
		short, left := out.Estimate.TooShort(), budget-time.Since(began)
		if delay := out.Estimate.Delay; delay != nil && d.proves && base.Group == d.proved.Group {
			left -= d.time(3, *delay)
		}
		if len(short) == 0 || d.time(1, 2*with) > left {
			break
		}
		d.total += d.repeats
		if scenario, err = base.Only(short); err != nil {
			return out, err
		}
	}
	if out.Estimate.Delay == nil && base.Group == d.proved.Group {
		out.Outcome, out.Why = verdict.Inconclusive, out.Estimate.Why
	}
	return out, nil
}

// budget is how long a group may take that is measured with a first delay.
func (d *delayTrial) budget(base scenarios.Scenario, first time.Duration) time.Duration {
	for _, l := range base.Lanes {
		if from, why := l.Consumer.HoldsFrom.At(d.minSync()); why == "" && from > first {
			return slowDelayBudget
		}
	}
	return delayBudget
}

// time estimates how long so many series with a delay take.
func (d *delayTrial) time(series int, delay time.Duration) time.Duration {
	return time.Duration(series*d.repeats) * (harness.Defaults.Lead + delay + runOverhead)
}

// prove runs exactly the delay that was recommended, the same as preStop sleep, and a third of it,
// which shows whether it takes that much.
func (d *delayTrial) prove(out *report.SafeDelay) error {
	delay := *out.Estimate.Delay
	type trial struct {
		what, strategy string
		delay          time.Duration
		asked          scenarios.Asked
	}
	proved := scenarios.Asked{New: scenarios.Clean, Source: "the recommended delay, to be proved"}
	trials := []trial{
		{"the recommended delay", delayStrategy, delay, proved},
		{"as preStop sleep", preStopStrategy, verdict.WholeSeconds(delay), proved},
	}
	if third, ok := verdict.Third(delay); ok {
		asked := scenarios.Asked{New: scenarios.Measured, Source: "a third of the recommended delay"}
		trials = append(trials, trial{"a third of it", delayStrategy, third, asked})
	}
	d.total = d.made + len(trials)*d.repeats
	for _, trial := range trials {
		s, err := d.suite.Find(trial.strategy, delayDisruption)
		if err != nil {
			return err
		}
		if s, err = s.WithDelay(trial.delay); err != nil {
			return err
		}
		s.Group, s.Lanes, s.Asked = d.proved.Group, d.proved.Lanes, &trial.asked
		runs := d.runs(s, d.repeats)
		result := report.NewTrial(trial.what, s.Strategy.Name, trial.delay, runs, d.repeats)
		out.Trials = append(out.Trials, result)
		if result.Proof.Outcome.Outranks(out.Outcome) {
			out.Outcome, out.Why = result.Proof.Outcome, complaint(runs)
		}
		if result.Proof.Outcome == verdict.Infrastructure {
			break
		}
	}
	return nil
}

// runs makes n runs of a scenario.
func (d *delayTrial) runs(s scenarios.Scenario, n int) []verdict.Verdict {
	return d.suite.Series(d.r, s, n, func(run scenarios.Run) (verdict.Verdict, string) {
		d.made++
		return d.attempt(run, d.made, d.total)
	})
}

func consumers(lanes []scenarios.Lane) []string {
	var names []string
	for _, l := range lanes {
		names = append(names, l.Consumer.Name)
	}
	return names
}
