"""Finds reports of several runs, in files and in folders however deep, and puts them together: in
whatever order, with the same outcome.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mesh_fixtures.errors import ReportError
from mesh_fixtures.report.document import read
from mesh_fixtures.report.model import (
    SUFFIX,
    TELLS_LEAST_FIRST,
    Figure,
    Report,
    RequirementReport,
    Result,
)


@dataclass(frozen=True, order=True)
class Key:
    """What makes reports belong together."""

    topology: str
    provider: str
    install: str

    @classmethod
    def of(cls, report: Report) -> Key:
        return cls(report.topology.id, report.provider.name, report.provider.install)

    def __str__(self) -> str:
        return f"{self.topology} ({self.provider}, {self.install})"


@dataclass(frozen=True)
class Combined:
    """What several runs say of one topology.

    Attributes:
        reports: at least one, all of this key.
    """

    key: Key
    reports: tuple[Report, ...]

    @property
    def digests(self) -> frozenset[str]:
        """Those of the scenarios that were verified."""
        return frozenset(each.topology.digest for each in self.reports)

    @property
    def istio(self) -> frozenset[str]:
        """Versions that were verified; those of runs that verified nothing do not count."""
        return frozenset(each.versions.istio for each in self.reports if each.verified)

    @property
    def notes(self) -> frozenset[str]:
        """What else is worth a look: interruptions, and errors that are no requirement's."""
        errors = (error.partition("\n")[0] for each in self.reports for error in each.run.errors)
        return frozenset((*errors, *(each.run.interrupted for each in self.reports))) - {""}

    @property
    def requirements(self) -> tuple[str, ...]:
        """Ids of all that are reported, in the order of the reports."""
        return tuple(
            dict.fromkeys(each.id for report in self.reports for each in report.requirements)
        )

    def result(self, requirement: str) -> Result:
        """What all runs together say of a requirement."""
        results = (each.result for each in self._of(requirement))
        return max(results, key=TELLS_LEAST_FIRST.index, default="not run")

    def reasons(self, requirement: str) -> frozenset[str]:
        """Why there is no better result, of each run that says so."""
        records = self._of(requirement)
        if not records:
            return frozenset({"not in the report"})
        result = self.result(requirement)
        return frozenset(each.why for each in records if each.result == result) - {""}

    def figures(self, requirement: str) -> dict[str, frozenset[Figure]]:
        """Every value that was measured, by name, sorted."""
        found: dict[str, set[Figure]] = {}
        for each in self._of(requirement):
            for name, value in each.figures.items():
                found.setdefault(name, set()).add(value)
        return {name: frozenset(found[name]) for name in sorted(found)}

    def _of(self, requirement: str) -> list[RequirementReport]:
        return [
            each
            for report in self.reports
            for each in report.requirements
            if each.id == requirement
        ]


def load(paths: Iterable[Path]) -> tuple[Report, ...]:
    """Read all reports; a file that is given several times is read once.

    Raises:
        ReportError: some cannot be used, or a folder holds none; names them all.
    """
    files: dict[Path, Path] = {}
    refused: list[ReportError] = []
    found: list[Report] = []
    for path in paths:
        try:
            files.update({file.resolve(): file for file in _files_in(path)})
        except ReportError as error:
            refused.append(error)
    for file in files.values():
        try:
            found.append(read(Report, file))
        except ReportError as error:
            refused.append(error)
    if refused:
        raise ReportError.of_all(refused)
    return tuple(found)


def merge(reports: Iterable[Report]) -> tuple[Combined, ...]:
    """What all reports say, by topology, provider and way of installation, in their order."""
    found: dict[Key, list[Report]] = {}
    for each in reports:
        found.setdefault(Key.of(each), []).append(each)
    return tuple(Combined(key, tuple(found[key])) for key in sorted(found))


def _files_in(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.rglob(f"*{SUFFIX}") if not each.name.startswith("."))
    if not found:
        raise ReportError(wanted=f"reports (*{SUFFIX})", seen="none", where=str(path))
    return found
