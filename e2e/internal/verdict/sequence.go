package verdict

import (
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Way is one of the two that Pods go.
type Way string

// The ways, each with the instant that its steps count from.
const (
	WayIn  Way = "in"  // from when the API server was asked to create the Pod
	WayOut Way = "out" // from when it was asked to delete it
)

// Ways lists both.
func Ways() []Way { return []Way{WayIn, WayOut} }

// Track is who takes a step. Steps of different tracks happen side by side.
type Track string

// The tracks.
const (
	TrackAPI       Track = "api"       // the API server, the scheduler, controllers
	TrackEndpoints Track = "endpoints" // EndpointSlices, and the requests that are routed by them
	TrackNode      Track = "node"      // kubelet, container runtime, the app itself
)

// Tracks lists every track.
func Tracks() []Track { return []Track{TrackAPI, TrackEndpoints, TrackNode} }

// Step is something that happens to a Pod on one of its ways.
type Step string

// The steps on the way in, in the order in which the documentation tells them.
const (
	StepCreated          Step = "created"           // the API server answered that the Pod exists
	StepBound            Step = "bound"             // the scheduler gave it a node
	StepKubeletWrote     Step = "kubelet-wrote"     // the kubelet wrote to its status for the first time
	StepSandboxStarted   Step = "sandbox-started"   // its sandbox runs: the network was made just before
	StepSandboxReported  Step = "sandbox-reported"  // its status says so (PodReadyToStartContainers)
	StepAddressReported  Step = "address-reported"  // its status has an IP
	StepContainerCreated Step = "container-created" // the app's container was made
	StepContainerStarted Step = "container-started" // and its process started
	StepListening        Step = "listening"         // the app accepts connections
	StepReady            Step = "ready"             // its status says Ready
	StepEndpointReady    Step = "endpoint-ready"    // an EndpointSlice has it as ready
	StepFirstRequest     Step = "first-request"     // the first request that it answered
)

// The steps on the way out, likewise. What a Pod's volumes do is none of them: the app's Pods have no
// volume, and who takes one away tells nobody but the kubelet's log.
const (
	StepDeletionAnswered    Step = "deletion-answered"    // the API server answered that the Pod will go
	StepEndpointTerminating Step = "endpoint-terminating" // an EndpointSlice has it as terminating
	StepKubeletKilling      Step = "kubelet-killing"      // the kubelet's Event Killing: it is about to run preStop
	StepPreStop             Step = "prestop"              // the app was called by its preStop hook
	StepSIGTERM             Step = "sigterm"              // the app got SIGTERM
	StepListenerClosed      Step = "listener-closed"      // the app accepts no more connections
	StepLastNew             Step = "last-new"             // the last request on a new connection came to it
	StepLastRequest         Step = "last-request"         // the last request of all
	StepExit                Step = "exit"                 // its process ended
	StepSandboxStopped      Step = "sandbox-stopped"      // its sandbox ended: the network is taken down next
	StepEndpointGone        Step = "endpoint-gone"        // no EndpointSlice has it any more
	StepGone                Step = "gone"                 // the object was removed
)

// StepsOf lists the steps of a way, in that order.
func StepsOf(way Way) []Step {
	var out []Step
	for _, info := range stepInfos {
		if info.way == way {
			out = append(out, info.step)
		}
	}
	return out
}

// stepInfo is what is known of a step beforehand.
type stepInfo struct {
	step   Step
	way    Way
	track  Track
	source string
	kind   timeline.Kind // the event that it is; empty for one that is worked out
	means  string
}

// Meaning says the step in words.
func (s Step) Meaning() string {
	i := slices.IndexFunc(stepInfos, func(info stepInfo) bool { return info.step == s })
	if i < 0 {
		return ""
	}
	return stepInfos[i].means
}

// Where steps are known from.
const (
	fromAudit   = "audit log, else API watch"
	fromRuntime = "container runtime"
	fromApp     = "app log"
	fromLedger  = "requests on record"

	fromAppOrRuntime = "app log, else container runtime"
)

var stepInfos = []stepInfo{
	{StepCreated, WayIn, TrackAPI, "audit log", "", "the API server has made the Pod"},
	{StepBound, WayIn, TrackAPI, fromAudit, timeline.PodScheduled, "the scheduler gives it a node"},
	{
		StepKubeletWrote, WayIn, TrackNode, "audit log", timeline.KubeletWrote,
		"the kubelet writes to its status for the first time",
	},
	{
		StepSandboxStarted, WayIn, TrackNode, fromRuntime, timeline.SandboxStart,
		"its sandbox starts, its network is there",
	},
	{StepSandboxReported, WayIn, TrackNode, fromAudit, timeline.PodSandboxReady, "status: ready to start containers"},
	{StepAddressReported, WayIn, TrackNode, fromAudit, timeline.PodAddressed, "status: its IP"},
	{StepContainerCreated, WayIn, TrackNode, fromRuntime, timeline.ContainerCreated, "its container is made"},
	{StepContainerStarted, WayIn, TrackNode, fromRuntime, timeline.ProcessStart, "its process starts"},
	{StepListening, WayIn, TrackNode, fromApp, timeline.AppListening, "the app listens"},
	{StepReady, WayIn, TrackNode, fromAudit, timeline.PodReady, "status: ready"},
	{StepEndpointReady, WayIn, TrackEndpoints, fromAudit, timeline.EndpointServing, "its endpoint is ready"},
	{StepFirstRequest, WayIn, TrackEndpoints, fromLedger, "", "the first request comes to it"},

	{StepDeletionAnswered, WayOut, TrackAPI, "audit log, else the harness", "", "the API server has marked the Pod"},
	{
		StepEndpointTerminating, WayOut, TrackEndpoints, fromAudit, timeline.EndpointTerminating,
		"its endpoint is terminating",
	},
	{
		StepKubeletKilling, WayOut, TrackNode, "Event: " + fromAudit, timeline.KubeletKilling,
		"the kubelet says that it stops it",
	},
	{StepPreStop, WayOut, TrackNode, fromApp, timeline.AppPreStopStart, "its preStop hook calls the app"},
	{StepSIGTERM, WayOut, TrackNode, fromAppOrRuntime, timeline.AppSIGTERM, "SIGTERM"},
	{StepListenerClosed, WayOut, TrackNode, fromApp, timeline.AppListenerClosed, "the app closes its listener"},
	{StepLastNew, WayOut, TrackEndpoints, fromLedger, "", "the last request on a new connection comes to it"},
	{StepLastRequest, WayOut, TrackEndpoints, fromLedger, "", "the last request of all comes to it"},
	{StepExit, WayOut, TrackNode, fromRuntime, timeline.ProcessExit, "its process ends"},
	{
		StepSandboxStopped, WayOut, TrackNode, fromRuntime, timeline.SandboxExit,
		"its sandbox ends, its network goes next",
	},
	{StepEndpointGone, WayOut, TrackEndpoints, fromAudit, timeline.EndpointGone, "its endpoint is gone"},
	{StepGone, WayOut, TrackAPI, fromAudit, timeline.PodGone, "the API server has removed the Pod"},
}

// toldByNode are the steps that are dated by the clock of the Pod's node.
func (i stepInfo) toldByNode() bool {
	return slices.Contains([]string{fromRuntime, fromApp, fromAppOrRuntime}, i.source)
}

// orderPairs are the pairs of steps of whose order the documentation, or common knowledge, says
// something: the first of a pair is the one that is said to be first.
var orderPairs = [...][2]Step{
	{StepBound, StepKubeletWrote},
	{StepSandboxStarted, StepContainerCreated},
	{StepSandboxStarted, StepAddressReported},
	{StepAddressReported, StepContainerStarted},
	{StepAddressReported, StepReady},
	{StepReady, StepEndpointReady},
	{StepEndpointReady, StepFirstRequest},

	{StepEndpointTerminating, StepKubeletKilling},
	{StepEndpointTerminating, StepPreStop},
	{StepEndpointTerminating, StepSIGTERM},
	{StepPreStop, StepSIGTERM},
	{StepEndpointTerminating, StepLastNew},
	{StepSIGTERM, StepLastNew},
	{StepLastRequest, StepExit},
	{StepExit, StepSandboxStopped},
	{StepSandboxStopped, StepGone},
	{StepEndpointGone, StepExit},
	{StepEndpointGone, StepGone},
}

// StepInstant is when a step happened: not before At, and not after To. Both are offsets from the
// start of its way; the same where the instant is known.
type StepInstant struct {
	At, To time.Duration
	// Unsure is how far off both may be against steps that are not told by the Pod's node.
	Unsure time.Duration
	// Censored says that it would have been later, had the Pod not ended: a lower bound.
	Censored bool
}

// Sequence is one way of Pods, step by step. What several runs saw is put together by Merge.
type Sequence struct {
	Way  Way
	Pods []map[Step]StepInstant // of each Pod the steps that were seen
}

// Sequences are the ways of the Pods of runs: in, of those that were created after the disruption had
// begun; out, of those that were deleted then, on a node that lived. What was not seen of a Pod is not in
// its map: nothing stands in its place.
func Sequences(runs ...Verdict) (in, out Sequence) {
	in.Way, out.Way = WayIn, WayOut
	for _, v := range runs {
		if v.DisruptStart == 0 {
			continue // the run didn't get there
		}
		for owner, life := range v.Pods {
			if created, ok := life.At(timeline.PodCreated); ok && created > v.DisruptStart {
				in.Pods = append(in.Pods, life.wayIn(created))
			}
			if deleted, ok := life.At(timeline.PodDeleted); ok && deleted >= v.DisruptStart && !life.has(timeline.NodeLost) {
				out.Pods = append(out.Pods, life.wayOut(v, owner, deleted))
			}
		}
	}
	return in, out
}

// Merge puts sequences of one way together.
func Merge(sequences ...Sequence) (all Sequence) {
	for _, s := range sequences {
		all.Way, all.Pods = s.Way, append(all.Pods, s.Pods...)
	}
	return all
}

// seen are the steps of a way that are events.
func (l PodLifecycle) seen(way Way, start time.Duration) map[Step]StepInstant {
	out := map[Step]StepInstant{}
	for _, info := range stepInfos {
		at, ok := l.At(info.kind)
		if again, told := l.last().At(info.kind); told && way == WayOut { // by the container that it goes with
			at, ok = again, true
		}
		if info.way != way || !ok || info.toldByNode() && l.clockOff >= unknownClock {
			continue
		}
		if (l.restarted || len(l.runs) > 0) && at < start {
			continue // it happened to the process before
		}
		m := StepInstant{At: at - start, To: at - start + l.widths[info.kind]}
		if info.toldByNode() {
			m.Unsure = l.clockOff
		}
		out[info.step] = m
	}
	return out
}

func (l PodLifecycle) wayIn(created time.Duration) map[Step]StepInstant {
	out := l.seen(WayIn, created)
	if answered := l.widths[timeline.PodCreated]; answered > 0 {
		out[StepCreated] = StepInstant{At: answered, To: answered}
	}
	if l.answered.to > 0 {
		out[StepFirstRequest] = StepInstant{At: l.answered.from - created, To: l.answered.to - created}
	}
	return out
}

func (l PodLifecycle) wayOut(v Verdict, owner int, deleted time.Duration) map[Step]StepInstant {
	out := l.seen(WayOut, deleted)
	answer := l.deletionWidth
	if at, byUs := l.At(timeline.DeleteAnswered); byUs && answer == 0 {
		answer = at - deleted
	}
	if answer > 0 { // else the watch told of it after the answer, and nobody knows when that was
		out[StepDeletionAnswered] = StepInstant{At: answer, To: answer}
	}
	fresh := slices.DeleteFunc(slices.Clone(v.Lanes), func(lane Lane) bool {
		return lane.ConnectionClass() != timeline.ClassNew
	})
	asked, _ := l.toGo() // arrivals count from then, which is before the deletion where the Pod has left its Services
	for step, lanes := range map[Step][]Lane{StepLastNew: fresh, StepLastRequest: v.Lanes} {
		last, _ := longestArrival(lanes, owner)
		if last.After <= 0 {
			continue // none came
		}
		rate := 1
		for _, lane := range lanes {
			rate = max(rate, lane.Rate)
		}
		at := asked + last.After - deleted
		out[step] = StepInstant{At: at, To: at + time.Second/time.Duration(rate), Censored: last.Censored || last.Missed}
	}
	return out
}

// StepTimes is when a step happened, over all Pods of a sequence.
type StepTimes struct {
	Step   Step
	Track  Track
	Source string // that names the instants
	// Times are of the Pods that it was seen of, in order, from the start of the way. Those that are
	// censored are not among them.
	Times    []time.Duration
	Censored int
	NotSeen  int           // Pods of which it is not known: never taken for 0
	Unsure   time.Duration // how far off the clock of a node that tells it may be, at most
}

// P50 is the median; 0 without any.
func (s StepTimes) P50() time.Duration { return Percentile(s.Times, 0.50) }

// Steps are all steps of the way, those that were seen of no Pod included, in the order in which the
// documentation tells them.
func (s Sequence) Steps() []StepTimes {
	var out []StepTimes
	for _, info := range stepInfos {
		if info.way != s.Way {
			continue
		}
		times := StepTimes{Step: info.step, Track: info.track, Source: info.source}
		for _, pod := range s.Pods {
			switch m, seen := pod[info.step]; {
			case !seen:
				times.NotSeen++
			case m.Censored:
				times.Censored++
			default:
				times.Times = append(times.Times, m.At)
				times.Unsure = max(times.Unsure, m.Unsure)
			}
		}
		slices.Sort(times.Times)
		out = append(out, times)
	}
	return out
}

// Order is how often one step came before another, over the Pods of which both were seen.
type Order struct {
	First, Then Step
	InOrder     int
	Reversed    int
	// Undecided is where the two lie within what is known of them: made by one write, or nearer to each
	// other than the request for a change and its answer, or than two clocks.
	Undecided int
}

// Order compares two steps.
func (s Sequence) Order(first, then Step) Order {
	out := Order{First: first, Then: then}
	for _, pod := range s.Pods {
		a, hasFirst := pod[first]
		b, hasThen := pod[then]
		if !hasFirst || !hasThen {
			continue
		}
		slack := a.Unsure + b.Unsure
		if toldByNode(first) && toldByNode(then) {
			slack = 0 // one clock tells both
		}
		switch {
		case a.To+slack < b.At:
			out.InOrder++
		case b.To+slack < a.At:
			out.Reversed++
		default:
			out.Undecided++
		}
	}
	return out
}

func toldByNode(step Step) bool {
	i := slices.IndexFunc(stepInfos, func(info stepInfo) bool { return info.step == step })
	return i >= 0 && stepInfos[i].toldByNode()
}

// Orders are those of the steps whose order something is said of, where both were seen of some Pod.
func (s Sequence) Orders() []Order {
	var out []Order
	for _, pair := range orderPairs {
		if o := s.Order(pair[0], pair[1]); o.InOrder+o.Reversed+o.Undecided > 0 {
			out = append(out, o)
		}
	}
	return out
}

// noteAnswers notes of each Pod the request that it was the first to have answered: when that was
// sent, and when it was done. It came to the Pod in between.
func (l lifecycles) noteAnswers(lanes []timeline.LaneRecord) {
	for _, lane := range lanes {
		for _, r := range lane.Requests {
			if r.Pod == 0 {
				continue
			}
			life := l.named(lane.PodOf(r), r.Sent())
			if life != nil && (life.answered.to == 0 || r.Done() < life.answered.to) {
				life.answered = span{r.Sent(), r.Done()}
			}
		}
	}
}

// noteClocks notes of each Pod how far off the clock of its node may be.
func (l lifecycles) noteClocks(tl timeline.Timeline) {
	a := attribution{tl: tl, clocks: map[string]time.Duration{}}
	a.readClocks()
	for _, life := range l.all {
		life.clockOff = a.clock(life.Node)
	}
}
