package harness

import (
	"context"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// LoseNode ends a node at once and notes when that was: nobody else tells of it. It takes a while until its
// network is gone, on a busy machine tenths of a second.
func (a *notedApp) LoseNode(ctx context.Context, node string) error {
	began := a.now()
	err := a.CutNode(ctx, node)
	a.noteEvent(timeline.Event{Kind: timeline.NodeLost, Node: node, Width: a.now() - began})
	if err != nil {
		return err
	}
	return a.App.LoseNode(ctx, node)
}
