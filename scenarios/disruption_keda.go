package scenarios

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/fixtures"
)

// Keda is what a disruption can do to the app by way of KEDA, which has a ScaledObject of the app's name
// among the disruption's objects.
type Keda interface {
	// ChangeScaling changes the ScaledObject by a JSON merge patch.
	ChangeScaling(ctx context.Context, patch string) error
	// WaitScaling waits until KEDA says of the ScaledObject that a condition holds, or doesn't.
	WaitScaling(ctx context.Context, condition string, holds bool) error
	// WaitNone waits until no Pod of the app is there.
	WaitNone(ctx context.Context) error
	// ScaleBack has the app have as many Pods as it was deployed with, by hand, and returns when they are
	// ready.
	ScaleBack(ctx context.Context) error
}

const (
	// kedaPoll is the pollingInterval of ScaledObjects. KEDA's default is 30 s; nothing else than that a run is
	// shorter depends on it.
	kedaPoll = time.Second
	// kedaCooldown is the cooldownPeriod: a metric has to be zero for that long, before KEDA scales to zero. Its
	// default is 5 min.
	kedaCooldown = 5 * time.Second
	// staysFor is how long an app is watched that nobody scales.
	staysFor = 10 * time.Second
)

// Conditions of a ScaledObject.
const (
	scalingActive = "Active" // its metric is above zero
	scalingReady  = "Ready"  // its metric can be had
)

// Annotations of a ScaledObject, as a merge patch: KEDA lets the app be as it is, keeps it at zero, or
// scales it.
const (
	heldAtZero = `{"metadata": {"annotations": {"autoscaling.keda.sh/paused": null, "autoscaling.keda.sh/paused-replicas": "0"}}}`
	letScale   = `{"metadata": {"annotations": {"autoscaling.keda.sh/paused": null, "autoscaling.keda.sh/paused-replicas": null}}}`
)

// scaledObject is the app's, with a trigger. Between none and all of its Pods there is nothing: that would
// be the part of a HorizontalPodAutoscaler.
const scaledObject = `apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: app
  annotations: {autoscaling.keda.sh/paused: "true"} # until there is load
spec:
  scaleTargetRef: {name: app}
  pollingInterval: %d
  cooldownPeriod: %d
  initialCooldownPeriod: 60 # one whose metric was never above zero would be scaled to zero at once
  idleReplicaCount: 0
  minReplicaCount: {replicas}
  triggers: [%s]
`

// Triggers, as JSON. Those of Prometheus ask for the requests that Traefik gets, which come whether or not
// the app has Pods, or for a series that there isn't, as where it was renamed. Of the latter KEDA makes a
// zero, unless it is told not to. The last asks each Pod behind the Service, at the port that is the Pods'
// and not the Service's, for what it has answered.
const (
	byRequests = `{"type": "prometheus", "metadata": {` + prometheusAt + `, ` +
		`"query": "sum(rate(traefik_entrypoint_requests_total{entrypoint=\"web\"}[5s]))"}}`
	byNothing = `{"type": "prometheus", "metadata": {` + prometheusAt + `, ` +
		`"query": "sum(rate(renamed_requests_total[5s]))"}}`
	byNothingElse = `{"type": "prometheus", "metadata": {` + prometheusAt + `, ` +
		`"query": "sum(rate(renamed_requests_total[5s]))", "ignoreNullValues": "false"}}`
	byOwnAnswers = `{"type": "metrics-api", "metadata": {"url": "http://app-internal.{namespace}.svc:8080/metrics", ` +
		`"format": "prometheus", "valueLocation": "zerodrop_answered_total", "targetValue": "1000", ` +
		`"aggregateFromKubeServiceEndpoints": "true", "aggregationType": "sum"}}`

	prometheusAt = `"serverAddress": "http://prometheus.zerodrop-components.svc:9090", "threshold": "1000"`
)

// scaling is the app's ScaledObject with a trigger, as YAML.
func scaling(trigger string) string {
	return fmt.Sprintf(scaledObject, int(kedaPoll.Seconds()), int(kedaCooldown.Seconds()), trigger)
}

// retrigger is a merge patch of a ScaledObject: another trigger.
func retrigger(trigger string) string { return `{"spec": {"triggers": [` + trigger + `]}}` }

// kedas are disruptions that KEDA makes.
func kedas() []Disruption {
	change := func(patch string) func(ctx context.Context, app App) error {
		return func(ctx context.Context, app App) error { return app.ChangeScaling(ctx, patch) }
	}
	say := func(condition string, holds bool) func(ctx context.Context, app App) error {
		return func(ctx context.Context, app App) error { return app.WaitScaling(ctx, condition, holds) }
	}
	none := func(ctx context.Context, app App) error { return app.WaitNone(ctx) }
	ready := func(ctx context.Context, app App) error { return app.WaitReady(ctx) }
	back := func(ctx context.Context, app App) error { return app.ScaleBack(ctx) }
	stay := func(ctx context.Context, _ App) error { return keepQuiet(ctx, staysFor) }

	zero := func(name, summary, trigger string, steps ...func(context.Context, App) error) Disruption {
		return Disruption{
			Name: name, Summary: summary, Scope: ScopeAll, Breaks: classes, Objects: scaling(trigger),
			Run: func(ctx context.Context, app App) error {
				for _, step := range steps {
					if err := step(ctx, app); err != nil {
						return err
					}
				}
				return nil
			},
		}
	}
	list := []Disruption{
		zero("scale-to-zero",
			"KEDA scales the app to zero while requests come, and lets it come back as soon as none of its Pods is there: by "+
				"the requests that Traefik counts, which Prometheus knows. Nobody holds a request until a Pod is there",
			byRequests, change(heldAtZero), none, change(letScale), ready),
		zero("scale-to-zero-own-metric",
			fmt.Sprintf("as scale-to-zero, by a metric that the app's own Pods tell: there are none to ask, KEDA says that its "+
				"trigger fails, and the app stays at zero whatever comes; after %s it is scaled back by hand", staysFor),
			byOwnAnswers, change(heldAtZero), none, change(letScale), say(scalingReady, false), stay, none, back),
		zero("scale-metric-empty",
			"the series that KEDA scales by is there no more: KEDA takes that for zero (ignoreNullValues is true by default), "+
				"and scales the app to zero while requests come, until it is given the right one",
			byRequests, change(letScale), say(scalingActive, true), change(retrigger(byNothing)), none,
			change(retrigger(byRequests)), ready),
		zero("scale-metric-missing",
			fmt.Sprintf("as scale-metric-empty, where ignoreNullValues is false: KEDA says that its trigger fails, and scales "+
				"nothing for the %s that it is watched", staysFor),
			byRequests, change(letScale), say(scalingActive, true), change(retrigger(byNothingElse)), say(scalingReady, false), stay),
	}
	missing := &list[len(list)-1]
	missing.Scope, missing.Breaks = ScopeNone, nil
	for i := range list {
		d := &list[i]
		d.Reach = ReachCluster // the operator, and the kinds that it defines, are there for everybody
		d.Workload, d.Consumers = fixtures.DefaultWorkload, []string{"ingress"}
		d.Uses = map[string][]string{"keda": nil, "prometheus": nil, traefik: {"--metrics.prometheus"}}
		d.OwnProfile, d.Undo = true, restoreNodes
	}
	return list
}

// kedaProfile is what KEDA does to an app.
func kedaProfile() Profile {
	var names []string
	for _, d := range kedas() {
		names = append(names, d.Name)
	}
	return Profile{
		Name: "keda",
		Summary: "scaled to zero and back by KEDA while requests come, by a metric from outside of the app and by one that " +
			"goes with it; needs images: make images CONSUMERS=keda,prometheus,traefik",
		Strategies: heldAgainst(), Disruptions: names, Rate: DefaultRate, Lanes: serviceLanes(),
		Cells: func() []Cell {
			return slices.Concat([]Cell{{controlStrategy, "rolling-update", serviceLanes()}}, cross(heldAgainst(), names, nil))
		},
	}
}
