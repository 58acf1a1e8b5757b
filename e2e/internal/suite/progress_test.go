package suite

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestProgress: one line that is written over on a terminal; elsewhere a line per run and per step,
// and none per phase.
func TestProgress(t *testing.T) {
	v := verdict.Verdict{Outcome: verdict.Fail, Lanes: []verdict.Lane{{Sent: 100, Dropped: 3}, {Sent: 200, Dropped: 4}}}
	catalogue, err := scenarios.NewCatalogue()
	require.NoError(t, err)
	scenario, err := catalogue.Find("prestop-sleep", "rolling-update", 100)
	require.NoError(t, err)
	tests := []struct {
		name   string
		live   bool
		repeat int
		want   string
	}{
		{
			"a terminal", true, 1,
			"\r\x1b[Kwait for the cluster" + "\r\x1b[Krun 2 of 5: prestop-sleep/rolling-update · lead" +
				"\r\x1b[K[  62s] run 2 of 5: prestop-sleep/rolling-update: ✗ FAIL, 7 of 300 dropped, 2.0s\n" + "\r\x1b[K",
		},
		{
			"a file", false, 1,
			"[  60s] wait for the cluster\n" + "[  62s] run 2 of 5: prestop-sleep/rolling-update: ✗ FAIL, 7 of 300 dropped, 2.0s\n",
		},
		{
			"a repeat", false, 2,
			"[  60s] wait for the cluster\n" + "[  62s] run 2 of 5: prestop-sleep/rolling-update (repeat 2): ✗ FAIL, 7 of 300 dropped, 2.0s\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out strings.Builder
				p := &progress{out: &out, live: tt.live, began: time.Now()}
				time.Sleep(time.Minute)
				p.step("wait for the cluster")
				run := p.run(2, 5, scenarios.Run{Scenario: scenario, Repeat: tt.repeat})
				run.phase("lead")
				time.Sleep(2 * sec)
				run.done(v)
				p.clear()
				assert.Equal(t, tt.want, out.String())
			})
		})
	}
}
