package suite

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/cluster"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Config is what the suite's flags say. There is no configuration file.
type Config struct {
	Profile     string
	Strategies  []string // instead of the profile's, as are Disruptions
	Disruptions []string
	Delay       time.Duration // of the strategies; 0 for their own
	Lanes       []string      // empty for all
	Consumers   []string      // in their groups; empty for the profile's
	Clients     int           // that hold a connection each, in lanes whose clients do; 0 for the loads' own
	Rate        int           // requests per second of each lane; the profile's, once Validate has chosen it
	TaskLength  time.Duration // of the tasks of strategies that take some; 0 for scenarios.TaskLength
	Repeat      int
	Night       time.Time // whose turn it is where cells take turns; zero for that in which the suite began
	Resume      bool      // take over the runs that are stored in Out
	Out         string    // folder for the artifacts; empty until Validate has chosen one
	Replay      string    // folder of stored timelines; empty for runs on a cluster
	App         string    // file or folder of people's own app, which is measured; empty for the sample app
	AppArchive  string    // file of the images of that; empty where they are pulled
	Target      Target    // what runs in a cluster that exists, and is measured as it is
	DryRun      bool      // of that: say what would be done
	Long        []string
	Soak        time.Duration
	Verbose     bool // print the whole report at the end
	Cluster     cluster.Config
	// Terminal writes the progress to the terminal itself: go test without -v keeps the standard
	// output back until the end, and throws it away if all is well. It is no flag.
	Terminal bool
}

// Long is a test that takes long, or breaks things on purpose: it runs if the flag -long names it.
type Long string

// The long tests.
const (
	LongSafeDelay     Long = "safe-delay"
	LongSafeDelaySync Long = "safe-delay-sync"
	LongSyncPeriod    Long = "sync-period"
	LongKnobs         Long = "knobs"
	LongFaults        Long = "faults"
	LongTruth         Long = "truth"
	LongInstants      Long = "instants"
	LongKills         Long = "kills"
	LongForeign       Long = "foreign"
	LongAsForeign     Long = "as-foreign"
	LongTarget        Long = "target"
	LongSoakRate      Long = "soak-rate"
	LongSoakMemory    Long = "soak-memory"
)

func longNames() []string {
	var names []string
	for _, l := range []Long{
		LongSafeDelay, LongSafeDelaySync, LongSyncPeriod, LongKnobs, LongFaults, LongTruth, LongInstants, LongKills,
		LongForeign, LongAsForeign, LongTarget, LongSoakRate, LongSoakMemory,
	} {
		names = append(names, string(l))
	}
	return names
}

// Runs says whether a long test was asked for.
func (c Config) Runs(test Long) bool { return slices.Contains(c.Long, string(test)) }

// list is a flag of names with commas between them.
type list []string

// Set implements flag.Value. Nothing at all is an empty list.
func (l *list) Set(text string) error {
	*l = nil
	if text != "" {
		*l = strings.Split(text, ",")
	}
	return nil
}

// String implements flag.Value.
func (l *list) String() string { return strings.Join(*l, ",") }

// defaultOut is the folder for the artifacts of runs.
const defaultOut = "artifacts"

// Register defines the flags, and has -h show them by what one wants to do.
func (c *Config) Register(all *flag.FlagSet) {
	var groups []*flag.FlagSet
	group := func(title string) *flag.FlagSet {
		groups = append(groups, flag.NewFlagSet(title, flag.ContinueOnError))
		return groups[len(groups)-1]
	}
	var profiles, rates []string
	for _, p := range scenarios.Profiles() {
		profiles = append(profiles, p.Name+" ("+p.Summary+")")
		rates = append(rates, fmt.Sprintf("%s %d", p.Name, p.Rate))
	}
	f := group("What to run")
	f.StringVar(&c.Profile, "profile", scenarios.Profiles()[0].Name,
		"which scenarios to run: "+strings.Join(profiles, "; "))
	f.StringVar(&c.App, "app", "",
		"`file` or folder of your own app's manifests, or a folder with a kustomization, to measure that: as it is first, "+
			"and with the smallest changes")
	f.StringVar(&c.AppArchive, "app-archive", "",
		"`file` of your app's images, as docker save writes it, to load into the nodes of the kind cluster")
	f.Var((*list)(&c.Strategies), "strategies",
		"which `strategies` to run instead of the profile's, as in prestop-sleep,in-app-delay")
	f.Var((*list)(&c.Disruptions), "disruptions",
		"which `disruptions` to run instead of the profile's, as in rolling-update")
	f.DurationVar(&c.Delay, "delay", 0, "the delay of the strategies, as in 1.5s; 0 for their own")
	f.Var((*list)(&c.Consumers), "consumers",
		"which `consumers` of endpoints to measure instead of the profile's, as in ingress,dns: those of a group together, "+
			"and service/new with each group")
	f.IntVar(&c.Repeat, "repeat", 1, "how often to run each scenario, the order reversed every second time")
	f.Func("night", "the `date` by which profile nightly chooses, as in 2026-11-26 (default today's, UTC)",
		func(text string) (err error) {
			c.Night, err = time.Parse(time.DateOnly, text)
			return err
		})
	f.Var((*list)(&c.Long), "long",
		"which long `tests` to run instead of the profile's scenarios: "+strings.Join(longNames(), ", "))
	f.DurationVar(&c.Soak, "soak", time.Hour, "how long "+string(LongSoakMemory)+" sends")
	f = group("How much load")
	f.Var((*list)(&c.Lanes), "lanes", "which `lanes` to send, as in service/new,nodeport/new; empty for all")
	f.IntVar(&c.Clients, "held-clients", 0,
		"clients that hold a connection each, in each lane of held connections; 0 for the load's: 50")
	f.IntVar(&c.Rate, "rate", 0, "requests per second of each lane; 0 for the profile's: "+strings.Join(rates, ", "))
	f.DurationVar(&c.TaskLength, "task", 0,
		"how long a task takes, of strategies whose Pods take tasks from a queue, as a model of work of hours; 0 for "+
			scenarios.TaskLength.String())
	f.IntVar(&c.Cluster.Workers, "workers", 1,
		"how many Pods send the load of the lanes within the cluster, each its share of every lane")
	f = group("On a kind cluster of its own")
	f.StringVar(&c.Cluster.Name, "cluster", "",
		"`name` of the kind cluster, empty for "+cluster.DefaultName+": suites that run at the same time need one each, and "+
			"an -out each")
	f.StringVar(&c.Cluster.NodeImage, "node-image", "",
		"image for the nodes of the kind cluster; empty for kind's default, or for one that make node-image has built")
	f.StringVar(&c.Cluster.ProxyMode, "proxy-mode", "",
		"kube-proxy's mode in the kind cluster: iptables or nftables; empty for kind's default")
	f.DurationVar(&c.Cluster.ProxyMinSync, "proxy-min-sync", 0,
		"kube-proxy's minimum sync period in the kind cluster, as in 10s; 0 for kind's default")
	f.BoolVar(&c.Cluster.Keep, "keep", false,
		"keep the kind cluster at the end, also of a run that is killed, and use one that was kept; one on which "+
			"something is left of a disruption that reaches beyond the namespace is made anew")
	f = group("On a cluster that exists")
	f.StringVar(&c.Cluster.Kubeconfig, "kubeconfig", "",
		"`file` to reach a cluster that exists with; needs -context, too")
	f.StringVar(&c.Cluster.Context, "context", "", "`name` of the cluster that exists within -kubeconfig")
	f.StringVar(
		&c.Cluster.Address,
		"address",
		"",
		"`host` at which the NodePorts of a cluster that exists are reached from here; empty for its nodes' own addresses",
	)
	f.StringVar(&c.Cluster.LoadImage, "load-image", "",
		"image of e2e/loadgen for a cluster that exists, into which none can be loaded; empty for the one that was released "+
			"with this program, if it is of a release")
	f.StringVar(
		&c.Cluster.AppImage,
		"app-image",
		"",
		"sample app's image for a cluster that exists, into which none can be loaded; some strategies need a shell in it",
	)
	f = group("What runs on a cluster that exists")
	c.Target.register(f)
	f.BoolVar(&c.DryRun, "dry-run", false, "say what would be done to -target, and whether it is allowed, and do nothing")
	f = group("Results")
	f.StringVar(&c.Out, "out", "",
		"`folder` for timelines, logs and reports; a relative one is relative to the root of the "+
			"repository (default "+defaultOut+", and replayed/ in the folder of -replay)")
	f.BoolVar(&c.Resume, "resume", false,
		"go on with a suite that was cut off: runs that are stored in the folder of -out as they would be made are only "+
			"judged again")
	f.BoolVar(&c.Verbose, "verbose-report", false,
		"print the whole report at the end, and not only what fits on a screen")
	f.StringVar(&c.Replay, "replay", "", "judge the timelines stored below this `folder` again, without a cluster")
	for _, g := range groups {
		g.VisitAll(func(f *flag.Flag) { all.Var(f.Value, f.Name, f.Usage) })
	}
	all.Usage = func() {
		for _, g := range groups {
			_, _ = fmt.Fprintf(all.Output(), "%s:\n", g.Name())
			g.SetOutput(all.Output())
			g.PrintDefaults()
		}
		_, _ = fmt.Fprintln(all.Output(), "And those of go test: go help testflag")
	}
}

// kindName is what kind accepts.
var kindName = regexp.MustCompile(`^[a-z0-9.-]+$`)

// maxWorkers is more than any load within scenarios.MaxRate needs.
const maxWorkers = 20

// ErrConfig is the guarantee that flags that make no sense are told before anything is brought up
// for them.
var ErrConfig = errors.New("bad flags")

// Validate says what is wrong with the flags, for one all at once, and completes them: it chooses
// the folder for the artifacts and makes paths relative to the folder of package e2e, in which its
// tests run.
func (c *Config) Validate() error {
	var errs []error
	check := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	usual := scenarios.Profiles()[0].Name
	check(c.App+c.Target.Name == "" && c.Profile == scenarios.AppProfile,
		"-profile %s: whose app? Write -app FILE or -app DIR", c.Profile)
	check(c.App == "-", "-app -: go test gives its programs no standard input: write … | scripts/e2e.sh -app -, which "+
		"keeps it in a file")
	check(c.App == "" && c.AppArchive != "", "-app-archive: whose images? Write -app FILE or -app DIR, too")
	if c.App != "" {
		check(c.Profile != usual && c.Profile != scenarios.AppProfile, "-app and -profile %s exclude each other", c.Profile)
		check(len(c.Strategies)+len(c.Disruptions)+len(c.Consumers)+len(c.Long) > 0 || c.Delay != 0 || c.Replay != "",
			"-app has runs of its own: -strategies, -disruptions, -consumers, -delay, -long and -replay are for others")
		c.Profile, c.Cluster.AnyPods, c.Cluster.Archive = scenarios.AppProfile, true, c.AppArchive
	}
	if c.Target.Name != "" {
		check(c.App != "" || c.Profile != usual, "-target, -app and -profile exclude each other")
		check(len(c.Strategies)+len(c.Disruptions)+len(c.Consumers)+len(c.Long) > 0 || c.Delay != 0 || c.Replay != "",
			"-target is restarted as it is: -strategies, -disruptions, -consumers, -delay, -long and -replay are for others")
		check(c.Repeat != 1, "-repeat: a -target is restarted once")
		check(c.Cluster.AppImage+c.Cluster.Address != "",
			"-app-image and -address are for an app that zerodrop deploys: -target runs")
		c.Profile = scenarios.AppProfile
		if c.Rate == 0 {
			c.Rate = targetRate
		}
	}
	c.Cluster.Live = c.Target.live(c.Cluster.LoadImage)
	if c.Profile == scenarios.ServersProfile {
		check(c.Cluster.Kubeconfig != "" || len(c.Consumers) > 0 || c.Delay != 0,
			"-profile %s makes images of its own, and servers have delays of their own: -kubeconfig, -consumers and -delay are "+
				"for others", c.Profile)
		c.Cluster.AnyPods = true
	}
	if c.Rate == 0 {
		c.Rate = scenarios.DefaultRate
		if p, err := scenarios.ProfileNamed(c.Profile); err == nil { // an unknown one is told as its runs are chosen
			c.Rate = p.Rate
		}
	}
	check(c.Clients < 0 || c.Clients > scenarios.MaxClients,
		"-held-clients %d: want 1 to %d", c.Clients, scenarios.MaxClients)
	check(c.TaskLength != 0 && c.TaskLength < 10*time.Second || c.TaskLength > scenarios.MaxTaskLength,
		"-task %s: want 10s to %s", c.TaskLength, scenarios.MaxTaskLength)
	check(c.Rate < 0 || c.Rate > scenarios.MaxRate,
		"-rate %d: want 1 to %d requests per second", c.Rate, scenarios.MaxRate)
	check(c.Repeat <= 0, "-repeat %d: want 1 or more", c.Repeat)
	check(c.Delay < 0, "-delay %s: want 0 or more", c.Delay)
	check(c.Soak < time.Second, "-soak %s: want 1s or more", c.Soak)
	for _, name := range c.Long {
		check(!slices.Contains(longNames(), name), "-long %q: want some of %s", name, strings.Join(longNames(), ","))
	}
	check(len(c.Long) > 0 && c.Replay != "", "-long and -replay exclude each other: stored timelines are only judged")
	check(c.Resume && c.Replay != "", "-resume and -replay exclude each other: stored timelines are only judged")
	check(c.Resume && len(c.Long) > 0, "-resume and -long exclude each other: only the runs of a profile are gone on with")
	k := c.Cluster
	check(k.Workers < 1 || k.Workers > maxWorkers, "-workers %d: want 1 to %d", k.Workers, maxWorkers)
	check(k.Name != "" && !kindName.MatchString(k.Name),
		"-cluster %q: want lower-case letters, digits, dots and dashes", k.Name)
	check(k.ProxyMinSync < 0, "-proxy-min-sync %s: want 0 or more", k.ProxyMinSync)
	check(k.ProxyMode != "" && k.ProxyMode != "iptables" && k.ProxyMode != "nftables",
		"-proxy-mode %q: want iptables or nftables", k.ProxyMode)
	check((k.Kubeconfig == "") != (k.Context == ""),
		"-kubeconfig and -context go together: name both, or none for a kind cluster of its own")
	check(k.Kubeconfig == "" && k.Address+k.AppImage+k.LoadImage != "",
		"-address, -app-image and -load-image are for a cluster that exists: they need -kubeconfig and -context")
	if k.Kubeconfig != "" && k.LoadImage == "" {
		c.Cluster.LoadImage = ownRelease()
	}
	errs = append(errs, c.Target.validate(c.Cluster, c.DryRun))
	check(
		k.Kubeconfig != "" && (k.Keep || k.Name+k.NodeImage+k.ProxyMode != "" || k.ProxyMinSync != 0),
		"-cluster, -keep, -node-image, -proxy-mode and -proxy-min-sync are for a kind cluster: a cluster that exists is "+
			"taken as it is",
	)
	check(k.Kubeconfig != "" && c.AppArchive != "",
		"-app-archive is for a kind cluster: a cluster that exists pulls its images")
	check(c.Resume && k.Kubeconfig != "", "-resume is for a kind cluster: nothing says on which other one a run was made")
	check(strings.ContainsAny(k.Address, "/[]") || strings.Count(k.Address, ":") == 1,
		"-address %q: want a host without a port, which the API server chooses", k.Address)
	if c.Replay != "" {
		c.Profile = "replay"
	}
	if c.Out == "" && c.Replay != "" { // the reports of the run that is judged again stay as they are
		c.Out = filepath.Join(c.Replay, "replayed")
	} else if c.Out == "" {
		c.Out = defaultOut
	}
	for _, path := range []*string{
		&c.Out, &c.Replay, &c.Cluster.Kubeconfig, &c.App, &c.AppArchive, &c.Cluster.Archive, &c.Target.CA,
	} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join("..", *path)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}
