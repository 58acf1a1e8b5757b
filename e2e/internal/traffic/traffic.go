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
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Lane is a load and where it goes.
type Lane struct {
	Name string // path/load
	URL  string // of the app, without a path, as in http://127.0.0.1:30080
	Load scenarios.Load
}

// Plan says when requests are due: the first at Start, then one every 1/rate seconds until End.
type Plan struct {
	Clock timeline.Clock
	Start time.Duration
	End   *End
	// Max bounds the load should nobody ever set End. Reaching it is an error of the run.
	Max time.Duration
}

// End is the instant, agreed among all lanes, after which no request is due. The zero value is an open end.
type End struct{ offset atomic.Int64 }

// Set closes the end. Only the first call counts. The end has to lie in the future by one interval of the slowest lane, at least: a pacer that sleeps
// until its next request must hear of it in time.
func (e *End) Set(offset time.Duration) { e.offset.CompareAndSwap(0, int64(offset)) }

// At is the end, and whether there is one yet.
func (e *End) At() (time.Duration, bool) {
	at := time.Duration(e.offset.Load())
	return at, at != 0
}

var (
	// ErrBound is the guarantee that a load stops by itself.
	ErrBound = errors.New("load reached its bound in time before the run was over")
	// errUncounted is the guarantee that no result of vegeta goes without a record, and no record without a result.
	errUncounted = errors.New("vegeta's results and the records differ in number")
)

// Send sends the load of one lane and returns when the last request is answered or timed out. Nothing but the plan ends it, and a request in flight is
// always waited for, so that none is lost by our own hand.
//
// The record is complete and worth keeping also when the error is not nil.
func Send(lane Lane, plan Plan) (timeline.LaneRecord, error) {
	record := timeline.LaneRecord{
		Name: lane.Name, URL: lane.URL, Method: lane.Load.Method, Connections: string(lane.Load.Connections),
		Rate: lane.Load.Rate, Work: lane.Load.Work, Timeout: lane.Load.Timeout,
	}
	if err := lane.Load.Validate(); err != nil {
		return record, err
	}
	p := &pacer{plan: plan, interval: time.Second / time.Duration(lane.Load.Rate)}
	s := newSender(lane, p)
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
	if lane.Load.Connections == scenarios.ReusedConnections {
		target.Body = []byte("work\n") // together with no GetBody: nothing that http.Transport could send twice
	}
	var results int
	for range attacker.Attack(vegeta.NewStaticTargeter(target), p, 0, lane.Name) {
		results++ // nothing else is done here: a slow reader of this channel slows the load
	}
	record.Planned = p.planned()
	var recorded int
	record.Requests, record.Pods, recorded = s.ledger.records(record.Planned, p.due)
	switch {
	case results != recorded:
		return record, fmt.Errorf("lane %s: %d results, %d records: %w", lane.Name, results, recorded, errUncounted)
	case p.bounded:
		return record, fmt.Errorf("lane %s: %s: %w", lane.Name, plan.Max, ErrBound)
	}
	return record, nil
}

// pacer is vegeta's Pacer for a constant open-loop load that ends on the agreed instant. Only vegeta's own goroutine calls Pace.
type pacer struct {
	plan     Plan
	interval time.Duration
	bounded  bool
}

// due is the offset at which a request is due.
func (p *pacer) due(seq int) time.Duration { return p.plan.Start + time.Duration(seq)*p.interval }

// Pace implements vegeta.Pacer. It ignores vegeta's elapsed time, which starts anew with each attack, for the clock that the whole run shares.
func (p *pacer) Pace(_ time.Duration, hits uint64) (time.Duration, bool) {
	due := p.due(int(hits))
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
func (p *pacer) Rate(time.Duration) float64 { return float64(time.Second) / float64(p.interval) }

// String is for vegeta's own use.
func (p *pacer) String() string { return fmt.Sprintf("one request every %s", p.interval) }

// planned is how many requests were due up to the end, by arithmetic.
func (p *pacer) planned() int {
	end, ok := p.plan.End.At()
	if !ok || end < p.plan.Start {
		return 0
	}
	return int((end-p.plan.Start)/p.interval) + 1
}

// Body is what the app answers when all is well. It must be equal to the constant of that name in sampleapp, which as a program can't be imported.
const Body = "ok from zerodrop sampleapp\n"

// Headers by which the app says who answers.
const (
	headerPod     = "Zerodrop-Pod"          // name of the Pod
	headerLeaving = "Zerodrop-Leaving-Ms"   // milliseconds since its SIGTERM; -1 before
	headerConn    = "Zerodrop-Conn"         // number of the connection in that process
	headerConnUse = "Zerodrop-Conn-Request" // number of the request on that connection
)

// millis turns the app's milliseconds into a duration, NotLeaving if there are none.
func millis(f float64) time.Duration {
	if f < 0 || math.IsNaN(f) {
		return timeline.NotLeaving
	}
	return time.Duration(f * float64(time.Millisecond)).Round(time.Microsecond)
}
