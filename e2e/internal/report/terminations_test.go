package report

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// withEnds is a run whose Pods came to these ends.
func withEnds(strategy string, preStop time.Duration, ends ...verdict.Termination) verdict.Verdict {
	v := run(strategy, "rolling-update", 24900*ms, 48, lane("service/new", measured, 3800, nil, second))
	v.Spec.PreStop, v.Terminations = preStop, ends
	return v
}

// TestTerminations: a row for each strategy and disruption of which Pods ended, over all repeats.
func TestTerminations(t *testing.T) {
	end := func(sigterm, exit time.Duration, code int, counted *bool) verdict.Termination {
		return verdict.Termination{Pod: "app-1", Grace: 30 * second, SIGTERM: new(sigterm), Exit: new(exit), Code: new(code), PreStopCounted: counted}
	}
	failed := verdict.Termination{Pod: "app-1", Grace: 30 * second, SIGTERM: new(30 * ms), Exit: new(50 * ms), Code: new(0), HookFailed: true}
	silent := verdict.Termination{Pod: "app-1", Grace: 30 * second}
	tests := []struct {
		name string
		runs []verdict.Verdict
		want [][]string // of a table: the names of its columns, then its cells
	}{
		{"nobody ended", []verdict.Verdict{withEnds("prestop-sleep", 15*second)}, nil},
		{
			"in time, in two repeats",
			[]verdict.Verdict{
				withEnds("prestop-sleep", 15*second, end(15*second, 15100*ms, 0, nil)),
				repeat(2, withEnds("prestop-sleep", 15*second, end(15200*ms, 16*second, 0, nil))),
			},
			[][]string{
				{"disruption", "strategy", "Pods", "grace", "preStop", "SIGTERM", "ended", "exits", "beyond", "preStop counted"},
				{"rolling-update", "prestop-sleep", "2", "30.0s", "15.0s", "15.0s–15.2s", "15.1s–16.0s", "0 ×2", "–", "–"},
			},
		},
		{
			"killed, counted and not",
			[]verdict.Verdict{withEnds("longer", 40*second,
				end(30*second, 32200*ms, 137, new(true)), end(30*second, 60*second, 137, new(false)), silent)},
			[][]string{
				{"disruption", "strategy", "Pods", "grace", "preStop", "SIGTERM", "ended", "exits", "beyond", "preStop counted"},
				{"rolling-update", "longer", "3", "30.0s", "40.0s", "30.0s", "32.2s–60.0s", "137 ×2", "30.0s", "1/2"},
			},
		},
		{
			"a hook that failed beside none",
			[]verdict.Verdict{withEnds("missing", 0, failed, failed), withEnds("silent", 0, silent), withEnds("none", 0)},
			[][]string{
				{"disruption", "strategy", "Pods", "grace", "preStop", "SIGTERM", "ended", "exits", "beyond", "preStop counted", "hook failed"},
				{"rolling-update", "missing", "2", "30.0s", "–", "30ms", "50ms", "0 ×2", "–", "–", "2/2"},
				{"rolling-update", "silent", "1", "30.0s", "–", "–", "–", "–", "–", "–", "0/1"},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := terminations(newModel(suite(tt.runs...)))
			if tt.want == nil {
				assert.Empty(t, s.Blocks)
				return
			}
			require.Len(t, s.Blocks, 1)
			table := s.Blocks[0].Table
			var heads []string
			for _, c := range table.Columns {
				heads = append(heads, c.Name)
			}
			assert.Equal(t, tt.want[0], heads)
			require.Len(t, table.Parts, 1)
			assert.Equal(t, tt.want[1:], table.Parts[0])
		})
	}
}

// TestGraceNotes: what nobody expects is told among the findings.
func TestGraceNotes(t *testing.T) {
	late := verdict.Termination{Pod: "app-1", Grace: 30 * second, PreStopCounted: new(false)}
	failed := verdict.Termination{Pod: "app-2", Grace: 30 * second, HookFailed: true}
	r := suite(withEnds("a", 0, late, failed), repeat(2, withEnds("a", 0, late)), withEnds("b", 0, failed),
		withEnds("c", 0, verdict.Termination{Pod: "app-1", Grace: 30 * second, PreStopCounted: new(true)}))
	assert.Equal(t, []string{
		"the time of preStop was no part of the grace period: a (2 of 3 Pods)",
		"the kubelet says that a preStop hook failed: a (1 of 3 Pods) and b (1 of 1 Pod)",
	}, newModel(r).graceNotes())
	for _, note := range newModel(r).graceNotes() {
		assert.Contains(t, findings(newModel(r)), note)
	}
	assert.Empty(t, newModel(quick()).graceNotes())
}
