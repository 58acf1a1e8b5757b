package picture

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// lifeline is a Pod's life as a row of a picture.
type lifeline struct {
	Number   int // of the Pod, by which the requests that it dropped find it
	Name     string
	Short    string // what tells it from the others
	Dropped  int    // requests that are charged to it
	X, W     string // from the first thing seen of it to the last
	Open     bool   // nothing was seen of its end
	Segments []segment
	Marks    []mark
	Elsewhen int // marks that are not within the picture
}

// segment is a phase of a Pod's life, as it is drawn.
type segment struct {
	X, W  string
	Phase verdict.LifecyclePhase
	Wide  bool // enough for its name
}

// mostPods is how many rows of Pods a picture has room for.
const mostPods = 200

// lifelines draws Pods' lives. If there are too many, those that dropped most are drawn; either way
// they stand in the order in which they were seen.
func lifelines(a axis, v verdict.Verdict, most int) (rows []lifeline, left int) {
	dropped := map[int]int{}
	for _, d := range v.DroppedRequests {
		dropped[d.Owner]++
	}
	chosen := make([]int, len(v.Pods))
	names := make([]string, len(v.Pods))
	for i := range chosen {
		chosen[i], names[i] = i, v.Pods[i].Pod
	}
	if len(chosen) > most {
		slices.SortStableFunc(chosen, func(a, b int) int { return cmp.Compare(dropped[b], dropped[a]) })
		left = len(chosen) - most
		chosen = chosen[:most]
		slices.Sort(chosen)
	}
	same := samePrefix(names)
	for _, i := range chosen {
		row := newLifeline(a, v.Pods[i])
		row.Number, row.Short, row.Dropped = i, row.Name[same:], dropped[i]
		rows = append(rows, row)
	}
	return rows, left
}

// samePrefix is the length of what all names have in common, up to a dash: app-6d4b-x1 and
// app-6d4b-x2 differ behind "app-6d4b-".
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

func newLifeline(a axis, life verdict.PodLifecycle) lifeline {
	row := lifeline{Name: life.Pod}
	deleted, wasDeleted := life.At(timeline.PodDeleted)
	add := func(shape, seen string, at time.Duration) {
		if !a.shows(at) {
			row.Elsewhen++
			return
		}
		var f factLines
		f.add("Pod", "%s", report.Plain(life.Pod))
		f.add("Seen", "%s", seen)
		f.add("At", "%s", instant(at))
		if wasDeleted && at >= deleted {
			f.add("After its deletion", "%s", report.Duration(at-deleted))
		}
		for _, where := range []struct{ name, value string }{{"Node", life.Node}, {"IP", life.IP}} {
			if where.value != "" && shape == "tick" {
				f.add(where.name, "%s", report.Plain(where.value))
			}
		}
		row.Marks = append(row.Marks, mark{X: a.x(at), Facts: f.String(), Shape: shape, at: at})
	}
	for _, kind := range slices.Sorted(maps.Keys(life.FirstSeen)) {
		add("tick", string(kind), life.FirstSeen[kind])
	}
	from, to := a.to, a.to
	for _, m := range row.Marks {
		from = min(from, m.at)
	}
	if len(row.Marks) == 0 {
		from = a.from
	}
	for _, node := range slices.Sorted(maps.Keys(life.Routed)) {
		add("routed", fmt.Sprintf("last new connection that node %s routed to it", report.Plain(node)),
			life.Routed[node])
	}
	slices.SortStableFunc(row.Marks, func(x, y mark) int { return cmp.Compare(x.at, y.at) })
	end, ended := life.End()
	if row.Open = !ended; ended {
		to = a.clip(end)
	}
	row.X, row.W = a.x(from), a.share(max(0, to-from))
	for _, s := range life.Segments {
		if from, to := a.clip(s.From), a.clip(s.To); to > from {
			row.Segments = append(row.Segments, segment{
				a.x(from), a.share(to - from), s.Phase,
				to-from >= (a.to-a.from)/10,
			})
		}
	}
	return row
}

// Label says what there is no room for in the row.
func (l lifeline) Label() string {
	out := l.Name
	if l.Dropped > 0 {
		out += fmt.Sprintf(": %s dropped", report.Count(l.Dropped, "request"))
	}
	if l.Elsewhen > 0 {
		out += fmt.Sprintf("; %s outside of the picture", report.Count(l.Elsewhen, "mark"))
	}
	return out
}
