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

// How long the procedure may take. Consumers that say themselves that they need a longer delay than
// the first one measured with get more.
const (
	delayBudget     = 15 * time.Minute
	slowDelayBudget = 30 * time.Minute
	// runOverhead is what a run takes beyond lead and delay: a deployment, a rollout and a tail.
	runOverhead = 20 * time.Second
)

// SafeDelay measures how long requests go on arriving at a Pod that is to go, recommends the delay
// that this asks for, proves it by running it, and puts all that on record. An outcome other than a
// pass says why. An error says that the procedure couldn't be followed.
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

	base   scenarios.Scenario // the strategy at its own delay, with the lanes that are sent
	proxy  scenarios.Scenario // of those, the lanes of the consumers that the recommendation is for
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
	var err error
	if d.base, err = s.Find(delayStrategy, delayDisruption); err != nil {
		return nil, err
	}
	if len(s.Config.Lanes) > 0 {
		if d.base, err = d.base.Only(s.Config.Lanes); err != nil {
			return nil, err
		}
	}
	d.proxy = d.base
	d.proxy.Lanes = slices.DeleteFunc(slices.Clone(d.base.Lanes), func(l scenarios.Lane) bool {
		return !followsProxy(l.Consumer)
	})
	if len(d.proxy.Lanes) == 0 { // -lanes has chosen others: then it is their delay that is asked for
		d.proxy.Lanes = d.base.Lanes
	}
	if proxyOnly {
		d.base = d.proxy
	}
	return d, nil
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
	return out, d.suite.recommend(out)
}

// measure makes the controls, without which nothing is conclusive, and the runs with a long delay.
// It says what delay they ask for, and passes if there is one.
func (d *delayTrial) measure() (report.SafeDelay, error) {
	out := report.SafeDelay{Strategy: delayStrategy, Rate: d.suite.Config.Rate, Outcome: verdict.Pass}
	controls, err := d.suite.catalogue.Controls(delayDisruption, out.Rate)
	if err != nil {
		return out, err
	}
	d.total = len(controls) + d.repeats
	for _, c := range controls {
		c.Lanes = d.base.Lanes
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
	usual, err := d.base.Strategy.Delay()
	if err != nil {
		return out, err
	}
	scenario, with := d.base, longDelay(usual, d.minSync())
	for budget := d.budget(with); ; with *= 2 {
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
		out.Estimate.Choose(consumers(d.proxy.Lanes)...)
		if p := verdict.Prove(runs, d.repeats); p.Outcome != verdict.Pass {
			out.Outcome, out.Why = p.Outcome, complaint(runs)
			return out, nil
		}
		short, left := out.Estimate.TooShort(), budget-time.Since(d.began)
		if delay := out.Estimate.Delay; delay != nil && d.proves {
			left -= d.time(3, *delay)
		}
		if len(short) == 0 || d.time(1, 2*with) > left {
			break
		}
		d.total += d.repeats
		if scenario, err = d.base.Only(short); err != nil {
			return out, err
		}
	}
	if out.Estimate.Delay == nil {
		out.Outcome, out.Why = verdict.Inconclusive, out.Estimate.Why
	}
	return out, nil
}

// budget is how long the procedure may take that measures with a first delay.
func (d *delayTrial) budget(first time.Duration) time.Duration {
	for _, l := range d.base.Lanes {
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
		s.Lanes, s.Asked = d.proxy.Lanes, &trial.asked
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
