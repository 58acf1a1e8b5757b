package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	kindexec "sigs.k8s.io/kind/pkg/exec"

	"github.com/zerodrop/zerodrop/e2e/internal/worker"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// machine is a container engine with some images, and a node with some: both write down what they
// are asked.
type machine struct {
	nodes.Node
	images []string // name, or label=name
	onNode []string
	asked  []string
}

func (m *machine) String() string        { return "zerodrop-control-plane" }
func (m *machine) Role() (string, error) { return "control-plane", nil }

func (m *machine) engine(_ context.Context, _ io.Reader, args ...string) (string, error) {
	line := strings.Join(args, " ")
	switch args[0] + " " + args[1] {
	case "image inspect":
		if !slices.Contains(m.images, args[2]) {
			return "", errors.New("no such image")
		}
	case "image ls":
		var names []string
		for _, image := range m.images {
			if name, ok := strings.CutPrefix(image, strings.TrimPrefix(args[3], "label=")+"="); ok {
				names = append(names, name)
			}
		}
		return strings.Join(names, "\n"), nil
	case "save --output":
		m.asked = append(m.asked, "save "+args[3])
		return "", os.WriteFile(args[2], []byte("image"), 0o600)
	default:
		return "", errors.New("unknown command: " + line)
	}
	return "", nil
}

func (m *machine) Command(command string, args ...string) kindexec.Cmd {
	return m.CommandContext(context.Background(), command, args...)
}

func (m *machine) CommandContext(_ context.Context, command string, args ...string) kindexec.Cmd {
	if command == "sh" { // runOn
		args = args[3:]
	} else {
		args = append([]string{command}, args...)
	}
	return &nodeCommand{machine: m, line: strings.Join(args, " ")}
}

type nodeCommand struct {
	kindexec.Cmd
	machine *machine
	line    string
	out     io.Writer
}

func (c *nodeCommand) SetStdin(io.Reader) kindexec.Cmd    { return c }
func (c *nodeCommand) SetStdout(w io.Writer) kindexec.Cmd { c.out = w; return c }
func (c *nodeCommand) SetStderr(io.Writer) kindexec.Cmd   { return c }

func (c *nodeCommand) Run() error {
	switch {
	case strings.HasSuffix(c.line, "images ls --quiet"):
		_, _ = io.WriteString(c.out, strings.Join(c.machine.onNode, "\n"))
	case c.line == "containerd config dump":
		_, _ = io.WriteString(c.out, "version = 3\n[plugins.'io.containerd.cri.v1.images']\n  snapshotter = \"overlayfs\"\n")
	default:
		c.machine.asked = append(c.machine.asked, c.line)
	}
	return nil
}

// lateMapper knows the kinds of a CustomResourceDefinition once it was told to look again.
type lateMapper struct {
	meta.RESTMapper
	known bool
}

func (m *lateMapper) Reset() { m.known = true }

func (m *lateMapper) RESTMapping(kind schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	if strings.HasPrefix(kind.Group, "gateway.") && !m.known {
		return nil, &meta.NoKindMatchError{GroupKind: kind}
	}
	return m.RESTMapper.RESTMapping(kind, versions...)
}

const traefikImage = "localhost/zerodrop/traefik:v3.7.13-retries"

// newComponents is a cluster of ours in which Traefik's Deployment gets its Pod, unless that never
// becomes ready.
func newComponents(t *testing.T, ready func(*corev1.Pod)) (*Cluster, *fake.Clientset, *machine) {
	t.Helper()
	client := fake.NewSimpleClientset()
	m := &machine{images: []string{componentImageLabel + "traefik=zerodrop/traefik:v3.7.13-retries-abc"}}
	c := newCluster(client, Config{Step: func(string) {}})
	c.kind = &kindCluster{provider: &fakeKind{nodes: []nodes.Node{m}}, engine: m.engine}
	kinds := newMapper().(*meta.DefaultRESTMapper)
	for kind, scope := range map[string]meta.RESTScope{
		"apiextensions.k8s.io/v1/CustomResourceDefinition": meta.RESTScopeRoot, "/v1/ConfigMap": meta.RESTScopeNamespace,
		"/v1/ServiceAccount": meta.RESTScopeNamespace, "gateway.networking.k8s.io/v1/GatewayClass": meta.RESTScopeRoot,
		"gateway.networking.k8s.io/v1/Gateway":            meta.RESTScopeNamespace,
		"rbac.authorization.k8s.io/v1/ClusterRole":        meta.RESTScopeRoot,
		"rbac.authorization.k8s.io/v1/ClusterRoleBinding": meta.RESTScopeRoot,
	} {
		part := strings.Split(kind, "/")
		kinds.Add(schema.GroupVersionKind{Group: part[0], Version: part[1], Kind: part[2]}, scope)
	}
	c.mapper = &lateMapper{RESTMapper: kinds}
	made, args := 0, ""
	settle := func(clienttesting.Action) (bool, runtime.Object, error) {
		object, err := client.Tracker().Get(deploymentsGVR, componentsNamespace, "traefik")
		if err != nil {
			return false, nil, nil //nolint:nilerr // there is none yet
		}
		d := object.(*appsv1.Deployment).DeepCopy()
		n := *d.Spec.Replicas
		d.Status = appsv1.DeploymentStatus{Replicas: n, UpdatedReplicas: n, AvailableReplicas: n}
		require.NoError(t, client.Tracker().Update(deploymentsGVR, d, componentsNamespace))
		now := fmt.Sprint(n, d.Spec.Template.Spec.Containers[0].Args)
		if now == args {
			return false, nil, nil
		}
		_ = client.Tracker().Delete(podsGVR, componentsNamespace, fmt.Sprintf("traefik-%d", made))
		if args = now; n > 0 {
			made++
			p := aPod(fmt.Sprintf("traefik-%d", made), ready)
			p.Namespace, p.Labels, p.UID = componentsNamespace, map[string]string{"app": "traefik"}, types.UID(p.Name)
			p.Spec.NodeName, p.Status.PodIP = m.String(), fmt.Sprintf("10.244.0.%d", made)
			require.NoError(t, client.Tracker().Create(podsGVR, p, componentsNamespace))
		}
		return false, nil, nil
	}
	client.PrependReactor("get", "deployments", settle)
	client.PrependReactor("list", "pods", settle)
	return c, client, m
}

// TestComponents: deployed once, scaled to zero where nobody needs it, rolled where its arguments
// are others.
func TestComponents(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, client, m := newComponents(t, ready)
		dir := t.TempDir()
		use := func(names ...string) map[string]instance {
			t.Helper()
			used, err := c.useComponents(t.Context(), names, dir)
			require.NoError(t, err)
			return used
		}
		assert.Empty(t, use())
		assert.Empty(t, client.Actions(), "nothing is asked where nothing is needed")

		first := use("traefik")["traefik"]
		assert.Equal(t, "traefik-1", first.pod)
		assert.Equal(t, netip.MustParseAddr("10.244.0.1"), first.ip)
		assert.Equal(t, m.String(), first.node)
		assert.Equal(t, []string{
			"save zerodrop/traefik:v3.7.13-retries-abc",
			"ctr --namespace=k8s.io images import --all-platforms --digests --snapshotter=overlayfs -",
			"ctr --namespace=k8s.io images tag --force docker.io/zerodrop/traefik:v3.7.13-retries-abc " + traefikImage,
			"rm -f /var/log/zerodrop/traefik.log /var/log/zerodrop/traefik.log.rolled",
		}, m.asked)
		did := actions(client)
		assert.Equal(t, "create namespaces", did[0])
		assert.Equal(t, "create deployments", did[len(did)-1], "what it needs is there before")
		assert.Contains(t, did, "create gatewaies", "Gateway, a kind that a CustomResourceDefinition before has defined")

		client.ClearActions()
		assert.Equal(t, first, use("traefik")["traefik"])
		assert.Empty(t, actions(client), "nothing has changed")

		use()
		assert.Equal(t, []string{"create deployments", "update deployments"}, actions(client), "there already: scaled")
		client.ClearActions()
		use()
		assert.Empty(t, actions(client))
		assert.Equal(t, "traefik-2", use("traefik")["traefik"].pod, "another Pod")
		assert.Len(t, m.asked, 5, "its image is there")

		c.SetComponentArgs(map[string][]string{"traefik": {"--providers.providersThrottleDuration=10s"}})
		c.SetComponentEnv(map[string][]string{"traefik": {"DEBOUNCE=1s"}})
		assert.Equal(t, "traefik-3", use("traefik")["traefik"].pod)
		d, err := client.AppsV1().Deployments(componentsNamespace).Get(t.Context(), "traefik", metav1.GetOptions{})
		require.NoError(t, err)
		args := d.Spec.Template.Spec.Containers[0].Args
		assert.Equal(t, "--providers.providersThrottleDuration=10s", args[len(args)-1], "the last one counts")
		assert.Contains(t, args, "--ping")
		env := d.Spec.Template.Spec.Containers[0].Env
		assert.Equal(t, corev1.EnvVar{Name: "DEBOUNCE", Value: "1s"}, env[len(env)-1])
		assert.NoDirExists(t, filepath.Join(dir, componentsDir), "nothing broke down")
	})
}

// TestComponentsFail: each reason names the component, and the log of one that isn't ready is kept.
func TestComponentsFail(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, _, _ := newComponents(t, pending("CrashLoopBackOff"))
		dir := t.TempDir()
		_, err := c.useComponents(t.Context(), []string{"traefik"}, dir)
		require.ErrorIs(t, err, ErrComponent)
		require.ErrorContains(t, err, "component traefik: wait for its Pod to be ready: not within 1m0s: Pod traefik-1 is Pending: CrashLoopBackOff and not ready")
		log, err := os.ReadFile(filepath.Join(dir, componentsDir, "traefik.log"))
		require.NoError(t, err)
		assert.Contains(t, string(log), "fake logs")

		_, err = c.useComponents(t.Context(), []string{"typo"}, dir)
		require.ErrorContains(t, err, `unknown component "typo": want one of `)

		c, _, m := newComponents(t, ready)
		m.images = nil
		_, err = c.useComponents(t.Context(), []string{"traefik"}, dir)
		require.ErrorContains(t, err, "component traefik: there is no image with the label org.zerodrop.component.traefik: "+
			"make images CONSUMERS=traefik")

		c, client, _ := newComponents(t, ready)
		refuse(client, "create", "clusterroles", apierrors.NewBadRequest("unknown field"))
		_, err = c.useComponents(t.Context(), []string{"traefik"}, dir)
		require.ErrorContains(t, err, "component traefik: wait for ClusterRole zerodrop-traefik to be applied: permanent failure: ")

		c.kind = nil
		_, err = c.useComponents(t.Context(), []string{"traefik"}, dir)
		require.ErrorIs(t, err, scenarios.ErrNotOurs)
	})
}

func TestLoadComponent(t *testing.T) {
	const ours, tag = "zerodrop/traefik:v3.7.13-retries-abc", "ctr --namespace=k8s.io images tag --force docker.io/zerodrop/traefik:v3.7.13-retries-abc " + traefikImage
	const load = "ctr --namespace=k8s.io images import --all-platforms --digests --snapshotter=overlayfs -"
	label := componentImageLabel + "traefik="
	tests := []struct {
		name           string
		images, onNode []string
		want           []string
	}{
		{"the official one", []string{traefikImage, label + ours}, nil, []string{"save " + traefikImage, load}},
		{"that is on the node", []string{traefikImage}, []string{traefikImage}, nil},
		{"of a recipe before is on the node", []string{label + ours}, []string{traefikImage, "docker.io/zerodrop/traefik:v3-old"}, []string{"save " + ours, load, tag}},
		{"ours is on the node", []string{label + ours}, []string{"docker.io/" + ours}, []string{tag}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &machine{images: tt.images, onNode: tt.onNode}
			k := &kindCluster{engine: m.engine}
			require.NoError(t, k.loadComponent(t.Context(), fixtures.Component{Name: "traefik", Image: traefikImage}, m))
			assert.Equal(t, tt.want, m.asked)
		})
	}
}

// TestLoadServers: into the workers alone, by the recipe's name.
func TestLoadServers(t *testing.T) {
	m, worker := &machine{}, &machine{}
	m.images = []string{componentImageLabel + "php-fpm=zerodrop/php-fpm:8.2-abc"}
	c := newCluster(fake.NewSimpleClientset(), Config{Step: func(string) {}})
	require.NoError(t, c.loadServers(t.Context(), nil), "there is nothing to do on any cluster")
	require.ErrorIs(t, c.loadServers(t.Context(), []string{"localhost/zerodrop/php-fpm:8.2"}), scenarios.ErrNotOurs)
	c.kind = &kindCluster{provider: &fakeKind{nodes: []nodes.Node{m, aWorkerNode{worker, "zerodrop-worker"}}}, engine: m.engine}
	require.NoError(t, c.loadServers(t.Context(), []string{"localhost/zerodrop/php-fpm:8.2"}))
	assert.Equal(t, []string{"save zerodrop/php-fpm:8.2-abc"}, m.asked)
	assert.Len(t, worker.asked, 2, "loaded, and named as the manifest has it")
	assert.ErrorContains(t, c.loadServers(t.Context(), []string{"localhost/zerodrop/puma:5.6.5"}), "make images CONSUMERS=puma")
}

// TestBuiltImage: of the recipe's tag, and only one.
func TestBuiltImage(t *testing.T) {
	const label = "org.zerodrop.component.traefik="
	m := &machine{images: []string{label + "zerodrop/traefik:v2-old", label + "zerodrop/traefik:v3-abc"}}
	k := &kindCluster{engine: m.engine}
	ref, err := k.builtImage(t.Context(), "traefik", "v3")
	require.NoError(t, err)
	assert.Equal(t, "zerodrop/traefik:v3-abc", ref)
	_, err = k.builtImage(t.Context(), "traefik", "v1")
	require.ErrorContains(t, err, "make images CONSUMERS=traefik")
	_, err = k.builtImage(t.Context(), "traefik", "")
	require.ErrorContains(t, err, "several images have the label")
}

// TestComponentThatBreaksDown: a run is told, and the log is kept.
func TestComponentThatBreaksDown(t *testing.T) {
	killed := func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{
			RestartCount:         1,
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137}},
		}}
	}
	tests := []struct {
		name   string
		change func(*corev1.Pod)
		want   string
	}{
		{"nothing happens", func(*corev1.Pod) {}, ""},
		{"killed and started again", killed, "its container in Pod traefik-1 ended or wasn't ready in mid-run: OOMKilled, exit code 137"},
		{"not ready", unready, "its container in Pod traefik-1 ended or wasn't ready in mid-run"},
		{"another Pod in its place", func(p *corev1.Pod) { p.UID = "other" }, "Pod traefik-1 is gone in mid-run"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				c, client, _ := newComponents(t, ready)
				a := &App{cluster: c, dir: t.TempDir()}
				var err error
				a.components, err = c.useComponents(t.Context(), []string{"traefik"}, a.dir)
				require.NoError(t, err)
				p, err := client.CoreV1().Pods(componentsNamespace).Get(t.Context(), "traefik-1", metav1.GetOptions{})
				require.NoError(t, err)
				tt.change(p)
				require.NoError(t, client.Tracker().Update(podsGVR, p, componentsNamespace))
				log := filepath.Join(a.dir, componentsDir, "traefik.log")
				if err := a.Intact(t.Context()); tt.want != "" {
					require.EqualError(t, err, "component traefik: "+tt.want)
					assert.FileExists(t, log)
				} else {
					require.NoError(t, err)
					assert.NoFileExists(t, log)
				}
			})
		})
	}
	require.NoError(t, (&App{cluster: &Cluster{}}).Intact(t.Context()), "without components")
}

// TestMissingKind: an API server without the component's kinds says what is missing, before and
// after it was asked where they are.
func TestMissingKind(t *testing.T) {
	const c = "traefik"
	for _, err := range []error{
		fmt.Errorf("HTTPRoute a: %w", &meta.NoKindMatchError{GroupKind: schema.GroupKind{Kind: "HTTPRoute"}}),
		apierrors.NewNotFound(schema.GroupResource{Resource: "httproutes"}, "a"),
	} {
		got := missingKind(c, err)
		require.ErrorIs(t, got, err)
		require.ErrorContains(t, got, "the CustomResourceDefinitions of component traefik are missing: ")
		assert.Equal(t, err, missingKind("", err), "a kind of nobody's")
	}
	assert.Equal(t, errDown, missingKind(c, errDown))
}

// TestDial: the URL stays, and the component's Pod is dialled.
func TestDial(t *testing.T) {
	a, client := newApp()
	runControllers(t, client)
	a.components = map[string]instance{"traefik": {ip: netip.MustParseAddr("10.244.0.9")}}
	c := aConsumer(t, "service")
	c.Name, c.Address, c.Dial, c.Component = "ingress", "http://ingress.zerodrop.test", "{component}", "traefik"
	objects, err := a.cluster.locate(c.Objects)
	require.NoError(t, err)
	require.NoError(t, a.expose(t.Context(), exposed{c, objects}))
	ip := netip.MustParseAddr("10.244.0.9")
	assert.Equal(t, []netip.Addr{ip}, a.Addresses(c))
	assert.Equal(t, "http://ingress.zerodrop.test", a.URL(c))
	assert.Equal(t, []worker.Target{{URL: "http://ingress.zerodrop.test", Dial: ip}}, a.targets(c))

	a.components = nil
	require.EqualError(t, a.expose(t.Context(), exposed{c, objects}), `dial {component}: component "traefik" doesn't run`)
}
