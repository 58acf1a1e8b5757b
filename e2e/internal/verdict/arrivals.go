package verdict

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Arrival says how long traffic went on arriving at a Pod that was to go.
type Arrival struct {
	Pod string
	// After is from the Pod's deletion to the last request that landed on it, whether answered or lost. Its resolution is one interval of
	// the lane, 1/rate.
	After time.Duration
}

// arrivals are those of a lane: of each Pod that was deleted and that got a request afterwards, in the order of the deletions. A request has landed on the
// Pod that answered it, or that it is charged to.
func arrivals(record timeline.LaneRecord, losses []Loss, pods lives) []Arrival {
	last := map[*Life]time.Duration{}
	land := func(life *Life, sent time.Duration) {
		if life == nil {
			return
		}
		if deleted, ok := life.At(timeline.PodDeleted); ok && sent > deleted {
			last[life] = max(last[life], sent-deleted)
		}
	}
	known := make([]*Life, len(record.Pods)) // nil where a name needs the instant to tell whose it is
	for i, name := range record.Pods {
		if same := pods.byName[name]; len(same) == 1 {
			known[i] = same[0]
		}
	}
	for _, r := range record.Requests {
		if r.Pod == 0 || int(r.Pod) > len(known) {
			continue
		}
		life := known[r.Pod-1]
		if life == nil {
			life = pods.named(record.Pods[r.Pod-1], r.Sent())
		}
		land(life, r.Sent())
	}
	for _, loss := range losses {
		if loss.Evidence != ByAnswer { // those are among the requests
			land(loss.life, loss.Sent)
		}
	}
	var out []Arrival
	for _, life := range slices.SortedFunc(maps.Keys(last), func(a, b *Life) int {
		return cmp.Or(cmp.Compare(a.Marks[timeline.PodDeleted], b.Marks[timeline.PodDeleted]), cmp.Compare(a.Pod, b.Pod))
	}) {
		out = append(out, Arrival{life.Pod, last[life]})
	}
	return out
}
