package scenarios

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// night is the n-th of a month.
func night(n int) time.Time { return time.Date(2026, 11, n, 3, 17, 0, 0, time.UTC) }

// TestTakeTurns: each cell has its turn once in as many nights as there are parts, whatever the hour,
// and parts are no larger than they may be.
func TestTakeTurns(t *testing.T) {
	tests := []struct {
		cells, perNight int
		parts           []int // how many cells they have
	}{
		{0, 3, nil},
		{1, 3, []int{1}},
		{3, 3, []int{3}},
		{4, 3, []int{2, 2}},
		{7, 3, []int{3, 3, 1}},
		{8, 3, []int{3, 3, 2}},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d, %d a night", tt.cells, tt.perNight), func(t *testing.T) {
			var all []Cell
			for i := range tt.cells {
				all = append(all, Cell{Strategy: fmt.Sprint(i), Disruption: "d"})
			}
			turns := map[string]time.Time{}
			var sizes []int
			for n := range len(tt.parts) {
				tonight, notRun := takeTurns(all, tt.perNight, night(10+n))
				assert.Len(t, all, len(tonight)+len(notRun))
				again, _ := takeTurns(all, tt.perNight, time.Date(2026, 11, 10+n, 23, 59, 0, 0, time.UTC))
				assert.Equal(t, tonight, again)
				sizes = append(sizes, len(tonight))
				for _, cell := range tonight {
					assert.NotContains(t, turns, cell.Strategy)
					turns[cell.Strategy] = night(10 + n)
				}
			}
			assert.ElementsMatch(t, tt.parts, sizes)
			assert.Len(t, turns, tt.cells)
			_, notRun := takeTurns(all, tt.perNight, night(10))
			for _, cell := range notRun {
				assert.Contains(t, cell.Why, "its turn is in the night of "+turns[cell.Strategy].Format(time.DateOnly))
				assert.Contains(t, cell.Why, fmt.Sprintf("of %d)", len(tt.parts)))
			}
		})
	}
}

// TestNightly: the fixed runs are there each night, every other cell is in one of the nights, and what
// isn't run is told with the night that will.
func TestNightly(t *testing.T) {
	c := catalogue(t)
	quick, err := c.Select(Selection{Profile: "quick"})
	require.NoError(t, err)
	seen := map[string]int{}
	parts := 0
	for n := 1; n <= 10 && (parts == 0 || n <= parts); n++ {
		sel := Selection{Profile: "nightly", Night: night(n)}
		list, err := c.Select(sel)
		require.NoError(t, err)
		assert.Equal(t, names(quick), names(list[:len(quick)]), "night %d", n)
		notRun, err := c.NotRun(sel)
		require.NoError(t, err)
		turns := list[len(quick):]
		assert.NotEmpty(t, turns)
		turns = slices.DeleteFunc(turns, func(s Scenario) bool { // the same cell in a second group, and controls
			return s.Group == "gateway" || s.Disruption.Name == controlDisruption
		})
		assert.LessOrEqual(t, len(turns), 36)
		if parts == 0 {
			parts = (len(turns) + len(notRun) + 35) / 36
		}
		for _, s := range turns {
			seen[s.Name()]++
			assert.False(t, slices.ContainsFunc(notRun, func(r NotRun) bool { return r.Strategy+"/"+r.Disruption == s.Name() }),
				"%s is run and not run", s.Name())
		}
	}
	require.Positive(t, parts)
	for name, n := range seen {
		assert.Equal(t, 1, n, name)
		assert.NotContains(t, names(quick), name)
	}
	for _, name := range []string{"prestop-http/rolling-update", "prestop-25-of-30s/pod-deletion", "ten-replicas-stop-40s/rolling-update"} {
		assert.Contains(t, seen, name)
	}
	for _, cell := range everyDisruption() {
		name := cell.Strategy + "/" + cell.Disruption
		assert.True(t, seen[name] == 1 || slices.Contains(names(quick), name), name)
	}
	_, err = c.Select(Selection{Profile: "nightly"})
	require.ErrorIs(t, err, errNoNight)
	require.ErrorContains(t, err, "profile nightly: ")

	list, err := c.Select(Selection{Profile: "nightly", Strategies: []string{"prestop-http"}})
	require.NoError(t, err, "who names strategies needs no turns")
	assert.Equal(t, []string{"no-handler/none", "prestop-http/rolling-update", "prestop-http/pod-deletion"}, names(list))
	notRun, err := c.NotRun(Selection{Profile: "nightly", Disruptions: []string{"pod-deletion"}})
	require.NoError(t, err)
	assert.Empty(t, notRun)
	_, err = c.NotRun(Selection{Profile: "weekly"})
	require.ErrorContains(t, err, `unknown profile "weekly"`)
}

// TestDisruptionsProfile: every disruption that has no profile of its own, on three lanes, with both strategies or its own;
// those under one disruption follow each other.
func TestDisruptionsProfile(t *testing.T) {
	c := catalogue(t)
	list, err := c.Select(Selection{Profile: "disruptions"})
	require.NoError(t, err)
	want := []string{"no-handler/none", "no-handler/rolling-update"}
	for _, d := range Disruptions()[1:] {
		if d.OwnProfile {
			continue
		}
		for _, strategy := range firstNotEmpty(d.Strategies, []string{"shutdown-at-once", "prestop-sleep"}) {
			if d.Consumers == nil {
				want = append(want, strategy+"/"+d.Name)
			}
		}
	}
	own := []string{
		"prestop-sleep/coredns-rolled",
		"gateway/no-handler/none", "gateway/prestop-sleep/ingress-rolled",
		"ingress/no-handler/none", "ingress/prestop-sleep/ingress-rolled",
	}
	assert.Equal(t, append(slices.Clone(want), own...), paths(list))
	for _, s := range list[:len(want)] {
		assert.Equal(t, serviceLanes(), laneNames(s.Lanes), s.Name())
	}
	list, err = c.Select(Selection{Profile: "disruptions", Disruptions: []string{"pod-deletion"}, Lanes: []string{"dns/new"}})
	require.NoError(t, err)
	assert.Equal(t, []string{"no-handler/none", "shutdown-at-once/pod-deletion", "prestop-sleep/pod-deletion"}, names(list))
	assert.Equal(t, []string{"dns/new"}, laneNames(list[1].Lanes))
	list, err = c.Select(Selection{Profile: "disruptions", Disruptions: []string{"pod-deletion"}, Consumers: []string{"nodeport"}})
	require.NoError(t, err)
	assert.Contains(t, laneNames(list[1].Lanes), "nodeport/slow", "who asks for consumers wants their lanes")
}

func TestDoublingProfile(t *testing.T) {
	list, err := catalogue(t).Select(Selection{Profile: "doubling"})
	require.NoError(t, err)
	assert.Equal(t, []string{
		"no-handler/none", "ten-replicas-stop-10s/rolling-update", "ten-replicas-stop-20s/rolling-update",
		"ten-replicas-stop-40s/rolling-update", "ten-replicas-stop-20s-quarter/rolling-update",
		"ten-replicas-stop-20s/rolling-update-quota",
	}, names(list))
	for _, s := range list[1:] {
		assert.Equal(t, 10, s.Strategy.Replicas())
		assert.Equal(t, 50, s.Lanes[0].Load.Rate)
	}
}

// TestCellLanes: a cell's lanes are not those of who asks for others.
func TestCellLanes(t *testing.T) {
	c := catalogue(t)
	find := func(sel Selection, name string) Scenario {
		t.Helper()
		for n := 1; n <= 10; n++ {
			sel.Night = night(n)
			list, err := c.Select(sel)
			require.NoError(t, err)
			if i := slices.Index(names(list), name); i >= 0 {
				return list[i]
			}
		}
		t.Fatalf("%s is in no night", name)
		return Scenario{}
	}
	const name = "ten-replicas-stop-10s/rolling-update"
	assert.Equal(t, serviceLanes(), laneNames(find(Selection{Profile: "nightly"}, name).Lanes))
	assert.Len(t, find(Selection{Profile: "nightly"}, "prestop-http/rolling-update").Lanes, 10)
	assert.Equal(t, []string{"dns/new"}, laneNames(find(Selection{Profile: "nightly", Lanes: []string{"dns/new"}}, name).Lanes))
}
