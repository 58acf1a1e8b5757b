package suite

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/zerodrop/zerodrop/e2e/internal/userapp"
	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// serverScenarios are those of real servers, each stopped in each of its ways: they are read and measured as
// people's own apps are. The sample app's controls come first. The flag -strategies chooses among servers.
func (s *Suite) serverScenarios() ([]scenarios.Scenario, error) {
	all, err := fixtures.Servers()
	if err != nil {
		return nil, err
	}
	selection := s.selection()
	chosen := selection.Strategies
	selection.Strategies = nil
	list, err := s.catalogue.Select(selection)
	if err != nil {
		return nil, err
	}
	disruptions := selection.Disruptions
	if len(disruptions) == 0 {
		disruptions = []string{"rolling-update"}
	}
	groups, err := s.catalogue.Selected(selection)
	if err != nil {
		return nil, err
	}
	var known []string
	for _, server := range all {
		known = append(known, server.Name())
		if len(chosen) > 0 && !slices.Contains(chosen, server.Name()) {
			continue
		}
		for _, disruption := range disruptions {
			scenario, err := s.serverScenario(server, groups[0], disruption)
			if err != nil {
				return nil, fmt.Errorf("server %s: %w", server.Name(), err)
			}
			list = append(list, scenario)
		}
	}
	for _, name := range chosen {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("unknown server %q: want one of %s", name, strings.Join(known, ", "))
		}
	}
	return list, nil
}

func (s *Suite) serverScenario(
	server fixtures.Server, group scenarios.Group, disruption string,
) (scenarios.Scenario, error) {
	app, err := readServer(server)
	if err != nil {
		return scenarios.Scenario{}, err
	}
	asIs, err := app.AsIs()
	if err != nil {
		return scenarios.Scenario{}, err
	}
	base, err := s.catalogue.In(group, "no-handler", disruption)
	if err != nil {
		return base, err
	}
	scenario, err := app.In(base, asIs)
	if err != nil {
		return scenario, err
	}
	strategy := &scenario.Strategy
	strategy.Name, strategy.Summary, strategy.FeatureGates = server.Name(), server.Summary, server.FeatureGates
	scenario.Target.Signal = server.Signal
	return scenario, scenario.Validate()
}

// readServer reads a server as if somebody had it in a file.
func readServer(server fixtures.Server) (*userapp.App, error) {
	dir, err := os.MkdirTemp("", "zerodrop-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var manifests bytes.Buffer
	var images []string
	for _, o := range server.Objects {
		raw, err := yaml.Marshal(o.Object)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&manifests, "---\n%s", raw)
		var d appsv1.Deployment
		if o.GetKind() != "Deployment" {
			continue
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &d); err != nil {
			return nil, err
		}
		for _, c := range d.Spec.Template.Spec.Containers {
			images = append(images, c.Image)
		}
	}
	file := filepath.Join(dir, server.Name()+".yaml")
	if err := os.WriteFile(file, manifests.Bytes(), 0o600); err != nil {
		return nil, err
	}
	app, err := userapp.Read(file, nil, false)
	if err != nil {
		return nil, err
	}
	app.Own.Images = images
	return &app, nil
}
