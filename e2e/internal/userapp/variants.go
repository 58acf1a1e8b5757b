package userapp

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// AsIs is the name of the app without any change, as a strategy.
const AsIs = "as-is"

// Variant is the app with one change, the smallest that does what its name says, or with none.
type Variant struct {
	Strategy fixtures.Strategy
	Diff     string // of what people have written, as they may commit it; empty for the app as it is
}

// setting is one number that a variant sets: where in the workload, "=web" being the container of that name.
type setting struct {
	path  []string
	value int64
}

// ErrNoVariant is why a variant isn't made: the app has it already, or has something in its place.
var ErrNoVariant = errors.New("not tried")

// errBeyond is the guarantee that a variant changes what it is about and nothing else.
var errBeyond = errors.New("changes more than it is about")

// AsIs is the app without any change.
func (a *App) AsIs() (Variant, error) {
	s, err := fixtures.NewStrategy(AsIs, "the app as its people have written it", a.Own.Workload, nil)
	return Variant{Strategy: s}, err
}

// PreStopSleep is the app with a preStop hook that sleeps for so long, and as much more of a grace period.
func (a *App) PreStopSleep(seconds int64) (Variant, error) {
	app := a.rendered.App()
	own := fixtures.HookSleep(app.Lifecycle)
	if l := app.Lifecycle; l != nil && l.PreStop != nil && l.PreStop.Sleep == nil {
		return Variant{},
			fmt.Errorf("%w: container %s has a preStop hook, which may do more than wait (%s), and there is room "+
				"for one: put sleep %d before what it does", ErrNoVariant, app.Name, hookWords(l), seconds)
	}
	if own >= time.Duration(seconds)*time.Second {
		return Variant{}, fmt.Errorf("%w: container %s sleeps for %s already", ErrNoVariant, app.Name, own)
	}
	grace := int64((a.rendered.Grace()-own)/time.Second) + seconds
	pod := []string{"spec", "template", "spec"}
	return a.variant(
		fmt.Sprintf("prestop-sleep-%ds", seconds),
		fmt.Sprintf("a preStop sleep of %d s, and %d s of grace period", seconds, grace),
		setting{slices.Concat(pod, []string{"terminationGracePeriodSeconds"}), grace},
		setting{
			slices.Concat(pod, []string{"containers", "=" + app.Name, "lifecycle", "preStop", "sleep", "seconds"}),
			seconds,
		},
	)
}

// MinReady is the app with so many seconds for which a new Pod has to be ready before the release goes on.
func (a *App) MinReady(seconds int64) (Variant, error) {
	own, _, _ := unstructured.NestedInt64(a.typed(), "spec", "minReadySeconds")
	if own >= seconds {
		return Variant{}, fmt.Errorf("%w: it has minReadySeconds %d already", ErrNoVariant, own)
	}
	return a.variant(
		fmt.Sprintf("min-ready-%ds", seconds), fmt.Sprintf("minReadySeconds %d", seconds),
		setting{[]string{"spec", "minReadySeconds"}, seconds},
	)
}

// variant is the app with numbers set. Strategy and diff are both made of these.
func (a *App) variant(name, summary string, settings ...setting) (Variant, error) {
	patch, err := json.Marshal(patchOf(settings))
	if err != nil {
		return Variant{}, fmt.Errorf("variant %s: %w", name, err)
	}
	strategy, err := fixtures.NewStrategy(name, summary, a.Own.Workload, patch)
	if err != nil {
		return Variant{}, fmt.Errorf("variant %s: %w", name, err)
	}
	if err := a.checkSmallest(strategy, settings); err != nil {
		return Variant{}, fmt.Errorf("variant %s: %w", name, err)
	}
	diff, err := a.diff(settings)
	if err != nil {
		return Variant{}, fmt.Errorf("variant %s: %w", name, err)
	}
	return Variant{Strategy: strategy, Diff: diff}, nil
}

// patchOf is settings as a strategic-merge patch. One of them at most is in a list.
func patchOf(settings []setting) map[string]any {
	patch := map[string]any{}
	for _, s := range settings {
		at := patch
		for i, step := range s.path {
			switch {
			case strings.HasPrefix(step, "="): // it was made by the step before
			case i == len(s.path)-1:
				at[step] = s.value
			case strings.HasPrefix(s.path[i+1], "="):
				item := map[string]any{"name": strings.TrimPrefix(s.path[i+1], "=")}
				at[step], at = []any{item}, item
			default:
				next, ok := at[step].(map[string]any)
				if !ok {
					next = map[string]any{}
					at[step] = next
				}
				at = next
			}
		}
	}
	return patch
}

// checkSmallest compares the workload with a strategy to the one without: nothing may differ but the settings.
func (a *App) checkSmallest(strategy fixtures.Strategy, settings []setting) error {
	rendered, err := strategy.Render(a.Own.Workload)
	if err != nil {
		return err
	}
	after, err := runtime.DefaultUnstructuredConverter.ToUnstructured(rendered.Object)
	if err != nil {
		return err
	}
	var asked []string
	for _, s := range settings {
		asked = append(asked, strings.Join(s.path, "."))
	}
	for _, path := range differences("", a.typed(), after) {
		if !slices.Contains(asked, path) {
			return fmt.Errorf("%w: %s", errBeyond, path)
		}
	}
	return nil
}

// typed is the workload as its type writes it.
func (a *App) typed() map[string]any {
	out, err := runtime.DefaultUnstructuredConverter.ToUnstructured(a.rendered.Object)
	if err != nil {
		return nil // it was read from there
	}
	return out
}

// differences are the paths of the leaves that are not the same, in settings' words.
func differences(path string, before, after any) []string {
	if reflect.DeepEqual(before, after) {
		return nil
	}
	join := func(step string) string { return strings.TrimPrefix(path+"."+step, ".") }
	var out []string
	b, isMap := before.(map[string]any)
	n, isNowMap := after.(map[string]any)
	if isMap && isNowMap || isMap && after == nil || isNowMap && before == nil {
		keys := map[string]bool{}
		for key := range b {
			keys[key] = true
		}
		for key := range n {
			keys[key] = true
		}
		for key := range keys {
			out = append(out, differences(join(key), b[key], n[key])...)
		}
		slices.Sort(out)
		return out
	}
	list, isList := before.([]any)
	now, isNowList := after.([]any)
	if !isList || !isNowList || len(list) != len(now) {
		return []string{path}
	}
	for i := range list {
		step := fmt.Sprint(i)
		if item, ok := list[i].(map[string]any); ok && item["name"] != nil {
			step = fmt.Sprintf("=%s", item["name"])
		}
		out = append(out, differences(join(step), list[i], now[i])...)
	}
	return out
}

// In is a scenario of the sample app with this app, as a variant, in its place. What the app promises it promises
// as it is, under a rolling update: no other run of it can be red, but the undisturbed one, which is a control.
func (a *App) In(s scenarios.Scenario, v Variant) (scenarios.Scenario, error) {
	target := a.Target
	if v.Strategy.Name != AsIs || s.Disruption.Name != "rolling-update" {
		target.Expect = nil
	}
	s.Strategy, s.Change, s.Own, s.Target = v.Strategy, v.Diff, &a.Own, &target
	s.Control = s.Disruption.Scope == scenarios.ScopeNone
	s.Lanes = target.Lanes(s.Lanes)
	for i, lane := range s.Lanes {
		c := lane.Consumer
		if !c.Reference {
			return s, fmt.Errorf("consumer %s brings requests to the sample app alone: want %s", c.Name, "service")
		}
		c.Objects, c.Address = []*unstructured.Unstructured{a.Service}, "http://{clusterIP}"
		if a.port.Port != 80 {
			c.Address += fmt.Sprintf(":%d", a.port.Port)
		}
		s.Lanes[i].Consumer = c
	}
	s.Watched = nil
	return s, s.Validate()
}
