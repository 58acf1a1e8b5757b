package scenarios

import (
	"context"
	"fmt"
)

// quotas are disruptions that a ResourceQuota stands in the way of.
func quotas() []Disruption {
	return []Disruption{{
		Name: "rolling-update-quota",
		Summary: fmt.Sprintf("as rolling-update, in a namespace with a quota of %d Pods: "+
			"where more would be there at once, new Pods have to wait until old ones are gone", quotaPods),
		Scope:      ScopeAll,
		Strategies: []string{"ten-replicas-stop-20s"},
		Objects: fmt.Sprintf(`apiVersion: v1
kind: ResourceQuota
metadata: {name: pods}
spec:
  hard: {pods: "%d"}
  scopes: [NotTerminating]
`, quotaPods),
		Run: func(ctx context.Context, app App) error { return app.ChangeTemplate(ctx) },
	}}
}

// quotaPods leaves room for four Pods beside ten replicas: one that is on its way up, and three that
// are on their way out. A Pod that terminates counts until it is gone. Those that send the load
// don't count, however many there are: they have a deadline, and what Kubernetes calls terminating
// here is a Pod with one.
const quotaPods = 14
