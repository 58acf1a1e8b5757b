package scenarios

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (f *fakeApp) RemoveNode(_ context.Context, node string) error { return f.do("remove " + node) }
func (f *fakeApp) LoseNode(_ context.Context, node string) error   { return f.do("lose " + node) }
func (f *fakeApp) WaitLost(context.Context) error                  { return f.do("lost") }

// TestNodeLosses: what each does to the node that it has chosen, how it ends, and that the node comes
// back. They are the last of all: none is made on a cluster that such a run has left in pieces.
func TestNodeLosses(t *testing.T) {
	tests := []struct {
		name string
		run  []string
		over string // "": until all is stable
	}{
		{"autoscaler-removal", []string{"choose", "remove n1"}, ""},
		{"node-lost", []string{"choose", "lose n1"}, "lost"},
	}
	all := Disruptions()
	require.Len(t, nodeLosses(), len(tests))
	for i, d := range nodeLosses() {
		t.Run(tests[i].name, func(t *testing.T) {
			tt := tests[i]
			require.Equal(t, tt.name, d.Name)
			assert.Equal(t, tt.name, all[len(all)-len(tests)+i].Name)
			require.NoError(t, d.validate())
			assert.Equal(t, ScopeNode, d.Scope)
			require.ErrorIs(t, d.Allowed(false), ErrNotOurs)
			assert.Empty(t, d.Needs.Key(), "they share a cluster with others, whose Pods they follow")
			app := &fakeApp{}
			require.NoError(t, d.Run(t.Context(), app))
			assert.Equal(t, tt.run, app.did)
			for _, step := range app.did {
				require.ErrorIs(t, d.Run(t.Context(), &fakeApp{fail: step}), errFake, "a failure of %q is told", step)
			}
			app = &fakeApp{}
			if tt.over == "" {
				assert.Nil(t, d.Over)
			} else {
				require.NoError(t, d.Over(t.Context(), app))
				assert.Equal(t, []string{tt.over}, app.did)
			}
			app = &fakeApp{}
			require.NoError(t, d.Undo(t.Context(), app))
			assert.Equal(t, []string{"restore nodes"}, app.did)
		})
	}
}

// TestImpatient: Pods give a node that is lost up after 10 s, on every strategy.
func TestImpatient(t *testing.T) {
	c := catalogue(t)
	for strategy := range c.strategies {
		s, err := c.Find(strategy, "node-lost", DefaultRate)
		require.NoError(t, err)
		rendered, err := s.Render("daemonset")
		require.NoError(t, err)
		require.Len(t, rendered.Template.Spec.Tolerations, 2, strategy)
		for i, key := range []string{"node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"} {
			toleration := rendered.Template.Spec.Tolerations[i]
			assert.Equal(t, key, toleration.Key)
			assert.Equal(t, "NoExecute", string(toleration.Effect))
			assert.Equal(t, int64(10), *toleration.TolerationSeconds)
		}
	}
}

// TestHeldToOfNodeLosses: what goes with its node in an orderly way is held to what it is held to in an
// eviction, but for who asks that node. What is lost at once nobody can promise anything for.
func TestHeldToOfNodeLosses(t *testing.T) {
	gone := Promise{Measured, "consumer nodeport: asks a node that is gone"}
	broken := Promise{Measured, "disruption node-lost: no strategy can promise that"}
	tests := []struct {
		disruption, lane string
		class            Class
		want             Promise
	}{
		{"autoscaler-removal", "service/new", ClassNew, Promise{Clean, "strategy prestop-sleep"}},
		{"autoscaler-removal", "service/slow", ClassInFlight, Promise{Clean, "strategy prestop-sleep"}},
		{"autoscaler-removal", "nodeport/new", ClassNew, gone},
		{"autoscaler-removal", "nodeport/slow", ClassInFlight, gone},
		{"node-lost", "service/new", ClassNew, broken},
		{"node-lost", "service/slow", ClassInFlight, broken},
		{"node-lost", "nodeport/new", ClassNew, broken},
	}
	for _, tt := range tests {
		t.Run(tt.disruption+"/"+tt.lane+"/"+string(tt.class), func(t *testing.T) {
			s, err := catalogue(t).Find("prestop-sleep", tt.disruption, DefaultRate)
			require.NoError(t, err)
			only, err := s.Only([]string{tt.lane})
			require.NoError(t, err)
			assert.Equal(t, tt.want, s.HeldTo(only.Lanes[0], tt.class, time.Second))
		})
	}
}
