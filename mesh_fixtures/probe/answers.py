"""Answers of Istio's programs, which log to the output that they answer on."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_BEGINNING: Final = re.compile(r"^(?:[\[{]|null$)", re.MULTILINE)
"""Of a list, of an object, or of what Go writes for a list that nobody has made."""


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
