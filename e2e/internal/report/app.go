package report

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// ownApp is the runs of an app of people's own.
type ownApp struct {
	name            string
	rolled, deleted row   // as it is, under a release and at the loss of each Pod; without runs where none was made
	changed         []row // with a change, the smallest delay first
}

// ownApp is the app of people's own that the report is about; false if it is about none, or about several.
func (m model) ownApp() (out ownApp, ok bool) {
	for _, r := range slices.Concat(m.Parts...) {
		if r.Target == nil {
			continue
		}
		if out.name != "" && out.name != r.Target.Name {
			return out, false
		}
		out.name = r.Target.Name
		switch {
		case r.Change != "":
			out.changed = append(out.changed, r)
		case r.Disruption == "rolling-update":
			out.rolled = r
		case r.Disruption == "pod-deletion":
			out.deleted = r
		}
	}
	slices.SortStableFunc(out.changed, func(a, b row) int { return cmp.Compare(a.Delay, b.Delay) })
	return out, len(out.rolled.Runs) > 0 && (len(out.deleted.Runs)+len(out.changed) > 0 || out.rolled.Target.Live)
}

// smallest is the first change after which the app dropped nothing; false if it did with each, or needs none.
func (a ownApp) smallest(m model) (row, bool) {
	if len(a.rolled.conclusive().Runs) == 0 || !m.dropsAny(a.rolled) {
		return row{}, false
	}
	for _, r := range a.changed {
		if len(r.conclusive().Runs) == len(r.Runs) && !m.dropsAny(r) {
			return r, true
		}
	}
	return row{}, false
}

// dropsAny says whether conclusive runs of a row dropped anything in any lane.
func (m model) dropsAny(r row) bool { return r.conclusive().lanes(names(m.Lanes)).dropped() }

// answer is what was asked of an app of people's own, in one paragraph: what it drops today, the smallest change
// after which it drops nothing here, what that costs, and what remains unknown. "" where none was asked.
func (m model) answer() string {
	a, ok := m.ownApp()
	if !ok {
		return ""
	}
	if len(a.rolled.conclusive().Runs) == 0 {
		return fmt.Sprintf("%s: nothing is known, as its run under a rolling update is not conclusive: %s",
			Plain(a.name), strings.Join(plains(Because(a.rolled.Runs[0].Outcome, a.rolled.Runs[0].Reasons)), "; "))
	}
	out := fmt.Sprintf("%s as it is drops %s under a rolling update", Plain(a.name), m.dropsWords(a.rolled))
	if len(a.deleted.conclusive().Runs) > 0 {
		out += fmt.Sprintf(", and %s when each Pod is deleted in turn", m.dropsWords(a.deleted))
	}
	out += ". "
	change, found := a.smallest(m)
	switch {
	case !m.dropsAny(a.rolled):
		out += "A rolling update needs no change."
	case found:
		out += fmt.Sprintf("The smallest change after which it drops nothing here is %s (%s). With it a "+
			"rollout takes %s instead of %s, and %s Pod-seconds beyond the replicas instead of %s.",
			Plain(change.Summary), change.changeFile(), rolloutWords(change), rolloutWords(a.rolled),
			change.median(extraOf, podSeconds), a.rolled.median(extraOf, podSeconds))
	case a.rolled.Target.Live:
		out += "Which change helps is not tried on a cluster that exists: -app tries some on one of its own."
	default:
		out += m.noChange(a)
	}
	return out + " Unknown remains: " + strings.Join(m.unknown(a), "; ") + "."
}

// ChangeFile is the name, in the folder of a run of people's own app with a change, of what that changes: a
// unified diff.
const ChangeFile = "change.diff"

// changeFile is where that of the row's first run is, in the artifacts' folder.
func (r row) changeFile() string {
	dir := r.Runs[0].Name()
	if len(r.Runs) > 1 {
		dir = path.Join(dir, fmt.Sprint(r.Runs[0].Repeat))
	}
	return path.Join(dir, ChangeFile)
}

func rolloutWords(r row) string {
	return r.median(rolloutOf, func(d float64) string { return Duration(time.Duration(d)) })
}

// dropsWords is what a row dropped, of how many and of which class.
func (m model) dropsWords(r row) string {
	a := r.conclusive().lanes(names(m.Lanes))
	if !a.dropped() {
		return fmt.Sprintf("none of %s", Count(a.Sent, "request"))
	}
	in := map[timeline.Class]string{
		timeline.ClassNew: "on new connections", timeline.ClassKeptAlive: "on kept-alive ones",
		timeline.ClassInFlight: "in flight", timeline.ClassHeld: "on held ones",
	}
	var parts []string
	for _, class := range timeline.Classes() {
		if n := a.Classes[class]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, in[class]))
		}
	}
	if a.Masked > 0 {
		parts = append(parts, fmt.Sprintf("%d more that the client sent again", a.Masked))
	}
	return fmt.Sprintf("%d of %s (%s)", a.Dropped, Count(a.Sent, "request"), strings.Join(parts, ", "))
}

// noChange says that no change was enough, and what the best of them leaves.
func (m model) noChange(a ownApp) string {
	var tried []string
	var best *row
	dropped := func(r row) int { return r.conclusive().lanes(names(m.Lanes)).Dropped }
	for i, r := range a.changed {
		if len(r.conclusive().Runs) == 0 {
			continue
		}
		tried = append(tried, fmt.Sprintf("%s drops %s", Plain(r.Strategy), m.dropsWords(r)))
		if best == nil || dropped(r) < dropped(*best) {
			best = &a.changed[i]
		}
	}
	if best == nil {
		return "No change was tried that is conclusive."
	}
	out := "None of the changes that were tried is enough: " + strings.Join(tried, "; ") + "."
	left := best.conclusive().lanes(names(m.Lanes))
	if left.Dropped > 0 && left.Dropped == left.Classes[timeline.ClassKeptAlive] {
		out += " What is left is on kept-alive connections, which no delay closes: the app has to close them itself, with " +
			"Connection: close in its last answers."
	}
	return out
}

// unknown is what the runs can't tell.
func (m model) unknown(a ownApp) []string {
	lanes := a.rolled.Runs[0].Spec.Lanes
	out := []string{
		fmt.Sprintf("what %s can't show: up to %s of all may still drop some (95 %% confidence%s)",
			Count(len(a.rolled.conclusive().Runs), "rollout"),
			percent(verdict.ClopperPearson(0, len(a.rolled.conclusive().Runs))), narrowing([]row{a.rolled})),
	}
	if !slices.ContainsFunc(lanes, func(l timeline.LaneSpec) bool { return l.From == timeline.FromOutside }) {
		out = append(out, "who comes by an ingress, a cloud's load balancer or DNS, which are slower than a Service")
	}
	out = append(out, "whether the app did what a dropped request asked for")
	if a.rolled.Target.SlowRequest == "" {
		out = append(out, "requests that take long (annotation zerodrop.dev/slow-request names one)")
	}
	return out
}

// changes are the changes to people's own app that were tried, each as a diff to commit.
func changes(m model) section {
	a, ok := m.ownApp()
	if !ok {
		return section{}
	}
	out := section{Title: "Your app: " + Plain(a.name), Blocks: []block{{Text: m.answer()}}}
	enough, found := a.smallest(m)
	isEnough := func(r row) bool { return found && r.Strategy == enough.Strategy }
	if i := slices.IndexFunc(a.changed, isEnough); i > 0 {
		a.changed = slices.Insert(slices.Delete(a.changed, i, i+1), 0, enough)
	}
	for _, r := range a.changed {
		heading := Plain(r.Strategy) + ": " + Plain(r.Summary)
		if isEnough(r) {
			heading += " (the smallest that is enough)"
		}
		out.Blocks = append(out.Blocks, block{Heading: heading, Code: r.Change})
	}
	return out
}

// FileApp is the answer about an app of people's own.
type FileApp struct {
	Name   string `json:"name"`
	Answer string `json:"answer"`
	// Change is the strategy that is the smallest change, and Diff what it changes; not there if none is enough, or
	// none is needed.
	Change string `json:"change,omitempty"`
	Diff   string `json:"diff,omitempty"`
}

func newFileApp(m model) *FileApp {
	a, ok := m.ownApp()
	if !ok {
		return nil
	}
	out := &FileApp{Name: a.name, Answer: m.answer()}
	if r, found := a.smallest(m); found {
		out.Change, out.Diff = r.Strategy, r.Change
	}
	return out
}
