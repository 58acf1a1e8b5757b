package scenarios

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLongProfile: held connections in every run, beside the reference, under ways to stop and to release;
// who asks for lanes or disruptions gets those.
func TestLongProfile(t *testing.T) {
	c := catalogue(t)
	list, err := c.Select(Selection{Profile: "long"})
	require.NoError(t, err)
	assert.Equal(t, []string{
		"no-handler/none", "no-handler/rolling-update",
		"shutdown-at-once/rolling-update", "held-close/rolling-update", "held-spread/rolling-update",
		"in-app-delay/rolling-update", "held-long-grace/rolling-update",
		"shutdown-at-once/rainbow", "shutdown-at-once/rainbow-limit", "shutdown-at-once/rainbow-back",
		"shutdown-at-once/rainbow-never-ready", "shutdown-at-once/scale-down-gradually",
		"shutdown-at-once/scale-down-by-cost", "shutdown-at-once/scale-down-idle-first",
		"shutdown-at-once/rainbow-ten", "held-long-grace/rollouts-ten",
		"tasks-default-grace/rolling-update", "tasks-hand-back/rolling-update", "tasks-long-grace/rolling-update",
		"tasks-default-grace/rainbow",
	}, names(list))
	for _, s := range list[1:] {
		assert.Equal(t, "held", s.Group)
		if s.Tasks() != nil {
			assert.Equal(t, []string{"service/new"}, laneNames(s.Lanes), s.Name())
			continue
		}
		assert.Equal(t, []string{"service/new", "service-sse/sse", "service-websocket/websocket"}, laneNames(s.Lanes), s.Name())
	}
	list, err = c.Select(Selection{Profile: "long", Disruptions: []string{"rainbow"}, Strategies: []string{"held-close"}, Lanes: []string{"service-sse/sse-backoff"}, Clients: 1000})
	require.NoError(t, err)
	require.Equal(t, []string{"no-handler/none", "held-close/rainbow"}, names(list))
	assert.Equal(t, []string{"service-sse/sse-backoff"}, laneNames(list[1].Lanes))
	assert.Equal(t, 1000, list[1].Lanes[0].Load.Clients)
}

// TestLongGrace: its delay is longer than any client stays, and its grace period longer than that.
func TestLongGrace(t *testing.T) {
	s, ok := catalogue(t).strategies[longGrace]
	require.True(t, ok)
	rendered, err := s.Default()
	require.NoError(t, err)
	assert.GreaterOrEqual(t, s.ServesFor(), Sockets(1).Stays.Max+followWithin)
	assert.Greater(t, rendered.Grace(), s.ServesFor())
}
