// Package verdict says what a timeline means. It is pure: the same timeline gives the same verdict,
// on any machine and at any time. It imports timeline and nothing else of this module, so that a
// stored run is judged like one of today.
//
// # Outcomes
//
// Judge gives each run one of four outcomes. The weightiest of the runs is that of the suite.
//
//	infrastructure  the cluster, the API server, a worker or the disk broke down: not measured
//	inconclusive    the run proves nothing: it is not valid, a control failed, somebody stopped it
//	fail            the run is valid, and a lane dropped what must not be dropped
//	pass            the run is valid, and every lane kept its promise
//
// A pass is not the same as no dropped request: a strategy that promises nothing passes with any
// number. Reports tell the two apart.
//
// # Validity
//
// A run has to be valid before it is judged. Each condition is one function in validity.go, and has
// its own reason in the report:
//
//	the run went through all of its phases              lead, disruption, termination, tail
//	all lanes are on record, at the declared rate       all
//	every planned request was sent                      all
//	the ledger balances                                 one record per planned request
//	requests left on time, also during the disruption   lag p99 at most 200 ms, or 3/rate if more
//	the sender never stalled during the disruption      gap at most 1/rate more than that
//	there was enough CPU where load was sent from       tasks waited for one in at most 95 % of
//	                                                    the time (Linux PSI)
//	nothing was dropped before the disruption began     none
//	every Pod in scope was replaced, or restarted …     all
//	every new Pod answered a request                    all
//	the watch was never interrupted                     no gap
//	consumers that are only watched were so throughout  no scrape missing for 3 s
//	the client's ledger and the Pods' ledgers agree     no request apart
//	and so do those of held connections                 each on both sides, at most 1 % told differently
//	long tasks were under way when it began             one, where Pods take tasks
//	the ledgers of queue and Pods agree                 each attempt, and each has an end
//	the access log of a proxy has a line of each lane   at least one, if the lane was answered
//	clocks of senders are known, and held               known to 3/rate; drift at most twice what
//	                                                    they are known to
//	the load outlived the last Pod                      by a client's timeout
//
// Two controls have to come out as they are known to: without a disruption nothing may be dropped,
// and without a SIGTERM handler something must be. If a control fails, no other run of the suite
// passes. A run that is inconclusive for the machine's sake (too little CPU, a sender that was late
// or stalled) is made again once; Verdict.Retry says why the first attempt did not count.
//
// # What a lane is held to
//
// Every dropped request has one class: new connection, kept-alive connection, or in flight when its
// process ended: as the Pod's life has it, or where no node can be asked which Pod that was, as the client
// has it (cutUnseen). For each class the timeline says what was promised (clean, drops, measured) and who
// said so: package scenarios works that out, in Scenario.HeldTo.
//
// Late answers are not dropped, and are counted apart (Lane.Late): those that came more than a
// second after the planned instant and the work that was asked for. A Service without endpoints
// makes its clients wait for a SYN to be sent again instead of failing; counts of dropped requests
// hide that. Such a request may have gone to a Pod that was gone, or to a node that had none: where it
// was sent later than the last arrival, the safe delay is a lower bound.
//
// # Attribution: which Pod
//
// Every dropped request is charged to one Pod and to one phase of that Pod's life, or it says why
// not: never to two, and never to whoever was near in time. Five kinds of evidence name the Pod,
// each only for the routings that it holds for, and only where the consumer declares it. The first
// one that applies counts:
//
//	answer          the Pod named itself in an answer that was bad or incomplete
//	remote-address  the client chose the Pod itself, from DNS, and dialled its address
//	connection      the Pod answered the request before on the same connection, and a connection
//	                stays with its Pod
//	access-log      the proxy wrote down which address it had sent the request to
//	conntrack       kube-proxy's choice for the request's own local port, as conntrack -E on the
//	                node that was asked saw it. The port is known even of a connection that was
//	                refused: the client binds before it connects
//
// # Held connections
//
// A lane of class held has clients that hold a connection each. Its requests are messages on them, and
// are counted and charged as all others are: a Pod has named itself in the handshake. Beside that each
// connection is on record, on both sides, and both say who ended it:
//
//	the client says   the Pod says                   it counts as
//	left              client, or it was killed       left
//	…                 announced, both, cut, exit     unattributed: which came first can't be told
//	unknown           client                         left: the Pod has heard the client's word
//	…                 anything else                  unattributed: nobody has confirmed the client's word
//	announced         announced, or it was killed    announced
//	cut, silent       cut, exit, or it was killed    cut
//	…                 client, gone                   cut, in no phase: somebody between has done it
//	announced, cut    the opposite                   unattributed; of more than 1 % the run is inconclusive
//
// On a stream of gRPC, GOAWAY is the server's word from then on, however the connection ends: what
// GracefulStop does to streams that don't end by themselves is to announce their ends and cut them later.
//
// A connection is charged to the phase of its Pod's life in which it ended, by the rules for requests: as
// one that was sent when it was opened. How long its client was without is the time to its next
// connection; what clients wait for meanwhile is messages that are late, or dropped.
//
// # Long tasks
//
// Pods may take long tasks from a queue that outlives them, beside the requests that they answer. Each
// time that a task was given out is on record, by the queue and by the Pod, and both say how it ended:
//
//	the queue says   the Pod says                      it counts as
//	done             done, or it was killed            done
//	handed-back      handed-back, or it was killed     handed back
//	expired          nothing: its process had ended    cut
//	…                lost, or nothing                  lapsed: the lease ran out of a Pod that lived
//	expired, late    done                              lapsed, and done: with another's, done twice
//
// Any other pair makes the run inconclusive. An attempt is charged to its Pod, and to the phase of its
// life in which it ended: of one that was cut that is the end of its process, and not of its lease.
//
// # Behind a proxy
//
// A proxy that chooses a Pod for each request (routing per-request) makes a client's connection say
// nothing about the Pod: who answered before on it is nobody's evidence. Nor is an answer of its
// own: a 502 without the app's header is the proxy's word. Its access log has a line of each request,
// which lane and number join with the request, and the address that it was sent to last. Of what a
// client sent again there are several lines: that of the connection which failed counts. A request
// that the proxy sent to nobody is charged to no-endpoint if none of the Service's endpoints was
// ready in the 40 s before, and is unattributed if one was.
//
// A load balancer keeps a connection with its Pod, as kube-proxy does, so that an earlier answer on
// the connection counts. Of the first request on it the Pod is found by a chain, and a link that is
// broken leaves the request unattributed, with that link as the reason:
//
//	client's port ─▶ the balancer's log: node, and the port of its own connection there ─▶ connection
//	tracking of that node: the Pod for that port
//
// The log has a connection when the balancer's own has been made, or has failed (HAProxy's option
// logasap); dated by when it was taken.
//
// What a proxy sends again is seen as far as its log has it, and counted apart (Lane.ProxyMasked):
// it breaks no promise, as sending again is what this consumer does for its clients. The log has the
// last attempt only, which is dated by when the request failed. So an earlier attempt counts neither for
// the Pod that dropped it nor for its last arrival, and the consumer's safe delay is a lower bound. What
// net/http in Traefik sends again, a request without a body on a connection that the Pod has closed,
// nobody tells: lanes through it POST, but for replayable.
//
// A line that is missing leaves its request unattributed, and the report says that the log is not whole
// (Verdict.Unseen). A lane that was answered, and of which the log has no line at all, is not believed.
//
// Where a consumer says that nodes keep to their own Pods (LaneSpec.Local), connection tracking has
// to show it: a Pod of another node, or no choice at all, makes the lane inconclusive.
//
// # Attribution: which phase
//
// The phase goes by what was first seen of the Pod's life: its deletion and its endpoint (API
// server), SIGTERM, listener closed and exit (the app's log), the end of a process that says
// nothing (container runtime). Nothing is put in the place of what was not seen.
//
//	start-up         before the Pod listened
//	before-deletion  while nothing had been done to the Pod
//	prestop          from its deletion to SIGTERM
//	terminating      from SIGTERM until its listener was closed
//	listener-closed  from then until its process ended
//	cut-at-exit      in flight when the process ended
//	after-exit       sent to it when its process had ended, and a node still routed there
//	no-endpoint      when the Service, or a node that keeps to its own Pods, had no endpoint: kube-proxy
//	                 or the proxy chose nobody
//	unattributed     to no one, with the reason
//
// A container that is started again in place gives its Pod a second process, with a life of its own
// from its start: what comes between the end of one and the start of the next is after-exit, and then
// start-up. An answer of another app (cause wrong-app), which has got the address of a Pod that is
// gone, is charged to that Pod by the address, and not to the one that has answered.
//
// A node that is lost at once (node-lost) takes the processes of its Pods along: what was under way then
// is cut-at-exit, and what is sent to them later is after-exit, though nothing says so but the event. Such
// a Pod is deleted because it is gone, and nobody ends it: it counts as gone when it is deleted and is no
// endpoint any more, and it tells nothing of how long requests come to Pods that are to go.
//
// # An app that says nothing of itself
//
// An app that isn't the sample app (Spec.Target) names no Pod, keeps no ledger and has no log that is read.
// foreign.go says what stands in for each of its words. What that costs:
//
//	the Pod of an answer    found by the same evidence as that of a dropped request; unknown behind a proxy
//	                        without an access log, and where no node can be asked and no header names it
//	listener closed         known from the first refusal on. Within half a second before the end that the
//	                        runtime has on record, a refusal counts as after-exit
//	in flight               what was sent before the stop signal, or half a second before the end, and ended
//	                        with the process; after SIGKILL everything that did. What an app had begun and
//	                        given up before its end counts as its connection's class
//	start-up                up to the first answer: refusals alone show that it didn't listen
//	whether it was done     unknown of what was dropped, as there is no ledger: said, and no reason to doubt
//	                        a run. So is what counted as a right answer
//
// A connection that is kept may have been dialled long before its first request, as a spare one. Its Pod is
// that of the last choice for its port since that was free: a port belongs to one connection at a time, and
// the client's record has every connection that used it. To look back ten seconds only, as this package once
// did, left 3.4 % of what was dropped on such connections unattributed.
//
// TestStoredAsForeign takes the app's words out of recorded runs and holds the verdicts against each other:
// no request is charged to another Pod. TestAsForeign in folder e2e does so on a cluster.
//
// # Instants and clocks
//
// A deletion is dated by the API server's audit log, as an interval: the write happened between
// the arrival of the request and its answer. Times since a deletion count from the start of the
// interval, so that none is too short. A request that ended within the interval (or timed out,
// and was sent within it) belongs to before-deletion, unless the watch had told of the deletion.
// Where there is no audit log (a cluster that exists) the watch's own instant stands, which is
// some milliseconds late.
//
// Clocks are compared before they are relied on. Nodes of a kind cluster run on the kernel that the
// harness runs on, and have its clock. Others are asked, and a request that lies within their
// uncertainty of a mark is unattributed.
//
// # How it is known
//
// TestAttributionTruth holds attribution against the truth: Pods fail every n-th request on
// purpose, and write down which; each of those has to be charged to its Pod and phase, and no other
// request may be dropped. TestStoredRuns judges recorded runs of real clusters again, from
// testdata, and compares with the verdict that is kept beside each. TestDeletionInstants holds the
// instants of deletions against the harness' own question and the API server's answer. README.md in
// folder e2e says what else is held against the truth, and scenarios/RESULTS.md has the numbers.
//
// # Grace periods
//
// Of each Pod that was deleted with a grace period a verdict says when the app got SIGTERM, when its
// process ended and with which code, and whether the time of preStop was a part of the period: SIGKILL
// tells, where it comes (grace.go). That is what the kubelet did, and a finding: no run passes or fails
// by it.
//
// # The safe delay
//
// NewSafeDelay turns last arrivals (from a Pod's deletion to the last request that landed on it)
// into one recommended delay. An arrival that the Pod's own end cut off is a lower bound and counts
// for no recommendation. So is one after which requests found no endpoint, as on a node that keeps to
// its own Pods and that a load balancer goes on to ask: they would have come to the Pod. What n
// observations are worth is said with the number: with 95 % confidence no more than 1 − 0.05^(1/n)
// of all removals take longer than the greatest (Wilks 1941). Consumers counts rollouts instead of
// removals, as Pods of one rollout wait for the same updates.
//
// # How Pods come, and how they go
//
// Sequences turns the lifecycles of a run into two ways, each a list of steps from one start: in, from
// when the API server was asked to create the Pod; out, from when it was asked to delete it. Each step
// has one named source. One that was not seen of a Pod is counted as such, and is never 0. Which of two
// steps came first is said only where all that is known of both allows nothing else: a change that the
// audit log dated lies between a request and its answer, and what a node tells is as good as its clock.
// What a Pod's volumes do is not measured: the app's Pods have none.
//
// CountPods counts Pods over time. One that is terminating and still runs counts once, as terminating.
//
// # Releases
//
// Where several releases are there at the same time (a Deployment per release, rolling updates that come
// faster than Pods go), a verdict has each of them: when it was ready, when Services were told to select
// it and when another, when it was ended and gone, and what became of the connections that it held
// (releases.go). A Pod says by an annotation of its template which release it is of. One that was ended
// though it had work left is told as such: its time to drain was over.
//
// # What a zero is worth
//
// A zero is a claim about rollouts, not about requests: after n rollouts without a dropped request,
// up to 1 − 0.05^(1/n) of all rollouts may still drop some (95 %). Two strategies are compared
// rollout by rollout, never by pooled requests (compare.go).
package verdict
