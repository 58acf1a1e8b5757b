package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// pollEvery is how often a condition is looked at. It bounds how late the end of a phase is seen.
const pollEvery = 100 * time.Millisecond

// maxAPIOutage is how long the API server may fail to answer while a condition is waited for: less
// than a restart of it takes would end runs for nothing.
const maxAPIOutage = 15 * time.Second

// errPermanent is the guarantee that nobody waits for what can't come any more: a condition that
// knows it says so with an error that wraps this one.
var errPermanent = errors.New("permanent failure")

// poll waits until a condition holds. The condition returns what is missing, empty if nothing is;
// this becomes the text of the error when time is up. Errors of the condition are put up with for
// maxAPIOutage, but for errPermanent.
func poll(ctx context.Context, limit time.Duration, what string, missing func(context.Context) (string, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %s", limit))
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	var (
		last    string
		lastErr error
		failing time.Time
	)
	for {
		why, err := missing(ctx)
		switch {
		case err == nil && why == "":
			return nil
		case err == nil:
			last, lastErr, failing = why, nil, time.Time{}
		case errors.Is(err, errPermanent):
			return fmt.Errorf("wait for %s: %w", what, err)
		case ctx.Err() != nil: // the condition failed because time is up
		case failing.IsZero():
			lastErr, failing = err, time.Now()
		case time.Since(failing) > maxAPIOutage:
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			err := fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
			if last != "" {
				err = fmt.Errorf("%w: %s", err, last)
			}
			return errors.Join(err, lastErr)
		case <-ticker.C:
		}
	}
}
