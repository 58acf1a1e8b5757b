package scenarios

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Cell is one strategy under one disruption.
type Cell struct {
	Strategy, Disruption string
	// Lanes are those that it is watched by, by name, unless others or consumers are asked for; nil for
	// all that its group has.
	Lanes []string
}

// cross is each strategy under each disruption, in the order of the strategies.
func cross(strategies, disruptions, lanes []string) []Cell {
	var out []Cell
	for _, strategy := range strategies {
		for _, disruption := range disruptions {
			out = append(out, Cell{strategy, disruption, lanes})
		}
	}
	return out
}

// cells are those of a selection, in the order of the profile, and those whose turn it isn't. Who asks
// for strategies or disruptions gets each of these under each of those, and no turns.
func (c Catalogue) cells(p Profile, sel Selection) (cells []Cell, notRun []NotRun, err error) {
	all := slices.DeleteFunc(slices.Sorted(maps.Keys(c.strategies)), func(name string) bool {
		return c.strategies[name].LongWork
	})
	cells = cross(
		firstNotEmpty(sel.Strategies, p.Strategies, all), firstNotEmpty(sel.Disruptions, p.Disruptions, usual()), nil,
	)
	if len(sel.Strategies)+len(sel.Disruptions) > 0 {
		return cells, nil, nil
	}
	if p.Cells != nil {
		cells = p.Cells()
	}
	if p.Turns == nil {
		return cells, nil, nil
	}
	if sel.Night.IsZero() {
		return nil, nil, fmt.Errorf("profile %s: %w", p.Name, errNoNight)
	}
	tonight, notRun := takeTurns(p.Turns(all), p.PerNight, sel.Night)
	return append(cells, tonight...), notRun, nil
}

// errNoNight is the guarantee that what a night runs follows from its date and from nothing else.
var errNoNight = errors.New("its cells take turns night by night: want a date")

// NotRun is a cell that a selection leaves out, and why.
type NotRun struct{ Strategy, Disruption, Why string }

// takeTurns divides cells into parts of the same size, of perNight at most and in their order, so that
// those that need the same of a cluster stay together. A night has the part whose number is that of
// the night, divided by how many parts there are:
//
//	7 cells, 3 a night:  a b c | d e f | g     part = days since 1970-01-01 (UTC) mod 3
//
// So each cell runs once in as many nights as there are parts.
func takeTurns(cells []Cell, perNight int, night time.Time) (tonight []Cell, notRun []NotRun) {
	parts := (len(cells) + perNight - 1) / perNight
	if parts == 0 {
		return nil, nil
	}
	size := (len(cells) + parts - 1) / parts
	day := int(night.Unix() / secondsADay)
	for i, cell := range cells {
		wait := (i/size - day%parts + parts) % parts // nights
		if wait == 0 {
			tonight = append(tonight, cell)
			continue
		}
		notRun = append(notRun, NotRun{cell.Strategy, cell.Disruption, fmt.Sprintf(
			"its turn is in the night of %s (part %d of %d)",
			night.UTC().AddDate(0, 0, wait).Format(time.DateOnly), i/size+1, parts,
		)})
	}
	return tonight, notRun
}

const secondsADay = 24 * 60 * 60

// serviceLanes are those that a disruption is watched by which isn't about other consumers. A client
// outside of the cluster goes on asking a node that is gone, which says nothing about the disruption.
func serviceLanes() []string { return []string{"service/new", "service/reused", "service/slow"} }

// disrupting are the disruptions that do something to Pods and have no profile of their own.
func disrupting() []Disruption {
	return slices.DeleteFunc(Disruptions(), func(d Disruption) bool { return d.Name == controlDisruption || d.OwnProfile })
}

// everyDisruption is each of them with a strategy that stops at once and one that waits, or with those
// that it is about. Those on the same Pods follow each other.
func everyDisruption() []Cell {
	var out []Cell
	for _, d := range disrupting() {
		lanes := serviceLanes()
		if d.Consumers != nil {
			lanes = nil
		}
		out = append(out, cross(firstNotEmpty(d.Strategies, heldAgainst()), []string{d.Name}, lanes)...)
	}
	return out
}

// heldAgainst are the strategies that a disruption is held against: one that stops at once and one
// that waits.
func heldAgainst() []string { return []string{"shutdown-at-once", "prestop-sleep"} }

// doubled are the runs in which Pods may double: ten replicas that take longer and longer to stop, one
// added at a time; a quarter at a time; and with a quota that forbids so many.
func doubled() []Cell {
	var out []Cell
	for _, strategy := range tenReplicas() {
		out = append(out, Cell{strategy, "rolling-update", serviceLanes()})
	}
	for _, d := range quotas() {
		out = append(out, cross(d.Strategies, []string{d.Name}, serviceLanes())...)
	}
	return out
}

func tenReplicas() []string {
	return []string{
		"ten-replicas-stop-10s", "ten-replicas-stop-20s", "ten-replicas-stop-40s", "ten-replicas-stop-20s-quarter",
	}
}

// doublingProfile is the article's example, beside others.
func doublingProfile() Profile {
	return Profile{
		Name: "doubling",
		Summary: "ten replicas that take 10, 20 and 40 s to stop, replaced one by one, a quarter at a time, and under a " +
			"quota: how many Pods are there at once?",
		Strategies: tenReplicas(), Disruptions: []string{"rolling-update"}, Rate: 50, Lanes: serviceLanes(),
		Cells: doubled,
	}
}

// disruptionsProfile is everything that makes Pods go away.
func disruptionsProfile() Profile {
	var names []string
	for _, d := range disrupting() {
		names = append(names, d.Name)
	}
	return Profile{
		Name:       "disruptions",
		Summary:    "everything that makes Pods go away, with a strategy that stops at once and one that waits",
		Strategies: heldAgainst(), Disruptions: names, Rate: DefaultRate, Lanes: serviceLanes(),
		Cells: func() []Cell {
			return append([]Cell{{controlStrategy, "rolling-update", serviceLanes()}}, everyDisruption()...)
		},
	}
}

// nightlyProfile is what each night runs: the default profile's runs, and a part of all others.
func nightlyProfile(quick Profile) Profile {
	return Profile{
		Name:       "nightly",
		Summary:    "the runs of quick, and a part of every other strategy and disruption: a few nights have them all",
		Strategies: quick.Strategies, Rate: DefaultRate, PerNight: 36,
		Turns: func(strategies []string) []Cell {
			others := slices.DeleteFunc(slices.Clone(strategies), func(name string) bool {
				return slices.Contains(quick.Strategies, name) || slices.Contains(tenReplicas(), name)
			})
			all := slices.Concat(cross(others, usual(), nil), everyDisruption(), doubled())
			known := map[[2]string]bool{}
			for _, cell := range cross(quick.Strategies, usual(), nil) {
				known[[2]string{cell.Strategy, cell.Disruption}] = true
			}
			return slices.DeleteFunc(all, func(cell Cell) bool { // one that is there already
				key := [2]string{cell.Strategy, cell.Disruption}
				again := known[key]
				known[key] = true
				return again
			})
		},
	}
}
