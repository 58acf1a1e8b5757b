package scenarios

import "context"

// Nodes is what a disruption can do to the nodes that the app's Pods run on.
type Nodes interface {
	ChooseNode(ctx context.Context) (node string, err error)
	RestoreNodes(ctx context.Context) error
}

func onNode(ctx context.Context, app App, do func(ctx context.Context, node string) error) error {
	node, err := app.ChooseNode(ctx)
	if err != nil {
		return err
	}
	return do(ctx, node)
}

func restoreNodes(ctx context.Context, app App) error { return app.RestoreNodes(ctx) }
