"""Control groups for a lab's nodes, in every hierarchy of version 1 or in the one of version 2.

Below the machine's root, each lab has a group, in it each node has one, and in that are the node's
services and, made by its kubelet, its pods. Every kubelet gets a root of its own, because two
kubelets with one root remove each other's pods (Kubernetes: KubeletConfiguration `cgroupRoot`;
cgroups(7)).

In version 2 a group hands a controller on to its children only if that is enabled in its
`cgroup.subtree_control`, and, but for the machine's root, only while no process is in the group
itself (Linux: "Control Group v2", "Top-down Constraint" and "No Internal Process Constraint").
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mesh_fixtures.errors import LabError
from mesh_fixtures.journal import JournalEntry
from mesh_fixtures.patience import patient

MOUNT: Final = Path("/sys/fs/cgroup")
NEEDED: Final = ("cpu", "memory", "pids")
"""Controllers without which version 2 is of no use to a node."""

_OF_KUBELET: Final = ("cpu", "cpuset", "hugetlb", "memory", "pids")
"""Controllers of which the kubelet demands those that the root offers, from 1.33 to 1.37
(Kubernetes: `pkg/kubelet/cm/cgroup_v2_manager_linux.go`, `getSupportedUnifiedControllers`)."""

_SERVICES: Final = "services"
_VACATED: Final = "mesh-conformance-vacated"
"""Group for the processes of a container, which its root cannot keep while it has controllers."""

_ENABLING_TRIES: Final = 5
_VACATING_TRIES: Final = 50
_NICE_0: Final = 1024
"""`cpu.shares` of a group that weighs as much as one process."""

_MOST_SHARES: Final = 262144
_DEFAULT_WEIGHT: Final = 100
_MOST_WEIGHT: Final = 10000

_REMOVAL_DEADLINE = 20.0


def is_version_2(root: Path = MOUNT) -> bool:
    return (root / "cgroup.controllers").exists()


def kubelet_root(lab: str, node: str) -> str:
    """Value of `cgroupRoot` for a node's kubelet."""
    return f"/{lab}/{node}"


def services_group(lab: str, node: str) -> Path:
    """The group that a node's own processes belong into, by whose weight they share the processor
    with the node's pods.
    """
    hierarchy = MOUNT if is_version_2() else MOUNT / "cpu"
    return hierarchy / lab / node / _SERVICES


def missing_controllers(root: Path = MOUNT) -> Sequence[str]:
    """Controllers of version 2 that a node needs and the root does not offer."""
    offered = _words(root / "cgroup.controllers")
    return [name for name in NEEDED if name not in offered]


def cpu_shares(nodes: int, cores: int) -> int:
    """`cpu.shares` of a lab in version 1: each node weighs as much as one process on each core.

    Beside a lab stand single processes there, and the shares of a group are for all cores together.
    """
    return min(nodes * cores * _NICE_0, _MOST_SHARES)


def cpu_weight(nodes: int) -> int:
    """`cpu.weight` of a lab in version 2: each node weighs as much as one of the groups beside the
    lab, e.g. systemd's `user.slice`.
    """
    return min(nodes * _DEFAULT_WEIGHT, _MOST_WEIGHT)


def create(lab: str, node: str, nodes: int, record: Callable[[JournalEntry], None]) -> None:
    """Make a node's control groups.

    Args:
        nodes: of the whole lab.

    Raises:
        LabError: the machine does not allow it.
    """
    record(JournalEntry("cgroup", lab))
    try:
        if is_version_2():
            create_version_2(lab, node, nodes)
        else:
            _create_version_1(lab, node, nodes)
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
    if is_version_2():
        move_back()


def leftovers(path: str) -> list[Path]:
    """Hierarchies' folders of this control group that still exist."""
    roots = [MOUNT] if is_version_2() else list(_hierarchies())
    return [root / path for root in roots if (root / path).exists()]


def create_version_2(
    lab: str, node: str, nodes: int, root: Path = MOUNT, controllers: Sequence[str] = _OF_KUBELET
) -> None:
    """Make a node's control groups in the hierarchy of version 2.

    Whatever the machine's root has enabled stays enabled. Where `root` is not the machine's but a
    container's own (cgroup_namespaces(7)), its processes are moved into a group of their own first.

    Args:
        controllers: enabled at every level, as far as the root offers them.

    Raises:
        OSError: the kernel refuses.
    """
    offered = _words(root / "cgroup.controllers")
    wanted = [name for name in controllers if name in offered]
    with _alone(root):
        if _has_processes_in_the_way(root):
            _vacate(root)
        for _ in range(_ENABLING_TRIES):
            try:
                _create_levels(root, (lab, node, _SERVICES), wanted)
                break
            except FileNotFoundError:
                # Until a child has a controller enabled, too, systemd may take it away again: it
                # writes the root's list anew when it reloads its units.
                continue
        else:
            raise OSError(f"{', '.join(wanted)} of {root} are taken away again and again")
    weight = root / lab / "cpu.weight"
    if weight.exists():
        weight.write_text(str(cpu_weight(nodes)))


def move_back(root: Path = MOUNT) -> None:
    """Undo what `create_version_2` did to the processes of a container, after its last lab.

    Nothing happens while another group needs the root's controllers.
    """
    vacated = root / _VACATED
    with _alone(root):
        others = [each for each in root.iterdir() if each.is_dir() and each != vacated]
        if not vacated.exists() or others:
            return
        for controller in _words(root / "cgroup.subtree_control"):
            (root / "cgroup.subtree_control").write_text(f"-{controller}")
        _move(vacated, root)
        vacated.rmdir()


def _create_levels(root: Path, path: Sequence[str], controllers: Sequence[str]) -> None:
    group = root
    for part in path:
        enabled = _words(group / "cgroup.subtree_control")
        for controller in controllers:
            if controller not in enabled:
                (group / "cgroup.subtree_control").write_text(f"+{controller}")
        group = group / part
        group.mkdir(exist_ok=True)


def _has_processes_in_the_way(root: Path) -> bool:
    """Whether processes keep a root from handing controllers on; the machine's own has no type."""
    return (root / "cgroup.type").exists() and bool(_words(root / "cgroup.procs"))


def _vacate(root: Path) -> None:
    vacated = root / _VACATED
    vacated.mkdir(exist_ok=True)
    _move(root, vacated)


def _move(source: Path, target: Path) -> None:
    """Move all processes of a group; they may start others meanwhile.

    Raises:
        OSError: some are still there, e.g. those of another process namespace (pid 0).
    """
    for _ in range(_VACATING_TRIES):
        pids = _words(source / "cgroup.procs")
        if not pids:
            return
        for pid in pids:
            if pid == "0":
                raise OSError(f"{source} has processes that cannot be seen from here")
            try:
                (target / "cgroup.procs").write_text(pid)
            except ProcessLookupError:
                continue
    raise OSError(f"{source} gets new processes as fast as they are moved to {target}")


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold a lock on a root; the kernel releases it with the process."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _create_version_1(lab: str, node: str, nodes: int) -> None:
    for hierarchy in _hierarchies():
        (hierarchy / lab / node).mkdir(parents=True, exist_ok=True)
    cores = os.cpu_count() or 1
    services = services_group(lab, node)
    services.mkdir(exist_ok=True)
    (MOUNT / "cpu" / lab / "cpu.shares").write_text(str(cpu_shares(nodes, cores)))
    # as much as the kubelet gives to all pods of the node
    (services / "cpu.shares").write_text(str(cpu_shares(1, cores)))


def _hierarchies() -> Iterator[Path]:
    for entry in sorted(MOUNT.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            yield entry


def _words(file: Path) -> list[str]:
    return file.read_text().split()


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
