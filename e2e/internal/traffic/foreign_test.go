package traffic

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/scenarios"
)

func get(path string) scenarios.Request {
	return scenarios.Request{Method: http.MethodGet, Path: path}
}

// TestAcceptForeign: the status that is expected alone is right, and then the whole of a body that matches.
func TestAcceptForeign(t *testing.T) {
	tests := []struct {
		name     string
		status   int
		pattern  string
		code     int
		body     string
		complete bool
		want     timeline.Cause
	}{
		{"any success", 0, "", 204, "", true, timeline.OK},
		{"no success", 0, "", 302, "", true, timeline.HTTPOther},
		{"the expected", 200, "", 200, "whatever", true, timeline.OK},
		{"another success", 200, "", 204, "", true, timeline.HTTPOther},
		{"an error", 200, "", 503, "", true, timeline.HTTP5xx},
		{"an expected error", 503, "", 503, "", true, timeline.OK},
		{"success where an error is expected", 404, "", 200, "", true, timeline.HTTPOther},
		{"cut off", 200, "", 200, "what", false, timeline.Truncated},
		{"the body", 200, "^page [0-9]+$", 200, "page 7", true, timeline.OK},
		{"a wrong body", 200, "^page [0-9]+$", 200, "It works!", true, timeline.WrongBody},
		{"a wrong body, cut off", 200, "^page [0-9]+$", 200, "It w", false, timeline.Truncated},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			accept, err := acceptForeign(scenarios.Target{ExpectStatus: tt.status, ExpectBody: tt.pattern})
			require.NoError(t, err)
			assert.Equal(t, tt.want, accept(tt.code, []byte(tt.body), tt.complete))
		})
	}
	_, err := acceptForeign(scenarios.Target{ExpectBody: "("})
	require.ErrorContains(t, err, "expected body: ")
}

// TestForeignApp asks a server that knows nothing of the load, and whose every tenth answer is wrong.
func TestForeignApp(t *testing.T) {
	long := strings.Repeat("a long page\n", 20_000) // longer than what is held against what is expected
	var n atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /shop", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Served-By", "shop-a")
		seen := n.Add(1)
		if seen%10 == 0 {
			_, _ = io.WriteString(w, "It works!")
			return
		}
		_, _ = fmt.Fprintf(w, "page %s of %d\n", r.URL.Query().Get("page"), seen)
	})
	mux.HandleFunc("GET /long", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, long) })
	mux.HandleFunc("GET /short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(long)))
		_, _ = io.WriteString(w, long[:len(long)-1])
	})
	mux.HandleFunc("POST /order", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) > 0 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	slow := get("/long")
	tests := []struct {
		name string
		app  scenarios.Target
		load scenarios.Load
		want map[timeline.Cause]int
	}{
		{
			"any complete body", scenarios.Target{Request: get("/shop?page=2")}, scenarios.New(100), map[timeline.Cause]int{timeline.OK: 20},
		},
		{
			"a body that matches",
			scenarios.Target{Request: get("/shop?page=2"), ExpectBody: "^page 2 "},
			scenarios.New(100),
			map[timeline.Cause]int{timeline.OK: 18, timeline.WrongBody: 2},
		},
		{
			"on connections that are kept",
			scenarios.Target{Request: get("/shop?page=2"), ExpectStatus: 200, ExpectBody: "^page 2 "},
			scenarios.Reused(100),
			map[timeline.Cause]int{timeline.OK: 18, timeline.WrongBody: 2},
		},
		{"a long body", scenarios.Target{Request: get("/long"), ExpectBody: "page"}, scenarios.Reused(100), map[timeline.Cause]int{timeline.OK: 20}},
		{"a long body without its end", scenarios.Target{Request: get("/short")}, scenarios.New(100), map[timeline.Cause]int{timeline.Truncated: 20}},
		{"what isn't there", scenarios.Target{Request: get("/lost")}, scenarios.New(100), map[timeline.Cause]int{timeline.HTTPOther: 20}},
		{"what isn't there, as expected", scenarios.Target{Request: get("/lost"), ExpectStatus: 404}, scenarios.New(100), map[timeline.Cause]int{timeline.OK: 20}},
		{
			"an order, on connections that are kept",
			scenarios.Target{Request: scenarios.Request{Method: http.MethodPost, Path: "/order"}, ExpectStatus: 201},
			scenarios.Reused(100),
			map[timeline.Cause]int{timeline.OK: 20},
		},
		{
			"slow requests, whose body is another",
			scenarios.Target{Request: get("/shop"), Slow: &slow, ExpectBody: "^page 2 "},
			scenarios.Slow(100),
			map[timeline.Cause]int{timeline.OK: 20},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.Store(0)
			tt.app.Name, tt.app.PodHeader = "shop", "X-Served-By"
			lane := laneTo(&tt.app, tt.load, server.URL)
			require.NoError(t, lane.Validate())
			record := sendLane(t, lane, 20)
			assert.Equal(t, tt.want, count(record))
			for _, r := range record.Requests {
				if tt.app.Request.Path == "/shop?page=2" {
					assert.Equal(t, "shop-a", record.PodOf(r))
				}
			}
		})
	}
}

// TestFront: over TLS, with a name and headers of its own, and on connections that are counted as any.
func TestFront(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "shop.test" || r.Header.Get("Authorization") != "Bearer s3cret" || r.ProtoMajor != 1 {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer server.Close()
	front := &scenarios.Target{
		Name: "front", Front: true, Request: get("/"), Host: "shop.test", Header: http.Header{"Authorization": {"Bearer s3cret"}},
		TLS: &tls.Config{InsecureSkipVerify: true},
	}
	record := sendLane(t, laneTo(front, scenarios.Reused(100), server.URL), 30)
	assert.Equal(t, map[timeline.Cause]int{timeline.OK: 30}, count(record))
	uses := map[uint32]int{}
	for _, r := range record.Requests {
		uses[r.ConnUse]++
	}
	assert.Equal(t, map[uint32]int{1: 10, 2: 10, 3: 10}, uses, "ten clients in turn, a connection each")
	believing := *front
	believing.TLS = nil
	record = sendLane(t, laneTo(&believing, scenarios.New(100), server.URL), 5)
	assert.Equal(t, map[timeline.Cause]int{timeline.TLS: 5}, count(record))
}

// TestForeignLanes: an app that isn't the sample app speaks HTTP/1.1 alone.
func TestForeignLanes(t *testing.T) {
	app := &scenarios.Target{Name: "shop", Request: get("/")}
	for _, load := range []scenarios.Load{scenarios.Unary(10), scenarios.ReusedH2(10), scenarios.Sockets(10)} {
		lane := Lane{Name: "service/" + load.Name, Load: load, Target: app}
		require.ErrorContains(t, lane.Validate(), "which only the sample app answers", load.Name)
	}
	lane := laneTo(&scenarios.Target{Request: get("/")}, scenarios.New(10), "http://127.0.0.1:1")
	require.ErrorContains(t, lane.Validate(), "lane test/new: app : has no name")
	lane.Target.Name, lane.Target.ExpectBody = "shop", "("
	require.ErrorContains(t, lane.Validate(), "lane test/new: app shop: expects a body that matches")
}
