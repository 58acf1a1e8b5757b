package suite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/cluster"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestRuns: the flags choose the runs, and what can't be is told before anything is brought up.
func TestRuns(t *testing.T) {
	tests := []struct {
		name  string
		flags []string
		want  []string
		err   string
	}{
		{
			"smoke",
			[]string{"-profile=smoke"},
			[]string{"no-handler/none", "no-handler/rolling-update", "prestop-sleep/rolling-update"},
			"",
		},
		{
			"instead of the profile's",
			[]string{"-strategies=prestop-sleep,shutdown-at-once", "-disruptions=pod-deletion"},
			[]string{"no-handler/none", "prestop-sleep/pod-deletion", "shutdown-at-once/pod-deletion"},
			"",
		},
		{
			"at another delay",
			[]string{"-strategies=in-app-delay-close", "-disruptions=rolling-update", "-delay=1.5s"},
			[]string{"no-handler/none", "in-app-delay-close@1.5s/rolling-update"},
			"",
		},
		{
			"the order is reversed every second time",
			[]string{"-profile=smoke", "-strategies=prestop-sleep", "-repeat=2"},
			[]string{"no-handler/none", "prestop-sleep/rolling-update", "prestop-sleep/rolling-update", "no-handler/none"},
			"",
		},
		{
			"consumers, on every kube-proxy",
			[]string{"-profile=consumers", "-consumers=nodeport", "-strategies=prestop-sleep", "-disruptions=pod-deletion"},
			[]string{"no-handler/none", "prestop-sleep/pod-deletion", "nftables/no-handler/none", "nftables/prestop-sleep/pod-deletion"},
			"",
		},
		{
			"consumers, on the one that was chosen",
			[]string{"-profile=consumers", "-consumers=nodeport", "-strategies=prestop-sleep", "-disruptions=pod-deletion", "-proxy-mode=nftables"},
			[]string{"no-handler/none", "prestop-sleep/pod-deletion"},
			"",
		},
		{
			"consumers of a cluster that exists",
			[]string{"-profile=consumers", "-consumers=nodeport", "-strategies=prestop-sleep", "-disruptions=pod-deletion", "-kubeconfig=/k", "-context=c"},
			[]string{"no-handler/none", "prestop-sleep/pod-deletion"},
			"",
		},
		{"unknown consumer", []string{"-consumers=pigeon"}, nil, `unknown consumer "pigeon": want one of `},
		{"unknown profile", []string{"-profile=everything"}, nil, `unknown profile "everything": want one of quick, full`},
		{"unknown strategy", []string{"-strategies=prestop-nap"}, nil, `unknown strategy "prestop-nap": want one of `},
		{"unknown disruption", []string{"-disruptions=earthquake"}, nil, `unknown disruption "earthquake": want one of none, `},
		{"unknown lane", []string{"-lanes=pigeon/new"}, nil, `unknown lane "pigeon/new": want one of service/new, `},
		{
			"a delay that can't be",
			[]string{"-strategies=prestop-sleep", "-delay=1.5s"},
			nil,
			"a delay of 1.5s: the kubelet's sleep action takes whole seconds",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newTestSuite(t, tt.flags...)
			runs, err := s.Runs()
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			var got []string
			for _, run := range runs {
				got = append(got, run.Path())
			}
			assert.Equal(t, tt.want, got)
		})
	}
	s, _ := newTestSuite(t, "-profile=smoke", "-lanes=service/new,nodeport/new", "-rate=7")
	runs, err := s.Runs()
	require.NoError(t, err)
	for _, run := range runs {
		require.Len(t, run.Lanes, 2)
		assert.Equal(t, 7, run.Lanes[0].Load.Rate)
	}
}

// TestEstimate: the minutes are those that were measured, and none for a cluster that exists.
func TestEstimate(t *testing.T) {
	tests := []struct {
		name  string
		flags []string
		want  time.Duration
	}{
		{"quick", nil, 6 * time.Minute},
		{"full", []string{"-profile=full"}, 34*time.Minute + 54*sec},
		{"ten replicas", []string{"-strategies=ten-replicas-stop-20s", "-disruptions=rolling-update"}, (50 + 20 + 20 + 20 + 7*5) * sec},
		{"long tasks", []string{"-strategies=tasks-long-grace", "-disruptions=rolling-update", "-task=30s"}, (50 + 20 + 20 + 5 + 30 + 35) * sec},
		{"a delay of its own", []string{"-strategies=prestop-sleep", "-disruptions=pod-deletion", "-delay=60s"}, 150 * sec},
		{"a node is lost", []string{"-strategies=prestop-sleep", "-disruptions=node-lost"}, (50 + 20 + 20 + 15 + 80) * sec},
		{"a cluster that exists", []string{"-kubeconfig=/k", "-context=c"}, 310 * sec},
		{"another kube-proxy, too", []string{"-profile=consumers", "-consumers=service", "-strategies=shutdown-at-once"}, 220 * sec},
		{
			"a longer delay",
			[]string{"-profile=consumers", "-consumers=dns-cached", "-strategies=prestop-sleep", "-proxy-mode=iptables"},
			50*sec + 20*sec + 2*35*sec + 2*52*sec,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, out := newTestSuite(t, tt.flags...)
			runs, err := s.Runs()
			require.NoError(t, err)
			assert.Equal(t, tt.want, s.estimate(runs))
			s.Announce(runs)
			assert.Regexp(t, `\] \d+ runs, about \d+ min\n$`, out.String())
		})
	}
}

// TestLongProfiles: what a night may take, with room for proofs beside it, and what every disruption
// may.
func TestLongProfiles(t *testing.T) {
	estimate := func(flags ...string) time.Duration {
		s, _ := newTestSuite(t, flags...)
		runs, err := s.Runs()
		require.NoError(t, err)
		return s.estimate(runs)
	}
	for day := 1; day <= 10; day++ {
		assert.LessOrEqual(t, estimate("-profile=nightly", fmt.Sprintf("-night=2026-11-%02d", day)), 40*time.Minute)
	}
	assert.LessOrEqual(t, estimate("-profile=disruptions"), time.Hour)
	assert.LessOrEqual(t, estimate("-profile=doubling"), 10*time.Minute)
	assert.LessOrEqual(t, estimate("-profile=long"), 45*time.Minute)

	s, _ := newTestSuite(t, "-profile=disruptions")
	runs, err := s.Runs()
	require.NoError(t, err)
	clusters := 0
	for i, run := range runs {
		if i == 0 || run.Needs().Key() != runs[i-1].Needs().Key() {
			clusters++
		}
	}
	assert.LessOrEqual(t, clusters, 4, "those that can share a cluster follow each other")
}

// TestNotRun: what the profile has and the cluster isn't for is not run, by its name and with the
// reason; what was asked for by its name is an error. Both are told in the report.
func TestNotRun(t *testing.T) {
	ours := []string{"-profile=nightly", "-night=2026-11-26"}
	theirs := append(slices.Clone(ours), "-kubeconfig=/k", "-context=c")
	tests := []struct {
		name  string
		flags []string
		reach scenarios.Reach
		want  []string // of what is not run: why
		err   string
	}{
		{"on a cluster of ours", ours, scenarios.ReachNode, nil, ""},
		{"within a namespace of theirs", theirs, scenarios.ReachNamespace, nil, ""},
		{
			"on a node of theirs", theirs, scenarios.ReachNode,
			[]string{"disruption drain reaches beyond the namespace, to the node: is only for a kind cluster of zerodrop's own"},
			"",
		},
		{"on a node of theirs, by its name", append(slices.Clone(theirs), "-disruptions=drain"), scenarios.ReachNode, nil, "disruption drain reaches"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, out := newTestSuite(t, tt.flags...)
			scenario, err := s.Find("prestop-sleep", "rolling-update")
			require.NoError(t, err)
			scenario.Disruption.Name, scenario.Disruption.Reach = "drain", tt.reach
			list, err := s.allowed([]scenarios.Scenario{scenario})
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Len(t, list, 1-len(tt.want))
			var got []string
			for _, cell := range s.report().NotRun {
				assert.Equal(t, "prestop-sleep/drain", cell.Strategy+"/"+cell.Disruption)
				got = append(got, cell.Why)
			}
			assert.Equal(t, tt.want, got)
			s.Announce(nil)
			assert.Equal(t, len(tt.want) > 0, strings.Contains(out.String(), "; 1 more are not run"))
		})
	}
}

// TestGroupRuns: a cluster that is fit for several runs is not taken away between them, and a
// component that a group needs stays while its runs are made.
func TestGroupRuns(t *testing.T) {
	run := func(name, group, mode string, gates ...string) scenarios.Run {
		d := scenarios.Disruption{Name: name, Needs: scenarios.Needs{FeatureGates: map[string]bool{}}}
		for _, gate := range gates {
			d.Needs.FeatureGates[gate] = true
		}
		return scenarios.Run{Scenario: scenarios.Scenario{Disruption: d, Group: group, ProxyMode: mode}}
	}
	tests := []struct {
		name string
		runs []scenarios.Run
		want []string
	}{
		{
			"needs",
			[]scenarios.Run{run("a", "", ""), run("b", "", "", "X"), run("c", "", ""), run("d", "", "", "Y"), run("e", "", "", "X"), run("f", "", "")},
			[]string{"a", "c", "f", "b", "e", "d"},
		},
		{
			"groups",
			[]scenarios.Run{run("a", "z", ""), run("b", "", ""), run("c", "", "nftables"), run("d", "", ""), run("e", "z", ""), run("f", "z", "nftables")},
			[]string{"a", "e", "b", "d", "f", "c"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, r := range groupRuns(tt.runs) {
				got = append(got, r.Disruption.Name)
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

// TestNoteBroken: a group whose component can't be had is not tried again on the same cluster; any
// other error, and one of a suite that is being stopped, says nothing about the next run.
func TestNoteBroken(t *testing.T) {
	s, _ := newTestSuite(t)
	s.noteBroken("ingress", scenarios.Run{}, errors.New("the API server is away"))
	assert.Empty(t, s.broken)
	s.noteBroken("ingress", scenarios.Run{}, fmt.Errorf("deploy x: %w: no image", cluster.ErrComponent))
	require.ErrorContains(t, s.broken["ingress"], "deploy x: a program that the run needs is not there: no image")
	assert.NoError(t, s.broken["gateway"])
	s.cluster, s.clusterKey = &cluster.Cluster{}, s.key(scenarios.Needs{}) // one that is there
	s.environment = timeline.Environment{ProxyMode: "nftables"}
	scenario, err := s.Find("prestop-sleep", "rolling-update")
	require.NoError(t, err)
	scenario.Group = "ingress"
	tl := s.run(t.Context(), scenarios.Run{Scenario: scenario}, t.TempDir(), runProgress{progress: s.progress})
	assert.Equal(t, []string{"not tried again: deploy x: a program that the run needs is not there: no image"}, tl.Errors)
	assert.Equal(t, s.environment, tl.Environment, "its consumers stand under the right kube-proxy")
	s.noteBroken("rollout", scenarios.Run{}, cluster.ErrComponent)
	assert.NoError(t, s.broken[""], "the group's runs on other workloads don't need it")
	s.cluster = nil
	ctx, stop := context.WithCancel(t.Context())
	stop()
	s.ctx = ctx
	s.noteBroken("gateway", scenarios.Run{}, cluster.ErrComponent)
	assert.NoError(t, s.broken["gateway"])
}

// TestSeries: a run that isn't conclusive is the last, and none writes over another.
func TestSeries(t *testing.T) {
	const pass, fail, doubt, broken = verdict.Pass, verdict.Fail, verdict.Inconclusive, verdict.Infrastructure
	tests := []struct {
		name     string
		n        int
		outcomes []verdict.Outcome // of the runs, in order
	}{
		{"all well", 2, []verdict.Outcome{pass, pass}},
		{"a fail is a result", 2, []verdict.Outcome{fail, pass}},
		{"not conclusive", 3, []verdict.Outcome{pass, doubt}},
		{"broken", 2, []verdict.Outcome{broken}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newTestSuite(t)
			scenario, err := s.Find("shutdown-at-once", "rolling-update")
			require.NoError(t, err)
			for series := range 2 {
				var repeats, want []int
				s.Series(&recorder{}, scenario, tt.n, func(run scenarios.Run) (verdict.Verdict, string) {
					repeats = append(repeats, run.Repeat)
					return verdict.Verdict{Outcome: tt.outcomes[len(repeats)-1], Reasons: []string{"so"}}, ""
				})
				for i := range tt.outcomes {
					want = append(want, series*len(tt.outcomes)+i+1)
				}
				assert.Equal(t, want, repeats)
			}
			var got []verdict.Outcome
			for _, v := range s.Verdicts() {
				got = append(got, v.Outcome)
			}
			assert.Equal(t, append(tt.outcomes, tt.outcomes...), got)
		})
	}
}

// TestRepeatOnce: a run is made again if the machine alone was to blame, once, and what the first
// attempt dropped against a promise is told. Both are kept, and one is judged again.
func TestRepeatOnce(t *testing.T) {
	const strategy = "prestop-sleep"
	const cpu = "too few CPUs: tasks waited for one in 99 % of the time where host sent from, at most 95 %"
	busy := func(tl timeline.Timeline) timeline.Timeline {
		most := 0.99
		tl.Senders = []timeline.Sender{{Name: "host", Pressure: &most}}
		return tl
	}
	gaping := func(tl timeline.Timeline) timeline.Timeline {
		tl.Events = append(tl.Events, timeline.Event{At: 5 * sec, Kind: timeline.WatchGap, Detail: "Pods: expired"})
		return tl
	}
	good, bad := conclusive(strategy), dropping(strategy, 7)
	stopped := busy(conclusive(strategy))
	stopped.Interrupted = "stopped by a signal"
	tests := []struct {
		name     string
		attempts []timeline.Timeline
		want     verdict.Outcome
		retry    []string
	}{
		{"passed", []timeline.Timeline{good}, verdict.Pass, nil},
		{"busy, then passed", []timeline.Timeline{busy(good), good}, verdict.Pass, []string{cpu}},
		{"a failure is not repeated", []timeline.Timeline{bad}, verdict.Fail, nil},
		{"busy, then failed", []timeline.Timeline{busy(good), bad}, verdict.Fail, []string{cpu}},
		{"busy and dropping, then passed", []timeline.Timeline{busy(bad), good}, verdict.Pass, []string{
			"it failed, too: nodeport/new: new: dropped 7 of 200 where none may be dropped (strategy prestop-sleep)", cpu,
		}},
		{"busy twice", []timeline.Timeline{busy(good), busy(good)}, verdict.Inconclusive, []string{cpu}},
		{"not the machine's fault", []timeline.Timeline{gaping(good)}, verdict.Inconclusive, nil},
		{"not the machine's fault alone", []timeline.Timeline{busy(gaping(good))}, verdict.Inconclusive, nil},
		{"stopped", []timeline.Timeline{stopped}, verdict.Inconclusive, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, out := newTestSuite(t)
			dir := filepath.Join(s.Config.Out, strategy, "rolling-update")
			made := 0
			v := s.repeatOnce(t, dir, runProgress{progress: s.progress}, func() timeline.Timeline {
				made++
				require.LessOrEqual(t, made, len(tt.attempts))
				return tt.attempts[made-1]
			})
			assert.Len(t, tt.attempts, made)
			assert.Equal(t, tt.want, v.Outcome)
			assert.Equal(t, tt.retry, v.Retry)
			tl, err := timeline.Load(dir)
			require.NoError(t, err)
			assert.Equal(t, tt.retry, verdict.Judge(tl).Retry, "judged again it is told, too")
			if made == 1 {
				assert.NoDirExists(t, dir+firstAttempt)
				return
			}
			assert.Contains(t, out.String(), "the machine was busy, the run is made again: "+tt.retry[0])
			tl, err = timeline.Load(dir + firstAttempt)
			require.NoError(t, err)
			assert.True(t, verdict.Judge(tl).MachineBusy)
			s.Config.Replay = s.Config.Out
			stored, err := s.Stored()
			require.NoError(t, err)
			assert.Len(t, stored, 1)
		})
	}
}

// TestRestartedOnce: what runs in somebody else's cluster isn't restarted again for the machine's sake.
func TestRestartedOnce(t *testing.T) {
	s, _ := newTestSuite(t)
	s.Config.Cluster.Live = &cluster.Live{Namespace: "prod", Deployment: "shop"}
	made, most := 0, 0.99
	v := s.repeatOnce(t, t.TempDir(), runProgress{progress: s.progress}, func() timeline.Timeline {
		made++
		tl := conclusive("prestop-sleep")
		tl.Senders = []timeline.Sender{{Name: "host", Pressure: &most}}
		return tl
	})
	assert.True(t, v.MachineBusy)
	assert.Equal(t, 1, made)
}

// TestInterrupted: who ends a run has broken nothing; what else went wrong stays on record.
func TestInterrupted(t *testing.T) {
	limit := errors.New("the run took longer than its limit of 4m0s")
	tests := []struct {
		name   string
		errors []string
		why    error
		want   timeline.Timeline
	}{
		{"left alone", nil, nil, timeline.Timeline{}},
		{"an error", []string{"observe: gone"}, nil, timeline.Timeline{Errors: []string{"observe: gone"}}},
		{"Ctrl-C", []string{"run: lead: stopped by a signal"}, errStopped, timeline.Timeline{Interrupted: "stopped by a signal"}},
		{"Ctrl-C before it began", []string{"not run: stopped by a signal"}, fmt.Errorf("not run: %w", errStopped), timeline.Timeline{Interrupted: "not run: stopped by a signal"}},
		{"out of time", []string{"run: termination: …"}, errTime, timeline.Timeline{Interrupted: errTime.Error()}},
		{"Ctrl-C when it was over", nil, errStopped, timeline.Timeline{}},
		{"its own limit", []string{"run: …"}, limit, timeline.Timeline{Errors: []string{"run: …"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, interrupted(timeline.Timeline{Errors: tt.errors}, tt.why))
		})
	}
}
