package scenarios

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/fixtures"
)

func (f *fakeApp) WorkerNodes(context.Context) ([]string, error) {
	return []string{"x", "y"}, f.do("nodes")
}

func (f *fakeApp) RestartKubelet(_ context.Context, node string) error {
	return f.do("kubelet " + node)
}
func (f *fakeApp) RollKubeProxy(context.Context) error { return f.do("kube-proxy") }
func (f *fakeApp) RollCoreDNS(context.Context) error   { return f.do("coredns") }

func (f *fakeApp) RollComponent(_ context.Context, name string) error { return f.do("roll " + name) }

// TestSystem: what each does, that no Pod of the app is touched, that late effects are waited for, and that each is only
// for a cluster of zerodrop's own, which is said to be whole again afterwards.
func TestSystem(t *testing.T) {
	tests := []struct {
		name      string
		want      []string
		consumers []string
	}{
		{"kubelet-restart", []string{"nodes", "kubelet x", "ready", "kubelet y", "ready"}, nil},
		{"kube-proxy-restart", []string{"kube-proxy"}, nil},
		{"coredns-rolled", []string{"coredns"}, []string{"dns", "dns-cached"}},
		{"ingress-rolled", []string{"roll traefik"}, []string{"gateway", "ingress"}},
	}
	require.Len(t, systemRestarts(), len(tests))
	for i, d := range systemRestarts() {
		t.Run(tests[i].name, func(t *testing.T) {
			require.Equal(t, tests[i].name, d.Name)
			require.NoError(t, d.validate())
			require.ErrorIs(t, d.Allowed(false), ErrNotOurs)
			require.ErrorContains(t, d.Allowed(false), "to the cluster")
			assert.Equal(t, ScopeNone, d.Scope)
			assert.Equal(t, tests[i].consumers, d.Consumers)
			synctest.Test(t, func(t *testing.T) {
				app := &fakeApp{}
				require.NoError(t, d.Run(t.Context(), app))
				assert.Equal(t, tests[i].want, app.did)
				for _, step := range app.did {
					require.ErrorIs(t, d.Run(t.Context(), &fakeApp{fail: step}), errFake, "a failure of %q is told", step)
				}
				began := time.Now()
				app.did = nil
				require.NoError(t, d.Over(t.Context(), app))
				assert.Equal(t, settles, time.Since(began))
				require.NoError(t, d.Undo(t.Context(), app))
				assert.Equal(t, []string{"ready", "restore nodes"}, app.did)
			})
		})
	}
}

// TestHeldToSystem: what a program of the cluster drops is no strategy's fault, and the reference, which doesn't go
// through it, has no excuse.
func TestHeldToSystem(t *testing.T) {
	tests := []struct {
		disruption string
		lane       string
		class      Class
		want       Expect
	}{
		{"kubelet-restart", "service/slow", ClassInFlight, Clean},
		{"kubelet-restart", "dns/new", ClassNew, Clean},
		{"kube-proxy-restart", "service/new", ClassNew, Clean},
		{"coredns-rolled", "service/new", ClassNew, Clean},
		{"coredns-rolled", "dns/new", ClassNew, Measured},
		{"coredns-rolled", "dns/reused", ClassKeptAlive, Measured},
		{"ingress-rolled", "service/slow", ClassInFlight, Clean},
		{"ingress-rolled", "dns/new", ClassNew, Clean},
	}
	for _, tt := range tests {
		t.Run(tt.disruption+" "+tt.lane, func(t *testing.T) {
			s, err := catalogue(t).Find("no-handler", tt.disruption, DefaultRate)
			require.NoError(t, err)
			assert.False(t, s.Control)
			only, err := s.Only([]string{tt.lane})
			require.NoError(t, err)
			p := s.HeldTo(only.Lanes[0], tt.class, time.Second)
			assert.Equal(t, tt.want, p.Expect)
			assert.Contains(t, p.Source, "disruption "+tt.disruption)
		})
	}
}

// TestConcerns: of a disruption that is about consumers, those that depend on what it rolls, and no others.
func TestConcerns(t *testing.T) {
	tests := []struct {
		disruption string
		consumers  []string
		want       bool
	}{
		{"coredns-rolled", []string{"dns", "dns-cached", "dns-grpc", "haproxy-dns", "nginx-dns", "xds"}, true},
		{"coredns-rolled", []string{"service", "nodeport", "ingress", "gateway", "kuberesolver", "lb-azure"}, false},
		{"ingress-rolled", []string{"ingress", "ingress-h2", "gateway"}, true},
		{"ingress-rolled", []string{"service", "nodeport", "dns", "haproxy-dns"}, false},
	}
	c := catalogue(t)
	for _, tt := range tests {
		i := slices.IndexFunc(systemRestarts(), func(d Disruption) bool { return d.Name == tt.disruption })
		d := systemRestarts()[i]
		for _, name := range tt.consumers {
			require.Contains(t, c.consumers, name)
			l := Lane{Consumer: c.consumers[name]}
			assert.Equal(t, tt.want, d.breaks(l, ClassNew), "%s: %s", tt.disruption, name)
		}
	}
}

// TestSelectConsumersOfDisruptions: a disruption that is about some consumers is run in groups of these alone, unless
// others are asked for.
func TestSelectConsumersOfDisruptions(t *testing.T) {
	prestop := []string{"prestop-sleep"}
	tests := []struct {
		name string
		sel  Selection
		want []string
		last []string // lanes of the last one
		err  string
	}{
		{
			"by its name, in any profile",
			Selection{Profile: "quick", Strategies: prestop, Disruptions: []string{"ingress-rolled"}},
			[]string{
				"gateway/no-handler/none", "gateway/prestop-sleep/ingress-rolled",
				"ingress/no-handler/none", "ingress/prestop-sleep/ingress-rolled",
			},
			[]string{"service/new", "ingress/new", "ingress/reused", "ingress/replayable", "ingress/slow"},
			"",
		},
		{
			"beside others",
			Selection{Profile: "quick", Strategies: prestop, Disruptions: []string{"coredns-rolled", "pod-deletion"}},
			[]string{"no-handler/none", "prestop-sleep/pod-deletion", "prestop-sleep/coredns-rolled"},
			[]string{"service/new", "dns/new", "dns/reused", "dns-cached/new"},
			"",
		},
		{
			"no other group runs it",
			Selection{Profile: "consumers", Strategies: prestop, Disruptions: []string{"coredns-rolled"}, OneProxy: true},
			[]string{"no-handler/none", "prestop-sleep/coredns-rolled"},
			nil, "",
		},
		{
			"consumers that are asked for",
			Selection{Profile: "quick", Strategies: prestop, Disruptions: []string{"coredns-rolled"}, Consumers: []string{"haproxy-dns"}},
			[]string{"dns-programs/no-handler/none", "dns-programs/prestop-sleep/coredns-rolled"},
			[]string{"service/new", "haproxy-dns/new", "haproxy-dns/reused"},
			"",
		},
		{
			"lanes that are asked for",
			Selection{Profile: "quick", Strategies: prestop, Disruptions: []string{"coredns-rolled"}, Lanes: []string{"service/new"}},
			[]string{"no-handler/none", "prestop-sleep/coredns-rolled"},
			[]string{"service/new"},
			"",
		},
		{
			"the groups that have the component",
			Selection{Profile: "quick", Strategies: prestop, Disruptions: []string{"ingress-rolled"}, Consumers: []string{"nodeport", "ingress-h2"}},
			[]string{"http2/no-handler/none", "http2/prestop-sleep/ingress-rolled"},
			[]string{"service/new", "ingress-h2/h2", "ingress-h2/h2-get"},
			"",
		},
		{
			"consumers without the component",
			Selection{Profile: "quick", Strategies: prestop, Disruptions: []string{"ingress-rolled"}, Consumers: []string{"nodeport"}},
			nil, nil, "disruption ingress-rolled: it rolls component traefik, which no consumer that was asked for needs: want one of gateway, ingress",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list, err := catalogue(t).Select(tt.sel)
			if tt.err != "" {
				require.EqualError(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, paths(list))
			if tt.last != nil {
				assert.Equal(t, tt.last, laneNames(list[len(list)-1].Lanes))
			}
		})
	}
}

// TestNotRunWithoutComponent: what a profile has, and the consumers that are asked for don't, is not run, with the reason.
func TestNotRunWithoutComponent(t *testing.T) {
	sel := Selection{Profile: "disruptions", Lanes: []string{"service/new"}}
	list, err := catalogue(t).Select(sel)
	require.NoError(t, err)
	assert.NotContains(t, names(list), "prestop-sleep/ingress-rolled")
	assert.Contains(t, names(list), "prestop-sleep/coredns-rolled")
	notRun, err := catalogue(t).NotRun(sel)
	require.NoError(t, err)
	assert.Equal(t, []NotRun{{"prestop-sleep", "ingress-rolled", "it rolls component traefik, which no consumer that was asked for needs"}}, notRun)
}

// TestComponentsOfDisruptions: what is rolled is what its consumers need, and its patch fits.
func TestComponentsOfDisruptions(t *testing.T) {
	components, err := fixtures.Components("n")
	require.NoError(t, err)
	for _, d := range Disruptions() {
		if d.Component == "" {
			continue
		}
		require.Contains(t, components, d.Component, d.Name)
		for _, name := range d.Consumers {
			assert.Equal(t, d.Component, catalogue(t).consumers[name].Component, name)
		}
		_, err := fixtures.Strategy{}.Patched(d.ComponentPatch)
		require.NoError(t, err, "no field that a Deployment doesn't have")
	}
}
