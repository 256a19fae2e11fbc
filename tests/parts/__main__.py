"""Runs a command from nothing, with releases of all parts on loopback and without Go.

usage: python -m tests.parts [--mbit N] [--warm] COMMAND [ARGUMENT...]

N is how fast they come, in megabits a second: 100 by default. With --warm, Debian's root file
system is there already, and so is what Go has compiled before. How long it took is printed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from argparse import REMAINDER, ArgumentParser
from collections.abc import Sequence

from mesh_fixtures.errors import MeshConformanceError
from mesh_fixtures.progress import Progress
from mesh_fixtures.progress.display import Display
from tests.kind_environment.terminal import say
from tests.parts.setting import MEGABIT, setting

FAILED = 1


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit status."""
    parser = ArgumentParser("python -m tests.parts")
    parser.add_argument("--mbit", type=float, default=100.0)
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("command", nargs=REMAINDER)
    asked = parser.parse_args(arguments)
    display = Display(say)
    try:
        rate = asked.mbit * MEGABIT
        with setting(Progress("parts", display), rate=rate, from_nothing=not asked.warm) as found:
            begun = time.monotonic()
            status = subprocess.run(asked.command, env=found.environment, check=False).returncode
            seconds = time.monotonic() - begun
            sent = found.site.sent / 2**20
            say(f"{seconds:.1f} s at {asked.mbit:g} Mbit/s, {sent:.0f} MiB of releases")
        return status
    except MeshConformanceError as error:
        say(str(error))
        return FAILED
    finally:
        display.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
