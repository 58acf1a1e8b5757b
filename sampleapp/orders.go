package main

import (
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// outage is a time in which a probe fails by order.
type outage struct{ until atomic.Pointer[time.Time] } // nil: there is none; the zero time: it has no end

// begin begins it, for as long as given; 0 stands for good.
func (o *outage) begin(d time.Duration) {
	until := time.Time{}
	if d > 0 {
		until = time.Now().Add(d)
	}
	o.until.Store(&until)
}

func (o *outage) goesOn() bool {
	until := o.until.Load()
	return until != nil && (until.IsZero() || time.Now().Before(*until))
}

const failingByOrder = "failing by order\n"

// fail lets a probe fail from now on, for good or for a time. Work is done as before.
func (s *server) fail(w http.ResponseWriter, r *http.Request) {
	duration, err := durationOf(r, "0s", maxWork)
	if !s.ordered(w, r, err) {
		return
	}
	switch probe := r.URL.Query().Get(protocol.ParamProbe); probe {
	case protocol.ProbeLive:
		s.failing.live.begin(duration)
	case protocol.ProbeReady:
		s.failing.ready.begin(duration)
	default:
		text := fmt.Sprintf("probe=%q: want %s or %s\n", probe, protocol.ProbeLive, protocol.ProbeReady)
		_ = s.answer(w, http.StatusBadRequest, text)
		return
	}
	_ = s.answer(w, http.StatusOK, failingByOrder)
}

// end ends the process at once, as a crash does: it cuts off what is in flight, and tells nothing.
func (s *server) end(w http.ResponseWriter, r *http.Request) {
	text := r.URL.Query().Get(protocol.ParamCode)
	code, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		err = fmt.Errorf("code=%q: want an exit code from 0 to 255", text)
	}
	if s.ordered(w, r, err) && s.answer(w, http.StatusOK, "ending\n") == nil {
		s.exit(int(code))
	}
}

// ordered says whether a request is an order that can be meant, and answers one that isn't. Orders
// are given by POST, so that nobody gives one by looking.
func (s *server) ordered(w http.ResponseWriter, r *http.Request, err error) bool {
	switch {
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "POST")
		_ = s.answer(w, http.StatusMethodNotAllowed, "want POST\n")
	case err != nil:
		_ = s.answer(w, http.StatusBadRequest, err.Error()+"\n")
	default:
		return true
	}
	return false
}
