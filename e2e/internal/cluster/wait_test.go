package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	errFake = errors.New("connection refused")
	errUser = errors.New("stopped by the user")
)

// TestPoll: how long it takes, and what it says when it takes too long.
func TestPoll(t *testing.T) {
	// answers gives one answer after the other, the last one for ever.
	type answer struct {
		missing string
		err     error
	}
	repeat := func(n int, a answer) []answer {
		out := make([]answer, n)
		for i := range out {
			out[i] = a
		}
		return out
	}
	var (
		holds     = answer{}
		missing   = answer{missing: "2 of 3 are"}
		fails     = answer{err: errFake}
		permanent = answer{err: fmt.Errorf("%w: it has ended", errPermanent)}
	)
	tests := []struct {
		name    string
		answers []answer
		limit   time.Duration
		took    time.Duration
		is      error
		want    string // of the error; empty for none
	}{
		{"holds at once", []answer{holds}, time.Minute, 0, nil, ""},
		{"holds later", append(repeat(20, missing), holds), time.Minute, 2 * sec, nil, ""},
		{"never holds", []answer{missing}, time.Minute, time.Minute, nil, "wait for Pods: not within 1m0s: 2 of 3 are"},
		{"fails for a while", append(repeat(140, fails), holds), time.Minute, 14 * sec, nil, ""},
		{"fails for longer than that", []answer{fails}, time.Minute, maxAPIOutage + pollEvery, errFake, "wait for Pods: connection refused"},
		{"will never hold", append(repeat(20, missing), permanent), time.Minute, 2 * sec, errPermanent, "wait for Pods: permanent failure: it has ended"},
		{"failures are not added up", append(append(repeat(100, fails), missing), append(repeat(100, fails), holds)...), time.Minute, 20100 * time.Millisecond, nil, ""},
		{"fails until time is up", []answer{missing, fails}, 5 * sec, 5 * sec, errFake, "wait for Pods: not within 5s: 2 of 3 are\nconnection refused"},
		{"has failed, and then something is missing", append(repeat(10, fails), missing), 5 * sec, 5 * sec, nil, "wait for Pods: not within 5s: 2 of 3 are"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				began := time.Now()
				n := 0
				err := poll(t.Context(), tt.limit, "Pods", func(context.Context) (string, error) {
					a := tt.answers[min(n, len(tt.answers)-1)]
					n++
					return a.missing, a.err
				})
				assert.Equal(t, tt.took, time.Since(began))
				if tt.want == "" {
					require.NoError(t, err)
					return
				}
				require.EqualError(t, err, tt.want)
				if tt.is != nil {
					require.ErrorIs(t, err, tt.is)
				}
			})
		})
	}
}

// TestPollCancelled: the cause of the end is told, with what was missing then.
func TestPollCancelled(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(3*sec, func() { cancel(errUser) })
		began := time.Now()
		err := poll(ctx, time.Minute, "Pods", func(context.Context) (string, error) { return "none is", nil })
		require.ErrorIs(t, err, errUser)
		assert.EqualError(t, err, "wait for Pods: stopped by the user: none is")
		assert.Equal(t, 3*sec, time.Since(began))
	})
}

// TestPollSlowCondition: a condition that is cut off by the limit has not failed, and is told when
// time is up.
func TestPollSlowCondition(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n := 0
		err := poll(t.Context(), 5*sec, "Pods", func(ctx context.Context) (string, error) {
			if n++; n == 1 {
				return "2 of 3 are", nil
			}
			<-ctx.Done()
			return "", ctx.Err()
		})
		require.EqualError(t, err, "wait for Pods: not within 5s: 2 of 3 are")
		assert.NotErrorIs(t, err, context.DeadlineExceeded, "what the user can do about is the limit")
	})
}

// TestPollOver: a condition that holds is no error, even if nobody waits for it any more.
func TestPollOver(t *testing.T) {
	ctx := cancelled(t, errUser)
	require.NoError(t, poll(ctx, time.Minute, "Pods", func(context.Context) (string, error) { return "", nil }))
	err := poll(ctx, time.Minute, "Pods", func(context.Context) (string, error) { return "", ctx.Err() })
	require.EqualError(t, err, "wait for Pods: stopped by the user")
}
