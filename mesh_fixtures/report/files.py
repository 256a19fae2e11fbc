"""Finds reports: given as files, or as folders in which they are, however deep."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mesh_fixtures.errors import ReportError
from mesh_fixtures.report.document import read
from mesh_fixtures.report.model import SUFFIX, Report


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
            files.update({file.resolve(): file for file in _files(path)})
        except ReportError as error:
            refused.append(error)
    for file in files.values():
        try:
            found.append(read(Report, file))
        except ReportError as error:
            refused.append(error)
    if refused:
        raise ReportError.together(refused)
    return tuple(found)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.rglob(f"*{SUFFIX}") if not each.name.startswith("."))
    if not found:
        raise ReportError(wanted=f"reports (*{SUFFIX})", seen="none", where=str(path))
    return found
