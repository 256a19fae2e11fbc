r"""From failed requirements to their causes.

    facts = gather(view)
    diagnosis = diagnose(view.scenario, facts, {"DISCOVERY-1": outcome.findings})
    print(*explained(diagnosis), sep="\n")

`gather` reads everything cheap and relevant of all clusters; what follows is pure. Rules
(`rules/`) look for causes in facts, each for one kind, whatever else is broken. `diagnose` keeps
the causes that some failed requirement depends on, puts those that follow from others below them,
and ranks the rest: the most certain first, among equals the most upstream layer. What is left is
the consequence of a cause `unknown`, with all evidence that was gathered. Facts are written as JSON
and read again, so that a diagnosis can be repeated from what was recorded.
"""

from mesh_fixtures.diagnosis.cause import (
    UNKNOWN,
    Cause,
    Diagnosis,
    Evidence,
    RootCause,
    explained,
    in_short,
)
from mesh_fixtures.diagnosis.facts import Facts
from mesh_fixtures.diagnosis.gather import gather, with_traffic
from mesh_fixtures.diagnosis.root_causes import Recording, diagnose, diagnose_step

__all__ = [
    "UNKNOWN",
    "Cause",
    "Diagnosis",
    "Evidence",
    "Facts",
    "Recording",
    "RootCause",
    "diagnose",
    "diagnose_step",
    "explained",
    "gather",
    "in_short",
    "with_traffic",
]
