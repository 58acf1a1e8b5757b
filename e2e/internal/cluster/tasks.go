package cluster

import (
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
