package verdict

import (
	"maps"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// PodsAt is how many Pods ran, and how many were terminating, from an instant on. Each Pod counts
// once: one that is terminating and still runs is terminating, as kubectl shows it.
type PodsAt struct {
	At          time.Duration // since the start of the disruption
	Running     int
	Terminating int
}

// All is how many there were of both together.
func (c PodsAt) All() int { return c.Running + c.Terminating }

// PodCounts is how many Pods of a run there were over time, of those that hold memory: a Pod whose
// container hasn't started is none of them.
type PodCounts struct {
	Steps []PodsAt      // the first at 0; each holds until the next, the last until the end
	Until time.Duration // that end: when it had settled, or else the last change; since the start of the disruption
	// Peak is the count at the instant at which there were most of both together, the first of such.
	// Running and Terminating are the most of each, at whatever instants.
	Peak                 PodsAt
	Running, Terminating int
	// TerminatingSeconds are Pod-seconds: what is paid for Pods that were told to go. What is paid
	// beyond the replicas asked for is Verdict.ExtraPodSeconds.
	TerminatingSeconds float64
}

// CountPods counts the Pods of a run, from the start of the disruption until it had settled. A run
// that didn't get to its disruption has no steps.
//
//	running      3 ──────4────3──────
//	terminating  0 ───────────1───0──
//	             at 0s   2s   4s  9s     peak 4 at 2 s; 5 Pod-seconds terminating
func CountPods(v Verdict) PodCounts {
	if v.DisruptStart == 0 {
		return PodCounts{}
	}
	running, terminating := map[time.Duration]int{}, map[time.Duration]int{}
	note := func(changes map[time.Duration]int, from, to time.Duration) {
		from, to = max(0, from-v.DisruptStart), max(0, to-v.DisruptStart)
		if from < to {
			changes[from]++
			changes[to]--
		}
	}
	for _, life := range v.Pods {
		ran, left := life.running(), life.terminates()
		note(running, ran.from, ran.to)
		note(terminating, left.from, left.to)
	}
	at := map[time.Duration]bool{0: true}
	for _, changes := range []map[time.Duration]int{running, terminating} {
		for t := range changes {
			if t < endless-v.DisruptStart && (v.Rollout == 0 || t < v.Rollout) {
				at[t] = true
			}
		}
	}
	var out PodCounts
	var now PodsAt
	for _, t := range slices.Sorted(maps.Keys(at)) {
		out.TerminatingSeconds += float64(now.Terminating) * (t - now.At).Seconds()
		now = PodsAt{At: t, Running: now.Running + running[t], Terminating: now.Terminating + terminating[t]}
		out.Running, out.Terminating = max(out.Running, now.Running), max(out.Terminating, now.Terminating)
		if now.All() > out.Peak.All() {
			out.Peak = now
		}
		last := len(out.Steps) - 1
		if last < 0 || out.Steps[last].Running != now.Running || out.Steps[last].Terminating != now.Terminating {
			out.Steps = append(out.Steps, now)
		}
	}
	out.Until = max(v.Rollout, now.At)
	out.TerminatingSeconds += float64(now.Terminating) * (out.Until - now.At).Seconds()
	return out
}

// running is when the Pod ran and was not terminating. One whose container is started again in place
// goes on.
func (l PodLifecycle) running() span {
	var out span
	for _, kind := range []timeline.Kind{timeline.ProcessStart, timeline.PodStarted, timeline.PodReady} {
		if at, ok := l.At(kind); ok && (out.to == 0 || at < out.from) {
			out = span{at, endless}
		}
	}
	ends := []timeline.Kind{timeline.PodDeleted, timeline.PodGone, timeline.NodeLost}
	if !l.restarted { // else the end of its first process was not the Pod's
		ends = append(ends, timeline.ProcessExit, timeline.ContainerExit)
	}
	last := l.last()
	for _, kind := range ends {
		if at, ok := last.At(kind); ok {
			out.to = min(out.to, at)
		}
	}
	return out
}

// terminates is when the Pod was terminating: from its deletion until it was gone.
func (l PodLifecycle) terminates() span {
	deleted, ok := l.At(timeline.PodDeleted)
	if !ok {
		return span{}
	}
	if gone, ok := l.goneAt(); ok {
		return span{deleted, gone}
	}
	return span{deleted, endless}
}
