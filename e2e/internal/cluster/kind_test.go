package cluster

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	kind "sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/yaml"

	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// fakeKind is kind with a cluster or without one, and what it was asked to do.
type fakeKind struct {
	server string // the cluster's API server
	nodes  []nodes.Node
	create func() error // what the creation of a cluster comes to
	engine fakeEngine

	mu       sync.Mutex
	clusters []string
	calls    []string
	fail     map[string]error
}

// call writes a call down and says whether it fails.
func (f *fakeKind) call(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name)
	return f.fail[name]
}

func (f *fakeKind) called(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, call := range f.calls {
		if call == name {
			n++
		}
	}
	return n
}

func (f *fakeKind) List() ([]string, error) { return f.clusters, f.fail["list"] }

func (f *fakeKind) ListInternalNodes(string) ([]nodes.Node, error) { return f.nodes, f.fail["nodes"] }

func (f *fakeKind) CollectLogs(name, dir string) error {
	return f.call("logs of " + name + " to " + dir)
}

func (f *fakeKind) ExportKubeConfig(_, kubeconfig string, _ bool) error {
	if err := f.call("export"); err != nil {
		return err
	}
	return f.writeKubeconfig(kubeconfig)
}

func (f *fakeKind) KubeConfig(name string, internal bool) (string, error) {
	return "kubeconfig of " + name + ", internal: " + strconv.FormatBool(internal), f.call("kubeconfig")
}

func (f *fakeKind) writeKubeconfig(path string) error {
	raw := "apiVersion: v1\nkind: Config\nclusters: [{name: kind, cluster: {server: '" + f.server + "'}}]\n" +
		"contexts: [{name: kind-zerodrop, context: {cluster: kind}}]\ncurrent-context: kind-zerodrop\n"
	return os.WriteFile(path, []byte(raw), 0o600)
}

func (f *fakeKind) Create(name string, _ ...kind.CreateOption) error {
	if err := f.call("create"); err != nil {
		return err
	}
	f.mu.Lock()
	f.clusters = append(f.clusters, name) // kind is told to retain what it could not finish
	f.mu.Unlock()
	if f.create != nil {
		return f.create()
	}
	return nil
}

func (f *fakeKind) Delete(name, _ string) error {
	if err := f.call("delete"); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var left []string
	for _, c := range f.clusters {
		if c != name {
			left = append(left, c)
		}
	}
	f.clusters = left
	return nil
}

// newKind is a kind cluster that is yet to be opened, with a folder of its own for its state.
func newKind(t *testing.T, f *fakeKind) *kindCluster {
	t.Helper()
	dir := t.TempDir()
	lock, err := lockCluster(t.Context(), filepath.Join(dir, "cluster.lock"), noStep)
	require.NoError(t, err)
	t.Cleanup(func() { _ = lock.Close() })
	return &kindCluster{provider: f, engine: f.engine.run, kubeconfig: filepath.Join(dir, "kubeconfig"), lock: lock}
}

// apiServerThat answers /readyz with a status.
func apiServerThat(t *testing.T, status int) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestFindNodeImage(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"e2e", "bin"} {
		require.NoError(t, os.Mkdir(filepath.Join(root, dir), 0o755))
	}
	script := "#!/bin/sh\ncd \"$2\" && echo \" $* of $(basename $PWD)\"\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "bin", "go"), []byte(script), 0o755))
	t.Setenv("PATH", filepath.Join(root, "bin")+":"+os.Getenv("PATH"))
	t.Chdir(filepath.Join(root, "e2e"))

	assert.Empty(t, findNodeImage(t.Context()), "the module zip has no scripts/images")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "scripts", "images"), 0o755))
	assert.Equal(t, "-C ../scripts/images run -buildvcs=false . -find node of images", findNodeImage(t.Context()))
}

// TestOpenKind: a cluster that was kept is used if it is the one that is wanted and works; anything
// else is replaced.
func TestOpenKind(t *testing.T) {
	ready, broken := apiServerThat(t, http.StatusOK), apiServerThat(t, http.StatusInternalServerError)
	const (
		takes    = "take the cluster that was kept"
		deletes  = "delete a cluster left by an earlier run"
		creates  = "create a kind cluster"
		node     = "node:v1"
		otherRun = "somebody-elses"
	)
	tests := []struct {
		name     string
		clusters []string
		identity string // image of the cluster that was kept; empty for none
		keep     bool
		server   string
		fail     string // call of kind
		want     []string
	}{
		{"nothing there", nil, "", false, ready, "", []string{creates}},
		{"nothing there, to be kept", nil, "", true, ready, "", []string{creates}},
		{"other clusters are none of ours", []string{otherRun}, "", false, ready, "", []string{creates}},
		{"kept, and wanted again", []string{otherRun, "zerodrop"}, node, true, ready, "", []string{takes}},
		{"kept, and a fresh one is wanted", []string{"zerodrop"}, node, false, ready, "", []string{deletes, creates}},
		{"kept, of another image", []string{"zerodrop"}, "node:v0", true, ready, "", []string{deletes, creates}},
		{"left by a run that didn't finish it", []string{"zerodrop"}, "", true, ready, "", []string{deletes, creates}},
		{"kept, and broken since", []string{"zerodrop"}, node, true, broken, "", []string{deletes, creates}},
		{"kept, and dead since", []string{"zerodrop"}, node, true, "http://127.0.0.1:1", "", []string{deletes, creates}},
		{"kept, and stopped since", []string{"zerodrop"}, node, true, ready, "export", []string{deletes, creates}},
	}
	desired := &v1alpha4.Cluster{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeKind{server: tt.server, clusters: tt.clusters, fail: map[string]error{tt.fail: errFake}}
			k := newKind(t, f)
			identityFile := k.kubeconfig + ".identity"
			if tt.identity != "" {
				identity, err := identify(desired, tt.identity)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(identityFile, []byte(identity), 0o600))
			}
			var steps []string
			config := Config{NodeImage: node, Keep: tt.keep, Step: func(name string) { steps = append(steps, name) }}
			f.engine.answers = map[string]string{"ps": "client-of-a-run-that-was-killed"}
			require.NoError(t, k.open(t.Context(), config, desired))
			assert.Contains(t, f.engine.calls, "rm --force --volumes client-of-a-run-that-was-killed")
			assert.Equal(t, tt.want, steps)
			assert.Contains(t, f.clusters, "zerodrop")
			want, err := identify(desired, node)
			require.NoError(t, err)
			got, err := os.ReadFile(identityFile)
			require.NoError(t, err)
			assert.Equal(t, want, string(got))
			if slices.Contains(steps, creates) {
				assert.FileExists(t, filepath.Join(filepath.Dir(k.kubeconfig), auditPolicyFile))
			}
		})
	}
}

// TestOpenKindFails: what can't be done is told, and nothing stays that looks like a cluster that
// was kept.
func TestOpenKindFails(t *testing.T) {
	tests := []struct {
		name    string
		fail    string
		desired *v1alpha4.Cluster
		image   string
		want    string
	}{
		{"clusters can't be listed", "list", &v1alpha4.Cluster{}, "", "list kind clusters: connection refused"},
		{"the one before can't be deleted", "delete", &v1alpha4.Cluster{}, "", "delete left-over kind cluster: connection refused"},
		{"it can't be created", "create", &v1alpha4.Cluster{}, "node:v2", "create kind cluster with node image node:v2: connection refused"},
		{"kind's own image isn't there", "create", &v1alpha4.Cluster{}, "", "create kind cluster with node image of kind's choice: connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeKind{server: "http://127.0.0.1:1", clusters: []string{"zerodrop"}, fail: map[string]error{tt.fail: errFake}}
			k := newKind(t, f)
			identity, err := identify(tt.desired, tt.image)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(k.kubeconfig+".identity", []byte(identity), 0o600))
			err = k.open(t.Context(), Config{Keep: true, NodeImage: tt.image, Step: func(string) {}}, tt.desired)
			require.ErrorContains(t, err, tt.want)
			if f.called("delete") > 0 && tt.fail != "delete" {
				assert.NoFileExists(t, k.kubeconfig+".identity")
			}
		})
	}
}

// TestOpenKindStopped: kind knows no context. When the run is stopped while a cluster is being
// created, its nodes are taken away until kind gives up.
func TestOpenKindStopped(t *testing.T) {
	dir := t.TempDir()
	inBubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		f := &fakeKind{}
		f.create = func() error {
			// The nodes come up while the first deletion is under way, and are seen by the third.
			for f.called("delete") < 3 {
				time.Sleep(100 * time.Millisecond)
			}
			return errFake
		}
		k := &kindCluster{provider: f, engine: f.engine.run, kubeconfig: filepath.Join(dir, "kubeconfig")}
		time.AfterFunc(10*sec, func() { cancel(errUser) })
		began := time.Now()
		err := k.open(ctx, Config{Step: func(string) {}}, &v1alpha4.Cluster{})
		require.ErrorIs(t, err, errUser)
		require.EqualError(t, err, "create kind cluster: stopped by the user")
		assert.Equal(t, 12*sec, time.Since(began).Truncate(sec))
		assert.NoFileExists(t, k.kubeconfig+".identity")
	})
}

// TestCloseKind: the cluster goes, or stays if it is to be kept; the lock is free in any case, and
// a second Close does nothing.
func TestCloseKind(t *testing.T) {
	tests := []struct {
		name    string
		keep    bool
		opened  bool
		fail    string
		deleted int    // clusters
		want    string // error
	}{
		{"deleted", false, true, "", 1, ""},
		{"kept", true, true, "", 0, ""},
		{"to be kept, but never ready", true, false, "", 1, ""},
		{"can't be deleted", false, true, "delete", 1, "delete kind cluster: connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeKind{clusters: []string{"zerodrop"}, fail: map[string]error{tt.fail: errFake}}
			k := newKind(t, f)
			client := fake.NewSimpleClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
			c := &Cluster{config: Config{Keep: tt.keep}, kind: k, client: client, namespace: namespace, opened: tt.opened}
			assert.Equal(t, k.kubeconfig, c.Kubeconfig())
			lock := filepath.Join(filepath.Dir(k.kubeconfig), "cluster.lock")
			_, err := lockCluster(t.Context(), lock, noStep)
			require.ErrorIs(t, err, errBusy)

			f.engine.answers = map[string]string{"ps": "client"}
			err = c.Close(cancelled(t, errUser))
			assert.Equal(t, 1, strings.Count(strings.Join(f.engine.calls, "\n"), "rm --force --volumes client"), "what stands beside it")
			if tt.want == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, tt.want)
			}
			require.NoError(t, c.Close(t.Context()), "once more")
			assert.Equal(t, tt.deleted, f.called("delete"))
			free, err := lockCluster(t.Context(), lock, noStep)
			require.NoError(t, err)
			require.NoError(t, free.Close())
			left, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
			require.NoError(t, err)
			assert.Equal(t, tt.deleted == 0, len(left.Items) == 0, "a cluster that stays is left clean")
		})
	}
}

func TestCollectLogs(t *testing.T) {
	f := &fakeKind{}
	c := &Cluster{kind: newKind(t, f)}
	require.NoError(t, c.CollectLogs("/some/where"))
	assert.Equal(t, []string{"logs of zerodrop to /some/where"}, f.calls)
	f.fail = map[string]error{"logs of zerodrop to /some/where": errFake}
	require.EqualError(t, c.CollectLogs("/some/where"), "collect logs of the cluster: connection refused")
}

// TestBusy: a second run on the machine is told of the first, whether or not there is a container
// engine.
func TestBusy(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("PATH", t.TempDir())
	dir, err := stateDir()
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(cache, "zerodrop"), dir)
	lock, err := lockCluster(t.Context(), filepath.Join(dir, "cluster.lock"), noStep)
	require.NoError(t, err)
	c, err := Open(t.Context(), Config{})
	require.ErrorIs(t, err, errBusy)
	require.NoError(t, c.Close(t.Context()), "nothing of the other run's is touched")
	_, err = Open(t.Context(), Config{Name: "another"})
	require.ErrorContains(t, err, "find a container engine", "a cluster of another name has a lock of its own")
	assert.FileExists(t, filepath.Join(dir, "clusters", "another", "cluster.lock"))
	require.NoError(t, lock.Close())
	for range 2 { // and no lock stays behind for want of an engine
		_, err = Open(t.Context(), Config{})
		require.ErrorContains(t, err, "find a container engine")
	}
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cluster.lock"))
	_, err = Open(t.Context(), Config{})
	require.ErrorContains(t, err, "make a folder for the cluster's state: ")
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	_, err = Open(t.Context(), Config{})
	require.ErrorContains(t, err, "find a folder for the cluster's state: ")
}

// TestKindConfig: the flags change kube-proxy and nothing else, needs their own; each makes another
// cluster.
func TestKindConfig(t *testing.T) {
	plain, err := kindConfig(Config{}, "/state")
	require.NoError(t, err)
	require.Len(t, plain.Nodes, 3)
	assert.Empty(t, plain.KubeadmConfigPatches)
	var patches string
	for _, patch := range plain.KubeadmConfigPatchesJSON6902 {
		patches += patch.Patch
	}
	require.Len(t, plain.Nodes[0].ExtraMounts, 1)
	policy := plain.Nodes[0].ExtraMounts[0]
	assert.Equal(t, "/state/"+auditPolicyFile, policy.HostPath, "where it outlives this process")
	assert.Contains(t, patches, "value: "+policy.ContainerPath+"}")
	assert.Contains(t, patches, "value: "+fixtures.AuditLog+"}", "where it is looked for")

	tests := []struct {
		name   string
		config Config
		mode   v1alpha4.ProxyMode
		period string // in kubeadm's patch; empty for no patch
		needs  int    // patches
	}{
		{"as kind does it", Config{}, "", "", 0},
		{"another mode", Config{ProxyMode: "nftables"}, v1alpha4.NFTablesProxyMode, "", 0},
		{"the mode that a run needs", Config{ProxyMode: "iptables", ProxyMinSync: 2 * time.Second, Needs: scenarios.Needs{ProxyMode: "nftables"}}, v1alpha4.NFTablesProxyMode, "2s", 0},
		{"another period", Config{ProxyMinSync: 10 * sec}, "", "10s", 0},
		{"both", Config{ProxyMode: "iptables", ProxyMinSync: 1500 * time.Millisecond}, v1alpha4.IPTablesProxyMode, "1.5s", 0},
		{"a gate", Config{Needs: scenarios.Needs{FeatureGates: map[string]bool{"Gate": true}}}, "", "", 0},
		{"the gate closed", Config{Needs: scenarios.Needs{FeatureGates: map[string]bool{"Gate": false}}}, "", "", 0},
		{"a patch", Config{Needs: scenarios.Needs{KubeadmPatches: []string{"kind: KubeletConfiguration"}}}, "", "", 1},
	}
	identities := map[string]string{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			desired, err := kindConfig(tt.config, "/state")
			require.NoError(t, err)
			assert.Equal(t, tt.mode, desired.Networking.KubeProxyMode)
			assert.Equal(t, plain.Nodes, desired.Nodes)
			assert.Equal(t, tt.config.Needs.FeatureGates, desired.FeatureGates)
			if tt.period == "" {
				assert.Equal(t, tt.config.Needs.KubeadmPatches, desired.KubeadmConfigPatches)
				assert.Len(t, desired.KubeadmConfigPatches, tt.needs)
			} else {
				require.Len(t, desired.KubeadmConfigPatches, 1)
				var patch struct {
					APIVersion, Kind   string
					IPTables, NFTables struct{ MinSyncPeriod metav1.Duration }
				}
				require.NoError(t, yaml.Unmarshal([]byte(desired.KubeadmConfigPatches[0]), &patch))
				assert.Equal(t, "KubeProxyConfiguration", patch.Kind)
				assert.Equal(t, tt.config.ProxyMinSync, patch.IPTables.MinSyncPeriod.Duration)
				assert.Equal(t, tt.config.ProxyMinSync, patch.NFTables.MinSyncPeriod.Duration)
				assert.Contains(t, desired.KubeadmConfigPatches[0], tt.period)
			}
			for _, image := range []string{"", "node:v1", "node:v2"} {
				identity, err := identify(desired, image)
				require.NoError(t, err)
				again, err := identify(desired, image)
				require.NoError(t, err)
				assert.Equal(t, identity, again)
				assert.Empty(t, identities[identity], "made otherwise, known as the same")
				identities[identity] = tt.name
			}
		})
	}
}

// TestLogger: what kind says to a user is passed on, its debugging isn't.
func TestLogger(t *testing.T) {
	var out bytes.Buffer
	l := logger{&out}
	l.Warn("disk is slow")
	l.Warnf("disk is %s", "full")
	l.Error("no disk")
	l.Errorf("%d disks", 0)
	l.V(0).Info("nodes are up")
	l.V(0).Infof("%d nodes are up", 3)
	l.V(1).Info("debugging")
	l.V(2).Infof("debugging %d", 2)
	assert.True(t, l.V(0).Enabled())
	assert.False(t, l.V(1).Enabled())
	assert.Equal(t, "warning: disk is slow\nwarning: disk is full\nerror: no disk\nerror: 0 disks\nnodes are up\n3 nodes are up\n", out.String())
}
