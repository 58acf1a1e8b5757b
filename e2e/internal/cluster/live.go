package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Live is a Deployment that runs in a cluster that exists, and is measured as it is: nothing is made there but the
// Job of the workers, nothing is changed but by one rollout restart, and nothing is deleted but that Job.
type Live struct {
	Namespace, Deployment string
	// Service is the one that people send to, whoever is asked: its endpoints are watched.
	Service string
	// LoadNamespace is where the workers are; empty for Namespace.
	LoadNamespace string
	// NoWorkers says that it is asked from this machine alone.
	NoWorkers bool
}

// Loads is the namespace of the workers; empty where there are none.
func (l Live) Loads() string {
	switch {
	case l.NoWorkers:
		return ""
	case l.LoadNamespace != "":
		return l.LoadNamespace
	}
	return l.Namespace
}

// LiveJob begins the name of the workers' Job in somebody else's namespace.
const LiveJob = "zerodrop-load"

// Found is a Deployment that runs, with all Services of its namespace.
type Found struct {
	Deployment *appsv1.Deployment
	Services   []corev1.Service
}

var (
	// errRights is the guarantee that what isn't allowed is told before anything is done.
	errRights = errors.New("not all that is needed is allowed")
	// errUnsteady is the guarantee that no Deployment is restarted that isn't whole.
	errUnsteady = errors.New("is not restarted")
	// errRestarted is the guarantee that a Deployment that runs is restarted once.
	errRestarted = errors.New("it was restarted once, and is not a second time")
	// errLive is the guarantee that nothing else is done to it.
	errLive = errors.New("is not for a Deployment that runs: it is restarted once, and nothing else")
)

// Look finds the Deployment that config.Live names, and refuses one that can't be measured now, or rights that don't
// reach. It changes nothing.
func Look(ctx context.Context, config Config) (Found, error) {
	c := &Cluster{config: config}
	if err := c.connect(config.Kubeconfig, config.Context); err != nil {
		return Found{}, err
	}
	if err := c.checkRights(ctx); err != nil {
		return Found{}, err
	}
	live := config.Live
	d, err := c.client.AppsV1().Deployments(live.Namespace).Get(ctx, live.Deployment, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Found{}, fmt.Errorf("namespace %s has no Deployment %s: -namespace says where it is", live.Namespace,
			live.Deployment)
	}
	if err != nil {
		return Found{}, fmt.Errorf("look for Deployment %s: %w", live.Deployment, err)
	}
	d.TypeMeta = metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment"}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(d)
	if err == nil {
		err = steady(&unstructured.Unstructured{Object: content})
	}
	if err != nil {
		return Found{}, err
	}
	services, err := c.client.CoreV1().Services(live.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return Found{}, fmt.Errorf("list Services: %w", err)
	}
	return Found{d, services.Items}, nil
}

// checkRights asks the API server whether all is allowed that fixtures/rbac.yaml names.
func (c *Cluster) checkRights(ctx context.Context) error {
	var missing []string
	for _, part := range []struct{ namespace, role string }{
		{c.config.Live.Namespace, fixtures.TargetRole}, {c.config.Live.Loads(), fixtures.LoadRole},
	} {
		if part.namespace == "" {
			continue
		}
		role, err := fixtures.Role(part.role)
		if err != nil {
			return err
		}
		for _, rule := range role.Rules {
			lacks, err := c.lacks(ctx, part.namespace, rule)
			if err != nil {
				return err
			}
			if len(lacks) > 0 {
				missing = append(missing, fmt.Sprintf("- {apiGroups: [%q], resources: [%s], verbs: [%s]} # namespace %s, Role %s",
					rule.APIGroups[0], rule.Resources[0], strings.Join(lacks, ", "), part.namespace, part.role))
			}
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: fixtures/rbac.yaml has the Roles, and these rules are not bound:\n%s",
			errRights, strings.Join(missing, "\n"))
	}
	return nil
}

// lacks are the verbs of a rule, of one resource of one group, that aren't allowed.
func (c *Cluster) lacks(ctx context.Context, namespace string, rule rbacv1.PolicyRule) ([]string, error) {
	var out []string
	for _, verb := range rule.Verbs {
		kind, sub, _ := strings.Cut(rule.Resources[0], "/")
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: namespace, Verb: verb, Group: rule.APIGroups[0], Resource: kind, Subresource: sub,
				Name: c.nameOf(kind),
			},
		}}
		answer, err := c.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("ask what is allowed: %w", err)
		}
		if !answer.Status.Allowed {
			out = append(out, verb)
		}
	}
	return out, nil
}

// nameOf is the name of the only object of a kind that is asked for; empty for kinds that are listed.
func (c *Cluster) nameOf(kind string) string {
	if kind == "deployments" {
		return c.config.Live.Deployment
	}
	return ""
}

// steady refuses a Deployment that a restart would meet in the middle of something.
func steady(present *unstructured.Unstructured) error {
	name := fmt.Sprintf("Deployment %s", present.GetName())
	if paused, _, _ := unstructured.NestedBool(present.Object, "spec", "paused"); paused {
		return fmt.Errorf("%s %w: it is paused, and a restart would wait. Write kubectl -n %s rollout resume deployment/%s",
			name, errUnsteady, present.GetNamespace(), present.GetName())
	}
	want, missing, err := rollout(present)
	if err != nil {
		return err
	}
	if missing != "" {
		return fmt.Errorf("%s %w: a rollout is under way, or not all its Pods are ready (%s). Wait for kubectl -n %s "+
			"rollout status deployment/%s", name, errUnsteady, missing, present.GetNamespace(), present.GetName())
	}
	if want == 0 {
		return fmt.Errorf("%s %w: it has 0 replicas, and nothing answers", name, errUnsteady)
	}
	return nil
}

// openLive is Open where a Deployment that runs is measured: no namespace is made.
func (c *Cluster) openLive(ctx context.Context) error {
	var err error
	if c.facts, err = c.environment(ctx); err != nil {
		return err
	}
	c.namespace, c.opened = c.config.Live.Namespace, true
	c.load = loads{c.config.Live.Loads(), LiveJob + "-" + rand.String(6)} // of somebody else's names it is none
	return nil
}

// attach is deploy for what runs already. It makes the workers, finds out where the consumers are, and returns when
// they have answered.
func (a *App) attach(ctx context.Context, s scenarios.Scenario) error {
	if s.Own == nil || s.Target == nil || s.Disruption.Name != "rolling-update" {
		return fmt.Errorf("disruption %s %w", s.Disruption.Name, errLive)
	}
	a.theirs, a.delay, a.target, a.learnt = true, s.Strategy.ServesFor(), s.Target, &learnt{}
	if _, err := a.render(s); err != nil {
		return err
	}
	a.observed, a.services = a.selector, []string{a.cluster.config.Live.Service} // nothing of ours is on its Pods
	if err := a.checkSteady(ctx); err != nil {
		return err
	}
	if err := a.WaitStable(ctx); err != nil { // Pods of a rollout before may be terminating
		return err
	}
	inside := a.cluster.load.namespace != ""
	var job *batchv1.Job
	var made []any
	if inside {
		var err error
		if job, err = a.job(s); err != nil {
			return err
		}
		light(job, a.cluster.load.name)
		made = append(made, job)
	}
	if err := a.save(made); err != nil {
		return err
	}
	consumers := s.Consumers()
	for _, c := range consumers {
		objects, err := a.cluster.locate(c.Objects)
		if err != nil {
			return fmt.Errorf("consumer %s: %w", c.Name, err)
		}
		if err := a.expose(ctx, exposed{c, objects}); err != nil {
			return fmt.Errorf("consumer %s: %w", c.Name, err)
		}
	}
	for _, l := range s.Lanes {
		if l.Target != nil {
			a.fronts[l.Consumer.Name] = l.Target
		}
	}
	if inside {
		if _, err := a.cluster.jobs().Create(ctx, job, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("start the workers: %w", err)
		}
		if err := a.awaitWorkers(ctx, int(*job.Spec.Completions)); err != nil {
			return err
		}
	}
	for _, c := range consumers {
		if err := a.waitConsumer(ctx, c); err != nil {
			return fmt.Errorf("consumer %s: %w", c.Name, err)
		}
	}
	return a.learnSlow(ctx, s.Lanes)
}

// light is the workers' Job as it may be in somebody else's namespace: it has a name of its own, sends little, and
// keeps off the control plane.
func light(job *batchv1.Job, name string) {
	job.Name = name
	job.Labels["app"], job.Spec.Template.Labels["app"] = name, name
	pod := &job.Spec.Template.Spec
	pod.Tolerations, pod.Affinity = nil, nil
	pod.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("100m")
}

func (a *App) checkSteady(ctx context.Context) error {
	present, err := a.workload.get(ctx)
	if err != nil {
		return fmt.Errorf("look for %s %s: %w", a.workload.GetKind(), a.workload.GetName(), err)
	}
	return steady(present)
}

// restartLive is one rollout restart of a Deployment that runs, as kubectl does it. It looks again before, and
// there is no second one.
func (a *App) restartLive(ctx context.Context) error {
	if a.cluster.restarted {
		return fmt.Errorf("%s %s: %w", a.workload.GetKind(), a.workload.GetName(), errRestarted)
	}
	if err := a.checkSteady(ctx); err != nil {
		return err
	}
	a.cluster.restarted = true
	a.release = time.Now().UTC().Format(time.RFC3339)
	patch := fmt.Appendf(nil, `{"spec": {"template": {"metadata": {"annotations": {%q: %q}}}}}`,
		observe.RestartedKey, a.release)
	// A patch whose answer was lost changes nothing when it is sent again.
	err := poll(ctx, deployWithin, "the restart", func(ctx context.Context) (string, error) {
		_, err := a.workload.api.Patch(
			ctx, a.workload.GetName(), types.StrategicMergePatchType, patch, metav1.PatchOptions{},
		)
		if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
			err = fmt.Errorf("%w: %w", errPermanent, err)
		}
		return "", err
	})
	if err != nil {
		return fmt.Errorf("restart the Deployment: %w", err)
	}
	return nil
}

// removeLiveWorkers takes away the one Job that was made in somebody else's namespace, by its name.
func (a *App) removeLiveWorkers(ctx context.Context) error {
	if a.cluster.load.namespace == "" {
		return nil
	}
	atOnce := metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}
	return poll(ctx, deployWithin, "the workers to go", func(ctx context.Context) (string, error) {
		err := a.cluster.jobs().Delete(ctx, a.cluster.load.name, atOnce)
		if err != nil && !apierrors.IsNotFound(err) {
			return "", err
		}
		left, err := a.cluster.loadPods().List(ctx, metav1.ListOptions{LabelSelector: a.cluster.load.selector()})
		if err != nil || len(left.Items) == 0 {
			return "", err
		}
		return fmt.Sprintf("%d are there", len(left.Items)), nil
	})
}
