package cluster

import (
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
)

func (a *App) pods() coreclient.PodInterface {
	return a.cluster.client.CoreV1().Pods(a.cluster.namespace)
}

func (a *App) deployments() appsclient.DeploymentInterface {
	return a.cluster.client.AppsV1().Deployments(a.cluster.namespace)
}
