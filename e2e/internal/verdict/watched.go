package verdict

import (
	"cmp"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// watched are the removals as the consumers without lanes saw them: by consumer, in the order of the
// deletions. A Pod that a consumer has never asked is left out: nothing is known of it.
func watched(tl timeline.Timeline, pods lifecycles) []Watched {
	var out []Watched
	for _, consumer := range tl.Spec.Watched {
		scrapes := map[*PodLifecycle][]timeline.Scrape{}
		for _, s := range tl.Scrapes {
			if life := pods.at(s.IP, s.At); s.Consumer == consumer && life != nil {
				scrapes[life] = append(scrapes[life], s)
			}
		}
		every := scrapeInterval(scrapes)
		var removed []*PodLifecycle
		for life := range scrapes {
			if life.has(timeline.PodDeleted) {
				removed = append(removed, life)
			}
		}
		slices.SortFunc(removed, func(a, b *PodLifecycle) int {
			deleted := func(l *PodLifecycle) time.Duration { return l.FirstSeen[timeline.PodDeleted] }
			return cmp.Or(cmp.Compare(deleted(a), deleted(b)), cmp.Compare(a.Pod, b.Pod))
		})
		for _, life := range removed {
			w := Watched{Consumer: consumer, Pod: life.Pod}
			last, heard := time.Duration(0), life.created()
			for _, s := range scrapes[life] {
				last = max(last, s.At)
				if s.OK {
					heard = max(heard, s.At)
				}
			}
			w.After = last - life.FirstSeen[timeline.PodDeleted]
			// A scrape after the Pod's end shows by itself how long they went on, and so does one that
			// was due before it and never came.
			if end, ok := life.stopped(); ok && last <= end {
				w.Censored = every == 0 || end-last < every*3/2
			}
			if exit, _, ok := life.exit(); ok {
				w.Blind = max(0, exit-heard)
			}
			out = append(out, w)
		}
	}
	return out
}

// scrapeInterval is the time between two scrapes of a Pod, as half of them have it; 0 if no Pod was
// scraped twice.
func scrapeInterval(scrapes map[*PodLifecycle][]timeline.Scrape) time.Duration {
	var gaps []time.Duration
	for _, of := range scrapes {
		for i := range len(of) - 1 {
			gaps = append(gaps, of[i+1].At-of[i].At)
		}
	}
	if len(gaps) == 0 {
		return 0
	}
	slices.Sort(gaps)
	return gaps[len(gaps)/2]
}
