package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/worker"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Names within the manifests in fixtures.
const (
	appName       = "app" // the Deployment, the Service, the container and the label's value
	manifestsFile = "manifests.yaml"
	podsDir       = "pods"
	releaseKey    = "zerodrop.dev/release" // annotation on the Pod template: what changes with a new release
)

// deployWithin is how long Pods may take to be there, to be ready or to go.
const deployWithin = 2 * time.Minute

// App is the app under one strategy, deployed. It implements harness.App.
type App struct {
	cluster    *Cluster
	dir        string // for artifacts
	replicas   int
	services   []string          // of all paths
	clusterURL map[string]string // of paths within the cluster, by name: known when the Service has its address
	workers    []worker.Worker   // none if no path is loaded from within the cluster
}

// Deploy replaces whatever app is deployed by one with the scenario's strategy, and returns when each Pod of it has answered a request on each path. What it
// has deployed is written to dir/manifests.yaml; the Pods' logs will be in dir/pods.
func (c *Cluster) Deploy(ctx context.Context, s scenarios.Scenario, dir string) (*App, error) {
	app := &App{cluster: c, dir: dir, clusterURL: map[string]string{}}
	if err := app.deploy(ctx, s); err != nil {
		return nil, fmt.Errorf("deploy %s: %w", s.Strategy.Name, err)
	}
	return app, nil
}

func (a *App) deploy(ctx context.Context, s scenarios.Scenario) error {
	deployment, err := s.Strategy.Deployment()
	if err != nil {
		return err
	}
	if image := a.cluster.config.AppImage; image != "" {
		deployment.Spec.Template.Spec.Containers[0].Image = image
	}
	a.replicas = int(*deployment.Spec.Replicas)
	job, err := a.job()
	if err != nil {
		return err
	}
	var paths []fixtures.Path // each once, in the order of the lanes
	manifests := []any{deployment}
	inside := false
	for _, lane := range s.Lanes {
		if slices.ContainsFunc(paths, func(p fixtures.Path) bool { return p.Name == lane.Path.Name }) {
			continue
		}
		paths = append(paths, lane.Path)
		manifests = append(manifests, lane.Path.Service)
		a.services = append(a.services, lane.Path.Service.Name)
		inside = inside || lane.Path.From == fixtures.FromCluster
	}
	if inside {
		manifests = append(manifests, job)
	}
	if err := a.save(manifests); err != nil {
		return err
	}
	if err := a.removeWorkers(ctx); err != nil {
		return err
	}
	if err := a.removeOld(ctx); err != nil {
		return err
	}
	if inside {
		if err := a.startWorkers(ctx, job); err != nil {
			return err
		}
	}
	for _, path := range paths {
		if err := a.expose(ctx, path); err != nil {
			return fmt.Errorf("path %s: %w", path.Name, err)
		}
	}
	if _, err = a.deployments().Create(ctx, deployment, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := a.WaitStable(ctx); err != nil {
		return err
	}
	if inside {
		if err := a.awaitWorkers(ctx, int(*job.Spec.Completions)); err != nil {
			return err
		}
	}
	for _, path := range paths {
		for _, ask := range a.askers(path) {
			if err := a.waitServed(ctx, path, ask); err != nil {
				return fmt.Errorf("path %s: %w", path.Name, err)
			}
		}
	}
	return nil
}

// expose makes the path's Service unless the run before has. One that is there would fail to be created for want of its NodePort, not because it is there.
func (a *App) expose(ctx context.Context, path fixtures.Path) error {
	services := a.cluster.client.CoreV1().Services(a.cluster.namespace)
	service, err := services.Get(ctx, path.Service.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		service, err = services.Create(ctx, path.Service.DeepCopy(), metav1.CreateOptions{})
	}
	if err != nil {
		return err
	}
	if path.From == fixtures.FromCluster {
		// By address and not by name, so that a request meets the Service and nothing else: with a name, each new connection would ask CoreDNS first.
		a.clusterURL[path.Name] = "http://" + net.JoinHostPort(service.Spec.ClusterIP, strconv.Itoa(int(service.Spec.Ports[0].Port)))
	}
	return nil
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

// removeOld takes the app of an earlier run away, at once: nobody measures how that one goes.
func (a *App) removeOld(ctx context.Context) error {
	now := int64(0)
	err := a.deployments().Delete(ctx, appName, metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)})
	if err != nil && !apierrors.IsNotFound(err) { // Pods may be there without it, if a removal was cut off
		return fmt.Errorf("remove the app before: %w", err)
	}
	return poll(ctx, deployWithin, "the app before to go", func(ctx context.Context) (string, error) {
		// Its ReplicaSets would make new Pods for those that are deleted. The garbage collector finds them, too, a second later.
		replicaSets := a.cluster.client.AppsV1().ReplicaSets(a.cluster.namespace)
		sets, err := replicaSets.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return "", err
		}
		if len(sets.Items) > 0 {
			background := metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}
			if err := replicaSets.DeleteCollection(ctx, background, metav1.ListOptions{LabelSelector: selector}); err != nil {
				return "", err
			}
		}
		pods, err := a.pods().List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil || len(pods.Items)+len(sets.Items) == 0 {
			return "", err
		}
		err = a.pods().DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{LabelSelector: selector})
		return fmt.Sprintf("%d Pods and %d ReplicaSets are there", len(pods.Items), len(sets.Items)), err
	})
}

const selector = "app=" + appName

// asker sends one request to the app at a URL and returns the Pod that answered it well.
type asker func(ctx context.Context, url string) (pod string, err error)

// askers are the places that a path's load comes from: this machine, or each worker, which may have kube-proxies of their own.
func (a *App) askers(path fixtures.Path) []asker {
	if path.From == fixtures.FromHost {
		client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		return []asker{func(ctx context.Context, url string) (string, error) { return worker.Ask(ctx, client, url) }}
	}
	var out []asker
	for _, w := range a.workers {
		out = append(out, w.Ask)
	}
	return out
}

// waitServed asks until every Pod has answered, so that the load doesn't meet a path that is still being set up.
func (a *App) waitServed(ctx context.Context, path fixtures.Path, ask asker) error {
	pods, err := a.Pods(ctx)
	if err != nil {
		return err
	}
	answered := map[string]bool{}
	return poll(ctx, deployWithin, "an answer of each Pod", func(ctx context.Context) (string, error) {
		for range 20 { // chance picks the Pod
			pod, err := ask(ctx, a.URL(path))
			if ctx.Err() != nil {
				return "", ctx.Err() // what was missing before tells more than that time is up
			}
			if errors.Is(err, worker.ErrEnded) {
				return "", fmt.Errorf("%w: %w", errInVain, err)
			}
			if err != nil {
				return err.Error(), nil //nolint:nilerr // what is missing, not a fault of the API server
			}
			answered[pod] = true
		}
		for _, pod := range pods {
			if !answered[pod] {
				return fmt.Sprintf("Pod %s has not answered yet", pod), nil
			}
		}
		return "", nil
	})
}

// URL is where a path is reached from the place that its load is sent from.
func (a *App) URL(path fixtures.Path) string {
	if path.From == fixtures.FromCluster {
		return a.clusterURL[path.Name]
	}
	u, err := url.Parse(path.URL)
	if address := a.cluster.config.Address; err == nil && address != "" {
		u.Host = address
		return u.String()
	}
	return path.URL
}

// Replicas is how many Pods the Deployment asks for.
func (a *App) Replicas() int { return a.replicas }

// Environment says where the app runs.
func (a *App) Environment() timeline.Environment { return a.cluster.facts }

// Observe starts to watch the app.
func (a *App) Observe(ctx context.Context, clock timeline.Clock) (func() timeline.Seen, error) {
	config := observe.Config{
		Client: a.cluster.client, Namespace: a.cluster.namespace, App: appName, Services: a.services, Container: appName,
		LogDir: filepath.Join(a.dir, podsDir),
	}
	if a.cluster.kind != nil {
		var err error
		if config.Nodes, err = a.cluster.kind.observed(); err != nil {
			return nil, err
		}
	}
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

// Pods names the Pods that are neither terminating nor gone, oldest first.
func (a *App) Pods(ctx context.Context) ([]string, error) {
	list, err := a.pods().List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	var names []string
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil {
			names = append(names, p.Name)
		}
	}
	return names, nil
}

// Restart changes the Pod template and waits until the Deployment is complete, as kubectl rollout status does.
func (a *App) Restart(ctx context.Context) error {
	release := ""
	// An API server that restarts just now is waited for, as everywhere; and so is a conflict.
	err := poll(ctx, deployWithin, "the Pod template to change", func(ctx context.Context) (string, error) {
		d, err := a.deployments().Get(ctx, appName, metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		if release == "" {
			release = strconv.FormatInt(d.Generation+1, 10)
		}
		if d.Spec.Template.Annotations[releaseKey] == release {
			return "", nil // the answer to the update was lost, and not the update
		}
		if d.Spec.Template.Annotations == nil {
			d.Spec.Template.Annotations = map[string]string{}
		}
		d.Spec.Template.Annotations[releaseKey] = release
		_, err = a.deployments().Update(ctx, d, metav1.UpdateOptions{})
		return "", err
	})
	if err != nil {
		return fmt.Errorf("change the Pod template: %w", err)
	}
	return poll(ctx, deployWithin, "the rollout", a.rolledOut)
}

// DeletePod deletes a Pod with its own grace period and doesn't wait for it to go.
func (a *App) DeletePod(ctx context.Context, name string) error {
	asked := false
	return poll(ctx, deployWithin, "Pod "+name+" to be deleted", func(ctx context.Context) (string, error) {
		err := a.pods().Delete(ctx, name, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) && asked {
			return "", nil // the answer before was lost, and not the deletion
		}
		asked = asked || !apierrors.IsNotFound(err)
		return "", err
	})
}

// WaitReady waits until as many Pods as asked for are ready, terminating ones not counted. It looks at the Pods: the Deployment's status lags behind them.
func (a *App) WaitReady(ctx context.Context) error {
	return poll(ctx, deployWithin, "Pods to be ready", func(ctx context.Context) (string, error) {
		ready, _, err := a.count(ctx)
		if err != nil || ready >= a.replicas {
			return "", err
		}
		return fmt.Sprintf("%d of %d are", ready, a.replicas), nil
	})
}

// WaitStable waits until the Deployment is complete, its Pods are ready, and no other Pod is there.
func (a *App) WaitStable(ctx context.Context) error {
	return poll(ctx, deployWithin, "new Pods to be ready and old ones to be gone", func(ctx context.Context) (string, error) {
		ready, all, err := a.count(ctx)
		if err != nil {
			return "", err
		}
		if ready != a.replicas || all != a.replicas {
			return fmt.Sprintf("%d of %d Pods are ready, %d are there", ready, a.replicas, all), nil
		}
		return a.rolledOut(ctx)
	})
}

// count returns how many Pods are ready and not terminating, and how many there are at all.
func (a *App) count(ctx context.Context) (ready, all int, err error) {
	list, err := a.pods().List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return 0, 0, err
	}
	for i := range list.Items {
		if p := &list.Items[i]; p.DeletionTimestamp == nil && observe.Ready(p) {
			ready++
		}
	}
	return ready, len(list.Items), nil
}

// rolledOut says what the Deployment lacks to be complete, by the rules of kubectl rollout status.
func (a *App) rolledOut(ctx context.Context) (string, error) {
	d, err := a.deployments().Get(ctx, appName, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	s, want := d.Status, *d.Spec.Replicas
	switch {
	case s.ObservedGeneration < d.Generation:
		return "the Deployment's controller has not seen the change", nil
	case s.UpdatedReplicas < want:
		return fmt.Sprintf("%d of %d Pods are of the new template", s.UpdatedReplicas, want), nil
	case s.Replicas > s.UpdatedReplicas:
		return fmt.Sprintf("%d Pods of an old template are there", s.Replicas-s.UpdatedReplicas), nil
	case s.AvailableReplicas < want:
		return fmt.Sprintf("%d of %d Pods are available", s.AvailableReplicas, want), nil
	}
	return "", nil
}
