"""Whether parts are released or built, and what parts of releases hold."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from mesh_fixtures import providers
from mesh_fixtures.artifacts import (
    build,
    catalog,
    download,
    eviction,
    gobuild,
    part_source,
    releases,
    versions,
)
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.istio_source import IstioSource
from mesh_fixtures.artifacts.part_source import (
    GO,
    RECORD,
    RUNTIME,
    PartSource,
    Selection,
    go_part,
    reachable,
    released_part,
    runtime_part,
)
from mesh_fixtures.artifacts.parts import Part, Work, keys_of
from mesh_fixtures.artifacts.releases import ALL, PUBLIC, Addresses, Published, Release
from mesh_fixtures.errors import ArtifactError, MachineError
from mesh_fixtures.images import BUILT, RELEASED
from mesh_fixtures.options import Choice
from mesh_fixtures.progress import Progress
from tests.parts.site import Site, of, serving
from tests.released.faulty import Answer

QUIET = Progress("parts")
PROGRAM = b"#!/bin/sh\necho hello\n"
PROGRAMS = gobuild.programs()


def archive(members: Mapping[str, bytes], mode: int = 0o644) -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w:gz") as made:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            made.addfile(entry, io.BytesIO(content))
    return into.getvalue()


def published(release: Release, content: bytes) -> dict[str, bytes]:
    """Every file of a release with the same content, and its checksums."""
    found = {}
    for file in release.files:
        found[f"{release.project}/{file.path}"] = content
        if file.checksums:
            digest = hashlib.sha256(content).hexdigest()
            found[f"{release.project}/{file.checksums}"] = f"{digest}  {file.name}\n".encode()
    return found


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "_FIRST_PAUSE", 0.0)


@pytest.fixture
def site() -> Iterator[Site]:
    """Releases of Kubernetes and etcd."""
    etcd = releases.etcd()
    (member,) = etcd.files[0].members
    files = published(releases.kubernetes(versions.KUBERNETES), PROGRAM)
    with serving(Site({**files, **published(etcd, archive({member: PROGRAM}))})) as found:
        yield found


def put(part: Part) -> None:
    """Have a part in the cache, whatever it is made of."""

    def make(work: Work) -> None:
        (work.into / "there").touch()

    Cache(cache_root()).ensure([Part(part.name, part.inputs, make)], QUIET)


def test_what_is_built_asks_nobody(site: Site) -> None:
    source = PartSource("built", Addresses.of([site.url]))
    assert source.select(PROGRAMS) == Selection()
    assert source.problems(PROGRAMS, compiling=True) == []
    assert site.asked == []


def test_released_is_everything_whether_it_is_there_or_not(site: Site) -> None:
    put(gobuild.kubernetes(versions.KUBERNETES).part())
    source = PartSource("released", Addresses.of([site.url]))
    assert source.select(PROGRAMS).released == releases.PROJECTS.keys()
    assert site.asked == []
    seen = {
        problem.missing.partition(" at ")[0]
        for problem in source.problems(PROGRAMS, compiling=True)
    }
    missing = {f"coredns {versions.COREDNS}", f"metallb {versions.METALLB}"}
    assert seen - {f"go {versions.GO}"} == {*missing, f"containerd {versions.CONTAINERD}"}


@pytest.mark.parametrize(
    ("go", "compiling", "wanted"),
    [(None, True, True), (None, False, False), ("/bin/go", True, False)],
)
def test_go_is_wanted_only_where_there_is_none_and_something_is_compiled(
    site: Site, monkeypatch: pytest.MonkeyPatch, go: str | None, compiling: bool, wanted: bool
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: go)
    source = PartSource("auto", Addresses.of([site.url]))
    found = [problem.missing for problem in source.problems(PROGRAMS, compiling=compiling)]
    assert any(missing.startswith("go ") for missing in found) == wanted


def test_auto_takes_what_answers_and_builds_the_rest(site: Site) -> None:
    source = PartSource("auto", Addresses.of([site.url]))
    assert source.select(PROGRAMS).released == {"kubernetes", "etcd"}
    assert len(site.asked) == 4
    assert source.select(PROGRAMS).released == {"kubernetes", "etcd"}
    assert len(site.asked) == 4, "what was found is remembered"


def test_auto_takes_what_is_here_before_it_asks(site: Site) -> None:
    source = PartSource("auto", Addresses.of([site.url]))
    for each in PROGRAMS:
        if each.name in ("kubernetes", "metallb", "coredns"):
            put(each.part())
    put(released_part("etcd", releases.etcd(), PUBLIC))
    assert source.select(PROGRAMS).released == {"etcd"}
    assert site.asked == []


def test_a_name_that_is_looked_up_for_ever_costs_no_more_than_the_probe(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = socket.getaddrinfo

    def slow(host: str, *others: object, **more: object) -> object:
        if host.endswith(".example"):
            time.sleep(5)
        return plain(host, *others, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(part_source, "PROBE_SECONDS", 0.5)
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    here = f"{site.url}/kubernetes/{releases.kubernetes(versions.KUBERNETES).files[0].sign}"
    begun = time.monotonic()
    found = reachable([here, "http://nowhere.example/x", "http://never.example/y"])
    assert found == {here}
    assert time.monotonic() - begun < 2
    assert reachable(["http://nowhere.example/x"]) == frozenset()
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"http://127.0.0.1:1/x": 5}'])
def test_what_cannot_be_remembered_is_asked_again(tmp_path: Path, content: str) -> None:
    file = tmp_path / "reachable.json"
    file.write_text(content)
    assert reachable(["http://127.0.0.1:1/x"], file) == frozenset()
    ((url, (then, there)),) = json.loads(file.read_text()).items()
    assert (url, there) == ("http://127.0.0.1:1/x", False)
    assert time.time() - then < 60


def test_what_was_found_long_ago_is_asked_again(site: Site, tmp_path: Path) -> None:
    url = f"{site.url}/kubernetes/{releases.kubernetes(versions.KUBERNETES).files[0].sign}"
    file = tmp_path / "reachable.json"
    for age, found in ((60.0, frozenset()), (part_source.REMEMBERED_SECONDS + 1, {url})):
        file.write_text(json.dumps({url: [time.time() - age, False]}))
        assert reachable([url], file) == found


def test_a_released_part_is_verified_and_says_where_it_came_from(site: Site) -> None:
    addresses = Addresses.of([site.url])
    wanted = [
        released_part("kubernetes", releases.kubernetes(versions.KUBERNETES), addresses),
        released_part("etcd", releases.etcd(), addresses),
    ]
    built = Cache(cache_root()).ensure(wanted, QUIET)
    for program in releases.KUBERNETES_PROGRAMS:
        file = built["kubernetes"].folder / program
        assert file.read_bytes() == PROGRAM
        assert file.stat().st_mode & 0o777 == 0o755
    etcd = built["etcd"].folder
    assert (etcd / "etcd").read_bytes() == PROGRAM
    assert {each.name for each in etcd.iterdir()} == {"etcd", RECORD}
    record = json.loads((built["kubernetes"].folder / RECORD).read_text())
    assert set(record.values()) == {hashlib.sha256(PROGRAM).hexdigest()}
    assert all(url.startswith(site.url) for url in record)


@pytest.mark.parametrize(
    ("answer", "ending", "seen"),
    [
        (Answer(flipped=True), "/kubelet", "with the SHA-256"),
        (Answer(status=404), "/kubelet", "HTTP 404"),
        (Answer(status=404), "/kubelet.sha256", "HTTP 404"),
        (Answer(status=429), "/kubelet", "HTTP 429"),
        (Answer(cut_off=0), "/kubelet.sha256", "before the end"),
    ],
)
def test_nothing_half_is_kept(site: Site, answer: Answer, ending: str, seen: str) -> None:
    site.taint = of(ending, answer)
    release = releases.kubernetes(versions.KUBERNETES, ["kubectl", "kubelet"])
    part = released_part("kubernetes", release, Addresses.of([site.url]))
    with pytest.raises(ArtifactError, match=seen):
        Cache(cache_root()).ensure([part], QUIET)
    home = cache_root() / "kubernetes"
    assert [each.name for each in home.iterdir()] == [f"{keys_of([part])['kubernetes']}.lock"]
    site.taint = None
    assert Cache(cache_root()).ensure([part], QUIET)


@pytest.mark.parametrize("sums", [b"<html>", b"\xff\xfe", b"", b"0" * 64])
def test_checksums_of_something_else_are_refused(site: Site, sums: bytes) -> None:
    release = releases.kubernetes(versions.KUBERNETES, ["kubelet"])
    site.files = {**site.files, f"kubernetes/{release.files[0].checksums}": sums}
    part = released_part("kubernetes", release, Addresses.of([site.url]))
    with pytest.raises(ArtifactError, match=r"SHA-256|no text"):
        Cache(cache_root()).ensure([part], QUIET)


def make_from(content: bytes, members: Mapping[str, str]) -> Path:
    file = Published("v1/it.tgz", members=members, sha256=hashlib.sha256(content).hexdigest())
    with serving(Site({"etcd/v1/it.tgz": content})) as found:
        part = released_part("it", Release("etcd", "1", (file,)), Addresses.of([found.url]))
        return Cache(cache_root()).ensure([part], QUIET)["it"].folder


def test_members_of_an_archive_are_found_however_they_are_written() -> None:
    content = archive({"./bridge": b"b", "./host-local": b"h", "README.md": b"r"})
    folder = make_from(content, {"bridge": "usr/lib/cni/bridge"})
    assert (folder / "usr/lib/cni/bridge").read_bytes() == b"b"
    assert (folder / "usr/lib/cni/bridge").stat().st_mode & 0o111
    assert not list(folder.rglob("*host-local*"))


def test_a_whole_archive_keeps_what_can_be_run() -> None:
    folder = make_from(archive({"go/bin/go": PROGRAM}, mode=0o755), {ALL: "."})
    assert (folder / "go/bin/go").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("content", "members", "seen"),
    [
        (archive({"README.md": b"r"}), {"bridge": "bridge"}, "wanted bridge in the archive"),
        (b"<html>", {"bridge": "bridge"}, "wanted a compressed archive"),
        (archive({"bridge": PROGRAM * 99})[:60], {"bridge": "bridge"}, "a compressed archive"),
        (archive({"../outside": b"x"}), {ALL: "."}, "leads outside"),
        (archive({"/etc/outside": b"x"}), {ALL: "."}, "leads outside"),
    ],
    ids=["lacking", "none", "cut off", "above", "absolute"],
)
def test_another_archive_is_refused(
    content: bytes, members: Mapping[str, str], seen: str, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match=seen):
        make_from(content, members)
    assert not list(tmp_path.rglob("*outside*"))


def test_go_is_fetched_only_where_there_is_none_and_something_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    def doing(name: str) -> Callable[[Work], None]:
        return lambda work: done.append(f"{name} {','.join(sorted(work.needs))}".strip())

    go = Part(GO, {"a": "b"}, doing(GO), on_demand=True, lane="fetch")
    compiled = Part("tool", {"a": "b"}, doing("tool"), uses=(GO,), lane="go")
    cache = Cache(cache_root())
    assert set(cache.ensure([go, compiled], QUIET)) == {"tool"}
    assert done == ["go", "tool go"]
    done.clear()
    assert set(cache.ensure([go, compiled], QUIET)) == {"tool"}
    again = Part("tool", {"a": "c"}, doing("tool"), uses=(GO,), lane="go")
    assert set(cache.ensure([go, again], QUIET)) == {"tool"}
    assert done == ["tool go"], "the toolchain is kept"
    assert keys_of([compiled]) == keys_of([Part("tool", {"a": "b"}, doing("tool"))])
    for path, fetches in (("/nowhere", True), (None, False)):
        if path:
            monkeypatch.setenv("PATH", path)
        else:
            monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
        assert PartSource("released").fetches_go == fetches
        assert PartSource("auto").fetches_go == fetches
        assert not PartSource("built").fetches_go


def names_of(selection: Selection, istio: str | None = None) -> list[str]:
    return [part.name for part in catalog.parts(versions.KUBERNETES, istio, "", selection)]


def test_parts_of_a_released_lab_have_the_names_that_labs_look_for() -> None:
    everything = Selection(frozenset(releases.PROJECTS))
    added = set(names_of(everything)) - set(names_of(Selection()))
    assert added == {RUNTIME}
    keys = [
        keys_of(catalog.parts(versions.KUBERNETES, versions.ISTIO, "", selection))
        for selection in (Selection(), everything)
    ]
    same = {name for name in keys[0] if keys[0][name] == keys[1][name]}
    assert {"debian", "envoy", "istio", "image-tools", "mesh-node"} == same
    assert {part.lane for part in catalog.released()} & {"go"} == set()


def test_a_released_lab_compiles_nothing_but_what_is_this_projects_own() -> None:
    parts = catalog.parts(versions.KUBERNETES, None, "", Selection(frozenset(releases.PROJECTS)))
    assert {part.name for part in parts if part.lane == "go"} <= build.OWN_PROGRAMS


def test_the_programs_of_a_released_kubernetes_are_files(tmp_path: Path) -> None:
    selection = Selection(frozenset({"kubernetes"}))
    *_, last = catalog.parts(versions.KUBERNETES, None, "", selection)
    needs = {name: tmp_path / name for name in last.needs}
    for folder in needs.values():
        folder.mkdir()
        for program in (*releases.KUBERNETES_PROGRAMS, "etcd", "mesh-node"):
            (folder / program).write_bytes(program.encode())
    work = Work(tmp_path / "into", tmp_path, needs, None, QUIET, last.name)  # type: ignore[arg-type]
    work.into.mkdir()
    last.build(work)
    for program in releases.KUBERNETES_PROGRAMS:
        assert not (work.into / program).is_symlink()
        assert (work.into / program).read_bytes() == program.encode()
    assert not (work.into / "kubernetes").exists()


def test_released_parts_are_current() -> None:
    current = eviction._all_current({"other": "key"})
    assert current["other"] == {"key"}
    for part in (go_part(PUBLIC), runtime_part(PUBLIC)):
        assert keys_of([part])[part.name] in current[part.name]
    assert len(current["kubernetes"]) == 2


@pytest.mark.parametrize(
    ("choice", "images", "istioctl"),
    [
        (Choice(), BUILT, ""),
        (Choice(parts="auto"), BUILT, ""),
        (Choice(parts="built"), BUILT, ""),
        (Choice(parts="built", images="released"), RELEASED, ""),
        (Choice(parts="auto", istioctl="1.30.1"), RELEASED, "1.30.1"),
        (Choice(parts="released"), RELEASED, versions.ISTIO_RELEASE),
        (Choice(parts="released", hub="h.example/i"), RELEASED, versions.ISTIO_RELEASE),
        (Choice(parts="released", istioctl="1.30.1"), RELEASED, "1.30.1"),
        (Choice(parts="released", images="released"), RELEASED, versions.ISTIO_RELEASE),
        (Choice(parts="released", images="built"), BUILT, ""),
        (Choice(parts="released", istio="b01690e6db7d"), BUILT, ""),
        (Choice(parts="released", upgrade_from="b01690e6db7d"), BUILT, ""),
        (Choice(parts="released", upgrade_from="1.30.2"), RELEASED, versions.ISTIO_RELEASE),
        (Choice(parts="built", upgrade_from="1.30.2"), RELEASED, ""),
    ],
)
def test_released_parts_are_those_of_istio_too(
    monkeypatch: pytest.MonkeyPatch, choice: Choice, images: str, istioctl: str
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    source = IstioSource.of(choice)
    assert source.images == images
    assert (source.istioctl == istioctl) or images == BUILT
    assert source.parts.mode == choice.parts


def test_an_istioctl_in_path_is_that_of_the_release_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "istioctl").write_bytes(PROGRAM)
    (tmp_path / "istioctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert IstioSource.of(Choice(parts="released", images="released")).istioctl == ""
    assert IstioSource.of(Choice(parts="released")).istioctl == versions.ISTIO_RELEASE
    assert IstioSource.of(Choice(parts="released"), path_counts=True).istioctl == ""


def test_a_wrong_address_is_refused_before_anything_is_done() -> None:
    with pytest.raises(MachineError, match="etdc is none of"):
        providers.require_fit(Choice(parts_from=("etdc=https://mirror.example",)))
    providers.require_fit(Choice(parts_from=("etcd=https://mirror.example",)))
