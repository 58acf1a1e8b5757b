package picture

import (
	"fmt"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// axis is the time that a picture shows, from its left edge to its right edge.
type axis struct{ from, to time.Duration }

// beyond is how far past the load a picture goes to show what still happened to Pods. A clock that
// steps may put a mark anywhere: it must not push all else into a corner.
const beyond = 30 * time.Second

// newAxis covers every request and, as far as they are not far away, all that happened to Pods.
func newAxis(v verdict.Verdict, tl timeline.Timeline) axis {
	a := axis{to: max(tl.Window.LoadEnd, tl.Window.Settled, tl.Window.DisruptEnd, tl.Window.DisruptStart)}
	for _, lane := range tl.Lanes {
		for _, r := range lane.Requests {
			if r.Cause != timeline.Unsent {
				a.to = max(a.to, r.Done())
			}
		}
	}
	within := axis{a.from - beyond, a.to + beyond}
	for _, life := range v.Pods {
		for _, at := range life.FirstSeen {
			if within.shows(at) {
				a.from, a.to = min(a.from, at), max(a.to, at)
			}
		}
	}
	if a.to-a.from < time.Second {
		a.to = a.from + time.Second
	}
	margin := (a.to - a.from) / 100 // a mark at the edge is a whole one
	return axis{a.from - margin, a.to + margin}
}

func (a axis) shows(at time.Duration) bool { return a.from <= at && at <= a.to }

// clip is the nearest instant that the axis shows.
func (a axis) clip(at time.Duration) time.Duration { return max(a.from, min(at, a.to)) }

// share writes a part of the axis. Everything is placed by its share of the width, so that a
// browser can draw it as wide as it likes, and wider to zoom.
func (a axis) share(d time.Duration) string {
	return fmt.Sprintf("%.4g%%", 100*float64(d)/float64(a.to-a.from))
}

// x is the place of an instant: to a hundred-thousandth of the width, which is half a pixel at the
// greatest zoom.
func (a axis) x(at time.Duration) string {
	return fmt.Sprintf("%.3f%%", 100*float64(at-a.from)/float64(a.to-a.from))
}

// tick is a labelled instant on the axis. A fine one is for who has zoomed in.
type tick struct {
	X, Text string
	Fine    bool
}

// ticks are round instants: twelve at most, and nine fine ones between each two.
func (a axis) ticks() []tick {
	const fine = 10
	step := round((a.to-a.from)/12) / fine
	var out []tick
	for at := a.from.Truncate(step); at <= a.to; at += step {
		if at >= a.from {
			out = append(out, tick{a.x(at), fmt.Sprintf("%gs", at.Seconds()), at%(fine*step) != 0})
		}
	}
	return out
}

// round is the shortest round length that is no shorter: 1, 2 or 5 of a power of ten.
func round(d time.Duration) time.Duration {
	for power := time.Millisecond; ; power *= 10 {
		for _, length := range []time.Duration{power, 2 * power, 5 * power} {
			if length >= d {
				return length
			}
		}
	}
}

// phase is a part of the run, as a labelled background. One that is too short for its name has it
// on a line of its own.
type phase struct {
	Name, Class, X, W string
	Took              string
	Y                 int // of its name
	AtEnd             bool
}

// phaseRoom is the share of the axis that the name of a phase needs.
const phaseRoom = 0.11

// phases are those that were reached. Where the next one was not, a phase goes on to the end of the
// load, if there was one.
func (a axis) phases(w timeline.Window) []phase {
	names := [...]string{"lead", "disruption", "termination", "tail"}
	edges := [...]time.Duration{0, w.DisruptStart, w.DisruptEnd, w.Settled, w.LoadEnd}
	var out []phase
	line := 0
	for i, name := range names {
		from := edges[i]
		if i > 0 && from == 0 {
			continue
		}
		to := a.to
		for _, next := range edges[i+1:] {
			if next != 0 {
				to = next
				break
			}
		}
		if to < from {
			continue // the load ended before
		}
		y := 34
		if float64(to-from) < phaseRoom*float64(a.to-a.from) {
			y = 10 + 12*(line%2)
			line++
		}
		out = append(out, phase{
			Name: name, Class: fmt.Sprintf("phase%d", i%2), X: a.x(from), W: a.share(to - from), Y: y,
			Took: report.Duration(to - from), AtEnd: float64(from-a.from) > 0.85*float64(a.to-a.from),
		})
	}
	return out
}

// instant is a moment of the run, to a millisecond.
func instant(at time.Duration) string { return fmt.Sprintf("%.3fs", at.Seconds()) }

// factLines are the lines of what is known of a thing in a picture, each "name: value".
type factLines []byte

func (f *factLines) add(name, format string, args ...any) {
	if len(*f) > 0 {
		*f = append(*f, '\n')
	}
	*f = fmt.Appendf(append(append(*f, name...), ": "...), format, args...)
}

func (f factLines) String() string { return string(f) }
