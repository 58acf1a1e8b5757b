// Package e2e is the suite: go test ./e2e brings a kind cluster up, deploys the sample app under several shutdown strategies, drives constant load while its
// Pods are replaced, and reports which requests were lost.
package e2e

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/cluster"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// settings are the suite's flags. There is no configuration file.
type settings struct {
	profile   string
	artifacts string
	replay    string
	rate      int
	repeat    int
	lanes     string
	soak      time.Duration
	cluster   cluster.Config
}

func (s *settings) register(f *flag.FlagSet) {
	var profiles []string
	for _, p := range scenarios.Profiles() {
		profiles = append(profiles, p.Name+" ("+p.Summary+")")
	}
	f.StringVar(&s.profile, "profile", "quick", "which scenarios to run: "+strings.Join(profiles, "; "))
	const place = "`folder` for timelines, logs and reports; a relative one is relative to the root of the repository"
	f.StringVar(&s.artifacts, "out", "artifacts", place)
	f.StringVar(&s.artifacts, "artifacts", "artifacts", "as -out; but go test has a flag of that name, and hands this one on only behind -args")
	f.StringVar(&s.replay, "replay", "", "judge the timelines stored below this `folder` again, without a cluster; the reports go to replayed/ in it, or to -out")
	f.IntVar(&s.rate, "rate", scenarios.DefaultRate, "requests per second of each lane")
	f.IntVar(&s.cluster.Workers, "workers", 1, "how many Pods send the load of the lanes within the cluster, each its share of every lane")
	f.StringVar(&s.lanes, "lanes", "", "which `lanes` to send, as in service/new,nodeport/new; empty for all")
	f.DurationVar(&s.soak, "soak", time.Hour, "how long TestSoakMemory sends")
	f.IntVar(&s.repeat, "repeat", 1, "how often to run each scenario, the order reversed every second time")
	f.StringVar(&s.cluster.NodeImage, "node-image", "", "image for the nodes of the kind cluster; empty for kind's default, or for one that make node-image has built")
	f.StringVar(&s.cluster.ProxyMode, "proxy-mode", "", "kube-proxy's mode in the kind cluster: iptables or nftables; empty for kind's default")
	f.DurationVar(&s.cluster.ProxyMinSync, "proxy-min-sync", 0, "kube-proxy's minimum sync period in the kind cluster, as in 10s; 0 for kind's default")
	f.BoolVar(&s.cluster.Keep, "keep", false, "keep the kind cluster at the end, and use one that was kept")
	f.StringVar(&s.cluster.Kubeconfig, "kubeconfig", "", "`file` to reach a cluster that exists with; needs -context, too")
	f.StringVar(&s.cluster.Context, "context", "", "`name` of the cluster that exists within -kubeconfig")
	f.StringVar(&s.cluster.Address, "address", "", "`host:port` at which the NodePort 30080 of a cluster that exists is reached from here (default 127.0.0.1:30080)")
	f.StringVar(&s.cluster.LoadImage, "load-image", "", "image of e2e/loadgen for a cluster that exists, into which none can be loaded")
	f.StringVar(&s.cluster.AppImage, "app-image", "", "sample app's image for a cluster that exists, into which none can be loaded; strategies that need a shell need one in it")
}

// replaying makes the settings those of a replay: the reports of the run that is judged again stay as they are, unless -out asks for that place.
func (s *settings) replaying(f *flag.FlagSet) {
	s.profile = "replay"
	elsewhere := true
	f.Visit(func(given *flag.Flag) { elsewhere = elsewhere && given.Name != "artifacts" && given.Name != "out" })
	if elsewhere {
		s.artifacts = filepath.Join(s.replay, "replayed")
	}
}

// maxWorkers is more than any load within scenarios.MaxRate needs.
const maxWorkers = 20

// errSettings wraps what is wrong with the flags.
var errSettings = errors.New("bad flags")

// validate looks at the flags before anything is brought up for them.
func (s *settings) validate() error {
	var errs []error
	if s.rate <= 0 || s.rate > scenarios.MaxRate {
		errs = append(errs, fmt.Errorf("-rate %d: want 1 to %d requests per second", s.rate, scenarios.MaxRate))
	}
	if mode := s.cluster.ProxyMode; mode != "" && mode != "iptables" && mode != "nftables" {
		errs = append(errs, fmt.Errorf("-proxy-mode %q: want iptables or nftables", mode))
	}
	if s.cluster.ProxyMinSync < 0 {
		errs = append(errs, fmt.Errorf("-proxy-min-sync %s: want 0 or more", s.cluster.ProxyMinSync))
	}
	if n := s.cluster.Workers; n < 1 || n > maxWorkers {
		errs = append(errs, fmt.Errorf("-workers %d: want 1 to %d", n, maxWorkers))
	}
	if s.soak < time.Second {
		errs = append(errs, fmt.Errorf("-soak %s: want 1s or more", s.soak))
	}
	if s.repeat <= 0 {
		errs = append(errs, fmt.Errorf("-repeat %d: want 1 or more", s.repeat))
	}
	if (s.cluster.Kubeconfig == "") != (s.cluster.Context == "") {
		errs = append(errs, errors.New("-kubeconfig and -context go together: name both, or none for a kind cluster of its own"))
	}
	if s.cluster.Kubeconfig == "" && s.cluster.Address+s.cluster.AppImage+s.cluster.LoadImage != "" {
		errs = append(errs, errors.New("-address, -app-image and -load-image are for a cluster that exists: they need -kubeconfig and -context"))
	}
	if c := s.cluster; c.Kubeconfig != "" && (c.Keep || c.NodeImage+c.ProxyMode != "" || c.ProxyMinSync != 0) {
		errs = append(errs, errors.New("-keep, -node-image, -proxy-mode and -proxy-min-sync are for a kind cluster: a cluster that exists is taken as it is"))
	}
	if address := s.cluster.Address; address != "" {
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
			errs = append(errs, fmt.Errorf("-address %q: want host:port", address))
		}
	}
	if s.artifacts == "" {
		errs = append(errs, errors.New("-out is empty: name a folder"))
	}
	for _, path := range []*string{&s.artifacts, &s.replay, &s.cluster.Kubeconfig} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join("..", *path) // tests run in the folder of their package
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w: %w", errSettings, err)
	}
	return nil
}

// the is the suite of this process. Tests can only share state through a variable of the package.
var the *suite

func TestMain(m *testing.M) {
	var s settings
	s.register(flag.CommandLine)
	flag.CommandLine.Init(os.Args[0], flag.ContinueOnError)
	if err := flag.CommandLine.Parse(os.Args[1:]); errors.Is(err, flag.ErrHelp) {
		os.Exit(tell(0))
	} else if err != nil {
		os.Exit(tell(2))
	}
	if s.replay != "" {
		s.replaying(flag.CommandLine)
	}
	if err := s.validate(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(tell(2))
	}
	restore := func() {}
	if !testing.Short() && s.replay == "" {
		restore, _ = traffic.Prioritise() // at best: if requests leave late without it, the verdict says so
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	the = newSuite(ctx, s)
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the process as it would any other
		the.progress.line("stopping: what was measured is kept, the cluster is taken away (a second Ctrl-C leaves it; make clean removes it)")
	})
	code := m.Run()
	outcome, err := the.finish(ctx)
	stop()
	restore()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(tell(exitCode(code, outcome, err)))
}

// exitCode is that of the suite's outcome (0 pass, 1 fail, 3 inconclusive, 4 infrastructure), which says more than the tests' own. A test that failed for a
// reason of its own, or a report that could not be written, is 1 where the suite has passed or has no outcome.
func exitCode(tests int, outcome *verdict.Outcome, err error) int {
	code := tests
	if outcome != nil {
		code = cmp.Or(outcome.ExitCode(), code)
	}
	if err != nil {
		code = cmp.Or(code, 1)
	}
	return code
}

// exitCodeFile names a file that is to hold the exit code. go test exits with 1 whatever the test binary has exited with: scripts/e2e.sh hands the code on.
// It is no flag, so that flags that can't be read are told, too.
const exitCodeFile = "ZERODROP_EXIT_CODE"

// tell writes the exit code where somebody asked for it, and returns it.
func tell(code int) int {
	file := os.Getenv(exitCodeFile)
	if file == "" {
		return code
	}
	if err := os.WriteFile(file, fmt.Appendln(nil, code), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, fmt.Errorf("tell the exit code: %w", err))
		return cmp.Or(code, 1)
	}
	return code
}
