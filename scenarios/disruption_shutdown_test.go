package scenarios

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (f *fakeApp) ShutDownNode(_ context.Context, node string) error {
	return f.do("shut down " + node)
}

// TestShutdowns: a node is chosen, shut down and given back; only a cluster of ours will do, which is made
// for it.
func TestShutdowns(t *testing.T) {
	require.Len(t, shutdowns(), 1)
	d := shutdowns()[0]
	require.NoError(t, d.validate())
	require.ErrorIs(t, d.Allowed(false), ErrNotOurs)
	require.NoError(t, d.Allowed(true))
	assert.Equal(t, ScopeNode, d.Scope)

	app := &fakeApp{pods: []string{"a", "b"}}
	require.NoError(t, d.Run(t.Context(), app))
	assert.Equal(t, []string{"choose", "shut down n1"}, app.did)
	for _, step := range app.did {
		require.ErrorIs(t, d.Run(t.Context(), &fakeApp{pods: app.pods, fail: step}), errFake, "a failure of %q is told", step)
	}
	app.did = nil
	require.NoError(t, d.Undo(t.Context(), app))
	assert.Equal(t, []string{"restore nodes"}, app.did)

	without := d.Needs
	without.Logind = false
	assert.NotEqual(t, without.Key(), d.Needs.Key(), "a cluster without logind is another one")
	delays := map[time.Duration]bool{}
	for _, name := range d.Strategies {
		s, err := catalogue(t).Find(name, d.Name, DefaultRate)
		require.NoError(t, err)
		delays[s.Strategy.ServesFor()] = true
		for _, l := range s.Lanes {
			for _, class := range l.Load.Classes() {
				assert.Equal(t, Measured, s.HeldTo(l, class, time.Second).Expect, "%s: %s of %s", name, class, l.Name())
			}
		}
	}
	assert.Equal(t, map[time.Duration]bool{0: true, 2 * time.Second: true, 15 * time.Second: true}, delays)
}
