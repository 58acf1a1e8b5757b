package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// A run that is killed can't take its cluster away. So it starts a second process, the reaper, in a
// session of its own: neither a signal to the run's process group nor the end of its terminal
// reaches that. The run tells it through a pipe what to take away (its will). The end of the pipe is
// the end of the run, however it ends. The reaper holds the run's lock as well, so that no run makes
// another cluster before it is done.

// ReapArgument is the one argument of a process that is to call Reap.
const ReapArgument = "reap"

// will is what is to be taken away after a run that did not do so itself. A run writes each as a
// line, before it makes what the will names; the last one counts.
type will struct {
	Labels              []string `json:"labels,omitempty"` // of containers, each label=value or label
	Kubeconfig, Context string   // of a cluster that exists
	Namespace           string   // of the run in it; empty for none
}

// kindWill names the nodes of the kind cluster of a name by kind's label, and what we run beside them.
func kindWill(name string) will {
	return will{Labels: []string{"io.x-k8s.kind.cluster=" + name, containerLabel(name)}}
}

// reaper is the reaper's process, seen from the run. Nil is none, and does nothing.
type reaper struct {
	cmd  *exec.Cmd
	pipe *os.File
}

// startReaper starts the reaper by a command (see Config.Reaper), with the run's lock, if it has one.
// Its output goes into a file of the state's folder: with the run's own, go test would wait for its
// end.
func startReaper(command []string, lock *os.File) (*reaper, error) {
	if len(command) == 0 {
		return nil, nil
	}
	dir, err := stateDir()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "reaper.log"))
	if err != nil {
		return nil, fmt.Errorf("start the reaper: %w", err)
	}
	defer log.Close()
	if lock == nil {
		if lock, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
			return nil, fmt.Errorf("start the reaper: %w", err)
		}
		defer lock.Close()
	}
	end, pipe, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the reaper: %w", err)
	}
	defer end.Close()
	cmd := exec.Command(command[0], command[1:]...) //nolint:noctx // it ends by its pipe
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{end, lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the reaper: %w", err), pipe.Close())
	}
	return &reaper{cmd, pipe}, nil
}

// write writes a will.
func (r *reaper) write(w will) error {
	if r == nil {
		return nil
	}
	line, err := json.Marshal(w)
	if err == nil {
		_, err = r.pipe.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("tell the reaper what to take away: %w", err)
	}
	return nil
}

// end ends the reaper, with nothing to do if the run has taken everything away itself. If it could
// not, the reaper tries, and is not waited for.
func (r *reaper) end(clean bool) {
	if r == nil {
		return
	}
	if clean {
		_ = r.write(will{}) // a reaper that is gone does nothing, either
	}
	_ = r.pipe.Close()
	if clean {
		_ = r.cmd.Wait()
	}
}

// How long a reaper looks for more, and works at most.
const (
	// reapQuiet is how long nothing new has to have appeared. A docker run that kind has started
	// outlives kind, and makes its container within a second or two.
	reapQuiet  = 5 * time.Second
	reapEvery  = 500 * time.Millisecond
	reapWithin = 5 * time.Minute
)

// Reap is the work of the reaper's process: it waits for the end of the run that has started it,
// executes the run's last will and returns what to exit with.
func Reap() int {
	pipe, lock := os.NewFile(3, "will"), os.NewFile(4, "lock")
	syscall.CloseOnExec(3) // a child of the engine's command that stays behind must not hold the lock
	syscall.CloseOnExec(4)
	defer lock.Close() // not before: a file that nothing refers to is closed, and the lock with it
	w, err := readWill(pipe)
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "only a run starts a reaper: %s\n", err)
		return 2
	case len(w.Labels) == 0 && w.Namespace == "":
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), reapWithin)
	defer cancel()
	if err := newHolder(roleCleanup).write(lock); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%s the run is gone: take away %+v\n", time.Now().Format(time.TimeOnly), w)
	if err := w.execute(ctx); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Printf("%s nothing is left\n", time.Now().Format(time.TimeOnly))
	return 0
}

// readWill reads to the end of the pipe. A line that was cut off counts for nothing: what it names
// was not made yet.
func readWill(pipe io.Reader) (w will, err error) {
	lines := bufio.NewReader(pipe)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return w, nil
		}
		if err != nil {
			return will{}, err
		}
		var next will
		if err := json.Unmarshal(line, &next); err != nil {
			return will{}, err
		}
		w = next
	}
}

// execute takes away what the will names. The reaper has the environment of its run (DOCKER_HOST),
// and so finds the run's engine.
func (w will) execute(ctx context.Context) error {
	var errs []error
	if len(w.Labels) > 0 {
		_, run, _, err := detectEngine(ctx)
		if err == nil {
			err = untilQuiet(ctx, "containers", func(ctx context.Context) (int, error) {
				return run.removeContainers(ctx, w.Labels...)
			})
		}
		errs = append(errs, err)
	}
	if w.Namespace != "" {
		config, err := loadConfig(w.Kubeconfig, w.Context)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("connect to cluster: %w", err))...)
		}
		c := &Cluster{client: client, namespace: w.Namespace}
		errs = append(errs, untilQuiet(ctx, "namespace "+w.Namespace, c.reapNamespace))
	}
	return errors.Join(errs...)
}

// untilQuiet removes until there was nothing to remove for reapQuiet.
func untilQuiet(ctx context.Context, what string, remove func(context.Context) (removed int, err error)) error {
	ticker := time.NewTicker(reapEvery)
	defer ticker.Stop()
	for last := time.Now(); ; {
		n, err := remove(ctx)
		switch {
		case n > 0 || err != nil:
			last = time.Now()
		case time.Since(last) >= reapQuiet:
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("remove %s: %w", what, ctx.Err()), err)
		case <-ticker.C:
		}
	}
}

// reapNamespace removes our namespace, and says whether it was there. One of that name that isn't
// marked as ours is left alone.
func (c *Cluster) reapNamespace(ctx context.Context) (int, error) {
	ns, err := c.client.CoreV1().Namespaces().Get(ctx, c.namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return 0, nil
	case err != nil:
		return 0, err
	}
	for key, value := range managed {
		if ns.Labels[key] != value {
			return 0, nil
		}
	}
	return 1, c.removeNamespace(ctx)
}

// Finalizers of ours, and that of the service controller which is part of our load balancer.
const (
	finalizerPrefix   = "zerodrop.dev/"
	balancerFinalizer = "service.kubernetes.io/load-balancer-cleanup"
)

// removeFinalizers takes our finalizers off a namespace's Pods, and off its Services where the cluster
// is ours: whoever would have done so may be gone, and the namespace would never go.
func (c *Cluster) removeFinalizers(ctx context.Context, namespace string) error {
	core := c.client.CoreV1()
	pods, err := core.Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("list Pods: %w", err)
	}
	for _, p := range pods.Items {
		if patch := withoutOurs(p.Finalizers); patch != nil {
			_, err := core.Pods(namespace).Patch(ctx, p.Name, types.MergePatchType, patch, metav1.PatchOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("remove the finalizers of Pod %s: %w", p.Name, err)
			}
		}
	}
	if !c.Ours() { // its load balancers aren't ours
		return nil
	}
	services, err := core.Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("list Services: %w", err)
	}
	for _, s := range services.Items {
		if patch := withoutOurs(s.Finalizers); patch != nil {
			_, err := core.Services(namespace).Patch(ctx, s.Name, types.MergePatchType, patch, metav1.PatchOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("remove the finalizers of Service %s: %w", s.Name, err)
			}
		}
	}
	return nil
}

// withoutOurs is a patch that leaves an object the finalizers of others; nil if all are.
func withoutOurs(finalizers []string) []byte {
	others := slices.DeleteFunc(slices.Clone(finalizers), func(name string) bool {
		return strings.HasPrefix(name, finalizerPrefix) || name == balancerFinalizer
	})
	if len(others) == len(finalizers) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"finalizers": others}})
	if err != nil {
		panic(err) // strings can be marshalled
	}
	return patch
}
