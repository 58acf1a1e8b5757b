package suite

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/zerodrop/zerodrop/e2e/internal/cluster"
	"github.com/zerodrop/zerodrop/e2e/internal/userapp"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/sampleapp/protocol"
	"github.com/zerodrop/zerodrop/scenarios"
)

// targetRate is how many requests per second a lane of what runs already sends, unless others are asked for: little,
// as it may have users.
const targetRate = 10

// Target is what the flags say of a Deployment that runs in a cluster that exists, and of what stands before it.
type Target struct {
	Name          string // as kubectl has it: deploy/NAME
	Namespace     string
	LoadNamespace string // where the Job of the workers is made; empty for Namespace
	URL           string // of what stands before it, with the path that is asked; empty: only its Service is asked
	Host          string // that is asked for at URL; empty for URL's own
	Header        header // more of them, at URL
	CA            string // file of the certificates to believe at URL, beside the system's
	Insecure      bool   // believe any
}

// header is a flag that may be given several times. Its values are secrets, maybe: it is never printed.
type header http.Header

// Set implements flag.Value.
func (h *header) Set(text string) error {
	name, value, found := strings.Cut(text, ":")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if strings.EqualFold(name, "Host") {
		return errors.New("write -host NAME")
	}
	if !found || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
		return errors.New(`want a header, as in "Authorization: Bearer TOKEN"`)
	}
	if *h == nil {
		*h = header{}
	}
	http.Header(*h).Add(name, value)
	return nil
}

// String implements flag.Value.
func (h *header) String() string {
	if h == nil || len(*h) == 0 {
		return ""
	}
	return fmt.Sprintf("%d headers", len(*h))
}

func (t *Target) register(f *flag.FlagSet) {
	f.StringVar(&t.Name, "target", "",
		"`deploy/NAME` that runs in -namespace: it is restarted once, as kubectl rollout restart does, and nothing else "+
			"is done to it; needs -kubeconfig and -context")
	f.StringVar(&t.Namespace, "namespace", "", "`namespace` of -target")
	f.StringVar(&t.LoadNamespace, "load-namespace", "",
		"`namespace` for the Pod that sends load to the Service of -target; empty for -namespace")
	f.StringVar(&t.URL, "url", "",
		"`URL` to ask from here, of what stands before -target, whatever that is; without -load-image this alone is asked")
	f.StringVar(&t.Host, "host", "", "`name` that -url is asked for, if it isn't the URL's host")
	f.Var(&t.Header, "header", "`header` of requests to -url, as in 'Authorization: Bearer TOKEN'; may be given several "+
		"times; it is printed and written nowhere")
	f.StringVar(&t.CA, "ca", "", "`file` of certificates to believe at -url, beside the system's")
	f.BoolVar(&t.Insecure, "insecure", false, "believe any certificate at -url")
}

// validate says what is wrong with the flags, for one all at once.
func (t Target) validate(k cluster.Config, dryRun bool) error {
	var errs []error
	check := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	if t.Name == "" {
		check(t.Namespace+t.LoadNamespace+t.URL != "" || dryRun,
			"-namespace, -load-namespace, -url and -dry-run are of a Deployment that runs: write -target deploy/NAME, too")
	} else {
		check(k.Kubeconfig == "", "-target is in a cluster that exists: write -kubeconfig FILE -context NAME, too")
		check(k.Kubeconfig != "" && k.LoadImage == "" && (t.URL == "" || t.LoadNamespace != ""),
			"-target: which image has the Pod that sends load? Write -load-image REF, or -url URL alone, to ask from here")
		check(t.Namespace == "", "-target %s: in which namespace? Write -namespace NAME", t.Name)
		check(t.deployment() == "", "-target %q: want deploy/NAME; only a Deployment can be measured as it runs", t.Name)
	}
	check(t.URL == "" && (t.Host+t.CA != "" || len(t.Header) > 0 || t.Insecure),
		"-host, -header, -ca and -insecure are of requests to -url: write -url URL, too")
	check(t.CA != "" && t.Insecure, "-ca and -insecure exclude each other")
	if t.URL != "" {
		u, err := url.Parse(t.URL)
		switch {
		case err != nil:
			check(true, "-url: %s", errors.Unwrap(err)) // without the URL, which may hold a secret
		case u.User != nil:
			check(true, "-url: has a user: write -header 'Authorization: …' instead, which is printed nowhere")
		default:
			check(u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Fragment != "" || strings.ContainsAny(t.URL,
				"{}"),
				"-url: want one as in https://shop.example.com/cart?page=1")
		}
	}
	return errors.Join(errs...)
}

// deployment is the name of the Deployment; empty if it is none.
func (t Target) deployment() string {
	kind, name, _ := strings.Cut(t.Name, "/")
	if !slices.Contains([]string{"deploy", "deployment", "deployments", "deployment.apps", "deployments.apps"}, kind) ||
		strings.Contains(name, "/") {
		return ""
	}
	return name
}

// live is what the cluster is to know of it; nil for none. With -url, and without an image for the workers, there are
// none.
func (t Target) live(loadImage string) *cluster.Live {
	if t.Name == "" {
		return nil
	}
	return &cluster.Live{
		Namespace: t.Namespace, Deployment: t.deployment(), LoadNamespace: t.LoadNamespace,
		NoWorkers: t.URL != "" && loadImage == "" && t.LoadNamespace == "",
	}
}

// Live is a suite of its own that measures what runs, as the flags with a change say. It is for tests.
func (s *Suite) Live(ctx context.Context, change func(*Config)) (*Suite, error) {
	out := &Suite{s.Config, &state{}}
	*out.state = *s.state
	change(&out.Config)
	app, err := lookAt(ctx, out.Config)
	out.app, out.cluster, out.clusterErr = app, nil, nil
	return out, err
}

// lookAt reads what runs, or refuses it with what to write.
func lookAt(ctx context.Context, config Config) (*userapp.App, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	found, err := cluster.Look(ctx, config.Cluster)
	if err != nil {
		return nil, fmt.Errorf("%w: -target: %w", ErrConfig, err)
	}
	app, err := userapp.Live(found.Deployment, found.Services)
	if err != nil {
		return nil, fmt.Errorf("%w: -target: %w", ErrConfig, err)
	}
	config.Cluster.Live.Service = app.Service.GetName()
	return &app, nil
}

// lookWithin is how long an API server may take to say what runs.
const lookWithin = 20 * time.Second

// liveScenario is what runs under its one restart.
func (s *Suite) liveScenario() (scenarios.Scenario, error) {
	asIs, err := s.app.AsIs()
	if err != nil {
		return scenarios.Scenario{}, err
	}
	out, err := s.appScenario(asIs, "rolling-update")
	if err != nil {
		return out, err
	}
	front, err := s.Config.Target.front(s.Config.Rate)
	if err != nil {
		return out, err
	}
	if s.Config.Cluster.Live.NoWorkers {
		target := *out.Target
		target.Request, out.Target, out.Lanes = front[0].Target.Request, &target, nil
	}
	out.Lanes = append(out.Lanes, front...)
	return out, out.Validate()
}

// front are the lanes of what stands before the app; none without a URL.
func (t Target) front(rate int) ([]scenarios.Lane, error) {
	if t.URL == "" {
		return nil, nil
	}
	u, err := url.Parse(t.URL)
	if err != nil {
		return nil, fmt.Errorf("-url: %w", err)
	}
	asked := scenarios.Target{
		Name: u.Host, Front: true, Host: t.Host, Header: http.Header(t.Header),
		Request: scenarios.Request{Method: http.MethodGet, Path: u.RequestURI()},
		TLS:     &tls.Config{InsecureSkipVerify: t.Insecure, ServerName: (&url.URL{Host: t.Host}).Hostname()},
		//nolint:gosec // who says -insecure wants that
	}
	if t.CA != "" {
		raw, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("-ca: %w", err)
		}
		if asked.TLS.RootCAs, err = x509.SystemCertPool(); err != nil {
			return nil, fmt.Errorf("read the system's certificates: %w", err)
		}
		if !asked.TLS.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("-ca %s: has no certificate in PEM", t.CA)
		}
	}
	consumer := fixtures.Consumer{
		Name: "url", Summary: "what stands before the app", From: fixtures.FromOutside, Address: u.Scheme + "://" + u.Host,
		Routing: "per-request", Loads: []string{scenarios.New(rate).Name, scenarios.Reused(rate).Name},
	}
	lanes := asked.Lanes([]scenarios.Lane{
		{Consumer: consumer, Load: scenarios.New(rate)}, {Consumer: consumer, Load: scenarios.Reused(rate)},
	})
	for i := range lanes {
		lanes[i].Target = &asked
	}
	return lanes, nil
}

// tellPlan says what is done to what runs, and what isn't.
func (s *Suite) tellPlan(run scenarios.Run) {
	live, takes := s.Config.Cluster.Live, s.estimate([]scenarios.Run{run})
	s.progress.line("to be done: one rollout restart, as by kubectl -n %s rollout restart deployment/%s, whose "+
		"annotation stays",
		live.Namespace, live.Deployment)
	if namespace := live.Loads(); namespace != "" {
		s.progress.line("to be made: in namespace %s one Job %s-… of a Pod with image %s, which is removed at the end; "+
			"should this process be killed, it ends and goes by itself", namespace, cluster.LiveJob, s.Config.Cluster.LoadImage)
	}
	var lanes []string
	for _, l := range run.Lanes {
		lanes = append(lanes, fmt.Sprintf("%s (%s)", l.Name(), run.TargetOf(l).Request))
	}
	s.progress.line("to be sent: %d requests/s in each of %d lanes, for about %.0f s: %s; with headers %s and %s",
		s.Config.Rate, len(lanes), takes.Seconds(), strings.Join(lanes, ", "), protocol.HeaderLane, protocol.HeaderSeq)
	s.progress.line("not touched: everything else; no other object is made, changed or deleted")
	s.progress.line("not known before: whether images can be pulled, whether requests arrive, how long new Pods take " +
		"to start")
}
