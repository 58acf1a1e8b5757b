package scenarios

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseRequest(t *testing.T) {
	tests := []struct {
		name, text string
		want       string
		err        string
	}{
		{"a path", "/", "GET /", ""},
		{"with a query", "/shop?page=2", "GET /shop?page=2", ""},
		{"with a method", "HEAD  /healthz", "HEAD /healthz", ""},
		{"empty", "", "", "want a path, or a method and a path"},
		{"three words", "GET / HTTP/1.1", "", "want a path, or a method and a path"},
		{"unknown method", "FETCH /", "", `has method "FETCH": want one of GET, HEAD`},
		{"no slash", "shop", "", "invalid URI"},
		{"a whole URL", "http://shop.example/", "", "want it from the slash on"},
		{"a fragment", "/shop#top", "", "want it from the slash on"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseRequest(tt.text)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got.String())
		})
	}
}

// foreign is an app that nobody has written for this project.
func foreign() Target { return Target{Name: "shop", Request: Request{"GET", "/"}} }

func TestTargetValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Target)
		want   string
	}{
		{"fine", func(*Target) {}, ""},
		{"no name", func(t *Target) { t.Name = "" }, "has no name"},
		{"no request", func(t *Target) { t.Request = Request{} }, `has method ""`},
		{"a bad slow request", func(t *Target) { t.Slow = &Request{"GET", "slow"} }, "invalid URI"},
		{"a slow request's body", func(t *Target) { t.Slow, t.ExpectBody = &Request{"GET", "/slow"}, "^page" }, ""},
		{"a bad status", func(t *Target) { t.ExpectStatus = 100 }, "expects status 100: want 200 to 599"},
		{"a bad expression", func(t *Target) { t.ExpectBody = "(" }, "missing closing )"},
		{"an unknown class", func(t *Target) { t.Expect = map[Class]Expect{"old": Clean} }, `unknown class "old": want one of new, kept-alive`},
		{"an unknown word", func(t *Target) { t.Expect = map[Class]Expect{ClassNew: "none"} }, `unknown expectation "none" of class new`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := foreign()
			tt.change(&target)
			if err := target.Validate(); tt.want != "" {
				require.ErrorContains(t, err, tt.want)
			} else {
				require.NoError(t, err)
			}
		})
	}
}

// TestTargetLanes: a foreign app is asked on new and on reused connections, and slowly if it can be.
func TestTargetLanes(t *testing.T) {
	s, err := catalogue(t).Find("no-handler", "rolling-update", 50)
	require.NoError(t, err)
	s, err = s.Only([]string{"service/new", "service/reused", "service/replayable", "service/slow"})
	require.NoError(t, err)
	target := foreign()
	lanes := target.Lanes(s.Lanes)
	assert.Equal(t, []string{"service/new", "service/reused"}, laneNames(lanes))
	target.Slow = &Request{"GET", "/report"}
	s.Lanes, s.Target = target.Lanes(s.Lanes), &target
	assert.Equal(t, []string{"service/new", "service/reused", "service/slow"}, laneNames(s.Lanes))
	require.NoError(t, s.Validate(), "a GET on reused connections is not blind, as its body can't be had twice")
	for _, l := range s.Lanes {
		assert.Equal(t, "GET", l.Load.Method)
		assert.Zero(t, l.Load.Work, "nobody knows how long it works")
		want := "GET /"
		if l.Load.Name == "slow" {
			want = "GET /report"
		}
		assert.Equal(t, want, target.Of(l.Load).Request.String())
	}

	learnt := s.Learn(Learnt{Status: 201, Slow: 1700 * time.Millisecond})
	assert.Equal(t, 201, learnt.Target.ExpectStatus)
	assert.True(t, learnt.Target.StatusLearnt)
	assert.Equal(t, 1700*time.Millisecond, learnt.Lanes[2].Load.Work)
	assert.Zero(t, learnt.Lanes[0].Load.Work)
	assert.Zero(t, s.Target.ExpectStatus, "the scenario itself stays as it is")
	s.Target.ExpectStatus = 200
	assert.Equal(t, 200, s.Learn(Learnt{Status: 201}).Target.ExpectStatus, "somebody has said so")
	assert.False(t, s.Learn(Learnt{Status: 201}).Target.StatusLearnt)
}

// TestTargetHeldTo: a foreign app is held to its own word, and where no Pod goes to nothing dropped.
func TestTargetHeldTo(t *testing.T) {
	target := foreign()
	target.Expect = map[Class]Expect{ClassNew: Clean}
	s, err := catalogue(t).Find("no-handler", "rolling-update", 50)
	require.NoError(t, err)
	s.Lanes, s.Target = target.Lanes(s.Lanes), &target
	for _, l := range s.Lanes {
		assert.Equal(t, Promise{Clean, "app shop"}, s.HeldTo(l, ClassNew, 0), "of %s too", l.Name())
		assert.Equal(t, Promise{Measured, "app shop: promises nothing for in-flight"}, s.HeldTo(l, ClassInFlight, 0))
	}
	none, err := catalogue(t).Find("no-handler", "none", 50)
	require.NoError(t, err)
	none.Lanes, none.Target = s.Lanes, &target
	assert.Equal(t, Promise{Clean, "disruption none"}, none.HeldTo(none.Lanes[0], ClassInFlight, 0))
}
