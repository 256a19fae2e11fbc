"""Control groups; those of version 2 are tried on the kernel, as far as this machine allows it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh_fixtures.lab.netns import cgroups
from mesh_fixtures.lab.netns.machine import control_group_problems

VERSION_1 = ("cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids")


def version_2_mount() -> Path | None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 "):
            return Path(fields.split()[4])
    return None


@pytest.fixture
def controller() -> str:
    """A controller whose groups may hold no processes beside their children, as most."""
    mount = version_2_mount()
    if mount is None or os.geteuid() != 0 or (mount / "cgroup.type").exists():
        pytest.skip("needs root, and the machine's own root of control groups version 2")
    offered = (mount / "cgroup.controllers").read_text().split()
    domain = [name for name in ("hugetlb", "memory", "io") if name in offered]
    if not domain:
        pytest.skip("this machine's controllers all belong to control groups version 1")
    return domain[0]


@pytest.fixture
def root(controller: str) -> Iterator[Path]:
    """A group in the place of a container's root: it has a type and may be full of processes."""
    mount = version_2_mount()
    assert mount is not None
    enabled = controller in (mount / "cgroup.subtree_control").read_text().split()
    (mount / "cgroup.subtree_control").write_text(f"+{controller}")
    folder = mount / f"mesh-unit-{secrets.token_hex(4)}"
    folder.mkdir()
    yield folder
    remove_tree(folder)
    if not enabled:
        with contextlib.suppress(OSError):  # another test has it enabled further down
            (mount / "cgroup.subtree_control").write_text(f"-{controller}")


def remove_tree(folder: Path) -> None:
    for child in folder.iterdir():
        if child.is_dir():
            remove_tree(child)
    folder.rmdir()


@pytest.fixture
def process(root: Path) -> Iterator[int]:
    """A process in the root."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as started:
        (root / "cgroup.procs").write_text(str(started.pid))
        yield started.pid
        started.kill()


def words(file: Path) -> list[str]:
    return file.read_text().split()


def test_every_level_hands_the_controllers_on(root: Path, controller: str) -> None:
    cgroups.create_version_2("lab", "node", 1, root, [controller, "no-such-controller"])
    for group in ("", "lab", "lab/node"):
        assert words(root / group / "cgroup.subtree_control") == [controller]
    assert words(root / "lab/node/services/cgroup.controllers") == [controller]


def test_second_node_and_second_call_find_what_is_there(root: Path, controller: str) -> None:
    for node in ("one", "two", "one"):
        cgroups.create_version_2("lab", node, 2, root, [controller])
    assert sorted(each.name for each in (root / "lab").iterdir() if each.is_dir()) == ["one", "two"]


def test_what_a_lab_has_enabled_cannot_be_taken_away_above_it(root: Path, controller: str) -> None:
    cgroups.create_version_2("lab", "node", 1, root, [controller])
    with pytest.raises(OSError, match=os.strerror(errno.EBUSY)):
        (root / "cgroup.subtree_control").write_text(f"-{controller}")


def test_processes_of_a_container_make_room_and_come_back(
    root: Path, controller: str, process: int
) -> None:
    cgroups.create_version_2("lab", "node", 1, root, [controller])
    (vacated,) = (each for each in root.iterdir() if each.is_dir() and each.name != "lab")
    assert words(vacated / "cgroup.procs") == [str(process)]
    cgroups.move_back(root)
    assert vacated.exists(), "the lab still needs the root's controllers"
    remove_tree(root / "lab")
    cgroups.move_back(root)
    assert words(root / "cgroup.procs") == [str(process)]
    assert words(root / "cgroup.subtree_control") == []
    assert not vacated.exists()


def test_processes_of_another_namespace_cannot_make_room(
    root: Path, controller: str, monkeypatch: pytest.MonkeyPatch, process: int
) -> None:
    assert process
    read = Path.read_text

    def unseen(file: Path, *arguments: str) -> str:
        return "0\n" if file == root / "cgroup.procs" else read(file, *arguments)

    monkeypatch.setattr(Path, "read_text", unseen)
    with pytest.raises(OSError, match="cannot be seen from here"):
        cgroups.create_version_2("lab", "node", 1, root, [controller])


@pytest.mark.parametrize(
    ("nodes", "cores", "shares"), [(1, 1, 1024), (2, 2, 4096), (3, 4, 12288), (99, 64, 262144)]
)
def test_lab_weighs_a_process_for_each_node_and_core_in_version_1(
    nodes: int, cores: int, shares: int
) -> None:
    assert cgroups.cpu_shares(nodes, cores) == shares


@pytest.mark.parametrize(("nodes", "weight"), [(1, 100), (3, 300), (200, 10000)])
def test_lab_weighs_a_group_for_each_node_in_version_2(nodes: int, weight: int) -> None:
    assert cgroups.cpu_weight(nodes) == weight


def version_2(folder: Path, controllers: str) -> Path:
    (folder / "cgroup.controllers").write_text(controllers)
    (folder / "cgroup.subtree_control").write_text("")
    return folder


@pytest.mark.parametrize(
    "offered", ["cpuset cpu io memory hugetlb pids rdma misc", "cpu memory pids"]
)
def test_machine_with_what_a_node_needs_has_no_problem(tmp_path: Path, offered: str) -> None:
    assert control_group_problems(version_2(tmp_path, offered)) == []


def test_machine_without_a_needed_controller_is_told_which(tmp_path: Path) -> None:
    (problem,) = control_group_problems(version_2(tmp_path, "cpuset io pids"))
    assert "cpu, memory" in problem.missing


def test_version_1_needs_its_own_controllers(tmp_path: Path) -> None:
    for name in VERSION_1:
        (tmp_path / name).mkdir()
    assert control_group_problems(tmp_path) == []
    (tmp_path / "memory").rmdir()
    (problem,) = control_group_problems(tmp_path)
    assert "memory" in problem.missing


def test_machine_without_control_groups_is_told(tmp_path: Path) -> None:
    assert control_group_problems(tmp_path / "missing")
