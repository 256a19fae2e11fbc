"""What a person reads while an environment starts and ends."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Write a line to standard error: standard output is the command's."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
