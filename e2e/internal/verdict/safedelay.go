package verdict

import (
	"fmt"
	"slices"
	"time"
)

// SafeDelay is what runs with a delay that is long enough say about the one that would have been: how long a Pod has to serve on after its deletion, until
// nothing arrives any more.
type SafeDelay struct {
	With    time.Duration // the delay that it was measured with
	Runs    int           // that were believed
	Doubted int           // that were not: nothing is taken from them
	// RunBound is the Bound of rollouts instead of single Pods. Pods of one rollout wait for the same updates of kube-proxy: as observations they are not quite
	// independent, rollouts are.
	RunBound float64
	Lanes    []LaneDelay
	Delay    *time.Duration // the greatest of the lanes'; nil if there is none, and Why says why
	Why      string
}

// LaneDelay is the same of one lane.
type LaneDelay struct {
	Lane string
	// N is the number of observations: one for each Pod that got a request of the lane after its deletion. A Pod that got none is no
	// observation, which makes the bound weaker and never stronger.
	N        int
	P50, Max time.Duration // of the last arrivals; zero without an observation
	// Resolution is how finely the lane can tell an arrival from the one before: 1/rate.
	Resolution time.Duration
	// Bound is the share of removals that may take longer than Max. The greatest of n observations lies above the p-quantile of whatever they are drawn from
	// unless all n lie below it, which has a chance of pⁿ: with 95 % confidence, no more than 1 − 0.05^(1/n) lies above the greatest. Nothing is assumed of
	// the distribution (Wilks, Annals of Mathematical Statistics 1941; Conover, Practical Nonparametric Statistics, on tolerance limits), only that the
	// observations are independent draws of it. 1 without an observation.
	Bound float64
	Delay *time.Duration // recommended; nil if there is none, and Why says why
	Why   string
}

// What the recommendation adds to the greatest observation, which as many further ones exceed as not: a quarter of it, and no less than leastMargin or
// the time of marginRequests requests.
const (
	marginShare = 4 // a quarter
	// leastMargin is more than usefulSight, the longest time for which the sender of a run that is believed may have sent nothing.
	leastMargin = 300 * time.Millisecond
	// marginRequests is after how many further requests of a lane one would have landed on the Pod in question, if it still could, with 94 %: each of
	// four Pods gets one in four, and 0.75¹⁰ = 0.056.
	marginRequests = 10
	// DelayStep is what a recommendation is rounded up to. What is measured again differs by tenths of a second; half seconds are as fine as it repeats.
	DelayStep = 500 * time.Millisecond
)

// NewSafeDelay takes the arrivals of believed runs of one strategy with a long delay, all their lanes at so many requests per second. A recommendation is
//
//	max + 1/rate + margin, rounded up to half a second    margin = max(max/4, 0.3 s, 10/rate)
//
//	1.04s at 100/s → 1.04 + 0.01 + 0.3 = 1.35 → 1.5s      8.9s → 8.9 + 0.01 + 2.225 = 11.135 → 11.5s
//
// A lane has none if its connections are reused (see whyReused), no run was believed, nothing arrived after a deletion, something was lost all the same, or requests went on arriving so long that the
// delay they were measured with has cut them off: what isn't known is not zero. A request that is in flight at the end of the delay counts by the instant at
// which it left; how long it takes then is for the shutdown to wait.
func NewSafeDelay(runs []Verdict, with time.Duration, rate int) SafeDelay {
	s := SafeDelay{With: with}
	var names []string
	after, lost, reused := map[string][]time.Duration{}, map[string]int{}, map[string]bool{}
	for _, v := range runs {
		believed := v.Outcome == Pass || v.Outcome == Fail
		if believed {
			s.Runs++
		} else {
			s.Doubted++
		}
		for _, l := range v.Lanes {
			if !slices.Contains(names, l.Name) {
				names = append(names, l.Name)
			}
			reused[l.Name] = l.Reuses()
			if !believed {
				continue
			}
			lost[l.Name] += l.Dropped + l.Masked
			for _, a := range l.Arrivals {
				after[l.Name] = append(after[l.Name], a.After)
			}
		}
	}
	s.RunBound = ClopperPearson(0, s.Runs)
	for _, name := range names {
		l := newLaneDelay(name, after[name], rate)
		switch {
		case s.Runs == 0:
			l.Why = fmt.Sprintf("none of %d runs can be believed", s.Doubted)
		case reused[name]:
			l.Why = whyReused
		case lost[name] > 0:
			l.Why = fmt.Sprintf("%d requests were lost even with a delay of %s", lost[name], with)
		case l.N == 0:
			l.Why = whyNothingArrived
		case rate <= 0:
			l.Why = "the rate is not known"
		default:
			if d := recommend(l.Max, rate); d < with {
				l.Delay = &d
			} else {
				l.Why = fmt.Sprintf("requests went on arriving for %s, too near the delay of %s that this was measured with: a longer one has to show their end", round(l.Max), with)
			}
		}
		s.Lanes = append(s.Lanes, l)
	}
	s.conclude()
	return s
}

func newLaneDelay(name string, after []time.Duration, rate int) LaneDelay {
	slices.Sort(after)
	l := LaneDelay{Lane: name, N: len(after), P50: Percentile(after, 0.5), Max: Percentile(after, 1), Bound: ClopperPearson(0, len(after))}
	if rate > 0 {
		l.Resolution = time.Second / time.Duration(rate)
	}
	return l
}

func recommend(greatest time.Duration, rate int) time.Duration {
	interval := time.Second / time.Duration(rate)
	d := greatest + interval + max(greatest/marginShare, leastMargin, marginRequests*interval)
	return (d + DelayStep - 1).Truncate(DelayStep)
}

// Why a lane has no recommendation of its own and yet stands in the way of none.
const (
	whyNothingArrived = "no request arrived at a Pod after its deletion"
	// whyReused: seen were 2.2 s and, in the same run, 14.2 s, on a connection that a pool had kept as a spare one.
	whyReused = "a connection stays with its Pod, however fast everybody follows the endpoints: requests go on arriving until its client has used it once more, " +
		"and been told to close it"
)

// conclude takes the greatest of the lanes' delays. A lane in which nothing arrived after a deletion has nothing against it, nor has one that reuses its
// connections, where it is for the client to end it; a lane of new connections whose end was not seen has.
func (s *SafeDelay) conclude() {
	s.Why = "nothing was measured"
	for _, l := range s.Lanes {
		switch {
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

// WholeSeconds is a delay for the kubelet's sleep action, which takes nothing finer: rounded up.
func WholeSeconds(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}

// Third is what a third of a delay is, down to a tenth of a second: what shows beside a proof that the delay is needed. It is not ok below 0.3 s, where
// it would be hard to tell from none at all.
func Third(d time.Duration) (third time.Duration, ok bool) {
	const tenth = 100 * time.Millisecond
	third = (d / 3).Truncate(tenth)
	return third, third >= leastThird
}

const leastThird = 300 * time.Millisecond

// Proof is what runs at a recommended delay say of it.
type Proof struct {
	Outcome Outcome // Pass if as many runs as asked for are believed and each passed
	Runs    int     // that were believed
	// Of the lanes of new connections, which are what a delay is for:
	Lossy         int // believed runs that lost something
	Sent, Dropped int
	// Of those that reuse connections, where clients have a say as well:
	ReusedSent, ReusedDropped, Masked int
	// Bound is the share of rollouts that may lose some of the former all the same (ClopperPearson).
	Bound float64
}

// Prove puts together what the runs lost, of which there should be so many. What each lane may lose, its strategy has said.
func Prove(runs []Verdict, want int) Proof {
	p := Proof{Outcome: Pass}
	for _, v := range runs {
		if v.Outcome.Outranks(p.Outcome) {
			p.Outcome = v.Outcome
		}
		if v.Outcome != Pass && v.Outcome != Fail {
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
