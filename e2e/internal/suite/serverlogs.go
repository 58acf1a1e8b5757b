package suite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
	"github.com/zerodrop/zerodrop/e2e/internal/verdict"
)

// ServerCheck holds what is known of requests to servers by the nodes alone against the servers' own logs. Those
// of HAProxy, uvicorn and nginx name the client's port, and so which Pod has had a connection.
type ServerCheck struct {
	Connections int      // that both name a Pod for
	Wrong       []string // for which they name two
	// Dropped counts the requests on new connections and in flight, Unattributed those that are charged to nobody.
	Dropped, Unattributed int
}

// CheckServers checks the conclusive runs of servers that are on record.
func (s *Suite) CheckServers() (ServerCheck, error) {
	var out ServerCheck
	for i, v := range s.verdicts {
		if v.Spec.Target == nil || !v.Conclusive() || s.folders[i] == "" {
			continue
		}
		for _, d := range v.DroppedRequests {
			if d.Class == timeline.ClassKeptAlive {
				continue
			}
			if out.Dropped++; d.Phase == verdict.Unattributed {
				out.Unattributed++
			}
		}
		tl, err := timeline.Load(s.folders[i])
		if err == nil {
			err = out.compare(tl, filepath.Join(s.folders[i], "pods"))
		}
		if err != nil {
			return out, fmt.Errorf("check %s: %w", v.Name(), err)
		}
	}
	return out, nil
}

// connection is one by its client's end, as a log writes it: 10.244.1.7:40312.
var connection = regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}:\d{1,5}\b`)

// compare holds what connection tracking says of connections against the logs in a folder, each of which has its
// Pod's name. A connection that several Pods name, or of which connection tracking has seen several, is left out:
// its port was used again.
func (c *ServerCheck) compare(tl timeline.Timeline, logs string) error {
	files, err := filepath.Glob(filepath.Join(logs, "*.log"))
	if err != nil {
		return err
	}
	logged := map[string][]string{} // Pods
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		pod := strings.TrimSuffix(filepath.Base(file), ".log")
		for line := range strings.Lines(string(raw)) {
			key := connection.FindString(line)
			if key != "" && !slices.Contains(logged[key], pod) {
				logged[key] = append(logged[key], pod)
			}
		}
	}
	pods := map[string]string{} // by their addresses
	for _, e := range tl.Events {
		if e.Kind == timeline.PodAddressed {
			pods[e.IP] = e.Pod
		}
	}
	tracked := map[string][]string{}
	for _, r := range tl.Routes.List {
		key := fmt.Sprintf("%s:%d", tl.Routes.Name(r.Source), r.Port)
		if pod := pods[tl.Routes.Name(r.Target)]; pod != "" && !slices.Contains(tracked[key], pod) {
			tracked[key] = append(tracked[key], pod)
		}
	}
	for key, by := range tracked {
		if len(by) != 1 || len(logged[key]) != 1 {
			continue
		}
		if c.Connections++; by[0] != logged[key][0] {
			c.Wrong = append(c.Wrong, fmt.Sprintf("%s: connection %s was of Pod %s, as that has logged, and not of %s",
				tl.Spec.Name(), key, logged[key][0], by[0]))
		}
	}
	slices.Sort(c.Wrong)
	return nil
}
