"""How the second machine is started and listened to; it is booted by `tox -e machine`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import __main__ as machine
from tests.machine import emulator
from tests.machine.guest import checks

HARDWARE = emulator.Hardware(
    Path("/kernel"), Path("/ramdisk"), ("init=/machine/init", "quiet"), Path("/disk.img"), 2048
)


def saying(script: str) -> emulator.Output:
    return emulator.Output(
        subprocess.Popen([sys.executable, "-uc", script], stdout=subprocess.PIPE, text=True)
    )


def test_kvm_is_tried_once_where_it_may_be_opened(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    assert set(emulator.accelerations(device)) == {"tcg"}
    device.touch()
    assert [*emulator.accelerations(device)] == ["kvm", *["tcg"] * emulator.TRIES]


def test_disk_is_never_written_to() -> None:
    argv = emulator.command(HARDWARE, "tcg", Path("/log"))
    (drive,) = (each for each in argv if "disk.img" in each)
    assert "snapshot=on" in drive.split(",")


def test_machine_has_no_network() -> None:
    argv = emulator.command(HARDWARE, "kvm", Path("/log"))
    assert "-nodefaults" in argv
    assert not any("net" in each for each in argv)


def test_lines_are_followed_from_the_first_again() -> None:
    output = saying("print('a'); print('machine: up'); print('b')")
    assert output.await_line(emulator.UP, 20)
    assert [*output.following(20)] == ["a", "machine: up", "b"]


def test_machine_that_ends_early_or_says_nothing_is_not_up() -> None:
    assert not saying("print('a')").await_line(emulator.UP, 20)
    slow = saying("input()")
    assert not slow.await_line(emulator.UP, 0.2)
    slow.process.kill()


def test_machine_that_does_not_boot_is_ended_and_the_next_choice_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = {"kvm": "import time; time.sleep(60)", "tcg": "print('machine: up')"}
    monkeypatch.setattr(
        emulator, "command", lambda _, how, log: [sys.executable, "-uc", scripts[how]]
    )
    monkeypatch.setattr(emulator, "BOOT_SECONDS", {"kvm": 0.2, "tcg": 20.0})
    with emulator.booted(HARDWARE, tmp_path / "log", ["kvm", "tcg"]) as (how, output):
        assert how == "tcg"
        assert output.process.wait() == 0


def test_checks_that_are_asked_for_exist() -> None:
    assert set(machine.CHECKS) == set(checks.CHECKS)
