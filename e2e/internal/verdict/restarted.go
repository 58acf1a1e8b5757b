package verdict

import (
	"fmt"
	"slices"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// restarted says which programs of the cluster the disruption has restarted, a sentence each, and of a
// kubelet whether its node stopped being ready after that.
func restarted(tl timeline.Timeline) []string {
	var out []string
	for _, e := range tl.Events {
		if e.Kind != timeline.ProgramRestarted {
			continue
		}
		name := e.Detail
		if e.Node != "" {
			name += " of node " + e.Node
		}
		text := fmt.Sprintf("%s was restarted %s after the start of the disruption",
			name, round(e.At-tl.Window.DisruptStart))
		down := slices.IndexFunc(tl.Events, func(later timeline.Event) bool {
			return later.Kind == timeline.NodeUnready && later.Node == e.Node && later.At >= e.At
		})
		if e.Node != "" && down >= 0 {
			text += fmt.Sprintf(", and the node stopped being ready %s later", round(tl.Events[down].At-e.At))
		}
		out = append(out, text)
	}
	return out
}

// kubeletRestarted says that a Node stopped being ready after the disruption had restarted its kubelet:
// a finding about that, and no breakdown.
func kubeletRestarted(tl timeline.Timeline, unready timeline.Event) bool {
	return slices.ContainsFunc(tl.Events, func(e timeline.Event) bool {
		return e.Kind == timeline.ProgramRestarted && e.Node == unready.Node && e.Node != "" && e.At <= unready.At
	})
}
