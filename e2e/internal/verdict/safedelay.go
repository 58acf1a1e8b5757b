package verdict

import (
	"fmt"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// SafeDelay is how long a Pod has to serve on after its deletion, until nothing arrives any more,
// as runs with a longer delay say.
type SafeDelay struct {
	With         time.Duration // the delay that it was measured with
	Runs         int           // that were conclusive
	Inconclusive int           // that were not: nothing is taken from them
	// RunBound is the Bound of rollouts instead of single Pods. Pods of one rollout wait for the
	// same updates of kube-proxy, so they are not quite independent. Rollouts are.
	RunBound float64
	Lanes    []LaneDelay
	// Delay is the greatest of the lanes', of those whose consumers decide (Choose); nil if there
	// is none, and Why says why.
	Delay *time.Duration
	Why   string
}

// LaneDelay is the same of one lane.
type LaneDelay struct {
	Lane     string
	Consumer string
	Class    timeline.Class // of its connections
	With     time.Duration  // the delay that it was measured with
	// N is the number of observations: Pods at which requests arrived after their deletion.
	N        int
	P50, Max time.Duration // of the last arrivals; zero without an observation
	// Censored counts the Pods at which requests arrived until their own end. They are no
	// observations: the longest of those arrivals, AtLeast, is a lower bound.
	Censored int
	AtLeast  time.Duration
	// TooShort says that a longer delay would have shown more.
	TooShort bool
	// Resolution is how finely the lane can tell an arrival from the one before: 1/rate.
	Resolution time.Duration
	// Bound is the share of removals that may take longer than Max: with 95 % confidence, no more
	// than 1 − 0.05^(1/n) lies above the greatest of n independent observations, whatever their
	// distribution (Wilks, Annals of Mathematical Statistics 1941). 1 without an observation.
	Bound float64
	Delay *time.Duration // recommended; nil if there is none, and Why says why
	Why   string

	rate int
}

// What the recommendation adds to the greatest observation, which as many further ones exceed as
// not: a quarter of it, and no less than leastMargin or the time of marginRequests requests.
const (
	marginShare = 4 // a quarter
	// leastMargin is more than coarsestOutage, for which the sender of a valid run may have sent
	// nothing.
	leastMargin = 300 * time.Millisecond
	// marginRequests is after how many further requests of a lane one would have landed on one of
	// four Pods, if it still could, with 94 %: 0.75¹⁰ = 0.056.
	marginRequests = 10
	// DelayStep is what a recommendation is rounded up to: it repeats to tenths of a second.
	DelayStep = 500 * time.Millisecond
)

// NewSafeDelay takes the arrivals of conclusive runs of one strategy with a long delay. A
// recommendation is
//
//	max + 1/rate + margin, rounded up to half a second    margin = max(max/4, 0.3 s, 10/rate)
//
//	1.04s at 100/s → 1.04 + 0.01 + 0.3 = 1.35 → 1.5s      8.9s → 8.9 + 0.01 + 2.225 = 11.135 → 11.5s
//
// A lane has none if its connections are kept (see whyReused), no run was conclusive, nothing
// arrived after a deletion, something was dropped all the same, or requests went on arriving until
// the Pod's own end: what isn't known is not zero. A request that is in flight at the end of the
// delay counts by the instant at which it left; how long it takes then is for the shutdown to wait.
func NewSafeDelay(runs []Verdict, with time.Duration) SafeDelay {
	s := SafeDelay{With: with}
	lanes := map[string]*LaneDelay{}
	after, dropped := map[string][]time.Duration{}, map[string]int{}
	var order []*LaneDelay
	for _, v := range runs {
		if v.Conclusive() {
			s.Runs++
		} else {
			s.Inconclusive++
		}
		for _, l := range v.Lanes {
			d := lanes[l.Name]
			if d == nil {
				d = &LaneDelay{Lane: l.Name, Consumer: l.Consumer, Class: l.ConnectionClass(), With: with, rate: l.Rate}
				lanes[l.Name], order = d, append(order, d)
			}
			if !v.Conclusive() {
				continue
			}
			dropped[l.Name] += l.Dropped + l.Masked
			for _, a := range l.Arrivals {
				switch {
				case a.After == 0 && !a.Missed: // nothing arrived, which is no observation
				case a.Censored:
					d.Censored++
					d.AtLeast = max(d.AtLeast, a.After)
				default:
					after[l.Name] = append(after[l.Name], a.After)
				}
			}
		}
	}
	s.RunBound = ClopperPearson(0, s.Runs)
	for _, l := range order {
		l.measure(after[l.Lane])
		switch {
		case s.Runs == 0:
			l.Why = fmt.Sprintf("none of %d runs is conclusive", s.Inconclusive)
		case l.Class != timeline.ClassNew:
			l.Why = whyReused
		case l.Censored > 0 || l.Max >= with: // whatever was dropped then: the delay ended too soon
			l.TooShort = true
			l.Why = fmt.Sprintf("requests went on arriving for ≥ %s, and Pods served on for %s: "+
				"a longer delay has to show their end", round(max(l.AtLeast, l.Max)), with)
		case dropped[l.Lane] > 0:
			l.Why = fmt.Sprintf("%d requests were dropped even with a delay of %s", dropped[l.Lane], with)
		case l.N == 0:
			l.Why = whyNothingArrived
		case l.rate <= 0:
			l.Why = "the rate is not known"
		default:
			if d := recommend(l.Max, l.rate); d < with {
				l.Delay = &d
			} else {
				l.TooShort = true
				l.Why = fmt.Sprintf("requests went on arriving for %s, too near the delay of %s that this was measured with: "+
					"a longer one has to show their end",
					round(l.Max), with)
			}
		}
		s.Lanes = append(s.Lanes, *l)
	}
	s.chooseDelay()
	return s
}

// measure fills in what was observed.
func (l *LaneDelay) measure(after []time.Duration) {
	slices.Sort(after)
	l.N, l.P50, l.Max, l.Bound = len(after), Percentile(after, 0.5), Percentile(after, 1), ClopperPearson(0, len(after))
	if l.rate > 0 {
		l.Resolution = time.Second / time.Duration(l.rate)
	}
}

func recommend(greatest time.Duration, rate int) time.Duration {
	interval := time.Second / time.Duration(rate)
	d := greatest + interval + max(greatest/marginShare, leastMargin, marginRequests*interval)
	return (d + DelayStep - 1).Truncate(DelayStep)
}

// Why a lane has no recommendation of its own and yet stands in the way of none.
const (
	whyNothingArrived = "no request arrived at a Pod after its deletion"
	// whyReused: seen were 2.2 s and, in the same run, 14.2 s, on a connection that a pool had kept
	// as a spare one.
	whyReused = "a connection stays until the Pod closes it, however fast everybody follows the endpoints"
)

// TooShort names the lanes that a longer delay would show more of.
func (s SafeDelay) TooShort() []string {
	var names []string
	for _, l := range s.Lanes {
		if l.TooShort {
			names = append(names, l.Lane)
		}
	}
	return names
}

// Merge takes over the lanes that were measured again with a longer delay. Where that was not
// conclusive, what is known already stays.
func (s *SafeDelay) Merge(longer SafeDelay) {
	if longer.Runs == 0 {
		return
	}
	for i := range s.Lanes {
		for _, l := range longer.Lanes {
			if l.Lane == s.Lanes[i].Lane {
				s.Lanes[i] = l
			}
		}
	}
}

// Choose makes the delay that of the given consumers' lanes, and says of those that were measured
// with a delay that was too short up to which one there is none.
func (s *SafeDelay) Choose(consumers ...string) {
	for i, l := range s.Lanes {
		if l.TooShort {
			s.Lanes[i].Why = fmt.Sprintf(
				"none up to %s: requests went on arriving for ≥ %s",
				l.With,
				round(max(l.AtLeast, l.Max)),
			)
		}
	}
	s.chooseDelay(consumers...)
}

// chooseDelay takes the greatest of the delays of the consumers' lanes, or of all. A lane in which
// nothing arrived after a deletion has nothing against it, nor has one that reuses its connections,
// where it is for the client to end it; a lane of new connections whose end was not seen has.
func (s *SafeDelay) chooseDelay(consumers ...string) {
	s.Delay, s.Why = nil, "nothing was measured"
	for _, l := range s.Lanes {
		switch {
		case len(consumers) > 0 && !slices.Contains(consumers, l.Consumer): // has no say
		case l.Delay == nil && l.Why != whyNothingArrived && l.Why != whyReused:
			s.Delay, s.Why = nil, l.Lane+": "+l.Why
			return
		case l.Delay == nil && s.Delay == nil:
			s.Why = l.Lane + ": " + l.Why
		case l.Delay != nil && (s.Delay == nil || *l.Delay > *s.Delay):
			s.Delay, s.Why = new(*l.Delay), ""
		}
	}
}

// Add takes over the lanes of another group of consumers. A lane that is known already stays as it
// is, and so does what is recommended.
func (s *SafeDelay) Add(other SafeDelay) {
	for _, l := range other.Lanes {
		if !slices.ContainsFunc(s.Lanes, func(known LaneDelay) bool { return known.Lane == l.Lane }) {
			s.Lanes = append(s.Lanes, l)
		}
	}
}

// ConsumerDelay is the delay that one consumer asks for by itself.
type ConsumerDelay struct {
	Consumer string
	N        int            // observations on its lanes of new connections
	Censored int            // Pods at which requests arrived on those until their own end
	Max      time.Duration  // the greatest of them; zero without any
	Delay    *time.Duration // nil if there is none, and Why says why
	Why      string
}

// Consumers is what each consumer asks for by itself, in the order of the lanes.
func (s SafeDelay) Consumers() []ConsumerDelay {
	var out []ConsumerDelay
	for _, l := range s.Lanes {
		i := slices.IndexFunc(out, func(d ConsumerDelay) bool { return d.Consumer == l.Consumer })
		if i < 0 {
			own := s
			own.chooseDelay(l.Consumer)
			i, out = len(out), append(out, ConsumerDelay{Consumer: l.Consumer, Delay: own.Delay, Why: own.Why})
		}
		if l.Class == timeline.ClassNew {
			d := &out[i]
			d.N, d.Censored, d.Max = d.N+l.N, d.Censored+l.Censored, max(d.Max, l.Max)
		}
	}
	return out
}

// WholeSeconds is a delay for the kubelet's sleep action, which takes nothing finer: rounded up.
func WholeSeconds(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}

// Third is a third of a delay, down to a tenth of a second: it shows that the delay is needed. It
// is not ok below 0.3 s, where it would be hard to tell from none at all.
func Third(d time.Duration) (third time.Duration, ok bool) {
	const tenth = 100 * time.Millisecond
	third = (d / 3).Truncate(tenth)
	return third, third >= leastThird
}

const leastThird = 300 * time.Millisecond

// Proof is what runs at a recommended delay say of it.
type Proof struct {
	Outcome Outcome // Pass if as many runs as asked for are conclusive and each passed
	Runs    int     // that were conclusive
	// Of the lanes of new connections, which are what a delay is for:
	Lossy         int // conclusive runs that dropped something
	Sent, Dropped int
	// Of those that reuse connections, where clients have a say as well:
	ReusedSent, ReusedDropped, Masked int
	// Bound is the share of rollouts that may drop some all the same (ClopperPearson).
	Bound float64
}

// Prove puts together what the runs dropped, of which there should be so many.
func Prove(runs []Verdict, want int) Proof {
	p := Proof{Outcome: Pass}
	for _, v := range runs {
		if v.Outcome.Outranks(p.Outcome) {
			p.Outcome = v.Outcome
		}
		if !v.Conclusive() {
			continue
		}
		p.Runs++
		lossy := false
		for _, l := range v.Lanes {
			if l.Reuses() {
				p.ReusedSent, p.ReusedDropped, p.Masked = p.ReusedSent+l.Sent, p.ReusedDropped+l.Dropped, p.Masked+l.Masked
				continue
			}
			p.Sent, p.Dropped = p.Sent+l.Sent, p.Dropped+l.Dropped
			lossy = lossy || l.Dropped > 0
		}
		if lossy {
			p.Lossy++
		}
	}
	if p.Outcome == Pass && p.Runs < max(want, 1) {
		p.Outcome = Inconclusive
	}
	p.Bound = ClopperPearson(p.Lossy, p.Runs)
	return p
}
