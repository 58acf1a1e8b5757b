package cluster

import (
	"context"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/worker"
)

// fakeEngine is a container engine with what was asked of it, and what it answers by the first word
// of a command.
type fakeEngine struct {
	mu      sync.Mutex
	calls   []string
	loaded  []byte
	answers map[string]string
	fail    map[string]error
}

func (f *fakeEngine) run(_ context.Context, stdin io.Reader, args ...string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, strings.Join(args, " "))
	if stdin != nil {
		f.loaded, _ = io.ReadAll(stdin)
	}
	return f.answers[args[0]], f.fail[args[0]]
}

// TestDetectEngine: the first of kind's engines that is what its name says.
func TestDetectEngine(t *testing.T) {
	tests := []struct {
		name string
		says map[string]string // what programs print when asked for their version
		want string            // the one that is used; empty for none
	}{
		{"docker", map[string]string{"docker": "Docker version 28.2.2, build e6534b4", "podman": "podman version 5.4.0"}, "docker"},
		{"nerdctl before podman", map[string]string{"nerdctl": "nerdctl version 2.1.0", "podman": "podman version 5.4.0"}, "nerdctl"},
		{"podman", map[string]string{"podman": "podman version 5.4.0"}, "podman"},
		{"podman by the name of docker", map[string]string{"docker": "podman version 5.4.0", "podman": "podman version 5.4.0"}, "podman"},
		{"none", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for program, says := range tt.says {
				script := "#!/bin/sh\nif [ \"$1\" = -v ]; then echo '" + says + "'; else echo " + program + " \"$@\"; fi\n"
				require.NoError(t, os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755))
			}
			t.Setenv("PATH", dir)
			_, run, option, err := detectEngine(t.Context())
			if tt.want == "" {
				require.ErrorContains(t, err, "find a container engine for kind")
				return
			}
			require.NoError(t, err)
			assert.NotNil(t, option)
			out, err := run(t.Context(), nil, "ps", "--all")
			require.NoError(t, err)
			assert.Equal(t, tt.want+" ps --all", out)
		})
	}
}

// TestCommand: an engine that fails says what was asked of it and why not.
func TestCommand(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\nprintf \"first\nwhy\n\nRun 'docker run --help' for more information\n\" >&2; exit 3\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "docker"), []byte(script), 0o755))
	t.Setenv("PATH", dir)
	_, err := command("docker")(t.Context(), nil, "run", "image")
	require.EqualError(t, err, "docker run: exit status 3\nwhy")
}

// TestStartContainer: a container beside the cluster is on the nodes' network, is known as ours and
// never as kind's, and can be reached from this machine alone.
func TestStartContainer(t *testing.T) {
	f := &fakeEngine{answers: map[string]string{"inspect": "172.18.0.5", "port": "127.0.0.1:49153"}}
	e := engine(f.run)
	t.Setenv("KIND_EXPERIMENTAL_DOCKER_NETWORK", "")
	ip, here, err := e.start(t.Context(), container{cluster: DefaultName, role: "client", image: "image:1", port: 8090, args: []string{"-a", "b"}})
	require.NoError(t, err)
	assert.Equal(t, []string{"172.18.0.5", "127.0.0.1:49153"}, []string{ip, here})
	run := f.calls[0]
	for _, want := range []string{
		"--name zerodrop-client ", "--label dev.zerodrop.container=client ", "--network kind ", "--publish 127.0.0.1::8090 ", "--cpu-shares 10240 ",
	} {
		assert.Contains(t, run, want)
	}
	assert.NotContains(t, run, "io.x-k8s.kind")
	assert.True(t, strings.HasSuffix(run, " image:1 -a b"), run)
	t.Setenv("KIND_EXPERIMENTAL_DOCKER_NETWORK", "other")
	_, here, err = e.start(t.Context(), container{cluster: DefaultName, role: "lb", memory: []string{"/run"}})
	require.NoError(t, err)
	assert.Empty(t, here, "no port")
	assert.Contains(t, f.calls[3], "--name zerodrop-lb --label dev.zerodrop.container=lb --network other ")
	assert.Contains(t, f.calls[3], " --tmpfs /run")
	assert.NotContains(t, f.calls[3], "--publish")
	for _, verb := range []string{"run", "inspect", "port"} {
		f.fail = map[string]error{verb: errFake}
		_, _, err = e.start(t.Context(), container{cluster: DefaultName, role: "lb", port: 1})
		require.EqualError(t, err, "start container zerodrop-lb: connection refused", verb)
	}
}

// TestRemoveContainers: those with the labels go, and no others are asked for.
func TestRemoveContainers(t *testing.T) {
	f := &fakeEngine{answers: map[string]string{"ps": "aaa\nbbb"}}
	removed, err := engine(f.run).removeContainers(t.Context(), containerLabel(DefaultName))
	require.NoError(t, err)
	assert.Equal(t, 2, removed)
	const list = "ps --all --quiet --filter label=dev.zerodrop.container"
	assert.Equal(t, []string{list, "rm --force --volumes aaa bbb"}, f.calls)
	none := &fakeEngine{}
	removed, err = engine(none.run).removeContainers(t.Context(), containerLabel(DefaultName), "another")
	require.NoError(t, err)
	assert.Zero(t, removed)
	assert.Equal(t, []string{list, "ps --all --quiet --filter label=another"}, none.calls)
	for verb, want := range map[string]string{"ps": "find", "rm": "remove"} {
		f.fail = map[string]error{verb: errFake}
		_, err := engine(f.run).removeContainers(t.Context(), containerLabel(DefaultName))
		require.EqualError(t, err, want+" containers: connection refused")
	}
}

// TestLoadClient: the image of the client has what it consists of in its tag, and is loaded once.
func TestLoadClient(t *testing.T) {
	f := &fakeEngine{fail: map[string]error{"image": errFake}}
	k := &kindCluster{engine: f.run}
	require.NoError(t, k.loadClient(t.Context(), []byte("loadgen")))
	first := k.clientImage
	assert.Equal(t, []string{"image inspect " + first, "load"}, f.calls)
	assert.Contains(t, images(t, f.loaded), first)
	require.NoError(t, k.loadClient(t.Context(), []byte("another")))
	assert.NotEqual(t, first, k.clientImage)

	f.calls, f.fail = nil, nil
	require.NoError(t, k.loadClient(t.Context(), []byte("loadgen")))
	assert.Equal(t, first, k.clientImage)
	assert.Equal(t, []string{"image inspect " + first}, f.calls, "the engine has it")
	f.fail = map[string]error{"image": errFake, "load": errFake}
	require.EqualError(t, k.loadClient(t.Context(), nil), "load the image of the client: connection refused")
}

// TestClient: one worker outside, which is asked at its published port; of one that has ended it
// says so at once.
func TestClient(t *testing.T) {
	server := httptest.NewServer(worker.NewServer(0))
	f := &fakeEngine{answers: map[string]string{"inspect": "172.18.0.5", "port": strings.TrimPrefix(server.URL, "http://")}}
	app, _ := newApp()
	app.cluster.kind = &kindCluster{engine: f.run, clientImage: "image:1"}
	assert.Nil(t, app.Sender("outside"), "never this machine, where the cluster is ours")
	require.NoError(t, app.startClient(t.Context()))
	require.NotNil(t, app.Sender("outside"))
	client := app.client[0]
	assert.Equal(t, worker.Worker{Name: "client", IP: "172.18.0.5"}, worker.Worker{Name: client.Name, Node: client.Node, IP: client.IP})
	_, err := client.Call(t.Context(), "/start", []byte("{}"))
	require.ErrorIs(t, err, worker.ErrRefused)

	server.Close()
	f.answers["inspect"] = ""
	_, err = client.Call(t.Context(), "/clock", nil)
	require.Error(t, err)
	require.NotErrorIs(t, err, worker.ErrEnded, "it runs")
	f.answers["inspect"] = "exit code 2"
	_, err = client.Call(t.Context(), "/clock", nil)
	require.EqualError(t, err, "worker has ended: container zerodrop-client: exit code 2")
	require.ErrorContains(t, app.startClient(t.Context()), "wait for the client: permanent failure: worker has ended")
	f.fail = map[string]error{"run": errFake}
	require.EqualError(t, app.startClient(t.Context()), "start container zerodrop-client: connection refused")

	f.calls, f.fail = nil, nil
	require.NoError(t, app.Close(t.Context()))
	assert.Contains(t, f.calls, "ps --all --quiet --filter label=dev.zerodrop.container=client", "after a run nobody sends")
	f.fail = map[string]error{"ps": errFake}
	require.ErrorIs(t, app.Close(t.Context()), errFake)
}
