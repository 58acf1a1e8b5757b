package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	cloudprovider "k8s.io/cloud-provider"
)

// cloud has load balancers and nothing else: the service controller asks for nothing else.
type cloud struct {
	cloudprovider.Interface // none
	balancer                balancer
}

// LoadBalancer is what the controller is there for.
func (c cloud) LoadBalancer() (cloudprovider.LoadBalancer, bool) { return c.balancer, true }

// ProviderName is in the controller's log.
func (cloud) ProviderName() string { return "zerodrop" }

// balancer has HAProxy do what the service controller asks for.
type balancer struct {
	ip    string // of the container: that of every load balancer
	proxy *haproxy
}

// GetLoadBalancerName is that of a Service's part in HAProxy's configuration.
func (balancer) GetLoadBalancerName(_ context.Context, _ string, s *corev1.Service) string {
	return s.Namespace + "_" + s.Name
}

// GetLoadBalancer says whether HAProxy has the Service.
func (b balancer) GetLoadBalancer(
	ctx context.Context, cluster string, s *corev1.Service,
) (*corev1.LoadBalancerStatus, bool, error) {
	return b.status(), b.proxy.has(b.GetLoadBalancerName(ctx, cluster, s)), nil
}

// status is an address that kube-proxy doesn't take for the Service's own: it would keep the
// connections of the cluster's Pods from ever meeting the load balancer.
func (b balancer) status() *corev1.LoadBalancerStatus {
	mode := corev1.LoadBalancerIPModeProxy
	return &corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: b.ip, IPMode: &mode}}}
}

// EnsureLoadBalancer makes HAProxy listen for the Service and send to these nodes.
func (b balancer) EnsureLoadBalancer(
	ctx context.Context, cluster string, s *corev1.Service, nodes []*corev1.Node,
) (*corev1.LoadBalancerStatus, error) {
	if err := b.UpdateLoadBalancer(ctx, cluster, s, nodes); err != nil {
		return nil, err
	}
	return b.status(), nil
}

// UpdateLoadBalancer changes the nodes that HAProxy sends to.
func (b balancer) UpdateLoadBalancer(
	ctx context.Context, cluster string, s *corev1.Service, nodes []*corev1.Node,
) error {
	probe, err := parseProbe(s.Annotations[probeAnnotation])
	if err != nil {
		return fmt.Errorf("annotation %s: %w", probeAnnotation, err)
	}
	// kube-proxy answers for the whole node; where only the node's own Pods are served, it has a port
	// for each Service that says whether there are any.
	probe.port = 10256
	if s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal {
		probe.port = s.Spec.HealthCheckNodePort
	}
	name := b.GetLoadBalancerName(ctx, cluster, s)
	var ports []servicePort
	for _, p := range s.Spec.Ports {
		if p.Protocol != corev1.ProtocolTCP || p.NodePort == 0 || probe.port == 0 {
			return fmt.Errorf("port %d: want TCP, with a node port and a port to probe", p.Port)
		}
		ports = append(ports, servicePort{fmt.Sprintf("%s_%d", name, p.Port), p.Port, p.NodePort})
	}
	servers := map[string]string{}
	for _, node := range nodes {
		for _, a := range node.Status.Addresses {
			if a.Type == corev1.NodeInternalIP && servers[node.Name] == "" {
				servers[node.Name] = a.Address
			}
		}
	}
	return b.proxy.set(name, balanced{ports: ports, probe: probe}, servers)
}

// EnsureLoadBalancerDeleted makes HAProxy forget the Service.
func (b balancer) EnsureLoadBalancerDeleted(ctx context.Context, cluster string, s *corev1.Service) error {
	return b.proxy.remove(b.GetLoadBalancerName(ctx, cluster, s))
}

// probeAnnotation is how a cloud probes nodes, on its Service: interval=8s fall=3 rise=1 timeout=1s
// deregistration=30s cut=true.
const probeAnnotation = "zerodrop.dev/probe"

// probe says when a node is out.
type probe struct {
	port              int32
	interval, timeout time.Duration
	fall, rise        int           // failures and successes in a row that change HAProxy's mind
	deregistration    time.Duration // that connections of a node live on which the controller took out
	cut               bool          // connections of a node that has failed are cut
}

func parseProbe(text string) (probe, error) {
	p := probe{rise: 1}
	for field := range strings.FieldsSeq(text) {
		var err error
		switch key, value, _ := strings.Cut(field, "="); key {
		case "interval":
			p.interval, err = time.ParseDuration(value)
		case "timeout":
			p.timeout, err = time.ParseDuration(value)
		case "deregistration":
			p.deregistration, err = time.ParseDuration(value)
		case "fall":
			_, err = fmt.Sscan(value, &p.fall)
		case "rise":
			_, err = fmt.Sscan(value, &p.rise)
		case "cut":
			_, err = fmt.Sscan(value, &p.cut)
		default:
			err = errors.New("unknown word")
		}
		if err != nil {
			return probe{}, fmt.Errorf("%s: %w", field, err)
		}
	}
	if p.interval <= 0 || p.timeout <= 0 || p.fall <= 0 || p.rise <= 0 || p.deregistration < 0 {
		return probe{}, fmt.Errorf("%q: want interval, timeout and fall", text)
	}
	return p, nil
}
