package timeline

import "time"

// Event is something that happened in the cluster during a run.
type Event struct {
	At     time.Duration `json:"at"` // when it happened, as well as the Kind's source knows
	Kind   Kind          `json:"kind"`
	Pod    string        `json:"pod,omitempty"`
	UID    string        `json:"uid,omitempty"` // of the Pod: names come again, in a StatefulSet
	Node   string        `json:"node,omitempty"`
	IP     string        `json:"ip,omitempty"`
	Code   int           `json:"code,omitempty"` // exit code of a container
	Detail string        `json:"detail,omitempty"`
	// Grace is, of a deletion, the grace period that it granted: a length. 0 for none, and in runs
	// that were stored before it was kept.
	Grace time.Duration `json:"grace,omitempty"`
	// Version is the resourceVersion of the object, of what a watch has delivered: the audit log
	// knows the same change by it.
	Version string `json:"version,omitempty"`
	// SeenAfter is, of what a watch has delivered and the audit log has dated, how much later than
	// At the watch delivered it: a length, above zero.
	SeenAfter time.Duration `json:"seenAfter,omitempty"`
	// Width is, of what the audit log has dated, the length of the interval from At within which the
	// API server made the change: from the request's arrival to its answer. It is 0 in runs that were
	// stored when etcd's log dated events, to the instant. Of NodeLost it is the interval within which the
	// node's network went.
	Width time.Duration `json:"width,omitempty"`
	// Restart is, of what a container's process tells and of what the runtime and the API server tell of
	// it, how many containers of the Pod were seen before that one: 0 but where it was started again in
	// place.
	Restart int `json:"restart,omitempty"`
	// By is who asked for the change, as the audit log says: replicaset-controller, kubelet of a
	// node, harness; with "eviction by" in front where it asked for that.
	By string `json:"by,omitempty"`
	// Release is that of a Pod, where it is first seen, or the one that the disruption does something to: a
	// colour, or the number of a change of the Pod template. It is empty for Pods that the app was deployed
	// with: FirstRelease.
	Release string `json:"release,omitempty"`
	// Left is, of ReleaseDrained, how much work the release's Pods had when they were last asked: connections
	// that clients held, tasks, requests in flight.
	Left int `json:"left,omitempty"`
}

// FirstRelease is the one that the app was deployed with.
const FirstRelease = "first"

// Kind names what happened.
type Kind string

// Kinds seen by watching the API server: At is the instant at which the request for the change
// arrived there where SeenAfter is set, else the one at which the watch delivered it, which on a busy
// machine is tens of milliseconds later.
const (
	PodCreated          Kind = "pod-created"          // the Pod was first seen
	PodScheduled        Kind = "pod-scheduled"        // it was given a node
	PodSandboxReady     Kind = "pod-sandbox-ready"    // its PodReadyToStartContainers became true: sandbox, network
	PodAddressed        Kind = "pod-addressed"        // it was given an IP
	PodStarted          Kind = "pod-started"          // its container was seen running
	PodReady            Kind = "pod-ready"            // its Ready condition became true; each time
	PodUnready          Kind = "pod-unready"          // and false again; each time
	PodDeleted          Kind = "pod-deleted"          // its deletionTimestamp was seen before its end: it is terminating
	PodGone             Kind = "pod-gone"             // the object was removed
	ContainerExit       Kind = "container-exit"       // its container terminated; Code and Detail say how
	EndpointServing     Kind = "endpoint-serving"     // its endpoint became ready in an EndpointSlice; each time
	EndpointUnready     Kind = "endpoint-unready"     // and unready again without terminating; each time
	EndpointTerminating Kind = "endpoint-terminating" // its endpoint was first seen terminating
	// terminating and failing its readiness probe: nothing is routed there
	EndpointNotServing Kind = "endpoint-not-serving"
	EndpointGone       Kind = "endpoint-gone"   // its endpoint left the EndpointSlices
	NodeUnready        Kind = "node-unready"    // a Node stopped being ready, for no reason of ours
	KubeletKilling     Kind = "kubelet-killing" // the kubelet's Event Killing; comes late, or not at all
	PreStopFailed      Kind = "prestop-failed"  // the kubelet's Event FailedPreStopHook; Detail says why
	LogCut             Kind = "log-cut"         // its log could not be read to its end; Detail says why
	WatchGap           Kind = "watch-gap"       // a watch was interrupted: changes may be missing; Detail
)

// KubeletWrote is told by the audit log alone: the request for the first write of a Pod's kubelet to
// its status. The kubelet knows of the Pod by then.
const KubeletWrote Kind = "kubelet-wrote"

// Kinds told by this process of what it does itself: exact.
const (
	DeleteAsked    Kind = "delete-asked"    // the disruption is about to ask the API server to delete the Pod
	DeleteAnswered Kind = "delete-answered" // the API server has said that it will: the Pod is terminating by now
	NodeDisrupted  Kind = "node-disrupted"  // the disruption has chosen this Node: its Pods are those that have to go
	NodeLost       Kind = "node-lost"       // the disruption is about to end this Node at once: no Pod there ends in order
	LeaveAsked     Kind = "leave-asked"     // the disruption is about to take the Pod out of its Services
	RestartAsked   Kind = "restart-asked"   // the disruption is about to have the Pod's container started again
	// the disruption is about to restart a program of the cluster itself: Detail names it, and Node where
	// it is, if that is one
	ProgramRestarted Kind = "program-restarted"
	ReleaseSwitched  Kind = "release-switched" // the disruption is about to have Services select the Pods of Release
	ReleaseDrained   Kind = "release-drained"  // the disruption is about to scale Release to zero, with Left of its work
)

// Kinds told by the app itself in its log: At is the app's own wall clock, turned into an offset.
// On one machine that is the same clock.
const (
	AppStart           Kind = "app-start"            // the process runs
	AppListening       Kind = "app-listening"        // the listener is open
	AppReady           Kind = "app-ready"            // the readiness probe was answered with 200 for the first time
	AppPreStopStart    Kind = "app-prestop-start"    // the httpGet preStop hook arrived
	AppPreStopEnd      Kind = "app-prestop-end"      // and was answered
	AppSIGTERM         Kind = "app-sigterm"          // SIGTERM arrived
	AppShutdown        Kind = "app-shutdown-begin"   // Shutdown was called
	AppListenerClosed  Kind = "app-listener-closed"  // no new connection is accepted from here on
	AppShutdownTimeout Kind = "app-shutdown-timeout" // Shutdown gave up waiting: what was in flight was cut off
	AppLastRequest     Kind = "app-last-request"     // the last request it answered had been answered
	AppExit            Kind = "app-exit"             // the process is about to exit by itself
)

// Kinds told by the container runtime of the Pod's node: At is the runtime's wall clock, turned
// into an offset.
const (
	ContainerCreated Kind = "container-created" // the container was made, and isn't started yet
	ProcessStart     Kind = "process-start"     // the container's process was started
	ProcessExit      Kind = "process-exit"      // it has ended, as the runtime's shim reaped it; Code says how
	StopSignal       Kind = "stop-signal"       // it was sent the signal that asks it to stop; Detail names that
	// the process that holds the Pod's namespaces was started: the Pod's network was made just before
	SandboxStart Kind = "sandbox-start"
	SandboxExit  Kind = "sandbox-exit" // and has ended: the Pod's network is taken down next
)
