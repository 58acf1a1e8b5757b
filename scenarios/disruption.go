package scenarios

import (
	"context"
	"fmt"
	"time"
)

// Disruption is what makes Pods go away.
type Disruption struct {
	Name    string
	Summary string
	// Replaces says that every Pod that was there is to be gone afterwards. A run in which some stayed proves nothing.
	Replaces bool
	// Run does it. It returns when the last step was taken and its effect is there as the summary says; Pods may still be terminating then.
	Run func(ctx context.Context, app App) error
}

// App is what a disruption can do to the app under test.
type App interface {
	// Pods names the Pods that are neither terminating nor gone, oldest first.
	Pods(ctx context.Context) ([]string, error)
	// Restart changes the Pod template, as a new release does, and returns when all Pods are of the new template and available. That is what
	// kubectl rollout status waits for; old Pods may still be terminating.
	Restart(ctx context.Context) error
	// DeletePod deletes a Pod with the grace period of its own, as kubectl delete --wait=false does.
	DeletePod(ctx context.Context, name string) error
	// WaitReady waits until as many Pods as the Deployment asks for are available, terminating ones not counted.
	WaitReady(ctx context.Context) error
}

// Disruptions are all there are, in the order in which reports show them.
func Disruptions() []Disruption {
	return []Disruption{
		Quiet(10 * time.Second),
		{
			Name:     "rolling-update",
			Summary:  "the Pod template changes, as with a new release, and the Deployment replaces its Pods",
			Replaces: true,
			Run:      func(ctx context.Context, app App) error { return app.Restart(ctx) },
		},
		{
			Name:     "pod-deletion",
			Summary:  "each Pod is deleted in turn, the next one when the replacement is ready",
			Replaces: true,
			Run:      deleteInTurn,
		},
	}
}

// Quiet does nothing to any Pod for as long as given.
func Quiet(d time.Duration) Disruption {
	return Disruption{
		Name:    "none",
		Summary: fmt.Sprintf("nothing happens to any Pod for %s (control: nothing may be lost)", d),
		Run:     func(ctx context.Context, _ App) error { return keepQuiet(ctx, d) },
	}
}

func keepQuiet(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func deleteInTurn(ctx context.Context, app App) error {
	pods, err := app.Pods(ctx)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return fmt.Errorf("delete Pods in turn: there are none")
	}
	for _, pod := range pods {
		if err := app.DeletePod(ctx, pod); err != nil {
			return err
		}
		if err := app.WaitReady(ctx); err != nil {
			return fmt.Errorf("replacement of Pod %s: %w", pod, err)
		}
	}
	return nil
}
