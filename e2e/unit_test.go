package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/cluster"
	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// The tests of the suite itself. They need no cluster and leave `the` alone.

const (
	ms  = time.Millisecond
	sec = time.Second
)

// newTestSuite is a suite with a folder of its own that writes its progress, as plain lines, where the test can read it.
func newTestSuite(t *testing.T, args ...string) (*suite, *bytes.Buffer) {
	t.Helper()
	t.Setenv("GITHUB_STEP_SUMMARY", "")
	settings := parseFlags(t, append([]string{"-artifacts=" + filepath.Join(t.TempDir(), "artifacts")}, args...)...)
	require.NoError(t, settings.validate())
	s := newSuite(t.Context(), settings)
	require.NoError(t, s.broken)
	var out bytes.Buffer
	s.progress = &progress{out: &out, began: time.Now()}
	return s, &out
}

// believable is the timeline of a rolling update that can be believed and that lost nothing: three Pods replaced one after the other, three lanes.
//
//	0s lead 3s disruption 9s termination 12s tail 20s
func believable(strategy string) timeline.Timeline {
	tl := timeline.Timeline{
		Schema: timeline.Schema, Strategy: strategy, Disruption: "rolling-update", Repeat: 1, Replicas: 3, Start: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
		Window:      timeline.Window{DisruptStart: 3 * sec, DisruptEnd: 9 * sec, Settled: 12 * sec, LoadEnd: 20 * sec, Overhead: 50 * ms},
		Environment: timeline.Environment{Kubernetes: "v1.37.2", Nodes: 3, ProxyMode: "iptables", MinSyncPeriod: "1s"},
	}
	pods := []string{"app-0", "app-1", "app-2", "app-3", "app-4", "app-5"}
	for i := range 3 {
		deleted := time.Duration(4+2*i) * sec
		tl.Events = append(tl.Events,
			timeline.Event{Kind: timeline.PodCreated, Pod: pods[i]}, timeline.Event{Kind: timeline.PodReady, Pod: pods[i]},
			timeline.Event{At: deleted - sec, Kind: timeline.PodCreated, Pod: pods[i+3]}, timeline.Event{At: deleted - 500*ms, Kind: timeline.PodReady, Pod: pods[i+3]},
			timeline.Event{At: deleted, Kind: timeline.PodDeleted, Pod: pods[i]}, timeline.Event{At: deleted + 2*sec, Kind: timeline.PodGone, Pod: pods[i]},
		)
	}
	for _, load := range []string{"new", "reused", "slow"} {
		l := timeline.LaneRecord{Name: "nodeport/" + load, Method: "GET", Connections: "new", Rate: 10, Timeout: 5 * sec, Planned: 200, Pods: pods}
		for seq := range l.Planned {
			pod := uint16(1 + seq%3)
			if seq >= 40 { // 4 s
				pod += 3
			}
			l.Requests = append(l.Requests, timeline.Request{
				Planned: time.Duration(seq) * 100 * ms, Lag: ms, Latency: 3 * ms, Leaving: timeline.NotLeaving,
				Cause: timeline.OK, Code: 200, Attempts: 1, Pod: pod, Conn: 1, ConnUse: 1,
			})
		}
		tl.Lanes = append(tl.Lanes, l)
	}
	return tl
}

// lossy is the same with requests of the first lane lost during the disruption.
func lossy(strategy string, n int) timeline.Timeline {
	tl := believable(strategy)
	for i := range n {
		r := &tl.Lanes[0].Requests[60+i]
		r.Cause, r.Code, r.Pod, r.Conn, r.ConnUse = timeline.Refused, 0, 0, 0, 0
	}
	return tl
}

func (s *suite) judge(t *testing.T, tl timeline.Timeline) verdict.Verdict {
	t.Helper()
	scenario, err := s.catalogue.Find(tl.Strategy, tl.Disruption, tl.Lanes[0].Rate)
	require.NoError(t, err)
	return verdict.Judge(tl, scenario)
}

// recorder is a test that takes its failures down instead of failing.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper()           {}
func (r *recorder) Error(args ...any) { r.errors = append(r.errors, fmt.Sprint(args...)) }

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// TestConclude: whatever isn't a pass makes its test fail, with the reasons; every run is in all reports at once.
func TestConclude(t *testing.T) {
	s, out := newTestSuite(t)
	tl := believable("prestop-sleep")
	pass, fail, control := s.judge(t, tl), s.judge(t, lossy("in-app-delay", 7)), s.judge(t, believable("no-handler"))
	torn := lossy("shutdown-at-once", 7)
	torn.Faults = []string{"run: the API server went away"}
	stopped := lossy("shutdown-at-once", 7)
	stopped.Interrupted = "stopped by a signal"
	tests := []struct {
		name   string
		v      verdict.Verdict
		failed bool     // so far
		want   []string // errors
	}{
		{"pass", pass, false, nil},
		{"fail", fail, true, []string{"fail: nodeport/new: lost 7 of 200 where at most 0 may be lost"}},
		{"infrastructure", s.judge(t, torn), true, []string{"infrastructure: run: the API server went away"}},
		{"stopped", s.judge(t, stopped), true, []string{"inconclusive: stopped by a signal"}},
		{"a control that lost nothing", control, true, []string{"inconclusive: no lane lost anything where something must be lost"}},
		{"not judged at all", verdict.Verdict{Strategy: "x", Disruption: "y"}, true, []string{"inconclusive, for no reason that is known"}},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &recorder{TB: t}
			dir := t.TempDir()
			s.conclude(r, tt.v, dir)
			require.Len(t, r.errors, len(tt.want), r.errors)
			for j, want := range tt.want {
				assert.Contains(t, r.errors[j], want)
			}
			assert.Equal(t, tt.failed, s.failed)
			raw, err := os.ReadFile(filepath.Join(dir, "verdict.json"))
			require.NoError(t, err)
			want, err := json.Marshal(tt.v)
			require.NoError(t, err)
			assert.JSONEq(t, string(want), string(raw))
			assert.Len(t, readReport(t, s.settings.artifacts).Runs, i+1)
		})
	}
	outcome, err := s.finish(t.Context())
	require.EqualError(t, err, "the suite's outcome is infrastructure")
	assert.Equal(t, verdict.Infrastructure, *outcome)
	assert.Contains(t, out.String(), "INFRASTRUCTURE")
	assert.Contains(t, out.String(), "INCONCLUSIVE")
}

// TestConcludeCanNotWrite: a verdict or report that isn't on disk is an error of its run.
func TestConcludeCanNotWrite(t *testing.T) {
	s, _ := newTestSuite(t)
	require.NoError(t, os.WriteFile(s.settings.artifacts, nil, 0o600)) // a file where the folder should be
	r := &recorder{TB: t}
	s.conclude(r, s.judge(t, believable("prestop-sleep")), filepath.Join(t.TempDir(), "missing"))
	require.Len(t, r.errors, 2)
	assert.Contains(t, r.errors[0], "write verdict: ")
	assert.Contains(t, r.errors[1], "write reports: ")
	_, err := s.finish(t.Context())
	assert.ErrorContains(t, err, "write reports: ")
}

// storedReport is as much of report.json as these tests look at.
type storedReport struct {
	Schema, Outcome, Profile string
	Replay                   bool
	Cluster                  struct{ Kubernetes string }
	Runs                     []struct {
		Strategy, Disruption, Outcome string
		Reasons                       []string
		Lanes                         []struct{ Sent, Dropped int }
	}
}

func readReport(t *testing.T, artifacts string) storedReport {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(artifacts, "report.json"))
	require.NoError(t, err)
	var r storedReport
	require.NoError(t, json.Unmarshal(raw, &r))
	return r
}

// TestFinish: the report in every format, also the text for who looks on and the markdown for a GitHub job, added to what is there.
func TestFinish(t *testing.T) {
	s, out := newTestSuite(t, "-profile=smoke")
	summary := filepath.Join(t.TempDir(), "summary.md")
	require.NoError(t, os.WriteFile(summary, []byte("of another step\n"), 0o600))
	t.Setenv("GITHUB_STEP_SUMMARY", summary)
	require.NoError(t, s.makeRoom())
	s.facts = timeline.Environment{Kubernetes: "v1.37.2"}
	s.conclude(t, s.judge(t, believable("prestop-sleep")), t.TempDir())
	outcome, err := s.finish(t.Context())
	require.NoError(t, err)
	assert.Equal(t, verdict.Pass, *outcome)

	files := map[string]string{
		"report.txt": "prestop-sleep", "report.md": "| ", "junit.xml": "<testsuites", "report.json": `"zerodrop.report/v1"`, "index.html": "<!DOCTYPE html>",
	}
	require.Len(t, report.Formats(), len(files))
	for file, want := range files {
		raw, err := os.ReadFile(filepath.Join(s.settings.artifacts, file))
		require.NoError(t, err)
		assert.Contains(t, string(raw), want, file)
	}
	r := readReport(t, s.settings.artifacts)
	assert.Equal(t, "pass", r.Outcome)
	assert.Equal(t, "smoke", r.Profile)
	assert.Equal(t, "v1.37.2", r.Cluster.Kubernetes)
	assert.False(t, r.Replay)
	text, err := os.ReadFile(filepath.Join(s.settings.artifacts, "report.txt"))
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(text), "\n")
	assert.Contains(t, out.String(), first)
	markdown, err := os.ReadFile(summary)
	require.NoError(t, err)
	assert.Regexp(t, `(?s)^of another step\n.*prestop-sleep`, string(markdown))

	t.Setenv("GITHUB_STEP_SUMMARY", t.TempDir())
	require.ErrorContains(t, s.publish(), "write job summary: ")
}

// TestFinishWithoutRuns: with no run there's no report, and nothing to complain about: tests may have been skipped.
func TestFinishWithoutRuns(t *testing.T) {
	s, out := newTestSuite(t)
	outcome, err := s.finish(t.Context())
	require.NoError(t, err)
	assert.Nil(t, outcome)
	assert.NoDirExists(t, s.settings.artifacts)
	assert.Empty(t, out.String())
}

// TestOpenCluster: a cluster that can't be had is tried once, and taken away once.
func TestOpenCluster(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no container engine
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for name, config := range map[string]cluster.Config{"exists": {Kubeconfig: "/nonexistent", Context: "c"}, "kind": {}} {
		t.Run(name, func(t *testing.T) {
			s, out := newTestSuite(t)
			s.settings.cluster = config
			require.NoError(t, s.makeRoom())
			_, first := s.openCluster(t.Context())
			require.Error(t, first)
			_, second := s.openCluster(t.Context())
			assert.Same(t, first, second, "not tried again")
			_, err := s.finish(t.Context())
			require.NoError(t, err)
			assert.NotContains(t, out.String(), "cluster ready")
			assert.NotContains(t, out.String(), "could be collected")
		})
	}
}

// files are all files below a folder, with what is in them.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(path)
		out[filepath.ToSlash(name)] = string(raw)
		return err
	}))
	return out
}

func create(t *testing.T, dir string, all map[string]string) {
	t.Helper()
	for name, content := range all {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
}

// TestMakeRoom: a new suite neither mixes with the one before nor destroys it, nor anything else.
func TestMakeRoom(t *testing.T) {
	type all = map[string]string
	tests := []struct {
		name   string
		before all
		want   all
	}{
		{"nothing there", nil, all{"kind.log": ""}},
		{
			"a suite before", all{
				"report.json": "1", "report.md": "1", "report.txt": "1", "junit.xml": "1", "kind.log": "1", "cluster-logs/node/journal.log": "1",
				"prestop-sleep/rolling-update/timeline.json": "1", "no-handler/none/2/timeline.json": "1", "index.html": "1",
				"safe-delay.txt": "1", "safe-delay.json": "1", "in-app-delay@1.5s/rolling-update/1/timeline.json": "1", "min-sync-1s/safe-delay.txt": "1",
			}, all{
				"previous/report.json": "1", "previous/report.md": "1", "previous/report.txt": "1", "previous/junit.xml": "1", "previous/kind.log": "1",
				"previous/cluster-logs/node/journal.log": "1", "previous/prestop-sleep/rolling-update/timeline.json": "1", "previous/no-handler/none/2/timeline.json": "1",
				"previous/safe-delay.txt": "1", "previous/safe-delay.json": "1", "previous/in-app-delay@1.5s/rolling-update/1/timeline.json": "1",
				"previous/min-sync-1s/safe-delay.txt": "1",
				"kind.log":                            "", "previous/index.html": "1",
			},
		},
		{
			"two suites before: one is kept",
			all{"report.json": "2", "previous/report.json": "1", "previous/kind.log": "1"},
			all{"previous/report.json": "2", "kind.log": ""},
		},
		{
			"no report: whatever it is, it's left alone",
			all{"prestop-sleep/notes.txt": "mine", "previous/photo.jpg": "mine", "report.txt": "mine"},
			all{"prestop-sleep/notes.txt": "mine", "previous/photo.jpg": "mine", "report.txt": "mine", "kind.log": ""},
		},
		{
			"a report among other things: they stay",
			all{"report.json": "1", "no-handler/none/timeline.json": "1", "go.mod": "mine", "e2e/main_test.go": "mine", ".git/HEAD": "mine"},
			all{
				"previous/report.json": "1", "previous/no-handler/none/timeline.json": "1", "go.mod": "mine", "e2e/main_test.go": "mine", ".git/HEAD": "mine",
				"kind.log": "",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newTestSuite(t)
			create(t, s.settings.artifacts, tt.before)
			require.NoError(t, s.makeRoom())
			assert.Equal(t, tt.want, files(t, s.settings.artifacts))
			_, err := s.finish(t.Context())
			require.NoError(t, err)
		})
	}
}

// TestMakeRoomFails: where no room can be made, no run is begun.
func TestMakeRoomFails(t *testing.T) {
	tests := []struct {
		name string
		set  func(t *testing.T, dir string)
		want string
	}{
		{"a file in place of the folder", func(t *testing.T, dir string) { require.NoError(t, os.WriteFile(dir, nil, 0o600)) }, "make room in the artifacts' folder: "},
		{"a folder in place of kind's log", func(t *testing.T, dir string) { create(t, dir, map[string]string{"kind.log/x": ""}) }, "make the log of kind: "},
		{"a report that can't be looked at", func(t *testing.T, dir string) {
			require.NoError(t, os.Mkdir(dir, 0o755))
			require.NoError(t, os.Symlink("report.json", filepath.Join(dir, "report.json")))
		}, "make room in the artifacts' folder: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newTestSuite(t)
			tt.set(t, s.settings.artifacts)
			require.ErrorContains(t, s.makeRoom(), tt.want)
		})
	}
}

// TestMade: what a suite makes is what the next one moves aside.
func TestMade(t *testing.T) {
	s, _ := newTestSuite(t, "-repeat=2")
	require.NoError(t, s.makeRoom())
	list, err := s.catalogue.Profile("full", s.settings.rate)
	require.NoError(t, err)
	twins, err := s.catalogue.Profile("aa", s.settings.rate)
	require.NoError(t, err)
	list = append(list, twins...)
	for _, run := range scenarios.Interleave(list, 2) {
		require.NoError(t, os.MkdirAll(s.dir(run), 0o755))
	}
	require.NoError(t, s.write())
	entries, err := os.ReadDir(s.settings.artifacts)
	require.NoError(t, err)
	require.Greater(t, len(entries), 10)
	require.NoError(t, s.makeRoom(), "a second call moves nothing that this suite has made")
	again, err := os.ReadDir(s.settings.artifacts)
	require.NoError(t, err)
	require.Len(t, again, len(entries))
	require.NoError(t, s.kindLog.Close())
	s.kindLog = nil // as in the next suite
	require.NoError(t, s.makeRoom())
	left, err := os.ReadDir(s.settings.artifacts)
	require.NoError(t, err)
	var names []string
	for _, entry := range left {
		names = append(names, entry.Name())
	}
	assert.Equal(t, []string{"kind.log", "previous"}, names)
	_, err = s.finish(t.Context())
	require.NoError(t, err)
}

// TestDir: a run of a series keeps out of the way of the others, whoever asked for the series.
func TestDir(t *testing.T) {
	tests := []struct {
		name string
		list []string // strategies
		n    int
		want []string
	}{
		{"once", []string{"prestop-sleep"}, 1, []string{"prestop-sleep/rolling-update"}},
		{
			"several",
			[]string{"prestop-sleep", "in-app-delay@1.5s"},
			2,
			[]string{
				"prestop-sleep/rolling-update/1", "in-app-delay@1.5s/rolling-update/1", "in-app-delay@1.5s/rolling-update/2", "prestop-sleep/rolling-update/2",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newTestSuite(t)
			var list []scenarios.Scenario
			for _, name := range tt.list {
				scenario, err := s.catalogue.Find(name, "rolling-update", 100)
				require.NoError(t, err)
				list = append(list, scenario)
			}
			var got []string
			for _, run := range scenarios.Interleave(list, tt.n) {
				dir, err := filepath.Rel(s.settings.artifacts, s.dir(run))
				require.NoError(t, err)
				got = append(got, filepath.ToSlash(dir))
			}
			assert.Equal(t, tt.want, got)
		})
	}
	s, _ := newTestSuite(t)
	scenario, err := s.catalogue.Find("shutdown-at-once", "rolling-update", 100)
	require.NoError(t, err)
	var dirs []string
	s.series(&recorder{TB: t}, scenario, 3, func(run scenarios.Run) (verdict.Verdict, string) {
		dirs = append(dirs, s.dir(run))
		require.NoError(t, os.MkdirAll(s.dir(run), 0o755))
		if run.Repeat == 1 {
			return verdict.Verdict{Outcome: verdict.Inconclusive, Reasons: []string{"requests left late"}}, s.dir(run)
		}
		return verdict.Verdict{Outcome: verdict.Pass}, s.dir(run)
	})
	at := filepath.Join(s.settings.artifacts, "shutdown-at-once", "rolling-update")
	assert.Equal(t, []string{filepath.Join(at, "1"), filepath.Join(at, "2"), filepath.Join(at, "3"), filepath.Join(at, "4")}, dirs, "one that is made again, too")
	assert.Len(t, s.verdicts, 3)
}

// deadlined is a test that is to end at a given time.
type deadlined struct {
	*testing.T
	at time.Time
}

func (d deadlined) Deadline() (time.Time, bool) { return d.at, !d.at.IsZero() }

// TestContext: a test ends when the suite is stopped or when its time is nearly over, and says which it was. What could not begin says so, too.
func TestContext(t *testing.T) {
	start := func(t *testing.T) (*suite, context.CancelFunc) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		return &suite{ctx: ctx}, cancel
	}
	t.Run("stopped", func(t *testing.T) {
		s, stop := start(t)
		ctx, err := s.context(t)
		require.NoError(t, err)
		require.NoError(t, ctx.Err())
		stop()
		<-ctx.Done()
		require.ErrorIs(t, context.Cause(ctx), errStopped)
		_, err = s.context(t)
		require.ErrorIs(t, err, errStopped)
		assert.ErrorContains(t, err, "not run: ")
	})
	t.Run("out of time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, _ := start(t)
			began := time.Now()
			timed := deadlined{t, began.Add(10 * time.Minute)}
			ctx, err := s.context(timed)
			require.NoError(t, err)
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), errTime)
			assert.Equal(t, 9*time.Minute, time.Since(began), "a minute is left for taking everything away")
			_, err = s.context(timed)
			require.ErrorIs(t, err, errTime)
			assert.ErrorContains(t, err, "not run: ")
		})
	})
	t.Run("no limit", func(t *testing.T) {
		s, _ := start(t)
		ctx, err := s.context(deadlined{T: t})
		require.NoError(t, err)
		_, limited := ctx.Deadline()
		assert.False(t, limited)
	})
	t.Run("ends with its test", func(t *testing.T) {
		s, _ := start(t)
		ended := make(chan struct{})
		t.Run("test", func(t *testing.T) {
			ctx, err := s.context(t)
			require.NoError(t, err)
			context.AfterFunc(ctx, func() { close(ended) })
		})
		<-ended
	})
}

// TestProgress: one line that is written over on a terminal; elsewhere a line per run and per step, and none per phase.
func TestProgress(t *testing.T) {
	v := verdict.Verdict{Outcome: verdict.Fail, Lanes: []verdict.Lane{{Sent: 100, Dropped: 3}, {Sent: 200, Dropped: 4}}}
	catalogue, err := scenarios.NewCatalogue()
	require.NoError(t, err)
	scenario, err := catalogue.Find("prestop-sleep", "rolling-update", 100)
	require.NoError(t, err)
	tests := []struct {
		name   string
		live   bool
		repeat int
		want   string
	}{
		{
			"a terminal", true, 1,
			"\r\x1b[Kwait for the cluster" + "\r\x1b[Krun 2 of 5: prestop-sleep/rolling-update · lead" +
				"\r\x1b[K[  62s] run 2 of 5: prestop-sleep/rolling-update: fail, 7 of 300 dropped, 2.0s\n" + "\r\x1b[K",
		},
		{
			"a file", false, 1,
			"[  60s] wait for the cluster\n" + "[  62s] run 2 of 5: prestop-sleep/rolling-update: fail, 7 of 300 dropped, 2.0s\n",
		},
		{
			"a repeat", false, 2,
			"[  60s] wait for the cluster\n" + "[  62s] run 2 of 5: prestop-sleep/rolling-update (repeat 2): fail, 7 of 300 dropped, 2.0s\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out strings.Builder
				p := &progress{out: &out, live: tt.live, began: time.Now()}
				time.Sleep(time.Minute)
				p.step("wait for the cluster")
				run := p.run(2, 5, scenarios.Run{Scenario: scenario, Repeat: tt.repeat})
				run.phase("lead")
				time.Sleep(2 * sec)
				run.done(v)
				p.clear()
				assert.Equal(t, tt.want, out.String())
			})
		})
	}
}

// TestInterrupted: who ends a run has broken nothing; what else went wrong stays on record.
func TestInterrupted(t *testing.T) {
	limit := errors.New("the run took longer than its limit of 4m0s")
	tests := []struct {
		name   string
		faults []string
		why    error
		want   timeline.Timeline
	}{
		{"left alone", nil, nil, timeline.Timeline{}},
		{"a fault", []string{"observe: gone"}, nil, timeline.Timeline{Faults: []string{"observe: gone"}}},
		{"Ctrl-C", []string{"run: lead: stopped by a signal"}, errStopped, timeline.Timeline{Interrupted: "stopped by a signal"}},
		{"Ctrl-C before it began", []string{"not run: stopped by a signal"}, fmt.Errorf("not run: %w", errStopped), timeline.Timeline{Interrupted: "not run: stopped by a signal"}},
		{"out of time", []string{"run: termination: …"}, errTime, timeline.Timeline{Interrupted: errTime.Error()}},
		{"Ctrl-C when it was over", nil, errStopped, timeline.Timeline{}},
		{"its own limit", []string{"run: …"}, limit, timeline.Timeline{Faults: []string{"run: …"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, interrupted(timeline.Timeline{Faults: tt.faults}, tt.why))
		})
	}
}

// TestExitCode: the suite's outcome has the say; where there is none, or it is a pass, whatever else went wrong.
func TestExitCode(t *testing.T) {
	pass, fail, inconclusive, infrastructure := verdict.Pass, verdict.Fail, verdict.Inconclusive, verdict.Infrastructure
	full := errors.New("write reports: disk full")
	tests := []struct {
		name    string
		tests   int
		outcome *verdict.Outcome
		err     error
		want    int
	}{
		{"nothing was run", 0, nil, nil, 0},
		{"a test failed, no run", 1, nil, nil, 1},
		{"no run, and a cluster that stays", 0, nil, full, 1},
		{"pass", 0, &pass, nil, 0},
		{"pass, and another test failed", 1, &pass, nil, 1},
		{"pass, and no report", 0, &pass, full, 1},
		{"fail", 1, &fail, full, 1},
		{"inconclusive", 1, &inconclusive, full, 3},
		{"infrastructure", 1, &infrastructure, full, 4},
		{"inconclusive as a whole, each run by itself a pass", 0, &inconclusive, nil, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, exitCode(tt.tests, tt.outcome, tt.err)) })
	}
}

// TestTell: who wants the exit code in a file gets it there, or an exit code that says that it isn't.
func TestTell(t *testing.T) {
	file := filepath.Join(t.TempDir(), "code")
	t.Setenv(exitCodeFile, file)
	assert.Equal(t, 4, tell(4))
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "4\n", string(raw))
	t.Setenv(exitCodeFile, t.TempDir())
	assert.Equal(t, 4, tell(4))
	assert.Equal(t, 1, tell(0), "what can't be told is no pass")
	t.Setenv(exitCodeFile, "")
	assert.Equal(t, 0, tell(0))
}

// TestUnjudged: a run that can't be judged has a name and is not a pass.
func TestUnjudged(t *testing.T) {
	tests := []struct {
		name   string
		folder string
		want   string
	}{
		{"a run", "prestop-sleep/rolling-update", "prestop-sleep/rolling-update"},
		{"a repeat", "prestop-sleep/rolling-update/2", "prestop-sleep/rolling-update"},
		{"some folder", "x", "x/unknown"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := unjudged(tt.folder, verdict.Infrastructure, errors.New("cut off"))
			assert.Equal(t, tt.want, v.Name())
			assert.Equal(t, verdict.Infrastructure, v.Outcome)
			assert.Equal(t, []string{"cut off"}, v.Reasons)
		})
	}
}

// TestBody: what the client compares answers with is what the sample app answers. As a program it can't be imported: its source is read.
func TestBody(t *testing.T) {
	assert.Equal(t, traffic.Body, constant(t, filepath.Join("..", "sampleapp", "server.go"), "Body"))
}

// TestHeaders: client and sample app have the same names for what they tell each other.
func TestHeaders(t *testing.T) {
	tests := []struct {
		traffic, app string
	}{
		{"headerPod", "headerPod"},
		{"headerLeaving", "headerLeaving"},
		{"headerConn", "headerConn"},
		{"headerConnUse", "headerConnRequest"},
		{"headerLane", "headerLane"},
	}
	for _, tt := range tests {
		t.Run(tt.traffic, func(t *testing.T) {
			client := constant(t, filepath.Join("internal", "traffic", "traffic.go"), tt.traffic)
			assert.Equal(t, client, constant(t, filepath.Join("..", "sampleapp", "server.go"), tt.app))
		})
	}
}

// constant is the value of a string constant in a source file.
func constant(t *testing.T, file, name string) string {
	t.Helper()
	source, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	require.NoError(t, err)
	found := source.Scope.Lookup(name)
	require.NotNil(t, found, "no constant %s in %s", name, file)
	value, err := strconv.Unquote(found.Decl.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value)
	require.NoError(t, err)
	return value
}

// TestPictures: the index leads to each run's picture, by a path that holds wherever the artifacts are moved to; it leads nowhere where there is none.
func TestPictures(t *testing.T) {
	s, _ := newTestSuite(t)
	tl := believable("prestop-sleep")
	v := s.judge(t, tl)
	dir := filepath.Join(s.settings.artifacts, "prestop-sleep", "rolling-update")
	require.NoError(t, picture(v, tl, dir))
	s.conclude(t, v, dir)
	raw, err := os.ReadFile(filepath.Join(dir, report.PictureFile))
	require.NoError(t, err)
	assert.Contains(t, string(raw), "prestop-sleep")
	s.conclude(t, v, "")
	s.conclude(t, v, t.TempDir())
	assert.Equal(t, []string{"prestop-sleep/rolling-update/run.html", "", ""}, s.report().Pictures)
	index, err := os.ReadFile(filepath.Join(s.settings.artifacts, "index.html"))
	require.NoError(t, err)
	assert.Equal(t, 1, strings.Count(string(index), `href="prestop-sleep/rolling-update/run.html"`))

	require.NoError(t, os.WriteFile(filepath.Join(s.settings.artifacts, "file"), nil, 0o600))
	require.ErrorContains(t, picture(v, tl, filepath.Join(s.settings.artifacts, "file", "run")), "write picture: ")
}

// TestNames: what takes long runs for those who ask for it, alone or among others, and for nobody else.
func TestNames(t *testing.T) {
	tests := []struct {
		pattern, test string
		want          bool
	}{
		{"^TestFaults$", "TestFaults", true},
		{"TestFaults", "TestFaults", true},
		{"TestFaults/a_worker", "TestFaults", true},
		{"^Test(Faults|FullDisk)$", "TestFaults", true},
		{"^Test(AttributionTruth|DeletionInstants)$", "TestDeletionInstants", true},
		{"TestSafeDelay", "TestSafeDelay", true},
		{"TestSafeDelay", "TestSafeDelaySync", false},
		{"TestSafeDelay|TestSafeDelaySync", "TestSafeDelaySync", true},
		{"TestSafe.*", "TestSafeDelaySync", true},
		{"^TestRollout$", "TestFaults", false},
		{"", "TestFaults", false},
		{".", "TestFaults", false},
		{"Test", "TestFaults", false},
		{".*", "TestFaults", false},
		{"Test.*", "TestFaults", false},
		{"(", "TestFaults", false},
	}
	for _, tt := range tests {
		t.Run(tt.pattern+" "+tt.test, func(t *testing.T) { assert.Equal(t, tt.want, names(tt.pattern, tt.test)) })
	}
}
