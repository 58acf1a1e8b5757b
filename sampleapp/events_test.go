package main

import (
	"encoding/json"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zerodrop/zerodrop/sampleapp/protocol"
)

// writes keeps each Write apart.
type writes struct {
	mu   sync.Mutex
	each []string
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.each = append(w.each, string(p))
	return len(p), nil
}

// TestLines is the format that others read.
func TestLines(t *testing.T) {
	at := time.Unix(1700000000, 123456789)
	zero, one := 0, 1
	tests := []struct {
		name string
		give protocol.Event
		want string
	}{
		{"plain", protocol.Event{Event: protocol.EventStart}, `{"event":"start","unixNano":1700000000123456789,"pod":"pod-1"}`},
		{"listening", protocol.Event{Event: protocol.EventListening, Addr: "[::]:8080"}, `{"event":"listening","unixNano":1700000000123456789,"pod":"pod-1","addr":"[::]:8080"}`},
		{"last request", protocol.Event{Event: protocol.EventLastRequest, Requests: 7}, `{"event":"last-request","unixNano":1700000000123456789,"pod":"pod-1","requests":7}`},
		{
			"last request, by lane",
			protocol.Event{Event: protocol.EventLastRequest, Requests: 7, Lanes: map[string]int64{"service/new": 4, "nodeport/slow": 2}},
			`{"event":"last-request","unixNano":1700000000123456789,"pod":"pod-1","requests":7,"lanes":{"nodeport/slow":2,"service/new":4}}`,
		},
		{"failed request", protocol.Event{Event: protocol.EventFailedRequest, Lane: "service/new", Seq: &zero}, `{"event":"failed-request","unixNano":1700000000123456789,"pod":"pod-1","lane":"service/new","seq":0}`},
		{"good exit", protocol.Event{Event: protocol.EventExit, Code: &zero}, `{"event":"exit","unixNano":1700000000123456789,"pod":"pod-1","code":0}`},
		{"bad exit", protocol.Event{Event: protocol.EventExit, Code: &one, Error: "a\nb"}, `{"event":"exit","unixNano":1700000000123456789,"pod":"pod-1","code":1,"error":"a\nb"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out writes
			(&lifeLog{out: &out, pod: "pod-1"}).record(at, tt.give)
			assert.Equal(t, []string{tt.want + "\n"}, out.each)
		})
	}
}

// TestOneWritePerLine: also when many things happen at once.
func TestOneWritePerLine(t *testing.T) {
	var out writes
	life := &lifeLog{out: &out, pod: "pod-1"}
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() { life.record(time.Now(), protocol.Event{Event: protocol.EventReady}) })
	}
	group.Wait()
	require.Len(t, out.each, 50)
	for _, line := range out.each {
		assert.True(t, json.Valid([]byte(line)), line)
		assert.Equal(t, byte('\n'), line[len(line)-1])
	}
}

// slowListener closes late and badly.
type slowListener struct{ net.Listener }

var errStuck = errors.New("stuck")

func (slowListener) Close() error {
	<-time.After(20 * time.Millisecond)
	return errStuck
}

// TestListenerClosedIsTold: once, with the instant at which it was done, and with what went wrong.
func TestListenerClosedIsTold(t *testing.T) {
	var out writes
	l := &loggingListener{Listener: slowListener{}, life: &lifeLog{out: &out, pod: "pod-1"}}
	called := time.Now()
	assert.ErrorIs(t, l.Close(), errStuck)
	assert.NoError(t, l.Close())

	require.Len(t, out.each, 1)
	var e protocol.Event
	require.NoError(t, json.Unmarshal([]byte(out.each[0]), &e))
	assert.Equal(t, "listener-closed", e.Event)
	assert.Equal(t, "stuck", e.Error)
	assert.GreaterOrEqual(t, e.UnixNano, called.Add(20*time.Millisecond).UnixNano())
}
