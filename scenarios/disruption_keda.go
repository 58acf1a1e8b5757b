package scenarios

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/zerodrop/zerodrop/fixtures"
)

// Keda is what a disruption can do to the app by way of KEDA. All but the last two are about a ScaledObject
// of the app's name, which is among the disruption's objects.
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
	// AddScaling makes the objects by which KEDA scales a colour, as YAML. {workload} in it is the colour's
	// Deployment, {selector} the labels of its Pods, and {namespace} and {replicas} are the app's.
	AddScaling(ctx context.Context, colour, objects string) error
	// ScaledToZero says whether somebody has scaled a colour to zero.
	ScaledToZero(ctx context.Context, colour string) (bool, error)
}

// keda is the component that does it.
const keda = "keda"

const (
	// kedaPoll is the pollingInterval of ScaledObjects. KEDA's default is 30 s; nothing else than that a run is
	// shorter depends on it.
	kedaPoll = time.Second
	// kedaCooldown is the cooldownPeriod: a metric has to be zero for that long, before KEDA scales to zero. Its
	// default is 5 min.
	kedaCooldown = 5 * time.Second
	// staysFor is how long an app is watched that nobody scales.
	staysFor = 10 * time.Second
	// restartsAfter is how long after a switch the operator is replaced: clients hold connections yet.
	restartsAfter = 15 * time.Second
)

// Conditions of a ScaledObject.
const (
	scalingActive = "Active" // its metric is above zero
	scalingReady  = "Ready"  // its metric can be had
)

// Annotations of a ScaledObject, as a merge patch: KEDA lets the app be as it is, keeps it at zero, or
// scales it.
const (
	heldAtZero = `{"metadata": {"annotations": {` +
		`"autoscaling.keda.sh/paused": null, "autoscaling.keda.sh/paused-replicas": "0"}}}`
	letScale = `{"metadata": {"annotations": {` +
		`"autoscaling.keda.sh/paused": null, "autoscaling.keda.sh/paused-replicas": null}}}`
)

// scaledObject is the app's, with a trigger. Between none and all of its Pods there is nothing: that would
// be the part of a HorizontalPodAutoscaler, which has no metric here. KEDA's adapter would bring it, by an
// APIService; one whose program is scaled away, as components are, breaks discovery for the whole cluster.
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

// drainScaling has KEDA end a colour when its Pods say that they have no work. It is made when no Service
// of the app's selects the colour any more: before that, a colour without work would be ended that is to get
// some. The Pods stay in a Service of the colour's own, which KEDA finds them by; nobody else asks it. KEDA
// adds up what those say that answer it: one that doesn't, within 3 s, has no work.
const drainScaling = `apiVersion: v1
kind: Service
metadata:
  name: {workload}-drain
spec:
  clusterIP: None
  selector: {selector}
  ports:
  - {name: http, port: 8080, targetPort: http}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {workload}
spec:
  scaleTargetRef: {name: {workload}}
  pollingInterval: %d
  cooldownPeriod: %d
  initialCooldownPeriod: %d # kube-proxies may send somebody yet
  minReplicaCount: 0
  triggers:
  - type: metrics-api
    metadata:
      url: http://{workload}-drain.{namespace}.svc:8080/busy
      valueLocation: work
      targetValue: "1000" # for a HorizontalPodAutoscaler that has no metric
      aggregateFromKubeServiceEndpoints: "true"
      aggregationType: sum
`

// scaling is the app's ScaledObject with a trigger, as YAML.
func scaling(trigger string) string {
	return fmt.Sprintf(scaledObject, int(kedaPoll.Seconds()), int(kedaCooldown.Seconds()), trigger)
}

// retrigger is a merge patch of a ScaledObject: another trigger.
func retrigger(trigger string) string { return `{"spec": {"triggers": [` + trigger + `]}}` }

// drainByKeda leaves it to KEDA to end a colour, and removes it when that was done. It asks for the work as
// well, so that it is known how much was left.
func drainByKeda(ctx context.Context, app App, colour string) error {
	poll, cooldown := int(kedaPoll.Seconds()), int(kedaCooldown.Seconds())
	err := inOrder(ctx,
		func(ctx context.Context) error { return app.StopTasks(ctx, colour) },
		func(ctx context.Context) error {
			return app.AddScaling(ctx, colour, fmt.Sprintf(drainScaling, poll, cooldown, cooldown))
		},
		func(ctx context.Context) error { return untilKedaEnds(ctx, app, colour) },
	)
	if err != nil {
		return fmt.Errorf("drain colour %s by KEDA: %w", colour, err)
	}
	return app.RemoveColour(ctx, colour)
}

// untilKedaEnds returns when a colour was scaled to zero.
func untilKedaEnds(ctx context.Context, app App, colour string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, drainLimit, fmt.Errorf("KEDA has not ended it within %s", drainLimit))
	defer cancel()
	for {
		if _, err := app.Work(ctx, colour); err != nil {
			return err
		}
		if ended, err := app.ScaledToZero(ctx, colour); err != nil || ended {
			return err
		}
		if err := keepQuiet(ctx, askEvery); err != nil {
			return err
		}
	}
}

// rainbowsByKeda are releases whose old colours KEDA ends.
func rainbowsByKeda() []Disruption {
	const releases = 3
	const apart = (releases - 1) * releaseEvery
	list := []Disruption{
		{
			Name: "rainbow-keda",
			Summary: fmt.Sprintf("as rainbow, %d releases, where KEDA scales the old colours to zero: it asks their Pods every "+
				"%s how much work they have, and waits for %s from when they had some last", releases, kedaPoll, kedaCooldown),
			Takes: apart + drainsFor, MayTake: apart + drainLimit,
			Run: func(ctx context.Context, app App) error { return inARow(ctx, app, releases, drainByKeda) },
		},
		{
			Name: "rainbow-keda-restart",
			Summary: fmt.Sprintf("as rainbow-keda, one release, and KEDA's operator is replaced %s after the switch: what it "+
				"knows of the cooldown is in the ScaledObject", restartsAfter),
			Takes: drainsFor, MayTake: drainLimit,
			Run: func(ctx context.Context, app App) error {
				if err := release(ctx, app, colours[0]); err != nil {
					return err
				}
				ctx, stop := context.WithCancel(ctx)
				defer stop()
				var restarting sync.WaitGroup
				var failed error
				restarting.Go(func() {
					if failed = keepQuiet(ctx, restartsAfter); failed == nil {
						failed = app.RollComponent(ctx, keda)
					}
				})
				err := drainByKeda(ctx, app, FirstColour)
				if err != nil {
					stop()
				}
				restarting.Wait()
				return cmp.Or(err, failed)
			},
		},
	}
	for i := range list {
		d := &list[i]
		d.Scope, d.Drains, d.Waits, d.Wait = ScopeAll, true, true, followWithin
		d.Reach, d.Workload, d.OwnProfile = ReachCluster, fixtures.DefaultWorkload, true
		d.Uses = map[string][]string{keda: nil}
		d.Over = func(ctx context.Context, app App) error { return app.WaitReplaced(ctx) }
		d.Undo = func(ctx context.Context, app App) error { return errors.Join(app.Restore(ctx), app.RestoreNodes(ctx)) }
	}
	return list
}

// kedas are disruptions that KEDA makes.
func kedas() []Disruption { return slices.Concat(rainbowsByKeda(), scalings()) }

// scalings are those in which KEDA scales the app itself.
func scalings() []Disruption {
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
	stayAtZero := func(ctx context.Context, app App) error {
		if err := stay(ctx, app); err != nil {
			return err
		}
		return app.WaitNone(ctx)
	}

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
			byOwnAnswers, change(heldAtZero), none, change(letScale), say(scalingReady, false), stayAtZero, back),
		zero("scale-metric-empty",
			"the series that KEDA scales by is there no more: KEDA takes that for zero (ignoreNullValues is true by default), "+
				"and scales the app to zero while requests come, until it is given the right one",
			byRequests, change(letScale), say(scalingActive, true), change(retrigger(byNothing)), none,
			change(retrigger(byRequests)), ready),
		zero("scale-metric-missing",
			fmt.Sprintf("as scale-metric-empty, where ignoreNullValues is false: KEDA says that its trigger fails, and scales "+
				"nothing for the %s that it is watched", staysFor),
			byRequests, change(letScale), say(scalingActive, true), change(retrigger(byNothingElse)),
			say(scalingReady, false), stay),
	}
	missing := &list[len(list)-1]
	missing.Scope, missing.Breaks = ScopeNone, nil
	for i := range list {
		d := &list[i]
		d.Reach = ReachCluster // the operator, and the kinds that it defines, are there for everybody
		d.Workload, d.Consumers = fixtures.DefaultWorkload, []string{"ingress"}
		d.Uses = map[string][]string{keda: nil, "prometheus": nil, traefik: {"--metrics.prometheus"}}
		d.OwnProfile, d.Undo = true, restoreNodes
	}
	return list
}

// kedaProfile is what KEDA does to an app.
func kedaProfile() Profile {
	var scaled, drained []string
	for _, d := range scalings() {
		scaled = append(scaled, d.Name)
	}
	for _, d := range rainbowsByKeda() {
		drained = append(drained, d.Name)
	}
	return Profile{
		Name: "keda",
		Summary: "KEDA drains old releases whose clients hold connections, beside the same done by hand; and it scales to " +
			"zero and back while requests come, by a metric from outside of the app and by one that goes with it; needs " +
			"images: make images CONSUMERS=keda,prometheus,traefik",
		Strategies: heldAgainst(), Disruptions: slices.Concat(drained, scaled), Consumers: heldConsumers(), Rate: 50,
		Cells: func() []Cell { // those on the same lanes follow each other
			return slices.Concat([]Cell{{controlStrategy, "rolling-update", heldLanes()}},
				cross([]string{"shutdown-at-once"}, append([]string{"rainbow"}, drained...), heldLanes()),
				cross(heldAgainst(), scaled, nil))
		},
	}
}
