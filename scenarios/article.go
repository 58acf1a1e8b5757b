package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// ArticlePart is a part of the article: a title, and what is stated under it.
type ArticlePart struct {
	Title      string
	Statements []Statement
}

// Statement is one thing that the article says about Pods, their endpoints and their shutdown.
// Nothing here says whether it holds: a statement names the kind of figure that decides it, and
// package report reads that from reports.
type Statement struct {
	Says      string // in a sentence of our own
	DecidedBy string // in a few words
	Figure    Figure
	// Class is that of the requests that the figure counts; empty where it counts none.
	Class Class
	// Along is what the answer may depend on: the figure is read for each of these by itself.
	Along Along
	// Strategies, Disruptions and Consumers are whose figures count; none: all that were measured.
	Strategies, Disruptions, Consumers []string
	// Beside is the consumer that others are compared with, where the figure compares.
	Beside string
	// Limit is the length that the statement names, where it names one.
	Limit time.Duration
	// Profile measures it, where it takes more than single strategies under single disruptions.
	Profile string
}

// Along is what the answer to a statement may depend on.
type Along string

// What an answer may depend on, in the words of reports.
const (
	AlongStrategy   Along = "strategy"
	AlongDisruption Along = "disruption"
	AlongConsumer   Along = "consumer"
	AlongClass      Along = "connection"
)

// Figure is a kind of figure that decides a statement.
type Figure string

// The kinds of figures. Each says what has to be seen for a statement to hold.
const (
	// Of requests.
	DropsSome        Figure = "drops some"          // requests of the class are dropped
	DropsNone        Figure = "drops none"          // none is
	DropsSomeAtStart Figure = "drops some at start" // requests are dropped by Pods that don't listen yet
	DropsNoneAtStart Figure = "drops none at start" // none is
	ArrivalsEnd      Figure = "arrivals end"        // requests stop coming before the Pod's own end

	// Of consumers.
	SafeWithin   Figure = "safe within"   // Limit is a safe delay
	AsFastAs     Figure = "as fast as"    // the safe delay is about that of the consumer beside
	OutageUnlike Figure = "outage unlike" // a single replica's end is an outage, and none for the consumer beside

	// Of Pods.
	DeletesPods    Figure = "deletes Pods"    // Pods are deleted
	DeletesNoPod   Figure = "deletes no Pod"  // none is
	ExceedsSurge   Figure = "exceeds surge"   // there are more Pods at once than the replicas and one
	DoublesPods    Figure = "doubles Pods"    // there are twice as many Pods at once as replicas, or more
	CostsMoreEach  Figure = "costs more each" // each strategy costs more Pod-seconds than the one before it
	KilledAtGrace  Figure = "killed at grace" // the process is killed when the grace period is over
	CreatesDeletes Figure = "creates deletes" // each Pod is deleted before a new one is ready in its place

	// Of the order and time of steps.
	PollsForPods       Figure = "polls for Pods"       // the kubelet's first write is as late as a poll
	ContainerFirst     Figure = "container first"      // container, network, volumes
	AddressAfterReady  Figure = "address after ready"  // readiness, then the address in the status
	EndpointAfterReady Figure = "endpoint after ready" // readiness, then the endpoint
	RemovedAtOnce      Figure = "removed at once"      // the endpoint leaves the slice when the Pod is deleted
	EitherFirst        Figure = "either first"         // in some Pods the endpoint changes first, in others SIGTERM comes
	VolumesFirst       Figure = "volumes first"        // volumes, network, container
	PreStopFirst       Figure = "preStop first"        // the end of preStop, then SIGTERM

	// Of objects.
	OneObject        Figure = "one object"        // a Service's endpoints are in one object
	AddressAndPort   Figure = "address and port"  // an endpoint is a Pod's IP and the port that its Service targets
	EndpointsRefresh Figure = "endpoints refresh" // endpoints change when Pods come, go or change labels

	// Of work that outlives a grace period.
	EndsConnections Figure = "ends connections" // Pods end connections that clients hold, with or without a word
	CutsTasks       Figure = "cuts tasks"       // tasks are cut that Pods work on
	KeepsWork       Figure = "keeps work"       // no such connection and no task is ended before its time
	LooksAway       Figure = "looks away"       // who only watches looks at no Pod in the second half of its delay
)

// consumersProfile is the profile that compares consumers.
const consumersProfile = "consumers"

// Command is what shows the statement on a cluster. What needs more images than the nodes', or lanes of its own,
// has a target of its own.
func (s Statement) Command() string {
	about := func(d Disruption) bool { return slices.Contains(s.Disruptions, d.Name) }
	switch {
	case slices.ContainsFunc(argo(), about):
		return "make argo"
	case slices.ContainsFunc(kedas(), about):
		return "make keda"
	case slices.ContainsFunc(Disruptions(), func(d Disruption) bool { return about(d) && d.Component != "" }):
		return "make disruptions"
	case s.Profile == consumersProfile && len(s.Consumers) > 0:
		return "make consumers CONSUMERS=" + strings.Join(s.Consumers, ",")
	case s.Profile == consumersProfile:
		return "make consumers"
	}
	flags := "-strategies " + strings.Join(s.Strategies, ",")
	if !slices.Equal(s.Disruptions, usual()) {
		flags += " -disruptions " + strings.Join(s.Disruptions, ",")
	}
	target := "e2e"
	if s.Profile == longWork {
		target = longWork
	}
	return fmt.Sprintf("make %s GO_TEST_FLAGS='%s'", target, flags)
}

// Article is what the article states, part by part.
func Article() []ArticlePart {
	return []ArticlePart{
		{"How a Pod comes into a Service", startStatements()},
		{"Who follows the endpoints", consumerStatements()},
		{"How a Pod goes", endStatements()},
		{"The grace period", graceStatements()},
		{"Rollouts, and what else ends Pods", rolloutStatements()},
		{"Work that outlives a grace period", longWorkStatements()},
	}
}

// What most statements are about.
var (
	oneRollout   = []string{"rolling-update"}
	oneStrategy  = []string{"prestop-sleep"}
	throughProxy = []string{"service"} // new connections by kube-proxy, from a Pod
)

func startStatements() []Statement {
	return []Statement{
		{
			Says:      "The kubelet polls the API server for Pods of its node.",
			DecidedBy: "time from binding to the kubelet's first write", Figure: PollsForPods,
			Along: AlongStrategy, Strategies: oneStrategy, Disruptions: oneRollout,
		},
		{
			Says:      "First the container is made, then its network, then its volumes.",
			DecidedBy: "order of the runtime's steps", Figure: ContainerFirst,
			Along: AlongStrategy, Strategies: oneStrategy, Disruptions: oneRollout,
		},
		{
			Says:      "The Pod's IP address is reported once the Pod is ready.",
			DecidedBy: "order of readiness and address", Figure: AddressAfterReady,
			Along: AlongStrategy, Strategies: oneStrategy, Disruptions: oneRollout,
		},
		{
			Says:      "A Pod becomes an endpoint once it is ready.",
			DecidedBy: "order of readiness and endpoint", Figure: EndpointAfterReady,
			Along: AlongStrategy, Strategies: oneStrategy, Disruptions: oneRollout,
		},
		{
			Says:      "With a readiness probe, a Pod gets no request before it can answer.",
			DecidedBy: "requests dropped by Pods that don't listen yet", Figure: DropsNoneAtStart, Class: ClassNew,
			Along: AlongStrategy, Strategies: []string{"shutdown-at-once", "in-app-delay", "prestop-sleep"},
			Disruptions: usual(), Consumers: throughProxy,
		},
		{
			Says:      "Without a readiness probe, a Pod gets requests before it can answer.",
			DecidedBy: "requests dropped by Pods that don't listen yet", Figure: DropsSomeAtStart, Class: ClassNew,
			Along: AlongStrategy, Strategies: []string{"no-readiness-probe"}, Disruptions: usual(), Consumers: throughProxy,
		},
		{
			Says:      "Each Service has one Endpoints object.",
			DecidedBy: "EndpointSlices and Endpoints objects with a Service's endpoints", Figure: OneObject,
			Along: AlongStrategy, Strategies: oneStrategy, Disruptions: oneRollout,
		},
		{
			Says:      "An endpoint is a Pod's IP address and the Service's targetPort.",
			DecidedBy: "address of each endpoint, and port of its slice", Figure: AddressAndPort,
			Along: AlongStrategy, Strategies: oneStrategy, Disruptions: oneRollout,
		},
		{
			Says:      "Endpoints change whenever a Pod comes, goes, or gets other labels.",
			DecidedBy: "changes of endpoints after each of these", Figure: EndpointsRefresh,
			Along: AlongDisruption, Strategies: oneStrategy, Disruptions: []string{"rolling-update", "label-change"},
		},
	}
}

func consumerStatements() []Statement {
	return []Statement{
		{
			Says:      "Everybody who follows endpoints learns of a removal as fast as kube-proxy.",
			DecidedBy: "safe delay, at most a quarter or half a second longer than kube-proxy's", Figure: AsFastAs,
			Along: AlongConsumer, Disruptions: usual(), Beside: "service", Profile: consumersProfile,
		},
		{
			Says:      "An Ingress controller sends to Pods itself, and not through the Service.",
			DecidedBy: "outage while a single replica ends, where kube-proxy has none", Figure: OutageUnlike,
			Along: AlongConsumer, Disruptions: usual(), Consumers: []string{"ingress", "gateway", "ingress-nativelb"},
			Beside: "service", Profile: consumersProfile,
		},
		{
			Says:      "DNS forgets a Pod as soon as it is deleted: within 2 s its clients are elsewhere.",
			DecidedBy: "safe delay", Figure: SafeWithin, Limit: 2 * time.Second,
			Along: AlongConsumer, Disruptions: usual(), Consumers: []string{"dns", "dns-cached", "dns-grpc"},
			Profile: consumersProfile,
		},
		{
			Says:      "After 15 s everybody has learned that the Pod goes.",
			DecidedBy: "safe delay", Figure: SafeWithin, Limit: 15 * time.Second,
			Along: AlongConsumer, Disruptions: usual(), Profile: consumersProfile,
		},
	}
}

func endStatements() []Statement {
	waits := []string{"in-app-delay", "prestop-sleep"}
	return []Statement{
		{
			Says:      "On deletion the endpoint is removed at once, whatever the readiness probe says.",
			DecidedBy: "state of the endpoint between deletion and end", Figure: RemovedAtOnce,
			Along: AlongStrategy, Strategies: oneStrategy, Disruptions: oneRollout,
		},
		{
			Says:      "Removing the endpoint and stopping the container start together; either may come first.",
			DecidedBy: "order of endpoint and SIGTERM, Pod by Pod", Figure: EitherFirst,
			Along: AlongStrategy, Strategies: []string{"shutdown-at-once"}, Disruptions: usual(),
		},
		{
			Says:      "If the Pod ends before everybody knows, requests are dropped.",
			DecidedBy: "requests dropped on new connections", Figure: DropsSome, Class: ClassNew,
			Along: AlongStrategy, Strategies: []string{"no-handler"}, Disruptions: usual(), Consumers: throughProxy,
		},
		{
			Says:      "Shutting down gracefully on SIGTERM is not enough.",
			DecidedBy: "requests dropped on new connections", Figure: DropsSome, Class: ClassNew,
			Along: AlongStrategy, Strategies: []string{"shutdown-at-once"}, Disruptions: usual(), Consumers: throughProxy,
		},
		{
			Says:      "It does let requests end that have begun.",
			DecidedBy: "requests dropped in flight", Figure: DropsNone, Class: ClassInFlight,
			Along: AlongStrategy, Strategies: []string{"shutdown-at-once"}, Disruptions: usual(), Consumers: throughProxy,
		},
		{
			Says:      "To wait 15 s before that is enough, in the app as in any preStop hook.",
			DecidedBy: "requests dropped on new connections", Figure: DropsNone, Class: ClassNew, Along: AlongStrategy,
			Strategies:  []string{"in-app-delay", "prestop-sleep", "prestop-exec-sleep", "prestop-http"},
			Disruptions: usual(), Consumers: throughProxy,
		},
		{
			Says:      "Less and less traffic arrives during the wait, and at last none.",
			DecidedBy: "last arrival at each Pod, on new and on kept-alive connections", Figure: ArrivalsEnd,
			Along: AlongClass, Strategies: waits, Disruptions: usual(), Consumers: throughProxy,
		},
		{
			Says:      "The wait drains kept-alive connections, too.",
			DecidedBy: "last arrival at each Pod on kept-alive connections", Figure: ArrivalsEnd, Class: ClassKeptAlive,
			Along: AlongStrategy, Strategies: append(slices.Clone(waits), "in-app-delay-close"), Disruptions: usual(),
			Consumers: throughProxy,
		},
		{
			Says:      "Volumes, network and container are taken away in this order.",
			DecidedBy: "order in which container and network end; volumes have no source", Figure: VolumesFirst,
			Along: AlongStrategy, Strategies: oneStrategy, Disruptions: oneRollout,
		},
		{
			Says:      "When its liveness probe fails, a Pod is made anew.",
			DecidedBy: "Pods deleted", Figure: DeletesPods,
			Along: AlongStrategy, Strategies: []string{"shutdown-at-once", "prestop-sleep"},
			Disruptions: []string{"liveness-restart"},
		},
		{
			Says:      "A Pod with another label leaves the Service and runs on.",
			DecidedBy: "Pods deleted", Figure: DeletesNoPod,
			Along: AlongStrategy, Strategies: []string{"shutdown-at-once", "prestop-sleep"},
			Disruptions: []string{"label-change"},
		},
		{
			Says:      "A Pod that runs on when it leaves the Service drops nothing.",
			DecidedBy: "requests dropped on new connections", Figure: DropsNone, Class: ClassNew,
			Along: AlongDisruption, Strategies: []string{"shutdown-at-once"},
			Disruptions: []string{"label-change", "readiness-lost", "blue-green"}, Consumers: throughProxy,
		},
	}
}

func graceStatements() []Statement {
	return []Statement{
		{
			Says:      "preStop runs first, and SIGTERM comes when it has ended.",
			DecidedBy: "order of preStop and SIGTERM", Figure: PreStopFirst,
			Along: AlongStrategy, Strategies: []string{"prestop-http"}, Disruptions: oneRollout,
		},
		{
			Says:      "SIGKILL ends the grace period, of which preStop is a part.",
			DecidedBy: "time from deletion to the end of the process", Figure: KilledAtGrace, Along: AlongStrategy,
			Strategies:  []string{"prestop-ignore-sigterm", "prestop-ignore-sigterm-45s"}, // who is killed
			Disruptions: oneRollout,
		},
		{
			Says:      "A wait of 25 s and 2 s of work still fit into 30 s.",
			DecidedBy: "requests dropped in flight", Figure: DropsNone, Class: ClassInFlight,
			Along: AlongStrategy, Strategies: []string{"prestop-25-of-30s"}, Disruptions: usual(), Consumers: throughProxy,
		},
		{
			Says:      "A preStop command that the image lacks is no wait at all.",
			DecidedBy: "requests dropped on new connections", Figure: DropsSome, Class: ClassNew, Along: AlongStrategy,
			Strategies: []string{"prestop-command-missing"}, Disruptions: usual(), Consumers: throughProxy,
		},
		{
			Says:      "Without a grace period no wait helps.",
			DecidedBy: "requests dropped in flight", Figure: DropsSome, Class: ClassInFlight,
			Along: AlongStrategy, Strategies: oneStrategy, Disruptions: []string{"pod-deletion-grace-zero"},
			Consumers: throughProxy,
		},
	}
}

func rolloutStatements() []Statement {
	return []Statement{
		{
			Says:      "A rolling update creates a Pod, destroys one, and then waits for readiness.",
			DecidedBy: "Pods deleted before another is ready", Figure: CreatesDeletes,
			Along: AlongDisruption, Strategies: oneStrategy,
			Disruptions: []string{"rolling-update", "rolling-update-unavailable", "rolling-update-quarter"},
		},
		{
			Says:      "A rolling update doesn't wait until old Pods have ended.",
			DecidedBy: "most Pods at once, beside replicas and surge", Figure: ExceedsSurge,
			Along: AlongStrategy, Strategies: oneStrategy, Disruptions: oneRollout,
		},
		{
			Says:      "Ten replicas that take 20 s to stop are twenty Pods for a while.",
			DecidedBy: "most Pods at once", Figure: DoublesPods,
			Along: AlongStrategy, Strategies: []string{"ten-replicas-stop-20s"}, Disruptions: oneRollout,
		},
		{
			Says:      "The longer Pods take to stop, the more Pods there are.",
			DecidedBy: "Pod-seconds beyond the replicas", Figure: CostsMoreEach, Along: AlongStrategy,
			Strategies: []string{"shutdown-at-once", "prestop-sleep", "ignore-sigterm"}, Disruptions: oneRollout,
		},
		{
			Says:      "With a wait, a rollout drops nothing, however many Pods it replaces at once.",
			DecidedBy: "requests dropped on new connections", Figure: DropsNone, Class: ClassNew,
			Along: AlongDisruption, Strategies: oneStrategy, Consumers: throughProxy,
			Disruptions: []string{
				"rolling-update", "rolling-update-unavailable", "rolling-update-quarter", "rolling-update-at-once", "rollback",
			},
		},
		{
			Says:      "Whatever ends a Pod, the same wait is enough.",
			DecidedBy: "requests dropped on new connections", Figure: DropsNone, Class: ClassNew,
			Along: AlongDisruption, Strategies: oneStrategy, Consumers: throughProxy,
			Disruptions: []string{"pod-deletion", "scale-down", "eviction", "active-deadline"},
		},
		{
			Says:      "So it is when a node is drained, removed by an autoscaler, or shut down.",
			DecidedBy: "requests dropped on new connections", Figure: DropsNone, Class: ClassNew,
			Along: AlongDisruption, Strategies: oneStrategy, Consumers: throughProxy,
			Disruptions: []string{"node-drain", "autoscaler-removal", "node-shutdown"},
		},
		{
			Says:      "When a node is lost at once, no wait helps.",
			DecidedBy: "requests dropped on new connections", Figure: DropsSome, Class: ClassNew,
			Along: AlongStrategy, Strategies: []string{"shutdown-at-once", "prestop-sleep"},
			Disruptions: []string{"node-lost"}, Consumers: throughProxy,
		},
		{
			Says:      "The 30 s that Argo Rollouts waits before it scales down are enough.",
			DecidedBy: "requests dropped on new connections", Figure: DropsNone, Class: ClassNew,
			Along: AlongStrategy, Strategies: []string{"shutdown-at-once"},
			Disruptions: []string{"argo-blue-green"}, Consumers: throughProxy,
		},
	}
}

func longWorkStatements() []Statement {
	watchers := []string{"prometheus-endpoints", "prometheus-endpointslice"}
	const cut = "connections that Pods have ended, tasks that were cut or handed back"
	return []Statement{
		{
			Says:      "Each release interrupts WebSockets and streams.",
			DecidedBy: "connections that Pods have ended, and not their clients", Figure: EndsConnections, Along: AlongStrategy,
			Strategies:  []string{"shutdown-at-once", "in-app-delay", "held-close", "held-spread"},
			Disruptions: oneRollout, Profile: longWork,
		},
		{
			Says:      "A task that takes longer than the grace period is cut.",
			DecidedBy: "tasks that were cut", Figure: CutsTasks, Along: AlongStrategy,
			Strategies: []string{"tasks-default-grace"}, Disruptions: oneRollout, Profile: longWork,
		},
		{
			Says:      "A long grace period lets such work end.",
			DecidedBy: cut, Figure: KeepsWork, Along: AlongStrategy,
			Strategies: []string{longGrace, "tasks-long-grace"}, Disruptions: oneRollout, Profile: longWork,
		},
		{
			Says:      "While a Pod ends its work nobody scrapes it: its metrics are lost.",
			DecidedBy: "last scrape of Pods that serve on after their deletion, in the first half of that time",
			Figure:    LooksAway, Along: AlongConsumer, Consumers: watchers, Disruptions: usual(),
			Profile: consumersProfile,
		},
		{
			Says:      "With a Deployment for each release old Pods end their work undisturbed.",
			DecidedBy: cut, Figure: KeepsWork, Along: AlongDisruption,
			Strategies:  []string{"shutdown-at-once", "tasks-default-grace"},
			Disruptions: []string{"rainbow", "rainbow-back"}, Profile: longWork,
		},
		{
			Says:      "An autoscaler can end an old release as soon as it has none left.",
			DecidedBy: cut, Figure: KeepsWork, Along: AlongDisruption, Strategies: []string{"shutdown-at-once"},
			Disruptions: []string{"rainbow-keda", "rainbow-keda-restart"},
		},
		{
			Says:      "As clients leave, an old release can be scaled down Pod by Pod.",
			DecidedBy: cut, Figure: KeepsWork, Along: AlongDisruption, Strategies: []string{"shutdown-at-once"},
			Disruptions: []string{"scale-down-gradually", "scale-down-by-cost", "scale-down-idle-first"}, Profile: longWork,
		},
	}
}

// Guess is a delay that is in use between a Pod's deletion and its shutdown.
type Guess struct {
	Delay time.Duration
	Who   string // recommends or uses it
}

// Guesses are the delays that are in use, the shortest first, as projects and their users wrote them
// down.
func Guesses() []Guess {
	return []Guess{
		{0, "graceful shutdown alone; Contour's shutdown manager"},
		{1 * time.Second, "oops#92 (“for a second or two the ingress still routes”)"},
		{2 * time.Second, "oops#92"},
		{3 * time.Second, "kubernetes#43576 (“sleep 3 is generally sufficient”)"},
		{5 * time.Second, "firebolt#254, sglang#39016, CoreDNS' lameduck"},
		{10 * time.Second, "agentserver#107, ol-infrastructure#5548, PostHog#543, Spring Boot, ingress-nginx"},
		{15 * time.Second, "llm-d#2444, the article"},
		{20 * time.Second, "the article's example of Pods that double"},
		{25 * time.Second, "what 30 s of grace leave for it"},
		{30 * time.Second, "terrapod#222, Argo Rollouts (“to ensure IP table propagation”), Knative's queue-proxy"},
		{60 * time.Second, "carto#942"},
		{120 * time.Second, "dust#30207, users of AWS load balancers"},
	}
}
