package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/zerodrop/zerodrop/e2e/internal/observe"
	"github.com/zerodrop/zerodrop/fixtures"
)

// prometheusPath is where the API server passes requests on to the Service of the component
// (fixtures/components/prometheus).
const prometheusPath = "/api/v1/namespaces/" + componentsNamespace + "/services/http:prometheus:9090/proxy/api/v1/query"

// scrapers are the consumers that are only watched. Each is a job of Prometheus, of the same name.
func (a *App) scrapers() []observe.Scraper {
	var out []observe.Scraper
	for _, c := range a.watched {
		out = append(out, a.scraper(c))
	}
	return out
}

func (a *App) scraper(c fixtures.Consumer) observe.Scraper {
	node := a.components[c.Component].node
	return observe.Scraper{Consumer: c.Name, Job: c.Name, Node: node, Query: a.cluster.queryPrometheus}
}

// queryPrometheus asks Prometheus, through the API server, and returns its answer as it is.
func (c *Cluster) queryPrometheus(ctx context.Context, promql string, at time.Time) ([]byte, error) {
	seconds := strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)
	query := url.Values{"query": {promql}, "time": {seconds}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+prometheusPath+"?"+query.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask Prometheus: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask Prometheus: %w", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.200s", resp.Status, raw)
	}
	if err != nil {
		return nil, fmt.Errorf("ask Prometheus: %w", err)
	}
	return raw, nil
}

// maxAnswer bounds what is read of Prometheus' answer: a sample is some 25 bytes, and a run has a few
// thousand.
const maxAnswer = 16 << 20

// waitScraped waits until a consumer that is only watched has scraped every Pod: Prometheus takes up
// to ten seconds to learn of one.
func (a *App) waitScraped(ctx context.Context, c fixtures.Consumer) error {
	list, err := a.cluster.pods().List(ctx, metav1.ListOptions{LabelSelector: a.selector})
	if err != nil {
		return fmt.Errorf("list Pods: %w", err)
	}
	scraper := a.scraper(c)
	return poll(ctx, deployWithin, "a scrape of each Pod", func(ctx context.Context) (string, error) {
		asking, cancel := context.WithTimeout(ctx, answerWithin)
		defer cancel()
		up, err := scraper.Up(asking, time.Now())
		if ctx.Err() != nil {
			return "", ctx.Err() // what was missing before tells more than that time is up
		}
		if err != nil {
			return err.Error(), nil // what is missing, not a fault of the API server
		}
		for _, p := range list.Items {
			if !slices.Contains(up, p.Status.PodIP) {
				return fmt.Sprintf("Pod %s was not scraped yet", p.Name), nil
			}
		}
		return "", nil
	})
}
