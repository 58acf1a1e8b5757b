package report

import "slices"

// document is a report in words, before it is laid out for a terminal or a web page.
type document struct {
	Verdict  string   // the line that opens and closes it
	Facts    []string // where and how this was measured
	Reasons  []string // why it isn't a pass; empty for a pass
	Findings []string // a line each
	Sections []section
	Closing  []string // times, artifacts
}

// section is a part of a document under a title. All but the first are for who asks: they may be
// hidden behind their titles.
type section struct {
	Title  string
	Blocks []block
}

// block is a heading, a text, a table, a list and lines that are copied, in this order. Any of them may be
// missing.
type block struct {
	Heading string
	Text    string
	Code    string
	Table   Table
	List    []string
}

// Table is cells in words. Parts holds the rows in groups that a reader compares within.
type Table struct {
	Columns []Header
	Parts   [][][]string
	titles  []string // of the parts, for a terminal
}

// Header is the top of a column.
type Header struct {
	Group string // shared by neighbours, written once over them; may be empty
	Name  string // under the group
	Full  string // stands alone, where there are no groups
	Key   bool   // says what a row is about: repeated where a table is cut for its width
	Left  bool   // words, not numbers
}

// Column says what a column of a table shows of a row of type R: everything there is to know about
// a column is in one such value.
type Column[R any] struct {
	Header
	Cell func(R) string
	// Hide drops the column if it holds for every row. Nil keeps it.
	Hide func(R) bool
}

// Key is a column of words that says what a row is about.
func Key[R any](name string, cell func(R) string) Column[R] {
	return Column[R]{Header: Header{Name: name, Key: true, Left: true}, Cell: cell}
}

// Words is a column of words.
func Words[R any](name string, cell func(R) string) Column[R] {
	return Column[R]{Header: Header{Name: name, Left: true}, Cell: cell}
}

// Number is a column of numbers.
func Number[R any](name string, cell func(R) string) Column[R] {
	return Column[R]{Header: Header{Name: name}, Cell: cell}
}

// Unless drops the column if what is given holds for every row.
func (c Column[R]) Unless(hide func(R) bool) Column[R] {
	c.Hide = hide
	return c
}

// under puts the column under the name of a group.
func (c Column[R]) under(group, full string) Column[R] {
	c.Group, c.Full = group, full
	return c
}

// Tabulate makes a table of parts of rows.
func Tabulate[R any](columns []Column[R], parts [][]R) Table {
	out := Table{Parts: make([][][]string, len(parts))}
	for i := range parts {
		out.Parts[i] = make([][]string, len(parts[i]))
	}
	for _, c := range columns {
		if c.hidden(parts) {
			continue
		}
		if c.Full == "" {
			c.Full = c.Name
		}
		out.Columns = append(out.Columns, c.Header)
		for i, rows := range parts {
			for j, r := range rows {
				out.Parts[i][j] = append(out.Parts[i][j], c.Cell(r))
			}
		}
	}
	return out
}

func (c Column[R]) hidden(parts [][]R) bool {
	return c.Hide != nil && !slices.ContainsFunc(slices.Concat(parts...), func(r R) bool { return !c.Hide(r) })
}
