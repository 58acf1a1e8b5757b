package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// errNoQueue is the guarantee that no run is made in which Pods look for tasks that nobody has.
var errNoQueue = errors.New("its Pods take tasks from a worker, and no lane is sent from within the cluster")

// taskQueue is the Service at which Pods find the queue of tasks, for a scenario in which they take some.
func (a *App) taskQueue(s scenarios.Scenario, workers bool) ([]object, error) {
	if s.Tasks() == nil {
		return nil, nil
	}
	if !workers {
		return nil, fmt.Errorf("strategy %s: %w", s.Strategy.Name, errNoQueue)
	}
	list, err := fixtures.TaskQueue()
	if err != nil {
		return nil, err
	}
	return a.cluster.locate(list)
}

// exposeQueue makes the Service, unless a run that was killed has left one. It goes as what a disruption
// has needed does.
func (a *App) exposeQueue(ctx context.Context, queue []object) error {
	for _, o := range queue {
		a.cluster.added = append(a.cluster.added, o)
		if _, err := o.apply(ctx); err != nil {
			return err
		}
	}
	return nil
}
