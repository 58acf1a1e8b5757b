package observe

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// TestLog: the app's life events become events on the run's clock; everything the Pod has said is in the log file.
func TestLog(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer) {
		dir := t.TempDir()
		start := time.Now()
		told := func(event string, at time.Duration, more string) string {
			return fmt.Sprintf(`{"event":%q,"unixNano":%d,"pod":"app-0"%s}`+"\n", event, start.Add(at).UnixNano(), more)
		}
		first := told("start", -2*sec, "") + told("listening", -1500*ms, `,"addr":"[::]:8080"`)
		s.say("app-0", first)
		p := aReadyPod("app-0")
		s.put(p)
		o := s.observe(t, func(c *Config) { c.LogDir = dir })
		after(sec)

		later := told("ready", 1200*ms, "") + told("sigterm", 2*sec+7, "") +
			"panic: runtime error\n\n{\"event\":\"sigterm\"\n" + // a stack trace, and a line that begins as JSON
			told("sigterm", 3*sec, "") + // a second one
			told("lunch", 4*sec, "") + // unknown here
			`{"event":"exit"}` + "\n" + // says no time
			`["start"]` + "\n42\nnull\n" +
			told("exit", 5*sec, `,"code":3`)
		half := strings.TrimSuffix(told("last-request", 5*sec, ""), "\n")
		// In pieces, as a log comes: cut anywhere.
		for i := 0; i < len(later); i += 37 {
			s.say("app-0", later[i:min(i+37, len(later))])
		}
		s.say("app-0", half)
		setExited(p, 3, "Error")
		s.put(p)
		s.endLog("app-0")
		after(sec)
		s.remove(p)

		app := func(at time.Duration, kind timeline.Kind) timeline.Event {
			return timeline.Event{At: at, Kind: kind, Pod: "app-0", Node: "worker"}
		}
		exit := app(5*sec, timeline.AppExit)
		exit.Code = 3
		assert.Equal(t, []timeline.Event{
			app(-2*sec, timeline.AppStart), app(-1500*ms, timeline.AppListening), app(1200*ms, timeline.AppReady), app(2*sec+7, timeline.AppSIGTERM), exit,
		}, only(o.Stop().Events, timeline.AppStart, timeline.AppListening, timeline.AppReady, timeline.AppSIGTERM, timeline.AppExit, timeline.AppLastRequest, timeline.LogCut))

		log, err := os.ReadFile(filepath.Join(dir, "app-0.log"))
		require.NoError(t, err)
		assert.Equal(t, first+later+half, string(log))
		asked := s.asked("/log", false)
		require.Len(t, asked, 1)
		assert.Equal(t, "app", asked[0].Query().Get("container"))
		assert.Equal(t, "true", asked[0].Query().Get("follow"))
	})
}

// TestForeignLog: what an app says that isn't the sample app is kept, and means nothing here, whatever it looks like.
func TestForeignLog(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer) {
		dir := t.TempDir()
		s.put(aReadyPod("app-0"))
		o := s.observe(t, func(c *Config) { c.LogDir, c.Foreign = dir, true })
		text := fmt.Sprintf(`{"event":"start","unixNano":%d}`+"\n", time.Now().UnixNano())
		s.say("app-0", text)
		s.endLog("app-0")
		after(sec)
		assert.Empty(t, only(o.Stop().Events, timeline.AppStart, timeline.LogCut))
		log, err := os.ReadFile(filepath.Join(dir, "app-0.log"))
		require.NoError(t, err)
		assert.Equal(t, text, string(log))
	})
}

// TestLogOfTheSameName: the second Pod of a name has a file of its own, as in a StatefulSet, and what it
// has answered is on record as its own.
func TestLogOfTheSameName(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer) {
		const last = `{"event":"last-request","unixNano":946684801000000000,"lanes":{"service/new":5}}` + "\n"
		dir := t.TempDir()
		o := s.observe(t, func(c *Config) { c.LogDir = dir })
		s.say("app-0", last)
		s.endLog("app-0")
		for _, uid := range []string{"one", "two"} {
			p := aReadyPod("app-0")
			p.UID = types.UID(uid)
			s.put(p)
			after(sec)
			s.remove(p)
			after(sec)
		}
		var uids []string
		for _, served := range o.Stop().Served {
			uids = append(uids, served.UID)
		}
		assert.Equal(t, []string{"one", "two"}, uids)
		for _, file := range []string{"app-0.log", "app-0.2.log"} {
			log, err := os.ReadFile(filepath.Join(dir, file))
			require.NoError(t, err)
			assert.JSONEq(t, last, string(log))
		}
	})
}

// TestHeld: what Pods say of each connection that a client held, when it has ended.
func TestHeld(t *testing.T) {
	words := map[string]timeline.HeldBy{
		protocol.ByClient: timeline.HeldByClient, protocol.ByNobody: timeline.HeldByNobody, protocol.ByApp: timeline.HeldByApp,
		protocol.ByBoth: timeline.HeldByBoth, protocol.ByAppCut: timeline.HeldByAppCut, protocol.ByAppsExit: timeline.HeldByAppsExit,
	}
	for by, want := range words {
		assert.Equal(t, string(want), by, "the timeline stands alone, and has the same words")
	}
	inBubble(t, func(t *testing.T, s *apiServer) {
		start := time.Now()
		s.say("app-0", fmt.Sprintf(`{"event":"held-ended","unixNano":%d,"pod":"app-0","held":{"lane":"a/sse","client":3,"number":2,`+
			`"openedUnixNano":%d,"by":"cut","fault":"cut","received":4,"echoed":3,"last":153}}`+"\n",
			start.Add(3*sec).UnixNano(), start.Add(sec).UnixNano())+`{"event":"held-ended","unixNano":7}`+"\n")
		s.endLog("app-0")
		s.put(aReadyPod("app-0"))
		o := s.observe(t)
		after(sec)
		seen := o.Stop()
		require.Len(t, seen.Held, 1)
		got := seen.Held[0]
		got.UID = ""
		assert.Equal(t, timeline.HeldByPod{
			Pod: "app-0", Lane: "a/sse", Client: 3, Number: 2, Opened: sec, Ended: 3 * sec, By: timeline.HeldByAppCut, Fault: "cut",
			Received: 4, Echoed: 3, Last: 153,
		}, got)
	})
}

// TestTasks: what Pods tell of long tasks that they took, on the run's clock; of one that was under way when the log ended no end is known.
func TestTasks(t *testing.T) {
	for by, want := range map[string]timeline.TaskBy{
		protocol.TaskDone: timeline.TaskByDone, protocol.TaskHandedBack: timeline.TaskByHandedBack, protocol.TaskLost: timeline.TaskByLost,
	} {
		assert.Equal(t, string(want), by, "the timeline stands alone, and has the same words")
	}
	inBubble(t, func(t *testing.T, s *apiServer) {
		start := time.Now()
		line := func(at time.Duration, event, task, more string) string {
			return fmt.Sprintf(`{"event":%q,"unixNano":%d,"pod":"app-0","task":{"pod":"app-0","processUnixNano":1,"task":%s}%s}`+"\n",
				event, start.Add(at).UnixNano(), task, more)
		}
		s.say("app-0", line(sec, "task-taken", `3,"attempt":2`, "")+
			line(3*sec, "task-ended", `3,"attempt":2,"workedNanos":2000000000,"by":"lost"`, `,"error":"POST /tasks/renew: 502"`)+
			line(4*sec, "task-ended", `4,"attempt":1,"by":"done"`, "")+ // of one that it hasn't taken
			line(5*sec, "task-taken", `5,"attempt":1`, ""))
		s.endLog("app-0")
		s.put(aReadyPod("app-0"))
		o := s.observe(t)
		after(sec)
		seen := o.Stop()
		require.Len(t, seen.Tasks, 2)
		for i := range seen.Tasks {
			seen.Tasks[i].UID = ""
		}
		assert.Equal(t, []timeline.TaskByPod{
			{Pod: "app-0", Task: 3, Attempt: 2, Taken: sec, Ended: 3 * sec, By: timeline.TaskByLost, Worked: 2 * sec, Error: "POST /tasks/renew: 502"},
			{Pod: "app-0", Task: 5, Attempt: 1, Taken: 5 * sec},
		}, seen.Tasks)
	})
}

// TestServed: what Pods say in their last words about the requests they have answered, as far as they got to say it.
func TestServed(t *testing.T) {
	const last = `{"event":"last-request","unixNano":946684801000000000,"pod":"app-0","requests":9`
	const counts = `,"lanes":{"service/new":5}}` + "\n"
	const timeout = `{"event":"shutdown-timeout","unixNano":946684801000000000,"unanswered":[{"lane":"service/slow","seq":0},{"lane":"service/slow","seq":7}]}` + "\n"
	const exit = `{"event":"exit","unixNano":946684801000000000,"unanswered":[{"lane":"service/slow","seq":7}]}` + "\n"
	answered := map[string]int{"service/new": 5}
	two := []timeline.Unanswered{{Lane: "service/slow", Seq: 0}, {Lane: "service/slow", Seq: 7}}
	tests := []struct {
		name string
		log  string
		want []timeline.Served
	}{
		{"by lane", last + `,"lanes":{"service/new":5,"nodeport/slow":2}}` + "\n", []timeline.Served{{Pod: "app-0", Answered: map[string]int{"service/new": 5, "nodeport/slow": 2}}}},
		{"of no lane", last + "}\n", nil},
		{"killed before", `{"event":"sigterm","unixNano":946684801000000000}` + "\n", nil},
		{"killed while it spoke", last + `,"lanes":{"service/new":5}`, nil},
		{"lanes of another event", `{"event":"exit","unixNano":946684801000000000,"lanes":{"service/new":5}}` + "\n", nil},
		{"unanswered when its shutdown timed out", timeout + last + counts, []timeline.Served{{Pod: "app-0", Answered: answered, Unanswered: two}}},
		{"unanswered when it exited", last + counts + exit, []timeline.Served{{Pod: "app-0", Answered: answered, Unanswered: two[1:]}}},
		{"both name a request", timeout + last + counts + exit, []timeline.Served{{Pod: "app-0", Answered: answered, Unanswered: two}}},
		{"all answered", last + counts + `{"event":"exit","unixNano":946684801000000000,"unanswered":[]}` + "\n", []timeline.Served{{Pod: "app-0", Answered: answered}}},
		{"unanswered, and no counts", timeout + exit, nil},
		{"unanswered of another event", strings.Replace(timeout, "shutdown-timeout", "sigterm", 1) + last + counts, []timeline.Served{{Pod: "app-0", Answered: answered}}},
		{"no numbers", last + `,"lanes":{"service/new":"five"}}` + "\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *apiServer) {
				s.put(aReadyPod("app-0"))
				o := s.observe(t)
				s.say("app-0", tt.log)
				s.endLog("app-0")
				after(sec)
				assert.Equal(t, tt.want, o.Stop().Served)
			})
		})
	}
	t.Run("several Pods", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *apiServer) {
			o := s.observe(t)
			var want []timeline.Served
			for i := range 3 {
				pod := fmt.Sprint("app-", i)
				s.put(aReadyPod(pod))
				s.say(pod, fmt.Sprintf(`{"event":"last-request","unixNano":946684801000000000,"lanes":{"service/new":%d}}`+"\n", i))
				s.endLog(pod)
				want = append(want, timeline.Served{Pod: pod, Answered: map[string]int{"service/new": i}})
			}
			after(sec)
			assert.ElementsMatch(t, want, o.Stop().Served)
		})
	})
}

// TestLogCut: a log that can't be read to its end is on record, once, with what was read until then.
func TestLogCut(t *testing.T) {
	life := `{"event":"sigterm","unixNano":946684801000000000}` + "\n" // a second after the beginning of a bubble's time
	tests := []struct {
		name string
		dir  string // below the test's own; it exists if empty
		do   func(s *apiServer)
		want []string // details
		kept int      // events of the app
	}{
		{"connection breaks", "", func(s *apiServer) { s.say("app-0", life+"half"); s.cutLog("app-0") }, []string{"log of Pod app-0: unexpected EOF"}, 1},
		{"API server refuses", "", func(s *apiServer) {
			s.update(func() { s.logOf("app-0").refuse = apierrors.NewForbidden(podsResource, "app-0", assert.AnError) })
		}, []string{"log of Pod app-0: .*forbidden"}, 0},
		{"no folder for the file", "missing", func(s *apiServer) { s.say("app-0", life) }, []string{"log of Pod app-0: .*missing/app-0.log: no such file"}, 0},
		{"ends in an orderly way", "", func(s *apiServer) { s.say("app-0", life); s.endLog("app-0") }, nil, 1},
		{"is still open", "", func(s *apiServer) { s.say("app-0", life) }, nil, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *apiServer) {
				o := s.observe(t, func(c *Config) { c.LogDir = filepath.Join(t.TempDir(), tt.dir) })
				after(2 * sec)
				tt.do(s)
				p := aReadyPod("app-0")
				s.put(p)
				after(sec)
				s.put(p)
				after(sec)
				events := o.Stop().Events
				assert.Len(t, only(events, timeline.AppSIGTERM), tt.kept)
				cuts := only(events, timeline.LogCut)
				require.Len(t, cuts, len(tt.want))
				for i, want := range tt.want {
					assert.Equal(t, "app-0", cuts[i].Pod)
					assert.Equal(t, 2*sec, cuts[i].At)
					assert.Regexp(t, want, cuts[i].Detail)
				}
			})
		})
	}
}

// TestTold: every event of its life that the sample app can tell of is known here, and no other. What it tells of single requests, connections and tasks is none. The list of the protocol's constants is read from its source.
func TestTold(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "..", "sampleapp", "protocol", "protocol.go"), nil, 0)
	require.NoError(t, err)
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Event") {
			return true
		}
		name, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		require.NoError(t, err)
		if !slices.Contains([]string{
			"failed-request", protocol.EventHeldEnded, protocol.EventTaskTaken, protocol.EventTaskEnded,
		}, name) {
			names = append(names, name)
		}
		return true
	})
	require.NotEmpty(t, names)
	assert.ElementsMatch(t, names, slices.Collect(maps.Keys(lifeEvents)))
	kinds := map[timeline.Kind]bool{}
	for name, kind := range lifeEvents {
		assert.True(t, strings.HasPrefix(string(kind), "app-"), name)
		assert.False(t, kinds[kind], "%s: two events are one kind", kind)
		kinds[kind] = true
	}
}

func TestLines(t *testing.T) {
	tests := []struct {
		name   string
		writes []string
		want   []string
	}{
		{"nothing", nil, nil},
		{"one line", []string{"a\n"}, []string{"a"}},
		{"several at once, an empty one among them", []string{"a\n\nb\n"}, []string{"a", "", "b"}},
		{"in pieces", []string{"a", "b", "c\nd", "\n"}, []string{"abc", "d"}},
		{"half a line at the end", []string{"a\nb"}, []string{"a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			l := lines{do: func(line []byte) { got = append(got, string(line)) }}
			for _, w := range tt.writes {
				n, err := l.Write([]byte(w))
				require.NoError(t, err)
				assert.Equal(t, len(w), n)
			}
			assert.Equal(t, tt.want, got)
		})
	}
}
