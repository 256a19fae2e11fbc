"""The pages of docs/, and the commands in them.

A block that begins with ```bash is run where pages are checked, and one with ```bash lab where
there are clusters, too. Others are text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = tuple(sorted((ROOT / "docs").glob("*.md")))

_BLOCK: Final = re.compile(r"^```(\w+)( lab)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """Commands that a page shows.

    Attributes:
        line: of the page, from 1.
        lab: whether they need clusters.
    """

    page: str
    line: int
    commands: str
    lab: bool

    def __str__(self) -> str:
        return f"docs/{self.page}:{self.line}"


def blocks(page: Path) -> tuple[Block, ...]:
    """The commands of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return tuple(
        Block(page.name, text.count("\n", 0, found.start()) + 1, found[3], bool(found[2]))
        for found in _BLOCK.finditer(text)
        if found[1] == "bash"
    )
