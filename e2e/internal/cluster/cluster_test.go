package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	clienttesting "k8s.io/client-go/testing"

	"github.com/zerodrop/zerodrop/scenarios"
)

// kubeconfig writes a kubeconfig whose contexts are named, all for one server; the first is the
// current one.
func kubeconfig(t *testing.T, server string, contexts ...string) string {
	t.Helper()
	var out strings.Builder
	fmt.Fprintf(&out, "apiVersion: v1\nkind: Config\nclusters:\n- name: here\n  cluster: {server: %q}\nusers:\n- name: me\n  user: {token: secret}\ncontexts:\n", server)
	for _, c := range contexts {
		fmt.Fprintf(&out, "- name: %s\n  context: {cluster: here, user: me}\n", c)
	}
	fmt.Fprintf(&out, "current-context: %s\n", contexts[0])
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(path, []byte(out.String()), 0o600))
	return path
}

func TestLoadConfig(t *testing.T) {
	file := kubeconfig(t, "https://127.0.0.1:6443", "one", "three", "two")
	broken := filepath.Join(t.TempDir(), "broken")
	require.NoError(t, os.WriteFile(broken, []byte("apiVersion: v1\nkind: Config\ncontexts:\n- name: [\n"), 0o600))
	halfway := filepath.Join(t.TempDir(), "halfway")
	require.NoError(t, os.WriteFile(halfway, []byte("apiVersion: v1\nkind: Config\ncontexts:\n- name: one\n  context: {cluster: nowhere, user: nobody}\n"), 0o600))
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	tests := []struct {
		name    string
		file    string
		context string
		want    string // of the error; empty for none
	}{
		{"a context by name", file, "two", ""},
		{"the current context", file, "", ""},
		{"no such file", "/nonexistent/kubeconfig", "two", "read kubeconfig: .*/nonexistent/kubeconfig: no such file"},
		{"no kubeconfig", broken, "two", "read kubeconfig: "},
		{"no such context, and which there are", file, "four", `kubeconfig .*/kubeconfig has no context "four": it has \["one" "three" "two"\]`},
		{"no contexts", empty, "two", `kubeconfig .*/empty has no context "two": it has \[\]`},
		{"a context of no cluster", halfway, "one", `kubeconfig .*/halfway, context one: invalid configuration`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config, err := loadConfig(tt.file, tt.context)
			if tt.want != "" {
				require.Error(t, err)
				assert.Regexp(t, tt.want, err.Error())
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "https://127.0.0.1:6443", config.Host)
			assert.Equal(t, "secret", config.BearerToken)
			assert.Equal(t, "zerodrop", config.UserAgent)
			assert.GreaterOrEqual(t, config.QPS, float32(100), "a wait must not be late for want of requests")
		})
	}
}

// TestLoadConfigPaths: files that a kubeconfig names are relative to it, and not to where the tests
// run.
func TestLoadConfigPaths(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "kubeconfig")
	require.NoError(t, os.WriteFile(file, []byte(`apiVersion: v1
kind: Config
clusters:
- {name: here, cluster: {server: https://127.0.0.1:6443, certificate-authority: certs/ca.crt}}
users:
- {name: me, user: {client-certificate: certs/me.crt, client-key: certs/me.key}}
contexts:
- {name: one, context: {cluster: here, user: me}}
`), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "certs"), 0o700))
	for _, name := range []string{"ca.crt", "me.crt", "me.key"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "certs", name), nil, 0o600))
	}
	config, err := loadConfig(file, "one")
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, "certs", "ca.crt"), config.CAFile)
	assert.Equal(t, filepath.Join(dir, "certs", "me.crt"), config.CertFile)
	assert.Equal(t, filepath.Join(dir, "certs", "me.key"), config.KeyFile)
}

// TestOpenHalf: a cluster that isn't named in full is not touched, nor is one created.
func TestOpenHalf(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no container engine in it
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	file := kubeconfig(t, "https://127.0.0.1:6443", "one")
	t.Setenv("KUBECONFIG", file)
	tests := []struct {
		name   string
		config Config
		want   string
	}{
		{"no context", Config{Kubeconfig: file}, errHalfContext.Error()},
		{"no kubeconfig", Config{Context: "one"}, errHalfContext.Error()},
		{"needs of a cluster that exists", Config{Kubeconfig: file, Context: "one", Needs: scenarios.Needs{KubeadmPatches: []string{"a"}}}, scenarios.ErrNotOurs.Error()},
		{"unknown context", Config{Kubeconfig: file, Context: "two"}, `has no context "two"`},
		{"neither, and no container engine", Config{}, "find a container engine for kind (make e2e brings one up): "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Open(t.Context(), tt.config)
			require.ErrorContains(t, err, tt.want)
			require.NotNil(t, c)
			assert.Empty(t, c.Kubeconfig())
			require.NoError(t, c.CollectLogs(t.TempDir()), "nothing to collect")
			require.NoError(t, c.Close(t.Context()))
			require.NoError(t, c.Close(t.Context()), "once more")
		})
	}
}

// apiServer is as much of an API server as Open needs of one that exists.
type apiServer struct {
	mu         sync.Mutex
	namespaces map[string]corev1.Namespace
	asked      []string
	deny       string // this request
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	request := r.Method + " " + r.URL.Path
	s.asked = append(s.asked, request)
	w.Header().Set("Content-Type", "application/json")
	answer := func(code int, object any) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(object)
	}
	status := func(code int32, reason metav1.StatusReason) {
		answer(int(code), metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: code, Reason: reason, Message: string(reason),
		})
	}
	name, one := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/")
	switch {
	case request == s.deny:
		status(http.StatusForbidden, metav1.StatusReasonForbidden)
	case request == "GET /version":
		answer(http.StatusOK, version.Info{GitVersion: "v1.37.2"})
	case request == "GET /api/v1/nodes":
		answer(http.StatusOK, corev1.NodeList{TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"}, Items: []corev1.Node{*aNode("a", corev1.ConditionTrue)}})
	case request == "POST /api/v1/namespaces":
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(raw, nil, nil) // it comes as protobuf
		if err != nil {
			panic(err)
		}
		ns := *object.(*corev1.Namespace)
		ns.TypeMeta = metav1.TypeMeta{Kind: "Namespace", APIVersion: "v1"}
		s.namespaces[ns.Name] = ns
		answer(http.StatusCreated, ns)
	case r.Method == http.MethodDelete && one && s.namespaces[name].Name != "":
		delete(s.namespaces, name)
		answer(http.StatusOK, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess})
	default:
		status(http.StatusNotFound, metav1.StatusReasonNotFound)
	}
}

// names are those of the namespaces that are there.
func (s *apiServer) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for name := range s.namespaces {
		out = append(out, name)
	}
	return out
}

func openExisting(t *testing.T, s *apiServer) (*Cluster, []string, error) {
	t.Helper()
	s.namespaces = map[string]corev1.Namespace{"default": {ObjectMeta: metav1.ObjectMeta{Name: "default"}}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	var steps []string
	c, err := Open(t.Context(), Config{Kubeconfig: kubeconfig(t, server.URL+"/", "other", "mine"), Context: "mine", Step: func(name string) { steps = append(steps, name) }})
	return c, steps, err
}

// TestOpenExisting: a cluster that exists gets one namespace, which goes at the end, also with a
// context that is over, and once.
func TestOpenExisting(t *testing.T) {
	s := &apiServer{}
	c, steps, err := openExisting(t, s)
	require.NoError(t, err)
	assert.Equal(t, []string{"wait for the cluster"}, steps)
	assert.Equal(t, "v1.37.2", c.Environment().Kubernetes)
	assert.Equal(t, 1, c.Environment().Nodes)
	assert.Equal(t, "unknown", c.Environment().ProxyMode)
	assert.Empty(t, c.Kubeconfig(), "it's the user's own")
	assert.Regexp(t, "^http://127.0.0.1:[0-9]+$", c.server, "paths can be put behind it, whatever the kubeconfig ends its URL with")
	assert.ElementsMatch(t, []string{"default", c.namespace}, s.names())
	assert.Equal(t, map[string]string{"app.kubernetes.io/managed-by": "zerodrop", "pod-security.kubernetes.io/enforce": "restricted"}, s.namespaces[c.namespace].Labels)
	require.NoError(t, c.CollectLogs(t.TempDir()), "not ours to collect")

	require.NoError(t, c.Close(cancelled(t, errUser)))
	assert.Equal(t, []string{"default"}, s.names())
	asked := len(s.asked)
	require.NoError(t, c.Close(t.Context()), "once more")
	assert.Len(t, s.asked, asked, "and then there's nothing to do")
}

// TestOpenExistingFails: what a cluster refuses is told, and what was made by then is taken away.
func TestOpenExistingFails(t *testing.T) {
	tests := []struct {
		name string
		deny string
		want string
	}{
		{"no version", "GET /version", "ask the API server for its version: "},
		{"no namespace", "POST /api/v1/namespaces", "create namespace: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &apiServer{deny: tt.deny}
			c, _, err := openExisting(t, s)
			require.ErrorContains(t, err, tt.want)
			require.NoError(t, c.Close(t.Context()))
			assert.Equal(t, []string{"default"}, s.names())
		})
	}
}

// TestCloseFails: a namespace that could not be deleted is deleted by the next Close; one that is
// gone already is all right.
func TestCloseFails(t *testing.T) {
	client := fake.NewSimpleClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	down := true
	client.PrependReactor("delete", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) { return down, nil, errDown })
	c := &Cluster{client: client, namespace: namespace}
	require.ErrorContains(t, c.Close(t.Context()), "delete namespace zerodrop-test: ")
	down = false
	require.NoError(t, c.Close(t.Context()))
	left, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	assert.Empty(t, left.Items)
	require.NoError(t, (&Cluster{client: client, namespace: namespace}).Close(t.Context()), "gone already")
}

// TestRemoveNamespaces: ours go, and nothing else; it waits until they are gone.
func TestRemoveNamespaces(t *testing.T) {
	ns := func(name string, labels map[string]string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	all := func() *fake.Clientset {
		return fake.NewSimpleClientset(
			ns("default", nil), ns("zerodrop-user", nil), ns("helm", map[string]string{"app.kubernetes.io/managed-by": "Helm"}),
			ns("zerodrop-a", managed), ns("zerodrop-b", managed),
		)
	}
	names := func(t *testing.T, client *fake.Clientset) []string {
		t.Helper()
		list, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		var out []string
		for _, n := range list.Items {
			out = append(out, n.Name)
		}
		return out
	}
	t.Run("ours only", func(t *testing.T) {
		client := all()
		require.NoError(t, (&Cluster{client: client}).removeNamespaces(t.Context()))
		assert.Equal(t, []string{"default", "helm", "zerodrop-user"}, names(t, client))
	})
	t.Run("they take their time", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			client := all()
			client.PrependReactor("delete", "namespaces", func(a clienttesting.Action) (bool, runtime.Object, error) { return true, nil, nil })
			ctx, cancel := context.WithTimeoutCause(t.Context(), sec, errUser)
			defer cancel()
			require.EqualError(t, (&Cluster{client: client}).removeNamespaces(ctx), "wait for old namespaces to go: stopped by the user: 2 are there")
		})
	})
	t.Run("gone in between", func(t *testing.T) {
		client := all()
		client.PrependReactor("delete", "namespaces", func(a clienttesting.Action) (bool, runtime.Object, error) {
			name := a.(clienttesting.DeleteAction).GetName()
			require.NoError(t, client.Tracker().Delete(a.GetResource(), "", name))
			return false, nil, nil // and the fake doesn't find it
		})
		require.NoError(t, (&Cluster{client: client}).removeNamespaces(t.Context()))
		assert.Equal(t, []string{"default", "helm", "zerodrop-user"}, names(t, client))
	})
	for verb, want := range map[string]string{"list": "find old namespaces: ", "delete": "delete namespace zerodrop-a: "} {
		t.Run("fails to "+verb, func(t *testing.T) {
			client := all()
			refuse(client, verb, "namespaces", errDown)
			require.ErrorContains(t, (&Cluster{client: client}).removeNamespaces(t.Context()), want)
		})
	}
}

// TestNamespaceWithoutAnswer: a namespace that may be there, as only the answer was lost, is one to
// remove; one that was refused is not.
func TestNamespaceWithoutAnswer(t *testing.T) {
	refused := apierrors.NewForbidden(schema.GroupResource{Resource: "namespaces"}, "", errFake)
	for _, tt := range []struct {
		err  error
		want bool
	}{{errFake, true}, {apierrors.NewTimeoutError("slow", 1), true}, {refused, false}} {
		client := fake.NewSimpleClientset()
		client.PrependReactor("create", "namespaces", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, tt.err
		})
		c := &Cluster{client: client, kind: &kindCluster{}}
		require.ErrorIs(t, c.createNamespace(t.Context()), tt.err)
		assert.Equal(t, tt.want, c.namespace != "", tt.err)
	}
}
