package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

func summarized(t *testing.T, r Report, delays ...SafeDelay) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, Summary(&out, r, delays, false))
	return out.String()
}

// TestSummaryFitsAScreen: forty lines of 120 columns, whatever there is to tell, and where the rest
// is.
func TestSummaryFitsAScreen(t *testing.T) {
	wordy := full(27)
	for i := range wordy.Suite.Runs {
		v := &wordy.Suite.Runs[i]
		v.Spec.Strategy += strings.Repeat("-and-longer", i)
		v.Reasons, v.Retry = []string{strings.Repeat("words ", 50), fmt.Sprint(i)}, []string{"CPU pressure"}
	}
	rows := func(n int) Report { return suite(full(n).Suite.Runs[:n]...) }
	all := suites()
	all["wordy"], all["25 rows"], all["26 rows"] = wordy, rows(25), rows(26)
	proved := []SafeDelay{safeDelays()["proved"], safeDelays()["not-proved"], safeDelays()["none"]}
	for name, r := range all {
		for _, delays := range [][]SafeDelay{nil, proved[:1], proved} {
			text := summarized(t, r, delays...)
			lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
			assert.LessOrEqual(t, len(lines), 40, "%s\n%s", name, text)
			for _, line := range lines {
				assert.LessOrEqual(t, utf8.RuneCountInString(line), 120, "%s: %s", name, line)
				assert.Equal(t, strings.TrimRight(line, " "), line, name)
				assert.False(t, strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }), line)
			}
			assert.Regexp(t, `^(PASS|FAIL|INCONCLUSIVE|INFRASTRUCTURE): `, lines[0], name)
			assert.Contains(t, text, "\nPage: artifacts/index.html\n")
			assert.Equal(t, len(delays) > 0, strings.Contains(text, "\nSafe delay: "))
		}
	}
	assert.Contains(t, summarized(t, all["25 rows"]), "✗ FAIL   prestop-longer-than-grace-11 │")
	assert.NotContains(t, summarized(t, suite(full(0).Suite.Runs[:26]...)), "│", "one row too many")
	assert.Contains(t, summarized(t, full(3)), "24 other runs as expected, 1 ✓ clean and 23 ◆ dropped: each is in index.html and report.txt")
}

// TestReferenceNotes: a group of consumers whose reference differs is among the findings.
func TestReferenceNotes(t *testing.T) {
	r := small()
	r.ReferenceNotes = []string{"service/new of group ingress dropped 14"}
	assert.Contains(t, summarized(t, r), "service/new of group ingress dropped 14\n")
}

// TestSummaryColours: the result has a colour, and nothing else.
func TestSummaryColours(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, Summary(&out, quick(), nil, true))
	assert.Contains(t, out.String(), "\x1b[32m✓ clean\x1b[0m")
	assert.Contains(t, out.String(), "\x1b[33m◆ dropped\x1b[0m  prestop-sleep")
	plain := out.String()
	for _, result := range Results() {
		plain = strings.ReplaceAll(plain, "\x1b["+looks[result].colour+"m", "")
	}
	assert.Equal(t, summarized(t, quick()), strings.ReplaceAll(plain, "\x1b[0m", ""))
}

// TestResult: only what dropped nothing is clean, and only what passed may be.
func TestResult(t *testing.T) {
	tests := []struct {
		name                  string
		outcome               verdict.Outcome
		dropped, masked, late int
		want                  Result
	}{
		{"dropped nothing", verdict.Pass, 0, 0, 0, Clean},
		{"late is not dropped", verdict.Pass, 0, 0, 9, Clean},
		{"as expected", verdict.Pass, 1, 0, 0, Dropped},
		{"sent again by the client", verdict.Pass, 0, 1, 0, Dropped},
		{"not as expected", verdict.Fail, 1, 0, 0, Failed},
		{"dropped nothing where it must", verdict.Inconclusive, 0, 0, 0, Unknown},
		{"not measured", verdict.Infrastructure, 0, 0, 0, Broken},
		{"not judged", 0, 0, 0, 0, Unknown},
	}
	marks := map[string]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := verdict.Lane{Dropped: tt.dropped, Masked: tt.masked, Late: tt.late, Outcome: tt.outcome}
			assert.Equal(t, tt.want, ResultOf(verdict.Verdict{Outcome: tt.outcome, Lanes: []verdict.Lane{{Outcome: verdict.Pass}, l}}))
			assert.Equal(t, tt.want, LaneResult(l))
		})
	}
	for _, r := range Results() {
		assert.NotEmpty(t, r.Meaning())
		assert.False(t, marks[r.Mark()], "a shape of its own")
		marks[r.Mark()] = true
	}
}

// TestNoCleanWhereRequestsWereDropped: no format shows a run that dropped requests as clean, or as
// passed.
func TestNoCleanWhereRequestsWereDropped(t *testing.T) {
	r := suite(usual("shutdown-at-once", "rolling-update"))
	for _, write := range []func() string{
		func() string { return summarized(t, r) },
		func() string { return written(t, Text, r) }, func() string { return written(t, Markdown, r) },
		func() string { return unstyled(written(t, Index, r)) },
	} {
		text, outcome := write(), "1 of 1 run as expected (1 ◆ dropped, 0 ✓ clean)"
		assert.Contains(t, text, outcome)
		text = strings.ReplaceAll(text, outcome, "")
		assert.Regexp(t, "◆ dropped|class=\"is-dropped\"", text)
		assert.NotContains(t, text, "✓ clean")
		assert.NotContains(t, text, ">pass<")
	}
	assert.Contains(t, written(t, JUnit, r), "◆ dropped: as expected, and requests were dropped")
}

func TestVerdictLine(t *testing.T) {
	dropped := verdict.Verdict{Outcome: verdict.Pass, Lanes: []verdict.Lane{{Dropped: 1}}}
	tests := []struct {
		suite verdict.Suite
		want  string
	}{
		{verdict.Suite{}, "INCONCLUSIVE: no run was made"},
		{verdict.Suite{Outcome: verdict.Pass, Runs: []verdict.Verdict{{Outcome: verdict.Pass}, dropped}}, "PASS: 2 of 2 runs as expected (1 ◆ dropped, 1 ✓ clean)"},
		{
			verdict.Suite{Outcome: verdict.Infrastructure, Runs: []verdict.Verdict{dropped, {}, {Outcome: verdict.Fail}, {}, {Outcome: verdict.Infrastructure}}},
			"INFRASTRUCTURE: 1 of 5 runs as expected (1 ◆ dropped, 0 ✓ clean), 1 failed, 2 inconclusive, 1 could not be measured",
		},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, verdictLine(tt.suite))
	}
}

func TestResultOfRepeats(t *testing.T) {
	of := func(outcomes ...verdict.Outcome) string {
		var r row
		for _, o := range outcomes {
			r.Runs = append(r.Runs, verdict.Verdict{Outcome: o})
		}
		return r.resultCell()
	}
	assert.Equal(t, "✓ clean", of(verdict.Pass, verdict.Pass))
	assert.Equal(t, "✗ FAIL 1/3", of(verdict.Pass, verdict.Fail, verdict.Pass))
	assert.Equal(t, "? inconclusive 1/3", of(verdict.Fail, verdict.Inconclusive, verdict.Pass))
}

// TestWorstConsumer: a class is told by the consumer that a reader has to know of.
func TestWorstConsumer(t *testing.T) {
	a, b, out := exposure{Consumer: "a", Sent: 100}, exposure{Consumer: "b", Sent: 10}, exposure{Consumer: "out", Outside: true, Sent: 50}
	with := func(e exposure, dropped int, failed bool) exposure {
		e.Dropped, e.Failed = dropped, failed
		return e
	}
	tests := []struct {
		name string
		all  []exposure
		want string
	}{
		{"none", []exposure{a, b, out}, " 0/110"},
		{"none, and all are outside", []exposure{out}, " 0/50"},
		{"the greatest share", []exposure{with(a, 5, false), with(b, 1, false)}, "b 1/10"},
		{"one within the cluster before one outside", []exposure{with(a, 1, false), b, with(out, 40, false)}, "a 1/100"},
		{"one outside if no other", []exposure{a, b, with(out, 1, false)}, "out 1/50"},
		{"what failed before all", []exposure{with(a, 1, true), with(b, 9, false)}, "a 1/100"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := worst(tt.all)
			assert.Equal(t, tt.want, e.Consumer+" "+ratio(e.Dropped, e.Sent))
		})
	}
}

// TestSummaryRow: what stands under each column, worked out by hand.
func TestSummaryRow(t *testing.T) {
	v := usual("no-handler", "rolling-update")
	v.Lanes[3].Late = 3
	m := newModel(suite(v))
	table := m.summaryTable(m.Parts)
	var columns []string
	for _, c := range table.Columns {
		columns = append(columns, c.Full)
	}
	assert.Equal(t, []string{
		"result", "strategy", "disruption", "new: dropped/sent", "kept-alive: dropped/sent", "in-flight: dropped/sent", "late",
		"delay needed", "delay given", "rollout", "extra Pod-seconds",
	}, columns)
	assert.Equal(t, []string{
		"◆ dropped", "no-handler †", "rolling-update", "66/2270; dns-cached 700/2270", "12/2270", "49/4540", "3", "0.14s", None, "9.8s", "4.1",
	}, table.Parts[0][0])
}

// TestFindings: what the runs tell, in words.
func TestFindings(t *testing.T) {
	retried := usual("in-app-delay", "rolling-update")
	retried.Retry = []string{"CPU pressure 62 %\non zerodrop-worker"}
	late := run("prestop-sleep", "pod-deletion", second, 1, lane("service/new", clean, 100, nil, 0))
	late.Lanes[0].Late = 7
	gap := usual("prestop-sleep", "pod-deletion")
	gap.Unseen = []string{"the access log of traefik is not whole: lost lines: 2"}
	gapToo := usual("prestop-sleep", "rolling-update")
	gapToo.Unseen = gap.Unseen
	masked := run("prestop-http", "pod-deletion", second, 1, lane("service/reused", measured, 100, nil, 0))
	masked.Lanes[0].Masked = 7
	tests := []struct {
		name string
		runs []verdict.Verdict
		want []string // among others
	}{
		{"a repetition", []verdict.Verdict{retried}, []string{
			"made again once, as the machine was busy: in-app-delay/rolling-update (CPU pressure 62 % on zerodrop-worker)",
		}},
		{"late", []verdict.Verdict{late}, []string{
			"late: 7 requests answered over a second late, not counted as dropped; most (7) on service/new in prestop-sleep/pod-deletion",
			"✓ clean: prestop-sleep",
		}},
		{"a log that is not whole", []verdict.Verdict{gap}, []string{
			"prestop-sleep/pod-deletion: the access log of traefik is not whole: lost lines: 2",
		}},
		{"a log that is not whole, twice", []verdict.Verdict{gap, gapToo}, []string{
			"prestop-sleep/pod-deletion and prestop-sleep/rolling-update: the access log of traefik is not whole: lost lines: 2",
		}},
		{"masked", []verdict.Verdict{masked}, []string{"◆ dropped by prestop-http: only what the client sent again by itself (masked)"}},
		{"strategies that dropped alike", []verdict.Verdict{usual("in-app-delay", "rolling-update"), usual("prestop-sleep", "pod-deletion"), usual("shutdown-at-once", "pod-deletion")}, []string{
			"◆ dropped by in-app-delay and prestop-sleep: new (dns-cached) and in-flight (service)",
			"◆ dropped by shutdown-at-once: new and in-flight (service and nodeport)",
		}},
		{"what a zero is worth", repeats().Suite.Runs, []string{
			"a 0 is of 10 rollouts: up to 26 % of all rollouts may still drop some (95 % confidence; -repeat narrows it); outages below 30ms may be missed",
		}},
		{"no control", []verdict.Verdict{late}, []string{
			"no control was run with these: nothing shows that the instrument would have seen a dropped request (run no-handler, too)",
		}},
		{"more than noise", repeats().Suite.Runs, []string{
			"More than noise: service/reused, prestop-exec-sleep against in-app-delay-close: dropped something in 10 of 10 against 0 of 10 rollouts " +
				"(p < 0.001, corrected p < 0.001).",
		}},
		{"a failure", failing().Suite.Runs, []string{
			"✗ FAIL in-app-delay/pod-deletion: service/new: new: dropped 13 of 3890 where none may be dropped",
			"◆ dropped by in-app-delay-close: new (dns-cached)",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found := findings(newModel(suite(tt.runs...)))
			assert.Subset(t, found, tt.want, strings.Join(found, "\n"))
			for _, f := range Formats() {
				if f.File == "report.txt" || f.File == "report.md" || f.File == "index.html" {
					text := unwrapped(written(t, f.Write, suite(tt.runs...)))
					for _, want := range tt.want {
						assert.Contains(t, text, strings.NewReplacer("<", "&lt;", "  ", " ").Replace(want)[:20], f.File)
					}
				}
			}
		})
	}
	assert.Empty(t, retries(newModel(quick())))
}

// TestLateStandsBesideDropped: a table with a count of dropped requests has one of late ones.
func TestLateStandsBesideDropped(t *testing.T) {
	v := run("prestop-sleep", "rolling-update", second, 1, lane("service/new", measured, 100, causes{timeline.Timeout: 3}, time.Second))
	v.Lanes[0].Late = 41
	m := newModel(suite(v))
	for _, table := range []Table{m.summaryTable(m.Parts), perLane(m).Blocks[0].Table} {
		at := -1
		for i, c := range table.Columns {
			if c.Name == "late" {
				at = i
			}
		}
		require.NotEqual(t, -1, at)
		assert.Equal(t, "41", table.Parts[0][0][at])
	}
	assert.Contains(t, written(t, Index, suite(v)), `<td data-name="late" class="late"><p><b>41</b></p></td>`)
	assert.Contains(t, written(t, JSON, suite(v)), `"late": 41,`)
}
