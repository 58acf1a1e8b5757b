package suite

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestCompareServerLogs: a connection that a log gives to another Pod is told, and one whose port came again is none.
func TestCompareServerLogs(t *testing.T) {
	logs := t.TempDir()
	for name, text := range map[string]string{
		"a.log": "10.244.1.7:40001 [27/Nov/2026] http \"GET / HTTP/1.1\"\n10.244.1.7:40002 x\n10.244.1.7:40003 x\n\nNew process (8) forked\n",
		"b.log": "INFO: 10.244.1.7:40003 - \"GET / HTTP/1.1\" 200 OK\n10.244.1.7:40004 x\n10.244.0.1:40001 a probe\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(logs, name), []byte(text), 0o600))
	}
	tl := timeline.Timeline{
		Spec: timeline.Spec{Strategy: "haproxy", Disruption: "rolling-update"},
		Events: []timeline.Event{
			{Kind: timeline.PodAddressed, Pod: "a", IP: "10.244.2.1"}, {Kind: timeline.PodAddressed, Pod: "b", IP: "10.244.2.2"},
		},
	}
	route := func(port uint16, target string) {
		source, err := tl.Routes.Index("10.244.1.7")
		require.NoError(t, err)
		to, err := tl.Routes.Index(target)
		require.NoError(t, err)
		tl.Routes.List = append(tl.Routes.List, timeline.Route{Source: source, Target: to, Port: port})
	}
	route(40001, "10.244.2.1")
	route(40002, "10.244.2.2") // which a has logged
	route(40003, "10.244.2.1") // as both have
	route(40004, "10.244.2.1")
	route(40004, "10.244.2.2") // the port came again
	route(40005, "10.244.2.1") // refused: nobody has logged it
	route(40006, "10.0.0.1")   // another Service
	var c ServerCheck
	require.NoError(t, c.compare(tl, logs))
	assert.Equal(t, 2, c.Connections)
	assert.Equal(t, []string{"haproxy/rolling-update: connection 10.244.1.7:40002 was of Pod a, as that has logged, and not of b"}, c.Wrong)
}
