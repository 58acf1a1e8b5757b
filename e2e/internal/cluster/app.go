package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
	"github.com/zerodrop/zerodrop/e2e/internal/worker"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Names within the folder of a run.
const (
	manifestsFile = "manifests.yaml"
	podsDir       = "pods"
)

// deployWithin is how long Pods may take to be there, to be ready or to go.
const deployWithin = 2 * time.Minute

// App is the app under one strategy, deployed. It implements harness.App.
type App struct {
	cluster    *Cluster
	dir        string // for artifacts
	workload   object // what holds the Pods
	selector   string // of the Pods, and of the workload itself
	observed   string // selector of all Pods that are watched; empty for ownSelector
	container  string // that the app runs in
	grace      time.Duration
	stopSignal *corev1.Signal // that the strategy asks for; nil for the image's own
	replicas   int
	before     map[string]any // the Pod template before the last change; nil if there was none, or if it is taken back
	release    string         // that the last change of the Pod template has named
	services   []string       // of all consumers
	watched    []fixtures.Consumer
	urls       map[string][]string          // of consumers, by name; several where each node is asked
	addresses  map[string][]netip.Addr      // of those nodes
	own        map[string][]string          // Pods by URL, where the node that is asked answers by its own alone
	components map[string]instance          // that consumers and the workload need, by name
	balanced   bool                         // a consumer needs the load balancer
	workers    []worker.Worker              // none if no consumer is loaded from within the cluster
	client     []worker.Worker              // one; none if no consumer is loaded from outside, or from this machine
	theirs     bool                         // it is an app of people's own
	target     *scenarios.Target            // nil for the sample app
	learnt     *learnt                      // of the target; nil without one
	fronts     map[string]*scenarios.Target // what consumers are asked that aren't asked as the target, by name
	siblings                                // what disruptions make beside it
	nodes      nodeChanges                  // what they do to nodes
}

// errOtherNeeds is the guarantee that no disruption is done to a cluster that isn't made for it.
var errOtherNeeds = errors.New("the cluster wasn't made with the settings that it needs, or with others")

// ErrComponent says that a program that a run needs can't be had on this cluster: its image is
// missing, or it didn't get ready in its time. Other runs that need it needn't try.
var ErrComponent = errors.New("a program that the run needs is not there")

// Deploy replaces whatever app is deployed by one with the scenario's strategy, and returns when
// each Pod of it has answered a request at each consumer. What it has deployed is written to
// dir/manifests.yaml; the Pods' logs will be in dir/pods. App.Close must be called.
//
// A disruption that isn't for this cluster is refused before anything is deployed.
func (c *Cluster) Deploy(ctx context.Context, s scenarios.Scenario, dir string) (*App, error) {
	app := &App{
		cluster: c, dir: dir, urls: map[string][]string{}, addresses: map[string][]netip.Addr{}, own: map[string][]string{},
		fronts: map[string]*scenarios.Target{},
	}
	if c.config.Live != nil {
		if err := app.attach(ctx, s); err != nil {
			return nil, errors.Join(fmt.Errorf("measure Deployment %s: %w", s.Own.Workload.Name, err), app.Close(ctx))
		}
		return app, nil
	}
	if err := app.deploy(ctx, s); err != nil {
		return nil, fmt.Errorf("deploy %s: %w", s.Strategy.Name, err)
	}
	return app, nil
}

// exposed is a consumer with its objects as they are applied.
type exposed struct {
	fixtures.Consumer
	objects []object
}

func (a *App) deploy(ctx context.Context, s scenarios.Scenario) error {
	if err := s.Allowed(a.cluster.Ours()); err != nil {
		return err
	}
	if s.Needs().Key() != a.cluster.config.Needs.Key() {
		return fmt.Errorf("disruption %s: %w", s.Disruption.Name, errOtherNeeds)
	}
	if s.Needs().Logind {
		nodes, err := a.cluster.kind.observed()
		if err == nil {
			err = a.cluster.hearShutdowns(ctx, nodes)
		}
		if err != nil {
			return fmt.Errorf("disruption %s: %w", s.Disruption.Name, err)
		}
	}
	var webhook certificate
	asked := func(l scenarios.Lane) bool { return l.Consumer.From == fixtures.FromAPI }
	if i := slices.IndexFunc(s.Lanes, asked); i >= 0 {
		host := s.Lanes[i].Consumer.Objects[0].GetName() + "." + a.cluster.namespace + ".svc"
		var err error
		if webhook, err = newCertificate(host, time.Now()); err != nil {
			return err
		}
		s.Strategy = s.Strategy.With(webhook.arg())
	}
	a.delay = s.Strategy.ServesFor()
	if s.Target != nil {
		a.target, a.learnt = s.Target, &learnt{}
	}
	held, err := s.Workload(a.cluster.config.Workload)
	if err != nil {
		return err
	}
	job, err := a.job(s)
	if err != nil {
		return err
	}
	a.watched = s.Watched
	needed := componentsOf(s, held)
	if a.balanced = slices.Contains(needed, fixtures.LoadBalancer); a.balanced {
		needed = slices.DeleteFunc(needed, func(name string) bool { return name == fixtures.LoadBalancer })
		if err := a.cluster.useBalancer(ctx); err != nil {
			return fmt.Errorf("%w: %w", ErrComponent, err)
		}
	}
	a.cluster.patches = map[string]string{s.Disruption.Component: s.Disruption.ComponentPatch}
	a.cluster.args = s.Disruption.Uses
	if a.components, err = a.cluster.useComponents(ctx, needed, a.dir); err != nil {
		return err
	}
	if err := a.askService(ctx, s.Disruption.Component); err != nil {
		return err
	}
	workload, err := a.render(s)
	if err != nil {
		return missingKind(held.Component, err)
	}
	manifests := []any{workload}
	consumers, inside, outside := []exposed{}, false, false // each once, in the order of the lanes
	for _, c := range s.Consumers() {
		if c.Objects, err = webhook.forRun(a.cluster.namespace, c.Objects); err != nil {
			return fmt.Errorf("consumer %s: %w", c.Name, err)
		}
		objects, err := a.cluster.locate(c.Objects)
		if err != nil {
			return fmt.Errorf("consumer %s: %w", c.Name, missingKind(c.Component, err))
		}
		for _, o := range c.Objects {
			manifests = append(manifests, o)
			if o.GetKind() == "Service" {
				a.services = append(a.services, o.GetName())
			}
		}
		consumers = append(consumers, exposed{c, objects})
		if len(c.Loads) > 0 {
			inside, outside = inside || c.From == fixtures.FromCluster, outside || c.From == fixtures.FromOutside
		}
	}
	own, err := a.cluster.locateOwn(s.Own)
	if err != nil {
		return err
	}
	for _, o := range own {
		if o.GetKind() != "Secret" { // that is nobody's business but theirs
			manifests = append(manifests, o.Unstructured)
		}
	}
	if inside {
		manifests = append(manifests, job)
	}
	queue, err := a.taskQueue(s, inside)
	if err != nil {
		return err
	}
	for _, o := range queue {
		manifests = append(manifests, o.Unstructured)
	}
	var beside []object
	if text := s.Disruption.Objects; text != "" {
		filled := strings.NewReplacer("{namespace}", a.cluster.namespace, "{replicas}", fmt.Sprint(a.replicas)).Replace(text)
		list, err := fixtures.Objects([]byte(filled))
		if err == nil {
			beside, err = a.cluster.locate(list)
		}
		if err != nil {
			return fmt.Errorf("disruption %s: %w", s.Disruption.Name, err)
		}
		for _, o := range list {
			manifests = append(manifests, o)
		}
	}
	if err := a.save(manifests); err != nil {
		return err
	}
	if err := errors.Join(a.Close(ctx), a.removeOld(ctx)); err != nil { // what an earlier run has left
		return err
	}
	if err := a.cluster.retire(ctx, slices.Concat(consumers, []exposed{{objects: own}})); err != nil {
		return err
	}
	if err := a.prepareOwn(ctx, s, own); err != nil {
		return err
	}
	if inside {
		if _, err := a.cluster.jobs().Create(ctx, job, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("start the workers: %w", err)
		}
	}
	if err := a.exposeQueue(ctx, queue); err != nil { // before Pods ask where it is
		return fmt.Errorf("queue of tasks: %w", err)
	}
	if outside && a.cluster.Ours() {
		if err := a.startClient(ctx); err != nil {
			return err
		}
	}
	for _, c := range consumers {
		if err := a.expose(ctx, c); err != nil {
			return fmt.Errorf("consumer %s: %w", c.Name, missingKind(c.Component, err))
		}
	}
	if _, err := a.workload.create(ctx); err != nil {
		return missingKind(held.Component, err)
	}
	if err := a.awaitReplicas(ctx); err != nil {
		return err
	}
	if err := a.WaitStable(ctx); err != nil {
		return err
	}
	if err := a.checkStopSignal(ctx); err != nil {
		return err
	}
	if inside {
		if err := a.awaitWorkers(ctx, int(*job.Spec.Completions)); err != nil {
			return err
		}
	}
	for _, c := range consumers {
		if err := a.localize(ctx, c.Consumer); err != nil {
			return fmt.Errorf("consumer %s: %w", c.Name, err)
		}
	}
	var served errgroup.Group
	for _, c := range consumers {
		served.Go(func() error {
			if err := a.waitConsumer(ctx, c.Consumer); err != nil {
				return fmt.Errorf("consumer %s: %w", c.Name, err)
			}
			return nil
		})
	}
	if err := served.Wait(); err != nil {
		return err
	}
	if err := a.learnSlow(ctx, s.Lanes); err != nil {
		return err
	}
	if err := a.cluster.addObjects(ctx, beside); err != nil {
		return fmt.Errorf("disruption %s: %w", s.Disruption.Name, err)
	}
	if s.Disruption.Reach != scenarios.ReachNamespace {
		return a.cluster.markChanged()
	}
	return nil
}

// Close takes the workers and the client away, whatever they do: also one that could not be told to
// stop; and what the disruption has needed. The app stays, for whoever wants to look at it. It may
// be called more than once.
func (a *App) Close(ctx context.Context) error {
	err := errors.Join(a.removeWorkers(ctx), a.cluster.removeObjects(ctx))
	if a.cluster.Ours() {
		_, left := a.cluster.kind.engine.removeContainers(ctx, containerLabel(a.cluster.kind.name())+"="+clientRole)
		err = errors.Join(err, left)
	}
	return err
}

// expose makes a consumer's objects unless the run before has, and works out where it is reached.
func (a *App) expose(ctx context.Context, c exposed) error {
	values := map[string]string{"namespace": a.cluster.namespace, "api": a.cluster.server}
	for i, o := range c.objects {
		if i > 0 && c.From == fixtures.FromAPI { // that of the run before has another certificate
			if err := o.replace(ctx); err != nil {
				return err
			}
			continue
		}
		present, err := a.cluster.present(ctx, o)
		if err != nil {
			return err
		}
		if i > 0 {
			continue
		}
		values["service"] = o.GetName()
		ip, _, _ := unstructured.NestedString(present.Object, "spec", "clusterIP")
		if address := net.ParseIP(ip); address != nil { // a headless Service has none
			values["clusterIP"] = inURL(ip)
		}
		ports, _, _ := unstructured.NestedSlice(present.Object, "spec", "ports")
		if len(ports) > 0 {
			for _, name := range []string{"port", "nodePort"} { // the latter is of the API server's choice
				if port, ok := ports[0].(map[string]any)[name]; ok {
					values[name] = fmt.Sprint(port)
				}
			}
		}
		if strings.Contains(c.Address, "{loadBalancer}") {
			if values["loadBalancer"], err = a.balancerAddress(ctx, o); err != nil {
				return err
			}
		}
	}
	nodes := []string{a.cluster.config.Address}
	if strings.Contains(c.Address, "{node}") && nodes[0] == "" {
		addresses, err := a.cluster.nodeAddresses(ctx)
		if err != nil {
			return err
		}
		a.addresses[c.Name], nodes = addresses, nil
		for _, ip := range addresses {
			nodes = append(nodes, ip.String())
		}
	}
	if c.Dial != "" {
		i, ok := a.components[c.Component]
		if !ok {
			return fmt.Errorf("dial %s: component %q doesn't run", c.Dial, c.Component)
		}
		text, err := fillIn(c.Dial, map[string]string{"component": cmp.Or(i.service, i.ip).String()})
		if err != nil {
			return fmt.Errorf("dial %s: %w", c.Dial, err)
		}
		dialled, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("dial %s: %w", c.Dial, err)
		}
		a.addresses[c.Name] = []netip.Addr{dialled}
	}
	a.urls[c.Name] = nil
	for _, node := range nodes {
		values["node"] = inURL(node)
		address, err := fillIn(c.Address, values)
		if err == nil {
			_, err = url.Parse(address)
		}
		if err != nil {
			return fmt.Errorf("address %s: %w", c.Address, err)
		}
		a.urls[c.Name] = append(a.urls[c.Name], address)
	}
	return nil
}

// inURL is a host as URLs have it: in brackets, if it is an IPv6 address.
func inURL(host string) string { return strings.TrimSuffix(net.JoinHostPort(host, ""), ":") }

// nodeAddresses are those of the nodes that a client outside asks for a NodePort: the ones that
// load balancers may ask, which leaves out the control plane that kubeadm has made.
func (c *Cluster) nodeAddresses(ctx context.Context) ([]netip.Addr, error) {
	asked := metav1.ListOptions{LabelSelector: "!" + corev1.LabelNodeExcludeBalancers}
	nodes, err := c.client.CoreV1().Nodes().List(ctx, asked)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var out []netip.Addr
	for _, node := range nodes.Items {
		if !observe.NodeReady(&node) { // a load balancer asks no such node, either
			continue
		}
		for _, a := range node.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
				out = append(out, ip)
				break // it may have one of each family
			}
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no node that is ready has an address that a client outside may ask")
	}
	return out, nil
}

// fillIn puts values in the place of the names in braces.
func fillIn(template string, values map[string]string) (out string, err error) {
	out = regexp.MustCompile(`{[^}]*}`).ReplaceAllStringFunc(template, func(name string) string {
		value, ok := values[strings.Trim(name, "{}")]
		if !ok {
			err = fmt.Errorf("unknown placeholder %s: want some of %s", name, slices.Sorted(maps.Keys(values)))
		}
		return value
	})
	return out, err
}

func (a *App) save(manifests []any) error {
	if err := os.MkdirAll(filepath.Join(a.dir, podsDir), 0o755); err != nil {
		return fmt.Errorf("save manifests: %w", err)
	}
	var out []byte
	for _, m := range manifests {
		raw, err := yaml.Marshal(m)
		if err != nil {
			return fmt.Errorf("save manifests: %w", err)
		}
		out = append(append(out, "---\n"...), raw...)
	}
	if err := os.WriteFile(filepath.Join(a.dir, manifestsFile), out, 0o644); err != nil {
		return fmt.Errorf("save manifests: %w", err)
	}
	return nil
}

// probe sends one request to the app and returns its answer; an error if that is not a good one.
type probe func(ctx context.Context, at worker.Target) (traffic.Answer, error)

// targets are the URLs of a consumer, each with what is dialled.
func (a *App) targets(consumer fixtures.Consumer) []worker.Target {
	var out []worker.Target
	for _, url := range a.urls[consumer.Name] {
		if consumer.Dial == "" {
			out = append(out, worker.Target{URL: url, App: a.fronts[consumer.Name]})
			continue
		}
		for _, ip := range a.addresses[consumer.Name] {
			out = append(out, worker.Target{URL: url, Dial: ip})
		}
	}
	return out
}

// probes are the places that a consumer's load comes from: each worker, which may have kube-proxies
// of their own, the client, or this machine.
func (a *App) probes(consumer fixtures.Consumer) []probe {
	if consumer.From == fixtures.FromOutside && !a.cluster.Ours() {
		return []probe{a.asks(worker.Probe)}
	}
	var out []probe
	for _, w := range a.senders(consumer.From) {
		out = append(out, a.asks(w.Probe))
	}
	return out
}

// waitConsumer waits until a consumer brings requests to each Pod, so that the load doesn't meet one
// that is still being set up.
func (a *App) waitConsumer(ctx context.Context, c fixtures.Consumer) error {
	if len(c.Loads) == 0 {
		return a.waitScraped(ctx, c)
	}
	if c.From == fixtures.FromAPI {
		return a.waitAsked(ctx, a.urls[c.Name][0])
	}
	for _, probe := range a.probes(c) {
		for _, at := range a.targets(c) {
			if err := a.waitServed(ctx, at, probe); err != nil {
				return err
			}
		}
	}
	return nil
}

// waitServed probes until every Pod has answered, or every one that has to at this URL.
func (a *App) waitServed(ctx context.Context, at worker.Target, send probe) error {
	pods, known := a.own[at.URL]
	if !known && a.namesPods() {
		var err error
		if pods, err = a.Pods(ctx); err != nil {
			return err
		}
	}
	answered := map[string]bool{}
	more, most := 20, 200
	if a.cluster.config.Live != nil { // it serves already, and nobody has asked for more than the load
		more, most = 1, 1
	}
	n := 0
	return poll(ctx, deployWithin, "an answer of each Pod", func(ctx context.Context) (string, error) {
		// Chance picks the Pod. All at once: one after the other a proxy sends on one connection that it
		// keeps, to one Pod. More each time: it keeps as many, and all may have been made before
		// kube-proxy knew the last Pod.
		n = min(n+more, most)
		answers := make([]struct {
			traffic.Answer
			err error
		}, n)
		var sent sync.WaitGroup
		for i := range answers {
			sent.Go(func() { answers[i].Answer, answers[i].err = send(ctx, at) })
		}
		sent.Wait()
		var failed string
		for _, answer := range answers {
			switch err := answer.err; {
			case ctx.Err() != nil:
				return "", ctx.Err() // what was missing before tells more than that time is up
			case errors.Is(err, worker.ErrEnded), errors.Is(err, errWrongRequest):
				return "", fmt.Errorf("%w: %w", errPermanent, err)
			case err != nil: // what is missing, not a fault of the API server
				failed = err.Error()
			default:
				answered[answer.Pod] = true
			}
		}
		if failed != "" {
			n = max(0, n-40) // too many at once, maybe
			return failed, nil
		}
		if err := a.namesThose(at, pods, answered); err != nil {
			return "", fmt.Errorf("%w: %w", errPermanent, err)
		}
		for _, pod := range pods {
			if !answered[pod] && a.cluster.config.Live == nil {
				return fmt.Sprintf("Pod %s has not answered yet", pod), nil
			}
		}
		return "", nil
	})
}

// Namespace is that of the app's Pods.
func (a *App) Namespace() string { return a.cluster.namespace }

// URL is where a consumer is reached from the place that its load is sent from.
func (a *App) URL(consumer fixtures.Consumer) string { return a.urls[consumer.Name][0] }

// Addresses are those that are dialled in turn in the place of the URL's host; none: that itself is.
func (a *App) Addresses(consumer fixtures.Consumer) []netip.Addr { return a.addresses[consumer.Name] }

// Replicas is how many Pods the workload asks for.
func (a *App) Replicas() int { return a.replicas }

// Environment says where the app runs.
func (a *App) Environment() timeline.Environment { return a.cluster.facts }

// Observe starts to watch the app.
func (a *App) Observe(ctx context.Context, clock timeline.Clock) (func() timeline.Seen, error) {
	config := observe.Config{
		Client: a.cluster.client, Namespace: a.cluster.namespace,
		Selector: cmp.Or(a.observed, ownSelector), Services: a.services, Container: a.container,
		LogDir: filepath.Join(a.dir, podsDir), Foreign: a.target != nil,
	}
	if a.cluster.config.Live != nil {
		config.LogDir = "" // what it writes is nobody's business
	}
	if a.cluster.kind != nil {
		var err error
		if config.Nodes, err = a.cluster.kind.observed(); err != nil {
			return nil, err
		}
		for _, name := range slices.Sorted(maps.Keys(a.components)) {
			i := a.components[name]
			n := slices.IndexFunc(config.Nodes, func(n observe.Node) bool { return n.Name == i.node })
			if i.AccessLog != "" && n >= 0 {
				log := observe.AccessLog{Component: name, Node: config.Nodes[n], File: i.AccessLog}
				log.Node.IP = i.ip.String() // that the component connects from
				config.AccessLogs = append(config.AccessLogs, log)
				if i.service.IsValid() { // another Pod is to come, whose address nobody knows
					log.File, log.Node.IP = rolledLog(i.AccessLog), ""
					config.AccessLogs = append(config.AccessLogs, log)
				}
			}
		}
		if a.balanced {
			config.AccessLogs = append(config.AccessLogs, a.cluster.kind.accessLog(*a.cluster.balancer))
		}
	}
	config.Scrapers = a.scrapers()
	o, err := observe.Start(ctx, clock, config)
	if err != nil {
		return nil, err
	}
	return func() timeline.Seen {
		asking, cancel := context.WithTimeout(ctx, answerWithin)
		defer cancel()
		living := a.served(asking)
		seen := o.Stop()
		seen.Served = append(seen.Served, living...)
		return seen
	}, nil
}

// Intact says which components of the app's consumers broke down since it was deployed. Their logs
// are saved in the run's folder.
func (a *App) Intact(ctx context.Context) error {
	err := a.cluster.checkComponents(ctx, a.components, a.dir)
	if a.balanced {
		err = errors.Join(err, a.cluster.checkBalancer(ctx, a.dir))
	}
	return err
}

// Pods names the Pods that are neither terminating nor gone, oldest first.
func (a *App) Pods(ctx context.Context) ([]string, error) { return a.selected(ctx, a.selector) }

// selected is Pods of those with some labels.
func (a *App) selected(ctx context.Context, selector string) ([]string, error) {
	list, err := a.cluster.pods().List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Pod) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	var names []string
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			names = append(names, p.Name)
		}
	}
	return names, nil
}

// DeletePod deletes a Pod with its own grace period and doesn't wait for it to go.
func (a *App) DeletePod(ctx context.Context, name string) error {
	return a.deletePod(ctx, name, metav1.DeleteOptions{})
}

func (a *App) deletePod(ctx context.Context, name string, how metav1.DeleteOptions) error {
	asked := false
	return poll(ctx, deployWithin, "Pod "+name+" to be deleted", func(ctx context.Context) (string, error) {
		err := a.cluster.pods().Delete(ctx, name, how)
		if apierrors.IsNotFound(err) && asked {
			return "", nil // the answer before was lost, and not the deletion
		}
		asked = asked || !apierrors.IsNotFound(err)
		return "", err
	})
}

// WaitReady waits until as many Pods as asked for are ready, terminating ones not counted. It looks
// at the Pods: the workload's status lags behind them.
func (a *App) WaitReady(ctx context.Context) error {
	return poll(ctx, deployWithin, "Pods to be ready", func(ctx context.Context) (string, error) {
		ready, _, err := a.count(ctx)
		if err != nil || ready >= a.replicas {
			return "", err
		}
		return fmt.Sprintf("%d of %d are", ready, a.replicas), nil
	})
}

// WaitStable waits until the workload is complete, its Pods are ready, and no other Pod is there.
func (a *App) WaitStable(ctx context.Context) error {
	const what = "new Pods to be ready and old ones to be gone"
	return poll(ctx, a.replaceWithin(), what, func(ctx context.Context) (string, error) {
		ready, all, err := a.count(ctx)
		if err != nil {
			return "", err
		}
		if a.cluster.config.Live != nil { // an autoscaler may have changed its mind
			want, missing, err := a.progress(ctx)
			if err != nil || missing != "" {
				return missing, err
			}
			a.replicas = want
		}
		if ready != a.replicas || all != a.replicas {
			return a.trouble(ctx, fmt.Sprintf("%d of %d Pods are ready, %d are there", ready, a.replicas, all))
		}
		return a.rolledOut(ctx)
	})
}

// count returns how many Pods are ready and not terminating, and how many there are at all. Pods that have ended
// for good, as those that a node has evicted, stay for a while, and are none.
func (a *App) count(ctx context.Context) (ready, all int, err error) {
	list, err := a.cluster.pods().List(ctx, metav1.ListOptions{LabelSelector: a.selector})
	if err != nil {
		return 0, 0, err
	}
	for i := range list.Items {
		p := &list.Items[i]
		if a.cluster.config.Live != nil && p.DeletionTimestamp == nil && observe.Ended(p) {
			continue
		}
		all++
		if p.DeletionTimestamp == nil && observe.Ready(p) {
			ready++
		}
	}
	return ready, all, nil
}
