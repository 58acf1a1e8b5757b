package verdict

import (
	"math"
	"slices"
	"time"
)

// Visible is the shortest interval of total loss that a stream of the given requests per second sees with 95 % probability in one run: 3/rate, the rule
// of three (Hanley & Lippman-Hand, JAMA 1983), as −ln 0.05 ≈ 3 requests are expected within it.
func Visible(rate int) time.Duration {
	if rate <= 0 {
		return 0
	}
	return 3 * time.Second / time.Duration(rate)
}

// ZeroBound is the upper end of the one-sided 95 % confidence interval of the share of rollouts that lose something, after n rollouts of which none did:
// 1 − 0.05^(1/n), the exact (Clopper-Pearson) bound for zero successes. It is 1 for no rollout at all.
func ZeroBound(n int) float64 {
	if n <= 0 {
		return 1
	}
	return 1 - math.Pow(0.05, 1/float64(n))
}

// percentile is the nearest-rank percentile of sorted durations: the smallest value that at least the share p of them don't exceed; 0 for none.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p*float64(len(sorted)))) - 1
	return sorted[max(rank, 0)]
}

func sorted(d []time.Duration) []time.Duration {
	slices.Sort(d)
	return d
}
