"""Verifies and checks a mesh as its owner would, with nothing but kubeconfigs, and judges what is
said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh_fixtures.commands.check import NOT_CHECKED
from mesh_fixtures.report.document import read
from mesh_fixtures.report.model import SUFFIX, Report, Result
from mesh_fixtures.requirements import by_id
from tests.foreign.by_hand import Visitor
from tests.variants.variant import Variant


@dataclass(frozen=True)
class Visit:
    """What a run of `mesh-conformance verify` said, and `check` after it.

    Attributes:
        status: of its exit.
        results: by id of the requirement; empty where nothing was verified.
        check_status: of the exit of `check`, which makes nothing in the mesh and so wants nothing
            of it.
    """

    status: int
    output: str
    results: Mapping[str, Result]
    check_status: int
    check_output: str

    @property
    def without(self) -> set[str]:
        """Ids of requirements that apply to an existing mesh, and were not met."""
        return {
            name
            for name, result in self.results.items()
            if result not in ("met", "not applicable") and not by_id(name).disruptive
        }

    def require(self, variant: Variant) -> None:
        """Return only if what was said is right."""
        __tracebackhide__ = True
        if variant.is_silent:
            assert self.check_status == NOT_CHECKED, self.check_output
            assert variant.refusal in self.check_output, self.check_output
        elif not variant.fails:
            assert self.check_status == pytest.ExitCode.OK, self.check_output
        if variant.refusal:
            assert self.status == pytest.ExitCode.USAGE_ERROR, self.output
            assert not self.results, self.output
            assert variant.refusal in self.output, self.output
            return
        if variant.hindrances:
            assert self.status == pytest.ExitCode.TESTS_FAILED, self.output
            assert "unmet" not in self.results.values(), self.output
            assert self.results["WORKLOAD-1"] == "inconclusive", self.output
            for hindrance in variant.hindrances:
                assert hindrance in self.output, f"{hindrance!r} is not said\n{self.output}"
            return
        assert self.without == {*variant.fails, *variant.inconclusive}, self.output
        for name in variant.inconclusive:
            assert self.results[name] == "inconclusive", self.output
        expected = pytest.ExitCode.TESTS_FAILED if self.without else pytest.ExitCode.OK
        assert self.status == expected, self.output
        for name in variant.applies:
            assert self.results[name] == "met", self.output
        for note in variant.notes:
            assert note in self.output, f"{note!r} is not said\n{self.output}"


def verify(visitor: Visitor, variant: Variant) -> Visit:
    """Verify a mesh with what its owner gives, and check it."""
    named = variant.system_namespace
    of_mesh = ("--system-namespace", named) if named else ()
    done = visitor.command("verify", *of_mesh, *variant.arguments)
    results = _results(visitor.reports)
    checked = visitor.command("check", *of_mesh)
    return Visit(
        done.returncode,
        done.stdout + done.stderr,
        results,
        checked.returncode,
        checked.stdout + checked.stderr,
    )


def _results(folder: Path) -> dict[str, Result]:
    reports = [read(Report, file) for file in folder.glob(f"*{SUFFIX}")]
    return {each.id: each.result for report in reports for each in report.requirements}
