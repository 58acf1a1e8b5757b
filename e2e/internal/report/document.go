package report

// document is a report in words, before it is laid out for a terminal or a web page.
type document struct {
	Verdict  string   // the line that opens and closes it
	Facts    []string // where and how this was measured
	Reasons  []string // why it isn't a pass; empty for a pass
	Sections []section
	Closing  []string // times, artifacts
}

// section is a part of a document under a title. A folded one is for who asks: it may be hidden behind its title.
type section struct {
	Title  string
	Folded bool
	Blocks []block
}

// block is a heading, a text, a table and a list, in this order. Any of them may be missing.
type block struct {
	Heading string
	Text    string
	Table   table
	List    []string
}

// table is cells in words. Parts holds the rows in groups that a reader compares within.
type table struct {
	Columns []header
	Parts   [][][]string
}

// header is the top of a column.
type header struct {
	Group string // shared by neighbours, written once over them; may be empty
	Name  string // under the group
	Full  string // stands alone, where there are no groups
	Key   bool   // says what a row is about: repeated where a table is cut for its width
	Left  bool   // words, not numbers
}

// column says what a column of a table shows of a row of type R: everything there is to know about a column is in one such value.
type column[R any] struct {
	header
	cell func(R) string
	// hide drops the column if it holds for every row. Nil keeps it.
	hide func(R) bool
}

// tabulate makes a table of parts of rows.
func tabulate[R any](columns []column[R], parts [][]R) table {
	var out table
	out.Parts = make([][][]string, len(parts))
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
		out.Columns = append(out.Columns, c.header)
		for i, rows := range parts {
			for j, r := range rows {
				out.Parts[i][j] = append(out.Parts[i][j], c.cell(r))
			}
		}
	}
	return out
}

func (c column[R]) hidden(parts [][]R) bool {
	if c.hide == nil {
		return false
	}
	for _, rows := range parts {
		for _, r := range rows {
			if !c.hide(r) {
				return false
			}
		}
	}
	return true
}
