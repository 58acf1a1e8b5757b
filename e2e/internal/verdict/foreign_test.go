package verdict

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

var shop = timeline.TargetSpec{Name: "shop", Request: "GET /", ExpectStatus: 200, StatusLearnt: true}

// foreign is leaving without a word of the app, but with what its runtime tells: SIGTERM at 5 s, the end of its process at 7.02 s.
func foreign() timeline.Timeline {
	tl := leaving()
	happens(&tl, 5*sec, timeline.StopSignal, timeline.Event{Pod: "app-0", UID: "uid-0", Node: "n1"})
	return tl.AsForeign(shop)
}

// asks adds a request to a lane of worker-0, whose connection went to an address.
func asks(tl *timeline.Timeline, lane int, sent, done time.Duration, cause timeline.Cause, ip string) *timeline.Request {
	r := give(tl, lane, sent, done, cause)
	r.Pod = 0
	chosen(tl, sent, "10.9.0.1", r.Port, ip)
	return r
}

// judged are the dropped requests of a timeline, as Judge finds them.
func judged(tl timeline.Timeline) []DroppedRequest { return Judge(tl).DroppedRequests }

// TestForeignPhases: of an app that says nothing of itself, the phase goes by its runtime, its first answer and its first refusal.
func TestForeignPhases(t *testing.T) {
	type request struct {
		sent, done time.Duration
		cause      timeline.Cause
	}
	at := func(sent time.Duration, cause timeline.Cause) request { return request{sent, sent + ms, cause} }
	refused := at(6200*ms, timeline.Refused)
	tests := []struct {
		name     string
		change   func(*timeline.Timeline)
		requests []request // to app-0; the last counts
		phase    LifecyclePhase
		class    timeline.Class
	}{
		{"refused before it had answered anything", nil, []request{at(1100*ms, timeline.Refused)}, StartUp, timeline.ClassNew},
		{"before its deletion", nil, []request{at(3500*ms, timeline.Reset)}, BeforeDeletion, timeline.ClassNew},
		{"before the stop signal", nil, []request{at(4500*ms, timeline.Reset)}, PreStop, timeline.ClassNew},
		{"after the stop signal", nil, []request{at(5500*ms, timeline.Reset)}, Terminating, timeline.ClassNew},
		{"refused", nil, []request{refused}, ListenerClosed, timeline.ClassNew},
		{"after it had refused", nil, []request{refused, at(6300*ms, timeline.Reset)}, ListenerClosed, timeline.ClassNew},
		{"before it refused", nil, []request{refused, at(6100*ms, timeline.Reset)}, Terminating, timeline.ClassNew},
		{"refused about its end: the refusal dates that", nil, []request{at(6800*ms, timeline.Refused)}, AfterExit, timeline.ClassNew},
		{"refused after its end", nil, []request{at(7200*ms, timeline.Refused)}, AfterExit, timeline.ClassNew},
		{"refused before its deletion, which closes nothing", nil, []request{at(3500*ms, timeline.Refused), at(5500*ms, timeline.Reset)}, Terminating, timeline.ClassNew},
		{"sent before the stop signal, and cut at its end", nil, []request{{4900 * ms, 6900 * ms, timeline.EOF}}, CutAtExit, timeline.ClassInFlight},
		{"sent after the stop signal, long before its end", nil, []request{{5500 * ms, 6900 * ms, timeline.EOF}}, CutAtExit, timeline.ClassInFlight},
		{"sent just before its end: the app may have closed it in order", nil, []request{at(6800*ms, timeline.EOF)}, Terminating, timeline.ClassNew},
		{"sent just before it was killed", func(tl *timeline.Timeline) {
			for i := range tl.Events {
				if tl.Events[i].Kind == timeline.ProcessExit {
					tl.Events[i].Code = 137
				}
			}
		}, []request{at(6800*ms, timeline.EOF)}, CutAtExit, timeline.ClassInFlight},
		{"nobody tells of a stop signal", func(tl *timeline.Timeline) { forget(tl, timeline.StopSignal) }, []request{at(4500*ms, timeline.Reset)}, Unattributed, timeline.ClassNew},
		{"nobody tells of its end", func(tl *timeline.Timeline) { forget(tl, timeline.ProcessExit) }, []request{refused}, Unattributed, timeline.ClassNew},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := foreign()
			asks(&tl, 0, 1500*ms, 1501*ms, timeline.OK, "10.0.0.1") // its first answer
			for _, r := range tt.requests {
				asks(&tl, 0, r.sent, r.done, r.cause, "10.0.0.1")
			}
			if tt.change != nil {
				tt.change(&tl)
			}
			dropped := judged(tl)
			require.Len(t, dropped, len(tt.requests))
			d := dropped[len(dropped)-1]
			assert.Equal(t, "app-0", d.Pod)
			assert.Equal(t, tt.phase.String(), d.Phase.String(), d.Why)
			assert.Equal(t, tt.class, d.Class)
		})
	}
}

// TestForeignAnswers: the Pod of an answer that doesn't say it is found by the evidence that its consumer has, on connections that are kept as well.
func TestForeignAnswers(t *testing.T) {
	tl := foreign()
	asks(&tl, 0, 2*sec, 2001*ms, timeline.OK, "10.0.0.1")
	asks(&tl, 0, 2100*ms, 2101*ms, timeline.OK, "10.0.0.2")
	give(&tl, 0, 2200*ms, 2201*ms, timeline.OK).Pod = 0 // connection tracking hasn't seen it

	// A spare connection, dialled long before its first request; and its port again, on another connection.
	chosen(&tl, 500*ms, "10.9.0.1", 50000, "10.0.0.2")
	for use, sent := range []time.Duration{14 * sec, 15 * sec} {
		r := give(&tl, 1, sent, sent+ms, timeline.OK)
		r.Pod, r.Port, r.ConnUse = 0, 50000, uint32(use+1)
	}
	r := give(&tl, 1, 16*sec, 16001*ms, timeline.EOF)
	r.Port, r.ConnUse = 50000, 3
	chosen(&tl, 30*sec, "10.9.0.1", 50000, "10.0.0.1")
	r = give(&tl, 1, 31*sec, 31001*ms, timeline.OK)
	r.Pod, r.Port, r.ConnUse = 0, 50000, 1
	r = give(&tl, 1, 32*sec, 32001*ms, timeline.Reset)
	r.Port, r.ConnUse = 50000, 2

	give(&tl, 3, 2*sec, 2001*ms, timeline.OK).Pod = 0
	tl.Lanes[3].Requests[0].Address = 1
	give(&tl, 4, 2*sec, 2001*ms, timeline.OK).Pod = 0 // a proxy chose, and doesn't tell

	pods := podLifecycles(standIn(tl))
	named := nameAnswers(tl, pods)
	var got []string
	for i, l := range named {
		for seq, r := range l.Requests {
			got = append(got, fmt.Sprintf("%s %q", l.Name, l.PodOf(r)))
			assert.Zero(t, tl.Lanes[i].Requests[seq].Pod, "the timeline itself stays as it is")
		}
	}
	assert.Equal(t, []string{
		`service/new "app-0"`, `service/new "app-1"`, `service/new ""`,
		`service/reused "app-1"`, `service/reused "app-1"`, `service/reused ""`, `service/reused "app-0"`, `service/reused ""`,
		`dns/new "app-0"`, `ingress/reused ""`,
	}, got)
	v := Judge(tl)
	require.Len(t, v.DroppedRequests, 2)
	for i, pod := range []string{"app-1", "app-0"} {
		assert.Equal(t, pod, v.DroppedRequests[i].Pod)
		assert.Equal(t, ByConnection, v.DroppedRequests[i].Evidence)
	}
	assert.Equal(t, []string{
		"app shop: to GET /, status 200, as it answered before the load, with any complete body was right; whether it carried out what was dropped " +
			"is not known, as it keeps no ledger",
		"service/new: which Pod answered is not known of 1 of 3 answers",
		"ingress/reused: which Pod answered is not known of 1 of 1 answers",
	}, v.Unseen)
}

// TestForeignArrivals: where nobody knows which Pods have answered, no last arrival is; where that is not known of an answer, what is known is a lower bound.
func TestForeignArrivals(t *testing.T) {
	arrivals := func(requests ...func(*timeline.Timeline)) []string {
		tl := foreign()
		for _, request := range requests {
			request(&tl)
		}
		var out []string
		for _, a := range Judge(tl).Lanes[0].Arrivals {
			if a.Pod == "app-0" {
				out = append(out, fmt.Sprintf("%s %t", a.After, a.Censored))
			}
		}
		return out
	}
	named := func(sent time.Duration) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) { asks(tl, 0, sent, sent+ms, timeline.OK, "10.0.0.1") }
	}
	unnamed := func(sent time.Duration) func(*timeline.Timeline) {
		return func(tl *timeline.Timeline) { give(tl, 0, sent, sent+ms, timeline.OK).Pod = 0 }
	}
	assert.Equal(t, []string{"500ms false"}, arrivals(named(4500*ms)))
	assert.Equal(t, []string{"500ms false"}, arrivals(unnamed(4200*ms), named(4500*ms)))
	assert.Equal(t, []string{"500ms true"}, arrivals(named(4500*ms), unnamed(5*sec)))
	assert.Empty(t, arrivals(unnamed(4200*ms), unnamed(4500*ms)))
}

// TestForeignByHeader: where no node can be asked, the header that names the Pod does, and nothing else.
func TestForeignByHeader(t *testing.T) {
	tl := foreign()
	tl.Sources = tl.Sources[:1]
	forget(&tl, timeline.StopSignal, timeline.ProcessExit)
	tl.Lanes[0].Pods = []string{"app-0", "app-1"}
	give(&tl, 0, 2*sec, 2001*ms, timeline.OK)
	give(&tl, 0, 3*sec, 3001*ms, timeline.HTTP5xx).Pod = 2
	give(&tl, 0, 4500*ms, 4501*ms, timeline.Refused)
	v := Judge(tl)
	require.Len(t, v.DroppedRequests, 2)
	assert.Equal(t, "app-1", v.DroppedRequests[0].Pod)
	assert.Equal(t, ByAnswer, v.DroppedRequests[0].Evidence)
	assert.Equal(t, BeforeDeletion, v.DroppedRequests[0].Phase)
	assert.Equal(t, whyNoConntrack, v.DroppedRequests[1].Why)
}

// TestNewPodsOfAForeignApp: a new Pod that answered nothing is a reason not to believe a run, unless some answer may have been its own.
func TestNewPodsOfAForeignApp(t *testing.T) {
	const why = "Pod app-2 was ready and answered no request"
	tests := []struct {
		name  string
		seen  bool // by connection tracking, of the answers
		wants bool
	}{
		{"every answer is of a known Pod", true, true},
		{"one isn't", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := foreign()
			for at, kind := range map[time.Duration]timeline.Kind{4 * sec: timeline.PodCreated, 5 * sec: timeline.PodReady} {
				happens(&tl, at, kind, timeline.Event{Pod: "app-2", UID: "uid-2", Node: "n1", IP: "10.0.0.3"})
			}
			if give(&tl, 0, 6*sec, 6001*ms, timeline.OK).Pod = 0; tt.seen {
				chosen(&tl, 6*sec, "10.9.0.1", 40000, "10.0.0.2")
			}
			assert.Equal(t, tt.wants, slices.Contains(Judge(tl).Reasons, why))
		})
	}
}

// TestUntold: what counted as a right answer is said.
func TestUntold(t *testing.T) {
	tests := []struct {
		target timeline.TargetSpec
		want   string
	}{
		{timeline.TargetSpec{Name: "shop", Request: "GET /"}, "app shop: to GET /, any status of success with any complete body was right; "},
		{timeline.TargetSpec{Name: "shop", Request: "GET /", ExpectStatus: 404}, "app shop: to GET /, status 404 with any complete body was right; "},
		{
			timeline.TargetSpec{Name: "shop", Request: "GET /", ExpectStatus: 200, ExpectBody: "^page"},
			`app shop: to GET /, status 200 with a body that matches "^page" was right; `,
		},
	}
	for _, tt := range tests {
		got := untold(timeline.Timeline{Spec: timeline.Spec{Target: &tt.target}})
		require.Len(t, got, 1)
		assert.Contains(t, got[0], tt.want)
	}
	assert.Empty(t, untold(timeline.Timeline{}), "the sample app tells")
}

// TestStoredAsForeign takes all that the app said of itself out of runs that were recorded on a real cluster. Counts stay; nearly every dropped request
// is charged to the Pod that it was charged to, and none to another; and the last arrivals are the same but for what their Pods' ends cut off.
func TestStoredAsForeign(t *testing.T) {
	dirs, err := timeline.Find("testdata/inside")
	require.NoError(t, err)
	known, same := 0, 0
	for _, dir := range dirs {
		t.Run(dir, func(t *testing.T) {
			tl, err := timeline.Load(dir)
			require.NoError(t, err)
			itself := Judge(tl)
			k, s := holdAgainstItself(t, itself, Judge(withStopSignals(tl).AsForeign(shop)))
			known, same = known+k, same+s
		})
	}
	require.Positive(t, known)
	t.Logf("%d of %d dropped requests are charged to their Pods", same, known)
	assert.GreaterOrEqual(t, same*100, known*98)
}

// withStopSignals adds what containerd's log would have told: these runs are older than that it is read.
func withStopSignals(tl timeline.Timeline) timeline.Timeline {
	for _, e := range slices.Clone(tl.Events) {
		if e.Kind == timeline.AppSIGTERM {
			e.Kind = timeline.StopSignal
			tl.Events = append(tl.Events, e)
		}
	}
	slices.SortStableFunc(tl.Events, func(a, b timeline.Event) int { return int(a.At - b.At) })
	return tl
}

// holdAgainstItself holds the verdict of a run as of a foreign app against that of the same run as of the sample app. It returns how many dropped
// requests are charged to a Pod there, and how many of those here.
func holdAgainstItself(t *testing.T, itself, foreign Verdict) (known, same int) {
	t.Helper()
	require.Len(t, foreign.Lanes, len(itself.Lanes))
	for i, l := range itself.Lanes {
		f := foreign.Lanes[i]
		assert.Equal(t, []any{l.Planned, l.OK, l.Dropped, l.Masked, l.Late, l.Causes}, []any{f.Planned, f.OK, f.Dropped, f.Masked, f.Late, f.Causes}, l.Name)
	}
	require.Len(t, foreign.DroppedRequests, len(itself.DroppedRequests))
	for i, d := range itself.DroppedRequests {
		f := foreign.DroppedRequests[i]
		if d.Pod == "" {
			continue
		}
		if known++; f.Pod == d.Pod {
			same++
		} else {
			assert.Empty(t, f.Pod, "%s #%d is charged to another Pod than %s", d.Lane, d.Seq, d.Pod)
		}
	}
	return known, same
}
