"""Remotes that find their primary's istiod in another way than the guide's, and an istiod of which
a part is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final

import yaml

from mesh_fixtures.install import ids, names
from mesh_fixtures.install.exposure import istiod_manifest
from mesh_fixtures.install.method import merged, primary_values
from mesh_fixtures.install.plan import plan
from mesh_fixtures.install.step import Plan
from mesh_fixtures.kube.resources import SERVICES
from mesh_fixtures.scenario import ISTIOD_PORTS
from tests.faults.control_planes import MESH, with_variable, without_native_sidecars
from tests.faults.target import Manifest, Target, references
from tests.faults.topologies import EXTERNAL, REMOTE, TWO_NETWORKS
from tests.variants.reinstallation import proxied, without_gateway
from tests.variants.variant import Variant, as_it_is

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_ONE_NETWORK: Final = "primary-remote"
_LOAD_BALANCER: Final = "istiod-lb"
_QUOTA: Final = "variant"
_CANARY: Final = "canary"
_OF_CANARY: Final = (
    f"mutatingwebhookconfiguration/istio-sidecar-injector-{_CANARY}",
    f"validatingwebhookconfiguration/istio-validator-{_CANARY}-{_SYSTEM}",
    *(
        f"{kind}/istiod-{_CANARY}"
        for kind in (
            *("deployment", "service", "horizontalpodautoscaler", "poddisruptionbudget"),
            *("serviceaccount", "role", "rolebinding"),
        )
    ),
    *(f"configmap/{name}-{_CANARY}" for name in (MESH, "istio-sidecar-injector", "values")),
)
"""What nothing but the revision uses; the rest is the default's, too."""
_MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
_CONTROLLERS: Final = (
    "endpointslice-controller.k8s.io",
    "endpointslicemirroring-controller.k8s.io",
)


@contextmanager
def by_its_own_load_balancer(target: Target) -> Iterator[None]:
    """The primary has no gateway; its istiod is reached by a load balancer of its own."""
    remote = target.scenario.remotes[0].name
    primary = target.scenario.control_plane_of(remote)
    gateway = target.until(
        "an address of the gateway",
        primary,
        lambda kube: kube.get(SERVICES, _SYSTEM, names.GATEWAY),
        lambda service: service is not None and bool(service.external),
    )
    assert gateway is not None
    (before,) = gateway.external
    try:
        target.apply(primary, _SYSTEM, _load_balancer())
        balancer = target.until(
            "an address of istiod's load balancer",
            primary,
            lambda kube: kube.get(SERVICES, _SYSTEM, _LOAD_BALANCER),
            lambda service: service is not None and bool(service.external),
        )
        assert balancer is not None
        (address,) = balancer.external
        _point(target, remote, before, address)
        objects = (f"service/{names.GATEWAY}", f"deployment/{names.GATEWAY}")
        target.delete(primary, _SYSTEM, *objects, *references(istiod_manifest()))
        target.restart(remote, *proxied(target, remote))
        yield
    finally:
        target.run_steps(
            target.installation,
            *(ids.gateway(primary), ids.gateway_address(primary), ids.expose_istiod(primary)),
            *(ids.remote(remote), ids.attached(remote)),
        )
        target.delete(primary, _SYSTEM, f"service/{_LOAD_BALANCER}")
        target.restart(remote, *proxied(target, remote))


@contextmanager
def injected_locally(target: Target) -> Iterator[None]:
    """The remote has an istiod that injects its proxies; that of the primary configures them."""
    remote = target.scenario.remotes[0].name
    primary = target.scenario.control_plane_of(remote)
    others = proxied(target, remote)
    gateway = (ids.gateway(remote), ids.gateway_address(remote))
    try:
        without_gateway(target, remote)
        target.run_steps(
            with_local_injector(target.installation, target, remote),
            *(ids.gateway_address(primary), ids.remote(remote), *gateway),
        )
        target.restart(remote, *others)
        yield
    finally:
        without_gateway(target, remote)
        target.run_steps(
            target.installation,
            *(ids.gateway_address(primary), ids.remote(remote), ids.attached(remote), *gateway),
        )
        _forget_local_istiod(target, remote)
        target.restart(remote, *others)


def _forget_local_istiod(target: Target, remote: str) -> None:
    """Delete the endpoints of istiod's Service that are of the time when it had a selector: nobody
    does since it has none (Kubernetes: Services without selectors).
    """
    target.delete(remote, _SYSTEM, "endpoints/istiod")  # else its slices are mirrored again
    made = f"{_MANAGED_BY} in ({','.join(_CONTROLLERS)})"
    selector = f"kubernetes.io/service-name=istiod,{made}"
    target.system(remote, "delete", "endpointslices", "-l", selector)


def with_local_injector(of: Plan, target: Target, remote: str) -> Plan:
    """The plan with an istiod in a remote that only injects (Istio: chart istiod, istiodRemote)."""
    scenario, images = target.scenario, target.lab.images
    address = names.discovery_address_variable(scenario.control_plane_of(remote))
    own = merged(
        primary_values(scenario, remote, images),
        {
            "global": {"remotePilotAddress": names.reference(address)},
            "istiodRemote": {"enabled": True, "enabledLocalInjectorIstiod": True},
        },
    )
    step = of[ids.remote(remote)]
    ((name, operator),) = step.files.items()
    spec: dict[str, Any] = yaml.safe_load(operator)["spec"]
    kept = {key: value for key, value in spec.items() if key in ("hub", "tag")}
    content = {
        "apiVersion": "install.istio.io/v1alpha1",
        "kind": "IstioOperator",
        "spec": {**kept, "values": own},
    }
    return of.replace(replace(step, files={name: yaml.safe_dump(content)}))


def _load_balancer() -> Manifest:
    discovery, webhook = ISTIOD_PORTS
    ports = [
        {"name": "tls-istiod", "port": discovery, "targetPort": 15012},
        {"name": "tls-istiodwebhook", "port": webhook, "targetPort": 15017},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _LOAD_BALANCER},
        "spec": {"type": "LoadBalancer", "selector": {"app": "istiod"}, "ports": ports},
    }


def _point(target: Target, remote: str, before: str, address: str) -> None:
    """Have a remote's proxies and its API server look for istiod at another address."""
    for kind in ("endpointslices", "endpoints"):
        found = json.loads(target.system(remote, "get", kind, "-o", "json"))
        ours = [each for each in found["items"] if _is_by_hand(each) and before in json.dumps(each)]
        if ours:
            changed = json.dumps({**found, "items": ours}).replace(before, address)
            target.kubectl(remote, "replace", "-f", "-", stdin=changed)
    kinds = "mutatingwebhookconfigurations,validatingwebhookconfigurations"
    found = json.loads(target.kubectl(remote, "get", kinds, "-o", "json"))
    changed = json.dumps(found).replace(f"//{before}:", f"//{address}:")
    if changed != json.dumps(found):
        target.kubectl(remote, "replace", "-f", "-", stdin=changed)


def _is_by_hand(each: Manifest) -> bool:
    """Whether no controller of Kubernetes makes it: Istio's chart says that Helm does."""
    return each["metadata"].get("labels", {}).get(_MANAGED_BY) not in _CONTROLLERS


@contextmanager
def two_revisions(target: Target) -> Iterator[None]:
    """Each cluster has an istiod of a further revision beside the default one, that nothing uses
    yet (Istio: Canary Upgrades).
    """
    clusters = [each.name for each in target.scenario.primaries]
    scenario = target.scenario.model_copy(update={"revision": _CANARY})
    further = plan(scenario, target.lab.images, target.lab.charts)
    try:
        target.run_steps(further, *map(ids.istiod, clusters))
        yield
    finally:
        for cluster in clusters:
            target.delete(cluster, _SYSTEM, *_OF_CANARY)


@contextmanager
def under_any(target: Target) -> Iterator[None]:
    """The remotes leave it open which istiod is in charge."""
    remotes = [each.name for each in target.scenario.remotes]

    def annotate(value: Callable[[str], str]) -> None:
        for remote in remotes:
            annotation = f"{names.CONTROL_PLANE_ANNOTATION}={value(remote)}"
            target.kubectl(remote, "annotate", "--overwrite", "namespace", _SYSTEM, annotation)

    try:
        annotate(lambda remote: "*")
        yield
    finally:
        annotate(target.scenario.control_plane_of)


@contextmanager
def short_of_a_replica(target: Target) -> Iterator[None]:
    """The first primary's istiod is to have two pods, and a quota lets no second one be made."""
    primary = target.scenario.primaries[0].name
    istiod = "deployment/istiod"
    try:
        target.system(primary, "create", "quota", _QUOTA, "--hard=pods=0")
        target.system(primary, "scale", istiod, "--replicas=2")
        yield
    finally:
        target.system(primary, "scale", istiod, "--replicas=1")
        target.delete(primary, _SYSTEM, f"quota/{_QUOTA}")


_ECONOMICAL: Final = {
    "PILOT_FILTER_GATEWAY_CLUSTER_CONFIG": "true",
    "PILOT_DEBOUNCE_AFTER": "2s",
    "PILOT_DEBOUNCE_MAX": "20s",
    "PILOT_SEND_UNHEALTHY_ENDPOINTS": "true",
    "PILOT_ENABLE_HEADLESS_SERVICE_POD_LISTENERS": "false",
}
"""What large meshes have their istiods do (Istio: Performance and Scalability; pilot-discovery,
environment variables)."""


@contextmanager
def economical(target: Target) -> Iterator[None]:
    """The istiods send less, and less often."""
    primaries = [each.name for each in target.scenario.primaries]
    with ExitStack() as stack:
        for name, value in _ECONOMICAL.items():
            stack.enter_context(with_variable(target, name, value, clusters=primaries))
        yield


@contextmanager
def without_debug_interface(target: Target) -> Iterator[None]:
    """The last primary's istiod does not say what it knows (Istio: pilot-discovery)."""
    with with_variable(target, "ENABLE_DEBUG_ON_HTTP", "false"):
        yield


VARIANTS: Final = (
    Variant(
        id="no-debug-interface",
        mesh="The istiod of cluster2 does not answer at /debug, for safety's sake.",
        topology=TWO_NETWORKS,
        make=without_debug_interface,
        refusal="remove ENABLE_DEBUG_ON_HTTP=false from its environment",
        is_silent=True,
    ),
    Variant(
        id="economical-istiods",
        mesh="Gateways know the services that they route to alone, and changes wait for others.",
        topology=TWO_NETWORKS,
        make=economical,
    ),
    Variant(
        id="proxies-beside-other-containers",
        mesh="Proxies are ordinary containers of their pods.",
        topology=TWO_NETWORKS,
        make=without_native_sidecars,
    ),
    Variant(
        id="control-plane-outside",
        mesh="An istiod outside of the cluster that it serves.",
        topology=EXTERNAL,
        make=as_it_is,
    ),
    Variant(
        id="two-revisions",
        mesh="Beside the default istiod, each cluster has one of a revision that is not used yet.",
        topology=TWO_NETWORKS,
        make=two_revisions,
    ),
    Variant(
        id="remote-under-any-istiod",
        mesh="The remote's system namespace leaves it open which cluster's istiod is in charge.",
        topology=REMOTE,
        make=under_any,
    ),
    Variant(
        id="istiod-short-of-a-replica",
        mesh="Of two pods that istiod is to have in cluster1, one cannot be made.",
        topology=TWO_NETWORKS,
        make=short_of_a_replica,
        notes=("CONTROL-1: cluster1: istio-system/istiod has 1 of 2 pods ready",),
    ),
    Variant(
        id="istiod-by-its-own-load-balancer",
        mesh="The remote finds istiod at a load balancer of its own; on the one network there is "
        "no gateway.",
        topology=_ONE_NETWORK,
        make=by_its_own_load_balancer,
    ),
    Variant(
        id="injector-in-the-remote",
        mesh="An istiod in the remote injects its proxies, which that of the primary configures.",
        topology=REMOTE,
        make=injected_locally,
        notes=("cluster2: its istiod injects proxies, which istiod of cluster1 configures",),
    ),
)
