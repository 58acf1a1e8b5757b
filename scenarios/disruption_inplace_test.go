package scenarios

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/fixtures"
)

func (f *fakeApp) Delay() time.Duration                             { return f.delay }
func (f *fakeApp) FailLiveness(_ context.Context, pod string) error { return f.do("liveness " + pod) }

func (f *fakeApp) FailReadiness(_ context.Context, pod string, d time.Duration) error {
	return f.do(fmt.Sprint("readiness ", pod, " ", d))
}

func (f *fakeApp) RestartContainers(_ context.Context, pod string) error {
	return f.do("restart " + pod)
}
func (f *fakeApp) Isolate(_ context.Context, pod string) error { return f.do("isolate " + pod) }
func (f *fakeApp) DeploySecond(context.Context) error          { return f.do("second") }
func (f *fakeApp) SwitchServices(context.Context) error        { return f.do("switch") }
func (f *fakeApp) ScaleFirstDown(context.Context) error        { return f.do("scale down") }
func (f *fakeApp) DeployOther(context.Context) error           { return f.do("other") }
func (f *fakeApp) ChangeBoth(context.Context) error            { return f.do("both") }
func (f *fakeApp) WaitReplaced(context.Context) error          { return f.do("replaced") }
func (f *fakeApp) Restore(context.Context) error               { return f.do("restore") }

// TestInPlace: what each does, in order, how long it waits, and how it ends.
func TestInPlace(t *testing.T) {
	const sec = time.Second
	tests := []struct {
		name    string
		scope   Scope
		foreign bool // allowed in a cluster of somebody else
		run     []string
		over    string // "": until all is stable
		undo    string // "": nothing
		waits   int    // times the delay
	}{
		{"liveness-restart", ScopeRestarted, true, []string{"pods", "liveness a", "liveness b"}, "", "", 0},
		{"restart-all-containers", ScopeRestarted, true, []string{"pods", "restart a", "restart b"}, "", "", 0},
		{"readiness-lost", ScopeUnready, true, []string{"pods", "readiness a 5s", "readiness b 5s"}, "", "", 0},
		{"label-change", ScopeLeft, true, []string{"pods", "isolate a", "ready", "isolate b", "ready"}, "ready", "restore", 0},
		{"isolate-wait-delete", ScopeAll, true, []string{"pods", "isolate a", "ready", "delete a", "isolate b", "ready", "delete b"}, "replaced", "restore", 2},
		{"blue-green", ScopeAll, true, []string{"second", "switch", "scale down"}, "replaced", "restore", 1},
		{"second-app", ScopeAll, true, []string{"other", "both"}, "", "restore", 0},
		{"second-app-few-addresses", ScopeAll, false, []string{"other", "both"}, "", "restore", 0},
	}
	require.Len(t, inPlace(), len(tests))
	for i, d := range inPlace() {
		t.Run(tests[i].name, func(t *testing.T) {
			tt := tests[i]
			require.Equal(t, tt.name, d.Name)
			assert.Equal(t, tt.scope, d.Scope)
			assert.Equal(t, tt.waits > 0, d.Waits)
			require.NoError(t, d.validate())
			if tt.foreign {
				require.NoError(t, d.Allowed(false))
			} else {
				require.ErrorIs(t, d.Allowed(false), ErrNotOurs)
			}
			for _, delay := range []time.Duration{0, 2 * sec} {
				synctest.Test(t, func(t *testing.T) {
					began, app := time.Now(), &fakeApp{pods: []string{"a", "b"}, delay: delay}
					require.NoError(t, d.Run(t.Context(), app))
					assert.Equal(t, tt.run, app.did)
					wait := delay
					if wait == 0 {
						wait = leaveFor
					}
					assert.Equal(t, time.Duration(tt.waits)*wait, time.Since(began))
					for _, step := range app.did {
						require.ErrorIs(t, d.Run(t.Context(), &fakeApp{pods: app.pods, fail: step}), errFake, "a failure of %q is told", step)
					}
				})
			}
			for _, end := range []struct {
				do   func(context.Context, App) error
				want string
			}{{d.Over, tt.over}, {d.Undo, tt.undo}} {
				if end.want == "" {
					assert.Nil(t, end.do)
					continue
				}
				app := &fakeApp{}
				require.NoError(t, end.do(t.Context(), app))
				assert.Equal(t, []string{end.want}, app.did)
			}
		})
	}
	require.ErrorContains(t, each(t.Context(), &fakeApp{}, nil), "there are none")
}

// TestTemplates: what disruptions need of the Pod template goes on every strategy, and leaves the app's container the first one.
func TestTemplates(t *testing.T) {
	strategies, err := fixtures.Strategies()
	require.NoError(t, err)
	for _, d := range Disruptions() {
		if d.Patch == "" {
			continue
		}
		for _, s := range strategies {
			patched, err := s.Patched(d.Patch)
			require.NoError(t, err, d.Name)
			rendered, err := patched.Default()
			require.NoError(t, err, "%s on %s", d.Name, s.Name)
			own, err := s.Default()
			require.NoError(t, err)
			assert.Equal(t, own.App().Args, rendered.App().Args)
			assert.Equal(t, own.App().Lifecycle, rendered.App().Lifecycle)
			switch d.Name {
			case "liveness-restart":
				require.NotNil(t, rendered.App().LivenessProbe)
				assert.Equal(t, "/livez", rendered.App().LivenessProbe.HTTPGet.Path)
			case "restart-all-containers":
				require.Len(t, rendered.Template.Spec.Containers, 2)
				assert.Len(t, rendered.Template.Spec.Containers[1].RestartPolicyRules, 1)
			}
		}
	}
}

// TestHeldToInPlace: the disruption's word goes before the strategy's, and "drops" isn't asked of one that waits.
func TestHeldToInPlace(t *testing.T) {
	const live = "disruption liveness-restart: no strategy can promise that"
	const serves = ": every Pod serves all the time"
	tests := []struct {
		name       string
		strategy   string
		disruption string
		lane       string
		class      Class
		want       Promise
	}{
		{"no promise of a delay", "prestop-sleep", "liveness-restart", "service/new", ClassNew, Promise{Measured, live}},
		{"nor of requests in flight", "prestop-sleep", "liveness-restart", "service/slow", ClassInFlight, Promise{Measured, live}},
		{"a control has to drop", "no-handler", "liveness-restart", "service/slow", ClassInFlight, Promise{Drops, "strategy no-handler"}},
		{"clean without a delay", "shutdown-at-once", "readiness-lost", "service/new", ClassNew, Promise{Clean, "disruption readiness-lost" + serves}},
		{"clean on kept connections", "shutdown-at-once", "label-change", "service/reused", ClassKeptAlive, Promise{Clean, "disruption label-change" + serves}},
		{"clean at every consumer", "shutdown-at-once", "label-change", "dns-cached/new", ClassNew, Promise{Clean, "disruption label-change" + serves}},
		{"nodes that keep to their own Pods", "shutdown-at-once", "readiness-lost", "local/new", ClassNew, Promise{Measured, "consumer local: a node keeps to Pods of its own, and may have no other"}},
		{"a single Pod", "single-replica-prestop-sleep", "readiness-lost", "service/new", ClassNew, Promise{Measured, "strategy single-replica-prestop-sleep: nobody serves while its only Pod is out"}},
		{"replacements that drop", "no-readiness-probe", "label-change", "service/new", ClassNew, Promise{Measured, "strategy no-readiness-probe: drops requests by itself"}},
		{"waited before the end", "no-handler", "isolate-wait-delete", "service/slow", ClassInFlight, Promise{Measured, "disruption isolate-wait-delete: waits before it ends Pods"}},
		{"waited, whatever the strategy", "shutdown-at-once", "isolate-wait-delete", "service/new", ClassNew, Promise{Clean, "disruption isolate-wait-delete waits for 15s"}},
		{"waited, not long enough for the consumer", "shutdown-at-once", "blue-green", "dns-cached/new", ClassNew, Promise{Measured, "consumer dns-cached: holds from a delay of 32s on, and this one is 15s"}},
		{"waited, on kept connections", "shutdown-at-once", "blue-green", "service/reused", ClassKeptAlive, Promise{Measured, "strategy shutdown-at-once"}},
		{"waited, a single Pod", "single-replica-prestop-sleep", "isolate-wait-delete", "service/new", ClassNew, Promise{Measured, "strategy single-replica-prestop-sleep"}},
		{"waited, nodes that keep to their own Pods", "prestop-sleep", "blue-green", "local/new", ClassNew, Promise{Measured, "consumer local: a node keeps to Pods of its own, and may have no other"}},
		{"waited, and the strategy promises", "prestop-sleep", "blue-green", "service/new", ClassNew, Promise{Clean, "strategy prestop-sleep"}},
		{"another app", "prestop-sleep", "second-app", "service/new", ClassNew, Promise{Clean, "strategy prestop-sleep"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := catalogue(t).Find(tt.strategy, tt.disruption, DefaultRate)
			require.NoError(t, err)
			s.Lanes = append(s.Lanes, Lane{Consumer: fixtures.Consumer{Name: "local", Local: true}, Load: New(1)})
			only, err := s.Only([]string{tt.lane})
			require.NoError(t, err)
			assert.Equal(t, tt.want, s.HeldTo(only.Lanes[0], tt.class, time.Second))
		})
	}
}

// TestControlsOfDisruptions: a control has to drop requests only where Pods are ended while requests come.
func TestControlsOfDisruptions(t *testing.T) {
	for name, want := range map[string]bool{
		"none": true, "rolling-update": true, "liveness-restart": true, "restart-all-containers": true, "second-app": true,
		"readiness-lost": false, "label-change": false, "isolate-wait-delete": false, "blue-green": false,
		"rollout-never-ready": false, "kubelet-restart": false, "coredns-rolled": false,
	} {
		s, err := catalogue(t).Find("no-handler", name, DefaultRate)
		require.NoError(t, err)
		assert.Equal(t, want, s.Control, name)
	}
}
