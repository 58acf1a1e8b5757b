// Package scenarios says what is tested, as plain values: strategies × disruptions × lanes. It
// holds no engine and knows no client.
package scenarios

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/fixtures"
)

// Scenario is one strategy under one disruption, watched by several lanes at the same time.
type Scenario struct {
	Strategy   fixtures.Strategy
	Disruption Disruption
	// Group is that of the consumers; empty for those of every run.
	Group string
	Lanes []Lane
	// Watched are the consumers of the group that take no load.
	Watched []fixtures.Consumer
	// ProxyMode is the mode of kube-proxy that the run is about; empty for the cluster's own.
	ProxyMode string
	// Control says that the result is known beforehand. A suite in which a control comes out
	// otherwise proves nothing about the rest.
	Control bool
	// SameAs is, of an A/A comparison, the strategy that this one equals in all but its name.
	SameAs string
	// TaskLength is how long a task takes that Pods take from a queue; 0 for TaskLength.
	TaskLength time.Duration
	// Asked is what a trial asks of the scenario, before anybody else has a say; nil for none.
	Asked *Asked
	// Target is the app under test; nil for the sample app. Its lanes are those of Target.Lanes.
	Target *Target
	// Own is what is deployed in the place of the sample app; nil for that. Change is what its strategy changes
	// in what people have written, as a unified diff; empty for nothing.
	Own    *fixtures.Own
	Change string
}

// Asked overrides what new connections are held to, as where a recommended delay is to be proved.
type Asked struct {
	New    Expect
	Source string
}

// Name is strategy/disruption.
func (s Scenario) Name() string { return s.Strategy.Name + "/" + s.Disruption.Name }

// Path is the name of the run's subtest and of its folder: Name, where runs of other groups or of
// another mode of kube-proxy have theirs below those, as in local-nftables/prestop-sleep/pod-deletion.
func (s Scenario) Path() string {
	return path.Join(strings.Trim(s.Group+"-"+s.ProxyMode, "-"), s.Name())
}

// Needs is what the scenario needs of a cluster.
func (s Scenario) Needs() Needs {
	needs := s.Disruption.Needs
	needs.ProxyMode = cmp.Or(s.ProxyMode, needs.ProxyMode)
	if len(s.Strategy.FeatureGates) > 0 {
		gates := maps.Clone(s.Strategy.FeatureGates)
		maps.Copy(gates, needs.FeatureGates)
		needs.FeatureGates = gates
	}
	return needs
}

// Allowed says whether the scenario may run: ours is a kind cluster of zerodrop's own.
func (s Scenario) Allowed(ours bool) error {
	if err := s.Disruption.Allowed(ours); err != nil {
		return err
	}
	if !ours && len(s.Strategy.FeatureGates) > 0 {
		return fmt.Errorf("strategy %s needs settings of the cluster: %w", s.Strategy.Name, ErrNotOurs)
	}
	if !ours && s.Needs().Key() != "" {
		return fmt.Errorf("%s needs kube-proxy in mode %s: %w", s.Name(), s.ProxyMode, ErrNotOurs)
	}
	return nil
}

// Lane is one constant stream of requests: one consumer × one load.
type Lane struct {
	Consumer fixtures.Consumer
	Load     Load
	// Target is how the app is asked here, where that isn't as everywhere; nil for the scenario's.
	Target *Target
}

// Name is consumer/load, as in nodeport/new.
func (l Lane) Name() string { return l.Consumer.Name + "/" + l.Load.Name }

// TargetOf is the app as a lane asks it; nil for the sample app.
func (s Scenario) TargetOf(l Lane) *Target { return cmp.Or(l.Target, s.Target) }

// Consumers are those of the lanes, in their order, and those that are only watched; each once.
func (s Scenario) Consumers() []fixtures.Consumer {
	var out []fixtures.Consumer
	for _, l := range s.Lanes {
		if !slices.ContainsFunc(out, func(c fixtures.Consumer) bool { return c.Name == l.Consumer.Name }) {
			out = append(out, l.Consumer)
		}
	}
	return append(out, s.Watched...)
}

// WithDelay is the scenario with its strategy at another delay (fixtures.Strategy.WithDelay).
func (s Scenario) WithDelay(d time.Duration) (Scenario, error) {
	var err error
	s.Strategy, err = s.Strategy.WithDelay(d)
	return s, err
}

// Only is the scenario with no lanes but those named. An unknown name is an error that lists the
// known ones, and so is none at all.
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

// Workload is what holds the Pods: people's own, the one that the disruption needs, or else the named one; if
// that is empty, fixtures.DefaultWorkload.
func (s Scenario) Workload(name string) (fixtures.Workload, error) {
	if s.Own != nil {
		return s.Own.Workload, nil
	}
	workloads, err := fixtures.Workloads()
	if err != nil {
		return fixtures.Workload{}, err
	}
	name = cmp.Or(s.Disruption.Workload, name, fixtures.DefaultWorkload)
	w, ok := workloads[name]
	if !ok {
		return w, unknown("workload", name, slices.Sorted(maps.Keys(workloads)))
	}
	return w, nil
}

// Render is what is deployed: the strategy on Workload.
func (s Scenario) Render(workload string) (fixtures.Rendered, error) {
	w, err := s.Workload(workload)
	if err != nil {
		return fixtures.Rendered{}, err
	}
	strategy := s.Strategy.With(s.Disruption.Args...)
	if patch := s.Disruption.Patch; patch != "" {
		if strategy, err = strategy.Patched(patch); err != nil {
			return fixtures.Rendered{}, fmt.Errorf("disruption %s: %w", s.Disruption.Name, err)
		}
	}
	return strategy.Render(w)
}

// Replicas is how many Pods a run of it has on the default workload: the disruption's patch may ask for
// others than the strategy does.
func (s Scenario) Replicas() int {
	if s.Disruption.Patch != "" {
		if rendered, err := s.Render(""); err == nil && rendered.Replicas > 0 {
			return rendered.Replicas
		}
	}
	return s.Strategy.Replicas()
}

// Validate says what is wrong with the scenario, for one all at once.
func (s Scenario) Validate() error {
	var errs []error
	if s.Strategy.Name == "" {
		errs = append(errs, errors.New("has no strategy"))
	}
	errs = append(errs, s.Disruption.validate())
	if s.Disruption.Workload != "" { // not every strategy fits every kind
		_, err := s.Render("")
		errs = append(errs, err)
	}
	if len(s.Lanes) == 0 {
		errs = append(errs, errors.New("has no lanes"))
	}
	if s.Target != nil {
		errs = append(errs, s.Target.Validate())
	}
	if d := s.Disruption; s.Own != nil && d.Workload+d.Patch+d.Objects != "" || s.Own != nil && len(d.Args) > 0 {
		errs = append(errs, fmt.Errorf("disruption %s is about the sample app alone", d.Name))
	}
	seen := map[string]bool{}
	for _, l := range s.Lanes {
		if seen[l.Name()] {
			errs = append(errs, fmt.Errorf("has lane %s twice", l.Name()))
		}
		seen[l.Name()] = true
		if l.Target != nil {
			errs = append(errs, l.Target.Validate())
		}
		errs = append(errs, l.Load.Validate())
		if s.Target != nil {
			continue // no strategy has a say
		}
		for _, class := range l.Load.Classes() {
			// Of held connections most strategies say nothing, and so promise nothing (HeldTo).
			if _, err := s.word(class); err != nil && (class != ClassHeld || s.Strategy.Expect[string(class)] != "") {
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("scenario %s: %w", s.Name(), err)
	}
	return nil
}
