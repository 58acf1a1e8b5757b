// Package traffic sends the load of a lane with vegeta and accounts for every request of it.
//
// vegeta keeps the pace. What a request does on the wire and how it ends is seen below it, in a
// RoundTripper of our own, because vegeta's results hide what matters here: when a request was due,
// how often it was sent, and why it failed.
package traffic

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Lane is a load, where it goes and when it begins.
type Lane struct {
	Name  string         // path/load
	URL   string         // of the app, without a path, as in http://172.18.0.3:31234
	Start time.Duration  // when its first request is due; the others follow, one every 1/rate seconds
	Load  scenarios.Load // whose rate is that of all senders together
	// Target is the app, where it isn't the sample app: then the driver is http.
	Target *scenarios.Target `json:",omitempty"`
	// Resolve says how the client resolves the host of the URL; nil if the URL's address is dialled
	// as it is.
	Resolve *Resolve
}

// Validate refuses a lane that can't be sent, or whose load can't see what it measures.
func (l Lane) Validate() error {
	if err := l.Load.Validate(); err != nil {
		return err
	}
	if l.Resolve != nil && l.Resolve.Keep < 0 {
		return fmt.Errorf("lane %s: keeps addresses for %s: want 0 or more", l.Name, l.Resolve.Keep)
	}
	if l.Target != nil {
		if l.Load.Driver != scenarios.HTTP {
			return fmt.Errorf("lane %s: has driver %q, which only the sample app answers", l.Name, l.Load.Driver)
		}
		if err := l.Target.Validate(); err != nil {
			return fmt.Errorf("lane %s: %w", l.Name, err)
		}
	}
	_, err := driverOf(l)
	return err
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
	return timeline.LaneRecord{Name: l.Name, URL: l.URL, Rate: l.Load.Rate}
}

// Plan says what is common to all lanes of a run.
type Plan struct {
	Clock timeline.Clock
	End   *End
	// Max bounds the load should nobody ever set End. Reaching it is an error of the run.
	Max time.Duration
	// Shard is what this sender sends of each lane.
	Shard Shard
	// Lookup resolves names where a lane does; nil asks the system's DNS servers. It is for tests.
	Lookup Lookup
	// API is the way to the API server; nil for a sender that has none.
	API *http.Client
	// Tasks are those that Pods take from the queue of a worker in the cluster; nil: they take none.
	Tasks *timeline.TaskSpec
}

// Shard is one sender's part of a lane's requests where several share its rate: every Count-th one,
// from Index on. The zero value is all of them.
//
//	Shard{1, 4} of 10 requests is 1, 5 and 9
type Shard struct{ Index, Count int }

// count is how many senders there are.
func (s Shard) count() int { return max(1, s.Count) }

// seq is the number, in the whole lane, of the sender's n-th request.
func (s Shard) seq(n int) int { return n*s.count() + s.Index }

// size is how many of a lane's planned requests are the sender's.
func (s Shard) size(planned int) int { return max(0, (planned-s.Index+s.count()-1)/s.count()) }

var (
	// ErrBound is the guarantee that a load stops by itself.
	ErrBound = errors.New("load reached its bound in time before the run was over")
	// errUncounted is the guarantee that no result of vegeta goes without a record, and no record
	// without a result.
	errUncounted = errors.New("vegeta's results and the records differ in number")
	// errLate is the guarantee that a sender that couldn't stop on the agreed instant says so.
	errLate = errors.New("sent more requests than were due by the end of the load: its end came too late")
)

// Send sends the load of one lane and returns its record when the last request is answered or timed
// out. Nothing but the plan ends it, and a request in flight is always waited for, so that none is
// lost by our own hand.
//
// The record is complete and worth keeping also when the error is not nil.
func Send(lane Lane, plan Plan) (timeline.LaneRecord, error) {
	if err := lane.Validate(); err != nil {
		return lane.record(), err // without a rate nothing can be planned
	}
	ledger := NewLedger()
	err := SendShard(lane, plan, ledger)
	end, _ := plan.End.At()
	return ledger.Record(lane, end), err
}

// SendShard sends the plan's shard of a lane, as Send does, and writes each request into the ledger
// as soon as it has ended.
func SendShard(lane Lane, plan Plan, ledger *Ledger) error {
	if err := lane.Validate(); err != nil {
		return err
	}
	return sendShard(lane, plan, ledger)
}
