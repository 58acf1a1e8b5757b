package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (f *fakeApp) BeginChange(context.Context) error   { return f.do("begin") }
func (f *fakeApp) BreakTemplate(context.Context) error { return f.do("break") }
func (f *fakeApp) WaitMidway(context.Context) error    { return f.do("midway") }
func (f *fakeApp) WaitStuck(context.Context) error     { return f.do("stuck") }
func (f *fakeApp) RollBack(context.Context) error      { return f.do("roll back") }

func (f *fakeApp) ScaleDown(_ context.Context, replicas int) error {
	return f.do(fmt.Sprint("scale to ", replicas))
}

func (f *fakeApp) DeletePodNow(_ context.Context, name string) error {
	return f.do("delete now " + name)
}
func (f *fakeApp) EvictPod(_ context.Context, name string) error  { return f.do("evict " + name) }
func (f *fakeApp) ExpirePod(_ context.Context, name string) error { return f.do("expire " + name) }

func (f *fakeApp) OverfillPod(_ context.Context, name string, size int) error {
	return f.do(fmt.Sprintf("fill %s with %d", name, size))
}

// TestRollouts: what each does, that it tells of what fails, and what it has the workload be.
func TestRollouts(t *testing.T) {
	tests := []struct {
		name    string
		scope   Scope
		want    []string
		deploys string // part of the manifest, as JSON
	}{
		{"rolling-update-unavailable", ScopeAll, []string{"change"}, `"rollingUpdate":{"maxUnavailable":1,"maxSurge":0}`},
		{"rolling-update-quarter", ScopeAll, []string{"change"}, `"spec":{"replicas":4,`},
		{"rolling-update-at-once", ScopeAll, []string{"change"}, `"rollingUpdate":{"maxUnavailable":"100%","maxSurge":0}`},
		{"rollback", ScopeSome, []string{"begin", "midway", "roll back"}, `"minReadySeconds":3`},
		{"rollout-never-ready", ScopeNone, []string{"break", "stuck", "roll back"}, `"progressDeadlineSeconds":10`},
		{"scale-down", ScopeSome, []string{"scale to 1"}, `"spec":{"replicas":3,`},
		{"pod-deletion-one", ScopeSome, []string{"pods", "delete a"}, ""},
		{"pod-deletion-all", ScopeAll, []string{"pods", "delete a", "delete b"}, ""},
		{"pod-deletion-grace-zero", ScopeAll, []string{"pods", "delete now a", "ready", "delete now b", "ready"}, ""},
		{"eviction", ScopeAll, []string{"pods", "evict a", "evict b"}, ""},
		{"active-deadline", ScopeAll, []string{"pods", "expire a", "ready", "expire b", "ready"}, ""},
		{"emptydir-limit", ScopeSome, []string{"pods", "fill a with 4194304"}, `"emptyDir":{"sizeLimit":"1Mi"}`},
		{"statefulset-rolling-update", ScopeAll, []string{"change"}, `"kind":"StatefulSet"`},
		{"daemonset-rolling-update", ScopeAll, []string{"change"}, `"kind":"DaemonSet"`},
	}
	require.Len(t, rollouts(), len(tests))
	for i, d := range rollouts() {
		t.Run(tests[i].name, func(t *testing.T) {
			require.Equal(t, tests[i].name, d.Name)
			require.NoError(t, d.validate())
			require.NoError(t, d.Allowed(false), "none of these reaches beyond its namespace")
			assert.Equal(t, tests[i].scope, d.Scope)
			app := &fakeApp{pods: []string{"a", "b"}}
			require.NoError(t, d.Run(t.Context(), app))
			assert.Equal(t, tests[i].want, app.did)
			for _, step := range app.did {
				require.ErrorIs(t, d.Run(t.Context(), &fakeApp{pods: app.pods, fail: step}), errFake, "a failure of %q is told", step)
			}
			if app.did[0] == "pods" {
				require.ErrorIs(t, d.Run(t.Context(), &fakeApp{}), errNoPods)
			}
			if d.Undo != nil {
				app.did = nil
				require.NoError(t, d.Undo(t.Context(), app))
				assert.Equal(t, []string{"roll back"}, app.did)
			}
			for _, strategy := range []string{"prestop-sleep", "shell-as-pid1"} {
				s, err := catalogue(t).Find(strategy, d.Name, DefaultRate)
				require.NoError(t, err)
				rendered, err := s.Render("")
				if len(d.Args) > 0 && strategy == "shell-as-pid1" {
					require.ErrorContains(t, err, "would not get through to the app")
					continue
				}
				require.NoError(t, err)
				manifest, err := json.Marshal(rendered.Object)
				require.NoError(t, err)
				assert.Contains(t, string(manifest), tests[i].deploys)
				assert.Subset(t, rendered.App().Args, d.Args)
				assert.Equal(t, d.GraceZero, s.Control, "known beforehand")
			}
		})
	}
}

// TestPlainRollingUpdate: the settings of rolling-update are those that the others leave out, one Pod
// more and none less.
func TestPlainRollingUpdate(t *testing.T) {
	s, err := catalogue(t).Find("prestop-sleep", "rolling-update", DefaultRate)
	require.NoError(t, err)
	rendered, err := s.Render("")
	require.NoError(t, err)
	manifest, err := json.Marshal(rendered.Object)
	require.NoError(t, err)
	assert.Equal(t, 3, rendered.Replicas)
	assert.Contains(t, string(manifest), `"rollingUpdate":{"maxUnavailable":"25%","maxSurge":"25%"}`)
}

// TestGraceZero: whatever the strategy, nobody may expect a grace period of 0 to drop nothing, and the
// reference has to drop requests in flight: they take longer than the kubelet waits.
func TestGraceZero(t *testing.T) {
	c := catalogue(t)
	for name := range c.strategies {
		s, err := c.Find(name, "pod-deletion-grace-zero", DefaultRate)
		require.NoError(t, err)
		must := 0
		for _, l := range s.Lanes {
			assert.Equal(t, l.Load.Class == ClassInFlight, l.Load.Work > 3*time.Second, "1 s for preStop, and 2 s at the least after SIGTERM")
			for _, class := range l.Load.Classes() {
				switch p := s.HeldTo(l, class, time.Second); p.Expect {
				case Clean:
					t.Errorf("%s: %s of %s is held to %v", name, class, l.Name(), p)
				case Drops:
					must++
					assert.Equal(t, "service/slow", l.Name())
					assert.Equal(t, ClassInFlight, class)
				case Measured: // elsewhere
				}
			}
		}
		assert.Equal(t, 1, must, name)
	}
	other, err := c.Find("prestop-sleep", "rolling-update", DefaultRate)
	require.NoError(t, err)
	for _, l := range other.Lanes {
		assert.LessOrEqual(t, l.Load.Work, 2*time.Second, "other runs have the work of the load")
	}
}

// TestHeldToOfRollouts: what a disruption makes of a strategy's word.
func TestHeldToOfRollouts(t *testing.T) {
	promised := Promise{Clean, "strategy prestop-sleep"}
	broken := func(disruption string) Promise {
		return Promise{Measured, "disruption " + disruption + ": no strategy can promise that"}
	}
	some := Promise{Measured, "disruption scale-down: not every Pod is replaced"}
	tests := []struct {
		strategy, disruption string
		lane                 string
		class                Class
		want                 Promise
	}{
		{"prestop-sleep", "rolling-update-unavailable", "service/new", ClassNew, promised},
		{"prestop-sleep", "rolling-update-quarter", "service/new", ClassNew, promised},
		{"prestop-sleep", "rolling-update-at-once", "service/new", ClassNew, broken("rolling-update-at-once")},
		{"prestop-sleep", "rolling-update-at-once", "service/new", ClassInFlight, broken("rolling-update-at-once")},
		{"prestop-sleep", "rolling-update-at-once", "service/slow", ClassInFlight, promised},
		{"prestop-sleep", "pod-deletion-all", "service/new", ClassNew, broken("pod-deletion-all")},
		{"prestop-sleep", "pod-deletion-one", "service/new", ClassNew, promised},
		{"prestop-sleep", "rollback", "service/new", ClassNew, promised},
		{"no-handler", "rollout-never-ready", "service/slow", ClassInFlight, Promise{Clean, "disruption rollout-never-ready"}},
		{"prestop-sleep", "scale-down", "service/new", ClassNew, promised},
		{"no-readiness-probe", "scale-down", "service/new", ClassNew, some},
		{"single-replica", "pod-deletion-all", "service/new", ClassNew, Promise{Drops, "strategy single-replica"}},
		{"prestop-sleep", "eviction", "service/new", ClassNew, promised},
		{"prestop-sleep", "active-deadline", "service/new", ClassNew, broken("active-deadline")},
		{"prestop-sleep", "active-deadline", "service/slow", ClassInFlight, broken("active-deadline")},
		{"prestop-sleep", "emptydir-limit", "service/slow", ClassInFlight, broken("emptydir-limit")},
		{"no-handler", "emptydir-limit", "service/slow", ClassInFlight, Promise{Drops, "strategy no-handler"}},
		{"prestop-sleep", "statefulset-rolling-update", "service/new", ClassNew, promised},
		{"prestop-sleep", "daemonset-rolling-update", "service/new", ClassNew, promised},
	}
	for _, tt := range tests {
		t.Run(tt.strategy+"/"+tt.disruption+"/"+tt.lane+"/"+string(tt.class), func(t *testing.T) {
			s, err := catalogue(t).Find(tt.strategy, tt.disruption, DefaultRate)
			require.NoError(t, err)
			only, err := s.Only([]string{tt.lane})
			require.NoError(t, err)
			assert.Equal(t, tt.want, s.HeldTo(only.Lanes[0], tt.class, time.Second))
		})
	}
}

// TestRenderScenario: the disruption's workload goes before the one that is asked for, and a strategy
// that doesn't fit it is refused by name.
func TestRenderScenario(t *testing.T) {
	c := catalogue(t)
	s, err := c.Find("prestop-sleep", "daemonset-rolling-update", DefaultRate)
	require.NoError(t, err)
	rendered, err := s.Render("statefulset")
	require.NoError(t, err)
	assert.Zero(t, rendered.Replicas, "a DaemonSet's")
	s, err = c.Find("prestop-sleep", "rolling-update", DefaultRate)
	require.NoError(t, err)
	_, err = s.Render("cronjob")
	require.EqualError(t, err, `unknown workload "cronjob": want one of daemonset, deployment, rollout, statefulset`)
	s, err = c.Find("prestop-sleep", "rolling-update-quarter", DefaultRate)
	require.NoError(t, err)
	_, err = s.Render("statefulset")
	require.ErrorContains(t, err, "patch workload statefulset with strategy prestop-sleep: ")
	_, err = c.Find("single-replica", "daemonset-rolling-update", DefaultRate)
	require.ErrorContains(t, err, `workload daemonset with strategy single-replica: `)
	require.ErrorContains(t, err, `unknown field "spec.replicas"`)
}
