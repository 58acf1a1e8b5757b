package report

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// TestConsumerTables: tables A, D and F, checked against the made-up runs.
func TestConsumerTables(t *testing.T) {
	text := written(t, Text, everyConsumer())
	for _, row := range []string{
		// A: removals, p50, p90, max, until it ended, safe, may be longer, clean with, outage, charged
		"service iptables │ 18 1.16s 1.29s 1.29s 0 │ 1.31s 39 % 15s 0/4 ≤ 53 % │ none │ 100 %",
		"service nftables │ 18 0.91s 1.01s 1.01s 0 │ 1.03s 39 % 15s 0/4 ≤ 53 % │ none │ 100 %",
		"dns-cached iptables │ 0 – – ≥ 15.00s 18 │ ≥ 15.02s – none │ 4.0s │ 100 %",
		"ingress iptables │ 18 2.23s 2.48s 2.48s 0 │ 2.50s 39 % 15s 0/4 ≤ 53 % │ 4.0s │ 99.2 %",
		"service-h2 iptables │ 0 – – – 0 │ – – none │ 4.0s │ 100 %",
		"lb-gcp-l4 iptables │ 12 21.51s 24.20s 24.20s 12 │ 24.22s 53 % 30s 0/2 ≤ 78 % │ – │ 100 %",
		"nodeport-local iptables │ 18 1.30s 1.45s 1.45s 0 │ 1.47s 39 % 15s 0/4 ≤ 53 % │ – │ 100 %", // its inconclusive lane had 29 s
		// by strategy: new, kept-alive, in-flight, late, masked, proxy, rollouts, outage
		"ingress · iptables single-replica-prestop-sleep 205/2400 205/2400 0/4800 0 0 0 1/2 ≤ 97 % 4.0s",
		"ingress-retry · iptables in-app-delay 0/2400 4/2400 0/4800 0 0 164 2/2 ≤ 100 % 0s",
		// D
		"service HTTP/1.1 reused 62/2400 + 4 4/2400 + 4 4/2400 + 4 4/2400 + 4",
		"service-h2 HTTP/2 reused 62/2400 + 6 4/2400 + 6 4/2400 + 6 4/2400 + 6",
		"ingress-h2 HTTP/2 reused 128/2400 + 6 0/2400 + 6 0/2400 + 6 205/2400 + 6",
		// F
		"new off ingress 128/2400 0/2400 0/2400 205/2400 0 0",
		"new on ingress-retry 0/2400 + 82 0/2400 + 82 0/2400 + 82 0/2400 + 82 0 328",
		// watched: removals, p50, p90, max, blind p50, blind max
		"prometheus-endpoints │ 12 ≥ -1.00s ≥ 3.20s ≥ 14.80s │ 11.80s 16.00s",
	} {
		want := strings.ReplaceAll(regexp.QuoteMeta(row), " ", " +")
		assert.Regexp(t, "(?m)^"+want+"$", text)
	}
	for _, note := range []string{
		"ingress: 5 requests of 666 charged to nobody, most because its line of the access log is missing",
		"nodeport-local: nothing is taken from 1 inconclusive run",
		"≥, as its program sent requests again, and nobody knows where it had sent them before: ingress-retry",
	} {
		assert.Contains(t, unwrapped(text), note)
	}
	assert.NotContains(t, written(t, Text, quick()), "Consumer by consumer", "where no consumers are compared")
}

// TestLabels: consumers are named once, and with the mode of kube-proxy where they have a row for several.
func TestLabels(t *testing.T) {
	row := func(name, mode string) FileConsumer {
		return FileConsumer{Consumer: name, ProxyMode: mode, Why: "of a reason"}
	}
	all := []FileConsumer{row("b", "iptables"), row("a", "iptables"), row("b", "nftables")}
	assert.Contains(t, consumerNotes(all), "no safe delay for a, b (iptables) and b (nftables): of a reason")
}

// TestStrategyTable: there are rules between consumers only where one has several rows.
func TestStrategyTable(t *testing.T) {
	one := FileConsumer{Strategies: make([]FileConsumerStrategy, 1)}
	two := FileConsumer{Strategies: make([]FileConsumerStrategy, 2)}
	assert.Len(t, strategyTable([]FileConsumer{one, one, {}}).Parts, 1)
	assert.Len(t, strategyTable([]FileConsumer{one, two}).Parts, 2)
	assert.Empty(t, strategyTable([]FileConsumer{{}}).Parts)
}

// TestConsumerPicture: a mark for each removal, lower bounds by their shape.
func TestConsumerPicture(t *testing.T) {
	page := written(t, Index, everyConsumer())
	removals, censored := 0, 0
	for _, c := range newFileConsumers(everyConsumer().Suite.Runs) {
		removals, censored = removals+c.Known, censored+c.Censored
	}
	assert.Equal(t, removals, strings.Count(page, `<circle class="came`)-2, "but for the legend")
	assert.Equal(t, censored, strings.Count(page, `<path class="until"`)-1)
	assert.NotContains(t, written(t, Index, quick()), `class="came`)

	c := FileConsumer{SafeSeconds: new(60.0), Removals: []FileRemoval{
		{Strategy: "a", DelaySeconds: 15, Seconds: 60},
		{Strategy: "a", DelaySeconds: 15, Seconds: 15, Censored: true},
		{Strategy: "a", DelaySeconds: 15, Seconds: -1},
		{Strategy: "b", Seconds: 0.01},
	}}
	row := newConsumerChart([]FileConsumer{c}).Parts[0].Rows[0]
	at15 := percentOf(timeAt(15, 60))
	assert.Equal(t, []consumerLine{
		{Name: "a", Y: 6, Given: at15, Dots: []consumerDot{{"96.0%", false, true}, {"4.0%", false, false}, {at15, true, false}}},
		{Name: "b", Y: 18, Dots: []consumerDot{{"8.0%", false, true}}},
	}, row.Lines)
	assert.Equal(t, "96.0%", row.Safe)
	assert.InDelta(t, 96, timeAt(600, 600), 1e-9, "the axis goes as far as it has to")
}

// TestGroupsAreNoRepeats: runs of one name in two groups, or in two modes of kube-proxy, stay apart
// in every table, and are named apart.
func TestGroupsAreNoRepeats(t *testing.T) {
	r := suite(
		grouped("", "iptables", "prestop-sleep", "rolling-update", brings("service/new", nil, second, nil)),
		grouped("", "nftables", "prestop-sleep", "rolling-update", brings("service/new", nil, second, nil)),
		grouped("ingress", "iptables", "prestop-sleep", "rolling-update", brings("service/new", causes{timeline.Refused: 7}, second, nil)),
		repeat(2, grouped("ingress", "iptables", "prestop-sleep", "rolling-update", brings("service/new", nil, second, nil))),
	)
	m := newModel(r)
	var names []string
	for _, v := range r.Suite.Runs {
		names = append(names, m.name(v))
	}
	assert.Equal(t, []string{
		"prestop-sleep/rolling-update", "nftables/prestop-sleep/rolling-update",
		"ingress/prestop-sleep/rolling-update (repeat 1)", "ingress/prestop-sleep/rolling-update (repeat 2)",
	}, names)
	assert.Len(t, m.Parts, 3)
	links := 0
	for _, part := range newChart(m).Parts {
		links += len(part.Rows[0].Links)
	}
	assert.Equal(t, 4, links)
	text := written(t, Text, r)
	for _, row := range []string{"0/1200 0 0 0/1 ≤ 95 %", "7/2400 0 0 1/2 ≤ 97 %"} {
		assert.Regexp(t, "(?m) prestop-sleep +service/new +measured +"+strings.ReplaceAll(regexp.QuoteMeta(row), " ", " +")+"$", text)
	}
	junit := written(t, JUnit, r)
	for _, name := range names {
		assert.Equal(t, 1, strings.Count(junit, `name="`+name+`"`), name)
	}
	assert.Equal(t, "ingress", NewFile(r).Runs[2].ConsumerGroup)
}

// TestCleanWith: only a delay that all longer ones confirm.
func TestCleanWith(t *testing.T) {
	at := func(delay float64, dropping int) FileConsumerStrategy {
		return FileConsumerStrategy{DelaySeconds: delay, Dropping: dropping, Rollouts: 3}
	}
	single, control := at(15, 3), at(15, 3)
	single.SingleReplica, control.Control = true, true
	tests := []struct {
		name       string
		strategies []FileConsumerStrategy
		want       string
	}{
		{"no delay was run", []FileConsumerStrategy{at(0, 3), single, control}, None},
		{"the shortest", []FileConsumerStrategy{at(30, 0), at(15, 0), at(2, 1), single}, "15s 0/3 ≤ 63 %"},
		{"two strategies of one delay", []FileConsumerStrategy{at(15, 0), at(15, 0)}, "15s 0/6 ≤ 39 %"},
		{"one of which dropped some", []FileConsumerStrategy{at(15, 0), at(15, 1), at(30, 0)}, "30s 0/3 ≤ 63 %"},
		{"a shorter one by luck", []FileConsumerStrategy{at(15, 0), at(30, 1)}, "none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, FileConsumer{Strategies: tt.strategies}.cleanWith(true))
		})
	}
}

// TestConsumersOnAScreen: a row for each consumer of the whole profile, and what was found.
func TestConsumersOnAScreen(t *testing.T) {
	var runs []verdict.Verdict
	for i := range 24 {
		name := fmt.Sprintf("consumer-with-a-name-%02d", i)
		for j, strategy := range []string{"shutdown-at-once", "prestop-sleep", "single-replica-prestop-sleep"} {
			for _, mode := range []string{"iptables", "nftables"}[:1+i/16] {
				dropped := []causes{{timeline.Refused: 10 + i}, nil, {timeline.HTTP5xx: 300}}[j]
				runs = append(runs, grouped("many", mode, strategy, "pod-deletion", brings(name+"/new", dropped, 20*second, nil)))
			}
		}
	}
	r := suite(runs...)
	r.Profile = ConsumersProfile
	out := summarized(t, r)
	assert.LessOrEqual(t, strings.Count(out, "\n"), SummaryLines)
	assert.Equal(t, 24, strings.Count(out, "\nconsumer-with-a-name-"))
	assert.Contains(t, out, "… and 8 rows of kube-proxy in other modes: see report.txt")
	assert.Contains(t, out, "dropped by")
}

func TestConsumersWithoutAny(t *testing.T) {
	r := suite(doubt(grouped("ingress", "iptables", "prestop-sleep", "rolling-update"), "Traefik is not ready"))
	for _, f := range Formats() {
		assert.NotEmpty(t, written(t, f.Write, r), f.File)
	}
	assert.NotContains(t, written(t, JSON, r), `"consumers"`)
	assert.Empty(t, verdict.Consumers(r.Suite.Runs))
}
