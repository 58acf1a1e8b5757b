package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

const second = time.Second

// lifted is a run of a strategy in which n Pods were deleted and replaced.
func lifted(strategy string, n int, lanes ...verdict.Lane) verdict.Verdict {
	v := verdict.Verdict{
		Spec: timeline.Spec{Strategy: strategy, Disruption: "rolling-update"}, Outcome: verdict.Pass,
		PodsReplaced: n, Lanes: lanes,
	}
	for range n {
		v.Pods = append(v.Pods,
			verdict.PodLifecycle{FirstSeen: map[timeline.Kind]time.Duration{timeline.PodDeleted: second}})
	}
	return v
}

// arrived is a lane whose Pods got their last requests so long after their deletion.
func arrived(name string, after ...time.Duration) verdict.Lane {
	consumer, load, _ := strings.Cut(name, "/")
	l := verdict.Lane{
		LaneSpec: timeline.LaneSpec{Name: name, Consumer: consumer, Load: load, Connections: "new"},
		Outcome:  verdict.Pass, Sent: 100,
	}
	for _, a := range after {
		l.Arrivals = append(l.Arrivals, verdict.Arrival{After: a})
	}
	return l
}

// ended is the lane with an arrival that only the Pod's own end ended.
func ended(l verdict.Lane, i int) verdict.Lane {
	l.Arrivals[i].Censored = true
	return l
}

// kept is the lane with requests that are sent on connections that it has.
func kept(l verdict.Lane) verdict.Lane {
	l.Connections = timeline.Reused
	return l
}

func TestDelay(t *testing.T) {
	vague := arrived("service/new", 300*time.Millisecond)
	vague.Phases = map[verdict.LifecyclePhase]int{verdict.Unattributed: 1, verdict.AfterExit: 5}
	charged := arrived("service/new", 300*time.Millisecond)
	charged.Phases = map[verdict.LifecyclePhase]int{verdict.NoEndpoint: 1, verdict.AfterExit: 5}
	tests := []struct {
		name string
		runs []verdict.Verdict
		want string
	}{
		{"no run had such a lane", []verdict.Verdict{lifted("a", 1)}, None},
		{"no Pod was deleted", []verdict.Verdict{lifted("a", 0, arrived("service/new"))}, None},
		{"nothing came after the deletion", []verdict.Verdict{lifted("a", 1, arrived("service/new"))}, "0.00s"},
		{"the longest of the Pods", []verdict.Verdict{lifted("a", 3,
			arrived("service/new", second, 1234*time.Millisecond, second))}, "1.23s"},
		{"the longest of the lanes", []verdict.Verdict{lifted("a", 1, arrived("service/new", second),
			arrived("nodeport/slow", 2*second))}, "2.00s"},
		{
			"the longest of the repeats, and not their median",
			[]verdict.Verdict{
				lifted("a", 1, arrived("service/new", second)), lifted("a", 1, arrived("service/new", 3*second)),
				lifted("a", 1, arrived("service/new", second)),
			},
			"3.00s",
		},
		{"reused lanes are not among the new", []verdict.Verdict{lifted("a", 1, arrived("service/new", second),
			kept(arrived("service/reused", 15*second)))}, "1.00s"},
		{"some drops are charged to nobody", []verdict.Verdict{lifted("a", 1, vague)}, "≥ 0.30s"},
		{"one came until the Pod's own end", []verdict.Verdict{lifted("a", 2,
			ended(arrived("service/new", second, 15*second), 1))}, "≥ 15.00s"},
		{
			"one that ended earlier says nothing of the longest",
			[]verdict.Verdict{lifted("a", 2, ended(arrived("service/new", second, 15*second), 0))},
			"15.00s",
		},
		{
			"of equals, the one that is a lower bound counts",
			[]verdict.Verdict{lifted("a", 2, ended(arrived("service/new", second, second), 0))},
			"≥ 1.00s",
		},
		{"all drops are explained", []verdict.Verdict{lifted("a", 1, charged)}, "0.30s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newModel(Report{Suite: verdict.Suite{Runs: tt.runs}})
			fresh, _ := kinds(m.Lanes)
			assert.Equal(t, tt.want, row{Runs: tt.runs}.lanes(fresh).delay())
		})
	}
}

// What a lane is called says nothing of its connections.
func TestKinds(t *testing.T) {
	m := newModel(Report{Suite: verdict.Suite{Runs: []verdict.Verdict{
		lifted("a", 1, arrived("service/new"), kept(arrived("service/pooled"))),
		lifted("b", 1, arrived("service/reused"), verdict.Lane{LaneSpec: timeline.LaneSpec{Name: "reads"}}),
	}}})
	fresh, reused := kinds(m.Lanes)
	assert.Equal(t, []string{"service/new", "service/reused", "reads"}, fresh)
	assert.Equal(t, []string{"service/pooled"}, reused)
}

func TestMedian(t *testing.T) {
	tests := []struct {
		name   string
		values []float64
		want   string
	}{
		{"of nothing", nil, None},
		{"of one", []float64{4}, "4.0"},
		{"not the mean", []float64{4, 100, 5}, "5.0"},
		{"between the two in the middle", []float64{6, 1, 4, 5}, "4.5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := row{Runs: []verdict.Verdict{{PodsReplaced: 0, ExtraPodSeconds: 999}}}
			for _, v := range tt.values {
				r.Runs = append(r.Runs, verdict.Verdict{PodsReplaced: 1, ExtraPodSeconds: v})
			}
			extra := func(v verdict.Verdict) (float64, bool) { return v.ExtraPodSeconds, true }
			assert.Equal(t, tt.want, r.median(extra, func(v float64) string { return fmt.Sprintf("%.1f", v) }))
		})
	}
}

// What is compared stands next to each other, whatever the order in which it ran.
func TestPreStopAndInAppDelayComeFirst(t *testing.T) {
	var runs []verdict.Verdict
	for _, strategy := range []string{
		"no-handler", "shutdown-at-once", "in-app-delay-close", "prestop-sleep",
		"in-app-delay", "prestop-http",
	} {
		v := lifted(strategy, 1)
		v.Spec.Control = strategy == "no-handler"
		switch {
		case strings.HasPrefix(strategy, "prestop-"):
			v.Spec.Group = groups[0]
		case strings.HasPrefix(strategy, "in-app-"):
			v.Spec.Group = groups[1]
		}
		runs = append(runs, v)
	}
	var got []string
	for _, group := range byGroup(newModel(Report{Suite: verdict.Suite{Runs: runs}}).Parts[0]) {
		for _, r := range group {
			got = append(got, r.Strategy)
		}
		got = append(got, "│")
	}
	assert.Equal(t, "prestop-sleep prestop-http in-app-delay-close in-app-delay │ shutdown-at-once no-handler │",
		strings.Join(got, " "))
}

func TestDecisionTable(t *testing.T) {
	repeat := func(rollout time.Duration, peak int, extra float64, dropped int) verdict.Verdict {
		inside, reused, outside := arrived("service/new", second), kept(arrived("service/reused", 9*second)),
			arrived("nodeport/new", second)
		inside.From, reused.From, outside.From = timeline.FromCluster, timeline.FromCluster, timeline.FromOutside
		slow := arrived("service/slow")
		slow.From, slow.Dropped, slow.Outcome = timeline.FromCluster, dropped, verdict.Fail
		v := lifted("prestop-sleep", 2, outside, inside, reused, slow)
		v.Rollout, v.PeakPods, v.ExtraPodSeconds = rollout, peak, extra
		return v
	}
	undisturbed := lifted("no-handler", 0, arrived("service/new"))
	undisturbed.Spec.Control, undisturbed.Spec.Disruption = true, "none"
	s := decision(newModel(Report{Suite: verdict.Suite{Runs: []verdict.Verdict{
		undisturbed, repeat(20*second, 4, 30, 1), repeat(90*second, 9, 300, 0), repeat(21*second, 5, 31, 2),
	}}}))
	var table block
	var headings []string
	for _, b := range s.Blocks {
		if len(b.Table.Columns) > 0 {
			table = b
			headings = append(headings, b.Heading)
		}
	}
	assert.Equal(t, []string{"rolling-update"}, headings, "a control without a disruption decides nothing")
	assert.Equal(t, []string{
		"prestop-sleep", "×3", "pass", "! 3/600", "0/300", "0/300", "1.00s", "9.00s", "21.0s", "5",
		"31.0",
	}, table.Table.Parts[0][0])
	var names []string
	for _, c := range table.Table.Columns {
		names = append(names, strings.TrimPrefix(c.Group+"/"+c.Name, "/"))
	}
	assert.Equal(t, []string{
		"strategy", "runs", "outcome", "dropped/sent/new", "dropped/sent/reused", "from outside/new",
		"delay needed/new", "delay needed/reused", "cost/rollout",
		"cost/most Pods", "cost/extra Pod-s",
	}, names, "what comes from within the cluster first")
	assert.Contains(t, strings.Join(s.Blocks[len(s.Blocks)-1].List, "\n"), "Costs are medians of the repeats")
}

// TestDecisionLeavesDNSOut: what a client drops that keeps an old DNS answer is not added to what the
// strategies are decided by, and is told of.
func TestDecisionLeavesDNSOut(t *testing.T) {
	service, dns := arrived("service/new"), arrived("dns-cached/new")
	service.Routing, dns.Routing, dns.Dropped = timeline.PerConnection, timeline.ByClient, 77
	v := lifted("prestop-sleep", 2, service, dns)
	text := fmt.Sprint(decision(newModel(Report{Suite: verdict.Suite{Runs: []verdict.Verdict{v}}})))
	assert.NotContains(t, text, "77/")
	assert.Contains(t, text, "not added in: 1 lane, whose clients choose the Pod themselves")

	v = lifted("prestop-sleep", 2, dns)
	text = fmt.Sprint(decision(newModel(Report{Suite: verdict.Suite{Runs: []verdict.Verdict{v}}})))
	assert.Contains(t, text, "77/", "alone it is all there is")
	assert.NotContains(t, text, "not added in")
}
