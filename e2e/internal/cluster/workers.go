package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	batchclient "k8s.io/client-go/kubernetes/typed/batch/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/zerodrop/zerodrop/e2e/internal/harness"
	"github.com/zerodrop/zerodrop/e2e/internal/observe"
	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
	"github.com/zerodrop/zerodrop/e2e/internal/worker"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// loadName is the name of the workers' Job and the value of the label app on their Pods, in a namespace of our own.
const loadName = "loadgen"

// loads is where the workers are, and the name of their Job, which is the value of the label app on their Pods.
type loads struct{ namespace, name string }

func (l loads) selector() string { return "app=" + l.name }

func (c *Cluster) jobs() batchclient.JobInterface { return c.client.BatchV1().Jobs(c.load.namespace) }

// loadPods are those of the namespace of the workers.
func (c *Cluster) loadPods() coreclient.PodInterface { return c.client.CoreV1().Pods(c.load.namespace) }

// Sender sends the load of lanes from a place; nil if the scenario has none from there. Outside of a
// cluster that exists that is this process.
func (a *App) Sender(from string) traffic.Sender {
	switch senders := a.senders(from); {
	case len(senders) > 0:
		return worker.NewFleet(senders)
	case from == fixtures.FromAPI:
		return traffic.Host{API: a.cluster.http}
	case from == fixtures.FromOutside && !a.cluster.Ours():
		return traffic.Host{}
	}
	return nil
}

// senders are the workers at a place.
func (a *App) senders(from string) []worker.Worker {
	switch from {
	case fixtures.FromCluster:
		return a.workers
	case fixtures.FromOutside:
		return a.client
	}
	return nil
}

// job is the Job of as many workers as are asked for. They live for as much longer than others as a run of
// the scenario may take.
func (a *App) job(s scenarios.Scenario) (*batchv1.Job, error) {
	job, err := fixtures.LoadJob()
	if err != nil {
		return nil, err
	}
	n := int32(max(1, a.cluster.config.Workers))
	job.Spec.Completions, job.Spec.Parallelism = &n, &n
	if image := a.cluster.config.LoadImage; image != "" {
		job.Spec.Template.Spec.Containers[0].Image = image
	}
	if skew := a.cluster.config.ClockSkew; skew != 0 {
		job.Spec.Template.Spec.Containers[0].Args = []string{"-clock-skew=" + skew.String()}
	}
	longer := harness.LimitFor(scenarios.Run{Scenario: s}, s.Replicas()) - harness.Defaults.Limit
	*job.Spec.Template.Spec.ActiveDeadlineSeconds += int64(longer.Seconds())
	watches := slices.ContainsFunc(s.Lanes, func(l scenarios.Lane) bool {
		return strings.HasPrefix(l.Consumer.Address, "kubernetes:")
	})
	job.Spec.Template.Spec.AutomountServiceAccountToken = &watches
	return job, nil
}

// removeWorkers takes workers away, whatever they do: also one that could not be told to stop.
func (a *App) removeWorkers(ctx context.Context) error {
	if a.cluster.config.Live != nil {
		return a.removeLiveWorkers(ctx)
	}
	return a.cluster.removeSelected(ctx, "the workers to go", a.cluster.load.selector(), "jobs.v1.batch", "pods.v1.")
}

// awaitWorkers waits until every worker answers and writes them down. Of one that has ended it says
// so at once.
func (a *App) awaitWorkers(ctx context.Context, n int) error {
	return poll(ctx, deployWithin, "the workers", func(ctx context.Context) (string, error) {
		pods, err := a.cluster.loadPods().List(ctx, metav1.ListOptions{LabelSelector: a.cluster.load.selector()})
		if err != nil {
			return "", err
		}
		a.workers = nil
		slices.SortFunc(pods.Items, func(a, b corev1.Pod) int { return cmp.Compare(index(a), index(b)) })
		for i := range pods.Items {
			p := &pods.Items[i]
			if p.DeletionTimestamp != nil {
				return fmt.Sprintf("Pod %s is terminating", p.Name), nil
			}
			if err := ended(p); err != nil {
				return "", fmt.Errorf("%w: %s: %w", errPermanent, workerName(p), err)
			}
			if p.Status.Phase != corev1.PodRunning {
				return fmt.Sprintf("Pod %s is %s%s", p.Name, p.Status.Phase, waitingFor(p)), nil
			}
			w := worker.Worker{Name: workerName(p), Node: p.Spec.NodeName, IP: p.Status.PodIP, Call: a.call(p.Name)}
			err := answers(ctx, w)
			if ctx.Err() != nil {
				return "", ctx.Err() // what was missing before tells more than that time is up
			}
			if err != nil {
				return err.Error(), nil //nolint:nilerr // what is missing, not a fault of the API server
			}
			a.workers = append(a.workers, w)
		}
		if len(a.workers) != n {
			return fmt.Sprintf("%d of %d are there", len(a.workers), n), nil
		}
		return "", nil
	})
}

// answerWithin is how long something that has no work to do may take to answer, also through the API
// server.
const answerWithin = 5 * time.Second

// answers asks a worker whether it is there.
func answers(ctx context.Context, w worker.Worker) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	body, err := w.Call(ctx, "/clock", nil)
	if err != nil {
		return err
	}
	return body.Close()
}

// call is the way to the worker in a Pod: through the API server, which also tells if there is
// nobody left to answer.
func (a *App) call(pod string) worker.Call {
	call := worker.At(a.cluster.http, a.cluster.proxyURL(a.cluster.load.namespace, pod, worker.Port))
	return func(ctx context.Context, path string, body []byte) (io.ReadCloser, error) {
		answer, err := call(ctx, path, body)
		if err == nil || errors.Is(err, worker.ErrRefused) {
			return answer, err
		}
		switch p, unknown := a.cluster.loadPods().Get(ctx, pod, metav1.GetOptions{}); {
		case apierrors.IsNotFound(unknown):
			return nil, fmt.Errorf("%w: Pod %s is gone", worker.ErrEnded, pod)
		case unknown != nil:
			return nil, err
		default:
			return nil, cmp.Or(ended(p), err)
		}
	}
}

// ended is an error that wraps worker.ErrEnded if a worker's Pod is in one of the phases that are
// final. The Job puts none in its place (fixtures/load/job.yaml).
func ended(p *corev1.Pod) error {
	if !observe.Ended(p) {
		return nil
	}
	why := []string{fmt.Sprintf("Pod %s is %s", p.Name, p.Status.Phase), p.Status.Reason, p.Status.Message}
	for _, c := range p.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil {
			why = append(why, t.Reason, fmt.Sprintf("exit code %d", t.ExitCode), t.Message)
		}
	}
	why = slices.DeleteFunc(why, func(word string) bool { return word == "" })
	return fmt.Errorf("%w: %s", worker.ErrEnded, strings.Join(why, ": "))
}

// workerName is what the worker in a Pod of the Job is called.
func workerName(p *corev1.Pod) string { return "worker-" + strconv.Itoa(index(*p)) }

// index is a Pod's completion index within its Job.
func index(p corev1.Pod) int {
	n, err := strconv.Atoi(p.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil {
		return -1
	}
	return n
}

// waitingFor says why a container doesn't run, as in ": ImagePullBackOff".
func waitingFor(p *corev1.Pod) string {
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil {
			return ": " + w.Reason
		}
	}
	return ""
}

// proxyURL is where the API server passes requests on to a Pod.
func (c *Cluster) proxyURL(namespace, pod string, port int) string {
	return fmt.Sprintf("%s/api/v1/namespaces/%s/pods/http:%s:%d/proxy", c.server, namespace, pod, port)
}

// served asks the Pods that live on how many requests they have answered, all at once, so that one
// that hangs takes no time from the others. One that doesn't answer is left out: nothing is known
// of it.
func (a *App) served(ctx context.Context) []timeline.Served {
	if a.target != nil {
		return nil // only the sample app keeps a ledger
	}
	pods, err := a.selected(ctx, ownSelector)
	if err != nil {
		return nil
	}
	found := make([]*timeline.Served, len(pods))
	var asks sync.WaitGroup
	for i, pod := range pods {
		asks.Go(func() {
			if answered, err := a.ledger(ctx, pod); err == nil {
				found[i] = &timeline.Served{Pod: pod, Answered: answered}
			}
		})
	}
	asks.Wait()
	var out []timeline.Served
	for _, s := range found {
		if s != nil {
			out = append(out, *s)
		}
	}
	return out
}

func (a *App) ledger(ctx context.Context, pod string) (answered map[string]int, err error) {
	err = a.ask(ctx, pod, protocol.PathLedger, &answered)
	return answered, err
}

// ask has the sample app in a Pod tell something, as JSON, through the API server.
func (a *App) ask(ctx context.Context, pod, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.cluster.proxyURL(a.cluster.namespace, pod,
		protocol.Port)+path, nil)
	if err != nil {
		return err
	}
	resp, err := a.cluster.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask Pod %s for %s: %s", pod, path, resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(into)
}
