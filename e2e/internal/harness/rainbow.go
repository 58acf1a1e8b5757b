package harness

import (
	"context"
	"slices"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// SwitchTo has Services select the Pods of a colour, and notes when that was asked for: of the release, and
// of each Pod that they leave. A Pod that they come back to hasn't left.
func (a *notedApp) SwitchTo(ctx context.Context, colour string) error {
	leaving, err := a.Pods(ctx)
	if err != nil {
		return err
	}
	a.noteEvent(timeline.Event{Kind: timeline.ReleaseSwitched, Release: colour})
	for _, pod := range leaving {
		a.note(timeline.LeaveAsked, pod)
	}
	if err := a.App.SwitchTo(ctx, colour); err != nil {
		return err
	}
	pods, err := a.Pods(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = slices.DeleteFunc(a.events, func(e timeline.Event) bool {
		return e.Kind == timeline.LeaveAsked && slices.Contains(pods, e.Pod)
	})
	return nil
}

// Work asks for the work of a colour, and remembers how much it was.
func (a *notedApp) Work(ctx context.Context, colour string) (map[string]int, error) {
	work, err := a.App.Work(ctx, colour)
	if err != nil {
		return nil, err
	}
	sum := 0
	for _, has := range work {
		sum += has
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.work == nil {
		a.work = map[string]int{}
	}
	a.work[colour] = sum
	return work, nil
}

// ScaleColour scales a colour down. Where that is its end, it notes when it was asked for, and how much
// work there was.
func (a *notedApp) ScaleColour(ctx context.Context, colour string, replicas int) error {
	if replicas == 0 {
		a.mu.Lock()
		left := a.work[colour]
		a.mu.Unlock()
		a.noteEvent(timeline.Event{Kind: timeline.ReleaseDrained, Release: colour, Left: left})
	}
	return a.App.ScaleColour(ctx, colour, replicas)
}
