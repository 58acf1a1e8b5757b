package userapp

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/zerodrop/zerodrop/scenarios"
)

// Understanding says, line by line, what was made of the manifests: first what is measured, then what is left
// out, then what can't go well.
func (a *App) Understanding() []string {
	app := a.rendered.App()
	replicas := fmt.Sprintf("%d replicas", a.rendered.Replicas)
	switch {
	case a.Kind == "DaemonSet":
		replicas = "a Pod on each node"
	case a.scaled:
		replicas += " (by its HorizontalPodAutoscaler)"
	case a.rendered.Replicas == 1:
		replicas = "1 replica"
	}
	lines := []string{
		fmt.Sprintf("measured: %s %s, %s, container %s, image %s", a.Kind, a.Name, replicas, app.Name, app.Image),
		fmt.Sprintf("asked: %s (%s), at Service %s, port %d%s", a.Target.Request, a.asked, a.Service.GetName(), a.port.Port,
			because(a.chosen)),
		"a right answer has " + rightAnswer(a.Target),
		fmt.Sprintf("readiness: %s; stops: grace period %s, %s", probeWords(app.ReadinessProbe), a.rendered.Grace(),
			hookWords(app.Lifecycle)),
		"promised: " + promised(a.Target),
	}
	if slow := a.Target.Slow; slow != nil {
		lines = append(lines, fmt.Sprintf("asked for long answers: %s", slow))
	}
	if len(a.Own.Beside) > 0 {
		var names []string
		for _, o := range a.Own.Beside {
			names = append(names, o.GetKind()+" "+o.GetName())
		}
		lines = append(lines, "beside it: "+strings.Join(names, ", "))
	}
	if len(a.LeftOut) > 0 {
		lines = append(lines, "left out: "+strings.Join(a.LeftOut, ", "))
	}
	for _, warning := range a.Warnings {
		lines = append(lines, "warning: "+warning)
	}
	return lines
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return " (" + why + ")"
}

func rightAnswer(t scenarios.Target) string {
	status, body := "the status that it has before the load begins", "any complete body"
	if t.ExpectStatus != 0 {
		status = fmt.Sprintf("status %d", t.ExpectStatus)
	}
	if t.ExpectBody != "" {
		body = "a body that matches " + t.ExpectBody
	}
	return status + ", and " + body
}

func promised(t scenarios.Target) string {
	var words []string
	for _, class := range []scenarios.Class{
		scenarios.ClassNew, scenarios.ClassKeptAlive, scenarios.ClassInFlight, scenarios.ClassHeld,
	} {
		if word := t.Expect[class]; word != "" {
			words = append(words, fmt.Sprintf("%s %s", class, word))
		}
	}
	if len(words) == 0 {
		return "nothing, everything is measured (annotation " + expectAnnotation + ")"
	}
	return strings.Join(words, ", ") + ", under a rolling update of the app as it is"
}

func probeWords(p *corev1.Probe) string {
	switch {
	case p == nil:
		return "no probe"
	case p.HTTPGet != nil:
		return fmt.Sprintf("GET %s every %ds", p.HTTPGet.Path, cmp.Or(p.PeriodSeconds, 10))
	case p.TCPSocket != nil:
		return "a connection to port " + p.TCPSocket.Port.String()
	case p.GRPC != nil:
		return "gRPC"
	}
	return "a command"
}

func hookWords(l *corev1.Lifecycle) string {
	switch {
	case l == nil || l.PreStop == nil:
		return "no preStop"
	case l.PreStop.Sleep != nil:
		return fmt.Sprintf("preStop sleep of %d s", l.PreStop.Sleep.Seconds)
	case l.PreStop.Exec != nil:
		return "preStop runs " + strings.Join(l.PreStop.Exec.Command, " ")
	case l.PreStop.HTTPGet != nil:
		return "preStop asks " + l.PreStop.HTTPGet.Path
	}
	return "a preStop hook"
}

// object is the workload as people have written it.
func (a *App) object() map[string]any {
	var out map[string]any
	if err := json.Unmarshal(a.raw, &out); err != nil {
		return nil // it was written by us
	}
	return out
}

// decodeLoosely reads what is there of an object; what is wrong with the rest is told elsewhere.
func decodeLoosely(raw []byte, into any) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("the API server would refuse it: %w", err)
	}
	return nil
}
