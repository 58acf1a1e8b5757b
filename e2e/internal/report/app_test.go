package report

import (
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

const aDiff = "--- a/shop.yaml\n+++ b/shop.yaml\n@@ -1 +1,2 @@\n spec:\n+  minReadySeconds: 2\n"

// theirs is a run of people's own app.
func theirs(strategy, disruption, change string, delay time.Duration, fresh, kept causes) verdict.Verdict {
	v := run(strategy, disruption, 10*second+delay, 2+3*delay.Seconds(),
		lane("service/new", measured, 1000, fresh, 0), lane("service/reused", measured, 1000, kept, 0))
	v.Spec.Target = &timeline.TargetSpec{Name: "shop", Request: "GET /"}
	v.Spec.Change, v.Spec.Delay, v.Spec.Group = change, delay, ""
	return v
}

func TestAnswer(t *testing.T) {
	const unknown = " Unknown remains: what 1 rollout can't show: up to 95 % of all may still drop some (95 % confidence; -repeat narrows it); " +
		"who comes by an ingress, a cloud's load balancer or DNS, which are slower than a Service; whether the app did what a dropped request asked for; " +
		"requests that take long (annotation zerodrop.dev/slow-request names one)."
	refused := causes{timeline.Refused: 40}
	control := usual("no-handler", "rolling-update")
	tests := []struct {
		name string
		runs []verdict.Verdict
		want string
	}{
		{"the sample app", []verdict.Verdict{control}, ""},
		{
			"a change is enough, and the smallest of two",
			[]verdict.Verdict{
				theirs("as-is", "none", "", 0, nil, nil), theirs("as-is", "rolling-update", "", 0, refused, causes{timeline.Reset: 2, timeline.EOF: 1}), theirs("as-is", "pod-deletion", "", 0, nil, nil),
				theirs("prestop-sleep-15s", "rolling-update", aDiff, 15*second, nil, nil), theirs("prestop-sleep-2s", "rolling-update", aDiff, 2*second, nil, nil),
				theirs("min-ready-2s", "rolling-update", aDiff, 0, refused, nil), control,
			},
			"shop as it is drops 43 of 2000 requests (40 on new connections, 2 on kept-alive ones, 1 in flight) under a rolling update, and none of 2000 requests when each Pod is deleted in turn. " +
				"The smallest change after which it drops nothing here is what prestop-sleep-2s does (prestop-sleep-2s/rolling-update/change.diff). With it a rollout takes 12.0s instead of 10.0s, " +
				"and 8.0 Pod-seconds beyond the replicas instead of 2.0." + unknown,
		},
		{
			"none is needed",
			[]verdict.Verdict{theirs("as-is", "rolling-update", "", 0, nil, nil), theirs("prestop-sleep-15s", "rolling-update", aDiff, 15*second, nil, nil)},
			"shop as it is drops none of 2000 requests under a rolling update. A rolling update needs no change." + unknown,
		},
		{
			"none is enough",
			[]verdict.Verdict{theirs("as-is", "rolling-update", "", 0, refused, nil), theirs("prestop-sleep-15s", "rolling-update", aDiff, 15*second, nil, causes{timeline.Reset: 3})},
			"shop as it is drops 40 of 2000 requests (40 on new connections) under a rolling update. None of the changes that were tried is enough: prestop-sleep-15s drops 3 of 2000 requests (3 on kept-alive ones). " +
				"What is left is on kept-alive connections, which no delay closes: the app has to close them itself, with Connection: close in its last answers." + unknown,
		},
		{
			"none is conclusive",
			[]verdict.Verdict{theirs("as-is", "rolling-update", "", 0, refused, nil), doubt(theirs("prestop-sleep-15s", "rolling-update", aDiff, 15*second, nil, nil), "no CPU")},
			"shop as it is drops 40 of 2000 requests (40 on new connections) under a rolling update. No change was tried that is conclusive." + unknown,
		},
		{
			"nothing is known",
			[]verdict.Verdict{doubt(theirs("as-is", "rolling-update", "", 0, refused, nil), "no CPU"), theirs("as-is", "pod-deletion", "", 0, nil, nil)},
			"shop: nothing is known, as its run under a rolling update is not conclusive: no CPU",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, newModel(suite(tt.runs...)).answer()) })
	}
}

// TestAnswerEverywhere: people read the answer first, and the diff as it can be copied; programs find both.
func TestAnswerEverywhere(t *testing.T) {
	r := suite(theirs("as-is", "rolling-update", "", 0, causes{timeline.Refused: 40}, nil), theirs("prestop-sleep-2s", "rolling-update", aDiff, 2*second, nil, nil))
	answer := newModel(r).answer()
	short := strings.Join(strings.Fields(strings.Join(summaryLines(newModel(r), nil), " ")), " ")
	assert.Contains(t, short, answer)
	text := written(t, Text, r)
	assert.Contains(t, strings.Join(strings.Fields(text), " "), answer)
	assert.Contains(t, text, "    @@ -1 +1,2 @@\n     spec:\n    +  minReadySeconds: 2\n")
	assert.Contains(t, written(t, Markdown, r), "````diff\n"+strings.TrimSpace(aDiff)+"\n````\n")
	assert.Contains(t, written(t, Index, r), "<pre>--- a/shop.yaml\n&#43;&#43;&#43; b/shop.yaml\n")

	raw := written(t, JSON, r)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(raw))
	require.NoError(t, err)
	require.NoError(t, compiledSchema(t).Validate(doc))
	f, err := Read(strings.NewReader(raw))
	require.NoError(t, err)
	assert.Equal(t, &FileApp{Name: "shop", Answer: answer, Change: "prestop-sleep-2s", Diff: aDiff}, f.App)
}
