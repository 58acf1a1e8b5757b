package verdict

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// stream reads requests as they are written in the comment of outages: s1:ok s2:dropped s3:unsent.
// One left each second, in the order of the numbers; the plan has them in the order in which they
// are written.
func stream(t *testing.T, text string) (timeline.LaneRecord, []DroppedRequest) {
	t.Helper()
	record := timeline.LaneRecord{Name: "service/new", Rate: 1}
	var dropped []DroppedRequest
	for seq, word := range strings.Fields(text) {
		var at int
		var what string
		_, err := fmt.Sscanf(strings.Replace(word, ":", " ", 1), "s%d %s", &at, &what)
		require.NoError(t, err, word)
		cause, known := map[string]timeline.Cause{"ok": timeline.OK, "dropped": timeline.Refused, "reset": timeline.Reset, "unsent": timeline.Unsent}[what]
		require.True(t, known, word)
		due := time.Duration(at) * sec
		r := timeline.Request{Planned: min(due, time.Duration(seq+1)*sec), Cause: cause}
		r.Lag = due - r.Planned
		record.Requests = append(record.Requests, r)
		if r.Dropped() {
			dropped = append(dropped, DroppedRequest{Lane: record.Name, Seq: seq, Sent: r.Sent(), Cause: cause, Phase: PreStop, Pod: fmt.Sprintf("app-%d", at%2)})
		}
	}
	return record, dropped
}

// written is the inverse: outage[s2,s3] between s1 and s4.
func written(list []Outage) string {
	var out []string
	for _, o := range list {
		text := fmt.Sprintf("outage[s%d,s%d]", o.From/sec, o.To/sec)
		if o.After != nil {
			text += fmt.Sprintf(" after s%d", *o.After/sec)
		}
		if o.Before != nil {
			text += fmt.Sprintf(" before s%d", *o.Before/sec)
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func TestOutages(t *testing.T) {
	tests := []struct {
		name string
		give string
		want string
	}{
		{"nothing", "", ""},
		{"none", "s1:ok s2:ok", ""},
		{"as documented", "s1:ok s2:dropped s3:dropped s4:ok s5:dropped s6:ok", "outage[s2,s3] after s1 before s4, outage[s5,s5] after s4 before s6"},
		{"from the start", "s1:dropped s2:dropped s3:ok", "outage[s1,s2] before s3"},
		{"to the end", "s1:ok s2:dropped", "outage[s2,s2] after s1"},
		{"all", "s1:dropped s2:dropped s3:dropped", "outage[s1,s3]"},
		{"one Pod of two", "s1:ok s2:dropped s3:ok s4:dropped s5:ok", "outage[s2,s2] after s1 before s3, outage[s4,s4] after s3 before s5"},
		{"unsent ends none", "s1:ok s2:dropped s3:unsent s4:dropped s5:ok", "outage[s2,s4] after s1 before s5"},
		{"unsent makes none", "s1:ok s2:unsent s3:ok", ""},
		{"unsent is no bound", "s1:ok s2:unsent s3:dropped s4:unsent s5:ok", "outage[s3,s3] after s1 before s5"},
		{"only unsent", "s1:unsent s2:unsent", ""},
		{"one cause or another", "s1:ok s2:dropped s3:reset s4:ok", "outage[s2,s3] after s1 before s4"},
		{"by when they left, not by plan", "s1:ok s4:dropped s2:ok s3:dropped s5:ok", "outage[s3,s4] after s2 before s5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			record, dropped := stream(t, tt.give)
			assert.Equal(t, tt.want, written(outages(record, dropped, nil)))
		})
	}
}

// TestOutage: what is said of one.
func TestOutage(t *testing.T) {
	record, dropped := stream(t, "s1:ok s2:dropped s3:reset s4:dropped s5:ok s6:dropped s7:dropped")
	dropped[1].Phase, dropped[1].Pod = Unattributed, ""
	var events []timeline.Event
	for i := range 9 {
		events = append(events, timeline.Event{At: time.Duration(i) * sec, Kind: timeline.PodReady, Pod: fmt.Sprintf("at-%d", i)})
	}
	events = slices.Insert(events, 2, timeline.Event{At: sec, Kind: timeline.PodGone, Pod: "at-1, too"})
	got := outages(record, dropped, events)
	require.Len(t, got, 2)
	assert.Equal(t, 3, got[0].Dropped)
	assert.Equal(t, map[timeline.Cause]int{timeline.Refused: 2, timeline.Reset: 1}, got[0].Causes)
	assert.Equal(t, map[LifecyclePhase]int{PreStop: 2, Unattributed: 1}, got[0].Phases)
	assert.Equal(t, []string{"app-0"}, got[0].Pods)
	assert.Equal(t, events[1:6], got[0].Meanwhile, "from the last good request on, up to the next")
	assert.Equal(t, []string{"app-0", "app-1"}, got[1].Pods)
	assert.Equal(t, events[6:], got[1].Meanwhile, "to the end of the record")
}
