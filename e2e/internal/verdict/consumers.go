package verdict

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// ConsumerResult is what all runs together say of one consumer under one mode of kube-proxy: how
// long it goes on sending to a Pod that was deleted, and what it dropped under which strategy. Only
// disruptions count, and only conclusive runs.
type ConsumerResult struct {
	Consumer  string
	Group     string // of consumers that are measured in the same runs; empty for those of every run, and of several
	ProxyMode string // iptables, nftables
	From      timeline.Place
	Watched   bool // it brings no requests: its own scrapes are its arrivals

	Runs         int // that were conclusive
	Inconclusive int // that were not: nothing is taken from them
	Replicas     int // Pods that the workload asked for, where it was more than one

	// ArrivalsOn is the class of the lanes whose last arrivals count: new. A proxy that chooses the Pod
	// of each request has the others beside them. Where a consumer has no lane of new connections and
	// chooses the Pod of each request all the same, kept-alive; empty where only the end of a connection
	// would tell.
	ArrivalsOn timeline.Class
	// Removals are the Pods that were deleted while the consumer could reach them, with others
	// beside them. A single replica is none: its consumer has nowhere else to go.
	Removals []Removal
	Known    int // of the removals: those whose last arrival is known
	Censored int // those of which only a lower bound is; they are in no percentile
	// Of the last arrivals that are known; zero without any.
	P50, P90, Max time.Duration
	AtLeast       time.Duration // the longest of the censored
	// Later is the longest time from the last deletion to a dropped request that is charged to
	// nobody, or to one that was answered late (Lane.LastLate). Where it is longer than Max, an arrival
	// may have been missed.
	Later time.Duration
	// ProxyMasked counts the requests of these lanes that the consumer's own program sent again: nobody
	// knows where it had sent them before.
	ProxyMasked int
	Resolution  time.Duration // how finely a lane tells an arrival from the one before: 1/rate
	// Safe is the smallest delay after which nothing arrived: the longest arrival and one interval.
	// It is a lower bound if SafeAtLeast; nil if there is none, and Why says why.
	Safe        *time.Duration
	SafeAtLeast bool
	Why         string
	// Rollouts are the runs with a removal whose last arrival is known. Bound is the share of all
	// rollouts in which one may take longer than Max, as SafeDelay.RunBound: removals of one rollout wait
	// for the same updates, and are not independent.
	Rollouts int
	Bound    float64

	Strategies []ConsumerStrategy // in the order of first appearance

	Dropped      int
	Unattributed int            // of the dropped requests
	Because      map[string]int // reasons for those

	// Blind are, of a consumer that is only watched, the times from its last look at a Pod to the
	// end of the Pod's process, in order.
	Blind []time.Duration
}

// Removal is how long a consumer went on sending to one Pod that was deleted.
type Removal struct {
	Strategy, Disruption, Pod string
	Delay                     time.Duration // how long the Pod served on, as its strategy says
	// After is from its deletion to the last arrival, 0 for none, and is a lower bound if Censored.
	After    time.Duration
	Censored bool
}

// ConsumerStrategy is what became of a consumer's requests under one strategy.
type ConsumerStrategy struct {
	Strategy string
	Delay    time.Duration
	Control  bool
	Single   bool // there is one replica: while it terminates there is no other
	Rollouts int
	// Lossy are the rollouts that dropped something on new connections, or masked it; on all that a
	// consumer has if none are new.
	Lossy   int
	Bound   float64 // share of all rollouts that may do so (ClopperPearson)
	Classes map[timeline.Class]Tally
	Loads   []ConsumerLoad
	// Outage is the longest time in which every request of one of these lanes was dropped, Under which
	// disruption; 0 for none.
	Outage time.Duration
	Under  string
}

// Tally is so many of so many.
type Tally struct{ Dropped, Sent int }

// ConsumerLoad is what became of the requests of one load of a consumer under one strategy.
type ConsumerLoad struct {
	Load, Driver string
	Class        timeline.Class // of its connections
	Replayable   bool
	Sent         int
	Dropped      int
	Masked       int // by the client
	ProxyMasked  int // by the consumer's own program
	Late         int
}

// Total is the strategy's loads together.
func (s ConsumerStrategy) Total() (t ConsumerLoad) {
	for _, l := range s.Loads {
		t.Sent, t.Dropped, t.Late = t.Sent+l.Sent, t.Dropped+l.Dropped, t.Late+l.Late
		t.Masked, t.ProxyMasked = t.Masked+l.Masked, t.ProxyMasked+l.ProxyMasked
	}
	return t
}

// Consumers puts runs together, consumer by consumer, those of one mode of kube-proxy next to each
// other. A consumer that was measured in its own group and went along in others as their reference
// has only the runs of its own. Runs in which no Pod was to go count for none.
func Consumers(runs []Verdict) []ConsumerResult {
	runs = slices.DeleteFunc(slices.Clone(runs), func(v Verdict) bool { return v.Spec.Scope.KeepsPods() })
	everyRun := map[[2]string]bool{} // consumers of every run that were measured as such
	for _, v := range runs {
		for _, name := range v.consumers() {
			if v.Spec.ConsumerGroup == "" {
				everyRun[[2]string{v.Environment.ProxyMode, name}] = true
			}
		}
	}
	var modes []string
	found := map[string][]*ConsumerResult{}
	for _, v := range runs {
		mode := v.Environment.ProxyMode
		if _, known := found[mode]; !known {
			modes, found[mode] = append(modes, mode), nil
		}
		for _, name := range v.consumers() {
			if v.Spec.ConsumerGroup != "" && everyRun[[2]string{mode, name}] {
				continue
			}
			i := slices.IndexFunc(found[mode], func(c *ConsumerResult) bool { return c.Consumer == name })
			if i < 0 {
				i = len(found[mode])
				found[mode] = append(found[mode], &ConsumerResult{
					Consumer: name, Group: v.Spec.ConsumerGroup, ProxyMode: mode, Because: map[string]int{},
				})
			}
			if c := found[mode][i]; c.Group != v.Spec.ConsumerGroup {
				c.Group = ""
			}
			found[mode][i].add(v)
		}
	}
	var out []ConsumerResult
	for _, mode := range modes {
		for _, c := range found[mode] {
			c.conclude()
			out = append(out, *c)
		}
	}
	return out
}

// consumers are those of the run's lanes, in their order, and those that are only watched: as declared,
// so that one that could not be measured is told, too.
func (v Verdict) consumers() []string {
	var out []string
	for _, l := range v.Spec.Lanes {
		if !slices.Contains(out, l.Consumer) {
			out = append(out, l.Consumer)
		}
	}
	for _, name := range v.Spec.Watched {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func (c *ConsumerResult) add(v Verdict) {
	declared := false
	for _, l := range v.Spec.Lanes {
		if l.Consumer == c.Consumer {
			c.From, declared = l.From, true
		}
	}
	c.Watched = c.Watched || !declared
	var lanes []Lane
	for _, l := range v.Lanes {
		if l.Consumer == c.Consumer {
			lanes = append(lanes, l)
		}
	}
	// A lane has an outcome of its own, where its own evidence doesn't hold.
	conclusive := slices.DeleteFunc(slices.Clone(lanes), func(l Lane) bool { return !l.Outcome.Conclusive() })
	if !v.Conclusive() || declared && len(conclusive) == 0 {
		c.Inconclusive++
		return
	}
	c.Runs++
	on := c.arrivalLanes(conclusive)
	if before := len(c.Removals); v.Replicas != 1 {
		c.Replicas = max(c.Replicas, v.Replicas)
		c.addArrivals(v, on)
		c.addWatched(v)
		if slices.ContainsFunc(c.Removals[before:], func(r Removal) bool { return !r.Censored }) {
			c.Rollouts++
		}
	}
	if declared {
		c.addDropped(v, conclusive)
	}
}

// arrivalLanes are the lanes whose last arrivals tell how long the consumer goes on sending: those of
// new connections. A proxy that chooses the Pod of each request does so whatever the client's
// connection is: all of its lanes tell, and each by itself might see some of the Pods only, where the
// proxy picks in turn and the lane is strictly periodic. What the API server keeps is its own.
func (c *ConsumerResult) arrivalLanes(lanes []Lane) []Lane {
	var fresh, chosen []Lane
	for _, l := range lanes {
		perRequest := l.Routing == timeline.PerRequest
		switch class := l.ConnectionClass(); {
		case l.From == timeline.FromAPI, class == timeline.ClassHeld:
		case l.Class == timeline.ClassNew, perRequest && class == timeline.ClassNew:
			fresh = append(fresh, l)
		case perRequest, l.Routing == timeline.ByClient && class == timeline.ClassKeptAlive:
			chosen = append(chosen, l)
		}
	}
	switch {
	case len(fresh) > 0:
		c.ArrivalsOn = timeline.ClassNew
	case len(chosen) > 0 && c.ArrivalsOn == "":
		c.ArrivalsOn = timeline.ClassKeptAlive
	}
	if len(fresh) > 0 {
		chosen = slices.DeleteFunc(chosen, func(l Lane) bool { return l.Routing != timeline.PerRequest })
	}
	return append(fresh, chosen...)
}

// addArrivals takes the longest arrival at each Pod over the lanes. A Pod that could be reached, and
// got nothing after its deletion, has an arrival of 0.
func (c *ConsumerResult) addArrivals(v Verdict, lanes []Lane) {
	if len(lanes) == 0 {
		return
	}
	rate := 0
	for _, l := range lanes {
		rate = max(rate, l.Rate)
		c.ProxyMasked += l.ProxyMasked
		if l.LastLate != nil {
			c.Later = max(c.Later, *l.LastLate)
		}
	}
	c.Resolution = max(c.Resolution, apart(rate))
	var pods lifecycles
	for i := range v.Pods {
		pods.all = append(pods.all, &v.Pods[i])
	}
	for i, life := range pods.all {
		asked, ok := life.toGo()
		if !ok {
			continue
		}
		served, ok := life.At(timeline.EndpointServing)
		if longest, came := longestArrival(lanes, i); came || ok && served <= asked {
			c.Removals = append(c.Removals, Removal{
				Strategy: v.Spec.Strategy, Disruption: v.Spec.Disruption, Pod: life.Pod, Delay: v.Spec.Delay,
				After: longest.After, Censored: longest.Censored || longest.Missed,
			})
		}
	}
	for _, d := range v.DroppedRequests {
		if d.Phase != Unattributed || !slices.ContainsFunc(lanes, func(l Lane) bool { return l.Name == d.Lane }) {
			continue
		}
		if since, ok := pods.sinceDeletion(d.Sent); ok {
			c.Later = max(c.Later, since)
		}
	}
}

// longestArrival is the longest arrival of the lanes at a Pod, and whether any is on record. Where nothing
// arrived, one lane that would have seen it is enough to know. What one lane missed has no upper end,
// whatever another saw.
func longestArrival(lanes []Lane, owner int) (longest Arrival, came bool) {
	missed := false
	for n, l := range lanes {
		var a Arrival
		if i := slices.IndexFunc(l.Arrivals, func(a Arrival) bool { return a.Owner == owner }); i >= 0 {
			a, came = l.Arrivals[i], true
		}
		missed = missed || a.Missed
		switch {
		case n == 0 || a.After > longest.After:
			longest = a
		case a.After == longest.After && a.After > 0:
			longest.Censored = longest.Censored || a.Censored
		case a.After == longest.After:
			longest.Censored = longest.Censored && a.Censored
		}
	}
	longest.Missed = missed
	return longest, came
}

func (c *ConsumerResult) addWatched(v Verdict) {
	for _, w := range v.Watched {
		if w.Consumer != c.Consumer {
			continue
		}
		c.Removals = append(c.Removals, Removal{
			Strategy: v.Spec.Strategy, Disruption: v.Spec.Disruption, Pod: w.Pod, Delay: v.Spec.Delay,
			After: w.After, Censored: w.Censored,
		})
		if w.Blind > 0 { // else the end of its process was not seen
			c.Blind = append(c.Blind, w.Blind)
		}
	}
}

func (c *ConsumerResult) addDropped(v Verdict, lanes []Lane) {
	i := slices.IndexFunc(c.Strategies, func(s ConsumerStrategy) bool {
		return s.Strategy == v.Spec.Strategy && s.Delay == v.Spec.Delay
	})
	if i < 0 {
		i = len(c.Strategies)
		c.Strategies = append(c.Strategies, ConsumerStrategy{
			Strategy: v.Spec.Strategy, Delay: v.Spec.Delay, Control: v.Spec.Control, Single: v.Replicas == 1,
			Classes: map[timeline.Class]Tally{},
		})
	}
	s := &c.Strategies[i]
	s.Rollouts++
	lossy := false
	fresh := slices.ContainsFunc(lanes, func(l Lane) bool { return l.ConnectionClass() == timeline.ClassNew })
	for _, l := range lanes {
		own := l.ConnectionClass()
		dropped := map[timeline.Class]int{own: l.Dropped} // but for those of another class
		for _, class := range l.Classes {
			if class.Class != own {
				dropped[class.Class] += class.Dropped
				dropped[own] -= class.Dropped
			}
		}
		s.tally(own, dropped[own], l.Sent)
		for class, n := range dropped {
			if class != own && class != timeline.ClassInFlight {
				s.tally(class, n, 0)
			}
		}
		s.tally(timeline.ClassInFlight, dropped[timeline.ClassInFlight], l.Sent) // every request can be in flight
		if own == timeline.ClassNew || !fresh {
			lossy = lossy || dropped[own]+l.Masked+l.ProxyMasked > 0
			for _, o := range l.Outages {
				if took := o.To - o.From + apart(l.Rate); took > s.Outage {
					s.Outage, s.Under = took, v.Spec.Disruption
				}
			}
		}
		s.load(l)
		c.Dropped += l.Dropped
		for why, n := range l.Unattributed {
			c.Unattributed += n
			c.Because[why] += n
		}
	}
	if lossy {
		s.Lossy++
	}
}

// apart is the time between two requests of a lane; 0 if its rate is not known.
func apart(rate int) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Second / time.Duration(rate)
}

func (s *ConsumerStrategy) tally(class timeline.Class, dropped, sent int) {
	t := s.Classes[class]
	s.Classes[class] = Tally{t.Dropped + dropped, t.Sent + sent}
}

func (s *ConsumerStrategy) load(l Lane) {
	i := slices.IndexFunc(s.Loads, func(c ConsumerLoad) bool { return c.Load == l.Load })
	if i < 0 {
		i = len(s.Loads)
		s.Loads = append(s.Loads, ConsumerLoad{
			Load: l.Load, Driver: l.Driver, Class: l.ConnectionClass(), Replayable: l.Replayable,
		})
	}
	c := &s.Loads[i]
	c.Sent, c.Dropped, c.Late = c.Sent+l.Sent, c.Dropped+l.Dropped, c.Late+l.Late
	c.Masked, c.ProxyMasked = c.Masked+l.Masked, c.ProxyMasked+l.ProxyMasked
}

// conclude works out what the removals say together.
func (c *ConsumerResult) conclude() {
	var known []time.Duration
	for _, r := range c.Removals {
		if r.Censored {
			c.Censored++
			c.AtLeast = max(c.AtLeast, r.After)
		} else {
			known = append(known, r.After)
		}
	}
	slices.Sort(known)
	c.Known = len(known)
	c.P50, c.P90, c.Max = Percentile(known, 0.5), Percentile(known, 0.9), Percentile(known, 1)
	c.Bound = ClopperPearson(0, c.Rollouts)
	for i, s := range c.Strategies {
		c.Strategies[i].Bound = ClopperPearson(s.Lossy, s.Rollouts)
	}
	slices.Sort(c.Blind)
	switch {
	case c.Runs == 0:
		c.Why = fmt.Sprintf("none of %d runs is conclusive", c.Inconclusive)
	case c.Watched:
		c.Why = "it is only watched: no request of a client depends on it"
	case c.ArrivalsOn == "" && slices.ContainsFunc(c.Strategies, func(s ConsumerStrategy) bool { return !s.Single }):
		c.Why = whyReused
	case len(c.Removals) == 0:
		c.Why = "no Pod was removed that it could reach"
	default:
		c.Safe = new(max(c.Max, c.AtLeast) + c.Resolution)
		c.SafeAtLeast = c.Censored > 0 && c.AtLeast >= c.Max || c.Later > c.Max || c.ProxyMasked > 0
	}
}

// TopReason is the most frequent reason for which a dropped request is charged to nobody; "" if all
// are charged to somebody.
func (c ConsumerResult) TopReason() string {
	if len(c.Because) == 0 {
		return ""
	}
	return slices.MaxFunc(slices.Sorted(maps.Keys(c.Because)), func(a, b string) int {
		return cmp.Or(cmp.Compare(c.Because[a], c.Because[b]), cmp.Compare(b, a))
	})
}
