package report

import (
	"slices"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// FileConsumer is what all runs together say of one consumer under one mode of kube-proxy. The
// tables of consumers are made of it, in a report and in RESULTS.md alike.
type FileConsumer struct {
	Consumer     string         `json:"consumer"`
	Group        string         `json:"group,omitempty"` // measured in the same runs; none: in every run, or in several
	ProxyMode    string         `json:"proxyMode"`
	From         timeline.Place `json:"from,omitempty"`
	Watched      bool           `json:"watched,omitempty"` // it brings no requests
	Runs         int            `json:"runs"`              // that were conclusive
	Inconclusive int            `json:"inconclusive"`      // that were not: nothing is taken from them
	// of the app, but for the runs with a single one; none where there were no others, and in what was
	// kept before it was told
	Replicas int `json:"replicas,omitempty"`
	// class of the connections whose last arrivals count; none where only their end would tell
	ArrivalsOn timeline.Class `json:"arrivalsOn,omitempty"`
	Removals   []FileRemoval  `json:"removals"`
	Known      int            `json:"known"`      // removals whose last arrival is known
	Censored   int            `json:"censored"`   // those of which only a lower bound is: in no percentile
	P50Seconds *float64       `json:"p50Seconds"` // of the last arrivals that are known; null without any
	P90Seconds *float64       `json:"p90Seconds"`
	MaxSeconds *float64       `json:"maxSeconds"`
	// the longest of the censored
	AtLeastSeconds *float64 `json:"atLeastSeconds,omitempty"`
	// the longest time from the last deletion to a dropped request that is charged to nobody, or to one
	// that was answered late
	LaterSeconds float64 `json:"laterSeconds,omitempty"`
	// requests on these lanes that its own program sent again: where it had sent them before, nobody knows
	ArrivalsMasked    int     `json:"arrivalsMasked,omitempty"`
	ResolutionSeconds float64 `json:"resolutionSeconds"`
	// the smallest delay after which nothing arrived; null if there is none, and why says why
	SafeSeconds *float64 `json:"safeSeconds"`
	SafeAtLeast bool     `json:"safeAtLeast,omitempty"` // safeSeconds is a lower bound
	Why         string   `json:"why,omitempty"`
	Rollouts    int      `json:"rollouts,omitempty"` // with a removal that is known
	// share of rollouts in which one may take longer than the greatest, 95 %
	Bound      float64                `json:"bound"`
	Strategies []FileConsumerStrategy `json:"strategies"`
	Dropped    int                    `json:"dropped"`
	// of the dropped requests: charged to nobody, and the most frequent reason
	Unattributed        int    `json:"unattributed"`
	UnattributedBecause string `json:"unattributedBecause,omitempty"`
	// of a consumer that is only watched: from its last look at a Pod to the end of the process
	BlindSeconds []float64 `json:"blindSeconds,omitempty"`
}

// FileRemoval is how long a consumer went on sending to a Pod that was deleted.
type FileRemoval struct {
	Strategy     string  `json:"strategy"`
	Disruption   string  `json:"disruption"`
	DelaySeconds float64 `json:"delaySeconds"` // how long the Pod served on, as its strategy says
	Seconds      float64 `json:"seconds"`      // 0: nothing arrived; negative: only before, as of scrapes
	Censored     bool    `json:"censored"`     // a lower bound
}

// FileConsumerStrategy is what became of a consumer's requests under one strategy.
type FileConsumerStrategy struct {
	Strategy      string  `json:"strategy"`
	DelaySeconds  float64 `json:"delaySeconds"`
	Control       bool    `json:"control,omitempty"`
	SingleReplica bool    `json:"singleReplica,omitempty"`
	Rollouts      int     `json:"rollouts"`
	// rollouts that dropped, or masked, on new connections, or on all it has if none are new
	Dropping      int                          `json:"dropping"`
	Bound         float64                      `json:"bound"` // share of all rollouts that may, 95 %
	Classes       map[timeline.Class]FileTally `json:"classes"`
	Loads         []FileConsumerLoad           `json:"loads"`
	OutageSeconds float64                      `json:"outageSeconds,omitempty"` // the longest of one of these lanes
	OutageUnder   string                       `json:"outageUnder,omitempty"`   // disruption
}

// FileTally is so many of so many.
type FileTally struct {
	Dropped int `json:"dropped"`
	Sent    int `json:"sent"`
}

// FileConsumerLoad is what became of the requests of one load.
type FileConsumerLoad struct {
	Load        string         `json:"load"`
	Driver      string         `json:"driver"`
	Class       timeline.Class `json:"class"` // of its connections
	Replayable  bool           `json:"replayable,omitempty"`
	Sent        int            `json:"sent"`
	Dropped     int            `json:"dropped"`
	Masked      int            `json:"masked"`      // by the client
	ProxyMasked int            `json:"proxyMasked"` // by the consumer's own program
	Late        int            `json:"late"`
}

// ConsumersProfile is the profile that compares consumers.
const ConsumersProfile = "consumers"

// comparesConsumers says that a report has more consumers than those of every run.
func comparesConsumers(r Report) bool {
	return r.Profile == ConsumersProfile ||
		slices.ContainsFunc(r.Suite.Runs, func(v verdict.Verdict) bool { return v.Spec.ConsumerGroup != "" })
}

func newFileConsumers(runs []verdict.Verdict) []FileConsumer {
	var out []FileConsumer
	for _, c := range verdict.Consumers(runs) {
		f := FileConsumer{
			Consumer: c.Consumer, Group: c.Group, ProxyMode: c.ProxyMode, From: c.From, Watched: c.Watched, Runs: c.Runs,
			Inconclusive: c.Inconclusive, Replicas: c.Replicas, ArrivalsOn: c.ArrivalsOn, Removals: []FileRemoval{},
			Known: c.Known, Censored: c.Censored, LaterSeconds: seconds(c.Later), ArrivalsMasked: c.ProxyMasked,
			ResolutionSeconds: seconds(c.Resolution), SafeAtLeast: c.SafeAtLeast, Why: Plain(c.Why),
			Rollouts: c.Rollouts, Bound: c.Bound, Strategies: []FileConsumerStrategy{},
			Dropped: c.Dropped, Unattributed: c.Unattributed, UnattributedBecause: Plain(c.TopReason()),
		}
		if c.Known > 0 {
			f.P50Seconds, f.P90Seconds, f.MaxSeconds = new(seconds(c.P50)), new(seconds(c.P90)), new(seconds(c.Max))
		}
		if c.Censored > 0 {
			f.AtLeastSeconds = new(seconds(c.AtLeast))
		}
		if c.Safe != nil {
			f.SafeSeconds = new(seconds(*c.Safe))
		}
		for _, r := range c.Removals {
			f.Removals = append(f.Removals, FileRemoval{
				r.Strategy, r.Disruption, seconds(r.Delay), seconds(r.After), r.Censored,
			})
		}
		for _, s := range c.Strategies {
			f.Strategies = append(f.Strategies, newFileConsumerStrategy(s))
		}
		for _, blind := range c.Blind {
			f.BlindSeconds = append(f.BlindSeconds, seconds(blind))
		}
		out = append(out, f)
	}
	return out
}

func newFileConsumerStrategy(s verdict.ConsumerStrategy) FileConsumerStrategy {
	out := FileConsumerStrategy{
		Strategy: s.Strategy, DelaySeconds: seconds(s.Delay), Control: s.Control, SingleReplica: s.Single,
		Rollouts: s.Rollouts, Dropping: s.Lossy, Bound: s.Bound, Classes: map[timeline.Class]FileTally{},
		Loads: []FileConsumerLoad{}, OutageSeconds: seconds(s.Outage), OutageUnder: s.Under,
	}
	for class, t := range s.Classes {
		out.Classes[class] = FileTally(t)
	}
	for _, l := range s.Loads {
		out.Loads = append(out.Loads, FileConsumerLoad{
			l.Load, l.Driver, l.Class, l.Replayable, l.Sent, l.Dropped, l.Masked, l.ProxyMasked, l.Late,
		})
	}
	return out
}
