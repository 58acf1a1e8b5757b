package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/zerodrop/zerodrop/e2e/internal/cluster"
	"github.com/zerodrop/zerodrop/e2e/internal/suite"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestTarget measures a Deployment that runs in a cluster that is treated as somebody else's, as whoever may do what
// fixtures/rbac.yaml says and nothing more. What runs there is the sample app, as the run before has left it. It is restarted
// once; what was there before is there afterwards, and nothing else. Without a verb nothing is done at all.
func TestTarget(t *testing.T) {
	long(t, suite.LongTarget)
	if shared.Config.Cluster.Kubeconfig != "" {
		t.Skip("brings a kind cluster of its own, which it treats as somebody else's")
	}
	ctx := testContext(t)
	ours, err := cluster.Open(ctx, shared.Config.Cluster)
	t.Cleanup(func() { assert.NoError(t, ours.Close(context.WithoutCancel(t.Context()))) })
	require.NoError(t, err)
	s, err := shared.Find("shutdown-at-once", "rolling-update")
	require.NoError(t, err)
	s, err = s.Only([]string{"service/new", "service/reused"})
	require.NoError(t, err)
	app, err := ours.Deploy(ctx, s, t.TempDir())
	require.NoError(t, err)
	require.NoError(t, app.Close(ctx)) // the workers; the app stays
	shop := app.Namespace()
	admin, err := clientcmd.BuildConfigFromFlags("", ours.Kubeconfig())
	require.NoError(t, err)
	client, err := kubernetes.NewForConfig(admin)
	require.NoError(t, err)
	services, err := client.CoreV1().Services(shop).List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, services.Items, 1)
	service := &services.Items[0]
	service.Annotations = nil // which say how the sample app's consumers are asked
	_, err = client.CoreV1().Services(shop).Update(ctx, service, metav1.UpdateOptions{})
	require.NoError(t, err)
	load, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "load-", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, client.CoreV1().Namespaces().Delete(context.WithoutCancel(t.Context()), load.Name, metav1.DeleteOptions{}))
	})
	theirs := somebody(t, client, ours.Kubeconfig(), shop, load.Name)
	flags := func(c *suite.Config) {
		c.Out = filepath.Join(c.Out, "target")
		c.Cluster = cluster.Config{
			Kubeconfig: theirs, Context: "somebody", LoadImage: fixtures.LoadImage, Workers: 1,
			Live: &cluster.Live{Namespace: shop, Deployment: "app", LoadNamespace: load.Name},
		}
		c.Profile, c.Rate = scenarios.AppProfile, 20
	}

	t.Run("without a verb", func(t *testing.T) {
		role, err := client.RbacV1().Roles(shop).Get(ctx, fixtures.TargetRole, metav1.GetOptions{})
		require.NoError(t, err)
		whole := role.DeepCopy()
		role.Rules = role.Rules[1:]
		_, err = client.RbacV1().Roles(shop).Update(ctx, role, metav1.UpdateOptions{})
		require.NoError(t, err)
		_, err = shared.Live(ctx, flags)
		require.ErrorContains(t, err, fmt.Sprintf(
			"these rules are not bound:\n- {apiGroups: [%q], resources: [deployments], verbs: [get, patch]} # namespace %s, Role %s",
			"apps", shop, fixtures.TargetRole))
		role, err = client.RbacV1().Roles(shop).Get(ctx, fixtures.TargetRole, metav1.GetOptions{})
		require.NoError(t, err)
		role.Rules = whole.Rules
		_, err = client.RbacV1().Roles(shop).Update(ctx, role, metav1.UpdateOptions{})
		require.NoError(t, err)
	})

	before := objects(t, admin, shop, load.Name)
	live, err := shared.Live(ctx, flags)
	require.NoError(t, err)
	runs, err := live.Runs()
	require.NoError(t, err)
	require.Len(t, runs, 1)
	live.Announce(runs)
	assert.Equal(t, before, objects(t, admin, shop, load.Name), "so far nothing was done")
	v, dir := live.Attempt(ctx, t, runs[0], 1, 1)
	require.True(t, v.Conclusive(), "%v", v.Reasons)
	assert.Equal(t, 3, v.PodsReplaced)
	sent, dropped := 0, 0
	for _, l := range v.Lanes {
		sent, dropped = sent+l.Sent, dropped+l.Dropped
	}
	t.Logf("%d of %d requests dropped", dropped, sent)
	assert.Positive(t, sent)
	tl, err := timeline.Load(dir)
	require.NoError(t, err)
	assert.NotEmpty(t, tl.Events)
	assert.Equal(t, before, objects(t, admin, shop, load.Name), "all that was there is there, and nothing else")
	d, err := client.AppsV1().Deployments(shop).Get(ctx, "app", metav1.GetOptions{})
	require.NoError(t, err)
	assert.NotEmpty(t, d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"])
	sets, err := client.AppsV1().ReplicaSets(shop).List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	assert.Len(t, sets.Items, 2, "one release, and no second")
	_, _ = live.Attempt(ctx, t, runs[0], 1, 1)
	again, err := client.AppsV1().Deployments(shop).Get(ctx, "app", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, d.Generation, again.Generation, "whoever asks again")
}

// somebody is a kubeconfig of who may do what fixtures/rbac.yaml says in two namespaces, and nothing more.
func somebody(t *testing.T, client kubernetes.Interface, admin, shop, load string) string {
	t.Helper()
	ctx := t.Context()
	const name = "somebody"
	_, err := client.CoreV1().ServiceAccounts(load).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	require.NoError(t, err)
	for namespace, roleName := range map[string]string{shop: fixtures.TargetRole, load: fixtures.LoadRole} {
		role, err := fixtures.Role(roleName)
		require.NoError(t, err)
		_, err = client.RbacV1().Roles(namespace).Create(ctx, &role, metav1.CreateOptions{})
		require.NoError(t, err)
		_, err = client.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: roleName},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: roleName},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: load}},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	token, err := client.CoreV1().ServiceAccounts(load).CreateToken(ctx, name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(time.Hour / time.Second))},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	config, err := clientcmd.LoadFromFile(admin)
	require.NoError(t, err)
	config.AuthInfos[name] = &api.AuthInfo{Token: token.Status.Token}
	config.Contexts[name] = &api.Context{Cluster: config.Contexts[config.CurrentContext].Cluster, AuthInfo: name}
	for other := range config.AuthInfos { // of the administrator nothing is left
		if other != name {
			delete(config.AuthInfos, other)
		}
	}
	for other := range config.Contexts {
		if other != name {
			delete(config.Contexts, other)
		}
	}
	config.CurrentContext = ""
	file := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, file))
	require.NoError(t, os.Chmod(file, 0o600))
	return file
}

// objects names what is in namespaces, but for what controllers make of it, and counts the Pods.
func objects(t *testing.T, config *rest.Config, namespaces ...string) string {
	t.Helper()
	client, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	var out []string
	for _, namespace := range namespaces {
		for _, name := range []string{
			"deployments.v1.apps", "services.v1.", "jobs.v1.batch", "configmaps.v1.", "secrets.v1.", "serviceaccounts.v1.",
			"roles.v1.rbac.authorization.k8s.io", "rolebindings.v1.rbac.authorization.k8s.io", "pods.v1.",
		} {
			kind, _ := schema.ParseResourceArg(name)
			list, err := client.Resource(*kind).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
			require.NoError(t, err)
			if kind.Resource == "pods" {
				out = append(out, fmt.Sprintf("%d Pods in %s", len(list.Items), namespace))
				continue
			}
			for _, o := range list.Items {
				out = append(out, o.GetKind()+" "+o.GetName())
			}
		}
	}
	return strings.Join(out, ", ")
}
