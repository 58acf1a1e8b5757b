package e2e

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/zerodrop/zerodrop/e2e/internal/suite"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestSoakRate: a thousand requests a second for a minute, from one lane within the cluster. All
// that was planned is sent, and on time.
func TestSoakRate(t *testing.T) {
	long(t, suite.LongSoakRate)
	const rate = scenarios.MaxRate
	s, err := shared.With(func(c *suite.Config) { c.Rate = rate }).Find("no-handler", "none")
	require.NoError(t, err)
	s, err = s.Only([]string{"service/new"})
	require.NoError(t, err)
	s.Disruption = scenarios.Quiet(time.Minute)
	v := shared.Measure(testContext(t), t, scenarios.Run{Scenario: s, Repeat: 1}, 1, 1)
	require.Len(t, v.Lanes, 1)
	l := v.Lanes[0]
	t.Logf("%d planned, %d sent, %d ok; lag p50 %s, p99 %s, max %s", l.Planned, l.Sent, l.OK, l.LagP50, l.LagP99, l.LagMax)
	assert.Equal(t, verdict.Pass, v.Outcome, "%v", v.Reasons)
	assert.GreaterOrEqual(t, l.Planned, 60*rate)
	assert.Equal(t, l.Planned, l.Sent)
	assert.LessOrEqual(t, l.LagP99, 3*time.Millisecond, "on an otherwise idle cluster")
}

// TestSoakMemory sends 200 requests a second, on new and on reused connections, for as long as
// -soak says. What the process holds beyond the records stays as it is. It needs no cluster: the
// app runs on this machine.
func TestSoakMemory(t *testing.T) {
	long(t, suite.LongSoakMemory)
	length := shared.Config.Soak
	url := startApp(t)
	plan := traffic.Plan{Clock: timeline.NewClock(time.Now()), End: &traffic.End{}, Max: length + time.Minute}
	plan.End.Set(length)
	loads := []scenarios.Load{scenarios.New(100), scenarios.Reused(100)}
	ledgers := []*traffic.Ledger{traffic.NewLedger(), traffic.NewLedger()}
	var lanes errgroup.Group
	for i, load := range loads {
		lane := traffic.Lane{Name: "soak/" + load.Name, URL: url, Start: time.Duration(i) * 5 * time.Millisecond, Load: load}
		lanes.Go(func() error { return traffic.SendShard(lane, plan, ledgers[i]) })
	}
	done := make(chan error, 1)
	go func() { done <- lanes.Wait() }()
	var beyond verdict.Sample // bytes on the heap that are not records
	ticker := time.NewTicker(length / 60)
	defer ticker.Stop()
	for over := false; !over; {
		select {
		case err := <-done:
			require.NoError(t, err)
			over = true
		case <-ticker.C:
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			beyond = append(beyond, float64(m.HeapAlloc)-float64(ledgers[0].Size()+ledgers[1].Size()))
		}
	}
	for i, load := range loads {
		record := ledgers[i].Record(traffic.Lane{Load: load, Start: time.Duration(i) * 5 * time.Millisecond}, length)
		dropped := slices.ContainsFunc(record.Requests, func(r timeline.Request) bool { return r.Cause != timeline.OK })
		assert.False(t, dropped, "every request of load %s was sent and answered well", load.Name)
		t.Logf("load %s: %d requests", load.Name, len(record.Requests))
	}
	quarter := len(beyond) / 4
	first, last := beyond[:quarter].Median(), beyond[len(beyond)-quarter:].Median()
	t.Logf("heap beyond the records, median: %.2f MB in the first quarter, %.2f MB in the last; records %.1f MB",
		first/1e6, last/1e6, float64(ledgers[0].Size()+ledgers[1].Size())/1e6)
	assert.InEpsilon(t, first, last, 0.1)
}

// startApp runs the app on a port of its own and returns its URL.
func startApp(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "sampleapp")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, "../sampleapp").CombinedOutput()
	require.NoError(t, err, string(out))
	app := exec.CommandContext(t.Context(), binary, "-addr=127.0.0.1:0")
	stdout, err := app.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, app.Start())
	t.Cleanup(func() { _ = app.Process.Kill(); _ = app.Wait() })
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var event protocol.Event
		require.NoError(t, json.Unmarshal(lines.Bytes(), &event))
		if event.Event == protocol.EventListening {
			return "http://" + event.Addr
		}
	}
	require.FailNow(t, "the app never listened")
	return ""
}
