package verdict

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// colourful is a run of two replicas whose Services are switched to red, at 4 s, and to blue, at 24 s.
// What was there drains until 34 s; red has work at its limit.
//
//	first  ──────────────────────────── drained 34 s ─ gone 36 s
//	red       ready 3 s ─ switched 4 s ───────────── drained 44 s ─ gone 45 s
//	blue                         ready 23 s ─ switched 24 s ──────────────────
func colourful() timeline.Timeline {
	tl := timeline.Timeline{
		Replicas: 2, Window: timeline.Window{DisruptStart: sec, DisruptEnd: 46 * sec, Settled: 46 * sec, LoadEnd: 50 * sec},
		Lanes: []timeline.LaneRecord{{Name: "held/websocket", Held: []timeline.Held{
			{Pod: "first-a", Ended: 3 * sec}, {Pod: "first-b", Ended: 30 * sec}, {Pod: "red-a", Ended: 44 * sec}, {Pod: "", Ended: sec},
		}}},
	}
	pods := func(release string, created, ready, gone time.Duration) {
		for _, name := range []string{"a", "b"} {
			pod := release + "-" + name
			of := release
			if release == timeline.FirstRelease {
				of = ""
			}
			tl.Events = append(tl.Events,
				timeline.Event{At: created, Kind: timeline.PodCreated, Pod: pod, Release: of},
				timeline.Event{At: ready, Kind: timeline.PodReady, Pod: pod},
			)
			if gone > 0 {
				tl.Events = append(tl.Events, timeline.Event{At: gone, Kind: timeline.PodGone, Pod: pod})
			}
			ready, gone = ready+100*ms, gone+ms*min(1, gone)
		}
	}
	pods(timeline.FirstRelease, 0, 0, 36*sec)
	pods("red", 2*sec, 3*sec, 45*sec)
	pods("blue", 22*sec, 23*sec, 0)
	tl.Events = append(tl.Events,
		timeline.Event{At: 4 * sec, Kind: timeline.ReleaseSwitched, Release: "red"},
		timeline.Event{At: 24 * sec, Kind: timeline.ReleaseSwitched, Release: "blue"},
		timeline.Event{At: 34 * sec, Kind: timeline.ReleaseDrained, Release: timeline.FirstRelease},
		timeline.Event{At: 44 * sec, Kind: timeline.ReleaseDrained, Release: "red", Left: 3},
	)
	return tl
}

func judgedReleases(tl timeline.Timeline, ends ...HeldEnds) ([]Release, int) {
	list, atOnce := releases(tl, podLifecycles(tl), []Lane{{HeldConnections: &Held{Ends: ends}}})
	for i := range list {
		list[i].pods = nil
	}
	return list, atOnce
}

func TestReleases(t *testing.T) {
	at := func(d time.Duration) *time.Duration { return &d }
	list, atOnce := judgedReleases(colourful(), HeldEnds{Pod: "red-a", Cut: 2, Announced: 1}, HeldEnds{Pod: "", Cut: 9})
	assert.Equal(t, 3, atOnce)
	assert.Equal(t, []Release{
		{
			Name: "first", Away: at(3 * sec), Drained: at(33 * sec), Gone: at(35*sec + ms), Pods: 2, PodSeconds: 70.001,
			Connections: 2,
		},
		{
			Name: "red", Ready: at(2100 * ms), Switched: at(3 * sec), Away: at(23 * sec), Drained: at(43 * sec), Left: 3,
			Gone: at(44*sec + ms), Pods: 2, PodSeconds: 86.001, Connections: 1, Announced: 1, Cut: 2,
		},
		{Name: "blue", Ready: at(22100 * ms), Switched: at(23 * sec), Pods: 2, PodSeconds: 48},
	}, list)
}

// TestReleasesTold: one that Services come back to is not left; rolling updates have releases, too, but
// one alone is nothing to tell of.
func TestReleasesTold(t *testing.T) {
	back := colourful()
	back.Events = append(back.Events, timeline.Event{At: 40 * sec, Kind: timeline.ReleaseSwitched, Release: "red"})
	list, _ := judgedReleases(back)
	assert.Nil(t, list[1].Away)
	assert.Equal(t, 3*sec, *list[1].Switched)
	assert.Equal(t, 39*sec, *list[2].Away)

	tl := colourful()
	tl.Events = slices.DeleteFunc(tl.Events, func(e timeline.Event) bool { return e.Pod == "" })
	list, atOnce := judgedReleases(tl)
	assert.Len(t, list, 3)
	assert.Equal(t, 3, atOnce)
	assert.Nil(t, list[0].Away)

	for i := range tl.Events {
		if tl.Events[i].Release == "blue" {
			tl.Events[i].Release = "red"
		}
	}
	list, atOnce = judgedReleases(tl)
	assert.Empty(t, list)
	assert.Zero(t, atOnce)

	unreached := colourful()
	unreached.Window.DisruptStart = 0
	list, _ = judgedReleases(unreached)
	assert.Empty(t, list)
}
