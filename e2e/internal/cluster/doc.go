// Package cluster brings a cluster up, deploys the app into it and does things to its Pods. It is
// the only importer of kind and the only writer to the API.
//
// # A cluster of its own
//
// Without -kubeconfig, a kind cluster of the name zerodrop is made for the run and removed after it
// (kind.go). The user's own kubeconfig is never touched: the cluster's is in the user's cache
// folder, beside a lock that keeps a second run from taking the cluster. -keep leaves the cluster
// running and takes it again if it was made in the same way.
//
//	nodes           one control plane, on which nothing happens to Pods, and two workers
//	                (fixtures/kind.yaml)
//	images          app and loadgen are compiled here and loaded into the nodes; a shell for the
//	                strategies that need one is taken from a node (images.go)
//	isolation       packets to a Service or to a Pod that nobody in the cluster takes are dropped
//	                instead of leaving the machine by the default route (isolate.go)
//	priority        the nodes that send load get about ten times the CPU weight of the others
//	                (priority.go)
//	audit log       the API server writes down changes of Pods and EndpointSlices: when each was
//	                asked for, when it was done, and who asked. The file is on the node
//	client          a container on kind's network, named zerodrop-client and labelled
//	                dev.zerodrop.container, sends the load of the outside lanes to the nodes'
//	                NodePort, as a client outside of a cluster does
//	load balancer   a container on kind's network, named zerodrop-loadbalancer and labelled as the
//	                client's, for the consumers of type LoadBalancer (balancer.go)
//	observation     containerd's events and conntrack are read on each node (nodes.go)
//	shutdowns       where a run needs it, D-Bus and logind run on each node, and a kubelet that has
//	                started before them is started again (shutdown.go)
//
// Disruptions of reach cluster restart kubelets, kube-proxy, CoreDNS or a component (system.go). All of
// them are there again before the run goes on; the Pods of CoreDNS may be on other nodes from then on.
//
// Nothing of that outlives the run, but for the client's image (`make clean-cache` removes it).
// If the process is killed, a small process in a session of its own waits for its end and
// removes the containers that the run has written down. A next run waits for it. `make clean`
// removes by label what is left all the same.
//
// # What is done to nodes
//
// A disruption that reaches beyond the namespace is undone at the end of its run, also after a failure
// and after Ctrl-C, and the next run waits until every node is ready and takes Pods (nodechanges.go).
// From before such a run until then, the cluster is none that a later process would take: one that
// -keep leaves behind half undone, as after kill -9, is deleted by the next run, which makes its own.
// Where the undo fails, the cluster is taken away, and the next run of the same process has another.
// Of the Pods on a node that is drained only the app's are evicted (drain.go).
//
// # The load balancer
//
// Its parts are real at both ends: the service controller of k8s.io/cloud-provider, which the cloud
// controller managers run, and HAProxy, which takes the connections, probes the nodes and says in its
// log which node it chose and from which port. What lies between, some 500 lines that turn a Service
// into HAProxy's words, is zerodrop's own (scripts/images/loadbalancer), and so are the numbers of
// the probes: each consumer has those of a cloud's own controller. It stands for how long a load
// balancer that probes nodes sends to a node without a Pod. It can't stand for a cloud's control
// plane, for packets that are passed on (HAProxy ends the connection: what a node doesn't take shows
// as an EOF or a time-out), for balancers that know Pods, nor for those that send to all nodes when
// none is well. A node that doesn't answer at all fails a probe after the probes' interval.
//
// The controller adopts every Service of type LoadBalancer without a class: if another namespace has
// one, no load balancer is started. The container gets kind's internal kubeconfig through its
// standard input, into memory. It stays until the cluster is closed, and goes as the client goes. The
// controller's finalizer is taken off Services at the end, and off those of a run that was killed
// when the next one takes the cluster.
//
// # A node that goes
//
// A node that is lost has its network taken down and its container killed, so that nobody there says
// good-bye; one that the autoscaler removes is stopped when its Pods are gone and its Node is deleted.
// After the run the container is started again. The node is of use when its kubelet has said so, kube-proxy
// and the network's program run there anew, and the network has the addresses that the Node was given: a
// Node that was deleted gets others. Then the packets that isolation drops are dropped again, and the Pods
// that were deleted meanwhile are gone (nodeloss.go).
//
// # A cluster that exists
//
// With -kubeconfig and -context, one namespace is made and removed. Nothing beyond it is changed: a
// disruption or an object that reaches farther is refused (scenarios.ErrNotOurs). Nodes and the
// settings of kube-proxy are only read, as far as the user may. There is no audit log, no conntrack,
// no load balancer and no client container there: instants are the watch's, new connections that were dropped stay
// unattributed, and the outside view is sent by this machine to -address.
//
// # A Deployment that runs
//
// With -target no namespace is made, and none is ever removed. One rollout restart is all that is done to the
// Deployment, once in the life of a process; it is looked at again right before. The workers' Job has a name
// of its own, and is the only object that is made, and deleted, by that name; its Pod ends by itself, and it goes
// a minute after. What fixtures/rbac.yaml says is all that is needed, and is asked for first (live.go).
//
// # In the namespace
//
// Its name begins with zerodrop-; it has the label app.kubernetes.io/managed-by=zerodrop and
// enforces Pod Security's level restricted, unless people's own app is to run there. In it are
//
//	the workload    of fixtures/base, patched by the strategy, and by what a disruption needs of it
//	people's own    app in its place: their workload with the label zerodrop.dev/app, and before it what
//	                they have beside it, as long as runs of it follow each other (own.go). -app-archive
//	                is loaded into the nodes
//	consumers       the objects of each folder in fixtures/consumers; the programs that they need,
//	                or the workload, are in zerodrop-components, on the control plane of a cluster
//	                of its own alone: deployed at the first run that needs them, at zero replicas
//	                while others are made (components.go)
//	workers         an Indexed Job that sends load; its Pods prefer the control plane. Requests and
//	                records go through the API server's Pod proxy, so a kubeconfig is all it takes
//	                (workers.go). Where Pods take long tasks, the first worker has the queue, and for
//	                the run there is a Service of it (tasks.go)
//	what a disruption needs beside the app, made before the run and removed after it (objects.go)
//	what a disruption does to Pods' labels, to the Services' selectors, and what it makes of the app's
//	template beside it: taken back after the run, by the label zerodrop.dev/app (inplace.go)
//
// A deployment is ready when each Pod has answered a request at each consumer, asked from where its
// load will come from.
package cluster
