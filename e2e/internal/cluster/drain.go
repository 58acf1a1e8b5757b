package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/drain"
)

// drainer is kubectl's, as of kubectl drain --ignore-daemonsets --delete-emptydir-data --pod-selector:
// whatever else runs on a node stays, as the loss of CoreDNS or of a proxy would be another disruption.
func (c *Cluster) drainer(ctx context.Context, selector string) *drain.Helper {
	return &drain.Helper{
		Ctx: ctx, Client: c.client, Out: io.Discard, ErrOut: io.Discard, Timeout: deployWithin,
		PodSelector: selector, IgnoreAllDaemonSets: true, DeleteEmptyDirData: true, GracePeriodSeconds: -1,
	}
}

// Cordon lets no new Pods onto a node, as kubectl cordon does.
func (a *App) Cordon(ctx context.Context, node string) error {
	a.nodes.undo = append(a.nodes.undo, func(ctx context.Context) error { return a.cordon(ctx, node, false) })
	return a.cordon(ctx, node, true)
}

func (a *App) cordon(ctx context.Context, node string, on bool) error {
	what := "node " + node + " to be cordoned"
	if !on {
		what = "node " + node + " to be uncordoned"
	}
	return poll(ctx, deployWithin, what, func(ctx context.Context) (string, error) {
		present, err := a.cluster.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err) && !on:
			return "", nil // that it isn't there is for others to tell
		case apierrors.IsNotFound(err):
			return "", fmt.Errorf("%w: %w", errPermanent, err)
		case err != nil:
			return "", err
		}
		return "", drain.RunCordonOrUncordon(a.cluster.drainer(ctx, ownSelector), present, on)
	})
}

// Drain cordons a node and evicts the app's Pods there, all at the same time, as kubectl drain does.
// It returns when all evictions are granted; that the Pods are gone is waited for after that, as in
// every run.
//
// kubectl's own code says which Pods are evicted, and cordons the node. The evictions are EvictPod's:
// kubectl asks again only 5 s after a budget has forbidden one, when the replacement may have been ready
// for long, and its error doesn't say which budget that was.
func (a *App) Drain(ctx context.Context, node string) error {
	if err := a.Cordon(ctx, node); err != nil {
		return err
	}
	list, errs := a.cluster.drainer(ctx, ownSelector).GetPodsForDeletion(node)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("drain node %s: %w", node, err)
	}
	pods := list.Pods()
	if len(pods) == 0 {
		return fmt.Errorf("drain node %s: no Pod of the app can be evicted there", node)
	}
	if err := a.evictAll(ctx, pods); err != nil {
		return fmt.Errorf("drain node %s: %w", node, err)
	}
	return nil
}

// evictAll evicts Pods at the same time, and returns when all evictions are granted.
func (a *App) evictAll(ctx context.Context, pods []corev1.Pod) error {
	evictions, ctx := errgroup.WithContext(ctx)
	for _, p := range pods {
		evictions.Go(func() error { return a.EvictPod(ctx, p.Name) })
	}
	return evictions.Wait()
}
