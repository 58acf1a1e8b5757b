package verdict

import (
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Release is what became of one release of the app: a colour, or the Pods of one template. Instants
// count from the start of the disruption, and are nil where it didn't come to that, or nobody told.
type Release struct {
	Name     string         // timeline.FirstRelease for the one that the app was deployed with
	Ready    *time.Duration // when as many of its Pods as asked for were; nil for the first
	Switched *time.Duration // when Services were to select it, the first time
	Away     *time.Duration // when they were to select another; nil for one that they came back to
	Drained  *time.Duration // when it was scaled to zero
	Left     int            // work that its Pods had then: its time to drain was over
	Gone     *time.Duration // when its last Pod was
	// Pods are all that it had, and PodSeconds what they ran for from the start of the disruption on, until
	// it had settled.
	Pods       int
	PodSeconds float64
	// Connections are those that clients held with its Pods. The server ended some by its word, and cut some.
	Connections, Announced, Cut int

	pods []*PodLifecycle
}

// releases are those of a run, in the order in which they came, and how many of them had Pods at the same
// time at most. A run that has one after another, as a rolling update does, and says nothing of either, has
// none to tell of.
func releases(tl timeline.Timeline, pods lifecycles, lanes []Lane) (list []Release, atOnce int) {
	start, end := tl.Window.DisruptStart, tl.Window.Settled
	if end == 0 {
		end = tl.Window.LoadEnd
	}
	if start == 0 {
		return nil, 0
	}
	index := map[string]int{}
	of := func(name string) *Release {
		if name == "" {
			name = timeline.FirstRelease
		}
		if _, known := index[name]; !known {
			index[name] = len(list)
			list = append(list, Release{Name: name})
		}
		return &list[index[name]]
	}
	for _, life := range pods.all {
		if life.has(timeline.PodCreated) && life.created() < end {
			r := of(life.Release)
			r.pods = append(r.pods, life)
		}
	}
	told, now := false, timeline.FirstRelease
	for _, e := range tl.Events {
		at := new(e.At - start)
		switch e.Kind {
		case timeline.ReleaseSwitched:
			of(now).Away = at
			r := of(e.Release)
			if r.Away = nil; r.Switched == nil {
				r.Switched = at
			}
			told, now = true, e.Release
		case timeline.ReleaseDrained:
			r := of(e.Release)
			r.Drained, r.Left, told = at, e.Left, true
		}
	}
	if !told && len(list) < 3 {
		return nil, 0
	}
	var lives []span
	for i := range list {
		lives = append(lives, list[i].live(tl, start, end))
	}
	for _, l := range lives {
		n := 0
		for _, other := range lives {
			if other.from <= l.from && l.from < other.to {
				n++
			}
		}
		atOnce = max(atOnce, n)
	}
	for i, record := range tl.Lanes {
		for _, h := range record.Held {
			if life := pods.named(h.Pod, h.Ended); life != nil {
				of(life.Release).Connections++
			}
		}
		if i >= len(lanes) || lanes[i].HeldConnections == nil {
			continue
		}
		for _, e := range lanes[i].HeldConnections.Ends {
			if life := pods.find(e.Pod, ""); life != nil {
				r := of(life.Release)
				r.Announced, r.Cut = r.Announced+e.Announced, r.Cut+e.Cut
			}
		}
	}
	return list, atOnce
}

// live works out what the release's Pods tell, and returns from when until when it had some.
func (r *Release) live(tl timeline.Timeline, start, end time.Duration) span {
	r.Pods = len(r.pods)
	lived := span{endless, 0}
	var ready []time.Duration
	var last time.Duration
	gone := 0
	for _, life := range r.pods {
		to := end
		if at, ok := life.goneAt(); ok {
			gone++
			last, to = max(last, at), min(end, at)
		}
		if at, ok := life.At(timeline.PodReady); ok {
			ready = append(ready, at)
		}
		from := max(start, life.created())
		lived = span{min(lived.from, from), max(lived.to, to)}
		r.PodSeconds += max(0, to-from).Seconds()
	}
	slices.Sort(ready)
	if n := tl.Replicas; n > 0 && n <= len(ready) && ready[n-1] >= start {
		r.Ready = new(ready[n-1] - start)
	}
	if gone == r.Pods && gone > 0 {
		r.Gone = new(last - start)
	}
	return lived
}
