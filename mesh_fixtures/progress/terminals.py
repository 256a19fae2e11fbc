"""Which files are terminals that live lines can be shown on."""

from __future__ import annotations

import os
from typing import TextIO


def is_live(file: TextIO) -> bool:
    """Whether a file is a terminal that can take lines away again."""
    return file.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")
