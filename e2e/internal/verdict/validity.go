package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// validityCheck is a condition without which a run proves nothing. It returns the reasons why the
// run is not valid; none if it holds.
type validityCheck struct {
	reasons func(timeline.Timeline, findings) []string
	machine bool // what it finds is the machine's fault, and may be over by the next run
}

// findings are what was worked out of a timeline, once for all. Lanes are in its order.
type findings struct {
	pods        lifecycles
	punctuality []punctuality      // by lane
	dropped     [][]DroppedRequest // by lane
}

// validityChecks are all of them, the most telling first.
var validityChecks = []validityCheck{
	{reasons: everyPhaseWasReached},
	{reasons: everyLaneWasMeasured},
	{reasons: everyRequestWasSent},
	{reasons: ledgerBalances},
	{reasons: senderWasOnTime, machine: true},
	{reasons: senderNeverStalled, machine: true},
	{reasons: enoughCPU, machine: true},
	{reasons: leadWasClean},
	{reasons: podsWereReplaced},
	{reasons: leftBeforeTheEnd},
	{reasons: newPodsServed},
	{reasons: watchWasUnbroken},
	{reasons: watchedAllTheTime, machine: true}, // a Prometheus that broke down is told as an error
	{reasons: ledgersAgree},
	{reasons: heldLedgersAgree},
	{reasons: tasksWereUnderWay},
	{reasons: taskQueueBalances},
	{reasons: taskLedgersAgree},
	{reasons: accessLogsCame},
	{reasons: clocksHeld},
	{reasons: loadOutlivedThePods},
}

// nodesDown are the Nodes that stopped being ready during the run. That is not about validity but a
// breakdown: the Pods there went, or stood still, for another reason than the one that is measured. One
// whose kubelet the disruption has restarted is a finding (restarted).
func nodesDown(tl timeline.Timeline) []string {
	var why []string
	for _, e := range tl.Events {
		meant := tl.Spec.TakesNode && e.Node == disruptedNode(tl)
		if e.Kind == timeline.NodeUnready && !meant && !kubeletRestarted(tl, e) {
			why = append(why, fmt.Sprintf("node %s stopped being ready %s after the start of the disruption",
				e.Node, round(e.At-tl.Window.DisruptStart)))
		}
	}
	return why
}

// disruptedNode is the Node that the disruption has chosen; "" for none.
func disruptedNode(tl timeline.Timeline) string {
	for _, e := range tl.Events {
		if e.Kind == timeline.NodeDisrupted {
			return e.Node
		}
	}
	return ""
}

func everyPhaseWasReached(tl timeline.Timeline, _ findings) []string {
	var why []string
	w := tl.Window
	if w.DisruptStart <= 0 || w.DisruptEnd < w.DisruptStart || w.Settled < w.DisruptEnd || w.LoadEnd <= w.Settled {
		why = append(why, "the run did not go through all of its phases")
	}
	return why
}

// everyLaneWasMeasured compares the lanes on record with those that were declared: what a lane that
// is missing would have shown nobody knows, and a rate other than the declared one sees gaps of
// another length.
func everyLaneWasMeasured(tl timeline.Timeline, _ findings) []string {
	if len(tl.Lanes) == 0 {
		return []string{"no lane was measured"}
	}
	var why []string
	seen := map[string]bool{}
	for _, l := range tl.Lanes {
		spec, declared := tl.Spec.Lane(l.Name)
		switch {
		case !declared:
			why = append(why, l.Name+": on record, and not declared")
		case seen[l.Name]:
			why = append(why, l.Name+": twice on record")
		case l.Rate != spec.Rate:
			why = append(why, fmt.Sprintf("%s: recorded at %d requests/s instead of %d", l.Name, l.Rate, spec.Rate))
		}
		seen[l.Name] = true
	}
	for _, l := range tl.Spec.Lanes {
		if !seen[l.Name] {
			why = append(why, l.Name+": was not measured")
		}
	}
	return why
}

func everyRequestWasSent(tl timeline.Timeline, _ findings) []string {
	var why []string
	for _, l := range tl.Lanes {
		unsent, unable := 0, 0
		for _, r := range l.Requests {
			switch r.Cause {
			case timeline.Unsent:
				unsent++
			case timeline.Client:
				unable++
			}
		}
		if unsent > 0 {
			why = append(why, fmt.Sprintf("%s: %d of %d planned requests were not sent", l.Name, unsent, l.Planned))
		}
		if unable > 0 {
			why = append(why, fmt.Sprintf("%s: the sender had no port or descriptor for %d of %d requests",
				l.Name, unable, l.Planned))
		}
	}
	return why
}

// ledgerBalances compares the count of records with the count that the schedule gives. A record
// that was never filled in is one that was not sent.
func ledgerBalances(tl timeline.Timeline, _ findings) []string {
	var why []string
	for _, l := range tl.Lanes {
		if l.Planned == 0 {
			why = append(why, l.Name+": no request was planned")
		}
		if len(l.Requests) != l.Planned {
			why = append(why, fmt.Sprintf("%s: the ledger doesn't balance: %d planned, %d on record",
				l.Name, l.Planned, len(l.Requests)))
		}
	}
	return why
}

// senderWasOnTime bounds the lag by the coarsest detectable outage that is worth having (see
// punctuality). It is asked of the whole run, and of the time from the start of the disruption
// until it settled by itself: a sender that was held up just then would have been so among many
// requests that left on time.
func senderWasOnTime(tl timeline.Timeline, found findings) []string {
	var late []excess
	for i, l := range tl.Lanes {
		bound := coarsestDetectable(l.Rate)
		if p99 := found.punctuality[i].lagP99; p99 > bound {
			late = append(
				late,
				excess{p99 - bound, fmt.Sprintf("%s: requests left late: lag p99 %s, at most %s at %d requests/s",
					l.Name, p99, bound, l.Rate)},
			)
		} else if p99 := found.punctuality[i].disruptLagP99; p99 > bound {
			late = append(late, excess{
				p99 - bound, fmt.Sprintf("%s: requests left late during the disruption: lag p99 %s, at most %s at %d requests/s",
					l.Name, p99, bound, l.Rate),
			})
		}
	}
	return worst(late)
}

// excess is by how much a lane is beyond a bound, and what is to be said of it.
type excess struct {
	by   time.Duration
	text string
}

// worst says what is to be said of the lane that is farthest beyond a bound, and how many others
// are. A sender that is late is so in all of its lanes: to list each would bury the other reasons.
func worst(lanes []excess) []string {
	if len(lanes) == 0 {
		return nil
	}
	text := slices.MaxFunc(lanes, func(a, b excess) int { return cmp.Compare(a.by, b.by) }).text
	switch others := len(lanes) - 1; others {
	case 0:
	case 1:
		text += "; and so in another lane"
	default:
		text += fmt.Sprintf("; and so in %d other lanes", others)
	}
	return []string{text}
}

// coarsestOutage is the coarsest minimal detectable outage of a valid run: a fifth of a second.
// Delays are set in whole seconds (the kubelet's sleep action takes nothing finer), and kube-proxy
// takes tenths of a second to seconds to follow.
const coarsestOutage = 200 * time.Millisecond

// coarsestDetectable is coarsestOutage, or what the rate allows where that is less.
func coarsestDetectable(rate int) time.Duration {
	return max(MinDetectableOutage(rate), coarsestOutage)
}

// senderNeverStalled bounds the time between two requests that left one after the other, anywhere
// between the start of the disruption and the instant when it had settled. By plan that is one
// interval, 1/rate; what it is more is a stall of the sender, within which an outage is seen by
// nobody:
//
//	gap ≤ 1/rate + coarsest outage       210 ms at 100 requests/s
//
// A p99 of the lag can't say this: one stall of a second holds up one request in a hundred of a run
// of minutes. Both neighbours of that time count as well, so that a sender that stopped altogether
// is found.
func senderNeverStalled(tl timeline.Timeline, found findings) []string {
	var stalled []excess
	for i, l := range tl.Lanes {
		if l.Rate <= 0 {
			continue
		}
		at, gap := found.punctuality[i].gapFrom, found.punctuality[i].gap
		if bound := time.Second/time.Duration(l.Rate) + coarsestDetectable(l.Rate); gap > bound {
			stalled = append(
				stalled,
				excess{
					gap - bound,
					fmt.Sprintf(
						"%s: no request left for %s, from %s after the start of the disruption on: at most %s at %d requests/s",
						l.Name,
						round(gap),
						round(at-tl.Window.DisruptStart),
						round(bound),
						l.Rate,
					),
				},
			)
		}
	}
	return worst(stalled)
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// mostPressure is the share of the time in which some task on a sender's machine may wait for a
// CPU. Whether the sender itself was late, its lag says directly. But nodes of a kind cluster share
// that machine: where tasks wait nearly all of the time, kubelet, kube-proxy and the app take
// longer to take a Pod out of service than they do elsewhere, and what is measured is the machine.
// Some waiting is normal, as load and rollout come at once; 0.95 leaves that in.
const mostPressure = 0.95

func enoughCPU(tl timeline.Timeline, _ findings) []string {
	var why []string
	for _, s := range tl.Senders {
		if s.Pressure != nil && *s.Pressure > mostPressure {
			why = append(
				why,
				fmt.Sprintf(
					"too few CPUs: tasks waited for one in %.0f %% of the time where %s sent from, at most %.0f %%",
					100**s.Pressure,
					s.Name,
					100*mostPressure,
				),
			)
		}
	}
	return why
}

// leadWasClean wants every lane to have worked and dropped nothing before the disruption.
func leadWasClean(tl timeline.Timeline, _ findings) []string {
	var why []string
	for _, l := range tl.Lanes {
		ok, dropped := 0, 0
		for _, r := range l.Requests {
			switch {
			case r.Cause == timeline.Unsent || r.Done() >= tl.Window.DisruptStart:
			case r.Cause == timeline.OK:
				ok++
			default:
				dropped++
			}
		}
		if dropped > 0 {
			why = append(why, fmt.Sprintf("%s: %d requests were dropped before the disruption began", l.Name, dropped))
		} else if ok == 0 {
			why = append(why, l.Name+": no request was answered before the disruption began")
		}
	}
	return why
}

// podsWereReplaced wants the Pods in the scope of the disruption to be gone, and no others.
func podsWereReplaced(tl timeline.Timeline, found findings) []string {
	gone, there := found.pods.gone(tl.Window, "")
	switch tl.Spec.Scope {
	case timeline.ScopeAll:
		if gone < tl.Replicas || tl.Replicas == 0 {
			return []string{fmt.Sprintf("%d of %d Pods were replaced", gone, tl.Replicas)}
		}
	case timeline.ScopeNode:
		node := disruptedNode(tl)
		here, there := found.pods.gone(tl.Window, node)
		switch {
		case node == "" || there == 0 || here < there:
			return []string{fmt.Sprintf("%d of %d Pods of node %q are gone", here, there, node)}
		case gone > here:
			return []string{fmt.Sprintf("%d Pods of other nodes than %s went away", gone-here, node)}
		}
	case timeline.ScopeSome:
		switch want := tl.Spec.Gone; {
		case gone == 0:
			return []string{fmt.Sprintf("none of %d Pods is gone", there)}
		case want > 0 && gone != want:
			return []string{fmt.Sprintf("%d of %d Pods are gone, and %d had to go", gone, there, want)}
		case gone == there:
			return []string{fmt.Sprintf("all %d Pods are gone, and some had to stay", there)}
		}
	case timeline.ScopeNone:
		if gone > 0 {
			return []string{fmt.Sprintf("%d Pods went away though nothing was done to them", gone)}
		}
	case timeline.ScopeRestarted:
		return onlyInPlace(tl, found, gone, (*PodLifecycle).startedAgain, "had their container started again")
	case timeline.ScopeUnready:
		return onlyInPlace(tl, found, gone, (*PodLifecycle).unreadyIn, "were unready for a time")
	case timeline.ScopeLeft:
		return onlyInPlace(tl, found, gone, (*PodLifecycle).hasLeft, "have left their Services")
	default:
		return []string{fmt.Sprintf("unknown scope %q: nobody can say which Pods had to go", tl.Spec.Scope)}
	}
	return nil
}

// onlyInPlace wants no Pod to be gone, and something to have happened to each since the disruption
// began.
func onlyInPlace(
	tl timeline.Timeline, found findings, gone int, happened func(*PodLifecycle, time.Duration) bool, what string,
) []string {
	since := tl.Window.DisruptStart
	n, _ := found.pods.inPlace(tl.Window, func(l *PodLifecycle) bool { return happened(l, since) })
	switch {
	case gone > 0:
		return []string{fmt.Sprintf("%d Pods went away though nothing was to end them", gone)}
	case n < tl.Replicas || tl.Replicas == 0:
		return []string{fmt.Sprintf("%d of %d Pods %s", n, tl.Replicas, what)}
	}
	return nil
}

// leftBeforeTheEnd wants Pods that were to leave their Services before they are deleted to have done so.
func leftBeforeTheEnd(_ timeline.Timeline, found findings) []string {
	var why []string
	for _, life := range found.pods.sorted() {
		deleted, wasDeleted := life.At(timeline.PodDeleted)
		if left, gone := life.At(timeline.EndpointGone); life.has(timeline.LeaveAsked) && wasDeleted &&
			(!gone || left > deleted) {
			why = append(why, fmt.Sprintf("Pod %s was to leave its Services, and was deleted as their endpoint", life.Pod))
		}
	}
	return why
}

// newPodsServed wants an answer from each new Pod: else the run has not seen the new release. One that
// got ready after its deletion is no endpoint that anybody asks. Where nobody knows which Pod has given some
// answer, that may have been the one.
func newPodsServed(tl timeline.Timeline, found findings) []string {
	served := map[*PodLifecycle]bool{}
	for _, l := range tl.Lanes {
		if !tl.Spec.SaysItself() && slices.ContainsFunc(l.Requests, nameless) {
			return nil
		}
		for _, r := range l.Requests {
			if r.Cause == timeline.OK {
				served[found.pods.named(l.PodOf(r), r.Done())] = true
			}
		}
	}
	var why []string
	for _, life := range found.pods.sorted() {
		readyAt, ready := life.At(timeline.PodReady)
		if deleted, was := life.At(timeline.PodDeleted); was && deleted <= readyAt {
			continue
		}
		if created, known := life.At(timeline.PodCreated); known && ready && created > tl.Window.DisruptStart &&
			!served[life] {
			why = append(why, fmt.Sprintf("Pod %s was ready and answered no request", life.Pod))
		}
	}
	return why
}

func watchWasUnbroken(tl timeline.Timeline, _ findings) []string {
	var why []string
	for _, e := range tl.Events {
		if e.Kind == timeline.WatchGap {
			why = append(why, fmt.Sprintf("events may be missing at %s: %s", e.At.Round(time.Millisecond), e.Detail))
		}
	}
	return why
}

// watchedAllTheTime wants the record of every consumer that is only watched, without a gap: a Pod
// that nobody asked for as long as Prometheus was away looks like one that it no longer knew.
func watchedAllTheTime(tl timeline.Timeline, _ findings) []string {
	var why []string
	for _, s := range tl.Sources {
		if s.Kind == timeline.SourceScrape && s.Missing != "" {
			why = append(why, s.Missing)
		}
	}
	for _, name := range tl.Spec.Watched {
		if !slices.ContainsFunc(tl.Scrapes, func(s timeline.Scrape) bool { return s.Consumer == name }) {
			why = append(why, name+": no scrape is on record")
		}
	}
	return why
}

// ledgersAgree holds the client's ledger against the server's, Pod by Pod and lane by lane. A Pod
// that was killed has told nothing, and isn't asked. One whose container was started again counts if
// each of its processes has told: answers don't say which of them they are of.
//
// A Pod can't have answered less than arrived from it whole. What it answered more has to be found
// among what the client dropped, or sent again: an answer that was handed to the kernel and never
// arrived. So over all Pods that told:
//
//	0 ≤ answered − arrived    and    Σ (answered − arrived) ≤ dropped without a whole answer + resends
//
// Anything else is requests that one side doesn't know of: resent behind the client's back, say, or
// answered by somebody else.
func ledgersAgree(tl timeline.Timeline, found findings) []string {
	if len(tl.Served) == 0 {
		return nil
	}
	var why []string
	ledgers := ledgersByPod(tl, found.pods)
	for _, l := range tl.Lanes {
		arrived, slack := arrivedWhole(l, found.pods)
		if spec, _ := tl.Spec.Lane(l.Name); spec.Holds() {
			slack += heldSlack(tl, l)
		}
		answered, counted := 0, 0
		for _, s := range ledgers {
			n := arrived[found.pods.accountOf(s.Pod, s.UID)]
			if s.Answered[l.Name] < n {
				why = append(why, fmt.Sprintf("%s: %d answers arrived from Pod %s, which says it has given %d",
					l.Name, n, s.Pod, s.Answered[l.Name]))
				n = s.Answered[l.Name]
			}
			answered, counted = answered+s.Answered[l.Name], counted+n
		}
		if answered-counted > slack {
			why = append(
				why,
				fmt.Sprintf(
					"%s: the Pods say they have answered %d requests, of which %d arrived: "+
						"the client knows of only %d that could be the rest",
					l.Name,
					answered,
					counted,
					slack,
				),
			)
		}
	}
	return why
}

// account is what a Pod's answers are counted by: its name, and where there were several of that, its
// lifecycle.
type account struct {
	name string
	life *PodLifecycle
}

// accountOf is that of a Pod by its UID; of the last one of its name, if that is empty.
func (l lifecycles) accountOf(name, uid string) account {
	if len(l.byName[name]) < 2 {
		return account{name: name}
	}
	return account{name, l.find(name, uid)}
}

// ledgersByPod are the ledgers of all processes of a Pod together, where each of them has told.
func ledgersByPod(tl timeline.Timeline, pods lifecycles) []timeline.Served {
	var out []timeline.Served
	told := map[account]int{}
	at := map[account]int{}
	for _, s := range tl.Served {
		of := pods.accountOf(s.Pod, s.UID)
		told[of]++
		if told[of] == 1 {
			at[of] = len(out)
			out = append(out, timeline.Served{Pod: s.Pod, UID: s.UID, Answered: map[string]int{}})
		}
		for lane, n := range s.Answered {
			out[at[of]].Answered[lane] += n
		}
	}
	return slices.DeleteFunc(out, func(s timeline.Served) bool {
		life := pods.find(s.Pod, s.UID)
		return life != nil && told[pods.accountOf(s.Pod, s.UID)] < max(1, len(life.runs))
	})
}

// arrivedWhole is the answers of which all arrived, by Pod, and how many requests may have been
// answered in vain: those that were dropped without a whole answer, and those that were sent again.
// An answer with another status may have been cut off: it counts as arrived for nobody. So does one
// of which nobody can tell which Pod of that name has given it.
func arrivedWhole(l timeline.LaneRecord, pods lifecycles) (arrived map[account]int, slack int) {
	arrived = map[account]int{}
	accountAt := func(r timeline.Request) (of account, told bool) {
		of = account{name: l.PodOf(r)}
		if len(pods.byName[of.name]) < 2 {
			return of, true
		}
		of.life = pods.named(of.name, r.Done())
		return of, of.life != nil
	}
	for _, r := range l.Requests {
		whole := r.Cause == timeline.OK || r.Cause == timeline.WrongBody
		if r.Cause == timeline.WrongApp {
			continue // none of the app's Pods has answered it
		}
		if of, told := accountAt(r); whole && told {
			arrived[of]++
		} else if whole || r.Dropped() {
			slack++
		}
		slack += max(0, int(r.Attempts)-1)
	}
	return arrived, slack
}

// clocksHeld asks how well the instants of another process' requests are placed against events of
// the cluster. They are off by up to the uncertainty of that clock. An error longer than what the
// lane tells apart at best would move a dropped request before a Pod's deletion, say. And the
// offset was measured before the load: a clock that has moved since by more than both measurements
// can be off (twice the uncertainty) and a timer's grain moved during the run, by nobody knows how
// much when.
func clocksHeld(tl timeline.Timeline, _ findings) []string {
	var why []string
	sender := map[string]bool{} // lanes that somebody is on record to have sent
	for _, s := range tl.Senders {
		for _, l := range tl.Lanes {
			if !slices.Contains(s.Lanes, l.Name) {
				continue
			}
			sender[l.Name] = true
			if bound := arrivalResolution(l.Rate); s.Uncertainty > bound {
				why = append(why, fmt.Sprintf("%s: the clock of %s is known to %s only: at most %s at %d requests/s",
					l.Name, s.Name, s.Uncertainty, bound, l.Rate))
			}
		}
		if moved := s.Drift.Abs(); moved > 2*s.Uncertainty+clockGrain {
			why = append(why, fmt.Sprintf("the clock of %s moved by %s during the run, and is known to %s",
				s.Name, s.Drift, s.Uncertainty))
		}
	}
	for _, l := range tl.Spec.Lanes {
		if l.From == timeline.FromCluster && !sender[l.Name] {
			why = append(why, l.Name+": nobody is on record to have sent it, by no known clock")
		}
	}
	return why
}

// arrivalResolution is what a lane tells apart at best: its minimal detectable outage, and no less
// than what scheduling on a busy machine and a timer grain of 1 ms leave of it.
func arrivalResolution(rate int) time.Duration {
	return max(MinDetectableOutage(rate), 10*time.Millisecond)
}

// clockGrain is what a clock that was read twice may have moved: the timer's grain.
const clockGrain = time.Millisecond

// loadOutlivedThePods wants the load to go on until no Pod is terminating on a node that lives, plus one
// client timeout: requests are often dropped after the rollout is over.
func loadOutlivedThePods(tl timeline.Timeline, found findings) []string {
	var why []string
	var lastGone time.Duration
	for _, life := range found.pods.sorted() {
		gone, isGone := life.goneAt()
		if _, deleted := life.At(timeline.PodDeleted); deleted && !isGone {
			why = append(why, fmt.Sprintf("Pod %s was still terminating when the load ended", life.Pod))
		}
		lastGone = max(lastGone, gone)
	}
	for _, l := range tl.Spec.Lanes {
		if end := tl.Window.LoadEnd; end-lastGone < l.Timeout {
			why = append(
				why,
				fmt.Sprintf("%s: the load ended %s after the last Pod was gone: at least its timeout of %s is needed",
					l.Name, (end-lastGone).Round(time.Millisecond), l.Timeout),
			)
		}
	}
	return why
}
