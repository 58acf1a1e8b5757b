package scenarios

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/fixtures"
)

// Class is what a strategy can promise for. It is that of a dropped request, and not of its lane.
type Class string

// The classes.
const (
	ClassNew       Class = "new"        // on a connection made for the request
	ClassKeptAlive Class = "kept-alive" // on a connection that was there before
	ClassInFlight  Class = "in-flight"  // begun by the app, and cut when its process ended or gave up
	ClassHeld      Class = "held"       // a connection that is held open: WebSocket, streams
)

var classes = []Class{ClassNew, ClassKeptAlive, ClassInFlight, ClassHeld}

// Expect bounds how many requests may be dropped.
type Expect string

// What can be expected.
const (
	Clean    Expect = "clean"    // nothing may be dropped
	Drops    Expect = "drops"    // something must be dropped, else the instrument is blind
	Measured Expect = "measured" // either is a finding
)

var expects = []Expect{Clean, Drops, Measured}

// Promise is what the dropped requests of one class of a lane are held to, and who says so.
type Promise struct {
	Expect Expect
	Source string
}

// HeldTo is what a lane's dropped requests of a class are held to, on a cluster whose kube-proxy
// has the given minimum sync period (0: not known). The first that has a say decides:
//
//  1. the trial that asks for it (Asked);
//  2. the disruption: where no Pod may go nothing may be dropped, but for what it breaks itself, nor
//     where every Pod serves all the time; a grace period of 0 must drop requests in flight; what it
//     breaks nobody can promise; one that waits before it ends Pods promises for new connections
//     what a delay does; and one that drains them first promises held connections and what is in flight;
//  3. the consumer: it says from which delay on a promise for connections holds there. Where it says
//     nothing, or the strategy's delay is shorter, nothing is promised;
//  4. the strategy's word for the class. That connections must be dropped is asked where every Pod
//     is replaced: it is about the start of new Pods, or about a time without any.
//
// An app that isn't the sample app (Target) is held to its own word and to nothing else, wherever Pods may go.
//
// "drops" is asked where Pods are ended while requests come (Disruption.Waits), and of the reference
// consumer alone, by the load whose class it is: behind a proxy that tries again, a control may drop
// nothing. A request of a load without work is in flight for less than a millisecond, and is held to
// what its connection is.
func (s Scenario) HeldTo(l Lane, class Class, minSync time.Duration) Promise {
	as := class // what it is held to
	if class == ClassInFlight && l.Load.Work == 0 && s.Target == nil {
		as = l.Load.connectionClass()
	}
	switch {
	case s.Asked != nil && as == ClassNew:
		return Promise{s.Asked.New, s.Asked.Source}
	case s.Disruption.Scope == ScopeNone && s.Disruption.breaks(l, as):
		return Promise{Measured, "disruption " + s.Disruption.Name + ": it is about the consumer, and no strategy helps"}
	case s.Disruption.Scope == ScopeNone && !s.Disruption.Drains:
		return Promise{Clean, "disruption " + s.Disruption.Name}
	case s.Target != nil:
		return s.Target.promise(class)
	case s.Disruption.GraceZero:
		return atReference(l, class, Promise{Drops, "disruption " + s.Disruption.Name}, ClassInFlight)
	}
	word, err := s.word(as)
	strategy, disruption := "strategy "+s.Strategy.Name, "disruption "+s.Disruption.Name
	switch d := s.Disruption; {
	case d.Drains && (as == ClassHeld || as == ClassInFlight):
		return Promise{Clean, disruption + ": ends no Pod that has work"}
	case err != nil: // Validate tells
		return Promise{Measured, err.Error()}
	case (d.Serves || d.Waits) && l.Consumer.Local:
		return Promise{Measured, "consumer " + l.Consumer.Name + ": a node keeps to Pods of its own, and may have no other"}
	case d.Serves && s.Replicas() == 1:
		return Promise{Measured, strategy + ": nobody serves while its only Pod is out"}
	case d.Serves && word == Drops: // as of Pods that get requests before they listen
		return Promise{Measured, strategy + ": drops requests by itself"}
	case d.Serves:
		return Promise{Clean, disruption + ": every Pod serves all the time"}
	case word == Drops && d.Waits:
		return Promise{Measured, disruption + ": waits before it ends Pods"}
	case word == Clean && d.breaks(l, as):
		return Promise{Measured, disruption + ": no strategy can promise that"}
	case word == Clean && d.TakesNode && asksNodes(l.Consumer):
		return Promise{Measured, "consumer " + l.Consumer.Name + ": asks a node that is gone"}
	case word == Drops && as != ClassInFlight && d.Scope == ScopeSome:
		return Promise{Measured, disruption + ": not every Pod is replaced"}
	case word == Drops && as != ClassInFlight && d.Scope == ScopeNode && s.Replicas() > 1:
		return Promise{Measured, disruption + ": only the Pods of one node are replaced"}
	}
	p, delay := Promise{word, strategy}, s.Strategy.ServesFor()
	if s.Disruption.Waits {
		delay = cmp.Or(s.Disruption.Wait, runsOnFor(delay))
		if as == ClassNew && word == Measured && s.Replicas() > 1 {
			// However a Pod stops: nobody has sent it anything new for so long.
			p = Promise{Clean, fmt.Sprintf("disruption %s waits for %s", s.Disruption.Name, delay)}
		}
	}
	if p.Expect == Clean && as != ClassInFlight {
		from, why := l.Consumer.HoldsFrom.At(minSync)
		if why == "" && delay < from {
			why = fmt.Sprintf("holds from a delay of %s on, and this one is %s", from, delay)
		}
		if why != "" {
			return Promise{Measured, fmt.Sprintf("consumer %s: %s", l.Consumer.Name, why)}
		}
	}
	return atReference(l, class, p, l.Load.Class)
}

// atReference leaves "drops" to the reference and to the one class that it is asked of.
func atReference(l Lane, class Class, p Promise, of Class) Promise {
	if p.Expect == Drops && (!l.Consumer.Reference || l.Load.Class != of || class != of) {
		return Promise{Measured, p.Source + ": drops is asked of the reference alone"}
	}
	return p
}

// word is what the strategy's file says of a class.
func (s Scenario) word(class Class) (Expect, error) {
	word := Expect(s.Strategy.Expect[string(class)])
	if slices.Contains(expects, word) {
		return word, nil
	}
	if word == "" {
		return "", fmt.Errorf("strategy %s expects nothing of class %s", s.Strategy.Name, class)
	}
	return "", fmt.Errorf("strategy %s: unknown expectation %q of class %s: want clean, drops or measured",
		s.Strategy.Name, word, class)
}

// validateStrategy refuses words for classes that don't exist: a promise that nobody would read.
func validateStrategy(s fixtures.Strategy) error {
	for class := range s.Expect {
		if !slices.Contains(classes, Class(class)) {
			return fmt.Errorf("strategy %s: unknown class %q: want one of %s", s.Name, class, classNames())
		}
	}
	return nil
}

// classNames lists the classes for people.
func classNames() string {
	var known []string
	for _, c := range classes {
		known = append(known, string(c))
	}
	return strings.Join(known, ", ")
}
