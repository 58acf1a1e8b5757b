package cluster

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
