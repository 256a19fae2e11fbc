"""Diagnoses for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from mesh_fixtures.diagnosis.cause import Diagnosis, RootCause
from mesh_fixtures.guide import cause_address

EVIDENCE_SHOWN: Final = 4


def in_short(roots: Iterable[RootCause]) -> Iterator[str]:
    """Three lines for each root cause: what is broken, what to do, and its address in the guide."""
    for root in roots:
        yield f"cause {_named(root)}: {root.cause.statement}"
        yield f"  what to do: {root.cause.remedy}"
        yield f"  see: {cause_address(root.id)}"


def explained(diagnosis: Diagnosis) -> Iterator[str]:
    """Every root cause with its evidence and its consequences."""
    for root in diagnosis.roots:
        yield f"{_named(root)}: {root.cause.statement}"
        evidence = root.cause.evidence
        shown = evidence if root.id == "unknown" else evidence[:EVIDENCE_SHOWN]
        for each in shown:
            yield f"  seen: {each}"
        if len(shown) < len(evidence):
            yield f"  seen: {len(evidence) - len(shown)} more, see the diagnostics bundle"
        yield f"  what to do: {root.cause.remedy}"
        yield f"  see: {cause_address(root.id)}"
        for cause in root.followed_by:
            yield f"  followed by {cause.id}: {cause.statement}"
        if root.consequences:
            yield f"  consequences: {', '.join(root.consequences)}"


def _named(root: RootCause) -> str:
    certainty = root.cause.certainty
    doubt = "" if certainty == "certain" or root.id == "unknown" else f" ({certainty})"
    return f"{root.id}{doubt}"
