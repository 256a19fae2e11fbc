"""Labs whose parts are fetched as their projects release them, without Go; and when that fails."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mesh_fixtures.artifacts import releases, versions
from mesh_fixtures.artifacts.cache import Cache
from mesh_fixtures.artifacts.command import DISK_REMEDY
from mesh_fixtures.artifacts.part_source import RECORD, released_part
from mesh_fixtures.artifacts.releases import Addresses
from mesh_fixtures.errors import ArtifactError
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress
from tests.parts import published
from tests.parts.setting import Setting, setting
from tests.parts.site import Site, of, serving
from tests.released.faulty import Answer
from tests.small_disk import small_disk

SCENARIO = "multi-primary"
SECONDS = 900.0
PROGRESS = Progress("parts")


@pytest.fixture(scope="module")
def released() -> Iterator[Setting]:
    if os.geteuid() != 0:
        pytest.skip("labs are made by root alone")
    if shutil.which("go") is None:
        pytest.skip("releases are made of what is built here, by Go")
    with setting(PROGRESS) as found:
        yield found


def command(
    environment: Mapping[str, str], *arguments: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "mesh_fixtures.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=patient(SECONDS),
        check=False,
    )
    assert done.returncode == 0 or not check, f"{arguments}: {done.stderr}\n{done.stdout}"
    return done


def parts_in(cache: Path) -> dict[str, Path]:
    """Folders of all parts of a cache."""
    root = cache / "mesh-conformance/artifacts"
    return {
        part.name: entry for part in root.iterdir() for entry in part.iterdir() if entry.is_dir()
    }


@pytest.mark.timeout(2 * SECONDS)
def test_a_lab_is_made_of_releases(released: Setting) -> None:
    site, environment = released.site, released.environment
    site.taint = of("/kubelet", Answer(cut_off=10_000_000), times=2)
    try:
        printed = command(environment, "up", "--bare", SCENARIO, "--provider", "netns").stdout
        kubeconfig = printed.partition("KUBECONFIG=")[2].split()[0]
        parts = parts_in(released.cache)
        kubectl = parts["node-programs"] / "kubectl"
        listed = subprocess.run(
            [kubectl, "get", "nodes", "--output=json"],
            env={**environment, "KUBECONFIG": kubeconfig},
            capture_output=True,
            check=True,
        ).stdout
        for node in json.loads(listed)["items"]:
            seen = node["status"]["nodeInfo"]
            assert seen["kubeletVersion"] == f"v{versions.KUBERNETES}"
            assert seen["containerRuntimeVersion"] == f"containerd://{versions.CONTAINERD}"
        pods = subprocess.run(
            [kubectl, "get", "pods", "--all-namespaces", "--output=json"],
            env={**environment, "KUBECONFIG": kubeconfig},
            capture_output=True,
            check=True,
        ).stdout
        running = [
            each for each in json.loads(pods)["items"] if each["status"]["phase"] == "Running"
        ]
        images = {c["image"] for pod in running for c in pod["spec"]["containers"]}
        assert any(image.endswith(f"/metallb/speaker:v{versions.METALLB}") for image in images)

        records = {name for name, folder in parts.items() if (folder / RECORD).exists()}
        assert records == {
            *("kubernetes", "etcd", "coredns", "metallb", "node-runtime", "go"),
            "released-istioctl",
        }
        assert {"istio", "envoy"}.isdisjoint(parts)
        asked = Counter(site.paths())
        again = {path: times for path, times in asked.items() if times > 1}
        kubelet = next(path for path in asked if path.endswith("/kubelet"))
        assert again == {kubelet: 3}, "what broke off went on, all else came once"
        assert [each.range for each in site.asked if each.path == kubelet] == [
            *("", "bytes=10000000-", "bytes=20000000-")
        ]
        listed_images = command(environment, "images", "--provider", "netns").stdout
        pulled = [line for line in listed_images.splitlines() if " pulled " in line]
        assert len(pulled) == 4, "istiod, the proxy, MetalLB's controller and speaker"
        assert all(" sha256:" in line for line in pulled)
        site.asked.clear()
        command(environment, "up", "--bare", SCENARIO, "--provider", "netns")
        assert site.asked == []
    finally:
        command(environment, "down", SCENARIO, check=False)


@pytest.mark.timeout(SECONDS)
def test_its_images_are_taken_to_a_site_without_a_network(
    released: Setting, tmp_path: Path
) -> None:
    images = ("images", "--provider", "netns")
    command(released.environment, *images, "--save", str(tmp_path))
    assert len([*tmp_path.iterdir()]) == 4
    unreachable = {**released.environment, "DOCKER_CONFIG": "/nowhere"}
    loaded = command(unreachable, *images, "--load", str(tmp_path)).stdout
    assert len(loaded.splitlines()) == 4


def test_what_cannot_be_had_is_said_before_anything_is_made(released: Setting) -> None:
    addresses = f"kubernetes={released.site.url}/nowhere"
    environment = {**released.environment, "MESH_PARTS_FROM": f"{released.site.url} {addresses}"}
    environment["XDG_CACHE_HOME"] = str(released.cache / "other")
    done = command(environment, "doctor", "--provider", "netns", check=False)
    assert done.returncode == 1
    assert (
        f"missing: kubernetes {versions.KUBERNETES} at {released.site.url}/nowhere" in done.stdout
    )
    assert done.stdout.count("missing: ") == 1


def test_a_release_that_lacks_a_version_is_an_error_with_its_address(released: Setting) -> None:
    asked = ("up", "--bare", SCENARIO, "--provider", "netns", "--kubernetes", "1.35")
    done = command(released.environment, *asked, check=False)
    assert done.returncode != 0
    assert "HTTP 404" in done.stderr
    assert f"{released.site.url}/kubernetes/v1.35" in done.stderr
    assert "--parts built" in done.stderr


def test_a_full_disk_leaves_nothing_half(tmp_path: Path) -> None:
    files = published.ensure(PROGRESS)
    with serving(Site(files)) as site, small_disk(tmp_path / "disk") as disk:
        part = released_part("etcd", releases.etcd(), Addresses.of([site.url]))
        with pytest.raises(ArtifactError, match=os.strerror(errno.ENOSPC)) as caught:
            Cache(disk).ensure([part], PROGRESS)
        left = [each for each in (disk / "etcd").iterdir() if each.suffix != ".lock"]
    assert DISK_REMEDY in caught.value.remedy
    assert left == []
