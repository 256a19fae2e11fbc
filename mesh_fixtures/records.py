"""Where labs keep their state on this machine, and who uses which.

Every lab is a folder below the state folder. Its slot fixes its addresses; its owner is the process
that uses it. A lab without a living owner is either kept on purpose or abandoned.

Marks in its folder say that parts of its mesh are down or did not come back, and that an upgrade of
it began. A lab with one of them is not what was installed: it may be looked at, but no run takes it
over.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mesh_fixtures.errors import LabError
from mesh_fixtures.journal import Journal
from mesh_fixtures.ownership import Owner, state_folder
from mesh_fixtures.patience import patient

if TYPE_CHECKING:
    from mesh_fixtures.scenario import Scenario

SLOTS = 16
"""Address ranges for labs on this machine."""

_RECORD = "lab.json"
_DISRUPTED = "disrupted"
_UPGRADED = "upgraded"
_LOCK_DEADLINE = 60.0
_NO_SLOT = -1


def labs_folder() -> Path:
    """Where the labs of this user are."""
    return state_folder() / "labs"


@dataclass(frozen=True)
class Record:
    """What is known of a lab without looking into its clusters.

    Attributes:
        id: name of the lab; prefix of its namespaces.
        provider: what made it.
        engine: the container engine that runs it; empty where none does.
        slot: its address range; -1 where it needs none of its own.
        scenario: id of its scenario.
        scenario_digest: content of the scenario.
        artifacts_digest: content of everything that runs in it.
        owner_pid: process that uses it, 0 when nobody does.
        owner_started: start time of that process in clock ticks since boot.
        kept: whether it stays when its owner ends.
        booted: whether its clusters came up.
        installed: whether it holds the scenario's mesh.
        ports: loopback port of each cluster's API server.
        method: `InstallMethods.name`: how its mesh is installed; empty where it existed before.
        bare: whether it was made to hold no mesh of ours.
    """

    id: str
    provider: str
    engine: str
    slot: int
    scenario: str
    scenario_digest: str
    artifacts_digest: str
    owner_pid: int
    owner_started: int
    kept: bool = False
    booted: bool = False
    installed: bool = False
    ports: tuple[tuple[str, int], ...] = ()
    method: str = ""
    bare: bool = False

    @property
    def in_use(self) -> bool:
        return Owner(self.owner_pid, self.owner_started).is_alive

    @property
    def folder(self) -> Path:
        return labs_folder() / self.id

    @property
    def journal(self) -> Journal:
        return Journal(self.folder / "journal.jsonl")

    def save(self) -> None:
        """Write the record, all or nothing."""
        beside = self.folder / f"{_RECORD}.new"
        beside.write_text(json.dumps(asdict(self), indent=1))
        beside.replace(self.folder / _RECORD)


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold the lock under which labs are made, taken over and given up.

    Raises:
        LabError: another process holds it for too long.
    """
    from filelock import FileLock, Timeout  # takes a moment, which runs without labs are spared

    folder = labs_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    seconds = patient(_LOCK_DEADLINE)
    lock = FileLock(folder / ".lock", timeout=seconds)
    try:
        with lock:
            yield
    except Timeout as error:
        raise LabError(
            wanted=f"the lock {lock.lock_file} within {seconds:g} s",
            seen="another process holds it",
            where="labs of this machine",
            remedy="wait for that process, or end it",
        ) from error


def load_all() -> list[Record]:
    """All labs of this machine; a folder whose record cannot be read counts as abandoned."""
    folder = labs_folder()
    if not folder.exists():
        return []
    return [_read(path) for path in sorted(folder.iterdir()) if path.is_dir()]


def claim(
    scenario: Scenario,
    runs: str,
    *,
    provider: str,
    engine: str = "",
    slotted: bool = True,
    method: str = "",
    bare: bool = False,
) -> Record:
    """Make the folder and record of a new lab; call under `exclusive`.

    Args:
        runs: digest of everything that runs in it.
        slotted: whether it needs addresses that no other lab of this machine has.
        method: how its mesh will be installed.
        bare: whether none will be.

    Raises:
        LabError: all slots are taken.
    """
    pid, started = own_identity()
    record = Record(
        id=f"mesh-{secrets.token_hex(2)}",
        provider=provider,
        engine=engine,
        slot=_free_slot() if slotted else _NO_SLOT,
        scenario=scenario.id,
        scenario_digest=scenario.digest,
        artifacts_digest=runs,
        owner_pid=pid,
        owner_started=started,
        method=method,
        bare=bare,
    )
    record.folder.mkdir(mode=0o700)
    record.save()
    return record


def _free_slot() -> int:
    taken = {record.slot for record in load_all()}
    free = [slot for slot in range(SLOTS) if slot not in taken]
    if not free:
        raise LabError(
            wanted=f"fewer than {SLOTS} labs on this machine",
            seen=", ".join(record.id for record in load_all()),
            where=str(labs_folder()),
            remedy="mesh-conformance clean, or mesh-conformance down --all for kept labs",
        )
    return free[0]


def take_over(record: Record) -> Record:
    """Make this process the owner of a kept lab; call under `exclusive`."""
    pid, started = own_identity()
    mine = replace(record, owner_pid=pid, owner_started=started)
    mine.save()
    return mine


def is_disrupted(folder: Path) -> bool:
    """Whether parts of the mesh of the lab with this folder are down, or did not come back."""
    return (folder / _DISRUPTED).exists()


def mark_disrupted(folder: Path) -> None:
    (folder / _DISRUPTED).touch()


def unmark_disrupted(folder: Path) -> None:
    (folder / _DISRUPTED).unlink(missing_ok=True)


def mark_upgraded(folder: Path) -> None:
    (folder / _UPGRADED).touch()


def is_as_installed(folder: Path) -> bool:
    """Whether there is neither mark."""
    return not is_disrupted(folder) and not (folder / _UPGRADED).exists()


def own_identity() -> tuple[int, int]:
    """Pid and start time of this process."""
    owner = Owner.this_process()
    return owner.pid, owner.started


def _read(folder: Path) -> Record:
    """A lab's record; what a newer version added to it is ignored."""
    try:
        content = json.loads((folder / _RECORD).read_text())
        content["ports"] = tuple((name, port) for name, port in content["ports"])
        known = {each.name for each in fields(Record)}
        return Record(**{name: value for name, value in content.items() if name in known})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Record(folder.name, "", "", _NO_SLOT, "", "", "", 0, 0)
