package verdict

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// holding is leaving with a lane of three clients that hold connections, and both sides' ledgers of them:
//
//	client 0   with app-0 from 2 s on, cut by its exit at 7 s; back after 100 ms, with app-1 until the end
//	client 1   with app-0, announced at 5.2 s; back after 1 s
//	client 2   with app-1, left at 10 s; the next one came after 2 ms
func holding() timeline.Timeline {
	tl := leaving()
	spec := lane("held/websocket", timeline.FromCluster, timeline.PerConnection, timeline.EvidenceConntrack)
	spec.Class, spec.Connections = timeline.ClassHeld, timeline.Holding
	tl.Spec.Lanes = []timeline.LaneSpec{spec}
	tl.Senders[1].Lanes = []string{spec.Name}
	held := func(client, number int, pod string, opened, ended time.Duration, end timeline.HeldEnd, back time.Duration) timeline.Held {
		return timeline.Held{
			Client: client, Number: number, Pod: pod, Conn: 1, Port: uint16(40000 + client), Opened: opened, Ended: ended, End: end, Back: back,
			Sent: 5, Answered: 4, Last: 40,
		}
	}
	tl.Lanes = []timeline.LaneRecord{{Name: spec.Name, Rate: spec.Rate, Pods: []string{"app-0", "app-1"}, Held: []timeline.Held{
		held(0, 1, "app-0", 2*sec, 7*sec+ms, timeline.HeldCut, 100*ms),
		held(0, 2, "app-1", 7101*ms, 20*sec, timeline.HeldLeft, 0),
		held(1, 1, "app-0", 2*sec, 5200*ms, timeline.HeldAnnounced, sec),
		held(1, 2, "app-1", 6200*ms, 20*sec, timeline.HeldLeft, 0),
		held(2, 1, "app-1", 2*sec, 10*sec, timeline.HeldLeft, 2*ms),
		held(2, 2, "app-1", 10002*ms, 20*sec, timeline.HeldLeft, 0),
	}}}
	for _, h := range tl.Lanes[0].Held {
		by := map[timeline.HeldEnd]timeline.HeldBy{
			timeline.HeldLeft: timeline.HeldByClient, timeline.HeldAnnounced: timeline.HeldByApp, timeline.HeldCut: timeline.HeldByAppsExit,
		}[h.End]
		tl.Held = append(tl.Held, timeline.HeldByPod{
			Pod: h.Pod, Lane: spec.Name, Client: h.Client, Number: h.Number, Opened: h.Opened, Ended: h.Ended, By: by, Received: 5, Echoed: 4, Last: 40,
		})
	}
	return tl
}

func judgedHeld(tl timeline.Timeline) Held {
	pods := podLifecycles(tl)
	return *judgeHeld(tl, 0, findings{pods: pods, dropped: attribute(tl, pods)})
}

func TestHeld(t *testing.T) {
	got := judgedHeld(holding())
	got.Counts = HeldCounts{}
	assert.Equal(t, Held{
		Connections: 6, Left: 4, Announced: 1, Cut: 1, Why: map[string]int{},
		Back: []time.Duration{100 * ms, sec},
		Ends: []HeldEnds{
			{Pod: "app-0", Phase: Terminating, Announced: 1, BackMax: sec},
			{Pod: "app-0", Phase: CutAtExit, Cut: 1, BackMax: 100 * ms},
		},
	}, got)
	assert.Empty(t, heldAgree(holding()))
	assert.Equal(t, 2, judgedHeld(holding()).Lost())
	assert.Nil(t, judgeHeld(leaving(), 0, findings{}), "a lane that holds nothing")
}

func heldAgree(tl timeline.Timeline) []string {
	return heldLedgersAgree(tl, findings{pods: podLifecycles(tl)})
}

// TestHeldPhases: connections are charged to the phases of a Pod's life as requests are.
func TestHeldPhases(t *testing.T) {
	tests := []struct {
		name  string
		ended time.Duration
		end   timeline.HeldEnd
		by    timeline.HeldBy
		want  LifecyclePhase
	}{
		{"cut for no reason", 3 * sec, timeline.HeldCut, timeline.HeldByAppCut, BeforeDeletion},
		{"cut in its preStop hook", 4500 * ms, timeline.HeldCut, timeline.HeldByAppCut, PreStop},
		{"silent since its last message, which its end cut", 9500 * ms, timeline.HeldSilent, timeline.HeldByNobody, CutAtExit},
		{"announced on SIGTERM", 5001 * ms, timeline.HeldAnnounced, timeline.HeldByApp, Terminating},
		{"announced in Shutdown", 6500 * ms, timeline.HeldAnnounced, timeline.HeldByApp, ListenerClosed},
		{"cut in Shutdown", 6500 * ms, timeline.HeldCut, timeline.HeldByAppCut, ListenerClosed},
		{"cut by the end of the process", 7 * sec, timeline.HeldCut, timeline.HeldByAppsExit, CutAtExit},
		{"cut between", 6500 * ms, timeline.HeldCut, timeline.HeldByNobody, Unattributed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := holding()
			h := &tl.Lanes[0].Held[0]
			h.Ended, h.End = tt.ended, tt.end
			tl.Held[0].By = tt.by
			got := judgedHeld(tl)
			var phases []LifecyclePhase
			for _, e := range got.Ends {
				phases = append(phases, e.Phase)
			}
			assert.Contains(t, phases, tt.want)
			if tt.want == Unattributed {
				assert.Equal(t, map[string]int{whyBetween: 1}, got.Why)
			}
		})
	}
}

// TestHeldTruth: of n connections, exactly the k that were cut, announced or given up count as such, and each gap of their clients is as long as it was.
func TestHeldTruth(t *testing.T) {
	const n, trials = 40, 59 // with none wrong, less than one in twenty is, with 95 %
	for seed := range uint64(trials) {
		chance := rand.New(rand.NewPCG(seed, 0))
		tl := holding()
		l := &tl.Lanes[0]
		l.Held, tl.Held = nil, nil
		var want Held
		want.Connections = 2 * n
		for client := range n {
			end, by := timeline.HeldLeft, timeline.HeldByClient
			gap := time.Duration(chance.IntN(1000)+1) * ms
			switch chance.IntN(4) {
			case 0:
				end, by = timeline.HeldCut, timeline.HeldByAppCut
				want.Cut++
			case 1:
				end, by = timeline.HeldAnnounced, timeline.HeldByApp
				want.Announced++
			case 2:
				end, by = timeline.HeldSilent, timeline.HeldByNobody
				want.Cut++
				want.Silent++
			default:
				want.Left++
			}
			if end != timeline.HeldLeft {
				want.Back = append(want.Back, gap)
			}
			want.Left++
			ended := 5*sec + time.Duration(chance.IntN(1000))*ms
			l.Held = append(l.Held,
				timeline.Held{Client: client, Number: 1, Pod: "app-0", Opened: 2 * sec, Ended: ended, End: end, Back: gap, Sent: 1, Last: -1},
				timeline.Held{Client: client, Number: 2, Pod: "app-1", Opened: ended + gap, Ended: 20 * sec, End: timeline.HeldLeft, Sent: 1, Last: -1})
			tl.Held = append(tl.Held,
				timeline.HeldByPod{Pod: "app-0", Lane: l.Name, Client: client, Number: 1, Opened: 2 * sec, Ended: ended, By: by, Last: -1},
				timeline.HeldByPod{Pod: "app-1", Lane: l.Name, Client: client, Number: 2, Opened: ended + gap, Ended: 20 * sec, By: timeline.HeldByClient, Last: -1})
		}
		slices.Sort(want.Back)
		got := judgedHeld(tl)
		assert.Empty(t, heldAgree(tl), "seed %d", seed)
		inPhases := 0
		for _, e := range got.Ends {
			inPhases += e.Announced + e.Cut
		}
		assert.Equal(t, want.Lost(), inPhases, "seed %d", seed)
		got.Counts, got.Ends, got.Why = HeldCounts{}, nil, nil
		assert.Equal(t, want, got, "seed %d", seed)
	}
}

// TestHeldEnd: both sides' words on who ended a connection, and what comes of it where they differ.
func TestHeldEnd(t *testing.T) {
	tests := []struct {
		name    string
		client  timeline.HeldEnd
		pod     timeline.HeldBy // "" for one that was killed
		wantWhy string
		want    timeline.HeldEnd
	}{
		{"left", timeline.HeldLeft, timeline.HeldByClient, "", timeline.HeldLeft},
		{"left, and the Pod was killed later", timeline.HeldLeft, "", "", timeline.HeldLeft},
		{"both at once", timeline.HeldLeft, timeline.HeldByBoth, whyBothEnded, timeline.HeldUnknown},
		{"left, and announced", timeline.HeldLeft, timeline.HeldByApp, whyBothEnded, timeline.HeldUnknown},
		{"left, and cut", timeline.HeldLeft, timeline.HeldByAppsExit, whyBothEnded, timeline.HeldUnknown},
		{"was leaving, and the Pod knows", timeline.HeldUnknown, timeline.HeldByClient, "", timeline.HeldLeft},
		{"was leaving, and the Pod was ending it", timeline.HeldUnknown, timeline.HeldByApp, whyUnconfirmed, timeline.HeldUnknown},
		{"was leaving, and the Pod was killed", timeline.HeldUnknown, "", whyUnconfirmed, timeline.HeldUnknown},
		{"announced", timeline.HeldAnnounced, timeline.HeldByApp, "", timeline.HeldAnnounced},
		{"announced by a Pod that was killed", timeline.HeldAnnounced, "", "", timeline.HeldAnnounced},
		{"cut, which the client takes for announced", timeline.HeldAnnounced, timeline.HeldByAppCut, whySaidCut, timeline.HeldUnknown},
		{"announced, which the client takes for cut", timeline.HeldCut, timeline.HeldByApp, whyCutSaid, timeline.HeldUnknown},
		{"cut", timeline.HeldCut, timeline.HeldByAppsExit, "", timeline.HeldCut},
		{"cut by SIGKILL", timeline.HeldCut, "", "", timeline.HeldCut},
		{"silent", timeline.HeldSilent, timeline.HeldByNobody, "", timeline.HeldSilent},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			end, why := heldEnd(timeline.Held{End: tt.client}, timeline.HeldByPod{By: tt.pod}, tt.pod != "")
			assert.Equal(t, tt.want, end)
			assert.Equal(t, tt.wantWhy, why)
		})
	}
}

// TestHeldUnattributed: what can't be told apart is in no other count, and neither is it clean.
func TestHeldUnattributed(t *testing.T) {
	tl := holding()
	tl.Lanes[0].Held[4].End = timeline.HeldUnknown
	tl.Held[4].By = timeline.HeldByBoth
	got := judgedHeld(tl)
	assert.Equal(t, []int{6, 3, 1, 1, 1}, []int{got.Connections, got.Left, got.Announced, got.Cut, got.Unattributed})
	assert.Equal(t, map[string]int{whyUnconfirmed: 1}, got.Why)
}

// TestHeldAway: a client that had no connection when the load ended is not one that came back at once.
func TestHeldAway(t *testing.T) {
	tl := holding()
	l := &tl.Lanes[0]
	l.Held[0].Back = 0
	l.Held = slices.Delete(l.Held, 1, 2)
	tl.Held = slices.Delete(tl.Held, 1, 2)
	got := judgedHeld(tl)
	assert.Equal(t, 1, got.Away)
	assert.Equal(t, 12999*ms, got.AwayMax)
	assert.Equal(t, []time.Duration{sec}, got.Back)
	assert.Empty(t, heldAgree(tl))
}

// TestHeldLedgersAgree: a ledger with a planted bug is not believed.
func TestHeldLedgersAgree(t *testing.T) {
	tests := []struct {
		name  string
		plant func(*timeline.Timeline)
		want  string
	}{
		{"a reconnect that hides the gap", func(tl *timeline.Timeline) { tl.Lanes[0].Held[0].Back = 0 }, "1 of 6 held connections don't follow the one before"},
		{"a connection that the client has not noted", func(tl *timeline.Timeline) {
			l := &tl.Lanes[0]
			l.Held = slices.Delete(l.Held, 3, 4)
		}, "Pods tell of 1 held connections that no client knows"},
		{"one that its Pod doesn't know", func(tl *timeline.Timeline) { tl.Held = tl.Held[1:] }, "1 of 6 held connections are not known to their Pod"},
		{"with another Pod", func(tl *timeline.Timeline) { tl.Held[0].Pod = "app-1" }, "with one Pod by their clients' word"},
		{"more answers than were given", func(tl *timeline.Timeline) { tl.Held[0].Echoed = 3 }, "had more answers than their Pod says"},
		{"an answer beyond the last", func(tl *timeline.Timeline) { tl.Held[0].Last = 30 }, "had more answers than their Pod says"},
		{"more messages than were sent", func(tl *timeline.Timeline) { tl.Held[0].Received = 6 }, "had more messages by their Pod's word"},
		{"announced, counted as cut", func(tl *timeline.Timeline) { tl.Lanes[0].Held[2].End = timeline.HeldCut }, "of 1 of 6 held connections, client and Pod say that different things ended them"},
		{"cut, counted as announced", func(tl *timeline.Timeline) { tl.Lanes[0].Held[0].End = timeline.HeldAnnounced }, "client and Pod say that different things ended them"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := holding()
			tt.plant(&tl)
			why := heldAgree(tl)
			require.NotEmpty(t, why)
			assert.Contains(t, why[0], tt.want)
		})
	}
	t.Run("a Pod that was killed tells nothing", func(t *testing.T) {
		tl := holding()
		noHandler(&tl)
		tl.Held = tl.Held[1:]
		assert.Empty(t, heldAgree(tl))
	})
	t.Run("a handshake that the client gave up", func(t *testing.T) {
		tl := holding()
		tl.Held = append(tl.Held, timeline.HeldByPod{Pod: "app-1", Lane: "held/websocket", Client: 2, Number: 3, By: timeline.HeldByNobody, Echoed: 1})
		assert.Equal(t, []string{"held/websocket: Pods tell of 1 held connections that no client knows"}, heldAgree(tl))
		tl.Lanes[0].Held[5].Tried = 1
		assert.Empty(t, heldAgree(tl))
		tl.Lanes[0].Held[0].Tried = 1
		assert.NotEmpty(t, heldAgree(tl), "the next one says that there was none in between")
	})
}

// TestHeldSlack: answers that belong to no message don't make the ledgers of messages disagree.
func TestHeldSlack(t *testing.T) {
	ok := func(n int) []timeline.Request { return slices.Repeat([]timeline.Request{{Cause: timeline.OK}}, n) }
	l := timeline.LaneRecord{Requests: ok(8), Held: []timeline.Held{{End: timeline.HeldLeft, Answered: 5}, {End: timeline.HeldLeft, Answered: 4}}}
	assert.Equal(t, 1, heldSlack(timeline.Timeline{}, l), "one came before it was due, and the load was over then")
	l.Held[0].End = timeline.HeldCut
	assert.Equal(t, 2, heldSlack(timeline.Timeline{}, l), "and one may have been on its way")
	known := timeline.Timeline{Held: []timeline.HeldByPod{{Number: 7, Echoed: 3}, {Lane: "another", Echoed: 3}}}
	assert.Equal(t, 5, heldSlack(known, l), "and three went over a connection that the client had given up")
	l.Requests = ok(20)
	assert.Zero(t, heldSlack(timeline.Timeline{}, l))
}

// TestHeldMessages: a message that was under way when its connection was cut is charged to the Pod that named itself in the handshake, and its class is
// that of held connections, but for what the end of the process cut.
func TestHeldMessages(t *testing.T) {
	tests := []struct {
		name       string
		sent, done time.Duration
		cause      timeline.Cause
		wantClass  timeline.Class
		want       LifecyclePhase
	}{
		{"announced", 5100 * ms, 5200 * ms, timeline.GoAway, timeline.ClassHeld, Terminating},
		{"cut at exit, long after the listener was closed", 6900 * ms, 7001 * ms, timeline.EOF, timeline.ClassInFlight, CutAtExit},
		{"cut in its life", 3 * sec, 3001 * ms, timeline.Reset, timeline.ClassHeld, BeforeDeletion},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := holding()
			r := give(&tl, 0, tt.sent, tt.done, tt.cause)
			r.Pod, r.ConnUse = 1, 3
			d := one(t, tl)
			assert.Equal(t, "app-0", d.Pod)
			assert.Equal(t, ByConnection, d.Evidence)
			assert.Equal(t, tt.wantClass, d.Class)
			assert.Equal(t, tt.want, d.Phase)
		})
	}
}
