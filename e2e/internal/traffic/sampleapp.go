package traffic

import (
	"bytes"
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// sampleApp is the sample app as the target of a lane.
func sampleApp(lane Lane) Target {
	url := lane.URL + protocol.PathWork
	if lane.Load.Work > 0 {
		url += "?" + protocol.ParamFor + "=" + lane.Load.Work.String()
	}
	var body []byte
	if lane.Load.Method == http.MethodPost {
		body = []byte("work\n") // together with no GetBody: nothing that http.Transport could send twice
	}
	return Target{
		Request: func(ctx context.Context, seq int) (*http.Request, error) {
			req, err := http.NewRequestWithContext(ctx, lane.Load.Method, url, bytes.NewReader(body))
			if err != nil {
				return nil, err
			}
			req.Header = http.Header{protocol.HeaderLane: {lane.Name}, protocol.HeaderSeq: {strconv.Itoa(seq)}}
			return req, nil
		},
		Accept:   acceptSampleApp,
		Pod:      func(h http.Header) string { return h.Get(protocol.HeaderPod) },
		Identify: identifySampleApp,
	}
}

// acceptSampleApp gives the cause of an answer: its status, then whether all of its body came, then
// whether it is the app's.
func acceptSampleApp(code int, body []byte, complete bool) timeline.Cause {
	switch {
	case code >= 500 && code <= 599:
		return timeline.HTTP5xx
	case code < 200 || code > 299:
		return timeline.HTTPOther
	case !complete:
		return timeline.Truncated // by FIN or by RST: the answer ended within its body
	case string(body) == protocol.StrangerBody:
		return timeline.WrongApp
	case string(body) != protocol.Body:
		return timeline.WrongBody
	}
	return timeline.OK
}

// identifySampleApp fills in what the answer says of its connection and of its Pod's life.
func identifySampleApp(h http.Header, o *Outcome) {
	if ms, err := strconv.ParseFloat(h.Get(protocol.HeaderLeaving), 64); err == nil {
		o.Leaving = millis(ms)
	}
	o.Conn = number(h.Get(protocol.HeaderConn))
	o.ConnUse = number(h.Get(protocol.HeaderConnRequest))
}

// millis turns the app's milliseconds into a duration, NotLeaving if there are none.
func millis(f float64) time.Duration {
	if f < 0 || math.IsNaN(f) {
		return timeline.NotLeaving
	}
	return time.Duration(f * float64(time.Millisecond)).Round(time.Microsecond)
}

func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}
