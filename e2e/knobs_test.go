package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/suite"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// knob is a period by which consumers wait before they act on a change of endpoints.
type knob struct {
	name   string
	groups []string      // of consumers that are measured at its usual value, and at another
	by     time.Duration // the longest that a reader's wait may grow by
	delay  time.Duration // of the Pods: traffic ends well before
	single bool          // one replica: only a node that loses its last Pod is taken out by who probes nodes
	reads  func(fixtures.Consumer) bool
	args   map[string][]string // of components
	env    map[string][]string
	change func(*scenarios.Scenario) // of what it is set in
}

func knobs() []knob {
	named := func(names ...string) func(fixtures.Consumer) bool {
		return func(c fixtures.Consumer) bool { return slices.Contains(names, c.Name) }
	}
	batch := func(what string, period time.Duration) func(*scenarios.Scenario) {
		return func(s *scenarios.Scenario) {
			// A merge patch replaces the list: what kind has in it comes again.
			s.Disruption.Needs.KubeadmPatches = []string{fmt.Sprintf(`apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
controllerManager:
  extraArgs:
  - {name: enable-hostpath-provisioner, value: "true"}
  - {name: %s-updates-batch-period, value: %s}
`, what, period)}
		}
	}
	const sec = time.Second
	return []knob{
		{
			name: "traefik-throttle", groups: []string{"ingress", "gateway"}, by: 8 * sec, delay: 25 * sec,
			reads: named("ingress", "ingress-retry", "gateway"), // nativeLB leaves the choice to kube-proxy
			args:  map[string][]string{"traefik": {"--providers.providersThrottleDuration=10s"}},
		},
		{
			name: "load-balancer-interval", groups: []string{"loadbalancer"}, by: 5 * sec, delay: 45 * sec, single: true,
			reads: named("lb-azure"),
			change: func(s *scenarios.Scenario) {
				annotate(s, "lb-azure", "zerodrop.dev/probe", "interval=5s", "interval=10s")
			},
		},
		{
			name: "istiod-debounce", groups: []string{"grpc"}, by: 5 * sec, delay: 45 * sec, reads: named("xds"),
			env: map[string][]string{"istiod": {"PILOT_DEBOUNCE_AFTER=5s", "PILOT_DEBOUNCE_MAX=10s"}},
		},
		{
			name: "endpointslice-batch", groups: []string{"", "local"}, by: 5 * sec, delay: 25 * sec,
			change: batch("endpointslice", 5*sec),
			// Two ask until a Pod's end, whatever the period: Prometheus scrapes terminating Pods as well, and who
			// keeps an address for 30 s doesn't ask again before.
			reads: func(c fixtures.Consumer) bool {
				return !strings.HasPrefix(c.Name, "prometheus-") && c.Name != "dns-cached"
			},
		},
		{
			name: "endpoints-batch", groups: []string{"local"}, by: 10 * sec, delay: 25 * sec,
			change: batch("endpoint", 10*sec),
			reads:  named("prometheus-endpoints"),
		},
	}
}

// annotate changes a word of an annotation of one consumer, whose objects are others' as well.
func annotate(s *scenarios.Scenario, consumer, key, from, to string) {
	s.Lanes = slices.Clone(s.Lanes)
	for i := range s.Lanes {
		c := &s.Lanes[i].Consumer
		if c.Name != consumer {
			continue
		}
		c.Objects = slices.Clone(c.Objects)
		c.Objects[0] = c.Objects[0].DeepCopy()
		c.Probe.Interval *= 2
		annotations := c.Objects[0].GetAnnotations()
		annotations[key] = strings.Replace(annotations[key], from, to, 1)
		c.Objects[0].SetAnnotations(annotations)
	}
}

// TestKnobs proves that the table of consumers moves with what it measures: a longer period raises
// the last arrivals of exactly the consumers that wait by it. Groups that aren't in the catalogue are
// left out; an image that is missing is infrastructure.
func TestKnobs(t *testing.T) {
	long(t, suite.LongKnobs)
	if shared.Config.Cluster.Kubeconfig != "" {
		t.Skip("the components of a cluster that exists are taken as they are")
	}
	type place struct{ folder, group string }
	measured := map[place]map[string][]time.Duration{} // by consumer: what is usual is measured once for all
	measure := func(t *testing.T, folder, group string, k knob, changed bool) map[string][]time.Duration {
		t.Helper()
		if known, ok := measured[place{folder, group}]; ok {
			return known
		}
		s := shared.With(func(c *suite.Config) {
			c.Out, c.Rate = filepath.Join(c.Out, folder), min(c.Rate, 25) // of about twelve lanes
			if changed {
				c.Cluster.ComponentArgs, c.Cluster.ComponentEnv = k.args, k.env
			}
		})
		scenario, repeats, ok := k.scenario(t, s, group)
		if !ok {
			return nil
		}
		scenario, err := scenario.WithDelay(k.delay)
		require.NoError(t, err)
		if changed && k.change != nil {
			k.change(&scenario)
		}
		out := map[string][]time.Duration{}
		for _, v := range s.Series(t, scenario, repeats, func(run scenarios.Run) (verdict.Verdict, string) {
			return s.Attempt(testContext(t), t, run, run.Repeat, repeats)
		}) {
			require.True(t, v.Conclusive(), "%s: %v", folder, v.Reasons)
			for _, c := range scenario.Consumers() {
				out[c.Name] = append(out[c.Name], lastArrivals(v, c.Name)...)
			}
		}
		measured[place{folder, group}] = out
		return out
	}
	for _, k := range knobs() {
		t.Run(k.name, func(t *testing.T) {
			base := map[string]map[string][]time.Duration{}
			for _, group := range k.groups { // before another cluster takes the place of the usual one
				base[group] = measure(t, fmt.Sprintf("usual-%s-single-%t", k.delay, k.single), group, k, false)
			}
			readers := 0
			for _, group := range k.groups {
				if base[group] == nil {
					t.Logf("group %s is not in the catalogue", group)
					continue
				}
				changed := measure(t, k.name, group, k, true)
				scenario, _, _ := k.scenario(t, shared, group)
				for _, c := range scenario.Consumers() {
					reads := k.reads(c)
					told, err := moved(base[group][c.Name], changed[c.Name], k.least(c), reads)
					t.Logf("%s: reads it: %t: usually %v, changed %v", c.Name, reads, base[group][c.Name], changed[c.Name])
					assert.NoError(t, err, c.Name)
					if reads && told {
						readers++
					}
				}
			}
			if slices.ContainsFunc(k.groups, func(group string) bool { return base[group] != nil }) {
				assert.Positive(t, readers, "nobody who reads %s could be measured", k.name)
			}
		})
	}
}

// scenario is what the knob is tried in, and how often: each Pod that goes gives one last arrival. It
// is false if the catalogue has no such group.
func (k knob) scenario(t *testing.T, s *suite.Suite, group string) (scenario scenarios.Scenario, repeats int, ok bool) {
	t.Helper()
	strategy, disruption, repeats := "in-app-delay-close", "rolling-update", 2
	if k.single {
		strategy, disruption, repeats = "single-replica-prestop-sleep", "pod-deletion", 3
	}
	scenario, ok, err := s.FindIn(group, strategy, disruption)
	require.NoError(t, err)
	return scenario, repeats, ok
}

// lastArrivals are those of a consumer that no Pod's end cut off: on its lanes of new connections, or
// on all if it has none; or as it asked by itself.
func lastArrivals(v verdict.Verdict, consumer string) []time.Duration {
	var fresh, kept, asked []time.Duration
	for _, l := range v.Lanes {
		if l.Consumer != consumer {
			continue
		}
		for _, a := range l.Arrivals {
			switch {
			case a.Censored:
			case l.Reuses():
				kept = append(kept, a.After)
			default:
				fresh = append(fresh, a.After)
			}
		}
	}
	for _, w := range v.Watched {
		if w.Consumer == consumer && !w.Censored {
			asked = append(asked, w.After)
		}
	}
	if len(fresh) > 0 {
		return fresh
	}
	return append(kept, asked...)
}

// least is the rise of the median that tells a reader from others: a quarter of what the wait may
// grow by, as that is anything from none to the whole period, and no less than a consumer's own.
// Prometheus takes what it has discovered every 5 s (discovery.Manager, updatert).
func (k knob) least(c fixtures.Consumer) time.Duration {
	const share, discovered = 4, 5 * time.Second
	if len(c.Loads) == 0 {
		return max(k.by/share, discovered)
	}
	return k.by / share
}

// moved says what is wrong with last arrivals at a period and at one that is longer: the median of who
// waits by it has to rise by so much at least, and nobody else's. Told is false where too few were seen
// to say anything.
func moved(base, changed []time.Duration, least time.Duration, reads bool) (told bool, err error) {
	const fewest = 3
	if len(base) < fewest || len(changed) < fewest {
		return false, nil
	}
	median := func(list []time.Duration) time.Duration {
		return verdict.Percentile(slices.Sorted(slices.Values(list)), 0.5)
	}
	from, to := median(base), median(changed)
	if (to-from >= least) != reads {
		return true, fmt.Errorf("the last arrivals went from %s to %s (medians): who reads the period rises by %s or more, "+
			"and nobody else", from, to, least)
	}
	return true, nil
}

// TestRisesByKnob: exactly the readers move.
func TestRisesByKnob(t *testing.T) {
	const sec = time.Second
	short, long := []time.Duration{sec, sec / 2, 2 * sec}, []time.Duration{sec, 6 * sec, 5 * sec}
	tests := []struct {
		name          string
		base, changed []time.Duration
		reads         bool
		told, wrong   bool
	}{
		{"a reader rises", short, long, true, true, false},
		{"a reader stays", short, short, true, true, true},
		{"a reader falls", long, short, true, true, true},
		{"another stays", short, short, false, true, false},
		{"another rises", short, long, false, true, true},
		{"too few before", short[:2], long, false, false, false},
		{"too few after", short, nil, true, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			told, err := moved(tt.base, tt.changed, 2*sec, tt.reads)
			assert.Equal(t, tt.told, told)
			assert.Equal(t, tt.wrong, err != nil)
		})
	}
	seen := make(map[string]bool)
	for _, k := range knobs() {
		assert.False(t, seen[k.name], k.name)
		seen[k.name] = true
		assert.True(t, k.args != nil || k.env != nil || k.change != nil, k.name)
		assert.Greater(t, k.delay, k.by, k.name)
	}
}
