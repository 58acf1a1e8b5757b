package scenarios

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/fixtures"
)

// Disruption is what makes Pods go away.
type Disruption struct {
	Name    string
	Summary string
	// Scope says which of the Pods that were there have to be gone afterwards.
	Scope Scope
	// Gone is how many, of ScopeSome; 0 for any number but none and all.
	Gone int
	// Reach is how far its effect goes. Beyond the namespace it needs a cluster of zerodrop's own.
	Reach Reach
	// GraceZero says that Pods get no grace period: requests in flight must be dropped. It needs Work
	// that outlasts what the kubelet gives them all the same.
	GraceZero bool
	// Breaks are the classes for which no strategy can promise anything under it; the summary says
	// why. What is dropped of them is a finding.
	Breaks []Class
	// Serves says that every Pod serves all the time: nothing may be dropped.
	Serves bool
	// Waits says that Pods get no new requests for a while before they are ended: a strategy that has to
	// drop requests needn't do so here.
	Waits bool
	// Wait is for how long, where that isn't the strategy's delay.
	Wait time.Duration
	// Takes is how much longer its runs take than one of a rollout, what is undone included: for estimates.
	Takes time.Duration
	// MayTake is how much longer they may take at most, before they are broken off; 0 for no longer.
	MayTake time.Duration
	// Drains says that it ends Pods only when they have no work left: connections that clients hold, and
	// requests in flight, may not be dropped, whatever the strategy.
	Drains bool
	// TakesNode says that a node goes with its Pods: who asks that node is not answered.
	TakesNode bool
	// Workload is what holds the Pods, a folder of fixtures/base; empty for what the suite runs on.
	Workload string
	// Switches is the consumer whose Service alone it switches: its runs have no other's lanes. Empty for
	// all consumers.
	Switches string
	// Patch is a strategic-merge patch, as YAML, on the workload of its runs, after that of the strategy.
	// The app's container comes first in it. Each run deploys the workload anew: nothing has to be taken
	// back.
	Patch string
	// Args are more arguments of the app in its runs.
	Args []string
	// Work is what loads with work ask for in its runs; 0 for their own.
	Work time.Duration
	// Objects is the YAML of what it needs beside the app, as a PodDisruptionBudget; made before
	// the run and removed after it. {namespace} and {replicas} in it are the app's.
	Objects string
	// Needs is what it needs of the cluster. Runs with the same needs share a cluster.
	Needs Needs
	// Consumers are those that it is about, beside the reference. It is watched by them alone, each in
	// its group, unless consumers or lanes are asked for; nil for those of the selection. What it breaks
	// is asked of the reference all the same.
	Consumers []string
	// Component is the one that it rolls, if any. In its runs consumers reach that by its Service, as its
	// Pod doesn't stay. ComponentPatch is a strategic-merge patch, as YAML, on its Deployment there.
	Component, ComponentPatch string
	// Uses are components that it needs beside those of consumers, each with more arguments of its program in
	// its runs.
	Uses map[string][]string
	// Strategies are those that profile disruptions has it with, by name, where it is about some; nil
	// for one that stops at once and one that waits.
	Strategies []string
	// OwnProfile says that another profile than disruptions has it, and nightly hasn't.
	OwnProfile bool
	// Run does it. It returns when the last step was taken and its effect is there as the summary
	// says; Pods may still be terminating then.
	Run func(ctx context.Context, app App) error
	// Over waits until the disruption is over; nil: until every Pod is ready and none terminating.
	Over func(ctx context.Context, app App) error
	// Undo takes back what would outlast the run, also after one that failed; nil: nothing would. It is
	// called when the load is over.
	Undo func(ctx context.Context, app App) error
}

// Scope says which of the Pods that were there have to be gone after a disruption, or what else has to
// have happened to them.
type Scope string

// The scopes.
const (
	ScopeNone Scope = "none" // no Pod may go
	ScopeAll  Scope = "all"  // every Pod
	ScopeNode Scope = "node" // the Pods of the node that the disruption has chosen
	ScopeSome Scope = "some" // as many as Gone says
	// None is gone, and each:
	ScopeRestarted Scope = "restarted" // has had its container started again, in place
	ScopeUnready   Scope = "unready"   // has been taken out of its Services' ready endpoints for a time
	ScopeLeft      Scope = "left"      // has left its Services, and runs on
)

var scopes = []Scope{
	ScopeNone, ScopeAll, ScopeNode, ScopeSome, ScopeRestarted, ScopeUnready, ScopeLeft,
}

// Reach is how far the effect of a disruption goes.
type Reach string

// The reaches. The zero value is the namespace.
const (
	ReachNamespace Reach = ""
	ReachNode      Reach = "node"
	ReachCluster   Reach = "cluster"
)

// Needs is what a run needs of a cluster, mostly for its disruption. The zero value is what every
// cluster has.
type Needs struct {
	ProxyMode    string // kube-proxy's: iptables, nftables; empty for any
	FeatureGates map[string]bool
	// KubeadmPatches are patches of kubeadm's and the kubelet's configuration, as kind takes them.
	KubeadmPatches []string
	// Logind says that kubelets have to hear of a shutdown of their nodes, from logind.
	Logind bool
}

// Key tells needs apart: those with the same key share a cluster. It is empty where there are none.
func (n Needs) Key() string {
	var parts []string
	if n.ProxyMode != "" {
		parts = append(parts, "kube-proxy "+n.ProxyMode)
	}
	for _, gate := range slices.Sorted(maps.Keys(n.FeatureGates)) {
		parts = append(parts, fmt.Sprintf("%s=%t", gate, n.FeatureGates[gate]))
	}
	if n.Logind {
		parts = append(parts, "logind")
	}
	return strings.Join(append(parts, n.KubeadmPatches...), "\n")
}

// ErrNotOurs is the guarantee that nothing beyond a namespace is touched in other clusters.
var ErrNotOurs = errors.New("is only for a kind cluster of zerodrop's own")

// Allowed says whether the disruption may be done: ours is a kind cluster of zerodrop's own.
func (d Disruption) Allowed(ours bool) error {
	switch {
	case ours:
		return nil
	case d.Reach != ReachNamespace:
		return fmt.Errorf("disruption %s reaches beyond the namespace, to the %s: %w", d.Name, d.Reach, ErrNotOurs)
	case d.Needs.Key() != "":
		return fmt.Errorf("disruption %s needs settings of the cluster: %w", d.Name, ErrNotOurs)
	}
	return nil
}

// ends says whether it ends Pods while requests come, so that a strategy that has to drop requests
// does so.
func (d Disruption) ends() bool { return d.Scope != ScopeNone && !d.Serves && !d.Waits }

// breaks says whether it is known to make a lane drop requests of a class, whatever the strategy. One that is
// about consumers breaks nothing of others, unless it ends all Pods.
func (d Disruption) breaks(l Lane, class Class) bool {
	return slices.Contains(d.Breaks, class) && (d.Consumers == nil || d.Scope == ScopeAll || d.concerns(l.Consumer))
}

// concerns says whether a consumer depends on what it rolls: a component, or what resolves names.
func (d Disruption) concerns(c fixtures.Consumer) bool {
	if d.Component != "" {
		return c.Component == d.Component
	}
	return slices.Contains(d.Consumers, c.Name) || resolvesNames(c)
}

// resolvesNames says whether a consumer asks DNS: its client, by an address that is a name, or its component.
func resolvesNames(c fixtures.Consumer) bool {
	return c.Resolve != nil || strings.Contains(c.Address, ".svc.") || slices.Contains(resolvers, c.Component)
}

// resolvers are the components that ask DNS for the app's Pods.
var resolvers = []string{"haproxy", "nginx"}

func (d Disruption) validate() error {
	switch {
	case d.Name == "" || d.Run == nil:
		return errors.New("has no disruption")
	case !slices.Contains(scopes, d.Scope):
		return fmt.Errorf("disruption %s has unknown scope %q", d.Name, d.Scope)
	}
	return nil
}

// App is what a disruption can do to the app under test, whatever workload holds its Pods.
type App interface {
	// Pods names the Pods that are neither terminating nor gone, oldest first.
	Pods(ctx context.Context) ([]string, error)
	// ChangeTemplate changes the Pod template, as a new release does, and returns when all Pods are
	// of the new template and available. That is what kubectl rollout status waits for; old Pods
	// may still be terminating.
	ChangeTemplate(ctx context.Context) error
	// DeletePod deletes a Pod as kubectl delete --wait=false does.
	DeletePod(ctx context.Context, name string) error
	// WaitReady waits until as many Pods as asked for are available, terminating ones not counted.
	WaitReady(ctx context.Context) error
	Rollouts
	InPlace
	Nodes
	NodeShutdown
	NodeLoss
	System
	Rainbow
	Keda
}

// Disruptions are all there are, in the order in which reports show them.
func Disruptions() []Disruption {
	return slices.Concat(
		[]Disruption{Quiet(10 * time.Second)},
		replacements(),
		rollouts(),
		inPlace(),
		quotas(),
		argo(),
		rainbows(),
		kedas(),
		onNodes(),
		systemRestarts(),
		shutdowns(),
		nodeLosses(), // the last
	)
}

// replacements are the two that every strategy is held against: a release, and the loss of one Pod
// after the other.
func replacements() []Disruption {
	return []Disruption{
		{
			Name:    "rolling-update",
			Summary: "the Pod template changes, as with a new release, and the workload replaces its Pods",
			Scope:   ScopeAll,
			Run:     func(ctx context.Context, app App) error { return app.ChangeTemplate(ctx) },
		},
		{
			Name:    "pod-deletion",
			Summary: "each Pod is deleted in turn, the next one when the replacement is ready",
			Scope:   ScopeAll,
			Run:     deleteInTurn,
		},
	}
}

// usual names the two.
func usual() []string {
	var out []string
	for _, d := range replacements() {
		out = append(out, d.Name)
	}
	return out
}

// Quiet does nothing to any Pod for as long as given.
func Quiet(d time.Duration) Disruption {
	return Disruption{
		Name:    "none",
		Summary: fmt.Sprintf("nothing happens to any Pod for %s (control: nothing may be dropped)", d),
		Scope:   ScopeNone,
		Run:     func(ctx context.Context, _ App) error { return keepQuiet(ctx, d) },
	}
}

func keepQuiet(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func deleteInTurn(ctx context.Context, app App) error { return inTurn(ctx, app, app.DeletePod) }
