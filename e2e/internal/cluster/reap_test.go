package cluster

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// fakeDocker keeps containers as files of a folder, of the name of their only label.
const fakeDocker = `#!/bin/sh
cd "$CONTAINERS" || exit 1
case $1 in
-v) echo Docker version 28 ;;
ps) ls | grep -x "${5#label=}.*" || true ;;
rm) shift 3 && rm -f "$@" ;;
esac
`

// roleEnv says what this test binary is when a test of TestKilled has started it.
const roleEnv = "ZERODROP_TEST_ROLE"

// TestRole is no test: it is the run and the reaper of TestKilled.
func TestRole(t *testing.T) {
	switch os.Getenv(roleEnv) {
	case "":
		t.Skip("for TestKilled")
	case "reaper":
		os.Exit(Reap())
	}
	lock, err := lockCluster(t.Context(), os.Getenv("LOCK"), noStep)
	require.NoError(t, err)
	defer lock.Close()
	t.Setenv(roleEnv, "reaper")
	r, err := startReaper([]string{os.Args[0], "-test.run=^TestRole$"}, lock)
	require.NoError(t, err)
	require.NoError(t, r.write(kindWill(DefaultName)))
	create(t, kindWill(DefaultName).Labels[0]+".old")
	fmt.Println("\nready") // and wait for a word, or to be killed
	word, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	r.end(word == "clean\n")
}

func create(t *testing.T, container string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(os.Getenv("CONTAINERS"), container), nil, 0o600))
}

func containers(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(os.Getenv("CONTAINERS"))
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestKilled kills a run, beside which a container appears and a foreign one is: the next run waits
// for the reaper, and keeps its cluster. A run that ends in order leaves nothing to do.
func TestKilled(t *testing.T) {
	const foreign = "io.x-k8s.kind.cluster=other"
	ours, client := kindWill(DefaultName).Labels[0], kindWill(DefaultName).Labels[1]
	tests := []struct {
		name string
		word string // to the run; none: it is killed
		want []string
	}{
		{"killed", "", []string{foreign, ours + ".next"}},
		{"could not take its cluster away", "dirty\n", []string{foreign, ours + ".next"}},
		{"ended in order", "clean\n", []string{foreign, ours + ".next", ours + ".old"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, bin := t.TempDir(), t.TempDir()
			lockFile := filepath.Join(dir, "cluster.lock")
			require.NoError(t, os.WriteFile(filepath.Join(bin, "docker"), []byte(fakeDocker), 0o755))
			for name, value := range map[string]string{
				"PATH": bin + ":" + os.Getenv("PATH"), "CONTAINERS": t.TempDir(), "XDG_CACHE_HOME": dir, "LOCK": lockFile,
				"GORACE": "atexit_sleep_ms=0",
			} {
				t.Setenv(name, value)
			}
			create(t, foreign)
			run := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRole$")
			run.Env = append(os.Environ(), roleEnv+"=run")
			out, err := run.StdoutPipe()
			require.NoError(t, err)
			in, err := run.StdinPipe()
			require.NoError(t, err)
			require.NoError(t, run.Start())
			for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "ready"; {
			}
			_, err = lockCluster(t.Context(), lockFile, noStep)
			require.ErrorIs(t, err, errBusy)
			require.ErrorContains(t, err, fmt.Sprintf("process %d, since ", run.Process.Pid))

			if tt.word == "" {
				require.NoError(t, run.Process.Kill())
			} else {
				_, err := in.Write([]byte(tt.word))
				require.NoError(t, err)
			}
			_ = run.Wait()
			if tt.word != "clean\n" {
				create(t, client+".late") // a docker run that was under way
			}
			var steps []string
			lock, err := lockCluster(t.Context(), lockFile, func(step string) { steps = append(steps, step) })
			require.NoError(t, err)
			assert.Equal(t, tt.word != "clean\n", len(steps) == 1 && strings.HasPrefix(steps[0], "wait for what cleans up"), steps)
			create(t, ours+".next")
			where := filepath.Join(os.Getenv("CONTAINERS"), ours+".next") // Never may look once more when the test is over
			next := func() bool { _, err := os.Stat(where); return err == nil }
			if tt.word != "clean\n" {
				assert.Never(t, func() bool { return !next() }, 4*reapEvery, 100*time.Millisecond, "the next run keeps its cluster")
			}
			assert.ElementsMatch(t, tt.want, containers(t))
			require.NoError(t, lock.Close())
		})
	}
}

// TestReadWill: the last will counts that was written in full.
func TestReadWill(t *testing.T) {
	tests := []struct {
		name, pipe string
		want       will
	}{
		{"none", "", will{}},
		{"one", "{\"labels\":[\"a\"]}\n", will{Labels: []string{"a"}}},
		{"taken back", "{\"labels\":[\"a\"]}\n{}\n", will{}},
		{"cut off", "{\"labels\":[\"a\"]}\n{\"Namespace\":\"b", will{Labels: []string{"a"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readWill(strings.NewReader(tt.pipe))
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
	_, err := readWill(strings.NewReader("no will\n"))
	require.Error(t, err)
}

// TestUntilQuiet: what appears late is removed, too, and what fails is tried again.
func TestUntilQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, removed := time.Now(), 0
		require.NoError(t, untilQuiet(t.Context(), "containers", func(context.Context) (int, error) {
			switch at := time.Since(began); {
			case at < 3*sec:
				return 0, errFake
			case at == 7*sec:
				removed++
				return 1, nil
			}
			return 0, nil
		}))
		assert.Equal(t, 1, removed)
		assert.Equal(t, 12*sec, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), 30*sec)
		defer cancel()
		err := untilQuiet(ctx, "containers", func(context.Context) (int, error) { return 0, errFake })
		require.ErrorIs(t, err, errFake)
		require.ErrorContains(t, err, "remove containers: context deadline exceeded")
	})
}

// TestReapNamespace: the run's namespace goes, also with a Pod that has a finalizer of ours; one
// that isn't ours stays, and so do the finalizers of others.
func TestReapNamespace(t *testing.T) {
	ns := func(name string, labels map[string]string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "a", Namespace: "zerodrop-a", Finalizers: []string{"zerodrop.dev/hold", "example.com/hold"},
	}}
	client := fake.NewSimpleClientset(ns("zerodrop-a", managed), ns("zerodrop-b", nil), pod)
	c := &Cluster{client: client, namespace: "zerodrop-a"}
	require.NoError(t, c.removeFinalizers(t.Context(), "zerodrop-a"))
	left, err := c.pods().Get(t.Context(), "a", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, []string{"example.com/hold"}, left.Finalizers)
	tests := []struct {
		name string
		want int
	}{
		{"zerodrop-a", 1},
		{"zerodrop-a", 0}, // gone
		{"zerodrop-b", 0},
	}
	for _, tt := range tests {
		n, err := (&Cluster{client: client, namespace: tt.name}).reapNamespace(t.Context())
		require.NoError(t, err)
		assert.Equal(t, tt.want, n, tt.name)
	}
	rest, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, rest.Items, 1)
	assert.Equal(t, "zerodrop-b", rest.Items[0].Name)
}
