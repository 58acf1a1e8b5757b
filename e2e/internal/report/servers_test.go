package report

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestServers: table B on the screen and in documents, and that it comes back from what is kept.
func TestServers(t *testing.T) {
	golden(t, "servers.txt", summarized(t, everyServer()))
	file := NewFile(everyServer())
	require.Len(t, file.Servers, 4)
	f, err := Condense(file, "abc1234", "make servers")
	require.NoError(t, err)
	assert.Empty(t, f.Figures)
	assert.Empty(t, f.Consumers)
	var out bytes.Buffer
	require.NoError(t, f.Write(&out))
	again, err := ReadResults(&out)
	require.NoError(t, err)
	assert.Equal(t, f, again)
	golden(t, "servers.md", ServerResults([]ResultsFile{again}))

	later := f
	later.Measured, later.Command = f.Measured.Add(24*time.Hour), "make servers again"
	nginx := f.Servers[0]
	nginx.Late = 77
	later.Servers = []FileServer{nginx, f.Servers[3]} // which says nothing
	later.Servers[1].Server, later.Servers[1].Way, later.Servers[1].Signal = "nginx", "nginx-sleep-quit", "SIGKILL"
	text := ServerResults([]ResultsFile{later, f})
	assert.Contains(t, text, "`make servers again`")
	assert.Contains(t, text, "| 77 |", "the last one counts")
	assert.NotContains(t, text, "SIGKILL", "one that is inconclusive doesn't")
	assert.Contains(t, ServerResults(nil), "Nothing is kept yet")

	file.Servers[0].Classes = map[timeline.Class]FileServerDrops{"odd": {}}
	require.ErrorContains(t, file.Write(&out), "server nginx, nginx: odd is no class")
	small := small()
	assert.Empty(t, NewFile(small).Servers, "another profile")
	assert.NotContains(t, written(t, Text, small), "Server by server")
}
