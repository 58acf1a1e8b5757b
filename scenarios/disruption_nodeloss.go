package scenarios

import (
	"context"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/fixtures"
)

// NodeLoss is what a disruption can do to a node that goes, and takes its Pods along. RestoreNodes starts
// it again.
type NodeLoss interface {
	// RemoveNode removes a node as the cluster autoscaler does: it taints the node, evicts the app's Pods
	// there, waits until they are gone, deletes the Node and stops the machine.
	RemoveNode(ctx context.Context, node string) error
	// LoseNode ends a node at once: nothing of it says good-bye.
	LoseNode(ctx context.Context, node string) error
	// WaitLost waits until the Pods of a node that was lost are out of the endpoints of all Services, and
	// as many as asked for are ready on other nodes. The Pods themselves terminate until the node is back.
	WaitLost(ctx context.Context) error
}

// impatient has Pods tolerate a node that nobody hears of for 10 s. The default of 300 s, which admission
// adds where there is nothing, is a wait in which nothing happens that is measured.
const impatient = `spec:
  template:
    spec:
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 10}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 10}
`

// nodeLosses are those in which a node goes. They are the last of all: what they need of the cluster is
// nothing, and one whose node doesn't come back is not used again.
func nodeLosses() []Disruption {
	return []Disruption{
		{
			Name: "autoscaler-removal",
			Summary: "the node with most of the app's Pods is removed as the cluster autoscaler does: it is tainted, " +
				"its Pods are evicted at the same time, the Node is deleted, and the machine stopped",
			Scope: ScopeNode, Reach: ReachNode, TakesNode: true, Workload: fixtures.DefaultWorkload,
			Takes: 20 * time.Second,
			Run:   func(ctx context.Context, app App) error { return onNode(ctx, app, app.RemoveNode) },
			Undo:  restoreNodes,
		},
		{
			Name: "node-lost",
			Summary: "the node with most of the app's Pods is lost at once: requests go on to it until the node controller " +
				"gives it up, about 50 s later, and its Pods are replaced when they have tolerated that for 10 s, which these " +
				"runs have instead of 300 s",
			Scope: ScopeNode, Reach: ReachNode, TakesNode: true, Workload: fixtures.DefaultWorkload,
			// Nobody knows that the node is gone for as long as its silence may be an accident.
			Breaks: classes,
			Patch:  impatient,
			Takes:  80 * time.Second,
			Run:    func(ctx context.Context, app App) error { return onNode(ctx, app, app.LoseNode) },
			Over:   func(ctx context.Context, app App) error { return app.WaitLost(ctx) },
			Undo:   restoreNodes,
		},
	}
}

// asksNodes says whether a consumer's clients, or its load balancer, send to nodes: one that is gone
// answers nobody, whatever its Pods have done.
func asksNodes(c fixtures.Consumer) bool {
	return strings.Contains(c.Address, "{node}") || strings.Contains(c.Address, "{loadBalancer}")
}
