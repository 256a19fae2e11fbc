"""The environment in which kind's own tests run: what can be told without starting it."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_fixtures.artifacts import gobuild, versions
from mesh_fixtures.artifacts.parts import keys_of
from mesh_fixtures.errors import ArtifactError
from tests.kind_environment import (
    catalog,
    isolation,
    node_image,
    node_programs,
    oci_runtime,
    packages,
    podman,
    podman_image,
    release,
)
from tests.kind_environment.__main__ import main
from tests.kind_environment.status import CANNOT_RUN, USAGE
from tests.kind_environment.world import World

KUBERNETES = (gobuild.SOURCES / "kubernetes/go.mod").read_text()
NODE = (node_programs.MODULES / "node/go.mod").read_text()


def required(module: str) -> dict[str, str]:
    """Versions by module that a go.mod requires."""
    blocks = re.findall(r"^require \((.*?)^\)", module, re.MULTILINE | re.DOTALL)
    return dict(re.findall(r"^\t(\S+) (v\S+)", "".join(blocks), re.MULTILINE))


def test_modules_require_the_pinned_versions() -> None:
    assert required(NODE)["k8s.io/kubernetes"] == f"v{versions.KUBERNETES}"
    assert required(NODE)["sigs.k8s.io/cri-tools"] == f"v{node_programs.CRI_TOOLS}"
    coredns = (node_programs.MODULES / "coredns/go.mod").read_text()
    assert f"github.com/coredns/coredns v{versions.COREDNS}" in coredns


def test_what_kubernetes_has_compiled_serves_kubeadm_too() -> None:
    of_kubernetes, of_node = required(KUBERNETES), required(NODE)
    common = set(of_kubernetes) & set(of_node)
    assert len(common) > 50
    assert {name for name in common if of_kubernetes[name] != of_node[name]} == set()
    staged = re.compile(r"(k8s\.io/\S+ => k8s\.io/\S+ v\S+)")
    assert set(staged.findall(NODE)) == set(staged.findall(KUBERNETES))


def test_coredns_orders_every_plugin_that_it_has() -> None:
    source = (node_programs.MODULES / "coredns/cmd/coredns/main.go").read_text()
    order = re.search(r"var order = \[\]string\{(.*?)\n\}", source, re.DOTALL)
    assert order is not None
    ordered = set(re.findall(r'"(\w+)"', order[1]))
    assert set(re.findall(r"coredns/plugin/(\w+)", source)) - ordered == {"metrics"}
    assert "prometheus" in ordered, "the directive of the plugin metrics"


def test_parts_come_after_what_they_need() -> None:
    keys = keys_of(catalog.parts())
    assert len(set(keys.values())) == len(keys)
    assert {"kind", packages.NAME, node_image.NAME, "kubernetes"} <= set(keys)
    with_podman = keys_of(catalog.parts("podman"))
    assert set(with_podman) - set(keys) == {packages.PODMAN, podman_image.NAME}
    assert {name: with_podman[name] for name in keys} == keys


SIMULATION = """\
NOTE: This is only a simulation!
The following NEW packages will be installed:
  docker.io runc
Inst libseccomp2 (2.5.4-1+deb12u1 Debian:12.15/oldstable [amd64])
Inst runc (1.1.5+ds1-1+deb12u1 Debian:12.15/oldstable, Debian-Security:12 [amd64]) []
Conf libseccomp2 (2.5.4-1+deb12u1 Debian:12.15/oldstable [amd64])
"""


def test_packages_to_install_are_read_from_a_simulation() -> None:
    assert packages.to_install(SIMULATION) == ["libseccomp2", "runc"]
    assert packages.to_install("docker.io is already the newest version.\n") == []


def test_apt_resolves_for_the_other_root() -> None:
    told = packages.options_for(Path("/base"))
    assert "Dir::State::status=/base/var/lib/dpkg/status" in told
    assert all(option.partition("=")[2].startswith("/base/") for option in told)


NAMES = st.sets(st.sampled_from(oci_runtime.CAPABILITIES))


@given(wanted=NAMES, allowed=NAMES)
def test_no_capability_is_asked_for_that_is_not_granted(
    wanted: set[str], allowed: set[str]
) -> None:
    process = {"args": ["sh"], "capabilities": {"bounding": sorted(wanted), "ambient": []}}
    kept = oci_runtime.restrict(process, frozenset(allowed))
    assert set(kept["capabilities"]["bounding"]) == wanted & allowed
    assert kept["args"] == ["sh"]
    assert process["capabilities"] == {"bounding": sorted(wanted), "ambient": []}


def test_process_without_capabilities_stays_as_it_is() -> None:
    assert oci_runtime.restrict({"args": ["sh"]}, frozenset()) == {"args": ["sh"]}


@given(st.sets(st.integers(0, len(oci_runtime.CAPABILITIES) - 1)))
def test_granted_capabilities_are_read_by_their_numbers(numbers: set[int]) -> None:
    bits = sum(1 << number for number in numbers)
    told = oci_runtime.granted(f"CapEff:\t0000000000000000\nCapBnd:\t{bits:016x}\nCapAmb:\t0\n")
    assert told == {oci_runtime.CAPABILITIES[number] for number in numbers}


def test_numbers_of_capabilities() -> None:
    assert oci_runtime.CAPABILITIES.index("CAP_SYS_ADMIN") == 21
    assert oci_runtime.CAPABILITIES.index("CAP_SYS_RESOURCE") == 24
    assert oci_runtime.CAPABILITIES.index("CAP_CHECKPOINT_RESTORE") == 40


def test_status_without_capabilities_is_refused() -> None:
    with pytest.raises(ValueError, match="CapBnd"):
        oci_runtime.granted("Name:\tcat\n")


def test_options_of_runc_are_found_in_both_spellings() -> None:
    arguments = ["--root", "/r", "create", "--bundle", "/b", "--pid-file=/p", "id"]
    assert oci_runtime.option(arguments, "--bundle", "-b") == "/b"
    assert oci_runtime.option(arguments, "--pid-file") == "/p"
    assert oci_runtime.option(arguments, "--process", "-p") is None
    assert oci_runtime.option(["--bundle"], "--bundle") is None


@pytest.mark.parametrize(
    ("image", "own"),
    [
        ("registry.example/istio/pilot:1.31", "pilot"),
        ("proxyv2:1", "proxyv2"),
        ("registry.example:5000/metallb/speaker:v1", "metallb-speaker"),
        ("istio/examples-helloworld-v2:1.0", "helloworld-v2"),
        ("curlimages/curl:8", "sleep"),
    ],
)
def test_what_stands_in_for_a_released_image(image: str, own: str) -> None:
    assert release.built_as(image) == f"{versions.IMAGE_HUB}/{own}"


def test_nothing_stands_in_for_an_image_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="kube-novelty"):
        release.built_as("istio/kube-novelty:1")


def test_docker_is_told_what_an_archive_of_oci_images_holds(tmp_path: Path) -> None:
    contents = {
        "index.json": {
            "manifests": [
                {"digest": "sha256:m", "annotations": {"io.containerd.image.name": "hub/a:1"}}
            ]
        },
        "blobs/sha256/m": {"config": {"digest": "sha256:c"}, "layers": [{"digest": "sha256:l"}]},
    }
    with tarfile.open(tmp_path / "oci.tar", "w") as archive:
        for name, content in contents.items():
            data = json.dumps(content).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    release.make_loadable(tmp_path / "oci.tar", tmp_path / "both.tar")
    with tarfile.open(tmp_path / "both.tar") as archive:
        assert set(archive.getnames()) == {*contents, "manifest.json"}
        told = archive.extractfile("manifest.json")
        assert told is not None
        assert json.load(told) == [
            {
                "Config": "blobs/sha256/c",
                "RepoTags": ["hub/a:1"],
                "Layers": ["blobs/sha256/l"],
            }
        ]


IMAGES = [
    "registry.example/kube-apiserver:v1.36.3",
    "registry.example/kube-proxy:v1.36.3",
    "registry.example/coredns/coredns:v1.14.2",
    "registry.example/pause:3.10.2",
    "registry.example/etcd:3.6.8-0",
]


def spec_of(names: list[str]) -> dict[str, list[dict[str, object]]]:
    needs = node_image.node_image().needs
    parts = {name: Path("/") / name for name in needs}
    told = node_image.image_spec(names, parts, Path("/programs"))
    return json.loads(json.dumps(told))  # type: ignore[no-any-return]


def test_images_are_named_as_kubeadm_asks_for_them() -> None:
    spec = spec_of(IMAGES)
    assert [image["name"] for image in spec["images"]] == IMAGES
    for image in spec["images"]:
        layers = image["layers"]
        assert isinstance(layers, list)
        assert layers
        assert set(layers) <= set(spec["layers"])


def test_image_that_nothing_is_known_of_is_an_error() -> None:
    with pytest.raises(ArtifactError, match="kube-novelty"):
        spec_of([*IMAGES, "registry.example/kube-novelty:v1"])


def test_layers_are_found_among_blobs(tmp_path: Path) -> None:
    manifest = {"config": {"digest": "sha256:c"}, "layers": [{"digest": "sha256:a"}]}
    index = {"manifests": [{"digest": "sha256:m"}]}
    for name, content in (("m", manifest), ("i", index), ("c", {"rootfs": {}})):
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "a").write_bytes(b"\0" * (2**20 + 1))
    assert node_image.layer_digests(tmp_path) == {"a"}


def test_units_of_nodes_are_among_their_files() -> None:
    folder = node_image.FILES / "usr/lib/systemd/system"
    assert {file.name for file in folder.iterdir()} == set(node_image.UNITS)
    assert (node_image.FILES / node_image.ENTRYPOINT[0].lstrip("/")).stat().st_mode & 0o111


def test_world_survives_being_told() -> None:
    world = World("/f", ["/a", "/b"], "group", ["ls", "-l"], "/", "/store", {"A": "ä b"})
    assert World.from_json(world.to_json()) == world
    assert isolation.command_of(world)[-1] == world.to_json()


def test_containers_of_podman_are_in_the_environments_control_group(tmp_path: Path) -> None:
    told = tmp_path / "nsenter"
    told.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    told.chmod(0o755)
    script = tmp_path / "podman"
    script.write_text(podman.wrapper(42, "group"))

    def run(*arguments: str) -> list[str]:
        done = subprocess.run(
            ["sh", str(script), *arguments],
            env={"PATH": f"{tmp_path}:{os.defpath}"},
            capture_output=True,
            text=True,
            check=True,
        )
        lines = done.stdout.splitlines()
        assert lines[0] == "--mount=/proc/42/ns/mnt"
        return lines[lines.index("podman") + 1 :]

    assert run("run", "-d", "a b") == ["run", "--cgroup-parent=/group", "-d", "a b"]
    assert run("create", "image") == ["create", "--cgroup-parent=/group", "image"]
    assert run("exec", "run") == ["exec", "run"]
    assert run() == []


def test_podman_asks_for_no_more_than_the_machine_grants() -> None:
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = tomllib.loads(podman.containers_conf())
    assert f"nofile={files}:{files}" in told["containers"]["default_ulimits"]
    world = World("/f", ["/a"], "group", ["ls"], "/", "/store", engine="podman")
    options = tomllib.loads(podman.storage_conf(world))["storage"]
    assert options["graphroot"] == "/f/podman"
    assert options["options"]["additionalimagestores"] == ["/store"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["--"], ["ls"], ["--engine", "x", "--", "ls"], ["--engine", "podman"]],
)
def test_bad_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == USAGE
    assert (
        "usage: python -m tests.kind_environment [--engine docker|podman] --"
        in capsys.readouterr().err
    )


def test_machine_that_cannot_run_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mesh_fixtures.lab.netns.machine.problems", list)
    monkeypatch.setattr("mesh_fixtures.artifacts.build.problems", tuple)
    monkeypatch.setattr("mesh_fixtures.lab.netns.cgroups.is_version_2", lambda: True)
    assert main(["--", "true"]) == CANNOT_RUN
    told = capsys.readouterr().err
    assert "version 2" in told
    assert "--mesh-provider kind" in told


WAITING = """
import os, sys
from tests.kind_environment import waiting
waiting.block()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, setsigmask=[])
print(pid, flush=True)
sys.exit(waiting.wait_for(pid, lambda: pid))
"""


def waiting_for(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WAITING, *command],
        cwd=isolation.PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_exit_status_is_the_commands() -> None:
    with waiting_for("sh", "-c", "exit 7") as process:
        assert process.wait(timeout=30) == 7


def test_signals_are_passed_on_to_the_command() -> None:
    with waiting_for("sleep", "60") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
