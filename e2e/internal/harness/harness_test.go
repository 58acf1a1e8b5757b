package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// timeout is the clients' in these tests: the tail of each run lasts that long.
const timeout = time.Second

var errFake = errors.New("fake")

// fakeApp is an app of one Pod that is replaced by another when the disruption says so. The server
// behind it is real.
type fakeApp struct {
	scenarios.Rollouts     // nil: no test uses it
	scenarios.InPlace      // nil: what tests use is in inplace_test.go
	scenarios.Nodes        // nil: what tests use is in nodes_test.go
	scenarios.NodeShutdown // nil: no test uses it
	scenarios.NodeLoss     // nil: what tests use is in nodeloss_test.go
	scenarios.System       // nil: what tests use is in system_test.go
	scenarios.Rainbow      // nil: what tests use is in rainbow_test.go

	url string

	mu        sync.Mutex
	clock     timeline.Clock
	pod       string
	events    []timeline.Event
	change    func(ctx context.Context) error
	stable    func(ctx context.Context) error
	observe   error
	refuse    map[string]error // to delete a Pod
	workers   traffic.Sender
	answered  map[string]map[string]int // by Pod and lane
	stoppedAt time.Duration
	broken    error // what components do
	learnt    scenarios.Learnt
	node      string
	nodeErr   error
}

func newFakeApp(t *testing.T) *fakeApp {
	t.Helper()
	app := &fakeApp{pod: "app-0", workers: fakeWorkers{}, answered: map[string]map[string]int{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		app.mu.Lock()
		w.Header().Set("Zerodrop-Pod", app.pod)
		if app.answered[app.pod] == nil {
			app.answered[app.pod] = map[string]int{}
		}
		app.answered[app.pod][r.Header.Get("Zerodrop-Lane")]++
		app.mu.Unlock()
		_, _ = io.WriteString(w, protocol.Body)
	}))
	t.Cleanup(server.Close)
	app.url = server.URL
	app.change = func(context.Context) error {
		app.see(timeline.PodCreated, "app-1")
		app.see(timeline.PodReady, "app-1")
		app.see(timeline.PodDeleted, "app-0")
		app.mu.Lock()
		defer app.mu.Unlock()
		app.pod = "app-1"
		return nil
	}
	app.stable = func(context.Context) error { app.see(timeline.PodGone, "app-0"); return nil }
	return app
}

// fakeWorkers are on this machine, and slow to hear.
type fakeWorkers struct {
	traffic.Host
	sync error
	fail error
}

func (w fakeWorkers) LeadTime() time.Duration                    { return 200 * time.Millisecond }
func (w fakeWorkers) Sync(context.Context, timeline.Clock) error { return w.sync }

func (w fakeWorkers) Send(ctx context.Context, lanes []traffic.Lane, plan traffic.Plan) ([]timeline.LaneRecord, []timeline.Sender, error) {
	records, senders, err := w.Host.Send(ctx, lanes, plan)
	senders[0].Name = "worker-0"
	return records, senders, errors.Join(err, w.fail)
}

func (a *fakeApp) see(kind timeline.Kind, pod string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, timeline.Event{At: a.clock.Offset(time.Now()), Kind: kind, Pod: pod})
}

func (a *fakeApp) Pods(context.Context) ([]string, error)         { return []string{"app-0"}, nil }
func (a *fakeApp) ChangeTemplate(ctx context.Context) error       { return a.change(ctx) }
func (a *fakeApp) DeletePod(_ context.Context, name string) error { return a.refuse[name] }
func (a *fakeApp) DeletePodNow(context.Context, string) error     { return nil }
func (a *fakeApp) WaitReady(context.Context) error                { return nil }
func (a *fakeApp) WaitStable(ctx context.Context) error           { return a.stable(ctx) }
func (a *fakeApp) Replicas() int                                  { return 1 }
func (a *fakeApp) Intact(context.Context) error                   { return a.broken }
func (a *fakeApp) Learnt() scenarios.Learnt                       { return a.learnt }

// URL is, from outside, that of a node that has the app's address and no name of its own.
func (a *fakeApp) URL(c fixtures.Consumer) string {
	if len(a.Addresses(c)) > 0 {
		return strings.Replace(a.url, "127.0.0.1", "node.invalid", 1)
	}
	return a.url
}

func (a *fakeApp) Addresses(c fixtures.Consumer) []netip.Addr {
	if c.From == fixtures.FromOutside {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	}
	return nil
}

func (a *fakeApp) Sender(from string) traffic.Sender {
	switch from {
	case fixtures.FromOutside:
		return traffic.Host{}
	case fixtures.FromCluster:
		return a.workers
	}
	return nil
}

func (a *fakeApp) Environment() timeline.Environment {
	return timeline.Environment{Kubernetes: "v1", MinSyncPeriod: "1s"}
}

func (a *fakeApp) Observe(_ context.Context, clock timeline.Clock) (func() timeline.Seen, error) {
	a.clock = clock
	a.see(timeline.PodCreated, "app-0")
	return func() timeline.Seen {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.stoppedAt = clock.Offset(time.Now())
		var served []timeline.Served
		for pod, answered := range a.answered {
			served = append(served, timeline.Served{Pod: pod, Answered: answered})
		}
		return timeline.Seen{Events: a.events, Served: served}
	}, a.observe
}

func rollingUpdate(t *testing.T) scenarios.Run {
	t.Helper()
	c, err := scenarios.NewCatalogue()
	require.NoError(t, err)
	s, err := c.Find("prestop-sleep", "rolling-update", 20) // at 20 requests/s a busy machine may be late by 150 ms
	require.NoError(t, err)
	for i := range s.Lanes {
		s.Lanes[i].Load.Timeout, s.Lanes[i].Load.Work = timeout, 0
		s.Lanes[i].Consumer.Resolve = nil // the app under test has an address and no name
	}
	return scenarios.Run{Scenario: s, Repeat: 2}
}

// judge judges a run as if it had the machine to itself: other packages are tested at the same
// time.
func judge(tl timeline.Timeline) verdict.Verdict {
	for i := range tl.Senders {
		tl.Senders[i].Pressure = nil
	}
	return verdict.Judge(tl)
}

var options = Options{Lead: 200 * time.Millisecond, Limit: 10 * time.Second}

// TestRun goes through all phases against a real server and lets the verdict say whether that was a
// valid measurement.
func TestRun(t *testing.T) {
	app, run := newFakeApp(t), rollingUpdate(t)
	var phases []string
	o := options
	o.Phase = func(name string) { phases = append(phases, name) }
	began := time.Now()
	tl := Run(t.Context(), app, run, o)
	took := time.Since(began)
	require.Empty(t, tl.Errors)
	v := judge(tl)
	assert.Equal(t, verdict.Pass, v.Outcome, v.Reasons)
	assert.Equal(t, []string{"lead", "rolling-update", "termination", "tail"}, phases)
	assert.Equal(t, 2, tl.Repeat)
	assert.Equal(t, 1, tl.Replicas)
	assert.Equal(t, "v1", tl.Environment.Kubernetes)
	w := tl.Window
	assert.GreaterOrEqual(t, w.DisruptStart, options.Lead)
	assert.GreaterOrEqual(t, w.LoadEnd-w.Settled, timeout, "the load goes on for one timeout after the last Pod is gone")
	assert.GreaterOrEqual(t, app.stoppedAt, w.LoadEnd, "it is observed to the end")
	assert.Less(t, w.Overhead, took-options.Lead-timeout+time.Millisecond)
	assert.Positive(t, w.Overhead)
	require.Len(t, tl.Lanes, len(run.Lanes))
	assert.Len(t, tl.Served, 2, "the server's side of the ledger is kept, of both Pods")
	from := map[timeline.Place][]string{}
	for _, l := range tl.Spec.Lanes {
		from[l.From] = append(from[l.From], l.Name)
	}
	assert.Equal(t, NewSpec(run.Scenario, app.Environment()), tl.Spec)
	require.Len(t, tl.Senders, 2)
	for _, sender := range tl.Senders {
		assert.Equal(t, from[map[string]timeline.Place{"host": timeline.FromOutside, "worker-0": timeline.FromCluster}[sender.Name]], sender.Lanes)
	}
	starts := map[time.Duration]bool{}
	for _, l := range tl.Lanes {
		assert.Len(t, l.Requests, l.Planned)
		assert.Equal(t, []string{"app-0", "app-1"}, l.Pods)
		assert.Less(t, w.LoadEnd-l.Requests[l.Planned-1].Planned, 50*time.Millisecond, "requests were due to the end")
		starts[l.Requests[0].Planned] = true
	}
	assert.Len(t, starts, 10, "the lanes don't send at the same instants")
}

// TestLoadGoesOnWhilePodsTerminate: new Pods are ready at once, the old one takes half a second
// more. A run that ends with the rollout is a lie.
func TestLoadGoesOnWhilePodsTerminate(t *testing.T) {
	app := newFakeApp(t)
	const terminating = 500 * time.Millisecond
	gone := app.stable
	app.stable = func(ctx context.Context) error { return errors.Join(wait(ctx, terminating), gone(ctx)) }
	tl := Run(t.Context(), app, rollingUpdate(t), options)
	require.Empty(t, tl.Errors)
	assert.GreaterOrEqual(t, tl.Window.LoadEnd-tl.Window.DisruptEnd, terminating+timeout)
	assert.Equal(t, verdict.Pass, judge(tl).Outcome)
}

// TestProbes: where a load balancer probes nodes, the load goes on until it must have found out, and
// the deletions of several runs are spread over the probes' interval.
func TestProbes(t *testing.T) {
	run := rollingUpdate(t)
	assert.Zero(t, probePhase(run))
	run.Lanes = slices.Clone(run.Lanes)
	run.Lanes[1].Consumer.Probe = fixtures.Probe{Interval: 100 * time.Millisecond, Fall: 2}
	run.Lanes[2].Consumer.Probe = fixtures.Probe{Interval: 400 * time.Millisecond, Fall: 2}
	began := time.Now()
	w := Run(t.Context(), newFakeApp(t), run, options).Window
	assert.Less(t, w.Overhead, time.Since(began)-options.Lead-w.Phase-timeout-800*time.Millisecond+time.Millisecond)
	assert.Equal(t, probePhase(run), w.Phase)
	assert.GreaterOrEqual(t, w.DisruptStart, options.Lead+w.Phase)
	assert.GreaterOrEqual(t, w.LoadEnd-w.Settled, timeout+800*time.Millisecond)

	var phases []time.Duration
	for run.Repeat = range 10 {
		phases = append(phases, probePhase(run))
	}
	slices.Sort(phases)
	gap := phases[0] + 400*time.Millisecond - phases[9]
	for i, phase := range phases[1:] {
		gap = max(gap, phase-phases[i])
	}
	assert.Less(t, gap, 80*time.Millisecond, "of 40 ms on average: %s", phases)
	before := probePhase(run)
	run.Strategy.Name = "another"
	assert.NotEqual(t, before, probePhase(run))
}

// TestDeletionsAreNoted: when a Pod's deletion was asked for, and when it was granted; not granted
// is not noted.
func TestDeletionsAreNoted(t *testing.T) {
	run := rollingUpdate(t)
	app := newFakeApp(t)
	app.refuse = map[string]error{"app-7": errFake}
	run.Disruption.Run = func(ctx context.Context, app scenarios.App) error {
		require.NoError(t, app.DeletePod(ctx, "app-0"))
		require.ErrorIs(t, app.DeletePod(ctx, "app-7"), errFake)
		require.NoError(t, app.DeletePodNow(ctx, "app-9"))
		return nil
	}
	tl := Run(t.Context(), app, run, Options{Lead: 500 * time.Millisecond, Limit: time.Minute})
	var noted []string
	for _, e := range tl.Events {
		if e.Kind == timeline.DeleteAsked || e.Kind == timeline.DeleteAnswered {
			noted = append(noted, string(e.Kind)+" "+e.Pod)
			assert.GreaterOrEqual(t, e.At, tl.Window.DisruptStart)
			assert.LessOrEqual(t, e.At, tl.Window.DisruptEnd)
		}
	}
	assert.Equal(t, []string{"delete-asked app-0", "delete-answered app-0", "delete-asked app-7", "delete-asked app-9", "delete-answered app-9"}, noted)
	assert.True(t, slices.IsSortedFunc(tl.Events, func(a, b timeline.Event) int { return cmp.Compare(a.At, b.At) }))
}

// TestOverheadOfUndo: what is undone takes time of the run, and none that it measures.
func TestOverheadOfUndo(t *testing.T) {
	run := rollingUpdate(t)
	run.Disruption.Undo = func(ctx context.Context, _ scenarios.App) error { return wait(ctx, 300*time.Millisecond) }
	w := Run(t.Context(), newFakeApp(t), run, options).Window
	assert.GreaterOrEqual(t, w.Overhead, 300*time.Millisecond)
}

// TestLead: at least one answer of the slowest load comes before the disruption.
func TestLead(t *testing.T) {
	run := rollingUpdate(t)
	assert.Equal(t, 3*time.Second, leadOf(run, Defaults))
	run.Disruption.Work = 4 * time.Second
	assert.Equal(t, 5*time.Second, leadOf(run, Defaults))
	run.Disruption.Work = time.Second
	assert.Equal(t, 3*time.Second, leadOf(run, Defaults))
}

// TestLimitFor: a run has as long as its Pods need one after the other, and no less than others.
func TestLimitFor(t *testing.T) {
	c, err := scenarios.NewCatalogue()
	require.NoError(t, err)
	for _, tt := range []struct {
		strategy string
		replicas int
		want     time.Duration
	}{
		{"shutdown-at-once", 3, 4 * time.Minute},
		{"prestop-sleep", 3, 4 * time.Minute},
		{"ten-replicas-stop-20s", 10, 6*time.Minute + 50*time.Second},
		{"ten-replicas-stop-40s", 10, 10*time.Minute + 10*time.Second},
		{"tasks-long-grace", 3, 4*time.Minute + 45*time.Second + 65*time.Second},
	} {
		s, err := c.Find(tt.strategy, "rolling-update", scenarios.DefaultRate)
		require.NoError(t, err)
		assert.Equal(t, tt.want, LimitFor(scenarios.Run{Scenario: s}, tt.replicas), tt.strategy)
	}
}

func TestErrorsAreRecorded(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*fakeApp, *scenarios.Run, *Options, context.CancelCauseFunc)
		lanes bool // was load sent and recorded until then?
		want  string
	}{
		{"disruption fails", func(a *fakeApp, _ *scenarios.Run, _ *Options, _ context.CancelCauseFunc) {
			a.change = func(context.Context) error { return errFake }
		}, true, "run: rolling-update: fake"},
		{"Pods never settle", func(a *fakeApp, _ *scenarios.Run, _ *Options, _ context.CancelCauseFunc) {
			a.stable = func(context.Context) error { return errFake }
		}, true, "run: termination: fake"},
		{"interrupted in the disruption", func(a *fakeApp, _ *scenarios.Run, _ *Options, cancel context.CancelCauseFunc) {
			a.change = func(ctx context.Context) error {
				cancel(errors.New("Ctrl-C"))
				<-ctx.Done()
				return ctx.Err()
			}
		}, true, "run: rolling-update: Ctrl-C: context canceled"},
		{"interrupted in the lead", func(_ *fakeApp, _ *scenarios.Run, o *Options, cancel context.CancelCauseFunc) {
			o.Phase = func(string) { cancel(errors.New("Ctrl-C")) }
		}, true, "run: lead: Ctrl-C"},
		{"longer than the limit", func(a *fakeApp, _ *scenarios.Run, o *Options, _ context.CancelCauseFunc) {
			o.Limit = 400 * time.Millisecond
			a.change = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		}, true, "the run took longer than its limit of 400ms"},
		{"workers that can't get ready", func(a *fakeApp, _ *scenarios.Run, _ *Options, _ context.CancelCauseFunc) {
			a.workers = fakeWorkers{sync: errFake}
		}, false, "load: fake"},
		{"no workers", func(a *fakeApp, _ *scenarios.Run, _ *Options, _ context.CancelCauseFunc) {
			a.workers = nil
		}, false, `load: lane service/new: is sent from "cluster", where nobody sends`},
		{"a consumer from nowhere", func(_ *fakeApp, r *scenarios.Run, _ *Options, _ context.CancelCauseFunc) {
			r.Lanes[0].Consumer.From = "moon"
		}, false, `load: lane service/new: is sent from "moon"`},
		{"a worker that fails", func(a *fakeApp, _ *scenarios.Run, _ *Options, _ context.CancelCauseFunc) {
			a.workers = fakeWorkers{fail: errFake}
		}, true, "load: fake"},
		{"a component that breaks down", func(a *fakeApp, _ *scenarios.Run, _ *Options, _ context.CancelCauseFunc) {
			a.broken = errFake
		}, true, "components: fake"},
		{"nothing to observe", func(a *fakeApp, _ *scenarios.Run, _ *Options, _ context.CancelCauseFunc) {
			a.observe = errFake
		}, false, "observe: fake"},
		{"a scenario that makes no sense", func(_ *fakeApp, r *scenarios.Run, _ *Options, _ context.CancelCauseFunc) {
			r.Lanes = nil
		}, false, "has no lanes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app, run, o := newFakeApp(t), rollingUpdate(t), options
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			tt.spoil(app, &run, &o, cancel)
			tl := Run(ctx, app, run, o)
			require.NotEmpty(t, tl.Errors)
			assert.Contains(t, tl.Errors[0], tt.want)
			assert.Equal(t, verdict.Infrastructure, judge(tl).Outcome)
			if !tt.lanes {
				return
			}
			for _, l := range tl.Lanes {
				assert.Positive(t, l.Planned, "what was seen until then is kept")
				assert.Len(t, l.Requests, l.Planned)
				for seq, r := range l.Requests {
					assert.Equal(t, timeline.OK, r.Cause, "request %d of %s: none is dropped by our own hand", seq, l.Name)
				}
			}
		})
	}
}

// TestUndo: what a disruption has done is taken back, whatever has become of the run.
func TestUndo(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*fakeApp, *scenarios.Run, *Options, context.CancelCauseFunc)
		undo  error
		want  []string // errors
	}{
		{"after a run that went well", func(*fakeApp, *scenarios.Run, *Options, context.CancelCauseFunc) {}, nil, nil},
		{"after a disruption that failed", func(a *fakeApp, _ *scenarios.Run, _ *Options, _ context.CancelCauseFunc) {
			a.change = func(context.Context) error { return errFake }
		}, nil, []string{"run: rolling-update: fake"}},
		{"after Pods that never settled", func(a *fakeApp, _ *scenarios.Run, _ *Options, _ context.CancelCauseFunc) {
			a.stable = func(context.Context) error { return errFake }
		}, nil, []string{"run: termination: fake"}},
		{"after the limit", func(a *fakeApp, _ *scenarios.Run, o *Options, _ context.CancelCauseFunc) {
			o.Limit = 600 * time.Millisecond
			a.change = func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
		}, nil, []string{"run: rolling-update: the run took longer than its limit of 600ms"}},
		{"after an interruption", func(a *fakeApp, _ *scenarios.Run, _ *Options, cancel context.CancelCauseFunc) {
			a.change = func(context.Context) error { cancel(errors.New("Ctrl-C")); return errFake }
		}, nil, []string{"run: rolling-update: Ctrl-C: fake"}},
		{
			"which fails, too", func(a *fakeApp, _ *scenarios.Run, _ *Options, _ context.CancelCauseFunc) {
				a.change = func(context.Context) error { return errFake }
			}, errors.New("no answer"), []string{"run: rolling-update: fake", "undo rolling-update: no answer"},
		},
		{"which alone fails", func(*fakeApp, *scenarios.Run, *Options, context.CancelCauseFunc) {}, errFake, []string{"undo rolling-update: fake"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app, run, o := newFakeApp(t), rollingUpdate(t), options
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			tt.spoil(app, &run, &o, cancel)
			undone := 0
			run.Disruption.Undo = func(ctx context.Context, given scenarios.App) error {
				undone++
				assert.Positive(t, app.stoppedAt, "nothing is observed any more, as the load is over")
				assert.NoError(t, ctx.Err(), "it has time of its own")
				_, limited := ctx.Deadline()
				assert.True(t, limited, "and not for ever")
				assert.NotNil(t, given)
				return tt.undo
			}
			tl := Run(ctx, app, run, o)
			assert.Equal(t, 1, undone)
			assert.Equal(t, tt.want, tl.Errors)
		})
	}
}

// TestOver: a disruption with an end of its own is over when that says so, not when all is stable.
func TestOver(t *testing.T) {
	const more = 300 * time.Millisecond
	app, run := newFakeApp(t), rollingUpdate(t)
	stable := false
	app.stable = func(context.Context) error { stable = true; return nil }
	run.Disruption.Over = func(ctx context.Context, given scenarios.App) error {
		assert.NotNil(t, given)
		app.see(timeline.PodGone, "app-0")
		return wait(ctx, more)
	}
	tl := Run(t.Context(), app, run, options)
	require.Empty(t, tl.Errors)
	assert.False(t, stable)
	assert.GreaterOrEqual(t, tl.Window.Settled-tl.Window.DisruptEnd, more)
	run.Disruption.Over = func(context.Context, scenarios.App) error { return errFake }
	tl = Run(t.Context(), newFakeApp(t), run, options)
	assert.Equal(t, []string{"run: termination: fake"}, tl.Errors)
	assert.Zero(t, tl.Window.Settled)
}

// TestFailedRunHasItsPlace: a run that could not begin is on record under its own name, not
// missing.
func TestFailedRunHasItsPlace(t *testing.T) {
	run := rollingUpdate(t)
	tl := Failed(run, time.Now(), fmt.Errorf("deploy: %w", errFake))
	v := judge(tl)
	assert.Equal(t, verdict.Infrastructure, v.Outcome)
	assert.Equal(t, "deploy: fake", v.Reasons[0])
	assert.Equal(t, run.Name(), v.Name())
	assert.Equal(t, run.Repeat, v.Repeat)
}
