"""Released images: what istioctl and a manifest say of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from mesh_fixtures.artifacts import released, releases, versions
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.istio_source import IstioSource
from mesh_fixtures.artifacts.part_source import released_part
from mesh_fixtures.artifacts.releases import PUBLIC, Addresses
from mesh_fixtures.errors import ArtifactError, MachineError
from mesh_fixtures.install.method import primary_operator
from mesh_fixtures.progress import Progress, ProgressEvent
from mesh_fixtures.scenario import load_scenario
from tests.parts.site import Site, serving

SCENARIOS = Path(__file__).parents[2] / "scenarios"
MESH = yaml.safe_dump_all(
    [
        {"kind": "Service", "spec": {}},
        {
            "kind": "Deployment",
            "spec": {
                "template": {
                    "spec": {"containers": [{"name": "discovery", "image": "hub/pilot:1.31.1"}]}
                }
            },
        },
    ]
)


def container(name: str) -> dict[str, object]:
    return {
        "name": name,
        "image": f"metallb/{name}:v1",
        "env": [{"name": "METALLB_ML_SECRET", "value": "x"}, {"name": "KEPT", "value": "y"}],
        "ports": [{"name": "monitoring", "containerPort": 7472}],
        "readinessProbe": {"httpGet": {"path": "/metrics"}},
        "volumeMounts": [{"name": "memberlist"}],
    }


METALLB = yaml.safe_dump_all(
    {
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "template": {
                "spec": {"containers": [container(name)], "volumes": [{"name": "memberlist"}]}
            }
        },
    }
    for kind, name in (("Deployment", "controller"), ("DaemonSet", "speaker"))
)


@pytest.fixture
def istioctl(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a program that says what an istioctl of the given version would."""

    def make(version: str) -> Path:
        (tmp_path / "mesh.yaml").write_text(MESH)
        program = tmp_path / "istioctl"
        program.write_text(
            f"#!/bin/sh\ncase $1 in version) echo '{version}';; "
            f"manifest) cat {tmp_path}/mesh.yaml;; esac\n"
        )
        program.chmod(0o755)
        return program

    return make


VERSION = '{"clientVersion": {"version": "1.31.1"}}'


def test_the_release_is_the_one_of_istioctl(istioctl: Callable[[str], Path]) -> None:
    images = IstioSource("released", istioctl=str(istioctl(VERSION))).describe()
    assert (images.name, images.istio_version) == ("released", "1.31.1")
    scenario = load_scenario(SCENARIOS / "multi-primary.yaml")
    spec = yaml.safe_load(primary_operator(scenario, "cluster1", images))["spec"]
    assert "hub" not in spec
    assert "tag" not in spec


def test_an_istioctl_that_does_not_say_its_release(istioctl: Callable[[str], Path]) -> None:
    with pytest.raises(ArtifactError, match="the release that istioctl belongs to"):
        released.version_of(istioctl("unknown"))


def test_all_images_that_nodes_want(istioctl: Callable[[str], Path]) -> None:
    release = IstioSource("released", istioctl=str(istioctl(VERSION))).gather_release(
        Progress("test")
    )
    metallb = list(yaml.safe_load_all(METALLB))
    assert release.proxy == "docker.io/hub/proxyv2:1.31.1"
    assert released.images_of(release.images, metallb, release.names) == (
        "docker.io/hub/pilot:1.31.1",
        "docker.io/hub/proxyv2:1.31.1",
        "metallb/controller:v1",
        "metallb/speaker:v1",
        *released.HELLOWORLD.values(),
        released.SLEEP,
    )


@pytest.mark.parametrize(
    ("tag", "differs"),
    [
        ("", False),
        ("1.31.1", False),
        ("v1.31.4", False),
        ("1.31-alpha.b01690e6db7d", False),
        ("1.31.1-distroless", False),
        ("1.30.3", True),
        ("v1.32.0-rc.1", True),
        ("1.3", True),
        ("latest", False),
        ("payments-1.30", False),
        ("2026.11.3", False),
        ("b01690e6db7d", False),
    ],
)
def test_images_of_another_release_than_istioctls(
    tag: str, differs: bool, istioctl: Callable[[str], Path]
) -> None:
    source = IstioSource("released", istioctl=str(istioctl(VERSION)), tag=tag)
    problems = source.problems()
    assert bool(problems) == differs
    if not differs:
        source.gather_release(Progress("test"))
        return
    assert problems[0].seen == f"--mesh-tag {tag}, and 1.31.1 to install it"
    with pytest.raises(MachineError, match="one release") as error:
        source.gather_release(Progress("test"))
    assert "--mesh-istioctl" in error.value.remedy


def test_the_release_is_compared_before_istioctl_is_fetched() -> None:
    (problem,) = IstioSource("released", istioctl="1.31.1", tag="1.30.2").problems()
    assert "--mesh-tag 1.30.2" in problem.seen


@pytest.mark.parametrize(
    ("tag", "noted"),
    [("1.31.2", True), ("1.31.1", False), ("1.31.1-distroless", False), ("mine", False)],
)
def test_images_of_another_patch_are_noted(
    tag: str, noted: bool, istioctl: Callable[[str], Path]
) -> None:
    events: list[ProgressEvent] = []
    source = IstioSource("released", istioctl=str(istioctl(VERSION)), tag=tag)
    source.gather_release(Progress("test", events.append))
    assert [tag in each.detail for each in events] == [True] * noted


def test_hub_tag_and_variant_are_asked_of_istioctl(tmp_path: Path) -> None:
    program = tmp_path / "istioctl"
    program.write_text(
        f"#!/bin/sh\n[ \"$1\" = version ] && echo '{VERSION}' && exit\n"
        f'echo "$@" >{tmp_path}/asked; cat <<END\n{MESH}END\n'
    )
    program.chmod(0o755)
    source = IstioSource(
        "released", istioctl=str(program), hub="h.example/i", tag="t", variant="distroless"
    )
    images = source.describe()
    assert (tmp_path / "asked").read_text().split() == [
        *("manifest", "generate", "--set", "hub=h.example/i", "--set", "tag=t"),
        *("--set", "values.global.variant=distroless"),
    ]
    spec = yaml.safe_load(
        primary_operator(load_scenario(SCENARIOS / "multi-primary.yaml"), "cluster1", images)
    )["spec"]
    assert (spec["hub"], spec["tag"]) == ("h.example/i", "t")
    assert spec["values"]["global"]["variant"] == "distroless"
    assert spec["values"]["global"]["network"] == "network1"


@pytest.fixture
def metallb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Releases on this machine, of which MetalLB's is known; and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    digest = hashlib.sha256(METALLB.encode()).hexdigest()
    monkeypatch.setattr(versions, "METALLB_MANIFEST_SHA256", digest)
    (file,) = releases.metallb().files
    with serving(Site({f"metallb/{file.path}": METALLB.encode()})) as site:
        yield site


def test_a_manifest_is_fetched_once_and_keeps_its_images(metallb: Site) -> None:
    addresses = Addresses.of([metallb.url])
    file = released.metallb_manifest(Progress("test"), addresses)
    first, second = yaml.safe_load_all(file.read_text())
    (controller,) = first["spec"]["template"]["spec"]["containers"]
    assert controller["image"] == "metallb/controller:v1"
    assert controller["env"] == [{"name": "KEPT", "value": "y"}]
    assert second["spec"]["template"]["spec"]["volumes"] == []
    assert released.metallb_images(Progress("test"), addresses) == (
        "docker.io/metallb/controller:v1",
        "docker.io/metallb/speaker:v1",
    )
    assert len(metallb.asked) == 1


def test_a_manifest_that_cannot_be_had_or_is_another(
    metallb: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArtifactError, match="404") as error:
        released.metallb_manifest(Progress("test"), Addresses.of([f"{metallb.url}/other"]))
    assert "--mesh-parts built" in error.value.remedy
    monkeypatch.setattr(versions, "METALLB_MANIFEST_SHA256", "0" * 64)
    with pytest.raises(ArtifactError, match="with the SHA-256 0000"):
        released.metallb_manifest(Progress("test"), Addresses.of([metallb.url]))
    assert Cache(cache_root()).find([released_part("metallb", releases.metallb(), PUBLIC)]) == {}
