"""Which versions are seen to run in a cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fake_kube import FakeKube, pod
from mesh_examples import SCENARIOS
from plugin_stub import Behaviour, StubLab

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Container, Deployment, Meta, Resource
from mesh_fixtures.probe import versions
from mesh_fixtures.session.labs import versions_seen_in, versions_to_be_installed

IMAGE = "localhost:5000/metallb:v0.15.2"
METALLB = Deployment(Meta("controller"), 1, 1, (Container("controller", IMAGE),))
ENVOY = '{"version": "e2f1/1.40.0/Clean/RELEASE/BoringSSL"}'


@dataclass
class Kube(FakeKube):
    metallb: Deployment | None = METALLB

    def version(self) -> str:
        return "v1.36.3"

    def get(self, resource: Resource[Any], namespace: str, name: str) -> Deployment | None:
        return self.metallb


@pytest.mark.parametrize("output", ["1.31.1\n", "client version: 1.31.1\n"])
def test_versions(output: str) -> None:
    client = Kube(lambda argv: output if "version" in argv else ENVOY, [pod("any")]).as_client()
    assert versions.kubernetes(client) == "1.36.3"
    assert versions.istio(client) == "1.31.1"
    assert versions.proxy(client) == "1.40.0"
    assert versions.metallb(client) == "0.15.2"


def test_an_istiod_that_does_not_say() -> None:
    client = Kube(lambda argv: (1, "", "no such command"), [pod("any")]).as_client()
    with pytest.raises(ProbeError, match="no such command"):
        versions.istio(client)


def test_a_load_balancer_of_another_kind() -> None:
    with pytest.raises(ProbeError, match="no controller of MetalLB"):
        versions.metallb(Kube(lambda argv: "", metallb=None).as_client())


def test_another_way_of_telling_a_version() -> None:
    assert versions.envoy_version("1.40.0") == "1.40.0"


def test_where_nothing_is_seen_it_is_what_was_to_be_installed(tmp_path: Path) -> None:
    lab = StubLab(SCENARIOS["multi-primary"], tmp_path / "log", Behaviour())
    assert (
        versions_seen_in(lab)
        == versions_to_be_installed(lab)
        == {"istio": "1.31.0", "images": "stub", "upgraded_from": ""}
    )


@pytest.mark.parametrize(
    ("image_id", "image"),
    [
        ("registry.example/pilot@sha256:12", "registry.example/pilot@sha256:12"),
        ("docker-pullable://registry.example/pilot@sha256:12", "registry.example/pilot@sha256:12"),
        ("sha256:34", "localhost/pilot:1 (sha256:34)"),
        ("docker://sha256:34", "localhost/pilot:1 (sha256:34)"),
        ("", ""),
    ],
)
def test_images_are_told_by_their_digests(image_id: str, image: str) -> None:
    containers = tuple(
        Container(name, "localhost/pilot:1", image_id=image_id)
        for name in ("discovery", "istio-proxy")
    )
    client = Kube(lambda argv: "", [replace(pod("any"), containers=containers)]).as_client()
    assert versions.istiod_image(client) == versions.proxy_image(client) == image
