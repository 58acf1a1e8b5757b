package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func (f *fakeApp) DeployColour(_ context.Context, colour string) error {
	return f.do("deploy " + colour)
}

func (f *fakeApp) BreakColour(_ context.Context, colour string) error { return f.do("break " + colour) }

func (f *fakeApp) SwitchTo(_ context.Context, colour string) error {
	return f.do("switch to " + colour)
}

func (f *fakeApp) Work(_ context.Context, colour string) (map[string]int, error) {
	if f.fail == "work" {
		return nil, errFake
	}
	return f.work(colour), nil
}

func (f *fakeApp) StopTasks(_ context.Context, colour string) error {
	return f.do("stop tasks of " + colour)
}

func (f *fakeApp) SetDeletionCosts(_ context.Context, costs map[string]int) error {
	return f.do(fmt.Sprint("costs ", costs))
}

func (f *fakeApp) ScaleColour(_ context.Context, colour string, replicas int) error {
	return f.do(fmt.Sprintf("scale %s to %d", colour, replicas))
}

func (f *fakeApp) RemoveColour(_ context.Context, colour string) error {
	return f.do("remove " + colour)
}

// seen is what was done, and when, in whole seconds since an instant.
func (f *fakeApp) seen(since time.Time) string {
	var out []string
	for i, what := range f.did {
		out = append(out, fmt.Sprintf("%.0f %s", f.at[i].Sub(since).Seconds(), what))
	}
	return strings.Join(out, ", ")
}

// script are answers of colours to who asks for their work, one after the other; the last goes on. Each
// has a Pod for each number.
func script(answers map[string][][]int) func(string) map[string]int {
	var mu sync.Mutex // several colours may drain
	return func(colour string) map[string]int {
		mu.Lock()
		defer mu.Unlock()
		left := answers[colour]
		if len(left) > 1 {
			answers[colour] = left[1:]
		}
		work := map[string]int{}
		if len(left) > 0 {
			for i, n := range left[0] {
				work[string(rune('a'+i))] = n
			}
		}
		return work
	}
}

func rainbow(t *testing.T, name string) Disruption {
	t.Helper()
	d, err := disruptionNamed(name)
	require.NoError(t, err)
	return d
}

// TestRainbows: what each does, and when. An old colour goes when it had no work twice in a row, and not
// before consumers have followed.
func TestRainbows(t *testing.T) {
	busy := func(n int) (out [][]int) { return slices.Repeat([][]int{{1, 0, 0}}, n) }
	none := []int{0, 0, 0}
	endless := [][]int{{1, 2, 3}}
	tests := []struct {
		name string
		work map[string][][]int
		want string
	}{
		{"rainbow", map[string][][]int{"first": append(busy(20), none, []int{0, 1, 0}, none, none), "red": {none}}, "0 deploy red, 0 switch to red, 0 stop tasks of first, " +
			"20 deploy orange, 20 switch to orange, 20 stop tasks of red, 26 scale red to 0, 26 remove red, 28 scale first to 0, 28 remove first, " +
			"40 deploy yellow, 40 switch to yellow, 40 stop tasks of orange, 46 scale orange to 0, 46 remove orange"},
		{"rainbow", map[string][][]int{"orange": endless}, "0 deploy red, 0 switch to red, 0 stop tasks of first, 6 scale first to 0, 6 remove first, 20 deploy orange, 20 switch to orange, 20 stop tasks of red, " +
			"26 scale red to 0, 26 remove red, 40 deploy yellow, 40 switch to yellow, 40 stop tasks of orange, 220 scale orange to 0, 220 remove orange"},
		{"rainbow-limit", map[string][][]int{"first": endless}, "0 deploy red, 0 switch to red, 0 stop tasks of first, 20 scale first to 0, 20 remove first"},
		{"rainbow-back", map[string][][]int{"red": append(busy(3), none)}, "0 deploy red, 0 switch to red, 10 switch to first, 10 stop tasks of red, 19 scale red to 0, 19 remove red"},
		{"rainbow-never-ready", nil, "0 break red, 0 scale red to 0, 0 remove red"},
		{"scale-down-gradually", map[string][][]int{"first": {{5, 6, 4}, {5, 2, 4}, {5, 2, 3}, {5, 0}, {5}, {1}, {0}}}, "0 deploy red, 0 switch to red, 0 stop tasks of first, 7 scale first to 2, " +
			"8 scale first to 1, 12 scale first to 0, 12 remove first"},
		{"scale-down-by-cost", map[string][][]int{"first": {{5, 6, 4}, {1, 0, 4}, {1, 4}, {0}}}, "0 deploy red, 0 switch to red, 0 stop tasks of first, 6 costs map[a:1 b:0 c:4], 6 scale first to 2, " +
			"7 costs map[a:1 b:4], 7 scale first to 1, 9 scale first to 0, 9 remove first"},
		{"scale-down-idle-first", map[string][][]int{"first": {{5, 6, 4}, {1, 1, 1}, {1, 0, 1}, {0, 0, 1}, {0}}}, "0 deploy red, 0 switch to red, 0 stop tasks of first, 7 costs map[a:1 b:0 c:1], 7 scale first to 2, " +
			"8 costs map[a:0 b:0 c:1], 8 scale first to 1, 10 scale first to 0, 10 remove first"},
		{"scale-down-gradually", map[string][][]int{"first": endless}, "0 deploy red, 0 switch to red, 0 stop tasks of first, 180 scale first to 0, 180 remove first"},
		{"rollouts-ten", nil, "0 change, 20 change, 40 change, 60 change, 80 change, 100 change, 120 change, 140 change, 160 change, 180 change"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app, began := &fakeApp{work: script(tt.work)}, time.Now()
				require.NoError(t, rainbow(t, tt.name).Run(t.Context(), app))
				assert.Equal(t, tt.want, app.seen(began))
			})
			synctest.Test(t, func(t *testing.T) {
				app := &fakeApp{work: script(nil)}
				require.NoError(t, rainbow(t, tt.name).Run(t.Context(), app))
				for _, step := range app.did {
					err := rainbow(t, tt.name).Run(t.Context(), &fakeApp{work: script(nil), fail: step})
					require.ErrorIs(t, err, errFake, "a failure of %q is told", step)
				}
			})
		})
	}
}

// TestTenColours: each release has its own, and at most so many drain at once as clients stay for.
func TestTenColours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := &fakeApp{work: script(nil)}
		require.NoError(t, rainbow(t, "rainbow-ten").Run(t.Context(), app))
		deployed := slices.DeleteFunc(slices.Clone(app.did), func(what string) bool { return !strings.HasPrefix(what, "deploy ") })
		assert.Len(t, slices.Compact(slices.Sorted(slices.Values(deployed))), 10)
		assert.Contains(t, app.did, "remove first")
		assert.NotContains(t, app.did, "remove brown", "the last one stays")
	})
}

// TestRainbowFails: a colour that doesn't get ready changes nothing for Services, and those that drain are
// left to who undoes it; one whose work nobody can tell isn't ended.
func TestRainbowFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app, began := &fakeApp{work: script(map[string][][]int{"first": {{1}}}), fail: "deploy orange"}, time.Now()
		require.EqualError(t, rainbow(t, "rainbow").Run(t.Context(), app), "release: Services stay as they are: fake")
		assert.Equal(t, "0 deploy red, 0 switch to red, 0 stop tasks of first, 20 deploy orange", app.seen(began))
	})
	for _, name := range []string{"rainbow", "rainbow-back", "scale-down-idle-first"} {
		synctest.Test(t, func(t *testing.T) {
			app := &fakeApp{fail: "work"}
			require.ErrorContains(t, rainbow(t, name).Run(t.Context(), app), "drain colour ")
			for _, what := range app.did {
				assert.NotContains(t, what, "remove")
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errFake)
		defer cancel()
		app := &fakeApp{work: script(map[string][][]int{"first": {{1}}, "red": {{1}}})}
		require.ErrorIs(t, rainbow(t, "rainbow").Run(ctx, app), errFake, "the run's own limit")
	})
}

// TestRainbowDeclared: what each says of itself.
func TestRainbowDeclared(t *testing.T) {
	for _, d := range rainbows() {
		require.NoError(t, d.validate())
		require.NoError(t, d.Allowed(false), "none of these reaches beyond its namespace")
		assert.True(t, d.OwnProfile, d.Name)
		for _, end := range []func(context.Context, App) error{d.Over, d.Undo} {
			if assert.Equal(t, end == nil, d.Name == "rollouts-ten", d.Name); end == nil {
				continue
			}
			app := &fakeApp{}
			require.NoError(t, end(t.Context(), app))
			assert.Contains(t, []string{"replaced", "restore"}, app.did[0])
		}
		for _, strategy := range []string{"no-handler", "prestop-sleep"} {
			s, err := catalogue(t).Find(strategy, d.Name, DefaultRate)
			require.NoError(t, err)
			assert.Equal(t, strategy == "no-handler" && d.Name == "rollouts-ten", s.Control)
		}
	}
}

// TestHeldToRainbow: a colour that is drained drops nothing that it holds, whatever the strategy; one that
// may be ended with its work promises nothing of that.
func TestHeldToRainbow(t *testing.T) {
	c := catalogue(t)
	groups, err := c.Groups([]string{"service-websocket"}, DefaultRate)
	require.NoError(t, err)
	drains := func(name string) Promise { return Promise{Clean, "disruption " + name + ": ends no Pod that has work"} }
	for _, tt := range []struct {
		strategy, disruption string
		lane                 string
		class                Class
		want                 Promise
	}{
		{"shutdown-at-once", "rainbow", "service-websocket/websocket", ClassHeld, drains("rainbow")},
		{"no-handler", "rainbow-ten", "service-websocket/websocket", ClassHeld, drains("rainbow-ten")},
		{"shutdown-at-once", "rainbow-back", "service-websocket/websocket", ClassHeld, drains("rainbow-back")},
		{"shutdown-at-once", "scale-down-idle-first", "service-websocket/websocket", ClassHeld, drains("scale-down-idle-first")},
		{"shutdown-at-once", "rainbow-limit", "service-websocket/websocket", ClassHeld, Promise{Measured, "strategy shutdown-at-once expects nothing of class held"}},
		{"shutdown-at-once", "scale-down-by-cost", "service-websocket/websocket", ClassHeld, Promise{Measured, "strategy shutdown-at-once expects nothing of class held"}},
		{"shutdown-at-once", "rainbow-never-ready", "service-websocket/websocket", ClassHeld, Promise{Clean, "disruption rainbow-never-ready"}},
		{"shutdown-at-once", "rainbow", "service/new", ClassNew, Promise{Clean, "disruption rainbow waits for 5s"}},
		{"shutdown-at-once", "rainbow-back", "service/new", ClassNew, Promise{Clean, "disruption rainbow-back waits for 5s"}},
	} {
		s, err := c.In(groups[0], tt.strategy, tt.disruption)
		require.NoError(t, err)
		only, err := s.Only([]string{tt.lane})
		require.NoError(t, err)
		assert.Equal(t, tt.want, s.HeldTo(only.Lanes[0], tt.class, time.Second), "%s/%s", tt.strategy, tt.disruption)
	}
	s, err := c.Find("no-handler", "rainbow", DefaultRate)
	require.NoError(t, err)
	slow, err := s.Only([]string{"service/slow"})
	require.NoError(t, err)
	assert.Equal(t, drains("rainbow"), s.HeldTo(slow.Lanes[0], ClassInFlight, time.Second))
}
