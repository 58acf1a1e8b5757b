package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/report"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// arrivals is a run whose lanes got a last request from each Pod so long after its deletion.
func arrivals(o verdict.Outcome, after map[string][]time.Duration) verdict.Verdict {
	v := verdict.Verdict{Outcome: o}
	for _, name := range []string{"service/new", "service/reused", "nodeport/slow"} {
		l := lane(name, clean, 2600, nil, 0)
		for _, d := range after[name] {
			l.Arrivals = append(l.Arrivals, verdict.Arrival{Pod: "app", After: d})
		}
		v.Lanes = append(v.Lanes, l)
	}
	return v
}

func dropped(o verdict.Outcome, n, masked int) verdict.Verdict {
	v := arrivals(o, nil)
	v.Lanes[0].Dropped, v.Lanes[1].Dropped, v.Lanes[1].Masked = n, n/2, masked
	return v
}

func safeDelay(outcome verdict.Outcome, why string, runs []verdict.Verdict, trials ...report.Trial) report.SafeDelay {
	return report.SafeDelay{
		Strategy: "in-app-delay-close", Outcome: outcome, Why: why, Rate: 100, Cluster: quick().Cluster,
		Estimate: verdict.NewSafeDelay(runs, 15*time.Second), Trials: trials,
	}
}

func TestSafeDelayGolden(t *testing.T) {
	const ms = time.Millisecond
	measured := []verdict.Verdict{
		arrivals(verdict.Pass, map[string][]time.Duration{
			"service/new":    {310 * ms, 900 * ms, 1012 * ms},
			"service/reused": {25 * ms, 1030 * ms}, "nodeport/slow": {400 * ms},
		}),
		arrivals(verdict.Pass, map[string][]time.Duration{
			"service/new":    {530 * ms, 740 * ms, 1112 * ms},
			"service/reused": {300 * ms}, "nodeport/slow": {700 * ms},
		}),
	}
	clean := []verdict.Verdict{dropped(verdict.Pass, 0, 0), dropped(verdict.Pass, 0, 0), dropped(verdict.Pass, 0, 0)}
	third := report.NewTrial("a third of it", "in-app-delay-close@500ms", 500*ms,
		[]verdict.Verdict{dropped(verdict.Pass, 12, 0), dropped(verdict.Pass, 7, 2), clean[0]}, 3)
	preStop := report.NewTrial("as preStop sleep", "prestop-sleep@2s", 2*time.Second, clean, 3)
	proof := func(runs ...verdict.Verdict) report.Trial {
		return report.NewTrial("the recommended delay", "in-app-delay-close@1.5s", 1500*ms, runs, 3)
	}
	doubted := arrivals(verdict.Inconclusive, map[string][]time.Duration{"service/new": {400 * ms}})
	silent := arrivals(verdict.Pass, map[string][]time.Duration{
		"service/new":   {310 * ms},
		"nodeport/slow": {14800 * ms},
	})
	endless := arrivals(verdict.Pass, map[string][]time.Duration{
		"service/new":    {310 * ms, 15 * time.Second},
		"service/reused": {15 * time.Second},
	})
	endless.Lanes[0].Arrivals[1].Censored, endless.Lanes[1].Arrivals[0].Censored = true, true
	tests := []struct {
		name string
		in   report.SafeDelay
	}{
		{"proved", safeDelay(verdict.Pass, "", measured, proof(clean...), preStop, third)},
		{"disproved", safeDelay(verdict.Fail, "in-app-delay-close@1.5s dropped 3 requests", measured,
			proof(clean[0], clean[1], dropped(verdict.Fail, 3, 0)), preStop, third)},
		{"not-proved", safeDelay(verdict.Inconclusive, "1 of 3 runs is conclusive", measured,
			proof(clean[0], dropped(verdict.Inconclusive, 99, 9)))},
		{"recommended", safeDelay(verdict.Pass, "", append([]verdict.Verdict{doubted}, measured...))},
		{"none", safeDelay(verdict.Inconclusive, "nodeport/slow: requests went on arriving for 14.8s",
			[]verdict.Verdict{silent})},
		{"censored", safeDelay(verdict.Inconclusive, "service/new: a longer delay has to show their end",
			[]verdict.Verdict{endless})},
		{"not-conclusive", safeDelay(verdict.Inconclusive, "service/new: none of 1 runs is conclusive",
			[]verdict.Verdict{doubted})},
	}
	for _, tt := range tests {
		for _, f := range report.SafeDelayFormats() {
			t.Run(tt.name+"/"+f.File, func(t *testing.T) {
				var got bytes.Buffer
				require.NoError(t, f.Write(&got, tt.in))
				file := filepath.Join("testdata", "safe-delay", tt.name, f.File)
				if *update {
					require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
					require.NoError(t, os.WriteFile(file, got.Bytes(), 0o644))
				}
				want, err := os.ReadFile(file)
				require.NoError(t, err, "run go test -update")
				require.Equal(t, string(want), got.String())
				if f.File != "safe-delay.json" {
					return
				}
				read, err := report.ReadSafeDelay(&got)
				require.NoError(t, err)
				assert.Equal(t, tt.in.Outcome, read.Outcome)
				assert.Len(t, read.Trials, len(tt.in.Trials))
				for i, l := range tt.in.Estimate.Lanes {
					assert.Equal(t, l.Censored, read.Lanes[i].Censored)
					assert.Equal(t, l.TooShort, read.Lanes[i].TooShort)
				}
			})
		}
	}
}

// TestSafeDelayJSON: what isn't known is null, and never zero.
func TestSafeDelayJSON(t *testing.T) {
	var out bytes.Buffer
	for _, f := range report.SafeDelayFormats() {
		if filepath.Ext(f.File) == ".json" {
			require.NoError(t, f.Write(&out, safeDelay(verdict.Inconclusive, "nothing",
				[]verdict.Verdict{arrivals(verdict.Pass, nil)})))
		}
	}
	var got object
	require.NoError(t, json.Unmarshal(out.Bytes(), &got))
	assertHas(t, object{
		"schema": "zerodrop.safe-delay/v2", "delaySeconds": nil, "preStopSeconds": nil,
		"why": "nothing",
	}, got)
	for _, l := range got.list("lanes") {
		assertHas(t, object{
			"observations": 0.0, "p50Seconds": nil, "maxSeconds": nil, "delaySeconds": nil,
			"bound": 1.0,
		}, l)
	}
	assert.Len(t, got.list("lanes"), 3)
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestSafeDelayCanNotWrite(t *testing.T) {
	for _, f := range report.SafeDelayFormats() {
		require.EqualError(t, f.Write(brokenWriter{}, report.SafeDelay{}), "write safe delay: disk full", f.File)
	}
}

// A strategy that declares no group, as its delay is too short to be safe, say, doesn't speak for
// in-app delays.
func TestWhoHasNoGroupSpeaksForNone(t *testing.T) {
	const absent = "no in-app delay strategy"
	short := repeat(1, dropped(verdict.Pass, 12, 0))
	short.Spec = timeline.Spec{Strategy: "in-app-delay@500ms", Disruption: "rolling-update"}
	assert.Contains(t, written(t, report.Text, suite(preStopRolling, short)), absent)
	short.Spec.Group = "in-app delay"
	assert.NotContains(t, written(t, report.Text, suite(preStopRolling, short)), absent)
}

func TestReadSafeDelayRefusesAnotherVersion(t *testing.T) {
	_, err := report.ReadSafeDelay(strings.NewReader(`{"schema": "zerodrop.safe-delay/v1"}`))
	require.EqualError(t, err, `read safe delay: schema "zerodrop.safe-delay/v1": want "zerodrop.safe-delay/v2"`)
}
