package harness

import (
	"context"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Isolate takes a Pod out of its Services and notes when that was asked for.
func (a *notedApp) Isolate(ctx context.Context, pod string) error {
	a.note(timeline.LeaveAsked, pod)
	return a.App.Isolate(ctx, pod)
}

// SwitchServices has Services select other Pods and notes of those that they leave when that was asked
// for.
func (a *notedApp) SwitchServices(ctx context.Context) error {
	pods, err := a.Pods(ctx)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		a.note(timeline.LeaveAsked, pod)
	}
	return a.App.SwitchServices(ctx)
}

// FailLiveness has a Pod's container started again and notes when that was asked for.
func (a *notedApp) FailLiveness(ctx context.Context, pod string) error {
	a.note(timeline.RestartAsked, pod)
	return a.App.FailLiveness(ctx, pod)
}

// RestartContainers has all containers of a Pod started again and notes when that was asked for.
func (a *notedApp) RestartContainers(ctx context.Context, pod string) error {
	a.note(timeline.RestartAsked, pod)
	return a.App.RestartContainers(ctx, pod)
}
