// Package harness is the engine: it runs one scenario against an app that is already deployed, and records what happens. It judges nothing.
package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// App is the app under test, as far as the engine needs it.
type App interface {
	scenarios.App
	// URL is where a path is reached from the place that its load is sent from.
	URL(path fixtures.Path) string
	// Workers send load from within the cluster; nil if no path needs them.
	Workers() traffic.Sender
	// Observe starts to write down what happens and returns when the present state is known. The function it returns ends it and gives what was seen.
	Observe(ctx context.Context, clock timeline.Clock) (stop func() timeline.Seen, err error)
	// WaitStable waits until as many Pods as asked for are ready, all of them of the present template, and every other Pod is gone.
	WaitStable(ctx context.Context) error
	// Replicas is how many Pods are asked for.
	Replicas() int
	Environment() timeline.Environment
}

// Options are the lengths of a run's phases.
type Options struct {
	// Lead is the time of undisturbed load before the disruption. It has to be longer than the slowest answer, or no request would be done by then.
	Lead time.Duration
	// Limit bounds the whole run.
	Limit time.Duration
	// Phase hears of each phase as it begins; nil if nobody wants to know.
	Phase func(name string)
}

// Defaults are a lead of three seconds, which the slow lane's two seconds of work fit in, and a limit that a Deployment of three with 40 s of preStop keeps.
var Defaults = Options{Lead: 3 * time.Second, Limit: 4 * time.Minute}

// Run runs a scenario: lead, disruption, until all is stable, tail. The load goes on all the time, in all lanes at once. The tail is the longest timeout of
// a client, so that the last request that could meet a Pod on its way out is over before the end.
//
// It always returns a timeline. What went wrong is in its Faults; then the timeline holds what was seen until then.
func Run(ctx context.Context, app App, run scenarios.Run, o Options) timeline.Timeline {
	clock := timeline.NewClock(time.Now())
	now := func() time.Duration { return clock.Offset(time.Now()) }
	tl := blank(run, clock.Start())
	tl.Replicas, tl.Environment = app.Replicas(), app.Environment()
	fault := func(doing string, err error) {
		if err != nil {
			tl.Faults = append(tl.Faults, fmt.Sprintf("%s: %s", doing, err))
		}
	}
	if err := run.Validate(); err != nil {
		fault("scenario", err)
		return tl
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Limit, fmt.Errorf("the run took longer than its limit of %s", o.Limit))
	defer cancel()
	stopObserving, err := app.Observe(context.WithoutCancel(ctx), clock) // what happens to an interrupted run is worth knowing, too
	if err != nil {
		fault("observe", err)
		return tl
	}

	l, err := prepare(ctx, app, run.Lanes, clock)
	if err != nil {
		fault("load", err)
		saw(&tl, clock, stopObserving())
		return tl
	}
	end := &traffic.End{}
	started := now()
	l.start(context.WithoutCancel(ctx), traffic.Plan{Clock: clock, End: end, Max: o.Limit + longestTimeout(run.Lanes)}, started)
	w := &tl.Window
	noted := &notedApp{App: app, now: now}
	fault("run", disrupt(ctx, noted, run, l.notice+o.Lead, o.Phase, now, w))
	tail := l.notice + slowestInterval(run.Lanes)
	if w.Settled > 0 {
		tail += longestTimeout(run.Lanes)
	}
	if o.Phase != nil {
		o.Phase("tail")
	}
	end.Set(now() + tail)
	tl.Lanes, tl.Senders, err = l.wait()
	fault("load", err)
	w.LoadEnd, _ = end.At()
	// The last request may have been due, and answered, up to an interval before the end.
	fault("load", wait(context.WithoutCancel(ctx), max(0, w.LoadEnd-now())))
	seen := stopObserving()
	seen.Events = append(seen.Events, noted.events...)
	slices.SortStableFunc(seen.Events, func(a, b timeline.Event) int { return cmp.Compare(a.At, b.At) })
	saw(&tl, clock, seen)
	// The tail is over when the last request that was due in it is answered, and the app takes its time to work on that.
	w.Overhead = now() - o.Lead - (w.Settled - w.DisruptStart) - longestTimeout(run.Lanes) - longestWork(run.Lanes)
	return tl
}

// notedApp notes what the disruption does to the app, so that what is seen of it can be held against what is known.
type notedApp struct {
	App
	now func() time.Duration

	mu     sync.Mutex
	events []timeline.Event
}

// DeletePod deletes a Pod and notes when it was asked for and when it was granted.
func (a *notedApp) DeletePod(ctx context.Context, name string) error {
	a.note(timeline.DeleteAsked, name)
	err := a.App.DeletePod(ctx, name)
	if err == nil {
		a.note(timeline.DeleteAnswered, name)
	}
	return err
}

func (a *notedApp) note(kind timeline.Kind, pod string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, timeline.Event{At: a.now(), Kind: kind, Pod: pod})
}

// saw puts what was seen into the timeline, and what has become of this process' own clock meanwhile.
func saw(tl *timeline.Timeline, clock timeline.Clock, seen timeline.Seen) {
	tl.Events, tl.Served, tl.Routes = seen.Events, seen.Served, seen.Routes
	own := timeline.Source{Kind: timeline.SourceHarness, Comparison: timeline.Comparison{SameClock: true}, Drift: clock.Stepped()}
	tl.Sources = append([]timeline.Source{own}, seen.Sources...)
}

// Failed is the timeline of a run that could not begin, so that it has its place in the report: nothing was measured, and this is why.
func Failed(run scenarios.Run, at time.Time, why error) timeline.Timeline {
	tl := blank(run, at)
	tl.Faults = []string{why.Error()}
	return tl
}

func blank(run scenarios.Run, start time.Time) timeline.Timeline {
	return timeline.Timeline{
		Schema: timeline.Schema, Strategy: run.Strategy.Name, Disruption: run.Disruption.Name, Repeat: run.Repeat, Start: start,
	}
}

// disrupt goes through the phases and writes down when each began.
func disrupt(
	ctx context.Context, app App, run scenarios.Run, lead time.Duration, phase func(string), now func() time.Duration, w *timeline.Window,
) error {
	steps := []struct {
		name string
		mark *time.Duration // when it is over
		do   func(context.Context) error
	}{
		{"lead", &w.DisruptStart, func(ctx context.Context) error { return wait(ctx, lead) }},
		{run.Disruption.Name, &w.DisruptEnd, func(ctx context.Context) error { return run.Disruption.Run(ctx, app) }},
		{"termination", &w.Settled, app.WaitStable},
	}
	for _, step := range steps {
		if phase != nil {
			phase(step.name)
		}
		if err := step.do(ctx); err != nil {
			if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
				err = fmt.Errorf("%w: %w", cause, err)
			}
			return fmt.Errorf("%s: %w", step.name, err)
		}
		*step.mark = now()
	}
	return nil
}

// slowestInterval is, together with that of the senders, the notice that every lane needs to end on one instant: no pacer sleeps longer.
func slowestInterval(lanes []scenarios.Lane) time.Duration {
	return longest(lanes, func(l scenarios.Load) time.Duration { return time.Second / time.Duration(l.Rate) })
}

func longestTimeout(lanes []scenarios.Lane) time.Duration {
	return longest(lanes, func(l scenarios.Load) time.Duration { return l.Timeout })
}

func longestWork(lanes []scenarios.Lane) time.Duration {
	return longest(lanes, func(l scenarios.Load) time.Duration { return l.Work })
}

func longest(lanes []scenarios.Lane, of func(scenarios.Load) time.Duration) time.Duration {
	var d time.Duration
	for _, l := range lanes {
		d = max(d, of(l.Load))
	}
	return d
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
