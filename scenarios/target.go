package scenarios

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Target is the app under test as far as requests go, where it isn't the sample app: how it is asked,
// and which answer is right. It knows nothing of the load's headers, and keeps no ledger.
type Target struct {
	Name    string // of the app, as reports call it
	Request Request
	// Slow takes long to answer; nil: there is no lane of slow requests. Any complete body of it is right.
	Slow *Request `json:",omitempty"`
	// ExpectStatus is that of a right answer; 0: the one that the app answers before the load begins.
	ExpectStatus int
	StatusLearnt bool   // ExpectStatus is what the app has answered, and nobody's word
	ExpectBody   string // a regular expression that a right answer's body matches; empty: any complete body
	PodHeader    string // of an answer, that names its Pod; empty: none does
	Signal       string // that ends its processes, as its manifests have it, for reports; empty: nobody says
	// Expect is what is promised for each class, on every consumer that is asked; a class that isn't there
	// is measured.
	Expect map[Class]Expect `json:",omitempty"`
	// Live says that it runs already, and is only restarted.
	Live bool `json:",omitempty"`
	// Front says that it is what stands before an app, of which only the address is known. Host is the name that
	// it is asked for, if that isn't its address; Header are more headers, and TLS whom to believe. They stay in
	// this process: they are written down nowhere, and sent to no worker.
	Front  bool        `json:",omitempty"`
	Host   string      `json:"-"`
	Header http.Header `json:"-"`
	TLS    *tls.Config `json:"-"`
}

// Request is how an app is asked.
type Request struct {
	Method string
	Path   string // with its query, from the slash on
}

// ParseRequest reads a request as people write it: a path, or a method and a path, as in "/", "GET /shop?page=2".
func ParseRequest(text string) (Request, error) {
	words := strings.Fields(text)
	if len(words) == 1 {
		words = []string{http.MethodGet, words[0]}
	}
	if len(words) != 2 {
		return Request{}, fmt.Errorf("request %q: want a path, or a method and a path, as in GET /", text)
	}
	r := Request{Method: words[0], Path: words[1]}
	return r, r.validate()
}

// String is the request as ParseRequest reads it.
func (r Request) String() string { return r.Method + " " + r.Path }

// Safe says that the request changes nothing, so that it may be sent a hundred times a second.
func (r Request) Safe() bool {
	return slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, r.Method)
}

var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost, http.MethodPut, http.MethodPatch,
	http.MethodDelete,
}

func (r Request) validate() error {
	if !slices.Contains(methods, r.Method) {
		return fmt.Errorf("request %q: has method %q: want one of %s", r, r.Method, strings.Join(methods, ", "))
	}
	u, err := url.ParseRequestURI(r.Path)
	if err != nil {
		return fmt.Errorf("request %q: %w", r, err)
	}
	if !strings.HasPrefix(r.Path, "/") || u.Host != "" || strings.Contains(r.Path, "#") {
		return fmt.Errorf("request %q: has path %q: want it from the slash on, as in /shop?page=2", r, r.Path)
	}
	return nil
}

// Validate says what is wrong with the target, for one all at once.
func (t Target) Validate() error {
	var errs []error
	if t.Name == "" {
		errs = append(errs, errors.New("has no name"))
	}
	errs = append(errs, t.Request.validate())
	if t.Slow != nil {
		errs = append(errs, t.Slow.validate())
	}
	if t.ExpectStatus != 0 && (t.ExpectStatus < 200 || t.ExpectStatus > 599) {
		errs = append(errs, fmt.Errorf("expects status %d: want 200 to 599, or 0 for the one that it answers",
			t.ExpectStatus))
	}
	if _, err := regexp.Compile(t.ExpectBody); err != nil {
		errs = append(errs, fmt.Errorf("expects a body that matches %q: %w", t.ExpectBody, err))
	}
	for _, class := range slices.Sorted(maps.Keys(t.Expect)) {
		if !slices.Contains(classes, class) {
			errs = append(errs, fmt.Errorf("expects something of unknown class %q: want one of %s", class, classNames()))
		}
		if word := t.Expect[class]; !slices.Contains(expects, word) {
			errs = append(errs, fmt.Errorf("unknown expectation %q of class %s: want clean, drops or measured", word, class))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("app %s: %w", t.Name, err)
	}
	return nil
}

// Lanes are those in which the target is asked: new and reused connections, and slow requests if there is
// one, all in HTTP/1.1. The rest needs an app that speaks the sample app's protocols.
func (t Target) Lanes(lanes []Lane) []Lane {
	var out []Lane
	for _, l := range lanes {
		request := t.Request
		switch slow := Slow(l.Load.Rate).Name; {
		case l.Load.Driver != HTTP || l.Load.Replayable, l.Load.Name == slow && t.Slow == nil:
			continue
		case l.Load.Name == slow:
			// How long the app works for it is not known yet.
			request, l.Load.Work = *t.Slow, 0
		}
		l.Load.Method, l.Load.Opaque = request.Method, true
		out = append(out, l)
	}
	return out
}

// Slowly is the target as it is asked for what is slow; false if it isn't.
func (t Target) Slowly() (slow Target, ok bool) {
	if t.Slow == nil {
		return t, false
	}
	t.Request, t.ExpectBody = *t.Slow, ""
	return t, true
}

// Of is the target as it is asked in lanes of a load.
func (t Target) Of(l Load) Target {
	if slow, ok := t.Slowly(); ok && l.Class == ClassInFlight {
		return slow
	}
	return t
}

// Learnt is what a target has answered before the load.
type Learnt struct {
	Status int           // the one that it always answered; 0 if it wasn't asked
	Slow   time.Duration // the longest that an answer to its slow request took
}

// Learn is the scenario with what its target has answered: that decides which status is right, unless
// somebody has said so, and how long slow requests take.
func (s Scenario) Learn(l Learnt) Scenario {
	t := *s.Target
	if t.ExpectStatus == 0 && l.Status != 0 {
		t.ExpectStatus, t.StatusLearnt = l.Status, true
	}
	s.Target, s.Lanes = &t, slices.Clone(s.Lanes)
	for i := range s.Lanes {
		if load := &s.Lanes[i].Load; load.Class == ClassInFlight {
			load.Work = l.Slow.Round(time.Millisecond)
		}
	}
	return s
}

// promise is what the target promises for a class.
func (t Target) promise(class Class) Promise {
	if word, ok := t.Expect[class]; ok {
		return Promise{word, "app " + t.Name}
	}
	return Promise{Measured, "app " + t.Name + ": promises nothing for " + string(class)}
}
