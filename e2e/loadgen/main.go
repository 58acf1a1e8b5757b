// Command loadgen is the worker: traffic, run inside the cluster, or in a container beside it. It
// waits for one StartRequest of the harness, sends, hands its records over and exits with 0.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/worker"
)

func main() {
	addr := flag.String("addr", fmt.Sprintf(":%d", worker.Port), "`host:port` to listen on")
	skew := flag.Duration(
		"clock-skew",
		0,
		"`time` that the clock of this worker is made to be ahead: to try what an unsynchronised node does",
	)
	flag.Parse()
	// Little is held and much is thrown away: by default the collector would run several times a
	// second, on the CPUs that requests are to leave from.
	debug.SetGCPercent(800)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *addr, *skew)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

// errUnfinished is what ends a worker that was stopped before its records were taken.
var errUnfinished = errors.New("stopped before its records were taken over")

func run(ctx context.Context, addr string, skew time.Duration) error {
	w := worker.NewServer(skew)
	server := &http.Server{Addr: addr, Handler: w, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	var err error
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-w.Exit():
	case <-ctx.Done():
		err = errUnfinished
	}
	// The answer to the last request is still on its way.
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(shutdown))
}
