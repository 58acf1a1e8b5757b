package suite

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/harness"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline/timelinetest"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// recorded is the timeline of a run of a suite, with as many requests as need be.
func recorded(run scenarios.Run, change func(*timeline.Timeline)) timeline.Timeline {
	tl := timelinetest.Rollout(run.Strategy.Name)
	tl.Environment = timeline.Environment{Kubernetes: "v1.37.2", ProxyMode: "iptables", MinSyncPeriod: "1s"}
	tl.Repeat, tl.Spec = run.Repeat, harness.NewSpec(run.Scenario, tl.Environment)
	if change != nil {
		change(&tl)
	}
	return tl
}

// TestResume: a run that is stored as it would be made is judged again and put on record; any other
// is made again, from an empty folder. What the suite before has left stays where it is.
func TestResume(t *testing.T) {
	flags := []string{"-profile=smoke", "-lanes=service/new,nodeport/new", "-resume"}
	const why = ": made again: "
	tests := []struct {
		name   string
		flags  []string
		change func(*timeline.Timeline)
		damage string // a file that is cut
		said   string // why it is made again; empty if it is not
	}{
		{"as it would be", nil, nil, "", ""},
		{"dropped what must not be dropped", nil, func(tl *timeline.Timeline) { tl.Lanes[0].Requests[60].Cause = timeline.Refused }, "", ""},
		{"a run without a cluster", nil, func(tl *timeline.Timeline) { tl.Errors = []string{"the disk is full"} }, "", why + "not measured: the disk is full"},
		{"stopped", nil, func(tl *timeline.Timeline) { tl.Interrupted = "stopped by a signal" }, "", why + "stopped by a signal"},
		{"damaged", nil, nil, timeline.CSVFile, why + "load timeline from "},
		{"another rate", []string{"-rate=7"}, nil, "", why + "what is stored was declared otherwise"},
		{"other lanes", []string{"-lanes=service/new"}, nil, "", why + "what is stored was declared otherwise"},
		{"other promises", nil, func(tl *timeline.Timeline) {
			tl.Spec.Lanes[0].Held[timeline.ClassNew] = timeline.Promise{Expect: timeline.Drops}
		}, "", why + "what is stored was declared otherwise"},
		{"another delay", nil, func(tl *timeline.Timeline) { tl.Spec.Delay = 7 * sec }, "", why + "what is stored was declared otherwise"},
		{"another repeat", nil, func(tl *timeline.Timeline) { tl.Repeat = 2 }, "", why + "what is stored was declared otherwise"},
		{"another mode of kube-proxy", []string{"-proxy-mode=nftables"}, nil, "", why + "what is stored was measured with another kube-proxy"},
		{"another period of kube-proxy", []string{"-proxy-min-sync=10s"}, nil, "", why + "what is stored was measured with another kube-proxy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, _ := newTestSuite(t, flags...)
			runs, err := before.Runs()
			require.NoError(t, err)
			run := runs[2]
			require.NoError(t, timeline.Save(before.dir(run), recorded(run, tt.change)))
			create(t, before.Config.Out, map[string]string{"report.json": "{}", "kind.log": "before\n", "prestop-sleep/rolling-update/pods/app-0.log": "x"})
			if tt.damage != "" {
				cut(t, filepath.Join(before.dir(run), tt.damage))
			}

			s, out := newTestSuite(t, append(flags, tt.flags...)...)
			s.Config.Out = before.Config.Out
			stopped, stop := context.WithCancel(t.Context())
			stop() // so that no run can begin
			s.ctx = stopped
			require.NoError(t, s.PrepareArtifacts())
			runs, err = s.Runs()
			require.NoError(t, err)
			r := &recorder{}
			v := s.Measure(t.Context(), r, runs[2], 3, 3)
			require.Len(t, s.Verdicts(), 1)
			logged, err := os.ReadFile(filepath.Join(s.Config.Out, kindLogFile))
			require.NoError(t, err)
			assert.Equal(t, "before\n", string(logged))
			if tt.said != "" {
				assert.Contains(t, out.String(), "run 3 of 3: prestop-sleep/rolling-update"+tt.said)
				assert.Equal(t, []string{"not run: stopped by a signal"}, v.Reasons)
				assert.NoFileExists(t, filepath.Join(s.dir(run), "pods", "app-0.log"))
				assert.FileExists(t, filepath.Join(s.Config.Out, previousDir, "prestop-sleep/rolling-update/pods/app-0.log"))
				return
			}
			tl, err := timeline.Load(s.dir(run))
			require.NoError(t, err)
			assert.Equal(t, verdict.Judge(tl), v)
			assert.Contains(t, out.String(), "run 3 of 3: prestop-sleep/rolling-update (stored): ")
			assert.Equal(t, "v1.37.2", readReport(t, s.Config.Out).Cluster.Kubernetes)
			assert.FileExists(t, filepath.Join(s.dir(run), "run.html"))
			s.Announce(runs)
			assert.Contains(t, out.String(), "2 runs, about 2 min; 1 more are stored")
			require.NoError(t, s.kindLog.Close())
		})
	}
}

// TestResumeSecondAttempt: a run whose second attempt was cut off has no third.
func TestResumeSecondAttempt(t *testing.T) {
	s, _ := newTestSuite(t, "-profile=smoke", "-lanes=service/new,nodeport/new", "-resume")
	runs, err := s.Runs()
	require.NoError(t, err)
	dir := s.dir(runs[2])
	busy := recorded(runs[2], func(tl *timeline.Timeline) {
		for i := range tl.Lanes[0].Requests {
			tl.Lanes[0].Requests[i].Lag = sec
		}
	})
	require.NoError(t, timeline.Save(dir+firstAttempt, busy))
	require.NoError(t, s.setAside(runs[2]))
	made := 0
	s.repeatOnce(&recorder{}, dir, s.progress.run(3, 3, runs[2]), func() timeline.Timeline {
		made++
		return busy
	})
	assert.Equal(t, 1, made)
	tl, err := timeline.Load(dir)
	require.NoError(t, err)
	assert.NotEmpty(t, tl.Retry)
	assert.DirExists(t, dir+firstAttempt)
}

// TestResumeFresh: where nothing is stored it is a suite as any other, but for what was cut off in
// mid-run: that is not mixed with what comes.
func TestResumeFresh(t *testing.T) {
	s, _ := newTestSuite(t, "-profile=smoke", "-resume")
	create(t, s.Config.Out, map[string]string{"no-handler/none/pods/old.log": "x", "no-handler/none-first-attempt/timeline.json": "{}"})
	require.NoError(t, s.PrepareArtifacts())
	stopped, stop := context.WithCancel(t.Context())
	stop()
	s.ctx = stopped
	runs, err := s.Runs()
	require.NoError(t, err)
	s.Measure(t.Context(), &recorder{}, runs[0], 1, 3)
	assert.NoFileExists(t, filepath.Join(s.dir(runs[0]), "pods", "old.log"))
	assert.NoDirExists(t, s.dir(runs[0])+firstAttempt)
	assert.FileExists(t, filepath.Join(s.dir(runs[0]), timeline.JSONFile))
	require.NoError(t, s.kindLog.Close())
}
