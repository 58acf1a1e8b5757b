package report

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// ofRun is what is kept of a run that drops nothing, and how it differs from that.
func ofRun(strategy, disruption string, change func(*RunFigures)) RunFigures {
	classes := func(class timeline.Class) map[timeline.Class]int {
		return map[timeline.Class]int{class: 0, timeline.ClassInFlight: 0}
	}
	out := RunFigures{
		Strategy: strategy, Disruption: disruption, PodsReplaced: 3, PodsDeleted: 3, PeakPods: 4, ExtraPodSeconds: 10,
		Lanes: []LaneFigures{
			{Lane: "service/new", Consumer: "service", Sent: 1000, Dropped: classes(timeline.ClassNew), LastSeconds: 1.1},
			{Lane: "service/reused", Consumer: "service", Sent: 1000, Dropped: classes(timeline.ClassKeptAlive), LastSeconds: 15, UntilEnd: 2},
			{Lane: "dns/new", Consumer: "dns", Sent: 500, Dropped: classes(timeline.ClassNew), LastSeconds: 9},
		},
	}
	if change != nil {
		change(&out)
	}
	return out
}

func ofRuns(runs ...RunFigures) ResultsFile {
	return ResultsFile{Measured: time.Date(2026, 10, 1, 7, 30, 0, 0, time.UTC), Figures: runs}
}

// ofConsumer is what all runs say of one: its safe delay, and the outage of a single replica.
func ofConsumer(name string, safe, outage float64) FileConsumer {
	return FileConsumer{
		Consumer: name, SafeSeconds: &safe, ResolutionSeconds: 0.04, Replicas: 3,
		Strategies: []FileConsumerStrategy{
			{Strategy: "single-replica", SingleReplica: true, Rollouts: 2, OutageSeconds: outage},
			{
				Strategy: "prestop-sleep", DelaySeconds: 15, Rollouts: 4,
				Classes: map[timeline.Class]FileTally{timeline.ClassNew: {0, 900}, timeline.ClassKeptAlive: {0, 800}},
				Loads:   []FileConsumerLoad{{Load: "reused", Class: timeline.ClassKeptAlive}},
			},
		},
	}
}

func ofConsumers(all ...FileConsumer) ResultsFile {
	out := ofRuns()
	out.Consumers = all
	return out
}

// TestAnswersFollowFigures: a figure is swapped, and the word changes. No word is written by hand.
func TestAnswersFollowFigures(t *testing.T) {
	service, both := []string{"service"}, []string{"a", "b"}
	two := func() ResultsFile { return ofRuns(ofRun("a", "x", nil), ofRun("b", "x", nil), ofRun("b", "y", nil)) }
	consumers := func() ResultsFile {
		return ofConsumers(ofConsumer("service", 1.2, 0), ofConsumer("ingress", 1.5, 0), ofConsumer("dns", 0.1, 0.08))
	}
	tests := []struct {
		name   string
		s      scenarios.Statement
		of     ResultsFile
		before string
		swap   func(ResultsFile)
		after  string
	}{
		{
			"none dropped by any strategy",
			scenarios.Statement{Figure: scenarios.DropsNone, Class: scenarios.ClassNew, Along: scenarios.AlongStrategy, Strategies: both, Consumers: service},
			two(), "✓ holds: a 0/1000 (0/1 rollouts, ≤ 95 %) · b 0/2000 (0/2 rollouts, ≤ 78 %)",
			func(f ResultsFile) { f.Figures[2].Lanes[0].Dropped[timeline.ClassNew] = 7 },
			"◆ depends on the strategy: holds: a 0/1000 (0/1 rollouts, ≤ 95 %); doesn't: b 7/2000",
		},
		{
			"some dropped under a disruption",
			scenarios.Statement{Figure: scenarios.DropsSome, Class: scenarios.ClassInFlight, Along: scenarios.AlongDisruption, Strategies: both, Disruptions: []string{"y"}, Consumers: service},
			two(), "✗ doesn't hold: y 0/2000 (0/1 rollouts, ≤ 95 %)",
			func(f ResultsFile) { f.Figures[2].Lanes[1].Dropped[timeline.ClassInFlight] = 3 },
			"✓ holds: y 3/2000",
		},
		{
			"along consumers of runs",
			scenarios.Statement{Figure: scenarios.DropsNone, Class: scenarios.ClassNew, Along: scenarios.AlongConsumer, Strategies: both},
			ofRuns(ofRun("a", "x", nil)), "✓ holds: service 0/1000 (0/1 rollouts, ≤ 95 %) · dns 0/500 (0/1 rollouts, ≤ 95 %)",
			func(f ResultsFile) { f.Figures[0].Lanes[2].Dropped[timeline.ClassNew] = 90 },
			"◆ depends on the consumer: holds: service 0/1000 (0/1 rollouts, ≤ 95 %); doesn't: dns 90/500",
		},
		{
			"of consumers put together, masked ones counted",
			scenarios.Statement{Figure: scenarios.DropsNone, Class: scenarios.ClassKeptAlive, Along: scenarios.AlongStrategy, Strategies: []string{"prestop-sleep"}, Consumers: service},
			consumers(), "✓ holds: prestop-sleep 0/800 (0/4 rollouts, ≤ 53 %)",
			func(f ResultsFile) { f.Consumers[0].Strategies[1].Loads[0].Masked = 4 },
			"✗ doesn't hold: prestop-sleep 4/800",
		},
		{
			"dropped at the start",
			scenarios.Statement{Figure: scenarios.DropsSomeAtStart, Class: scenarios.ClassNew, Along: scenarios.AlongStrategy, Strategies: []string{"a"}, Consumers: service},
			two(), "✗ doesn't hold: a 0/1000 (0/1 rollouts, ≤ 95 %)",
			func(f ResultsFile) { f.Figures[0].Lanes[0].AtStart = 448 },
			"✓ holds: a 448/1000",
		},
		{
			"none dropped at the start",
			scenarios.Statement{Figure: scenarios.DropsNoneAtStart, Class: scenarios.ClassNew, Along: scenarios.AlongStrategy, Strategies: []string{"a"}, Consumers: service},
			two(), "✓ holds: a 0/1000 (0/1 rollouts, ≤ 95 %)",
			func(f ResultsFile) { f.Figures[0].Lanes[0].AtStart = 448 },
			"✗ doesn't hold: a 448/1000",
		},
		{
			"arrivals end",
			scenarios.Statement{Figure: scenarios.ArrivalsEnd, Along: scenarios.AlongClass, Strategies: []string{"a"}, Consumers: service},
			two(), "◆ depends on the connection: holds: new at most 1.10s; doesn't: kept-alive until the end of 2 Pods of 3",
			func(f ResultsFile) { f.Figures[0].Lanes[1].UntilEnd = 0 },
			"✓ holds: new at most 1.10s · kept-alive at most 15.00s",
		},
		{
			"arrivals end under a strategy",
			scenarios.Statement{Figure: scenarios.ArrivalsEnd, Class: scenarios.ClassKeptAlive, Along: scenarios.AlongStrategy, Strategies: both, Consumers: service},
			two(), "✗ doesn't hold: a until the end of 2 Pods of 3 · b until the end of 4 Pods of 6",
			func(f ResultsFile) { f.Figures[0].Lanes[1].UntilEnd = 0 },
			"◆ depends on the strategy: holds: a at most 15.00s; doesn't: b until the end of 4 Pods of 6",
		},
		{
			"what would hold but for what is missing",
			scenarios.Statement{Figure: scenarios.DeletesNoPod, Along: scenarios.AlongStrategy, Strategies: []string{"a", "c", "d"}},
			two(), "✗ doesn't hold: a 3 Pods deleted; not measured: c · d",
			func(f ResultsFile) { f.Figures[0].PodsDeleted = 0 },
			"? not measured yet: a 0 Pods deleted; not measured: c · d",
		},
		{
			"a delay is safe",
			scenarios.Statement{Figure: scenarios.SafeWithin, Along: scenarios.AlongConsumer, Limit: 2 * time.Second},
			consumers(), "✓ holds: service 1.20s · ingress 1.50s · dns 0.10s",
			func(f ResultsFile) { *f.Consumers[1].SafeSeconds = 2.01 },
			"◆ depends on the consumer: holds: service 1.20s · dns 0.10s; doesn't: ingress 2.01s",
		},
		{
			"a lower bound leaves it open",
			scenarios.Statement{Figure: scenarios.SafeWithin, Along: scenarios.AlongConsumer, Limit: 2 * time.Second, Consumers: service},
			consumers(), "✓ holds: service 1.20s",
			func(f ResultsFile) { f.Consumers[0].SafeAtLeast = true },
			"? not measured yet: open: service ≥ 1.20s",
		},
		{
			"as fast as",
			scenarios.Statement{Figure: scenarios.AsFastAs, Along: scenarios.AlongConsumer, Beside: "service"},
			consumers(), "✓ holds: ingress 1.50s · dns 0.10s",
			func(f ResultsFile) { *f.Consumers[0].SafeSeconds = 0.9 },
			"◆ depends on the consumer: holds: dns 0.10s; doesn't: ingress 1.50s",
		},
		{
			"an outage where another has none",
			scenarios.Statement{Figure: scenarios.OutageUnlike, Along: scenarios.AlongConsumer, Beside: "service"},
			consumers(), "✗ doesn't hold: ingress none · dns 80ms",
			func(f ResultsFile) { f.Consumers[1].Strategies[0].OutageSeconds = 2 },
			"◆ depends on the consumer: holds: ingress 2.0s; doesn't: dns 80ms",
		},
		{
			"Pods are deleted",
			scenarios.Statement{Figure: scenarios.DeletesPods, Along: scenarios.AlongStrategy, Strategies: []string{"a"}},
			two(), "✓ holds: a 3 Pods deleted",
			func(f ResultsFile) { f.Figures[0].PodsDeleted = 0 },
			"✗ doesn't hold: a 0 Pods deleted",
		},
		{
			"no Pod is deleted",
			scenarios.Statement{Figure: scenarios.DeletesNoPod, Along: scenarios.AlongStrategy, Strategies: []string{"a"}},
			two(), "✗ doesn't hold: a 3 Pods deleted",
			func(f ResultsFile) { f.Figures[0].PodsDeleted = 0 },
			"✓ holds: a 0 Pods deleted",
		},
		{
			"more than the surge",
			scenarios.Statement{Figure: scenarios.ExceedsSurge, Along: scenarios.AlongStrategy, Strategies: []string{"a"}},
			two(), "✗ doesn't hold: a 4 Pods at once, 3 replicas",
			func(f ResultsFile) { f.Figures[0].PeakPods = 5 },
			"✓ holds: a 5 Pods at once, 3 replicas",
		},
		{
			"twice as many Pods",
			scenarios.Statement{Figure: scenarios.DoublesPods, Along: scenarios.AlongStrategy, Strategies: []string{"b"}},
			two(), "✗ doesn't hold: b 4 Pods at once, 3 replicas",
			func(f ResultsFile) { f.Figures[2].PeakPods = 6 },
			"✓ holds: b 6 Pods at once, 3 replicas",
		},
		{
			"each costs more",
			scenarios.Statement{Figure: scenarios.CostsMoreEach, Along: scenarios.AlongStrategy, Strategies: []string{"a", "b"}},
			two(), "✗ doesn't hold: b 10.0 Pod-s, a 10.0",
			func(f ResultsFile) { f.Figures[0].ExtraPodSeconds = 4 },
			"✓ holds: b 10.0 Pod-s, a 4.0",
		},
	}
	tried := map[scenarios.Figure]bool{}
	answer := func(s scenarios.Statement, f ResultsFile) string {
		found := decide(s, Stored([]ResultsFile{f}))
		assert.Equal(t, []string{"stored 2026-10-01"}, found.Sources)
		return found.Word() + ": " + found.Figures
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tried[tt.s.Figure] = true
			assert.Equal(t, tt.before, answer(tt.s, tt.of))
			tt.swap(tt.of)
			assert.Equal(t, tt.after, answer(tt.s, tt.of))
		})
	}
	for figure := range deciders {
		assert.True(t, tried[figure], "%s is not tried", figure)
	}
}

// TestWhichMeasurementDecides: the one of this machine, then the newest, for each thing by itself.
func TestWhichMeasurementDecides(t *testing.T) {
	at := func(day int, strategy string, dropped int) ResultsFile {
		f := ofRuns(ofRun(strategy, "x", func(r *RunFigures) { r.Lanes[0].Dropped[timeline.ClassNew] = dropped }))
		f.Measured = time.Date(2026, 10, day, 0, 0, 0, 0, time.UTC)
		return f
	}
	s := scenarios.Statement{Figure: scenarios.DropsSome, Class: scenarios.ClassNew, Along: scenarios.AlongStrategy, Consumers: []string{"service"}}
	all := append(Stored([]ResultsFile{at(3, "a", 30), at(5, "b", 50), at(4, "b", 40)}), Measurement{at(1, "a", 10), true}, Measurement{at(2, "a", 20), true})
	found := NewArticle([]scenarios.ArticlePart{{Statements: []scenarios.Statement{s}}}, all).Parts[0].Findings[0]
	assert.Equal(t, "a 20/1000 · b 50/1000", found.Figures)
	assert.Equal(t, []string{"here 2026-10-02", "stored 2026-10-05"}, found.Sources)

	s.Strategies = []string{"c"}
	assert.Equal(t, Finding{Statement: s}, decide(s, all), "nobody measured it")
	s = scenarios.Statement{Figure: "of another kind"}
	assert.Equal(t, Finding{Statement: s}, decide(s, all), "nobody can decide it yet")
	for _, part := range scenarios.Article() {
		for _, s := range part.Statements {
			assert.NotNil(t, deciderOf(s.Figure), s.Says)
		}
	}
	assert.Equal(t, Unmeasured, Finding{}.Answer)
}

// TestManyFigures: a row names a few.
func TestManyFigures(t *testing.T) {
	assert.Equal(t, "a · b · c · d · e · f", mostOf(strings.Split("abcdef", "")))
	assert.Equal(t, "a · b · c · d · e · 3 more", mostOf(strings.Split("abcdefgh", "")))
}

// TestArticleFormats: every statement, its answer, where the figures are from and its command, on a
// terminal, on the page and in RESULTS.md.
func TestArticleFormats(t *testing.T) {
	file := NewFile(quick())
	kept, err := Condense(file, "abc1234", "make e2e")
	require.NoError(t, err)
	here, err := Here(NewFile(everyConsumer()))
	require.NoError(t, err)
	all := append(Stored([]ResultsFile{kept}), here)
	a := NewArticle(scenarios.Article(), all)
	var text, page bytes.Buffer
	require.NoError(t, ArticleText(&text, a))
	require.NoError(t, ArticlePage(&page, a))
	markdown := ArticleResults([]ResultsFile{kept})
	for _, part := range a.Parts {
		for _, f := range part.Findings {
			assert.Contains(t, text.String(), "\n"+f.Says+"\n  "+f.Word())
			assert.Contains(t, unwrapped(text.String()), unwrapped(f.Figures))
			assert.Contains(t, text.String(), "\n  "+f.Command()+"\n")
			assert.Contains(t, unwrapped(page.String()), unwrapped(f.Says))
			assert.Contains(t, unwrapped(page.String()), unwrapped(f.Command()))
			assert.Contains(t, markdown, "| "+f.Says+" | ")
			assert.Contains(t, markdown, f.Command())
		}
	}
	for _, want := range []string{
		"Shutting down gracefully on SIGTERM is not enough. ✓ holds: shutdown-at-once 128/2400 · here 2026-10-01 make e2e GO_TEST_FLAGS='-strategies shutdown-at-once'",
		"After 15 s everybody has learned that the Pod goes. ◆ depends on the consumer: ",
		"The kubelet polls the API server for Pods of its node. ? not measured yet make e2e",
		"A task that takes longer than the grace period is cut. ? not measured yet make long GO_TEST_FLAGS=",
	} {
		assert.Contains(t, unwrapped(text.String()), want)
	}
	assert.Contains(t, markdown, "| Shutting down gracefully on SIGTERM is not enough. | ✓ holds | shutdown-at-once 176/4960 | stored 2026-10-01 | `make e2e GO_TEST_FLAGS='-strategies shutdown-at-once'` |")
	assert.NotContains(t, markdown, "| here 2")
	assert.Contains(t, page.String(), "<h2>Delays that are in use</h2>")
	assert.NotRegexp(t, `(?:src|href)="[^d]`, page.String(), "it needs nothing from elsewhere")
	assert.LessOrEqual(t, strings.Count(text.String(), "\n"), 220)

	require.ErrorIs(t, ArticleText(fullDisk{}, a), errFull)
	require.ErrorIs(t, ArticlePage(fullDisk{}, a), errFull)
	file.Started = nil
	_, err = Here(file)
	assert.ErrorContains(t, err, "doesn't say when it was measured")
}

// TestGuesses: table C, and what it says of what isn't known.
func TestGuesses(t *testing.T) {
	c := ofConsumer("service", 1.14, 0)
	for _, tt := range []struct {
		delay   time.Duration
		atLeast bool
		want    string
	}{
		{0, false, "drops"},
		{time.Second, false, "drops"},
		{2 * time.Second, false, "2.6"},
		{120 * time.Second, false, "356.6"},
		{time.Second, true, "drops"},
		{2 * time.Second, true, "? 2.6"},
	} {
		c.SafeAtLeast = tt.atLeast
		assert.Equal(t, tt.want, c.guess(tt.delay), tt.delay)
	}
	text := written(t, Text, everyConsumer())
	for _, row := range []string{
		"service iptables 1.31s drops drops 2.1 5.1 11.1 26.1 41.1 56.1 71.1 86.1 176.1 356.1",                        //nolint:dupword // a table's row
		"dns-cached iptables ≥ 15.02s drops drops drops drops drops drops drops ? 14.9 ? 29.9 ? 44.9 ? 134.9 ? 314.9", //nolint:dupword // a table's row
	} {
		want := strings.ReplaceAll(regexp.QuoteMeta(row), " ", " +")
		assert.Regexp(t, "(?m)^"+want+"$", text)
	}
	assert.Contains(t, text, "- not in the table, as no delay is known to be safe: service-h2\n")
	assert.Contains(t, text, "- Pods: 3 in each rollout\n")
	assert.NotContains(t, written(t, Text, quick()), "Delays that are in use")
	old := ofConsumer("service", 1.14, 0)
	old.Replicas = 0
	assert.Empty(t, guessBlock([]FileConsumer{old}).Table.Columns, "kept before the number of Pods was told")
}

// TestRunsAreKept: a report that compares no consumers is kept run by run.
func TestRunsAreKept(t *testing.T) {
	f, err := Condense(NewFile(quick()), "abc1234", "make e2e")
	require.NoError(t, err)
	require.Len(t, f.Figures, 11)
	assert.Empty(t, f.Consumers)
	assert.Equal(t, RunFigures{
		Strategy: "shutdown-at-once", Disruption: "rolling-update", PodsReplaced: 3, PodsDeleted: 3, PeakPods: 4, RolloutSeconds: 11.9, ExtraPodSeconds: 9.6,
		Lanes: []LaneFigures{
			{Lane: "service/new", Consumer: "service", Sent: 2480, Dropped: map[timeline.Class]int{timeline.ClassNew: 88, timeline.ClassInFlight: 14}, LastSeconds: 0.16},
			{Lane: "service/reused", Consumer: "service", Sent: 2480, Dropped: map[timeline.Class]int{timeline.ClassKeptAlive: 0, timeline.ClassInFlight: 5}, LastSeconds: 15.01},
			{Lane: "dns-cached/new", Consumer: "dns-cached", Sent: 2480, Dropped: map[timeline.Class]int{timeline.ClassNew: 700, timeline.ClassInFlight: 0}, LastSeconds: 16},
			{Lane: "nodeport/new", Consumer: "nodeport", Sent: 2480, Dropped: map[timeline.Class]int{timeline.ClassNew: 88, timeline.ClassInFlight: 14}, LastSeconds: 0.16},
		},
	}, f.Figures[2])
	var out bytes.Buffer
	require.NoError(t, f.Write(&out))
	again, err := ReadResults(&out)
	require.NoError(t, err)
	assert.Equal(t, f, again)
	assert.NotContains(t, ResultsTables([]ResultsFile{results(t), f}), "11 runs", "it is none of consumers")

	other := NewFile(quick())
	other.Runs[1].Cluster = &kindCluster
	other.Runs[2].Conclusive = false
	f, err = Condense(other, "abc1234", "make e2e")
	require.NoError(t, err)
	assert.Len(t, f.Figures, 9)
	assert.Equal(t, 1, f.Inconclusive)
}
