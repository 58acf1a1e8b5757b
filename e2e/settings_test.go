package e2e

import (
	"flag"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/cluster"
)

// parseFlags reads flags as TestMain does.
func parseFlags(t *testing.T, args ...string) settings {
	t.Helper()
	var s settings
	f := flag.NewFlagSet("e2e", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	s.register(f)
	require.NoError(t, f.Parse(args))
	return s
}

// TestSettings: bad flags are told before anything is brought up for them, all of them at once.
func TestSettings(t *testing.T) {
	existing := []string{"-kubeconfig=/k", "-context=c"}
	tests := []struct {
		name string
		args []string
		want []string // of the error; none for flags that are all right
	}{
		{"none at all", nil, nil},
		{"all of a kind cluster", []string{"-profile=full", "-rate=1000", "-repeat=3", "-workers=4", "-node-image=n", "-keep", "-proxy-mode=nftables", "-proxy-min-sync=10s"}, nil},
		{"all of a cluster that exists", append(existing, "-address=node.example:30080", "-app-image=registry.example/app:1", "-load-image=registry.example/load:1", "-workers=2"), nil},
		{"as many workers as there may be", []string{"-workers=20"}, nil},
		{"an IPv6 address", append(existing, "-address=[::1]:30080"), nil},
		{"the other proxy mode", []string{"-proxy-mode=iptables"}, nil},

		{"no rate", []string{"-rate=0"}, []string{"-rate 0: want 1 to 1000 requests per second"}},
		{"negative rate", []string{"-rate=-5"}, []string{"-rate -5: want 1 to 1000"}},
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
		{"address without a cluster", []string{"-address=127.0.0.1:30080"}, []string{"-address, -app-image and -load-image are for a cluster that exists"}},
		{"image without a cluster", []string{"-app-image=app:1"}, []string{"-address, -app-image and -load-image are for a cluster that exists"}},
		{"worker's image without a cluster", []string{"-load-image=load:1"}, []string{"-address, -app-image and -load-image are for a cluster that exists"}},
		{"address without a port", append(existing, "-address=node.example"), []string{`-address "node.example": want host:port`}},
		{"address without a host", append(existing, "-address=:30080"), []string{`-address ":30080": want host:port`}},
		{"address that is a URL", append(existing, "-address=http://node.example:30080"), []string{`-address "http://node.example:30080": want host:port`}},
		{"a node image for nodes that exist", append(existing, "-node-image=n"), []string{"-node-image, .* are for a kind cluster"}},
		{"a proxy mode for a proxy that exists", append(existing, "-proxy-mode=nftables"), []string{"-proxy-mode .* are for a kind cluster"}},
		{"a period for a proxy that exists", append(existing, "-proxy-min-sync=10s"), []string{"-proxy-min-sync are for a kind cluster"}},
		{"keeping what is kept anyway", append(existing, "-keep"), []string{"-keep, .* are for a kind cluster"}},
		{"no folder", []string{"-out="}, []string{"-out is empty"}},
		{"several", []string{"-rate=0", "-repeat=0", "-context=c"}, []string{"-rate 0", "-repeat 0", "-kubeconfig and -context"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := parseFlags(t, tt.args...)
			err := s.validate()
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, errSettings)
			for _, want := range tt.want {
				assert.Regexp(t, want, err.Error())
			}
		})
	}
}

// TestSettingsDefaults: what is run by go test ./e2e alone.
func TestSettingsDefaults(t *testing.T) {
	s := parseFlags(t)
	require.NoError(t, s.validate())
	assert.Equal(t, settings{profile: "quick", artifacts: filepath.Join("..", "artifacts"), rate: 100, repeat: 1, soak: time.Hour, cluster: cluster.Config{Workers: 1}}, s)
}

// TestSettingsPaths: tests run in the folder of their package, and a relative path is meant from the root of the repository.
func TestSettingsPaths(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want settings
	}{
		{
			"relative",
			[]string{"-out=out/a", "-replay=./old", "-kubeconfig=k", "-context=c"},
			settings{artifacts: "../out/a", replay: "../old", cluster: cluster.Config{Kubeconfig: "../k", Context: "c"}},
		},
		{
			"absolute",
			[]string{"-artifacts=/out/a", "-replay=/old", "-kubeconfig=/k", "-context=c"},
			settings{artifacts: "/out/a", replay: "/old", cluster: cluster.Config{Kubeconfig: "/k", Context: "c"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := parseFlags(t, tt.args...)
			require.NoError(t, s.validate())
			tt.want.profile, tt.want.rate, tt.want.repeat, tt.want.soak, tt.want.cluster.Workers = "quick", 100, 1, time.Hour, 1
			assert.Equal(t, tt.want, s)
		})
	}
}

// TestSettingsFlags: each flag ends up where it belongs.
func TestSettingsFlags(t *testing.T) {
	s := parseFlags(t, "-profile=full", "-artifacts=/a", "-replay=/r", "-rate=7", "-repeat=2", "-node-image=n", "-proxy-mode=nftables", "-proxy-min-sync=10s",
		"-keep", "-kubeconfig=/k", "-context=c", "-address=h:1", "-app-image=i", "-load-image=l", "-workers=3", "-lanes=service/new", "-soak=5m")
	assert.Equal(t, settings{
		profile: "full", artifacts: "/a", replay: "/r", rate: 7, repeat: 2, lanes: "service/new", soak: 5 * time.Minute,
		cluster: cluster.Config{
			NodeImage: "n", ProxyMode: "nftables", ProxyMinSync: 10 * time.Second, Keep: true,
			Kubeconfig: "/k", Context: "c", Address: "h:1", AppImage: "i", LoadImage: "l", Workers: 3,
		},
	}, s)
}
