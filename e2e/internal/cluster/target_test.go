package cluster

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// TestLearn: the first answer that says success decides which status is right, unless somebody has said so. What can't be meant so is told at once, with
// what to write.
func TestLearn(t *testing.T) {
	target := scenarios.Target{Name: "shop", Request: scenarios.Request{Method: http.MethodGet, Path: "/shop"}}
	ok := func(code int) traffic.Answer { return traffic.Answer{Status: code, Body: timeline.OK} }
	tests := []struct {
		name   string
		change func(*scenarios.Target)
		before int // the status that it has answered before
		answer traffic.Answer
		status int // that is right then
		wrong  bool
		err    string
	}{
		{"success", nil, 0, ok(201), 201, false, ""},
		{"the same again", nil, 201, ok(201), 201, false, ""},
		{"another", nil, 201, ok(200), 201, false, "GET /shop answers 200, and 201 is right"},
		{"an error after success", nil, 200, ok(503), 200, false, "GET /shop answers 503, and 200 is right"},
		{"not there yet", nil, 0, ok(404), 0, false, `GET /shop answers 404: give another by the annotation zerodrop.dev/request of the Service, or zerodrop.dev/expect-status: "404" if`},
		{"a login", nil, 0, traffic.Answer{Status: 302, Location: "/login", Body: timeline.OK}, 0, true, `GET /shop answers 302, and leads to "/login": give another by`},
		{"nobody may ask", nil, 0, ok(401), 0, true, "GET /shop answers 401, it wants to know who asks: give another by the annotation zerodrop.dev/request of the Service that anybody may send"},
		{"a login, as expected", func(t *scenarios.Target) { t.ExpectStatus = 302 }, 0, ok(302), 302, false, ""},
		{"not what is expected", func(t *scenarios.Target) { t.ExpectStatus = 204 }, 0, ok(200), 0, false, "GET /shop answers 200, and 204 is right"},
		{
			"a wrong body", func(t *scenarios.Target) { t.ExpectBody = "^page" }, 0,
			traffic.Answer{Status: 200, Body: timeline.WrongBody},
			0, false,
			`GET /shop answers with a body that doesn't match "^page", as the annotation zerodrop.dev/expect-body wants it`,
		},
		{"cut off", nil, 0, traffic.Answer{Status: 200, Body: timeline.Truncated}, 0, false, "GET /shop answers with a body that is truncated"},
		{"no name of a Pod", func(t *scenarios.Target) { t.PodHeader = "X-Served-By" }, 0, ok(200), 0, true, "without the header X-Served-By, by which it is to name its Pod"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, target := learnt{Learnt: scenarios.Learnt{Status: tt.before}}, target
			if tt.change != nil {
				tt.change(&target)
			}
			err := l.take(target, tt.answer)
			assert.Equal(t, tt.status, l.Status)
			if tt.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.err)
			assert.Equal(t, tt.wrong, errors.Is(err, errWrongRequest))
		})
	}
}

// TestWaitForAForeignApp: an app that isn't the sample app is there when every one of many answers is right; where answers name Pods, when each has answered.
func TestWaitForAForeignApp(t *testing.T) {
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Served-By", []string{"a", "b"}[n.Add(1)%2])
		switch {
		case r.URL.Path == "/login":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/report":
			time.Sleep(20 * time.Millisecond)
		case n.Load() < 10: // while it comes up
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	get := func(path string) scenarios.Request { return scenarios.Request{Method: http.MethodGet, Path: path} }
	slow := get("/report")
	tests := []struct {
		name   string
		target scenarios.Target
		pods   []runtime.Object
		err    string
	}{
		{"no Pod is named", scenarios.Target{Request: get("/"), Slow: &slow}, nil, ""},
		{"each is named", scenarios.Target{Request: get("/"), PodHeader: "X-Served-By"}, []runtime.Object{aPod("a", ready), aPod("b", ready)}, ""},
		{
			"another is named",
			scenarios.Target{Request: get("/"), PodHeader: "X-Served-By"},
			[]runtime.Object{aPod("a", ready), aPod("c", ready)},
			`GET / answers with the header X-Served-By: "b", and no Pod of the app has that name ([a c]): leave the annotation zerodrop.dev/pod-header out`,
		},
		{"nobody may ask", scenarios.Target{Request: get("/login")}, nil, "permanent failure: the app can't be measured by this request: GET /login answers 401"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.Store(0)
			app, _ := newApp(tt.pods...)
			app.target, app.learnt = &tt.target, &learnt{}
			consumer := fixtures.Consumer{Name: "x", From: fixtures.FromOutside, Loads: []string{"new"}}
			app.urls["x"] = []string{server.URL}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			err := app.waitConsumer(ctx, consumer)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			require.NoError(t, app.learnSlow(ctx, []scenarios.Lane{{Consumer: consumer, Load: scenarios.Slow(10)}}))
			assert.Equal(t, http.StatusOK, app.Learnt().Status)
			assert.Equal(t, tt.target.Slow != nil, app.Learnt().Slow >= 20*time.Millisecond)
		})
	}
	assert.Equal(t, scenarios.Learnt{}, (&App{}).Learnt(), "the sample app is known")
}
