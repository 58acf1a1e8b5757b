package userapp

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// shop is an app as people write it.
const shop = `# The shop.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
  namespace: prod
spec:
  replicas: 3
  selector:
    matchLabels: {app: shop}
  template:
    metadata:
      labels: {app: shop, tier: web}
    spec:
      # what serves
      containers:
      - name: web
        image: registry.example/shop:1.4
        ports:
        - name: http
          containerPort: 8080
        readinessProbe:
          httpGet: {path: /healthz, port: http}
          periodSeconds: 5
---
apiVersion: v1
kind: Service
metadata:
  name: shop
spec:
  selector:
    app: shop
  ports:
  - port: 8000
    targetPort: http
`

// write puts files into a folder of their own; a single one is what is read.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
		if len(files) == 1 {
			return filepath.Join(dir, name)
		}
	}
	return dir
}

func read(t *testing.T, content string) (App, error) {
	t.Helper()
	return Read(write(t, map[string]string{"shop.yaml": content}), nil, false)
}

func mustRead(t *testing.T, content string) *App {
	t.Helper()
	a, err := read(t, content)
	require.NoError(t, err)
	return &a
}

// changed is the shop with some of its text replaced, which has to be there.
func changed(t *testing.T, pairs ...string) string {
	t.Helper()
	out := shop
	for i := 0; i < len(pairs); i += 2 {
		require.Contains(t, out, pairs[i])
		out = strings.Replace(out, pairs[i], pairs[i+1], 1)
	}
	return out
}

// more is the shop with other objects.
func more(objects ...string) string { return shop + "---\n" + strings.Join(objects, "---\n") }

func object(apiVersion, kind, name string) string {
	return "apiVersion: " + apiVersion + "\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: prod}\n"
}

func TestRead(t *testing.T) {
	a := mustRead(t, shop)
	assert.Equal(t, "shop", a.Name)
	assert.Equal(t, "Deployment", a.Kind)
	assert.Equal(t, "GET /healthz", a.Target.Request.String())
	assert.Empty(t, a.Service.GetNamespace(), "it will be in another")
	assert.Empty(t, a.Own.Beside)
	assert.Empty(t, a.Warnings)
	assert.Equal(t, []string{
		"measured: Deployment shop, 3 replicas, container web, image registry.example/shop:1.4",
		"asked: GET /healthz (as its readiness probe asks), at Service shop, port 8000",
		"a right answer has the status that it has before the load begins, and any complete body",
		"readiness: GET /healthz every 5s; stops: grace period 30s, no preStop",
		"promised: nothing, everything is measured (annotation zerodrop.dev/expect)",
	}, a.Understanding())
}

// TestReadPlaces: a file, a folder and a kustomization are read as kubectl reads them.
func TestReadPlaces(t *testing.T) {
	deployment, service, _ := strings.Cut(shop, "---\n")
	tests := []struct {
		name  string
		files map[string]string
		want  string // first line of what was understood
	}{
		{"a file", map[string]string{"a.yaml": shop}, "measured: Deployment shop, 3 replicas, container web, image registry.example/shop:1.4"},
		{"a folder", map[string]string{"a.yaml": deployment, "b.yml": service, "README.md": "# {{shop}}"}, "measured: Deployment shop, 3 replicas, container web, image registry.example/shop:1.4"},
		{
			"a kustomization",
			map[string]string{"a.yaml": shop, "kustomization.yaml": "resources: [a.yaml]\nnamePrefix: my-\nreplicas: [{name: shop, count: 2}]\n"},
			"measured: Deployment my-shop, 2 replicas, container web, image registry.example/shop:1.4",
		},
		{
			"a list",
			map[string]string{"a.json": `{"apiVersion": "v1", "kind": "List", "items": [
			{"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent", "uid": "x"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
			"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}, "status": {"numberReady": 1}},
			{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "agent"}, "spec": {"clusterIP": "10.1.2.3", "selector": {"a": "b"}, "ports": [{"port": 80}]}}]}`},
			"measured: DaemonSet agent, a Pod on each node, container c, image i:1",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := Read(write(t, tt.files), nil, false)
			require.NoError(t, err)
			assert.Equal(t, tt.want, a.Understanding()[0])
		})
	}
}

// TestReadRefuses: whatever can't be measured is refused with what to write.
func TestReadRefuses(t *testing.T) {
	deployment, service, _ := strings.Cut(shop, "---\n")
	second := strings.ReplaceAll(deployment, "name: shop", "name: shop-canary")
	tests := []struct {
		name, content string
		want          []string
	}{
		{"no Service", deployment, []string{"has no Service", "kind: Service\nmetadata: {name: shop}\nspec:\n  selector: {app: shop, tier: web}\n  ports: [{port: 80, targetPort: 8080}]"}},
		{"no Service, nor a workload", object("v1", "ConfigMap", "c"), []string{"has no Service, and 0 workloads"}},
		{"no workload", service, []string{"there is no workload that it could select: want one of Deployment, StatefulSet, DaemonSet"}},
		{"a workload of an old version", changed(t, "apiVersion: apps/v1", "apiVersion: extensions/v1beta1"), []string{"there is no workload that it could select", "(left out: Deployment shop (a kind that Kubernetes itself doesn't have: extensions/v1beta1))"}},
		{"two workloads", shop + "---\n" + second, []string{"selects two workloads, Deployment shop, Deployment shop-canary", "selector: {app: shop, version: …}"}},
		{"a Service that selects nothing", changed(t, "selector:\n    app: shop", "selector:\n    app: shopp"), []string{"selects nothing: {app: shopp} is in no Pod template of Deployment shop", "selector: {app: shop, tier: web}"}},
		{"a Service without a selector", changed(t, "selector:\n    app: shop\n  ports", "ports"), []string{"selects nothing", "selector: {app: shop, tier: web}"}},
		{"two Services", shop + "---\n" + strings.ReplaceAll(service, "name: shop", "name: other"), []string{"Service shop, Service other: which one do people send to?", "annotations: {zerodrop.dev/request: GET /}"}},
		{"two annotated Services", strings.ReplaceAll(shop+"---\n"+service, "metadata:\n  name: shop\nspec:\n  selector:\n", "metadata:\n  name: shop\n  annotations: {zerodrop.dev/request: /}\nspec:\n  selector:\n"), []string{"have annotations zerodrop.dev/…"}},
		{"a headless Service", changed(t, "spec:\n  selector:\n    app", "spec:\n  clusterIP: None\n  selector:\n    app"), []string{"is headless (clusterIP: None): write another one, without that line"}},
		{"an ExternalName", changed(t, "spec:\n  selector:\n    app", "spec:\n  type: ExternalName\n  externalName: a.example\n  selector:\n    app"), []string{"is an ExternalName"}},
		{"a port by an unknown name", changed(t, "targetPort: http", "targetPort: web"), []string{`leads to port "web"`, `it has "http" (8080)`, "ports: [{name: web, containerPort: 8080}]"}},
		{"no ports", changed(t, "  ports:\n  - port: 8000\n    targetPort: http\n", ""), []string{"has no ports", "ports: [{port: 80, targetPort: 8080}]"}},
		{"TLS alone", changed(t, "port: 8000", "port: 443"), []string{"has no port for HTTP without TLS"}},
		{"two ports", changed(t, "  - port: 8000\n", "  - {name: a, port: 8000}\n  - name: b\n    port: 8001\n"), []string{"has 2 ports: which one speaks HTTP? Call it so: name: http"}},
		{"no replicas", changed(t, "replicas: 3", "replicas: 0"), []string{"replicas: 0: there is nothing to measure. Write replicas: 2 or more"}},
		{"paused", changed(t, "replicas: 3", "paused: true"), []string{"paused: true: no release replaces its Pods. Take the line out"}},
		{"an unknown field", changed(t, "replicas: 3", "replica: 3"), []string{`the API server would refuse it`, `unknown field "spec.replica"`}},
		{"a Secret that is missing", changed(t, "        ports:", "        envFrom: [{secretRef: {name: db}}]\n        ports:"), []string{"container web needs Secret db, which is not among its objects", "kind: Secret\nmetadata: {name: db}"}},
		{
			"a ConfigMap that is missing, and what may have made it", changed(t, "      # what", "      volumes: [{name: v, configMap: {name: conf}}]\n      # what") + "---\n" + object("external.example/v1", "ExternalConfig", "conf"),
			[]string{"volume v needs ConfigMap conf", "(left out, and it may have made it: ExternalConfig conf (a kind that Kubernetes itself doesn't have: external.example/v1))"},
		},
		{"a ServiceAccount that is missing", changed(t, "      # what", "      serviceAccountName: s\n      # what"), []string{"the Pod needs ServiceAccount s"}},
		{"a PriorityClass", changed(t, "      # what", "      priorityClassName: high\n      # what"), []string{"priorityClassName: high: a PriorityClass is in no namespace, and none is made. Take the line out"}},
		{"an unknown annotation", changed(t, "  name: shop\nspec:\n  selector:\n", "  name: shop\n  annotations: {zerodrop.dev/reqest: /}\nspec:\n  selector:\n"), []string{"unknown annotation zerodrop.dev/reqest: want some of zerodrop.dev/request, "}},
		{"a request that is none", changed(t, "  name: shop\nspec:\n  selector:\n", "  name: shop\n  annotations: {zerodrop.dev/request: shop}\nspec:\n  selector:\n"), []string{`annotation zerodrop.dev/request: request`}},
		{"an unknown promise", changed(t, "  name: shop\nspec:\n  selector:\n", "  name: shop\n  annotations: {zerodrop.dev/expect: new=none}\nspec:\n  selector:\n"), []string{`unknown expectation "none" of class new`}},
		{"a status that is none", changed(t, "  name: shop\nspec:\n  selector:\n", "  name: shop\n  annotations: {zerodrop.dev/expect-status: ok}\nspec:\n  selector:\n"), []string{`annotation zerodrop.dev/expect-status is "ok": want a number`}},
		{"templates", changed(t, "replicas: 3", "replicas: {{ .Values.replicas }}"), []string{"is a chart and no manifests: render it first, as in helm template NAME ", " | scripts/e2e.sh -app -"}},
		{"no YAML", "a: b: c", []string{"which kubectl would not take either"}},
		{"no manifest", "a: b", []string{"which kubectl would not take either", "Kind"}},
		{"nothing", "", []string{"has no manifest: want files that end in .json, .yaml, .yml"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := read(t, tt.content)
			require.Error(t, err)
			for _, want := range tt.want {
				assert.Contains(t, err.Error(), want)
			}
		})
	}
}

// TestReadRefusesPlaces: a chart, and a path that isn't there, by its absolute name.
func TestReadRefusesPlaces(t *testing.T) {
	dir := write(t, map[string]string{"Chart.yaml": "name: shop", "values.yaml": "a: b"})
	_, err := Read(dir, nil, false)
	require.ErrorContains(t, err, "helm template NAME "+dir+" | scripts/e2e.sh -app -")
	t.Chdir(dir)
	_, err = Read("deploy", nil, false)
	require.ErrorContains(t, err, "there is no "+filepath.Join(dir, "deploy")+": want a file or a folder of manifests")
}

// TestLeftOut: what a plain cluster doesn't know, or what would be there for everybody, is left out and named.
func TestLeftOut(t *testing.T) {
	a := mustRead(t, more(
		object("monitoring.coreos.com/v1", "ServiceMonitor", "shop"), object("v1", "Namespace", "prod"),
		object("rbac.authorization.k8s.io/v1", "ClusterRole", "shop"), object("policy/v1beta1", "PodDisruptionBudget", "old"),
		object("policy/v1", "PodDisruptionBudget", "new"), object("v1", "ConfigMap", "conf"),
	))
	assert.Equal(t, []string{
		"ServiceMonitor shop (a kind that Kubernetes itself doesn't have: monitoring.coreos.com/v1)",
		"Namespace prod (it is in no namespace)", "ClusterRole shop (it is in no namespace)",
		"PodDisruptionBudget old (Kubernetes has it no longer in policy/v1beta1)",
	}, a.LeftOut)
	require.Len(t, a.Own.Beside, 2)
	assert.Equal(t, "conf", a.Own.Beside[0].GetName(), "what Pods need comes first")
	assert.Empty(t, a.Own.Beside[0].GetNamespace())
	lines := a.Understanding()
	assert.Equal(t, "beside it: ConfigMap conf, PodDisruptionBudget new", lines[5])
	assert.True(t, strings.HasPrefix(lines[6], "left out: ServiceMonitor shop (a kind"), lines[6])
}

// TestChooseService: of several Services the one that is there for others.
func TestChooseService(t *testing.T) {
	_, service, _ := strings.Cut(shop, "---\n")
	db := "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec: {selector: {matchLabels: {app: db}}, template: {metadata: {labels: {app: db}}, spec: {containers: [{name: db, image: 'db:1'}]}}}\n"
	dbService := "apiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {selector: {app: db}, ports: [{port: 80}]}\n"
	annotated := strings.Replace(service, "  name: shop\n", "  name: front\n  annotations: {zerodrop.dev/request: POST /order, zerodrop.dev/pod-header: X-Pod, zerodrop.dev/slow-request: /report, zerodrop.dev/expect: new=clean}\n", 1)
	ingress := "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i}\nspec: {defaultBackend: {service: {name: shop, port: {number: 80}}}}\n"
	tests := []struct {
		name, content string
		want          string // of what was understood
	}{
		{"annotated", more(annotated), "asked: POST /order (annotation zerodrop.dev/request), at Service front, port 8000 (it has the annotations)"},
		{"of an Ingress", more(db, dbService, ingress), "asked: GET /healthz (as its readiness probe asks), at Service shop, port 8000 (an Ingress names it)"},
		{"of a load balancer", strings.Replace(more(db, dbService), "spec:\n  selector:\n    app", "spec:\n  type: LoadBalancer\n  selector:\n    app", 1), "asked: GET /healthz (as its readiness probe asks), at Service shop, port 8000 (the only one that is reached from outside)"},
		{"of HTTP", strings.Replace(more(db, strings.Replace(dbService, "port: 80", "port: 6379", 1)), "port: 8000\n", "port: 80\n", 1), "asked: GET /healthz (as its readiness probe asks), at Service shop, port 80 (the only one with a port of HTTP)"},
		{"not headless", more(db, strings.Replace(dbService, "spec: {", "spec: {clusterIP: None, ", 1)), "asked: GET /healthz (as its readiness probe asks), at Service shop, port 8000 (the only one that isn't headless)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := mustRead(t, tt.content)
			assert.Equal(t, tt.want, a.Understanding()[1])
			assert.Equal(t, "shop", a.Name)
		})
	}
}

// TestWarnings: what can't go well is said before anything is measured.
func TestWarnings(t *testing.T) {
	hpa := "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: h}\nspec: {minReplicas: 2, maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}}\n"
	tests := []struct {
		name, content string
		want          []string // each is a part of a warning
	}{
		{"none", shop, nil},
		{"one replica", changed(t, "  replicas: 3\n", ""), []string{"one replica: when its Pod is deleted nobody else answers"}},
		{"one replica, and an autoscaler", changed(t, "  replicas: 3\n", "") + "---\n" + hpa, nil},
		{"Recreate", changed(t, "replicas: 3", "strategy: {type: Recreate}\n  replicas: 3"), []string{"strategy Recreate: a release stops all Pods"}},
		{"no readiness probe", changed(t, "readinessProbe", "livenessProbe"), []string{"container web has no readiness probe"}},
		{"grace shorter than preStop", changed(t, "        ports:", "        lifecycle: {preStop: {exec: {command: [sh, -c, sleep 40]}}}\n        ports:"), []string{"preStop takes 40s, and the grace period is 30s"}},
		{"a shell as PID 1", changed(t, "        ports:", "        command: [/bin/sh, -c, java -jar shop.jar]\n        ports:"), []string{"sh is PID 1 of container web"}},
		{"another container", changed(t, "      - name: web\n", "      - {name: proxy, image: 'p:1'}\n      - name: web\n"), []string{"container proxy gets SIGTERM as soon as the Pod is deleted, however long container web waits"}},
		{"a shell that is replaced", changed(t, "        ports:", "        command: [/bin/sh, -c, exec java -jar shop.jar]\n        ports:"), nil},
		{"not idempotent", changed(t, "  name: shop\nspec:\n  selector:\n", "  name: shop\n  annotations: {zerodrop.dev/request: POST /, zerodrop.dev/slow-request: PATCH /slow}\nspec:\n  selector:\n"), []string{"POST / changes things", "PATCH /slow changes things"}},
		{"a Secret to pull with", changed(t, "      # what", "      imagePullSecrets: [{name: pull}]\n      # what"), []string{"imagePullSecrets names Secret pull"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := mustRead(t, tt.content).Warnings
			require.Len(t, got, len(tt.want), "%v", got)
			for i, want := range tt.want {
				assert.Contains(t, got[i], want)
			}
		})
	}
}

// TestReferences: what is there, or needn't be, is asked of nobody.
func TestReferences(t *testing.T) {
	mustRead(t, changed(t, "        ports:", `        envFrom: [{secretRef: {name: db}}, {configMapRef: {name: may, optional: true}}]
        env: [{name: A, valueFrom: {configMapKeyRef: {name: conf, key: a}}}]
        ports:`)+"---\n"+object("v1", "Secret", "db")+"---\n"+object("v1", "ConfigMap", "conf"))
}

// TestLoadedImages: containers whose images are in the archive don't pull them; an archive of other images is
// refused.
func TestLoadedImages(t *testing.T) {
	path := write(t, map[string]string{"shop.yaml": shop})
	a, err := Read(path, []string{"registry.example/shop:1.4"}, false)
	require.NoError(t, err)
	assert.EqualValues(t, "IfNotPresent", a.rendered.App().ImagePullPolicy)
	assert.Empty(t, mustRead(t, shop).rendered.App().ImagePullPolicy)
	_, err = Read(path, []string{"index.docker.io/library/shop:1.4"}, false)
	require.ErrorContains(t, err, "asks for registry.example/shop:1.4, and the archive has index.docker.io/library/shop:1.4: write image: ")
}

// TestWithin: on a cluster that has others', nobody is let in from outside, and no work is done that may be done already. What
// an Ingress says of the Services counts all the same.
func TestWithin(t *testing.T) {
	const other = "apiVersion: v1\nkind: Service\nmetadata: {name: other}\nspec: {type: LoadBalancer, selector: {app: shop}, ports: [{port: 80}]}\n"
	const ingress = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: i}\nspec: {defaultBackend: {service: {name: shop, port: {number: 80}}}}\n"
	content := strings.Replace(more(other, ingress, object("batch/v1", "Job", "migrate")), "spec:\n  selector:\n    app", "spec:\n  type: LoadBalancer\n  selector:\n    app", 1)
	file := write(t, map[string]string{"shop.yaml": content})
	a, err := Read(file, nil, true)
	require.NoError(t, err)
	assert.Equal(t, "shop", a.Service.GetName())
	_, typed, _ := unstructured.NestedString(a.Service.Object, "spec", "type")
	assert.False(t, typed)
	assert.Len(t, a.LeftOut, 2)
	require.Len(t, a.Own.Beside, 1)
	assert.Equal(t, "other", a.Own.Beside[0].GetName())
	_, typed, _ = unstructured.NestedString(a.Own.Beside[0].Object, "spec", "type")
	assert.False(t, typed)
	ours, err := Read(file, nil, false)
	require.NoError(t, err)
	assert.Empty(t, ours.LeftOut)
	assert.Len(t, ours.Own.Beside, len(a.Own.Beside)+2)
}
