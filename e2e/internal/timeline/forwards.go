package timeline

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Forwards are what proxies passed on, as their access logs have it.
type Forwards struct {
	Names []string  // components, lanes and IP addresses that Forward indexes; the first is ""
	List  []Forward // in the order of their time
}

// Forward is one request that a proxy took, or one connection where the proxy reads no requests. It
// has a fixed size of 32 bytes, as there may be one for each request.
type Forward struct {
	At         time.Duration // when the proxy took it, by its own wall clock, turned into an offset
	Number     uint32        // that the proxy gives to what it logs, one more each time: a gap is a line that is lost
	Seq        uint32        // of a request: its number in the lane
	Component  uint16        // index in Forwards.Names: the proxy
	Lane       uint16        // index: that the request says it is of; 0 where the proxy reads no requests
	Client     uint16        // index: IP that it came from
	ClientPort uint16
	Target     uint16 // index: IP that it was sent to last; 0 if to none
	LocalPort  uint16 // of the proxy's own connection to Target; 0 if the log doesn't tell
	Code       uint16 // status that the client was answered; 0 for none
	Attempts   uint8  // how often the proxy sent it
}

// Name is what an index stands for; "" for none.
func (f Forwards) Name(i uint16) string {
	if int(i) >= len(f.Names) {
		return ""
	}
	return f.Names[i]
}

// Index is the index of a name, which is added if it is new. An error says that there are more
// names than a Forward can tell apart.
func (f *Forwards) Index(name string) (uint16, error) {
	if len(f.Names) == 0 {
		f.Names = []string{""}
	}
	i, err := nameIndex(&f.Names, name)
	if err != nil {
		return 0, fmt.Errorf("forwards: %w", err)
	}
	return i, nil
}

// forwardColumns are those of the CSV. since is in microseconds, from the forward before; names
// stand as they are.
var forwardColumns = []string{
	"since", "component", "number", "lane", "seq", "client", "client_port", "target", "local_port", "code", "attempts",
}

func writeForwards(w io.Writer, forwards Forwards) error {
	if err := checkNames(forwards.Names); err != nil {
		return err
	}
	zip := gzip.NewWriter(w)
	out := bufio.NewWriterSize(zip, 1<<16)
	_, _ = out.WriteString(strings.Join(forwardColumns, ",") + "\n") // bufio keeps the first error for Flush
	var line []byte
	var last int64
	name := func(i uint16) { line = append(append(line, ','), forwards.Name(i)...) }
	number := func(n uint64) { line = strconv.AppendUint(append(line, ','), n, 10) }
	for _, f := range forwards.List {
		at := f.At.Microseconds()
		line = strconv.AppendInt(line[:0], at-last, 10)
		last = at
		name(f.Component)
		number(uint64(f.Number))
		name(f.Lane)
		number(uint64(f.Seq))
		name(f.Client)
		number(uint64(f.ClientPort))
		name(f.Target)
		number(uint64(f.LocalPort))
		number(uint64(f.Code))
		number(uint64(f.Attempts))
		_, _ = out.Write(append(line, '\n'))
	}
	return errors.Join(out.Flush(), zip.Close())
}

func readForwards(r io.Reader, count int) (Forwards, error) {
	forwards := Forwards{List: make([]Forward, 0, count)}
	var last time.Duration
	err := readRows(r, forwardColumns, count, "forward", func(row []string) error {
		f, err := forwards.parse(row, last)
		last = f.At
		forwards.List = append(forwards.List, f)
		return err
	})
	return forwards, err
}

// parse reads a row that comes after a forward of an instant.
func (f *Forwards) parse(row []string, last time.Duration) (Forward, error) {
	var errs []error
	number := func(i, bits int) uint64 {
		n, err := strconv.ParseUint(row[i], 10, bits)
		if err != nil {
			errs = append(errs, fmt.Errorf("column %s: %w", forwardColumns[i], err))
		}
		return n
	}
	name := func(i int) uint16 {
		index, err := f.Index(strings.Clone(row[i])) // the row's memory is used again
		errs = append(errs, err)
		return index
	}
	since, err := strconv.ParseInt(row[0], 10, 64)
	if err != nil {
		errs = append(errs, fmt.Errorf("column %s: %w", forwardColumns[0], err))
	}
	out := Forward{
		At:        last + time.Duration(since)*time.Microsecond,
		Component: name(1), Number: uint32(number(2, 32)), Lane: name(3), Seq: uint32(number(4, 32)),
		Client: name(5), ClientPort: uint16(number(6, 16)), Target: name(7), LocalPort: uint16(number(8, 16)),
		Code: uint16(number(9, 16)), Attempts: uint8(number(10, 8)),
	}
	return out, errors.Join(errs...)
}
