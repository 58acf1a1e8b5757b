package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// None stands in a cell that has nothing to say: not measured, or meaningless for this row.
const None = "–"

// atLeast stands before a length that is a lower bound.
const atLeast = "≥ "

// Duration is a measured length with its unit: 1.9ms, 310ms, 21.4s. It stays in seconds above a
// minute, so that the lengths of a column compare.
func Duration(d time.Duration) string {
	switch ms := float64(d) / float64(time.Millisecond); {
	case d < 0: // an instant before the one that it counts from
		return "-" + Duration(-d)
	case d == 0:
		return "0s"
	case ms < 9.95:
		return fmt.Sprintf("%.1fms", ms)
	case ms < 999.5:
		return fmt.Sprintf("%.0fms", ms)
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

// LastArrival is the last arrival of a lane in a cell: a lower bound where only the Pod's own end
// ended them.
func LastArrival(a *verdict.Arrival) string {
	switch {
	case a == nil:
		return None
	case a.Censored:
		return atLeast + Duration(a.After)
	}
	return Duration(a.After)
}

// hundredths is a length in seconds to a hundredth, which is what a lane of 100 requests/s tells:
// 0.14s, 15.02s.
func hundredths(d time.Duration) string { return fmt.Sprintf("%.2fs", d.Seconds()) }

// span is the length of a phase of work: as Duration up to a minute, above it 7m12s or 1h02m.
func span(d time.Duration) string {
	whole := d.Round(time.Second)
	switch {
	case whole < time.Minute:
		return Duration(d)
	case whole < time.Hour:
		return fmt.Sprintf("%dm%02ds", whole/time.Minute, whole%time.Minute/time.Second)
	}
	whole = d.Round(time.Minute)
	return fmt.Sprintf("%dh%02dm", whole/time.Hour, whole%time.Hour/time.Minute)
}

// percent writes a share in two digits: a small one must not look like zero.
func percent(share float64) string {
	if share < 0.0095 {
		return fmt.Sprintf("%.2g %%", 100*share)
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}

// Count is "1 run", "3 runs".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Counts is how often each of several things is there, the most frequent first, of those of one
// count in the order given: "eof 30 · reset 7". More than most of them are only counted; 0 names
// all.
func Counts[K comparable](order []K, counts map[K]int, most int) string {
	order = slices.DeleteFunc(slices.Clone(order), func(k K) bool { return counts[k] == 0 })
	slices.SortStableFunc(order, func(a, b K) int { return cmp.Compare(counts[b], counts[a]) })
	var words []string
	for i, k := range order {
		if i == most && most > 0 {
			words = append(words, fmt.Sprintf("%d more", len(order)-most))
			break
		}
		words = append(words, fmt.Sprintf("%v %d", k, counts[k]))
	}
	return cmp.Or(strings.Join(words, " · "), None)
}

// Extent is the least and the greatest of values, or the one value that both are when written:
// "21.0s–21.9s".
func Extent[T cmp.Ordered](values []T, write func(T) string) string {
	if len(values) == 0 {
		return None
	}
	least, most := write(slices.Min(values)), write(slices.Max(values))
	if least == most {
		return most
	}
	return least + "–" + most
}

// Enumerate is "a", "a and b", "a, b and c".
func Enumerate(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// escapes are the sequences that set colours and move the cursor in a terminal.
var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")

// Plain makes a line of text that came from elsewhere, an error for instance, fit for a report: one
// line, no control characters.
func Plain(s string) string {
	s = escapes.ReplaceAllString(s, "")
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return strings.Join(strings.Fields(s), " ")
}

func plains(lines []string) []string {
	out := make([]string, 0, len(lines))
	for _, line := range lines {
		out = append(out, Plain(line))
	}
	return out
}

// Because is the reasons for an outcome. What isn't a pass never goes without.
func Because(o verdict.Outcome, reasons []string) []string {
	if len(reasons) == 0 && o != verdict.Pass {
		return []string{"no reason was given"}
	}
	return append([]string{}, reasons...)
}

// probability is a p-value, three digits of it.
func probability(p float64) string {
	if p < 0.001 {
		return "p < 0.001"
	}
	return "p = " + share(p)
}

// share is a p-value in a cell.
func share(p float64) string {
	if p < 0.001 {
		return "<0.001"
	}
	return fmt.Sprintf("%.3f", p)
}

// known is the word, or says that there is none.
func known(word string) string { return cmp.Or(Plain(word), "unknown") }

// Environment says where a run was measured, fact by fact.
func Environment(e timeline.Environment) []string {
	return []string{
		"Kubernetes " + known(e.Kubernetes),
		nodesOf(e),
		fmt.Sprintf("kube-proxy %s, minSyncPeriod %s", known(e.ProxyMode), known(e.MinSyncPeriod)),
		Count(e.CPUs, "CPU"),
		"kernel " + known(e.Kernel),
		known(e.Runtime),
	}
}

// nodesOf is how many nodes there are, where that may be known.
func nodesOf(e timeline.Environment) string {
	if e.Nodes == 0 {
		return "nodes unknown"
	}
	return Count(e.Nodes, "node")
}

// Instant is a wall clock reading, for people.
func Instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func integer(n int) string { return fmt.Sprint(n) }

// ratio is so many of so many: "12/3790".
func ratio(x, n int) string { return fmt.Sprintf("%d/%d", x, n) }
