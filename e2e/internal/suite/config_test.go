package suite

import (
	"bytes"
	"cmp"
	"flag"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/cluster"
)

// parseFlags reads flags as TestMain does.
func parseFlags(t *testing.T, args ...string) Config {
	t.Helper()
	var c Config
	f := flag.NewFlagSet("e2e", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	c.Register(f)
	require.NoError(t, f.Parse(args))
	return c
}

// TestConfig: bad flags are told before anything is brought up for them, all of them at once.
func TestConfig(t *testing.T) {
	existing := []string{"-kubeconfig=/k", "-context=c"}
	tests := []struct {
		name string
		args []string
		want []string // of the error; none for flags that are all right
	}{
		{"none at all", nil, nil},
		{"all of a kind cluster", []string{"-profile=full", "-rate=1000", "-repeat=3", "-workers=4", "-node-image=n", "-keep", "-proxy-mode=nftables", "-proxy-min-sync=10s"}, nil},
		{"all of a cluster that exists", append(existing, "-address=node.example", "-app-image=registry.example/app:1", "-load-image=registry.example/load:1", "-workers=2"), nil},
		{"as many workers as there may be", []string{"-workers=20"}, nil},
		{"an IPv6 address", append(existing, "-address=::1"), nil},
		{"the other proxy mode", []string{"-proxy-mode=iptables"}, nil},

		{"the profile's rate", []string{"-rate=0"}, nil},
		{"negative rate", []string{"-rate=-5"}, []string{"-rate -5: want 1 to 1000 requests per second"}},
		{"going on", []string{"-resume", "-profile=consumers", "-consumers=service,dns"}, nil},
		{"going on with what is only judged", []string{"-resume", "-replay=x"}, []string{"-resume and -replay exclude each other"}},
		{"going on with long tests", []string{"-resume", "-long=faults"}, []string{"-resume and -long exclude each other"}},
		{"rate too high", []string{"-rate=1001"}, []string{"-rate 1001: want 1 to 1000"}},
		{"no time to soak", []string{"-soak=0s"}, []string{"-soak 0s: want 1s or more"}},
		{"no workers", []string{"-workers=0"}, []string{"-workers 0: want 1 to 20"}},
		{"negative workers", []string{"-workers=-1"}, []string{"-workers -1: want 1 to 20"}},
		{"too many workers", []string{"-workers=21"}, []string{"-workers 21: want 1 to 20"}},
		{"no repeat", []string{"-repeat=0"}, []string{"-repeat 0: want 1 or more"}},
		{"negative repeat", []string{"-repeat=-1"}, []string{"-repeat -1: want 1 or more"}},
		{"unknown proxy mode", []string{"-proxy-mode=ipvs"}, []string{`-proxy-mode "ipvs": want iptables or nftables`}},
		{"negative period", []string{"-proxy-min-sync=-1s"}, []string{"-proxy-min-sync -1s: want 0 or more"}},
		{"kubeconfig alone", []string{"-kubeconfig=/k"}, []string{"-kubeconfig and -context go together"}},
		{"context alone", []string{"-context=c"}, []string{"-kubeconfig and -context go together"}},
		{"address without a cluster", []string{"-address=127.0.0.1"}, []string{"-address, -app-image and -load-image are for a cluster that exists"}},
		{"image without a cluster", []string{"-app-image=app:1"}, []string{"-address, -app-image and -load-image are for a cluster that exists"}},
		{"worker's image without a cluster", []string{"-load-image=load:1"}, []string{"-address, -app-image and -load-image are for a cluster that exists"}},
		{"address with a port", append(existing, "-address=node.example:30080"), []string{`-address "node.example:30080": want a host without a port`}},
		{"IPv6 address with a port", append(existing, "-address=[::1]:30080"), []string{`-address "\[::1\]:30080": want a host without a port`}},
		{"address that is a URL", append(existing, "-address=http://node.example"), []string{`-address "http://node.example": want a host without a port`}},
		{"a node image for nodes that exist", append(existing, "-node-image=n"), []string{"-node-image, .* are for a kind cluster"}},
		{"a proxy mode for a proxy that exists", append(existing, "-proxy-mode=nftables"), []string{"-proxy-mode .* are for a kind cluster"}},
		{"a period for a proxy that exists", append(existing, "-proxy-min-sync=10s"), []string{"-proxy-min-sync are for a kind cluster"}},
		{"keeping what is kept anyway", append(existing, "-keep"), []string{"-keep, .* are for a kind cluster"}},
		{"a task of nothing", []string{"-task=5s"}, []string{"-task 5s: want 10s to 2m0s"}},
		{"a task that no grace period has room for", []string{"-task=3m"}, []string{"-task 3m0s: want 10s to 2m0s"}},
		{"negative delay", []string{"-delay=-1s"}, []string{"-delay -1s: want 0 or more"}},
		{"every long test", []string{"-long=safe-delay,safe-delay-sync,sync-period,faults,truth,instants,soak-rate,soak-memory,knobs"}, nil},
		{"unknown long test", []string{"-long=faults,soak"}, []string{`-long "soak": want some of safe-delay,safe-delay-sync,sync-period,knobs,faults,`}},
		{"nothing between commas", []string{"-long=faults,"}, []string{`-long "": want some of`}},
		{"long tests of stored runs", []string{"-long=faults", "-replay=x"}, []string{"-long and -replay exclude each other"}},
		{"an app", []string{"-app=deploy", "-app-archive=image.tar", "-profile=app", "-rate=20", "-keep"}, nil},
		{"an app on a cluster that exists", append(existing, "-app=deploy", "-load-image=l"), nil},
		{"an app from nowhere", []string{"-app=-"}, []string{`-app -: go test gives its programs no standard input: write … \| scripts/e2e.sh -app -`}},
		{"nobody's app", []string{"-profile=app"}, []string{"-profile app: whose app\\? Write -app FILE or -app DIR"}},
		{"nobody's images", []string{"-app-archive=image.tar"}, []string{"-app-archive: whose images"}},
		{"an app and a profile", []string{"-app=deploy", "-profile=full"}, []string{"-app and -profile full exclude each other"}},
		{"an app and a strategy", []string{"-app=deploy", "-strategies=no-handler"}, []string{"-app has runs of its own"}},
		{"images for nodes that exist", append(existing, "-app=deploy", "-app-archive=image.tar"), []string{"-app-archive is for a kind cluster"}},
		{"what runs", append(existing, "-target=deploy/shop", "-namespace=prod", "-load-namespace=load", "-load-image=l", "-dry-run"), nil},
		{"what stands before it", append(existing, "-target=deployment/shop", "-namespace=prod", "-url=https://shop.example/cart?page=1", "-host=s", "-header=A: b", "-header=C:d", "-insecure"), nil},
		{"what runs nowhere", []string{"-target=deploy/shop", "-namespace=prod"}, []string{"-target is in a cluster that exists: write -kubeconfig FILE -context NAME, too"}},
		{"what runs in no namespace", append(existing, "-target=deploy/shop"), []string{"-target deploy/shop: in which namespace\\? Write -namespace NAME"}},
		{"what isn't rolled", append(existing, "-target=pod/shop", "-namespace=prod"), []string{`-target "pod/shop": want deploy/NAME`}},
		{"a name alone", append(existing, "-target=shop", "-namespace=prod"), []string{`-target "shop": want deploy/NAME`}},
		{"a second restart", append(existing, "-target=deploy/shop", "-namespace=prod", "-repeat=2"), []string{"-repeat: a -target is restarted once"}},
		{"what runs, disrupted", append(existing, "-target=deploy/shop", "-namespace=prod", "-disruptions=pod-deletion"), []string{"-target is restarted as it is"}},
		{"what runs and what doesn't", append(existing, "-target=deploy/shop", "-namespace=prod", "-app=deploy"), []string{"-target, -app and -profile exclude each other"}},
		{"no Pod to send load", append(existing, "-target=deploy/shop", "-namespace=prod"), []string{"-target: which image has the Pod that sends load"}},
		{"a namespace for no Pod", append(existing, "-target=deploy/shop", "-namespace=prod", "-url=http://a", "-load-namespace=l"), []string{"-target: which image has the Pod that sends load"}},
		{"a URL of nobody", append(existing, "-url=http://a", "-dry-run"), []string{"-namespace, -load-namespace, -url and -dry-run are of a Deployment that runs"}},
		{"headers for nobody", append(existing, "-target=deploy/shop", "-namespace=prod", "-header=A: b"), []string{"-host, -header, -ca and -insecure are of requests to -url"}},
		{"a URL without a host", append(existing, "-target=deploy/shop", "-namespace=prod", "-url=shop.example/cart"), []string{"-url: want one as in https://"}},
		{"a URL with a secret", append(existing, "-target=deploy/shop", "-namespace=prod", "-url=http://u:secret@a"), []string{"-url: has a user: write -header"}},
		{"whom to believe, and anybody", append(existing, "-target=deploy/shop", "-namespace=prod", "-url=https://a", "-ca=f", "-insecure"), []string{"-ca and -insecure exclude each other"}},
		{"several", []string{"-rate=-1", "-repeat=0", "-context=c"}, []string{"-rate -1", "-repeat 0", "-kubeconfig and -context"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := parseFlags(t, tt.args...)
			err := c.Validate()
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrConfig)
			for _, want := range tt.want {
				assert.Regexp(t, want, err.Error())
			}
		})
	}
}

// TestConfigDefaults: what is run by go test ./e2e alone.
func TestConfigDefaults(t *testing.T) {
	c := parseFlags(t)
	require.NoError(t, c.Validate())
	assert.Equal(t, Config{
		Profile: "quick", Out: filepath.Join("..", "artifacts"), Rate: 100, Repeat: 1, Soak: time.Hour, Cluster: cluster.Config{Workers: 1},
	}, c)
}

// TestNight: the date is a flag's, or that on which the suite began.
func TestNight(t *testing.T) {
	given, _ := newTestSuite(t, "-night=2026-11-26")
	assert.Equal(t, time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), given.selection().Night)
	today, _ := newTestSuite(t)
	assert.Equal(t, today.started, today.selection().Night)
	var c Config
	f := flag.NewFlagSet("e2e", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	c.Register(f)
	assert.ErrorContains(t, f.Parse([]string{"-night=26.11."}), `invalid value "26.11." for flag -night`)
}

// TestConfigPaths: tests run in the folder of package e2e, and a relative path is meant from the
// root of the repository. The reports of a replay go into a folder of their own, unless -out asks
// for another.
func TestConfigPaths(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want Config
	}{
		{
			"relative",
			[]string{"-out=out/a", "-kubeconfig=k", "-context=c"},
			Config{Profile: "quick", Out: "../out/a", Cluster: cluster.Config{Kubeconfig: "../k", Context: "c"}},
		},
		{
			"absolute",
			[]string{"-out=/out/a", "-kubeconfig=/k", "-context=c"},
			Config{Profile: "quick", Out: "/out/a", Cluster: cluster.Config{Kubeconfig: "/k", Context: "c"}},
		},
		{
			"an app",
			[]string{"-app=deploy", "-app-archive=/image.tar"},
			Config{Profile: "app", Out: "../artifacts", App: "../deploy", AppArchive: "/image.tar", Cluster: cluster.Config{AnyPods: true, Archive: "/image.tar"}},
		},
		{"replay", []string{"-replay=./old"}, Config{Profile: "replay", Out: "../old/replayed", Replay: "../old"}},
		{"replay elsewhere", []string{"-replay=/old", "-out=a"}, Config{Profile: "replay", Out: "../a", Replay: "/old"}},
		{"replay to where runs go", []string{"-replay=artifacts", "-out=artifacts"}, Config{Profile: "replay", Out: "../artifacts", Replay: "../artifacts"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := parseFlags(t, tt.args...)
			require.NoError(t, c.Validate())
			if tt.want.App != "" {
				tt.want.Rate = 50
			}
			tt.want.Rate, tt.want.Repeat, tt.want.Soak, tt.want.Cluster.Workers = cmp.Or(tt.want.Rate, 100), 1, time.Hour, 1
			assert.Equal(t, tt.want, c)
		})
	}
}

// TestUsage: -h shows each flag once, with its default, below what it is for.
func TestUsage(t *testing.T) {
	var out bytes.Buffer
	f := flag.NewFlagSet("e2e", flag.ContinueOnError)
	f.SetOutput(&out)
	new(Config).Register(f)
	require.ErrorIs(t, f.Parse([]string{"-h"}), flag.ErrHelp)
	f.VisitAll(func(f *flag.Flag) {
		assert.Equal(t, 1, strings.Count(out.String(), "\n  -"+f.Name+" ")+strings.Count(out.String(), "\n  -"+f.Name+"\n"), f.Name)
	})
	assert.Regexp(t, `(?s)^What to run:\n  -app file\n.*  -consumers .*  -delay .*  -profile string\n.*\(default "quick"\).*\nHow much load:\n.*  -rate int\n`, out.String())
}

// TestConfigFlags: each flag ends up where it belongs.
func TestConfigFlags(t *testing.T) {
	c := parseFlags(t, "-profile=full", "-strategies=a,b", "-disruptions=d", "-delay=1.5s", "-out=/a", "-replay=/r", "-rate=7", "-held-clients=500", "-task=90s",
		"-repeat=2", "-node-image=n", "-proxy-mode=nftables", "-proxy-min-sync=10s", "-keep", "-kubeconfig=/k", "-context=c",
		"-address=h", "-app-image=i", "-load-image=l", "-workers=3", "-lanes=service/new,dns/new", "-consumers=a,b", "-resume", "-soak=5m", "-long=faults,truth")
	assert.Equal(t, Config{
		Profile: "full", Strategies: []string{"a", "b"}, Disruptions: []string{"d"}, Delay: 1500 * ms, Out: "/a", Replay: "/r", Rate: 7, Clients: 500, TaskLength: 90 * time.Second,
		Repeat: 2, Lanes: []string{"service/new", "dns/new"}, Consumers: []string{"a", "b"}, Resume: true, Soak: 5 * time.Minute, Long: []string{"faults", "truth"},
		Cluster: cluster.Config{
			NodeImage: "n", ProxyMode: "nftables", ProxyMinSync: 10 * time.Second, Keep: true,
			Kubeconfig: "/k", Context: "c", Address: "h", AppImage: "i", LoadImage: "l", Workers: 3,
		},
	}, c)
	assert.True(t, c.Runs(LongFaults))
	assert.True(t, c.Runs(LongTruth))
	assert.False(t, c.Runs(LongSafeDelay))
	assert.False(t, parseFlags(t, "-long=").Runs(LongFaults), "nothing at all names no test")
}
