package report

import "math"

// significant is the level below which a difference counts as more than noise.
const significant = 0.05

// fisher is the two-sided p of Fisher's exact test: how likely it is that a of n and b of m rollouts, or something at least as uneven, come from one
// share. It is 1 where there is nothing to compare.
func fisher(a, n, b, m int) float64 {
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

// disjoint is the two-sided p of the exact rank test for two samples of n and m values that don't overlap: the two orders of all on one side.
func disjoint(n, m int) float64 {
	return min(2*math.Exp(-lnChoose(n+m, n)), 1)
}

// fewestRuns is the least number of runs on each side that could show a difference at all.
func fewestRuns() int {
	n := 1
	for disjoint(n, n) >= significant {
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
