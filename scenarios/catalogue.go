package scenarios

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/fixtures"
)

// The controls: runs whose result is known beforehand, as is that of a grace period of 0.
const (
	controlStrategy   = "no-handler" // must drop requests under every disruption
	controlDisruption = "none"       // must drop nothing, even with that strategy
)

// Controls are the scenarios that others depend on, under one disruption: one that must drop
// nothing, and one that must drop something.
func (c Catalogue) Controls(disruption string, rate int) ([]Scenario, error) {
	var list []Scenario
	for _, name := range []string{controlDisruption, disruption} {
		s, err := c.Find(controlStrategy, name, rate)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// againSuffix marks the second name of a strategy in an A/A comparison, in which whatever differs
// is the instrument's. The name is for people: Scenario.SameAs says it to programs.
const againSuffix = "+again"

// Profile is a selection of scenarios.
type Profile struct {
	Name        string
	Summary     string
	Strategies  []string // by name. Empty means all there are
	Disruptions []string // by name. Empty means a release and the loss of each Pod
	AA          bool     // each strategy runs under two names
	Rate        int      // requests per second of each lane, unless others are asked for
	Lanes       []string // by name, unless others or consumers are asked for. Empty means all there are
	// Consumers are those that it is about, by name, in their groups, unless others are asked for; nil for
	// those of every run.
	Consumers []string
	// Cells are what runs unless strategies or disruptions are asked for; nil: each of Strategies under
	// each of Disruptions.
	Cells func() []Cell
	// Turns are cells beside those that take turns, by the names of all strategies: each night has
	// PerNight of them at most.
	Turns    func(strategies []string) []Cell
	PerNight int
	// Groups says that every group of consumers has runs of its own; else there are those of the
	// consumers of every run alone, unless consumers are chosen.
	Groups bool
	// NFTables are the groups that also run on a cluster whose kube-proxy is in nftables mode.
	NFTables []string
	// Longer is the strategy that also runs at each delay from which a consumer of the group holds
	// promises, if that is longer than its own; empty for none.
	Longer string
}

// Profiles are all there are, the default first.
func Profiles() []Profile {
	out := []Profile{
		{
			Name:    "quick",
			Summary: "the strategies that most teams choose from, under a release and the loss of each Pod",
			Rate:    DefaultRate,
			Strategies: []string{
				"no-handler", "shutdown-at-once", "in-app-delay", "prestop-exec-sleep", "prestop-sleep",
			},
		},
		{Name: "full", Summary: "every strategy under a release and the loss of each Pod", Rate: DefaultRate},
		{
			Name:        "smoke",
			Summary:     "one strategy that drops requests and one that doesn't: does the instrument work?",
			Strategies:  []string{"no-handler", "prestop-sleep"},
			Disruptions: []string{"rolling-update"},
			Rate:        DefaultRate,
		},
		{
			Name:        "aa",
			Summary:     "one strategy under two names: are differences seen where there are none? Wants -repeat 10 or more",
			Strategies:  []string{"shutdown-at-once"},
			Disruptions: []string{"rolling-update"},
			Rate:        DefaultRate,
			AA:          true,
		},
		{
			Name:    "consumers",
			Summary: "every consumer of endpoints, in groups: how long does each go on sending?",
			Strategies: []string{
				"shutdown-at-once", "in-app-delay", "prestop-sleep", "single-replica-prestop-sleep",
			},
			Rate:     25, // of about twelve lanes
			Groups:   true,
			NFTables: []string{"", "local"},
			Longer:   "prestop-sleep",
		},
	}
	return append(out, disruptionsProfile(), doublingProfile(), argoProfile(), longProfile(), kedaProfile(),
		nightlyProfile(out[0]), appProfile(), serversProfile())
}

// ServersProfile is the profile of real servers, which are fixtures and no strategies.
const ServersProfile = "servers"

// serversProfile is, of the sample app, the controls beside them.
func serversProfile() Profile {
	return Profile{
		Name: ServersProfile,
		Summary: "nginx, Apache, HAProxy, Node.js, gunicorn, uvicorn, php-fpm, Puma and Tomcat under a release, each in " +
			"several ways to stop it",
		Strategies: []string{controlStrategy}, Disruptions: []string{"rolling-update"}, Rate: 25, Lanes: serviceLanes(),
	}
}

// AppProfile is the profile of an app of people's own.
const AppProfile = "app"

// appProfile is, of the sample app, the control of people's own.
func appProfile() Profile {
	return Profile{
		Name: AppProfile,
		Summary: "what -app chooses: your own app under a release and the loss of each Pod, as it is and changed, and the " +
			"sample app's control beside it",
		Strategies: []string{controlStrategy}, Disruptions: []string{"rolling-update"}, Rate: 50, Lanes: serviceLanes(),
	}
}

// ProfileNamed is the profile of a name. An unknown name is an error that lists the known ones.
func ProfileNamed(name string) (Profile, error) {
	return findNamed("profile", name, Profiles(), func(p Profile) string { return p.Name })
}

// Selection is what a suite is asked to run. Empty fields leave the choice to the profile.
type Selection struct {
	Profile     string
	Strategies  []string
	Disruptions []string
	Lanes       []string
	Consumers   []string      // in their groups; the reference goes along
	Rate        int           // requests per second of each lane; 0 for the profile's
	Clients     int           // that hold a connection each, in each lane whose clients do; 0 for the load's own
	Delay       time.Duration // of the strategies, instead of their own; 0 for their own
	Night       time.Time     // whose turn it is where cells take turns; the time of day says nothing
	TaskLength  time.Duration // of tasks that Pods take from a queue; 0 for TaskLength
	// OneProxy says that kube-proxy's mode was chosen: no group runs in another one as well.
	OneProxy bool
	// MinSync is kube-proxy's minimum sync period; 0 for kind's own.
	MinSync time.Duration
}

// heldGroup is the group of the consumers on which clients hold connections.
const heldGroup = "held"

// Catalogue knows every strategy and consumer there is.
type Catalogue struct {
	strategies map[string]fixtures.Strategy
	consumers  map[string]fixtures.Consumer
}

// NewCatalogue reads the fixtures.
func NewCatalogue() (Catalogue, error) {
	strategies, err := fixtures.Strategies()
	if err != nil {
		return Catalogue{}, err
	}
	for _, s := range strategies {
		if err := validateStrategy(s); err != nil {
			return Catalogue{}, err
		}
	}
	consumers, err := fixtures.Consumers()
	if err != nil {
		return Catalogue{}, err
	}
	c := Catalogue{strategies: strategies, consumers: consumers}
	_, err = c.Groups(nil, DefaultRate)
	return c, err
}

// With is the catalogue with more consumers than the fixtures have.
func (c Catalogue) With(consumers ...fixtures.Consumer) Catalogue {
	c.consumers = maps.Clone(c.consumers)
	for _, consumer := range consumers {
		c.consumers[consumer.Name] = consumer
	}
	return c
}

// Group is the consumers that are measured in the same runs.
type Group struct {
	Name    string // empty for the consumers of every run
	Lanes   []Lane
	Watched []fixtures.Consumer // that no load is sent to
}

// Groups are all groups, that of every run first, with no consumers but the named ones if there are
// any. Each has the reference's lane of new connections, so that what is measured in one group
// compares with the others. An unknown name is an error that lists the known ones.
func (c Catalogue) Groups(consumers []string, rate int) ([]Group, error) {
	for _, name := range consumers {
		if _, ok := c.consumers[name]; !ok {
			return nil, unknown("consumer", name, slices.Sorted(maps.Keys(c.consumers)))
		}
	}
	members := map[string][]fixtures.Consumer{}
	for _, consumer := range c.consumers {
		if len(consumers) == 0 || slices.Contains(consumers, consumer.Name) {
			members[consumer.Group] = append(members[consumer.Group], consumer)
		}
	}
	var out []Group
	for _, name := range slices.Sorted(maps.Keys(members)) {
		group, err := c.group(name, members[name], rate)
		if err != nil {
			return nil, err
		}
		out = append(out, group)
	}
	return out, nil
}

func (c Catalogue) group(name string, members []fixtures.Consumer, rate int) (Group, error) {
	out := Group{Name: name}
	reference := func(c fixtures.Consumer) bool { return c.Reference }
	if !slices.ContainsFunc(members, reference) {
		for _, consumer := range c.consumers {
			if consumer.Reference {
				consumer.Loads = []string{New(rate).Name}
				members = append(members, consumer)
			}
		}
	}
	rank := func(c fixtures.Consumer) int {
		switch {
		case c.From != fixtures.FromCluster:
			return 2
		case c.Reference:
			return 0
		}
		return 1
	}
	slices.SortFunc(members, func(a, b fixtures.Consumer) int {
		return cmp.Or(rank(a)-rank(b), cmp.Compare(a.Name, b.Name))
	})
	for _, consumer := range members {
		if len(consumer.Loads) == 0 {
			out.Watched = append(out.Watched, consumer)
		}
		bearable := rate
		if consumer.MaxRate > 0 {
			bearable = min(rate, consumer.MaxRate)
		}
		for _, name := range consumer.Loads {
			load, err := loadNamed(name, bearable)
			if err != nil {
				return out, fmt.Errorf("consumer %s: %w", consumer.Name, err)
			}
			out.Lanes = append(out.Lanes, Lane{Consumer: consumer, Load: load})
		}
	}
	return out, nil
}

// Lanes are those of the consumers of every run, all at once, at the given requests per second each
// or what their consumer bears: those within the cluster first, which see the true cause of a drop,
// and of those the reference.
func (c Catalogue) Lanes(rate int) ([]Lane, error) {
	groups, err := c.Groups(nil, rate)
	if err != nil {
		return nil, err
	}
	return groups[0].Lanes, nil
}

// Reference is the lane that every run has.
func (c Catalogue) Reference() string {
	for _, consumer := range c.consumers {
		if consumer.Reference {
			return Lane{Consumer: consumer, Load: New(DefaultRate)}.Name()
		}
	}
	return ""
}

// Find is the scenario of one strategy and one disruption, with the consumers of every run. An
// unknown name is an error that lists the known ones.
func (c Catalogue) Find(strategy, disruption string, rate int) (Scenario, error) {
	groups, err := c.Groups(nil, rate)
	if err != nil {
		return Scenario{}, err
	}
	return c.In(groups[0], strategy, disruption)
}

// In is Find with the consumers of a group.
func (c Catalogue) In(group Group, strategy, disruption string) (Scenario, error) {
	s, ok := c.strategies[strategy]
	if !ok {
		return Scenario{}, unknown("strategy", strategy, slices.Sorted(maps.Keys(c.strategies)))
	}
	d, err := disruptionNamed(disruption)
	if err != nil {
		return Scenario{}, err
	}
	scenario := Scenario{
		Strategy: s, Disruption: d, Group: group.Name, Lanes: d.lanes(group.Lanes), Watched: group.Watched,
		Control: strategy == controlStrategy && d.ends() || disruption == controlDisruption || d.GraceZero,
	}
	return scenario, scenario.Validate()
}

// Selected are the groups that a selection is made of, with no lanes but the chosen ones.
func (c Catalogue) Selected(sel Selection) ([]Group, error) {
	p, err := ProfileNamed(sel.Profile)
	if err != nil {
		return nil, err
	}
	consumers := firstNotEmpty(sel.Consumers, p.Consumers)
	groups, err := c.Groups(consumers, cmp.Or(sel.Rate, p.Rate))
	if err != nil {
		return nil, err
	}
	switch {
	case len(consumers) > 0:
	case p.Groups: // held connections say nothing of how long a consumer goes on sending
		groups = slices.DeleteFunc(groups, func(g Group) bool { return g.Name == heldGroup })
	default:
		groups = groups[:1]
	}
	for _, g := range groups {
		for i := range g.Lanes {
			if load := &g.Lanes[i].Load; load.Connections == HeldConnections {
				load.Clients = cmp.Or(sel.Clients, load.Clients)
			}
		}
	}
	lanes := sel.Lanes
	if len(lanes) == 0 && len(sel.Consumers) == 0 {
		lanes = p.Lanes
	}
	if len(lanes) == 0 {
		return groups, nil
	}
	var known []string
	var out []Group
	for _, group := range groups {
		all := group.Lanes
		group.Lanes = nil
		for _, l := range all {
			known = append(known, l.Name())
			if slices.Contains(lanes, l.Name()) {
				group.Lanes = append(group.Lanes, l)
			}
		}
		if len(group.Lanes) > 0 {
			out = append(out, group)
		}
	}
	for _, name := range lanes {
		if !slices.Contains(known, name) {
			return nil, unknown("lane", name, known)
		}
	}
	return out, nil
}

// NotRun are the cells of a selection whose turn it isn't, or which it has no consumers for: they are not
// among the scenarios that Select lists.
func (c Catalogue) NotRun(sel Selection) ([]NotRun, error) {
	_, _, notRun, err := c.arrange(sel)
	return notRun, err
}

// Select lists the scenarios of each group: the undisturbed control first, then each strategy under
// each disruption, or the cells of the profile. Disruptions that are about some consumers come after
// the others, in groups of these. Those on another cluster come last.
func (c Catalogue) Select(sel Selection) ([]Scenario, error) {
	p, parts, _, err := c.arrange(sel)
	if err != nil {
		return nil, err
	}
	var list, elsewhere []Scenario
	for _, part := range parts {
		scenarios, err := c.selectIn(part.Group, part.cells, p, sel)
		if err != nil {
			return nil, err
		}
		list = join(list, scenarios)
		if !sel.OneProxy && slices.Contains(p.NFTables, part.Name) {
			for i := range scenarios {
				scenarios[i].ProxyMode = nftables
			}
			elsewhere = join(elsewhere, scenarios)
		}
	}
	list = append(list, elsewhere...)
	for i := range list {
		list[i].TaskLength = sel.TaskLength
	}
	return list, nil
}

// part is a group, and what is run in it.
type part struct {
	Group
	cells []Cell
}

// arrange says which cells of a selection are run in which groups: each in all that are selected, but
// for those of a disruption that is about some consumers. They are run in groups of these alone, with
// the reference; where consumers or lanes are asked for, in the groups that have what it rolls.
func (c Catalogue) arrange(sel Selection) (p Profile, parts []part, notRun []NotRun, err error) {
	if p, err = ProfileNamed(sel.Profile); err != nil {
		return p, nil, nil, err
	}
	selected, err := c.Selected(sel)
	if err != nil {
		return p, nil, nil, err
	}
	cells, notRun, err := c.cells(p, sel)
	if err != nil {
		return p, nil, nil, err
	}
	var common []Cell
	var own []part
	for _, cell := range cells {
		d, err := disruptionNamed(cell.Disruption)
		if err != nil {
			return p, nil, nil, err
		}
		if d.Consumers == nil {
			common = append(common, cell)
			continue
		}
		groups := slices.Clone(selected)
		if len(sel.Consumers)+len(sel.Lanes) == 0 {
			if groups, err = c.Groups(d.Consumers, cmp.Or(sel.Rate, p.Rate)); err != nil {
				return p, nil, nil, fmt.Errorf("disruption %s: %w", d.Name, err)
			}
		}
		groups = slices.DeleteFunc(groups, func(g Group) bool { return !g.needs(d.Component) })
		if len(groups) == 0 {
			why := fmt.Sprintf("it rolls component %s, which no consumer that was asked for needs", d.Component)
			if slices.Contains(sel.Disruptions, d.Name) {
				return p, nil, nil, fmt.Errorf("disruption %s: %s: want one of %s", d.Name, why, strings.Join(d.Consumers, ", "))
			}
			notRun = append(notRun, NotRun{cell.Strategy, cell.Disruption, why})
		}
		for _, group := range groups {
			own = append(own, part{group, []Cell{cell}})
		}
	}
	if len(common) > 0 {
		for _, group := range selected {
			parts = append(parts, part{group, common})
		}
	}
	return p, append(parts, own...), notRun, nil
}

// needs says whether a consumer of the group needs a component; of none, every group has what it needs.
func (g Group) needs(component string) bool {
	return component == "" ||
		slices.ContainsFunc(g.Lanes, func(l Lane) bool { return l.Consumer.Component == component }) ||
		slices.ContainsFunc(g.Watched, func(c fixtures.Consumer) bool { return c.Component == component })
}

// join appends the scenarios of a part. Of the undisturbed control of a group, which comes first, one
// is enough.
func join(list, more []Scenario) []Scenario {
	if slices.ContainsFunc(list, func(s Scenario) bool { return s.Path() == more[0].Path() }) {
		more = more[1:]
	}
	return append(list, more...)
}

// nftables is the mode of kube-proxy that isn't its default on Linux.
const nftables = "nftables"

func (c Catalogue) selectIn(group Group, cells []Cell, p Profile, sel Selection) ([]Scenario, error) {
	control, err := c.In(group, controlStrategy, controlDisruption)
	if err != nil {
		return nil, err
	}
	list := []Scenario{control}
	var disrupted []string // that Longer runs under
	for _, cell := range cells {
		s, err := c.In(group, cell.Strategy, cell.Disruption)
		if err == nil && len(cell.Lanes) > 0 && len(sel.Lanes)+len(sel.Consumers) == 0 {
			s, err = s.Only(cell.Lanes)
		}
		if err == nil && sel.Delay > 0 {
			s, err = s.WithDelay(sel.Delay)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, s)
		if cell.Strategy == p.Longer && s.Disruption.Scope != ScopeNone { // else no delay matters
			disrupted = append(disrupted, cell.Disruption)
		}
		if p.AA {
			again := s
			again.SameAs = s.Strategy.Name
			again.Strategy.Name += againSuffix
			list = append(list, again)
		}
	}
	if len(disrupted) == 0 || sel.Delay > 0 {
		return list, nil
	}
	for _, delay := range longer(group, c.strategies[p.Longer].ServesFor(), cmp.Or(sel.MinSync, kindMinSync)) {
		for _, disruption := range disrupted {
			s, err := c.In(group, p.Longer, disruption)
			if err == nil {
				s, err = s.WithDelay(delay)
			}
			if err != nil {
				return nil, err
			}
			s.Strategy.Name = fmt.Sprintf("%s-%.0fs", p.Longer, delay.Seconds())
			list = append(list, s)
		}
	}
	return list, nil
}

// kindMinSync is the minimum sync period of kube-proxy in a kind cluster.
const kindMinSync = time.Second

// longer are the delays from which consumers of the group hold promises, in whole seconds, as far as
// they are longer than a strategy's own, with which their last arrivals would all be censored.
func longer(group Group, own, minSync time.Duration) []time.Duration {
	consumers := slices.Clone(group.Watched)
	for _, l := range group.Lanes {
		consumers = append(consumers, l.Consumer)
	}
	var out []time.Duration
	for _, consumer := range consumers {
		from, why := consumer.HoldsFrom.At(minSync)
		from = (from + time.Second - 1).Truncate(time.Second)
		if why == "" && from > own && !slices.Contains(out, from) {
			out = append(out, from)
		}
	}
	slices.Sort(out)
	return out
}

func firstNotEmpty(lists ...[]string) []string {
	for _, list := range lists {
		if len(list) > 0 {
			return list
		}
	}
	return nil
}

// Run is one of several runs of the same scenario.
type Run struct {
	Scenario
	Repeat int  // from 1
	Series bool // others of the same scenario are made as well: each has a place of its own
}

// Interleave repeats the scenarios n times, every second round backwards (A B, B A, A B …), so that
// a slow drift of the machine falls on all alike.
func Interleave(list []Scenario, n int) []Run {
	var runs []Run
	for round := 1; round <= n; round++ {
		order := slices.Clone(list)
		if round%2 == 0 {
			slices.Reverse(order)
		}
		for _, s := range order {
			runs = append(runs, Run{Scenario: s, Repeat: round, Series: n > 1})
		}
	}
	return runs
}

func disruptionNamed(name string) (Disruption, error) {
	return findNamed("disruption", name, Disruptions(), func(d Disruption) string { return d.Name })
}

func findNamed[T any](what, name string, list []T, nameOf func(T) string) (T, error) {
	var names []string
	for _, item := range list {
		if nameOf(item) == name {
			return item, nil
		}
		names = append(names, nameOf(item))
	}
	var zero T
	return zero, unknown(what, name, names)
}

func unknown(what, name string, known []string) error {
	return fmt.Errorf("unknown %s %q: want one of %s", what, name, strings.Join(known, ", "))
}
