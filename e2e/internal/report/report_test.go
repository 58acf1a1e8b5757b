package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jstemmer/go-junit-report/v2/junit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

var update = flag.Bool("update", false, "write the golden files anew; read the difference before it is committed")

func written(t *testing.T, write func(io.Writer, Report) error, r Report) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, write(&out, r))
	return out.String()
}

// unwrapped is the text without line breaks, and without what XML and markdown do to some
// characters.
func unwrapped(s string) string {
	return strings.Join(strings.Fields(strings.NewReplacer("&#39;", "'", "&#34;", `"`, "&#43;", "+", `\_`, "_").Replace(s)), " ")
}

var style = regexp.MustCompile(`(?s)<style>.*?</style>`)

// unstyled is a page without its style sheets, which one looks at in a browser.
func unstyled(page string) string { return style.ReplaceAllString(page, "<style></style>") }

func golden(t *testing.T, file, got string) {
	t.Helper()
	file = filepath.Join("testdata", file)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err, "run go test -update")
	require.Equal(t, string(want), got)
}

// TestGolden: one small suite in every format, and what people see first of others.
func TestGolden(t *testing.T) {
	for _, f := range Formats() {
		golden(t, f.File, unstyled(written(t, f.Write, small())))
	}
	for _, name := range []string{"quick", "full-failing", "aa-differs", "infrastructure", "consumers"} {
		golden(t, name+".txt", summarized(t, suites()[name]))
	}
	golden(t, "safe-delay.txt", summarized(t, quick(), safeDelays()["proved"]))
}

type fullDisk struct{}

var errFull = errors.New("no space left on device")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestWhatCanNotBeWritten(t *testing.T) {
	for _, f := range Formats() {
		err := f.Write(fullDisk{}, quick())
		require.ErrorIs(t, err, errFull, f.File)
		assert.ErrorContains(t, err, "write ", f.File)
	}
	require.EqualError(t, Summary(fullDisk{}, quick(), nil, false), "write summary: no space left on device")
	for _, f := range SafeDelayFormats() {
		require.EqualError(t, f.Write(fullDisk{}, SafeDelay{}), "write safe delay: no space left on device", f.File)
	}
}

func TestFormatsAreDeterministic(t *testing.T) {
	for _, f := range Formats() {
		first := written(t, f.Write, inconclusive())
		for range 5 {
			require.Equal(t, first, written(t, f.Write, inconclusive()), f.File)
		}
	}
}

// Whatever the zero values of a report are, no format may call it a pass.
func TestZeroReportIsInconclusive(t *testing.T) {
	assert.Contains(t, written(t, Text, Report{}), "? inconclusive suite: no reason was given")
	assert.Contains(t, summarized(t, Report{}), "INCONCLUSIVE: no run was made")
	assert.Contains(t, written(t, Markdown, Report{}), "## INCONCLUSIVE: no run was made")
	assert.Contains(t, written(t, Index, Report{}), `<h1 class="is-inconclusive">INCONCLUSIVE: no run was made</h1>`)
	assert.Contains(t, written(t, JSON, Report{}), `"outcome": "inconclusive"`)
	assert.Contains(t, written(t, JUnit, Report{}), `<error message="no reason was given" type="inconclusive">`)
}

// A suite can be red for a reason of its own, while every run came out as expected.
func TestSuiteWithAReasonOfItsOwn(t *testing.T) {
	r := quick()
	r.Suite.Outcome, r.Suite.Reasons = verdict.Fail, []string{"in-app-delay got worse than last week"}
	for _, f := range Formats() {
		assert.Contains(t, written(t, f.Write, r), "in-app-delay got worse than last week", f.File)
	}
	assert.Contains(t, written(t, Text, r), "FAIL: 11 of 11 runs as expected")
	assert.Contains(t, written(t, Index, r), `<h1 class="is-fail">`)
	assert.Contains(t, written(t, JUnit, r), `<failure message="in-app-delay got worse than last week" type="fail">`)
}

// What was not run is told by each format, and counts as nothing else.
func TestNotRunIsTold(t *testing.T) {
	r := quick()
	r.NotRun = []NotRun{{Strategy: "prestop-nap", Disruption: "earthquake", Why: "its turn is tomorrow"}}
	for _, f := range Formats() {
		told := unwrapped(written(t, f.Write, r))
		for _, word := range []string{"prestop-nap", "earthquake", "its turn is tomorrow"} {
			assert.Contains(t, told, word, f.File)
		}
	}
	assert.Contains(t, summarized(t, r), "not run: 1 cell, each with its reason in report.txt")
	assert.Contains(t, written(t, JUnit, r), `<skipped message="its turn is tomorrow">`)
	assert.Equal(t, verdictLine(quick().Suite), newDocument(r).Verdict)
}

func TestEveryReasonIsTold(t *testing.T) {
	for _, r := range []Report{failing(), inconclusive(), infrastructure()} {
		for _, f := range Formats() {
			told := unwrapped(written(t, f.Write, r))
			for _, v := range r.Suite.Runs {
				for _, reason := range v.Reasons {
					assert.Contains(t, told, unwrapped(strings.Split(reason, `"`)[0]), f.File)
				}
			}
		}
	}
}

func TestTextFitsATerminal(t *testing.T) {
	for name, r := range suites() {
		text := written(t, Text, r)
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			assert.LessOrEqual(t, utf8.RuneCountInString(line), 150, "%s: %s", name, line)
			assert.Equal(t, strings.TrimRight(line, " "), line, "%s: blanks at the end", name)
			assert.False(t, strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }), "%s: %q", name, line)
		}
		lines := strings.Split(strings.TrimSpace(text), "\n")
		assert.Equal(t, lines[0], lines[len(lines)-1], "%s: a terminal shows the end", name)
	}
}

// Counts are checked here against the verdicts, so that a golden file that was updated in haste
// doesn't hide that they were mixed up.
func TestTextCounts(t *testing.T) {
	text := written(t, Text, quick())
	for _, row := range [][]string{
		{"rolling-update", "no-handler †", "service/new", "new drops · in-flight measured", "84/2270", "0", "18", "1/1 ≤ 100 %"},
		{"rolling-update", "shutdown-at-once", "service/new", "measured", "102/2480", "17", "14", "1/1 ≤ 100 %"},
		{"rolling-update", "shutdown-at-once", "service/new", "102", "17", "timeout 88 · eof 14", "3.4s–13.6s"},
		{"service/new", "11", "30ms", "33600", "33600", "0", "0.1ms", "1.5ms", "no-handler/none"},
		{"pod-deletion", "prestop-sleep", "service/reused", "3", "0", "13.51s", "15.01s", "15.01s"},
	} {
		want := strings.ReplaceAll(regexp.QuoteMeta(strings.Join(row, " ")), " ", " +")
		assert.True(t, regexp.MustCompile("(?m)^"+want+"$").MatchString(text), row)
	}
}

func TestMarkdownIsWellFormed(t *testing.T) {
	for name, r := range suites() {
		md := written(t, Markdown, r)
		assert.Equal(t, strings.Count(md, "<details>"), strings.Count(md, "</details>"), name)
		lines := strings.Split(md, "\n")
		cells := 0
		for i, line := range lines {
			if strings.HasPrefix(line, "<summary>") || strings.HasPrefix(line, "</details>") {
				assert.Empty(t, lines[i+1], "%s: markdown after %s needs an empty line", name, line)
			}
			if !strings.HasPrefix(line, "|") {
				cells = 0
				continue
			}
			n := strings.Count(line, "|") - strings.Count(line, `\|`)
			if cells == 0 {
				assert.Empty(t, lines[i-1], "%s: a table needs an empty line above it", name)
				cells = n
			}
			assert.Equal(t, cells, n, "%s: %s", name, line)
		}
		short, _, _ := strings.Cut(md, "<details>")
		assert.LessOrEqual(t, strings.Count(short, "\n"), 65, "%s: short first", name)
	}
}

// Errors of other programs find their way into reasons. They must not become markup, nor end a
// line.
func TestHostileReasons(t *testing.T) {
	nasty := "boom | <script>x</script> *a* _b_ `c` [d](e) ]]>\nsecond\x1b[31m line\x00 \xff"
	r := suite(doubt(usual("in-app-delay", "rolling-update"), nasty), usual("prestop-sleep", "rolling-update"))
	r.Artifacts, r.Suite.Runs[0].Spec.Summary = "# art", "serves on\nfor 15 s"
	r.Suite.Runs[1].Retry = []string{nasty}
	const plain = "boom | <script>x</script> *a* _b_ `c` [d](e) ]]> second line� �"
	assert.Contains(t, summarized(t, r), "? inconclusive in-app-delay/rolling-update: "+plain)
	assert.Contains(t, unwrapped(written(t, Text, r)), plain)
	md, page := written(t, Markdown, r), written(t, Index, r)
	assert.NotContains(t, md+page, "<script>")
	assert.Contains(t, md, "boom | &lt;script&gt;x&lt;/script&gt; \\*a\\* \\_b\\_ \\`c\\` \\[d\\](e) \\]\\]&gt; second line")
	assert.Contains(t, md, "- in-app-delay: serves on for 15 s\n")
	assert.Contains(t, page, "boom | &lt;script&gt;x&lt;/script&gt; *a* _b_ `c` [d](e) ]]&gt; second line")

	var suites junit.Testsuites
	require.NoError(t, xml.Unmarshal([]byte(written(t, JUnit, r)), &suites))
	assert.Equal(t, plain, suites.Suites[0].Testcases[0].Error.Data)
	assert.Equal(t, []any{strings.ToValidUTF8(nasty, "�")}, decoded(t, r).list("runs")[0]["reasons"])
}

func TestJUnitCounts(t *testing.T) {
	for name, want := range map[string][3]int{ // tests, failures, errors
		"quick": {11, 0, 0}, "failing": {5, 2, 0}, "inconclusive": {3, 0, 3}, "infrastructure": {3, 0, 1}, "aa-differs": {22, 0, 1}, "empty": {1, 0, 1},
	} {
		var got junit.Testsuites
		require.NoError(t, xml.Unmarshal([]byte(written(t, JUnit, suites()[name])), &got))
		assert.Equal(t, want, [3]int{got.Tests, got.Failures, got.Errors}, name)
		seen := map[string]bool{}
		for _, s := range got.Suites {
			assert.Contains(t, *s.Properties, junit.Property{Name: "kubernetes", Value: "v1.37.2"})
			for _, tc := range s.Testcases {
				assert.False(t, seen[tc.Name], "%s is there twice", tc.Name)
				seen[tc.Name] = true
			}
		}
	}
}

func TestRunsOfAnotherClusterAreNamed(t *testing.T) {
	other := usual("prestop-sleep", "rolling-update")
	other.Environment = timeline.Environment{Kubernetes: "v1.36.1", Nodes: 1, ProxyMode: "nftables", MinSyncPeriod: "10s", CPUs: 8}
	r := suite(usual("in-app-delay", "rolling-update"), other)
	assert.Contains(t, unwrapped(written(t, Text, r)), "measured elsewhere (Kubernetes v1.36.1 · 1 node · kube-proxy nftables, "+
		"minSyncPeriod 10s · 8 CPUs · kernel unknown · unknown), compare with care: prestop-sleep/rolling-update")
	runs := decoded(t, r).list("runs")
	assert.NotContains(t, runs[0], "cluster")
	assert.Equal(t, "v1.36.1", runs[1].object("cluster")["kubernetes"])
}

// TestPicture: the marks of a row are where its numbers are, with the words beside them.
func TestPicture(t *testing.T) {
	v := usual("prestop-sleep", "rolling-update")
	v.Lanes[0] = lane("service/new", clean, 1000, causes{timeline.Timeout: 10}, 1290*ms) // 1 %, and a failure
	v.Lanes[3].Arrivals[0].Censored = true
	v.Outcome = verdict.Fail
	c := newChart(newModel(suite(v)))
	r := c.Parts[0].Rows[0]
	fresh := r.Drops[0]
	at := percentOf(shareAt(0.01))
	assert.Equal(t, dropCell{
		Scale: c.Columns[0], Result: Failed, X: at, Text: "10/1000", Notes: []string{"1 %", "service", "700 at dns-cached", "0 at nodeport"},
		Others: []otherMark{{percentOf(shareAt(700.0 / 3800)), Dropped}, {"4.0%", Clean}},
	}, fresh)
	assert.Equal(t, dropCell{Scale: c.Columns[1], Result: Clean, X: "4.0%", Text: "0/3800"}, r.Drops[1])
	assert.Equal(t, barCell{
		Scale: c.Columns[3], Value: percentOf(4 + 92*1.29/15), From: "96.0%", Open: true, Text: "≥ 1.29s", Note: "of 15s given",
	}, r.Delay)
	assert.Equal(t, barCell{Scale: c.Columns[4], Value: "96.0%", Text: "48.0 Pod-s", Note: "rollout 24.9s"}, r.Cost)
	page := written(t, Index, suite(v))
	assert.Contains(t, page, `<th scope="row" class="who"><div><svg class="shape" viewBox="-8 -8 16 16" aria-hidden="true"><path class="is-fail"`)
	assert.Equal(t, 5, strings.Count(page, `<svg class="cell"`))
}

func TestShareAt(t *testing.T) {
	for i, share := range []float64{0.0001, 0.001, 0.01, 0.1, 1} {
		assert.InDelta(t, firstDecade+float64(i)*(axisTo-firstDecade)/4, shareAt(share), 1e-9)
	}
	assert.InDelta(t, axisFrom, shareAt(0), 0)
	assert.InDelta(t, firstDecade, shareAt(1e-7), 0, "never at zero")
}

func TestLinearScale(t *testing.T) {
	for most, want := range map[float64]string{15: "0 5 10 15", 48.4: "0 20 40", 1.3: "0 0.5 1", 0: "0", 100: "0 50 100", 7: "0 2 4 6"} {
		var labels []string
		for _, tick := range linearScale("", "", most).Ticks {
			labels = append(labels, tick.Label)
		}
		assert.Equal(t, want, strings.Join(labels, " "), most)
	}
}

// A page needs nothing from elsewhere: its links lead to the runs' own pages, by the paths that the
// report gives.
func TestIndexIsWhole(t *testing.T) {
	for _, r := range []Report{quick(), repeats()} {
		var links []string
		for _, m := range regexp.MustCompile(`(?:src|href|action)="([^"]*)"|url\(([^)]*)\)|@import`).FindAllStringSubmatch(written(t, Index, r), -1) {
			if to := m[1] + m[2]; to != "data:," { // the icon
				links = append(links, to)
			}
		}
		assert.ElementsMatch(t, r.Pictures, links)
	}
}

func TestDroppedFile(t *testing.T) {
	v := verdict.Verdict{DisruptStart: 5 * second, DroppedRequests: []verdict.DroppedRequest{
		{
			Lane: "service/new", Seq: 7, Sent: 6 * second, Done: 6*second + 20*ms, Cause: timeline.EOF, Port: 4711, ConnUse: 2, Pod: "app-1",
			Evidence: verdict.ByConnection, Phase: verdict.CutAtExit, Class: timeline.ClassInFlight, SinceDeletion: new(900 * ms),
		},
		{Lane: "dns/new", Sent: 4 * time.Second, Done: 5 * second, Cause: timeline.HTTP5xx, Code: 503, Class: timeline.ClassNew, Why: "a, b"},
	}}
	var out bytes.Buffer
	require.NoError(t, WriteDropped(&out, v))
	assert.Equal(t, `lane,seq,sent,failed,cause,code,port,connection_use,pod,evidence,phase,class,since_deletion,unattributed_because
service/new,7,1.000000,1.020000,eof,0,4711,2,app-1,connection,cut-at-exit,in-flight,0.900000,
dns/new,0,-1.000000,0.000000,http-5xx,503,0,0,,,unattributed,new,,"a, b"
`, out.String())
	assert.ErrorContains(t, WriteDropped(fullDisk{}, v), "write dropped requests: no space left")
}
