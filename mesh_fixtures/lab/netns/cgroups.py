"""Control groups for a lab's nodes, in every hierarchy of version 1 or in the one of version 2.

Every kubelet gets a root of its own, because two kubelets with one root remove each other's pods
(Kubernetes: KubeletConfiguration `cgroupRoot`; cgroups(7)).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mesh_fixtures.errors import LabError
from mesh_fixtures.lab.journal import Entry
from mesh_fixtures.patience import patient

MOUNT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
"""What a kubelet needs of version 2."""

_REMOVAL_DEADLINE = 5.0


def is_version_2() -> bool:
    return (MOUNT / "cgroup.controllers").exists()


def kubelet_root(lab: str, node: str) -> str:
    """Value of `cgroupRoot` for a node's kubelet."""
    return f"/{lab}/{node}"


def create(lab: str, node: str, record: Callable[[Entry], None]) -> None:
    """Make a node's control group in every hierarchy that the kubelet uses.

    Raises:
        LabError: the machine does not allow it.
    """
    record(Entry("cgroup", lab))
    try:
        if is_version_2():
            _create_version_2(kubelet_root(lab, node)[1:])
        else:
            for hierarchy in _hierarchies():
                (hierarchy / kubelet_root(lab, node)[1:]).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(
            wanted=f"a control group for {node}",
            seen=str(error),
            where=str(MOUNT),
            remedy="run on a machine, or in a container, whose control groups root may change",
        ) from error


def remove(path: str, *, deadline: float | None = None) -> None:
    """Remove a control group and everything below it, in every hierarchy.

    Args:
        path: relative to the hierarchies, e.g. the lab's name.
        deadline: seconds; the kernel lets go of a group a moment after its last process ended. None
            for `patient(_REMOVAL_DEADLINE)`.

    Raises:
        LabError: a group is still there at the deadline.
    """
    seconds = patient(_REMOVAL_DEADLINE) if deadline is None else deadline
    end = time.monotonic() + seconds
    for hierarchy in (MOUNT,) if is_version_2() else _hierarchies():
        top = hierarchy / path
        while top.exists():
            busy = _remove_tree(top)
            if busy is not None and time.monotonic() > end:
                raise LabError(
                    wanted=f"control group {top} to be removed within {seconds:g} s",
                    seen=str(busy),
                    where="teardown",
                )
            if busy is not None:
                time.sleep(0.02)


def leftovers(path: str) -> list[Path]:
    """Hierarchies' folders of this control group that still exist."""
    roots = [MOUNT] if is_version_2() else list(_hierarchies())
    return [root / path for root in roots if (root / path).exists()]


def _hierarchies() -> Iterator[Path]:
    for entry in sorted(MOUNT.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            yield entry


def _create_version_2(path: str) -> None:
    group = MOUNT
    for part in Path(path).parts:
        for controller in CONTROLLERS:
            (group / "cgroup.subtree_control").write_text(f"+{controller}")
        group = group / part
        group.mkdir(exist_ok=True)


def _remove_tree(top: Path) -> OSError | None:
    try:
        for child in top.iterdir():
            if child.is_dir():
                busy = _remove_tree(child)
                if busy is not None:
                    return busy
        top.rmdir()
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None


def is_own_root_busy() -> bool:
    """Whether version 2's root is a container's own and has processes: it cannot delegate then."""
    is_real_root = not (MOUNT / "cgroup.type").exists()
    return not is_real_root and bool((MOUNT / "cgroup.procs").read_text().strip())
