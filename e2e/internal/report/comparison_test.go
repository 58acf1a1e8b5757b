package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

func TestComparisons(t *testing.T) {
	inApp, preStop := usual("in-app-delay", "rolling-update"), usual("prestop-sleep", "rolling-update")
	ungrouped := inApp
	ungrouped.Spec.Group = ""
	// Both drop in every rollout, one of them always more: then the amount tells them apart.
	var amount []verdict.Verdict
	for i := range 5 {
		for name, n := range map[string]int{"in-app-delay": 1 + i%2, "prestop-sleep": 8 + i} {
			amount = append(amount, repeat(i+1, run(name, "rolling-update", second, 1, lane("service/reused", measured, 100, causes{timeline.EOF: n}, 0))))
		}
	}
	tests := []struct {
		name string
		runs []verdict.Verdict
		want []string
	}{
		{"no in-app strategy", []verdict.Verdict{usual("no-handler", "rolling-update"), preStop}, []string{"Nothing to compare: no in-app delay strategy was run."}},
		{"no preStop strategy", []verdict.Verdict{inApp}, []string{"Nothing to compare: no preStop strategy was run."}},
		{"neither", []verdict.Verdict{ungrouped}, []string{"Nothing to compare: no preStop strategy and no in-app delay strategy was run."}},
		{"one side under one disruption only", []verdict.Verdict{inApp, preStop, usual("prestop-sleep", "pod-deletion")}, []string{
			"Nothing to compare: no in-app delay strategy has a conclusive run.",
		}},
		{"one of two repeats is not conclusive", []verdict.Verdict{inApp, doubt(repeat(2, inApp), "lag"), preStop, repeat(2, preStop)}, []string{
			"Left out, not measured or not conclusive: in-app-delay (1 of 2 runs).",
			"No difference above can be told from noise at the 5 % level (1 to 2 runs each",
		}},
		{"enough rollouts", repeats().Suite.Runs, []string{
			"prestop-exec-sleep against in-app-delay-close: dropped something in 10 of 10 against 0 of 10 rollouts (p < 0.001, corrected p < 0.001).",
			// prestop-sleep dropped something in 5 of 10: p = 0.033 by itself, and one comparison of six.
			"No other difference can be told from noise at the 5 % level (10 runs each, 6 comparisons corrected for each other).",
		}},
		{"by the amount dropped", amount, []string{
			"More than noise: service/reused, prestop-sleep against in-app-delay: dropped 8–12 against 1–2 per rollout (p = 0.008).",
			"No other difference can be told from noise at the 5 % level (5 runs each).",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := fmt.Sprint(comparisons(newModel(suite(tt.runs...))))
			for _, want := range tt.want {
				assert.Contains(t, text, want)
			}
		})
	}
}

// What is compared stands next to each other, whatever the order in which it ran.
func TestPreStopAndInAppDelayComeFirst(t *testing.T) {
	var runs []verdict.Verdict
	for strategy := range strings.FieldsSeq("no-handler shutdown-at-once in-app-delay-close prestop-sleep in-app-delay prestop-http") {
		runs = append(runs, usual(strategy, "rolling-update"))
	}
	var got []string
	for _, r := range newModel(suite(runs...)).Parts[0] {
		got = append(got, r.Strategy)
	}
	assert.Equal(t, "prestop-sleep prestop-http in-app-delay-close in-app-delay shutdown-at-once no-handler", strings.Join(got, " "))
}

// A suite can be worse than any of its runs: then CI is told so by a case of its own.
func TestNamesThatDiffer(t *testing.T) {
	r := twice(60)
	failed := suite(append(r.Suite.Runs, usual("in-app-delay", "rolling-update"))...)
	failed.Suite.Runs[len(failed.Suite.Runs)-1].Outcome = verdict.Fail
	for _, r := range []Report{r, failed} {
		assert.Equal(t, verdict.Inconclusive, r.Suite.Outcome)
		assert.Contains(t, written(t, JUnit, r), `<error message="A/A: two names of one strategy differ: shutdown-at-once`)
	}
	assert.Contains(t, unwrapped(written(t, Text, r)), "shutdown-at-once service/new 10/10, 91.5 10/10, 151.5 – <0.001, <0.001")
	assert.Equal(t, verdict.Pass, twice(0).Suite.Outcome)
}
