package traffic

import (
	"context"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// Sender sends lanes from some place.
type Sender interface {
	// Sync gets ready to send and finds out how the sender's clocks differ from the run's. It is
	// called once, before the load is planned.
	Sync(ctx context.Context, clock timeline.Clock) error
	// LeadTime is how long before the first request is due Send has to be called, and how long
	// before the end the end has to be known.
	LeadTime() time.Duration
	// Send sends the lanes and returns when the last request of each has ended. The plan ends it
	// and nothing else; ctx is for reaching the sender, not for stopping it. What was recorded is
	// returned also with an error, lane by lane in the order of the lanes.
	Send(ctx context.Context, lanes []Lane, plan Plan) ([]timeline.LaneRecord, []timeline.Sender, error)
}

// Host sends from this process.
type Host struct {
	// API is the way to the API server, for lanes that write there.
	API *http.Client
}

// Sync does nothing: the run's clock is this process' own.
func (Host) Sync(context.Context, timeline.Clock) error { return nil }

// LeadTime is the time for all lanes to be ready.
func (Host) LeadTime() time.Duration { return 100 * time.Millisecond }

// Send sends the lanes all at once.
func (h Host) Send(_ context.Context, lanes []Lane, plan Plan) ([]timeline.LaneRecord, []timeline.Sender, error) {
	plan.API = h.API
	pressure := Pressure()
	records := make([]timeline.LaneRecord, len(lanes))
	self := timeline.Sender{Name: "host"}
	var all errgroup.Group
	for i, lane := range lanes {
		self.Lanes = append(self.Lanes, lane.Name)
		all.Go(func() (err error) {
			records[i], err = Send(lane, plan)
			return err
		})
	}
	err := all.Wait()
	self.Pressure = pressure()
	return records, []timeline.Sender{self}, err
}
