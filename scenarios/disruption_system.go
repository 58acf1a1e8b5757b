package scenarios

import (
	"context"
	"time"
)

// System is what a disruption can do to programs of the cluster itself, which endpoints depend on.
type System interface {
	// WorkerNodes names the nodes that the app's Pods run on.
	WorkerNodes(ctx context.Context) ([]string, error)
	// RestartKubelet restarts a node's kubelet, as systemctl does, and returns when that has told the API
	// server that its node is ready.
	RestartKubelet(ctx context.Context, node string) error
	// RollKubeProxy replaces every kube-proxy, node by node, and RollCoreDNS every CoreDNS, as kubectl
	// rollout restart does. They return when no old Pod is left.
	RollKubeProxy(ctx context.Context) error
	RollCoreDNS(ctx context.Context) error
	// RollComponent replaces the Pod of a component in the same way.
	RollComponent(ctx context.Context, name string) error
}

// traefik is the component that ingress-rolled rolls.
const traefik = "traefik"

// asChart has Traefik rolled as its Helm chart does (updateStrategy, readinessProbe and
// terminationGracePeriodSeconds of its values.yaml): the new Pod comes first, and the old one has time
// to stop. Two Pods get the CPU that the node has for one.
const asChart = `spec:
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  template:
    spec:
      terminationGracePeriodSeconds: 60
      containers:
      - name: traefik
        readinessProbe: {initialDelaySeconds: 2, periodSeconds: 10, failureThreshold: 1, timeoutSeconds: 2}
        resources: {requests: {cpu: 50m}}
`

// settles is how long requests are watched when a program is there again: kubelets report every ten
// seconds, and a kube-proxy counts as ready before it has written its rules.
const settles = 10 * time.Second

// systemRestarts are those in which programs of the cluster go. No Pod of the app does, so that one
// strategy is enough.
func systemRestarts() []Disruption {
	restart := func(name, summary string, do func(ctx context.Context, app App) error) Disruption {
		return Disruption{
			Name: name, Summary: summary, Scope: ScopeNone, Reach: ReachCluster, Strategies: oneStrategy, Run: do,
			Over: func(ctx context.Context, app App) error {
				if err := keepQuiet(ctx, settles); err != nil {
					return err
				}
				return app.WaitReady(ctx)
			},
			Undo: restoreNodes,
		}
	}
	coredns := restart("coredns-rolled",
		"CoreDNS is rolled: who resolves names for each connection depends on it, and on its Service",
		func(ctx context.Context, app App) error { return app.RollCoreDNS(ctx) })
	coredns.Consumers, coredns.Breaks = []string{"dns", "dns-cached"}, classes
	ingress := restart("ingress-rolled",
		"the ingress controller Traefik is rolled, behind a Service, as its Helm chart does: it stops to take connections "+
			"on SIGTERM (its requestAcceptGraceTimeout is 0), while kube-proxy still sends there",
		func(ctx context.Context, app App) error { return app.RollComponent(ctx, traefik) })
	ingress.Consumers, ingress.Breaks = []string{"gateway", "ingress"}, classes
	ingress.Component, ingress.ComponentPatch = traefik, asChart
	return []Disruption{
		restart("kubelet-restart",
			"the kubelet of each worker node in turn is restarted: its Pods run on, and stay ready (Kubernetes 1.35 and later)",
			restartKubelets),
		restart("kube-proxy-restart",
			"kube-proxy is rolled, node by node: what it has written stays in the kernel meanwhile",
			func(ctx context.Context, app App) error { return app.RollKubeProxy(ctx) }),
		coredns, ingress,
	}
}

func restartKubelets(ctx context.Context, app App) error {
	nodes, err := app.WorkerNodes(ctx)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		restart := func(ctx context.Context) error { return app.RestartKubelet(ctx, node) }
		if err := inOrder(ctx, restart, app.WaitReady); err != nil {
			return err
		}
	}
	return nil
}
