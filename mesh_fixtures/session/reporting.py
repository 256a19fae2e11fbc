"""Writes a report of each topology that a run verifies, and a page of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import pytest

from mesh_fixtures import __version__, providers
from mesh_fixtures.contract import Provider as LabProvider
from mesh_fixtures.errors import MachineError
from mesh_fixtures.options import METRICS, REPORT
from mesh_fixtures.session import outcomes
from mesh_fixtures.session.diagnosing import Explained, attached
from mesh_fixtures.session.labs import RUN, UPGRADED_FROM

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from mesh_fixtures.report import Report
    from mesh_fixtures.report.model import Provider, RequirementReport, StepReport

PAGE: Final = "index.html"

_INTERRUPTED: Final[Mapping[int, str]] = {
    pytest.ExitCode.INTERRUPTED: "it was interrupted",
    pytest.ExitCode.INTERNAL_ERROR: "an internal error",
}
_NOTHING_BEGAN: Final = (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED)


class Reporting:
    """Plugin of the process that owns the terminal."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._run = config.stash[RUN]
        self._folder = self._run.settings.report_folder(config.rootpath)
        self._began = datetime.now(UTC)
        self._begun = False
        self._checked: dict[str, list[RequirementReport]] = {}
        self._ended: set[str] = set()
        self._errors: dict[str, list[str]] = {}
        self._explained: dict[str, Explained] = {}
        self._written: list[Report] = []
        self._trouble = ""
        self._warning = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        self._begin()

    @pytest.hookimpl(trylast=True, optionalhook=True)
    def pytest_xdist_node_collection_finished(self) -> None:
        self._begin()

    def _begin(self) -> None:
        """Remove what this run is going to write: nobody may take an old report for a new one.
        Metrics stay until there are new ones, as they say when they were made.

        Raises:
            pytest.UsageError: the folder cannot be written to, or the metrics.
        """
        if self._begun or not self._topologies:
            return
        from mesh_fixtures.report import file_name
        from mesh_fixtures.report.document import require_writable

        self._begun = True
        provider = self._provider()
        names = [file_name(each, provider.name, provider.install) for each in self._topologies]
        metrics = self._run.settings.metrics
        try:
            if metrics is not None:
                require_writable(metrics)
        except OSError as error:
            raise pytest.UsageError(f"{METRICS.flag}: {metrics}: {error.strerror}") from error
        try:
            require_writable(self._folder / PAGE)
            for name in (*names, PAGE):
                (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise pytest.UsageError(f"{REPORT.flag}: {self._folder}: {error.strerror}") from error

    @property
    def _topologies(self) -> tuple[str, ...]:
        """Those of which a requirement is going to be verified in a lab, in order."""
        option = self._config.option
        if option.collectonly or option.setuponly or self._run.settings.plan:
            return ()
        with_lab = self._run.needing_labs
        named = (each for each, _ in self._run.verifying.values() if each in with_lab)
        return tuple(dict.fromkeys(named))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        new = attached(report)
        if new is not None:
            known = self._explained.get(new.topology, new)
            self._explained[new.topology] = known.updated(new)
        topology, requirement = self._run.verifying.get(report.nodeid, ("", ""))
        if not topology:
            topology = str(dict(report.user_properties).get("topology", ""))
        checked = outcomes.attached(report)
        if checked is None and report.failed:
            if requirement and report.when not in ("setup", "call", "teardown"):
                checked = outcomes.lost(report, requirement)  # its process has died
            if checked is None and topology:
                error = outcomes.readable(report.longreprtext)
                self._errors.setdefault(topology, []).append(error)
        if checked is not None:
            self._ended.add(report.nodeid)
            self._checked.setdefault(topology, []).append(checked)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus in _NOTHING_BEGAN or not self._begun:
            return
        try:
            self._write(exitstatus)
        except OSError as error:
            self._trouble = f"reports could not be written: {error}"
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def _write(self, exitstatus: int) -> None:
        # All that follows takes a moment to import, which runs without requirements are spared.
        from mesh_fixtures.report import write
        from mesh_fixtures.report.document import write_text
        from mesh_fixtures.report.html import page

        for topology in self._topologies:
            report = self._report(topology, exitstatus)
            write(report, self._folder / report.file_name)
            self._written.append(report)
        write_text(page(self._written), self._folder / PAGE)
        self._measure()

    def _measure(self) -> None:
        """Write metrics and send them, where that is asked for."""
        settings = self._run.settings
        if settings.metrics is None and not settings.otlp:
            return
        from mesh_fixtures.report import metrics, otlp

        samples = [each for report in self._written for each in metrics.of_report(report)]
        self._warning = otlp.deliver(samples, settings.metrics, settings.otlp)

    def _report(self, topology: str, exitstatus: int) -> Report:
        from mesh_fixtures.report import SeenTopology, build
        from mesh_fixtures.report.model import CauseReport, Implementation, Retried, Run, Versions
        from mesh_fixtures.requirements import known

        settings = self._run.settings
        explained = self._explained.get(topology, Explained(topology))
        verifying = {
            test: requirement
            for test, (owner, requirement) in self._run.verifying.items()
            if owner == topology
        }
        interrupted = _INTERRUPTED.get(exitstatus, "")
        left = len(verifying.keys() - self._ended)
        if left:
            why = interrupted or "it was stopped"
            interrupted = f"{why} before {left} of {len(verifying)} tests of requirements"
        of_lab = dict(self._run.versions.get(topology, {}))
        upgraded_from = of_lab.pop(UPGRADED_FROM, "")
        seen = SeenTopology(
            scenario=self._run.scenarios[topology],
            provider=self._provider(),
            versions=Versions(harness=__version__, **of_lab),
            run=Run(
                began=self._began,
                ended=datetime.now(UTC),
                interrupted=interrupted,
                requests=settings.requests,
                disruptive=settings.disruptive,
                overlap=settings.overlap,
                recorded=settings.recorded,
                upgraded_from=upgraded_from or settings.provider.upgrade_from,
                upgrade=settings.provider.strategy or "",
                patience=settings.patience.factor,
                patience_reason=settings.patience.reason,
                errors=tuple(self._errors.get(topology, ())),
                retries=tuple(
                    Retried(where=each.where, wanted=each.wanted, seen=each.seen, times=times)
                    for each, times in self._run.retries.of(topology).items()
                ),
                bundle=Path(explained.bundle).name,
            ),
            selected=frozenset(verifying.values()),
            checked=tuple(self._checked.get(topology, ())),
            causes=tuple(CauseReport.model_validate(each) for each in explained.causes),
            steps=self._steps(topology),
            implementation=Implementation(**whose) if (whose := settings.implementation) else None,
        )
        return build(seen, known())

    def _steps(self, topology: str) -> tuple[StepReport, ...]:
        from mesh_fixtures.report.model import StepReport

        times = self._run.step_times
        ended = [(each, "failed" if each.failed else "done") for each in times.of(topology)]
        ended += [(each, "unfinished") for each in times.unfinished(topology)]
        return tuple(
            StepReport.model_validate(
                {
                    "phase": each.phase,
                    "cluster": each.cluster,
                    "began": round(each.began, 3),
                    "seconds": round(each.seconds, 3),
                    "outcome": outcome,
                }
            )
            for each, outcome in sorted(ended, key=lambda pair: pair[0].began)
        )

    def _provider(self) -> Provider:
        from mesh_fixtures.report.model import Provider

        settings = self._run.settings
        made = cast("LabProvider", self._config.hook.pytest_mesh_provider(config=self._config))
        try:
            chosen = providers.choose(settings.provider)
        except MachineError:
            reason = ""
        else:
            reason = chosen.reason if chosen.name == made.name else ""
        return Provider(
            name=made.name,
            chosen=reason,
            install=settings.install,
            gateways=settings.gateways,
        )

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        if terminalreporter.verbosity < -1 or not (self._written or self._trouble):
            return
        terminalreporter.section("reports")
        for report in self._written:
            levels = ", ".join(f"{name} {each.result}" for name, each in report.levels.items())
            place = self._folder / report.file_name
            terminalreporter.write_line(f"{report.topology.id}: {levels}: {place}")
        if self._written:
            terminalreporter.write_line(f"page: {self._folder / PAGE}")
            if self._run.settings.metrics is not None and not self._trouble:
                terminalreporter.write_line(f"metrics: {self._run.settings.metrics}")
        if self._warning:
            terminalreporter.write_line(f"warning: {self._warning}", yellow=True)
        if self._trouble:
            terminalreporter.write_line(self._trouble, red=True)
