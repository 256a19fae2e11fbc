// CoreDNS with exactly the plugins that the Corefile of kubeadm names.
//
// The full set costs minutes of compiling for providers that no cluster here talks to.
package main

import (
	"slices"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
)

// order is the order in which a request passes the plugins; a Corefile's own order does not count.
var order = []string{
	"reload", "ready", "health", "prometheus", "errors", "loadbalance", "cache", "kubernetes", "loop", "forward",
}

func main() {
	// Directives that no plugin stands behind are dropped, those of the server itself are kept.
	server := []string{"root", "bind", "debug"}
	dnsserver.Directives = slices.Concat(server, order)
	coremain.Run()
}
