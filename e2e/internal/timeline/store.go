package timeline

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The files of a stored timeline: all but the requests as JSON, the requests as CSV, which every
// tool reads (zcat, DuckDB, pandas).
const (
	JSONFile   = "timeline.json"
	CSVFile    = "timeline.csv.gz"
	RoutesFile = "routes.csv.gz" // only where routes were seen

	ForwardsFile = "forwards.csv.gz" // only where an access log told of something
)

// Schema names the format of the stored files. A reader refuses any other.
const Schema = "zerodrop.timeline/v2"

// ErrDamaged is the guarantee that a stored timeline is read whole or not at all.
var ErrDamaged = errors.New("stored timeline is damaged or cut off")

// columns of the CSV, durations in microseconds. pod and address are indices into
// the lane's pods and addresses, from 1; leaving is -1 for NotLeaving.
var columns = []string{
	"lane",
	"seq",
	"planned",
	"lag",
	"latency",
	"cause",
	"code",
	"attempts",
	"pod",
	"leaving",
	"conn",
	"use",
	"port",
	"address",
}

// stored is a Timeline as its JSON file has it.
type stored struct {
	Timeline
	Counts []int `json:"requests"` // records per lane in the CSV, so that a missing end is seen
	Chosen int   `json:"routes,omitempty"`
	Passed int   `json:"forwards,omitempty"`
}

// Save writes the timeline into dir, which is made if need be. Files appear whole or not at all:
// what was there stays until the new one is complete. Times are stored in microseconds.
func Save(dir string, tl Timeline) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("save timeline: %w", err)
	}
	requests := func(w io.Writer) error { return writeRequests(w, tl.Lanes) }
	if err := replace(filepath.Join(dir, CSVFile), requests); err != nil {
		return fmt.Errorf("save timeline: %w", err)
	}
	for _, beside := range []struct {
		file  string
		count int
		write func(io.Writer) error
	}{
		{RoutesFile, len(tl.Routes.List), func(w io.Writer) error { return writeRoutes(w, tl.Routes) }},
		{ForwardsFile, len(tl.Forwards.List), func(w io.Writer) error { return writeForwards(w, tl.Forwards) }},
	} {
		path := filepath.Join(dir, beside.file)
		if beside.count > 0 {
			if err := replace(path, beside.write); err != nil {
				return fmt.Errorf("save timeline: %w", err)
			}
		} else if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of one before
			return fmt.Errorf("save timeline: %w", err)
		}
	}
	// The JSON comes last: a folder with one is complete.
	out := stored{Timeline: tl, Counts: []int{}, Chosen: len(tl.Routes.List), Passed: len(tl.Forwards.List)}
	out.Schema = Schema
	for _, l := range tl.Lanes {
		out.Counts = append(out.Counts, len(l.Requests))
	}
	err := replace(filepath.Join(dir, JSONFile), func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", " ")
		return enc.Encode(out)
	})
	if err != nil {
		return fmt.Errorf("save timeline: %w", err)
	}
	return nil
}

// replace writes a file beside the one it replaces and renames it when all of it is on disk.
func replace(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}

func writeRequests(w io.Writer, lanes []LaneRecord) error {
	zip := gzip.NewWriter(w)
	out := bufio.NewWriterSize(zip, 1<<16)
	_, _ = out.WriteString(strings.Join(columns, ",") + "\n") // bufio keeps the first error for Flush
	var line []byte
	number := func(n int64) { line = append(strconv.AppendInt(line, n, 10), ',') }
	micros := func(d time.Duration) { number(d.Microseconds()) }
	for _, l := range lanes {
		if strings.ContainsAny(l.Name, ",\"\r\n") {
			return fmt.Errorf("lane name %q can't stand in a CSV", l.Name)
		}
		for seq, r := range l.Requests {
			line = append(append(line[:0], l.Name...), ',')
			number(int64(seq))
			micros(r.Planned)
			micros(r.Lag)
			micros(r.Latency)
			line = append(append(line, r.Cause.String()...), ',')
			number(int64(r.Code))
			number(int64(r.Attempts))
			number(int64(r.Pod))
			if r.Leaving == NotLeaving {
				number(-1)
			} else {
				micros(r.Leaving)
			}
			number(int64(r.Conn))
			number(int64(r.ConnUse))
			number(int64(r.Port))
			line = strconv.AppendUint(line, uint64(r.Address), 10)
			_, _ = out.Write(append(line, '\n'))
		}
	}
	return errors.Join(out.Flush(), zip.Close())
}

// Load reads what Save wrote. Anything missing, cut off or changed is an error: ErrDamaged.
func Load(dir string) (Timeline, error) {
	tl, err := load(dir)
	if err != nil {
		return Timeline{}, fmt.Errorf("load timeline from %s: %w", dir, err)
	}
	return tl, nil
}

func load(dir string) (Timeline, error) {
	raw, err := os.ReadFile(filepath.Join(dir, JSONFile))
	if err != nil {
		return Timeline{}, err
	}
	var in stored
	if err := json.Unmarshal(raw, &in); err != nil {
		return Timeline{}, fmt.Errorf("%s: %w: %w", JSONFile, ErrDamaged, err)
	}
	if in.Schema != Schema {
		return Timeline{}, fmt.Errorf("%s: has schema %q: this program reads %q", JSONFile, in.Schema, Schema)
	}
	if len(in.Counts) != len(in.Lanes) {
		return Timeline{}, fmt.Errorf(
			"%s: %d lanes, %d counts of requests: %w",
			JSONFile,
			len(in.Lanes),
			len(in.Counts),
			ErrDamaged,
		)
	}
	f, err := os.Open(filepath.Join(dir, CSVFile))
	if err != nil {
		return Timeline{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer f.Close()
	if err := readRequests(f, in.Lanes, in.Counts); err != nil {
		return Timeline{}, fmt.Errorf("%s: %w: %w", CSVFile, ErrDamaged, err)
	}
	for _, beside := range []struct {
		file  string
		count int
		read  func(io.Reader, int) error
	}{
		{RoutesFile, in.Chosen, func(f io.Reader, n int) (err error) { in.Routes, err = readRoutes(f, n); return err }},
		{ForwardsFile, in.Passed, func(f io.Reader, n int) (err error) { in.Forwards, err = readForwards(f, n); return err }},
	} {
		if beside.count == 0 {
			continue
		}
		f, err := os.Open(filepath.Join(dir, beside.file))
		if err != nil {
			return Timeline{}, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		err = errors.Join(beside.read(f, beside.count), f.Close())
		if err != nil {
			return Timeline{}, fmt.Errorf("%s: %w: %w", beside.file, ErrDamaged, err)
		}
	}
	return in.Timeline, nil
}

func readRequests(f io.Reader, lanes []LaneRecord, counts []int) error {
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
	for i := range lanes {
		lanes[i].Requests = make([]Request, 0, counts[i])
		for seq := range counts[i] {
			row, err := rows.Read()
			if err != nil {
				return fmt.Errorf("lane %s, request %d: %w", lanes[i].Name, seq, err)
			}
			r, err := parse(row, lanes[i].Name, seq)
			if err != nil {
				return fmt.Errorf("lane %s, request %d: %w", lanes[i].Name, seq, err)
			}
			lanes[i].Requests = append(lanes[i].Requests, r)
		}
	}
	if _, err := rows.Read(); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("more requests than counted"), err)
	}
	return zip.Close() // and the checksum was right, else Read had said so
}

func parse(row []string, lane string, seq int) (Request, error) {
	var (
		r   Request
		err error
	)
	field := func(i int, bits int) int64 {
		n, e := strconv.ParseInt(row[i], 10, bits)
		if e != nil && err == nil {
			err = fmt.Errorf("column %s: %w", columns[i], e)
		}
		return n
	}
	micros := func(i int) time.Duration { return time.Duration(field(i, 64)) * time.Microsecond }
	if row[0] != lane || field(1, 64) != int64(seq) {
		return r, fmt.Errorf("found %s %s in its place", row[0], row[1])
	}
	r.Planned, r.Lag, r.Latency = micros(2), micros(3), micros(4)
	cause, e := ParseCause(row[5])
	if e != nil {
		return r, e
	}
	r.Cause = cause
	r.Code = uint16(field(6, 17))
	r.Attempts = uint8(field(7, 9))
	r.Pod = uint16(field(8, 17))
	if r.Leaving = micros(9); r.Leaving < 0 {
		r.Leaving = NotLeaving
	}
	r.Conn, r.ConnUse = uint32(field(10, 33)), uint32(field(11, 33))
	r.Port, r.Address = uint16(field(12, 17)), uint16(field(13, 17))
	return r, err
}

// Find returns the folders below dir that hold a stored timeline, sorted. That there is none is an
// error.
func Find(dir string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && entry.Name() == JSONFile {
			found = append(found, filepath.Dir(path))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find timelines: %w", err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("find timelines: no %s below %s", JSONFile, dir)
	}
	return found, nil
}
