// CoreDNS with the few plugins that a cluster of the lab needs.
//
// The full set costs minutes of compiling for providers that no cluster here talks to.
package main

import (
	"slices"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

// order is the order in which a request passes the plugins; a Corefile's own order does not count.
// They are those of the lab's Corefile: mesh_fixtures/lab/netns/coredns.py.
var order = []string{"health", "ready", "errors", "cache", "kubernetes"}

func main() {
	// Directives that no plugin stands behind are dropped, those of the server itself are kept.
	server := []string{"root", "bind", "debug"}
	dnsserver.Directives = slices.Concat(server, order)
	coremain.Run()
}
