package worker

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
)

// Call sends a request to a worker: a GET without a body, else a POST. It returns the body of a
// good answer. An error that to ask again won't change wraps ErrRefused or ErrEnded.
type Call func(ctx context.Context, path string, body []byte) (io.ReadCloser, error)

var (
	// ErrRefused is what a worker has said no to. Any other error of a Call but ErrEnded may be the
	// way's and not the worker's.
	ErrRefused = errors.New("worker refused")
	// ErrEnded is the guarantee that the worker will never answer again.
	ErrEnded = errors.New("worker has ended")
)

// errLost is the guarantee that the records of a worker are all there, or the run says that they
// aren't.
var errLost = errors.New("worker is lost, and with it what it had not handed over")

// Worker is a process elsewhere that sends load.
type Worker struct {
	Name string // worker-0, client
	Node string // of a Pod
	IP   string // where its connections come from
	Call Call
}

// Probe has the worker send one request to the app (see Probe).
func (w Worker) Probe(ctx context.Context, at Target) (traffic.Answer, error) {
	var none traffic.Answer
	raw, err := json.Marshal(at)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := w.Call(ctx, "/probe", raw)
	if err != nil {
		return none, fmt.Errorf("probe from %s: %w", w.Name, err)
	}
	defer body.Close()
	var a probeResponse
	if err := json.NewDecoder(body).Decode(&a); err != nil {
		return none, fmt.Errorf("probe from %s: %w", w.Name, err)
	}
	if a.Err != "" {
		return none, fmt.Errorf("probe from %s: %s", w.Name, a.Err)
	}
	return a.Answer, nil
}

// Fleet is several workers that share every lane. It implements traffic.Sender.
type Fleet struct {
	workers []*member
}

// NewFleet makes a fleet of workers that are there already.
func NewFleet(workers []Worker) *Fleet {
	f := &Fleet{}
	for _, w := range workers {
		f.workers = append(f.workers, &member{Worker: w})
	}
	return f
}

// member is a worker and what is known of its clock.
type member struct {
	Worker
	clock timeline.Comparison
}

// callTimeout is how long an exchange may take, and a worker be silent while it hands records over.
const callTimeout = 5 * time.Second

// errSilent is what is wrong with a worker that can be reached and says nothing.
var errSilent = fmt.Errorf("it said nothing for %s", callTimeout)

// unreachableTimeout is how long a worker may be out of reach, as while the API server restarts,
// before it counts as lost.
const unreachableTimeout = 20 * time.Second

// LeadTime is long enough for a start request to go through an API server that is busy with a
// rollout.
func (f *Fleet) LeadTime() time.Duration { return 500 * time.Millisecond }

// Sync compares each worker's clock with the run's.
func (f *Fleet) Sync(ctx context.Context, clock timeline.Clock) error {
	return f.each(func(w *member) (err error) {
		w.clock, err = w.compare(ctx, clock)
		return err
	})
}

// samples is how many exchanges a comparison of clocks takes. The shortest counts, so more would
// gain little.
const samples = 20

// compare finds how far a worker's clock is ahead. A worker on the kernel of this process has the
// same clock: what is found then says how well this way of measuring works.
func (w *member) compare(ctx context.Context, clock timeline.Clock) (timeline.Comparison, error) {
	var reading clockReading
	found, err := timeline.Compare(samples, func() (e timeline.Exchange, err error) {
		err = w.retry(ctx, func() (progress bool, err error) {
			ctx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			e.Sent = clock.Offset(time.Now())
			body, err := w.Call(ctx, "/clock", nil)
			if err != nil {
				return false, err
			}
			defer body.Close()
			err = json.NewDecoder(body).Decode(&reading)
			e.Received = clock.Offset(time.Now())
			return false, err
		})
		e.Reading = clock.Wall(time.Unix(0, reading.UnixNano))
		return e, err
	})
	if err != nil {
		return found, fmt.Errorf("compare clocks with %s: %w", w.Name, err)
	}
	found.SameClock = timeline.SameKernel(reading.Kernel)
	return found, nil
}

// Send has each worker send its shard of every lane.
func (f *Fleet) Send(
	ctx context.Context,
	lanes []traffic.Lane,
	plan traffic.Plan,
) ([]timeline.LaneRecord, []timeline.Sender, error) {
	ledgers := make([]*traffic.Ledger, len(lanes))
	for i := range ledgers {
		ledgers[i] = traffic.NewLedger()
	}
	senders := make([]timeline.Sender, len(f.workers))
	err := f.each(func(w *member) (err error) {
		i := slices.Index(f.workers, w)
		shard := traffic.Shard{Index: i, Count: len(f.workers)}
		senders[i], err = w.send(ctx, lanes, plan, shard, ledgers)
		return err
	})
	// Whatever has become of the workers, the run has an end.
	<-plan.End.Known()
	end, _ := plan.End.At()
	records := make([]timeline.LaneRecord, len(lanes))
	for i, lane := range lanes {
		records[i] = ledgers[i].Record(lane, end)
	}
	return records, senders, err
}

// send starts a worker and takes its records until it has closed its ledgers.
func (w *member) send(
	ctx context.Context,
	lanes []traffic.Lane,
	plan traffic.Plan,
	shard traffic.Shard,
	ledgers []*traffic.Ledger,
) (timeline.Sender, error) {
	self := timeline.Sender{Name: w.Name, Node: w.Node, IP: w.IP, Comparison: w.clock}
	for _, lane := range lanes {
		self.Lanes = append(self.Lanes, lane.Name)
	}
	zero := plan.Clock.Start().Round(0).Add(w.clock.Correction()).UnixNano()
	start := startRequest{Zero: zero, Lanes: lanes, Shard: shard, Max: plan.Max}
	if shard.Index == 0 {
		start.Tasks = plan.Tasks
	}
	if err := w.post(ctx, "/start", start); err != nil {
		return self, fmt.Errorf("%s: start it: %w", w.Name, err)
	}
	stopped := make(chan error, 1)
	over, closeOver := context.WithCancel(ctx)
	go func() {
		select {
		case <-plan.End.Known():
			end, _ := plan.End.At()
			stopped <- w.post(over, "/stop", stopRequest{end})
		case <-over.Done():
			stopped <- nil
		}
	}()
	last, err := w.collect(ctx, ledgers)
	closeOver()
	if endErr := <-stopped; endErr != nil && !errors.Is(endErr, context.Canceled) {
		err = errors.Join(err, fmt.Errorf("tell it the end: %w", endErr))
	}
	if err != nil {
		return self, fmt.Errorf("%s: %w", w.Name, err)
	}
	self.Pressure, self.Tasks = last.Pressure, last.Tasks
	after, err := w.compare(ctx, plan.Clock)
	if err != nil {
		return self, fmt.Errorf("%s: %w", w.Name, err)
	}
	self.Drift, self.Uncertainty = after.Offset-w.clock.Offset, max(self.Uncertainty, after.Uncertainty)
	if err := w.post(ctx, "/exit", struct{}{}); err != nil {
		return self, fmt.Errorf("%s: let it go: %w", w.Name, err)
	}
	if last.Err != "" {
		return self, fmt.Errorf("%s: %s", w.Name, last.Err)
	}
	return self, nil
}

// collect takes the records over, and goes on where it was cut off, until the worker has closed its
// ledgers or is lost.
func (w *member) collect(ctx context.Context, ledgers []*traffic.Ledger) (summary, error) {
	cursors := make([]int, len(ledgers))
	var last *summary
	err := w.retry(ctx, func() (progress bool, err error) {
		last, progress, err = w.read(ctx, cursors, ledgers)
		return progress, err
	})
	switch {
	case errors.Is(err, ErrRefused), errors.Is(err, traffic.ErrTwice):
		return summary{}, err
	case err != nil:
		return summary{}, fmt.Errorf("%w: %w", errLost, err)
	}
	for i, n := range last.Recorded {
		if n != cursors[i] {
			return *last, fmt.Errorf("it has %d records of its lane %d and handed %d over", n, i, cursors[i])
		}
	}
	for i, n := range last.Lookups {
		ledgers[i].AddLookups(n)
	}
	for i, held := range last.Held {
		ledgers[i].AddHeld(held...)
	}
	return *last, nil
}

// read reads batches until the last one or until the connection breaks, and says whether it got
// any.
func (w *member) read(
	ctx context.Context,
	cursors []int,
	ledgers []*traffic.Ledger,
) (last *summary, progress bool, err error) {
	var from []string
	for _, n := range cursors {
		from = append(from, strconv.Itoa(n))
	}
	// A node that stands still keeps its connections open: a worker that doesn't even say that
	// there is nothing new is out of reach.
	ctx, hangUp := context.WithCancelCause(ctx)
	defer hangUp(nil)
	watchdog := time.AfterFunc(callTimeout, func() { hangUp(errSilent) })
	defer watchdog.Stop()
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errSilent) {
			err = errors.Join(errSilent, err)
		}
	}()
	body, err := w.Call(ctx, "/records?from="+strings.Join(from, ","), nil)
	if err != nil {
		return nil, false, err
	}
	defer body.Close()
	for in := gob.NewDecoder(body); ; watchdog.Reset(callTimeout) {
		var b batch
		if err := in.Decode(&b); err != nil {
			return nil, progress, fmt.Errorf("read its records: %w", err)
		}
		if b.Last != nil {
			return b.Last, true, nil
		}
		if b.Lane == noLane {
			continue
		}
		if b.Lane < 0 || b.Lane >= len(ledgers) || len(b.Seqs) != len(b.Requests) {
			return nil, progress, fmt.Errorf(
				"read its records: %d numbers and %d records of lane %d of %d",
				len(b.Seqs),
				len(b.Requests),
				b.Lane,
				len(ledgers),
			)
		}
		if err := ledgers[b.Lane].PutBatch(b.Batch); err != nil {
			return nil, progress, fmt.Errorf("its lane %d: %w", b.Lane, err)
		}
		cursors[b.Lane] += len(b.Seqs)
		progress = true
	}
}

// post sends something to a worker, again if need be: every worker takes the same thing twice.
func (w *member) post(ctx context.Context, path string, what any) error {
	raw, err := json.Marshal(what)
	if err != nil {
		return err
	}
	return w.retry(ctx, func() (progress bool, err error) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		body, err := w.Call(ctx, path, raw)
		if err != nil {
			return false, err
		}
		return false, body.Close()
	})
}

// retryEvery is the pause between two attempts to reach a worker.
const retryEvery = 100 * time.Millisecond

// retry does something until it works, or to try again won't help, or it has failed for
// unreachableTimeout without making progress.
func (w *member) retry(ctx context.Context, do func() (progress bool, err error)) error {
	var failing time.Time
	for {
		progress, err := do()
		if progress || failing.IsZero() {
			failing = time.Now()
		}
		switch {
		case err == nil, errors.Is(err, ErrRefused), errors.Is(err, ErrEnded), errors.Is(err, traffic.ErrTwice):
			return err
		case ctx.Err() != nil, time.Since(failing) > unreachableTimeout:
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryEvery):
		}
	}
}

// each does something with all workers at once and joins what went wrong.
func (f *Fleet) each(do func(*member) error) error {
	errs := make([]error, len(f.workers))
	var all sync.WaitGroup
	for i, w := range f.workers {
		all.Go(func() { errs[i] = do(w) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// At calls the worker at a URL.
func At(client *http.Client, url string) Call {
	return func(ctx context.Context, path string, body []byte) (io.ReadCloser, error) {
		method := http.MethodGet
		if body != nil {
			method = http.MethodPost
		}
		req, err := http.NewRequestWithContext(ctx, method, url+path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode < 300 {
			return resp.Body, nil
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, strings.TrimSpace(string(text)))
		if resp.StatusCode == http.StatusConflict {
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return nil, err
	}
}
