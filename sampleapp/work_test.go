package main

import (
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// TestBusy: what clients hold and what is in flight is work, whether or not it says which lane it is of;
// asking for it is none, and what is over is none any more.
func TestBusy(t *testing.T) {
	onFakeClock(t, config{}, func(t *testing.T, s *server, p *pipes) {
		asks := p.dial(t)
		busy := func() (b protocol.Busy) {
			r := asks.get("/busy")
			require.Equal(t, http.StatusOK, r.code)
			require.Equal(t, "application/json", r.header.Get("Content-Type"))
			require.NoError(t, json.Unmarshal([]byte(r.body), &b))
			return b
		}
		assert.Equal(t, protocol.Busy{}, busy())
		asked := p.dial(t)
		asked.begin("/work")
		held := s.hold(protocol.Held{Lane: "held"}, false, func() {})
		assert.Equal(t, protocol.Busy{Held: 1, Requests: 1, Work: 2}, busy())
		s.endedHeld(held, protocol.ByClient)
		assert.Equal(t, protocol.Busy{Requests: 1, Work: 1}, busy())
		asked.finish()
		synctest.Wait()
		assert.Equal(t, protocol.Busy{}, busy())
	})
}
