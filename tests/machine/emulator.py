"""QEMU: the second machine itself, by the processor's help where that works, else emulated."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from mesh_fixtures.errors import LabError, MachineError

Acceleration = Literal["kvm", "tcg"]

PROGRAM: Final = "qemu-system-x86_64"
UP: Final = "machine: up"
"""The first line that the second machine writes."""

BOOT_SECONDS: Final[Mapping[Acceleration, float]] = {"kvm": 20.0, "tcg": 90.0}
"""From the start to `UP`; emulated it takes 6 s on idle cores, with systemd 30 s."""

TRIES: Final = 3
"""An emulated kernel has been seen to hang in its first second, about once in 20 boots."""

_CORES: Final = 2
_KVM: Final = Path("/dev/kvm")


@dataclass(frozen=True)
class Hardware:
    """What the second machine is made of.

    Attributes:
        kernel: and `ramdisk`, `parameters`: what is booted, and its command line.
        disk: image of its root file system, which is never written to.
        memory: MiB.
    """

    kernel: Path
    ramdisk: Path
    parameters: Sequence[str]
    disk: Path
    memory: int


def require() -> None:
    """Check that there is an emulator.

    Raises:
        MachineError: there is none.
    """
    if shutil.which(PROGRAM) is None:
        raise MachineError(
            wanted=f"the program {PROGRAM}",
            seen="none in PATH",
            where="second machine",
            remedy="apt-get install -y --no-install-recommends qemu-system-x86",
        )


def accelerations(kvm: Path = _KVM) -> Sequence[Acceleration]:
    """What to try, one after another: a machine that offers KVM may still not boot by it."""
    emulated: list[Acceleration] = ["tcg"] * TRIES
    return ["kvm", *emulated] if os.access(kvm, os.R_OK | os.W_OK) else emulated


def command(hardware: Hardware, acceleration: Acceleration, log: Path) -> list[str]:
    """Arguments that start the machine; its second serial line is standard output.

    Args:
        log: for the kernel's messages, on its first serial line.
    """
    accelerator = "tcg,thread=multi,tb-size=1024" if acceleration == "tcg" else "kvm"
    return [
        *(PROGRAM, "-nodefaults", "-no-reboot", "-display", "none", "-machine", "q35"),
        *("-accel", accelerator, "-cpu", "max", "-smp", str(_CORES), "-m", str(hardware.memory)),
        *("-kernel", str(hardware.kernel), "-initrd", str(hardware.ramdisk)),
        *("-append", " ".join(("root=/dev/vda rw console=ttyS0", *hardware.parameters))),
        "-drive",
        f"file={hardware.disk},if=virtio,format=raw,snapshot=on,cache=unsafe",
        *("-device", "virtio-rng-pci"),
        *("-serial", f"file:{log}", "-serial", "stdio"),
    ]


@contextmanager
def booted(
    hardware: Hardware, log: Path, choices: Sequence[Acceleration]
) -> Iterator[tuple[Acceleration, Output]]:
    """A machine that has written its first line; ended when the context is left.

    Raises:
        LabError: none of the choices boots in time.
    """
    failures = []
    for acceleration in choices:
        process = subprocess.Popen(
            command(hardware, acceleration, log),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        output = Output(process)
        try:
            if output.await_line(UP, BOOT_SECONDS[acceleration]):
                yield acceleration, output
                return
        finally:
            process.kill()
            process.wait()
        last = log.read_text(errors="replace").splitlines()[-1:] if log.exists() else []
        failures.append(f"{acceleration}: {' '.join([*output.lines[-3:], *last])}")
    raise LabError(
        wanted=f"the second machine to boot within {BOOT_SECONDS[choices[-1]]:g} s",
        seen="; ".join(failures),
        where=str(log),
        remedy="try it on a machine with nothing else to do",
    )


@dataclass
class Output:
    """What a machine writes, line by line, read in the background so that it never has to wait."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _ended: bool = False

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def await_line(self, wanted: str, seconds: float) -> bool:
        """Whether a line comes before the machine ends, and in time."""
        return any(line == wanted for line in self.following(seconds))

    def following(self, seconds: float) -> Iterator[str]:
        """All lines, as they come, until the machine ends or time is over."""
        end = time.monotonic() + seconds
        position = 0
        while True:
            with self._changed:
                while len(self.lines) <= position and not self._ended and time.monotonic() < end:
                    self._changed.wait(timeout=end - time.monotonic())
                fresh = self.lines[position:]
            if not fresh:
                return
            position += len(fresh)
            yield from fresh

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\r\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
