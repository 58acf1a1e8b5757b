package report

import (
	"fmt"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// releaseOfRun is a release of one run of a row.
type releaseOfRun struct {
	row
	Repeat int
	verdict.Release
}

// releasesOf is when each release came and went, and what became of the connections that it held, run by
// run.
func releasesOf(m model) section {
	var parts [][]releaseOfRun
	for _, part := range m.Parts {
		for _, r := range part {
			for _, v := range r.Runs {
				var list []releaseOfRun
				for _, release := range v.Releases {
					list = append(list, releaseOfRun{r, v.Repeat, release})
				}
				if len(list) > 0 && v.Conclusive() {
					parts = append(parts, list)
				}
			}
		}
	}
	if len(parts) == 0 {
		return section{}
	}
	return section{Title: "Release by release", Blocks: []block{{
		Text: "Releases that were there at the same time, in conclusive runs. Instants count from the start of the " +
			"disruption.",
		Table: Tabulate(releaseColumns, parts),
		List: []string{
			"ready: as many of its Pods as asked for; switched to and away: when Services were told to select its Pods, and " +
				"those of another; ended: when it was scaled to zero; gone: its last Pod",
			"up after: from when Services were told to select others until it was gone",
			"left: connections, tasks and requests that it had when it was ended: its time to drain was over",
			"Pod-s: what its Pods ran for, from the start of the disruption until it had settled",
		},
	}}}
}

var releaseColumns = []Column[releaseOfRun]{
	Key("disruption", func(r releaseOfRun) string { return r.Where }),
	Key("strategy", func(r releaseOfRun) string { return r.label() }),
	{
		Header: Header{Name: "run", Key: true},
		Cell:   func(r releaseOfRun) string { return integer(r.Repeat) },
		Hide:   func(r releaseOfRun) bool { return len(r.Runs) == 1 },
	},
	Key("release", func(r releaseOfRun) string { return Plain(r.Name) }),
	Number("ready", func(r releaseOfRun) string { return lengthOf(r.Ready) }),
	Number("switched to", func(r releaseOfRun) string { return lengthOf(r.Switched) }),
	Number("away", func(r releaseOfRun) string { return lengthOf(r.Away) }),
	Number("ended", func(r releaseOfRun) string { return lengthOf(r.Drained) }),
	Number("gone", func(r releaseOfRun) string { return lengthOf(r.Gone) }),
	Number("up after", func(r releaseOfRun) string {
		if r.Away == nil || r.Gone == nil {
			return None
		}
		return Duration(*r.Gone - *r.Away)
	}),
	Number("Pods", func(r releaseOfRun) string { return integer(r.Pods) }),
	Number("Pod-s", func(r releaseOfRun) string { return podSeconds(r.PodSeconds) }),
	Number("connections", func(r releaseOfRun) string { return integer(r.Connections) }),
	Number("announced", func(r releaseOfRun) string { return integer(r.Announced) }),
	Number("cut", func(r releaseOfRun) string { return integer(r.Cut) }),
	Number("left", func(r releaseOfRun) string { return integer(r.Left) }).
		Unless(func(r releaseOfRun) bool { return r.Left == 0 }),
}

// lengthOf is a length that may not be known.
func lengthOf(d *time.Duration) string {
	if d == nil {
		return None
	}
	return Duration(*d)
}

// releaseNotes says how many releases were there at once, and which of them were ended with their work.
func (m model) releaseNotes() []string {
	var out []string
	for _, r := range slices.Concat(m.Parts...) {
		for _, v := range r.Runs {
			if len(v.Releases) > 2 {
				out = append(out, fmt.Sprintf("%s: %s, at most %d of them at the same time, with %s",
					m.name(v), Count(len(v.Releases), "release"), v.ReleasesAtOnce, Count(v.PeakPods, "Pod")))
			}
			for _, release := range v.Releases {
				if release.Left > 0 {
					out = append(out, fmt.Sprintf("%s: the time of release %s to drain was over: it was ended with %d of its "+
						"connections, tasks and requests", m.name(v), Plain(release.Name), release.Left))
				}
			}
		}
	}
	return out
}

// FileRelease is a release of a run. Seconds count from the start of the disruption; what didn't come is
// not there.
type FileRelease struct {
	Release         string   `json:"release"`
	ReadySeconds    *float64 `json:"readySeconds,omitempty"`
	SwitchedSeconds *float64 `json:"switchedSeconds,omitempty"`
	AwaySeconds     *float64 `json:"awaySeconds,omitempty"`
	EndedSeconds    *float64 `json:"endedSeconds,omitempty"`
	GoneSeconds     *float64 `json:"goneSeconds,omitempty"`
	Left            int      `json:"left"`
	Pods            int      `json:"pods"`
	PodSeconds      float64  `json:"podSeconds"`
	Connections     int      `json:"connections"`
	Announced       int      `json:"announced"`
	Cut             int      `json:"cut"`
}

func newFileReleases(list []verdict.Release) []FileRelease {
	var out []FileRelease
	for _, r := range list {
		out = append(out, FileRelease{
			r.Name, secondsOf(r.Ready), secondsOf(r.Switched), secondsOf(r.Away), secondsOf(r.Drained), secondsOf(r.Gone),
			r.Left, r.Pods, thousandths(r.PodSeconds), r.Connections, r.Announced, r.Cut,
		})
	}
	return out
}
