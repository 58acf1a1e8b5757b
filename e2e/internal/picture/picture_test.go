package picture_test

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"html"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/picture"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

var update = flag.Bool("update", false, "write the golden files anew; read the difference before it is committed")

// pictureOf is a run's page.
func pictureOf(t *testing.T, v verdict.Verdict, tl timeline.Timeline) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, picture.Write(&out, v, tl))
	return out.String()
}

var (
	markPattern  = regexp.MustCompile(`<use class="mark" href="#s-([a-z-]+)" x="([0-9.]+)%" y="8"(?: data-p="(\d+)")?><title>([^<]*)</title></use>`)
	phasePattern = regexp.MustCompile(`<text class="phase"[^>]*>([a-z]+) <tspan class="took">([^<]*)</tspan>`)
	podPattern   = regexp.MustCompile(`(?s)<div class="row pod" data-pod="\d+"><div class="label" title="([^"]*)">.*?</svg></div>`)
	partPattern  = regexp.MustCompile(`<rect class="seg p-([a-z-]+)" x="([0-9.]+)%" width="([0-9.]+)%"`)
	factPattern  = regexp.MustCompile(`<title>([^<]*)</title>`)
)

// outline is what a picture shows, in lines: phases; a Pod's life, its parts and when what was seen
// of it; the marks of a lane by phase; and the facts of the first mark of each phase.
func outline(page string) string {
	var out strings.Builder
	told := map[string]bool{}
	for _, m := range phasePattern.FindAllStringSubmatch(page, len(phasePattern.FindAllString(page, -1))/2) { // the axis is there twice
		fmt.Fprintf(&out, "phase %s %s\n", m[1], m[2])
	}
	for i, pod := range podPattern.FindAllStringSubmatch(page, -1) {
		fmt.Fprintf(&out, "pod %s\n ", pod[1])
		for _, part := range partPattern.FindAllStringSubmatch(pod[0], -1) {
			fmt.Fprintf(&out, " %s %s+%s %%", part[1], part[2], part[3])
		}
		facts := factPattern.FindAllStringSubmatch(pod[0], -1)
		var seen []string
		for _, fact := range facts {
			seen = append(seen, factOf(fact[1], "Seen")+" "+factOf(fact[1], "At"))
		}
		fmt.Fprintf(&out, "\n  %s\n", strings.Join(seen, ", "))
		if i == 0 {
			fmt.Fprintf(&out, "  %s\n", oneLine(facts[len(facts)-1][1]))
		}
	}
	for _, lane := range strings.Split(page, `<div class="lane"`)[1:] {
		_, name, _ := strings.Cut(lane, `<span class="name">`)
		name, _, _ = strings.Cut(name, "<")
		fmt.Fprintf(&out, "lane %s: %d outages", name, strings.Count(lane, `class="outage fact"`))
		var examples []string
		for _, row := range strings.Split(lane, `<div class="row dropped`)[1:] {
			if marks := markPattern.FindAllStringSubmatch(row, -1); len(marks) > 0 {
				fmt.Fprintf(&out, ", %d %s from %s %%", len(marks), marks[0][1], marks[0][2])
				if !told[marks[0][1]] {
					told[marks[0][1]] = true
					examples = append(examples, "  "+oneLine(marks[0][4])+"\n")
				}
			}
		}
		fmt.Fprintf(&out, "\n%s", strings.Join(examples, ""))
	}
	return out.String()
}

func oneLine(facts string) string { return strings.ReplaceAll(html.UnescapeString(facts), "\n", " | ") }

// factOf is one of the facts, by its name.
func factOf(facts, name string) string {
	_, value, _ := strings.Cut("\n"+html.UnescapeString(facts), "\n"+name+": ")
	value, _, _ = strings.Cut(value, "\n")
	return value
}

// TestPictureOutline: what was measured is where it belongs, with its facts.
func TestPictureOutline(t *testing.T) {
	noHandler, err := timeline.Load("../verdict/testdata/no-handler/rolling-update")
	require.NoError(t, err)
	for name, tl := range map[string]timeline.Timeline{
		"every-phase": madeRun("shutdown-at-once", 25),
		"recorded":    noHandler,
	} {
		t.Run(name, func(t *testing.T) {
			got := outline(pictureOf(t, verdict.Judge(tl), tl))
			file := filepath.Join("testdata", name+".txt")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
				require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err, "run go test -update")
			require.Equal(t, string(want), got)
		})
	}
}

// TestPictureMarks: each dropped request has a mark of its own, with the facts of that one and not
// of another, at the instant at which it left.
func TestPictureMarks(t *testing.T) {
	tl := madeRun("shutdown-at-once", 40)
	v := verdict.Judge(tl)
	for _, m := range verdict.LifecyclePhases() {
		require.True(t, slices.ContainsFunc(v.DroppedRequests,
			func(l verdict.DroppedRequest) bool { return l.Phase == m }), "nothing is dropped %s: the run shows too "+
			"little", m)
	}
	page := pictureOf(t, v, tl)
	found := map[string]bool{} // facts
	at := map[string]float64{} // by facts: the place, in shares of the width
	for _, mark := range markPattern.FindAllStringSubmatch(page, -1) {
		facts := html.UnescapeString(mark[4])
		assert.False(t, found[facts], "twice: %s", facts)
		found[facts] = true
		assert.Contains(t, facts, "Phase: "+mark[1]+"\n")
		assert.Equal(t, mark[3] != "", strings.Contains(facts, "\nPod: "), "a mark leads to its Pod: %s", facts)
		x, err := strconv.ParseFloat(mark[2], 64)
		require.NoError(t, err)
		at[facts] = x
	}
	assert.Len(t, found, len(v.DroppedRequests))
	var left, right *verdict.DroppedRequest // the first and the last, and where they are drawn
	var leftAt, rightAt float64
	drawn := map[*verdict.DroppedRequest]float64{}
	for i := range v.DroppedRequests {
		l := &v.DroppedRequests[i]
		facts := fmt.Sprintf("Lane: %s\nRequest: %d\nPhase: %s\nClass: %s\nSent: %.3fs\n", l.Lane, l.Seq, l.Phase,
			l.Class, l.Sent.Seconds())
		ok := false
		for told := range found {
			if strings.HasPrefix(told, facts) && strings.Contains(told, "\nCause: "+l.Cause.String()) &&
				strings.Contains(told, l.Pod) && strings.Contains(told, l.Why) &&
				strings.Contains(told, fmt.Sprintf("\nConnection: port %d, ", l.Port)) &&
				strings.Contains(told, "After its Pod's deletion: ") == (l.SinceDeletion != nil) {
				ok, drawn[l] = true, at[told]
			}
		}
		require.True(t, ok, facts)
		if left == nil || l.Sent < left.Sent {
			left, leftAt = l, drawn[l]
		}
		if right == nil || l.Sent > right.Sent {
			right, rightAt = l, drawn[l]
		}
	}
	for l, x := range drawn {
		want := leftAt + (rightAt-leftAt)*float64(l.Sent-left.Sent)/float64(right.Sent-left.Sent)
		assert.InDelta(t, want, x, 0.002, "drawn when it was sent: %s %d", l.Lane, l.Seq)
	}
}

// A last arrival that only the Pod's own end ended is a lower bound.
func TestPictureOfACensoredArrival(t *testing.T) {
	v := verdict.Verdict{Lanes: []verdict.Lane{{
		LaneSpec:    specOf("dns/cached", 25),
		LastArrival: &verdict.Arrival{After: 15 * time.Second, Censored: true},
	}}}
	assert.Contains(t, pictureOf(t, v, timeline.Timeline{}), "<td>≥ 15.0s</td>")
	v.Lanes[0].LastArrival.Censored = false
	assert.Contains(t, pictureOf(t, v, timeline.Timeline{}), "<td>15.0s</td>")
}

// TestPictureIsWhole: a page needs nothing from elsewhere, and nothing in it comes from elsewhere.
func TestPictureIsWhole(t *testing.T) {
	tl := madeRun("shutdown-at-once", 25)
	for name, page := range map[string]string{"picture": pictureOf(t, verdict.Judge(tl), tl)} {
		for _, m := range regexp.MustCompile(`(?:src|href|action)="([^"]*)"|url\(([^)]*)\)|@import|<link[^>]*>`).FindAllStringSubmatch(page, -1) {
			to := m[1] + m[2]
			own := strings.HasPrefix(to, "#") || strings.HasSuffix(to, "/run.html") || m[0] == `<link rel="icon" href="data:,">`
			assert.True(t, own, "%s: %s", name, m[0])
		}
	}
}

// TestPictureSize: however much is dropped, the page keeps its limit, says what it has merged, and
// nothing is missing from its numbers.
func TestPictureSize(t *testing.T) {
	wordy := madeRun("shutdown-at-once", 100)
	wordy.Errors = slices.Repeat([]string{strings.Repeat("the API server went away <again> ", 4000)}, 200)
	crowd := madeRun("shutdown-at-once", 100)
	for i := range 5000 {
		crowd.Events = append(crowd.Events, timeline.Event{
			At: madeEnd, Kind: timeline.PodCreated,
			Pod: fmt.Sprintf("app-%05d-%s", i, strings.Repeat("x", 200)),
		})
	}
	tests := []struct {
		name   string
		run    timeline.Timeline
		merged bool
		says   string
	}{
		{"all of 100,000 dropped", allDropped(100_000), true, "100000 dropped requests are drawn as "},
		{"100,000 requests", madeRun("shutdown-at-once", 834), true, " dropped requests are drawn as "},
		{"few", madeRun("shutdown-at-once", 10), false, ""},
		{"long reasons", wordy, true, "and 150 more: see report.json"},
		{"5,000 Pods", crowd, true, "4806 Pods not shown, of 5006"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := verdict.Judge(tt.run)
			page := pictureOf(t, v, tt.run)
			assert.LessOrEqual(t, len(page), picture.Limit)
			assert.Contains(t, page, tt.says)
			marks := markPattern.FindAllStringSubmatch(page, -1)
			total := 0
			for _, mark := range marks {
				n := 1
				if _, many, ok := strings.Cut(mark[4], "\nRequests: "); ok {
					_, err := fmt.Sscan(many, &n)
					require.NoError(t, err)
					assert.Greater(t, n, 1)
				}
				total += n
			}
			assert.Equal(t, len(v.DroppedRequests), total)
			assert.Equal(t, tt.merged, len(marks) < len(v.DroppedRequests))
			assert.Greater(t, len(marks), 50, "as many as there is room for")
		})
	}
}

// TestPictureOfLittle: a run of which nearly nothing is known has a page, and nothing is made up
// for it.
func TestPictureOfLittle(t *testing.T) {
	ten := timeline.Timeline{Window: timeline.Window{LoadEnd: 10 * time.Second}}
	with := func(seen map[timeline.Kind]time.Duration) timeline.Timeline {
		tl := ten
		for _, kind := range slices.SortedFunc(maps.Keys(seen),
			func(a, b timeline.Kind) int { return cmp.Compare(seen[a], seen[b]) }) {
			tl.Events = append(tl.Events, timeline.Event{At: seen[kind], Kind: kind, Pod: "app-1"})
		}
		return tl
	}
	tests := []struct {
		name string
		tl   timeline.Timeline
		want []string // segments
	}{
		{"nothing at all", timeline.Timeline{}, nil},
		{"no marks", ten, nil},
		{"deleted, and no more was seen", with(map[timeline.Kind]time.Duration{
			timeline.PodDeleted: time.Second,
			timeline.PodGone:    3 * time.Second,
		}), nil},
		{
			"a life that goes on is drawn to the edge",
			with(map[timeline.Kind]time.Duration{timeline.PodReady: 0}),
			[]string{"before-deletion"},
		},
		{
			"a clock that stepped",
			with(map[timeline.Kind]time.Duration{
				timeline.PodReady: 0, timeline.PodDeleted: 4 * time.Second,
				timeline.AppSIGTERM: 99 * time.Hour,
			}),
			[]string{"before-deletion", "prestop"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			page := pictureOf(t, verdict.Judge(tt.tl), tt.tl)
			var got []string
			for _, part := range partPattern.FindAllStringSubmatch(page, -1) {
				got = append(got, part[1])
			}
			assert.Equal(t, tt.want, got)
			assert.Contains(t, page, "inconclusive")
			assert.NotContains(t, page, "NaN")
		})
	}
	assert.Contains(t, pictureOf(t, verdict.Judge(tests[len(tests)-1].tl), ten), "app-1; 1 mark outside of the picture")
}

// TestPictureOfANameThatComesAgain: a Pod of a StatefulSet is not charged with what the one before
// it has dropped.
func TestPictureOfANameThatComesAgain(t *testing.T) {
	at := func(created, deleted time.Duration) map[timeline.Kind]time.Duration {
		return map[timeline.Kind]time.Duration{timeline.PodCreated: created, timeline.PodDeleted: deleted}
	}
	dropped := func(seq, owner int) verdict.DroppedRequest {
		return verdict.DroppedRequest{
			Lane: "service/new", Seq: seq, Pod: "app-0", Owner: owner, Sent: 7 * time.Second,
			Phase: verdict.PreStop,
		}
	}
	v := verdict.Verdict{
		Lanes: []verdict.Lane{{LaneSpec: specOf("service/new", 100)}},
		Pods: []verdict.PodLifecycle{
			{Pod: "app-0", UID: "1", FirstSeen: at(0, 2*time.Second)},
			{Pod: "app-0", UID: "2", FirstSeen: at(3*time.Second, 6*time.Second)},
			{Pod: "app-1", FirstSeen: at(0, time.Second)},
		},
		DroppedRequests: []verdict.DroppedRequest{dropped(1, 0), dropped(2, 1), dropped(3, 1), dropped(4, -1)},
	}
	page := pictureOf(t, v, timeline.Timeline{Window: timeline.Window{LoadEnd: 10 * time.Second}})
	var pods, labels []string
	for _, mark := range markPattern.FindAllStringSubmatch(page, -1) {
		pods = append(pods, mark[3])
	}
	for _, pod := range podPattern.FindAllStringSubmatch(page, -1) {
		labels = append(labels, pod[1])
	}
	assert.Equal(t, []string{"0", "1", "1", ""}, pods, "of the last it can't be told")
	assert.Equal(t, []string{"app-0: 1 request dropped", "app-0: 2 requests dropped", "app-1"}, labels)
}

// Names and errors come from elsewhere: they must not become markup.
func TestPictureOfHostileNames(t *testing.T) {
	tl := madeRun("shutdown-at-once", 25)
	for i := range tl.Events {
		tl.Events[i].Pod = strings.ReplaceAll(tl.Events[i].Pod, "app-", `</title><script>"x`)
	}
	tl.Errors = []string{"</style><script>alert(1)</script>"}
	page := pictureOf(t, verdict.Judge(tl), tl)
	assert.Equal(t, 1, strings.Count(page, "<script>"), "its own")
	assert.Contains(t, page, "&lt;/style&gt;&lt;script&gt;")
}

type fullDisk struct{}

var errFull = errors.New("no space left on device")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestPictureSaysThatItCouldNotWrite(t *testing.T) {
	tl := madeRun("shutdown-at-once", 10)
	require.ErrorIs(t, picture.Write(fullDisk{}, verdict.Judge(tl), tl), errFull)
}
