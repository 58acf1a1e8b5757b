package scenarios

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Rollouts is what disruptions can do to the app that replace, scale, delete or evict its Pods.
type Rollouts interface {
	// BeginChange changes the Pod template as ChangeTemplate does, and waits for nothing.
	BeginChange(ctx context.Context) error
	// BreakTemplate is BeginChange to a template whose Pods never get ready.
	BreakTemplate(ctx context.Context) error
	// WaitMidway waits until a Pod of the new template is ready and one of the old is on its way out.
	WaitMidway(ctx context.Context) error
	// WaitStuck waits until the workload says that its rollout makes no progress.
	WaitStuck(ctx context.Context) error
	// RollBack puts the Pod template before the last change back, as kubectl rollout undo does, and
	// returns when the workload is complete. Without a change it does nothing.
	RollBack(ctx context.Context) error
	// ScaleDown asks for fewer replicas and returns when the workload has taken note. Others wait for
	// so many from then on.
	ScaleDown(ctx context.Context, replicas int) error
	// DeletePodNow deletes a Pod with a grace period of 0, as kubectl delete --force does.
	DeletePodNow(ctx context.Context, name string) error
	// EvictPod evicts a Pod through the API, as kubectl drain does. As long as a budget forbids it,
	// it is tried again.
	EvictPod(ctx context.Context, name string) error
	// ExpirePod gives a Pod a deadline that has passed, waits until its node has ended it, and
	// removes what is left.
	ExpirePod(ctx context.Context, name string) error
	// OverfillPod writes so many bytes to the Pod's volume, waits until its node has evicted it for
	// that, and removes what is left.
	OverfillPod(ctx context.Context, name string, bytes int) error
}

// rollouts are the disruptions of reach namespace that replace, scale, delete or evict Pods.
func rollouts() []Disruption {
	return slices.Concat(rollingUpdates(), deletions(), endedByNode(), otherWorkloads())
}

// onConnections are the classes that depend on there being another Pod to go to.
var onConnections = []Class{ClassNew, ClassKeptAlive, ClassHeld}

// rollingUpdates are those with other settings than rolling-update has. That has the defaults of
// Kubernetes, 25 % and 25 %, which are one Pod more and none less for three replicas: the article's
// maxSurge 1 and maxUnavailable 0. A quarter of four Pods is one of both.
func rollingUpdates() []Disruption {
	change := func(ctx context.Context, app App) error { return app.ChangeTemplate(ctx) }
	return []Disruption{
		{
			Name:    "rolling-update-unavailable",
			Summary: "a rolling update with maxSurge 0 and maxUnavailable 1: each Pod goes before its replacement comes",
			Scope:   ScopeAll,
			Patch:   "spec: {strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}}",
			Run:     change,
		},
		{
			Name:    "rolling-update-quarter",
			Summary: "a rolling update of four Pods with maxSurge and maxUnavailable 25 %: two are replaced at a time",
			Scope:   ScopeAll,
			Patch:   "spec: {replicas: 4, strategy: {rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}}}",
			Run:     change,
		},
		{
			Name: "rolling-update-at-once",
			Summary: "a rolling update with maxSurge 0 and maxUnavailable 100 %: all Pods go at once, " +
				"and none is ready until their replacements are",
			Scope:  ScopeAll,
			Breaks: onConnections,
			Patch:  "spec: {strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 100%}}}",
			Run:    change,
		},
		{
			Name: "rollback",
			Summary: "a rolling update is rolled back in its middle: one new Pod has been ready for three seconds, " +
				"and the first old one is on its way out",
			Scope: ScopeSome,
			// A new Pod that were deleted as soon as it is ready would have served nobody.
			Patch: "spec: {minReadySeconds: 3}",
			Run: func(ctx context.Context, app App) error {
				return inOrder(ctx, app.BeginChange, app.WaitMidway, app.RollBack)
			},
			Undo: func(ctx context.Context, app App) error { return app.RollBack(ctx) },
		},
		{
			Name: "rollout-never-ready",
			Summary: "a new release never gets ready: the Deployment gives up after ten seconds without progress, " +
				"and is rolled back; all the time the old Pods go on serving",
			Scope: ScopeNone,
			Patch: "spec: {progressDeadlineSeconds: 10}",
			Run: func(ctx context.Context, app App) error {
				return inOrder(ctx, app.BreakTemplate, app.WaitStuck, app.RollBack)
			},
			Undo: func(ctx context.Context, app App) error { return app.RollBack(ctx) },
		},
		{
			Name:    "scale-down",
			Summary: "the workload is scaled down to one replica, and its other Pods go at the same time",
			Scope:   ScopeSome,
			Run:     func(ctx context.Context, app App) error { return app.ScaleDown(ctx, 1) },
		},
	}
}

// forcedWork is more than a process gets with a grace period of 0: the kubelet makes that 1 s, in
// which preStop runs, and then gives SIGTERM 2 s at the least (Kubernetes 1.37). A request that needs
// longer than both is cut.
const forcedWork = 4 * time.Second

// budget lets one Pod of the app go at a time.
const budget = `apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: app}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: app}}
`

func deletions() []Disruption {
	return []Disruption{
		{
			Name:    "pod-deletion-one",
			Summary: "one Pod is deleted, the one that has been there longest",
			Scope:   ScopeSome,
			Gone:    1,
			Run: func(ctx context.Context, app App) error {
				return first(ctx, app, app.DeletePod)
			},
		},
		{
			Name:    "pod-deletion-all",
			Summary: "all Pods are deleted, one right after the other: none is ready until their replacements are",
			Scope:   ScopeAll,
			Breaks:  onConnections,
			Run: func(ctx context.Context, app App) error {
				return each(ctx, app, app.DeletePod)
			},
		},
		{
			Name: "pod-deletion-grace-zero",
			Summary: "each Pod is deleted with a grace period of 0, the next one when the replacement is ready: " +
				"no delay helps (control: requests in flight must be dropped)",
			Scope:     ScopeAll,
			GraceZero: true,
			Work:      forcedWork,
			Run: func(ctx context.Context, app App) error {
				return inTurn(ctx, app, app.DeletePodNow)
			},
		},
		{
			Name: "eviction",
			Summary: "each Pod is evicted through the API, as a drain does, under a PodDisruptionBudget " +
				"that lets one go at a time",
			Scope:   ScopeAll,
			Objects: budget,
			Run: func(ctx context.Context, app App) error {
				return each(ctx, app, app.EvictPod)
			},
		},
	}
}

// endedByNode are those in which the kubelet ends Pods for reasons of its own. Nobody deletes them:
// whether the endpoint goes before the process does is for the kubelet to say, in the Pod's status.
func endedByNode() []Disruption {
	return []Disruption{
		{
			Name: "active-deadline",
			Summary: "each Pod gets an activeDeadlineSeconds that has passed, the next one when the replacement is ready: " +
				"the kubelet ends it, and nobody deletes it",
			Scope:  ScopeAll,
			Breaks: classes,
			Run: func(ctx context.Context, app App) error {
				return inTurn(ctx, app, app.ExpirePod)
			},
		},
		{
			Name: "emptydir-limit",
			Summary: "a Pod writes more to an emptyDir than its sizeLimit: the kubelet evicts it, some two minutes later, " +
				"with a grace period of 1 s",
			Scope:  ScopeSome,
			Gone:   1,
			Breaks: classes,
			Patch: `spec:
  template:
    spec:
      volumes:
      - name: scratch
        emptyDir: {sizeLimit: 1Mi}
      containers:
      - name: app
        volumeMounts:
        - {name: scratch, mountPath: /scratch}
`,
			Args: []string{"-scratch=/scratch"},
			Run: func(ctx context.Context, app App) error {
				return first(ctx, app, func(ctx context.Context, name string) error {
					return app.OverfillPod(ctx, name, 4<<20)
				})
			},
		},
	}
}

func otherWorkloads() []Disruption {
	change := func(ctx context.Context, app App) error { return app.ChangeTemplate(ctx) }
	return []Disruption{
		{
			Name:     "statefulset-rolling-update",
			Summary:  "a rolling update of a StatefulSet: the last Pod first, and each is gone before one of its name comes",
			Scope:    ScopeAll,
			Workload: "statefulset",
			Run:      change,
		},
		{
			Name:     "daemonset-rolling-update",
			Summary:  "a rolling update of a DaemonSet: node by node, and each Pod is gone before the next comes",
			Scope:    ScopeAll,
			Workload: "daemonset",
			Run:      change,
		},
	}
}

// lanes are those of its runs.
func (d Disruption) lanes(list []Lane) []Lane {
	if d.Switches != "" {
		list = slices.DeleteFunc(slices.Clone(list), func(l Lane) bool { return l.Consumer.Name != d.Switches })
	}
	if d.Work == 0 {
		return list
	}
	list = slices.Clone(list)
	for i := range list {
		if load := &list[i].Load; load.Work > 0 {
			load.Work = d.Work
		}
	}
	return list
}

// errNoPods is the guarantee that a disruption that has done nothing is none.
var errNoPods = errors.New("disrupt Pods: there are none")

// inTurn does something to each Pod, to the next one when as many as asked for are ready again.
func inTurn(ctx context.Context, app App, do func(ctx context.Context, name string) error) error {
	return each(ctx, app, func(ctx context.Context, name string) error {
		return replace(ctx, app, name, do)
	})
}

// replace does something to a Pod that takes it away, and returns when as many as asked for are ready
// again.
func replace(ctx context.Context, app App, name string, do func(ctx context.Context, name string) error) error {
	if err := do(ctx, name); err != nil {
		return err
	}
	if err := app.WaitReady(ctx); err != nil {
		return fmt.Errorf("replacement of Pod %s: %w", name, err)
	}
	return nil
}

// each does something to each of the Pods that are there now.
func each(ctx context.Context, app App, do func(ctx context.Context, name string) error) error {
	pods, err := present(ctx, app)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		if err := do(ctx, pod); err != nil {
			return err
		}
	}
	return nil
}

// first does something to the Pod that has been there longest.
func first(ctx context.Context, app App, do func(ctx context.Context, name string) error) error {
	pods, err := present(ctx, app)
	if err != nil {
		return err
	}
	return do(ctx, pods[0])
}

// present are the Pods that are there now, oldest first. None is an error.
func present(ctx context.Context, app App) ([]string, error) {
	pods, err := app.Pods(ctx)
	if err == nil && len(pods) == 0 {
		err = errNoPods
	}
	return pods, err
}
