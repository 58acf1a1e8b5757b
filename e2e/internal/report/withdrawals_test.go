package report

import (
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// TestWithdrawalNotes: a line for each way in which Pods of a strategy stopped being ready endpoints.
func TestWithdrawalNotes(t *testing.T) {
	withdrawn := func(strategy string, list ...verdict.Withdrawal) verdict.Verdict {
		v := run(strategy, "node-shutdown", 20*second, 30)
		v.Withdrawals = list
		return v
	}
	const controller, kubelet = "node-controller", "kubelet of zerodrop-worker"
	by := func(who string, after, beforeExit time.Duration) verdict.Withdrawal {
		return verdict.Withdrawal{By: who, After: after, BeforeExit: &beforeExit}
	}
	back := by(controller, 4*second, 11*second)
	back.Back, back.PutBack = true, kubelet
	r := suite(
		withdrawn("a", by(kubelet, 2100*ms, -90*ms), by(kubelet, 2200*ms, -190*ms)),
		withdrawn("b", back), repeat(2, withdrawn("b", by(controller, 3*second, 12*second), verdict.Withdrawal{After: second})),
		withdrawn("c"),
	)
	const took = " that nobody had deleted out of the ready endpoints "
	want := []string{
		"a/node-shutdown: kubelet of zerodrop-worker took 2 Pods" + took + "2.1s–2.2s after the start, 90ms–190ms after the end of the process",
		"b/node-shutdown: node-controller took 1 Pod" + took + "4.0s after the start, 11.0s before the end of the process; " +
			"kubelet of zerodrop-worker put that back meanwhile",
		"b/node-shutdown: node-controller took 1 Pod" + took + "3.0s after the start, 12.0s before the end of the process",
		"b/node-shutdown: somebody whom the audit log doesn't name took 1 Pod" + took + "1.0s after the start",
	}
	assert.Equal(t, want, newModel(r).withdrawalNotes())
	assert.Subset(t, findings(newModel(r)), want)
	assert.Empty(t, newModel(quick()).withdrawalNotes())
}

// TestWithdrawalsInJSON: the same is in report.json, and nothing is there of a run without any.
func TestWithdrawalsInJSON(t *testing.T) {
	r := small()
	assert.NotContains(t, written(t, JSON, r), `"withdrawals"`)
	r.Suite.Runs[0].Withdrawals = []verdict.Withdrawal{
		{Pod: "app-0", By: "node-controller", After: 3 * second, BeforeExit: new(-2 * second), Back: true, PutBack: "kubelet"},
		{Pod: "app-1", After: second},
	}
	text := written(t, JSON, r)
	f, err := Read(strings.NewReader(text))
	require.NoError(t, err)
	want := []FileWithdrawal{
		{Pod: "app-0", By: "node-controller", AfterSeconds: 3, BeforeExitSeconds: new(-2.0), Back: true, PutBack: "kubelet"},
		{Pod: "app-1", AfterSeconds: 1},
	}
	assert.Equal(t, want, f.Runs[0].Withdrawals)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err)
	require.NoError(t, compiledSchema(t).Validate(doc))
}
