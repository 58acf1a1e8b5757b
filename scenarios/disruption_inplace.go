package scenarios

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/zerodrop/zerodrop/fixtures"
)

// InPlace is what a disruption can do to Pods other than to delete or replace them.
type InPlace interface {
	// Delay is how long a Pod with the app's strategy serves on after its deletion; 0 for one that
	// stops at once.
	Delay() time.Duration
	// FailLiveness has a Pod fail its liveness probe, and returns when its container was started again
	// and the Pod is ready.
	FailLiveness(ctx context.Context, pod string) error
	// FailReadiness has a Pod fail its readiness probe for a time, and returns when the Pod was unready
	// and is ready again.
	FailReadiness(ctx context.Context, pod string, d time.Duration) error
	// RestartContainers has the container that restartAll adds to a Pod end with the code on which all
	// are started again, and returns when the app's was and the Pod is ready.
	RestartContainers(ctx context.Context, pod string) error
	// Isolate changes a Pod's labels, so that neither a Service nor its workload selects it any more.
	// The Pod runs on.
	Isolate(ctx context.Context, pod string) error
	// DeploySecond makes another Deployment of the app's template, whose Pods no Service selects, and
	// returns when they are ready.
	DeploySecond(ctx context.Context) error
	// SwitchServices has all Services select the Pods of the second Deployment. From then on that is
	// the app.
	SwitchServices(ctx context.Context) error
	// ScaleFirstDown takes the Pods of the first Deployment away.
	ScaleFirstDown(ctx context.Context) error
	// DeployOther makes another app on the same nodes, whose answers are none of the app's, and returns
	// when it is ready. No Service selects its Pods.
	DeployOther(ctx context.Context) error
	// ChangeBoth changes the Pod templates of the app and of the other app at the same time, as
	// ChangeTemplate does.
	ChangeBoth(ctx context.Context) error
	// WaitReplaced waits until every Pod of the app is ready and none is terminating, those included
	// that no Service selects any more: none of those is there.
	WaitReplaced(ctx context.Context) error
	// Restore has Services select the Pods that they were made for, and takes away what was made beside
	// the app, and isolated Pods, at once.
	Restore(ctx context.Context) error
}

const (
	// unreadyFor is how long a Pod is unready: longer than kube-proxy and most others take to follow.
	unreadyFor = 5 * time.Second
	// leaveFor is how long a Pod that no Service selects any more runs on where the strategy has no
	// delay: as long as strategies with one wait for.
	leaveFor = 15 * time.Second
)

// livenessProbe fails after three seconds. It begins when the slowest strategy has started.
const livenessProbe = `spec:
  template:
    spec:
      containers:
      - name: app
        livenessProbe:
          httpGet: {path: /livez, port: http}
          initialDelaySeconds: 6
          periodSeconds: 1
          failureThreshold: 3
`

// restartAll adds a container whose exit with code 42 starts all containers of the Pod again
// (Kubernetes 1.36 and later). It is the sample app once more, on other ports, as that ends when it is
// told to.
const restartAll = `spec:
  template:
    spec:
      containers:
      - name: app
      - name: beside
        image: localhost/sampleapp:static
        imagePullPolicy: IfNotPresent
        args: ['-addr=:8081', '-grpc-addr=:9091']
        restartPolicy: Always
        restartPolicyRules:
        - action: RestartAllContainers
          exitCodes: {operator: In, values: [42]}
        resources:
          requests: {cpu: 10m, memory: 32Mi}
          limits: {memory: 128Mi}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {drop: [ALL]}
`

// fewAddresses gives each node 14 addresses for Pods instead of 254. A CNI that goes round them, as
// host-local does, gives a released one to somebody else within a rollout or two.
const fewAddresses = `kind: ClusterConfiguration
controllerManager:
  extraArgs:
  - {name: node-cidr-mask-size, value: "28"}
`

// inPlace are the disruptions in which nothing is deleted, or not only a Pod.
func inPlace() []Disruption {
	second := func(name, summary string, needs Needs) Disruption {
		return Disruption{
			Name: name, Summary: summary, Scope: ScopeAll, Needs: needs, Workload: fixtures.DefaultWorkload,
			Run: func(ctx context.Context, app App) error {
				return inOrder(ctx, app.DeployOther, app.ChangeBoth)
			},
			Undo: func(ctx context.Context, app App) error { return app.Restore(ctx) },
		}
	}
	return []Disruption{
		{
			Name: "liveness-restart",
			Summary: "each Pod in turn fails its liveness probe, so that its container is started again in place: " +
				"preStop and SIGTERM come, and its endpoint stays ready until the container has ended",
			Scope: ScopeRestarted,
			// Requests come until the container has ended, whatever its delay.
			Breaks: classes,
			Patch:  livenessProbe,
			Run: func(ctx context.Context, app App) error {
				return each(ctx, app, app.FailLiveness)
			},
		},
		{
			Name: "restart-all-containers",
			Summary: "in each Pod in turn another container ends with a code on which all containers are started again " +
				"in place: the app gets SIGTERM and 2 s, and no preStop",
			Scope: ScopeRestarted,
			// Requests come until the container has ended, and no preStop runs.
			Breaks: classes,
			Patch:  restartAll,
			Run: func(ctx context.Context, app App) error {
				return each(ctx, app, app.RestartContainers)
			},
		},
		{
			Name: "readiness-lost",
			Summary: fmt.Sprintf("each Pod in turn fails its readiness probe for %s and recovers; it serves all the time",
				unreadyFor),
			Scope:  ScopeUnready,
			Serves: true,
			Run: func(ctx context.Context, app App) error {
				return each(ctx, app, func(ctx context.Context, pod string) error {
					return app.FailReadiness(ctx, pod, unreadyFor)
				})
			},
		},
		{
			Name: "label-change",
			Summary: "the labels of each Pod in turn are changed, so that it leaves its Services and is replaced; " +
				"it runs on, and its endpoint is never terminating",
			Scope:  ScopeLeft,
			Serves: true,
			Run: func(ctx context.Context, app App) error {
				return inTurn(ctx, app, app.Isolate)
			},
			Over: func(ctx context.Context, app App) error { return app.WaitReady(ctx) },
			Undo: func(ctx context.Context, app App) error { return app.Restore(ctx) },
		},
		{
			Name: "isolate-wait-delete",
			Summary: fmt.Sprintf("each Pod in turn leaves its Services by a change of its labels, runs on for the strategy's "+
				"delay, or %s where there is none, and is deleted then", leaveFor),
			Scope: ScopeAll,
			Waits: true,
			Run: func(ctx context.Context, app App) error {
				return each(ctx, app, func(ctx context.Context, pod string) error {
					if err := replace(ctx, app, pod, app.Isolate); err != nil {
						return err
					}
					if err := keepQuiet(ctx, runsOnFor(app.Delay())); err != nil {
						return err
					}
					return app.DeletePod(ctx, pod)
				})
			},
			Over: func(ctx context.Context, app App) error { return app.WaitReplaced(ctx) },
			Undo: func(ctx context.Context, app App) error { return app.Restore(ctx) },
		},
		{
			Name: "blue-green",
			Summary: fmt.Sprintf("a second Deployment gets ready, all Services are switched to it at once, and after the "+
				"strategy's delay, or %s where there is none, the first is scaled down", leaveFor),
			Scope:    ScopeAll,
			Waits:    true,
			Workload: fixtures.DefaultWorkload, // which alone can be there twice
			Run: func(ctx context.Context, app App) error {
				return inOrder(ctx, app.DeploySecond, app.SwitchServices,
					func(ctx context.Context) error { return keepQuiet(ctx, runsOnFor(app.Delay())) },
					app.ScaleFirstDown)
			},
			Over: func(ctx context.Context, app App) error { return app.WaitReplaced(ctx) },
			Undo: func(ctx context.Context, app App) error { return app.Restore(ctx) },
		},
		second("second-app", "another app is rolled on the same nodes at the same time: "+
			"it may get the address of a Pod that is gone, and with it the requests that still come there", Needs{}),
		second("second-app-few-addresses", "as second-app, where nodes have 14 addresses for Pods, "+
			"so that released ones come again soon", Needs{KubeadmPatches: []string{fewAddresses}}),
	}
}

// runsOnFor is how long a Pod that has left its Services runs on, with a strategy of a delay.
func runsOnFor(delay time.Duration) time.Duration { return cmp.Or(delay, leaveFor) }

func inOrder(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}
