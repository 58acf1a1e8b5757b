package verdict

import (
	"fmt"
	"slices"
)

// LifecyclePhase is the part of a Pod's life in which it dropped a request.
type LifecyclePhase int

// The zero value is Unattributed: what nobody looked into is charged to no one.
const (
	Unattributed LifecyclePhase = iota
	StartUp
	BeforeDeletion
	PreStop
	Terminating
	ListenerClosed
	CutAtExit
	AfterExit
	NoEndpoint
)

var phaseWords = [...]struct{ name, meaning string }{
	Unattributed:   {"unattributed", "charged to no Pod, or to no phase of its life"},
	StartUp:        {"start-up", "the Pod didn't listen yet"},
	BeforeDeletion: {"before-deletion", "nothing had been done to the Pod"},
	PreStop:        {"prestop", "from its deletion to SIGTERM, which is the preStop hook and what the kubelet takes"},
	Terminating:    {"terminating", "from SIGTERM until it closed its listener: it still took connections"},
	ListenerClosed: {"listener-closed", "it had closed its listener, and its process still ran"},
	CutAtExit:      {"cut-at-exit", "in flight when its process ended, or gave up waiting"},
	AfterExit:      {"after-exit", "sent to it when its process had ended, as a node still routed there"},
	NoEndpoint:     {"no-endpoint", "the Service had no endpoint at all, so there is no Pod to charge"},
}

// LifecyclePhases lists every phase in the order in which a life has them, Unattributed last.
func LifecyclePhases() []LifecyclePhase {
	return []LifecyclePhase{
		StartUp,
		BeforeDeletion,
		PreStop,
		Terminating,
		ListenerClosed,
		CutAtExit,
		AfterExit,
		NoEndpoint,
		Unattributed,
	}
}

func (p LifecyclePhase) String() string {
	if p < 0 || int(p) >= len(phaseWords) {
		return fmt.Sprintf("phase(%d)", int(p))
	}
	return phaseWords[p].name
}

// Meaning says the phase in words: the state of the Pod when it dropped a request.
func (p LifecyclePhase) Meaning() string {
	if p < 0 || int(p) >= len(phaseWords) {
		return ""
	}
	return phaseWords[p].meaning
}

// MarshalText writes the name, as a value and as a key.
func (p LifecyclePhase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (p *LifecyclePhase) UnmarshalText(text []byte) error {
	i := slices.IndexFunc(phaseWords[:], func(w struct{ name, meaning string }) bool { return w.name == string(text) })
	if i < 0 {
		return fmt.Errorf("unknown phase %q", text)
	}
	*p = LifecyclePhase(i)
	return nil
}
