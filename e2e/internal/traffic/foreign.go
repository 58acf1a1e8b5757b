package traffic

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// targetOf is the app that a lane goes to.
func targetOf(lane Lane) (Target, error) {
	if lane.Target == nil {
		return sampleApp(lane), nil
	}
	return foreignApp(lane)
}

// foreignApp is an app that knows nothing of zerodrop as the target of a lane. Requests say all the same
// which they are: the access logs of proxies tell it.
func foreignApp(lane Lane) (Target, error) {
	t := lane.Target.Of(lane.Load)
	accept, err := acceptForeign(t)
	if err != nil {
		return Target{}, fmt.Errorf("lane %s: %w", lane.Name, err)
	}
	body := io.Reader(http.NoBody) // nothing is ever sent again on a new connection
	if lane.Load.Connections == scenarios.ReusedConnections {
		body = opaque{}
	}
	return Target{
		Request: func(ctx context.Context, seq int) (*http.Request, error) {
			req, err := foreignRequest(ctx, t, lane.URL, body)
			if err != nil {
				return nil, err
			}
			req.Header[protocol.HeaderLane], req.Header[protocol.HeaderSeq] = []string{lane.Name}, []string{strconv.Itoa(seq)}
			return req, nil
		},
		Accept: accept,
		Pod:    podOf(t),
	}, nil
}

// foreignRequest is what a target is asked at a URL.
func foreignRequest(ctx context.Context, t scenarios.Target, url string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, t.Request.Method, url+t.Request.Path, body)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, t.Header)
	req.Host = cmp.Or(t.Host, req.Host)
	return req, nil
}

// opaque is a body that http.Transport can't have twice, and that is empty: a GET goes out as if it had
// none, and is not sent again when its connection dies. A method that usually has a body gets an empty one
// in chunks.
type opaque struct{}

// Read implements io.Reader.
func (opaque) Read([]byte) (int, error) { return 0, io.EOF }

// Close implements io.Closer.
func (opaque) Close() error { return nil }

// acceptForeign gives the cause of an answer: its status, then whether all of its body came, then whether
// that is as expected. Without an expected status any is right that says success.
func acceptForeign(t scenarios.Target) (func(code int, body []byte, complete bool) timeline.Cause, error) {
	expected, err := regexp.Compile(t.ExpectBody)
	if err != nil {
		return nil, fmt.Errorf("expected body: %w", err)
	}
	return func(code int, body []byte, complete bool) timeline.Cause {
		right := code == t.ExpectStatus || t.ExpectStatus == 0 && code >= 200 && code <= 299
		switch {
		case !right && code >= 500 && code <= 599:
			return timeline.HTTP5xx
		case !right:
			return timeline.HTTPOther
		case !complete:
			return timeline.Truncated
		case !expected.Match(body):
			return timeline.WrongBody
		}
		return timeline.OK
	}, nil
}

// podOf reads the Pod from an answer, if the target's answers name it.
func podOf(t scenarios.Target) func(http.Header) string {
	return func(h http.Header) string {
		if t.PodHeader == "" {
			return ""
		}
		return h.Get(t.PodHeader)
	}
}

// Answer is what an app answers when it is asked before the load.
type Answer struct {
	Pod string `json:"pod,omitempty"` // that has answered, if the answer says so
	// The rest is of an app that isn't the sample app.
	Status   int            `json:"status,omitempty"`
	Location string         `json:"location,omitempty"` // where a redirect leads to
	Body     timeline.Cause `json:"body"`               // ok, or how it is wrong
	Took     time.Duration  `json:"took,omitempty"`
}

// ProbeForeign asks a target once. Which status is right is for the caller to say.
func ProbeForeign(ctx context.Context, by http.RoundTripper, url string, t scenarios.Target) (Answer, error) {
	req, err := foreignRequest(ctx, t, url, http.NoBody)
	if err != nil {
		return Answer{}, err
	}
	began := time.Now()
	resp, err := by.RoundTrip(req) // no http.Client: it would follow redirects
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", t.Request, err)
	}
	body, readErr := readAnswer(resp)
	t.ExpectStatus = resp.StatusCode
	accept, err := acceptForeign(t)
	if err != nil {
		return Answer{}, err
	}
	return Answer{
		Pod: podOf(t)(resp.Header), Status: resp.StatusCode, Location: resp.Header.Get("Location"),
		Body: accept(resp.StatusCode, body, readErr == nil), Took: time.Since(began),
	}, nil
}
