package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestSafeDelay measures how long requests go on arriving at a Pod that is to go, recommends the delay that this asks for, and proves it by running it.
func TestSafeDelay(t *testing.T) {
	onlyIfNamed(t)
	require.NoError(t, the.broken)
	require.NoError(t, the.makeRoom())
	trial := newDelayTrial(t)
	result, err := trial.measure()
	require.NoError(t, err)
	if result.Outcome == verdict.Pass {
		require.NoError(t, trial.prove(&result))
	}
	require.NoError(t, the.recommend(result))
	assert.Equal(t, verdict.Pass, result.Outcome, result.Why)
}

// TestSafeDelaySync: where kube-proxy may let a change of endpoints wait for ten seconds, the recommendation rises accordingly, or it follows something else.
func TestSafeDelaySync(t *testing.T) {
	onlyIfNamed(t)
	require.NoError(t, the.broken)
	require.NoError(t, the.makeRoom())
	recommended := map[time.Duration]time.Duration{}
	forEachSyncPeriod(t, func(period time.Duration) {
		result, err := newDelayTrial(t).measure()
		require.NoError(t, err)
		require.NoError(t, the.recommend(result))
		require.NotNil(t, result.Estimate.Delay, "minSyncPeriod %s: %s", period, result.Why)
		recommended[period] = *result.Estimate.Delay
		t.Logf("minSyncPeriod %s: a delay of %s is recommended", period, recommended[period])
	})
	assert.NoError(t, rises(recommended[syncPeriods[0]], recommended[syncPeriods[1]]))
}

// rises says what is wrong with the recommendations under a short and under a long sync period of kube-proxy. The long one is ten times the short one; what the
// delay is made of beside it, and the luck of where in a period a Pod is deleted, must not pass for a rise.
func rises(short, long time.Duration) error {
	const least, factor = 2 * time.Second, 2
	if long-short < least || long <= factor*short {
		return fmt.Errorf("the recommended delay went from %s to %s with kube-proxy's sync period: want %s more and over %d times as much", short, long, least, factor)
	}
	return nil
}

const (
	// delayStrategy answers with Connection: close while it waits: kept-alive connections drain as well, and their last request says something, too.
	delayStrategy   = "in-app-delay-close"
	preStopStrategy = "prestop-sleep"
	delayDisruption = "rolling-update"
	delayRepeats    = 3 // unless -repeat asks for more
)

// longDelay is one that traffic ends well before, so that its end can be seen. kube-proxy lets a change of endpoints wait for its least sync period at most;
// what it takes by itself is a second or two.
func longDelay(own, minSync time.Duration) time.Duration {
	if minSync <= 5*time.Second {
		return own
	}
	return minSync*3/2 + 10*time.Second
}

// delayTrial is the procedure of TestSafeDelay, apart from how a run is made.
type delayTrial struct {
	t       testing.TB
	suite   *suite
	repeats int
	attempt func(run scenarios.Run, i, n int) (v verdict.Verdict, dir string)
	minSync func() time.Duration // kube-proxy's, once the cluster is there

	made, total int // runs, for the progress
}

func newDelayTrial(t *testing.T) *delayTrial {
	t.Helper()
	repeats := delayRepeats
	if the.settings.repeat > 1 {
		repeats = the.settings.repeat
	}
	return &delayTrial{
		t: t, suite: the, repeats: repeats,
		attempt: func(run scenarios.Run, i, n int) (verdict.Verdict, string) { return the.attempt(t, run, i, n) },
		minSync: func() time.Duration {
			period, err := time.ParseDuration(the.facts.MinSyncPeriod)
			if err != nil { // a cluster that doesn't tell
				return the.settings.cluster.ProxyMinSync
			}
			return period
		},
	}
}

// runs makes n runs of a scenario.
func (d *delayTrial) runs(strategy, disruption string, n int) ([]verdict.Verdict, error) {
	s, err := d.suite.catalogue.Find(strategy, disruption, d.suite.settings.rate)
	if err != nil {
		return nil, err
	}
	if lanes := d.suite.settings.lanes; lanes != "" {
		if s, err = s.Only(strings.Split(lanes, ",")); err != nil {
			return nil, err
		}
	}
	made := d.made
	d.made += n
	return d.suite.series(d.t, s, n, func(run scenarios.Run) (verdict.Verdict, string) {
		return d.attempt(run, made+min(run.Repeat, n), d.total)
	}), nil
}

// measure makes the controls, without which nothing is believed, and the runs with a long delay. It says what delay they ask for, and passes if there is one.
func (d *delayTrial) measure() (report.SafeDelay, error) {
	out := report.SafeDelay{Strategy: delayStrategy, Rate: d.suite.settings.rate}
	controls, err := d.suite.catalogue.Controls(delayDisruption, d.suite.settings.rate)
	if err != nil {
		return out, err
	}
	d.total = len(controls) + d.repeats
	for _, c := range controls {
		runs, err := d.runs(c.Strategy.Name, c.Disruption.Name, 1)
		if err != nil {
			return out, err
		}
		out.Cluster = d.suite.facts
		if p := verdict.Prove(runs, 1); p.Outcome != verdict.Pass {
			out.Why = "control failed: " + complaint(runs)
			if p.Outcome == verdict.Infrastructure {
				out.Outcome = verdict.Infrastructure
			}
			out.Estimate = verdict.NewSafeDelay(nil, 0, out.Rate)
			return out, nil
		}
	}
	own, err := d.suite.catalogue.Strategy(delayStrategy)
	if err != nil {
		return out, err
	}
	usual, err := own.Delay()
	if err != nil {
		return out, err
	}
	with := longDelay(usual, d.minSync())
	if with != usual {
		out.Strategy = at(delayStrategy, with)
	}
	runs, err := d.runs(out.Strategy, delayDisruption, d.repeats)
	if err != nil {
		return out, err
	}
	out.Estimate = verdict.NewSafeDelay(runs, with, out.Rate)
	switch out.Outcome = verdict.Prove(runs, d.repeats).Outcome; {
	case out.Outcome != verdict.Pass:
		out.Why = complaint(runs)
	case out.Estimate.Delay == nil:
		out.Outcome, out.Why = verdict.Inconclusive, out.Estimate.Why
	}
	return out, nil
}

// prove runs exactly the delay that was recommended, the same as preStop sleep, and a third of it, which shows whether it takes that much.
func (d *delayTrial) prove(out *report.SafeDelay) error {
	delay := *out.Estimate.Delay
	type trial struct {
		what, strategy string
		delay          time.Duration
	}
	whole := verdict.WholeSeconds(delay)
	trials := []trial{
		{"the recommended delay", at(delayStrategy, delay), delay},
		{"as preStop sleep", at(preStopStrategy, whole), whole},
	}
	if third, ok := verdict.Third(delay); ok {
		trials = append(trials, trial{"a third of it", at(delayStrategy, third) + fixtures.MeasuredSuffix, third})
	}
	d.total = d.made + len(trials)*d.repeats
	for _, trial := range trials {
		runs, err := d.runs(trial.strategy, delayDisruption, d.repeats)
		if err != nil {
			return err
		}
		result := report.NewTrial(trial.what, trial.strategy, trial.delay, runs, d.repeats)
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

// at is the name of a strategy at another delay.
func at(strategy string, delay time.Duration) string {
	return strategy + fixtures.DelaySign + delay.String()
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

// recommend puts a safe delay on record: it is written into the artifacts' folder, and shown below the report at the end.
func (s *suite) recommend(d report.SafeDelay) error {
	s.safeDelays = append(s.safeDelays, d)
	for _, format := range report.SafeDelayFormats() {
		var out bytes.Buffer
		if err := format.Write(&out, d); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(s.settings.artifacts, format.File), out.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write safe delay: %w", err)
		}
	}
	return nil
}
