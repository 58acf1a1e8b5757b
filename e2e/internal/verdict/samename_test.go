package verdict

import (
	"cmp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// sameName has the Pod that takes the place of app-0 be of that name, as in a StatefulSet: it comes when
// the first is gone. Both tell what they have answered: the first in its last words, the other when it
// is asked.
func sameName(tl *timeline.Timeline) {
	for i := range tl.Events {
		switch e := &tl.Events[i]; e.Pod {
		case "app-0":
			e.UID = "first"
		case "app-3":
			e.Pod, e.UID, e.At = "app-0", "second", e.At+4*sec // created at 7 s
		}
	}
	slices.SortStableFunc(tl.Events, func(a, b timeline.Event) int { return cmp.Compare(a.At, b.At) })
	first, second := map[string]int{}, map[string]int{}
	for _, l := range tl.Lanes {
		for i := range l.Requests {
			switch r := &l.Requests[i]; {
			case r.Pod == 4 && r.Planned < 8*sec:
				r.Pod = 3
			case r.Pod == 4:
				r.Pod = 1
				second[l.Name]++
			case r.Pod == 1:
				first[l.Name]++
			}
		}
	}
	sent(tl)
	tl.Served = append(tl.Served, timeline.Served{Pod: "app-0", UID: "first", Answered: first}, timeline.Served{Pod: "app-0", Answered: second})
}

// TestOneNameTwiceInTheLedger: what arrived from a Pod is not what arrived from another of its name.
func TestOneNameTwiceInTheLedger(t *testing.T) {
	last := func(tl *timeline.Timeline) *timeline.Served { return &tl.Served[len(tl.Served)-1] }
	tests := []struct {
		name   string
		change func(*timeline.Timeline)
		want   string
	}{
		{"both tell", func(*timeline.Timeline) {}, ""},
		{"the first was killed", func(tl *timeline.Timeline) { tl.Served = slices.Delete(tl.Served, len(tl.Served)-2, len(tl.Served)-1) }, ""},
		{
			"the second says too little", func(tl *timeline.Timeline) { last(tl).Answered["nodeport/new"]-- },
			"nodeport/new: 40 answers arrived from Pod app-0, which says it has given 39",
		},
		{
			"the first says the second's", func(tl *timeline.Timeline) { last(tl).UID = "first" },
			"nodeport/new: the Pods say they have answered",
		},
		{"the second answers nothing", func(tl *timeline.Timeline) {
			for i := range tl.Lanes {
				for j := range tl.Lanes[i].Requests {
					if r := &tl.Lanes[i].Requests[j]; r.Pod == 1 && r.Planned > 6*sec {
						r.Pod = 6
					}
				}
			}
			tl.Served = nil
		}, "Pod app-0 was ready and answered no request"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := rollout()
			sameName(&tl)
			tt.change(&tl)
			why := Judge(tl).Reasons
			if tt.want == "" {
				assert.Empty(t, why)
				return
			}
			require.NotEmpty(t, why)
			assert.Contains(t, why[0], tt.want)
		})
	}
}
