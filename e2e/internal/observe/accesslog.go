package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// AccessLog is a file to which a component writes what it passes on.
//
// There is one format: a JSON object a line, with the names that Traefik gives its fields. HAProxy and
// nginx are configured to write the same.
//
//	StartUTC          when the request or connection was taken, RFC 3339; or StartUnixMs, milliseconds
//	RequestCount      its number, one more each time, from when it was taken; 0 where there is none
//	ClientAddr        ip:port that it came from
//	ServiceAddr       ip:port that it was sent to last; "" or - for none. nginx lists all: the last counts
//	LocalAddr         ip:port of the component's own connection there; only where the component can tell
//	RetryAttempts     how often it was sent again; HAProxy's + is passed over
//	DownstreamStatus  what the client was answered; 499 in Traefik where the client had gone away
//	request_Zerodrop-Lane, request_Zerodrop-Seq   which request it was; only where requests are read
type AccessLog struct {
	Component string // the program's name, as lanes have it
	Node      Node   // where File is; its IP is the address that the component connects from
	File      string
}

// accessLog records what a component passed on.
type accessLog struct {
	AccessLog
	node *watchedNode
}

func (s accessLog) Name() string { return "access log of " + s.Component }

// lastLines is how long an access log is read on when the run is over: a component writes a line
// after the answer that it is about.
const lastLines = 500 * time.Millisecond

func (s accessLog) Run(ctx context.Context, to Recorder) error {
	to.Ready()
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		over := time.NewTimer(lastLines)
		defer over.Stop()
		select {
		case <-over.C:
			stop()
		case <-reading.Done():
		}
	})()
	var lines []forwardedLine
	var first time.Duration // when the first line was read
	var bad unreadable
	source := s.node.follow(reading, to, timeline.SourceAccessLog, func(line []byte) {
		l, err := parseAccess(line)
		if err != nil {
			bad.note(to.now(), err)
			return
		}
		l.at = s.node.offset(to.clock, l.start).Round(time.Microsecond)
		if len(lines) == 0 {
			first = to.now()
		}
		lines = append(lines, l)
	}, "tail", "-n", "0", "-F", s.File) // by its name: it may be moved aside, or begin anew
	source.Component = s.Component
	to.AtEnd(func(all *Record) {
		missing := []string{source.Missing, bad.String(), lostLines(lines, first)}
		for _, l := range lines {
			if err := all.forward(s.Component, l); err != nil {
				missing = append(missing, err.Error())
				break
			}
		}
		source.Missing = strings.Join(slices.DeleteFunc(missing, func(m string) bool { return m == "" }), "; ")
		all.Sources = append(all.Sources, source)
	})
	return nil
}

// forwardedLine is what a line of an access log says.
type forwardedLine struct {
	timeline.Forward
	start                time.Time
	at                   time.Duration
	lane, client, target string
}

// forward adds what a line says to the Record.
func (r *Record) forward(component string, l forwardedLine) error {
	f := l.Forward
	f.At = l.at
	for _, name := range []struct {
		text  string
		index *uint16
	}{{component, &f.Component}, {l.lane, &f.Lane}, {l.client, &f.Client}, {l.target, &f.Target}} {
		var err error
		if *name.index, err = r.Forwards.Index(name.text); err != nil {
			return err
		}
	}
	r.Forwards.List = append(r.Forwards.List, f)
	return nil
}

// parseAccess reads a line of an access log. Its instant is start, and not At, which nobody knows
// without the node's clock.
func parseAccess(line []byte) (l forwardedLine, err error) {
	var in struct {
		StartUTC                                      time.Time
		StartUnixMs                                   looseNumber
		RequestCount, RetryAttempts, DownstreamStatus looseNumber
		ClientAddr, ServiceAddr, LocalAddr            string

		Lane string       `json:"request_Zerodrop-Lane"`
		Seq  *looseNumber `json:"request_Zerodrop-Seq"`
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return l, err
	}
	switch l.start = in.StartUTC; {
	case in.StartUnixMs > 0:
		l.start = time.UnixMilli(int64(in.StartUnixMs))
	case l.start.IsZero():
		return l, errors.New("no StartUTC")
	}
	if l.client, l.ClientPort = address(in.ClientAddr); l.client == "" {
		return l, errors.New("no ClientAddr")
	}
	if l.lane = in.Lane; l.lane != "" {
		if in.Seq == nil {
			return l, errors.New("a lane, and no request_Zerodrop-Seq")
		}
		l.Seq = uint32(*in.Seq)
	}
	tried := strings.FieldsFunc(in.ServiceAddr, func(r rune) bool { return r == ',' || r == ' ' })
	if len(tried) > 0 {
		l.target, _ = address(tried[len(tried)-1])
	}
	_, l.LocalPort = address(in.LocalAddr)
	l.Number, l.Code = uint32(in.RequestCount), uint16(in.DownstreamStatus)
	if l.target != "" {
		l.Attempts = uint8(min(math.MaxUint8, max(int(in.RetryAttempts)+1, len(tried))))
	}
	return l, nil
}

// address are the IP and the port of an address; none if it isn't both.
func address(text string) (ip string, port uint16) {
	ip, portText, err := net.SplitHostPort(text)
	n, notPort := strconv.ParseUint(portText, 10, 16)
	if err != nil || notPort != nil || net.ParseIP(ip) == nil {
		return "", 0
	}
	return ip, uint16(n)
}

// looseNumber is a count as the programs write it: 7, "7" or "+7". What is none, as - or -1, is 0.
type looseNumber int64

// UnmarshalJSON takes a number or a string.
func (n *looseNumber) UnmarshalJSON(raw []byte) error {
	text := strings.TrimPrefix(strings.Trim(string(raw), `"`), "+")
	if text == "" || text == "-" || text == "null" {
		return nil
	}
	parsed, err := strconv.ParseInt(text, 10, 64)
	*n = looseNumber(max(0, parsed))
	return err
}

// unreadable are lines that are not in the format.
type unreadable struct {
	count int
	first string
}

func (u *unreadable) note(at time.Duration, err error) {
	if u.count++; u.count == 1 {
		u.first = fmt.Sprintf("the first at %s: %s", at.Round(time.Millisecond), err)
	}
}

// String says how many there were; "" for none.
func (u *unreadable) String() string {
	if u.count == 0 {
		return ""
	}
	return fmt.Sprintf("lines that can't be read: %d, %s", u.count, u.first)
}

// lostLines says which numbers are not among the lines, which come in the order of the file; "" if
// none is missing. A line is written when its request has ended, and numbered when that began: so
// numbers are out of order, and what was taken before the first line was read may have ended unread.
// A number that comes twice, or that is lower than all of them and was taken later, is of a program
// that was started again.
func lostLines(lines []forwardedLine, first time.Duration) string {
	var taken map[uint32]time.Duration // by number, of one start of the program
	var lowest forwardedLine           // of those that were taken since the first line was read; number 0 for none
	lost, restarts := 0, 0
	var lostAfter, restarted time.Duration
	count := func() {
		last := lowest.Number
		for _, n := range slices.Sorted(maps.Keys(taken)) {
			if lowest.Number == 0 || n <= lowest.Number {
				continue
			}
			if n > last+1 && lost == 0 {
				lostAfter = taken[last]
			}
			lost += int(n - last - 1)
			last = n
		}
	}
	for _, l := range lines {
		if l.Number == 0 {
			continue
		}
		if _, twice := taken[l.Number]; twice || l.Number < lowest.Number && l.at > lowest.at+time.Second {
			count()
			if restarts++; restarts == 1 {
				restarted = l.at
			}
			taken, lowest = nil, forwardedLine{}
		}
		if taken == nil {
			taken = map[uint32]time.Duration{}
		}
		taken[l.Number] = l.at
		if l.at >= first && (lowest.Number == 0 || l.Number < lowest.Number) {
			lowest = l
		}
	}
	count()
	var out []string
	if lost > 0 {
		out = append(out, fmt.Sprintf("lost lines: %d, the first after %s", lost, lostAfter.Round(time.Millisecond)))
	}
	if restarts > 0 {
		out = append(out, fmt.Sprintf("it was started again at %s", restarted.Round(time.Millisecond)))
	}
	return strings.Join(out, "; ")
}
