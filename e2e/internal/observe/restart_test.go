package observe

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestRestartInPlace: a container that is started again has a log of its own, and events say which container they are of.
func TestRestartInPlace(t *testing.T) {
	inBubble(t, func(t *testing.T, s *apiServer) {
		dir, start := t.TempDir(), time.Now()
		told := func(event string, at time.Duration, more string) string {
			return fmt.Sprintf(`{"event":%q,"unixNano":%d,"pod":"app-0"%s}`+"\n", event, start.Add(at).UnixNano(), more)
		}
		container := func(p *corev1.Pod, id string) { p.Status.ContainerStatuses[1].ContainerID = "containerd://" + id }
		first := told("start", -sec, "") + told("sigterm", 500*ms, "") +
			told("last-request", 600*ms, `,"requests":5,"lanes":{"service/new":5}`) + told("exit", 600*ms, `,"code":0`)
		second := told("start", 1500*ms, "") + told("listening", 1600*ms, "")
		p := aReadyPod("app-0")
		container(p, "first")
		s.say("app-0", first)
		s.put(p)
		o := s.observe(t, func(c *Config) { c.LogDir = dir })
		after(sec)
		setExited(p, 0, "Completed")
		s.put(p)
		s.endLog("app-0")
		after(sec)
		s.update(func() { s.logs["app-0"] = &podLog{text: second} })
		setRunning(p)
		container(p, "second")
		for range 2 {
			s.put(p)
			after(sec)
		}
		seen := o.Stop()
		var got []string
		for _, e := range only(seen.Events, timeline.PodCreated, timeline.PodStarted, timeline.ContainerExit, timeline.AppStart,
			timeline.AppListening, timeline.AppSIGTERM, timeline.AppExit, timeline.LogCut) {
			got = append(got, fmt.Sprint(e.Kind, " ", e.Restart))
		}
		assert.ElementsMatch(t, []string{
			"pod-created 0", "pod-started 0", "app-start 0", "app-sigterm 0", "app-exit 0", "container-exit 0",
			"pod-started 1", "app-start 1", "app-listening 1",
		}, got)
		assert.Equal(t, []timeline.Served{{Pod: "app-0", Answered: map[string]int{"service/new": 5}}}, seen.Served, "the second has said nothing yet")
		for file, want := range map[string]string{"app-0.log": first, "app-0-restart-1.log": second} {
			log, err := os.ReadFile(filepath.Join(dir, file))
			require.NoError(t, err)
			assert.Equal(t, want, string(log))
		}
		assert.Len(t, s.asked("/log", false), 2, "one log for each container")
		assert.Equal(t, 1, o.record.containers["second"].Restart, "by which the runtime's events are told apart")
	})
}
