"""What a part is: its inputs, its builder, and the key that follows from them."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh_fixtures.artifacts.command import Limits, run
from mesh_fixtures.progress import Progress

FORMAT = "1"
"""Raise it when parts that were built before can no longer be used."""


@dataclass(frozen=True)
class Work:
    """What a builder gets to work with.

    Attributes:
        into: the empty folder that becomes the part.
        scratch: a folder that is removed afterwards, on the same file system.
        needs: folders of the parts that this one is made of or uses, by name.
        limits: when programs that it runs must end.
        progress: where it reports remarks.
        part: its own name.
    """

    into: Path
    scratch: Path
    needs: Mapping[str, Path]
    limits: Limits
    progress: Progress
    part: str

    def note(self, detail: str) -> None:
        self.progress.note(self.part, detail)

    def run(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        what: str,
        remedy: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> str:
        """`command.run` within this build's limits, its output kept in the scratch folder."""
        number, name = tempfile.mkstemp(prefix="output-", dir=self.scratch)
        os.close(number)
        return run(
            command, what=what, log=Path(name), limits=self.limits, remedy=remedy, env=env, cwd=cwd
        )


@dataclass(frozen=True)
class Part:
    """Something that is built once and then kept.

    Attributes:
        name: also its folder's name.
        inputs: everything that decides its content, apart from the parts in `needs`.
        build: fills `Work.into`; raises ArtifactError.
        needs: names of parts that it is made of; a change of theirs changes its key.
        lane: parts of one lane are built one after another, in the order of the catalog.
        seconds: how long its build may take.
        uses: names of parts that its build calls, which come before it and change no key.
        on_demand: whether it is made only for a part that uses it.
        prefetch: fetches what the build will download; runs early, in a lane of its own, and its
            failure is left to the build to report.
    """

    name: str
    inputs: Mapping[str, str]
    build: Callable[[Work], None]
    needs: tuple[str, ...] = ()
    lane: str = "files"
    seconds: float = 900.0
    uses: tuple[str, ...] = ()
    on_demand: bool = False
    prefetch: Callable[[Work], None] | None = None


@dataclass(frozen=True)
class Built:
    """A part that is there.

    Attributes:
        size: bytes on disk.
        seconds: what its build took, whenever that was.
    """

    name: str
    key: str
    folder: Path
    size: int
    seconds: float


def keys_of(parts: Sequence[Part]) -> dict[str, str]:
    """The content key of each part: hex digits over its inputs and its parts' keys.

    Raises:
        ValueError: a part needs one that does not come before it.
    """
    keys: dict[str, str] = {}
    for part in parts:
        missing = [need for need in part.needs if need not in keys]
        if missing:
            raise ValueError(f"{part.name} needs {', '.join(missing)}, not listed before it")
        content = [FORMAT, part.name, dict(part.inputs), {need: keys[need] for need in part.needs}]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
        keys[part.name] = digest.hexdigest()[:20]
    return keys
