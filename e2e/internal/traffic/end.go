package traffic

import (
	"sync"
	"time"
)

// End is the instant, agreed among all lanes and senders, after which no request is due. The zero
// value is an open end.
type End struct {
	mu     sync.Mutex
	offset time.Duration
	set    bool
	closed chan struct{}
}

// Set closes the end. Only the first call counts. The end has to lie in the future by one interval
// of the slowest lane, at least: a pacer that sleeps until its next request must hear of it in
// time.
func (e *End) Set(offset time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.set {
		e.offset, e.set = offset, true
		close(e.channel())
	}
}

// At is the end, and whether there is one yet.
func (e *End) At() (time.Duration, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.offset, e.set
}

// Known is closed when there is an end.
func (e *End) Known() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.channel()
}

func (e *End) channel() chan struct{} {
	if e.closed == nil {
		e.closed = make(chan struct{})
	}
	return e.closed
}
