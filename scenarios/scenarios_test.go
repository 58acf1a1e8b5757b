package scenarios

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/fixtures"
)

func catalogue(t *testing.T) Catalogue {
	t.Helper()
	c, err := NewCatalogue()
	require.NoError(t, err)
	return c
}

func names(list []Scenario) []string {
	var out []string
	for _, s := range list {
		out = append(out, s.Name())
	}
	return out
}

func laneNames(lanes []Lane) []string {
	var out []string
	for _, l := range lanes {
		out = append(out, l.Name())
	}
	return out
}

func TestQuickProfile(t *testing.T) {
	list, err := catalogue(t).Select(Selection{Profile: "quick", Rate: DefaultRate})
	require.NoError(t, err)
	assert.Equal(t, []string{
		"no-handler/none",
		"no-handler/rolling-update", "no-handler/pod-deletion",
		"shutdown-at-once/rolling-update", "shutdown-at-once/pod-deletion",
		"in-app-delay/rolling-update", "in-app-delay/pod-deletion",
		"prestop-exec-sleep/rolling-update", "prestop-exec-sleep/pod-deletion",
		"prestop-sleep/rolling-update", "prestop-sleep/pod-deletion",
	}, names(list))
	for _, s := range list {
		assert.Equal(t, s.Strategy.Name == "no-handler", s.Control, s.Name())
		assert.Empty(t, s.SameAs, s.Name())
	}
}

func TestFullProfileHasEveryStrategy(t *testing.T) {
	c := catalogue(t)
	list, err := c.Select(Selection{Profile: "full", Rate: DefaultRate})
	require.NoError(t, err)
	want := 0
	for _, s := range c.strategies {
		if !s.LongWork {
			want++
		}
	}
	assert.Len(t, list, 1+2*want)
}

func TestEveryProfileIsValid(t *testing.T) {
	for _, p := range Profiles() {
		list, err := catalogue(t).Select(Selection{Profile: p.Name, Rate: DefaultRate, Night: night(1)})
		require.NoError(t, err, p.Name)
		assert.NotEmpty(t, list, p.Name)
		assert.NotEmpty(t, p.Summary, p.Name)
	}
}

// TestSelect: what is asked for goes before what the profile has. The undisturbed control always
// runs, with its own delay and the selection's lanes.
func TestSelect(t *testing.T) {
	tests := []struct {
		name  string
		sel   Selection
		err   string
		lanes []string // nil: all
		want  []string
	}{
		{
			"strategies",
			Selection{Profile: "smoke", Strategies: []string{"prestop-http"}},
			"", nil,
			[]string{"no-handler/none", "prestop-http/rolling-update"},
		},
		{
			"disruptions",
			Selection{Profile: "smoke", Disruptions: []string{"pod-deletion"}},
			"", nil,
			[]string{"no-handler/none", "no-handler/pod-deletion", "prestop-sleep/pod-deletion"},
		},
		{
			"a delay",
			Selection{Profile: "smoke", Strategies: []string{"prestop-sleep"}, Delay: 2 * time.Second},
			"", nil,
			[]string{"no-handler/none", "prestop-sleep@2s/rolling-update"},
		},
		{
			"lanes",
			Selection{Profile: "smoke", Lanes: []string{"nodeport/new", "service/slow"}},
			"",
			[]string{"service/slow", "nodeport/new"},
			[]string{"no-handler/none", "no-handler/rolling-update", "prestop-sleep/rolling-update"},
		},
		{
			"A/A",
			Selection{Profile: "aa"},
			"", nil,
			[]string{"no-handler/none", "shutdown-at-once/rolling-update", "shutdown-at-once+again/rolling-update"},
		},
		{
			"A/A at a delay",
			Selection{Profile: "aa", Strategies: []string{"prestop-sleep"}, Delay: 2 * time.Second},
			"", nil,
			[]string{"no-handler/none", "prestop-sleep@2s/rolling-update", "prestop-sleep@2s+again/rolling-update"},
		},
		{"unknown profile", Selection{Profile: "qick"}, `unknown profile "qick": want one of quick, full, smoke, aa, consumers`, nil, nil},
		{"unknown strategy", Selection{Profile: "quick", Strategies: []string{"prestop"}}, `unknown strategy "prestop"`, nil, nil},
		{"a name is no delay", Selection{Profile: "quick", Strategies: []string{"prestop-sleep@2s"}}, "unknown strategy", nil, nil},
		{"a name is no A/A", Selection{Profile: "quick", Strategies: []string{"prestop-sleep+again"}}, "unknown strategy", nil, nil},
		{"unknown disruption", Selection{Profile: "quick", Disruptions: []string{"flood"}}, `unknown disruption "flood"`, nil, nil},
		{"unknown lane", Selection{Profile: "smoke", Lanes: []string{"service/nw"}}, `unknown lane "service/nw"`, nil, nil},
		{"a delay of none", Selection{Profile: "smoke", Delay: time.Second}, "strategy no-handler: has no delay", nil, nil},
		{"no rate", Selection{Profile: "smoke", Rate: -1}, "has a rate of -1 requests/s", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.sel.Rate = cmp.Or(tt.sel.Rate, DefaultRate)
			list, err := catalogue(t).Select(tt.sel)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, names(list))
			for _, s := range list {
				require.NoError(t, s.Validate())
				if tt.lanes != nil {
					assert.Equal(t, tt.lanes, laneNames(s.Lanes))
				}
				own, again := strings.CutSuffix(s.Strategy.Name, "+again")
				assert.Equal(t, again, s.SameAs != "")
				if again {
					assert.Equal(t, own, s.SameAs)
				}
				if strings.Contains(s.Name(), "@2s") {
					assert.Equal(t, 2*time.Second, s.Strategy.ServesFor())
				}
			}
		})
	}
}

// TestSameAs: another name, and the same in all else.
func TestSameAs(t *testing.T) {
	list, err := catalogue(t).Select(Selection{Profile: "aa", Strategies: []string{"no-handler"}, Rate: DefaultRate})
	require.NoError(t, err)
	require.Len(t, list, 3)
	own, again := list[1], list[2]
	assert.Equal(t, own.Strategy.Name, again.SameAs)
	assert.True(t, again.Control)
	again.Strategy.Name = own.Strategy.Name
	assert.Equal(t, own.Strategy, again.Strategy)
	assert.Equal(t, own.Lanes, again.Lanes)
}

func TestUnknownNames(t *testing.T) {
	c := catalogue(t)
	_, err := c.Find("prestop", "rolling-update", DefaultRate)
	require.ErrorContains(t, err, `unknown strategy "prestop"`)
	require.ErrorContains(t, err, "prestop-sleep")
	_, err = c.Find("prestop-sleep", "reboot", DefaultRate)
	require.ErrorContains(t, err, `unknown disruption "reboot": want one of none, rolling-update, pod-deletion`)
	_, err = c.Find("prestop-sleep", "rolling-update", 0)
	require.ErrorContains(t, err, "has a rate of 0 requests/s")
	c.consumers = map[string]fixtures.Consumer{"a": {Name: "a", Loads: []string{"nw"}}}
	_, err = c.Lanes(DefaultRate)
	require.ErrorContains(t, err, `consumer a: unknown load "nw": want one of new, reused, replayable, slow`)
}

// TestLanes: those within the cluster come first, of those the reference, and none is faster than
// its consumer bears.
func TestLanes(t *testing.T) {
	tests := []struct {
		name string
		rate int
		dns  int // the rate of its lanes
	}{
		{"usual", DefaultRate, 25},
		{"slower than the consumer bears", 10, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lanes, err := catalogue(t).Lanes(tt.rate)
			require.NoError(t, err)
			names := laneNames(lanes)
			assert.Equal(t, []string{"service/new", "service/reused", "service/replayable", "service/slow"}, names[:4],
				"the reference comes first")
			assert.Subset(t, names, []string{"dns/new", "dns/reused", "dns-cached/new", "nodeport/slow"})
			for _, l := range lanes {
				want := tt.rate
				if l.Consumer.MaxRate > 0 {
					want = tt.dns
				}
				assert.Equal(t, want, l.Load.Rate, l.Name())
				require.NoError(t, l.Load.Validate(), l.Name())
			}
		})
	}
}

// TestBlindLoadIsRefused: whatever http.Transport would send again on a dead connection hides that
// it was dropped.
func TestBlindLoadIsRefused(t *testing.T) {
	for _, method := range []string{"", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace} {
		l := Reused(DefaultRate)
		l.Method = method
		require.ErrorIs(t, l.Validate(), errBlind, "method %q", method)
		l.Replayable = true
		require.NoError(t, l.Validate(), "method %q of a load that says so", method)
	}
}

func TestBadLoads(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Load)
		want   string
	}{
		{"no name", func(l *Load) { l.Name = "" }, "has no name"},
		{"no driver", func(l *Load) { l.Driver = "" }, "has no driver"},
		{"no class", func(l *Load) { l.Class = "" }, `has unknown class ""`},
		{"unknown class", func(l *Load) { l.Class = "reused" }, `has unknown class "reused"`},
		{"rate of zero", func(l *Load) { l.Rate = 0 }, "want 1 to 1000"},
		{"negative rate", func(l *Load) { l.Rate = -1 }, "want 1 to 1000"},
		{"rate above the timer grain", func(l *Load) { l.Rate = 1001 }, "want 1 to 1000"},
		{"no timeout", func(l *Load) { l.Timeout = 0 }, "has a timeout of 0s"},
		{"endless timeout", func(l *Load) { l.Timeout = time.Hour }, "has a timeout of 1h0m0s"},
		{"work as long as the timeout", func(l *Load) { l.Work = l.Timeout }, "every request would time out"},
		{"negative work", func(l *Load) { l.Work = -1 }, "every request would time out"},
		{"unknown connections", func(l *Load) { l.Connections = "some" }, "unknown connections"},
		{"reused without any", func(l *Load) { *l = Reused(1); l.Clients = 0 }, "has none"},
		{"replayable without any", func(l *Load) { *l = Replayable(1); l.Clients = 0 }, "has none"},
		{"replayable on new connections", func(l *Load) { l.Replayable = true }, "nothing is ever sent again on a new"},
		{
			"replayable and never sent again", func(l *Load) { *l = Replayable(1); l.Method = http.MethodPost },
			`replayable with method "POST", which nothing sends again`,
		},
		{"HTTP/2 on new connections", func(l *Load) { l.Driver = H2 }, `has driver "h2", which keeps its connections`},
		{"HTTP/2 that may be sent again", func(l *Load) { *l = ReusedH2(1); l.Method = http.MethodGet }, errBlind.Error()},
		{"gRPC with a method", func(l *Load) { *l = Unary(1); l.Method = http.MethodPost }, "has no methods"},
		{"held by another driver", func(l *Load) { *l = Sockets(1); l.Driver = HTTP }, `has driver "http", which holds no connections`},
		{"held by nobody", func(l *Load) { *l = Events(1); l.Clients = 0 }, "has 0 clients: want 1 to 1000"},
		{"held by too many", func(l *Load) { *l = Events(1); l.Clients = 1001 }, "has 1001 clients"},
		{"held by who never comes back", func(l *Load) { *l = Sockets(1); l.Reconnect = "" }, `has clients that come back "": want immediately or backoff`},
		{"held for no time", func(l *Load) { *l = Sockets(1); l.Stays.Max = 0 }, "has clients that stay for 5s to 0s"},
		{"messages that are sent again", func(l *Load) { *l = Sockets(1); l.Replayable = true }, "are not sent again"},
		{"held and new", func(l *Load) { *l = Sockets(1); l.Class = ClassNew }, `has class "new" and connections "held"`},
		{"new and held", func(l *Load) { l.Class = ClassHeld }, `has class "held" and connections "new"`},
		{"gRPC that isn't sent again", func(l *Load) { *l = Unary(1); l.Replayable = false }, "want Replayable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := New(DefaultRate)
			tt.change(&l)
			require.ErrorContains(t, l.Validate(), tt.want)
		})
	}
}

func TestClasses(t *testing.T) {
	tests := []struct {
		name string
		load Load
		want []Class
	}{
		{"new", New(1), []Class{ClassNew, ClassInFlight}},
		{"reused", Reused(1), []Class{ClassKeptAlive, ClassInFlight}},
		{"replayable", Replayable(1), []Class{ClassKeptAlive, ClassInFlight}},
		{"slow", Slow(1), []Class{ClassNew, ClassInFlight}},
		{"gRPC", Unary(1), []Class{ClassKeptAlive, ClassInFlight}},
		{"held", Sockets(1), []Class{ClassHeld, ClassInFlight}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, tt.load.Classes()) })
	}
}

func TestBadScenarios(t *testing.T) {
	require.ErrorContains(t, Scenario{}.Validate(), "has no strategy")
	require.ErrorContains(t, Scenario{}.Validate(), "has no disruption")
	require.ErrorContains(t, Scenario{}.Validate(), "has no lanes")
	s, err := catalogue(t).Find("prestop-sleep", "rolling-update", DefaultRate)
	require.NoError(t, err)
	s.Lanes = append(s.Lanes, s.Lanes[0])
	require.ErrorContains(t, s.Validate(), "has lane service/new twice")
	s.Disruption.Scope = "most"
	require.ErrorContains(t, s.Validate(), `disruption rolling-update has unknown scope "most"`)
	s.Strategy = fixtures.Strategy{Name: "mine", Expect: map[string]string{"new": "sometimes", "in-flight": "clean"}}
	require.ErrorContains(t, s.Validate(), `strategy mine: unknown expectation "sometimes" of class new: want clean, drops or measured`)
	require.ErrorContains(t, s.Validate(), "strategy mine expects nothing of class kept-alive")
	require.ErrorContains(t, validateStrategy(fixtures.Strategy{Name: "mine", Expect: map[string]string{"slow": "clean"}}),
		`strategy mine: unknown class "slow": want one of new, kept-alive, in-flight, held`)
}

func TestInterleave(t *testing.T) {
	a, b := Scenario{Strategy: fixtures.Strategy{Name: "a"}}, Scenario{Strategy: fixtures.Strategy{Name: "b"}}
	var got []string
	for _, r := range Interleave([]Scenario{a, b}, 3) {
		got = append(got, r.Strategy.Name+string(rune('0'+r.Repeat)))
		assert.True(t, r.Series)
	}
	assert.Equal(t, []string{"a1", "b1", "b2", "a2", "a3", "b3"}, got)
	assert.Equal(t, []Run{{Scenario: a, Repeat: 1}}, Interleave([]Scenario{a}, 1), "one is no series")
}

// fakeApp writes down what a disruption does to it.
type fakeApp struct {
	pods []string
	mu   sync.Mutex // some do several things at the same time
	did  []string
	at   []time.Time
	fail string // the verb that fails

	delay time.Duration
	work  func(colour string) map[string]int
}

var errFake = errors.New("fake")

func (f *fakeApp) do(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did, f.at = append(f.did, what), append(f.at, time.Now())
	if what == f.fail {
		return errFake
	}
	return nil
}
func (f *fakeApp) Pods(context.Context) ([]string, error)         { return f.pods, f.do("pods") }
func (f *fakeApp) ChangeTemplate(context.Context) error           { return f.do("change") }
func (f *fakeApp) DeletePod(_ context.Context, name string) error { return f.do("delete " + name) }
func (f *fakeApp) WaitReady(context.Context) error                { return f.do("ready") }

func TestDisruptions(t *testing.T) {
	tests := []struct {
		name string
		want []string
	}{
		{"none", nil},
		{"rolling-update", []string{"change"}},
		{"pod-deletion", []string{"pods", "delete a", "ready", "delete b", "ready"}},
	}
	disruptions := append([]Disruption{Quiet(10 * time.Second)}, replacements()...)
	require.Len(t, disruptions, len(tests))
	for i, d := range disruptions {
		t.Run(tests[i].name, func(t *testing.T) {
			app := &fakeApp{pods: []string{"a", "b"}}
			require.Equal(t, tests[i].name, d.Name)
			require.NoError(t, d.validate())
			require.NoError(t, d.Allowed(false), "none of these reaches beyond its namespace")
			assert.Equal(t, d.Name == "none", d.Scope == ScopeNone)
			if d.Scope == ScopeNone {
				ctx, cancel := context.WithCancelCause(t.Context())
				cancel(errFake)
				require.ErrorIs(t, d.Run(ctx, app), errFake, "the quiet ends with the run")
				return
			}
			require.NoError(t, d.Run(t.Context(), app))
			assert.Equal(t, tests[i].want, app.did)
			for _, step := range app.did {
				require.ErrorIs(t, d.Run(t.Context(), &fakeApp{pods: app.pods, fail: step}), errFake, "a failure of %q is told", step)
			}
		})
	}
	require.NoError(t, keepQuiet(t.Context(), time.Millisecond))
	require.ErrorContains(t, deleteInTurn(t.Context(), &fakeApp{}), "there are none")
}

// TestAllowed: nothing beyond a namespace is touched in a cluster of somebody else.
func TestAllowed(t *testing.T) {
	gate := Needs{FeatureGates: map[string]bool{"A": true}}
	tests := []struct {
		name  string
		reach Reach
		needs Needs
		ours  bool
		want  string
	}{
		{"the namespace, theirs", ReachNamespace, Needs{}, false, ""},
		{"a node, theirs", ReachNode, Needs{}, false, "disruption d reaches beyond the namespace, to the node: is only for a kind cluster"},
		{"the cluster, theirs", ReachCluster, Needs{}, false, "disruption d reaches beyond the namespace, to the cluster: "},
		{"settings, theirs", ReachNamespace, gate, false, "disruption d needs settings of the cluster: "},
		{"patches, theirs", ReachNamespace, Needs{KubeadmPatches: []string{"a: b"}}, false, "needs settings"},
		{"a node, ours", ReachNode, gate, true, ""},
		{"the cluster, ours", ReachCluster, gate, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Disruption{Name: "d", Reach: tt.reach, Needs: tt.needs}.Allowed(tt.ours)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
			assert.ErrorIs(t, err, ErrNotOurs)
		})
	}
}

// TestNeedsKey: equal needs have one key, whatever the order of a map; others have another.
func TestNeedsKey(t *testing.T) {
	gates := func(a, b bool) Needs { return Needs{FeatureGates: map[string]bool{"A": a, "B": b}} }
	patches := func(list ...string) Needs { return Needs{KubeadmPatches: list} }
	assert.Empty(t, Needs{}.Key())
	assert.Empty(t, Needs{FeatureGates: map[string]bool{}}.Key())
	for range 20 {
		assert.Equal(t, "A=true\nB=false", gates(true, false).Key())
	}
	seen := map[string]bool{}
	all := []Needs{{}, gates(true, false), gates(false, true), patches("x"), patches("x", "y"), patches("y", "x")}
	for _, n := range all {
		seen[n.Key()] = true
	}
	assert.Len(t, seen, len(all))
}

func TestOnly(t *testing.T) {
	s, err := catalogue(t).Find("prestop-sleep", "rolling-update", DefaultRate)
	require.NoError(t, err)
	tests := []struct {
		name  string
		lanes []string
		want  []string
		err   string
	}{
		{"one", []string{"service/new"}, []string{"service/new"}, ""},
		{"in the scenario's order", []string{"nodeport/new", "service/slow"}, []string{"service/slow", "nodeport/new"}, ""},
		{"unknown", []string{"service/new", "ingress/new"}, nil, `unknown lane "ingress/new": want one of service/new, `},
		{"none", nil, nil, "no lane is named"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := s.Only(tt.lanes)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, laneNames(got.Lanes))
			assert.Len(t, s.Lanes, 10, "the scenario itself stays as it is")
		})
	}
}

func TestScenarioWithDelay(t *testing.T) {
	s, err := catalogue(t).Find("in-app-delay-close", "rolling-update", DefaultRate)
	require.NoError(t, err)
	got, err := s.WithDelay(1500 * time.Millisecond)
	require.NoError(t, err)
	assert.Equal(t, "in-app-delay-close@1.5s/rolling-update", got.Name())
	assert.Equal(t, 1500*time.Millisecond, got.Strategy.ServesFor())
	assert.Equal(t, "in-app-delay-close/rolling-update", s.Name(), "the scenario itself stays as it is")
	_, err = s.WithDelay(0)
	require.ErrorContains(t, err, "strategy in-app-delay-close: a delay of 0s: want more than 0")
}

func TestControls(t *testing.T) {
	list, err := catalogue(t).Controls("pod-deletion", DefaultRate)
	require.NoError(t, err)
	assert.Equal(t, []string{"no-handler/none", "no-handler/pod-deletion"}, names(list))
	for _, s := range list {
		assert.True(t, s.Control, s.Name())
	}
	_, err = catalogue(t).Controls("flood", DefaultRate)
	require.ErrorContains(t, err, `unknown disruption "flood"`)
}
