package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
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
	Missing  []string // why groups of consumers could not be measured, beside those of the recommendation
	// at the recommended delay and beside it, in order; none if none was recommended or nothing was
	// to be proved
	Trials []Trial
}

// Trial is the runs at one delay.
type Trial struct {
	What     string // as in "the recommended delay"
	Strategy string
	Delay    time.Duration
	Proof    verdict.Proof
	Lanes    []TrialLane
}

// TrialLane is what one lane dropped in all conclusive runs of a trial.
type TrialLane struct {
	Lane    string `json:"lane"`
	Sent    int    `json:"sent"`
	Dropped int    `json:"dropped"`
	Masked  int    `json:"masked"`
}

// NewTrial counts what runs at one delay dropped, of which there should be so many.
func NewTrial(what, strategy string, delay time.Duration, runs []verdict.Verdict, want int) Trial {
	t := Trial{What: what, Strategy: strategy, Delay: delay, Proof: verdict.Prove(runs, want)}
	conclusive := row{Runs: runs}.conclusive()
	for _, lane := range names(newModel(Report{Suite: verdict.Suite{Runs: conclusive.Runs}}).Lanes) {
		a := conclusive.lane(lane)
		t.Lanes = append(t.Lanes, TrialLane{lane, a.Sent, a.Dropped, a.Masked})
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
	"It holds for this cluster as it was. One with more nodes, more Services or busier machines takes longer to tell " +
		"every kube-proxy, and each one longer to act.",
	"It holds for this minSyncPeriod of kube-proxy: with a longer one the delay has to grow by as much. Measure with " +
		"-proxy-min-sync.",
	"It holds for kube-proxy. An ingress controller, a cloud load balancer, a mesh or clients that keep a DNS answer " +
		"have their own time, which comes on top: up to minutes.",
	"A request in flight when the delay is over needs time to shut down, not delay: the grace period has to hold both.",
	"A client that keeps its connection and is never told to close it doesn't leave at all, however long the delay " +
		"is: the app has to answer with Connection: close.",
}

// WriteSafeDelay writes a safe delay as Text writes a report.
func WriteSafeDelay(w io.Writer, s SafeDelay) error {
	var t textWriter
	for _, section := range safeDelaySections(s) {
		t.section(section)
	}
	if _, err := io.WriteString(w, t.out.String()); err != nil {
		return fmt.Errorf("write safe delay: %w", err)
	}
	return nil
}

// shortSafeDelays is safe delays in a few lines each: the answer, and the runs that prove it.
func shortSafeDelays(delays []SafeDelay) []string {
	var t textWriter
	for _, s := range delays {
		t.lines("", "Safe delay: "+conclusion(s))
		if len(s.Trials) > 0 {
			t.block(block{Table: trialTable(s.Trials).pick([]int{0, 1, 2, 3, 4, 5})})
		}
		t.lines("", safeDelayBasis(s.Estimate)+" What it can't know is in safe-delay.txt.")
	}
	return slices.Collect(strings.Lines(t.out.String()))
}

// safeDelayBasis is what a safe delay rests on.
func safeDelayBasis(e verdict.SafeDelay) string {
	var slowest verdict.LaneDelay
	pods := 0
	for _, l := range e.Lanes {
		if pods += l.N; l.Max > slowest.Max && l.Delay != nil {
			slowest = l
		}
	}
	line := fmt.Sprintf("Measured on %s, %s of Pods.", Count(e.Runs, "rollout"), Count(pods, "last arrival"))
	if slowest.Delay != nil {
		line += fmt.Sprintf(" The latest that counts came %s after a deletion (%s).", Duration(slowest.Max), slowest.Lane)
	}
	return line
}

func safeDelaySections(s SafeDelay) []section {
	e := s.Estimate
	first := section{Title: "The safe delay", Blocks: []block{
		{Text: conclusion(s)},
		{Text: fmt.Sprintf("How long requests went on arriving at a Pod after its deletion: %s of %s, whose delay "+
			"was %s, at %d requests/s per lane; Kubernetes %s, kube-proxy %s with minSyncPeriod %s.%s",
			Count(e.Runs, "rolling update"),
			s.Strategy, e.With, s.Rate,
			known(s.Cluster.Kubernetes), known(s.Cluster.ProxyMode), known(s.Cluster.MinSyncPeriod),
			leftOut(e.Inconclusive))},
		{Table: delayTable(e.Lanes)},
	}}
	if all := e.Consumers(); len(all) > 1 {
		first.Blocks = append(first.Blocks, block{
			Text: "By consumer, each by its own lanes of new connections; what was run to prove it is for " +
				"the recommended delay alone:",
			Table: consumerDelayTable(all),
		})
	}
	var list []string
	for _, same := range groupBy(e.Lanes, func(l verdict.LaneDelay) string { return l.Why }) {
		var lanes []string
		for _, l := range same.items {
			if l.Delay == nil {
				lanes = append(lanes, l.Lane)
			}
		}
		if len(lanes) > 0 {
			list = append(list, fmt.Sprintf("No delay for %s: %s.", Enumerate(lanes), Plain(same.key)))
		}
	}
	if slices.ContainsFunc(e.Lanes, func(l verdict.LaneDelay) bool { return l.Censored > 0 }) {
		list = append(list, "≥ …, until it ended: so many Pods got requests until their own end, and are no "+
			"observations.")
	}
	if len(list) > 0 {
		first.Blocks = append(first.Blocks, block{List: list})
	}
	first.Blocks = append(first.Blocks, block{Text: bounds(e)})
	out := []section{first}
	if len(s.Trials) > 0 {
		out = append(out, section{
			Title:  "The proof",
			Blocks: []block{{Table: trialTable(s.Trials)}, {List: trialDrops(s.Trials)}},
		})
	}
	return append(out, section{Title: "What it can't know", Blocks: []block{{List: limits}}})
}

// conclusion is the answer in one sentence.
func conclusion(s SafeDelay) string {
	d := s.Estimate.Delay
	if d == nil {
		return fmt.Sprintf("No delay is recommended: %s.", Plain(s.Why))
	}
	preStop := verdict.WholeSeconds(*d)
	proved := len(s.Trials) > 0
	for _, t := range s.Trials {
		proved = proved && t.Proof.Outcome == verdict.Pass
	}
	switch {
	case proved && len(s.Missing) > 0:
		return fmt.Sprintf("%s in the app, or %s of preStop sleep, was run, and no new connection was dropped. %s.",
			*d, preStop, Plain(s.Why))
	case s.Outcome == verdict.Pass && len(s.Trials) == 0:
		return fmt.Sprintf("%s in the app, or %s of preStop sleep, is recommended; nothing was run to prove it.", *d,
			preStop)
	case s.Outcome == verdict.Pass:
		return fmt.Sprintf("%s in the app, or %s of preStop sleep, which takes whole seconds, is safe here: it was "+
			"run, and no new connection was dropped.", *d, preStop)
	}
	return fmt.Sprintf("%s in the app, or %s of preStop sleep, is recommended and NOT proved (%s): %s.", *d, preStop,
		s.Outcome, Plain(s.Why))
}

func leftOut(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return " 1 other is not conclusive, and counts for nothing."
	}
	return fmt.Sprintf(" %d others are not conclusive, and count for nothing.", n)
}

func bounds(e verdict.SafeDelay) string {
	return fmt.Sprintf("May be longer: the share of removals that may take longer than the greatest, with 95 %% "+
		"confidence, whatever their distribution (1 − 0.05^(1/n) after n observations; Wilks 1941). It takes "+
		"observations for independent. Pods of one rollout share updates of kube-proxy: by rollouts alone (%d), "+
		"up to %s of them may hold a longer one. Delay: the greatest, one interval of the lane, and a margin "+
		"(a quarter of the greatest; 0.3 s or ten intervals at least), rounded up to %s.", e.Runs,
		percent(e.RunBound), verdict.DelayStep)
}

func delayTable(lanes []verdict.LaneDelay) Table {
	seen := func(l verdict.LaneDelay, d time.Duration) string {
		if l.N == 0 {
			return None
		}
		return Duration(d)
	}
	return Tabulate([]Column[verdict.LaneDelay]{
		Key("lane", func(l verdict.LaneDelay) string { return l.Lane }),
		Number("Pods", func(l verdict.LaneDelay) string { return integer(l.N) }),
		Number("p50", func(l verdict.LaneDelay) string { return seen(l, l.P50) }),
		Number("greatest", func(l verdict.LaneDelay) string {
			if l.Censored > 0 && l.AtLeast >= l.Max {
				return atLeast + Duration(l.AtLeast)
			}
			return seen(l, l.Max)
		}),
		Number("until it ended", func(l verdict.LaneDelay) string { return integer(l.Censored) }).
			Unless(func(l verdict.LaneDelay) bool { return l.Censored == 0 }),
		Number("measured with", func(l verdict.LaneDelay) string { return l.With.String() }).
			Unless(func(l verdict.LaneDelay) bool { return l.With == lanes[0].With }),
		Number("known to", func(l verdict.LaneDelay) string { return Duration(l.Resolution) }),
		Number("may be longer", func(l verdict.LaneDelay) string { return percent(l.Bound) }),
		Number("delay", func(l verdict.LaneDelay) string {
			if l.Delay == nil {
				return None
			}
			return l.Delay.String()
		}),
	}, [][]verdict.LaneDelay{lanes})
}

func consumerDelayTable(all []verdict.ConsumerDelay) Table {
	delay := func(of func(time.Duration) time.Duration) func(verdict.ConsumerDelay) string {
		return func(d verdict.ConsumerDelay) string {
			if d.Delay == nil {
				return None
			}
			return of(*d.Delay).String()
		}
	}
	return Tabulate([]Column[verdict.ConsumerDelay]{
		Key("consumer", func(d verdict.ConsumerDelay) string { return d.Consumer }),
		Number("Pods", func(d verdict.ConsumerDelay) string { return integer(d.N) }),
		Number("greatest", func(d verdict.ConsumerDelay) string {
			if d.N == 0 {
				return None
			}
			return Duration(d.Max)
		}),
		Number("delay", delay(func(d time.Duration) time.Duration { return d })),
		Number("as preStop sleep", delay(verdict.WholeSeconds)),
	}, [][]verdict.ConsumerDelay{all})
}

func trialTable(trials []Trial) Table {
	return Tabulate([]Column[Trial]{
		Key("what", func(t Trial) string { return t.What }),
		Words("strategy", func(t Trial) string { return t.Strategy }),
		Words("result", func(t Trial) string {
			return resultOf(t.Proof.Outcome, t.Proof.Dropped+t.Proof.ReusedDropped+t.Proof.Masked > 0).String()
		}),
		Number("rollouts with drops", func(t Trial) string { return ratio(t.Proof.Lossy, t.Proof.Runs) }),
		Number("dropped/sent", func(t Trial) string { return ratio(t.Proof.Dropped, t.Proof.Sent) }),
		Number("may drop", func(t Trial) string { return percent(t.Proof.Bound) }),
		Number("reused", func(t Trial) string { return ratio(t.Proof.ReusedDropped, t.Proof.ReusedSent) }),
		Number("masked", func(t Trial) string { return integer(t.Proof.Masked) }),
	}, [][]Trial{trials})
}

// trialDrops says which lanes dropped something, trial by trial.
func trialDrops(trials []Trial) []string {
	var list []string
	for _, t := range trials {
		var lanes []string
		for _, l := range t.Lanes {
			line := fmt.Sprintf("%d of %d on %s", l.Dropped, l.Sent, l.Lane)
			switch {
			case l.Dropped > 0 && l.Masked > 0:
				line += fmt.Sprintf(" with another %d masked", l.Masked)
			case l.Masked > 0:
				line += fmt.Sprintf(" with %d masked", l.Masked)
			case l.Dropped == 0:
				continue
			}
			lanes = append(lanes, line)
		}
		if len(lanes) > 0 {
			list = append(list, fmt.Sprintf("%s dropped %s.", t.Strategy, Enumerate(lanes)))
		}
	}
	return list
}

// SafeDelaySchema names the contract that safe-delay.json keeps. What it binds doesn't change under
// the same name; fields may be added.
const SafeDelaySchema = "zerodrop.safe-delay/v2"

// SafeDelayFile is what safe-delay.json says: the same code writes and reads it.
type SafeDelayFile struct {
	Schema              string               `json:"schema"`
	Outcome             verdict.Outcome      `json:"outcome"`
	Why                 string               `json:"why,omitempty"`
	Strategy            string               `json:"strategy"`
	MeasuredWithSeconds float64              `json:"measuredWithSeconds"`
	Rate                int                  `json:"rate"` // requests/s per lane
	Cluster             timeline.Environment `json:"cluster"`
	Rollouts            int                  `json:"rollouts"`     // that were conclusive
	Inconclusive        int                  `json:"inconclusive"` // that were not
	// share of rollouts that may hold a removal that takes longer, 95 %
	RolloutBound float64  `json:"rolloutBound"`
	DelaySeconds *float64 `json:"delaySeconds"` // in the app; null if none is recommended
	// as the kubelet's sleep action; null if none is recommended
	PreStopSeconds *float64        `json:"preStopSeconds"`
	Lanes          []SafeDelayLane `json:"lanes"`
	// what each consumer asks for by itself
	Consumers []SafeDelayConsumer `json:"consumers"`
	Missing   []string            `json:"missing"` // why groups of consumers could not be measured
	Trials    []SafeDelayTrial    `json:"trials"`
	Limits    []string            `json:"limits"`
}

// SafeDelayLane is a lane of a SafeDelayFile.
type SafeDelayLane struct {
	Lane         string         `json:"lane"`
	Class        timeline.Class `json:"class"`        // of its connections
	Observations int            `json:"observations"` // Pods
	P50Seconds   *float64       `json:"p50Seconds"`   // null without an observation
	MaxSeconds   *float64       `json:"maxSeconds"`
	// Pods that got requests until their own end: no observations
	Censored          int      `json:"censored"`
	AtLeastSeconds    *float64 `json:"atLeastSeconds,omitempty"` // of those, the longest: a lower bound
	TooShort          bool     `json:"tooShort"`                 // a longer delay would have shown more
	ResolutionSeconds float64  `json:"resolutionSeconds"`
	Bound             float64  `json:"bound"` // share of removals that may take longer than the greatest, 95 %
	DelaySeconds      *float64 `json:"delaySeconds"`
	Why               string   `json:"why,omitempty"` // there is no delay
}

// SafeDelayConsumer is a consumer of a SafeDelayFile.
type SafeDelayConsumer struct {
	Consumer       string   `json:"consumer"`
	Observations   int      `json:"observations"` // Pods, on lanes of new connections
	Censored       int      `json:"censored"`
	MaxSeconds     *float64 `json:"maxSeconds"` // null without an observation
	DelaySeconds   *float64 `json:"delaySeconds"`
	PreStopSeconds *float64 `json:"preStopSeconds"`
	Why            string   `json:"why,omitempty"` // there is no delay
}

// SafeDelayTrial is a Trial of a SafeDelayFile.
type SafeDelayTrial struct {
	What             string          `json:"what"`
	Strategy         string          `json:"strategy"`
	DelaySeconds     float64         `json:"delaySeconds"`
	Outcome          verdict.Outcome `json:"outcome"`
	Rollouts         int             `json:"rollouts"`
	DroppingRollouts int             `json:"droppingRollouts"`
	Sent             int             `json:"sent"` // on new connections, as Dropped and DroppingRollouts
	Dropped          int             `json:"dropped"`
	Bound            float64         `json:"bound"` // share of rollouts that may drop something all the same, 95 %
	ReusedSent       int             `json:"reusedSent"`
	ReusedDropped    int             `json:"reusedDropped"`
	Masked           int             `json:"masked"` // on reused connections
	Lanes            []TrialLane     `json:"lanes"`
}

// ReadSafeDelay reads a safe-delay.json. Another version of the schema is an error.
func ReadSafeDelay(r io.Reader) (f SafeDelayFile, err error) {
	if err := readJSON(r, SafeDelaySchema, &f); err != nil {
		return f, fmt.Errorf("read safe delay: %w", err)
	}
	return f, nil
}

func writeSafeDelayJSON(w io.Writer, s SafeDelay) error {
	return writeJSON(w, "safe delay", newSafeDelayFile(s))
}

func newSafeDelayFile(s SafeDelay) SafeDelayFile {
	e := s.Estimate
	out := SafeDelayFile{
		Schema: SafeDelaySchema, Outcome: s.Outcome, Why: Plain(s.Why), Strategy: s.Strategy, Rate: s.Rate,
		MeasuredWithSeconds: seconds(e.With), Cluster: s.Cluster, Rollouts: e.Runs, Inconclusive: e.Inconclusive,
		RolloutBound: e.RunBound, Lanes: []SafeDelayLane{}, Consumers: []SafeDelayConsumer{}, Missing: plains(s.Missing),
		Trials: []SafeDelayTrial{}, Limits: limits,
	}
	if e.Delay != nil {
		out.DelaySeconds, out.PreStopSeconds = new(seconds(*e.Delay)), new(seconds(verdict.WholeSeconds(*e.Delay)))
	}
	for _, l := range e.Lanes {
		lane := SafeDelayLane{
			Lane: l.Lane, Class: l.Class, Observations: l.N, Censored: l.Censored, TooShort: l.TooShort,
			ResolutionSeconds: seconds(l.Resolution), Bound: l.Bound, Why: Plain(l.Why),
		}
		if l.N > 0 {
			lane.P50Seconds, lane.MaxSeconds = new(seconds(l.P50)), new(seconds(l.Max))
		}
		if l.Censored > 0 {
			lane.AtLeastSeconds = new(seconds(l.AtLeast))
		}
		if l.Delay != nil {
			lane.DelaySeconds = new(seconds(*l.Delay))
		}
		out.Lanes = append(out.Lanes, lane)
	}
	for _, d := range e.Consumers() {
		c := SafeDelayConsumer{Consumer: d.Consumer, Observations: d.N, Censored: d.Censored, Why: Plain(d.Why)}
		if d.N > 0 {
			c.MaxSeconds = new(seconds(d.Max))
		}
		if d.Delay != nil {
			c.DelaySeconds, c.PreStopSeconds = new(seconds(*d.Delay)), new(seconds(verdict.WholeSeconds(*d.Delay)))
		}
		out.Consumers = append(out.Consumers, c)
	}
	for _, t := range s.Trials {
		p := t.Proof
		out.Trials = append(out.Trials, SafeDelayTrial{
			What: t.What, Strategy: t.Strategy, DelaySeconds: seconds(t.Delay), Outcome: p.Outcome,
			Rollouts: p.Runs, DroppingRollouts: p.Lossy, Sent: p.Sent, Dropped: p.Dropped, Bound: p.Bound,
			ReusedSent: p.ReusedSent, ReusedDropped: p.ReusedDropped, Masked: p.Masked,
			Lanes: append([]TrialLane{}, t.Lanes...),
		})
	}
	return out
}
