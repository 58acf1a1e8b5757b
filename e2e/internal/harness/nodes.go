package harness

import (
	"context"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// ChooseNode chooses a node and notes which, and when that was.
func (a *notedApp) ChooseNode(ctx context.Context) (string, error) {
	node, err := a.App.ChooseNode(ctx)
	if err == nil {
		a.noteEvent(timeline.Event{Kind: timeline.NodeDisrupted, Node: node})
	}
	return node, err
}
