package harness

import (
	"context"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// LoseNode ends a node at once and notes when that was about to be done: nobody else tells of it.
func (a *notedApp) LoseNode(ctx context.Context, node string) error {
	a.mu.Lock()
	a.events = append(a.events, timeline.Event{At: a.now(), Kind: timeline.NodeLost, Node: node})
	a.mu.Unlock()
	return a.App.LoseNode(ctx, node)
}
