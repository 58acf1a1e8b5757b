package report

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// dropping is a lane that dropped requests in these phases, those that are charged to nobody for
// these reasons.
func dropping(name string, phases map[verdict.LifecyclePhase]int, why map[string]int) verdict.Lane {
	l := lane(name, measured, 10000, nil, 0)
	l.Phases, l.Unattributed = phases, why
	for _, n := range phases {
		l.Dropped += n
	}
	return l
}

type byPhase = map[verdict.LifecyclePhase]int

func TestPhases(t *testing.T) {
	const outside, route = "sent from outside the cluster", "no choice\nfor its port"
	rolled := func(lanes ...verdict.Lane) verdict.Verdict {
		return run("shutdown-at-once", "rolling-update", 0, 0, lanes...)
	}
	tests := []struct {
		name    string
		runs    []verdict.Verdict
		columns []string // after the keys
		rows    [][]string
		list    []string // after what charged means, where there is a table
	}{
		{name: "nothing was dropped", runs: []verdict.Verdict{rolled(dropping("service/new", nil, nil))}},
		{
			name: "repeats are added up, and phases come in the order of a life",
			runs: []verdict.Verdict{
				rolled(dropping("service/new", byPhase{verdict.AfterExit: 2, verdict.StartUp: 1}, nil)),
				rolled(dropping("service/new", byPhase{verdict.AfterExit: 5}, nil)),
			},
			columns: []string{"start-up", "after-exit"},
			rows:    [][]string{{"service/new", "8", "100 %", "1", "7"}},
			list: []string{
				"start-up: the Pod didn't listen yet", "after-exit: sent to it when its process had ended, as a node " +
					"still routed there",
			},
		},
		{
			name: "a lane that dropped nothing has no row, and none where nothing was has no number",
			runs: []verdict.Verdict{rolled(
				dropping("service/new", byPhase{verdict.CutAtExit: 3}, nil), dropping("service/slow", byPhase{}, nil),
				dropping("service/reused", byPhase{verdict.PreStop: 4}, nil))},
			columns: []string{"prestop", "cut-at-exit"},
			rows:    [][]string{{"service/new", "3", "100 %", "", "3"}, {"service/reused", "4", "100 %", "4", ""}},
			list: []string{
				"prestop: from its deletion to SIGTERM, which is the preStop hook and what the kubelet takes",
				"cut-at-exit: in flight when its process ended, or gave up waiting",
			},
		},
		{
			name: "no endpoint is no Pod",
			runs: []verdict.Verdict{rolled(dropping("service/new", byPhase{verdict.NoEndpoint: 3, verdict.Terminating: 1},
				nil))},

			columns: []string{"terminating", "no-endpoint"},
			rows:    [][]string{{"service/new", "4", "25.0 %", "1", "3"}},
			list: []string{
				"terminating: from SIGTERM until it closed its listener: it still took connections",
				"no-endpoint: the Service had no endpoint at all, so there is no Pod to charge",
			},
		},
		{
			name: "each reason once, the most frequent first, and lanes of which nothing is charged without a row",
			runs: []verdict.Verdict{
				rolled(
					dropping("service/new", byPhase{verdict.ListenerClosed: 7, verdict.Unattributed: 1},
						map[string]int{route: 1}),
					dropping("service/slow", byPhase{verdict.BeforeDeletion: 1, verdict.Unattributed: 2},
						map[string]int{route: 2}),
					dropping("nodeport/new", byPhase{verdict.Unattributed: 4}, map[string]int{outside: 4}),
					dropping("nodeport/slow", byPhase{verdict.Unattributed: 9}, map[string]int{outside: 9})),
				rolled(dropping("nodeport/slow", byPhase{verdict.Unattributed: 3}, map[string]int{outside: 3})),
				run("in-app-delay", "rolling-update", 0, 0, dropping("nodeport/new", byPhase{verdict.Unattributed: 6},
					map[string]int{outside: 6})),
			},
			columns: []string{"before-deletion", "listener-closed"}, // what is not charged is in the list
			rows:    [][]string{{"service/new", "8", "87.5 %", "", "7"}, {"service/slow", "3", "33.3 %", "1", ""}},
			list: []string{
				"before-deletion: nothing had been done to the Pod",
				"listener-closed: it had closed its listener, and its process still ran",
				"unattributed, 22 requests: sent from outside the cluster (nodeport/slow 12 · nodeport/new 10)",
				"unattributed, 3 requests: no choice for its port (service/slow 2 · service/new 1)",
			},
		},
		{
			name: "nothing is charged at all",
			runs: []verdict.Verdict{rolled(dropping("nodeport/new", byPhase{verdict.Unattributed: 1},
				map[string]int{outside: 1}))},
			rows: [][]string{},
			list: []string{"unattributed, 1 request: sent from outside the cluster (nodeport/new 1)"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := phases(newModel(Report{Suite: verdict.Suite{Runs: tt.runs}}))
			if tt.rows == nil {
				assert.Empty(t, s.Blocks)
				return
			}
			require.Len(t, s.Blocks, 1)
			got := s.Blocks[0]
			want := tt.list
			if len(tt.rows) > 0 {
				want = append([]string{"charged: to one Pod and one phase"}, tt.list...)
			}
			assert.Equal(t, want, got.List)
			var columns []string
			rows := [][]string{}
			for i, c := range got.Table.Columns {
				if i > 4 {
					columns = append(columns, c.Name)
				}
			}
			for _, part := range got.Table.Parts {
				for _, cells := range part {
					assert.Equal(t, []string{"rolling-update", "shutdown-at-once"}, cells[:2])
					rows = append(rows, cells[2:])
				}
			}
			assert.Equal(t, tt.columns, columns)
			assert.Equal(t, tt.rows, rows)
		})
	}
}

// A share that is not all must not look like all, nor like the 99 % that it isn't.
func TestCharged(t *testing.T) {
	tests := []struct {
		name   string
		phases byPhase
		want   string
	}{
		{"nothing dropped", byPhase{}, None},
		{"all", byPhase{verdict.AfterExit: 3}, "100 %"},
		{"all but one of many", byPhase{verdict.AfterExit: 99999, verdict.Unattributed: 1}, "99.9 %"},
		{"just below", byPhase{verdict.AfterExit: 98999, verdict.Unattributed: 1001}, "98.9 %"},
		{"none", byPhase{verdict.Unattributed: 3}, "0.0 %"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := row{Runs: []verdict.Verdict{{Lanes: []verdict.Lane{dropping("a", tt.phases, nil)}}}}.lane("a")
			assert.Equal(t, tt.want, charged(s))
		})
	}
}

// A phase that is added must be put into words, or hidden behind reasons as Unattributed is.
func TestEveryPhaseHasWords(t *testing.T) {
	for _, m := range verdict.LifecyclePhases() {
		if m != verdict.Unattributed {
			assert.NotEmpty(t, m.Meaning(), m)
		}
	}
}
