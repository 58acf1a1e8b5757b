package timeline

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Source is where events or routes came from.
type Source struct {
	Kind SourceKind `json:"kind"`
	Node string     `json:"node,omitempty"` // of what a node tells
	IP   string     `json:"ip,omitempty"`   // of that node, as clients outside ask it
	// Component is the program whose access log it is; empty for other sources.
	Component string `json:"component,omitempty"`
	// Comparison is that of the source's clock; zero where there is only one.
	Comparison
	// Drift is how much the harness' own wall clock was set forward during the run, against its
	// monotonic clock: a length, which is on all that was told by wall clock. Only of
	// SourceHarness.
	Drift time.Duration `json:"drift,omitempty"`
	// Missing says why the source could not be had, or why and when it ended; else empty.
	Missing string `json:"missing,omitempty"`
}

// SourceKind names a kind of source.
type SourceKind string

// The kinds of sources.
const (
	// this process: requests from the host, what watches deliver. The run's clock
	SourceHarness   SourceKind = "harness"
	SourceApp       SourceKind = "app"       // the logs of the Pods on a node
	SourceRuntime   SourceKind = "runtime"   // the container runtime of a node
	SourceConntrack SourceKind = "conntrack" // connection tracking of a node
	// the audit log of the API server on a node: when changes were made, and who asked for them. In
	// runs that were stored before there was one it is "etcd", by whose log they were dated
	SourceAudit SourceKind = "audit"
	// the access log of a Component, a file on a node or in a container beside the cluster
	SourceAccessLog SourceKind = "access-log"
)

// Routes are choices of kube-proxy: for a new connection to a Service, the Pod.
type Routes struct {
	Names []string // of nodes, and IP addresses, that Route indexes
	List  []Route  // in the order of their time
}

// Route is one choice, as connection tracking on a node saw it. It has a fixed size of 16 bytes, as
// there may be one for each request.
type Route struct {
	At     time.Duration // by the node's wall clock, turned into an offset
	Node   uint16        // index in Routes.Names: where the choice was made
	Source uint16        // index: IP that the connection came from
	Target uint16        // index: IP of the Pod that was chosen
	Port   uint16        // that the connection came from
}

// maxNames is how many names a Route, or a Forward, can tell apart.
const maxNames = 1 << 16

// nameIndex is the index of a name, which is added if it is new.
func nameIndex(names *[]string, name string) (uint16, error) {
	i := slices.Index(*names, name)
	if i < 0 {
		if len(*names) == maxNames {
			return 0, fmt.Errorf("more than %d names and addresses", maxNames)
		}
		i, *names = len(*names), append(*names, name)
	}
	return uint16(i), nil
}

// checkNames says which of the names can't stand in a CSV, if one can't.
func checkNames(names []string) error {
	for _, name := range names {
		if strings.ContainsAny(name, ",\"\r\n") {
			return fmt.Errorf("name %q can't stand in a CSV", name)
		}
	}
	return nil
}

// Name is what an index stands for; "" for none.
func (r Routes) Name(i uint16) string {
	if int(i) >= len(r.Names) {
		return ""
	}
	return r.Names[i]
}

// Index is the index of a name, which is added if it is new. An error says that there are more
// names than a Route can tell apart.
func (r *Routes) Index(name string) (uint16, error) {
	i, err := nameIndex(&r.Names, name)
	if err != nil {
		return 0, fmt.Errorf("routes: %w", err)
	}
	return i, nil
}

// routeColumns are those of the CSV. since is in microseconds, from the route before: that takes a
// quarter less room than instants.
var routeColumns = []string{"since", "node", "source", "port", "target"}

func writeRoutes(w io.Writer, routes Routes) error {
	if err := checkNames(routes.Names); err != nil {
		return err
	}
	zip := gzip.NewWriter(w)
	out := bufio.NewWriterSize(zip, 1<<16)
	_, _ = out.WriteString(strings.Join(routeColumns, ",") + "\n") // bufio keeps the first error for Flush
	var line []byte
	var last int64
	for _, r := range routes.List {
		at := r.At.Microseconds()
		line = strconv.AppendInt(line[:0], at-last, 10)
		last = at
		line = append(append(line, ','), routes.Name(r.Node)...)
		line = append(append(line, ','), routes.Name(r.Source)...)
		line = strconv.AppendUint(append(line, ','), uint64(r.Port), 10)
		line = append(append(line, ','), routes.Name(r.Target)...)
		_, _ = out.Write(append(line, '\n'))
	}
	return errors.Join(out.Flush(), zip.Close())
}

func readRoutes(f io.Reader, count int) (Routes, error) {
	routes := Routes{List: make([]Route, 0, count)}
	var last time.Duration
	err := readRows(f, routeColumns, count, "route", func(row []string) error {
		r, err := routes.parse(row, last)
		last = r.At
		routes.List = append(routes.List, r)
		return err
	})
	return routes, err
}

// readRows reads a CSV with a known count of rows, which the columns are named above, and calls do
// with each; what a row is goes into errors. The row's memory is used again.
func readRows(f io.Reader, columns []string, count int, what string, do func(row []string) error) error {
	zip, err := gzip.NewReader(bufio.NewReaderSize(f, 1<<16))
	if err != nil {
		return err
	}
	rows := csv.NewReader(zip)
	rows.ReuseRecord = true
	rows.FieldsPerRecord = len(columns)
	header, err := rows.Read()
	if err != nil {
		return err
	}
	if !slices.Equal(header, columns) {
		return fmt.Errorf("columns %v: want %v", header, columns)
	}
	for n := range count {
		row, err := rows.Read()
		if err == nil {
			err = do(row)
		}
		if err != nil {
			return fmt.Errorf("%s %d: %w", what, n, err)
		}
	}
	if _, err := rows.Read(); !errors.Is(err, io.EOF) {
		return errors.Join(fmt.Errorf("more %ss than counted", what), err)
	}
	return zip.Close()
}

// parse reads a row that comes after a route of an instant.
func (r *Routes) parse(row []string, last time.Duration) (Route, error) {
	since, err := strconv.ParseInt(row[0], 10, 64)
	if err != nil {
		return Route{}, fmt.Errorf("column %s: %w", routeColumns[0], err)
	}
	port, err := strconv.ParseUint(row[3], 10, 16)
	if err != nil {
		return Route{}, fmt.Errorf("column %s: %w", routeColumns[3], err)
	}
	route := Route{At: last + time.Duration(since)*time.Microsecond, Port: uint16(port)}
	for _, name := range []struct {
		text  string
		index *uint16
	}{{row[1], &route.Node}, {row[2], &route.Source}, {row[4], &route.Target}} {
		if *name.index, err = r.Index(strings.Clone(name.text)); err != nil { // the row's memory is used again
			return Route{}, err
		}
	}
	return route, nil
}
