package scenarios

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// argoBlueGreen is done by the controller of Argo Rollouts.
const argoBlueGreen = "argo-blue-green"

// argoWait is the default of a Rollout's scaleDownDelaySeconds. Argo recommends it as the least, "to
// ensure IP table propagation".
const argoWait = 30 * time.Second

// argo are disruptions that Argo Rollouts makes.
func argo() []Disruption {
	return []Disruption{{
		Name: argoBlueGreen,
		Summary: fmt.Sprintf("the Pod template of an Argo Rollout changes: its controller makes new Pods, switches the "+
			"Service to them at once, and scales the old ones down %s later, whatever the strategy's delay; last arrivals "+
			"count from when an old Pod has left the endpoints, and those of blue-green from just before the switch", argoWait),
		Scope:      ScopeAll,
		Reach:      ReachCluster, // the controller, and the kinds that it defines, are there for everybody
		Waits:      true,
		Wait:       argoWait,
		Workload:   "rollout",
		Switches:   "service", // a Rollout switches one Service
		OwnProfile: true,
		// It returns when the old Pods are on their way out.
		Run:  func(ctx context.Context, app App) error { return app.ChangeTemplate(ctx) },
		Undo: restoreNodes,
	}}
}

// argoProfile is Argo Rollouts beside the same thing done by hand.
func argoProfile() Profile {
	const byHand = "blue-green"
	lanes := serviceLanes()
	return Profile{
		Name: "argo",
		Summary: "blue-green by Argo Rollouts, which waits for 30 s, beside one that waits for the strategy's delay; " +
			"needs an image: make images CONSUMERS=argo-rollouts",
		Strategies: heldAgainst(), Disruptions: []string{argoBlueGreen, byHand}, Rate: DefaultRate, Lanes: lanes,
		Cells: func() []Cell { // those that need the controller follow each other
			return slices.Concat([]Cell{{controlStrategy, "rolling-update", lanes}},
				cross(heldAgainst(), []string{argoBlueGreen}, lanes), cross(heldAgainst(), []string{byHand}, lanes))
		},
	}
}
