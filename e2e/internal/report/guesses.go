package report

import (
	"fmt"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/scenarios"
)

// guess says what a delay comes to at a consumer: that it drops, or the Pod-seconds that a rollout
// wastes beyond the safe delay; in doubt, and at most so many, where that is a lower bound.
func (c FileConsumer) guess(delay time.Duration) string {
	over := delay.Seconds() - value(c.SafeSeconds)
	wasted := podSeconds(over * float64(c.Replicas))
	switch {
	case over < 0:
		return "drops"
	case c.SafeAtLeast:
		return doubtMark + " " + wasted
	}
	return wasted
}

// canGuess says that the consumer's delays can be judged: it has a safe delay, and how many Pods a
// rollout replaces is known.
func (c FileConsumer) canGuess() bool { return c.SafeSeconds != nil && c.Replicas > 0 }

// guessBlock is table C: what the delays that are in use come to at each consumer. Empty where that
// isn't known of any.
func guessBlock(all []FileConsumer) block {
	rows := slices.DeleteFunc(slices.Clone(all), func(c FileConsumer) bool { return !c.canGuess() })
	if len(rows) == 0 {
		return block{}
	}
	alike := func(c FileConsumer) bool { return c.Replicas == rows[0].Replicas }
	columns := append(consumerKeys(rows),
		Number("Pods", func(c FileConsumer) string { return integer(c.Replicas) }).Unless(alike),
		Number("safe", FileConsumer.safe))
	var who []string
	for _, g := range scenarios.Guesses() {
		name := fmt.Sprintf("%.0fs", g.Delay.Seconds())
		columns = append(columns, Number(name, func(c FileConsumer) string { return c.guess(g.Delay) }))
		who = append(who, fmt.Sprintf("%s: %s", name, g.Who))
	}
	list := []string{
		"drops: requests came for longer, though a client that sends them again may not notice; a number: Pod-seconds " +
			"that a rollout waits in vain, which are (delay − safe delay) × Pods",
		"a safe delay is that of the removals that were seen: how many rollouts may take longer stands beside it in the " +
			"table of last arrivals",
	}
	if !slices.ContainsFunc(rows, func(c FileConsumer) bool { return !alike(c) }) {
		list = append(list, fmt.Sprintf("Pods: %d in each rollout", rows[0].Replicas))
	}
	if slices.ContainsFunc(rows, func(c FileConsumer) bool { return c.SafeAtLeast }) {
		list = append(list, doubtMark+": the safe delay is a lower bound; the delay wastes at most so much, or drops all "+
			"the same")
	}
	if out := labels(all, func(c FileConsumer) bool { return !c.Watched && !c.canGuess() }); out != "" {
		list = append(list, "not in the table, as no delay is known to be safe: "+out)
	}
	return block{
		Heading: "Delays that are in use",
		Text:    "What everybody guesses, beside the safe delay that was measured: does it drop, or what does it waste?",
		Table:   Tabulate(columns, byMode(rows)),
		List:    append(list, who...),
	}
}

// guesses is table C in a report; empty as guessBlock.
func guesses(all []FileConsumer) section {
	b := guessBlock(all)
	if len(b.Table.Columns) == 0 {
		return section{}
	}
	title := b.Heading
	b.Heading = ""
	return section{Title: title, Blocks: []block{b}}
}
