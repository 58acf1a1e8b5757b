package report

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// withHeld is a run of one lane whose clients hold connections.
func withHeld(strategy string, held verdict.Held) verdict.Verdict {
	l := lane("service-websocket/websocket", measured, 1000, nil, 0)
	l.Class, l.Connections, l.HeldConnections = timeline.ClassHeld, timeline.Holding, &held
	l.Clients = 50
	return run(strategy, "rolling-update", 20*second, 10, l)
}

var (
	someHeld = verdict.Held{
		Connections: 120, Left: 69, Announced: 20, Cut: 30, Silent: 1, Unattributed: 1, Why: map[string]int{"who knows": 1},
		Back: []time.Duration{2 * ms, 3 * ms, 1200 * ms}, Away: 2, AwayMax: 4 * second,
		Ends: []verdict.HeldEnds{
			{Pod: "app-1", Phase: verdict.Terminating, Announced: 20, BackMax: 3 * ms},
			{Pod: "app-1", Phase: verdict.CutAtExit, Cut: 10, BackMax: 2 * ms},
			{Pod: "app-2", Phase: verdict.CutAtExit, Cut: 20, BackMax: 1200 * ms},
		},
	}
	noneLost = verdict.Held{Connections: 50, Left: 50, Why: map[string]int{}}
)

func rowsOfTable(t Table) [][]string {
	var out [][]string
	for _, part := range t.Parts {
		out = append(out, part...)
	}
	return out
}

// TestHeld: who ended the connections that clients held, and for how long these were away, over all repeats; and in which phase of their Pods' lives.
func TestHeld(t *testing.T) {
	assert.Empty(t, held(newModel(suite(run("prestop-sleep", "rolling-update", 20*second, 10)))).Blocks)

	again := someHeld
	again.Back = []time.Duration{ms}
	s := held(newModel(suite(
		withHeld("in-app-delay", someHeld), repeat(2, withHeld("in-app-delay", again)), withHeld("prestop-sleep", noneLost),
		repeat(2, doubt(withHeld("prestop-sleep", someHeld), "no CPU")),
	)))
	require.Len(t, s.Blocks, 2)
	assert.ElementsMatch(t, [][]string{
		{"rolling-update", "in-app-delay", "service-websocket/websocket", "240", "138", "40", "60", "2", "2.0ms", "1.2s", "1.2s", "4"},
		{"rolling-update", "prestop-sleep", "service-websocket/websocket", "50", "50", "0", "0", "0", "–", "–", "–", "0"},
	}, rowsOfTable(s.Blocks[0].Table))
	assert.Equal(t, [][]string{
		{"rolling-update", "in-app-delay", "service-websocket/websocket", "terminating", "2", "40", "0", "3.0ms"},
		{"rolling-update", "in-app-delay", "service-websocket/websocket", "cut-at-exit", "4", "0", "60", "1.2s"},
	}, rowsOfTable(s.Blocks[1].Table))

	assert.Equal(t, []string{
		"prestop-sleep, rolling-update: of 50 held connections, 0 were cut and 0 announced",
		"in-app-delay, rolling-update: of 240 held connections, 60 were cut and 40 announced, 2 unattributed; " +
			"clients were back after 1.2s at most; 4 not back when the load ended",
	}, newModel(suite(
		withHeld("in-app-delay", someHeld), repeat(2, withHeld("in-app-delay", again)), withHeld("prestop-sleep", noneLost),
	)).heldNotes())

	assert.Equal(t, Dropped, ResultOf(withHeld("in-app-delay", someHeld)), "although no message was on its way")
	assert.Equal(t, Clean, ResultOf(withHeld("prestop-sleep", noneLost)))
	assert.Contains(t, findings(newModel(suite(withHeld("in-app-delay", someHeld)))), "◆ dropped by in-app-delay: connections that clients held")

	s = held(newModel(suite(withHeld("prestop-sleep", noneLost))))
	require.Len(t, s.Blocks, 1, "nothing was announced or cut")
	assert.NotContains(t, written(t, Markdown, suite(withHeld("prestop-sleep", noneLost))), "away |")
}

// TestHeldInJSON: what the file says keeps the schema, and is read as it was written.
func TestHeldInJSON(t *testing.T) {
	text := written(t, JSON, suite(withHeld("in-app-delay", someHeld), withHeld("prestop-sleep", noneLost)))
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err)
	require.NoError(t, compiledSchema(t).Validate(doc))
	f, err := Read(strings.NewReader(text))
	require.NoError(t, err)
	got := f.Runs[0].Lanes[0].Held
	assert.Equal(t, &FileHeld{
		Clients:     50,
		Connections: 120, Left: 69, Announced: 20, Cut: 30, Silent: 1, Unattributed: 1, Why: map[string]int{"who knows": 1},
		BackSeconds: []float64{0.002, 0.003, 1.2}, Away: 2, AwaySeconds: 4,
		Ends: []FileHeldEnds{
			{"app-1", verdict.Terminating, 20, 0, 0.003}, {"app-1", verdict.CutAtExit, 0, 10, 0.002}, {"app-2", verdict.CutAtExit, 0, 20, 1.2},
		},
	}, got)
	for _, broken := range []string{`"phase": "later"`, `"phase": 3`} {
		wrong := strings.Replace(text, `"phase": "terminating"`, broken, 1)
		require.NotEqual(t, text, wrong)
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(wrong))
		require.NoError(t, err)
		assert.Error(t, compiledSchema(t).Validate(doc))
	}
	raw, err := json.Marshal(newFileHeld(verdict.Lane{}))
	require.NoError(t, err)
	assert.Equal(t, "null", string(raw))
}
