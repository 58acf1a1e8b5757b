package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/suite"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestAsForeign measures the sample app as an app that says nothing of itself. Each run is judged twice, as it is and without a word of the app: the
// counts are the same, no dropped request is charged to another Pod, nearly all are charged, and the delay that is needed is the same.
//
// Then the sample app is asked as any app is, by GET, with headers, log and ledgers left alone.
func TestAsForeign(t *testing.T) {
	long(t, suite.LongAsForeign)
	if shared.Config.Cluster.Kubeconfig != "" {
		t.Skip("wants nodes that can be asked which Pods they chose")
	}
	s := shared.With(func(c *suite.Config) {
		c.Out = filepath.Join(c.Out, "as-foreign")
		if len(c.Consumers)+len(c.Lanes) == 0 {
			c.Lanes = []string{"service/new", "service/reused", "service/slow", "nodeport/new", "nodeport/reused", "dns/new"}
		}
	})
	for _, strategy := range []string{"no-handler", "shutdown-at-once", "in-app-delay", "prestop-sleep"} {
		for _, disruption := range []string{"rolling-update", "pod-deletion"} {
			runs := runsOf(t, s, strategy, disruption)
			for i, run := range runs {
				if run.Disruption.Scope == scenarios.ScopeNone {
					continue // the control of the others, in which nothing is dropped
				}
				t.Run(run.Path(), func(t *testing.T) {
					v, dir := s.Attempt(testContext(t), t, run, i+1, len(runs))
					require.True(t, v.Conclusive(), "%v", v.Reasons)
					tl, err := timeline.Load(dir)
					require.NoError(t, err)
					foreign := verdict.Judge(tl.AsForeign(timeline.TargetSpec{Name: "sampleapp", Request: "POST " + protocol.PathWork, ExpectStatus: http.StatusOK}))
					require.True(t, foreign.Conclusive(), "%v", foreign.Reasons)
					told, err := sameAsForeign(v, foreign)
					t.Log(told)
					assert.NoError(t, err)
				})
				t.Run(run.Path()+", asked as any app", func(t *testing.T) {
					app := scenarios.Target{
						Name:    "sampleapp",
						Request: scenarios.Request{Method: http.MethodGet, Path: protocol.PathWork},
						Slow:    &scenarios.Request{Method: http.MethodGet, Path: protocol.PathWork + "?" + protocol.ParamFor + "=2s"},
					}
					run.Target, run.Lanes = &app, app.Lanes(run.Lanes)
					v, _ := s.With(func(c *suite.Config) { c.Out = filepath.Join(c.Out, "asked") }).Attempt(testContext(t), t, run, i+1, len(runs))
					require.True(t, v.Conclusive(), "%v", v.Reasons)
					assert.Equal(t, http.StatusOK, v.Spec.Target.ExpectStatus, "as it has answered")
					told, err := mostAttributed(v)
					t.Log(told)
					assert.NoError(t, err)
				})
			}
		}
	}
}

const (
	leastAttributed = 0.95                   // of the requests that were dropped on new connections and in flight
	delayDiffers    = 300 * time.Millisecond // by how much a needed delay may
)

// mostAttributed says of how many requests that were dropped on new connections, or in flight, nobody knows Pod or phase.
func mostAttributed(v verdict.Verdict) (told string, err error) {
	dropped, charged := 0, 0
	for _, d := range v.DroppedRequests {
		if d.Class == timeline.ClassKeptAlive {
			continue
		}
		if dropped++; d.Phase != verdict.Unattributed {
			charged++
		}
	}
	told = fmt.Sprintf("%d of %d requests that were dropped on new connections and in flight are charged", charged, dropped)
	if float64(charged) < leastAttributed*float64(dropped) {
		return told, errors.New(told)
	}
	return told, nil
}

// sameAsForeign holds a run that was judged without a word of its app against the same run with it.
func sameAsForeign(itself, foreign verdict.Verdict) (told string, err error) {
	told, err = mostAttributed(foreign)
	errs := []error{err}
	if len(itself.Lanes) != len(foreign.Lanes) || len(itself.DroppedRequests) != len(foreign.DroppedRequests) {
		return told, errors.New("the two are not of the same run")
	}
	for i, l := range itself.Lanes {
		f := foreign.Lanes[i]
		if counts, others := [4]int{l.OK, l.Dropped, l.Masked, l.Late}, [4]int{f.OK, f.Dropped, f.Masked, f.Late}; counts != others {
			errs = append(errs, fmt.Errorf("%s: %v requests are ok, dropped, masked, late, and without the app's word %v", l.Name, counts, others))
		}
		if l.ConnectionClass() != timeline.ClassNew || l.LastArrival == nil || f.LastArrival == nil {
			continue
		}
		told += fmt.Sprintf("; %s: last arrival %s and %s", l.Name, l.LastArrival.After, f.LastArrival.After)
		if d := l.LastArrival.After - f.LastArrival.After; d.Abs() > delayDiffers {
			errs = append(errs, fmt.Errorf("%s: requests arrive for %s, and without the app's word for %s", l.Name, l.LastArrival.After, f.LastArrival.After))
		}
	}
	pods, phases := 0, 0
	for i, d := range itself.DroppedRequests {
		f := foreign.DroppedRequests[i]
		if d.Pod != "" && f.Pod != "" && d.Pod != f.Pod {
			errs = append(errs, fmt.Errorf("%s #%d: is charged to Pod %s, and without the app's word to %s", d.Lane, d.Seq, d.Pod, f.Pod))
		}
		if d.Pod == f.Pod {
			pods++
		}
		if d.Phase == f.Phase {
			phases++
		}
	}
	told += fmt.Sprintf("; of all %d, %d have the same Pod and %d the same phase", len(itself.DroppedRequests), pods, phases)
	return told, errors.Join(errs...)
}

// TestSameAsForeign: whatever differs is found.
func TestSameAsForeign(t *testing.T) {
	made := func(change func(*verdict.Verdict)) verdict.Verdict {
		lane := verdict.Lane{OK: 90, Dropped: 2, LastArrival: &verdict.Arrival{After: 1500 * time.Millisecond}}
		lane.Name, lane.Connections = "service/new", "new"
		dropped := verdict.DroppedRequest{Lane: "service/new", Pod: "app-0", Phase: verdict.AfterExit, Class: timeline.ClassNew}
		v := verdict.Verdict{Lanes: []verdict.Lane{lane}, DroppedRequests: []verdict.DroppedRequest{dropped, dropped}}
		change(&v)
		return v
	}
	tests := []struct {
		name   string
		change func(*verdict.Verdict)
		want   string
	}{
		{"the same", func(*verdict.Verdict) {}, ""},
		{"another phase", func(v *verdict.Verdict) { v.DroppedRequests[0].Phase = verdict.ListenerClosed }, ""},
		{"another Pod", func(v *verdict.Verdict) { v.DroppedRequests[0].Pod = "app-1" }, "is charged to Pod app-0, and without the app's word to app-1"},
		{"other counts", func(v *verdict.Verdict) { v.Lanes[0].OK-- }, "[90 2 0 0] requests are ok, dropped, masked, late, and without the app's word [89 2 0 0]"},
		{"another delay", func(v *verdict.Verdict) { v.Lanes[0].LastArrival.After = 1100 * time.Millisecond }, "requests arrive for 1.5s, and without the app's word for 1.1s"},
		{"nearly the same delay", func(v *verdict.Verdict) { v.Lanes[0].LastArrival.After = 1300 * time.Millisecond }, ""},
		{"too few are charged", func(v *verdict.Verdict) { v.DroppedRequests[0].Phase = verdict.Unattributed }, "1 of 2 requests that were dropped on new connections"},
		{"another run", func(v *verdict.Verdict) { v.DroppedRequests = nil }, "not of the same run"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			told, err := sameAsForeign(made(func(*verdict.Verdict) {}), made(tt.change))
			assert.NotEmpty(t, told)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}
