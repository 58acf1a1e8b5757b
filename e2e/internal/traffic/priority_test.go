package traffic

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPrioritize raises the priority of a child process and looks at all of its threads. A process that may not do so is told.
func TestPrioritize(t *testing.T) {
	if os.Getenv("ZERODROP_PRIORITIZE") != "" {
		before, _ := os.ReadFile(autogroup)
		restore, err := Prioritize()
		if err != nil {
			t.Skip(err)
		}
		if raised, _ := os.ReadFile(autogroup); len(before) > 0 {
			assert.Contains(t, string(raised), "nice -10")
		}
		restore()
		after, _ := os.ReadFile(autogroup)
		assert.Equal(t, before, after, "the session has its value back")
		// A child inherits the value; nice prints its own.
		out, err := exec.CommandContext(t.Context(), "nice").Output()
		require.NoError(t, err)
		assert.Equal(t, "-10", strings.TrimSpace(string(out)))
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPrioritize$", "-test.v")
	child.Env = append(os.Environ(), "ZERODROP_PRIORITIZE=1")
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a session of its own: ours is left alone
	out, err := child.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), "TestPrioritize")
}
