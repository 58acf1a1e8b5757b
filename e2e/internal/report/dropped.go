package report

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// DroppedFile is a run's dropped requests, one a row, for whoever wants to count them in a way of
// their own.
const DroppedFile = "dropped.csv"

// WriteDropped writes the dropped requests of a run as CSV. Instants are in seconds since the start
// of the disruption; since_deletion is in seconds, and empty if the deletion of the Pod was not
// seen.
func WriteDropped(w io.Writer, v verdict.Verdict) error {
	rows := [][]string{{
		"lane", "seq", "sent", "failed", "cause", "code", "port", "connection_use", "pod", "evidence", "phase", "class",
		"since_deletion", "unattributed_because",
	}}
	micros := func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) }
	for _, d := range v.DroppedRequests {
		since := ""
		if d.SinceDeletion != nil {
			since = micros(*d.SinceDeletion)
		}
		rows = append(rows, []string{
			d.Lane, strconv.Itoa(d.Seq), micros(d.Sent - v.DisruptStart), micros(d.Done - v.DisruptStart),
			d.Cause.String(),
			strconv.Itoa(int(d.Code)), strconv.Itoa(int(d.Port)), strconv.Itoa(int(d.ConnUse)), d.Pod,
			string(d.Evidence),
			d.Phase.String(), string(d.Class), since, d.Why,
		})
	}
	if err := csv.NewWriter(w).WriteAll(rows); err != nil {
		return fmt.Errorf("write dropped requests: %w", err)
	}
	return nil
}
