package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jstemmer/go-junit-report/v2/junit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

func written(t *testing.T, write func(io.Writer, report.Report) error, r report.Report) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, write(&out, r))
	return out.String()
}

type fullDisk struct{}

var errFull = errors.New("no space left on device")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestFormatsSayThatTheyCouldNotWrite(t *testing.T) {
	for _, f := range report.Formats() {
		err := f.Write(fullDisk{}, quick())
		require.ErrorIs(t, err, errFull, f.File)
		assert.ErrorContains(t, err, "write ", f.File)
	}
}

func TestFormatsAreDeterministic(t *testing.T) {
	for _, f := range report.Formats() {
		first := written(t, f.Write, inconclusive())
		for range 5 {
			require.Equal(t, first, written(t, f.Write, inconclusive()), f.File)
		}
	}
}

// Whatever the zero values of a report are, no format may call it a pass.
func TestZeroReportIsInconclusive(t *testing.T) {
	assert.Contains(t, written(t, report.Text, report.Report{}), "INCONCLUSIVE suite: no reason was given")
	assert.Contains(t, written(t, report.Markdown, report.Report{}), "## INCONCLUSIVE: no run was made")
	assert.Contains(t, written(t, report.Index, report.Report{}), `<h1 class="inconclusive">INCONCLUSIVE: no run was made</h1>`)
	assert.Contains(t, written(t, report.JSON, report.Report{}), `"outcome": "inconclusive"`)
	assert.Contains(t, written(t, report.JUnit, report.Report{}), `<error message="no reason was given" type="inconclusive">`)
}

// A suite can be red for a reason of its own, while every run is a pass.
func TestSuiteWithAReasonOfItsOwn(t *testing.T) {
	r := quick()
	r.Suite.Outcome, r.Suite.Reasons = verdict.Fail, []string{"in-app-delay got worse than last week"}
	for _, f := range report.Formats() {
		assert.Contains(t, written(t, f.Write, r), "in-app-delay got worse than last week", f.File)
	}
	assert.Contains(t, written(t, report.Text, r), "FAIL: of 11 runs, 11 passed")
	assert.Contains(t, written(t, report.JUnit, r), `<failure message="in-app-delay got worse than last week" type="fail">`)
}

func TestEveryReasonIsTold(t *testing.T) {
	for _, r := range []report.Report{failing(), inconclusive(), repeats()} {
		for _, f := range report.Formats() {
			told := unwrapped(written(t, f.Write, r))
			for _, v := range r.Suite.Runs {
				for _, reason := range v.Reasons {
					assert.Contains(t, told, unwrapped(strings.Split(reason, `"`)[0]), f.File)
				}
			}
		}
	}
}

// unwrapped is the text without line breaks, and without what XML and markdown do to some
// characters.
func unwrapped(s string) string {
	return strings.Join(strings.Fields(strings.NewReplacer("&#39;", "'", "&#34;", `"`, "&#43;", "+").Replace(s)), " ")
}

func TestTextFitsATerminal(t *testing.T) {
	long := sevenLanes()
	for i := range long.Suite.Runs {
		spec := &long.Suite.Runs[i].Spec
		spec.Strategy = strings.Replace(spec.Strategy, "shutdown-at-once", "longer-than-any-other", 1)
	}
	reports := map[string]report.Report{"full": full(), "long names": long}
	for _, s := range goldenSuites {
		reports[s.name] = s.report
	}
	for name, r := range reports {
		text := written(t, report.Text, r)
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			assert.LessOrEqual(t, utf8.RuneCountInString(line), 140, "%s: %s", name, line)
			assert.Equal(t, strings.TrimRight(line, " "), line, "%s: blanks at the end", name)
			assert.False(t, strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }), "%s: %q",
				name, line)
		}
		lines := strings.Split(strings.TrimSpace(text), "\n")
		assert.Regexp(t, `^(PASS|FAIL|INCONCLUSIVE|INFRASTRUCTURE): `, lines[0], name)
		assert.Equal(t, lines[0], lines[len(lines)-1], "%s: a terminal shows the end", name)
	}
}

// Counts are checked here against the verdicts, so that a golden file that was updated in haste
// doesn't hide that they were mixed up.
func TestTextCounts(t *testing.T) {
	text := written(t, report.Text, quick())
	for _, row := range [][]string{
		{"no-handler †", "pass", "│", "738/4540", "43/2270", "│", "≥ 0.14s", "0.09s", "│", "9.8s", "4", "4.1"},
		{"prestop-sleep", "pass", "│", "0/7800", "0/3900", "│", "1.16s", "15.01s", "│", "26.0s", "6", "46.3"},
		{"rolling-update", "no-handler †", "pass", "│", "84/2270", "43/2270", "654/2270", "│", "–"},
		{"pod-deletion", "prestop-sleep", "pass", "│", "0/3900", "0/3900", "0/3900", "│", "≤ 95 %"},
		{
			"rolling-update", "no-handler †", "nodeport/new", "drops", "84/2270", "0", "timeout 61 · eof 18 · reset 5",
			"3.4s–11.8s",
		},
		{"nodeport/new", "11", "30ms", "34120", "34120", "0", "0.1ms", "1.8ms", "no-handler/none"},
	} {
		assert.True(t, regexp.MustCompile("(?m)^"+strings.Join(row, " +")+"$").MatchString(text), row)
	}
}

func TestMarkdownIsWellFormed(t *testing.T) {
	for _, s := range goldenSuites {
		md := written(t, report.Markdown, s.report)
		assert.Equal(t, strings.Count(md, "<details>"), strings.Count(md, "</details>"), s.name)
		lines := strings.Split(md, "\n")
		cells := 0
		for i, line := range lines {
			if !strings.HasPrefix(line, "|") {
				cells = 0
				continue
			}
			n := strings.Count(line, "|") - strings.Count(line, `\|`)
			if cells == 0 {
				assert.Empty(t, lines[i-1], "%s: a table needs an empty line above it", s.name)
				cells = n
			}
			assert.Equal(t, cells, n, "%s: %s", s.name, line)
		}
		for _, tag := range []string{"<summary>", "</details>"} {
			for i, line := range lines {
				if strings.HasPrefix(line, tag) {
					assert.Empty(t, lines[i+1], "%s: markdown after %s needs an empty line", s.name, tag)
				}
			}
		}
	}
}

// Errors of other programs find their way into reasons. They must not become markup, nor end a
// line.
func TestHostileReasons(t *testing.T) {
	nasty := "boom | <script>x</script> *a* _b_ `c` [d](e) ]]>\nsecond\x1b[31m line\x00 \xff"
	r := suite(doubt(inAppRolling, nasty), preStopRolling)

	text := written(t, report.Text, r)
	assert.Contains(t, text, "boom | <script>x</script> *a* _b_ `c` [d](e) ]]> second line� �")

	md := written(t, report.Markdown, r)
	assert.NotContains(t, md, "<script>")
	assert.Contains(t, md, "boom | &lt;script&gt;x&lt;/script&gt; \\*a\\* \\_b\\_ \\`c\\` \\[d\\](e) \\]\\]&gt; second line")

	page := written(t, report.Index, r)
	assert.NotContains(t, page, "<script>")
	assert.Contains(t, page, "boom | &lt;script&gt;x&lt;/script&gt; *a* _b_ `c` [d](e) ]]&gt; second line")

	r.Artifacts, r.Suite.Runs[0].Spec.Summary = "# art", "serves on\nfor 15 s"
	assert.Contains(t, written(t, report.Markdown, r), "- in-app-delay: serves on for 15 s\n")

	var suites junit.Testsuites
	require.NoError(t, xml.Unmarshal([]byte(written(t, report.JUnit, r)), &suites))
	assert.Equal(t, "boom | <script>x</script> *a* _b_ `c` [d](e) ]]> second line� �", suites.Suites[0].Testcases[0].Error.Data)

	assert.Equal(t, []any{strings.ToValidUTF8(nasty, "�")}, decoded(t, r).list("runs")[0]["reasons"])
}

func TestJUnitCounts(t *testing.T) {
	tests := []struct {
		name                    string
		report                  report.Report
		tests, failures, errors int
	}{
		{"quick", quick(), 11, 0, 0},
		{"failing", failing(), 7, 3, 0},
		{"inconclusive", inconclusive(), 7, 0, 5},
		{"repeats", repeats(), 6, 1, 0},
		{"infrastructure", infrastructure(), 7, 0, 3},
		{"two names that differ", aa(true), 22, 0, 1},
		{"empty", suite(), 1, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got junit.Testsuites
			require.NoError(t, xml.Unmarshal([]byte(written(t, report.JUnit, tt.report)), &got))
			assert.Equal(t, []int{tt.tests, tt.failures, tt.errors}, []int{got.Tests, got.Failures, got.Errors})
			seen := map[string]bool{}
			for _, s := range got.Suites {
				assert.Contains(t, *s.Properties, junit.Property{Name: "kubernetes", Value: "v1.37.2"})
				for _, tc := range s.Testcases {
					assert.False(t, seen[tc.Name], "%s is there twice", tc.Name)
					seen[tc.Name] = true
				}
			}
		})
	}
}

func TestRunsOfAnotherClusterAreNamed(t *testing.T) {
	other := preStopRolling
	other.Environment = timeline.Environment{
		Kubernetes: "v1.36.1", Nodes: 1, ProxyMode: "nftables",
		MinSyncPeriod: "10s", CPUs: 8,
	}
	r := suite(inAppRolling, other)
	assert.Contains(t, unwrapped(written(t, report.Text, r)),
		"measured elsewhere (Kubernetes v1.36.1 · 1 node · kube-proxy nftables, minSyncPeriod 10s · 8 CPUs · kernel "+
			"unknown · unknown), "+
			"compare with care: prestop-sleep/rolling-update")
	runs := decoded(t, r).list("runs")
	assert.NotContains(t, runs[0], "cluster")
	assert.Equal(t, "v1.36.1", runs[1].object("cluster")["kubernetes"])
}

func TestHeadToHead(t *testing.T) {
	withMasked := lane("nodeport/new", measured, 3760, nil, time.Second)
	withMasked.Masked = 4
	tests := []struct {
		name   string
		report report.Report
		want   []string
	}{
		{
			"no in-app strategy", suite(noHandlerRolling, preStopRolling),
			[]string{"Nothing to compare: no in-app delay strategy was run."},
		},
		{
			"no preStop strategy", suite(noHandlerRolling, inAppRolling),
			[]string{"Nothing to compare: no preStop strategy was run."},
		},
		{
			"neither", suite(noHandlerRolling),
			[]string{"Nothing to compare: no preStop strategy and no in-app delay strategy was run."},
		},
		{
			"one side under one disruption only", suite(inAppRolling, preStopRolling, preStopDeletion),
			[]string{"26.0s 6 46.3 - Nothing to compare: no in-app delay strategy has a conclusive run."},
		},
		{
			"one of two repeats is not conclusive",
			suite(inAppRolling, doubt(repeat(2, inAppRolling), "lag"), preStopRolling, repeat(2, preStopRolling)),
			[]string{
				"Left out, not measured or not conclusive: in-app-delay (1 of 2 runs).",
				"No difference above can be told from noise at the 5 % level (1 to 2 runs each, 3 comparisons " +
					"corrected for each other); 5 runs of each are the least",
			},
		},
		{
			"clean everywhere",
			suite(run("in-app-delay", "eviction", time.Second, 1, lane("a/new", clean, 100, nil, 0)),
				run("prestop-sleep", "eviction", time.Second, 1, lane("a/new", clean, 100, nil, 0))),
			[]string{
				"On all lanes, no request was dropped with either (1 rollout each: up to 95 % of rollouts may still " +
					"drop some).",
			},
		},
		{
			"masked requests are dropped ones",
			suite(run("in-app-delay", "rolling-update", time.Second, 1, withMasked), preStopRolling),
			[]string{"1.0 - On nodeport/slow, no request was dropped with either (1 rollout each"},
		},
		{
			"enough rollouts", manyRepeats(),
			[]string{
				"More than noise: nodeport/reused, prestop-exec-sleep against in-app-delay-close: dropped something " +
					"in 10 of 10 against 0 of 10 rollouts " +
					"(p < 0.001, corrected p < 0.001). - More than noise: rollout time,",
				"rollout time, prestop-exec-sleep against in-app-delay-close: 26.9s–27.17s against 24.6s–24.78s (p < " +
					"0.001, corrected p < 0.001).",
				// prestop-sleep dropped something in 5 of 10: p = 0.033 by itself, and one
				// comparison of eight.
				"No other difference can be told from noise at the 5 % level (10 runs each, 8 comparisons corrected " +
					"for each other).",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := unwrapped(written(t, report.Text, tt.report))
			for _, want := range tt.want {
				assert.Contains(t, text, want)
			}
		})
	}
}

// Both sides lose in every rollout, one of them always more: then the amount tells them apart.
func TestHeadToHeadByTheAmountDropped(t *testing.T) {
	var runs []verdict.Verdict
	for i := range 5 {
		runs = append(runs,
			repeat(i+1, run("in-app-delay", "rolling-update", time.Second, 1,
				lane("nodeport/reused", measured, 100, causes{timeline.EOF: 1 + i%2}, 0))),
			repeat(i+1, run("prestop-sleep", "rolling-update", time.Second, 1,
				lane("nodeport/reused", measured, 100, causes{timeline.EOF: 8 + i}, 0))))
	}
	text := unwrapped(written(t, report.Text, suite(runs...)))
	assert.Contains(t, text, "nodeport/reused, prestop-sleep against in-app-delay: dropped 8–12 against 1–2 per "+
		"rollout (p = 0.008).")
	assert.Contains(t, text, "No other difference can be told from noise at the 5 % level (5 runs each).",
		"nothing else can differ, so there is nothing to correct for")
}

func TestLanesWithoutAConsumer(t *testing.T) {
	text := written(t, report.Text, suite(run("prestop-sleep", "rolling-update", time.Second, 1,
		lane("reads", clean, 100, nil, 0))))
	assert.Contains(t, text, "dropped/sent")
	assert.Contains(t, text, "0/100")
}

// What an ordinary client hides has a column of its own: where it may, and where it did.
func TestMasked(t *testing.T) {
	l := lane("nodeport/reused", measured, 100, nil, 0)
	l.Masked = 7
	text := unwrapped(written(t, report.Text, suite(run("prestop-sleep", "rolling-update", time.Second, 1, l))))
	assert.Contains(t, text, "reused masked │")
	assert.Contains(t, text, "prestop-sleep pass │ 0/100 7 │")
	assert.Contains(t, text, "masked: dropped, and sent again by http.Transport on its own, with success: drops that "+
		"an ordinary Go client would never have told about")
	assert.NotContains(t, text, "nothing dropped with")
	assert.Contains(t, written(t, report.Markdown, suite(run("prestop-sleep", "rolling-update", time.Second, 1, l))),
		"| nodeport/reused masked |")

	l.Masked = 0
	text = unwrapped(written(t, report.Text, suite(run("prestop-sleep", "rolling-update", time.Second, 1, l))))
	assert.NotContains(t, text, "masked", "where nothing can be")
	l.Replayable = true
	text = unwrapped(written(t, report.Text, suite(run("prestop-sleep", "rolling-update", time.Second, 1, l))))
	assert.Contains(t, text, "prestop-sleep pass │ 0/100 0 │", "where something could have been, zero is a finding")
}

// Lanes from within the cluster come first, and those from outside have a table of their own; where
// all are from one side there is one table.
func TestOutsideView(t *testing.T) {
	text := unwrapped(written(t, report.Text, sevenLanes()))
	first, second, found := strings.Cut(text, "The view from outside, sent by this machine and not from within the "+
		"cluster:")
	require.True(t, found)
	assert.Contains(t, first, "service: dropped/sent")
	assert.NotContains(t, first, "nodeport: dropped/sent")
	table, _, _ := strings.Cut(second, "- † control")
	assert.Contains(t, table, "nodeport: dropped/sent")
	assert.NotContains(t, table, "cost")
	assert.NotContains(t, written(t, report.Text, quick()), "view from outside")
}

// A page needs nothing from elsewhere: its links lead to the runs' own pages, by the paths that the
// report gives.
func TestIndexIsWhole(t *testing.T) {
	r := quick()
	page := written(t, report.Index, r)
	var links []string
	for _, m := range regexp.MustCompile(`(?:src|href|action)="([^"]*)"|url\(([^)]*)\)|@import`).FindAllStringSubmatch(page, -1) {
		if to := m[1] + m[2]; to != "data:," { // the icon
			links = append(links, to)
		}
	}
	assert.ElementsMatch(t, r.Pictures, links)
}

func TestDroppedFile(t *testing.T) {
	v := verdict.Verdict{DisruptStart: 5 * time.Second, DroppedRequests: []verdict.DroppedRequest{
		{
			Lane: "service/new", Seq: 7, Sent: 6 * time.Second, Done: 6*time.Second + 20*ms, Cause: timeline.EOF,
			Port: 4711, ConnUse: 2, Pod: "app-1",
			Evidence: verdict.ByConnection, Phase: verdict.CutAtExit, Class: timeline.ClassInFlight,
			SinceDeletion: new(900 * ms),
		},
		{
			Lane: "dns/new", Sent: 4 * time.Second, Done: 5 * time.Second, Cause: timeline.HTTP5xx, Code: 503,
			Class: timeline.ClassNew, Why: "a, b",
		},
	}}
	var out bytes.Buffer
	require.NoError(t, report.WriteDropped(&out, v))
	assert.Equal(t, `lane,seq,sent,failed,cause,code,port,connection_use,pod,evidence,phase,class,since_deletion,unattributed_because
service/new,7,1.000000,1.020000,eof,0,4711,2,app-1,connection,cut-at-exit,in-flight,0.900000,
dns/new,0,-1.000000,0.000000,http-5xx,503,0,0,,,unattributed,new,,"a, b"
`, out.String())
	assert.ErrorContains(t, report.WriteDropped(fullDisk{}, v), "write dropped requests: no space left")
}

// A suite can be worse than any of its runs: then CI is told so by a case of its own.
func TestJUnitOfNamesThatDiffer(t *testing.T) {
	r := aa(true)
	require.Equal(t, verdict.Inconclusive, r.Suite.Outcome)
	failed := suite(append(r.Suite.Runs, inAppRolling)...)
	failed.Suite.Runs[len(failed.Suite.Runs)-1].Outcome = verdict.Fail
	for _, r := range []report.Report{r, failed} {
		assert.Contains(t, written(t, report.JUnit, r), `<error message="A/A: two names of one strategy differ: shutdown-at-once`)
	}
}
