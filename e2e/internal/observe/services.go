package observe

import (
	"context"
	"net/netip"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/klog/v2"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// serviceObjects records what the endpoints of the app's Services are in when the run begins, and what
// they are. It asks once: the API watch tells what becomes of endpoints. A run does without it, as in a
// cluster in which not all of this may be listed: nothing is recorded then.
type serviceObjects struct{ config Config }

func (serviceObjects) Name() string { return "Services" }

func (s serviceObjects) Run(ctx context.Context, to Recorder) error {
	to.Ready()
	// The API server warns whoever lists Endpoints that they are out of date.
	if found, err := s.list(klog.NewContext(ctx, klog.Logger{})); err == nil {
		to.AtEnd(func(all *Record) { all.Services = found })
	}
	return nil
}

func (s serviceObjects) list(ctx context.Context) ([]timeline.ServiceEndpoints, error) {
	core, all := s.config.Client.CoreV1(), metav1.ListOptions{}
	services, err := core.Services(s.config.Namespace).List(ctx, all)
	if err != nil {
		return nil, err
	}
	endpointSlices, err := s.config.Client.DiscoveryV1().EndpointSlices(s.config.Namespace).List(ctx, all)
	if err != nil {
		return nil, err
	}
	objects, err := core.Endpoints(s.config.Namespace).List(ctx, all)
	if err != nil {
		return nil, err
	}
	pods, err := core.Pods(s.config.Namespace).List(ctx, metav1.ListOptions{LabelSelector: s.config.Selector})
	if err != nil {
		return nil, err
	}
	ports := map[string]int32{} // of the Pods' containers, by name
	for _, p := range pods.Items {
		for _, c := range p.Spec.Containers {
			for _, port := range c.Ports {
				ports[port.Name] = port.ContainerPort
			}
		}
	}
	var out []timeline.ServiceEndpoints
	for _, service := range services.Items {
		if !slices.Contains(s.config.Services, service.Name) {
			continue
		}
		found := timeline.ServiceEndpoints{Service: service.Name}
		for _, p := range service.Spec.Ports {
			target := p.TargetPort.IntVal
			if p.TargetPort.Type == intstr.String {
				target = ports[p.TargetPort.StrVal]
			}
			found.TargetPorts = append(found.TargetPorts, uint16(target))
		}
		for i := range endpointSlices.Items {
			if slice := &endpointSlices.Items[i]; slice.Labels[discoveryv1.LabelServiceName] == service.Name {
				found.Slices++
				found.Endpoints = append(found.Endpoints, endpointsOf(slice)...)
			}
		}
		for i := range objects.Items {
			if objects.Items[i].Name == service.Name {
				found.Objects++
			}
		}
		out = append(out, found)
	}
	return out, nil
}

// endpointsOf are a slice's endpoints that have an IP, with each of its ports.
func endpointsOf(slice *discoveryv1.EndpointSlice) []netip.AddrPort {
	var out []netip.AddrPort
	for _, endpoint := range slice.Endpoints {
		for _, address := range endpoint.Addresses {
			ip, err := netip.ParseAddr(address)
			for _, p := range slice.Ports {
				if err == nil && p.Port != nil {
					out = append(out, netip.AddrPortFrom(ip, uint16(*p.Port)))
				}
			}
		}
	}
	return out
}
