package cluster

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/traffic"
	"github.com/zerodrop/zerodrop/e2e/internal/worker"
	"github.com/zerodrop/zerodrop/scenarios"
)

// errWrongRequest is the guarantee that no load is sent of which every answer says that it isn't meant so.
var errWrongRequest = errors.New("the app can't be measured by this request")

// learnt is what the target has answered while it was waited for.
type learnt struct {
	mu sync.Mutex
	scenarios.Learnt
}

// Learnt is what the target has answered before the load. It is for an app that isn't the sample app.
func (a *App) Learnt() scenarios.Learnt {
	if a.learnt == nil {
		return scenarios.Learnt{}
	}
	a.learnt.mu.Lock()
	defer a.learnt.mu.Unlock()
	return a.learnt.Learnt
}

// asks is a probe that sends what the target is asked, and takes the right answer only.
func (a *App) asks(send probe) probe {
	if a.target == nil {
		return send
	}
	return func(ctx context.Context, at worker.Target) (traffic.Answer, error) {
		if at.App == nil {
			at.App = a.target
		}
		known := a.learnt
		if at.App.Front { // which may answer otherwise than the app
			known = &learnt{}
		}
		answer, err := send(ctx, at)
		var untrusted *tls.CertificateVerificationError
		switch {
		case err == nil:
			err = known.take(*at.App, answer)
		case errors.As(err, &untrusted):
			err = fmt.Errorf("%w: %w: say whom to believe by -ca, or -insecure, and the name by -host", errWrongRequest, err)
		}
		return answer, err
	}
}

// take says what is wrong with an answer, and what to write where the request is wrong. Where nobody has said
// which status is right, the first answer that says success decides.
func (l *learnt) take(t scenarios.Target, answer traffic.Answer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	code := answer.Status
	another := "give another by the annotation zerodrop.dev/request of the Service"
	orRight := fmt.Sprintf(", or zerodrop.dev/expect-status: %q if that is the right answer", fmt.Sprint(code))
	if t.Front {
		another, orRight = "give another by -url", ", or what it wants to see by -header and -host"
	}
	want := cmp.Or(t.ExpectStatus, l.Status)
	switch {
	case want == code:
	case want != 0:
		return fmt.Errorf("%s answers %d, and %d is right", t.Request, code, want)
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusProxyAuthRequired:
		return fmt.Errorf("%w: %s answers %d, it wants to know who asks: %s that anybody may send%s",
			errWrongRequest, t.Request, code, another, orRight)
	case code >= 300 && code <= 399:
		return fmt.Errorf("%w: %s answers %d, and leads to %q: %s that is answered where it is sent%s",
			errWrongRequest, t.Request, code, answer.Location, another, orRight)
	case code < 200 || code > 299: // the way to it may not be there yet
		return fmt.Errorf("%s answers %d: %s%s", t.Request, code, another, orRight)
	}
	switch {
	case answer.Body == timeline.WrongBody:
		return fmt.Errorf("%s answers with a body that doesn't match %q, as the annotation zerodrop.dev/expect-body wants it",
			t.Request, t.ExpectBody)
	case answer.Body != timeline.OK:
		return fmt.Errorf("%s answers with a body that is %s", t.Request, answer.Body)
	case t.PodHeader != "" && answer.Pod == "":
		return fmt.Errorf("%w: %s answers without the header %s, by which it is to name its Pod: "+
			"leave the annotation zerodrop.dev/pod-header out", errWrongRequest, t.Request, t.PodHeader)
	}
	l.Status = cmp.Or(l.Status, code)
	return nil
}

// namesPods says that an answer names the Pod that has given it.
func (a *App) namesPods() bool { return a.target == nil || a.target.PodHeader != "" }

// namesThose wants the names in the target's answers to be those of Pods.
func (a *App) namesThose(at worker.Target, pods []string, answered map[string]bool) error {
	if a.target == nil || a.target.PodHeader == "" || at.App != nil && at.App.Front {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(answered)) {
		if !slices.Contains(pods, name) {
			return fmt.Errorf("%w: %s answers with the header %s: %q, and no Pod of the app has that name (%v): "+
				"leave the annotation zerodrop.dev/pod-header out", errWrongRequest, a.target.Request, a.target.PodHeader, name,
				pods)
		}
	}
	return nil
}

// learnSlow finds out how long slow requests take, where there is a lane of such: the longer of two counts.
func (a *App) learnSlow(ctx context.Context, lanes []scenarios.Lane) error {
	i := slices.IndexFunc(lanes, func(l scenarios.Lane) bool { return l.Load.Class == scenarios.ClassInFlight })
	if a.target == nil || i < 0 {
		return nil
	}
	slow, ok := a.target.Slowly()
	if !ok {
		return nil
	}
	consumer := lanes[i].Consumer
	at := a.targets(consumer)[0]
	at.App = &slow
	for range 2 {
		answer, err := a.probes(consumer)[0](ctx, at)
		if err != nil {
			return fmt.Errorf("slow request, which is to be answered within a few seconds: %w", err)
		}
		a.learnt.mu.Lock()
		a.learnt.Slow = max(a.learnt.Slow, answer.Took)
		a.learnt.mu.Unlock()
	}
	return nil
}
