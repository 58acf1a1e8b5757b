package report_test

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(report.Schema))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	require.NoError(t, c.AddResource("report.schema.json", doc))
	schema, err := c.Compile("report.schema.json")
	require.NoError(t, err)
	return schema
}

func TestJSONKeepsItsSchema(t *testing.T) {
	schema := compiledSchema(t)
	reports := map[string]report.Report{"full": full(), "zero": {}, "never judged": {Suite: verdict.Suite{Runs: []verdict.Verdict{{
		Strategy: "a", Disruption: "b", Lanes: []verdict.Lane{{Name: "c"}},
	}}}}}
	for _, s := range goldenSuites {
		reports[s.name] = s.report
	}
	for name, r := range reports {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(written(t, report.JSON, r)))
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
		{"another version", `"zerodrop.report/v1"`, `"zerodrop.report/v2"`},
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
		{"a pass with reasons", `"outcome": "fail"`, `"outcome": "pass"`},
		{"a negative count", `"sent": 3890`, `"sent": -1`},
		{"a count with a fraction", `"sent": 3890`, `"sent": 3890.5`},
		{"a word for a number", `"rolloutSeconds": 25.9`, `"rolloutSeconds": "25.9s"`},
		{"no time of the first loss", `"firstDroppedSeconds": 3.4`, `"firstDroppedSeconds": null`},
		{"a start that is no instant", `"2026-10-01T07:30:12.345Z"`, `"yesterday"`},
	}
	valid := written(t, report.JSON, failing())
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
	require.NoError(t, json.Unmarshal(report.Schema, &schema))
	var want []any
	for _, c := range timeline.Causes() {
		want = append(want, c.String())
	}
	assert.Equal(t, want, schema.object("$defs").object("lane").object("properties").object("causes").object("propertyNames")["enum"])
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

func decoded(t *testing.T, r report.Report) object {
	t.Helper()
	var out object
	require.NoError(t, json.Unmarshal([]byte(written(t, report.JSON, r)), &out))
	return out
}

// What DESIGN.md shows is there under these names, and says what the verdict says.
func TestJSONContract(t *testing.T) {
	r := quick()
	odd := &r.Suite.Runs[5].Lanes[0]
	odd.Sent, odd.Unsent, odd.OK, odd.Masked = 3757, 3, 3757, 2
	got := decoded(t, r)
	assert.Equal(t, "zerodrop.report/v1", got["schema"])
	assertHas(t, object{"kubernetes": "v1.37.2", "nodes": 3.0, "proxyMode": "iptables", "minSyncPeriod": "1s"}, got.object("cluster"))
	runs := got.list("runs")
	require.Len(t, runs, 11)
	assertHas(t, object{
		"strategy": "in-app-delay", "disruption": "rolling-update", "repeat": 1.0, "outcome": "pass", "reasons": []any{}, "podsReplaced": 3.0,
		"rolloutSeconds": 24.6, "peakPods": 6.0, "extraPodSeconds": 47.9,
	}, runs[5])
	assertHas(t, object{
		"lane": "nodeport/new", "expect": "clean", "outcome": "pass", "planned": 3760.0, "sent": 3757.0, "unsent": 3.0, "ok": 3757.0, "dropped": 0.0,
		"masked": 2.0, "causes": map[string]any{}, "lagP99Ms": 1.46, "lastArrivalSeconds": 1.31,
	}, runs[5].list("lanes")[0])
	assertHas(t, object{
		"lane": "nodeport/new", "expect": "drops", "planned": 2270.0, "sent": 2270.0, "ok": 2186.0, "dropped": 84.0,
		"causes": map[string]any{"timeout": 61.0, "eof": 18.0, "reset": 5.0},
	}, runs[1].list("lanes")[0])
	assertHas(t, object{"lastArrivalSeconds": nil, "firstDroppedSeconds": nil}, runs[0].list("lanes")[0])
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
		spoil func(*report.Report)
		want  string
	}{
		{"outcome of the suite", func(r *report.Report) { r.Suite.Outcome = 9 }, `unknown outcome "outcome(9)"`},
		{"outcome of a run", func(r *report.Report) { r.Suite.Runs[0].Outcome = 9 }, "run no-handler/none: unknown outcome"},
		{"outcome of a lane", func(r *report.Report) { r.Suite.Runs[0].Lanes[0].Outcome = 9 }, "run no-handler/none: lane nodeport/new: unknown outcome"},
		{"expectation", func(r *report.Report) { r.Suite.Runs[0].Lanes[0].Expect = scenarios.Expect{Max: 5} }, `unknown expectation "0..5"`},
		{"cause", func(r *report.Report) { r.Suite.Runs[0].Lanes[0].Causes = causes{timeline.OK: 1} }, "ok is not a cause"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := suite(run("no-handler", "none", 0, 0, lane("nodeport/new", clean, 100, nil, 0)))
			tt.spoil(&r)
			var out bytes.Buffer
			require.ErrorContains(t, report.JSON(&out, r), tt.want)
			assert.Empty(t, out.String())
		})
	}
}

func TestJSONRefusesANumberThatIsNone(t *testing.T) {
	r := suite(run("prestop-sleep", "rolling-update", 0, 0))
	zero := 0.0
	r.Suite.Runs[0].ExtraPodSeconds = 1 / zero
	assert.ErrorContains(t, report.JSON(io.Discard, r), "unsupported value")
}
