package verdict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// scrape has Prometheus ask a Pod every second, from an instant to another; answered up to a third.
func scrape(ip string, from, to, answered time.Duration) func(*timeline.Timeline) {
	return func(tl *timeline.Timeline) {
		for at := from; at <= to; at += sec {
			tl.Scrapes = append(tl.Scrapes, timeline.Scrape{Consumer: "prometheus", IP: ip, At: at, OK: at <= answered})
		}
	}
}

// TestWatched: of app-0, deleted at 4 s, which closes its listener at 6 s and ends at 7 s. app-1 stays.
func TestWatched(t *testing.T) {
	const first, second = "10.0.0.1", "10.0.0.2"
	seen := func(after, blind time.Duration, censored bool) []Watched {
		return []Watched{{Consumer: "prometheus", Pod: "app-0", After: after, Censored: censored, Blind: blind}}
	}
	tests := []struct {
		name    string
		changes changes
		want    []Watched
	}{
		{"nothing is on record", nil, nil},
		{"a Pod that stays", changes{scrape(second, sec, 9*sec, 9*sec)}, nil},
		{"not asked since before its deletion", changes{scrape(first, 1100*ms, 3100*ms, sec*9)}, seen(-900*ms, 3900*ms, false)},
		{"for a while", changes{scrape(first, 1100*ms, 4200*ms, sec*9)}, seen(100*ms, 2900*ms, false)},
		{"until its end", changes{scrape(first, 1500*ms, 5500*ms, sec*9)}, seen(1500*ms, 1500*ms, true)},
		{"beyond its end", changes{scrape(first, 1500*ms, 12500*ms, 5900*ms)}, seen(8500*ms, 1500*ms, false)},
		{"the scrape before the end failed", changes{scrape(first, 1500*ms, 5500*ms, 4900*ms)}, seen(1500*ms, 2500*ms, true)},
		{"no scrape ever got an answer", changes{scrape(first, 2500*ms, 9500*ms, 0)}, seen(5500*ms, 7*sec, false)},
		{"once: its interval is not known", changes{scrape(first, 2500*ms, 2500*ms, 0)}, seen(-1500*ms, 7*sec, true)},
		{"once, and others every second", changes{scrape(second, sec, 9*sec, 9*sec), scrape(first, 2500*ms, 2500*ms, 9*sec)}, seen(-1500*ms, 4500*ms, false)},
		{"a Pod whose end was not seen", changes{without(timeline.AppListenerClosed, timeline.AppExit, timeline.ProcessExit), scrape(first, 1500*ms, 5500*ms, 9*sec)}, seen(1500*ms, 0, false)},
		{"the deletion was not seen", changes{without(timeline.PodDeleted), scrape(first, 1500*ms, 5500*ms, 9*sec)}, nil},
		{"an address that no Pod has", changes{scrape("10.0.0.9", sec, 9*sec, 9*sec)}, nil},
		{"another consumer, which was not declared", changes{scrape(first, sec, 9*sec, 9*sec), func(tl *timeline.Timeline) { tl.Spec.Watched = []string{"other"} }}, nil},
		{"both Pods, in the order of their deletions", changes{
			func(tl *timeline.Timeline) { happens(tl, 3*sec, timeline.PodDeleted, timeline.Event{Pod: "app-1"}) },
			scrape(first, 1500*ms, 4500*ms, 9*sec), scrape(second, 1500*ms, 3500*ms, 9*sec),
		}, []Watched{{Consumer: "prometheus", Pod: "app-1", After: 500 * ms}, {Consumer: "prometheus", Pod: "app-0", After: 500 * ms, Blind: 2500 * ms}}},
		{"another Pod of that name", changes{again, func(tl *timeline.Timeline) {
			happens(tl, 13*sec, timeline.PodDeleted, timeline.Event{Pod: "app-0", UID: "uid-again"})
		}, scrape(first, 1500*ms, 4500*ms, 20*sec), scrape("10.0.0.5", 12*sec, 14*sec, 20*sec)}, append(seen(500*ms, 2500*ms, false), seen(sec, 0, false)...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := leaving()
			tl.Spec.Watched = []string{"prometheus"}
			for _, change := range tt.changes {
				change(&tl)
			}
			assert.Equal(t, tt.want, Judge(tl).Watched)
		})
	}
}

// TestWatchedAllTheTime: a Prometheus that was away makes a run inconclusive, and the reason names
// the consumer.
func TestWatchedAllTheTime(t *testing.T) {
	tests := []struct {
		name   string
		change func(*timeline.Timeline)
		want   []string
	}{
		{"there all the time", func(*timeline.Timeline) {}, nil},
		{"none is watched", func(tl *timeline.Timeline) { tl.Spec.Watched, tl.Scrapes = nil, nil }, nil},
		{"made anew in mid-run", func(tl *timeline.Timeline) {
			tl.Sources = append(tl.Sources, timeline.Source{Kind: timeline.SourceScrape, Missing: "prometheus: Prometheus scraped nothing from 4s to 9s"})
		}, []string{"prometheus: Prometheus scraped nothing from 4s to 9s"}},
		{"nothing on record", func(tl *timeline.Timeline) { tl.Scrapes = nil }, []string{"prometheus: no scrape is on record"}},
		{"only another's", func(tl *timeline.Timeline) { tl.Scrapes[0].Consumer = "other" }, []string{"prometheus: no scrape is on record"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tl := rollout()
			tl.Spec.Watched = []string{"prometheus"}
			scrape("10.0.0.1", sec, sec, sec)(&tl)
			tt.change(&tl)
			v := Judge(tl)
			assert.Equal(t, tt.want, v.Reasons)
			assert.Equal(t, tt.want == nil, v.Conclusive())
		})
	}
}
