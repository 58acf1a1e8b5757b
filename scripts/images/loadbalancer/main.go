// Command loadbalancer is a load balancer for Services of type LoadBalancer, in one container beside
// the cluster. What decides about them is real: the service controller that the cloud controller
// managers of AWS, GCP, Azure and OpenStack run, and HAProxy, which takes the connections and probes
// the nodes. The cloud between the two (cloud.go, haproxy.go) is zerodrop's own.
//
// The controller adopts every Service of type LoadBalancer that has no class. All of them get the
// one address of the container, so their ports must differ.
//
// It reads a kubeconfig from the file that -kubeconfig names as soon as that is there, and removes
// it. The file's folder should be in memory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/cloud-provider/controllers/service"
	"k8s.io/component-base/featuregate"
	"k8s.io/component-base/metrics/prometheus/controllers"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "/run/kubeconfig", "file to read, as soon as it is there, and to remove")
	dir := flag.String("dir", "/run", "folder for HAProxy's configuration and its socket")
	access := flag.String("access-log", "/var/log/zerodrop/loadbalancer.log", "a JSON line for each connection")
	marks := flag.String("marks", "/var/log/zerodrop/loadbalancer-marks.log", "HAProxy's own words on probes and servers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *kubeconfig, program{path: "haproxy", dir: *dir, access: *access, marks: *marks})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadbalancer:", err)
		os.Exit(1)
	}
}

// run balances until ctx ends or HAProxy does.
func run(ctx context.Context, kubeconfig string, p program) error {
	ip, err := ownAddress()
	if err != nil {
		return err
	}
	raw, err := await(ctx, kubeconfig)
	if err != nil {
		return err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(raw)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connect to cluster: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	proxy := newHAProxy(ip.String(), func(config string) (*session, error) { return p.start(config, cancel) })
	defer proxy.stop()
	shared := informers.NewSharedInformerFactory(client, 0)
	controller, err := service.New(
		cloud{balancer: balancer{ip: ip.String(), proxy: proxy}}, client,
		shared.Core().V1().Services(), shared.Core().V1().Nodes(), "zerodrop", featuregate.NewFeatureGate(),
	)
	if err != nil {
		return fmt.Errorf("make the service controller: %w", err)
	}
	shared.Start(ctx.Done())
	controller.Run(ctx, 1, controllers.NewControllerManagerMetrics("loadbalancer"))
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// await reads a file as soon as it is there, and removes it.
func await(ctx context.Context, path string) ([]byte, error) {
	for {
		raw, err := os.ReadFile(path)
		if err == nil {
			return raw, os.Remove(path)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read kubeconfig: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a kubeconfig: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// ownAddress is the one that clients and nodes reach this container at.
func ownAddress() (netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find the own address: %w", err)
	}
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() && !prefix.Addr().IsLoopback() {
			return prefix.Addr(), nil
		}
	}
	return netip.Addr{}, errors.New("find the own address: no interface has an IPv4 address")
}
