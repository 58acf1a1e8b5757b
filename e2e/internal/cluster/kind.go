package cluster

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	kind "sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/zerodrop/zerodrop/fixtures"
)

// DefaultName is the usual name of the kind cluster. A cluster of the name that a run has is ours, whoever
// left it.
const DefaultName = "zerodrop"

// provider is what is needed of kind; it is a *kind.Provider but for tests.
type provider interface {
	List() ([]string, error)
	Create(name string, options ...kind.CreateOption) error
	Delete(name, kubeconfig string) error
	ExportKubeConfig(name, kubeconfig string, internal bool) error
	KubeConfig(name string, internal bool) (string, error)
	ListInternalNodes(name string) ([]nodes.Node, error)
	CollectLogs(name, dir string) error
}

// kindCluster is a cluster of kind that this process, and no other, uses.
type kindCluster struct {
	called      string // empty for DefaultName
	provider    provider
	engine      engine // that provider uses
	program     string // of the engine
	kubeconfig  string
	subnet      string // of the Services; empty for kind's default
	lock        *os.File
	reaper      *reaper
	clientImage string // of the client, in the engine
	identity    string // tells clusters apart that are not made alike
}

func (k *kindCluster) name() string { return cmp.Or(k.called, DefaultName) }

// openKind creates the cluster, or takes the one that is there if it is to be kept and is fit for
// it.
func openKind(ctx context.Context, config Config) (*kindCluster, error) {
	if config.NodeImage == "" {
		config.NodeImage = findNodeImage(ctx)
	}
	dir, err := clusterDir(cmp.Or(config.Name, DefaultName))
	if err != nil {
		return nil, err
	}
	desired, err := kindConfig(config, dir)
	if err != nil {
		return nil, err
	}
	lock, err := lockCluster(ctx, filepath.Join(dir, "cluster.lock"), config.Step)
	if err != nil {
		return nil, err
	}
	if config.Ending != nil {
		announceEnd(config.Ending, lock)
	}
	program, run, option, err := detectEngine(ctx)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	k := &kindCluster{
		called:   config.Name,
		provider: kind.NewProvider(kind.ProviderWithLogger(logger{config.Log}), option), engine: run, program: program,
		kubeconfig: filepath.Join(dir, "kubeconfig"), subnet: desired.Networking.ServiceSubnet, lock: lock,
	}
	if !config.Keep { // a cluster that is to be kept outlives its run
		if k.reaper, err = startReaper(config.Reaper, lock); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	if err := k.reaper.write(kindWill(k.name())); err != nil {
		return k, err
	}
	return k, k.open(ctx, config, desired)
}

func (k *kindCluster) open(ctx context.Context, config Config, desired *v1alpha4.Cluster) error {
	var err error
	if k.identity, err = identify(desired, config.NodeImage); err != nil {
		return err
	}
	if _, err := k.engine.removeContainers(ctx, containerLabel(k.name())); err != nil { // of a run that was killed
		return err
	}
	names, err := k.provider.List()
	if err != nil {
		return fmt.Errorf("list kind clusters: %w", err)
	}
	if slices.Contains(names, k.name()) {
		known, err := os.ReadFile(k.identityFile())
		if config.Keep && err == nil && string(known) == k.identity && k.answers(ctx) {
			config.Step("take the cluster that was kept")
			return nil
		}
		config.Step("delete a cluster left by an earlier run")
		if err := k.provider.Delete(k.name(), k.kubeconfig); err != nil {
			return fmt.Errorf("delete left-over kind cluster: %w", err)
		}
	}
	// A creation that is cut off must not leave something that looks like a cluster that was kept.
	if err := k.forget(); err != nil {
		return err
	}
	// In the folder of the state, as it has to be there as long as a cluster that is kept.
	policy, err := fixtures.AuditPolicy()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(k.kubeconfig), auditPolicyFile), policy, 0o600); err != nil {
		return fmt.Errorf("write the audit policy: %w", err)
	}
	config.Step("create a kind cluster")
	if err := k.create(ctx, desired, config.NodeImage); err != nil {
		return err
	}
	return k.remember()
}

// identityFile holds the identity of the cluster that is there, if a later run may take it.
func (k *kindCluster) identityFile() string { return k.kubeconfig + ".identity" }

// forget keeps later runs from taking the cluster that is there, until remember.
func (k *kindCluster) forget() error {
	if err := os.Remove(k.identityFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget the cluster's identity: %w", err)
	}
	return nil
}

// remember lets a later run take the cluster.
func (k *kindCluster) remember() error {
	if err := os.WriteFile(k.identityFile(), []byte(k.identity), 0o600); err != nil {
		return fmt.Errorf("write down the cluster's identity: %w", err)
	}
	return nil
}

// imagesProgram is the folder of the program that chooses a node image, seen from e2e, where the
// suite runs. The program is a Go module of its own, so that it can't be run by the path of its
// package.
const imagesProgram = "../scripts/images"

// findNodeImage is the image to use when none is named: kind's default, or the one built from
// source where Docker has that and not the default. Without an answer it is empty, and kind takes
// its default by name, or says what is wrong with it. There is no answer from another engine than
// Docker, and none where the folder doesn't exist: a module of its own isn't in the module zip, so
// a suite that runs from Go's module cache has no such program.
func findNodeImage(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "go", "-C", imagesProgram, "run", "-buildvcs=false", ".", "-find", "node").
		Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// auditPolicyFile is the name by which fixtures/kind.yaml mounts the audit policy.
const auditPolicyFile = "audit-policy.yaml"

// kindConfig is fixtures/kind.yaml with kube-proxy set up as the suite's flags say, and what
// disruptions need. What it mounts is in dir.
func kindConfig(config Config, dir string) (*v1alpha4.Cluster, error) {
	raw, err := fixtures.Kind()
	if err != nil {
		return nil, err
	}
	var desired v1alpha4.Cluster
	if err := yaml.UnmarshalStrict(raw, &desired); err != nil {
		return nil, fmt.Errorf("read kind configuration: %w", err)
	}
	for _, node := range desired.Nodes {
		for i, mount := range node.ExtraMounts {
			node.ExtraMounts[i].HostPath = filepath.Join(dir, mount.HostPath)
		}
	}
	if mode := cmp.Or(config.Needs.ProxyMode, config.ProxyMode); mode != "" {
		desired.Networking.KubeProxyMode = v1alpha4.ProxyMode(mode)
	}
	if config.ProxyMinSync > 0 {
		// kubeadm's patches know no templates: the period of every mode is set, and the mode in use
		// reads its own.
		desired.KubeadmConfigPatches = append(desired.KubeadmConfigPatches, fmt.Sprintf(`kind: KubeProxyConfiguration
apiVersion: kubeproxy.config.k8s.io/v1alpha1
iptables: {minSyncPeriod: %[1]s}
nftables: {minSyncPeriod: %[1]s}
`, config.ProxyMinSync))
	}
	desired.FeatureGates = config.Needs.FeatureGates
	desired.KubeadmConfigPatches = append(desired.KubeadmConfigPatches, config.Needs.KubeadmPatches...)
	return &desired, nil
}

// identify tells clusters apart that are not made alike.
func identify(desired *v1alpha4.Cluster, image string) (string, error) {
	raw, err := yaml.Marshal(desired)
	if err != nil {
		return "", fmt.Errorf("write kind configuration: %w", err)
	}
	policy, err := fixtures.AuditPolicy()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sha256.Sum256(slices.Concat(raw, []byte(image), policy)))[:16], nil
}

// create creates the cluster. kind takes no context: when ours is over, the nodes are taken from
// under kind, which then gives up at once.
func (k *kindCluster) create(ctx context.Context, desired *v1alpha4.Cluster, image string) error {
	options := []kind.CreateOption{
		kind.CreateWithV1Alpha4Config(
			desired,
		), kind.CreateWithKubeconfigPath(k.kubeconfig), kind.CreateWithRetain(true),
		kind.CreateWithDisplayUsage(false), kind.CreateWithDisplaySalutation(false),
	}
	if image != "" {
		options = append(options, kind.CreateWithNodeImage(image))
	}
	created := make(chan error, 1)
	go func() { created <- k.provider.Create(k.name(), options...) }()
	select {
	case err := <-created:
		if err != nil {
			return fmt.Errorf("create kind cluster with node image %s: %w", cmp.Or(image, "of kind's choice"), err)
		}
		return nil
	case <-ctx.Done():
		for {
			err := k.provider.Delete(k.name(), k.kubeconfig)
			select {
			case <-created:
				return errors.Join(fmt.Errorf("create kind cluster: %w", context.Cause(ctx)), err)
			case <-time.After(time.Second):
			}
		}
	}
}

// answers says whether the API server of the cluster that is there can be reached.
func (k *kindCluster) answers(ctx context.Context) bool {
	if k.provider.ExportKubeConfig(k.name(), k.kubeconfig, false) != nil {
		return false
	}
	config, err := loadConfig(k.kubeconfig, "")
	if err != nil {
		return false
	}
	config.Timeout = 5 * time.Second
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return false
	}
	_, err = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	return err == nil
}

// remove deletes the cluster with what was started beside it, and lets others have one. It may be
// called more than once.
func (k *kindCluster) remove(ctx context.Context) error {
	if k.lock == nil {
		return nil
	}
	_, err := k.engine.removeContainers(ctx, containerLabel(k.name()))
	if deleted := k.provider.Delete(k.name(), k.kubeconfig); deleted != nil {
		err = errors.Join(err, fmt.Errorf("delete kind cluster: %w", deleted))
	}
	return errors.Join(err, k.unlock(err == nil))
}

// unlock lets others have a cluster, and leaves ours to the reaper if it isn't clean.
func (k *kindCluster) unlock(clean bool) error {
	if k.lock == nil {
		return nil
	}
	k.reaper.end(clean)
	err := k.lock.Close()
	k.lock = nil
	return err
}

// logger writes what kind says to a writer, without its spinner.
type logger struct{ w io.Writer }

func (l logger) line(text string)                  { _, _ = fmt.Fprintln(l.w, text) }
func (l logger) Warn(message string)               { l.line("warning: " + message) }
func (l logger) Warnf(format string, args ...any)  { l.Warn(fmt.Sprintf(format, args...)) }
func (l logger) Error(message string)              { l.line("error: " + message) }
func (l logger) Errorf(format string, args ...any) { l.Error(fmt.Sprintf(format, args...)) }
func (l logger) V(level log.Level) log.InfoLogger  { return infoLogger{l, level == 0} }

// infoLogger passes on what kind says to a user and nothing of its debugging.
type infoLogger struct {
	logger
	enabled bool
}

func (l infoLogger) Enabled() bool { return l.enabled }
func (l infoLogger) Info(message string) {
	if l.enabled {
		l.line(message)
	}
}
func (l infoLogger) Infof(format string, args ...any) { l.Info(fmt.Sprintf(format, args...)) }
