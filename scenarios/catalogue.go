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
	controlStrategy   = "no-handler" // must drop requests under every disruption
	controlDisruption = "none"       // must drop nothing, even with that strategy
)

// Controls are the scenarios that others depend on, under one disruption: one that must drop
// nothing, and one that must drop something.
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

// againSuffix marks the second name of a strategy in an A/A comparison, in which whatever differs
// is the instrument's. The name is for people: Scenario.SameAs says it to programs.
const againSuffix = "+again"

// Profile is a selection of scenarios.
type Profile struct {
	Name        string
	Summary     string
	Strategies  []string // by name. Empty means all there are
	Disruptions []string // by name. Empty means all that make Pods go away
	AA          bool     // each strategy runs under two names
}

// Profiles are all there are, the default first.
func Profiles() []Profile {
	return []Profile{
		{
			Name:    "quick",
			Summary: "the strategies that most teams choose from, under every disruption",
			Strategies: []string{
				"no-handler", "shutdown-at-once", "in-app-delay", "prestop-exec-sleep", "prestop-sleep",
			},
		},
		{Name: "full", Summary: "every strategy under every disruption"},
		{
			Name:        "smoke",
			Summary:     "one strategy that drops requests and one that doesn't: does the instrument work?",
			Strategies:  []string{"no-handler", "prestop-sleep"},
			Disruptions: []string{"rolling-update"},
		},
		{
			Name:        "aa",
			Summary:     "one strategy under two names: are differences seen where there are none? Wants -repeat 10 or more",
			Strategies:  []string{"shutdown-at-once"},
			Disruptions: []string{"rolling-update"},
			AA:          true,
		},
	}
}

// Selection is what a suite is asked to run. Empty fields leave the choice to the profile.
type Selection struct {
	Profile     string
	Strategies  []string
	Disruptions []string
	Lanes       []string
	Rate        int           // requests per second of each lane
	Delay       time.Duration // of the strategies, instead of their own; 0 for their own
}

// Catalogue knows every strategy and consumer there is.
type Catalogue struct {
	strategies map[string]fixtures.Strategy
	consumers  map[string]fixtures.Consumer
}

// NewCatalogue reads the fixtures.
func NewCatalogue() (Catalogue, error) {
	strategies, err := fixtures.Strategies()
	if err != nil {
		return Catalogue{}, err
	}
	for _, s := range strategies {
		if err := validateStrategy(s); err != nil {
			return Catalogue{}, err
		}
	}
	consumers, err := fixtures.Consumers()
	if err != nil {
		return Catalogue{}, err
	}
	c := Catalogue{strategies: strategies, consumers: consumers}
	_, err = c.lanes(DefaultRate, func(fixtures.Consumer) bool { return true })
	return c, err
}

// Lanes are the ones that every run has, all at once, at the given requests per second each or what
// their consumer bears, and those of the consumers of named lanes: those within the cluster first,
// which see the true cause of a drop, and of those the reference.
func (c Catalogue) Lanes(rate int, named ...string) ([]Lane, error) {
	return c.lanes(rate, func(c fixtures.Consumer) bool {
		return c.Group == "" || slices.ContainsFunc(named, func(lane string) bool {
			return strings.HasPrefix(lane, c.Name+"/")
		})
	})
}

func (c Catalogue) lanes(rate int, wanted func(fixtures.Consumer) bool) ([]Lane, error) {
	rank := func(c fixtures.Consumer) int {
		switch {
		case c.From != fixtures.FromCluster:
			return 2
		case c.Reference:
			return 0
		}
		return 1
	}
	consumers := slices.SortedFunc(maps.Values(c.consumers), func(a, b fixtures.Consumer) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(a.Name, b.Name))
	})
	var lanes []Lane
	for _, consumer := range consumers {
		if !wanted(consumer) {
			continue
		}
		bearable := rate
		if consumer.MaxRate > 0 {
			bearable = min(rate, consumer.MaxRate)
		}
		for _, name := range consumer.Loads {
			load, err := loadNamed(name, bearable)
			if err != nil {
				return nil, fmt.Errorf("consumer %s: %w", consumer.Name, err)
			}
			lanes = append(lanes, Lane{Consumer: consumer, Load: load})
		}
	}
	return lanes, nil
}

// Find is the scenario of one strategy and one disruption, with the lanes of every run and of the
// consumers of named ones. An unknown name is an error that lists the known ones.
func (c Catalogue) Find(strategy, disruption string, rate int, lanes ...string) (Scenario, error) {
	s, ok := c.strategies[strategy]
	if !ok {
		return Scenario{}, unknown("strategy", strategy, slices.Sorted(maps.Keys(c.strategies)))
	}
	d, err := findNamed("disruption", disruption, Disruptions(), func(d Disruption) string { return d.Name })
	if err != nil {
		return Scenario{}, err
	}
	all, err := c.Lanes(rate, lanes...)
	if err != nil {
		return Scenario{}, err
	}
	scenario := Scenario{
		Strategy: s, Disruption: d, Lanes: all,
		Control: strategy == controlStrategy || disruption == controlDisruption,
	}
	return scenario, scenario.Validate()
}

// Select lists the undisturbed control first, then each strategy under each disruption.
func (c Catalogue) Select(sel Selection) ([]Scenario, error) {
	p, err := findNamed("profile", sel.Profile, Profiles(), func(p Profile) string { return p.Name })
	if err != nil {
		return nil, err
	}
	strategies := firstNotEmpty(sel.Strategies, p.Strategies, slices.Sorted(maps.Keys(c.strategies)))
	var disruptive []string
	for _, d := range Disruptions() {
		if d.Scope != ScopeNone {
			disruptive = append(disruptive, d.Name)
		}
	}
	control, err := c.Find(controlStrategy, controlDisruption, sel.Rate, sel.Lanes...)
	if err != nil {
		return nil, err
	}
	list := []Scenario{control}
	for _, strategy := range strategies {
		for _, disruption := range firstNotEmpty(sel.Disruptions, p.Disruptions, disruptive) {
			s, err := c.Find(strategy, disruption, sel.Rate, sel.Lanes...)
			if err != nil {
				return nil, err
			}
			if sel.Delay > 0 {
				if s, err = s.WithDelay(sel.Delay); err != nil {
					return nil, err
				}
			}
			list = append(list, s)
			if p.AA {
				again := s
				again.SameAs = s.Strategy.Name
				again.Strategy.Name += againSuffix
				list = append(list, again)
			}
		}
	}
	if len(sel.Lanes) > 0 {
		for i := range list {
			if list[i], err = list[i].Only(sel.Lanes); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

func firstNotEmpty(lists ...[]string) []string {
	for _, list := range lists {
		if len(list) > 0 {
			return list
		}
	}
	return nil
}

// Run is one of several runs of the same scenario.
type Run struct {
	Scenario
	Repeat int  // from 1
	Series bool // others of the same scenario are made as well: each has a place of its own
}

// Interleave repeats the scenarios n times, every second round backwards (A B, B A, A B …), so that
// a slow drift of the machine falls on all alike.
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
