"""Guide: Verify the Installation. HelloWorld, one version in each cluster, and Sleep in each.

Beside Sleep runs the plain client, which no proxy is injected into: what it sees is the network.
All pods comply with the Pod Security Standard `restricted`, as far as injection does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

import yaml

from mesh_fixtures.contract import CLUSTER_DOMAIN, SAMPLE_NAMESPACE
from mesh_fixtures.images import ImageSet
from mesh_fixtures.install import ids, names
from mesh_fixtures.install.step import Command, Plan, Step
from mesh_fixtures.kube.resources import (
    NETWORK_POLICIES,
    SERVICE_EXPORTS,
    SERVICE_IMPORTS,
    SIDECARS,
)
from mesh_fixtures.scenario import Scenario

SERVICE: Final = "helloworld"
"""The guide's service of HelloWorld."""

STATEFUL: Final = "helloworld-stateful"
"""Name of the headless service of HelloWorld's StatefulSets, and value of their label `app`."""

PORT: Final = 5000
HEALTH_PATH: Final = "/health"
READY_SECONDS: Final = 90

_CHECKED_REQUESTS: Final = 10
_SERVICE_FILE: Final = "helloworld/service.yaml"
_RULE_FILE: Final = "helloworld/fresh-connections.yaml"
_SLEEP_FILE: Final = "sleep/sleep.yaml"

PLAIN_CLIENT: Final = "plain-client"
"""Name of the client without a proxy, of its container, and value of its label `app`."""

INJECTED: Final = {"sidecar.istio.io/inject": "true"}
"""Label of pods that are to have a proxy, also where their namespace's does not suffice."""

NO_INJECTION: Final = {"sidecar.istio.io/inject": "false"}
"""Label of pods that are to have no proxy (Istio: Installing the Sidecar)."""

_USER: Final = 65532
"""No image's own: a user that is a name does not prove to a kubelet that it is not root."""

_OF_POD: Final = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
_OF_CONTAINER: Final = {
    "runAsUser": _USER,
    "runAsGroup": _USER,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
"""Source: Kubernetes, Pod Security Standards (Restricted)."""

_RESOURCES: Final = {
    "requests": {"cpu": "10m", "memory": "32Mi"},
    "limits": {"cpu": "2", "memory": "256Mi"},
}
"""Quotas and policies often want some; the limits are out of the way of what is measured."""


_EXPORTED: Final = {names.EXPORT_TO: "*"}
"""Gateways pass on what is known in their namespace, and a mesh may keep services to their own by
default (Istio: MeshConfig, defaultServiceExportTo; Resource Annotations)."""


_KEPT: Final = {names.EXPORT_TO: "~"}

FRESH_CONNECTIONS: Final = {"connectionPool": {"http": {"maxRequestsPerConnection": 1}}}
"""Traffic policy by which each request has a connection: an east-west gateway chooses a server for
each connection, not for each request (source: Istio, DestinationRule,
ConnectionPoolSettings.HTTPSettings)."""

WITHOUT_PREFERENCE: Final = {
    **FRESH_CONNECTIONS,
    "loadBalancer": {"localityLbSetting": {"enabled": False}},
}
"""The same, by which each server is as good as any other, whatever rule or mesh configuration
prefers some (source: Istio, DestinationRule, LocalityLoadBalancerSetting)."""


_PROBED: Final = {"sidecar.istio.io/rewriteAppHTTPProbers": "true"}
"""A mesh may leave kubelets' probes to its proxies, which refuse them where they take nothing but
mutual TLS (Istio: Health Checking of Istio Services)."""


def host(namespace: str, service: str = SERVICE, cluster_domain: str = CLUSTER_DOMAIN) -> str:
    """Full name of HelloWorld's service, as Istio's configuration names it."""
    return f"{service}.{namespace}.svc.{cluster_domain}"


def only_service(position: int) -> str:
    """Name of the service of HelloWorld that only one cluster has.

    Args:
        position: of the cluster in its scenario.
    """
    return f"{SERVICE}-only-{position}"


def hello(namespace: str, service: str = SERVICE) -> str:
    """What clients ask for, without `http://`."""
    return f"{service}.{namespace}:{PORT}/hello"


def workload_plan(scenario: Scenario, images: ImageSet) -> Plan:
    """Deploy the guide's workloads into an installed mesh and wait until they are ready.

    Its variables are each cluster's kubeconfig context.
    """
    clusters = [cluster.name for cluster in scenario.data_planes]
    steps: list[Step] = []
    for cluster in clusters:
        steps += (_namespace(scenario, cluster), _service(scenario, cluster))
    if scenario.has_choice_behind_gateway:
        steps += (_fresh_connections(scenario, cluster) for cluster in scenario.config_clusters)
    for cluster in clusters if scenario.dns_proxying else ():
        steps += (_named(scenario, cluster, images), _named_ready(scenario, cluster))
    for cluster in clusters:
        version = scenario.cluster(cluster).helloworld
        steps += (
            _deployed(
                ids.helloworld(cluster),
                cluster,
                f"Deploy HelloWorld {version}",
                f"helloworld/{version}.yaml",
                helloworld_manifest(version, images),
            ),
            _ready(ids.helloworld_ready(cluster), ids.helloworld(cluster), cluster, version),
        )
    for cluster in clusters:
        steps += (
            _deployed(
                ids.sleep(cluster), cluster, "Deploy Sleep", _SLEEP_FILE, sleep_manifest(images)
            ),
            _ready(ids.sleep_ready(cluster), ids.sleep(cluster), cluster),
        )
    contexts = tuple(names.context_variable(cluster) for cluster in clusters)
    return Plan(scenario_id=scenario.id, steps=tuple(steps), variables=contexts)


def check_plan(scenario: Scenario) -> Plan:
    """The guide's check, for people: some requests from each cluster, answered by all versions.

    Its variables are each cluster's kubeconfig context.
    """
    clusters = [cluster.name for cluster in scenario.data_planes]
    curl = ("exec", "deploy/sleep", "-c", "sleep", "--", "curl", "-sS")
    url = f"{hello(SAMPLE_NAMESPACE)}?[1-{_CHECKED_REQUESTS}]"
    steps = tuple(
        Step(
            id=ids.check(cluster),
            cluster=cluster,
            section="Verifying Cross-Cluster Traffic",
            title=f"Call HelloWorld from Sleep in {cluster}; every version should answer",
            needs=(),
            commands=(Command(_kubectl(cluster, *curl, url)),),
            deadline=60,
        )
        for cluster in clusters
    )
    contexts = tuple(names.context_variable(cluster) for cluster in clusters)
    return Plan(scenario_id=scenario.id, steps=steps, variables=contexts)


def helloworld_image(version: str, images: ImageSet) -> str:
    """The version's own image, else the one of v1, which answers with what SERVICE_VERSION says."""
    return images.helloworld.get(version, images.helloworld["v1"])


def service_manifest(
    name: str = SERVICE, distribution: str = "", *, dual_stack: bool = False
) -> str:
    """Service of HelloWorld, the same in every cluster, as YAML.

    Args:
        distribution: its `trafficDistribution`; empty for none.
        dual_stack: whether it has an address of each family.
    """
    spec = {"trafficDistribution": distribution} if distribution else {}
    return _yaml(_service_of(name, "helloworld", **spec, **_families(dual_stack=dual_stack)))


def _families(*, dual_stack: bool) -> dict[str, Any]:
    return {"ipFamilyPolicy": "PreferDualStack"} if dual_stack else {}


def export_manifest(*services: str) -> str:
    """ServiceExports by which other clusters may know services of this one, as YAML (source:
    KEP-1645, Multi-Cluster Services API).
    """
    return _yaml(
        *(
            {"apiVersion": SERVICE_EXPORTS.api, "kind": SERVICE_EXPORTS.kind, "metadata": meta}
            for meta in ({"name": each} for each in services)
        )
    )


def import_manifest(service: str, ips: Sequence[str]) -> str:
    """ServiceImport of a service of HelloWorld, as an implementation of Multi-Cluster Services
    makes it in each cluster, as YAML (source: KEP-1645, Multi-Cluster Services API).

    Args:
        ips: of its name in the cluster set.
    """
    port = {"name": "http", "port": PORT, "protocol": "TCP"}
    return _yaml(
        {
            "apiVersion": SERVICE_IMPORTS.api,
            "kind": SERVICE_IMPORTS.kind,
            "metadata": {"name": service},
            "spec": {"type": "ClusterSetIP", "ips": [*ips], "ports": [port]},
        }
    )


def reserved_manifest(name: str) -> str:
    """Service that nothing is behind and no proxy knows, as YAML: its address is one that
    Kubernetes gives to nothing else (source: Istio, Resource Annotations, exportTo).
    """
    service = _service_of(name, "")
    del service["spec"]["selector"]
    return _yaml({**service, "metadata": {"name": name, "annotations": _KEPT}})


def named_services(position: int) -> tuple[str, ...]:
    """Names of the services of `named_services_manifest`."""
    return only_service(position), STATEFUL


def _service_of(name: str, app: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app": name}, "annotations": _EXPORTED},
        "spec": {
            **spec,
            "selector": {"app": app},
            "ports": [{"name": "http", "port": PORT, "targetPort": PORT}],
        },
    }


def named_services_manifest(position: int, *, dual_stack: bool = False) -> str:
    """Services of one cluster that others know by DNS proxying, as YAML: one of HelloWorld that no
    other cluster has, and the headless one of StatefulSets.

    Args:
        position: of the cluster in its scenario.
        dual_stack: whether they have an address of each family.
    """
    families = _families(dual_stack=dual_stack)
    return _yaml(
        _service_of(only_service(position), "helloworld", **families),
        _service_of(STATEFUL, STATEFUL, clusterIP="None", **families),
    )


def stateful_manifest(position: int, version: str, images: ImageSet) -> str:
    """StatefulSet of HelloWorld, as YAML: its pods have host names.

    Args:
        position: of the cluster in its scenario.
    """
    labels = {"app": STATEFUL, "version": version}
    made = _deployment(names.stateful_set(position), labels, _helloworld_pod(version, images))
    spec = {**made["spec"], "serviceName": STATEFUL}
    return _yaml({**made, "kind": "StatefulSet", "spec": spec})


def fresh_connections_manifest(
    namespace: str,
    cluster_domain: str = CLUSTER_DOMAIN,
    tls: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """DestinationRule by which no proxy uses a connection to HelloWorld twice, as YAML; arguments
    as those of `rule_manifest`.
    """
    return rule_manifest(namespace, SERVICE, FRESH_CONNECTIONS, cluster_domain, tls)


def rule_manifest(
    namespace: str,
    service: str,
    policy: Mapping[str, Any],
    cluster_domain: str,
    tls: Mapping[str, Any],
) -> str:
    """DestinationRule of a service of HelloWorld for all proxies, those of gateways too, as YAML.

    Args:
        policy: its traffic policy.
        tls: that clients use by a rule of the whole mesh, in place of which it stands; may be
            empty.
    """
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": service},
        "spec": {
            "host": host(namespace, service, cluster_domain),
            "exportTo": ["*"],
            "trafficPolicy": {**policy, **({"tls": dict(tls)} if tls else {})},
        },
    }
    return _yaml(rule)


def permission_manifest() -> str:
    """AuthorizationPolicy by which everybody may ask the workloads of its namespace, as YAML.

    Where a policy of the whole mesh allows nothing, a request needs another that allows it
    (source: Istio, Authorization Policy: Implicit enablement, allow-nothing).
    """
    policy = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": SERVICE},
        "spec": {"action": "ALLOW", "rules": [{}]},
    }
    return _yaml(policy)


def connections_manifest() -> str:
    """NetworkPolicy by which everybody may connect to and from the pods of its namespace, as YAML.

    What one policy allows is allowed, whatever others do not (source: Kubernetes, Network Policies:
    allow all).
    """
    policy = {
        "apiVersion": NETWORK_POLICIES.api,
        "kind": NETWORK_POLICIES.kind,
        "metadata": {"name": SERVICE},
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{}],
            "egress": [{}],
        },
    }
    return _yaml(policy)


def scope_manifest(system_namespace: str) -> str:
    """Sidecars by which the workloads of their namespace know each other, as YAML.

    They take the place of one that holds for the whole mesh, and of one for the whole namespace,
    beside which there may be no second one (source: Istio, Sidecar: workloadSelector).
    """
    return _yaml(
        *(
            {
                "apiVersion": SIDECARS.api,
                "kind": SIDECARS.kind,
                "metadata": {"name": app},
                "spec": {
                    "workloadSelector": {"labels": {"app": app}},
                    "egress": [{"hosts": ["./*", f"{system_namespace}/*"]}],
                },
            }
            for app in (SERVICE, STATEFUL, "sleep")
        )
    )


def helloworld_manifest(version: str, images: ImageSet) -> str:
    """Service account and deployment of one version of HelloWorld, as YAML."""
    labels = {"app": "helloworld", "version": version}
    pod = _helloworld_pod(version, images)
    return _yaml(_account("helloworld"), _deployment(f"helloworld-{version}", labels, pod))


def _helloworld_pod(version: str, images: ImageSet) -> dict[str, Any]:
    container = {
        "name": "helloworld",
        "image": helloworld_image(version, images),
        "imagePullPolicy": images.pull_policy,
        "env": [{"name": "SERVICE_VERSION", "value": version}],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {
            "httpGet": {"path": HEALTH_PATH, "port": PORT},
            "periodSeconds": 1,
            "failureThreshold": 3,
        },
    }
    return {"serviceAccountName": "helloworld", "containers": [container]}


def sleep_manifest(images: ImageSet) -> str:
    """Service account and deployment of Sleep, and deployment of the plain client, as YAML."""
    return _yaml(
        _account("sleep"),
        _deployment("sleep", {"app": "sleep"}, _sleeping("sleep", images)),
        _deployment(
            PLAIN_CLIENT, {"app": PLAIN_CLIENT}, _sleeping(PLAIN_CLIENT, images), NO_INJECTION
        ),
    )


def _sleeping(name: str, images: ImageSet) -> dict[str, Any]:
    container = {
        "name": name,
        "image": images.sleep,
        "imagePullPolicy": images.pull_policy,
        "command": ["sleep", "infinity"],
    }
    return {
        "serviceAccountName": "sleep",
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }


class _NoAliases(yaml.SafeDumper):
    """Writes again what several objects share, as people would."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _account(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}


def _deployment(
    name: str,
    labels: Mapping[str, str],
    pod: Mapping[str, Any],
    more_labels: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    containers = [
        {**each, "resources": _RESOURCES, "securityContext": _OF_CONTAINER}
        for each in pod["containers"]
    ]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": dict(labels)},
            "template": {
                "metadata": {"labels": {**labels, **more_labels}, "annotations": _PROBED},
                "spec": {**pod, "securityContext": _OF_POD, "containers": containers},
            },
        },
    }


def _yaml(*objects: Mapping[str, Any]) -> str:
    return yaml.dump_all([dict(each) for each in objects], Dumper=_NoAliases, sort_keys=False)


def _kubectl(cluster: str, *arguments: str) -> tuple[str, ...]:
    return names.kubectl(cluster, "-n", SAMPLE_NAMESPACE, *arguments)


def injection_label(scenario: Scenario) -> str:
    """Label of a namespace by which its pods get proxies of the mesh's istiod
    (source: Istio, Installing the Sidecar; Canary Upgrades).
    """
    if scenario.revision is None:
        return f"{names.INJECTION_LABEL}=enabled"
    return f"{names.REVISION_LABEL}={scenario.revision}"


def _namespace(scenario: Scenario, cluster: str) -> Step:
    create = names.kubectl(cluster, "create", "namespace", SAMPLE_NAMESPACE)
    label = names.kubectl(
        cluster, "label", "namespace", SAMPLE_NAMESPACE, injection_label(scenario)
    )
    return Step(
        id=ids.sample_namespace(cluster),
        cluster=cluster,
        section="Deploy the HelloWorld Service",
        title=f"Create the namespace {SAMPLE_NAMESPACE} in {cluster}, with sidecar injection",
        needs=(),
        commands=(Command(create), Command(label)),
        deadline=30,
        observe=(names.kubectl(cluster, "get", "namespaces", "--show-labels"),),
    )


def _service(scenario: Scenario, cluster: str) -> Step:
    service = service_manifest(dual_stack=scenario.is_dual_stack)
    manifests = [service, *([export_manifest(SERVICE)] if scenario.mcs else [])]
    exported = ", and export it" if scenario.mcs else ""
    return Step(
        id=ids.helloworld_service(cluster),
        cluster=cluster,
        section="Deploy the HelloWorld Service",
        title=f"Create the HelloWorld service in {cluster}{exported}",
        needs=(ids.sample_namespace(cluster),),
        commands=(Command(_kubectl(cluster, "apply", "-f", _SERVICE_FILE)),),
        files={_SERVICE_FILE: "---\n".join(manifests)},
        deadline=30,
        observe=(_kubectl(cluster, "get", "services"),),
    )


def _fresh_connections(scenario: Scenario, cluster: str) -> Step:
    rule = fresh_connections_manifest(SAMPLE_NAMESPACE, cluster_domain=scenario.cluster_domain)
    return Step(
        id=ids.fresh_connections(cluster),
        cluster=cluster,
        section="Deploy the HelloWorld Service",
        title=f"Use connections to HelloWorld once, as the control plane of {cluster} reads it",
        needs=(ids.sample_namespace(cluster),),
        commands=(Command(_kubectl(cluster, "apply", "-f", _RULE_FILE)),),
        files={_RULE_FILE: rule},
        deadline=30,
        observe=(_kubectl(cluster, "get", "destinationrules"),),
    )


def _named(scenario: Scenario, cluster: str, images: ImageSet) -> Step:
    position = scenario.position(cluster)
    manifests = (
        named_services_manifest(position, dual_stack=scenario.is_dual_stack),
        stateful_manifest(position, scenario.cluster(cluster).helloworld, images),
        *([export_manifest(*named_services(position))] if scenario.mcs else []),
    )
    step = _deployed(
        ids.named(cluster),
        cluster,
        "Deploy the HelloWorld Service",
        f"helloworld/names-{position}.yaml",
        "---\n".join(manifests),
    )
    title = f"Create services and a StatefulSet that only {cluster} has"
    return replace(step, title=title, needs=(ids.helloworld(cluster),))


def _named_ready(scenario: Scenario, cluster: str) -> Step:
    workload = f"statefulset/{names.stateful_set(scenario.position(cluster))}"
    return _running(ids.named_ready(cluster), ids.named(cluster), cluster, "HelloWorld", workload)


def _deployed(step_id: str, cluster: str, section: str, file: str, manifest: str) -> Step:
    return Step(
        id=step_id,
        cluster=cluster,
        section=section,
        title=f"{section} to {cluster}",
        needs=(ids.sample_namespace(cluster),),
        commands=(Command(_kubectl(cluster, "apply", "-f", file)),),
        files={file: manifest},
        deadline=30,
        observe=names.pods_and_events(cluster, SAMPLE_NAMESPACE),
    )


def _ready(step_id: str, deployed: str, cluster: str, version: str = "") -> Step:
    what = f"HelloWorld {version}" if version else "Sleep"
    deployments = (f"helloworld-{version}",) if version else ("sleep", PLAIN_CLIENT)
    workloads = (f"deployment/{each}" for each in deployments)
    return _running(step_id, deployed, cluster, what, *workloads)


def _running(step_id: str, deployed: str, cluster: str, what: str, *workloads: str) -> Step:
    timeout = f"--timeout={READY_SECONDS}s"
    return Step(
        id=step_id,
        cluster=cluster,
        section=f"Deploy {what}",
        title=f"Wait until {what} is running in {cluster}",
        needs=(deployed,),
        commands=tuple(
            Command(_kubectl(cluster, "rollout", "status", each, timeout)) for each in workloads
        ),
        deadline=READY_SECONDS + 10,
        observe=(
            *names.pods_and_events(cluster, SAMPLE_NAMESPACE),
            _kubectl(cluster, "describe", "pods"),
        ),
    )
