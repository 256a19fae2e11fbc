"""Whether parts are released or built: chosen once for a lab, project by project."""

from __future__ import annotations

import http.client
import json
import queue
import shutil
import tarfile
import threading
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from mesh_fixtures.artifacts import download, releases
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.artifacts.releases import ALL, PUBLIC, Addresses, Published, Release
from mesh_fixtures.contract import Problem
from mesh_fixtures.errors import ArtifactError
from mesh_fixtures.options import AUTO, BUILT_PARTS, RELEASED_PARTS
from mesh_fixtures.patience import patient

if TYPE_CHECKING:
    from mesh_fixtures.artifacts.gobuild import Programs
    from mesh_fixtures.options import Choice

GO: Final = "go"
"""The part with Go's toolchain."""

RUNTIME: Final = "node-runtime"
"""The part with what runs a node's containers, which Debian's packages bring otherwise."""

RUNTIME_ROOT: Final = "root"
"""Its folder that is laid over a node's root."""

METALLB_IMAGES: Final = "metallb-images"
"""The part with MetalLB's images as they were pulled."""

RECORD: Final = "release.json"
"""File of a released part that says where its files came from, and their digests."""

PROBE_SECONDS: Final = 1.5
"""For all addresses together."""

REMEMBERED_SECONDS: Final = 900.0
"""For which an address is taken to be as it was found."""

_UNREACHABLE: Final = (
    "let this machine reach it (HTTPS_PROXY, SSL_CERT_FILE), name another address by "
    "--mesh-parts-from, or install Go and build: --mesh-parts built"
)
_PART_SECONDS: Final = 1200.0


@dataclass(frozen=True)
class Selection:
    """What is released of what a lab is made of; all else is built.

    Attributes:
        released: projects.
        fetch_go: whether Go's toolchain is fetched for what has to be built.
        metallb: the part with its released images; None until these are known.
    """

    released: frozenset[str] = frozenset()
    addresses: Addresses = PUBLIC
    fetch_go: bool = False
    metallb: Part | None = None

    def has(self, project: str) -> bool:
        """Whether what is made of a project is released."""
        return project in self.released

    def part_of(self, programs: Programs) -> Part:
        """The part with some programs."""
        release = programs.release
        if release is not None and self.has(release.project):
            return released_part(programs.name, release, self.addresses)
        return programs.part(uses=(GO,) if self.fetch_go else ())

    def go(self) -> tuple[Part, ...]:
        """The part that `part_of` may use."""
        return (go_part(self.addresses),) if self.fetch_go else ()

    def runtime(self) -> tuple[Part, ...]:
        """The part `RUNTIME` where it is released."""
        return (runtime_part(self.addresses),) if self.has("containerd") else ()

    def pulled(self) -> tuple[Part, ...]:
        """The part with MetalLB's images where they are released."""
        return () if self.metallb is None else (self.metallb,)


ALL_BUILT: Final = Selection()


@dataclass(frozen=True)
class PartSource:
    """Where parts come from that projects have released.

    Attributes:
        mode: one of `options.PARTS`: whether parts are released, built, or what is at hand.
    """

    mode: str = BUILT_PARTS
    addresses: Addresses = PUBLIC

    @classmethod
    def of(cls, choice: Choice) -> PartSource:
        """What was asked for; `providers.require_fit` has seen that it is valid."""
        return cls(choice.parts, Addresses.of(choice.parts_from))

    @property
    def fetches_go(self) -> bool:
        """Whether Go's toolchain is fetched when something has to be compiled."""
        return self.mode != BUILT_PARTS and shutil.which("go") is None

    def offers(self, name: str, release: Release) -> bool:
        """Whether a release is here, as a part of that name, or can be had; it may be asked for."""
        if self.mode != AUTO:
            return self.mode == RELEASED_PARTS
        if Cache(cache_root()).find([released_part(name, release, self.addresses)]):
            return True
        return bool(reachable([self.addresses.url(release.project, release.files[0].sign)]))

    def select(self, programs: Iterable[Programs]) -> Selection:
        """Choose for the programs of a lab, and whatever else a lab is made of.

        What is here already is preferred; then what can be had from its project, for which its
        address is asked, within `PROBE_SECONDS` in all.

        Args:
            programs: those of projects that have released none do not matter.
        """
        if self.mode == BUILT_PARTS:
            return ALL_BUILT
        if self.mode == RELEASED_PARTS:
            return self._with(releases.PROJECTS)
        cache = Cache(cache_root())
        there, signs = set(), {}
        for each in programs:
            if each.release is None or cache.find([each.part()]):
                continue
            project = each.release.project
            if cache.find([released_part(each.name, each.release, self.addresses)]):
                there.add(project)
            else:
                signs[project] = self.addresses.url(project, each.release.files[0].sign)
        answering = reachable(signs.values())
        return self._with({*there, *(name for name, url in signs.items() if url in answering)})

    def problems(self, programs: Iterable[Programs], *, compiling: bool) -> list[Problem]:
        """What is to be released, is not here, and cannot be had, as far as that is seen without
        fetching it; Go's toolchain, too, where there is no Go and something is to be compiled.

        Args:
            programs: those of a lab, and those that it is installed by.
            compiling: whether anything has to be compiled that is not here yet.
        """
        if self.mode == BUILT_PARTS:
            return []
        fetching_go = compiling and self.fetches_go
        wanted = {GO: releases.go()} if fetching_go else {}
        parts = [go_part(self.addresses)] if fetching_go else []
        if self.mode == RELEASED_PARTS:
            for each in programs:
                if each.release is not None:
                    wanted[each.name] = each.release
                    parts.append(released_part(each.name, each.release, self.addresses))
            wanted[RUNTIME] = releases.containerd()
            parts.append(runtime_part(self.addresses))
        for there in Cache(cache_root()).find(parts):
            del wanted[there]
        urls = {
            self.addresses.url(release.project, release.files[0].sign): release.title
            for release in wanted.values()
        }
        answering = reachable(urls)
        return [
            Problem(f"{title} at {url}", _UNREACHABLE)
            for url, title in urls.items()
            if url not in answering
        ]

    def _with(self, projects: Iterable[str]) -> Selection:
        return Selection(frozenset(projects), self.addresses, self.fetches_go)


BUILT: Final = PartSource()


def released_part(name: str, release: Release, addresses: Addresses) -> Part:
    """A part whose files are those of a release.

    Args:
        name: of the part.
    """
    return _part(name, (release,), addresses)


def runtime_part(addresses: Addresses) -> Part:
    """The part `RUNTIME`."""
    made_of = (releases.containerd(), releases.runc(), releases.cni_plugins())
    return _part(RUNTIME, made_of, addresses, within=RUNTIME_ROOT)


def go_part(addresses: Addresses) -> Part:
    """The part `GO`, which is made only where something is compiled."""
    return _part(GO, (releases.go(),), addresses, on_demand=True)


def _part(
    name: str,
    made_of: Sequence[Release],
    addresses: Addresses,
    *,
    within: str = "",
    on_demand: bool = False,
) -> Part:
    """A part with the files of releases.

    Args:
        within: folder of the part that they are below.
    """

    def build(work: Work) -> None:
        root = work.into / within
        root.mkdir(exist_ok=True)
        record = {
            addresses.url(release.project, file.path): _fetch(work, release, file, addresses, root)
            for release in made_of
            for file in release.files
        }
        (work.into / RECORD).write_text(json.dumps(record, indent=1))

    first = made_of[0].inputs
    others = {
        f"{release.project} {k}": v for release in made_of[1:] for k, v in release.inputs.items()
    }
    return Part(
        name=name,
        inputs={**first, **others, "machine": releases.architecture(), "within": within},
        build=build,
        lane=f"fetch {made_of[0].project}",
        seconds=_PART_SECONDS,
        on_demand=on_demand,
    )


def _fetch(work: Work, release: Release, file: Published, addresses: Addresses, root: Path) -> str:
    """Put a file of a release, or its members, into a part; returns its SHA-256."""
    fetched = work.scratch / "fetched"
    url = addresses.url(release.project, file.path)
    work.note(f"fetching {url}")
    digest = fetch_verified(release, file, addresses, fetched, work)
    if file.target:
        target = root / file.target
        target.parent.mkdir(parents=True, exist_ok=True)
        fetched.rename(target)
        target.chmod(0o755)
    else:
        unpack(fetched, file.members, root, url)
        fetched.unlink()
    return digest


def fetch_verified(
    release: Release, file: Published, addresses: Addresses, target: Path, work: Work
) -> str:
    """Download a file of a release that is as its project says; returns its SHA-256.

    Raises:
        ArtifactError: it cannot be had, or it is another.
        OSError: it cannot be written.
    """
    wanted = file.sha256
    if file.checksums:
        sums = addresses.url(release.project, file.checksums)
        text = download.read_small(
            sums, what=f"checksums of {release.title}", limits=work.limits, scratch=target
        )
        try:
            wanted = releases.sha256_of(file.name, text)
        except ValueError as error:
            raise ArtifactError(
                wanted=f"the SHA-256 of {file.name}, of {release.title}",
                seen=str(error),
                where=sums,
                remedy=f"check the address (--mesh-parts-from), {download.BUILD_INSTEAD}",
            ) from error
    url = addresses.url(release.project, file.path)
    what = f"{file.name} of {release.title}"
    return download.fetch(url, target, what=what, limits=work.limits, sha256=wanted)


def unpack(archive: Path, members: Mapping[str, str], into: Path, url: str) -> None:
    """Take members out of a compressed tar archive.

    Args:
        members: what each becomes below `into`, by its name; see `Published`.
        url: where the archive comes from.

    Raises:
        ArtifactError: it is none, or lacks one.
        OSError: a file cannot be written.
    """
    missing = set(members) - {ALL}
    try:
        with tarfile.open(archive) as content:
            for member in content:
                name = str(PurePosixPath(member.name))
                target = members.get(name) or (ALL in members and str(Path(members[ALL], name)))
                if not target or not member.isfile():
                    continue
                if ".." in PurePosixPath(target).parts or target.startswith("/"):
                    raise tarfile.TarError(f"the member {member.name}, which leads outside")
                source = content.extractfile(member)
                if source is None:
                    continue
                file = into / target
                file.parent.mkdir(parents=True, exist_ok=True)
                with source, file.open("wb") as copy:
                    shutil.copyfileobj(source, copy, 2**20)
                file.chmod(0o755 if name in members or member.mode & 0o111 else 0o644)
                missing.discard(name)
    except (EOFError, zlib.error, tarfile.TarError) as error:
        raise ArtifactError(
            wanted="a compressed archive (tar)", seen=f"{type(error).__name__}: {error}", where=url
        ) from error
    if missing:
        raise ArtifactError(
            wanted=f"{', '.join(sorted(missing))} in the archive",
            seen="none of that name",
            where=url,
            remedy=f"the release is of another form than this project knows: report it, "
            f"{download.BUILD_INSTEAD}",
        )


def reachable(urls: Iterable[str], file: Path | None = None) -> frozenset[str]:
    """Those addresses that are there, within `PROBE_SECONDS` for all; what was found a short time
    ago is not asked again.

    Args:
        file: what was found earlier; by default in the user's cache folder.
    """
    wanted = set(urls)
    file = file or cache_root().parent / "released" / "reachable.json"
    known = _remembered(file)
    unknown = sorted(wanted - known.keys())
    if unknown:
        now = time.time()
        found = {**known, **{url: (now, there) for url, there in _probe(unknown).items()}}
        _remember(file, found)
        known = found
    return frozenset(url for url in wanted if known[url][1])


def _remembered(file: Path) -> dict[str, tuple[float, bool]]:
    with suppress(OSError, ValueError, TypeError, AttributeError):
        now = time.time()
        return {
            url: (float(then), bool(there))
            for url, (then, there) in json.loads(file.read_text()).items()
            if 0 <= now - float(then) < REMEMBERED_SECONDS
        }
    return {}


def _remember(file: Path, found: Mapping[str, tuple[float, bool]]) -> None:
    with suppress(OSError):  # it is only asked again then
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(f".{threading.get_native_id()}.new")
        beside.write_text(json.dumps(found, indent=1))
        beside.replace(file)


def _probe(urls: Sequence[str]) -> Mapping[str, bool]:
    """Whether each address is there. Threads are left behind that still look up a name, which
    cannot be interrupted, and do not hold the process up at its end.
    """
    seconds = patient(PROBE_SECONDS)
    answers: queue.SimpleQueue[tuple[str, bool]] = queue.SimpleQueue()

    def ask(url: str) -> None:
        answers.put((url, _is_there(url, seconds)))

    for url in urls:
        threading.Thread(target=ask, args=(url,), daemon=True).start()
    found = dict.fromkeys(urls, False)
    deadline = time.monotonic() + seconds
    for _ in urls:
        with suppress(queue.Empty):
            url, there = answers.get(timeout=max(0.0, deadline - time.monotonic()))
            found[url] = there
    return found


def _is_there(url: str, seconds: float) -> bool:
    try:
        with download.ask(url, download.AGENT, seconds=seconds):
            return True
    except (OSError, ValueError, http.client.HTTPException):
        return False
