// Package timeline holds the facts of a run: its declaration, every request that was planned, and
// every cluster event that was seen, all on one clock. Package verdict says what they mean, so that
// a stored timeline can be judged again, by other rules, without a cluster.
//
// # What is recorded
//
// Everything is recorded first, and judged later:
//
//	Spec     what the run was declared to be: strategy, disruption, lanes, and what each is held to
//	Lanes    one record of 56 bytes per planned request: when it was due, how late it left, how it
//	         ended (one cause), its attempts on the wire, its local port, the Pod that answered
//	Events   changes of Pods, EndpointSlices and Nodes; the app's own life; sandboxes, containers and
//	         their processes
//	Routes   whom kube-proxy chose for each new connection
//	Forwards what each proxy passed on, to whom, and how often: one record of 32 bytes per request, or
//	         per connection where the proxy reads no requests
//	Served   how many requests each Pod says it has answered, and which it had begun
//	Held     each connection that a client held, as the client has it (in Lanes) and as its Pod has it
//	Tasks    each time that a Pod had a long task, as the queue has it (in Senders) and as the Pod has it
//	Senders  the processes that sent load, each with its clock and the pressure on its CPUs
//	Scrapes  when Prometheus asked each Pod, and whether it got an answer
//	Sources  where events came from, each with its clock and what it did not tell
//	Errors   what went wrong with the measurement itself
//	Retry    why this run was made a second time, if it was
//
// A request is ok if its answer was complete and as expected. Any other that was sent is dropped,
// with one cause. One that is ok after more than one attempt was dropped once and sent again by the
// HTTP client itself: masked.
//
// # One clock
//
// Every instant is an offset from the start of the run, by the harness' monotonic clock. What
// others tell by their own clocks is turned into that, and the uncertainty is kept (Comparison).
//
//	requests from within the cluster   each worker's clock, compared before and after the load
//	requests from outside              the client's clock, compared likewise
//	changes of Pods and endpoints      the API server's audit log, as an interval (Event.Width) with
//	                                   the name of who asked (Event.By); else the watch's delivery
//	the app's life                     the app's log, by its node's clock
//	sandboxes, containers, processes   containerd's events, by its node's clock
//	kube-proxy's choices               conntrack -E on each node, by its node's clock
//	what a proxy passed on             its access log, by its node's clock
//	Prometheus' scrapes                its own series up, by its node's clock
//
// # Files
//
// Save writes four files, each whole or not at all: timeline.json (all but what follows),
// timeline.csv.gz (one line per request), routes.csv.gz and forwards.csv.gz, the last two only where
// there is something in them. Durations are in nanoseconds in the JSON and in microseconds in the
// CSV. Load refuses a folder with another Schema, and one in which something is missing or cut off.
package timeline
