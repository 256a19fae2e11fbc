"""Says what a cause or a requirement is, as the guide does, wherever this is installed."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from difflib import get_close_matches

from mesh_fixtures.progress import Sink

SUMMARY = "print the guide's entry of a cause or a requirement"

UNKNOWN = 2
"""Exit status: it cannot be used as given."""


def add(parser: ArgumentParser) -> None:
    parser.add_argument(
        "entry",
        metavar="ID",
        help="of a cause or a requirement, as messages and reports have it, e.g. packet-loss or "
        "TRAFFIC-2",
    )
    parser.epilog = "Needs no cluster."


def run(arguments: Namespace, sink: Sink) -> int:
    del sink
    try:
        print(explained(arguments.entry))
    except LookupError as error:
        print(f"{arguments.prog}: {error}", file=sys.stderr)
        return UNKNOWN
    return 0


def explained(name: str) -> str:
    """The entry of that id, in Markdown, with its address.

    Raises:
        LookupError: there is none; says which may be meant.
    """
    found = entries()
    if name in found:
        return found[name]
    by_lower_case = {each.lower(): text for each, text in found.items()}
    if name.lower() in by_lower_case:
        return by_lower_case[name.lower()]
    close = get_close_matches(name.lower(), by_lower_case, cutoff=0.5)
    meant = f"; did you mean {' or '.join(close)}?" if close else ""
    raise LookupError(f"there is no cause and no requirement {name!r}{meant}")


def entries() -> Mapping[str, str]:
    """What the guide says, by the id of the requirement or cause."""
    from mesh_fixtures import guide
    from mesh_fixtures.requirements import REQUIREMENTS
    from mesh_fixtures.requirements.registry import markdown_entry

    found = {
        each.id: f"{each.id}: {guide.requirement_entry(each.id)}\n\n{markdown_entry(each)}"
        for each in REQUIREMENTS
    }
    found |= {
        cause: f"{cause}: {guide.cause_entry(cause)}\n\n{text}"
        for cause, text in guide.causes().items()
    }
    return found
