package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// ServersProfile is the profile that compares servers.
const ServersProfile = scenarios.ServersProfile

// FileServer is what all runs together say of a server that knows nothing of what measures it, stopped in one
// way. Table B is made of it, in a report and in documents alike.
type FileServer struct {
	Server       string                             `json:"server"`
	Way          string                             `json:"way"` // the strategy
	Summary      string                             `json:"summary,omitempty"`
	Signal       string                             `json:"signal,omitempty"` // that ends it, as its manifests have it
	Runs         int                                `json:"runs"`             // that were conclusive
	Inconclusive int                                `json:"inconclusive"`     // that were not: nothing is taken from them
	Classes      map[timeline.Class]FileServerDrops `json:"classes"`
	Late         int                                `json:"late"`
	// the smallest delay after which nothing arrived on new connections; null if there is none
	NeededSeconds *float64 `json:"neededSeconds"`
	NeededAtLeast bool     `json:"neededAtLeast,omitempty"` // neededSeconds is a lower bound
	Dropped       int      `json:"dropped"`
	Unattributed  int      `json:"unattributed"` // of the dropped requests
}

// FileServerDrops is what became of the requests of one class.
type FileServerDrops struct {
	FileTally
	Causes map[timeline.Cause]int `json:"causes,omitempty"` // of the dropped
}

func newFileServers(r Report) []FileServer {
	if r.Profile != ServersProfile {
		return nil
	}
	var out []FileServer
	for _, s := range verdict.Servers(r.Suite.Runs) {
		f := FileServer{
			Server: s.Target.Name, Way: s.Strategy, Summary: s.Summary, Signal: s.Target.Signal, Runs: s.Runs,
			Inconclusive: s.Inconclusive, Classes: map[timeline.Class]FileServerDrops{}, Late: s.Late,
			NeededAtLeast: s.SafeAtLeast, Dropped: s.Dropped, Unattributed: s.Unattributed,
		}
		if s.Safe != nil {
			f.NeededSeconds = new(seconds(*s.Safe))
		}
		for class, t := range s.Classes {
			drops := FileServerDrops{FileTally: FileTally(t)}
			if t.Dropped > 0 {
				drops.Causes = above0(s.Causes[class])
			}
			f.Classes[class] = drops
		}
		out = append(out, f)
	}
	return out
}

func (s FileServer) check() error {
	for class, drops := range s.Classes {
		err := cmp.Or(checkWord("class", timeline.Classes(), class), checkCounts(drops.Causes, nil))
		if err != nil {
			return fmt.Errorf("server %s, %s: %w", s.Server, s.Way, err)
		}
	}
	return nil
}

// asked is the server's figures that consumers have as well.
func (s FileServer) asked() FileConsumer {
	return FileConsumer{
		SafeSeconds: s.NeededSeconds, SafeAtLeast: s.NeededAtLeast, Dropped: s.Dropped, Unattributed: s.Unattributed,
	}
}

// drops is a class in a cell; None where no request could be dropped so.
func (s FileServer) drops(class timeline.Class) string {
	if t := s.Classes[class]; t.Sent > 0 {
		return ratio(t.Dropped, t.Sent)
	}
	return None
}

// causes are those of each class, most frequent first: "new: refused 12 · reset 3; in-flight: eof 4".
func (s FileServer) causes() string {
	var words []string
	for _, class := range timeline.Classes() {
		if causes := s.causesOf(class); causes != None {
			words = append(words, fmt.Sprintf("%s: %s", class, causes))
		}
	}
	return cmp.Or(strings.Join(words, "; "), None)
}

func (s FileServer) causesOf(class timeline.Class) string {
	return Counts(timeline.Causes(), s.Classes[class].Causes, 0)
}

var (
	serverKeys = []Column[FileServer]{
		Key("server", func(s FileServer) string { return Plain(s.Server) }),
		Key("stopped as", func(s FileServer) string { return Plain(s.Way) }),
	}
	serverColumns = []Column[FileServer]{
		Words("signal", func(s FileServer) string { return known(s.Signal) }),
		Number("new", func(s FileServer) string { return s.drops(timeline.ClassNew) }),
		Number("kept-alive", func(s FileServer) string { return s.drops(timeline.ClassKeptAlive) }),
		Number("in flight", func(s FileServer) string { return s.drops(timeline.ClassInFlight) }),
		Number("late", func(s FileServer) string { return integer(s.Late) }),
		Number("delay needed", func(s FileServer) string { return s.asked().safe() }),
		Number("charged", func(s FileServer) string { return s.asked().charged() }),
	}
)

// serverCauses is why requests of one class were dropped.
type serverCauses struct {
	FileServer
	class timeline.Class
}

func causesBlock(all []FileServer) block {
	var rows []serverCauses
	for _, s := range all {
		for _, class := range timeline.Classes() {
			if s.causesOf(class) != None {
				rows = append(rows, serverCauses{s, class})
			}
		}
	}
	if len(rows) == 0 {
		return block{}
	}
	return block{Heading: "Causes", Table: Tabulate([]Column[serverCauses]{
		Key("server", func(s serverCauses) string { return Plain(s.Server) }),
		Key("stopped as", func(s serverCauses) string { return Plain(s.Way) }),
		Key("class", func(s serverCauses) string { return string(s.class) }),
		Words("causes", func(s serverCauses) string { return s.causesOf(s.class) }),
	}, [][]serverCauses{rows})}
}

var serverNotes = []string{
	"new, kept-alive: dropped of sent on such connections; in flight: of the slow requests, those that were cut when " +
		"the process ended or gave up",
	"refused: nobody listened any more; reset: the connection was taken, by the kernel at least, and given up; eof: it " +
		"was closed without an answer; timeout: the Pod's network was gone, or nobody answered",
	"delay needed: the longest time from a Pod's deletion to the last request on a new connection, and one interval of " +
		"the lane; ≥: requests came until the Pod's own end",
	"charged: the share of the dropped requests that is charged to a Pod and a phase of its life, or to there being no " +
		"Pod; the servers themselves tell nothing",
}

// byServer is the rows of each server next to each other.
func byServer(all []FileServer) [][]FileServer {
	var parts [][]FileServer
	for _, g := range groupBy(all, func(s FileServer) string { return s.Server }) {
		parts = append(parts, g.items)
	}
	return parts
}

// servers is table B: server × the way to stop it.
func servers(m model) section {
	all := newFileServers(m.Report)
	if len(all) == 0 {
		return section{}
	}
	notes := serverNotes
	for _, s := range all {
		if s.Inconclusive > 0 {
			notes = append(slices.Clip(notes), fmt.Sprintf("%s: nothing is taken from %s", Plain(s.Way),
				Count(s.Inconclusive, "inconclusive run")))
		}
	}
	table := Tabulate(slices.Concat(serverKeys, serverColumns), byServer(all))
	out := section{Title: "Server by server", Blocks: []block{{Table: table, List: notes}}}
	if causes := causesBlock(all); len(causes.Table.Columns) > 0 {
		out.Blocks = append(out.Blocks, causes)
	}
	return out
}

// serversWithin is table B for a screen: one row a server and way, in so many lines at most.
func serversWithin(all []FileServer, most int) []string {
	table := Tabulate(slices.Concat(serverKeys[1:], serverColumns[:len(serverColumns)-1]), [][]FileServer{all})
	return atMost(draw(table), most, "report.txt")
}

// ServerResults is table B for documents, in Markdown: each server in each way as it was measured last.
func ServerResults(files []ResultsFile) string {
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b ResultsFile) int { return a.Measured.Compare(b.Measured) })
	var all []FileServer
	var heads []string
	for _, f := range files {
		if len(f.Servers) == 0 {
			continue
		}
		heads = append(heads, f.head())
		for _, s := range f.Servers {
			i := slices.IndexFunc(all, func(o FileServer) bool { return o.Server == s.Server && o.Way == s.Way })
			switch {
			case i < 0:
				all = append(all, s)
			case s.Runs > 0: // else it says nothing
				all[i] = s
			}
		}
	}
	if len(all) == 0 {
		return "Nothing is kept yet: `make servers` measures, `make results` keeps it.\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Generated from [results](results) by `make results`; a rolling update of three Pods.\n")
	for _, head := range heads {
		fmt.Fprintf(&b, "\n%s\n", head)
	}
	fmt.Fprintf(&b, "\n**Table B. What servers drop, by the way in which they are stopped**\n\n%s\n\n",
		markdownTable(Tabulate(append(slices.Concat(serverKeys, serverColumns), Words("causes", FileServer.causes)),
			byServer(all))))
	for _, note := range serverNotes {
		fmt.Fprintf(&b, "- %s\n", escape(note))
	}
	return b.String()
}

// head says when and how a measurement was made.
func (f ResultsFile) head() string {
	return fmt.Sprintf("%#q · %s · %s · %s, %d inconclusive, %s · %s",
		f.Command, f.Measured.Format(time.DateOnly), f.Commit, Count(f.Runs, "run"), f.Inconclusive,
		span(length(f.ElapsedSeconds)), escape(strings.Join(Environment(f.Cluster), " · ")))
}
