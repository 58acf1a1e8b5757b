// Package harness is the engine: it runs one scenario against an app that is already deployed, and
// records what happens. It judges nothing.
package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"net/netip"
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
	// URL is where a consumer is reached from the place that its load is sent from.
	URL(consumer fixtures.Consumer) string
	// Addresses are those that are dialled in turn in the place of the URL's host; none: that
	// itself is.
	Addresses(consumer fixtures.Consumer) []netip.Addr
	// Sender sends load from a place; nil if no consumer needs that.
	Sender(from string) traffic.Sender
	// Observe starts to write down what happens and returns when the present state is known. Stop
	// ends it and gives what was seen.
	Observe(ctx context.Context, clock timeline.Clock) (stop func() timeline.Seen, err error)
	// Intact says which programs that the consumers need broke down since the app was deployed.
	Intact(ctx context.Context) error
	// WaitStable waits until all Pods are ready and of the present template, and no other is there.
	WaitStable(ctx context.Context) error
	// CutNode takes a node off the network, and LoseNode ends it after that.
	CutNode(ctx context.Context, node string) error
	// Replicas is how many Pods are asked for.
	Replicas() int
	// Learnt is what an app that isn't the sample app has answered while it was waited for.
	Learnt() scenarios.Learnt
	Environment() timeline.Environment
}

// Options are the lengths of a run's phases.
type Options struct {
	// Lead is the time of undisturbed load before the disruption. It has to be longer than the
	// slowest answer, or no request would be done by then.
	Lead time.Duration
	// Limit bounds the whole run.
	Limit time.Duration
	// Phase hears of each phase as it begins; nil if nobody wants to know.
	Phase func(name string)
}

// Defaults are a lead that the slow lane's two seconds of work fit in, and a limit that three Pods
// with 40 s of preStop keep.
var Defaults = Options{Lead: 3 * time.Second, Limit: 4 * time.Minute}

// LimitFor is a limit for a run of so many Pods: that of Defaults, or more where they take longer one after
// the other, each its delay, or its task, and podTakes; and what tasks add to the tail. podTakes is what it
// may take a Pod besides to fail a probe, to be replaced and to get ready, on a busy machine. A disruption
// may take longer than a rollout, and says so.
func LimitFor(run scenarios.Run, replicas int) time.Duration {
	const podTakes, others = 15 * time.Second, time.Minute
	serves := run.Strategy.ServesFor()
	if tasks := run.Tasks(); tasks != nil {
		serves = max(serves, tasks.Length)
	}
	limit := max(Defaults.Limit, others+time.Duration(replicas)*(serves+podTakes))
	limit += doneAgain(run) + run.Disruption.MayTake
	if run.Own != nil {
		limit *= 2 // nobody knows how long its Pods take to get ready
	}
	if run.Target != nil && run.Target.Live {
		limit += ProgressWithin // it is restarted only once: there is no second try
	}
	return limit
}

// ProgressWithin is how long a rollout of a Deployment may take without any progress, by default
// (progressDeadlineSeconds).
const ProgressWithin = 10 * time.Minute

// Run runs a scenario: lead, disruption, until that is over, tail. The load goes on all the time,
// in all lanes at once. What the disruption has done is undone when the load is over, so that no
// request meets that. The tail is the longest timeout of a client, so that the last request that
// could meet a terminating Pod is over before the end.
//
// Where a load balancer probes nodes, the tail is as much longer as it may take to find out, and the
// lead by a part of the probes' interval (probePhase). Where Pods have long tasks, the tail is as much
// longer as it takes to do one anew.
//
// It always returns a timeline. What went wrong is in its Errors.
func Run(ctx context.Context, app App, run scenarios.Run, o Options) timeline.Timeline {
	clock := timeline.NewClock(time.Now())
	now := func() time.Duration { return clock.Offset(time.Now()) }
	if run.Target != nil {
		run.Scenario = run.Learn(app.Learnt())
	}
	tl := timeline.Timeline{
		Schema: timeline.Schema, Spec: NewSpec(run.Scenario, app.Environment()), Repeat: run.Repeat, Start: clock.Start(),
		Replicas: app.Replicas(), Environment: app.Environment(),
	}
	fail := func(doing string, err error) {
		if err != nil {
			tl.Errors = append(tl.Errors, fmt.Sprintf("%s: %s", doing, err))
		}
	}
	if err := run.Validate(); err != nil {
		fail("scenario", err)
		return tl
	}
	whole := ctx // of the process and its test; the run's own ends earlier
	late := fmt.Errorf("the run took longer than its limit of %s", o.Limit)
	ctx, cancel := context.WithTimeoutCause(ctx, o.Limit, late)
	defer cancel()
	// What happens to an interrupted run is worth knowing, too.
	stopObserving, err := app.Observe(context.WithoutCancel(ctx), clock)
	if err != nil {
		fail("observe", err)
		return tl
	}

	l, err := prepare(ctx, app, run.Scenario, clock)
	if err != nil {
		fail("load", err)
		saw(&tl, clock, stopObserving())
		return tl
	}
	end := &traffic.End{}
	started := now()
	plan := traffic.Plan{
		Clock: clock, End: end, Max: o.Limit + longestTimeout(run.Lanes), Tasks: tl.Spec.Tasks,
	}
	l.start(context.WithoutCancel(ctx), plan, started)
	w := &tl.Window
	noted := &notedApp{App: app, now: now}
	w.Phase = probePhase(run)
	lead := leadOf(run, o)
	fail("run", disrupt(ctx, noted, run, l.notice+lead+w.Phase, o.Phase, now, w))
	tail := l.notice + slowestInterval(run.Lanes)
	if w.Settled > 0 {
		tail += longestTimeout(run.Lanes) + longestDetection(run.Lanes) + doneAgain(run)
	}
	if o.Phase != nil {
		o.Phase("tail")
	}
	end.Set(now() + tail)
	tl.Lanes, tl.Senders, err = l.wait()
	fail("load", err)
	w.LoadEnd, _ = end.At()
	// The last request may have been due, and answered, up to an interval before the end.
	fail("load", wait(context.WithoutCancel(ctx), max(0, w.LoadEnd-now())))
	fail("components", app.Intact(context.WithoutCancel(ctx)))
	seen := stopObserving()
	seen.Events = append(seen.Events, noted.events...)
	slices.SortStableFunc(seen.Events, func(a, b timeline.Event) int { return cmp.Compare(a.At, b.At) })
	saw(&tl, clock, seen)
	if undo := run.Disruption.Undo; undo != nil { // also after a failure, and when time is up
		within := undoWithin
		if whole.Err() != nil {
			within = undoHastily
		}
		undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
		fail("undo "+run.Disruption.Name, undo(undoing, noted))
		cancel()
	}
	ended := now()
	// The tail is over when its last request has ended, which takes up to a timeout where a client
	// still dials Pods that are gone.
	over := w.LoadEnd
	for _, lane := range tl.Lanes {
		for _, r := range lane.Requests {
			over = max(over, r.Done())
		}
	}
	w.Overhead = ended - lead - w.Phase - (w.Settled - w.DisruptStart) -
		longestTimeout(run.Lanes) - longestDetection(run.Lanes) - doneAgain(run) - (over - w.LoadEnd)
	return tl
}

// notedApp notes what the disruption does to the app.
type notedApp struct {
	App
	now func() time.Duration

	mu     sync.Mutex
	events []timeline.Event
	work   map[string]int // of colours, when they were last asked
}

// DeletePod deletes a Pod and notes when it was asked for and when it was granted.
func (a *notedApp) DeletePod(ctx context.Context, name string) error {
	return a.noteDeletion(ctx, name, a.App.DeletePod)
}

// DeletePodNow is the same with a grace period of 0.
func (a *notedApp) DeletePodNow(ctx context.Context, name string) error {
	return a.noteDeletion(ctx, name, a.App.DeletePodNow)
}

func (a *notedApp) noteDeletion(ctx context.Context, name string, do func(context.Context, string) error) error {
	a.note(timeline.DeleteAsked, name)
	err := do(ctx, name)
	if err == nil {
		a.note(timeline.DeleteAnswered, name)
	}
	return err
}

func (a *notedApp) note(kind timeline.Kind, pod string) {
	a.noteEvent(timeline.Event{Kind: kind, Pod: pod})
}

func (a *notedApp) noteEvent(e timeline.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e.At = a.now() - e.Width // an interval is noted when it is over
	a.events = append(a.events, e)
}

// saw puts what was seen into the timeline, and how far this process' own clock was set.
func saw(tl *timeline.Timeline, clock timeline.Clock, seen timeline.Seen) {
	tl.Events, tl.Served, tl.Routes = seen.Events, seen.Served, seen.Routes
	tl.Forwards, tl.Scrapes, tl.Services, tl.Held = seen.Forwards, seen.Scrapes, seen.Services, seen.Held
	tl.TasksByPod = seen.Tasks
	own := timeline.Source{Kind: timeline.SourceHarness, Drift: clock.Stepped()}
	own.SameClock = true
	tl.Sources = append([]timeline.Source{own}, seen.Sources...)
}

// Failed is the timeline of a run that could not begin, so that it has its place in the report:
// nothing was measured, and this is why.
func Failed(run scenarios.Run, at time.Time, why error) timeline.Timeline {
	return timeline.Timeline{
		Schema: timeline.Schema, Spec: NewSpec(run.Scenario, timeline.Environment{}), Repeat: run.Repeat, Start: at,
		Errors: []string{why.Error()},
	}
}

// disrupt goes through the phases and writes down when each began.
func disrupt(
	ctx context.Context, app App, run scenarios.Run, lead time.Duration,
	phase func(string), now func() time.Duration, w *timeline.Window,
) error {
	steps := []struct {
		name string
		mark *time.Duration // when it is over
		do   func(context.Context) error
	}{
		{"lead", &w.DisruptStart, func(ctx context.Context) error { return wait(ctx, lead) }},
		{run.Disruption.Name, &w.DisruptEnd, func(ctx context.Context) error { return run.Disruption.Run(ctx, app) }},
		{"termination", &w.Settled, func(ctx context.Context) error {
			if over := run.Disruption.Over; over != nil {
				return over(ctx, app)
			}
			return app.WaitStable(ctx)
		}},
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

// undoWithin is how long it may take to take back what a disruption has done. A node that was lost has to
// start, and to end the Pods that were deleted meanwhile.
const undoWithin = 4 * time.Minute

// undoHastily is the same where somebody wants the process to end, or its time is nearly over: what isn't
// undone by then goes with the cluster.
const undoHastily = 20 * time.Second

// leadOf is how long the load goes on undisturbed: as asked for, or a second longer than the slowest
// answer takes, where a disruption asks for so much work.
func leadOf(run scenarios.Run, o Options) time.Duration {
	if run.Disruption.Work == 0 {
		return o.Lead
	}
	return max(o.Lead, run.Disruption.Work+time.Second)
}

// slowestInterval is what a pacer may sleep, and so a part of the notice that every lane needs.
func slowestInterval(lanes []scenarios.Lane) time.Duration {
	return longest(lanes, func(l scenarios.Load) time.Duration { return time.Second / time.Duration(l.Rate) })
}

func longestTimeout(lanes []scenarios.Lane) time.Duration {
	return longest(lanes, func(l scenarios.Load) time.Duration { return l.Timeout })
}

// longestDetection is for how long a load balancer may send to a node whose last Pod is gone.
func longestDetection(lanes []scenarios.Lane) time.Duration {
	var d time.Duration
	for _, l := range lanes {
		d = max(d, l.Consumer.Probe.Detects())
	}
	return d
}

// probePhase is by how much a run's lead is longer, so that what is done to Pods doesn't always meet
// the probes of a load balancer at the same point of their interval: the deployment before ends with
// a probe that has succeeded. A run of a name and a repeat always has the same. The repeats of a name
// are spread evenly, by the golden ratio, from a start that its name gives.
func probePhase(run scenarios.Run) time.Duration {
	var interval time.Duration
	for _, l := range run.Lanes {
		interval = max(interval, l.Consumer.Probe.Interval)
	}
	name := fnv.New32a()
	_, _ = name.Write([]byte(run.Name()))
	_, part := math.Modf(float64(name.Sum32())/(1<<32) + float64(run.Repeat)*(math.Phi-1))
	return time.Duration(part * float64(interval)).Truncate(time.Millisecond)
}

// doneAgain is how long it takes until a task that was cut is done by another Pod; 0 where there are none.
func doneAgain(run scenarios.Run) time.Duration {
	if tasks := run.Tasks(); tasks != nil {
		return tasks.Again()
	}
	return 0
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
