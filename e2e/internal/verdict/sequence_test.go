package verdict

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// coming adds app-2, which is created at 5 s and ready half a second later, and answers.
func coming(tl *timeline.Timeline) {
	of := timeline.Event{Pod: "app-2", UID: "uid-2", Node: "n1"}
	written := of // within 10 ms
	written.Width = 10 * ms
	for _, e := range []struct {
		at   time.Duration
		kind timeline.Kind
		of   timeline.Event
	}{
		{0, timeline.PodCreated, written},
		{20 * ms, timeline.PodScheduled, written},
		{40 * ms, timeline.KubeletWrote, written},
		{120 * ms, timeline.SandboxStart, of},
		{130 * ms, timeline.PodSandboxReady, written},
		{160 * ms, timeline.ContainerCreated, of},
		{250 * ms, timeline.ProcessStart, of},
		{300 * ms, timeline.AppListening, of},
		{480 * ms, timeline.PodAddressed, written}, // the write that says ready, too
		{480 * ms, timeline.PodReady, written},
		{495 * ms, timeline.EndpointServing, written},
	} {
		happens(tl, 5*sec+e.at, e.kind, e.of)
	}
	tl.Lanes[0].Pods = append(tl.Lanes[0].Pods, "app-2")
	for _, sent := range []time.Duration{5520 * ms, 5620 * ms} {
		give(tl, 0, sent, sent+5*ms, timeline.OK).Pod = 3
	}
}

// going adds to what is known of app-0, which is deleted at 4 s.
func going(tl *timeline.Timeline) {
	of := timeline.Event{Pod: "app-0", UID: "uid-0", Node: "n1"}
	happens(tl, 4030*ms, timeline.EndpointTerminating, of)
	happens(tl, 4040*ms, timeline.KubeletKilling, of)
	happens(tl, 4045*ms, timeline.AppPreStopStart, of)
	happens(tl, 7300*ms, timeline.SandboxExit, of)
	interval(15*ms, 20*ms)(tl)
	give(tl, 0, 4500*ms, 4510*ms, timeline.OK).Pod = 1
	give(tl, 1, 5950*ms, 5960*ms, timeline.OK).Pod = 1 // on a kept connection, until it closed
}

// steps are a sequence as text: each step with its median, or how it isn't known.
func steps(s Sequence) string {
	var out strings.Builder
	for _, step := range s.Steps() {
		text := fmt.Sprint(step.P50())
		if len(step.Times) == 0 {
			text = fmt.Sprintf("not seen %d, censored %d", step.NotSeen, step.Censored)
		}
		fmt.Fprintf(&out, "%s %s: %s\n", step.Track, step.Step, text)
	}
	for _, o := range s.Orders() {
		fmt.Fprintf(&out, "%s < %s: %d, not %d, ? %d\n", o.First, o.Then, o.InOrder, o.Reversed, o.Undecided)
	}
	return out.String()
}

// TestSequences: both ways of a run's Pods, step by step and in the order in which they were seen.
func TestSequences(t *testing.T) {
	tl := leaving()
	coming(&tl)
	going(&tl)
	in, out := Sequences(Judge(tl))
	assert.Equal(t, `api created: 10ms
api bound: 20ms
node kubelet-wrote: 40ms
node sandbox-started: 120ms
node sandbox-reported: 130ms
node address-reported: 480ms
node container-created: 160ms
node container-started: 250ms
node listening: 300ms
node ready: 480ms
endpoints endpoint-ready: 495ms
endpoints first-request: 520ms
bound < kubelet-wrote: 1, not 0, ? 0
sandbox-started < container-created: 1, not 0, ? 0
sandbox-started < address-reported: 1, not 0, ? 0
address-reported < container-started: 0, not 1, ? 0
address-reported < ready: 0, not 0, ? 1
ready < endpoint-ready: 1, not 0, ? 0
endpoint-ready < first-request: 1, not 0, ? 0
`, steps(in))
	assert.Equal(t, `api deletion-answered: 15ms
endpoints endpoint-terminating: 30ms
node kubelet-killing: 40ms
node prestop: 45ms
node sigterm: 1s
node listener-closed: 2s
endpoints last-new: 500ms
endpoints last-request: not seen 0, censored 1
node exit: 3.02s
node sandbox-stopped: 3.3s
endpoints endpoint-gone: 3.1s
api gone: 4s
endpoint-terminating < kubelet-killing: 1, not 0, ? 0
endpoint-terminating < prestop: 1, not 0, ? 0
endpoint-terminating < sigterm: 1, not 0, ? 0
prestop < sigterm: 1, not 0, ? 0
endpoint-terminating < last-new: 1, not 0, ? 0
sigterm < last-new: 0, not 1, ? 0
last-request < exit: 1, not 0, ? 0
exit < sandbox-stopped: 1, not 0, ? 0
sandbox-stopped < gone: 1, not 0, ? 0
endpoint-gone < exit: 0, not 1, ? 0
endpoint-gone < gone: 1, not 0, ? 0
`, steps(out))
	again, _ := Sequences(Judge(tl), Judge(tl))
	assert.Equal(t, again, Merge(in, in), "of many runs")
}

// TestStepsNotSeen: a step that nothing told of is not seen, and never at 0; nor is a Pod that was
// there before the disruption on its way in.
func TestStepsNotSeen(t *testing.T) {
	in, out := Sequences(Judge(leaving()))
	assert.Empty(t, in.Pods)
	for _, step := range out.Steps() {
		if step.Step == StepEndpointTerminating || step.Step == StepSandboxStopped || step.Step == StepDeletionAnswered {
			assert.Equal(t, StepTimes{Step: step.Step, Track: step.Track, Source: step.Source, NotSeen: 1}, step)
		}
	}
	tl := leaving()
	tl.Window.DisruptStart = 0
	_, out = Sequences(Judge(tl))
	assert.Empty(t, out.Pods, "the run didn't get there")
	tl = leaving()
	tl.Sources = tl.Sources[:1] // nobody knows the clocks of the nodes
	_, out = Sequences(Judge(tl))
	assert.Len(t, out.Pods[0], 2, "what the API server told: %v", out.Pods[0])
	tl = leaving()
	with(2*sec, timeline.AppSIGTERM)(&tl)
	with(2500*ms, timeline.AppStart)(&tl)
	_, out = Sequences(Judge(tl))
	assert.NotContains(t, out.Pods[0], StepSIGTERM, "of the process before")
	tl = leaving()
	with(3500*ms, timeline.AppSIGTERM)(&tl)
	_, out = Sequences(Judge(tl))
	assert.Equal(t, -500*ms, out.Pods[0][StepSIGTERM].At, "a node that shuts down deletes nothing first")
}

// TestOrder: one step is before another where whatever is known of both allows nothing else.
func TestOrder(t *testing.T) {
	at := func(t time.Duration) StepInstant { return StepInstant{At: t, To: t} }
	within := func(from, to time.Duration) StepInstant { return StepInstant{At: from, To: to} }
	unsure := func(t time.Duration) StepInstant { return StepInstant{At: t, To: t, Unsure: 10 * ms} }
	type pod = map[Step]StepInstant
	tests := []struct {
		name string
		pod  pod
		want Order
	}{
		{"one after the other", pod{StepExit: at(1), StepGone: at(2)}, Order{InOrder: 1}},
		{"the other way round", pod{StepExit: at(2), StepGone: at(1)}, Order{Reversed: 1}},
		{"at once", pod{StepExit: at(1), StepGone: at(1)}, Order{Undecided: 1}},
		{"within the request for it", pod{StepExit: at(2), StepGone: within(1, 3)}, Order{Undecided: 1}},
		{"before the request for it", pod{StepExit: at(1), StepGone: within(2, 3)}, Order{InOrder: 1}},
		{"after its answer", pod{StepExit: at(4), StepGone: within(2, 3)}, Order{Reversed: 1}},
		{"within two clocks", pod{StepExit: unsure(1 * ms), StepGone: at(9 * ms)}, Order{Undecided: 1}},
		{"beyond two clocks", pod{StepExit: unsure(1 * ms), StepGone: at(12 * ms)}, Order{InOrder: 1}},
		{"the second not seen", pod{StepExit: at(1)}, Order{}},
		{"the first not seen", pod{StepGone: at(1)}, Order{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.First, tt.want.Then = StepExit, StepGone
			assert.Equal(t, tt.want, Sequence{Pods: []pod{tt.pod}}.Order(StepExit, StepGone))
		})
	}
	same := Sequence{Pods: []pod{{StepExit: unsure(1), StepSandboxStopped: unsure(2)}}}
	assert.Equal(t, 1, same.Order(StepExit, StepSandboxStopped).InOrder, "one clock tells both")
}
