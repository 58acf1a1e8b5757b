package userapp

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// Annotations of a Service, all optional.
const (
	annotationPrefix  = "zerodrop.dev/"
	requestAnnotation = annotationPrefix + "request"       // as in GET /shop
	statusAnnotation  = annotationPrefix + "expect-status" // of a right answer
	bodyAnnotation    = annotationPrefix + "expect-body"   // a regular expression that its body matches
	slowAnnotation    = annotationPrefix + "slow-request"  // one that takes long
	headerAnnotation  = annotationPrefix + "pod-header"    // of an answer, that names the Pod
	expectAnnotation  = annotationPrefix + "expect"        // what is promised, as in new=clean in-flight=clean
)

// choosePort finds the port of the Service that speaks HTTP, and the container behind it.
func (a *App) choosePort(workload item) (container string, err error) {
	var service corev1.Service
	if err := decode(a.Service, &service); err != nil {
		return "", fmt.Errorf("its Service %s: the API server would refuse it: %w", a.Service.GetName(), err)
	}
	var template struct {
		Spec struct{ Template corev1.PodTemplateSpec }
	}
	if err := decodeLoosely(a.raw, &template); err != nil {
		return "", err
	}
	containers := template.Spec.Template.Spec.Containers
	if len(containers) == 0 {
		return "", errors.New("has no containers")
	}
	ports := slices.DeleteFunc(slices.Clone(service.Spec.Ports), func(p corev1.ServicePort) bool {
		return p.Protocol != "" && p.Protocol != corev1.ProtocolTCP
	})
	plain := slices.DeleteFunc(slices.Clone(ports), isTLS)
	switch {
	case len(service.Spec.Ports) == 0:
		return "", fmt.Errorf("its Service %s has no ports. Write\nspec:\n  ports: [{port: 80, targetPort: %d}]",
			service.Name, firstPort(containers))
	case len(plain) == 0:
		return "", fmt.Errorf("its Service %s has no port for HTTP without TLS: write one more into its ports, as in "+
			"{name: http, port: 80, targetPort: 8080}", service.Name)
	case len(plain) > 1:
		named := slices.DeleteFunc(slices.Clone(plain), func(p corev1.ServicePort) bool { return !isHTTP(p) })
		if len(named) == 0 {
			return "", fmt.Errorf("its Service %s has %d ports: which one speaks HTTP? Call it so: name: http",
				service.Name, len(plain))
		}
		plain = named
	}
	a.port = plain[0]
	return behind(a.port, containers, service.Name, workload.String())
}

func isTLS(p corev1.ServicePort) bool {
	return p.Port == 443 || p.Name == "https" || p.AppProtocol != nil && strings.Contains(*p.AppProtocol, "https")
}

func isHTTP(p corev1.ServicePort) bool {
	return strings.HasPrefix(p.Name, "http") || p.Name == "web" || p.Port == 80 ||
		p.AppProtocol != nil && *p.AppProtocol == "http"
}

func firstPort(containers []corev1.Container) int32 {
	for _, c := range containers {
		for _, p := range c.Ports {
			return p.ContainerPort
		}
	}
	return 8080
}

// behind is the container that a port of the Service leads to. A number needn't be declared: then it is the
// first container's.
func behind(p corev1.ServicePort, containers []corev1.Container, service, workload string) (string, error) {
	target := p.TargetPort
	if target == (intstr.IntOrString{}) {
		target = intstr.FromInt32(p.Port)
	}
	var known []string
	for _, c := range containers {
		for _, own := range c.Ports {
			if target.Type == intstr.String && own.Name == target.StrVal ||
				target.Type == intstr.Int && own.ContainerPort == target.IntVal {
				return c.Name, nil
			}
			known = append(known, fmt.Sprintf("%s (%d)", strconv.Quote(own.Name), own.ContainerPort))
		}
	}
	if target.Type == intstr.Int {
		return containers[0].Name, nil
	}
	if len(known) == 0 {
		known = []string{"none"}
	}
	return "", fmt.Errorf("its Service %s leads to port %q, which no container of %s has by that name: it has %s. "+
		"Write into the container\nports: [{name: %s, containerPort: 8080}]",
		service, target.StrVal, workload, strings.Join(known, ", "), target.StrVal)
}

// readTarget works out how the app is asked, and which answer is right, of the annotations of its Service.
func (a *App) readTarget() error {
	a.Target = scenarios.Target{Name: a.Name, Request: scenarios.Request{Method: "GET", Path: "/"}}
	annotations := a.Service.GetAnnotations()
	known := []string{
		requestAnnotation, statusAnnotation, bodyAnnotation, slowAnnotation, headerAnnotation, expectAnnotation,
	}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		if strings.HasPrefix(key, annotationPrefix) && !slices.Contains(known, key) {
			errs = append(errs, fmt.Errorf("unknown annotation %s: want some of %s", key, strings.Join(known, ", ")))
		}
	}
	request := func(key string) (scenarios.Request, bool) {
		if annotations[key] == "" {
			return scenarios.Request{}, false
		}
		r, err := scenarios.ParseRequest(annotations[key])
		if err != nil {
			errs = append(errs, fmt.Errorf("annotation %s: %w", key, err))
		}
		return r, true
	}
	a.asked = "nothing says otherwise"
	if r, given := request(requestAnnotation); given {
		a.Target.Request, a.asked = r, "annotation "+requestAnnotation
	} else if path := a.probedPath(); path != "" {
		a.Target.Request.Path, a.asked = path, "as its readiness probe asks"
	}
	if r, given := request(slowAnnotation); given {
		a.Target.Slow = &r
	}
	if text := annotations[statusAnnotation]; text != "" {
		status, err := strconv.Atoi(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("annotation %s is %q: want a number, as in \"200\"", statusAnnotation, text))
		}
		a.Target.ExpectStatus = status
	}
	a.Target.ExpectBody, a.Target.PodHeader = annotations[bodyAnnotation], annotations[headerAnnotation]
	if text, given := annotations[expectAnnotation]; given {
		words, err := fixtures.ParseExpect(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("annotation %s: %w, as in new=clean in-flight=clean", expectAnnotation, err))
		}
		a.Target.Expect = map[scenarios.Class]scenarios.Expect{}
		for class, word := range words {
			a.Target.Expect[scenarios.Class(class)] = scenarios.Expect(word)
		}
	}
	if len(errs) == 0 {
		errs = append(errs, a.Target.Validate())
	}
	return errors.Join(errs...)
}

// probedPath is what the readiness probe asks for at the port that the Service leads to; empty if it asks
// otherwise.
func (a *App) probedPath() string {
	probe := a.rendered.App().ReadinessProbe
	if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Scheme == corev1.URISchemeHTTPS {
		return ""
	}
	target := a.port.TargetPort
	if target == (intstr.IntOrString{}) {
		target = intstr.FromInt32(a.port.Port)
	}
	if a.number(probe.HTTPGet.Port) != a.number(target) || !strings.HasPrefix(probe.HTTPGet.Path, "/") {
		return ""
	}
	return probe.HTTPGet.Path
}

// number is that of a port of the app's container.
func (a *App) number(port intstr.IntOrString) int32 {
	if port.Type == intstr.Int {
		return port.IntVal
	}
	for _, p := range a.rendered.App().Ports {
		if p.Name == port.StrVal {
			return p.ContainerPort
		}
	}
	return 0
}
