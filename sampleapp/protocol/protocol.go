// Package protocol is what the sample app and those who load and observe it agree on: paths,
// headers, the body of a good answer, and the lines of the app's life log. Both sides import it.
package protocol

import "strings"

// Port is where the app listens unless it is told otherwise, for HTTP/1.1 and for HTTP/2 with prior
// knowledge. PortGRPC is where it does for gRPC, PortWebhook for the API server, which wants TLS.
const (
	Port        = 8080
	PortGRPC    = 9090
	PortWebhook = 8443
)

// GRPCService and GRPCWork are what PathWork is in gRPC: a unary method that takes a
// google.protobuf.Duration, the work, and returns a google.protobuf.StringValue, Body. The headers
// below are its metadata, in lower case as gRPC wants it.
const (
	GRPCService = "zerodrop.App"
	GRPCWork    = "Work"
)

// The paths of the app.
const (
	PathWork    = "/work"    // the load; ?for=2s asks for work
	PathReady   = "/readyz"  // readiness probe
	PathLive    = "/livez"   // liveness probe
	PathPreStop = "/prestop" // preStop hook of kind httpGet: ?for=15s says how long it waits
	PathLedger  = "/ledger"  // how many requests to /work were answered, by lane
	PathAdmit   = "/admit"   // an admission webhook that allows everything; it counts as PathWork does
	PathMetrics = "/metrics" // the same for Prometheus, and whether the Pod has got its SIGTERM
	PathBusy    = "/busy"    // how much work the Pod has, as JSON: Busy
	PathFill    = "/fill"    // the body is written to a file in the folder of -scratch
	PathFail    = "/fail"    // an order, by POST: the probe that ?probe=livez names fails from now on, or for ?for=5s
	PathExit    = "/exit"    // an order, by POST: the process ends at once, with exit code ?code=42
	PathSocket  = "/socket"  // a WebSocket: each message, a number in the lane, gets an Echo
	PathEvents  = "/events"  // server-sent events: an Echo of each number, when it is due
)

// Busy is how much work a Pod has that its end would cut. Whoever ends Pods only when they have none asks
// for it: the harness, or an autoscaler, which wants one number (KEDA's trigger metrics-api with
// valueLocation work). Probes, and questions like this one, are no work.
type Busy struct {
	Held     int `json:"held"`     // connections that clients hold
	Tasks    int `json:"tasks"`    // that it has taken and not finished
	Requests int `json:"requests"` // of the load, begun and not answered
	Work     int `json:"work"`     // all of it together
}

// The parameters of PathEvents. The first event is of the number ?from=17 and due after ?in=250ms, which
// may be less than nothing; each further one is ?step=50 higher, and due ?every=1s later.
const (
	ParamFrom  = "from"
	ParamStep  = "step"
	ParamIn    = "in"
	ParamEvery = "every"
)

// ParamFor is the query parameter of PathWork, PathPreStop and PathFail that holds a duration.
const ParamFor = "for"

// The other parameters of orders.
const (
	ParamProbe = "probe" // of PathFail: ProbeLive, ProbeReady
	ParamCode  = "code"  // of PathExit: an exit code, 0 to 255
)

// The probes that PathFail lets fail.
const (
	ProbeLive  = "livez"
	ProbeReady = "readyz"
)

// Body is the body of every good answer to PathWork, with its Content-Length. Clients compare it
// byte for byte, because a request with a truncated or foreign answer is dropped, too.
const Body = "ok from zerodrop sampleapp\n"

// StrangerBody is that of an app that is told to be another one (-stranger): whoever gets it has
// asked the wrong app, and must not take its answer for a good one.
const StrangerBody = "ok from another app\n"

// The headers of every answer, by which a client knows who answered and when in its life.
const (
	HeaderPod     = "Zerodrop-Pod"        // POD_NAME, else the hostname
	HeaderLeaving = "Zerodrop-Leaving-Ms" // milliseconds from SIGTERM to this answer, "-1" before SIGTERM
	// number of this connection in this process, from 1; probes have connections too
	HeaderConn        = "Zerodrop-Conn"
	HeaderConnRequest = "Zerodrop-Conn-Request" // number of this request on this connection, from 1
)

// WarningPrefix begins the warning of PathAdmit's answers, by which who has made the API server ask
// knows who answered. Behind it come the values of HeaderPod, HeaderLeaving, HeaderConn and
// HeaderConnRequest, with a blank between them.
const WarningPrefix = "zerodrop "

// The annotations of an object by which PathAdmit knows which request of the load it is of.
const (
	AnnotationLane = "zerodrop.dev/lane"
	AnnotationSeq  = "zerodrop.dev/seq"
)

// The headers of a request by which the load says which it is: for the app's ledger, and for
// -fail-every.
const (
	HeaderLane = "Zerodrop-Lane"
	HeaderSeq  = "Zerodrop-Seq" // its number in the lane, from 0
)

// The headers by which a client that holds a connection says who it is: its number in the lane, from 0,
// and which of its attempts to connect this is, from 1. HeaderLane goes with them.
const (
	HeaderClient     = "Zerodrop-Client"
	HeaderClientConn = "Zerodrop-Client-Conn"
)

// Echo is the text that the app sends on a held connection for a number: that number, the value of
// HeaderLeaving, and the body of an answer without the end of its line, with blanks between.
func Echo(number, leaving, body string) string {
	return number + " " + leaving + " " + strings.TrimSuffix(body, "\n")
}

// ParseEcho takes an Echo apart. Good says that its body is Body.
func ParseEcho(text string) (number, leaving string, good bool) {
	number, text, _ = strings.Cut(text, " ")
	leaving, text, _ = strings.Cut(text, " ")
	return number, leaving, text+"\n" == Body
}

// The events of a life, in the order in which an orderly one has them. One that is missing did not
// happen, or the process was killed before it could say so.
const (
	EventStart        = "start"         // main began
	EventListening    = "listening"     // the kernel accepts connections from now on
	EventReady        = "ready"         // PathReady answered 200 for the first time
	EventPreStopStart = "prestop-start" // a preStop hook called PathPreStop
	EventPreStopEnd   = "prestop-end"   // … and was answered, or hung up (then with an error)
	// the first SIGTERM reached the program; never seen with -on-sigterm=default
	EventSIGTERM         = "sigterm"
	EventShutdownBegin   = "shutdown-begin"   // Shutdown is about to be called: any delay is over
	EventListenerClosed  = "listener-closed"  // the kernel refuses connections from now on
	EventHeldEnded       = "held-ended"       // a connection that a client held has ended: Event.Held
	EventFailedRequest   = "failed-request"   // a request to PathWork was failed on purpose, see -fail-every
	EventShutdownTimeout = "shutdown-timeout" // Shutdown gave up waiting; what is in flight is cut off now
	// the last answer to PathWork was written. Told right before exit; absent if there was none
	EventLastRequest = "last-request"
	EventExit        = "exit" // the process is about to exit, with this code
)

// Event is one line of the life log, as JSON.
type Event struct {
	Event    string `json:"event"`
	UnixNano int64  `json:"unixNano"` // wall clock, of the instant the event happened, not of the writing
	Pod      string `json:"pod"`
	// start: whose wall clock the instants are of (Linux' boot_id); empty where the system doesn't
	// tell
	Kernel string `json:"kernel,omitempty"`
	Addr   string `json:"addr,omitempty"` // listening: the address, with the port that was chosen
	GRPC   string `json:"grpc,omitempty"` // listening: that of gRPC
	// last-request: how many requests to PathWork were answered in this life
	Requests int64 `json:"requests,omitempty"`
	// Lanes are those of Requests that said which lane of the load they belong to, by lane.
	Lanes map[string]int64 `json:"lanes,omitempty"`
	Lane  string           `json:"lane,omitempty"` // failed-request: the lane of the load that it belonged to
	// failed-request: its number there; a pointer because 0 is to be seen
	Seq  *int `json:"seq,omitempty"`
	Code *int `json:"code,omitempty"` // exit: the exit code; a pointer because 0 is to be seen
	// Unanswered are the requests to PathWork that the app had begun and not answered when it gave
	// up waiting (shutdown-timeout, and again in the exit after it) or when it exits by itself.
	// There are MaxUnanswered at most, and only those that said which they are. A process that is
	// killed tells none.
	Unanswered []Request `json:"unanswered,omitempty"`
	Held       *Held     `json:"held,omitempty"`  // held-ended
	Error      string    `json:"error,omitempty"` // why it went wrong, where it did
}

// Held is what the app knows of a connection that a client held: its side of that ledger.
type Held struct {
	Lane   string `json:"lane"`
	Client int    `json:"client"` // HeaderClient
	Number int    `json:"number"` // HeaderClientConn
	Opened int64  `json:"openedUnixNano"`
	By     string `json:"by"`              // who ended it: ByClient …
	Fault  string `json:"fault,omitempty"` // what was done to it on purpose, see -held-fault
	// Received are messages of the client, Echoed those that the app has sent or was about to send, and
	// Last is the number of the last one of these; -1 for none.
	Received int `json:"received"`
	Echoed   int `json:"echoed"`
	Last     int `json:"last"`
}

// Who ended a held connection, as the app knows.
const (
	ByClient   = "client"    // by a close of its own, or of its side of the connection
	ByNobody   = "gone"      // without a word: the client reset it, or whoever is between
	ByApp      = "announced" // the app, by a close frame or the end of the stream
	ByBoth     = "both"      // the app, while the client's own close was on its way
	ByAppCut   = "cut"       // the app, without a word
	ByAppsExit = "exit"      // the app's end, or the end of its patience in Shutdown
)

// Request is a request of the load, by what it said in HeaderLane and HeaderSeq.
type Request struct {
	Lane string `json:"lane"`
	Seq  int    `json:"seq"`
}

// MaxUnanswered bounds Event.Unanswered, so that a line stays one write.
const MaxUnanswered = 1000
