package observe

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Scraper is a consumer that is only watched: a job of a Prometheus, which writes down by itself when
// it asked whom.
type Scraper struct {
	Consumer string
	Job      string
	Node     string // that Prometheus runs on: its clock dates the scrapes
	// Query asks Prometheus, as /api/v1/query does, and returns its answer as it is.
	Query func(ctx context.Context, promql string, at time.Time) ([]byte, error)
}

// OwnJob is the job by which Prometheus scrapes itself. It is asked whether Prometheus was there: a
// target that is gone and a Prometheus that is gone look alike.
const OwnJob = "prometheus"

// Up are the addresses of the Pods of which a scraper got an answer the last time.
func (s Scraper) Up(ctx context.Context, at time.Time) (ips []string, err error) {
	raw, err := s.Query(ctx, fmt.Sprintf("up{job=%q}[%s]", s.Job, upWithin), at)
	if err != nil {
		return nil, err
	}
	series, err := parseSeries(raw)
	for _, one := range series {
		if last := len(one.samples) - 1; last >= 0 && one.samples[last].up {
			ips = append(ips, one.address.Addr().String())
		}
	}
	return ips, err
}

// upWithin is how long ago a scrape may have been that counts as the last.
const upWithin = 3 * time.Second

// scraperAway is for how long Prometheus may scrape nothing before that is told: three of its
// intervals of 1 s (fixtures/components/prometheus).
const scraperAway = 3 * time.Second

// scraping reads, at the end, when Prometheus scraped each Pod: the series up has a sample for each
// scrape, at the instant at which that began.
type scraping struct {
	Scraper
	node *watchedNode // nil if that node can't be asked
}

func (s scraping) Name() string { return "scrapes of " + s.Consumer }

func (s scraping) Run(ctx context.Context, to Recorder) error {
	source := timeline.Source{Kind: timeline.SourceScrape, Node: s.Node}
	err := fmt.Errorf("the clock of node %q is not known", s.Node)
	if s.node != nil {
		err = s.node.compareClocks(ctx, to.clock)
		source.IP, source.Comparison = s.node.IP, s.node.comparison
	}
	to.Ready()
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askWithin)
	defer cancel()
	var scrapes []timeline.Scrape
	if err == nil {
		end := time.Now()
		// From before the start of the run, so that what was scraped at it is among the rest.
		back := (end.Sub(to.clock.Start()) + 10*time.Second).Round(time.Second)
		query := fmt.Sprintf("up{job=~%q}[%s]", s.Job+"|"+OwnJob, back)
		var raw []byte
		if raw, err = s.Query(ctx, query, end); err == nil {
			scrapes, source.Missing, err = s.read(raw, to.clock, to.clock.Offset(end))
		}
	}
	if err != nil {
		source.Missing = err.Error()
	}
	if source.Missing != "" {
		source.Missing = s.Consumer + ": " + source.Missing
	}
	to.AtEnd(func(all *Record) {
		all.Sources = append(all.Sources, source)
		ips := all.podIPs()
		for _, scrape := range scrapes {
			if ips[scrape.IP] {
				all.Scrapes = append(all.Scrapes, scrape)
			}
		}
		slices.SortStableFunc(all.Scrapes, func(a, b timeline.Scrape) int { return cmp.Compare(a.At, b.At) })
	})
	return nil
}

// read turns Prometheus' answer into scrapes, and says when it scraped nothing at all for too long, up
// to the end of the run.
func (s scraping) read(raw []byte, clock timeline.Clock, end time.Duration) (
	scrapes []timeline.Scrape, missing string, err error,
) {
	all, err := parseSeries(raw)
	if err != nil {
		return nil, "", err
	}
	alive := []time.Duration{0, end}
	for _, series := range all {
		for _, sample := range series.samples {
			at := s.node.offset(clock, sample.at)
			if series.job == OwnJob {
				alive = append(alive, at)
				continue
			}
			scrapes = append(scrapes, timeline.Scrape{
				Consumer: s.Consumer, IP: series.address.Addr().String(), At: at, OK: sample.up,
			})
		}
	}
	slices.Sort(alive)
	for i := range len(alive) - 1 {
		if from, to := max(0, alive[i]), alive[i+1]; to-from > scraperAway {
			const grain = 100 * time.Millisecond
			return scrapes, fmt.Sprintf("Prometheus scraped nothing from %s to %s", from.Round(grain), to.Round(grain)), nil
		}
	}
	return scrapes, "", nil
}

// series are the scrapes of one target.
type series struct {
	job     string
	address netip.AddrPort // not set for Prometheus itself
	samples []sample       // in the order of their time
}

type sample struct {
	at time.Time
	up bool
}

// parseSeries reads the answer to a query for a range of the series up: pairs of seconds since the
// epoch, with three decimals, and a number as text.
func parseSeries(raw []byte) ([]series, error) {
	var answer struct {
		Status, Error string
		Data          struct {
			ResultType string
			Result     []struct {
				Metric struct{ Job, Instance string }
				Values [][2]any
			}
		}
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("read what Prometheus answers: %w", err)
	}
	if answer.Status != "success" || answer.Data.ResultType != "matrix" {
		return nil, fmt.Errorf("ask Prometheus: %s %s %s", answer.Status, answer.Data.ResultType, answer.Error)
	}
	var out []series
	for _, result := range answer.Data.Result {
		s := series{job: result.Metric.Job}
		var err error
		if s.address, err = netip.ParseAddrPort(result.Metric.Instance); err != nil && s.job != OwnJob {
			return nil, fmt.Errorf("read what Prometheus answers: instance: %w", err)
		}
		for _, value := range result.Values {
			seconds, isNumber := value[0].(float64)
			text, isText := value[1].(string)
			if !isNumber || !isText {
				return nil, fmt.Errorf("read what Prometheus answers: sample %v", value)
			}
			at := time.UnixMilli(int64(math.Round(seconds * 1000)))
			s.samples = append(s.samples, sample{at, text == "1"})
		}
		out = append(out, s)
	}
	return out, nil
}
