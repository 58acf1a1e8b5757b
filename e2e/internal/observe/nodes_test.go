package observe

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/zerodrop/zerodrop/e2e/internal/timeline"
)

// TestNodes: a Node that stops being ready is told of, each time, and one that was never ready isn't.
func TestNodes(t *testing.T) {
	node := func(name string, ready corev1.ConditionStatus) runtime.Object {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}},
		}
	}
	o := &Observation{seen: map[mark]bool{}}
	see := o.seeNodes()
	for i, step := range []struct {
		node    runtime.Object
		deleted bool
	}{
		{node("a", corev1.ConditionTrue), false},
		{node("b", corev1.ConditionFalse), false}, // was never ready
		{node("a", corev1.ConditionTrue), false},
		{node("a", corev1.ConditionUnknown), false}, // at 3 s: the kubelet is silent
		{node("a", corev1.ConditionUnknown), false},
		{node("a", corev1.ConditionTrue), false},
		{node("a", corev1.ConditionFalse), false}, // at 6 s
		{node("b", corev1.ConditionTrue), false},
		{node("b", corev1.ConditionTrue), true}, // at 8 s: it was removed
		{&corev1.Pod{}, false},
	} {
		see(time.Duration(i)*time.Second, step.node, step.deleted)
	}
	assert.Equal(t, []timeline.Event{
		{At: 3 * time.Second, Kind: timeline.NodeUnready, Node: "a"},
		{At: 6 * time.Second, Kind: timeline.NodeUnready, Node: "a"},
		{At: 8 * time.Second, Kind: timeline.NodeUnready, Node: "b"},
	}, o.events)
}
