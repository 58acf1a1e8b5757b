package suite

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// shop is an app of people's own; lifecycle is a part of its container, and may be empty.
func shop(t *testing.T, lifecycle string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "shop.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      containers:
      - name: web
        image: shop:1
`+lifecycle+`---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80}]}
`), 0o600))
	return file
}

func paths(runs []scenarios.Run) []string {
	var out []string
	for _, r := range runs {
		out = append(out, r.Path())
	}
	return out
}

// arrived is a run of people's own app, at one of whose Pods the last request came so long after its deletion.
func arrived(strategy string, delay, last time.Duration, censored bool) verdict.Verdict {
	return verdict.Verdict{
		Outcome: verdict.Pass,
		Spec: timeline.Spec{
			Strategy: strategy, Disruption: "rolling-update", Delay: delay, Target: &timeline.TargetSpec{Name: "shop"},
		},
		Lanes: []verdict.Lane{{
			LaneSpec: timeline.LaneSpec{Name: "service/new", Consumer: "service", Rate: 50, Connections: "new", Class: timeline.ClassNew},
			Arrivals: []verdict.Arrival{{Pod: "shop-1", After: last, Censored: censored}},
		}},
	}
}

// TestAppRuns: people's own app first as it is, then with the usual sleep; then what these have measured, and the
// sample app's control beside it.
func TestAppRuns(t *testing.T) {
	tests := []struct {
		name      string
		lifecycle string
		verdicts  []verdict.Verdict
		runs      []string
		followUp  []string
		notRun    []string // strategies
	}{
		{
			"an app that stops at once", "",
			[]verdict.Verdict{arrived("as-is", 0, 100*ms, true), arrived("prestop-sleep-15s", 15*time.Second, 1100*ms, false)},
			[]string{"as-is/none", "as-is/rolling-update", "as-is/pod-deletion", "prestop-sleep-15s/rolling-update"},
			[]string{"prestop-sleep-2s/rolling-update", "min-ready-2s/rolling-update", "no-handler/rolling-update"},
			[]string{"stop-signal"},
		},
		{
			"one that sleeps long enough", "        lifecycle: {preStop: {sleep: {seconds: 20}}}\n",
			[]verdict.Verdict{arrived("as-is", 20*time.Second, 1100*ms, false)},
			[]string{"as-is/none", "as-is/rolling-update", "as-is/pod-deletion"},
			[]string{"min-ready-2s/rolling-update", "no-handler/rolling-update"},
			[]string{"prestop-sleep-15s", "prestop-sleep-2s", "stop-signal"},
		},
		{
			"nothing was measured", "",
			nil,
			[]string{"as-is/none", "as-is/rolling-update", "as-is/pod-deletion", "prestop-sleep-15s/rolling-update"},
			[]string{"no-handler/rolling-update"},
			[]string{"prestop-sleep at the delay that was measured", "stop-signal"},
		},
		{
			"requests come until the Pod's end", "",
			[]verdict.Verdict{arrived("prestop-sleep-15s", 15*time.Second, 14*time.Second, true)},
			[]string{"as-is/none", "as-is/rolling-update", "as-is/pod-deletion", "prestop-sleep-15s/rolling-update"},
			[]string{"no-handler/rolling-update"},
			[]string{"prestop-sleep at the delay that was measured", "stop-signal"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newTestSuite(t, "-app="+shop(t, tt.lifecycle))
			runs, err := s.Runs()
			require.NoError(t, err)
			assert.Equal(t, tt.runs, paths(runs))
			assert.Equal(t, 50, runs[0].Lanes[0].Load.Rate)
			s.verdicts = tt.verdicts
			more, err := s.FollowUp()
			require.NoError(t, err)
			assert.Equal(t, tt.followUp, paths(more))
			control := more[len(more)-1]
			assert.True(t, control.Control)
			assert.Nil(t, control.Target, "of the sample app")
			var left []string
			for _, cell := range s.notRun {
				left = append(left, cell.Strategy)
				assert.Contains(t, cell.Why, "not tried: ")
			}
			assert.Equal(t, tt.notRun, left)
		})
	}
	s, _ := newTestSuite(t)
	more, err := s.FollowUp()
	require.NoError(t, err)
	assert.Empty(t, more, "of the sample app nothing follows")
	s, _ = newTestSuite(t, "-app="+shop(t, ""), "-kubeconfig=/k", "-context=c", "-load-image=l")
	more, err = s.FollowUp()
	require.NoError(t, err)
	assert.Empty(t, more, "a cluster that exists can't load the sample app")
	assert.Contains(t, s.notRun[len(s.notRun)-1].Why, "-app-image names its image")
}

// TestAppRepeated: repeats of all runs, those that follow as well.
func TestAppRepeated(t *testing.T) {
	s, out := newTestSuite(t, "-app="+shop(t, ""), "-repeat=2", "-rate=20")
	runs, err := s.Runs()
	require.NoError(t, err)
	assert.Len(t, runs, 8)
	assert.True(t, runs[0].Series)
	assert.Equal(t, 20, runs[0].Lanes[0].Load.Rate)
	s.Announce(runs)
	assert.Contains(t, out.String(), "8 runs and up to 3 by what these measure, about ")
	s.tellApp()
	assert.Contains(t, out.String(), "measured: Deployment shop, 2 replicas, container web, image shop:1\n")
	assert.Contains(t, out.String(), "warning: container web has no readiness probe")
}

// TestAppBroken: an app that can't be had as it is isn't waited for again, and a change of it says nothing about it.
func TestAppBroken(t *testing.T) {
	s, _ := newTestSuite(t, "-app="+shop(t, ""))
	runs, err := s.Runs()
	require.NoError(t, err)
	s.noteBroken("shop", runs[3], os.ErrNotExist)
	assert.Empty(t, s.broken)
	s.noteBroken("shop", runs[0], os.ErrNotExist)
	assert.ErrorIs(t, s.broken["shop"], os.ErrNotExist)
}

// TestAppRefused: what is wrong with an app is bad flags, told before anything is made.
func TestAppRefused(t *testing.T) {
	c := parseFlags(t, "-app="+filepath.Join(t.TempDir(), "none"))
	require.NoError(t, c.Validate())
	_, err := New(t.Context(), c)
	require.ErrorIs(t, err, ErrConfig)
	require.ErrorContains(t, err, "-app: read the app: there is no /")
	c = parseFlags(t, "-app="+shop(t, ""), "-app-archive="+filepath.Join(t.TempDir(), "none"))
	require.NoError(t, c.Validate())
	_, err = New(t.Context(), c)
	require.ErrorIs(t, err, ErrConfig)
	require.ErrorContains(t, err, "-app-archive: read the archive of images: open /")
}
