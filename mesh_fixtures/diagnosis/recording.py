"""A failure that can be diagnosed again: from a report, from a bundle, in a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from mesh_fixtures.diagnosis.cause import Diagnosis
from mesh_fixtures.diagnosis.diagnose import diagnose
from mesh_fixtures.diagnosis.facts import Facts
from mesh_fixtures.scenario import Scenario
from mesh_fixtures.verdict.findings import Finding


@dataclass(frozen=True)
class Recording:
    """What was to be, what failed, and what was seen.

    Attributes:
        failures: findings by id of the failed requirement, in the order of reports; none where it
            could not be seen whether it holds.
    """

    scenario: Scenario
    failures: Mapping[str, tuple[Finding, ...]]
    facts: Facts

    def diagnose(self) -> Diagnosis:
        """Why the requirements failed."""
        return diagnose(self.scenario, self.facts, self.failures)

    def to_json(self) -> bytes:
        """As JSON that `from_json` reads; what has its default is left out."""
        return _ADAPTER.dump_json(self, indent=1, exclude_defaults=True, by_alias=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Recording:
        """Read what `to_json` wrote.

        Raises:
            pydantic.ValidationError: it is something else.
        """
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(Recording)
