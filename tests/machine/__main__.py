"""Runs the product on a second machine: Debian's own kernel, control groups of version 2.

usage: python -m tests.machine [--init small|systemd] [--suite SUITE] [--checks NAME,...]
       [--patience N] [--kernel PARAMETER]
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import catalog, gobuild, versions
from mesh_fixtures.artifacts.cache import Cache, Entry, cache_root
from mesh_fixtures.errors import MachineError, MeshConformanceError
from mesh_fixtures.interruption import interruption
from mesh_fixtures.progress import Progress
from mesh_fixtures.progress.display import Display
from tests.kind_environment import catalog as kind_environment
from tests.kind_environment import docker, node_image
from tests.kind_environment.terminal import say
from tests.machine import disk, emulator, system

KIND: Final = "kind"
CHECKS: Final = ("doctor", "killed", "nodes", "interrupted", "container", "topology", KIND)
MEMORY: Final = 6144
"""MiB; a topology takes 3 GiB, and a node's root is in memory."""

PATIENCE: Final = 20.0
"""How many times slower an emulated machine is, about."""

SECONDS: Final = 3600.0
"""For all checks; beyond that the machine is ended."""

_VERDICT: Final = re.compile(r"machine: \d+ passed, (?P<failed>\d+) failed")
_PARAMETERS: Final = ("mitigations=off", "panic=-1", "quiet")
_INIT: Final = {"small": ("init=/machine/init",), "systemd": ()}


def main(arguments: Sequence[str]) -> int:
    """Boot, run the checks, end the machine.

    Returns:
        0 if all passed, 1 if not, 3 if this machine cannot run it, 4 if it did not boot or end.
    """
    asked = _parser().parse_args(arguments)
    display = Display(say)
    try:
        emulator.require()
        with interruption.holding():
            return _run(asked, Progress("second machine", display))
    except MachineError as error:
        say(str(error))
        return 3
    except MeshConformanceError as error:
        say(str(error))
        return 4
    except KeyboardInterrupt:
        return 130
    finally:
        display.close()


def _run(asked: argparse.Namespace, progress: Progress) -> int:
    root = cache_root()
    parts = (*catalog.parts(), gobuild.kind().part())
    images = kind_environment.parts() if KIND in asked.checks.split(",") else parts
    built = Cache(root).ensure(
        (*images, system.system(asked.suite), system.environment()), progress
    )
    folders = {f"/{system.CACHE}/venv": built[system.ENVIRONMENT].folder / "venv"}
    control_planes = root.parent / "control-planes"
    if control_planes.is_dir():
        folders[f"/{system.CACHE}/control-planes"] = control_planes
    if node_image.NAME in built:
        store = built[node_image.NAME].folder
        folders |= {f"/var/lib/docker/{name}": store / name for name in docker.STORED}
    home = root.parent / "machine"
    home.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=home) as scratch:
        image = Path(scratch) / "disk.img"
        with progress.phase("disk"):
            disk.write(
                image,
                Path(scratch),
                root=built[system.SYSTEM].folder / "root",
                artifacts=[Entry(root / part.name, built[part.name].key) for part in parts],
                folders=folders,
            )
        return _boot(asked, built[system.SYSTEM].folder / "root", Path(scratch), progress)


def _boot(asked: argparse.Namespace, root: Path, scratch: Path, progress: Progress) -> int:
    kernel, ramdisk = system.kernel_of(root)
    parameters = (
        *_PARAMETERS,
        *_INIT[asked.init],
        *asked.kernel,
        f"machine.checks={asked.checks}",
        f"machine.patience={asked.patience:g}",
    )
    hardware = emulator.Hardware(kernel, ramdisk, parameters, scratch / "disk.img", MEMORY)
    begun = time.monotonic()
    choices = emulator.accelerations()
    with emulator.booted(hardware, scratch / "kernel.log", choices) as (how, output):
        progress.note("booted", f"by {how} after {time.monotonic() - begun:.1f} s")
        verdict = None
        for line in output.following(SECONDS):
            say(line)
            verdict = _VERDICT.fullmatch(line) or verdict
        if verdict is None:
            log = (scratch / "kernel.log").read_text(errors="replace")
            say("\n".join(log.splitlines()[-30:]))
            say(f"the machine ended early, or ran for {SECONDS:g} s")
            return 4
    return 0 if verdict["failed"] == "0" else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.machine", description=__doc__)
    parser.add_argument("--init", choices=sorted(_INIT), default="small", help="its first process")
    parser.add_argument(
        "--kernel", metavar="PARAMETER", action="append", default=[], help="repeatable"
    )
    parser.add_argument("--suite", default=versions.DEBIAN_SUITE, help="of Debian: %(default)s")
    parser.add_argument("--checks", default=",".join(CHECKS), help="in this order: %(default)s")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE, help="factor of all deadlines: %(default)g"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
