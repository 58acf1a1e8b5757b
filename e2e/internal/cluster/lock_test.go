package cluster

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func noStep(string) {}

func TestLockCluster(t *testing.T) {
	gone := exec.CommandContext(t.Context(), "true")
	require.NoError(t, gone.Run())
	tests := []struct {
		name  string
		holds holder
		want  error
	}{
		{"a run", newHolder(roleRun), errBusy},
		{"nobody knows who", holder{}, errBusy},
		{"a reaper", newHolder(roleCleanup), context.DeadlineExceeded},
		{"the reaper of a run that is gone", holder{Role: roleRun, PID: gone.Process.Pid}, context.DeadlineExceeded},
	}
	path := filepath.Join(t.TempDir(), "cluster.lock")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first, err := lockCluster(t.Context(), path, noStep)
			require.NoError(t, err, "free again")
			require.NoError(t, os.Truncate(path, 0))
			require.NoError(t, tt.holds.write(first))
			ctx, cancel := context.WithTimeout(t.Context(), 2*notice)
			defer cancel()
			began := time.Now()
			second, err := lockCluster(ctx, path, noStep)
			require.ErrorIs(t, err, tt.want)
			assert.Nil(t, second)
			assert.Less(t, time.Since(began), 3*notice)
			require.NoError(t, first.Close())
		})
	}
	_, err := lockCluster(t.Context(), filepath.Join(path, "below-a-file"), noStep)
	require.ErrorContains(t, err, "lock the kind cluster: ")
	require.NotErrorIs(t, err, errBusy)
}

// TestEnding: a run beside one that takes its cluster away for good waits for that, and one beside a
// run that only changes clusters fails at once.
func TestEnding(t *testing.T) {
	k := newKind(t, &fakeKind{})
	lock := filepath.Join(filepath.Dir(k.kubeconfig), "cluster.lock")
	ending, end := context.WithCancel(t.Context())
	announceEnd(ending, k.lock)
	_, err := lockCluster(t.Context(), lock, noStep)
	require.ErrorIs(t, err, errBusy)
	end()
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	_, err = lockCluster(ctx, lock, noStep)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
