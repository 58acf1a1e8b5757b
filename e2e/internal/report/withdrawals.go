package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// withdrawalNotes says who took Pods out of the ready endpoints that nobody had deleted, as where a node
// shuts down: whether that was before or after their processes had ended decides what a delay is worth.
func (m model) withdrawalNotes() []string {
	type told struct {
		by      string
		back    bool
		putBack string
		order   string // before or after the end of the process; empty if that isn't known
	}
	var out []string
	for _, r := range slices.Concat(m.Parts...) {
		var all []verdict.Withdrawal
		for _, v := range r.Runs {
			all = append(all, v.Withdrawals...)
		}
		for _, same := range groupBy(all, func(w verdict.Withdrawal) told {
			return told{w.By, w.Back, w.PutBack, exitOrder(w)}
		}) {
			var after, apart []time.Duration
			for _, w := range same.items {
				after = append(after, w.After)
				if w.BeforeExit != nil {
					apart = append(apart, w.BeforeExit.Abs())
				}
			}
			line := fmt.Sprintf("%s: %s took %s that nobody had deleted out of the ready endpoints %s after the start",
				r.Name(), writer(same.key.by), Count(len(same.items), "Pod"), Extent(after, Duration))
			if len(apart) > 0 {
				line += fmt.Sprintf(", %s %s the end of the process", Extent(apart, Duration), same.key.order)
			}
			if same.key.back {
				line += "; " + writer(same.key.putBack) + " put that back meanwhile"
			}
			out = append(out, line)
		}
	}
	return out
}

func exitOrder(w verdict.Withdrawal) string {
	switch {
	case w.BeforeExit == nil:
		return ""
	case *w.BeforeExit < 0:
		return "after"
	}
	return "before"
}

// writer is who changed something, as the audit log says.
func writer(by string) string { return cmp.Or(Plain(by), "somebody whom the audit log doesn't name") }
