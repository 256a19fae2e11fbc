"""Images from registries, or from archives of a folder: each once, by its digest."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mesh_fixtures import runner
from mesh_fixtures.artifacts import gobuild
from mesh_fixtures.artifacts.cache import Cache, cache_root
from mesh_fixtures.artifacts.images import ARCHIVE, NAMES
from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.contract import Problem
from mesh_fixtures.errors import ArtifactError
from mesh_fixtures.patience import patient
from mesh_fixtures.progress import Progress

PROGRAM: Final = "image-pull"
PART: Final = "pulled-images"

SUFFIXES: Final = (".tar", ".tar.gz", ".tgz")
"""Of the archives that are looked for in a folder."""

_DOCKER_HUB: Final = "index.docker.io"
"""What Docker's client needs no name for."""

_LABELS: Final = "labels.json"
_IMAGES: Final = "images"

_RESOLVE_SECONDS: Final = 15.0
_PULL_SECONDS: Final = 900.0
_READ_SECONDS: Final = 300.0
_STALLED_SECONDS: Final = 30.0

_SITE_WITHOUT_NETWORK: Final = (
    "check the network and its proxy (HTTPS_PROXY), name a mirror by --mesh-registry-mirror, or "
    "bring archives: `mesh-conformance images --save DIR` where there is a network, "
    "`--load DIR` here"
)

_REMEDIES: Final[Mapping[str, str]] = {
    "unauthorized": "{login}: credentials are read from ~/.docker/config.json, or the "
    "one in $DOCKER_CONFIG, with its credential helpers",
    "forbidden": "the account of ~/.docker/config.json may not pull it: ask for access, or log in "
    "as another",
    "not-found": "check --mesh-hub, --mesh-tag and --mesh-variant; `mesh-conformance images` "
    "prints the names",
    "rate-limited": "{later}, log in for a higher limit, or name a mirror by "
    "--mesh-registry-mirror",
    "refused": "see the registry's own message",
    "unreachable": _SITE_WITHOUT_NETWORK,
    "broken-off": _SITE_WITHOUT_NETWORK,
    "digest": "something between this machine and the registry's owner changed the content: pull "
    "again without mirrors and proxies, and tell its owner if it stays so",
    "certificate": "name the PEM file of the authority that signed the registry's certificate by "
    "--mesh-registry-ca, or in $SSL_CERT_FILE",
    "platform": f"name images for linux on {platform.machine()}",
    "disk": "free space there, or point XDG_CACHE_HOME and TMPDIR at a larger disk",
    "name": "write images as HUB/NAME:TAG",
    "archive": "write it again by `mesh-conformance images --save DIR`, docker save, podman save "
    "or skopeo copy",
}

TEMPORARY: Final = ("unreachable", "broken-off", "rate-limited")
"""Kinds of failures that say nothing about an image."""


@dataclass(frozen=True)
class Registries:
    """How registries are reached, besides what Docker's configuration and the environment say.

    Attributes:
        ca: PEM file of authorities, besides the machine's; empty for none.
        mirrors: each `REGISTRY=URL`.
    """

    ca: str = ""
    mirrors: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """Flags of `image-pull`."""
        authority = ("--ca", self.ca) if self.ca else ()
        return (*authority, *(each for m in self.mirrors for each in ("--mirror", m)))

    def problems(self) -> list[Problem]:
        """What is wrong with them, as far as that is seen without asking one."""
        if self.ca and not Path(self.ca).is_file():
            return [Problem(f"the file {self.ca}", "name another by --mesh-registry-ca")]
        return []


class PullError(ArtifactError):
    """An image that cannot be had.

    Args:
        kind: as image-pull has it: a key of its remedies.
    """

    def __init__(self, *, kind: str, wanted: str, seen: str, where: str, remedy: str) -> None:
        super().__init__(wanted=wanted, seen=seen, where=where, remedy=remedy)
        self.kind = kind


@dataclass(frozen=True)
class Kept:
    """Images that are on this machine.

    Attributes:
        digests: by full name.
        folder: holds `ARCHIVE`.
    """

    digests: Mapping[str, str]
    folder: Path

    def labels_of(self, name: str) -> Mapping[str, str]:
        """Labels of an image's configuration."""
        found: Mapping[str, Mapping[str, str]] = json.loads((self.folder / _LABELS).read_text())
        return found.get(name, {})


def program() -> gobuild.Programs:
    """The program that asks registries and reads archives."""
    return gobuild.Programs(PROGRAM, "tools", {PROGRAM: f"./cmd/{PROGRAM}"})


def program_part() -> Part:
    """The part with that program."""
    return program().part()


def ensure_program(progress: Progress) -> Path:
    """That program, built if it is not there yet.

    Raises:
        ArtifactError: it could not be built.
    """
    built = Cache(cache_root()).ensure([program_part()], progress)
    return built[PROGRAM].folder / PROGRAM


def part(
    digests: Mapping[str, str],
    program: Path,
    registries: Registries,
    archives: Sequence[Path] = (),
    name: str = PART,
) -> Part:
    """The part with `ARCHIVE`, an OCI archive of these images, and `NAMES`, their names.

    Its key follows from the digests: where it comes from and what fetches it makes no difference.

    Args:
        digests: by full name.
        archives: what to take them from, in place of registries.
        name: of the part.
    """

    def build(work: Work) -> None:
        references = [f"{image}@{digest}" for image, digest in sorted(digests.items())]
        seconds = patient(_PULL_SECONDS)
        output = work.run(
            [
                program,
                "pull",
                *_flags(registries, archives, seconds),
                "--scratch",
                work.scratch,
                work.into / ARCHIVE,
                *references,
            ],
            what=f"to pull {', '.join(sorted(digests))}",
        )
        found = images_in(output)
        (work.into / NAMES).write_text(json.dumps(sorted(digests), indent=1))
        labels = {each: image.get("labels") or {} for each, image in found.items()}
        (work.into / _LABELS).write_text(json.dumps(labels, indent=1))

    return Part(
        name=name,
        inputs={
            _IMAGES: json.dumps(dict(digests), sort_keys=True),
            "machine": platform.machine(),
        },
        build=build,
        lane="pull",
        seconds=_PULL_SECONDS,
    )


def kept(names: Sequence[str], part: str = PART) -> Kept | None:
    """These images as they are on this machine, those that were used last; None where some are not.

    Args:
        names: full ones.
        part: name of the part that they were pulled into.
    """
    wanted = set(names)
    found = None
    for inputs, folder in Cache(cache_root()).versions_of(part):
        digests: dict[str, str] = json.loads(inputs[_IMAGES])
        if wanted == set(digests):
            found = Kept(digests, folder)
    return found


def resolve(names: Sequence[str], registries: Registries, progress: Progress) -> Mapping[str, str]:
    """The digest that each name stands for now.

    Images that were loaded from archives are taken as they are. Where a registry cannot be reached,
    so are those that were pulled earlier.

    Args:
        names: full ones.

    Raises:
        ArtifactError: a registry does not have one, or cannot be asked; or the program that asks
            cannot be built.
    """
    there = kept(names)
    if there is not None and there.digests.items() <= _loaded().items():
        progress.note("images", f"as loaded from archives: {_listed(there.digests)}")
        return there.digests
    program = ensure_program(progress)
    try:
        digests = _resolve(program, names, registries)
    except PullError as error:
        if there is None or error.kind not in TEMPORARY:
            raise
        progress.note(
            "images",
            f"{error.where} does not answer ({error.seen}): as pulled earlier: "
            f"{_listed(there.digests)}",
        )
        return there.digests
    for name, digest in digests.items():
        before = there.digests[name] if there is not None else digest
        if before != digest:
            progress.note("images", f"{name} is another now: {digest}, was {before}")
    return digests


def _resolve(
    program: Path, names: Sequence[str], registries: Registries, archives: Sequence[Path] = ()
) -> dict[str, str]:
    seconds = patient(_READ_SECONDS if archives else _RESOLVE_SECONDS)
    flags = (*_flags(registries, archives, seconds), "--tries", "2")
    found = _ask([program, "resolve", *flags, *names], seconds)
    return {name: found[name]["digest"] for name in names}


def save(
    names: Sequence[str], registries: Registries, folder: Path, progress: Progress
) -> list[Path]:
    """Pull images into a folder, an archive each.

    Args:
        names: full ones.
        folder: made if it is not there; archives of the same images are replaced.

    Raises:
        ArtifactError: one cannot be had; archives that were done stay.
    """
    program = ensure_program(progress)
    folder.mkdir(parents=True, exist_ok=True)
    seconds = patient(_PULL_SECONDS)
    written = []
    for name in names:
        with progress.phase("pull", detail=name):
            digest = _resolve(program, [name], registries)[name]
            file = folder / archive_name(name)
            flags = (*_flags(registries, (), seconds), "--scratch", folder)
            _ask([program, "pull", *flags, file, f"{name}@{digest}"], seconds)
        written.append(file)
    return written


def load(
    names: Sequence[str], folder: Path, progress: Progress, part_name: str = PART
) -> Mapping[str, str]:
    """Take images from the archives of a folder; no registry is asked for them from then on.

    Args:
        names: full ones.
        part_name: of the part that they are put into.

    Returns:
        The digest of each.

    Raises:
        ArtifactError: an archive cannot be read, or none of them holds an image.
    """
    archives = sorted(each for each in folder.glob("*") if each.name.endswith(SUFFIXES))
    if not archives:
        raise ArtifactError(
            wanted=f"archives of images ({', '.join(SUFFIXES)})",
            seen="none",
            where=str(folder),
            remedy=_REMEDIES["archive"],
        )
    with progress.phase("load", detail=str(folder)):
        digests = _bring(names, Registries(), progress, part_name, archives)
    _remember_loaded({**_loaded(), **digests})
    return digests


def pull(
    names: Sequence[str], registries: Registries, progress: Progress, part_name: str = PART
) -> Mapping[str, str]:
    """Pull what registries have now, in place of what was loaded from archives, too.

    Args:
        names: full ones.
        part_name: of the part that they are put into.

    Returns:
        The digest of each.

    Raises:
        ArtifactError: one cannot be had.
    """
    digests = _bring(names, registries, progress, part_name)
    loaded = _loaded()
    if not digests.keys().isdisjoint(loaded):
        _remember_loaded({name: loaded[name] for name in loaded.keys() - digests.keys()})
    return digests


def _bring(
    names: Sequence[str],
    registries: Registries,
    progress: Progress,
    part_name: str,
    archives: Sequence[Path] = (),
) -> dict[str, str]:
    """Have images on this machine as registries, or archives, have them now; their digests."""
    program = ensure_program(progress)
    digests = _resolve(program, names, registries, archives)
    wanted = part(digests, program, registries, archives, part_name)
    Cache(cache_root()).ensure([wanted], progress)
    return digests


def archive_name(name: str) -> str:
    """Name of the file that `save` writes an image into."""
    return f"{name.replace('/', '_').replace(':', '_')}.tar"


def images_in(output: str) -> Mapping[str, Mapping[str, Any]]:
    """What image-pull found, by name.

    Args:
        output: what it wrote.

    Raises:
        PullError: an image cannot be had.
    """
    result = json.loads(output)
    if result.get("error"):
        raise error_of(result["error"])
    found: Mapping[str, Mapping[str, Any]] = result["images"]
    return found


def error_of(failure: Mapping[str, Any]) -> PullError:
    """The error that image-pull writes as JSON."""
    kind, place = failure["kind"], failure.get("place", "")
    seconds = failure.get("retryAfter", 0)
    later = f"try again after {seconds:.0f} s" if seconds else "try again later"
    login = f"docker login {place}" if place != _DOCKER_HUB else "docker login"
    remedy = _REMEDIES.get(kind, "").format(login=login, later=later)
    asked = f", which asks to wait {seconds:.0f} s" if seconds else ""
    image = failure.get("image", "")
    return PullError(
        kind=kind,
        wanted=f"the image {image}" if image else "container images",
        seen=f"{failure['message']}{asked}",
        where=place or PROGRAM,
        remedy=remedy,
    )


def _flags(
    registries: Registries, archives: Sequence[Path], seconds: float
) -> tuple[str | Path, ...]:
    sources: list[str | Path] = []
    for archive in archives:
        sources += ["--from", archive]
    stalled = patient(_STALLED_SECONDS)
    times = ("--seconds", f"{seconds:g}", "--stalled", f"{stalled:g}")
    return (*times, *registries.arguments, *sources)


def _ask(command: Sequence[str | Path], seconds: float) -> Mapping[str, Mapping[str, Any]]:
    output = runner.output_of(
        command,
        error=ArtifactError,
        # it ends by itself at its own deadline, and says so
        seconds=seconds + patient(_STALLED_SECONDS),
        wanted="container images",
    )
    return images_in(output)


def _listed(digests: Mapping[str, str]) -> str:
    return ", ".join(f"{name} is {digest}" for name, digest in digests.items())


def _loaded_file() -> Path:
    return cache_root().parent / "released" / "loaded-images.json"


def _loaded() -> dict[str, str]:
    """Images that were loaded from archives, and whose registries are not asked: their digests."""
    with suppress(OSError, ValueError):
        found: dict[str, str] = json.loads(_loaded_file().read_text())
        return found
    return {}


def _remember_loaded(digests: Mapping[str, str]) -> None:
    file = _loaded_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(dict(digests), indent=1))
    beside.replace(file)
