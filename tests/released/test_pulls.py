"""Pulls from a real registry: what comes, and where nothing does, what is said and left."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from mesh_fixtures import cli
from mesh_fixtures.artifacts import images, pulling
from mesh_fixtures.artifacts.pulling import PullError, Registries
from mesh_fixtures.progress import Progress, ProgressEvent
from tests.released.conftest import TAG, Parts
from tests.released.faulty import Answer, Front, Taint, of_blobs, of_manifests
from tests.released.registry import (
    INDEX,
    PASSWORD,
    USER,
    Registry,
    auths,
    running,
    write_docker_config,
)
from tests.small_disk import small_disk

PROGRESS = Progress("test")


def names(host: str, tag: str = TAG) -> tuple[str, ...]:
    return tuple(f"{host}/istio/{name}:{tag}" for name in ("pilot", "proxyv2"))


def there(folder: Path) -> list[str]:
    """What is kept, whole or not; locks stay."""
    if not folder.exists():
        return []
    return sorted(each.name for each in folder.iterdir() if each.suffix != ".lock")


class Notes(list[str]):
    """Remarks of progress."""

    def __call__(self, event: ProgressEvent) -> None:
        if event.outcome == "note":
            self.append(event.detail)


def test_images_are_pulled_by_their_digests(
    own_cache: Path, serving: Registry, front: Front
) -> None:
    registries = Registries(str(serving.ca))
    digests = pulling.pull(names(front.host), registries, PROGRESS)
    kept = pulling.kept(names(front.host))
    assert kept is not None
    assert kept.digests == digests
    assert (kept.folder / images.ARCHIVE).stat().st_size > 2**20
    asked = [path for method, path in front.asked if method == "GET" and "/manifests/" in path]
    assert asked
    assert all("/manifests/sha256:" in path for path in asked)
    front.asked.clear()
    assert pulling.resolve(names(front.host), registries, PROGRESS) == digests
    assert {method for method, path in front.asked if "/istio/" in path} == {"HEAD"}


CUT_OFF = Answer(cut_off=1000)
FLIPPED = Answer(flipped=True)
LATER = {"Retry-After": "300"}
SOON = {"Retry-After": "1"}


@pytest.mark.parametrize(
    ("taint", "kind", "remedy"),
    [
        (of_manifests(Answer(401)), "unauthorized", "docker login 127.0.0.1"),
        (of_manifests(Answer(403)), "forbidden", "may not pull it"),
        (of_manifests(Answer(404)), "not-found", "--mesh-tag"),
        (of_manifests(Answer(429, LATER)), "rate-limited", "try again after 300 s"),
        (of_manifests(Answer(503, SOON)), "unreachable", "images --save DIR"),
        (of_blobs(Answer(404)), "not-found", "--mesh-tag"),
        (of_blobs(CUT_OFF), "broken-off", "images --save DIR"),
        (of_blobs(FLIPPED), "digest", "changed the content"),
        (of_manifests(FLIPPED), "digest", "changed the content"),
    ],
)
def test_what_cannot_be_pulled_is_said_and_leaves_nothing(
    own_cache: Path, serving: Registry, front: Front, taint: Taint, kind: str, remedy: str
) -> None:
    front.taint = taint
    with pytest.raises(PullError) as error:
        pulling.pull(names(front.host), Registries(str(serving.ca)), PROGRESS)
    assert error.value.kind == kind
    assert error.value.where == front.host
    assert f"{front.host}/istio/pilot:{TAG}" in error.value.wanted
    assert remedy in error.value.remedy
    assert there(own_cache) == []
    front.taint = None
    assert pulling.pull(names(front.host), Registries(str(serving.ca)), PROGRESS)


@pytest.mark.parametrize(
    "taint",
    [
        of_blobs(CUT_OFF, 2),
        of_blobs(Answer(503, SOON), 2),
        of_manifests(Answer(429, SOON), 1),
    ],
)
def test_what_is_temporary_is_tried_again(
    own_cache: Path, serving: Registry, front: Front, taint: Taint
) -> None:
    front.taint = taint
    assert pulling.pull(names(front.host), Registries(str(serving.ca)), PROGRESS)


def test_an_authority_that_nobody_named(own_cache: Path, serving: Registry) -> None:
    with pytest.raises(PullError) as error:
        pulling.pull(names(serving.host), Registries(), PROGRESS)
    assert error.value.kind == "certificate"
    assert "--mesh-registry-ca" in error.value.remedy
    assert there(own_cache) == []


def test_an_authority_of_the_environment(
    own_cache: Path, serving: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(serving.ca))
    assert pulling.pull(names(serving.host), Registries(), PROGRESS)


def test_a_wrong_password(
    own_cache: Path, serving: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in (auths(serving.host, password="another"), {}):
        config = write_docker_config(tmp_path / "docker", content)
        monkeypatch.setenv("DOCKER_CONFIG", str(config))
        with pytest.raises(PullError) as error:
            pulling.pull(names(serving.host), Registries(str(serving.ca)), PROGRESS)
        assert error.value.kind == "unauthorized"


def test_a_credential_helper(
    own_cache: Path, serving: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = json.dumps({"ServerURL": serving.host, "Username": USER, "Secret": PASSWORD})
    helper = tmp_path / "docker-credential-mesh-test"
    helper.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{said}'\n")
    helper.chmod(0o755)
    config = write_docker_config(tmp_path / "docker", {"credHelpers": {serving.host: "mesh-test"}})
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert pulling.pull(names(serving.host), Registries(str(serving.ca)), PROGRESS)


def test_a_full_disk(
    own_cache: Path, serving: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        monkeypatch.setenv("XDG_CACHE_HOME", str(disk))
        with pytest.raises(PullError) as error:
            pulling.pull(names(serving.host), Registries(str(serving.ca)), PROGRESS)
        assert there(disk / "mesh-conformance/artifacts" / pulling.PART) == []
    assert error.value.kind == "disk"
    assert "free space" in error.value.remedy


def test_a_mirror_is_asked_first(own_cache: Path, serving: Registry) -> None:
    registries = Registries(str(serving.ca), (f"hub.example=https://{serving.host}",))
    digests = pulling.pull(names("hub.example"), registries, PROGRESS)
    own = pulling.resolve(names(serving.host), registries, PROGRESS)
    assert sorted(digests.values()) == sorted(own.values())


def test_the_image_of_this_machine_is_taken_out_of_an_index(
    own_cache: Path, serving: Registry
) -> None:
    kind, manifest = serving.manifest("istio/pilot", TAG)
    own = serving.put_manifest("istio/pilot", f"{TAG}-own", kind, manifest)
    machine = platform.machine().replace("x86_64", "amd64").replace("aarch64", "arm64")
    listed = [
        {
            "mediaType": kind,
            "digest": digest,
            "size": len(manifest),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for architecture, digest in (("s390x", f"sha256:{'0' * 64}"), (machine, own))
    ]

    def index(*manifests: object) -> bytes:
        content = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        return json.dumps(content).encode()

    digest = serving.put_manifest("istio/pilot", "index", INDEX, index(*listed))
    serving.put_manifest("istio/pilot", "others", INDEX, index(listed[0]))
    registries = Registries(str(serving.ca))
    wanted = f"{serving.host}/istio/pilot:index"
    assert pulling.pull([wanted], registries, PROGRESS) == {wanted: digest}
    with pytest.raises(PullError) as error:
        pulling.pull([f"{serving.host}/istio/pilot:others"], registries, PROGRESS)
    assert error.value.kind == "platform"


def test_a_tag_that_moves_and_a_registry_that_ends(
    own_cache: Path,
    serving: Registry,
    parts: Parts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "registry").mkdir()
    with running(parts.registry, tmp_path / "registry") as own:
        monkeypatch.setenv("DOCKER_CONFIG", str(own.docker_config))
        wanted = (f"{own.host}/istio/pilot:{TAG}",)
        registries = Registries(str(own.ca))
        own.push(parts.archive, {images.PAUSE: (f"istio/pilot:{TAG}",)})
        first = pulling.pull(wanted, registries, PROGRESS)
        own.push(parts.archive, {images.COREDNS: (f"istio/pilot:{TAG}",)})
        notes = Notes()
        second = pulling.resolve(wanted, registries, Progress("test", notes))
        assert first != second
        assert next(iter(first.values())) in notes[0]
    notes = Notes()
    assert pulling.resolve(wanted, registries, Progress("test", notes)) == first
    assert "does not answer" in notes[0]
    with pytest.raises(PullError) as error:
        pulling.resolve([f"{own.host}/istio/pilot:other"], registries, PROGRESS)
    assert error.value.kind == "unreachable"


def test_archives_for_a_site_without_a_network(
    own_cache: Path,
    serving: Registry,
    istioctl: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def call(*arguments: str) -> str:
        options = ("--provider", "netns", "--istioctl", str(istioctl), "--variant", "distroless")
        status = cli.main(["images", *options, *arguments])
        shown = capsys.readouterr()
        assert status == 0, shown.err
        return shown.out

    ca = ("--registry-ca", str(serving.ca))
    folder = tmp_path / "archives"
    wanted = names(serving.host, f"{TAG}-distroless")
    listed = [line.split() for line in call("--list").splitlines()]
    assert [each for each in listed if "pulled" in each] == [[n, "pulled", "-"] for n in wanted]
    saved = call("--save", str(folder), *ca).split()
    assert [Path(each).name for each in saved] == [pulling.archive_name(name) for name in wanted]
    assert len(list(folder.iterdir())) == len(wanted)
    assert there(own_cache) == []
    # no authority is named: the registry could not be asked
    loaded = call("--load", str(folder))
    assert all(f"{name} sha256:" in loaded for name in wanted)
    digests = pulling.resolve(wanted, Registries(), PROGRESS)
    assert all(digest in call("--list") for digest in digests.values())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    (folder / pulling.archive_name(wanted[0])).unlink()
    status = cli.main(["images", "--provider", "netns", "--istioctl", str(istioctl),
                       "--variant", "distroless", "--load", str(folder)])  # fmt: skip
    assert status == 1
    assert "none of the archives holds it" in capsys.readouterr().err
