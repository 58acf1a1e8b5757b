package traffic

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sync/errgroup"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Of the requests of a trial, some meet a fault.
const (
	plannedInTrial = 15
	faultsInTrial  = 3
)

// trial is one lane to a server that commits a fault on some of its requests.
type trial struct {
	fault
	load scenarios.Load
	seed uint64 // of the choice of the requests
	// elsewhere is where the chosen requests go if not to the server.
	elsewhere string
}

// sending bounds how many trials send at a time: the load is an open loop, and two cores are soon full. Trials that wait for a timeout don't count.
var sending = make(chan struct{}, 8)

// errVoid says that the machine was short of CPUs where a client's timeout decides: then a request may time out that met no fault.
var errVoid = errors.New("tasks had to wait for a CPU")

// repeatedly runs the trial again while it is void: a timeout of the wrong request is no accident five times.
func (tr trial) repeatedly() (masked int, err error) {
	for range 5 {
		if masked, err = tr.run(); !errors.Is(err, errVoid) {
			break
		}
	}
	return masked, err
}

// run sends the lane and compares the two ledgers request by request. It returns how many were masked.
func (tr trial) run() (masked int, err error) {
	chosen := rand.New(rand.NewPCG(tr.seed, 0))
	faulty := chosen.Perm(plannedInTrial)[:faultsInTrial]
	const of = plannedInTrial / faultsInTrial
	share := Shard{Index: chosen.IntN(of), Count: of}
	if tr.elsewhere != "" {
		faulty = nil
		for n := range faultsInTrial {
			faulty = append(faulty, share.seq(n))
		}
	}
	sending <- struct{}{}
	server, err := newApp(tr.fault, faulty)
	if err != nil {
		<-sending
		return 0, err
	}
	lane := Lane{Name: "test/" + tr.load.Name, URL: "http://" + server.listener.Addr().String(), Start: 10 * time.Millisecond, Load: tr.load}
	if lane.Load.Timeout = plenty; tr.timeout != 0 {
		lane.Load.Timeout = tr.timeout
	}
	pressure := Pressure()
	plan := Plan{Clock: timeline.NewClock(time.Now()), End: &End{}, Max: time.Minute}
	length := lane.Due(plannedInTrial - 1)
	plan.End.Set(length)
	allSent := time.AfterFunc(length, func() { <-sending })
	var record timeline.LaneRecord
	if tr.elsewhere == "" {
		record, err = Send(lane, plan)
	} else {
		record, err = sendApart(lane, plan, share, tr.elsewhere)
	}
	if allSent.Stop() {
		<-sending
	}
	server.close()
	if err != nil {
		return 0, err
	}
	masked, err = tr.audit(lane, plan.Clock, record, server)
	if share := pressure(); err != nil && tr.timeout != 0 && share != nil && *share > 0.5 {
		return masked, fmt.Errorf("%w for %.0f %% of the time: %w", errVoid, 100**share, err)
	}
	return masked, err
}

// sendApart sends one share of a lane elsewhere, and all the others as they are: exactly the share's requests don't reach the server.
func sendApart(lane Lane, plan Plan, apart Shard, elsewhere string) (timeline.LaneRecord, error) {
	ledger := NewLedger()
	var senders errgroup.Group
	for i := range apart.Count {
		lane, plan := lane, plan
		plan.Shard = Shard{Index: i, Count: apart.Count}
		if i == apart.Index {
			lane.URL = elsewhere
		}
		senders.Go(func() error { return SendShard(lane, plan, ledger) })
	}
	err := senders.Wait()
	end, _ := plan.End.At()
	return ledger.Record(lane, end), err
}

// audit wants the client's ledger and the server's to say the same of each request, and exactly the planted faults to be there.
func (tr trial) audit(lane Lane, clock timeline.Clock, record timeline.LaneRecord, server *app) (masked int, err error) {
	errs := server.stray
	if record.Planned != plannedInTrial || len(record.Requests) != plannedInTrial {
		errs = append(errs, fmt.Errorf("%d planned, %d on record: want %d", record.Planned, len(record.Requests), plannedInTrial))
	}
	var dropped int
	for seq, r := range record.Requests {
		seen := server.seen[seq]
		delete(server.seen, seq)
		planted := slices.Contains(server.faulty, seq)
		if r.Masked() {
			masked++
		}
		if r.Dropped() {
			dropped++
		}
		if err := tr.agree(lane, clock, seq, r, seen, planted); err != nil {
			errs = append(errs, fmt.Errorf("request %d: %w\n\tclient: %+v\n\tserver: %+v", seq, err, r, seen))
		}
	}
	for seq, seen := range server.seen {
		errs = append(errs, fmt.Errorf("request %d was never planned: %+v", seq, seen))
	}
	if want := faultsInTrial; tr.want != timeline.OK && dropped+masked != want {
		errs = append(errs, fmt.Errorf("%d dropped, %d masked: want %d together", dropped, masked, want))
	}
	return masked, errors.Join(errs...)
}

// agree compares what client and server say of one request.
func (tr trial) agree(lane Lane, clock timeline.Clock, seq int, r timeline.Request, seen []arrival, planted bool) error {
	const grain = time.Microsecond // of the record
	if r.Planned != lane.Due(seq).Round(grain) {
		return fmt.Errorf("planned at %s: want %s", r.Planned, lane.Due(seq))
	}
	want := ending{arrivals: 1, attempts: 1, cause: timeline.OK, code: 200}
	again := ending{arrivals: 2, attempts: 2, cause: timeline.OK, code: 200}
	switch {
	case planted && tr.elsewhere != "":
		want = ending{arrivals: 0, attempts: 1, cause: tr.want}
	// On the first use of a connection nothing is sent again. Here "first" is the server's word: a connection that was dialled for a request which then took
	// another one has been idle, and the client takes it for used. So what was sent again is told by the server, and what must be, by the use.
	case planted && tr.load.Replayable && tr.resent && (len(seen) == 2 || len(seen) == 1 && seen[0].use > 1):
		want = again
	// These three happen to a sender that had to wait for a CPU and makes up for it: it sends before it reads.
	case len(seen) > 0 && seen[0].closed && tr.load.Replayable:
		want = again
	case len(seen) > 0 && seen[0].closed:
		want = ending{arrivals: 1, attempts: 1, cause: timeline.EOF}
	case tr.closes && len(seen) == 0: // not even written
		want = ending{arrivals: 0, attempts: 1, cause: timeline.EOF}
	case tr.closes && tr.load.Replayable && r.Attempts == 2: // not even written at first
		want.attempts = 2
	case planted:
		want = ending{arrivals: 1, attempts: 1, cause: tr.want, code: tr.code}
	}
	if r.Cause != want.cause || r.Code != want.code {
		return fmt.Errorf("ended as %s, status %d: want %s, %d", r.Cause, r.Code, want.cause, want.code)
	}
	if len(seen) != want.arrivals || r.Attempts != want.attempts {
		return fmt.Errorf("arrived %d times in %d attempts: want %d in %d", len(seen), r.Attempts, want.arrivals, want.attempts)
	}
	if planted && r.Latency < r.Lag+tr.least-2*grain {
		return fmt.Errorf("took %s of which it was late by %s: want at least %s", r.Latency, r.Lag, tr.least)
	}
	if len(seen) == 0 {
		if r.Pod != 0 || r.Port == 0 && tr.want != timeline.DNS {
			return errors.New("answered by nobody, from a port: want so")
		}
		return nil
	}
	for i, s := range seen {
		if s.lane != lane.Name || s.fault != (planted && i == 0) {
			return errors.New("the server took it for another")
		}
	}
	end := seen[len(seen)-1]
	if int(r.Port) != end.port {
		return fmt.Errorf("left from port %d: want %d", r.Port, end.port)
	}
	if first := clock.Offset(seen[0].at); r.Sent() > first+grain {
		return fmt.Errorf("left at %s, arrived at %s", r.Sent(), first)
	}
	if r.Cause != timeline.OK {
		return nil
	}
	if end.err != nil || int(r.Conn) != end.number || int(r.ConnUse) != end.use {
		return fmt.Errorf("answered on connection %d, use %d (%w): want %d, %d", end.number, end.use, end.err, r.Conn, r.ConnUse)
	}
	// The instant before the answer was written: at the one after it, the client may have got it already.
	if written := clock.Offset(end.at); r.Done() < written-grain || r.Done() > clock.Offset(end.done)+lane.Load.Timeout {
		return fmt.Errorf("was done at %s, answered at %s", r.Done(), written)
	}
	return nil
}

// ending is what is wanted of a request: how often it goes on the wire and arrives, and how it ends.
type ending struct {
	arrivals int
	attempts uint8
	cause    timeline.Cause
	code     uint16
}

// TestPlantedFaults plants exactly k faults among n requests, by their numbers, and wants exactly k back, under the right cause, each sent once; or, where
// an ordinary client sends it again, counted as masked. Fifty-nine exact trials of each kind bound the share of trials that are not, by 1 − 0.05^(1/59), to
// 5 %.
func TestPlantedFaults(t *testing.T) {
	trials := 59
	if testing.Short() {
		trials = 3
	}
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			var elsewhere string
			if f.elsewhere != nil {
				elsewhere = f.elsewhere(t)
			}
			var mu sync.Mutex
			var all sync.WaitGroup
			masked := map[string]int{}
			for seed := range uint64(trials) {
				for _, load := range []scenarios.Load{scenarios.New(250), scenarios.Reused(250), scenarios.Replayable(250)} {
					load.Clients = min(load.Clients, 3) // each has a few turns
					all.Go(func() {
						n, err := trial{fault: f, load: load, seed: seed, elsewhere: elsewhere}.repeatedly()
						mu.Lock()
						defer mu.Unlock()
						masked[load.Name] += n
						assert.NoError(t, err, "%s, seed %d", load.Name, seed)
					})
				}
			}
			all.Wait()
			assert.Zero(t, masked["new"]+masked["reused"])
			switch {
			case f.resent && !testing.Short(): // three trials may have met three new connections
				assert.Positive(t, masked["replayable"], "what an ordinary client hides")
			case !f.resent && !f.closes:
				assert.Zero(t, masked["replayable"])
			}
		})
	}
}
