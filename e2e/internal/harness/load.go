package harness

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
	"github.com/zerodrop/zerodrop/scenarios"
)

// load is all lanes of a run, each with whoever sends it.
type load struct {
	groups []group
	lanes  []traffic.Lane // of all groups, in the order of the scenario
	notice time.Duration  // the longest that any sender needs
	sent   errgroup.Group
}

// group is the lanes that are sent from one place.
type group struct {
	sender  traffic.Sender
	lanes   []int // indices of load.lanes
	records []timeline.LaneRecord
	senders []timeline.Sender
}

// prepare finds a sender for each lane and gets the senders ready.
func prepare(ctx context.Context, app App, s scenarios.Scenario, clock timeline.Clock) (*load, error) {
	l := &load{}
	places := map[string]int{}
	for i, lane := range s.Lanes {
		from := lane.Consumer.From
		g, ok := places[from]
		if !ok {
			sender := app.Sender(from)
			if sender == nil {
				return nil, fmt.Errorf("lane %s: is sent from %q, where nobody sends", lane.Name(), from)
			}
			g, places[from] = len(l.groups), len(l.groups)
			l.groups = append(l.groups, group{sender: sender})
			l.notice = max(l.notice, sender.LeadTime())
		}
		l.groups[g].lanes = append(l.groups[g].lanes, i)
		sent := traffic.Lane{Name: lane.Name(), URL: app.URL(lane.Consumer), Load: lane.Load, Target: s.TargetOf(lane)}
		if keep := lane.Consumer.Resolve; keep != nil {
			sent.Resolve = &traffic.Resolve{Keep: *keep}
		}
		if known := app.Addresses(lane.Consumer); len(known) > 0 {
			sent.Resolve = &traffic.Resolve{Known: known}
		}
		l.lanes = append(l.lanes, sent)
	}
	var ready errgroup.Group
	for _, g := range l.groups {
		ready.Go(func() error { return g.sender.Sync(ctx, clock) })
	}
	return l, ready.Wait()
}

// start has all lanes sent. The first requests are due as soon as every sender can be ready, the
// lanes shifted against each other: by a third of an interval each if there are three.
func (l *load) start(ctx context.Context, plan traffic.Plan, now time.Duration) {
	for i := range l.lanes {
		lane := &l.lanes[i]
		lane.Start = now + l.notice + time.Duration(i)*lane.Interval()/time.Duration(len(l.lanes))
	}
	for i := range l.groups {
		g := &l.groups[i]
		var lanes []traffic.Lane
		for _, i := range g.lanes {
			lanes = append(lanes, l.lanes[i])
		}
		l.sent.Go(func() (err error) {
			g.records, g.senders, err = g.sender.Send(ctx, lanes, plan)
			return err
		})
	}
}

// wait returns when all is sent and answered, with the records in the order of the scenario's
// lanes. They are worth keeping also with an error.
func (l *load) wait() ([]timeline.LaneRecord, []timeline.Sender, error) {
	err := l.sent.Wait()
	records := make([]timeline.LaneRecord, len(l.lanes))
	var senders []timeline.Sender
	for _, g := range l.groups {
		for n, i := range g.lanes {
			records[i] = g.records[n]
		}
		senders = append(senders, g.senders...)
	}
	return records, senders, err
}
