"""All faults: what is broken, where, what must fail by it, and what must not."""

from __future__ import annotations

from functools import partial
from typing import Final

from mesh_fixtures.scenario import SERVICES_PORT
from tests.faults import (
    control_planes,
    gateways,
    lab_parts,
    localities,
    mesh_configuration,
    networks,
    policies,
    remote_secrets,
    remotes,
    replacements,
    rotations,
    trust,
    underlay,
    workloads,
)
from tests.faults.fault import Fault, combined

ONE_NETWORK: Final = "multi-primary"
TWO_NETWORKS: Final = "multi-primary-multi-network"
REMOTE: Final = "primary-remote-multi-network"
TWO_REGIONS: Final = "two-regions"
EXTERNAL: Final = "external-control-plane"

DNS_PROXYING: Final = "dns-proxying"

MCS: Final = "multi-primary-multi-network-mcs"

TOPOLOGIES: Final = (REMOTE, TWO_NETWORKS, ONE_NETWORK, DNS_PROXYING, MCS, TWO_REGIONS, EXTERNAL)

_CONTROL: Final = ("TRUST-1", "CONTROL-1")
_ACCESS: Final = (*_CONTROL, "DISCOVERY-1")
_PATHS: Final = ("GATEWAY-1", "WORKLOAD-1", "NETWORK-1")
_KNOWN: Final = (*_ACCESS, *_PATHS, "DISCOVERY-2")

_CONTROL_PLANES: Final = (
    Fault(
        id="istiod-not-running",
        broken="The istiod of cluster2 is scaled to 0.",
        topology=TWO_NETWORKS,
        inject=control_planes.not_running,
        fails=("CONTROL-1",),
        unaffected=("TRUST-1", "NETWORK-1"),
    ),
    Fault(
        id="istiod-crashing",
        broken="The new istiod of cluster2 ends at once, again and again; the old one runs.",
        topology=TWO_NETWORKS,
        inject=control_planes.crashing,
        fails=("CONTROL-1",),
        unaffected=("TRUST-1", "DISCOVERY-1", *_PATHS),
    ),
    Fault(
        id="services-cluster-local",
        broken="The mesh configuration of cluster2 declares every service local to its cluster.",
        topology=TWO_NETWORKS,
        inject=control_planes.cluster_local("*"),
        fails=("DISCOVERY-2",),
        unaffected=(*_ACCESS, *_PATHS),
    ),
    Fault(
        id="everything-cluster-local",
        broken="The mesh configurations of both clusters declare every service local to clusters.",
        topology=ONE_NETWORK,
        inject=control_planes.cluster_local("*", everywhere=True),
        fails=("DISCOVERY-2", "TRAFFIC-1"),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1", "SCOPE-1"),
        cause="services-cluster-local",
    ),
    Fault(
        id="cluster-local-differs",
        broken="Of two mesh configurations, only that of cluster2 keeps hosts within clusters.",
        topology=TWO_NETWORKS,
        inject=control_planes.cluster_local("*.payments.svc.cluster.local"),
        fails=("SCOPE-1",),
        unaffected=(*_KNOWN, "TRAFFIC-1"),
    ),
    Fault(
        id="dns-proxying-off",
        broken="An annotation leaves Sleep of cluster2 out of DNS proxying.",
        topology=DNS_PROXYING,
        inject=control_planes.without_dns,
        fails=("SCOPE-2",),
        unaffected=(*_ACCESS, "DISCOVERY-2", "TRAFFIC-1", "SCOPE-1"),
    ),
    Fault(
        id="mcs-off",
        broken="The istiod of cluster2 takes no notice of ServiceExports.",
        topology=MCS,
        inject=control_planes.without_exports,
        fails=("MCS-1",),
        unaffected=(*_ACCESS, "DISCOVERY-2", "TRAFFIC-1"),
    ),
    Fault(
        id="namespace-not-selected",
        broken="The discoverySelectors of both clusters leave the gateways' namespace out.",
        topology=TWO_NETWORKS,
        inject=control_planes.gateways_not_selected,
        fails=("GATEWAY-1",),
        unaffected=_CONTROL,
    ),
    Fault(
        id="injection-template-mismatch",
        broken="The istiod of cluster2 is given the injection template of another version.",
        topology=TWO_NETWORKS,
        inject=control_planes.another_template,
        fails=("WORKLOAD-1",),
        unaffected=(*_ACCESS,),
    ),
    Fault(
        id="configuration-rejected",
        broken="An EnvoyFilter gives the proxies of cluster2 a script with a syntax error.",
        topology=TWO_NETWORKS,
        inject=policies.in_last_primary(policies.BROKEN_SCRIPT),
        fails=("CONTROL-2",),
        unaffected=(*_ACCESS, *_PATHS),
    ),
    Fault(
        id="istiod-authentication-off",
        broken="The istiod of cluster2 does not ask who wants configuration of it.",
        topology=TWO_NETWORKS,
        inject=control_planes.without_authentication,
        fails=("SECURITY-3",),
        unaffected=(*_KNOWN, "TRAFFIC-1"),
    ),
)

_TRUST: Final = (
    Fault(
        id="different-roots",
        broken="cluster2 signs with an intermediate of another root.",
        topology=TWO_NETWORKS,
        inject=trust.another_root,
        fails=("TRUST-1",),
        unaffected=("CONTROL-1", "DISCOVERY-1", *_PATHS),
    ),
    Fault(
        id="cacerts-missing",
        broken="cluster2 was given no cacerts: its istiod signs with a root of its own.",
        topology=TWO_NETWORKS,
        inject=trust.no_cacerts,
        fails=("TRUST-1",),
        unaffected=("CONTROL-1", "DISCOVERY-1", *_PATHS),
    ),
    Fault(
        id="half-way-rotation",
        broken="cluster1 signs below a new root, which cluster2 does not trust yet.",
        topology=TWO_NETWORKS,
        inject=trust.half_way_rotation,
        fails=("TRUST-1", "TRAFFIC-1"),
        unaffected=("CONTROL-1", "DISCOVERY-1", *_PATHS),
        cause="different-roots",
    ),
    Fault(
        id="cacerts-unsound",
        broken="cluster2's intermediate is valid from tomorrow, and its istiod does not start.",
        topology=TWO_NETWORKS,
        inject=trust.not_yet_valid,
        fails=("TRUST-1", "CONTROL-1"),
        unaffected=("NETWORK-1",),
    ),
    Fault(
        id="cacerts-unused",
        broken="cluster2 was given another root's cacerts, and its istiod was not restarted.",
        topology=TWO_NETWORKS,
        inject=trust.cacerts_unused,
        fails=("TRUST-2",),
        unaffected=("TRUST-1", "CONTROL-1", "DISCOVERY-1", *_PATHS, "DISCOVERY-2", "TRAFFIC-1"),
    ),
    Fault(
        id="proxies-not-restarted",
        broken="All istiods sign below another root, and no proxy was restarted.",
        topology=TWO_NETWORKS,
        inject=trust.proxies_not_restarted,
        fails=("TRUST-2",),
        unaffected=("TRUST-1", "CONTROL-1", "DISCOVERY-1", *_PATHS),
    ),
    Fault(
        id="trust-domains-differ",
        broken="cluster2 names its workloads in a trust domain that cluster1 does not know.",
        topology=TWO_NETWORKS,
        inject=trust.another_trust_domain,
        fails=("TRUST-2", "TRAFFIC-1"),
        unaffected=("TRUST-1", "CONTROL-1", "DISCOVERY-1", *_PATHS),
    ),
    Fault(
        id="root-bundle-missing",
        broken="The istiod of cluster2 may not write the root into namespaces; new pods wait.",
        topology=TWO_NETWORKS,
        inject=trust.no_root_for_namespaces,
        fails=("WORKLOAD-1",),
        unaffected=(*_CONTROL, "GATEWAY-1"),
    ),
)

_REMOTE_SECRETS: Final = (
    Fault(
        id="remote-secret-missing",
        broken="cluster1 has no remote secret of cluster2.",
        topology=TWO_NETWORKS,
        inject=remote_secrets.missing,
        fails=("DISCOVERY-1",),
        unaffected=(*_CONTROL, *_PATHS),
    ),
    Fault(
        id="remote-secret-unreachable-server",
        broken="cluster1's remote secret of cluster2 has an address that belongs to nobody.",
        topology=TWO_NETWORKS,
        inject=remote_secrets.changed(
            partial(remote_secrets.pointed_at, server=remote_secrets.NOBODY)
        ),
        fails=("DISCOVERY-1",),
        unaffected=(*_CONTROL, *_PATHS),
    ),
    Fault(
        id="remote-secret-loopback-server",
        broken="cluster1's remote secret of cluster2 has the address 127.0.0.1.",
        topology=TWO_NETWORKS,
        inject=remote_secrets.changed(
            partial(remote_secrets.pointed_at, server=remote_secrets.LOOPBACK)
        ),
        fails=("DISCOVERY-1",),
        unaffected=(*_CONTROL, *_PATHS),
    ),
    Fault(
        id="remote-secret-certificate-refused",
        broken="cluster1's remote secret of cluster2 trusts another authority than that of the API "
        "server.",
        topology=TWO_NETWORKS,
        inject=remote_secrets.changed(remote_secrets.another_authority),
        fails=("DISCOVERY-1",),
        unaffected=(*_CONTROL, *_PATHS),
    ),
    Fault(
        id="remote-secret-unauthorized",
        broken="The token in cluster1's remote secret of cluster2 is revoked.",
        topology=TWO_NETWORKS,
        inject=remote_secrets.revoked,
        fails=("DISCOVERY-1",),
        unaffected=(*_CONTROL, *_PATHS),
    ),
    Fault(
        id="remote-secret-unlabelled",
        broken="cluster1's remote secret of cluster2 lacks istiod's label.",
        topology=TWO_NETWORKS,
        inject=remote_secrets.changed(remote_secrets.without_label),
        fails=("DISCOVERY-1",),
        unaffected=(*_CONTROL, *_PATHS),
    ),
    Fault(
        id="remote-secret-namespace-wrong",
        broken="cluster1's remote secret of cluster2 is in another namespace.",
        topology=TWO_NETWORKS,
        inject=remote_secrets.elsewhere,
        fails=("DISCOVERY-1",),
        unaffected=(*_CONTROL, *_PATHS),
    ),
    Fault(
        id="remote-secret-credentials-refused",
        broken="cluster1's remote secret of cluster2 runs a program to get a token.",
        topology=TWO_NETWORKS,
        inject=remote_secrets.changed(remote_secrets.by_program),
        fails=("DISCOVERY-1",),
        unaffected=(*_CONTROL, *_PATHS),
    ),
    Fault(
        id="remote-secret-forbidden",
        broken="The account of cluster1's remote secret may no longer read cluster2.",
        topology=TWO_NETWORKS,
        inject=remote_secrets.forbidden,
        fails=("DISCOVERY-1",),
        unaffected=(*_CONTROL, *_PATHS, "TRAFFIC-1"),
    ),
    Fault(
        id="remote-secret-unexpected",
        broken="cluster1 holds a remote secret of a cluster that is not of the mesh.",
        topology=TWO_NETWORKS,
        inject=remote_secrets.of_nobody,
        fails=("DISCOVERY-1",),
        unaffected=(*_CONTROL, *_PATHS, "TRAFFIC-1"),
    ),
    Fault(
        id="remote-secrets-swapped",
        broken="Each cluster's remote secret is named after itself instead of the other cluster.",
        topology=TWO_NETWORKS,
        inject=remote_secrets.swapped,
        fails=("DISCOVERY-1",),
        unaffected=(*_CONTROL, *_PATHS),
        cause="remote-secret-wrong-cluster",
    ),
    Fault(
        id="remote-secret-wrong-cluster",
        broken="cluster1's remote secret of cluster2 holds access to cluster1.",
        topology=TWO_NETWORKS,
        inject=remote_secrets.of_own_cluster,
        fails=("DISCOVERY-2",),
        unaffected=(*_ACCESS, *_PATHS),
    ),
)

_NETWORKS: Final = (
    Fault(
        id="network-label-missing",
        broken="The istio-system of cluster2 has no network label.",
        topology=TWO_NETWORKS,
        inject=networks.no_label,
        fails=("CONTROL-3",),
        unaffected=_KNOWN,
    ),
    Fault(
        id="network-label-wrong",
        broken="The istio-system of cluster2 has the label of network1.",
        topology=TWO_NETWORKS,
        inject=networks.wrong_label,
        fails=("CONTROL-3",),
        unaffected=_KNOWN,
    ),
    Fault(
        id="proxy-identity-wrong",
        broken="The istiod of cluster2 injects proxies that take themselves for network1's.",
        topology=TWO_NETWORKS,
        inject=trust.another_network,
        fails=("CONTROL-3",),
        unaffected=(*_ACCESS, "GATEWAY-1"),
    ),
    Fault(
        id="networks-not-isolated",
        broken="Pods of one network are routed to those of the other.",
        topology=TWO_NETWORKS,
        inject=underlay.not_isolated,
        fails=("NETWORK-1",),
        unaffected=(*_ACCESS, "GATEWAY-1", "WORKLOAD-1", "DISCOVERY-2", "TRAFFIC-1", "TRAFFIC-2"),
        provider=underlay.PROVIDER,
    ),
    Fault(
        id="gateways-bypassed",
        broken="Pods are routed between the networks, and istiod knows no gateway of network2.",
        topology=TWO_NETWORKS,
        inject=combined(underlay.not_isolated, gateways.labelled("")),
        fails=("TRAFFIC-3",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "TRAFFIC-1"),
        cause="networks-not-isolated",
        provider=underlay.PROVIDER,
    ),
    Fault(
        id="pod-route-missing",
        broken="The nodes of cluster1 have no route to the pods of cluster2, on one network.",
        topology=ONE_NETWORK,
        inject=underlay.pod_route_missing,
        fails=("NETWORK-1",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "DISCOVERY-2"),
        provider=underlay.PROVIDER,
    ),
    Fault(
        id="gateway-unreachable",
        broken="What cluster1 sends to port 15443 of the gateway of cluster2 is dropped.",
        topology=TWO_NETWORKS,
        inject=underlay.closed_to_first(SERVICES_PORT),
        fails=("GATEWAY-1",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
        provider=underlay.PROVIDER,
    ),
    Fault(
        id="network-policy-closed",
        broken="A NetworkPolicy lets nothing in to the gateway of cluster2 at port 15443.",
        topology=TWO_NETWORKS,
        inject=underlay.closed_by_policy,
        fails=("GATEWAY-1",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
        provider=underlay.PROVIDER,
    ),
    Fault(
        id="large-packets-lost",
        broken="Packets of more than 1200 bytes vanish between the networks; clients are new.",
        topology=TWO_NETWORKS,
        inject=underlay.filtered_for_new_clients(underlay.LARGE),
        fails=("TRAFFIC-1",),
        unaffected=(*_CONTROL, *_PATHS, "DISCOVERY-2"),
        provider=underlay.PROVIDER,
    ),
    Fault(
        id="istiod-unreachable-between",
        broken="New proxies of cluster2 cannot reach istiod through the gateway of cluster1.",
        topology=REMOTE,
        inject=underlay.unreachable_for_new_pods(underlay.UNANSWERED_ISTIOD),
        fails=("WORKLOAD-1",),
        unaffected=_ACCESS,
        cause="gateway-unreachable",
        provider=underlay.PROVIDER,
    ),
    Fault(
        id="istiod-unreachable",
        broken="New proxies of cluster2 cannot reach their own istiod.",
        topology=ONE_NETWORK,
        inject=underlay.filtered_in_last(underlay.UNANSWERED_ISTIOD, replace_pods=True),
        fails=("WORKLOAD-1",),
        unaffected=_ACCESS,
        provider=underlay.PROVIDER,
    ),
    Fault(
        id="dns-failing",
        broken="Pods of cluster2 get no answer from DNS.",
        topology=TWO_NETWORKS,
        inject=underlay.filtered_in_last(underlay.UNANSWERED_DNS),
        fails=("TRAFFIC-1",),
        unaffected=_ACCESS,
        provider=underlay.PROVIDER,
    ),
    Fault(
        id="packet-loss",
        broken="Half of the packets between the networks are lost.",
        topology=TWO_NETWORKS,
        inject=underlay.filtered(underlay.LOSS),
        fails=("TRAFFIC-1",),
        unaffected=(*_CONTROL, "WORKLOAD-1"),
        provider=underlay.PROVIDER,
    ),
    Fault(
        id="gateway-connection-resets",
        broken="Some connections to gateways are reset after they were opened.",
        topology=TWO_NETWORKS,
        inject=underlay.filtered(underlay.RESETS),
        fails=("TRAFFIC-1",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1", "DISCOVERY-2"),
        provider=underlay.PROVIDER,
    ),
)

_GATEWAYS: Final = (
    Fault(
        id="gateway-missing",
        broken="cluster2 has no east-west gateway.",
        topology=TWO_NETWORKS,
        inject=gateways.absent,
        fails=("GATEWAY-1",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
    ),
    Fault(
        id="gateway-pruned",
        broken="istioctl installed the Istio of cluster2 once more, and removed its gateway.",
        topology=TWO_NETWORKS,
        inject=gateways.pruned,
        fails=("GATEWAY-1",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
        cause="gateway-missing",
    ),
    Fault(
        id="gateway-host-name-unresolved",
        broken="The load balancer of cluster2's gateway has a host name that no name server knows.",
        topology=TWO_NETWORKS,
        inject=gateways.unknown_host_name,
        fails=("GATEWAY-1",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
    ),
    Fault(
        id="gateway-address-pending",
        broken="The gateway of cluster2 gets no address: no pool has any.",
        topology=TWO_NETWORKS,
        inject=gateways.address_pending,
        fails=("GATEWAY-1",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
    ),
    Fault(
        id="gateway-network-view-wrong",
        broken="The gateway of cluster2 asks istiod for endpoints of network1.",
        topology=TWO_NETWORKS,
        inject=gateways.viewing("network1"),
        fails=("TRAFFIC-1",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
    ),
    Fault(
        id="gateway-network-view-missing",
        broken="The gateway of cluster2 asks istiod for endpoints of all networks.",
        topology=TWO_NETWORKS,
        inject=gateways.viewing(""),
        fails=("TRAFFIC-2", "TRAFFIC-3"),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1", "TRAFFIC-1"),
        cause="gateway-network-view-wrong",
    ),
    Fault(
        id="gateway-scaled-to-zero",
        broken="The gateway of cluster2 is scaled to 0.",
        topology=TWO_NETWORKS,
        inject=gateways.scaled_to_zero,
        fails=("GATEWAY-1",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
    ),
    Fault(
        id="gateway-address-shared",
        broken="The gateway of cluster2 has the address of cluster1's: their pools overlap.",
        topology=TWO_NETWORKS,
        inject=gateways.address_shared,
        fails=("GATEWAY-1",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
    ),
    Fault(
        id="gateway-address-stale",
        broken="meshNetworks name an address that cluster2's gateway no longer has; no label does.",
        topology=TWO_NETWORKS,
        inject=gateways.address_stale(labelled=False),
        fails=("GATEWAY-1", "TRAFFIC-1"),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
    ),
    Fault(
        id="gateway-network-label-missing",
        broken="The Service of cluster2's gateway has no network label.",
        topology=TWO_NETWORKS,
        inject=gateways.labelled(""),
        fails=("GATEWAY-1", "DISCOVERY-2"),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
    ),
    Fault(
        id="gateway-network-label-wrong",
        broken="The Service of cluster2's gateway has the label of network1.",
        topology=TWO_NETWORKS,
        inject=gateways.labelled("network1"),
        fails=("GATEWAY-1", "DISCOVERY-2"),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
    ),
    Fault(
        id="gateway-port-missing",
        broken="The Service of cluster2's gateway has no port for services.",
        topology=TWO_NETWORKS,
        inject=gateways.with_ports(gateways.without_services),
        fails=("GATEWAY-1", "DISCOVERY-2"),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
    ),
    Fault(
        id="gateway-target-port-wrong",
        broken="The Service of cluster2's gateway sends services to the status port of its pods.",
        topology=TWO_NETWORKS,
        inject=gateways.with_ports(gateways.misdirected),
        fails=("GATEWAY-1", "TRAFFIC-1"),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
    ),
    Fault(
        id="services-not-exposed",
        broken="cluster2 does not expose its services.",
        topology=TWO_NETWORKS,
        inject=gateways.services_not_exposed,
        fails=("GATEWAY-1",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
    ),
    Fault(
        id="services-exposed-wrongly",
        broken="The gateway of cluster2 ends the TLS of clients in place of passing it on.",
        topology=TWO_NETWORKS,
        inject=gateways.services_terminated,
        fails=("SECURITY-2", "TRAFFIC-1"),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
    ),
    Fault(
        id="gateway-selector-mismatch",
        broken="What exposes the services of cluster2 selects a gateway that there is not.",
        topology=TWO_NETWORKS,
        inject=gateways.selector_mismatch,
        fails=("GATEWAY-1",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
    ),
    Fault(
        id="istiod-not-exposed",
        broken="The gateway of cluster1 does not pass istiod on to its remote.",
        topology=REMOTE,
        inject=gateways.istiod_not_exposed,
        fails=("GATEWAY-1",),
        unaffected=(*_ACCESS, "NETWORK-1"),
    ),
)

_REMOTES: Final = (
    Fault(
        id="control-plane-annotation-missing",
        broken="The istio-system of cluster2 does not say that cluster1 is in charge of it.",
        topology=REMOTE,
        inject=remotes.annotation(late=False),
        fails=("WORKLOAD-1",),
        unaffected=_ACCESS,
    ),
    Fault(
        id="control-plane-annotation-wrong",
        broken="The istio-system of cluster2 says that another cluster is in charge of it.",
        topology=REMOTE,
        inject=remotes.annotation(other="cluster9"),
        fails=("WORKLOAD-1",),
        unaffected=_ACCESS,
    ),
    Fault(
        id="discovery-address-wrong",
        broken="Proxies of cluster2 look for istiod at an address that belongs to nobody.",
        topology=REMOTE,
        inject=remotes.istiod_at(remotes.NOWHERE),
        fails=("WORKLOAD-1",),
        unaffected=_ACCESS,
    ),
    Fault(
        id="istiod-host-name-wrong",
        broken="Proxies of cluster2 look for istiod by a host name that nobody has.",
        topology=REMOTE,
        inject=remotes.istiod_at(remotes.NO_NAME),
        fails=("WORKLOAD-1",),
        unaffected=_ACCESS,
    ),
    Fault(
        id="control-plane-annotation-late",
        broken="It was said that cluster1 is in charge of cluster2 after its secret was read.",
        topology=REMOTE,
        inject=remotes.annotation(late=True),
        fails=("WORKLOAD-1",),
        unaffected=_ACCESS,
    ),
    Fault(
        id="injection-path-wrong-network",
        broken="The webhook of cluster2 asks for proxies of network1.",
        topology=REMOTE,
        inject=remotes.injection_path(of_network=True),
        fails=("WORKLOAD-1",),
        unaffected=(*_ACCESS, "GATEWAY-1"),
        cause="injection-path-wrong",
    ),
    Fault(
        id="injection-path-wrong",
        broken="The webhook of cluster2 asks for proxies of cluster1.",
        topology=REMOTE,
        inject=remotes.injection_path(of_network=True, of_cluster=True),
        fails=("WORKLOAD-1",),
        unaffected=_ACCESS,
    ),
)

_EXTERNAL: Final = (
    Fault(
        id="external-istiod-not-exposed",
        broken="The gateway of an external control plane does not pass istiod on to its remotes.",
        topology=EXTERNAL,
        inject=gateways.istiod_not_exposed,
        fails=("GATEWAY-1",),
        unaffected=(*_ACCESS, "NETWORK-1"),
        cause="istiod-not-exposed",
    ),
    Fault(
        id="external-istiod-access-denied",
        broken="The gateway of an external control plane lets nobody pass.",
        topology=EXTERNAL,
        inject=policies.istiod_denied,
        fails=("WORKLOAD-1",),
        unaffected=_ACCESS,
        cause="istiod-access-denied",
    ),
    Fault(
        id="external-annotation-missing",
        broken="Nothing in cluster2 says that the external istiod is in charge of it.",
        topology=EXTERNAL,
        inject=remotes.annotation(late=False),
        fails=("WORKLOAD-1",),
        unaffected=_ACCESS,
        cause="control-plane-annotation-missing",
    ),
    Fault(
        id="external-injection-path-wrong",
        broken="The webhook of cluster2 asks the external istiod for proxies of network1.",
        topology=EXTERNAL,
        inject=remotes.injection_path(of_network=True),
        fails=("WORKLOAD-1",),
        unaffected=(*_ACCESS, "GATEWAY-1"),
        cause="injection-path-wrong",
    ),
)

_WORKLOADS: Final = (
    Fault(
        id="injection-off",
        broken="No proxies are injected in cluster2.",
        topology=TWO_NETWORKS,
        inject=workloads.injection_off,
        fails=("WORKLOAD-1",),
        unaffected=_ACCESS,
    ),
    Fault(
        id="service-missing",
        broken="cluster1 has no Service of HelloWorld.",
        topology=TWO_NETWORKS,
        inject=workloads.service_missing,
        fails=("DISCOVERY-2", "TRAFFIC-1"),
        unaffected=(*_ACCESS, *_PATHS),
    ),
    Fault(
        id="service-not-exported",
        broken="HelloWorld is not exported from cluster2.",
        topology=MCS,
        inject=workloads.not_exported,
        fails=("DISCOVERY-2", "TRAFFIC-1"),
        unaffected=(*_ACCESS, *_PATHS),
    ),
    Fault(
        id="service-port-missing",
        broken="The Service of HelloWorld in cluster2 has port 80 in place of 5000.",
        topology=TWO_NETWORKS,
        inject=workloads.service_changed("ports/0/port", 80),
        fails=("DISCOVERY-2", "TRAFFIC-1"),
        unaffected=(*_ACCESS, *_PATHS),
    ),
    Fault(
        id="service-selector-mismatch",
        broken="The Service of HelloWorld in cluster2 selects a label that its pods do not have.",
        topology=TWO_NETWORKS,
        inject=workloads.service_changed("selector", {"app": "hello-world"}),
        fails=("DISCOVERY-2", "TRAFFIC-1"),
        unaffected=(*_ACCESS, *_PATHS),
    ),
    Fault(
        id="workload-scaled-to-zero",
        broken="The HelloWorld of cluster2 has no pods.",
        topology=TWO_NETWORKS,
        inject=workloads.scaled_to_zero,
        fails=("WORKLOAD-1", "DISCOVERY-2"),
        unaffected=(*_ACCESS, "GATEWAY-1"),
    ),
    Fault(
        id="application-errors",
        broken="The HelloWorld of cluster2 answers each tenth request with 503.",
        topology=TWO_NETWORKS,
        inject=workloads.application_fails,
        fails=("TRAFFIC-1",),
        unaffected=_KNOWN,
    ),
    Fault(
        id="sidecar-bypassed",
        broken="Requests of cluster1 to services pass by the sidecars.",
        topology=TWO_NETWORKS,
        inject=workloads.services_excluded,
        fails=("TRAFFIC-1",),
        unaffected=_KNOWN,
    ),
    Fault(
        id="workload-missing",
        broken="cluster2 has no HelloWorld.",
        topology=TWO_NETWORKS,
        inject=workloads.missing,
        fails=("WORKLOAD-1", "DISCOVERY-2"),
        unaffected=(*_ACCESS, "GATEWAY-1"),
    ),
    Fault(
        id="service-port-name-missing",
        broken="No Service of HelloWorld says which protocol its port speaks.",
        topology=TWO_NETWORKS,
        inject=workloads.port_without_name,
        fails=("SECURITY-1",),
        unaffected=(*_KNOWN, "TRAFFIC-1"),
    ),
)

_POLICIES: Final = (
    Fault(
        id="mtls-disabled",
        broken="A PeerAuthentication turns mutual TLS off for servers.",
        topology=TWO_NETWORKS,
        inject=policies.in_all_primaries(policies.NO_MUTUAL_TLS),
        fails=("DISCOVERY-2",),
        unaffected=(*_ACCESS, *_PATHS),
    ),
    Fault(
        id="client-tls-disabled",
        broken="A DestinationRule turns TLS off for clients of HelloWorld.",
        topology=TWO_NETWORKS,
        inject=policies.in_all_primaries(policies.NO_CLIENT_TLS),
        fails=("DISCOVERY-2",),
        unaffected=(*_ACCESS, *_PATHS),
    ),
    Fault(
        id="auto-mtls-off",
        broken="The mesh configuration has clients use mutual TLS only where a DestinationRule "
        "says so, and none does.",
        topology=TWO_NETWORKS,
        inject=partial(mesh_configuration.changed, settings={"enableAutoMtls": False}),
        fails=("TRAFFIC-1",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
        cause="client-tls-disabled",
    ),
    Fault(
        id="authorization-denied",
        broken="An AuthorizationPolicy lets the HelloWorld of cluster2 answer nobody.",
        topology=TWO_NETWORKS,
        inject=policies.in_last_primary(policies.NOBODY_ALLOWED),
        fails=("TRAFFIC-1",),
        unaffected=_KNOWN,
    ),
    Fault(
        id="authorization-ignored",
        broken="The istiod of cluster2 is told not to read AuthorizationPolicies.",
        topology=TWO_NETWORKS,
        inject=control_planes.without_authorization,
        fails=("AUTHZ-1",),
        unaffected=(*_KNOWN, "TRAFFIC-1", "SECURITY-1"),
    ),
    Fault(
        id="mtls-disabled-on-one-network",
        broken="A PeerAuthentication turns mutual TLS off for servers, which clients still reach.",
        topology=ONE_NETWORK,
        inject=policies.in_all_primaries(policies.NO_MUTUAL_TLS),
        fails=("SECURITY-1", "AUTHZ-1"),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1", "DISCOVERY-2", "TRAFFIC-1"),
        cause="mtls-disabled",
    ),
    Fault(
        id="istiod-access-denied",
        broken="cluster1 allows nothing by default, and has forgotten the gateway by which new "
        "proxies of cluster2, its remote, look for istiod.",
        topology=REMOTE,
        inject=policies.istiod_denied,
        fails=("WORKLOAD-1",),
        unaffected=_ACCESS,
    ),
    Fault(
        id="sidecar-scope",
        broken="A Sidecar lets the proxies of cluster2 know services of istio-system only.",
        topology=TWO_NETWORKS,
        inject=policies.in_last_primary(policies.OWN_NAMESPACE_LEFT_OUT),
        fails=("DISCOVERY-2", "TRAFFIC-1"),
        unaffected=(*_ACCESS, *_PATHS),
    ),
    Fault(
        id="route-fault",
        broken="A VirtualService answers half of the requests with 503.",
        topology=TWO_NETWORKS,
        inject=policies.in_all_primaries(policies.ABORTED),
        fails=("TRAFFIC-1",),
        unaffected=_KNOWN,
    ),
    Fault(
        id="weighted-route",
        broken="A VirtualService sends nine of ten requests to one version.",
        topology=TWO_NETWORKS,
        inject=policies.weighted(90, 10),
        fails=("TRAFFIC-2",),
        unaffected=(*_KNOWN, "TRAFFIC-1"),
    ),
)

_LOCALITIES: Final = (
    Fault(
        id="node-region",
        broken="The nodes have no region label.",
        topology=TWO_REGIONS,
        inject=localities.nodes_without_region,
        fails=("LOCALITY-1", "LOCALITY-2"),
        unaffected=(*_KNOWN, "TRAFFIC-1", "TRAFFIC-2"),
    ),
    Fault(
        id="outlier-detection-changed",
        broken="An EnvoyFilter lets a million errors pass until a client gives a server up.",
        topology=TWO_REGIONS,
        inject=policies.in_all_primaries(policies.NOBODY_GIVEN_UP),
        fails=("LOCALITY-1",),
        unaffected=(*_KNOWN, "TRAFFIC-1", "TRAFFIC-2", "LOCALITY-2"),
    ),
)

_ROTATIONS: Final = (
    Fault(
        id="rollout-paused",
        broken="The Deployment of HelloWorld in cluster2 is paused, so that its proxy stays.",
        topology=TWO_NETWORKS,
        inject=rotations.helloworld_paused,
        fails=("ROTATION-1",),
        unaffected=(*_KNOWN, "TRUST-2", "TRAFFIC-1", "TRAFFIC-2"),
    ),
    Fault(
        id="cacerts-in-two-forms",
        broken="The cacerts of cluster2 is there in both forms, and istiod reads the other one.",
        topology=TWO_NETWORKS,
        inject=rotations.in_two_forms,
        fails=("ROTATION-2",),
        unaffected=(*_KNOWN, "TRUST-2", "TRAFFIC-1", "TRAFFIC-2"),
    ),
)

_RESILIENCE: Final = (
    Fault(
        id="versions-pinned",
        broken="A VirtualService sends half of all requests to each version, whatever is there.",
        topology=ONE_NETWORK,
        inject=policies.weighted(50, 50),
        fails=("RESILIENCE-1",),
        unaffected=("CONTROL-2", "DISCOVERY-2", "TRAFFIC-1", "TRAFFIC-2"),
        cause="weighted-route",
    ),
    Fault(
        id="pods-refused",
        broken="A quota in the istio-system of cluster2 lets no pod be made.",
        topology=TWO_NETWORKS,
        inject=replacements.no_more_pods,
        fails=("RESILIENCE-2",),
        unaffected=(*_KNOWN, "TRAFFIC-1", "TRAFFIC-2"),
        cause="gateway-not-ready",
    ),
    Fault(
        id="certificates-short-lived",
        broken="cluster1's Sleep needs a new certificate every few seconds, and a connection for "
        "each request.",
        topology=TWO_NETWORKS,
        inject=replacements.short_lived_certificates,
        fails=("RESILIENCE-3",),
        unaffected=(*_KNOWN, "TRAFFIC-1", "TRAFFIC-2"),
    ),
    Fault(
        id="endpoints-without-pod",
        broken="An EndpointSlice of HelloWorld in cluster1 was made by hand.",
        topology=TWO_NETWORKS,
        inject=replacements.endpoint_by_hand,
        fails=("RESILIENCE-4",),
        unaffected=(*_KNOWN, "TRAFFIC-1", "TRAFFIC-2"),
    ),
)

_LAB: Final = (
    Fault(
        id="lab-dns-failing",
        broken="The cluster2 of the lab has no name server.",
        topology=TWO_NETWORKS,
        inject=lab_parts.no_dns,
        fails=("TRAFFIC-1",),
        unaffected=(*_ACCESS, *_PATHS, "DISCOVERY-2"),
    ),
    Fault(
        id="lab-load-balancer-failing",
        broken="Nobody hands out addresses in cluster2 of the lab.",
        topology=TWO_NETWORKS,
        inject=lab_parts.no_load_balancer,
        fails=("GATEWAY-1",),
        unaffected=(*_ACCESS, "WORKLOAD-1", "NETWORK-1"),
    ),
    Fault(
        id="lab-component-failing",
        broken="The node of cluster2 says nothing of itself.",
        topology=TWO_NETWORKS,
        inject=lab_parts.node_not_ready,
        fails=("CONTROL-1",),
        unaffected=("TRUST-1",),
        provider=underlay.PROVIDER,
    ),
)

FAULTS: Final[tuple[Fault, ...]] = (
    *_LAB,
    *_RESILIENCE,
    *_ROTATIONS,
    *_CONTROL_PLANES,
    *_REMOTES,
    *_EXTERNAL,
    *_POLICIES,
    *_LOCALITIES,
    *_WORKLOADS,
    *_GATEWAYS,
    *_NETWORKS,
    *_REMOTE_SECRETS,
    *_TRUST,
)


def by_id(fault_id: str) -> Fault:
    """The fault of that id.

    Raises:
        LookupError: there is none; says which there are.
    """
    for fault in FAULTS:
        if fault.id == fault_id:
            return fault
    valid = ", ".join(fault.id for fault in FAULTS)
    raise LookupError(f"there is no fault {fault_id!r}; valid values: {valid}")
