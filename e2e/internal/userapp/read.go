// Package userapp reads an app that people have brought, as kubectl would: manifests in a file or a folder, or a
// kustomization. It works out which workload is measured and how that is asked, says what it has understood and
// what can't go well, or refuses with the line to write. It makes the variants of the app, each the smallest
// patch. It asks no cluster.
package userapp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// App is an app of people's own.
type App struct {
	Name    string // of its workload
	Kind    string // of that
	Own     fixtures.Own
	Service *unstructured.Unstructured // that it is asked at
	Target  scenarios.Target

	LeftOut  []string // objects that are not applied, each with the reason
	Warnings []string // of what can't go well

	rendered fixtures.Rendered // the workload
	raw      []byte            // the same as people have written it, as JSON
	source   string            // file that it is in; the folder of a kustomization
	port     corev1.ServicePort
	chosen   string // why it is this Service, where there are several
	asked    string // why it is this request
	scaled   bool   // an autoscaler says how many replicas there are
}

// item is an object and where it is from.
type item struct {
	*unstructured.Unstructured
	source string
}

func (i item) String() string { return i.GetKind() + " " + i.GetName() }

// Read reads the app at a path. Images are those that are loaded into the nodes, as -app-archive has them:
// containers of these don't pull any. In a cluster that isn't zerodrop's own, theirs, nothing is left in that reaches
// beyond the namespace: who comes from outside, and work that is done once.
func Read(path string, images []string, theirs bool) (App, error) {
	items, err := readItems(path)
	if err != nil {
		return App{}, err
	}
	a, err := understand(items, images, path, theirs)
	if err != nil {
		return a, err
	}
	if err := a.checkReferences(); err != nil {
		return a, fmt.Errorf("%s %s: %w", a.Kind, a.Name, err)
	}
	a.warn()
	return a, nil
}

// Live reads a Deployment that runs, and finds among the Services of its namespace the one that people send to.
func Live(deployment *appsv1.Deployment, services []corev1.Service) (App, error) {
	deployment = deployment.DeepCopy()
	deployment.TypeMeta = metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment"}
	objects := []any{deployment}
	for _, s := range services {
		selector := labels.SelectorFromSet(s.Spec.Selector)
		if !selector.Empty() && selector.Matches(labels.Set(deployment.Spec.Template.Labels)) {
			s.TypeMeta = metav1.TypeMeta{APIVersion: corev1.SchemeGroupVersion.String(), Kind: "Service"}
			objects = append(objects, &s)
		}
	}
	var items []item
	for _, o := range objects {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return App{}, err
		}
		items = append(items, item{Unstructured: &unstructured.Unstructured{Object: content}})
	}
	if len(items) == 1 {
		return App{}, fmt.Errorf("no Service in namespace %s selects the Pods of Deployment %s: there is nothing that "+
			"people send to", deployment.Namespace, deployment.Name)
	}
	a, err := understand(items, nil, "namespace "+deployment.Namespace, false)
	if err != nil {
		return a, err
	}
	a.Target.Live = true
	a.warn()
	return a, nil
}

// understand makes an app of what is at a place.
func understand(items []item, images []string, place string, theirs bool) (App, error) {
	var a App
	var kept, seen []item // seen tells who sends to what
	for _, i := range items {
		why := leftOut(i)
		if why == "" {
			strip(i.Unstructured)
			seen = append(seen, i)
			if theirs {
				why = beyond(i)
			}
		}
		if why != "" {
			a.LeftOut = append(a.LeftOut, fmt.Sprintf("%s (%s)", i, why))
			continue
		}
		kept = append(kept, i)
	}
	var workload item
	service, err := a.chooseService(seen, place)
	if err == nil {
		workload, err = chooseWorkload(kept, service)
	}
	if err != nil && len(a.LeftOut) > 0 {
		err = fmt.Errorf("%w\n(left out: %s)", err, strings.Join(a.LeftOut, ", "))
	}
	if err != nil {
		return a, err
	}
	a.Service, a.Name, a.Kind, a.source = service.Unstructured, workload.GetName(), workload.GetKind(), workload.source
	for _, i := range kept {
		if theirs {
			keepWithin(i)
		}
		if i.Unstructured != service.Unstructured && i.Unstructured != workload.Unstructured {
			a.Own.Beside = append(a.Own.Beside, i.Unstructured)
		}
	}
	slices.SortStableFunc(a.Own.Beside, func(x, y *unstructured.Unstructured) int { return rank(x) - rank(y) })
	if err := a.render(workload, images); err != nil {
		return a, fmt.Errorf("%s: %w", workload, err)
	}
	if err := a.readTarget(); err != nil {
		return a, fmt.Errorf("%s: %w", service, err)
	}
	return a, nil
}

// readItems reads all objects at a path, as kubectl apply does: with -k where there is a kustomization, else
// with -f.
func readItems(path string) ([]item, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("read the app: %w", err)
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the app: there is no %s: want a file or a folder of manifests, or one with a "+
			"kustomization.yaml", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the app: %w", err)
	}
	options := resource.FilenameOptions{Filenames: []string{path}}
	if info.IsDir() {
		if _, err := os.Stat(filepath.Join(path, "Chart.yaml")); err == nil {
			return nil, isChart(path)
		}
		for _, name := range []string{"kustomization.yaml", "kustomization.yml", "Kustomization"} {
			if _, err := os.Stat(filepath.Join(path, name)); err == nil {
				options = resource.FilenameOptions{Kustomize: path}
			}
		}
	}
	infos, err := resource.NewLocalBuilder().Unstructured().FilenameParam(false, &options).Flatten().Do().Infos()
	if err != nil && hasTemplates(path) {
		return nil, isChart(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the app in %s, which kubectl would not take either: %w", path, err)
	}
	if len(infos) == 0 {
		return nil, fmt.Errorf("read the app: %s has no manifest: want files that end in %s", path,
			strings.Join(resource.FileExtensions, ", "))
	}
	var out []item
	for _, info := range infos {
		o, ok := info.Object.(*unstructured.Unstructured)
		if !ok || o.GetName() == "" {
			return nil, fmt.Errorf("read the app: an object in %s has no name", info.Source)
		}
		out = append(out, item{Unstructured: o, source: info.Source})
	}
	return out, nil
}

// isChart refuses a chart, or templates of one.
func isChart(path string) error {
	return fmt.Errorf("read the app: %s is a chart and no manifests: render it first, as in "+
		"helm template NAME %s | scripts/e2e.sh -app -", path, path)
}

// hasTemplates says whether a file, or one in the folder, has what only a chart's engine understands.
func hasTemplates(path string) bool {
	files := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		files, _ = filepath.Glob(filepath.Join(path, "*"))
	}
	return slices.ContainsFunc(files, func(file string) bool {
		raw, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(raw), "{{")
	})
}

// builtin are the namespaced kinds that every cluster has, by group, with the versions that are served.
var builtin = map[string]struct{ versions, kinds string }{
	"": {"v1", "Service Secret ConfigMap ServiceAccount PersistentVolumeClaim Pod Endpoints LimitRange ResourceQuota " +
		"ReplicationController PodTemplate"},
	"apps":                      {"v1", "Deployment StatefulSet DaemonSet ReplicaSet ControllerRevision"},
	"batch":                     {"v1", "Job CronJob"},
	"autoscaling":               {"v1 v2", "HorizontalPodAutoscaler"},
	"policy":                    {"v1", "PodDisruptionBudget"},
	"networking.k8s.io":         {"v1", "Ingress NetworkPolicy"},
	"rbac.authorization.k8s.io": {"v1", "Role RoleBinding"},
	"discovery.k8s.io":          {"v1", "EndpointSlice"},
	"coordination.k8s.io":       {"v1", "Lease"},
}

// inNoNamespace are groups of Kubernetes that have, beside those above, only kinds of the whole cluster.
var inNoNamespace = []string{
	"", "rbac.authorization.k8s.io", "networking.k8s.io", "storage.k8s.io", "scheduling.k8s.io", "node.k8s.io",
	"apiextensions.k8s.io", "apiregistration.k8s.io", "admissionregistration.k8s.io", "certificates.k8s.io",
	"flowcontrol.apiserver.k8s.io",
}

// leftOut says why an object is not applied; empty for one that is.
func leftOut(i item) string {
	gvk := i.GroupVersionKind()
	known := builtin[gvk.Group]
	switch {
	case slices.Contains(strings.Fields(known.kinds), gvk.Kind):
		if slices.Contains(strings.Fields(known.versions), gvk.Version) {
			return ""
		}
		return "Kubernetes has it no longer in " + i.GetAPIVersion()
	case slices.Contains(inNoNamespace, gvk.Group):
		return "it is in no namespace"
	}
	return "a kind that Kubernetes itself doesn't have: " + i.GetAPIVersion()
}

// beyond says why an object reaches beyond its namespace, on a cluster that has others'; empty for one that doesn't.
func beyond(i item) string {
	switch i.GetKind() {
	case "Ingress":
		return "on this cluster it would bring in who asks for the real one"
	case "Job", "CronJob":
		return "on this cluster its work may be done already"
	}
	return ""
}

// keepWithin lets nobody from outside in by a Service.
func keepWithin(i item) {
	kind, _, _ := unstructured.NestedString(i.Object, "spec", "type")
	if i.GetKind() == "Service" && kind != string(corev1.ServiceTypeExternalName) {
		unstructured.RemoveNestedField(i.Object, "spec", "type")
	}
}

// strip takes away what a cluster has written into an object, and its namespace: it will be in another.
func strip(o *unstructured.Unstructured) {
	o.SetNamespace("")
	for _, field := range []string{
		"resourceVersion", "uid", "generation", "creationTimestamp", "managedFields", "ownerReferences", "selfLink",
	} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(o.Object, "status")
	if ip, _, _ := unstructured.NestedString(o.Object, "spec", "clusterIP"); o.GetKind() == "Service" && ip != headless {
		unstructured.RemoveNestedField(o.Object, "spec", "clusterIP")
		unstructured.RemoveNestedField(o.Object, "spec", "clusterIPs")
	}
}

// headless is the cluster IP of a Service that has none.
const headless = "None"

// rank is the order in which kinds are applied: what Pods need first.
func rank(o *unstructured.Unstructured) int {
	order := []string{
		"ServiceAccount", "ConfigMap", "Secret", "PersistentVolumeClaim", "Role", "RoleBinding", "Service",
	}
	if i := slices.Index(order, o.GetKind()); i >= 0 {
		return i
	}
	return len(order)
}

// workloadKinds hold Pods by a template, and can be rolled.
var workloadKinds = []string{"Deployment", "StatefulSet", "DaemonSet"}

func isWorkload(i item) bool { return slices.Contains(workloadKinds, i.GetKind()) }

func kindIs(kind string) func(item) bool { return func(i item) bool { return i.GetKind() == kind } }

// filter are the items that are of a sort.
func filter(items []item, of func(item) bool) []item {
	return slices.DeleteFunc(slices.Clone(items), func(i item) bool { return !of(i) })
}

func namesOf(items []item) string {
	var out []string
	for _, i := range items {
		out = append(out, i.String())
	}
	return strings.Join(out, ", ")
}

// chooseService finds the Service that people send to: the one with annotations of ours, or the only one; of
// several the only one that has an address and is there for others than the app itself.
func (a *App) chooseService(items []item, path string) (item, error) {
	services := filter(items, kindIs("Service"))
	annotated := filter(services, func(i item) bool {
		for key := range i.GetAnnotations() {
			if strings.HasPrefix(key, annotationPrefix) {
				return true
			}
		}
		return false
	})
	candidates := services
	switch {
	case len(services) == 0:
		return item{}, noService(items, path)
	case len(annotated) > 1:
		return item{}, fmt.Errorf("%s have annotations %s…: leave them on the one that people send to",
			namesOf(annotated), annotationPrefix)
	case len(annotated) == 1:
		candidates = annotated
		a.chosen = "it has the annotations"
	case len(services) > 1:
		candidates, a.chosen = public(items, services)
	}
	if len(candidates) != 1 {
		return item{}, fmt.Errorf("%s: which one do people send to? Write on it\n"+
			"metadata:\n  annotations: {%s: GET /}", namesOf(services), requestAnnotation)
	}
	if len(services) == 1 {
		a.chosen = ""
	}
	s := candidates[0]
	kind, _, _ := unstructured.NestedString(s.Object, "spec", "type")
	switch ip, _, _ := unstructured.NestedString(s.Object, "spec", "clusterIP"); {
	case kind == string(corev1.ServiceTypeExternalName):
		return s, fmt.Errorf("%s is an ExternalName: its Pods are elsewhere. Write a Service with a selector", s)
	case ip == headless:
		return s, fmt.Errorf("%s is headless (clusterIP: None): write another one, without that line", s)
	}
	return s, nil
}

// public are, of several Services, those that are there for others: that an Ingress names, else that are
// reached from outside; else those with an address, and of these with a port that HTTP has.
func public(items, services []item) (out []item, why string) {
	var named []string
	for _, i := range filter(items, kindIs("Ingress")) {
		raw, _ := json.Marshal(i.Object)
		for _, s := range services {
			if strings.Contains(string(raw), fmt.Sprintf(`"service":{"name":%q`, s.GetName())) {
				named = append(named, s.GetName())
			}
		}
	}
	if out = filter(services, func(i item) bool { return slices.Contains(named, i.GetName()) }); len(out) > 0 {
		return out, "an Ingress names it"
	}
	if out = filter(services, func(i item) bool {
		kind, _, _ := unstructured.NestedString(i.Object, "spec", "type")
		return kind == string(corev1.ServiceTypeLoadBalancer) || kind == string(corev1.ServiceTypeNodePort)
	}); len(out) > 0 {
		return out, "the only one that is reached from outside"
	}
	out = filter(services, func(i item) bool {
		ip, _, _ := unstructured.NestedString(i.Object, "spec", "clusterIP")
		return ip != headless
	})
	if len(out) < 2 {
		return out, "the only one that isn't headless"
	}
	return filter(out, func(i item) bool {
		var s corev1.Service
		return decode(i.Unstructured, &s) == nil && slices.ContainsFunc(s.Spec.Ports, isHTTP)
	}), "the only one with a port of HTTP"
}

// noService refuses an app that nobody can send to, with the Service to write if that is known.
func noService(items []item, path string) error {
	workloads := filter(items, isWorkload)
	if len(workloads) != 1 {
		return fmt.Errorf("%s has no Service, and %d workloads: want one Service and the workload that it selects",
			path, len(workloads))
	}
	w := workloads[0]
	labels, _, _ := unstructured.NestedStringMap(w.Object, "spec", "template", "metadata", "labels")
	port := int64(8080)
	if containers, _, _ := unstructured.NestedSlice(w.Object, "spec", "template", "spec",
		"containers"); len(containers) > 0 {
		container, _ := containers[0].(map[string]any)
		if ports, _, _ := unstructured.NestedSlice(container, "ports"); len(ports) > 0 {
			first, _ := ports[0].(map[string]any)
			port, _, _ = unstructured.NestedInt64(first, "containerPort")
		}
	}
	return fmt.Errorf("%s has no Service: there is nothing that people send to. Write\n"+
		"apiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec:\n  selector: {%s}\n  ports: [{port: 80, targetPort: %d}]",
		path, w.GetName(), flow(labels), port)
}

// flow is labels as a flow mapping of YAML.
func flow(labels map[string]string) string {
	var out []string
	for key, value := range labels {
		out = append(out, fmt.Sprintf("%s: %s", key, value))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// chooseWorkload finds the one whose Pods the Service selects.
func chooseWorkload(items []item, service item) (item, error) {
	selector, _, _ := unstructured.NestedStringMap(service.Object, "spec", "selector")
	workloads := filter(items, isWorkload)
	if len(workloads) == 0 {
		return item{}, fmt.Errorf("%s: there is no workload that it could select: want one of %s, which can be rolled",
			service, strings.Join(workloadKinds, ", "))
	}
	selected := filter(workloads, func(i item) bool {
		labels, _, _ := unstructured.NestedStringMap(i.Object, "spec", "template", "metadata", "labels")
		for key, value := range selector {
			if labels[key] != value {
				return false
			}
		}
		return len(selector) > 0
	})
	switch len(selected) {
	case 1:
		return selected[0], nil
	case 0:
		labels, _, _ := unstructured.NestedStringMap(workloads[0].Object, "spec", "template", "metadata", "labels")
		return item{}, fmt.Errorf("%s selects nothing: {%s} is in no Pod template of %s. Write in it\n"+
			"spec:\n  selector: {%s}", service, flow(selector), namesOf(workloads), flow(labels))
	}
	return item{}, fmt.Errorf("%s selects two workloads, %s, and one is measured. Write a label into its selector that "+
		"only one of them has:\nspec:\n  selector: {%s, version: …}, or measure one of them alone",
		service, namesOf(selected), flow(selector))
}

// render decodes the workload as the API server would, and takes its containers' images from the nodes where
// they were loaded.
func (a *App) render(workload item, images []string) error {
	if err := rolls(workload); err != nil {
		return err
	}
	var err error
	if a.raw, err = json.Marshal(workload.Object); err != nil {
		return err
	}
	container, err := a.choosePort(workload)
	if err != nil {
		return err
	}
	replicas := a.autoscaled(workload)
	loaded := workload.DeepCopy()
	if err := neverPull(loaded, images); err != nil {
		return err
	}
	manifest, err := json.Marshal(loaded.Object)
	if err != nil {
		return err
	}
	if a.Own.Workload, err = fixtures.NewWorkload(manifest, container, replicas); err != nil {
		return fmt.Errorf("the API server would refuse it: %w", err)
	}
	a.rendered, err = a.Own.Workload.Rendered()
	if err != nil {
		return err
	}
	if a.rendered.Selector == nil {
		return fmt.Errorf("has no selector. Write\nspec:\n  selector: {matchLabels: {%s}}", flow(a.rendered.Template.Labels))
	}
	return nil
}

// rolls refuses what no release would replace.
func rolls(workload item) error {
	spec, _, _ := unstructured.NestedMap(workload.Object, "spec")
	if replicas, given := spec["replicas"]; given && replicas == int64(0) {
		return errors.New("replicas: 0: there is nothing to measure. Write replicas: 2 or more")
	}
	if paused, _ := spec["paused"].(bool); paused {
		return errors.New("paused: true: no release replaces its Pods. Take the line out")
	}
	if how, _, _ := unstructured.NestedString(spec, "updateStrategy", "type"); how == "OnDelete" {
		return errors.New("updateStrategy OnDelete: no release replaces its Pods. Write updateStrategy: {type: " +
			"RollingUpdate}")
	}
	return nil
}

// autoscaled is how many replicas an autoscaler makes of the workload where it knows no load, which is as near
// to the manifest's number as its bounds allow; 0 without one.
func (a *App) autoscaled(workload item) int {
	replicas, given, _ := unstructured.NestedInt64(workload.Object, "spec", "replicas")
	if !given {
		replicas = 1
	}
	for _, o := range a.Own.Beside {
		kind, _, _ := unstructured.NestedString(o.Object, "spec", "scaleTargetRef", "kind")
		name, _, _ := unstructured.NestedString(o.Object, "spec", "scaleTargetRef", "name")
		if o.GetKind() != "HorizontalPodAutoscaler" || kind != workload.GetKind() || name != workload.GetName() {
			continue
		}
		least, given, _ := unstructured.NestedInt64(o.Object, "spec", "minReplicas")
		if !given {
			least = 1
		}
		most, _, _ := unstructured.NestedInt64(o.Object, "spec", "maxReplicas")
		a.scaled = true
		return int(min(max(replicas, least), max(most, least)))
	}
	return 0
}

// neverPull lets containers take their images from the node, those that are loaded there.
func neverPull(workload *unstructured.Unstructured, images []string) error {
	for _, list := range []string{"containers", "initContainers"} {
		at := []string{"spec", "template", "spec", list}
		containers, given, err := unstructured.NestedSlice(workload.Object, at...)
		if err != nil || !given {
			continue // decoding tells
		}
		for _, c := range containers {
			container, _ := c.(map[string]any)
			if image, _ := container["image"].(string); slices.Contains(images, fullName(image)) {
				container["imagePullPolicy"] = string(corev1.PullIfNotPresent)
			}
		}
		if err := unstructured.SetNestedSlice(workload.Object, containers, at...); err != nil {
			return err
		}
	}
	if len(images) > 0 && !slices.ContainsFunc(imagesOf(workload), func(image string) bool {
		return slices.Contains(images, fullName(image))
	}) {
		return fmt.Errorf("asks for %s, and the archive has %s: write image: %s into it, or docker tag the image so "+
			"before it is saved", strings.Join(imagesOf(workload), ", "), strings.Join(images, ", "), images[0])
	}
	return nil
}

func imagesOf(workload *unstructured.Unstructured) []string {
	var out []string
	containers, _, _ := unstructured.NestedSlice(workload.Object, "spec", "template", "spec", "containers")
	for _, c := range containers {
		container, _ := c.(map[string]any)
		image, _ := container["image"].(string)
		out = append(out, image)
	}
	return out
}

// decode reads an object into its type.
func decode(o *unstructured.Unstructured, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, into, true)
}
