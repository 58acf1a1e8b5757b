package verdict

import (
	"cmp"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// HeldCounts is how many connections clients held with each Pod over time.
type HeldCounts struct {
	Until time.Duration // the end of the load, since the start of the disruption
	Pods  []HeldPod     // in the order in which clients first came to them
}

// HeldPod is how many connections clients held with one Pod.
type HeldPod struct {
	Pod     string         // "" if the server didn't say who it is
	Deleted *time.Duration // since the start of the disruption; nil if it wasn't by the end of the load
	// Open are the counts at HeldInstants instants, in the middles of as many equal parts of the time.
	Open []int
}

// HeldInstants is at how many instants connections are counted: a minute's picture has one a second.
const HeldInstants = 60

// countHeld counts a lane's connections, from the start of the disruption to the end of the load. It has
// nothing to say of a run that didn't get there.
func countHeld(tl timeline.Timeline, record timeline.LaneRecord, pods lifecycles) (out HeldCounts) {
	began := tl.Window.DisruptStart
	out.Until = tl.Window.LoadEnd - began
	if began == 0 || out.Until <= 0 {
		return HeldCounts{}
	}
	type holder struct { // several Pods of a StatefulSet have one name after another
		pod  string
		life *PodLifecycle
	}
	at := map[holder]int{}
	byOpening := func(a, b timeline.Held) int { return cmp.Compare(a.Opened, b.Opened) }
	for _, h := range slices.SortedStableFunc(slices.Values(record.Held), byOpening) {
		key := holder{h.Pod, pods.named(h.Pod, h.Opened)}
		i, known := at[key]
		if !known {
			i = len(out.Pods)
			at[key] = i
			pod := HeldPod{Pod: h.Pod, Open: make([]int, HeldInstants)}
			if key.life != nil {
				if deleted, ok := key.life.At(timeline.PodDeleted); ok && deleted < tl.Window.LoadEnd {
					since := max(0, deleted-began)
					pod.Deleted = &since
				}
			}
			out.Pods = append(out.Pods, pod)
		}
		for n := range out.Pods[i].Open {
			instant := began + out.Until*time.Duration(2*n+1)/(2*HeldInstants)
			if h.Opened <= instant && instant < h.Ended {
				out.Pods[i].Open[n]++
			}
		}
	}
	return out
}
