"""What the kernel knows of a lab's networks: links, addresses, routes, filters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mesh_fixtures import runner
from mesh_fixtures.contract import EndedService
from mesh_fixtures.journal import Journal
from mesh_fixtures.lab.netns.launch import path_of
from mesh_fixtures.lab.processes import is_running
from mesh_fixtures.parallel import parallel_map
from mesh_fixtures.patience import patient

_QUESTIONS: Final = (
    ("ip", "-statistics", "link"),
    ("ip", "address"),
    ("ip", "route", "show", "table", "all"),
    ("ip", "neighbour"),
    ("nft", "list", "ruleset"),
)
_ENDED: Final = re.compile(
    r"^mesh-node: (?P<name>\S+) ended at (?P<at>\S+) with (?P<how>.*)$", re.M
)
_SECONDS: Final = 5.0


def ended_services(folder: Path) -> list[EndedService]:
    """Services that ended and were started again, as mesh-node says in its own log.

    Args:
        folder: of a node; the last part of it is the node's name.
    """
    log = folder / "node.log"
    if not log.exists():
        return []
    found = _ENDED.finditer(log.read_text(errors="replace"))
    return [EndedService(folder.name, each["name"], each["at"], each["how"]) for each in found]


def network_state(journal: Journal) -> Mapping[str, str]:
    """What each of a lab's network namespaces holds, by its name, as commands print it."""
    names = [entry.name for entry in journal.entries() if entry.kind == "namespace"]
    programs = _programs(journal)

    def look(namespace: str) -> str:
        enter = ["nsenter", *programs, f"--net={path_of(namespace)}"]
        return "\n".join(_asked([*enter, *argv], argv) for argv in _QUESTIONS)

    return parallel_map(look, names)


def _programs(journal: Journal) -> tuple[str, ...]:
    """How to enter the files of a node, whose programs this machine may lack; none runs: not at
    all.
    """
    for entry in journal.entries():
        if entry.kind == "process" and entry.name.startswith("node ") and is_running(entry):
            # the process is what waits for the node's first one, in namespaces of its own
            children = Path(f"/proc/{entry.pid}/task/{entry.pid}/children").read_text().split()
            if children:
                return (f"--mount=/proc/{children[0]}/ns/mnt",)
    return ()


def _asked(command: list[str], argv: tuple[str, ...]) -> str:
    done = runner.run(command, seconds=patient(_SECONDS))
    trouble = f"{done.trouble}\n" if done.trouble else ""
    return f"$ {' '.join(argv)}\n{done.output}{done.errors}{trouble}"
