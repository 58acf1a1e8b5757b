package scenarios

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/http"
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

func TestQuickProfile(t *testing.T) {
	list, err := catalogue(t).Profile("quick", DefaultRate)
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
	}
}

func TestFullProfileHasEveryStrategy(t *testing.T) {
	c := catalogue(t)
	list, err := c.Profile("full", DefaultRate)
	require.NoError(t, err)
	assert.Len(t, list, 1+2*len(c.strategies))
}

func TestEveryProfileIsValid(t *testing.T) {
	for _, p := range Profiles() {
		list, err := catalogue(t).Profile(p.Name, DefaultRate)
		require.NoError(t, err, p.Name)
		assert.NotEmpty(t, list, p.Name)
		assert.NotEmpty(t, p.Summary, p.Name)
	}
}

func TestUnknownNames(t *testing.T) {
	c := catalogue(t)
	_, err := c.Profile("qick", DefaultRate)
	require.ErrorContains(t, err, `unknown profile "qick": want one of quick, full, nightly, smoke`)
	_, err = c.Find("prestop", "rolling-update", DefaultRate)
	require.ErrorContains(t, err, `unknown strategy "prestop"`)
	require.ErrorContains(t, err, "prestop-sleep")
	_, err = c.Find("prestop-sleep", "reboot", DefaultRate)
	require.ErrorContains(t, err, `unknown disruption "reboot"`)
	_, err = c.Profile("quick", 0)
	require.ErrorContains(t, err, "has a rate of 0 requests/s")
}

func TestExpectationsOfTheControls(t *testing.T) {
	c := catalogue(t)
	none, err := c.Find("no-handler", "none", DefaultRate)
	require.NoError(t, err)
	for _, l := range none.Lanes {
		e, err := none.Expect(l.Load.Name)
		require.NoError(t, err)
		assert.Equal(t, Clean, e, "undisturbed, nothing may be lost on %s", l.Name())
	}
	rolling, err := c.Find("no-handler", "rolling-update", DefaultRate)
	require.NoError(t, err)
	e, err := rolling.Expect("slow")
	require.NoError(t, err)
	assert.Equal(t, Drops, e)
	_, err = rolling.Expect("upside-down")
	require.ErrorContains(t, err, "expects nothing of load upside-down")
}

func TestExpect(t *testing.T) {
	tests := []struct {
		name    string
		expect  Expect
		dropped int
		want    bool
	}{
		{"clean and nothing lost", Clean, 0, true},
		{"clean and one lost", Clean, 1, false},
		{"drops and nothing lost", Drops, 0, false},
		{"drops and one lost", Drops, 1, true},
		{"measured and nothing lost", Measured, 0, true},
		{"measured and all lost", Measured, math.MaxInt, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { assert.Equal(t, tt.want, tt.expect.Allows(tt.dropped)) })
	}
	assert.Equal(t, "2..3", Expect{2, 3}.String())
	for _, e := range []Expect{Clean, Drops, Measured} {
		got, err := ParseExpect(e.String())
		require.NoError(t, err)
		assert.Equal(t, e, got)
	}
	_, err := ParseExpect("cleen")
	require.ErrorContains(t, err, `unknown expectation "cleen"`)
}

// TestBlindLoadIsRefused: whatever http.Transport would send again on a dead connection hides the loss of it.
func TestBlindLoadIsRefused(t *testing.T) {
	for _, method := range []string{"", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace} {
		l := Reused(DefaultRate)
		l.Method = method
		require.ErrorIs(t, l.Validate(), errBlind, "method %q", method)
		l.Replayable = true
		require.NoError(t, l.Validate(), "method %q of a load that says so", method)
	}
	for _, lane := range catalogue(t).Lanes(DefaultRate) {
		require.NoError(t, lane.Load.Validate(), lane.Name())
	}
}

func TestBadLoads(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Load)
		want   string
	}{
		{"no name", func(l *Load) { l.Name = "" }, "has no name"},
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
		{"replayable on new connections", func(l *Load) { l.Replayable = true }, "nothing is ever sent again on a new connection"},
		{"replayable and never sent again", func(l *Load) { *l = Replayable(1); l.Method = http.MethodPost }, `replayable with method "POST", which nothing sends again`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := New(DefaultRate)
			tt.change(&l)
			require.ErrorContains(t, l.Validate(), tt.want)
		})
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
	s.Strategy = fixtures.Strategy{Name: "mine", Expect: map[string]string{"new": "sometimes", "reused": "clean", "slow": "clean"}}
	require.ErrorContains(t, s.Validate(), `unknown expectation "sometimes"`)
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
	did  []string
	fail string // the verb that fails
}

var errFake = errors.New("fake")

func (f *fakeApp) do(what string) error {
	f.did = append(f.did, what)
	if what == f.fail {
		return errFake
	}
	return nil
}
func (f *fakeApp) Pods(context.Context) ([]string, error)         { return f.pods, f.do("pods") }
func (f *fakeApp) Restart(context.Context) error                  { return f.do("restart") }
func (f *fakeApp) DeletePod(_ context.Context, name string) error { return f.do("delete " + name) }
func (f *fakeApp) WaitReady(context.Context) error                { return f.do("ready") }

func TestDisruptions(t *testing.T) {
	tests := []struct {
		name string
		want []string
	}{
		{"none", nil},
		{"rolling-update", []string{"restart"}},
		{"pod-deletion", []string{"pods", "delete a", "ready", "delete b", "ready"}},
	}
	require.Len(t, Disruptions(), len(tests))
	for i, d := range Disruptions() {
		t.Run(tests[i].name, func(t *testing.T) {
			app := &fakeApp{pods: []string{"a", "b"}}
			require.Equal(t, tests[i].name, d.Name)
			if !d.Replaces {
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

func TestSummaries(t *testing.T) {
	assert.Contains(t, catalogue(t).Summaries()["prestop-sleep"], "preStop")
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
			var names []string
			for _, l := range got.Lanes {
				names = append(names, l.Name())
			}
			assert.Equal(t, tt.want, names)
			assert.Len(t, s.Lanes, 7, "the scenario itself stays as it is")
		})
	}
}

// TestTwin: another name, and the same in all else.
func TestTwin(t *testing.T) {
	c := catalogue(t)
	for _, name := range []string{"shutdown-at-once", "no-handler"} {
		s, err := c.Find(name, "rolling-update", DefaultRate)
		require.NoError(t, err)
		twin, err := c.Find(name+TwinSuffix, "rolling-update", DefaultRate)
		require.NoError(t, err)
		assert.Equal(t, name+"+twin/rolling-update", twin.Name())
		assert.Equal(t, name == "no-handler", twin.Control)
		twin.Strategy.Name = name
		assert.Equal(t, s.Strategy, twin.Strategy)
		assert.Equal(t, s.Lanes, twin.Lanes)
	}
	_, err := c.Find("prestop"+TwinSuffix, "rolling-update", DefaultRate)
	require.ErrorContains(t, err, `unknown strategy "prestop+twin"`)
	list, err := c.Profile("aa", DefaultRate)
	require.NoError(t, err)
	assert.Equal(t, []string{"no-handler/none", "shutdown-at-once/rolling-update", "shutdown-at-once+twin/rolling-update"}, names(list))
}

// TestStrategyNames: what a name says beyond the strategy's own is what a stored run is judged by, too.
func TestStrategyNames(t *testing.T) {
	tests := []struct {
		name   string
		delay  time.Duration
		expect string // of the load reused
		err    string
		want   string // its name then; empty for the same
	}{
		{name: "in-app-delay-close", delay: 15 * time.Second, expect: "clean"},
		{name: "in-app-delay-close@1.5s", delay: 1500 * time.Millisecond, expect: "measured"},
		{name: "in-app-delay-close@1500ms", delay: 1500 * time.Millisecond, expect: "measured", want: "in-app-delay-close@1.5s"},
		{name: "in-app-delay-close@500ms+measured", delay: 500 * time.Millisecond, expect: "measured"},
		{name: "in-app-delay-close@500ms+measured+twin", delay: 500 * time.Millisecond, expect: "measured"},
		{name: "in-app-delay-close@20s+twin", delay: 20 * time.Second, expect: "clean"},
		{name: "prestop-sleep@2s", delay: 2 * time.Second, expect: "measured"},
		{name: "prestop-sleep@1.5s", err: "strategy prestop-sleep: a delay of 1.5s: the kubelet's sleep action takes whole seconds"},
		{name: "in-app-delay-close@", err: `strategy in-app-delay-close@: want a delay such as 1.5s behind @: time: invalid duration ""`},
		{name: "in-app-delay-close@2", err: `want a delay such as 1.5s behind @: time: missing unit`},
		{name: "in-app-delay-close@0s", err: "a delay of 0s: want more than 0"},
		{name: "shutdown-at-once@2s", err: "strategy shutdown-at-once: has no delay"},
		{name: "prestop-nap@2s", err: `unknown strategy "prestop-nap@2s": want one of `},
		{name: "in-app-delay+twin@2s", err: `unknown strategy "in-app-delay+twin@2s": want one of `},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := catalogue(t).Find(tt.name, "rolling-update", DefaultRate)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, cmp.Or(tt.want, tt.name)+"/rolling-update", got.Name())
			assert.False(t, got.Control)
			delay, err := got.Strategy.Delay()
			require.NoError(t, err)
			assert.Equal(t, tt.delay, delay)
			expect, err := got.Expect("reused")
			require.NoError(t, err)
			assert.Equal(t, tt.expect, expect.String())
		})
	}
	measured, err := catalogue(t).Find("no-handler+measured", "rolling-update", DefaultRate)
	require.NoError(t, err)
	assert.False(t, measured.Control, "nothing is known of it beforehand")
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
