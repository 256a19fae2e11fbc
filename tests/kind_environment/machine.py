"""Whether this machine can run the environment; looked at before anything is made."""

from __future__ import annotations

import platform
import shutil

from mesh_fixtures.artifacts import build
from mesh_fixtures.contract import Problem
from mesh_fixtures.errors import MachineError
from mesh_fixtures.lab.netns import cgroups
from mesh_fixtures.lab.netns import machine as netns

_INSTEAD = (
    "use this machine's own Docker, without the environment: "
    "pytest tests/conformance --mesh-provider kind"
)


def require() -> None:
    """Check `problems`.

    Raises:
        MachineError: there is one.
    """
    found = problems()
    if found:
        raise MachineError(
            wanted="a machine that can run the kind environment",
            seen="; ".join(f"{problem.missing} is missing" for problem in found),
            where=platform.node() or "this machine",
            remedy="; ".join([*(problem.remedy for problem in found if problem.remedy), _INSTEAD]),
        )


def problems() -> list[Problem]:
    """What this machine lacks; nothing is changed."""
    found = netns.problems()
    if found:
        return found
    if cgroups.is_version_2():
        found.append(Problem("version 1 of control groups (this is version 2)", ""))
    if shutil.which("setpriv") is None:
        found.append(Problem("the program setpriv", "apt-get install -y util-linux"))
    return [*found, *build.problems()]
