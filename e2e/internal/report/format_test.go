package report

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

func TestDuration(t *testing.T) {
	tests := []struct {
		d              time.Duration
		duration, span string
	}{
		{0, "0s", "0s"},
		{1900 * time.Microsecond, "1.9ms", "1.9ms"},
		{9949 * time.Microsecond, "9.9ms", "9.9ms"},
		{9950 * time.Microsecond, "10ms", "10ms"},
		{310 * time.Millisecond, "310ms", "310ms"},
		{999600 * time.Microsecond, "1.0s", "1.0s"},
		{21400 * time.Millisecond, "21.4s", "21.4s"},
		{59600 * time.Millisecond, "59.6s", "1m00s"},
		{432 * time.Second, "432.0s", "7m12s"},
		{3*time.Hour + 4*time.Minute, "11040.0s", "3h04m"},
		{-20 * time.Millisecond, "-20ms", "-20ms"},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.duration, Duration(tt.d))
		assert.Equal(t, tt.span, span(tt.d))
	}
}

func TestPercent(t *testing.T) {
	for n, want := range map[int]string{
		0: "100 %", 1: "95 %", 3: "63 %", 10: "26 %", 20: "14 %", 59: "5 %", 299: "1 %",
		1000: "0.3 %",
	} {
		assert.Equal(t, want, percent(verdict.ClopperPearson(0, n)), "after %d clean rollouts", n)
	}
}

func TestEnumerate(t *testing.T) {
	assert.Empty(t, Enumerate(nil))
	assert.Equal(t, "a", Enumerate([]string{"a"}))
	assert.Equal(t, "a and b", Enumerate([]string{"a", "b"}))
	assert.Equal(t, "a, b and c", Enumerate([]string{"a", "b", "c"}))
}

func TestExtent(t *testing.T) {
	assert.Equal(t, "–", Extent(nil, integer))
	assert.Equal(t, "3–7", Extent([]int{5, 7, 3}, integer))
	assert.Equal(t, "21.4s", Extent([]time.Duration{21390 * time.Millisecond, 21410 * time.Millisecond}, Duration))
}

func TestRowsOf(t *testing.T) {
	run := func(strategy, disruption string, n int) verdict.Verdict {
		return verdict.Verdict{Spec: timeline.Spec{Strategy: strategy, Disruption: disruption}, Repeat: n}
	}
	var got []string
	for _, part := range rowsOf([]verdict.Verdict{
		run("a", "eviction", 1), run("b", "pod-deletion", 1), run("b", "rolling-update", 1),
		run("a", "rolling-update", 1), run("c", "none", 1),
		run("a", "rolling-update", 2), run("b", "rolling-update", 2), run("b", "pod-deletion", 2),
	}) {
		for _, r := range part {
			got = append(got, r.Disruption+" "+r.Strategy+strings.Repeat("+", len(r.Runs)))
		}
	}
	assert.Equal(t, []string{"eviction a+", "pod-deletion b++", "rolling-update b++", "rolling-update a++", "none c+"},
		got)
}

func TestLanesOfAConsumerStayTogether(t *testing.T) {
	run := func(names ...string) (v verdict.Verdict) {
		for _, name := range names {
			v.Lanes = append(v.Lanes, lane(name, clean, 1, nil, 0))
			if strings.HasPrefix(name, "out") {
				v.Lanes[len(v.Lanes)-1].From = timeline.FromOutside
			}
		}
		return v
	}
	m := newModel(Report{Suite: verdict.Suite{Runs: []verdict.Verdict{
		run("out/a", "p/b", "q/a"),
		run("p/a", "q/a", "p/c"),
	}}})
	assert.Equal(t, []string{"p/b", "p/a", "p/c", "q/a", "out/a"}, names(m.Lanes))
}

func TestExpected(t *testing.T) {
	of := func(promises map[timeline.Class][]string) string {
		return Expected(func(c timeline.Class) []string { return promises[c] })
	}
	assert.Equal(t, None, of(nil))
	assert.Equal(t, "clean", of(map[timeline.Class][]string{
		timeline.ClassNew:      {"clean"},
		timeline.ClassInFlight: {"clean"},
	}))
	assert.Equal(t, "new clean · in-flight measured, drops",
		of(map[timeline.Class][]string{timeline.ClassInFlight: {"measured", "drops"}, timeline.ClassNew: {"clean"}}))
}

func TestCounts(t *testing.T) {
	order, counts := []string{"a", "b", "c", "d", "e"}, map[string]int{"a": 1, "b": 7, "d": 1, "e": 9}
	assert.Equal(t, "e 9 · b 7 · a 1 · d 1", Counts(order, counts, 0))
	assert.Equal(t, "e 9 · b 7 · 2 more", Counts(order, counts, 2))
	assert.Equal(t, None, Counts(order, nil, 0))
}

func TestDraw(t *testing.T) {
	tab := Table{
		Columns: []Header{
			{Name: "strategy", Left: true, Key: true},
			{Group: "a long name", Name: "n"},
			{Group: "cost", Name: "rollout"},
			{Group: "cost", Name: "m"},
		},
		Parts: [][][]string{{{"x", "1", "21.4s", "≤ 5"}}, {{"prestop-y", "–", "9s", ""}}},
	}
	assert.Equal(t, []string{
		"          │ a long name │ cost        ",
		"strategy  │           n │ rollout    m",
		"──────────┼─────────────┼─────────────",
		"x         │           1 │   21.4s  ≤ 5",
		"──────────┼─────────────┼─────────────",
		"prestop-y │           – │      9s     ",
	}, draw(tab))
	assert.Equal(t, len([]rune(draw(tab)[2])), drawnWidth(tab))
}
