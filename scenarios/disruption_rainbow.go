package scenarios

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/zerodrop/zerodrop/fixtures"
)

// Rainbow is what a disruption can do to an app that has a Deployment per release, each named by a
// colour.
type Rainbow interface {
	// DeployColour makes the Deployment of a colour, of the app's template, whose Pods no Service selects,
	// and returns when they are ready.
	DeployColour(ctx context.Context, colour string) error
	// BreakColour is DeployColour of Pods that never get ready. It returns when the Deployment says so.
	BreakColour(ctx context.Context, colour string) error
	// SwitchTo has all Services select the Pods of a colour. From then on that is the app.
	SwitchTo(ctx context.Context, colour string) error
	// Work is how much work each Pod of a colour has, by name: connections that clients hold, tasks, requests
	// in flight. A Pod that is terminating is left out.
	Work(ctx context.Context, colour string) (map[string]int, error)
	// StopTasks has the Pods of a colour take no further task. They go on with those that they have.
	StopTasks(ctx context.Context, colour string) error
	// SetDeletionCosts says of Pods what their deletion costs: of those that a Deployment may choose from when
	// it is scaled down, the one that costs least goes.
	SetDeletionCosts(ctx context.Context, costs map[string]int) error
	// ScaleColour asks for fewer replicas of a colour and returns when its Deployment has taken note.
	ScaleColour(ctx context.Context, colour string, replicas int) error
	// RemoveColour waits until a colour that was scaled to zero has no Pods, and removes its Deployment.
	RemoveColour(ctx context.Context, colour string) error
}

// FirstColour is the Deployment that the app was deployed as. It has none in its name.
const FirstColour = "first"

// colours are those of the releases that follow it, in their order.
var colours = []string{
	"red", "orange", "yellow", "green", "blue", "indigo", "violet", "black", "grey", "brown",
}

const (
	// releaseEvery is the time between two releases.
	releaseEvery = 20 * time.Second
	// followWithin is how long consumers have after a switch before the old colour may be ended, whatever work
	// it has: longer than kube-proxy takes.
	followWithin = 5 * time.Second
	// askEvery is the time between two questions for the work of a colour. It has ended when it was none twice
	// in a row.
	askEvery = time.Second
	// drainLimit is how long a colour may have work before it is ended with it: longer than the load's clients
	// stay, and than a task takes.
	drainLimit = 3 * time.Minute
	// drainsFor is how long it takes in fact, where clients stay for a minute at most.
	drainsFor = 70 * time.Second
	// shortLimit is one that clients stay longer than.
	shortLimit = 20 * time.Second
	// backAfter is how long after a switch the colour before is taken again.
	backAfter = 10 * time.Second
)

// rainbows are disruptions that have a Deployment per release, and what they are compared with. A new
// connection is promised what a wait of followWithin is worth; where Drains is set no connection that is
// held is cut either.
func rainbows() []Disruption {
	list := []Disruption{
		releases("rainbow", 3),
		releases("rainbow-ten", 10),
		{
			Name: "rainbow-limit",
			Summary: fmt.Sprintf("as rainbow, one release, and the old one has %s to drain: what is left of its work then is "+
				"ended with it", shortLimit),
			Takes: shortLimit,
			Run: func(ctx context.Context, app App) error {
				if err := release(ctx, app, colours[0]); err != nil {
					return err
				}
				return drain(ctx, app, FirstColour, shortLimit, nil)
			},
		},
		{
			Name: "rainbow-back",
			Summary: fmt.Sprintf("a release is taken back while the one before drains: Services are switched to a new "+
				"Deployment, %s later to the old one again, and the new one is removed when its work has ended", backAfter),
			Scope: ScopeNone, Drains: true, Takes: backAfter + drainsFor, MayTake: backAfter + drainLimit,
			Run: func(ctx context.Context, app App) error {
				back := func(ctx context.Context) error { return app.SwitchTo(ctx, FirstColour) }
				return inOrder(ctx,
					func(ctx context.Context) error { return release(ctx, app, colours[0]) },
					func(ctx context.Context) error { return keepQuiet(ctx, backAfter) }, back,
					func(ctx context.Context) error { return drain(ctx, app, colours[0], drainLimit, nil) },
				)
			},
		},
		{
			Name: "rainbow-never-ready",
			Summary: "a new Deployment never gets ready: no Service is switched to it, and it is removed when it has made no " +
				"progress for ten seconds; all the time the old Pods go on serving",
			Scope: ScopeNone, Takes: shortLimit,
			Run: func(ctx context.Context, app App) error {
				return inOrder(ctx,
					func(ctx context.Context) error { return app.BreakColour(ctx, colours[0]) },
					func(ctx context.Context) error { return retire(ctx, app, colours[0]) },
				)
			},
		},
		gradually("scale-down-gradually", shrink{}, "in proportion to the connections that are left; the Deployment chooses "+
			"the Pod that goes, and cuts whoever is on it"),
		gradually("scale-down-by-cost", shrink{byCost: true}, "in proportion to the connections that are left, and each "+
			"Pod's deletion cost is set from its own before: the one with the fewest goes"),
		gradually("scale-down-idle-first", shrink{byCost: true, idle: true}, "when one of them has no connection left, and "+
			"each Pod's deletion cost is set from its own before: that one goes"),
	}
	for i := range list {
		d := &list[i]
		d.Scope = cmp.Or(d.Scope, ScopeAll)
		d.Waits, d.Wait = true, followWithin
		d.Over = func(ctx context.Context, app App) error { return app.WaitReplaced(ctx) }
		d.Undo = func(ctx context.Context, app App) error { return app.Restore(ctx) }
	}
	list = append(list, rolloutsInARow())
	for i := range list {
		list[i].Workload, list[i].OwnProfile = fixtures.DefaultWorkload, true // which alone can be there twice
	}
	return list
}

// releases are n releases in a row, each a Deployment of its own.
func releases(name string, n int) Disruption {
	apart := time.Duration(n-1) * releaseEvery
	return Disruption{
		Name: name,
		Summary: fmt.Sprintf("%d releases, one every %s: each is a new Deployment, named by a colour, to which all Services "+
			"are switched when it is ready; the one before is kept until its last connection, task and request has ended, then "+
			"scaled to zero and removed", n, releaseEvery),
		Drains: true, Takes: apart + drainsFor, MayTake: apart + drainLimit,
		Run: func(ctx context.Context, app App) error {
			return inARow(ctx, app, n, func(ctx context.Context, app App, colour string) error {
				return drain(ctx, app, colour, drainLimit, nil)
			})
		},
	}
}

// inARow makes the releases, and has the old ones drained meanwhile. A release that doesn't get ready is
// the last, and nothing is drained for it any more.
func inARow(
	ctx context.Context, app App, n int, drained func(ctx context.Context, app App, colour string) error,
) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var draining sync.WaitGroup
	failed := make([]error, n)
	old := FirstColour
	err := atIntervals(ctx, n, func(i int) error {
		if err := release(ctx, app, colours[i]); err != nil {
			return err
		}
		of := old
		draining.Go(func() { failed[i] = drained(ctx, app, of) })
		old = colours[i]
		return nil
	})
	if err != nil {
		stop()
	}
	draining.Wait()
	if err != nil {
		return err // what was broken off because of it says nothing
	}
	return errors.Join(failed...)
}

// atIntervals does something n times, once every releaseEvery, or as soon as the time before is over.
func atIntervals(ctx context.Context, n int, do func(i int) error) error {
	due := time.NewTicker(releaseEvery)
	defer due.Stop()
	for i := range n {
		if i > 0 {
			select {
			case <-due.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if err := do(i); err != nil {
			return err
		}
	}
	return nil
}

// release makes a colour and switches all Services to it. One that doesn't get ready changes nothing for
// them.
func release(ctx context.Context, app App, colour string) error {
	if err := app.DeployColour(ctx, colour); err != nil {
		return fmt.Errorf("release: Services stay as they are: %w", err)
	}
	return app.SwitchTo(ctx, colour)
}

// drain ends a colour that no Service selects any more, when its work has ended or at a limit. Nobody
// selects who takes tasks from a queue: its Pods are told to take none. Each time that it has asked for the
// work it does what it is told to, which may be nil.
func drain(
	ctx context.Context, app App, colour string, limit time.Duration, each func(context.Context, map[string]int) error,
) error {
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := app.StopTasks(ctx, colour); err != nil {
		return fmt.Errorf("drain colour %s: %w", colour, err)
	}
	if err := untilIdle(within, app, colour, each); err != nil && (ctx.Err() != nil || within.Err() == nil) {
		return fmt.Errorf("drain colour %s: %w", colour, err)
	}
	return retire(ctx, app, colour)
}

// untilIdle returns when the Pods of a colour had no work twice in a row.
func untilIdle(
	ctx context.Context, app App, colour string, each func(context.Context, map[string]int) error,
) error {
	if err := keepQuiet(ctx, followWithin); err != nil {
		return err
	}
	for zeros := 0; ; {
		work, err := app.Work(ctx, colour)
		if err == nil && each != nil {
			err = each(ctx, work)
		}
		if err != nil {
			return err
		}
		if zeros++; sum(work) > 0 {
			zeros = 0
		}
		if zeros == 2 {
			return nil
		}
		if err := keepQuiet(ctx, askEvery); err != nil {
			return err
		}
	}
}

// retire ends a colour, whatever work it has.
func retire(ctx context.Context, app App, colour string) error {
	return inOrder(ctx,
		func(ctx context.Context) error { return app.ScaleColour(ctx, colour, 0) },
		func(ctx context.Context) error { return app.RemoveColour(ctx, colour) },
	)
}

func sum(work map[string]int) (n int) {
	for _, has := range work {
		n += has
	}
	return n
}

// shrink says when a Pod of a colour that drains may go, and which.
type shrink struct {
	// idle says that one goes when one has no work. Else as many stay as their share of the work asks for, as
	// an autoscaler has it: two of three until a third has ended, one until two thirds have.
	idle bool
	// byCost says that the Pods' deletion costs are set from their work before. Else the Deployment chooses.
	byCost bool
}

// gradually is a release whose old Deployment is scaled down one by one.
func gradually(name string, how shrink, when string) Disruption {
	return Disruption{
		Name: name,
		Summary: "Services are switched to a new Deployment, and the old one is scaled down as its clients leave, one Pod " +
			"at a time, " + when,
		Drains: how.idle, Takes: drainsFor, MayTake: drainLimit,
		Run: func(ctx context.Context, app App) error {
			if err := release(ctx, app, colours[0]); err != nil {
				return err
			}
			return drain(ctx, app, FirstColour, drainLimit, how.steps(app, FirstColour))
		},
	}
}

// steps scales a colour down by one Pod at a time, each time that it is told the work which its Pods have.
// The last one is left to whoever ends the colour.
func (s shrink) steps(app App, colour string) func(context.Context, map[string]int) error {
	began, pods := 0, 0 // when it is told the first time
	all := 0
	return func(ctx context.Context, work map[string]int) error {
		if all == 0 {
			began, pods, all = max(1, sum(work)), len(work), len(work)
		}
		if pods <= 1 || s.needed(work, began, all) >= pods {
			return nil
		}
		pods--
		if s.byCost {
			if err := app.SetDeletionCosts(ctx, work); err != nil {
				return err
			}
		}
		return app.ScaleColour(ctx, colour, pods)
	}
}

// needed is how many Pods have to stay for the work that is left, of that which there was for all.
func (s shrink) needed(work map[string]int, began, all int) (n int) {
	if !s.idle {
		return (sum(work)*all + began - 1) / began
	}
	for _, has := range work {
		if has > 0 {
			n++
		}
	}
	return n
}

// rolloutsInARow are rolling updates at the pace of releases.
func rolloutsInARow() Disruption {
	const n = 10
	const apart = (n - 1) * releaseEvery
	return Disruption{
		Name: "rollouts-ten",
		Summary: fmt.Sprintf("%d rolling updates, one every %s: with a long grace period the Pods of several releases "+
			"terminate at the same time", n, releaseEvery),
		Scope: ScopeAll, Takes: apart, MayTake: 2 * apart,
		Run: func(ctx context.Context, app App) error {
			return atIntervals(ctx, n, func(int) error { return app.ChangeTemplate(ctx) })
		},
	}
}
