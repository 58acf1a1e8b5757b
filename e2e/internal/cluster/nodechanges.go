package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zerodrop/zerodrop/e2e/internal/worker"
)

// nodeChanges is what a disruption has done to the nodes.
type nodeChanges struct {
	chosen string // the node that it is about; empty before it was chosen
	// undo takes each change back, in the order of the changes. Each may be called more than once, and
	// also where its change was never made.
	undo []func(ctx context.Context) error
}

// ChooseNode chooses the node with most of the app's Pods; of equals, that of the oldest Pod. It is an
// error if all are there, but for an app of one: nobody would serve, and that is another disruption.
func (a *App) ChooseNode(ctx context.Context) (string, error) {
	list, err := a.cluster.pods().List(ctx, metav1.ListOptions{LabelSelector: a.selector})
	if err != nil {
		return "", fmt.Errorf("choose a node: list Pods: %w", err)
	}
	there := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return p.DeletionTimestamp != nil || p.Spec.NodeName == ""
	})
	slices.SortStableFunc(there, func(a, b corev1.Pod) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	pods, most := map[string]int{}, ""
	for _, p := range there {
		pods[p.Spec.NodeName]++
	}
	for _, p := range there { // the oldest first
		if node := p.Spec.NodeName; pods[node] > pods[most] {
			most = node
		}
	}
	if most == "" {
		return "", errors.New("choose a node: none has a Pod of the app")
	}
	sends := slices.ContainsFunc(a.workers, func(w worker.Worker) bool { return w.Node == most })
	switch {
	case sends:
		return "", fmt.Errorf("choose a node: %s sends load: fewer workers find room on another", most)
	case len(there) > 1 && pods[most] == len(there):
		return "", fmt.Errorf("choose a node: all %d Pods are on %s", len(there), most)
	}
	a.nodes.chosen = most
	return most, nil
}

// RestoreNodes takes back what was done to nodes, the last change first, and waits until all are ready
// and take Pods again, and the cluster's own programs run. It may be called more than once, and without
// any change.
func (a *App) RestoreNodes(ctx context.Context) error {
	var errs []error
	for _, undo := range slices.Backward(a.nodes.undo) {
		errs = append(errs, undo(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := a.cluster.waitClusterReady(ctx); err != nil {
		return err
	}
	a.nodes = nodeChanges{}
	return a.cluster.markWhole()
}

// markChanged is called before a disruption reaches beyond the namespace. A process that is killed from
// then on leaves no cluster that a later run would take.
func (c *Cluster) markChanged() error {
	c.changed = true
	return c.kind.forget()
}

// markWhole is called when all of that is undone.
func (c *Cluster) markWhole() error {
	c.changed = false
	if c.kind == nil { // nothing could be changed
		return nil
	}
	return c.kind.remember()
}

// Whole says that nothing of a disruption is left that reaches beyond the namespace: the cluster is one
// that other runs can use.
func (c *Cluster) Whole() bool { return !c.changed }
