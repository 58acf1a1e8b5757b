package verdict

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Held is what became of the connections that a lane's clients held:
// Connections = Left + Announced + Cut + Unattributed.
type Held struct {
	Connections int
	Left        int // by their clients, whose time was over
	Announced   int // their ends, by the server's word
	Cut         int // without a word, or silent until the client lost its patience
	Silent      int // of Cut
	// Unattributed are those that the client, or the Pod, may have ended: what each of them says.
	Unattributed int
	Why          map[string]int // of these, and of those that are charged to no phase
	// Back is how long it took each time, from when a connection was announced, cut or unattributed, until
	// its client had the next one; sorted.
	Back []time.Duration
	// Away are the clients that had none again when the load ended, and AwayMax is for how long the one
	// had been without that had been so for longest.
	Away    int
	AwayMax time.Duration
	Ends    []HeldEnds // of those that were announced or cut
	Counts  HeldCounts
}

// HeldEnds are the connections with one Pod that were announced or cut in one phase of its life.
type HeldEnds struct {
	Pod            string // "" if the server didn't say who it is
	Phase          LifecyclePhase
	Announced, Cut int
	BackMax        time.Duration
}

// Lost are the connections that their clients didn't end, as far as that is known.
func (h Held) Lost() int { return h.Announced + h.Cut }

// heldKey names a connection on both sides.
type heldKey struct {
	lane           string
	client, number int
}

// heldByPods are the connections that Pods tell of.
func heldByPods(tl timeline.Timeline) map[heldKey]timeline.HeldByPod {
	out := map[heldKey]timeline.HeldByPod{}
	for _, h := range tl.Held {
		out[heldKey{h.Lane, h.Client, h.Number}] = h
	}
	return out
}

// Reasons why it can't be said who ended a connection.
const (
	whyUnconfirmed = "the client was leaving, and the server didn't confirm it"
	whyBothEnded   = "the client says that it has left, and the Pod that it ended the connection"
	whySaidCut     = "the client heard the server's word, and the Pod says that it gave none"
	whyCutSaid     = "the client heard nothing, and the Pod says that it gave its word"
	whyBetween     = "the Pod says that it didn't end the connection: somebody between has"
)

// heldEnd is who ended a connection, by both sides' words; HeldUnknown with the reason where these can't
// be reconciled. A Pod that was killed says nothing, and then the client's word stands.
func heldEnd(h timeline.Held, pod timeline.HeldByPod, told bool) (end timeline.HeldEnd, why string) {
	gaveWord := pod.By == timeline.HeldByApp || pod.By == timeline.HeldByBoth
	switch {
	case h.End == timeline.HeldUnknown && told && pod.By == timeline.HeldByClient:
		return timeline.HeldLeft, "" // it has heard the client's word first
	case h.End == timeline.HeldUnknown:
		return timeline.HeldUnknown, whyUnconfirmed
	case !told:
		return h.End, ""
	case h.End == timeline.HeldLeft && pod.By.Pods():
		return timeline.HeldUnknown, whyBothEnded
	case h.End == timeline.HeldAnnounced && !gaveWord:
		return timeline.HeldUnknown, whySaidCut
	case h.End == timeline.HeldCut && gaveWord:
		return timeline.HeldUnknown, whyCutSaid
	}
	return h.End, ""
}

// judgeHeld puts a lane's connections together; nil for a lane that holds none.
func judgeHeld(tl timeline.Timeline, lane int, found findings) *Held {
	record := tl.Lanes[lane]
	spec, _ := tl.Spec.Lane(record.Name)
	if !spec.Holds() {
		return nil
	}
	a := newAttribution(tl, found.pods)
	a.findRefusals(found.dropped)
	from, pods := senders(tl, record.Name), heldByPods(tl)
	out := &Held{Connections: len(record.Held), Why: map[string]int{}, Counts: countHeld(tl, record, found.pods)}
	ends := map[HeldEnds]HeldEnds{}
	for _, h := range record.Held {
		pod, told := pods[heldKey{record.Name, h.Client, h.Number}]
		end, why := heldEnd(h, pod, told)
		if why != "" {
			out.Why[why]++
		}
		if end == timeline.HeldLeft {
			out.Left++
			continue
		}
		if h.Back > 0 {
			out.Back = append(out.Back, h.Back)
		} else {
			out.Away++
			out.AwayMax = max(out.AwayMax, tl.Window.LoadEnd-h.Ended)
		}
		at := HeldEnds{Pod: h.Pod}
		if end == timeline.HeldUnknown {
			out.Unattributed++
			continue
		}
		sum := HeldEnds{Announced: 1}
		if end != timeline.HeldAnnounced {
			sum = HeldEnds{Cut: 1}
		}
		if end == timeline.HeldSilent {
			out.Silent++
		}
		out.Announced, out.Cut = out.Announced+sum.Announced, out.Cut+sum.Cut
		d := DroppedRequest{Sent: h.Opened, Done: h.Ended, Cause: timeline.Reset, ConnUse: 1}
		if end == timeline.HeldAnnounced {
			d.Cause = timeline.GoAway
		}
		if end == timeline.HeldSilent {
			d.Sent, d.Cause = h.Ended-spec.Timeout, timeline.Timeout
		}
		if between := told && end == timeline.HeldCut && !pod.By.Pods(); between {
			why = whyBetween
		} else {
			at.Phase, why = a.heldPhase(d, h.Pod, uncertainty(senderOf(from, h.Client)))
		}
		if why != "" {
			out.Why[why]++
		}
		all := ends[at]
		all.Announced, all.Cut, all.BackMax = all.Announced+sum.Announced, all.Cut+sum.Cut, max(all.BackMax, h.Back)
		ends[at] = all
	}
	for _, at := range slices.SortedFunc(maps.Keys(ends), func(a, b HeldEnds) int {
		return cmp.Or(cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Phase, b.Phase))
	}) {
		all := ends[at]
		all.Pod, all.Phase = at.Pod, at.Phase
		out.Ends = append(out.Ends, all)
	}
	slices.Sort(out.Back)
	return out
}

// heldPhase is the part of its Pod's life in which a connection was announced or cut, by the rules that
// dropped requests are charged by: as one that was sent when the connection was opened, and that failed
// when it ended. The Pod has named itself in the handshake.
func (a attribution) heldPhase(d DroppedRequest, pod string, slack time.Duration) (LifecyclePhase, string) {
	if pod == "" {
		return Unattributed, whyConnection
	}
	if a.name(&d, pod, ByAnswer); d.lifecycle == nil {
		return Unattributed, d.Why
	}
	return a.phase(d, slack)
}

// mostConflicts is the share of a lane's connections of which the two sides may say that different things
// ended them. A process that is ended while it gives its word may leave a few; more of them is a ledger
// that is wrong.
const mostConflicts = 0.01

// heldLedgersAgree holds the clients' ledger of held connections against the Pods', connection by
// connection:
//
//	a Pod that told of its exit has all that clients say they had with it
//	a Pod tells of no connection that its client doesn't know, but of attempts that failed for the client
//	answered ≤ echoed, received ≤ sent, and the last one that was answered is none beyond the last echo
//	a client's connections follow each other, and in between it was away for as long as it says, and tried
//	to connect as often
func heldLedgersAgree(tl timeline.Timeline, found findings) []string {
	pods := heldByPods(tl)
	var why []string
	for _, l := range tl.Lanes {
		wrong := map[string]int{}
		conflicts := 0
		var before *timeline.Held
		for _, h := range l.Held {
			key := heldKey{l.Name, h.Client, h.Number}
			pod, told := pods[key]
			delete(pods, key)
			if before != nil && before.Client == h.Client &&
				(before.Number+before.Tried+1 != h.Number || before.Ended+before.Back != h.Opened) {
				wrong["don't follow the one before, by when that ended and for how long its client was away"]++
			}
			if before == nil || before.Client != h.Client {
				tried(pods, key, 1, h.Number)
			}
			tried(pods, key, h.Number+1, h.Number+h.Tried+1)
			before = &h
			switch {
			case !told && saidAll(found.pods.named(h.Pod, h.Ended), h):
				wrong["are not known to their Pod, which has told of all that it had"]++
			case !told:
			case pod.Pod != h.Pod:
				wrong["are with one Pod by their clients' word, and with another by its own"]++
			case h.Answered > pod.Echoed, h.Last > pod.Last:
				wrong["had more answers than their Pod says it has given"]++
			case pod.Received > h.Sent:
				wrong["had more messages by their Pod's word than were sent"]++
			}
			if _, conflict := heldEnd(h, pod, told); conflict != "" && conflict != whyUnconfirmed {
				conflicts++
			}
		}
		for _, what := range slices.Sorted(maps.Keys(wrong)) {
			why = append(why, fmt.Sprintf("%s: %d of %d held connections %s", l.Name, wrong[what], len(l.Held), what))
		}
		if n := len(l.Held); float64(conflicts) > mostConflicts*float64(n) {
			why = append(why, fmt.Sprintf(
				"%s: of %d of %d held connections, client and Pod say that different things ended them", l.Name, conflicts, n))
		}
	}
	unknown := map[string]int{}
	for key := range pods {
		unknown[key.lane]++
	}
	for _, lane := range slices.Sorted(maps.Keys(unknown)) {
		why = append(why, fmt.Sprintf("%s: Pods tell of %d held connections that no client knows", lane, unknown[lane]))
	}
	return why
}

// tried takes a client's attempts that failed out of what Pods tell: from a number up to another. The
// Pod may have answered, too late for the client.
func tried(pods map[heldKey]timeline.HeldByPod, of heldKey, from, to int) {
	for of.number = from; of.number < to; of.number++ {
		delete(pods, of)
	}
}

// saidAll says that the Pod has told of every connection that it had when this one ended: its process
// ended by itself, and its log was read to that point. The log of one that lives on may not have been.
func saidAll(life *PodLifecycle, h timeline.Held) bool {
	if life == nil {
		return false
	}
	run := life.during(h.Ended)
	return run.has(timeline.AppExit) && run.logComplete()
}

// heldSlack is how many answers on a lane's connections belong to no request: events that came before
// they were due and were never due, as the load had ended; those that were on their way when a
// connection ended by another than its client; and those on connections that Pods alone know.
func heldSlack(tl timeline.Timeline, l timeline.LaneRecord) int {
	slack, pods := 0, heldByPods(tl)
	for _, h := range l.Held {
		delete(pods, heldKey{l.Name, h.Client, h.Number})
		slack += h.Answered
		if h.End != timeline.HeldLeft {
			slack++
		}
	}
	for _, r := range l.Requests {
		if r.Cause == timeline.OK || r.Cause == timeline.WrongBody || r.Cause == timeline.WrongApp {
			slack--
		}
	}
	slack = max(0, slack)
	for key, pod := range pods {
		if key.lane == l.Name {
			slack += pod.Echoed
		}
	}
	return slack
}
