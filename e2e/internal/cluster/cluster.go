package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Config says which cluster to use.
type Config struct {
	// Name is that of the kind cluster; empty for DefaultName. Runs at the same time need one each.
	Name string
	// NodeImage is the image of the kind nodes; empty for kind's default.
	NodeImage string
	// ProxyMode is kube-proxy's mode in the kind cluster: iptables, nftables; empty for kind's
	// default.
	ProxyMode string
	// ProxyMinSync is kube-proxy's minimum sync period in the kind cluster: how long it may let a
	// change of endpoints wait for others. Zero for kind's own.
	ProxyMinSync time.Duration
	// Needs is what disruptions need of the kind cluster. It is made for them alone.
	Needs scenarios.Needs
	// Workload is what holds the app's Pods: a folder of fixtures/base; empty for
	// fixtures.DefaultWorkload.
	Workload string
	// Keep leaves the kind cluster running at the end, unless a disruption could not be undone, and
	// takes one that an earlier run has left if it is fit for it.
	Keep bool
	// Kubeconfig and Context name a cluster that exists. Both or none: the current context of a
	// user is never taken by accident.
	Kubeconfig, Context string
	// Address is where this machine reaches the nodes of a cluster that exists; empty for the
	// addresses that they have within.
	Address string
	// AnyPods says that the namespace takes Pods that may do what Kubernetes' Pod Security Standards restrict, as
	// those of people's own apps.
	AnyPods bool
	// Archive is a file of images to load into the nodes of a kind cluster, beside zerodrop's own; empty for
	// none.
	Archive string
	// AppImage is pulled by a cluster that exists, into which no image can be loaded. Empty for the
	// images' own names.
	AppImage string
	// LoadImage is the same for the workers that send load from within the cluster.
	LoadImage string
	// Workers is how many send the load of lanes within the cluster; each sends its share of every
	// lane.
	Workers int
	// ComponentArgs are more arguments for the programs of components, by the component's name.
	ComponentArgs map[string][]string
	// ComponentEnv are more variables of their environment, as NAME=value.
	ComponentEnv map[string][]string
	// ClockSkew makes the clocks of the workers go wrong: a test tries so what nodes do that nobody
	// synchronises.
	ClockSkew time.Duration
	// Reaper is a command that calls Reap: it takes away what is there when this process is killed.
	// Empty for none. A kind cluster that is to be kept has none.
	Reaper []string
	// Live is measured as it runs, in a cluster that exists; nil for what is deployed into a namespace of our own.
	Live *Live
	// Ending ends when this process takes its cluster away for good, or is to do so early: other runs
	// then wait for that, and don't fail beside a run that lives. Nil if they needn't.
	Ending context.Context
	// Log gets what kind has to say; nil if nobody wants to know.
	Log io.Writer
	// Step hears of each step as it begins; nil if nobody wants to know.
	Step func(name string)
}

// errHalfContext is the guarantee that no cluster is touched that wasn't named in full.
var errHalfContext = errors.New("-kubeconfig and -context go together: name both, or none for a kind cluster")

// Cluster is a cluster that is ready, with a namespace of our own in it.
type Cluster struct {
	config    Config
	client    kubernetes.Interface
	dynamic   dynamic.Interface // for objects of any kind
	mapper    meta.RESTMapper   // where the API has those
	http      *http.Client      // to the API server, as the client does
	server    string            // its URL
	kind      *kindCluster      // nil for a cluster that exists
	reaper    *reaper           // of our namespace in a cluster that exists
	namespace string            // of the app's Pods; of our own, but where config.Live says which
	load      loads
	restarted bool // config.Live was
	opened    bool // Open came to its end: the cluster is worth keeping
	changed   bool // by a disruption that reaches beyond the namespace and wasn't undone yet
	facts     timeline.Environment
	added     []object                              // what disruptions need, as long as it is there
	adding    sync.Mutex                            // held by who adds to it while the disruption runs
	exposed   []object                              // of consumers, as long as they are there
	deployed  map[string]*unstructured.Unstructured // Deployments of components, as they are now
	patches   map[string]string                     // on Deployments of components in the run at hand, as YAML
	args      map[string][]string                   // more arguments of their programs in it
	balancer  *balancer                             // beside the cluster; nil before a run has needed it
}

// Open brings a kind cluster up, or connects to the one that is named. Close must be called, also
// after an error: it takes away what there is by then.
func Open(ctx context.Context, config Config) (*Cluster, error) {
	if config.Log == nil {
		config.Log = io.Discard
	}
	if config.Step == nil {
		config.Step = func(string) {}
	}
	c := &Cluster{config: config}
	kubeconfig, contextName := config.Kubeconfig, config.Context
	switch {
	case (kubeconfig == "") != (contextName == ""):
		return c, errHalfContext
	case kubeconfig != "" && config.Needs.Key() != "":
		return c, fmt.Errorf("cluster %s: a disruption's need of settings %w", contextName, scenarios.ErrNotOurs)
	case kubeconfig == "":
		var err error
		if c.kind, err = openKind(ctx, config); err != nil {
			return c, err
		}
		kubeconfig = c.kind.kubeconfig
	}
	if err := c.connect(kubeconfig, contextName); err != nil {
		return c, err
	}
	if config.Live != nil {
		return c, c.openLive(ctx)
	}
	config.Step("wait for the cluster")
	if err := c.waitClusterReady(ctx); err != nil {
		return c, fmt.Errorf("wait for the cluster: %w", err)
	}
	var err error
	if c.facts, err = c.environment(ctx); err != nil {
		return c, err
	}
	if c.kind != nil {
		config.Step("load the images")
		if err := c.kind.loadImages(ctx); err != nil {
			return c, err
		}
		if err := c.kind.loadArchive(config.Archive); err != nil {
			return c, err
		}
		if err := c.kind.isolate(ctx, c.client); err != nil {
			return c, err
		}
		// At best: if requests leave late without it, the verdict says so.
		if err := c.kind.prioritize(ctx); err != nil {
			_, _ = fmt.Fprintln(config.Log, err)
		}
		if err := c.removeNamespaces(ctx); err != nil {
			return c, err
		}
	}
	if err := c.createNamespace(ctx); err != nil {
		return c, err
	}
	if c.kind != nil {
		nodes, err := c.kind.observed()
		if err != nil {
			return c, err
		}
		if err := c.checkAuditLog(ctx, nodes); err != nil {
			return c, err
		}
	}
	c.opened = true
	return c, nil
}

// connect makes the clients of a cluster, by the context of a kubeconfig; an empty one is the current.
func (c *Cluster) connect(kubeconfig, contextName string) error {
	restConfig, err := loadConfig(kubeconfig, contextName)
	if err != nil {
		return err
	}
	if c.http, err = rest.HTTPClientFor(restConfig); err != nil {
		return fmt.Errorf("connect to cluster: %w", err)
	}
	// As the client reads it: a kubeconfig may leave https:// out, or end in a slash.
	server, _, err := rest.DefaultServerUrlFor(restConfig)
	if err != nil {
		return fmt.Errorf("connect to cluster: %w", err)
	}
	c.server = strings.TrimSuffix(server.String(), "/")
	if c.client, err = kubernetes.NewForConfigAndClient(restConfig, c.http); err != nil {
		return fmt.Errorf("connect to cluster: %w", err)
	}
	if c.dynamic, err = dynamic.NewForConfigAndClient(restConfig, c.http); err != nil {
		return fmt.Errorf("connect to cluster: %w", err)
	}
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.client.Discovery()))
	return nil
}

// Close takes away what Open and Deploy have made. It may be called more than once, and with a ctx
// that is over: then it takes the time it needs.
func (c *Cluster) Close(ctx context.Context) error {
	if c.config.Live != nil {
		return nil // the namespace isn't ours, and App.Close has taken the workers away
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	if c.kind != nil && (!c.config.Keep || !c.opened || c.changed) {
		return c.kind.remove(ctx)
	}
	var err error
	if c.kind != nil { // first of all those whose load balancer would put its finalizer on Services again
		_, err = c.kind.engine.removeContainers(ctx, containerLabel(c.kind.name()))
		c.balancer = nil
	}
	if c.client != nil && c.kind != nil { // who opens the cluster next waits until it is gone
		gone := c.client.CoreV1().Namespaces().Delete(ctx, componentsNamespace, metav1.DeleteOptions{})
		if gone == nil || apierrors.IsNotFound(gone) {
			c.deployed, gone = nil, nil
		}
		err = errors.Join(err, gone)
	}
	if c.client != nil && c.namespace != "" {
		left := errors.Join(c.removeObjects(ctx), c.removeNamespace(ctx))
		if left == nil {
			c.namespace = ""
		}
		err = errors.Join(err, left)
	}
	if c.kind != nil {
		err = errors.Join(err, c.kind.unlock(true))
	}
	c.reaper.end(err == nil)
	c.reaper = nil
	return err
}

// Ours says whether the cluster is a kind cluster of zerodrop's own, in which more than our
// namespace may be touched.
func (c *Cluster) Ours() bool { return c.kind != nil }

// pods are those of our namespace.
func (c *Cluster) pods() coreclient.PodInterface { return c.client.CoreV1().Pods(c.namespace) }

// SetClockSkew changes ClockSkew of the configuration for the next deployment.
func (c *Cluster) SetClockSkew(d time.Duration) { c.config.ClockSkew = d }

// SetComponentArgs changes ComponentArgs of the configuration for the next deployment.
func (c *Cluster) SetComponentArgs(args map[string][]string) { c.config.ComponentArgs = args }

// SetComponentEnv changes ComponentEnv of the configuration for the next deployment.
func (c *Cluster) SetComponentEnv(env map[string][]string) { c.config.ComponentEnv = env }

// Environment says where runs on this cluster are measured.
func (c *Cluster) Environment() timeline.Environment { return c.facts }

// Kubeconfig is the file to reach a kind cluster with; empty for a cluster that exists.
func (c *Cluster) Kubeconfig() string {
	if c.kind == nil {
		return ""
	}
	return c.kind.kubeconfig
}

// CollectLogs writes the logs of all nodes of a kind cluster into dir. For a cluster that exists it
// does nothing.
func (c *Cluster) CollectLogs(dir string) error {
	if c.kind == nil {
		return nil
	}
	if err := c.kind.provider.CollectLogs(c.kind.name(), dir); err != nil {
		return fmt.Errorf("collect logs of the cluster: %w", err)
	}
	return nil
}

func loadConfig(kubeconfig, contextName string) (*rest.Config, error) {
	raw, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	if contextName == "" {
		contextName = raw.CurrentContext
	}
	if _, ok := raw.Contexts[contextName]; !ok {
		known := slices.Sorted(maps.Keys(raw.Contexts))
		return nil, fmt.Errorf("kubeconfig %s has no context %q: it has %q", kubeconfig, contextName, known)
	}
	if err := clientcmd.ResolveLocalPaths(raw); err != nil { // of certificates, which are relative to the file
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config, err := clientcmd.NewNonInteractiveClientConfig(*raw, contextName, nil, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s, context %s: %w", kubeconfig, contextName, err)
	}
	config.UserAgent = observe.UserAgent
	config.QPS, config.Burst = 100, 200 // the default of 5 requests/s would make every wait late
	return config, nil
}

// managed marks the namespaces that are ours.
var managed = map[string]string{"app.kubernetes.io/managed-by": "zerodrop"}

func (c *Cluster) createNamespace(ctx context.Context) error {
	labels := maps.Clone(managed)
	if !c.config.AnyPods {
		labels["pod-security.kubernetes.io/enforce"] = "restricted"
	}
	name := "zerodrop-" + rand.String(10) // known before it is there, so that a reaper can be told
	if c.kind == nil {
		kubeconfig, err := filepath.Abs(c.config.Kubeconfig)
		if err == nil {
			c.reaper, err = startReaper(c.config.Reaper, nil)
		}
		if err == nil {
			err = c.reaper.write(will{Kubeconfig: kubeconfig, Context: c.config.Context, Namespace: name})
		}
		if err != nil {
			return err
		}
	}
	_, err := c.client.CoreV1().Namespaces().Create(ctx,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
	if reason := apierrors.ReasonForError(err); err == nil || reason == metav1.StatusReasonUnknown ||
		reason == metav1.StatusReasonTimeout || reason == metav1.StatusReasonServerTimeout {
		c.namespace, c.load = name, loads{name, loadName} // also where only the answer was lost: Close removes it
	}
	if err != nil {
		return fmt.Errorf("create namespace: %w", err)
	}
	return nil
}

// removeNamespace takes our namespace away and waits until it is gone.
func (c *Cluster) removeNamespace(ctx context.Context) error {
	if err := c.deleteNamespace(ctx, c.namespace); err != nil {
		return err
	}
	namespaces := c.client.CoreV1().Namespaces()
	return poll(ctx, time.Minute, "namespace "+c.namespace+" to go", func(ctx context.Context) (string, error) {
		_, err := namespaces.Get(ctx, c.namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		return "it is there", err
	})
}

// deleteNamespace has a namespace go, and ends its Pods at once: nobody measures how these go, and they may have
// a long grace period. The namespace is first, or workloads would make others in their place.
func (c *Cluster) deleteNamespace(ctx context.Context, name string) error {
	if err := c.removeFinalizers(ctx, name); err != nil {
		return err
	}
	err := c.client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
	if err == nil {
		atOnce := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
		err = c.client.CoreV1().Pods(name).DeleteCollection(ctx, atOnce, metav1.ListOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete namespace %s: %w", name, err)
	}
	return nil
}

// removeNamespaces takes away what a run that was killed has left in a kept cluster: it would use
// its CPUs.
func (c *Cluster) removeNamespaces(ctx context.Context) error {
	opts := metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: managed})}
	namespaces := c.client.CoreV1().Namespaces()
	old, err := namespaces.List(ctx, opts)
	if err != nil {
		return fmt.Errorf("find old namespaces: %w", err)
	}
	for _, ns := range old.Items {
		if err := c.deleteNamespace(ctx, ns.Name); err != nil {
			return err
		}
	}
	return poll(ctx, 2*time.Minute, "old namespaces to go", func(ctx context.Context) (string, error) {
		left, err := namespaces.List(ctx, opts)
		if err != nil || len(left.Items) == 0 {
			return "", err
		}
		return fmt.Sprintf("%d are there", len(left.Items)), nil
	})
}

// clusterDir is the folder of a kind cluster's state: the usual one has that of all.
func clusterDir(name string) (string, error) {
	dir, err := stateDir()
	if err != nil || name == DefaultName {
		return dir, err
	}
	dir = filepath.Join(dir, "clusters", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a folder for the cluster's state: %w", err)
	}
	return dir, nil
}

// stateDir is where the kubeconfig of the kind cluster and the lock on it are.
func stateDir() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a folder for the cluster's state: %w", err)
	}
	dir = filepath.Join(dir, "zerodrop")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a folder for the cluster's state: %w", err)
	}
	return dir, nil
}
