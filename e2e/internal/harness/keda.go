package harness

import (
	"context"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// ScaledToZero asks whether somebody has scaled a colour to zero. Where it was done, it notes that, and how
// much work there was when the colour was last asked.
func (a *notedApp) ScaledToZero(ctx context.Context, colour string) (bool, error) {
	zero, err := a.App.ScaledToZero(ctx, colour)
	if zero {
		a.mu.Lock()
		left := a.work[colour]
		a.mu.Unlock()
		a.noteEvent(timeline.Event{Kind: timeline.ReleaseDrained, Release: colour, Left: left})
	}
	return zero, err
}
