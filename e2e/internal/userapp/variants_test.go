package userapp

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestVariants: each is the smallest patch, and its diff has the lines that people would write into their file.
func TestVariants(t *testing.T) {
	a := mustRead(t, shop)
	dir := filepath.Base(filepath.Dir(a.source))
	sleep, err := a.PreStopSleep(2)
	require.NoError(t, err)
	assert.Equal(t, "prestop-sleep-2s", sleep.Strategy.Name)
	assert.Equal(t, 2*time.Second, sleep.Strategy.ServesFor())
	assert.Equal(t, 3, sleep.Strategy.Replicas())
	assert.Equal(t, `--- a/`+dir+`/shop.yaml
+++ b/`+dir+`/shop.yaml
@@ -12,9 +12,14 @@
     metadata:
       labels: {app: shop, tier: web}
     spec:
+      terminationGracePeriodSeconds: 32
       # what serves
       containers:
       - name: web
+        lifecycle:
+          preStop:
+            sleep:
+              seconds: 2
         image: registry.example/shop:1.4
         ports:
         - name: http
`, sleep.Diff)
	ready, err := a.MinReady(2)
	require.NoError(t, err)
	assert.Equal(t, "min-ready-2s", ready.Strategy.Name)
	assert.Contains(t, ready.Diff, "\n spec:\n+  minReadySeconds: 2\n   replicas: 3\n")
	asIs, err := a.AsIs()
	require.NoError(t, err)
	assert.Equal(t, AsIs, asIs.Strategy.Name)
	assert.Empty(t, asIs.Diff)
	assert.Zero(t, asIs.Strategy.ServesFor())
}

// TestVariantsOfWhatIsThere: numbers that are there are written over, and what the app has already, or has in its
// place, is not tried.
func TestVariantsOfWhatIsThere(t *testing.T) {
	a := mustRead(t, changed(t, "      # what", "      terminationGracePeriodSeconds: 45 # for orders\n      # what",
		"        ports:", "        lifecycle:\n          preStop:\n            sleep: {seconds: 5}\n        ports:",
		"replicas: 3", "replicas: 3\n  minReadySeconds: 10"))
	sleep, err := a.PreStopSleep(15)
	require.NoError(t, err)
	assert.Contains(t, sleep.Diff, "-      terminationGracePeriodSeconds: 45 # for orders\n+      terminationGracePeriodSeconds: 55 # for orders\n")
	assert.Contains(t, sleep.Diff, "-            sleep: {seconds: 5}\n+            sleep: {seconds: 15}\n")
	_, err = a.PreStopSleep(5)
	require.ErrorIs(t, err, ErrNoVariant)
	require.ErrorContains(t, err, "container web sleeps for 5s already")
	_, err = a.MinReady(10)
	require.ErrorContains(t, err, "not tried: it has minReadySeconds 10 already")

	a = mustRead(t, changed(t, "        ports:", "        lifecycle: {preStop: {exec: {command: [nginx, -s, quit]}}}\n        ports:"))
	_, err = a.PreStopSleep(15)
	require.ErrorIs(t, err, ErrNoVariant)
	require.ErrorContains(t, err, "preStop runs nginx -s quit")
}

// TestDiffs: where a file has no lines to put others into, the diff is one of the object.
func TestDiffs(t *testing.T) {
	flow := `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "shop"}},
"template": {"metadata": {"labels": {"app": "shop"}}, "spec": {"containers": [{"name": "web", "image": "shop:1", "ports": [{"name": "http", "containerPort": 80}]}]}}}}`
	_, service, _ := strings.Cut(shop, "---\n")
	kustomized, err := Read(write(t, map[string]string{"a.yaml": shop, "kustomization.yaml": "resources: [a.yaml]\n"}), nil, false)
	require.NoError(t, err)
	for name, a := range map[string]*App{"JSON": mustRead(t, "---\n"+flow+"\n---\n"+service), "a kustomization": &kustomized} {
		t.Run(name, func(t *testing.T) {
			sleep, err := a.PreStopSleep(3)
			require.NoError(t, err)
			assert.True(t, strings.HasPrefix(sleep.Diff, "--- a/Deployment/shop\n+++ b/Deployment/shop\n"), sleep.Diff)
			assert.Equal(t, []string{
				"+        lifecycle:", "+          preStop:", "+            sleep:", "+              seconds: 3", "+      terminationGracePeriodSeconds: 33",
			}, added(sleep.Diff))
		})
	}
}

// added are the lines that a diff adds. It takes none away.
func added(diff string) []string {
	var out []string
	for line := range strings.Lines(diff) {
		if strings.HasPrefix(line, "+") && !strings.HasPrefix(line, "+++ ") || strings.HasPrefix(line, "-") && !strings.HasPrefix(line, "--- ") {
			out = append(out, strings.TrimSuffix(line, "\n"))
		}
	}
	return out
}

// TestDiffName: from the root of the repository, as git apply wants it.
func TestDiffName(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, ".git"), 0o700))
	assert.Equal(t, "deploy/base/shop.yaml", diffName(filepath.Join(root, "deploy", "base", "shop.yaml")))
	assert.Equal(t, "nowhere/shop.yaml", diffName("/nowhere/shop.yaml"))
}

// TestBeyondTheSmallest is a planted bug: a patch that changes anything but what the variant is about goes red.
func TestBeyondTheSmallest(t *testing.T) {
	a := mustRead(t, shop)
	settings := []setting{{[]string{"spec", "template", "spec", "terminationGracePeriodSeconds"}, 40}}
	tests := []struct{ name, patch, want string }{
		{"the smallest", `{"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 40}}}}`, ""},
		{"replicas", `{"spec": {"replicas": 5, "template": {"spec": {"terminationGracePeriodSeconds": 40}}}}`, "spec.replicas"},
		{"strategy", `{"spec": {"strategy": {"rollingUpdate": {"maxUnavailable": 0}}}}`, "spec.strategy.rollingUpdate.maxUnavailable"},
		{"args", `{"spec": {"template": {"spec": {"containers": [{"name": "web", "args": ["-graceful"]}]}}}}`, "spec.template.spec.containers.=web.args"},
		{"probes", `{"spec": {"template": {"spec": {"containers": [{"name": "web", "readinessProbe": {"periodSeconds": 1}}]}}}}`, "spec.template.spec.containers.=web.readinessProbe.periodSeconds"},
		{"resources", `{"spec": {"template": {"spec": {"containers": [{"name": "web", "resources": {"limits": {"cpu": "1"}}}]}}}}`, "spec.template.spec.containers.=web.resources.limits.cpu"},
		{"one container more", `{"spec": {"template": {"spec": {"containers": [{"name": "proxy", "image": "p:1"}]}}}}`, "spec.template.spec.containers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			strategy, err := fixtures.NewStrategy("x", "x", a.Own.Workload, []byte(tt.patch))
			require.NoError(t, err)
			err = a.checkSmallest(strategy, settings)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, errBeyond)
			require.ErrorContains(t, err, "it is about: "+tt.want)
		})
	}
}

// TestIn: the app takes the place of the sample app on the lanes of the Service, and promises what its people have
// written as it is under a rolling update alone: a promise that nobody made can't fail a run.
func TestIn(t *testing.T) {
	c, err := scenarios.NewCatalogue()
	require.NoError(t, err)
	promising := changed(t, "  name: shop\nspec:\n  selector:\n", "  name: shop\n  annotations: {zerodrop.dev/expect: new=clean, zerodrop.dev/slow-request: /report}\nspec:\n  selector:\n")
	in := func(a *App, change bool, disruption string) scenarios.Scenario {
		v, err := a.AsIs()
		if change {
			v, err = a.PreStopSleep(15)
		}
		require.NoError(t, err)
		base, err := c.Find("no-handler", disruption, 50)
		require.NoError(t, err)
		base, err = base.Only([]string{"service/new", "service/reused", "service/replayable", "service/slow"})
		require.NoError(t, err)
		s, err := a.In(base, v)
		require.NoError(t, err)
		return s
	}
	tests := []struct {
		name       string
		content    string
		change     bool
		disruption string
		control    bool
		lanes      []string
		want       scenarios.Expect // of new connections
	}{
		{"nothing promised", shop, false, "rolling-update", false, []string{"service/new", "service/reused"}, scenarios.Measured},
		{"promised", promising, false, "rolling-update", false, []string{"service/new", "service/reused", "service/slow"}, scenarios.Clean},
		{"promised, and a Pod is lost", promising, false, "pod-deletion", false, []string{"service/new", "service/reused", "service/slow"}, scenarios.Measured},
		{"promised, and changed", promising, true, "rolling-update", false, []string{"service/new", "service/reused", "service/slow"}, scenarios.Measured},
		{"undisturbed", shop, false, "none", true, []string{"service/new", "service/reused"}, scenarios.Clean},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := mustRead(t, tt.content)
			s := in(a, tt.change, tt.disruption)
			assert.Equal(t, tt.control, s.Control)
			assert.Equal(t, tt.change, s.Change != "")
			assert.Same(t, &a.Own, s.Own)
			assert.Equal(t, 3, s.Replicas())
			var names []string
			for _, l := range s.Lanes {
				names = append(names, l.Name())
				require.Len(t, l.Consumer.Objects, 1)
				assert.Equal(t, "shop", l.Consumer.Objects[0].GetName())
				assert.Equal(t, "http://{clusterIP}:8000", l.Consumer.Address)
			}
			assert.Equal(t, tt.lanes, names)
			assert.Equal(t, tt.want, s.HeldTo(s.Lanes[0], scenarios.ClassNew, time.Second).Expect)
			w, err := s.Workload("statefulset")
			require.NoError(t, err)
			assert.Equal(t, "shop", w.Name, "whatever else is asked for")
		})
	}
	base, err := c.Find("no-handler", "rolling-update", 50)
	require.NoError(t, err)
	v, err := mustRead(t, shop).AsIs()
	require.NoError(t, err)
	_, err = mustRead(t, shop).In(base, v)
	require.ErrorContains(t, err, "brings requests to the sample app alone: want service")
}
