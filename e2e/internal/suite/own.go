package suite

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/userapp"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// usualSleep is the preStop sleep that is advised everywhere, in seconds. With it requests end well before the
// Pod does, so that it also tells how long the shortest sleep has to be.
const usualSleep = 15

// followUps is how many runs FollowUp has at most.
const followUps = 3

// readApp reads people's own app, or what runs of it, or refuses it with what to write; nil for the sample app.
func readApp(ctx context.Context, config Config) (*userapp.App, error) {
	if config.Target.Name != "" {
		return lookAt(ctx, config)
	}
	if config.App == "" {
		return nil, nil
	}
	var images []string
	var err error
	if config.AppArchive != "" {
		if images, err = userapp.ReadArchive(config.AppArchive, runtime.GOARCH); err != nil {
			return nil, fmt.Errorf("%w: -app-archive: %w", ErrConfig, err)
		}
	}
	app, err := userapp.Read(config.App, images, config.Cluster.Kubeconfig != "")
	if err != nil {
		return nil, fmt.Errorf("%w: -app: %w", ErrConfig, err)
	}
	return &app, nil
}

// tellApp says what was understood of people's own app, before anything takes its time.
func (s *Suite) tellApp() {
	if s.app == nil {
		return
	}
	for _, line := range s.app.Understanding() {
		s.progress.line("%s", line)
	}
}

// appScenarios are those of people's own app that need no result of others: undisturbed, which is a control; as
// it is under a release, which alone may fail; as it is when each Pod is lost; and with the usual sleep.
func (s *Suite) appScenarios() ([]scenarios.Scenario, error) {
	asIs, err := s.app.AsIs()
	if err != nil {
		return nil, err
	}
	var out []scenarios.Scenario
	for _, disruption := range []string{"none", "rolling-update", "pod-deletion"} {
		scenario, err := s.appScenario(asIs, disruption)
		if err != nil {
			return nil, err
		}
		out = append(out, scenario)
	}
	usual, err := s.app.PreStopSleep(usualSleep)
	return s.addVariant(out, usual, err, fmt.Sprintf("prestop-sleep-%ds", usualSleep))
}

// appScenario is people's own app, as a variant, under a disruption.
func (s *Suite) appScenario(v userapp.Variant, disruption string) (scenarios.Scenario, error) {
	groups, err := s.catalogue.Selected(s.selection())
	if err != nil {
		return scenarios.Scenario{}, err
	}
	base, err := s.catalogue.In(groups[0], "no-handler", disruption)
	if err != nil {
		return base, err
	}
	return s.app.In(base, v)
}

// addVariant appends a variant under a release. One that can't be made is not run, and whyNot says why.
func (s *Suite) addVariant(
	list []scenarios.Scenario, v userapp.Variant, whyNot error, name string,
) ([]scenarios.Scenario, error) {
	if whyNot != nil {
		s.notRun = append(s.notRun, scenarios.NotRun{Strategy: name, Disruption: "rolling-update", Why: whyNot.Error()})
		return list, nil //nolint:nilerr // it is no failure
	}
	scenario, err := s.appScenario(v, "rolling-update")
	return append(list, scenario), err
}

// FollowUp is what is run once the runs of Runs are on record: of people's own app the variants with the delay
// that these have measured, and the sample app's control. Of the sample app nothing is.
func (s *Suite) FollowUp() ([]scenarios.Run, error) {
	if s.app == nil || s.Config.Cluster.Live != nil {
		return nil, nil
	}
	var list []scenarios.Scenario
	delay, why := s.measuredDelay()
	seconds := int64(verdict.WholeSeconds(delay) / time.Second)
	var err error
	add := func(v userapp.Variant, whyNot error, name string) {
		if err == nil {
			list, err = s.addVariant(list, v, whyNot, name)
		}
	}
	switch {
	case why != nil:
		add(userapp.Variant{}, why, "prestop-sleep at the delay that was measured")
	case seconds < usualSleep:
		v, whyNot := s.app.PreStopSleep(seconds)
		add(v, whyNot, fmt.Sprintf("prestop-sleep-%ds", seconds))
	}
	if why == nil {
		v, whyNot := s.app.MinReady(seconds)
		add(v, whyNot, fmt.Sprintf("min-ready-%ds", seconds))
	}
	add(userapp.Variant{}, errStopSignal, "stop-signal")
	if err != nil {
		return nil, err
	}
	control, err := s.catalogue.Select(s.selection())
	if err != nil {
		return nil, err
	}
	if c := s.Config.Cluster; c.Kubeconfig != "" && c.AppImage == "" {
		s.notRun = append(s.notRun, scenarios.NotRun{
			Strategy: "no-handler", Disruption: "rolling-update",
			Why: "it is the sample app's, which a cluster that exists has to pull: -app-image names its image",
		})
	} else {
		list = append(list, control[len(control)-1])
	}
	return scenarios.Interleave(list, s.Config.Repeat), nil
}

// errStopSignal is why no variant has a lifecycle.stopSignal.
var errStopSignal = fmt.Errorf("%w: lifecycle.stopSignal needs the feature gate ContainerStopSignals, which is "+
	"alpha in "+
	"Kubernetes 1.37 and off", userapp.ErrNoVariant)

// measuredDelay is how long a Pod of people's own app has to serve on after its deletion, as runs of it say in
// which requests ended before the Pod did; or why that isn't known.
func (s *Suite) measuredDelay() (time.Duration, error) {
	byStrategy := map[string][]verdict.Verdict{}
	var order []string
	for _, v := range s.verdicts {
		if v.Spec.Target == nil || v.Spec.Disruption == "none" || v.Spec.Delay == 0 {
			continue
		}
		if !slices.Contains(order, v.Spec.Strategy) {
			order = append(order, v.Spec.Strategy)
		}
		byStrategy[v.Spec.Strategy] = append(byStrategy[v.Spec.Strategy], v)
	}
	why := "no run of the app has a delay"
	for _, name := range order {
		runs := byStrategy[name]
		estimate := verdict.NewSafeDelay(runs, runs[0].Spec.Delay)
		if estimate.Delay != nil {
			return *estimate.Delay, nil
		}
		why = estimate.Why
	}
	return 0, fmt.Errorf("%w: no delay was measured: %s", userapp.ErrNoVariant, why)
}
