package traffic

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// sendShard is SendShard of a lane that is taken as it is: benchmarks go beyond the rate that is
// valid.
func sendShard(lane Lane, plan Plan, ledger *Ledger) (err error) {
	newDriver, err := driverOf(lane)
	if err != nil {
		return err
	}
	target, err := targetOf(lane)
	if err != nil {
		return err
	}
	find, lookups := plan.Lookup, atomic.Int64{}
	if find == nil {
		find = systemLookup
	}
	counted := func(ctx context.Context, host string) ([]netip.Addr, error) {
		lookups.Add(1)
		return find(ctx, host)
	}
	driver := newDriver(driverConfig{
		lane: lane, shard: plan.Shard, target: target, clock: plan.Clock, ledger: ledger, lookup: counted,
		api: plan.API,
	})
	p := &pacer{lane: lane, plan: plan}
	s := &recorder{lane: lane, plan: plan, driver: driver, ledger: ledger}
	// No option may follow Client: each of vegeta's others changes the transport that it replaces,
	// and panics.
	attacker := vegeta.NewAttacker(vegeta.MaxBody(0), vegeta.Client(&http.Client{Transport: s}))
	hits := vegeta.NewStaticTargeter(vegeta.Target{Method: http.MethodGet, URL: "http://the-driver-knows"})
	var results int
	for range attacker.Attack(hits, p, 0, lane.Name) {
		results++ // nothing else is done here: a slow reader of this channel slows the load
	}
	ledger.AddLookups(int(lookups.Load()))
	if err := driver.Close(); err != nil {
		return fmt.Errorf("lane %s: close its connections: %w", lane.Name, err)
	}
	end, _ := plan.End.At()
	switch due, recorded := plan.Shard.size(lane.Planned(end)), int(s.recorded.Load()); {
	case results != recorded:
		return fmt.Errorf("lane %s: %d results, %d records: %w", lane.Name, results, recorded, errUncounted)
	case results > due:
		return fmt.Errorf("lane %s: %d sent, %d due: %w", lane.Name, results, due, errLate)
	case p.bounded:
		return fmt.Errorf("lane %s: %s: %w", lane.Name, plan.Max, ErrBound)
	}
	return nil
}

// recorder is the RoundTripper under vegeta: it has the driver make the request, and writes the
// record.
type recorder struct {
	lane   Lane
	plan   Plan
	driver Driver
	ledger *Ledger
	// recorded is how many requests the ledger has taken from this sender.
	recorded atomic.Int64
}

// vegetaSeq is vegeta's header for the number of a hit. It is the sender's own, which says little
// where several share a lane: it is replaced by the lane's.
const vegetaSeq = "X-Vegeta-Seq"

// RoundTrip implements http.RoundTripper. It is called once per planned request: the answer that
// vegeta gets is always the same, and no redirect.
func (s *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	start := s.plan.Clock.Offset(time.Now())
	hit, err := strconv.Atoi(req.Header.Get(vegetaSeq))
	if err != nil {
		return nil, err
	}
	seq := s.plan.Shard.seq(hit)
	o := s.driver.Do(req.Context(), seq)
	end := s.plan.Clock.Offset(time.Now())
	due := s.lane.Due(seq)
	// Times are kept in microseconds, as they are stored: a stored run gives the verdict of the
	// live one to the last digit.
	r := timeline.Request{
		Planned: due.Round(time.Microsecond),
		Lag:     max(0, start-due).Round(time.Microsecond),
		Latency: max(0, end-due).Round(time.Microsecond),
		Cause:   o.Cause, Code: o.Code, Leaving: o.Leaving, Conn: o.Conn, ConnUse: o.ConnUse,
		Port: o.Port, Attempts: o.Attempts,
	}
	if s.ledger.Put(seq, r, o.Pod, o.Address) {
		s.recorded.Add(1)
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: req}, nil
}

// pacer is vegeta's Pacer for a constant open-loop load that ends on the agreed instant. Only
// vegeta's own goroutine calls Pace.
type pacer struct {
	lane    Lane
	plan    Plan
	bounded bool
}

// Pace implements vegeta.Pacer. It ignores vegeta's elapsed time, which starts anew with each
// attack, for the clock that the whole run shares.
func (p *pacer) Pace(_ time.Duration, hits uint64) (time.Duration, bool) {
	due := p.lane.Due(p.plan.Shard.seq(int(hits)))
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
	return float64(time.Second) / float64(p.lane.Interval()) / float64(p.plan.Shard.count())
}

// String is for vegeta's own use.
func (p *pacer) String() string { return fmt.Sprintf("one request every %s", p.lane.Interval()) }
