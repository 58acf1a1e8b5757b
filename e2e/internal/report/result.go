package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// Result is how a run came out, at a glance. An outcome says whether a promise was kept; a strategy
// that promises nothing keeps it and drops requests all the same. So a pass has two words here.
type Result string

// The results, the weightiest first. The values are the words that people read.
const (
	Broken  Result = "infrastructure" // there is no measurement
	Unknown Result = "inconclusive"   // there is one, and it proves nothing
	Failed  Result = "FAIL"           // dropped what must not be dropped
	Dropped Result = "dropped"        // as expected, and requests were dropped
	Clean   Result = "clean"          // as expected, and nothing was dropped
)

// Results lists every result, the weightiest first.
func Results() []Result { return []Result{Broken, Unknown, Failed, Dropped, Clean} }

// ResultOf says how a run came out. A masked request was dropped, too: another client would not
// have sent it again. So was a held connection that was cut, whether or not a message was on its way,
// and a long task.
func ResultOf(v verdict.Verdict) Result {
	return resultOf(v.Outcome, slices.ContainsFunc(v.Lanes, droppedSome) || cutsTasks(v))
}

func cutsTasks(v verdict.Verdict) bool { return v.Tasks != nil && v.Tasks.Cut > 0 }

// LaneResult says the same of a lane of it.
func LaneResult(l verdict.Lane) Result { return resultOf(l.Outcome, droppedSome(l)) }

func droppedSome(l verdict.Lane) bool {
	return l.Dropped+l.Masked > 0 || l.HeldConnections != nil && l.HeldConnections.Cut > 0
}

func resultOf(o verdict.Outcome, dropped bool) Result {
	switch {
	case o == verdict.Infrastructure:
		return Broken
	case o == verdict.Fail:
		return Failed
	case o == verdict.Pass && dropped:
		return Dropped
	case o == verdict.Pass:
		return Clean
	}
	return Unknown
}

// Mark is the result as a shape, for who doesn't see its colour.
func (r Result) Mark() string { return looks[r].mark }

// Meaning is the result in a few words.
func (r Result) Meaning() string { return looks[r].meaning }

// Word is the result alone.
func (r Result) Word() string { return string(r) }

// Class is the result as a class of a style sheet.
func (r Result) Class() string { return "is-" + strings.ToLower(string(r)) }

// looks is how results look: their colours are escape sequences of a terminal (ECMA-48 SGR).
var looks = map[Result]struct{ mark, colour, meaning string }{
	Broken:  {"■", "35", "could not be measured"},
	Unknown: {"?", "33", "proves nothing"},
	Failed:  {"✗", "1;31", "dropped what must not be dropped"},
	Dropped: {"◆", "33", "as expected, and requests were dropped"},
	Clean:   {"✓", "32", "as expected, and nothing was dropped"},
}

// String is the shape and the word.
func (r Result) String() string { return r.Mark() + " " + string(r) }

// result is that of the weightiest run.
func (r row) result() Result {
	for _, result := range Results() {
		if r.count(result) > 0 {
			return result
		}
	}
	return Unknown
}

func (r row) count(result Result) int {
	n := 0
	for _, v := range r.Runs {
		if ResultOf(v) == result {
			n++
		}
	}
	return n
}

// resultCell is the result, and of how many of the repeats if not of all.
func (r row) resultCell() string {
	result := r.result()
	if n := r.count(result); n < len(r.Runs) {
		return fmt.Sprintf("%s %d/%d", result, n, len(r.Runs))
	}
	return result.String()
}

// verdictLine opens a report: the suite's outcome, how many runs came out as expected, and how many
// of those dropped nothing.
func verdictLine(s verdict.Suite) string {
	word := strings.ToUpper(s.Outcome.String())
	if len(s.Runs) == 0 {
		return word + ": no run was made"
	}
	all := row{Runs: s.Runs}
	clean, dropped := all.count(Clean), all.count(Dropped)
	parts := []string{fmt.Sprintf("%s: %d of %s as expected", word, clean+dropped, Count(len(s.Runs), "run"))}
	if clean+dropped > 0 {
		parts[0] += fmt.Sprintf(" (%d %s, %d %s)", dropped, Dropped, clean, Clean)
	}
	for _, bad := range []struct {
		result Result
		words  string
	}{{Failed, "failed"}, {Unknown, "inconclusive"}, {Broken, "could not be measured"}} {
		if n := all.count(bad.result); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, bad.words))
		}
	}
	return strings.Join(parts, ", ")
}
