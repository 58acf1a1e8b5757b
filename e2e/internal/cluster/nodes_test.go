package cluster

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
)

// TestRunOn: a program on a node ends by itself, or with its context, and then it is gone there,
// too.
func TestRunOn(t *testing.T) {
	node := &aKindNode{name: "node-a"}
	t.Run("ends by itself", func(t *testing.T) {
		var out bytes.Buffer
		require.NoError(t, runOn(t.Context(), node, &out, "echo", "a b", "$c"))
		assert.Equal(t, "a b $c\n", out.String())
	})
	t.Run("fails", func(t *testing.T) {
		err := runOn(t.Context(), node, &bytes.Buffer{}, "sh", "-c", "echo first >&2; echo why >&2; exit 3")
		require.ErrorContains(t, err, "run sh on node node-a: ")
		assert.ErrorContains(t, err, "exit status 3")
		assert.Regexp(t, `\nwhy$`, err.Error())
	})
	t.Run("its context ends", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "pid")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- runOn(ctx, node, &bytes.Buffer{}, "sh", "-c", "echo $$ >"+file+"; exec sleep 1000") }()
		var pid int
		require.Eventually(t, func() bool {
			raw, _ := os.ReadFile(file)
			pid, _ = strconv.Atoi(strings.TrimSpace(string(raw)))
			return pid > 0
		}, 30*time.Second, time.Millisecond)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Eventually(t, func() bool { return syscall.Kill(pid, 0) != nil }, 30*time.Second, time.Millisecond, "it runs on")
	})
}

// TestLastLine: the last thing said, and nothing where nothing was.
func TestLastLine(t *testing.T) {
	require.NoError(t, lastLine(" \n"))
	require.EqualError(t, lastLine("a\nb\n\n"), "b")
}

// TestCheckAuditLog: a line of ours has to be in the log of a node that should have one, sooner or later.
func TestCheckAuditLog(t *testing.T) {
	const line = `{"verb":"delete","requestURI":"/api/v1/namespaces/` + namespace + `/pods/audited"}` + "\n"
	const no = "wait for a line of ours in the API server's audit log: "
	tests := []struct {
		name  string
		log   string
		comes time.Duration // after the first look
		pod   string        // that is there
		want  string        // error
	}{
		{"it is there", line, 0, "", ""},
		{"it comes", line, 3 * sec, "", ""},
		{"of another namespace", strings.Replace(line, namespace, "another", 1), 0, "", no},
		{"nothing is written", "", 0, "", no + "not within 10s: connection refused"},
		{"there is such a Pod", line, 0, "audited", "delete a Pod that isn't there: it was there"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				c := &Cluster{client: fake.NewSimpleClientset(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: tt.pod, Namespace: namespace}}), namespace: namespace}
				began := time.Now()
				node := observe.Node{Name: "control", AuditLog: "/log", Run: func(ctx context.Context, _ io.Writer, command string, args ...string) error {
					require.Equal(t, []string{"grep", "-q", "/log"}, []string{command, args[0], args[2]})
					if ctx.Err() != nil {
						return context.Cause(ctx)
					}
					if time.Since(began) < tt.comes || !strings.Contains(tt.log, args[1]) {
						return errFake
					}
					return nil
				}}
				err := c.checkAuditLog(t.Context(), []observe.Node{{Name: "worker"}, node})
				if tt.want == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, tt.want)
				}
			})
		})
	}
	t.Run("no node has one", func(t *testing.T) {
		inBubble(t, func(t *testing.T) {
			c := &Cluster{client: fake.NewSimpleClientset(), namespace: namespace}
			require.ErrorContains(t, c.checkAuditLog(t.Context(), []observe.Node{{Name: "worker"}}), no)
		})
	})
}
