package verdict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// referenceRuns are those of groups under two strategies and two disruptions, repeated: what the
// reference dropped, and when its last arrivals were, as the group says.
func referenceRuns(repeats int, groups map[string]func(cell, repeat int) (dropped int, after time.Duration), mode string) []Verdict {
	var out []Verdict
	for group, say := range groups {
		for cell, at := range [][2]string{{"at-once", "rolling-update"}, {"at-once", "pod-deletion"}, {"delay", "rolling-update"}, {"delay", "pod-deletion"}} {
			for repeat := range repeats {
				dropped, after := say(cell, repeat)
				l := Lane{LaneSpec: timeline.LaneSpec{Name: "service/new"}, Dropped: dropped}
				for i := range 3 {
					l.Arrivals = append(l.Arrivals, Arrival{After: after + time.Duration(i-1)*100*ms, Censored: after == 0})
				}
				out = append(out, Verdict{
					Spec:        timeline.Spec{ConsumerGroup: group, Strategy: at[0], Disruption: at[1], Scope: timeline.ScopeAll},
					Environment: timeline.Environment{ProxyMode: mode}, Outcome: Pass,
					Lanes: []Lane{{LaneSpec: timeline.LaneSpec{Name: group + "/new"}, Dropped: 99}, l},
				})
			}
		}
	}
	return out
}

// TestReferenceDrift: a group whose reference differs is named, and nobody else is. What differs
// between strategies, or is said of other lanes or by runs that prove nothing, is no drift.
func TestReferenceDrift(t *testing.T) {
	type groups = map[string]func(cell, repeat int) (int, time.Duration)
	// Strategies differ by far; repeats a little, each group in its own order.
	usual := func(order int) func(int, int) (int, time.Duration) {
		return func(cell, repeat int) (int, time.Duration) {
			wobble := (repeat*order + cell*order) % 5
			return []int{40, 20, 0, 0}[cell] + wobble*(1-cell/2), time.Duration(cell/2) * (time.Second + time.Duration(wobble)*50*ms)
		}
	}
	more := func(cell, repeat int) (int, time.Duration) {
		dropped, after := usual(1)(cell, repeat)
		return dropped * 2, after
	}
	later := func(cell, repeat int) (int, time.Duration) {
		dropped, after := usual(2)(cell, repeat)
		return dropped, after * 2
	}
	doubted := referenceRuns(4, groups{"ingress": later, "local": usual(1), "": usual(3)}, "iptables")
	for i := range doubted {
		if doubted[i].Spec.ConsumerGroup == "ingress" {
			doubted[i].Outcome = Inconclusive
		}
	}
	tests := []struct {
		name string
		runs []Verdict
		want []string // the beginnings
	}{
		{"none", nil, nil},
		{"alike", referenceRuns(4, groups{"": usual(1), "local": usual(2), "ingress": usual(3)}, "iptables"), nil},
		{"one run of each", referenceRuns(1, groups{"": usual(1), "local": usual(2), "ingress": usual(3)}, "iptables"), nil},
		{"later", append(
			referenceRuns(4, groups{"": usual(1), "local": usual(3), "gateway": usual(4), "ingress": later}, "iptables"),
			referenceRuns(4, groups{"": later, "local": later, "gateway": later}, "nftables")...), []string{
			"service/new of group ingress had its last arrivals after 2.15s, that of the other groups in the same runs 1.1s (medians; p = ",
		}},
		{"another kube-proxy is another matter", append(
			referenceRuns(4, groups{"": usual(1), "local": usual(2)}, "iptables"),
			referenceRuns(4, groups{"": later, "local": later}, "nftables")...), nil},
		{"a group by itself", referenceRuns(4, groups{"ingress": more}, "iptables"), nil},
		{"not conclusive", doubted, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ReferenceDrift(tt.runs, "service/new")
			require.Len(t, got, len(tt.want), got)
			for i, want := range tt.want {
				assert.Contains(t, got[i], want)
			}
		})
	}
	drift := ReferenceDrift(referenceRuns(4, groups{"": usual(1), "local": usual(2), "gateway": usual(4), "ingress": more}, "iptables"), "service/new")
	require.NotEmpty(t, drift)
	assert.Contains(t, drift[0], "service/new of group ingress dropped ")
	assert.Empty(t, ReferenceDrift(referenceRuns(4, groups{"a": usual(1), "b": more}, "iptables"), "nodeport/new"), "no such lane")
}
