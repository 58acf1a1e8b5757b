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

// Significant is the level below which a difference counts as more than noise.
const Significant = 0.05

// Fisher is the two-sided p of Fisher's exact test: how likely it is that a of n and b of m rollouts, or something at least as uneven, come from one
// share. It is 1 where there is nothing to compare.
func Fisher(a, n, b, m int) float64 {
	if n == 0 || m == 0 {
		return 1
	}
	// The chance of exactly k lossy rollouts among the n, given a+b among all.
	chance := func(k int) float64 { return math.Exp(lnChoose(n, k) + lnChoose(m, a+b-k) - lnChoose(n+m, a+b)) }
	seen, p := chance(a), 0.0
	for k := max(0, a+b-m); k <= min(n, a+b); k++ {
		if c := chance(k); c <= seen*(1+1e-9) { // tables that are as likely differ by rounding
			p += c
		}
	}
	return min(p, 1)
}

// Disjoint is the two-sided p of the exact rank test for two samples of n and m values that don't overlap: the two orders of all on one side.
func Disjoint(n, m int) float64 {
	return min(2*math.Exp(-lnChoose(n+m, n)), 1)
}

// FewestRuns is the least number of runs on each side that could show a difference at all.
func FewestRuns() int {
	n := 1
	for Disjoint(n, n) >= Significant {
		n++
	}
	return n
}

// lnChoose is the logarithm of the number of ways to take k of n, which itself is too large for a float64 where both are in the hundreds.
func lnChoose(n, k int) float64 {
	factorial := func(n int) float64 {
		ln, _ := math.Lgamma(float64(n) + 1)
		return ln
	}
	return factorial(n) - factorial(k) - factorial(n-k)
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
