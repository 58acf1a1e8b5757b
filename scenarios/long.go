package scenarios

import "slices"

// longWork is the name of a profile, and of the target that runs it.
const longWork = "long"

// longProfile is work that outlives a grace period, and the ways that don't cut it.
func longProfile() Profile {
	return Profile{
		Name: longWork,
		Summary: "connections that clients hold for up to a minute, and tasks of a minute from a queue: what cuts them, " +
			"and what a release costs that doesn't: a long grace period, a Deployment per release, a gradual scale-down",
		Consumers: heldConsumers(), Rate: 50,
		Cells: func() []Cell { return slices.Concat(heldCells(), taskCells()) },
	}
}

// heldConsumers are those on which clients hold connections, and heldLanes theirs beside the reference.
func heldConsumers() []string { return []string{"service-websocket", "service-sse"} }

func heldLanes() []string {
	return []string{"service/new", "service-websocket/websocket", "service-sse/sse"}
}

// heldCells are held connections under every way to stop, and every way to release.
func heldCells() []Cell {
	lanes := heldLanes()
	strategies := []string{"shutdown-at-once", "held-close", "held-spread", "in-app-delay", longGrace}
	// Of a rainbow no strategy matters: the one that does least for its clients shows that.
	return slices.Concat(
		[]Cell{{controlStrategy, "rolling-update", lanes}},
		cross(strategies, []string{"rolling-update"}, lanes),
		cross([]string{"shutdown-at-once"}, []string{
			"rainbow", "rainbow-limit", "rainbow-back", "rainbow-never-ready",
			"scale-down-gradually", "scale-down-by-cost", "scale-down-idle-first", "rainbow-ten",
		}, lanes),
		cross([]string{longGrace}, []string{"rollouts-ten"}, lanes),
	)
}

// longGrace is the strategy whose grace period is longer than clients stay.
const longGrace = "held-long-grace"
