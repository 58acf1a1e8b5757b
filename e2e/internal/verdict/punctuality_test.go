package verdict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestPunctuality: requests are due every 10 ms; the disruption is from 1 s to 3 s.
func TestPunctuality(t *testing.T) {
	w := timeline.Window{DisruptStart: sec, Settled: 3 * sec}
	tests := []struct {
		name   string
		count  int
		late   map[int]time.Duration // by number of the request
		unsent []int
		want   punctuality
	}{
		{"nothing sent", 2, nil, []int{0, 1}, punctuality{}},
		{"as planned", 400, nil, nil, punctuality{gap: 10 * ms, gapFrom: sec}},
		{"one that left late, behind those that were due after it", 400, map[int]time.Duration{150: 500 * ms}, nil, punctuality{lagMax: 500 * ms, gap: 20 * ms, gapFrom: 1490 * ms}},
		{"one that never left, however late", 400, map[int]time.Duration{150: 500 * ms}, []int{150}, punctuality{gap: 20 * ms, gapFrom: 1490 * ms}},
		{
			"late in the disruption, and on time for most of the run", 400,
			map[int]time.Duration{100: ms, 200: ms, 300: ms},
			nil,
			punctuality{lagMax: ms, disruptLagP99: ms, gap: 11 * ms, gapFrom: 990 * ms},
		},
		{"late before and after it", 400, map[int]time.Duration{99: 3 * ms, 301: 3 * ms}, nil, punctuality{lagMax: 3 * ms, gap: 10 * ms, gapFrom: sec}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := timeline.LaneRecord{}
			for seq := range tt.count {
				l.Requests = append(l.Requests, timeline.Request{Planned: time.Duration(seq) * 10 * ms, Lag: tt.late[seq], Cause: timeline.OK})
			}
			for _, seq := range tt.unsent {
				l.Requests[seq].Cause = timeline.Unsent
			}
			assert.Equal(t, tt.want, punctualityOf(l, w))
		})
	}
}

// TestMinDetectableOutageOfARun: what a lane claims to have seen is no finer than its requests
// left.
func TestMinDetectableOutageOfARun(t *testing.T) {
	w := timeline.Window{DisruptStart: sec, Settled: 3 * sec}
	at := func(seq int) time.Duration { return time.Duration(seq) * 10 * ms }
	tests := []struct {
		name string
		lag  func(seq int) time.Duration
		want time.Duration
	}{
		{"as planned", func(int) time.Duration { return 0 }, 30 * ms},
		{"late, all alike", func(int) time.Duration { return 25 * ms }, 30 * ms},
		{"later, all alike", func(int) time.Duration { return 45 * ms }, 45 * ms},
		{"a stall", func(seq int) time.Duration {
			return max(0, at(208)-at(seq)) * time.Duration(seq/200) * time.Duration(2-seq/200)
		}, 90 * ms},
		{"a stall before", func(seq int) time.Duration { return max(0, at(50)-at(seq)) }, 30 * ms},
		{"a stall after it had settled", func(seq int) time.Duration { return max(0, at(390)-at(seq)) * time.Duration(seq/310) }, 30 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := timeline.LaneRecord{Rate: 100}
			for seq := range 400 {
				l.Requests = append(l.Requests, timeline.Request{Planned: at(seq), Lag: tt.lag(seq), Cause: timeline.OK})
			}
			assert.Equal(t, tt.want, punctualityOf(l, w).minDetectableOutage(l.Rate))
		})
	}
}
