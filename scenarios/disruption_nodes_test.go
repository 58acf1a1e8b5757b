package scenarios

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (f *fakeApp) ChooseNode(context.Context) (string, error)  { return "n1", f.do("choose") }
func (f *fakeApp) Cordon(_ context.Context, node string) error { return f.do("cordon " + node) }
func (f *fakeApp) Drain(_ context.Context, node string) error  { return f.do("drain " + node) }
func (f *fakeApp) RestoreNodes(context.Context) error          { return f.do("restore nodes") }

// TestOnNodes: what each does, and what has to be gone.
func TestOnNodes(t *testing.T) {
	tests := []struct {
		name     string
		scope    Scope
		want     []string
		budget   bool
		replicas int
	}{
		{"node-drain", ScopeNode, []string{"choose", "drain n1"}, true, 3},
		{"node-drain-no-budget", ScopeNode, []string{"choose", "drain n1"}, false, 3},
		{"node-drain-single-replica", ScopeNode, []string{"choose", "drain n1"}, false, 1},
		{"cordon-rollout", ScopeAll, []string{"choose", "cordon n1", "change"}, false, 3},
	}
	require.Len(t, onNodes(), len(tests))
	for i, d := range onNodes() {
		t.Run(tests[i].name, func(t *testing.T) {
			tt := tests[i]
			require.Equal(t, tt.name, d.Name)
			require.NoError(t, d.validate())
			assert.Equal(t, tt.scope, d.Scope)
			assert.Equal(t, tt.budget, d.Objects != "")
			app := &fakeApp{}
			require.NoError(t, d.Run(t.Context(), app))
			assert.Equal(t, tt.want, app.did)
			for _, step := range app.did {
				require.ErrorIs(t, d.Run(t.Context(), &fakeApp{fail: step}), errFake, "a failure of %q is told", step)
			}
			s, err := catalogue(t).Find("prestop-sleep", d.Name, DefaultRate)
			require.NoError(t, err)
			rendered, err := s.Render("")
			require.NoError(t, err)
			assert.Equal(t, tt.replicas, rendered.Replicas)
		})
	}
}

// TestBeyondTheNamespace: each disruption that reaches beyond it is refused on a cluster of somebody
// else's, and its undo leaves the nodes of ours as they were.
func TestBeyondTheNamespace(t *testing.T) {
	seen := 0
	for _, d := range Disruptions() {
		if d.Reach == ReachNamespace {
			continue
		}
		seen++
		require.ErrorIs(t, d.Allowed(false), ErrNotOurs, d.Name)
		require.ErrorContains(t, d.Allowed(false), "disruption "+d.Name+" ")
		require.NotNil(t, d.Undo, d.Name)
		app := &fakeApp{}
		require.NoError(t, d.Undo(t.Context(), app), d.Name)
		assert.Contains(t, app.did, "restore nodes", d.Name)
		require.ErrorIs(t, d.Undo(t.Context(), &fakeApp{fail: "restore nodes"}), errFake, d.Name)
	}
	assert.GreaterOrEqual(t, seen, len(onNodes()))
}

// TestHeldToOnNodes: another Pod serves while a node is drained, and promises hold, but where there is
// only one. Nothing has to be dropped by Pods of which some stay.
func TestHeldToOnNodes(t *testing.T) {
	promised := Promise{Clean, "strategy prestop-sleep"}
	broken := Promise{Measured, "disruption node-drain-single-replica: no strategy can promise that"}
	tests := []struct {
		strategy, disruption string
		lane                 string
		class                Class
		want                 Promise
	}{
		{"prestop-sleep", "node-drain", "service/new", ClassNew, promised},
		{"prestop-sleep", "node-drain", "service/slow", ClassInFlight, promised},
		{"prestop-sleep", "node-drain-no-budget", "service/new", ClassNew, promised},
		{"prestop-sleep", "cordon-rollout", "service/new", ClassNew, promised},
		{"prestop-sleep", "node-drain-single-replica", "service/new", ClassNew, broken},
		{"prestop-sleep", "node-drain-single-replica", "service/new", ClassInFlight, broken},
		{"prestop-sleep", "node-drain-single-replica", "service/slow", ClassInFlight, promised},
		{"no-handler", "node-drain", "service/slow", ClassInFlight, Promise{Drops, "strategy no-handler"}},
		{"no-readiness-probe", "node-drain", "service/new", ClassNew, Promise{Measured, "disruption node-drain: only the Pods of one node are replaced"}},
		{"no-readiness-probe", "cordon-rollout", "service/new", ClassNew, Promise{Drops, "strategy no-readiness-probe"}},
		{"single-replica", "node-drain", "service/new", ClassNew, Promise{Drops, "strategy single-replica"}},
		{"single-replica", "node-drain-single-replica", "service/new", ClassNew, Promise{Drops, "strategy single-replica"}},
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
