package cluster

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// errOtherSignal is the guarantee that a strategy which names a stop signal is not measured with
// another one.
var errOtherSignal = errors.New("the cluster doesn't stop it with the signal that the strategy names")

// checkStopSignal wants the runtime to stop each Pod of the app with the strategy's signal, if that
// names one. An API server whose feature gate is off drops the field without a word, and a runtime
// that is too old sends SIGTERM.
func (a *App) checkStopSignal(ctx context.Context) error {
	if a.stopSignal == nil {
		return nil
	}
	list, err := a.cluster.pods().List(ctx, metav1.ListOptions{LabelSelector: a.selector})
	if err != nil {
		return fmt.Errorf("list Pods: %w", err)
	}
	for _, p := range list.Items {
		has := "none"
		for _, c := range p.Status.ContainerStatuses {
			if c.Name == a.container && c.StopSignal != nil {
				has = string(*c.StopSignal)
			}
		}
		if has != string(*a.stopSignal) {
			return fmt.Errorf("stop signal of Pod %s is %s, not %s: %w", p.Name, has, *a.stopSignal, errOtherSignal)
		}
	}
	return nil
}
