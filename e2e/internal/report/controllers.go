package report

import (
	"fmt"
	"strings"

	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
	"github.com/zerodrop/zerodrop/scenarios"
)

// FileControllers is what the cluster's controllers did in a run, as report.json has it.
type FileControllers struct {
	// When the run began; all 0 where nobody looked.
	Services       int `json:"services"`
	InOneObject    int `json:"inOneObject"` // Services whose endpoints were in one object alone
	Slices         int `json:"endpointSlices"`
	Objects        int `json:"endpointsObjects"` // of the older kind Endpoints
	Endpoints      int `json:"endpoints"`        // in the EndpointSlices
	AddressAndPort int `json:"addressAndPort"`   // endpoints that were a Pod's IP and the port that the Service targets
	// Since the disruption began; all 0 where no endpoint was watched.
	Created FileFollowed `json:"created"` // Pods that got ready
	Deleted FileFollowed `json:"deleted"`
	Left    FileFollowed `json:"left"` // Pods that were taken out of their Services
	// Pods that were deleted, and those of them for which no new one was ready by then.
	Deletions    int `json:"deletions"`
	DeletedEarly int `json:"deletedEarly"`
}

// FileFollowed is to how many Pods something happened, and of how many the endpoints changed then.
type FileFollowed struct {
	Pods    int `json:"pods"`
	Changed int `json:"changed"`
}

// newFileControllers is nil for a run that tells nothing of it.
func newFileControllers(c verdict.Controllers) *FileControllers {
	if c == (verdict.Controllers{}) {
		return nil
	}
	return &FileControllers{
		c.Services, c.InOneObject, c.Slices, c.Objects, c.Endpoints, c.AddressAndPort,
		FileFollowed(c.Created), FileFollowed(c.Deleted), FileFollowed(c.Left), c.Deletions, c.DeletedEarly,
	}
}

// with is both together.
func (c FileControllers) with(o FileControllers) FileControllers {
	add := func(a, b FileFollowed) FileFollowed { return FileFollowed{a.Pods + b.Pods, a.Changed + b.Changed} }
	return FileControllers{
		c.Services + o.Services, c.InOneObject + o.InOneObject, c.Slices + o.Slices, c.Objects + o.Objects,
		c.Endpoints + o.Endpoints, c.AddressAndPort + o.AddressAndPort,
		add(c.Created, o.Created), add(c.Deleted, o.Deleted), add(c.Left, o.Left),
		c.Deletions + o.Deletions, c.DeletedEarly + o.DeletedEarly,
	}
}

// controllerDeciders are those of the kinds of figures that are about what controllers do.
var controllerDeciders = map[scenarios.Figure]decider{
	scenarios.OneObject:        ofControllers(oneObject),
	scenarios.AddressAndPort:   ofControllers(addressAndPort),
	scenarios.EndpointsRefresh: ofControllers(endpointsRefresh),
	scenarios.CreatesDeletes:   ofControllers(createsDeletes),
}

// ofControllers is decided by what controllers did in all runs together; the text is empty where none
// of these tells.
func ofControllers(read func(FileControllers) (text string, holds bool)) decider {
	return func(s scenarios.Statement, f ResultsFile) (out []point) {
		for _, same := range groupBy(runsOf(s, f), func(r RunFigures) string { return r.along(s) }) {
			var sum FileControllers
			for _, run := range same.items {
				if run.Controllers != nil {
					sum = sum.with(*run.Controllers)
				}
			}
			if text, holds := read(sum); text != "" {
				out = append(out, point{of: same.key, text: text, holds: holds})
			}
		}
		return out
	}
}

func oneObject(c FileControllers) (text string, holds bool) {
	if c.Services == 0 {
		return "", false
	}
	return fmt.Sprintf("%d of %s have one: %s, %d Endpoints", c.InOneObject, Count(c.Services, "Service"),
		Count(c.Slices, "EndpointSlice"), c.Objects), c.InOneObject == c.Services
}

func addressAndPort(c FileControllers) (text string, holds bool) {
	if c.Endpoints == 0 {
		return "", false
	}
	return fmt.Sprintf("%d of %s", c.AddressAndPort, Count(c.Endpoints, "endpoint")), c.AddressAndPort == c.Endpoints
}

func endpointsRefresh(c FileControllers) (text string, holds bool) {
	holds = true
	var words []string
	for _, of := range []struct {
		what string
		FileFollowed
	}{{"got ready", c.Created}, {"were deleted", c.Deleted}, {"got other labels", c.Left}} {
		if of.Pods > 0 {
			words = append(words, fmt.Sprintf("%d of %s that %s", of.Changed, Count(of.Pods, "Pod"), of.what))
			holds = holds && of.Changed == of.Pods
		}
	}
	return strings.Join(words, ", "), holds
}

func createsDeletes(c FileControllers) (text string, holds bool) {
	if c.Deletions == 0 {
		return "", false
	}
	text = fmt.Sprintf("%d of %s deleted before another was ready", c.DeletedEarly, Count(c.Deletions, "Pod"))
	return text, c.DeletedEarly == c.Deletions
}
