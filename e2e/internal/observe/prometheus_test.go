package observe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// up is a series of Prometheus' answer: a target of a job, and what its scrapes found. An instant is one of the bubble's clock.
func up(job, instance, value string, at ...time.Duration) string {
	var values []string
	for _, d := range at {
		values = append(values, fmt.Sprintf("[%.3f,%q]", 946684800+d.Seconds(), value))
	}
	return fmt.Sprintf(`{"metric":{"__name__":"up","instance":%q,"job":%q},"values":[%s]}`, instance, job, strings.Join(values, ","))
}

func matrix(series ...string) string {
	return `{"status":"success","data":{"resultType":"matrix","result":[` + strings.Join(series, ",") + `]}}`
}

func everySecond(from, to time.Duration) (out []time.Duration) {
	for at := from; at <= to; at += sec {
		out = append(out, at)
	}
	return out
}

// TestScrapes: what Prometheus did to the run's Pods, and why it isn't known.
func TestScrapes(t *testing.T) {
	own := up(OwnJob, "localhost:9090", "1", everySecond(-3500*ms, 9500*ms)...)
	scraped := []timeline.Scrape{{Consumer: "p", IP: "10.244.1.2", At: 1200 * ms, OK: true}, {Consumer: "p", IP: "10.244.1.2", At: 2200 * ms}}
	pod := up("p", "10.244.1.2:8080", "1", 1200*ms) + "," + up("p", "10.244.1.2:8080", "0", 2200*ms)
	tests := []struct {
		name, node, answer string
		err                error
		want               []timeline.Scrape
		missing            string
	}{
		{"each scrape of a Pod of the run", "worker", matrix(own, pod, up("p", "10.244.9.9:8080", "1", sec)), nil, scraped, ""},
		{"by a clock that is 2 s ahead", "ahead", matrix(up(OwnJob, "localhost:9090", "1", everySecond(0, 11500*ms)...), up("p", "10.244.1.2:8080", "1", 3200*ms)), nil, scraped[:1], ""},
		{"it was away", "worker", matrix(up(OwnJob, "localhost:9090", "1", append(everySecond(-500*ms, 2500*ms), everySecond(7*sec, 9*sec)...)...), pod), nil, scraped, "p: Prometheus scraped nothing from 2.5s to 7s"},
		{"it was made anew, and has forgotten", "worker", matrix(up(OwnJob, "localhost:9090", "1", everySecond(6*sec, 9*sec)...)), nil, nil, "p: Prometheus scraped nothing from 0s to 6s"},
		{"it went away for good", "worker", matrix(up(OwnJob, "localhost:9090", "1", everySecond(-sec, 5*sec)...), pod), nil, scraped, "p: Prometheus scraped nothing from 5s to 10s"},
		{"it isn't there", "worker", "", errors.New("ask Prometheus: 503 Service Unavailable"), nil, "p: ask Prometheus: 503 Service Unavailable"},
		{"it refuses", "worker", `{"status":"error","error":"no such thing"}`, nil, nil, "p: ask Prometheus: error  no such thing"},
		{"another kind of answer", "worker", `{"status":"success","data":{"resultType":"vector"}}`, nil, nil, "p: ask Prometheus: success vector "},
		{"no JSON", "worker", "<html>", nil, nil, "p: read what Prometheus answers: invalid character"},
		{"a target without an address", "worker", matrix(own, up("p", "app-0:8080", "1", sec)), nil, nil, "p: read what Prometheus answers: instance: "},
		{"a sample of another kind", "worker", matrix(`{"metric":{"job":"prometheus"},"values":[["1","1"]]}`), nil, nil, "p: read what Prometheus answers: sample [1 1]"},
		{"its node's clock is not known", "deaf", matrix(own, pod), nil, nil, "p: ask node deaf (cat): "},
		{"no such node", "elsewhere", matrix(own, pod), nil, nil, `p: the clock of node "elsewhere" is not known`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *apiServer) {
				s.put(aReadyPod("app-0"))
				var asked []string
				o := s.observe(t, func(c *Config) {
					silent := map[string]string{"cat": timeline.Kernel(), "sh": subscribed + "\n…", "ctr": "…"}
					ahead := map[string]string{"cat": "another", "date": "946684802000000000", "sh": subscribed + "\n…", "ctr": "…"}
					c.Nodes = []Node{fakeNode("worker", silent), fakeNode("ahead", ahead), fakeNode("deaf", nil)}
					c.Scrapers = []Scraper{{Consumer: "p", Job: "p", Node: tt.node, Query: func(ctx context.Context, promql string, at time.Time) ([]byte, error) {
						require.NoError(t, ctx.Err(), "there is time to ask, though the run is over")
						asked = append(asked, fmt.Sprint(promql, " at ", time.Since(at)))
						return []byte(tt.answer), tt.err
					}}}
				})
				after(10 * sec)
				seen := o.Stop()
				assert.Equal(t, tt.want, seen.Scrapes)
				var sources []timeline.Source
				for _, source := range seen.Sources {
					if source.Kind == timeline.SourceScrape {
						sources = append(sources, source)
					}
				}
				require.Len(t, sources, 1)
				assert.Equal(t, tt.node, sources[0].Node)
				if tt.missing == "" {
					assert.Empty(t, sources[0].Missing)
					assert.Equal(t, []string{`up{job=~"p|prometheus"}[20s] at 0s`}, asked)
				} else {
					assert.ErrorContains(t, errors.New(sources[0].Missing), tt.missing)
				}
			})
		})
	}
}

// TestUp: the Pods of which the last scrape got an answer.
func TestUp(t *testing.T) {
	s := Scraper{Job: "p", Query: func(context.Context, string, time.Time) ([]byte, error) {
		return []byte(matrix(up("p", "10.0.0.1:80", "1", sec, 2*sec), up("p", "10.0.0.2:80", "0", sec), up("p", "10.0.0.3:80", "1"))), nil
	}}
	ips, err := s.Up(t.Context(), time.Now())
	require.NoError(t, err)
	assert.Equal(t, []string{"10.0.0.1"}, ips)
	s.Query = func(context.Context, string, time.Time) ([]byte, error) { return nil, context.Canceled }
	_, err = s.Up(t.Context(), time.Now())
	require.ErrorIs(t, err, context.Canceled)
}
