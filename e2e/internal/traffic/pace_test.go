package traffic

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestLatencyCountsFromThePlan: the sender is late by 50 ms, because the clock says so; the server is fast. The latency must hold both.
func TestLatencyCountsFromThePlan(t *testing.T) {
	server := httptest.NewServer(&faulty{seen: map[int]int{}})
	defer server.Close()
	const late = 50 * time.Millisecond
	end := &End{}
	end.Set(time.Millisecond)
	record, err := Send(Lane{URL: server.URL, Load: scenarios.New(1000)},
		Plan{Clock: timeline.NewClock(time.Now().Add(-late)), End: end, Max: time.Minute})
	require.NoError(t, err)
	require.Len(t, record.Requests, 2)
	for seq, r := range record.Requests {
		assert.Equal(t, time.Duration(seq)*time.Millisecond, r.Planned)
		assert.GreaterOrEqual(t, r.Lag, late-time.Millisecond)
		assert.GreaterOrEqual(t, r.Latency, r.Lag)
	}
}

// TestPaceIsKept: a server that needs 100 ms for each answer doesn't slow an open-loop load down.
func TestPaceIsKept(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/work", r.URL.Path)
		assert.Equal(t, "100ms", r.URL.Query().Get("for"))
		<-time.After(100 * time.Millisecond)
		_, _ = io.WriteString(w, protocol.Body)
	}))
	defer server.Close()
	load := scenarios.New(100)
	load.Work = 100 * time.Millisecond
	began := time.Now()
	record := send(t, load, server.URL, 50)
	assert.Less(t, time.Since(began), 2*time.Second, "one after the other they would take 5 s")
	assert.Equal(t, map[timeline.Cause]int{timeline.OK: 50}, count(record))
	for _, r := range record.Requests {
		assert.GreaterOrEqual(t, r.Latency, load.Work)
	}
}

func TestEndIsAgreed(t *testing.T) {
	var end End
	_, ok := end.At()
	assert.False(t, ok)
	end.Set(time.Second)
	end.Set(time.Minute)
	at, ok := end.At()
	assert.True(t, ok)
	assert.Equal(t, time.Second, at, "only the first call counts")
}

func TestLoadStopsByItself(t *testing.T) {
	server := httptest.NewServer(&faulty{seen: map[int]int{}, fault: status(500)})
	defer server.Close()
	record, err := Send(Lane{Name: "test/new", URL: server.URL, Load: scenarios.New(100)},
		Plan{Clock: timeline.NewClock(time.Now()), End: &End{}, Max: 200 * time.Millisecond})
	require.ErrorIs(t, err, ErrBound)
	assert.Equal(t, 21, record.Planned)
	assert.Len(t, record.Requests, 21, "what was recorded is kept")
}

// TestEndLosesNothing: what is in flight at the end is still waited for.
func TestEndLosesNothing(t *testing.T) {
	end := &End{}
	clock := timeline.NewClock(time.Now())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		end.Set(clock.Offset(time.Now()) + 50*time.Millisecond) // one interval of notice
		<-time.After(100 * time.Millisecond)
		_, _ = io.WriteString(w, protocol.Body)
	}))
	defer server.Close()
	record, err := Send(Lane{URL: server.URL, Load: scenarios.New(20)}, Plan{Clock: clock, End: end, Max: time.Minute})
	require.NoError(t, err)
	assert.Positive(t, record.Planned)
	assert.Len(t, record.Requests, record.Planned)
	assert.Equal(t, map[timeline.Cause]int{timeline.OK: record.Planned}, count(record))
}

// TestEndThatComesTooLate: who has sent beyond the agreed end says so.
func TestEndThatComesTooLate(t *testing.T) {
	end, clock := &End{}, timeline.NewClock(time.Now())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Zerodrop-Seq") == "9" {
			end.Set(50 * time.Millisecond)
		}
		_, _ = io.WriteString(w, protocol.Body)
	}))
	defer server.Close()
	record, err := Send(Lane{URL: server.URL, Load: scenarios.New(100)}, Plan{Clock: clock, End: end, Max: time.Minute})
	require.ErrorIs(t, err, errLate)
	assert.Equal(t, 6, record.Planned)
	assert.GreaterOrEqual(t, len(record.Requests), 10)
}

func TestPressure(t *testing.T) {
	if share := Pressure()(); share != nil {
		assert.GreaterOrEqual(t, *share, 0.0)
		assert.LessOrEqual(t, *share, 1.0)
	}
	tests := []struct {
		name, content string
		want          *time.Duration
	}{
		{"as Linux writes it", "some avg10=43.22 avg60=45.29 avg300=33.11 total=5757257654\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n", new(5757257654 * time.Microsecond)},
		{"no such line", "full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n", nil},
		{"no number", "some avg10=0.00 avg60=0.00 avg300=0.00 total=99999999999999999999\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "cpu")
			require.NoError(t, os.WriteFile(file, []byte(tt.content), 0o600))
			assert.Equal(t, tt.want, waited(file))
		})
	}
	assert.Nil(t, waited(filepath.Join(t.TempDir(), "none")), "a kernel without PSI")
}
