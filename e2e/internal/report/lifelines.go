package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// lifeline is a Pod's life as a row of a picture.
type lifeline struct {
	Number   int // of the Pod, by which its losses find it
	Name     string
	Short    string // what tells it from the others
	Lost     int    // requests that are charged to it
	X, W     string // from the first thing seen of it to the last
	Open     bool   // nothing was seen of its end
	Segments []segment
	Marks    []mark
	Elsewhen int // marks that are not within the picture
}

// segment is a part of a Pod's life between two marks, both of which were seen.
type segment struct {
	X, W   string
	Moment verdict.Moment // what a request that was lost in it is charged to
	Word   string
	Letter string
	Wide   bool // enough for the word
}

// stage is what a part of a Pod's life is called.
type stage struct {
	Moment       verdict.Moment
	Word, Letter string
	Meaning      string
}

// stages are the parts of a Pod's life, in their order.
var stages = []stage{
	{verdict.StartUp, "starting", "s", "first seen until it listened"},
	{verdict.BeforeDeletion, "serving", "", "until its deletion was seen"},
	{verdict.PreStop, "preStop", "p", "from there until SIGTERM"},
	{verdict.Terminating, "SIGTERM", "t", "until its listener was closed"},
	{verdict.ListenerClosed, "closed", "c", "until its process ended"},
	{verdict.AfterExit, "exited", "x", "until the Pod was gone and no node routed to it"},
}

// mostPods is how many rows of Pods a picture has room for.
const mostPods = 200

// lifelines draws Pods' lives. If there are too many, those that lost most are drawn; either way they stand in the order in which they were seen.
func lifelines(a axis, v verdict.Verdict, most int) (rows []lifeline, left int) {
	whose := newOwners(v.Lives)
	lost := map[int]int{}
	for _, loss := range v.Losses {
		lost[whose.of(loss)]++
	}
	chosen := make([]int, len(v.Lives))
	for i := range chosen {
		chosen[i] = i
	}
	if len(chosen) > most {
		slices.SortStableFunc(chosen, func(a, b int) int { return cmp.Compare(lost[b], lost[a]) })
		left = len(chosen) - most
		chosen = chosen[:most]
		slices.Sort(chosen)
	}
	names := make([]string, 0, len(v.Lives))
	for _, life := range v.Lives {
		names = append(names, life.Pod)
	}
	same := samePrefix(names)
	for _, i := range chosen {
		row := newLifeline(a, v.Lives[i])
		row.Number, row.Short, row.Lost = i, row.Name[same:], lost[i]
		rows = append(rows, row)
	}
	return rows, left
}

// owners are lives by the name of their Pod.
type owners struct {
	lives  []verdict.Life
	byName map[string][]int
}

func newOwners(lives []verdict.Life) owners {
	out := owners{lives, map[string][]int{}}
	for i, life := range lives {
		out.byName[life.Pod] = append(out.byName[life.Pod], i)
	}
	return out
}

// of is the number of the life that a loss is charged to; -1 for none. Of Pods that share a name it is the one whose deletion the loss was measured from: if that
// doesn't tell them apart, nothing does.
func (o owners) of(loss verdict.Loss) int {
	same := o.byName[loss.Pod]
	if len(same) == 1 {
		return same[0]
	}
	found := -1
	for _, i := range same {
		if deleted, ok := o.lives[i].At(timeline.PodDeleted); ok && loss.Since != nil && loss.Sent-*loss.Since == deleted {
			if found >= 0 {
				return -1
			}
			found = i
		}
	}
	return found
}

// samePrefix is the length of what all names have in common, up to a dash: app-6d4b-x1 and app-6d4b-x2 differ behind "app-6d4b-".
func samePrefix(names []string) int {
	if len(names) < 2 {
		return 0
	}
	first, last := slices.Min(names), slices.Max(names)
	n := 0
	for n < len(first) && n < len(last) && first[n] == last[n] {
		n++
	}
	return strings.LastIndex(first[:n], "-") + 1
}

func newLifeline(a axis, life verdict.Life) lifeline {
	row := lifeline{Name: life.Pod}
	var seen []timeline.Kind
	for kind, at := range life.Marks {
		if a.shows(at) {
			seen = append(seen, kind)
		} else {
			row.Elsewhen++
		}
	}
	slices.SortFunc(seen, func(x, y timeline.Kind) int {
		return cmp.Or(cmp.Compare(life.Marks[x], life.Marks[y]), cmp.Compare(x, y))
	})
	from, to := a.from, a.to
	if len(seen) > 0 {
		from = life.Marks[seen[0]]
	}
	end, ended := lastOf(life)
	if row.Open = !ended; ended {
		to = a.clip(end)
	}
	row.X, row.W = a.x(from), a.share(max(0, to-from))
	row.Segments = segments(a, life)
	deleted, wasDeleted := life.At(timeline.PodDeleted)
	since := func(f *factLines, at time.Duration) {
		if wasDeleted && at >= deleted {
			f.add("After its deletion", "%s", duration(at-deleted))
		}
	}
	for _, kind := range seen {
		at := life.Marks[kind]
		var f factLines
		f.add("Pod", "%s", plain(life.Pod))
		f.add("Seen", "%s", kind)
		f.add("At", "%s", instant(at))
		since(&f, at)
		if life.Node != "" {
			f.add("Node", "%s", plain(life.Node))
		}
		if life.IP != "" {
			f.add("IP", "%s", plain(life.IP))
		}
		row.Marks = append(row.Marks, mark{X: a.x(at), Facts: f.String(), Shape: "tick", at: at})
	}
	for _, node := range slices.Sorted(maps.Keys(life.Routed)) {
		at := life.Routed[node]
		if !a.shows(at) {
			row.Elsewhen++
			continue
		}
		var f factLines
		f.add("Pod", "%s", plain(life.Pod))
		f.add("Seen", "last new connection that node %s routed to it", plain(node))
		f.add("At", "%s", instant(at))
		since(&f, at)
		row.Marks = append(row.Marks, mark{X: a.x(at), Facts: f.String(), Shape: "routed", at: at})
	}
	slices.SortStableFunc(row.Marks, func(x, y mark) int { return cmp.Compare(x.at, y.at) })
	return row
}

// lastOf is when a Pod was gone, and no node routed to it any more; false if its end was not seen.
func lastOf(life verdict.Life) (time.Duration, bool) {
	gone, ok := life.At(timeline.PodGone)
	for _, at := range life.Routed {
		gone = max(gone, at)
	}
	return gone, ok
}

// first is the first mark of several that was seen: each says the same, the better one first.
func first(life verdict.Life, kinds ...timeline.Kind) (time.Duration, bool) {
	for _, kind := range kinds {
		if at, ok := life.At(kind); ok {
			return at, true
		}
	}
	return 0, false
}

// segments are the parts of a Pod's life between marks that were seen, by the rules of attribution (package verdict). Where a mark is missing there is a gap:
//
//	created    listening      deletion seen       SIGTERM      listener closed     exit        gone, no longer routed
//	   ├─ starting ─┼─ serving ───────┼─ preStop ────┼─ SIGTERM ───────┼─ closed ────┼─ exited ────┤
func segments(a axis, life verdict.Life) []segment {
	created, hasCreated := life.At(timeline.PodCreated)
	listening, hasListened := first(life, timeline.AppListening, timeline.PodReady)
	deleted, wasDeleted := life.At(timeline.PodDeleted)
	sigterm, hasSIGTERM := life.At(timeline.AppSIGTERM)
	closed, hasClosed := life.At(timeline.AppListenerClosed)
	exit, exited := first(life, timeline.ProcessExit, timeline.AppExit, timeline.ContainerExit)
	last, ended := lastOf(life)
	// Whoever told nothing of SIGTERM, though the log was read to its end, has no handler: SIGTERM is what ended it.
	_, told := life.At(timeline.AppStart)
	_, cut := life.At(timeline.LogCut)

	var out []segment
	part := func(m verdict.Moment, from, to time.Duration, seen bool) {
		from, to = a.clip(from), a.clip(to)
		if !seen || to <= from {
			return
		}
		s := segment{X: a.x(from), W: a.share(to - from), Moment: m, Wide: to-from >= (a.to-a.from)/14}
		for _, stage := range stages {
			if stage.Moment == m {
				s.Word, s.Letter = stage.Word, stage.Letter
			}
		}
		out = append(out, s)
	}
	part(verdict.StartUp, created, listening, hasCreated && hasListened)
	switch {
	case wasDeleted:
		part(verdict.BeforeDeletion, listening, deleted, hasListened)
	case hasSIGTERM:
		part(verdict.BeforeDeletion, listening, sigterm, hasListened)
	case exited:
		part(verdict.BeforeDeletion, listening, exit, hasListened)
	case !ended:
		part(verdict.BeforeDeletion, listening, a.to, hasListened)
	}
	switch {
	case hasSIGTERM:
		part(verdict.PreStop, deleted, sigterm, wasDeleted)
	case told && !cut:
		part(verdict.PreStop, deleted, exit, wasDeleted && exited)
	}
	switch {
	case hasClosed:
		part(verdict.Terminating, sigterm, closed, hasSIGTERM)
		part(verdict.ListenerClosed, closed, exit, exited)
	default:
		part(verdict.Terminating, sigterm, exit, hasSIGTERM && exited)
	}
	part(verdict.AfterExit, exit, last, exited && ended)
	return out
}

// Label says what there is no room for in the row.
func (l lifeline) Label() string {
	out := l.Name
	if l.Lost > 0 {
		out += fmt.Sprintf(": %s lost", count(l.Lost, "request"))
	}
	if l.Elsewhen > 0 {
		out += fmt.Sprintf("; %s outside of the picture", count(l.Elsewhen, "mark"))
	}
	return out
}
