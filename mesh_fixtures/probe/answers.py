"""Answers of Istio's programs, which log to the output that they answer on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from mesh_fixtures.errors import ProbeError
from mesh_fixtures.kube import Source

_BEGINNING: Final = re.compile(r"^(?:[\[{]|null$)", re.MULTILINE)
"""Of a list, of an object, or of what Go writes for a list that nobody has made."""

_SHOWN: Final = 200


def answer_in(output: str) -> Any:
    """The JSON that an output ends with, whatever was logged before it, in JSON or not.

    Raises:
        ValueError: it does not end with JSON that begins a line.
    """
    end = len(output.rstrip())
    for beginning in _BEGINNING.finditer(output):
        try:
            value, stopped = json.JSONDecoder().raw_decode(output, beginning.start())
        except ValueError:
            continue
        if stopped == end:
            return value
    raise ValueError("no JSON at the end")


@contextmanager
def readable(source: Source, answer: object, wanted: str, by_hand: str = "") -> Iterator[None]:
    """A block that reads an answer.

    Args:
        answer: as text, or as what was read of it.
        wanted: what it should be.
        by_hand: how a person asks for it; empty where that is how it was asked for here.

    Raises:
        ProbeError: it is not that.
    """
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProbeError(
            wanted=wanted,
            seen=f"{error!r} in {str(answer)[:_SHOWN] or 'nothing'}",
            where=f"{source.cluster} {source.subject}",
            remedy=f"by hand: {by_hand or source.asked}",
        ) from error
