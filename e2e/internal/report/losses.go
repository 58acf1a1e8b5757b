package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// LossesFile is a run's lost requests, one a row, for whoever wants to count them in a way of their own.
const LossesFile = "losses.csv"

// lossFields are those of LossesFile. Instants are in seconds since the start of the disruption; since_deletion is in seconds and empty if the deletion of the
// Pod was not seen.
var lossFields = []string{
	"lane", "seq", "sent", "failed", "cause", "code", "port", "connection_use", "pod", "evidence", "moment", "since_deletion", "unattributed_because",
}

// Losses writes the lost requests of a run whose disruption began at the given offset, as CSV.
func Losses(w io.Writer, losses []verdict.Loss, disruption time.Duration) error {
	out := csv.NewWriter(w)
	rows := [][]string{lossFields}
	micros := func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) }
	for _, l := range losses {
		since := ""
		if l.Since != nil {
			since = micros(*l.Since)
		}
		rows = append(rows, []string{
			l.Lane, strconv.Itoa(l.Seq), micros(l.Sent - disruption), micros(l.Done - disruption), l.Cause.String(), strconv.Itoa(int(l.Code)),
			strconv.Itoa(int(l.Port)), strconv.Itoa(int(l.ConnUse)), l.Pod, string(l.Evidence), l.Moment.String(), since, l.Why,
		})
	}
	if err := out.WriteAll(rows); err != nil {
		return fmt.Errorf("write losses: %w", err)
	}
	return nil
}
