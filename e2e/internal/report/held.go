package report

import (
	"fmt"
	"slices"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// heldLane is what became of the connections that the clients of a lane held, in all runs of a row.
type heldLane struct {
	row
	Lane string
	verdict.Held
}

// heldPhase is what became of them in one phase of their Pods' lives.
type heldPhase struct {
	heldLane
	Phase verdict.LifecyclePhase
	Pods  int
	verdict.HeldEnds
}

// held is who ended the connections that clients held, and for how long their clients were without.
func held(m model) section {
	var lanes [][]heldLane
	var phases [][]heldPhase
	for _, part := range m.Parts {
		var of []heldLane
		var in []heldPhase
		for _, r := range part {
			for _, l := range r.heldLanes() {
				of, in = append(of, l), append(in, l.phases()...)
			}
		}
		if len(of) > 0 {
			lanes = append(lanes, of)
		}
		if len(in) > 0 {
			phases = append(phases, in)
		}
	}
	if len(lanes) == 0 {
		return section{}
	}
	out := section{Title: "Held connections", Blocks: []block{{
		Text: "Of the connections that clients held, in all conclusive repeats: who ended them, and for how long the " +
			"client was without one.",
		Table: Tabulate(heldColumns, lanes),
		List: []string{
			"left: the client, when its time was over, and the server has confirmed it",
			"announced: the server, by its word: a close frame, the end of the stream; of gRPC a status, or GOAWAY before " +
				"the end",
			"cut: a reset, or FIN without a word; or nothing came any more, and the client gave it up",
			"unattributed: the client and the Pod may both have ended it: it counts for neither",
			"back: from the end of a connection that its client didn't end to that client's next one; away: clients that " +
				"had none when the load ended",
		},
	}}}
	if len(phases) > 0 {
		out.Blocks = append(out.Blocks, block{
			Text:  "The same by the phase of the Pod's life in which its connections ended:",
			Table: Tabulate(heldPhaseColumns, phases),
		})
	}
	return out
}

// heldNotes say of each row, in a line, how many connections their clients didn't end, and when the last
// client was back.
func (m model) heldNotes() []string {
	var out []string
	for _, r := range slices.Concat(m.Parts...) {
		var sum verdict.Held
		for _, l := range r.heldLanes() {
			sum.Connections, sum.Cut, sum.Announced = sum.Connections+l.Connections, sum.Cut+l.Cut, sum.Announced+l.Announced
			sum.Unattributed, sum.Away = sum.Unattributed+l.Unattributed, sum.Away+l.Away
			sum.Back = append(sum.Back, l.Back...)
		}
		if sum.Connections == 0 || r.Control {
			continue
		}
		line := fmt.Sprintf("%s, %s: of %s, %d were cut and %d announced",
			r.label(), r.Where, Count(sum.Connections, "held connection"), sum.Cut, sum.Announced)
		if sum.Unattributed > 0 {
			line += fmt.Sprintf(", %d unattributed", sum.Unattributed)
		}
		if len(sum.Back) > 0 {
			line += fmt.Sprintf("; clients were back after %s at most", Duration(slices.Max(sum.Back)))
		}
		if sum.Away > 0 {
			line += fmt.Sprintf("; %d not back when the load ended", sum.Away)
		}
		out = append(out, line)
	}
	return out
}

var heldColumns = []Column[heldLane]{
	Key("disruption", func(h heldLane) string { return h.Where }),
	Key("strategy", func(h heldLane) string { return h.label() }),
	Key("lane", func(h heldLane) string { return h.Lane }),
	Number("connections", func(h heldLane) string { return integer(h.Connections) }),
	Number("left", func(h heldLane) string { return integer(h.Left) }),
	Number("announced", func(h heldLane) string { return integer(h.Announced) }),
	Number("cut", func(h heldLane) string { return integer(h.Cut) }),
	Number("unattributed", func(h heldLane) string { return integer(h.Unattributed) }),
	Number("back p50", func(h heldLane) string { return h.back(0.50) }),
	Number("p99", func(h heldLane) string { return h.back(0.99) }),
	Number("max", func(h heldLane) string { return h.back(1) }),
	Number("away", func(h heldLane) string { return integer(h.Away) }).
		Unless(func(h heldLane) bool { return h.Away == 0 }),
}

var heldPhaseColumns = []Column[heldPhase]{
	Key("disruption", func(h heldPhase) string { return h.Where }),
	Key("strategy", func(h heldPhase) string { return h.label() }),
	Key("lane", func(h heldPhase) string { return h.Lane }),
	Key("phase", func(h heldPhase) string { return h.Phase.String() }),
	Number("Pods", func(h heldPhase) string { return integer(h.Pods) }),
	Number("announced", func(h heldPhase) string { return integer(h.Announced) }),
	Number("cut", func(h heldPhase) string { return integer(h.Cut) }),
	Number("back max", func(h heldPhase) string {
		if h.BackMax == 0 {
			return None
		}
		return Duration(h.BackMax)
	}),
}

// back is a percentile of the time until clients were back.
func (h heldLane) back(p float64) string {
	if len(h.Back) == 0 {
		return None
	}
	return Duration(verdict.Percentile(h.Back, p))
}

// heldLanes are the lanes of the row whose clients hold connections, all conclusive runs together.
func (r row) heldLanes() []heldLane {
	var out []heldLane
	for _, v := range r.Runs {
		for _, l := range v.Lanes {
			if l.HeldConnections == nil || !v.Conclusive() {
				continue
			}
			i := slices.IndexFunc(out, func(h heldLane) bool { return h.Lane == l.Name })
			if i < 0 {
				i, out = len(out), append(out, heldLane{row: r, Lane: l.Name})
			}
			sum, one := &out[i].Held, l.HeldConnections
			sum.Connections, sum.Left = sum.Connections+one.Connections, sum.Left+one.Left
			sum.Announced, sum.Cut = sum.Announced+one.Announced, sum.Cut+one.Cut
			sum.Unattributed, sum.Away = sum.Unattributed+one.Unattributed, sum.Away+one.Away
			sum.Back = slices.Sorted(slices.Values(append(slices.Clone(sum.Back), one.Back...)))
			sum.Ends = append(sum.Ends, one.Ends...)
		}
	}
	return out
}

// cutsHeld says that some of them were cut.
func (r row) cutsHeld() bool {
	return slices.ContainsFunc(r.heldLanes(), func(l heldLane) bool { return l.Cut > 0 })
}

// phases puts the Pods of the lane together, phase by phase.
func (h heldLane) phases() []heldPhase {
	var out []heldPhase
	for _, phase := range verdict.LifecyclePhases() {
		sum := heldPhase{heldLane: h, Phase: phase}
		for _, e := range h.Ends {
			if e.Phase == phase {
				sum.Pods++
				sum.Announced, sum.Cut = sum.Announced+e.Announced, sum.Cut+e.Cut
				sum.BackMax = max(sum.BackMax, e.BackMax)
			}
		}
		if sum.Pods > 0 {
			out = append(out, sum)
		}
	}
	return out
}

// FileHeld is what became of the connections that a lane's clients held:
// connections = left + announced + cut + unattributed.
type FileHeld struct {
	Clients      int `json:"clients"` // that held one each
	Connections  int `json:"connections"`
	Left         int `json:"left"`
	Announced    int `json:"announced"`
	Cut          int `json:"cut"`
	Silent       int `json:"silent"` // of cut
	Unattributed int `json:"unattributed"`
	// Why is why connections are unattributed, or charged to no phase.
	Why map[string]int `json:"why"`
	// BackSeconds is how long each client was away whose connection it didn't end itself; sorted.
	BackSeconds []float64 `json:"backSeconds"`
	Away        int       `json:"away"` // clients that were not back when the load ended
	AwaySeconds float64   `json:"awaySeconds"`
	// Ends are those that were announced or cut, by Pod and phase.
	Ends []FileHeldEnds `json:"ends"`
	// Over is how many there were with each Pod over time; not there for a run without a disruption.
	Over *FileHeldOver `json:"over,omitempty"`
}

// FileHeldOver is how many connections clients held with each Pod, from the start of the disruption on.
type FileHeldOver struct {
	UntilSeconds float64       `json:"untilSeconds"` // since that start
	Pods         []FileHeldPod `json:"pods"`         // in the order in which clients first came to them
}

// FileHeldPod are the connections with one Pod.
type FileHeldPod struct {
	Pod            string   `json:"pod"`
	DeletedSeconds *float64 `json:"deletedSeconds,omitempty"` // since the start of the disruption
	Open           []int    `json:"open"`                     // at verdict.HeldInstants instants, evenly spread
}

// FileHeldEnds are the connections with one Pod that were announced or cut in one phase of its life.
type FileHeldEnds struct {
	Pod            string                 `json:"pod"`
	Phase          verdict.LifecyclePhase `json:"phase"`
	Announced      int                    `json:"announced"`
	Cut            int                    `json:"cut"`
	BackMaxSeconds float64                `json:"backMaxSeconds"`
}

func newFileHeld(l verdict.Lane) *FileHeld {
	h := l.HeldConnections
	if h == nil {
		return nil
	}
	out := &FileHeld{
		Clients:     l.Clients,
		Connections: h.Connections, Left: h.Left, Announced: h.Announced, Cut: h.Cut, Silent: h.Silent,
		Unattributed: h.Unattributed, Why: above0(h.Why), Away: h.Away, AwaySeconds: seconds(h.AwayMax),
		BackSeconds: []float64{}, Ends: []FileHeldEnds{},
	}
	for _, d := range h.Back {
		out.BackSeconds = append(out.BackSeconds, seconds(d))
	}
	for _, e := range h.Ends {
		out.Ends = append(out.Ends, FileHeldEnds{e.Pod, e.Phase, e.Announced, e.Cut, seconds(e.BackMax)})
	}
	if len(h.Counts.Pods) > 0 {
		out.Over = &FileHeldOver{UntilSeconds: seconds(h.Counts.Until)}
		for _, p := range h.Counts.Pods {
			out.Over.Pods = append(out.Over.Pods, FileHeldPod{p.Pod, secondsOf(p.Deleted), p.Open})
		}
	}
	return out
}
