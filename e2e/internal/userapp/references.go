package userapp

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/zerodrop/zerodrop/fixtures"
	"github.com/zerodrop/zerodrop/scenarios"
)

// checkReferences refuses a workload whose Pods need what isn't there: they would wait for it for ever.
func (a *App) checkReferences() error {
	var errs []error
	need := func(kind, name string, optional *bool, where string) {
		if name == "" || optional != nil && *optional || a.has(kind, name) {
			return
		}
		err := fmt.Errorf("%s needs %s %s, which is not among its objects. Write\napiVersion: v1\nkind: %s\n"+
			"metadata: {name: %s}", where, kind, name, kind, name)
		if kind == "Secret" {
			err = fmt.Errorf("%w\nstringData: {…}", err)
		}
		if i := slices.IndexFunc(a.LeftOut, func(s string) bool { return strings.Contains(s, " "+name+" (") }); i >= 0 {
			err = fmt.Errorf("%w\n(left out, and it may have made it: %s)", err, a.LeftOut[i])
		}
		errs = append(errs, err)
	}
	spec := a.rendered.Template.Spec
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		for _, from := range c.EnvFrom {
			if r := from.ConfigMapRef; r != nil {
				need("ConfigMap", r.Name, r.Optional, "container "+c.Name)
			}
			if r := from.SecretRef; r != nil {
				need("Secret", r.Name, r.Optional, "container "+c.Name)
			}
		}
		for _, env := range c.Env {
			if env.ValueFrom == nil {
				continue
			}
			if r := env.ValueFrom.ConfigMapKeyRef; r != nil {
				need("ConfigMap", r.Name, r.Optional, fmt.Sprintf("variable %s of container %s", env.Name, c.Name))
			}
			if r := env.ValueFrom.SecretKeyRef; r != nil {
				need("Secret", r.Name, r.Optional, fmt.Sprintf("variable %s of container %s", env.Name, c.Name))
			}
		}
	}
	for _, v := range spec.Volumes {
		where := "volume " + v.Name
		if s := v.ConfigMap; s != nil {
			need("ConfigMap", s.Name, s.Optional, where)
		}
		if s := v.Secret; s != nil {
			need("Secret", s.SecretName, s.Optional, where)
		}
		if s := v.PersistentVolumeClaim; s != nil {
			need("PersistentVolumeClaim", s.ClaimName, nil, where)
		}
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					need("ConfigMap", s.ConfigMap.Name, s.ConfigMap.Optional, where)
				}
				if s.Secret != nil {
					need("Secret", s.Secret.Name, s.Secret.Optional, where)
				}
			}
		}
	}
	need("ServiceAccount", spec.ServiceAccountName, nil, "the Pod")
	for _, s := range spec.ImagePullSecrets {
		if !a.has("Secret", s.Name) {
			a.Warnings = append(a.Warnings, fmt.Sprintf("imagePullSecrets names Secret %s, which is not among the objects: "+
				"an image that needs it can't be pulled (-app-archive loads one)", s.Name))
		}
	}
	for _, of := range []struct{ field, name, kind string }{
		{"priorityClassName", spec.PriorityClassName, "PriorityClass"},
		{"runtimeClassName", deref(spec.RuntimeClassName), "RuntimeClass"},
	} {
		if of.name != "" && !strings.HasPrefix(of.name, "system-") {
			errs = append(errs,
				fmt.Errorf("%s: %s: a %s is in no namespace, and none is made. Take the line out, for this at least",
					of.field, of.name, of.kind))
		}
	}
	return errors.Join(errs...)
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// has says whether an object is applied, or is there in every namespace.
func (a *App) has(kind, name string) bool {
	if kind == "ServiceAccount" && name == "default" || kind == "ConfigMap" && name == "kube-root-ca.crt" {
		return true
	}
	return slices.ContainsFunc(a.Own.Beside, func(o *unstructured.Unstructured) bool {
		return o.GetKind() == kind && o.GetName() == name
	})
}

// warn says what can't go well, or may not be what its people believe.
func (a *App) warn() {
	warn := func(format string, args ...any) { a.Warnings = append(a.Warnings, fmt.Sprintf(format, args...)) }
	app, grace := a.rendered.App(), a.rendered.Grace()
	if a.rendered.Replicas == 1 {
		warn("one replica: when its Pod is deleted nobody else answers until the next one is ready")
	}
	if how, _, _ := unstructured.NestedString(a.object(), "spec", "strategy", "type"); how == "Recreate" {
		warn("strategy Recreate: a release stops all Pods before it starts the next")
	}
	if app.ReadinessProbe == nil {
		warn("container %s has no readiness probe: its Pods get requests before they listen", app.Name)
	}
	if sleep := fixtures.HookSleep(app.Lifecycle); sleep >= grace {
		warn("preStop takes %s, and the grace period is %s: SIGKILL comes before the app hears of its end", sleep, grace)
	}
	if shell := shellOf(app); shell != "" {
		warn("%s is PID 1 of container %s, and passes SIGTERM on to nobody: write exec before the app's command", shell,
			app.Name)
	}
	for _, c := range a.rendered.Template.Spec.Containers {
		if c.Name != app.Name {
			warn("container %s gets SIGTERM as soon as the Pod is deleted, however long container %s waits, which alone is "+
				"changed",
				c.Name, app.Name)
		}
	}
	asked := []scenarios.Request{a.Target.Request}
	if slow := a.Target.Slow; slow != nil {
		asked = append(asked, *slow)
	}
	for _, r := range asked {
		if !r.Safe() {
			warn("%s changes things, and is sent many times a second: what it changes is changed as often", r)
		}
	}
}

// shellOf is the shell that a container's command runs in; empty if it runs in none, or is replaced by the app.
func shellOf(c *corev1.Container) string {
	words := slices.Concat(c.Command, c.Args)
	if len(c.Command) == 0 || len(words) == 0 {
		return ""
	}
	name := words[0][strings.LastIndex(words[0], "/")+1:]
	if !slices.Contains([]string{"sh", "bash", "dash", "ash"}, name) {
		return ""
	}
	if script := words[len(words)-1]; strings.HasPrefix(script, "exec ") || strings.Contains(script, "\nexec ") ||
		strings.Contains(script, "&& exec ") || strings.Contains(script, "; exec ") {
		return ""
	}
	return name
}
