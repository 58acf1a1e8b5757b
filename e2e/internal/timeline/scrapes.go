package timeline

import "time"

// Scrape is one attempt of a consumer that is only watched, Prometheus, to read a Pod's metrics.
type Scrape struct {
	Consumer string        `json:"consumer"`
	IP       string        `json:"ip"` // of the Pod
	At       time.Duration `json:"at"` // by the scraper's wall clock, turned into an offset
	OK       bool          `json:"ok"`
}
