package scenarios

import (
	"context"

	"github.com/zerodrop/zerodrop/fixtures"
)

// Nodes is what a disruption can do to the nodes that the app's Pods are on. It reaches beyond the
// namespace: Undo has to be RestoreNodes for each that uses it, and for each of reach cluster as well.
type Nodes interface {
	// ChooseNode chooses the node with most of the app's Pods; of equals, that of the oldest Pod. Its
	// Pods are those that have to go (ScopeNode). It is called once a run.
	ChooseNode(ctx context.Context) (node string, err error)
	// Cordon lets no new Pods onto a node, as kubectl cordon does.
	Cordon(ctx context.Context, node string) error
	// Drain cordons a node and evicts the app's Pods there, all at the same time, as kubectl drain does.
	// As long as a budget forbids an eviction, it is tried again. It returns when all are granted.
	Drain(ctx context.Context, node string) error
	// RestoreNodes takes back all that was done to nodes, and returns when each is ready and takes Pods.
	// From then on the cluster is one that other runs can use: without it, it is made anew.
	RestoreNodes(ctx context.Context) error
}

// onNodes are the disruptions that an administrator's work on a node is for the app. Other Pods on that
// node stay, as with kubectl drain --pod-selector: the loss of CoreDNS, say, is a disruption of its own.
//
// Two of three Pods are on the node that is drained, and the third serves all the time, so that a
// strategy's promises hold as they do in a rollout. Not every Pod is replaced, and so nothing has to be
// dropped on new connections (HeldTo). They are all done to a Deployment: the Pods of others stay with
// their node, or their names.
func onNodes() []Disruption {
	drain := func(ctx context.Context, app App) error { return onNode(ctx, app, app.Drain) }
	return []Disruption{
		{
			Name: "node-drain",
			Summary: "the node with most of the Pods is cordoned and they are evicted, as kubectl drain does, under a " +
				"PodDisruptionBudget that lets one go at a time; Pods of others stay there",
			Scope: ScopeNode, Reach: ReachNode, Workload: fixtures.DefaultWorkload, Objects: budget,
			Run: drain, Undo: restoreNodes,
		},
		{
			Name:    "node-drain-no-budget",
			Summary: "as node-drain, without a budget: all Pods of the node go at once, and only then are they replaced",
			Scope:   ScopeNode, Reach: ReachNode, Workload: fixtures.DefaultWorkload,
			Run: drain, Undo: restoreNodes,
		},
		{
			Name: "node-drain-single-replica",
			Summary: "as node-drain-no-budget, of one Pod in all: it is deleted first and replaced later, and whoever " +
				"follows ready endpoints alone has nobody to send to until then, whatever the delay",
			Scope: ScopeNode, Reach: ReachNode, Workload: fixtures.DefaultWorkload,
			// kube-proxy alone goes on sending to a Pod that terminates, if no other is there.
			Breaks: onConnections,
			Patch:  "spec: {replicas: 1}",
			Run:    drain, Undo: restoreNodes,
		},
		{
			Name: "cordon-rollout",
			Summary: "the node with most of the Pods is cordoned and the Pod template changes, which empties the node " +
				"without an eviction: new Pods are ready elsewhere before old ones go",
			Scope: ScopeAll, Reach: ReachNode, Workload: fixtures.DefaultWorkload,
			Run: func(ctx context.Context, app App) error {
				return inOrder(ctx,
					func(ctx context.Context) error { return onNode(ctx, app, app.Cordon) }, app.ChangeTemplate)
			},
			Undo: restoreNodes,
		},
	}
}

// onNode does something to the node that the disruption is about.
func onNode(ctx context.Context, app App, do func(ctx context.Context, node string) error) error {
	node, err := app.ChooseNode(ctx)
	if err != nil {
		return err
	}
	return do(ctx, node)
}

func restoreNodes(ctx context.Context, app App) error { return app.RestoreNodes(ctx) }
