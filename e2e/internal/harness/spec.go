package harness

import (
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

// groups are what the places of a delay are called in reports.
var groups = map[string]string{"preStop": "preStop", "app": "in-app delay"}

// NewSpec writes the declaration of a run down, as it is on this cluster. The words of package
// scenarios become those of the timeline, which stands alone: both have the same text.
func NewSpec(s scenarios.Scenario, env timeline.Environment) timeline.Spec {
	minSync, err := time.ParseDuration(env.MinSyncPeriod)
	if err != nil {
		minSync = 0 // a cluster that doesn't tell
	}
	out := timeline.Spec{
		Strategy: s.Strategy.Name, Summary: s.Strategy.Summary, Group: groups[s.Strategy.DelayIn], SameAs: s.SameAs,
		Delay: s.Strategy.ServesFor(), PreStop: s.Strategy.PreStop(), Control: s.Control,
		Disruption: s.Disruption.Name, Scope: timeline.Scope(s.Disruption.Scope), Gone: s.Disruption.Gone,
		TakesNode:     s.Disruption.TakesNode,
		ConsumerGroup: s.Group, ProxyMode: s.ProxyMode, Change: s.Change,
	}
	if s.Asked != nil && s.Asked.New == scenarios.Measured {
		out.Group = "" // at a delay that is too short it doesn't speak for the place of its delay
	}
	if tasks := s.Tasks(); tasks != nil {
		out.Tasks = new(timeline.TaskSpec(*tasks))
	}
	if t := s.Target; t != nil {
		out.Target = &timeline.TargetSpec{
			Name: t.Name, Request: t.Request.String(), ExpectStatus: t.ExpectStatus, StatusLearnt: t.StatusLearnt,
			ExpectBody: t.ExpectBody, PodHeader: t.PodHeader, Signal: t.Signal, Live: t.Live,
		}
		if t.Slow != nil {
			out.Target.SlowRequest = t.Slow.String()
		}
	}
	for _, c := range s.Watched {
		out.Watched = append(out.Watched, c.Name)
	}
	for _, l := range s.Lanes {
		c, load := l.Consumer, l.Load
		lane := timeline.LaneSpec{
			Name: l.Name(), Consumer: c.Name, From: timeline.Place(c.From), Routing: timeline.Routing(c.Routing),
			Evidence: c.Evidence, Component: c.Component, Local: c.Local,
			Load: load.Name, Driver: load.Driver, Class: timeline.Class(load.Class), Rate: load.Rate,
			Connections: string(load.Connections), Replayable: load.Replayable, Work: load.Work, Timeout: load.Timeout,
			Reconnect: string(load.Reconnect), StaysMin: load.Stays.Min, StaysMax: load.Stays.Max, Seed: load.Seed,
			Held: map[timeline.Class]timeline.Promise{},
		}
		if load.Connections == scenarios.HeldConnections {
			lane.Clients = load.Clients
		}
		for _, class := range load.Classes() {
			p := s.HeldTo(l, class, minSync)
			lane.Held[timeline.Class(class)] = timeline.Promise{Expect: timeline.Expect(p.Expect), Source: p.Source}
		}
		out.Lanes = append(out.Lanes, lane)
	}
	return out
}
