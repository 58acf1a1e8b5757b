// Command sampleapp is the server under test: a small server of HTTP/1.1, HTTP/2 and gRPC whose way
// of stopping is chosen by flags, so that one binary plays every shutdown strategy.
//
// It is written as an ordinary Go service is, on net/http, grpc-go and a library for WebSockets,
// because what is measured is what such a service does to its clients. What it adds is testimony:
// every answer says which Pod, which connection and which moment of the Pod's life it came from, and
// the instants of its life go to stdout.
//
// It exits with 0 after a complete shutdown, 1 when it could not serve or had to cut requests off,
// and 2 when it was called wrongly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// Exit codes. 2 for wrong usage is what the flag package itself uses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// config is what the flags say; there is no other source of configuration.
type config struct {
	addr            string
	grpcAddr        string
	onSIGTERM       action
	stopSignal      string
	delay           time.Duration
	close           bool
	unready         bool
	shutdownTimeout time.Duration
	startupDelay    time.Duration
	failEvery       int
	stranger        bool
	webhookAddr     string
	webhookPEM      string
	scratch         string
	heldConnections heldAction
	heldFault       string
	heldFaultEvery  int
	taskConfig
}

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the whole life of the process, from its arguments to its exit code. It writes life events
// to stdout and what a wrong call needs to know to stderr.
func run(args []string, stdout, stderr io.Writer) int {
	started := time.Now()

	flags, cfg := newFlagSet()
	if err := cfg.parse(flags, args); errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(stdout, "Usage: sampleapp [flags]")
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return exitOK
	} else if err != nil {
		_, _ = fmt.Fprintf(stderr, "sampleapp: %v (-h lists the flags)\n", err)
		return exitUsage
	}
	pod, err := podName()
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "sampleapp: %v\n", err)
		return exitFailed
	}

	life := &lifeLog{out: stdout, pod: pod}
	app := &server{config: *cfg, pod: pod, life: life, terminator: newTerminator(*cfg, life), exit: os.Exit}
	app.terminator.notify() // before anything is told or slow: a Pod can be deleted while it starts
	life.record(started, protocol.Event{Event: protocol.EventStart, Kernel: kernel()})
	err = app.serve(started)
	app.cutHeld(false)

	if requests, last, lanes := app.answered.total(); requests > 0 {
		life.record(last, protocol.Event{Event: protocol.EventLastRequest, Requests: requests, Lanes: lanes})
	}
	code, reason := exitOK, ""
	if err != nil {
		code, reason = exitFailed, err.Error()
	}
	unanswered := app.cut
	if unanswered == nil {
		unanswered = app.unanswered.list()
	}
	life.record(
		time.Now(),
		protocol.Event{Event: protocol.EventExit, Code: &code, Error: reason, Unanswered: unanswered},
	)
	return code
}

// serve starts the server, serves until the terminator says that it is time to shut down, and shuts
// down. It returns nil when no request was cut off.
func (s *server) serve(started time.Time) error {
	go s.terminator.run()
	go s.endHeld()

	select {
	case <-time.After(s.startupDelay - time.Since(started)):
	case <-s.terminator.over:
		return nil // nothing was opened, so nothing is left to close
	}

	grpcListener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", s.grpcAddr)
	if err != nil {
		return fmt.Errorf("open the listener of gRPC: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", s.addr)
	if err != nil {
		_ = grpcListener.Close()
		return fmt.Errorf("open the listener: %w", err)
	}
	httpServer, grpcServer := s.httpServer(), s.grpcServer()
	webhookListener, err := s.webhookListener(httpServer)
	if err != nil {
		return errors.Join(err, grpcListener.Close(), listener.Close())
	}
	s.life.record(time.Now(), protocol.Event{
		Event: protocol.EventListening, Addr: listener.Addr().String(), GRPC: grpcListener.Addr().String(),
	})

	served, servedGRPC := make(chan error, 2), make(chan error, 1)
	go func() { served <- httpServer.Serve(&loggingListener{Listener: listener, life: s.life}) }()
	if webhookListener != nil {
		go func() { served <- httpServer.ServeTLS(webhookListener, "", "") }()
	}
	go func() { servedGRPC <- grpcServer.Serve(grpcListener) }()
	s.tasks.running.Go(func() { s.runTasks(started) })

	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case err := <-servedGRPC:
		return fmt.Errorf("serve gRPC: %w", err)
	case <-s.terminator.over:
	}
	s.tasks.running.Wait()
	err = s.shutdown(httpServer, grpcServer)
	// Serve returns last if SIGTERM came before it had taken the listener over, and closes it then.
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve: %w", serveErr))
	}
	if serveErr := <-servedGRPC; serveErr != nil && !errors.Is(serveErr, grpc.ErrServerStopped) {
		err = errors.Join(err, fmt.Errorf("serve gRPC: %w", serveErr))
	}
	return err
}

// newFlagSet returns the flags and the configuration that they fill. The set is silent: what to
// print, and where, is for run to say.
func newFlagSet() (*flag.FlagSet, *config) {
	cfg := &config{onSIGTERM: actionDefault, heldConnections: heldLeave}
	flags := flag.NewFlagSet("sampleapp", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.StringVar(
		&cfg.addr,
		"addr",
		fmt.Sprintf(":%d", protocol.Port),
		"`host:port` to listen on; port 0 takes any free one, see the event listening.",
	)
	flags.StringVar(
		&cfg.grpcAddr,
		"grpc-addr",
		fmt.Sprintf(":%d", protocol.PortGRPC),
		"`host:port` to listen on for gRPC; port 0 takes any free one.",
	)
	flags.StringVar(
		(*string)(&cfg.onSIGTERM),
		"on-sigterm",
		string(actionDefault),
		"`action` on SIGTERM. default: no handler, the Go runtime ends the process. "+
			"ignore: serve on as if nothing had happened. "+
			"shutdown: http.Server.Shutdown, and grpc.Server.GracefulStop beside it, at once. "+
			"delay: serve on for -delay, then shutdown.",
	)
	flags.StringVar(
		&cfg.stopSignal,
		"stop-signal",
		stopSignalDefault,
		"`signal` that stands for SIGTERM wherever these flags name it: SIGTERM, SIGUSR1 or SIGQUIT. With another, SIGTERM "+
			"has no handler. Needs an -on-sigterm other than default.",
	)
	flags.DurationVar(
		&cfg.delay,
		"delay",
		15*time.Second,
		"`time` to serve on after SIGTERM, for clients that haven't heard yet that this Pod goes away. "+
			"Needs -on-sigterm=delay.",
	)
	flags.BoolVar(
		&cfg.close,
		"close",
		false,
		"From SIGTERM on, answer with Connection: close, so that clients move to another Pod; "+
			"in HTTP/2 that sends GOAWAY. grpc-go's server has nothing like it.",
	)
	flags.BoolVar(&cfg.unready, "unready", false,
		"From SIGTERM on, answer /readyz with 503, and gRPC's health service with NOT_SERVING.")
	flags.DurationVar(
		&cfg.shutdownTimeout,
		"shutdown-timeout",
		10*time.Second,
		"`time` that Shutdown may wait for requests in flight; those left after it are cut off. "+
			"Needs -on-sigterm=shutdown or delay.",
	)
	flags.DurationVar(&cfg.startupDelay, "startup-delay", 0,
		"`time` from process start until the listener is opened: a slow start, during which connections are refused.")
	flags.IntVar(
		&cfg.failEvery,
		"fail-every",
		0,
		"Reset the connection (HTTP/2: the stream; gRPC: return INTERNAL), instead of answering, of each request to "+
			"/work whose number in its lane is a multiple of this `number`, and tell it by the "+
			"event failed-request: drops that are known beforehand, to hold against those that a client names. 0: none.",
	)
	flags.BoolVar(&cfg.stranger, "stranger", false,
		"Answer /work as another app does, with another body: who gets it has asked the wrong app.")
	flags.StringVar(&cfg.webhookAddr, "webhook-addr", fmt.Sprintf(":%d", protocol.PortWebhook),
		"`host:port` to listen on for the API server, with TLS; port 0 takes any free one. Needs -webhook-pem.")
	flags.StringVar(&cfg.webhookPEM, "webhook-pem", "",
		"`base64` of a certificate and its key, each as PEM, to be an admission webhook with. Empty: there is none.")
	flags.StringVar(&cfg.scratch, "scratch", "",
		"`folder` that a POST to /fill writes its body to: a volume whose limit is to be exceeded. Empty: there is none.")
	flags.StringVar((*string)(&cfg.heldConnections), "held", string(heldLeave),
		"`action` on SIGTERM for connections that clients hold (/socket, /events, gRPC's Events). leave: none, as "+
			"net/http has it: Shutdown waits for streams and knows no WebSocket; GracefulStop waits, too, and sends "+
			"GOAWAY. close: announce the end of each at once. "+
			"spread: announce them one by one, evenly over -delay.")
	flags.StringVar(&cfg.heldFault, "held-fault", "",
		"`fault` of some held connections, from their second message on, for a test. cut: reset. "+
			"announce: its end is announced. stall: nothing is sent any more. wrong: another text is sent. "+
			"The event held-ended names it.")
	flags.IntVar(&cfg.heldFaultEvery, "held-fault-every", 0,
		"`number`: held connections whose own number, from 1, is a multiple of it have -held-fault. 0: none.")
	cfg.addTaskFlags(flags)
	return flags, cfg
}

// parse fills the configuration from args and refuses what can't be meant: a flag without effect is
// a strategy that isn't the one its name says.
func (c *config) parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	shutsDown := c.onSIGTERM == actionShutdown || c.onSIGTERM == actionDelay

	_, _, grpcErr := net.SplitHostPort(c.grpcAddr)
	switch _, _, addrErr := net.SplitHostPort(c.addr); {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q: there are only flags", flags.Arg(0))
	case addrErr != nil:
		return fmt.Errorf("-addr %q: %w", c.addr, addrErr)
	case grpcErr != nil:
		return fmt.Errorf("-grpc-addr %q: %w", c.grpcAddr, grpcErr)
	case !slices.Contains(actions, c.onSIGTERM):
		return fmt.Errorf("-on-sigterm %q is unknown, want one of %s", c.onSIGTERM, actionNames())
	case stopSignals[c.stopSignal] == 0:
		return fmt.Errorf("-stop-signal %q is unknown, want SIGTERM, SIGUSR1 or SIGQUIT", c.stopSignal)
	case given["stop-signal"] && c.onSIGTERM == actionDefault:
		return errors.New("-stop-signal needs an -on-sigterm other than default, which handles none")
	case given["delay"] && c.onSIGTERM != actionDelay:
		return fmt.Errorf("-delay needs -on-sigterm=delay, not %s", c.onSIGTERM)
	case c.delay <= 0:
		return fmt.Errorf("-delay %s: want more than 0; without a delay it is -on-sigterm=shutdown", c.delay)
	case c.close && c.onSIGTERM == actionDefault:
		return errors.New("-close needs an -on-sigterm other than default, which leaves nobody to answer")
	case c.unready && c.onSIGTERM == actionDefault:
		return errors.New("-unready needs an -on-sigterm other than default, which leaves nobody to answer")
	case given["shutdown-timeout"] && !shutsDown:
		return fmt.Errorf("-shutdown-timeout needs -on-sigterm=shutdown or delay, not %s", c.onSIGTERM)
	case c.shutdownTimeout <= 0:
		return fmt.Errorf("-shutdown-timeout %s: want more than 0", c.shutdownTimeout)
	case c.startupDelay < 0:
		return fmt.Errorf("-startup-delay %s: want 0 or more", c.startupDelay)
	case c.failEvery < 0:
		return fmt.Errorf("-fail-every %d: want 0 or more", c.failEvery)
	case !slices.Contains(heldActions, c.heldConnections):
		return fmt.Errorf("-held %q is unknown, want leave, close or spread", c.heldConnections)
	case c.heldConnections == heldClose && !shutsDown:
		return fmt.Errorf("-held=close needs -on-sigterm=shutdown or delay, not %s", c.onSIGTERM)
	case c.heldConnections == heldSpread && c.onSIGTERM != actionDelay:
		return fmt.Errorf("-held=spread needs -on-sigterm=delay, not %s", c.onSIGTERM)
	case c.heldFault != "" && !slices.Contains(heldFaults, c.heldFault):
		return fmt.Errorf("-held-fault %q is unknown, want cut, announce, stall or wrong", c.heldFault)
	case c.heldFaultEvery < 0, (c.heldFault == "") != (c.heldFaultEvery == 0):
		return fmt.Errorf("-held-fault %q and -held-fault-every %d: want both or none", c.heldFault, c.heldFaultEvery)
	}
	return c.validateTasks(given, shutsDown)
}

// actionNames lists what -on-sigterm takes, for an error message.
func actionNames() string {
	names := make([]string, len(actions))
	for i, a := range actions {
		names[i] = string(a)
	}
	return strings.Join(names, ", ")
}

// podName is the name that this process goes by: POD_NAME, which the Pod template fills from
// metadata.name, else the hostname, which is the Pod's name too unless the Pod uses the host's
// network.
func podName() (string, error) {
	if name := os.Getenv("POD_NAME"); name != "" {
		return name, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find a name for this Pod (POD_NAME isn't set): %w", err)
	}
	return name, nil
}
