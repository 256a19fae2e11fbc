"""Recordings of what istioctl does to a new cluster: made by a stand-in, and kept for later runs.

A recording is made by running istioctl as the plan says, so it has what that version of it adds to
its charts: labels of ownership, the revision tag of the first installation, and the order of all.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Final

import yaml

from mesh_fixtures.artifacts.cache import cache_root
from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube.objects import Json
from mesh_fixtures.rehearsal import stand_in
from mesh_fixtures.rehearsal.stand_in import Apply, Change, Event, StandIn, Wait
from mesh_fixtures.runner import CommandContext, RunningProgram

STALE_SECONDS: Final = 14 * 24 * 3600.0
"""Without use, after which a recording is removed."""

_KINDS: Final = {"apply": Apply, "change": Change, "wait": Wait}
_OF_THE_CLUSTER: Final = ("--context=", "--readiness-timeout=", "--kubeclient-timeout=")
"""Arguments that say where something is installed and how long it may take, not what it is."""


@dataclass(frozen=True)
class InstallRecording:
    """What was done, in its order.

    Attributes:
        key: digest of all that it depends on.
    """

    key: str
    events: tuple[Event, ...]

    def dump(self) -> bytes:
        names = {kind: name for name, kind in _KINDS.items()}
        content = [{"event": names[type(each)], **asdict(each)} for each in self.events]
        return gzip.compress(json.dumps(content).encode(), compresslevel=1, mtime=0)

    @classmethod
    def load(cls, key: str, content: bytes) -> InstallRecording:
        """Of what `dump` made.

        Raises:
            OSError: it is damaged. So for EOFError, ValueError, KeyError and TypeError.
        """
        read: list[dict[str, Any]] = json.loads(gzip.decompress(content))
        return cls(key, tuple(_KINDS[each.pop("event")](**each) for each in read))


@dataclass(frozen=True)
class InstallCall:
    """A call of istioctl that installs something.

    Attributes:
        argv: as it is run.
        files: content of those that it names, by name.
        before: what the cluster holds already.
    """

    argv: tuple[str, ...]
    files: Mapping[str, str]
    before: tuple[InstallRecording, ...] = ()

    @classmethod
    def read(
        cls, argv: Sequence[str], folder: Path, before: Sequence[InstallRecording] = ()
    ) -> InstallCall:
        """Of its arguments, and the files that these name.

        Args:
            folder: that it runs in.
        """
        names = [value for flag, value in pairwise(argv) if flag == "-f"]
        files = {name: (folder / name).read_text(encoding="utf-8") for name in names}
        return cls(tuple(argv), files, tuple(before))

    def key(self, program: Path, version: Json) -> str:
        """Digest of all that its recording depends on.

        Args:
            program: its istioctl.
            version: of the API server.
        """
        arguments = [each for each in self.argv[1:] if not each.startswith(_OF_THE_CLUSTER)]
        content = [
            *(_digest(program), arguments, dict(self.files), version),
            [each.key for each in self.before],
            [Path(file).read_text(encoding="utf-8") for file in (__file__, stand_in.__file__)],
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def recordings_folder() -> Path:
    """Where recordings are kept on this machine."""
    return cache_root().parent / "recordings"


def kept(key: str) -> InstallRecording | None:
    """The recording of that key; None where there is none, or it is damaged."""
    file = recordings_folder() / f"{key}.gz"
    try:
        recording = InstallRecording.load(key, file.read_bytes())
        os.utime(file)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    return recording


def keep(recording: InstallRecording) -> None:
    """Write a recording down for later runs, and remove those that were not used for a while. It is
    done without where it cannot be written.
    """
    folder = recordings_folder()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as unfinished:
            unfinished.write(recording.dump())
        Path(unfinished.name).replace(folder / f"{recording.key}.gz")
        for file in folder.iterdir():
            if file.stat().st_mtime < time.time() - STALE_SECONDS:
                file.unlink()


def record(
    installation: InstallCall,
    key: str,
    version: Json,
    context: CommandContext,
    running: RunningProgram,
    log: IO[bytes],
) -> InstallRecording | None:
    """What istioctl does to a new cluster.

    Args:
        key: of the installation.
        version: what the API server says of its version.
        running: ends it.
        log: takes what it writes.

    Returns:
        None where it was ended before it was done.

    Raises:
        ProbeError: it failed, or did something that the stand-in does not know.
        OSError: it cannot be started.
    """
    cluster = StandIn(version, [event for each in installation.before for event in each.events])
    with cluster.serving() as url, tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder, "kubeconfig")
        kubeconfig.write_text(_kubeconfig(context_of(installation.argv), url), encoding="utf-8")
        environment = {**context.environment, "KUBECONFIG": str(kubeconfig)}
        ended = running.call(installation.argv, replace(context, environment=environment), log)
    if ended is None:
        return None
    if any(ended.statuses) or cluster.refused:
        program, *_ = installation.argv
        unknown = "; ".join(dict.fromkeys(cluster.refused))
        raise ProbeError(
            wanted="istioctl to do to a stand-in of an API server what it does to a new cluster",
            seen=unknown or f"exit status {ended.statuses[-1]}",
            where=f"{context.programs.get(program, program)}",
            remedy="install by istioctl itself: --mesh-apply istioctl",
        )
    return InstallRecording(key, tuple(cluster.events))


def context_of(argv: Sequence[str]) -> str:
    """The context that a call names."""
    flag = "--context="
    return next((each.removeprefix(flag) for each in argv if each.startswith(flag)), "")


def _kubeconfig(context: str, url: str) -> str:
    entry = {"name": context}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{**entry, "cluster": {"server": url}}],
        "users": [{**entry, "user": {}}],
        "contexts": [{**entry, "context": {"cluster": context, "user": context}}],
    }
    return yaml.safe_dump(content)


@cache
def _digest(program: Path) -> str:
    with program.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
