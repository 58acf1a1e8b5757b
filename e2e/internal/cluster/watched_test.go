package cluster

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/zerodrop/zerodrop/fixtures"
)

func at(podIP, hostIP string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.PodIP, p.Status.HostIPs = podIP, []corev1.HostIP{{IP: "fc00::9"}, {IP: hostIP}}
	}
}

// TestLocalize: a node that answers by its own Pods alone is asked if it has one, and only those have to answer there.
func TestLocalize(t *testing.T) {
	const w1, w2 = "172.18.0.3", "172.18.0.4"
	tests := []struct {
		name string
		on   []string // nodes of Pods a, b, c
		want map[string][]string
		err  string
	}{
		{"Pods on both nodes", []string{w1, w2, w1}, map[string][]string{"http://172.18.0.3:1": {"a", "c"}, "http://172.18.0.4:1": {"b"}}, ""},
		{"all on one node", []string{w2, w2, w2}, map[string][]string{"http://172.18.0.4:1": {"a", "b", "c"}}, ""},
		{"all on one that isn't asked", []string{"172.18.0.2", "172.18.0.2", "172.18.0.2"}, nil, "no node that may be asked has a Pod"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app, _ := newApp(
				aPod("a", at("10.0.0.1", tt.on[0])), aPod("b", at("10.0.0.2", tt.on[1])), aPod("c", at("10.0.0.3", tt.on[2])),
				aPod("gone", at("10.0.0.4", w1), terminating), aPod("other", at("10.0.0.5", w1), foreign),
			)
			c := fixtures.Consumer{Name: "x", Local: true, Address: "http://{node}:1"}
			app.addresses["x"] = []netip.Addr{netip.MustParseAddr(w1), netip.MustParseAddr(w2)}
			app.urls["x"] = []string{"http://172.18.0.3:1", "http://172.18.0.4:1"}
			err := app.localize(t.Context(), c)
			if tt.err != "" {
				require.EqualError(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, app.own)
			assert.ElementsMatch(t, slices.Collect(maps.Keys(tt.want)), app.urls["x"])
			for i, address := range app.Addresses(c) {
				assert.Equal(t, "http://"+address.String()+":1", app.urls["x"][i])
			}
			require.NoError(t, app.localize(t.Context(), fixtures.Consumer{Name: "y"}), "any other consumer")
			require.NoError(t, app.localize(t.Context(), fixtures.Consumer{Name: "z", Local: true}), "a load balancer's")
		})
	}
	app, _ := newApp()
	require.ErrorIs(t, app.localize(t.Context(), fixtures.Consumer{Name: "x", Local: true, Address: "http://{node}:1"}), errWhichNode)
}

// TestWaitConsumerLocally: of a node that answers by its own Pods alone nobody else's are waited for.
func TestWaitConsumerLocally(t *testing.T) {
	app, _ := newApp(aPod("a", ready), aPod("b", ready))
	url := fmt.Sprintf("http://127.0.0.1:%d", serve(t, func() []string { return []string{"a"} }, nil))
	c := fixtures.Consumer{Name: "x", From: fixtures.FromOutside, Loads: []string{"new"}}
	app.urls["x"], app.own[url] = []string{url}, []string{"a"}
	require.NoError(t, app.waitConsumer(t.Context(), c))
}

// TestWatchedConsumer: a consumer without loads is there when it has scraped each Pod, and is asked through the API server.
func TestWatchedConsumer(t *testing.T) {
	scraped := func(ip, value string) string {
		return fmt.Sprintf(`{"metric":{"job":"p","instance":"%s:8080"},"values":[[1,"1"],[2,%q]]}`, ip, value)
	}
	first := scraped("10.0.0.1", "1")
	tests := []struct {
		name, result string
		code         int
		want         string
	}{
		{"each Pod", first + "," + scraped("10.0.0.2", "1"), 200, ""},
		{"one is missing", first, 200, "Pod b was not scraped yet"},
		{"one doesn't answer", first + "," + scraped("10.0.0.2", "0"), 200, "Pod b was not scraped yet"},
		{"Prometheus isn't there", "", 503, "ask Prometheus: 503 Service Unavailable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app, _ := newApp(aPod("a", at("10.0.0.1", "")), aPod("b", at("10.0.0.2", "")))
			ctx, cancel := context.WithTimeoutCause(t.Context(), sec, errUser)
			defer cancel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				assert.Equal(t, prometheusPath, r.URL.Path)
				assert.Contains(t, r.URL.Query().Get("query"), `up{job="p"}[`)
				w.WriteHeader(tt.code)
				_, _ = io.WriteString(w, `{"status":"success","data":{"resultType":"matrix","result":[`+tt.result+`]}}`)
			}))
			t.Cleanup(server.Close)
			app.cluster.server, app.cluster.http = server.URL, server.Client()
			err := app.waitConsumer(ctx, fixtures.Consumer{Name: "p"})
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "wait for a scrape of each Pod: ")
			assert.ErrorContains(t, err, tt.want)
		})
	}
	app, _ := newApp()
	app.watched = []fixtures.Consumer{{Name: "p", Component: "prometheus"}, {Name: "q", Component: "prometheus"}}
	app.components = map[string]instance{"prometheus": {node: "control"}}
	var got []string
	for _, s := range app.scrapers() {
		got = append(got, s.Consumer+" by job "+s.Job+" on "+s.Node)
	}
	assert.Equal(t, []string{"p by job p on control", "q by job q on control"}, got)
}
