"""Faults of istiod itself: where it runs, whether it does, whom it serves, and what it is told for
the whole mesh.

Source: Istio, Global Mesh Options (ServiceSettings); Sidecar injection (custom templates);
pilot-discovery (environment variables).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import yaml

from mesh_fixtures.install import names
from mesh_fixtures.kube.objects import NAME_LABEL
from mesh_fixtures.kube.resources import CONFIG_MAPS, PODS, SERVICE_EXPORTS
from mesh_fixtures.probe.workloads import SLEEP, control_plane
from tests.faults.fault import Injection
from tests.faults.replacements import configure_sleep
from tests.faults.target import Manifest, Target

_SYSTEM: Final = names.SYSTEM_NAMESPACE
_DEPLOYMENT: Final = "deployment/istiod"
_AUTHENTICATION: Final = "XDS_AUTH"
_AUTO_EXPORT: Final = "ENABLE_MCS_AUTO_EXPORT"
_BULK: Final = "bulk"
_BULK_SERVICES: Final = 60
_BULK_BYTES: Final = 200_000
"""Of the annotations of each: Kubernetes allows 256 KiB."""
_IGNORED: Final = "PILOT_IGNORE_RESOURCES"
MESH: Final = "istio"
"""ConfigMap with the mesh configuration."""
_INJECTOR: Final = "istio-sidecar-injector"
_BAD_ARGUMENT: Final = "--keepaliveInterval=of-another-version"
_UNKNOWN_FIELD: Final = "{{ .FieldOfAnotherVersion }}"
_OTHER_CHART: Final = "istiod-1.99.0"


@contextmanager
def not_running(target: Target) -> Iterator[None]:
    """The last primary's istiod is scaled to 0."""
    cluster = target.scenario.primaries[-1].name
    try:
        target.system(cluster, "scale", _DEPLOYMENT, "--replicas=0")
        yield
    finally:
        target.system(cluster, "scale", _DEPLOYMENT, "--replicas=1")
        _await_istiod(target, cluster)


@contextmanager
def crashing(target: Target) -> Iterator[None]:
    """The last primary's istiod gets an argument that it cannot read, and ends at once."""
    cluster = target.scenario.primaries[-1].name
    path = "/spec/template/spec/containers/0/args/-"
    given = target.read(cluster, _SYSTEM, "deployment", "istiod")
    try:
        change = json.dumps([{"op": "add", "path": path, "value": _BAD_ARGUMENT}])
        target.system(cluster, "patch", _DEPLOYMENT, "--type=json", "-p", change)
        yield
    finally:
        target.kubectl(cluster, "-n", _SYSTEM, "replace", "-f", "-", stdin=json.dumps(given))
        _await_istiod(target, cluster)


@contextmanager
def without_authentication(target: Target) -> Iterator[None]:
    """The last primary's istiod does not ask who wants configuration of it."""
    with with_variable(target, _AUTHENTICATION, "false"):
        yield


def cluster_local(*hosts: str, everywhere: bool = False) -> Injection:
    """The mesh configuration of the last primary declares hosts local to its cluster, or that of
    each primary.
    """
    settings = {"serviceSettings": [{"settings": {"clusterLocal": True}, "hosts": [*hosts]}]}
    return configured(settings, everywhere=everywhere)


def configured(settings: Mapping[str, Any], *, everywhere: bool = False) -> Injection:
    """The mesh configuration of the last primary has other settings, or that of each primary."""

    @contextmanager
    def inject(target: Target) -> Iterator[None]:
        primaries = [each.name for each in target.scenario.primaries]
        chosen = primaries if everywhere else primaries[-1:]
        given = {name: target.read(name, _SYSTEM, "configmap", MESH) for name in chosen}
        try:
            for name, found in given.items():
                _write(target, name, with_settings(found, settings))
            yield
        finally:
            for name, found in given.items():
                _write(target, name, found)

    return inject


@contextmanager
def without_authorization(target: Target) -> Iterator[None]:
    """The last primary's istiod does not read AuthorizationPolicies."""
    with with_variable(target, _IGNORED, "authorizationpolicies.security.istio.io"):
        yield


@contextmanager
def without_dns(target: Target) -> Iterator[None]:
    """An annotation leaves the last cluster's Sleep out of DNS proxying."""
    cluster = target.scenario.clusters[-1].name
    metadata = {names.DNS_CAPTURE: "false"}
    try:
        configure_sleep(target, cluster, yaml.safe_dump({"proxyMetadata": metadata}))
        yield
    finally:
        configure_sleep(target, cluster, None)


@contextmanager
def gateways_not_selected(target: Target) -> Iterator[None]:
    """The discoverySelectors of all primaries leave the gateways' namespace out, as do those that
    select the namespaces of applications by a label.
    """
    others = [{"key": NAME_LABEL, "operator": "NotIn", "values": [_SYSTEM]}]
    settings = {"discoverySelectors": [{"matchExpressions": others}]}
    primaries = [each.name for each in target.scenario.primaries]
    given = {name: target.read(name, _SYSTEM, "configmap", MESH) for name in primaries}
    try:
        for name, found in given.items():
            _write(target, name, with_settings(found, settings))
        yield
    finally:
        for name, found in given.items():
            _write(target, name, found)


@contextmanager
def another_template(target: Target) -> Iterator[None]:
    """The last primary's istiod injects by a template of another version, with a field that it does
    not have; its new pods are refused.
    """
    cluster = target.scenario.primaries[-1].name
    given = target.read(cluster, _SYSTEM, "configmap", _INJECTOR)
    try:
        _write(target, cluster, _with_unknown_field(given))
        target.until(
            "the changed template",
            cluster,
            lambda kube: kube.get(CONFIG_MAPS, _SYSTEM, _INJECTOR),
            lambda found: found is not None and _UNKNOWN_FIELD in found.data["config"],
        )
        _replace_sleep(target, cluster)
        yield
    finally:
        _write(target, cluster, given)
        target.restart(cluster, (_SYSTEM, "istiod"))
        target.restart(cluster, (target.namespace, "sleep"))


@contextmanager
def without_exports(target: Target) -> Iterator[None]:
    """The last primary's istiod takes no notice of ServiceExports."""
    with with_variable(target, names.MCS_DISCOVERY, "false", usual="true"):
        yield


@contextmanager
def without_native_sidecars(target: Target) -> Iterator[None]:
    """The istiods of all primaries inject proxies as containers beside the others, as they do on
    Kubernetes before 1.33 (Istio: ENABLE_NATIVE_SIDECARS).
    """
    primaries = [each.name for each in target.scenario.primaries]
    with with_variable(target, "ENABLE_NATIVE_SIDECARS", "false", clusters=primaries):
        yield


@contextmanager
def exporting_everything(target: Target) -> Iterator[None]:
    """The istiods of all primaries export every service by themselves."""
    primaries = [each.name for each in target.scenario.primaries]
    with with_variable(target, _AUTO_EXPORT, "true", clusters=primaries):
        yield


@contextmanager
def exports_read_first(target: Target) -> Iterator[None]:
    """The first primary's istiod starts while the last cluster has Services that take long to be
    read, so that it learns of EndpointSlices and ServiceExports there before the Services.
    """
    reader, cluster = target.scenario.primaries[0].name, target.scenario.clusters[-1].name
    try:
        target.kubectl(cluster, "create", "namespace", _BULK)
        target.kubectl(cluster, "-n", _BULK, "create", "-f", "-", stdin=_bulk())
        target.restart(reader, (_SYSTEM, "istiod"))
        yield
    finally:
        target.delete(cluster, "", f"namespace/{_BULK}")
        export_again(target)


def _bulk() -> str:
    """Services that no proxy is told of, as large as Kubernetes lets them be."""
    annotations = {names.EXPORT_TO: "~", "mesh-conformance/bulk": "x" * _BULK_BYTES}
    items = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"bulk-{number}", "annotations": annotations},
            "spec": {"clusterIP": "None", "ports": [{"port": 80}]},
        }
        for number in range(_BULK_SERVICES)
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def export_again(target: Target) -> None:
    """Replace every ServiceExport of the workloads' namespaces, where there are any: what an istiod
    learnt of a service's EndpointSlices and ServiceExport before the Service, it takes for not
    exported until then.
    """
    kind = SERVICE_EXPORTS.full_name
    for cluster in target.view.data_planes if target.scenario.mcs else ():
        exports = target.sample(cluster, "get", kind, "-o", "yaml")
        forced = ("-n", target.namespace, "replace", "--force", "-f", "-")
        target.kubectl(cluster, *forced, stdin=exports)


@contextmanager
def with_variable(
    target: Target, name: str, value: str, usual: str = "", clusters: Sequence[str] = ()
) -> Iterator[None]:
    """The last primary's istiod has another variable in its environment.

    Args:
        usual: value that it has otherwise; empty for none.
        clusters: whose istiods have it, in place of the last primary's.
    """
    changed = clusters or (target.scenario.primaries[-1].name,)

    def change(variable: str) -> None:
        for cluster in changed:
            target.system(cluster, "set", "env", _DEPLOYMENT, variable)
        for cluster in changed:
            target.await_rollout(cluster, _SYSTEM, "istiod")
        export_again(target)

    try:
        change(f"{name}={value}")
        yield
    finally:
        change(f"{name}={usual}" if usual else f"{name}-")


def with_settings(
    given: Manifest,
    settings: Mapping[str, Any],
    part: Literal["mesh", "meshNetworks"] = "mesh",
) -> Manifest:
    """The ConfigMap of a mesh's configuration with other settings besides.

    Args:
        part: key of the ConfigMap that they are of.
    """
    content = yaml.safe_load(given["data"].get(part, "")) or {}
    return {**given, "data": {**given["data"], part: yaml.safe_dump({**content, **settings})}}


def _with_unknown_field(given: Manifest) -> Manifest:
    """The ConfigMap of injection as a chart of another version would have made it."""
    config = yaml.safe_load(given["data"]["config"])
    sidecar = config["templates"]["sidecar"]
    config["templates"]["sidecar"] = f"# {_UNKNOWN_FIELD}\n{sidecar}"
    labels = {**given["metadata"].get("labels", {}), "helm.sh/chart": _OTHER_CHART}
    return {
        **given,
        "metadata": {**given["metadata"], "labels": labels},
        "data": {**given["data"], "config": yaml.safe_dump(config)},
    }


def _write(target: Target, cluster: str, config: Manifest) -> None:
    target.kubectl(cluster, "-n", _SYSTEM, "replace", "-f", "-", stdin=json.dumps(config))


def _replace_sleep(target: Target, cluster: str) -> None:
    """Remove Sleep's pods until the injector, which reads its templates anew in its own time, lets
    no other one be made.
    """

    def without_pod() -> bool:
        pods = target.kube[cluster].list(PODS, target.namespace, SLEEP)
        if pods:
            target.sample(cluster, "delete", "pods", "-l", SLEEP, "--wait=true", "--grace-period=1")
        return not target.kube[cluster].list(PODS, target.namespace, SLEEP)

    target.until("no pod of Sleep", cluster, lambda _: without_pod(), lambda gone: gone)


def _await_istiod(target: Target, cluster: str) -> None:
    target.until("istiod", cluster, control_plane, lambda seen: seen.is_running)
