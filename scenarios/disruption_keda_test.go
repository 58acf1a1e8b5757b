package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/fixtures"
)

func (f *fakeApp) ChangeScaling(_ context.Context, patch string) error { return f.do(patch) }
func (f *fakeApp) WaitScaling(_ context.Context, condition string, holds bool) error {
	return f.do(fmt.Sprint(condition, " ", holds))
}
func (f *fakeApp) WaitNone(context.Context) error  { return f.do("none") }
func (f *fakeApp) ScaleBack(context.Context) error { return f.do("back") }
func (f *fakeApp) AddScaling(_ context.Context, colour, _ string) error {
	return f.do("scale " + colour + " by KEDA")
}

// ScaledToZero says yes the third time that it is asked for a colour.
func (f *fakeApp) ScaledToZero(_ context.Context, colour string) (bool, error) {
	err := f.do("is " + colour + " there?")
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := 0
	for _, what := range f.did {
		if what == "is "+colour+" there?" {
			asked++
		}
	}
	return asked >= 3, err
}

// TestKeda: what each does, for a cluster of zerodrop's own alone, and that the ScaledObject is one, which does nothing before there is load.
func TestKeda(t *testing.T) {
	tests := []struct {
		name  string
		scope Scope
		quiet time.Duration
		want  []string
	}{
		{"scale-to-zero", ScopeAll, 0, []string{heldAtZero, "none", letScale, "ready"}},
		{"scale-to-zero-own-metric", ScopeAll, staysFor, []string{heldAtZero, "none", letScale, "Ready false", "none", "back"}},
		{"scale-metric-empty", ScopeAll, 0, []string{letScale, "Active true", retrigger(byNothing), "none", retrigger(byRequests), "ready"}},
		{"scale-metric-missing", ScopeNone, staysFor, []string{letScale, "Active true", retrigger(byNothingElse), "Ready false"}},
	}
	components, err := fixtures.Components("zerodrop")
	require.NoError(t, err)
	require.Len(t, scalings(), len(tests))
	for i, d := range scalings() {
		t.Run(tests[i].name, func(t *testing.T) {
			require.Equal(t, tests[i].name, d.Name)
			require.NoError(t, d.validate())
			require.ErrorContains(t, d.Allowed(false), "reaches beyond the namespace, to the cluster: ")
			assert.Equal(t, tests[i].scope, d.Scope)
			for name := range d.Uses {
				assert.Contains(t, components, name)
			}
			synctest.Test(t, func(t *testing.T) {
				began, app := time.Now(), &fakeApp{}
				require.NoError(t, d.Run(t.Context(), app))
				assert.Equal(t, tests[i].want, app.did)
				assert.Equal(t, tests[i].quiet, time.Since(began))
				for _, step := range app.did {
					require.ErrorIs(t, d.Run(t.Context(), &fakeApp{fail: step}), errFake, "a failure of %q is told", step)
				}
			})

			objects, err := fixtures.Objects([]byte(strings.ReplaceAll(d.Objects, "{replicas}", "3")))
			require.NoError(t, err)
			require.Len(t, objects, 1)
			assert.Equal(t, "true", objects[0].GetAnnotations()["autoscaling.keda.sh/paused"])
			spec := objects[0].Object["spec"].(map[string]any)
			assert.EqualValues(t, 3, spec["minReplicaCount"], "back come all of them, as no HPA has a metric")
		})
	}
}

// TestRainbowByKeda: KEDA gets a colour when its Services are switched, the harness takes it away when KEDA has ended it, and a new operator goes on.
func TestRainbowByKeda(t *testing.T) {
	names := []string{"rainbow-keda", "rainbow-keda-restart"}
	want := []string{
		"0 deploy red, 0 switch to red, 0 stop tasks of first, 0 scale first by KEDA, 0 is first there?, 1 is first there?, 2 is first there?, 2 remove first, " +
			"20 deploy orange, 20 switch to orange, 20 stop tasks of red, 20 scale red by KEDA, 20 is red there?, 21 is red there?, 22 is red there?, 22 remove red, " +
			"40 deploy yellow, 40 switch to yellow, 40 stop tasks of orange, 40 scale orange by KEDA, 40 is orange there?, 41 is orange there?, 42 is orange there?, 42 remove orange",
		"0 deploy red, 0 switch to red, 0 stop tasks of first, 0 scale first by KEDA, 0 is first there?, 1 is first there?, 2 is first there?, 2 remove first, 15 roll keda",
	}
	require.Len(t, rainbowsByKeda(), len(names))
	for i, d := range rainbowsByKeda() {
		t.Run(names[i], func(t *testing.T) {
			require.Equal(t, names[i], d.Name)
			require.NoError(t, d.validate())
			require.ErrorContains(t, d.Allowed(false), "reaches beyond the namespace, to the cluster: ")
			synctest.Test(t, func(t *testing.T) {
				app, began := &fakeApp{work: script(nil)}, time.Now()
				require.NoError(t, d.Run(t.Context(), app))
				assert.Equal(t, want[i], app.seen(began))
				for _, step := range app.did {
					require.ErrorIs(t, d.Run(t.Context(), &fakeApp{work: script(nil), fail: step}), errFake, "a failure of %q is told", step)
				}
				require.ErrorIs(t, d.Run(t.Context(), &fakeApp{work: script(nil), fail: "work"}), errFake)
				app.did = nil
				require.NoError(t, d.Over(t.Context(), app))
				require.NoError(t, d.Undo(t.Context(), app))
				assert.Equal(t, []string{"replaced", "restore", "restore nodes"}, app.did)
			})
		})
	}
	filled := fmt.Sprintf(drainScaling, 1, 2, 3)
	for _, name := range []string{"{workload}", "{namespace}", "{selector}"} {
		assert.Contains(t, filled, name)
		filled = strings.ReplaceAll(filled, name, map[bool]string{true: "{app: app-red}", false: "x"}[name == "{selector}"])
	}
	objects, err := fixtures.Objects([]byte(filled))
	require.NoError(t, err)
	require.Len(t, objects, 2)
	assert.Equal(t, "ScaledObject", objects[1].GetKind())
}

// TestTriggers: they are JSON, of the names that KEDA knows, and every value is text, as KEDA wants it.
func TestTriggers(t *testing.T) {
	for _, trigger := range []string{byRequests, byNothing, byNothingElse, byOwnAnswers} {
		var read struct {
			Type     string
			Metadata map[string]string
		}
		require.NoError(t, json.Unmarshal([]byte(trigger), &read), trigger)
		for name := range read.Metadata {
			assert.Contains(t, map[string][]string{
				"prometheus":  {"serverAddress", "query", "threshold", "ignoreNullValues"},
				"metrics-api": {"url", "format", "valueLocation", "targetValue", "aggregateFromKubeServiceEndpoints", "aggregationType"},
			}[read.Type], name)
		}
		assert.True(t, json.Valid([]byte(retrigger(trigger))))
	}
	assert.True(t, json.Valid([]byte(heldAtZero)))
	assert.True(t, json.Valid([]byte(letScale)))
}

// TestHeldToKeda: at zero no strategy helps, whatever brings the requests; nothing may be dropped where KEDA scales nothing.
func TestHeldToKeda(t *testing.T) {
	at := func(strategy, disruption, lane string) Promise {
		t.Helper()
		d, err := disruptionNamed(disruption)
		require.NoError(t, err)
		groups, err := catalogue(t).Groups(d.Consumers, DefaultRate)
		require.NoError(t, err)
		require.Len(t, groups, 1)
		s, err := catalogue(t).In(groups[0], strategy, disruption)
		require.NoError(t, err)
		only, err := s.Only([]string{lane})
		require.NoError(t, err)
		return s.HeldTo(only.Lanes[0], ClassNew, time.Second)
	}
	for _, lane := range []string{"service/new", "ingress/new"} {
		assert.Equal(t, Promise{Measured, "disruption scale-to-zero: no strategy can promise that"}, at("prestop-sleep", "scale-to-zero", lane))
		assert.Equal(t, Promise{Clean, "disruption scale-metric-missing"}, at("shutdown-at-once", "scale-metric-missing", lane))
	}
}

// TestKedaProfile: its disruptions in the group of the Ingress, and in no other profile.
func TestKedaProfile(t *testing.T) {
	c := catalogue(t)
	list, err := c.Select(Selection{Profile: "keda"})
	require.NoError(t, err)
	var all, scaled []string
	for _, s := range list {
		all = append(all, s.Path())
		if len(s.Disruption.Uses) > 1 {
			scaled = append(scaled, s.Path())
			assert.Contains(t, laneNames(s.Lanes), "service/new")
			assert.Contains(t, laneNames(s.Lanes), "ingress/new")
		}
	}
	assert.Equal(t, []string{
		"ingress/shutdown-at-once/scale-to-zero", "ingress/shutdown-at-once/scale-to-zero-own-metric",
		"ingress/shutdown-at-once/scale-metric-empty", "ingress/shutdown-at-once/scale-metric-missing",
		"ingress/prestop-sleep/scale-to-zero", "ingress/prestop-sleep/scale-to-zero-own-metric",
		"ingress/prestop-sleep/scale-metric-empty", "ingress/prestop-sleep/scale-metric-missing",
	}, scaled)
	assert.Equal(t, []string{
		"held/no-handler/none", "held/no-handler/rolling-update",
		"held/shutdown-at-once/rainbow", "held/shutdown-at-once/rainbow-keda", "held/shutdown-at-once/rainbow-keda-restart", "ingress/no-handler/none",
	}, all[:6])
	for _, profile := range []string{"disruptions", "nightly"} {
		list, err := c.Select(Selection{Profile: profile, Night: night(1)})
		require.NoError(t, err)
		for _, s := range list {
			assert.Empty(t, s.Disruption.Uses, "%s in profile %s", s.Name(), profile)
		}
	}
}
