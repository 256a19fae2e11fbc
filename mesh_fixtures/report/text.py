"""What a gate found, as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from mesh_fixtures.report.gate import Judgement, Row

HEADINGS: Final = ("topology", "what", "baseline", "now", "change", "why")
_LONGEST_WHY: Final = 100


def table(judgement: Judgement) -> Iterator[str]:
    """Lines: every difference, and what came of it."""
    if judgement.rows:
        yield from _columns([HEADINGS, *map(_cells, judgement.rows)])
    worse = sum(row.change == "worse" for row in judgement.rows)
    better = sum(row.change == "better" for row in judgement.rows)
    verdict = "pass" if judgement.passes else "FAIL"
    yield f"gate: {verdict}: {judgement.required} required, {worse} worse, {better} better"


def _cells(row: Row) -> tuple[str, ...]:
    why = row.why if len(row.why) <= _LONGEST_WHY else f"{row.why[:_LONGEST_WHY]}..."
    return row.topology, row.what, row.accepted, row.seen, row.change, why


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        yield line.rstrip()
