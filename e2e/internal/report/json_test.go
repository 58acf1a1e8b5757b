package report

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	require.NoError(t, c.AddResource("schema.json", doc))
	schema, err := c.Compile("schema.json")
	require.NoError(t, err)
	return schema
}

func TestJSONKeepsItsSchema(t *testing.T) {
	schema := compiledSchema(t)
	reports := map[string]Report{
		"zero": {},
		"never judged": {Suite: verdict.Suite{Runs: []verdict.Verdict{{
			Spec: timeline.Spec{Strategy: "a", Disruption: "b"}, Lanes: []verdict.Lane{{LaneSpec: timeline.LaneSpec{Name: "c"}}},
		}}}},
	}
	maps.Copy(reports, suites())
	for name, r := range reports {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(written(t, JSON, r)))
		require.NoError(t, err)
		assert.NoError(t, schema.Validate(doc), name)
	}
}

func TestSchemaRejectsBrokenReports(t *testing.T) {
	schema := compiledSchema(t)
	tests := []struct {
		name string
		old  string // in the report of the failing suite
		new  string
	}{
		{"another version", `"zerodrop.report/v2"`, `"zerodrop.report/v3"`},
		{"unknown field of the report", `"profile": "quick"`, `"profile": "quick", "colour": "red"`},
		{"unknown field of a run", `"control": false`, `"control": false, "colour": "red"`},
		{"unknown field of a lane", `"unsent": 0`, `"unsent": 0, "colour": "red"`},
		{"missing field of the cluster", `"kubernetes": "v1.37.2",`, ``},
		{"missing field of a run", `"podsReplaced": 3,`, ``},
		{"missing field of a lane", `"masked": 0,`, ``},
		{"unknown outcome", `"outcome": "pass"`, `"outcome": "flaky"`},
		{"unknown expectation", `"expect": "clean"`, `"expect": "0..5"`},
		{"unknown cause", `"timeout": 12`, `"slow": 12`},
		{"ok is no cause", `"timeout": 12`, `"ok": 12`},
		{"a cause of nothing", `"timeout": 12`, `"timeout": 0`},
		{"null for no reasons", `"reasons": []`, `"reasons": null`},
		{"null for no causes", `"causes": {}`, `"causes": null`},
		{"a failure without a reason", "\"outcome\": \"fail\",\n  \"reasons\": [", "\"outcome\": \"fail\",\n  \"reasons\": [], \"old\": ["},
		{"late that is no count", `"late": 0`, `"late": -1`},
		{"a repetition for no reason", `"control": false,`, `"control": false, "retry": [],`},
		{"a pass with reasons", `"outcome": "fail"`, `"outcome": "pass"`},
		{"a negative count", `"sent": 3890`, `"sent": -1`},
		{"a count with a fraction", `"sent": 3890`, `"sent": 3890.5`},
		{"a word for a number", `"rolloutSeconds": 25.9`, `"rolloutSeconds": "25.9s"`},
		{"unknown phase", `"after-exit": 13`, `"much-later": 13`},
		{"a phase of nothing", `"cut-at-exit": 5`, `"cut-at-exit": 0`},
		{
			"an outage of nothing", "\"toSeconds\": 4.7,\n              \"dropped\": 13",
			"\"toSeconds\": 4.7, \"dropped\": 0",
		},
		{"an outage without an end", `"toSeconds": `, `"to": `},
		{"an arrival at nobody", `"pod": "app-1"`, `"pod": ""`},
		{"an arrival before the deletion", `"seconds": 1.12`, `"seconds": -1.12`},
		{"no time of the first drop", `"firstDroppedSeconds": 3.4`, `"firstDroppedSeconds": null`},
		{"a start that is no instant", `"2026-10-01T07:30:12.345Z"`, `"yesterday"`},
	}
	valid := written(t, JSON, failing())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.Contains(t, valid, tt.old)
			doc, err := jsonschema.UnmarshalJSON(strings.NewReader(strings.Replace(valid, tt.old, tt.new, 1)))
			require.NoError(t, err)
			assert.Error(t, schema.Validate(doc))
		})
	}
}

// A cause that is added to the timeline must be added to the contract.
func TestSchemaKnowsEveryCause(t *testing.T) {
	var schema object
	require.NoError(t, json.Unmarshal(Schema, &schema))
	var want []any
	for _, c := range timeline.Causes() {
		want = append(want, c.String())
	}
	assert.Equal(t, want, schema.object("$defs").object("causes").object("propertyNames")["enum"])
}

// So must a phase.
func TestSchemaKnowsEveryPhase(t *testing.T) {
	var schema object
	require.NoError(t, json.Unmarshal(Schema, &schema))
	var want []any
	for _, m := range verdict.LifecyclePhases() {
		want = append(want, m.String())
	}
	assert.Equal(t, want, schema.object("$defs").object("phases").object("propertyNames")["enum"])
}

// object is decoded JSON, name by name as written.
type object map[string]any

func (o object) object(name string) object { return o[name].(map[string]any) }

func (o object) list(name string) []object {
	var out []object
	for _, item := range o[name].([]any) {
		out = append(out, item.(map[string]any))
	}
	return out
}

func decoded(t *testing.T, r Report) object {
	t.Helper()
	var out object
	require.NoError(t, json.Unmarshal([]byte(written(t, JSON, r)), &out))
	return out
}

// What the contract promises is there under these names, and says what the verdict says.
func TestJSONContract(t *testing.T) {
	r := small()
	odd := &r.Suite.Runs[0].Lanes[0]
	odd.Sent, odd.Unsent, odd.OK, odd.Masked, odd.Late = 2477, 3, 2391, 2, 5
	got := decoded(t, r)
	assert.Equal(t, "zerodrop.report/v2", got["schema"])
	assertHas(t, object{"kubernetes": "v1.37.2", "nodes": 3.0, "proxyMode": "iptables", "minSyncPeriod": "1s"}, got.object("cluster"))
	assert.Equal(t, []any{map[string]any{
		"strategy": "prestop-sleep", "disruption": "node-drain", "why": "its turn is in the night of 2026-10-02 (part 2 of 3)",
	}}, got["notRun"])
	first, second := got.list("runs")[0], got.list("runs")[1]
	assertHas(t, object{
		"strategy": "shutdown-at-once", "disruption": "rolling-update", "repeat": 1.0, "outcome": "pass", "reasons": []any{},
		"retry": []any{"CPU pressure 62 % on zerodrop-worker"}, "podsReplaced": 3.0, "podsDeleted": 3.0, "rolloutSeconds": 11.9,
		"peakPods": 4.0, "extraPodSeconds": 9.6,
	}, first)
	assert.NotContains(t, second, "retry")
	assert.Equal(t, []any{
		map[string]any{"pod": "app-1", "graceSeconds": 30.0, "sigtermSeconds": 0.04, "exitSeconds": 2.1, "exitCode": 0.0, "hookFailed": true},
		map[string]any{"pod": "app-2", "graceSeconds": 30.0, "sigtermSeconds": 20.0, "exitSeconds": 30.3, "exitCode": 137.0, "preStopCounted": true},
		map[string]any{"pod": "app-3", "graceSeconds": 30.0},
	}, first["terminations"])
	assert.NotContains(t, second, "terminations")
	assertHas(t, object{
		"lane": "service/new", "consumer": "service", "outcome": "pass", "planned": 2480.0, "sent": 2477.0, "unsent": 3.0, "ok": 2391.0,
		"dropped": 86.0, "masked": 2.0, "late": 5.0, "causes": map[string]any{"timeout": 86.0}, "phases": map[string]any{"after-exit": 86.0},
		"lagP99Ms": 1.46, "firstDroppedSeconds": 3.4, "lastArrival": map[string]any{"pod": "app-1", "seconds": 0.16, "censored": false},
		"outageCount": 1.0,
		"outages": []any{map[string]any{
			"fromSeconds": 3.4, "toSeconds": 12.0, "dropped": 86.0, "causes": map[string]any{"timeout": 86.0},
			"phases": map[string]any{"after-exit": 86.0}, "pods": []any{"app-1"},
		}},
	}, first.list("lanes")[0])
	assertHas(t, object{
		"lookups": 25.0, "unattributed": map[string]any{"connection tracking saw no choice for its port": 2.0},
		"lastArrival": map[string]any{"pod": "app-1", "seconds": 15.0, "censored": true},
		"classes": []any{
			map[string]any{"class": "new", "expect": "measured", "source": "strategy", "dropped": 1.0, "masked": 0.0, "outcome": "pass"},
			map[string]any{"class": "in-flight", "expect": "measured", "source": "strategy", "dropped": 1.0, "masked": 0.0, "outcome": "pass"},
		},
	}, first.list("lanes")[1])
	clean := decoded(t, quick()).list("runs")[0].list("lanes")[0]
	assertHas(t, object{"lastArrival": nil, "firstDroppedSeconds": nil, "late": 0.0, "outages": []any{}, "arrivals": []any{}}, clean)
}

// A lane that drops every third request has thousands of outages: the hundred that dropped most are
// told, in their order, and how many there are.
func TestJSONBoundsOutages(t *testing.T) {
	l := lane("service/new", drops, 2270, causes{timeline.Timeout: 2}, 0)
	l.Outages = nil
	for i := range 2000 {
		at := disruptStart + time.Duration(i)*time.Second
		l.Outages = append(l.Outages, verdict.Outage{From: at, To: at, Dropped: 1})
	}
	for i := range 60 {
		l.Outages[1900-20*i].Dropped = 2 + i
	}
	r := Report{Suite: verdict.JudgeSuite([]verdict.Verdict{run("no-handler", "rolling-update", time.Second, 1,
		l)})}
	before := slices.Clone(l.Outages)
	got := decoded(t, r).list("runs")[0].list("lanes")[0]
	assert.InDelta(t, 2000, got["outageCount"], 0)
	outages := got.list("outages")
	require.Len(t, outages, 100)
	long := 0
	for i, o := range outages {
		if o["dropped"].(float64) > 1 {
			long++
		}
		if i > 0 {
			assert.Greater(t, o["fromSeconds"], outages[i-1]["fromSeconds"])
		}
	}
	assert.Equal(t, 60, long)
	assert.InDelta(t, 39, outages[39]["fromSeconds"], 0, "of those that dropped as much, the first")
	assert.Equal(t, before, r.Suite.Runs[0].Lanes[0].Outages, "the verdict is left as it was")
}

func assertHas(t *testing.T, want, got object) {
	t.Helper()
	for name, value := range want {
		if assert.Contains(t, got, name) {
			assert.Equal(t, value, got[name], name)
		}
	}
}

// What the contract has no word for is an error, and nothing is written.
func TestJSONRefusesWhatTheSchemaHasNoWordFor(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*Report)
		want  string
	}{
		{"outcome of the suite", func(r *Report) { r.Suite.Outcome = 9 }, "outcome(9) is no outcome"},
		{"outcome of a run", func(r *Report) { r.Suite.Runs[0].Outcome = 9 }, "run no-handler/none: " +
			"outcome(9) is no outcome"},
		{"outcome of a lane", func(r *Report) { r.Suite.Runs[0].Lanes[0].Outcome = 9 }, "run no-handler/none: " +
			"lane service/new: outcome(9) is no outcome"},
		{
			"expectation", func(r *Report) { r.Suite.Runs[0].Lanes[0].Classes[0].Promise.Expect = "0..5" },
			"0..5 is no expectation",
		},
		{"class", func(r *Report) { r.Suite.Runs[0].Lanes[0].Classes[0].Class = "old" }, "old is no class"},
		{
			"cause", func(r *Report) { r.Suite.Runs[0].Lanes[0].Causes = causes{timeline.OK: 1} },
			"ok is no cause of a dropped request",
		},
		{
			"phase", func(r *Report) { r.Suite.Runs[0].Lanes[0].Phases = map[verdict.LifecyclePhase]int{77: 1} },
			"phase(77) is no phase of a Pod's life",
		},
		{"phase of an outage", func(r *Report) {
			r.Suite.Runs[0].Lanes[0].Outages = []verdict.Outage{{
				Dropped: 1,
				Phases:  map[verdict.LifecyclePhase]int{77: 1},
			}}
		}, "phase(77)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := suite(run("no-handler", "none", 0, 0, lane("service/new", clean, 100, nil, 0)))
			tt.spoil(&r)
			var out bytes.Buffer
			require.ErrorContains(t, JSON(&out, r), tt.want)
			assert.Empty(t, out.String())
		})
	}
}

func TestJSONRefusesANumberThatIsNone(t *testing.T) {
	r := suite(run("prestop-sleep", "rolling-update", 0, 0))
	zero := 0.0
	r.Suite.Runs[0].ExtraPodSeconds = 1 / zero
	assert.ErrorContains(t, JSON(io.Discard, r), "unsupported value")
}

// What is written is read, and is the same.
func TestJSONIsReadAsItWasWritten(t *testing.T) {
	for _, r := range []Report{quick(), small(), failing(), infrastructure(), {}} {
		want := NewFile(r)
		got, err := Read(strings.NewReader(written(t, JSON, r)))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

func TestReadRefuses(t *testing.T) {
	valid := written(t, JSON, failing())
	for _, tt := range []struct{ name, old, new, want string }{
		{"another version", "report/v2", "report/v1", `read JSON report: schema "zerodrop.report/v1": want "zerodrop.report/v2"`},
		{"no JSON", "{", "", "read JSON report: "},
		{"an unknown outcome", `"outcome": "pass"`, `"outcome": "flaky"`, `unknown outcome "flaky"`},
		{"what is no cause", `"timeout": 12`, `"ok": 12`, "ok is no cause of a dropped request"},
		{"an unknown class", `"class": "new"`, `"class": "old"`, "old is no class"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Contains(t, valid, tt.old)
			_, err := Read(strings.NewReader(strings.Replace(valid, tt.old, tt.new, 1)))
			assert.ErrorContains(t, err, tt.want)
		})
	}
}
