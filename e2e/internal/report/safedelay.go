package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// SafeDelay is everything that the measurement of a safe delay tells.
type SafeDelay struct {
	Strategy string // that it was measured with
	Outcome  verdict.Outcome
	Why      string // it isn't a pass; empty for a pass
	Rate     int    // requests per second per lane
	Cluster  timeline.Environment
	Estimate verdict.SafeDelay
	Trials   []Trial // at the recommended delay and beside it, in order; none if none was recommended or nothing was to be proved
}

// Trial is the runs at one delay.
type Trial struct {
	What     string // as in "the recommended delay"
	Strategy string
	Delay    time.Duration
	Proof    verdict.Proof
	Lanes    []TrialLane
}

// TrialLane is what one lane lost in all believed runs of a trial.
type TrialLane struct {
	Lane                  string
	Sent, Dropped, Masked int
}

// NewTrial counts what runs at one delay lost, of which there should be so many.
func NewTrial(what, strategy string, delay time.Duration, runs []verdict.Verdict, want int) Trial {
	t := Trial{What: what, Strategy: strategy, Delay: delay, Proof: verdict.Prove(runs, want)}
	for _, v := range runs {
		if v.Outcome != verdict.Pass && v.Outcome != verdict.Fail {
			continue
		}
		for _, l := range v.Lanes {
			i := slices.IndexFunc(t.Lanes, func(t TrialLane) bool { return t.Lane == l.Name })
			if i < 0 {
				i, t.Lanes = len(t.Lanes), append(t.Lanes, TrialLane{Lane: l.Name})
			}
			t.Lanes[i].Sent, t.Lanes[i].Dropped, t.Lanes[i].Masked = t.Lanes[i].Sent+l.Sent, t.Lanes[i].Dropped+l.Dropped, t.Lanes[i].Masked+l.Masked
		}
	}
	return t
}

// SafeDelayFormat is one way to write a safe delay.
type SafeDelayFormat struct {
	File  string // name within the artifacts folder
	Write func(io.Writer, SafeDelay) error
}

// SafeDelayFormats lists every way to write a safe delay, the one for people first.
func SafeDelayFormats() []SafeDelayFormat {
	return []SafeDelayFormat{
		{"safe-delay.txt", WriteSafeDelay},
		{"safe-delay.json", writeSafeDelayJSON},
	}
}

// limits are what no measurement of this kind can know.
var limits = []string{
	"It holds for this cluster as it was. One with more nodes, more Services or busier machines takes longer to tell every kube-proxy, and each one longer to act.",
	"It holds for this minSyncPeriod of kube-proxy: with a longer one the delay has to grow by as much. Measure with -proxy-min-sync.",
	"It holds for kube-proxy. An ingress controller, a cloud load balancer, a mesh or clients that keep a DNS answer have their own time, which comes on top: up to minutes.",
	"A request in flight when the delay is over needs time to shut down, not delay: the grace period has to hold both.",
	"A client that keeps its connection and is never told to close it doesn't leave at all, however long the delay is: the app has to answer with Connection: close.",
}

// WriteSafeDelay writes a safe delay as Text writes a report.
func WriteSafeDelay(w io.Writer, s SafeDelay) error {
	var t textWriter
	for _, section := range safeDelaySections(s) {
		t.title(section.Title)
		for i, b := range section.Blocks {
			if i > 0 {
				t.gap()
			}
			t.block(b)
		}
	}
	if _, err := io.WriteString(w, t.out.String()); err != nil {
		return fmt.Errorf("write safe delay: %w", err)
	}
	return nil
}

func safeDelaySections(s SafeDelay) []section {
	e := s.Estimate
	first := section{Title: "The safe delay", Blocks: []block{
		{Text: conclusion(s)},
		{Text: fmt.Sprintf("How long requests went on arriving at a Pod after its deletion: %s of %s, whose delay was %s, at %d requests/s "+
			"per lane; Kubernetes %s, kube-proxy %s with minSyncPeriod %s.%s", count(e.Runs, "rolling update"), s.Strategy, e.With, s.Rate, known(s.Cluster.Kubernetes),
			known(s.Cluster.ProxyMode), known(s.Cluster.MinSyncPeriod), doubts(e.Doubted))},
		{Table: delayTable(e.Lanes)},
	}}
	lanesOf := map[string][]string{} // by why they have no delay
	var reasons []string
	for _, l := range e.Lanes {
		if l.Delay != nil {
			continue
		}
		if lanesOf[l.Why] == nil {
			reasons = append(reasons, l.Why)
		}
		lanesOf[l.Why] = append(lanesOf[l.Why], l.Lane)
	}
	var silent []string
	for _, why := range reasons {
		silent = append(silent, fmt.Sprintf("No delay for %s: %s.", enumerate(lanesOf[why]), plain(why)))
	}
	if len(silent) > 0 {
		first.Blocks = append(first.Blocks, block{List: silent})
	}
	first.Blocks = append(first.Blocks, block{Text: bounds(e)})
	out := []section{first}
	if len(s.Trials) > 0 {
		out = append(out, section{Title: "The proof", Blocks: []block{{Table: trialTable(s.Trials)}, {List: trialLosses(s.Trials)}}})
	}
	return append(out, section{Title: "What it can't know", Blocks: []block{{List: limits}}})
}

// conclusion is the answer in one sentence.
func conclusion(s SafeDelay) string {
	switch d := s.Estimate.Delay; {
	case d == nil:
		return fmt.Sprintf("No delay is recommended: %s.", plain(s.Why))
	case s.Outcome == verdict.Pass && len(s.Trials) == 0:
		return fmt.Sprintf("%s in the app, or %s of preStop sleep, is recommended; nothing was run to prove it.", *d, verdict.WholeSeconds(*d))
	case s.Outcome == verdict.Pass:
		return fmt.Sprintf("%s in the app, or %s of preStop sleep, which takes whole seconds, is safe here: it was run, and no new connection was lost.",
			*d, verdict.WholeSeconds(*d))
	default:
		return fmt.Sprintf("%s in the app, or %s of preStop sleep, is recommended and NOT proved (%s): %s.", *d, verdict.WholeSeconds(*d), s.Outcome, plain(s.Why))
	}
}

func doubts(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" %s could not be believed, and counts for nothing.", count(n, "other"))
}

func bounds(e verdict.SafeDelay) string {
	return fmt.Sprintf("May be longer: the share of removals that may take longer than the greatest, with 95 %% confidence, whatever their distribution (1 − 0.05^(1/n) "+
		"after n observations; Wilks 1941). It takes observations for independent. Pods of one rollout share updates of kube-proxy: by rollouts alone (%d), "+
		"up to %s of them may hold a longer one. Delay: the greatest, one interval of the lane, and a margin (a quarter of the greatest; 0.3 s or ten "+
		"intervals at least), rounded up to %s.", e.Runs, percent(e.RunBound), verdict.DelayStep)
}

func delayTable(lanes []verdict.LaneDelay) table {
	seen := func(l verdict.LaneDelay, d time.Duration) string {
		if l.N == 0 {
			return none
		}
		return duration(d)
	}
	return tabulate([]column[verdict.LaneDelay]{
		{header: header{Name: "lane", Key: true, Left: true}, cell: func(l verdict.LaneDelay) string { return l.Lane }},
		{header: header{Name: "Pods"}, cell: func(l verdict.LaneDelay) string { return integer(l.N) }},
		{header: header{Name: "p50"}, cell: func(l verdict.LaneDelay) string { return seen(l, l.P50) }},
		{header: header{Name: "greatest"}, cell: func(l verdict.LaneDelay) string { return seen(l, l.Max) }},
		{header: header{Name: "known to"}, cell: func(l verdict.LaneDelay) string { return duration(l.Resolution) }},
		{header: header{Name: "may be longer"}, cell: func(l verdict.LaneDelay) string { return percent(l.Bound) }},
		{header: header{Name: "delay"}, cell: func(l verdict.LaneDelay) string {
			if l.Delay == nil {
				return none
			}
			return l.Delay.String()
		}},
	}, [][]verdict.LaneDelay{lanes})
}

func trialTable(trials []Trial) table {
	return tabulate([]column[Trial]{
		{header: header{Name: "what", Key: true, Left: true}, cell: func(t Trial) string { return t.What }},
		{header: header{Name: "strategy", Left: true}, cell: func(t Trial) string { return t.Strategy }},
		{header: header{Name: "outcome", Left: true}, cell: func(t Trial) string { return t.Proof.Outcome.String() }},
		{header: header{Name: "rollouts that lost"}, cell: func(t Trial) string { return fmt.Sprintf("%d/%d", t.Proof.Lossy, t.Proof.Runs) }},
		{header: header{Name: "dropped/sent"}, cell: func(t Trial) string { return fmt.Sprintf("%d/%d", t.Proof.Dropped, t.Proof.Sent) }},
		{header: header{Name: "may lose"}, cell: func(t Trial) string { return percent(t.Proof.Bound) }},
		{header: header{Name: "reused"}, cell: func(t Trial) string { return fmt.Sprintf("%d/%d", t.Proof.ReusedDropped, t.Proof.ReusedSent) }},
		{header: header{Name: "masked"}, cell: func(t Trial) string { return integer(t.Proof.Masked) }},
	}, [][]Trial{trials})
}

// trialLosses says which lanes lost something, trial by trial.
func trialLosses(trials []Trial) []string {
	var list []string
	for _, t := range trials {
		var lanes []string
		for _, l := range t.Lanes {
			switch {
			case l.Dropped > 0 && l.Masked > 0:
				lanes = append(lanes, fmt.Sprintf("%d of %d on %s with another %d masked", l.Dropped, l.Sent, l.Lane, l.Masked))
			case l.Dropped > 0:
				lanes = append(lanes, fmt.Sprintf("%d of %d on %s", l.Dropped, l.Sent, l.Lane))
			case l.Masked > 0:
				lanes = append(lanes, fmt.Sprintf("0 of %d on %s with %d masked", l.Sent, l.Lane, l.Masked))
			}
		}
		if len(lanes) > 0 {
			list = append(list, fmt.Sprintf("%s lost %s.", t.Strategy, enumerate(lanes)))
		}
	}
	return list
}

// SafeDelaySchema names the contract that safe-delay.json keeps. What it binds doesn't change under the same name; fields may be added.
const SafeDelaySchema = "zerodrop.safe-delay/v1"

type jsonSafeDelay struct {
	Schema              string          `json:"schema"`
	Outcome             string          `json:"outcome"`
	Why                 string          `json:"why,omitempty"`
	Strategy            string          `json:"strategy"`
	MeasuredWithSeconds float64         `json:"measuredWithSeconds"`
	Rate                int             `json:"rate"` // requests/s per lane
	Cluster             jsonCluster     `json:"cluster"`
	Rollouts            int             `json:"rollouts"`       // that were believed
	Doubted             int             `json:"doubted"`        // that were not
	RolloutBound        float64         `json:"rolloutBound"`   // share of rollouts that may hold a removal that takes longer, 95 %
	DelaySeconds        *float64        `json:"delaySeconds"`   // in the app; null if none is recommended
	PreStopSeconds      *float64        `json:"preStopSeconds"` // as the kubelet's sleep action; null if none is recommended
	Lanes               []jsonLaneDelay `json:"lanes"`
	Trials              []jsonTrial     `json:"trials"`
	Limits              []string        `json:"limits"`
}

type jsonLaneDelay struct {
	Lane              string   `json:"lane"`
	Observations      int      `json:"observations"` // Pods
	P50Seconds        *float64 `json:"p50Seconds"`   // null without an observation
	MaxSeconds        *float64 `json:"maxSeconds"`
	ResolutionSeconds float64  `json:"resolutionSeconds"`
	Bound             float64  `json:"bound"` // share of removals that may take longer than the greatest, 95 %
	DelaySeconds      *float64 `json:"delaySeconds"`
	Why               string   `json:"why,omitempty"` // there is no delay
}

type jsonTrial struct {
	What          string          `json:"what"`
	Strategy      string          `json:"strategy"`
	DelaySeconds  float64         `json:"delaySeconds"`
	Outcome       string          `json:"outcome"`
	Rollouts      int             `json:"rollouts"`
	LossyRollouts int             `json:"lossyRollouts"`
	Sent          int             `json:"sent"` // on new connections, as Dropped and LossyRollouts
	Dropped       int             `json:"dropped"`
	Bound         float64         `json:"bound"` // share of rollouts that may lose something all the same, 95 %
	ReusedSent    int             `json:"reusedSent"`
	ReusedDropped int             `json:"reusedDropped"`
	Masked        int             `json:"masked"` // on reused connections
	Lanes         []jsonTrialLane `json:"lanes"`
}

type jsonTrialLane struct {
	Lane    string `json:"lane"`
	Sent    int    `json:"sent"`
	Dropped int    `json:"dropped"`
	Masked  int    `json:"masked"`
}

func writeSafeDelayJSON(w io.Writer, s SafeDelay) error {
	e := s.Estimate
	out := jsonSafeDelay{
		Schema: SafeDelaySchema, Outcome: s.Outcome.String(), Why: plain(s.Why), Strategy: s.Strategy, MeasuredWithSeconds: seconds(e.With), Rate: s.Rate,
		Cluster: jsonCluster(s.Cluster), Rollouts: e.Runs, Doubted: e.Doubted, RolloutBound: e.RunBound,
		Lanes: []jsonLaneDelay{}, Trials: []jsonTrial{}, Limits: limits,
	}
	if e.Delay != nil {
		out.DelaySeconds, out.PreStopSeconds = new(seconds(*e.Delay)), new(seconds(verdict.WholeSeconds(*e.Delay)))
	}
	for _, l := range e.Lanes {
		lane := jsonLaneDelay{Lane: l.Lane, Observations: l.N, ResolutionSeconds: seconds(l.Resolution), Bound: l.Bound, Why: plain(l.Why)}
		if l.N > 0 {
			lane.P50Seconds, lane.MaxSeconds = new(seconds(l.P50)), new(seconds(l.Max))
		}
		if l.Delay != nil {
			lane.DelaySeconds = new(seconds(*l.Delay))
		}
		out.Lanes = append(out.Lanes, lane)
	}
	for _, t := range s.Trials {
		trial := jsonTrial{
			What: t.What, Strategy: t.Strategy, DelaySeconds: seconds(t.Delay), Outcome: t.Proof.Outcome.String(), Rollouts: t.Proof.Runs,
			LossyRollouts: t.Proof.Lossy, Sent: t.Proof.Sent, Dropped: t.Proof.Dropped, Bound: t.Proof.Bound,
			ReusedSent: t.Proof.ReusedSent, ReusedDropped: t.Proof.ReusedDropped, Masked: t.Proof.Masked, Lanes: []jsonTrialLane{},
		}
		for _, l := range t.Lanes {
			trial.Lanes = append(trial.Lanes, jsonTrialLane(l))
		}
		out.Trials = append(out.Trials, trial)
	}
	raw, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return fmt.Errorf("write safe delay: %w", err)
	}
	if _, err := w.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("write safe delay: %w", err)
	}
	return nil
}
