package scenarios

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/fixtures"
)

// The controls: runs whose result is known beforehand.
const (
	controlStrategy   = "no-handler" // must lose requests under every disruption
	controlDisruption = "none"       // must lose nothing, even with that strategy
)

// Controls are the scenarios that others are to be believed by, under one disruption: one that must lose nothing, and one that must lose something.
func (c Catalogue) Controls(disruption string, rate int) ([]Scenario, error) {
	var list []Scenario
	for _, name := range []string{controlDisruption, disruption} {
		s, err := c.Find(controlStrategy, name, rate)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// TwinSuffix makes another name of a strategy, as in prestop-sleep+twin. Both are the same in all but the name: an A/A comparison, in which whatever differs
// is the instrument's.
const TwinSuffix = "+twin"

// Profile is a selection of scenarios.
type Profile struct {
	Name       string
	Summary    string
	Strategies []string // by name; each under every disruption that replaces Pods. Empty means all there are
	// Disruptions the strategies go through, by name. Empty means all that replace Pods.
	Disruptions []string
}

// Profiles are all there are, the default first.
func Profiles() []Profile {
	return []Profile{
		{
			Name:       "quick",
			Summary:    "the strategies that most teams choose from, under every disruption",
			Strategies: []string{"no-handler", "shutdown-at-once", "in-app-delay", "prestop-exec-sleep", "prestop-sleep"},
		},
		{Name: "full", Summary: "every strategy under every disruption"},
		{Name: "nightly", Summary: "as full, meant for a regression job"},
		{
			Name:        "smoke",
			Summary:     "one strategy that loses requests and one that doesn't, under a rolling update: does the instrument work?",
			Strategies:  []string{"no-handler", "prestop-sleep"},
			Disruptions: []string{"rolling-update"},
		},
		{
			Name:        "aa",
			Summary:     "one strategy under two names: does the instrument see differences where there are none? Wants -repeat 10 or more",
			Strategies:  []string{"shutdown-at-once", "shutdown-at-once" + TwinSuffix},
			Disruptions: []string{"rolling-update"},
		},
	}
}

// Catalogue knows every strategy and path there is.
type Catalogue struct {
	strategies map[string]fixtures.Strategy
	paths      map[string]fixtures.Path
}

// NewCatalogue reads the fixtures.
func NewCatalogue() (Catalogue, error) {
	strategies, err := fixtures.Strategies()
	if err != nil {
		return Catalogue{}, err
	}
	paths, err := fixtures.Paths()
	if err != nil {
		return Catalogue{}, err
	}
	return Catalogue{strategies: strategies, paths: paths}, nil
}

// Summaries are the strategies' one-line descriptions, by name.
func (c Catalogue) Summaries() map[string]string {
	out := map[string]string{}
	for name, s := range c.strategies {
		out[name] = s.Summary
	}
	return out
}

// Lanes are the ones that every run has, all at once, at the given requests per second each: those within the cluster first, which see the true cause of a
// loss, then the outside view.
func (c Catalogue) Lanes(rate int) []Lane {
	paths := slices.SortedFunc(maps.Values(c.paths), func(a, b fixtures.Path) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Name, b.Name)) // "cluster" is less than "host"
	})
	var lanes []Lane
	for _, path := range paths {
		loads := []Load{New(rate), Reused(rate), Slow(rate)}
		if path.From == fixtures.FromCluster {
			loads = []Load{New(rate), Reused(rate), Replayable(rate), Slow(rate)}
		}
		for _, load := range loads {
			lanes = append(lanes, Lane{Path: path, Load: load})
		}
	}
	return lanes
}

// Strategy is the strategy of a name, which may go on: at another delay, with nothing expected of it, as a twin, each of them if all are meant in this order.
//
//	in-app-delay   in-app-delay@1.5s   in-app-delay@500ms+measured   in-app-delay+twin
//
// An unknown name is an error that lists the known ones, and so is a delay that the strategy can't have.
func (c Catalogue) Strategy(name string) (fixtures.Strategy, error) {
	rest, twin := strings.CutSuffix(name, TwinSuffix)
	rest, measured := strings.CutSuffix(rest, fixtures.MeasuredSuffix)
	own, text, delayed := strings.Cut(rest, fixtures.DelaySign)
	s, ok := c.strategies[own]
	if !ok {
		return s, unknown("strategy", name, slices.Sorted(maps.Keys(c.strategies)))
	}
	if delayed {
		delay, err := time.ParseDuration(text)
		if err != nil {
			return s, fmt.Errorf("strategy %s: want a delay such as 1.5s behind %s: %w", name, fixtures.DelaySign, err)
		}
		if s, err = s.WithDelay(delay); err != nil {
			return s, err
		}
	}
	if measured {
		var err error
		if s, err = s.Measured(); err != nil {
			return s, err
		}
	}
	if twin {
		s.Name += TwinSuffix
	}
	return s, nil
}

// Find is the scenario of one strategy (see Strategy for its names) and one disruption. An unknown name is an error that lists the known ones.
func (c Catalogue) Find(strategy, disruption string, rate int) (Scenario, error) {
	s, err := c.Strategy(strategy)
	if err != nil {
		return Scenario{}, err
	}
	d, err := findNamed("disruption", disruption, Disruptions(), func(d Disruption) string { return d.Name })
	if err != nil {
		return Scenario{}, err
	}
	scenario := Scenario{
		Strategy: s, Disruption: d, Lanes: c.Lanes(rate),
		Control: strings.TrimSuffix(s.Name, TwinSuffix) == controlStrategy || disruption == controlDisruption,
	}
	return scenario, scenario.Validate()
}

// Profile lists the scenarios of a profile: the undisturbed control first, then each strategy under each disruption.
func (c Catalogue) Profile(name string, rate int) ([]Scenario, error) {
	p, err := findNamed("profile", name, Profiles(), func(p Profile) string { return p.Name })
	if err != nil {
		return nil, err
	}
	strategies := p.Strategies
	if len(strategies) == 0 {
		strategies = slices.Sorted(maps.Keys(c.strategies))
	}
	disruptions := p.Disruptions
	if len(disruptions) == 0 {
		for _, d := range Disruptions() {
			if d.Replaces {
				disruptions = append(disruptions, d.Name)
			}
		}
	}
	control, err := c.Find(controlStrategy, controlDisruption, rate)
	if err != nil {
		return nil, err
	}
	list := []Scenario{control}
	for _, strategy := range strategies {
		for _, disruption := range disruptions {
			s, err := c.Find(strategy, disruption, rate)
			if err != nil {
				return nil, err
			}
			list = append(list, s)
		}
	}
	return list, nil
}

// Run is one of several runs of the same scenario.
type Run struct {
	Scenario
	Repeat int  // from 1
	Series bool // others of the same scenario are made as well: each has a place of its own
}

// Interleave repeats the scenarios n times, every second round backwards (A B, B A, A B …), so that a slow drift of the machine falls on all alike.
func Interleave(list []Scenario, n int) []Run {
	var runs []Run
	for round := 1; round <= n; round++ {
		order := slices.Clone(list)
		if round%2 == 0 {
			slices.Reverse(order)
		}
		for _, s := range order {
			runs = append(runs, Run{Scenario: s, Repeat: round, Series: n > 1})
		}
	}
	return runs
}

func findNamed[T any](what, name string, list []T, nameOf func(T) string) (T, error) {
	var names []string
	for _, item := range list {
		if nameOf(item) == name {
			return item, nil
		}
		names = append(names, nameOf(item))
	}
	var zero T
	return zero, unknown(what, name, names)
}

func unknown(what, name string, known []string) error {
	return fmt.Errorf("unknown %s %q: want one of %s", what, name, strings.Join(known, ", "))
}
