"""Services that one cluster exports: they are there while they are needed, with their imports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_api_server import FakeApiServer
from kube_client import client_of
from mesh_examples import MORE

from mesh_fixtures.contract import GUIDE_NAMES
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.requirements import exported_services as module
from mesh_fixtures.requirements import mcs_1
from mesh_fixtures.requirements import second_service as second
from mesh_fixtures.requirements.exported_services import ExportedServices, exported_services
from mesh_fixtures.requirements.second_service import await_read, fresh_connections

SERVICES = "/api/v1/namespaces/sample/services"
MCS = "/apis/multicluster.x-k8s.io/v1alpha1/namespaces/sample"
EXPORT = f"{MCS}/serviceexports/helloworld-exported-1"
IMPORT = f"{MCS}/serviceimports/helloworld-exported-1"
ITEM = {"metadata": {"name": "helloworld-exported-1"}}
RESERVED = {
    "metadata": {"name": "helloworld-exported-1-set", "namespace": "sample"},
    "spec": {"clusterIP": "10.96.0.7"},
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for, and istiods read all at once."""
    for name in ("NOTICED_SECONDS", "IMPORTED_SECONDS", "ADDRESS_SECONDS"):
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr(module, "await_read", lambda view, services: None)
    monkeypatch.setattr(second, "await_read", lambda view, services: None)


@contextmanager
def view_of(server: FakeApiServer, folder: Path, *, external: bool = False) -> Iterator[Any]:
    """A mesh of which only the first cluster was given."""
    with client_of(server, folder) as kube:
        lab = SimpleNamespace(clusters={"cluster1": kube.cluster}, external=external)
        yield SimpleNamespace(
            lab=lab,
            kube={"cluster1": kube},
            data_planes=("cluster1",),
            scenario=MORE["multi-primary-multi-network-mcs"],
            each=lambda probe, clusters=None: {"cluster1": probe(kube)},
        )


def made(
    server: FakeApiServer, folder: Path, *, external: bool = False, imported: bool = True
) -> tuple[ExportedServices, list[str]]:
    """The services, and what is there while the block runs."""
    with (
        view_of(server, folder, external=external) as view,
        exported_services(view, imported=imported) as services,
    ):
        return services, sorted(server.answers)


def test_imports_are_made_where_nothing_else_makes_them(tmp_path: Path) -> None:
    server = FakeApiServer({SERVICES: {"items": [RESERVED]}})
    services, there = made(server, tmp_path)
    assert services.names == {"cluster1": "helloworld-exported-1"}
    assert services.imports == {"cluster1": {"helloworld-exported-1": ("10.96.0.7",)}}
    assert services.made_here
    assert {EXPORT, IMPORT, f"{SERVICES}/helloworld-exported-1"} <= {*there}
    assert f"{SERVICES}/helloworld-exported-1-set" in there
    assert [*server.answers] == [SERVICES]


def test_a_service_is_exported_after_it_was_made(tmp_path: Path) -> None:
    server = FakeApiServer({SERVICES: {"items": [RESERVED]}})
    made(server, tmp_path)
    posted = [body["kind"] for method, _, body in server.changes if method == "POST"]
    assert posted == ["Service", "Service", "ServiceExport", "ServiceImport"]


def test_without_names_in_the_cluster_set_nothing_is_imported(tmp_path: Path) -> None:
    services, there = made(FakeApiServer(), tmp_path, imported=False)
    assert services.imports == {}
    assert not services.made_here
    assert there == [f"{SERVICES}/helloworld-exported-1", EXPORT]


def test_what_an_implementation_imports_is_taken(tmp_path: Path) -> None:
    server = FakeApiServer()

    def admits(path: str, item: Any) -> None:
        if path.endswith("/serviceexports"):
            server.answers[IMPORT] = {**ITEM, "spec": {"ips": ["241.0.0.1"]}}
            item["status"] = {"conditions": [{"type": "Valid", "status": "True"}]}

    server.admits = admits
    services, _ = made(server, tmp_path, external=True)
    assert not services.made_here
    assert services.imports == {"cluster1": {"helloworld-exported-1": ("241.0.0.1",)}}


def test_an_implementation_that_imports_nothing(tmp_path: Path) -> None:
    server = FakeApiServer()

    def admits(path: str, item: Any) -> None:
        if path.endswith("/serviceexports"):
            item["status"] = {"conditions": [{"type": "Valid", "status": "False"}]}

    server.admits = admits
    with pytest.raises(ProbeError, match="helloworld-exported-1") as raised:
        made(server, tmp_path, external=True)
    assert "cluster1" in raised.value.where


def test_what_istiod_exported_by_itself_is_exported_anew(tmp_path: Path) -> None:
    server = FakeApiServer({EXPORT: ITEM, SERVICES: {"items": [RESERVED]}})
    made(server, tmp_path, external=True)
    of_export = [(method, path) for method, path, _ in server.changes if "serviceexports" in path]
    assert of_export[:2] == [("DELETE", EXPORT), ("POST", f"{MCS}/serviceexports")]


def test_what_a_cluster_knows_and_exports(tmp_path: Path) -> None:
    kinds = {"resources": [{"name": "serviceexports"}, {"name": "serviceexports/status"}]}
    server = FakeApiServer({"/apis/multicluster.x-k8s.io/v1alpha1": kinds, EXPORT: ITEM})
    with client_of(server, tmp_path) as kube:
        assert mcs_1.undefined(kube) == ("ServiceImport",)
        exported = mcs_1.exporting(kube, ["helloworld-exported-1", "helloworld-exported-2"])
        assert exported == {"helloworld-exported-1"}
        server.answers.clear()
        assert mcs_1.undefined(kube) == ("ServiceExport", "ServiceImport")


@pytest.mark.parametrize("read", ["cluster1", ""])
def test_istiods_are_waited_for_until_they_have_read_a_service(
    read: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = "a.sample.svc.cluster.local"
    asked = []

    def scopes(kube: Any) -> tuple[Any, ...]:
        asked.append(kube)
        held = {host: {read: frozenset({"10.0.0.1"})}} if len(asked) > 2 else {}
        return (SimpleNamespace(addresses=held),)

    monkeypatch.setattr(second, "service_scopes", scopes)
    monkeypatch.setattr(second, "_INTERVAL", 0.0)
    monkeypatch.setattr(second, "READ_SECONDS", 0.05)
    kube = SimpleNamespace(sample_namespace="sample", names=GUIDE_NAMES)
    view: Any = SimpleNamespace(
        kube={"cluster1": kube},
        scenario=MORE["multi-primary-multi-network-mcs"],
        each=lambda probe, clusters: {"cluster1": probe(kube)},
    )
    await_read(view, ("a",))
    assert (len(asked) == 3) == bool(read)


def test_the_second_service_is_exported_with_the_mesh(tmp_path: Path) -> None:
    server = FakeApiServer()
    with view_of(server, tmp_path) as view, fresh_connections(view):
        assert f"{MCS}/serviceexports/helloworld-fresh" in server.answers
    assert server.answers == {}
    with view_of(server, tmp_path) as view:
        view.scenario = view.scenario.model_copy(update={"mcs": False})
        with fresh_connections(view):
            assert f"{MCS}/serviceexports/helloworld-fresh" not in server.answers
