package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"

	kind "sigs.k8s.io/kind/pkg/cluster"

	"github.com/zerodrop/zerodrop/e2e/internal/worker"
)

// engine runs a command of the container engine that kind uses, and returns what it prints.
type engine func(ctx context.Context, stdin io.Reader, args ...string) (string, error)

// detectEngine finds the engine that kind would choose, in kind's own order, and has kind take it.
func detectEngine(ctx context.Context) (name string, run engine, option kind.ProviderOption, err error) {
	for _, e := range []struct {
		name   string
		option kind.ProviderOption
	}{
		{"docker", kind.ProviderWithDocker()},
		{"nerdctl", kind.ProviderWithNerdctl("")},
		{"podman", kind.ProviderWithPodman()},
	} {
		run := command(e.name)
		// podman may have the name docker, and then it isn't.
		says, err := run(ctx, nil, "-v")
		if err == nil && strings.HasPrefix(strings.ToLower(says), e.name+" version") {
			return e.name, run, e.option, nil
		}
	}
	err = errors.New("find a container engine for kind (make e2e brings one up): no docker, nerdctl, podman")
	return "", nil, nil, err
}

func command(name string) engine {
	return func(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, name, args...)
		var out, said bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &said
		if err := cmd.Run(); err != nil {
			why, _, _ := strings.Cut(said.String(), "\nRun '") // where to find help, as docker ends an error
			return "", errors.Join(fmt.Errorf("%s %s: %w", name, args[0], err), lastLine(why))
		}
		return strings.TrimSpace(out.String()), nil
	}
}

// containerLabel marks the containers beside those of the kind cluster of a name that are ours. Its value is
// the role.
func containerLabel(cluster string) string {
	const label = "dev.zerodrop.container"
	if cluster == DefaultName {
		return label
	}
	return label + "." + cluster
}

// container is a program beside the cluster, on the network of its nodes, as a client or a load
// balancer outside of a cluster is.
type container struct {
	cluster string // beside which it is
	role    string
	image   string
	port    int      // that it listens on for this machine; 0 for none
	memory  []string // folders in memory that it may write to: path:size=64m
	args    []string // of its program
}

func (c container) name() string { return c.cluster + "-" + c.role }

// start starts a container and returns its address on the nodes' network, and where this machine
// reaches its port, if it has one: on loopback, and not open to the network.
func (e engine) start(ctx context.Context, c container) (ip, here string, err error) {
	// As kind finds the network.
	network := cmp.Or(os.Getenv("KIND_EXPERIMENTAL_DOCKER_NETWORK"), os.Getenv("KIND_EXPERIMENTAL_PODMAN_NETWORK"), "kind")
	run := []string{
		"run", "--detach", "--name", c.name(), "--label", containerLabel(c.cluster) + "=" + c.role, "--network", network,
		"--read-only", "--cap-drop", "ALL", "--memory", "1g",
		// As a node that sends load (prioritize): requests have to leave on time beside busy nodes.
		"--cpu-shares", "10240",
	}
	if c.port != 0 {
		run = append(run, "--publish", fmt.Sprintf("127.0.0.1::%d", c.port))
	}
	for _, folder := range c.memory {
		run = append(run, "--tmpfs", folder)
	}
	if _, err = e(ctx, nil, append(append(run, c.image), c.args...)...); err == nil {
		const format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
		if ip, err = e(ctx, nil, "inspect", "--format", format, c.name()); err == nil && c.port != 0 {
			here, err = e(ctx, nil, "port", c.name(), fmt.Sprintf("%d/tcp", c.port))
		}
	}
	if err != nil {
		return "", "", fmt.Errorf("start container %s: %w", c.name(), err)
	}
	return ip, here, nil
}

// removeContainers removes the containers that carry one of the labels, with their volumes, whoever
// left them, and says how many there were.
func (e engine) removeContainers(ctx context.Context, labels ...string) (removed int, err error) {
	var ids []string
	for _, label := range labels {
		out, err := e(ctx, nil, "ps", "--all", "--quiet", "--filter", "label="+label)
		if err != nil {
			return 0, fmt.Errorf("find containers: %w", err)
		}
		ids = append(ids, strings.Fields(out)...)
	}
	if len(ids) == 0 {
		return 0, nil
	}
	if _, err = e(ctx, nil, append([]string{"rm", "--force", "--volumes"}, ids...)...); err != nil {
		return 0, fmt.Errorf("remove containers: %w", err)
	}
	return len(ids), nil
}

// clientRole is the role of the client's container.
const clientRole = "client"

// startClient starts the client: it sends the load of lanes from outside the cluster, to its nodes.
// It is made anew for each run, as the workers' Pods are.
func (a *App) startClient(ctx context.Context) error {
	c := container{cluster: a.cluster.kind.name(), role: clientRole, image: a.cluster.kind.clientImage, port: worker.Port}
	ip, here, err := a.cluster.kind.engine.start(ctx, c)
	if err != nil {
		return err
	}
	client := worker.Worker{Name: c.role, IP: ip, Call: a.cluster.kind.engine.call(c, here)}
	a.client = []worker.Worker{client}
	return poll(ctx, deployWithin, "the client", func(ctx context.Context) (string, error) {
		err := answers(ctx, client)
		if errors.Is(err, worker.ErrEnded) {
			return "", fmt.Errorf("%w: %w", errPermanent, err)
		}
		if err != nil {
			return err.Error(), nil //nolint:nilerr // what is missing, not a fault of the engine
		}
		return "", nil
	})
}

// call is the way to a worker in a container, where the engine also tells if there is nobody left
// to answer.
func (e engine) call(c container, address string) worker.Call {
	call := worker.At(&http.Client{Transport: &http.Transport{}}, "http://"+address)
	return func(ctx context.Context, path string, body []byte) (io.ReadCloser, error) {
		answer, err := call(ctx, path, body)
		if err == nil || errors.Is(err, worker.ErrRefused) {
			return answer, err
		}
		const format = "{{if not .State.Running}}exit code {{.State.ExitCode}}{{end}}"
		if end, unknown := e(ctx, nil, "inspect", "--format", format, c.name()); unknown == nil && end != "" {
			return nil, fmt.Errorf("%w: container %s: %s", worker.ErrEnded, c.name(), end)
		}
		return nil, err
	}
}
