"""What pytest-xdist's workers and their controller tell each other: a folder of small files.

The folder's name says which controller it belongs to. One whose controller was killed is abandoned
as soon as no worker holds a lab any more, and removed by the next start or by `clean`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, cast

from mesh_fixtures.errors import MachineError
from mesh_fixtures.ownership import Owner, state_folder
from mesh_fixtures.progress import ProgressEvent, Sink

_POLL = 0.2
_EVENTS = "events.jsonl"
_HOLDS_LAB = "holds-lab-"
_VERSIONS = "versions-"


def exchanges_folder() -> Path:
    """Where the exchanges of all controllers of this user are."""
    return state_folder() / "exchanges"


@dataclass(frozen=True)
class Collected:
    """What a worker found when it collected.

    Attributes:
        topologies: topology by id of each test that needs a lab.
        selected: topologies of all tests, also of those that will be skipped.
        usage_error: why nothing can run; empty when all is well.
        verifying: topology and requirement by id of each test that verifies one.
        scenarios: what these topologies are, as JSON of `Scenario`, by id.
    """

    topologies: Mapping[str, str] = field(default_factory=dict)
    selected: Sequence[str] = ()
    usage_error: str = ""
    verifying: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scenarios: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Exchange:
    """The folder that one controller and its workers share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = Lock()

    @classmethod
    def create(cls) -> Exchange:
        """Make a folder for this process.

        Raises:
            MachineError: it could not be made.
        """
        folder = exchanges_folder()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return cls(Path(tempfile.mkdtemp(prefix=f"{Owner.this_process()}-", dir=folder)))
        except OSError as error:
            raise MachineError(
                wanted="a folder for what workers and controller tell each other",
                seen=error.strerror or str(error),
                where=str(folder),
                remedy="point XDG_STATE_HOME at a folder that you may write to",
            ) from error

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def sink(self) -> Sink:
        """Appends each event for the controller to read; none when nobody reads any more."""

        def append(event: ProgressEvent) -> None:
            line = json.dumps(event.as_json()) + "\n"
            with (
                suppress(FileNotFoundError),
                self._lock,
                (self.folder / _EVENTS).open("a", encoding="utf-8") as file,
            ):
                file.write(line)

        return append

    def record_collected(self, worker: str, collected: Collected) -> None:
        """Record what a worker collected, before xdist tells the controller that it has."""
        path = self.folder / f"collected-{worker}.json"
        path.write_text(json.dumps(asdict(collected)), encoding="utf-8")

    def collected_by(self, worker: str) -> Collected:
        """What that worker collected; nothing when it never reported."""
        path = self.folder / f"collected-{worker}.json"
        if not path.exists():
            return Collected()
        return Collected(**json.loads(path.read_text(encoding="utf-8")))

    def record_versions(self, topology: str, versions: Mapping[str, str]) -> None:
        """Record what was seen to run in the lab of a topology, before it is removed."""
        path = self.folder / f"{_VERSIONS}{topology}.json"
        path.write_text(json.dumps(dict(versions)), encoding="utf-8")

    def versions_of(self, topology: str) -> Mapping[str, str]:
        """What was seen to run in the lab of a topology; nothing when no worker reported."""
        path = self.folder / f"{_VERSIONS}{topology}.json"
        if not path.exists():
            return {}
        return cast("dict[str, str]", json.loads(path.read_text(encoding="utf-8")))

    @contextmanager
    def holding_lab(self) -> Iterator[None]:
        """Record that this process holds a lab."""
        marker = self.folder / f"{_HOLDS_LAB}{Owner.this_process()}"
        marker.touch()
        try:
            yield
        finally:
            marker.unlink(missing_ok=True)

    def holders(self) -> tuple[int, ...]:
        """Processes that hold a lab."""
        names = (path.name.removeprefix(_HOLDS_LAB) for path in self.folder.glob(f"{_HOLDS_LAB}*"))
        return tuple(owner.pid for owner in map(Owner.named, names) if owner.is_alive)

    @property
    def is_abandoned(self) -> bool:
        """Whether its controller is gone, and no worker is still removing a lab."""
        return not Owner.named(self.folder.name).is_alive and not self.holders()

    def stop_holders(self, seconds: float) -> bool:
        """Ask processes that hold a lab to stop, and wait that long until they have removed it.

        Returns:
            Whether all of them did in time.
        """
        for pid in self.holders():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while self.holders():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True


def remove_abandoned() -> list[str]:
    """Remove the folders whose controller was killed.

    Returns:
        Their names; none when there is no such folder to look into.
    """
    try:
        found = [Exchange(path) for path in sorted(exchanges_folder().iterdir()) if path.is_dir()]
    except OSError:
        return []
    abandoned = [exchange for exchange in found if exchange.is_abandoned]
    for exchange in abandoned:
        exchange.remove()
    return [exchange.folder.name for exchange in abandoned]


class Follower:
    """Reads the events of all workers while they are written, and passes them on.

    Args:
        sink: called in the follower's own thread.
    """

    def __init__(self, exchange: Exchange, sink: Sink) -> None:
        self._path = exchange.folder / _EVENTS
        self._sink = sink
        self._position = 0
        self._closed = Event()
        self._thread = Thread(target=self._follow, name="mesh-follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Pass on what is left, and stop."""
        self._closed.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._closed.wait(_POLL):
            self._read()
        self._read()

    def _read(self) -> None:
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                content = file.read()
        except FileNotFoundError:
            return
        whole, newline, _ = content.rpartition(b"\n")
        self._position += len(whole) + len(newline)
        for line in whole.splitlines():
            fields = cast("dict[str, Any]", json.loads(line))
            self._sink(ProgressEvent(**fields))
