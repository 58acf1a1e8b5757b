package report

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// safeDelays are those that come out in each way there is.
func safeDelays() map[string]SafeDelay {
	seen := func(o verdict.Outcome, fresh ...time.Duration) verdict.Verdict {
		l, kept := lane("service/new", clean, 2600, nil, 0), lane("service/reused", clean, 2600, nil, 300*ms)
		for _, after := range fresh {
			l.Arrivals = append(l.Arrivals, verdict.Arrival{Pod: "app", After: after, Censored: after == 15*second})
		}
		return verdict.Verdict{Outcome: o, Lanes: []verdict.Lane{l, kept}}
	}
	dropped := func(o verdict.Outcome, n int) verdict.Verdict {
		v := seen(o)
		v.Lanes[0].Dropped, v.Lanes[1].Dropped, v.Lanes[1].Masked = n, n/2, n/3
		return v
	}
	none := []verdict.Verdict{dropped(verdict.Pass, 0), dropped(verdict.Pass, 0), dropped(verdict.Pass, 0)}
	of := func(o verdict.Outcome, why string, runs []verdict.Verdict, trials ...Trial) SafeDelay {
		return SafeDelay{
			Strategy: "in-app-delay-close", Outcome: o, Why: why, Rate: 100, Cluster: kindCluster, Trials: trials,
			Estimate: verdict.NewSafeDelay(runs, 15*second),
		}
	}
	proof := func(runs ...verdict.Verdict) Trial {
		return NewTrial("the recommended delay", "in-app-delay-close@1.5s", 1500*ms, runs, 3)
	}
	usual := []verdict.Verdict{seen(verdict.Pass, 310*ms, 900*ms, 1012*ms), seen(verdict.Pass, 530*ms, 740*ms, 1112*ms)}
	return map[string]SafeDelay{
		"proved": of(verdict.Pass, "", usual, proof(none...), NewTrial("as preStop sleep", "prestop-sleep@2s", 2*second, none, 3),
			NewTrial("a third of it", "in-app-delay-close@500ms", 500*ms, []verdict.Verdict{dropped(verdict.Pass, 12), dropped(verdict.Pass, 7), none[0]}, 3)),
		"disproved":   of(verdict.Fail, "in-app-delay-close@1.5s dropped 3 requests", usual, proof(none[0], none[1], dropped(verdict.Fail, 3))),
		"not-proved":  of(verdict.Inconclusive, "1 of 3 runs is conclusive", usual, proof(none[0], dropped(verdict.Inconclusive, 99))),
		"recommended": of(verdict.Pass, "", append([]verdict.Verdict{seen(verdict.Inconclusive, 400*ms)}, usual...)),
		"none":        of(verdict.Inconclusive, "service/new: a longer delay has to show their end", []verdict.Verdict{seen(verdict.Pass, 310*ms, 15*second)}),
	}
}

func TestSafeDelay(t *testing.T) {
	const basis = "rolling updates of in-app-delay-close, whose delay was 15s, at 100 requests/s per lane; Kubernetes v1.37.2, kube-proxy iptables"
	tests := []struct {
		name string
		want []string // in the text, without its line breaks
	}{
		{"proved", []string{
			"1.5s in the app, or 2s of preStop sleep, which takes whole seconds, is safe here: it was run, and no new connection was dropped.",
			"2 " + basis, "service/new 6 740ms 1.1s 10ms 39 % 1.5s", "No delay for service/reused: a connection stays until the Pod closes it",
			"the recommended delay in-app-delay-close@1.5s ✓ clean 0/3 0/7800 63 % 0/7800 0",
			"a third of it in-app-delay-close@500ms ◆ dropped 2/3 19/7800 98 % 9/7800 6",
			"in-app-delay-close@500ms dropped 19 of 7800 on service/new and 9 of 7800 on service/reused with another 6 masked.",
			"It holds for this cluster as it was.",
		}},
		{"disproved", []string{
			"1.5s in the app, or 2s of preStop sleep, is recommended and NOT proved (fail): in-app-delay-close@1.5s dropped 3 requests.",
			"in-app-delay-close@1.5s ✗ FAIL 1/3 3/7800",
		}},
		{"not-proved", []string{
			"1.5s in the app, or 2s of preStop sleep, is recommended and NOT proved (inconclusive): 1 of 3 runs is conclusive.",
			"? inconclusive 0/1 0/2600 95 %",
		}},
		{"recommended", []string{
			"1.5s in the app, or 2s of preStop sleep, is recommended; nothing was run to prove it.",
			"1 other is not conclusive, and counts for nothing.",
		}},
		{"none", []string{"No delay is recommended: service/new: a longer delay has to show their end.", "service/new 1 310ms ≥ 15.0s 1 10ms"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var text, raw bytes.Buffer
			in := safeDelays()[tt.name]
			require.NoError(t, WriteSafeDelay(&text, in))
			for _, want := range tt.want {
				assert.Contains(t, unwrapped(text.String()), want)
			}
			short := unwrapped(summarized(t, quick(), in))
			assert.Contains(t, short, "Safe delay: "+tt.want[0], "the answer comes first")
			require.NoError(t, writeSafeDelayJSON(&raw, in))
			read, err := ReadSafeDelay(&raw)
			require.NoError(t, err)
			assert.Equal(t, newSafeDelayFile(in), read)
			assert.Equal(t, in.Estimate.Delay == nil, read.DelaySeconds == nil)
		})
	}
}

// TestSafeDelayJSON: what isn't known is null, and never zero.
func TestSafeDelayJSON(t *testing.T) {
	in := safeDelays()["none"]
	in.Estimate = verdict.NewSafeDelay([]verdict.Verdict{{Outcome: verdict.Pass, Lanes: []verdict.Lane{lane("service/new", clean, 100, nil, 0)}}}, second)
	f := newSafeDelayFile(in)
	assert.Nil(t, f.DelaySeconds)
	assert.Nil(t, f.PreStopSeconds)
	require.Len(t, f.Lanes, 1)
	assert.Nil(t, f.Lanes[0].P50Seconds)
	assert.Nil(t, f.Lanes[0].DelaySeconds)
	assert.InDelta(t, 1, f.Lanes[0].Bound, 0)

	_, err := ReadSafeDelay(strings.NewReader(`{"schema": "zerodrop.safe-delay/v1"}`))
	require.EqualError(t, err, `read safe delay: schema "zerodrop.safe-delay/v1": want "zerodrop.safe-delay/v2"`)
}
