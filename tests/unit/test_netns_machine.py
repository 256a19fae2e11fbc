"""What the embedded lab asks of a kernel and does to it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from mesh_fixtures.contract import EndedService
from mesh_fixtures.lab import inotify
from mesh_fixtures.lab.netns import machine
from mesh_fixtures.lab.netns.components import with_clock_speed
from mesh_fixtures.lab.netns.lab import ended_services


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """/proc of a kernel that has neither module."""
    (tmp_path / "filesystems").write_text("nodev\tproc\n\text4\n")
    return tmp_path


def add_overlay(proc: Path) -> None:
    (proc / "filesystems").write_text("nodev\tproc\nnodev\toverlay\n")


def add_bridge_filter(proc: Path) -> list[Path]:
    folder = proc / "sys/net/bridge"
    folder.mkdir(parents=True)
    switches = [folder / f"bridge-nf-call-{each}" for each in ("arptables", "iptables")]
    for switch in switches:
        switch.write_text("1\n")
    return switches


def modprobe(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    program = folder / "modprobe"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name, path: str(program))


def test_what_is_built_in_or_loaded_is_not_missing(proc: Path) -> None:
    assert list(machine.missing_modules(proc)) == ["br_netfilter", "overlay"]
    add_overlay(proc)
    assert list(machine.missing_modules(proc)) == ["br_netfilter"]
    add_bridge_filter(proc)
    assert list(machine.missing_modules(proc)) == []


def test_bridges_of_the_machine_work_as_before(
    proc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_overlay(proc)
    folder = proc / "sys/net/bridge"
    script = f"mkdir -p {folder}; echo 1 > {folder}/bridge-nf-call-iptables"
    modprobe(monkeypatch, tmp_path, script)
    assert list(machine.load_modules(proc)) == ["br_netfilter"]
    assert (folder / "bridge-nf-call-iptables").read_text() == "0"


def test_setting_of_somebody_who_loaded_it_before_stays(
    proc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switches = add_bridge_filter(proc)
    modprobe(monkeypatch, tmp_path, "exit 0")
    assert list(machine.load_modules(proc)) == ["overlay"]
    assert [switch.read_text() for switch in switches] == ["1\n", "1\n"]


@pytest.mark.parametrize(("script", "missing"), [("exit 0", []), ("exit 1", ["br_netfilter"])])
def test_module_that_can_be_loaded_is_no_problem(
    proc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, missing: Sequence[str]
) -> None:
    modprobe(monkeypatch, tmp_path, script)
    monkeypatch.setattr(machine, "missing_modules", lambda: ["br_netfilter"])
    found = machine.module_problems()
    assert [problem.missing for problem in found] == [f"the kernel module {n}" for n in missing]


def test_module_is_a_problem_where_nothing_loads_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "missing_modules", lambda: ["overlay"])
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    (problem,) = machine.module_problems()
    assert "overlay" in problem.missing


def test_nine_control_planes_are_too_many_for_the_usual_limit_of_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "max_user_instances").write_text("128\n")
    (tmp_path / "max_user_watches").write_text("1000000\n")
    monkeypatch.setattr(inotify, "_instances_in_use", lambda proc: Counter())
    (problem,) = inotify.problems(9, machine._WATCHERS_OF_NODE, tmp_path)
    assert "for user 0" in problem.missing


CPUINFO = "processor\t: 0\nmodel name\t: virtual\n\nprocessor\t: 1\nmodel name\t: virtual\n"


def test_each_processor_without_a_clock_speed_gets_one() -> None:
    lines = with_clock_speed(CPUINFO).splitlines()
    assert lines[1].startswith("cpu MHz")
    assert lines[5].startswith("cpu MHz")
    assert [line for line in lines if not line.startswith("cpu MHz")] == CPUINFO.splitlines()


def test_clock_speed_of_the_machine_is_kept() -> None:
    known = CPUINFO.replace("model name", "cpu MHz")
    assert with_clock_speed(known) == known


def test_services_that_ended_are_read_from_the_log_of_their_node(tmp_path: Path) -> None:
    folder = tmp_path / "cluster1-node1"
    assert ended_services(folder) == []
    folder.mkdir()
    (folder / "node.log").write_text(
        "mesh-node: supervising 7 services\n"
        "mesh-node: kubelet ended at 2026-01-02T03:04:05Z with signal killed after 9.0 s\n"
        "mesh-node: etcd starts although tcp://x does not answer after 60 s\n"
    )
    assert ended_services(folder) == [
        EndedService(
            "cluster1-node1", "kubelet", "2026-01-02T03:04:05Z", "signal killed after 9.0 s"
        )
    ]
