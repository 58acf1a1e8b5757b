package observe

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestServiceObjects: how many objects have a Service's endpoints, and what these are; nothing where that may not be listed.
func TestServiceObjects(t *testing.T) {
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: namespace} }
	aService := func(name string, targets ...intstr.IntOrString) *corev1.Service {
		s := &corev1.Service{ObjectMeta: named(name)}
		for _, target := range targets {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{TargetPort: target})
		}
		return s
	}
	sliceOf := func(name, service string, port int32, ips ...string) *discoveryv1.EndpointSlice {
		s := aSlice(name, discoveryv1.Endpoint{Addresses: ips})
		s.Labels[discoveryv1.LabelServiceName] = service
		s.Ports = []discoveryv1.EndpointPort{{Port: &port}, {Name: new("of any number")}}
		return s
	}
	p := aReadyPod("app-0")
	p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}, {Name: "grpc", ContainerPort: 9090}}}}
	objects := []runtime.Object{
		p, aService("app", intstr.FromString("http")), aService("app-tls", intstr.FromInt32(8443)), aService("other", intstr.FromInt32(1)),
		sliceOf("app-x", "app", 8080, "10.244.1.2", "10.244.2.3"), sliceOf("app-y", "app", 8080, "fd00::2", "app.example"),
		sliceOf("app-tls-x", "app-tls", 8443, "10.244.1.2"), sliceOf("other-x", "other", 1),
		&corev1.Endpoints{ObjectMeta: named("app")}, &corev1.Endpoints{ObjectMeta: named("other")}, //nolint:staticcheck // that Kubernetes has it still is what is looked at
	}
	found := func(refused string) []timeline.ServiceEndpoints {
		client := fake.NewSimpleClientset(objects...)
		client.PrependReactor("list", refused, func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, assert.AnError })
		config := Config{Client: client, Namespace: namespace, Selector: "app=app", Services: []string{"app", "app-tls"}}
		o, err := start(t.Context(), timeline.NewClock(time.Now()), []Source{serviceObjects{config}})
		require.NoError(t, err)
		return o.Stop().Services
	}
	at := netip.MustParseAddrPort
	assert.Equal(t, []timeline.ServiceEndpoints{
		{
			Service: "app", TargetPorts: []uint16{8080}, Slices: 2, Objects: 1,
			Endpoints: []netip.AddrPort{at("10.244.1.2:8080"), at("10.244.2.3:8080"), at("[fd00::2]:8080")},
		},
		{Service: "app-tls", TargetPorts: []uint16{8443}, Slices: 1, Endpoints: []netip.AddrPort{at("10.244.1.2:8443")}},
	}, found("nothing"))
	for _, refused := range []string{"services", "endpointslices", "endpoints", "pods"} {
		assert.Empty(t, found(refused), refused)
	}
}
