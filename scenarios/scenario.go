// Package scenarios says what is tested, as plain values: strategies × disruptions × lanes. It holds no engine and knows no client.
package scenarios

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/zerodrop/zerodrop/fixtures"
)

// Scenario is one strategy under one disruption, watched by several lanes at the same time.
type Scenario struct {
	Strategy   fixtures.Strategy
	Disruption Disruption
	Lanes      []Lane
	// Control says that the result is known beforehand. A suite in which a control comes out otherwise proves nothing about the rest.
	Control bool
}

// Name is strategy/disruption, the name of the run's subtest and of its folder.
func (s Scenario) Name() string { return s.Strategy.Name + "/" + s.Disruption.Name }

// Lane is one constant stream of requests: one path × one load.
type Lane struct {
	Path fixtures.Path
	Load Load
}

// Name is path/load, as in nodeport/new.
func (l Lane) Name() string { return l.Path.Name + "/" + l.Load.Name }

// Expect bounds how many requests a lane may lose. The zero value is clean.
type Expect struct{ Min, Max int }

// What can be expected of a lane.
var (
	Clean    = Expect{0, 0}           // nothing may be lost
	Drops    = Expect{1, math.MaxInt} // something must be lost, else the instrument is blind
	Measured = Expect{0, math.MaxInt} // either is a finding
)

// Allows says whether losing n requests is within the expectation.
func (e Expect) Allows(n int) bool { return e.Min <= n && n <= e.Max }

// String is the word that strategies and reports use.
func (e Expect) String() string {
	switch e {
	case Clean:
		return "clean"
	case Drops:
		return "drops"
	case Measured:
		return "measured"
	}
	return fmt.Sprintf("%d..%d", e.Min, e.Max)
}

// ParseExpect is the inverse of String for the three words.
func ParseExpect(word string) (Expect, error) {
	for _, e := range []Expect{Clean, Drops, Measured} {
		if e.String() == word {
			return e, nil
		}
	}
	return Measured, fmt.Errorf("unknown expectation %q: want clean, drops or measured", word)
}

// Expect is what the scenario's lane with the given load may lose. Without a disruption nothing may be lost, whatever the strategy. Else the strategy says.
func (s Scenario) Expect(load string) (Expect, error) {
	if !s.Disruption.Replaces {
		return Clean, nil
	}
	word, ok := s.Strategy.Expect[load]
	if !ok {
		return Measured, fmt.Errorf("strategy %s expects nothing of load %s", s.Strategy.Name, load)
	}
	return ParseExpect(word)
}

// Only is the scenario with no lanes but those named. An unknown name is an error that lists the known ones, and so is none at all.
func (s Scenario) Only(names []string) (Scenario, error) {
	lanes, known := []Lane{}, []string{}
	for _, l := range s.Lanes {
		known = append(known, l.Name())
		if slices.Contains(names, l.Name()) {
			lanes = append(lanes, l)
		}
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return s, unknown("lane", name, known)
		}
	}
	if len(lanes) == 0 {
		return s, fmt.Errorf("scenario %s: no lane is named: want some of %s", s.Name(), strings.Join(known, ", "))
	}
	s.Lanes = lanes
	return s, nil
}

// Validate says what is wrong with the scenario, for one all at once.
func (s Scenario) Validate() error {
	var errs []error
	if s.Strategy.Name == "" {
		errs = append(errs, errors.New("has no strategy"))
	}
	if s.Disruption.Name == "" || s.Disruption.Run == nil {
		errs = append(errs, errors.New("has no disruption"))
	}
	if len(s.Lanes) == 0 {
		errs = append(errs, errors.New("has no lanes"))
	}
	seen := map[string]bool{}
	for _, l := range s.Lanes {
		if seen[l.Name()] {
			errs = append(errs, fmt.Errorf("has lane %s twice", l.Name()))
		}
		seen[l.Name()] = true
		if err := l.Load.Validate(); err != nil {
			errs = append(errs, err)
		}
		if _, err := s.Expect(l.Load.Name); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("scenario %s: %w", s.Name(), err)
	}
	return nil
}
