// Package traffic sends the load of a lane with vegeta and accounts for every request of it.
//
// vegeta keeps the pace. What a request does on the wire and how it ends is seen below it, in a RoundTripper of our own, because vegeta's results hide
// what matters here: when a request was due, how often it was sent, and why it failed.
package traffic

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Lane is a load, where it goes and when it begins.
type Lane struct {
	Name  string         // path/load
	URL   string         // of the app, without a path, as in http://127.0.0.1:30080
	Start time.Duration  // when its first request is due; the others follow, one every 1/rate seconds
	Load  scenarios.Load // whose rate is that of all senders together
}

// Interval is the time between two requests of the lane.
func (l Lane) Interval() time.Duration { return time.Second / time.Duration(l.Load.Rate) }

// Due is the offset at which a request is due.
func (l Lane) Due(seq int) time.Duration { return l.Start + time.Duration(seq)*l.Interval() }

// Planned is how many requests are due up to an end, by arithmetic.
func (l Lane) Planned(end time.Duration) int {
	if end < l.Start {
		return 0
	}
	return int((end-l.Start)/l.Interval()) + 1
}

// record is the lane's record but for its requests.
func (l Lane) record() timeline.LaneRecord {
	return timeline.LaneRecord{
		Name: l.Name, URL: l.URL, Method: l.Load.Method, Connections: string(l.Load.Connections), Replayable: l.Load.Replayable,
		Rate: l.Load.Rate, Work: l.Load.Work, Timeout: l.Load.Timeout,
	}
}

// Plan says what is common to all lanes of a run.
type Plan struct {
	Clock timeline.Clock
	End   *End
	// Max bounds the load should nobody ever set End. Reaching it is an error of the run.
	Max time.Duration
	// Share is what this sender sends of each lane.
	Share Share
}

// Share is one sender's part of a lane's requests where several share its rate: every Of-th one, from Index on. The zero value is all of them.
//
//	Share{1, 4} of 10 requests is 1, 5 and 9
type Share struct{ Index, Of int }

// of is how many senders there are.
func (s Share) of() int { return max(1, s.Of) }

// seq is the number, in the whole lane, of the sender's n-th request.
func (s Share) seq(n int) int { return n*s.of() + s.Index }

// count is how many of a lane's planned requests are the sender's.
func (s Share) count(planned int) int { return max(0, (planned-s.Index+s.of()-1)/s.of()) }

var (
	// ErrBound is the guarantee that a load stops by itself.
	ErrBound = errors.New("load reached its bound in time before the run was over")
	// errUncounted is the guarantee that no result of vegeta goes without a record, and no record without a result.
	errUncounted = errors.New("vegeta's results and the records differ in number")
	// errLate is the guarantee that a sender that couldn't stop on the agreed instant says so.
	errLate = errors.New("sent more requests than were due by the end of the load: its end came too late")
)

// Send sends the load of one lane and returns its record when the last request is answered or timed out. Nothing but the plan ends it, and a request in
// flight is always waited for, so that none is lost by our own hand.
//
// The record is complete and worth keeping also when the error is not nil.
func Send(lane Lane, plan Plan) (timeline.LaneRecord, error) {
	if err := lane.Load.Validate(); err != nil {
		return lane.record(), err // without a rate nothing can be planned
	}
	ledger := NewLedger()
	err := SendShare(lane, plan, ledger)
	end, _ := plan.End.At()
	return ledger.Record(lane, end), err
}

// SendShare sends the plan's share of a lane, as Send does, and writes each request into the ledger as soon as it has ended.
func SendShare(lane Lane, plan Plan, ledger *Ledger) error {
	if err := lane.Load.Validate(); err != nil {
		return err
	}
	return sendShare(lane, plan, ledger)
}

// sendShare is SendShare of a load that is taken as it is: benchmarks go beyond the rate that is valid.
func sendShare(lane Lane, plan Plan, ledger *Ledger) error {
	p := &pacer{lane: lane, plan: plan}
	s := newSender(lane, plan, ledger)
	defer s.close()

	// No option may follow Client: each of vegeta's others changes the transport that it replaces, and panics.
	attacker := vegeta.NewAttacker(vegeta.MaxBody(0), vegeta.Client(&http.Client{
		Transport:     s,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}))
	target := vegeta.Target{Method: lane.Load.Method, URL: lane.URL + "/work"}
	if lane.Load.Work > 0 {
		target.URL += "?for=" + lane.Load.Work.String()
	}
	if lane.Load.Connections == scenarios.ReusedConnections && !lane.Load.Replayable {
		target.Body = []byte("work\n") // together with no GetBody: nothing that http.Transport could send twice
	}
	var results int
	for range attacker.Attack(vegeta.NewStaticTargeter(target), p, 0, lane.Name) {
		results++ // nothing else is done here: a slow reader of this channel slows the load
	}
	end, _ := plan.End.At()
	switch due, recorded := plan.Share.count(lane.Planned(end)), int(s.recorded.Load()); {
	case results != recorded:
		return fmt.Errorf("lane %s: %d results, %d records: %w", lane.Name, results, recorded, errUncounted)
	case results > due:
		return fmt.Errorf("lane %s: %d sent, %d due: %w", lane.Name, results, due, errLate)
	case p.bounded:
		return fmt.Errorf("lane %s: %s: %w", lane.Name, plan.Max, ErrBound)
	}
	return nil
}

// pacer is vegeta's Pacer for a constant open-loop load that ends on the agreed instant. Only vegeta's own goroutine calls Pace.
type pacer struct {
	lane    Lane
	plan    Plan
	bounded bool
}

// Pace implements vegeta.Pacer. It ignores vegeta's elapsed time, which starts anew with each attack, for the clock that the whole run shares.
func (p *pacer) Pace(_ time.Duration, hits uint64) (time.Duration, bool) {
	due := p.lane.Due(p.plan.Share.seq(int(hits)))
	if due > p.plan.Max {
		p.plan.End.Set(p.plan.Max)
		p.bounded = true
	}
	if end, ok := p.plan.End.At(); ok && due > end {
		return 0, true
	}
	return max(0, due-p.plan.Clock.Offset(time.Now())), false
}

// Rate implements vegeta.Pacer.
func (p *pacer) Rate(time.Duration) float64 {
	return float64(time.Second) / float64(p.lane.Interval()) / float64(p.plan.Share.of())
}

// String is for vegeta's own use.
func (p *pacer) String() string { return fmt.Sprintf("one request every %s", p.lane.Interval()) }

// Body is what the app answers when all is well. It must be equal to the constant of that name in sampleapp, which as a program can't be imported.
const Body = "ok from zerodrop sampleapp\n"

// Headers by which the app says who answers.
const (
	headerPod     = "Zerodrop-Pod"          // name of the Pod
	headerLeaving = "Zerodrop-Leaving-Ms"   // milliseconds since its SIGTERM; -1 before
	headerConn    = "Zerodrop-Conn"         // number of the connection in that process
	headerConnUse = "Zerodrop-Conn-Request" // number of the request on that connection
)

// Headers by which a request says which it is, so that the app can keep its own ledger.
const (
	headerLane = "Zerodrop-Lane" // path/load
	headerSeq  = "Zerodrop-Seq"  // number of the request in its lane, from 0
)

// millis turns the app's milliseconds into a duration, NotLeaving if there are none.
func millis(f float64) time.Duration {
	if f < 0 || math.IsNaN(f) {
		return timeline.NotLeaving
	}
	return time.Duration(f * float64(time.Millisecond)).Round(time.Microsecond)
}
