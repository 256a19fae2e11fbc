"""Released images: what istioctl and a manifest say of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh_fixtures.artifacts import released, releases, versions
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.istio_source import IstioSource
from mesh_fixtures.artifacts.part_source import released_part
from mesh_fixtures.artifacts.releases import PUBLIC, Addresses
from mesh_fixtures.errors import ArtifactError, MachineError
from mesh_fixtures.images import ENVOY_LABEL, STOCK_ENVOY, values_for
from mesh_fixtures.install.method import primary_operator
from mesh_fixtures.options import Choice
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
    images = IstioSource("released", istioctl=str(istioctl(VERSION))).describe().images
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
    images = source.describe().images
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


EARLIER = VERSION.replace("1.31.1", "1.30.2")


def upgraded(tmp_path: Path, old: str, **others: Any) -> IstioSource:
    """To 1.31.1, as options would ask for it."""
    programs = {}
    for name, version in {"old": old, "new": VERSION}.items():
        programs[name] = tmp_path / name
        spec = "{template: {spec: {containers: [{image: '$hub/pilot:$tag'}]}}}"
        number = json.loads(version)["clientVersion"]["version"]
        programs[name].write_text(
            f"#!/bin/sh\n[ \"$1\" = version ] && echo '{version}' && exit\n"
            f"hub=hub tag={number}\n"
            'for each; do case $each in hub=*|tag=*) eval "$each";; esac; done\n'
            f"cat <<END\nkind: Deployment\nspec: {spec}\nEND\n"
        )
        programs[name].chmod(0o755)
    choice = Choice(
        istioctl=str(programs["new"]), upgrade_from=str(programs["old"]), parts="built", **others
    )
    return IstioSource.of(choice)


def test_a_release_that_is_upgraded(tmp_path: Path) -> None:
    described = upgraded(tmp_path, EARLIER, hub="h.example", tag="1.31.1-v2").describe()
    assert described.earlier is not None
    before = described.earlier.images
    assert (described.images.istio_version, before.istio_version) == ("1.31.1", "1.30.2")
    # the tag is that of the new one alone, the hub that of both
    assert (described.images.istio_tag, before.istio_tag) == ("1.31.1-v2", "")
    tags = {"tag": "1.31.1-v2", "upgrade_from_tag": "1.30.2-v7"}
    source = upgraded(tmp_path, EARLIER, hub="h.example", **tags)
    release = source.gather_release(Progress("test"))
    assert release.all_names == (
        *("h.example/pilot:1.31.1-v2", "h.example/proxyv2:1.31.1-v2"),
        *("h.example/pilot:1.30.2-v7", "h.example/proxyv2:1.30.2-v7"),
    )
    installed = release.installed_before
    assert installed is not None
    assert installed.istioctl == tmp_path / "old"
    assert source.problems() == []


def test_each_release_has_the_settings_that_its_proxy_needs(tmp_path: Path) -> None:
    release = upgraded(tmp_path, EARLIER).gather_release(Progress("test"))
    stock = {ENVOY_LABEL: STOCK_ENVOY}
    fitted = release.fitted(lambda name: stock if name.endswith(":1.30.2") else {})
    assert fitted.images.istio_values == {}
    assert fitted.installed_before is not None
    assert fitted.installed_before.images.istio_values == values_for(stock)


@pytest.mark.parametrize("old", ["1.29.5", "1.31.1", "1.32.0"])
def test_an_upgrade_that_istio_does_not_support(tmp_path: Path, old: str) -> None:
    source = upgraded(tmp_path, VERSION.replace("1.31.1", old))
    with pytest.raises(MachineError, match=f"{old} and 1.31.1"):
        source.gather_release(Progress("test"))


def test_what_is_missing_of_the_earlier_release_names_its_options(tmp_path: Path) -> None:
    source = upgraded(tmp_path, EARLIER, upgrade_from_tag="1.29.1")
    (problem,) = source.problems()
    assert problem.seen == "--mesh-upgrade-from-tag 1.29.1, and 1.30.2 to install it"
    assert "--mesh-upgrade-from " in problem.remedy
    gone = IstioSource.of(Choice(istioctl="1.31.1", upgrade_from="/nowhere"))
    (problem,) = gone.problems()
    assert (problem.missing, problem.remedy) == (
        "the program /nowhere",
        "install the istioctl of a release, or name one by --mesh-upgrade-from",
    )


@pytest.mark.parametrize(
    ("charts", "of_earlier", "taken"),
    [
        ("oci://h.example/charts", "", "oci://h.example/charts"),
        ("oci://h.example/charts", "/older", "/older"),
        ("/charts", "/older", "/older"),
        ("/charts", "", ""),
    ],
)
def test_charts_of_the_earlier_release(charts: str, of_earlier: str, taken: str) -> None:
    choice = Choice(
        install="helm",
        charts=charts,
        istioctl="1.31.1",
        upgrade_from="1.30.2",
        upgrade_from_charts=of_earlier,
    )
    earlier = IstioSource.of(choice).earlier
    assert earlier is not None
    assert earlier.charts == taken
    missing = [each for each in earlier.problems() if each.missing == "charts of the release"]
    assert [each.remedy.endswith("by --mesh-upgrade-from-charts") for each in missing] == (
        [] if taken else [True]
    )


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
