package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// model is the runs of a report in the order in which they are told: by disruption, as scenarios lists them, then by strategy: preStop, in-app delay, the rest,
// each in the order of first appearance. So the strategies that a reader compares stand under each other.
type model struct {
	Report
	Parts [][]row  // one part per disruption
	Lanes []string // names, the loads of a path next to each other, those sent from within the cluster first
	// Outside are the last of the lanes: those sent from elsewhere. None if all were sent from one side, as then there is nothing to tell apart.
	Outside []string
	masks   map[string]bool // lanes in which a loss can have been hidden, or was
	reuses  map[string]bool // lanes that send their requests on connections that they already have
}

func newModel(r Report) model {
	m := model{Report: r, Parts: rowsOf(r.Suite.Runs), Lanes: lanesOf(r.Suite.Runs), masks: map[string]bool{}, reuses: map[string]bool{}}
	for _, part := range m.Parts {
		slices.SortStableFunc(part, func(a, b row) int { return cmp.Compare(a.side(), b.side()) })
	}
	within := map[string]bool{}
	for _, v := range r.Suite.Runs {
		for _, l := range v.Lanes {
			within[l.Name] = within[l.Name] || l.From == fixtures.FromCluster
			m.masks[l.Name] = m.masks[l.Name] || l.Replayable || l.Masked > 0
			m.reuses[l.Name] = m.reuses[l.Name] || l.Reuses()
		}
	}
	slices.SortStableFunc(m.Lanes, func(a, b string) int {
		switch {
		case within[a] == within[b]:
			return 0
		case within[a]:
			return -1
		}
		return 1
	})
	if i := slices.IndexFunc(m.Lanes, func(lane string) bool { return !within[lane] }); i > 0 {
		m.Outside = m.Lanes[i:]
	}
	return m
}

// inside is the lanes that are not Outside.
func (m model) inside() []string { return m.Lanes[:len(m.Lanes)-len(m.Outside)] }

// row is the runs of one strategy under one disruption: one run, or its repeats.
type row struct {
	Strategy   string
	Disruption string
	Runs       []verdict.Verdict
}

// rowsOf merges repeats:
//
//	a/x#1 b/x#1 a/y#1 a/x#2 b/x#2 a/y#2
//
// gives the parts and rows
//
//	x: a×2 b×2    y: a×2
func rowsOf(runs []verdict.Verdict) [][]row {
	var parts [][]row
	for _, v := range runs {
		i := slices.IndexFunc(parts, func(part []row) bool { return part[0].Disruption == v.Disruption })
		if i < 0 {
			i, parts = len(parts), append(parts, nil)
		}
		j := slices.IndexFunc(parts[i], func(r row) bool { return r.Strategy == v.Strategy })
		if j < 0 {
			j, parts[i] = len(parts[i]), append(parts[i], row{Strategy: v.Strategy, Disruption: v.Disruption})
		}
		parts[i][j].Runs = append(parts[i][j].Runs, v)
	}
	known := scenarios.Disruptions()
	place := func(part []row) int {
		i := slices.IndexFunc(known, func(d scenarios.Disruption) bool { return d.Name == part[0].Disruption })
		if i < 0 {
			return len(known) // of another version: last
		}
		return i
	}
	slices.SortStableFunc(parts, func(a, b []row) int { return place(a) - place(b) })
	return parts
}

// lanesOf lists the lanes of all runs by path, then by load, each in the order of first appearance.
func lanesOf(runs []verdict.Verdict) []string {
	var names, paths []string
	for _, v := range runs {
		for _, l := range v.Lanes {
			if !slices.Contains(names, l.Name) {
				names = append(names, l.Name)
			}
			if path, _ := pathLoad(l.Name); !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	place := func(lane string) int {
		path, _ := pathLoad(lane)
		return slices.Index(paths, path)
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(place(a), place(b)) })
	return names
}

// pathLoad takes the name of a lane apart. A name without a slash is all load.
func pathLoad(lane string) (path, load string) {
	if path, load, ok := strings.Cut(lane, "/"); ok {
		return path, load
	}
	return "", lane
}

// label is the strategy's name, marked if its result is known beforehand.
func (r row) label() string {
	if r.control() {
		return r.Strategy + " " + controlMark
	}
	return r.Strategy
}

func (r row) control() bool {
	return slices.ContainsFunc(r.Runs, func(v verdict.Verdict) bool { return v.Control })
}

// believed is the runs that pass or fail: measured, and to be believed.
func (r row) believed() []verdict.Verdict {
	return slices.DeleteFunc(slices.Clone(r.Runs), func(v verdict.Verdict) bool { return !believed(v) })
}

func believed(v verdict.Verdict) bool { return v.Outcome == verdict.Pass || v.Outcome == verdict.Fail }

// replaced says whether Pods went away in any of the runs. If none did, the costs of replacing them mean nothing.
func (r row) replaced() bool {
	return slices.ContainsFunc(r.Runs, func(v verdict.Verdict) bool { return v.PodsReplaced > 0 })
}

// outcome is the one outcome of all runs, or how many of them did not pass: "fail 1/3".
func (r row) outcome() string {
	var parts []string
	for _, o := range verdict.Outcomes() {
		n := 0
		for _, v := range r.Runs {
			if v.Outcome == o {
				n++
			}
		}
		switch {
		case n == len(r.Runs):
			return o.String()
		case n > 0 && o != verdict.Pass:
			parts = append(parts, fmt.Sprintf("%s %d/%d", o, n, len(r.Runs)))
		}
	}
	return strings.Join(parts, ", ")
}

// rollouts is the rollout time of each run that came to its end.
func (r row) rollouts() []time.Duration {
	var out []time.Duration
	for _, v := range r.Runs {
		if v.PodsReplaced > 0 && v.Rollout > 0 {
			out = append(out, v.Rollout)
		}
	}
	return out
}

// peaks is the most Pods at once of each run that replaced any.
func (r row) peaks() []int {
	var out []int
	for _, v := range r.Runs {
		if v.PodsReplaced > 0 {
			out = append(out, v.PeakPods)
		}
	}
	return out
}

// extras is the extra Pod-seconds of each run that replaced any.
func (r row) extras() []float64 {
	var out []float64
	for _, v := range r.Runs {
		if v.PodsReplaced > 0 {
			out = append(out, v.ExtraPodSeconds)
		}
	}
	return out
}

// laneSum is one lane over the runs of a row: counts added up, everything else the worst.
type laneSum struct {
	Name       string
	Runs       int         // that had the lane
	Rollouts   verdict.Arm // of them, those that can be believed, and what each lost
	Expect     []string    // what was expected, each word once
	Replayable bool        // in any of the runs

	Failed, Unbelieved bool // in any of the runs, by the lane's own outcome

	Planned, Sent, Unsent, OK, Dropped, Masked int
	Causes                                     map[timeline.Cause]int

	Moments      map[verdict.Moment]int // of the dropped requests
	Unattributed map[string]int         // of those without a moment: why

	First, Last time.Duration   // since the start of the disruption: first and last loss sent; meaningless without losses
	Deleted     int             // Pods
	Arrivals    []time.Duration // of those that got a request after their deletion: how long after
	LagP50      time.Duration
	LagP99      time.Duration
	LagRun      string // name of the run that LagP99 is from
	Window      time.Duration
}

// lane adds a lane up over the runs of the row. The sum has no runs if none had the lane.
func (r row) lane(name string) laneSum { return sumLane(r.Runs, name) }

func sumLane(runs []verdict.Verdict, name string) laneSum {
	sum := laneSum{Name: name, Causes: map[timeline.Cause]int{}, Moments: map[verdict.Moment]int{}, Unattributed: map[string]int{}}
	for _, v := range runs {
		for _, l := range v.Lanes {
			if l.Name == name {
				sum.add(v, l)
			}
		}
	}
	return sum
}

// deleted is how many Pods were seen to be deleted.
func deleted(v verdict.Verdict) int {
	n := 0
	for _, life := range v.Lives {
		if _, ok := life.At(timeline.PodDeleted); ok {
			n++
		}
	}
	return n
}

func (s *laneSum) add(v verdict.Verdict, l verdict.Lane) {
	s.Runs++
	if believed(v) {
		s.Rollouts.Losses = append(s.Rollouts.Losses, l.Dropped+l.Masked)
	}
	s.Replayable = s.Replayable || l.Replayable
	if word := l.Expect.String(); !slices.Contains(s.Expect, word) {
		s.Expect = append(s.Expect, word)
	}
	s.Failed = s.Failed || l.Outcome == verdict.Fail
	s.Unbelieved = s.Unbelieved || l.Outcome != verdict.Fail && l.Outcome != verdict.Pass
	if l.Dropped > 0 {
		if s.Dropped == 0 || l.FirstDropped < s.First {
			s.First = l.FirstDropped
		}
		s.Last = max(s.Last, l.DroppedEnd)
	}
	s.Planned += l.Planned
	s.Sent += l.Sent
	s.Unsent += l.Unsent
	s.OK += l.OK
	s.Dropped += l.Dropped
	s.Masked += l.Masked
	for cause, n := range l.Causes {
		s.Causes[cause] += n
	}
	for moment, n := range l.Moments {
		s.Moments[moment] += n
	}
	for why, n := range l.Unattributed {
		s.Unattributed[why] += n
	}
	s.Deleted += deleted(v)
	for _, a := range l.Arrivals {
		s.Arrivals = append(s.Arrivals, a.After)
	}
	if s.LagRun == "" || l.LagP99 > s.LagP99 {
		s.LagP99, s.LagRun = l.LagP99, v.Name()
	}
	s.LagP50 = max(s.LagP50, l.LagP50)
	s.Window = max(s.Window, l.Window)
}

// lost says whether the lane lost anything. A masked request was lost, too: an ordinary client hides it, and the next one may not be so lucky.
func (s laneSum) lost() bool { return s.Dropped > 0 || s.Masked > 0 }

// believed is how many runs of the lane can be believed.
func (s laneSum) believed() int { return len(s.Rollouts.Losses) }

// zero says whether the lane sent something and lost nothing.
func (s laneSum) zero() bool { return s.Sent > 0 && !s.lost() }

// Marks in front of the counts of a lane, and behind a strategy.
const (
	failMark    = "!"
	doubtMark   = "?"
	controlMark = "†"
)

// counts is dropped/sent, marked if the lane is not as expected.
func (s laneSum) counts() string {
	if s.Runs == 0 {
		return none
	}
	n := fmt.Sprintf("%d/%d", s.Dropped, s.Sent)
	switch {
	case s.Failed:
		return failMark + " " + n
	case s.Unbelieved:
		return doubtMark + " " + n
	}
	return n
}

func (s laneSum) masked() string {
	if s.Runs == 0 {
		return none
	}
	return integer(s.Masked)
}

// lostIn is how many rollouts lost something, and the 95 % bound on the share of all that do: "3/10 ≤ 61 %".
func (s laneSum) lostIn() string {
	n := s.believed()
	if n == 0 {
		return none
	}
	return fmt.Sprintf("%d/%d ≤ %s", s.Rollouts.Lossy(), n, percent(verdict.ClopperPearson(s.Rollouts.Lossy(), n)))
}

// causes is the causes of the drops, most frequent first: "timeout 120 · eof 24".
func (s laneSum) causes() string {
	order := slices.DeleteFunc(timeline.Causes(), func(c timeline.Cause) bool { return s.Causes[c] == 0 })
	slices.SortStableFunc(order, func(a, b timeline.Cause) int { return s.Causes[b] - s.Causes[a] })
	words := make([]string, 0, len(order))
	for _, c := range order {
		words = append(words, fmt.Sprintf("%s %d", c, s.Causes[c]))
	}
	return cmp.Or(strings.Join(words, " · "), none)
}
