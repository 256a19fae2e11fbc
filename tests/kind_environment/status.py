"""Exit statuses of the environment itself; all others are the command's."""

from __future__ import annotations

from typing import Final

USAGE: Final = 2
CANNOT_RUN: Final = 3
"""This machine cannot run it."""

UNAVAILABLE: Final = 4
"""It could not be built or started."""

NO_SUCH_COMMAND: Final = 127
INTERRUPTED: Final = 130
