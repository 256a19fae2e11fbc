"""Reports that anybody may read: a folder of them by implementation, with an index in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mesh_fixtures.errors import ReportError
from mesh_fixtures.report.document import read, write, write_text
from mesh_fixtures.report.markdown import cell
from mesh_fixtures.report.model import LEVELS, SUFFIX, Implementation, Report

INDEX: Final = "README.md"

_FLAGS: Final[Mapping[str, str]] = {"version": "--project-version"}
"""Of what is missing, where they are not named like it."""


def publish(
    reports: Iterable[Report], folder: Path, implementation: Mapping[str, Any]
) -> Sequence[Path]:
    """Put reports into a folder, and write its index anew.

    Args:
        implementation: fields of `Implementation` that count in place of the reports' own.

    Returns:
        The files: the reports, and the index.

    Raises:
        ReportError: a report is not fit to be published; names all, and writes nothing. Or one
            cannot be written.
    """
    ready: dict[Path, Report] = {}
    refused: list[ReportError] = []
    for report in reports:
        made = _with(report, implementation)
        refused += _refusals(made)
        ready[folder / place_of(made)] = made
    if refused:
        raise ReportError.of_all(refused)
    try:
        for file, report in ready.items():
            write(report, file)
        index_file = folder / INDEX
        write_text(index(folder), index_file)
    except OSError as error:
        raise ReportError(
            wanted="a folder that reports can be written to",
            seen=error.strerror or str(error),
            where=str(folder),
            remedy="name another one: --publish DIR",
        ) from error
    return (*ready, index_file)


def _with(report: Report, implementation: Mapping[str, Any]) -> Report:
    """The report as it is published: its bundle is not."""
    known = report.implementation or Implementation()
    whose = known.model_copy(update=dict(implementation))
    run = report.run.model_copy(update={"bundle": ""})
    return report.model_copy(update={"implementation": whose, "run": run})


def _refusals(report: Report) -> Iterator[ReportError]:
    """Why a report says too little for others."""
    whose = report.implementation or Implementation()
    if missing := whose.missing:
        flags = ", ".join(_FLAGS.get(name, f"--{name}") for name in missing)
        yield _refusal(report, "whose mesh it is", f"no {', no '.join(missing)}", f"add {flags}")
    if report.run.interrupted:
        yield _refusal(report, "a complete run", report.run.interrupted, "run it again")
    if not report.verified:
        yield _refusal(report, "a verdict on some requirement", "none", "run it again")


def _refusal(report: Report, wanted: str, seen: str, remedy: str) -> ReportError:
    return ReportError(wanted=wanted, seen=seen, where=report.file_name, remedy=remedy)


def place_of(report: Report) -> Path:
    """Where a report belongs: by organization, project and version."""
    whose = report.implementation or Implementation()
    version = f"{whose.project}-{whose.version}"
    return Path(_slug(whose.organization), _slug(version), report.file_name)


def _slug(text: str) -> str:
    """A name of a folder; what it would have none of is `_`."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "_"


def index(folder: Path) -> str:
    """A page of all reports of a folder, in Markdown.

    Raises:
        ReportError: some cannot be used.
    """
    found = ((file, read(Report, file)) for file in folder.rglob(f"*{SUFFIX}"))
    rows = sorted((_title(report).lower(), file, report) for file, report in found)
    lines = [
        "# Reports",
        "",
        "Results that their authors have published; [Read the report](../read-the-report.md) has",
        "what the files say. `mesh-conformance report --publish` makes this page.",
        "",
        "| implementation | topology | provider | Istio | core | extended | of | report |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for _, file, report in rows:
        place = file.relative_to(folder).as_posix()
        lines.append(f"| {' | '.join(map(cell, _cells(report)))} | [YAML]({place}) |")
    for title, whose in _implementations(report for _, _, report in rows):
        lines += ["", f"## {cell(title)}", "", f"- Contact: {cell(', '.join(whose.contact))}"]
        lines.append(f"- To reproduce: {cell(whose.reproduce)}")
    return "\n".join(lines) + "\n"


def _title(report: Report) -> str:
    return report.implementation.title if report.implementation is not None else ""


def _cells(report: Report) -> Iterator[str]:
    yield from (
        _title(report),
        report.topology.id,
        f"{report.provider.name}, {report.provider.install}",
        report.versions.istio,
    )
    for level in LEVELS:
        counted = report.levels[level]
        yield f"{counted.result} ({counted.statistics.passed} met)"
    yield f"{report.run.began:%Y-%m-%d}"


def _implementations(reports: Iterable[Report]) -> Iterator[tuple[str, Implementation]]:
    found = {_title(each): each.implementation for each in reports}
    for title, whose in found.items():
        if whose is not None:
            yield title, whose
