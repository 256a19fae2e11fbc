"""What was changed in facts of a healthy mesh, and the cause that this must be taken for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from diagnosis_changes import (
    ALL_PARTS,
    ANNOTATION,
    ANY,
    COMMON_ROOT,
    FAILED_CREATE,
    GATEWAY,
    HELLOWORLD,
    KNOWING_NOTHING,
    LOAD_BALANCER,
    LOST,
    MULTI,
    NETWORK_LABEL,
    OTHER_ROOT,
    OWN_ERRORS,
    PATIENT,
    PLAIN,
    REFUSING,
    REMOTE,
    SHARED,
    SLEEP,
    SYSTEM,
    UNADVERTISED,
    VALIDATOR,
    WORKLOAD,
    Change,
    adding,
    advertised_at_an_old_address,
    both,
    clocks,
    configured,
    cut_off,
    each,
    ended,
    exchanged,
    export_missed,
    failing,
    gateway,
    half,
    in_front,
    in_regions,
    inside,
    is_any,
    istiods,
    labelled,
    minus,
    named,
    no,
    of,
    of_gateway_api,
    of_mesh,
    parts,
    plus,
    reading,
    secret,
    served_elsewhere,
    shown,
    signing_below,
    silent,
    to_istiod,
    told,
    unanswered,
    unsynced,
    unvalidated,
    waiting,
    with_dns_proxying,
    with_exports,
    without,
)
from diagnosis_recordings import recorded

from mesh_fixtures.contract import MeshNames
from mesh_fixtures.diagnosis import Recording
from mesh_fixtures.diagnosis.facts import (
    Authority,
    Configuration,
    Failed,
    Injector,
    Istiod,
    PacketSizes,
    Part,
    ServicePort,
    SliceAddresses,
    Traffic,
    TrustDomains,
)
from mesh_fixtures.kube.admission import Selector


def routed(host: str, *http: Mapping[str, Any], namespace: str = "sample") -> Change:
    """A VirtualService of cluster1 for a host."""
    spec = {"hosts": [host], "http": [*http]}
    return of("cluster1", configuration=configured("VirtualService", "x", spec, namespace))


def isolated(cluster: str, namespace: str, *ingress: Any) -> Change:
    """A cluster with a NetworkPolicy for all pods of a namespace."""
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [*ingress]}
    policy = Configuration("NetworkPolicy", namespace, "closed", spec)
    return of(cluster, network_policies=adding(policy))


DENIED_BY_CALICO = Configuration("GlobalNetworkPolicy", "", "default-deny", {"selector": "all()"})
SAMPLE = named("sample")


TEMPLATE_ERROR = (
    'Error creating: admission webhook "namespace.sidecar-injector.istio.io" denied the request: '
    "failed to run injection template: template: inject:1: can't evaluate field ProxyInitImage"
)


NOT_IN_CERTIFICATE = (
    "error kube watch error in cluster cluster2: failed to list *v1.Pod: tls: failed to verify "
    "certificate: x509: certificate is valid for 10.0.0.1, not 203.0.113.7"
)


SILENT = Failed("cluster2", "kubectl --context=cluster2 get pods", "Read timed out.")


# What was changed in facts of a healthy mesh, and the cause that this must be taken for.
CASES: dict[str, tuple[str, Change, str]] = {
    "an API server that hangs": (MULTI, silent(SILENT), "api-server-unresponsive"),
    "a clock that is ahead": (MULTI, clocks(0.4, 600), "clock-differs"),
    "a clock that is behind": (MULTI, clocks(-600, 0.4), "clock-differs"),
    "no cacerts, and another root": (
        MULTI,
        both(
            of("cluster2", authority=Authority(present=False)),
            of("cluster2", root_bundles={"istio-system": (OTHER_ROOT,)}),
            of("cluster2", proxies=each(is_any, roots=(OTHER_ROOT,), below=(OTHER_ROOT,))),
        ),
        "cacerts-missing",
    ),
    "SPIRE servers that are not federated": (
        MULTI,
        both(
            signing_below(OTHER_ROOT, trusting=(OTHER_ROOT,)),
            served_elsewhere("cluster1"),
            served_elsewhere("cluster2"),
        ),
        "trust-bundles-differ",
    ),
    "another root": (MULTI, signing_below(OTHER_ROOT, trusting=(OTHER_ROOT,)), "different-roots"),
    "a root that one cluster lacks": (
        MULTI,
        signing_below(OTHER_ROOT, trusting=(OTHER_ROOT, COMMON_ROOT)),
        "different-roots",
    ),
    "a broken chain": (
        MULTI,
        of("cluster2", authority=lambda known: replace(known, defects=("expired",))),
        "cacerts-unsound",
    ),
    "cacerts after istiod": (
        MULTI,
        of("cluster2", root_bundles={"istio-system": (OTHER_ROOT,)}, proxies=()),
        "cacerts-unused",
    ),
    "cacerts in two forms": (
        MULTI,
        of("cluster2", authority=lambda known: replace(known, unread=("ca-cert.pem",))),
        "cacerts-in-two-forms",
    ),
    "proxies of an earlier root": (
        MULTI,
        of("cluster1", proxies=each(is_any, roots=(OTHER_ROOT,))),
        "proxies-not-restarted",
    ),
    "no root for a new namespace": (
        MULTI,
        of(
            "cluster2",
            root_bundles=lambda known: {"istio-system": known["istio-system"]},
            pods=each(HELLOWORLD, serving=False, state="0/2 Init:0/2"),
        ),
        "root-bundle-missing",
    ),
    "istiod gone": (
        MULTI,
        of("cluster2", deployments=without(named("istiod")), pods=without(named("istiod"))),
        "istiod-not-running",
    ),
    "istiod scaled to 0": (
        MULTI,
        of("cluster2", deployments=each(named("istiod"), wanted=0, ready=0)),
        "istiod-not-running",
    ),
    "istiod in a remote": (
        REMOTE,
        of(
            "cluster2",
            istiods=(Istiod("istiod-x", {}, ("cluster2/sleep-1.sample",), (), (), (), ()),),
        ),
        "istiod-in-remote",
    ),
    "a proxy that rejects its configuration": (
        MULTI,
        istiods("cluster1", unsynced=("cluster1/sleep-1.sample LDS rejected: no such filter",)),
        "configuration-rejected",
    ),
    "an istiod that serves anybody": (
        MULTI,
        of("cluster1", deployments=each(named("istiod"), settings={"XDS_AUTH": "False"})),
        "istiod-authentication-off",
    ),
    "no remote secret": (
        MULTI,
        both(of("cluster1", remote_secrets=()), unsynced("cluster2")),
        "remote-secret-missing",
    ),
    "a remote secret without its label": (
        MULTI,
        both(secret(labelled=False), unsynced("cluster2")),
        "remote-secret-unlabelled",
    ),
    "a remote secret in another namespace": (
        MULTI,
        both(secret(namespace="mesh"), unsynced("cluster2")),
        "remote-secret-namespace-wrong",
    ),
    "a remote secret that runs a program": (
        MULTI,
        both(
            secret(refused=("exec",), accepted=None),
            istiods("cluster1", clusters={"cluster1": "synced"}),
        ),
        "remote-secret-credentials-refused",
    ),
    "a remote secret with another authority": (
        MULTI,
        both(secret(leads_to="", accepted=None), unsynced("cluster2")),
        "remote-secret-certificate-refused",
    ),
    "a remote secret with an address that is not in the certificate": (
        MULTI,
        both(
            istiods(
                "cluster1",
                clusters={"cluster1": "synced", "cluster2": "timeout"},
                log=(NOT_IN_CERTIFICATE,),
            ),
            secret(server="https://203.0.113.7:6443"),
        ),
        "remote-secret-certificate-refused",
    ),
    "a remote secret whose account may read nothing": (
        MULTI,
        secret(denied=("list pods", "watch pods")),
        "remote-secret-forbidden",
    ),
    "a remote secret named for another cluster": (
        MULTI,
        secret(leads_to="cluster1"),
        "remote-secret-wrong-cluster",
    ),
    "a remote secret for this machine": (
        MULTI,
        both(secret(server="https://127.0.0.1:6443"), unsynced("cluster2")),
        "remote-secret-loopback-server",
    ),
    "a remote secret for localhost": (
        MULTI,
        both(secret(server="https://localhost:6443"), unsynced("cluster2")),
        "remote-secret-loopback-server",
    ),
    "a remote secret for another server": (
        MULTI,
        both(secret(server="https://10.9.9.9:6443"), istiods("cluster1", clusters={})),
        "remote-secret-unreachable-server",
    ),
    "an API server out of reach": (
        MULTI,
        unanswered("api-server", "cluster1", "cluster2"),
        "remote-secret-unreachable-server",
    ),
    "a revoked token": (MULTI, secret(accepted=False), "remote-secret-unauthorized"),
    "a remote secret too many": (
        MULTI,
        of(
            "cluster1",
            remote_secrets=lambda known: (
                *known,
                replace(known[0], cluster="cluster9", leads_to="", server="https://10.0.0.9"),
            ),
        ),
        "remote-secret-unexpected",
    ),
    "a cluster that is not read": (
        MULTI,
        istiods("cluster1", clusters={"cluster1": "synced", "cluster2": "timeout"}),
        "remote-cluster-not-read",
    ),
    "certificates that istiod must renew every few seconds": (
        MULTI,
        of("cluster1", proxies=each(lambda one: "sleep" in one.pod, lifetime=128.0)),
        "certificates-short-lived",
    ),
    "an EndpointSlice that was made by hand": (
        MULTI,
        of("cluster1", helloworld=SliceAddresses("sample", ("10.68.0.7", "10.68.0.99"))),
        "endpoints-without-pod",
    ),
    "endpoints of a cluster that is said to be synced are gone": (
        MULTI,
        both(
            of("cluster2", helloworld=SliceAddresses("sample", ("10.68.32.15",))),
            istiods("cluster1", helloworld=without(lambda one: one.cluster == "cluster2")),
        ),
        "endpoints-stale",
    ),
    "no endpoint of other services though synced": (
        MULTI,
        of_mesh(lost=LOST),
        "endpoints-stale",
    ),
    "a remote secret named for another cluster, of which istiod holds endpoints": (
        MULTI,
        both(
            secret(leads_to="cluster1"),
            of("cluster2", helloworld=SliceAddresses("sample", ("10.68.32.15",))),
            istiods("cluster1", helloworld=without(lambda one: one.cluster == "cluster2")),
        ),
        "remote-secret-wrong-cluster",
    ),
    "no network label": (
        MULTI,
        both(
            of("cluster2", namespaces=each(SYSTEM, labels=minus(NETWORK_LABEL))),
            istiods("cluster1", helloworld=each(lambda one: one.cluster == "cluster2", network="")),
        ),
        "network-label-missing",
    ),
    "another network label": (
        MULTI,
        both(
            of("cluster2", namespaces=each(SYSTEM, labels=plus({NETWORK_LABEL: "network1"}))),
            istiods(
                "cluster1",
                helloworld=each(lambda one: one.cluster == "cluster2", network="network1"),
            ),
        ),
        "network-label-wrong",
    ),
    "proxies of another network": (
        MULTI,
        of("cluster2", pods=each(HELLOWORLD, proxy=plus({"network": "network1"}))),
        "proxy-identity-wrong",
    ),
    "no gateway": (
        MULTI,
        both(of("cluster2", services=without(GATEWAY), deployments=without(GATEWAY)), UNADVERTISED),
        "gateway-missing",
    ),
    "a gateway whose pods are gone": (
        MULTI,
        both(
            of("cluster2", pods=without(GATEWAY), deployments=without(GATEWAY)),
            unanswered("gateway", "cluster1", "cluster2"),
        ),
        "gateway-missing",
    ),
    "a gateway without its label": (
        MULTI,
        both(of("cluster2", services=each(GATEWAY, labels=minus(NETWORK_LABEL))), UNADVERTISED),
        "gateway-network-label-missing",
    ),
    "a Gateway of the Gateway API without that label": (
        MULTI,
        both(
            of_gateway_api("cluster2"),
            of("cluster2", services=each(GATEWAY, labels=minus(NETWORK_LABEL))),
            UNADVERTISED,
        ),
        "gateway-network-label-missing",
    ),
    "a gateway with the label of another network": (
        MULTI,
        both(
            of("cluster2", services=each(GATEWAY, labels=plus({NETWORK_LABEL: "network1"}))),
            UNADVERTISED,
        ),
        "gateway-network-label-wrong",
    ),
    "a gateway within its cluster": (
        MULTI,
        both(of("cluster2", services=each(GATEWAY, kind="ClusterIP", external=())), UNADVERTISED),
        "gateway-address-pending",
    ),
    "a gateway at its nodes": (
        MULTI,
        both(of("cluster2", services=each(GATEWAY, kind="NodePort", external=())), UNADVERTISED),
        "gateway-address-pending",
    ),
    "a gateway that wants a header of load balancers": (
        MULTI,
        of("cluster2", gateways=each(lambda one: True, proxy_protocol=(15021, 15443))),
        "gateway-wants-proxy-protocol",
    ),
    "a validation webhook whose Service is gone": (
        MULTI,
        both(of("cluster2", validators=(VALIDATOR,)), unvalidated('service "istiod-x" not found')),
        "validation-failing",
    ),
    "a gateway behind a load balancer that speaks HTTP": (
        MULTI,
        in_front(http=503),
        "gateway-tls-not-passed-through",
    ),
    "a gateway behind a load balancer that ends TLS": (
        MULTI,
        shown(LOAD_BALANCER, WORKLOAD),
        "gateway-tls-not-passed-through",
    ),
    "a gateway that a NetworkPolicy closes": (
        MULTI,
        both(
            isolated("cluster2", "istio-system", {"ports": [{"port": 15021}]}),
            unanswered("gateway", "cluster1", "cluster2"),
        ),
        "network-policy-closed",
    ),
    "an istiod that a policy lets pods of its own cluster not reach": (
        MULTI,
        both(
            isolated("cluster2", "istio-system", {"from": [{"podSelector": {}}]}),
            to_istiod(address="10.68.32.16", timed_out=2, message="Connection timed out"),
        ),
        "network-policy-closed",
    ),
    "a gateway that a policy of a network plugin lets nobody in to": (
        MULTI,
        both(
            of("cluster2", cni_policies=adding(DENIED_BY_CALICO)),
            unanswered("gateway", "cluster1", "cluster2"),
        ),
        "network-policy-closed",
    ),
    "a gateway that asks for endpoints of another network": (
        MULTI,
        of("cluster2", pods=each(GATEWAY, proxy=plus({"view": "network1"}))),
        "gateway-network-view-wrong",
    ),
    "a gateway that asks for endpoints of all networks": (
        MULTI,
        of("cluster2", pods=each(GATEWAY, proxy=plus({"view": ""}))),
        "gateway-network-view-wrong",
    ),
    "a gateway without its port": (
        MULTI,
        both(
            of("cluster2", services=each(GATEWAY, ports=(ServicePort(80, "", ""),))), UNADVERTISED
        ),
        "gateway-port-missing",
    ),
    "a gateway that sends its port elsewhere": (
        MULTI,
        of("cluster2", services=each(GATEWAY, ports=(ServicePort(15443, "tls", "", "8443"),))),
        "gateway-target-port-wrong",
    ),
    "a gateway behind a host name that nobody knows": (
        MULTI,
        both(of("cluster2", services=each(GATEWAY, external=("gw.invalid",))), UNADVERTISED),
        "gateway-host-name-unresolved",
    ),
    "a gateway scaled to 0": (
        MULTI,
        of("cluster2", deployments=each(GATEWAY, wanted=0, ready=0), pods=without(GATEWAY)),
        "gateway-scaled-to-zero",
    ),
    "a gateway that is not ready": (
        MULTI,
        of(
            "cluster2",
            deployments=each(GATEWAY, ready=0),
            pods=each(GATEWAY, serving=False, state="0/1 Running", trouble="ImagePullBackOff"),
        ),
        "gateway-not-ready",
    ),
    "a gateway without an address": (
        MULTI,
        both(of("cluster2", services=each(GATEWAY, external=())), UNADVERTISED),
        "gateway-address-pending",
    ),
    "one address for two gateways": (
        MULTI,
        both(
            of("cluster1", services=each(GATEWAY, external=("10.0.0.1",))),
            of("cluster2", services=each(GATEWAY, external=("10.0.0.1",))),
        ),
        "gateway-address-shared",
    ),
    "a gateway out of reach": (
        MULTI,
        unanswered("gateway", "cluster1", "cluster2"),
        "gateway-unreachable",
    ),
    "services not exposed": (
        MULTI,
        of("cluster2", configuration=no("Gateway"), gateways=each(ANY, ports=(15021, 15090))),
        "services-not-exposed",
    ),
    "a Gateway of the Gateway API without the listener": (
        MULTI,
        both(
            of_gateway_api("cluster2"),
            of(
                "cluster2",
                services=each(GATEWAY, ports=(ServicePort(8080, "http", ""),)),
                gateways=each(ANY, ports=(8080, 15021, 15090)),
            ),
            UNADVERTISED,
        ),
        "services-not-exposed",
    ),
    "a selector that selects nothing": (
        MULTI,
        of(
            "cluster2",
            configuration=each(
                lambda one: one.kind == "Gateway", spec=plus({"selector": {"istio": "eastwest"}})
            ),
            gateways=each(ANY, ports=(15021, 15090)),
        ),
        "gateway-selector-mismatch",
    ),
    "services exposed by another mode": (
        MULTI,
        of(
            "cluster2",
            configuration=lambda known: (
                *no("Gateway")(known),
                gateway(15443, tls={"mode": "PASSTHROUGH"}, hosts=["*.local"]),
            ),
        ),
        "services-exposed-wrongly",
    ),
    "istiod not exposed": (
        REMOTE,
        of("cluster1", configuration=no("Gateway", "istiod")),
        "istiod-not-exposed",
    ),
    "istiod exposed without a route": (
        REMOTE,
        of("cluster1", configuration=no("VirtualService")),
        "istiod-not-exposed",
    ),
    "istiod not exposed by the Gateway API": (
        REMOTE,
        both(of_gateway_api("cluster1"), of("cluster1", gateways=each(ANY, ports=(15021, 15443)))),
        "istiod-not-exposed",
    ),
    "a gateway that does not listen": (
        MULTI,
        of("cluster2", gateways=each(lambda one: True, ports=(15021,))),
        "gateway-not-listening",
    ),
    "no control plane annotation": (
        REMOTE,
        of("cluster2", namespaces=each(SYSTEM, annotations=minus(ANNOTATION)), root_bundles={}),
        "control-plane-annotation-missing",
    ),
    "another control plane": (
        REMOTE,
        of(
            "cluster2",
            namespaces=each(SYSTEM, annotations=plus({ANNOTATION: "cluster9"})),
            root_bundles={},
        ),
        "control-plane-annotation-wrong",
    ),
    "the annotation after the secret": (
        REMOTE,
        of(
            "cluster2",
            namespaces=each(SYSTEM, annotated="2999-01-01T00:00:00Z"),
            root_bundles={},
        ),
        "control-plane-annotation-late",
    ),
    "another injection path": (
        REMOTE,
        of(
            "cluster2",
            webhooks=each(
                lambda one: True,
                webhooks=each(lambda one: True, path="/inject/cluster/remote/net/network2"),
            ),
            pods=each(HELLOWORLD, proxy=plus({"cluster": "remote"})),
        ),
        "injection-path-wrong",
    ),
    "another address of istiod": (
        REMOTE,
        of("cluster2", discovery=("10.0.0.9",)),
        "discovery-address-wrong",
    ),
    "a remote that nobody takes charge of": (
        REMOTE,
        of("cluster2", root_bundles={}),
        "remote-not-attached",
    ),
    "injection off": (
        MULTI,
        of(
            "cluster2",
            namespaces=each(SAMPLE, labels=minus("istio-injection")),
            pods=each(HELLOWORLD, proxy=None, labels=minus("sidecar.istio.io/inject")),
        ),
        "injection-off",
    ),
    "pods from before injection": (
        MULTI,
        of("cluster2", pods=each(HELLOWORLD, proxy=None)),
        "injection-off",
    ),
    "a webhook that cannot be called": (
        MULTI,
        of(
            "cluster2",
            warnings=adding(FAILED_CREATE),
            pods=without(HELLOWORLD),
            deployments=each(HELLOWORLD, ready=0),
        ),
        "injection-failing",
    ),
    "a template of another version": (
        MULTI,
        of(
            "cluster2",
            warnings=adding(replace(FAILED_CREATE, message=TEMPLATE_ERROR)),
            pods=without(HELLOWORLD),
            deployments=each(HELLOWORLD, ready=0),
            injectors=(Injector("istio-sidecar-injector", "istiod-1.31.0", "1.31.0"),),
        ),
        "injection-template-mismatch",
    ),
    "an istiod that ends again and again": (
        MULTI,
        both(
            of(
                "cluster2",
                pods=each(
                    named("istiod"),
                    restarts=4,
                    restarted=datetime.fromtimestamp(
                        recorded(MULTI).facts.at - 20, UTC
                    ).isoformat(),
                    ended="Error, exit code 255",
                ),
            ),
            istiods("cluster2", last_words="Error: failed to create discovery service: x"),
        ),
        "istiod-crashing",
    ),
    "a trust domain that the other cluster does not know": (
        MULTI,
        both(
            istiods("cluster1", trust_domains=TrustDomains("cluster.local", ())),
            istiods("cluster2", trust_domains=TrustDomains("other", ("cluster.local",))),
        ),
        "trust-domains-differ",
    ),
    "namespaces that istiod does not look at": (
        MULTI,
        istiods("cluster1", selectors=(Selector({"mesh": "yes"}),)),
        "namespace-not-selected",
    ),
    "a route to an istiod that is gone": (
        REMOTE,
        of(
            "cluster1",
            configuration=each(
                lambda one: one.kind == "VirtualService",
                spec=plus(
                    {
                        "tls": [
                            {
                                "match": [{"port": port}],
                                "route": [
                                    {"destination": {"host": "istiod-1-30.istio-system.svc"}}
                                ],
                            }
                            for port in (15012, 15017)
                        ]
                    }
                ),
            ),
        ),
        "istiod-not-exposed",
    ),
    "services that are local to each cluster": (
        MULTI,
        both(
            istiods(
                "cluster1", cluster_local={"*": True, "*.kube-system.svc.cluster.local": False}
            ),
            of(
                "cluster1",
                client=lambda known: replace(
                    known,
                    endpoints=tuple(
                        one for one in known.endpoints if not one.target.endswith(":15443")
                    ),
                ),
            ),
        ),
        "services-cluster-local",
    ),
    "a host that one istiod keeps within clusters": (
        MULTI,
        both(
            istiods("cluster1", cluster_local={}),
            istiods("cluster2", cluster_local={"*.payments.svc.cluster.local": True}),
        ),
        "cluster-local-differs",
    ),
    "services that one istiod keeps to their namespace": (
        MULTI,
        both(istiods("cluster1", exported_to=("*",)), istiods("cluster2", exported_to=(".",))),
        "service-export-differs",
    ),
    "a client that resolves names by Kubernetes alone": (
        MULTI,
        both(with_dns_proxying, of("cluster2", pods=each(SLEEP, answers_dns=False))),
        "dns-proxying-off",
    ),
    "an istiod that takes no notice of exports": (
        MULTI,
        both(with_exports, told("cluster2", ENABLE_MCS_SERVICE_DISCOVERY="false")),
        "mcs-off",
    ),
    "an istiod that keeps all services within clusters, exported or not": (
        MULTI,
        both(with_exports, told("cluster1", ENABLE_MCS_CLUSTER_LOCAL="true")),
        "services-cluster-local",
    ),
    "a service that is not exported": (
        MULTI,
        both(with_exports, of("cluster2", exported=lambda known: False)),
        "service-not-exported",
    ),
    "an export that an istiod missed": (
        MULTI,
        export_missed("cluster1", "cluster2", "10.68.32.15"),
        "export-missed",
    ),
    "no service": (MULTI, of("cluster2", services=without(HELLOWORLD)), "service-missing"),
    "a service that selects no pod": (
        MULTI,
        both(
            of("cluster2", services=each(HELLOWORLD, selector={"app": "hello"})),
            *(istiods(each, helloworld=()) for each in ("cluster1", "cluster2")),
        ),
        "service-selector-mismatch",
    ),
    "a service without the port": (
        MULTI,
        of("cluster2", services=each(HELLOWORLD, ports=each(lambda one: True, number=80))),
        "service-port-missing",
    ),
    "a port without a name": (
        MULTI,
        of("cluster2", services=each(HELLOWORLD, ports=each(lambda one: True, name=""))),
        "service-port-name-missing",
    ),
    "no workload": (
        MULTI,
        of("cluster2", deployments=without(HELLOWORLD), pods=without(HELLOWORLD)),
        "workload-missing",
    ),
    "a workload scaled to 0": (
        MULTI,
        of("cluster2", deployments=each(HELLOWORLD, wanted=0, ready=0), pods=without(HELLOWORLD)),
        "workload-scaled-to-zero",
    ),
    "a workload that stays as it is": (
        MULTI,
        of("cluster2", deployments=each(HELLOWORLD, paused=True)),
        "rollout-paused",
    ),
    "a workload that is not ready": (
        MULTI,
        of(
            "cluster2",
            deployments=each(HELLOWORLD, ready=0),
            pods=each(HELLOWORLD, serving=False, state="1/2 Running"),
        ),
        "workload-not-ready",
    ),
    "no mutual TLS in the namespace": (
        MULTI,
        of("cluster2", configuration=configured("PeerAuthentication", "x", PLAIN)),
        "mtls-disabled",
    ),
    "no mutual TLS in the mesh": (
        MULTI,
        of("cluster2", configuration=configured("PeerAuthentication", "x", PLAIN, "istio-system")),
        "mtls-disabled",
    ),
    "no mutual TLS in a mesh with another root namespace": (
        MULTI,
        both(
            of("cluster2", configuration=configured("PeerAuthentication", "x", PLAIN, "policies")),
            of_mesh(names=MeshNames(root_namespace="policies")),
        ),
        "mtls-disabled",
    ),
    "no mutual TLS at HelloWorld's port": (
        MULTI,
        of(
            "cluster2",
            configuration=configured(
                "PeerAuthentication",
                "x",
                {
                    "selector": {"matchLabels": {"app": "helloworld"}},
                    "portLevelMtls": {"5000": {"mode": "DISABLE"}},
                },
            ),
        ),
        "mtls-disabled",
    ),
    "clients without TLS": (
        MULTI,
        of(
            "cluster1",
            configuration=configured(
                "DestinationRule",
                "x",
                {"host": "*.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
            ),
        ),
        "client-tls-disabled",
    ),
    "clients that use mutual TLS by a rule only, without one": (
        MULTI,
        both(
            istiods("cluster2", auto_mtls=False),
            of("cluster2", configuration=no("DestinationRule")),
        ),
        "client-tls-disabled",
    ),
    "requests that are answered by a route of the whole mesh": (
        MULTI,
        routed("*.local", {"directResponse": {"status": 404}}, namespace="istio-system"),
        "routed-elsewhere",
    ),
    "requests that are routed to another service": (
        MULTI,
        routed(
            "helloworld",
            {"match": [{"headers": {"x": {"exact": "y"}}}], "redirect": {"uri": "/"}},
            {"route": [{"destination": {"host": "shop"}}]},
        ),
        "routed-elsewhere",
    ),
    "requests that are denied": (
        MULTI,
        both(
            failing("sleep", "HTTP 403 RBAC: access denied"),
            of(
                "cluster2",
                configuration=configured("AuthorizationPolicy", "x", REFUSING),
            ),
        ),
        "authorization-denied",
    ),
    "requests that are denied where another policy allows all": (
        MULTI,
        both(
            failing("sleep", "HTTP 403 RBAC: access denied"),
            of(
                "cluster2",
                configuration=adding(
                    Configuration("AuthorizationPolicy", "sample", "x", REFUSING),
                    Configuration("AuthorizationPolicy", "sample", "y", {"rules": [{}]}),
                ),
            ),
        ),
        "authorization-denied",
    ),
    "an istiod that reads no policies": (
        MULTI,
        reading("*.istio.io", "wasmplugins.extensions.istio.io"),
        "authorization-ignored",
    ),
    "proxies of a remote that a policy keeps from istiod": (
        REMOTE,
        cut_off(denied=3),
        "istiod-access-denied",
    ),
    "nodes without a region": (
        MULTI,
        both(in_regions("network1", "network2"), *labelled("", "")),
        "node-region",
    ),
    "outliers that are never detected": (
        MULTI,
        of("cluster1", configuration=configured("EnvoyFilter", "x", PATIENT, "istio-system")),
        "outlier-detection-changed",
    ),
    "weights of a route": (
        MULTI,
        routed("helloworld", {"route": [{"destination": {"subset": "v1"}, "weight": 90}]}),
        "weighted-route",
    ),
    "a fault in a route": (
        MULTI,
        routed("*.local", {"fault": {"abort": {"httpStatus": 503}}}),
        "route-fault",
    ),
    "a sidecar that leaves HelloWorld out": (
        MULTI,
        of(
            "cluster1",
            configuration=configured("Sidecar", "x", {"egress": [{"hosts": ["istio-system/*"]}]}),
            client=KNOWING_NOTHING,
        ),
        "sidecar-scope",
    ),
    "no route between pods": (
        SHARED,
        unanswered("pod", "cluster1", "cluster2"),
        "pod-route-missing",
    ),
    "a range of addresses for the pods of both clusters": (
        SHARED,
        both(
            of("cluster1", nodes=each(ANY, pod_ranges=("10.4.0.0/24",))),
            of("cluster2", pods=each(named("helloworld"), ip="10.4.0.9")),
        ),
        "pod-addresses-overlap",
    ),
    "two pods with the same address": (
        SHARED,
        of("cluster2", pods=each(named("helloworld"), ip="10.4.0.6")),
        "pod-addresses-overlap",
    ),
    "a route between networks": (
        MULTI,
        half("pod", open=10, timed_out=0),
        "networks-not-isolated",
    ),
    "a name server that is down": (
        MULTI,
        parts("cluster2", Part("kube-system", "coredns-1", "0/1 Running", False)),
        "lab-dns-failing",
    ),
    "no name server": (
        MULTI,
        of("cluster1", parts=ALL_PARTS[1:]),
        "lab-dns-failing",
    ),
    "a load balancer that was killed a minute ago": (
        MULTI,
        parts("cluster1", ended("metallb-system", "speaker-1", 60)),
        "lab-load-balancer-failing",
    ),
    "a kubelet that ended a minute ago": (
        MULTI,
        of("cluster1", ended=(ended("", "kubelet on cluster1-node1", 60),)),
        "lab-component-failing",
    ),
    "large packets that are lost": (
        MULTI,
        of_mesh(
            packet_sizes=(
                PacketSizes("cluster1", "cluster2", "10.64.40.1", 15021, 1200, 1204, "curl"),
            )
        ),
        "large-packets-lost",
    ),
    "a port that only the gateway's own cluster reaches": (
        MULTI,
        both(unanswered("gateway", "cluster1", "cluster2"), inside(open=2)),
        "gateway-unreachable",
    ),
    "a port that not even the gateway's own cluster reaches": (
        MULTI,
        both(unanswered("gateway", "cluster1", "cluster2"), inside(timed_out=2)),
        "gateway-not-answering",
    ),
    "an address of a gateway that only the mesh configuration names": (
        MULTI,
        advertised_at_an_old_address(""),
        "gateway-address-stale",
    ),
    "a port of istiod that proxies do not reach": (
        REMOTE,
        to_istiod(timed_out=2, message="Connection timed out"),
        "istiod-unreachable",
    ),
    "a cluster without DNS": (
        MULTI,
        to_istiod(kind="dns", unresolved=2, message="Could not resolve host"),
        "dns-failing",
    ),
    "a host name of istiod that is not resolved": (
        REMOTE,
        both(
            of("cluster2", discovery=("istiod.example.com",)),
            waiting("lookup istiod.example.com: no such host"),
        ),
        "istiod-host-name-wrong",
    ),
    "a name that istiod's certificate does not have": (
        REMOTE,
        waiting("x509: certificate is valid for istiod.istio-system.svc, not istiod.example.com"),
        "istiod-host-name-wrong",
    ),
    "an application that answers with errors": (
        MULTI,
        of_mesh(served=(OWN_ERRORS,)),
        "application-errors",
    ),
    "requests that pass by the proxy": (
        MULTI,
        of_mesh(traffic=(Traffic("cluster1", 200, {"v1": 200}, {}, "sleep", by_proxy=0),)),
        "sidecar-bypassed",
    ),
    "connections that are cut": (
        MULTI,
        exchanged(requests=100, errors=4),
        "gateway-connection-resets",
    ),
    "lost packets": (
        MULTI,
        half("gateway", open=8, slow=3, timed_out=2, resent=5),
        "packet-loss",
    ),
    "connections that are refused": (
        MULTI,
        half("gateway", open=6, refused=4),
        "gateway-connection-resets",
    ),
}


def recording_of(case: str) -> tuple[Recording, str]:
    base, change, cause = CASES[case]
    return change(recorded(base)), cause
