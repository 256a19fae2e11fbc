"""Services of HelloWorld that all clusters have and one exports, there while somebody needs them.

An implementation of Multi-Cluster Services makes a ServiceImport of each exported service in every
cluster, with an address of its own. istiod is none: it reads both kinds, and makes no import. Where
nothing else makes them, they are made here, as an implementation would; the address is that of a
Service that nothing is behind. What an implementation does with an export is seen by conditions in
its status (source: KEP-1645, Multi-Cluster Services API).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import yaml

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import KubeClient
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.kube.resources import SERVICE_EXPORTS, SERVICE_IMPORTS, SERVICES
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient
from mesh_fixtures.probe.view import MeshView
from mesh_fixtures.requirements.second_service import (
    await_read,
    create,
    delete,
    export,
)
from mesh_fixtures.verdict.convergence import settle
from mesh_fixtures.workloads import (
    SERVICE,
    export_manifest,
    import_manifest,
    reserved_manifest,
    service_manifest,
)

NOTICED_SECONDS: Final = 10.0
"""For an implementation to take notice of an export, where there is one."""

IMPORTED_SECONDS: Final = 90.0
"""For an implementation to import an export into all clusters."""

ADDRESS_SECONDS: Final = 5.0
"""For a Service to have its address, which the API server gives it as it makes it."""

_INTERVAL: Final = 0.5


@dataclass(frozen=True)
class ExportedServices:
    """Services that each are exported from one cluster.

    Attributes:
        names: of the Service, by the cluster that exports it.
        imports: addresses of its ServiceImport, by cluster and name; empty where none was wanted.
        made_here: whether the ServiceImports are not of an implementation.
    """

    names: Mapping[str, str]
    imports: Mapping[str, Mapping[str, tuple[str, ...]]]
    made_here: bool


def exported_service(position: int) -> str:
    """Name of the service of HelloWorld that all clusters have and only one exports.

    Args:
        position: of that cluster in its scenario.
    """
    return f"{SERVICE}-exported-{position}"


@contextmanager
def exported_services(view: MeshView, *, imported: bool) -> Iterator[ExportedServices]:
    """A service for each cluster, in all clusters, which only this one exports, while the block
    runs. Their removal is started, whatever ends the block, and not waited for; in an existing
    mesh, they are deleted with the run's namespace.

    Args:
        imported: whether ServiceImports are wanted, too.

    Raises:
        ProbeError: an API server cannot be asked or refuses, or an implementation does not import
            the services in time.
    """
    names = {
        cluster: exported_service(view.scenario.position(cluster)) for cluster in view.data_planes
    }
    items: dict[str, list[Json]] = {
        cluster: [
            *map(_read, map(service_manifest, names.values())),
            *map(_read, map(reserved_manifest, map(_reserved, names.values() if imported else ()))),
        ]
        for cluster in view.data_planes
    }
    exports = {cluster: _read(export_manifest(service)) for cluster, service in names.items()}
    try:
        parallel_map(lambda cluster: _create_all(view, cluster, items[cluster]), items)
        await_read(view, names.values())
        parallel_map(lambda cluster: _export_one(view, cluster, exports), exports)
        made_here = imported and not _is_implemented(view, names)
        if made_here:
            view.each(lambda kube: _import_all(view, kube, names, items[kube.name]))
        imports = view.each(partial(_imports, names=names)) if imported else {}
        yield ExportedServices(names, imports, made_here)
    finally:
        if not view.lab.external:
            parallel_map(lambda cluster: _delete_all(view, cluster, items[cluster]), items)
            parallel_map(lambda cluster: delete(view, cluster, exports[cluster]), exports)


def _reserved(service: str) -> str:
    """Name of the Service whose address the name in the cluster set gets."""
    return f"{service}-set"


def _read(manifest: str) -> Json:
    item: Json = yaml.safe_load(manifest)
    return item


def _create_all(view: MeshView, cluster: str, items: list[Json]) -> None:
    for item in items:
        create(view, cluster, item)


def _export_one(view: MeshView, cluster: str, exports: Mapping[str, Json]) -> None:
    """Export the cluster's own service, and no other one, where istiod exports all by itself: it
    does so once for each Service.
    """
    for name, item in exports.items():
        if name == cluster:
            export(view, cluster, item)
        elif view.lab.external:
            delete(view, cluster, item)


def _delete_all(view: MeshView, cluster: str, items: list[Json]) -> None:
    for item in items:
        delete(view, cluster, item)


def _is_implemented(view: MeshView, names: Mapping[str, str]) -> bool:
    """Whether something in an existing mesh takes notice of exports; labs have nothing that does.

    istiod only reads them.
    """
    if not view.lab.external:
        return False

    def noticed(kube: KubeClient) -> bool:
        export = kube.get(SERVICE_EXPORTS, kube.sample_namespace, names[kube.name])
        return export is not None and bool(export.conditions)

    return settle(
        lambda: any(view.each(noticed).values()),
        lambda seen: seen,
        deadline=patient(NOTICED_SECONDS),
        interval=_INTERVAL,
    ).value


def _import_all(
    view: MeshView, kube: KubeClient, names: Mapping[str, str], items: list[Json]
) -> None:
    """Make the ServiceImports of a cluster, and add them to what was made there."""
    for service in names.values():
        reserved = settle(
            partial(_address, kube, _reserved(service)),
            bool,
            deadline=patient(ADDRESS_SECONDS),
            interval=_INTERVAL,
        ).value
        item = _read(import_manifest(service, [reserved]))
        items.append(item)
        create(view, kube.name, item)


def _address(kube: KubeClient, service: str) -> str:
    found = kube.list(SERVICES, kube.sample_namespace)
    return next((each.cluster_ip for each in found if each.meta.name == service), "")


def _imports(kube: KubeClient, names: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    """Addresses of each service's ServiceImport in a cluster.

    Raises:
        ProbeError: there is none, or it has no address.
    """

    def found() -> Mapping[str, tuple[str, ...]]:
        imports = {
            each: kube.get(SERVICE_IMPORTS, kube.sample_namespace, each) for each in names.values()
        }
        return {name: each.ips for name, each in imports.items() if each is not None and each.ips}

    settled = settle(
        found,
        lambda seen: {*seen} == {*names.values()},
        deadline=patient(IMPORTED_SECONDS),
        interval=_INTERVAL,
    )
    if not settled.accepted:
        missing = sorted({*names.values()} - {*settled.value})
        raise ProbeError(
            wanted=f"ServiceImports with an address of {', '.join(missing)}",
            seen=f"none after {settled.seconds:.0f} s",
            where=f"{kube.name}, namespace {kube.sample_namespace}",
            remedy="see what the implementation of Multi-Cluster Services says of the "
            "ServiceExports: kubectl get serviceexports -o yaml",
        )
    return settled.value
