"""What is said of a machine that cannot run kind, and which provider fits a machine."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh_fixtures import providers
from mesh_fixtures.artifacts.istio_source import IstioRelease, IstioSource
from mesh_fixtures.contract import Tools
from mesh_fixtures.errors import LabError, MachineError
from mesh_fixtures.images import ImageSet
from mesh_fixtures.lab import inotify
from mesh_fixtures.lab.kind import machine, parts
from mesh_fixtures.lab.kind.engine import CHOICE, Engine, EngineContainer, chosen
from mesh_fixtures.lab.kind.parts import Parts, Wanted, missing_parts
from mesh_fixtures.lab.kind.provider import answering_engine
from mesh_fixtures.lab.netns.provider import kubernetes_version
from mesh_fixtures.options import Choice

Install = Callable[[str, str], None]

ISTIOCTL = """echo '{{"clientVersion": {{"version": "{}"}}}}'"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a program with the given shell script into an otherwise bare PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv(CHOICE, raising=False)

    def install(name: str, script: str) -> None:
        program = folder / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return install


@pytest.fixture(autouse=True)
def forget_provider() -> Iterator[None]:
    answering_engine.cache_clear()  # what other tests made of this machine
    yield
    answering_engine.cache_clear()


def test_no_engine(install: Install) -> None:
    assert machine.usable_engine() is None
    assert [each.missing for each in machine._why_no_engine()] == ["Docker or Podman"]


def test_engine_that_does_not_run(install: Install) -> None:
    install("docker", "echo 'Cannot connect to the Docker daemon at unix:///x' >&2; exit 1")
    (problem,) = Engine("docker").problems()
    assert problem.missing.startswith("a running Docker (Cannot connect")
    assert problem.remedy == "start Docker"


def test_engine_whose_client_alone_answers(install: Install) -> None:
    install("docker", """echo '{"ServerErrors": ["Cannot connect to the Docker daemon"]}'""")
    (problem,) = Engine("docker").problems()
    assert problem.missing.startswith("a running Docker")


def test_engine_that_one_may_not_use(install: Install) -> None:
    install("docker", "echo 'permission denied while trying to connect' >&2; exit 1")
    (problem,) = Engine("docker").problems()
    assert problem.missing.startswith("the permission to use Docker")
    assert "group" in problem.remedy


def test_the_second_engine_is_used_where_the_first_does_not_answer(install: Install) -> None:
    install("docker", "exit 1")
    install("podman", "echo '{}'")
    assert machine.usable_engine() == Engine("podman")


def test_engine_that_kind_is_told_to_use(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CHOICE, "podman")
    assert chosen() == (Engine("podman"),)
    monkeypatch.setenv(CHOICE, "nerdctl")
    (problem,) = machine._why_no_engine()
    assert problem.remedy == "unset KIND_EXPERIMENTAL_PROVIDER"


def test_failed_command_is_told_with_its_output(install: Install) -> None:
    install("docker", "echo 'no such network' >&2; exit 3")
    with pytest.raises(LabError, match="exit status 3: no such network"):
        Engine("docker").subnet_of("mesh-1")


def test_limits_of_file_watches(tmp_path: Path) -> None:
    (tmp_path / "max_user_instances").write_text("128\n")
    (tmp_path / "max_user_watches").write_text("1000\n")
    found = inotify.problems(100, 25, tmp_path)
    assert [each.missing.split()[0] for each in found] == [
        "fs.inotify.max_user_instances",
        "fs.inotify.max_user_watches",
    ]
    assert found[0].remedy.startswith("sysctl fs.inotify.max_user_instances=")
    (tmp_path / "max_user_instances").write_text("1000000\n")
    (tmp_path / "max_user_watches").write_text("1000000\n")
    assert inotify.problems(100, 25, tmp_path) == []


@pytest.mark.parametrize(
    ("held", "users"),
    [({}, []), ({1337: 125}, ["1337"]), ({0: 80}, ["0"]), ({0: 127, 1337: 127}, ["0", "1337"])],
)
def test_instances_are_counted_by_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: dict[int, int], users: list[str]
) -> None:
    (tmp_path / "max_user_instances").write_text("128\n")
    (tmp_path / "max_user_watches").write_text("1000000\n")
    monkeypatch.setattr(inotify, "_instances_in_use", lambda proc: Counter(held))
    found = inotify.problems(2, 25, tmp_path)
    assert [re.findall(r"for user (\d+)", each.missing) for each in found] == (
        [users] if users else []
    )
    for problem in found:
        better = int(problem.remedy.rpartition("=")[2])
        (tmp_path / "max_user_instances").write_text(f"{better}\n")
        assert inotify.problems(2, 25, tmp_path) == []


def test_instances_of_a_process_are_its_users(tmp_path: Path) -> None:
    files = tmp_path / "proc/7/fd"
    files.mkdir(parents=True)
    for number, target in enumerate(("anon_inode:inotify", "/dev/null", "anon_inode:inotify")):
        (files / str(number)).symlink_to(target)
    (tmp_path / "proc/version").touch()
    (tmp_path / "max_user_instances").write_text("1\n")
    (tmp_path / "max_user_watches").write_text("1000000\n")
    if os.geteuid() == 0:
        os.chown(tmp_path / "proc/7", 1337, 1337)
    (problem,) = inotify.problems(1, 0, tmp_path, tmp_path / "proc")
    assert ("holds 2" in problem.missing) == (os.geteuid() == 0)


def test_auto_is_the_embedded_lab_for_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert str(providers.choose(Choice())) == "netns (auto: root on Linux)"


def test_auto_is_kind_for_others(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    install("podman", "echo '{}'")
    assert str(providers.choose(Choice())) == "kind (auto: not root, Podman answers)"


def test_auto_says_what_each_provider_needs(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(MachineError) as error:
        providers.choose(Choice())
    assert "netns needs Linux and root" in error.value.remedy
    assert "kind needs Linux and Docker or Podman" in error.value.remedy


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (Choice("netns", kubernetes="1.35.0"), "1.36.3, 1.37.2, 1.35.4, 1.34.4"),
        (Choice("netns", kubernetes="1.32"), "1.36.3, 1.37.2, 1.35.4, 1.34.4"),
        (Choice("netns", kubernetes="kindest/node:v1.35.4"), "1.36.3, 1.37.2"),
        (Choice("netns", charts="/charts"), "--mesh-install helm"),
        (Choice("netns", gateways="gateway-api", charts="/charts"), "--mesh-gateways helm"),
        (Choice("netns", gateways="helm", upgrade_from="b01690e6db7d"), "method of the mesh"),
        (Choice("kind", images="built", istioctl="1.30.1"), "released images"),
        (Choice("netns", images="built", hub="hub.example"), "released images"),
        (Choice("netns", istio="b01690e6db7d", variant="debug"), "built images"),
        (Choice("netns", registry_mirrors=("docker.io",)), "REGISTRY=URL"),
    ],
)
def test_what_the_embedded_lab_cannot_do(choice: Choice, wanted: str) -> None:
    with pytest.raises(MachineError, match=wanted):
        providers.make(choice)


@pytest.mark.parametrize(
    ("asked", "version"),
    [
        *(
            ("", "1.36.3"),
            ("1.37", "1.37.2"),
            ("1.36", "1.36.3"),
            ("1.35", "1.35.4"),
            ("v1.34", "1.34.4"),
        ),
        *(("1.33.13", "1.33.13"), ("v1.36.3", "1.36.3")),
    ],
)
def test_versions_of_kubernetes_that_the_embedded_lab_builds(asked: str, version: str) -> None:
    assert kubernetes_version(asked) == version


def of_kind(**choice: Any) -> IstioSource:
    asked: dict[str, Any] = {"parts": "built", **choice}
    return IstioSource.of(Choice("kind", **asked), path_counts=True)


def test_released_images_where_there_is_an_istioctl(install: Install) -> None:
    assert not of_kind().is_released
    install("istioctl", ISTIOCTL.format("1.31.0"))
    assert of_kind().is_released
    assert not of_kind(images="built").is_released
    assert not of_kind(istio="b01690e6db7d").is_released
    assert not IstioSource.of(Choice("netns")).is_released
    install("kind", "")
    assert [each.missing for each in missing_parts(Wanted(of_kind()))] == ["the program kubectl"]


def test_released_parts_are_not_missing(install: Install) -> None:
    assert missing_parts(Wanted(of_kind(parts="released"))) == []
    nowhere = {"parts": "auto", "parts_from": ("http://127.0.0.1:1",), "istioctl": "1.30.1"}
    found = [each.missing for each in missing_parts(Wanted(of_kind(**nowhere)))]
    assert found[0] == "the program kubectl"


@pytest.mark.parametrize("name", ["istioctl", "hub", "tag", "variant"])
def test_released_images_where_something_of_a_release_is_named(install: Install, name: str) -> None:
    assert of_kind(**{name: "1.30.1"}).is_released
    named: dict[str, Any] = {name: "1.30.1"}
    assert IstioSource.of(Choice("netns", **named)).is_released


@pytest.mark.parametrize(("processors", "suffice"), [(2, False), (3, True), (None, True)])
def test_an_upgrade_takes_room_for_two_istiods(
    install: Install, monkeypatch: pytest.MonkeyPatch, processors: int | None, suffice: bool
) -> None:
    install("kind", "")
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    for asked in ({"upgrade_from": "b01690e6db7d"}, {}):
        found = missing_parts(Wanted(of_kind(**asked)))
        assert [each.seen for each in found] == ([] if suffice or not asked else ["2"])


def test_what_is_missing_for_a_release(install: Install) -> None:
    for name in ("kind", "kubectl"):
        install(name, "")
    assert missing_parts(Wanted(of_kind(istioctl="1.30.1"))) == []
    (problem,) = missing_parts(Wanted(of_kind(istioctl="1.30.1", install="helm")))
    assert problem.missing == "charts of the release"
    assert "--mesh-charts" in problem.remedy
    (problem,) = missing_parts(Wanted(of_kind(istioctl="1.23.0")))
    assert (problem.missing, problem.seen) == ("Istio 1.24 to 1.32", "1.23.0")
    by_api = of_kind(istioctl="1.29.4", gateways="gateway-api")
    (problem,) = missing_parts(Wanted(by_api))
    assert (problem.missing, problem.seen) == ("Istio 1.30 to 1.32", "1.29.4")
    (problem,) = missing_parts(Wanted(of_kind(istioctl="/nowhere/istioctl")))
    assert problem.missing == "the program /nowhere/istioctl"
    (problem,) = missing_parts(Wanted(of_kind(tag="1.30.1")))
    assert problem.missing == "the program istioctl"
    (problem,) = missing_parts(Wanted(of_kind(istioctl="1.30.1", registry_ca="/nowhere.pem")))
    assert (problem.missing, problem.remedy) == (
        "the file /nowhere.pem",
        "name another by --mesh-registry-ca",
    )


@pytest.mark.parametrize("is_built", [True, False])
def test_kind_that_was_built_needs_no_go(
    install: Install, monkeypatch: pytest.MonkeyPatch, is_built: bool
) -> None:
    monkeypatch.setattr(parts, "is_kind_built", lambda: is_built)
    found = missing_parts(Wanted(of_kind(images="built")))
    assert [each.missing for each in found] == ([] if is_built else ["the program kind"])


@pytest.mark.parametrize(("release", "lacking"), [("1.32.0", 0), ("1.23.6", 1), ("1.33.0", 1)])
def test_the_release_of_the_istioctl_in_path(install: Install, release: str, lacking: int) -> None:
    for name in ("kind", "kubectl"):
        install(name, "")
    install("istioctl", ISTIOCTL.format(release))
    found = missing_parts(Wanted(of_kind()))
    assert [each.seen for each in found] == [release] * lacking


@pytest.mark.parametrize("version", ["1.32.9", "v1.38.0", "latest"])
def test_versions_of_kubernetes_that_labs_are_not_made_for(version: str) -> None:
    with pytest.raises(MachineError, match=r"wanted Kubernetes 1\.33 to 1\.37"):
        providers.make(Choice("kind", kubernetes=version))
    providers.make(Choice("kind", kubernetes=f"registry.example/node:{version}"))
    providers.make(Choice("kind", kubernetes="1.34.0"))


DOCKER = """
case "$1 $2 $*" in
"pull "*) [ "${3##*/}" != proxyv2:gone ] && touch "$HELD/${3##*/}" || { echo denied >&2; exit 1; };;
"image inspect "*Labels*) echo '{"org.mesh-conformance.envoy": "stock"}';;
"image inspect "*) for image; do :; done; [ -e "$HELD/${image##*/}" ] && echo "sha256:$HELD_ID";;
esac
"""


@pytest.fixture
def held(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with a file for each image that Docker holds."""
    install("docker", DOCKER)
    folder = tmp_path / "held"
    folder.mkdir()
    monkeypatch.setenv("HELD", str(folder))
    monkeypatch.setenv("HELD_ID", "1")
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/bin:/bin")
    return folder


def parts_of_release(tag: str) -> Parts:
    names = (f"hub.example/pilot:{tag}", f"hub.example/proxyv2:{tag}")
    images = ImageSet("released", tag, "", "", {}, "sleep")
    return Parts(
        digest="digest",
        kind=Path("kind"),
        tools=Tools(Path("kubectl"), Path("istioctl")),
        node_image="",
        images=images,
        metallb=[],
        images_of_host=(*names, "sleep:1"),
        release=IstioRelease(Path("istioctl"), images, names),
    )


def test_docker_pulls_the_images_of_a_release_and_says_what_they_need(
    held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (held / "pilot:1").touch()
    parts = parts_of_release("1").on(Engine("docker"))
    assert (held / "proxyv2:1").exists()
    assert parts.images_of_host == ("hub.example/pilot:1", "hub.example/proxyv2:1")
    assert parts.images.istio_values["telemetry"] == {"enabled": False}
    monkeypatch.setenv("HELD_ID", "2")
    assert parts_of_release("1").on(Engine("docker")).digest != parts.digest


def test_an_image_of_a_release_that_docker_cannot_pull(held: Path) -> None:
    with pytest.raises(LabError, match="denied") as error:
        parts_of_release("gone").on(Engine("docker"))
    assert "docker pull hub.example/proxyv2:gone" in error.value.remedy


def test_nodes_are_found_by_their_names(install: Install) -> None:
    install("docker", "printf 'a1 mesh-1234-east-worker\\nb2 mesh-9999-east-control-plane\\n'")
    assert Engine("docker").containers("mesh-1234-") == [
        EngineContainer("a1", "mesh-1234-east-worker")
    ]


def test_volumes_of_nodes_are_found_by_their_labels(install: Install) -> None:
    labels = '{"mesh-1234-east-worker": "true"}', '{"mesh-9999-east-worker": "true"}', "null"
    listed = ", ".join(
        f'{{"Name": "v{number}", "Labels": {each}}}' for number, each in enumerate(labels)
    )
    install("podman", f"echo '[{listed}]'")
    install("docker", "exit 1")
    assert Engine("podman").volumes("mesh-1234-") == ["v0"]
    assert Engine("docker").volumes("mesh-1234-") == []


@pytest.mark.parametrize("said", ["", "[]", "null"])
def test_where_there_are_no_volumes(install: Install, said: str) -> None:
    install("podman", f"echo '{said}'")
    assert Engine("podman").volumes("mesh-1234-") == []
